"""The bodies of REST requests and answers that no other room has a type for."""

from typing import Annotated

import msgspec
from msgspec import Meta

from lml_live import limits, values
from lml_live.pricing.blocks import BlockKind
from lml_live.pricing.events import Id, Name, PublicEvent

SeatId = Annotated[str, Meta(pattern=values.SEAT_ID_PATTERN, max_length=64)]
PlaceCount = Annotated[int, Meta(ge=1, le=limits.AREA_CAPACITY_MAX)]


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /sessions`."""

    email: Annotated[str, Meta(min_length=1, max_length=320)]
    password: Annotated[str, Meta(min_length=1, max_length=limits.PASSWORD_CHARS_MAX)]


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
