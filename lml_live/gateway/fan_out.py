"""How a room's diffs reach its sockets: one encoding a format, in slices, each socket in order and without a gap.

A socket that was welcomed is in one of three places:

- in a *crowd*, with all others of its kind that have been told everything so far: the common case, see `crowd.py`;
- among the *newcomers*, who were welcomed with something that the present diff, or the next, still has to tell others:
  they are told one by one, from where they are, and step into the crowd with the end of a diff;
- among the *slow*, whose transport keeps something back: they are told nothing until they have read everything, and
  then all that they missed as one diff.

No send is ever awaited. What is told while a diff is on its way waits as one, so that a room too busy for its worker
is told more seldom (its ticks become longer) and never falls behind.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from lml_live import limits
from lml_live.gateway import frames, wire
from lml_live.gateway.crowd import Crowd, descriptor_of
from lml_live.gateway.desk import show_areas
from lml_live.gateway.direct import SendFrame
from lml_live.infra.telemetry import METRICS
from lml_live.inventory.diffs import Change, Missed, PendingDiff, split_by_state

if TYPE_CHECKING:
    from lml_live.gateway.audience import Subscriber

SLICE: Final = 100
"""Sockets written to in one loop pass: a hold never waits for a fan-out to thousands (performance.md: p99 halves)."""


class Turns:
    """All rooms of a worker write to `SLICE` sockets a loop pass between them, by turns."""

    def __init__(self) -> None:
        self._waiting: deque[FanOut] = deque()
        self._left = SLICE
        """Of this pass."""
        self._next: asyncio.Handle | None = None

    def take(self, room: "FanOut") -> None:
        """Writes to sockets of this room, now as far as this pass has room for it, the rest in the passes to come."""
        self._waiting.append(room)
        self._write()

    def _write(self) -> None:
        if self._next is None:
            # First: whatever the writing runs into, the next pass comes.
            self._next = asyncio.get_running_loop().call_soon(self._begin_pass)
        while self._waiting and self._left > 0:
            room = self._waiting.popleft()
            self._left -= max(1, room.write(self._left))
            if room.has_more:
                self._waiting.append(room)

    def _begin_pass(self) -> None:
        self._next = None
        self._left = SLICE
        if self._waiting:
            self._write()


class _Job:
    """One diff on its way to everybody. Until its turn comes, later ticks are merged into it."""

    def __init__(self, change: Change) -> None:
        self._pending = PendingDiff(change.prev)
        self._pending.add(change)
        self._frames: dict[tuple[wire.Format, int], bytes] = {}
        self.change = change

    def merge(self, change: Change) -> bool:
        """Adds a later tick, where it follows on this one."""
        if change.prev != self._pending.seq:
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
            found = self._frames[fmt, prev] = _frame(
                fmt, Change(prev, self.change.seq, self.change.seats, self.change.areas)
            )
        return found


class FanOut:
    """The sockets of one room and view that have been welcomed, and the diffs on their way to them."""

    def __init__(self, turns: Turns, send_frame: SendFrame | None) -> None:
        self._turns = turns
        self._send_frame = send_frame
        self._told = -1
        """The seq of the last diff that everybody in a crowd has."""
        self._crowds: dict[tuple[wire.Format, type, bool], Crowd] = {}
        self._newcomers: dict[Subscriber, None] = {}
        self._slow: dict[Subscriber, None] = {}
        self._missed: Missed | None = None
        self._jobs: deque[_Job] = deque()
        """The first may be on its way; what comes meanwhile waits as one."""
        self._writing: Iterator[Subscriber] | None = None
        """While the first job is on its way: the newcomers of its beginning who have not been told."""

    # --- Comings and goings

    def settle(self, subscriber: "Subscriber") -> None:
        """The subscriber was just sent the state at its `seq`: from here on it is told what comes after it."""
        self.hush(subscriber)
        if subscriber.seq == self._told and self._writing is None:
            self._crowd_of(subscriber).add(subscriber)
        else:
            self._newcomers[subscriber] = None

    def hush(self, subscriber: "Subscriber") -> None:
        """The subscriber is told nothing more, until it is settled again."""
        if subscriber.crowd is not None:
            subscriber.crowd.remove(subscriber)
        self._newcomers.pop(subscriber, None)
        self._slow.pop(subscriber, None)

    def hush_all(self) -> None:
        """Nobody is told anything more, not even the rest of what is on its way: another epoch has begun."""
        for crowd in self._crowds.values():
            crowd.clear()
        self._crowds.clear()
        self._newcomers.clear()
        self._slow.clear()
        self._missed = None
        self._jobs.clear()
        self._writing = None
        self._told = -1

    def _crowd_of(self, subscriber: "Subscriber") -> Crowd:
        direct = self._send_frame is not None and descriptor_of(subscriber.transport) is not None
        kind = (subscriber.format, type(subscriber.transport), direct)
        found = self._crowds.get(kind)
        if found is None:
            found = self._crowds[kind] = Crowd(kind[1], self._send_frame if direct else None)
        return found

    # --- Telling

    def tell(self, change: Change) -> None:
        """Tells everybody a change, which follows on the last one."""
        idle = not self._jobs
        # What is on its way stays as it is; of what waits there is one.
        waits = len(self._jobs) > (self._writing is not None)
        if not waits or not self._jobs[-1].merge(change):
            self._jobs.append(_Job(change))
        if idle:
            self._turns.take(self)

    @property
    def has_more(self) -> bool:
        """Whether somebody waits for a diff."""
        return bool(self._jobs)

    def write(self, count: int) -> int:
        """Writes to the next `count` sockets at most, and answers how many there were."""
        left = count
        while self._jobs:
            job = self._jobs[0]
            if self._writing is None:
                self._begin(job)
            left -= self._write_crowds(job, left)
            left -= self._write_newcomers(job, left)
            if not left:
                break
            self._end(job)
        return count - left

    def _begin(self, job: _Job) -> None:
        job.begin()
        METRICS.diffs.inc()
        self._writing = iter(tuple(self._newcomers))
        for crowd in self._crowds.values():
            crowd.begin()

    def _write_crowds(self, job: _Job, room: int) -> int:
        written = 0
        for (fmt, _, _), crowd in self._crowds.items():
            while written < room and crowd.left:
                wanted = room - written
                if behind := crowd.drop_behind(wanted):
                    for subscriber in behind:
                        subscriber.seq = job.change.prev
                        self._fall_behind(subscriber)
                    continue  # others have stepped into their places
                written += crowd.write(job.frame(fmt, job.change.prev), wanted)
        METRICS.frames.inc(written)
        return written

    def _write_newcomers(self, job: _Job, room: int) -> int:
        looked_at = 0
        assert self._writing is not None
        while looked_at < room and (subscriber := next(self._writing, None)) is not None:
            looked_at += 1
            # Who was welcomed after this tick has no need of it; the one of an idle room only says where it is.
            change = job.change
            lacks = subscriber.seq < change.seq or subscriber.seq == change.prev
            if lacks and subscriber in self._newcomers:
                self._write_newcomer(subscriber, job)
        return looked_at

    def _write_newcomer(self, subscriber: "Subscriber", job: _Job) -> None:
        transport = subscriber.transport
        if transport.is_closing() or transport.get_write_buffer_size():
            del self._newcomers[subscriber]
            self._fall_behind(subscriber)
            return
        transport.write(job.frame(subscriber.format, max(job.change.prev, subscriber.seq)))
        subscriber.seq = job.change.seq
        METRICS.frames.inc()

    def _end(self, job: _Job) -> None:
        """Everybody has it, save the slow ones."""
        self._jobs.popleft()
        self._writing = None
        self._told = job.change.seq
        if self._slow:
            if self._missed is None:
                self._missed = Missed()
            self._missed.add(job.change)
            self._serve_slow()
        for subscriber in [each for each in self._newcomers if each.seq == self._told]:
            del self._newcomers[subscriber]
            self._crowd_of(subscriber).add(subscriber)

    # --- Who does not read

    def _fall_behind(self, subscriber: "Subscriber") -> None:
        if not subscriber.transport.is_closing():  # who leaves is not slow
            subscriber.slow_since = time.monotonic()
            self._slow[subscriber] = None

    def serve_slow(self, now: float) -> None:
        """Tells slow clients that have read everything what they missed, and cuts those that do not read."""
        if self._writing is None:  # else they are served at its end
            self._serve_slow()
        for subscriber in tuple(self._slow):
            if now - subscriber.slow_since > limits.STALL_SECONDS_MAX:
                del self._slow[subscriber]
                subscriber.cut()

    def _serve_slow(self) -> None:
        if not self._slow:
            return
        missed = self._missed
        assert missed is not None, "somebody fell behind, and the diff's end did not note what it missed"
        told: dict[tuple[wire.Format, int], bytes] = {}
        for subscriber in [each for each in self._slow if not each.transport.get_write_buffer_size()]:
            del self._slow[subscriber]
            if subscriber.transport.is_closing():
                continue
            since = (subscriber.format, subscriber.seq)
            if since not in told:
                told[since] = _frame(subscriber.format, missed.since(subscriber.seq))
            subscriber.transport.write(told[since])
            subscriber.seq = missed.seq
            self._crowd_of(subscriber).add(subscriber)
        if not self._slow:
            self._missed = None


def _frame(fmt: wire.Format, change: Change) -> bytes:
    available, held, sold, blocked = split_by_state(change.seats)
    message = wire.Diff(
        seq=change.seq,
        prev=change.prev,
        available=available,
        held=held,
        sold=sold,
        blocked=blocked,
        areas=show_areas(change.areas),
    )
    return frames.message_frame(fmt.encode(message), binary=fmt.binary)
