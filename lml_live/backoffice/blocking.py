"""Taking seats and places off sale and putting them back: PostgreSQL first, then the inventory, in batches.

Not all or nothing: what is held, in checkout or sold is refused and listed. After an `Unavailable` the same call may be
made again: a blocked seat is blocked, and places are counted once for each `request`. The inventory is told how many
places are off sale in all, not how many more: told twice, or after an adopt that has read them, is the same.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import accumulate

import msgspec

from lml_live import limits
from lml_live.backoffice.turns import StaffTurns
from lml_live.errors import InvalidInput, Violation
from lml_live.pricing.blocks import BlockKind, Blocks
from lml_live.pricing.catalogue import Catalogue, LayoutFacts, Layouts
from lml_live.pricing.events import Event


class Refusals(msgspec.Struct, frozen=True):
    """What the inventory refused: seats by index, and areas with the places that they have instead of enough."""

    seats: tuple[int, ...] = ()
    areas: dict[str, int] = {}


Block = Callable[[str, str, Sequence[int], Mapping[str, int], BlockKind], Awaitable[Refusals]]
"""(event id, the hash of the layout that the indexes are of, at most `BLOCK_BATCH` seat indexes to block, places per
area that are off sale in all, kind)"""
Unblock = Callable[[str, str, Sequence[int]], Awaitable[Sequence[int]]]
"""(event id, layout as above, at most `BLOCK_BATCH` seat indexes); answers those that were not blocked."""


class Selection(msgspec.Struct, frozen=True):
    """What is meant: seats by id, runs of seats in canonical order (first and last id, both included), places."""

    seats: Sequence[str] = ()
    runs: Sequence[tuple[str, str]] = ()
    areas: Mapping[str, int] = {}


class RefusedSeat(msgspec.Struct, frozen=True):
    """A seat that was left alone: `seat_taken` (held, in checkout or sold), or `conflict` where it is not blocked."""

    seat_id: str
    code: str


class RefusedArea(msgspec.Struct, frozen=True):
    """An area that was left alone: it has no more than `available` to block (`area_full`) or unblock (`conflict`)."""

    area_id: str
    code: str
    available: int


class BlockReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it: how many seats, which areas; and what was refused, at most `VIOLATIONS_MAX` of each."""

    seats: int
    areas: dict[str, int]
    refused_seats: tuple[RefusedSeat, ...]
    refused_areas: tuple[RefusedArea, ...]


class Blocking:
    """Blocks and unblocks on behalf of staff."""

    def __init__(
        self,
        catalogue: Catalogue,
        blocks: Blocks,
        layouts: Layouts,
        block: Block,
        unblock: Unblock,
        turns: StaffTurns,
    ) -> None:
        self._catalogue = catalogue
        self._blocks = blocks
        self._layouts = layouts
        self._block = block
        self._unblock = unblock
        self._turns = turns

    async def block(
        self,
        event_id: str,
        wanted: Selection,
        kind: BlockKind,
        reason: str,
        staff_id: str,
        *,
        request: str | None = None,
    ) -> BlockReport:
        """Takes off sale what is free; blocked seats get the new kind.

        `request` names the request and its repetitions (None: each counts for itself). Raises `NotFound`,
        `InvalidInput`, `Refused` where another request had this name.
        """
        event, layout = await self._find(event_id)
        indexes = resolve(event, layout, wanted)
        refused: list[int] = []
        for batch in batches(indexes):
            ids = [layout.seat_ids[index] for index in batch]
            async with self._turns.take(event_id):
                written = await self._blocks.block_seats(event_id, ids, kind, reason, staff_id)
                free = [index for index in batch if layout.seat_ids[index] in written]
                answer = await self._block(event_id, layout.hash, free, {}, kind) if free else Refusals()
                if answer.seats:
                    left_alone = {(seat := layout.seat_ids[index]): written[seat] for index in answer.seats}
                    await self._blocks.withdraw_seats(event_id, left_alone, staff_id, reason)
            refused += [*(set(batch) - set(free)), *answer.seats]
        full: dict[str, int] = {}
        for some in area_batches(wanted.areas):
            full |= await self._block_areas(event_id, layout, some, kind, reason, staff_id, request)
        return _report(layout, indexes, wanted.areas, refused, full, ("seat_taken", "area_full"))

    async def unblock(
        self,
        event_id: str,
        wanted: Selection,
        kind: BlockKind,
        reason: str | None,
        staff_id: str,
        *,
        request: str | None = None,
    ) -> BlockReport:
        """Puts back on sale what is blocked; `kind` matters for areas only. Else as `block`."""
        event, layout = await self._find(event_id)
        indexes = resolve(event, layout, wanted)
        refused: list[int] = []
        for batch in batches(indexes):
            ids = [layout.seat_ids[index] for index in batch]
            async with self._turns.take(event_id):
                await self._blocks.unblock_seats(event_id, ids, staff_id, reason)
                refused += await self._unblock(event_id, layout.hash, batch)
        fewer: dict[str, int] = {}
        for some in area_batches(wanted.areas):
            fewer |= await self._unblock_areas(event_id, layout, some, kind, reason, staff_id, request)
        return _report(layout, indexes, wanted.areas, refused, fewer, ("conflict", "conflict"))

    async def _block_areas(
        self,
        event_id: str,
        layout: LayoutFacts,
        areas: Mapping[str, int],
        kind: BlockKind,
        reason: str,
        staff_id: str,
        request: str | None,
    ) -> Mapping[str, int]:
        async with self._turns.take(event_id):
            counted = await self._blocks.block_areas(event_id, areas, kind, reason, staff_id, request)
            if not counted.off_sale:
                return counted.short
            full = (await self._block(event_id, layout.hash, (), counted.off_sale, kind)).areas
            if full:
                withdrawn = {area_id: areas[area_id] for area_id in full}
                await self._blocks.withdraw_areas(event_id, withdrawn, kind, staff_id, reason, request)
        return {**counted.short, **full}

    async def _unblock_areas(
        self,
        event_id: str,
        layout: LayoutFacts,
        areas: Mapping[str, int],
        kind: BlockKind,
        reason: str | None,
        staff_id: str,
        request: str | None,
    ) -> Mapping[str, int]:
        async with self._turns.take(event_id):
            counted = await self._blocks.unblock_areas(event_id, areas, kind, staff_id, reason, request)
            if counted.off_sale:
                # Nothing of it is refused but where claims have what is still to be blocked: that yields, as in adopt.
                await self._block(event_id, layout.hash, (), counted.off_sale, kind)
        return counted.short

    async def _find(self, event_id: str) -> tuple[Event, LayoutFacts]:
        event = await self._catalogue.load_event(event_id)
        # Also where the version was retired since: that ends new events, not this one.
        return event, await self._layouts.index(event.layout_id, event.layout_version, event.layout_hash)


def resolve(event: Event, layout: LayoutFacts, wanted: Selection) -> list[int]:
    """The seats meant, each once, in canonical order. Raises `InvalidInput` that lists all that does not exist."""
    found: list[Violation] = []
    # How many more runs a seat is in than the one before: thousands of runs may each be of the whole hall.
    begun = [0] * (layout.seat_count + 1)
    for position, seat_id in enumerate(wanted.seats):
        index = layout.index_of.get(seat_id)
        if index is None:
            found.append(Violation(f"seats[{position}]", "is no seat of this event"))
        else:
            begun[index] += 1
            begun[index + 1] -= 1
    for position, (first_id, last_id) in enumerate(wanted.runs):
        first, last = layout.index_of.get(first_id), layout.index_of.get(last_id)
        if first is None or last is None:
            found.append(Violation(f"runs[{position}]", "names a seat that is none of this event"))
        elif first > last:
            found.append(Violation(f"runs[{position}]", "has its last seat before its first"))
        else:
            begun[first] += 1
            begun[last + 1] -= 1
    known = {area.area_id for area in event.areas}
    found += [
        Violation("areas", "names an area that is none of this event") for area in wanted.areas if area not in known
    ]
    indexes = [index for index, runs in enumerate(accumulate(begun)) if runs]
    if not found and not indexes and not wanted.areas:
        found.append(Violation("seats", "is empty, and so are runs and areas"))
    if found:
        raise InvalidInput("There is nothing that this could be done to.", errors=tuple(found[: limits.VIOLATIONS_MAX]))
    return indexes


def batches(indexes: Sequence[int]) -> Iterable[Sequence[int]]:
    """Rising seats, at most `BLOCK_BATCH` in at most `BLOCK_RUNS` runs at a time."""
    start, runs = 0, 0
    for at, index in enumerate(indexes):
        begins = at == start or index != indexes[at - 1] + 1
        if at - start == limits.BLOCK_BATCH or (begins and runs == limits.BLOCK_RUNS):
            yield indexes[start:at]
            start, runs, begins = at, 0, True
        runs += begins
    if start < len(indexes):
        yield indexes[start:]


def area_batches(areas: Mapping[str, int]) -> Iterable[dict[str, int]]:
    """At most `AREAS_BATCH` areas at a time, with what is said of each."""
    names = list(areas)
    for start in range(0, len(names), limits.AREAS_BATCH):
        yield {name: areas[name] for name in names[start : start + limits.AREAS_BATCH]}


def _report(
    layout: LayoutFacts,
    indexes: Sequence[int],
    areas: Mapping[str, int],
    refused: Sequence[int],
    short: Mapping[str, int],
    codes: tuple[str, str],
) -> BlockReport:
    listed = sorted(refused)[: limits.VIOLATIONS_MAX]
    return BlockReport(
        seats=len(indexes) - len(refused),
        areas={area_id: quantity for area_id, quantity in areas.items() if area_id not in short},
        refused_seats=tuple(RefusedSeat(layout.seat_ids[index], codes[0]) for index in listed),
        refused_areas=tuple(RefusedArea(area_id, codes[1], left) for area_id, left in short.items()),
    )
