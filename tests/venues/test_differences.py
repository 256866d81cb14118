"""What becomes of seats from one layout to another, as a table."""

from typing import Any

import msgspec
import pytest
from theatres import theatre

from lml_live import limits
from lml_live.venues.differences import AreaChange, compare_layouts
from lml_live.venues.layout import Layout, Shape, seal_layout

BEFORE = seal_layout(theatre())


def seat_changed(**fields: Any) -> Layout:
    """The first seat of the first row is another."""
    stalls, *others = BEFORE.sections
    [row] = stalls.rows
    seats = (msgspec.structs.replace(row.seats[0], **fields), *row.seats[1:])
    rows = (msgspec.structs.replace(row, seats=seats),)
    return seal_layout(theatre(sections=(msgspec.structs.replace(stalls, rows=rows), *others)))


def section_changed(at: int, **fields: Any) -> Layout:
    sections = list(BEFORE.sections)
    sections[at] = msgspec.structs.replace(sections[at], **fields)
    return seal_layout(theatre(sections=tuple(sections)))


[ROW], [ROUND, BENCH] = BEFORE.sections[0].rows, BEFORE.sections[1].rows
TURNED = section_changed(0, rows=(msgspec.structs.replace(ROW, seats=ROW.seats[::-1]),))
TABLE = section_changed(1, rows=(msgspec.structs.replace(ROUND, sold_whole=False), BENCH))


@pytest.mark.parametrize(
    ("after", "counts", "areas", "other"),
    [
        (seal_layout(theatre(), version=7), {}, (), ()),
        (seat_changed(x=0.26), {"moved": 1}, (), ()),
        (seat_changed(category="II"), {"recategorised": 1}, (), ()),
        (seat_changed(accessible=True), {"changed": 1}, (), ()),
        (seat_changed(features=("aisle",), y=0.4), {"changed": 1, "moved": 1}, (), ()),
        (seat_changed(number="9"), {"added": 1, "removed": 1}, (), ()),
        (TABLE, {"changed": 2}, (), ()),
        (TURNED, {}, (), ("order",)),
        (section_changed(0, name="Parterre"), {"added": 2, "removed": 2}, (), ()),
        (section_changed(0, within=("West",)), {}, (), ("section Stalls",)),
        (section_changed(2, name="Arena"), {}, (), (f"section Arena (was {BEFORE.sections[2].name})",)),
        (
            section_changed(2, name="Arena", category="II"),
            {},
            (),
            (f"section Arena (was {BEFORE.sections[2].name})", "section Arena"),
        ),
        (section_changed(2, capacity=60), {}, (AreaChange("pit", 50, 60),), ()),
        (section_changed(2, area_id="moat"), {}, (AreaChange("moat", None, 50), AreaChange("pit", 50, None)), ()),
        (seal_layout(theatre(name="Other", shapes=(Shape("bar", ((0, 0),)),))), {}, (), ("name", "shapes")),
    ],
)
def test_the_difference_of_two_layouts(
    after: Layout, counts: dict[str, int], areas: tuple[AreaChange, ...], other: tuple[str, ...]
) -> None:
    diff = compare_layouts(BEFORE, after)
    assert {kind: count for kind, count in diff.counts.items() if count} == counts
    assert (diff.areas, diff.other) == (areas, other)
    assert bool(diff) == bool(counts or areas or other)
    assert all(len(getattr(diff, kind)) == count for kind, count in diff.counts.items())


def test_a_new_area_is_not_compared_with_the_one_that_had_its_name() -> None:
    *others, pit = BEFORE.sections
    renamed = msgspec.structs.replace(pit, name="Arena")
    new = msgspec.structs.replace(pit, area_id="ring", category="II")
    diff = compare_layouts(BEFORE, seal_layout(theatre(sections=(*others, renamed, new))))
    assert diff.other == (f"section Arena (was {pit.name})",)
    assert diff.areas == (AreaChange("ring", None, pit.capacity),)


def test_lists_are_bounded_and_counts_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYOUT_DIFF_MAX", 1)
    diff = compare_layouts(BEFORE, section_changed(0, name="Parterre"))
    assert (len(diff.added), diff.counts["added"]) == (1, 2)
    [seat] = diff.added
    assert (seat.section, seat.row, seat.number) == ("Parterre", "A", "1")
