"""Which seats a fan goes for. Pure."""

from collections.abc import Collection
from typing import Any, Final

from lml_live.values import AVAILABLE, SOLD

FAVOURITES: Final = 40
"""People name a part of the hall, not a seat: so many parts, and in each the first free seats are fought for."""


def seats_in_company(layout: dict[str, Any]) -> frozenset[int]:
    """The indexes of seats that are not sold one by one: companions' seats, and those of tables and boxes."""
    found, index = set(), 0
    for section in layout["sections"]:
        for row in section.get("rows", ()):
            for seat in row["seats"]:
                if seat.get("companion") or row.get("sold_whole") or section.get("sold_whole"):
                    found.add(index)
                index += 1
    return frozenset(found)


def pick_seats(
    seats: bytes | bytearray, count: int, luck: float, passed_over: Collection[int] = frozenset()
) -> list[int]:
    """`count` neighbouring indexes that look free, from the favourite part that `luck` (0 to 1) names; or none.

    The front of the hall is wanted most: luck is squared. Nobody goes for those `passed_over`.
    """
    seats = bytearray(seats)
    for seat in passed_over:
        seats[seat] = SOLD
    free = bytes([AVAILABLE]) * count
    start = int(luck * luck * FAVOURITES) * len(seats) // FAVOURITES
    first = seats.find(free, start)
    if first < 0:
        first = seats.find(free)
    return list(range(first, first + count)) if first >= 0 else []
