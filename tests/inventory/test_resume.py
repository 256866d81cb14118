"""Resume: a complete replay or the whole state, and never a false 'recovered'."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lml_live.inventory.resume import Behind, History, Replay, Snapshot, read_resume

EPOCH = "e1"


def history(*, seq: int = 10, entries_max: int = 3, indexes_max: int = 100, seat_count: int = 400) -> History:
    """Entries 11, 12, 13 and 14, of which the latest three are remembered: who has seen 11 can be served."""
    remembered = History(EPOCH, seq, seat_count=seat_count, entries_max=entries_max, indexes_max=indexes_max)
    remembered.append(11, [1])
    remembered.append(12, [7, 5], ["pit"])
    remembered.append(13, [], ["lawn", "pit"])
    remembered.append(14, [5])
    return remembered


@pytest.mark.parametrize(
    ("epoch", "seq", "sent", "answer"),
    [
        (EPOCH, 14, None, Replay((), ())),
        (EPOCH, 13, None, Replay((5,), ())),
        (EPOCH, 12, None, Replay((5,), ("lawn", "pit"))),
        (EPOCH, 11, None, Replay((5, 7), ("lawn", "pit"))),
        (EPOCH, 10, None, Snapshot("too_old")),
        (EPOCH, 0, None, Snapshot("too_old")),
        (EPOCH, 15, None, Behind(15)),
        (EPOCH, 2**53 - 1, None, Behind(2**53 - 1)),
        ("e2", 14, None, Snapshot("epoch")),
        ("", 14, None, Snapshot("epoch")),
        ("e2", 99, None, Snapshot("epoch")),
        # The room has told its subscribers no more than `sent`: the answer is cut there.
        (EPOCH, 11, 12, Replay((5, 7), ("pit",))),
        (EPOCH, 12, 12, Replay((), ())),
        (EPOCH, 13, 12, Behind(13)),
        (EPOCH, 9, 9, Snapshot("too_old")),
    ],
)
def test_plan(epoch: str, seq: int, sent: int | None, answer: object) -> None:
    assert history().plan(epoch, seq, sent=sent) == answer


@pytest.mark.parametrize("seq", [15, 2**53 - 1])
def test_a_seq_that_the_log_does_not_know_gets_a_snapshot(seq: int) -> None:
    """Such a client saw a future that Redis has lost, or invents one."""
    assert history().plan(EPOCH, seq, caught_up=True) == Snapshot("future")


def test_the_floor_rises_as_entries_are_forgotten() -> None:
    remembered = History(EPOCH, 10, seat_count=4, entries_max=1)
    assert (remembered.floor, remembered.head) == (10, 10)
    remembered.append(11, [1])
    assert (remembered.floor, remembered.head) == (10, 11)
    remembered.append(12, [1])
    assert (remembered.floor, remembered.head) == (11, 12)


def test_many_indexes_push_old_entries_out() -> None:
    remembered = History(EPOCH, 0, seat_count=400, entries_max=100, indexes_max=5)
    remembered.append(1, [1, 2])
    remembered.append(2, [3, 4])
    remembered.append(3, [5, 6])
    assert remembered.floor == 1
    remembered.append(4, range(6))
    assert remembered.floor == 4, "an entry above the bound is not remembered either"
    assert remembered.plan(EPOCH, 3) == Snapshot("too_old")
    assert remembered.plan(EPOCH, 4) == Replay((), ())


@pytest.mark.parametrize("seq", [9, 10, 12])
def test_a_hole_in_the_history_is_refused(seq: int) -> None:
    with pytest.raises(ValueError, match="follow on"):
        History(EPOCH, 10, seat_count=4).append(seq, [1])


@pytest.mark.parametrize(
    ("seat_count", "changed", "answer"),
    [
        (1600, 100, Replay),
        (1600, 101, Snapshot),
        (8, 8, Replay),
        (200, 64, Replay),
        (200, 65, Snapshot),
    ],
)
def test_a_replay_of_too_much_of_the_house_is_a_snapshot(seat_count: int, changed: int, answer: type) -> None:
    remembered = History(EPOCH, 0, seat_count=seat_count)
    remembered.append(1, range(changed))
    assert isinstance(remembered.plan(EPOCH, 0), answer)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"epoch": "e1", "seq": 0}, ("e1", 0)),
        ({"epoch": "e1", "seq": 2**53 - 1, "more": 1}, ("e1", 2**53 - 1)),
        ({"epoch": "any: thing", "seq": 1}, ("any: thing", 1)),
        ({"epoch": "e1", "seq": -1}, None),
        ({"epoch": "e1", "seq": 2**53}, None),
        ({"epoch": "e1", "seq": 2**64}, None),
        ({"epoch": "e1", "seq": 1.0}, None),
        ({"epoch": "e1", "seq": 1e309}, None),
        ({"epoch": "e1", "seq": True}, None),
        ({"epoch": "e1", "seq": "1"}, None),
        ({"epoch": "e1", "seq": None}, None),
        ({"epoch": "e1"}, None),
        ({"seq": 1}, None),
        ({"epoch": 1, "seq": 1}, None),
        ({"epoch": None, "seq": 1}, None),
        ({}, None),
        (None, None),
        ([], None),
        (["e1", 1], None),
        ("e1", None),
        (1, None),
        (True, None),
    ],
)
def test_resume_is_read_leniently(value: Any, read: tuple[str, int] | None) -> None:
    assert read_resume(value) == read


ENTRIES = st.lists(st.dictionaries(st.integers(0, 299), st.integers(0, 3), max_size=30), max_size=30)


@given(
    entries=ENTRIES,
    entries_max=st.integers(1, 12),
    indexes_max=st.integers(1, 80),
    start=st.integers(0, 3),
    seen=st.integers(-2, 40),
    unsent=st.integers(0, 5),
    same_epoch=st.booleans(),
)
def test_who_resumes_ends_equal_to_the_truth(
    entries: list[dict[int, int]],
    entries_max: int,
    indexes_max: int,
    start: int,
    seen: int,
    unsent: int,
    same_epoch: bool,
) -> None:
    """Who saw the state at `seen` and applies the answer has the state at `sent`, or is told to begin anew."""
    remembered = History(EPOCH, start, seat_count=300, entries_max=entries_max, indexes_max=indexes_max)
    states = [bytes(300)]
    for seq, entry in enumerate(entries, start + 1):
        remembered.append(seq, entry)
        after = bytearray(states[-1])
        for seat, state in entry.items():
            after[seat] = state
        states.append(bytes(after))
    head = start + len(entries)
    sent = max(start, head - unsent)

    answer = remembered.plan(EPOCH if same_epoch else "e0", seen, sent=sent, caught_up=True)

    match answer:
        case Replay(seats):
            assert same_epoch
            assert start <= seen <= sent
            mine = bytearray(states[seen - start])
            for seat in seats:
                mine[seat] = states[sent - start][seat]
            assert mine == states[sent - start]
        case Snapshot("epoch"):
            assert not same_epoch
        case Snapshot("future"):
            assert seen > sent
        case Snapshot("too_old"):
            assert seen < remembered.floor
            assert len(entries) > entries_max or sum(map(len, entries)) > indexes_max or seen < start
        case Snapshot("too_many"):
            changed = {seat for entry in entries[max(seen - start, 0) : sent - start] for seat in entry}
            assert len(changed) > 75
        case _:
            pytest.fail(f"no such answer: {answer}")
