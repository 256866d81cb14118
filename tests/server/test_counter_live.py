"""What the counter sells and looks up over staff's own socket, beside REST: the same answers, roles and refusals."""

import asyncio
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from lines import Line, Lines
from test_channels_live import assign
from test_counter import PASSWORD, Counter, counter  # noqa: F401
from test_staff_holds_live import clerk_of, for_customer

from lml_live import limits
from lml_live.client import ChangesResult, ChannelsResult, LiveClient, Refusal, SellResult
from lml_live.gateway import wire
from lml_live.guard.staff import StaffDesk
from lml_live.values import AVAILABLE, BLOCKED, SOLD

FRONT = 4_500 + 250

READS: tuple[tuple[str, dict[str, Any]], ...] = (("read_status_changes", {}), ("read_channels", {}))
ASKED: tuple[tuple[str, dict[str, Any]], ...] = (("sell", {"seats": [20], "tender": "cash"}), *READS)
"""Each of the messages, as it is granted."""


async def bookings_of(counter: Counter) -> list[Any]:  # noqa: F811
    listed = await counter.call("GET", f"/bookings?event={counter.event}&limit=200")
    assert listed.status == 200, listed.raw
    return list(listed.body["items"])


# --- Sold


async def test_a_clerk_sells_a_hold_and_over_a_house_hold(
    counter: Counter,  # noqa: F811
    lines: Lines,
    fmt: wire.Format,
) -> None:
    """What is answered is what REST answers; the public and the customer are told, and the log has who and why."""
    counter.event = await counter.server.new_event(max_seats=50)
    await counter.block("house", 10, 11)
    await counter.block("kill", 12)
    holder = await counter.customer()
    hold = (await counter.hold(holder, 1, 10, over_house=True)).body["id"]
    theirs = await lines.greeted(counter.server, event=counter.event, token=counter.tokens[holder])
    public = await lines.greeted(counter.server, event=counter.event)
    clerk = await clerk_of(counter, lines, fmt)

    sold = await clerk.ask("sell", hold=hold, tender="card_terminal", buyer={"email": "kim@example.org"}, reason="desk")
    assert set(sold) == {"type", "id", "booking"}
    booking = sold["booking"]
    assert (sold["type"], booking["state"], booking["amount"], booking["tender"], booking["hold"]) == (
        *("sold", "confirmed", 2 * FRONT, "card_terminal", hold),
    )
    assert set(booking["seats"]) == {counter.seats[1], counter.seats[10]}
    assert (await theirs.hear("hold_changed", state="sold"))["booking"] == booking["id"]
    await public.hear_seats({1: SOLD, 10: SOLD})
    # With its own secret it is read as whoever sold it over REST was answered.
    shown = await counter.call("GET", f"/bookings/{booking['id']}", who=booking["access"])
    assert (shown.status, shown.body) == (200, booking)
    (listed,) = await bookings_of(counter)
    assert listed["buyer"] == {"name": "Kim", "email": "kim@example.org"}
    assert listed == {name: value for name, value in booking.items() if name != "access"} | {"buyer": listed["buyer"]}
    tickets = await counter.call("GET", f"/bookings/{booking['id']}/tickets", who=booking["access"])
    assert len(tickets.body["items"]) == 2

    refused = await clerk.ask("sell", seats=[11], tender="cash", over_house=False)
    assert (refused["type"], refused["code"], refused["seats"]) == ("error", "seat_taken", [11])
    for seat in (12, 1):
        refused = await clerk.ask("sell", seats=[seat, 13], tender="cash", over_house=True)
        assert (refused["code"], refused["seats"]) == ("seat_taken", [seat]), "killed, or sold"
    assert public.seats[11] == BLOCKED
    places = await clerk.ask("sell", seats=[{"seat": 11, "type": "standard"}], areas={"floor": 2}, tender="cash")
    assert (places["booking"]["seats"], places["booking"]["areas"]) == ([counter.seats[11]], {"floor": 2})
    await public.hear_seats({11: SOLD, 12: BLOCKED, 13: AVAILABLE})
    await public.hear_area("floor", available=38, sold=2)
    given = (await clerk.ask("sell", seats=[2], tender="comp", buyer={"name": "Press"}, reason="review"))["booking"]
    assert (given["amount"], given["forgone"]) == (0, FRONT)

    over_rest = {"seats": [counter.seats[3]], "tender": "cash"}
    assert (await counter.call("POST", f"/box-office/{counter.event}/sales", over_rest)).status == 201
    log = (await counter.changes()).body["items"]
    sales = [(item.get("seat_id"), item["reason"], item["booking"]) for item in log if item["act"] == "sell"]
    assert {
        (counter.seats[1], "desk", booking["id"]),
        (counter.seats[2], "review", given["id"]),
        (None, "cash", places["booking"]["id"]),
    } <= set(sales)
    assert {item["staff_email"] for item in log if item["act"] == "sell"} == {"box_office@example.com"}
    async with counter.server.pool() as pool:
        rows = await pool.fetch(
            "SELECT staff_id, origin FROM status_change WHERE event_id = $1 AND act = 'sell'", counter.event
        )
    by = {(row["staff_id"], row["origin"]) for row in rows}
    assert len(by) == 1, "over the socket as over REST: the same member of staff, from the same address"
    assert all(by.pop())
    assert not {"access", "buyer", "staff"} & {name for message in public.heard for name in message}


async def test_places_that_the_house_keeps_back_are_sold_if_they_say_so(counter: Counter, lines: Lines) -> None:  # noqa: F811
    """Of the floor's 40 places one is for sale."""
    counter.event = await counter.server.new_event(max_seats=50)
    manager = await clerk_of(counter, lines, who="manager")
    assert (await manager.ask("block", areas={"floor": 39}, kind="house", reason="press"))["areas"] == {"floor": 39}
    clerk = await clerk_of(counter, lines)
    refused = await clerk.ask("sell", areas={"floor": 2}, tender="cash", over_house=False)
    assert (refused["code"], refused["areas"]) == ("area_full", {"floor": 1})
    sold = await clerk.ask("sell", areas={"floor": 2}, tender="cash")
    assert sold["booking"]["areas"] == {"floor": 2}


async def test_what_is_asked_again_is_one_booking(counter: Counter, lines: Lines) -> None:  # noqa: F811
    """On another socket, as after a lost connection, and on two at once. A key of one request is none for another."""
    counter.event = await counter.server.new_event(max_seats=50)
    holder = await counter.customer()
    hold = (await counter.hold(holder, 0)).body["id"]
    first, second = await clerk_of(counter, lines), await clerk_of(counter, lines, wire.MSGPACK)
    places = {"seats": [4], "areas": {"floor": 2}, "tender": "cash", "key": "k1"}
    held = {"hold": hold, "tender": "card_terminal", "key": "k2"}
    for asked in (places, held):
        made = await first.ask("sell", **asked)
        assert made["type"] == "sold", made
        assert (await second.ask("sell", **asked))["booking"] == made["booking"]
    assert (await second.ask("sell", **{**held, "key": "k3"}))["code"] == "hold_not_found", "sold already"
    for kind, other in (
        ("sell", {**places, "seats": [5]}),
        ("sell", {**places, "tender": "comp"}),
        ("sell", {**places, "buyer": {"name": "Lee"}}),
        ("sell", {**places, "over_house": False}),
        ("sell", {**held, "key": "k1"}),
        ("hold_for_customer", for_customer(holder, 7, key="k1")),
    ):
        assert (await second.ask(kind, **other))["code"] == "idempotency_mismatch", other
    at_once = {"seats": [8], "areas": {"floor": 1}, "tender": "cash", "key": "k4"}
    answers = await asyncio.gather(*(line.ask("sell", **at_once) for line in (first, second)))
    assert len({answer["booking"]["id"] for answer in answers}) == 1, answers
    unnamed = {"areas": {"floor": 1}, "tender": "cash"}
    ids = {(await first.ask("sell", **unnamed))["booking"]["id"] for _ in range(2)}
    assert len(ids) == 2, "without a key each is its own"
    assert len(await bookings_of(counter)) == 5
    # Of the house's 40 places: 2, 1, 1 and 1.
    await first.hear_area("floor", available=35, sold=5)


async def test_a_key_is_one_events_and_one_clerks(counter: Counter, lines: Lines) -> None:  # noqa: F811
    made = set()
    for who in ("box_office", "manager"):
        for _ in range(2):
            counter.event = await counter.server.new_event(max_seats=50)
            line = await clerk_of(counter, lines, who=who)
            made.add((await line.ask("sell", seats=[0], tender="cash", key="same"))["booking"]["id"])
    line = await clerk_of(counter, lines)
    made.add((await line.ask("sell", seats=[1], tender="cash", key="same"))["booking"]["id"])
    assert len(made) == 5


async def test_what_was_refused_may_be_sold_the_next_time(counter: Counter, lines: Lines) -> None:  # noqa: F811
    """No answer is kept: it is answered as things are by then."""
    counter.event = await counter.server.new_event(max_seats=50)
    browser = await counter.browser()
    hold = await counter.public_hold(browser, 0)
    clerk = await clerk_of(counter, lines)
    asked = {"seats": [0], "tender": "cash", "key": "k"}
    assert (await clerk.ask("sell", **asked))["code"] == "seat_taken"
    assert (await counter.call("POST", f"/holds/{hold}/release", {"reason": "x"})).status == 204
    assert (await clerk.ask("sell", **asked))["booking"]["seats"] == [counter.seats[0]]


# --- Refused


async def test_what_is_refused_over_rest_is_refused_over_the_socket(counter: Counter, lines: Lines) -> None:  # noqa: F811
    """Word for word the same codes; seats are ids there and indexes here."""
    counter.event = await counter.server.new_event(max_seats=50)
    elsewhere = (await counter.hold(await counter.customer(), 0)).body["id"]
    counter.event = await counter.server.new_event(max_seats=50)
    await counter.block("kill", 4)
    stranger = await counter.public_hold(await counter.browser(), 0)
    clerk = await clerk_of(counter, lines)
    good = {"seats": [1], "tender": "cash"}
    for change, code in (
        *(({"hold": "1-none"}, "invalid_message"), ({"seats": []}, "invalid_message")),
        *(({"seats": [1, 1]}, "invalid_message"), ({"seats": [{"seat": 1, "type": "senator"}]}, "invalid_message")),
        *(({"seats": [4, 1]}, "seat_taken"), ({"seats": [0, 1]}, "seat_taken")),
        *(({"seats": [4], "tender": "comp"}, "seat_taken"), ({"areas": {"balcony": 1}}, "unknown_area")),
        *(({"areas": {"floor": 41}}, "area_full"), ({"areas": {"floor": 50}}, "limit_exceeded")),
        *(({"seats": [], "hold": one}, "hold_not_found") for one in (elsewhere, "1-none", "none")),
        ({"seats": [], "hold": stranger}, "forbidden"),
    ):
        asked: dict[str, Any] = good | change
        over_rest = await counter.call("POST", f"/box-office/{counter.event}/sales", in_rest(asked, counter.seats))
        refused = await clerk.ask("sell", **asked)
        assert (refused["type"], refused["code"], refused["message"]) == ("error", code, over_rest.body["detail"]), (
            change
        )
        assert over_rest.code == code, change
        in_the_way = [counter.seats[seat] for seat in refused.get("seats", ())]
        assert in_the_way == over_rest.body.get("seats", []), change
        assert refused.get("areas", {}) == over_rest.body.get("areas", {}), change
    assert await bookings_of(counter) == []
    assert (await counter.details(1))[0]["status"] == "available"
    assert (await counter.call("POST", f"/holds/{elsewhere}/release", {"reason": "x"})).status == 204, "it lives"
    # A comp needs no reason over REST, and none here.
    free = {"seats": [20], "tender": "comp"}
    over_rest = await counter.call("POST", f"/box-office/{counter.event}/sales", in_rest(free, counter.seats))
    assert (over_rest.status, (await clerk.ask("sell", **free | {"seats": [21]}))["type"]) == (201, "sold")


def in_rest(asked: dict[str, Any], seats: Sequence[str]) -> dict[str, Any]:
    """The same request as REST's body."""
    named = [
        {"seat_id": seats[wish["seat"]], "type": wish["type"]} if isinstance(wish, dict) else seats[wish]
        for wish in asked["seats"]
    ]
    return {**asked, "seats": named}


@pytest.mark.parametrize(("act", "code"), [("pause", "sale_paused"), ("close", "sale_closed")])
async def test_the_sale_binds_clerks(counter: Counter, lines: Lines, act: str, code: str) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    clerk = await clerk_of(counter, lines)
    changed = await counter.call("POST", f"/events/{counter.event}/{act}", who="manager", key=None)
    assert changed.status == 200, changed.raw
    assert (await clerk.ask("sell", seats=[0], tender="cash"))["code"] == code
    for kind, fields in READS:
        assert (await clerk.ask(kind, **fields))["type"] != "error", kind


async def test_who_may_not(counter: Counter, lines: Lines) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    holder = await counter.customer()
    public = await lines.greeted(counter.server, event=counter.event)
    own = await lines.greeted(counter.server, wire.MSGPACK, event=counter.event, token=counter.tokens[holder])
    for line in (public, own):
        for kind, fields in ASKED:
            refused = await line.ask(kind, **fields)
            assert (refused["type"], refused["code"]) == ("error", "forbidden"), kind
            assert set(refused) == {"type", "id", "code", "message"}
    for seat, who in enumerate(("box_office", "manager", "admin")):
        line = await clerk_of(counter, lines, who=who)
        for kind, fields in (("sell", {"seats": [seat], "tender": "cash"}), *READS):
            assert (await line.ask(kind, **fields))["type"] in ("sold", "status_changes", "channels"), (who, kind)


@pytest.mark.parametrize("role", ["box_office", "manager"])
async def test_an_organisations_staff_have_their_own_events_only(counter: Counter, lines: Lines, role: str) -> None:  # noqa: F811
    """The event is the house's; over REST it is not there for them."""
    counter.event = await counter.server.new_event(max_seats=50)
    email, name = f"{secrets.token_hex(4)}@example.com", f"org-{secrets.token_hex(4)}"
    async with counter.server.pool() as pool:
        desk = StaffDesk(pool)
        await desk.add_staff(email, PASSWORD, (role,))  # type: ignore[arg-type]
        session = await desk.sign_in(email, PASSWORD)
        counter.tokens["bound"] = session.token
        await pool.execute("INSERT INTO organisation VALUES ($1, $1, 'EUR', 7)", name)
        await pool.execute(
            "INSERT INTO organisation_member (organisation_id, member_id) SELECT $1, id FROM staff WHERE email = $2",
            *(name, email),
        )
    line = await clerk_of(counter, lines, who="bound")
    for kind, fields in ASKED:
        assert (await line.ask(kind, **fields))["code"] == "forbidden", kind
    for path in ("channels", "status-changes"):
        assert (await counter.call("GET", f"/events/{counter.event}/{path}", who="bound")).code == "not_found"
    assert await bookings_of(counter) == []


@pytest.mark.parametrize(("kind", "fields"), ASKED)
async def test_who_has_signed_out(counter: Counter, lines: Lines, kind: str, fields: dict[str, Any]) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    email = f"{secrets.token_hex(4)}@example.com"
    async with counter.server.pool() as pool:
        desk = StaffDesk(pool)
        await desk.add_staff(email, PASSWORD, ("box_office",))
        counter.tokens["leaving"] = (await desk.sign_in(email, PASSWORD)).token
    line = await clerk_of(counter, lines, who="leaving")
    assert (await counter.call("DELETE", "/sessions", who="leaving")).status == 204
    await line.say(kind, id=1, **fields)
    assert await line.closed() == wire.CLOSE_UNAUTHORIZED
    assert [message["code"] for message in line.heard[1:]] in ([], ["unauthorized"])
    assert await bookings_of(counter) == []


GOOD = {"sell": {"seats": [1], "tender": "cash"}, "read_status_changes": {}, "read_channels": {}}


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        *(("sell", {"tender": tender}) for tender in ("card", None, 1, "", ["cash"])),
        *(("sell", {"seats": seats}) for seats in ([-1], [200_000], ["0"], [1.5], [True], [1] * 51, "1", {"seat": 1})),
        *(("sell", {"areas": areas}) for areas in ({"floor": 0}, {"floor": -1}, {"a b": 1}, {"floor": {}}, [])),
        *(("sell", {"hold": hold}) for hold in ("a{b}", "", "x" * 65, 7)),
        *(("sell", {"buyer": buyer}) for buyer in ({"email": "nobody"}, {"name": ""}, {"name": "nul\0"}, "Kim", [])),
        *(("sell", {"buyer": {"email": email}}) for email in ("a@b\n", "a@" + "b" * 253)),
        *(("sell", {"reason": reason}) for reason in ("", "x" * 201, "\n", 5)),
        *(("sell", {"over_house": over}) for over in (1, "yes", None)),
        *(("sell", {"key": key}) for key in ("", "k" * 256, 3)),
        *(("read_status_changes", {"seat": seat}) for seat in (-1, 200_000, "0", 1.5, True)),
        *(("read_status_changes", {"limit": limit}) for limit in (0, 201, -1, "5", None, 2**63)),
        *(("read_status_changes", {"since_ms": since}) for since in (-1, 0, 10**15, "now", 1.5)),
        *(
            ("read_status_changes", {"cursor": cursor})
            for cursor in ("x", "x" * 257, "", 5, "MjAzMC0wMS0wMVQwMDowMDowMCswMDowMCBh", "\ud7ff🎫")
        ),
    ],
)
async def test_what_none_of_them_can_be(counter: Counter, lines: Lines, kind: str, wrong: dict[str, Any]) -> None:  # noqa: F811
    counter.event = counter.server.event
    for fmt in (wire.JSON, wire.MSGPACK):
        line = await clerk_of(counter, lines, fmt)
        refused = await line.ask(kind, **{**GOOD[kind], **wrong})
        assert (refused["type"], refused["code"]) == ("error", "invalid_message"), refused
        assert (await line.ask("read_channels"))["type"] == "channels", "the socket goes on"


async def test_a_seat_that_is_none_is_unknown(counter: Counter, lines: Lines) -> None:  # noqa: F811
    clerk = await clerk_of(counter, lines)
    for kind, fields in (("sell", {"seats": [300], "tender": "cash"}), ("read_status_changes", {"seat": 300})):
        refused = await clerk.ask(kind, **fields)
        assert (refused["code"], refused["seats"]) == ("unknown_seat", [300])


async def test_reading_is_bounded_as_all_else_is(counter: Counter, lines: Lines) -> None:  # noqa: F811
    clerk = await clerk_of(counter, lines)
    asked = limits.MESSAGE_BURST_MAX + 40
    for number in range(1_000, 1_000 + asked):
        await clerk.say("read_channels", id=number)
    answers = [await clerk.hear("channels", "error") for _ in range(asked)]
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert {answer["code"] for answer in refused} == {"rate_limited"}
    assert all(answer["retry_after_ms"] > 0 for answer in refused)
    assert len(answers) - len(refused) >= limits.MESSAGE_BURST_MAX - 5


# --- Read


async def changed(counter: Counter, lines: Lines) -> Line:  # noqa: F811
    """A clerk's socket of an event in which something has happened to six seats and some places."""
    counter.event = await counter.server.new_event(max_seats=50)
    await counter.block("house", 0, 1)
    clerk = await clerk_of(counter, lines)
    await clerk.ask("sell", seats=[0], areas={"floor": 2}, tender="cash", reason="Ümläut “walk-in” 🎫")
    await clerk.ask("hold_for_customer", **for_customer(await counter.customer(), 2, 3))
    await assign(counter, "agency", 5, floor=4)
    return clerk


async def test_the_log_is_read_as_over_rest(counter: Counter, lines: Lines, fmt: wire.Format) -> None:  # noqa: F811
    await changed(counter, lines)
    clerk = await clerk_of(counter, lines, fmt)
    everything = (await counter.changes("?limit=200")).body
    assert {item["act"] for item in everything["items"]} >= {"block", "sell", "hold", "assign"}
    read = await clerk.ask("read_status_changes")
    assert set(read) == {"type", "id", "items", "next"}
    assert (read["items"], read["next"]) == (everything["items"], None)
    assert all(isinstance(item["at"], str) for item in read["items"])

    of_seat = await clerk.ask("read_status_changes", seat=0)
    assert of_seat["items"] == (await counter.changes(f"?seat={counter.seats[0]}")).body["items"]
    assert [item["act"] for item in of_seat["items"]] == ["block", "sell"]
    assert (await clerk.ask("read_status_changes", seat=299))["items"] == []

    pages, cursor = [], None
    for _ in range(20):
        page = await clerk.ask("read_status_changes", limit=2, **({} if cursor is None else {"cursor": cursor}))
        assert 1 <= len(page["items"]) <= 2
        over_rest = "" if cursor is None else f"&cursor={quote(cursor)}"
        assert (await counter.changes(f"?limit=2{over_rest}")).body == {name: page[name] for name in ("items", "next")}
        pages += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert pages == everything["items"], "nothing twice, and nothing left out"

    last = datetime.fromisoformat(everything["items"][-1]["at"])
    since_ms = int(last.timestamp() * 1000)
    since = datetime.fromtimestamp(since_ms / 1000, UTC).isoformat()
    late = await clerk.ask("read_status_changes", since_ms=since_ms)
    assert late["items"] == (await counter.changes(f"?since={quote(since)}")).body["items"]
    assert 0 < len(late["items"]) < len(pages)
    assert (await clerk.ask("read_status_changes", since_ms=since_ms + 1_000, seat=0))["items"] == []
    assert (await clerk.ask("read_status_changes", since_ms=since_ms + 10**10))["items"] == []


async def test_channels_are_read_as_over_rest(counter: Counter, lines: Lines, fmt: wire.Format) -> None:  # noqa: F811
    await changed(counter, lines)
    later_ms = 4_000_000_000_000
    manager = await clerk_of(counter, lines, who="manager")
    given = {"channel": "travel", "seats": [7], "areas": {}, "opens_at_ms": later_ms, "reason": "contract"}
    assert (await manager.ask("assign_seats", **given))["type"] == "assigned"
    clerk = await clerk_of(counter, lines, fmt)
    read = await clerk.ask("read_channels")
    assert set(read) == {"type", "id", "items"}
    assert read["items"] == (await counter.call("GET", f"/events/{counter.event}/channels")).body["items"]
    by_name = {item["channel"]: item for item in read["items"]}
    assert list(by_name) == ["open", "agency", "travel"]
    assert by_name["travel"]["opens_at"] == "2096-10-02T07:06:40Z"
    assert by_name["agency"]["areas"] == {"floor": {"assigned": 4, "available": 4, "held": 0, "sold": 0}}


# --- The client


@pytest.mark.parametrize("fmt", [wire.JSON, wire.MSGPACK], ids=["json", "msgpack"])
async def test_the_client_sells_and_reads(counter: Counter, fmt: wire.Format) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    async with LiveClient(counter.server.url, counter.event, token=counter.tokens["box_office"], fmt=fmt) as client:
        sold = await client.sell("cash", seats=[0], areas={"floor": 1}, name="Kim", email="kim@example.org", key="k")
        assert isinstance(sold, SellResult), sold
        assert (sold.booking.state, sold.booking.seats, sold.booking.areas) == (
            *("confirmed", (counter.seats[0],), {"floor": 1}),
        )
        assert sold.booking.expires_at.tzinfo is not None
        again = await client.sell("cash", seats=[0], areas={"floor": 1}, name="Kim", email="kim@example.org", key="k")
        assert again == sold
        hold = (await counter.hold(await counter.customer(), 1)).body["id"]
        held = await client.sell("comp", hold=hold, reason="press")
        assert isinstance(held, SellResult), held
        assert (held.booking.hold, held.booking.forgone, client.holds) == (hold, FRONT, {})
        for refused in (
            await client.sell("cash", hold=hold),
            await client.sell("cash", seats=[0], over_house=False),
            await client.sell("cash"),
        ):
            assert isinstance(refused, Refusal)
            assert refused.code in ("hold_not_found", "seat_taken", "invalid_message")
        await client.wait_for(lambda live: live.seats[0] == live.seats[1] == SOLD)

        first = await client.status_changes(limit=1)
        assert isinstance(first, ChangesResult), first
        (one,) = first.items
        assert (one.act, one.at.tzinfo is not None, first.next is not None) == ("sell", True, True)
        rest = await client.status_changes(cursor=first.next)
        assert isinstance(rest, ChangesResult)
        assert [item["number"] for item in (await counter.changes()).body["items"]] == [
            item.number for item in (*first.items, *rest.items)
        ]
        of_seat = await client.status_changes(seat=1, since_ms=int(one.at.timestamp() * 1000))
        assert isinstance(of_seat, ChangesResult)
        assert {item.seat_id for item in of_seat.items} == {counter.seats[1]}
        unknown = await client.status_changes(seat=300)
        assert isinstance(unknown, Refusal)
        assert (unknown.code, unknown.seats) == ("unknown_seat", (300,))

        told = await client.channels()
        assert isinstance(told, ChannelsResult), told
        (everybody,) = told.items
        assert (everybody.channel, everybody.seats.sold, everybody.areas["floor"].sold) == ("open", 2, 1)
    async with LiveClient(counter.server.url, counter.event) as client:
        for refused in (await client.sell("cash", seats=[5]), await client.status_changes(), await client.channels()):
            assert isinstance(refused, Refusal)
            assert refused.code == "forbidden"
