"""What a client that comes back is told: exactly what it missed, or the whole state. Pure.

A `History` remembers, for one epoch, which seats and areas each log entry changed; their states are read from the
mirror when the answer is made. The promise is centrifuge's: a replay is complete, or it is not given. There is no
"recovered" that is not true (contract, section 4.3; reliability.md, D9).
"""

from array import array
from collections import deque
from collections.abc import Collection
from itertools import islice
from typing import Final

from msgspec import Struct

from lml_live import limits
from lml_live.values import WIRE_INTEGER_MAX

INDEXES_MAX: Final = limits.LOG_ENTRIES_MAX * limits.HOLD_SEATS_MAX
"""How many seat indexes a history remembers: a full log of the largest holds. At 4 bytes each that is 1 MB a room."""

REPLAY_PART: Final = 16
"""A replay of more than a sixteenth of the map weighs more than the map itself, which is encoded once for all."""
REPLAY_SEATS_MIN: Final = 64
"""So few seats are always cheap to name, however small the house."""


class Replay(Struct, frozen=True):
    """Everything that changed since the client's `seq`: `seats` rising, `areas` in alphabetical order."""

    seats: tuple[int, ...]
    areas: tuple[str, ...]


class Snapshot(Struct, frozen=True):
    """The whole state is to be sent; `reason` is one of `epoch`, `future`, `too_old`, `too_many` (for a metric)."""

    reason: str


class Behind(Struct, frozen=True):
    """The client has seen `seq`, this worker has not: read the log up to it, then ask again with `caught_up`."""

    seq: int


class _Entry(Struct, frozen=True, gc=False):
    seats: "array[int]"
    areas: tuple[str, ...]


class History:
    """The changes of one epoch, the latest `entries_max` of them, with at most `indexes_max` seat indexes."""

    def __init__(
        self,
        epoch: str,
        seq: int,
        *,
        seat_count: int,
        entries_max: int = limits.LOG_ENTRIES_MAX,
        indexes_max: int = INDEXES_MAX,
    ) -> None:
        """Begin at a snapshot of `epoch` at `seq`: who has seen that much can be served from here on."""
        self.epoch = epoch
        self.head = seq
        """The `seq` of the latest entry."""
        self._replay_seats_max = max(seat_count // REPLAY_PART, REPLAY_SEATS_MIN)
        self._entries_max = entries_max
        self._indexes_max = indexes_max
        self._entries: deque[_Entry] = deque()
        self._indexes = 0

    @property
    def floor(self) -> int:
        """The oldest `seq` from which a replay is complete: everything after it is remembered."""
        return self.head - len(self._entries)

    def append(self, seq: int, seats: Collection[int], areas: Collection[str] = ()) -> None:
        """Remember that entry `seq` changed `seats` and `areas`.

        Raises `ValueError` where `seq` is not the next one: a history with a hole would promise what it cannot know.
        (Then the worker takes a snapshot and begins a new `History` there.)
        """
        if seq != self.head + 1:
            raise ValueError(f"entry {seq} does not follow on {self.head}")
        self.head = seq
        self._entries.append(_Entry(array("I", seats), tuple(areas) if areas else ()))
        self._indexes += len(seats)
        while (len(self._entries) > self._entries_max or self._indexes > self._indexes_max) and self._entries:
            self._indexes -= len(self._entries.popleft().seats)

    def plan(
        self, epoch: str, seq: int, *, sent: int | None = None, caught_up: bool = False
    ) -> Replay | Snapshot | Behind:
        """How to answer a client that asks to go on from `seq` of `epoch`.

        `sent` is where the room's subscribers are (the last tick's `seq`, default `head`): the answer is cut there, so
        that the next diff follows on it. A client ahead of `sent` (another worker served it) is `Behind` first, and a
        `Snapshot` once this worker has `caught_up` with the log and still knows no such `seq`. Never raises, whatever
        the client sent; never gives a replay that leaves something out.
        """
        end = self.head if sent is None else min(sent, self.head)
        if epoch != self.epoch:
            return Snapshot("epoch")
        if seq > end:
            return Snapshot("future") if caught_up else Behind(seq)
        if seq < self.floor:
            return Snapshot("too_old")
        seats: set[int] = set()
        areas: set[str] = set()
        # From the newest backwards, since a client is seldom far behind.
        for entry in islice(reversed(self._entries), self.head - end, self.head - seq):
            seats.update(entry.seats)
            areas.update(entry.areas)
            if len(seats) > self._replay_seats_max:
                return Snapshot("too_many")
        return Replay(tuple(sorted(seats)), tuple(sorted(areas)))


def read_resume(value: object) -> tuple[str, int] | None:
    """`hello.resume` as (epoch, seq), or None where it is not one: then the client gets `welcome`.

    Whatever a client puts there is no error (contract, section 3): not a map, a field missing, an `epoch` that is no
    string, a `seq` that is negative, above 2^53 - 1, a float, a string or a bool.
    """
    match value:
        case {"epoch": str() as epoch, "seq": int() as seq} if (
            not isinstance(seq, bool) and 0 <= seq <= WIRE_INTEGER_MAX
        ):
            return epoch, seq
    return None
