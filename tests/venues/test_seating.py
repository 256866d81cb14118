"""Who sits beside whom, as tables: by place and aisle, never by printed number."""

import math

import msgspec
import pytest

from lml_live.venues.demo import arena, concert_hall
from lml_live.venues.layout import Layout, Row, Seat, Section, Shape, Viewport, seal_layout
from lml_live.venues.seat_index import focal_point, index_layout
from lml_live.venues.seating import Place, seat_rows, standing_order


def line(*xs: float, y: float = 0.0) -> list[Place]:
    """Seats along a straight row."""
    return [(float(x), y) for x in xs]


def arc(count: int, degrees: float, radius: float = 20.0) -> list[Place]:
    step = math.radians(degrees) / (count - 1)
    return [(radius * math.cos(at * step), radius * math.sin(at * step)) for at in range(count)]


RUNS: list[tuple[str, list[list[Place]], list[list[int]]]] = [
    ("a plain row", [line(0, 1, 2, 3)], [[0, 1, 2, 3]]),
    ("an aisle of a metre", [line(0, 1, 2, 4.8, 5.8)], [[0, 1, 2], [3, 4]]),
    ("a seat that is missing", [line(0, 1, 3, 4)], [[0, 1], [2, 3]]),
    ("a wheelchair place as wide as one and a half", [line(0, 1, 2.3, 3.6)], [[0, 1, 2, 3]]),
    ("two and two across an aisle", [line(0, 1, 4, 5, 8, 9)], [[0, 1], [2, 3], [4, 5]]),
    ("one seat on each side of the aisle", [line(0, 1, 2, 3), line(0, 3, y=1)], [[0, 1, 2, 3], [4], [5]]),
    ("odd numbers left, even ones right", [line(-1, -2, -3, 1, 2, 3)], [[2, 1, 0], [3, 4, 5]]),
    ("numbers from the middle, without an aisle", [line(0, 1, -1, 2, -2)], [[3, 1, 0, 2, 4]]),
    ("downwards numbers", [line(5, 4, 3, 2)], [[0, 1, 2, 3]]),
    ("a row that stands in depth", [[(0.0, 0.0), (0.0, 1.0), (0.0, 2.0)]], [[0, 1, 2]]),
    ("a wide row among narrow ones", [line(0, 1, 2), line(0, 1.4, 2.8, y=1)], [[0, 1, 2], [3, 4, 5]]),
    ("three quarters of a ring", [arc(40, 270)], [list(range(40))]),
    ("one seat", [line(7)], [[0]]),
    ("two seats", [line(7, 9)], [[0, 1]]),
    ("no seats", [[]], []),
]


@pytest.mark.parametrize(("rows", "runs"), [row[1:] for row in RUNS], ids=[row[0] for row in RUNS])
def test_runs(rows: list[list[Place]], runs: list[list[int]]) -> None:
    assert [list(run) for run in seat_rows([rows], (0.0, -10.0), 100.0).runs] == runs


def test_a_row_out_of_order_is_walked_from_where_the_file_begins() -> None:
    assert standing_order(line(1, 3, 5, 6, 4, 2)) == [0, 5, 1, 4, 2, 3]
    assert standing_order(line(6, 4, 2, 1, 3, 5)) == [0, 5, 1, 4, 2, 3]


def test_distances_are_whole_and_of_the_diagonal() -> None:
    seating = seat_rows([[line(0, 30)]], (0.0, 40.0), 100.0)
    assert seating.distances == (400_000, 500_000)


def drawn(**changes: object) -> Layout:
    seats = (Seat(number="1", x=0.1, y=0.9, category="A"), Seat(number="2", x=0.2, y=0.9, category="A"))
    layout = Layout(
        layout_id="l",
        name="L",
        type="seated",
        viewport=Viewport(100, 50),
        sections=(Section(name="S", kind="seated", rows=(Row("A", seats),)),),
    )
    return msgspec.structs.replace(layout, **changes)


STAGE = Shape("Stage", ((0.2, 0.0), (0.6, 0.0), (0.4, 0.2)))


@pytest.mark.parametrize(
    ("changes", "point"),
    [
        ({}, (0.5, 0.0)),
        ({"shapes": (Shape("door", ((0.9, 0.9),)), STAGE)}, (0.4, 0.1)),
        ({"shapes": (STAGE,), "focal_point": (0.3, 0.7)}, (0.3, 0.7)),
    ],
)
def test_where_everybody_looks(changes: dict[str, object], point: tuple[float, float]) -> None:
    assert focal_point(drawn(**changes)) == pytest.approx(point)


@pytest.mark.parametrize("venue", [concert_hall, arena])
def test_our_own_venues_have_a_run_a_row(venue: object) -> None:
    index = index_layout(venue())  # type: ignore[operator]
    assert [list(run) for run in index.seating.runs] == [
        list(range(row.first, row.first + row.count)) for row in index.rows
    ]


def test_the_index_keeps_the_seating() -> None:
    index = index_layout(seal_layout(drawn()))
    assert index.seating.runs == ((0, 1),)
    assert index.seating.places == ((10.0, 45.0), (20.0, 45.0))
