"""The holder's acts over REST, for those who cannot keep a socket; and what everybody may read of a live event.

`Idempotency-Key` is the `key` of the live socket here: a retry answers the hold as it is now (contract, section 3).
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from msgspec import UNSET

from lml_live import limits, values
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.holding import Holding
from lml_live.clock import to_datetime
from lml_live.errors import Forbidden, NotFound, Unauthorized
from lml_live.gateway import wire
from lml_live.gateway.bodies import Availability, HoldBestBody, HoldBody, HoldChangeBody, NewHolder
from lml_live.gateway.callers import CLERKS, bearer_token, is_staff_token, require_staff
from lml_live.gateway.codings import prefers_gzip
from lml_live.gateway.connection import Doorman, serve_socket
from lml_live.gateway.desk import Desk, show_areas
from lml_live.gateway.hold_answers import answer_hold, indexes_of, refused
from lml_live.gateway.idempotency import HEADER, read_key
from lml_live.gateway.live import Live
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import read_body
from lml_live.gateway.session import Visitor
from lml_live.gateway.tokens import HolderToken
from lml_live.gateway.whence import AddressOf, RequestBuckets
from lml_live.guard.partners import Partners
from lml_live.guard.staff import StaffDesk
from lml_live.infra.objects import IMMUTABLE
from lml_live.inventory.answers import Refusal
from lml_live.inventory.records import BOX_OFFICE, HOUSE_CHANNELS, WEB
from lml_live.inventory.rooms import PUBLIC, STAFF, view_of
from lml_live.venues.edge import zip_layout
from lml_live.venues.links import Links

_REFUSED: Final = (
    "unauthorized",
    "forbidden",
    "not_found",
    "seat_taken",
    "cooling_down",
    "unknown_seat",
    "unknown_area",
    "area_full",
    "limit_exceeded",
    "orphan_seat",
    "hold_not_found",
    "hold_expired",
    "hold_in_checkout",
    "sale_not_open",
    "sale_paused",
    "sale_closed",
    "idempotency_mismatch",
    "rate_limited",
)

OPERATIONS: Final = (
    Operation(
        name="live",
        method="GET",
        path=f"{API}/events/{{event}}/live",
        who="anyone",
        summary="The live socket (a websocket; see /asyncapi.json). A foreign Origin is refused.",
        answers={101: None},
        codes=("bad_request", "not_found", "forbidden", "rate_limited"),
    ),
    Operation(
        name="read_availability",
        method="GET",
        path=f"{API}/events/{{event}}/availability",
        who="anyone",
        summary="The seat map in the caller's view, for clients that poll: 2 bits a seat, base64, as in `welcome`.",
        answers={200: Availability},
        codes=("not_found", "unauthorized"),
    ),
    Operation(
        name="read_layout",
        method="GET",
        path=f"{API}/layouts/{{layout}}/{{hash}}",
        who="anyone",
        summary="A layout's immutable bytes, from the database of layouts; the CDN has the same.",
        answers={200: None},
        codes=("not_found",),
    ),
    Operation(
        name="create_holder",
        method="POST",
        path=f"{API}/holders",
        who="anyone",
        summary="A new anonymous holder; with a holder's token, a fresh one; for clerks and partners, a customer.",
        answers={201: NewHolder},
        codes=("unauthorized", "forbidden", "rate_limited"),
    ),
    Operation(
        name="hold_seats",
        method="POST",
        path=f"{API}/events/{{event}}/holds",
        who="holder",
        summary="Take seats and area places: all of them, or nothing.",
        body=HoldBody,
        answers={201: wire.Hold},
        codes=_REFUSED,
        idempotent=True,
    ),
    Operation(
        name="hold_best",
        method="POST",
        path=f"{API}/events/{{event}}/holds/best",
        who="holder",
        summary="Take the best free seats for a wish, and area places with them: all of them, or nothing.",
        body=HoldBestBody,
        answers={201: wire.Hold},
        codes=(*_REFUSED, "no_best_seats"),
        idempotent=True,
    ),
    Operation(
        name="read_hold",
        method="GET",
        path=f"{API}/holds/{{hold}}",
        who="holder",
        summary="One of the caller's holds.",
        answers={200: wire.Hold},
        codes=("unauthorized", "hold_not_found", "hold_expired"),
    ),
    Operation(
        name="change_hold",
        method="PATCH",
        path=f"{API}/holds/{{hold}}",
        who="holder",
        summary="Add to a hold, release part of it, or both in one step; 204 when nothing is left.",
        body=HoldChangeBody,
        answers={200: wire.Hold, 204: None},
        codes=_REFUSED,
        idempotent="optional",
    ),
    Operation(
        name="release_hold",
        method="DELETE",
        path=f"{API}/holds/{{hold}}",
        who="holder",
        summary="Give a hold back.",
        answers={204: None},
        codes=("unauthorized", "forbidden", "hold_not_found", "hold_expired", "hold_in_checkout"),
    ),
    Operation(
        name="extend_hold",
        method="POST",
        path=f"{API}/holds/{{hold}}/extend",
        who="holder",
        summary="Put a hold's deadline off once more.",
        answers={200: wire.Hold},
        codes=_REFUSED,
        idempotent="optional",
    ),
)


@dataclass(frozen=True)
class HolderServices:
    """What the handlers need."""

    live: Live
    layouts: DeployedLayouts
    doorman: Doorman
    address_of: AddressOf
    desk: StaffDesk
    holding: Holding
    partners: Partners
    links: Links
    buckets: RequestBuckets = field(default_factory=RequestBuckets)

    @cached_property
    def cache(self) -> "LayoutCache":
        """The layouts that this worker keeps at hand, for all that serves them."""
        return LayoutCache(self.layouts)

    async def caller(self, request: web.Request) -> str:
        """The holder who calls. Raises `Unauthorized`, and `Overloaded` where they ask too often."""
        return (await self.buyer(request)).holder

    async def buyer(self, request: web.Request) -> HolderToken:
        """The same, with the sales channel that they buy through."""
        token, now_ms = bearer_token(request), self.live.clock()
        read = self.live.tokens.read(token, now_ms) if token is not None else None
        if read is None:
            raise Unauthorized("This needs a holder's token: POST /holders gives one.")
        self.buckets.take(f"holder {read.holder}", now_ms)
        await self.live.require_session(read)
        return read

    async def visitor(self, request: web.Request) -> Visitor:
        """Who looks at an event, whatever their token. Raises `Unauthorized` for one that is not good."""
        token = bearer_token(request)
        if token is None:
            return Visitor()
        if not token.startswith((values.STAFF_TOKEN_PREFIX, values.PARTNER_KEY_PREFIX)):
            read = self.live.tokens.read(token, self.live.clock())
            found = None if read is None else Visitor(channel=read.channel)
        else:
            found = await self.live.identify(token)
        if found is None:
            raise Unauthorized("This token is not valid.")
        return found


class LayoutCache:
    """The latest layouts served, as they are and gzipped, at most `LAYOUT_CACHE_BYTES_MAX` together."""

    def __init__(self, layouts: DeployedLayouts) -> None:
        self._layouts = layouts
        self._kept: OrderedDict[tuple[str, str], tuple[bytes, bytes]] = OrderedDict()
        self._size = 0
        self._lock = asyncio.Lock()

    async def find(self, layout: str, layout_hash: str) -> tuple[bytes, bytes] | None:
        """(plain, gzipped) bytes of a published layout."""
        key = (layout, layout_hash)
        if key not in self._kept:
            async with self._lock:  # one at a time: a crowd that comes for one layout reads it once
                if key not in self._kept:
                    data = await self._layouts.load_bytes(layout, layout_hash)
                    if data is None:
                        return None
                    self._keep(key, data, await asyncio.to_thread(zip_layout, data))
        self._kept.move_to_end(key)
        return self._kept[key]

    def _keep(self, key: tuple[str, str], data: bytes, zipped: bytes) -> None:
        self._kept[key] = (data, zipped)
        self._size += len(data) + len(zipped)
        while self._size > limits.LAYOUT_CACHE_BYTES_MAX and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._size -= len(old[0]) + len(old[1])


class StoredBytes(Payload):
    """Bytes that are written behind the head of their answer: joined to it they would be copied, all five megabytes."""

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        writer.send_headers()
        await writer.write(self._value)


def routes(services: HolderServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    live = services.live
    acts, clock, tokens = live.acts, live.clock, live.tokens
    layouts = services.cache
    caller, buckets = services.caller, services.buckets

    async def socket(request: web.Request) -> web.StreamResponse:
        address = services.address_of(request)
        return await serve_socket(request, live, services.doorman, address, services.address_of.mark(request))

    async def read_availability(request: web.Request) -> web.Response:
        visitor = await services.visitor(request)
        view = view_of(visitor.channel) if visitor.staff is None else STAFF
        audience = await live.audience(request.match_info["event"], view)
        room = audience.room
        tag = f"{room.epoch}-{room.sent_seq}" if view == PUBLIC else f"{room.epoch}-{room.sent_seq}-{view}"
        cached = "no-cache" if view == PUBLIC else "private, no-cache"
        headers = {"ETag": f'"{tag}"', "Cache-Control": cached, "Vary": "Authorization"}
        if _has(request, tag):
            return web.Response(status=304, headers=headers)
        body = Availability(
            epoch=room.epoch_text,
            seq=room.sent_seq,
            seats=audience.snapshot(wire.JSON, deflate=False),
            areas=show_areas(room.areas(view)),
            now=to_datetime(clock()),
            details=wire.JSON.raw(room.bytes_shown) if view == STAFF else UNSET,
            channels={name: known.number for name, known in room.sale.channels.items()} if view == STAFF else {},
        )
        return _json(body, headers=headers)

    async def read_layout(request: web.Request) -> web.Response:
        layout, layout_hash = request.match_info["layout"], request.match_info["hash"]
        found = None
        if values.is_id(layout) and values.is_seat_id(layout_hash):
            found = await layouts.find(layout, layout_hash)
        if found is None:
            raise NotFound("There is no such layout.")
        private = services.links.is_private(layout)
        if private and services.links.redirects:
            location = services.links.sign(layout, layout_hash).url
            # Pages of other houses follow it only where it, too, says that they may.
            headers = {"Location": location, "Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"}
            return web.Response(status=307, headers=headers)
        zipped = prefers_gzip(request.headers.getall("Accept-Encoding", ()))
        tag = f"{layout_hash}-gzip" if zipped else layout_hash
        headers = {
            "ETag": f'"{tag}"',
            "Cache-Control": IMMUTABLE.replace("public", "private") if private else IMMUTABLE,
            "Vary": "Accept-Encoding",
            "Access-Control-Allow-Origin": "*",
            "X-Content-Type-Options": "nosniff",
        }
        if _has(request, tag):
            return web.Response(status=304, headers=headers)
        if zipped:
            headers["Content-Encoding"] = "gzip"
        headers["Content-Type"] = "application/json"
        return web.Response(body=StoredBytes(found[zipped]), headers=headers)

    async def create_holder(request: web.Request) -> web.Response:
        token = bearer_token(request)
        now_ms = clock()
        channel, session = WEB, ""
        if is_staff_token(token):
            staff = await require_staff(request, services.desk, *CLERKS)
            holder, channel = await services.holding.add_customer(staff.id), BOX_OFFICE
        elif token is not None and token.startswith(values.PARTNER_KEY_PREFIX):
            partner = await services.partners.who(token)
            if partner is None:
                raise Unauthorized("This key is not valid.")
            buckets.take(f"partner {partner.id}", now_ms)
            holder, channel = values.new_id("h"), partner.channel
        elif token is not None:
            read = tokens.read(token, now_ms)
            if read is None:
                raise Unauthorized("This token is not valid.")
            await live.require_session(read)
            holder, channel, session = read.holder, read.channel, read.session
            if channel not in HOUSE_CHANNELS and not await live.sells(channel):
                raise Forbidden("Who gave this token sells here no longer: it is good until it ends.")
        else:
            address = services.address_of.capped(request)
            if address is not None:
                buckets.take(f"address {address}", now_ms)
            holder = values.new_id("h")
        answer = NewHolder(holder, tokens.issue(holder, now_ms, channel, session))
        return _json(answer, status=201, headers={"Cache-Control": "no-store"})

    async def hold_seats(request: web.Request) -> web.Response:
        buyer, key = await services.buyer(request), read_key(request)
        body = await read_body(request, HoldBody)
        desk = await _public_desk(request.match_info["event"])
        seats = indexes_of(desk, body.seats)
        if isinstance(seats, Refusal):
            return refused(desk, seats)
        outcome = await acts.hold(
            *(desk, buyer.holder, seats, body.areas),
            key=key,
            through=buyer.channel,
            address=services.address_of.mark(request),
        )
        return answer_hold(desk, outcome, status=201)

    async def hold_best(request: web.Request) -> web.Response:
        buyer, key = await services.buyer(request), read_key(request)
        body = await read_body(request, HoldBestBody)
        desk = await _public_desk(request.match_info["event"])
        address = services.address_of.mark(request)
        outcome = await live.best.hold_best(desk, buyer.holder, body, key=key, through=buyer.channel, address=address)
        return answer_hold(desk, outcome, status=201)

    async def _public_desk(event: str) -> Desk:
        desk = await acts.desks.desk(event)
        if desk.event.state == "draft":
            raise NotFound("There is no such event.")
        return desk

    async def read_hold(request: web.Request) -> web.Response:
        holder, hold = await caller(request), request.match_info["hold"]
        desk = await acts.desk_of_hold(hold)
        return answer_hold(desk, await acts.read(desk, holder, hold))

    async def change_hold(request: web.Request) -> web.Response:
        holder, hold = await caller(request), request.match_info["hold"]
        body = await read_body(request, HoldChangeBody)
        key = read_key(request) if HEADER in request.headers else None
        desk = await acts.desk_of_hold(hold)
        add = indexes_of(desk, body.add.seats)
        release = indexes_of(desk, body.release.seats)
        for wrong in (add, release):
            if isinstance(wrong, Refusal):
                return refused(desk, wrong)
        assert not isinstance(add, Refusal)
        assert not isinstance(release, Refusal)
        outcome = await acts.change(
            *(desk, holder, hold, (add, body.add.areas), (release, body.release.areas)),
            key=key,
            address=services.address_of.mark(request),
        )
        return answer_hold(desk, outcome)

    async def release_hold(request: web.Request) -> web.Response:
        holder, hold = await caller(request), request.match_info["hold"]
        desk = await acts.desk_of_hold(hold)
        return answer_hold(desk, await acts.release(desk, holder, hold, (), {}))

    async def extend_hold(request: web.Request) -> web.Response:
        holder, hold = await caller(request), request.match_info["hold"]
        key = read_key(request) if HEADER in request.headers else None
        desk = await acts.desk_of_hold(hold)
        return answer_hold(desk, await acts.extend(desk, holder, hold, key=key))

    return bind(
        OPERATIONS,
        {
            "live": socket,
            "read_availability": read_availability,
            "read_layout": read_layout,
            "create_holder": create_holder,
            "hold_seats": hold_seats,
            "hold_best": hold_best,
            "read_hold": read_hold,
            "change_hold": change_hold,
            "release_hold": release_hold,
            "extend_hold": extend_hold,
        },
    )


def _json(body: msgspec.Struct, *, status: int = 200, headers: dict[str, str]) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers)


def _has(request: web.Request, tag: str) -> bool:
    """Whether the client has this version already."""
    return any(known.value in (tag, "*") for known in request.if_none_match or ())
