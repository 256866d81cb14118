"""What time does to an inventory: the sweep that frees expired holds, the closing of sales, old addresses' end.

One worker sweeps for all, the one whose PostgreSQL connection holds the upkeep lock; when it dies, another takes over.
While PostgreSQL cannot be asked, everybody sweeps: sweeping twice is harmless, and held seats must not freeze.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import asyncpg
from msgspec import Struct

from lml_live import limits
from lml_live.errors import LmlError, Unavailable
from lml_live.infra import postgres
from lml_live.infra.redis import Part
from lml_live.infra.telemetry import METRICS
from lml_live.inventory.addresses import Addresses
from lml_live.inventory.answers import Changed
from lml_live.inventory.book import Book
from lml_live.inventory.clocks import Clocks
from lml_live.inventory.records import Sale, decode_record

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("inventory")
_KEYS: Final = ("seats", "book", "deadlines", "areas", "log")


SettleMark = Callable[[str, Changed], Awaitable[None]]
"""(event, the marked hold with its epoch)"""


async def _no_marks(event: str, mark: Changed) -> None:
    """Where nothing is sold there are no marks."""


def sweep_args(
    sale: Sale, skew_ms: int, mark_seconds: int, latest_ms: int, batch: int = limits.SWEEP_BATCH
) -> list[Part]:
    """The arguments of expire_holds after the stamp. Chance is ours: Redis gives every script the same."""
    jitter_ms = sale.release_jitter_seconds * 1000
    return [
        skew_ms,
        batch,
        mark_seconds * 1000,
        latest_ms,
        *sale.losses,
        jitter_ms,
        secrets.randbits(31),
        limits.SWEEP_WORK_MAX,
    ]


class _Swept(Struct, frozen=True):
    revision: int
    prices_version: int
    epoch: int
    state: str

    def is_of(self, sale: Sale) -> bool:
        """Whether these facts are the newest there are."""
        return (sale.revision, sale.prices_version, sale.epoch) == (self.revision, self.prices_version, self.epoch)


class Upkeep:
    """The upkeep loop of one worker."""

    def __init__(
        self, book: Book, pool: postgres.Pool, dsn: str, *, sweep_ms: int, mark_seconds: int = limits.MARK_SECONDS
    ) -> None:
        self._book = book
        self._pool = pool
        self._dsn = dsn
        self._sweep_seconds = sweep_ms / 1000
        self._mark_seconds = mark_seconds
        self.settle_mark: SettleMark = _no_marks
        """Told each hold that is in checkout for long; booking decides what becomes of it."""
        self._leader: asyncpg.Connection[asyncpg.Record] | None = None
        self._candidate: asyncpg.Connection[asyncpg.Record] | None = None
        """Asks for the lock while another leads; to connect for each question would cost more than all the rest."""
        self._sales: dict[str, _Swept] = {}
        self._listed = float("-inf")
        self._look_at: dict[str, float] = {}
        """When an event is to be looked at again, on the monotonic clock."""
        self.clocks = Clocks(book.redis, pool)
        self._addresses = Addresses(book)
        self._swept = time.monotonic()
        """When this worker last swept something, or had nothing to sweep."""
        self._follow_until = 0.0
        self._left: list[str] = []
        """Events still to be looked at before the round begins anew."""
        self._closed: set[tuple[str, int]] = set()

    @property
    def leads(self) -> bool:
        """Whether this worker is the one that does what one must do for all."""
        return self._leader is not None and not self._leader.is_closed()

    def look_again(self) -> None:
        """An event changed: the next turn reads the list of sales anew (a closed sale frees its holds)."""
        self._listed = float("-inf")

    async def run(self) -> None:
        """Sweeps until cancelled."""
        try:
            while True:
                try:
                    await self._turn()
                except LmlError as error:
                    log.debug("upkeep waits: %s", error)
                except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                    log.exception("upkeep failed")
                await asyncio.sleep(self._sweep_seconds)
        finally:
            for connection in (self._leader, self._candidate):
                if connection is not None:
                    connection.terminate()

    async def _turn(self) -> None:
        now = time.monotonic()
        # A sale that opens meanwhile is told (`look_again`): a house without one does not ask at each turn.
        if now - self._listed >= limits.UPKEEP_LIST_SECONDS:
            self._listed = now
            try:
                await self._list()
            except Unavailable as error:
                log.warning("upkeep goes on with what it knows: %s", error)
                if not self._sales:
                    self._listed = float("-inf")
        await self.clocks.compare()
        if not await self._may_sweep():
            await self._sweep_what_was_left()
            return
        if not self._sales:
            self._swept = now
        events = [
            event for event in self._sales if self._look_at.get(event, 0.0) <= now or self._is_to_be_closed(event)
        ]
        for first in range(0, len(events), limits.LOOKS_AT_ONCE):
            for event in await self._due(events[first : first + limits.LOOKS_AT_ONCE], now):
                try:
                    await self.sweep(event)
                    self._swept = now
                    await self._close_what_is_closed(event)
                except LmlError as error:
                    log.debug("event %s is not swept: %s", event, error)
        self._step_back(now)
        await self._addresses.step(self._sales)

    async def _due(self, events: Sequence[str], now: float) -> list[str]:
        """Those that have a hold to free or were closed, and those whose book is not as we know it: these are adopted.

        All are asked in one go, and left alone until their next deadline or for `LOOK_SECONDS`: most have nothing due
        most of the time.
        """
        asked: list[tuple[str, Sale, asyncio.Future[tuple[Any, Any]]]] = []
        due: list[str] = []
        for event in events:
            try:
                sale = await self._book.sale(event)
                pipe = self._book.pipe_of(sale)
                if not self.clocks.may_sweep(pipe):
                    self._swept = now
                elif sale.run_id != pipe.run_id or self._is_to_be_closed(event):
                    due.append(event)
                else:
                    looks = (
                        pipe.call("HGET", sale.key("book"), "stamp"),
                        pipe.call("ZRANGE", sale.key("deadlines"), 0, 0, "WITHSCORES"),
                    )
                    asked.append((event, sale, asyncio.gather(*looks)))
            except LmlError as error:
                log.debug("event %s is not looked at: %s", event, error)
        latest_ms = self.clocks.latest_ms()
        for event, sale, answer in asked:
            try:
                stamp, first = await answer
            except LmlError as error:
                log.debug("event %s is not looked at: %s", event, error)
                continue
            self._swept = now
            wait_ms = float(first[1]) - latest_ms if first else math.inf
            if stamp != sale.stamp.encode() or wait_ms <= 0:
                due.append(event)
            else:
                self._look_at[event] = now + min(wait_ms / 1000, limits.LOOK_SECONDS)
        return due

    def _is_to_be_closed(self, event: str) -> bool:
        known = self._sales.get(event)
        return known is not None and known.state == "closed" and (event, known.epoch) not in self._closed

    async def _close_what_is_closed(self, event: str) -> None:
        if self._is_to_be_closed(event):
            epoch = self._sales[event].epoch
            await self.close_holds(event)
            self._closed.add((event, epoch))

    async def _sweep_what_was_left(self) -> None:
        """Looks at a few events after the leader, and sweeps those that it does not.

        A process that is stopped, or busy for long, keeps its connection and with it the lock; sweeping twice is
        harmless, and seats must not wait for it to wake.
        """
        self._left = self._left or list(self._sales)
        some, self._left = self._left[: limits.OVERDUE_EVENTS], self._left[limits.OVERDUE_EVENTS :]
        for event in some:
            try:
                sale = await self._book.sale(event)
                pipe = self._book.pipe_of(sale)
                first = await pipe.call("ZRANGE", sale.key("deadlines"), 0, 0, "WITHSCORES")
                due = bool(first) and float(first[1]) < self.clocks.earliest_ms() - limits.OVERDUE_SECONDS * 1000
                if due and self.clocks.may_sweep(pipe) and await self.sweep(event):
                    log.warning("event %s was swept by a worker that does not lead", event)
            except LmlError as error:
                log.debug("event %s is not looked at: %s", event, error)

    def _step_back(self, now: float) -> None:
        """Lets another lead where this worker reaches no event at all: it may be cut off from Redis, alone."""
        if self._leader is not None and now - self._swept > limits.LEAD_IDLE_SECONDS:
            log.warning("this worker reached no event for %d s: another one sweeps", limits.LEAD_IDLE_SECONDS)
            self._leader.terminate()
            self._leader = None
            self._swept = now
            self._follow_until = now + limits.LEAD_IDLE_SECONDS

    async def _may_sweep(self) -> bool:
        """Whether this worker sweeps: it leads, or nobody can tell who does."""
        if self.leads:
            return True
        self._leader = None
        if time.monotonic() < self._follow_until:
            return False
        try:
            if self._candidate is None or self._candidate.is_closed():
                self._candidate = await postgres.connect(self._dsn, application_name="lml upkeep")
            with postgres.driver_errors():
                leads: bool = await self._candidate.fetchval(_SQL["try_lead_upkeep"])
        except Unavailable:
            if self._candidate is not None:
                self._candidate.terminate()
            self._candidate = None
            return True
        if not leads:
            return False
        log.info("this worker sweeps")
        self._leader, self._candidate = self._candidate, None
        self._swept = time.monotonic()
        return True

    async def _list(self) -> None:
        async with postgres.connection(self._pool) as connection:
            rows = await connection.fetch(_SQL["list_sales_to_sweep"])
        self._sales = {
            row["id"]: _Swept(row["revision"], row["prices_version"], row["epoch"], row["state"]) for row in rows
        }
        self._look_at = {event: at for event, at in self._look_at.items() if event in self._sales}
        for event, swept in self._sales.items():
            known = self._book.known(event)
            if known is not None and not swept.is_of(known):
                await self._book.restamp(event)

    async def sweep(self, event: str) -> int:
        """Frees what is due, in batches, and answers how many holds that were. Old marks are handed on."""
        freed = 0
        for _ in range(limits.SWEEP_ROUNDS_MAX):
            sale, answer = await self._book.run(
                event,
                "expire_holds",
                _KEYS,
                lambda sale: sweep_args(sale, self._book.skew_ms, self._mark_seconds, self.clocks.latest_ms()),
            )
            freed += int(answer[2])
            for hold, raw in zip(answer[4::2], answer[5::2], strict=True):
                record = decode_record(raw)
                await self.settle_mark(event, Changed(hold.decode(), record, sale.epoch, record.seq, 0))
            if not int(answer[1]):
                break
        METRICS.expired.inc(freed)
        return freed

    async def close_holds(self, event: str) -> int:
        """Frees every hold of a closed sale that is in no checkout, and answers how many holds that were."""
        freed, offset, round_freed = 0, 0, 0
        bounds = (limits.SWEEP_WORK_MAX, limits.UNTIL_RELEASED_MS)
        while True:
            _, answer = await self._book.run(
                event,
                "close_holds",
                _KEYS,
                lambda _, offset=offset: [self._book.skew_ms, limits.SWEEP_BATCH, offset, *bounds],  # type: ignore[misc]
            )
            seen, ended = int(answer[1]), int(answer[2])
            freed += ended
            round_freed += ended
            offset += seen
            if not seen:
                if not round_freed:
                    return freed
                offset = round_freed = 0
