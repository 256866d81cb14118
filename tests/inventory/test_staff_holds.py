"""Staff on anybody's holds, in the inventory alone: what is granted, what is refused and then changes nothing."""

import asyncio

import msgspec
import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held, refused

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.holds import is_staff_hold
from lml_live.inventory.staff_holds import ActNote, StaffHolds, Undone

FREE, HELD, SOLD, HOUSE, KILL = range(5)
PIT = {"pit": 10}


@pytest.fixture(name="staff")
def staff_fixture(house: House) -> StaffHolds:
    return StaffHolds(house.book)


async def arrange(house: House) -> str:
    """20 and 21 are kept back by the house, 22 is killed, and so are 3 places in the pit."""
    event = await house.open_event(areas=PIT)
    await house.holds.block_seats(event, [20, 21], {}, seatmap.BYTE_HOUSE)
    await house.holds.block_seats(event, [22], {"pit": 3}, seatmap.BYTE_KILL)
    return event


def undone(answer: Undone | Refusal) -> Undone:
    assert isinstance(answer, Undone), answer
    return answer


def denied(answer: Changed | Undone | Refusal, code: str, *seats: int) -> None:
    assert isinstance(answer, Refusal), answer
    assert (answer.code, answer.seats) == (code, seats)


async def test_a_customer_holds_until_released(house: House, staff: StaffHolds) -> None:
    event = await arrange(house)
    hold = await staff.hold_id(event, "f" * 40)
    assert is_staff_hold(hold)
    made = held(
        await staff.hold_for_customer(event, "kim", hold, adults(3, 2), [("pit", "adult", 4)], over_house=False)
    )
    assert made.hold == hold
    assert made.record is not None
    assert (made.record.state, made.record.reason, made.record.seats) == ("active", "staff", (2, "adult", 3, "adult"))
    assert made.record.deadline_ms == made.record.lifetime_ms == limits.UNTIL_RELEASED_MS
    house.pass_ms(365 * 24 * 3600 * 1000)
    assert (await house.sweep(event))[:3] == [b"swept", 0, 0]
    assert (await house.states(event))[2:4] == [HELD, HELD]
    assert await house.area(event, "pit") == (3, 4, 0, 3)
    await house.audit(event)


async def test_the_same_request_is_done_once(house: House, staff: StaffHolds) -> None:
    event = await arrange(house)
    hold = await staff.hold_id(event, "a" * 40)
    answers = [await staff.hold_for_customer(event, "kim", hold, adults(5), [], over_house=False) for _ in range(2)]
    assert held(answers[0]).seq == held(answers[1]).seq
    await staff.withdraw_hold(event, hold)
    denied(await staff.hold_for_customer(event, "kim", hold, adults(5), [], over_house=False), "hold_not_found")
    denied(await staff.hold_for_customer(event, "eve", hold, adults(5), [], over_house=False), "hold_not_found")
    await house.audit(event)


async def test_house_seats_are_for_staff_who_say_so_and_killed_ones_for_nobody(house: House, staff: StaffHolds) -> None:
    event = await arrange(house)
    hold = await staff.hold_id(event, "b" * 40)
    before = await house.states(event)
    plain = await staff.hold_for_customer(event, "kim", hold, adults(19, 20, 21), [], over_house=False)
    denied(plain, "seat_taken", 20, 21)
    killed = await staff.hold_for_customer(event, "kim", hold, adults(20, 22), [], over_house=True)
    denied(killed, "seat_taken", 22)
    full = await staff.hold_for_customer(event, "kim", hold, adults(20), [("pit", "adult", 8)], over_house=True)
    assert isinstance(full, Refusal)
    assert (full.code, full.areas) == ("area_full", {"pit": 7})
    assert await house.states(event) == before
    held(await staff.hold_for_customer(event, "kim", hold, adults(19, 20, 21), [], over_house=True))
    assert (await house.states(event))[19:23] == [HELD, HELD, HELD, KILL]
    anna = held(await house.holds.hold_seats(event, "anna", adults(0), [], key=None))
    denied(await staff.move_hold(event, anna.hold, adults(22), [], over_house=True), "seat_taken", 22)
    await house.audit(event)


async def test_two_clerks_at_once_and_one_winner(house: House, staff: StaffHolds) -> None:
    event = await arrange(house)
    ids = [await staff.hold_id(event, f"{clerk:020x}") for clerk in range(8)]
    answers = await asyncio.gather(
        *(
            staff.hold_for_customer(event, f"c{clerk}", hold, adults(20, clerk), [], over_house=True)
            for clerk, hold in enumerate(ids)
        )
    )
    winners = [answer for answer in answers if isinstance(answer, Changed)]
    assert len(winners) == 1
    for answer in answers:
        if isinstance(answer, Refusal):
            denied(answer, "seat_taken", 20)
    assert (await house.states(event)).count(HELD) == 2
    await house.audit(event)


async def test_bounds(house: House, staff: StaffHolds, monkeypatch: pytest.MonkeyPatch) -> None:
    event = await house.open_event(max_seats=1)
    first, second = [await staff.hold_id(event, f"{n:020x}") for n in range(2)]
    held(await staff.hold_for_customer(event, "kim", first, adults(0, 1, 2), [], over_house=False))  # beyond max_seats
    refused(await house.holds.hold_seats(event, "kim", adults(3), [], key=None), "limit_exceeded")
    monkeypatch.setattr(limits, "HOLD_SEATS_MAX", 3)
    over = await staff.hold_for_customer(event, "kim", second, adults(4), [], over_house=False)
    denied(over, "limit_exceeded")
    denied(await staff.move_hold(event, first, adults(0, 1, 2, 3), [], over_house=False), "limit_exceeded")
    monkeypatch.setattr(limits, "HOLD_SEATS_MAX", 50)
    monkeypatch.setattr(limits, "HOLDS_PER_HOLDER_MAX", 1)
    denied(await staff.hold_for_customer(event, "kim", second, adults(4), [], over_house=False), "limit_exceeded")
    await house.audit(event)


@pytest.mark.parametrize(("state", "opens_in_ms"), [("draft", 0), ("paused", 0), ("open", 60_000)])
async def test_neither_hours_nor_pauses_bind_staff(
    house: House, staff: StaffHolds, state: str, opens_in_ms: int
) -> None:
    event = await house.open_event(state=state, opens_in_ms=opens_in_ms)
    hold = await staff.hold_id(event, "c" * 40)
    held(await staff.hold_for_customer(event, "kim", hold, adults(1), [], over_house=False))
    undone(await staff.move_hold(event, hold, adults(2), [], over_house=False))
    undone(await staff.withdraw_hold(event, hold))
    assert (await house.states(event)).count(HELD) == 0
    await house.audit(event)


async def test_a_closed_sale_has_no_holds(house: House, staff: StaffHolds) -> None:
    event = await house.open_event()
    hold, late = [await staff.hold_id(event, f"{n:020x}") for n in range(2)]
    held(await staff.hold_for_customer(event, "kim", hold, adults(1), [], over_house=False))
    await house.change_event(event, state="closed")
    await house.book.restamp(event)
    denied(await staff.hold_for_customer(event, "kim", late, adults(2), [], over_house=False), "sale_closed")
    assert await house.close_some(event) == (1, 1)
    assert (await house.states(event)).count(HELD) == 0
    await house.audit(event)
    # It stood there, a tombstone, until the year 2100.
    house.pass_ms(limits.TOMBSTONE_MS + 1_000)
    await house.sweep(event)
    assert await house.records(event) == {}


async def test_staff_release_anybodys_hold(house: House, staff: StaffHolds) -> None:
    event = await arrange(house)
    anna = held(await house.holds.hold_seats(event, "anna", adults(0, 1), [("pit", "adult", 2)], key="k"))
    ended = undone(await staff.withdraw_hold(event, anna.hold))
    assert ended.before.seats == (0, "adult", 1, "adult")
    assert ended.before.areas == ("pit", "adult", 2)
    _, entry = await house.last_entry(event)
    [change] = entry.holds
    record = change.record
    assert (change.hold, record.state, record.reason, record.holder) == (anna.hold, "gone", "staff", "anna")
    assert (await house.states(event))[:2] == [FREE, FREE]
    # Her key is remembered as long as ever: a retry of hers takes nothing.
    house.pass_ms(limits.TOMBSTONE_MS + 1_000)
    await house.sweep(event)
    refused(await house.holds.hold_seats(event, "anna", adults(0, 1), [("pit", "adult", 2)], key="k"), "hold_not_found")
    denied(await staff.withdraw_hold(event, anna.hold), "hold_not_found")
    denied(await staff.withdraw_hold(event, "1-none"), "hold_not_found")
    await house.audit(event)


async def test_a_released_customers_hold_leaves_no_tombstone_for_ever(house: House, staff: StaffHolds) -> None:
    event = await house.open_event()
    hold = await staff.hold_id(event, "d" * 40)
    held(await staff.hold_for_customer(event, "kim", hold, adults(1), [], over_house=False))
    undone(await staff.withdraw_hold(event, hold))
    await house.audit(event)
    house.pass_ms(limits.TOMBSTONE_MS + 1_000)
    await house.sweep(event)
    assert await house.records(event) == {}


async def test_an_act_is_settled_by_an_inventory_that_is_there(house: House, staff: StaffHolds) -> None:
    """One that Redis lost knows nothing: that the act was never done is no answer of it."""
    event = await house.open_event()
    sale = await house.sale(event)
    assert await staff.settle_act(event, 1) == (sale.epoch, None)
    await house.pipe.call("HDEL", sale.key("book"), "stamp")
    with pytest.raises(Unavailable):
        await staff.settle_act(event, 2)
    await house.book.recover(event, wait=True)
    assert await staff.settle_act(event, 2) == (sale.epoch + 1, None)


async def test_what_is_being_paid_for_is_left_alone(house: House, staff: StaffHolds) -> None:
    event = await arrange(house)
    anna = held(await house.holds.hold_seats(event, "anna", adults(0), [], key=None))
    held(await house.holds.checkout_hold(event, "anna", anna.hold, "b1"))
    denied(await staff.withdraw_hold(event, anna.hold), "hold_in_checkout")
    denied(await staff.move_hold(event, anna.hold, adults(1), [], over_house=False), "hold_in_checkout")
    held(await house.holds.sell_hold(event, anna.hold, "b1"))
    denied(await staff.withdraw_hold(event, anna.hold), "hold_not_found")
    denied(await staff.move_hold(event, anna.hold, adults(1), [], over_house=False), "hold_not_found")
    await house.audit(event)


async def test_a_move_is_one_step_or_none(house: House, staff: StaffHolds) -> None:
    event = await arrange(house)
    anna = held(await house.holds.hold_seats(event, "anna", adults(0, 1), [("pit", "adult", 2)], key=None))
    held(await house.holds.hold_seats(event, "ben", adults(5), [], key=None))
    seq = (await house.last_entry(event))[0]
    denied(await staff.move_hold(event, anna.hold, adults(1, 4, 5), [], over_house=True), "seat_taken", 5)
    full = await staff.move_hold(event, anna.hold, adults(1), [("pit", "adult", 8)], over_house=True)
    assert isinstance(full, Refusal)
    assert full.code == "area_full"
    assert (await house.last_entry(event))[0] == seq, "refused, it changes nothing"
    moved = undone(await staff.move_hold(event, anna.hold, adults(1, 20), [("pit", "adult", 7)], over_house=True))
    assert moved.before.seats == (0, "adult", 1, "adult")
    assert moved.record is not None
    assert (moved.record.seats, moved.record.holder) == ((1, "adult", 20, "adult"), "anna")
    assert anna.record is not None
    assert (moved.record.deadline_ms, moved.record.reason) == (anna.record.deadline_ms, "staff")
    assert (await house.last_entry(event))[0] == seq + 1
    states = await house.states(event)
    assert (states[0], states[1], states[20], states[21]) == (FREE, HELD, HELD, HOUSE)
    again = undone(await staff.move_hold(event, anna.hold, adults(1, 20), [("pit", "adult", 7)], over_house=True))
    assert (again.before, again.record) == (moved.record, msgspec.structs.replace(moved.record, seq=again.seq))
    assert await house.states(event) == states, "twice is once"
    house.pass_ms(301_000)
    denied(await staff.move_hold(event, anna.hold, adults(1), [], over_house=False), "hold_expired")
    await house.audit(event)


async def test_its_customer_may_read_and_pay_for_a_staff_hold_and_not_change_it(
    house: House, staff: StaffHolds
) -> None:
    event, holds = await arrange(house), house.holds
    hold = await staff.hold_id(event, "e" * 40)
    held(await staff.hold_for_customer(event, "kim", hold, adults(1, 2), [], over_house=False))
    assert held(await holds.read_hold(event, "kim", hold)).hold == hold
    refused(await holds.add_to_hold(event, "kim", hold, adults(3), [], key=None), "forbidden")
    refused(await holds.replace_hold(event, "kim", hold, adults(3), [], key=None), "forbidden")
    refused(await holds.release_hold(event, "kim", hold, [1]), "forbidden")
    refused(await holds.release_hold(event, "kim", hold), "forbidden")
    refused(await holds.extend_hold(event, "kim", hold), "forbidden")
    refused(await holds.read_hold(event, "eve", hold), "hold_not_found")
    refused(await holds.checkout_hold(event, "eve", hold, "b"), "hold_not_found")
    held(await holds.checkout_hold(event, "kim", hold, "b1"))
    held(await holds.restore_hold(event, hold, "b1"))
    assert (await house.deadlines(event))[hold] == limits.UNTIL_RELEASED_MS
    held(await holds.checkout_hold(event, "kim", hold, "b2"))
    held(await holds.sell_hold(event, hold, "b2"))
    assert (await house.states(event))[1:3] == [SOLD, SOLD]
    await house.audit(event)


async def test_looking_for_the_hold_of_a_seat(house: House, staff: StaffHolds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BOOK_SCAN_FIELDS", 1)
    event = await arrange(house)
    made = {
        seat: held(await house.holds.hold_seats(event, f"h{seat}", adults(seat), [], key=None)).hold
        for seat in range(12)
    }
    found = await staff.find_holds(event, [3, 7, 15])
    assert {seat: hold for seat, (hold, _) in found.items()} == {3: made[3], 7: made[7]}
    assert found[3][1].holder == "h3"
    assert await staff.find_holds(event, []) == {}
    states = [byte & seatmap.STATE_MASK for byte in await staff.seat_bytes(event)]
    assert states == await house.states(event)


# --- Sold at once


async def test_what_is_taken_for_a_sale_is_in_checkout_at_once_and_undone_it_is_what_it_was(
    house: House, staff: StaffHolds
) -> None:
    event = await arrange(house)
    before, pit = await house.states(event), await house.area(event, "pit")
    hold = await staff.counter_hold_id(event, "c" * 40)

    async def take(*seats: int, pit: int = 0, over_house: bool = True, booking: str = "b") -> Changed | Refusal:
        areas = [("pit", "adult", pit)] if pit else []
        return await staff.take_for_sale(
            event, "kim", hold, booking, adults(*seats), areas, over_house=over_house, mark_seconds=5
        )

    denied(await take(3, 20, over_house=False), "seat_taken", 20)
    denied(await take(3, 22), "seat_taken", 22)
    refused(await take(3, pit=8), "area_full")
    refused(await take(3, pit=50), "limit_exceeded")
    assert (await house.states(event), await house.area(event, "pit")) == (before, pit)
    made = held(await take(3, 20, 21, pit=2))
    assert made.record is not None
    assert (made.record.state, made.record.booking, made.record.reason) == ("checkout", "b", "staff")
    assert held(await take(3, 20, 21, pit=2)).seq == made.seq, "twice is once"
    denied(await take(3, 20, 21, booking="other"), "hold_not_found")
    denied(await staff.withdraw_hold(event, hold), "hold_in_checkout")
    house.pass_ms(5_001)
    swept = await house.sweep(event)
    assert (swept[:3], swept[4]) == ([b"swept", 1, 0], hold.encode()), "it is asked for, and not freed"
    assert await staff.undo_taking(event, hold, "other", {20}) is None
    assert (await staff.undo_taking(event, hold, "b", {20, 21, 5})) is not None
    assert (await house.states(event), await house.area(event, "pit")) == (before, pit)
    assert await staff.undo_taking(event, hold, "b", {20, 21}) is None
    refused(await take(3), "hold_not_found")
    await house.audit(event)


@pytest.mark.parametrize("state", ["draft", "paused", "closed"])
async def test_nothing_is_taken_for_a_sale_where_the_event_sells_nothing(
    house: House, staff: StaffHolds, state: str
) -> None:
    event = await house.open_event(state=state)
    hold = await staff.counter_hold_id(event, "d" * 40)
    answer = await staff.take_for_sale(event, "kim", hold, "b", adults(3), [], over_house=True, mark_seconds=5)
    code = {"draft": "sale_not_open", "paused": "sale_paused", "closed": "sale_closed"}[state]
    denied(answer, code)


async def test_what_is_settled_as_not_taken_never_is(house: House, staff: StaffHolds) -> None:
    """By its note, or an older one; a newer one takes it, and what was taken is answered, whenever it was noted."""
    event, now_us = await arrange(house), 1_790_000_000_123_456
    epoch = (await house.sale(event)).epoch
    first, second = [await staff.hold_id(event, digit * 40) for digit in "ab"]

    async def take(hold: str, seat: int, number: int, *, epoch: int = epoch) -> Changed | Refusal:
        note = ActNote(number, epoch)
        return await staff.hold_for_customer(event, "kim", hold, adults(seat), [], over_house=False, note=note)

    assert await staff.settle_hold(event, first, now_us) == (None, epoch)
    assert await staff.settle_hold(event, first, now_us - 5) == (None, epoch)
    for hold, number in ((first, now_us), (first, now_us - 1), (second, now_us)):
        with pytest.raises(Unavailable):
            await take(hold, 1, number)
    made = held(await take(first, 1, now_us + 1))
    assert held(await take(first, 1, now_us)).hold == first
    assert await staff.settle_hold(event, first, now_us + 9) == (made.record, epoch)
    held(await take(second, 2, now_us + 2))
    # What is there has settled nothing.
    undone(await staff.withdraw_hold(event, first))
    assert await staff.settle_hold(event, first, now_us + 9) == (None, epoch)
    denied(await take(first, 1, now_us + 10), "hold_not_found")
    await house.pipe.call("HDEL", (await house.sale(event)).key("book"), "stamp")
    await house.book.recover(event, wait=True)
    third = await staff.hold_id(event, "c" * 40)
    with pytest.raises(Unavailable):
        await take(third, 3, now_us + 10)
    held(await take(third, 3, now_us, epoch=epoch + 1))
