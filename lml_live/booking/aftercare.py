"""What is done outside after a sale: refunds and disputes at Stripe, places that were given back in part, in Redis.

The completer's other half: it has the outbox rows and notices that are about them. The same holds: everything may
happen twice, late, or in another worker.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from lml_live import limits
from lml_live.booking.bookings import Bookings
from lml_live.booking.disputes import Disputes
from lml_live.booking.evidence import Evidence
from lml_live.booking.outbox import Outcome, Work, refused_for_long
from lml_live.booking.paying import Paying
from lml_live.booking.payments import PaymentFault, Payments, StripeRefund
from lml_live.booking.refunds import Refunds
from lml_live.booking.states import UNPAID, BookingState
from lml_live.errors import Unavailable
from lml_live.inventory.returns import Returns

log = logging.getLogger(__name__)

_REFUND_NOTICES: Final = ("charge.refund", "refund.")
_DISPUTE_NOTICES: Final = "charge.dispute."


class Aftercare:
    """The acts after a sale. `acts` has them by the outbox's names."""

    def __init__(
        self,
        bookings: Bookings,
        refunds: Refunds,
        disputes: Disputes,
        returns: Returns,
        payments: Payments | None,
        paying: Paying | None = None,
        *,
        evidence: Evidence,
    ) -> None:
        self._evidence = evidence
        self._bookings = bookings
        self._refunds = refunds
        self._disputes = disputes
        self._returns = returns
        self._payments = payments
        self._paying = paying
        self.acts: dict[str, Callable[[Work], Awaitable[None]]] = {
            "refund": self._refund,
            "refund_surplus": self._refund_surplus,
            "keep_places": self._keep_places,
            "submit_evidence": self._submit_evidence,
            **(paying.acts if paying is not None else {}),
        }

    def look_for(self, notice: str) -> Callable[[str], Awaitable[None]] | None:
        """How a booking is looked at after this type of notice; None where that is no matter of this module's.

        It raises `PaymentFault` where Stripe cannot be asked: the notice is then to be heeded again.
        """
        if notice.startswith(_DISPUTE_NOTICES):
            return self._look_at_disputes
        return self._look_at_refunds if notice.startswith(_REFUND_NOTICES) else None

    async def to_look_at(self, count: int, seconds: float) -> list[Coroutine[Any, Any, None]]:
        """The looks that are due, because no notice may ever come."""
        refunded = await self._refunds.to_look_at(count, seconds)
        disputed = await self._disputes.to_look_at(count, max(seconds, limits.DISPUTE_LOOK_SECONDS))
        looks = [(self._look_at_refunds, one) for one in refunded] + [(self._look_at_disputes, one) for one in disputed]
        return [_poll(look, booking) for look, booking in looks]

    async def look_at_payout(self, account: str, payout: str) -> None:
        """Asks Stripe how an account's payout to its bank stands. Raises `PaymentFault`."""
        if self._paying is not None:
            await self._paying.banks.look_at(account, payout)

    async def _look_at_refunds(self, booking: str) -> None:
        """Asks Stripe what became of a booking's refunds."""
        intent, _ = await self._paid_intent(booking)
        if intent is not None and self._payments is not None:
            await self._refunds.found(booking, await self._payments.find_refunds(intent))

    async def _look_at_disputes(self, booking: str) -> None:
        """Asks Stripe how a booking's disputes stand."""
        intent, state = await self._paid_intent(booking)
        if intent is not None and self._payments is not None:
            found = await self._payments.find_disputes(intent)
            if found and state in UNPAID:
                # It was paid since. Booked now, nobody would look at it when the booking is confirmed.
                raise PaymentFault("unknown", f"It is {state}, and disputed.")
            await self._disputes.found(booking, found)
        if self._payments is not None:
            for other in await self._disputes.of_surplus.intents(booking):
                await self._disputes.of_surplus.found(booking, other, await self._payments.find_disputes(other))

    async def _paid_intent(self, booking: str) -> tuple[str | None, BookingState | None]:
        """A booking's intent, and its state once that is known to be paid: the word of that may be late, or lost."""
        known = await self._bookings.load(booking)
        if known is None or known.intent_id is None or self._payments is None:
            return None, None
        if known.state not in UNPAID:
            return known.intent_id, known.state
        intent = await self._payments.retrieve(known.intent_id)
        return intent.id, await self._bookings.intent_found(booking, intent.id, intent.status)

    async def _refund(self, work: Work) -> None:
        assert work.refund is not None
        refund = await self._refunds.load(work.refund)
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        assert booking.intent_id is not None
        outcome: Outcome = "found"
        if refund.state == "pending" and refund.accepted is None:
            if self._payments is None:
                raise Unavailable("No payment provider is set up.")
            again = work.tries > 1 or work.attempt > 0
            at_stripe = await self._payments.find_refunds(booking.intent_id) if again else ()
            if not _has(at_stripe, refund.id):
                try:
                    made = await self._payments.refund(
                        booking.intent_id, refund.amount, booking.currency, booking.id, refund.id, work.stripe_key
                    )
                    at_stripe, outcome = (made,), "done"
                except PaymentFault as fault:
                    if fault.kind != "refused":
                        raise
                    # Refused for good, or because it is there: an earlier try may have worked (reliability.md, D6).
                    at_stripe = await self._payments.find_refunds(booking.intent_id)
                    if not _has(at_stripe, refund.id):
                        log.error("booking %s: refund %s cannot be made: %s", booking.id, refund.id, fault)
                        await self._refunds.refuse(refund.id, str(fault))
                        outcome = "refused"
            # Also what was given back at Stripe itself: this one, as long as it was decided, may have been in its way.
            await self._refunds.found(booking.id, at_stripe)
        await self._bookings.finish_work(work, outcome)

    async def _refund_surplus(self, work: Work) -> None:
        """Gives back what was paid and bought nothing."""
        assert work.intent is not None
        amount, returned = await self._bookings.surplus(work.intent)
        outcome: Outcome = "found"
        refused: PaymentFault | None = None
        if not returned:
            if self._payments is None:
                raise Unavailable("No payment provider is set up.")
            booking = await self._bookings.load(work.booking)
            assert booking is not None
            named = f"surplus:{work.intent}"
            made = await self._surplus_refund(work.intent, named) if work.tries > 1 or work.attempt else None
            if made is None:
                try:
                    made = await self._payments.refund(
                        work.intent, amount, booking.currency, booking.id, named, work.stripe_key
                    )
                    outcome = "done"
                except PaymentFault as fault:
                    if fault.kind != "refused":
                        raise
                    made, refused = await self._surplus_refund(work.intent, named), fault
            if made is not None:
                await self._bookings.surplus_returned(work.booking, work.intent, made.id)
            else:
                bank = await self._taken_by_bank(work, work.intent, amount, refused)
                await self._bookings.surplus_returned(work.booking, work.intent, bank, by_bank=True)
        await self._bookings.finish_work(work, outcome)

    async def _taken_by_bank(self, work: Work, intent: str, amount: int, fault: PaymentFault | None) -> str:
        """By which dispute that was lost it went back; raises where it did not, or not yet."""
        assert self._payments is not None
        assert fault is not None
        disputes = await self._payments.find_disputes(intent)
        await self._disputes.of_surplus.found(work.booking, intent, disputes)
        lost = [one for one in disputes if one.state == "lost" and one.amount >= amount]
        if lost:
            return lost[0].id
        if any(one.state == "open" for one in disputes):
            wait = limits.REFUSED_RETRY_SECONDS_MAX  # a bank takes weeks
            raise PaymentFault("worn", "A bank decides about it.", wait_seconds=wait) from fault
        # Given back by hand, perhaps: somebody must look, and it is tried again.
        log.error("booking %s: what %s paid cannot be given back: %s", work.booking, intent, fault)
        raise refused_for_long(work, fault) from fault

    async def _surplus_refund(self, intent: str, named: str) -> StripeRefund | None:
        assert self._payments is not None
        found = [one for one in await self._payments.find_refunds(intent) if one.key == named and one.state != "failed"]
        return found[0] if found else None

    async def _submit_evidence(self, work: Work) -> None:
        told = await self._evidence.load(work.key)
        outcome: Outcome = "found"
        if told.state == "planned":
            if self._payments is None:
                raise Unavailable("No payment provider is set up.")
            try:
                # Retrieve first: a bank hears evidence once, and may have heard some (reliability.md, D6).
                if not (await self._payments.find_dispute(told.dispute)).answered:
                    await self._payments.submit_evidence(told.dispute, told.fields, work.stripe_key)
                    outcome = "done"
            except PaymentFault as fault:
                if fault.kind != "refused":
                    raise
                log.error("booking %s: the evidence in %s is refused: %s", work.booking, told.dispute, fault)
                raise refused_for_long(work, fault) from fault
            again = work.tries > 1 or work.attempt > 0
            await self._evidence.ended(work.key, "submitted" if outcome == "done" or again else "found")
        await self._bookings.finish_work(work, outcome)

    async def _keep_places(self, work: Work) -> None:
        kept = await self._refunds.kept(work.booking)
        await self._returns.keep_places(kept.event, kept.hold, work.booking, kept.seats, kept.areas)
        await self._bookings.finish_work(work)


def _has(at_stripe: Sequence[StripeRefund], refund: str) -> bool:
    return any(one.key == refund for one in at_stripe)


async def _poll(look: Callable[[str], Awaitable[None]], booking: str) -> None:
    """A look that is due again by itself."""
    try:
        await look(booking)
    except PaymentFault as fault:
        log.warning("booking %s could not be looked at: %s", booking, fault)
