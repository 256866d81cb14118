"""Merging changes: the last state of a seat wins, and nothing that a client must hear is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lml_live.inventory.diffs import AreaCounts, Change, Missed, PendingDiff, split_by_state

STATES = st.dictionaries(st.integers(0, 20), st.integers(0, 3), max_size=8)
AREAS = st.dictionaries(st.sampled_from(["pit", "lawn"]), st.tuples(*[st.integers(0, 9)] * 4), max_size=2)


def merge(changes: list[Change]) -> Change:
    """Changes that follow one another as one, as a slow client gets them."""
    pending = PendingDiff(changes[0].prev)
    for change in changes:
        pending.add(change)
    return pending.take()


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    seq = draw(st.integers(0, 5))
    changes = []
    for step, seats, areas in draw(st.lists(st.tuples(st.integers(0, 3), STATES, AREAS), min_size=1, max_size=8)):
        changes.append(Change(seq, seq + step, seats if step else {}, areas if step else {}))
        seq += step
    return changes


@pytest.mark.parametrize(
    ("changes", "split"),
    [
        ({}, ((), (), (), ())),
        ({5: 0}, ((5,), (), (), ())),
        ({9: 1, 2: 1, 4: 2}, ((), (2, 9), (4,), ())),
        ({3: 3, 2: 2, 1: 1, 0: 0}, ((0,), (1,), (2,), (3,))),
    ],
)
def test_seats_are_split_by_state_and_rise(changes: dict[int, int], split: tuple[tuple[int, ...], ...]) -> None:
    assert split_by_state(changes) == split


def test_a_state_that_is_none_is_a_defect() -> None:
    with pytest.raises(IndexError):
        split_by_state({1: 4})


PIT_FULL: AreaCounts = (0, 10, 0, 0)
PIT_HALF: AreaCounts = (5, 5, 0, 0)


@pytest.mark.parametrize(
    ("changes", "merged"),
    [
        ([Change(4, 4, {}, {})], Change(4, 4, {}, {})),
        ([Change(4, 5, {1: 1}, {})], Change(4, 5, {1: 1}, {})),
        ([Change(4, 5, {1: 1}, {}), Change(5, 6, {1: 0}, {})], Change(4, 6, {1: 0}, {})),
        ([Change(4, 5, {1: 1}, {}), Change(5, 5, {}, {}), Change(5, 9, {2: 2}, {})], Change(4, 9, {1: 1, 2: 2}, {})),
        (
            [Change(0, 1, {}, {"pit": PIT_FULL, "lawn": PIT_HALF}), Change(1, 2, {}, {"pit": PIT_HALF})],
            Change(0, 2, {}, {"pit": PIT_HALF, "lawn": PIT_HALF}),
        ),
    ],
)
def test_the_last_state_wins(changes: list[Change], merged: Change) -> None:
    assert merge(changes) == merged


@pytest.mark.parametrize(
    "changes",
    [
        [Change(4, 5, {}, {}), Change(6, 7, {}, {})],
        [Change(4, 5, {}, {}), Change(4, 5, {}, {})],
        [Change(4, 3, {}, {})],
    ],
    ids=["hole", "twice", "backwards"],
)
def test_changes_that_do_not_follow_one_another_are_refused(changes: list[Change]) -> None:
    with pytest.raises(ValueError, match="follow on"):
        merge(changes)


@given(histories())
def test_merged_or_one_by_one_ends_in_the_same_state(changes: list[Change]) -> None:
    one_by_one: dict[int, int] = {}
    counts: dict[str, AreaCounts] = {}
    for change in changes:
        one_by_one.update(change.seats)
        counts.update(change.areas)
    merged = merge(changes)
    assert (merged.prev, merged.seq) == (changes[0].prev, changes[-1].seq)
    assert (merged.seats, merged.areas) == (one_by_one, counts)


@given(histories(), st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_slow_client_is_told_everything_whenever_it_reads(changes: list[Change], reads: list[bool]) -> None:
    pending = PendingDiff(changes[0].prev)
    told: list[Change] = []
    for change, read in zip(changes, reads, strict=False):
        pending.add(change)
        assert bool(pending) == (pending.seq > pending.prev)
        if read and pending:
            told.append(pending.take())
            assert not pending
            assert pending.seat_count == 0
    told.append(pending.take())
    assert merge(told) == merge(changes)


def test_what_was_taken_stays_as_it_was() -> None:
    pending = PendingDiff(0)
    pending.add(Change(0, 1, {1: 1}, {}))
    taken = pending.take()
    pending.add(Change(1, 2, {1: 2}, {}))
    assert taken == Change(0, 1, {1: 1}, {})
    assert pending.seat_count == 1


@given(histories(), st.data())
def test_who_fell_behind_anywhere_is_told_what_was_after_it_and_nothing_wrong(
    changes: list[Change], data: st.DataObject
) -> None:
    missed = Missed()
    for change in changes:
        missed.add(change)
    began = data.draw(st.sampled_from([change.prev for change in changes]))
    told = missed.since(began)
    after = [change for change in changes if change.seq > began]
    lacking = merge(after) if after else Change(began, began, {}, {})
    assert (told.prev, told.seq) == (began, changes[-1].seq)
    assert (told.seats, told.areas) == (lacking.seats, lacking.areas)


def test_what_clients_missed_is_kept_once_however_often_it_changed() -> None:
    missed = Missed()
    for seq in range(1, 1_000):
        missed.add(Change(seq - 1, seq, {seq % 7: seq % 4}, {}))
    assert len(missed.since(0).seats) == 7
    assert missed.since(998) == Change(998, 999, {999 % 7: 999 % 4}, {})
