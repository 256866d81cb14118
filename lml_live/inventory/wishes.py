"""What is wished for of an event, and how the scripts read it: seats, places, what the orphan rule looks at. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from lml_live.inventory.records import Sale, pack

SeatWishes = Sequence[tuple[int, str]]
"""(seat index, price type)"""
AreaWishes = Sequence[tuple[str, str, int]]
"""(area id, price type, places)"""


class SeatNames(Struct, frozen=True):
    """How an event's seats are read: their ids, by index, in the layout of this hash."""

    layout: str
    seat_ids: Sequence[str]


class AreaBlock(Struct, frozen=True):
    """How many places of an area PostgreSQL has as blocked: in all, and of these for the house, which staff sell."""

    off_sale: int
    house: int


AreaBlocks = Mapping[str, AreaBlock]
"""By area id."""
NO_BLOCKS: Final[AreaBlocks] = {}
Windows = Callable[[Iterable[int], str], list[list[int]]]
"""What the orphan rule looks at around these seats under this rule: `Plan.windows` of the event's layout."""


def hash_request(request: object) -> str:
    """What a key stands for, as its marker keeps it."""
    return hashlib.blake2b(pack(request), digest_size=16).hexdigest()


def hash_wish(act: str, hold: str, seats: SeatWishes, areas: AreaWishes, asked: object) -> str:
    """What the key of an act on a hold stands for: `asked`, where that is not the seats and areas themselves."""
    return hash_request((act, hold, sorted(seats), sorted(areas)) if asked is None else (act, hold, asked))


def orphan_args(sale: Sale, seats: SeatWishes, windows: Windows | None) -> tuple[str, bytes]:
    """The last two arguments of the scripts that hold: the rule, and what it must look at."""
    if sale.orphan_rule == "off":
        return "off", b""
    assert windows is not None, "an event with an orphan rule is held with its layout at hand"
    around = windows([seat for seat, _ in seats], sale.orphan_rule)
    return sale.orphan_rule, pack([_short(window) for window in around])


def _short(window: Sequence[int]) -> Sequence[int]:
    """A window as the scripts read it: [first, last] rising stands for all between, so two others are given falling."""
    first, last = window[0], window[-1]
    if len(window) > 1 and window == list(range(first, last + 1)):
        return (first, last)
    return (last, first) if len(window) == 2 and first < last else window


def pack_seats(seats: SeatWishes) -> bytes:
    return pack([part for wish in sorted(seats) for part in wish])


def pack_areas(areas: AreaWishes) -> bytes:
    return pack([part for wish in areas for part in wish])


def pack_counts(areas: Mapping[str, int]) -> bytes:
    return pack([part for area, n in areas.items() for part in (area, "", n)])


def pack_blocks(blocks: AreaBlocks) -> bytes:
    return pack([part for area, block in blocks.items() for part in (area, block.off_sale, block.house)])
