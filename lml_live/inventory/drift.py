"""Where Redis and PostgreSQL do not say the same of an event's inventory. Pure.

What ought to be there is what *adopt* would make of it (`recovery.rebuild`): so there is one rule, not two, of what
claims, sales, blocks and holds amount to, and whose they are (a booking that is another's in Redis counts against that
one, and its owner can do nothing with it). What differs without being wrong is left out: bookings with work that is
still to be done (the outbox, hand-overs), checkout marks that the sweep settles, tombstones.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct

from lml_live import limits
from lml_live.inventory import seatmap
from lml_live.inventory.diffs import Allotments, AreaCounts
from lml_live.inventory.records import Entry, Record, is_counter_hold
from lml_live.inventory.recovery import Overlay, rebuild

Kind = Literal["seat", "area", "hold", "deadline", "tally", "time"]
Tally = tuple[int | str, ...]
"""A holder's seats and places, and the ids of the holds."""


class Picture(Struct, frozen=True):
    """An event's inventory in Redis, whole, at one version."""

    stamp: str
    seq: int
    seats: bytes
    areas: Mapping[str, AreaCounts]
    allotments: Mapping[str, Allotments]
    records: Mapping[str, Record]
    deadlines: Mapping[str, int]
    tallies: Mapping[str, Tally]
    unsettled: frozenset[str] = frozenset()
    """Holds that changed while the picture was taken: their deadlines and tallies may be of another moment."""


class Drift(Struct, frozen=True, order=True):
    """One thing that is not as it ought to be."""

    kind: Kind
    what: str
    """The seat's index, the area, the hold or the holder."""
    found: str
    expected: str
    hold: str = ""
    booking: str = ""
    """Set where the booking is sold and only its sale is to be told to Redis: the hold bears its mark."""


_WORDS: Final = {
    seatmap.BYTE_AVAILABLE: "available",
    seatmap.BYTE_HELD: "held",
    seatmap.BYTE_SOLD: "sold",
    seatmap.BYTE_HOUSE: "house",
    seatmap.BYTE_KILL: "kill",
}


def advance(picture: Picture, entries: Iterable[tuple[int, Entry]]) -> Picture | None:
    """The picture after these log entries; None where they do not follow on it without a gap.

    A book is read in many steps while it changes. What changes is in the log, absolute: laid over what was read, it
    gives the inventory as it was at the last entry, exactly.
    """
    seats, areas, records = bytearray(picture.seats), dict(picture.areas), dict(picture.records)
    allotments = dict(picture.allotments)
    seq, unsettled = picture.seq, set(picture.unsettled)
    for number, entry in entries:
        if number != seq + 1:
            return None
        seq = number
        for seat, byte in entry.seat_bytes().items():
            seats[seat] = byte
        areas.update(entry.area_counts())
        allotments.update(entry.allotments())
        for change in entry.holds:
            records[change.hold] = change.record
            unsettled.add(change.hold)
    return Picture(
        picture.stamp,
        seq,
        bytes(seats),
        areas,
        allotments,
        records,
        picture.deadlines,
        picture.tallies,
        frozenset(unsettled),
    )


def find_drift(
    picture: Picture, capacities: Mapping[str, int], overlay: Overlay, pending: Collection[str], now_ms: int
) -> tuple[Drift, ...]:
    """All that differs. `pending` are the bookings with work that is still to be done.

    One look is no proof: what is on its way between the two stores differs for a moment. What a second look, later,
    finds again in every detail is drift.
    """
    live = {hold: record for hold, record in picture.records.items() if record.state != "gone"}
    waiting = {hold for hold, record in live.items() if record.booking in pending}
    waiting |= {claim.hold for claim in overlay.claims if claim.booking in pending}
    claimed = {claim.hold: claim for claim in overlay.claims}
    # Taken to be sold at the counter, and not claimed: the sweep's to undo, as adopt does.
    taken = {hold for hold, record in live.items() if record.state == "checkout" and is_counter_hold(hold)}
    waiting |= taken - claimed.keys()
    ought = rebuild(len(picture.seats), capacities, live, overlay, now_ms)
    excused_seats, excused_areas = _of_holds(waiting, live, overlay)
    owners = {seat: hold for hold, record in live.items() for seat, _ in record.seat_types()}
    found: list[Drift] = []
    for seat in _differing(picture.seats, ought.seats):
        if seat in excused_seats:
            continue
        hold = owners.get(seat, "")
        claim = claimed.get(hold)
        untold = claim is not None and claim.sold and live[hold].state == "checkout"
        booking = claim.booking if claim is not None and untold and live[hold].booking == claim.booking else ""
        found.append(Drift("seat", str(seat), _word(picture.seats[seat]), _word(ought.seats[seat]), hold, booking))
    for area, counts in ought.areas.items():
        if area not in excused_areas and picture.areas.get(area) != counts:
            found.append(Drift("area", area, str(picture.areas.get(area)), str(counts)))
        here, there = _lines(picture.allotments.get(area, ())), _lines(ought.allotments.get(area, ()))
        if area not in excused_areas and here != there:
            found.append(Drift("area", f"{area}'s channels", str(here), str(there)))
    found += _holds(live, ought.holds, waiting)
    found += _deadlines(picture, live, claimed.keys(), waiting)
    found += _tallies(picture, live)
    found += [
        Drift("time", hold, f"made at {record.created_ms}", "in the past", hold)
        for hold, record in live.items()
        if record.created_ms > now_ms + limits.CLOCK_SKEW_MS
    ]
    return tuple(sorted(found))


def _differing(one: bytes, other: bytes) -> Iterable[int]:
    if one == other:
        return ()
    return (seat for seat, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)


def _word(byte: int) -> str:
    """An inventory byte in words."""
    channel = byte >> 3
    word = _WORDS.get(byte & seatmap.STATE_MASK, "?")
    return f"{word} of channel {channel}" if channel else word


def _lines(allotments: Allotments) -> list[tuple[int, ...]]:
    """(channel, places, taken), whatever order they came in."""
    return sorted(zip(allotments[::3], allotments[1::3], allotments[2::3], strict=True))


def _of_holds(holds: Collection[str], live: Mapping[str, Record], overlay: Overlay) -> tuple[set[int], set[str]]:
    """The seats and areas of these holds, as either store has them."""
    seats = {seat for hold in holds if hold in live for seat, _ in live[hold].seat_types()}
    areas = {area for hold in holds if hold in live for area, _, _ in live[hold].area_types()}
    for claim in overlay.claims:
        if claim.hold in holds:
            seats |= {seat for seat, _ in claim.seats}
            areas |= {area for area, _, _ in claim.areas}
    return seats, areas


def _holds(live: Mapping[str, Record], ought: Mapping[str, Record], waiting: Collection[str]) -> Iterable[Drift]:
    for hold in sorted(live.keys() | ought.keys()):
        if hold in waiting:
            continue
        here, there = live.get(hold), ought.get(hold)
        if here is not None and there is not None and _same(here, there):
            continue
        # A mark without a claim is the sweep's to settle; adopt makes a hold of it, and this is not adopt.
        marked = here is not None and there is not None and (here.state, there.state) == ("checkout", "active")
        if _line(here) != _line(there) and not (marked and _goods(here) == _goods(there)):
            booking = ""
            if here is not None and there is not None and (here.state, there.state) == ("checkout", "sold"):
                booking = there.booking if here.booking == there.booking and _goods(here) == _goods(there) else ""
            yield Drift("hold", hold, _line(here), _line(there), hold, booking)


def _same(here: Record, there: Record) -> bool:
    """Whether two records say the same at first sight: nearly all do, and words cost more than looks."""
    return (
        here.holder == there.holder
        and (here.state, here.booking) == (there.state, there.booking)
        and (here.seats, here.areas) == (there.seats, there.areas)
    )


def _line(record: Record | None) -> str:
    if record is None:
        return "absent"
    return f"{record.state} {record.booking} of {record.holder} {_goods(record)}"


def _goods(record: Record | None) -> str:
    """What a hold has; its two records name areas in different orders."""
    if record is None:
        return ""
    places: Counter[tuple[str, str]] = Counter()
    for area, price_type, quantity in record.area_types():
        places[area, price_type] += quantity
    return f"{sorted(record.seat_types())} {sorted(places.items())}"


def _deadlines(
    picture: Picture, live: Mapping[str, Record], claimed: Collection[str], waiting: Collection[str]
) -> Iterable[Drift]:
    for hold, record in live.items():
        score = picture.deadlines.get(hold)
        if hold in picture.unsettled or hold in waiting:
            continue
        if record.state == "active" and score != record.deadline_ms:
            yield Drift("deadline", hold, str(score), str(record.deadline_ms), hold)
        elif record.state == "checkout" and hold not in claimed and score is None:
            yield Drift("deadline", hold, "a mark without a claim that nobody will look at", "a deadline", hold)
        elif record.state == "sold" and score is not None:
            yield Drift("deadline", hold, str(score), "none, for it is sold", hold)
    for hold in picture.deadlines.keys() - picture.records.keys() - picture.unsettled:
        yield Drift("deadline", hold, str(picture.deadlines[hold]), "none, for there is no such hold", hold)


def _tallies(picture: Picture, live: Mapping[str, Record]) -> Iterable[Drift]:
    expected: dict[str, tuple[int, set[str]]] = {}
    unsettled = {picture.records[hold].holder for hold in picture.unsettled if hold in picture.records}
    for hold, record in live.items():
        size, holds = expected.get(record.holder, (0, set()))
        places = sum(quantity for _, _, quantity in record.area_types())
        expected[record.holder] = size + len(record.seats) // 2 + places, holds | {hold}
    for holder in sorted(expected.keys() | picture.tallies.keys()):
        tally = picture.tallies.get(holder, (0,))
        here = int(tally[0]), {str(hold) for hold in tally[1:]}
        ought = expected.get(holder, (0, set()))
        if holder not in unsettled and here != ought:
            yield Drift("tally", holder, f"{here[0]} in {len(here[1])} holds", f"{ought[0]} in {len(ought[1])} holds")
