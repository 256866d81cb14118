"""Between a layout's coordinates (0 to 1 of its viewport) and pixels of its plan, exactly, in both directions. Pure.

What a sealed layout says survives the way to pixels and back for every viewport: pixels are not rounded, and what comes
back is, to the coordinates' own five decimals. Whole pixels survive the way here and back on every plan of less than
`WHOLE_PIXELS_MAX`: a coordinate is then off by less than half a pixel, which `nearest_pixel` takes away again.
"""

import math
from typing import Final

from lml_live.venues.layout import COORDINATE_DECIMALS, Point, Viewport

Pixels = tuple[float, float]

WHOLE_PIXELS_MAX: Final = 10**COORDINATE_DECIMALS


def to_pixels(point: Point, viewport: Viewport) -> Pixels:
    """Where a point of 0…1 lies on the plan, in the viewport's own measure."""
    return point[0] * viewport.width, point[1] * viewport.height


def to_relative(pixels: Pixels, viewport: Viewport) -> Point:
    """The point of 0…1 that lies there, as a sealed layout has it. What lies off the plan is not brought onto it."""
    return _part(pixels[0], viewport.width), _part(pixels[1], viewport.height)


def nearest_pixel(pixels: Pixels) -> tuple[int, int]:
    """The whole pixel at a place."""
    return math.floor(pixels[0] + 0.5), math.floor(pixels[1] + 0.5)


def _part(length: float, whole: float) -> float:
    return round(length / whole, COORDINATE_DECIMALS)
