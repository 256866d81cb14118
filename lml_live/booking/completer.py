"""Does what the bookings decided: the outbox at Stripe and in Redis, notices, the poller, and what was not paid.

Everything here may happen twice, late, or in another worker: each act has its key, Redis acts only where the record
bears the booking, and states move only as the table allows. So any number of completers may run, and a crash between
two steps is finished by the next (reliability.md, F2-F5, F20-F26).
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from lml_live import limits
from lml_live.booking.bookings import Bookings, Work
from lml_live.booking.payments import Intent, PaymentFault, Payments
from lml_live.errors import LmlError, Unavailable
from lml_live.inventory.holds import Holds

log = logging.getLogger(__name__)

_FREE_REASONS: Final = {"cancelled": "own", "expired": "expired", "failed": "payment_failed"}


class Completer:
    """The booking loop of one worker, and the same acts for a request that waits."""

    def __init__(self, bookings: Bookings, holds: Holds, payments: Payments | None, *, poll_seconds: float) -> None:
        self._bookings = bookings
        self._holds = holds
        self._payments = payments
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            try:
                busy = await self.turn()
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
                        await self._wake.wait()
            self._wake.clear()

    async def turn(self) -> bool:
        """One round of everything; whether there was anything to do."""
        work = await self._bookings.lease_work(limits.OUTBOX_BATCH, limits.OUTBOX_LEASE_SECONDS)
        await asyncio.gather(*(self._perform(one) for one in work))
        notices = await self._bookings.open_notices(limits.OUTBOX_BATCH)
        for notice, booking in notices:
            if booking is not None:
                await self.look_at(booking)
            await self._bookings.finish_notice(notice)
        for booking in await self._bookings.to_expire(limits.OUTBOX_BATCH):
            await self._bookings.give_up(booking, "expiring")
        for booking in await self._bookings.to_look_at(limits.OUTBOX_BATCH, self._poll_seconds):
            await self.look_at(booking)
        return bool(work or notices)

    async def hurry(self, booking: str) -> None:
        """Does now what is due for one booking, within the time a request may wait. What is left is done later."""
        try:
            async with asyncio.timeout(limits.PAYMENT_WAIT_SECONDS):
                for _ in range(limits.HURRY_ROUNDS_MAX):
                    work = await self._bookings.lease_work(
                        limits.OUTBOX_BATCH, limits.OUTBOX_LEASE_SECONDS, booking=booking
                    )
                    if not work:
                        return
                    for one in work:
                        await self._perform(one)
        except TimeoutError:
            self.wake()

    async def look_at(self, booking: str) -> None:
        """Asks Stripe what became of a booking's intent, and draws the consequences."""
        known = await self._bookings.load(booking)
        if known is None or known.intent_id is None or self._payments is None:
            return
        try:
            intent = await self._payments.retrieve(known.intent_id)
        except PaymentFault as fault:
            log.warning("booking %s could not be looked at: %s", booking, fault)
            return
        await self._found(booking, intent)

    async def _found(self, booking: str, intent: Intent) -> None:
        state = await self._bookings.intent_found(booking, intent.id, intent.status)
        log.info("booking %s: its intent is %s, it is %s", booking, intent.status, state)
        self.wake()

    # --- One piece of work

    async def _perform(self, work: Work) -> None:
        acts: dict[str, Callable[[Work], Awaitable[None]]] = {
            "create_intent": self._create,
            "capture_intent": self._capture,
            "cancel_intent": self._cancel,
            "sell_hold": self._sell_hold,
            "free_booking": self._free_booking,
            "restore_hold": self._restore_hold,
        }
        try:
            await acts[work.act](work)
        except PaymentFault as fault:
            wait = max(fault.wait_seconds, _back_off(work.tries))
            log.warning("booking %s: %s will be tried again in %.1f s: %s", work.booking, work.act, wait, fault)
            await self._bookings.postpone_work(work.id, wait, str(fault), new_key=fault.kind == "worn")
        except LmlError as error:
            log.warning("booking %s: %s will be tried again: %s", work.booking, work.act, error)
            await self._bookings.postpone_work(work.id, _back_off(work.tries), error.message)
        except Exception:  # the worker's loop: one piece of work must not hold up the others (style.md, 14)
            log.exception("booking %s: %s failed", work.booking, work.act)
            await self._bookings.postpone_work(work.id, _back_off(work.tries), "a defect; see the log")

    async def _create(self, work: Work) -> None:
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        if booking.intent_id is None:
            payments = self._provider()
            try:
                intent = await payments.create(
                    booking.id, booking.amount, booking.currency, booking.buyer_email, _key(work)
                )
            except PaymentFault as fault:
                if fault.kind != "refused":
                    raise
                log.error("booking %s: no intent can be made: %s", booking.id, fault)
                await self._bookings.create_refused(booking.id)
                await self._bookings.finish_work(work.id)
                return
            await self._bookings.intent_made(booking.id, intent.id, intent.client_secret, intent.status)
        await self._bookings.finish_work(work.id)

    async def _capture(self, work: Work) -> None:
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        assert booking.intent_id is not None
        payments = self._provider()
        # Retrieve first: an earlier try may have worked, and its answer been lost (reliability.md, D6).
        intent = await payments.retrieve(booking.intent_id)
        if intent.status == "requires_capture":
            try:
                intent = await payments.capture(intent.id, _key(work))
            except PaymentFault as fault:
                if fault.kind != "refused":
                    raise
                intent = await payments.retrieve(booking.intent_id)
                if intent.status not in ("succeeded", "canceled"):
                    raise PaymentFault("worn", str(fault)) from fault
        await self._found(booking.id, intent)
        await self._bookings.finish_work(work.id)

    async def _cancel(self, work: Work) -> None:
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        assert booking.intent_id is not None
        payments = self._provider()
        try:
            intent = await payments.cancel(booking.intent_id, _key(work))
        except PaymentFault as fault:
            if fault.kind == "unknown":
                raise
            intent = await payments.retrieve(booking.intent_id)
            if intent.status not in ("succeeded", "canceled"):
                raise PaymentFault("worn", str(fault)) from fault
        await self._found(booking.id, intent)
        await self._bookings.finish_work(work.id)

    async def _sell_hold(self, work: Work) -> None:
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        await self._holds.sell_hold(booking.event, booking.hold, booking.id)
        await self._bookings.finish_work(work.id)

    async def _free_booking(self, work: Work) -> None:
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        reason = _FREE_REASONS.get(booking.state, "own")
        await self._holds.free_booking(booking.event, booking.hold, booking.id, reason)  # type: ignore[arg-type]
        await self._bookings.finish_work(work.id)

    async def _restore_hold(self, work: Work) -> None:
        hold = await self._bookings.hold_of(work.booking)
        await self._holds.restore_hold(work.event, hold, work.booking)
        await self._bookings.finish_work(work.id)

    def _provider(self) -> Payments:
        if self._payments is None:
            raise Unavailable("No payment provider is set up.")
        return self._payments


def _key(work: Work) -> str:
    """The key at Stripe: one for all tries of an attempt."""
    return f"{work.key}:{work.attempt}"


def _back_off(tries: int) -> float:
    most: float = min(limits.OUTBOX_BACK_OFF_SECONDS_MAX, limits.OUTBOX_BACK_OFF_SECONDS * 2 ** min(tries, 16))
    return most * (0.5 + random.random() / 2)  # noqa: S311
