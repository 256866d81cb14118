"""All that a layout can say, in its one spelling: fixed vectors, and the way to pixels and back."""

import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from theatres import theatre

from lml_live.venues.checks import check_layout
from lml_live.venues.demo import arena, concert_hall, generate_venue
from lml_live.venues.layout import (
    Layout,
    Row,
    Seat,
    Section,
    Viewport,
    canonical_bytes,
    decode_layout,
    seal_layout,
    seats_of,
    verify_bytes,
)
from lml_live.venues.seat_index import index_layout
from lml_live.venues.viewport import WHOLE_PIXELS_MAX, nearest_pixel, to_pixels, to_relative

VECTOR = (
    '{"categories":[{"color":"#aa0000","name":"I"},{"name":"II"},{"color":"#00bb00","name":"III"}],'
    '"entrances":[{"floor":"Ground","name":"North","point":[0.5,0]},{"name":"Lift","point":[0.33333,1]}],'
    '"hash":"HASH","layout_id":"theatre","name":"שדרות Theatre","sections":['
    '{"entrance":"North","floor":"Ground","kind":"seated","name":"Stalls","rows":[{"label":"A","seats":['
    '{"category":"I","features":["aisle","hearing_loop"],"number":"1",'
    '"seat_id":"","x":0.25,"y":0.5},{"category":"I","number":"2","seat_id":"","x":0.3,"y":0.5}]}]},'
    '{"floor":"First","kind":"seated","name":"Box 1","rows":['
    '{"label":"T","seats":[{"category":"II","number":"1","seat_id":"","x":0.5,"y":0.9},'
    '{"category":"II","number":"2","seat_id":"","x":0.6,"y":0.9}],"sold_whole":true,'
    '"table":{"height":0.02,"turn":45,"width":0.04,"x":0.55,"y":0.92}},'
    '{"label":"U","seats":[{"accessible":true,"category":"II","number":"1","seat_id":"","x":0.7,"y":0.9}],'
    '"table":{"form":"rectangle","height":0.1,"width":0.1,"x":0.7,"y":0.95}}],"within":["Balcony","Boxes"]},'
    '{"area_id":"pit","capacity":50,"category":"III","floor":"Ground","kind":"standing","name":"Pit","rows":[],'
    '"within":["Arena"]}],"shapes":[{"floor":"Ground","kind":"stage","points":[[0.1,0],[0.9,0],[0.5,0.1]]}],'
    '"type":"hybrid","version":1,"viewport":{"height":500,"units":"px","width":800}}'
)


def test_every_member_has_its_place_in_the_canonical_bytes() -> None:
    sealed = seal_layout(theatre())
    tree = json.loads(VECTOR)
    for section, sealed_section in zip(tree["sections"], sealed.sections, strict=True):
        for row, sealed_row in zip(section["rows"], sealed_section.rows, strict=True):
            for seat, sealed_seat in zip(row["seats"], sealed_row.seats, strict=True):
                seat["seat_id"] = sealed_seat.seat_id
    tree["hash"] = sealed.hash
    data = canonical_bytes(sealed)
    assert data.decode() == json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    unhashed = {name: value for name, value in tree.items() if name != "hash"}
    text = json.dumps(unhashed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert sealed.hash == hashlib.sha256(text.encode()).hexdigest()
    assert sealed.hash == "9222ca284fc94c38bdabeeab277693561ca0007a3953aaff8f38739718965c3a"
    assert verify_bytes(data, sealed.hash)
    assert decode_layout(data) == sealed
    assert seal_layout(decode_layout(data)) == sealed
    assert not check_layout(sealed).violations


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (concert_hall(), "9d520f08b8be654f33c8879203bfda593a7ce6b388b94701957bc09452f551d6"),
        (arena(), "2f764effde3e24bc83db7c2e4d2eb8a5fff8a42561f5a0813bf6c775b5e1ef7d"),
        (generate_venue(1000, "bowl"), "1ddd18637fa03a0909b3f517381b6ea0a6c6ce379cafd56855a53516376bbe04"),
    ],
    ids=lambda value: value.layout_id if isinstance(value, Layout) else "",
)
def test_layouts_of_before_keep_their_hash(layout: Layout, expected: str) -> None:
    """A member that is not used is not there: what was published before there was one has the same bytes as ever."""
    assert layout.hash == expected


def test_what_a_section_is_nested_in_changes_neither_seat_ids_nor_order() -> None:
    plain = tuple(msgspec.structs.replace(section, within=(), floor=None) for section in theatre().sections)
    nested, flat = index_layout(seal_layout(theatre())), index_layout(seal_layout(theatre(sections=plain)))
    assert nested.hash != flat.hash
    assert (nested.seat_ids, nested.rows, nested.areas) == (flat.seat_ids, flat.rows, flat.areas)


def test_a_seat_keeps_its_id_in_every_version() -> None:
    first, ninth = seal_layout(theatre()), seal_layout(theatre(name="Renamed"), version=9)
    assert [seat.seat_id for *_, seat in seats_of(first)] == [seat.seat_id for *_, seat in seats_of(ninth)]


def test_features_are_a_set() -> None:
    spellings = [("aisle", "plus_size"), ("plus_size", "aisle"), ("aisle", "plus_size", "aisle")]
    rows = [Row("A", (Seat("1", 0, 0, "I", features=given),)) for given in spellings]  # type: ignore[arg-type]
    layouts = [Layout("hall", "Hall", "seated", Viewport(1, 1), (Section("S", "seated", (row,)),)) for row in rows]
    assert len({seal_layout(layout).hash for layout in layouts}) == 1


SIZES = st.floats(0.01, 1_000_000)
PARTS = st.integers(0, 100_000).map(lambda part: part / 100_000)


@given(width=SIZES, height=SIZES, x=PARTS, y=PARTS)
@examples(max_examples=200)
def test_from_a_layout_to_pixels_and_back_nothing_changes(width: float, height: float, x: float, y: float) -> None:
    viewport = Viewport(width, height, "px")
    assert to_relative(to_pixels((x, y), viewport), viewport) == (x, y)


@given(size=st.integers(1, WHOLE_PIXELS_MAX - 1), part=st.floats(0, 1))
@examples(max_examples=200)
def test_from_whole_pixels_to_a_layout_and_back_nothing_changes(size: int, part: float) -> None:
    viewport, pixel = Viewport(size, size, "px"), round(size * part)
    assert nearest_pixel(to_pixels(to_relative((pixel, size - pixel), viewport), viewport)) == (pixel, size - pixel)
