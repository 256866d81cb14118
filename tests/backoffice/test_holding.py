"""Holds for customers are durable: through every loss of Redis, and through a worker's death at each step.

The log beside them says who did what to which seat, when and why, and nobody can change it.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from databases import locks_waited_for
from waiting import eventually

sys.path.append(str(Path(__file__).parents[1] / "inventory"))

from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held, refused, seat_id

from lml_live import limits
from lml_live.backoffice.history import History
from lml_live.backoffice.holding import Act, Holding
from lml_live.backoffice.turns import StaffTurns
from lml_live.errors import NotFound, Unavailable
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.staff_holds import StaffHolds, Undone
from lml_live.inventory.wishes import AreaWishes

FREE, HELD, SOLD, HOUSE, KILL = range(5)
IDS = [seat_id(index) for index in range(24)]
CLARA = Act("clara", "school class")
HELD_3 = (0, 3, 0, 7)
"""The pit where three of its ten places are held, and seven blocked."""
BEGINNING = (datetime(2000, 1, 1, tzinfo=UTC), 0)


class Office:
    """A box office on the house's engines, and a customer of it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.inventory = StaffHolds(house.book)
        self.holding = Holding(house.pool, self.inventory, StaffTurns(house.pool))
        self.history = History(house.pool, self.inventory)
        self.event = self.customer = ""

    async def open(self) -> "Office":
        """20 and 21 are kept back by the house, 22 is killed; a pit of 10."""
        self.event = await self.house.open_event(areas={"pit": 10})
        await self.house.block_rows(self.event, {20: "house", 21: "house", 22: "kill"}, {})
        await self.house.holds.block_seats(self.event, [20, 21], {}, seatmap.BYTE_HOUSE)
        await self.house.holds.block_seats(self.event, [22], {}, seatmap.BYTE_KILL)
        self.customer = await self.holding.add_customer("clara")
        return self

    async def hold(
        self, *seats: int, pit: int = 0, over_house: bool = False, request: str = "a" * 40, holder: str = ""
    ) -> Changed | Refusal:
        areas: AreaWishes = [("pit", "adult", pit)] if pit else []
        who = holder or self.customer
        return await self.holding.hold(
            self.event, IDS, who, "Kim", adults(*seats), areas, CLARA, over_house=over_house, request=request
        )

    async def move(self, hold: str, *seats: int, pit: int = 0, over_house: bool = False) -> Changed | Refusal:
        areas: AreaWishes = [("pit", "adult", pit)] if pit else []
        act = Act("ben", "taller people")
        return await self.holding.move(self.event, IDS, hold, adults(*seats), areas, act, over_house=over_house)

    async def release(self, hold: str) -> Undone | Refusal | None:
        return await self.holding.release(self.event, IDS, hold, Act("ben", "did not come"))

    async def block_pit(self, *, house: int, kill: int) -> None:
        await self.house.block_rows(self.event, {}, {"pit": house})
        await self.house.pool.execute(
            "INSERT INTO area_block VALUES ($1, 'pit', 'kill', $2, 'r', 's')", self.event, kill
        )
        await self.house.holds.block_seats(self.event, [], {"pit": house + kill}, seatmap.BYTE_HOUSE)

    async def pit_blocks(self) -> list[tuple[str, int]]:
        rows = await self.house.pool.fetch("SELECT kind, quantity FROM area_block WHERE event_id = $1", self.event)
        return sorted((row["kind"], row["quantity"]) for row in rows)

    async def lose_redis(self) -> None:
        """The event's keys vanish, and the book is built anew from what PostgreSQL knows."""
        sale = await self.house.book.sale(self.event)
        keys = ("seats", "book", "deadlines", "areas", "log")
        await self.house.pipe.call("DEL", *(sale.key(key) for key in keys))
        await self.house.inventory(self.event)
        await self.house.remember_start(self.event)
        await self.house.audit(self.event)

    async def log(self) -> list[tuple[Any, ...]]:
        """(act, seats, places in the pit, status, staff, reason) of each act, in order."""
        told: list[tuple[Any, ...]] = []
        for change in await self.history.changes(
            self.event, seat_id=None, since=BEGINNING[0], after=BEGINNING, limit=1_000
        ):
            what = (change.act, change.status, change.staff, change.reason)
            places = [IDS.index(change.seat_id)] if change.seat_id else [("pit", change.quantity)]
            if told and told[-1][0] == what:
                told[-1][1].extend(places)
            else:
                told.append((what, places))
        return [(act, places, *rest) for (act, *rest), places in told]

    async def listed(self) -> list[tuple[str, str, list[int]]]:
        """(hold, state, seats) of the holds that are listed."""
        found = await self.holding.list_holds(self.event, after=None, limit=100)
        return [(hold.id, hold.state, [IDS.index(seat) for seat in hold.seats]) for hold in found]

    async def blocks(self) -> dict[int, str]:
        rows = await self.house.pool.fetch("SELECT seat_id, kind FROM seat_block WHERE event_id = $1", self.event)
        return {IDS.index(row["seat_id"]): row["kind"] for row in rows}


@pytest.fixture
async def office(house: House) -> Office:
    return await Office(house).open()


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


# --- A worker dies


class Dying(StaffHolds):
    """Ends its worker before or after the step in the inventory, or loses Redis after it."""

    def __init__(self, office: Office, *, before: bool = False, then: Callable[[], Awaitable[None]] | None = None):
        super().__init__(office.house.book)
        self._before, self._then = before, then

    async def _die(self, act: Callable[[], Awaitable[Any]]) -> Any:
        if not self._before:
            answer = await act()
            if self._then is not None:
                await self._then()
                return answer
        raise Unavailable("The worker is gone.")

    async def hold_for_customer(self, *args: Any, **more: Any) -> Any:
        return await self._die(lambda: StaffHolds.hold_for_customer(self, *args, **more))

    async def move_hold(self, *args: Any, **more: Any) -> Any:
        return await self._die(lambda: StaffHolds.move_hold(self, *args, **more))

    async def withdraw_hold(self, *args: Any, **more: Any) -> Any:
        return await self._die(lambda: StaffHolds.withdraw_hold(self, *args, **more))


async def die(office: Office, act: Callable[[], Awaitable[Any]], **how: Any) -> None:
    office.holding = Holding(office.house.pool, Dying(office, **how), StaffTurns(office.house.pool))
    with pytest.raises(Unavailable):
        await act()
    office.holding = Holding(office.house.pool, office.inventory, StaffTurns(office.house.pool))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("lost", [True, False])
async def test_the_same_request_finishes_what_a_dead_worker_began(
    office: Office, house: House, before: bool, lost: bool
) -> None:
    """Of three places in the pit one is for sale, and two are the house's, which has five more; two are killed."""
    await office.block_pit(house=7, kill=2)
    await die(office, lambda: office.hold(3, 20, pit=3, over_house=True), before=before)
    [(hold, state, _)] = await office.listed()
    assert (state, await office.log()) == ("taking", [])
    if lost:
        await office.lose_redis()
        assert (await house.states(office.event))[3] == FREE, "nobody was told that it is held"
        assert await house.area(office.event, "pit") == (1, 0, 0, 9)
    made = held(await office.hold(3, 20, pit=3, over_house=True))
    assert (made.hold, await office.listed()) == (hold, [(hold, "held", [3, 20])])
    for _ in ("made", "made again"):
        assert await office.log() == [
            ("unblock", [("pit", 2)], "held", "clara", "school class"),
            ("hold", [3, 20, ("pit", 3)], "held", "clara", "school class"),
        ]
        assert await office.blocks() == {21: "house", 22: "kill"}
        assert (await office.pit_blocks(), await house.area(office.event, "pit")) == (
            [("house", 5), ("kill", 2)],
            HELD_3,
        )
        held(await office.hold(3, 20, pit=3, over_house=True))
    await office.lose_redis()
    assert (await house.states(office.event))[3] == HELD
    assert await house.area(office.event, "pit") == HELD_3
    assert isinstance(await office.release(made.hold), Undone)
    assert await house.area(office.event, "pit") == (3, 0, 0, 7), "what is released is for sale"


@pytest.mark.parametrize("before", [True, False])
async def test_a_release_ends_what_a_dead_worker_began(office: Office, house: House, before: bool) -> None:
    await die(office, lambda: office.hold(3), before=before)
    [(hold, _, _)] = await office.listed()
    await office.release(hold)
    assert await office.listed() == []
    assert (await house.states(office.event))[3] == FREE
    assert [act for act, *_ in await office.log()] == ["release"]
    refused(await office.hold(3), "hold_not_found")


async def test_a_release_overtakes_a_hold_that_is_being_made(office: Office, house: House) -> None:
    """A colleague released what was listed as `taking` before the inventory was asked: the hold then stood in Redis
    alone, answered as held, and an adopt would have lost it."""

    class Slow(StaffHolds):
        async def hold_for_customer(self, *args: Any, **more: Any) -> Any:
            [(hold, _, _)] = await office.listed()
            assert await office.release(hold) is None
            return await StaffHolds.hold_for_customer(self, *args, **more)

    slow = Office(house)
    slow.event, slow.customer = office.event, office.customer
    slow.holding = Holding(house.pool, Slow(house.book), StaffTurns(house.pool))
    refused(await slow.hold(3), "hold_not_found")
    assert (await house.states(office.event)).count(HELD) == 0
    refused(await office.hold(3), "hold_not_found")


async def test_a_newer_block_is_not_used_up(office: Office, house: House) -> None:
    """Between the two stores of a move onto a house seat, a colleague ended the hold and blocked the seat anew: the
    move then took away the row of that block, and the seat was blocked in Redis alone."""
    blocked: list[asyncio.Task[None]] = []

    async def block_anew() -> None:
        async with StaffTurns(house.pool).take(office.event):
            await house.block_rows(office.event, {20: "house"}, {})
            await house.holds.block_seats(office.event, [20], {}, seatmap.BYTE_HOUSE)

    async def waits_for_a_turn() -> bool:
        return blocked[0].done() or await locks_waited_for(house.pool, 7204) > 0

    class Slow(StaffHolds):
        async def move_hold(self, *args: Any, **more: Any) -> Any:
            moved = await StaffHolds.move_hold(self, *args, **more)
            assert isinstance(moved, Undone)
            await house.pool.execute(
                "DELETE FROM seat_block WHERE event_id = $1 AND seat_id = $2", office.event, IDS[20]
            )
            held(await house.holds.release_hold(office.event, "anna", moved.hold))
            blocked.append(asyncio.create_task(block_anew()))
            await eventually(waits_for_a_turn)
            return moved

    annas = held(await house.holds.hold_seats(office.event, "anna", adults(7), [], key=None))
    office.holding = Holding(house.pool, Slow(house.book), StaffTurns(house.pool))
    await office.move(annas.hold, 20, over_house=True)
    await blocked[0]
    assert (await house.states(office.event))[20] == HOUSE
    assert (await office.blocks())[20] == "house"


async def test_a_release_and_a_move_that_died_are_done_again(office: Office, house: House) -> None:
    made = held(await office.hold(3))
    await die(office, lambda: office.move(made.hold, 4))
    held(await office.move(made.hold, 4))
    await die(office, lambda: office.release(made.hold))
    assert [state for _, state, _ in await office.listed()] == ["held"]
    assert await office.release(made.hold) is None
    assert await office.listed() == []
    assert [(act, places) for act, places, *_ in await office.log()] == [
        ("hold", [3]),
        ("move", [3]),
        ("move", [4]),
        ("release", [4]),
    ]
    await office.lose_redis()
    assert (await house.states(office.event)).count(HELD) == 0


async def test_a_hold_that_was_moved_while_it_was_taking_is_told_as_it_is(office: Office, house: House) -> None:
    await die(office, lambda: office.hold(3))
    [(hold, _, _)] = await office.listed()
    held(await office.move(hold, 5))
    held(await office.hold(3))
    assert await office.listed() == [(hold, "held", [5])]
    assert (await office.log())[-1][:2] == ("hold", [5])
    await office.lose_redis()
    assert (await house.states(office.event))[3:6] == [FREE, FREE, HELD]


async def test_redis_lost_between_the_step_and_the_row(office: Office, house: House) -> None:
    """The hold was taken in an epoch that is gone when its row is written: nobody is told that it is held."""
    await die(office, lambda: office.hold(3), then=office.lose_redis)
    assert (await house.states(office.event))[3] == FREE
    made = held(await office.hold(3))
    await die(office, lambda: office.move(made.hold, 4), then=office.lose_redis)
    assert (await house.states(office.event))[3:5] == [HELD, FREE], "the move was not answered, and is undone"
    held(await office.move(made.hold, 4))
    await die(office, lambda: office.release(made.hold), then=office.lose_redis)
    assert (await house.states(office.event))[4] == HELD
    assert isinstance(await office.release(made.hold), Undone)
    await office.lose_redis()
    assert (await house.states(office.event)).count(HELD) == 0


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
    kim, holds, sold, kept, killed, free = await office.history.seats(office.event, asked)
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
