"""Pixels of an exported plan. Pure."""

from typing import Final

from lml_live.venues.layout import Layout, Point, Viewport
from lml_live.venues.viewport import Pixels, to_pixels

_SIDE_MIN: Final = 300.0
"""A plan whose longer side is less, mostly a proportion, is drawn `_SIDE` long: else its seats lie on one another."""
_SIDE: Final = 1000.0


class Measure:
    """The plan's size in the file, and where things lie on it."""

    def __init__(self, layout: Layout) -> None:
        longer = max(layout.viewport.width, layout.viewport.height)
        scale = 1.0 if longer >= _SIDE_MIN else _SIDE / longer
        self.width, self.height = layout.viewport.width * scale, layout.viewport.height * scale
        self._viewport = Viewport(self.width, self.height, "px")

    def pixels(self, point: Point) -> Pixels:
        """Where a point of the layout is, unrounded: on the way back it is the same point."""
        return to_pixels(point, self._viewport)
