"""Redis against PostgreSQL: what differs is found, what is on its way is not, and what is mended stays mended."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held, seat_id
from msgspec import structs
from waiting import eventually

from lml_live import limits
from lml_live.infra.telemetry import METRICS
from lml_live.inventory.checker import Checker, describe
from lml_live.inventory.diffs import AreaCounts
from lml_live.inventory.drift import Drift, Picture, advance, find_drift
from lml_live.inventory.records import Entry, HoldChange, Record
from lml_live.inventory.recovery import Claim, Overlay, StaffHold

NOW = 1_000_000
NOTHING = Overlay(claims=(), blocked_seats={}, blocked_areas={})


def hold_of(*seats: int, state: str = "active", booking: str = "", pit: int = 0) -> Record:
    return Record(
        holder="anna",
        state=state,
        deadline_ms=NOW + 300_000,
        lifetime_ms=NOW + 900_000,
        extensions=0,
        booking=booking,
        seats=tuple(part for seat in seats for part in (seat, "adult")),
        areas=("pit", "adult", pit) if pit else (),
        created_ms=NOW - 1_000,
        seq=3,
        reason="own",
        digests=(),
        channel=0,
    )


def claim_of(*seats: int, sold: bool, hold: str = "1-a", booking: str = "b-1") -> Claim:
    return Claim(booking, hold, "anna", sold, NOW - 1_000, NOW + 900_000, tuple((seat, "adult") for seat in seats), ())


def picture_of(seats: bytes, **parts: Any) -> Picture:
    records: dict[str, Record] = parts.pop("records", {})
    size = sum(len(one.seats) // 2 + sum(one.areas[2::3]) for one in records.values())  # type: ignore[arg-type]
    whole: dict[str, Any] = {
        "areas": {"pit": (10, 0, 0, 0)},
        "allotments": {},
        "deadlines": {hold: one.deadline_ms for hold, one in records.items() if one.state == "active"},
        "tallies": {"anna": (size, *records)} if records else {},
    }
    return Picture("1:1", 3, seats, records=records, **{**whole, **parts})


HOLD = {"1-a": hold_of(1)}
MARK = {"1-a": hold_of(1, state="checkout", booking="b-1")}
SALE = {"1-a": hold_of(1, state="sold", booking="b-1")}
PIT: dict[str, AreaCounts] = {"pit": (8, 2, 0, 0)}


@pytest.mark.parametrize(
    ("picture", "overlay", "found"),
    [
        # Nothing is wrong.
        (picture_of(bytes(4)), NOTHING, []),
        (picture_of(b"\0\1\0\0", records=HOLD), NOTHING, []),
        (picture_of(b"\0\1\0\0", records=MARK, deadlines={"1-a": NOW + 30_000}), NOTHING, []),
        (picture_of(b"\0\1\0\0", records=MARK), structs.replace(NOTHING, claims=(claim_of(1, sold=False),)), []),
        # Taken to be sold at the counter, over a house hold: the sweep asks for its claim, and undoes it.
        (
            picture_of(b"\0\1\0\0", records={"1-c-a": MARK["1-a"]}, deadlines={"1-c-a": NOW + 30_000}),
            structs.replace(NOTHING, blocked_seats={1: 3}),
            [],
        ),
        (picture_of(b"\0\2\0\0", records=SALE), structs.replace(NOTHING, claims=(claim_of(1, sold=True),)), []),
        (picture_of(b"\0\3\4\0"), structs.replace(NOTHING, blocked_seats={1: 3, 2: 4}), []),
        (picture_of(b"\0\1\0\0", records={"1-a": hold_of(1, pit=2)}, areas=PIT), NOTHING, []),
        (picture_of(bytes(4), records={"1-a": hold_of(state="gone")}, tallies={}), NOTHING, []),
        # A seat that one store says is sold, blocked or held, and the other does not.
        (picture_of(b"\0\2\0\0"), NOTHING, ["seat 1 is sold, not available"]),
        (picture_of(b"\0\1\0\0"), NOTHING, ["seat 1 is held, not available"]),
        (picture_of(b"\0\0\0\4"), NOTHING, ["seat 3 is kill, not available"]),
        (picture_of(bytes(4)), structs.replace(NOTHING, blocked_seats={2: 3}), ["seat 2 is available, not house"]),
        (picture_of(bytes(4), records=HOLD), NOTHING, ["seat 1 is available, not held"]),
        (
            picture_of(b"\0\1\0\0", records=MARK),
            structs.replace(NOTHING, claims=(claim_of(1, sold=True),)),
            ["hold 1-a is checkout", "seat 1 is held, not sold"],
        ),
        (
            picture_of(bytes(4)),
            structs.replace(NOTHING, claims=(claim_of(1, sold=False),)),
            ["hold 1-a is absent", "seat 1 is available, not held"],
        ),
        (picture_of(b"\0\2\0\0", records=SALE), NOTHING, ["hold 1-a is sold", "seat 1 is sold, not available"]),
        # Whose it is.
        (
            picture_of(b"\0\2\0\0", records=SALE),
            structs.replace(NOTHING, claims=(structs.replace(claim_of(1, sold=True), holder="bert"),)),
            ["hold 1-a is sold b-1 of anna [(1, 'adult')] [], not sold b-1 of bert [(1, 'adult')] []"],
        ),
        (
            picture_of(b"\0\1\0\0", records=MARK),
            structs.replace(NOTHING, claims=(structs.replace(claim_of(1, sold=False), holder="bert"),)),
            ["hold 1-a is checkout b-1 of anna"],
        ),
        (
            picture_of(b"\0\1\0\0", records=HOLD),
            structs.replace(NOTHING, staff_holds=(StaffHold("1-a", "bert", NOW - 1_000, ((1, "adult"),), ()),)),
            ["hold 1-a is active  of anna"],
        ),
        # What belongs to a channel.
        (
            picture_of(bytes(4)),
            structs.replace(NOTHING, seat_channels={1: 2}),
            ["seat 1 is available, not available of"],
        ),
        (picture_of(b"\0\x10\0\0"), NOTHING, ["seat 1 is available of channel 2, not available"]),
        (
            picture_of(bytes(4)),
            structs.replace(NOTHING, area_channels={"pit": {2: 3}}),
            ["area pit's channels is [], not [(2, 3, 0)]"],
        ),
        # Counters.
        (picture_of(bytes(4), areas={"pit": (9, 0, 0, 0)}), NOTHING, ["area pit is (9, 0, 0, 0)"]),
        (picture_of(bytes(4), areas={"pit": (9, 1, 0, 0)}), NOTHING, ["area pit is (9, 1, 0, 0)"]),
        (picture_of(bytes(4), allotments={"pit": (1, 3, 0)}), NOTHING, ["area pit's channels is [(1, 3, 0)], not []"]),
        (
            picture_of(bytes(4)),
            structs.replace(NOTHING, blocked_areas={"pit": 3}),
            ["area pit is (10, 0, 0, 0), not (7, 0, 0, 3)"],
        ),
        (picture_of(b"\0\1\0\0", records=HOLD, tallies={"anna": (3, "1-a")}), NOTHING, ["tally anna is 3 in 1 holds"]),
        (picture_of(bytes(4), tallies={"bert": (1, "1-x")}), NOTHING, ["tally bert is 1 in 1 holds, not 0 in 0"]),
        # Deadlines.
        (picture_of(b"\0\1\0\0", records=HOLD, deadlines={}), NOTHING, ["deadline 1-a is None"]),
        (picture_of(b"\0\1\0\0", records=HOLD, deadlines={"1-a": 5}), NOTHING, ["deadline 1-a is 5"]),
        (picture_of(bytes(4), deadlines={"1-x": 5}), NOTHING, ["deadline 1-x is 5, not none, for there is no"]),
        (picture_of(b"\0\1\0\0", records=MARK), NOTHING, ["deadline 1-a is a mark without a claim"]),
        (
            picture_of(b"\0\2\0\0", records=SALE, deadlines={"1-a": 5}),
            structs.replace(NOTHING, claims=(claim_of(1, sold=True),)),
            ["deadline 1-a is 5, not none, for it is sold"],
        ),
        # A clock was set forward and back: the hold would last a quarter of an hour longer.
        (
            picture_of(b"\0\1\0\0", records={"1-a": structs.replace(hold_of(1), created_ms=NOW + 900_000)}),
            NOTHING,
            ["time 1-a is made at"],
        ),
    ],
)
def test_what_is_found(picture: Picture, overlay: Overlay, found: list[str]) -> None:
    told = [describe(drift) for drift in find_drift(picture, {"pit": 10}, overlay, (), NOW)]
    assert len(told) == len(found), told
    for words, expected in zip(told, found, strict=True):
        assert words.startswith(expected)


def test_a_booking_with_work_to_do_is_not_judged() -> None:
    untold = picture_of(b"\0\1\0\0", records=MARK)
    overlay = structs.replace(NOTHING, claims=(claim_of(1, sold=True),))
    assert find_drift(untold, {"pit": 10}, overlay, {"b-1"}, NOW) == ()
    assert [one.booking for one in find_drift(untold, {"pit": 10}, overlay, {"b-2"}, NOW)] == ["b-1", "b-1"]


def test_what_changed_while_it_was_read_is_laid_over() -> None:
    entry = Entry("hold", "", (2, 1, 1), ("pit", 9, 1, 0, 0, ()), (HoldChange("1-b", hold_of(2, pit=1)),))
    late = advance(picture_of(bytes(4)), [(4, entry)])
    assert late is not None
    assert (late.seq, late.seats, late.areas["pit"]) == (4, b"\0\0\1\0", (9, 1, 0, 0))
    # Its deadline and its holder's tally may or may not have been read after it: they are not judged.
    assert find_drift(late, {"pit": 10}, NOTHING, (), NOW) == ()
    assert advance(picture_of(bytes(4)), [(5, entry)]) is None, "an entry is missing"


# --- Against the real stores


@pytest.fixture
async def checker(house: House) -> Checker:
    return Checker(house.book, house.holds, house.pool)


@pytest.fixture
async def event(house: House) -> str:
    """Everything that an inventory can have, and nothing wrong."""
    event = await house.open_event(areas={"pit": 10})
    held(await house.holds.hold_seats(event, "anna", adults(1, 2), [("pit", "adult", 2)], key="k"))
    for seat, sold in ((4, True), (6, False)):
        mark = held(await house.holds.hold_seats(event, "bert", adults(seat), [("pit", "adult", 1)], key=None))
        mark = held(await house.holds.checkout_hold(event, "bert", mark.hold, f"b-{event}-{seat}"))
        assert mark.record is not None
        await house.claim(event, mark.hold, mark.record, booking=f"b-{event}-{seat}", sold=sold)
        if sold:
            await house.holds.sell_hold(event, mark.hold, f"b-{event}-{seat}")
    gone = held(await house.holds.hold_seats(event, "cleo", adults(8), [], key=None))
    held(await house.holds.release_hold(event, "cleo", gone.hold))
    await house.block_rows(event, {10: "house", 11: "kill"}, {"pit": 1})
    await house.holds.block_seats(event, [10], {"pit": 1}, 3)
    await house.holds.block_seats(event, [11], {}, 4)
    return event


async def found_in(checker: Checker, event: str) -> list[str]:
    return [describe(drift) for drift in await checker.check(event, 0)]


async def test_a_sound_event_has_no_drift(house: House, checker: Checker, event: str) -> None:
    assert await checker.check(event, 0) == ()
    assert event in await checker.events()
    # Read in steps, while it changes all the time.
    seen = []
    for seat in range(12, 24):
        held(await house.holds.hold_seats(event, f"h{seat}", adults(seat), [], key=None))
        seen.append(await checker.look(event))
    assert all(look is not None and look.found == () for look in seen)


async def _sold_nowhere(house: House, event: str) -> None:
    sale = await house.sale(event)
    await house.pipe.call("SETRANGE", sale.key("seats"), 9, b"\x02")


async def _free_though_sold(house: House, event: str) -> None:
    sale = await house.sale(event)
    await house.pipe.call("SETRANGE", sale.key("seats"), 4, b"\x00")


async def _blocked_by_nobody(house: House, event: str) -> None:
    await house.pool.execute("DELETE FROM seat_block WHERE event_id = $1 AND seat_id = $2", event, seat_id(11))


async def _miscounted(house: House, event: str) -> None:
    sale = await house.sale(event)
    await house.pipe.call("HINCRBY", sale.key("areas"), "pit/available", 1)


async def _no_deadline(house: House, event: str) -> None:
    sale = await house.sale(event)
    await house.pipe.call("DEL", sale.key("deadlines"))


async def _no_tally(house: House, event: str) -> None:
    sale = await house.sale(event)
    await house.pipe.call("HDEL", sale.key("book"), "o:bert")


async def _anothers(house: House, event: str) -> None:
    """A booking was handed to an account, and Redis was not told."""
    begin = "INSERT INTO hand_over (from_holder, to_holder) VALUES ('bert', $1)"
    await house.pool.execute(
        "INSERT INTO account (id, email, password_hash, holder) VALUES ($1, $2, '', $1)", event, f"{event}@example.org"
    )
    await house.pool.execute(begin, event)
    await house.pool.execute("UPDATE booking SET holder = $2 WHERE id = $1", f"b-{event}-6", event)
    await house.pool.execute("UPDATE hand_over SET done = now() WHERE to_holder = $1", event)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_anothers, ["hold "]),
        (_sold_nowhere, ["seat 9 is sold, not available"]),
        (_free_though_sold, ["seat 4 is available, not sold"]),
        (_blocked_by_nobody, ["seat 11 is kill, not available"]),
        (_miscounted, ["area pit is (6, 3, 1, 1), not (5, 3, 1, 1)"]),
        (_no_deadline, ["deadline "]),
        (_no_tally, ["tally bert is 0 in 0 holds, not 4 in 2 holds"]),
    ],
)
async def test_drift_is_found_and_mended(
    house: House,
    checker: Checker,
    event: str,
    spoil: Callable[[House, str], Awaitable[None]],
    words: list[str],
) -> None:
    before = (await house.sale(event)).epoch
    await spoil(house, event)
    drift = await checker.check(event, 0)
    told = [describe(one) for one in drift]
    assert len(told) == len(words), told
    assert all(one.startswith(word) for one, word in zip(told, words, strict=True))
    assert await checker.mend(event, drift) == "adopted"
    await eventually(lambda: epoch_after(house, event, before))
    assert await found_in(checker, event) == []
    await house.remember_start(event)
    await house.audit(event)


async def epoch_after(house: House, event: str, before: int) -> bool:
    sale = await house.book.reload(event)
    return sale.epoch > before and await house.pipe.call("HGET", sale.key("book"), "stamp") == sale.stamp.encode()


async def test_a_sale_that_redis_was_not_told_is_told_again(house: House, checker: Checker, event: str) -> None:
    booking = f"b-{event}-6"
    await house.move_claim(booking, "confirmed", "sold")
    # While the outbox has it, it is on its way.
    await house.pool.execute(
        "INSERT INTO outbox (booking_id, event_id, act, key) VALUES ($1, $2, 'sell_hold', $1)", booking, event
    )
    assert await checker.check(event, 0) == ()
    await house.pool.execute("UPDATE outbox SET done = now() WHERE booking_id = $1", booking)
    drift = await checker.check(event, 0)
    assert {one.kind for one in drift} == {"seat", "hold", "area"}
    epoch = (await house.sale(event)).epoch
    assert await checker.mend(event, drift) == "told"
    assert (await house.sale(event)).epoch == epoch, "nobody is disturbed"
    assert await found_in(checker, event) == []
    await house.audit(event)


async def test_a_booking_that_is_handed_over_is_on_its_way(house: House, checker: Checker, event: str) -> None:
    await _anothers(house, event)
    await house.pool.execute("UPDATE hand_over SET done = NULL WHERE to_holder = $1", event)
    assert await checker.check(event, 0) == ()
    await house.pool.execute("UPDATE hand_over SET done = now() WHERE to_holder = $1", event)
    [drift] = await checker.check(event, 0)
    assert ("of bert" in drift.found, f"of {event}" in drift.expected) == (True, True)


async def test_what_is_on_its_way_is_no_drift(
    house: House, checker: Checker, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block is in PostgreSQL first; between the two looks it arrives."""
    await house.block_rows(event, {13: "house"}, {})
    look = checker.look

    async def arrives(event: str) -> Any:
        seen = await look(event)
        await house.holds.block_seats(event, [13], {}, 3)
        return seen

    monkeypatch.setattr(checker, "look", arrives)
    assert await checker.check(event, 0) == ()


async def test_another_stamp_between_the_looks_begins_anew(
    house: House, checker: Checker, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _sold_nowhere(house, event)
    look = checker.look

    async def changes(event: str) -> Any:
        seen = await look(event)
        await house.change_event(event, max_seats=7)
        await house.book.restamp(event)
        return seen

    monkeypatch.setattr(checker, "look", changes)
    assert await checker.check(event, 0) == ()


async def test_what_mending_does_not_help_is_left_to_people(house: House, checker: Checker, event: str) -> None:
    drift = (Drift("seat", "9", "sold", "available"),)
    assert await checker.mend(event, drift) == "adopted"
    assert await checker.mend(event, drift) == ""
    await house.book.recover(event, wait=True)


async def test_the_leader_checks_by_itself(
    house: House, checker: Checker, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DRIFT_CHECK_SECONDS", 0.001)
    monkeypatch.setattr(limits, "DRIFT_SHARE_MAX", 1.0)
    monkeypatch.setattr(Checker.check, "__defaults__", (0.0,))
    monkeypatch.setattr(checker, "events", lambda: asyncio.sleep(0, [event]))
    before, leads = (await house.sale(event)).epoch, False
    await _sold_nowhere(house, event)
    checks = METRICS.drift_checks._value.get()
    task = asyncio.create_task(checker.run(lambda: leads))
    try:
        await asyncio.sleep(0.05)
        assert METRICS.drift_checks._value.get() == checks, "it does not lead"
        leads = True
        await eventually(lambda: epoch_after(house, event, before))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await found_in(checker, event) == []
