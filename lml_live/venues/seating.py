"""Who sits beside whom: physical runs of seats, by where they stand and never by their numbers. Pure.

A row of a plan may be cut by aisles, and its file may list seats by number (odd ones on the left, even ones on the
right). What counts for "side by side" is the floor: seats of one row in the order in which they stand, parted where
the distance between two is that of an aisle or of a missing seat.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

Place = tuple[float, float]
"""Where a seat stands, in the plan's own units."""

AISLE_PITCHES: Final = 1.75
"""Two seats stand apart from this many seat widths on, centre to centre. A missing seat makes it 2, an aisle of a metre
about 2.8; wheelchair spaces and armchairs among seats stay below 1.7."""
ROW_PITCH_MAX: Final = 1.25
"""A row's own seat width counts at most as this many of its section's: two seats on either side of an aisle, alone in
their row, would else be each other's measure."""
DISTANCE_UNITS: Final = 1_000_000
"""Distances are whole millionths of the plan's diagonal, so that sums of them are exact and ties are ties."""


class Seating(msgspec.Struct, frozen=True):
    """A layout's seats as they stand, by seat index."""

    runs: tuple[tuple[int, ...], ...]
    """Seats side by side, in standing order; rows one after the other, runs of a row one after the other."""
    distances: tuple[int, ...]
    """Of each seat to the focal point, in `DISTANCE_UNITS` of the plan's diagonal."""
    places: tuple[Place, ...]


def seat_rows(sections: Iterable[Sequence[Sequence[Place]]], focal: Place, diagonal: float) -> Seating:
    """The seating of sections (of rows, of places in canonical order); `focal` and `diagonal` in the same units."""
    runs: list[tuple[int, ...]] = []
    places: list[Place] = []
    for rows in sections:
        ordered = [standing_order(row) for row in rows]
        steps = [
            [math.dist(row[a], row[b]) for a, b in pairwise(order)] for row, order in zip(rows, ordered, strict=True)
        ]
        section_pitch = _low_median(step for row in steps for step in row)
        for row, order, row_steps in zip(rows, ordered, steps, strict=True):
            first = len(places)
            places.extend(row)
            aisle = AISLE_PITCHES * min(_low_median(row_steps), ROW_PITCH_MAX * section_pitch)
            run = [first + at for at in order[:1]]
            for at, step in zip(order[1:], row_steps, strict=True):
                if step > aisle:
                    runs.append(tuple(run))
                    run = []
                run.append(first + at)
            if run:
                runs.append(tuple(run))
    scale = DISTANCE_UNITS / (diagonal or 1.0)
    return Seating(tuple(runs), tuple(round(math.dist(place, focal) * scale) for place in places), tuple(places))


def standing_order(row: Sequence[Place]) -> list[int]:
    """The positions in `row` in the order in which its seats stand.

    The file's order where it walks on without turning back, however curved the row is. Where it turns back (seats
    sorted by number), the order along the line between the row's two ends, begun at the end that the file begins at.
    """
    count = len(row)
    if count < 3 or _walks_on(row):
        return list(range(count))
    one_end = max(row, key=lambda place: math.dist(place, row[0]))
    other_end = max(row, key=lambda place: math.dist(place, one_end))
    dx, dy = one_end[0] - other_end[0], one_end[1] - other_end[1]
    along = [place[0] * dx + place[1] * dy for place in row]
    if along[0] > along[-1]:
        along = [-value for value in along]
    return sorted(range(count), key=along.__getitem__)


def _walks_on(row: Sequence[Place]) -> bool:
    return all(
        (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1]) > 0
        for a, b, c in zip(row, row[1:], row[2:], strict=False)
    )


def _low_median(values: Iterable[float]) -> float:
    """The lower median of those above 0; infinite where there are none, so that it parts nothing."""
    ordered = sorted(value for value in values if value > 0)
    return ordered[(len(ordered) - 1) // 2] if ordered else math.inf
