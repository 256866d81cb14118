"""QR codes of ticket codes, as a page draws them. Pure."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby

import segno
from msgspec import Struct

from lml_live import limits


class QrShown(Struct, frozen=True):
    """A QR code to draw: `path` fills its dark modules, as an SVG path in a square of `size` modules.

    Around it a scanner needs four modules of nothing.
    """

    size: int
    path: str


@lru_cache(limits.QR_CODES_KEPT)
def draw_qr(text: str) -> QrShown:
    """The QR code of a text, good with 15 % of it unreadable: tickets are folded, and screens are cracked."""
    rows = segno.make_qr(text, error="m").matrix
    boxes = (f"M{x} {y}h{width}v1h-{width}z" for y, row in enumerate(rows) for x, width in _runs(row))
    return QrShown(len(rows), "".join(boxes))


def _runs(row: bytearray) -> Iterator[tuple[int, int]]:
    """Where dark modules begin, and how many are side by side."""
    x = 0
    for dark, modules in groupby(row):
        width = len(list(modules))
        if dark:
            yield x, width
        x += width
