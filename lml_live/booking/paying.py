"""Pays organisations: decides what is due, in the worker that leads, and does at Stripe what was decided, in any.

The same holds as for `completer`: each act has its key, on record before it is sent; an outcome that is not known is
asked for, never guessed; two workers at one row have one effect.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from lml_live import limits
from lml_live.booking.bank_payouts import BankPayouts
from lml_live.booking.bookings import Bookings
from lml_live.booking.connect import Connect
from lml_live.booking.onboarding import Onboarding
from lml_live.booking.outbox import Outcome, Work, refused_for_long
from lml_live.booking.payments import PaymentFault, Payments
from lml_live.booking.surplus import Surplus
from lml_live.booking.transfers import Transfers
from lml_live.errors import LmlError
from lml_live.infra.telemetry import METRICS

log = logging.getLogger(__name__)


class Paying:
    """The acts by the outbox's names (`acts`), and the leader's loop."""

    def __init__(
        self, bookings: Bookings, transfers: Transfers, onboarding: Onboarding, payments: Payments, connect: Connect
    ) -> None:
        self._bookings = bookings
        self._transfers = transfers
        self._onboarding = onboarding
        self._payments = payments
        self._connect = connect
        self.surplus: Final = Surplus(transfers.pool, bookings, connect)
        self.banks: Final = BankPayouts(transfers.pool, connect)
        self._waiting: Final[dict[str, int]] = {}
        self.acts: dict[str, Callable[[Work], Awaitable[None]]] = {
            "transfer": self._transfer,
            "reverse_transfer": self._reverse,
            "transfer_again": self._transfer_again,
            **self.surplus.acts,
        }

    async def run(self, leads: Callable[[], bool]) -> None:
        """Looks at accounts and decides what is due, in the worker that leads, until cancelled."""
        while True:
            await asyncio.sleep(limits.PAYOUT_LOOK_SECONDS)
            if not leads():
                continue
            try:
                await self.turn()
            except LmlError as error:
                log.debug("payouts wait: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("paying out failed")

    async def turn(self) -> int:
        """One look; answers how many transfers it decided."""
        await self._onboarding.look()
        decided = await self._transfers.decide_due(limits.PAYOUT_BATCH)
        await self.surplus.count()
        waiting = await self._transfers.waiting_for_accounts()
        METRICS.transfers_waiting.set(sum(waiting.values()))
        for organisation in waiting.keys() - self._waiting.keys():
            log.warning(
                "organisation %s is due the money of %d bookings, and Stripe cannot pay it: see that it is onboarded",
                *(organisation, waiting[organisation]),
            )
        self._waiting.clear()
        self._waiting.update(waiting)
        # Last: what cannot be read of what banks have keeps nobody from being paid.
        await self.banks.look()
        return decided

    async def _transfer(self, work: Work) -> None:
        transfer = await self._transfers.load(work.booking)
        outcome: Outcome = "found"
        if transfer.state == "decided":
            assert transfer.account is not None
            # From the second try on an earlier one may have worked, and its answer been lost (reliability.md, D6).
            stripe_id = await self._sent(work.booking) if work.tries > 1 or work.attempt > 0 else None
            if stripe_id is None:
                charge = await self._charge(work.booking)
                try:
                    made = await self._connect.transfer(
                        *(transfer.account, transfer.sent, transfer.currency, charge),
                        *(work.booking, work.stripe_key),
                    )
                    stripe_id, outcome = made.id, "done"
                except PaymentFault as fault:
                    if fault.kind != "refused":
                        raise
                    stripe_id = await self._sent(work.booking)
                    if stripe_id is None:
                        raise self._refused(work, fault) from fault
            await self._transfers.made(work.booking, stripe_id)
            await self._look_again(work)
        await self._bookings.finish_work(work, outcome)

    async def _charge(self, name: str) -> str:
        booking = await self._bookings.load(name)
        assert booking is not None
        assert booking.intent_id is not None
        intent = await self._payments.retrieve(booking.intent_id)
        assert intent.charge is not None, "what was captured was charged"
        return intent.charge

    async def _sent(self, booking: str, named: str | None = None) -> str | None:
        at_stripe = await self._connect.find_transfers(booking)
        found = [one.id for one in at_stripe if (one.booking, one.key) == (booking, named)]
        return found[0] if found else None

    async def _transfer_again(self, work: Work) -> None:
        again = await self._transfers.load_again(work.key)
        outcome: Outcome = "found"
        if again.state == "decided":
            if not again.has_its_turn:
                raise PaymentFault(
                    "unknown", "The transfer before it, or what comes back of that, is still on its way."
                )
            stripe_id = await self._sent(work.booking, again.id) if work.tries > 1 or work.attempt > 0 else None
            if stripe_id is None:
                # Out of the charge, which needs no balance; where Stripe will not, out of the balance, in turn.
                charge = None if work.attempt % 2 else await self._charge(work.booking)
                try:
                    made = await self._connect.transfer(
                        *(again.account, again.sent, again.currency, charge, work.booking, work.stripe_key, again.id)
                    )
                    stripe_id, outcome = made.id, "done"
                except PaymentFault as fault:
                    if fault.kind != "refused":
                        raise
                    stripe_id = await self._sent(work.booking, again.id)
                    if stripe_id is None:
                        raise self._refused(work, fault) from fault
            await self._transfers.made_again(again, stripe_id)
            await self._look_again(work)
        await self._bookings.finish_work(work, outcome)

    async def _look_again(self, work: Work) -> None:
        # Not the first call: one before may still be on its way to Stripe, and have its effect after all looks.
        if work.tries > 1 or work.attempt > 0:
            await self.surplus.suspect([work.booking], "first")

    def _refused(self, work: Work, fault: PaymentFault) -> PaymentFault:
        # It stays theirs: somebody must look, and it is asked for again, by another key.
        METRICS.transfers_refused.inc()
        log.error("booking %s: its transfer is refused: %s", work.booking, fault)
        return refused_for_long(work, fault)

    async def _reverse(self, work: Work) -> None:
        reversal = await self._transfers.load_reversal(work.key)
        outcome: Outcome = "found"
        if reversal.state == "pending":
            transfer = await self._transfers.load(work.booking)
            if transfer.stripe_id is None:
                raise PaymentFault("unknown", "The transfer that is to be reversed is still on its way.")
            again = work.tries > 1 or work.attempt > 0
            stripe_id = await self._taken_back(transfer.stripe_id, reversal.id) if again else None
            if stripe_id is None:
                try:
                    made = await self._connect.reverse(
                        *(transfer.stripe_id, reversal.sought, transfer.currency),
                        *(work.booking, reversal.id, work.stripe_key),
                    )
                    stripe_id, outcome = made.id, "done"
                except PaymentFault as fault:
                    if fault.kind != "refused":
                        raise
                    stripe_id = await self._taken_back(transfer.stripe_id, reversal.id)
                    if stripe_id is None:
                        await self._transfers.refuse_reversal(reversal, str(fault))
                        outcome = "refused"
            if stripe_id is not None:
                await self._transfers.reversed(reversal, stripe_id)
        if "refused" in (outcome, reversal.state):
            # Somebody may have taken it back by hand: then nothing is owed.
            await self.surplus.suspect([work.booking], reversal.id)
        await self._bookings.finish_work(work, outcome)

    async def _taken_back(self, transfer: str, reversal: str) -> str | None:
        found = [one.id for one in await self._connect.find_reversals(transfer) if one.key == reversal]
        return found[0] if found else None
