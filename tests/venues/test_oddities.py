"""Warnings of a layout, each a row of a table: what is odd is said, and what is usual is not."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from lml_live import limits
from lml_live.venues.checks import check_layout
from lml_live.venues.demo import generate_venue
from lml_live.venues.findings import Findings
from lml_live.venues.layout import Category, Layout, Point, Row, Seat, Section, Viewport
from lml_live.venues.oddities import look_for_oddities
from lml_live.venues.overlaps import look_at_outlines

SQUARE = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))
BESIDE = tuple((x + 0.5, y) for x, y in SQUARE)
FLOOR = Section("Stalls", "standing", area_id="floor", capacity=100, category="I", outline=SQUARE)


def row(label: str, places: Sequence[Point], first: int = 1, **fields: Any) -> Row:
    return Row(label, tuple(Seat(str(first + at), x, y, "I", **fields) for at, (x, y) in enumerate(places)))


def line(count: int, y: float = 0.1, step: float = 0.02) -> list[Point]:
    return [(0.1 + at * step, y) for at in range(count)]


def numbered(*numbers: str) -> Row:
    return Row("A", tuple(Seat(number, 0.1 + at / 50, 0.1, "I") for at, number in enumerate(numbers)))


def hall(*rows: Row, **fields: Any) -> Section:
    return msgspec.structs.replace(Section("Stalls", "seated", rows or (row("A", line(5)),)), **fields)


def layout(*sections: Section, **fields: Any) -> Layout:
    named = [msgspec.structs.replace(section, name=f"{section.name} {at}") for at, section in enumerate(sections)]
    return msgspec.structs.replace(Layout("hall", "Hall", "seated", Viewport(100, 50), tuple(named)), **fields)


def told_of(odd: Layout) -> Findings:
    return look_for_oddities(odd, look_at_outlines(odd))


ODD: list[tuple[Layout, list[tuple[str, str, str]]]] = [
    (layout(hall()), []),
    (
        layout(hall(row("A", [(0.1, 0.1), (0.1, 0.1)]))),
        [("overlap", "sections[0].rows[0].seats[1]", "Stalls 0 / A / 2 lies on the same place as Stalls 0 / A / 1")],
    ),
    (
        layout(hall(row("A", line(5))), hall(row("B", line(1)))),
        [("overlap", "sections[1].rows[0].seats[0]", "Stalls 1 / B / 1 lies on the same place as Stalls 0 / A / 1")],
    ),
    (layout(hall(floor="Ground"), hall(floor="First")), []),
    (
        layout(hall(row("A", line(9)), row("B", [(0.1, 0.11)]))),
        [("overlap", "sections[0].rows[1].seats[0]", "Stalls 0 / B / 1 covers Stalls 0 / A / 1")],
    ),
    (layout(hall(row("A", line(9)), row("B", line(9, 0.12)))), []),
    (layout(hall(numbered("1", "2", "4"))), [("numbering_gap", "sections[0].rows[0]", "Stalls 0 / A has no number 3")]),
    (layout(hall(numbered("1", "3", "5", "9"))), [("numbering_gap", "sections[0].rows[0]", "has no number 7")]),
    (layout(hall(numbered("7", "5", "3", "1", "2", "4", "6"))), []),
    (layout(hall(numbered("1", "3", "5"))), []),
    (layout(hall(numbered("1", "2", "3", "400", "401"))), []),
    (layout(hall(numbered("1", "2a", "4"))), []),
    (layout(hall(numbered("1", "²", "9"))), []),
    (layout(hall(outline=SQUARE)), []),
    (
        layout(hall(row("A", line(20, step=0.04)), outline=SQUARE)),
        [("outside", "sections[0].rows[0].seats[12]", "Stalls 0 / A / 13 and 7 more of its row stand outside")],
    ),
    (
        layout(hall(row("A", [*line(3), (0.9, 0.9)]), outline=SQUARE)),
        [("outside", "sections[0].rows[0].seats[3]", "Stalls 0 / A / 4 stands outside the section's outline")],
    ),
    (layout(hall(outline=SQUARE), hall(row("A", [(0.7, 0.3)]), outline=BESIDE)), []),
    (layout(hall(outline=SQUARE), FLOOR, type="hybrid"), [("outline_overlap", "sections[1].outline", "lies over")]),
    (layout(hall(outline=SQUARE), hall(row("A", [(0.3, 0.3)]), outline=SQUARE, within=("Stalls 0",))), []),
    (layout(hall(outline=SQUARE, floor="1"), hall(row("A", [(0.3, 0.3)]), outline=SQUARE, floor="2")), []),
    (
        layout(hall(), categories=(Category("I"), Category("II"))),
        [("unreachable_category", "categories[1]", "'II' is the category of no seat and no area")],
    ),
    (
        layout(hall(row("A", line(2), companion=True))),
        [("unreachable_category", "sections[0]", "companion seats and no accessible place")],
    ),
    (layout(hall(row("A", line(2), companion=True), row("B", [(0.5, 0.5)], accessible=True))), []),
    # What is no number and what is far off is for the rules; nothing here is disturbed by it.
    (layout(hall(row("A", [(float("nan"), 0.1), (float("inf"), 1e300), (-1e308, 0)]))), []),
    (layout(hall(outline=((float("nan"), 0), (0, 1), (1, 1)))), []),
    (layout(hall(), viewport=Viewport(1e-300, 1e-300)), []),
]


@pytest.mark.parametrize(("odd", "expected"), ODD, ids=range(len(ODD)))
def test_what_is_odd_is_said_and_nothing_else(odd: Layout, expected: list[tuple[str, str, str]]) -> None:
    told = told_of(odd).violations
    assert [(each.rule, each.path) for each in told] == [(rule, path) for rule, path, _ in expected], told
    for each, (_, _, words) in zip(told, expected, strict=True):
        assert words in each.message
        assert each.expected


def test_warnings_are_bounded_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VIOLATIONS_MAX", 2)
    report = check_layout(layout(hall(row("A", [(0.1, 0.1)] * 6))))
    assert (report.violations, report.warning_count) == ((), 5)
    assert [each.message for each in report.warnings[2:]] == ["3 more warnings are not listed"]


def test_outlines_of_too_many_points_are_not_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTLINE_LOOKS_MAX", 10)
    told = told_of(layout(hall(row("A", [*line(3), (0.9, 0.9)]), outline=SQUARE))).violations
    assert [each.rule for each in told] == ["outline"]


def test_a_layout_is_warned_of_before_it_is_right() -> None:
    wrong = layout(hall(row("A", [(0.1, 0.1), (0.1, 0.1), (0.2, 0.2)])), layout_id="a b")
    report = check_layout(wrong)
    assert [each.rule for each in report.violations] == ["layout_id"]
    assert [each.rule for each in report.warnings] == ["overlap"]


def test_all_seats_in_one_place_are_looked_at_once_each() -> None:
    """The grid of a plan on which everything overlaps: each seat meets a few others and not all of them."""
    crowd = [(0.1 + at * 1e-9, 0.1) for at in range(3_000)] + [(0.1 + at * 0.01, 0.9) for at in range(5_000)]
    told = told_of(layout(hall(row("A", crowd), outline=()))).count
    assert 0 < told < 50_000


def test_the_project_s_own_venues_are_not_odd() -> None:
    assert told_of(generate_venue(2_000)).count == 0
