"""Changes of a view between two moments, and how they merge: per tick, and for a client that reads slowly. Pure.

States and counts are absolute, so merging is forgetting: of two changes of one seat or area the later one is right,
and a merged change is applied exactly like the ones it is made of (contract, "How a client stays right").
"""

from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct

from lml_live.values import STATE_NAMES

AreaCounts = tuple[int, int, int, int]
"""One area's absolute counts: available, held, sold, blocked."""

Allotments = tuple[int, ...]
"""What of one area belongs to sales channels: (channel, places, taken through it, …), of those that have or took any.

A channel keeps `places` less `taken`, never below 0, of the available places for its own buyers.
"""

Indexes = tuple[int, ...]


class Change(Struct, frozen=True):
    """What differs between the states at `prev` and at `seq`: each seat's wire state (0 to 3), each area's counts.

    `prev == seq` is the empty change of an idle room, which only says where the room is.
    """

    prev: int
    seq: int
    seats: Mapping[int, int]
    areas: Mapping[str, AreaCounts]


def split_by_state(changes: Mapping[int, int]) -> tuple[Indexes, Indexes, Indexes, Indexes]:
    """Seats by the state that they are now in: (available, held, sold, blocked), each rising.

    Raises `IndexError` for a state that is not 0 to 3.
    """
    by_state: tuple[list[int], ...] = tuple([] for _ in STATE_NAMES)
    for seat in sorted(changes):
        by_state[changes[seat]].append(seat)
    available, held, sold, blocked = by_state
    return tuple(available), tuple(held), tuple(sold), tuple(blocked)


class PendingDiff:
    """Changes that follow one another, waiting to be sent as one: a room's tick, or what a slow client has missed.

    Its size is bounded by the map: a seat or an area counts once, however often it changed.
    """

    __slots__ = ("_areas", "_seats", "prev", "seq")

    def __init__(self, prev: int) -> None:
        self.prev = prev
        """The `seq` of what was sent last."""
        self.seq = prev
        """The `seq` of what was added last; equal to `prev` while nothing is pending."""
        self._seats: dict[int, int] = {}
        self._areas: dict[str, AreaCounts] = {}

    def __bool__(self) -> bool:
        """Whether something is pending. A seat that changed there and back is: `seq` moved."""
        return self.seq > self.prev

    @property
    def seat_count(self) -> int:
        """How many seats wait: what the merged message will weigh."""
        return len(self._seats)

    def add(self, change: Change) -> None:
        """Merge the change that follows on the last one.

        Raises `ValueError` where it does not follow (its `prev` is not this one's `seq`): a hole in what a client is
        told would never be noticed by it.
        """
        if change.prev != self.seq or change.seq < change.prev:
            raise ValueError(f"a change from {change.prev} to {change.seq} does not follow on {self.seq}")
        self.seq = change.seq
        self._seats.update(change.seats)
        self._areas.update(change.areas)

    def take(self) -> Change:
        """Everything that is pending as one change, and start again after it. Empty (`prev == seq`) if nothing is."""
        change = Change(self.prev, self.seq, self._seats, self._areas)
        self.prev = self.seq
        self._seats = {}
        self._areas = {}
        return change


class Missed:
    """What changed since the first of a room's slow clients fell behind, kept once for all of them.

    A client only remembers the `seq` it is at; `since` tells what it lacks. So a tick costs one update, however many
    are behind, and all of them together no more memory than one map.
    """

    __slots__ = ("_areas", "_seats", "seq")

    def __init__(self) -> None:
        self.seq = 0
        """The `seq` of what was added last."""
        self._seats: dict[int, tuple[int, int]] = {}
        """The `seq` of each seat's latest change, and its state; the latest change is the last in order."""
        self._areas: dict[str, tuple[int, AreaCounts]] = {}

    def add(self, change: Change) -> None:
        """Notes the next change."""
        self.seq = change.seq
        for seat, state in change.seats.items():
            self._seats.pop(seat, None)  # so that it becomes the last
            self._seats[seat] = (change.seq, state)
        for area, counts in change.areas.items():
            self._areas.pop(area, None)
            self._areas[area] = (change.seq, counts)

    def since(self, prev: int) -> Change:
        """All that a client at `prev` lacks. It may tell of what the client knows already: states are absolute."""
        return Change(prev, self.seq, _later_than(prev, self._seats), _later_than(prev, self._areas))


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _later_than(prev: int, noted: dict[_Key, tuple[int, _Value]]) -> dict[_Key, _Value]:
    found: dict[_Key, _Value] = {}
    for key, (seq, value) in reversed(noted.items()):
        if seq <= prev:
            break
        found[key] = value
    return found
