"""Moves and releases by staff through a worker's death at each step: whoever comes next ends them, in both stores."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from back_office import CLARA, FREE, HELD, HOUSE, KILL, NAMES, Office, die, office_fixture  # noqa: F401
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
from lml_live.backoffice.staff_acts import StaffActs
from lml_live.backoffice.turns import StaffTurns
from lml_live.errors import Unavailable
from lml_live.inventory import seatmap
from lml_live.inventory.staff_holds import ActNote, StaffHolds, Undone

MOVED = [("move", [7], "available", "ben", "taller people"), ("move", [20], "held", "ben", "taller people")]


async def annas(house: House, office: Office, *seats: int) -> str:
    return held(await house.holds.hold_seats(office.event, "anna", adults(*seats), [], key=None)).hold


async def notes(house: House, office: Office) -> list[str]:
    rows = await house.pool.fetch("SELECT state FROM staff_act WHERE event_id = $1 ORDER BY number", office.event)
    return [row["state"] for row in rows]


# --- A move onto a seat of the house


async def test_a_move_that_was_done_is_put_on_record_by_whoever_comes_next(office: Office, house: House) -> None:
    """The seat was the hold's in Redis, and the house's in PostgreSQL: given back, it was for sale that every manager
    had as blocked, until the check for drift."""
    hold = await annas(house, office, 7)
    await die(office, lambda: office.move(hold, 20, over_house=True))
    assert (await office.blocks())[20] == "house"
    await office.others_come()
    assert (await office.blocks(), await office.log()) == ({21: "house", 22: "kill"}, MOVED)
    assert (await office.drift(), await notes(house, office)) == ((), ["done"])
    await office.others_come()
    assert await office.log() == MOVED
    held(await house.holds.release_hold(office.event, "anna", hold))
    assert ((await house.states(office.event))[20], await office.drift()) == (FREE, ())
    await house.audit(office.event)


@pytest.mark.parametrize("ends", ["released", "expired", "taken by another"])
async def test_what_became_of_the_hold_meanwhile_does_not_matter(office: Office, house: House, ends: str) -> None:
    hold = await annas(house, office, 7)
    await die(office, lambda: office.move(hold, 20, over_house=True))
    if ends == "expired":
        house.pass_ms(3_600_000)
        assert (await house.sweep(office.event))[2] == 1
    else:
        held(await house.holds.release_hold(office.event, "anna", hold))
    if ends == "taken by another":
        held(await house.holds.hold_seats(office.event, "bob", adults(20), [], key=None))
    await office.others_come()
    assert (await office.blocks(), await office.log()) == ({21: "house", 22: "kill"}, MOVED)
    assert (await house.states(office.event))[20] == (HELD if ends == "taken by another" else FREE)
    assert await office.drift() == ()


async def test_a_move_that_was_not_done_never_is(office: Office, house: House) -> None:
    hold = await annas(house, office, 7)
    before, blocks = await house.states(office.event), await office.blocks()
    await die(office, lambda: office.move(hold, 20, over_house=True), before=True)
    assert await notes(house, office) == ["begun"]
    await office.others_come()
    assert (await house.states(office.event), await office.blocks()) == (before, blocks)
    assert (await office.log(), await office.drift(), await notes(house, office)) == ([], (), [])
    held(await office.move(hold, 20, over_house=True))


@pytest.mark.parametrize("restored", [False, True])
async def test_a_worker_that_only_slept_comes_too_late(office: Office, house: House, restored: bool) -> None:
    """It lost its turn, others settled its act as not done (and the inventory was built anew since), and it goes on."""

    class Slow(StaffHolds):
        async def _sleep(self) -> None:
            async with house.pool.acquire() as connected:
                await StaffActs(house.pool, office.inventory).settle(connected, office.event)
            if restored:
                sale = await house.sale(office.event)
                await house.pipe.call("HDEL", sale.key("book"), "stamp")
                await house.inventory(office.event)

        async def move_hold(self, *args: Any, **more: Any) -> Any:
            await self._sleep()
            return await StaffHolds.move_hold(self, *args, **more)

        async def withdraw_hold(self, *args: Any, **more: Any) -> Any:
            await self._sleep()
            return await StaffHolds.withdraw_hold(self, *args, **more)

    hold = await annas(house, office, 7)
    before, blocks = await house.states(office.event), await office.blocks()
    office.holding = Holding(house.pool, Slow(house.book), StaffTurns(house.pool))
    acts: list[Callable[[], Awaitable[Any]]] = [
        lambda: office.move(hold, 20, over_house=True),
        lambda: office.release(hold),
    ]
    for act in acts:
        with pytest.raises(Unavailable):
            await act()
        assert (await house.states(office.event), await office.blocks()) == (before, blocks)
        assert (await office.log(), await office.drift(), await notes(house, office)) == ([], (), [])


async def test_a_worker_that_only_slept_finds_its_act_on_record(office: Office, house: House) -> None:
    class Slow(StaffHolds):
        async def move_hold(self, *args: Any, **more: Any) -> Any:
            moved = await StaffHolds.move_hold(self, *args, **more)
            async with house.pool.acquire() as connected:
                await StaffActs(house.pool, office.inventory).settle(connected, office.event)
            return moved

    hold = await annas(house, office, 7)
    office.holding = Holding(house.pool, Slow(house.book), StaffTurns(house.pool))
    held(await office.move(hold, 20, over_house=True))
    assert (await office.log(), await notes(house, office)) == (MOVED, ["done"])


async def test_who_blocks_next_does_so_after_it(office: Office, house: House) -> None:
    """Else the block would be used up by a move that was done before it."""
    hold = await annas(house, office, 7)
    await die(office, lambda: office.move(hold, 20, over_house=True))
    held(await house.holds.release_hold(office.event, "anna", hold))
    turns = StaffTurns(house.pool)
    Holding(house.pool, office.inventory, turns)
    async with turns.take(office.event):
        await house.block_rows(office.event, {20: "house"}, {})
        await house.holds.block_seats(office.event, [20], {}, seatmap.BYTE_HOUSE)
    await office.others_come()
    assert (await office.blocks())[20] == "house"
    assert ((await house.states(office.event))[20], await office.drift()) == (HOUSE, ())


async def test_a_move_is_undone_with_the_redis_that_did_it(office: Office, house: House) -> None:
    hold = await annas(house, office, 7)
    await die(office, lambda: office.move(hold, 20, over_house=True), then=office.lose_redis)
    await office.others_come()
    assert (await house.states(office.event))[20] == HOUSE
    assert (await office.log(), await office.drift(), await notes(house, office)) == ([], (), [])


async def test_a_customers_hold_is_where_it_was_moved(office: Office, house: House) -> None:
    """Its row named the old seat, which was for sale by then: with the next adopt, whoever had bought it had it, and
    the customer had nothing."""
    made = held(await office.hold(3))
    await die(office, lambda: office.move(made.hold, 4))
    bob = held(await house.holds.hold_seats(office.event, "bob", adults(3), [], key=None))
    await office.others_come()
    assert await office.listed() == [(made.hold, "held", [4])]
    assert bob.record is not None
    await house.claim(office.event, bob.hold, bob.record, booking=f"b-{office.event}")
    await office.lose_redis()
    states = await house.states(office.event)
    assert [seat for seat, state in enumerate(states) if state == HELD] == [3, 4]


# --- A release that finds nothing


@pytest.mark.parametrize("adopted", [False, True])
async def test_a_hold_that_comes_just_after_its_release_looked_for_it_is_not_lost(
    office: Office, house: House, adopted: bool
) -> None:
    """Its row was ended, and the inventory had it for ever: nobody's, in no list, and its seat for nobody."""
    await die(office, lambda: office.hold(3), before=True)
    [(hold, state, _)] = await office.listed()
    assert state == "taking"

    class Early(StaffHolds):
        async def withdraw_hold(self, *args: Any, **more: Any) -> Any:
            answer = await StaffHolds.withdraw_hold(self, *args, **more)
            refused(answer, "hold_not_found")
            held(await Holding(house.pool, office.inventory, StaffTurns(house.pool)).hold(*asked, **how))
            if adopted:
                await office.lose_redis()
            return answer

    asked = (office.event, NAMES, office.customer, "Kim", adults(3), [], CLARA)
    how: dict[str, Any] = {"over_house": False, "request": "a" * 40}
    office.holding = Holding(house.pool, Early(house.book), StaffTurns(house.pool))
    with pytest.raises(Unavailable):
        await office.release(hold)
    assert (await office.listed(), await office.drift()) == ([(hold, "held", [3])], ())
    await office.others_come()
    office.holding = Holding(house.pool, office.inventory, StaffTurns(house.pool))
    assert isinstance(await office.release(hold), Undone)
    assert (await office.listed(), await house.states(office.event)) == ([], await states_of_free(house, office))


async def states_of_free(house: House, office: Office) -> list[int]:
    """The seats as they are with nobody there: what the house keeps back, and what is killed."""
    states = [FREE] * len(await house.states(office.event))
    states[20] = states[21] = HOUSE
    states[22] = KILL
    return states


# --- The same request


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("others", [True, False])
async def test_a_move_that_is_asked_for_again_is_answered_alike(
    office: Office, house: House, before: bool, others: bool
) -> None:
    request = secrets.token_hex()
    hold = await annas(house, office, 7)
    await die(office, lambda: office.move(hold, 20, over_house=True, request=request), before=before)
    if others:
        await office.others_come()
    for _ in range(2):
        again = held(await office.move(hold, 20, over_house=True, request=request))
        assert again.record is not None
        assert (again.hold, again.record.seats) == (hold, (20, "adult"))
        assert (await office.log(), await notes(house, office)) == (MOVED, ["done"])
    # What was done since stands.
    held(await office.move(hold, 5))
    again = held(await office.move(hold, 20, over_house=True, request=request))
    assert again.record is not None
    assert again.record.seats == (5, "adult")
    held(await house.holds.release_hold(office.event, "anna", hold))
    refused(await office.move(hold, 20, over_house=True, request=request), "hold_not_found")


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("others", [True, False])
async def test_a_release_that_is_asked_for_again_is_answered_alike(
    office: Office, house: House, before: bool, others: bool
) -> None:
    request = secrets.token_hex()
    hold = await annas(house, office, 7)
    await die(office, lambda: office.release(hold, request), before=before)
    if others:
        await office.others_come()
    for _ in range(2):
        assert not hasattr(await office.release(hold, request), "code"), "it is no refusal"
        assert await office.log() == [("release", [7], "available", "ben", "did not come")]
    refused(await office.release(hold), "hold_not_found")
    assert (await house.states(office.event)).count(HELD) == 0


async def test_what_is_refused_may_be_asked_for_again(office: Office, house: House) -> None:
    request = secrets.token_hex()
    hold = await annas(house, office, 7)
    refused(await office.move(hold, 20, request=request), "seat_taken")
    held(await house.holds.checkout_hold(office.event, "anna", hold, "b"))
    refused(await office.release(hold, request), "hold_in_checkout")
    assert await notes(house, office) == []


async def test_a_release_says_what_it_changed_whoever_writes_it(office: Office, house: House) -> None:
    """Of places that the house had again the log said, where a colleague wrote it, that they were for sale."""
    await office.block_pit(house=7, kill=2)
    await die(office, lambda: office.hold(3, 20, pit=3, over_house=True))
    [(hold, _, _)] = await office.listed()
    await die(office, lambda: office.release(hold))
    await office.others_come()
    assert await office.log() == [
        ("release", [20, ("pit", 2)], "house", "ben", "did not come"),
        ("release", [3, ("pit", 1)], "available", "ben", "did not come"),
    ]
    assert (await office.listed(), await office.drift()) == ([], ())


async def test_a_hold_that_was_lost_and_is_there_again_is_released_not_ended(office: Office, house: House) -> None:
    """Its row was ended, while the inventory that was built from that row kept its seat for nobody."""

    class Slow(StaffHolds):
        async def withdraw_hold(self, *args: Any, **more: Any) -> Any:
            lost = await StaffHolds.withdraw_hold(self, *args, **more)
            await office.lose_redis()
            await house.inventory(office.event)
            return lost

    made = held(await office.hold(3))
    assert isinstance(await office.inventory.withdraw_hold(office.event, made.hold), Undone)
    slow = Holding(house.pool, Slow(house.book), StaffTurns(house.pool))
    with pytest.raises(Unavailable):
        await slow.release(office.event, NAMES, made.hold, CLARA, request=secrets.token_hex())
    assert await office.listed() == [(made.hold, "held", [3])]
    assert (await house.states(office.event))[3] == HELD
    assert isinstance(await office.release(made.hold), Undone)
    assert (await office.listed(), await office.drift()) == ([], ())


# --- Who comes


async def test_the_worker_that_leads_comes_by_itself(
    office: Office, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was begun just now is left to who has begun it; what is long done is forgotten."""
    hold = await annas(house, office, 7)
    await die(office, lambda: office.move(hold, 20, over_house=True))
    acts, turns = StaffActs(house.pool, office.inventory), StaffTurns(house.pool)
    turns.settle = acts.settle
    await acts.end_left(turns, 60.0)
    assert await notes(house, office) == ["begun"]
    monkeypatch.setattr(limits, "STAFF_ACTS_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(limits, "STAFF_ACT_SECONDS", 0.0)
    leads: list[bool] = []
    loop = asyncio.create_task(office.holding.run(lambda: bool(leads)))

    async def is_done() -> bool:
        return await notes(house, office) == ["done"]

    await asyncio.sleep(0.05)
    assert await notes(house, office) == ["begun"], "another worker leads"
    leads.append(True)
    await eventually(is_done)
    loop.cancel()
    older = "UPDATE staff_act SET created = created - interval '{} hours' WHERE event_id = $1"
    await house.pool.execute(older.format(23), office.event)
    await acts.end_left(turns, 0.0)
    assert await notes(house, office) == ["done"]
    await house.pool.execute(older.format(1), office.event)
    await acts.end_left(turns, 0.0)
    assert await notes(house, office) == []


# --- A hold that is taken


async def test_what_an_adopt_dropped_is_not_taken_again_over_the_house(office: Office, house: House) -> None:
    """Whoever finishes a dead worker's hold takes it over the house, for nobody knows how it was asked: dropped by an
    adopt in the same moment, it would have been taken anew, from a house that may never have been asked."""
    await office.block_pit(house=7, kill=2)
    made = held(await office.hold(5, pit=1, request="b" * 40))
    assert isinstance(await office.release(made.hold), Undone)
    await die(office, lambda: office.hold(3, pit=1))
    [(hold, _, _)] = await office.listed()

    class Slow(StaffHolds):
        async def hold_for_customer(self, *args: Any, **more: Any) -> Any:
            await office.lose_redis()
            held(await house.holds.hold_seats(office.event, "bob", [], [("pit", "adult", 1)], key=None))
            return await StaffHolds.hold_for_customer(self, *args, **more)

    slow = Holding(house.pool, Slow(house.book), StaffTurns(house.pool))
    with pytest.raises(Unavailable):
        await slow.move(office.event, NAMES, hold, adults(4), [], CLARA, over_house=False, request=secrets.token_hex())
    assert (await house.states(office.event))[3] == FREE
    assert await house.area(office.event, "pit") == (0, 1, 0, 9), "the house has lent nothing"
    assert [state for _, state, _ in await office.listed()] == ["taking"]
    refused(await office.move(hold, 4), "hold_not_found")
    await house.audit(office.event)


# --- A PostgreSQL that was restored from a backup, and has lost acts


@pytest.mark.parametrize("number", ["later", "the same"])
async def test_acts_that_postgresql_has_lost_have_the_inventory_built_anew(
    office: Office, house: House, number: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every move and release of the event was refused until something else had it adopted. With a number that comes
    again, what was done to one hold would be put on record of another."""
    others, hold = await annas(house, office, 7), await annas(house, office, 9)

    class AsBefore(StaffHolds):
        async def withdraw_hold(self, event: str, hold: str, *args: Any, note: ActNote, **more: Any) -> Any:
            lost = ActNote(note.number + (1_000 if number == "later" else 0), note.epoch)
            done = await self.move_hold(event, others, adults(20), [], over_house=True, note=lost)
            assert isinstance(done, Undone)
            return await StaffHolds.withdraw_hold(self, event, hold, *args, note=note, **more)

    office.holding = Holding(house.pool, AsBefore(house.book), StaffTurns(house.pool))
    with pytest.raises(Unavailable):
        await office.release(hold)
    await office.others_come()
    assert "acts of staff that PostgreSQL has lost" in caplog.text

    async def restored() -> bool:
        await office.others_come()
        return not await notes(house, office)

    await eventually(restored)
    assert (await house.states(office.event))[20] == HOUSE
    assert (await office.log(), await office.drift()) == ([], ())
    office.holding = Holding(house.pool, office.inventory, StaffTurns(house.pool))
    held(await office.move(await annas(house, office, 7), 20, over_house=True))
    assert (await office.log(), await office.drift()) == (MOVED, ())


async def test_a_later_act_of_a_colleague_is_none_that_was_lost(
    office: Office, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever slept through his turn meets what was done after it: that is as it should be."""

    class Slow(StaffHolds):
        async def settle_act(self, event: str, number: int) -> Any:
            await office.others_come()
            held(await office.move(hold, 8))
            return await StaffHolds.settle_act(self, event, number)

    hold = await annas(house, office, 7)
    await die(office, lambda: office.move(hold, 20, over_house=True), before=True)
    async with house.pool.acquire() as connected:
        with pytest.raises(Unavailable):
            await StaffActs(house.pool, Slow(house.book)).settle(connected, office.event)
    assert "PostgreSQL has lost" not in caplog.text
    assert (await notes(house, office), await office.drift()) == (["done"], ())
    held(await office.move(hold, 7))
