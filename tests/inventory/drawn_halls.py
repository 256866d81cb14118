"""Halls drawn in letters, for the tests of best seats and of the orphan rule.

A line is a row, nearest to the stage first, the stage above its middle. Neighbouring `T`s are a table that sells only
whole, a `t` is a taken seat of one. `.` is a free seat, `x` a held one, `h` one
blocked by the house, `W` a free wheelchair place, `w` a taken one, `C` a free companion seat, a blank an aisle. Seats
are numbered from the top left.
"""

import itertools
import math

from lml_live.inventory import seatmap
from lml_live.inventory.best import Wish, pick_seats
from lml_live.inventory.plan import Plan

_STATES = {"x": seatmap.BYTE_HELD, "w": seatmap.BYTE_HELD, "t": seatmap.BYTE_HELD, "h": seatmap.BYTE_HOUSE}


class Hall:
    """A drawn hall: its plan and its seats' bytes. `sections` names each row's, `categories` each seat's."""

    def __init__(self, *lines: str, sections: str = "", categories: str = "", depth: float = 1.8) -> None:
        width = max(map(len, lines))
        runs: list[list[int]] = []
        places: list[tuple[float, float]] = []
        rows: list[tuple[str, int, int]] = []
        drawn: list[str] = []
        for y, text in enumerate(lines):
            rows.append((sections[y] if sections else "S", len(drawn), len(text.replace(" ", ""))))
            for gap, marks in itertools.groupby(enumerate(text), lambda item: item[1] == " "):
                if gap:
                    continue
                run = list(marks)
                runs.append(list(range(len(drawn), len(drawn) + len(run))))
                places += [(x - (width - 1) / 2, 2.0 + depth * y) for x, _ in run]
                drawn += [mark for _, mark in run]
        self.places = places
        self.runs = runs
        self.distances = [round(math.dist(place, (0.0, 0.0)) * 1000) for place in places]
        self.seats = bytes(_STATES.get(mark, seatmap.BYTE_AVAILABLE) for mark in drawn)
        self.categories = list(categories) if categories else ["A"] * len(drawn)
        accessible = {seat for seat, mark in enumerate(drawn) if mark in "Ww"}
        companions = {seat for seat, mark in enumerate(drawn) if mark == "C"}
        tables = [
            [seat for seat, _ in table]
            for run in runs
            for is_table, marked in itertools.groupby(((seat, drawn[seat]) for seat in run), lambda at: at[1] in "Tt")
            if is_table
            for table in [list(marked)]
        ]
        self.plan = Plan(runs, self.distances, places, rows, self.categories, accessible, companions, tables)
        self.section_of = [section for section, _, count in rows for _ in range(count)]

    def pick(self, quantity: int, **wish: object) -> list[int] | None:
        known = {name: wish.pop(name) for name in ("taken", "own") if name in wish}
        found = pick_seats(self.plan, self.seats, Wish(quantity=quantity, **wish), **known)  # type: ignore[arg-type]
        return None if found is None else list(found)


ALONE: list[tuple[str, str, list[int], str, list[int]]] = [
    ("at the wall", "....", [1, 2], "strict", [0, 3]),
    ("between", "......", [0, 2], "strict", [1]),
    ("beside a taken one", "x....", [2, 3, 4], "strict", [1]),
    ("two left are company", ".....", [2, 3, 4], "strict", []),
    ("nothing left", "...", [0, 1, 2], "strict", []),
    ("at an aisle", ".. ...", [3, 4], "strict", [2]),
    ("across the aisle is nobody", ". ...", [1, 2, 3], "strict", []),
    ("beside a wheelchair place", "W..", [2], "strict", [1]),
    ("the wheelchair place itself", "W..", [1, 2], "strict", []),
    ("taking the wheelchair place", "W.", [0], "strict", []),
    ("lenient: the gap of three", "x...x", [1, 2], "lenient", []),
    ("lenient: the gap of three, but another of two", "x...x..", [1, 2], "lenient", [3]),
    ("lenient: the gap of three, but another of four", "x...x....", [1, 2], "lenient", [3]),
    ("lenient: another gap of three is no better", "x...x...", [1, 2], "lenient", []),
    ("lenient: the middle of four", "x....x", [2, 3], "lenient", [1, 4]),
    ("lenient: the single seat is there to be taken", "x.x..", [3], "lenient", [4]),
    ("lenient: a better place behind the aisle is too far", "x...x ....", [1, 2], "lenient", []),
]
"""What, the row, the seats wished for, the rule, and whom it would leave alone."""
