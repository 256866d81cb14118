"""Layouts out to another format and in again, for the tests."""

from collections.abc import Iterator
from typing import Final

from lml_live.venues.exporters import ExportFormat, export_layout
from lml_live.venues.importers import Imported, import_layout
from lml_live.venues.importers.labels import cut_label
from lml_live.venues.layout import Layout, Row, Section, seats_of


def back(layout: Layout, wanted: ExportFormat) -> Imported:
    exported = export_layout(layout, wanted)
    answer = import_layout(exported.data, filename=exported.filename, layout_id=layout.layout_id, name=layout.name)
    assert isinstance(answer, Imported), answer
    assert not answer.renamings
    return answer


def the_same_seats(one: Layout, other: Layout, wanted: ExportFormat) -> None:
    """Labels, ids, categories and what the format says of a seat; places, too, where it has a canvas."""
    for (section, row, seat), (section2, row2, seat2) in zip(seats_of(one), seats_of(other), strict=True):
        assert (section.name, row.label, seat.number) == (section2.name, row2.label, seat2.number)
        assert (seat.seat_id, seat.category) == (seat2.seat_id, seat2.category)
        if wanted != "pretix":
            flags = (seat.accessible, seat.companion, seat.restricted_view)
            assert flags == (seat2.accessible, seat2.companion, seat2.restricted_view)
        if wanted != "csv":
            assert (seat.x, seat.y) == (seat2.x, seat2.y)
    if wanted != "pretix":
        assert areas_of(one) == areas_of(other)


def areas_of(layout: Layout) -> list[tuple[str, int | None, str | None]]:
    standing = (section for section in layout.sections if section.kind == "standing")
    return [(section.name, section.capacity, section.category) for section in standing]


# --- What differs, by the words that tell of it

SPACES: Final = "labels with several or no-break spaces: they get single ones, and their seats other ids"
ON_FIRST: Final = "sections on no floor: they are on the first"
AREAS: Final = "areas with their places: pretix sells them as plain tickets"
INVENTED: Final = "sections without an outline: they have one there"
NO_AREA_OUTLINE: Final = "areas without an outline: they are a point in the middle there"
MOVED: Final = "sections in another place of their order"
PLAN_SIZE: Final = "size of the plan: it is another one there"
CSV_SIZE: Final = "size of the plan: only distances between seats stay"
UNITS: Final = "units of the plan: they are pixels there"
COLORS: Final = "colours of categories: some were invented"
WHOLE: Final = "rows that sell whole, as tables"
NO_SHAPES: Final = frozenset({"shapes", "shapes: there is no zone to draw them in"})
SHAPE_FLOORS: Final = frozenset(
    {
        "floors of shapes",
        "shapes on all floors: they are on the first",
        "words of shapes and floors with several or no-break spaces: they get single ones",
        "shapes on floors without sections",
    }
)
SHAPE_WORDS: Final = "words of shapes and floors with several or no-break spaces: they get single ones"
TOLD_BY: Final[dict[str, frozenset[str]]] = {
    "layout_id": frozenset({"id of the layout: name it when you import the file"}),
    "name": frozenset({"name of the layout", "name of the layout: it gets single spaces"}),
    "units": frozenset({UNITS, CSV_SIZE}),
    "size": frozenset({PLAN_SIZE, CSV_SIZE}),
    "focal_point": frozenset({"focal point", "focal point in the corner: there it is none"}),
    "categories": frozenset({"categories that are listed", COLORS}),
    "order of categories": frozenset({"categories that are listed", COLORS}),
    "colours": frozenset({"colours of categories", COLORS}),
    "entrances": frozenset({"entrances", "places of entrances"}),
    "type": frozenset({AREAS}),
    "sections": frozenset({AREAS}),
    "order of sections": frozenset({MOVED, SPACES}),
    "section names": frozenset({SPACES}),
    "outline": frozenset({"outlines of sections", INVENTED, "outlines that lie over one that was invented"}),
    "sold_whole": frozenset({"sections that sell whole, as boxes"}),
    "within": frozenset({"sections that are within others"}),
    "floor": frozenset({"sections that are on a floor", ON_FIRST, SHAPE_WORDS}),
    "entrance": frozenset(
        {
            "sections that have an entrance",
            "places of entrances",
            "entrances of sections that are drawn in none",
        }
    ),
    "area_id": frozenset({"ids of areas: theirs are made of their names"}),
    "rows": frozenset({SPACES}),
    "order of rows": frozenset({"rows that come after a table: they are before it there", SPACES}),
    "rows sold whole": frozenset({WHOLE}),
    "tables": frozenset({"tables' drawings", "oval tables: they are round there"}),
    "numbers": frozenset({SPACES}),
    "seat ids": frozenset({SPACES}),
    "places": frozenset({CSV_SIZE}),
    "accessible": frozenset({"seats that are accessible"}),
    "companion": frozenset({"seats that are companion"}),
    "restricted_view": frozenset({"seats that are restricted view"}),
    "features": frozenset({"seats that are features", "seats with features that seats.io has not"}),
    "order of shapes": frozenset({*NO_SHAPES, "shapes in another place of their order", *SHAPE_FLOORS}),
    "number of shapes": frozenset({*NO_SHAPES, *SHAPE_FLOORS}),
    "outlines as decoration": frozenset({INVENTED, "outlines that lie over one that was invented"}),
    "kinds of shapes": frozenset({*NO_SHAPES, "kinds of shapes", SHAPE_WORDS}),
    "labels of shapes": frozenset({*NO_SHAPES, "stages without a label: they are called Stage there", SHAPE_WORDS}),
    "points of shapes": frozenset({*NO_SHAPES, "lines: one end of them is there"}),
    "floors of shapes": frozenset({*NO_SHAPES, *SHAPE_FLOORS}),
}


def lost(one: Layout, other: Layout) -> Iterator[str]:
    """Everything that a layout has otherwise than another, by the names of `TOLD_BY`."""
    for member in ("layout_id", "name", "type", "focal_point", "entrances"):
        if getattr(one, member) != getattr(other, member):
            yield member
    if one.viewport.units != other.viewport.units:
        yield "units"
    if (one.viewport.width, one.viewport.height) != (other.viewport.width, other.viewport.height):
        yield "size"
    yield from _lost_categories(one, other)
    yield from _lost_shapes(one, other)
    ours, theirs = ({cut_label(each.name): each for each in layout.sections} for layout in (one, other))
    if ours.keys() != theirs.keys():
        yield "sections"
    if [name for name in ours if name in theirs] != [name for name in theirs if name in ours]:
        yield "order of sections"
    for name in ours.keys() & theirs.keys():
        yield from _lost_of(ours[name], theirs[name])


def _lost_categories(one: Layout, other: Layout) -> Iterator[str]:
    ours, theirs = ({each.name: each.color for each in layout.categories} for layout in (one, other))
    if ours.keys() != theirs.keys():
        yield "categories"
    elif list(ours) != list(theirs):
        yield "order of categories"
    if ours != theirs and ours.keys() == theirs.keys():
        yield "colours"


def _lost_shapes(one: Layout, other: Layout) -> Iterator[str]:
    ours, theirs = list(one.shapes), list(other.shapes)
    # An outline that cannot stay is drawn as one more shape, after all others.
    more = sum(shape.kind == "section" for shape in theirs) - sum(shape.kind == "section" for shape in ours)
    if more > 0:
        yield "outlines as decoration"
        del theirs[-more:]
    if len(ours) != len(theirs):
        yield "number of shapes"
    elif ours != theirs and all(shape in theirs for shape in ours):
        yield "order of shapes"
    elif ours != theirs:
        for words, member in {"kinds": "kind", "labels": "label", "points": "points", "floors": "floor"}.items():
            # What is the same but for its order is no other one.
            mine, again = (sorted(getattr(each, member) or "" for each in shapes) for shapes in (ours, theirs))
            if mine != again:
                yield f"{words} of shapes"


def _lost_of(one: Section, other: Section) -> Iterator[str]:
    if one.name != other.name:
        yield "section names"
    assert (one.kind, one.capacity, one.category) == (other.kind, other.capacity, other.category)
    for member in ("outline", "sold_whole", "within", "floor", "entrance", "area_id"):
        if getattr(one, member) != getattr(other, member):
            yield member
    ours, theirs = ({cut_label(row.label): row for row in section.rows} for section in (one, other))
    assert ours.keys() == theirs.keys()
    if list(ours) != list(theirs):
        yield "order of rows"
    for label in ours:
        yield from _lost_row(ours[label], theirs[label])


def _lost_row(one: Row, other: Row) -> Iterator[str]:
    if one.label != other.label:
        yield "rows"
    if one.sold_whole != other.sold_whole:
        yield "rows sold whole"
    if one.table != other.table:
        yield "tables"
    for seat, again in zip(one.seats, other.seats, strict=True):
        assert cut_label(seat.number) == cut_label(again.number)
        assert seat.category == again.category
        if seat.number != again.number:
            yield "numbers"
        if seat.seat_id != again.seat_id:
            yield "seat ids"
        if (seat.x, seat.y) != (again.x, again.y):
            yield "places"
        for member in ("accessible", "companion", "restricted_view", "features"):
            if getattr(seat, member) != getattr(again, member):
                yield member


def assert_all_is_told(layout: Layout, wanted: ExportFormat) -> None:
    """What comes back otherwise is told by the export. With the layout's id, as documented, seats keep theirs."""
    exported = export_layout(layout, wanted)
    told = {line.partition(" × ")[2] for line in exported.unsaid}
    answer = import_layout(exported.data, filename=exported.filename)
    assert isinstance(answer, Imported), answer
    if answer.layout.layout_id != layout.layout_id:
        assert told & TOLD_BY["layout_id"]
        answer = import_layout(exported.data, filename=exported.filename, layout_id=layout.layout_id)
        assert isinstance(answer, Imported), answer
    silent = {what for what in lost(layout, answer.layout) if not TOLD_BY[what] & told}
    assert not silent, (silent, told)
    assert bool(answer.renamings) <= (SPACES in told)
