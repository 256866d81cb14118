"""The clocks of Redis's nodes against PostgreSQL's, as one worker sees them.

PostgreSQL's clock is the reference. Between two looks at it this process's monotonic clock, which nobody sets, stands
for it: so every turn of the upkeep notices a clock that was set, at the price of one TIME a node.

What follows from it (architecture.md, "Time"): within `CLOCK_SKEW_MS` the clocks agree, and nothing is corrected;
else a node's `skew_ms` says what to add. A clock that was set ends no hold: nothing of that node is swept for
`CLOCK_JUMP_WAIT_MS`, and a sweep never frees what PostgreSQL's clock does not call overdue, too (`latest_ms`).
"""

import asyncio
import logging
import time
from typing import Final
from weakref import WeakKeyDictionary

from lml_live import limits
from lml_live.errors import LmlError, Unavailable
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.infra.redis_topology import Topology
from lml_live.infra.telemetry import METRICS

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("inventory")
_SLOW_SECONDS: Final = limits.CLOCK_SKEW_MS / 2000
"""A look that took so long says nothing."""
NEVER_MS: Final = limits.UNTIL_RELEASED_MS


def _monotonic_ms() -> float:
    return time.monotonic() * 1000


class Clocks:
    """What this worker knows of the clocks."""

    def __init__(self, redis: Topology, pool: postgres.Pool) -> None:
        self._redis = redis
        self._pool = pool
        self._ahead: float | None = None
        """PostgreSQL's clock less our monotonic one, in milliseconds."""
        self._asked = float("-inf")
        self._differences: WeakKeyDictionary[Pipe, float] = WeakKeyDictionary()
        """PostgreSQL's clock less each node's, as last seen."""
        self._quiet_until: WeakKeyDictionary[Pipe, float] = WeakKeyDictionary()

    async def compare(self) -> None:
        """Looks at every node's clock, and corrects. What cannot be asked now keeps what was known of it."""
        if time.monotonic() - self._asked >= limits.UPKEEP_LIST_SECONDS:
            await self._ask_postgres()
        seen = {pipe: ahead for pipe in self._redis.nodes() if (ahead := await _ahead_of_ours(pipe)) is not None}
        if any(self._jumped(pipe, ahead) for pipe, ahead in seen.items()):
            # Before a clock is accused the reference is looked at: this machine may have slept, and its clock with it.
            await self._ask_postgres()
        for pipe, ahead in seen.items():
            self._note(pipe, ahead)
        if self._differences:
            METRICS.clock_skew.set(max(self._differences.values(), key=abs))

    def may_sweep(self, pipe: Pipe) -> bool:
        """Whether holds of this node may expire: not right after its clock was set."""
        return time.monotonic() >= self._quiet_until.get(pipe, 0.0)

    def latest_ms(self) -> int:
        """No moment after this one, on Redis's corrected clock, has come yet; `NEVER_MS` before the first look."""
        if self._ahead is None:
            return NEVER_MS
        return int(_monotonic_ms() + self._ahead) + limits.CLOCK_SKEW_MS

    def earliest_ms(self) -> int:
        """Every moment before this one, on Redis's corrected clock, is over; 0 before the first look."""
        return 0 if self._ahead is None else int(_monotonic_ms() + self._ahead) - limits.CLOCK_SKEW_MS

    def _jumped(self, pipe: Pipe, ahead: float) -> bool:
        known = self._differences.get(pipe)
        return known is not None and abs((self._ahead or 0) - ahead - known) > limits.CLOCK_SKEW_MS

    def _note(self, pipe: Pipe, ahead: float) -> None:
        if self._ahead is None:
            return
        difference = self._ahead - ahead
        if self._jumped(pipe, ahead):
            log.error(
                "a clock was set, PostgreSQL's less Redis's changed by %d ms: nothing expires for a minute",
                difference - self._differences[pipe],
            )
            self._quiet_until[pipe] = time.monotonic() + limits.CLOCK_JUMP_WAIT_MS / 1000
        self._differences[pipe] = difference
        pipe.skew_ms = round(difference) if abs(difference) > limits.CLOCK_SKEW_MS else 0

    async def _ask_postgres(self) -> None:
        before = time.monotonic()
        try:
            async with postgres.connection(self._pool) as connection:
                before = time.monotonic()
                now_ms = int(await connection.fetchval(_SQL["server_time_ms"]))
        except Unavailable as error:
            log.debug("PostgreSQL's clock cannot be looked at: %s", error)
            return
        if time.monotonic() - before > _SLOW_SECONDS:
            return
        self._asked = time.monotonic()
        self._ahead = now_ms - (before + self._asked) * 500


async def _ahead_of_ours(pipe: Pipe) -> float | None:
    """A node's clock less our monotonic one, in milliseconds; None where it did not say in time."""
    before = time.monotonic()
    try:
        async with asyncio.timeout(_SLOW_SECONDS):
            seconds, microseconds = await pipe.call("TIME")
    except (LmlError, TimeoutError):
        return None
    return int(seconds) * 1000 + int(microseconds) / 1000 - (before + time.monotonic()) * 500
