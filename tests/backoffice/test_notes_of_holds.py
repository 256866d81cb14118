"""Notes of holds for customers that nobody comes for: the worker that leads ends them, and what comes too late takes
nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from back_office import FREE, HELD, HOUSE, Office, die, office_fixture  # noqa: F401
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held, refused
from waiting import eventually

from lml_live import limits
from lml_live.backoffice.holding import Holding
from lml_live.backoffice.turns import StaffTurns
from lml_live.errors import Unavailable
from lml_live.inventory.handing import HandOvers
from lml_live.inventory.staff_holds import ActNote, StaffHolds, Undone

NUMBER = "SELECT (extract(epoch FROM asked) * 1000000)::bigint FROM staff_hold WHERE event_id = $1"
LOG = [
    ("unblock", [("pit", 2)], "held", "clara", "school class"),
    ("hold", [3, 20, ("pit", 3)], "held", "clara", "school class"),
]


async def adopt(office: Office, house: House) -> None:
    """The inventory is built anew from what PostgreSQL and the book know."""
    sale = await house.sale(office.event)
    await house.pipe.call("HDEL", sale.key("book"), "stamp")
    await house.inventory(office.event)
    await house.remember_start(office.event)


def sleeping(office: Office, house: House, **parts: type) -> Office:
    """A colleague at the same box office, whose worker is made of these parts."""
    slow = Office(house)
    slow.event, slow.customer = office.event, office.customer
    inventory, turns = parts.get("inventory", StaffHolds), parts.get("turns", StaffTurns)
    slow.holding = Holding(house.pool, inventory(house.book), turns(house.pool))
    return slow


def slow_to_take(office: Office, house: House, meanwhile: Callable[[], Awaitable[None]], *, over_house: bool) -> Office:
    """A colleague whose worker sleeps before it asks the inventory; `over_house` before it has its turn."""

    class Slow(StaffHolds):
        async def hold_for_customer(self, *args: Any, **more: Any) -> Any:
            if not over_house:
                await meanwhile()
            return await StaffHolds.hold_for_customer(self, *args, **more)

    class SlowTurns(StaffTurns):
        @asynccontextmanager
        async def take(self, event_id: str) -> AsyncIterator[Any]:
            if over_house:
                await meanwhile()
            async with StaffTurns.take(self, event_id) as session:
                yield session

    return sleeping(office, house, inventory=Slow, turns=SlowTurns)


async def untouched(office: Office, house: House) -> None:
    """As if nobody had ever asked."""
    states = await house.states(office.event)
    assert (states[3], states[20]) == (FREE, HOUSE)
    assert (await office.listed(), await office.log(), await office.drift()) == ([], [], ())
    assert await house.pool.fetchval("SELECT count(*) FROM staff_hold WHERE event_id = $1", office.event) == 0
    await house.audit(office.event)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("adopted", ["", "kept", "lost"])
async def test_what_nobody_comes_for_is_ended(office: Office, house: House, before: bool, adopted: str) -> None:
    """The seat and the places were held for nobody, and the note stood in the way of every other layout, for ever. One
    place of the pit is for sale, and seven are the house's."""
    await office.block_pit(house=7, kill=2)
    blocks, pit = await office.blocks(), await office.pit_blocks()
    await die(office, lambda: office.hold(3, 20, pit=3, over_house=True), before=before)
    [(hold, state, _)] = await office.listed()
    assert state == "taking"
    if adopted == "lost":
        await office.lose_redis()
    elif adopted:
        await adopt(office, house)
    await office.others_come()
    if not before and not adopted:  # an adopt keeps nothing of the house's that is not on record
        assert (await office.listed(), await office.log()) == ([(hold, "held", [3, 20])], LOG)
        assert (await office.blocks(), await office.pit_blocks()) == (
            {21: "house", 22: "kill"},
            [("house", 5), ("kill", 2)],
        )
    else:
        await untouched(office, house)
        assert (await office.blocks(), await office.pit_blocks()) == (blocks, pit)
    for _ in ("after it was ended", "and once more"):
        made = held(await office.hold(3, 20, pit=3, over_house=True))
        assert (made.hold, await office.listed(), await office.log()) == (hold, [(hold, "held", [3, 20])], LOG)
        await office.others_come()
    assert await office.drift() == ()
    await house.audit(office.event)
    assert isinstance(await office.release(hold), Undone)


async def test_what_an_adopt_has_kept_is_the_customers(office: Office, house: House) -> None:
    await die(office, lambda: office.hold(3))
    await adopt(office, house)
    await office.others_come()
    [(hold, state, seats)] = await office.listed()
    assert (state, seats, (await house.states(office.event))[3]) == ("held", [3], HELD)
    assert held(await office.hold(3)).hold == hold
    await office.lose_redis()
    assert (await house.states(office.event))[3] == HELD


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_clerk_who_asks_again_meanwhile_has_it(office: Office, house: House, before: bool, when: str) -> None:
    """Before the inventory is asked what it has, or just after it."""

    class Slow(StaffHolds):
        async def settle_hold(self, *args: Any) -> Any:
            if when == "before":
                held(await office.hold(3))
            found = await StaffHolds.settle_hold(self, *args)
            if when == "after":
                held(await office.hold(3))
            return found

    await die(office, lambda: office.hold(3), before=before)
    slow = sleeping(office, house, inventory=Slow)
    await slow.holding.end_left(0.0)
    [(hold, state, _)] = await office.listed()
    assert (state, (await house.states(office.event))[3]) == ("held", HELD)
    assert await office.log() == [("hold", [3], "held", "clara", "school class")]
    assert held(await office.hold(3)).hold == hold
    assert await office.drift() == ()


@pytest.mark.parametrize("over_house", [True, False])
@pytest.mark.parametrize("adopted", ["", "before", "after"])
async def test_a_worker_that_slept_takes_nothing_for_a_note_that_is_gone(
    office: Office, house: House, over_house: bool, adopted: str
) -> None:
    """Nobody would have known of the hold: it had no end, and stood in no list."""

    async def others_come() -> None:
        if adopted == "before":
            await adopt(office, house)
        await office.others_come()
        if adopted == "after":
            await adopt(office, house)

    slow = slow_to_take(office, house, others_come, over_house=over_house)
    seats = (3, 20) if over_house else (3,)
    with pytest.raises(Unavailable):
        await slow.hold(*seats, over_house=over_house)
    await untouched(office, house)
    held(await office.hold(*seats, over_house=over_house))
    assert [state for _, state, _ in await office.listed()] == ["held"]


async def test_a_call_that_sleeps_takes_nothing_where_the_next_one_was_refused(office: Office, house: House) -> None:
    """The clerk was told that the seat is taken, and the note was gone: the first call then took it for nobody."""

    class Slow(StaffHolds):
        async def hold_for_customer(self, *args: Any, **more: Any) -> Any:
            bobs = held(await house.holds.hold_seats(office.event, "bob", adults(3), [], key=None))
            refused(await office.hold(3), "seat_taken")
            held(await house.holds.release_hold(office.event, "bob", bobs.hold))
            return await StaffHolds.hold_for_customer(self, *args, **more)

    slow = sleeping(office, house, inventory=Slow)
    with pytest.raises(Unavailable):
        await slow.hold(3)
    await untouched(office, house)
    held(await office.hold(3))


async def test_who_is_refused_beside_one_that_was_granted_asks_again(office: Office, house: House) -> None:
    """Its note stays, for the other one's hold is by it."""

    class Slow(StaffHolds):
        async def hold_for_customer(self, *args: Any, **more: Any) -> Any:
            bobs = held(await house.holds.hold_seats(office.event, "bob", adults(3), [], key=None))
            answer = await StaffHolds.hold_for_customer(self, *args, **more)
            refused(answer, "seat_taken")
            held(await house.holds.release_hold(office.event, "bob", bobs.hold))
            await die(office, lambda: office.hold(3))
            return answer

    slow = sleeping(office, house, inventory=Slow)
    refused(await slow.hold(3), "seat_taken")
    assert [state for _, state, _ in await office.listed()] == ["taking"], "the other one's answer decides"
    await office.others_come()
    assert [state for _, state, _ in await office.listed()] == ["held"]


async def test_who_is_refused_after_a_call_that_slept_asks_again(office: Office, house: House) -> None:
    """It came after all, just when the next one had been refused: the note stays, for there is a hold by it."""

    class Late(StaffHolds):
        async def hold_for_customer(self, *args: Any, **more: Any) -> Any:
            answer = await StaffHolds.hold_for_customer(self, *args, **more)
            refused(answer, "seat_taken")
            held(await house.holds.release_hold(office.event, "bob", bobs.hold))
            held(await office.inventory.hold_for_customer(*args, **{**more, "note": late}))
            return answer

    await die(office, lambda: office.hold(5), before=True)
    bobs = held(await house.holds.hold_seats(office.event, "bob", adults(5), [], key=None))
    late = ActNote(await house.pool.fetchval(NUMBER, office.event), (await house.sale(office.event)).epoch)
    slow = sleeping(office, house, inventory=Late)
    with pytest.raises(Unavailable):
        await slow.hold(5)
    held(await office.hold(5))


@pytest.mark.parametrize("over_house", [True, False])
async def test_a_call_that_sleeps_for_longer_than_a_hold_is_remembered_gives_back(
    office: Office, house: House, over_house: bool
) -> None:
    """It was asked for again, granted and released meanwhile; and the inventory knows nothing of it any more."""
    seats = (3, 20) if over_house else (3,)

    async def others_come() -> None:
        made = held(await office.hold(*seats, over_house=over_house))
        assert isinstance(await office.release(made.hold), Undone)
        house.pass_ms(limits.TOMBSTONE_MS + 1_000)
        await house.sweep(office.event)

    slow = slow_to_take(office, house, others_come, over_house=over_house)
    refused(await slow.hold(*seats, over_house=over_house), "hold_not_found")
    states = await house.states(office.event)
    assert (states[3], states[20]) == (FREE, FREE if over_house else HOUSE)
    assert (await office.listed(), await office.drift()) == ([], ())


async def test_the_worker_that_leads_comes_by_itself(
    office: Office, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To what was asked for long ago: asked for again it is left alone for as long once more."""
    monkeypatch.setattr(limits, "STAFF_ACTS_LOOK_SECONDS", 0.01)
    await die(office, lambda: office.hold(3), before=True)
    leads: list[bool] = []
    loop = asyncio.create_task(office.holding.run(lambda: bool(leads)))
    older = "UPDATE staff_hold SET asked = asked - make_interval(secs => $2) WHERE event_id = $1"

    async def is_gone() -> bool:
        return await office.listed() == []

    await house.pool.execute(older, office.event, limits.STAFF_NOTE_SECONDS + 1)
    await asyncio.sleep(0.1)
    assert not await is_gone(), "another worker leads"
    await die(office, lambda: office.hold(3), before=True)
    leads.append(True)
    await asyncio.sleep(0.1)
    assert not await is_gone(), "it was asked for just now"
    await house.pool.execute(older, office.event, limits.STAFF_NOTE_SECONDS + 1)
    await eventually(is_gone)
    loop.cancel()
    await untouched(office, house)


async def test_one_that_cannot_be_ended_now_keeps_no_other_waiting(office: Office, house: House) -> None:
    class Shy(StaffHolds):
        async def settle_hold(self, event: str, hold: str, number: int) -> Any:
            if hold == first:
                raise Unavailable("Its book is being built.")
            return await StaffHolds.settle_hold(self, event, hold, number)

    for seat, request in ((3, "a" * 40), (5, "b" * 40)):
        await die(office, lambda seat=seat, request=request: office.hold(seat, request=request), before=True)  # type: ignore[misc]
    [(first, _, _), _] = await office.listed()
    shy = sleeping(office, house, inventory=Shy)
    await shy.holding.end_left(0.0)
    assert [hold for hold, _, _ in await office.listed()] == [first]


async def test_the_first_hold_of_an_event_is_one_for_a_customer(office: Office, house: House) -> None:
    """Its note is older than the inventory."""
    office.event = await house.open_event(build=False)
    held(await office.hold(3))
    assert [state for _, state, _ in await office.listed()] == ["held"]


async def test_a_release_that_meets_a_repetition_leaves_its_row(office: Office, house: House) -> None:
    """It had settled the first note, and ended the row of what was taken by the second: nobody knew of it any more."""

    class Late(StaffHolds):
        async def settle_hold(self, *args: Any) -> Any:
            found = await StaffHolds.settle_hold(self, *args)
            await die(office, lambda: office.hold(3))
            return found

    await die(office, lambda: office.hold(3), before=True)
    [(hold, _, _)] = await office.listed()
    with pytest.raises(Unavailable):
        await sleeping(office, house, inventory=Late).release(hold)
    assert (await office.listed(), (await house.states(office.event))[3]) == ([(hold, "taking", [3])], HELD)
    await office.others_come()
    assert await office.listed() == [(hold, "held", [3])]
    assert isinstance(await office.release(hold), Undone)
    assert (await house.states(office.event))[3] == FREE


async def test_a_repetition_after_the_customer_has_signed_in_hears_that_it_is_gone(
    office: Office, house: House
) -> None:
    held(await office.hold(3))
    await HandOvers(house.book).hand_over(office.event, office.customer, "h-account", [])
    for _ in range(2):
        refused(await office.hold(3), "hold_not_found")
    assert [seats for _, _, seats in await office.listed()] == [[3]]


async def test_one_notes_defect_is_not_the_others(
    office: Office, house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for seat, request in ((3, "a" * 40), (5, "b" * 40)):
        await die(office, lambda seat=seat, request=request: office.hold(seat, request=request), before=True)  # type: ignore[misc]
    (first, _, _), _ = await office.listed()
    drop = office.holding._drop

    async def broken(hold: str, number: int) -> None:
        if hold == first:
            raise RuntimeError("nobody thought of it")
        await drop(hold, number)

    monkeypatch.setattr(office.holding, "_drop", broken)
    await office.holding.end_left(-1)
    assert [hold for hold, _, _ in await office.listed()] == [first]
    assert "could not be ended" in caplog.text
