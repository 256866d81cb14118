"""Best seats over sockets, REST and the Python client, against running servers (contract, sections 2 and 3).

The hall has twelve rows of 25 seats, `Front` (A to F) and `Rear`; everybody looks at the middle of its upper edge.
"""

import asyncio
import json
from typing import Any

import pytest
from lines import Line, Lines, Message
from serving import LiveServer
from test_rest_holders import Holder, me, seat_ids, somebody  # noqa: F401
from test_socket_holds import manage, refusal

from lml_live.client import HoldResult, LiveClient, Refusal
from lml_live.gateway import wire
from lml_live.values import AVAILABLE, HELD

ROW, FRONT = 25, 150
BEST_PAIR = [11, 12]


def assert_side_by_side(seats: list[int]) -> None:
    """One run of seats of one row."""
    assert seats == list(range(seats[0], seats[0] + len(seats)))
    assert seats[0] // ROW == seats[-1] // ROW


async def best(line: Line, quantity: int, **wish: Any) -> Message:
    return await line.ask("hold_best", quantity=quantity, **wish)


# --- What is chosen


async def test_the_best_pair_is_held_and_shown(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line, other = await lines.greeted(live_server, fmt), await lines.greeted(live_server, fmt)
    answer = await best(line, 2)
    assert set(answer) == {"type", "id", "epoch", "seq", "hold", "now_ms"}
    assert (answer["type"], answer["hold"]["seats"]) == ("held", BEST_PAIR)
    assert [(one["seat"], one["amount"], one["fee"]) for one in answer["hold"]["lines"]] == [
        (11, 4500, 250),
        (12, 4500, 250),
    ]
    await other.hear_seats({10: AVAILABLE, 11: HELD, 12: HELD, 13: AVAILABLE})
    second = (await best(other, 2))["hold"]["seats"]
    assert_side_by_side(second)
    assert not set(second) & set(BEST_PAIR)


@pytest.mark.parametrize(
    ("quantity", "wish", "first"),
    [
        (3, {}, 11),
        (2, {"category": "Rear"}, FRONT + 11),
        (2, {"max_price": 2750}, FRONT + 11),
        (2, {"max_price": 2749}, None),
        (2, {"max_price": 0}, None),
        (2, {"max_price": 2750, "category": "Front"}, None),
        (2, {"section": "Stalls"}, 11),
        (1, {"accessible": 1}, None),
        (8, {"adjacent": "required"}, 8),
    ],
)
async def test_wishes(
    live_server: LiveServer, lines: Lines, quantity: int, wish: dict[str, Any], first: int | None
) -> None:
    answer = await best(await lines.greeted(live_server), quantity, **wish)
    if first is None:
        assert refusal(answer) == ("no_best_seats", None)
    else:
        assert answer["hold"]["seats"] == list(range(first, first + quantity))


async def test_areas_come_along_or_nothing_does(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    hold = (await best(line, 2, areas={"floor": 3}))["hold"]
    assert (hold["seats"], hold["areas"]) == (BEST_PAIR, {"floor": 3})
    other = await lines.greeted(live_server, fmt)
    for _ in range(4):
        buyer = await lines.greeted(live_server, fmt)
        await buyer.ask("hold", areas={"floor": 8})
    assert refusal(await best(other, 2, areas={"floor": 6})) == ("area_full", {"floor": 5})
    assert (await best(other, 2, areas={"floor": 5}))["type"] == "held"


async def test_into_and_replace(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    hold = (await best(line, 2))["hold"]
    added = await best(line, 2, into=hold["id"], category="Rear")
    assert added["hold"]["id"] == hold["id"]
    assert added["hold"]["seats"] == [*BEST_PAIR, FRONT + 11, FRONT + 12]
    swapped = await best(line, 4, replace=hold["id"])
    assert (swapped["hold"]["id"], swapped["hold"]["seats"]) == (hold["id"], [10, 11, 12, 13])
    assert swapped["hold"]["deadline_ms"] == hold["deadline_ms"]
    assert refusal(await best(line, 5, into=hold["id"])) == ("limit_exceeded", None)
    assert refusal(await best(line, 1, into="1-nothing"))[0] == "hold_not_found"
    assert refusal(await best(line, 1, replace="1-nothing"))[0] == "hold_not_found"
    assert refusal(await best(line, 1, into=hold["id"], replace=hold["id"]))[0] == "invalid_message"


async def test_a_keyed_retry_hears_of_its_own_block(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    version = line.heard[0]["event"]["prices_version"]
    first = await best(line, 2, key="k")
    again = await best(line, 2, key="k")
    assert (again["type"], again["hold"]) == ("held", first["hold"])
    assert refusal(await best(line, 3, key="k"))[0] == "idempotency_mismatch"
    added = await best(line, 2, into=first["hold"]["id"], key="more")
    assert (await best(line, 2, into=first["hold"]["id"], key="more"))["hold"] == added["hold"]
    await manage(live_server, "PATCH", "", {"prices": _prices(9000)})
    await line.hear("event", prices_version=version + 1)
    # No seat is cheap enough any more: the retry must hear of what it was granted all the same.
    cheap = await best(line, 2, max_price=5000, key="cheap")
    assert refusal(cheap)[0] == "no_best_seats"
    await manage(live_server, "PATCH", "", {"prices": _prices(100)})
    await line.hear("event", prices_version=version + 2)
    granted = await best(line, 2, max_price=5000, key="cheap")
    await manage(live_server, "PATCH", "", {"prices": _prices(9000)})
    await line.hear("event", prices_version=version + 3)
    assert (await best(line, 2, max_price=5000, key="cheap"))["hold"]["seats"] == granted["hold"]["seats"]
    await line.ask("release", hold=granted["hold"]["id"])
    assert refusal(await best(line, 2, max_price=5000, key="cheap"))[0] == "hold_not_found"


def _prices(amount: int) -> list[dict[str, Any]]:
    return [{"category": category, "amount": amount} for category in ("Front", "Rear", "Standing")]


async def test_a_sale_that_is_not_on_sells_no_best_seats(live_server: LiveServer, lines: Lines) -> None:
    line = await lines.greeted(live_server)
    await manage(live_server, "POST", "/pause")
    await line.hear("event", state="paused")
    assert refusal(await best(line, 2))[0] == "sale_paused"
    assert refusal(await best(line, 2, max_price=0))[0] == "sale_paused"


# --- Races


async def test_a_hundred_at_once_get_a_hundred_pairs(live_pair: LiveServer, lines: Lines) -> None:
    """On two workers, which both see the same best pair free: no request is told no, no seat is given twice."""
    visitors = [await lines.greeted(live_pair, (wire.JSON, wire.MSGPACK)[n % 2]) for n in range(100)]
    held = await asyncio.gather(*(best(line, 2) for line in visitors))
    pairs = [answer["hold"]["seats"] for answer in held]
    for pair in pairs:
        assert_side_by_side(pair)
    assert len({seat for pair in pairs for seat in pair}) == 200
    # Twelve pairs and an odd seat a row: a hundred pairs need no more than the nine best rows and a little.
    assert max(seat for pair in pairs for seat in pair) < 11 * ROW


async def test_the_last_pair_is_given_once(live_pair: LiveServer, lines: Lines) -> None:
    await manage(live_pair, "PATCH", "", {"limits": {"max_seats": 50}})
    for start in range(0, 300, 50):
        filler = await lines.greeted(live_pair)
        wanted = [seat for seat in range(start, start + 50) if seat not in (7, 8)]
        assert (await filler.ask("hold", seats=wanted))["type"] == "held"
    visitors = [await lines.greeted(live_pair) for _ in range(20)]
    answers = await asyncio.gather(*(best(line, 2) for line in visitors))
    assert [answer["hold"]["seats"] for answer in answers if answer["type"] == "held"] == [[7, 8]]
    assert {refusal(answer)[0] for answer in answers if answer["type"] == "error"} <= {"no_best_seats", "seat_taken"}


# --- The orphan rule


async def test_the_rule_is_published_and_pushed_and_holds(
    live_server: LiveServer, lines: Lines, fmt: wire.Format
) -> None:
    line = await lines.greeted(live_server, fmt)
    assert line.heard[0]["limits"]["orphan_rule"] == "off"
    await manage(live_server, "PATCH", "", {"limits": {"orphan_rule": "strict"}})
    await line.hear("event", limits={"orphan_rule": "strict"})
    assert refusal(await line.ask("hold", seats=[1, 3])) == ("orphan_seat", [0, 2])
    hold = (await line.ask("hold", seats=[0, 1]))["hold"]
    assert refusal(await line.ask("hold", into=hold["id"], seats=[3, 4])) == ("orphan_seat", [2])
    assert refusal(await line.ask("hold", replace=hold["id"], seats=[1, 2])) == ("orphan_seat", [0])
    assert (await line.ask("hold", replace=hold["id"], seats=[24, 25]))["type"] == "held", "of two rows"
    assert (await line.ask("release", hold=hold["id"], seats=[24]))["type"] == "released"
    await manage(live_server, "PATCH", "", {"limits": {"orphan_rule": "off"}})
    await line.hear("event", limits={"orphan_rule": "off"})
    assert (await line.ask("hold", seats=[1, 3]))["type"] == "held"


@pytest.mark.parametrize(("rule", "seats"), [("off", [11, 12]), ("strict", [61, 62]), ("lenient", [61, 62])])
async def test_best_seats_leave_nobody_alone(
    live_server: LiveServer, lines: Lines, rule: str, seats: list[int]
) -> None:
    """A gap of three in the first row is best, but a pair in it would leave one alone; the second row is full."""
    event = await live_server.new_event(orphan_rule=rule, max_seats=50)
    line, filler = await lines.greeted(live_server, event=event), await lines.greeted(live_server, event=event)
    assert (await filler.ask("hold", seats=[*range(11), *range(14, 25), *range(25, 50)]))["type"] == "held"
    assert (await best(line, 2))["hold"]["seats"] == seats


# --- REST and the Python client


async def test_over_rest(me: Holder) -> None:  # noqa: F811
    path = f"/events/{me.server.event}/holds/best"
    made = await me.call("POST", path, {"quantity": 2, "areas": {"floor": 1}}, key="one")
    assert (made.status, made.headers["Location"]) == (201, f"/api/v1/holds/{made.body['id']}")
    assert (made.body["seats"], made.body["areas"]) == (me.seats(*BEST_PAIR), {"floor": 1})
    again = await me.call("POST", path, {"quantity": 2, "areas": {"floor": 1}}, key="one")
    assert (again.status, again.body) == (201, made.body)
    assert (await me.call("POST", path, {"quantity": 3}, key="one")).code == "idempotency_mismatch"
    more = await me.call("POST", path, {"quantity": 1, "category": "Rear", "into": made.body["id"]})
    assert more.body["seats"] == me.seats(*BEST_PAIR, FRONT + 12)
    other = await me.call("POST", path, {"quantity": 2, "replace": made.body["id"]})
    assert (other.body["id"], other.body["seats"]) == (made.body["id"], me.seats(*BEST_PAIR))
    assert (await me.call("POST", path, {"quantity": 2, "max_price": 1})).code == "no_best_seats"
    assert (await me.call("POST", path, {"quantity": 2}, key=None)).code == "idempotency_required"
    assert (await me.call("POST", "/events/none/holds/best", {"quantity": 2})).code == "not_found"
    me.token = None
    assert (await me.call("POST", path, {"quantity": 2})).code == "unauthorized"


async def test_rest_names_whom_it_would_leave_alone(me: Holder) -> None:  # noqa: F811
    await manage(me.server, "PATCH", "", {"limits": {"orphan_rule": "strict"}})
    answer = await me.hold(1, 2)
    assert (answer.status, answer.code, answer.body["seats"]) == (409, "orphan_seat", me.seats(0))
    hold = (await me.hold(0, 1)).body["id"]
    changed = await me.call(
        "PATCH", f"/holds/{hold}", {"add": {"seats": me.seats(2)}, "release": {"seats": me.seats(1)}}
    )
    assert (changed.status, changed.code, changed.body["seats"]) == (409, "orphan_seat", me.seats(1))
    assert (await me.call("GET", f"/holds/{hold}")).body["seats"] == me.seats(0, 1)


async def test_with_the_python_client(live_server: LiveServer) -> None:
    async with LiveClient(live_server.url, live_server.event, fmt=wire.MSGPACK) as live:
        match await live.hold_best(2, areas={"floor": 1}):
            case HoldResult(hold) if hold is not None:
                assert (list(hold.seats), hold.areas) == (BEST_PAIR, {"floor": 1})
                assert live.holds == {hold.id: hold}
            case other:
                pytest.fail(f"{other}")
        match await live.hold_best(2, max_price=1, adjacent="required"):
            case Refusal("no_best_seats"):
                pass
            case other:
                pytest.fail(f"{other}")


# --- Bad input

WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "invalid_message"),
    ({"quantity": 0}, "invalid_message"),
    ({"quantity": -1}, "invalid_message"),
    ({"quantity": 51}, "invalid_message"),
    ({"quantity": 2**63}, "invalid_message"),
    ({"quantity": 1.5}, "invalid_message"),
    ({"quantity": "2"}, "invalid_message"),
    ({"quantity": True}, "invalid_message"),
    ({"quantity": None}, "invalid_message"),
    ({"quantity": [2]}, "invalid_message"),
    ({"quantity": 9}, "limit_exceeded"),
    ({"quantity": 8, "areas": {"floor": 1}}, "limit_exceeded"),
    ({"quantity": 2, "category": "Loge"}, "invalid_message"),
    ({"quantity": 2, "category": "Standing"}, "invalid_message"),
    ({"quantity": 2, "category": ""}, "invalid_message"),
    ({"quantity": 2, "category": "x" * 101}, "invalid_message"),
    ({"quantity": 2, "category": 7}, "invalid_message"),
    ({"quantity": 2, "section": "Nowhere"}, "invalid_message"),
    ({"quantity": 2, "section": "Floor"}, "invalid_message"),
    ({"quantity": 2, "section": ["Stalls"]}, "invalid_message"),
    ({"quantity": 2, "max_price": -1}, "invalid_message"),
    ({"quantity": 2, "max_price": 47.5}, "invalid_message"),
    ({"quantity": 2, "max_price": 2**63}, "invalid_message"),
    ({"quantity": 2, "accessible": 3}, "invalid_message"),
    ({"quantity": 2, "accessible": -1}, "invalid_message"),
    ({"quantity": 2, "companions": 1}, "invalid_message"),
    ({"quantity": 2, "accessible": 1, "companions": 2}, "invalid_message"),
    ({"quantity": 2, "adjacent": "please"}, "invalid_message"),
    ({"quantity": 2, "adjacent": True}, "invalid_message"),
    ({"quantity": 2, "areas": {"pit": 1}}, "unknown_area"),
    ({"quantity": 2, "areas": {"floor": 0}}, "invalid_message"),
    ({"quantity": 2, "into": "a:b"}, "invalid_message"),
    ({"quantity": 2, "into": "h-1", "replace": "h-2"}, "invalid_message"),
]


async def test_no_wish_that_makes_no_sense_takes_a_seat(live_server: LiveServer, lines: Lines) -> None:
    for start in range(0, len(WRONG), 3):
        line = await lines.greeted(live_server)  # five malformed messages would close it
        for wish, code in WRONG[start : start + 3]:
            assert refusal(await line.ask("hold_best", **wish))[0] == code, wish
    line = await lines.greeted(live_server)
    assert list(line.seats) == [AVAILABLE] * 300


async def test_nor_over_rest(me: Holder, somebody: Any) -> None:  # noqa: F811
    path = f"/events/{me.server.event}/holds/best"
    for number, (wish, code) in enumerate(WRONG):
        if number % 20 == 0:
            me = await somebody()  # each has an allowance of requests
        answer = await me.call("POST", path, wish)
        assert (answer.code, answer.status) == (code, 409 if code == "limit_exceeded" else 422), wish
    for raw in (b"", b"[]", b"{", b"7", b'{"quantity": 1e309}', json.dumps({"quantity": 2, "user_id": "x"}).encode()):
        assert (await me.call("POST", path, raw=raw)).status in (400, 422)
    assert await me.held() == []
