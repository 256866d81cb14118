"""Whether two holders held one seat at the same time: a sweep over the intervals of each seat in each epoch. Pure.

`seq` orders all changes of an epoch, so an interval is [first change that had the seat, the change that freed it).
Where nobody saw the seat go (its holder was away, or gave up), it was still held until

- the last change that is known to have had it, by `seq`; and
- its deadline or the moment at which its release was asked for without a known answer, by the clock; a hold whose
  booking is confirmed after rest has no deadline.

Whatever is left out of an interval can only hide a double hold, never invent one.
"""

from collections import defaultdict
from collections.abc import Iterable
from math import inf
from typing import Final

from msgspec import Struct

from loadtests.history import Act, Booked, Line, Seen

MARGIN_MS: Final = 1_000.0
"""Two grants whose order only the clock tells: those nearer than this to the deadline prove nothing."""


class Span(Struct, frozen=True, kw_only=True):
    """One hold had one seat: from change `first` on, until change `end` if that is known, else as above."""

    holder: str
    hold: str
    first: int
    last: int
    end: int | None
    granted_ms: float
    until_ms: float


class DoubleHold(Struct, frozen=True, kw_only=True):
    """Two holds had one seat at once."""

    epoch: str
    seat: int
    holds: tuple[str, str]
    holders: tuple[str, str]
    seqs: tuple[int, int]


def spans(lines: Iterable[Line]) -> dict[tuple[str, int], list[Span]]:
    """The intervals by (epoch, seat)."""
    told: defaultdict[tuple[str, str, str], list[Seen]] = defaultdict(list)
    given_up: dict[str, float] = {}
    sold: set[str] = set()
    asked: dict[int, Act] = {}
    for line in lines:
        if isinstance(line, Seen):
            told[line.epoch, line.holder, line.hold].append(line)
        elif isinstance(line, Booked) and line.state == "confirmed":
            sold.add(line.hold)
        elif isinstance(line, Act) and line.verb == "release" and line.hold is not None:
            if line.phase == "invoke":
                asked[line.act] = line
            elif line.phase != "info":
                asked.pop(line.act, None)
    for act in asked.values():
        assert act.hold is not None
        given_up[act.hold] = min(act.at_ms, given_up.get(act.hold, act.at_ms))
    found: defaultdict[tuple[str, int], list[Span]] = defaultdict(list)
    for (epoch, holder, hold), news in told.items():
        # In one epoch the higher `seq` is right, and of equal ones the later.
        news.sort(key=lambda seen: seen.seq)
        for seat in sorted({seat for seen in news for seat in seen.seats or ()}):
            for span in _of_seat(seat, holder, hold, news, given_up.get(hold), hold in sold):
                found[epoch, seat].append(span)
    return dict(found)


def _of_seat(
    seat: int, holder: str, hold: str, news: list[Seen], given_up_ms: float | None, sold: bool
) -> Iterable[Span]:
    having: list[Seen] = []

    def span(end: int | None, *, for_good: bool = False) -> Span:
        until_ms = inf if for_good else max(seen.deadline_ms for seen in having)
        return Span(
            holder=holder,
            hold=hold,
            first=having[0].seq,
            last=having[-1].seq,
            end=end,
            granted_ms=having[0].at_ms,
            until_ms=until_ms if given_up_ms is None else min(until_ms, given_up_ms),
        )

    for seen in news:
        if seen.seats is not None and seat in seen.seats:
            having.append(seen)
        elif having:
            # What a `welcome` no longer lists went at some time before it.
            yield span(None if seen.reason == "sync" else seen.seq)
            having = []
    if having:
        yield span(None, for_good=sold)


def find_double_holds(lines: Iterable[Line]) -> list[DoubleHold]:
    """Every pair of holds that had a seat at once in one epoch."""
    found: list[DoubleHold] = []
    for (epoch, seat), intervals in spans(lines).items():
        intervals.sort(key=lambda span: (span.first, span.hold))
        current: list[Span] = []
        for later in intervals:
            current = [earlier for earlier in current if _still_had(earlier, later)]
            found += [
                DoubleHold(
                    epoch=epoch,
                    seat=seat,
                    holds=(earlier.hold, later.hold),
                    holders=(earlier.holder, later.holder),
                    seqs=(earlier.first, later.first),
                )
                for earlier in current
                if earlier.hold != later.hold
            ]
            current.append(later)
    return found


def _still_had(earlier: Span, later: Span) -> bool:
    """Whether `earlier` certainly had the seat when `later` got it."""
    if earlier.end is not None:
        return later.first < earlier.end
    return later.first <= earlier.last or later.granted_ms < earlier.until_ms - MARGIN_MS
