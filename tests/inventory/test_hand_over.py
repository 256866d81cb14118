"""What an anonymous holder holds goes to the account, within its limits, in one step; on real Valkey and PostgreSQL."""

from typing import Any

import msgspec
import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held, refused

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.inventory.answers import Changed
from lml_live.inventory.groups import EventWish, GroupChanged, GroupRefusal
from lml_live.inventory.handing import HandedOver, HandOvers

HOLD_MS = 300_000


async def lose(house: House, event: str, holder: str, *seats: int) -> None:
    """The holder takes these seats, each for itself, and lets the holds expire."""
    for seat in seats:
        await take(house, event, holder, seat)
    house.pass_ms(HOLD_MS)
    await house.sweep(event)


async def take(house: House, event: str, holder: str, *seats: int, key: str | None = None, **more: Any) -> Changed:
    return held(await house.holds.hold_seats(event, holder, adults(*seats), [], key=key, **more))


async def hand(house: House, event: str, *bookings: str, holder: str = "anon", to: str = "anna") -> HandedOver:
    handed = await HandOvers(house.book).hand_over(event, holder, to, bookings)
    await house.audit(event)
    return handed


async def lost(house: House, event: str, holder: str) -> list[int] | None:
    raw = (await house.book_fields(event)).get(f"x:{holder}")
    return None if raw is None else msgspec.msgpack.decode(raw, type=list[int])


async def test_a_hold_keeps_all_but_its_holder(house: House) -> None:
    event = await house.open_event(areas={"pit": 5})
    before = (await take(house, event, "anon", 1, 2, key="k")).record
    assert before is not None
    handed = await hand(house, event)
    (hold,) = handed.holds
    after = (await house.records(event))[hold]
    assert msgspec.structs.replace(after, holder="anon", seq=before.seq) == before
    refused(await house.holds.read_hold(event, "anon", hold), "hold_not_found")
    held(await house.holds.extend_hold(event, "anna", hold))
    held(await house.holds.release_hold(event, "anna", hold))


async def test_both_holders_sockets_hear_of_it(house: House) -> None:
    event = await house.open_event()
    hold = (await take(house, event, "anon", 1)).hold
    await hand(house, event)
    told = [entry.holds for _, _, entry in await house.entries(event) if entry.act == "hand_over"]
    assert [(change.hold, change.record.holder, change.record.state) for (change,) in told] == [
        (hold, "anon", "gone"),
        (hold, "anna", "active"),
    ]


async def test_a_repeated_request_of_the_anonymous_holder_takes_nothing_again(house: House) -> None:
    event = await house.open_event()
    hold = (await take(house, event, "anon", 1, key="k")).hold
    await hand(house, event)
    again = await house.holds.hold_seats(event, "anon", adults(1), [], key="k")
    refused(again, "hold_not_found")
    held(await house.holds.release_hold(event, "anna", hold))
    refused(await house.holds.hold_seats(event, "anon", adults(1), [], key="k"), "hold_not_found")


@pytest.mark.parametrize("adopted", [False, True])
async def test_a_repeated_request_over_several_events_answers_nothing_of_the_accounts(
    house: House, adopted: bool
) -> None:
    """It was shown the account's holds, and after an adopt, which forgets keys, nothing else kept it from writing over
    them: the ids of such holds are made of holder and key."""
    events = [await house.open_event(group="season") for _ in range(2)]
    wishes = [EventWish(event, adults(1), []) for event in events]
    assert isinstance(await house.groups.hold_group("anon", wishes, key="k"), GroupChanged)
    holds = [await hand(house, event) for event in events]
    if adopted:
        for event in events:
            with pytest.raises(Unavailable):
                await house.book.distrust(event)
            await house.book.recover(event, wait=True)
            await house.remember_start(event)
    again = await house.groups.hold_group("anon", wishes, key="k")
    assert isinstance(again, GroupRefusal), again
    assert again.code == "hold_not_found"
    for event, handed in zip(events, holds, strict=True):
        held(await house.holds.extend_hold(event, "anna", *handed.holds))
        await house.audit(event)
    house.pass_ms(HOLD_MS)
    for event in events:
        await house.sweep(event)
    again = await house.groups.hold_group("anon", wishes, key="k")
    assert isinstance(again, GroupRefusal), again
    assert again.code == "hold_not_found", "that the account let them expire is the account's"


async def test_what_the_account_has_no_room_for_stays(house: House) -> None:
    """Hold by hold, the oldest first; what it has on another device counts."""
    event = await house.open_event(max_seats=4)
    await take(house, event, "anna", 1)
    holds = [(await take(house, event, "anon", *seats)).hold for seats in ((2, 3), (4,), (5,))]
    handed = await hand(house, event)
    assert (handed.holds, handed.kept) == (tuple(holds[:2]), {holds[2]: "limit_exceeded"})
    refused(await house.holds.hold_seats(event, "anna", adults(7), [], key=None), "limit_exceeded")
    held(await house.holds.release_hold(event, "anon", holds[2]))


async def test_two_browsers_are_no_way_around_the_number_of_holds(house: House) -> None:
    event = await house.open_event(seats=60, max_seats=50)
    most = limits.HOLDS_PER_HOLDER_MAX
    for seat in range(most - 1):
        await take(house, event, "anna", seat)
    first = (await take(house, event, "anon", 40)).hold
    other = (await take(house, event, "anon", 41)).hold
    handed = await hand(house, event)
    assert (handed.holds, handed.kept) == ((first,), {other: "limit_exceeded"})


async def test_a_booking_moves_once_postgresql_has_given_it_over(house: House) -> None:
    """Until then its hold is the one who pays: claim and record never name two holders."""
    event = await house.open_event(max_seats=2)
    await take(house, event, "anna", 7)
    paying, sold = [(await take(house, event, "anon", seat)).hold for seat in (1, 2)]
    for hold in (paying, sold):
        held(await house.holds.checkout_hold(event, "anon", hold, f"b-{hold}"))
    assert await house.holds.sell_hold(event, sold, f"b-{sold}")
    handed = await hand(house, event, f"b-{sold}")
    assert (handed.holds, handed.kept) == ((sold,), {paying: "hold_in_checkout"})
    assert (await hand(house, event, f"b-{paying}")).holds == (paying,)
    assert await house.holds.sell_hold(event, paying, f"b-{paying}")
    # Three places by now: what is bought is bought, and counts.
    refused(await house.holds.hold_seats(event, "anna", adults(8), [], key=None), "limit_exceeded")
    await house.audit(event)


async def test_an_expired_hold_is_nobodys_gift(house: House) -> None:
    event = await house.open_event()
    hold = (await take(house, event, "anon", 1)).hold
    house.pass_ms(HOLD_MS)
    assert (await hand(house, event)).kept == {hold: "hold_expired"}
    await house.sweep(event)
    assert await hand(house, event) == HandedOver((), {})


async def test_what_was_let_expire_counts_against_the_account(house: House) -> None:
    event = await house.open_event(expired_holds=2, cooldown_seconds=120, rehold_seconds=60)
    for holder, seat in (("anna", 1), ("anon", 2)):
        await take(house, event, holder, seat)
    house.pass_ms(HOLD_MS)
    await house.sweep(event)
    held(await house.holds.release_hold(event, "anna", (await take(house, event, "anna", 3)).hold))
    await hand(house, event)
    refused(await house.holds.hold_seats(event, "anna", adults(4), [], key=None), "cooling_down")
    # Handed over again, nothing counts twice.
    count = (await lost(house, event, "anna") or [])[0]
    await hand(house, event)
    assert (await lost(house, event, "anna") or [])[0] == count == 2
    house.pass_ms(900_000 + HOLD_MS + limits.TOMBSTONE_MS)
    await house.sweep(event)
    assert [await lost(house, event, holder) for holder in ("anna", "anon")] == [None, None]
    await take(house, event, "anna", 4)


async def test_a_pause_holds_for_both(house: House) -> None:
    """Who waits signs in to an account that need not, and goes on in neither."""
    event = await house.open_event(expired_holds=1, cooldown_seconds=120, rehold_seconds=60)
    await take(house, event, "anon", 2)
    house.pass_ms(HOLD_MS)
    await house.sweep(event)
    await hand(house, event)
    for holder in ("anon", "anna"):
        refused(await house.holds.hold_seats(event, holder, adults(9), [], key=None), "cooling_down")
    house.pass_ms(900_000 + limits.TOMBSTONE_MS)
    await house.sweep(event)
    await house.audit(event)


async def test_a_lost_seat_stays_barred(house: House) -> None:
    event = await house.open_event(rehold_seconds=60)
    await take(house, event, "anon", 2)
    house.pass_ms(HOLD_MS)
    await house.sweep(event)
    await hand(house, event)
    refused(await house.holds.hold_seats(event, "anna", adults(2), [], key=None), "cooling_down")
    await take(house, event, "anna", 3)


async def test_a_lost_seat_stays_barred_for_whoever_comes_third(house: House) -> None:
    """What was lost counts for the second one by then; until it is anybody's again, it is not handed round either."""
    event = await house.open_event(rehold_seconds=60)
    await lose(house, event, "anon", 2)
    await hand(house, event)
    await hand(house, event, to="cleo")
    refused(await house.holds.hold_seats(event, "cleo", adults(2), [], key=None), "cooling_down")
    await take(house, event, "cleo", 3)
    house.pass_ms(60_000)
    before = await house.book_fields(event)
    await hand(house, event, to="dora")
    assert await house.book_fields(event) == before, "there is nothing left to hand over"


async def test_losses_count_where_nothing_else_comes_of_them(house: House) -> None:
    """No pause yet, and no seat that is barred: they count, and as long as they would have."""
    event = await house.open_event(expired_holds=2, cooldown_seconds=120)
    await lose(house, event, "anon", 1)
    await hand(house, event)
    await lose(house, event, "anna", 2)
    refused(await house.holds.hold_seats(event, "anna", adults(3), [], key=None), "cooling_down")


async def test_where_losses_do_not_count_they_bring_no_pause(house: House) -> None:
    event = await house.open_event(expired_holds=0, cooldown_seconds=120, rehold_seconds=60)
    await lose(house, event, "anon", 1)
    await hand(house, event)
    await take(house, event, "anna", 2)


@pytest.mark.parametrize(("cooldown_seconds", "pause_ms"), [(120, 240_000), (900, 900_000)])
async def test_the_pause_is_as_long_as_for_losses_of_ones_own(
    house: House, cooldown_seconds: int, pause_ms: int
) -> None:
    """Doubled with each beyond the budget, up to ten minutes, or the first one where that is longer already."""
    event = await house.open_event(expired_holds=1, cooldown_seconds=cooldown_seconds)
    await take(house, event, "anna", 1)
    await lose(house, event, "anon", 2)
    await hand(house, event)
    refusal = refused(await house.holds.hold_seats(event, "anna", adults(3), [], key=None), "cooling_down")
    assert refusal.retry_after_ms is not None
    assert 0 <= pause_ms - refusal.retry_after_ms < 10_000


async def test_what_is_handed_over_without_counting_forgives_nothing(house: House) -> None:
    """Its tombstone, which only remembers a barred seat, took a loss of the account's own with it."""
    event = await house.open_event(expired_holds=2, cooldown_seconds=120, rehold_seconds=60, lifetime_seconds=300)
    await lose(house, event, "anon", 1)
    await hand(house, event)
    await hand(house, event, to="cleo")  # forgotten after 360 s
    house.pass_ms(50_000)
    await take(house, event, "cleo", 2)
    house.pass_ms(25_000)
    await take(house, event, "cleo", 3)
    house.pass_ms(HOLD_MS - 25_000)
    await house.sweep(event)
    house.pass_ms(15_000)
    await house.sweep(event)
    house.pass_ms(10_000)
    await house.sweep(event)
    refused(await house.holds.hold_seats(event, "cleo", adults(4), [], key=None), "cooling_down")


async def test_a_seat_that_is_not_barred_any_more_is_not_handed_over(house: House) -> None:
    """It would take the place of one that is, where there are more than the bound."""
    event = await house.open_event(rehold_seconds=60)
    await lose(house, event, "anon", 1)
    house.pass_ms(60_000)
    await hand(house, event)
    assert await lost(house, event, "anna") == [1, 0]


async def test_no_more_lost_seats_are_handed_over_than_the_bound(house: House) -> None:
    event = await house.open_event(seats=120, max_seats=50, rehold_seconds=900)
    for first in (0, 50):
        await take(house, event, "anon", *range(first, first + 50))
        await take(house, event, "anna", 100 + first // 50)
        house.pass_ms(HOLD_MS)
        await house.sweep(event)
    await hand(house, event)
    assert len(await lost(house, event, "anna") or []) == 2 + 2 * limits.BARRED_SEATS_MAX


async def test_an_addresss_places_are_counted_whoever_has_them(house: House) -> None:
    event = await house.open_event(address_seats=2)
    await take(house, event, "anon", 1, address="a1")
    await hand(house, event)
    await take(house, event, "anon", 2, address="a1")
    third = await house.holds.hold_seats(event, "anna", adults(3), [], key=None, address="a1")
    refused(third, "limit_exceeded")


async def test_only_events_where_something_is_are_found(house: House) -> None:
    events = [await house.open_event() for _ in range(3)]
    await take(house, events[1], "anon-7", 1)
    known = [(event, (await house.book.sale(event)).group) for event in events]
    assert await HandOvers(house.book).find("anon-7", known) == [events[1]]
