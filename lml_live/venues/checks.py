"""Every rule a layout must keep, and all violations at once: whoever draws a plan mends it in one go.

A *violation* keeps a layout out. A *warning* is let through and said: it can be meant (two tiers drawn on top of each
other), but mostly is not.
"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from lml_live import limits
from lml_live.errors import Violation
from lml_live.values import is_id
from lml_live.venues.layout import (
    Layout,
    Point,
    Row,
    Section,
    content_hash,
    count_seats,
    seal_layout,
    seat_id,
    seats_of,
)

_CONTROL_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control and format characters, surrogates and line separators: two labels that look alike would be two seats."""
_FORMAT_ALLOWED: Final = frozenset("\u200c\u200d")
"""The joiners of Persian and Indic writing are format characters and change how a word is read."""


class Report(msgspec.Struct, frozen=True):
    """What was found. `violations` holds the first `limits.VIOLATIONS_MAX`; `violation_count` counts all."""

    violations: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()
    violation_count: int = 0


class Findings:
    """Collects violations up to the bound and goes on counting. Mutable: it lives inside one check."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.count = 0

    def add(self, path: str, message: str) -> None:
        """Notes one broken rule."""
        self.count += 1
        if len(self.violations) < limits.VIOLATIONS_MAX:
            self.violations.append(Violation(path, message))

    def closed(self) -> tuple[Violation, ...]:
        """The violations, with one more that says how many were left off, where some were."""
        left_off = self.count - len(self.violations)
        if left_off:
            return (*self.violations, Violation("", f"{left_off} more violations are not listed"))
        return tuple(self.violations)


def shown(value: object) -> str:
    """A found value for a message: short, printable, whatever it is."""
    if isinstance(value, str):
        return ascii(value[:40]) + ("…" if len(value) > 40 else "") if _unprintable(value) else _quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a huge number"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, dict):
        return "an object"
    return f"an array of {len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__


def label_fault(text: str, *, joins_id: bool) -> str | None:
    """What is wrong with a label, or None. `joins_id`: the label is a part of seat ids, where `_` is the separator."""
    if not text:
        return "is empty; 1 to 100 characters are expected"
    if len(text) > limits.LABEL_CHARS_MAX:
        return f"has {len(text)} characters; at most {limits.LABEL_CHARS_MAX} are expected"
    if joins_id and "_" in text:
        return f"is {shown(text)}; '_' separates the parts of a seat id and cannot be in a label"
    if text != text.strip():
        return f"is {shown(text)}; no space at either end is expected"
    if text.isascii() and text.isprintable():
        return None
    if _unprintable(text):
        return f"is {shown(text)}; no control or invisible characters are expected"
    if not unicodedata.is_normalized("NFC", text):
        return f"is {shown(text)}; text in normal form C (NFC) is expected"
    return None


def check_layout(layout: Layout) -> Report:
    """Checks every rule of a layout whose types are right, sealed or not. Costs about 3 µs a seat."""
    findings = Findings()
    _check_head(layout, findings)
    _check_sections(layout.sections, findings)
    _check_type(layout, findings)
    _check_seat_ids(layout, findings)
    for at, shape in enumerate(layout.shapes[: limits.LAYOUT_SHAPES_MAX]):
        path = f"shapes[{at}]"
        _check_label(findings, f"{path}.kind", shape.kind, joins_id=False)
        if shape.label:
            _check_label(findings, f"{path}.label", shape.label, joins_id=False)
        if not shape.points:
            findings.add(f"{path}.points", "is empty; at least one point is expected")
        _check_points(findings, f"{path}.points", shape.points)
    if findings.count == 0 and layout.hash and content_hash(seal_layout(layout)) != layout.hash:
        findings.add("hash", f"is {layout.hash}; the content has another hash: leave `hash` out, it is computed")
    warnings = (*_overlaps(layout), *_unsellable(layout)) if findings.count == 0 else ()
    return Report(findings.closed(), warnings, findings.count)


def _unprintable(text: str) -> bool:
    return not text.isprintable() and any(
        unicodedata.category(character) in _CONTROL_CATEGORIES and character not in _FORMAT_ALLOWED
        for character in text
    )


def _quoted(text: str) -> str:
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"


def _check_label(findings: Findings, path: str, text: str, *, joins_id: bool) -> None:
    fault = label_fault(text, joins_id=joins_id)
    if fault is not None:
        findings.add(path, fault)


def _check_points(findings: Findings, path: str, points: Sequence[Point]) -> None:
    if len(points) > limits.OUTLINE_POINTS_MAX:
        findings.add(path, f"has {len(points)} points; at most {limits.OUTLINE_POINTS_MAX} are expected")
        return
    for at, point in enumerate(points):
        _check_place(findings, f"{path}[{at}]", point)


def _check_place(findings: Findings, path: str, point: Point) -> None:
    for name, value in zip("xy", point, strict=True):
        if not 0 <= value <= 1:
            findings.add(f"{path}.{name}", f"is {shown(value)}; a number from 0 to 1 is expected")


def _check_head(layout: Layout, findings: Findings) -> None:
    if not is_id(layout.layout_id):
        expected = "1 to 64 of A-Z, a-z, 0-9 and '-' are expected"
        findings.add("layout_id", f"is {shown(layout.layout_id)}; {expected}")
    _check_label(findings, "name", layout.name, joins_id=False)
    if layout.version < 1:
        findings.add("version", f"is {shown(layout.version)}; 1 or more is expected")
    for name, value in (("width", layout.viewport.width), ("height", layout.viewport.height)):
        if not (math.isfinite(value) and 0 < value <= limits.VIEWPORT_MAX):
            findings.add(
                f"viewport.{name}", f"is {shown(value)}; a number above 0, at most {limits.VIEWPORT_MAX}, is expected"
            )
    if layout.focal_point is not None:
        _check_place(findings, "focal_point", layout.focal_point)
    if len(layout.shapes) > limits.LAYOUT_SHAPES_MAX:
        findings.add("shapes", f"has {len(layout.shapes)} shapes; at most {limits.LAYOUT_SHAPES_MAX} are expected")
    seat_count = count_seats(layout)
    if seat_count > limits.LAYOUT_SEATS_MAX:
        findings.add("sections", f"has {seat_count} seats; at most {limits.LAYOUT_SEATS_MAX} are expected")
    standing = sum(section.kind == "standing" for section in layout.sections)
    if standing > limits.LAYOUT_AREAS_MAX:
        findings.add("sections", f"has {standing} standing sections; at most {limits.LAYOUT_AREAS_MAX} are expected")


def _check_type(layout: Layout, findings: Findings) -> None:
    kinds = {section.kind for section in layout.sections}
    fitting = "hybrid" if len(kinds) == 2 else next(iter(kinds), layout.type)
    if layout.type != fitting:
        findings.add("type", f"is {shown(layout.type)}; with these sections {shown(fitting)} is expected")


def _check_sections(sections: Sequence[Section], findings: Findings) -> None:
    if not sections:
        findings.add("sections", "is empty; at least one section is expected")
    if len(sections) > limits.LAYOUT_SECTIONS_MAX:
        findings.add("sections", f"has {len(sections)} sections; at most {limits.LAYOUT_SECTIONS_MAX} are expected")
        return
    _check_unique(findings, "sections", "name", "name", [section.name for section in sections])
    area_ids = [section.area_id if section.kind == "standing" else None for section in sections]
    _check_unique(findings, "sections", "area_id", "area_id", area_ids)
    for at, section in enumerate(sections):
        path = f"sections[{at}]"
        _check_label(findings, f"{path}.name", section.name, joins_id=True)
        _check_points(findings, f"{path}.outline", section.outline)
        if section.outline and len(section.outline) < 3:
            findings.add(f"{path}.outline", f"has {len(section.outline)} points; none, or at least 3, are expected")
        if section.category is not None:
            _check_label(findings, f"{path}.category", section.category, joins_id=False)
        if section.kind == "standing":
            _check_standing(findings, path, section)
        else:
            _check_seated(findings, path, section)


def _check_standing(findings: Findings, path: str, section: Section) -> None:
    if section.area_id is None or not is_id(section.area_id):
        found = "is missing" if section.area_id is None else f"is {shown(section.area_id)}"
        findings.add(f"{path}.area_id", f"{found}; 1 to 64 of A-Z, a-z, 0-9 and '-' are expected")
    if section.capacity is None or not 1 <= section.capacity <= limits.AREA_CAPACITY_MAX:
        found = "is missing" if section.capacity is None else f"is {shown(section.capacity)}"
        findings.add(f"{path}.capacity", f"{found}; a whole number from 1 to {limits.AREA_CAPACITY_MAX} is expected")
    if section.category is None:
        findings.add(f"{path}.category", "is missing; a standing section needs a price category")
    if section.rows:
        findings.add(f"{path}.rows", f"has {len(section.rows)} rows; a standing section has none")
    if section.sold_whole:
        findings.add(f"{path}.sold_whole", "is true; only a seated section sells whole, as a box")


def _check_seated(findings: Findings, path: str, section: Section) -> None:
    for name, value in (("area_id", section.area_id), ("capacity", section.capacity)):
        if value is not None:
            findings.add(f"{path}.{name}", f"is {shown(value)}; only a standing section has one")
    if not section.rows:
        findings.add(f"{path}.rows", "is empty; a seated section needs at least one row")
    _check_unique(findings, f"{path}.rows", "label", "label", [row.label for row in section.rows])
    if section.sold_whole:
        _check_whole(findings, path, sum(len(row.seats) for row in section.rows))
    good_categories: set[str] = set()
    for at, row in enumerate(section.rows):
        row_path = f"{path}.rows[{at}]"
        _check_label(findings, f"{row_path}.label", row.label, joins_id=True)
        if not row.seats:
            findings.add(f"{row_path}.seats", "is empty; a row needs at least one seat")
        if row.sold_whole and section.sold_whole:
            findings.add(f"{row_path}.sold_whole", "is true; its section sells whole already, as a box")
        elif row.sold_whole:
            _check_whole(findings, row_path, len(row.seats))
        _check_row(findings, row_path, row, good_categories)


def _check_whole(findings: Findings, path: str, count: int) -> None:
    """What nobody can hold in one hold could never be sold."""
    if count > limits.HOLD_SEATS_MAX:
        findings.add(f"{path}.sold_whole", f"is true for {count} seats; at most {limits.HOLD_SEATS_MAX} sell whole")


def _check_row(findings: Findings, path: str, row: Row, good_categories: set[str]) -> None:
    numbers = [seat.number for seat in row.seats]
    if len(set(numbers)) != len(numbers):
        _check_unique(findings, f"{path}.seats", "number", "number", numbers)
    for at, seat in enumerate(row.seats):
        fault = label_fault(seat.number, joins_id=True)
        if fault is not None:
            findings.add(f"{path}.seats[{at}].number", fault)
        # A comparison with NaN is never true, so NaN fails here as it should.
        if not (0 <= seat.x <= 1 and 0 <= seat.y <= 1):
            _check_place(findings, f"{path}.seats[{at}]", (seat.x, seat.y))
        if seat.category not in good_categories:
            fault = label_fault(seat.category, joins_id=False)
            if fault is None:
                good_categories.add(seat.category)
            else:
                findings.add(f"{path}.seats[{at}].category", fault)


def _check_unique(findings: Findings, path: str, field: str, noun: str, labels: Iterable[str | None]) -> None:
    """Labels are compared in NFC: two spellings of one text would be one seat id."""
    first: dict[str, int] = {}
    for at, label in enumerate(labels):
        if label is None:
            continue
        before = first.setdefault(unicodedata.normalize("NFC", label), at)
        if before != at:
            findings.add(
                f"{path}[{at}].{field}", f"is {shown(label)}, the {noun} of {path}[{before}] too; each is used once"
            )


def _check_seat_ids(layout: Layout, findings: Findings) -> None:
    """Declared ids must follow from the labels. Equal ids need no look of their own: labels are unique, without `_`."""
    if not is_id(layout.layout_id):
        return
    if not any(seat.seat_id for _, _, seat in seats_of(layout)):
        return
    for at_section, section in enumerate(layout.sections):
        for at_row, row in enumerate(section.rows):
            for at, seat in enumerate(row.seats):
                if not seat.seat_id:
                    continue
                expected = seat_id(layout.layout_id, section.name, row.label, seat.number)
                if seat.seat_id != expected:
                    findings.add(
                        f"sections[{at_section}].rows[{at_row}].seats[{at}].seat_id",
                        f"is {shown(seat.seat_id)}; the id of this layout, section, row and number is {expected}",
                    )


_WARNINGS_MAX: Final = 20


def _overlaps(layout: Layout) -> tuple[Violation, ...]:
    """Seats at the very same place: one would hide the other on the map."""
    seen: dict[tuple[float, float], tuple[str, str, str]] = {}
    warnings: list[Violation] = []
    for section, row, seat in seats_of(layout):
        here = (section.name, row.label, seat.number)
        other = seen.setdefault((seat.x, seat.y), here)
        if other is not here and len(warnings) < _WARNINGS_MAX:
            warnings.append(Violation(" / ".join(here), f"lies on the same place as {' / '.join(other)}"))
    return tuple(warnings)


def _unsellable(layout: Layout) -> tuple[Violation, ...]:
    """Companion seats that no accessible place is near: they sell with one of their section only."""
    return tuple(
        Violation(section.name, "has companion seats and no accessible place: nobody can be sold them")
        for section in layout.sections
        if any(seat.companion for row in section.rows for seat in row.seats)
        and not any(seat.accessible for row in section.rows for seat in row.seats)
        and not section.sold_whole
    )[:_WARNINGS_MAX]
