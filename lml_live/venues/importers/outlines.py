"""Outlines as files draw them: lists of points, SVG polygons, rectangles and paths."""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Final

from lml_live import limits
from lml_live.venues.findings import shown
from lml_live.venues.importers.draft import Polygon, Spot
from lml_live.venues.importers.numerals import NUMERAL, read_numeral

_TOKENS: Final = re.compile(rf"[MmLlHhVvCcSsQqTtAaZz]|{NUMERAL}|[^\s,]")
_ARGUMENTS: Final = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "A": 7, "Z": 0}
_TINY: Final = 1e-9
_CURVE_STEPS: Final = 8
"""A curve becomes this many straight pieces: at the size of a sector nobody sees the difference."""


class OutlineError(ValueError):
    """The outline cannot be read; the message says what was found."""


def read_outlines(value: object) -> list[Polygon]:
    """The polygons of an outline in any of the known spellings. Raises `OutlineError`.

    `[[x, y], …]`, `[{"x", "y"}, …]`, `"x,y x,y"`, an SVG path, an object with `points` or with `d`,
    a rectangle `{"x", "y", "width", "height"}`, or an array of these. Pieces with fewer than 3 points are left out.
    """
    polygons = [polygon for polygon in _read(value) if len(polygon) >= 3]
    if any(len(polygon) > limits.OUTLINE_POINTS_MAX for polygon in polygons):
        raise OutlineError(f"has more than {limits.OUTLINE_POINTS_MAX} points")
    return polygons


def _read(value: object) -> list[Polygon]:
    if isinstance(value, str):
        return read_path(value) if value.lstrip()[:1] in ("M", "m") else [_points_of_text(value)]
    if isinstance(value, dict):
        if "d" in value:
            return _read(value["d"])
        if "points" in value:
            return _read(value["points"])
        if {"x", "y", "width", "height"} <= value.keys():
            x, y, width, height = (_finite(value[name]) for name in ("x", "y", "width", "height"))
            return [[(x, y), (x + width, y), (x + width, y + height), (x, y + height)]]
    if isinstance(value, list):
        if all(_is_point(item) for item in value):
            return [[_point(item) for item in value]]
        if len(value) <= limits.LAYOUT_SHAPES_MAX:
            return [polygon for item in value for polygon in _read(item)]
    raise OutlineError(f"is {shown(value)}; points, an SVG path or a shape are expected")


def _is_point(value: object) -> bool:
    if isinstance(value, dict):
        return value.keys() >= {"x", "y"} and "width" not in value
    return isinstance(value, list) and len(value) == 2 and not isinstance(value[0], (list, dict))


def _point(value: object) -> Spot:
    if isinstance(value, dict):
        return _finite(value["x"]), _finite(value["y"])
    assert isinstance(value, list)
    return _finite(value[0]), _finite(value[1])


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise OutlineError(f"holds {shown(value)}; a number is expected")
    try:
        number = read_numeral(value) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError) as error:
        raise OutlineError(f"holds {shown(value)}; a number is expected") from error
    if not math.isfinite(number) or abs(number) > limits.VIEWPORT_MAX:
        raise OutlineError(f"holds {shown(value)}; a number within ±{limits.VIEWPORT_MAX} is expected")
    return number


def _points_of_text(text: str) -> Polygon:
    _bound_text(text)
    numbers = [_finite(token) for token in re.split(r"[\s,]+", text.strip()) if token]
    if len(numbers) % 2:
        raise OutlineError(f"has {len(numbers)} numbers; pairs of x and y are expected")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def read_path(text: str) -> list[Polygon]:
    """The subpaths of an SVG path (SVG 1.1, section 8.3) as polygons; curves become straight pieces."""
    _bound_text(text)
    pen: Spot = (0.0, 0.0)
    control: Spot | None = None
    polygons: list[Polygon] = []
    for command, numbers in _commands(text):
        letter = command.upper()
        base = pen if command.islower() else (0.0, 0.0)
        if letter == "M":
            pen = (base[0] + numbers[0], base[1] + numbers[1])
            polygons.append([pen])
            control = None
            continue
        if not polygons:
            raise OutlineError("is an SVG path that does not begin with M")
        if letter == "Z":
            pen, control = polygons[-1][0], None
            continue
        pieces, control = _pieces(letter, numbers, base, pen, control)
        polygons[-1].extend(pieces)
        pen = pieces[-1]
        if len(polygons[-1]) > limits.OUTLINE_POINTS_MAX:
            raise OutlineError(f"has more than {limits.OUTLINE_POINTS_MAX} points")
    return polygons


def _bound_text(text: str) -> None:
    """Raises `OutlineError` for what is longer than any outline: taken apart it would fill the memory."""
    if len(text) > limits.OUTLINE_CHARS_MAX:
        raise OutlineError(f"has {len(text)} characters; at most {limits.OUTLINE_CHARS_MAX} are expected")


def _commands(text: str) -> Iterator[tuple[str, list[float]]]:
    """Each command with its numbers; a repeated command may leave its letter out (after M it is then L)."""
    tokens = _TOKENS.findall(text)
    at, command = 0, ""
    while at < len(tokens):
        if tokens[at].isalpha() and tokens[at].upper() in _ARGUMENTS:
            command = tokens[at]
            at += 1
        elif command.upper() in ("", "Z"):
            raise OutlineError(f"is an SVG path with {shown(tokens[at])} where a command is expected")
        wanted = _ARGUMENTS[command.upper()]
        taken = tokens[at : at + wanted]
        if len(taken) < wanted or any(token[-1:] not in "0123456789." for token in taken):
            raise OutlineError(f"is an SVG path whose {command} does not have {wanted} numbers")
        yield command, [_finite(token) for token in taken]
        at += wanted
        command = {"M": "L", "m": "l"}.get(command, command)


def _pieces(
    letter: str, numbers: list[float], base: Spot, pen: Spot, control: Spot | None
) -> tuple[list[Spot], Spot | None]:
    """The points that a drawing command adds, and the control point that a following S or T reflects."""
    if letter == "H":
        return [(base[0] + numbers[0], pen[1])], None
    if letter == "V":
        return [(pen[0], base[1] + numbers[0])], None
    if letter == "A":
        end = (base[0] + numbers[5], base[1] + numbers[6])
        return _arc(pen, end, numbers[0], numbers[1], numbers[2], (bool(numbers[3]), bool(numbers[4]))), None
    points = [(base[0] + x, base[1] + y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
    if letter == "L":
        return points, None
    if letter in "ST":
        mirrored = pen if control is None else (2 * pen[0] - control[0], 2 * pen[1] - control[1])
        points = [mirrored, *points]
    return [_on_curve([pen, *points], step / _CURVE_STEPS) for step in range(1, _CURVE_STEPS + 1)], points[-2]


def _on_curve(points: list[Spot], share: float) -> Spot:
    """de Casteljau's construction, for curves of any degree."""
    while len(points) > 1:
        points = [(a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share) for a, b in itertools.pairwise(points)]
    return points[0]


def _arc(start: Spot, end: Spot, rx: float, ry: float, turn: float, flags: tuple[bool, bool]) -> list[Spot]:
    """An elliptical arc, from its end points to its centre (SVG 1.1, appendix F.6.5)."""
    rx, ry = abs(rx), abs(ry)
    # Nobody sees an arc that flat, or that short; and what it would be computed with is no number any more.
    if min(rx, ry) < _TINY or math.dist(start, end) < _TINY:
        return [end]
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    half_x, half_y = (start[0] - end[0]) / 2, (start[1] - end[1]) / 2
    x1, y1 = cos * half_x + sin * half_y, cos * half_y - sin * half_x
    grow = math.sqrt(max(1.0, (x1 / rx) ** 2 + (y1 / ry) ** 2))
    rx, ry = rx * grow, ry * grow
    rest = max(0.0, (rx * ry) ** 2 / ((rx * y1) ** 2 + (ry * x1) ** 2) - 1)
    factor = math.sqrt(rest) * (-1 if flags[0] == flags[1] else 1)
    cx, cy = factor * rx * y1 / ry, -factor * ry * x1 / rx
    first = math.atan2((y1 - cy) / ry, (x1 - cx) / rx)
    sweep = (math.atan2((-y1 - cy) / ry, (-x1 - cx) / rx) - first) % (2 * math.pi)
    if not flags[1]:
        sweep -= 2 * math.pi
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    points = []
    for step in range(1, _CURVE_STEPS):
        angle = first + sweep * step / _CURVE_STEPS
        x, y = cx + rx * math.cos(angle), cy + ry * math.sin(angle)
        points.append((middle[0] + cos * x - sin * y, middle[1] + sin * x + cos * y))
    return [*points, end]


# --- Shapes that are told by their measures


_ELLIPSE_POINTS: Final = 24


def rectangle(middle: Spot, width: float, height: float) -> Polygon:
    """The four corners of a rectangle."""
    (x, y), half, tall = middle, width / 2, height / 2
    return [(x - half, y - tall), (x + half, y - tall), (x + half, y + tall), (x - half, y + tall)]


def ellipse(middle: Spot, rx: float, ry: float) -> Polygon:
    """An ellipse as a polygon."""
    angles = [2 * math.pi * at / _ELLIPSE_POINTS for at in range(_ELLIPSE_POINTS)]
    return [(middle[0] + rx * math.cos(angle), middle[1] + ry * math.sin(angle)) for angle in angles]


def turned(polygon: Polygon, middle: Spot, angle: float) -> Polygon:
    """A polygon turned about a point, by an angle in radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    moved = [(x - middle[0], y - middle[1]) for x, y in polygon]
    return [(middle[0] + x * cos - y * sin, middle[1] + x * sin + y * cos) for x, y in moved]


# --- Several pieces as one


def signed_area(polygon: Polygon) -> float:
    """The area of a polygon, below 0 where it is drawn the other way around."""
    pairs = zip(polygon, [*polygon[1:], polygon[0]], strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs) / 2


def steps_to_join(pieces: Sequence[Polygon]) -> int:
    """How many pairs of points `join_pieces` compares, at most."""
    return 2 * sum(map(len, pieces)) * sum(map(len, pieces[1:]))


def join_pieces(pieces: Sequence[Polygon]) -> Polygon:
    """One polygon around all of at least one piece: a line there and back joins each to those before it, between the
    two nearest of their points. All go around the same way."""
    whole = pieces[0]
    for piece in pieces[1:]:
        same_way = (signed_area(piece) < 0) == (signed_area(pieces[0]) < 0)
        around = piece if same_way else piece[::-1]
        _, at, begin = min((math.dist(a, b), i, j) for i, a in enumerate(whole) for j, b in enumerate(around))
        whole = [*whole[: at + 1], *around[begin:], *around[: begin + 1], *whole[at:]]
    return whole
