"""Giving seats and places to sales channels, opening them to all, and telling what each has.

PostgreSQL first, then the inventory, in batches and not all or nothing: what is held or sold through another channel is
refused and listed. After an `Unavailable` the same call may be made again. Of two that give a seat away at once, the
later in PostgreSQL is right: whoever told the inventory looks there again afterwards.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import UNSET, UnsetType

from lml_live import limits, values
from lml_live.backoffice.blocking import (
    BlockReport,
    RefusedArea,
    RefusedSeat,
    Selection,
    area_batches,
    batches,
    resolve,
)
from lml_live.backoffice.reports import ChannelReport, PlaceCounts, SeatCounts
from lml_live.backoffice.turns import StaffTurns
from lml_live.clock import to_ms
from lml_live.errors import InvalidInput, NotFound, Refused, Violation
from lml_live.inventory import seatmap
from lml_live.inventory.channels import Channels, Counts
from lml_live.pricing.catalogue import Catalogue, LayoutFacts, Layouts
from lml_live.pricing.channels import OPEN, RESERVED, Channel, ChannelRows
from lml_live.pricing.events import Event


class Allotting:
    """Allotments on behalf of staff, and their opening when the time has come."""

    def __init__(
        self, catalogue: Catalogue, rows: ChannelRows, layouts: Layouts, inventory: Channels, turns: StaffTurns
    ) -> None:
        self._catalogue = catalogue
        self._rows = rows
        self._layouts = layouts
        self._inventory = inventory
        self._turns = turns

    async def assign(
        self,
        event_id: str,
        name: str,
        wanted: Selection,
        opens_at: datetime | UnsetType | None,
        reason: str,
        staff_id: str,
    ) -> BlockReport:
        """Gives seats to a channel (`open`: to all), and sets how many places of areas it has.

        They are its own until `opens_at` (UNSET: as was planned), or until staff open it. Raises `NotFound`,
        `InvalidInput`, `Refused`.
        """
        event, layout = await self._find(event_id)
        if name == OPEN and (wanted.areas or opens_at is not UNSET):
            path = "areas" if wanted.areas else "opens_at"
            wrong = Violation(path, "is for channels; to open places of an area, give its channel fewer")
            raise InvalidInput("What is open to all has neither.", errors=(wrong,))
        if name in RESERVED:
            raise InvalidInput("No channel is called so.", errors=(Violation("channel", "is the name of a view"),))
        indexes = resolve(event, layout, wanted)
        channel: Channel | None = None
        if name != OPEN:
            channel, is_news = await self._rows.ensure(event_id, name, opens_at, staff_id, reason)
            if is_news:
                await self._inventory.renew(event_id)
        refused: list[int] = []
        for batch in batches(indexes):
            async with self._turns.take(event_id):
                refused += await self._assign_batch(event_id, layout, batch, channel, staff_id, reason)
        full: dict[str, int] = {}
        if channel:
            for some in area_batches(wanted.areas):
                full |= await self._set_places(event_id, some, channel, staff_id, reason)
        listed = sorted(refused)[: limits.VIOLATIONS_MAX]
        return BlockReport(
            seats=len(indexes) - len(refused),
            areas={area_id: places for area_id, places in wanted.areas.items() if area_id not in full},
            refused_seats=tuple(RefusedSeat(layout.seat_ids[index], "seat_taken") for index in listed),
            refused_areas=tuple(RefusedArea(area_id, "area_full", most) for area_id, most in full.items()),
        )

    async def _assign_batch(
        self,
        event_id: str,
        layout: LayoutFacts,
        batch: Sequence[int],
        channel: Channel | None,
        staff_id: str,
        reason: str,
    ) -> list[int]:
        """Answers the seats that were refused."""
        ids = [layout.seat_ids[index] for index in batch]
        were = await self._rows.assign_seats(event_id, ids, channel, staff_id, reason)
        written = [index for index in batch if layout.seat_ids[index] in were]
        name = "" if channel is None else channel.name
        inventory = self._inventory.under({event_id: layout.hash})
        answer = await inventory.assign_seats(event_id, name, written, {}) if written else None
        refused = [layout.seat_ids[index] for index in answer.refused_seats] if answer else []
        left_alone = {seat_id: were[seat_id] for seat_id in refused}
        if left_alone:
            await self._rows.give_back_seats(event_id, left_alone, channel, staff_id, reason)
        number = None if channel is None else channel.number
        await self._agree(event_id, layout, {seat_id: number for seat_id in were if seat_id not in left_alone})
        return [index for index in batch if layout.seat_ids[index] not in were or layout.seat_ids[index] in left_alone]

    async def _agree(self, event_id: str, layout: LayoutFacts, applied: dict[str, int | None]) -> None:
        """Tells the inventory what somebody else decided about these seats since: theirs may have come before ours."""
        for _ in range(limits.CHANGE_TRIES):
            others = await self._rows.other_seats(event_id, applied)
            if not others:
                return
            for name in {name for _, name in others.values()}:
                some = [layout.index_of[seat_id] for seat_id, other in others.items() if other[1] == name]
                await self._inventory.under({event_id: layout.hash}).assign_seats(event_id, name or "", some, {})
            applied = {seat_id: number for seat_id, (number, _) in others.items()}

    async def _set_places(
        self, event_id: str, areas: Mapping[str, int], channel: Channel, staff_id: str, reason: str
    ) -> dict[str, int]:
        """Answers the areas that have not so many open places, with the most that there could be."""
        async with self._turns.take(event_id):
            had = await self._rows.set_places(event_id, areas, channel, staff_id, reason)
            answer = await self._inventory.assign_seats(event_id, channel.name, (), areas)
            if answer.refused_areas:
                before = {area_id: had[area_id] for area_id in answer.refused_areas}
                await self._rows.set_places(event_id, before, channel, staff_id, reason, refused=True)
        return answer.refused_areas

    # --- Opening

    async def open(self, event_id: str, name: str, reason: str, staff_id: str) -> None:
        """What a channel has sells to all from now on; twice is once. Raises `NotFound`, `Unavailable`."""
        event, layout = await self._find(event_id)
        if not values.is_id(name):
            raise NotFound("The event has no such channel.")
        async with self._turns.take(event_id):
            opened_at = await self._rows.open(event_id, name, staff_id, reason)
        # What is given to the channel from here on is refused until the inventory has been told of all of it.
        await self._inventory.renew(event_id)
        areas = [area.area_id for area in event.areas]
        inventory = self._inventory.under({event_id: layout.hash})
        try:
            for first in range(0, event.seat_count, limits.OPEN_BATCH):
                count = min(limits.OPEN_BATCH, event.seat_count - first)
                await inventory.open_seats(event_id, name, to_ms(opened_at), first, count, [])
            for start in range(0, len(areas), limits.AREAS_BATCH):
                some = areas[start : start + limits.AREAS_BATCH]
                # With a seat that was opened above, where there is one: no seats would mean all of them.
                await inventory.open_seats(event_id, name, to_ms(opened_at), 0, min(1, event.seat_count), some)
        except Refused:
            return  # it was told by somebody else, and given seats again since
        await self._rows.finish_opening(event_id, name, opened_at)

    async def open_due(self) -> int:
        """Opens what is due, and tells the inventory what it has not heard; answers how many channels that were."""
        due = await self._rows.openings_due(limits.OPENING_SECONDS)
        for opening in due:
            await self.open(opening.event_id, opening.channel, opening.reason, opening.staff_id)
        return len(due)

    # --- Reporting

    async def report(self, event_id: str) -> list[ChannelReport]:
        """What each channel has and what became of it, `open` first. The stores are read one after the other."""
        await self._catalogue.load_event(event_id)
        channels = await self._rows.load(event_id)
        sold = await self._rows.sold_places(event_id)
        _, counts = await self._inventory.count(event_id)
        everybody = ChannelReport(
            channel=OPEN, seats=_seats(counts, seatmap.CHANNEL_OPEN), areas=_open_places(counts, sold)
        )
        return [
            everybody,
            *(
                ChannelReport(
                    channel=channel.name,
                    opens_at=channel.opens_at,
                    opened_at=channel.opened_at,
                    seats=_seats(counts, channel.number),
                    areas=_places(counts, sold, channel.number),
                )
                for channel in channels
            ),
        ]

    async def _find(self, event_id: str) -> tuple[Event, LayoutFacts]:
        event = await self._catalogue.load_event(event_id)
        # Also where the version was retired since: that ends new events, not this one.
        return event, await self._layouts.index(event.layout_id, event.layout_version, event.layout_hash)


_BLOCKED: Final = (seatmap.BYTE_HOUSE, seatmap.BYTE_KILL)


def _seats(counts: Counts, channel: int) -> SeatCounts:
    by_state = {state: n for (number, state), n in counts.seats.items() if number == channel}
    return SeatCounts(
        assigned=sum(by_state.values()),
        available=by_state.get(seatmap.BYTE_AVAILABLE, 0),
        held=by_state.get(seatmap.BYTE_HELD, 0),
        sold=by_state.get(seatmap.BYTE_SOLD, 0),
        blocked=sum(by_state.get(state, 0) for state in _BLOCKED),
    )


def _places(counts: Counts, sold: Mapping[tuple[str, int], int], channel: int) -> dict[str, PlaceCounts]:
    found: dict[str, PlaceCounts] = {}
    for area, allotments in counts.allotments.items():
        for number, places, taken in zip(allotments[::3], allotments[1::3], allotments[2::3], strict=True):
            if number == channel:
                # A sale may be on record a moment before the inventory shows it, or after it was undone.
                paid = min(sold.get((area, channel), 0), taken)
                found[area] = PlaceCounts(places, max(0, places - taken), taken - paid, paid)
    return found


def _open_places(counts: Counts, sold: Mapping[tuple[str, int], int]) -> dict[str, PlaceCounts]:
    found: dict[str, PlaceCounts] = {}
    for area, (available, held, paid, blocked) in counts.areas.items():
        others = _by_channel(counts.allotments.get(area, ()))
        kept = sum(max(0, places - taken) for places, taken in others.values())
        taken_elsewhere = sum(taken for _, taken in others.values())
        paid_elsewhere = sum(min(sold.get((area, number), 0), taken) for number, (_, taken) in others.items())
        paid_here = max(0, paid - paid_elsewhere)
        held_here = max(0, held + paid - taken_elsewhere - paid_here)
        free = available - kept
        found[area] = PlaceCounts(free + held_here + paid_here + blocked, free, held_here, paid_here)
    return found


def _by_channel(allotments: Sequence[int]) -> dict[int, tuple[int, int]]:
    lines = zip(allotments[::3], allotments[1::3], allotments[2::3], strict=True)
    return {number: (places, taken) for number, places, taken in lines}
