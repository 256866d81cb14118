"""Holds for customers are durable: through every loss of Redis, and until they are a booking.

The log beside them says who did what to which seat, when and why, and nobody can change it.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from back_office import BEGINNING, FREE, HELD, HOUSE, IDS, KILL, NAMES, SOLD, Office, office_fixture  # noqa: F401
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held, refused

from lml_live import limits
from lml_live.errors import NotFound
from lml_live.inventory.channels import Channels
from lml_live.inventory.staff_holds import Undone

# --- Kept


async def test_a_customers_hold_outlives_all_that_redis_holds(office: Office, house: House) -> None:
    made = held(await office.hold(3, 4, 20, pit=2, over_house=True))
    gone = held(await house.holds.hold_seats(office.event, "anna", adults(7), [], key=None))
    assert await office.blocks() == {21: "house", 22: "kill"}
    await office.lose_redis()
    states = await house.states(office.event)
    assert [seat for seat, state in enumerate(states) if state == HELD] == [3, 4, 20]
    assert (states[21], states[22]) == (HOUSE, KILL)
    assert await house.area(office.event, "pit") == (8, 2, 0, 0)
    refused(await house.holds.read_hold(office.event, "anna", gone.hold), "hold_not_found")
    record = held(await house.holds.read_hold(office.event, office.customer, made.hold)).record
    assert record is not None
    assert made.record is not None
    assert (record.seats, record.areas, record.state) == (made.record.seats, made.record.areas, "active")
    assert record.deadline_ms == limits.UNTIL_RELEASED_MS
    refused(await house.holds.hold_seats(office.event, "eve", adults(20), [], key=None), "seat_taken")
    # It can be paid for, released and found as before.
    held(await house.holds.checkout_hold(office.event, office.customer, made.hold, "b"))
    held(await house.holds.restore_hold(office.event, made.hold, "b"))
    assert isinstance(await office.release(made.hold), Undone)
    await house.audit(office.event)
    await office.lose_redis()
    assert (await house.states(office.event)).count(HELD) == 0, "what was released stays released"
    assert await office.log() == [
        ("hold", [3, 4, 20, ("pit", 2)], "held", "clara", "school class"),
        ("release", [3, 4, 20, ("pit", 2)], "available", "ben", "did not come"),
    ]


async def test_a_moved_hold_stays_where_it_was_moved(office: Office, house: House) -> None:
    made = held(await office.hold(3, 4, pit=2))
    refused(await office.move(made.hold, 4, 22, over_house=True), "seat_taken")
    refused(await office.move(made.hold, 4, 20), "seat_taken")
    assert [(state, seats) for _, state, seats in await office.listed()] == [("held", [3, 4])]
    held(await office.move(made.hold, 4, 20, pit=5, over_house=True))
    assert await office.listed() == [(made.hold, "held", [4, 20])]
    await office.lose_redis()
    states = await house.states(office.event)
    assert [seat for seat, state in enumerate(states) if state == HELD] == [4, 20]
    assert await house.area(office.event, "pit") == (5, 5, 0, 0)
    assert (await office.log())[1:] == [
        ("move", [3], "available", "ben", "taller people"),
        ("move", [20, ("pit", 3)], "held", "ben", "taller people"),
    ]


async def test_anybodys_hold_is_released_and_moved(office: Office, house: House) -> None:
    anna = held(await house.holds.hold_seats(office.event, "anna", adults(0, 1), [], key=None))
    held(await office.move(anna.hold, 1, 21, over_house=True))
    assert await office.blocks() == {20: "house", 22: "kill"}
    assert await office.listed() == []
    assert isinstance(await office.release(anna.hold), Undone)
    refused(await office.release(anna.hold), "hold_not_found")
    assert await office.log() == [
        ("move", [0], "available", "ben", "taller people"),
        ("move", [21], "held", "ben", "taller people"),
        ("release", [1, 21], "available", "ben", "did not come"),
    ]
    await house.audit(office.event)


# --- Refused


async def test_refused_it_changes_nothing(office: Office, house: House) -> None:
    before = await house.states(office.event)
    anna = held(await house.holds.hold_seats(office.event, "anna", adults(0), [], key=None))
    held(await house.holds.checkout_hold(office.event, "anna", anna.hold, "b"))
    refused(await office.hold(0, 1), "seat_taken")
    refused(await office.hold(1, 20), "seat_taken")
    refused(await office.hold(1, 20, 22, over_house=True), "seat_taken")
    refused(await office.hold(1, 20, pit=11, over_house=True), "area_full")
    refused(await office.release(anna.hold), "hold_in_checkout")
    refused(await office.move(anna.hold, 1), "hold_in_checkout")
    for holder in ("anna", "nobody"):
        with pytest.raises(NotFound):
            await office.hold(1, holder=holder)
    states = await house.states(office.event)
    assert (states[0], states[1:]) == (HELD, before[1:])
    assert (await office.listed(), await office.log()) == ([], [])
    assert await office.blocks() == {20: "house", 21: "house", 22: "kill"}
    assert await house.pool.fetchval("SELECT count(*) FROM staff_hold WHERE event_id = $1", office.event) == 0


# --- From hold to sale


async def test_its_booking_decides_from_the_claim_on(office: Office, house: House) -> None:
    made = held(await office.hold(3, pit=1))
    booking = f"b-{office.event}"
    marked = held(await house.holds.checkout_hold(office.event, office.customer, made.hold, booking))
    assert marked.record is not None
    await office.lose_redis()
    record = held(await house.holds.read_hold(office.event, office.customer, made.hold)).record
    assert record is not None
    assert record.state == "active", "a mark without a claim is the customer's hold again"
    held(await house.holds.checkout_hold(office.event, office.customer, made.hold, booking))
    await house.claim(office.event, made.hold, marked.record, booking=booking)
    assert await office.listed() == []
    await house.move_claim(booking, "confirmed", "sold")
    await office.lose_redis()
    assert (await house.states(office.event))[3] == SOLD
    refused(await office.release(made.hold), "hold_not_found")
    await house.move_claim(booking, "refunded", "released")
    await office.lose_redis()
    assert (await house.states(office.event))[3] == FREE, "a sale that was undone is no hold again"
    assert [(act, places, status) for act, places, status, *_ in await office.log()][1:] == [
        ("sell", [3, ("pit", 1)], "sold"),
        ("free", [3, ("pit", 1)], "available"),
    ]


async def test_a_claim_that_ended_unsold_is_no_change_of_status(office: Office, house: House) -> None:
    anna = held(await house.holds.hold_seats(office.event, "anna", adults(0), [], key=None))
    assert anna.record is not None
    await house.claim(office.event, anna.hold, anna.record, booking=f"b-{office.event}")
    await house.move_claim(f"b-{office.event}", "cancelled", "released")
    assert await office.log() == []


async def test_a_closed_sale_keeps_no_holds(office: Office, house: House) -> None:
    held(await office.hold(3))
    await house.change_event(office.event, state="closed")
    await house.book.restamp(office.event)
    assert await office.listed() == []
    await office.lose_redis()
    assert (await house.states(office.event)).count(HELD) == 0
    refused(await office.hold(4, request="b" * 40), "sale_closed")
    assert await house.pool.fetchval("SELECT count(*) FROM staff_hold WHERE state = 'taking'") == 0


# --- The log


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE status_change SET reason = 'nothing'",
        "DELETE FROM status_change",
        "DELETE FROM status_change WHERE false",
        "TRUNCATE status_change",
        "TRUNCATE event CASCADE",
    ],
)
async def test_the_log_is_only_ever_added_to(office: Office, house: House, statement: str) -> None:
    held(await office.hold(3))
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await house.pool.execute(statement)
    assert caught.value.constraint_name == "status_change_stays"
    assert len(await office.log()) == 1


async def changes(office: Office, *, seat: int | None = None, limit: int = 100, **more: Any) -> Sequence[Any]:
    since, after = more.get("since", BEGINNING[0]), more.get("after", BEGINNING)
    chosen = None if seat is None else IDS[seat]
    return await office.history.changes(office.event, seat_id=chosen, since=since, after=after, limit=limit)


async def test_the_log_is_read_by_seat_and_by_time_in_pages(office: Office) -> None:
    made = held(await office.hold(1, 2, 3))
    held(await office.move(made.hold, 2, 3, 4))
    await office.release(made.hold)
    everything = await changes(office)
    assert len(everything) == 3 + 2 + 3
    assert [change.act for change in await changes(office, seat=4)] == ["move", "release"]
    assert [change.act for change in await changes(office, seat=1)] == ["hold", "move"]
    assert await changes(office, seat=9) == []
    middle = everything[3].at
    assert list(await changes(office, since=middle)) == list(everything[3:])
    assert await changes(office, since=everything[-1].at + timedelta(microseconds=1)) == []
    for seat in (None, 2):
        whole, after, paged = await changes(office, seat=seat), BEGINNING, []
        while page := await changes(office, seat=seat, after=after, limit=2):
            assert len(page) <= 2
            paged += page
            after = (page[-1].at, page[-1].number)
        assert paged == list(whole)


async def test_staff_see_what_is_so_of_a_seat(office: Office, house: House) -> None:
    made = held(await office.hold(3))
    anna = held(await house.holds.hold_seats(office.event, "anna", adults(0), [], key=None))
    booking = f"b-{office.event}"
    dora = held(await house.holds.hold_seats(office.event, "dora", adults(1), [], key=None))
    dora = held(await house.holds.checkout_hold(office.event, "dora", dora.hold, booking))
    assert dora.record is not None
    await house.claim(office.event, dora.hold, dora.record, booking=booking, sold=True)
    held(await house.holds.sell_hold(office.event, dora.hold, booking))
    asked = [(seat, IDS[seat], "Front") for seat in (3, 0, 1, 20, 22, 5)]
    kim, holds, sold, kept, killed, free = await office.history.seats(office.event, NAMES.layout, asked)
    assert (kim.status, kim.hold, kim.holder, kim.customer, kim.deadline) == (
        *("held", made.hold, office.customer, "Kim", None),
    )
    assert (holds.status, holds.hold, holds.holder, holds.customer) == ("held", anna.hold, "anna", None)
    assert holds.deadline is not None
    assert (sold.status, sold.hold, sold.holder, sold.booking, sold.booking_state) == (
        *("sold", dora.hold, "dora", booking, "confirmed"),
    )
    assert (kept.status, kept.reason, kept.staff, kept.hold) == ("house", "r", "s", None)
    assert kept.blocked_at is not None
    assert killed.status == "kill"
    assert (free.status, free.hold, free.reason, free.category) == ("available", None, None, "Front")


async def test_places_that_were_held_before_the_box_office_had_any_are_not_its_own(
    office: Office, house: House
) -> None:
    """After a rebuild they used up what it was given since, and as many of its places were everybody's."""
    held(await office.hold(pit=3))
    await house.pool.execute("INSERT INTO event_channel (event_id, name, number, staff_id, reason)"
                             " VALUES ($1, 'box-office', 1, 's', 'r')", office.event)  # fmt: skip
    await house.pool.execute("INSERT INTO area_channel VALUES ($1, 'pit', 1, 4)", office.event)
    await Channels(house.book).renew(office.event)
    await Channels(house.book).assign_seats(office.event, "box-office", [], {"pit": 4})
    assert await house.allotments(office.event) == {"pit": (1, 4, 0)}
    assert await office.drift() == ()
    await office.lose_redis()
    assert await house.allotments(office.event) == {"pit": (1, 4, 0)}
    assert await office.drift() == ()
