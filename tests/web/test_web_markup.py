"""Markup in labels and names is text on every page that shows them, in real Chromium; nothing of it runs."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from playwright.async_api import Browser, Page, expect
from serving import LiveServer, hall_of_300
from test_web_checkout import PAYS, Buyer

from lml_live.booking.letters import Facts, compose
from lml_live.booking.organisations import NewOrganisation, Organisations
from lml_live.infra.mongo import close_database, connect_database
from lml_live.venues.layout import Layout, seal_layout
from lml_live.venues.library import Library

pytestmark = pytest.mark.asyncio(loop_scope="session")


def marked(what: str) -> str:
    """A label that would be an element, and would call us, on a page that takes it for markup."""
    return f"<img src=x onerror=ran('{what}')><script>ran()</script>"


NAMES = {what: marked(what) for what in ("section", "row", "seat", "category", "area", "hall", "event", "venue")}


def marked_hall(layout_id: str) -> Layout:
    """The test hall, whose labels are markup: so is the number of each first seat, and the label of the first row."""
    hall = hall_of_300(layout_id)
    stalls, floor = hall.sections
    replace = msgspec.structs.replace
    rows = [
        replace(
            row,
            label=row.label if at else NAMES["row"],
            seats=tuple(
                replace(seat, number=seat.number if n else NAMES["seat"], category=NAMES["category"], seat_id="")
                for n, seat in enumerate(row.seats)
            ),
        )
        for at, row in enumerate(stalls.rows)
    ]
    sections = (
        replace(stalls, name=NAMES["section"], rows=tuple(rows)),
        replace(floor, name=NAMES["area"], category=NAMES["category"]),
    )
    return seal_layout(replace(hall, name=NAMES["hall"], sections=sections))


async def sell_on(server: LiveServer, layout_id: str) -> str:
    """An open event on it."""
    body = {
        "id": f"event-{secrets.token_hex(4)}",
        "name": NAMES["event"],
        "venue": NAMES["venue"],
        "starts_at": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
        "on_sale_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
        "currency": "EUR",
        "layout": {"id": layout_id},
        "prices": [{"category": NAMES["category"], "amount": 4500}],
    }
    for path, sent in (("", body), (f"/{body['id']}/open", None)):
        headers = await server.sign_in() | {"Idempotency-Key": secrets.token_hex(8)}
        async with server.session() as http, http.post(f"/api/v1/events{path}", json=sent, headers=headers) as answer:
            assert answer.status in (200, 201), await answer.text()
    return str(body["id"])


async def furnish(server: LiveServer) -> str:
    """An organisation with an event that is over."""
    name = f"org-{secrets.token_hex(4)}"
    async with server.pool() as pool:
        organisations = Organisations(pool)
        wish = NewOrganisation(id=name, name=NAMES["hall"], currency="EUR", fee_basis_points=500, fee_per_ticket=50)
        await organisations.create(wish)
        await organisations.add_venue(name, NAMES["venue"], venue=name)
        await pool.execute(
            "INSERT INTO event (id, group_id, name, venue, starts_at, on_sale_at, state, currency, layout_id,"
            " layout_version, layout_hash, seat_count, max_seats, hold_seconds, extensions, lifetime_seconds, venue_id)"
            " VALUES ($1, $1, $2, $3, $4, $4, 'closed', 'EUR', 'none', 1, '', 1, 8, 300, 2, 900, $1)",
            *(name, NAMES["event"], NAMES["venue"], datetime.now(UTC) - timedelta(days=30)),
        )
    return name


async def shows(page: Page, *names: str) -> None:
    """Each of these is there as text, and no label has become an element."""
    for name in names:
        await expect(page.locator("body")).to_contain_text(NAMES[name])
    assert await page.evaluate("document.querySelectorAll('img[src=x], [onerror], script:not([src])').length") == 0


async def test_markup_in_labels_is_text_on_every_page(browser: Browser, shop: LiveServer, stripe_double: Any) -> None:
    hall = marked_hall(f"marked-{secrets.token_hex(4)}")
    await shop.deploy(hall)
    event = await sell_on(shop, hall.layout_id)
    # Without the pages' own policy, which would keep a handler from running, too.
    context = await browser.new_context(bypass_csp=True, viewport={"width": 1280, "height": 800}, locale="en-GB")
    ran: list[str] = []
    await context.expose_function("ran", lambda what="": ran.append(what))
    page = await context.new_page()
    page.on("dialog", lambda dialog: ran.append(dialog.message))

    # What visitors and buyers see: the list of events, the map, the basket, the checkout, the booking, its tickets.
    await page.goto(shop.url)
    await shows(page, "event", "venue")
    shop.event, buyer = event, Buyer(page, shop)
    await buyer.visit()
    await buyer.hold(0, 26)
    await shows(page, "event", "venue", "section", "row", "seat", "category", "area")
    await buyer.begin()
    await shows(page, "section", "row", "seat")
    booking = await page.evaluate("lml.page.checkout.booking.id")
    await buyer.pay(PAYS)
    await buyer.done()
    await buyer.open_booking()
    await expect(page.locator("#tickets-title")).to_have_text("Your tickets")
    await shows(page, "event", "venue", "section", "row", "seat")
    await page.goto(f"{shop.url}/bookings")
    await shows(page, "event")

    # What staff see: the counter, a booking there, plans, the editor, an organisation.
    token = (await shop.sign_in())["Authorization"].removeprefix("Bearer ")
    keep = f"sessionStorage.setItem('lml.staff-token', {json.dumps(token)})"
    await context.add_init_script(f"if (location.protocol === 'http:') {keep}")
    await page.goto(f"{shop.url}/counter?event={event}")
    await expect(page.locator("#seats button").first).to_be_visible()
    await shows(page, "event", "section", "row", "seat")
    await page.goto(f"{shop.url}/counter/bookings?booking={booking}")
    await shows(page, "event", "section", "row", "seat")
    await page.goto(f"{shop.url}/layouts")
    await shows(page, "hall")
    database = connect_database(shop.mongo_url, shop.mongo_name)
    try:
        await Library(database).begin_draft(hall.layout_id, 1)
    finally:
        close_database(database)
    await page.goto(f"{shop.url}/layouts/{hall.layout_id}/edit")
    await expect(page.locator("#title")).to_have_text(NAMES["hall"])
    await expect(page.locator("#map")).to_be_visible()
    sheet = page.locator("#map")
    await sheet.focus()
    await sheet.press("Control+a")
    await shows(page, "hall")
    await sheet.press("Escape")
    await sheet.press("b")
    await shows(page, "hall", "category")
    await page.goto(f"{shop.url}/organisation?organisation={await furnish(shop)}")
    await shows(page, "hall", "event")

    # What is mailed, as a mail program shows it.
    facts = Facts(
        **dict.fromkeys(("booking", "name"), NAMES["seat"]),
        **{name: NAMES[name] for name in ("event", "venue")},
        id=1,
        kind="confirmed",
        email="ada@example.org",
        amount=1,
        currency="EUR",
        places=2,
        starts_at=datetime.now(UTC),
        link="https://example.org/#1",
    )
    mail = compose(facts, "Box office <box@example.org>", datetime.now(UTC)).get_body(("html",))
    assert mail is not None
    await page.goto("about:blank")
    await page.set_content(mail.get_content())
    await shows(page, "event", "venue", "seat")
    await context.close()
    assert (ran, buyer.said) == ([], [])
