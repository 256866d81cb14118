"""Anybody's holds over staff's own socket, as over REST: who may, what is refused, who is told, and asked again."""

from typing import Any

from lines import Line, Lines
from test_counter import Counter, counter  # noqa: F401

from lml_live.client import HoldResult, LiveClient, Refusal
from lml_live.gateway import wire
from lml_live.values import AVAILABLE, BLOCKED, HELD


async def clerk_of(counter: Counter, lines: Lines, fmt: wire.Format = wire.JSON, who: str = "box_office") -> Line:  # noqa: F811
    return await lines.greeted(counter.server, fmt, event=counter.event, token=counter.tokens[who])


def for_customer(holder: str, *seats: int, **more: Any) -> dict[str, Any]:
    return {"holder": holder, "customer": "Kim", "reason": "school class", "seats": list(seats), **more}


async def test_clerks_hold_for_customers_move_and_release(counter: Counter, lines: Lines) -> None:  # noqa: F811
    """All three acts: the customer's socket and the public are told, and the log has who, why and whence."""
    counter.event = await counter.server.new_event(max_seats=50)
    holder = await counter.customer()
    customer = await lines.greeted(counter.server, event=counter.event, token=counter.tokens[holder])
    public = await lines.greeted(counter.server, event=counter.event)
    clerk = await clerk_of(counter, lines, wire.MSGPACK)

    held = await clerk.ask("hold_for_customer", **for_customer(holder, 0, 1, areas={"floor": 2}))
    assert (held["type"], held["hold"]["seats"], held["hold"]["areas"]) == ("held", [0, 1], {"floor": 2})
    hold, epoch = held["hold"]["id"], held["epoch"]
    assert epoch == clerk.heard[0]["epoch"]
    told = await customer.hear("hold_changed", hold=hold, reason="staff")
    assert (told["seq"], told["value"]["seats"]) == (held["seq"], [0, 1])
    await public.hear_seats({0: HELD, 1: HELD})
    await clerk.hear_seats({0: HELD, 1: HELD})

    moved = await clerk.ask("move_hold", hold=hold, seats=[1, 5], reason="wheelchair")
    assert (moved["type"], moved["hold"]["id"], moved["hold"]["seats"]) == ("held", hold, [1, 5])
    assert moved["seq"] > held["seq"]
    await customer.hear("hold_changed", hold=hold, reason="staff", seq=moved["seq"])
    await public.hear_seats({0: AVAILABLE, 1: HELD, 5: HELD})

    back = await clerk.ask("release_any_hold", hold=hold, reason="not coming")
    assert (back["type"], back.get("hold"), back["epoch"]) == ("released", None, epoch)
    assert (await customer.hear("hold_changed", hold=hold, state="gone"))["reason"] == "staff"
    await public.hear_seats({1: AVAILABLE, 5: AVAILABLE})

    over_rest = await counter.hold(holder, 9)
    assert over_rest.status == 201
    async with counter.server.pool() as pool:
        rows = await pool.fetch(
            "SELECT act, reason, staff_id, origin FROM status_change WHERE event_id = $1", counter.event
        )
    assert {(row["act"], row["reason"]) for row in rows} == {
        ("hold", "school class"),
        ("move", "wheelchair"),
        ("release", "not coming"),
    }
    by = {(row["staff_id"], row["origin"]) for row in rows}
    assert len(by) == 1, "over the socket as over REST: the same member of staff, from the same address"
    assert all(by.pop())
    assert not {"reason", "customer", "staff"} & {name for message in public.heard for name in message}


async def test_what_a_browser_holds_is_moved_and_released_by_staff(counter: Counter, lines: Lines) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    browser = await lines.greeted(counter.server, event=counter.event)
    clerk = await clerk_of(counter, lines)
    hold = (await browser.ask("hold", seats=[3]))["hold"]["id"]
    assert (await clerk.ask("move_hold", hold=hold, seats=[4], reason="x"))["hold"]["seats"] == [4]
    assert (await browser.hear("hold_changed", hold=hold))["reason"] == "staff"
    assert (await clerk.ask("release_any_hold", hold=hold, reason="x"))["type"] == "released"
    assert (await browser.hear("hold_changed", state="gone"))["reason"] == "staff"


async def test_staff_take_house_seats_only_if_they_say_so(counter: Counter, lines: Lines) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    holder = await counter.customer()
    await counter.block("house", 0, 1)
    await counter.block("kill", 2)
    public = await lines.greeted(counter.server, event=counter.event)
    await public.ask("hold", seats=[3])
    clerk = await clerk_of(counter, lines)
    for seat, over_house in ((0, False), (2, False), (2, True), (3, True)):
        asked = for_customer(holder, seat, 9, over_house=over_house)
        refused = await clerk.ask("hold_for_customer", **asked)
        assert (refused["type"], refused["code"], refused["seats"]) == ("error", "seat_taken", [seat])
    made = await clerk.ask("hold_for_customer", **for_customer(holder, 0, over_house=True))
    hold = made["hold"]["id"]
    for seat, over_house in ((1, False), (2, True), (3, True)):
        refused = await clerk.ask("move_hold", hold=hold, seats=[seat, 9], reason="x", over_house=over_house)
        assert (refused["code"], refused["seats"]) == ("seat_taken", [seat])
    assert public.seats[9] == AVAILABLE, "nothing of it was taken"
    assert (await clerk.ask("move_hold", hold=hold, seats=[1], reason="x", over_house=True))["hold"]["seats"] == [1]
    await public.hear_seats({0: AVAILABLE, 1: HELD, 2: BLOCKED})


async def test_a_key_is_any_text(counter: Counter, lines: Lines) -> None:  # noqa: F811
    """One with a NUL, which PostgreSQL takes nowhere, was "the server failed"."""
    counter.event = await counter.server.new_event(max_seats=50)
    holder, clerk = await counter.customer(), await clerk_of(counter, lines)
    for seat, key in enumerate(("a\0b", "\0", "ключ 🔑", " ")):
        first = await clerk.ask("hold_for_customer", **for_customer(holder, seat, key=key))
        again = await clerk.ask("hold_for_customer", **for_customer(holder, seat, key=key))
        assert first["type"] == again["type"] == "held", (first, again)
        assert first["hold"] == again["hold"]
        other = await clerk.ask("hold_for_customer", **for_customer(holder, 20 + seat, key=key))
        assert other["code"] == "idempotency_mismatch"


async def test_what_staff_ask_again_is_done_once(counter: Counter, lines: Lines) -> None:  # noqa: F811
    """On another socket, as after a lost connection. A key of one request is none for another, whatever it asks for."""
    counter.event = await counter.server.new_event(max_seats=50)
    holder = await counter.customer()
    first, second = await clerk_of(counter, lines), await clerk_of(counter, lines, wire.MSGPACK)
    asked = for_customer(holder, 0, areas={"floor": 2}, key="k1")
    made = await first.ask("hold_for_customer", **asked)
    again = await second.ask("hold_for_customer", **asked)
    assert (again["type"], again["hold"], again["seq"]) == ("held", made["hold"], made["seq"])
    hold = made["hold"]["id"]
    move = {"hold": hold, "seats": [4], "reason": "x", "key": "k2"}
    await first.ask("move_hold", **move)
    await first.ask("move_hold", hold=hold, seats=[6], reason="y", key="k3")
    assert (await second.ask("move_hold", **move))["hold"]["seats"] == [6], "as it is now, and not moved back"
    for kind, other in (
        ("hold_for_customer", {**asked, "seats": [7]}),
        ("hold_for_customer", {**asked, "customer": "Lee"}),
        ("move_hold", {**move, "seats": [7]}),
        ("move_hold", {**move, "key": "k1"}),
        ("release_any_hold", {"hold": hold, "reason": "x", "key": "k2"}),
    ):
        assert (await second.ask(kind, **other))["code"] == "idempotency_mismatch", other
    release = {"hold": hold, "reason": "gone home", "key": "k4"}
    for line in (first, second):
        assert (await line.ask("release_any_hold", **release))["type"] == "released"
    assert (await second.ask("hold_for_customer", **asked))["code"] == "hold_not_found", "never seats again"
    assert (await second.ask("release_any_hold", hold=hold, reason="x"))["code"] == "hold_not_found"
    async with counter.server.pool() as pool:
        acts = await pool.fetch(
            "SELECT act, reason FROM status_change WHERE event_id = $1 AND seat_id IS NOT NULL", counter.event
        )
    assert sum(row["act"] == "hold" for row in acts) == 1
    assert sum(row["act"] == "release" for row in acts) == 1
    made = await first.ask("hold_for_customer", **for_customer(holder, 10))
    other = await first.ask("hold_for_customer", **for_customer(holder, 11))
    assert made["hold"]["id"] != other["hold"]["id"], "without a key each is its own"


async def test_a_key_is_one_events(counter: Counter, lines: Lines) -> None:  # noqa: F811
    holder = await counter.customer()
    holds = set()
    for _ in range(2):
        counter.event = await counter.server.new_event(max_seats=50)
        line = await clerk_of(counter, lines)
        made = await line.ask("hold_for_customer", **for_customer(holder, 0, key="same"))
        assert made["type"] == "held", made
        holds.add(made["hold"]["id"])
    assert len(holds) == 2


async def test_another_events_hold_is_not_there(counter: Counter, lines: Lines) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    elsewhere = (await counter.hold(await counter.customer(), 0)).body["id"]
    counter.event = await counter.server.new_event(max_seats=50)
    clerk = await clerk_of(counter, lines)
    for hold in (elsewhere, "1-none", "none"):
        for kind, more in (("move_hold", {"seats": [5]}), ("release_any_hold", {})):
            refused = await clerk.ask(kind, hold=hold, reason="x", **more)
            assert (refused["type"], refused["code"]) == ("error", "hold_not_found"), (hold, kind)
    assert (await counter.call("GET", f"/holds/{elsewhere}")).code == "unauthorized"
    assert (await counter.call("POST", f"/holds/{elsewhere}/release", {"reason": "x"})).status == 204, "it lives"


async def test_who_may_not_touch_anybodys_hold(counter: Counter, lines: Lines) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    holder = await counter.customer()
    hold = (await counter.hold(holder, 0)).body["id"]
    asked = {
        "hold_for_customer": for_customer(holder, 1),
        "move_hold": {"hold": hold, "seats": [2], "reason": "x"},
        "release_any_hold": {"hold": hold, "reason": "x"},
    }
    public = await lines.greeted(counter.server, event=counter.event)
    own = await lines.greeted(counter.server, event=counter.event, token=counter.tokens[holder])
    for line in (public, own):
        for kind, fields in asked.items():
            assert (await line.ask(kind, **fields))["code"] == "forbidden", kind
    clerk = await clerk_of(counter, lines)
    assert (await clerk.ask("hold_for_customer", **for_customer(public.holder, 1)))["code"] == "not_found"
    for seat, who in enumerate(("manager", "admin"), 5):
        line = await clerk_of(counter, lines, who=who)
        assert (await line.ask("hold_for_customer", **for_customer(holder, seat)))["type"] == "held", who


async def test_what_staff_cannot_ask_for(counter: Counter, lines: Lines) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    holder = await counter.customer()
    hold = (await counter.hold(holder, 0)).body["id"]
    clerk = await clerk_of(counter, lines)
    for wrong, code in (
        ({"seats": [300]}, "unknown_seat"),
        ({"seats": [], "areas": {"nowhere": 1}}, "unknown_area"),
        ({"seats": []}, "invalid_message"),
        ({"seats": [1, 1]}, "invalid_message"),
        ({"seats": [1], "areas": {"floor": 50}}, "limit_exceeded"),
        ({"seats": [1], "reason": ""}, "invalid_message"),
        ({"seats": [1] * 51}, "invalid_message"),
        ({"seats": [1], "over_house": 1}, "invalid_message"),
    ):
        for kind, fields in (("hold_for_customer", for_customer(holder)), ("move_hold", {"hold": hold, "reason": "x"})):
            clerk = await clerk_of(counter, lines) if code == "invalid_message" else clerk  # strikes are counted
            refused = await clerk.ask(kind, **{**fields, **wrong})
            assert (refused["type"], refused["code"]) == ("error", code), (kind, wrong)
    clerk = await clerk_of(counter, lines)
    for kind, wrong in (
        ("hold_for_customer", {**for_customer(holder, 1), "customer": ""}),
        ("move_hold", {"hold": hold, "seats": [1]}),
        ("release_any_hold", {"hold": hold}),
    ):
        assert (await clerk.ask(kind, **wrong))["code"] == "invalid_message"


async def test_the_client_does_it_too_and_keeps_none_of_it_as_its_own(counter: Counter) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    holder = await counter.customer()
    async with LiveClient(counter.server.url, counter.event, token=counter.tokens["box_office"]) as client:
        made = await client.hold_for_customer(holder, "Kim", "school class", [0], {"floor": 1})
        assert isinstance(made, HoldResult)
        assert made.hold is not None
        assert (made.hold.seats, client.holds) == ((0,), {})
        moved = await client.move_hold(made.hold.id, "wheelchair", [4])
        assert isinstance(moved, HoldResult)
        assert moved.hold is not None
        assert (moved.hold.id, moved.hold.seats, client.holds) == (made.hold.id, (4,), {})
        assert await client.release_any_hold(made.hold.id, "not coming") == HoldResult(None)
        refused = await client.release_any_hold(made.hold.id, "not coming")
        assert isinstance(refused, Refusal)
        assert refused.code == "hold_not_found"
