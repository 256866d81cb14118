"""Our own layout JSON. Nothing is renamed: a file in our own format says what it means, or is refused.

That a label is spelled in another normal form is no meaning: it becomes NFC.
"""

import math
from typing import Any, Final

import msgspec
from msgspec import inspect

from lml_live.errors import Violation
from lml_live.venues.checks import check_and_seal, check_layout
from lml_live.venues.findings import Findings, shown
from lml_live.venues.importers.draft import Imported
from lml_live.venues.importers.finishing import Options, finish_layout
from lml_live.venues.importers.reading import Rejected
from lml_live.venues.layout import Layout
from lml_live.venues.normal_form import in_nfc

_LAYOUT_TYPE: Final = inspect.type_info(Layout)


def import_native(tree: object, options: Options) -> Imported | Rejected:
    """A layout from our own JSON, already read. `seat_id` and `hash` may be left out; where given, they must be right.

    Another `layout_id` than the file's gives all seats other ids; declared ids are then taken as what they are, old.
    """
    try:
        layout = in_nfc(msgspec.convert(tree, Layout))
    except (msgspec.ValidationError, OverflowError):
        return Rejected(explain_layout(tree))
    if options.standing:
        return Rejected(
            tuple(
                Violation("--standing", f"is {shown(name)}; our own format says itself which sections are standing")
                for name in options.standing
            )
        )
    report, sealed = check_and_seal(layout)
    if sealed is None:
        return Rejected(report.violations)
    if options.name or (options.layout_id or layout.layout_id) != layout.layout_id:
        layout = msgspec.structs.replace(
            layout, layout_id=options.layout_id or layout.layout_id, name=options.name or layout.name, hash=""
        )
        return finish_layout(without_seat_ids(layout))
    return Imported(sealed, warnings=report.warnings)


def without_seat_ids(layout: Layout) -> Layout:
    """The layout with its seat ids left out, as a person would write it."""
    sections = []
    for section in layout.sections:
        rows = tuple(
            msgspec.structs.replace(row, seats=tuple(msgspec.structs.replace(seat, seat_id="") for seat in row.seats))
            for row in section.rows
        )
        sections.append(msgspec.structs.replace(section, rows=rows))
    return msgspec.structs.replace(layout, sections=tuple(sections))


def explain_layout(tree: object) -> tuple[Violation, ...]:
    """All violations of a file whose types or values are wrong.

    The tree is built into a layout with stand-ins for what has the wrong type, and that layout is checked like any
    other; what the checks say of a stand-in is left out.
    """
    builder = _Builder()
    layout = builder.build(tree, _LAYOUT_TYPE, "")
    findings = builder.findings
    if isinstance(layout, Layout):
        for violation in check_layout(in_nfc(layout)).violations:
            if not builder.is_silent(violation.path):
                findings.take(violation)
    if not findings.count:
        findings.add("", "is not a layout; `lml layout schema` prints what is expected")
    return findings.closed()


class _Builder:
    """Builds values of a type from an untyped tree. Mutable: it lives inside one explanation."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.silent: set[str] = set()
        """Paths at which a stand-in stands; the checks are silent about it and all below."""

    def is_silent(self, path: str) -> bool:
        """Whether a path is at or below a stand-in."""
        ends = [at for at, character in enumerate(path) if character in ".["]
        return any(path[:end] in self.silent for end in (*ends, len(path)))

    def build(self, value: object, kind: inspect.Type, path: str) -> Any:
        """The value, or a stand-in after noting what was found and what is expected."""
        match kind:
            case inspect.StructType():
                return self._struct(value, kind, path)
            case inspect.VarTupleType():
                if not isinstance(value, list):
                    return self._wrong(path, value, "an array", ())
                return tuple(self.build(item, kind.item_type, f"{path}[{at}]") for at, item in enumerate(value))
            case inspect.TupleType():
                if not isinstance(value, list) or len(value) != len(kind.item_types):
                    stand_in = (0.0,) * len(kind.item_types)
                    return self._wrong(path, value, f"an array of {len(kind.item_types)} numbers", stand_in)
                return tuple(
                    self.build(item, item_kind, f"{path}[{at}]")
                    for at, (item, item_kind) in enumerate(zip(value, kind.item_types, strict=True))
                )
            case inspect.UnionType():
                if value is None:
                    return None
                real = next(member for member in kind.types if not isinstance(member, inspect.NoneType))
                return self.build(value, real, path)
            case inspect.LiteralType():
                if value in kind.values and isinstance(value, str):
                    return value
                words = " or ".join(shown(word) for word in kind.values)
                # What the rest of its object means depends on this word: the checks are silent about all of it.
                if "." in path:
                    self.silent.add(path.rpartition(".")[0])
                return self._wrong(path, value, words, kind.values[0])
        return self._scalar(value, kind, path)

    def _scalar(self, value: object, kind: inspect.Type, path: str) -> object:
        if isinstance(kind, inspect.StrType):
            return value if isinstance(value, str) else self._wrong(path, value, "text", "")
        if isinstance(kind, inspect.BoolType):
            return value if isinstance(value, bool) else self._wrong(path, value, "true or false", False)
        if isinstance(kind, inspect.IntType):
            whole = isinstance(value, int) and not isinstance(value, bool)
            return value if whole else self._wrong(path, value, "a whole number", 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
            return self._wrong(path, value, "a number", 0.0)
        return float(value)

    def _struct(self, value: object, kind: inspect.StructType, path: str) -> Any:
        if not isinstance(value, dict):
            return self._wrong(path, value, "an object", _stand_in(kind))
        members: dict[str, object] = {}
        prefix = f"{path}." if path else ""
        known = {field.encode_name for field in kind.fields}
        for name in value:
            if name not in known:
                expected = f"known are {', '.join(sorted(known))}"
                self.findings.broken("member", f"{prefix}{name}"[:200], "is no member here", expected)
        for field in kind.fields:
            where = f"{prefix}{field.encode_name}"
            if field.encode_name in value:
                members[field.name] = self.build(value[field.encode_name], field.type, where)
            elif field.required:
                self.findings.odd("member", where, "is missing", "it must be there")
                self.silent.add(where)
                members[field.name] = _stand_in(field.type)
        return kind.cls(**members)

    def _wrong(self, path: str, value: object, expected: str, stand_in: object) -> Any:
        self.findings.broken("type", path, f"is {shown(value)}", f"{expected} is expected")
        self.silent.add(path)
        return stand_in


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _stand_in(kind: inspect.Type) -> object:
    match kind:
        case inspect.StructType():
            return kind.cls(**{field.name: _stand_in(field.type) for field in kind.fields if field.required})
        case inspect.StrType():
            return ""
        case inspect.FloatType():
            return 0.0
        case inspect.VarTupleType():
            return ()
        case inspect.TupleType():
            return tuple(_stand_in(item) for item in kind.item_types)
        case inspect.LiteralType():
            return kind.values[0]
    return None
