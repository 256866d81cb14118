"""Seats and places that belong to sales channels, in the inventory: given, opened, counted.

PostgreSQL is told first (`backoffice.allotting` says in which order); adopt lays what it has over the inventory. Raises
as `holds` does.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from lml_live.errors import Refused
from lml_live.infra.redis import Part
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Blocked, read_blocked
from lml_live.inventory.book import Book, OfBook
from lml_live.inventory.diffs import Allotments, AreaCounts
from lml_live.inventory.records import Sale, pack

_KEYS: Final = ("seats", "book", "areas", "log")


class Counts(Struct, frozen=True):
    """An inventory, counted at one moment."""

    seats: Mapping[tuple[int, int], int]
    """How many seats by (channel, state); states as in `seatmap`."""
    areas: Mapping[str, AreaCounts]
    allotments: Mapping[str, Allotments]


class Channels(OfBook):
    """What the inventory does for sales channels: one method a Lua script, and counting."""

    def __init__(self, book: Book) -> None:
        self._book = book

    async def renew(self, event: str) -> None:
        """Reads the event's channels again, and tells the book that they are others."""
        await self._book.restamp(event)

    async def assign_seats(
        self, event: str, channel: str, seats: Sequence[int], areas: Mapping[str, int], *, origin: str = ""
    ) -> Blocked:
        """Gives at most a batch of seats to a channel of the event ("" opens them), and sets its places of areas.

        Refused and left alone: seats that somebody has through another channel, areas that have not so many open
        places (with the most that there could be). Raises `Refused` where the event has no such channel.
        """

        def args(sale: Sale) -> Sequence[Part]:
            number = _number(sale, channel) if channel else seatmap.CHANNEL_OPEN
            wanted = [part for area, n in areas.items() for part in (area, "", n)]
            return [origin, number, pack(sorted(seats)), pack(wanted)]

        sale, answer = await self._book.run(event, "assign_seats", _KEYS, args)
        return read_blocked(sale, answer)

    async def open_seats(
        self, event: str, channel: str, opened_ms: int | None, first: int, count: int, areas: Sequence[str]
    ) -> None:
        """Opens what a channel has in a run of seats, and in areas, to all; twice is once.

        `opened_ms` is the opening that is being carried out. Raises `Refused` where the channel was given seats again
        since: a worker that slept in between must not open those.
        """

        def args(sale: Sale) -> Sequence[Part]:
            number = _number(sale, channel)
            if sale.channels[channel].opened_ms != opened_ms:
                raise Refused("conflict", "The channel was given seats again.")
            return ["", number, first, count, pack(list(areas))]

        await self._book.run(event, "open_seats", _KEYS, args)

    async def count(self, event: str) -> tuple[Sale, Counts]:
        """How many seats and places are in which state, by channel; the facts under which they were read."""
        sale, _, states, areas, allotments = await self._book.read_inventory(event)
        found = Counter(states)
        seats = {(byte >> seatmap.CHANNEL_SHIFT, byte & seatmap.STATE_MASK): n for byte, n in found.items()}
        return sale, Counts(seats, areas, allotments)


def _number(sale: Sale, channel: str) -> int:
    number = sale.channel(channel)
    if not number:
        raise Refused("conflict", "The event has no such channel any more.")
    return number
