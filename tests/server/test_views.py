"""The judge of what sockets were told: an honest one is clean, and each forged one breaks its rule."""

from typing import Any

import pytest
from views import Message, Truth, check

PIT = {"pit": {"available": 3, "held": 0, "sold": 0, "blocked": 0}}
FULL = {"pit": {"available": 0, "held": 3, "sold": 0, "blocked": 0}}


def diff(prev: int, seq: int, **changed: Any) -> Message:
    return {"type": "diff", "prev": prev, "seq": seq, **changed}


def whole(kind: str, epoch: str, seq: int, **more: Any) -> Message:
    return {"type": kind, "epoch": epoch, "seq": seq, "areas": PIT, **more}


WELCOME = whole("welcome", "1", 5)
HONEST: list[Message] = [
    WELCOME,
    {"type": "held", "id": 1, "epoch": "1", "seq": 6},
    diff(5, 6, held=[0]),
    diff(4, 7, held=[1], available=[0]),  # merged: more than was missing
    diff(9, 9),
    whole("resumed", "1", 9, sold=[1]),
    diff(9, 10, held=[2], areas=FULL),
]
TRUTH = Truth("1", 10, bytes((0, 2, 1, 0)), FULL)


def test_an_honest_socket_is_clean() -> None:
    assert check(HONEST) == []
    assert check(HONEST, TRUTH, bytes(4)) == []
    assert check([]) == []
    assert check([*HONEST, whole("welcome", "2", 0), diff(0, 1, held=[3])]) == []


FORGED: list[tuple[str, str, list[Message]]] = [
    ("a diff is left out", "I20", HONEST[:-1]),
    ("a seat is left out of a diff", "I20", [*HONEST[:-1], diff(9, 10, areas=FULL)]),
    ("an area is left out of a diff", "I20", [*HONEST[:-1], diff(9, 10, held=[2])]),
    ("a seat that did not change", "I20", [*HONEST[:-1], diff(9, 10, held=[2, 3], areas=FULL)]),
    ("the epoch before", "I20", [whole("welcome", "0", 5), *HONEST[1:-2], HONEST[-1]]),
    ("a gap, and on it goes", "I21", [*HONEST, diff(11, 12), diff(12, 13)]),
    ("a gap, and nothing more", "I21", [*HONEST, diff(11, 12)]),
    ("a diff before the welcome", "I21", [diff(4, 5), *HONEST]),
    ("resumed in another epoch", "I21", [*HONEST, whole("resumed", "2", 11)]),
    ("an older diff after a newer", "I22", [*HONEST, diff(8, 9, available=[2])]),
    ("an older welcome after a diff", "I22", [*HONEST, whole("welcome", "1", 9)]),
    ("an older resumed after a diff", "I22", [*HONEST, whole("resumed", "1", 9)]),
    ("an older epoch after a newer", "I22", [whole("welcome", "2", 1), *HONEST]),
]


@pytest.mark.parametrize(("rule", "heard"), [row[1:] for row in FORGED], ids=[row[0] for row in FORGED])
def test_a_forged_socket_turns_red(rule: str, heard: list[Message]) -> None:
    assert rule in {broken for broken, _ in check(heard, TRUTH, bytes(4))}


def test_a_gap_that_is_closed_is_no_silent_one() -> None:
    assert check([*HONEST, diff(11, 12), whole("resumed", "1", 12)]) == []
    assert check([*HONEST, diff(11, 12), whole("welcome", "1", 12)]) == []


def test_every_rule_has_a_forgery() -> None:
    assert {rule for _, rule, _ in FORGED} == {"I20", "I21", "I22"}
