"""What a foreign file says, before it is a layout: labels as found, coordinates in the file's own units.

Importers fill a `Draft`; `finishing` tidies its labels, places what has no place, and makes the layout. The drafts are
mutable on purpose: they live inside one import.
"""

import re
from typing import Literal

import msgspec

from lml_live.errors import Violation
from lml_live.venues.layout import COLOR_PATTERN, Feature, Layout, TableForm, Units

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


class DraftTable(msgspec.Struct, frozen=True):
    """The table that the seats of a row stand around."""

    middle: Spot
    width: float
    height: float
    form: TableForm = "round"
    turn: float = 0.0
    """In degrees, from 0 to below 360."""


class DraftSeat(msgspec.Struct, gc=False):
    """A seat as the file tells of it; `path` says where. What its row has, each of the row's seats has."""

    row: str
    number: str
    path: str
    spot: Spot | None = None
    category: str = ""
    accessible: bool = False
    companion: bool = False
    restricted_view: bool = False
    features: tuple[Feature, ...] = ()
    table: DraftTable | None = None
    sold_whole: bool = False
    """Whether its row sells only whole, as a table."""


class DraftSection(msgspec.Struct):
    """A section as found. With `capacity` and no seats it is an area."""

    name: str
    path: str
    seats: list[DraftSeat] = []
    outlines: list[Polygon] = []
    capacity: int | None = None
    category: str = ""
    floor: str = ""


class DraftShape(msgspec.Struct):
    """Decoration, in the file's units."""

    kind: str
    label: str
    points: Polygon
    floor: str = ""


class Renaming(msgspec.Struct, frozen=True):
    """A label that could not stay as it was."""

    path: str
    before: str
    after: str


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
    categories: dict[str, str | None] = {}
    """The colours of those that the file lists, or None."""
    seat_order: SeatOrder = "file"
    standing: list[str] = []
    notes: list[str] = []
    renamings: list[Renaming] = []

    def add_category(self, name: str, color: str) -> None:
        """Lists a category; a colour that is none of ours (`#rrggbb`) is left out."""
        if name:
            fits = re.search(COLOR_PATTERN, color.lower())
            self.categories.setdefault(name, color.lower() if fits else None)


class Imported(msgspec.Struct, frozen=True):
    """A sealed layout that keeps every rule, and all that the importer changed or decided on the way."""

    layout: Layout
    renamings: tuple[Renaming, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[Violation, ...] = ()
