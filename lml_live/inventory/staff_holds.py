"""What staff do to holds in the inventory: one method a Lua script, answers as in `holds`; and looking at seats.

The durable side, and the order of the two, is `backoffice.holding`. Raises as `holds` does.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from lml_live import limits
from lml_live.errors import Refused, Unavailable
from lml_live.infra.redis import Part
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal, read_answer, read_changed
from lml_live.inventory.book import Book, OfBook
from lml_live.inventory.holds import expect_open, staff_hold_id
from lml_live.inventory.records import BOX_OFFICE, Record, Sale, counter_hold_id, decode_record, pack
from lml_live.inventory.wishes import (
    NO_BLOCKS,
    AreaBlocks,
    AreaWishes,
    SeatNames,
    SeatWishes,
    pack_areas,
    pack_blocks,
    pack_seats,
)

_SEATS_BOOK_DEADLINES_AREAS_LOG: Final = ("seats", "book", "deadlines", "areas", "log")
_SEATS_BOOK_AREAS_LOG: Final = ("seats", "book", "areas", "log")


class ActNote(Struct, frozen=True):
    """PostgreSQL's note of an act that is about to be done: its number, and the epoch in which it may be."""

    number: int
    epoch: int


_NO_NOTE: Final = ActNote(0, 0)


class Taken(Changed, frozen=True):
    """What staff took. `lent` are, by area, the places of it that PostgreSQL still has as kept back by the house."""

    lent: Mapping[str, int] = {}


class Undone(Struct, frozen=True):
    """A hold that staff changed or ended: the record as it was, and as it is now (None: it has ended).

    `lent` are, by area, the places of one that ended which are the house's again.
    """

    hold: str
    before: Record
    record: Record | None
    epoch: int
    seq: int
    now_ms: int
    lent: Mapping[str, int] = {}


class StaffHolds(OfBook):
    """The acts of staff on anybody's holds."""

    def __init__(self, book: Book) -> None:
        self._book = book

    async def hold_id(self, event: str, request: str) -> str:
        """The id of the hold that a request (20 hex digits and more) makes: a repetition has the same."""
        return staff_hold_id((await self._book.sale(event)).number, request)

    async def hold_for_customer(
        self,
        event: str,
        holder: str,
        hold: str,
        seats: SeatWishes,
        areas: AreaWishes,
        *,
        over_house: bool,
        house: AreaBlocks = NO_BLOCKS,
        note: ActNote = _NO_NOTE,
    ) -> Taken | Refusal:
        """Takes all that is named until it is released, or nothing; `over_house` seats of a house hold, too.

        Places are taken from those for sale, and what is missing from the `house`: what PostgreSQL has as blocked of
        their areas, which is not to change until it says that they are the hold's (docs/decisions/030). The sale's
        hours, its pause and the event's seats per holder do not bind staff: a hold's own bounds do. Killed seats are
        `seat_taken`. A hold of this id that is there already is answered as it is. Raises `Unavailable`, too, where
        its `note`, numbered by the time at which it was made, is settled as not taken, or its epoch is over.
        """

        def args(sale: Sale) -> Sequence[Part]:
            _expect_noted(sale, note)
            if sale.state == "closed":  # its holds were given back, and there are no new ones
                raise Refused("sale_closed", "The sale is over.")
            return [
                *(self._book.skew_ms, holder, hold, "", limits.HOLD_SEATS_MAX, limits.HOLDS_PER_HOLDER_MAX),
                *(limits.UNTIL_RELEASED_MS, _also(over_house), pack_seats(seats), pack_areas(areas)),
                *(sale.channel(BOX_OFFICE), pack_blocks(house), note.number),
            ]

        try:
            sale, answer = await self._book.run(event, "hold_for_customer", _SEATS_BOOK_DEADLINES_AREAS_LOG, args)
        except Refused as refused:
            return Refusal(refused.code, refused.message)
        if answer[0] == b"overtaken":
            raise overtaken()
        return _taken(sale, answer, hold)

    async def move_hold(
        self,
        event: str,
        hold: str,
        seats: SeatWishes,
        areas: AreaWishes,
        *,
        over_house: bool,
        note: ActNote = _NO_NOTE,
    ) -> Undone | Refusal:
        """Swaps what anybody's hold names, in one step; refused, it changes nothing. Doing it twice is once.

        Raises `Unavailable`, too, where the act of this `note` is settled as not done, or its epoch is over.
        """

        def args(sale: Sale) -> Sequence[Part]:
            _expect_noted(sale, note)
            return [
                *(self._book.skew_ms, hold, "", limits.HOLD_SEATS_MAX, _also(over_house)),
                *(pack_seats(seats), pack_areas(areas), sale.channel(BOX_OFFICE), note.number),
            ]

        sale, answer = await self._book.run(event, "move_hold", _SEATS_BOOK_AREAS_LOG, args)
        match answer:
            case [b"overtaken"]:
                raise overtaken()
            case [b"moved", seq, before, record, now_ms]:
                then, now = decode_record(before), decode_record(record)
                return Undone(hold, then, now, sale.epoch, int(seq), int(now_ms))
        return _refusal(read_answer(sale, answer, hold))

    async def withdraw_hold(
        self,
        event: str,
        hold: str,
        house: Collection[int] = (),
        areas: AreaBlocks = NO_BLOCKS,
        *,
        note: ActNote = _NO_NOTE,
    ) -> Undone | Refusal:
        """Ends anybody's hold: its seats are for sale again. `hold_in_checkout` while it is being paid for.

        But seats of `house`, and places that it was lent, are the house's, as in `undo_taking`. `note` is that of
        `move_hold`.
        """

        def args(sale: Sale) -> Sequence[Part]:
            _expect_noted(sale, note)
            return [
                *(self._book.skew_ms, hold, "", limits.UNTIL_RELEASED_MS),
                *(pack(sorted(house)), pack_blocks(areas), note.number),
            ]

        sale, answer = await self._book.run(event, "withdraw_hold", _SEATS_BOOK_DEADLINES_AREAS_LOG, args)
        match answer:
            case [b"overtaken"]:
                raise overtaken()
            case [b"withdrawn", seq, before, now_ms, packed]:
                then, lent = decode_record(before), _lent(packed)
                return Undone(hold, then, None, sale.epoch, int(seq), int(now_ms), lent)
        return _refusal(read_answer(sale, answer, hold))

    async def settle_act(self, event: str, number: int) -> tuple[int, Undone | Literal["ahead"] | None]:
        """What the act of this number did; None where it did nothing, and from here on never will.

        Answers the epoch that this is so in, too. Acts are to be settled in the order of their numbers: "ahead" says
        that a later one is known.
        """
        sale, answer = await self._book.run(event, "settle_act", ("book",), lambda _: [self._book.skew_ms, number])
        match answer:
            case [b"ahead"]:
                return sale.epoch, "ahead"
            case [b"done", seq, hold, before, after, now_ms, lent]:
                then, now = decode_record(before), decode_record(after) if after else None
                return sale.epoch, Undone(hold.decode(), then, now, sale.epoch, int(seq), int(now_ms), _lent(lent))
        return sale.epoch, None

    async def settle_hold(self, event: str, hold: str, number: int) -> tuple[Record | None, int]:
        """What was taken by a note of this number; None where nothing was, and from here on never will be.

        Nor will it by an older note, of whatever hold. Answers the epoch that this is so in, too.
        """
        sale, answer = await self._book.run(event, "settle_hold", ("book",), lambda _: [hold, number])
        return (decode_record(answer[1]) if answer[0] == b"found" else None), sale.epoch

    # --- Sold at once

    async def counter_hold_id(self, event: str, request: str) -> str:
        """The id under which a request (20 hex digits and more) sells places: a repetition has the same."""
        return counter_hold_id((await self._book.sale(event)).number, request)

    async def take_for_sale(
        self,
        event: str,
        holder: str,
        hold: str,
        booking: str,
        seats: SeatWishes,
        areas: AreaWishes,
        *,
        over_house: bool,
        mark_seconds: int,
        house: AreaBlocks = NO_BLOCKS,
    ) -> Taken | Refusal:
        """Takes all that is named, or nothing, into this booking's checkout; `over_house` seats of a house hold, too,
        and places that the `house` keeps back, as `hold_for_customer`.

        Killed seats are `seat_taken`. `Changed.epoch` is the fence that the claim must bear; after `mark_seconds` the
        sweep asks whether there is one. Neither the sale's hour nor the seats per holder bind staff; its state does.
        """

        def args(sale: Sale) -> Sequence[Part]:
            expect_open(sale)
            return [
                *(self._book.skew_ms, holder, hold, booking, "", limits.HOLD_SEATS_MAX, mark_seconds * 1000),
                *(_also(over_house), pack_seats(seats), pack_areas(areas), sale.channel(BOX_OFFICE)),
                pack_blocks(house),
            ]

        while True:
            try:
                sale, answer = await self._book.run(event, "take_for_sale", _SEATS_BOOK_DEADLINES_AREAS_LOG, args)
            except Refused as refused:
                # Another worker may have opened the sale a moment ago: what it answered holds here, too.
                if await self._book.catch_up(event):
                    continue
                return Refusal(refused.code, refused.message)
            return _taken(sale, answer, hold)

    async def own_places(self, event: str, hold: str, seat_ids: Collection[str]) -> tuple[set[int], set[str]]:
        """Which of these seats a hold has, by index, and the areas it has places of; none where it is gone."""
        record = await self.find_hold(event, hold)
        if record is None:
            return set(), set()
        index_of = await self._book.seat_index(await self._book.sale(event))
        seats = {seat for seat, _ in record.seat_types()} & {index_of.get(seat_id, -1) for seat_id in seat_ids}
        return seats, {area for area, _, _ in record.area_types()}

    async def undo_taking(
        self, event: str, hold: str, booking: str, house: Collection[int], areas: AreaBlocks = NO_BLOCKS
    ) -> Changed | None:
        """Makes what was taken for a sale what it was: seats of `house` are the house's, and all others for sale.

        `areas` is what PostgreSQL has as blocked of areas: places that the hold was lent are blocked again, up to that.
        None where the record does not bear this booking in checkout: nothing was done.
        """

        def args(_: Sale) -> Sequence[Part]:
            return [self._book.skew_ms, hold, booking, pack(sorted(house)), pack_blocks(areas), ""]

        sale, answer = await self._book.run(event, "undo_taking", _SEATS_BOOK_DEADLINES_AREAS_LOG, args)
        return None if answer[0] == b"nothing" else read_changed(sale, answer, hold)

    # --- Looking

    async def distrust(self, event: str) -> None:
        """Has the event's inventory built anew from PostgreSQL. Raises `Unavailable`, for it is not there yet."""
        await self._book.distrust(event)

    async def read_anew(self, event: str) -> None:
        """Reads the event's facts again, which PostgreSQL has shown to be old."""
        await self._book.reload(event)

    async def seat_names(self, event: str) -> SeatNames:
        """The seats of the event's layout."""
        sale = await self._book.sale(event)
        index_of = await self._book.seat_index(sale)
        return SeatNames(sale.layout_hash, list(index_of))

    async def find_hold(self, event: str, hold: str) -> Record | None:
        """Anybody's hold as it is now; None where there is none, or it is gone."""
        record, _ = await self.find_hold_and_epoch(event, hold)
        return record

    async def find_hold_and_epoch(self, event: str, hold: str) -> tuple[Record | None, int]:
        """The same, and the epoch in which it is so."""
        for _ in range(limits.STAMP_TRIES):
            sale = await self._book.prepare(event)
            if sale is None:
                continue
            stamp, raw = await self._book.pipe_of(sale).call("HMGET", sale.key("book"), "stamp", f"h:{hold}")
            answer = [b"no_book"] if stamp is None else [b"other_stamp", stamp]
            if stamp == sale.stamp.encode() or not await self._book.disagreed(event, sale, answer):
                record = None if raw is None else decode_record(raw)
                return None if record is None or record.state == "gone" else record, sale.epoch
        raise Unavailable("The sale is changing; please try again.", retry_after_ms=limits.RETRY_AFTER_MS)

    async def read_hold(self, event: str, hold: str) -> Changed | Refusal:
        """Anybody's hold as it is now, as an answer to who asks for it."""
        record = await self.find_hold(event, hold)
        holder = "" if record is None else record.holder
        sale, answer = await self._book.run(event, "read_hold", ("book",), lambda _: [self._book.skew_ms, holder, hold])
        return read_answer(sale, answer, hold)

    async def seat_bytes(self, event: str) -> bytes:
        """The inventory byte of every seat (`seatmap`), by index."""
        _, _, seats, _, _ = await self._book.read_inventory(event)
        return seats

    async def find_holds(self, event: str, seats: Collection[int]) -> dict[int, tuple[str, Record]]:
        """Which hold has each of these seats: (hold id, record) by seat index; absent where none has.

        Goes through the book in steps, until all are found: for a clerk's question, not for every screen. What changes
        meanwhile may be missed, or be told as it was. Raises `Unavailable` where the inventory was built anew.
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
        stamp = await self._book.pipe_of(sale).call("HGET", key, "stamp")
        if stamp is None or not stamp.startswith(b"%d:" % sale.epoch):
            raise Unavailable("The seat map was restored.", retry_after_ms=limits.RETRY_AFTER_MS)
        return found


def _expect_epoch(sale: Sale, epoch: int) -> None:
    """Raises `Unavailable` where the inventory was built anew since; an older one the script refuses by its stamp."""
    if sale.epoch > epoch:
        raise Unavailable("The seat map was restored.", retry_after_ms=limits.RETRY_AFTER_MS)


def _expect_noted(sale: Sale, note: ActNote) -> None:
    if note is not _NO_NOTE:
        _expect_epoch(sale, note.epoch)


def overtaken() -> Unavailable:
    """To be raised by whoever is too late."""
    return Unavailable("Others have gone on meanwhile.", retry_after_ms=limits.RETRY_AFTER_MS)


def _also(over_house: bool) -> int:
    """The state that may be taken beside available."""
    return seatmap.BYTE_HOUSE if over_house else seatmap.BYTE_AVAILABLE


def _taken(sale: Sale, answer: Sequence[Any], hold: str) -> Taken | Refusal:
    if answer[0] not in (b"held", b"marked", b"same"):
        return _refusal(read_answer(sale, answer, hold))
    *granted, packed = answer
    made = read_answer(sale, granted, hold)
    assert isinstance(made, Changed), "it was granted"
    return Taken(made.hold, made.record, made.epoch, made.seq, made.now_ms, _lent(packed))


def _lent(packed: bytes) -> dict[str, int]:
    """Places by area, of {area, n, …}."""
    lent = msgspec.msgpack.decode(packed, type=list[Any])
    return dict(zip(lent[::2], lent[1::2], strict=True))


def _refusal(answer: Changed | Refusal) -> Refusal:
    assert isinstance(answer, Refusal), "the script's other answers were read before"
    return answer
