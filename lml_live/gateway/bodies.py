"""The bodies of REST requests and answers that no other room has a type for."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from lml_live import limits, values
from lml_live.backoffice.history import SeatDetails
from lml_live.backoffice.holding import CustomerHold
from lml_live.backoffice.reports import ChannelReport, StatusChange
from lml_live.errors import Violation
from lml_live.gateway import wire
from lml_live.guard.staff import Role
from lml_live.pricing.blocks import BlockKind
from lml_live.pricing.events import Id, Moment, Name, PublicEvent

SeatId = Annotated[str, Meta(pattern=values.SEAT_ID_PATTERN, max_length=64)]
PlaceCount = Annotated[int, Meta(ge=1, le=limits.AREA_CAPACITY_MAX)]


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /sessions`. `as` says who signs in where one address is a buyer's and of the staff, too;
    absent, it is staff."""

    email: Annotated[str, Meta(min_length=1, max_length=320)]
    password: Annotated[str, Meta(min_length=1, max_length=limits.PASSWORD_CHARS_MAX)]
    role: Literal["buyer", "staff"] | UnsetType = msgspec.field(name="as", default=UNSET)


class Invite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /accounts`."""

    email: Annotated[str, Meta(min_length=1, max_length=320)]


class AcceptInvitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /accounts/password`. `invitation` is what stands behind `#` in the mail's link."""

    invitation: Annotated[str, Meta(min_length=1, max_length=256)]
    password: Annotated[str, Meta(min_length=limits.PASSWORD_CHARS_MIN, max_length=limits.PASSWORD_CHARS_MAX)]


class KeptHold(msgspec.Struct, frozen=True):
    """A hold that stays the browser's, and why: `limit_exceeded`, `hold_expired`, or (for now) `hold_in_checkout`."""

    hold: str
    code: str


class HandedOver(msgspec.Struct, frozen=True):
    """What became of the holds and bookings of who signed in. Not `complete`: the rest follows by itself."""

    holds: tuple[str, ...] = ()
    kept: tuple[KeptHold, ...] = ()
    bookings: tuple[str, ...] = ()
    complete: bool = True


class SessionBegun(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to `POST /sessions`; the token is told this once. A buyer has no roles, but a holder.

    `handed_over` is there where the call had the token of an anonymous holder.
    """

    token: str
    roles: tuple[Role, ...]
    expires_at: datetime
    email: str | None = None
    holder: str | None = None
    handed_over: HandedOver | None = None


class EventList(msgspec.Struct, frozen=True):
    """A page of `GET /events`; `next` is the cursor of the page after it, null at the end."""

    items: tuple[PublicEvent, ...]
    next: str | None


class BlockRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /events/{event}/seats/block`.

    `runs` are pairs of seat ids, first and last of neighbours in canonical order; `areas` counts places per area.
    """

    seats: Annotated[tuple[SeatId, ...], Meta(max_length=limits.BLOCK_SEATS_MAX)] = ()
    runs: Annotated[tuple[tuple[SeatId, SeatId], ...], Meta(max_length=limits.LAYOUT_SEATS_MAX)] = ()
    areas: Annotated[dict[Id, PlaceCount], Meta(max_length=limits.LAYOUT_AREAS_MAX)] = {}
    kind: BlockKind
    reason: Name


class UnblockRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /events/{event}/seats/unblock`; `kind` says which places of areas are meant."""

    seats: Annotated[tuple[SeatId, ...], Meta(max_length=limits.BLOCK_SEATS_MAX)] = ()
    runs: Annotated[tuple[tuple[SeatId, SeatId], ...], Meta(max_length=limits.LAYOUT_SEATS_MAX)] = ()
    areas: Annotated[dict[Id, PlaceCount], Meta(max_length=limits.LAYOUT_AREAS_MAX)] = {}
    kind: BlockKind = "house"
    reason: Name | None = None


class AssignRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /events/{event}/channels`: `web`, `box-office`, a partner's channel, or `open` for all.

    `areas` says how many places the channel may count on from now on, 0 for none. All that it has becomes everybody's
    at `opens_at`; null: when it is opened; absent: as was planned.
    """

    channel: Annotated[Id, Meta(description="`web`, `box-office`, a partner's, or `open`.")]
    seats: Annotated[tuple[SeatId, ...], Meta(max_length=limits.BLOCK_SEATS_MAX)] = ()
    runs: Annotated[tuple[tuple[SeatId, SeatId], ...], Meta(max_length=limits.LAYOUT_SEATS_MAX)] = ()
    areas: Annotated[
        dict[Id, Annotated[int, Meta(ge=0, le=limits.AREA_CAPACITY_MAX)]], Meta(max_length=limits.LAYOUT_AREAS_MAX)
    ] = {}
    opens_at: Moment | UnsetType | None = UNSET
    reason: Name


class ReasonBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is done."""

    reason: Name


class ChannelList(msgspec.Struct, frozen=True):
    """The channels of an event; all of them come in one page."""

    items: tuple[ChannelReport, ...]
    next: str | None


VersionNumber = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class DeployRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /layouts/{layout}/deploy`; without `version` the latest published one is meant."""

    version: VersionNumber | None = None


class LayoutShown(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a layout. `place_count` counts seats and standing places together."""

    id: str
    version: int
    state: Literal["draft", "published", "deployed", "retired"]
    hash: str
    name: str
    type: str
    seat_count: int
    place_count: int
    saved_at: datetime
    published_at: datetime | None
    deployed_at: datetime | None
    retired_at: datetime | None = None
    damaged_at: datetime | None = None
    """When what is stored was seen not to have its hash: it is not deployed, and no event is made on it."""
    warnings: tuple[Violation, ...] = ()
    """What was odd in a draft that was just saved."""


class VersionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names a version of a layout."""

    version: VersionNumber


class LayoutList(msgspec.Struct, frozen=True):
    """Versions: of one layout all in one page, or the latest of every layout, page by page."""

    items: tuple[LayoutShown, ...]
    next: str | None


class LayoutReport(msgspec.Struct, frozen=True):
    """What checks have found in a layout. The lists end at a bound, the counts count all."""

    valid: bool
    error_count: int
    warning_count: int
    seat_count: int
    place_count: int
    errors: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()


class BackupShown(msgspec.Struct, frozen=True, kw_only=True):
    """A backup of a layout: one version's content, zipped; `size_bytes` is of the zipped bytes."""

    id: str
    layout: str
    version: int
    hash: str
    reason: Literal["publish", "deploy", "asked", "restore", "missing"]
    """Before which step it was made, or why else: `missing` is of a version that was in use and had none."""
    taken_at: datetime
    size_bytes: int


class BackupList(msgspec.Struct, frozen=True):
    """Backups of a layout, the newest first."""

    items: tuple[BackupShown, ...]
    next: str | None


class BackupRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /layouts/{layout}/backups`; without `version` the latest one is meant."""

    version: VersionNumber | None = None


class RestoreRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which backup becomes the draft; without `backup` the newest that is whole."""

    backup: Annotated[str, Meta(pattern=values.ID_PATTERN)] | None = None
    replace: bool = False
    """Whether a draft that is there may give way."""


class PushRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which deployed version goes to the edge, without `version` the newest; with `dry_run` nothing is done."""

    version: VersionNumber | None = None
    dry_run: bool = False


class RollbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With `dry_run` nothing is done."""

    dry_run: bool = False


class EdgeStep(msgspec.Struct, frozen=True):
    """One step: in which region (`cdn` is CloudFront), what, with which object. `skipped` is the manifest of a retired
    version that a rollback passes over."""

    region: str
    did: Literal["present", "uploaded", "skipped", "moved", "invalidated"]
    key: str
    size_bytes: int


class EdgeSteps(msgspec.Struct, frozen=True):
    """What was done at the edge, or would be."""

    dry_run: bool
    steps: tuple[EdgeStep, ...]


class LinkShown(msgspec.Struct, frozen=True):
    """Where a private layout can be read until then; the cookies open all of its layout at the CDN."""

    url: str
    expires_at: datetime
    cookies: dict[str, str]


class SeatIdPick(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A seat with the price type it is wanted at."""

    seat_id: SeatId
    type: wire.PriceType


class HoldBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /events/{event}/holds`."""

    seats: Annotated[list[SeatId | SeatIdPick], Meta(max_length=limits.HOLD_SEATS_MAX)] = []
    areas: wire.AreaWishes = {}


class HoldBestBody(wire.BestWish, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /events/{event}/holds/best`: what is wanted, where the server chooses the seats.

    `quantity` counts all seats, among them `accessible` places and `companions` seats beside those. `max_price` is the
    most that one seat may cost, fee included, in minor units.
    """


class HoldChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `PATCH /holds/{hold}`: what to add, what to release, or both in one step."""

    add: HoldBody = HoldBody()
    release: HoldBody = HoldBody()


class EventWishBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is wanted of one of several events."""

    event: Id
    seats: Annotated[list[SeatId | SeatIdPick], Meta(max_length=limits.HOLD_SEATS_MAX)] = []
    areas: wire.AreaWishes = {}


class GroupHoldBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /groups/{group}/holds`.

    An event named by its id alone is wanted with `seats` and `areas`: one choice for a season, whose events must be
    sold on one layout version then. Without `events` all of the group are meant that are on sale or paused.
    """

    events: Annotated[list[Id | EventWishBody], Meta(max_length=limits.EVENTS_PER_CALL_MAX)] = []
    seats: Annotated[list[SeatId | SeatIdPick], Meta(max_length=limits.HOLD_SEATS_MAX)] = []
    areas: wire.AreaWishes = {}


class GroupMoveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /groups/{group}/holds/move`: what becomes of `holds`, at most one an event.

    `events`, `seats` and `areas` as for taking; a hold of an event that is not named ends.
    """

    holds: wire.HoldIds
    events: Annotated[list[Id | EventWishBody], Meta(min_length=1, max_length=limits.EVENTS_PER_CALL_MAX)]
    seats: Annotated[list[SeatId | SeatIdPick], Meta(max_length=limits.HOLD_SEATS_MAX)] = []
    areas: wire.AreaWishes = {}


class GroupHoldIds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /groups/{group}/holds/release` and `/extend`: holds of the group, at most one an event."""

    holds: wire.HoldIds


class HoldOfEvent(msgspec.Struct, frozen=True):
    """A hold and the event that it is of."""

    event: str
    hold: wire.Hold


class HoldsOfGroup(msgspec.Struct, frozen=True):
    """Holds of one holder in several events; what they cost together, by currency."""

    group: str
    holds: tuple[HoldOfEvent, ...]
    amounts: dict[str, int]


class HoldsOfGroupPage(msgspec.Struct, frozen=True):
    """The caller's holds in a page of a group's events, by their start; `next` is null at the end."""

    items: tuple[HoldOfEvent, ...]
    next: str | None


class CustomerHoldBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /box-office/{event}/holds`: for a holder that `POST /holders` made for staff, under a name.

    `over_house` takes seats, too, that a house hold keeps back, and of an area what is missing beside the places for
    sale; killed ones never. What is released later is for sale.
    """

    holder: Id
    customer: Name
    reason: Name
    seats: Annotated[list[SeatId | SeatIdPick], Meta(max_length=limits.HOLD_SEATS_MAX)] = []
    areas: wire.AreaWishes = {}
    over_house: bool = False


class MoveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /holds/{hold}/move`: all that the hold names from then on. Staff must say why.

    With `event`, another of the same group, its holder moves it there: it ends, and a hold of that event begins.
    `over_house` takes seats, too, that a house hold keeps back; places of areas are from what is for sale.
    """

    event: Id | None = None
    seats: Annotated[list[SeatId | SeatIdPick], Meta(max_length=limits.HOLD_SEATS_MAX)] = []
    areas: wire.AreaWishes = {}
    over_house: bool = False
    reason: Name | None = None


class ReleaseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /holds/{hold}/release`."""

    reason: Name


class CustomerHoldList(msgspec.Struct, frozen=True):
    """A page of an event's holds for customers, the oldest first."""

    items: tuple[CustomerHold, ...]
    next: str | None


class StatusChangeList(msgspec.Struct, frozen=True):
    """A page of the status-change log, the oldest first."""

    items: tuple[StatusChange, ...]
    next: str | None


class SeatDetailsList(msgspec.Struct, frozen=True):
    """The seats asked for, in their order; all of them come in one page."""

    items: tuple[SeatDetails, ...]
    next: str | None


class NewHolder(msgspec.Struct, frozen=True):
    """The answer to `POST /holders`."""

    holder: str
    token: str


class Availability(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The seat map of an event now; `seats` is 2 bits a seat, base64, as in `welcome`; staff get `details`, too."""

    epoch: str
    seq: int
    seats: Annotated[msgspec.Raw, Meta(description="base64 of 2 bits a seat, seat 0 in the lowest bits")]
    areas: dict[str, wire.AreaCounts]
    now: datetime
    details: Annotated[msgspec.Raw, Meta(description="base64 of a byte a seat, as in `details`")] | UnsetType = UNSET
    channels: dict[str, int] = {}
