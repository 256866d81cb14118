"""Places for seats that the file gives none: rows along the stand inside its outline, or a tidy grid of sections.

A stand's rows run at equal distances from what they face. Around a rectangular pitch that is straight along the sides
and round at the corners, so a row is a piece of the curve at one distance from the `field`. Without a field rows run
from left to right, the first on top.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Final

from lml_live.venues.importers.draft import Box, Draft, DraftSeat, DraftSection, Polygon, Spot

_LEVELS: Final = 72
"""Distances at which an outline is looked at before its rows are placed: enough to see the gap between two tiers."""
_COARSE: Final = 32
_FINE: Final = 96
"""Steps along an outline's diagonal; seats of a row end within half a step of the edge."""
_CROWDED: Final = 0.6
"""A row whose seats stand nearer than this part of what is usual in the section has no room where it stands."""
_WIDE: Final = 0.8
"""A slice that has this part of the most room is no tip."""
_SHORT: Final = 0.9
"""A row that is shorter than this part of the middle of its slice stands in the middle instead."""
_ROUNDS_MAX: Final = 16
_STRETCH_MAX: Final = 1.6
"""A short row in a wide place keeps together: its seats stand at most this much wider than the section's pitch."""


def rows_of(section: DraftSection) -> dict[str, list[DraftSeat]]:
    """The seats by row, rows in order of their first seat."""
    rows: dict[str, list[DraftSeat]] = {}
    for seat in section.seats:
        rows.setdefault(seat.row, []).append(seat)
    return rows


def bounds_of(spots: Iterable[Spot]) -> Box:
    """The smallest box around at least one spot."""
    listed = list(spots)
    left, right = min(x for x, _ in listed), max(x for x, _ in listed)
    top, bottom = min(y for _, y in listed), max(y for _, y in listed)
    return Box(left, top, right - left, bottom - top)


def place_seats(draft: Draft) -> None:
    """Gives every seat a spot. Sections in which any seat lacks one are placed anew, and that is noted."""
    homeless = [section for section in draft.sections if any(seat.spot is None for seat in section.seats)]
    inside: list[DraftSection] = []
    loose: list[DraftSection] = []
    for section in homeless:
        if any(seat.spot is not None for seat in section.seats):
            draft.notes.append(
                f"Section {section.name}: some seats had no coordinates, so all its rows were placed anew"
            )
        fits = bool(section.outlines) and place_in_outlines(section, draft.field)
        (inside if fits else loose).append(section)
    if inside:
        facing = "facing the field" if draft.field else "from top to bottom"
        draft.notes.append(
            f"{len(inside)} sections without seat coordinates: rows placed inside their outlines, {facing}"
        )
    if loose:
        place_in_grid(draft, loose)
        draft.notes.append(f"{len(loose)} sections without coordinates or outline: laid out as a grid of straight rows")


# --- Inside outlines


def place_in_outlines(section: DraftSection, field: Box | None) -> bool:
    """Puts the rows of a section inside its outlines, the first row nearest the field. False where nothing fits."""
    box = bounds_of(itertools.chain.from_iterable(section.outlines))
    diagonal = math.hypot(box.width, box.height)
    if diagonal == 0:
        return False
    rows = list(rows_of(section).values())
    levels = _levels(section.outlines, box, field, [len(row) for row in rows], diagonal / _COARSE)
    step = diagonal / _FINE
    chords: list[list[Spot]] = []
    for level, middle, room in levels:
        chord = _chord(section.outlines, box, field, level, step)
        if not chord or len(chord) * step < room * _SHORT:
            # An outline may be wide in the middle of a slice, and narrow or not there at all where the row would be.
            chord = max(chord, _chord(section.outlines, box, field, middle, step), key=len)
        chords.append(chord)
    if not all(chords) or not chords:
        return False
    # The room that a third of the seats have to make do with. A row that has much more keeps together in the middle of
    # its chord: beside it the others would look crowded.
    pitch = _pitch_of_a_third([len(chord) * step for chord in chords], [len(row) for row in rows])
    for row, chord in zip(rows, chords, strict=True):
        length = len(chord) * step
        used = min(length, len(row) * pitch * _STRETCH_MAX)
        for at, seat in enumerate(row):
            along = (length - used) / 2 + used * (at + 0.5) / len(row)
            seat.spot = _at(chord, along / step - 0.5, step)
    return True


def _pitch_of_a_third(lengths: Sequence[float], counts: Sequence[int]) -> float:
    """How far neighbours are apart in the tightest rows that hold a third of all seats."""
    pitches = sorted((length / count, count) for length, count in zip(lengths, counts, strict=True))
    held = itertools.accumulate(count for _, count in pitches)
    return next(pitch for (pitch, _), so_far in zip(pitches, held, strict=True) if 3 * so_far >= sum(counts))


def _at(spots: Sequence[Spot], position: float, step: float) -> Spot:
    """Between two neighbouring spots, or up to half a step beyond the last. Never inside a gap of the outline."""
    if len(spots) == 1:
        return spots[0][0] + position * step, spots[0][1]
    low = min(max(math.floor(position), 0), len(spots) - 2)
    a, b = spots[low], spots[low + 1]
    share = position - low
    distance = math.dist(a, b)
    if distance > 2 * step:
        # Half a step past the edge on one side, half a step before it on the other.
        share = share * step / distance if share < 0.5 else 1 - (1 - share) * step / distance
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def _levels(
    outlines: list[Polygon], box: Box, field: Box | None, counts: Sequence[int], step: float
) -> list[tuple[float, float, float]]:
    """A distance from the field for each row, of which `counts` has the seats: nearest first, evenly spread over those
    at which the outline has room for them.

    Beside each stand the middle of its slice, where there surely is room, and how much there is at least; 0 where
    several rows share a slice. Empty where no slice has any.
    """
    low, high = _reach(outlines, box, field)
    depth = (high - low) / _LEVELS
    slices = [low + (at + 0.5) * depth for at in range(_LEVELS)]
    rooms = [len(_chord(outlines, box, field, level, step)) for level in slices]
    open_levels = _roomy([at for at, room in enumerate(rooms) if room >= 2], rooms, counts)
    answer = []
    for at in range(len(counts) if open_levels else 0):
        position = (at + 0.5) * len(open_levels) / len(counts)
        index = min(int(position), len(open_levels) - 1)
        middle = slices[open_levels[index]]
        room = (rooms[open_levels[index]] - 1) * step if len(open_levels) >= len(counts) else 0.0
        answer.append((middle + (position - index - 0.5) * depth, middle, room))
    return answer


def _roomy(open_levels: list[int], rooms: Sequence[int], counts: Sequence[int]) -> list[int]:
    """The slices without those in which a row would be crowded: the tips of an outline, where it begins and ends, are
    no place for a long row. Those that leave the fewest rows crowded."""
    best, fewest = open_levels, len(counts) + 1
    # A row that is crowded where there is most room is so everywhere.
    wide = max(rooms) * _WIDE
    for _ in range(_ROUNDS_MAX if open_levels else 0):
        taken = [open_levels[int((at + 0.5) * len(open_levels) / len(counts))] for at in range(len(counts))]
        pitches = [rooms[level] / count for level, count in zip(taken, counts, strict=True)]
        least = sorted(pitches)[len(pitches) // 2] * _CROWDED
        narrow = [level for level, pitch in zip(taken, pitches, strict=True) if pitch < least and rooms[level] < wide]
        if len(narrow) < fewest:
            best, fewest = open_levels, len(narrow)
        open_levels = [level for level in open_levels if level not in narrow]
        if not narrow or not open_levels:
            break
    return best


def _reach(outlines: list[Polygon], box: Box, field: Box | None) -> tuple[float, float]:
    if field is None:
        return box.y, box.y + box.height
    spots = [spot for polygon in outlines for spot in (*polygon, *_middles(polygon))]
    distances = [_distance(spot, field) for spot in spots]
    return min(distances), max(distances)


def _middles(polygon: Polygon) -> list[Spot]:
    return [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in zip(polygon, [*polygon[1:], polygon[0]], strict=True)]


def _distance(spot: Spot, field: Box) -> float:
    dx = max(field.x - spot[0], 0.0, spot[0] - field.x - field.width)
    dy = max(field.y - spot[1], 0.0, spot[1] - field.y - field.height)
    return math.hypot(dx, dy)


def _chord(outlines: list[Polygon], box: Box, field: Box | None, level: float, step: float) -> list[Spot]:
    """The spots, `step` apart, at which the curve of one distance runs inside the outlines."""
    curve = _line(box, level, step) if field is None else _ring(box, field, level, step)
    if len(outlines) == 1:
        # Nearly all: without the generator that the others need, it is a third of the time.
        return [spot for spot in curve if _inside(spot, outlines[0])]
    return [spot for spot in curve if any(_inside(spot, polygon) for polygon in outlines)]


def _line(box: Box, y: float, step: float) -> list[Spot]:
    return [(box.x + (at + 0.5) * step, y) for at in range(math.ceil(box.width / step))]


def _ring(box: Box, field: Box, level: float, step: float) -> list[Spot]:
    """The part near `box` of the ring at distance `level` around the field, clockwise from its upper left corner."""
    left, top = field.x, field.y
    right, bottom = left + field.width, top + field.height
    level = max(level, 0.0)
    pieces = [
        _side((left, top - level), (right, top - level), box, step),
        _corner((right, top), level, -math.pi / 2, box, step),
        _side((right + level, top), (right + level, bottom), box, step),
        _corner((right, bottom), level, 0.0, box, step),
        _side((right, bottom + level), (left, bottom + level), box, step),
        _corner((left, bottom), level, math.pi / 2, box, step),
        _side((left - level, bottom), (left - level, top), box, step),
        _corner((left, top), level, math.pi, box, step),
    ]
    # A section that lies across the start of the ring would be cut in two: begin in the longest stretch without spots.
    firsts = [at for at in range(8) if pieces[at] and not pieces[at - 1]]
    start = firsts[0] if firsts else 0
    return [spot for at in range(8) for spot in pieces[(start + at) % 8]]


def _side(start: Spot, end: Spot, box: Box, step: float) -> list[Spot]:
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    if length == 0 or not _meets(box, start, end):
        return []
    ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    # Of a long side only the part beside the box is walked.
    reach = [
        (x - start[0]) * ux + (y - start[1]) * uy
        for x in (box.x, box.x + box.width)
        for y in (box.y, box.y + box.height)
    ]
    first, last = max(0.0, min(reach)), min(length, max(reach))
    count = math.floor((last - first) / step)
    spots = [
        (start[0] + ux * (first + (at + 0.5) * step), start[1] + uy * (first + (at + 0.5) * step))
        for at in range(count)
    ]
    return [spot for spot in spots if box.contains(spot)]


def _corner(centre: Spot, radius: float, first: float, box: Box, step: float) -> list[Spot]:
    """A quarter of a circle, clockwise on a plan whose y grows downwards."""
    count = math.floor(radius * math.pi / 2 / step)
    cos, sin = round(math.cos(first)), round(math.sin(first))
    # It begins at (cos, sin) and ends at (-sin, cos): the one square that it lies in.
    if count == 0 or not _meets(box, centre, (centre[0] + (cos - sin) * radius, centre[1] + (sin + cos) * radius)):
        return []
    # Of a quarter only the part beside the box is walked: a stadium's rings are a hundred times as long as a stand.
    begin, end = _part_beside(centre, radius, (cos, sin), box)
    spots = []
    for at in range(max(0, math.floor(begin * count - 0.5)), min(count, math.ceil(end * count + 0.5))):
        angle = first + (at + 0.5) * (math.pi / 2) / count
        spot = (centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle))
        if box.contains(spot):
            spots.append(spot)
    return spots


def _meets(box: Box, one: Spot, other: Spot) -> bool:
    """Whether the rectangle between two spots has anything of a box."""
    (x1, y1), (x2, y2) = one, other
    if x1 > x2:
        x1, x2 = x2, x1
    if y1 > y2:
        y1, y2 = y2, y1
    return x1 <= box.x + box.width and x2 >= box.x and y1 <= box.y + box.height and y2 >= box.y


def _part_beside(centre: Spot, radius: float, begins: tuple[int, int], box: Box) -> tuple[float, float]:
    """From where to where, as parts of a quarter that begins in this direction, the box can be reached; 0, 0 where it
    cannot."""
    cos, sin = begins
    corners = [
        ((x - centre[0]) * cos + (y - centre[1]) * sin, (y - centre[1]) * cos - (x - centre[0]) * sin)
        for x in (box.x, box.x + box.width)
        for y in (box.y, box.y + box.height)
    ]
    # Along the quarter's first radius and along its last: one shrinks from 1 to 0 on the way, the other grows.
    shrinks, grows = zip(*corners, strict=True)
    least, most = max(min(shrinks), 0.0) / radius, min(max(shrinks) / radius, 1.0)
    low, high = max(min(grows), 0.0) / radius, min(max(grows) / radius, 1.0)
    if least > most or low > high:
        return 0.0, 0.0
    quarter = math.pi / 2
    return max(math.acos(most), math.asin(low)) / quarter, min(math.acos(least), math.asin(high)) / quarter


def _inside(spot: Spot, polygon: Polygon) -> bool:
    """Even-odd rule."""
    x, y = spot
    inside = False
    x1, y1 = polygon[-1]
    for x2, y2 in polygon:
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
        x1, y1 = x2, y2
    return inside


# --- In a grid


def place_in_grid(draft: Draft, sections: Sequence[DraftSection]) -> None:
    """Straight rows, seats one unit apart, sections side by side in lines; below all that has a place already."""
    taken = [seat.spot for section in draft.sections for seat in section.seats if seat.spot is not None]
    taken += [spot for section in draft.sections for polygon in section.outlines for spot in polygon]
    unit, left, top = 1.0, 0.0, 0.0
    if taken:
        box = bounds_of(taken)
        unit = max(box.width, box.height, 1.0) / 100
        left, top = box.x, box.y + box.height + 4 * unit
        draft.canvas = None
    blocks = []
    for section in sections:
        rows = list(rows_of(section).values())
        width = max(len(row) for row in rows)
        for at_row, row in enumerate(rows):
            for at, seat in enumerate(row):
                seat.spot = ((at + (width - len(row)) / 2) * unit, at_row * unit)
        blocks.append((section, width * unit, len(rows) * unit))
    tile(blocks, gap=3 * unit, left=left, top=top)


def tile(
    blocks: Sequence[tuple[DraftSection, float, float]], *, gap: float, left: float = 0.0, top: float = 0.0
) -> None:
    """Moves sections, each with its width and height and its corner at 0, 0, into lines that fill about a 3:2 page."""
    area = sum((width + gap) * (height + gap) for _, width, height in blocks)
    line_width = max(math.sqrt(area * 1.5), max(width for _, width, _ in blocks))
    x, y, line_height = left, top, 0.0
    for section, width, height in blocks:
        if x > left and x + width > left + line_width:
            x, y, line_height = left, y + line_height + gap, 0.0
        move(section, x, y)
        x, line_height = x + width + gap, max(line_height, height)


def move(section: DraftSection, dx: float, dy: float, scale_x: float = 1.0, scale_y: float = 1.0) -> None:
    """Scales a section about the file's origin, then moves it."""

    def moved(spot: Spot) -> Spot:
        return spot[0] * scale_x + dx, spot[1] * scale_y + dy

    for seat in section.seats:
        if seat.spot is not None:
            seat.spot = moved(seat.spot)
    section.outlines = [[moved(spot) for spot in polygon] for polygon in section.outlines]
