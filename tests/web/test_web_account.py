"""Signing in, in real Chromium against a real server: by keyboard, at phone width, with the seats that were held."""

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from pressing import press
from serving import LiveServer

from lml_live.guard.accounts import Accounts
from lml_live.guard.passwords import Passwords

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 390, "height": 844}
PASSWORD = "a horse of another colour"


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport=PHONE, bypass_csp=True)
    yield await context.new_page()
    await context.close()


async def link_of(server: LiveServer, email: str) -> str:
    """The page that the mail to an address leads to."""
    async with server.pool() as pool:
        number = await pool.fetchval("SELECT id FROM account_invitation WHERE email = $1", email)
        secret = await pool.fetchval("SELECT secret FROM house")
        return f"/account#{Accounts(pool, Passwords(), secret, sends_mail=True).invitation(number)}"


async def held(page: Page) -> list[int]:
    await page.wait_for_function("window.lml && lml.ready")
    seats: list[int] = await page.evaluate("lml.mine")
    return sorted(seats)


async def test_seats_come_along_to_the_account_and_back_out(page: Page, live_server: LiveServer) -> None:
    server, email = live_server, f"ada-{secrets.token_hex(4)}@example.org"
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    event = f"{server.url}/events/{server.event}"
    await page.goto(event)
    await held(page)
    await page.evaluate("[10, 11].forEach((seat) => lml.page.pick(seat))")
    await page.wait_for_function("!lml.basket.busy && lml.mine.length === 2")

    # The link, by keyboard alone.
    await page.goto(f"{server.url}/account?back=/events/{server.event}")
    await expect(page.locator("#email")).to_be_focused()
    await page.keyboard.type("nobody")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("Please type your e-mail address.")
    await press(page.get_by_role("button", name="No account yet, or password forgotten?"))
    await expect(page.locator("#title")).to_have_text("Get a link by e-mail")
    await page.locator("#email").fill(email)
    await page.keyboard.press("Enter")
    await expect(page.locator("#title")).to_have_text("Look into your mail")

    # What stands in the mail, then a password.
    await page.goto("about:blank")
    await page.goto(server.url + await link_of(server, email))
    await expect(page.locator("#password")).to_be_focused()
    assert "#" not in page.url
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/bookings")
    await expect(page.locator("#whose")).to_contain_text(email)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    # The seats are the account's; who signs out has none, and who signs in again has them.
    await page.goto(event)
    assert await held(page) == [10, 11]
    await page.goto(f"{server.url}/account?back=/events/{server.event}")
    await expect(page.locator("#lead")).to_have_text(email)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await press(page.get_by_role("button", name="Sign out"))
    await expect(page.locator("#title")).to_have_text("Sign in")
    await page.goto(event)
    assert await held(page) == []
    await page.goto(f"{server.url}/account?back=/events/{server.event}")
    await page.locator("#email").fill(email)
    await page.locator("#password").fill("not this one at all")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("The e-mail address or the password is wrong.")
    await page.locator("#password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(event)
    assert await held(page) == [10, 11]
    assert not said


async def test_a_link_leads_back_to_us_only(page: Page, live_server: LiveServer) -> None:
    await page.goto(f"{live_server.url}/bookings")
    token = 'lmlh_" + btoa(JSON.stringify({h: "h-1", e: 1, s: "s-1"})) + ".x'
    await page.evaluate(f'localStorage.setItem("lml.holder-token", "{token}")')
    for back in ("//evil.example/x", "https://evil.example", "/\\\\evil.example", "javascript:alert(1)"):
        await page.goto(f"{live_server.url}/account?back={back}")
        await expect(page.get_by_role("link", name="Go on")).to_have_attribute("href", "/bookings")
