"""What becomes of the seats when one layout takes another's place. Pure, and linear in both."""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from lml_live import limits
from lml_live.venues.layout import Layout, Row, Seat, Section

_OTHER: Final = ("name", "type", "viewport", "focal_point", "shapes", "categories", "entrances")
_SECTION_OTHER: Final = ("kind", "outline", "sold_whole", "within", "floor", "entrance", "category")


class SeatName(msgspec.Struct, frozen=True):
    """A seat as people and programs know it."""

    seat_id: str
    section: str
    row: str
    number: str


class AreaChange(msgspec.Struct, frozen=True):
    """A standing area and its places in both; None where it is not there."""

    area_id: str
    before: int | None
    after: int | None


class LayoutDiff(msgspec.Struct, frozen=True):
    """From one layout to another, by seat id. Each list holds the first `LAYOUT_DIFF_MAX`, the counts count all.

    `changed` are seats with other attributes or in another table; a seat may be in several lists. `other` names what
    else is not the same: members of the layout, sections, and areas of another name as `section New (was Old)`.
    """

    added: tuple[SeatName, ...] = ()
    removed: tuple[SeatName, ...] = ()
    moved: tuple[SeatName, ...] = ()
    recategorised: tuple[SeatName, ...] = ()
    changed: tuple[SeatName, ...] = ()
    areas: tuple[AreaChange, ...] = ()
    other: tuple[str, ...] = ()
    counts: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.areas or self.other or any(self.counts.values()))


def compare_layouts(before: Layout, after: Layout) -> LayoutDiff:
    """What the step from one sealed layout to another changes. Version and hash are no difference."""
    old, new = _by_id(before), _by_id(after)
    both = [(old[seat_id], place) for seat_id, place in new.items() if seat_id in old]

    def differing(differs: Callable[[Seat, Seat], bool]) -> Iterator[_Place]:
        return (place for known, place in both if known[2] != place[2] and differs(known[2], place[2]))

    lists = {
        "added": [place for seat_id, place in new.items() if seat_id not in old],
        "removed": [place for seat_id, place in old.items() if seat_id not in new],
        "moved": list(differing(lambda a, b: (a.x, a.y) != (b.x, b.y))),
        "recategorised": list(differing(lambda a, b: a.category != b.category)),
        "changed": [
            place
            for known, place in both
            if _attributes(known[2]) != _attributes(place[2]) or _row_facts(known[1]) != _row_facts(place[1])
        ],
    }
    counts = {name: len(places) for name, places in lists.items()}
    named = {name: tuple(map(_named, places[: limits.LAYOUT_DIFF_MAX])) for name, places in lists.items()}
    other = [name for name in _OTHER if getattr(before, name) != getattr(after, name)]
    other += _changed_sections(before, after)
    # The order is what indexes follow: seats that are all the same may be other indexes.
    if not (counts["added"] or counts["removed"]) and list(old) != list(new):
        other.append("order")
    return LayoutDiff(**named, areas=_areas(before, after), other=tuple(other[: limits.LAYOUT_DIFF_MAX]), counts=counts)


_Place = tuple[Section, Row, Seat]


def _by_id(layout: Layout) -> dict[str, _Place]:
    return {
        seat.seat_id: (section, row, seat) for section in layout.sections for row in section.rows for seat in row.seats
    }


def _named(place: _Place) -> SeatName:
    section, row, seat = place
    return SeatName(seat.seat_id, section.name, row.label, seat.number)


def _attributes(seat: Seat) -> tuple[object, ...]:
    return seat.accessible, seat.companion, seat.restricted_view, seat.features


def _row_facts(row: Row) -> tuple[object, ...]:
    return row.sold_whole, row.table


def _areas(before: Layout, after: Layout) -> tuple[AreaChange, ...]:
    old, new = (
        {section.area_id: section.capacity for section in layout.sections if section.area_id is not None}
        for layout in (before, after)
    )
    ids = sorted(old.keys() | new.keys())
    return tuple(AreaChange(each, old.get(each), new.get(each)) for each in ids if old.get(each) != new.get(each))


def _changed_sections(before: Layout, after: Layout) -> list[str]:
    """An area is known by its id; a section of seats that has another name has other seats."""
    named = {section.name: section for section in before.sections}
    areas = {section.area_id: section for section in before.sections if section.area_id is not None}
    kept = {section.area_id for section in after.sections if section.area_id is not None}
    told = []
    for section in after.sections:
        known = areas.get(section.area_id or "") or named.get(section.name)
        # A new area may have the name of one that goes on under another.
        if known is None or (known.area_id != section.area_id and known.area_id in kept):
            continue
        if known.name != section.name:
            told.append(f"section {section.name} (was {known.name})")
        if any(getattr(known, name) != getattr(section, name) for name in _SECTION_OTHER):
            told.append(f"section {section.name}")
    return told
