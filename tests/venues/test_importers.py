"""Importers of our own JSON, pretix's plans and tables; and what no importer may choke on."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from theatres import theatre

from lml_live import limits
from lml_live.venues.demo import concert_hall
from lml_live.venues.importers import FORMATS, Imported, Rejected, import_layout
from lml_live.venues.importers.native import explain_layout
from lml_live.venues.layout import canonical_bytes, count_places, seal_layout, seat_id, seats_of


def imported(raw: bytes | str | object, **how: Any) -> Imported:
    answer = attempt(raw, **how)
    assert isinstance(answer, Imported), answer
    return answer


def refused(raw: bytes | str | object, **how: Any) -> dict[str, str]:
    answer = attempt(raw, **how)
    assert isinstance(answer, Rejected)
    assert answer.violations
    return {violation.path: violation.message for violation in answer.violations}


def attempt(raw: bytes | str | object, **how: Any) -> Imported | Rejected:
    data = raw if isinstance(raw, bytes) else raw.encode() if isinstance(raw, str) else json.dumps(raw).encode()
    return import_layout(data, filename=how.pop("filename", "some-hall.json"), **how)


def native(**changes: object) -> dict[str, object]:
    seats = [{"number": "1", "x": 0.1, "y": 0.2, "category": "I"}]
    sections = [{"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": seats}]}]
    whole = {"layout_id": "hall", "name": "Hall", "type": "seated", "viewport": {"width": 3, "height": 2}}
    return {**whole, "sections": sections, **changes}


# --- What no importer may choke on

MALFORMED = {
    "empty": (b"", "is empty"),
    "spaces": (b"  \n ", "is empty"),
    "not JSON": (b'{"layout_id": ', "is no JSON"),
    "trailing junk": (b"{} {}", "is no JSON"),
    "invalid UTF-8": (b'{"name": "\xff"}', "byte 10 is not UTF-8"),
    "UTF-16": ("{}".encode("utf-16"), "is not UTF-8"),
    "NaN": (b'{"x": NaN}', "holds NaN"),
    "Infinity": (b'{"x": -Infinity}', "holds -Infinity"),
    "member twice": (b'{"name": "a", "name": "b"}', "two members named 'name'"),
    "lone surrogate": (b'{"name": "\\ud800"}', "half of a surrogate pair"),
    "lone surrogate as a name": (b'{"\\udfff": 1}', "half of a surrogate pair"),
    "deep nesting": (b"[" * 10_000 + b"]" * 10_000, "nested too deeply"),
    "rather deep nesting": (b'{"a":' * 100 + b"1" + b"}" * 100, "nested too deeply"),
    "thousands of digits": (b'{"version": ' + b"9" * 5000 + b"}", "thousands of digits"),
    "prose": (b"Dear Sir or Madam", "neither JSON nor the header of a table"),
    "array of numbers": (b"[1, 2]", "an object is expected"),
    "table with ragged rows": (b"section,number\nA,1,2\n", "has 3 cells"),
    "table with a quote left open": (b'section,number\nA,"1\n', "is no table"),
    "table with a column twice": (b"section,section\nA,1\n", "names the column 'section' twice"),
    "table without rows": (b"section,number\n", "no rows"),
    "table of something else": (b"colour,size\nred,1\n", "or a mapping"),
}


@pytest.mark.parametrize("raw", [raw for raw, _ in MALFORMED.values()], ids=list(MALFORMED))
def test_malformed_input_is_refused_in_words(raw: bytes) -> None:
    message = next(message for other, message in MALFORMED.values() if other is raw)
    assert any(message in text for text in refused(raw).values())


def test_a_file_beyond_the_bound_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYOUT_FILE_BYTES_MAX", 1)
    assert refused(native()) == {"": f"has {len(json.dumps(native()))} bytes; at most 1 are expected"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "zones",
                    "rows",
                    "seats",
                    "position",
                    "x",
                    "sections",
                    "layout_id",
                    "kind",
                    "viewport",
                    "label",
                    "section",
                    "subChart",
                    "subChartFloors",
                    "tables",
                    "seat",
                    "center",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(tree=JSON, wanted=st.sampled_from(FORMATS))
def test_no_json_raises(tree: object, wanted: Any) -> None:
    assert isinstance(attempt(tree, format=wanted), (Imported, Rejected))


@given(raw=st.binary(max_size=80))
def test_no_bytes_raise(raw: bytes) -> None:
    assert isinstance(attempt(raw), (Imported, Rejected))


# --- Our own JSON


def test_our_own_file_comes_back_as_it_was() -> None:
    hall = concert_hall()
    again = imported(canonical_bytes(hall))
    assert again.layout == hall
    assert (again.renamings, again.notes) == ((), ())


def test_ids_and_hash_may_be_left_out_and_a_bom_is_no_matter() -> None:
    layout = imported(b"\xef\xbb\xbf" + json.dumps(native()).encode()).layout
    assert [seat.seat_id for _, _, seat in seats_of(layout)] == [seat_id("hall", "Stalls", "A", "1")]
    assert len(layout.hash) == 64


def test_another_id_gives_other_seat_ids() -> None:
    layout = imported(canonical_bytes(imported(native()).layout), layout_id="other", name="Other").layout
    assert (layout.layout_id, layout.name) == ("other", "Other")
    assert layout.sections[0].rows[0].seats[0].seat_id == seat_id("other", "Stalls", "A", "1")


def test_every_violation_of_our_own_format_is_told_at_once() -> None:
    """A decoder stops at the first wrong type; whoever draws a plan wants to hear of all."""
    seats = [
        {"number": 1, "x": "left", "y": 0.5, "category": "I"},
        {"number": "2", "y": 10**400, "category": "I", "colour": "red"},
        {"number": "3_4", "x": 0.5, "y": 7, "category": None, "accessible": "yes"},
        "seat",
    ]
    tree = native(
        layout_id=7,
        type="round",
        viewport={"width": True, "height": 2},
        sections=[{"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": seats}, {"label": "A"}]}, None],
        version=1.5,
        secret=1,
        focal_point=[0.5],
    )
    at = "sections[0].rows[0].seats"
    found = refused(tree)
    assert found["layout_id"] == "is 7; text is expected"
    assert found["type"] == "is 'round'; 'hybrid' or 'seated' or 'standing' is expected"
    assert found["viewport.width"] == "is true; a number is expected"
    assert found["version"] == "is 1.5; a whole number is expected"
    assert found["secret"].startswith("is no member here; known are")
    assert found["focal_point"] == "is an array of 1; an array of 2 numbers is expected"
    assert found[f"{at}[0].number"] == "is 1; text is expected"
    assert found[f"{at}[0].x"] == "is 'left'; a number is expected"
    assert found[f"{at}[1].x"] == "is missing"
    assert found[f"{at}[1].y"] == "is a huge number; a number is expected"
    assert found[f"{at}[1].colour"].startswith("is no member here")
    assert found[f"{at}[2].category"] == "is null; text is expected"
    assert found[f"{at}[2].accessible"] == "is 'yes'; true or false is expected"
    assert found[f"{at}[3]"] == "is 'seat'; an object is expected"
    assert found["sections[0].rows[1].seats"] == "is missing"
    assert found["sections[1]"] == "is null; an object is expected"


def test_rules_and_types_are_told_together() -> None:
    seats = [
        {"number": "1", "x": "left", "y": 0.5, "category": "I"},
        {"number": "a_b", "x": 2, "y": 0, "category": "I"},
    ]
    tree = native(sections=[{"name": "S", "kind": "seated", "rows": [{"label": "A", "seats": seats}]}])
    at = "sections[0].rows[0].seats"
    assert set(refused(tree)) == {f"{at}[0].x", f"{at}[1].number", f"{at}[1].x"}


def test_our_own_format_is_never_renamed() -> None:
    tree = native()
    tree["sections"][0]["name"] = "Left_Side"  # type: ignore[index]
    assert list(refused(tree)) == ["sections[0].name"]


def test_standing_is_refused_for_our_own_format() -> None:
    assert list(refused(native(), standing=("Stalls",))) == ["--standing"]


# --- pretix


def pretix_row(row: str, count: int, x: float, y: float, **names: str) -> dict[str, object]:
    number = names.get("number", "seat_number")
    seats = [
        {number: str(at + 1), "seat_guid": f"g{at}", "position": {"x": 25 * at, "y": 0}, "category": "I"}
        for at in range(count)
    ]
    return {names.get("label", "row_number"): row, "position": {"x": x, "y": y}, "seats": seats}


def pretix(*zones: dict[str, object]) -> dict[str, object]:
    return {"name": "Plan", "categories": [{"name": "I"}], "zones": list(zones), "size": {"width": 500, "height": 500}}


def zone(name: str, *rows: dict[str, object], **more: object) -> dict[str, object]:
    return {"name": name, "position": {"x": 10, "y": 20}, "rows": list(rows), **more}


def test_blocks_that_collide_become_numbered_sections() -> None:
    tree = pretix(
        zone("Ground_floor", pretix_row("A", 2, 0, 0), pretix_row("B", 2, 0, 30), pretix_row("A", 2, 200, 0)),
        zone("Balcony", pretix_row("A", 1, 0, 100)),
    )
    answer = imported(tree)
    assert [section.name for section in answer.layout.sections] == ["Ground-floor 1", "Ground-floor 2", "Balcony"]
    assert [(renaming.before, renaming.after) for renaming in answer.renamings] == [
        ("Ground_floor", "Ground_floor 1"),
        ("Ground_floor", "Ground_floor 2"),
        ("Ground_floor 1", "Ground-floor 1"),
        ("Ground_floor 2", "Ground-floor 2"),
    ]
    assert len({seat.seat_id for _, _, seat in seats_of(answer.layout)}) == 7
    assert "it would be renamed" in next(iter(refused(tree, strict=True).values()))


def test_positions_add_up_over_zone_row_and_seat() -> None:
    layout = imported(pretix(zone("Stalls", pretix_row("A", 2, 30, 40)))).layout
    seats = layout.sections[0].rows[0].seats
    assert [(seat.x * 500, seat.y * 500) for seat in seats] == [(40, 60), (65, 60)]
    assert layout.viewport.units == "px"


def test_the_newer_variant_is_read_and_a_row_in_two_pieces_stays_one_row() -> None:
    left = pretix_row("A", 2, 0, 0, label="row_label", number="seat_label")
    right = pretix_row("A", 2, 200, 0, label="row_label", number="seat_label")
    for at, seat in enumerate(right["seats"]):  # type: ignore[arg-type,var-annotated]
        seat["seat_label"] = str(3 + at)
    areas = [
        {
            "shape": "rectangle",
            "position": {"x": 0, "y": 0},
            "rectangle": {"width": 90, "height": 20},
            "rotation": 90,
            "text": {"text": "Stage"},
        },
        {"shape": "circle", "position": {"x": 50, "y": 50}, "circle": {"radius": 5}},
        {"shape": "polygon", "position": {"x": 0, "y": 0}, "polygon": {"points": [{"x": 0, "y": 0}, {"x": 9, "y": 9}]}},
    ]
    layout = imported(pretix(zone("Stalls", left, right, areas=areas, zone_id="z", uuid="u"))).layout
    assert [len(row.seats) for row in layout.sections[0].rows] == [4]
    assert [(shape.kind, shape.label) for shape in layout.shapes] == [("stage", "Stage"), ("area", ""), ("area", "")]


def test_faults_of_a_pretix_plan_are_told_together() -> None:
    row = pretix_row("A", 2, 0, 0)
    row["seats"][0]["position"] = {"x": "far", "y": 0}  # type: ignore[index]
    row["seats"][1]["seat_number"] = "1"  # type: ignore[index]
    found = refused(pretix(zone("Stalls", row, {"seats": 3}), {"rows": []}, 5))  # type: ignore[arg-type]
    assert set(found) >= {
        "zones[0].rows[0].seats[0].position.x",
        "zones[0].rows[0].seats[1]",
        "zones[0].rows[1].row_label",
        "zones[0].rows[1].seats",
        "zones[1].name",
        "zones[2]",
    }


# --- Tables

TABLE = "Section{0}Row{0}Seat{0}X{0}Y{0}Price category\nLeft{0}A{0}1{0}0{0}0{0}I\nLeft{0}A{0}2{0}10{0}0{0}I\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_table_is_read_whatever_parts_its_columns(delimiter: str, start: str) -> None:
    layout = imported(start + TABLE.format(delimiter), filename="left.csv").layout
    assert (layout.layout_id, count_places(layout)) == ("left", 2)
    assert [seat.category for _, _, seat in seats_of(layout)] == ["I", "I"]


def test_rows_as_json_objects_areas_and_flags() -> None:
    rows = [
        {"section": "Left", "row": 1, "seat": 1, "wheelchair": "yes"},
        {"section": "Left", "row": 1, "seat": 2.0, "wheelchair": False},
        {"section": "Floor", "capacity": 300, "category": "Standing"},
    ]
    layout = imported(rows).layout
    assert (layout.type, count_places(layout)) == ("hybrid", 302)
    assert [seat.accessible for _, _, seat in seats_of(layout)] == [True, False]


def test_faults_of_a_table_name_line_and_column() -> None:
    table = "section,row,seat,x,y,capacity\n,A,1,0,0,\nLeft,A,,0,0,\nLeft,A,2,far,0,\nLeft,A,3,1,,\nFloor,,,,,0\n"
    assert set(refused(table)) == {
        "line 2, section",
        "line 3, seat",
        "line 4, x",
        "line 4",
        "line 5",
        "line 6, capacity",
    }


@pytest.mark.parametrize("x", ["1_000", "0x10", "1e", "٣", "1 2", "inf", "nan", "1" * 400])
def test_a_coordinate_is_a_number_as_files_write_it(x: str) -> None:
    """Python reads `1_000` and the digits of every script as numbers; who wrote them meant something else."""
    found = refused(f"section,row,seat,x,y\nLeft,A,1,{x},0\nLeft,A,2,1,0\n")
    assert "a number within" in found["line 2, x"]
    accepted = import_layout(b"section;row;seat;x;y\nLeft;A;1; -1,5 ;0\nLeft;A;2;+.5e1;0\n", filename="hall.csv")
    assert isinstance(accepted, Imported), accepted


def test_a_seat_listed_twice_is_a_violation() -> None:
    found = refused("section,row,seat\nLeft,A,1\nLeft,A,1\n")
    assert list(found) == ["line 3"]
    assert "as line 2 is" in found["line 3"]


def test_labels_are_tidied_and_every_renaming_is_told() -> None:
    table = "section,row,seat\nA_1,,1\nA-1,x_y,1\nA-1,x-y,1\nA-1,x-y,b_2\n"
    answer = imported(table)
    assert {(renaming.before, renaming.after) for renaming in answer.renamings} == {
        ("A_1", "A-1 2"),
        ("", "-"),
        ("x_y", "x-y 2"),
        ("b_2", "b-2"),
    }
    assert [section.name for section in answer.layout.sections] == ["A-1 2", "A-1"]
    assert len(refused(table, strict=True)) == 4


def test_seats_without_coordinates_are_laid_out_and_that_is_said() -> None:
    answer = imported("section,row,seat\n" + "".join(f"S{n % 3},R{n % 5},{n}\n" for n in range(60)))
    assert any("grid of straight rows" in note for note in answer.notes)
    places = [(seat.x, seat.y) for _, _, seat in seats_of(answer.layout)]
    assert len(set(places)) == 60


def test_standing_makes_an_area_of_a_section() -> None:
    table = "section,row,seat,x,y\n" + "".join(f"Dance_floor,A,{n},{n},{n % 7}\n" for n in range(50)) + "Bar,A,1,0,9\n"
    answer = imported(table, standing=("Dance_floor",))
    area = answer.layout.sections[0]
    assert (area.kind, area.name, area.capacity, area.area_id, area.category) == (
        "standing",
        "Dance-floor",
        50,
        "dance-floor",
        "Dance-floor",
    )
    assert len(area.outline) == 4
    assert answer.layout.type == "hybrid"
    assert "a section of this file is expected" in refused(table, standing=("Balcony",))["--standing"]


def _plan(listed: list[str], used: list[str], text: str = "") -> bytes:
    seats = [{"seat_number": str(at), "category": name} for at, name in enumerate(used)]
    area = {"shape": "text", "text": {"text": text}}
    zone = {"name": "Z", "rows": [{"row_number": "1", "seats": seats}], "areas": [area]}
    return json.dumps({"categories": [{"name": name, "color": "#aa0000"} for name in listed], "zones": [zone]}).encode()


def test_accents_are_the_same_however_they_are_spelled() -> None:
    composed, parted = "Caf\u00e9", "Cafe\u0301"
    for listed, used in (([parted], [parted]), ([parted], [composed]), ([composed, parted], [parted, composed])):
        answer = import_layout(_plan(listed, used), filename="plan.json")
        assert isinstance(answer, Imported), answer
        assert [(each.name, each.color) for each in answer.layout.categories] == [(composed, "#aa0000")]


def test_a_long_word_on_a_drawing_is_cut_to_one_that_may_be_there() -> None:
    answer = import_layout(_plan(["A"], ["A"], "a" * 99 + " b"), filename="plan.json")
    assert isinstance(answer, Imported), answer
    assert answer.layout.shapes[0].label == "a" * 99


def test_many_labels_that_would_become_one_are_told_apart() -> None:
    labels = ["".join("_-"[at >> bit & 1] for bit in range(6)) for at in range(2**6)]
    rows = [{"row_number": label, "seats": [{"seat_number": "1"}]} for label in labels]
    zones = [{"name": "Z", "rows": rows}, {"name": "Z", "rows": rows[:1]}, {"name": "Z", "rows": rows[:1]}]
    answer = import_layout(json.dumps({"zones": zones}).encode(), filename="x")
    assert isinstance(answer, Imported)
    assert [section.name for section in answer.layout.sections] == ["Z", "Z (2)", "Z (3)"]
    named = {row.label for row in answer.layout.sections[0].rows}
    assert named == {"-" * 6, *(f"{'-' * 6} {number}" for number in range(2, 2**6 + 1))}


def test_a_table_of_more_cells_than_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # 100,000 columns and as many lines of one cell are 900 kB, and would be a terabyte once filled up.
    monkeypatch.setattr(limits, "TABLE_CELLS_MAX", 12)
    lines = ["section,row,number,x", *(f"S,A,{number}" for number in range(3))]
    assert isinstance(import_layout("\n".join(lines).encode(), filename="x"), Imported)
    refused = import_layout("\n".join([*lines, "S,A,4"]).encode(), filename="x")
    assert isinstance(refused, Rejected)
    assert refused.violations[0].path == "line 5"


# --- Our own JSON, with each member of it wrong in every way

WHOLE: dict[str, Any] = json.loads(json.dumps(msgspec.to_builtins(seal_layout(theatre()))))
BAD: list[object] = [None, True, -1, 1e308, 5e-324, 10**400, "", "x", [], [None], [[None, None]], {}, {"a": 1}]
ABSENT = object()


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where each member of a tree is; of an array its first is enough."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, member in value.items():
            yield from paths(member, (*path, name))
    elif isinstance(value, list) and value:
        yield from paths(value[0], (*path, 0))


@pytest.mark.parametrize("path", list(paths(WHOLE)), ids=lambda path: ".".join(map(str, path)))
def test_no_member_that_is_wrong_raises(path: tuple[str | int, ...]) -> None:
    """An entrance that was `null` had no place to stand in for it: 500."""
    for bad in (*BAD, ABSENT):
        tree = json.loads(json.dumps(WHOLE))
        inner = tree
        for step in path[:-1]:
            inner = inner[step]
        if bad is ABSENT:
            del inner[path[-1]]
        else:
            inner[path[-1]] = bad
        assert isinstance(attempt(tree), (Imported, Rejected))
        assert all(violation.message for violation in explain_layout(tree))
