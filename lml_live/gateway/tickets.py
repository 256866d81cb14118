"""Tickets over REST: shown to who may see the booking, let in at the door, printed anew at the counter."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from lml_live import limits, values
from lml_live.booking.bookings import Booking
from lml_live.booking.tickets import NotReprinted, Outcome, Ticket, Tickets, TicketState
from lml_live.errors import InvalidInput, NotFound, Refused, Violation
from lml_live.gateway.callers import CLERKS, require_reach, require_staff
from lml_live.gateway.idempotency import IdempotencyKeys, request_seed
from lml_live.gateway.operations import API, Operation, Query, bind
from lml_live.gateway.problems import read_body
from lml_live.gateway.qr import QrShown, draw_qr
from lml_live.guard.staff import StaffDesk
from lml_live.pricing.events import Id, Name


class ScanBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /tickets/scan`: the code, and the event and gate that somebody stands before."""

    ticket: Id
    event: Id
    gate: Name


class ReprintBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /bookings/{booking}/reprint`: all valid tickets, or those of some lines."""

    reason: Name
    lines: Annotated[tuple[int, ...], Meta(min_length=1, max_length=limits.HOLD_SEATS_MAX)] | None = None


class TicketShown(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A ticket; `ticket` is its code. `flagged`: its payment is disputed."""

    ticket: str
    line: int
    seat_id: str | None = None
    area_id: str | None = None
    type: str
    state: TicketState
    used_at: datetime | None = None
    used_gate: str | None = None
    qr: QrShown | None = None


class TicketList(Struct, frozen=True):
    """The tickets of a booking, by line."""

    items: tuple[TicketShown, ...]
    next: str | None = None


class ScanShown(Struct, frozen=True, kw_only=True):
    """What a scan found. `admitted`: once for each ticket; `used`: the ticket says when and where that was."""

    outcome: Outcome
    booking: str
    event: str
    ticket: TicketShown


_CLERK_CODES: Final = ("unauthorized", "forbidden", "not_found", "idempotency_mismatch", "idempotency_in_progress")

OPERATIONS: Final = (
    Operation(
        name="list_tickets",
        method="GET",
        path=f"{API}/bookings/{{booking}}/tickets",
        who="holder",
        summary="A booking's tickets, for its holder, with its `access`, or for clerks; none before it is paid for.",
        query=(Query("draw", Literal["qr"], "Draw the codes, too: of tickets that may still let somebody in."),),
        answers={200: TicketList},
        codes=("unauthorized", "forbidden", "not_found", "invalid_message"),
    ),
    Operation(
        name="scan_ticket",
        method="POST",
        path=f"{API}/tickets/scan",
        who="clerk",
        summary="Let in on a ticket: the first scan wins, every other is told when and where that was.",
        body=ScanBody,
        answers={200: ScanShown},
        codes=_CLERK_CODES,
        idempotent=True,
    ),
    Operation(
        name="reprint_tickets",
        method="POST",
        path=f"{API}/bookings/{{booking}}/reprint",
        who="clerk",
        summary="End the codes of a booking's valid tickets and issue new ones.",
        body=ReprintBody,
        answers={201: TicketList},
        codes=(*_CLERK_CODES, "conflict"),
        idempotent=True,
    ),
)


@dataclass(frozen=True)
class TicketServices:
    """What the handlers need."""

    desk: StaffDesk
    tickets: Tickets
    keys: IdempotencyKeys


def routes(services: TicketServices, visible: Callable[[web.Request], Awaitable[Booking]]) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`. `visible` finds the booking for those who may see it."""
    tickets = services.tickets

    async def list_tickets(request: web.Request) -> web.Response:
        booking = await visible(request)
        draw = request.query.get("draw")
        if draw not in (None, "qr"):
            raise InvalidInput("The tickets cannot be drawn so.", errors=(Violation("draw", "is not qr"),))
        found = await tickets.of_booking(booking.id)
        # In a thread: fifty codes would hold up every socket of the worker for a fifth of a second.
        shown = await asyncio.to_thread(lambda: tuple(map(_draw, found))) if draw else tuple(map(_show, found))
        return _json(TicketList(shown), 200)

    async def scan_ticket(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)
        key = request_seed(staff.id, request)

        async def act() -> web.Response:
            body = await read_body(request, ScanBody)
            await require_reach(request, staff, "event", body.event)
            found = await tickets.scan(body.ticket, body.event, body.gate, staff.id, key)
            if found is None:
                raise NotFound("There is no such ticket.")
            ticket = found.ticket
            shown = ScanShown(outcome=found.outcome, booking=ticket.booking, event=ticket.event, ticket=_show(ticket))
            return _json(shown, 200)

        return await services.keys.once(request, staff.id, act)

    async def reprint_tickets(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)
        key = request_seed(staff.id, request)

        async def act() -> web.Response:
            body, booking = await read_body(request, ReprintBody), request.match_info["booking"]
            made = None
            if values.is_id(booking):
                made = await tickets.reprint(booking, body.lines, body.reason, staff.id, key)
            if made is None:
                raise NotFound("There is no such booking.")
            if isinstance(made, NotReprinted):
                raise Refused("conflict", made.message)
            return _json(TicketList(tuple(map(_show, made))), 201)

        return await services.keys.once(request, staff.id, act)

    return bind(
        OPERATIONS,
        {"list_tickets": list_tickets, "scan_ticket": scan_ticket, "reprint_tickets": reprint_tickets},
    )


def _show(ticket: Ticket) -> TicketShown:
    return TicketShown(
        ticket=ticket.id,
        line=ticket.line,
        seat_id=ticket.seat_id,
        area_id=ticket.area_id,
        type=ticket.type,
        state=ticket.state,
        used_at=None if ticket.used_at is None else ticket.used_at.astimezone(UTC),
        used_gate=ticket.used_gate,
    )


def _draw(ticket: Ticket) -> TicketShown:
    shown = _show(ticket)
    return shown if ticket.state == "used" else msgspec.structs.replace(shown, qr=draw_qr(ticket.id))


def _json(body: Struct, status: int) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
