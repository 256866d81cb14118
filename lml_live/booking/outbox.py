"""The outbox as PostgreSQL keeps it: what was decided and is still to be done outside, who is at it, how it ended."""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from lml_live import limits
from lml_live.booking.payments import PaymentFault
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("booking")


class Work(Struct, frozen=True):
    """One thing to be done outside, leased to the caller. `intent` is there where it is not the booking's own."""

    id: int
    booking: str
    event: str
    act: str
    key: str
    attempt: int
    tries: int
    intent: str | None
    refund: str | None = None

    @property
    def stripe_key(self) -> str:
        """The key at Stripe: one for all tries of an attempt."""
        return f"{self.key}:{self.attempt}"


Outcome = Literal["done", "found", "refused", "worn"]
"""How an attempt at Stripe ended: it said that it did it; asked, it had nothing left to do; it never will; it keeps
answering this key with a failure. Until then it is unknown."""


class Outbox:
    """The work of all bookings."""

    _pool: Pool

    async def lease_work(self, count: int, seconds: float, *, booking: str | None = None) -> list[Work]:
        """Takes work that is due, of one booking or of any; it is on record as tried before this returns."""
        async with postgres.connection(self._pool) as connected:
            if booking is None:
                rows = await connected.fetch(_SQL["lease_work"], count, seconds)
            else:
                rows = await connected.fetch(_SQL["lease_work_of_booking"], booking, seconds)
        return _in_order(rows)

    async def lease_creates(self, count: int, seconds: float) -> list[Work]:
        """Takes payments that are to be made, in the order in which they were asked for."""
        async with postgres.connection(self._pool) as connected:
            return _in_order(await connected.fetch(_SQL["lease_creates"], count, seconds))

    async def renew_leases(self, ids: Sequence[int], seconds: float) -> None:
        """What is leased and still being done is leased for so long from now."""
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["renew_leases"], ids, seconds)

    async def end_leases(self, ids: Sequence[int]) -> None:
        """What was leased is anybody's again."""
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["end_leases"], ids)

    async def begin_create(self, work: Work, seconds: float) -> Work | None:
        """Its turn has come, and it is on record as tried when this returns; None where it is not to be done now."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["begin_create"], work.id, seconds)
        return None if row is None else _work(row)

    async def finish_work(self, work: Work, outcome: Outcome | None = None) -> None:
        """It is done; `outcome` of what was for Stripe."""
        async with postgres.connection(self._pool) as connected:
            if outcome is None:
                await connected.execute(_SQL["finish_work"], work.id)
            else:
                await connected.execute(_SQL["finish_attempt"], work.id, work.booking, work.stripe_key, outcome)

    async def postpone_work(self, work: Work, seconds: float, fault: str) -> None:
        """It did not succeed, for reasons of ours; an attempt at Stripe goes on, for nobody knows how it ended."""
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["postpone_work"], work.id, seconds, fault)

    async def postpone_attempt(
        self, work: Work, seconds: float, fault: str, *, worn: bool, stuck: bool = False
    ) -> None:
        """Stripe did not do it; a key that is worn is followed by another one; what is stuck waits for somebody."""
        ended: Outcome | None = "worn" if worn else None
        async with postgres.connection(self._pool) as connected:
            await connected.execute(
                *(
                    _SQL["postpone_attempt"],
                    work.id,
                    seconds,
                    fault,
                    work.booking,
                    work.stripe_key,
                    ended,
                    work.attempt,
                    stuck,
                )
            )

    async def begin_attempt(self, booking: str, key: str, act: Literal["void_intent"]) -> None:
        """A call to Stripe is about to be made that is no work of its own."""
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["begin_attempt"], booking, key, act)

    async def end_attempt(self, booking: str, key: str, outcome: Outcome) -> None:
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["end_attempt"], booking, key, outcome)


class Leases:
    """What one worker is at. Its leases are short, and renewed while it lives: what it dies over is soon another's.

    A lease that ends too early (the database was away, the process was stopped) costs a call, and no more: two workers
    at one row have one effect, for each asks Stripe first, or sends the same key (reliability.md, F37).
    """

    def __init__(self, outbox: Outbox, seconds: float) -> None:
        self._outbox = outbox
        self.seconds = seconds
        self._since: dict[int, float] = {}
        """By row, when it was leased or renewed last."""

    @contextmanager
    def kept(self, work: Sequence[Work]) -> Iterator[None]:
        """Renews the leases of what was just taken, for as long as the block lasts."""
        ids = [one.id for one in work]
        self._since.update(dict.fromkeys(ids, time.monotonic()))
        try:
            yield
        finally:
            for each in ids:
                self._since.pop(each, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self.seconds / limits.LEASE_RENEWALS / 2)
            try:
                await self.renew()
            except Unavailable as error:
                log.debug("leases are not renewed now: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("leases are not renewed")

    async def renew(self) -> None:
        """Renews what has been under way for a part of its lease. Mostly there is nothing: a call takes less."""
        now = time.monotonic()
        old = [each for each, since in self._since.items() if now - since >= self.seconds / limits.LEASE_RENEWALS]
        if old:
            await self._outbox.renew_leases(old, self.seconds)
            self._since.update({each: now for each in old if each in self._since})


def _in_order(rows: Sequence[asyncpg.Record]) -> list[Work]:
    return sorted(map(_work, rows), key=lambda work: work.id)


def _work(row: asyncpg.Record) -> Work:
    return Work(
        row["id"],
        row["booking_id"],
        row["event_id"],
        row["act"],
        row["key"],
        row["attempt"],
        row["tries"],
        row["intent_id"],
        row["refund_id"],
    )


def refused_for_long(work: Work, fault: PaymentFault) -> PaymentFault:
    """What Stripe refuses, and may not refuse for ever: asked for more and more seldom, by a new key each time.

    In the end it is stuck: somebody who has looked asks again.
    """
    wait = min(limits.TRANSFER_RETRY_SECONDS * 2.0 ** min(work.attempt, 16), limits.REFUSED_RETRY_SECONDS_MAX)
    stuck = work.attempt + 1 >= limits.REFUSED_ATTEMPTS_MAX
    return PaymentFault("worn", str(fault), wait_seconds=wait, stuck=stuck)


async def write_work(connected: Connection, booking: str, event: str, act: str) -> None:
    """Decides, in this transaction, that something is to be done outside; once, however often it is decided."""
    await connected.execute(_SQL["write_work"], booking, event, act, f"{booking}:{act}")
