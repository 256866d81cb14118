"""Every verb of the book and each of its answers, on real Valkey and PostgreSQL. The auditor looks after each test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held, refused
from msgspec.structs import replace

from lml_live import limits
from lml_live.errors import NotFound, Unavailable
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.book import Book
from lml_live.inventory.holds import Holds

FREE, HELD, SOLD, HOUSE, KILL = 0, 1, 2, 3, 4
PIT = {"pit": 10, "stage": 3}


@pytest.fixture
async def event(house: House) -> AsyncIterator[str]:
    """An open event of 24 seats and two areas; at most 8 places a holder, 300 s a hold, 2 extensions, 900 s at most."""
    event = await house.open_event(areas=PIT)
    yield event
    await house.audit(event)


@pytest.fixture
def holds(house: House) -> Holds:
    return house.holds


async def assert_nothing_changed(house: House, event: str, act: Callable[[], Any], code: str) -> Refusal:
    """A refused act leaves every byte of the event as it was."""
    before = await house.inventory(event), await house.book_fields(event), await house.deadlines(event)
    refusal = refused(await act(), code)
    assert before == (await house.inventory(event), await house.book_fields(event), await house.deadlines(event))
    return refusal


# --- hold


async def test_a_hold_takes_seats_and_places_and_the_log_says_so(house: House, holds: Holds, event: str) -> None:
    answer = held(
        await holds.hold_seats(
            event, "anna", adults(7, 4, 5), [("pit", "adult", 2), ("pit", "child", 1)], key=None, origin="socket-1"
        )
    )
    record = answer.record
    assert record is not None
    assert record.seat_types() == [(4, "adult"), (5, "adult"), (7, "adult")]
    assert record.area_types() == [("pit", "adult", 2), ("pit", "child", 1)]
    assert (record.holder, record.state, record.reason, record.booking) == ("anna", "active", "own", "")
    assert (record.created_ms, record.extensions, record.digests) == (answer.now_ms, 0, ())
    assert record.deadline_ms == answer.now_ms + 300_000
    assert record.lifetime_ms == answer.now_ms + 900_000
    sale = await house.sale(event)
    assert (answer.epoch, answer.seq, record.seq) == (sale.epoch, 1, 1)
    assert answer.hold.startswith(f"{sale.number}-")
    assert await house.area(event, "pit") == (7, 3, 0, 0)
    seq, entry = await house.last_entry(event)
    assert (seq, entry.act, entry.origin) == (1, "hold", "socket-1")
    assert entry.seat_bytes() == {4: HELD, 5: HELD, 7: HELD}
    assert entry.seats == (4, 2, HELD, 7, 1, HELD)
    assert entry.area_counts() == {"pit": (7, 3, 0, 0)}
    assert [change.hold for change in entry.holds] == [answer.hold]


async def test_a_hold_is_all_or_nothing_and_names_what_is_in_the_way(house: House, holds: Holds, event: str) -> None:
    held(await holds.hold_seats(event, "anna", adults(3, 9), [], key=None))

    async def act() -> Any:
        return await holds.hold_seats(event, "ben", adults(2, 3, 4, 9), [("pit", "adult", 1)], key="k")

    refusal = await assert_nothing_changed(house, event, act, "seat_taken")
    assert refusal.seats == (3, 9)


async def test_who_holds_a_seat_cannot_take_it_again(house: House, holds: Holds, event: str) -> None:
    held(await holds.hold_seats(event, "anna", adults(3), [], key=None))
    assert refused(await holds.hold_seats(event, "anna", adults(3, 4), [], key=None), "seat_taken").seats == (3,)


async def test_a_seat_beyond_the_layout_is_never_granted(house: House, holds: Holds, event: str) -> None:
    assert refused(await holds.hold_seats(event, "anna", adults(23, 24), [], key=None), "seat_taken").seats == (24,)


async def test_an_area_is_full_to_the_last_place(house: House, holds: Holds, event: str) -> None:
    held(await holds.hold_seats(event, "anna", [], [("stage", "adult", 2)], key=None))

    async def act() -> Any:
        return await holds.hold_seats(event, "ben", adults(1), [("pit", "adult", 1), ("stage", "child", 2)], key=None)

    assert (await assert_nothing_changed(house, event, act, "area_full")).areas == {"stage": 1}
    held(await holds.hold_seats(event, "ben", [], [("stage", "adult", 1)], key=None))
    assert await house.area(event, "stage") == (0, 3, 0, 0)


async def test_types_of_one_area_are_counted_together(house: House, holds: Holds, event: str) -> None:
    async def act() -> Any:
        return await holds.hold_seats(event, "ben", [], [("stage", "adult", 2), ("stage", "child", 2)], key=None)

    assert (await assert_nothing_changed(house, event, act, "area_full")).areas == {"stage": 3}


async def test_an_unknown_area_is_refused(house: House, holds: Holds, event: str) -> None:
    async def act() -> Any:
        return await holds.hold_seats(event, "ben", adults(1), [("nowhere", "adult", 1)], key=None)

    await assert_nothing_changed(house, event, act, "unknown_area")


async def test_the_limit_counts_all_of_a_holders_holds(house: House, holds: Holds, event: str) -> None:
    held(await holds.hold_seats(event, "anna", adults(0, 1, 2), [("pit", "adult", 2)], key=None))

    async def act() -> Any:
        return await holds.hold_seats(event, "anna", adults(10, 11), [("pit", "adult", 2)], key=None)

    await assert_nothing_changed(house, event, act, "limit_exceeded")
    held(await holds.hold_seats(event, "anna", adults(10, 11, 12), [], key=None))
    held(await holds.hold_seats(event, "ben", adults(*range(16, 24)), [], key=None))


async def test_the_limit_at_one(house: House, holds: Holds) -> None:
    event = await house.open_event(max_seats=1)
    refused(await holds.hold_seats(event, "anna", adults(0, 1), [], key=None), "limit_exceeded")
    first = held(await holds.hold_seats(event, "anna", adults(0), [], key=None))
    refused(await holds.hold_seats(event, "anna", adults(1), [], key=None), "limit_exceeded")
    held(await holds.release_hold(event, "anna", first.hold))
    held(await holds.hold_seats(event, "anna", adults(1), [], key=None))
    await house.audit(event)


async def test_the_number_of_holds_is_bounded(
    house: House, holds: Holds, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At two: who has none yet has no tally that could be counted."""
    monkeypatch.setattr(limits, "HOLDS_PER_HOLDER_MAX", 2)
    for seat in (0, 1):
        held(await holds.hold_seats(event, "anna", adults(seat), [], key=None))

    async def act() -> Any:
        return await holds.hold_seats(event, "anna", adults(2), [], key=None)

    await assert_nothing_changed(house, event, act, "limit_exceeded")


async def test_before_the_sale_opens_nothing_is_held(house: House, holds: Holds) -> None:
    event = await house.open_event(opens_in_ms=60_000)
    refused(await holds.hold_seats(event, "anna", adults(0), [], key=None), "sale_not_open")
    house.pass_ms(59_000)
    refused(await holds.hold_seats(event, "anna", adults(0), [], key=None), "sale_not_open")
    house.pass_ms(1_001)
    held(await holds.hold_seats(event, "anna", adults(0), [], key=None))
    await house.audit(event)


@pytest.mark.parametrize(
    ("state", "code"), [("draft", "sale_not_open"), ("paused", "sale_paused"), ("closed", "sale_closed")]
)
async def test_a_sale_that_is_not_open_grants_nothing(house: House, holds: Holds, state: str, code: str) -> None:
    event = await house.open_event(state="open", areas=PIT)
    hold = held(await holds.hold_seats(event, "anna", adults(0), [], key=None)).hold
    await house.change_event(event, state=state)
    await house.book.restamp(event)
    for act in (
        lambda: holds.hold_seats(event, "ben", adults(1), [], key=None),
        lambda: holds.add_to_hold(event, "anna", hold, adults(1), [], key=None),
        lambda: holds.replace_hold(event, "anna", hold, adults(1), [], key=None),
        lambda: holds.extend_hold(event, "anna", hold),
    ):
        await assert_nothing_changed(house, event, act, code)
    held(await holds.read_hold(event, "anna", hold))
    held(await holds.release_hold(event, "anna", hold))
    await house.audit(event)


@pytest.mark.parametrize("state", ["draft", "paused"])
async def test_a_worker_that_has_not_heard_of_the_opening_grants_holds(
    house: House, valkey_url: str, state: str
) -> None:
    """Refused by cached facts alone, the first holds after `open` was answered met a sale that had not begun."""
    event = await house.open_event(state=state)
    other = await house.hire(valkey_url)
    assert (await other.book.sale(event)).state == state
    await house.change_event(event, state="open")
    await house.book.restamp(event)
    held(await other.holds.hold_seats(event, "anna", adults(0), [], key=None))
    await house.audit(event)


@pytest.mark.parametrize(("state", "code"), [("paused", "sale_paused"), ("closed", "sale_closed")])
async def test_a_worker_that_has_not_heard_of_the_pause_grants_nothing(
    house: House, valkey_url: str, state: str, code: str
) -> None:
    """The state was compared with the cached facts only: a worker that had missed the pause read the facts again,
    as the stamp made it, and then granted the hold in a paused sale."""
    event = await house.open_event()
    other = await house.hire(valkey_url)
    hold = held(await other.holds.hold_seats(event, "anna", adults(0), [], key=None)).hold
    await house.change_event(event, state=state)
    await house.book.restamp(event)
    for act in (
        lambda: other.holds.hold_seats(event, "ben", adults(1), [], key=None),
        lambda: other.holds.add_to_hold(event, "anna", hold, adults(1), [], key=None),
        lambda: other.holds.replace_hold(event, "anna", hold, adults(1), [], key=None),
        lambda: other.holds.extend_hold(event, "anna", hold),
        lambda: other.holds.checkout_hold(event, "anna", hold, "booking-1"),
    ):
        other.book._sales[event] = _as_it_was(event, other.book)
        await assert_nothing_changed(house, event, act, code)
    await house.audit(event)


def _as_it_was(event: str, book: Book) -> Any:
    """The facts as a worker has them that heard of no change: open, an older revision."""
    sale = book.known(event)
    assert sale is not None
    return replace(sale, state="open", revision=1)


async def test_a_seat_of_another_event_is_another_seat(house: House, holds: Holds, event: str) -> None:
    other = await house.open_event()
    held(await holds.hold_seats(event, "anna", adults(0), [], key="k"))
    hold = held(await holds.hold_seats(other, "anna", adults(0), [], key="k")).hold
    refused(await holds.read_hold(event, "anna", hold), "hold_not_found")
    assert await house.book.event_of_hold(hold) == other
    await house.audit(other)


@pytest.mark.parametrize("hold", ["", "x", "-", "1-", "-abc", "999999999-abc", "9999999999-abc", "1.5-abc"])
async def test_an_id_that_no_hold_can_have_is_not_found(house: House, hold: str) -> None:
    with pytest.raises(NotFound):
        await house.book.event_of_hold(hold)


async def test_an_event_that_is_not_there_is_not_found(house: House, holds: Holds) -> None:
    with pytest.raises(NotFound):
        await holds.hold_seats("nowhere", "anna", adults(0), [], key=None)


# --- keys


async def test_a_retry_with_its_key_finds_its_own_hold(house: House, holds: Holds, event: str) -> None:
    first = held(await holds.hold_seats(event, "anna", adults(0, 1), [("pit", "adult", 1)], key="k"))

    async def retry() -> Changed:
        return held(await holds.hold_seats(event, "anna", adults(1, 0), [("pit", "adult", 1)], key="k"))

    again = await retry()
    assert (again.hold, again.record, again.seq) == (first.hold, first.record, first.seq)
    held(await holds.release_hold(event, "anna", first.hold, seats=[1]))
    now = await retry()
    assert now.record is not None
    assert now.record.seat_types() == [(0, "adult")]
    assert len(await house.records(event)) == 1


async def test_a_key_belongs_to_one_holder(house: House, holds: Holds, event: str) -> None:
    first = held(await holds.hold_seats(event, "anna", adults(0), [], key="k"))
    second = held(await holds.hold_seats(event, "ben", adults(1), [], key="k"))
    assert first.hold != second.hold


@pytest.mark.parametrize("act", ["hold", "other areas", "other type", "into", "replace", "extend"])
async def test_a_key_serves_one_request_only(house: House, holds: Holds, event: str, act: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(0), [], key="k")).hold
    acts = {
        "hold": lambda: holds.hold_seats(event, "anna", adults(1), [], key="k"),
        "other areas": lambda: holds.hold_seats(event, "anna", adults(0), [("pit", "adult", 1)], key="k"),
        "other type": lambda: holds.hold_seats(event, "anna", [(0, "child")], [], key="k"),
        "into": lambda: holds.add_to_hold(event, "anna", hold, adults(0), [], key="k"),
        "replace": lambda: holds.replace_hold(event, "anna", hold, adults(0), [], key="k"),
        "extend": lambda: holds.extend_hold(event, "anna", hold, key="k"),
    }
    await assert_nothing_changed(house, event, acts[act], "idempotency_mismatch")


@pytest.mark.parametrize("verb", ["hold", "into", "replace", "extend"])
@pytest.mark.parametrize("end", ["expired", "released", "closed", "freed"])
async def test_a_key_whose_hold_is_gone_never_gives_seats_again(
    house: House, holds: Holds, event: str, verb: str, end: str
) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(0, 1), [], key="first")).hold
    acts: dict[str, Any] = {
        "hold": lambda: holds.hold_seats(event, "anna", adults(0, 1), [], key="first"),
        "into": lambda: holds.add_to_hold(event, "anna", hold, adults(2), [], key="k"),
        "replace": lambda: holds.replace_hold(event, "anna", hold, adults(4, 5), [("pit", "adult", 2)], key="k"),
        "extend": lambda: holds.extend_hold(event, "anna", hold, key="k"),
    }
    house.pass_ms(1_000)
    done = held(await acts[verb]())
    again = held(await acts[verb]())
    assert (again.hold, again.seq, again.record) == (hold, done.seq, done.record), "a retry changed something"
    match end:
        case "expired":
            house.pass_ms(400_000)
            assert (await house.sweep(event))[2] == 1
        case "released":
            held(await holds.release_hold(event, "anna", hold))
        case "closed":
            assert await house.close_some(event) == (1, 1)
        case "freed":
            held(await holds.checkout_hold(event, "anna", hold, "b1"))
            held(await holds.free_booking(event, hold, "b1", "expired"))
    code = "hold_expired" if end in ("expired", "freed") else "hold_not_found"
    await assert_nothing_changed(house, event, acts[verb], code)
    house.pass_ms(900_000 + limits.TOMBSTONE_MS)
    await house.sweep(event)
    if verb == "hold":
        held(await acts[verb]())  # the tombstone's time is over: the key is new again
    else:
        refused(await acts[verb](), "hold_not_found")


async def test_a_key_still_answers_while_the_hold_is_paid_for_and_sold(house: House, holds: Holds, event: str) -> None:
    async def act() -> Changed:
        return held(await holds.hold_seats(event, "anna", adults(0), [], key="k"))

    hold = (await act()).hold
    held(await holds.checkout_hold(event, "anna", hold, "b1"))
    record = (await act()).record
    assert record is not None
    assert (record.state, record.booking) == ("checkout", "b1")
    held(await holds.sell_hold(event, hold, "b1"))
    record = (await act()).record
    assert record is not None
    assert record.state == "sold"


async def test_the_keys_of_a_hold_are_bounded(
    house: House, holds: Holds, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KEYS_PER_HOLD_MAX", 1)
    hold = held(await holds.hold_seats(event, "anna", adults(0), [], key="k0")).hold
    house.pass_ms(1_000)
    for act in (
        lambda: holds.add_to_hold(event, "anna", hold, adults(1), [], key="k1"),
        lambda: holds.replace_hold(event, "anna", hold, adults(1), [], key="k2"),
        lambda: holds.extend_hold(event, "anna", hold, key="k3"),
    ):
        await assert_nothing_changed(house, event, act, "limit_exceeded")
    held(await holds.add_to_hold(event, "anna", hold, adults(1), [], key=None))
    held(await holds.hold_seats(event, "anna", adults(0), [], key="k0"))


# --- into


async def test_into_adds_to_a_hold_and_keeps_its_time(house: House, holds: Holds, event: str) -> None:
    first = held(await holds.hold_seats(event, "anna", adults(4, 6), [("pit", "adult", 1)], key=None))
    house.pass_ms(1_000)
    answer = held(
        await holds.add_to_hold(
            event,
            "anna",
            first.hold,
            [(5, "child"), (2, "adult")],
            [("pit", "adult", 1), ("pit", "child", 1), ("stage", "adult", 1)],
            key=None,
            origin="o",
        )
    )
    assert first.record is not None
    assert answer.record is not None
    assert answer.hold == first.hold
    assert answer.record.seat_types() == [(2, "adult"), (4, "adult"), (5, "child"), (6, "adult")]
    assert answer.record.area_types() == [("pit", "adult", 2), ("pit", "child", 1), ("stage", "adult", 1)]
    assert (answer.record.deadline_ms, answer.record.lifetime_ms) == (
        first.record.deadline_ms,
        first.record.lifetime_ms,
    )
    _, entry = await house.last_entry(event)
    assert (entry.act, entry.origin) == ("add", "o")
    assert entry.seat_bytes() == {2: HELD, 5: HELD}
    assert entry.area_counts() == {"pit": (7, 3, 0, 0), "stage": (2, 1, 0, 0)}


async def test_into_is_refused_whole(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4), [], key=None)).hold
    held(await holds.hold_seats(event, "ben", adults(8), [], key=None))
    cases: list[tuple[Any, str]] = [
        (lambda: holds.add_to_hold(event, "anna", hold, adults(7, 8), [], key=None), "seat_taken"),
        (lambda: holds.add_to_hold(event, "anna", hold, adults(4), [], key=None), "seat_taken"),
        (lambda: holds.add_to_hold(event, "anna", hold, adults(1), [("stage", "a", 4)], key=None), "area_full"),
        (lambda: holds.add_to_hold(event, "anna", hold, [], [("nowhere", "a", 1)], key=None), "unknown_area"),
        (lambda: holds.add_to_hold(event, "anna", hold, adults(*range(10, 18)), [], key=None), "limit_exceeded"),
        (lambda: holds.add_to_hold(event, "ben", hold, adults(1), [], key=None), "hold_not_found"),
        (lambda: holds.add_to_hold(event, "anna", "1-none", adults(1), [], key=None), "hold_not_found"),
    ]
    for act, code in cases:
        await assert_nothing_changed(house, event, act, code)


# --- replace


async def test_replace_swaps_in_one_step_and_keeps_id_and_time(house: House, holds: Holds, event: str) -> None:
    first = held(await holds.hold_seats(event, "anna", adults(4, 5, 6), [("pit", "adult", 8 - 3)], key=None))
    house.pass_ms(10_000)
    extended = held(await holds.extend_hold(event, "anna", first.hold)).record
    house.pass_ms(1_000)
    answer = held(
        await holds.replace_hold(
            event, "anna", first.hold, [(6, "child"), (7, "adult")], [("pit", "adult", 4), ("stage", "a", 2)], key=None
        )
    )
    assert extended is not None
    assert answer.record is not None
    assert answer.hold == first.hold
    assert answer.record.seat_types() == [(6, "child"), (7, "adult")]
    assert answer.record.area_types() == [("pit", "adult", 4), ("stage", "a", 2)]
    for kept in ("deadline_ms", "lifetime_ms", "extensions", "created_ms"):
        assert getattr(answer.record, kept) == getattr(extended, kept)
    _, entry = await house.last_entry(event)
    assert entry.act == "replace"
    assert entry.seat_bytes() == {4: FREE, 5: FREE, 7: HELD}
    assert entry.area_counts() == {"pit": (6, 4, 0, 0), "stage": (1, 2, 0, 0)}


async def test_replace_counts_its_own_places_as_free(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(0), [("stage", "a", 3)], key=None)).hold
    held(await holds.replace_hold(event, "anna", hold, adults(0, 1), [("stage", "b", 3)], key=None))
    assert await house.area(event, "stage") == (0, 3, 0, 0)


async def test_replace_at_the_limit_judges_what_it_will_be(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(*range(8)), [], key=None)).hold
    held(await holds.replace_hold(event, "anna", hold, adults(*range(8, 16)), [], key=None))

    async def act() -> Any:
        return await holds.replace_hold(event, "anna", hold, adults(*range(8, 17)), [], key=None)

    await assert_nothing_changed(house, event, act, "limit_exceeded")


async def test_replace_refused_changes_nothing(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4), [("stage", "a", 2)], key=None)).hold
    held(await holds.hold_seats(event, "ben", adults(8), [("stage", "a", 1)], key=None))
    other = held(await holds.hold_seats(event, "anna", adults(12), [], key=None)).hold
    cases: list[tuple[Any, str]] = [
        (lambda: holds.replace_hold(event, "anna", hold, adults(7, 8), [], key="x"), "seat_taken"),
        (lambda: holds.replace_hold(event, "anna", hold, adults(4, 12), [], key="x"), "seat_taken"),
        (lambda: holds.replace_hold(event, "anna", hold, [], [("stage", "a", 3)], key="x"), "area_full"),
        (lambda: holds.replace_hold(event, "anna", other, [], [("stage", "a", 1)], key="x"), "area_full"),
        (lambda: holds.replace_hold(event, "anna", hold, [], [("nowhere", "a", 1)], key="x"), "unknown_area"),
        (lambda: holds.replace_hold(event, "ben", hold, adults(1), [], key="x"), "hold_not_found"),
    ]
    for act, code in cases:
        await assert_nothing_changed(house, event, act, code)


async def test_replace_of_what_was_read_and_has_changed_since(house: House, holds: Holds, event: str) -> None:
    first = held(await holds.hold_seats(event, "anna", adults(4), [], key=None))
    held(await holds.add_to_hold(event, "anna", first.hold, adults(5), [], key=None))

    async def act(seq: int) -> Any:
        return await holds.replace_hold(event, "anna", first.hold, adults(6), [], key=None, expected_seq=seq)

    await assert_nothing_changed(house, event, lambda: act(first.seq), "conflict")
    held(await act(first.seq + 1))


# --- release


async def test_release_whole_frees_everything(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4, 5), [("pit", "a", 1), ("pit", "b", 2)], key=None)).hold
    answer = held(await holds.release_hold(event, "anna", hold, origin="o"))
    assert (answer.hold, answer.record) == (hold, None)
    seq, entry = await house.last_entry(event)
    assert (seq, entry.act, entry.origin) == (answer.seq, "release", "o")
    assert entry.seat_bytes() == {4: FREE, 5: FREE}
    assert entry.area_counts() == {"pit": (10, 0, 0, 0)}
    assert entry.holds[0].record.state == "gone"
    assert entry.holds[0].record.reason == "own"
    refused(await holds.release_hold(event, "anna", hold), "hold_not_found")
    refused(await holds.read_hold(event, "anna", hold), "hold_not_found")


@pytest.mark.parametrize(
    ("seats", "areas", "left_seats", "left_areas"),
    [
        ([4], [], [(5, "adult")], [("pit", "a", 1), ("pit", "b", 2), ("stage", "a", 2)]),
        ([5, 4], [], [], [("pit", "a", 1), ("pit", "b", 2), ("stage", "a", 2)]),
        ([], [("pit", "b", 1)], [(4, "adult"), (5, "adult")], [("pit", "a", 1), ("pit", "b", 1), ("stage", "a", 2)]),
        ([], [("pit", "b", 2)], [(4, "adult"), (5, "adult")], [("pit", "a", 1), ("stage", "a", 2)]),
        ([], [("stage", "", 1)], [(4, "adult"), (5, "adult")], [("pit", "a", 1), ("pit", "b", 2), ("stage", "a", 1)]),
        ([5], [("stage", "a", 2), ("pit", "a", 1)], [(4, "adult")], [("pit", "b", 2)]),
    ],
)
async def test_release_in_part(
    house: House,
    holds: Holds,
    event: str,
    seats: list[int],
    areas: list[tuple[str, str, int]],
    left_seats: list[tuple[int, str]],
    left_areas: list[tuple[str, str, int]],
) -> None:
    first = held(
        await holds.hold_seats(
            event, "anna", adults(4, 5), [("pit", "a", 1), ("pit", "b", 2), ("stage", "a", 2)], key=None
        )
    )
    answer = held(await holds.release_hold(event, "anna", first.hold, seats, areas))
    assert answer.record is not None
    assert first.record is not None
    assert answer.record.seat_types() == left_seats
    assert answer.record.area_types() == left_areas
    assert answer.record.deadline_ms == first.record.deadline_ms
    _, entry = await house.last_entry(event)
    assert entry.seat_bytes() == dict.fromkeys(seats, FREE)
    assert entry.area_counts().keys() == {area for area, _, _ in areas}


async def test_releasing_all_by_name_ends_the_hold(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4, 5), [("stage", "a", 2)], key=None)).hold
    assert held(await holds.release_hold(event, "anna", hold, [4, 5], [("stage", "", 2)])).record is None


@pytest.mark.parametrize(
    ("seats", "areas", "code", "named"),
    [
        ([4, 6], [], "unknown_seat", (6,)),
        ([], [("stage", "a", 3)], "invalid_message", ()),
        ([], [("pit", "", 1)], "invalid_message", ()),
        ([], [("pit", "c", 1)], "invalid_message", ()),
        ([4], [("nowhere", "a", 1)], "invalid_message", ()),
    ],
)
async def test_releasing_what_is_not_in_the_hold(
    house: House,
    holds: Holds,
    event: str,
    seats: list[int],
    areas: list[tuple[str, str, int]],
    code: str,
    named: tuple[int, ...],
) -> None:
    hold = held(
        await holds.hold_seats(
            event, "anna", adults(4, 5), [("pit", "a", 1), ("pit", "b", 2), ("stage", "a", 2)], key=None
        )
    ).hold
    refusal = await assert_nothing_changed(
        house, event, lambda: holds.release_hold(event, "anna", hold, seats, areas), code
    )
    assert refusal.seats == named


async def test_a_hold_past_its_deadline_can_be_released_but_not_changed(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4), [], key=None)).hold
    house.pass_ms(300_001)
    for act in (
        lambda: holds.add_to_hold(event, "anna", hold, adults(1), [], key=None),
        lambda: holds.replace_hold(event, "anna", hold, adults(1), [], key=None),
        lambda: holds.extend_hold(event, "anna", hold),
        lambda: holds.checkout_hold(event, "anna", hold, "b1"),
    ):
        await assert_nothing_changed(house, event, act, "hold_expired")
    refused(await holds.hold_seats(event, "ben", adults(4), [], key=None), "seat_taken")  # only the sweep frees
    held(await holds.release_hold(event, "anna", hold))
    held(await holds.hold_seats(event, "ben", adults(4), [], key=None))


async def test_nobody_else_touches_a_hold(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4), [], key=None)).hold
    for act in (
        lambda: holds.read_hold(event, "ben", hold),
        lambda: holds.release_hold(event, "ben", hold),
        lambda: holds.release_hold(event, "ben", hold, [4]),
        lambda: holds.extend_hold(event, "ben", hold),
        lambda: holds.checkout_hold(event, "ben", hold, "b1"),
    ):
        await assert_nothing_changed(house, event, act, "hold_not_found")


# --- extend


async def test_extensions_are_counted_and_end_at_the_lifetime(house: House, holds: Holds) -> None:
    event = await house.open_event(extensions=3, hold_seconds=300, lifetime_seconds=600)
    first = held(await holds.hold_seats(event, "anna", adults(4), [], key=None)).record
    hold = next(iter(await house.records(event)))
    assert first is not None
    house.pass_ms(200_000)
    second = held(await holds.extend_hold(event, "anna", hold, origin="o"))
    assert second.record is not None
    assert second.record.deadline_ms == second.now_ms + 300_000
    assert second.record.extensions == 1
    _, entry = await house.last_entry(event)
    assert (entry.act, entry.seats, entry.areas) == ("extend", (), ())
    house.pass_ms(200_000)
    third = held(await holds.extend_hold(event, "anna", hold)).record
    assert third is not None
    assert third.deadline_ms == first.lifetime_ms
    house.pass_ms(100_000)
    await assert_nothing_changed(house, event, lambda: holds.extend_hold(event, "anna", hold), "limit_exceeded")
    await house.audit(event)


async def test_no_more_extensions_than_the_event_allows(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4), [], key=None)).hold
    for left in (1, 0):
        house.pass_ms(10_000)
        record = held(await holds.extend_hold(event, "anna", hold)).record
        assert record is not None
        assert record.extensions == 2 - left
    house.pass_ms(10_000)
    await assert_nothing_changed(house, event, lambda: holds.extend_hold(event, "anna", hold), "limit_exceeded")


# --- reading


async def test_a_holder_reads_its_holds(house: House, holds: Holds, event: str) -> None:
    assert (await holds.read_holds(event, "anna")).holds == {}
    first = held(await holds.hold_seats(event, "anna", adults(4), [], key=None))
    second = held(await holds.hold_seats(event, "anna", adults(5), [], key=None))
    gone = held(await holds.hold_seats(event, "anna", adults(6), [], key=None))
    held(await holds.hold_seats(event, "ben", adults(7), [], key=None))
    held(await holds.checkout_hold(event, "anna", second.hold, "b1"))
    held(await holds.sell_hold(event, second.hold, "b1"))
    held(await holds.release_hold(event, "anna", gone.hold))
    own = await holds.read_holds(event, "anna")
    assert {hold: record.state for hold, record in own.holds.items()} == {first.hold: "active", second.hold: "sold"}
    assert own.epoch == first.epoch
    assert held(await holds.read_hold(event, "anna", first.hold)).record == first.record


# --- checkout, restore, sell, free


async def test_a_hold_in_checkout_waits_for_its_booking_only(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4), [("pit", "a", 1)], key=None)).hold
    marked = held(await holds.checkout_hold(event, "anna", hold, "b1"))
    assert marked.record is not None
    assert (marked.record.state, marked.record.booking) == ("checkout", "b1")
    _, entry = await house.last_entry(event)
    assert (entry.act, entry.seats, entry.areas) == ("checkout", (), ())
    again = held(await holds.checkout_hold(event, "anna", hold, "b1"))
    assert (again.seq, again.record) == (marked.seq, marked.record)
    for act in (
        lambda: holds.checkout_hold(event, "anna", hold, "b2"),
        lambda: holds.release_hold(event, "anna", hold),
        lambda: holds.release_hold(event, "anna", hold, [4]),
        lambda: holds.extend_hold(event, "anna", hold),
        lambda: holds.add_to_hold(event, "anna", hold, adults(1), [], key=None),
        lambda: holds.replace_hold(event, "anna", hold, adults(1), [], key=None),
    ):
        await assert_nothing_changed(house, event, act, "hold_in_checkout")
    house.pass_ms(10_000_000)
    swept = await house.sweep(event)
    assert swept[1:3] == [1, 0]
    assert swept[4] == hold.encode(), "whether it has a claim is to be looked up"
    assert (await house.sweep(event))[1:3] == [0, 0], "and not again at once"
    assert await house.close_some(event) == (1, 0)
    assert (await house.states(event))[4] == HELD


async def test_a_mark_that_is_taken_back_leaves_grace(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4), [], key=None)).hold
    held(await holds.checkout_hold(event, "anna", hold, "b1"))
    house.pass_ms(299_000)
    restored = held(await holds.restore_hold(event, hold, "b1"))
    assert restored.record is not None
    assert (restored.record.state, restored.record.booking) == ("active", "")
    assert restored.record.reason == "payment_failed"
    assert restored.record.deadline_ms == restored.now_ms + limits.CHECKOUT_GRACE_MS
    assert await holds.restore_hold(event, hold, "b1") is None
    held(await holds.extend_hold(event, "anna", hold))
    held(await holds.checkout_hold(event, "anna", hold, "b2"))


async def test_a_mark_that_is_taken_back_early_keeps_the_deadline(house: House, holds: Holds, event: str) -> None:
    first = held(await holds.hold_seats(event, "anna", adults(4), [], key=None))
    held(await holds.checkout_hold(event, "anna", first.hold, "b1"))
    restored = held(await holds.restore_hold(event, first.hold, "b1")).record
    assert first.record is not None
    assert restored is not None
    assert restored.deadline_ms == first.record.deadline_ms


async def test_no_grace_beyond_the_lifetime(house: House, holds: Holds, event: str) -> None:
    first = held(await holds.hold_seats(event, "anna", adults(4), [], key=None))
    held(await holds.checkout_hold(event, "anna", first.hold, "b1"))
    house.pass_ms(950_000)
    restored = held(await holds.restore_hold(event, first.hold, "b1")).record
    assert first.record is not None
    assert restored is not None
    assert restored.deadline_ms == first.record.lifetime_ms
    assert (await house.sweep(event))[2] == 1


async def test_a_sale_shows_sold_and_stays(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4, 5), [("pit", "a", 2)], key="k")).hold
    held(await holds.checkout_hold(event, "anna", hold, "b1"))
    sold = held(await holds.sell_hold(event, hold, "b1"))
    assert sold.record is not None
    assert (sold.record.state, sold.record.booking, sold.record.reason) == ("sold", "b1", "booked")
    _, entry = await house.last_entry(event)
    assert entry.act == "sell"
    assert entry.seat_bytes() == {4: SOLD, 5: SOLD}
    assert entry.area_counts() == {"pit": (8, 0, 2, 0)}
    house.pass_ms(10_000_000)
    assert (await house.sweep(event))[1:3] == [0, 0]
    refused(await holds.hold_seats(event, "ben", adults(4), [], key=None), "seat_taken")
    for act in (
        lambda: holds.release_hold(event, "anna", hold),
        lambda: holds.extend_hold(event, "anna", hold),
        lambda: holds.checkout_hold(event, "anna", hold, "b2"),
        lambda: holds.add_to_hold(event, "anna", hold, adults(1), [], key=None),
    ):
        await assert_nothing_changed(house, event, act, "hold_not_found")


async def test_what_was_bought_counts_towards_the_limit(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(*range(8)), [], key=None)).hold
    held(await holds.checkout_hold(event, "anna", hold, "b1"))
    held(await holds.sell_hold(event, hold, "b1"))
    refused(await holds.hold_seats(event, "anna", adults(10), [], key=None), "limit_exceeded")
    held(await holds.free_booking(event, hold, "b1", "own"))
    held(await holds.hold_seats(event, "anna", adults(10), [], key=None))


@pytest.mark.parametrize("sold", [False, True])
async def test_freeing_a_booking_puts_its_seats_on_sale_once(
    house: House, holds: Holds, event: str, sold: bool
) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4, 5), [("pit", "a", 2)], key="k")).hold
    held(await holds.checkout_hold(event, "anna", hold, "b1"))
    if sold:
        held(await holds.sell_hold(event, hold, "b1"))
    assert await holds.free_booking(event, hold, "b2", "expired") is None
    freed = held(await holds.free_booking(event, hold, "b1", "expired"))
    assert freed.record is None
    _, entry = await house.last_entry(event)
    assert entry.act == "free"
    assert entry.seat_bytes() == {4: FREE, 5: FREE}
    assert entry.area_counts() == {"pit": (10, 0, 0, 0)}
    assert entry.holds[0].record.reason == "expired"
    held(await holds.hold_seats(event, "ben", adults(4, 5), [], key=None))
    before = await house.inventory(event)
    for late in (
        await holds.free_booking(event, hold, "b1", "expired"),
        await holds.sell_hold(event, hold, "b1"),
        await holds.restore_hold(event, hold, "b1"),
    ):
        assert late is None, "a row that came twice opened somebody else's seat"
    assert await house.inventory(event) == before


async def test_the_bookings_acts_do_nothing_elsewhere(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(4), [], key=None)).hold
    before = await house.inventory(event)
    for name in (hold, "1-none"):
        assert await holds.sell_hold(event, name, "b1") is None
        assert await holds.free_booking(event, name, "b1", "expired") is None
        assert await holds.restore_hold(event, name, "b1") is None
        assert await holds.free_booking(event, name, "", "expired") is None
    held(await holds.checkout_hold(event, "anna", hold, "b1"))
    before = await house.inventory(event)
    assert await holds.sell_hold(event, hold, "b2") is None
    assert await holds.restore_hold(event, hold, "b2") is None
    assert await house.inventory(event) == before
    held(await holds.sell_hold(event, hold, "b1"))
    assert await holds.sell_hold(event, hold, "b1") is None
    assert await holds.restore_hold(event, hold, "b1") is None


# --- expire, close


async def test_the_sweep_frees_what_is_due_in_batches(house: House, holds: Holds, event: str) -> None:
    for holder in range(5):
        held(await holds.hold_seats(event, f"h{holder}", adults(holder), [("pit", "a", 1)], key=None))
    house.pass_ms(100_000)
    later = held(await holds.hold_seats(event, "late", adults(9), [], key=None))
    assert later.record is not None
    house.pass_ms(200_001)
    assert (await house.sweep(event, 2))[:3] == [b"swept", 2, 2]
    _, entry = await house.last_entry(event)
    assert entry.act == "expire"
    assert len(entry.holds) == 2
    assert {change.record.reason for change in entry.holds} == {"expired"}
    assert (await house.sweep(event, 2))[:3] == [b"swept", 2, 2]
    assert await house.sweep(event, 2) == [b"swept", 1, 1, later.record.deadline_ms]
    assert (await house.states(event))[:6] == [FREE] * 6
    assert (await house.states(event))[9] == HELD
    assert await house.area(event, "pit") == (10, 0, 0, 0)


async def test_two_holds_of_one_holder_end_in_one_sweep(house: House, holds: Holds, event: str) -> None:
    for seat in range(3):
        held(await holds.hold_seats(event, "anna", adults(seat), [], key=None))
    house.pass_ms(300_001)
    assert (await house.sweep(event))[2] == 3
    assert "o:anna" not in await house.book_fields(event)


async def test_nothing_is_left_of_holds_whose_time_is_over(house: House, holds: Holds, event: str) -> None:
    expired = held(await holds.hold_seats(event, "anna", adults(0), [], key="k1")).hold
    held(await holds.add_to_hold(event, "anna", expired, adults(1), [], key="k2"))
    released = held(await holds.hold_seats(event, "ben", adults(2), [("pit", "a", 1)], key="k3")).hold
    held(await holds.release_hold(event, "ben", released))
    freed = held(await holds.hold_seats(event, "cleo", adults(3), [], key="k4")).hold
    held(await holds.checkout_hold(event, "cleo", freed, "b1"))
    held(await holds.free_booking(event, freed, "b1", "expired"))
    house.pass_ms(300_001)
    await house.sweep(event)
    await house.audit(event)
    house.pass_ms(600_000 + limits.TOMBSTONE_MS - 1_000)
    assert (await house.sweep(event))[1] == 0
    refused(await holds.read_hold(event, "anna", expired), "hold_expired")
    house.pass_ms(2_000)
    assert (await house.sweep(event))[1:] == [3, 0, 0]
    assert set(await house.book_fields(event)) == {"stamp", "layout"}
    assert await house.deadlines(event) == {}


async def test_a_closed_sale_lets_go_of_all_but_the_checkouts(house: House, holds: Holds, event: str) -> None:
    kept = held(await holds.hold_seats(event, "anna", adults(0), [], key=None)).hold
    held(await holds.checkout_hold(event, "anna", kept, "b1"))
    for seat in range(1, 6):
        held(await holds.hold_seats(event, "anna", adults(seat), [], key=None))
    gone = held(await holds.hold_seats(event, "ben", adults(10), [("pit", "a", 1)], key=None)).hold
    held(await holds.release_hold(event, "ben", gone))
    assert await house.close_some(event, batch=4) == (4, 3)
    _, entry = await house.last_entry(event)
    assert entry.act == "close"
    assert {change.record.reason for change in entry.holds} == {"closed"}
    rounds = 0
    while (await house.close_some(event, batch=100))[1]:
        rounds += 1
    assert rounds == 1
    assert [seat for seat, state in enumerate(await house.states(event)) if state] == [0]
    held(await holds.sell_hold(event, kept, "b1"))


# --- block, unblock


async def test_blocking_leaves_alone_what_is_held_or_sold(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(1), [("stage", "a", 2)], key=None)).hold
    held(await holds.checkout_hold(event, "anna", hold, "b1"))
    held(await holds.sell_hold(event, hold, "b1"))
    held(await holds.hold_seats(event, "ben", adults(2), [], key=None))
    answer = await holds.block_seats(
        event, [3, 0, 1, 2, 24], {"pit": 4, "stage": 2, "nowhere": 1}, seatmap.BYTE_HOUSE, origin="o"
    )
    assert answer.refused_seats == (1, 2, 24)
    assert answer.refused_areas == {"stage": 1, "nowhere": -1}
    assert (await house.states(event))[:5] == [HOUSE, SOLD, HELD, HOUSE, FREE]
    assert await house.area(event, "pit") == (6, 0, 0, 4)
    seq, entry = await house.last_entry(event)
    assert (seq, entry.act, entry.origin) == (answer.seq, "block", "o")
    assert entry.seat_bytes() == {0: HOUSE, 3: HOUSE}
    assert entry.area_counts() == {"pit": (6, 0, 0, 4)}
    refused(await holds.hold_seats(event, "cleo", adults(3), [], key=None), "seat_taken")
    refused(await holds.hold_seats(event, "cleo", [], [("pit", "a", 7)], key=None), "area_full")


async def test_a_blocked_seat_can_be_blocked_otherwise_and_unblocked(house: House, holds: Holds, event: str) -> None:
    await holds.block_seats(event, [0, 1], {"pit": 4}, seatmap.BYTE_HOUSE)
    answer = await holds.block_seats(event, [1, 2], {}, seatmap.BYTE_KILL)
    assert (answer.refused_seats, answer.refused_areas) == ((), {})
    assert (await house.states(event))[:4] == [HOUSE, KILL, KILL, FREE]
    held(await holds.hold_seats(event, "anna", adults(5), [], key=None))
    assert await holds.unblock_seats(event, [5, 1, 0, 3], origin="o") == (3, 5)
    assert (await house.states(event))[:6] == [FREE, FREE, KILL, FREE, FREE, HELD]
    _, entry = await house.last_entry(event)
    assert (entry.act, entry.origin) == ("unblock", "o")
    assert entry.seat_bytes() == {0: FREE, 1: FREE}


async def test_so_many_places_are_blocked_as_were_named_last(house: House, holds: Holds, event: str) -> None:
    held(await holds.hold_seats(event, "anna", [], [("stage", "a", 2)], key=None))
    for places, left in ((4, 6), (4, 6), (1, 9), (10, 0), (0, 10)):
        answer = await holds.block_seats(event, [], {"pit": places, "stage": 2}, seatmap.BYTE_HOUSE)
        assert answer.refused_areas == {"stage": 1}
        assert await house.area(event, "pit") == (left, 0, 0, places)
    answer = await holds.block_seats(event, [], {"pit": 11, "stage": 1, "nowhere": 0}, seatmap.BYTE_HOUSE)
    assert answer.refused_areas == {"pit": 10, "nowhere": -1}
    assert await house.area(event, "stage") == (0, 2, 0, 1)
    await house.audit(event)


async def test_seats_keep_their_channel(house: House, holds: Holds) -> None:
    event = await house.open_event(channels=[f"partner-{n}" for n in range(1, 10)])
    sale = await house.sale(event)
    other = 9 << seatmap.CHANNEL_SHIFT
    await house.pipe.call("SETRANGE", sale.key("seats"), 4, bytes([other, other]))
    await house.remember_start(event)
    wish = adults(3, 4, 5, 6)
    hold = held(await holds.hold_seats(event, "anna", wish, [], key=None, through="partner-9")).hold
    _, entry = await house.last_entry(event)
    assert entry.seats == (3, 1, HELD, 4, 2, other | HELD, 6, 1, HELD)
    await house.audit(event)
    held(await holds.release_hold(event, "anna", hold))
    _, entry = await house.last_entry(event)
    assert entry.seats == (3, 1, FREE, 4, 2, other, 6, 1, FREE)
    await house.audit(event)


# --- the stamp


async def test_changed_limits_are_read_before_the_next_hold(house: House, holds: Holds, event: str) -> None:
    held(await holds.hold_seats(event, "anna", adults(0), [], key=None))
    await house.change_event(event, max_seats=2)
    held(await holds.hold_seats(event, "anna", adults(1, 2, 3), [], key=None))  # nobody was told yet
    await house.book.restamp(event)
    _, entry = await house.last_entry(event)
    assert (entry.act, entry.holds) == ("event", ())
    refused(await holds.hold_seats(event, "anna", adults(5), [], key=None), "limit_exceeded")
    before = await house.inventory(event)
    await house.book.restamp(event)
    assert await house.inventory(event) == before, "told twice, it wrote twice"


async def test_a_worker_with_older_facts_reads_them_and_goes_on(house: House, valkey_url: str, event: str) -> None:
    other = await house.hire(valkey_url)
    held(await other.holds.hold_seats(event, "anna", adults(0), [], key=None))
    await house.change_event(event, hold_seconds=60, lifetime_seconds=100)
    await house.book.restamp(event)
    record = held(await other.holds.hold_seats(event, "anna", adults(1), [], key=None)).record
    assert record is not None
    assert record.deadline_ms == record.created_ms + 60_000


async def test_a_worker_with_newer_facts_tells_the_book(house: House, holds: Holds, event: str) -> None:
    await house.change_event(event, max_seats=2)
    await house.book.reload(event)
    refused(await holds.hold_seats(event, "anna", adults(0, 1, 2), [], key=None), "limit_exceeded")
    held(await holds.hold_seats(event, "anna", adults(0, 1), [], key=None))


async def test_an_older_revision_never_overwrites_a_newer(house: House, event: str) -> None:
    sale = await house.sale(event)
    keys = [sale.key("book"), sale.key("log")]
    epoch = str(sale.epoch)
    assert await house.pipe.run("stamp_event", keys, [epoch, "7"]) == [b"stamped", 1]
    assert await house.pipe.run("stamp_event", keys, [epoch, "6"]) == [b"newer", f"{epoch}:7".encode()]
    assert await house.pipe.run("stamp_event", keys, ["99", "8"]) == [b"other_stamp", f"{epoch}:7".encode()]
    nowhere = ["lml2:{x}:x:book", "lml2:{x}:x:log"]
    assert await house.pipe.run("stamp_event", nowhere, ["1", "1"]) == [b"no_book"]
    for _ in range(6):
        await house.change_event(event, max_seats=8)
    await house.book.reload(event)


async def test_a_book_of_another_epoch_is_adopted(house: House, holds: Holds, event: str) -> None:
    hold = held(await holds.hold_seats(event, "anna", adults(0), [], key="k")).hold
    await house.pool.execute("UPDATE event SET epoch = epoch + 1 WHERE id = $1", event)
    await house.book.reload(event)
    with pytest.raises(Unavailable):
        await holds.hold_seats(event, "ben", adults(1), [], key=None)
    record = held(await holds.read_hold(event, "anna", hold)).record  # reading waits until it is done
    assert record is not None
    assert record.seat_types() == [(0, "adult")]
    await house.remember_start(event)
    assert (await house.sale(event)).epoch == 3
    again = held(await holds.hold_seats(event, "anna", adults(1), [], key="k"))
    assert again.hold != hold, "keys belong to an epoch"


async def test_scripts_that_redis_forgot_are_loaded_again(house: House, holds: Holds, event: str) -> None:
    await house.pipe.call("SCRIPT", "FLUSH")
    held(await holds.hold_seats(event, "anna", adults(0), [], key=None))
    assert (await house.states(event))[0] == HELD


async def test_the_log_is_bounded(house: House, holds: Holds) -> None:
    event = await house.open_event()
    for _ in range(6):
        await asyncio.gather(*(holds.unblock_seats(event, [0]) for _ in range(1_000)))
    sale = await house.sale(event)
    length = await house.pipe.call("XLEN", sale.key("log"))
    assert limits.LOG_ENTRIES_MAX <= length < limits.LOG_ENTRIES_MAX + 200
    assert (await house.inventory(event))[0] == 6_000
