"""What an import cannot keep is said, or refused with its reason; it is never dropped in silence. Each of these was."""

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_exporters import _floor

from lml_live import limits
from lml_live.venues.importers import Imported, Rejected, import_layout
from lml_live.venues.importers.draft import Box, Spot
from lml_live.venues.importers.placing import _corner
from lml_live.venues.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
FOREIGN = (
    *("charts/sampleChart", "charts/sampleChartWithFloors", "charts/sampleChartWithSections"),
    *("charts/sampleChartWithTables", "venues/pretix-plan-two-floor-738"),
)


def imported(tree: Any, filename: str = "chart.json", **how: Any) -> Imported:
    raw = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    answer = import_layout(raw, filename=filename, **how)
    assert isinstance(answer, Imported), answer
    return answer


def rows_of(layout: Layout) -> dict[str, dict[str, int]]:
    return {each.name: {row.label: len(row.seats) for row in each.rows} for each in layout.sections}


def test_a_section_of_one_name_on_two_floors_is_two_sections() -> None:
    """It was refused: `is 'B', the name of sections[0] too`."""
    floors = [_floor("Stalls", ("A", 1), ("B", 2)), _floor("Balcony", ("B", 3), ("B (Stalls)", 1))]
    answer = imported({"venueType": "", "subChartFloors": floors})
    assert [(each.name, each.floor) for each in answer.layout.sections] == [
        ("A", "Stalls"),
        ("B (Stalls) 2", "Stalls"),  # somebody is called so already
        ("B (Balcony)", "Balcony"),
        ("B (Stalls)", "Balcony"),
    ]
    assert [(each.before, each.after) for each in answer.renamings] == [("B", "B (Stalls) 2"), ("B", "B (Balcony)")]
    raw = json.dumps({"venueType": "", "subChartFloors": floors}).encode()
    assert isinstance(import_layout(raw, filename="chart.json", strict=True), Rejected), "strict means: no renaming"
    twice = [_floor("Stalls", ("A", 1), ("A", 2)), _floor("Balcony", ("A", 3))]
    raw = json.dumps({"venueType": "", "subChartFloors": twice}).encode()
    assert isinstance(import_layout(raw, filename="chart.json"), Rejected), "two on one floor are a mistake"


def test_a_table_of_a_rows_label_stays_a_table() -> None:
    """Its seats went into the row, which then stood around the table."""

    def seats(*labels: str) -> list[dict[str, Any]]:
        return [{"label": label, "x": at, "y": 1} for at, label in enumerate(labels)]

    table = {"label": "A", "center": {"x": 5, "y": 5}, "radius": 1, "seats": seats("3", "4", "5")}
    rows = [{"label": "A", "seats": seats("1", "2")}, {"label": "A", "seats": seats("9")}]
    answer = imported({"subChart": {"width": 9, "height": 9, "rows": rows, "tables": [table, table]}})
    assert rows_of(answer.layout) == {"Main": {"A": 3, "A 2": 3, "A 3": 3}}
    assert [row.table is not None for row in answer.layout.sections[0].rows] == [False, True, True]
    assert [(each.before, each.after) for each in answer.renamings] == [("A", "A 2"), ("A", "A 3")]
    assert "1 × rows of a label that their section has before: each is one row with it" in answer.notes


def ring(points: int) -> list[dict[str, float]]:
    turns = [math.tau * at / points for at in range(points)]
    return [{"x": 50 + 50 * math.cos(turn), "y": 50 + 50 * math.sin(turn)} for turn in turns]


def test_an_outline_of_too_many_points_keeps_its_form_and_that_is_said() -> None:
    """It was cut off: a ring became a slice of itself."""
    seat = {"label": "1", "x": 50, "y": 50}
    section = {
        "label": "A",
        "points": ring(5_000),
        "subChart": {"width": 100, "rows": [{"label": "1", "seats": [seat]}]},
    }
    shape = {"points": ring(4_000), "smartType": "stage"}
    chart = {"subChart": {"width": 100, "height": 100, "sections": [section], "shapes": [shape]}}
    answer = imported(chart)
    for points in (answer.layout.sections[0].outline, answer.layout.shapes[0].points):
        assert limits.OUTLINE_POINTS_MAX / 2 < len(points) <= limits.OUTLINE_POINTS_MAX
        assert min(x for x, _ in points) < 0.001
        assert max(y for _, y in points) > 0.999
    assert "2 × outlines of more than 2,000 points: some in between were left out" in answer.notes
    area = {"shape": "polygon", "position": {"x": 0, "y": 0}, "polygon": {"points": ring(5_000)}}
    row = {"row_number": "1", "seats": [{"seat_number": "1", "position": {"x": 50, "y": 50}}]}
    plan = {"name": "P", "zones": [{"name": "A", "rows": [row], "areas": [area]}]}
    assert "1 × outlines of more than 2,000 points: some in between were left out" in imported(plan).notes


def test_a_plan_in_huge_units_keeps_its_proportion_and_that_is_said() -> None:
    """A plan in kilometres was rounded to one of no size, and refused for that."""
    answer = imported(b"section,row,number,x,y\nA,1,1,0,0\nA,1,2,0.0002,0.0001\n", "seats.csv")
    width, height = answer.layout.viewport.width, answer.layout.viewport.height
    assert width / height == pytest.approx(0.0212 / 0.0112, rel=0.01)
    assert any("units 1/" in note for note in answer.notes), answer.notes
    # One that no number of a unit's parts makes large enough is refused: it was a fault of ours.
    answer = import_layout(b"section,row,number,x,y\nA,1,1,0,0\nA,1,2,1e-320,1e-320\n", filename="seats.csv")
    assert isinstance(answer, Rejected)
    assert {violation.path for violation in answer.violations} == {"viewport.width", "viewport.height"}


@pytest.mark.parametrize(
    ("bound", "raw", "filename"),
    [
        ("LAYOUT_JSON_VALUES_MAX", b'{"name": "x", "sections": [[], []]}', "hall.json"),
        ("TABLE_CELLS_MAX", b"section,row,number\nA,1,1\nA,1,2\n", "hall.csv"),
        ("LAYOUT_SEATS_MAX", b'<svg><text id="A/1/1"/><text id="A/1/2"/></svg>', "hall.svg"),
    ],
)
def test_what_would_fill_the_memory_is_refused_in_words(
    bound: str, raw: bytes, filename: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few bytes can be many values: 64 MiB of `[],` took 1.9 GB."""
    monkeypatch.setattr(limits, bound, 1)
    answer = import_layout(raw, filename=filename)
    assert isinstance(answer, Rejected)
    assert [each for each in answer.violations if "at most 1 " in each.message or "more than 1 " in each.message]


def test_the_part_of_a_corner_that_is_walked_has_all_of_its_spots() -> None:
    """All of a stadium's corners were walked for each row of each stand: three million steps."""

    def walked(centre: Spot, radius: float, first: float, box: Box, step: float) -> list[Spot]:
        count = math.floor(radius * math.pi / 2 / step)
        angles = [first + (at + 0.5) * (math.pi / 2) / count for at in range(count)]
        spots = [(centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)) for angle in angles]
        return [spot for spot in spots if box.contains(spot)]

    chance, found = random.Random(6), 0
    for _ in range(400):
        box = Box(chance.uniform(-9, 9), chance.uniform(-9, 9), chance.choice((0.0, 4.0, 12.0)), chance.uniform(0, 12))
        centre, radius = (chance.uniform(-8, 8), chance.uniform(-8, 8)), chance.choice((0.0, 1.0, 6.0, 15.0))
        how = (centre, radius, chance.choice((-1, 0, 1, 2)) * math.pi / 2, box, chance.uniform(0.2, 2))
        spots = _corner(*how)
        assert spots == walked(*how)
        found += len(spots)
    assert found > 40


# --- Whatever a file says is in the layout, or in the notes

SAID_TWICE = (
    *("objectType", "displayObjectType", "venueType"),  # its place says what a thing is
    *("key", "categoryKey", "categoryLabel"),  # of a category's key and name each says what the other does
    "sections.subChart.height",  # a section is as high as its outline
    "tables.type",  # one with a radius is round
    *("text.position.x", "text.position.y"),  # counted with the text's place and colour
)
CHART: dict[str, Any] = {
    "name": "Chart",
    "categories": {
        "list": [{"label": "A", "key": 1, "color": "#FF0000"}, {"label": "A", "key": 2, "color": "#00FF00"}]
    },
    "subChart": {
        "width": 100,
        "height": 100,
        "shapes": [{"points": [{"x": 1, "y": 1}], "label": "Bar", "fillColor": "#D0D1D2", "strokeColor": "#E8E8E9"}],
        "generalAdmissionAreas": [
            {"label": "Floor", "capacity": 9, "categoryKey": 1, "variableOccupancy": True, "minOccupancy": 2}
        ],
        "rows": [{"label": "1", "seats": [{"label": "1", "x": 5, "y": 5, "categoryKey": 1, "extraWide": True}]}],
    },
}
PLAN: dict[str, Any] = {
    "name": "Plan",
    "categories": [{"name": "A", "color": "#FF0000"}],
    "zones": [
        {
            "name": "Stalls",
            "zone_id": "z",
            "uuid": "u",
            "rows": [
                {
                    "row_number": "A",
                    "row_label": "Row A",
                    "row_number_position": "start",
                    "seats": [{"seat_number": "1", "seat_guid": "g", "category": "A", "radius": 5}],
                }
            ],
            "areas": [
                {
                    "shape": "rectangle",
                    "rectangle": {"width": 9, "height": 9},
                    "color": "#CBEEB3",
                    "text": {"text": "Bar", "color": "#333333"},
                }
            ],
        }
    ],
}


def test_what_a_chart_has_and_a_layout_has_not_is_counted() -> None:
    """Occupancies and colours of shapes were left out in silence."""
    assert set(imported(CHART).notes) == {
        "1 × areas of variable occupancy: theirs are so many places here",
        "1 × categories that are listed twice: the first is kept",
        "1 × least and most occupancies of areas: a layout has none",
        "1 × seats: their 'extraWide', which a layout has not",
        "2 × colours of shapes: a layout has none",
    }


def test_what_a_plan_of_pretix_has_and_a_layout_has_not_is_counted() -> None:
    """Seats' own ids, places of row numbers and colours of areas were left out in silence."""
    assert set(imported(PLAN).notes) == {
        "1 × colours of areas: a layout has none",
        "1 × ids of seats: here they are made of labels",
        "1 × labels of rows and seats beside their numbers: a layout has one of them",
        "1 × places of row numbers in the drawing",
        "1 × places, sizes and colours of texts in areas",
        "1 × sizes of seats: a layout has none",
        "2 × ids of zones, rows and areas: a layout has none",
    }


def test_columns_that_nothing_is_made_of_are_told() -> None:
    """A table's prices were left out in silence."""
    notes = imported(b"section,row,number,price,empty\nA,1,1,9,\n", "seats.csv").notes
    assert "Columns that nothing is made of: 'price'" in notes
    header = ",".join(f"c{number}" for number in range(30))
    notes = imported(f"section,row,number,{header}\nA,1,1{',x' * 30}\n".encode(), "seats.csv").notes
    assert any("'c19' and 10 more" in note for note in notes)


def test_members_that_nobody_knows_are_told_and_do_not_fill_the_screen() -> None:
    named = {f"member{number}": "\x1b[31m" for number in range(200)}
    notes = imported({**CHART, **named}).notes
    assert sum("which a layout has not" in note for note in notes) == 50
    assert [note for note in notes if note.endswith("more members that a layout has not")]


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the texts, numbers and flags of a tree are, in the first three things of each array."""
    pairs: Any = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for name, member in pairs:
        if isinstance(member, (dict, list)):
            yield from leaves(member, (*path, name))
        elif member not in (None, ""):
            yield (*path, name)


def otherwise(tree: Any, path: tuple[str | int, ...]) -> Iterator[Any]:
    """The tree without a member, without what it is a member of, and with another one in its place."""
    for away in (path, path[:-1], None):
        copied = json.loads(json.dumps(tree))
        inner = copied
        for step in (away or path)[:-1]:
            inner = inner[step]
        if away and isinstance(away[-1], str):
            del inner[away[-1]]
        elif not away:
            value = inner[path[-1]]
            other = not value if isinstance(value, bool) else value + ("x" if isinstance(value, str) else 1)
            inner[path[-1]] = other
        yield copied


@pytest.mark.skipif(not DATA.is_dir(), reason="the foreign files are not beside this checkout")
@pytest.mark.parametrize("name", FOREIGN)
def test_each_member_of_a_real_file_changes_the_layout_or_the_notes(name: str) -> None:
    tree = json.loads((DATA / f"{name}.json").read_bytes())
    whole = imported(tree)
    silent: dict[str, bool] = {}
    for path in leaves(tree):
        kind = ".".join(step for step in path if isinstance(step, str))
        if kind.endswith(SAID_TWICE) or silent.get(kind) is False:
            continue
        without, without_all, changed = (
            import_layout(json.dumps(each).encode(), filename="chart.json") for each in otherwise(tree, path)
        )
        # What it is in may be counted as a whole, and is then of no matter to the layout.
        counted = isinstance(without_all, Imported) and without_all.layout == whole.layout
        silent[kind] = without == whole and changed == whole and not (counted and without_all != whole)
    assert [kind for kind, is_silent in silent.items() if is_silent] == []
