"""Claims of one event that wait together are one transaction; one alone goes as it is.

Nobody waits for company: a claim begins in the loop tick in which it comes, unless `limits.CLAIM_COMMITS_MAX`
transactions of its event are under way already. Then those that wait go in one transaction as soon as one has ended:
the busier an event, the more claims a commit carries (docs/decisions/022-claims-commit-together.md).
"""

import asyncio
import logging
from collections import deque

from lml_live import limits
from lml_live.booking.claims import NewBooking, Outcome, claim_all, claim_one
from lml_live.errors import Overloaded, Unavailable
from lml_live.infra.acting import Acting, acting, acting_ends
from lml_live.infra.postgres import Pool

log = logging.getLogger(__name__)


def _gone() -> Unavailable:
    return Unavailable("The database does not answer at the moment. Please try again.", retry_after_ms=1_000)


class _Waiting:
    """A claim, who acts in its request, since when it waits, and where its outcome goes."""

    __slots__ = ("answer", "new", "since", "who")

    def __init__(self, new: NewBooking, loop: asyncio.AbstractEventLoop) -> None:
        self.new = new
        self.who = acting()
        self.since = loop.time()
        self.answer: asyncio.Future[Outcome] = loop.create_future()

    def tell(self, outcome: Outcome | Exception) -> None:
        if self.answer.done():
            return  # its caller has gone; the booking that was claimed is finished, or given up, without one
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
            self.answer.exception()  # a caller that gives up meanwhile does not make asyncio complain
        else:
            self.answer.set_result(outcome)


class _Queue:
    """The claims of one event, in the order in which they came."""

    __slots__ = ("due", "under_way", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.under_way = 0
        self.due = False
        """A transaction is about to begin, and takes whatever waits then."""


class Together:
    """The claims of all events that wait in this worker: at most `at_once` a transaction, `commits_max` an event."""

    def __init__(
        self, pool: Pool, *, at_once: int = limits.CLAIMS_TOGETHER_MAX, commits_max: int = limits.CLAIM_COMMITS_MAX
    ) -> None:
        self._pool = pool
        self._at_once = at_once
        self._commits_max = commits_max
        self._queues: dict[str, _Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0

    async def claim(self, new: NewBooking) -> Outcome:
        """Claims a hold's places for good, or says why not.

        A caller that is cancelled before its claim was begun has claimed nothing; afterwards it may have. Raises
        `Unavailable` where the outcome is unknown, or where nothing was begun in time; `Overloaded`.
        """
        if self._waiting >= limits.CLAIMS_WAITING_MAX:
            raise Overloaded("The server is at its limit.", retry_after_ms=limits.RETRY_AFTER_MS)
        one = _Waiting(new, asyncio.get_running_loop())
        queue = self._queues.setdefault(new.event, _Queue())
        queue.waiting.append(one)
        self._waiting += 1
        self._begin(new.event, queue)
        return await one.answer

    async def close(self) -> None:
        """Ends the transactions that are under way; what waits is told that it was not begun."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Also for those for whom a transaction was about to begin: a task that is cancelled before never runs.
        for queue in self._queues.values():
            for one in queue.waiting:
                one.tell(_gone())
        self._queues.clear()
        self._waiting = 0

    def _begin(self, event: str, queue: _Queue) -> None:
        """Begins a transaction for what waits, unless enough are under way or one is about to."""
        if queue.waiting and not queue.due and queue.under_way < self._commits_max:
            queue.due = True
            queue.under_way += 1
            with acting_ends():  # its own are those of whoever came first in the tick
                task = asyncio.create_task(self._commit(event, queue), name=f"claims of {event}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _commit(self, event: str, queue: _Queue) -> None:
        """Claims what waits, until nothing does."""
        queue.due = False
        batch: list[_Waiting] = []
        try:
            while batch := self._take(queue):
                self._begin(event, queue)
                await self._claim(batch)
        except BaseException:  # also the end of the worker: nobody may wait for ever
            for one in batch:
                one.tell(_gone())
            raise
        finally:
            queue.under_way -= 1
            if not queue.under_way and not queue.waiting:
                self._queues.pop(event, None)

    def _take(self, queue: _Queue) -> list[_Waiting]:
        """The next claims that can be one transaction: of one actor, no booking twice, within the bound."""
        batch: list[_Waiting] = []
        known = set[str]()
        who: Acting | None = None
        waiting = queue.waiting
        while waiting and len(batch) < self._at_once:
            one = waiting[0]
            if batch and (one.who != who or one.new.id in known):
                break
            self._waiting -= 1
            waiting.popleft()
            if one.answer.done():
                continue  # its caller gave up waiting: nothing was begun, nothing is changed
            if one.answer.get_loop().time() - one.since > limits.POSTGRES_ACQUIRE_SECONDS:
                one.tell(_gone())
                continue
            who = one.who
            known.add(one.new.id)
            batch.append(one)
        return batch

    async def _claim(self, batch: list[_Waiting]) -> None:
        """One transaction; where one claim makes it fail, its halves, until that one stands alone."""
        try:
            with acting_ends(batch[0].who):
                if len(batch) == 1:
                    batch[0].tell(await claim_one(self._pool, batch[0].new))
                    return
                outcomes = await claim_all(self._pool, [one.new for one in batch])
        except Unavailable:  # of all of them: nobody knows more of one than of another
            for one in batch:
                one.tell(_gone())
        except Exception as error:  # one claim's defect is not the others' (style.md, 14)
            if len(batch) == 1:
                batch[0].tell(error)
                return
            # All is rolled back. A refusal by a constraint is as rare as a Redis that has forgotten what it granted.
            log.info("%d claims are done in halves", len(batch), exc_info=True)
            half = len(batch) // 2
            await self._claim(batch[:half])
            await self._claim(batch[half:])
        else:
            for one, outcome in zip(batch, outcomes, strict=True):
                one.tell(outcome)
