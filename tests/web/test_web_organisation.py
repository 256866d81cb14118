"""An organisation's page, in real Chromium: by keyboard, at phone width, through Stripe's onboarding and back."""

import secrets
from datetime import UTC, datetime, timedelta

import pytest
from leader import look
from playwright.async_api import Browser, expect
from pressing import press
from serving import LiveServer

from lml_live.booking.organisations import NewOrganisation, Organisations
from lml_live.devstack.stripe.process import StripeDouble
from lml_live.guard.staff import StaffDesk

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 390, "height": 844}
PASSWORD = "a horse of another colour"


async def furnish(server: LiveServer, name: str) -> None:
    """An organisation with a manager and an event that is over, of which nothing was sold."""
    async with server.pool() as pool:
        organisations = Organisations(pool)
        wish = NewOrganisation(id=name, name="City Opera", currency="EUR", fee_basis_points=500, fee_per_ticket=50)
        await organisations.create(wish)
        await organisations.add_venue(name, "Opera House", venue=name)
        await StaffDesk(pool).add_staff(f"{name}@example.com", PASSWORD, ("manager",))
        await organisations.add_member(name, f"{name}@example.com")
        await pool.execute(
            "INSERT INTO event (id, group_id, name, venue, starts_at, on_sale_at, state, currency, layout_id,"
            " layout_version, layout_hash, seat_count, max_seats, hold_seconds, extensions, lifetime_seconds, venue_id)"
            " VALUES ($1, $1, 'Aida', 'Opera House', $2, $2, 'closed', 'EUR', 'none', 1, '', 1, 8, 300, 2, 900, $1)",
            name,
            datetime.now(UTC) - timedelta(days=30),
        )


async def test_a_manager_finds_the_way_to_be_paid(
    browser: Browser, shop: LiveServer, stripe_shared: StripeDouble
) -> None:
    name = f"org-{secrets.token_hex(4)}"
    await furnish(shop, name)
    context = await browser.new_context(viewport=PHONE, bypass_csp=True, locale="en-GB")
    page = await context.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    await page.goto(f"{shop.url}/organisation")
    await expect(page.locator("#email")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("Please type your e-mail address.")
    await page.keyboard.type(f"{name}@example.com")
    await page.keyboard.press("Tab")
    await page.keyboard.type("not this one")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("The e-mail address or the password is wrong.")
    await page.locator("#password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.locator("#title")).to_have_text("City Opera")
    await expect(page.locator("#title")).to_be_focused()
    await expect(page.locator("#account .chip")).to_have_text("No account yet")
    await expect(page.locator("#lines h3")).to_have_text("Aida")
    await expect(page.locator("#lines .sum").last).to_have_text("€0.00")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    await page.get_by_label("Country").select_option("AT")
    await press(page.get_by_role("button", name="Set up at Stripe"))
    await page.wait_for_url(f"{stripe_shared.url}/onboard/**")
    # Whoever leaves half-way is asked again; the address to come back to is the server's, as others see it.
    await page.goto(f"{shop.url}/organisation?organisation={name}")
    await expect(page.locator("#account .chip")).to_have_text("Stripe has questions")
    await press(page.get_by_role("button", name="Go on at Stripe"))
    await page.wait_for_url(f"{stripe_shared.url}/onboard/**")
    async with page.expect_request(lambda request: f"organisation={name}" in request.url):
        await press(page.get_by_role("button", name="Complete onboarding"))
    # Nobody answers there; that failure must be over before the page goes elsewhere.
    await page.wait_for_url(lambda url: not url.startswith(stripe_shared.url), wait_until="commit")
    await look(shop, stripe_shared)
    await page.goto(f"{shop.url}/organisation")
    await expect(page.locator("#account .chip")).to_have_text("Can be paid")
    await expect(page.locator("#banks")).to_be_hidden()
    async with shop.pool() as pool:
        await pool.execute(
            "INSERT INTO payout SELECT 'po_' || $1, organisation_id, account_id, 4200, 'EUR', 'failed', true, now(),"
            " 'account_closed', now() FROM connected_account WHERE organisation_id = $1",
            name,
        )
    await page.reload()
    await expect(page.locator("#payouts h3")).to_have_text("€42.00")
    await expect(page.locator("#payouts .chip")).to_have_text("Refused by the bank")
    await expect(page.locator("#payouts p")).to_have_text("Not paid: the bank account is closed.")
    await expect(page.get_by_role("button", name="Go on at Stripe")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    async with page.expect_download() as saved:
        await press(page.get_by_role("button", name="Save as CSV"))
    file = await saved.value
    assert file.suggested_filename == f"statement-{name}.csv"
    assert (await file.path()).read_text().splitlines()[1].startswith(f"{name},Aida,")
    await page.goto(f"{shop.url}/organisation?organisation=nobody")
    await expect(page.locator("#state h2")).to_have_text("There is no such organisation")
    await press(page.get_by_role("button", name="Sign out"))
    await expect(page.locator("#email")).to_be_focused()
    await page.reload()
    await expect(page.locator("#form")).to_be_visible()
    await context.close()
    assert said == []
