"""Limits against those who keep seats from others, counted in the atomic step, on real Valkey and PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
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
from lml_live.errors import NotFound
from lml_live.inventory.addresses import Addresses
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.groups import EventWish, GroupRefusal
from lml_live.inventory.staff_holds import StaffHolds

FREE, HELD = 0, 1
HOLD_MS = 300_000


class Sale:
    """An event with these limits, and how seats are taken in it: alone, or in a step over several events."""

    def __init__(self, house: House, event: str, way: str) -> None:
        self.house, self.event, self.way = house, event, way

    async def take(self, holder: str, *seats: int, pit: int = 0, address: str = "") -> Changed | Refusal:
        places = [("pit", "adult", pit)] if pit else []
        if self.way == "hold_seats":
            return await self.house.holds.hold_seats(
                self.event, holder, adults(*seats), places, key=None, address=address
            )
        wishes = [EventWish(self.event, adults(*seats), places)]
        answer = await self.house.groups.hold_group(holder, wishes, key=None, address=address)
        return answer.events[self.event] if isinstance(answer, GroupRefusal) else answer.changes[self.event]

    async def lose(self, holder: str, *seats: int) -> None:
        """The holder takes these seats, and lets the hold expire."""
        held(await self.take(holder, *seats))
        self.house.pass_ms(HOLD_MS)
        await self.house.sweep(self.event)

    async def lost(self, holder: str) -> Sequence[int] | None:
        """What the book remembers of the holder's losses."""
        raw = (await self.house.book_fields(self.event)).get(f"x:{holder}")
        return None if raw is None else msgspec.msgpack.decode(raw, type=list[int])


@pytest.fixture(params=["hold_seats", "hold_group"])
async def make(house: House, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """`await make(expired_holds=2, …)`: an event of 24 seats."""
    made: list[str] = []

    async def event(**limits: Any) -> Sale:
        made.append(await house.open_event(areas={"pit": 50}, max_seats=20, **limits))
        return Sale(house, made[-1], request.param)

    yield event
    for each in made:
        await house.audit(each)


# --- The budget of expired holds


async def test_who_lets_holds_expire_waits_longer_each_time(house: House, make: Any) -> None:
    sale = await make(expired_holds=2, cooldown_seconds=120, lifetime_seconds=7_200)
    await sale.lose("anna", 1)
    await sale.lose("anna", 2)
    for seat, wait_ms in ((3, 120_000), (4, 240_000), (5, 480_000), (6, 600_000), (7, 600_000)):
        refusal = refused(await sale.take("anna", seat), "cooling_down")
        assert 0 <= wait_ms - refusal.retry_after_ms < 10_000, (seat, refusal)
        held(await sale.take(f"ben-{seat}", seat))
        house.pass_ms(wait_ms)
        await sale.lose("anna", 10 + seat)
    assert (await sale.lost("anna"))[0] == 7


async def test_all_holds_that_expire_in_one_sweep_count(house: House, make: Any) -> None:
    sale = await make(expired_holds=2, cooldown_seconds=60)
    held(await sale.take("anna", 1))
    await sale.lose("anna", 2)
    refused(await sale.take("anna", 3), "cooling_down")


async def test_a_hold_that_is_there_may_be_changed_while_its_holder_waits(house: House, make: Any) -> None:
    sale = await make(expired_holds=1, cooldown_seconds=60)
    kept = held(await sale.take("anna", 1))
    assert kept.record is not None
    held(await sale.take("anna", 2))
    house.pass_ms(HOLD_MS - 1_000)
    held(await house.holds.extend_hold(sale.event, "anna", kept.hold))
    house.pass_ms(1_000)
    await house.sweep(sale.event)
    refused(await sale.take("anna", 3), "cooling_down")
    held(await house.holds.add_to_hold(sale.event, "anna", kept.hold, adults(4), [], key=None))
    held(await house.holds.replace_hold(sale.event, "anna", kept.hold, adults(5), [], key=None))
    held(await house.holds.release_hold(sale.event, "anna", kept.hold))


async def test_holds_that_were_given_back_or_bought_do_not_count(house: House, make: Any) -> None:
    sale = await make(expired_holds=1, cooldown_seconds=60, rehold_seconds=60)
    held(await house.holds.release_hold(sale.event, "anna", held(await sale.take("anna", 1)).hold))
    hold = held(await sale.take("anna", 1)).hold
    held(await house.holds.checkout_hold(sale.event, "anna", hold, "b-1"))
    assert await house.holds.free_booking(sale.event, hold, "b-1", "payment_failed")
    held(await sale.take("anna", 1))
    assert await sale.lost("anna") is None


async def test_a_checkout_that_is_let_expire_counts(house: House, make: Any) -> None:
    sale = await make(expired_holds=1, cooldown_seconds=60, rehold_seconds=60)
    hold = held(await sale.take("anna", 1)).hold
    held(await house.holds.checkout_hold(sale.event, "anna", hold, "b-1"))
    assert await house.holds.free_booking(sale.event, hold, "b-1", "expired")
    refused(await sale.take("anna", 2), "cooling_down")


async def test_an_expired_hold_is_forgiven_with_its_tombstone(house: House, make: Any) -> None:
    sale = await make(expired_holds=2, cooldown_seconds=60, rehold_seconds=60)
    await sale.lose("anna", 1)
    house.pass_ms(900_000 - HOLD_MS + limits.TOMBSTONE_MS)
    await house.sweep(sale.event)
    assert await sale.lost("anna") is None
    await sale.lose("anna", 1)
    held(await sale.take("anna", 2))


async def test_a_long_pause_outlives_the_tombstones_usual_time(house: House, make: Any) -> None:
    """Its end was forgotten a minute after the hold's lifetime, and the pause with it."""
    sale = await make(expired_holds=1, cooldown_seconds=500, lifetime_seconds=300)
    await sale.lose("anna", 1)
    house.pass_ms(200_000)
    await house.sweep(sale.event)
    refused(await sale.take("anna", 2), "cooling_down")
    house.pass_ms(400_000)
    await house.sweep(sale.event)
    assert await sale.lost("anna") is None


async def test_another_loss_makes_no_pause_shorter(house: House, make: Any) -> None:
    """What was lost long ago had been forgotten meanwhile: the next pause was the first, short one again, instead."""
    sale = await make(expired_holds=1, cooldown_seconds=300, lifetime_seconds=300)
    for seat in (1, 2):
        held(await sale.take("anna", seat))
    late = held(await sale.take("anna", 3)).hold
    held(await house.holds.checkout_hold(sale.event, "anna", late, "b-1"))
    house.pass_ms(HOLD_MS)
    await house.sweep(sale.event)  # two losses: a pause of 600 s
    book = (await house.sale(sale.event)).key("book")
    await house.pipe.call("HSET", book, "x:anna", msgspec.msgpack.encode([0, (await sale.lost("anna"))[1]]))
    held(await house.holds.free_booking(sale.event, late, "b-1", "expired"))
    house.pass_ms(400_000)
    refused(await sale.take("anna", 4), "cooling_down")


# --- The seat that was just lost


async def test_a_seat_that_is_lost_twice_is_others_for_as_long_as_the_later_time(house: House, make: Any) -> None:
    sale = await make(rehold_seconds=60)
    await sale.lose("anna", 1)
    staff = StaffHolds(house.book)
    given = held(
        await staff.hold_for_customer(
            sale.event, "anna", await staff.hold_id(sale.event, "0" * 20), adults(1), [], over_house=False
        )
    ).hold
    held(await house.holds.checkout_hold(sale.event, "anna", given, "b-1"))
    house.pass_ms(30_000)
    held(await house.holds.free_booking(sale.event, given, "b-1", "expired"))
    house.pass_ms(40_000)
    assert refused(await sale.take("anna", 1), "cooling_down").seats == (1,)
    house.pass_ms(20_000)
    held(await sale.take("anna", 1))


async def test_a_lost_seat_goes_to_others_first(house: House, make: Any) -> None:
    sale = await make(rehold_seconds=60)
    await sale.lose("anna", 1, 2)
    refusal = refused(await sale.take("anna", 2, 3), "cooling_down")
    assert (refusal.seats, 50_000 < refusal.retry_after_ms <= 60_000) == ((2,), True)
    mine = held(await sale.take("anna", 3)).hold
    for act in (house.holds.add_to_hold, house.holds.replace_hold):
        assert refused(await act(sale.event, "anna", mine, adults(1), [], key=None), "cooling_down").seats == (1,)
    held(await sale.take("ben", 1))
    house.pass_ms(60_000)
    held(await sale.take("anna", 2))


async def test_no_more_lost_seats_are_remembered_than_the_bound(
    house: House, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale = await make(rehold_seconds=60)
    for n in range(0, 20, 5):
        held(await sale.take("anna", *range(n, n + 5)))
    house.pass_ms(HOLD_MS)
    await house.sweep(sale.event)
    lost = await sale.lost("anna")
    assert lost is not None
    assert sorted(lost[2::2]) == [*range(20)]
    assert len(lost) <= 2 + 2 * limits.BARRED_SEATS_MAX


# --- When seats come back


async def test_nobody_can_tell_when_an_expired_holds_seats_come_back(house: House, make: Any) -> None:
    sale = await make(release_jitter_seconds=30)
    for seat in range(10):
        held(await sale.take(f"h{seat}", seat))
    first = (await house.records(sale.event)).popitem()
    house.pass_ms(HOLD_MS)
    await house.sweep(sale.event)
    assert (await house.states(sale.event))[:10] == [HELD] * 10, "all are put off"
    refused(await house.holds.extend_hold(sale.event, first[1].holder, first[0]), "hold_expired")
    due = sorted((await house.deadlines(sale.event)).values())
    assert len(set(due)) > 5
    assert due[-1] - due[0] <= 30_000
    house.pass_ms(30_000)
    await house.sweep(sale.event)
    assert (await house.states(sale.event))[:10] == [FREE] * 10


# --- One address


async def test_an_address_has_so_many_live_holds(house: House, make: Any) -> None:
    sale = await make(address_holds=2)
    first = held(await sale.take("anna", 1, address="cafe"))
    second = held(await sale.take("ben", 2, address="cafe"))
    refused(await sale.take("carl", 3, address="cafe"), "limit_exceeded")
    held(await sale.take("dora", 4, address="home"))
    held(await sale.take("emil", 5))
    held(await house.holds.release_hold(sale.event, "anna", first.hold))
    held(await sale.take("carl", 3, address="cafe"))
    refused(await sale.take("fred", 6, address="cafe"), "limit_exceeded")
    held(await house.holds.checkout_hold(sale.event, "ben", second.hold, "b-1"))
    refused(await sale.take("fred", 6, address="cafe"), "limit_exceeded")
    assert await house.holds.sell_hold(sale.event, second.hold, "b-1")
    held(await sale.take("fred", 6, address="cafe"))
    house.pass_ms(HOLD_MS)
    await house.sweep(sale.event)
    held(await sale.take("gina", 7, address="cafe"))


async def test_an_address_has_so_many_places(house: House, make: Any) -> None:
    sale = await make(address_seats=5)
    first = held(await sale.take("anna", 1, 2, pit=2, address="cafe"))
    refused(await sale.take("ben", 4, 5, address="cafe"), "limit_exceeded")
    held(await house.holds.release_hold(sale.event, "anna", first.hold, [1]))
    held(await sale.take("ben", 4, 5, address="cafe"))
    assert "cafe" not in str(await house.book_fields(sale.event)).replace("a:cafe", ""), (
        "nothing but the tally knows it"
    )


async def test_what_is_added_or_exchanged_counts_for_the_address(house: House, make: Any) -> None:
    """A hold of one seat each was a way around: it could grow where nobody counted."""
    sale = await make(address_seats=5)
    first = held(await sale.take("anna", 1, 2, address="cafe")).hold
    held(await sale.take("ben", 4, address="cafe"))
    add, replace = house.holds.add_to_hold, house.holds.replace_hold
    for act, seats in ((add, (5, 6, 7)), (replace, (1, 2, 5, 6, 7))):
        answer = await act(sale.event, "anna", first, adults(*seats), [], key=None, address="cafe")
        refused(answer, "limit_exceeded")
    held(await add(sale.event, "anna", first, adults(5, 6), [], key=None, address="cafe"))
    refused(await sale.take("carl", 8, address="cafe"), "limit_exceeded")
    held(await replace(sale.event, "anna", first, adults(1, 2, 7), [], key=None, address="cafe"))
    held(await sale.take("carl", 8, address="cafe"))
    held(await replace(sale.event, "anna", first, adults(9, 10, 11), [], key=None, address="cafe"))
    refused(
        await replace(sale.event, "anna", first, adults(9, 10, 11, 12), [], key=None, address="cafe"), "limit_exceeded"
    )
    held(await replace(sale.event, "anna", first, adults(9, 10, 11, 12), [], key=None, address="home"))


async def test_where_no_address_has_too_much_none_is_listed(house: House, make: Any) -> None:
    """The tally grew by each hold that was ever made from there, and was read and written by the next one."""
    sale = await make(address_holds=0, address_seats=0)
    first = held(await sale.take("anna", 1, address="cafe")).hold
    held(await house.holds.add_to_hold(sale.event, "anna", first, adults(2), [], key=None, address="cafe"))
    held(await house.holds.replace_hold(sale.event, "anna", first, adults(1, 2, 3), [], key=None, address="cafe"))
    assert not [field for field in await house.book_fields(sale.event) if field.startswith("a:")]


async def test_an_address_of_which_nothing_is_left_is_forgotten(house: House, make: Any) -> None:
    """Its list stayed in the book until the next adopt, whoever had long been gone."""
    sale = await make(address_holds=3)
    addresses = Addresses(house.book)

    async def listed() -> set[str]:
        await addresses.step([sale.event])
        return {field for field in await house.book_fields(sale.event) if field.startswith("a:")}

    anna = held(await sale.take("anna", 1, address="cafe")).hold
    ben = held(await sale.take("ben", 2, address="cafe")).hold
    held(await sale.take("cleo", 3, address="home"))
    held(await house.holds.release_hold(sale.event, "anna", anna))
    held(await house.holds.checkout_hold(sale.event, "ben", ben, "b-1"))
    house.pass_ms(HOLD_MS)
    await house.sweep(sale.event)
    assert await listed() == {"a:cafe"}
    assert await house.holds.sell_hold(sale.event, ben, "b-1")
    assert await listed() == set()
    await house.audit(sale.event)


async def test_addresses_are_looked_for_in_small_steps(
    house: House, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event after the other, each from where the last step ended; one that is no more keeps nobody waiting."""
    monkeypatch.setattr(limits, "ADDRESSES_LOOK_FIELDS", 100)
    first, second = await make(address_holds=3), await make(address_holds=3)
    for sale in (first, second):
        made = [held(await sale.take(f"h{n}", n % 20, address=f"{n:03}")).hold for n in range(20)]
        for n, hold in enumerate(made):
            held(await house.holds.release_hold(sale.event, f"h{n}", hold))
        book = (await house.sale(sale.event)).key("book")
        await house.pipe.call("HSET", book, *(part for n in range(600) for part in (f"a:x{n}", b"\x90")))
    addresses, forgotten = Addresses(house.book), []
    events = [first.event, "no-such-event", second.event]
    for _ in range(100):
        try:
            forgotten.append(await addresses.step(events))
        except NotFound:
            continue
        if sum(forgotten) == 2 * 620:
            break
    assert sum(forgotten) == 2 * 620
    assert 0 < max(forgotten) < 200
