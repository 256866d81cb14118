"""What comes after buying, from end to end in real Chromium: tickets, a refund at the counter, disputes, a payout.

Bought is over REST, as the page does it (tests/web/test_web_checkout.py buys by hand); one server and one browser.
"""

import csv
import os
import secrets
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from buying import Buying, buy, call
from leader import look
from playwright.async_api import Browser, Page, expect
from pressing import press
from serving import LiveServer
from test_web_checkout import ASKS_3DS, AVAILABLE, Buyer
from waiting import eventually

from lml_live.gateway.qr import draw_qr
from lml_live.guard.staff import StaffDesk

pytestmark = pytest.mark.asyncio(loop_scope="session")

DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest_asyncio.fixture(loop_scope="session")
async def event(shop: LiveServer, stripe_double: Any) -> str:
    await stripe_double.steering.change_settings(webhook_url=f"{shop.url}/api/v1/webhooks/stripe")
    return await shop.new_event()


async def shoot(page: Page, name: str) -> None:
    if os.environ.get("SHOTS"):
        for label, size in (("desk", DESK), ("phone", PHONE)):
            await page.set_viewport_size(size)
            await page.screenshot(path=f"{os.environ['SHOTS']}/{name}-{label}.png", full_page=True)


async def test_tickets_to_show_and_to_print(browser: Browser, page: Page, shop: LiveServer, event: str) -> None:
    made = await buy(shop, event, 30, 31, floor=1)
    await page.goto(made.link)
    await expect(page.locator("#tickets-title")).to_have_text("Your tickets")
    tickets = page.get_by_role("list", name="Your tickets").get_by_role("listitem")
    await expect(tickets).to_have_count(3)
    await expect(tickets.first).to_contain_text("Stalls, row B, seat 6")
    await expect(tickets.last).to_contain_text("Floor")
    await shoot(page, "tickets")

    # What is drawn is the code that the door scans, and no other ticket's.
    items = (await call(shop, "GET", f"/bookings/{made.id}/tickets?draw=qr", token=made.access))["items"]
    drawn = [await one.locator("svg path").get_attribute("d") for one in await tickets.all()]
    assert drawn == [one["qr"]["path"] for one in items]
    assert drawn == [draw_qr(one["ticket"]).path for one in items]
    assert [await one.locator("code").inner_text() for one in await tickets.all()] == [one["ticket"] for one in items]
    code = page.get_by_role("img", name="QR code of the ticket for Stalls, row B, seat 6")
    await expect(code).to_be_visible()

    await page.set_viewport_size(PHONE)
    assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    await page.evaluate("window.print = () => { window.printed = true; }")
    await press(page.get_by_role("button", name="Print"))
    assert await page.evaluate("window.printed")
    await page.emulate_media(media="print")
    await expect(page.locator("#booking")).to_be_hidden()
    await expect(code).to_be_visible()
    await page.emulate_media(media="screen")

    # A ticket that is printed anew replaces the old one here, too; one that was used says where.
    clerk = (await shop.sign_in())["Authorization"].removeprefix("Bearer ")
    reason = {"reason": "wet", "lines": [1]}
    [fresh, *_] = (await call(shop, "POST", f"/bookings/{made.id}/reprint", reason, token=clerk, status=201))["items"]
    scan = {"ticket": items[1]["ticket"], "event": event, "gate": "north"}
    assert (await call(shop, "POST", "/tickets/scan", scan, token=clerk))["outcome"] == "admitted"
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(tickets.nth(0).locator("code")).to_have_text(fresh["ticket"])
    await expect(tickets.nth(1)).to_contain_text("Used")
    await expect(tickets.nth(1)).to_contain_text("north")
    await expect(tickets.nth(1).locator("svg")).to_have_count(0)


async def test_a_card_that_is_good_too_late(page: Page, shop: LiveServer, stripe_double: Any, event: str) -> None:
    """The time is up while the buyer is at the bank's page: nothing is charged, and they are told."""
    shop.event = event
    buyer = Buyer(page, shop)
    await buyer.visit()
    await buyer.hold(70)
    await buyer.begin()
    made = Buying(shop, await page.evaluate("lml.page.checkout.booking"))
    await buyer.pay(ASKS_3DS)
    await expect(page.get_by_role("button", name="Complete authentication")).to_be_visible()
    async with shop.pool() as pool:
        await pool.execute("UPDATE booking SET expires_at = now() WHERE id = $1", made.id)

    async def is_expired() -> bool:
        return bool((await made.read())["state"] == "expired")

    await eventually(is_expired, 30)
    await page.get_by_role("button", name="Complete authentication").click()
    await expect(page.locator("#checkout-title")).to_have_text("The time was up")
    await expect(page.locator("#checkout")).to_contain_text("Nothing was charged")
    await buyer.sees(AVAILABLE, 70)
    await shoot(page, "too-late")
    await page.goto(made.link)
    await expect(page.locator("#title")).to_have_text("The time was up")
    await expect(page.locator("#tickets")).to_be_hidden()
    assert (await stripe_double.steering.ledger()).net_captured() == {"eur": 0}


async def test_a_clerk_refunds_and_it_is_seen(browser: Browser, page: Page, shop: LiveServer, event: str) -> None:
    made = await buy(shop, event, 40, 41)
    email, password = f"clerk-{secrets.token_hex(4)}@example.com", "a horse of another colour"
    async with shop.pool() as pool:
        await StaffDesk(pool).add_staff(email, password, ("box_office",))
    await page.goto(made.link)
    tickets = page.get_by_role("list", name="Your tickets").get_by_role("listitem")
    await expect(tickets).to_have_count(2)
    number = (await page.locator(".reference").inner_text()).split(" ")[1]

    context = await browser.new_context(viewport=PHONE, bypass_csp=True, locale="en-GB")
    counter = await context.new_page()
    said: list[str] = []
    counter.on("pageerror", lambda error: said.append(str(error)))
    await counter.goto(f"{shop.url}/counter/bookings")
    await expect(counter.get_by_label("E-mail")).to_be_focused()
    await counter.keyboard.type(email)
    await counter.keyboard.press("Tab")
    await counter.keyboard.type(password)
    await counter.keyboard.press("Enter")
    await expect(counter.locator("#title")).to_have_text("Booking at the counter")
    await counter.get_by_label("Booking number").fill("b-none")
    await counter.keyboard.press("Enter")
    await expect(counter.locator("#state")).to_contain_text("There is no such booking")
    await counter.get_by_label("Booking number").fill(number)
    await counter.keyboard.press("Enter")
    await expect(counter.locator("#buyer")).to_have_text("Ada Byron")
    await expect(counter.get_by_role("button", name="Choose places to give back")).to_be_disabled()
    await press(counter.get_by_label("Stalls, row B, seat 16"), "Space")
    await press(counter.get_by_role("button", name="Give 1 place back"))
    await expect(counter.get_by_role("alert")).to_have_text("Please say why.")
    await expect(counter.get_by_label("Reason")).to_be_focused()
    await counter.keyboard.type("A broken leg")
    await shoot(counter, "counter")
    await press(counter.get_by_role("button", name="Give 1 place back"))
    await expect(counter.locator("#ask")).to_contain_text("Give 1 place for €47.50 back to Ada Byron?")
    await expect(counter.get_by_role("button", name="No")).to_be_focused()
    await shoot(counter, "counter-ask")
    await press(counter.get_by_role("button", name="Yes, refund"))
    await expect(counter.get_by_role("list", name="Refunds")).to_contain_text("A broken leg")
    await expect(counter.locator("#booking .chip").first).to_have_text("Partly refunded")
    await expect(counter.get_by_role("list", name="Refunds")).to_contain_text("−€47.50")
    await shoot(counter, "counter-refunded")

    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator("#title")).to_have_text("Partly refunded")
    await expect(page.get_by_role("list", name="Refunds")).to_contain_text("−€47.50")
    await expect(tickets.nth(0)).to_contain_text("Refunded")
    await expect(tickets.nth(0).locator("svg")).to_have_count(0)
    await expect(tickets.nth(1)).to_contain_text("Valid")
    await shoot(page, "tickets-refunded")

    # The other one: all that is left, and the booking has ended.
    await press(counter.get_by_label("Stalls, row B, seat 17"), "Space")
    await counter.get_by_label("Reason").fill("The other leg")
    await press(counter.get_by_role("button", name="Give 1 place back"))
    await press(counter.get_by_role("button", name="Yes, refund"))
    await expect(counter.locator("#booking .chip").first).to_have_text("Refunded")
    await expect(counter.locator("#refund")).to_have_count(0)
    assert await counter.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator("#title")).to_have_text("Refunded")
    await expect(tickets.nth(1)).to_contain_text("it lets nobody in any more")
    await context.close()
    assert said == []


@pytest.mark.parametrize("won", [True, False], ids=["won", "lost"])
async def test_a_dispute_flags_the_tickets_until_the_bank_decides(
    page: Page, shop: LiveServer, stripe_double: Any, event: str, won: bool
) -> None:
    made = await buy(shop, event, 50)
    await page.goto(made.link)
    ticket = page.get_by_role("list", name="Your ticket").get_by_role("listitem")
    await expect(ticket).to_contain_text("Valid")
    dispute = await stripe_double.steering.open_dispute(made.intent)
    clerk = (await shop.sign_in())["Authorization"].removeprefix("Bearer ")

    async def stands(state: str) -> bool:
        return bool((await call(shop, "GET", f"/bookings/{made.id}", token=clerk))["state"] == state)

    await eventually(lambda: stands("disputed"), 30)
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator("#title")).to_have_text("The payment is disputed")
    await expect(ticket).to_contain_text("the staff at the door decide")
    await expect(ticket.locator("svg")).to_be_visible()
    await shoot(page, "disputed")
    scan = {"ticket": await ticket.locator("code").inner_text(), "event": event, "gate": "north"}
    assert (await call(shop, "POST", "/tickets/scan", scan, token=clerk))["outcome"] == "flagged"
    # Staff see it, too, and cannot give money back that the bank has taken.
    counter = await page.context.new_page()
    await counter.add_init_script(f"sessionStorage.setItem('lml.staff-token', '{clerk}')")
    await counter.goto(f"{shop.url}/counter/bookings?booking={made.id}")
    await expect(counter.locator("#told")).to_contain_text("the tickets are flagged")
    await expect(counter.locator("#refund")).to_have_count(0)
    await shoot(counter, "counter-disputed")

    await stripe_double.steering.close_dispute(dispute, won=won)
    await eventually(lambda: stands("confirmed" if won else "charged_back"), 30)
    for one in (page, counter):
        await one.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    title, says = ("Your seats are booked", "Valid") if won else ("The payment was taken back", "at the door decide")
    await expect(page.locator("#title")).to_have_text(title)
    await expect(ticket).to_contain_text(says)
    await expect(counter.locator("#booking .chip").first).to_have_text("Booked" if won else "Charged back")
    await expect(counter.locator("#told")).to_have_count(0 if won else 1)
    assert (await call(shop, "POST", "/tickets/scan", scan, token=clerk))["outcome"] == (
        "admitted" if won else "flagged"
    )


async def test_a_venue_is_paid_after_its_event(page: Page, shop: LiveServer, stripe_double: Any, event: str) -> None:
    """On the organisation's page: what is due once the event has begun, what waits, that it came, and what went back.

    The way to an account, by hand, is in tests/web/test_web_organisation.py.
    """
    admin = (await shop.sign_in())["Authorization"].removeprefix("Bearer ")
    name = f"opera-{secrets.token_hex(4)}"
    terms = {"id": name, "name": "City Opera", "currency": "EUR", "hold_back_days": 0, "fee_basis_points": 1_000}
    await call(shop, "POST", "/organisations", terms, token=admin, status=201)
    venue = {"id": name, "name": "Opera House"}
    await call(shop, "POST", f"/organisations/{name}/venues", venue, token=admin, status=201)
    theirs = await shop.new_event(starts_at=datetime.now(UTC))
    await call(shop, "PUT", f"/organisations/{name}/venues/{name}/events/{theirs}", token=admin, status=204)
    made, given_back = await buy(shop, theirs, 60, 61), await buy(shop, theirs, 65)

    async def line() -> dict[str, Any]:
        shown = await call(shop, "GET", f"/organisations/{name}/statement", token=admin)
        [one] = shown["items"]
        return dict(one)

    async def reads(**wanted: int) -> bool:
        shown = await line()
        return wanted.items() <= shown.items()

    # Three tickets of €45.00, and €2.50 beside: that is ours, and so is a tenth.
    await eventually(lambda: reads(sold=14_250, fees=2_100, due=12_150, transferred=0), 30)
    await page.add_init_script(f"sessionStorage.setItem('lml.staff-token', '{admin}')")
    address = f"{shop.url}/organisation?organisation={name}"
    await page.goto(address)
    await expect(page.locator("#lines .card")).to_contain_text("waits until Stripe can pay the account")
    await shoot(page, "payout-waits")
    await call(shop, "POST", f"/organisations/{name}/onboarding", {"country": "AT"}, token=admin, status=201)
    account = (await call(shop, "GET", f"/organisations/{name}", token=admin))["account"]["id"]
    await stripe_double.steering.onboard(account)
    await look(shop, stripe_double)
    await eventually(lambda: reads(transferred=12_150, due=0), 30)
    await page.reload()
    await expect(page.locator("#account .chip")).to_have_text("Can be paid")
    await expect(page.locator("#lines .card")).to_contain_text("€121.50")
    await shoot(page, "payout-paid")

    # What is given back afterwards is taken back, and the account has what the statement says.
    await call(shop, "POST", f"/bookings/{given_back.id}/refund", {"reason": "Ill"}, token=admin, status=201)
    await eventually(lambda: reads(refunded=4_750, transferred=8_100, underway=0, receivable=0, due=0), 30)
    await page.reload()
    await expect(page.locator("#lines .card")).to_contain_text("€81.00")
    await shoot(page, "payout-refunded")
    ledger = await stripe_double.steering.ledger()
    assert sum(one.amount for one in ledger.account_transactions[account]) == 8_100
    async with page.expect_download() as saved:
        await press(page.get_by_role("button", name="Save as CSV"))
    [row] = csv.DictReader((await (await saved.value).path()).read_text().splitlines())
    assert (row["event"], row["transferred"]) == (theirs, "8100")
    shown = await call(shop, "GET", f"/bookings/{made.id}", token=admin)
    assert shown["state"] == "confirmed", "of whom nothing was given back"
