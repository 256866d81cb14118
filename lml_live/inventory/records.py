"""What Redis keeps of an event, as the Lua scripts write it. Pure.

The positions in `Record` and `Entry` are those of lua/include/inventory.lua; a test compares them. The keys of one
event share the hash tag of its group, so that a step over several events of a season is one step on a cluster too.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import Struct

from lml_live import limits
from lml_live.inventory import seatmap
from lml_live.inventory.diffs import Allotments, AreaCounts

_COUNTS: Final = ("available", "held", "sold", "blocked")
_AREA_FIELDS: Final = (*_COUNTS, "allotments")
"""The fields of an area in the `…:areas` hash, each behind the area's id and a slash."""

WEB: Final = "web"
"""The channel of the public, anonymous or signed in."""
BOX_OFFICE: Final = "box-office"
"""The channel of the house's own counter."""
HOUSE_CHANNELS: Final = frozenset({WEB, BOX_OFFICE})
"""All others are partners'."""

FORMAT: Final = 2
"""Of what scripts keep in Redis; it stands in every key. A server that keeps it otherwise finds no book, and adopts:
what PostgreSQL knows is kept, and holds that nobody pays for yet are lost."""

KEY_NAMES: Final = ("seats", "book", "deadlines", "areas", "log", "new_book", "new_deadlines")


class SalesChannel(Struct, frozen=True):
    """A sales channel of one event: its number in the inventory's bytes, and when its allotment was opened to all."""

    number: int
    opened_ms: int | None = None


class Sale(Struct, frozen=True, kw_only=True):
    """What the inventory must know of an event; read from PostgreSQL, and again whenever a stamp does not agree."""

    event: str
    number: int
    group: str
    state: str
    on_sale_at_ms: int
    max_seats: int
    hold_seconds: int
    extensions: int
    lifetime_seconds: int
    orphan_rule: str = "off"
    """off, strict or lenient (inventory/plan.py)."""
    expired_holds: int = 0
    cooldown_seconds: int = 0
    rehold_seconds: int = 0
    release_jitter_seconds: int = 0
    address_holds: int = 0
    address_seats: int = 0
    tick_ms: int | None
    revision: int
    prices_version: int
    epoch: int
    run_id: str
    layout_id: str
    layout_version: int
    layout_hash: str
    seat_count: int
    areas: dict[str, int]
    """Capacity by area id, in the layout's order."""
    channels: dict[str, SalesChannel] = {}
    """By name; those that the event does not have sell what is open, like everybody."""

    def channel(self, name: str) -> int:
        """The number of a channel in this event; 0 where it has nothing of its own."""
        found = self.channels.get(name)
        return 0 if found is None else found.number

    @property
    def area_fields(self) -> int:
        """How many fields the `…:areas` hash has."""
        return len(_AREA_FIELDS) * len(self.areas)

    @property
    def stamp(self) -> str:
        """What every script compares with the book before it does anything: `epoch:revision`."""
        return f"{self.epoch}:{self.revision}"

    @property
    def losses(self) -> tuple[int, int, int, int]:
        """What scripts that let holds expire are told: expired_holds, cooldown_ms, cooldown_max_ms, rehold_ms."""
        longest = limits.COOLDOWN_SECONDS_MAX
        return (self.expired_holds, self.cooldown_seconds * 1000, longest * 1000, self.rehold_seconds * 1000)

    def key(self, name: str) -> str:
        """The Redis key of one of `KEY_NAMES`."""
        return key_of(self.group, self.event, name)


def key_of(group: str, event: str, name: str) -> str:
    """The Redis key of one of `KEY_NAMES` of an event."""
    return f"lml{FORMAT}:{{{group}}}:{event}:{name}"


class Record(Struct, frozen=True, array_like=True, gc=False):
    """One hold. `seats` is (index, type, index, type, …) rising, `areas` (area, type, n, …).

    What only Redis knows comes last: Python hands a new hold's other fields over packed, Lua appends.
    """

    holder: str
    state: str
    """active, checkout, sold or gone."""
    extensions: int
    booking: str
    seats: tuple[int | str, ...]
    areas: tuple[int | str, ...]
    reason: str
    digests: tuple[str, ...]
    channel: int
    """The number of the channel that it was made through, and goes on through."""
    deadline_ms: int
    lifetime_ms: int
    created_ms: int
    seq: int

    def seat_types(self) -> list[tuple[int, str]]:
        """The seats with their price types, rising."""
        parts = iter(self.seats)
        return list(zip(parts, parts, strict=True))  # type: ignore[arg-type]

    def split_seats(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The seats, rising, and the price type of each."""
        return self.seats[::2], self.seats[1::2]  # type: ignore[return-value]

    def area_types(self) -> list[tuple[str, str, int]]:
        """The places per area and price type, in the order they were taken."""
        return list(zip(self.areas[::3], self.areas[1::3], self.areas[2::3], strict=True))  # type: ignore[arg-type]


class HoldChange(Struct, frozen=True, array_like=True, gc=False):
    """What a hold is after a log entry. `origin` is its own where several were decided together."""

    hold: str
    record: Record
    origin: str = ""


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One log entry. Its id carries epoch and seq; states and counts are absolute.

    `act` is `together` where it has several holds of several requests (hold_together.lua).
    """

    act: str
    origin: str
    seats: tuple[int, ...]
    """(first, count, byte, first, count, byte, …)"""
    areas: tuple[int | str | Allotments, ...]
    """(area, available, held, sold, blocked, allotments, …)"""
    holds: tuple[HoldChange, ...]

    def seat_bytes(self) -> dict[int, int]:
        """The inventory byte of each seat that changed; of two changes of a seat the later is right."""
        changes: dict[int, int] = {}
        for at in range(0, len(self.seats), 3):
            first, count, byte = self.seats[at : at + 3]
            changes |= dict.fromkeys(range(first, first + count), byte)
        return changes

    def area_counts(self) -> dict[str, AreaCounts]:
        """The counts of each area that changed."""
        return {
            self.areas[at]: tuple(self.areas[at + 1 : at + 5])  # type: ignore[misc]
            for at in range(0, len(self.areas), 6)
        }

    def allotments(self) -> dict[str, Allotments]:
        """What belongs to channels in each area that changed."""
        return {self.areas[at]: self.areas[at + 5] for at in range(0, len(self.areas), 6)}  # type: ignore[misc]


_record = msgspec.msgpack.Decoder(Record)
_entry = msgspec.msgpack.Decoder(Entry)
_allotments = msgspec.msgpack.Decoder(Allotments)
_pack = msgspec.msgpack.Encoder()


def decode_record(raw: bytes) -> Record:
    return _record.decode(raw)


def decode_entry(raw: bytes) -> Entry:
    return _entry.decode(raw)


def pack(value: object) -> bytes:
    """msgpack for a script's argument."""
    return _pack.encode(value)


def pack_values(values: Sequence[object]) -> bytes:
    """msgpack of values one after the other, which Lua unpacks without a table."""
    return _pack.encode(values)[1 if len(values) < 16 else 3 :]


# What every click of a sale hands to the scripts is written by one format each: encoding the parts one by one, as bytes
# within bytes, took three times as long. A text is `\xd9`, its length and its bytes, for none has more than 255 (an id
# 64 at most); bytes that Redis need not look into are a text too (its msgpack is older than the type that bytes have
# today), `\xda` and two bytes of length where they may be longer.

_RECORD_HEAD: Final = bytes([0x90 + len(Record.__struct_fields__)])
_RECORD: Final = _RECORD_HEAD + b"\xd9%c%b\xa6active\x00\xa0%b%b\xa3own%b%c"
"""A new hold's holder, state, extensions, booking, seats, areas, reason, digests and channel."""
_TOMBSTONE: Final = _RECORD_HEAD + b"\xd9%c%b" + _pack.encode(("gone", 0, "", (), (), "own"))[1:]
"""An ended hold's record, but for what only Redis knows."""
_TOMBSTONE_BYTES: Final = len(_TOMBSTONE % (0, b""))
"""Without the holder."""
_NONE: Final = _pack.encode(())

_HOLD: Final = (
    b"\xa4hold"
    b"\xd9%co:%b"  # tally_field
    b"\xd9%ck:%b"  # key_field
    b"\xd9%c%b"  # hold_id
    b"\xd9%c\xd9%c%b"  # origin
    b"\xd9%c\xd9%c%b"  # name
    b"\xd9%ch:%b"  # hold_field
    b"\xd9%c%b"  # marker
    b"\xda%c%c%b"  # record
    b"%c"  # size
    b"\xd9%c\x92%c\xd9%c%b"  # tally
    b"%b%b"  # areas, windows
    b"%c"  # channel
    b"\xd9%cx:%b"  # lost_field
    b"\xd9%c%b"  # address_field
)
_RELEASE: Final = (
    b"\xa7release"
    b"\xd9%co:%b"  # tally_field
    b"\xd9%ch:%b"  # hold_field
    b"\xd9%c%b"  # hold_id
    b"\xd9%c\xd9%c%b"  # origin
    b"\xd9%c\xd9%c%b"  # name
    b"\xd9%c%b"  # holder
    b"\xd9%c"
    + _TOMBSTONE  # tombstone
    + b"%b%b"  # seats, areas
)
_FIXINT_MAX: Final = 127
"""The largest number that is one byte in msgpack: as sizes and channels are."""
assert max(limits.HOLD_LINES_MAX, limits.HOLD_SEATS_MAX, seatmap.CHANNEL_MAX) <= _FIXINT_MAX


def _long(data: bytes) -> bytes:
    """Packed bytes as one value; an empty text where there are none."""
    return b"\xda%c%c%b" % (len(data) >> 8, len(data) & 255, data) if data else b"\xa0"


def pack_new_record(
    holder: str, seats: Sequence[tuple[int, str]], areas: Sequence[tuple[str, str, int]], digest: str, channel: int
) -> bytes:
    """A new hold's record, seats rising, but for its times and its seq, which a script appends."""
    who = holder.encode()
    flat, digests = _pack.encode(_flat(seats)), _pack.encode((digest,)) if digest else _NONE
    return _RECORD % (len(who), who, flat, _pack.encode(_flat(areas)) if areas else _NONE, digests, channel)


def pack_hold(
    holder: str,
    hold: str,
    digest: str,
    marker: bytes,
    origin: str,
    seats: Sequence[tuple[int, str]],
    areas: Sequence[tuple[str, str, int]],
    channel: int,
    address: str,
    record: bytes,
    windows: bytes,
) -> bytes:
    """HOLD of the scripts' headers: seats rising; `digest` and `marker` are empty where the client sent no key."""
    size = len(seats) + sum([n for _, _, n in areas]) if areas else len(seats)
    who, name, asker, key = holder.encode(), hold.encode(), origin.encode(), digest.encode()
    whence = b"a:" + address.encode() if address else b""
    many, long = len(who) + 2, len(name)
    # fmt: off
    return _HOLD % (
        many, who, len(key) + 2, key, long, name, len(asker) + 2, len(asker), asker, long + 2, long, name,
        long + 2, name, len(marker), marker, len(record) >> 8, len(record) & 255, record, size,
        long + 4, size, long, name, _long(_pack.encode(_flat(areas))) if areas else b"\xa0", _long(windows),
        channel, many, who, len(whence), whence,
    ) + pack_values(_runs(seats))
    # fmt: on


def pack_release(
    holder: str, hold: str, origin: str, seats: Sequence[int], areas: Sequence[tuple[str, str, int]]
) -> bytes:
    """RELEASE of the scripts' headers: seats rising; nothing named is the whole hold."""
    who, name, asker = holder.encode(), hold.encode(), origin.encode()
    many, long = len(who), len(name)
    # fmt: off
    return _RELEASE % (
        many + 2, who, long + 2, name, long, name, len(asker) + 2, len(asker), asker, long + 2, long, name,
        many, who, many + _TOMBSTONE_BYTES, many, who,
        _long(_pack.encode(seats)) if seats else b"\xa0", _long(_pack.encode(_flat(areas))) if areas else b"\xa0",
    )
    # fmt: on


def _flat(wishes: Sequence[tuple[Any, ...]]) -> list[Any]:
    return list(chain.from_iterable(wishes))


def _runs(seats: Sequence[tuple[int, str]]) -> list[int]:
    """Seats as (first, count, first, count, …)."""
    runs: list[int] = []
    following = -1
    for seat, _ in seats:
        if seat == following:
            runs[-1] += 1
        else:
            runs += (seat, 1)
        following = seat + 1
    return runs


def pack_rules(sale: Sale, skew_ms: int) -> bytes:
    """What the scripts that hold and release must know of a sale (RULES in their headers)."""
    return pack_values(
        (
            f"{sale.epoch}-*",
            skew_ms,
            sale.on_sale_at_ms,
            sale.max_seats,
            limits.HOLDS_PER_HOLDER_MAX,
            sale.hold_seconds * 1000,
            sale.lifetime_seconds * 1000,
            sale.orphan_rule,
            sale.address_holds,
            sale.address_seats,
        )
    )


def read_entry_id(raw: bytes) -> tuple[int, int]:
    """(epoch, seq) of a stream id."""
    epoch, _, seq = raw.partition(b"-")
    return int(epoch), int(seq)


def read_area_counts(flat: list[bytes]) -> dict[str, AreaCounts]:
    """The `…:areas` hash ({area}/{state} → count) as counts per area."""
    fields = _by_area(flat)
    return {area: tuple(int(found[name]) for name in _COUNTS) for area, found in fields.items()}  # type: ignore[misc]


def read_allotments(flat: list[bytes]) -> dict[str, Allotments]:
    """What belongs to channels in each area of the same hash."""
    return {
        area: _allotments.decode(raw) if (raw := found["allotments"]) else () for area, found in _by_area(flat).items()
    }


def _by_area(flat: list[bytes]) -> dict[str, dict[str, bytes]]:
    areas: dict[str, dict[str, bytes]] = {}
    for field, value in zip(flat[::2], flat[1::2], strict=True):
        area, _, name = field.decode().rpartition("/")
        areas.setdefault(area, {})[name] = value
    return areas


def write_areas(areas: dict[str, AreaCounts], allotments: dict[str, Allotments]) -> list[str | Allotments]:
    """The reverse of `read_area_counts` and `read_allotments`, as adopt_finish.lua takes it: (field, value, …)."""
    parts: list[str | Allotments] = []
    for area, counts in areas.items():
        values: list[str | Allotments] = [*map(str, counts), allotments.get(area, ())]
        for name, value in zip(_AREA_FIELDS, values, strict=True):
            parts += (f"{area}/{name}", value)
    return parts


def kept_from(channel: int | None, allotments: Allotments) -> int:
    """The available places of an area that its allotments keep from buyers of `channel`; as in the scripts."""
    return sum(
        max(0, places - taken)
        for number, places, taken in zip(allotments[::3], allotments[1::3], allotments[2::3], strict=True)
        if number != channel
    )


def counter_hold_id(number: int, request: str) -> str:
    """The id under which a clerk's request sells places of the event of this number that nobody held before."""
    return f"{number}-c-{request[:20]}"


def is_counter_hold(hold: str) -> bool:
    """Whether a hold came into being with its sale at the counter: unsold, it was never there."""
    return "-c-" in hold
