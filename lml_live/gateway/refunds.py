"""Giving money back over REST: a clerk's act, whole or in part, and how bookings show it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from lml_live import limits, values
from lml_live.booking.completer import Completer
from lml_live.booking.refunding import NotRefundable
from lml_live.booking.refunds import Refund, Refunds
from lml_live.errors import InvalidInput, NotFound, Refused, Violation
from lml_live.gateway.callers import CLERKS, require_staff
from lml_live.gateway.idempotency import IdempotencyKeys, request_seed
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import read_body
from lml_live.gateway.shown import RefundShown
from lml_live.guard.staff import StaffDesk
from lml_live.pricing.events import Name


class RefundBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /bookings/{booking}/refund`: whole `lines`, whose places go on sale again, or an `amount` in
    minor units, or neither: then it is all that is left."""

    reason: Name
    lines: Annotated[tuple[int, ...], Meta(min_length=1, max_length=limits.HOLD_SEATS_MAX)] | None = None
    amount: Annotated[int, Meta(ge=1, le=values.WIRE_INTEGER_MAX)] | None = None


OPERATIONS: Final = (
    Operation(
        name="refund_booking",
        method="POST",
        path=f"{API}/bookings/{{booking}}/refund",
        who="clerk",
        summary="Give money back, whole or in part; 202 while Stripe has not answered. Places of whole lines go free.",
        body=RefundBody,
        answers={201: RefundShown, 202: RefundShown},
        codes=(
            *("unauthorized", "forbidden", "not_found", "conflict"),
            *("idempotency_mismatch", "idempotency_in_progress"),
        ),
        idempotent=True,
    ),
)


@dataclass(frozen=True)
class RefundServices:
    """What the handlers need."""

    desk: StaffDesk
    refunds: Refunds
    completer: Completer
    keys: IdempotencyKeys
    running_seconds: float
    """A request that has not answered within this counts as dead, and its key may try again."""


def routes(services: RefundServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""

    async def refund_booking(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)
        key = request_seed(staff.id, request)

        async def act() -> web.Response:
            body, booking = await read_body(request, RefundBody), request.match_info["booking"]
            if body.lines is not None and body.amount is not None:
                raise InvalidInput(
                    "Name lines or an amount, not both.", errors=(Violation("amount", "is given beside lines"),)
                )
            made = None
            if values.is_id(booking):
                made = await services.refunds.begin(
                    booking, key, body.reason, staff.id, lines=body.lines, amount=body.amount
                )
            if made is None:
                raise NotFound("There is no such booking.")
            if isinstance(made, NotRefundable):
                raise Refused(made.code, made.message)
            await services.completer.hurry(booking)
            refund = await services.refunds.load(made.id)
            waits = refund.accepted is None and refund.state == "pending"
            return web.Response(
                status=202 if waits else 201,
                body=msgspec.json.encode(show_refund(refund)),
                content_type="application/json",
                headers={"Cache-Control": "no-store"},
            )

        return await services.keys.once(request, staff.id, act, running_seconds=services.running_seconds)

    return bind(OPERATIONS, {"refund_booking": refund_booking})


def show_refund(refund: Refund) -> RefundShown:
    """A refund as the contract shows it."""
    return RefundShown(
        id=refund.id,
        booking=refund.booking,
        amount=refund.amount,
        lines=refund.lines,
        reason=refund.reason,
        state=refund.state,
        created=refund.created.astimezone(UTC),
        accepted=None if refund.accepted is None else refund.accepted.astimezone(UTC),
    )


def show_refunds(refunds: Iterable[Refund]) -> tuple[RefundShown, ...]:
    """Those of one booking."""
    return tuple(map(show_refund, refunds))
