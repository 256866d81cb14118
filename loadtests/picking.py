"""Which seats a fan goes for. Pure."""

from typing import Final

from lml_live.values import AVAILABLE

FAVOURITES: Final = 40
"""People name a part of the hall, not a seat: so many parts, and in each the first free seats are fought for."""


def pick_seats(seats: bytes | bytearray, count: int, luck: float) -> list[int]:
    """`count` neighbouring indexes that look free, from the favourite part that `luck` (0 to 1) names; or none.

    The front of the hall is wanted most: luck is squared.
    """
    free = bytes([AVAILABLE]) * count
    start = int(luck * luck * FAVOURITES) * len(seats) // FAVOURITES
    first = seats.find(free, start)
    if first < 0:
        first = seats.find(free)
    return list(range(first, first + count)) if first >= 0 else []
