"""The shape of a layout: seat ids, canonical bytes, hash, index."""

import hashlib
import json
import time
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lml_live.venues.checks import check_layout
from lml_live.venues.layout import (
    Layout,
    Row,
    Seat,
    Section,
    Shape,
    Table,
    Viewport,
    canonical_bytes,
    content_hash,
    count_places,
    count_seats,
    decode_layout,
    layout_schema,
    seal_layout,
    seat_id,
    verify_bytes,
)
from lml_live.venues.seat_index import index_layout


def small_layout() -> Layout:
    return Layout(
        layout_id="hall",
        name='The "Hall"',
        type="hybrid",
        viewport=Viewport(100, 62.5, "px"),
        sections=(
            Section(
                "Stalls",
                "seated",
                (
                    Row("A", (Seat("1", 0.25, 0.5, "I"), Seat("2", 1 / 3, 0.5, "I", accessible=True))),
                    Row("B", (Seat("1", 0.25, 0.6, "II", companion=True),)),
                ),
                outline=((0, 0), (1, 0), (1, 0.123456789)),
            ),
            Section("Floor", "standing", (), "floor", 300, "Standing"),
        ),
        focal_point=(0.5, 0),
        shapes=(Shape("stage", ((0.1, 0), (0.9, 0), (0.9, 0.1)), "Stage"),),
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("hall", "Stalls", "A", "1"), "e7c88e6b4e765573688e2bf97ccb1b89f3f601bba4d68f9b40881652dfabb883"),
        (("hall", "Étage 1", "Rang B", "12 bis"), "4992e2c7e0ab1a04d64ea919d223ad585c99e21eb438fdf11db74e90ade049ee"),
        (("taoyuan", "東上B", "4", "1"), "ca45a6985c18a26dd334f8a3199077c0f46c1474bf73f309ff5225465cac70ff"),
    ],
)
def test_seat_id_is_sha256_of_the_joined_labels(parts: tuple[str, str, str, str], expected: str) -> None:
    assert seat_id(*parts) == expected == hashlib.sha256("_".join(parts).encode()).hexdigest()


@pytest.mark.parametrize("name", ["Café", "Étage", "Å", "가"])
def test_a_seat_id_does_not_depend_on_the_spelling_of_accents(name: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
    assert composed != decomposed
    assert seat_id("hall", composed, "A", "1") == seat_id("hall", decomposed, "A", "1")


@pytest.mark.parametrize("number", ["\u0301a", "e\u0301", "\u1161", "\u0323\u0307s", "1"])
@pytest.mark.parametrize("row", ["e", "e\u0301", "\u1100", "s\u0307"])
def test_a_seat_id_is_of_the_normal_form_of_all_labels_together(row: str, number: str) -> None:
    joined = unicodedata.normalize("NFC", f"hall_Stalls_{row}_{number}")
    assert seat_id("hall", "Stalls", row, number) == hashlib.sha256(joined.encode()).hexdigest()


def test_canonical_bytes_are_these() -> None:
    """A fixed vector: a change of Python, msgspec or this code that changes a byte would orphan every stored hash."""
    layout = seal_layout(small_layout())
    ids = [
        seat_id("hall", "Stalls", "A", "1"),
        seat_id("hall", "Stalls", "A", "2"),
        seat_id("hall", "Stalls", "B", "1"),
    ]
    expected = (
        '{"focal_point":[0.5,0],"hash":"' + layout.hash + '","layout_id":"hall","name":"The \\"Hall\\"","sections":['
        '{"kind":"seated","name":"Stalls","outline":[[0,0],[1,0],[1,0.12346]],"rows":[{"label":"A","seats":['
        '{"category":"I","number":"1","seat_id":"' + ids[0] + '","x":0.25,"y":0.5},'
        '{"accessible":true,"category":"I","number":"2","seat_id":"' + ids[1] + '","x":0.33333,"y":0.5}]},'
        '{"label":"B","seats":[{"category":"II","companion":true,"number":"1","seat_id":"'
        + ids[2]
        + '","x":0.25,"y":0.6}]}]},'
        '{"area_id":"floor","capacity":300,"category":"Standing","kind":"standing","name":"Floor","rows":[]}],'
        '"shapes":[{"kind":"stage","label":"Stage","points":[[0.1,0],[0.9,0],[0.9,0.1]]}],"type":"hybrid",'
        '"version":1,"viewport":{"height":62.5,"units":"px","width":100}}'
    )
    assert canonical_bytes(layout).decode() == expected
    assert layout.hash == "c2534812359abdff12f18faa0322892c376448507e5b85de2f208895e7173009"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (-0.0, "0"), (1.0, "1"), (0.1, "0.1"), (1e-5, "0.00001"), (4e-6, "0"), (1 / 3, "0.33333")),
        *((1, "1"), (0, "0"), (0.0001, "0.0001"), (9e-5, "0.00009"), (0.99999, "0.99999"), (0.999999, "1")),
    ],
)
def test_numbers_are_written_in_one_way(value: float, text: str) -> None:
    stalls, floor = small_layout().sections
    rows = (Row("A", (Seat("1", value, value, "I"),)),)
    sections = (msgspec.structs.replace(stalls, rows=rows), floor)
    layout = msgspec.structs.replace(small_layout(), focal_point=(value, 0.5), sections=sections)
    assert f'"focal_point":[{text},0.5]' in canonical_bytes(layout).decode()
    assert f'"x":{text},"y":{text}}}' in canonical_bytes(layout).decode()


def test_canonical_bytes_equal_sorted_compact_json() -> None:
    data = canonical_bytes(seal_layout(small_layout()))
    tree = json.loads(data)
    assert json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == data


LABELS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
PARTS = st.floats(0, 1)


@given(labels=st.lists(LABELS, min_size=1, max_size=5), xs=st.lists(PARTS, min_size=5, max_size=5), random=st.randoms())
def test_bytes_and_hash_do_not_depend_on_the_order_of_members(labels: list[str], xs: list[float], random) -> None:  # type: ignore[no-untyped-def]
    seats = tuple(Seat(label, x, 1 - x, label) for label, x in zip(labels, xs, strict=False))
    section = Section(labels[0], "seated", (Row(labels[-1], seats),))
    layout = seal_layout(Layout("hall", labels[0], "seated", Viewport(3, 2), (section,)))

    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            members = [(name, shuffled(child)) for name, child in value.items()]
            random.shuffle(members)
            return dict(members)
        return [shuffled(child) for child in value] if isinstance(value, list) else value

    again = msgspec.convert(shuffled(json.loads(canonical_bytes(layout))), Layout)
    assert canonical_bytes(again) == canonical_bytes(layout)
    assert content_hash(again) == layout.hash
    assert seal_layout(again) == layout
    assert decode_layout(canonical_bytes(layout)) == layout


@pytest.mark.parametrize("turn", [0.000004, 359.999994, 359.999996])
@pytest.mark.parametrize("width", [0.00001, 1 / 3, 100.123456789, 1_000_000])
def test_every_number_of_a_sealed_layout_is_the_one_that_is_written(width: float, turn: float) -> None:
    """A viewport was kept unrounded and written rounded; a turn of almost 360 became 360, which nobody takes."""
    row = Row("A", (Seat("1", 1 / 3, 2 / 3, "I"),), table=Table(1 / 3, 2 / 3, 0.1, 0.1, turn=turn))
    layout = seal_layout(Layout("hall", "Hall", "seated", Viewport(width, 2), (Section("S", "seated", (row,)),)))
    assert decode_layout(canonical_bytes(layout)) == layout


def test_verify_bytes_notices_any_change() -> None:
    layout = seal_layout(small_layout())
    data = canonical_bytes(layout)
    assert verify_bytes(data, layout.hash)
    assert not verify_bytes(data.replace(b"0.25", b"0.26"), layout.hash)
    assert not verify_bytes(data, "0" * 64)
    assert not verify_bytes(b"", layout.hash)


def test_another_version_has_another_hash() -> None:
    assert seal_layout(small_layout(), version=2).hash != seal_layout(small_layout(), version=1).hash


def test_the_index_counts_seats_in_canonical_order() -> None:
    layout = seal_layout(small_layout())
    index = index_layout(layout)
    assert (index.layout_id, index.version, index.hash, index.type) == ("hall", 1, layout.hash, "hybrid")
    assert index.seat_count == count_seats(layout) == 3
    assert count_places(layout) == 303
    assert index.seat_ids[2] == seat_id("hall", "Stalls", "B", "1")
    assert [index.index_of[text] for text in index.seat_ids] == [0, 1, 2]
    assert index.categories == ("I", "I", "II")
    assert [(row.section, row.label, row.first, row.count) for row in index.rows] == [
        ("Stalls", "A", 0, 2),
        ("Stalls", "B", 2, 1),
    ]
    assert index.row_of == (0, 0, 1)
    assert index.numbers == ("1", "2", "1")
    assert [(area.area_id, area.name, area.category, area.capacity) for area in index.areas] == [
        ("floor", "Floor", "Standing", 300)
    ]
    assert (index.accessible, index.companions) == (frozenset({1}), frozenset({2}))


def test_the_index_of_a_large_layout_is_built_fast() -> None:
    rows = tuple(Row(str(row), tuple(Seat(str(seat), 0, 0, "I") for seat in range(100))) for row in range(500))
    layout = seal_layout(Layout("big", "Big", "seated", Viewport(1, 1), (Section("S", "seated", rows),)))
    started = time.process_time()
    assert index_layout(layout).seat_count == 50_000
    assert time.process_time() - started < 0.5


def test_the_schema_describes_our_own_files() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = layout_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    tree = json.loads(canonical_bytes(seal_layout(small_layout())))
    jsonschema.validate(tree, schema)
    assert not check_layout(small_layout()).violations


def test_tables_and_boxes_are_part_of_the_content_and_of_the_index() -> None:
    """A layout without any has the bytes and the hash that it always had."""
    plain = seal_layout(small_layout())
    assert b"sold_whole" not in canonical_bytes(plain)
    assert index_layout(plain).wholes == ()
    stalls, floor = small_layout().sections
    table = msgspec.structs.replace(
        stalls, rows=(msgspec.structs.replace(stalls.rows[0], sold_whole=True), stalls.rows[1])
    )
    box = msgspec.structs.replace(stalls, sold_whole=True)
    for section, wholes in ((table, ((0, 1),)), (box, ((0, 1, 2),))):
        sealed = seal_layout(msgspec.structs.replace(small_layout(), sections=(section, floor)))
        data = canonical_bytes(sealed)
        assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert (sealed.hash != plain.hash, verify_bytes(data, sealed.hash)) == (True, True)
        assert decode_layout(data) == sealed
        index = index_layout(sealed)
        assert (index.wholes, set(index.whole_of)) == (wholes, set(wholes[0]))
