"""Another version of its layout for an event that may be on sale already (contract: a new epoch begins).

What somebody has keeps its place, or the change is refused: sold and claimed seats and places, those that staff hold,
those that are held right now. Seat ids follow from labels, so a seat that only moved is the same seat. Holds of
browsers end with the epoch, as whenever a layout changes; one that came between the look and the change is among them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from lml_live import limits
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.errors import Conflict, InvalidInput, LmlError, Refused, Violation
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.inventory import seatmap
from lml_live.inventory.diffs import Allotments, AreaCounts
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import Event
from lml_live.pricing.quote import check_prices
from lml_live.venues.seat_index import LayoutIndex

_SQL: Final = postgres.statements("layouts")
_CATALOGUE: Final = postgres.statements("catalogue")
_INVENTORY: Final = postgres.statements("inventory")

_WORDS: Final = {"claimed": "is in a checkout", "sold": "is sold", "held": "is held"}


class Held(Struct, frozen=True):
    """What of an event the inventory has given away: seats that are held, by index, and the places of each area that
    are taken, blocked, or promised to channels."""

    seats: Sequence[int]
    places: Mapping[str, int]


_NOTHING: Final = Held((), {})


class LayoutChange:
    """Moves events from one version of their layout to another.

    `read_held` answers what of an event is held in the inventory, by the layout of a hash, and raises `Unavailable`
    where the event is on another; `distrust` closes it, to be built anew.
    """

    def __init__(
        self,
        pool: Pool,
        catalogue: Catalogue,
        layouts: DeployedLayouts,
        read_held: Callable[[str, str], Awaitable[Held]],
        distrust: Callable[[str], Awaitable[None]],
    ) -> None:
        self._pool = pool
        self._catalogue = catalogue
        self._layouts = layouts
        self._read_held = read_held
        self._distrust = distrust

    async def change(self, event_id: str, version: int) -> Event:
        """Sells an event on another deployed version of its layout; the same version again changes nothing.

        Raises `NotFound`; `sale_closed`; `InvalidInput` where the version is not deployed or has other price
        categories; `Conflict` with every seat and area in the way, or where somebody else changes the event just now;
        `LayoutDamaged`, `Unavailable`. Refused, it has changed nothing.
        """
        event = await self._catalogue.load_event(event_id)
        if event.state == "closed":
            raise Refused("sale_closed", "The sale is closed: its layout stays.")
        if event.layout_version == version:
            return event
        layout = await self._layouts.deployed_index(event.layout_id, version)
        if layout is None:
            missing = Violation("version", f"names no deployed version of {event.layout_id}; deploy it first")
            raise InvalidInput("The layout cannot be changed.", errors=(missing,))
        categories = {*layout.categories, *(area.category for area in layout.areas)}
        if found := check_prices(event.prices, categories):
            raise InvalidInput("The event's prices do not fit the layout.", errors=found)
        held = await self._read_held(event.id, event.layout_hash) if event.epoch else _NOTHING
        in_the_way = await self._missing(event, layout, held)
        async with postgres.transaction(self._pool) as connected:
            # In the order of adopt: first every claim under way is over, then the event's row is ours.
            await connected.execute(_INVENTORY["lock_event_exclusive"], event.number)
            await connected.fetchval(_CATALOGUE["lock_event"], event_id)
            seats = await connected.fetch(_SQL["occupied_seats"], event_id)
            areas = await connected.fetch(_SQL["occupied_areas"], event_id)
            in_the_way |= {row["seat_id"]: row["state"] for row in seats if row["seat_id"] not in layout.index_of}
            violations = [*_missing_seats(in_the_way), *_small_areas(layout, areas, held.places)]
            if violations:
                words = f"{len(violations)} seats and areas that somebody has would not be there any more."
                raise Conflict(words, errors=tuple(violations[: limits.VIOLATIONS_MAX]))
            changed = await connected.fetchval(
                _SQL["change_layout"], event_id, event.layout_hash, layout.version, layout.hash, layout.seat_count
            )
            if changed is None:
                raise Conflict("Somebody else changes the event's layout just now.")
            # Nothing below refuses.
            ids = [area.area_id for area in layout.areas]
            await connected.execute(_SQL["drop_areas"], event_id, ids)
            columns = ([getattr(area, name) for area in layout.areas] for name in ("name", "category", "capacity"))
            await connected.execute(_SQL["put_areas"], event_id, ids, *columns)
            await connected.execute(_CATALOGUE["announce_event"], event_id)
        if event.epoch:
            await self._restore(event_id)
        return await self._catalogue.load_event(event_id)

    async def _restore(self, event_id: str) -> None:
        """Closes the book at once, so that nothing more is held under the old layout. While Redis is away nothing is
        held anyway, and whoever comes first finds that the epoch has moved."""
        try:
            await asyncio.shield(self._distrust(event_id))
        except LmlError:
            return

    async def _missing(self, event: Event, layout: LayoutIndex, held: Held) -> dict[str, str]:
        """The seats held now that the new layout has not."""
        old = await self._layouts.index(event.layout_id, event.layout_version, event.layout_hash)
        ids = [old.seat_ids[seat] for seat in held.seats if seat < old.seat_count]
        return {seat_id: "held" for seat_id in ids if seat_id not in layout.index_of}


def what_is_held(seats: bytes, areas: Mapping[str, AreaCounts], allotments: Mapping[str, Allotments]) -> Held:
    """Reads an inventory's seats (`inventory.seatmap`), areas and allotments."""
    held = tuple(seat for seat, byte in enumerate(seats) if byte & seatmap.STATE_MASK == seatmap.BYTE_HELD)
    places = {area: sum(counts[1:]) for area, counts in areas.items()}
    for area, line in allotments.items():
        places[area] += sum(max(0, given - used) for given, used in zip(line[1::3], line[2::3], strict=True))
    return Held(held, places)


def _missing_seats(in_the_way: Mapping[str, str]) -> list[Violation]:
    return [
        Violation(seat_id, f"{_WORDS[state]}; the new version has no such seat")
        for seat_id, state in sorted(in_the_way.items())
    ]


def _small_areas(layout: LayoutIndex, areas: Iterable[Any], held: Mapping[str, int]) -> list[Violation]:
    """The areas that would be gone, or too small for what either store has of them."""
    capacities = {area.area_id: area.capacity for area in layout.areas}
    found = []
    for row in areas:
        places, capacity = max(row["places"], held.get(row["area_id"], 0)), capacities.get(row["area_id"])
        taken = f"has {places} places taken, blocked or promised to channels"
        if capacity is None and (places or row["booked"]):
            found.append(Violation(row["area_id"], f"{taken}, or had; the new version has no such area"))
        elif capacity is not None and places > capacity:
            found.append(Violation(row["area_id"], f"{taken}; the new version has {capacity}"))
    return found
