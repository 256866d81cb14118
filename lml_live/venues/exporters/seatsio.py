"""seats.io's chart JSON: sections with their rows and tables, areas, shapes, floors and categories. Pure."""

from collections.abc import Mapping, Sequence
from itertools import dropwhile
from typing import Any, Final

import msgspec

from lml_live.venues.exporters.measure import Measure
from lml_live.venues.exporters.unsaid import BOXES, INVENTED_COLOR, NESTED, Unsaid
from lml_live.venues.importers.finishing import outlines_in_the_way
from lml_live.venues.importers.seatsio import FEATURES, OPEN_SECTION
from lml_live.venues.layout import COORDINATE_DECIMALS, Layout, Point, Row, Seat, Section, Shape, Table
from lml_live.venues.viewport import Pixels

_VERSION: Final = 22
"""Of the charts that this was written after."""
_PAD: Final = 10.0
"""Around the seats of a section that has no outline: seats.io's sections have one."""
_ROUNDED_BY: Final = 0.5 * 10**-COORDINATE_DECIMALS
_SAID: Final = frozenset(FEATURES.values())


def seatsio_chart(layout: Layout, unsaid: Unsaid) -> dict[str, Any]:
    """The chart's JSON. It has no nesting, no boxes, and of entrances no more than their words."""
    measure = Measure(layout)
    names = dict.fromkeys(category.name for category in layout.categories)
    names |= dict.fromkeys(seat.category for s in layout.sections for row in s.rows for seat in row.seats)
    names |= dict.fromkeys(section.category for section in layout.sections if section.category)
    keys = {name: at for at, name in enumerate(filter(None, names), 1)}
    colors = {category.name: category.color for category in layout.categories}
    writer = _Writer(measure, keys, unsaid)
    unsaid.add_name(layout, measure)
    unsaid.add_labels(layout.sections)
    unsaid.add_words(word for shape in layout.shapes for word in (shape.kind, shape.label))
    unsaid.add("places of entrances", len(layout.entrances))
    unsaid.add("focal point in the corner: there it is none", layout.focal_point == (0, 0))
    unsaid.add_area_ids(layout)
    unsaid.add_colors(colors, keys)
    unsaid.add_sections(layout.sections, sold_whole=BOXES, within=NESTED)
    chart: dict[str, Any] = {
        "name": layout.name,
        "version": _VERSION,
        "sectionScaleFactor": 100,
        "tablesLabelCounter": 1,
        "uuidCounter": 1,
        "categories": {
            "list": [
                {"label": name, "color": (colors.get(name) or INVENTED_COLOR).upper(), "accessible": False, "key": key}
                for name, key in keys.items()
            ],
            "maxCategoryKey": len(keys),
        },
    }
    floors = list(dict.fromkeys(section.floor for section in layout.sections if section.floor is not None))
    if floors:
        chart["venueType"] = "WITH_SECTIONS_AND_FLOORS"
        chart["subChartFloors"] = _floors(layout, floors, writer)
    else:
        open_only = [section.name for section in layout.sections if section.kind == "seated"] == [OPEN_SECTION]
        chart["venueType"] = "ROWS_WITHOUT_SECTIONS" if open_only else "ROWS_WITH_SECTIONS"
        unsaid.add("floors of shapes", sum(shape.floor is not None for shape in layout.shapes))
        chart["subChart"] = writer.drawing(layout, layout.sections, layout.shapes)
    writer.tell_order(layout)
    writer.tell_outlines(layout)
    return chart


def _floors(layout: Layout, floors: Sequence[str], writer: "_Writer") -> list[dict[str, Any]]:
    """What is drawn on each floor. What is on no floor is on all of them; there each thing is on one."""
    unsaid = writer.unsaid
    unsaid.add("sections on no floor: they are on the first", sum(section.floor is None for section in layout.sections))
    unsaid.add("shapes on all floors: they are on the first", sum(shape.floor is None for shape in layout.shapes))
    unsaid.add_words(floors)
    drawn = []
    for at, floor in enumerate(floors):
        here = {floor, None} if at == 0 else {floor}
        sections = [section for section in layout.sections if section.floor in here]
        drawing = writer.drawing(layout, sections, [shape for shape in layout.shapes if shape.floor in here], floor)
        drawn.append(drawing | {"floorName": str(at + 1), "floorDisplayName": floor})
    lost = [shape for shape in layout.shapes if shape.floor not in {*floors, None}]
    unsaid.add("shapes on floors without sections", len(lost))
    return drawn


class _Writer:
    def __init__(self, measure: Measure, keys: Mapping[str, int], unsaid: Unsaid) -> None:
        self.measure, self.keys, self.unsaid = measure, keys, unsaid
        self._count = 0
        self._order: list[str] = []
        self._shapes: list[Shape] = []
        self._invented: dict[str, tuple[Point, ...]] = {}

    def tell_order(self, layout: Layout) -> None:
        """Notes what stands in another order when the chart is read: by floor, areas before drawn sections."""
        names = [section.name for section in layout.sections]
        moved = sum(one != other for one, other in zip(names, self._order, strict=True))
        self.unsaid.add("sections in another place of their order", moved)
        written = set(map(id, self._shapes))
        kept = [shape for shape in layout.shapes if id(shape) in written]
        moved = sum(one is not other for one, other in zip(kept, self._shapes, strict=True))
        self.unsaid.add("shapes in another place of their order", moved)

    def tell_outlines(self, layout: Layout) -> None:
        """Notes outlines that the import takes for decoration, because one that was invented here is before them."""
        if not self._invented:
            return
        by_name = {section.name: section for section in layout.sections}
        sections = [
            msgspec.structs.replace(by_name[name], outline=self._invented.get(name, by_name[name].outline))
            for name in self._order
        ]
        in_the_way = outlines_in_the_way(msgspec.structs.replace(layout, sections=tuple(sections)))
        lost = sum(sections[at].name not in self._invented for at in in_the_way)
        self.unsaid.add("outlines that lie over one that was invented", lost)

    def drawing(
        self, layout: Layout, sections: Sequence[Section], shapes: Sequence[Shape], floor: str = ""
    ) -> dict[str, Any]:
        """What a chart, or a floor of one, has."""
        open_rows: list[Row] = []
        drawn = []
        for section in sections:
            # Seats of the section that stands for none here are drawn in none: so they come back as they were.
            name = f"{OPEN_SECTION} {floor}".strip()
            if section.kind == "seated" and section.name == name and not section.outline:
                open_rows += section.rows
                self.unsaid.add("entrances of sections that are drawn in none", section.entrance is not None)
            elif section.kind == "seated":
                drawn.append(self._section(section))
        self._order += [f"{OPEN_SECTION} {floor}".strip()] if open_rows else []
        self._order += [section.name for section in sections if section.kind == "standing"]
        self._order += [section["label"] for section in drawn]
        self._shapes += shapes
        focal = None if layout.focal_point is None else _spot(self.measure.pixels(layout.focal_point))
        return {
            **self._content(open_rows, (0.0, 0.0)),
            "width": self.measure.width,
            "height": self.measure.height,
            "generalAdmissionAreas": [self._area(section) for section in sections if section.kind == "standing"],
            "shapes": [self._shape(shape) for shape in shapes],
            "sections": drawn,
            "focalPoint": focal,
            "backgroundImage": None,
            "snapOffset": {"x": 0, "y": 0},
        }

    def _content(self, rows: Sequence[Row], origin: Pixels) -> dict[str, Any]:
        behind = dropwhile(lambda row: row.table is None, rows)
        self.unsaid.add("rows that come after a table: they are before it there", sum(r.table is None for r in behind))
        return {
            "rows": [self._row(row, origin) for row in rows if row.table is None],
            "tables": [self._table(row, origin) for row in rows if row.table is not None],
            **{name: [] for name in ("texts", "booths", "icons", "imageObjects", "shapes", "generalAdmissionAreas")},
        }

    def _section(self, section: Section) -> dict[str, Any]:
        outline = [self.measure.pixels(point) for point in section.outline]
        if not outline:
            seats = [self.measure.pixels((seat.x, seat.y)) for row in section.rows for seat in row.seats]
            # Within the plan: what reached beyond it would move everything when the chart is read.
            left, right = max(min(x for x, _ in seats) - _PAD, 0), max(x for x, _ in seats) + _PAD
            top, bottom = max(min(y for _, y in seats) - _PAD, 0), max(y for _, y in seats) + _PAD
            right, bottom = min(right, self.measure.width), min(bottom, self.measure.height)
            outline = [(left, top), (right, top), (right, bottom), (left, bottom)]
            size = self.measure.width, self.measure.height
            self._invented[section.name] = tuple((x / size[0], y / size[1]) for x, y in outline)
            self.unsaid.add("sections without an outline: they have one there")
        origin = min(x for x, _ in outline), min(y for _, y in outline)
        return {
            "uuid": self._new_id(),
            "label": section.name,
            "points": [_spot(point) for point in outline],
            "topLeft": _spot(origin),
            "entrance": section.entrance,
            "subChart": {
                **self._content(section.rows, origin),
                "width": max(x for x, _ in outline) - origin[0],
                "height": max(y for _, y in outline) - origin[1],
            },
        }

    def _row(self, row: Row, origin: Pixels) -> dict[str, Any]:
        whole = {"bookAsAWhole": True} if row.sold_whole else {}
        if row.sold_whole:
            self.unsaid.add("rows without a table that sell whole: seats.io may not take them")
        return {
            "uuid": self._new_id(),
            "objectType": "row",
            "label": row.label,
            "curve": 0,
            "seats": [self._seat(seat, origin) for seat in row.seats],
            **whole,
        }

    def _table(self, row: Row, origin: Pixels) -> dict[str, Any]:
        table = row.table
        assert table is not None
        x, y = self.measure.pixels((table.x, table.y))
        width, height = self.measure.pixels((table.width, table.height))
        size = {"width": width, "height": height}
        if table.form == "round":
            size = {"radius": self._radius(table)}
        return {
            "uuid": self._new_id(),
            "objectType": "table",
            "type": "round" if table.form == "round" else "rectangular",
            "label": row.label,
            "center": {"x": x - origin[0], "y": y - origin[1]},
            "rotationAngle": table.turn,
            "openSpaces": 0,
            "bookAsAWhole": row.sold_whole,
            "seats": [self._seat(seat, origin) for seat in row.seats],
            **size,
        }

    def _radius(self, table: Table) -> float:
        """Of a round table, in pixels: one that is as wide and as high as the table's rounded sides, where there is."""
        sides = ((table.width, self.measure.width), (table.height, self.measure.height))
        least = max((side - _ROUNDED_BY) * whole for side, whole in sides)
        # What is as long as the plan can be longer: it is cut off there when it is read.
        longest = max(self.measure.width, self.measure.height)
        most = min((side + _ROUNDED_BY) * whole if side < 1 else longest for side, whole in sides)
        if least >= most:
            self.unsaid.add("oval tables: they are round there")
            return sides[0][0] * sides[0][1] / 2
        return max(least + most, 0) / 4

    def _seat(self, seat: Seat, origin: Pixels) -> dict[str, Any]:
        x, y = self.measure.pixels((seat.x, seat.y))
        self.unsaid.add("seats with features that seats.io has not", bool(set(seat.features) - _SAID))
        features = {theirs: ours in seat.features for theirs, ours in FEATURES.items()}
        return {
            "uuid": self._new_id(),
            "label": seat.number,
            "x": x - origin[0],
            "y": y - origin[1],
            "categoryLabel": seat.category,
            "categoryKey": self.keys[seat.category],
            "accessible": seat.accessible,
            "companionSeat": seat.companion,
            "restrictedView": seat.restricted_view,
            **features,
        }

    def _area(self, section: Section) -> dict[str, Any]:
        assert section.category is not None
        self.unsaid.add("entrances of areas", section.entrance is not None)
        if not section.outline:
            self.unsaid.add("areas without an outline: they are a point in the middle there")
        outline = [self.measure.pixels(point) for point in section.outline] or [self.measure.pixels((0.5, 0.5))]
        return {
            "uuid": self._new_id(),
            "objectType": "generalAdmission",
            "type": "polygon",
            "label": section.name,
            "capacity": section.capacity,
            "categoryLabel": section.category,
            "categoryKey": self.keys[section.category],
            "bookAsAWhole": False,
            "points": [_spot(point) for point in outline],
        }

    def _shape(self, shape: Shape) -> dict[str, Any]:
        points = [_spot(self.measure.pixels(point)) for point in shape.points]
        return {
            "uuid": self._new_id(),
            "objectType": "shape",
            "type": "polygon",
            "label": shape.label,
            "smartType": None if shape.kind == "area" else shape.kind,
            "points": points,
        }

    def _new_id(self) -> str:
        self._count += 1
        return f"uuid{self._count}"


def _spot(point: Pixels) -> dict[str, float]:
    return {"x": point[0], "y": point[1]}
