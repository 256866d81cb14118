"""Bookings over REST: made of a hold, read and cancelled by holder or `access`; and Stripe's webhook."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct

from lml_live import limits, values
from lml_live.booking.bookings import Booking, Bookings
from lml_live.booking.checkout import Buyer, Checkout, Quoted, Quoting
from lml_live.booking.claims import Line as BookingLine
from lml_live.booking.completer import Completer
from lml_live.booking.notices import read_notice
from lml_live.booking.payment_queue import Place
from lml_live.booking.payments import Payments
from lml_live.booking.refunds import Refund, Refunds
from lml_live.booking.states import AWAITING_PAYMENT, ENDED_UNSOLD
from lml_live.errors import InvalidInput, NotFound, Refused, Unauthorized
from lml_live.gateway import paging, wire
from lml_live.gateway.callers import CLERKS, bearer_token, is_staff_token, note_actor, origin_of, require_staff
from lml_live.gateway.desk import Desk
from lml_live.gateway.hold_answers import refused
from lml_live.gateway.idempotency import IdempotencyKeys, read_key
from lml_live.gateway.live import Live
from lml_live.gateway.operations import API, Operation, Query, bind
from lml_live.gateway.problems import read_body, read_raw
from lml_live.gateway.refunds import show_refunds
from lml_live.gateway.shown import BookingLineShown, BookingShown, BuyerShown, PaymentShown, QueueShown
from lml_live.gateway.tokens import HolderToken
from lml_live.guard.staff import StaffDesk
from lml_live.inventory.answers import Refusal
from lml_live.inventory.records import Record
from lml_live.pricing.events import Id, Name

# --- Shapes -----------------------------------------------------------------------------------------------------------

Amount = Annotated[int, Meta(ge=0, le=values.WIRE_INTEGER_MAX)]


class BuyerBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Who buys; the e-mail address gets the receipt."""

    name: Name
    email: wire.Email


class BookingBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /bookings`. `expected_amount` is what the buyer was shown.

    `save_card`: the card that pays is saved for the account that has signed in, and only for that.
    """

    hold: Id
    buyer: BuyerBody
    expected_amount: Amount | None = None
    save_card: bool = False


class BookingList(Struct, frozen=True):
    """A page of the caller's bookings, the newest first."""

    items: tuple[BookingShown, ...]
    next: str | None


_NEVER_PAID: Final = AWAITING_PAYMENT | ENDED_UNSOLD | {"authorized"}
"""Where there is nothing that could have been given back."""

_CODES: Final = (
    "unauthorized",
    "forbidden",
    "hold_not_found",
    "hold_expired",
    "hold_in_checkout",
    "sale_paused",
    "sale_closed",
    "seat_taken",
    "area_full",
    "price_changed",
    "amount_too_large",
    "conflict",
    "idempotency_mismatch",
    "idempotency_in_progress",
    "rate_limited",
)

OPERATIONS: Final = (
    Operation(
        name="create_booking",
        method="POST",
        path=f"{API}/bookings",
        who="holder",
        summary="Claim a hold's places for good and begin to pay; 202 while the payment is `preparing`. Where more are "
        "paying than Stripe takes in time nothing is claimed: `rate_limited`, with the hold as it was.",
        body=BookingBody,
        answers={201: BookingShown, 202: BookingShown},
        codes=_CODES,
        idempotent=True,
    ),
    Operation(
        name="list_bookings",
        method="GET",
        path=f"{API}/bookings",
        who="holder",
        summary="The caller's own bookings, the newest first; for clerks those of an event.",
        query=(
            Query("event", str, "For clerks, who must name it: of this event."),
            Query("q", str, "For clerks: with this in the buyer's name or e-mail address, or with this number."),
            Query("seat", str, "For clerks: of this seat id."),
            *paging.QUERY,
        ),
        answers={200: BookingList},
        codes=("unauthorized", "forbidden", "invalid_message", "rate_limited"),
    ),
    Operation(
        name="read_booking",
        method="GET",
        path=f"{API}/bookings/{{booking}}",
        who="holder",
        summary="One booking, for its holder, with its `access` as bearer token, or for clerks.",
        answers={200: BookingShown},
        codes=("unauthorized", "forbidden", "not_found"),
    ),
    Operation(
        name="cancel_booking",
        method="POST",
        path=f"{API}/bookings/{{booking}}/cancel",
        who="holder",
        summary="Give an unpaid booking up. `cancelling` can still end `confirmed` where the charge was faster.",
        answers={200: BookingShown},
        codes=("unauthorized", "not_found"),
    ),
    Operation(
        name="stripe_webhook",
        method="POST",
        path=f"{API}/webhooks/stripe",
        who="anyone",
        summary="Stripe's notices: signed, each kept once, answered before the work.",
        answers={200: None},
        codes=("bad_request", "too_large"),
    ),
)


@dataclass(frozen=True)
class BookingServices:
    """What the handlers need. `live_mode` says whether the Stripe key is a live one.

    A request for a booking that has not answered within `running_seconds` counts as dead: less than a checkout's mark
    lasts, so that the same key can finish it.
    """

    live: Live
    buyer: Callable[[web.Request], Awaitable[HolderToken]]
    """The holder who calls. Raises `Unauthorized`, and `Overloaded` where they ask too often."""
    desk: StaffDesk
    bookings: Bookings
    refunds: Refunds
    checkout: Checkout
    completer: Completer
    keys: IdempotencyKeys
    payments: Payments | None
    place: Callable[[str], Awaitable[Place | None]]
    """Where a booking's payment stands that is still to be made."""
    webhook_secret: str | None
    live_mode: bool
    running_seconds: float
    noticed: Callable[[str], Awaitable[bool]] | None = None
    """Is told that a connected account has changed; False where it is none of ours."""


def reader(services: BookingServices, *, clerks: bool = True) -> Callable[[web.Request], Awaitable[Booking]]:
    """Finds the booking of a request for those who may see it, `clerks` of all; for all others there is none."""
    live, checkout = services.live, services.checkout

    async def visible(request: web.Request) -> Booking:
        booking_id, token = request.match_info["booking"], bearer_token(request)
        if token is None:
            raise Unauthorized("This needs the holder's token or the booking's access.")
        by_clerk = clerks and is_staff_token(token)
        if by_clerk:
            await require_staff(request, services.desk, *CLERKS)
        found = await services.bookings.load(booking_id) if values.is_id(booking_id) else None
        read = live.tokens.read(token, live.clock())
        if read is not None:
            await live.require_session(read)
        if found is not None and by_clerk:
            return found
        if found is None or not (checkout.may_access(found.id, token) or (read and read.holder == found.holder)):
            raise NotFound("There is no such booking.")
        return found

    return visible


def routes(services: BookingServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    live, bookings, checkout = services.live, services.bookings, services.checkout
    visible, own = reader(services), reader(services, clerks=False)

    async def show_one(booking: Booking) -> BookingShown:
        return (await show_bookings(services, [booking]))[0]

    async def create_booking(request: web.Request) -> web.Response:
        token, key = await services.buyer(request), read_key(request)
        holder = token.holder

        async def act() -> web.Response:
            body = await read_body(request, BookingBody)
            if body.save_card and not token.session:
                raise Refused("forbidden", "Cards are saved for those who have signed in.")
            desk = await live.acts.desk_of_hold(body.hold)
            outcome = await checkout.book(
                desk.event.id,
                holder,
                body.hold,
                Buyer(body.buyer.name, body.buyer.email, body.save_card),
                quoting(desk),
                key=key,
                expected_amount=body.expected_amount,
                origin=origin_of(request),
            )
            if isinstance(outcome, Refusal):
                return refused(desk, outcome)
            made = await show_one(outcome)
            return _json(made, 202 if made.payment.status == "preparing" else 201)

        return await services.keys.once(request, holder, act, running_seconds=services.running_seconds)

    async def list_bookings(request: web.Request) -> web.Response:
        by_clerk = is_staff_token(bearer_token(request))
        if by_clerk:
            await require_staff(request, services.desk, *CLERKS)
        else:
            holder = (await services.buyer(request)).holder
        limit, after = paging.read_limit(request), paging.read_cursor(request)
        if by_clerk:
            found = await bookings.find(**_asked_by_clerk(request), after=after, limit=limit + 1)
        else:
            found = await bookings.of_holder(holder, after=after, limit=limit + 1)
        page = found[:limit]
        following = paging.write_cursor(page[-1].created, page[-1].id) if len(found) > limit else None
        shown = await show_bookings(services, page)
        if by_clerk:
            shown = tuple(map(_to_staff, shown, page))
        return _json(BookingList(shown, following), 200)

    async def read_booking(request: web.Request) -> web.Response:
        made = await show_one(found := await visible(request))
        if is_staff_token(bearer_token(request)):
            made = _to_staff(made, found)
        return _json(made, 200)

    async def cancel_booking(request: web.Request) -> web.Response:
        booking = await own(request)
        note_actor(request, "holder", booking.holder)
        return _json(await show_one(await checkout.cancel(booking)), 200)

    async def stripe_webhook(request: web.Request) -> web.Response:
        body = await read_raw(request)
        if services.webhook_secret is None:
            raise NotFound("No webhooks are expected here.")
        given = request.headers.getall("Stripe-Signature", [])
        try:
            signature = given[0] if len(given) == 1 else ""
            notice = read_notice(body, signature, services.webhook_secret, live.clock(), live=services.live_mode)
        except InvalidInput as error:
            raise Refused("bad_request", error.message) from error
        if notice.account is not None and not (services.noticed and await services.noticed(notice.account)):
            raise Refused("bad_request", "The event is of another account.")
        if await bookings.keep_notice(notice.id, notice.type, notice.intent, notice.account, notice.payout):
            services.completer.wake()
        return web.Response(status=200)

    return bind(
        OPERATIONS,
        {
            "create_booking": create_booking,
            "list_bookings": list_bookings,
            "read_booking": read_booking,
            "cancel_booking": cancel_booking,
            "stripe_webhook": stripe_webhook,
        },
    )


def _asked_by_clerk(request: web.Request) -> dict[str, Any]:
    """Which bookings of an event a clerk looks for. Raises `InvalidInput`."""
    event, text, seat_id = (request.query.get(name) for name in ("event", "q", "seat"))
    if event is None or not values.is_id(event):
        raise paging.wrong("event", "is no event's id")
    if text is not None and not (text.isprintable() and 0 < len(text) <= limits.EVENT_NAME_CHARS_MAX):
        raise paging.wrong("q", f"is not 1 to {limits.EVENT_NAME_CHARS_MAX} printable characters")
    if seat_id is not None and not values.is_seat_id(seat_id):
        raise paging.wrong("seat", "is no seat id")
    return {"event": event, "text": text, "seat_id": seat_id}


def _to_staff(shown: BookingShown, booking: Booking) -> BookingShown:
    """A booking as staff see it: the secret of the buyer's link is nobody else's, nor is what a card is paid with."""
    buyer = BuyerShown(booking.buyer_name, booking.buyer_email)
    return msgspec.structs.replace(shown, access=UNSET, payment=PaymentShown(status="none"), buyer=buyer)


async def show_bookings(services: BookingServices, page: Sequence[Booking]) -> tuple[BookingShown, ...]:
    """Bookings as those who may see them do."""
    paid = [booking.id for booking in page if booking.state not in _NEVER_PAID]
    refunds = await services.refunds.of_bookings(paid) if paid else {}
    payments = [await _payment_in_queue(services, one) for one in page]
    shown = zip(page, payments, strict=True)
    return tuple(_show(services, one, payment, refunds.get(one.id, ())) for one, payment in shown)


async def _payment_in_queue(services: BookingServices, booking: Booking) -> PaymentShown:
    told = _payment(booking, services.payments)
    if told.status != "preparing" or (place := await services.place(booking.id)) is None:
        return told
    return msgspec.structs.replace(told, queue=QueueShown(**msgspec.structs.asdict(place)))


def _show(
    services: BookingServices, booking: Booking, payment: PaymentShown, refunds: Sequence[Refund]
) -> BookingShown:
    return BookingShown(
        id=booking.id,
        state=booking.state,
        event=booking.event,
        hold=booking.hold,
        lines=tuple(
            BookingLineShown(
                line=line.line,
                seat_id=line.seat_id,
                area_id=line.area_id,
                type=line.type,
                amount=line.amount,
                fee=line.fee,
                tax=line.tax,
            )
            for line in booking.lines
        ),
        seats=tuple(line.seat_id for line in booking.lines if line.seat_id is not None),
        areas=_count_areas(booking),
        amount=booking.amount,
        currency=booking.currency,
        expires_at=booking.expires_at.astimezone(UTC),
        access=services.checkout.access(booking.id),
        payment=payment,
        refunds=show_refunds(refunds),
        tender=booking.tender,
        forgone=booking.forgone,
    )


def quoting(desk: Desk) -> Quoting:
    """How holds are priced at a desk."""
    return Quoting(desk.layout.hash, partial(_quote, desk))


def _quote(desk: Desk, record: Record) -> Quoted:
    """What a hold costs, with seat ids, as it will be frozen in the booking."""
    shown = desk.show_hold("quote", msgspec.structs.replace(record, state="active"), seat_ids=True)
    lines = tuple(
        BookingLine(line.line, line.seat_id, line.area_id, line.type, line.amount, line.fee, line.tax)
        for line in shown.lines
    )
    return Quoted(lines, shown.currency, desk.event.prices_version)


def _payment(booking: Booking, payments: Payments | None) -> PaymentShown:
    if booking.state != "pending_payment" or booking.amount == 0 or payments is None:
        return PaymentShown(status="none")
    if booking.payment == "processing":
        return PaymentShown(status="none")  # the bank's: nothing is left for the buyer to do
    if booking.client_secret is None:
        return PaymentShown(status="preparing")
    return PaymentShown(
        status="ready",
        provider="stripe",
        client_secret=booking.client_secret,
        publishable_key=payments.publishable_key,
        amount=booking.amount,
        currency=booking.currency,
        api_base=payments.api_base,
    )


def _count_areas(booking: Booking) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in booking.lines:
        if line.area_id is not None:
            counts[line.area_id] = counts.get(line.area_id, 0) + 1
    return counts


def _json(body: Any, status: int) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
