"""Steps over several events of a group, on real Valkey and PostgreSQL: done in all of them, or in none."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, Worker, adults, held, refused

from lml_live import limits
from lml_live.errors import Refused, Unavailable
from lml_live.inventory.groups import EventWish, GroupChanged, GroupRefusal

FREE, HELD = 0, 1
AREAS = {"pit": 10}


class Season:
    """Three evenings of one group."""

    def __init__(self, house: House, events: Sequence[str]) -> None:
        self.house, self.events = house, list(events)
        self.groups = house.groups

    def wish(self, *seats: int, pit: int = 0, events: Iterable[str] | None = None) -> list[EventWish]:
        """The same seats and places in each event."""
        places = [("pit", "adult", pit)] if pit else []
        return [EventWish(event, adults(*seats), places) for event in (self.events if events is None else events)]

    async def hold(self, *seats: int, pit: int = 0, holder: str = "anna", key: str | None = None) -> dict[str, str]:
        """The holds of a choice that was granted in every event, by event."""
        answer = granted(await self.groups.hold_group(holder, self.wish(*seats, pit=pit), key=key))
        return {event: change.hold for event, change in answer.changes.items()}

    async def everything(self) -> list[Any]:
        """Every byte of every event."""
        house = self.house
        return [
            (await house.inventory(event), await house.book_fields(event), await house.deadlines(event))
            for event in self.events
        ]

    async def refuses(self, act: Callable[[], Any], code: str) -> GroupRefusal:
        """The refusal of an act that leaves every byte of every event as it was."""
        before = await self.everything()
        answer = await act()
        assert isinstance(answer, GroupRefusal), answer
        assert answer.code == code, answer
        assert before == await self.everything()
        return answer


def granted(answer: GroupChanged | GroupRefusal) -> GroupChanged:
    assert isinstance(answer, GroupChanged), answer
    return answer


@pytest.fixture
async def season(house: House) -> AsyncIterator[Season]:
    group = f"season-{secrets.token_hex(4)}"
    events = [await house.open_event(group=group, areas=AREAS, seats=12, max_seats=4) for _ in range(3)]
    yield Season(house, events)
    for event in events:
        await house.audit(event)


# --- Taking


async def test_one_choice_takes_the_seats_in_every_event(house: House, season: Season) -> None:
    answer = granted(await season.groups.hold_group("anna", season.wish(4, 5, pit=1), key=None, origin="socket-1"))
    assert list(answer.changes) == season.events
    assert len({change.hold.partition("-")[2] for change in answer.changes.values()}) == 1, (
        "ids show what belongs together"
    )
    for event, change in answer.changes.items():
        sale = await house.sale(event)
        record = change.record
        assert record is not None
        assert change.hold.startswith(f"{sale.number}-")
        assert (record.seat_types(), record.area_types()) == (adults(4, 5), [("pit", "adult", 1)])
        assert (change.epoch, change.seq, record.seq, record.created_ms) == (sale.epoch, 1, 1, answer.now_ms)
        assert record.deadline_ms == answer.now_ms + 300_000
        seq, entry = await house.last_entry(event)
        assert (seq, entry.act, entry.origin, entry.seats) == (1, "hold", "socket-1", (4, 2, HELD))
    # They are ordinary holds, each for itself.
    held(await house.holds.release_hold(season.events[0], "anna", answer.changes[season.events[0]].hold))


async def test_each_event_may_be_wished_something_else(house: House, season: Season) -> None:
    first, second, third = season.events
    wishes = [*season.wish(1, events=[first]), *season.wish(2, 3, events=[second]), *season.wish(pit=2, events=[third])]
    granted(await season.groups.hold_group("anna", wishes, key=None))
    assert [[seat for seat, state in enumerate(await house.states(event)) if state] for event in season.events] == [
        *([1], [2, 3]),
        [],
    ]
    assert await house.area(third, "pit") == (8, 2, 0, 0)


async def test_every_event_that_refuses_is_named_and_nothing_is_taken_in_any(house: House, season: Season) -> None:
    first, second, third = season.events
    held(await house.holds.hold_seats(first, "ben", adults(4), [], key=None))
    held(await house.holds.hold_seats(third, "ben", [], [("pit", "adult", 4)], key=None))
    held(await house.holds.hold_seats(third, "carl", [], [("pit", "adult", 4)], key=None))
    refusal = await season.refuses(
        lambda: season.groups.hold_group("anna", season.wish(4, pit=3), key="k"), "seat_taken"
    )
    assert {event: (no.code, no.seats, no.areas) for event, no in refusal.events.items()} == {
        first: ("seat_taken", (4,), {}),
        third: ("area_full", (), {"pit": 2}),
    }
    assert second not in refusal.events


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"max_seats": 1}, "limit_exceeded"),
        ({"state": "paused"}, "sale_paused"),
        ({"state": "closed"}, "sale_closed"),
        ({"on_sale_at": "later"}, "sale_not_open"),
    ],
)
async def test_the_rules_of_one_event_stop_all(house: House, season: Season, columns: Any, code: str) -> None:
    strict = season.events[1]
    if "on_sale_at" in columns:
        await house.pool.execute("UPDATE event SET on_sale_at = now() + interval '1 day' WHERE id = $1", strict)
        await house.change_event(strict, tick_ms=50)
    else:
        await house.change_event(strict, **columns)
    await house.book.restamp(strict)
    refusal = await season.refuses(lambda: season.groups.hold_group("anna", season.wish(1, 2), key=None), code)
    assert list(refusal.events) == [strict]


async def test_holds_of_each_event_are_counted_there(
    house: House, season: Season, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HOLDS_PER_HOLDER_MAX", 1)
    full = season.events[2]
    hold = held(await house.holds.hold_seats(full, "anna", adults(0), [], key=None)).hold
    refusal = await season.refuses(lambda: season.groups.hold_group("anna", season.wish(1), key=None), "limit_exceeded")
    assert list(refusal.events) == [full]
    granted(await season.groups.move_group("anna", {full: hold}, season.wish(1, events=[full]), key=None))


async def test_the_orphan_rule_of_each_event_is_asked(house: House, season: Season) -> None:
    await house.change_event(season.events[1], orphan_rule="strict")
    await house.book.restamp(season.events[1])

    def row(seats: Iterable[int], _rule: str) -> list[list[int]]:
        return [list(range(12))]

    wishes = [EventWish(event, adults(1, 2), [], row) for event in season.events]
    refusal = await season.refuses(lambda: season.groups.hold_group("anna", wishes, key=None), "orphan_seat")
    assert {event: no.seats for event, no in refusal.events.items()} == {season.events[1]: (0,)}


async def test_two_who_want_the_same_season_get_it_once(season: Season) -> None:
    answers = await asyncio.gather(
        *(season.groups.hold_group(holder, season.wish(7, 8), key=None) for holder in ("anna", "ben", "carl"))
    )
    assert [type(answer) for answer in answers].count(GroupChanged) == 1


async def test_events_of_other_groups_cannot_change_in_the_same_step(house: House, season: Season) -> None:
    other = await house.open_event(seats=12)
    with pytest.raises(Refused) as refusal:
        await season.groups.hold_group("anna", season.wish(1, events=[*season.events, other]), key=None)
    assert refusal.value.code == "different_group"
    assert [await house.states(event) for event in (*season.events, other)] == [[FREE] * 12] * 4


# --- Keys and stamps


async def test_a_retry_finds_the_holds_as_they_are_now(house: House, season: Season) -> None:
    first = await season.hold(3, key="k")
    again = granted(await season.groups.hold_group("anna", season.wish(3), key="k"))
    assert {event: change.hold for event, change in again.changes.items()} == first
    event = season.events[0]
    held(await house.holds.release_hold(event, "anna", first[event]))
    again = granted(await season.groups.hold_group("anna", season.wish(3), key="k"))
    assert [change.record is None for change in again.changes.values()] == [True, False, False]
    assert (await house.states(event))[3] == FREE, "never seats again"
    other = await season.refuses(
        lambda: season.groups.hold_group("anna", season.wish(6), key="k"), "idempotency_mismatch"
    )
    assert other.events == {}
    assert (await season.hold(6, holder="ben", key="k")).keys() == first.keys(), "a key is one holder's own"
    house.pass_ms(300_000)
    for event in season.events:
        await house.sweep(event)
    await season.refuses(lambda: season.groups.hold_group("anna", season.wish(3), key="k"), "hold_expired")


async def test_a_retry_finds_what_some_events_have_forgotten(house: House, season: Season) -> None:
    """Each event forgets its hold by itself: the others answer for it, and nothing is taken again."""
    holds = await season.hold(3, key="k")
    house.pass_ms(300_000)
    for event in season.events:
        await house.sweep(event)
    house.pass_ms(600_000 + limits.TOMBSTONE_MS)
    await house.sweep(season.events[0])
    assert holds[season.events[0]] not in await house.records(season.events[0])
    await season.refuses(lambda: season.groups.hold_group("anna", season.wish(3), key="k"), "hold_expired")


async def test_a_retry_after_an_adopt_takes_nothing_again(house: House, season: Season) -> None:
    """An adopt forgets keys: without the ids made of them, the retry took the seats twice, or overwrote a hold."""
    first = await season.hold(3, pit=1, key="k")
    for event in season.events:
        with pytest.raises(Unavailable):
            await house.book.distrust(event)
        await house.book.recover(event, wait=True)
        await house.remember_start(event)
    again = granted(await season.groups.hold_group("anna", season.wish(3, pit=1), key="k"))
    assert {event: change.hold for event, change in again.changes.items()} == first
    assert await house.area(season.events[0], "pit") == (9, 1, 0, 0)


async def test_a_book_that_is_another_stops_the_step_until_it_is_known(house: House, season: Season) -> None:
    other = Worker(house.pipe, house.pool)
    for event, most in zip(season.events, (3, 2, 4), strict=True):
        await house.change_event(event, max_seats=most)
        await other.book.restamp(event)
    await season.hold(1, 2)  # the rules are read anew on the way
    assert (await house.book.sale(season.events[2])).max_seats == 4
    sale = await house.book.sale(season.events[1])
    await house.pipe.call("HDEL", sale.key("book"), "stamp")
    with pytest.raises(Unavailable):
        await season.groups.hold_group("ben", season.wish(5), key=None)
    assert (await house.states(season.events[0]))[5] == FREE
    await house.book.recover(season.events[1], wait=True)
    await house.remember_start(season.events[1])
    await season.hold(5, holder="ben")


# --- Giving back, putting off


async def test_all_are_given_back_or_none(house: House, season: Season) -> None:
    holds = await season.hold(3, pit=1)
    event = season.events[2]
    held(await house.holds.checkout_hold(event, "anna", holds[event], "b-1"))
    refusal = await season.refuses(lambda: season.groups.release_group("anna", holds), "hold_in_checkout")
    assert list(refusal.events) == [event]
    await season.refuses(lambda: season.groups.release_group("ben", holds), "hold_not_found")
    held(await house.holds.restore_hold(event, holds[event], "b-1"))
    answer = granted(await season.groups.release_group("anna", holds, origin="socket-1"))
    assert [change.record for change in answer.changes.values()] == [None] * 3
    seq, entry = await house.last_entry(event)
    assert (answer.changes[event].seq, entry.act, entry.origin) == (seq, "release", "socket-1")
    assert [await house.states(event) for event in season.events] == [[FREE] * 12] * 3
    await season.refuses(lambda: season.groups.release_group("anna", holds), "hold_not_found")


async def test_a_step_ends_only_so_many_places(house: House, season: Season, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds that were made one by one may have more in all than one call takes."""
    holds = await season.hold(3, pit=1)
    monkeypatch.setattr(limits, "GROUP_PLACES_MAX", 5)
    await season.refuses(lambda: season.groups.release_group("anna", holds), "limit_exceeded")
    one = [EventWish(season.events[0], adults(4), [])]
    await season.refuses(lambda: season.groups.move_group("anna", holds, one, key=None), "limit_exceeded")
    monkeypatch.setattr(limits, "GROUP_PLACES_MAX", 6)
    granted(await season.groups.move_group("anna", holds, one, key=None))
    granted(await season.groups.release_group("anna", {season.events[0]: holds[season.events[0]]}))
    assert [await house.states(event) for event in season.events] == [[FREE] * 12] * 3


async def test_a_step_changes_only_so_many_events(season: Season, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that it leaves, too."""
    first, second, third = season.events
    made = granted(await season.groups.hold_group("anna", [EventWish(first, adults(3), [])], key=None))
    holds = {first: made.changes[first].hold}
    wishes = [EventWish(event, adults(4), []) for event in (second, third)]
    monkeypatch.setattr(limits, "EVENTS_PER_CALL_MAX", 2)
    await season.refuses(lambda: season.groups.move_group("anna", holds, wishes, key=None), "limit_exceeded")
    moved = granted(await season.groups.move_group("anna", holds, wishes[:1], key=None))
    assert moved.changes.keys() == {first, second}


async def test_all_are_put_off_or_none(house: House, season: Season) -> None:
    holds = await season.hold(3)
    event = season.events[1]
    house.pass_ms(1_000)
    answer = granted(await season.groups.extend_group("anna", holds, key="k"))
    records = [change.record for change in answer.changes.values()]
    assert [(record.extensions, record.deadline_ms) for record in records if record] == [
        (1, answer.now_ms + 300_000)
    ] * 3
    again = granted(await season.groups.extend_group("anna", holds, key="k"))
    assert [change.record for change in again.changes.values()] == records, "once"
    house.pass_ms(1_000)
    held(await house.holds.extend_hold(event, "anna", holds[event]))
    refusal = await season.refuses(lambda: season.groups.extend_group("anna", holds), "limit_exceeded")
    assert list(refusal.events) == [event]
    await season.refuses(lambda: season.groups.extend_group("ben", holds), "hold_not_found")


async def test_a_clerks_hold_is_changed_by_clerks(season: Season) -> None:
    holds = await season.hold(3)
    number = holds[season.events[1]].partition("-")[0]
    holds[season.events[1]] = f"{number}-s-0123456789abcdef0123"
    for act in (season.groups.release_group, season.groups.extend_group):
        await season.refuses(lambda act=act: act("anna", holds), "forbidden")
    await season.refuses(lambda: season.groups.move_group("anna", holds, season.wish(4), key=None), "forbidden")


# --- Moving


async def test_a_hold_moves_to_another_event_and_wins_no_time(house: House, season: Season) -> None:
    first, second, _ = season.events
    old = held(await house.holds.hold_seats(first, "anna", adults(3), [], key=None))
    house.pass_ms(1_000)
    assert old.record is not None
    extended = held(await house.holds.extend_hold(first, "anna", old.hold)).record
    house.pass_ms(100_000)
    answer = granted(
        await season.groups.move_group("anna", {first: old.hold}, season.wish(7, 8, events=[second]), key="m")
    )
    assert list(answer.changes) == [second, first]
    new = answer.changes[second]
    assert new.record is not None
    assert new.hold != old.hold
    assert new.record.seat_types() == adults(7, 8)
    assert (new.record.extensions, new.record.lifetime_ms) == (1, old.record.lifetime_ms)
    assert extended is not None
    assert new.record.deadline_ms == extended.deadline_ms
    assert answer.changes[first].record is None
    assert (await house.states(first))[3] == FREE
    again = granted(
        await season.groups.move_group("anna", {first: old.hold}, season.wish(7, 8, events=[second]), key="m")
    )
    assert again.changes[second].record == new.record
    refused(await house.holds.read_hold(first, "anna", old.hold), "hold_not_found")


async def test_a_package_moves_within_its_events_and_across_them(house: House, season: Season) -> None:
    first, second, third = season.events
    old = await season.hold(3, 4, pit=1)
    house.pass_ms(1_000)
    held(await house.holds.extend_hold(first, "anna", old[first]))
    wishes = [*season.wish(4, 5, events=[first]), *season.wish(9, pit=2, events=[second])]
    answer = granted(await season.groups.move_group("anna", old, wishes, key=None))
    assert {event: change.record and change.record.seat_types() for event, change in answer.changes.items()} == {
        first: adults(4, 5),
        second: adults(9),
        third: None,
    }
    assert [answer.changes[event].hold for event in season.events] == list(old.values())
    assert [(await house.entries(event))[-1][2].act for event in season.events] == ["replace", "replace", "release"]
    assert [await house.area(event, "pit") for event in season.events] == [(10, 0, 0, 0), (8, 2, 0, 0), (10, 0, 0, 0)]


async def test_a_move_is_all_or_nothing(house: House, season: Season) -> None:
    first, second, third = season.events
    old = await season.hold(3)
    held(await house.holds.hold_seats(second, "ben", adults(6), [], key=None))
    wishes = season.wish(6)
    refusal = await season.refuses(lambda: season.groups.move_group("anna", old, wishes, key="m"), "seat_taken")
    assert list(refusal.events) == [second]
    held(await house.holds.checkout_hold(third, "anna", old[third], "b-1"))
    refusal = await season.refuses(
        lambda: season.groups.move_group("anna", old, season.wish(5, events=[first]), key="m"), "hold_in_checkout"
    )
    assert list(refusal.events) == [third]
    held(await house.holds.restore_hold(third, old[third], "b-1"))
    await season.refuses(lambda: season.groups.move_group("ben", old, wishes, key="m"), "hold_not_found")
    house.pass_ms(300_000)
    await season.refuses(lambda: season.groups.move_group("anna", old, season.wish(5), key="m"), "hold_expired")


async def test_the_limits_of_the_event_moved_to_count(
    house: House, season: Season, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = season.events
    old = held(await house.holds.hold_seats(first, "anna", adults(1, 2), [], key=None))
    held(await house.holds.hold_seats(second, "anna", adults(4, 5, 6), [], key=None))
    there = season.wish(1, 2, events=[second])
    await season.refuses(lambda: season.groups.move_group("anna", {first: old.hold}, there, key=None), "limit_exceeded")
    monkeypatch.setattr(limits, "KEYS_PER_HOLD_MAX", 1)
    within = season.wish(3, events=[first])
    granted(await season.groups.move_group("anna", {first: old.hold}, within, key="k"))
    await season.refuses(lambda: season.groups.move_group("anna", {first: old.hold}, within, key="l"), "limit_exceeded")


async def test_what_only_ends_may_end_in_a_pause(house: House, season: Season) -> None:
    first, second, _ = season.events
    old = held(await house.holds.hold_seats(first, "anna", adults(1), [], key=None))
    await house.change_event(first, state="paused")
    await house.book.restamp(first)
    answer = await season.groups.move_group("anna", {first: old.hold}, season.wish(2, events=[second]), key=None)
    assert granted(answer).changes[first].record is None
    await season.refuses(
        lambda: season.groups.move_group(
            "anna", {second: granted(answer).changes[second].hold}, season.wish(2, events=[first]), key=None
        ),
        "sale_paused",
    )


async def test_a_map_that_was_lost_is_not_told_of_by_a_release(house: House, season: Season) -> None:
    """Two seats apart were noted in the log without a byte, which read as one run of another seat."""
    made = await season.hold(3, 5)
    lost, *_ = season.events
    await house.pipe.call("DEL", (await house.sale(lost)).key("seats"))
    granted(await season.groups.release_group("anna", made))
    _, entry = await house.last_entry(lost)
    assert list(entry.seats) == []
    await house.inventory(lost)
    await house.remember_start(lost)
