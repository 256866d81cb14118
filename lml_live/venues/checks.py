"""Every rule a layout must keep, and all violations at once: whoever draws a plan mends it in one go.

A *violation* keeps a layout out. A *warning* (`oddities`) is let through and said. All of it is linear in the seats,
and bounded where a file is not of this world: with more seats than a layout may have nothing else is looked at.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from lml_live import limits
from lml_live.values import is_id
from lml_live.venues.findings import Findings, Report, shown, unprintable
from lml_live.venues.layout import (
    COLOR_PATTERN,
    COORDINATE_DECIMALS,
    Layout,
    Point,
    Row,
    Section,
    Spelling,
    Table,
    count_seats,
    seal_and_spell,
    seat_id,
)
from lml_live.venues.oddities import look_for_oddities
from lml_live.venues.overlaps import Drawing, are_of_one_kind, look_at_outlines, tell_overlap

_ID_EXPECTED: Final = "1 to 64 of A-Z, a-z, 0-9 and '-' are expected"
_PLACE_EXPECTED: Final = "a number from 0 to 1 is expected"
_COLOR: Final = re.compile(COLOR_PATTERN)
_UNSEEN: Final = re.compile("[\u200c\u200d\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Joiners and variation selectors: a label may have them, and is not told from another by them alone."""


def label_fault(text: str, *, joins_id: bool) -> tuple[str, str] | None:
    """What a label is and what is expected instead, or None. `joins_id`: it is a part of seat ids, joined with `_`."""
    if not text:
        return "is empty", f"1 to {limits.LABEL_CHARS_MAX} characters are expected"
    if len(text) > limits.LABEL_CHARS_MAX:
        return f"has {len(text)} characters", f"at most {limits.LABEL_CHARS_MAX} are expected"
    if joins_id and "_" in text:
        return f"is {shown(text)}", "'_' separates the parts of a seat id and cannot be in a label"
    if text != text.strip():
        return f"is {shown(text)}", "no space at either end is expected"
    if text.isascii() and text.isprintable():
        return None
    if unprintable(text) or not _UNSEEN.sub("", text):
        return f"is {shown(text)}", "no control or invisible characters are expected"
    if not unicodedata.is_normalized("NFC", text):
        return f"is {shown(text)}", "text in normal form C (NFC) is expected"
    return None


def check_layout(layout: Layout) -> Report:
    """Checks every rule of a layout whose types are right, sealed or not. Costs about 8 µs a seat."""
    return _look(layout, seal=False)[0]


def check_and_seal(layout: Layout) -> tuple[Report, Layout | None]:
    """The same, and the layout sealed, or None where it breaks a rule. Cheaper than one after the other."""
    report, sealed = _look(layout, seal=True)
    return report, None if sealed is None else sealed[0]


def check_and_spell(layout: Layout) -> tuple[Report, tuple[Layout, Spelling] | None]:
    """The same, and how the sealed layout is spelled."""
    return _look(layout, seal=True)


def _look(layout: Layout, *, seal: bool) -> tuple[Report, tuple[Layout, Spelling] | None]:
    findings, spelled, drawing = Findings(), None, Drawing()
    if _check_head(layout, findings):
        drawing = look_at_outlines(layout)
        _check_sections(layout, findings)
        _check_type(layout, findings)
        _check_listed(layout, findings)
        _check_shapes(layout, findings)
        _check_outlines(layout, drawing, findings)
        if findings.count == 0 and (seal or layout.hash):
            spelled = seal_and_spell(layout)
        sealed = None if spelled is None else spelled[0]
        _check_seat_ids(layout, sealed, findings)
        if findings.count == 0 and sealed is not None and layout.hash not in ("", sealed.hash):
            expected = "the content has another hash: leave `hash` out, it is computed"
            findings.broken("hash", "hash", f"is {layout.hash}", expected)
    warnings = look_for_oddities(layout, drawing) if findings.count <= limits.VIOLATIONS_MAX else Findings()
    report = Report(findings.closed(), warnings.closed(), findings.count, warnings.count)
    return report, spelled if findings.count == 0 else None


def _check_label(findings: Findings, path: str, text: str, *, joins_id: bool = False) -> None:
    fault = label_fault(text, joins_id=joins_id)
    if fault is not None:
        findings.broken("label", path, *fault)


def _check_points(findings: Findings, path: str, points: Sequence[Point]) -> None:
    if len(points) > limits.OUTLINE_POINTS_MAX:
        most = f"at most {limits.OUTLINE_POINTS_MAX} are expected"
        findings.broken("point_count", path, f"has {len(points)} points", most)
        return
    for at, point in enumerate(points):
        _check_place(findings, f"{path}[{at}]", point)


def _check_place(findings: Findings, path: str, point: Point) -> None:
    for name, value in zip("xy", point, strict=True):
        if not 0 <= value <= 1:
            findings.broken("coordinate", f"{path}.{name}", f"is {shown(value)}", _PLACE_EXPECTED)


def _check_count(findings: Findings, path: str, noun: str, count: int, most: int) -> bool:
    if count > most:
        findings.broken("count", path, f"has {count} {noun}", f"at most {most} are expected")
    return count <= most


def _check_head(layout: Layout, findings: Findings) -> bool:
    """Whether the rest is worth looking at: a file that is far too large is refused for that alone."""
    if not is_id(layout.layout_id):
        findings.broken("layout_id", "layout_id", f"is {shown(layout.layout_id)}", _ID_EXPECTED)
    _check_label(findings, "name", layout.name)
    if layout.version < 1:
        findings.broken("version", "version", f"is {shown(layout.version)}", "1 or more is expected")
    least = 10**-COORDINATE_DECIMALS
    expected = f"a number from {least:.{COORDINATE_DECIMALS}f} to {limits.VIEWPORT_MAX} is expected"
    for name, value in (("width", layout.viewport.width), ("height", layout.viewport.height)):
        # What is smaller would be written as 0.
        if not (math.isfinite(value) and least <= value <= limits.VIEWPORT_MAX):
            findings.broken("viewport", f"viewport.{name}", f"is {shown(value)}", expected)
    if layout.focal_point is not None:
        _check_place(findings, "focal_point", layout.focal_point)
    standing = sum(section.kind == "standing" for section in layout.sections)
    counted = (
        ("sections", "seats", count_seats(layout), limits.LAYOUT_SEATS_MAX),
        ("sections", "sections", len(layout.sections), limits.LAYOUT_SECTIONS_MAX),
        ("sections", "standing sections", standing, limits.LAYOUT_AREAS_MAX),
        ("shapes", "shapes", len(layout.shapes), limits.LAYOUT_SHAPES_MAX),
        ("shapes", "points", sum(len(s.points) for s in layout.shapes), limits.LAYOUT_SHAPE_POINTS_MAX),
        ("categories", "categories", len(layout.categories), limits.LAYOUT_CATEGORIES_MAX),
        ("entrances", "entrances", len(layout.entrances), limits.LAYOUT_ENTRANCES_MAX),
    )
    # All are told, so this does not stop at the first.
    return sum(not _check_count(findings, *each) for each in counted) == 0


def _check_type(layout: Layout, findings: Findings) -> None:
    kinds = {section.kind for section in layout.sections}
    fitting = "hybrid" if len(kinds) == 2 else next(iter(kinds), layout.type)
    if layout.type != fitting:
        expected = f"with these sections {shown(fitting)} is expected"
        findings.broken("type", "type", f"is {shown(layout.type)}", expected)


def _check_sections(layout: Layout, findings: Findings) -> None:
    sections = layout.sections
    if not sections:
        findings.broken("section_count", "sections", "is empty", "at least one section is expected")
    _check_unique(findings, "sections", "name", "name", [section.name for section in sections])
    area_ids = [section.area_id if section.kind == "standing" else None for section in sections]
    _check_unique(findings, "sections", "area_id", "area_id", area_ids)
    for at, section in enumerate(sections):
        path = f"sections[{at}]"
        _check_label(findings, f"{path}.name", section.name, joins_id=True)
        _check_points(findings, f"{path}.outline", section.outline)
        if section.outline and len(section.outline) < 3:
            found = f"has {len(section.outline)} points"
            findings.broken("outline", f"{path}.outline", found, "none, or at least 3, are expected")
        for name, label in (("category", section.category), ("floor", section.floor), ("entrance", section.entrance)):
            if label is not None:
                _check_label(findings, f"{path}.{name}", label)
        _check_nesting(findings, f"{path}.within", section)
        if section.kind == "standing":
            _check_standing(findings, path, section)
        else:
            _check_seated(findings, path, section)


def _check_nesting(findings: Findings, path: str, section: Section) -> None:
    """No place is within itself: nobody, not even the section's own name, comes twice on the way in."""
    if not _check_count(findings, path, "places", len(section.within), limits.LAYOUT_NESTING_MAX):
        return
    for at, name in enumerate(section.within):
        _check_label(findings, f"{path}[{at}]", name)
    way = [unicodedata.normalize("NFC", name) for name in (*section.within, section.name)]
    for at, name in enumerate(way[:-1]):
        if name in way[at + 1 :]:
            found = f"is {shown(name)}, which is further in, too"
            findings.broken("nesting", f"{path}[{at}]", found, "a section is within other places, each named once")


def _check_standing(findings: Findings, path: str, section: Section) -> None:
    if section.area_id is None or not is_id(section.area_id):
        found = "is missing" if section.area_id is None else f"is {shown(section.area_id)}"
        findings.broken("area", f"{path}.area_id", found, _ID_EXPECTED)
    if section.capacity is None or not 1 <= section.capacity <= limits.AREA_CAPACITY_MAX:
        found = "is missing" if section.capacity is None else f"is {shown(section.capacity)}"
        expected = f"a whole number from 1 to {limits.AREA_CAPACITY_MAX} is expected"
        findings.broken("area", f"{path}.capacity", found, expected)
    if section.category is None:
        findings.broken("area", f"{path}.category", "is missing", "a standing section needs a price category")
    if section.rows:
        findings.broken("area", f"{path}.rows", f"has {len(section.rows)} rows", "a standing section has none")
    if section.sold_whole:
        expected = "only a seated section sells whole, as a box"
        findings.broken("sold_whole", f"{path}.sold_whole", "is true", expected)


def _check_seated(findings: Findings, path: str, section: Section) -> None:
    for name, value in (("area_id", section.area_id), ("capacity", section.capacity)):
        if value is not None:
            findings.broken("area", f"{path}.{name}", f"is {shown(value)}", "only a standing section has one")
    if not section.rows:
        findings.broken("row_count", f"{path}.rows", "is empty", "a seated section needs at least one row")
    _check_unique(findings, f"{path}.rows", "label", "label", [row.label for row in section.rows])
    if section.sold_whole:
        _check_whole(findings, path, sum(len(row.seats) for row in section.rows))
    good_numbers: set[str] = set()
    good_categories: set[str] = set()
    for at, row in enumerate(section.rows):
        row_path = f"{path}.rows[{at}]"
        _check_label(findings, f"{row_path}.label", row.label, joins_id=True)
        if not row.seats:
            findings.broken("seat_count", f"{row_path}.seats", "is empty", "a row needs at least one seat")
        _check_count(findings, f"{row_path}.seats", "seats", len(row.seats), limits.LAYOUT_ROW_SEATS_MAX)
        if row.sold_whole and section.sold_whole:
            expected = "its section sells whole already, as a box"
            findings.broken("sold_whole", f"{row_path}.sold_whole", "is true", expected)
        elif row.sold_whole:
            _check_whole(findings, row_path, len(row.seats))
        if row.table is not None:
            _check_table(findings, f"{row_path}.table", row.table)
        _check_row(findings, row_path, row, good_numbers, good_categories)


def _check_table(findings: Findings, path: str, table: Table) -> None:
    for name in ("x", "y", "width", "height"):
        value = getattr(table, name)
        if not 0 <= value <= 1:
            findings.broken("coordinate", f"{path}.{name}", f"is {shown(value)}", _PLACE_EXPECTED)
    if not 0 <= table.turn < 360:
        findings.broken("turn", f"{path}.turn", f"is {shown(table.turn)}", "degrees from 0 to below 360 are expected")


def _check_whole(findings: Findings, path: str, count: int) -> None:
    """What nobody can hold in one hold could never be sold."""
    if count > limits.HOLD_SEATS_MAX:
        most = f"at most {limits.HOLD_SEATS_MAX} sell whole"
        findings.broken("sold_whole", f"{path}.sold_whole", f"is true for {count} seats", most)


def _check_row(findings: Findings, path: str, row: Row, good_numbers: set[str], good_categories: set[str]) -> None:
    numbers = [seat.number for seat in row.seats]
    # Two spellings of one text are told by `label_fault`, too: only one of them is in NFC.
    if len(set(numbers)) != len(numbers) or not all(map(str.isascii, numbers)):
        _check_unique(findings, f"{path}.seats", "number", "number", numbers)
    for at, seat in enumerate(row.seats):
        if seat.number not in good_numbers:
            fault = label_fault(seat.number, joins_id=True)
            if fault is None:
                good_numbers.add(seat.number)
            else:
                findings.broken("label", f"{path}.seats[{at}].number", *fault)
        # A comparison with NaN is never true, so NaN fails here as it should.
        if not (0 <= seat.x <= 1 and 0 <= seat.y <= 1):
            _check_place(findings, f"{path}.seats[{at}]", (seat.x, seat.y))
        if seat.category not in good_categories:
            fault = label_fault(seat.category, joins_id=False)
            if fault is None:
                good_categories.add(seat.category)
            else:
                findings.broken("label", f"{path}.seats[{at}].category", *fault)


def _check_unique(findings: Findings, path: str, field: str, noun: str, labels: Iterable[str | None]) -> None:
    """Labels are compared as they look: two spellings of one text would be one seat id, two that nobody can tell apart
    one seat to whoever reads them."""
    first: dict[str, int] = {}
    for at, label in enumerate(labels):
        if label is None or len(label) > limits.LABEL_CHARS_MAX:
            continue
        before = first.setdefault(label if label.isascii() else _look_of(label), at)
        if before != at:
            found = f"is {shown(label)}, the {noun} of {path}[{before}] too"
            findings.broken("unique", f"{path}[{at}].{field}", found, "each is used once")


def _look_of(label: str) -> str:
    return " ".join(_UNSEEN.sub("", unicodedata.normalize("NFC", label)).split())


def _check_seat_ids(layout: Layout, sealed: Layout | None, findings: Findings) -> None:
    """Declared ids must follow from the labels. Equal ids need no look of their own: labels are unique, without `_`."""
    declared = (seat.seat_id for section in layout.sections for row in section.rows for seat in row.seats)
    if not is_id(layout.layout_id) or not any(declared):
        return
    for at_section, section in enumerate(layout.sections):
        for at_row, row in enumerate(section.rows):
            right = sealed and sealed.sections[at_section].rows[at_row].seats
            for at, seat in enumerate(row.seats):
                # What UTF-8 cannot carry has no id, and was told already.
                if not seat.seat_id or (right is None and unprintable(seat.number + row.label + section.name)):
                    continue
                labels = (section.name, row.label, seat.number)
                expected = right[at].seat_id if right else seat_id(layout.layout_id, *labels)
                if seat.seat_id != expected:
                    path = f"sections[{at_section}].rows[{at_row}].seats[{at}].seat_id"
                    words = f"the id of this layout, section, row and number is {expected}"
                    findings.broken("seat_id", path, f"is {shown(seat.seat_id)}", words)


def _check_listed(layout: Layout, findings: Findings) -> None:
    """Categories and entrances that are listed; what names one must name one of them."""
    _check_unique(findings, "categories", "name", "name", [category.name for category in layout.categories])
    for at, category in enumerate(layout.categories):
        _check_label(findings, f"categories[{at}].name", category.name)
        if category.color is not None and not _COLOR.search(category.color):
            expected = "#rrggbb in lower-case hex is expected"
            findings.broken("color", f"categories[{at}].color", f"is {shown(category.color)}", expected)
    _check_unique(findings, "entrances", "name", "name", [entrance.name for entrance in layout.entrances])
    for at, entrance in enumerate(layout.entrances):
        _check_label(findings, f"entrances[{at}].name", entrance.name)
        _check_place(findings, f"entrances[{at}].point", entrance.point)
        if entrance.floor is not None:
            _check_label(findings, f"entrances[{at}].floor", entrance.floor)
    entrances = {entrance.name for entrance in layout.entrances}
    categories = {category.name for category in layout.categories}
    for at, section in enumerate(layout.sections):
        path = f"sections[{at}]"
        if section.entrance is not None and section.entrance not in entrances:
            found = f"is {shown(section.entrance)}"
            findings.broken("entrance", f"{path}.entrance", found, "one of the layout's entrances is expected")
        if not categories:
            continue
        expected = "one of the layout's listed categories is expected"
        if section.category is not None and section.category not in categories:
            findings.broken("category", f"{path}.category", f"is {shown(section.category)}", expected)
        for at_row, row in enumerate(section.rows):
            for at_seat, seat in enumerate(row.seats):
                if seat.category not in categories:
                    where = f"{path}.rows[{at_row}].seats[{at_seat}].category"
                    findings.broken("category", where, f"is {shown(seat.category)}", expected)


def _check_shapes(layout: Layout, findings: Findings) -> None:
    for at, shape in enumerate(layout.shapes):
        path = f"shapes[{at}]"
        _check_label(findings, f"{path}.kind", shape.kind)
        for name, label in (("label", shape.label or None), ("floor", shape.floor)):
            if label is not None:
                _check_label(findings, f"{path}.{name}", label)
        if not shape.points:
            findings.broken("point_count", f"{path}.points", "is empty", "at least one point is expected")
        _check_points(findings, f"{path}.points", shape.points)


def _check_outlines(layout: Layout, drawing: Drawing, findings: Findings) -> None:
    """Outlines that cross themselves, and those of one kind that lie over one another (docs/decisions/036)."""
    for at in drawing.crossed:
        expected = "one line around the section is expected"
        findings.broken("outline_crossing", f"sections[{at}].outline", "crosses itself", expected)
    for pair in drawing.overlaps:
        if are_of_one_kind(layout, pair):
            findings.broken("outline_overlap", *tell_overlap(layout, pair))
