"""Outlines of sections that cross themselves or lie over one another (docs/decisions/036). Pure.

Areas are those of strips: between two heights at which an edge ends or crosses another one all edges run apart, and
what lies between two of them is a trapezoid. Everything is counted in the unit that coordinates are rounded to, so a
layout is judged alike before and after it is sealed. Whatever is drawn costs at most `limits.OUTLINE_STEPS_MAX` steps.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from lml_live import limits
from lml_live.venues.findings import shown
from lml_live.venues.layout import COORDINATE_DECIMALS, Layout, Point, Section

_UNITS: Final = 10**COORDINATE_DECIMALS
"""Of a side of the plan: coordinates are whole numbers of them."""
OVERLAP_SHARE: Final = 0.1
"""Of the smaller outline: more than that is one section drawn over another. Boxes of a real stadium that are drawn into
the corners of the sectors behind them take 8 % of the smaller one."""
_NOISE: Final = 1e-6
"""In units: edges that pass one another by less meet in a point."""
_BOXES_A_STEP: Final = 10
"""Boxes of outlines that are compared in the time of one edge."""
_PAIR_STEPS: Final = 8
"""What laying two outlines over one another takes before the first strip."""


class Drawing(NamedTuple):
    """What there is to say of a layout's outlines: places of sections, in pairs the earlier first. `whole` is False
    where not all outlines were compared."""

    crossed: tuple[int, ...] = ()
    overlaps: tuple[tuple[int, int], ...] = ()
    whole: bool = True


class _Box(NamedTuple):
    left: float
    right: float
    top: float
    bottom: float


class _Outline(NamedTuple):
    at: int
    points: Sequence[Point]
    box: _Box
    area: float


class _Edge(NamedTuple):
    """A side of an outline, from its smaller y to its larger. `turn` is 1 or -1: which way the outline goes along."""

    low: float
    high: float
    x: float
    slope: float
    turn: int
    owner: int


_End = tuple[float, int, int]
"""An edge in a strip: its x in the middle, its turn, its owner."""


class _TooMuch(Exception):
    """The outlines have more to compare than the bound allows."""


class _Steps:
    """How many are left. Mutable: it lives as long as one look."""

    def __init__(self, count: int) -> None:
        self._left = count

    def take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise _TooMuch


def look_at_outlines(layout: Layout) -> Drawing:
    """All outlines that cross themselves, and all pairs on one floor that lie over one another.

    Where a section is within another one they may. An outline that breaks a simpler rule (too few or too many points,
    a coordinate that is none) is not looked at.
    """
    steps = _Steps(limits.OUTLINE_STEPS_MAX)
    crossed: list[int] = []
    overlaps: list[tuple[int, int]] = []
    floors: dict[str | None, list[_Outline]] = {}
    try:
        for at, section in enumerate(layout.sections):
            if not (points := _points(section)):
                continue
            outline = _Outline(at, points, _box(points), abs(_signed_area(points)))
            if _crosses_itself(outline, steps):
                crossed.append(at)
            elif outline.area > 0:
                floors.setdefault(section.floor, []).append(outline)
        for outlines in floors.values():
            for one, other, enough in _meeting(outlines, steps):
                if _are_nested(layout.sections[one.at], layout.sections[other.at]):
                    continue
                if shared_area(one.points, other.points, enough, steps) > enough:
                    overlaps.append((min(one.at, other.at), max(one.at, other.at)))
    except _TooMuch:
        return Drawing(tuple(crossed), tuple(sorted(overlaps)), whole=False)
    return Drawing(tuple(crossed), tuple(sorted(overlaps)), whole=True)


def are_of_one_kind(layout: Layout, pair: tuple[int, int]) -> bool:
    """Whether two sections are both seated or both standing: nobody could tell which of them a place on the map is."""
    return len({layout.sections[at].kind for at in pair}) == 1


def tell_overlap(layout: Layout, pair: tuple[int, int]) -> tuple[str, str, str]:
    """Where two sections overlap, what was found, and what is expected."""
    one, other = (layout.sections[at].name for at in pair)
    found = f"{shown(other)} lies over {shown(one)}"
    expected = f"at most {OVERLAP_SHARE:.0%} of the smaller outline, or none, are expected"
    return f"sections[{pair[1]}].outline", found, expected


def shared_area(
    one: Sequence[Point], other: Sequence[Point], enough: float | None = None, steps: _Steps | None = None
) -> float:
    """The area that two outlines have in common, in square units. Exact but for the machine's own rounding; with
    `enough` only on the right side of that, as it ends where no more strip can change it."""
    (left, right, top, bottom), steps = _common_box(_box(one), _box(other)), steps or _Steps(1 << 60)
    if left >= right or top >= bottom:
        return 0.0
    steps.take(len(one) + len(other) + _PAIR_STEPS)
    # What is right of all that both have parts nothing of it.
    edges = [
        edge
        for edge in (*_edges(one, 0), *_edges(other, 1))
        if edge.low < bottom and edge.high > top and min(edge.x, edge.x + edge.slope * (edge.high - edge.low)) <= right
    ]
    area, rest = 0.0, (bottom - top) * (right - left)
    for height, ends in _strips(edges, top, bottom, steps):
        if enough is not None and not area <= enough < area + rest:
            break
        rest -= height * (right - left)
        turns, before = [0, 0], 0.0
        for x, turn, owner in ends:
            if turns[0] and turns[1]:
                area += (x - before) * height
            turns[owner] += turn
            before = x
    return area


def _crosses_itself(outline: _Outline, steps: _Steps) -> bool:
    """Whether an outline goes around some ground twice, or the other way around: more of it than rounding can make. One
    that only touches itself, as around a hole, does not."""
    # Along a positive area the left side goes down.
    wanted = -1 if _signed_area(outline.points) > 0 else 1
    area, enough = 0.0, _rounding(outline.box)
    for height, ends in _strips(_edges(outline.points, 0), outline.box.top, outline.box.bottom, steps):
        turns, before = 0, 0.0
        for x, turn, _ in ends:
            if turns not in (0, wanted):
                area += (x - before) * height
            turns += turn
            before = x
        if area > enough:
            return True
    return False


def _strips(edges: Iterable[_Edge], low: float, high: float, steps: _Steps) -> Iterator[tuple[float, list[_End]]]:
    """Each strip from `low` to `high`: its height, and where it meets the edges, from left to right."""
    edges = sorted(edges)
    heights = sorted({y for edge in edges for y in (edge[0], edge[1]) if low < y < high} | {low, high})
    active: list[_Edge] = []
    begun = 0
    for bottom, top in pairwise(heights):
        active = [edge for edge in active if edge[1] >= top]
        while begun < len(edges) and edges[begun][0] <= bottom:
            if edges[begun][1] >= top:
                active.append(edges[begun])
            begun += 1
        steps.take(len(active) + 1)
        placed = sorted(
            [
                (x + slope * (bottom - start), x + slope * (top - start), turn, owner)
                for start, _, x, slope, turn, owner in active
            ]
        )
        if all(one[1] <= other[1] + _NOISE for one, other in pairwise(placed)):
            yield top - bottom, [((x1 + x2) / 2, turn, owner) for x1, x2, turn, owner in placed]
        else:
            yield from _cut(placed, top - bottom, steps)


def _cut(
    placed: Sequence[tuple[float, float, int, int]], height: float, steps: _Steps
) -> Iterator[tuple[float, list[_End]]]:
    """The strips of one in which edges cross: between each two crossings they run apart. An edge is given by its x at
    both ends of the strip. Of n edges that all cross one another there are n² / 2 strips, and each takes n steps."""
    steps.take(len(placed) * len(placed))
    parts = {0.0, 1.0}
    for number, (x1, end1, _, _) in enumerate(placed):
        parts |= {
            (x2 - x1) / (x2 - x1 + end1 - end2) for x2, end2, _, _ in placed[number + 1 :] if end1 > end2 + _NOISE
        }
    for start, end in pairwise(sorted(parts)):
        middle = (start + end) / 2
        steps.take(len(placed))
        yield (
            (end - start) * height,
            sorted((x + (end_x - x) * middle, turn, owner) for x, end_x, turn, owner in placed),
        )


def _meeting(outlines: list[_Outline], steps: _Steps) -> Iterator[tuple[_Outline, _Outline, float]]:
    """The pairs whose boxes have as much in common as the outlines would need to, and how much that is. In order of the
    side along which they are the shorter, so that what lies far beside or behind one another is not compared."""
    upright = sum(box.bottom - box.top - box.right + box.left for _, _, box, _ in outlines) < 0
    start, end, first, last = (2, 3, 0, 1) if upright else (0, 1, 2, 3)
    outlines.sort(key=lambda each: each.box[start])
    near: list[_Outline] = []
    for one in outlines:
        here, begin, finish = one.box[start], one.box[first], one.box[last]
        steps.take(len(near) // _BOXES_A_STEP + 1)
        near = [other for other in near if other[2][end] > here]
        for other in [other for other in near if other[2][first] < finish and other[2][last] > begin]:
            steps.take(1)
            left, right, top, bottom = _common_box(one.box, other.box)
            enough = min(one.area, other.area) * OVERLAP_SHARE + min(_rounding(one.box), _rounding(other.box))
            if (right - left) * (bottom - top) > enough:
                yield other, one, enough
        near.append(one)


def _points(section: Section) -> list[Point]:
    """An outline in whole units; empty where there is none, or one that breaks a simpler rule."""
    if not 3 <= len(section.outline) <= limits.OUTLINE_POINTS_MAX:
        return []
    # A comparison with NaN is never true.
    if not all(0 <= x <= 1 and 0 <= y <= 1 for x, y in section.outline):
        return []
    return [(float(round(x * _UNITS)), float(round(y * _UNITS))) for x, y in section.outline]


def _box(points: Sequence[Point]) -> _Box:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return _Box(min(xs), max(xs), min(ys), max(ys))


def _common_box(one: _Box, other: _Box) -> _Box:
    """What two boxes have in common; turned around where that is nothing."""
    left, right, top, bottom = one
    return _Box(max(left, other[0]), min(right, other[1]), max(top, other[2]), min(bottom, other[3]))


def _signed_area(points: Sequence[Point]) -> float:
    ends = zip(points, (*points[1:], points[0]), strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in ends) / 2


def _edges(points: Sequence[Point], owner: int) -> Iterator[_Edge]:
    """The sides that are not level: level ones end no strip and part nothing."""
    for (x1, y1), (x2, y2) in zip(points, (*points[1:], points[0]), strict=True):
        if y1 < y2:
            yield _Edge(y1, y2, x1, (x2 - x1) / (y2 - y1), 1, owner)
        elif y2 < y1:
            yield _Edge(y2, y1, x2, (x1 - x2) / (y1 - y2), -1, owner)


def _rounding(box: _Box) -> float:
    """What rounding coordinates can make of an outline that only touches: a strip of a unit along half of it."""
    return box.right - box.left + box.bottom - box.top


def _are_nested(one: Section, other: Section) -> bool:
    return one.name in other.within or other.name in one.within
