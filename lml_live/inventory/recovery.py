"""What an inventory is after *adopt*: what Redis still had, under what PostgreSQL knows. Pure.

Rules (architecture.md, "Redis may be lost, or come back older, at any moment"):

1. Claims and sales of PostgreSQL hold, whatever Redis says; their holds live on with their ids.
2. The box office's holds for its customers hold next, each but for what a claim or sale has; then blocks, which yield
   to claims, sales and these. What belongs to a sales channel is its own whatever its state; places yield like blocks.
3. A hold that Redis kept lives on where all of it is still free; otherwise it is dropped whole, and its holder told.
4. A checkout mark without a claim can never become one (claims of older epochs are refused), so it is its holder's
   hold again, for the grace time at least, within its lifetime. What was taken to be sold at the counter was nobody's
   before: without its claim it is dropped, and the house has again what it kept back.
5. Tombstones and keys belong to the old epoch and are forgotten.
6. A kept hold that was made in the future was made now: a clock was set forward, and back, and its time is its own.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from lml_live import limits
from lml_live.inventory import seatmap
from lml_live.inventory.diffs import Allotments, AreaCounts
from lml_live.inventory.records import Record, decode_record, is_counter_hold, pack

log: Final = logging.getLogger(__name__)


class Claim(Struct, frozen=True):
    """A booking's claim or sale, as PostgreSQL has it."""

    booking: str
    hold: str
    holder: str
    sold: bool
    created_ms: int
    lifetime_ms: int
    seats: tuple[tuple[int, str], ...]
    """(seat index, type), rising."""
    areas: tuple[tuple[str, str, int], ...]
    channel: int = 0
    """The number of the channel that it was sold through."""


class StaffHold(Struct, frozen=True):
    """A hold of the box office for a customer, as PostgreSQL has it: without a deadline."""

    hold: str
    holder: str
    created_ms: int
    seats: tuple[tuple[int, str], ...]
    """(seat index, type), rising."""
    areas: tuple[tuple[str, str, int], ...]
    channel: int | None = None
    """The number of the channel that it was taken through; None where that is not on record: the counter's."""


class Overlay(Struct, frozen=True):
    """What PostgreSQL knows of an event's inventory."""

    claims: tuple[Claim, ...]
    blocked_seats: Mapping[int, int]
    """Inventory state (house or kill) by seat index."""
    blocked_areas: Mapping[str, int]
    staff_holds: tuple[StaffHold, ...] = ()
    seat_channels: Mapping[int, int] = {}
    """Number of the channel by seat index, of the seats that belong to one."""
    area_channels: Mapping[str, Mapping[int, int]] = {}
    """Places by area and channel number."""
    counter: int = 0
    """The number of the box office's channel, through which staff hold today."""


class Inventory(Struct, frozen=True):
    """A whole inventory, ready to be written."""

    seats: bytes
    areas: dict[str, AreaCounts]
    allotments: dict[str, Allotments]
    holds: dict[str, Record]
    dropped: tuple[str, ...]
    """Holds that Redis had and that conflict."""

    def book_fields(self) -> list[str | bytes]:
        """The fields of the book but the stamp: (field, value, …)."""
        fields: list[str | bytes] = []
        tallies: dict[str, list[int | str]] = {}
        for hold, record in self.holds.items():
            fields += (f"h:{hold}", pack(record))
            tally = tallies.setdefault(record.holder, [0])
            tally[0] += _size(record)  # type: ignore[operator]
            tally.append(hold)
        for holder, tally in tallies.items():
            fields += (f"o:{holder}", pack(tally))
        return fields

    def deadlines(self) -> list[str]:
        """(score, hold id, …) of the holds that can expire."""
        return [
            part
            for hold, record in self.holds.items()
            if record.state == "active"
            for part in (str(record.deadline_ms), hold)
        ]


def read_kept(fields: Sequence[bytes]) -> dict[str, Record]:
    """The holds of a book (field, value, …) that are not gone. A record that cannot be read is left out, and logged."""
    kept: dict[str, Record] = {}
    for field, value in zip(fields[::2], fields[1::2], strict=True):
        if not field.startswith(b"h:"):
            continue
        try:
            record = decode_record(value)
            readable = _is_well_formed(record)
        except (msgspec.DecodeError, ValueError):
            readable = False
        if not readable:
            log.warning("a hold's record cannot be read and is dropped: %s", field.decode(errors="replace"))
        elif record.state != "gone":
            kept[field[2:].decode(errors="replace")] = record
    return kept


def _is_well_formed(record: Record) -> bool:
    """Whether a record is one that the scripts write. An adopt that trips over one would never end."""
    seats, areas = record.seat_types(), record.area_types()
    return all(
        isinstance(seat, int) and seat >= 0 and isinstance(price_type, str) for seat, price_type in seats
    ) and all(
        isinstance(area, str) and isinstance(price_type, str) and isinstance(quantity, int) and quantity > 0
        for area, price_type, quantity in areas
    )


def rebuild(
    seat_count: int,
    capacities: Mapping[str, int],
    kept: Mapping[str, Record],
    overlay: Overlay,
    now_ms: int,
) -> Inventory:
    """The inventory that rules 1–5 give. Every area's counts add up to its capacity."""
    seats = bytearray(seat_count)
    for seat, state in overlay.blocked_seats.items():
        seats[seat] = state
    held = dict.fromkeys(capacities, 0)
    sold = dict.fromkeys(capacities, 0)
    blocked = {area: overlay.blocked_areas.get(area, 0) for area in capacities}
    holds: dict[str, Record] = {}
    for claim in overlay.claims:
        for seat, _ in claim.seats:
            seats[seat] = seatmap.BYTE_SOLD if claim.sold else seatmap.BYTE_HELD
        for area, _, quantity in claim.areas:
            (sold if claim.sold else held)[area] += quantity
        holds[claim.hold] = _claim_record(claim)
    for staff_hold in overlay.staff_holds:
        channel = overlay.counter if staff_hold.channel is None else staff_hold.channel
        record = _staff_record(staff_hold, channel, seats, capacities, held, sold)
        if record is None:
            continue
        for seat, _ in record.seat_types():
            seats[seat] = seatmap.BYTE_HELD
        for area, _, quantity in record.area_types():
            held[area] += quantity
        holds[staff_hold.hold] = record
    for area, capacity in capacities.items():
        # A block that meets claims or sales yields to them.
        blocked[area] = max(0, min(blocked[area], capacity - held[area] - sold[area]))
    dropped: list[str] = []
    for hold, record in sorted(kept.items(), key=lambda item: (item[1].created_ms, item[0])):
        if hold in holds:
            continue
        lives_on = record.state in ("active", "checkout") and not is_counter_hold(hold)
        if not lives_on or not _fits(record, seats, capacities, held, sold, blocked):
            dropped.append(hold)
            continue
        for seat, _ in record.seat_types():
            seats[seat] = seatmap.BYTE_HELD
        for area, _, quantity in record.area_types():
            held[area] += quantity
        holds[hold] = _survivor(record, now_ms)
    counts = {
        area: (capacity - held[area] - sold[area] - blocked[area], held[area], sold[area], blocked[area])
        for area, capacity in capacities.items()
    }
    for seat, channel in overlay.seat_channels.items():
        seats[seat] |= channel << seatmap.CHANNEL_SHIFT
    allotments = _allot(counts, holds, overlay.area_channels)
    return Inventory(bytes(seats), counts, allotments, holds, tuple(dropped))


def _allot(
    counts: Mapping[str, AreaCounts], holds: Mapping[str, Record], places: Mapping[str, Mapping[int, int]]
) -> dict[str, Allotments]:
    """What belongs to channels in each area, with what the holds took of it; never more than is available."""
    taken: dict[str, dict[int, int]] = {area: {} for area in counts}
    for record in holds.values():
        for area, _, quantity in record.area_types() if record.channel else ():
            taken[area][record.channel] = taken[area].get(record.channel, 0) + quantity
    found: dict[str, Allotments] = {}
    for area, (left, *_) in counts.items():
        line: list[int] = []
        given = places.get(area, {})
        for channel in sorted({*given, *taken[area]}):
            used = taken[area].get(channel, 0)
            kept = max(0, min(given.get(channel, 0) - used, left))
            left -= kept
            # An allotment that was written and never applied may ask for more than is left.
            line += (channel, min(given.get(channel, 0), used + kept), used)
        found[area] = tuple(line)
    return found


def _fits(
    record: Record,
    seats: bytearray,
    capacities: Mapping[str, int],
    held: Mapping[str, int],
    sold: Mapping[str, int],
    blocked: Mapping[str, int],
) -> bool:
    if any(seat >= len(seats) or seats[seat] != seatmap.BYTE_AVAILABLE for seat, _ in record.seat_types()):
        return False
    wanted: dict[str, int] = {}
    for area, _, quantity in record.area_types():
        wanted[area] = wanted.get(area, 0) + quantity
    return all(
        area in capacities and held[area] + sold[area] + blocked[area] + quantity <= capacities[area]
        for area, quantity in wanted.items()
    )


def _survivor(record: Record, now_ms: int) -> Record:
    early_ms = record.created_ms - now_ms
    if early_ms > limits.CLOCK_SKEW_MS and record.lifetime_ms < limits.UNTIL_RELEASED_MS:
        record = msgspec.structs.replace(
            record,
            created_ms=now_ms,
            deadline_ms=record.deadline_ms - early_ms,
            lifetime_ms=record.lifetime_ms - early_ms,
        )
    if record.state == "active":
        return msgspec.structs.replace(record, seq=0, digests=())
    deadline = min(max(record.deadline_ms, now_ms + limits.CHECKOUT_GRACE_MS), record.lifetime_ms)
    return msgspec.structs.replace(
        record, state="active", booking="", reason="payment_failed", deadline_ms=deadline, seq=0, digests=()
    )


def _staff_record(
    staff_hold: StaffHold,
    channel: int,
    seats: bytearray,
    capacities: Mapping[str, int],
    held: Mapping[str, int],
    sold: Mapping[str, int],
) -> Record | None:
    """The record of a staff hold but for what a claim, a sale or an older staff hold has; None where nothing is left.

    Only rows written by hand can conflict so. A customer's other seats are worth more than a tidy refusal.
    """
    taken = (seatmap.BYTE_HELD, seatmap.BYTE_SOLD)
    free = [(seat, kind) for seat, kind in staff_hold.seats if seats[seat] not in taken]
    room = {area: capacities[area] - held[area] - sold[area] for area, _, _ in staff_hold.areas if area in capacities}
    places = []
    for area, kind, quantity in staff_hold.areas:
        if quantity <= room.get(area, 0):
            room[area] -= quantity
            places.append((area, kind, quantity))
    if (len(free), len(places)) != (len(staff_hold.seats), len(staff_hold.areas)):
        log.error("staff hold %s: a part of it is somebody else's by now", staff_hold.hold)
    if not free and not places:
        return None
    return Record(
        holder=staff_hold.holder,
        state="active",
        deadline_ms=limits.UNTIL_RELEASED_MS,
        lifetime_ms=limits.UNTIL_RELEASED_MS,
        extensions=0,
        booking="",
        seats=tuple(part for pair in free for part in pair),
        areas=tuple(part for line in places for part in line),
        created_ms=staff_hold.created_ms,
        seq=0,
        reason="staff",
        digests=(),
        channel=channel,
    )


def _claim_record(claim: Claim) -> Record:
    return Record(
        holder=claim.holder,
        state="sold" if claim.sold else "checkout",
        deadline_ms=claim.lifetime_ms,
        lifetime_ms=claim.lifetime_ms,
        extensions=0,
        booking=claim.booking,
        seats=tuple(part for pair in claim.seats for part in pair),
        areas=tuple(part for line in claim.areas for part in line),
        created_ms=claim.created_ms,
        seq=0,
        reason="booked" if claim.sold else "own",
        digests=(),
        channel=claim.channel,
    )


def _size(record: Record) -> int:
    return len(record.seats) // 2 + sum(quantity for _, _, quantity in record.area_types())


def batches(parts: Sequence[str | bytes], size: int) -> Iterable[Sequence[str | bytes]]:
    """`parts` in pieces of at most `size` (even, so that pairs stay together)."""
    for start in range(0, len(parts), size):
        yield parts[start : start + size]
