"""Our own venues: counts, rules, and that no two seats stand on each other."""

from collections import Counter
from collections.abc import Callable

import pytest

from lml_live import limits
from lml_live.errors import InvalidInput
from lml_live.venues.checks import check_layout
from lml_live.venues.demo import arena, concert_hall, generate_venue
from lml_live.venues.layout import Layout, count_places, count_seats, seats_of


@pytest.mark.parametrize("draw", [concert_hall, arena, lambda: generate_venue(3_000)], ids=["hall", "arena", "bowl"])
def test_our_venues_keep_every_rule(draw: Callable[[], Layout]) -> None:
    report = check_layout(draw())
    assert (report.violations, report.warnings) == ((), ())


def test_the_hall_has_the_published_seats_per_level() -> None:
    levels = Counter(section.name.rsplit(" ", 1)[0] for section, _, _ in seats_of(concert_hall()))
    assert levels == {"Parquet": 1021, "First Tier": 264, "Second Tier": 238, "Dress Circle": 444, "Balcony": 837}
    hall = concert_hall()
    assert count_seats(hall) == 2804
    accessible = [seat for _, _, seat in seats_of(hall) if seat.accessible]
    assert len(accessible) == len([seat for _, _, seat in seats_of(hall) if seat.companion]) == 8


def test_the_arena_has_a_standing_floor() -> None:
    layout = arena()
    assert layout.type == "hybrid"
    assert 8_000 <= count_seats(layout) <= 12_000
    assert count_places(layout) - count_seats(layout) == 3_500


@pytest.mark.parametrize("seats", [1, 2, 7, 100, 999, 2_804, 20_000])
def test_a_bowl_has_exactly_as_many_seats_as_asked(seats: int) -> None:
    assert count_seats(generate_venue(seats)) == seats


@pytest.mark.parametrize("seats", [0, -1, limits.LAYOUT_SEATS_MAX + 1])
def test_other_sizes_are_refused(seats: int) -> None:
    with pytest.raises(InvalidInput):
        generate_venue(seats)


def test_drawing_is_repeatable() -> None:
    """The hash is the identity: the same code must draw the same bytes."""
    assert concert_hall().hash == concert_hall().hash
    assert generate_venue(500).hash == generate_venue(500).hash
