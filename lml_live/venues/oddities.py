"""What is let through and said, because it can be meant but mostly is not. Pure, and linear in the seats.

Whatever a layout is like, right or wrong, looking at it raises nothing: a draft is warned of before it is right.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Final, TypeAlias

from lml_live import limits
from lml_live.venues.findings import Findings, shown
from lml_live.venues.layout import Layout, Point, Row, Seat, Section
from lml_live.venues.overlaps import Drawing, are_of_one_kind, tell_overlap

_OVERLAP_PITCHES: Final = 0.4
"""Seats of one section stand apart by its pitch; nearer than this part of it two of them cover one another."""
_OUTSIDE_PITCHES: Final = 1.0
"""An outline is drawn around seats, or through the middles of the outermost: what is out by less counts as inside."""
_CELL_SEATS: Final = 4
"""What fits into a cell without overlapping; more are overlapping already, and are not compared again."""
_GAPS_SHOWN: Final = 5
_ROW_OF_FEW: Final = 5
"""To find out which edges are beside a row costs as much as comparing so many seats with all of them (4.3 to 4.9)."""
_FAR: Final = 1e12
_REACH_MIN: Final = 1e-9
"""Beyond these two the columns of a grid cannot be counted any more."""


_Placed: TypeAlias = tuple[float, float, int, int, int]
"""Where a seat stands in the plan's own measure, x and y, and where it is in the layout: section, row, seat. A plain
tuple: those of a class with names take twice as long to be made, and there are 200,000."""
_Edge: TypeAlias = tuple[float, float, float, float]
"""x and y of the one end, x and y of the other."""


def look_for_oddities(layout: Layout, drawing: Drawing) -> Findings:
    """All warnings of a layout, whether or not it keeps the rules; `drawing` is what its outlines are like."""
    looking = _Looking(layout)
    for at, section in enumerate(layout.sections):
        looking.look_at(at, section)
    looking.tell_outlines(drawing)
    looking.look_for_unused()
    return looking.findings


class _Looking:
    """One look at one layout. Mutable: it lives as long as that."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.findings = Findings("warnings")
        # Two floors are two drawings.
        self._taken: dict[str | None, dict[Point, _Placed]] = {}
        self._looks = limits.OUTLINE_LOOKS_MAX

    def look_at(self, at: int, section: Section) -> None:
        """Compares a section's seats with one another, and with those of before on the same place."""
        rows = [self._placed(at, row_at, row) for row_at, row in enumerate(section.rows)]
        pitch = _pitch(rows)
        self._same_place([seat for row in rows for seat in row], self._taken.setdefault(section.floor, {}))
        self._overlaps([seat for row in rows for seat in row], pitch)
        self._outside(section, rows, pitch)
        for row_at, row in enumerate(section.rows):
            self._gaps(f"sections[{at}].rows[{row_at}]", section, row)
        self._unsellable(f"sections[{at}]", section)

    def tell_outlines(self, drawing: Drawing) -> None:
        """Standing areas around seats: so clubs are drawn, whose tables stand on the dance floor."""
        for pair in drawing.overlaps:
            if not are_of_one_kind(self.layout, pair):
                self.findings.odd("outline_overlap", *tell_overlap(self.layout, pair))
        if self._looks < 0 or not drawing.whole:
            found = "the outlines have so many points that not all seats and sections were compared with them"
            self.findings.odd("outline", "sections", found, "fewer points are expected, nobody can see them")

    def look_for_unused(self) -> None:
        """Listed categories that nothing is sold in."""
        if not self.layout.categories:
            return
        used = {seat.category for section in self.layout.sections for seat in _seats(section)}
        used |= {section.category for section in self.layout.sections if section.category is not None}
        for at, category in enumerate(self.layout.categories):
            if category.name not in used:
                found = f"{shown(category.name)} is the category of no seat and no area"
                expected = "a category that something is sold in is expected"
                self.findings.odd("unreachable_category", f"categories[{at}]", found, expected)

    def _placed(self, at: int, row_at: int, row: Row) -> list[_Placed]:
        width, height = self.layout.viewport.width, self.layout.viewport.height
        placed = [(seat.x * width, seat.y * height, at, row_at, seat_at) for seat_at, seat in enumerate(row.seats)]
        # What is no number is not compared with numbers.
        return [seat for seat in placed if abs(seat[0]) < _FAR and abs(seat[1]) < _FAR]

    def _name(self, placed: _Placed) -> str:
        *_, section_at, row_at, seat_at = placed
        section = self.layout.sections[section_at]
        row = section.rows[row_at]
        return f"{section.name} / {row.label} / {row.seats[seat_at].number}"

    def _note(self, rule: str, placed: _Placed, words: str, expected: str) -> None:
        *_, section_at, row_at, seat_at = placed
        path = f"sections[{section_at}].rows[{row_at}].seats[{seat_at}]"
        self.findings.odd(rule, path, f"{self._name(placed)} {words}", expected)

    def _same_place(self, seats: Sequence[_Placed], taken: dict[Point, _Placed]) -> None:
        """Seats of all sections of a floor at the very same place: one would hide the other on the map."""
        for seat in seats:
            other = taken.setdefault(seat[:2], seat)
            if other is not seat:
                words = f"lies on the same place as {self._name(other)}"
                self._note("overlap", seat, words, "a place of its own is expected")

    def _overlaps(self, seats: Sequence[_Placed], pitch: float) -> None:
        """Seats of one section that cover one another. Each is compared with those of nine cells of a grid, at most
        four of each: so it stays linear, whatever is drawn."""
        reach = pitch * _OVERLAP_PITCHES
        if reach < _REACH_MIN:
            return
        # One number for column and line: a pair takes three times as long to be looked up.
        lines = [int(seat[1] / reach) for seat in seats]
        column = 2 * max(map(abs, lines)) + 3
        cell_of = [int(seat[0] / reach) * column + line for seat, line in zip(seats, lines, strict=True)]
        # From a cell to half of its eight neighbours: each pair of cells is looked at from one side.
        after = (column, 1 - column, 1, column + 1)
        used = set(cell_of)
        if len(used) == len(seats) and all(used.isdisjoint([cell + n for cell in used]) for n in after):
            return
        cells: dict[int, list[_Placed]] = {}
        for cell, seat in zip(cell_of, seats, strict=True):
            kept = cells.setdefault(cell, [])
            if len(kept) < _CELL_SEATS:
                kept.append(seat)
        for cell, here in cells.items():
            near = here[1:]
            for n in after:
                near += cells.get(cell + n, ())
            if not near:
                continue
            for number, seat in enumerate(here):
                for other in near[number:]:
                    # On the very same place they have been told already.
                    if 0 < math.hypot(seat[0] - other[0], seat[1] - other[1]) < reach:
                        earlier, later = sorted((seat, other), key=_order)
                        expected = f"{pitch:.3g} apart is usual in this section"
                        self._note("overlap", later, f"covers {self._name(earlier)}", expected)

    def _outside(self, section: Section, rows: Sequence[Sequence[_Placed]], pitch: float) -> None:
        """Seats outside their section's outline."""
        width, height = self.layout.viewport.width, self.layout.viewport.height
        outline = [(x * width, y * height) for x, y in _outline(section)]
        if not outline or self._looks < 0:
            return
        self._looks -= len(outline) * sum(map(len, rows))
        if self._looks < 0:
            return
        slack = pitch * _OUTSIDE_PITCHES
        edges = [(*a, *b) for a, b in pairwise((outline[-1], *outline))]
        for row in rows:
            beside = _beside(edges, row) if len(row) > _ROW_OF_FEW else edges
            out = [seat for seat in row if not _inside(beside, seat[0], seat[1])]
            out = [seat for seat in out if not _near(edges, seat[0], seat[1], slack)]
            if out:
                others = f" and {len(out) - 1} more of its row" if out[1:] else ""
                words = f"{others} stand{'' if others else 's'} outside the section's outline".lstrip()
                self._note("outside", out[0], words, "places inside are expected")

    def _gaps(self, path: str, section: Section, row: Row) -> None:
        """Numbers that a row leaves out. One numbered in twos (odd ones on one side) leaves none out that way."""
        texts = [seat.number for seat in row.seats]
        if len(texts) < 3 or not all(texts) or max(map(len, texts)) > 6:
            return
        if not (all_texts := "".join(texts)).isdecimal() or not all_texts.isascii():
            return
        numbers = sorted(set(map(int, texts)))
        if numbers[-1] - numbers[0] == len(numbers) - 1:
            return
        step = 2 if all((b - a) % 2 == 0 for a, b in pairwise(numbers)) else 1
        if (numbers[-1] - numbers[0]) // step + 1 > 2 * len(numbers):
            return  # Rows numbered through from one side of the house to the other.
        between = (number for a, b in pairwise(numbers) if b - a > step for number in range(a + step, b, step))
        missing = list(islice(between, _GAPS_SHOWN + 1))
        if missing:
            listed = ", ".join(map(str, missing[:_GAPS_SHOWN])) + ("…" if len(missing) > _GAPS_SHOWN else "")
            expected = f"all numbers from {numbers[0]} to {numbers[-1]} are usual"
            self.findings.odd("numbering_gap", path, f"{section.name} / {row.label} has no number {listed}", expected)

    def _unsellable(self, path: str, section: Section) -> None:
        """Companion seats that no accessible place is near: they sell with one of their section only."""
        if section.sold_whole or not any(seat.companion for seat in _seats(section)):
            return
        if not any(seat.accessible for seat in _seats(section)):
            found = f"{section.name} has companion seats and no accessible place: nobody can be sold them"
            self.findings.odd("unreachable_category", path, found, "an accessible place beside them is expected")


def _order(placed: _Placed) -> tuple[int, int, int]:
    return placed[2:]


def _pitch(rows: Sequence[Sequence[_Placed]]) -> float:
    """How far neighbours of a section usually are apart: the lower median over all of its rows; 0 where unknown."""
    steps = sorted(step for row in rows for a, b in pairwise(row) if (step := math.hypot(a[0] - b[0], a[1] - b[1])) > 0)
    return steps[(len(steps) - 1) // 2] if steps else 0.0


def _outline(section: Section) -> tuple[Point, ...]:
    """The points of an outline that can be compared with: empty where there is none, or a wrong one."""
    points = section.outline[: limits.OUTLINE_POINTS_MAX]
    good = len(points) >= 3 and all(abs(x) < _FAR and abs(y) < _FAR for x, y in points)
    return points if good else ()


def _beside(edges: Sequence[_Edge], row: Sequence[_Placed]) -> Sequence[_Edge]:
    """The edges of an outline that a line from a seat of a row to the right may cross."""
    ys = [seat[1] for seat in row]
    top, bottom, left = min(ys), max(ys), min(row)[0]
    return [
        edge
        for edge in edges
        if (edge[1] <= bottom or edge[3] <= bottom)
        and (edge[1] > top or edge[3] > top)
        and (edge[0] >= left or edge[2] >= left)
    ]


def _inside(edges: Sequence[_Edge], x: float, y: float) -> bool:
    """By the even-odd rule."""
    within = False
    for x1, y1, x2, y2 in edges:
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            within = not within
    return within


def _near(edges: Sequence[_Edge], x: float, y: float, reach: float) -> bool:
    """Whether an edge is within reach."""
    for x1, y1, x2, y2 in edges:
        dx, dy = x2 - x1, y2 - y1
        length = dx * dx + dy * dy
        along = 0.0 if length == 0 else min(1.0, max(0.0, ((x - x1) * dx + (y - y1) * dy) / length))
        if math.hypot(x - x1 - along * dx, y - y1 - along * dy) <= reach:
            return True
    return False


def _seats(section: Section) -> Iterator[Seat]:
    for row in section.rows:
        yield from row.seats
