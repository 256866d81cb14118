"""The sockets that watch one event, and what they are told: snapshots, ticks, and what becomes of their holds.

No send is ever awaited here. A client whose buffer fills gets merged diffs instead of every tick's; one that does not
read at all is cut. Nobody else notices (performance.md, section 2; reliability.md, D10).
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from lml_live import limits
from lml_live.gateway import frames, wire
from lml_live.gateway.crowd import Crowd
from lml_live.gateway.desk import Desk
from lml_live.gateway.direct import SendFrame
from lml_live.gateway.fan_out import FanOut, Turns
from lml_live.infra.telemetry import METRICS
from lml_live.inventory import seatmap
from lml_live.inventory.diffs import Change
from lml_live.inventory.records import WEB
from lml_live.inventory.rooms import PUBLIC, STAFF, HoldNews, Room, Tick


def unheard(_code: int) -> None:
    """Hangs up where no conversation is on."""


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
        """The seq of the last welcome, resumed or diff that was sent; in a crowd, of when it stepped in."""
        self.crowd: Crowd | None = None
        """Where it is told what all are told, and its place in there."""
        self.place = 0
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
        self.token = ""
        """What the client was last welcomed with: its holder's token, or that of a member of staff."""
        self.deflate = False
        """Whether the client accepts a deflated seat map."""
        self.heard = time.monotonic()
        """When the client's latest frame came, be it a pong."""
        self.hang_up: Callable[[int], None] = unheard
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


class Audience:
    """All subscribers of one event and view in this worker, who read its seats by one layout.

    `desk` may be replaced, by one of the same layout.
    """

    def __init__(
        self,
        event: str,
        room: Room,
        desk: Desk,
        view: str = PUBLIC,
        turns: Turns | None = None,
        send_frame: SendFrame | None = None,
    ) -> None:
        self.event = event
        self.view = view
        self.room = room
        self.desk = desk
        self.subscribers: set[Subscriber] = set()
        self._by_holder: dict[str, set[Subscriber]] = {}
        self._fan_out = FanOut(turns or Turns(), send_frame)
        self._last_diff = time.monotonic()
        self._snapshots: dict[tuple[wire.Format, bool], Any] = {}
        self._snapshot_of: tuple[int, int, bytes] | None = None

    @property
    def is_current(self) -> bool:
        """Whether the event still has the layout by which these sockets read its seats."""
        return self.room.sale.layout_hash == self.desk.layout.hash

    # --- Who is there

    def add(self, subscriber: Subscriber) -> None:
        self.subscribers.add(subscriber)

    def name(self, subscriber: Subscriber, holder: str) -> None:
        """From here on the subscriber hears of this holder's holds."""
        if subscriber.holder != holder:
            subscriber.holder = holder
            self._by_holder.setdefault(holder, set()).add(subscriber)

    def hush(self, subscriber: Subscriber) -> None:
        """No diff reaches the subscriber until it is settled."""
        subscriber.epoch = None
        self._fan_out.hush(subscriber)

    def hush_all(self) -> None:
        """A new epoch: no diff reaches anybody before their own welcome, nor the rest of what is on its way."""
        for subscriber in self.subscribers:
            subscriber.epoch = None
        self._fan_out.hush_all()

    def settle(self, subscriber: Subscriber) -> None:
        """The state at the last tick is being sent to the subscriber, in this step: the next diff follows on it."""
        subscriber.epoch, subscriber.seq = self.room.epoch, self.room.sent_seq
        self._fan_out.settle(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        self.subscribers.discard(subscriber)
        self.hush(subscriber)
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
            # Who is not welcomed yet, or anew, gets them with the welcome.
            greeted = [subscriber for subscriber in self.subscribers if subscriber.epoch is not None]
            self._tell(greeted, wire.Details(seq=tick.seq, seats=details, channels=channels))

    def broadcast_idle(self, now: float) -> None:
        """An idle room says where it is, every `PING_SECONDS`."""
        if now - self._last_diff >= limits.PING_SECONDS and self.subscribers:
            seq = self.room.sent_seq
            self._broadcast(Change(seq, seq, {}, {}))

    def broadcast_message(self, message: Any) -> None:
        """Tells everybody one message, encoded once per format."""
        self._tell(tuple(self.subscribers), message)

    @staticmethod
    def _tell(subscribers: Iterable[Subscriber], message: Any) -> None:
        framed: dict[wire.Format, bytes] = {}
        for subscriber in subscribers:
            fmt = subscriber.format
            if fmt not in framed:
                framed[fmt] = frames.message_frame(fmt.encode(message), binary=fmt.binary)
            subscriber.write(framed[fmt])

    def _broadcast(self, change: Change) -> None:
        self._last_diff = time.monotonic()
        if self.subscribers:
            self._fan_out.tell(change)

    def serve_slow(self, now: float) -> None:
        """Gives slow clients that read again what they missed, and cuts those that do not."""
        self._fan_out.serve_slow(now)

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
