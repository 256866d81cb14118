"""The index that the server keeps of a layout version: seats by position, rows, areas, wholes, who sits beside whom."""

import math
from typing import Final

import msgspec

from lml_live.venues.layout import Layout, LayoutType, Point, Row, Seat
from lml_live.venues.seating import Place, Seating, seat_rows


class LayoutArea(msgspec.Struct, frozen=True, gc=False):
    """A standing section: sold by quantity."""

    area_id: str
    name: str
    category: str
    capacity: int


class LayoutRow(msgspec.Struct, frozen=True, gc=False):
    """Seats `first … first + count - 1` stand side by side, in this order."""

    section: str
    label: str
    first: int
    count: int


class LayoutIndex(msgspec.Struct, frozen=True):
    """What the server knows by heart of one layout version. A seat's index is its position in canonical order."""

    layout_id: str
    version: int
    hash: str
    name: str
    type: LayoutType
    seat_count: int
    seat_ids: tuple[str, ...]
    index_of: dict[str, int]
    """Seat id to index."""
    categories: tuple[str, ...]
    """The category of each seat, by index."""
    numbers: tuple[str, ...]
    """The number of each seat, by index; section and row are found with `row_of`."""
    rows: tuple[LayoutRow, ...]
    row_of: tuple[int, ...]
    """The position in `rows` of each seat's row, by index."""
    areas: tuple[LayoutArea, ...]
    accessible: frozenset[int]
    companions: frozenset[int]
    wholes: tuple[tuple[int, ...], ...]
    """The tables and boxes that sell only whole: the seats of each."""
    whole_of: dict[int, int]
    """The position in `wholes` of each seat that is in one."""
    seating: Seating
    """Who sits beside whom, and how far from the focal point."""


def index_layout(layout: Layout) -> LayoutIndex:
    """Builds the index of a sealed layout that passed `checks.check_layout`. 200,000 seats take about 0.7 s."""
    seat_ids: list[str] = []
    categories: list[str] = []
    numbers: list[str] = []
    row_of: list[int] = []
    rows: list[LayoutRow] = []
    areas: list[LayoutArea] = []
    special: list[tuple[int, Seat]] = []
    wholes: list[tuple[int, ...]] = []
    for section in layout.sections:
        if section.kind == "standing":
            areas.append(LayoutArea(section.area_id or "", section.name, section.category or "", section.capacity or 0))
        begun = len(seat_ids)
        for row in section.rows:
            first = len(seat_ids)
            row_of.extend([len(rows)] * len(row.seats))
            rows.append(LayoutRow(section.name, row.label, first, len(row.seats)))
            seat_ids.extend([seat.seat_id for seat in row.seats])
            categories.extend([seat.category for seat in row.seats])
            numbers.extend([seat.number for seat in row.seats])
            special.extend((first + at, seat) for at, seat in enumerate(row.seats) if seat.accessible or seat.companion)
            if row.sold_whole:
                wholes.append(tuple(range(first, len(seat_ids))))
        if section.sold_whole:
            wholes.append(tuple(range(begun, len(seat_ids))))
    return LayoutIndex(
        layout_id=layout.layout_id,
        version=layout.version,
        hash=layout.hash,
        name=layout.name,
        type=layout.type,
        seat_count=len(seat_ids),
        seat_ids=tuple(seat_ids),
        index_of={text: index for index, text in enumerate(seat_ids)},
        categories=tuple(categories),
        numbers=tuple(numbers),
        rows=tuple(rows),
        row_of=tuple(row_of),
        areas=tuple(areas),
        accessible=frozenset(index for index, seat in special if seat.accessible),
        companions=frozenset(index for index, seat in special if seat.companion),
        wholes=tuple(wholes),
        whole_of={seat: number for number, seats in enumerate(wholes) for seat in seats},
        seating=_seating(layout),
    )


_STAGES: Final = frozenset({"stage", "screen", "field", "pitch", "court"})


def focal_point(layout: Layout) -> Point:
    """Where everybody looks: as the layout says, else the middle of its stage, else of the plan's upper edge."""
    if layout.focal_point is not None:
        return layout.focal_point
    for shape in layout.shapes:
        if shape.kind.casefold() in _STAGES:
            xs, ys = zip(*shape.points, strict=True)
            return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    return 0.5, 0.0


def _seating(layout: Layout) -> Seating:
    width, height = layout.viewport.width, layout.viewport.height
    focal = focal_point(layout)

    def places(row: Row) -> list[Place]:
        return [(seat.x * width, seat.y * height) for seat in row.seats]

    sections = [[places(row) for row in section.rows] for section in layout.sections]
    return seat_rows(sections, (focal[0] * width, focal[1] * height), math.hypot(width, height))
