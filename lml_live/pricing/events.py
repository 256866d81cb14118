"""What an event is, and the rules for making and changing one. Pure.

An event is one performance sold on one layout version (contract, section 1). `catalogue` keeps events in PostgreSQL.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final, Literal, Protocol

import msgspec
from msgspec import UNSET, Meta, UnsetType

from lml_live import limits, values
from lml_live.errors import Violation
from lml_live.pricing.currencies import CURRENCIES, check_steps
from lml_live.pricing.quote import Price, PriceList, check_prices

EventState = Literal["draft", "open", "paused", "closed"]
EventAct = Literal["open", "pause", "close"]

TARGET: Final[dict[EventAct, EventState]] = {"open": "open", "pause": "paused", "close": "closed"}
MOVES: Final[dict[EventState, frozenset[EventState]]] = {
    "draft": frozenset({"open"}),
    "open": frozenset({"paused", "closed"}),
    "paused": frozenset({"open", "closed"}),
    "closed": frozenset(),  # held seats were given back and buyers were told: a closed sale stays closed
}

Id = Annotated[str, Meta(pattern=values.ID_PATTERN, max_length=64)]
Name = Annotated[str, Meta(min_length=1, max_length=limits.EVENT_NAME_CHARS_MAX, pattern=values.TEXT_PATTERN)]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339 with a zone, such as 2026-05-01T19:30:00Z.")]
TickMs = Annotated[int, Meta(ge=limits.TICK_MS_MIN, le=limits.TICK_MS_MAX)]
MaxSeats = Annotated[int, Meta(ge=1, le=limits.HOLD_SEATS_MAX)]
HoldSeconds = Annotated[int, Meta(ge=limits.HOLD_SECONDS_MIN, le=limits.HOLD_SECONDS_MAX)]
Extensions = Annotated[int, Meta(ge=0, le=limits.EXTENSIONS_MAX)]
OrphanRule = Literal["off", "strict", "lenient"]
ExpiredHolds = Annotated[int, Meta(ge=0, le=limits.EXPIRED_HOLDS_MAX)]
CooldownSeconds = Annotated[int, Meta(ge=0, le=limits.COOLDOWN_SECONDS_MAX)]
ReholdSeconds = Annotated[int, Meta(ge=0, le=limits.REHOLD_SECONDS_MAX)]
JitterSeconds = Annotated[int, Meta(ge=0, le=limits.RELEASE_JITTER_SECONDS_MAX)]
AddressHolds = Annotated[int, Meta(ge=0, le=limits.ADDRESS_HOLDS_MAX)]
AddressSeats = Annotated[int, Meta(ge=0, le=limits.ADDRESS_SEATS_MAX)]
LifetimeSeconds = Annotated[int, Meta(ge=limits.HOLD_SECONDS_MIN, le=limits.LIFETIME_SECONDS_MAX)]
Prices = Annotated[tuple[Price, ...], Meta(min_length=1, max_length=limits.EVENT_PRICES_MAX)]


# --- What callers say -------------------------------------------------------------------------------------------------


class LayoutChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deployed layout; without `version` its newest deployed version."""

    id: Id
    version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None


class SaleLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The published rules: seats a holder may hold, seconds a hold lasts, how often it may be put off, and its end;
    whether a hold may leave a single seat alone (`lenient`: only where its row offers nothing else).

    Of those that follow, 0 switches one off. Who let `expired_holds` holds expire within a hold's lifetime makes none
    for `cooldown_seconds`, twice as long with each further one, up to ten minutes. Who lost a seat so does not get it
    again for `rehold_seconds`; it is for sale within `release_jitter_seconds`, nobody knows when. One network address
    has at most `address_holds` live holds, with `address_seats` seats and places.
    """

    max_seats: MaxSeats = 8
    hold_seconds: HoldSeconds = 300
    extensions: Extensions = 2
    lifetime_seconds: LifetimeSeconds = 1800
    orphan_rule: OrphanRule = "off"
    expired_holds: ExpiredHolds = 3
    cooldown_seconds: CooldownSeconds = 120
    rehold_seconds: ReholdSeconds = 60
    release_jitter_seconds: JitterSeconds = 0
    address_holds: AddressHolds = 100
    address_seats: AddressSeats = 500


class NewEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /events`. Without `on_sale_at` the sale may start at once; `group` is its id by default."""

    id: Id | None = None
    group: Id | None = None
    name: Name
    venue: Name
    starts_at: Moment
    on_sale_at: Moment | None = None
    currency: Annotated[str, Meta(pattern=values.CURRENCY_PATTERN, max_length=3)]
    layout: LayoutChoice
    prices: Prices
    limits: SaleLimits = SaleLimits()
    tick_ms: TickMs | None = None


class LimitChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The limits to be changed; those left out stay."""

    max_seats: MaxSeats | UnsetType = UNSET
    hold_seconds: HoldSeconds | UnsetType = UNSET
    extensions: Extensions | UnsetType = UNSET
    lifetime_seconds: LifetimeSeconds | UnsetType = UNSET
    orphan_rule: OrphanRule | UnsetType = UNSET
    expired_holds: ExpiredHolds | UnsetType = UNSET
    cooldown_seconds: CooldownSeconds | UnsetType = UNSET
    rehold_seconds: ReholdSeconds | UnsetType = UNSET
    release_jitter_seconds: JitterSeconds | UnsetType = UNSET
    address_holds: AddressHolds | UnsetType = UNSET
    address_seats: AddressSeats | UnsetType = UNSET


class EventChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `PATCH /events/{event}`: what is left out stays. `prices` replaces the whole list."""

    name: Name | UnsetType = UNSET
    venue: Name | UnsetType = UNSET
    starts_at: Moment | UnsetType = UNSET
    on_sale_at: Moment | UnsetType = UNSET
    prices: Prices | UnsetType = UNSET
    limits: LimitChanges | UnsetType = UNSET


# --- What is --------------------------------------------------------------------------------------------------------


class EventArea(msgspec.Struct, frozen=True):
    """A standing area of an event: sold by quantity."""

    area_id: str
    name: str
    category: str
    capacity: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """All of an event's row, its prices and areas.

    `number` stands at the head of hold ids. `revision` rises with state, on-sale time and limits and is part of the
    book's stamp; `epoch` is 0 until an inventory was built; `tick_ms` None means the server's setting.
    """

    id: str
    number: int
    group: str
    name: str
    venue: str
    starts_at: datetime
    on_sale_at: datetime
    state: EventState
    currency: str
    layout_id: str
    layout_version: int
    layout_hash: str
    seat_count: int
    limits: SaleLimits
    tick_ms: int | None
    revision: int
    prices_version: int
    epoch: int
    redis_run_id: str | None
    prices: tuple[Price, ...]
    areas: tuple[EventArea, ...]

    def price_list(self) -> PriceList:
        """The prices as `quote.PriceTable` takes them."""
        return PriceList(self.currency, self.prices_version, self.prices)


class PublicLayout(msgspec.Struct, frozen=True):
    """Which layout version an event is sold on, and where its bytes are."""

    id: str
    version: int
    hash: str
    url: str
    seat_count: int


class PublicEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as `GET /events/{event}` shows it (contract, section 2)."""

    id: str
    group: str
    name: str
    venue: str
    starts_at: datetime
    on_sale_at: datetime
    state: EventState
    currency: str
    prices: tuple[Price, ...]
    areas: tuple[EventArea, ...]
    limits: SaleLimits
    layout: PublicLayout


def public_event(event: Event, layout_url: str) -> PublicEvent:
    """What everybody may read of an event; `layout_url` is where the layout's bytes are."""
    return PublicEvent(
        id=event.id,
        group=event.group,
        name=event.name,
        venue=event.venue,
        starts_at=event.starts_at,
        on_sale_at=event.on_sale_at,
        state=event.state,
        currency=event.currency,
        prices=event.prices,
        areas=event.areas,
        limits=event.limits,
        layout=PublicLayout(event.layout_id, event.layout_version, event.layout_hash, layout_url, event.seat_count),
    )


# --- Rules ----------------------------------------------------------------------------------------------------------


class AreaFacts(Protocol):
    """What a layout tells of a standing area."""

    @property
    def area_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def capacity(self) -> int: ...


def check_new_event(draft: NewEvent, categories: Iterable[str]) -> tuple[Violation, ...]:
    """Everything that is wrong with a new event on a layout with these categories (of seats and areas)."""
    found = list(check_prices(draft.prices, categories))
    if draft.currency not in CURRENCIES:
        found.append(Violation("currency", "is no currency of ISO 4217, such as EUR"))
    found += check_steps(draft.prices, draft.currency)
    found += check_times(draft.starts_at, draft.on_sale_at)
    found += check_limits(draft.limits)
    return tuple(found)


def check_times(starts_at: datetime, on_sale_at: datetime | None) -> tuple[Violation, ...]:
    """Times far off are typing errors, and a sale that starts after the performance sells nothing."""
    found = [
        Violation(path, f"is in the year {moment.year}; a year from 2000 to 2199 is expected")
        for path, moment in (("starts_at", starts_at), ("on_sale_at", on_sale_at))
        if moment is not None and not 2000 <= moment.year <= 2199
    ]
    if not found and on_sale_at is not None and on_sale_at > starts_at:
        found.append(Violation("on_sale_at", "is after starts_at; the sale starts before the performance"))
    return tuple(found)


def check_limits(rules: SaleLimits) -> tuple[Violation, ...]:
    """A hold cannot last longer than its lifetime."""
    if rules.lifetime_seconds < rules.hold_seconds:
        return (Violation("limits.lifetime_seconds", "is shorter than hold_seconds; a hold would outlive itself"),)
    return ()


def slug(name: str, starts_at: datetime) -> str:
    """A readable id from a name and its day, such as `die-zauberfloete-2026-05-01`; at most 52 characters."""
    spelled = name.translate(_TRANSLITERATION)
    ascii_only = unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_only.lower()).strip("-")[:40].strip("-")
    return f"{words or 'event'}-{starts_at:%Y-%m-%d}"


_TRANSLITERATION: Final = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ø": "o", "Ø": "O", "&": " and "}
)
