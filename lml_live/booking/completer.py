"""Does what the bookings decided: the outbox at Stripe and in Redis, notices, the poller, and what was not paid.

Everything here may happen twice, late, or in another worker: each act has its key, Redis acts only where the record
bears the booking, and states move only as the table allows. So any number of completers may run, and a crash between
two steps is finished by the next (reliability.md, F2-F5, F20-F26).
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from lml_live import limits
from lml_live.booking.aftercare import Aftercare
from lml_live.booking.bookings import Bookings
from lml_live.booking.creating import Creating
from lml_live.booking.customers import Customers
from lml_live.booking.inbox import OpenNotice
from lml_live.booking.outbox import Leases, Outcome, Work
from lml_live.booking.pace import for_buyers
from lml_live.booking.payments import Intent, PaymentFault, Payments
from lml_live.booking.states import IntentStatus
from lml_live.errors import LmlError, Unavailable
from lml_live.infra.acting import acting_ends
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import is_counter_hold

log = logging.getLogger(__name__)

UndoTaking = Callable[[str, str, str], Awaitable[None]]
"""(event, hold, booking): what was taken for a sale at the counter is what it was before"""


async def _nothing_taken(event: str, hold: str, booking: str) -> None:
    """Where nobody sells at the counter."""


_FREE_REASONS: Final = {
    "cancelled": "own",
    "expired": "expired",
    "failed": "payment_failed",
}
"""Why places are free of a booking that was not paid for; else a member of staff gave them back."""

_OF_INTENTS: Final = frozenset(
    f"payment_intent.{what}"
    for what in ("amount_capturable_updated", "succeeded", "canceled", "processing", "payment_failed")
)
"""The notices after which an intent may have become something that a booking follows."""
_BUYERS_WAIT: Final = frozenset({"cancel_intent"})
_OF_MONEY: Final = frozenset({"payment_intent.succeeded", "payment_intent.amount_capturable_updated"})


class Completer:
    """The booking loop of one worker, and the same acts for a request that waits."""

    def __init__(
        self,
        bookings: Bookings,
        holds: Holds,
        payments: Payments | None,
        aftercare: Aftercare,
        customers: Customers | None = None,
        *,
        poll_seconds: float,
        bank_seconds: float = limits.BANK_SECONDS,
        lease_seconds: float = limits.OUTBOX_LEASE_SECONDS,
    ) -> None:
        self._bookings = bookings
        self._holds = holds
        self._payments = payments
        self._aftercare = aftercare
        self._poll_seconds = poll_seconds
        self._bank_seconds = bank_seconds
        self._leases = Leases(bookings, lease_seconds)
        self._creating = Creating(bookings, payments, self._perform_act, customers, leases=self._leases)
        self._creating.made = self.wake
        self.undo_taking: UndoTaking = _nothing_taken
        self._wake = asyncio.Event()
        self._queued = asyncio.Event()
        self._hurrying: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()
        self._queued.set()

    async def run(self) -> None:
        """Works until cancelled. Payments that wait for their turn at Stripe keep nothing else waiting."""
        try:
            await asyncio.gather(
                self._repeat(self._round, self._wake),
                self._repeat(self._creating.turn, self._queued),
                self._leases.run(),
            )
        finally:
            await self.close()

    async def _repeat(self, turn: Callable[[], Awaitable[bool]], wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            try:
                busy = await turn()
            except Unavailable as error:
                busy = False
                log.debug("the completer waits: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                busy = False
                log.exception("completing failed")
            if not busy:
                # A little chance keeps the workers from coming all at once.
                wait = limits.COMPLETER_SECONDS * (0.5 + random.random())  # noqa: S311
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await wake.wait()

    async def close(self) -> None:
        """Ends what is still hurried for requests that no longer wait; the outbox has it, and others will do it."""
        for task in self._hurrying:
            task.cancel()
        await asyncio.gather(*self._hurrying, return_exceptions=True)
        await self._creating.close()

    async def turn(self) -> bool:
        """One round of everything, to its end; whether there was anything to do."""
        made = await self._creating.turn()
        await self._creating.rest()
        return await self._round() or made

    async def _round(self) -> bool:
        """Everything but what is made at Stripe for those who are about to pay; whether there was anything to do.

        No part keeps another from its turn: what fails is logged, or raised when all were tried.
        """
        work = await self._bookings.lease_work(limits.OUTBOX_BATCH, self._leases.seconds)
        with self._leases.kept(work):
            faults = await _all_of(self._perform(one) for one in work)
        notices = await self._bookings.open_notices(limits.OUTBOX_BATCH)
        faults += await _all_of(self._heed(notice) for notice in notices)
        overdue = await self._bookings.to_expire(limits.OUTBOX_BATCH, self._bank_seconds)
        for booking in overdue:
            await self._bookings.give_up(booking, "expiring")
        # Each look costs a call: at Stripe's pace, and no more at once than a batch.
        banks = max(self._poll_seconds, min(limits.BANK_LOOK_SECONDS, self._bank_seconds / limits.BANK_LOOKS))
        unseen = await self._bookings.to_look_at(limits.OUTBOX_BATCH, self._poll_seconds, banks)
        faults += await _all_of(self.look_at(booking) for booking in unseen)
        faults += await _all_of(await self._aftercare.to_look_at(limits.OUTBOX_BATCH, self._poll_seconds))
        if faults:
            raise faults[0]
        return bool(work or notices or overdue)

    async def hurry(self, booking: str) -> None:
        """Does now what is due for one booking, and waits as long as a request may wait. What is left is done later.

        A call to Stripe that takes longer goes on: ended half-way, its outcome would be unknown, and nobody would try
        again before its lease is over. What follows is the program's doing, as where its loop comes first, and not of
        whoever asks.
        """
        with acting_ends():
            task = asyncio.create_task(self._hurry(booking), name=f"hurry {booking}")
        self._hurrying.add(task)
        task.add_done_callback(self._hurried)
        done, _ = await asyncio.wait({task}, timeout=limits.PAYMENT_WAIT_SECONDS)
        for ended in done:
            ended.result()

    def _hurried(self, task: "asyncio.Task[None]") -> None:
        self._hurrying.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("what was hurried is left to the loop: %s", error)
        self.wake()

    async def _hurry(self, booking: str) -> None:
        await self._creating.hurry(booking)
        for _ in range(limits.HURRY_ROUNDS_MAX):
            work = await self._bookings.lease_work(limits.OUTBOX_BATCH, self._leases.seconds, booking=booking)
            if not work:
                return
            with self._leases.kept(work):
                for one in work:
                    with for_buyers():
                        await self._perform(one)

    async def _heed(self, notice: OpenNotice) -> None:
        if notice.account is not None:
            await self._look_into_account(notice, notice.account)
            return
        with for_buyers():
            await self._look_into(notice.id, notice.type, notice.intent, notice.booking)

    async def _look_into_account(self, notice: OpenNotice, account: str) -> None:
        """Of what happens to a connected account its payouts are looked at; the rest tells who looks at accounts."""
        if notice.payout is not None:
            try:
                await self._aftercare.look_at_payout(account, notice.payout)
            except PaymentFault as fault:
                log.warning("account %s: %s will be looked into again: %s", account, notice.type, fault)
                wait = max(fault.wait_seconds, limits.OUTBOX_BACK_OFF_SECONDS)
                await self._bookings.postpone_notice(notice.id, wait)
                return
        await self._bookings.finish_notice(notice.id)

    async def _look_into(self, notice: str, kind: str, intent: str | None, booking: str | None) -> None:
        # Most notices tell what the one about the intent tells, too, and a look at each would be most of the pace.
        # A payment whose look fails is done with, too: the poller will look again. What comes after a sale it may never
        # hear of otherwise.
        look = self._aftercare.look_for(kind) or (self.look_at if kind in _OF_INTENTS else None)
        if look is not None and (booking is not None or (kind in _OF_MONEY and intent is not None)):
            try:
                if booking is None:
                    assert intent is not None
                    await self._look_at_unknown(intent)
                elif look == self.look_at:
                    await self.look_at(booking, heard=kind.removeprefix("payment_intent."))
                else:
                    await look(booking)
            except PaymentFault as fault:
                if booking is None and fault.kind == "refused":
                    await self._bookings.finish_notice(notice)  # Stripe does not know it either
                    return
                log.warning("booking %s: %s will be looked into again: %s", booking, kind, fault)
                wait = max(fault.wait_seconds, limits.OUTBOX_BACK_OFF_SECONDS)
                await self._bookings.postpone_notice(notice, wait)
                return
        await self._bookings.finish_notice(notice)

    async def look_at(self, booking: str, heard: str | None = None) -> None:
        """Asks Stripe what became of a booking's intent, and draws the consequences.

        Not where that is known for good, unless something else was `heard`.
        """
        known = await self._bookings.load(booking)
        if known is None or known.intent_id is None or self._payments is None:
            return
        if known.payment == "succeeded" or (known.payment == "canceled" and heard in (None, "canceled")):
            return
        try:
            intent = await self._payments.retrieve(known.intent_id)
        except PaymentFault as fault:
            log.log(
                logging.DEBUG if fault.paced else logging.WARNING,
                "booking %s could not be looked at: %s",
                booking,
                fault,
            )
            return
        await self._found(booking, intent)

    async def _look_at_unknown(self, intent_id: str) -> None:
        """Money moves by an intent that no booking has: it may have been made for one, and its answer been lost.

        Raises `PaymentFault` where Stripe cannot be asked: there may be no other word of it.
        """
        intent = await self._provider().retrieve(intent_id)
        booking = None if intent.booking is None else await self._bookings.load(intent.booking)
        if booking is None:
            return  # somebody else's; the account is not ours alone
        if booking.tender == "card_terminal":
            # It may be the terminal's own, by whose hand it bears the booking's name.
            told_of = (booking.id, intent.id, intent.status)
            log.error(
                "booking %s was paid at the counter's terminal, and %s is %s: look whether it was paid twice", *told_of
            )
            return
        if booking.payment is None:
            log.error("booking %s: %s is %s, and nothing is due: it ends", booking.id, intent.id, intent.status)
            await self._bookings.end_surplus(booking.id, intent.id)
            self.wake()
            return
        # Whoever made it: a booking is sold for what it costs.
        fits = (intent.amount, intent.currency) == (booking.amount, booking.currency)
        told = (booking.id, intent.id, intent.client_secret, intent.status)
        if not await self._bookings.intent_made(*told, fits=fits):
            log.warning("booking %s: another intent, %s, is %s, and ends", intent.booking, intent.id, intent.status)
        self.wake()

    async def _found(self, booking: str, intent: Intent) -> None:
        state = await self._bookings.intent_found(booking, intent.id, intent.status)
        log.info("booking %s: its intent is %s, it is %s", booking, intent.status, state)
        self.wake()

    # --- One piece of work

    async def _perform(self, work: Work) -> None:
        acts: dict[str, Callable[[Work], Awaitable[None]]] = {
            "capture_intent": self._capture,
            "cancel_intent": self._cancel,
            "cancel_surplus": self._cancel_surplus,
            "sell_hold": self._sell_hold,
            "free_booking": self._free_booking,
            "restore_hold": self._restore_hold,
            **self._aftercare.acts,
        }
        with for_buyers() if work.act in _BUYERS_WAIT else contextlib.nullcontext():
            await self._perform_act(work, acts[work.act])

    async def _perform_act(self, work: Work, act: Callable[[Work], Awaitable[None]]) -> None:
        try:
            await act(work)
        except PaymentFault as fault:
            wait = fault.wait_seconds if fault.paced else max(fault.wait_seconds, _back_off(work.tries))
            level = logging.DEBUG if fault.paced else logging.WARNING
            log.log(level, "booking %s: %s will be tried again in %.1f s: %s", work.booking, work.act, wait, fault)
            await self._bookings.postpone_attempt(work, wait, str(fault), worn=fault.kind == "worn", stuck=fault.stuck)
            if fault.stuck:
                log.error("booking %s: %s is refused for good: nobody asks again until told to", work.booking, work.act)
        except LmlError as error:
            log.warning("booking %s: %s will be tried again: %s", work.booking, work.act, error)
            await self._bookings.postpone_work(work, _back_off(work.tries), error.message)
        except Exception:  # the worker's loop: one piece of work must not hold up the others (style.md, 14)
            log.exception("booking %s: %s failed", work.booking, work.act)
            await self._bookings.postpone_work(work, _back_off(work.tries), "a defect; see the log")

    async def _capture(self, work: Work) -> None:
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        assert booking.intent_id is not None
        payments = self._provider()
        outcome: Outcome = "found"
        # From the second try on an earlier one may have worked, and its answer been lost (reliability.md, D6).
        again = work.tries > 1 or work.attempt > 0
        intent = await payments.retrieve(booking.intent_id) if again else None
        if intent is None or intent.status == "requires_capture":
            try:
                intent, outcome = await payments.capture(booking.intent_id, work.stripe_key), "done"
            except PaymentFault as fault:
                if fault.kind != "refused":
                    raise
                intent = await payments.retrieve(booking.intent_id)
        if intent.status not in ("succeeded", "canceled"):
            if intent.status == "requires_capture" and work.attempt < limits.CAPTURE_ATTEMPTS_MAX:
                raise PaymentFault("worn", "The capture was refused.")
            # The money will not come. The intent ends, so that it never can, and the seats go after it (D3).
            log.error("booking %s: its authorised payment could not be captured", booking.id)
            key, outcome = f"{work.stripe_key}:void", "refused"
            await self._bookings.begin_attempt(booking.id, key, "void_intent")
            intent = await payments.cancel(intent.id, key)
            await self._bookings.end_attempt(booking.id, key, "done")
        await self._found(booking.id, intent)
        await self._bookings.finish_work(work, outcome)

    async def _cancel(self, work: Work) -> None:
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        assert booking.intent_id is not None
        outcome: Outcome = "found"
        if booking.state in ("cancelling", "expiring"):
            # Stripe would void an authorisation that was faster than we, and that the buyer was shown.
            intent, outcome = await self._cancelled(booking.intent_id, work, unless=("requires_capture", "succeeded"))
            await self._found(booking.id, intent)
        await self._bookings.finish_work(work, outcome)

    async def _cancel_surplus(self, work: Work) -> None:
        assert work.intent is not None
        intent, outcome = await self._cancelled(work.intent, work, unless=("succeeded",))
        if intent.status == "succeeded":
            booking = await self._bookings.load(work.booking)
            assert booking is not None
            if intent.currency == booking.currency and intent.received:
                log.error("booking %s: intent %s paid for nothing, and is given back", work.booking, intent.id)
                await self._bookings.surplus_paid(work.booking, intent.id, intent.received)
                self.wake()
            else:
                log.error("booking %s: %s is paid in another currency: refund it by hand", work.booking, intent.id)
        await self._bookings.finish_work(work, outcome)

    async def _cancelled(
        self, intent_id: str, work: Work, *, unless: tuple[IntentStatus, ...]
    ) -> tuple[Intent, Outcome]:
        """An intent that is cancelled now, or that was found in one of these states and left as it is."""
        payments = self._provider()
        # Retrieve first: an earlier try may have worked, and its answer been lost (reliability.md, D6).
        intent = await payments.retrieve(intent_id)
        if intent.status in (*unless, "canceled"):
            return intent, "found"
        try:
            return await payments.cancel(intent_id, work.stripe_key), "done"
        except PaymentFault as fault:
            if fault.kind == "unknown":
                raise
            intent = await payments.retrieve(intent_id)
            if intent.status not in (*unless, "canceled"):
                # What the bank is at can mostly not be called off (API: Cancel a PaymentIntent): its answer decides.
                wait = limits.BANK_LOOK_SECONDS if intent.status == "processing" else 0.0
                raise PaymentFault("worn", str(fault), wait_seconds=wait) from fault
            return intent, "found"

    async def _sell_hold(self, work: Work) -> None:
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        await self._holds.sell_hold(booking.event, booking.hold, booking.id)
        await self._bookings.finish_work(work)

    async def _free_booking(self, work: Work) -> None:
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        reason = _FREE_REASONS.get(booking.state, "staff")
        await self._holds.free_booking(booking.event, booking.hold, booking.id, reason)  # type: ignore[arg-type]
        await self._bookings.finish_work(work)

    async def _restore_hold(self, work: Work) -> None:
        await self.restore(work.event, await self._bookings.hold_of(work.booking), work.booking)
        await self._bookings.finish_work(work)

    async def restore(self, event: str, hold: str, booking: str) -> None:
        """Takes a mark back of which there never will be a claim: its hold is what it was, or was never there."""
        if is_counter_hold(hold):
            await self.undo_taking(event, hold, booking)
        else:
            await self._holds.restore_hold(event, hold, booking)

    def _provider(self) -> Payments:
        if self._payments is None:
            raise Unavailable("No payment provider is set up.")
        return self._payments


async def _all_of(acts: Iterable[Coroutine[Any, Any, None]]) -> list[Exception]:
    """Does them at once, to the end; what went wrong is answered, the defects first and with their traces logged."""
    ended = await asyncio.gather(*acts, return_exceptions=True)
    faults = [fault for fault in ended if isinstance(fault, Exception)]
    for fault in faults:
        if not isinstance(fault, LmlError):
            log.error("completing failed", exc_info=fault)
    return sorted(faults, key=lambda fault: isinstance(fault, LmlError))


def _back_off(tries: int) -> float:
    most: float = min(limits.OUTBOX_BACK_OFF_SECONDS_MAX, limits.OUTBOX_BACK_OFF_SECONDS * 2 ** min(tries, 16))
    return most * (0.5 + random.random() / 2)  # noqa: S311
