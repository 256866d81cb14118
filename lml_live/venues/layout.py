"""A venue's seating plan: its shape, its seats' ids, its one canonical spelling, and the index the server keeps of it.

A layout is *sealed* when its coordinates are rounded, every seat carries its id and `hash` names the content. Only
sealed layouts are stored, served or indexed. Nothing here checks rules: see `checks`.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from lml_live import limits
from lml_live.values import ID_PATTERN, SEAT_ID_PATTERN

COORDINATE_DECIMALS: Final = 5
"""A hundred-thousandth of the plan: 2 mm in a 200 m stadium. Five decimals are also the most that RFC 8785 (numbers as
ECMAScript writes them) and plain decimal notation agree on: 0.00001 is written out, 0.000001 would become 1e-6."""

LayoutType = Literal["seated", "standing", "hybrid"]
SectionKind = Literal["seated", "standing"]
Units = Literal["relative", "px"]
Feature = Literal["aisle", "easy_access", "hearing_loop", "lift_up_armrests", "plus_size", "sign_language"]
"""What is good to know of a seat and changes nothing in how it is sold."""
TableForm = Literal["round", "rectangle"]

COLOR_PATTERN: Final = "^#[0-9a-f]{6}$"
Label = Annotated[str, Meta(min_length=1, max_length=limits.LABEL_CHARS_MAX)]
Coordinate = Annotated[float, Meta(ge=0, le=1)]
Point = tuple[Coordinate, Coordinate]
"""x and y, each from 0 to 1 of the viewport; y grows downwards."""


class Viewport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The plan's own size; a seat's place on paper is (x * width, y * height).

    `relative` sizes are a proportion and no more, `px` are pixels of the plan's own drawing (see `viewport`).
    """

    width: Annotated[float, Meta(gt=0)]
    height: Annotated[float, Meta(gt=0)]
    units: Units = "relative"


class Seat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One numbered place. `seat_id` may be left out of a file: it follows from the labels."""

    number: Label
    x: Coordinate
    y: Coordinate
    category: Label
    seat_id: Annotated[str, Meta(pattern=f"^$|{SEAT_ID_PATTERN}")] = ""
    accessible: bool = False
    companion: bool = False
    restricted_view: bool = False
    features: tuple[Feature, ...] = ()


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The board that a row's seats stand around, as it is drawn: its middle, its size, its turn in degrees."""

    x: Coordinate
    y: Coordinate
    width: Coordinate
    height: Coordinate
    form: TableForm = "round"
    turn: Annotated[float, Meta(ge=0, lt=360)] = 0.0


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Neighbouring seats, in the order in which they stand.

    A table is a row that has a `table`, is `sold_whole`, or both: some sell by the chair.
    """

    label: Label
    seats: tuple[Seat, ...]
    sold_whole: bool = False
    table: Table | None = None


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A seated section has rows; a standing one has `area_id`, `capacity` and `category` instead.

    A box is a section that is `sold_whole`: all of its rows together. Sections stay one flat list, whatever they are
    nested in: `within` names those places, the outermost first (`["North stand", "Upper tier"]`), and `floor` the
    storey, each of which is a drawing of its own (docs/decisions/028).
    """

    name: Label
    kind: SectionKind
    rows: tuple[Row, ...] = ()
    area_id: Annotated[str, Meta(pattern=ID_PATTERN)] | None = None
    capacity: Annotated[int, Meta(ge=1)] | None = None
    category: Label | None = None
    outline: tuple[Point, ...] = ()
    sold_whole: bool = False
    within: Annotated[tuple[Label, ...], Meta(max_length=limits.LAYOUT_NESTING_MAX)] = ()
    floor: Label | None = None
    entrance: Label | None = None
    """Which entrance its people take: the name of one of the layout's."""


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A price category as the plan shows it. A layout that lists any lists all that its seats and areas have."""

    name: Label
    color: Annotated[str, Meta(pattern=COLOR_PATTERN)] | None = None


class Entrance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A door or gate, where people come in."""

    name: Label
    point: Point
    floor: Label | None = None


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Decoration, such as the stage. One point is a place for the label alone, two a line, more a polygon."""

    kind: Label
    points: Annotated[tuple[Point, ...], Meta(min_length=1)]
    label: Annotated[str, Meta(max_length=limits.LABEL_CHARS_MAX)] = ""
    floor: Label | None = None


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A whole plan, as `GET /layouts/{id}/{hash}` serves it (contract, section 2)."""

    layout_id: Annotated[str, Meta(pattern=ID_PATTERN)]
    name: Label
    type: LayoutType
    viewport: Viewport
    sections: Annotated[tuple[Section, ...], Meta(min_length=1)]
    version: Annotated[int, Meta(ge=1)] = 1
    hash: Annotated[str, Meta(pattern=f"^$|{SEAT_ID_PATTERN}")] = ""
    focal_point: Point | None = None
    shapes: tuple[Shape, ...] = ()
    categories: tuple[Category, ...] = ()
    entrances: tuple[Entrance, ...] = ()


def seat_id(layout_id: str, section: str, row: str, number: str) -> str:
    """The id of a seat: lower-case hex SHA-256 of `layoutId_section_row_number`, UTF-8, NFC (contract, section 1)."""
    return seat_ids(layout_id, section, row, (number,))[0]


def seat_ids(layout_id: str, section: str, row: str, numbers: Iterable[str]) -> list[str]:
    """The ids of one row's seats, in the order of their numbers: cheaper than one by one."""
    # Part by part, which is the same: nothing composes with the `_` between them.
    normalize = unicodedata.normalize
    begun, ids = hashlib.sha256(normalize("NFC", f"{layout_id}_{section}_{row}_").encode()), []
    for number in numbers:
        # A copy costs less than a new one, for which OpenSSL looks its algorithm up.
        digest = begun.copy()
        digest.update(normalize("NFC", number).encode())
        ids.append(digest.hexdigest())
    return ids


def seats_of(layout: Layout) -> Iterator[tuple[Section, Row, Seat]]:
    """Every seat with its row and section, in canonical order: first section, first row, first seat."""
    for section in layout.sections:
        for row in section.rows:
            for seat in row.seats:
                yield section, row, seat


def count_seats(layout: Layout) -> int:
    """Numbered seats alone."""
    return sum(len(row.seats) for section in layout.sections for row in section.rows)


def count_places(layout: Layout) -> int:
    """Seats and standing places together: what a venue's published capacity counts."""
    return count_seats(layout) + sum(section.capacity or 0 for section in layout.sections)


# --- Canonical bytes


class Spelling(msgspec.Struct, frozen=True, gc=False):
    """The canonical bytes of a layout, cut where its hash and its version stand: written once for all versions."""

    before_hash: bytes
    before_version: bytes
    end: bytes
    begun: "hashlib._Hash"
    """The SHA-256 of the first two: nearly all there is to hash, and the same for all versions."""

    def hash_as(self, version: int) -> str:
        """Lower-case hex SHA-256 of the canonical bytes of everything but `hash`, with this version."""
        digest = self.begun.copy()
        digest.update(b"%d" % version)
        digest.update(self.end)
        return digest.hexdigest()

    def bytes_as(self, version: int, hash_text: str) -> bytes:
        """The canonical bytes with this version and this hash, which may be empty."""
        member = b'"hash":"%b",' % hash_text.encode() if hash_text else b""
        return b"".join((self.before_hash, member, self.before_version, b"%d" % version, self.end))


def canonical_bytes(layout: Layout) -> bytes:
    """The one spelling of a sealed layout: RFC 8785, UTF-8; members in order of their names, absent where empty.

    Independent of the order of members in the source, of Python's and of msgspec's version: numbers are written here,
    with at most `COORDINATE_DECIMALS` decimals. A browser gets the same bytes from `JSON.stringify` with sorted keys.
    """
    return spell_layout(layout).bytes_as(layout.version, layout.hash)


def content_hash(layout: Layout) -> str:
    """Lower-case hex SHA-256 of the canonical bytes of everything but `hash`."""
    return spell_layout(layout).hash_as(layout.version)


def verify_bytes(data: bytes, expected_hash: str) -> bool:
    """Whether `data` are the canonical bytes of the layout named `expected_hash`.

    The member `hash` is cut out rather than decoded and encoded again: inside strings quotes are escaped, so the only
    place where these bytes can occur is that member.
    """
    member = b'"hash":"%b",' % expected_hash.encode()
    at = data.find(member)
    if at < 0:
        return False
    # Views: each copy of a large layout's bytes costs about as much as their hash.
    view = memoryview(data)
    digest = hashlib.sha256(view[:at])
    digest.update(view[at + len(member) :])
    return digest.hexdigest() == expected_hash


def seal_layout(layout: Layout, *, version: int | None = None) -> Layout:
    """The layout with rounded coordinates, all seat ids and its hash; `version` replaces the version first."""
    return seal_and_spell(layout, version=version)[0]


def seal_and_spell(layout: Layout, *, version: int | None = None) -> tuple[Layout, Spelling]:
    """The same, and how it is spelled."""
    sealed = msgspec.structs.replace(
        layout,
        version=layout.version if version is None else version,
        hash="",
        viewport=Viewport(*_rounded((layout.viewport.width, layout.viewport.height)), layout.viewport.units),
        sections=tuple(_seal_section(layout.layout_id, section) for section in layout.sections),
        focal_point=None if layout.focal_point is None else _rounded(layout.focal_point),
        shapes=tuple(
            msgspec.structs.replace(shape, points=tuple(_rounded(point) for point in shape.points))
            for shape in layout.shapes
        ),
        entrances=tuple(
            msgspec.structs.replace(entrance, point=_rounded(entrance.point)) for entrance in layout.entrances
        ),
    )
    spelling = spell_layout(sealed)
    return msgspec.structs.replace(sealed, hash=spelling.hash_as(sealed.version)), spelling


def decode_layout(data: bytes) -> Layout:
    """Canonical bytes back to the layout. Raises `msgspec.MsgspecError` where they are not a layout's."""
    return _DECODER.decode(data)


def layout_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of our own layout files, generated from the types above."""
    schema = msgspec.json.schema(Layout)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "LML Live layout", **schema}


_DECODER: Final = msgspec.json.Decoder(Layout)


def _rounded(point: Point) -> Point:
    return round(point[0], COORDINATE_DECIMALS), round(point[1], COORDINATE_DECIMALS)


def _seal_section(layout_id: str, section: Section) -> Section:
    rows = []
    for row in section.rows:
        ids = seat_ids(layout_id, section.name, row.label, [seat.number for seat in row.seats])
        seats = tuple(
            Seat(
                seat.number,
                round(seat.x, COORDINATE_DECIMALS),
                round(seat.y, COORDINATE_DECIMALS),
                seat.category,
                identity,
                seat.accessible,
                seat.companion,
                seat.restricted_view,
                # In one order, each once: what is the same must have the same bytes.
                seat.features if len(seat.features) < 2 else tuple(sorted(set(seat.features))),
            )
            for seat, identity in zip(row.seats, ids, strict=True)
        )
        rows.append(Row(row.label, seats, row.sold_whole, None if row.table is None else _seal_table(row.table)))
    outline = tuple(_rounded(point) for point in section.outline)
    return msgspec.structs.replace(section, rows=tuple(rows), outline=outline)


def _seal_table(table: Table) -> Table:
    x, y = _rounded((table.x, table.y))
    width, height = _rounded((table.width, table.height))
    # A turn of almost 360 is rounded to a whole one, which is none.
    return Table(x, y, width, height, table.form, round(table.turn, COORDINATE_DECIMALS) % 360)


def _number(value: float) -> str:
    """A finite number below 1e15 as ECMAScript writes it, rounded to `COORDINATE_DECIMALS`."""
    if isinstance(value, int):
        return str(value)
    text = f"{value:{_ROUNDED}}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


_ROUNDED: Final = f".{COORDINATE_DECIMALS}f"


def _points(points: Sequence[Point]) -> str:
    return "[" + ",".join(f"[{_number(x)},{_number(y)}]" for x, y in points) + "]"


def _members(members: Mapping[str, str | None]) -> str:
    """A JSON object of values that are JSON already; None is left out."""
    parts = [f'"{name}":{members[name]}' for name in sorted(members) if members[name] is not None]
    return "{" + ",".join(parts) + "}"


def _seats_text(seats: Sequence[Seat]) -> str:
    # Written out by hand, in the order of the names: 200,000 of these are most of the time of an import.
    texts, quoted = [], encode_basestring
    for seat in seats:
        x, y = seat.x, seat.y
        # As `_number` does, without asking it.
        x_text = f"{x:{_ROUNDED}}".rstrip("0") if 0.0001 <= x < 0.9999 else _number(x)
        y_text = f"{y:{_ROUNDED}}".rstrip("0") if 0.0001 <= y < 0.9999 else _number(y)
        identity = f'"seat_id":"{seat.seat_id}",' if seat.seat_id else ""
        first = middle = last = ""
        if seat.accessible or seat.companion or seat.restricted_view or seat.features:
            first, middle, last = _special_members(seat)
        texts.append(
            f'{{{first}"category":{quoted(seat.category)},{middle}"number":{quoted(seat.number)},{last}{identity}'
            f'"x":{x_text},"y":{y_text}}}'
        )
    return ",".join(texts)


def _special_members(seat: Seat) -> tuple[str, str, str]:
    """The members that few seats have: before `category`, before `number`, and after it."""
    features = f'"features":[{",".join(map(encode_basestring, seat.features))}],' if seat.features else ""
    return (
        '"accessible":true,' if seat.accessible else "",
        ('"companion":true,' if seat.companion else "") + features,
        '"restricted_view":true,' if seat.restricted_view else "",
    )


def _row_text(row: Row) -> str:
    whole = ',"sold_whole":true' if row.sold_whole else ""
    table = "" if row.table is None else f',"table":{_table_text(row.table)}'
    return f'{{"label":{encode_basestring(row.label)},"seats":[{_seats_text(row.seats)}]{whole}{table}}}'


def _table_text(table: Table) -> str:
    return _members(
        {
            "form": None if table.form == "round" else encode_basestring(table.form),
            "height": _number(table.height),
            "turn": _number(table.turn) if table.turn else None,
            "width": _number(table.width),
            "x": _number(table.x),
            "y": _number(table.y),
        }
    )


def _section_text(section: Section) -> str:
    rows = ",".join(map(_row_text, section.rows))
    return _members(
        {
            "area_id": _text_or_none(section.area_id),
            "capacity": None if section.capacity is None else str(section.capacity),
            "category": _text_or_none(section.category),
            "entrance": _text_or_none(section.entrance),
            "floor": _text_or_none(section.floor),
            "kind": encode_basestring(section.kind),
            "name": encode_basestring(section.name),
            "outline": _points(section.outline) if section.outline else None,
            "rows": f"[{rows}]",
            "sold_whole": "true" if section.sold_whole else None,
            "within": _list_or_none(map(encode_basestring, section.within)),
        }
    )


def _shape_text(shape: Shape) -> str:
    return _members(
        {
            "floor": _text_or_none(shape.floor),
            "kind": encode_basestring(shape.kind),
            "label": encode_basestring(shape.label) if shape.label else None,
            "points": _points(shape.points),
        }
    )


def _category_text(category: Category) -> str:
    return _members({"color": _text_or_none(category.color), "name": encode_basestring(category.name)})


def _entrance_text(entrance: Entrance) -> str:
    x, y = entrance.point
    return _members(
        {
            "floor": _text_or_none(entrance.floor),
            "name": encode_basestring(entrance.name),
            "point": f"[{_number(x)},{_number(y)}]",
        }
    )


def _text_or_none(text: str | None) -> str | None:
    return None if text is None else encode_basestring(text)


def _list_or_none(texts: Iterable[str]) -> str | None:
    joined = ",".join(texts)
    return f"[{joined}]" if joined else None


def spell_layout(layout: Layout) -> Spelling:
    """How a sealed layout is spelled, whatever its version and its hash."""
    viewport = {
        "height": _number(layout.viewport.height),
        "units": encode_basestring(layout.viewport.units),
        "width": _number(layout.viewport.width),
    }
    focal = layout.focal_point
    # In the order of the names: these, `hash`, those before the sections, they, those after, `version`, `viewport`.
    first = _members(
        {
            "categories": _list_or_none(map(_category_text, layout.categories)),
            "entrances": _list_or_none(map(_entrance_text, layout.entrances)),
            "focal_point": None if focal is None else f"[{_number(focal[0])},{_number(focal[1])}]",
        }
    ).removesuffix("}")
    before = f'"layout_id":{encode_basestring(layout.layout_id)},"name":{encode_basestring(layout.name)}'
    shapes = _list_or_none(map(_shape_text, layout.shapes))
    after = _members({"shapes": shapes, "type": encode_basestring(layout.type)})[1:-1]
    # Put together at the end: a copy of all sections is megabytes, each time.
    sections = b",".join([_section_text(section).encode() for section in layout.sections])
    before_hash = (first if first == "{" else f"{first},").encode()
    before_version = b"".join((f'{before},"sections":['.encode(), sections, f'],{after},"version":'.encode()))
    begun = hashlib.sha256(before_hash)
    begun.update(before_version)
    return Spelling(before_hash, before_version, f',"viewport":{_members(viewport)}}}'.encode(), begun)
