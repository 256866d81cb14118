"""seats.io's chart JSON: rows, tables, booths, areas and shapes, in sections and on floors.

A chart draws its sections in the chart's own measure and what is in them in the section's, from its `topLeft`. Rows and
tables that are in no section go into one section a floor, which has no name at seats.io; each area is a section here.
"""

import math
from collections.abc import Mapping
from typing import Final

from lml_live import limits
from lml_live.venues.findings import shown
from lml_live.venues.importers.draft import (
    Box,
    Draft,
    DraftSeat,
    DraftSection,
    DraftShape,
    DraftTable,
    Imported,
    Polygon,
    Renaming,
    Spot,
)
from lml_live.venues.importers.finishing import Options, finish_draft
from lml_live.venues.importers.labels import first_free
from lml_live.venues.importers.outlines import ellipse, rectangle, turned
from lml_live.venues.importers.reading import Rejected
from lml_live.venues.importers.tree import TreeReader
from lml_live.venues.layout import Feature

OPEN_SECTION: Final = "Main"
"""What the section of those that are in none is called."""
BOOTHS: Final = "Booths"
FEATURES: Final[Mapping[str, Feature]] = {
    "semiAmbulatorySeat": "easy_access",
    "hearingImpaired": "hearing_loop",
    "liftUpArmrests": "lift_up_armrests",
    "plusSize": "plus_size",
    "signLanguageInterpretation": "sign_language",
}
_IDS: Final = "ids that things have in the chart: seats here have ids of their labels"
_LABELS: Final = "sizes and places of labels in the drawing"
_SPACING: Final = "bends and spacing of rows and tables: seats are where they are drawn"
_LINES: Final = "lines, corners and pictures of shapes: a layout has none"
_SETTINGS: Final = "settings of the chart and its editor"
_VIEWS: Final = "pictures of the view from a seat"
_SHOWN: Final = "labels to be shown instead of theirs"
_WORDS: Final[Mapping[str, str | None]] = {
    **dict.fromkeys(("objectType", "displayObjectType", "venueType"), None),
    "uuid": _IDS,
    **dict.fromkeys(("labelSize", "labelHorizontalOffset", "labelVerticalOffset", "labelRotationAngle"), _LABELS),
    **dict.fromkeys(("rowLabelPosition", "verticalRowLabelDirection", "rowLabelDisabled", "labelShown"), _LABELS),
    **dict.fromkeys(("seatLabeling", "objectLabeling"), "rules by which labels were made: the labels are kept"),
    **dict.fromkeys(("displayLabel", "sectionLabel", "sectionDisplayedLabel"), _SHOWN),
    **dict.fromkeys(("curve", "chairSpacing", "rowSpacing", "rowChairSpacing", "smooth", "smoothness"), _SPACING),
    **dict.fromkeys(("autoRadius", "openSpaces", "rotationAngle"), _SPACING),
    **dict.fromkeys(("fillColor", "strokeColor"), "colours of shapes: a layout has none"),
    **dict.fromkeys(("strokeWidth", "autoStroke", "cornerRadius", "icon", "smartTypeVariation"), _LINES),
    **dict.fromkeys(("foreground", "translucent"), _LINES),
    **dict.fromkeys(("version", "tablesLabelCounter", "uuidCounter", "maxCategoryKey", "colorScheme"), _SETTINGS),
    **dict.fromkeys(("sectionScaleFactor", "referenceChartVisible", "showAllButtons", "multiFloorView"), _SETTINGS),
    **dict.fromkeys(("snapOffset", "cutoffAngle"), _SETTINGS),
    "variableOccupancy": "areas of variable occupancy: theirs are so many places here",
    **dict.fromkeys(("minOccupancy", "maxOccupancy"), "least and most occupancies of areas: a layout has none"),
    "disabledBySocialDistancingRules": "seats that are disabled by rules of distance",
    "viewFromYourSeatImage": _VIEWS,
    "zones": "zones: a layout has none",
}
"""What members are that a layout has no place for."""
_CATEGORY: Final = frozenset({"categoryKey", "categoryLabel"})
_FLOOR_NAMES: Final = frozenset({"floorName", "floorDisplayName"})
_DRAWN: Final = frozenset({"width", "height", "rows", "tables", "booths", "generalAdmissionAreas", "shapes"})
_COUNTED: Final = frozenset({"texts", "icons", "imageObjects", "backgroundImage", "referenceChart"})
_CONTENT: Final = _DRAWN | _COUNTED
_OUTLINE: Final = frozenset({"points", "type", "center", "width", "height", "radius1", "radius2", "rotationAngle"})
_SEATS: Final = _CATEGORY | {"label", "seats", "bookAsAWhole", "published"}
_TABLE: Final = _SEATS | {"type", "center", "radius", "width", "height", "rotationAngle"}
_FLAGS: Final = frozenset({"accessible", "categoryAccessible", "companionSeat", "restrictedView", "published"})
_SEAT: Final = _CATEGORY | _FLAGS | FEATURES.keys() | {"label", "x", "y"}
_AREA: Final = _CATEGORY | _OUTLINE | {"label", "capacity", "bookAsAWhole", "published"}
_SECTION: Final = _CATEGORY | {"label", "points", "topLeft", "subChart", "entrance", "published"}
_SCALE_LET_PASS: Final = 0.1
"""A section's content is its outline's size, but for margins of this part of it."""


def looks_like_seatsio(tree: object) -> bool:
    """Whether a tree is a chart of seats.io's."""
    if not isinstance(tree, dict):
        return False
    floors = tree.get("subChartFloors")
    return isinstance(tree.get("subChart"), dict) or (isinstance(floors, list) and "venueType" in tree)


def import_seatsio(tree: object, options: Options) -> Imported | Rejected:
    """A layout from a chart, already read. What a layout cannot say is among the notes."""
    reader = _Reader()
    draft = reader.read(tree)
    if reader.findings.count:
        return Rejected(reader.findings.closed())
    draft.notes += reader.told()
    return finish_draft(draft, options)


class _Frame:
    """How places of one drawing lie on the chart."""

    def __init__(self, origin: Spot = (0.0, 0.0), scale: float = 1.0) -> None:
        self.origin, self.scale = origin, scale

    def spot(self, spot: Spot) -> Spot:
        return self.origin[0] + spot[0] * self.scale, self.origin[1] + spot[1] * self.scale

    def polygon(self, polygon: Polygon) -> Polygon:
        return [self.spot(spot) for spot in polygon]


class _Reader(TreeReader):
    def __init__(self) -> None:
        super().__init__(_WORDS)
        self._category_of: dict[str, str] = {}

    def read(self, tree: object) -> Draft:
        chart = self.take_object(tree, "")
        draft = Draft(self.take_text(chart, "name", "", required=False), units="px")
        self.count_rest("charts", chart, {"name", "categories", "subChart", "subChartFloors"})
        listed = chart.get("categories")
        if isinstance(listed, dict):
            self.count_rest("lists of categories", listed, {"list"})
        for at, value in enumerate(self.take_list(listed, "list", "categories") if isinstance(listed, dict) else []):
            path = f"categories.list[{at}]"
            category = self.take_object(value, path)
            label = self.take_text(category, "label", path)
            self._category_of[self.take_text(category, "key", path, required=False)] = label
            self.take_category(draft, label, self.take_text(category, "color", path, required=False))
            self.count_rest("categories", category, {"label", "key", "color"})
        floors = chart.get("subChartFloors")
        if isinstance(floors, list):
            for at, value in enumerate(floors):
                path = f"subChartFloors[{at}]"
                floor = self.take_object(value, path)
                name = self.take_words(floor, "floorDisplayName", path)
                own = self.take_words(floor, "floorName", path)
                self.left_out[_IDS] += bool(name and own)
                self._floor(draft, floor, path, name or own or f"Floor {at + 1}")
        else:
            self._floor(draft, self.take_object(chart.get("subChart"), "subChart"), "subChart", "")
        return draft

    def _floor(self, draft: Draft, floor: Mapping[str, object], path: str, name: str) -> None:
        size = Box(0, 0, self.take_number(floor, "width", path), self.take_number(floor, "height", path))
        before = draft.canvas or size
        draft.canvas = Box(0, 0, max(before.width, size.width), max(before.height, size.height))
        self.count_rest("floors", floor, _CONTENT | _FLOOR_NAMES | {"sections", "focalPoint"})
        if floor.get("focalPoint") is not None:
            focal = self.take_spot(floor["focalPoint"], f"{path}.focalPoint")
            # The corner is where a chart's focal point is before anybody has set it.
            if focal != (0.0, 0.0) and draft.focal is None:
                draft.focal = focal
            elif focal not in ((0.0, 0.0), draft.focal):
                self.left_out["focal points of further floors: a layout has one"] += 1
        open_name = f"{OPEN_SECTION} {name}".strip()
        self._content(draft, floor, path, _Frame(), DraftSection(open_name, path, floor=name), "")
        for at, value in enumerate(self.take_list(floor, "sections", path, required=False)):
            where = f"{path}.sections[{at}]"
            self._section(draft, self.take_object(value, where), where, name)

    def _section(self, draft: Draft, section: Mapping[str, object], path: str, floor: str) -> None:
        self.count_rest("sections", section, _SECTION)
        self._published(section)
        outline = self.take_outline(section, "points", path)
        inner = self.take_object(section.get("subChart"), f"{path}.subChart")
        self.count_rest("drawings of sections", inner, _CONTENT)
        origin = self.take_spot(section["topLeft"], f"{path}.topLeft") if section.get("topLeft") else (0.0, 0.0)
        scale = 1.0
        if outline:
            drawn = max(x for x, _ in outline) - min(x for x, _ in outline)
            own = self.take_number(inner, "width", f"{path}.subChart")
            if own > 0 and drawn > 0 and abs(drawn / own - 1) > _SCALE_LET_PASS:
                scale = drawn / own
                draft.notes.append(f"{path}: its content is drawn {1 / scale:.3g} times as large; it was fitted in")
        if section.get("entrance"):
            self.left_out["sections' words for an entrance: a layout's entrances have a place"] += 1
        label = self.take_text(section, "label", path)
        made = DraftSection(label, path, [], [outline] if len(outline) >= 3 else [], floor=floor)
        self._content(draft, inner, f"{path}.subChart", _Frame(origin, scale), made, self._category(section, path))

    def _content(
        self,
        draft: Draft,
        drawing: Mapping[str, object],
        path: str,
        frame: _Frame,
        section: DraftSection,
        category: str,
    ) -> None:
        """What is drawn in a section, or on a floor outside any."""
        rows: dict[str, int] = {}
        for at, value in enumerate(self.take_list(drawing, "rows", path, required=False)):
            where = f"{path}.rows[{at}]"
            row = self.take_object(value, where)
            self.count_rest("rows", row, _SEATS)
            self._published(row)
            label = self.take_text(row, "label", where)
            if label in rows:
                self.left_out["rows of a label that their section has before: each is one row with it"] += 1
            rows.setdefault(label, 2)
            section.seats += self._seats(row, where, label, frame, self._category(row, where) or category)
        for at, value in enumerate(self.take_list(drawing, "tables", path, required=False)):
            where = f"{path}.tables[{at}]"
            table = self.take_object(value, where)
            self.count_rest("tables", table, _TABLE)
            self._published(table)
            # A table is a row of its own: seats of a row or of another table of its label do not stand around it.
            label = self.take_text(table, "label", where)
            own = first_free(label, rows, "{} {}")
            if own != label:
                draft.renamings.append(Renaming(f"{where}.label", label, own))
            section.seats += self._table(table, where, own, frame, category)
        for at, value in enumerate(self.take_list(drawing, "booths", path, required=False)):
            where = f"{path}.booths[{at}]"
            booth = self.take_object(value, where)
            spot = frame.spot(self.take_spot(booth.get("center"), f"{where}.center"))
            number = self.take_text(booth, "label", where)
            seat_category = self._category(booth, where) or category
            section.seats.append(DraftSeat(BOOTHS, number, where, spot, seat_category))
            self.count_rest("booths", booth, _TABLE)
            self._published(booth)
            self.left_out["booths that became seats: a layout has no booths"] += 1
        if section.seats or section.outlines:
            draft.sections.append(section)
        for at, value in enumerate(self.take_list(drawing, "generalAdmissionAreas", path, required=False)):
            where = f"{path}.generalAdmissionAreas[{at}]"
            self._area(draft, self.take_object(value, where), where, frame, section.floor, category)
        for at, value in enumerate(self.take_list(drawing, "shapes", path, required=False)):
            where = f"{path}.shapes[{at}]"
            self._shape(draft, self.take_object(value, where), where, frame, section.floor)
        for kind, words in (("texts", "texts"), ("icons", "icons"), ("imageObjects", "pictures")):
            count = len(self.take_list(drawing, kind, path, required=False))
            if count:
                self.left_out[f"{words}: a layout has none"] += count
        for kind in ("backgroundImage", "referenceChart"):
            if drawing.get(kind):
                self.left_out["background pictures: a layout has none"] += 1

    def _seats(
        self,
        row: Mapping[str, object],
        path: str,
        label: str,
        frame: _Frame,
        category: str,
        table: DraftTable | None = None,
    ) -> list[DraftSeat]:
        seats = []
        whole = self.take_flag(row, "bookAsAWhole", path)
        for at, value in enumerate(self.take_list(row, "seats", path)):
            where = f"{path}.seats[{at}]"
            seat = self.take_object(value, where)
            features = tuple(sorted(ours for theirs, ours in FEATURES.items() if self.take_flag(seat, theirs, where)))
            accessible = self.take_flag(seat, "accessible", where) or self.take_flag(seat, "categoryAccessible", where)
            seats.append(
                DraftSeat(
                    row=label,
                    number=self.take_text(seat, "label", where),
                    path=where,
                    spot=frame.spot((self.take_number(seat, "x", where), self.take_number(seat, "y", where))),
                    category=self._category(seat, where) or category,
                    accessible=accessible,
                    companion=self.take_flag(seat, "companionSeat", where),
                    restricted_view=self.take_flag(seat, "restrictedView", where),
                    features=features,
                    table=table,
                    sold_whole=whole,
                )
            )
            self.count_rest("seats", seat, _SEAT)
            self._published(seat)
        return seats

    def _table(
        self, table: Mapping[str, object], path: str, label: str, frame: _Frame, category: str
    ) -> list[DraftSeat]:
        middle = frame.spot(self.take_spot(table.get("center"), f"{path}.center"))
        turn = self._turn(table, path)
        if table.get("type") == "round" or "radius" in table:
            size = 2 * self.take_number(table, "radius", path) * frame.scale
            drawn = DraftTable(middle, size, size, "round", turn)
        else:
            width, height = (self.take_number(table, name, path) * frame.scale for name in ("width", "height"))
            drawn = DraftTable(middle, abs(width), abs(height), "rectangle", turn)
        return self._seats(table, path, label, frame, self._category(table, path) or category, drawn)

    def _area(
        self, draft: Draft, area: Mapping[str, object], path: str, frame: _Frame, floor: str, category: str
    ) -> None:
        self.count_rest("areas", area, _AREA)
        self._published(area)
        label, capacity = self.take_text(area, "label", path), area.get("capacity")
        if area.get("bookAsAWhole"):
            self.left_out["areas that are booked as a whole: theirs are places here"] += 1
        if not isinstance(capacity, int) or isinstance(capacity, bool) or not 0 <= capacity <= limits.AREA_CAPACITY_MAX:
            expected = f"a whole number from 0 to {limits.AREA_CAPACITY_MAX} is expected"
            self.findings.add(f"{path}.capacity", f"is {shown(capacity)}; {expected}")
            return
        if capacity == 0:
            self.left_out["areas without places"] += 1
            return
        points = self._points(area, path, frame)
        made = DraftSection(label, path, [], [points] if len(points) >= 3 else [], capacity, floor=floor)
        made.category = self._category(area, path) or category
        draft.sections.append(made)

    def _shape(self, draft: Draft, shape: Mapping[str, object], path: str, frame: _Frame, floor: str) -> None:
        self.count_rest("shapes", shape, _OUTLINE | {"label", "smartType"})
        points = self._points(shape, path, frame)
        if not points:
            self.left_out["shapes of a kind that a layout has not"] += 1
            return
        kind = self.take_words(shape, "smartType", path) or "area"
        draft.shapes.append(DraftShape(kind, self.take_words(shape, "label", path), points, floor))

    def _points(self, shape: Mapping[str, object], path: str, frame: _Frame) -> Polygon:
        """The outline of an area or shape; none where it is of no known kind."""
        if isinstance(shape.get("points"), list):
            return frame.polygon(self.take_outline(shape, "points", path))
        if shape.get("center") is None:
            return []
        middle = self.take_spot(shape["center"], f"{path}.center")
        if shape.get("type") == "rectangle":
            size = [self.take_number(shape, name, path) for name in ("width", "height")]
            drawn = rectangle(middle, *size)
        elif shape.get("type") == "circle":
            radii = [self.take_number(shape, name, path) for name in ("radius1", "radius2")]
            drawn = ellipse(middle, *radii)
        else:
            return []
        return frame.polygon(turned(drawn, middle, math.radians(self._turn(shape, path))))

    def _turn(self, parent: Mapping[str, object], path: str) -> float:
        if parent.get("rotationAngle") is None:
            return 0.0
        # A tiny negative angle is 360 after the remainder, which no layout has.
        return self.take_number(parent, "rotationAngle", path) % 360 % 360

    def _published(self, parent: Mapping[str, object]) -> None:
        if parent.get("published") is False:
            self.left_out["what is not published: it is like all else here"] += 1

    def _category(self, parent: Mapping[str, object], path: str) -> str:
        """The category that something names, by its key or its label; none where it names none."""
        if parent.get("categoryKey") is not None:
            key = self.take_text(parent, "categoryKey", path)
            if key in self._category_of:
                label = parent.get("categoryLabel")
                if label and label != self._category_of[key]:
                    self.left_out["labels of categories that are not those of their keys: the keys decide"] += 1
                return self._category_of[key]
        return self.take_text(parent, "categoryLabel", path, required=False)
