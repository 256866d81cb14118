"""Every rule of a layout as a row of a table, and all of them at once."""

from typing import Any

import msgspec
import pytest

from lml_live import limits
from lml_live.venues.checks import check_layout
from lml_live.venues.findings import shown
from lml_live.venues.layout import (
    Category,
    Entrance,
    Layout,
    Row,
    Seat,
    Section,
    Shape,
    Table,
    Viewport,
    seal_layout,
    seat_id,
)


def seat(number: str = "1", **fields: Any) -> Seat:
    return msgspec.structs.replace(Seat(number, 0.5, 0.5, "I"), **fields)


def hall(*seats: Seat, row: str = "A", section: str = "Stalls", **fields: Any) -> Layout:
    sections = (Section(section, "seated", (Row(row, seats or (seat(),)),)),)
    return msgspec.structs.replace(Layout("hall", "Hall", "seated", Viewport(3, 2), sections), **fields)


def standing(**fields: Any) -> Layout:
    section = msgspec.structs.replace(Section("Floor", "standing", (), "floor", 300, "Standing"), **fields)
    return Layout("club", "Club", "standing", Viewport(3, 2), (section,))


def within(**fields: Any) -> Layout:
    return hall(sections=(msgspec.structs.replace(hall().sections[0], **fields),))


def row(**fields: Any) -> Layout:
    return hall(sections=(Section("S", "seated", (msgspec.structs.replace(Row("A", (seat(),)), **fields),)),))


AT = "sections[0].rows[0].seats[0]"
NAN = float("nan")

FAULTS = [
    (hall(layout_id="a b"), "layout_id", "1 to 64 of A-Z"),
    (hall(layout_id="a" * 65), "layout_id", "1 to 64 of A-Z"),
    (hall(name=""), "name", "is empty"),
    (hall(version=0), "version", "1 or more is expected"),
    (hall(type="hybrid"), "type", "is 'hybrid'; with these sections 'seated' is expected"),
    (hall(viewport=Viewport(0, 1)), "viewport.width", "a number from 0.00001 to 1000000"),
    (hall(viewport=Viewport(1, 0.000004)), "viewport.height", "a number from 0.00001 to 1000000"),
    (hall(viewport=Viewport(1, NAN)), "viewport.height", "is nan"),
    (hall(sections=()), "sections", "at least one section"),
    (hall(focal_point=(2, 0)), "focal_point.x", "is 2; a number from 0 to 1 is expected"),
    (hall(hash="0" * 64), "hash", "the content has another hash"),
    (hall(section=""), "sections[0].name", "is empty"),
    (hall(section="Left_1"), "sections[0].name", "'_' separates the parts of a seat id"),
    (hall(section=" Left"), "sections[0].name", "no space at either end"),
    (hall(section="Le\u0000ft"), "sections[0].name", "no control or invisible characters"),
    (hall(section="Left\u202e"), "sections[0].name", "no control or invisible characters"),
    (hall(section="\ud800"), "sections[0].name", "no control or invisible characters"),
    (hall(section="\u200d"), "sections[0].name", "no control or invisible characters"),
    (hall(section="Le\u3164ft"), "sections[0].name", "no control or invisible characters"),
    (hall(seat("A\u0378")), f"{AT}.number", "no control or invisible characters"),
    (hall(seat("A"), seat("A\ufe0f")), "sections[0].rows[0].seats[1].number", "each is used once"),
    (hall(seat("A B"), seat("A\u00a0B")), "sections[0].rows[0].seats[1].number", "each is used once"),
    (hall(section="Cafe\u0301"), "sections[0].name", "normal form C (NFC)"),
    (hall(row="x" * 101), "sections[0].rows[0].label", "has 101 characters; at most 100 are expected"),
    (hall(row="A_1"), "sections[0].rows[0].label", "'_' separates"),
    (hall(seat("")), f"{AT}.number", "is empty"),
    (hall(seat("1_2")), f"{AT}.number", "'_' separates"),
    (hall(seat(x=1.5)), f"{AT}.x", "is 1.5; a number from 0 to 1 is expected"),
    (hall(seat(y=-0.1)), f"{AT}.y", "is -0.1"),
    (hall(seat(y=NAN)), f"{AT}.y", "is nan"),
    (hall(seat(x=float("inf"))), f"{AT}.x", "is inf"),
    (hall(seat(category="")), f"{AT}.category", "is empty"),
    (hall(seat(seat_id="0" * 64)), f"{AT}.seat_id", seat_id("hall", "Stalls", "A", "1")),
    (
        hall(seat(), seat()),
        "sections[0].rows[0].seats[1].number",
        "is '1', the number of sections[0].rows[0].seats[0] too",
    ),
    (hall(sections=(Section("S", "seated", (Row("A", ()),)),)), "sections[0].rows[0].seats", "at least one seat"),
    (hall(sections=(Section("S", "seated"),)), "sections[0].rows", "at least one row"),
    (
        hall(sections=(Section("S", "seated", (Row("A", (seat(),)), Row("A", (seat(),)))),)),
        "sections[0].rows[1].label",
        "the label of sections[0].rows[0] too",
    ),
    (
        hall(sections=(Section("S", "seated", (Row("A", (seat(),), sold_whole=True),), sold_whole=True),)),
        "sections[0].rows[0].sold_whole",
        "its section sells whole already",
    ),
    (
        hall(sections=(Section("S", "seated", (Row("A", tuple(seat(str(n)) for n in range(51)), True),)),)),
        "sections[0].rows[0].sold_whole",
        "is true for 51 seats; at most 50 sell whole",
    ),
    (
        hall(
            sections=(
                Section(
                    "S",
                    "seated",
                    (
                        Row(
                            "A",
                            tuple(map(seat, map(str, range(51)))),
                        ),
                    ),
                    sold_whole=True,
                ),
            )
        ),
        "sections[0].sold_whole",
        "at most 50 sell whole",
    ),
    (standing(sold_whole=True), "sections[0].sold_whole", "only a seated section sells whole"),
    (hall(sections=hall().sections * 2), "sections[1].name", "the name of sections[0] too"),
    (
        hall(sections=(msgspec.structs.replace(hall().sections[0], capacity=3),)),
        "sections[0].capacity",
        "only a standing section has one",
    ),
    (
        hall(sections=(msgspec.structs.replace(hall().sections[0], outline=((0, 0), (1, 1))),)),
        "sections[0].outline",
        "none, or at least 3",
    ),
    (hall(shapes=(Shape("stage", ()),)), "shapes[0].points", "at least one point"),
    (hall(shapes=(Shape("stage", ((0, 2),)),)), "shapes[0].points[0].y", "is 2"),
    (standing(area_id=None), "sections[0].area_id", "is missing"),
    (standing(area_id="a_b"), "sections[0].area_id", "1 to 64 of A-Z"),
    (standing(capacity=0), "sections[0].capacity", "a whole number from 1"),
    (standing(capacity=None), "sections[0].capacity", "is missing"),
    (standing(category=None), "sections[0].category", "needs a price category"),
    (standing(rows=(Row("A", (seat(),)),)), "sections[0].rows", "a standing section has none"),
    (hall(seat("1", category="J"), categories=(Category("I"),)), f"{AT}.category", "the layout's listed"),
    (hall(categories=(Category("I"), Category("I"))), "categories[1].name", "the name of categories[0] too"),
    (hall(categories=(Category("I", "red"),)), "categories[0].color", "#rrggbb"),
    (hall(entrances=(Entrance("", (0, 0)),)), "entrances[0].name", "is empty"),
    (hall(entrances=(Entrance("N", (0, 3)),)), "entrances[0].point.y", "is 3"),
    (within(entrance="North"), "sections[0].entrance", "one of the layout's entrances"),
    (within(floor=""), "sections[0].floor", "is empty"),
    (within(within=("Stalls",)), "sections[0].within[0]", "which is further in, too"),
    (within(within=("A", "B", "A")), "sections[0].within[0]", "each named once"),
    (within(within=("Caf\u00e9", "Cafe\u0301")), "sections[0].within[0]", "which is further in, too"),
    (within(within=("x",) * 9), "sections[0].within", "has 9 places; at most 8 are expected"),
    (row(table=Table(0, 2, 0, NAN)), "sections[0].rows[0].table.height", "is nan"),
    (row(table=Table(0, 0, 0, 0, turn=360)), "sections[0].rows[0].table.turn", "degrees"),
    (hall(shapes=(Shape("a", ((0, 0),), floor=""),)), "shapes[0].floor", "is empty"),
    (
        msgspec.structs.replace(
            standing(), sections=(*standing().sections, msgspec.structs.replace(standing().sections[0], name="Other"))
        ),
        "sections[1].area_id",
        "the area_id of sections[0] too",
    ),
]


@pytest.mark.parametrize(
    ("layout", "path", "message"), FAULTS, ids=[f"{path}-{at}" for at, (_, path, _) in enumerate(FAULTS)]
)
def test_a_broken_rule_is_told_with_path_finding_and_expectation(layout: Layout, path: str, message: str) -> None:
    violations = check_layout(layout).violations
    told = [found for found in violations if found.path == path and message in found.message]
    assert told, violations
    assert all(found.rule and found.message == f"{found.found}; {found.expected}" for found in told)


@pytest.mark.parametrize(
    "layout", [hall(), hall(section="東上B"), hall(row="كـ\u200cه"), standing(), seal_layout(hall())]
)
def test_a_good_layout_has_no_violations(layout: Layout) -> None:
    assert check_layout(layout).violations == ()


def test_all_violations_are_told_at_once() -> None:
    layout = hall(seat("", x=2), seat("a_b", category=""), row="", section="_", layout_id="?", type="standing")
    paths = {violation.path for violation in check_layout(layout).violations}
    assert {
        "layout_id",
        "type",
        "sections[0].name",
        "sections[0].rows[0].label",
        f"{AT}.number",
        f"{AT}.x",
        "sections[0].rows[0].seats[1].number",
        "sections[0].rows[0].seats[1].category",
    } <= paths


def test_the_list_of_violations_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VIOLATIONS_MAX", 1)
    report = check_layout(hall(seat("a_b"), seat("c_d"), seat("e_f")))
    assert report.violation_count == 3
    assert [violation.message for violation in report.violations[1:]] == ["2 more violations are not listed"]


@pytest.mark.parametrize(
    ("bound", "layout", "path"),
    [
        ("LAYOUT_SEATS_MAX", hall(seat("1"), seat("2")), "sections"),
        ("LAYOUT_SECTIONS_MAX", hall(sections=(hall().sections[0], hall(section="B").sections[0])), "sections"),
        ("OUTLINE_POINTS_MAX", hall(shapes=(Shape("stage", ((0, 0), (1, 1))),)), "shapes[0].points"),
        ("LAYOUT_SHAPES_MAX", hall(shapes=(Shape("a", ((0, 0),)), Shape("b", ((0, 0),)))), "shapes"),
        ("AREA_CAPACITY_MAX", standing(), "sections[0].capacity"),
        ("LAYOUT_SHAPE_POINTS_MAX", hall(shapes=(Shape("stage", ((0, 0), (1, 1))),)), "shapes"),
        ("LAYOUT_ROW_SEATS_MAX", hall(seat("1"), seat("2")), "sections[0].rows[0].seats"),
        ("LAYOUT_CATEGORIES_MAX", hall(categories=(Category("I"), Category("J"))), "categories"),
        ("LAYOUT_ENTRANCES_MAX", hall(entrances=(Entrance("N", (0, 0)), Entrance("S", (0, 0)))), "entrances"),
        ("LAYOUT_NESTING_MAX", within(within=("A", "B")), "sections[0].within"),
    ],
)
def test_every_bound_bites_at_one(monkeypatch: pytest.MonkeyPatch, bound: str, layout: Layout, path: str) -> None:
    assert check_layout(layout).violations == ()
    monkeypatch.setattr(limits, bound, 1)
    assert [violation.path for violation in check_layout(layout).violations] == [path]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("a" * 50, "'" + "a" * 40 + "…'"),
        (10**400, "a huge number"),
        ({}, "an object"),
        ([1, 2], "an array of 2"),
        ("\x00", r"'\x00'"),
        (1.5, "1.5"),
    ],
)
def test_found_values_are_shown_short_and_printable(value: object, text: str) -> None:
    assert shown(value) == text
