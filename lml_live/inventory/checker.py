"""Compares Redis with PostgreSQL, event by event, and mends what differs (`drift` says what that is).

Never by a blind write: a sale that Redis was not told is told again through its script, which acts only where the hold
bears the booking's mark; anything else closes the book, so that *adopt* builds the inventory anew.

What is found once may be on its way. So PostgreSQL is read before Redis, twice, some seconds apart, under one stamp:
what is really on its way arrives in between, or has work waiting in the outbox, and only what is found again in every
detail is drift. An event that changes all the time is read exactly, too: its log tells what changed meanwhile.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from lml_live import limits
from lml_live.errors import LmlError
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.infra.telemetry import METRICS
from lml_live.inventory.book import Book
from lml_live.inventory.drift import Drift, Picture, Tally, advance, find_drift
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import (
    Entry,
    Record,
    Sale,
    decode_entry,
    decode_record,
    read_entry_id,
)

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("inventory")
_tally: Final = msgspec.msgpack.Decoder(tuple[int | str, ...])


class Look(msgspec.Struct, frozen=True):
    """What one comparison found, and under which stamp."""

    stamp: str
    found: tuple[Drift, ...]


class Checker:
    """Looks for drift, and mends it."""

    def __init__(self, book: Book, holds: Holds, pool: postgres.Pool) -> None:
        self._book = book
        self._holds = holds
        self._pool = pool
        self._mended: dict[str, frozenset[Drift]] = {}
        """What was mended last, by event: what is found again afterwards is left to people."""
        self._look_seconds = 0.0

    async def run(self, leads: Callable[[], bool]) -> None:
        """Checks one event after the other, for as long as this worker is the one that does so, until cancelled."""
        waiting: list[str] = []
        while True:
            # A look at 20,000 holds costs 0.6 s of CPU: the more it costs, the longer until the next.
            await asyncio.sleep(max(limits.DRIFT_CHECK_SECONDS, self._look_seconds / limits.DRIFT_SHARE_MAX))
            try:
                if not leads():
                    continue
                waiting = waiting or await self.events()
                if waiting:
                    event = waiting.pop(0)
                    await self.mend(event, await self.check(event))
            except LmlError as error:
                log.debug("the check for drift waits: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("checking for drift failed")

    async def events(self) -> list[str]:
        """The events worth a check: those with an inventory whose sale is not over."""
        async with postgres.connection(self._pool) as connection:
            return [row["id"] for row in await connection.fetch(_SQL["list_sales_to_check"])]

    async def check(self, event: str, wait_seconds: float = limits.DRIFT_CONFIRM_SECONDS) -> tuple[Drift, ...]:
        """What is wrong, and was wrong `wait_seconds` ago. Raises `NotFound`, `Unavailable`."""
        first = await self.look(event)
        METRICS.drift_checks.inc()
        if first is None or not first.found:
            return ()
        await asyncio.sleep(wait_seconds)
        second = await self.look(event)
        if second is None or second.stamp != first.stamp:
            return ()
        drift = tuple(sorted(set(first.found) & set(second.found)))
        for kind, count in Counter(one.kind for one in drift).items():
            METRICS.drift.labels(kind).inc(count)
        if drift:
            shown = "; ".join(map(describe, drift[: limits.DRIFT_SHOWN_MAX]))
            log.error("event %s: Redis and PostgreSQL differ in %d points: %s", event, len(drift), shown)
        return drift

    async def mend(self, event: str, drift: Iterable[Drift]) -> str:
        """Sets right what `check` found; answers `told`, `adopted`, or "" where nothing was done."""
        found = frozenset(drift)
        if not found:
            return ""
        if found <= self._mended.get(event, frozenset()):
            log.error("event %s: mending it once did not help; it is left as it is", event)
            return ""
        self._mended[event] = found
        # What else there is may be gone once Redis knows of the sales; the next check sees.
        untold = sorted({(one.hold, one.booking) for one in found if one.booking})
        told = [booking for hold, booking in untold if await self._holds.sell_hold(event, hold, booking) is not None]
        if told:
            log.warning("event %s: Redis was told that %s are sold", event, ", ".join(told))
        else:
            log.warning("event %s: its inventory is built anew", event)
            await _closed(self._book, event)
        done = "told" if told else "adopted"
        METRICS.drift_mended.labels(done).inc()
        return done

    async def look(self, event: str) -> Look | None:
        """One comparison; None where the event's book is changing hands."""
        began = time.monotonic()
        known = await self._book.sale(event)
        index_of = await self._book.seat_index(known)
        async with (
            postgres.connection(self._pool) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            overlay = await self._book.overlay(connection, known, index_of)
            pending = {row["booking_id"] for row in await connection.fetch(_SQL["list_unfinished_work"], event)}
        sale, seq, seats, areas, allotments = await self._book.read_inventory(event)
        pipe = self._book.pipe_of(sale)
        fields = await _scan(pipe, "HSCAN", sale.key("book"))
        deadlines = await _scan(pipe, "ZSCAN", sale.key("deadlines"))
        entries = await _entries_after(pipe, sale, seq)
        if entries is None or await pipe.call("HGET", sale.key("book"), "stamp") != sale.stamp.encode():
            return None
        if sale.layout_hash != known.layout_hash:
            return None  # the overlay's indexes are another layout's
        now_ms = await self._book.redis_time_ms(pipe)

        def compare() -> Look | None:
            records, tallies = _read(fields)
            scores = {hold.decode(): int(float(score)) for hold, score in deadlines.items()}
            picture = advance(Picture(sale.stamp, seq, seats, areas, allotments, records, scores, tallies), entries)
            if picture is None:
                return None
            return Look(sale.stamp, find_drift(picture, sale.areas, overlay, pending, now_ms))

        # In a thread: 20,000 holds take a while, and the worker's sockets go on meanwhile.
        look = await asyncio.to_thread(compare)
        self._look_seconds = time.monotonic() - began
        return look


def describe(drift: Drift) -> str:
    """One point in words."""
    return f"{drift.kind} {drift.what} is {drift.found}, not {drift.expected}"


async def _closed(book: Book, event: str) -> None:
    """Closes the book; that its inventory is not back yet is what was asked for."""
    try:
        await book.distrust(event)
    except LmlError as error:
        log.debug("event %s: %s", event, error)


async def _scan(pipe: Pipe, command: str, key: str) -> dict[bytes, bytes]:
    """All fields of a key, in steps; what changes meanwhile is there or not."""
    found: dict[bytes, bytes] = {}
    cursor = b"0"
    while True:
        cursor, flat = await pipe.call(command, key, cursor, "COUNT", limits.BOOK_SCAN_FIELDS)
        found.update(zip(flat[::2], flat[1::2], strict=True))
        if cursor == b"0":
            return found


async def _entries_after(pipe: Pipe, sale: Sale, seq: int) -> list[tuple[int, Entry]] | None:
    """The log after `seq` to its end; None where it does not go on there."""
    entries: list[tuple[int, Entry]] = []
    for _ in range(limits.LOG_ENTRIES_MAX // limits.FEED_ENTRIES_MAX + 1):
        start = f"{sale.epoch}-{seq + 1}"
        found: list[Any] = await pipe.call("XRANGE", sale.key("log"), start, "+", "COUNT", limits.FEED_ENTRIES_MAX)
        for raw, fields in found:
            epoch, seq = read_entry_id(raw)
            if epoch != sale.epoch:
                return None
            entries.append((seq, decode_entry(fields[1])))
        if len(found) < limits.FEED_ENTRIES_MAX:
            return entries
    return None  # it grows faster than it is read


def _read(fields: dict[bytes, bytes]) -> tuple[dict[str, Record], dict[str, Tally]]:
    """The records and tallies of a book."""
    records: dict[str, Record] = {}
    tallies: dict[str, Tally] = {}
    for name, value in fields.items():
        if name.startswith(b"h:"):
            records[name[2:].decode()] = decode_record(value)
        elif name.startswith(b"o:"):
            tallies[name[2:].decode()] = _tally.decode(value)
    return records, tallies
