"""Holds: one method a Lua script. A change answers `Changed`, a refusal answers `Refusal`; neither is an exception.

Raises `NotFound` for an event that is not there and `Unavailable` where Redis or PostgreSQL do not serve (nothing was
changed, or the outcome is unknown: the same key makes a retry harmless).
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from lml_live import limits
from lml_live.errors import Refused, Unavailable
from lml_live.infra.redis import Part, Sink
from lml_live.inventory.answers import (
    NEW,
    REFUSALS,
    STAFF_HOLD,
    Blocked,
    Changed,
    Refusal,
    read_act,
    read_answer,
    read_blocked,
    read_changed,
    read_granted,
)
from lml_live.inventory.book import Book, OfBook
from lml_live.inventory.records import (
    WEB,
    Record,
    Sale,
    decode_record,
    pack,
    pack_hold,
    pack_new_record,
    pack_release,
)
from lml_live.inventory.together import Act
from lml_live.inventory.wishes import (
    AreaWishes,
    SeatWishes,
    Windows,
    hash_request,
    hash_wish,
    orphan_args,
    pack_areas,
    pack_counts,
    pack_seats,
)


class Asked(Struct, frozen=True, gc=False):
    """An act on its way to the script; `read` makes of the script's answer what the act's coroutine would."""

    sale: Sale
    act: Act

    def read(self, answer: Any) -> Changed | Refusal | None:
        """None where the book is another than was thought: nothing was changed, and the long way must be gone."""
        if type(answer) is bytes:
            return read_granted(self.sale, self.act, answer)
        if answer[0] in (b"no_book", b"other_stamp", b"again"):
            return None
        return read_answer(self.sale, answer, self.act.hold)


class OwnHolds(Struct, frozen=True):
    """A holder's holds that are not gone."""

    holds: dict[str, Record]
    epoch: int
    now_ms: int


KeyedAct = Literal["hold", "add_to_hold", "replace_hold"]
HoldReason = Literal["own", "staff", "expired", "lost", "closed", "booked", "payment_failed"]

_SEATS_BOOK_DEADLINES_AREAS_LOG: Final = ("seats", "book", "deadlines", "areas", "log")
_SEATS_BOOK_AREAS_LOG: Final = ("seats", "book", "areas", "log")
_BOOK_DEADLINES_LOG: Final = ("book", "deadlines", "log")


class Holds(OfBook):
    """The acts on holds. `secret` makes hold ids that nobody can guess and every worker computes alike."""

    def __init__(self, book: Book, secret: bytes) -> None:
        self._book = book
        # A key of its own, of the length that the hash takes, whatever the secret's is.
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"lml hold ids").digest()

    # --- The holder's acts

    async def hold_seats(
        self,
        event: str,
        holder: str,
        seats: SeatWishes,
        areas: AreaWishes,
        *,
        key: str | None,
        origin: str = "",
        asked: object = None,
        windows: Windows | None = None,
        through: str = WEB,
        address: str = "",
    ) -> Changed | Refusal:
        """Takes all that is named, or nothing. `key` makes a retry harmless: it answers the hold as it is now.

        `asked` is what `key` stands for, where that is not the seats and areas themselves. `windows` tells the orphan
        rule who sits beside whom; an event that has the rule cannot be held without. `through` names the sales channel:
        what belongs to another one is `seat_taken` and `area_full`. All that is done to the hold later goes through it.
        `address` is a keyed hash of the network address that is counted, empty for none.
        """

        def act(sale: Sale) -> Act:
            expect_open(sale)
            return self._hold_act(sale, holder, seats, areas, key, origin, asked, windows, through, address)

        return await self._decide(event, act)

    def ask_to_hold(
        self,
        sink: Sink,
        event: str,
        layout: str,
        holder: str,
        seats: SeatWishes,
        areas: AreaWishes,
        *,
        key: str | None,
        origin: str,
        windows: Windows,
        through: str,
        address: str,
    ) -> "Asked | None":
        """`hold_seats` without a coroutine, where nothing must be waited for but the script: `sink` gets its answer.

        `layout` is the hash of the one by which the caller reads seats. None where the long way must be gone. Raises
        `Unavailable`; then, as with None, nothing was asked.
        """
        sale = self._book.ready(event)
        if sale is None or sale.state != "open" or sale.layout_hash != layout:
            return None
        act = self._hold_act(sale, holder, seats, areas, key, origin, None, windows, through, address)
        self._book.together.decide(sale, act, sink)
        return Asked(sale, act)

    def _hold_act(
        self,
        sale: Sale,
        holder: str,
        seats: SeatWishes,
        areas: AreaWishes,
        key: str | None,
        origin: str,
        asked: object,
        windows: Windows | None,
        through: str,
        address: str,
    ) -> Act:
        digest, marker, rising = "", b"", sorted(seats)
        if key is not None:
            digest = self._digest(sale, holder, key)
            hold = f"{sale.number}-{digest}"
            marker = pack((hold, hash_wish("hold", "", rising, areas, asked)))
        else:
            hold = f"{sale.number}-{secrets.token_hex(10)}"
        channel = sale.channel(through)
        _, around = orphan_args(sale, seats, windows)
        begun = pack_new_record(holder, rising, areas, digest, channel)
        packed = pack_hold(holder, hold, digest, marker, origin, rising, areas, channel, address, begun, around)
        work = len(seats) * (1 if sale.orphan_rule == "off" else limits.WORK_OF_WINDOW)
        work += limits.WORK_OF_AREA * len(areas)
        return Act("hold_seats", hold, work, packed, begun)

    async def add_to_hold(
        self,
        event: str,
        holder: str,
        hold: str,
        seats: SeatWishes,
        areas: AreaWishes,
        *,
        key: str | None,
        origin: str = "",
        asked: object = None,
        windows: Windows | None = None,
        address: str = "",
    ) -> Changed | Refusal:
        """`hold` with `into`: the deadline stays; limits and the orphan rule judge the union.

        `asked`, `windows` and `address` as in `hold_seats`.
        """
        return await self._change_hold(
            *("add_to_hold", event, holder, hold, seats, areas, key, origin),
            asked=asked,
            windows=windows,
            address=address,
        )

    async def replace_hold(
        self,
        event: str,
        holder: str,
        hold: str,
        seats: SeatWishes,
        areas: AreaWishes,
        *,
        key: str | None,
        origin: str = "",
        expected_seq: int | None = None,
        asked: object = None,
        windows: Windows | None = None,
        address: str = "",
    ) -> Changed | Refusal:
        """`hold` with `replace`: the hold's own seats count as free; refused, it changes nothing.

        With `expected_seq`, that of the record which the caller read, it is refused as `conflict` where the hold
        changed since. `asked`, `windows` and `address` as in `hold_seats`.
        """
        expected = "" if expected_seq is None else str(expected_seq)
        return await self._change_hold(
            *("replace_hold", event, holder, hold, seats, areas, key, origin, expected),
            asked=asked,
            windows=windows,
            address=address,
        )

    async def _change_hold(
        self,
        script: str,
        event: str,
        holder: str,
        hold: str,
        seats: SeatWishes,
        areas: AreaWishes,
        key: str | None,
        origin: str,
        *more: Part,
        asked: object,
        windows: Windows | None,
        address: str,
    ) -> Changed | Refusal:
        if is_staff_hold(hold):
            return STAFF_HOLD
        request = hash_wish(script, hold, seats, areas, asked)

        def args(sale: Sale) -> Sequence[Part]:
            expect_open(sale)
            digest = self._digest(sale, holder, key)
            return [
                *(self._book.skew_ms, holder, hold, digest, request, origin, sale.on_sale_at_ms, sale.max_seats),
                *(limits.KEYS_PER_HOLD_MAX, pack_seats(seats), pack_areas(areas), *more),
                *orphan_args(sale, seats, windows),
                *(address, sale.address_holds, sale.address_seats),
            ]

        return await self._act(event, script, _SEATS_BOOK_AREAS_LOG, args, lambda: hold)

    async def find_key(
        self, event: str, holder: str, hold: str, *, key: str | None, asked: object, act: KeyedAct = "hold"
    ) -> Changed | Refusal | None:
        """What became of the request that `key` and `asked` stand for, or None where nothing did: nothing is changed.

        `hold` is the one that `act` names ("" for `hold`). Refused as the act itself while nothing can be held.
        """
        request = hash_request((act, hold, asked))

        def args(sale: Sale) -> Sequence[Part]:
            expect_open(sale)
            return [self._book.skew_ms, self._digest(sale, holder, key), request, sale.on_sale_at_ms]

        answer = await self._act(event, "find_key", ("book",), args, lambda: hold)
        return None if answer is NEW else answer

    async def release_hold(
        self,
        event: str,
        holder: str,
        hold: str,
        seats: Sequence[int] = (),
        areas: AreaWishes = (),
        *,
        origin: str = "",
    ) -> Changed | Refusal:
        """Gives back the whole hold (nothing named) or a part; also while paused. An area's type may be ''."""
        if is_staff_hold(hold):
            return STAFF_HOLD

        def act(sale: Sale) -> Act:
            return _release_act(sale, holder, hold, seats, areas, origin)

        return await self._decide(event, act)

    def ask_to_release(
        self,
        sink: Sink,
        event: str,
        layout: str,
        holder: str,
        hold: str,
        seats: Sequence[int],
        areas: AreaWishes,
        *,
        origin: str,
    ) -> "Asked | None":
        """`release_hold` without a coroutine; as `ask_to_hold`."""
        sale = self._book.ready(event)
        if sale is None or is_staff_hold(hold) or sale.layout_hash != layout:
            return None
        act = _release_act(sale, holder, hold, seats, areas, origin)
        self._book.together.decide(sale, act, sink)
        return Asked(sale, act)

    async def extend_hold(
        self, event: str, holder: str, hold: str, *, key: str | None = None, origin: str = ""
    ) -> Changed | Refusal:
        """Puts the deadline off by the event's hold time from now, at most `extensions` times, within the lifetime."""
        if is_staff_hold(hold):
            return STAFF_HOLD
        request = hash_wish("extend", hold, (), (), None)

        def args(sale: Sale) -> Sequence[Part]:
            expect_open(sale)
            digest = self._digest(sale, holder, key)
            return [
                *(self._book.skew_ms, holder, hold, digest, request, origin),
                *(sale.extensions, sale.hold_seconds * 1000, limits.KEYS_PER_HOLD_MAX),
            ]

        return await self._act(event, "extend_hold", _BOOK_DEADLINES_LOG, args, lambda: hold)

    async def read_hold(self, event: str, holder: str, hold: str) -> Changed | Refusal:
        """One hold as it is now."""
        return await self._act(
            event, "read_hold", ("book",), lambda _: [self._book.skew_ms, holder, hold], lambda: hold, wait=True
        )

    async def read_holds(self, event: str, holder: str) -> OwnHolds:
        """All of a holder's holds in an event, sold ones included."""
        sale, answer = await self._book.run(
            event, "read_holds", ("book",), lambda _: [self._book.skew_ms, holder], wait=True
        )
        found = zip(answer[2::2], answer[3::2], strict=True)
        holds = {hold.decode(): decode_record(raw) for hold, raw in found if raw is not None}
        return OwnHolds(holds, sale.epoch, int(answer[1]))

    async def event_of_hold(self, hold: str) -> str:
        """The event that a hold's id belongs to. Raises `NotFound` for an id that no hold can have."""
        return await self._book.event_of_hold(hold)

    # --- The booking's acts

    async def checkout_hold(
        self, event: str, holder: str, hold: str, booking: str, *, mark_seconds: int = limits.MARK_SECONDS
    ) -> Changed | Refusal:
        """Marks the hold with its booking; `Changed.epoch` is the fence that the claim must bear.

        After `mark_seconds` the sweep asks whether a claim followed.
        """

        def args(sale: Sale) -> Sequence[Part]:
            expect_open(sale)
            return [self._book.skew_ms, holder, hold, booking, "", mark_seconds * 1000]

        return await self._act(event, "checkout_hold", _BOOK_DEADLINES_LOG, args, lambda: hold)

    async def restore_hold(self, event: str, hold: str, booking: str) -> Changed | None:
        """Takes the mark back. None where the record does not bear this booking: nothing was done."""
        return await self._settle(
            event,
            "restore_hold",
            _BOOK_DEADLINES_LOG,
            [hold, booking, limits.CHECKOUT_GRACE_MS, ""],
            hold,
        )

    async def sell_hold(self, event: str, hold: str, booking: str) -> Changed | None:
        """Shows a booking's seats as sold. None where the record does not bear this booking in checkout."""
        return await self._settle(event, "sell_hold", _SEATS_BOOK_DEADLINES_AREAS_LOG, [hold, booking, ""], hold)

    async def free_booking(self, event: str, hold: str, booking: str, reason: HoldReason) -> Changed | None:
        """Puts a booking's seats on sale again. None where the record does not bear this booking."""
        return await self._settle(
            *(event, "free_booking", _SEATS_BOOK_DEADLINES_AREAS_LOG, [hold, booking, reason, ""], hold), losses=True
        )

    async def _settle(
        self, event: str, script: str, keys: Sequence[str], args: Sequence[Part], hold: str, *, losses: bool = False
    ) -> Changed | None:
        def given(sale: Sale) -> Sequence[Part]:
            return [self._book.skew_ms, *args, *(sale.losses if losses else ())]

        sale, answer = await self._book.run(event, script, keys, given)
        return None if answer[0] == b"nothing" else read_changed(sale, answer, hold)

    # --- The house's acts

    async def block_seats(
        self, event: str, seats: Sequence[int], areas: Mapping[str, int], state: int, *, origin: str = ""
    ) -> Blocked:
        """Takes at most a batch of seats off sale, and sets how many places of areas are; twice is once.

        `state` is the seat map's BYTE_HOUSE or BYTE_KILL.
        """

        def args(_: Sale) -> Sequence[Part]:
            return [self._book.skew_ms, origin, state, pack(sorted(seats)), pack_counts(areas)]

        sale, answer = await self._book.run(event, "block_seats", _SEATS_BOOK_AREAS_LOG, args)
        return read_blocked(sale, answer)

    async def unblock_seats(self, event: str, seats: Sequence[int], *, origin: str = "") -> tuple[int, ...]:
        """Puts at most a batch of blocked seats on sale again; answers those that were not blocked."""

        def args(_: Sale) -> Sequence[Part]:
            return [self._book.skew_ms, origin, pack(sorted(seats))]

        _, answer = await self._book.run(event, "unblock_seats", ("seats", "book", "log"), args)
        refused: tuple[int, ...] = msgspec.msgpack.decode(answer[2], type=tuple[int, ...])
        return refused

    # --- Shared

    async def _decide(self, event: str, make: Callable[[Sale], Act]) -> Changed | Refusal:
        """A hold or a release, decided together with those that wait with it."""
        book = self._book
        for _ in range(limits.STAMP_TRIES):
            sale = await book.prepare(event)
            if sale is None:
                continue
            try:
                act = make(sale)
            except Refused as refused:
                # Another worker may have opened the sale a moment ago: what it answered holds here, too.
                if await book.catch_up(event):
                    continue
                return Refusal(refused.code, refused.message)
            answer = await book.together.wait(sale, act)
            if not await book.disagreed(event, sale, answer):
                return read_act(sale, act, answer)
        raise Unavailable("The sale is changing; please try again.", retry_after_ms=limits.RETRY_AFTER_MS)

    async def _act(
        self,
        event: str,
        script: str,
        keys: Sequence[str],
        args: Callable[[Sale], Sequence[Part]],
        hold: Callable[[], str],
        *,
        wait: bool = False,
    ) -> Changed | Refusal:
        while True:
            try:
                sale, answer = await self._book.run(event, script, keys, args, wait=wait)
            except Refused as refused:
                # Another worker may have opened the sale a moment ago: what it answered holds here, too.
                if await self._book.catch_up(event):
                    continue
                return Refusal(refused.code, refused.message)
            return read_answer(sale, answer, hold())

    def _digest(self, sale: Sale, holder: str, key: str | None) -> str:
        """Names a request of one holder in one epoch, so that its retry finds its own hold. Empty without a key."""
        if key is None:
            return ""
        message = "\0".join((sale.event, str(sale.epoch), holder, key))
        return hashlib.blake2b(message.encode(), digest_size=10, key=self._key).hexdigest()


def _release_act(sale: Sale, holder: str, hold: str, seats: Sequence[int], areas: AreaWishes, origin: str) -> Act:
    packed = pack_release(holder, hold, origin, sorted(seats), areas)
    # Of a whole hold Redis alone knows what is in it.
    whole = sale.max_seats + limits.WORK_OF_AREA * min(sale.max_seats, len(sale.areas))
    work = len(seats) + limits.WORK_OF_AREA * len(areas)
    return Act("release_hold", hold, work or whole, packed)


def expect_open(sale: Sale) -> None:
    """Judges by the very facts whose stamp the script will compare, for they may have been read anew since."""
    if sale.state != "open":
        refusal = REFUSALS[sale.state.encode()]
        raise Refused(refusal.code, refusal.message)


def staff_hold_id(number: int, request: str) -> str:
    """The id of the hold without a deadline that a member of staff's request makes in the event of this number.

    What follows the number is 20 hex digits for all other holds, so an id shows whose hold it is without a look.
    """
    return f"{number}-s-{request[:20]}"


def is_staff_hold(hold: str) -> bool:
    """Whether a hold is the box office's for a customer. PostgreSQL has it, too, so only staff change it."""
    return "-s-" in hold
