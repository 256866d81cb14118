"""What staff do to holds in the inventory: one method a Lua script, answers as in `holds`; and looking at seats.

The durable side, and the order of the two, is `backoffice.holding`. Raises as `holds` does.
"""

from collections.abc import Collection, Sequence
from typing import Final

from msgspec import Struct

from lml_live import limits
from lml_live.errors import Refused
from lml_live.infra.redis import Part
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal, read_answer
from lml_live.inventory.book import Book
from lml_live.inventory.holds import staff_hold_id
from lml_live.inventory.records import BOX_OFFICE, Record, Sale, decode_record
from lml_live.inventory.wishes import AreaWishes, SeatWishes, pack_areas, pack_seats

_SEATS_BOOK_DEADLINES_AREAS_LOG: Final = ("seats", "book", "deadlines", "areas", "log")
_SEATS_BOOK_AREAS_LOG: Final = ("seats", "book", "areas", "log")


class Undone(Struct, frozen=True):
    """A hold that staff changed or ended: the record as it was, and as it is now (None: it has ended)."""

    hold: str
    before: Record
    record: Record | None
    epoch: int
    seq: int
    now_ms: int


class StaffHolds:
    """The acts of staff on anybody's holds."""

    def __init__(self, book: Book) -> None:
        self._book = book

    async def hold_id(self, event: str, request: str) -> str:
        """The id of the hold that a request (20 hex digits and more) makes: a repetition has the same."""
        return staff_hold_id((await self._book.sale(event)).number, request)

    async def hold_for_customer(
        self, event: str, holder: str, hold: str, seats: SeatWishes, areas: AreaWishes, *, over_house: bool
    ) -> Changed | Refusal:
        """Takes all that is named until it is released, or nothing; `over_house` seats of a house hold, too.

        The sale's hours, its pause and the event's seats per holder do not bind staff: a hold's own bounds do. Killed
        seats are `seat_taken`. A hold of this id that is there already is answered as it is.
        """

        def args(sale: Sale) -> Sequence[Part]:
            if sale.state == "closed":  # its holds were given back, and there are no new ones
                raise Refused("sale_closed", "The sale is over.")
            return [
                *(self._book.skew_ms, holder, hold, "", limits.HOLD_SEATS_MAX, limits.HOLDS_PER_HOLDER_MAX),
                *(limits.UNTIL_RELEASED_MS, _also(over_house), pack_seats(seats), pack_areas(areas)),
                sale.channel(BOX_OFFICE),
            ]

        try:
            sale, answer = await self._book.run(event, "hold_for_customer", _SEATS_BOOK_DEADLINES_AREAS_LOG, args)
        except Refused as refused:
            return Refusal(refused.code, refused.message)
        return read_answer(sale, answer, hold)

    async def move_hold(
        self, event: str, hold: str, seats: SeatWishes, areas: AreaWishes, *, over_house: bool
    ) -> Undone | Refusal:
        """Swaps what anybody's hold names, in one step; refused, it changes nothing. Doing it twice is once."""

        def args(sale: Sale) -> Sequence[Part]:
            return [
                *(self._book.skew_ms, hold, "", limits.HOLD_SEATS_MAX, _also(over_house)),
                *(pack_seats(seats), pack_areas(areas), sale.channel(BOX_OFFICE)),
            ]

        sale, answer = await self._book.run(event, "move_hold", _SEATS_BOOK_AREAS_LOG, args)
        match answer:
            case [b"moved", seq, before, record, now_ms]:
                then, now = decode_record(before), decode_record(record)
                return Undone(hold, then, now, sale.epoch, int(seq), int(now_ms))
        return _refusal(read_answer(sale, answer, hold))

    async def withdraw_hold(self, event: str, hold: str) -> Undone | Refusal:
        """Ends anybody's hold: its seats are for sale again. `hold_in_checkout` while it is being paid for."""
        args: list[Part] = [self._book.skew_ms, hold, "", limits.UNTIL_RELEASED_MS]
        sale, answer = await self._book.run(event, "withdraw_hold", _SEATS_BOOK_DEADLINES_AREAS_LOG, lambda _: args)
        match answer:
            case [b"withdrawn", seq, before, now_ms]:
                return Undone(hold, decode_record(before), None, sale.epoch, int(seq), int(now_ms))
        return _refusal(read_answer(sale, answer, hold))

    # --- Looking

    async def seat_bytes(self, event: str) -> bytes:
        """The inventory byte of every seat (`seatmap`), by index."""
        _, _, seats, _, _ = await self._book.read_inventory(event)
        return seats

    async def find_holds(self, event: str, seats: Collection[int]) -> dict[int, tuple[str, Record]]:
        """Which hold has each of these seats: (hold id, record) by seat index; absent where none has.

        Goes through the book in steps, until all are found: for a clerk's question, not for every screen. What changes
        meanwhile may be missed, or be told as it was.
        """
        sale = await self._book.sale(event)
        key = sale.key("book")
        wanted, found, cursor = set(seats), dict[int, tuple[str, Record]](), b"0"
        while wanted:
            cursor, flat = await self._book.pipe_of(sale).call(
                "HSCAN", key, cursor, "MATCH", "h:*", "COUNT", limits.BOOK_SCAN_FIELDS
            )
            for field, raw in zip(flat[::2], flat[1::2], strict=True):
                record = decode_record(raw)
                for seat, _ in record.seat_types():
                    if seat in wanted:
                        found[seat] = (field[2:].decode(), record)
            wanted -= found.keys()
            if cursor == b"0":
                break
        return found


def _also(over_house: bool) -> int:
    """The state that may be taken beside available."""
    return seatmap.BYTE_HOUSE if over_house else seatmap.BYTE_AVAILABLE


def _refusal(answer: Changed | Refusal) -> Refusal:
    assert isinstance(answer, Refusal), "the script's other answers were read before"
    return answer
