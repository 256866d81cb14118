"""The sockets that watch one event, and how a tick reaches them: encoded and framed once per format, then written.

No send is ever awaited here. A client whose buffer fills gets merged diffs instead of every tick's; one that does not
read at all is cut. Nobody else notices (performance.md, section 2; reliability.md, D10).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from lml_live import limits
from lml_live.gateway import frames, wire
from lml_live.gateway.desk import Desk, show_areas
from lml_live.infra.telemetry import METRICS
from lml_live.inventory import seatmap
from lml_live.inventory.diffs import Change, PendingDiff, split_by_state
from lml_live.inventory.records import WEB
from lml_live.inventory.rooms import PUBLIC, STAFF, HoldNews, Room, Tick

SLICE: Final = 100
"""Sockets written to in one loop pass: a hold never waits for a fan-out to thousands (performance.md: p99 halves)."""


class Subscriber:
    """The sending side of one socket. Everything is written synchronously, in order, or not at all."""

    def __init__(self, transport: asyncio.Transport, fmt: wire.Format, origin: str) -> None:
        self.transport = transport
        self.format = fmt
        self.origin = origin
        """Stands before the number of each request that this socket makes, in the log's entries."""
        self.holder: str | None = None
        self.epoch: int | None = None
        """The epoch of its last welcome; None while one is being made: no diff is sent meanwhile."""
        self.seq = 0
        """The seq of the last welcome, resumed or diff that was sent."""
        self.pending: PendingDiff | None = None
        """What a slow client has missed."""
        self.slow_since = 0.0
        self.greeting = asyncio.Lock()
        """One welcome is made at a time, asked for or not."""
        self.early_news: list[HoldNews] | None = None
        """Hold changes that came while a welcome was being made."""
        self.asked = ""
        """The origin of the request that is being carried out."""
        self.asked_news: HoldNews | None = None
        """A change that `asked` made, kept back until its answer is out."""
        self.unknown_origins: set[str] = set()
        """Requests answered `unavailable`: their changes count as not asked for."""
        self.channel = WEB
        """The sales channel that its holder buys through."""
        self.staff_token: str | None = None
        """What a member of staff said hello with."""
        self.deflate = False
        """Whether the client accepts a deflated seat map."""
        self.heard = time.monotonic()
        """When the client's latest frame came, be it a pong."""
        self.hang_up: Callable[[int], None] = lambda _code: None
        """Ends the conversation with a close code; the connection says how."""

    @property
    def gone(self) -> bool:
        return self.transport.is_closing()

    def send(self, message: Any) -> None:
        """Encodes and writes one message to this socket alone."""
        self.write(frames.message_frame(self.format.encode(message), binary=self.format.binary))

    def write(self, frame: bytes) -> None:
        """Writes a frame; a client that made its answers pile up is cut."""
        if self.transport.is_closing():
            return
        self.transport.write(frame)
        if self.transport.get_write_buffer_size() > limits.CLIENT_QUEUE_BYTES_MAX:
            self.cut()

    def cut(self) -> None:
        """Ends a socket that will not read. There is no goodbye: it would not read that either."""
        METRICS.sockets_cut.inc()
        self.transport.abort()


class _FanOut:
    """One diff on its way to everybody. Until its turn comes, later ticks are merged into it."""

    def __init__(self, epoch: int, change: Change) -> None:
        self.epoch = epoch
        self._pending = PendingDiff(change.prev)
        self._pending.add(change)
        self._frames: dict[tuple[wire.Format, int], bytes] = {}
        self.change = change

    def merge(self, epoch: int, change: Change) -> bool:
        """Adds a later tick, where it follows on this one."""
        if epoch != self.epoch or change.prev != self._pending.seq:
            return False
        self._pending.add(change)
        return True

    def begin(self) -> None:
        """Its turn has come: from here on it stays as it is."""
        self.change = self._pending.take()

    def frame(self, fmt: wire.Format, prev: int) -> bytes:
        """The diff for a socket that is at `prev`, encoded once per format.

        It tells the states as of its end, so one that was welcomed while ticks were merged may have it, too.
        """
        found = self._frames.get((fmt, prev))
        if found is None:
            message = _diff(Change(prev, self.change.seq, self.change.seats, self.change.areas))
            found = frames.message_frame(fmt.encode(message), binary=fmt.binary)
            self._frames[fmt, prev] = found
        return found


class Audience:
    """All subscribers of one event and view in this worker."""

    def __init__(self, event: str, room: Room, desk: Desk, view: str = PUBLIC) -> None:
        self.event = event
        self.view = view
        self.room = room
        self.desk = desk
        self.subscribers: set[Subscriber] = set()
        self._by_holder: dict[str, set[Subscriber]] = {}
        self._slow: set[Subscriber] = set()
        self._jobs: deque[_FanOut] = deque()
        """The first is being written; what comes meanwhile waits as one, so that a room too busy for its worker is told
        more seldom and never falls behind."""
        self._writing: Iterator[Subscriber] | None = None
        self._last_diff = time.monotonic()
        self._snapshots: dict[tuple[wire.Format, bool], Any] = {}
        self._snapshot_of: tuple[int, int, bytes] | None = None

    # --- Who is there

    def add(self, subscriber: Subscriber) -> None:
        self.subscribers.add(subscriber)

    def name(self, subscriber: Subscriber, holder: str) -> None:
        """From here on the subscriber hears of this holder's holds."""
        if subscriber.holder != holder:
            subscriber.holder = holder
            self._by_holder.setdefault(holder, set()).add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        self.subscribers.discard(subscriber)
        self._slow.discard(subscriber)
        if subscriber.holder is not None and (same := self._by_holder.get(subscriber.holder)) is not None:
            same.discard(subscriber)
            if not same:
                del self._by_holder[subscriber.holder]

    # --- What they are told

    def snapshot(self, fmt: wire.Format, *, deflate: bool) -> Any:
        """The packed seat map as `welcome` carries it, encoded once per version."""
        version = (self.room.epoch, self.room.sent_seq, self.room.table(self.view))
        if self._snapshot_of != version:
            self._snapshots.clear()
            self._snapshot_of = version
        found = self._snapshots.get((fmt, deflate))
        if found is None:
            packed = seatmap.pack(self.room.states(self.view))
            found = fmt.raw(seatmap.deflate(packed) if deflate else packed)
            self._snapshots[fmt, deflate] = found
        return found

    def tick(self, tick: Tick) -> None:
        """Tells everybody a tick, and each holder the changes of their holds."""
        for news in tick.holds:
            for subscriber in tuple(self._by_holder.get(news.record.holder, ())):
                self._tell_holder(subscriber, news)
        self._broadcast(self.room.change(tick, self.view))
        if self.view == STAFF and tick.seats:
            details = tuple((seat, byte) for seat, (_, byte) in sorted(tick.seats.items()))
            channels = {name: channel.number for name, channel in self.room.sale.channels.items()}
            self.broadcast_message(wire.Details(seq=tick.seq, seats=details, channels=channels))

    def broadcast_idle(self, now: float) -> None:
        """An idle room says where it is, every `PING_SECONDS`."""
        if now - self._last_diff >= limits.PING_SECONDS and self.subscribers:
            seq = self.room.sent_seq
            self._broadcast(Change(seq, seq, {}, {}))

    def broadcast_message(self, message: Any) -> None:
        """Tells everybody one message, encoded once per format."""
        framed: dict[wire.Format, bytes] = {}
        for subscriber in tuple(self.subscribers):
            fmt = subscriber.format
            if fmt not in framed:
                framed[fmt] = frames.message_frame(fmt.encode(message), binary=fmt.binary)
            subscriber.write(framed[fmt])

    def _broadcast(self, change: Change) -> None:
        self._last_diff = time.monotonic()
        if not self.subscribers:
            return
        # With one being written, the last waits.
        if len(self._jobs) < 2 or not self._jobs[-1].merge(self.room.epoch, change):
            self._jobs.append(_FanOut(self.room.epoch, change))
        if self._writing is None:
            self._continue()

    def _continue(self) -> None:
        """Writes the oldest job to one slice of sockets, and comes back in the next loop pass for the rest."""
        while self._jobs:
            job = self._jobs[0]
            if self._writing is None:
                job.begin()
                METRICS.diffs.inc()
                self._writing = iter(tuple(self.subscribers))
            for written, subscriber in enumerate(self._writing, 1):
                self._deliver(subscriber, job)
                if written == SLICE:
                    asyncio.get_running_loop().call_soon(self._continue)
                    return
            self._writing = None
            self._jobs.popleft()

    def _deliver(self, subscriber: Subscriber, job: _FanOut) -> None:
        change = job.change
        if subscriber.epoch != job.epoch or subscriber.gone:
            return  # who is being welcomed has no need of it
        prev = change.prev
        if subscriber.seq > prev:
            if subscriber.seq >= change.seq:
                return  # welcomed after this tick
            prev = subscriber.seq
        if subscriber.pending is None:
            if subscriber.transport.get_write_buffer_size() < limits.CLIENT_QUEUE_BYTES_SLOW:
                subscriber.transport.write(job.frame(subscriber.format, prev))
                subscriber.seq = change.seq
                METRICS.frames.inc()
                return
            subscriber.pending = PendingDiff(prev)
            subscriber.slow_since = time.monotonic()
            self._slow.add(subscriber)
        subscriber.pending.add(Change(prev, change.seq, change.seats, change.areas))
        subscriber.seq = change.seq

    def serve_slow(self, now: float) -> None:
        """Gives slow clients that read again what they missed, and cuts those that do not."""
        for subscriber in tuple(self._slow):
            pending = subscriber.pending
            if pending is None or subscriber.gone:
                self._slow.discard(subscriber)
            elif subscriber.transport.get_write_buffer_size() == 0:
                subscriber.pending = None
                self._slow.discard(subscriber)
                subscriber.send(_diff(pending.take()))
            elif now - subscriber.slow_since > limits.STALL_SECONDS_MAX:
                subscriber.cut()

    # --- Holds

    def _tell_holder(self, subscriber: Subscriber, news: HoldNews) -> None:
        if subscriber.early_news is not None:
            subscriber.early_news.append(news)
        elif news.origin == subscriber.asked and news.origin:
            subscriber.asked_news = news
        elif not news.origin.startswith(subscriber.origin) or news.origin in subscriber.unknown_origins:
            self.send_hold_changed(subscriber, news)

    def send_hold_changed(self, subscriber: Subscriber, news: HoldNews) -> None:
        """Tells a socket of the holder what became of a hold."""
        record = news.record
        gone = record.state == "gone"
        subscriber.send(
            wire.HoldChanged(
                hold=news.hold,
                state=record.state,  # type: ignore[arg-type]  # the scripts write no other
                reason=record.reason,  # type: ignore[arg-type]
                value=None if gone else self.desk.show_hold(news.hold, record),
                booking=record.booking or None,
                epoch=str(self.room.epoch),
                seq=news.seq,
            )
        )


def _diff(change: Change) -> wire.Diff:
    available, held, sold, blocked = split_by_state(change.seats)
    return wire.Diff(
        seq=change.seq,
        prev=change.prev,
        available=available,
        held=held,
        sold=sold,
        blocked=blocked,
        areas=show_areas(change.areas),
    )
