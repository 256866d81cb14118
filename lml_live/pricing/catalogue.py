"""The events of the house and what staff took off sale, in PostgreSQL.

Every change of an event is announced on the channel `event_changed` with the event's id, in the same transaction, so
that workers hear of it at its commit and never before.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import asyncpg
import msgspec
from msgspec import UNSET

from lml_live import limits, values
from lml_live.errors import Conflict, InvalidInput, NotFound, Refused, Violation
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.pricing import events
from lml_live.pricing.currencies import check_steps
from lml_live.pricing.events import (
    AreaFacts,
    Event,
    EventAct,
    EventArea,
    EventChanges,
    EventState,
    NewEvent,
    SaleLimits,
)
from lml_live.pricing.quote import Price, check_prices, normal_prices

CHANNEL: Final = "event_changed"
"""The NOTIFY channel; the payload is an event id."""

_SQL: Final = postgres.statements("catalogue")
_SLUG_TRIES: Final = 5


class LayoutFacts(Protocol):
    """What the catalogue must know of one layout version. `venues.layout.LayoutIndex` answers to it."""

    @property
    def layout_id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def hash(self) -> str: ...
    @property
    def seat_count(self) -> int: ...
    @property
    def categories(self) -> Sequence[str]:
        """The category of each seat, by index."""
        ...

    @property
    def index_of(self) -> Mapping[str, int]:
        """Seat id to index."""
        ...

    @property
    def seat_ids(self) -> Sequence[str]: ...
    @property
    def areas(self) -> Sequence[AreaFacts]: ...


class Layouts(Protocol):
    """Where deployed layouts are known. Wiring hands in the library of `venues`."""

    async def deployed_index(self, layout_id: str, version: int | None) -> LayoutFacts | None:
        """The facts of a deployed version (None: the newest deployed one), or None where there is none."""
        ...

    async def index(self, layout_id: str, version: int, layout_hash: str) -> LayoutFacts:
        """The facts of the version that an event is sold on, whether or not new ones may be made on it."""
        ...


class EventPage(msgspec.Struct, frozen=True):
    """A page of events by start; `next` is the cursor of the page after it, None at the end."""

    items: tuple[Event, ...]
    next: str | None


class Catalogue:
    """Events: made on deployed layouts, changed, opened, paused, closed, read."""

    def __init__(self, pool: Pool, layouts: Layouts) -> None:
        self._pool = pool
        self._layouts = layouts

    async def create_event(self, draft: NewEvent, *, seed: str | None = None) -> Event:
        """Makes a draft event. Its id is the one given, or made of name and day.

        With `seed` (what names the request) a made id always ends in a digest of it, so that a repetition after a
        crash finds the event that the first attempt made instead of making another. Raises `InvalidInput` with every
        violation at once, `Conflict` where a given id is taken.
        """
        layout = await self._layouts.deployed_index(draft.layout.id, draft.layout.version)
        if layout is None:
            missing = Violation("layout", "names no deployed layout version; deploy it first, or name another")
            raise InvalidInput("The event cannot be made.", errors=(missing,))
        categories = {*layout.categories, *(area.category for area in layout.areas)}
        if found := events.check_new_event(draft, categories):
            raise InvalidInput("The event cannot be made.", errors=found)
        # Nothing below refuses but for a taken id.
        async with postgres.transaction(self._pool) as connected:
            for event_id in _candidates(draft, seed):
                if await self._insert(connected, event_id, draft, layout):
                    break
                if seed is not None and draft.id is None:
                    return await _load(connected, event_id)
            else:
                raise Conflict("An event with this id exists already.")
            return await _load(connected, event_id)

    async def update_event(self, event_id: str, changes: EventChanges) -> Event:
        """Changes what is given. A closed event keeps its on-sale time, prices and limits (`sale_closed`).

        New prices raise `prices_version`; a new on-sale time or limits raise `revision`. Raises `NotFound`,
        `InvalidInput`.
        """
        layout = None
        if changes.prices is not UNSET:
            known = await self.load_event(event_id)
            layout = await self._layouts.index(known.layout_id, known.layout_version, known.layout_hash)
        async with postgres.transaction(self._pool) as connected:
            event = await _lock(connected, event_id)
            if event.state == "closed" and not (changes.on_sale_at is changes.prices is changes.limits is UNSET):
                raise Refused("sale_closed", "The sale is closed: its on-sale time, prices and limits stay.")
            changed = _apply(event, changes)
            found = (*events.check_times(changed.starts_at, changed.on_sale_at), *events.check_limits(changed.limits))
            if layout is not None:
                categories = {*layout.categories, *(area.category for area in layout.areas)}
                found += (*check_prices(changed.prices, categories), *check_steps(changed.prices, event.currency))
            if found:
                raise InvalidInput("The event cannot be changed so.", errors=found)
            if changed == event:
                return event
            new_prices = changed.prices != event.prices
            written = await connected.fetchval(
                _SQL["update_event"],
                event_id,
                changed.name,
                changed.venue,
                changed.starts_at,
                changed.on_sale_at,
                *msgspec.structs.astuple(changed.limits),
                changed.on_sale_at != event.on_sale_at or changed.limits != event.limits,
                new_prices,
            )
            if written is None:
                gone = Violation("starts_at", "is over; an organisation is paid so long after the start")
                raise InvalidInput("The event cannot be changed so.", errors=(gone,))
            # Nothing below refuses.
            if new_prices:
                await connected.execute(_SQL["clear_prices"], event_id)
                await _write_prices(connected, event_id, changed.prices)
            await connected.execute(_SQL["announce_event"], event_id)
            return await _load(connected, event_id)

    async def set_state(self, event_id: str, act: EventAct) -> Event:
        """Opens, pauses or closes the sale; doing it twice is once. Raises `NotFound`, `Conflict`, `sale_closed`."""
        target = events.TARGET[act]
        async with postgres.transaction(self._pool) as connected:
            event = await _lock(connected, event_id)
            if event.state == target:
                return event
            if target not in events.MOVES[event.state]:
                raise _illegal_move(event.state, target)
            # Nothing below refuses.
            await connected.execute(_SQL["set_event_state"], event_id, target)
            await connected.execute(_SQL["announce_event"], event_id)
            return await _load(connected, event_id)

    async def load_event(self, event_id: str) -> Event:
        """One event with prices and areas. Raises `NotFound`."""
        async with postgres.connection(self._pool) as connected:
            return await _load(connected, event_id)

    async def list_events(
        self,
        *,
        limit: int = limits.PAGE_ITEMS_DEFAULT,
        cursor: str | None = None,
        drafts: bool = False,
        drafts_of: str | None = None,
    ) -> EventPage:
        """At most `limit` events by start, after `cursor`; drafts only for those who may see them.

        `drafts_of` is a member of staff who may see only those of their organisations.
        """
        after = (None, None) if cursor is None else _read_cursor(cursor)
        size = max(1, min(limit, limits.PAGE_ITEMS_MAX))
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["list_events"], drafts, *after, size + 1, drafts_of)
        items = tuple(_event(row) for row in rows[:size])
        return EventPage(items, _write_cursor(items[-1]) if len(rows) > size else None)

    async def list_group(
        self, group: str, *, limit: int, after: tuple[datetime, str] | None = None
    ) -> list[tuple[datetime, str]]:
        """(start, id) of at most `limit` events of a group that are on sale or paused, by start, after that one."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["list_group"], group, *(after or (None, None)), limit)
        return [(row["starts_at"], row["id"]) for row in rows]

    async def _insert(self, connected: Connection, event_id: str, draft: NewEvent, layout: LayoutFacts) -> bool:
        rules = draft.limits
        made = await connected.fetchval(
            _SQL["create_event"],
            event_id,
            draft.group or event_id,
            draft.name,
            draft.venue,
            draft.starts_at,
            draft.on_sale_at,
            draft.currency,
            layout.layout_id,
            layout.version,
            layout.hash,
            layout.seat_count,
            *msgspec.structs.astuple(rules),
            draft.tick_ms,
        )
        if made is None:
            return False
        await _write_prices(connected, event_id, normal_prices(draft.prices))
        await connected.execute(
            _SQL["write_areas"],
            event_id,
            [area.area_id for area in layout.areas],
            [area.name for area in layout.areas],
            [area.category for area in layout.areas],
            [area.capacity for area in layout.areas],
        )
        await connected.execute(_SQL["announce_event"], event_id)
        return True


# --- Rows -------------------------------------------------------------------------------------------------------------

_PRICES: Final = msgspec.json.Decoder(tuple[Price, ...])
_AREAS: Final = msgspec.json.Decoder(tuple[EventArea, ...])


async def _load(connected: Connection, event_id: str) -> Event:
    row = await connected.fetchrow(_SQL["load_event"], event_id) if values.is_id(event_id) else None
    if row is None:
        raise NotFound("There is no such event.")
    return _event(row)


async def _lock(connected: Connection, event_id: str) -> Event:
    if values.is_id(event_id):
        await connected.execute(_SQL["lock_event"], event_id)
    return await _load(connected, event_id)


async def _write_prices(connected: Connection, event_id: str, prices: Sequence[Price]) -> None:
    await connected.execute(
        _SQL["write_prices"],
        event_id,
        [price.category for price in prices],
        [price.type for price in prices],
        [price.label for price in prices],
        [price.amount for price in prices],
        [price.fee for price in prices],
        [price.tax_rate for price in prices],
    )


def _event(row: asyncpg.Record) -> Event:
    fields: dict[str, Any] = dict(row)
    return Event(
        group=fields.pop("group_id"),
        limits=SaleLimits(**{name: fields.pop(name) for name in SaleLimits.__struct_fields__}),
        prices=_PRICES.decode(fields.pop("prices")),
        areas=_AREAS.decode(fields.pop("areas")),
        **fields,
    )


# --- Decisions --------------------------------------------------------------------------------------------------------


def _candidates(draft: NewEvent, seed: str | None) -> list[str]:
    if draft.id is not None:
        return [draft.id]
    made = events.slug(draft.name, draft.starts_at)
    if seed is not None:
        return [f"{made}-{seed[:8]}"]
    return [made, *(f"{made}-{secrets.token_hex(3)}" for _ in range(_SLUG_TRIES))]


def _apply(event: Event, changes: EventChanges) -> Event:
    given = {
        name: value
        for name in ("name", "venue", "starts_at", "on_sale_at")
        if (value := getattr(changes, name)) is not UNSET
    }
    if changes.prices is not UNSET:
        given["prices"] = normal_prices(changes.prices)
    if changes.limits is not UNSET:
        set_limits = {k: v for k, v in msgspec.structs.asdict(changes.limits).items() if v is not UNSET}
        given["limits"] = msgspec.structs.replace(event.limits, **set_limits)
    return msgspec.structs.replace(event, **given)


def _illegal_move(state: EventState, target: EventState) -> Refused | Conflict:
    if state == "closed":
        return Refused("sale_closed", "The sale is closed, and a closed sale stays closed.")
    return Conflict(f"An event that is {state} cannot become {target}.")


# --- Cursors ----------------------------------------------------------------------------------------------------------


def _write_cursor(event: Event) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((event.starts_at, event.id))).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        starts_at, event_id = msgspec.json.decode(data, type=tuple[events.Moment, events.Id])
        if events.check_times(starts_at, None):
            raise ValueError("near the ends of the calendar the driver cannot convert zones")
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        wrong = Violation("cursor", "is none of ours; take it from `next` of the page before")
        raise InvalidInput("The cursor cannot be used.", errors=(wrong,)) from error
    return starts_at, event_id
