"""Keeps the rooms of a worker at the head of their events' logs: one XREAD a tick for all that are awake.

Awake is a room of whose log something was said (`inventory.wakes`) or read a moment ago; the first word of it is
followed at once. The feed never trusts silence: once a second it reads the quiet logs, too. As often, and after every
reconnect, it compares each book's stamp with the one it knows, because an emptied Redis has nothing more to say.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final

from lml_live import limits
from lml_live.errors import LmlError, NotFound, Unavailable
from lml_live.infra.redis import Pipe
from lml_live.inventory.book import Book
from lml_live.inventory.records import Entry, Sale, decode_entry, read_entry_id
from lml_live.inventory.rooms import EntriesMissing, EpochGone, Room, Tick
from lml_live.inventory.wakes import Wakes

log = logging.getLogger(__name__)

_INVENTORY: Final = ("seats", "book", "areas", "log")


class Listener:
    """What the feed tells; the gateway overrides what it needs."""

    def ticked(self, event: str, room: Room, tick: Tick) -> None:
        """The room moved on."""

    def reset(self, event: str, room: Room, before: Sale) -> None:
        """The room began anew under another epoch; `before` is the sale as it was."""

    def sale_changed(self, event: str, room: Room, before: Sale) -> None:
        """The event's rules, state, prices or channels are others now (`room.sale` has them) than they were."""


class Feed:
    """The rooms of this worker and the loop that feeds them."""

    def __init__(self, book: Book, *, tick_ms: int) -> None:
        self._book = book
        self._tick_ms = tick_ms
        self.rooms: dict[str, Room] = {}
        self.listener = Listener()
        self._opening: dict[str, asyncio.Task[Room]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._due: dict[str, float] = {}
        self._awake: dict[str, float] = {}
        """Until when each room's log is read every tick."""
        self._all_awake = 0.0
        """Until when all are."""
        self._hears: Callable[[], bool] = lambda: False
        self._used: dict[str, float] = {}
        self._distrusted: dict[str, int] = {}
        """Events whose log could not be read, with the epoch in which that was."""
        self._generation = 0
        self._checked = 0.0
        self._healthy = True
        self._stirred = asyncio.Event()
        """Some room's next tick is earlier than it was."""
        self.busy: Callable[[str], bool] = lambda _event: False
        """Whether somebody watches the room; one that nobody used for a while is closed."""

    def listen_to(self, wakes: Wakes) -> None:
        """Lets quiet rooms rest until something is said of them, for as long as what is said is heard."""
        self._hears = lambda: wakes.hearing
        wakes.heard, wakes.lost = self.wake, self.wake_all

    def wake(self, events: Iterable[str]) -> None:
        """The logs of these events have something new: rooms that rest are read now, the others are each tick."""
        now = time.monotonic()
        for event in events:
            if event in self._due:
                if self._rests(event, now):
                    self._due[event] = 0.0
                    self._stirred.set()
                self._stay_awake(event, now)

    def _stay_awake(self, event: str, now: float) -> None:
        """For a tick at least: who is told every five seconds is not told at once of what comes after two."""
        self._awake[event] = now + max(limits.ROOM_AWAKE_SECONDS, self.tick_ms(event) / 1000)

    def _rests(self, event: str, now: float) -> bool:
        return now >= self._all_awake and now >= self._awake.get(event, 0.0)

    def wake_all(self) -> None:
        """Nobody knows which logs have something new."""
        self.wake(list(self._due))

    async def room(self, event: str) -> Room:
        """The event's room, opened when first asked for. Raises `NotFound`, `Unavailable`."""
        self._used[event] = time.monotonic()
        room = self.rooms.get(event)
        if room is not None:
            return room
        task = self._opening.get(event)
        if task is None:
            task = asyncio.create_task(self._open(event), name=f"open room {event}")
            self._opening[event] = task
            task.add_done_callback(lambda _: self._opening.pop(event, None))
        return await asyncio.shield(task)

    async def _open(self, event: str) -> Room:
        sale, seq, seats, areas, allotments = await self._book.read_inventory(event)
        room = Room(sale, seq, seats, areas, allotments)
        room.remember(await self._latest_entries(sale, seq))
        self.rooms[event] = room
        self._locks[event] = asyncio.Lock()
        self._due[event] = 0.0
        self._stay_awake(event, time.monotonic())
        self._stirred.set()
        return room

    async def _latest_entries(self, sale: Sale, seq: int) -> list[tuple[int, Entry]]:
        """The log up to `seq`, so far back that it tells of `LOG_ENTRIES_MAX` changes: one entry may be of many holds,
        and a worker that opens a room in the rush has others to serve."""
        entries: list[tuple[int, Entry]] = []
        pipe, key, told, last = self._book.pipe_of(sale), sale.key("log"), 0, seq
        while last > 0 and told < limits.LOG_ENTRIES_MAX:
            first = max(1, last - limits.FEED_ENTRIES_MAX + 1)
            found = await pipe.call("XRANGE", key, f"{sale.epoch}-{first}", f"{sale.epoch}-{last}")
            part = [(read_entry_id(raw)[1], decode_entry(fields[1])) for raw, fields in found]
            entries = part + entries
            told += sum(max(1, len(entry.holds)) for _, entry in part)
            if len(part) <= last - first:
                break
            last = first - 1
        return entries

    def tick_ms(self, event: str) -> int:
        """The time between two ticks of a room, in milliseconds."""
        room = self.rooms.get(event)
        return (room.sale.tick_ms if room else None) or self._tick_ms

    async def run(self) -> None:
        """Feeds the rooms until cancelled. A Redis that is away is waited for; sockets stay."""
        while True:
            started = time.monotonic()
            try:
                fed = await self._feed_due(started)
                await self._check_books(started)
                if fed and not self._healthy:
                    self._healthy = True
                    log.info("the feed runs again")
            except Unavailable as error:
                if self._healthy:
                    self._healthy = False
                    log.warning("the feed waits: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("feeding failed")
            await self._pause()

    async def _pause(self) -> None:
        """Until a room's tick or a look at the books, or until a room is opened or wakes, whose tick is due at once."""
        self._stirred.clear()
        rest = None
        if self.rooms:
            rest = min(limits.BOOK_CHECK_SECONDS, max(0.001, min(self._due.values()) - time.monotonic()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest):
                await self._stirred.wait()

    async def _feed_due(self, now: float) -> bool:
        """Feeds the rooms whose tick it is; whether there were any."""
        due = [event for event, moment in self._due.items() if moment <= now]
        if not self._hears():
            self._all_awake = now + limits.ROOM_AWAKE_SECONDS
        for event in due:
            self._due[event] = self._next_read(event, now)
        if due:
            await self._feed(due)
        return bool(due)

    def _next_read(self, event: str, now: float) -> float:
        """When a room's log is to be read next.

        Rooms of one tick share its moments, so that one read serves them all: at moments of their own, N idle rooms
        were N reads a tick. Under load ticks are left out, never made up for in a burst.
        """
        tick = self.tick_ms(event) / 1000
        if self._rests(event, now):
            tick = max(tick, limits.QUIET_ROOM_SECONDS)
        return (now // tick + 1) * tick

    async def catch_up(self, event: str) -> None:
        """Reads one room's log now; for a client that has seen more than this worker."""
        if event in self.rooms:
            await self._feed([event])

    async def read_ahead(self, event: str) -> None:
        """Applies what one room's log has by now and leaves telling it to the next tick: for picking seats, which
        wants to know the latest, and may be asked for many times a tick."""
        if event in self.rooms:
            await self._feed([event], tick=False)

    async def _feed(self, events: list[str], *, tick: bool = True) -> None:
        rooms = {event: self.rooms[event] for event in events if event in self.rooms}
        by_group: dict[str, dict[str, Room]] = {}
        for event, room in rooms.items():
            by_group.setdefault(room.sale.group, {})[event] = room
        shares = [
            (pipe, {event: room for group in groups for event, room in by_group[group].items()})
            for pipe, groups in self._book.redis.spread(by_group)
        ]
        if len(shares) == 1:
            await self._feed_from(*shares[0], tick=tick)
            return
        # A node that is away keeps nobody else's rooms from being fed.
        done = await asyncio.gather(
            *(self._feed_from(pipe, share, tick=tick) for pipe, share in shares), return_exceptions=True
        )
        if (error := next((error for error in done if error is not None), None)) is not None:
            raise error

    async def _feed_from(self, pipe: Pipe, rooms: dict[str, Room], *, tick: bool) -> None:
        """Feeds rooms whose logs one command may name."""
        keys = [room.sale.key("log") for room in rooms.values()]
        ids = [f"{room.epoch}-{room.seq}" for room in rooms.values()]
        answer = await pipe.call("XREAD", "COUNT", limits.FEED_ENTRIES_MAX, "STREAMS", *keys, *ids)
        found = {key.decode(): entries for key, entries in answer or ()}
        for event, room in rooms.items():
            entries = found.get(room.sale.key("log"))
            if entries or (tick and room.seq != room.sent_seq):
                try:
                    await self._take(event, room, entries or [], tick=tick)
                except Unavailable:
                    raise
                except Exception:  # one event's broken log must not keep the others from being fed (style.md, 14)
                    if self._distrusted.get(event) != room.epoch:
                        self._distrusted[event] = room.epoch
                        log.exception("event %s: its log cannot be read; its inventory is built anew", event)
                        await _quietly(partial(self._book.distrust, event))

    async def _take(self, event: str, room: Room, entries: list[Any], *, tick: bool) -> None:
        async with self._locks[event]:
            try:
                for raw, fields in entries:
                    room.apply(*read_entry_id(raw), decode_entry(fields[1]))
            except EpochGone:
                await self._begin_anew(event, room)
                return
            except EntriesMissing:
                await self._resynchronise(event, room)
            if entries and self.rooms.get(event) is room:  # else it was closed meanwhile
                self._keep_awake(event)
                if len(entries) == limits.FEED_ENTRIES_MAX:
                    self._due[event] = 0.0
            news = room.tick() if tick else None
        if news is not None:
            self.listener.ticked(event, room, news)
            if news.event_changed:
                await self.refresh(event)

    def _keep_awake(self, event: str) -> None:
        """Something was read, perhaps between two ticks: the next one tells it, and more may come."""
        now = time.monotonic()
        self._stay_awake(event, now)
        if self._due[event] > (soon := self._next_read(event, now)):
            self._due[event] = soon
            self._stirred.set()

    async def _begin_anew(self, event: str, room: Room) -> None:
        before = room.sale
        await self._book.reload(event)
        sale, seq, seats, areas, allotments = await self._book.read_inventory(event)
        room.reset(sale, seq, seats, areas, allotments)
        log.info("event %s goes on in epoch %d", event, sale.epoch)
        self.listener.reset(event, room, before)

    async def _resynchronise(self, event: str, room: Room) -> None:
        sale, seq, seats, areas, allotments = await self._book.read_inventory(event)
        if sale.epoch != room.epoch or len(seats) != sale.seat_count:
            return  # the next turn sees the new epoch
        log.warning("event %s: the log was cut before this worker had read it", event)
        room.catch_up(sale, seq, seats, areas, allotments)

    async def refresh(self, event: str) -> None:
        """Reads an event's facts again, tells its book, and its room's sockets, what changed."""
        room = self.rooms.get(event)
        try:
            await self._book.restamp(event)
        except NotFound:
            return
        sale = await self._book.sale(event)
        if room is not None and sale.epoch == room.epoch and room.sale != sale:
            before, room.sale = room.sale, sale
            self.listener.sale_changed(event, room, before)

    async def _check_books(self, now: float) -> None:
        """Compares the stamps with the books, and closes rooms that nobody uses."""
        generation = self._book.redis.generation
        if now - self._checked < limits.BOOK_CHECK_SECONDS and self._generation == generation:
            return
        self._checked, self._generation = now, generation
        for event in list(self.rooms):
            if now - self._used[event] > limits.ROOM_IDLE_SECONDS and not self.busy(event):
                del self.rooms[event], self._locks[event], self._due[event], self._used[event]
                self._awake.pop(event, None)
        # Where one fails the others are waited for: nothing goes on behind the feed's back.
        done = await asyncio.gather(
            *(_quietly(partial(self._check, event, room)) for event, room in self.rooms.items()), return_exceptions=True
        )
        if (error := next((error for error in done if error is not None), None)) is not None:
            raise error

    async def _check(self, event: str, room: Room) -> None:
        """Whether the book is the one we know, and whole; where it is not, it is adopted in the background."""
        sale, answer = await self._book.run(
            event,
            "check_book",
            _INVENTORY,
            lambda sale: [*_sizes(sale), room.seq if sale.epoch == room.epoch else 0],
        )
        if answer[0] == b"damaged":
            log.error("event %s: Redis has lost a part of its inventory", event)
            await self._book.recover(event, wait=False)
        elif sale.epoch == room.epoch and sale != room.sale:
            await self.refresh(event)


def _sizes(sale: Sale) -> list[int]:
    """What scripts compare an inventory's parts with: bytes of seats, fields of areas."""
    return [sale.seat_count, sale.area_fields]


async def _quietly(act: Callable[[], Awaitable[None]]) -> None:
    """The recovery of a book goes on in the background; asking for it answers `Unavailable` at once."""
    try:
        await act()
    except LmlError as error:
        log.debug("not yet: %s", error)
