"""The project's own venues: a concert hall, an arena with a standing floor, and bowls of any size for load tests.

Everything is drawn here, in units of one seat's width, and then brought to 0…1. The hall has the seats per level that
Carnegie Hall publishes for its main auditorium; its shape and its names are ours.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from lml_live import limits
from lml_live.errors import InvalidInput
from lml_live.venues.layout import Layout, LayoutType, Point, Row, Seat, Section, Shape, Viewport, seal_layout

_MARGIN: Final = 4.0
_ROW_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Rows of halls skip I and O, which are read as 1 and 0."""


def concert_hall(layout_id: str = "concert-hall") -> Layout:
    """2,804 seats in five levels of curved rows: 1,021 + 264 + 238 + 444 + 837, as Carnegie Hall publishes them."""
    drawn = [section for level in _HALL for section in _hall_level(level)]
    stage = Shape("stage", ((-14, -2), (14, -2), (11, 9), (-11, 9)), "Stage")
    return _sealed(layout_id, "Concert Hall", drawn, [stage], focal=(0.0, 6.0))


def arena(layout_id: str = "arena") -> Layout:
    """A hybrid venue: a standing floor of 3,500 before the stage, and two seated tiers around three sides of it."""
    bowl = _Bowl(width=64, height=34)
    drawn = bowl.tier("1{:02d}", "Lower bowl", first=4, rows=16, section_width=16, open_end=30)
    drawn += bowl.tier("2{:02d}", "Upper bowl", first=26, rows=20, section_width=19, open_end=34)
    floor = Section(
        "Floor",
        "standing",
        (),
        "floor",
        3500,
        "Floor standing",
        ((-20.0, -17.0), (32.0, -17.0), (32.0, 17.0), (-20.0, 17.0)),
    )
    stage = Shape("stage", ((-36, -14), (-22, -14), (-22, 14), (-36, 14)), "Stage")
    return _sealed(layout_id, "Arena", [floor, *drawn], [stage], focal=(-22.0, 0.0))


def generate_venue(seats: int, layout_id: str | None = None) -> Layout:
    """A bowl of exactly `seats` seats around a pitch: as many tiers and sections as that takes.

    Raises `InvalidInput` outside 1 to `limits.LAYOUT_SEATS_MAX`.
    """
    if not 1 <= seats <= limits.LAYOUT_SEATS_MAX:
        raise InvalidInput(f"{seats} seats were asked for; 1 to {limits.LAYOUT_SEATS_MAX} are possible")
    side = max(10.0, 0.55 * math.sqrt(seats))
    bowl = _Bowl(width=side * 1.6, height=side)
    drawn: list[Section] = []
    missing, tier, first = seats, 1, 3.0
    while missing > 0:
        rows, sections = _closed_tier(bowl, tier, first, missing)
        for section in sections:
            if missing > 0:
                section = _first_seats(section, missing)
                drawn.append(section)
                missing -= sum(len(row.seats) for row in section.rows)
        tier, first = tier + 1, first + rows * _ROW_DEPTH + 5
    pitch = Shape("pitch", bowl.corners(2.0), "Pitch")
    return _sealed(
        layout_id or f"generated-{seats}", f"Generated venue, {seats} seats", drawn, [pitch], focal=(0.0, 0.0)
    )


def _closed_tier(bowl: "_Bowl", tier: int, first: float, missing: int) -> tuple[int, list[Section]]:
    """A tier of at most 24 rows, and no more than are needed: the last ring is low and whole, not high and half."""
    for rows in range(1, 25):
        # A row has about one seat a unit; drawing each try in full would be slow.
        if rows == 24 or bowl.length(first + rows * _ROW_DEPTH / 2) * rows * 0.9 >= missing:
            break
    sections = bowl.tier(f"{tier}{{:03d}}", f"Tier {tier}", first=first, rows=rows, section_width=22)
    return rows, sections


def _first_seats(section: Section, count: int) -> Section:
    rows: list[Row] = []
    for row in section.rows:
        if count > 0:
            rows.append(Row(row.label, row.seats[:count]))
            count -= len(row.seats)
    return msgspec.structs.replace(section, rows=tuple(rows))


def _sealed(layout_id: str, name: str, drawn: list[Section], shapes: list[Shape], focal: Point) -> Layout:
    """Brings everything into 0…1 of a viewport with a margin around it."""
    spots = [(seat.x, seat.y) for section in drawn for row in section.rows for seat in row.seats]
    spots += [spot for section in drawn for spot in section.outline]
    spots += [spot for shape in shapes for spot in shape.points]
    left, top = min(x for x, _ in spots) - _MARGIN, min(y for _, y in spots) - _MARGIN
    width, height = max(x for x, _ in spots) + _MARGIN - left, max(y for _, y in spots) + _MARGIN - top

    def point(spot: Point) -> Point:
        return (spot[0] - left) / width, (spot[1] - top) / height

    sections = []
    for section in drawn:
        rows = tuple(
            Row(
                row.label,
                tuple(
                    Seat(
                        seat.number,
                        (seat.x - left) / width,
                        (seat.y - top) / height,
                        seat.category,
                        "",
                        seat.accessible,
                        seat.companion,
                        seat.restricted_view,
                    )
                    for seat in row.seats
                ),
            )
            for row in section.rows
        )
        outline = tuple(point(spot) for spot in section.outline)
        sections.append(msgspec.structs.replace(section, rows=rows, outline=outline))
    kinds = {section.kind for section in drawn}
    layout_type: LayoutType = "hybrid" if len(kinds) == 2 else "seated"
    placed = tuple(
        msgspec.structs.replace(shape, points=tuple(point(spot) for spot in shape.points)) for shape in shapes
    )
    return seal_layout(
        Layout(
            layout_id=layout_id,
            name=name,
            type=layout_type,
            viewport=Viewport(round(width, 2), round(height, 2)),
            sections=tuple(sections),
            focal_point=point(focal),
            shapes=placed,
        )
    )


# --- The hall


class _Level(msgspec.Struct, frozen=True):
    """One level: rows on circles around the stage, in one or three sections side by side."""

    name: str
    seats: int
    rows: int
    radius: float
    """Of the first row."""
    half_angle: float
    """Degrees from the middle to either end."""
    front: str
    """The category of the first rows."""
    back: str
    front_rows: int
    parts: tuple[str, ...] = ("Left", "Centre", "Right")
    accessible: int = 0
    """Seats for wheelchairs in the middle of the last row, each with a companion's beside it."""


_HALL: Final = (
    _Level("Parquet", 1021, 25, 15.0, 45.0, "Premium", "Parquet", 12, accessible=6),
    _Level("First Tier", 264, 3, 50.5, 50.0, "First tier", "First tier", 3),
    _Level("Second Tier", 238, 3, 57.0, 40.0, "Second tier", "Second tier", 3),
    _Level("Dress Circle", 444, 6, 64.0, 33.0, "Dress circle", "Dress circle", 6, accessible=2),
    _Level("Balcony", 837, 11, 75.0, 28.0, "Balcony", "Balcony rear", 6),
)


def _hall_level(level: _Level) -> Iterator[Section]:
    shares = (0.28, 0.44, 0.28)
    totals = [round(level.seats * share) for share in shares[:-1]]
    totals.append(level.seats - sum(totals))
    # Aisles part the sections; they are as wide at the front as at the back, so they are a width and no angle.
    angle = -level.half_angle
    for at, (part, share, total) in enumerate(zip(level.parts, shares, totals, strict=True)):
        end = angle + 2 * level.half_angle * share
        yield _hall_section(level, f"{level.name} {part}", total, (angle, end), first_number=100 * at + 1)
        angle = end


def _hall_section(level: _Level, name: str, total: int, angles: tuple[float, float], first_number: int) -> Section:
    aisle = 1.1
    radii = [level.radius + at * _ROW_DEPTH for at in range(level.rows)]
    lengths = [max(radius * math.radians(angles[1] - angles[0]) - aisle, 3.0) for radius in radii]
    rows = []
    for at, (radius, count) in enumerate(zip(radii, shared_out(total, lengths), strict=True)):
        category = level.front if at < level.front_rows else level.back
        spare = aisle / 2 / radius
        low, high = math.radians(angles[0]) + spare, math.radians(angles[1]) - spare
        seats = []
        for seat_at in range(count):
            # Angle 0 points away from the stage, down the plan; numbers rise from left to right on it.
            angle = low + (high - low) * (seat_at + 0.5) / count
            special = level.accessible if at == level.rows - 1 and "Centre" in name else 0
            beside = seat_at - (count - 2 * special) // 2
            inside = 0 <= beside < 2 * special
            seats.append(
                Seat(
                    str(first_number + seat_at),
                    radius * math.sin(angle),
                    radius * math.cos(angle),
                    category,
                    accessible=inside and beside % 2 == 0,
                    companion=inside and beside % 2 == 1,
                )
            )
        rows.append(Row(_row_letter(at), tuple(seats)))
    outline = _arc(radii[0] - 0.7, angles) + _arc(radii[-1] + 0.7, (angles[1], angles[0]))
    return Section(name, "seated", tuple(rows), outline=outline)


def shared_out(total: int, weights: list[float]) -> list[int]:
    """`total` in whole parts proportional to the weights, that add up exactly."""
    answer, given, so_far, whole = [], 0, 0.0, sum(weights)
    for weight in weights:
        so_far += weight
        upto = round(total * so_far / whole)
        answer.append(upto - given)
        given = upto
    return answer


def _row_letter(at: int) -> str:
    turns, letter = divmod(at, len(_ROW_LETTERS))
    return _ROW_LETTERS[letter] * (turns + 1)


def _arc(radius: float, angles: tuple[float, float]) -> tuple[Point, ...]:
    steps = 12
    points = []
    for at in range(steps + 1):
        angle = math.radians(angles[0] + (angles[1] - angles[0]) * at / steps)
        points.append((radius * math.sin(angle), radius * math.cos(angle)))
    return tuple(points)


# --- Bowls

_ROW_DEPTH: Final = 1.35
_AISLE: Final = 1.4


class _Bowl(msgspec.Struct, frozen=True):
    """Rows at equal distances around a rectangle: straight along its sides, round at its corners."""

    width: float
    height: float

    def length(self, distance: float) -> float:
        """Of the ring at a distance."""
        return 2 * (self.width + self.height) + 2 * math.pi * distance

    def corners(self, inset: float) -> tuple[Point, ...]:
        x, y = self.width / 2 - inset, self.height / 2 - inset
        return (-x, -y), (x, -y), (x, y), (-x, y)

    def tier(
        self, name: str, category: str, *, first: float, rows: int, section_width: float, open_end: float = 0.0
    ) -> list[Section]:
        """Sections all around, clockwise from the middle of the left side; `name` is a format with one number.

        `first` is the distance of row 1 from the rectangle. Around the middle of the left side `open_end` of length
        stays empty, for a stage.
        """
        middle = first + rows * _ROW_DEPTH / 2
        place = self._ring(middle)
        usable = self.length(middle) - open_end
        count = max(1, round(usable / section_width))
        sections = []
        for at in range(count):
            start = open_end / 2 + usable * at / count
            end = open_end / 2 + usable * (at + 1) / count
            sections.append(self._section(name.format(at + 1), category, first, rows, place, (start, end)))
        return sections

    def _section(
        self,
        name: str,
        category: str,
        first: float,
        rows: int,
        place: Callable[[float, float], Point],
        span: tuple[float, float],
    ) -> Section:
        drawn = []
        for at in range(rows):
            distance = first + at * _ROW_DEPTH
            measured = _measured(place, span, distance)
            long = measured[-1][1]
            count = max(1, math.floor(long - _AISLE))
            # Half an aisle at either end.
            edge = min(_AISLE / 2, long * 0.4)
            step = (long - 2 * edge) / count
            seats = []
            for seat_at, along in enumerate(_along(measured, edge + step / 2, step, count)):
                x, y = place(along, distance)
                seats.append(Seat(str(seat_at + 1), x, y, category))
            drawn.append(Row(str(at + 1), tuple(seats)))
        back = first + (rows - 1) * _ROW_DEPTH + 0.7
        steps = [span[0] + (span[1] - span[0]) * at / 8 for at in range(9)]
        outline = [place(along, first - 0.7) for along in steps] + [place(along, back) for along in reversed(steps)]
        return Section(name, "seated", tuple(drawn), outline=tuple(outline))

    def _ring(self, middle: float) -> Callable[[float, float], Point]:
        """Where a length along the ring at distance `middle` lies at any distance.

        A place keeps its share of a corner at every distance, so the aisles of a tier run straight away from the pitch.
        """
        x, y = self.width / 2, self.height / 2
        quarter = math.pi / 2 * middle
        # Clockwise from the middle of the left side: up, along the top, down the right side, back, and up again.
        pieces = [y, quarter, 2 * x, quarter, 2 * y, quarter, 2 * x, quarter, y]
        starts = [((-x, 0.0), 180.0), ((-x, -y), 180.0), ((-x, -y), 270.0), ((x, -y), 270.0), ((x, -y), 0.0)]
        starts += [((x, y), 0.0), ((x, y), 90.0), ((-x, y), 90.0), ((-x, y), 180.0)]

        def place(along: float, distance: float) -> Point:
            along = max(along, 0.0)
            at = 0
            while at < 8 and along > pieces[at]:
                along -= pieces[at]
                at += 1
            (px, py), degrees = starts[at]
            angle = math.radians(degrees)
            if at % 2:
                angle += along / middle
                return px + distance * math.cos(angle), py + distance * math.sin(angle)
            # Along a side: outwards is `angle`, onwards a quarter turn clockwise of it.
            out_x, out_y = math.cos(angle), math.sin(angle)
            return px + out_x * distance - out_y * along, py + out_y * distance + out_x * along

        return place


_MEASURES: Final = 24


def _measured(place: Callable[[float, float], Point], span: tuple[float, float], distance: float) -> list[Point]:
    """Places along a row, each with its true distance from the row's start: at corners these are not in proportion."""
    steps = [span[0] + (span[1] - span[0]) * at / _MEASURES for at in range(_MEASURES + 1)]
    spots = [place(along, distance) for along in steps]
    lengths = itertools.accumulate((math.dist(a, b) for a, b in itertools.pairwise(spots)), initial=0.0)
    return list(zip(steps, lengths, strict=True))


def _along(measured: list[Point], first: float, step: float, count: int) -> Iterator[float]:
    """The places of seats that stand `step` apart in truth."""
    at = 1
    for seat in range(count):
        wanted = first + seat * step
        while at < len(measured) - 1 and measured[at][1] < wanted:
            at += 1
        (low, low_length), (high, high_length) = measured[at - 1], measured[at]
        yield low + (high - low) * (wanted - low_length) / (high_length - low_length or 1.0)
