"""What a foreign file says, before it is a layout: labels as found, coordinates in the file's own units.

Importers fill a `Draft`; `finishing` tidies its labels, places what has no place, and makes the layout. The drafts are
mutable on purpose: they live inside one import.
"""

from typing import Literal

import msgspec

from lml_live.errors import Violation
from lml_live.venues.layout import Layout, Units

Spot = tuple[float, float]
"""x and y in the file's units; y grows downwards."""
Polygon = list[Spot]


class Box(msgspec.Struct, frozen=True, gc=False):
    """A rectangle in the file's units."""

    x: float
    y: float
    width: float
    height: float

    def contains(self, spot: Spot) -> bool:
        """Whether a spot is inside or on the edge."""
        return self.x <= spot[0] <= self.x + self.width and self.y <= spot[1] <= self.y + self.height


class DraftSeat(msgspec.Struct, gc=False):
    """A seat as the file tells of it; `path` says where."""

    row: str
    number: str
    path: str
    spot: Spot | None = None
    category: str = ""
    accessible: bool = False
    companion: bool = False
    restricted_view: bool = False


class DraftSection(msgspec.Struct):
    """A section as found. With `capacity` and no seats it is an area."""

    name: str
    path: str
    seats: list[DraftSeat] = []
    outlines: list[Polygon] = []
    capacity: int | None = None
    category: str = ""


class DraftShape(msgspec.Struct):
    """Decoration, in the file's units."""

    kind: str
    label: str
    points: Polygon


SeatOrder = Literal["file", "number", "place"]
"""How seats stand in their row: as the file has them, by number, or by where they are drawn."""


class Draft(msgspec.Struct):
    """A whole file as found."""

    name: str
    sections: list[DraftSection] = []
    layout_id: str | None = None
    canvas: Box | None = None
    units: Units = "relative"
    field: Box | None = None
    """What the rows face: a pitch, a stage. Row 1 is the nearest."""
    focal: Spot | None = None
    shapes: list[DraftShape] = []
    seat_order: SeatOrder = "file"
    standing: list[str] = []
    notes: list[str] = []


class Renaming(msgspec.Struct, frozen=True):
    """A label that could not stay as it was."""

    path: str
    before: str
    after: str


class Imported(msgspec.Struct, frozen=True):
    """A sealed layout that keeps every rule, and all that the importer changed or decided on the way."""

    layout: Layout
    renamings: tuple[Renaming, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[Violation, ...] = ()
