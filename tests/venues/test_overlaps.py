"""Outlines: which lie over one another, which cross themselves, and how much of the plan two of them share."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lml_live import limits
from lml_live.venues.assembly import check_again
from lml_live.venues.checks import check_layout
from lml_live.venues.demo import arena, concert_hall, generate_venue
from lml_live.venues.findings import InvalidLayout
from lml_live.venues.importers import Imported, Rejected, import_layout
from lml_live.venues.layout import Layout, Point, Row, Seat, Section, Viewport, seal_layout
from lml_live.venues.overlaps import Drawing, look_at_outlines, shared_area

Outline = tuple[Point, ...]

SIDE = 0.4
BOW: Outline = ((0.1, 0.1), (0.5, 0.5), (0.5, 0.1), (0.1, 0.5))
STAR: Outline = tuple(
    (0.5 + 0.3 * math.sin(at * 4 * math.pi / 5), 0.5 + 0.3 * math.cos(at * 4 * math.pi / 5)) for at in range(5)
)
KEYHOLE: Outline = (
    *((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.5)),
    *((0.3, 0.5), (0.3, 0.7), (0.7, 0.7), (0.7, 0.3), (0.3, 0.3), (0.3, 0.5), (0.0, 0.5)),
)
"""Around a hole: the way in and the way out are one line."""


def square(x: float = 0.1, y: float = 0.1, side: float = SIDE) -> Outline:
    return (x, y), (x + side, y), (x + side, y + side), (x, y + side)


def hall(*outlines: Outline, **fields: Any) -> Layout:
    """A section for each outline; `fields` are the last one's own."""
    row = Row("A", (Seat("1", 0.15, 0.15, "I"),))
    sections = [Section(f"S{at}", "seated", (row,), outline=outline) for at, outline in enumerate(outlines)]
    sections[-1] = msgspec.structs.replace(sections[-1], **fields)
    return Layout("hall", "Hall", "seated", Viewport(100, 100), tuple(sections))


DRAWN: list[tuple[str, Layout, list[tuple[str, str]]]] = [
    ("alone", hall(square()), []),
    ("side by side", hall(square(), square(0.1 + SIDE)), []),
    ("meeting in a corner", hall(square(), square(0.1 + SIDE, 0.1 + SIDE)), []),
    ("one drawn twice", hall(square(), square()), [("outline_overlap", "sections[1].outline")]),
    ("one drawn twice, the other way", hall(square(), square()[::-1]), [("outline_overlap", "sections[1].outline")]),
    ("half over", hall(square(), square(0.3)), [("outline_overlap", "sections[1].outline")]),
    ("a quarter over", hall(square(), square(0.3, 0.3)), [("outline_overlap", "sections[1].outline")]),
    ("an eighth over", hall(square(), square(0.1 + SIDE * 7 / 8)), [("outline_overlap", "sections[1].outline")]),
    ("a twelfth over, as a box in a corner", hall(square(), square(0.1 + SIDE * 11 / 12)), []),
    ("a box in the middle", hall(square(), square(0.2, 0.2, 0.05)), [("outline_overlap", "sections[1].outline")]),
    ("a box in the middle first", hall(square(0.2, 0.2, 0.05), square()), [("outline_overlap", "sections[1].outline")]),
    ("in a hole", hall(KEYHOLE, square(0.35, 0.35, 0.3)), []),
    ("over a hole", hall(KEYHOLE, square(0.2, 0.2, 0.6)), [("outline_overlap", "sections[1].outline")]),
    ("on another floor", hall(square(), square(), floor="Balcony"), []),
    ("within the other", hall(square(), square(), within=("S0",)), []),
    (
        "all three",
        hall(square(), square(), square()),
        [("outline_overlap", f"sections[{at}].outline") for at in (1, 2, 2)],
    ),
    ("crossing itself", hall(BOW), [("outline_crossing", "sections[0].outline")]),
    ("a star", hall(STAR), [("outline_crossing", "sections[0].outline")]),
    ("twice around", hall(square() * 2), [("outline_crossing", "sections[0].outline")]),
    ("crossing itself, and another", hall(square(), BOW), [("outline_crossing", "sections[1].outline")]),
    ("around a hole", hall(KEYHOLE), []),
    ("a spike", hall((*square(), (0.1, 0.9))), []),
    ("flat", hall(square(), ((0.1, 0.2), (0.3, 0.2), (0.5, 0.2))), []),
    (
        "no number",
        hall(square(), ((math.nan, 0.0), (0.5, 0.0), (0.5, 0.5))),
        [("coordinate", "sections[1].outline[0].x")],
    ),
]


@pytest.mark.parametrize(("layout", "broken"), [each[1:] for each in DRAWN], ids=[each[0] for each in DRAWN])
def test_what_is_drawn_over_another_breaks_a_rule(layout: Layout, broken: list[tuple[str, str]]) -> None:
    told = check_layout(layout).violations
    assert [(each.rule, each.path) for each in told] == broken
    if not broken:
        assert check_layout(seal_layout(layout)).violation_count == 0, "sealed it is what it was"


def test_a_standing_area_around_seats_is_a_warning_and_over_another_area_is_none_of_it() -> None:
    floor = {"kind": "standing", "rows": (), "capacity": 9, "category": "I"}
    club = msgspec.structs.replace(hall(square(), square(), area_id="a", **floor), type="hybrid")
    report = check_layout(club)
    assert (report.violations, [each.rule for each in report.warnings]) == ((), ["outline_overlap"])
    pit = msgspec.structs.replace(club.sections[1], name="Pit", area_id="b")
    crowd = msgspec.structs.replace(club, type="standing", sections=(club.sections[1], pit))
    assert [each.message for each in check_layout(crowd).violations] == [
        "'Pit' lies over 'S1'; at most 10% of the smaller outline, or none, are expected"
    ]


def test_a_thin_outline_that_rounding_pushes_over_its_neighbour_is_right() -> None:
    """Two sections a hundred thousandth of the plan wide share an edge that is half of that from where it was drawn."""
    one = ((0.0, 0.0), (0.000015, 0.0), (0.000015, 1.0), (0.0, 1.0))
    other = ((0.00001, 0.0), (0.00002, 0.0), (0.00002, 1.0), (0.00001, 1.0))
    assert look_at_outlines(hall(one, other)).overlaps == ()


def test_outlines_that_are_too_much_to_compare_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTLINE_STEPS_MAX", 20)
    report = check_layout(hall(square(), square()))
    assert (report.violations, [each.rule for each in report.warnings]) == ((), ["overlap", "outline"])


def test_strips_that_crossings_make_are_counted_as_all_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the look for crossings was counted: an outline of 1,400 corners whose edges all cross one another made a
    million strips of 1,400 edges, and kept a worker busy for minutes."""
    comb = tuple(
        corner
        for x in (tooth / 50 + tooth * tooth % 7 / 450 for tooth in range(30))
        for corner in ((x, 0.0), (x + 0.4, 1.0), (x + 0.401, 1.0), (x + 0.001, 0.0))
    )
    combs = hall(comb, tuple((1 - x, y) for x, y in comb))
    assert look_at_outlines(combs) == Drawing()
    monkeypatch.setattr(limits, "OUTLINE_STEPS_MAX", 50_000)
    assert look_at_outlines(combs) == Drawing(whole=False)


def test_an_outline_that_crosses_itself_is_not_looked_at_any_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what is as wrong as can be would be too much to compare, and pass."""
    monkeypatch.setattr(limits, "OUTLINE_STEPS_MAX", 100_000)
    tangle = tuple((at * 377 % 1000 / 1000, float(at % 2)) for at in range(200))
    assert look_at_outlines(hall(tangle)) == Drawing(crossed=(0,))


def test_a_thousand_sections_are_compared_with_their_neighbours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs of a thousand would be half a million looks, and each look takes a dozen steps."""
    monkeypatch.setattr(limits, "OUTLINE_STEPS_MAX", 20_000)
    cells = hall(*(square(x / 40, y / 25, 1 / 40) for x in range(40) for y in range(25)))
    assert look_at_outlines(cells) == Drawing()
    strips = hall(
        *(((0.0, y / 1000), (1.0, y / 1000), (1.0, (y + 1) / 1000), (0.0, (y + 1) / 1000)) for y in range(999))
    )
    assert look_at_outlines(strips) == Drawing()


@pytest.mark.parametrize("layout", [concert_hall(), arena(), generate_venue(40_000)], ids=["hall", "arena", "bowl"])
def test_the_project_s_own_venues_have_outlines_of_their_own(layout: Layout) -> None:
    assert look_at_outlines(layout) == Drawing()


def test_foreign_outlines_that_break_our_rules_are_decoration_and_that_is_said() -> None:
    drawn = "".join(
        f'<polygon data-section="{name}" points="{points}"/><circle id="{name}-1-1" cx="{x}" cy="20" r="2"/>'
        for name, points, x in (
            ("A", "0,0 100,0 100,100 0,100", 20),
            ("B", "50,0 150,0 150,100 50,100", 120),
            ("C", "200,0 300,100 300,0 200,100", 220),
            ("D", "100,0 200,0 200,100 100,100", 180),
        )
    )
    answer = import_layout(f'<svg xmlns="http://www.w3.org/2000/svg">{drawn}</svg>'.encode(), filename="hall.svg")
    assert isinstance(answer, Imported), answer
    assert [len(section.outline) for section in answer.layout.sections] == [4, 0, 0, 4]
    assert [(shape.kind, len(shape.points)) for shape in answer.layout.shapes] == [("section", 4)] * 2
    assert answer.notes[-2:] == (
        "Section B: its outline lies over that of A, so it is decoration",
        "Section C: its outline crosses itself, so it is decoration",
    )


def test_our_own_format_says_what_it_means_and_is_refused() -> None:
    answer = import_layout(msgspec.json.encode(hall(square(), square())), filename="hall.json")
    assert isinstance(answer, Rejected)
    assert [each.rule for each in answer.violations] == ["outline_overlap"]


def test_what_was_stored_before_this_was_a_rule_can_be_restored() -> None:
    old = seal_layout(hall(square(), square(), BOW))
    again = check_again(old)
    assert again.layout == old
    assert [each.rule for each in again.warnings] == ["outline_crossing", "outline_overlap", "overlap", "overlap"]
    with pytest.raises(InvalidLayout):
        check_again(msgspec.structs.replace(old, name=""))


# --- The geometry, against one that is right by definition

_RADII = st.lists(st.integers(1, 30), min_size=3, max_size=12)


@st.composite
def rings(draw: st.DrawFn) -> list[Point]:
    """Any outline that a point inside sees all of, with whole coordinates from 0 to 100: it cannot cross itself."""
    radii = draw(_RADII)
    x, y = draw(st.integers(30, 70)), draw(st.integers(30, 70))
    turns = [2 * math.pi * at / len(radii) for at in range(len(radii))]
    places = ((x + r * math.cos(turn), y + r * math.sin(turn)) for r, turn in zip(radii, turns, strict=True))
    points = [(float(round(x)), float(round(y))) for x, y in places]
    assume(len(set(points)) == len(points) and not _has_crossing(points))
    return points[::-1] if draw(st.booleans()) else points


@settings(deadline=None)
@given(rings(), rings())
def test_the_shared_area_is_that_of_the_triangles_that_two_outlines_are_made_of(
    one: list[Point], other: list[Point]
) -> None:
    expected = float(_shared_by_triangles(one, other))
    assert shared_area(one, other) == pytest.approx(expected, abs=1e-6)
    assert shared_area(other, one) == pytest.approx(expected, abs=1e-6)
    assert shared_area(one, one) == pytest.approx(abs(float(_area(one))), abs=1e-6)
    for enough in (expected / 2, expected * 2):
        assert (shared_area(one, other, enough) > enough) == (expected > enough)


@settings(deadline=None)
@given(rings(), st.integers(0, 11))
def test_what_does_not_cross_itself_does_not_wherever_it_begins(points: list[Point], first: int) -> None:
    outline = _on_the_plan([*points[first % len(points) :], *points[: first % len(points)]])
    assert look_at_outlines(hall(outline)).crossed == ()


@settings(deadline=None)
@given(rings())
def test_a_square_whose_corners_are_joined_crosswise_crosses_itself_whatever_follows(points: list[Point]) -> None:
    left, top = min(x for x, _ in points), points[0][1]
    tie = [(left - 10, top - 8), (left - 2, top + 8), (left - 2, top - 8), (left - 10, top + 8)]
    assert look_at_outlines(hall(_on_the_plan(tie))).crossed == (0,)
    assert look_at_outlines(hall(_on_the_plan([*points, *tie]))).crossed == (0,)


def _on_the_plan(points: list[Point]) -> Outline:
    return tuple(((x + 10) / 200, (y + 10) / 200) for x, y in points)


def _has_crossing(points: list[Point]) -> bool:
    """By looking at each side and each other one: whether they have more in common than a corner."""
    sides = list(zip(points, [*points[1:], points[0]], strict=True))
    for number, (a, b) in enumerate(sides):
        for c, d in sides[number + 1 :]:
            ends = {_turn(a, b, c) > 0, _turn(a, b, d) > 0}
            touching = 0 in (_turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b))
            if touching and len({a, b, c, d}) == 4:
                return True
            if not touching and len(ends) == 2 and len({_turn(c, d, a) > 0, _turn(c, d, b) > 0}) == 2:
                return True
            if len({a, b, c, d}) == 3 and _turn(a, b, c) == 0 == _turn(a, b, d):
                return True
    return False


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


Exact = tuple[Fraction, Fraction]


def _shared_by_triangles(one: list[Point], other: list[Point]) -> Fraction:
    """An outline is the sum of the triangles from one corner over its sides, those that turn back taken off; of two
    triangles, one cut by the three sides of the other is what they share."""
    total = Fraction(0)
    for a in _triangles(one):
        for b in _triangles(other):
            sign = (1 if _area(a) > 0 else -1) * (1 if _area(b) > 0 else -1)
            total += sign * abs(_area(_cut(a, b if _area(b) > 0 else b[::-1])))
    return abs(total)


def _triangles(points: list[Point]) -> list[list[Exact]]:
    corners = [(Fraction(x), Fraction(y)) for x, y in points]
    fan = [[corners[0], a, b] for a, b in pairwise(corners[1:])]
    return [triangle for triangle in fan if _area(triangle) != 0]


def _area(points: Sequence[Any]) -> Fraction:
    ends = zip(points, (*points[1:], *points[:1]), strict=True)
    return Fraction(sum(Fraction(a[0]) * Fraction(b[1]) - Fraction(b[0]) * Fraction(a[1]) for a, b in ends)) / 2


def _cut(points: list[Exact], by: list[Exact]) -> list[Exact]:
    for a, b in zip(by, [*by[1:], by[0]], strict=True):
        kept: list[Exact] = []
        for c, d in zip(points, [*points[1:], *points[:1]], strict=True):
            here, there = _side(a, b, c), _side(a, b, d)
            if here >= 0:
                kept.append(c)
            if here * there < 0:
                part = here / (here - there)
                kept.append((c[0] + part * (d[0] - c[0]), c[1] + part * (d[1] - c[1])))
        points = kept
    return points


def _side(a: Exact, b: Exact, c: Exact) -> Fraction:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
