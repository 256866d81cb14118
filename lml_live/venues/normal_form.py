"""Texts of a layout in normal form C, in which labels are compared and ids made. Pure."""

import unicodedata
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from lml_live import limits
from lml_live.venues.layout import Layout, Row, Seat, Section

T = TypeVar("T", bound=msgspec.Struct)


def in_nfc(layout: Layout) -> Layout:
    """The layout with every text in normal form C; itself where all of them are.

    One that is changed loses its `hash`, which is computed anew. Seat ids stay: they are made of normal forms.
    """
    changed = _with_texts(layout, "name")
    changed = _with_items(changed, "sections", _section)
    changed = _with_items(changed, "shapes", lambda shape: _with_texts(shape, "kind", "label", "floor"))
    changed = _with_items(changed, "categories", lambda category: _with_texts(category, "name"))
    changed = _with_items(changed, "entrances", lambda entrance: _with_texts(entrance, "name", "floor"))
    return layout if changed is layout else msgspec.structs.replace(changed, hash="")


def _section(section: Section) -> Section:
    section = _with_texts(section, "name", "category", "floor", "entrance")
    section = _with_items(section, "within", _text)
    return _with_items(section, "rows", _row)


def _row(row: Row) -> Row:
    row = _with_texts(row, "label")
    # 200,000 seats; nearly all numbers and most categories are plain ASCII.
    if all(seat.number.isascii() and seat.category.isascii() for seat in row.seats):
        return row
    return _with_items(row, "seats", _seat)


def _seat(seat: Seat) -> Seat:
    return _with_texts(seat, "number", "category")


def _text(text: str) -> str:
    # What is too long is refused for that; nobody waits for 10 MB to be normalised first.
    return text if len(text) > limits.LABEL_CHARS_MAX else unicodedata.normalize("NFC", text)


def _with_texts(value: T, *names: str) -> T:
    texts = {name: text for name in names if (text := getattr(value, name)) is not None and not text.isascii()}
    changed = {name: new for name, text in texts.items() if (new := _text(text)) != text}
    return msgspec.structs.replace(value, **changed) if changed else value


def _with_items(value: T, name: str, change: Callable[[Any], Any]) -> T:
    items = getattr(value, name)
    changed = tuple(map(change, items))
    same = all(new is old or new == old for new, old in zip(changed, items, strict=True))
    return value if same else msgspec.structs.replace(value, **{name: changed})
