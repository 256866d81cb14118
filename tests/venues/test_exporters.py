"""Layouts out to other programs' formats and in again: the same seats, and what is lost on the way is told."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from round_trips import areas_of, assert_all_is_told, back, the_same_seats
from theatres import theatre

from lml_live.venues.demo import generate_venue
from lml_live.venues.exporters import EXPORT_FORMATS, ExportFormat, export_layout
from lml_live.venues.importers import Imported, Rejected, import_layout
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
    seats_of,
)
from lml_live.venues.seat_index import index_layout

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT.parent / "shared" / "data" / "charts"


def told(layout: Layout, wanted: ExportFormat) -> set[str]:
    return {line.split(" × ")[1] for line in export_layout(layout, wanted).unsaid}


@pytest.mark.parametrize("wanted", EXPORT_FORMATS)
@pytest.mark.parametrize("make", [lambda: generate_venue(900), lambda: seal_layout(theatre())], ids=["bowl", "theatre"])
def test_out_and_in_again_is_the_same_seats(make: Any, wanted: ExportFormat) -> None:
    layout = make()
    the_same_seats(layout, back(layout, wanted).layout, wanted)
    assert_all_is_told(layout, wanted)


def test_our_own_format_loses_nothing() -> None:
    layout = seal_layout(theatre())
    assert export_layout(layout, "native").unsaid == ()
    assert back(layout, "native").layout == layout


def test_what_a_format_cannot_say_is_told() -> None:
    layout = seal_layout(theatre())
    pretix, seatsio, csv = (told(layout, wanted) for wanted in ("pretix", "seatsio", "csv"))
    assert {
        "areas with their places: pretix sells them as plain tickets",
        "entrances",
        "seats that are accessible",
        "seats that are features",
        "tables' drawings",
        "rows that sell whole, as tables",
        "sections that are within others",
        "sections that are on a floor",
        "sections that have an entrance",
    } <= pretix
    assert {"places of entrances", "sections that are within others", "seats with features that seats.io has not"} <= (
        seatsio
    )
    assert {"tables' drawings", "shapes", "colours of categories", "sections that are on a floor"} <= csv
    # Nobody adds a member to the model without saying what becomes of it in each format.
    assert Section.__struct_fields__ == (
        *("name", "kind", "rows", "area_id", "capacity", "category"),
        *("outline", "sold_whole", "within", "floor", "entrance"),
    )


SEATS = (Seat("1", 0.3, 0.3, "I"), Seat("2", 0.4, 0.3, "I"))
STALLS = Section("Stalls", "seated", (Row("A", SEATS),))
GALLERY = Section("Gallery", "seated", (Row("A", SEATS),), floor="2")


def plan(*sections: Section, **fields: Any) -> Layout:
    layout = Layout("hall", "Hall", "seated", Viewport(400, 200, "px"), sections or (STALLS,))
    return seal_layout(msgspec.structs.replace(layout, **fields))


SPACES = "labels with several or no-break spaces: they get single ones, and their seats other ids"
WORDS = "words of shapes and floors with several or no-break spaces: they get single ones"
FLOORED = (msgspec.structs.replace(STALLS, floor="1"), GALLERY)
SILENT: list[tuple[ExportFormat, str, Layout]] = [
    ("pretix", "id of the layout: name it when you import the file", plan(name="Great hall")),
    ("seatsio", "id of the layout: name it when you import the file", plan(name="Great hall")),
    ("csv", "id of the layout: name it when you import the file", plan(layout_id="Hall")),
    ("csv", "name of the layout", plan(name="Great hall")),
    ("csv", "categories that are listed", plan(categories=(Category("I"),))),
    ("pretix", "units of the plan: they are pixels there", plan(viewport=Viewport(400, 200))),
    ("seatsio", "units of the plan: they are pixels there", plan(viewport=Viewport(400, 200))),
    ("pretix", "kinds of shapes", plan(shapes=(Shape("bar", ((0.1, 0.1),), "Bar"),))),
    ("pretix", "kinds of shapes", plan(shapes=(Shape("stage", ((0.1, 0.1),), "Great stage"),))),
    ("pretix", "stages without a label: they are called Stage there", plan(shapes=(Shape("stage", ((0.1, 0.1),)),))),
    ("pretix", "name of the layout: it gets single spaces", plan(name="Great  hall")),
    ("seatsio", "name of the layout: it gets single spaces", plan(name="Great\u00a0hall")),
    ("pretix", "size of the plan: it is another one there", plan(viewport=Viewport(200.123, 0.5, "px"))),
    ("seatsio", "size of the plan: it is another one there", plan(viewport=Viewport(2, 1))),
    ("seatsio", "focal point in the corner: there it is none", plan(focal_point=(0, 0))),
    ("seatsio", WORDS, plan(*FLOORED, msgspec.structs.replace(STALLS, name="Upper", floor="Upper  ring"))),
    ("seatsio", WORDS, plan(shapes=(Shape("dance  floor", ((0.1, 0.1),)),))),
    ("seatsio", WORDS, plan(shapes=(Shape("area", ((0.1, 0.1),), "Way\u00a0in"),))),
    ("pretix", WORDS, plan(shapes=(Shape("area", ((0.1, 0.1),), "Way  in"),))),
    ("pretix", SPACES, plan(msgspec.structs.replace(STALLS, name="Left  stalls"))),
    ("seatsio", SPACES, plan(Section("Stalls", "seated", (Row("A\u00a01", SEATS),)))),
    ("csv", SPACES, plan(Section("Stalls", "seated", (Row("A", (Seat("1  b", 0.1, 0.1, "I"),)),)))),
    (
        "seatsio",
        "shapes in another place of their order",
        plan(*FLOORED, shapes=(Shape("area", ((0.1, 0.1),), floor="2"), Shape("area", ((0.1, 0.1),), floor="1"))),
    ),
    ("pretix", "lines: one end of them is there", plan(shapes=(Shape("area", ((0.1, 0.1), (0.2, 0.1))),))),
    (
        "seatsio",
        "entrances of sections that are drawn in none",
        plan(msgspec.structs.replace(STALLS, name="Main", entrance="E"), entrances=(Entrance("E", (0.1, 0.1)),)),
    ),
    (
        "seatsio",
        "rows that come after a table: they are before it there",
        plan(Section("Stalls", "seated", (Row("T", SEATS, table=Table(0.3, 0.3, 0.1, 0.1)), Row("A", SEATS)))),
    ),
    (
        "seatsio",
        "sections in another place of their order",
        plan(GALLERY, msgspec.structs.replace(STALLS, floor="1"), msgspec.structs.replace(GALLERY, name="Upper")),
    ),
]


@pytest.mark.parametrize(("wanted", "what", "layout"), SILENT)
def test_nothing_is_dropped_in_silence(wanted: ExportFormat, what: str, layout: Layout) -> None:
    """Each of these was left out, and nobody was told."""
    assert what in told(layout, wanted)
    assert what not in told(plan(layout_id="hall", name="hall"), wanted)


def test_a_plan_of_areas_alone_is_known_again_as_what_it_is() -> None:
    """It was taken for our own JSON, and refused for its members: `zones is no member here`."""
    floor = Section("Floor", "standing", area_id="floor", capacity=9, category="c")
    layout = plan(floor, type="standing")
    exported = export_layout(layout, "pretix")
    assert any("nothing that can be imported again" in line for line in exported.unsaid)
    answer = import_layout(exported.data, filename=exported.filename)
    assert isinstance(answer, Rejected)
    assert [violation.message for violation in answer.violations] == ["holds no seats and no areas"]
    for wanted in ("native", "seatsio", "csv"):
        assert areas_of(back(layout, wanted).layout) == [("Floor", 9, "c")]


@pytest.mark.parametrize("wanted", ["pretix", "seatsio"])
def test_a_plan_keeps_its_size_and_the_order_of_its_categories(wanted: ExportFormat) -> None:
    """A plan of 200 by 100 pixels came back as one of 1000 by 500, and a category of nothing came back as the last."""
    categories = (Category("Unused", "#aa0000"), Category("I", "#00bb00"))
    other = back(plan(viewport=Viewport(200, 100, "px"), categories=categories), wanted).layout
    assert other.viewport == Viewport(200, 100, "px")
    assert other.categories == categories


def test_the_edge_of_a_plan_is_on_it() -> None:
    """Positions that are added up end a breath beyond the edge: then all seats were moved to have room around it."""
    shape = Shape("area", ((0.8195, 0.11867), (0, 0), (0, 0.39446), (0, 1)))
    layout = plan(viewport=Viewport(1, 123.456, "px"), shapes=(shape,))
    assert back(layout, "pretix").layout.shapes == (shape,)


@pytest.mark.parametrize("size", [(0.1, 0.2), (0.12345, 0.24691), (0.5, 1.0)])
def test_a_round_table_stays_as_wide_and_as_high(size: tuple[float, float]) -> None:
    """It came back a pixel lower or higher, and nobody was told."""
    table = Table(0.5, 0.5, *size)
    layout = plan(Section("Stalls", "seated", (Row("T", SEATS, table=table),)))
    assert not {line for line in told(layout, "seatsio") if "oval" in line}
    assert back(layout, "seatsio").layout.sections[0].rows[0].table == table
    oval = msgspec.structs.replace(table, height=0.9)
    assert "oval tables: they are round there" in told(
        plan(Section("Stalls", "seated", (Row("T", SEATS, table=oval),))), "seatsio"
    )


def test_a_chart_keeps_tables_floors_colours_and_shapes() -> None:
    layout = seal_layout(theatre())
    other = back(layout, "seatsio").layout
    assert {section.name: section.floor for section in other.sections} == {
        section.name: section.floor for section in layout.sections
    }
    rows = {row.label: row for section in other.sections for row in section.rows}
    [table, bench] = [row for section in layout.sections for row in section.rows if row.table]
    assert (rows["T"].sold_whole, rows["U"].sold_whole, rows["A"].table) == (True, False, None)
    assert rows["U"].table == bench.table
    # Round tables have one radius there.
    assert (rows["T"].table, table.table) != (None, None)
    assert msgspec.structs.replace(rows["T"].table, height=0) == msgspec.structs.replace(table.table, height=0)
    assert {category.name: category.color for category in other.categories}["I"] == "#aa0000"
    assert [(shape.kind, shape.points) for shape in other.shapes] == [
        (shape.kind, tuple((round(x, 5), round(y, 5)) for x, y in shape.points)) for shape in layout.shapes
    ]


@pytest.mark.skipif(not CHARTS.is_dir(), reason="seats.io's sample charts are not beside this checkout")
@pytest.mark.parametrize("name", ["", "WithSections", "WithTables", "WithFloors"])
def test_sample_charts_go_both_ways(name: str) -> None:
    raw = (CHARTS / f"sampleChart{name}.json").read_bytes()
    answer = import_layout(raw, filename="chart.json")
    assert isinstance(answer, Imported), answer
    the_same_seats(answer.layout, back(answer.layout, "seatsio").layout, "seatsio")
    for wanted in EXPORT_FORMATS:
        assert_all_is_told(answer.layout, wanted)
    chart = json.loads(raw)
    listed = {category["label"] for category in chart["categories"]["list"]}
    assert listed == {category.name for category in answer.layout.categories}
    assert raw.count(b'"label-position') == 0 or answer.layout.sections
    counted = sum(len(row["seats"]) for row in _rows(chart))
    assert counted == index_layout(answer.layout).seat_count
    if name == "WithSections":
        assert any("entrance" in note for note in answer.notes)
    if name == "WithFloors":
        assert [section.floor for section in answer.layout.sections] == ["Floor 1", "Floor 2"]


def _rows(drawing: Any) -> list[dict[str, Any]]:
    found = []
    for key, value in drawing.items():
        if key in ("rows", "tables") and isinstance(value, list):
            found += value
        elif isinstance(value, dict):
            found += _rows(value)
        elif isinstance(value, list):
            found += [row for item in value if isinstance(item, dict) for row in _rows(item)]
    return found


SVG = """<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 200 100">
  <title>Little  hall</title>
  <defs><circle id="x_y_z" r="3"/></defs>
  <script>alert(1)</script>
  <rect data-kind="stage" data-label="Stage" x="50" width="100" height="10"/>
  <g data-section="Stalls" data-category="Front">
    <polygon data-section="Stalls" points="10,20 190,20 190,60 10,60"/>
    <g data-row="A" transform="translate(0 30)">
      <circle data-number="1" cx="20" r="3" onclick="alert(2)"/>
      <g transform="translate(10) scale(2)"><circle data-number="2" cx="10" r="1" data-accessible="yes"/></g>
    </g>
    <rect data-row="B" data-number="1" x="18" y="48" width="4" height="4" data-category="Back"/>
  </g>
  <circle id="Upper_x20_tier/C/7" cx="100" cy="70" r="2"/>
  <use xlink:href="#seat" id="Upper_x20_tier/C/8" x="110" y="70"/>
  <path d="M 10 80 H 190 V 99 H 10 Z" data-area="Floor" data-capacity="40" data-category="Standing"/>
  <path d="M0 0L1 1"/>
</svg>"""


def test_a_drawing_is_seats_areas_and_shapes() -> None:
    answer = import_layout(SVG.encode(), filename="hall.svg")
    assert isinstance(answer, Imported), answer
    layout = answer.layout
    assert (layout.name, layout.viewport.width, layout.viewport.height) == ("Little hall", 200, 100)
    found = {
        (s.name, row.label, seat.number): (round(seat.x * 200), round(seat.y * 100), seat.category)
        for s, row, seat in seats_of(layout)
    }
    assert found == {
        ("Stalls", "A", "1"): (20, 30, "Front"),
        ("Stalls", "A", "2"): (30, 30, "Front"),
        ("Stalls", "B", "1"): (20, 50, "Back"),
        ("Upper tier", "C", "7"): (100, 70, "Upper tier"),
        ("Upper tier", "C", "8"): (110, 70, "Upper tier"),
    }
    assert [seat.number for _, _, seat in seats_of(layout) if seat.accessible] == ["2"]
    assert areas_of(layout) == [("Floor", 40, "Standing")]
    assert layout.sections[0].outline == ((0.05, 0.2), (0.95, 0.2), (0.95, 0.6), (0.05, 0.6))
    assert [(shape.kind, shape.label) for shape in layout.shapes] == [("stage", "Stage")]
    assert "1 × <path> that says nothing of a place" in answer.notes
    assert b"alert" not in msgspec.json.encode(layout)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<svg><circle id="A_1_&b;"/></svg>'
)
WRONG = {
    "an entity bomb": (BOMB, "document type"),
    "an outside entity": ('<!DOCTYPE svg SYSTEM "file:///etc/passwd"><svg/>', "document type"),
    "no entity of XML's own": ("<svg>&nbsp;</svg>", "undefined entity"),
    "no end": ("<svg><g>", "no element found"),
    "another drawing": ("<html><svg/></html>", "begins with <html>"),
    "too deep": ("<svg>" + "<g>" * 100 + "</g>" * 100 + "</svg>", "nested too deeply"),
    "nothing": ("<svg/>", "no seats and no areas"),
    "a bad number": ('<svg><circle id="S_A_1" cx="left"/></svg>', "cx 'left'; a number is expected"),
    "a bad transform": ('<svg><g transform="turn(3)"/></svg>', "transform 'turn(3)'"),
    "a far place": ('<svg><circle id="S_A_1" cx="1e300"/></svg>', "lies beyond"),
    "no section": ('<svg><circle data-number="1" data-row="A"/></svg>', "is in no section"),
    "no capacity": ('<svg><path data-area="F" data-capacity="many"/></svg>', "data-capacity 'many'"),
    "a bad path": ('<svg><path id="S_A_1" d="L 1 1"/></svg>', "does not begin with M"),
    "a turn without end": ('<svg><g transform="rotate(1e999)"/></svg>', "transform 'rotate(1e999)'"),
    "a turn of two numbers": ('<svg><g transform="rotate(1 2)"/></svg>', "transform 'rotate(1 2)'"),
    "a million digits": (f'<svg><circle id="S_A_1" cx="{"1" * 100_000}q"/></svg>', "a number is expected"),
    "a viewBox of spaces": (f'<svg viewBox="{" " * 100_000}"/>', "four numbers are expected"),
    "a hexadecimal scale": ('<svg><g transform="scale(0x10)"/></svg>', "transform 'scale(0x10)'"),
    "words between the numbers": ('<svg><g transform="translate(1 and 2)"/></svg>', "transform 'translate(1 and 2)'"),
    "two commas": ('<svg><g transform="translate(1,,2)"/></svg>', "transform 'translate(1,,2)'"),
    "a transform of no numbers": ('<svg><g transform="scale()"/></svg>', "transform 'scale()'"),
    "a hexadecimal viewBox": ('<svg viewBox="0 0 0x10 5"/>', "viewBox '0 0 0x10 5'"),
    "a transform of spaces": (f'<svg><g transform="{" " * 100_000}q"/></svg>', "cannot be read"),
    "a path without end": (f'<svg><path id="S_A_1" d="M0 0{"T1 1" * 500}"/></svg>', "more than 2000 points"),
    "a path beyond all": (f'<svg><path id="S_A_1" d="{"M0 0" * 300_000}"/></svg>', "1200000 characters"),
    "a seat in an area": (
        '<svg><rect data-area="F" data-capacity="9"/><circle id="F/A/1"/></svg>',
        "'F', which is an area",
    ),
    "a section on two floors": (
        '<svg><g data-floor="1"><circle id="S/A/1"/></g><g data-floor="2"><circle id="S/B/1"/></g></svg>',
        "section 'S' is on floor '1'",
    ),
    "twice": ('<svg><circle id="S_A_1"/><circle id="S_A_1"/></svg>', "each seat is expected once"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_drawing_is_refused_in_words(name: str) -> None:
    text, message = WRONG[name]
    answer = import_layout(text.encode(), filename="hall.svg")
    assert isinstance(answer, Rejected)
    assert any(message in violation.message for violation in answer.violations), answer.violations


@pytest.mark.parametrize("path", ["A1e-200 1e-200 0 0 0 10 10", "A1 1 0 0 0 1e-200 0"])
def test_an_arc_that_nobody_sees_is_a_line(path: str) -> None:
    answer = import_layout(f'<svg><path id="S/A/1" d="M0 0 {path}"/></svg>'.encode(), filename="hall.svg")
    assert isinstance(answer, Imported), answer


def test_half_a_character_names_no_section() -> None:
    raw = b'<svg><circle id="S_xD800_/A/1"/></svg>'
    refused = import_layout(raw, filename="hall.svg", standing=("Q",))
    assert isinstance(refused, Rejected)
    msgspec.json.encode(refused.violations)
    answer = import_layout(raw, filename="hall.svg")
    assert isinstance(answer, Imported), answer
    assert answer.layout.sections[0].name == "S-xD800-"


CHART: dict[str, Any] = {
    "name": "Chart",
    "categories": {"list": [{"label": "A", "key": "a", "color": "red"}]},
    "subChart": {
        "width": 100,
        "height": 100,
        "rows": [{"label": "1", "seats": [{"label": "1", "x": 5, "y": 5, "categoryKey": "a"}]}],
        "booths": [{"label": "B1", "center": {"x": 50, "y": 50}, "categoryKey": "a"}],
        "generalAdmissionAreas": [{"label": "Floor", "capacity": 0}],
        "texts": [{"text": "Way out"}],
        "sections": [
            {
                "label": "Half size",
                "points": [{"x": 50, "y": 0}, {"x": 100, "y": 0}, {"x": 100, "y": 50}, {"x": 50, "y": 50}],
                "topLeft": {"x": 50, "y": 0},
                "categoryLabel": "A",
                "subChart": {
                    "width": 100,
                    "height": 100,
                    "rows": [{"label": "1", "seats": [{"label": "1", "x": 50, "y": 50, "plusSize": True}]}],
                },
            }
        ],
    },
}


def test_a_chart_in_detail() -> None:
    answer = import_layout(json.dumps(CHART).encode(), filename="chart.json")
    assert isinstance(answer, Imported), answer
    found = {
        (s.name, row.label, seat.number): (seat.x, seat.y, seat.category) for s, row, seat in seats_of(answer.layout)
    }
    assert found == {
        ("Main", "1", "1"): (0.05, 0.05, "A"),
        ("Main", "Booths", "B1"): (0.5, 0.5, "A"),
        ("Half size", "1", "1"): (0.75, 0.25, "A"),
    }
    assert {note.partition(" × ")[2] or note for note in answer.notes} == {
        "booths that became seats: a layout has no booths",
        "colours of categories that are not written as #rrggbb",
        "areas without places",
        "texts: a layout has none",
        "subChart.sections[0]: its content is drawn 2 times as large; it was fitted in",
    }
    assert [seat.features for *_, seat in seats_of(answer.layout) if seat.features] == [("plus_size",)]
    # What is of the wrong kind is told by its path.
    broken = json.loads(json.dumps(CHART))
    broken["subChart"]["rows"][0]["seats"][0]["x"] = "left"
    broken["subChart"]["rows"][0]["seats"][0]["accessible"] = 1
    refused = import_layout(json.dumps(broken).encode(), filename="chart.json")
    assert isinstance(refused, Rejected)
    assert {violation.path for violation in refused.violations} == {
        "subChart.rows[0].seats[0].x",
        "subChart.rows[0].seats[0].accessible",
    }


def _floor(name: str, *sections: tuple[str, int]) -> dict[str, Any]:
    drawn = [
        {
            "label": label,
            "points": [{"x": 0, "y": 0}, {"x": 9, "y": 0}, {"x": 9, "y": 9}],
            "subChart": {
                "width": 9,
                "rows": [{"label": "A", "seats": [{"label": str(n), "x": n, "y": 1} for n in range(count)]}],
            },
        }
        for label, count in sections
    ]
    return {"floorName": name, "width": 100, "height": 100, "sections": drawn}


def test_a_section_keeps_its_seats_where_another_floors_of_its_name_has_none() -> None:
    floors = [_floor("1", ("B", 0), ("\x1b[31m", 0)), _floor("2", ("B", 3))]
    answer = import_layout(json.dumps({"venueType": "", "subChartFloors": floors}).encode(), filename="chart.json")
    assert isinstance(answer, Imported), answer
    assert [(each.name, each.floor, len(each.rows[0].seats)) for each in answer.layout.sections] == [("B", "2", 3)]
    # What a name holds is not written to anybody's terminal.
    assert [note for note in answer.notes if "left out" in note] == [
        "2 sections without any place were left out: 'B', '\\x1b[31m'"
    ]


def test_a_chart_without_a_size_has_a_focal_point_all_the_same() -> None:
    drawing = {"width": 0, "height": 0, "focalPoint": {"x": 1, "y": 1}}
    chart = {"subChart": {**drawing, "generalAdmissionAreas": [{"label": "Floor", "capacity": 5}]}}
    answer = import_layout(json.dumps(chart).encode(), filename="chart.json")
    assert isinstance(answer, Imported), answer
    assert areas_of(answer.layout) == [("Floor", 5, "Floor")]


def test_seats_at_the_edge_and_on_no_floor_come_back_where_they_were() -> None:
    def row(label: str, y: float) -> Row:
        return Row(label, tuple(Seat(str(number), number / 2, y, "c") for number in range(3)))

    # Invented outlines end with the plan, and a section is not named after the floor that it is only drawn on.
    sections = (
        Section("Main", "seated", (row("A", 0.0),)),
        Section("Upper", "seated", (row("A", 1.0),), floor="2"),
        Section("Pit", "standing", area_id="pit-left", capacity=5, category="c"),
    )
    shapes = (Shape("area", ((0.1, 0.1), (0.2, 0.1), (0.2, 0.2)), "Bar", "Roof"),)
    layout = seal_layout(Layout("hall", "Hall", "hybrid", Viewport(1000, 1000), sections, shapes=shapes))
    the_same_seats(layout, back(layout, "seatsio").layout, "seatsio")
    one_floor = msgspec.structs.replace(layout, sections=(sections[0], sections[2]))
    assert "floors of shapes" in told(seal_layout(one_floor), "seatsio")
    for wanted in ("seatsio", "csv"):
        assert "ids of areas: theirs are made of their names" in told(layout, wanted)
