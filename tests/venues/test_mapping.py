"""The mapping language: paths, values, runs, outlines, counts, and rows placed inside outlines."""

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lml_live import limits
from lml_live.venues.importers import Imported, Rejected, import_layout
from lml_live.venues.importers.draft import Box, DraftSeat, DraftSection
from lml_live.venues.importers.mapping_language import Element, PathError, ValueRule, elements, look_up, text_at
from lml_live.venues.importers.outlines import OutlineError, read_outlines
from lml_live.venues.importers.placing import place_in_outlines
from lml_live.venues.importers.runs import RunsError, expand_runs
from lml_live.venues.layout import count_places, seats_of

STADIUM = {
    "name": "Ground",
    "total": 13,
    "stands": [
        {
            "stand": "west",
            "sectors": [
                {
                    "sector": "W_1",
                    "count": 8,
                    "shape": "M0 0 h40 v20 h-40 z",
                    "rows": [{"row": "1", "seats": "3", "n": 3}, {"row": 2, "seats": "1-2,5-7", "n": 5}],
                },
                {"sector": "VIP", "count": 5, "shape": None, "rows": [{"row": "1", "seats": "5-1", "n": 5}]},
            ],
        }
    ],
}
MAPPING = {
    "name": "name",
    "sections": {
        "each": "stands[*].sectors[*]",
        "section": {"join": ["^.stand", "sector"], "separator": " "},
        "outline": "shape",
        "count": "count",
    },
    "places": {
        "each": "stands[*].sectors[*].rows[*]",
        "section": {"join": ["^^.stand", "^.sector"]},
        "row": "row",
        "numbers": "seats",
        "count": "n",
        "category": {"path": "^.sector", "replace": {"V*": "VIP"}, "otherwise": {"text": "Standard"}},
    },
    "expect": {"places": "total", "sections": "sections_total"},
}


def run(tree: object, **changes: Any) -> Imported | Rejected:
    how = {name: changes.pop(name) for name in ("strict", "standing") if name in changes}
    mapping = {**MAPPING, "expect": {"places": "total"}, **changes}
    return import_layout(json.dumps(tree).encode(), filename="g.json", mapping=json.dumps(mapping).encode(), **how)


def faults(answer: Imported | Rejected) -> dict[str, str]:
    assert isinstance(answer, Rejected)
    return {violation.path: violation.message for violation in answer.violations}


def test_a_stadium_by_mapping() -> None:
    answer = run(STADIUM)
    assert isinstance(answer, Imported)
    layout = answer.layout
    assert [section.name for section in layout.sections] == ["west W-1", "west VIP"]
    assert count_places(layout) == 13
    assert [seat.number for seat in layout.sections[0].rows[1].seats] == ["1", "2", "5", "6", "7"]
    assert {seat.category for _, _, seat in seats_of(layout)} == {"VIP", "Standard"}
    assert any("inside their outlines" in note for note in answer.notes)
    assert any("grid of straight rows" in note for note in answer.notes)


def changed(path: str, value: object) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(json.dumps(STADIUM))
    node: Any = tree
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in way:
        node = node[step]
    node[last] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "where", "message"),
    [
        ("total", 14, "total", "says 14 places; 13 were found"),
        ("stands.0.sectors.0.count", 9, "stands[0].sectors[0]", "has 8 seats; the file's own count is 9"),
        ("stands.0.sectors.0.rows.0.n", 4, "stands[0].sectors[0].rows[0]", "the file's own count is 4"),
        ("stands.0.sectors.0.rows.1.seats", "1-x", "stands[0].sectors[0].rows[1]", "runs such as 1-8,19-36"),
        ("stands.0.sectors.0.rows.1.seats", "1-3,3-4", "stands[0].sectors[0].rows[1]", "expected once"),
        ("stands.0.sectors.0.rows.1.seats", {}, "stands[0].sectors[0].rows[1]", "text or a number is expected"),
        ("stands.0.sectors.0.shape", "M0 0 L9", "stands[0].sectors[0]", "does not have 2 numbers"),
        ("stands.0.sectors.0.count", "many", "stands[0].sectors[0]", "a whole number is expected"),
        ("stands", 5, "mapping.places.each", "leads to nothing"),
    ],
)
def test_a_fault_of_the_file_is_told_with_its_path(path: str, value: object, where: str, message: str) -> None:
    found = faults(run(changed(path, value)))
    assert message in found[where]


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({"places": {"each": "a[*]", "section": "s", "row": "r"}}, "mapping.places", "one of number"),
        ({"expect": {"doors": "total"}}, "mapping.expect", "names doors"),
        ({"colour": "red"}, "mapping", "unknown field"),
        ({"move": {"Nowhere": {"dx": 1}}}, "mapping.move", "no section of the file"),
        ({"field": [1, 2, 3]}, "mapping", "cannot be used"),
        ({"canvas": "total"}, "mapping.canvas", "[x, y, width, height] is expected"),
        ({"places": {**MAPPING["places"], "each": "stands[*"}}, "mapping", "is no path"),  # type: ignore[dict-item]
        ({"places": {**MAPPING["places"], "row": "^^^^^.x"}}, "stands[0].sectors[0].rows[0]", "further out"),  # type: ignore[dict-item]
    ],
)
def test_a_fault_of_the_mapping_is_told(changes: dict[str, Any], where: str, message: str) -> None:
    assert message in faults(run(STADIUM, **changes))[where]


def test_strict_refuses_to_rename() -> None:
    assert "would be renamed to 'west W-1'" in faults(run(STADIUM, strict=True))["stands[0].sectors[0]"]


def test_standing_takes_the_files_name_or_the_tidied_one() -> None:
    for name in ("west W_1", "west W-1"):
        answer = run(STADIUM, standing=(name,))
        assert isinstance(answer, Imported)
        assert [section.kind for section in answer.layout.sections] == ["standing", "seated"]
        assert count_places(answer.layout) == 13


def test_a_table_by_mapping_with_filter_tiles_and_moves() -> None:
    table = "zone,kind,row,no,c,r\nA,seat,1,1,1,1\nA,aisle,,,2,1\nB,seat,1,1,1,1\nB,seat,1,2,3,1\nB,seat,1,3,2,1\n"
    places = {"each": "[*]", "where": {"kind": ["seat"]}, "section": "zone", "row": "row", "number": "no"}
    mapping = {"name": "[0].zone", "places": {**places, "x": "c", "y": "r", "order": "place"}, "tile": True}
    answer = import_layout(table.encode(), filename="t.csv", mapping=json.dumps(mapping).encode())
    assert isinstance(answer, Imported)
    assert answer.layout.name == "A"
    assert [seat.number for seat in answer.layout.sections[1].rows[0].seats] == ["1", "3", "2"]
    assert not answer.warnings
    mapping["tile"] = False
    together = import_layout(table.encode(), filename="t.csv", mapping=json.dumps(mapping).encode())
    assert isinstance(together, Imported)
    assert len(together.warnings) == 1
    mapping["move"] = {"B": {"dy": 5}}
    apart = import_layout(table.encode(), filename="t.csv", mapping=json.dumps(mapping).encode())
    assert isinstance(apart, Imported)
    assert not apart.warnings


@pytest.mark.parametrize(
    ("text", "count", "numbers"),
    [
        ("27", 27, [str(number) for number in range(1, 28)]),
        ("27", 1, ["27"]),
        ("1", 1, ["1"]),
        ("1-3,7", None, ["1", "2", "3", "7"]),
        ("8 - 6", 3, ["8", "7", "6"]),
        ("1–2", None, ["1", "2"]),
        ("27", None, "names `count`"),
        ("27", 26, "the file's own count is 26"),
        ("1-3", 4, "the file's own count is 4"),
        ("0", 0, "seats are expected"),
        ("", None, "runs such as"),
        ("1-", None, "runs such as"),
        ("a", None, "runs such as"),
        ("1-999999", None, "seats are expected"),
        ("9" * 50, 9, "seats are expected"),
    ],
)
def test_runs(text: str, count: int | None, numbers: list[str] | str) -> None:
    if isinstance(numbers, list):
        assert expand_runs(text, count) == numbers
    else:
        with pytest.raises(RunsError, match=numbers.replace("names", "name")):
            expand_runs(text, count)


@given(runs=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=2, max_size=5))
def test_runs_expand_to_what_they_say(runs: list[tuple[int, int]]) -> None:
    expected = [number for a, b in runs for number in range(a, b + (1 if b >= a else -1), 1 if b >= a else -1)]
    assert expand_runs(",".join(f"{a}-{b}" for a, b in runs)) == [str(number) for number in expected]


@pytest.mark.parametrize(
    ("value", "polygons"),
    [
        ([[0, 0], [1, 0], [1, 1]], [[(0, 0), (1, 0), (1, 1)]]),
        ([{"x": 0, "y": 0}, {"x": "1", "y": 0}, {"x": 1, "y": 1}], [[(0, 0), (1, 0), (1, 1)]]),
        ("0,0 1,0 1,1", [[(0, 0), (1, 0), (1, 1)]]),
        ({"type": "polygon", "points": "0,0 1,0 1,1"}, [[(0, 0), (1, 0), (1, 1)]]),
        ({"type": "rect", "x": "1", "y": 2, "width": 3, "height": 4}, [[(1, 2), (4, 2), (4, 6), (1, 6)]]),
        ("M1 1l2 0 0 2-2 0z", [[(1, 1), (3, 1), (3, 3), (1, 3)]]),
        ("M1,1H3V3H1Zm10,0h2v2z", [[(1, 1), (3, 1), (3, 3), (1, 3)], [(11, 1), (13, 1), (13, 3)]]),
        ([{"d": "M0 0h1v1z"}, {"points": []}], [[(0, 0), (1, 0), (1, 1)]]),
        ([], []),
        ([[0, 0], [1, 1]], []),
    ],
)
def test_outlines_in_every_spelling(value: object, polygons: list[Any]) -> None:
    assert read_outlines(value) == polygons


@pytest.mark.parametrize(
    "value",
    [
        5,
        None,
        "red",
        "L0 0",
        "M0",
        "M0 0 X1",
        "0,0 1",
        [[0, "a"]],
        [[0, math.inf]],
        [[0, 1e300]],
        {"d": 5},
        [[True, 0]],
    ],
)
def test_broken_outlines_are_refused(value: object) -> None:
    with pytest.raises(OutlineError):
        read_outlines(value)


@pytest.mark.parametrize(
    "path", ["M0 0C0 0 4 8 8 0", "M0 0Q4 8 8 0", "M0 0A4 4 0 0 0 8 0", "M0 0c0 0 4 8 8 0s4 -8 8 0"]
)
def test_curves_become_pieces_that_bulge(path: str) -> None:
    (polygon,) = read_outlines(path)
    assert len(polygon) >= 9
    assert max(y for _, y in polygon) > 1
    assert polygon[-1][1] == pytest.approx(0)


def test_paths_and_values_of_an_element() -> None:
    root = Element({"name": "N", "list": [1, {"a": "b_c"}], "items": [{"x": 1.0, "on": True}]}, "")
    (item,) = elements(root, "items[*]")
    assert (item.path, look_up(item, "x"), look_up(item, "$.list[1].a"), look_up(item, "^.name")) == (
        "items[0]",
        1.0,
        "b_c",
        "N",
    )
    assert [text_at(item, rule) for rule in ("x", "on", "@.x", "missing")] == ["1", "true", "1", ""]
    assert text_at(item, ValueRule(path="missing", default="d")) == "d"
    assert text_at(item, ValueRule(path="$.list[1].a", strip=["x", "b_"])) == "c"
    assert text_at(item, ValueRule(join=["x", "missing", ValueRule(text="t")], separator="/")) == "1/t"
    with pytest.raises(PathError):
        text_at(item, "$.list")


def inside(x: float, y: float, box: Box) -> bool:
    return box.x <= x <= box.x + box.width and box.y <= y <= box.y + box.height


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    field=st.sampled_from([None, Box(0, 0, 0, 0), Box(-50, -80, 100, 40), Box(30, 0, 10, 10)]),
)
def test_placed_rows_stay_inside_and_apart(counts: list[int], field: Box | None) -> None:
    """Also across the gap between two tiers: no seat outside the outlines, no two on one place."""
    tiers = [Box(0, 20, 60, 15), Box(0, 45, 60, 30)]
    outlines = [
        [
            (box.x, box.y),
            (box.x + box.width, box.y),
            (box.x + box.width, box.y + box.height),
            (box.x, box.y + box.height),
        ]
        for box in tiers
    ]
    seats = [DraftSeat(str(row), str(number), "") for row, count in enumerate(counts) for number in range(count)]
    section = DraftSection("S", "", seats, outlines)
    assert place_in_outlines(section, field)
    spots = [seat.spot for seat in section.seats if seat.spot is not None]
    assert len({(round(x, 6), round(y, 6)) for x, y in spots}) == sum(counts)
    grown = [Box(box.x - 1, box.y - 1, box.width + 2, box.height + 2) for box in tiers]
    assert all(any(inside(x, y, box) for box in grown) for x, y in spots)


def test_too_many_seats_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYOUT_SEATS_MAX", 5)
    assert any("at most 5" in message or "5 seats" in message for message in faults(run(STADIUM)).values())


def spread(outlines: list[list[tuple[float, float]]], counts: list[int]) -> list[float]:
    """How far neighbours are apart after they were placed."""
    seats = [DraftSeat(str(row), str(at), "") for row, count in enumerate(counts) for at in range(count)]
    assert place_in_outlines(DraftSection("S", "", seats, outlines), None)
    spots: dict[str, list[tuple[float, float]]] = {}
    for seat in seats:
        assert seat.spot is not None
        spots.setdefault(seat.row, []).append(seat.spot)
    return sorted(math.dist(one, other) for row in spots.values() for one, other in itertools.pairwise(row))


@settings(max_examples=100)
@given(lean=st.integers(-40, 40), rows=st.integers(3, 45), seats=st.integers(5, 45), more=st.integers(0, 2))
def test_no_row_is_squeezed_into_the_tip_of_an_outline(lean: int, rows: int, seats: int, more: int) -> None:
    """The first and the last row of a stand whose sides lean stood in its corners: 40 seats on the place of two."""
    outline = [(0.0, 0.0), (100.0, float(lean)), (100.0, 100.0 + lean), (0.0, 100.0)]
    apart = spread([outline], [seats + row * more for row in range(rows)])
    assert apart[0] > 0.4 * apart[len(apart) // 2], "nearer than that they cover one another"


def test_a_row_stands_where_there_is_room_and_not_just_before_it() -> None:
    """Behind a narrow way between two wide parts the first row stood in the way still: 20 seats on the place of six."""
    right = [(650.0, 479.0), (650.0, 600.0), (618.0, 600.0), (618.0, 552.0), (640.0, 552.0)]
    left = [(640.0, 535.0), (629.0, 535.0), (629.0, 504.0), (620.0, 504.0), (620.0, 479.0)]
    apart = spread([[*right, *left]], [18] * 6 + [13] * 12 + [6] * 6 + [20] * 17)
    assert apart[0] > 0.4 * apart[len(apart) // 2], "nearer than that they cover one another"


def test_few_seats_beside_a_full_row_keep_together() -> None:
    """Eight seats over the whole width made the 34 of the row before them look as if they lay on one another."""
    apart = spread([[(0.0, 0.0), (70.0, 0.0), (70.0, 22.0), (0.0, 22.0)]], [34, 8, 8, 8, 8, 8])
    assert apart[0] > 0.4 * apart[len(apart) // 2], "nearer than that they cover one another"


TIERS = ["M0 0 h40 v20 h-40 z", "M0 30 v20 h40 v-20 z"]
"""Drawn one way around and the other."""


def two_tiers(shape: list[str], *more: dict[str, Any]) -> Imported:
    rows = [{"row": str(at), "seats": f"1-{9}", "n": 9} for at in range(10)]
    first = {"sector": "A", "count": 90, "shape": shape, "rows": rows}
    tree = {"name": "Ground", "total": 90 * (1 + len(more)), "stands": [{"stand": "west", "sectors": [first, *more]}]}
    answer = run(tree, field=[0, -40, 40, 20])
    assert isinstance(answer, Imported), answer
    return answer


def test_a_section_in_two_pieces_has_one_outline_around_both() -> None:
    """Its outline was the larger piece, and the editor warned of all seats in the other."""
    answer = two_tiers(TIERS)
    assert not [warning for warning in answer.warnings if warning.rule == "outside"]
    assert not answer.layout.shapes
    [section] = answer.layout.sections
    assert len({y for _, y in section.outline}) == 4, "above and below each piece"
    assert len(section.outline) == 10, "both pieces, and a line there and back"


@pytest.mark.parametrize(
    ("shape", "more"),
    [
        (["M0 0 h40 v50 h-40 z", "M5 5 h10 v10 h-10 z"], []),
        (TIERS, [{"sector": "B", "count": 90, "shape": "M0 29 h40 v22 h-40 z"}]),
        (TIERS, [{"sector": "B", "count": 90, "shape": ["M50 0 h40 v20 h-40 z", "M0 30 h40 v20 h-40 z"]}]),
    ],
    ids=["one in the other", "on another section", "on another's piece"],
)
def test_pieces_that_would_be_in_the_way_stay_apart(shape: list[str], more: list[dict[str, Any]]) -> None:
    rows = [{"row": str(at), "seats": "1-9", "n": 9} for at in range(10)]
    answer = two_tiers(shape, *({**each, "rows": rows} for each in more))
    assert not [note for note in answer.notes if "decoration" in note], "nobody lost an outline"
    assert all(section.outline for section in answer.layout.sections)
    assert "section" in {drawn.kind for drawn in answer.layout.shapes}


def test_one_that_cannot_be_joined_leaves_the_others_joined() -> None:
    rows = [{"row": str(at), "seats": "1-9", "n": 9} for at in range(10)]
    far = {"sector": "C", "count": 90, "shape": ["M100 0 h40 v20 h-40 z", "M100 30 h40 v20 h-40 z"], "rows": rows}
    answer = two_tiers(["M0 0 h40 v50 h-40 z", "M5 5 h10 v10 h-10 z"], far)
    assert [len(section.outline) for section in answer.layout.sections] == [4, 10]
    assert len(answer.layout.shapes) == 1
