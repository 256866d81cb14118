"""Makes payments ready at Stripe, in the order in which they were asked for, at the house's pace (docs/decisions/024).

The queue is the outbox: nothing waits in a worker for longer than its turn is away, so that a booking which is given
up leaves the queue, a worker that dies leaves nothing behind, and all workers serve the one queue from its head.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from lml_live import limits
from lml_live.booking.bookings import Bookings
from lml_live.booking.customers import Customers
from lml_live.booking.outbox import Leases, Outcome, Work
from lml_live.booking.pace import for_buyers, turn_in_hand
from lml_live.booking.payments import Intent, PaymentFault, Payments

log = logging.getLogger(__name__)

Perform = Callable[[Work, Callable[[Work], Awaitable[None]]], Awaitable[None]]
"""Does a piece of work by an act, and postpones it where that fails."""


class Creating:
    """The queue of payments that are to be made, as one worker serves it."""

    def __init__(
        self,
        bookings: Bookings,
        payments: Payments | None,
        perform: Perform,
        customers: Customers | None = None,
        *,
        leases: Leases,
    ) -> None:
        self._bookings = bookings
        self._payments = payments
        self._perform = perform
        self._customers = customers
        self._leases = leases
        self._making: dict[str, asyncio.Task[None]] = {}
        """By booking, what is under way here."""
        self._leasing, self._reserving = asyncio.Lock(), asyncio.Lock()
        self._shut_until = 0.0
        """Till then no turn is near enough to be taken."""
        self.made: Callable[[], None] = lambda: None
        """Is told when a payment was made, or could not be: something may follow."""

    async def turn(self) -> bool:
        """Begins what comes next, from the head of the queue; whether more may follow at once."""
        async with self._leasing:
            room = min(limits.OUTBOX_BATCH, limits.CREATES_AT_ONCE - len(self._making))
            if room <= 0 or time.monotonic() < self._shut_until:
                return False
            work = await self._bookings.lease_creates(room, self._leases.seconds)
            for one in work:
                task = asyncio.create_task(self._make(one), name=f"payment of {one.booking}")
                self._making[one.booking] = task
                task.add_done_callback(partial(self._ended, one.booking))
            return len(work) == room

    async def hurry(self, booking: str) -> None:
        """Serves the queue now, and waits for a booking's payment where it is among those that have their turn."""
        await self.turn()
        if (task := self._making.get(booking)) is not None:
            await asyncio.wait({task})

    async def rest(self) -> None:
        """Waits for what was begun."""
        if self._making:
            await asyncio.wait(self._making.values())

    async def close(self) -> None:
        """Ends what is under way; its outcome is unknown, and others find it out."""
        making = list(self._making.values())
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)

    def _ended(self, booking: str, task: "asyncio.Task[None]") -> None:
        if self._making.get(booking) is task:
            del self._making[booking]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("the payment of booking %s is made later: %s", booking, error)
        self.made()

    async def _make(self, work: Work) -> None:
        with self._leases.kept([work]):
            await self._make_in_turn(work)

    async def _make_in_turn(self, work: Work) -> None:
        async with self._reserving:  # in the order in which they were asked for
            wait = await self._reserve(work)
        if wait is None:
            return
        await asyncio.sleep(wait)
        begun = await self._bookings.begin_create(work, self._leases.seconds)
        if begun is not None:  # else it was given up meanwhile, and nothing was sent
            with for_buyers(), turn_in_hand("create_intent"):
                await self._perform(begun, self._create)

    async def _reserve(self, work: Work) -> float | None:
        """In how many seconds its turn is; None where that is too far away, and it is anybody's again."""
        wait: float | None = None
        try:
            if self._payments is not None and time.monotonic() >= self._shut_until:
                with for_buyers():
                    wait = await self._payments.reserve("create_intent")
        except PaymentFault as fault:
            self._shut_until = time.monotonic() + min(fault.wait_seconds, limits.COMPLETER_SECONDS)
        finally:
            if wait is None:
                await self._bookings.end_leases([work.id])
        return wait

    async def _create(self, work: Work) -> None:
        booking = await self._bookings.load(work.booking)
        assert booking is not None
        assert self._payments is not None
        outcome: Outcome = "found"
        if booking.intent_id is None:
            intents: tuple[Intent, ...] = ()
            if work.attempt:
                # The key before was answered with a failure that may have been none (docs/decisions/004).
                since = booking.created - timedelta(seconds=limits.FIND_SLACK_SECONDS)
                found = await self._payments.find(booking.id, since)
                intents = tuple(one for one in found if one.status != "canceled")
            if not intents:
                assert booking.buyer_email is not None, "only who buys at the counter need not give one"
                customer = None
                try:
                    if self._customers is not None:
                        customer = await self._customers.of_payment(
                            booking.holder, save_card=booking.save_card, doubted=work.attempt > 0
                        )
                    made = await self._payments.create(
                        *(booking.id, booking.amount, booking.currency, booking.buyer_email, work.stripe_key),
                        customer=customer,
                        save_card=booking.save_card,
                    )
                except PaymentFault as fault:
                    if fault.kind != "refused":
                        raise
                    if customer is not None and not work.attempt:
                        # It may be the customer that Stripe does not take: the next try asks whether it is there.
                        raise PaymentFault("worn", str(fault)) from fault
                    log.error("booking %s: no intent can be made: %s", booking.id, fault)
                    await self._bookings.create_refused(booking.id)
                    await self._bookings.finish_work(work, "refused")
                    return
                intents, outcome = (made,), "done"
            for intent in intents:
                if not await self._bookings.intent_made(booking.id, intent.id, intent.client_secret, intent.status):
                    log.warning("booking %s: another intent was made, and is cancelled", booking.id)
        await self._bookings.finish_work(work, outcome)
