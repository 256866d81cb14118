"""What is done outside after a sale: refunds and disputes at Stripe, places that were given back in part, in Redis.

The completer's other half: it has the outbox rows and notices that are about them. The same holds: everything may
happen twice, late, or in another worker.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from lml_live import limits
from lml_live.booking.bookings import Bookings, Work
from lml_live.booking.disputes import Disputes
from lml_live.booking.payments import PaymentFault, Payments, StripeRefund
from lml_live.booking.refunds import Refunds
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
    ) -> None:
        self._bookings = bookings
        self._refunds = refunds
        self._disputes = disputes
        self._returns = returns
        self._payments = payments
        self.acts: dict[str, Callable[[Work], Awaitable[None]]] = {
            "refund": self._refund,
            "keep_places": self._keep_places,
        }

    def look_for(self, notice: str) -> Callable[[str], Awaitable[None]] | None:
        """How a booking is looked at after this type of notice; None where that is no matter of this module's."""
        if notice.startswith(_DISPUTE_NOTICES):
            return self.look_at_disputes
        return self.look_at_refunds if notice.startswith(_REFUND_NOTICES) else None

    async def to_look_at(self, count: int, seconds: float) -> list[Coroutine[Any, Any, None]]:
        """The looks that are due, because no notice may ever come."""
        refunded = await self._refunds.to_look_at(count, seconds)
        disputed = await self._disputes.to_look_at(count, max(seconds, limits.DISPUTE_LOOK_SECONDS))
        return [*map(self.look_at_refunds, refunded), *map(self.look_at_disputes, disputed)]

    async def look_at_refunds(self, booking: str) -> None:
        """Asks Stripe what became of a booking's refunds."""
        if (intent := await self._intent_of(booking)) is not None and self._payments is not None:
            try:
                found = await self._payments.find_refunds(intent)
            except PaymentFault as fault:
                log.warning("booking %s: its refunds could not be looked at: %s", booking, fault)
                return
            await self._refunds.found(booking, found)

    async def look_at_disputes(self, booking: str) -> None:
        """Asks Stripe how a booking's disputes stand."""
        if (intent := await self._intent_of(booking)) is not None and self._payments is not None:
            try:
                found = await self._payments.find_disputes(intent)
            except PaymentFault as fault:
                log.warning("booking %s: its disputes could not be looked at: %s", booking, fault)
                return
            await self._disputes.found(booking, found)

    async def _intent_of(self, booking: str) -> str | None:
        known = await self._bookings.load(booking)
        return None if known is None else known.intent_id

    async def _refund(self, work: Work) -> None:
        assert work.refund is not None
        refund = await self._refunds.load(work.refund)
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        assert booking.intent_id is not None
        if refund.state == "pending" and refund.accepted is None:
            if self._payments is None:
                raise Unavailable("No payment provider is set up.")
            made = await self._find(booking.intent_id, refund.id) if work.tries > 1 or work.attempt else None
            if made is None:
                try:
                    made = await self._payments.refund(
                        booking.intent_id, refund.amount, booking.currency, booking.id, refund.id,
                        f"{work.key}:{work.attempt}",
                    )  # fmt: skip
                except PaymentFault as fault:
                    if fault.kind != "refused":
                        raise
                    # Refused for good, or because it is there: an earlier try may have worked (reliability.md, D6).
                    made = await self._find(booking.intent_id, refund.id)
                    if made is None:
                        log.error("booking %s: refund %s cannot be made: %s", booking.id, refund.id, fault)
                        await self._refunds.refuse(refund.id, str(fault))
            if made is not None:
                await self._refunds.found(booking.id, (made,))
        await self._bookings.finish_work(work.id)

    async def _find(self, intent: str, refund: str) -> StripeRefund | None:
        assert self._payments is not None
        found = await self._payments.find_refunds(intent)
        return next((one for one in found if one.key == refund), None)

    async def _keep_places(self, work: Work) -> None:
        kept = await self._refunds.kept(work.booking)
        await self._returns.keep_places(kept.event, kept.hold, work.booking, kept.seats, kept.areas)
        await self._bookings.finish_work(work.id)
