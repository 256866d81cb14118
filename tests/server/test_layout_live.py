"""An event that is on sale gets another version of its layout: sockets start anew, what is somebody's stays theirs."""

import msgspec
from lines import Lines
from serving import hall_of_300
from test_counter import Counter, counter  # noqa: F401

from lml_live.gateway import wire
from lml_live.values import AVAILABLE, HELD
from lml_live.venues.layout import Layout, Seat, seal_layout, seats_of


def hall() -> Layout:
    return hall_of_300("changing-hall", rows=4, seats=5)


def changed_hall() -> Layout:
    """Without its first seat, and with three more in the last row."""
    stalls, floor = hall().sections
    first, *others, last = stalls.rows
    more = tuple(Seat(str(number), number / 10, 0.99, "Rear") for number in (6, 7, 8))
    rows = (
        msgspec.structs.replace(first, seats=first.seats[1:]),
        *others,
        msgspec.structs.replace(last, seats=(*last.seats, *more)),
    )
    return seal_layout(
        msgspec.structs.replace(hall(), hash="", sections=(msgspec.structs.replace(stalls, rows=rows), floor))
    )


async def test_a_changed_layout_keeps_what_staff_hold_and_starts_a_new_epoch(counter: Counter, lines: Lines) -> None:  # noqa: F811
    await counter.server.deploy(hall())
    await counter.server.deploy(changed_hall())
    counter.event = await counter.server.new_event(layout="changing-hall")
    created = await counter.call("GET", f"/events/{counter.event}")
    assert created.body["layout"]["version"] == 2, "an event is made on the newest"
    again = await counter.call("POST", f"/events/{counter.event}/layout", {"version": 1}, who="manager", key=None)
    assert (again.status, again.body["layout"]["version"], again.body["layout"]["seat_count"]) == (200, 1, 20)
    counter.seats = [seat.seat_id for _, _, seat in seats_of(hall())]

    kept = await counter.hold(await counter.customer(), 3)
    assert kept.status == 201, kept.raw
    line = await lines.greeted(counter.server, event=counter.event)
    assert (len(line.seats), line.seats[3]) == (20, HELD)
    held = await line.ask("hold", seats=[0])
    assert held["type"] == "held", held

    refused = await counter.call("POST", f"/events/{counter.event}/layout", {"version": 2}, who="manager", key=None)
    assert (refused.status, refused.body["code"]) == (409, "conflict")
    assert [each["path"] for each in refused.body["errors"]] == [counter.seats[0]]
    assert (await line.ask("release", hold=held["hold"]["id"]))["type"] == "released"
    other = await line.ask("hold", seats=[7])
    assert other["type"] == "held", other
    changed = await counter.call("POST", f"/events/{counter.event}/layout", {"version": 2}, who="manager", key=None)
    assert (changed.status, changed.body["layout"]["seat_count"]) == (200, 22), changed.raw
    assert (await line.hear("bye"))["reason"] == "layout"

    for fmt in (wire.JSON, wire.MSGPACK):
        anew = await lines.greeted(counter.server, fmt, event=counter.event)
        [welcome] = [message for message in anew.heard if message["type"] == "welcome"]
        assert (welcome["layout"]["version"], welcome["layout"]["seat_count"]) == (2, 22)
        assert welcome["epoch"] != line.heard[0]["epoch"]
        assert len(anew.seats) == 22
        # Seat 3 of before is seat 2 now; the hold of a browser ended with its epoch.
        assert [number for number, state in enumerate(anew.seats) if state != AVAILABLE] == [2]
        assert anew.seats[2] == HELD
    taken = await anew.ask("hold", seats=[2])
    assert (taken["type"], taken["code"]) == ("error", "seat_taken")
    assert (await anew.ask("hold", seats=[21]))["type"] == "held"
