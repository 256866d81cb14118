"""A plain table: one row a seat (or an area), as CSV or as a JSON array of row objects. Columns are found by name."""

import math
import re
from collections.abc import Sequence
from typing import Final

from lml_live import limits
from lml_live.venues.findings import Findings, shown
from lml_live.venues.importers.draft import Draft, DraftSeat, DraftSection, Imported, Spot
from lml_live.venues.importers.finishing import Options, finish_draft
from lml_live.venues.importers.numerals import read_numeral
from lml_live.venues.importers.reading import Record, Rejected, rejected

_COLUMNS: Final = {
    "section": ("section", "sector", "block", "zone", "tribune", "area", "level"),
    "row": ("row", "row_label", "row_name", "line"),
    "number": ("number", "seat", "seat_number", "seat_label", "no", "place"),
    "x": ("x", "pos_x", "position_x", "cx"),
    "y": ("y", "pos_y", "position_y", "cy"),
    "category": ("category", "price_category", "price_zone", "tier", "class"),
    "capacity": ("capacity", "standing_capacity", "places"),
    "accessible": ("accessible", "wheelchair"),
    "companion": ("companion",),
    "restricted_view": ("restricted_view", "restricted"),
}
"""The names a column may have, the first that is there wins. Compared in lower case, with anything else as `_`."""

_COLUMNS_TOLD_MAX: Final = 20
_TRUE: Final = frozenset({"1", "true", "yes", "y", "x"})
_FALSE: Final = frozenset({"", "0", "false", "no", "n"})


def looks_like_table(records: Sequence[Record]) -> bool:
    """Whether the columns of a table of ours are there: a section, and a seat's number or a capacity."""
    columns = detect_columns(records)
    return "section" in columns and ("number" in columns or "capacity" in columns)


def detect_columns(records: Sequence[Record]) -> dict[str, str]:
    """Which column of the file is which of ours."""
    # Row objects leave out what is empty: a column counts wherever it turns up.
    present = dict.fromkeys(name for record in records for name in record.cells)
    spelled = {re.sub(r"[^a-z0-9]+", "_", name.strip().lower()): name for name in present}
    answer: dict[str, str] = {}
    for ours, names in _COLUMNS.items():
        found = next(
            (spelled[name] for name in names if name in spelled and spelled[name] not in answer.values()), None
        )
        if found is not None:
            answer[ours] = found
    return answer


def import_table(records: Sequence[Record], options: Options) -> Imported | Rejected:
    """A layout from a table. A row with a capacity is an area; any other is a seat."""
    columns = detect_columns(records)
    if not looks_like_table(records):
        names = ", ".join(shown(name) for name in list(records[0].cells)[:20])
        return rejected(
            records[0].path, f"has the columns {names}; section, row, number (or capacity) are expected, or a mapping"
        )
    reader = _Reader(columns)
    sections: dict[str, DraftSection] = {}
    for record in records:
        reader.take(record, sections)
    if reader.findings.count:
        return Rejected(reader.findings.closed())
    draft = Draft(options.stem, list(sections.values()))
    draft.notes.append("Columns: " + ", ".join(f"{ours} is {shown(theirs)}" for ours, theirs in columns.items()))
    others = dict.fromkeys(name for each in records for name, cell in each.cells.items() if cell not in (None, ""))
    unused = [name for name in others if name not in columns.values()]
    if unused:
        named = ", ".join(shown(name) for name in unused[:_COLUMNS_TOLD_MAX])
        more = f" and {len(unused) - _COLUMNS_TOLD_MAX} more" if len(unused) > _COLUMNS_TOLD_MAX else ""
        draft.notes.append(f"Columns that nothing is made of: {named}{more}")
    return finish_draft(draft, options)


class _Reader:
    def __init__(self, columns: dict[str, str]) -> None:
        self.columns = columns
        self.findings = Findings()

    def take(self, record: Record, sections: dict[str, DraftSection]) -> None:
        name = self._text(record, "section")
        if not name:
            self.findings.add(self._path(record, "section"), "is empty; a section is expected")
            return
        section = sections.setdefault(name, DraftSection(name, record.path))
        capacity = self._text(record, "capacity")
        if capacity:
            self._area(record, section, capacity)
            return
        number = self._text(record, "number")
        if not number:
            self.findings.add(self._path(record, "number"), "is empty; a seat's number is expected")
        if section.capacity is not None:
            self.findings.add(record.path, f"is a seat in {shown(name)}, which has a capacity; one of them is expected")
        section.seats.append(
            DraftSeat(
                row=self._text(record, "row"),
                number=number,
                path=record.path,
                spot=self._spot(record),
                category=self._text(record, "category"),
                accessible=self._flag(record, "accessible"),
                companion=self._flag(record, "companion"),
                restricted_view=self._flag(record, "restricted_view"),
            )
        )

    def _area(self, record: Record, section: DraftSection, capacity: str) -> None:
        path = self._path(record, "capacity")
        if not (capacity.isdecimal() and len(capacity) <= 7 and 1 <= int(capacity) <= limits.AREA_CAPACITY_MAX):
            expected = f"a whole number from 1 to {limits.AREA_CAPACITY_MAX} is expected"
            self.findings.add(path, f"is {shown(capacity)}; {expected}")
            return
        if section.capacity is not None or section.seats:
            self.findings.add(path, f"is given for {shown(section.name)} again; an area is one row of the table")
        section.capacity = int(capacity)
        section.category = self._text(record, "category")

    def _path(self, record: Record, ours: str) -> str:
        return f"{record.path}, {self.columns.get(ours, ours)}"

    def _text(self, record: Record, ours: str) -> str:
        value = record.cells.get(self.columns.get(ours, ""))
        if value is None or isinstance(value, bool):
            return ""
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, (int, float)) and abs(value) < 10**15 and value == int(value):
            return str(int(value))
        if isinstance(value, float) and math.isfinite(value):
            return str(value)
        self.findings.add(self._path(record, ours), f"is {shown(value)}; text or a number is expected")
        return ""

    def _flag(self, record: Record, ours: str) -> bool:
        value = record.cells.get(self.columns.get(ours, ""))
        if isinstance(value, bool):
            return value
        text = self._text(record, ours).lower()
        if text not in _TRUE and text not in _FALSE:
            self.findings.add(self._path(record, ours), f"is {shown(text)}; yes, no or nothing is expected")
        return text in _TRUE

    def _spot(self, record: Record) -> Spot | None:
        x, y = self._coordinate(record, "x"), self._coordinate(record, "y")
        if (x is None) != (y is None):
            self.findings.add(record.path, "has one of x and y; both or neither are expected")
        return None if x is None or y is None else (x, y)

    def _coordinate(self, record: Record, ours: str) -> float | None:
        value = record.cells.get(self.columns.get(ours, ""))
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        number = read_number(value)
        if number is None:
            expected = f"a number within ±{limits.VIEWPORT_MAX} is expected"
            self.findings.add(self._path(record, ours), f"is {shown(value)}; {expected}")
        return number


def read_number(value: object) -> float | None:
    """A finite number of a size that a plan can have, also from text with a decimal comma; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = read_numeral(value.replace(",", ".")) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= limits.VIEWPORT_MAX else None
