"""Makes payments ready at Stripe, in the order in which they were asked for, at the house's pace (docs/decisions/024).

The queue is the outbox: nothing waits in a worker for longer than its turn is away, so that a booking which is given
up leaves the queue, a worker that dies leaves nothing behind, and all workers serve the one queue from its head.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from lml_live import limits
from lml_live.booking.bookings import Bookings
from lml_live.booking.outbox import Outcome, Work
from lml_live.booking.pace import for_buyers, turn_in_hand
from lml_live.booking.payments import Intent, PaymentFault, Payments
from lml_live.errors import Unavailable

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
        *,
        lease_seconds: float = limits.OUTBOX_LEASE_SECONDS,
    ) -> None:
        self._bookings = bookings
        self._payments = payments
        self._perform = perform
        self._lease_seconds = lease_seconds
        self._making: set[asyncio.Task[None]] = set()
        self.made: Callable[[], None] = lambda: None
        """Is told when a payment was made, or could not be: something may follow."""

    async def turn(self) -> bool:
        """Begins what has its turn soon, from the head of the queue; whether more may follow at once."""
        room = min(limits.OUTBOX_BATCH, limits.CREATES_AT_ONCE - len(self._making))
        work = await self._bookings.lease_creates(room, self._lease_seconds) if room > 0 else []
        return bool(work) and len(await self._begin(work)) == len(work)

    async def hurry(self, booking: str) -> None:
        """Makes a booking's payment now, unless others come first: then it has its turn after them."""
        work = await self._bookings.lease_create(booking, self._lease_seconds)
        if work is not None:
            for task in await self._begin([work]):
                await asyncio.wait({task})

    async def rest(self) -> None:
        """Waits for what was begun."""
        if self._making:
            await asyncio.wait(self._making)

    async def close(self) -> None:
        """Ends what is under way; its outcome is unknown, and others find it out."""
        for task in self._making:
            task.cancel()
        await asyncio.gather(*self._making, return_exceptions=True)

    async def _begin(self, work: list[Work]) -> "list[asyncio.Task[None]]":
        """Takes turns in order, as far as they are near; what is left is anybody's again."""
        begun: list[asyncio.Task[None]] = []
        for place, one in enumerate(work):
            try:
                if self._payments is None:
                    raise Unavailable("No payment provider is set up.")
                with for_buyers():
                    wait = await self._payments.reserve("create_intent")
            except BaseException as error:  # whatever it is, nobody else could take it up before the lease's end
                await self._bookings.end_leases([left.id for left in work[place:]])
                if isinstance(error, PaymentFault):
                    return begun
                raise
            task = asyncio.create_task(self._make(one, wait), name=f"payment of {one.booking}")
            self._making.add(task)
            task.add_done_callback(self._ended)
            begun.append(task)
        return begun

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._making.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a payment is made later: %s", error)
        self.made()

    async def _make(self, work: Work, wait: float) -> None:
        await asyncio.sleep(wait)
        begun = await self._bookings.begin_create(work, self._lease_seconds)
        if begun is not None:  # else it was given up meanwhile, and nothing was sent
            with for_buyers(), turn_in_hand("create_intent"):
                await self._perform(begun, self._create)

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
                try:
                    made = await self._payments.create(
                        booking.id, booking.amount, booking.currency, booking.buyer_email, work.stripe_key
                    )
                except PaymentFault as fault:
                    if fault.kind != "refused":
                        raise
                    log.error("booking %s: no intent can be made: %s", booking.id, fault)
                    await self._bookings.create_refused(booking.id)
                    await self._bookings.finish_work(work, "refused")
                    return
                intents, outcome = (made,), "done"
            for intent in intents:
                if not await self._bookings.intent_made(booking.id, intent.id, intent.client_secret, intent.status):
                    log.warning("booking %s: another intent was made, and is cancelled", booking.id)
        await self._bookings.finish_work(work, outcome)
