"""What the gateway knows by heart of one event: its row, prices and layout; and how a hold is shown with them.

Desks are cached and replaced whole; one is never changed. Two reads of one event at once are one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct

from lml_live.clock import to_ms
from lml_live.gateway import wire
from lml_live.inventory.answers import Refusal
from lml_live.inventory.diffs import AreaCounts
from lml_live.inventory.holds import is_staff_hold
from lml_live.inventory.plan import Plan
from lml_live.inventory.records import Record, Sale
from lml_live.inventory.wishes import SeatNames
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import Event
from lml_live.pricing.quote import PricedLine, PriceTable
from lml_live.venues.seat_index import LayoutIndex


class Desk(Struct, frozen=True):
    """One event, ready to answer with."""

    event: Event
    prices: PriceTable
    layout: LayoutIndex
    layout_url: str
    default_types: dict[str, str]
    """The price type of each category that a wish without a type means."""
    area_categories: dict[str, str]
    plan: Plan
    """The layout as picking and the orphan rule read it."""

    @property
    def brief(self) -> wire.EventBrief:
        event = self.event
        return wire.EventBrief(event.id, event.state, to_ms(event.on_sale_at), event.prices_version)

    @property
    def limits(self) -> wire.Limits:
        return msgspec.convert(self.event.limits, wire.Limits, from_attributes=True)

    @property
    def layout_ref(self) -> wire.LayoutRef:
        event = self.event
        return wire.LayoutRef(
            event.layout_id, event.layout_version, event.layout_hash, self.layout_url, event.seat_count
        )

    @property
    def under(self) -> dict[str, str]:
        """What the inventory is told of the layout by which this desk reads seats: `Book.under`."""
        return {self.event.id: self.layout.hash}

    @property
    def seat_names(self) -> SeatNames:
        return SeatNames(self.layout.hash, self.layout.seat_ids)

    def changed(self) -> wire.EventChanged:
        """The `event` message that tells this desk's state."""
        brief = self.brief
        return wire.EventChanged(
            state=brief.state,
            on_sale_at_ms=brief.on_sale_at_ms,
            prices_version=brief.prices_version,
            limits=self.limits,
        )

    # --- Wishes

    def seat_wishes(self, seats: Sequence[wire.SeatWish]) -> list[tuple[int, str]] | Refusal:
        """Seats with the price type of each, or why they cannot be wished for."""
        layout, default_types, prices = self.layout, self.default_types, self.prices.lines
        seat_count, categories = layout.seat_count, layout.categories
        wishes: list[tuple[int, str]] = []
        unknown: list[int] = []
        unpriced = False
        for wish in seats:
            seat, price_type = (wish, "") if type(wish) is int else (wish.seat, wish.type)  # type: ignore[union-attr]
            if seat >= seat_count:
                unknown.append(seat)
                continue
            category = categories[seat]
            price_type = price_type or default_types.get(category, "")
            if (category, price_type) not in prices:
                unpriced = True
            wishes.append((seat, price_type))
        if unknown:
            return Refusal("unknown_seat", "This event has no such seat.", tuple(unknown))
        if len(dict(wishes)) != len(wishes):
            return Refusal("invalid_message", "A seat is named twice.")
        return _NO_PRICE if unpriced else wishes

    def torn(self, seats: Iterable[int]) -> Refusal | None:
        """Why these seats cannot change hands as they are named: tables and boxes sell only whole."""
        whole_of = self.layout.whole_of
        if not whole_of:
            return None
        named = set(seats)
        touched = {whole_of[seat] for seat in named if seat in whole_of}
        missing = {seat for number in touched for seat in self.layout.wholes[number]} - named
        if not missing:
            return None
        return Refusal("invalid_message", "Tables and boxes sell only whole: name these seats, too.", _sorted(missing))

    def unaccompanied(self, seats: Iterable[int]) -> Refusal | None:
        """Why these seats cannot be one hold: a companion seat sells with an accessible place of its section only."""
        layout = self.layout
        named = set(seats)
        companions = {seat for seat in named & layout.companions if seat not in layout.whole_of}
        if not companions:
            return None
        sections = {self._section(seat) for seat in named & layout.accessible}
        alone = {seat for seat in companions if self._section(seat) not in sections}
        if not alone:
            return None
        why = "Companion seats sell only together with an accessible place of their section."
        return Refusal("invalid_message", why, _sorted(alone))

    def _section(self, seat: int) -> str:
        return self.layout.rows[self.layout.row_of[seat]].section

    def area_wishes(self, areas: Mapping[str, wire.AreaWish]) -> list[tuple[str, str, int]] | Refusal:
        """Area places with the price type of each, or why they cannot be wished for."""
        wishes: list[tuple[str, str, int]] = []
        unpriced = False
        for area, wish in areas.items():
            category = self.area_categories.get(area)
            if category is None:
                return Refusal("unknown_area", "This event has no such area.")
            by_type = wish if isinstance(wish, dict) else {self.default_types.get(category, ""): wish}
            for price_type, n in by_type.items():
                unpriced |= self.prices.line(category, price_type) is None
                wishes.append((area, price_type, n))
        return _NO_PRICE if unpriced else wishes

    # --- Showing

    def show_hold(self, hold: str, record: Record, *, seat_ids: bool = False) -> wire.Hold:
        """A hold with its prices. `seats` are indexes, or seat ids where REST asks."""
        layout, prices = self.layout, self.prices.lines
        categories, ids = layout.categories, layout.seat_ids
        lines: list[wire.HoldLine] = []
        counts: dict[str, int] = {}
        amount = line = 0
        seats, types = record.split_seats()
        for seat, price_type in zip(seats, types, strict=False):
            line += 1
            price = prices.get((categories[seat], price_type)) or self._price(categories[seat])
            amount += price.amount + price.fee
            lines.append(
                wire.HoldLine(
                    line=line,
                    seat=None if seat_ids else seat,
                    seat_id=ids[seat] if seat_ids else None,
                    type=price.type,
                    amount=price.amount,
                    fee=price.fee,
                    tax=price.tax,
                )
            )
        for area, price_type, n in record.area_types() if record.areas else ():
            category = self.area_categories[area]
            price = prices.get((category, price_type)) or self._price(category)
            amount += n * (price.amount + price.fee)
            counts[area] = counts.get(area, 0) + n
            for _ in range(n):
                line += 1
                lines.append(
                    wire.HoldLine(
                        line=line,
                        area_id=area,
                        type=price.type,
                        amount=price.amount,
                        fee=price.fee,
                        tax=price.tax,
                    )
                )
        state = record.state
        assert state in ("active", "checkout", "sold"), "a hold that is gone is not shown"
        return wire.Hold(
            id=hold,
            lines=tuple(lines),
            seats=tuple([ids[seat] for seat in seats]) if seat_ids else seats,
            areas=counts,
            state=state,  # type: ignore[arg-type]  # one of the three, as asserted
            booking=record.booking or None,
            deadline_ms=record.deadline_ms,
            lifetime_ms=record.lifetime_ms,
            extensions_left=0 if is_staff_hold(hold) else max(0, self.event.limits.extensions - record.extensions),
            amount=amount,
            currency=self.prices.currency,
        )

    def _price(self, category: str) -> PricedLine:
        """The price at which a type shows that was dropped from the price list since: its category's first."""
        price = self.prices.line(category, "")
        assert price is not None, "every category of the layout has a price"
        return price


def _sorted(seats: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(seats))


def plan_layout(layout: LayoutIndex) -> Plan:
    """A layout as picking and the orphan rule read it."""
    seating = layout.seating
    return Plan(
        seating.runs,
        seating.distances,
        seating.places,
        [(row.section, row.first, row.count) for row in layout.rows],
        layout.categories,
        layout.accessible,
        layout.companions,
        layout.wholes,
    )


def show_areas(areas: Mapping[str, AreaCounts]) -> dict[str, wire.AreaCounts]:
    """Area counts as the wire has them."""
    return {area: wire.AreaCounts(*counts) for area, counts in areas.items()}


_NO_PRICE: Final = Refusal("invalid_message", "There is no such price type for this category.")


LoadLayout = Callable[[str, int, str], Awaitable[LayoutIndex]]
"""Answers the index of a layout version by its id and version, if it has the hash that the event was made on."""
LayoutUrl = Callable[[str, str], str]
"""Answers the address of a layout's bytes by its id and hash."""


class Desks:
    """The desks of all events that this worker was asked for.

    The inventory hears of a changed event in several ways; a desk that is of other facts than those is read again.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        load_layout: LoadLayout,
        layout_url: LayoutUrl,
        find_sale: Callable[[str], Sale | None],
    ) -> None:
        """`find_sale` answers an event's facts, as far as the inventory knows them already."""
        self._find_sale = find_sale
        self._catalogue = catalogue
        self._load_layout = load_layout
        self._layout_url = layout_url
        self._desks: dict[str, Desk] = {}
        self._loading: dict[str, asyncio.Task[Desk]] = {}
        self._plans: WeakValueDictionary[str, Plan] = WeakValueDictionary()
        """By layout hash: the events of a season share one, which takes a fifth of a second to make."""
        self._planning = asyncio.Lock()

    async def desk(self, event: str) -> Desk:
        """An event's desk. Raises `NotFound`, `Unavailable`."""
        known, sale = self._desks.get(event), self._find_sale(event)
        if known is None or (sale is not None and _is_of_another(sale, known.event)):
            return await self.reload(event)
        return known

    def forget(self) -> None:
        """News of any event may have been missed, also of one that the inventory knows nothing of: all are read again
        when they are next asked for."""
        self._desks.clear()

    async def reload(self, event: str) -> Desk:
        """Reads an event again; callers at the same time share one read."""
        task = self._loading.get(event)
        if task is None:
            task = asyncio.create_task(self._load(event), name=f"read event {event}")
            self._loading[event] = task
            task.add_done_callback(lambda _: self._loading.pop(event, None))
        return await asyncio.shield(task)

    async def _load(self, event_id: str) -> Desk:
        event = await self._catalogue.load_event(event_id)
        known = self._desks.get(event_id)
        if known is not None and known.event.layout_hash == event.layout_hash:
            layout, plan = known.layout, known.plan
        else:
            layout = await self._load_layout(event.layout_id, event.layout_version, event.layout_hash)
            plan = await self._plan(event.layout_hash, layout)
        default_types: dict[str, str] = {}
        for price in event.prices:
            default_types.setdefault(price.category, price.type)
        desk = Desk(
            event=event,
            prices=PriceTable(event.price_list()),
            layout=layout,
            layout_url=self._layout_url(event.layout_id, event.layout_hash),
            default_types=default_types,
            area_categories={area.area_id: area.category for area in event.areas},
            plan=plan,
        )
        self._desks[event_id] = desk
        return desk

    async def _plan(self, layout_hash: str, layout: LayoutIndex) -> Plan:
        async with self._planning:
            plan = self._plans.get(layout_hash)
            if plan is None:
                # In a thread: 200,000 seats would hold up every socket for a fifth of a second.
                plan = self._plans[layout_hash] = await asyncio.to_thread(plan_layout, layout)
            return plan


def _is_of_another(sale: Sale, event: Event) -> bool:
    """Whether the facts are of another layout, other rules or other prices than the event as it was read."""
    known = (event.layout_hash, event.revision, event.prices_version)
    return (sale.layout_hash, sale.revision, sale.prices_version) != known
