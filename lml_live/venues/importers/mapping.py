"""Any other JSON, and any table, by a mapping (see `mapping_language` and docs/importing.md)."""

from collections.abc import Callable
from typing import TypeVar

from lml_live import limits
from lml_live.venues.findings import Findings, shown
from lml_live.venues.importers.draft import Box, Draft, DraftSeat, DraftSection, DraftShape, Imported, Spot
from lml_live.venues.importers.finishing import Options, finish_draft
from lml_live.venues.importers.mapping_language import (
    BoxRule,
    Element,
    FixedShape,
    Mapping,
    PathError,
    Value,
    elements,
    fits,
    look_up,
    root_element,
    text_at,
)
from lml_live.venues.importers.outlines import OutlineError, read_outlines
from lml_live.venues.importers.placing import bounds_of, move, tile
from lml_live.venues.importers.reading import Rejected
from lml_live.venues.importers.runs import RunsError, expand_runs
from lml_live.venues.importers.table import read_number

_TRUE = frozenset({"1", "true", "yes"})
T = TypeVar("T")


def import_mapped(root: object, mapping: Mapping, options: Options) -> Imported | Rejected:
    """A layout from a tree or a list of records, as the mapping says. Every violation is reported with its path."""
    reader = _Reader(root_element(root), mapping)
    draft = reader.guard("mapping", reader.read, None)
    if draft is None or reader.findings.count:
        return Rejected(reader.findings.closed())
    return finish_draft(draft, options)


class _Reader:
    def __init__(self, root: Element, mapping: Mapping) -> None:
        self.root = root
        self.mapping = mapping
        self.findings = Findings()
        self.sections: dict[str, DraftSection] = {}
        self.counts: dict[str, tuple[str, int]] = {}
        """The seats that the file itself counts in a section, and where it says so."""
        self.seat_count = 0

    def guard(self, path: str, act: Callable[[], T], instead: T) -> T:
        """Runs one step; what cannot be read becomes a violation, and the next step goes on."""
        try:
            return act()
        except (PathError, OutlineError, RunsError) as error:
            self.findings.add(path, str(error))
            return instead

    def read(self) -> Draft:
        mapping = self.mapping
        name = text_at(self.root, mapping.name) if mapping.name else ""
        draft = Draft(name, layout_id=mapping.layout_id, units=mapping.units, seat_order=mapping.places.order)
        draft.standing = list(mapping.standing)
        draft.notes = list(mapping.notes)
        draft.canvas = self._box(mapping.canvas, "mapping.canvas")
        draft.field = self._box(mapping.field, "mapping.field")
        self._read_sections()
        self._read_places()
        draft.sections = list(self.sections.values())
        self._check_counts(draft)
        for section, rule in mapping.move.items():
            if section in self.sections:
                move(self.sections[section], rule.dx, rule.dy, rule.scale_x, rule.scale_y)
            else:
                self.findings.add("mapping.move", f"names {shown(section)}, which is no section of the file")
        if mapping.tile:
            _tile_sections(draft)
        self._read_shapes(draft)
        return draft

    def _read_sections(self) -> None:
        rule = self.mapping.sections
        for element in elements(self.root, rule.each) if rule is not None else ():
            assert rule is not None
            if fits(element, rule.where):
                self.guard(element.path, lambda found=element: self._read_section(found), None)  # type: ignore[misc]

    def _read_section(self, element: Element) -> None:
        rule = self.mapping.sections
        assert rule is not None
        name = text_at(element, rule.section)
        section = self.sections.setdefault(name, DraftSection(name, element.path))
        if rule.outline is not None and (value := look_up(element, rule.outline)) is not None:
            section.outlines += read_outlines(value)
        if rule.category is not None:
            section.category = text_at(element, rule.category)
        if rule.count is not None and (count := self._count(element, rule.count)) is not None:
            self.counts[name] = (element.path, count + self.counts.get(name, ("", 0))[1])
        if rule.capacity is not None:
            section.capacity = self._count(element, rule.capacity)

    def _read_places(self) -> None:
        rule = self.mapping.places
        found = False
        for element in elements(self.root, rule.each):
            found = True
            if self.seat_count > limits.LAYOUT_SEATS_MAX:
                self.findings.add(element.path, f"is beyond the {limits.LAYOUT_SEATS_MAX} seats that a layout may have")
                return
            if fits(element, rule.where):
                self.guard(element.path, lambda found=element: self._read_place(found), None)  # type: ignore[misc]
        if not found:
            self.findings.add("mapping.places.each", f"is {shown(rule.each)}, which leads to nothing in this file")

    def _read_place(self, element: Element) -> None:
        rule = self.mapping.places
        name = text_at(element, rule.section)
        if not name:
            self.findings.add(element.path, "has no section")
            return
        row = text_at(element, rule.row)
        if rule.numbers is not None:
            count = None if rule.count is None else self._count(element, rule.count)
            numbers = expand_runs(text_at(element, rule.numbers), count)
        else:
            assert rule.number is not None
            numbers = [text_at(element, rule.number)]
            if not numbers[0]:
                self.findings.add(element.path, "has no seat number")
                return
        section = self.sections.setdefault(name, DraftSection(name, element.path))
        spot = self._spot(element)
        category = "" if rule.category is None else text_at(element, rule.category)
        accessible = rule.accessible is not None and text_at(element, rule.accessible).lower() in _TRUE
        self.seat_count += len(numbers)
        section.seats += [
            DraftSeat(row, number, element.path, spot, category, accessible=accessible) for number in numbers
        ]

    def _spot(self, element: Element) -> Spot | None:
        rule = self.mapping.places
        if rule.x is None or rule.y is None:
            return None
        x, y = read_number(text_at(element, rule.x)), read_number(text_at(element, rule.y))
        if x is None or y is None:
            found = f"{shown(text_at(element, rule.x))}, {shown(text_at(element, rule.y))}"
            raise PathError(f"has the place {found}; two numbers within ±{limits.VIEWPORT_MAX} are expected")
        return x, y

    def _count(self, element: Element, rule: Value) -> int | None:
        text = text_at(element, rule)
        if not text:
            return None
        if not (text.isdecimal() and len(text) <= 7):
            raise PathError(f"has the count {shown(text)}; a whole number is expected")
        return int(text)

    def _check_counts(self, draft: Draft) -> None:
        for name, (path, count) in self.counts.items():
            seats = len(self.sections[name].seats)
            if seats != count:
                self.findings.add(path, f"section {shown(name)} has {seats} seats; the file's own count is {count}")
        for section in draft.sections:
            if section.seats:
                # A capacity beside seats counts them; it does not add places.
                section.capacity = None
        rows = sum(len({seat.row for seat in section.seats}) for section in draft.sections)
        areas = sum(section.capacity or 0 for section in draft.sections)
        found = {"places": self.seat_count + areas, "sections": len(draft.sections), "rows": rows}
        for what, path in self.mapping.expect.items():
            expected = self.guard(f"mapping.expect.{what}", lambda at=path: self._count(self.root, at), None)  # type: ignore[misc]
            if expected != found[what]:
                self.findings.add(path, f"says {expected} {what}; {found[what]} were found")

    def _box(self, rule: BoxRule | None, path: str) -> Box | None:
        if rule is None:
            return None
        values = look_up(self.root, rule) if isinstance(rule, str) else rule
        numbers = [read_number(value) for value in values] if isinstance(values, list) else []
        known = [number for number in numbers if number is not None]
        if len(known) != 4 or len(numbers) != 4 or known[2] < 0 or known[3] < 0:
            self.findings.add(path, f"is {shown(values)}; [x, y, width, height] is expected")
            return None
        return Box(*known)

    def _read_shapes(self, draft: Draft) -> None:
        rule = self.mapping.shapes
        for element in elements(self.root, rule.each) if rule is not None else ():
            assert rule is not None
            if fits(element, rule.where):
                self.guard(element.path, lambda found=element: self._read_shape(draft, found), None)  # type: ignore[misc]
        draft.shapes += [_fixed_shape(shape) for shape in self.mapping.decoration]

    def _read_shape(self, draft: Draft, element: Element) -> None:
        rule = self.mapping.shapes
        assert rule is not None
        label = "" if rule.label is None else text_at(element, rule.label)
        for polygon in read_outlines(look_up(element, rule.outline)):
            if rule.centred:
                box = bounds_of(polygon)
                polygon = [(x - box.width / 2, y - box.height / 2) for x, y in polygon]
            draft.shapes.append(DraftShape(text_at(element, rule.kind), label, polygon))


def _fixed_shape(shape: FixedShape) -> DraftShape:
    x, y, width, height = shape.box
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    return DraftShape(shape.kind, shape.label, corners)


def _tile_sections(draft: Draft) -> None:
    blocks = []
    for section in draft.sections:
        spots = [seat.spot for seat in section.seats if seat.spot is not None]
        if spots:
            box = bounds_of(spots)
            move(section, -box.x, -box.y)
            blocks.append((section, box.width, box.height))
    if blocks:
        tile(blocks, gap=4.0)
        draft.notes.append("Each section has a grid of its own in the file: the sections were laid side by side")
