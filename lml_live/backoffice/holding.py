"""What staff do to holds, durably: for customers without a deadline, released and moved whoever's they are.

A hold for a customer must outlive all that Redis holds, so PostgreSQL has a row of it (docs/decisions/006):

    note the hold as `taking`            nothing is changed yet, and nobody was told
    take it in the inventory             one step: all or nothing
    put it on record as `held`           in the epoch in which it was taken, else it is taken again; then it is answered

A worker that dies in between leaves a row that is listed as `taking`, and over a house hold a block that Redis lacks.
The same request finishes it, and so does whoever moves or sells the hold; a release ends it as if it had never been.
Where nobody comes, the worker that leads ends it: as held where the inventory has it, and as never asked for where not.
A note is numbered by when it was made: a call that comes after its note was ended is refused by that, or by its epoch.
Releases and moves are noted first, too, and whoever comes next ends what is left of them (`staff_acts`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from lml_live import limits
from lml_live.backoffice.hold_rows import (
    Act,
    SeatTypes,
    area_types,
    columns_of,
    count_places,
    expect_epoch,
    has_layout,
    house_seats,
    write_changes,
)
from lml_live.backoffice.staff_acts import StaffActs
from lml_live.backoffice.turns import StaffTurns
from lml_live.errors import LmlError, NotFound, Unavailable
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.book import other_layout
from lml_live.inventory.records import Record
from lml_live.inventory.staff_holds import ActNote, StaffHolds, Undone
from lml_live.inventory.wishes import NO_BLOCKS, AreaBlock, AreaBlocks, AreaWishes, SeatNames
from lml_live.pricing.blocks import load_area_blocks, use_up_places
from lml_live.values import new_id

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("staff_holds")

_ENDED: Final = Refusal("hold_not_found", "This hold was released meanwhile.")


class CustomerHold(Struct, frozen=True, kw_only=True):
    """A hold of the box office for a customer, as PostgreSQL has it; `taking`: its making was interrupted."""

    id: str
    event: str
    holder: str
    customer: str
    reason: str
    staff: str
    state: Literal["taking", "held"]
    seats: tuple[str, ...]
    areas: dict[str, int]
    created: datetime


class Noted(Struct, frozen=True):
    """The note of a hold that is about to be taken; `again`: it is not on record yet, and an earlier call may be under
    way by the same row."""

    note: ActNote
    again: bool = False


class Holding:
    """The acts of staff on holds."""

    def __init__(self, pool: Pool, staff_holds: StaffHolds, turns: StaffTurns) -> None:
        self._pool = pool
        self._inventory = staff_holds
        self._turns = turns
        self._acts = StaffActs(pool, staff_holds)
        turns.settle = self._acts.settle

    async def run(self, leads: Callable[[], bool]) -> None:
        """Ends what workers died over and nobody else comes for, in the worker that leads, until cancelled."""
        looks: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: self._acts.end_left(self._turns, limits.STAFF_ACT_SECONDS),
            lambda: self.end_left(limits.STAFF_NOTE_SECONDS),
        )
        while True:
            await asyncio.sleep(limits.STAFF_ACTS_LOOK_SECONDS)
            for look in looks if leads() else ():
                try:
                    await look()
                except LmlError as error:
                    log.debug("what staff began waits: %s", error)
                except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                    log.exception("ending what staff began failed")

    async def add_customer(self, staff: str) -> str:
        """A new holder who is a customer of the box office; answers the holder's id."""
        holder = new_id("h")
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["add_customer"], holder, staff)
        return holder

    async def hold(
        self,
        event: str,
        names: SeatNames,
        holder: str,
        customer: str,
        seats: SeatTypes,
        areas: AreaWishes,
        act: Act,
        *,
        over_house: bool,
        request: str,
    ) -> Changed | Refusal:
        """Holds for a customer until it is released; `over_house` seats that the house keeps back, too, and places.

        `names` is how `seats` are read; `request` names the request, so that its repetition finds its own hold.
        Raises `NotFound` for a holder who is no customer, `Unavailable` where the same request is to be sent again.
        """
        hold = await self._inventory.hold_id(event, request)
        async with postgres.transaction(self._pool) as connected:
            if not await connected.fetchval(_SQL["is_customer"], holder):
                raise NotFound("There is no such customer.")
            is_current = await has_layout(connected, event, names.layout)
            if is_current:
                columns = columns_of(names.seat_ids, sorted(seats), areas)
                row = (hold, event, holder, customer, act.reason, act.staff)
                await connected.execute(_SQL["begin_hold"], *row, *columns)
                found = await connected.fetchrow(_SQL["lock_note"], hold)
                assert found is not None, "it was noted just now"
                if found["state"] == "ended":
                    return _ENDED
                again = found["again"] and found["state"] == "taking"
                noted = Noted(ActNote(found["number"], found["epoch"]), again)
        if not is_current:
            await self._inventory.read_anew(event)
            raise other_layout()
        # What uses up blocks takes turns with those who block, lest it uses up a block that is newer than its hold.
        async with self._turns.take(event) if over_house else nullcontext():
            return await self._take(event, names, hold, noted, holder, seats, areas, act, over_house=over_house)

    async def _take(
        self,
        event: str,
        names: SeatNames,
        hold: str,
        noted: Noted,
        holder: str,
        seats: SeatTypes,
        areas: AreaWishes,
        act: Act,
        *,
        over_house: bool,
    ) -> Changed | Refusal:
        """Takes what a row notes as `taking`, where the inventory has not granted it yet, and puts it on record.

        `over_house` in the event's turn only. Raises `Unavailable`, too, where the note was ended meanwhile.
        """
        house = await area_blocks(self._pool, event, [area for area, _, _ in areas]) if over_house else NO_BLOCKS
        inventory = self._inventory.under({event: names.layout})
        outcome = await inventory.hold_for_customer(
            event, holder, hold, seats, areas, over_house=over_house, house=house, note=noted.note
        )
        if isinstance(outcome, Refusal):
            if noted.again:
                await self._expect_lost(event, hold, noted.note.number)
            await self._drop(hold, noted.note.number)
            return outcome
        async with postgres.transaction(self._pool) as connected:
            await expect_epoch(connected, event, outcome.epoch)
            state = await connected.fetchval(_SQL["lock_state"], hold)
            if state == "taking":
                # As the inventory has it: a colleague may have moved what was listed as `taking`.
                assert outcome.record is not None, "what was granted is there"
                await connected.execute(_SQL["keep_hold"], hold, outcome.record.channel)
                taken = [names.seat_ids[seat] for seat, _ in outcome.record.seat_types()]
                places = count_places(outcome.record.area_types())
                if over_house:
                    await connected.execute(_SQL["use_up_house_blocks"], event, taken)
                    told = (hold, holder, None, act.staff, act.reason)
                    await use_up_places(connected, event, outcome.lent, "held", *told)
                await write_changes(connected, event, "hold", "held", hold, holder, act, taken, places)
        if state == "ended":
            # It was released before it was on record here. Nothing of it is the house's where nothing was asked of the
            # house; and outside its turn, blocks may be half told.
            kept = await self._kept_back(event, names, hold) if over_house else (set[int](), NO_BLOCKS)
            await inventory.withdraw_hold(event, hold, *kept)
            return _ENDED
        if state is None:
            # Its row was taken away by hand: nobody drops that of what was granted.
            raise Unavailable("Please send the request again.", retry_after_ms=limits.RETRY_AFTER_MS)
        return outcome

    async def finish(self, event: str, hold: str) -> None:
        """Puts on record what a worker took for a customer and died over; nothing where there is no such hold.

        To be awaited by whoever moves or sells a hold for a customer: else a block that it has used up stays in
        PostgreSQL, and its seats are blocked again, or for sale, as the next adopt or the next refund will have it.
        Raises `Unavailable` where an adopt comes between: it has dropped the hold, and nobody takes it again by this.
        """
        row = await self._find_taking(hold)
        if row is None:
            return
        async with self._turns.take(event):
            names = await self._inventory.seat_names(event)
            record, epoch = await self._inventory.under({event: names.layout}).find_hold_and_epoch(event, hold)
            if record is not None:
                await self._put_on_record(event, names, hold, row, record, epoch)

    async def end_left(self, seconds: float) -> None:
        """Ends the notes of holds that nobody has asked for in so many seconds.

        What the inventory has of them is the customer's from here on; of what it has not nothing is left, and the
        same request may be sent again: what was still on its way is refused.
        """
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["list_taking"], seconds, limits.STAFF_NOTES_BATCH)
        for row in rows:
            try:
                await self._end_note(row["event_id"], row["hold_id"], row)
            except LmlError as error:
                log.debug("hold %s is still being taken: %s", row["hold_id"], error)
            except Exception:  # one hold's defect is not the others' (style.md, 14)
                log.exception("hold %s could not be ended", row["hold_id"])

    async def _end_note(self, event: str, hold: str, row: asyncpg.Record) -> None:
        """`row` is as it was listed: where the hold was asked for again since, that note is not ended."""
        async with self._turns.take(event):
            if await self._find_taking(hold) is None:
                return
            names = await self._inventory.seat_names(event)
            inventory = self._inventory.under({event: names.layout})
            record, epoch = await inventory.settle_hold(event, hold, row["number"])
            if record is None:
                await self._drop(hold, row["number"])
                return
            outcome = await self._put_on_record(event, names, hold, row, record, epoch)
            what = "was ended again" if isinstance(outcome, Refusal) else "was put on record"
            log.warning("hold %s %s for a worker that died", hold, what)

    async def _put_on_record(
        self, event: str, names: SeatNames, hold: str, row: asyncpg.Record, record: Record, epoch: int
    ) -> Changed | Refusal:
        """Puts on record what the inventory has of a row that is noted as `taking`; in the event's turn."""
        # Over a house hold: whether it was asked so is known to nobody any more, and it has what it has.
        has, act = (record.holder, record.seat_types(), record.area_types()), Act(row["staff_id"], row["reason"])
        return await self._take(event, names, hold, Noted(ActNote(row["number"], epoch)), *has, act, over_house=True)

    async def _expect_lost(self, event: str, hold: str, number: int) -> None:
        """Sees to it that a hold is not taken by notes up to this one; raises `Unavailable` where it was."""
        record, _ = await self._inventory.settle_hold(event, hold, number)
        if record is not None and record.state != "sold":  # by then its booking decides
            raise Unavailable("The hold was made just now.", retry_after_ms=limits.RETRY_AFTER_MS)

    async def _drop(self, hold: str, number: int) -> None:
        """There never was such a hold, as far as this note of it goes."""
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["drop_refused"], hold, number)

    async def move(
        self,
        event: str,
        names: SeatNames,
        hold: str,
        seats: SeatTypes,
        areas: AreaWishes,
        act: Act,
        *,
        over_house: bool,
        request: str,
    ) -> Changed | Refusal:
        """Moves anybody's hold to other seats and places: all of it in one step, or nothing.

        Places of areas are taken from what is for sale, also `over_house`. `names` is how `seats` are read; `request`
        names the request: its repetition moves nothing again, and hears of the hold as it is. Raises `Unavailable`
        where it is to be sent again.
        """
        await self.finish(event, hold)
        inventory = self._inventory.under({event: names.layout})
        async with self._turns.take(event) as session:
            begun = await self._acts.begin(session, event, "move", hold, act, over_house=over_house, request=request)
            if begun is None:
                return await inventory.read_hold(event, hold)
            outcome = await inventory.move_hold(event, hold, seats, areas, over_house=over_house, note=begun.note)
            if isinstance(outcome, Refusal):
                await self._acts.drop(begun)
                return outcome
            await self._acts.put_on_record(event, names, begun, outcome)
            return Changed(hold, outcome.record, outcome.epoch, outcome.seq, outcome.now_ms)

    async def release(
        self, event: str, names: SeatNames, hold: str, act: Act, *, request: str
    ) -> Undone | Refusal | None:
        """Releases anybody's hold. None where this request has done so before, or only its row was left to end.

        What PostgreSQL still has as the house's is the house's again: whoever took it died before it was on record.
        `request` is that of `move`. Raises `Unavailable` where it is to be sent again.
        """
        async with self._turns.take(event) as session:
            begun = await self._acts.begin(session, event, "release", hold, act, over_house=False, request=request)
            if begun is None:
                return None
            taking = await self._find_taking(hold) is not None
            house, blocks = await self._kept_back(event, names, hold)
            inventory = self._inventory.under({event: names.layout})
            outcome = await inventory.withdraw_hold(event, hold, house, blocks, note=begun.note)
            if isinstance(outcome, Undone):
                await self._acts.put_on_record(event, names, begun, outcome)
                return outcome
            if outcome.code in ("hold_not_found", "hold_expired"):
                async with postgres.connection(self._pool) as connected:
                    number = await connected.fetchval(_SQL["find_number"], hold)
                if number is not None:
                    await self._expect_lost(event, hold, number)
                if await self._acts.end_lost(event, names, begun, taking=taking, number=number):
                    return None
            await self._acts.drop(begun)
            return outcome

    async def _find_taking(self, hold: str) -> asyncpg.Record | None:
        async with postgres.connection(self._pool) as connected:
            return await connected.fetchrow(_SQL["find_taking"], hold)

    async def _kept_back(self, event: str, names: SeatNames, hold: str) -> tuple[set[int], AreaBlocks]:
        """What PostgreSQL has as kept back by the house of a hold's seats, by index, and as blocked of its areas.

        In the event's turn it stays so.
        """
        record = await self._inventory.under({event: names.layout}).find_hold(event, hold)
        if record is None:
            return set(), NO_BLOCKS
        index_of = {names.seat_ids[seat]: seat for seat, _ in record.seat_types()}
        async with postgres.connection(self._pool) as connected:
            kept = await house_seats(connected, event, index_of)
        blocks = await area_blocks(self._pool, event, {area for area, _, _ in record.area_types()})
        return {index_of[seat_id] for seat_id in kept}, blocks

    async def list_holds(self, event: str, *, after: tuple[datetime, str] | None, limit: int) -> Sequence[CustomerHold]:
        """An event's holds for customers that live, the oldest first; what became a booking is none of them."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["list_holds"], event, *(after or (None, None)), limit)
        return [
            CustomerHold(
                id=row["hold_id"],
                event=row["event_id"],
                holder=row["holder"],
                customer=row["customer"],
                reason=row["reason"],
                staff=row["staff_id"],
                state=row["state"],
                seats=tuple(row["seat_ids"]),
                areas=count_places(area_types(row)),
                created=row["created"],
            )
            for row in rows
        ]


async def area_blocks(pool: Pool, event: str, areas: Collection[str]) -> AreaBlocks:
    """What is blocked of these areas, as the inventory is told of it; in the event's turn it stays so."""
    if not areas:
        return NO_BLOCKS
    async with postgres.connection(pool) as connected:
        found = await load_area_blocks(connected, event, areas)
    return {area: AreaBlock(*block) for area, block in found.items()}
