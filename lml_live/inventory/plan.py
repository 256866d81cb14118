"""One layout as picking and the orphan rule read it: seats by position along their rows, a byte or bit of each. Pure.

A *position* is a seat's place in a walk along every row: the seat's index, except in rows whose file lists them in
another order than they stand. Facts about all seats are integers with a byte ("lane") a seat, position 0 lowest, so
that one operation of a few microseconds works on 40,000 seats at once.

The *accessible pool* (wheelchair places and the companion seats beside them) is apart: neighbours in it do not count
for the orphan rule, for a wheelchair place is sold alone by its nature. So are tables and boxes that sell only whole.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Final, Literal

from lml_live.inventory import seatmap

OrphanRule = Literal["off", "strict", "lenient"]

OFF: Final = "off"
LENIENT: Final = "lenient"

GENERAL: Final = 0
ACCESSIBLE: Final = 1
COMPANION: Final = 2
WHOLE: Final = 3

REACH_STRICT: Final = 2
"""Seats looked at on either side of a wished one: its neighbour, and that one's neighbour."""
REACH_LENIENT: Final = 25
"""So far along the row the lenient rule looks for another choice. Rows between two aisles seldom have more than 40
seats; the bound keeps a hold of 50 scattered seats in a hall without aisles under a millisecond of Lua."""
ROW_REACH: Final = 1.6
"""A run is a neighbour up to this many times the distance of the nearest one: the rows before and behind (the next but
one is at twice the distance), and what is across an aisle no wider than that."""

_IS_AVAILABLE: Final = bytes(byte & seatmap.STATE_MASK == seatmap.BYTE_AVAILABLE for byte in range(256))
_CATEGORIES_MAX: Final = 256


class Plan:
    """What does not change of a layout version. Building it for 40,000 seats takes about 0.1 s: do it in a thread."""

    def __init__(
        self,
        runs: Sequence[Sequence[int]],
        distances: Sequence[int],
        places: Sequence[tuple[float, float]],
        rows: Iterable[tuple[str, int, int]],
        categories: Sequence[str],
        accessible: Collection[int],
        companions: Collection[int],
        wholes: Sequence[Sequence[int]] = (),
    ) -> None:
        """`runs` are seats side by side in standing order, rows one after the other, and `rows` are (section, first
        seat, count); `distances` to the focal point are whole numbers; `wholes` sell only whole. All by seat index."""
        count = len(categories)
        self.seat_at = tuple(seat for run in runs for seat in run)
        """The seat at each position."""
        self._position_of = None if self.seat_at == tuple(range(count)) else _inverse(self.seat_at)
        self.run_starts = tuple(accumulate(map(len, runs), initial=0))[:-1]
        """The position of each run's first seat, rising."""
        self.run_ends = tuple(start + len(run) for start, run in zip(self.run_starts, runs, strict=True))
        self.places = [places[seat] for seat in self.seat_at]
        """Where the seat at each position stands."""
        self.distances = [distances[seat] for seat in self.seat_at]
        self.sums = tuple(accumulate(self.distances, initial=0))
        """`sums[b] - sums[a]` is the distance of the seats at positions a … b-1 together."""
        pool = dict.fromkeys(companions, COMPANION) | dict.fromkeys(accessible, ACCESSIBLE)
        self._wholes: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        for seats in wholes:
            if pool.keys().isdisjoint(seats):
                positions = tuple(sorted(map(self.position, seats)))
                far = sum(self.distances[position] for position in positions)
                self._wholes.setdefault(len(positions), []).append((far, positions))
        for found in self._wholes.values():
            found.sort()
        pool |= {seat: WHOLE for seats in wholes for seat in seats}
        self.kinds = bytes(pool.get(seat, GENERAL) for seat in self.seat_at)
        """GENERAL, ACCESSIBLE, COMPANION or WHOLE by position. A seat that is both of the pool is accessible."""
        self.accessible = tuple(position for position, kind in enumerate(self.kinds) if kind == ACCESSIBLE)
        joined = bytearray(b"\1" * count)
        for end in self.run_ends:
            joined[end - 1] = 0
        self._joined = bytes(joined)
        self.joined = lanes(self._joined)
        """1 where the next position is the next seat of the same run."""
        self.general = lanes(self.kinds.translate(bytes((1,)) + bytes(255)))
        self._linked = bytes(
            here and kind == GENERAL == after
            for here, kind, after in zip(self._joined, self.kinds, self.kinds[1:] + b"\0", strict=False)
        )
        self.linked = lanes(self._linked)
        """1 where the next position is the next seat of the same run, and both are of no pool."""
        seated = [row for row in rows if row[2]]
        self._shuffled = self._find_shuffled(seated)
        self.rows = sorted((min(self.distances[first : first + n]), first, first + n) for _, first, n in seated)
        """(least distance of a seat, first position, end), the nearest first. A row is the same seats by index."""
        self._section_rows: dict[str, list[tuple[int, int, int]]] = {}
        of_section = {first: section for section, first, _ in seated}
        for row in self.rows:
            self._section_rows.setdefault(of_section[row[1]], []).append(row)
        self.categories = tuple(dict.fromkeys(categories))
        numbers = {category: number for number, category in enumerate(self.categories)}
        self._category_of = [numbers[categories[seat]] for seat in self.seat_at]
        self._category_bytes = bytes(self._category_of) if len(numbers) <= _CATEGORIES_MAX else None
        self._neighbours: dict[int, tuple[int, ...]] = {}
        self._grids: dict[str, _Grid] = {}
        self._rows_in_order = sorted(self.rows, key=itemgetter(1))
        self._row_starts = tuple(first for _, first, _ in self._rows_in_order)
        self._row_sections = tuple(of_section[first] for first in self._row_starts)

    @property
    def sections(self) -> Collection[str]:
        """The names of the sections that have seats."""
        return self._section_rows.keys()

    def wholes_of(self, count: int) -> Sequence[tuple[int, tuple[int, ...]]]:
        """The tables and boxes of so many seats, none of them of the accessible pool: (distance of all, positions), the
        nearest first."""
        return self._wholes.get(count, ())

    def rows_of(self, section: str | None) -> list[tuple[int, int, int]]:
        """`rows`, or those of one section."""
        return self.rows if section is None else self._section_rows[section]

    def position(self, seat: int) -> int:
        return seat if self._position_of is None else self._position_of[seat]

    def row_of(self, position: int) -> tuple[int, int, int]:
        """The row of `rows` that a position is in."""
        return self._rows_in_order[bisect_right(self._row_starts, position) - 1]

    def run_of(self, position: int) -> int:
        """The number of the run that a position is in."""
        return bisect_right(self.run_starts, position) - 1

    def section_of(self, position: int) -> str:
        return self._row_sections[bisect_right(self._row_starts, position) - 1]

    def by_position(self, seats: bytes | bytearray) -> bytes:
        """A byte a seat, by index, in order of positions."""
        if not self._shuffled:
            return bytes(seats)
        ordered = bytearray(seats)
        for first, end, standing in self._shuffled:
            ordered[first:end] = bytes(standing(seats))
        return bytes(ordered)

    def in_categories(self, wanted: Collection[str]) -> int:
        """Lanes: 1 where a seat is of one of these categories."""
        if self._category_bytes is not None:
            return lanes(
                self._category_bytes.translate(
                    bytes(number < len(self.categories) and self.categories[number] in wanted for number in range(256))
                )
            )
        numbers = {number for number, category in enumerate(self.categories) if category in wanted}
        return lanes(bytes(number in numbers for number in self._category_of))

    # --- The orphan rule

    def windows(self, seats: Iterable[int], rule: str) -> list[list[int]]:
        """What the orphan rule must look at where these seats are taken: seats side by side, in standing order.

        Each window reaches as far as `rule` looks on either side of the seats, ends at aisles and at the accessible
        pool, and has no seat of another window.
        """
        reach = REACH_LENIENT if rule == LENIENT else REACH_STRICT
        found: list[list[int]] = []
        end = -1
        for position in sorted(map(self.position, seats)):
            if self.kinds[position] != GENERAL:
                continue
            first = position
            while position - first < reach and first > 0 and self._linked[first - 1]:
                first -= 1
            last = position
            while last - position < reach and self._linked[last]:
                last += 1
            if found and (first <= end or (first == end + 1 and self._linked[end])):
                found[-1].extend(self.seat_at[end + 1 : last + 1])
            else:
                found.append(list(self.seat_at[first : last + 1]))
            end = max(end, last)
        return found

    # --- Neighbouring rows

    def neighbours(self, run: int) -> tuple[int, ...]:
        """The runs of the same section that are before, behind or across a narrow aisle, the nearest first."""
        known = self._neighbours.get(run)
        if known is None:
            known = self._neighbours[run] = self._find_neighbours(run)
        return known

    def _find_neighbours(self, run: int) -> tuple[int, ...]:
        start, end = self.run_starts[run], self.run_ends[run]
        section = self.section_of(start)
        grid = self._grids.get(section)
        if grid is None:
            grid = self._grids[section] = _Grid(self.places, [row[1:] for row in self._section_rows[section]])
        nearest: dict[int, float] = {}
        for position in {*range(start, end, 4), end - 1}:
            for other, distance in grid.around(self.places[position]):
                number = self.run_of(other)
                if number != run and distance < nearest.get(number, math.inf):
                    nearest[number] = distance
        most = ROW_REACH * min(nearest.values(), default=0.0)
        return tuple(sorted((number for number, d in nearest.items() if d <= most), key=lambda n: (nearest[n], n)))

    def _find_shuffled(
        self, rows: list[tuple[str, int, int]]
    ) -> list[tuple[int, int, Callable[[Sequence[int]], tuple[int, ...]]]]:
        shuffled: list[tuple[int, int, Callable[[Sequence[int]], tuple[int, ...]]]] = []
        for _, first, count in rows:
            standing = self.seat_at[first : first + count]
            if standing != tuple(range(first, first + count)):
                shuffled.append((first, first + count, itemgetter(*standing)))
        return shuffled


class _Grid:
    """The seats of one section in squares of about four seats, to find those around a place.

    A square is at least as wide as the rows are apart where that is at most four seat widths.
    """

    def __init__(self, places: Sequence[tuple[float, float]], rows: Iterable[tuple[int, int]]) -> None:
        self._places = places
        positions = [position for first, end in rows for position in range(first, end)]
        xs, ys = zip(*(places[position] for position in positions), strict=True)
        width, height = max(xs) - min(xs), max(ys) - min(ys)
        # A single straight row has no area; its length then stands for both sides.
        self._size = 2 * max(math.sqrt(width * height / len(positions)), max(width, height) / len(positions)) or 1.0
        self._squares: dict[tuple[int, int], list[int]] = {}
        for position in positions:
            self._squares.setdefault(self._square(places[position]), []).append(position)

    def around(self, place: tuple[float, float]) -> Iterable[tuple[int, float]]:
        """Positions in the squares around a place, with their distance."""
        column, line = self._square(place)
        for x in range(column - 1, column + 2):
            for y in range(line - 1, line + 2):
                for position in self._squares.get((x, y), ()):
                    yield position, math.dist(place, self._places[position])

    def _square(self, place: tuple[float, float]) -> tuple[int, int]:
        return int(place[0] // self._size), int(place[1] // self._size)


def lanes(facts: bytes) -> int:
    """A byte a position as one integer, position 0 lowest."""
    return int.from_bytes(facts, "little")


def available(seats: bytes) -> bytes:
    """1 where the inventory byte of a seat says that nobody has it, whoever may sell it."""
    return seats.translate(_IS_AVAILABLE)


def left_alone(
    rule: str, windows: Iterable[Sequence[int]], seats: bytes | bytearray, wished: Collection[int], own: Collection[int]
) -> list[int]:
    """The seats for which `rule` refuses to take `wished`: they would be left with nobody free beside them.

    The same decision as `left_alone` of lua/include/inventory.lua, which is the one that counts. `seats` are inventory
    bytes by index; `own` seats are those of the hold to be replaced, and count as free. `lenient` lets pass a seat that
    stood alone before, and a window in which as many free seats side by side cannot be had without leaving one alone.
    """
    alone: list[int] = []
    for window in windows:
        before = [_IS_AVAILABLE[seats[seat]] == 1 for seat in window]
        free = [was or seat in own for was, seat in zip(before, window, strict=True)]
        wanted = [seat in wished for seat in window]
        after = [is_free and not is_wanted for is_free, is_wanted in zip(free, wanted, strict=True)]
        found = [
            seat
            for at, seat in enumerate(window)
            if after[at]
            and (_at(wanted, at - 1) or _at(wanted, at + 1))
            and not (_at(after, at - 1) or _at(after, at + 1))
            and (rule != LENIENT or not before[at] or _at(before, at - 1) or _at(before, at + 1))
        ]
        if found and (rule != LENIENT or _fits(free, sum(wanted))):
            alone += found
    return alone


def _at(flags: Sequence[bool], position: int) -> bool:
    return 0 <= position < len(flags) and flags[position]


def _fits(free: Sequence[bool], wanted: int) -> bool:
    """Whether so many seats side by side can be taken of the free ones without leaving one alone."""
    stretch = 0
    for is_free in (*free, False):
        if is_free:
            stretch += 1
        else:
            if stretch == wanted or stretch >= wanted + 2:
                return True
            stretch = 0
    return False


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    inverse = [0] * len(order)
    for position, item in enumerate(order):
        inverse[item] = position
    return tuple(inverse)
