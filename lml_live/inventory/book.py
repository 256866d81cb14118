"""The event's book in Redis: who may speak to it, and what happens when it is not the one we know.

Every script is given the stamp (`epoch:revision`). A book without a stamp or of another epoch means *adopt*; another
revision means: read the rules again and retry once (architecture.md). One adopter at a time; meanwhile acts are
answered `Unavailable`, and readers wait.
"""

import asyncio
import copy
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Self

from lml_live import limits
from lml_live.errors import NotFound, Refused, Unavailable
from lml_live.infra import postgres
from lml_live.infra.redis import Part, Pipe
from lml_live.infra.redis_topology import Topology
from lml_live.inventory.adopt_turns import AdoptTurns
from lml_live.inventory.diffs import Allotments, AreaCounts
from lml_live.inventory.records import (
    Sale,
    pack,
    read_allotments,
    read_area_counts,
    read_entry_id,
    write_areas,
)
from lml_live.inventory.recovery import Inventory, Overlay, batches, read_kept, rebuild
from lml_live.inventory.rows import load_overlay, read_sale
from lml_live.inventory.together import Together
from lml_live.inventory.wakes import Wakes

log = logging.getLogger(__name__)

SeatDirectory = Callable[[Sale], Awaitable[Mapping[str, int]]]
"""Answers a sale's seat ids, by rising index, with their indexes; wiring hands in the venues' library."""

_SQL: Final = postgres.statements("inventory")
_ADOPT_BATCH: Final = 1_000
_OTHER_BOOKS: Final = (b"no_book", b"other_stamp")
_INVENTORY: Final = ("seats", "book", "areas", "log")
RESTORED: Final = "it is built anew. Was PostgreSQL restored from a backup? See docs/running.md"
"""What is said of an inventory that knows more than PostgreSQL."""


class Book:
    """The books of all events, by event id. Facts about an event are cached; `reload` reads them again."""

    def __init__(self, redis: Topology, pool: postgres.Pool, seat_directory: SeatDirectory) -> None:
        self.redis = redis
        self._pool = pool
        self._seat_directory = seat_directory
        self._sales: dict[str, Sale] = {}
        self._read_at: dict[str, float] = {}
        """When the facts of each event were had, on the monotonic clock."""
        self._events: dict[int, str] = {}
        self._recoveries: dict[str, asyncio.Task[Sale]] = {}
        # Each recovery holds a connection of the pool; the others are for everybody else.
        self._turns = AdoptTurns(limits.ADOPTS_AT_ONCE)
        self._asked: Pipe | None = None
        self.wakes = Wakes(redis)
        self.together = Together(redis, self.wakes)
        self.adopted: Callable[[str], None] = lambda _event: None
        """Told the id of every event that this worker adopted."""
        self._layouts: Mapping[str, str] = {}

    def under(self, layouts: Mapping[str, str]) -> "Book":
        """The same books, for who reads seat indexes by these layouts: their hashes, by event id.

        Where an event is on another layout by now, or gets it meanwhile, a call raises `Unavailable` and has changed
        nothing: the index would mean another seat. A stamp is of one layout, for each layout begins an epoch.
        """
        found = copy.copy(self)
        found._layouts = layouts
        return found

    def _is_read_by(self, sale: Sale) -> bool:
        """Whether the event has the layout by which the caller reads its seats, if he does."""
        return self._layouts.get(sale.event, sale.layout_hash) == sale.layout_hash

    def _expect_layout(self, sale: Sale) -> Sale:
        if self._is_read_by(sale):
            return sale
        raise other_layout()

    def pipe_of(self, sale: Sale) -> Pipe:
        """The pipe of the node that has an event's keys. Raises `Unavailable` while none has."""
        return self.redis.of(sale.group)

    @property
    def skew_ms(self) -> int:
        """PostgreSQL's clock less Redis's (`Pipe.skew_ms`), of the node that a call is being made up for."""
        return self._clock.skew_ms

    @skew_ms.setter
    def skew_ms(self, skew_ms: int) -> None:
        self._clock.skew_ms = skew_ms

    @property
    def _clock(self) -> Pipe:
        return self._asked or self.redis.nodes()[0]

    # --- Facts

    async def sale(self, event: str) -> Sale:
        """An event's facts, from the cache or PostgreSQL. Raises `NotFound`, `Unavailable`."""
        known = self._sales.get(event)
        if known is not None and self._is_read_by(known):
            return known
        # The caller may know of a newer layout than the cache.
        return self._expect_layout(await self.reload(event))

    def known(self, event: str) -> Sale | None:
        """The facts in the cache."""
        return self._sales.get(event)

    async def reload(self, event: str) -> Sale:
        """Reads an event's facts again."""
        async with postgres.connection(self._pool) as connection:
            return await self._reload(event, connection)

    async def _reload(self, event: str, connection: postgres.Connection) -> Sale:
        asked = time.monotonic()
        row = await connection.fetchrow(_SQL["load_sale"], event)
        if row is None:
            self._sales.pop(event, None)
            raise NotFound("There is no such event.")
        sale = read_sale(row)
        known = self._sales.get(event)
        # Two reads may overlap; the older must not win. One that was asked for later is newer, whatever it says: a
        # PostgreSQL that was restored from a backup goes on from an older epoch and revision.
        if known is None or asked > self._read_at[event] or _age_of(sale) >= _age_of(known):
            self._sales[event], self._read_at[event] = sale, time.monotonic()
        return self._sales[event]

    async def event_of_hold(self, hold: str) -> str:
        """The event that a hold's id belongs to. Raises `NotFound` for an id that no hold can have."""
        number, _, digest = hold.partition("-")
        if not number.isdecimal() or len(number) > 9 or not digest:
            raise NotFound("There is no such hold.")
        event = self._events.get(int(number))
        if event is None:
            async with postgres.connection(self._pool) as connection:
                event = await connection.fetchval(_SQL["event_of_number"], int(number))
            if event is None:
                raise NotFound("There is no such hold.")
            self._events[int(number)] = event
        return event

    # --- Scripts

    async def run(
        self,
        event: str,
        script: str,
        keys: Sequence[str],
        args: Callable[[Sale], Sequence[Part]],
        *,
        wait: bool = False,
    ) -> tuple[Sale, list[Any]]:
        """Runs a script against an event's book; `args` makes what follows the stamp from the facts.

        Answers the facts it was run under and the script's answer, never `no_book` or `other_stamp`. Raises
        `Unavailable` while the book is being adopted, unless `wait` asks to wait for it (bounded).
        """
        for _ in range(limits.STAMP_TRIES):
            sale = await self.prepare(event, wait=wait)
            if sale is None:
                continue
            self._asked = pipe = self.redis.of(sale.group)
            given = [sale.stamp, *args(sale)]
            answer = await self._call(pipe, [sale], script, [sale.key(key) for key in keys], given)
            if not await self.disagreed(event, sale, answer, wait=wait):
                return sale, answer
        raise Unavailable("The sale is changing; please try again.", retry_after_ms=limits.RETRY_AFTER_MS)

    async def run_group(
        self,
        events: Sequence[str],
        script: str,
        keys: Sequence[str],
        args: Callable[[Sequence[Sale]], Sequence[Part]],
        *,
        wait: bool = False,
    ) -> tuple[list[Sale], list[Any]]:
        """Runs a script over several events in one step, as `run`; `args` is given their facts, in their order.

        Raises `different_group` where they cannot change in one step.
        """
        for _ in range(limits.STAMP_TRIES):
            found = [await self.prepare(event, wait=wait) for event in events]
            sales = [sale for sale in found if sale is not None]
            if len({sale.group for sale in sales}) > 1:
                raise Refused("different_group", "These events are not of one group.")
            if len(sales) < len(events):
                continue
            self._asked = pipe = self.redis.of(sales[0].group)
            named = [sale.key(key) for sale in sales for key in keys]
            answer = await self._call(pipe, sales, script, named, args(sales))
            others = [refusal for refusal in answer[1:] if answer[0] == b"refused" and refusal[1] in _OTHER_BOOKS]
            if not others:
                return sales, answer
            for place, word, *stored in others:
                sale = sales[int(place) - 1]
                if word == b"no_book":
                    await self.recover(sale.event, wait=wait)
                else:
                    await self._agree(sale.event, sale, stored[0].decode(), wait=wait)
        raise Unavailable("The sale is changing; please try again.", retry_after_ms=limits.RETRY_AFTER_MS)

    async def _call(
        self, pipe: Pipe, sales: Sequence[Sale], script: str, keys: Sequence[str], args: Sequence[Part]
    ) -> list[Any]:
        """Runs a script on the books of these sales, and wakes who watches them where it may change one."""
        if pipe.appends(script):
            for sale in sales:
                self.wakes.tell(sale.event, pipe)
        return await pipe.run(script, keys, args)

    def ready(self, event: str) -> Sale | None:
        """The facts that a script can be run under at once; None where some must be read or restored first.

        Raises `Unavailable`.
        """
        sale = self._sales.get(event)
        if sale is None or sale.run_id != self.redis.of(sale.group).run_id or not self._is_read_by(sale):
            return None
        return sale

    async def disagreed(self, event: str, sale: Sale, answer: Any, *, wait: bool = False) -> bool:
        """Whether an answer says that the book is not the one `sale` speaks of; then that is settled, as far as can be.

        The call has changed nothing, and is to be made again under the facts as they are now.
        """
        match answer:
            case [b"no_book", *_]:
                await self.recover(event, wait=wait)
            case [b"other_stamp", stored]:
                await self._agree(event, sale, stored.decode(), wait=wait)
            case [b"again"]:
                pass
            case _:
                return False
        return True

    async def prepare(self, event: str, *, wait: bool = False) -> Sale | None:
        """An event's facts, its book being in the Redis that is connected; None where that was replaced meanwhile."""
        if (ready := self.ready(event)) is not None:
            return ready
        sale = self._expect_layout(await self.reload(event))  # another worker may have adopted it
        if sale.run_id != self.redis.of(sale.group).run_id:
            sale = self._expect_layout(await self.recover(event, wait=wait or sale.epoch == 0))
        return sale if sale.run_id == self.redis.of(sale.group).run_id else None

    async def read_inventory(self, event: str) -> tuple[Sale, int, bytes, dict[str, AreaCounts], dict[str, Allotments]]:
        """The facts and the inventory under them at one moment: seq, seats, areas, allotments. Waits as `run` may.

        Plain commands in one write, beginning and ending with the stamp and the log's head: where both agree, nothing
        came between, for no step changes seats without an entry. Lua would copy every seat twice (60,000: 90 µs of
        Redis instead of 40); it is asked where something does not agree, says what, and closes a damaged book.
        """
        sale = await self.sale(event)
        pipe = self.redis.of(sale.group)
        if sale.run_id == pipe.run_id:
            book, log = sale.key("book"), sale.key("log")
            head: tuple[Part, ...] = ("XREVRANGE", log, "+", "-", "COUNT", 1)
            stamp, first, seats, areas, last, stamp_then = await asyncio.gather(
                pipe.call("HGET", book, "stamp"),
                pipe.call(*head),
                pipe.call("GET", sale.key("seats")),
                pipe.call("HGETALL", sale.key("areas")),
                pipe.call(*head),
                pipe.call("HGET", book, "stamp"),
            )
            agree = stamp == stamp_then == sale.stamp.encode() and first and first == last
            if agree and len(seats or b"") == sale.seat_count and len(areas) == 2 * sale.area_fields:
                epoch, seq = read_entry_id(last[0][0])
                if epoch == sale.epoch:
                    return sale, seq, seats, read_area_counts(areas), read_allotments(areas)

        def sizes(sale: Sale) -> list[Part]:
            return [sale.seat_count, sale.area_fields]

        sale, answer = await self.run(event, "read_inventory", _INVENTORY, sizes, wait=True)
        return sale, int(answer[1]), answer[2], read_area_counts(answer[3]), read_allotments(answer[3])

    async def catch_up(self, event: str) -> bool:
        """Reads an event's facts again where its book bears another stamp than they; answers whether they are newer."""
        sale = await self.sale(event)
        stored: bytes | None = await self.pipe_of(sale).call("HGET", sale.key("book"), "stamp")
        if stored is None or stored.decode() == sale.stamp:
            return False
        newer = await self.reload(event)
        return newer.stamp != sale.stamp

    async def _agree(self, event: str, sale: Sale, stored: str, *, wait: bool) -> None:
        """The book bears another stamp than `sale`: reads the facts again, and restamps or recovers."""
        sale = await self.reload(event)
        epoch, _, revision = stored.partition(":")
        if epoch != str(sale.epoch):
            await self.recover(event, wait=wait)
        elif int(revision) < sale.revision:
            await self.restamp(event)
        elif int(revision) > sale.revision:
            # Only what PostgreSQL had on record was ever stamped, and the facts were read after the stamp.
            log.error("event %s: its inventory knows rules that PostgreSQL has lost: %s", event, RESTORED)
            await self._close_book(sale)
            await self.recover(event, wait=wait)

    async def restamp(self, event: str) -> None:
        """Tells the book an event's newest rules. Harmless when told twice; a book that is away is adopted later."""
        sale = await self.reload(event)
        if sale.epoch:
            keys = [sale.key("book"), sale.key("log")]
            await self._call(self.pipe_of(sale), [sale], "stamp_event", keys, [str(sale.epoch), str(sale.revision)])

    # --- Recovery

    async def recover(self, event: str, *, wait: bool) -> Sale:
        """Makes sure that the book is the one PostgreSQL knows, by *adopt* where it is not.

        One recovery an event and worker at a time; events that somebody waits for come before all others. Without
        `wait`: `Unavailable` unless it is done already.
        """
        task = self._recoveries.get(event)
        if task is None:
            task = asyncio.create_task(self._recover(event), name=f"recover {event}")
            self._recoveries[event] = task
            task.add_done_callback(lambda done: self._recovered(event, done))
        if not wait:
            raise Unavailable("The seat map is being restored.", retry_after_ms=limits.RETRY_AFTER_MS)
        self._turns.hurry(event)
        try:
            async with asyncio.timeout(limits.ADOPT_WAIT_SECONDS):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise Unavailable("The seat map is being restored.", retry_after_ms=limits.RETRY_AFTER_MS) from error

    def _recovered(self, event: str, task: "asyncio.Task[Sale]") -> None:
        self._recoveries.pop(event, None)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Unavailable | NotFound):
            # While Redis is away everybody asks, many times a second; the pipe has said so already.
            level = logging.WARNING if all(pipe.connected for pipe in self.redis.nodes()) else logging.DEBUG
            log.log(level, "event %s is not restored yet: %s", event, error)
        elif error is not None:
            log.error("restoring event %s failed", event, exc_info=error)

    async def distrust(self, event: str) -> None:
        """Closes an event's book, whose content cannot be right, so that it is adopted. Raises `Unavailable`."""
        await self._close_book(await self.sale(event))
        await self.recover(event, wait=False)

    async def _close_book(self, sale: Sale) -> None:
        await self.pipe_of(sale).call("HDEL", sale.key("book"), "stamp")

    async def seat_index(self, sale: Sale) -> Mapping[str, int]:
        """The index of each seat of the event by its id."""
        return await self._seat_directory(sale)

    async def overlay(self, connection: postgres.Connection, sale: Sale, index_of: Mapping[str, int]) -> Overlay:
        """What PostgreSQL knows of an event's inventory, as this connection sees it."""
        return await load_overlay(connection, sale, index_of)

    async def close(self) -> None:
        """Ends the recoveries under way; another worker, or the next start, takes them over."""
        tasks = list(self._recoveries.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _recover(self, event: str) -> Sale:
        # One connection for all of it: were a second one needed, a few recoveries could hold the whole pool and wait
        # for each other.
        async with self._turns.take(event), postgres.session(self._pool) as connection:
            sale = await self._reload(event, connection)
            if self._agrees(sale, (await self._epochs(sale))[0]):
                return sale
            await connection.execute(_SQL["lock_adopting"], sale.number)
            sale = await self._reload(event, connection)  # another worker may have been first
            pipe = self.pipe_of(sale)
            generation = pipe.generation
            finished, newest = await self._epochs(sale)
            if self._agrees(sale, finished):
                return sale
            # An old primary may live on beside a promoted one: who sees only that one must not take the event back.
            await self.redis.confirm(sale.group)
            if self.pipe_of(sale) is not pipe or pipe.generation != generation:
                # Asking takes a while: the node that did not agree may not be the one that was confirmed.
                raise Unavailable("Redis was replaced meanwhile.", retry_after_ms=limits.RETRY_AFTER_MS)
            if newest > sale.epoch:
                log.error("event %s: its inventory is of an epoch that PostgreSQL has lost: %s", event, RESTORED)
            await self._adopt(connection, sale, newest)
            return await self._reload(event, connection)

    async def _epochs(self, sale: Sale) -> tuple[int, int]:
        """The epoch of the book, 0 where it is closed or away, and the newest that it was ever to have."""
        stamp, adopting = await self.pipe_of(sale).call("HMGET", sale.key("book"), "stamp", "adopting")
        finished = int(stamp.partition(b":")[0]) if stamp else 0
        return finished, max(finished, int(adopting or 0))

    def _agrees(self, sale: Sale, finished: int) -> bool:
        """Whether a book of the epoch `finished` is the one that PostgreSQL has on record, in the same Redis process.

        To be asked after Redis was: while it is away, the pipe still bears the run_id of a process that is no more.
        """
        return 0 < finished == sale.epoch and sale.run_id == self.pipe_of(sale).run_id

    async def _adopt(self, connection: postgres.Connection, sale: Sale, newest: int) -> None:
        """Builds the inventory anew, in an epoch after PostgreSQL's and after the `newest` that the book knows."""
        started = time.monotonic()
        pipe = self.pipe_of(sale)
        run_id = pipe.run_id
        layout_hash, index_of = sale.layout_hash, await self._seat_directory(sale)
        async with connection.transaction():
            await connection.execute(_SQL["lock_event_exclusive"], sale.number)
            await connection.execute(_SQL["raise_epoch"], sale.event, run_id, newest)
            # Read with the row locked: its layout and rules are those of the new epoch.
            row = await connection.fetchrow(_SQL["load_sale"], sale.event)
            assert row is not None
            sale = read_sale(row)
            if sale.layout_hash != layout_hash:
                raise Unavailable("The layout is changing.", retry_after_ms=limits.RETRY_AFTER_MS)
            overlay = await load_overlay(connection, sale, index_of)
        epoch, revision = str(sale.epoch), str(sale.revision)
        book, new_book, new_deadlines = sale.key("book"), sale.key("new_book"), sale.key("new_deadlines")
        begun = await pipe.run("adopt_begin", [book, new_book, new_deadlines], [epoch])
        if begun[0] != b"begun":
            raise Unavailable("A newer seat map is there.", retry_after_ms=limits.RETRY_AFTER_MS)
        # The book is closed to all scripts now: what is read here stays so.
        layout: bytes | None = await pipe.call("HGET", book, "layout")
        raw: list[bytes] = []
        if layout is not None and layout.decode() == sale.layout_hash:
            raw = await pipe.call("HGETALL", book)
        # In a thread: 20,000 holds take half a second, and the worker's sockets go on meanwhile.
        now_ms = await self.redis_time_ms(pipe)
        inventory, fields = await asyncio.to_thread(_rebuild, sale, raw, overlay, now_ms)
        for batch in batches(fields, _ADOPT_BATCH):
            await self._write(pipe, sale, epoch, batch, [])
        for batch in batches(inventory.deadlines(), _ADOPT_BATCH):
            await self._write(pipe, sale, epoch, [], batch)
        names = ("seats", "book", "deadlines", "areas", "log", "new_book", "new_deadlines")
        areas = pack(write_areas(inventory.areas, inventory.allotments))
        if pipe.run_id != run_id or self.pipe_of(sale) is not pipe:
            raise Unavailable("Redis was replaced meanwhile.", retry_after_ms=limits.RETRY_AFTER_MS)
        parts: list[Part] = [epoch, revision, inventory.seats, areas]
        finished = await self._call(pipe, [sale], "adopt_finish", [sale.key(name) for name in names], parts)
        _expect(finished, b"adopted")
        log.warning(
            "event %s adopted as epoch %s in %.0f ms: %d holds, %d of them claims, %d dropped, %d seats blocked",
            sale.event,
            epoch,
            (time.monotonic() - started) * 1000,
            len(inventory.holds),
            len(overlay.claims),
            len(inventory.dropped),
            len(overlay.blocked_seats),
        )
        self.adopted(sale.event)

    async def _write(
        self, pipe: Pipe, sale: Sale, epoch: str, fields: Sequence[str | bytes], deadlines: Sequence[str | bytes]
    ) -> None:
        keys = [sale.key("book"), sale.key("new_book"), sale.key("new_deadlines")]
        _expect(await pipe.run("adopt_write", keys, [epoch, len(fields), *fields, *deadlines]), b"written")

    async def redis_time_ms(self, pipe: Pipe | None = None) -> int:
        """The clock of a Redis node, corrected by its skew; of the first one where none is named."""
        pipe = pipe or self.redis.nodes()[0]
        seconds, microseconds = await pipe.call("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000 + pipe.skew_ms


class OfBook:
    """Acts on events' books."""

    _book: Book

    def under(self, layouts: Mapping[str, str]) -> Self:
        """The same acts, for who reads seat indexes by these layouts: see `Book.under`."""
        found = copy.copy(self)
        found._book = self._book.under(layouts)
        return found


def other_layout() -> Unavailable:
    """To be raised where seats were read by a layout that the event has no more, or has not yet."""
    return Unavailable("The event is getting another layout.", retry_after_ms=limits.RETRY_AFTER_MS)


def _age_of(sale: Sale) -> tuple[int, int, int]:
    """What only rises, as long as PostgreSQL loses nothing."""
    return sale.epoch, sale.revision, sale.prices_version


def _rebuild(sale: Sale, raw: Sequence[bytes], overlay: Overlay, now_ms: int) -> tuple[Inventory, list[str | bytes]]:
    """The new inventory, and its book's fields."""
    inventory = rebuild(sale.seat_count, sale.areas, read_kept(raw), overlay, now_ms)
    return inventory, [*inventory.book_fields(), "layout", sale.layout_hash]


def _expect(answer: list[Any], word: bytes) -> None:
    if answer[0] != word:
        raise Unavailable("The seat map was lost again while it was restored.", retry_after_ms=limits.RETRY_AFTER_MS)
