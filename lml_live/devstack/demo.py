"""The demonstration: the project's own venues with an event on each, loaded where there are no events yet."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from lml_live.backoffice.layout_steps import Drafted, record_step
from lml_live.backoffice.trail import Trail
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import LayoutChoice, NewEvent, SaleLimits
from lml_live.pricing.quote import Price
from lml_live.venues.demo import arena, concert_hall
from lml_live.venues.layout import Layout
from lml_live.venues.library import Library
from lml_live.venues.stored import LayoutVersion

_PRICE_STEPS: Final = (12_000, 9_500, 7_200, 5_400, 3_900, 2_800, 2_100, 1_600)
"""Minor units, from the first category on; a venue with more categories sells the rest at the last."""
_EVENTS: Final = (
    (concert_hall, "Symphony in the Round", "demo-hall", "demo-season"),
    (arena, "Neon Harbour: The Tour", "demo-arena", "demo-arena"),
)
_FEE: Final = 250
_TAX_RATE: Final = "7.00"


async def load_demonstration(
    library: Library, catalogue: Catalogue, trail: Trail, report: Callable[[str], None]
) -> None:
    """Deploys the concert hall and the arena, each step on record, and opens an event on each, where there are no other
    events.

    Finishes what an earlier start left half done; does nothing to what is there.
    """
    there = {event.id: event for event in (await catalogue.list_events(drafts=True)).items}
    if there.keys() - {event_id for _, _, event_id, _ in _EVENTS}:
        return
    evening = datetime.now(UTC).replace(hour=19, minute=30, second=0, microsecond=0) + timedelta(days=30)
    for draw, name, event_id, group in _EVENTS:
        if event_id not in there:
            layout = await asyncio.to_thread(draw)
            version = await _deploy(library, trail, layout)
            await catalogue.create_event(
                NewEvent(
                    id=event_id,
                    group=group,
                    name=name,
                    venue=layout.name,
                    starts_at=evening,
                    currency="EUR",
                    layout=LayoutChoice(layout.layout_id, version.version),
                    prices=demo_prices(layout),
                    limits=SaleLimits(max_seats=8, hold_seconds=300, extensions=2, lifetime_seconds=1800),
                )
            )
            report(f"demonstration: {name} on {version.place_count:,} places of {layout.name}")
        if event_id not in there or there[event_id].state == "draft":
            await catalogue.set_state(event_id, "open")


async def _deploy(library: Library, trail: Trail, layout: Layout) -> LayoutVersion:
    """The layout as a deployed version, from wherever an earlier try left it."""
    saved = (await library.save_draft(layout)).version
    if saved.state == "draft":
        await record_step(trail, "saved", Drafted(saved))
        saved = await library.publish(layout.layout_id)
    await record_step(trail, "published", saved)
    deployed = await library.deploy(layout.layout_id, saved.version)
    await record_step(trail, "deployed", deployed)
    return deployed


def demo_prices(layout: Layout) -> tuple[Price, ...]:
    """A price for every category, dearest first, in the order in which the layout names them."""
    return tuple(
        Price(
            category=category,
            amount=_PRICE_STEPS[min(position, len(_PRICE_STEPS) - 1)],
            fee=_FEE,
            tax_rate=_TAX_RATE,
        )
        for position, category in enumerate(_categories(layout))
    )


def _categories(layout: Layout) -> Sequence[str]:
    named: dict[str, None] = {}
    for section in layout.sections:
        if section.category:
            named[section.category] = None
        for row in section.rows:
            for seat in row.seats:
                named[seat.category] = None
    return tuple(named)
