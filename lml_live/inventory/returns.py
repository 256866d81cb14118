"""What a booking gave back in part: the inventory keeps it only what it still owns."""

from collections.abc import Sequence
from typing import Final

import msgspec

from lml_live.inventory.book import Book
from lml_live.inventory.records import Sale

_KEYS: Final = ("seats", "book", "areas", "log")
_encode: Final = msgspec.msgpack.Encoder().encode


class Returns:
    """Puts single places of bookings on sale again."""

    def __init__(self, book: Book) -> None:
        self._book = book

    async def keep_places(
        self, event: str, hold: str, booking: str, seat_ids: Sequence[str], areas: Sequence[tuple[str, str, int]]
    ) -> bool:
        """Leaves a booking these seats and places, (area, type, number); what else it had is for sale again.

        False where it had no more than these, or where the record does not bear this booking.
        """
        sale = await self._book.sale(event)
        index_of, book = await self._book.seat_index(sale), self._book.under({event: sale.layout_hash})
        seats = sorted(index_of[seat_id] for seat_id in seat_ids)

        def given(_: Sale) -> Sequence[bytes | str | int]:
            flat = [part for area in areas for part in area]
            return [book.skew_ms, hold, booking, "", _encode(seats), _encode(flat)]

        _, answer = await book.run(event, "keep_places", _KEYS, given)
        return bool(answer[0] == b"kept")
