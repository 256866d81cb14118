"""A PostgreSQL that was restored from a backup under a living Redis: what it says counts, and the sale goes on.

The backup is a copy of the event's row; what came after it is undone by writing that again.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, Worker, adults, held

from lml_live.errors import Unavailable
from lml_live.inventory.records import Sale
from lml_live.inventory.staff_holds import ActNote, StaffHolds, Undone
from lml_live.inventory.upkeep import Upkeep

HELD = 1
Enter = Callable[[], Coroutine[Any, Any, Worker]]


@pytest.fixture
async def event(house: House) -> str:
    """anna holds 0 and 1."""
    event = await house.open_event()
    held(await house.holds.hold_seats(event, "anna", adults(0, 1), [], key="k"))
    return event


@pytest.fixture(params=["one that lived on", "one that came later"])
def enter(request: pytest.FixtureRequest, house: House, valkey_url: str, inventory_dsn: str) -> Enter:
    """The worker to ask after the restore: its facts are of before it, or it has none."""

    async def enter() -> Worker:
        if request.param == "one that came later":
            return await house.hire(valkey_url)
        await Upkeep(house.book, house.pool, inventory_dsn, sweep_ms=100)._list()
        return house

    return enter


async def restore(house: House, sale: Sale) -> None:
    await house.pool.execute(
        "UPDATE event SET epoch = $2, revision = $3, redis_run_id = $4, max_seats = $5 WHERE id = $1",
        *(sale.event, sale.epoch, sale.revision, sale.run_id, sale.max_seats),
    )


@pytest.mark.parametrize("adopts", [1, 2, 5])
async def test_of_an_older_epoch_the_next_one_is_newer_than_any(
    house: House, event: str, enter: Enter, adopts: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Epochs were raised one by one, a call each; and at the one that the book had, it was taken for adopted, with
    what it knew and PostgreSQL did not."""
    backup = await house.book.reload(event)
    for _ in range(adopts):
        with pytest.raises(Unavailable):
            await house.book.distrust(event)
        await house.inventory(event)
    # Paid for, by a claim that the backup does not have.
    hold = held(await house.holds.hold_seats(event, "cleo", adults(8), [], key=None)).hold
    held(await house.holds.checkout_hold(event, "cleo", hold, "b-cleo"))
    assert await house.holds.sell_hold(event, hold, "b-cleo")
    await restore(house, backup)
    worker = await enter()
    with pytest.raises(Unavailable):
        await worker.holds.hold_seats(event, "ben", adults(8), [], key=None)
    await worker.inventory(event)
    sale = await worker.book.reload(event)
    assert sale.epoch == backup.epoch + adopts + 1
    assert caplog.text.count("an epoch that PostgreSQL has lost") == 1
    await house.remember_start(event)
    held(await worker.holds.hold_seats(event, "ben", adults(8), [], key=None))
    assert (await house.states(event))[:3] == [HELD, HELD, 0]
    await house.audit(event)


async def test_an_adopt_that_was_begun_is_of_a_lost_epoch_too(house: House, event: str) -> None:
    """Its adopter died, the book is closed, and the database of before knows of none."""
    sale = await house.book.reload(event)
    keys = [sale.key(name) for name in ("book", "new_book", "new_deadlines")]
    assert await house.pipe.run("adopt_begin", keys, [str(sale.epoch + 3)]) == [b"begun"]
    await house.inventory(event)
    assert (await house.sale(event)).epoch == sale.epoch + 4
    await house.remember_start(event)
    await house.audit(event)


async def test_rules_that_postgresql_has_lost_are_no_rules(
    house: House, event: str, enter: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    """The sale was "changing" until it had been changed as often as the backup was behind."""
    backup = await house.book.reload(event)
    for _ in range(3):
        await house.change_event(event, max_seats=2)
        await house.book.restamp(event)
    await restore(house, backup)
    worker = await enter()
    with pytest.raises(Unavailable):
        await worker.holds.hold_seats(event, "ben", adults(4, 5, 6), [], key=None)
    await worker.inventory(event)
    assert "rules that PostgreSQL has lost" in caplog.text
    await house.remember_start(event)
    held(await worker.holds.hold_seats(event, "ben", adults(4, 5, 6), [], key=None))
    assert (await house.sale(event)).epoch == backup.epoch + 1
    await house.audit(event)


async def test_whoever_waits_is_answered(house: House, event: str, enter: Enter) -> None:
    backup = await house.book.reload(event)
    await house.change_event(event, max_seats=2)
    await house.book.restamp(event)
    await restore(house, backup)
    worker = await enter()
    assert (await worker.holds.read_holds(event, "anna")).holds
    assert (await house.sale(event)).epoch == backup.epoch + 1


async def test_staff_go_on(house: House, event: str, enter: Enter) -> None:
    """An act was noted in PostgreSQL's epoch, and refused for the worker's: for good."""
    backup = await house.book.reload(event)
    hold = held(await house.holds.hold_seats(event, "ben", adults(4), [], key=None)).hold
    with pytest.raises(Unavailable):
        await house.book.distrust(event)
    await house.inventory(event)
    await restore(house, backup)
    worker = await enter()
    await worker.inventory(event)
    note = ActNote(1, await house.pool.fetchval("SELECT epoch FROM event WHERE id = $1", event))
    moved = await StaffHolds(worker.book).move_hold(event, hold, adults(6), [], over_house=False, note=note)
    assert isinstance(moved, Undone)


async def test_of_two_reads_that_overlap_the_older_does_not_win(house: House, event: str) -> None:
    """But one that was asked for after the other was had does, whatever it says."""
    book, old = house.book, await house.book.reload(event)
    asked, answers = asyncio.Event(), asyncio.Event()

    class Slow:
        """Has what PostgreSQL said before, and is slow to tell."""

        async def fetchrow(self, *query: Any) -> Any:
            row = await house.pool.fetchrow(*query)
            asked.set()
            await answers.wait()
            return row

    late = asyncio.create_task(book._reload(event, Slow()))  # type: ignore[arg-type]
    await asked.wait()
    await house.change_event(event, max_seats=2)
    assert (await book.reload(event)).max_seats == 2
    answers.set()
    assert (await late).max_seats == 2
    await restore(house, old)
    assert await book.reload(event) == old
