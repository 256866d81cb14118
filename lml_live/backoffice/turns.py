"""Staff's changes of one event's seats and places take turns, over all workers.

PostgreSQL is written first and the inventory told after it. Two changes of the same seats at once could reach the two
stores in different orders, and what one says would not be what the other does. So whoever changes them holds a lock of
PostgreSQL's from before the first store until after the second, a batch at a time; the transactions in between are
others, and wait for nobody but PostgreSQL. What one who died in his turn left undone is ended first (`staff_acts`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

from lml_live import limits
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

_SQL: Final = postgres.statements("turns")


Settle = Callable[[Connection, str], Awaitable[None]]
"""(the session that has the turn, event)"""


async def _nothing_left(session: Connection, event_id: str) -> None:
    """Where nothing is noted there is nothing to end."""


class StaffTurns:
    """Whose turn it is. One for a worker."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lines = WeakValueDictionary[str, asyncio.Lock]()
        """By event: a worker waits for its turn with one connection, and no event's staff for another's."""
        self._sessions = asyncio.Semaphore(limits.STAFF_TURNS_AT_ONCE)
        """So that they do not have all of the pool: whoever has his turn needs another one."""
        self.settle: Settle = _nothing_left
        """Ends what those left who had the turn before; `Holding` knows how."""

    @asynccontextmanager
    async def take(self, event_id: str) -> AsyncIterator[Connection]:
        """Waits for the event's turn and keeps it until the end of the block. Raises `Unavailable`.

        Gives the session that has the turn: what it writes is written in the turn, or not at all.
        A worker that stops in the middle loses it after `STAFF_TURN_SECONDS`, one that dies at once.
        """
        line = self._lines.setdefault(event_id, asyncio.Lock())
        async with line, self._sessions, postgres.session(self._pool) as connected:
            await connected.execute(_SQL["take_turn"], event_id, str(int(limits.STAFF_TURN_SECONDS * 1000)))
            try:
                await self.settle(connected, event_id)
                yield connected
            finally:
                await connected.execute(_SQL["end_turn"], event_id)
