"""Sales at the counter over REST, on a server that has no Stripe: what is sold, who is told, what is refused."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from lines import Lines
from test_counter import Counter, counter  # noqa: F401

from lml_live import errors
from lml_live.client import Sale, SeatsRefused, StaffClient
from lml_live.values import BLOCKED, SOLD

FRONT = 4_500 + 250


def made(answer: Sale | SeatsRefused) -> Sale:
    assert isinstance(answer, Sale), answer
    return answer


async def test_a_clerk_sells_a_hold_and_over_a_house_hold_and_gives_money_back(counter: Counter, lines: Lines) -> None:  # noqa: F811
    event, seats = counter.event, counter.seats
    line = await lines.greeted(counter.server)
    await counter.block("house", 10, 11)
    await line.hear_seats({10: BLOCKED, 11: BLOCKED})
    customer = await counter.customer()
    theirs = await lines.greeted(counter.server, token=counter.tokens[customer])
    hold = (await counter.hold(customer, 1, 10, over_house=True)).body["id"]
    async with StaffClient(counter.server.url, counter.tokens["box_office"]) as clerk:
        first = made(await clerk.sell(event, "card_terminal", hold=hold, email="kim@example.org", key="once"))
        assert (first.state, first.amount, first.tender, first.hold) == ("confirmed", 2 * FRONT, "card_terminal", hold)
        assert set(first.seats) == {seats[1], seats[10]}
        await line.hear_seats({1: SOLD, 10: SOLD})
        told = [await theirs.hear("hold_changed") for _ in range(3)]
        assert [(one["state"], one["reason"]) for one in told] == [
            *(("active", "staff"), ("checkout", "own"), ("sold", "booked")),
        ]
        again = made(await clerk.sell(event, "card_terminal", hold=hold, email="kim@example.org", key="once"))
        assert again == first, "sent twice it is sold once"
        with pytest.raises(errors.Refused) as gone:
            await clerk.sell(event, "cash", hold=hold)
        assert gone.value.code == "hold_not_found"
        # Of the floor's 40 places one is for sale: the second one is the house's.
        async with StaffClient(counter.server.url, counter.tokens["manager"]) as manager:
            assert (await manager.block(event, "house", "press", areas={"floor": 39})).areas == {"floor": 39}
        short = await clerk.sell(event, "cash", areas={"floor": 2}, over_house=False)
        assert isinstance(short, SeatsRefused)
        assert short.code == "area_full"
        second = made(await clerk.sell(event, "cash", seats=[seats[11]], areas={"floor": 2}, reason="walk-in"))
        assert (second.areas, second.seats) == ({"floor": 2}, (seats[11],))
        lent = [(one.act, one.quantity, one.status) async for one in clerk.changes(event) if one.area_id]
        assert lent == [("block", 39, "house"), ("sell", 2, "sold"), ("unblock", 1, "sold")]
        await line.hear_seats({11: SOLD})
        given = made(await clerk.sell(event, "comp", seats=[seats[2]], name="Press", reason="review"))
        assert (given.amount, given.forgone) == (0, FRONT)
        taken = await clerk.sell(event, "cash", seats=[seats[2], seats[3]])
        assert isinstance(taken, SeatsRefused)
        assert (taken.code, taken.seats) == ("seat_taken", (seats[2],))
        log = [(one.act, one.status, one.staff_email, one.reason) async for one in clerk.changes(event, seat=seats[11])]
        assert log == [
            ("block", "house", "manager@example.com", "press"),
            ("sell", "sold", "box_office@example.com", "walk-in"),
        ]
    # The customer sees it, and so does who has the booking's own secret; what was paid at the counter goes back there.
    shown = (await counter.call("GET", f"/bookings/{first.id}", who=customer)).body
    assert (shown["tender"], shown["payment"]["status"], shown["forgone"]) == ("card_terminal", "none", None)
    cancelled = await counter.call("POST", f"/bookings/{first.id}/cancel", who=customer)
    assert cancelled.body["state"] == "confirmed"
    assert [one["id"] for one in (await counter.call("GET", "/bookings", who=customer)).body["items"]] == [first.id]
    for query, found in (
        ("", [given.id, second.id, first.id]),
        ("&q=KIM", [first.id]),
        ("&q=Press", [given.id]),
        (f"&q={second.id}", [second.id]),
        (f"&seat={seats[11]}", [second.id]),
        (f"&q=nobody&seat={seats[11]}", []),
    ):
        listed = await counter.call("GET", f"/bookings?event={event}{query}")
        assert [one["id"] for one in listed.body["items"]] == found, query
        assert not any("access" in one for one in listed.body["items"])
    assert listed.body["next"] is None
    first_page = (await counter.call("GET", f"/bookings?event={event}&limit=2")).body
    rest = (await counter.call("GET", f"/bookings?event={event}&cursor={quote(first_page['next'])}")).body
    assert [one["tender"] for one in first_page["items"] + rest["items"]] == ["comp", "cash", "card_terminal"]
    assert rest["items"][0]["buyer"] == {"name": "Kim", "email": "kim@example.org"}
    for query in ("", "?event=a{b}", f"?event={event}&q=", f"?event={event}&q=%00", f"?event={event}&seat=x"):
        assert (await counter.call("GET", f"/bookings{query}")).code == "invalid_message", query
    tickets = await counter.call("GET", f"/bookings/{second.id}/tickets", who=second.access)
    assert len(tickets.body["items"]) == 3
    refund = await counter.call("POST", f"/bookings/{first.id}/refund", {"reason": "ill", "lines": [1]})
    assert (refund.status, refund.body["state"], refund.body["amount"]) == (201, "succeeded", FRONT)
    await line.hear_seats({1: 0})
    assert (await counter.call("GET", f"/bookings/{first.id}", who=customer)).body["state"] == "partially_refunded"
    async with counter.server.pool() as pool:
        rows = await pool.fetch("SELECT actor_kind FROM booking_history WHERE booking_id = $1", second.id)
        assert {row["actor_kind"] for row in rows} == {"staff"}
        asked = "SELECT count(*) FROM payment p JOIN booking b ON b.id = p.booking_id WHERE b.tender IS NOT NULL"
        assert await pool.fetchval(asked) == 0


async def test_a_counter_sells_as_the_sale_stands(counter: Counter) -> None:  # noqa: F811
    body = {"seats": [counter.seats[1]], "tender": "cash"}
    for state, opens_in_hours, code in (
        *(("open", 5, None), ("paused", -1, "sale_paused"), ("closed", -1, "sale_closed"), ("draft", 5, "not_found")),
    ):
        opens = datetime.now(UTC) + timedelta(hours=opens_in_hours)
        counter.event = await counter.server.new_event(state=state, on_sale_at=opens)
        answer = await counter.call("POST", f"/box-office/{counter.event}/sales", body)
        assert answer.status == 201 if code is None else answer.code == code


async def test_what_no_sale_can_be(counter: Counter) -> None:  # noqa: F811
    await counter.block("kill", 4)
    stranger = await counter.public_hold(await counter.browser(), 0)
    path, seat = f"/box-office/{counter.event}/sales", counter.seats[1]
    good = {"seats": [seat], "tender": "cash"}
    for change, code in (
        ({"tender": "card"}, "invalid_message"),
        ({"tender": None}, "invalid_message"),
        ({"hold": "1-none"}, "invalid_message"),
        ({"seats": []}, "invalid_message"),
        ({"seats": [seat, seat]}, "invalid_message"),
        ({"seats": ["0" * 64]}, "unknown_seat"),
        ({"seats": [counter.seats[4]]}, "seat_taken"),
        ({"seats": [counter.seats[0]]}, "seat_taken"),
        ({"seats": [{"seat_id": seat, "type": "senator"}]}, "invalid_message"),
        ({"areas": {"balcony": 1}}, "unknown_area"),
        ({"areas": {"floor": 41}}, "area_full"),
        ({"areas": {"floor": 50}}, "limit_exceeded"),
        ({"buyer": {"email": "nobody"}}, "invalid_message"),
        ({"buyer": {"name": ""}}, "invalid_message"),
        ({"amount": 1}, "invalid_message"),
        ({"staff": "somebody else"}, "invalid_message"),
        ({"seats": [], "hold": stranger}, "forbidden"),
        ({"seats": [], "hold": "1-none"}, "hold_not_found"),
        ({"seats": [], "hold": "a{b}"}, "invalid_message"),
    ):
        answer = await counter.call("POST", path, good | change)
        assert answer.code == code, (change, answer.raw)
    other = await counter.server.new_event()
    refused = await counter.call("POST", f"/box-office/{other}/sales", {"hold": stranger, "tender": "cash"})
    assert refused.code == "hold_not_found", "a hold of another event"
    assert (await counter.details(1))[0]["status"] == "available"
    async with counter.server.pool() as pool:
        made = "SELECT count(*) FROM booking WHERE event_id = $1 AND buyer_name IS NOT NULL"
        assert await pool.fetchval(made, counter.event) == 0
