"""Holds over the live socket, message by message (contract, section 3), in both subprotocols."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lines import Line, Lines, Message, booking_side
from serving import LiveServer
from waiting import eventually

from lml_live.gateway import wire
from lml_live.inventory.answers import Changed
from lml_live.pricing.events import EventChanges, LimitChanges
from lml_live.pricing.quote import Price
from lml_live.values import AVAILABLE, HELD, SOLD

_keys = itertools.count(1)
HOLD = {
    *("id", "lines", "seats", "areas", "state", "deadline_ms", "lifetime_ms", "extensions_left", "amount", "currency"),
}


def refusal(answer: Message) -> tuple[str, Any]:
    """An error's code, and what it names."""
    assert answer["type"] == "error"
    assert answer["message"]
    return answer["code"], answer.get("seats", answer.get("areas"))


async def manage(server: LiveServer, method: str, path: str, body: object = None) -> None:
    """A manager's call about the server's event."""
    headers = {**await server.sign_in(), "Idempotency-Key": f"manage-{next(_keys)}"}
    async with (
        server.session() as http,
        http.request(method, f"/api/v1/events/{server.event}{path}", json=body, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()


# --- Answers


async def test_a_hold_is_answered_whole(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    answer = await line.ask("hold", seats=[151, 2], areas={"floor": 2}, ignored="field")
    assert set(answer) == {"type", "id", "epoch", "seq", "hold", "now_ms"}
    assert (answer["type"], answer["epoch"]) == ("held", line.heard[0]["epoch"])
    hold = answer["hold"]
    assert set(hold) == HOLD
    assert (hold["seats"], hold["areas"], hold["state"]) == ([2, 151], {"floor": 2}, "active")
    assert hold["deadline_ms"] - answer["now_ms"] == 300_000
    assert hold["lifetime_ms"] - answer["now_ms"] == 1_800_000
    assert (hold["extensions_left"], hold["currency"]) == (2, "EUR")
    assert [one["line"] for one in hold["lines"]] == [1, 2, 3, 4]
    assert [one.get("area_id") for one in hold["lines"]] == [None, None, "floor", "floor"]
    assert [one.get("seat") for one in hold["lines"]] == [2, 151, None, None]
    assert [(one["amount"], one["fee"], one["tax"]) for one in hold["lines"]] == [
        *((4500, 250, 311), (2500, 250, 180)),
        *((1500, 150, 108), (1500, 150, 108)),
    ]
    assert hold["amount"] == 4500 + 2500 + 2 * 1500 + 2 * 250 + 2 * 150


async def test_types_may_be_named(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    kind = (await line.ask("hold", seats=[0]))["hold"]["lines"][0]["type"]
    held = await line.ask("hold", seats=[{"seat": 1, "type": kind}, 2], areas={"floor": {kind: 2}})
    assert (held["hold"]["seats"], held["hold"]["areas"]) == ([1, 2], {"floor": 2})
    assert {one["type"] for one in held["hold"]["lines"]} == {kind}
    left = await line.ask("release", hold=held["hold"]["id"], areas={"floor": {kind: 1}})
    assert left["hold"]["areas"] == {"floor": 1}
    for wish in ({"seats": [{"seat": 9, "type": "senior"}]}, {"areas": {"floor": {"senior": 1}}}):
        assert refusal(await line.ask("hold", **wish)) == ("invalid_message", None)


async def test_into_adds_and_keeps_the_deadline(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    hold = (await line.ask("hold", seats=[1]))["hold"]
    more = (await line.ask("hold", seats=[0], areas={"floor": 1}, into=hold["id"]))["hold"]
    assert (more["id"], more["seats"], more["areas"]) == (hold["id"], [0, 1], {"floor": 1})
    assert (more["deadline_ms"], more["lifetime_ms"]) == (hold["deadline_ms"], hold["lifetime_ms"])
    assert refusal(await line.ask("hold", seats=[1], into=hold["id"])) == ("seat_taken", [1])
    assert refusal(await line.ask("hold", seats=list(range(10, 16)), into=hold["id"])) == ("limit_exceeded", None)
    assert (await line.hello())["holds"] == [more], "what is refused changes nothing"


async def test_replace_swaps_in_one_step_or_not_at_all(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line, other = await lines.greeted(live_server, fmt), await lines.greeted(live_server, fmt)
    hold = (await line.ask("hold", seats=[1, 2, 3], areas={"floor": 4}))["hold"]
    await other.ask("hold", seats=[5])
    assert refusal(await line.ask("hold", seats=[4, 5], replace=hold["id"])) == ("seat_taken", [5])
    assert (await line.hello())["holds"] == [hold]
    swapped = (await line.ask("hold", seats=[3, 4], areas={"floor": 5}, replace=hold["id"]))["hold"]
    assert (swapped["seats"], swapped["areas"]) == ([3, 4], {"floor": 5})
    assert [swapped[name] for name in ("deadline_ms", "lifetime_ms", "extensions_left")] == [
        hold[name] for name in ("deadline_ms", "lifetime_ms", "extensions_left")
    ]
    await other.hear_seats({1: AVAILABLE, 2: AVAILABLE, 3: HELD, 4: HELD, 5: HELD})
    assert (await line.hello())["holds"] == [swapped]


async def test_a_release_gives_back_a_part_or_the_whole(
    live_server: LiveServer, lines: Lines, fmt: wire.Format
) -> None:
    line = await lines.greeted(live_server, fmt)
    hold = (await line.ask("hold", seats=[1, 2, 3], areas={"floor": 3}))["hold"]
    part = await line.ask("release", hold=hold["id"], seats=[2], areas={"floor": 1})
    assert (part["type"], part["hold"]["seats"], part["hold"]["areas"]) == ("released", [1, 3], {"floor": 2})
    assert refusal(await line.ask("release", hold=hold["id"], seats=[2, 3])) == ("unknown_seat", [2])
    assert refusal(await line.ask("release", hold=hold["id"], areas={"floor": 3}))[0] == "invalid_message"
    whole = await line.ask("release", hold=hold["id"])
    assert set(whole) == {"type", "id", "epoch", "seq", "now_ms"}, "nothing is left"
    await line.hear_seats({1: AVAILABLE, 2: AVAILABLE, 3: AVAILABLE})
    assert line.areas["floor"]["available"] == 40
    assert refusal(await line.ask("release", hold=hold["id"]))[0] in ("hold_not_found", "hold_expired")


async def test_an_empty_map_of_types_is_no_wish(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    """`areas: {"floor": {}}` named nothing: as a hold it made an empty hold, as a release it gave back everything."""
    line = await lines.greeted(live_server, fmt)
    hold = (await line.ask("hold", seats=[1]))["hold"]
    assert refusal(await line.ask("hold", areas={"floor": {}})) == ("invalid_message", None)
    assert refusal(await line.ask("release", hold=hold["id"], areas={"floor": {}})) == ("invalid_message", None)
    assert (await line.hello())["holds"] == [hold]


async def test_a_deadline_is_put_off_so_often(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    hold = (await line.ask("hold", seats=[1]))["hold"]
    for left in (1, 0):
        last = hold["deadline_ms"] - 300_000
        await eventually(lambda last=last: _is_later(line, last))
        answer = await line.ask("extend", hold=hold["id"])
        assert (answer["type"], answer["hold"]["extensions_left"]) == ("extended", left)
        assert answer["hold"]["deadline_ms"] == answer["now_ms"] + 300_000
        hold = answer["hold"]
    assert refusal(await line.ask("extend", hold=hold["id"]))[0] == "limit_exceeded"


async def _is_later(line: Line, moment_ms: int) -> bool:
    now_ms: int = (await line.ask("ping"))["now_ms"]
    return now_ms > moment_ms + 1


async def test_a_ping_tells_the_time(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    pong = await line.ask("ping")
    assert set(pong) == {"type", "id", "now_ms"}
    assert pong["now_ms"] >= line.heard[0]["now_ms"]


# --- Refusals


async def test_each_refusal_has_its_code(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line, other = await lines.greeted(live_server, fmt), await lines.greeted(live_server, fmt)
    theirs = (await other.ask("hold", seats=[10, 11]))["hold"]["id"]
    number = theirs.partition("-")[0]
    floor = [await lines.greeted(live_server, fmt) for _ in range(5)]
    for one in floor:
        assert (await one.ask("hold", areas={"floor": 7}))["type"] == "held"
    table: list[tuple[str, dict[str, Any], tuple[str, Any]]] = [
        ("hold", {"seats": [9, 10, 11, 12]}, ("seat_taken", [10, 11])),
        ("hold", {"seats": [299, 300, 199_999]}, ("unknown_seat", [300, 199_999])),
        ("hold", {"areas": {"balcony": 1}}, ("unknown_area", None)),
        ("hold", {"areas": {"floor": 6}}, ("area_full", {"floor": 5})),
        ("hold", {"seats": [9], "areas": {"floor": 6}}, ("area_full", {"floor": 5})),
        ("hold", {"seats": list(range(20, 29))}, ("limit_exceeded", None)),
        ("hold", {"areas": {"floor": 9}}, ("limit_exceeded", None)),
        ("hold", {"seats": [9], "into": theirs}, ("hold_not_found", None)),
        ("hold", {"seats": [9], "replace": theirs}, ("hold_not_found", None)),
        ("hold", {"seats": [9], "into": "1"}, ("hold_not_found", None)),
        ("release", {"hold": theirs}, ("hold_not_found", None)),
        ("release", {"hold": f"{number}-ffffffffffffffffffff"}, ("hold_not_found", None)),
        ("release", {"hold": "999999999-ffffffffffffffffffff"}, ("hold_not_found", None)),
        ("extend", {"hold": theirs}, ("hold_not_found", None)),
        ("hold", {}, ("invalid_message", None)),
        ("hold", {"seats": [5, 5]}, ("invalid_message", None)),
        ("hold", {"seats": [5], "into": theirs, "replace": theirs}, ("invalid_message", None)),
        ("release", {"hold": theirs, "seats": [10, 10]}, ("invalid_message", None)),
    ]
    for kind, fields, expected in table:
        assert refusal(await line.ask(kind, **fields)) == expected, fields
    await line.hear_seats({10: HELD, 11: HELD})
    assert (await line.hello())["holds"] == []
    assert [seat for seat in range(300) if line.seats[seat] == HELD] == [10, 11], "nothing was taken on the way"


async def test_a_holder_has_so_many_holds(live_server: LiveServer, lines: Lines) -> None:
    event = await live_server.new_event(max_seats=50)
    line = await lines.greeted(live_server, event=event)
    for seat in range(10):
        assert (await line.ask("hold", seats=[seat]))["type"] == "held"
    assert refusal(await line.ask("hold", seats=[20]))[0] == "limit_exceeded"


async def test_before_the_sale_nothing_can_be_held(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    event = await live_server.new_event(on_sale_at=datetime.now(UTC) + timedelta(hours=1))
    line = await lines.greeted(live_server, fmt, event=event)
    assert refusal(await line.ask("hold", seats=[1]))[0] == "sale_not_open"
    assert line.heard[0]["event"]["on_sale_at_ms"] > line.heard[0]["now_ms"]


# --- Keys


async def test_a_key_makes_a_retry_harmless(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    first = (await line.ask("hold", seats=[1, 2], key="k"))["hold"]
    second = await lines.open(live_server, fmt)
    await second.hello(token=line.token)
    assert (await second.ask("hold", seats=[2, 1], key="k"))["hold"] == first, "the order of seats is no difference"
    assert refusal(await line.ask("hold", seats=[1], key="k"))[0] == "idempotency_mismatch"
    added = (await line.ask("hold", seats=[3], into=first["id"], key="add"))["hold"]
    assert (await second.ask("hold", seats=[3], into=first["id"], key="add"))["hold"] == added
    swapped = (await line.ask("hold", seats=[4], replace=first["id"], key="swap"))["hold"]
    assert (await second.ask("hold", seats=[4], replace=first["id"], key="swap"))["hold"] == swapped
    assert (await second.ask("hold", seats=[1, 2], key="k"))["hold"] == swapped, "the hold as it is now"
    stranger = await lines.greeted(live_server, fmt)
    assert (await stranger.ask("hold", seats=[5], key="k"))["hold"]["id"] != first["id"], "keys are each holder's own"
    await line.ask("release", hold=first["id"])
    for key, fields in (("k", {"seats": [1, 2]}), ("swap", {"seats": [4], "replace": first["id"]})):
        assert refusal(await line.ask("hold", key=key, **fields))[0] in ("hold_expired", "hold_not_found")
    assert (await line.hello())["holds"] == [], "never seats again"


# --- What others hear


async def test_the_holders_other_sockets_are_told_and_the_asking_one_is_not(
    live_server: LiveServer, lines: Lines, fmt: wire.Format
) -> None:
    asking, stranger = await lines.greeted(live_server, fmt), await lines.greeted(live_server, fmt)
    others = [await lines.greeted(live_server, each, token=asking.token) for each in (wire.JSON, wire.MSGPACK)]
    hold = ""
    for kind, fields in (
        ("hold", {"seats": [1]}),
        ("hold", {"seats": [2], "into": "it"}),
        ("extend", {"hold": "it"}),
        ("hold", {"seats": [2, 3], "replace": "it"}),
        ("release", {"hold": "it", "seats": [3]}),
        ("release", {"hold": "it"}),
    ):
        answer = await asking.ask(kind, **{name: hold if value == "it" else value for name, value in fields.items()})
        gone = "hold" not in answer
        hold = hold or answer["hold"]["id"]
        for other in others:
            told = await other.hear("hold_changed")
            assert (told["hold"], told["reason"], told["seq"], told["epoch"]) == (
                *(hold, "own", answer["seq"]),
                answer["epoch"],
            )
            assert told["state"] == ("gone" if gone else "active")
            assert told.get("value") == answer.get("hold")
            assert set(told) == {"type", "hold", "state", "reason", "epoch", "seq"} | (set() if gone else {"value"})
    await asking.hear_seats({2: AVAILABLE})
    for line in (asking, stranger):
        await line.quiet()
        assert "hold_changed" not in line.kinds()
    assert hold not in str(stranger.heard), "nobody hears of another one's hold"


async def test_an_expired_hold_is_told_to_every_socket_of_its_holder(
    live_server: LiveServer, lines: Lines, fmt: wire.Format
) -> None:
    event = await live_server.new_event(hold_seconds=1, lifetime_seconds=1)
    line = await lines.greeted(live_server, fmt, event=event)
    other = await lines.greeted(live_server, fmt, event=event, token=line.token)
    hold = (await line.ask("hold", seats=[1], key="k"))["hold"]["id"]
    for each in (line, other):
        told = await each.hear("hold_changed", state="gone")
        assert (told["hold"], told["reason"]) == (hold, "expired")
        await each.hear_seats({1: AVAILABLE})
    assert refusal(await line.ask("extend", hold=hold))[0] == "hold_expired"
    assert refusal(await line.ask("hold", seats=[1], key="k"))[0] == "hold_expired"
    assert refusal(await line.ask("hold", seats=[2], into=hold))[0] == "hold_expired"


async def test_what_booking_does_is_told(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line, watcher = await lines.greeted(live_server, fmt), await lines.greeted(live_server, fmt)
    event, hold = live_server.event, (await line.ask("hold", seats=[1], areas={"floor": 1}))["hold"]["id"]
    async with booking_side(live_server) as booking:
        assert isinstance(await booking.checkout_hold(event, line.holder, hold, "b-1"), Changed)
        told = await line.hear("hold_changed")
        assert (told["state"], told["reason"], told["booking"]) == ("checkout", "own", "b-1")
        assert (told["value"]["state"], told["value"]["booking"]) == ("checkout", "b-1")
        for kind, fields in (("release", {}), ("extend", {})):
            assert refusal(await line.ask(kind, hold=hold, **fields))[0] == "hold_in_checkout"
        assert refusal(await line.ask("hold", seats=[5], into=hold))[0] == "hold_in_checkout"
        await booking.restore_hold(event, hold, "b-1")
        told = await line.hear("hold_changed")
        assert (told["state"], told["reason"]) == ("active", "payment_failed")
        await booking.checkout_hold(event, line.holder, hold, "b-2")
        await booking.sell_hold(event, hold, "b-2")
        told = await line.hear("hold_changed", state="sold")
        assert (told["reason"], told["booking"]) == ("booked", "b-2")
        await watcher.hear_seats({1: SOLD})
        assert watcher.areas["floor"]["sold"] == 1
        assert refusal(await watcher.ask("hold", seats=[1]))[0] == "seat_taken"
        assert refusal(await watcher.ask("release", hold=hold))[0] == "hold_not_found"
        assert (await line.hello())["holds"][0]["state"] == "sold"
        await booking.free_booking(event, hold, "b-2", "staff")
        told = await line.hear("hold_changed", state="gone")
        assert told["reason"] == "staff"
        await watcher.hear_seats({1: AVAILABLE})
    for secret in (hold, line.token, line.holder, "b-1", "b-2"):
        assert secret not in str(watcher.heard), "of others one sees seats and counts"


# --- The sale's life


async def test_every_step_of_a_sale_is_pushed(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line, watcher = await lines.greeted(live_server, fmt), await lines.greeted(live_server, fmt)
    hold = (await line.ask("hold", seats=[1, 2], key="k"))["hold"]["id"]
    await manage(live_server, "POST", "/pause")
    for each in (line, watcher):
        pushed = await each.hear("event", state="paused")
        assert set(pushed) == {"type", "state", "on_sale_at_ms", "prices_version", "limits"}
    assert refusal(await line.ask("hold", seats=[3]))[0] == "sale_paused"
    assert refusal(await line.ask("hold", seats=[3], into=hold))[0] == "sale_paused"
    assert refusal(await line.ask("extend", hold=hold))[0] == "sale_paused"
    assert (await line.ask("release", hold=hold, seats=[2]))["type"] == "released"
    assert (await lines.greeted(live_server, fmt)).heard[0]["event"]["state"] == "paused"
    await manage(live_server, "POST", "/open")
    await line.hear("event", state="open")
    assert (await line.ask("hold", seats=[3]))["type"] == "held"
    await manage(live_server, "POST", "/close")
    await line.hear("event", state="closed")
    assert refusal(await line.ask("hold", seats=[4]))[0] == "sale_closed"
    told = await _gone(line, hold)
    assert told["reason"] == "closed", "a closed sale gives holds back"
    await watcher.hear_seats({1: AVAILABLE, 3: AVAILABLE})


async def _gone(line: Line, hold: str) -> Message:
    await eventually(lambda: _look(line, hold))
    return next(message for message in line.heard if _is_end(message, hold))


async def _look(line: Line, hold: str) -> bool:
    await line.quiet()
    return any(_is_end(message, hold) for message in line.heard)


def _is_end(message: Message, hold: str) -> bool:
    return message["type"] == "hold_changed" and (message["hold"], message["state"]) == (hold, "gone")


@pytest.mark.parametrize("way", ["rest", "catalogue"])
async def test_changed_rules_are_pushed_and_hold_at_once(
    live_server: LiveServer, lines: Lines, fmt: wire.Format, way: str
) -> None:
    line = await lines.greeted(live_server, fmt)
    hold = (await line.ask("hold", seats=[1]))["hold"]

    async def change(body: dict[str, Any], changes: EventChanges, **told: Any) -> Message:
        if way == "rest":
            await manage(live_server, "PATCH", "", body)
        else:
            async with live_server.catalogue() as catalogue:
                await catalogue.update_event(live_server.event, changes)
        # The opening may still be on its way to this socket, which was welcomed to it.
        return await line.hear("event", **told)

    limits = {"max_seats": 2}
    pushed = await change({"limits": limits}, EventChanges(limits=LimitChanges(**limits)), limits=limits)
    assert refusal(await line.ask("hold", seats=[3, 4]))[0] == "limit_exceeded"
    prices = [
        Price(category=category, amount=amount)
        for category, amount in (("Front", 1000), ("Rear", 900), ("Standing", 5))
    ]
    body = [{"category": price.category, "amount": price.amount} for price in prices]
    await change({"prices": body}, EventChanges(prices=tuple(prices)), prices_version=pushed["prices_version"] + 1)
    shown = (await line.hello())["holds"][0]
    assert (shown["id"], shown["amount"]) == (hold["id"], 1000)
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    later_ms = later.timestamp() * 1000
    await change({"on_sale_at": later.isoformat()}, EventChanges(on_sale_at=later), on_sale_at_ms=later_ms)
    assert refusal(await line.ask("hold", seats=[5]))[0] == "sale_not_open"
