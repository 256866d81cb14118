"""Events over REST: everybody reads them, managers make, change, open, pause, close and block (contract, section 2)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from lml_live.backoffice.allotting import Allotting
from lml_live.backoffice.blocking import Blocking, BlockReport, Selection
from lml_live.backoffice.layout_change import LayoutChange
from lml_live.errors import NotFound
from lml_live.gateway import paging
from lml_live.gateway.bodies import BlockRequest, EventList, UnblockRequest, VersionRequest
from lml_live.gateway.callers import find_staff, require_reach, require_staff
from lml_live.gateway.idempotency import IdempotencyKeys, request_seed
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import Handler, read_body
from lml_live.guard.staff import StaffDesk
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import Event, EventAct, EventChanges, NewEvent, PublicEvent, public_event

_MANAGER_CODES: Final = ("unauthorized", "forbidden")

OPERATIONS: Final = (
    Operation(
        name="list_events",
        method="GET",
        path=f"{API}/events",
        who="anyone",
        summary="Events by start; managers see drafts too.",
        query=paging.QUERY,
        answers={200: EventList},
        codes=("invalid_message",),
    ),
    Operation(
        name="read_event",
        method="GET",
        path=f"{API}/events/{{event}}",
        who="anyone",
        summary="One event with its prices, areas, limits and layout; a draft is there for managers only.",
        answers={200: PublicEvent},
        codes=("not_found",),
    ),
    Operation(
        name="read_event_layout",
        method="GET",
        path=f"{API}/events/{{event}}/layout",
        who="anyone",
        summary="Where the immutable bytes of the event's layout are now.",
        answers={307: None},
        codes=("not_found",),
    ),
    Operation(
        name="create_event",
        method="POST",
        path=f"{API}/events",
        who="manager",
        summary="Make a draft event on a deployed layout; prices cover exactly the layout's categories.",
        body=NewEvent,
        answers={201: PublicEvent},
        codes=(*_MANAGER_CODES, "conflict", "layout_damaged"),
        idempotent=True,
    ),
    Operation(
        name="update_event",
        method="PATCH",
        path=f"{API}/events/{{event}}",
        who="manager",
        summary="Change what is given. A closed event keeps its on-sale time, prices and limits.",
        body=EventChanges,
        answers={200: PublicEvent},
        codes=(*_MANAGER_CODES, "not_found", "sale_closed"),
    ),
    *(
        Operation(
            name=f"{act}_event",
            method="POST",
            path=f"{API}/events/{{event}}/{act}",
            who="manager",
            summary=summary,
            answers={200: PublicEvent},
            codes=(*_MANAGER_CODES, "not_found", "conflict", "sale_closed"),
        )
        for act, summary in (
            ("open", "Open the sale of a draft or paused event; twice is once."),
            ("pause", "Refuse new holds, extensions and bookings until it is opened again; twice is once."),
            ("close", "End the sale for good; twice is once."),
        )
    ),
    Operation(
        name="change_event_layout",
        method="POST",
        path=f"{API}/events/{{event}}/layout",
        who="manager",
        summary="Sell the event on another deployed version of its layout; a new epoch begins. Refused, with every seat"
        " and area in `errors`, where something that is sold or held would not be there any more. Twice is once.",
        body=VersionRequest,
        answers={200: PublicEvent},
        codes=(*_MANAGER_CODES, "not_found", "conflict", "sale_closed", "layout_damaged"),
    ),
    Operation(
        name="block_seats",
        method="POST",
        path=f"{API}/events/{{event}}/seats/block",
        who="manager",
        summary="Take seats and places off sale. Not all or nothing: what is held or sold is refused and listed.",
        body=BlockRequest,
        answers={200: BlockReport},
        codes=(*_MANAGER_CODES, "not_found"),
        idempotent="optional",
    ),
    Operation(
        name="unblock_seats",
        method="POST",
        path=f"{API}/events/{{event}}/seats/unblock",
        who="manager",
        summary="Put blocked seats and places back on sale; what is not blocked is refused and listed.",
        body=UnblockRequest,
        answers={200: BlockReport},
        codes=(*_MANAGER_CODES, "not_found"),
        idempotent="optional",
    ),
)


@dataclass(frozen=True)
class EventServices:
    """What the handlers need.

    `layout_url(layout id, hash)` is where a layout's bytes are; `changed(event id)` tells the inventory of a change
    before the answer goes out, and must not raise.
    """

    desk: StaffDesk
    catalogue: Catalogue
    blocking: Blocking
    allotting: Allotting
    keys: IdempotencyKeys
    layout_url: Callable[[str, str], str]
    changed: Callable[[str], Awaitable[None]]
    layout_change: LayoutChange


def routes(services: EventServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    catalogue, desk = services.catalogue, services.desk

    async def list_events(request: web.Request) -> web.Response:
        limit, cursor = paging.read_limit(request), request.query.get("cursor")
        staff = await find_staff(request, desk)
        drafts = staff is not None and staff.may("manager")
        drafts_of = staff.id if staff is not None and staff.bound else None
        page = await catalogue.list_events(limit=limit, cursor=cursor, drafts=drafts, drafts_of=drafts_of)
        return _answer(EventList(tuple(map(shown, page.items)), page.next))

    async def read_event(request: web.Request) -> web.Response:
        return _answer(shown(await visible(request)))

    async def read_event_layout(request: web.Request) -> web.Response:
        event = await visible(request)
        location = services.layout_url(event.layout_id, event.layout_hash)
        return web.Response(status=307, headers={"Location": location, "Cache-Control": "no-cache"})

    async def create_event(request: web.Request) -> web.Response:
        staff = await require_staff(request, desk, "manager")

        async def act() -> web.Response:
            draft = await read_body(request, NewEvent)
            event = await catalogue.create_event(draft, seed=request_seed(staff.id, request))
            return _answer(shown(event), status=201, location=f"{API}/events/{event.id}")

        return await services.keys.once(request, staff.id, act)

    async def update_event(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        changes = await read_body(request, EventChanges)
        event = await catalogue.update_event(request.match_info["event"], changes)
        await services.changed(event.id)
        return _answer(shown(event))

    def set_state(act: EventAct) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            await require_staff(request, desk, "manager")
            event = await catalogue.set_state(request.match_info["event"], act)
            await services.changed(event.id)
            return _answer(shown(event))

        return handler

    async def change_event_layout(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        wanted = await read_body(request, VersionRequest)
        event = await services.layout_change.change(request.match_info["event"], wanted.version)
        await services.changed(event.id)
        return _answer(shown(event))

    async def block_seats(request: web.Request) -> web.Response:
        staff = await require_staff(request, desk, "manager")

        async def act(named: str) -> web.Response:
            body = await read_body(request, BlockRequest)
            wanted = Selection(body.seats, body.runs, body.areas)
            event_id = request.match_info["event"]
            blocking = services.blocking
            return _answer(await blocking.block(event_id, wanted, body.kind, body.reason, staff.id, request=named))

        # Places are counted, and twice asked is twice as many.
        return await services.keys.once_if_named(request, staff.id, act)

    async def unblock_seats(request: web.Request) -> web.Response:
        staff = await require_staff(request, desk, "manager")

        async def act(named: str) -> web.Response:
            body = await read_body(request, UnblockRequest)
            wanted = Selection(body.seats, body.runs, body.areas)
            event_id = request.match_info["event"]
            blocking = services.blocking
            return _answer(await blocking.unblock(event_id, wanted, body.kind, body.reason, staff.id, request=named))

        # Places are counted, and twice asked is twice as many.
        return await services.keys.once_if_named(request, staff.id, act)

    async def visible(request: web.Request) -> Event:
        event = await catalogue.load_event(request.match_info["event"])
        if event.state == "draft":
            staff = await find_staff(request, desk)
            if staff is None or not staff.may("manager"):
                raise NotFound("A draft is not public.")
            await require_reach(request, staff, "event", event.id)
        return event

    def shown(event: Event) -> PublicEvent:
        return public_event(event, services.layout_url(event.layout_id, event.layout_hash))

    return bind(
        OPERATIONS,
        {
            "list_events": list_events,
            "read_event": read_event,
            "read_event_layout": read_event_layout,
            "create_event": create_event,
            "update_event": update_event,
            "open_event": set_state("open"),
            "pause_event": set_state("pause"),
            "close_event": set_state("close"),
            "change_event_layout": change_event_layout,
            "block_seats": block_seats,
            "unblock_seats": unblock_seats,
        },
    )


def _answer(body: msgspec.Struct, *, status: int = 200, location: str | None = None) -> web.Response:
    headers = {"Cache-Control": "no-cache"} | ({} if location is None else {"Location": location})
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers)
