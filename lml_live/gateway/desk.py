"""What the gateway knows by heart of one event: its row, prices and layout; and how a hold is shown with them.

Desks are cached and replaced whole; one is never changed. Two reads of one event at once are one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct

from lml_live.clock import to_ms
from lml_live.gateway import wire
from lml_live.inventory.diffs import AreaCounts
from lml_live.inventory.holds import Refusal, is_staff_hold
from lml_live.inventory.plan import Plan
from lml_live.inventory.records import Record
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import Event
from lml_live.pricing.quote import PriceTable, UnknownPrice, Wish
from lml_live.venues.layout import LayoutIndex


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
        wishes: list[tuple[int, str]] = []
        unknown: list[int] = []
        for wish in seats:
            seat, price_type = (wish.seat, wish.type) if isinstance(wish, wire.SeatPick) else (wish, "")
            if seat >= self.layout.seat_count:
                unknown.append(seat)
                continue
            category = self.layout.categories[seat]
            wishes.append((seat, price_type or self.default_types.get(category, "")))
        if unknown:
            return Refusal("unknown_seat", "This event has no such seat.", tuple(unknown))
        if len({seat for seat, _ in wishes}) != len(wishes):
            return Refusal("invalid_message", "A seat is named twice.")
        priced = self.prices.quote([Wish(self.layout.categories[seat], kind or None) for seat, kind in wishes])
        return _no_price(priced) if isinstance(priced, UnknownPrice) else wishes

    def area_wishes(self, areas: Mapping[str, wire.AreaWish]) -> list[tuple[str, str, int]] | Refusal:
        """Area places with the price type of each, or why they cannot be wished for."""
        wishes: list[tuple[str, str, int]] = []
        for area, wish in areas.items():
            category = self.area_categories.get(area)
            if category is None:
                return Refusal("unknown_area", "This event has no such area.")
            by_type = wish if isinstance(wish, dict) else {self.default_types.get(category, ""): wish}
            wishes += [(area, price_type, n) for price_type, n in by_type.items()]
        priced = self.prices.quote([Wish(self.area_categories[area], kind or None) for area, kind, _ in wishes])
        return _no_price(priced) if isinstance(priced, UnknownPrice) else wishes

    # --- Showing

    def show_hold(self, hold: str, record: Record, *, seat_ids: bool = False) -> wire.Hold:
        """A hold with its prices. `seats` are indexes, or seat ids where REST asks."""
        seats = record.seat_types()
        areas = record.area_types()
        wishes = [Wish(self.layout.categories[seat], kind or None) for seat, kind in seats]
        wishes += [Wish(self.area_categories[area], kind or None) for area, kind, n in areas for _ in range(n)]
        # A type that was dropped from the price list since shows at its category's first price.
        quote = self.prices.quote(wishes)
        if isinstance(quote, UnknownPrice):
            quote = self.prices.quote([Wish(wish.category) for wish in wishes])
        assert not isinstance(quote, UnknownPrice), "every category of the layout has a price"
        places = [(seat, None) for seat, _ in seats] + [(None, area) for area, _, n in areas for _ in range(n)]
        lines = tuple(
            wire.HoldLine(
                line=number,
                seat=None if seat_ids else seat,
                seat_id=self.layout.seat_ids[seat] if seat_ids and seat is not None else None,
                area_id=area,
                type=priced.type,
                amount=priced.amount,
                fee=priced.fee,
                tax=priced.tax,
            )
            for number, ((seat, area), priced) in enumerate(zip(places, quote.lines, strict=True), 1)
        )
        counts: dict[str, int] = {}
        for area, _, n in areas:
            counts[area] = counts.get(area, 0) + n
        state = record.state
        assert state in ("active", "checkout", "sold"), "a hold that is gone is not shown"
        return wire.Hold(
            id=hold,
            lines=lines,
            seats=tuple(self.layout.seat_ids[seat] if seat_ids else seat for seat, _ in seats),
            areas=counts,
            state=state,  # type: ignore[arg-type]  # one of the three, as asserted
            booking=record.booking or None,
            deadline_ms=record.deadline_ms,
            lifetime_ms=record.lifetime_ms,
            extensions_left=0 if is_staff_hold(hold) else max(0, self.event.limits.extensions - record.extensions),
            amount=quote.amount,
            currency=quote.currency,
        )


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
    )


def show_areas(areas: Mapping[str, AreaCounts]) -> dict[str, wire.AreaCounts]:
    """Area counts as the wire has them."""
    return {area: wire.AreaCounts(*counts) for area, counts in areas.items()}


def _no_price(_: UnknownPrice) -> Refusal:
    return Refusal("invalid_message", "There is no such price type for this category.")


LoadLayout = Callable[[str, int], Awaitable[LayoutIndex]]
"""Answers the index of a layout version by its id and version."""
LayoutUrl = Callable[[str, str], str]
"""Answers the address of a layout's bytes by its id and hash."""


class Desks:
    """The desks of all events that this worker was asked for."""

    def __init__(self, catalogue: Catalogue, load_layout: LoadLayout, layout_url: LayoutUrl) -> None:
        self._catalogue = catalogue
        self._load_layout = load_layout
        self._layout_url = layout_url
        self._desks: dict[str, Desk] = {}
        self._loading: dict[str, asyncio.Task[Desk]] = {}
        self._plans: WeakValueDictionary[str, Plan] = WeakValueDictionary()
        """By layout hash: the events of a season share one, which takes a fifth of a second to make."""
        self._planning = asyncio.Lock()

    def known(self, event: str) -> Desk | None:
        """The desk in the cache."""
        return self._desks.get(event)

    async def desk(self, event: str) -> Desk:
        """An event's desk. Raises `NotFound`, `Unavailable`."""
        return self._desks.get(event) or await self.reload(event)

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
            layout = await self._load_layout(event.layout_id, event.layout_version)
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
