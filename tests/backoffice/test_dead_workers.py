"""Holds for customers through a worker's death at each step, and a loss of Redis beside it: nothing is left between the
two stores, and whoever comes next finishes what was begun, or ends it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from back_office import FREE, HELD, HOUSE, IDS, KILL, Office, die, office_fixture  # noqa: F401
from databases import locks_waited_for
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held, refused
from waiting import eventually

from lml_live.backoffice.holding import Holding
from lml_live.backoffice.turns import StaffTurns
from lml_live.errors import Unavailable
from lml_live.inventory import seatmap
from lml_live.inventory.staff_holds import StaffHolds, Undone

HELD_3 = (0, 3, 0, 7)
"""The pit where three of its ten places are held, and seven blocked."""


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
@pytest.mark.parametrize("dies", [None, True, False])
async def test_a_release_ends_what_a_dead_worker_began(
    office: Office, house: House, before: bool, dies: bool | None
) -> None:
    """The hold was never there, so what the house kept back is the house's: seats and places over a house hold were for
    sale in Redis, while PostgreSQL, and every manager, had them as blocked. Whoever releases it may die, too (`dies`:
    before or after Redis), and a colleague does it again."""
    await office.block_pit(house=7, kill=2)
    blocks, pit = await office.blocks(), await office.pit_blocks()
    room = await office.watch()
    await die(office, lambda: office.hold(3, 20, pit=3, over_house=True), before=before)
    [(hold, _, _)] = await office.listed()
    if dies is not None:
        await die(office, lambda: office.release(hold), before=dies)
    await office.release(hold)
    assert await office.listed() == []
    assert (await office.blocks(), await office.pit_blocks()) == (blocks, pit), "the block stands"
    states = await house.states(office.event)
    assert (states[3], states[20:23]) == (FREE, [HOUSE, HOUSE, KILL])
    assert await house.area(office.event, "pit") == (1, 0, 0, 9)
    assert await office.told(room) == (states, (1, 0, 0, 9)), "as every screen has it"
    await house.audit(office.event)
    assert await office.drift() == ()
    told = [("house", [20, ("pit", 2)]), ("available", [3, ("pit", 1)])]
    assert [(status, places) for _, places, status, *_ in await office.log()] == ([] if before else told)
    refused(await office.hold(3, 20, pit=3, over_house=True), "hold_not_found")


@pytest.mark.parametrize("over_house", [True, False])
async def test_a_release_overtakes_a_hold_that_is_being_made(office: Office, house: House, over_house: bool) -> None:
    """A colleague released what was listed as `taking` before the inventory was asked: the hold then stood in Redis
    alone, answered as held, and an adopt would have lost it. Its worker may die as well, so it is not taken at all."""

    async def overtake() -> None:
        [(hold, _, _)] = await office.listed()
        assert await office.release(hold) is None

    class Slow(StaffHolds):
        async def hold_for_customer(self, *args: Any, **more: Any) -> Any:
            if not over_house:
                await overtake()
            return await StaffHolds.hold_for_customer(self, *args, **more)

    class SlowTurns(StaffTurns):
        @asynccontextmanager
        async def take(self, event_id: str) -> AsyncIterator[None]:
            await overtake()
            async with StaffTurns.take(self, event_id):
                yield

    before = await house.states(office.event)
    slow = Office(house)
    slow.event, slow.customer = office.event, office.customer
    slow.holding = Holding(house.pool, Slow(house.book), SlowTurns(house.pool))
    wish = (3, 20) if over_house else (3,)
    with pytest.raises(Unavailable):
        await slow.hold(*wish, over_house=over_house)
    assert (await house.states(office.event), await office.drift()) == (before, ())
    refused(await office.hold(*wish, over_house=over_house), "hold_not_found")


async def test_a_request_whose_row_is_gone_meanwhile_is_sent_again(office: Office, house: House) -> None:
    """Sent twice at once, one was refused and dropped the row that the other one then granted by: it was answered as
    held, in Redis alone."""

    class Slow(StaffHolds):
        async def hold_for_customer(self, *args: Any, **more: Any) -> Any:
            await house.pool.execute("DELETE FROM staff_hold WHERE hold_id = $1", args[2])
            return await StaffHolds.hold_for_customer(self, *args, **more)

    office.holding = Holding(house.pool, Slow(house.book), StaffTurns(house.pool))
    with pytest.raises(Unavailable):
        await office.hold(3)
    office.holding = Holding(house.pool, office.inventory, StaffTurns(house.pool))
    made = held(await office.hold(3))
    assert await office.listed() == [(made.hold, "held", [3])]


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
    refused(await office.release(made.hold), "hold_not_found")
    assert await office.listed() == []
    assert [(act, places) for act, places, *_ in await office.log()] == [
        ("hold", [3]),
        ("move", [3]),
        ("move", [4]),
        ("release", [4]),
    ]
    await office.lose_redis()
    assert (await house.states(office.event)).count(HELD) == 0


async def test_a_hold_that_is_moved_while_it_is_taking_is_the_customers_first(office: Office, house: House) -> None:
    """Moved as it was, a hold over a house hold left its seat for sale in Redis alone, with the block in PostgreSQL."""
    await office.block_pit(house=7, kill=2)
    await die(office, lambda: office.hold(3, 20, pit=3, over_house=True))
    [(hold, _, _)] = await office.listed()
    held(await office.move(hold, 5, pit=1))
    assert (await office.blocks(), await office.pit_blocks()) == (
        {21: "house", 22: "kill"},
        [("house", 5), ("kill", 2)],
    )
    for _ in ("moved", "and asked for again"):
        assert await office.listed() == [(hold, "held", [5])]
        assert [line[:3] for line in await office.log()] == [
            ("unblock", [("pit", 2)], "held"),
            ("hold", [3, 20, ("pit", 3)], "held"),
            ("move", [3, 20, ("pit", 2)], "available"),
            ("move", [5], "held"),
        ]
        held(await office.hold(3, 20, pit=3, over_house=True))
    for _ in ("as it is", "and after a loss"):
        states = await house.states(office.event)
        assert ([seat for seat, state in enumerate(states) if state == HELD], states[20]) == ([5], FREE)
        assert await house.area(office.event, "pit") == (2, 1, 0, 7)
        assert await office.drift() == ()
        await office.lose_redis()


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
