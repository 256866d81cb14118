"""Sales at the counter: a hold, or places that nobody holds, sold in one call (docs/decisions/023).

`Sales` decides for REST, which is here, and for the live socket (`staff_requests`).
"""

from collections.abc import Mapping, Sequence
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
from lml_live.gateway.bookings import BookingServices, quoting, show_bookings
from lml_live.gateway.callers import CLERKS, require_staff
from lml_live.gateway.counter import check_wishes, find_desk
from lml_live.gateway.desk import Desk
from lml_live.gateway.hold_answers import indexes_of, refused
from lml_live.gateway.idempotency import request_seed
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import read_body
from lml_live.gateway.shown import BookingShown
from lml_live.guard.staff import StaffDesk
from lml_live.inventory.answers import Refusal
from lml_live.pricing.events import Id, Name


class CounterBuyer(wire.Buyer, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """Who buys at the counter; with an e-mail address they are sent the booking."""


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


def asked_by(staff: str, sale: SaleBody | wire.Sell, named: str) -> Asked:
    """What a clerk asks for beside the places; `named` is what names the request and its repetitions.

    Raises `InvalidInput` where the sale is of a hold and of places, or of neither.
    """
    if (sale.hold is None) == (not sale.seats and not sale.areas):
        found = Violation("hold", "or seats and areas: one of the two")
        raise InvalidInput("Name a hold, or seats and areas.", errors=(found,))
    buyer = sale.buyer or wire.Buyer()
    counter = AtCounter(sale.tender, staff, sale.reason)
    return Asked(counter=counter, name=buyer.name, email=buyer.email, request=named)


class Sales:
    """Sells at the desk of an event, and shows what was sold."""

    def __init__(self, acts: Acts, selling: Selling, bookings: BookingServices) -> None:
        self._acts = acts
        self._selling = selling
        self._bookings = bookings

    async def sell(
        self,
        desk: Desk,
        hold: str | None,
        seats: Sequence[wire.SeatWish],
        areas: Mapping[str, wire.AreaWish],
        asked: Asked,
        *,
        over_house: bool,
    ) -> BookingShown | Refusal:
        """Sells a hold of the desk's event, or places that nobody holds, seats by the desk's index. Twice is once.

        Raises `Refused`, `NotFound`, and `Unavailable` where a store does not answer, or the event is on another
        layout: the same request may then be made again.
        """
        if hold is not None:
            outcome = await self._sell_hold(desk, hold, asked)
        else:
            outcome = await self._sell_places(desk, seats, areas, asked, over_house=over_house)
        if isinstance(outcome, Refusal):
            return outcome
        [shown] = await show_bookings(self._bookings, [outcome])
        return shown

    async def _sell_hold(self, desk: Desk, hold: str, asked: Asked) -> Booking | Refusal:
        event = desk.event.id
        if (await self._acts.desk_of_hold(hold)).event.id != event:
            return Refusal("hold_not_found", "There is no such hold.")
        return await self._selling.sell_hold(event, hold, asked, quoting(desk))

    async def _sell_places(
        self,
        desk: Desk,
        seats: Sequence[wire.SeatWish],
        areas: Mapping[str, wire.AreaWish],
        asked: Asked,
        *,
        over_house: bool,
    ) -> Booking | Refusal:
        wishes = check_wishes(desk, seats, areas)
        if isinstance(wishes, Refusal):
            return wishes
        return await self._selling.sell_places(
            *(desk.event.id, desk.seat_names, *wishes, asked, quoting(desk)), over_house=over_house
        )


@dataclass(frozen=True)
class SaleServices:
    """What the handlers need."""

    desk: StaffDesk
    acts: Acts
    sales: Sales
    bookings: BookingServices


def routes(services: SaleServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    bookings = services.bookings

    async def sell_at_counter(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)

        async def act() -> web.Response:
            body = await read_body(request, SaleBody)
            asked = asked_by(staff.id, body, request_seed(staff.id, request))
            desk = await find_desk(services.acts, staff, request.match_info["event"])
            seats = indexes_of(desk, body.seats)
            if isinstance(seats, Refusal):
                return refused(desk, seats)
            shown = await services.sales.sell(desk, body.hold, seats, body.areas, asked, over_house=body.over_house)
            if isinstance(shown, Refusal):
                return refused(desk, shown)
            return web.Response(
                status=201,
                body=msgspec.json.encode(shown),
                content_type="application/json",
                headers={"Cache-Control": "no-store", "Location": f"{API}/bookings/{shown.id}"},
            )

        return await bookings.keys.once(request, staff.id, act, running_seconds=bookings.running_seconds)

    return bind(OPERATIONS, {"sell_at_counter": sell_at_counter})
