"""pretix's seating-plan JSON: the older variant (guids only) and the newer (`uuid`, `zone_id`, `row_label`).

Positions add up: zone + row + seat. Blocks inside a zone have no names there, and their rows may be called alike; each
block becomes a section of its own, "Ground floor 1", "Ground floor 2" and so on.
"""

import math
from collections.abc import Mapping

from lml_live import limits
from lml_live.venues.findings import Findings, shown
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
from lml_live.venues.importers.reading import Rejected

_ELLIPSE_POINTS = 24


def looks_like_pretix(tree: object) -> bool:
    """Whether a tree is a seating plan of pretix's: zones with rows."""
    zones = tree.get("zones") if isinstance(tree, dict) else None
    return isinstance(zones, list) and any(isinstance(zone, dict) and "rows" in zone for zone in zones)


def import_pretix(tree: object, options: Options) -> Imported | Rejected:
    """A layout from a seating plan, already read. Categories, positions and areas with a text are kept."""
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
    return Imported(answer.layout, (*renamings, *answer.renamings), answer.notes, answer.warnings)


class _Reader:
    def __init__(self) -> None:
        self.findings = Findings()

    def read(self, tree: object) -> tuple[Draft, list[Renaming]]:
        plan = self._object(tree, "")
        draft = Draft(self._text(plan, "name", "", required=False), units="px")
        size = plan.get("size")
        if isinstance(size, dict):
            draft.canvas = Box(0, 0, self._number(size, "width", "size"), self._number(size, "height", "size"))
        renamings: list[Renaming] = []
        taken: set[str] = set()
        for at, zone in enumerate(self._list(plan, "zones", "")):
            self._zone(draft, self._object(zone, f"zones[{at}]"), f"zones[{at}]", taken, renamings)
        return draft, renamings

    def _zone(
        self, draft: Draft, zone: Mapping[str, object], path: str, taken: set[str], renamings: list[Renaming]
    ) -> None:
        name = self._text(zone, "name", path, required=False) or self._text(zone, "zone_id", path, required=False)
        if not name:
            self.findings.add(f"{path}.name", "is missing; a zone needs a name")
            return
        origin = self._position(zone, path)
        blocks: list[dict[tuple[str, str], DraftSeat]] = [{}]
        for at, value in enumerate(self._list(zone, "rows", path)):
            seats = self._row(self._object(value, f"{path}.rows[{at}]"), f"{path}.rows[{at}]", origin)
            if any(key in blocks[-1] for key in seats):
                blocks.append({})
            blocks[-1].update(seats)
        for number, block in enumerate(blocks, 1):
            wanted = name if len(blocks) == 1 else f"{name} {number}"
            unique, count = wanted, 2
            while unique in taken:
                unique, count = f"{wanted} ({count})", count + 1
            taken.add(unique)
            if unique != name:
                renamings.append(Renaming(f"{path} (block {number})", name, unique))
            draft.sections.append(DraftSection(unique, path, list(block.values())))
        for at, value in enumerate(self._list(zone, "areas", path, required=False)):
            self._area(draft, self._object(value, f"{path}.areas[{at}]"), f"{path}.areas[{at}]", origin)

    def _row(self, row: Mapping[str, object], path: str, origin: Spot) -> dict[tuple[str, str], DraftSeat]:
        label = self._text(row, "row_number", path, required=False) or self._text(row, "row_label", path)
        start = self._position(row, path)
        seats: dict[tuple[str, str], DraftSeat] = {}
        for at, value in enumerate(self._list(row, "seats", path)):
            where = f"{path}.seats[{at}]"
            seat = self._object(value, where)
            number = self._text(seat, "seat_number", where, required=False) or self._text(seat, "seat_label", where)
            offset = self._position(seat, where)
            if (label, number) in seats:
                self.findings.add(where, f"is number {shown(number)}, used before in this row; each is expected once")
            seats[label, number] = DraftSeat(
                row=label,
                number=number,
                path=where,
                spot=(origin[0] + start[0] + offset[0], origin[1] + start[1] + offset[1]),
                category=self._text(seat, "category", where, required=False),
            )
        return seats

    def _area(self, draft: Draft, area: Mapping[str, object], path: str, origin: Spot) -> None:
        """Decoration: a rectangle, circle, ellipse or polygon, perhaps with a text such as "Stage"."""
        place = self._position(area, path)
        x, y = origin[0] + place[0], origin[1] + place[1]
        text = area.get("text")
        label = self._text(text, "text", f"{path}.text", required=False) if isinstance(text, dict) else ""
        turn = math.radians(self._number(area, "rotation", path)) if "rotation" in area else 0.0
        points = self._area_points(area, path)
        cos, sin = math.cos(turn), math.sin(turn)
        turned = [(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in points]
        kind = "stage" if label.strip().lower() == "stage" else "area"
        draft.shapes.append(DraftShape(kind, " ".join(label.split())[: limits.LABEL_CHARS_MAX], turned or [(x, y)]))

    def _area_points(self, area: Mapping[str, object], path: str) -> Polygon:
        shape = area.get("shape")
        if shape == "rectangle":
            size = self._object(area.get("rectangle"), f"{path}.rectangle")
            width = self._number(size, "width", f"{path}.rectangle")
            height = self._number(size, "height", f"{path}.rectangle")
            return [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
        if shape in ("circle", "ellipse"):
            size = self._object(area.get(str(shape)), f"{path}.{shape}")
            radius = size.get("radius")
            radii = radius if isinstance(radius, dict) else {"x": radius, "y": radius}
            rx, ry = (self._number(radii, axis, f"{path}.{shape}.radius") for axis in "xy")
            steps = [2 * math.pi * at / _ELLIPSE_POINTS for at in range(_ELLIPSE_POINTS)]
            return [(rx * math.cos(angle), ry * math.sin(angle)) for angle in steps]
        if shape == "polygon":
            polygon = self._object(area.get("polygon"), f"{path}.polygon")
            where = f"{path}.polygon.points"
            points = self._list(polygon, "points", f"{path}.polygon")[: limits.OUTLINE_POINTS_MAX]
            return [self._spot(point, f"{where}[{at}]") for at, point in enumerate(points)]
        return []

    def _object(self, value: object, path: str) -> Mapping[str, object]:
        if isinstance(value, dict):
            return value
        self.findings.add(path, f"is {shown(value)}; an object is expected")
        return {}

    def _list(self, parent: Mapping[str, object], name: str, path: str, *, required: bool = True) -> list[object]:
        value = parent.get(name)
        if isinstance(value, list):
            return value
        if required and parent:
            self.findings.add(f"{path}.{name}".lstrip("."), f"is {shown(value)}; an array is expected")
        return []

    def _text(self, parent: Mapping[str, object], name: str, path: str, *, required: bool = True) -> str:
        value = parent.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
            return str(value)
        if parent and (required or value is not None):
            self.findings.add(f"{path}.{name}".lstrip("."), f"is {shown(value)}; text is expected")
        return ""

    def _number(self, parent: Mapping[str, object], name: str, path: str) -> float:
        value = parent.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= limits.VIEWPORT_MAX:
            return float(value)
        if parent:
            expected = f"a number within ±{limits.VIEWPORT_MAX} is expected"
            self.findings.add(f"{path}.{name}".lstrip("."), f"is {shown(value)}; {expected}")
        return 0.0

    def _position(self, parent: Mapping[str, object], path: str) -> Spot:
        """The `position` of a zone, row, seat or area. Left out, it is the origin."""
        value = parent.get("position")
        return self._spot(value, f"{path}.position") if value is not None else (0.0, 0.0)

    def _spot(self, value: object, path: str) -> Spot:
        spot = self._object(value, path)
        return self._number(spot, "x", path), self._number(spot, "y", path)
