"""Holds over several events of one group: each act is one Lua step, done in every event or in none.

What is taken are ordinary holds, one an event, each with its event's own limits, log entry and seq; those made by one
call share what follows the event's number in their ids (docs/decisions/008). Raises as `holds` does, and
`different_group` for events that cannot change in one step.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Raw, Struct

from lml_live import limits
from lml_live.errors import Refused
from lml_live.infra.redis import Part
from lml_live.inventory.answers import STAFF_HOLD, Changed, Refusal, read_answer
from lml_live.inventory.book import Book, OfBook
from lml_live.inventory.holds import expect_open, is_staff_hold
from lml_live.inventory.records import WEB, Sale, decode_record, pack
from lml_live.inventory.wishes import AreaWishes, SeatWishes, Windows, hash_request, orphan_args

_KEYS: Final = ("seats", "book", "deadlines", "areas", "log")


class EventWish(Struct, frozen=True):
    """What is wanted of one event. `windows` and `through` as for `Holds.hold_seats`."""

    event: str
    seats: SeatWishes
    areas: AreaWishes
    windows: Windows | None = None
    through: str = WEB


class GroupChanged(Struct, frozen=True):
    """What the holds are now, by event, in the order of the request."""

    changes: dict[str, Changed]
    now_ms: int


class GroupRefusal(Struct, frozen=True):
    """Why nothing was changed, event by event: every one that refuses is named. Empty: the call as a whole is wrong."""

    code: str
    message: str
    events: dict[str, Refusal]
    retry_after_ms: int | None = None


class HoldNamed(Struct, frozen=True, kw_only=True):
    """What each script is told of one event; lua/include/group.lua reads the fields by name."""

    stamp: str
    hold: str


class Ending(HoldNamed, frozen=True, kw_only=True):
    """What release_group is told: nothing is wished any more."""

    seats: Sequence[int | str] = ()
    areas: Sequence[int | str] = ()


class Extension(HoldNamed, frozen=True, kw_only=True):
    """What extend_group is told."""

    max_extensions: int
    hold_ms: int


class EventChange(HoldNamed, frozen=True, kw_only=True):
    """What hold_group and move_group are told."""

    is_there: bool = False
    opens_ms: int
    max_seats: int
    max_holds: int
    hold_ms: int
    lifetime_ms: int
    address_holds: int
    address_seats: int
    orphan_rule: str = "off"
    channel: int = 0
    windows: Raw = Raw(b"\x90")
    seats: Sequence[int | str] = ()
    areas: Sequence[int | str] = ()


class GroupHolds(OfBook):
    """A holder's acts over events of one group. `secret` makes hold ids, as in `Holds`."""

    def __init__(self, book: Book, secret: bytes) -> None:
        self._book = book
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"lml group holds").digest()

    async def hold_group(
        self, holder: str, wishes: Sequence[EventWish], *, key: str | None, origin: str = "", address: str = ""
    ) -> GroupChanged | GroupRefusal:
        """Takes what each event is wished for, or nothing. With `key` a retry answers the holds as they are now.

        `address` is a keyed hash of the network address that is counted, empty for none.
        """
        wished = {wish.event: wish for wish in wishes}

        def change(sale: Sale, shared: str) -> EventChange:
            expect_open(sale)
            return _change(sale, f"{sale.number}-{shared}", wished[sale.event])

        request = hash_request(("hold", _said(wishes)))
        return await self._act(
            "hold_group", list(wished), holder, change, address, key=key, request=request, origin=origin
        )

    async def move_group(
        self,
        holder: str,
        holds: Mapping[str, str],
        wishes: Sequence[EventWish],
        *,
        key: str | None,
        origin: str = "",
        address: str = "",
    ) -> GroupChanged | GroupRefusal:
        """Makes `wishes` of `holds` (hold id by event). A hold whose event is wished for keeps its id, the others end;
        deadline, lifetime and extensions stay the shortest that any of them had."""
        wished = {wish.event: wish for wish in wishes}
        events = [*wished, *(event for event in holds if event not in wished)]
        if len(events) > limits.EVENTS_PER_CALL_MAX:
            message = f"At most {limits.EVENTS_PER_CALL_MAX} events change in one step."
            return GroupRefusal("limit_exceeded", message, {})

        def change(sale: Sale, shared: str) -> EventChange:
            if sale.event in wished:  # what only ends may end in a pause
                expect_open(sale)
            hold = holds.get(sale.event)
            return _change(sale, hold or f"{sale.number}-{shared}", wished.get(sale.event), is_there=hold is not None)

        request = hash_request(("move", sorted(holds.values()), _said(wishes)))
        return await self._act(
            *("move_group", events, holder, change, limits.KEYS_PER_HOLD_MAX, address, limits.GROUP_PLACES_MAX),
            key=key,
            request=request,
            origin=origin,
        )

    async def release_group(
        self, holder: str, holds: Mapping[str, str], *, origin: str = ""
    ) -> GroupChanged | GroupRefusal:
        """Gives back every one of `holds` (hold id by event), or none; also while sales are paused."""

        def change(sale: Sale, _shared: str) -> Ending:
            return Ending(stamp=sale.stamp, hold=holds[sale.event])

        return await self._act(
            *("release_group", list(holds), holder, change, limits.GROUP_PLACES_MAX),
            key=None,
            request=None,
            origin=origin,
        )

    async def extend_group(
        self, holder: str, holds: Mapping[str, str], *, key: str | None = None, origin: str = ""
    ) -> GroupChanged | GroupRefusal:
        """Puts the deadline of every one of `holds` off, each by its event's rules, or of none."""

        def change(sale: Sale, _shared: str) -> Extension:
            expect_open(sale)
            return Extension(
                stamp=sale.stamp,
                hold=holds[sale.event],
                max_extensions=sale.extensions,
                hold_ms=sale.hold_seconds * 1000,
            )

        request = hash_request(("extend", sorted(holds.values())))
        return await self._act(
            *("extend_group", list(holds), holder, change, limits.KEYS_PER_HOLD_MAX),
            key=key,
            request=request,
            origin=origin,
        )

    async def _act(
        self,
        script: str,
        events: Sequence[str],
        holder: str,
        change: Callable[[Sale, str], HoldNamed],
        *more: Part,
        key: str | None,
        request: str | None,
        origin: str,
    ) -> GroupChanged | GroupRefusal:
        """Runs a script with the changes of all events; without `request` it is one that takes no key."""
        chance = secrets.token_hex(10)
        holds: list[str] = []

        def args(sales: Sequence[Sale]) -> list[Part]:
            digest = "" if key is None else self._digest(sales[0].group, holder, key)
            changes, refusals = [], {}
            for sale in sales:
                try:
                    changes.append(change(sale, digest or chance))
                except Refused as refused:
                    refusals[sale.event] = Refusal(refused.code, refused.message)
            if refusals:
                raise _NotOpen(refusals)
            holds[:] = [made.hold for made in changes]
            if any(map(is_staff_hold, holds)):
                raise _NotOpen({sales[0].event: STAFF_HOLD})
            keyed = () if request is None else (digest, request)
            return [self._book.skew_ms, holder, *keyed, origin, pack(changes), *more]

        while True:
            try:
                sales, answer = await self._book.run_group(events, script, _KEYS, args)
            except _NotOpen as refused:
                # Another worker may have opened a sale a moment ago: what it answered holds here, too.
                if any([await self._book.catch_up(event) for event in refused.refusals]):
                    continue
                return _refusal(refused.refusals)
            return _read(sales, answer, holds)

    def _digest(self, group: str, holder: str, key: str) -> str:
        """Names a request of one holder in a group. Without epochs, of which each event has its own: the ids of new
        holds are made of it, so that a retry finds them where an adopt in between has forgotten the key."""
        message = "\0".join((group, holder, key))
        return hashlib.blake2b(message.encode(), digest_size=10, key=self._key).hexdigest()


class _NotOpen(Exception):
    """Facts at hand refuse: nothing was sent."""

    def __init__(self, refusals: dict[str, Refusal]) -> None:
        super().__init__()
        self.refusals = refusals


def _said(wishes: Sequence[EventWish]) -> object:
    """What a key stands for: the wishes, in whatever order."""
    return sorted((wish.event, sorted(wish.seats), sorted(wish.areas)) for wish in wishes)


def _change(sale: Sale, hold: str, wish: EventWish | None, *, is_there: bool = False) -> EventChange:
    # What Redis reads has no msgpack of bytes, so the packed windows are put in as what they are.
    rule, windows = ("off", b"") if wish is None else orphan_args(sale, wish.seats, wish.windows)
    return EventChange(
        stamp=sale.stamp,
        hold=hold,
        is_there=is_there,
        opens_ms=sale.on_sale_at_ms,
        max_seats=sale.max_seats,
        max_holds=limits.HOLDS_PER_HOLDER_MAX,
        hold_ms=sale.hold_seconds * 1000,
        lifetime_ms=sale.lifetime_seconds * 1000,
        address_holds=sale.address_holds,
        address_seats=sale.address_seats,
        orphan_rule=rule,
        channel=0 if wish is None else sale.channel(wish.through),
        windows=Raw(windows or b"\x90"),
        seats=() if wish is None else [part for pick in sorted(wish.seats) for part in pick],
        areas=() if wish is None else [part for places in wish.areas for part in places],
    )


def _read(sales: Sequence[Sale], answer: Sequence[Any], holds: Sequence[str]) -> GroupChanged | GroupRefusal:
    """A script's answer as a value; the first word is its meaning."""
    match answer:
        case [b"held" | b"moved" | b"extended" | b"same", now_ms, *found]:
            changes = {
                sale.event: Changed(hold, decode_record(raw) if raw else None, sale.epoch, int(seq), int(now_ms))
                for sale, hold, seq, raw in zip(sales, holds, found[::2], found[1::2], strict=True)
            }
            return GroupChanged(changes, int(now_ms))
        case [b"released", now_ms, *seqs]:
            changes = {
                sale.event: Changed(hold, None, sale.epoch, int(seq), int(now_ms))
                for sale, hold, seq in zip(sales, holds, seqs, strict=True)
            }
            return GroupChanged(changes, int(now_ms))
        case [b"refused", *refusals]:
            by_event = {}
            for place, *words in refusals:
                sale = sales[int(place) - 1]
                refusal = read_answer(sale, words, holds[int(place) - 1])
                assert isinstance(refusal, Refusal), "what stands in `refused` is a refusal"
                by_event[sale.event] = refusal
            return _refusal(by_event)
    whole = read_answer(sales[0], answer, holds[0])
    assert isinstance(whole, Refusal), "the script's other answers were read before"
    return GroupRefusal(whole.code, whole.message, {})


def _refusal(by_event: dict[str, Refusal]) -> GroupRefusal:
    """The first event's refusal speaks for all."""
    first = next(iter(by_event.values()))
    return GroupRefusal(first.code, first.message, by_event, first.retry_after_ms)
