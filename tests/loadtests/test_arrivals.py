"""The arrivals and the choice of seats, as functions."""

import pytest

from loadtests.arrivals import RUSH_SECONDS, WAITING_SHARE, arrived
from loadtests.picking import FAVOURITES, pick_seats, seats_in_company


@pytest.mark.parametrize(
    ("seconds", "users", "run_seconds", "here"),
    [
        (-1, 1000, 60, 695),  # the crowd at the door
        (0, 1000, 60, 695),
        (RUSH_SECONDS, 1000, 60, 970),  # nine tenths of the others
        (2 * RUSH_SECONDS, 1000, 60, 997),
        (40, 1000, 60, 1000),  # the last third: everybody
        (60, 1000, 60, 1000),
        (1, 1, 5, 1),
        (0, 0, 60, 0),
    ],
)
def test_how_many_have_arrived(seconds: float, users: int, run_seconds: float, here: int) -> None:
    assert arrived(seconds, users, run_seconds) == here


@pytest.mark.parametrize("run_seconds", [2, 5, 60, 600])
@pytest.mark.parametrize("users", [1, 20, 5_000])
def test_most_come_in_the_first_seconds_and_nobody_goes(users: int, run_seconds: int) -> None:
    counts = [arrived(tenth / 10, users, run_seconds) for tenth in range(run_seconds * 10 + 1)]
    assert counts == sorted(counts)
    assert counts[-1] == users
    assert counts[0] == round(users * WAITING_SHARE)
    if users >= 1000 and run_seconds >= 60:
        a_second = [counts[second * 10 + 10] - counts[second * 10] for second in range(12)]
        assert a_second == sorted(a_second, reverse=True), "it decays"


@pytest.mark.parametrize(
    ("seats", "count", "luck", "picked"),
    [
        (b"\0" * 80, 2, 0.0, [0, 1]),
        (b"\1\0\1\0\0\0", 2, 0.0, [3, 4]),
        (b"\0\0" + b"\1" * 78, 2, 0.99, [0, 1]),  # nothing behind: the front will do
        (b"\0\1\2\3", 2, 0.5, []),
        (b"\2" * 10, 1, 0.3, []),
        (b"", 1, 0.3, []),
    ],
)
def test_neighbouring_seats_that_look_free(seats: bytes, count: int, luck: float, picked: list[int]) -> None:
    assert pick_seats(seats, count, luck) == picked


def test_everybody_wants_the_front() -> None:
    starts = [pick_seats(bytes(2_800), 2, luck / 100)[0] for luck in range(100)]
    assert len(set(starts)) <= FAVOURITES
    assert sum(start < 700 for start in starts) == 50


def test_nobody_goes_for_what_is_not_sold_alone() -> None:
    """A companion's seat and a table were asked for like any others, and refused as nonsense."""
    seat, companion = {"number": "1"}, {"number": "2", "companion": True}
    layout = {
        "sections": [
            {"rows": [{"seats": [seat, companion, seat, seat]}]},
            {"kind": "standing"},
            {"rows": [{"seats": [seat], "sold_whole": True}]},
            {"rows": [{"seats": [seat]}], "sold_whole": True},
        ]
    }
    passed_over = seats_in_company(layout)
    assert passed_over == {1, 4, 5}
    assert pick_seats(bytes(6), 2, 0.0, passed_over) == [2, 3]
    assert pick_seats(bytes(6), 3, 0.0, passed_over) == []
