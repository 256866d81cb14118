"""The counter's page, in real Chromium: a clerk sells a hold and a house seat, by keyboard, at phone width."""

import secrets

import pytest
from playwright.async_api import Browser, expect
from pressing import press
from serving import LiveServer

from lml_live.client import StaffClient
from lml_live.gateway import wire
from lml_live.guard.staff import StaffDesk

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 390, "height": 844}
PASSWORD = "a horse of another colour"


async def test_a_clerk_sells_at_the_counter(browser: Browser, shop: LiveServer) -> None:
    event, name = await shop.new_event(), f"clerk-{secrets.token_hex(4)}@example.com"
    async with shop.pool() as pool:
        await StaffDesk(pool).add_staff(name, PASSWORD, ("manager",))
    context = await browser.new_context(viewport=PHONE, bypass_csp=True, locale="en-GB")
    page = await context.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    await page.goto(f"{shop.url}/counter?event={event}")
    await expect(page.locator("#email")).to_be_focused()
    await page.keyboard.type(name)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    seats = page.locator("#seats button")
    await expect(seats.first).to_be_visible()
    ids = [await seats.nth(n).get_attribute("data-seat") or "" for n in range(3)]
    token = await page.evaluate("sessionStorage.getItem('lml.staff-token')")
    async with StaffClient(shop.url, token) as staff:
        await staff.block(event, "house", "press", seats=ids[:1])
        await staff.block(event, "kill", "camera", seats=ids[2:])
        kim = await staff.customer()
        hold = await staff.hold(event, kim.holder, "Kim", "class", areas={"floor": 2})
        assert isinstance(hold, wire.Hold)
        await page.reload()
        # A house seat and a free one, over both of which staff sell; a killed one is nobody's.
        await expect(seats.nth(0)).to_have_attribute("data-house", "true")
        await expect(seats.nth(2)).to_have_attribute("aria-disabled", "true")
        await expect(seats.nth(2)).to_be_visible()
        for n in range(3):
            await seats.nth(n).press("Enter")
        await expect(page.locator("#chosen")).to_have_text("2 seats: Stalls A 1, Stalls A 2 · €95.00")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        # Enter in a field is as good as the button, and as lost while that is disabled.
        await expect(page.locator("#sell")).to_be_enabled()
        await press(page.locator("#reason"))
        await expect(page.locator("#state h2")).to_contain_text("2 places sold: take €95.00")
        await expect(page.locator("#state a").first).to_be_focused()
        async with context.expect_page() as opened:
            await press(page.get_by_role("link", name="Give back"))
        back = await opened.value
        await expect(seats.nth(0)).to_have_attribute("aria-disabled", "true")
        # The customer's hold, given away; what cannot be sold is said.
        await page.get_by_label("Kim: 2 places, class").check()
        await page.get_by_label("Nothing: given away").check()
        await press(page.get_by_role("button", name="Sell"))
        await expect(page.locator("#state h2")).to_contain_text("2 places given away, worth €33.00")
        await expect(page.get_by_label("Kim: 2 places, class")).to_have_count(0)
        await press(page.get_by_role("button", name="Sell"))
        await expect(page.locator("#refusal")).to_have_text("Choose a hold, seats or places.")
        assert [(one.status, one.reason) for one in await staff.seats(event, ids[:2])] == [("sold", None)] * 2
        # Another tab is another session: machines at a counter are shared.
        await back.locator("#email").fill(name)
        await back.locator("#password").fill(PASSWORD)
        await back.keyboard.press("Enter")
        await expect(back.locator("#tender")).to_contain_text("for cash")
        await press(back.get_by_role("checkbox").first, "Space")
        await back.get_by_label("Reason").fill("came too late")
        await press(back.locator("#refund"))
        await press(back.get_by_role("button", name="Yes, refund"))
        await expect(back.locator("#refunds")).to_contain_text("Given back at the box office")
        assert [one.status for one in await staff.seats(event, ids[:2])] == ["available", "sold"]
    await context.close()
    assert said == []
