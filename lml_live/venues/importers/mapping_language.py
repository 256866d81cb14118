"""The mapping language: a small JSON file that says where another file keeps sections, rows and seats.

docs/importing.md tells it to people; this module is its types and the two things a mapping can point at: elements
(`tribunes[*].sectors[*]`) and values of an element (`row`, `^.sector`, `$.name`).
"""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from lml_live import limits
from lml_live.venues.findings import shown
from lml_live.venues.importers.draft import SeatOrder
from lml_live.venues.importers.reading import Record, Rejected, rejected
from lml_live.venues.layout import Units


class ValueRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that takes more than a path. In this order: path, text or join; strip; replace, otherwise; default."""

    path: str | None = None
    text: str | None = None
    join: "list[str | ValueRule] | None" = None
    """Several values joined into one, those that are empty left out."""
    separator: str = " "
    strip: list[str] = []
    """Beginnings that are cut off, such as "Row "; the first that fits."""
    replace: dict[str, str] = {}
    """Patterns with `*` and `?`, the first that fits is replaced by its text."""
    otherwise: "str | ValueRule | None" = None
    """The value where no pattern of `replace` fits; left out, the value stays."""
    default: str = ""
    """Instead of an empty value."""


Value = str | ValueRule
BoxRule = str | Annotated[list[float], Meta(min_length=4, max_length=4)]
"""`[x, y, width, height]`, or the path of such an array."""


class PlacesRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the seats are. With `number` an element is one seat; with `numbers` it is a row, written as runs."""

    each: str
    section: Value
    row: Value
    number: Value | None = None
    numbers: Value | None = None
    count: Value | None = None
    where: dict[str, str | list[str]] = {}
    x: Value | None = None
    y: Value | None = None
    category: Value | None = None
    accessible: Value | None = None
    order: SeatOrder = "file"


class SectionsRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where sections are described: outlines, counts, areas. It also gives their order."""

    each: str
    section: Value
    where: dict[str, str | list[str]] = {}
    outline: str | None = None
    count: Value | None = None
    capacity: Value | None = None
    category: Value | None = None


class ShapesRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where decoration is described. Where `centred`, x and y are the middle of the shape, not its corner."""

    each: str
    kind: Value
    where: dict[str, str | list[str]] = {}
    label: Value | None = None
    outline: str = "@"
    centred: bool = False


class FixedShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Decoration that the file does not have, in the file's units."""

    kind: str
    box: Annotated[list[float], Meta(min_length=4, max_length=4)]
    label: str = ""


class MoveRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scales a section about the origin, then moves it: for sections that each have a canvas of their own."""

    dx: float = 0.0
    dy: float = 0.0
    scale_x: float = 1.0
    scale_y: float = 1.0


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole mapping file."""

    places: PlacesRule
    name: Value = ""
    layout_id: str | None = None
    sections: SectionsRule | None = None
    shapes: ShapesRule | None = None
    decoration: list[FixedShape] = []
    standing: list[str] = []
    canvas: BoxRule | None = None
    units: Units = "relative"
    field: BoxRule | None = None
    move: dict[str, MoveRule] = {}
    tile: bool = False
    """Each section has its own grid: sections are laid side by side."""
    expect: dict[str, str] = {}
    """Counts that the file gives (`places`, `sections`, `rows`), each with its path; they must agree."""
    notes: list[str] = []


EXPECTABLE: Final = ("places", "sections", "rows")

_DECODER: Final = msgspec.json.Decoder(Mapping)


class Element(msgspec.Struct, frozen=True, gc=False):
    """One element of the file, with those that it lies in; `path` is for people."""

    value: object
    path: str
    parents: "tuple[Element, ...]" = ()
    """The element that the nearest `[*]` outside this one stands for, then the next; the root comes last."""


class PathError(ValueError):
    """A path of the mapping cannot be read."""


def decode_mapping(raw: bytes) -> Mapping | Rejected:
    """A mapping from its file's bytes."""
    try:
        mapping = _DECODER.decode(raw.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return rejected("mapping", f"cannot be used: {error}")
    if (mapping.places.number is None) == (mapping.places.numbers is None):
        return rejected("mapping.places", "one of number (a seat each) and numbers (runs of a row) is expected")
    unknown = sorted(set(mapping.expect) - set(EXPECTABLE))
    if unknown:
        return rejected("mapping.expect", f"names {', '.join(unknown)}; known are {', '.join(EXPECTABLE)}")
    return mapping


_STEP: Final = re.compile(r"\[(\*|\d{1,9})\]|([^.\[\]]+)")


def _steps(path: str) -> list[str | int]:
    """`a.b[*].c[2]` as `["a", "b", "*", "c", 2]`; "*" stands for each element."""
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise PathError(f"'{path}' is no path; names with dots between, [*] and [0] are expected")
        index, name = match.groups()
        if name == "*":
            raise PathError(f"'{path}' is no path; each element is written [*]")
        steps.append(name if name is not None else "*" if index == "*" else int(index))
        at = match.end()
        if at < len(path) and path[at] == ".":
            at += 1
    return steps


def root_element(root: object) -> Element:
    """The whole file. A table's rows keep the names of their lines."""
    return Element(root, "")


def elements(root: Element, path: str) -> Iterator[Element]:
    """Every element that a path with `[*]` leads to, in the file's order. What is not there, is not there."""
    steps = _steps(path)
    yield from _walk(root.value, root.path, (root,), steps)


def _walk(value: object, path: str, parents: tuple[Element, ...], steps: Sequence[str | int]) -> Iterator[Element]:
    for at, step in enumerate(steps):
        if step == "*":
            items = value if isinstance(value, list) else []
            for number, item in enumerate(items):
                here, where = (item.cells, item.path) if isinstance(item, Record) else (item, f"{path}[{number}]")
                rest = steps[at + 1 :]
                if "*" in rest:
                    yield from _walk(here, where, (Element(here, where, parents), *parents), rest)
                else:
                    found = _get(here, rest)
                    if found is not None:
                        yield Element(found, where + "".join(f".{name}" for name in rest), parents)
            return
        value = _get(value, [step])
        path = f"{path}.{step}".lstrip(".")
    if value is not None:
        yield Element(value, path, parents)


def _get(value: object, steps: Sequence[str | int]) -> object:
    for step in steps:
        if isinstance(value, Record):
            value = value.cells
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


_PREFIX: Final = re.compile(r"(\$|\^+|@)(?:\.|$)")


def look_up(element: Element, path: str) -> object:
    """The value at a path of an element: `row`, `^.sector` (one `[*]` further out), `$.name` (from the root), `@`."""
    match = _PREFIX.match(path)
    if match is None:
        return _get(element.value, _steps(path))
    prefix = match[1]
    if prefix == "@":
        start = element
    elif prefix == "$":
        start = element.parents[-1] if element.parents else element
    elif len(prefix) <= len(element.parents):
        start = element.parents[len(prefix) - 1]
    else:
        raise PathError(f"'{path}' goes further out than the file does")
    return _get(start.value, _steps(path[match.end() :]))


def text_at(element: Element, rule: Value) -> str:
    """The text of a value rule. Raises `PathError` where it leads to something that is no text and no number."""
    if isinstance(rule, str):
        return _as_text(look_up(element, rule), element, rule)
    if rule.join is not None:
        text = rule.separator.join(filter(None, (text_at(element, part) for part in rule.join)))
    elif rule.path is not None:
        text = _as_text(look_up(element, rule.path), element, rule.path)
    else:
        text = rule.text or ""
    text = text.strip()
    prefix = next((prefix for prefix in rule.strip if text.startswith(prefix)), "")
    text = text.removeprefix(prefix).strip()
    if rule.replace:
        fitting = next((new for pattern, new in rule.replace.items() if fnmatchcase(text, pattern)), None)
        if fitting is not None:
            text = fitting
        elif rule.otherwise is not None:
            text = text_at(element, rule.otherwise)
    return text or rule.default


def _as_text(value: object, element: Element, path: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.strip() if len(value) <= 10 * limits.LABEL_CHARS_MAX else value
    if isinstance(value, int) and abs(value) < 10**18:
        return str(value)
    if isinstance(value, float) and abs(value) < 10**15:
        return str(int(value)) if value == int(value) else str(value)
    raise PathError(f"{path} of {element.path or 'the file'} is {shown(value)}; text or a number is expected")


def fits(element: Element, where: dict[str, str | list[str]]) -> bool:
    """Whether an element passes a filter: each path's text equals the one given, or one of those given."""
    for path, wanted in where.items():
        value = look_up(element, path)
        text = "" if isinstance(value, (dict, list)) else _as_text(value, element, path)
        if text not in ([wanted] if isinstance(wanted, str) else wanted):
            return False
    return True
