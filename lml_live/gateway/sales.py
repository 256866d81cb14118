"""Sales at the counter over REST: a hold, or places that nobody holds, sold in one call (docs/decisions/023)."""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from lml_live import limits
from lml_live.backoffice.selling import Asked, Selling
from lml_live.booking.bookings import Booking
from lml_live.booking.claims import AtCounter
from lml_live.booking.ledger import Tender
from lml_live.errors import InvalidInput, Violation
from lml_live.gateway import wire
from lml_live.gateway.acts import Acts
from lml_live.gateway.bodies import SeatId, SeatIdPick
from lml_live.gateway.bookings import BookingServices, Email, quoting, show_bookings
from lml_live.gateway.callers import CLERKS, require_staff
from lml_live.gateway.counter import find_desk, read_wishes
from lml_live.gateway.desk import Desk
from lml_live.gateway.hold_answers import refused
from lml_live.gateway.idempotency import request_seed
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import read_body
from lml_live.gateway.shown import BookingShown
from lml_live.guard.staff import StaffDesk
from lml_live.inventory.answers import Refusal
from lml_live.pricing.events import Id, Name


class CounterBuyer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who buys at the counter; with an e-mail address they are sent the booking."""

    name: Name | None = None
    email: Email | None = None


class SaleBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /box-office/{event}/sales`: a `hold`, or `seats` and `areas` that nobody holds.

    `tender` is what it is sold for; a `comp` is given away, and what it would have cost is on record. `over_house`
    takes seats that the house keeps back, too, and of an area what is missing beside the places for sale; killed ones
    nobody takes. `reason` stands in the log.
    """

    hold: Id | None = None
    seats: Annotated[list[SeatId | SeatIdPick], Meta(max_length=limits.HOLD_SEATS_MAX)] = []
    areas: wire.AreaWishes = {}
    over_house: bool = True
    tender: Tender
    buyer: CounterBuyer | None = None
    reason: Name | None = None


OPERATIONS: Final = (
    Operation(
        name="sell_at_counter",
        method="POST",
        path=f"{API}/box-office/{{event}}/sales",
        who="clerk",
        summary="Sell a customer's hold, or seats and places that nobody holds, for money taken at the counter: all of "
        "it, or nothing.",
        body=SaleBody,
        answers={201: BookingShown},
        codes=(
            *("unauthorized", "forbidden", "not_found", "conflict", "hold_not_found", "hold_expired"),
            *("hold_in_checkout", "seat_taken", "unknown_seat", "unknown_area", "area_full", "limit_exceeded"),
            *("sale_not_open", "sale_paused", "sale_closed", "idempotency_mismatch", "idempotency_in_progress"),
        ),
        idempotent=True,
    ),
)


@dataclass(frozen=True)
class SaleServices:
    """What the handlers need."""

    desk: StaffDesk
    acts: Acts
    selling: Selling
    bookings: BookingServices


def routes(services: SaleServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    bookings = services.bookings

    async def sell_at_counter(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)

        async def act() -> web.Response:
            body = await read_body(request, SaleBody)
            if (body.hold is None) == (not body.seats and not body.areas):
                found = Violation("hold", "or seats and areas: one of the two")
                raise InvalidInput("Name a hold, or seats and areas.", errors=(found,))
            desk = await find_desk(services.acts, staff, request.match_info["event"])
            buyer = body.buyer or CounterBuyer()
            asked = Asked(
                counter=AtCounter(body.tender, staff.id, body.reason),
                name=buyer.name,
                email=buyer.email,
                request=request_seed(staff.id, request),
            )
            outcome = await sell(desk, body, asked)
            if isinstance(outcome, Refusal):
                return refused(desk, outcome)
            [shown] = await show_bookings(bookings, [outcome])
            return web.Response(
                status=201,
                body=msgspec.json.encode(shown),
                content_type="application/json",
                headers={"Cache-Control": "no-store", "Location": f"{API}/bookings/{shown.id}"},
            )

        return await bookings.keys.once(request, staff.id, act, running_seconds=bookings.running_seconds)

    async def sell(desk: Desk, body: SaleBody, asked: Asked) -> Booking | Refusal:
        event = desk.event.id
        if body.hold is not None:
            of = await services.acts.desk_of_hold(body.hold)
            if of.event.id != event:
                return Refusal("hold_not_found", "There is no such hold.")
            return await services.selling.sell_hold(event, body.hold, asked, quoting(desk))
        wishes = read_wishes(desk, body.seats, body.areas)
        if isinstance(wishes, Refusal):
            return wishes
        return await services.selling.sell_places(
            *(event, desk.seat_names, *wishes, asked, quoting(desk)),
            over_house=body.over_house,
        )

    return bind(OPERATIONS, {"sell_at_counter": sell_at_counter})
