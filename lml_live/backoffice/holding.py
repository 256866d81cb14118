"""What staff do to holds, durably: for customers without a deadline, released and moved whoever's they are.

A hold for a customer must outlive all that Redis holds, so PostgreSQL has a row of it (docs/decisions/006):

    note the hold as `taking`            nothing is changed yet, and nobody was told
    take it in the inventory             one step: all or nothing
    put it on record as `held`           in the epoch in which it was taken, else it is taken again; then it is answered

A worker that dies in between leaves a row that is listed as `taking`, and over a house hold a block that Redis lacks.
The same request finishes it, and so does whoever moves or sells the hold; a release ends it as if it had never been.
Releases and moves are done in the inventory first, then put on record, in the same epoch; both may be repeated.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from lml_live import limits
from lml_live.backoffice.turns import StaffTurns
from lml_live.errors import NotFound, Unavailable
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.records import Record
from lml_live.inventory.staff_holds import StaffHolds, Undone
from lml_live.inventory.wishes import NO_BLOCKS, AreaBlock, AreaBlocks, AreaWishes
from lml_live.pricing.blocks import load_area_blocks, use_up_places
from lml_live.values import new_id

_SQL: Final = postgres.statements("staff_holds")

_ENDED: Final = Refusal("hold_not_found", "This hold was released meanwhile.")

SeatTypes = Sequence[tuple[int, str]]
"""(seat index, price type)"""


class Act(Struct, frozen=True):
    """Who does something, and why."""

    staff: str
    reason: str


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


class Holding:
    """The acts of staff on holds."""

    def __init__(self, pool: Pool, staff_holds: StaffHolds, turns: StaffTurns) -> None:
        self._pool = pool
        self._inventory = staff_holds
        self._turns = turns

    async def add_customer(self, staff: str) -> str:
        """A new holder who is a customer of the box office; answers the holder's id."""
        holder = new_id("h")
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["add_customer"], holder, staff)
        return holder

    async def hold(
        self,
        event: str,
        seat_ids: Sequence[str],
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

        `seat_ids` are the layout's, by index; `request` names the request, so that its repetition finds its own hold.
        Raises `NotFound` for a holder who is no customer, `Unavailable` where the same request is to be sent again.
        """
        hold = await self._inventory.hold_id(event, request)
        async with postgres.transaction(self._pool) as connected:
            if not await connected.fetchval(_SQL["is_customer"], holder):
                raise NotFound("There is no such customer.")
            columns = _columns(seat_ids, sorted(seats), areas)
            row = (hold, event, holder, customer, act.reason, act.staff)
            await connected.execute(_SQL["begin_hold"], *row, *columns)
            if await connected.fetchval(_SQL["lock_state"], hold) == "ended":
                return _ENDED
        return await self._take(event, seat_ids, hold, holder, seats, areas, act, over_house=over_house)

    async def _take(
        self,
        event: str,
        seat_ids: Sequence[str],
        hold: str,
        holder: str,
        seats: SeatTypes,
        areas: AreaWishes,
        act: Act,
        *,
        over_house: bool,
    ) -> Changed | Refusal:
        """Takes what a row notes as `taking`, where the inventory has not granted it yet, and puts it on record."""
        async with self._turn(event, over_house):
            house = await area_blocks(self._pool, event, [area for area, _, _ in areas]) if over_house else NO_BLOCKS
            outcome = await self._inventory.hold_for_customer(
                event, holder, hold, seats, areas, over_house=over_house, house=house
            )
            async with postgres.transaction(self._pool) as connected:
                if isinstance(outcome, Refusal):
                    await connected.execute(_SQL["drop_refused"], hold)
                    return outcome
                await _same_epoch(connected, event, outcome.epoch)
                state = await connected.fetchval(_SQL["lock_state"], hold)
                if state == "taking":
                    await connected.execute(_SQL["keep_hold"], hold)
                    # As the inventory has it: a colleague may have moved what was listed as `taking`.
                    assert outcome.record is not None, "what was granted is there"
                    taken = [seat_ids[seat] for seat, _ in outcome.record.seat_types()]
                    places = _count(outcome.record.area_types())
                    if over_house:
                        await connected.execute(_SQL["use_up_house_blocks"], event, taken)
                        told = (hold, holder, None, act.staff, act.reason)
                        await use_up_places(connected, event, outcome.lent, "held", *told)
                    await _record(connected, event, "hold", "held", hold, holder, act, taken, places)
            if state == "ended":
                # A colleague released what was listed as `taking`, before the inventory had it. Nothing of it is the
                # house's where nothing was asked of the house; and outside its turn, blocks may be half told.
                kept = await self._kept_back(event, seat_ids, hold) if over_house else (set[int](), NO_BLOCKS)
                await self._inventory.withdraw_hold(event, hold, *kept)
                return _ENDED
        if state is None:
            # The same request, sent twice, was refused beside this one, and has dropped the row.
            raise Unavailable("Please send the request again.", retry_after_ms=limits.RETRY_AFTER_MS)
        return outcome

    async def finish(self, event: str, hold: str) -> None:
        """Puts on record what a worker took for a customer and died over; nothing where there is no such hold.

        To be awaited by whoever moves or sells a hold for a customer: else a block that it has used up stays in
        PostgreSQL, and its seats are blocked again, or for sale, as the next adopt or the next refund will have it.
        """
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["find_taking"], hold)
        record = None if row is None else await self._inventory.find_hold(event, hold)
        if row is None or record is None:
            return
        # Over a house hold: whether it was asked so is known to nobody any more, and it has what it has.
        named = (record.holder, record.seat_types(), record.area_types())
        seat_ids, act = await self._inventory.seat_ids(event), Act(row["staff_id"], row["reason"])
        await self._take(event, seat_ids, hold, *named, act, over_house=True)

    async def move(
        self,
        event: str,
        seat_ids: Sequence[str],
        hold: str,
        seats: SeatTypes,
        areas: AreaWishes,
        act: Act,
        *,
        over_house: bool,
    ) -> Changed | Refusal:
        """Moves anybody's hold to other seats and places: all of it in one step, or nothing. Twice is once.

        Places of areas are taken from what is for sale, also `over_house`.
        """
        await self.finish(event, hold)
        async with self._turn(event, over_house):
            outcome = await self._inventory.move_hold(event, hold, seats, areas, over_house=over_house)
            if isinstance(outcome, Refusal):
                return outcome
            record = outcome.record
            assert record is not None, "a moved hold is there"
            async with postgres.transaction(self._pool) as connected:
                await _same_epoch(connected, event, outcome.epoch)
                row = await connected.fetchrow(_SQL["lock_hold"], hold)
                old, old_areas = _contents(row, outcome.before, seat_ids)
                new = [seat_ids[seat] for seat, _ in record.seat_types()]
                if row is not None:
                    columns = _columns(seat_ids, record.seat_types(), record.area_types())
                    await connected.execute(_SQL["rewrite_hold"], hold, *columns)
                if over_house:
                    await connected.execute(_SQL["use_up_house_blocks"], event, new)
                changes = _differences(old, old_areas, new, _count(record.area_types()))
                for status, some_seats, some_areas in changes:
                    await _record(connected, event, "move", status, hold, record.holder, act, some_seats, some_areas)
            return Changed(hold, record, outcome.epoch, outcome.seq, outcome.now_ms)

    def _turn(self, event: str, over_house: bool) -> AbstractAsyncContextManager[None]:
        """What uses up blocks takes turns with those who block, lest it uses up a block that is newer than its hold."""
        return self._turns.take(event) if over_house else nullcontext()

    async def release(self, event: str, seat_ids: Sequence[str], hold: str, act: Act) -> Undone | Refusal | None:
        """Releases anybody's hold. None where the inventory had lost it and only its row was left to end.

        What PostgreSQL still has as the house's is the house's again: whoever took it died before it was on record.
        """
        async with self._turns.take(event):
            house, blocks = await self._kept_back(event, seat_ids, hold)
            outcome = await self._inventory.withdraw_hold(event, hold, house, blocks)
        if isinstance(outcome, Refusal) and outcome.code not in ("hold_not_found", "hold_expired"):
            return outcome
        async with postgres.transaction(self._pool) as connected:
            if isinstance(outcome, Undone):
                await _same_epoch(connected, event, outcome.epoch)
            row = await connected.fetchrow(_SQL["lock_hold"], hold)
            if isinstance(outcome, Refusal):
                # A hold that became a booking is not found either; its booking decides.
                if row is None or await connected.fetchval(_SQL["became_booking"], hold):
                    return outcome
                holder, before = row["holder"], None
            else:
                holder, before = outcome.before.holder, outcome.before
            if row is not None:
                await connected.execute(_SQL["end_hold"], hold)
            seats, areas = _contents(row, before, seat_ids)
            kept = await _house_seats(connected, event, seats)
            lent = {} if isinstance(outcome, Refusal) else outcome.lent
            free = {area: n - lent.get(area, 0) for area, n in areas.items() if n > lent.get(area, 0)}
            told = (hold, holder, act)
            await _record(connected, event, "release", "house", *told, [seat for seat in seats if seat in kept], lent)
            await _record(connected, event, "release", "available", *told, [s for s in seats if s not in kept], free)
        return None if isinstance(outcome, Refusal) else outcome

    async def _kept_back(self, event: str, seat_ids: Sequence[str], hold: str) -> tuple[set[int], AreaBlocks]:
        """What PostgreSQL has as kept back by the house of a hold's seats, by index, and as blocked of its areas.

        In the event's turn it stays so.
        """
        record = await self._inventory.find_hold(event, hold)
        if record is None:
            return set(), NO_BLOCKS
        index_of = {seat_ids[seat]: seat for seat, _ in record.seat_types()}
        async with postgres.connection(self._pool) as connected:
            kept = await _house_seats(connected, event, index_of)
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
                areas=_count(_area_types(row)),
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


async def _house_seats(connected: Connection, event: str, seat_ids: Collection[str]) -> set[str]:
    """Which of these seats the house keeps back, as PostgreSQL has it."""
    return {row["seat_id"] for row in await connected.fetch(_SQL["house_seats"], event, list(seat_ids))}


async def _same_epoch(connected: Connection, event: str, epoch: int) -> None:
    """Keeps adopt out until the transaction ends; raises `Unavailable` where one came since the inventory's step.

    It did not know what is about to be put on record: the request is sent again, and done in the new epoch.
    """
    await connected.execute(_SQL["lock_event_shared"], event)
    if await connected.fetchval(_SQL["load_epoch"], event) != epoch:
        raise Unavailable("The seat map is being restored.", retry_after_ms=limits.RETRY_AFTER_MS)


async def _record(
    connected: Connection,
    event: str,
    act_name: str,
    status: str,
    hold: str,
    holder: str,
    act: Act,
    seats: Sequence[str],
    areas: Mapping[str, int],
) -> None:
    """Writes the status-change log."""
    told = (status, hold, holder, act.staff, act.reason)
    if seats:
        await connected.execute(_SQL["write_seat_changes"], event, act_name, list(seats), *told)
    if areas:
        named = (list(areas), list(areas.values()))
        await connected.execute(_SQL["write_area_changes"], event, act_name, *named, *told)


def _columns(
    seat_ids: Sequence[str], seats: SeatTypes, areas: AreaWishes
) -> tuple[list[str], list[str], list[str], list[str], list[int]]:
    """What a hold names, as the row's arrays."""
    return (
        [seat_ids[seat] for seat, _ in seats],
        [kind for _, kind in seats],
        [area for area, _, _ in areas],
        [kind for _, kind, _ in areas],
        [quantity for _, _, quantity in areas],
    )


def _contents(
    row: asyncpg.Record | None, record: Record | None, seat_ids: Sequence[str]
) -> tuple[list[str], dict[str, int]]:
    """What a hold named before: by its row, which is on record, or else by the inventory."""
    if row is not None:
        return list(row["seat_ids"]), _count(_area_types(row))
    assert record is not None, "a hold without a row is the inventory's"
    return [seat_ids[seat] for seat, _ in record.seat_types()], _count(record.area_types())


def _area_types(row: asyncpg.Record) -> list[tuple[str, str, int]]:
    return list(zip(row["area_ids"], row["area_types"], row["area_quantities"], strict=True))


def _count(areas: AreaWishes) -> dict[str, int]:
    """Places per area, whatever their types."""
    counts: dict[str, int] = {}
    for area, _, quantity in areas:
        counts[area] = counts.get(area, 0) + quantity
    return counts


def _differences(
    old: Sequence[str], old_areas: Mapping[str, int], new: Sequence[str], new_areas: Mapping[str, int]
) -> list[tuple[str, list[str], dict[str, int]]]:
    """What a move changed: (status from here on, seats, places per area)."""
    left = {area: n - new_areas.get(area, 0) for area, n in old_areas.items() if n > new_areas.get(area, 0)}
    taken = {area: n - old_areas.get(area, 0) for area, n in new_areas.items() if n > old_areas.get(area, 0)}
    return [
        ("available", [seat for seat in old if seat not in set(new)], left),
        ("held", [seat for seat in new if seat not in set(old)], taken),
    ]
