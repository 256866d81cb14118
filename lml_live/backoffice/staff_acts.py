"""Moves and releases by staff, each whole in both stores or not at all, whoever dies over it (docs/decisions/035).

    note it, with a number      in the event's turn, by the session that has the turn; nothing is changed yet
    do it in the inventory      one step, which leaves what it did in the book under that number
    put it on record            one transaction: rows, used up blocks, the log, and that the act is done

A turn is a lock that ends with its worker. So whoever has the next turn of an event, for whatever he takes it, finds
the notes of those who died, and ends them before he begins: what the book knows of an act is put on record, and one
that it does not know is settled as not done, which the inventory then refuses to do later. The worker that leads takes
such a turn where nobody else comes.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Final, Literal

from msgspec import Struct

from lml_live import limits
from lml_live.backoffice.hold_rows import (
    Act,
    columns_of,
    contents_of,
    count_places,
    differences,
    expect_epoch,
    house_seats,
    write_changes,
)
from lml_live.backoffice.turns import StaffTurns
from lml_live.errors import LmlError, Unavailable
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.inventory.book import RESTORED
from lml_live.inventory.staff_holds import ActNote, StaffHolds, Undone, overtaken
from lml_live.inventory.wishes import SeatNames

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("staff_acts")
_HOLDS_SQL: Final = postgres.statements("staff_holds")

ActName = Literal["move", "release"]


class Begun(Struct, frozen=True):
    """An act that is noted, and not yet on record."""

    note: ActNote
    name: ActName
    hold: str
    over_house: bool
    by: Act


class StaffActs:
    """Notes acts, and puts them on record."""

    def __init__(self, pool: Pool, inventory: StaffHolds) -> None:
        self._pool = pool
        self._inventory = inventory

    async def begin(
        self, session: Connection, event: str, name: ActName, hold: str, by: Act, *, over_house: bool, request: str
    ) -> Begun | None:
        """Notes an act, in the event's turn and by its session; None where this request's act was done before."""
        if await session.fetchval(_SQL["find_act"], request):
            return None
        row = await session.fetchrow(_SQL["begin_act"], request, event, name, hold, over_house, by.staff, by.reason)
        assert row is not None, "the event is there, for it has holds"
        return Begun(ActNote(row["number"], row["epoch"]), name, hold, over_house, by)

    async def drop(self, begun: Begun) -> None:
        """The inventory has refused it."""
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["drop_act"], begun.note.number)

    async def put_on_record(self, event: str, names: SeatNames, begun: Begun, done: Undone) -> None:
        """Writes what an act did. Twice is once. Raises `Unavailable` where the inventory was built anew since."""
        async with postgres.transaction(self._pool) as connected:
            await expect_epoch(connected, event, done.epoch)
            if await connected.fetchval(_SQL["end_act"], begun.note.number) is None:
                return
            if begun.name == "move":
                await _write_move(connected, event, names, begun, done)
            else:
                await _write_release(connected, event, names, begun, done)

    async def end_lost(self, event: str, names: SeatNames, begun: Begun, *, taking: bool, number: int | None) -> bool:
        """Ends the row of a hold that the inventory does not have; False where there is none, or a booking has it.

        `taking` says how the row was before the inventory was asked, `number` which note of it the inventory will not
        take by any more. Raises `Unavailable` where it was asked for again since, where the hold was put on record
        since, and where an adopt came, which has taken it by its row: the inventory has it now.
        """
        async with postgres.transaction(self._pool) as connected:
            await expect_epoch(connected, event, begun.note.epoch)
            row = await connected.fetchrow(_HOLDS_SQL["lock_hold"], begun.hold)
            if row is None or await connected.fetchval(_HOLDS_SQL["became_booking"], begun.hold):
                return False
            if taking and (row["state"] == "held" or row["number"] != number):
                raise Unavailable("The hold was made just now.", retry_after_ms=limits.RETRY_AFTER_MS)
            await connected.execute(_SQL["end_act"], begun.note.number)
            await connected.execute(_HOLDS_SQL["end_hold"], begun.hold)
            if row["state"] == "held":  # else it never had anything, and no status has changed
                seats, areas = contents_of(row, None, names.seat_ids)
                await _write_freed(connected, event, begun, row["holder"], seats, areas, {})
        return True

    async def settle(self, session: Connection, event: str) -> None:
        """Ends what those left who had the event's turn before. Raises `Unavailable`."""
        for row in await session.fetch(_SQL["list_begun"], event):
            number = row["number"]
            by = Act(row["staff_id"], row["reason"])
            begun = Begun(ActNote(number, row["epoch"]), row["act"], row["hold_id"], row["over_house"], by)
            epoch, done = await self._inventory.settle_act(event, number)
            if done == "ahead" or (done is not None and not _is_of(begun, done)):
                await self._start_anew(session, event, begun)
                raise overtaken()
            if done is not None:
                await self.put_on_record(event, await self._inventory.seat_names(event), begun, done)
                log.warning("a %s of hold %s was put on record for a worker that died", begun.name, begun.hold)
                continue
            async with postgres.transaction(self._pool) as connected:
                await expect_epoch(connected, event, epoch)
                await connected.execute(_SQL["drop_act"], number)

    async def _start_anew(self, session: Connection, event: str, begun: Begun) -> None:
        """Has the inventory built anew where the act is still begun, and the session still has the turn.

        Numbers rise with the turns: it has met acts of a PostgreSQL that is gone then. One that has only lost its turn
        has met those of colleagues.
        """
        if await session.fetchval(_SQL["is_begun"], begun.note.number):
            await self._inventory.seat_names(event)  # raises where it could not be built
            log.error("event %s: its inventory knows acts of staff that PostgreSQL has lost: %s", event, RESTORED)
            await self._inventory.distrust(event)

    async def end_left(self, turns: StaffTurns, seconds: float) -> None:
        """Takes a turn of every event that has acts begun so many seconds ago, and forgets what is long done."""
        async with postgres.connection(self._pool) as connected:
            events = [row["event_id"] for row in await connected.fetch(_SQL["list_left"], seconds)]
            await connected.execute(_SQL["forget_done"], limits.IDEMPOTENCY_HOURS)
        for event in events:
            try:
                async with turns.take(event):
                    pass
            except LmlError as error:
                log.debug("event %s: acts of staff wait: %s", event, error)


def _is_of(begun: Begun, done: Undone) -> bool:
    return (begun.hold, begun.name == "release") == (done.hold, done.record is None)


async def _write_move(connected: Connection, event: str, names: SeatNames, begun: Begun, done: Undone) -> None:
    now = done.record
    assert now is not None, "a moved hold is there"
    row = await connected.fetchrow(_HOLDS_SQL["lock_hold"], begun.hold)
    old, old_areas = contents_of(row, done.before, names.seat_ids)
    new = [names.seat_ids[seat] for seat, _ in now.seat_types()]
    if row is not None:
        columns = columns_of(names.seat_ids, now.seat_types(), now.area_types())
        await connected.execute(_HOLDS_SQL["rewrite_hold"], begun.hold, *columns, now.channel)
    if begun.over_house:
        await connected.execute(_HOLDS_SQL["use_up_house_blocks"], event, new)
    for status, seats, areas in differences(old, old_areas, new, count_places(now.area_types())):
        await write_changes(connected, event, "move", status, begun.hold, now.holder, begun.by, seats, areas)


async def _write_release(connected: Connection, event: str, names: SeatNames, begun: Begun, done: Undone) -> None:
    row = await connected.fetchrow(_HOLDS_SQL["lock_hold"], begun.hold)
    if row is not None:
        await connected.execute(_HOLDS_SQL["end_hold"], begun.hold)
    seats, areas = contents_of(row, done.before, names.seat_ids)
    await _write_freed(connected, event, begun, done.before.holder, seats, areas, done.lent)


async def _write_freed(
    connected: Connection,
    event: str,
    begun: Begun,
    holder: str,
    seats: Collection[str],
    areas: dict[str, int],
    lent: Mapping[str, int],
) -> None:
    """What was released is for sale, but for what is the house's again: seats that PostgreSQL has so, places `lent`."""
    kept = await house_seats(connected, event, seats)
    free = {area: n - lent.get(area, 0) for area, n in areas.items() if n > lent.get(area, 0)}
    told = (begun.hold, holder, begun.by)
    await write_changes(connected, event, "release", "house", *told, [seat for seat in seats if seat in kept], lent)
    await write_changes(connected, event, "release", "available", *told, [s for s in seats if s not in kept], free)
