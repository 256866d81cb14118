"""SVG drawings whose elements say which seat they are, by `data-` attributes or by their ids. Pure.

An element is a seat where it has a `data-number`, or an id of three parts: `Stalls_A_1`, `Stalls/A/1`, `Stalls:A:1` or
`Stalls-A-1`. `data-section`, `data-row`, `data-category` and the flags are inherited from the groups around it. Nothing
of a drawing is kept but places and labels: no script, style or link of it ever reaches a page. A file with a document
type is refused, so there are no entities to be expanded.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final
from xml.parsers import expat

from lml_live import limits
from lml_live.venues.findings import Findings, shown
from lml_live.venues.importers.draft import Box, Draft, DraftSeat, DraftSection, DraftShape, Imported, Polygon, Spot
from lml_live.venues.importers.finishing import Options, finish_draft
from lml_live.venues.importers.labels import cut_label
from lml_live.venues.importers.numerals import NUMERAL, read_numerals
from lml_live.venues.importers.outlines import OutlineError, ellipse, read_outlines, read_path, rectangle
from lml_live.venues.importers.placing import bounds_of
from lml_live.venues.importers.reading import Rejected, rejected

Matrix = tuple[float, float, float, float, float, float]
_UNMOVED: Final[Matrix] = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)

_SHAPES: Final = frozenset({"circle", "ellipse", "rect", "path", "polygon", "polyline", "use", "image", "text"})
_UNDRAWN: Final = frozenset({"defs", "symbol", "clipPath", "mask", "pattern", "marker", "script", "style", "metadata"})
"""What is in these is drawn only where something else refers to it, or never."""
_INHERITED: Final = (
    *("data-section", "data-row", "data-category", "data-floor"),
    *("data-accessible", "data-companion", "data-restricted-view"),
)
# Possessive, as in `numerals`.
_LENGTH: Final = re.compile(rf"\s*+({NUMERAL})(?:px)?\s*+")
_TRANSFORM: Final = re.compile(r"\s*+,?\s*+(matrix|translate|scale|rotate|skewX|skewY)\s*+\(([^()]*+)\)")
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{2,4})_")
"""How drawing programs write what an id may not have: `_x20_` is a space."""
_TRUE: Final = frozenset({"", "1", "true", "yes"})


class _RefusedError(Exception):
    """Ends the parser at something that is not taken; never leaves this module."""


def looks_like_svg(text: str) -> bool:
    """Whether the file can only be meant as XML."""
    return text.lstrip()[:1] == "<"


def import_svg(text: str, options: Options) -> Imported | Rejected:
    """A layout of a drawing. What it has beside places is counted among the notes."""
    reader = _Reader(options.stem)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True

    def refuse_type(*_: Any) -> None:
        raise _RefusedError("has a document type (<!DOCTYPE …>): take it out; entities are not expanded")

    parser.StartDoctypeDeclHandler = refuse_type
    parser.StartElementHandler = lambda name, attributes: reader.begin(name, attributes, parser.CurrentLineNumber)
    parser.EndElementHandler = lambda name: reader.end(name.rpartition(" ")[2])
    parser.CharacterDataHandler = reader.hear
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        return rejected(
            f"line {error.lineno}, column {error.offset}", f"is no XML: {expat.errors.messages[error.code]}"
        )
    except _RefusedError as fault:
        return rejected(f"line {parser.CurrentLineNumber}", str(fault))
    if reader.findings.count:
        return Rejected(reader.findings.closed())
    return finish_draft(reader.finish(), options)


class _Reader:
    """One look at one drawing. Mutable: it lives as long as that."""

    def __init__(self, stem: str) -> None:
        self.findings = Findings()
        self.draft = Draft(stem, units="px")
        self._sections: dict[str, DraftSection] = {}
        self._left_out: Counter[str] = Counter()
        self._around: list[tuple[Matrix, Mapping[str, str]]] = [(_UNMOVED, {})]
        self._hidden = 0
        self._seats = 0
        self._title: list[str] | None = None

    def finish(self) -> Draft:
        """The draft of all that was seen."""
        self.draft.sections = list(self._sections.values())
        self.draft.notes += [f"{count} × {what}" for what, count in sorted(self._left_out.items())]
        return self.draft

    def hear(self, text: str) -> None:
        """The text of the drawing's title is its name."""
        if self._title is not None:
            self._title.append(text)

    def end(self, tag: str) -> None:
        """An element ends."""
        self._around.pop()
        if tag in _UNDRAWN:
            self._hidden -= 1
        if tag == "title" and self._title is not None:
            self.draft.name, self._title = " ".join("".join(self._title).split()) or self.draft.name, None

    def begin(self, name: str, attributes: dict[str, str], line: int) -> None:
        """An element begins."""
        tag, path = name.rpartition(" ")[2], f"line {line}"
        if len(self._around) == 1 and tag != "svg":
            raise _RefusedError(f"begins with <{tag[:40]}>; a drawing begins with <svg>")
        if len(self._around) > limits.JSON_DEPTH_MAX:
            raise _RefusedError(f"is nested too deeply; at most {limits.JSON_DEPTH_MAX} levels are expected")
        if len(self._around) == 1:
            self._canvas(attributes, path)
        if tag == "title" and len(self._around) == 2:
            self._title = []
        matrix, inherited = self._around[-1]
        if "transform" in attributes:
            matrix = _product(matrix, self._transform(attributes["transform"], path))
        own = {name: text for name, text in attributes.items() if name in _INHERITED}
        self._around.append((matrix, {**inherited, **own}))
        if tag in _UNDRAWN:
            self._hidden += 1
        elif tag in _SHAPES and not self._hidden:
            self._shape(tag, attributes, path)

    def _canvas(self, attributes: Mapping[str, str], path: str) -> None:
        numbers = read_numerals(attributes.get("viewBox", "")) or []
        if "viewBox" not in attributes and {"width", "height"} <= attributes.keys():
            # Other units than pixels say nothing about what is drawn inside.
            sizes = [_LENGTH.fullmatch(attributes[side]) for side in ("width", "height")]
            numbers = [0.0, 0.0, *(float(size[1]) for size in sizes if size)]
        if len(numbers) == 4 and all(abs(number) <= limits.VIEWPORT_MAX for number in numbers):
            self.draft.canvas = Box(*numbers)
        elif "viewBox" in attributes:
            self.findings.add(path, f"has the viewBox {shown(attributes['viewBox'])}; four numbers are expected")

    def _shape(self, tag: str, attributes: Mapping[str, str], path: str) -> None:
        matrix, around = self._around[-1]
        capacity = attributes.get("data-capacity")
        if capacity is not None:
            self._area(tag, attributes, around, path, capacity)
            return
        labels = self._labels(attributes, around)
        if labels is None:
            kind = attributes.get("data-kind")
            if kind:
                label = cut_label(attributes.get("data-label", ""))
                points = self._points(tag, attributes, matrix, path)
                if points:
                    floor = cut_label(around.get("data-floor", ""))
                    self.draft.shapes.append(DraftShape(cut_label(kind), label, points, floor))
            elif "data-section" in attributes:
                outline = self._points(tag, attributes, matrix, path)
                if len(outline) >= 3:
                    self._section(attributes["data-section"], around, path).outlines.append(outline)
            else:
                self._left_out[f"<{tag}> that says nothing of a place"] += 1
            return
        section, row, number = labels
        points = self._points(tag, attributes, matrix, path)
        if not points:
            return
        box = bounds_of(points)
        seat = DraftSeat(row, number, path, (box.x + box.width / 2, box.y + box.height / 2))
        seat.category = around.get("data-category", "").strip()
        seat.accessible = _flag(around, "data-accessible")
        seat.companion = _flag(around, "data-companion")
        seat.restricted_view = _flag(around, "data-restricted-view")
        self._seats += 1
        if self._seats > limits.LAYOUT_SEATS_MAX:
            raise _RefusedError(f"is where seat {self._seats} is; at most {limits.LAYOUT_SEATS_MAX} are expected")
        found = self._section(section, around, path)
        if found.capacity is not None:
            self.findings.add(
                path, f"is a seat in {shown(section)}, which is an area; a section of its own is expected"
            )
        found.seats.append(seat)

    def _labels(self, attributes: Mapping[str, str], around: Mapping[str, str]) -> tuple[str, str, str] | None:
        """Section, row and number of an element, or None where it is no seat."""
        if "data-number" in attributes:
            return around.get("data-section", ""), around.get("data-row", ""), attributes["data-number"]
        name = _ESCAPED.sub(_unescaped, attributes.get("id", ""))
        for separator in "/:_-":
            parts = [part.strip() for part in name.split(separator)]
            if len(parts) == 3 and all(parts):
                return parts[0], parts[1], parts[2]
        return None

    def _section(self, name: str, around: Mapping[str, str], path: str) -> DraftSection:
        if not name.strip():
            self.findings.add(path, "is in no section; a data-section is expected, of it or of a group around it")
        floor = cut_label(around.get("data-floor", ""))
        section = self._sections.setdefault(name, DraftSection(name, path, floor=floor))
        if floor and floor != section.floor:
            if section.floor:
                before = f"floor {shown(section.floor)}, as {section.path} says"
                self.findings.add(path, f"is on floor {shown(floor)}; section {shown(name)} is on {before}")
            section.floor = floor
        return section

    def _area(
        self, tag: str, attributes: Mapping[str, str], around: Mapping[str, str], path: str, capacity: str
    ) -> None:
        name = attributes.get("data-area") or attributes.get("data-section") or attributes.get("id", "")
        if not (capacity.isdecimal() and len(capacity) <= 7 and 1 <= int(capacity) <= limits.AREA_CAPACITY_MAX):
            expected = f"a whole number from 1 to {limits.AREA_CAPACITY_MAX} is expected"
            self.findings.add(path, f"has the data-capacity {shown(capacity)}; {expected}")
            return
        if name in self._sections:
            self.findings.add(path, f"is {shown(name)}, as a section before is; an area is a section of its own")
        area = self._section(name, around, path)
        area.capacity, area.category = int(capacity), around.get("data-category", "").strip()
        outline = self._points(tag, attributes, self._around[-1][0], path)
        area.outlines = [outline] if len(outline) >= 3 else []

    def _points(self, tag: str, attributes: Mapping[str, str], matrix: Matrix, path: str) -> Polygon:
        """Where an element is drawn: its outline on the drawing, or its place alone; none after a fault was noted."""
        try:
            drawn = _drawn(tag, attributes)
        except OutlineError as fault:
            self.findings.add(path, f"<{tag}> {fault}")
            return []
        points = [_moved(matrix, spot) for spot in drawn]
        if not all(
            math.isfinite(x) and math.isfinite(y) and max(abs(x), abs(y)) <= limits.VIEWPORT_MAX for x, y in points
        ):
            self.findings.add(path, f"<{tag}> lies beyond ±{limits.VIEWPORT_MAX}")
            return []
        return points

    def _transform(self, text: str, path: str) -> Matrix:
        matrix, at = _UNMOVED, 0
        while found := _TRANSFORM.match(text, at):
            numbers = read_numerals(found[2])
            # A sine of infinity is none.
            step = _step(found[1], numbers) if numbers and all(map(math.isfinite, numbers)) else None
            if step is None:
                break
            matrix, at = _product(matrix, step), found.end()
        if text[at:].strip(" ,\t\r\n") or (text.strip() and at == 0):
            self.findings.add(path, f"has the transform {shown(text)}, which cannot be read")
        return matrix


def _drawn(tag: str, attributes: Mapping[str, str]) -> Polygon:
    """The points of an element in its own measure. Raises `OutlineError`."""

    def length(name: str) -> float:
        text = attributes.get(name, "0")
        found = _LENGTH.fullmatch(text)
        if found is None:
            raise OutlineError(f"has {name} {shown(text)}; a number is expected")
        return float(found[1])

    if tag == "circle":
        return ellipse((length("cx"), length("cy")), length("r"), length("r"))
    if tag == "ellipse":
        return ellipse((length("cx"), length("cy")), length("rx"), length("ry"))
    if tag in ("rect", "image"):
        width, height = length("width"), length("height")
        return rectangle((length("x") + width / 2, length("y") + height / 2), width, height)
    if tag in ("use", "text"):
        return [(length("x"), length("y"))]
    outlines = read_path(attributes.get("d", "")) if tag == "path" else read_outlines(attributes.get("points", ""))
    return outlines[0] if outlines else []


def _step(name: str, numbers: list[float]) -> Matrix | None:
    """The matrix of one transform (SVG 2, section 8.5), or None where it has other numbers than it takes."""
    match name, numbers:
        case "matrix", [a, b, c, d, e, f]:
            return a, b, c, d, e, f
        case "translate", [x, *rest] if len(rest) <= 1:
            return 1, 0, 0, 1, x, rest[0] if rest else 0
        case "scale", [x, *rest] if len(rest) <= 1:
            return x, 0, 0, rest[0] if rest else x, 0, 0
        case "rotate", [angle, *rest] if len(rest) in (0, 2):
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            x, y = rest or (0.0, 0.0)
            return cos, sin, -sin, cos, x - x * cos + y * sin, y - x * sin - y * cos
        case "skewX", [angle]:
            return 1, 0, math.tan(math.radians(angle)), 1, 0, 0
        case "skewY", [angle]:
            return 1, math.tan(math.radians(angle)), 0, 1, 0, 0
    return None


def _product(outer: Matrix, inner: Matrix) -> Matrix:
    (a, b, c, d, e, f), (g, h, i, j, k, m) = outer, inner
    return a * g + c * h, b * g + d * h, a * i + c * j, b * i + d * j, a * k + c * m + e, b * k + d * m + f


def _moved(matrix: Matrix, spot: Spot) -> Spot:
    a, b, c, d, e, f = matrix
    return a * spot[0] + c * spot[1] + e, b * spot[0] + d * spot[1] + f


def _unescaped(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    # Half of a surrogate pair is no character, and nothing that names it could be answered.
    return found[0] if 0xD800 <= code <= 0xDFFF else chr(code)


def _flag(around: Mapping[str, str], name: str) -> bool:
    return name in around and around[name].strip().lower() in _TRUE
