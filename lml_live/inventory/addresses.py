"""Forgets network addresses from which nothing is held any more, a small step at a time.

A book lists what was taken from an address (lua/include/fairness.lua), and finds out what has ended only where the next
hold from there would be too many. From most addresses nobody comes again, and their lists would stay until the next
*adopt*: they are nobody's business any more, and take room.
"""

from collections.abc import Iterable

from lml_live import limits
from lml_live.inventory.book import Book


class Addresses:
    """Goes round the books of all events, for as long as this worker sweeps."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._left: list[str] = []
        """Events still to be looked at before the round begins anew."""
        self._cursor = b"0"

    async def step(self, events: Iterable[str]) -> int:
        """Looks at some fields of one book, and answers how many addresses were forgotten. Raises as `Book` does."""
        self._left = self._left or list(events)
        if not self._left:
            return 0
        event, cursor = self._left[-1], self._cursor
        # Should it fail, the next step is the next event's: none can keep the others from being looked at.
        self._left.pop()
        self._cursor = b"0"
        sale = await self._book.sale(event)
        key, pipe = sale.key("book"), self._book.pipe_of(sale)
        more, flat = await pipe.call("HSCAN", key, cursor, "MATCH", "a:*", "COUNT", limits.ADDRESSES_LOOK_FIELDS)
        forgotten = 0
        for field in flat[::2]:
            _, answer = await self._book.run(
                event,
                "forget_address",
                ("book",),
                lambda _, field=field: [field, limits.ADDRESS_HOLDS_AT_ONCE],  # type: ignore[misc]
            )
            forgotten += answer[0] == b"forgotten"
        if more != b"0":
            self._left.append(event)
            self._cursor = more
        return forgotten
