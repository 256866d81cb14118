"""From bytes to an untyped tree or a table, without a traceback whatever the bytes are."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from lml_live import limits
from lml_live.errors import Violation
from lml_live.venues.findings import Findings, shown

_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_DELIMITERS: Final = ",;\t"
_NO_MARKS: Final = bytes(each for each in range(256) if each not in b'"{[,')
"""All bytes but those that begin values and strings."""


class Rejected(msgspec.Struct, frozen=True):
    """Why a file cannot be imported: every violation, the first `limits.VIOLATIONS_MAX` of them listed."""

    violations: tuple[Violation, ...]


class Record(msgspec.Struct, frozen=True):
    """One row of a table: where it stands in the file, and its cells by column name."""

    path: str
    cells: dict[str, object]


class _FaultError(ValueError):
    """A fault found inside a callback of `json`; it never leaves this module."""


def rejected(path: str, message: str) -> Rejected:
    """A rejection for one reason."""
    return Rejected((Violation(path, message),))


def read_text(raw: bytes) -> str | Rejected:
    """The text of a file: UTF-8, with or without a byte order mark, within the size that an import may have."""
    if len(raw) > limits.LAYOUT_FILE_BYTES_MAX:
        return rejected("", f"has {len(raw)} bytes; at most {limits.LAYOUT_FILE_BYTES_MAX} are expected")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return rejected("", f"byte {error.start} is not UTF-8; save the file as UTF-8")
    if not text.strip():
        return rejected("", "is empty; JSON or a table is expected")
    return text


def looks_like_json(text: str) -> bool:
    """Whether the file can only be meant as JSON. (A table may begin with a quote or a digit.)"""
    return text.lstrip()[:1] in ("{", "[")


def read_json(text: str) -> object | Rejected:
    """JSON as plain Python values. Refused: NaN and Infinity, members named twice, text that is no Unicode, and more
    values than fit into the memory of a server."""
    if (count := count_values(text)) > limits.LAYOUT_JSON_VALUES_MAX:
        return rejected("", f"has about {count} values; at most {limits.LAYOUT_JSON_VALUES_MAX} are expected")
    try:
        tree: object = json.loads(text, object_pairs_hook=_unique_members, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        return rejected(f"line {error.lineno}, column {error.colno}", f"is no JSON: {error.msg}")
    except _FaultError as fault:
        return rejected("", str(fault))
    except RecursionError:
        return rejected("", f"is nested too deeply; at most {limits.JSON_DEPTH_MAX} levels are expected")
    except ValueError:
        # Python refuses integers of more than 4,300 digits before anybody can look at them.
        return rejected("", "holds a number of thousands of digits; numbers of at most 18 digits are expected")
    if isinstance(tree, (dict, list)) and _depth_exceeds(tree, limits.JSON_DEPTH_MAX):
        return rejected("", f"is nested too deeply; at most {limits.JSON_DEPTH_MAX} levels are expected")
    if _SURROGATE_ESCAPE.search(text) and (path := _lone_surrogate(tree, "")) is not None:
        return rejected(path, "holds half of a surrogate pair, which is no character")
    return tree


def count_values(text: str | bytes) -> int:
    """About how many values a JSON text has, at least as many: known before any is made, whatever the text is. What
    strings hold is looked at where it decides."""
    begins = ("{", "[", ",") if isinstance(text, str) else (b"{", b"[", b",")
    count = sum(map(text.count, begins))  # type: ignore[arg-type]  # both are of one kind
    if count <= limits.LAYOUT_JSON_VALUES_MAX:
        return count
    return count_structure(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)


def count_structure(raw: bytes) -> int:
    """The same without what strings hold. After a fault, which ends the reading of a text, anything may be counted."""
    # Escaped quotes end no string, and a quote after an escaped backslash does.
    marks = raw.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NO_MARKS)
    # Two quotes together hold nothing, or part two strings that nothing parts: without them the others are as before.
    marks = marks.replace(b'""', b"")
    if marks.count(b'"') > 4 * limits.LAYOUT_JSON_VALUES_MAX:
        return len(marks)  # so many strings, be they names or not, are too many values already
    return sum(map(len, marks.split(b'"')[::2]))


def read_table(text: str) -> list[Record] | Rejected:
    """A CSV table with a header line; the delimiter is the one of `, ; tab` that the header has most of."""
    first_line = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    reader = csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=delimiter, strict=True)
    findings = Findings()
    records: list[Record] = []
    try:
        header = [name.strip() for name in next(reader)]
        if faults := _header_faults(header):
            return Rejected(faults)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            path = f"line {reader.line_num}"
            if len(cells) > len(header):
                findings.add(path, f"has {len(cells)} cells; the header names {len(header)} columns")
                continue
            if (len(records) + 1) * len(header) > limits.TABLE_CELLS_MAX:
                return rejected(path, f"is where more than {limits.TABLE_CELLS_MAX} cells begin: leave columns out")
            # Spreadsheets leave out trailing empty cells.
            padded = [*cells, *[""] * (len(header) - len(cells))]
            records.append(Record(path, dict(zip(header, padded, strict=True))))
    except csv.Error as error:
        return rejected(f"line {reader.line_num}", f"is no table: {error}")
    if findings.count:
        return Rejected(findings.closed())
    if not records:
        return rejected("", "has a header but no rows")
    return records


def records_of(tree: object) -> list[Record] | Rejected:
    """A JSON array of row objects as records."""
    if not isinstance(tree, list) or not tree:
        return rejected("", f"is {shown(tree)}; an array of row objects is expected")
    findings = Findings()
    records = []
    for at, value in enumerate(tree):
        if isinstance(value, dict):
            records.append(Record(f"[{at}]", value))
        else:
            findings.add(f"[{at}]", f"is {shown(value)}; an object is expected")
    return Rejected(findings.closed()) if findings.count else records


def _header_faults(header: Sequence[str]) -> tuple[Violation, ...]:
    if len(header) < 2:
        return (
            Violation("line 1", "is neither JSON nor the header of a table: columns parted by , ; or tab are expected"),
        )
    twice = sorted(name for name, count in Counter(header).items() if name and count > 1)
    return tuple(Violation("line 1", f"names the column {shown(name)} twice") for name in twice)


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _FaultError(f"holds an object with two members named {shown(twice)}; each name is expected once")
    return members


def _no_constant(name: str) -> object:
    raise _FaultError(f"holds {name}, which is no JSON number")


def _depth_exceeds(tree: dict[str, object] | list[object], limit: int) -> bool:
    level: list[dict[str, object] | list[object]] = [tree]
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _lone_surrogate(tree: object, path: str) -> str | None:
    """The path of the first text that UTF-8 cannot carry. Recursion is safe: the depth was bounded before."""
    if isinstance(tree, str):
        return path if any("\ud800" <= character <= "\udfff" for character in tree) else None
    children: list[tuple[str, object]] = []
    if isinstance(tree, dict):
        for name, value in tree.items():
            if _lone_surrogate(name, path) is not None:
                return path
            children.append((f"{path}.{name}".lstrip("."), value))
    elif isinstance(tree, list):
        children = [(f"{path}[{at}]", value) for at, value in enumerate(tree)]
    return next((found for where, value in children if (found := _lone_surrogate(value, where)) is not None), None)
