"""Stripe's pace: how many calls a second, all processes of the house together (docs/decisions/024).

A call counts in two buckets, that of its operation and the one of all, and takes its turn in PostgreSQL, in order of
arrival: it is told when, and waits. Whoever would wait longer than `patience` is not sent, and is told when to come
again. Where buyers wait, background work goes on with a fifth of the pace; where nobody does, with all of it.
"""

import asyncio
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Final, Protocol

from lml_live import limits
from lml_live.booking.payments import PaymentFault
from lml_live.infra import postgres
from lml_live.infra.config import Settings
from lml_live.infra.postgres import Pool
from lml_live.infra.telemetry import METRICS

_SQL: Final = postgres.statements("pace")
_ALL: Final = "all"

_for_buyers: ContextVar[bool] = ContextVar("for_buyers", default=False)
_in_hand: ContextVar[str] = ContextVar("turn_in_hand", default="")


@contextmanager
def for_buyers() -> Iterator[None]:
    """What is called in here somebody waits for."""
    token = _for_buyers.set(True)
    try:
        yield
    finally:
        _for_buyers.reset(token)


@contextmanager
def turn_in_hand(operation: str) -> Iterator[None]:
    """The first call of this operation in here has had its turn."""
    token = _in_hand.set(operation)
    try:
        yield
    finally:
        _in_hand.reset(token)


class Pacing(Protocol):
    """What calls to Stripe ask before they are sent."""

    async def reserve(self, operation: str) -> float:
        """Takes the next turn, and answers in how many seconds it is. Raises `PaymentFault`, `paced`."""
        ...

    async def turn(self, operation: str) -> None:
        """Takes a turn and waits for it. Raises `PaymentFault`, `paced`."""
        ...

    async def slow_down(self, operation: str | None) -> None:
        """Stripe has answered 429, about this operation or, with None, about all calls together."""
        ...


class Pace:
    """The house's turns, as PostgreSQL has them.

    `calls` a second in all, `of_operation` for each operation by itself, or as `exceptions` say.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        calls: float = limits.STRIPE_CALLS,
        of_operation: float = limits.STRIPE_ENDPOINT_CALLS,
        exceptions: Mapping[str, float] | None = None,
        patience: float = limits.PACE_PATIENCE_SECONDS,
    ) -> None:
        self._pool = pool
        self._calls = calls
        self._of_operation = of_operation
        self._exceptions = exceptions or {}
        self._patience = patience

    @classmethod
    def of(cls, pool: Pool, settings: Settings) -> "Pace":
        """The pace that is set."""
        every, *others = settings.stripe_endpoint_calls
        exceptions = {name: float(most) for name, _, most in (one.partition("=") for one in others)}
        return cls(pool, calls=settings.stripe_calls, of_operation=float(every), exceptions=exceptions)

    def limit_of(self, operation: str) -> float:
        """How many calls a second an operation may have while Stripe minds none."""
        return min(self._calls, self._exceptions.get(operation, self._of_operation))

    async def reserve(self, operation: str) -> float:
        taken, wait, _ = await self.take(operation)
        if not taken:
            METRICS.stripe_paced.labels(operation).inc()
            raise PaymentFault("unknown", "It is not its turn at Stripe.", wait_seconds=wait, paced=True)
        return wait

    async def turn(self, operation: str) -> None:
        if _in_hand.get() == operation:
            _in_hand.set("")
            return
        until = time.monotonic() + self._patience
        while True:
            taken, wait, _ = await self.take(operation)
            left = until - time.monotonic()
            if taken:
                await asyncio.sleep(wait)
                return
            # Background work that comes too early may be in time in a moment; who waits for buyers' turns is told all.
            if _for_buyers.get() or wait >= left:
                METRICS.stripe_paced.labels(operation).inc()
                raise PaymentFault("unknown", "It is not its turn at Stripe.", wait_seconds=wait, paced=True)
            await asyncio.sleep(max(wait, limits.PACE_LOOK_SECONDS))

    async def slow_down(self, operation: str | None) -> None:
        METRICS.stripe_slowed.labels(operation or _ALL).inc()
        async with postgres.connection(self._pool) as connected:
            await connected.execute(
                _SQL["slow_pace"], operation or _ALL, limits.PACE_SHARE_MIN, limits.PACE_RECOVERY_PER_SECOND
            )

    async def queue(self) -> tuple[list[str], float]:
        """The bookings whose payment is still to be made, in order, and how many a second there are now."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(
                _SQL["payment_queue"], [_ALL, "create_intent"], limits.PACE_RECOVERY_PER_SECOND
            )
        assert row is not None, "it always answers a row"
        # Where all calls together are few, those that the others' purchases need go before this one's, too.
        most = min(self.limit_of("create_intent"), self._calls / limits.STRIPE_CALLS_OF_A_PURCHASE) * row["share"]
        return row["bookings"], max(0.1, most - math.floor(most / 10))

    async def take(self, operation: str) -> tuple[bool, float, datetime]:
        """Takes the next turn, if it is near; answers whether it was taken, in how many seconds it is, and when."""
        names = [_ALL, operation]
        most = [self._calls, self.limit_of(operation)]
        while True:
            async with postgres.connection(self._pool) as connected:
                row = await connected.fetchrow(
                    *(_SQL["take_turn"], names, most, self._patience, not _for_buyers.get()),
                    limits.PACE_RECOVERY_PER_SECOND,
                )
                assert row is not None, "it always answers a row"
                if row["known"]:
                    return row["taken"], row["wait"], row["at"]
                await connected.execute(_SQL["make_buckets"], names)
