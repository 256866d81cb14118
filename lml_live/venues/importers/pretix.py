"""pretix's seating-plan JSON: the older variant (guids only) and the newer (`uuid`, `zone_id`, `row_label`).

Positions add up: zone + row + seat. Blocks inside a zone have no names there, and their rows may be called alike; each
block becomes a section of its own, "Ground floor 1", "Ground floor 2" and so on.
"""

import math
from collections.abc import Mapping
from typing import Final

from lml_live.venues.findings import shown
from lml_live.venues.importers.draft import (
    Box,
    Draft,
    DraftSeat,
    DraftSection,
    DraftShape,
    Imported,
    Polygon,
    Renaming,
    Spot,
)
from lml_live.venues.importers.finishing import Options, finish_draft
from lml_live.venues.importers.labels import first_free
from lml_live.venues.importers.outlines import ellipse, turned
from lml_live.venues.importers.reading import Rejected
from lml_live.venues.importers.tree import TreeReader
from lml_live.venues.layout import seats_of

_IDS: Final = "ids of zones, rows and areas: a layout has none"
_COLORS: Final = "colours of areas: a layout has none"
_WORDS: Final[Mapping[str, str | None]] = {
    **dict.fromkeys(("uuid", "zone_id"), _IDS),
    **dict.fromkeys(("color", "border_color"), _COLORS),
    "row_number_position": "places of row numbers in the drawing",
    "radius": "sizes of seats: a layout has none",
    **dict.fromkeys(("number_of_seats", "seats_spacing"), "counts and spacing of seats: they are where they are drawn"),
}
"""What members are that a layout has no place for."""
_SEAT_IDS: Final = ("seat_guid", "uuid")
_SEAT: Final = frozenset({"seat_number", "seat_label", "position", "category", *_SEAT_IDS})
_FORMS: Final = frozenset({"rectangle", "circle", "ellipse", "polygon"})
_AREA: Final = _FORMS | {"shape", "position", "rotation", "text"}


def looks_like_pretix(tree: object) -> bool:
    """Whether a tree is a seating plan of pretix's: zones with rows, or zones, perhaps none, and nothing of ours."""
    zones = tree.get("zones") if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or not isinstance(zones, list):
        return False
    with_rows = any(isinstance(zone, dict) and "rows" in zone for zone in zones)
    return with_rows or tree.keys().isdisjoint(("layout_id", "sections"))


def import_pretix(tree: object, options: Options) -> Imported | Rejected:
    """A layout from a seating plan, already read. Categories with their colours, positions and areas are kept."""
    reader = _Reader()
    draft, renamings = reader.read(tree)
    if options.strict:
        for renaming in renamings:
            reader.findings.add(
                renaming.path, f"is {shown(renaming.before)}; it would be renamed to {shown(renaming.after)}"
            )
    if reader.findings.count:
        return Rejected(reader.findings.closed())
    answer = finish_draft(draft, options)
    if isinstance(answer, Rejected):
        return answer
    # What we have exported has our own ids.
    ours = {seat.seat_id for *_, seat in seats_of(answer.layout)}
    count = sum(each not in ours for each in reader.seat_ids)
    notes = (*answer.notes, f"{count} × ids of seats: here they are made of labels") if count else answer.notes
    return Imported(answer.layout, (*renamings, *answer.renamings), notes, answer.warnings)


class _Reader(TreeReader):
    def __init__(self) -> None:
        super().__init__(_WORDS)
        self.seat_ids: list[str | int] = []

    def read(self, tree: object) -> tuple[Draft, list[Renaming]]:
        plan = self.take_object(tree, "")
        draft = Draft(self.take_text(plan, "name", "", required=False), units="px")
        self.count_rest("plans", plan, {"name", "size", "categories", "zones"})
        size = plan.get("size")
        if isinstance(size, dict):
            draft.canvas = Box(0, 0, self.take_number(size, "width", "size"), self.take_number(size, "height", "size"))
        for at, value in enumerate(self.take_list(plan, "categories", "", required=False)):
            path = f"categories[{at}]"
            category = self.take_object(value, path)
            name = self.take_text(category, "name", path, required=False)
            self.take_category(draft, name, self.take_text(category, "color", path, required=False))
            self.count_rest("categories", category, {"name", "color"})
        renamings: list[Renaming] = []
        taken: dict[str, int] = {}
        for at, zone in enumerate(self.take_list(plan, "zones", "")):
            self._zone(draft, self.take_object(zone, f"zones[{at}]"), f"zones[{at}]", taken, renamings)
        draft.notes += self.told()
        return draft, renamings

    def _zone(
        self, draft: Draft, zone: Mapping[str, object], path: str, taken: dict[str, int], renamings: list[Renaming]
    ) -> None:
        name = self.take_text(zone, "name", path, required=False) or self.take_text(
            zone, "zone_id", path, required=False
        )
        if not name:
            self.findings.add(f"{path}.name", "is missing; a zone needs a name")
            return
        # Where a zone has an id alone it is named by it.
        named = {"zone_id"} if zone.get("zone_id") == name else set()
        self.count_rest("zones", zone, {"name", "position", "rows", "areas", *named})
        origin = self._position(zone, path)
        blocks: list[dict[tuple[str, str], DraftSeat]] = [{}]
        for at, value in enumerate(self.take_list(zone, "rows", path)):
            seats = self._row(self.take_object(value, f"{path}.rows[{at}]"), f"{path}.rows[{at}]", origin)
            if any(key in blocks[-1] for key in seats):
                blocks.append({})
            blocks[-1].update(seats)
        for number, block in enumerate(blocks, 1):
            wanted = name if len(blocks) == 1 else f"{name} {number}"
            unique = first_free(wanted, taken, "{} ({})")
            if unique != name:
                renamings.append(Renaming(f"{path} (block {number})", name, unique))
            draft.sections.append(DraftSection(unique, path, list(block.values())))
        for at, value in enumerate(self.take_list(zone, "areas", path, required=False)):
            self._area(draft, self.take_object(value, f"{path}.areas[{at}]"), f"{path}.areas[{at}]", origin)

    def _row(self, row: Mapping[str, object], path: str, origin: Spot) -> dict[tuple[str, str], DraftSeat]:
        label = self._label(row, "row_number", "row_label", path)
        self.count_rest("rows", row, {"row_number", "row_label", "position", "seats"})
        start = self._position(row, path)
        seats: dict[tuple[str, str], DraftSeat] = {}
        for at, value in enumerate(self.take_list(row, "seats", path)):
            where = f"{path}.seats[{at}]"
            seat = self.take_object(value, where)
            number = self._label(seat, "seat_number", "seat_label", where)
            self.count_rest("seats", seat, _SEAT)
            self.seat_ids += [each for name in _SEAT_IDS if isinstance(each := seat.get(name), (str, int)) and each]
            offset = self._position(seat, where)
            if (label, number) in seats:
                self.findings.add(where, f"is number {shown(number)}, used before in this row; each is expected once")
            seats[label, number] = DraftSeat(
                row=label,
                number=number,
                path=where,
                spot=(origin[0] + start[0] + offset[0], origin[1] + start[1] + offset[1]),
                category=self.take_text(seat, "category", where, required=False),
            )
        return seats

    def _label(self, parent: Mapping[str, object], first: str, second: str, path: str) -> str:
        """The label of a row or seat, by the older name of it or the newer."""
        label = self.take_text(parent, first, path, required=False)
        other = self.take_text(parent, second, path, required=not label)
        if label and other not in ("", label):
            self.left_out["labels of rows and seats beside their numbers: a layout has one of them"] += 1
        return label or other

    def _area(self, draft: Draft, area: Mapping[str, object], path: str, origin: Spot) -> None:
        """Decoration: a rectangle, circle, ellipse or polygon, perhaps with a text such as "Stage"."""
        place = self._position(area, path)
        x, y = origin[0] + place[0], origin[1] + place[1]
        label = self._area_label(area, path)
        self.count_rest("areas", area, _AREA)
        turn = math.radians(self.take_number(area, "rotation", path)) if "rotation" in area else 0.0
        points = self._area_points(area, path)
        drawn = [(x + px, y + py) for px, py in turned(points, (0.0, 0.0), turn)]
        kind = "stage" if label.strip().lower() == "stage" else "area"
        draft.shapes.append(DraftShape(kind, label, drawn or [(x, y)]))

    def _area_label(self, area: Mapping[str, object], path: str) -> str:
        text = area.get("text")
        if not isinstance(text, dict):
            return self.take_words(area, "text", path)
        self.left_out["places, sizes and colours of texts in areas"] += bool(text.keys() - {"text"})
        return self.take_words(text, "text", f"{path}.text")

    def _area_points(self, area: Mapping[str, object], path: str) -> Polygon:
        shape = area.get("shape")
        if shape == "rectangle":
            size = self.take_object(area.get("rectangle"), f"{path}.rectangle")
            width = self.take_number(size, "width", f"{path}.rectangle")
            height = self.take_number(size, "height", f"{path}.rectangle")
            return [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
        if shape in ("circle", "ellipse"):
            size = self.take_object(area.get(str(shape)), f"{path}.{shape}")
            radius = size.get("radius")
            radii = radius if isinstance(radius, dict) else {"x": radius, "y": radius}
            rx, ry = (self.take_number(radii, axis, f"{path}.{shape}.radius") for axis in "xy")
            return ellipse((0.0, 0.0), rx, ry)
        if shape == "polygon":
            polygon = self.take_object(area.get("polygon"), f"{path}.polygon")
            return self.take_outline(polygon, "points", f"{path}.polygon")
        if shape != "text":
            self.left_out["areas of a form that a layout has not: a point is there"] += 1
        return []

    def _position(self, parent: Mapping[str, object], path: str) -> Spot:
        """The `position` of a zone, row, seat or area. Left out, it is the origin."""
        value = parent.get("position")
        return self.take_spot(value, f"{path}.position") if value is not None else (0.0, 0.0)
