"""Pixels of an exported plan. Pure."""

from typing import Final

from lml_live.venues.importers.finishing import viewport_size
from lml_live.venues.layout import Layout, Point, Viewport
from lml_live.venues.viewport import Pixels, to_pixels

_SIDE_MIN: Final = 300.0
"""A proportion whose longer side is less is drawn `_SIDE` long: else seats lie on one another. Pixels stay pixels."""
_SIDE: Final = 1000.0


class Measure:
    """The plan's size in the file, and where things lie on it."""

    def __init__(self, layout: Layout) -> None:
        longer = max(layout.viewport.width, layout.viewport.height)
        scale = 1.0 if layout.viewport.units == "px" or longer >= _SIDE_MIN else _SIDE / longer
        self.width, self.height = layout.viewport.width * scale, layout.viewport.height * scale
        self._viewport = Viewport(self.width, self.height, "px")
        read = viewport_size(self.width, self.height)[:2]
        self.size_is_kept = read == (layout.viewport.width, layout.viewport.height)
        """Whether the plan has the same size when the file is read, whatever its units."""

    def pixels(self, point: Point) -> Pixels:
        """Where a point of the layout is, unrounded: on the way back it is the same point."""
        return to_pixels(point, self._viewport)
