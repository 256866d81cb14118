"""From hold to booking: quote, mark, claim, and then the payment (architecture.md, "From hold to sale").

    load the hold, quote it                      nothing is changed
    mark the hold in Redis (checkout_hold)       it can neither expire nor be released; answers the epoch, the fence
    claim in PostgreSQL                          durable; refused where the epoch moved or a seat is somebody else's
    make the PaymentIntent through the outbox    the buyer's browser pays

At the counter the last two are one: the claim is paid for, and sold (docs/decisions/023).

A mark is never taken back on a guess: first the booking's id is inserted as `failed`; where that insert conflicts, the
booking decides.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from msgspec import Struct

from lml_live import limits
from lml_live.booking.bookings import Booking, Bookings
from lml_live.booking.claims import AtCounter, Claimed, Known, Line, NewBooking, NotClaimed
from lml_live.booking.completer import Completer
from lml_live.booking.payments import JudgeAmount, judge_amount
from lml_live.errors import Unavailable
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.holds import Holds, is_staff_hold
from lml_live.inventory.records import Record

log = logging.getLogger(__name__)


class Quoted(Struct, frozen=True):
    """What a hold costs: its lines, in order, and under which price list."""

    lines: tuple[Line, ...]
    currency: str
    prices_version: int

    @property
    def amount(self) -> int:
        return sum(line.amount + line.fee for line in self.lines)


class Quoting(Struct, frozen=True):
    """How the holds of an event are priced; the gateway knows layouts and prices."""

    layout: str
    """The hash of the layout by which `price` reads their seats."""
    price: Callable[[Record], Quoted]


FinishHold = Callable[[str, str], Awaitable[None]]
"""(event, hold): puts on record what the box office took for a customer, where a worker died over it; the box office's
to say."""


class Buyer(Struct, frozen=True):
    name: str
    email: str | None
    save_card: bool = False
    """The card that pays is to be saved for the account."""


class Checkout:
    """Makes bookings of holds, and lets buyers give them up.

    `secret` makes booking ids and access tokens. `judge_amount` is asked of an amount above 0 before a hold is marked,
    and then `admit`, which raises `Overloaded` where a payment would not be ready in time.
    """

    def __init__(
        self,
        bookings: Bookings,
        holds: Holds,
        completer: Completer,
        secret: bytes,
        *,
        pay_seconds: int,
        mark_seconds: int,
        admit: Callable[[], Awaitable[None]],
        judge_amount: JudgeAmount = judge_amount,
    ) -> None:
        self._bookings = bookings
        self._holds = holds
        self._completer = completer
        self._secret = hmac.digest(secret, b"lml booking v1", "sha256")
        self._pay_seconds = pay_seconds
        self._mark_seconds = mark_seconds
        self._admit = admit
        self._judge_amount = judge_amount
        self.finish_hold: FinishHold = _nothing_to_finish

    def booking_id(self, holder: str, key: str) -> str:
        """The id of the booking that a request makes: a repetition finds the first one's, whatever became of it."""
        return "b-" + hmac.digest(self._secret, f"id\0{holder}\0{key}".encode(), "sha256").hex()[:24]

    def access(self, booking: str) -> str:
        """The secret of one booking that reads and cancels it from any device."""
        return "lmlb_" + hmac.digest(self._secret, f"access\0{booking}".encode(), "sha256").hex()

    def may_access(self, booking: str, token: str) -> bool:
        return hmac.compare_digest(self.access(booking).encode(), token.encode())

    async def book(
        self,
        event: str,
        holder: str,
        hold: str,
        buyer: Buyer,
        quoting: Quoting,
        *,
        key: str,
        expected_amount: int | None,
        origin: str = "",
    ) -> Booking | Refusal:
        """Makes a booking of a hold, and its payment ready where Stripe answers in time.

        Raises `Unavailable` where a store does not answer, or the event is on another layout, and `Overloaded` where
        too many are paying: the same key may then be sent again. A booking of this key that is there already is
        answered as it is, or `idempotency_mismatch` where it was made of another request.
        """
        booking = self.booking_id(holder, key)
        known = await self._find(booking)
        if known is not None:
            return _same_request(known, hold, buyer, expected_amount) if isinstance(known, Booking) else known
        seen = await self._holds.under({event: quoting.layout}).read_hold(event, holder, hold)
        if isinstance(seen, Refusal):
            return seen
        assert seen.record is not None
        if seen.record.state == "checkout" and seen.record.booking != booking:
            return Refusal("hold_in_checkout", "The hold is being paid for.")
        quoted = quoting.price(seen.record)
        if (refusal := self._judge(quoted, expected_amount)) is not None:
            return refusal
        if quoted.amount and seen.record.state != "checkout":
            await self._admit()
        mark = await self.mark(event, holder, hold, booking, quoting.layout)
        if isinstance(mark, Refusal):
            return mark
        outcome = await self._claim(event, mark, buyer, quoting, booking, expected_amount, origin)
        return await self._conclude(event, mark, buyer, booking, expected_amount, outcome)

    async def sell(
        self,
        event: str,
        hold: str,
        request: str,
        buyer: Buyer,
        counter: AtCounter,
        quoting: Quoting,
        mark: Callable[[str], Awaitable[Changed | Refusal]],
        turn: AbstractAsyncContextManager[object] | None = None,
    ) -> Booking | Refusal:
        """Sells what `mark` marks with the booking's id at the counter, in one transaction. Answers, raises as `book`.

        `request` names the clerk's request and its repetitions; mark and claim are made in the `turn`. A mark whose
        claim is refused, or never comes, ends as every other.
        """
        booking = self.booking_id(counter.staff, request)
        known = await self._find(booking)
        if known is not None:
            return _same_request(known, hold, buyer, None, counter) if isinstance(known, Booking) else known
        async with turn or nullcontext():
            marked = await mark(booking)
            if isinstance(marked, Refusal):
                return marked
            assert marked.record is not None
            outcome = await self._claim(event, marked, buyer, quoting, booking, None, counter=counter)
        # What is to be undone has a turn of its own.
        return await self._conclude(event, marked, buyer, booking, None, outcome, counter)

    async def mark(self, event: str, holder: str, hold: str, booking: str, layout: str) -> Changed | Refusal:
        """Marks a hold with the booking that is being made of it by who reads its seats by this layout."""
        if is_staff_hold(hold):
            await self.finish_hold(event, hold)
        holds = self._holds.under({event: layout})
        return await holds.checkout_hold(event, holder, hold, booking, mark_seconds=self._mark_seconds)

    async def _find(self, booking: str) -> Booking | Refusal | None:
        """What became of a booking's id; None where nobody knows it."""
        # The id first, then what became of it: the other way round, a claim that is committed between the two reads
        # would pass for a refused checkout.
        if await self._bookings.state_of(booking) is None:
            return None
        found = await self._bookings.load(booking)
        return found or Refusal("conflict", "This checkout was refused before: begin a new one.")

    async def _claim(
        self,
        event: str,
        mark: Changed,
        buyer: Buyer,
        quoting: Quoting,
        booking: str,
        expected_amount: int | None,
        origin: str = "",
        counter: AtCounter | None = None,
    ) -> Claimed | Known | Refusal:
        assert mark.record is not None
        # What was marked is what is sold: the hold may have changed since it was read.
        quoted = quoting.price(mark.record)
        given = counter is not None and counter.tender == "comp"
        # What Stripe takes is no matter of the counter's.
        if counter is None and (refusal := self._judge(quoted, expected_amount)) is not None:
            return refusal
        outcome = await self._bookings.claim(
            NewBooking(
                id=booking,
                event=event,
                holder=mark.record.holder,
                mark=mark,
                buyer_name=buyer.name,
                buyer_email=buyer.email,
                currency=quoted.currency,
                prices_version=quoted.prices_version,
                lines=tuple(map(_given, quoted.lines)) if given else quoted.lines,
                pay_seconds=self._pay_seconds,
                origin=origin,
                save_card=buyer.save_card,
                counter=counter,
                forgone=quoted.lines if given else (),
            )
        )
        if not isinstance(outcome, NotClaimed):
            return outcome
        if outcome.epoch_moved:
            # Adopt has made the hold its holder's again; the same key may try once more.
            raise Unavailable(outcome.message, retry_after_ms=limits.RETRY_AFTER_MS)
        return Refusal(outcome.code, outcome.message)

    async def _conclude(
        self,
        event: str,
        mark: Changed,
        buyer: Buyer,
        booking: str,
        expected_amount: int | None,
        outcome: Claimed | Known | Refusal,
        counter: AtCounter | None = None,
    ) -> Booking | Refusal:
        """What follows the claim, or its refusal."""
        assert mark.record is not None
        if isinstance(outcome, Claimed):
            await self._completer.hurry(booking)
        elif isinstance(outcome, Refusal) and await self._bookings.refuse(booking, event, mark.record.holder, mark):
            await self._completer.hurry(booking)
            return outcome
        made = await self._bookings.load(booking)
        if made is None:
            # The sweep had refused it when this call marked it once more.
            await self._completer.restore(event, mark.hold, booking)
            return Refusal("conflict", "This checkout was refused before: begin a new one.")
        return _same_request(made, mark.hold, buyer, expected_amount, counter)

    def _judge(self, quoted: Quoted, expected_amount: int | None) -> Refusal | None:
        if expected_amount is not None and expected_amount != quoted.amount:
            return Refusal("price_changed", f"The price is {quoted.amount} now; look again before you pay.")
        return self._judge_amount(quoted.amount, quoted.currency) if quoted.amount else None

    async def cancel(self, booking: Booking) -> Booking:
        """Gives an unpaid booking up. Where the charge wins the race it ends confirmed; a paid one stays as it is."""
        await self._bookings.give_up(booking.id, "cancelling")
        await self._completer.hurry(booking.id)
        found = await self._bookings.load(booking.id)
        assert found is not None
        return found

    async def settle_mark(self, event: str, mark: Changed) -> None:
        """A mark that is old: ends it unless its booking is there (the sweep asks, see `inventory.upkeep`)."""
        assert mark.record is not None
        booking = mark.record.booking
        if await self._bookings.refuse(booking, event, mark.record.holder, mark):
            log.warning("booking %s was never claimed: its hold is given back", booking)
            await self._completer.hurry(booking)
        elif await self._bookings.hold_of(booking) != mark.hold or await self._bookings.load(booking) is None:
            # A key that was used for two holds, or again after its refusal: this hold's claim can never commit.
            log.warning("booking %s is another's or was refused: hold %s is given back", booking, mark.hold)
            await self._completer.restore(event, mark.hold, booking)


async def _nothing_to_finish(_event: str, _hold: str) -> None:
    """Where no box office holds anything."""


def _given(line: Line) -> Line:
    """A line that is given away."""
    return Line(line.line, line.seat_id, line.area_id, line.type, 0, 0, 0)


def _same_request(
    known: Booking, hold: str, buyer: Buyer, expected_amount: int | None, counter: AtCounter | None = None
) -> Booking | Refusal:
    """The booking that a key made, for the request that made it; for another request under this key a refusal.

    The gateway compares bodies, but forgets them after a day, and at once where a first request was cut short. A first
    `expected_amount` was the booking's amount, or there was none.
    """
    asked = (hold, buyer.name, buyer.email, None if counter is None else counter.tender)
    same = (known.hold, known.buyer_name, known.buyer_email, known.tender) == asked
    if same and expected_amount in (None, known.amount):
        return known
    return Refusal("idempotency_mismatch", "This key was used for another booking.")
