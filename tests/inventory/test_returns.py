"""A booking gives a part back: the inventory keeps what it still owns, however late it is told (`keep_places`)."""

from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, held, refused, seat_id

from lml_live.inventory import seatmap
from lml_live.inventory.returns import Returns

FREE, SOLD = seatmap.BYTE_AVAILABLE, seatmap.BYTE_SOLD


async def test_a_booking_keeps_what_it_still_owns(house: House) -> None:
    event = await house.open_event(areas={"pit": 10})
    holds, returns = house.holds, Returns(house.book)
    seats, areas = [(seat, "a") for seat in (4, 5, 6)], [("pit", "a", 3), ("pit", "b", 1)]
    hold = held(await holds.hold_seats(event, "anna", seats, areas, key=None)).hold
    kept = [seat_id(4), seat_id(6)], [("pit", "a", 1), ("pit", "b", 1)]
    assert not await returns.keep_places(event, hold, "b1", *kept), "nothing is being paid for yet"
    held(await holds.checkout_hold(event, "anna", hold, "b1"))
    held(await holds.sell_hold(event, hold, "b1"))
    assert not await returns.keep_places(event, hold, "b2", *kept), "another booking's"

    assert await returns.keep_places(event, hold, "b1", *kept)
    _, entry = await house.last_entry(event)
    assert (entry.act, entry.seat_bytes(), entry.area_counts()) == ("keep", {5: FREE}, {"pit": (8, 0, 2, 0)})
    [change] = entry.holds
    name, record = change.hold, change.record
    assert (name, record.state, record.seats) == (hold, "sold", (4, "a", 6, "a"))
    assert record.areas == ("pit", "a", 1, "pit", "b", 1)
    held(await holds.hold_seats(event, "anna", [(seat, "a") for seat in (5, 8, 9, 10)], [], key=None))
    refused(await holds.hold_seats(event, "anna", [(12, "a")], [], key=None), "limit_exceeded")

    # Told again, or what it kept before: nothing comes back, and nothing more goes.
    before = await house.inventory(event)
    assert not await returns.keep_places(event, hold, "b1", *kept)
    earlier = [seat_id(4), seat_id(5), seat_id(6)], [("pit", "a", 3), ("pit", "b", 1)]
    assert not await returns.keep_places(event, hold, "b1", *earlier)
    assert await house.inventory(event) == before
    assert await returns.keep_places(event, hold, "b1", [seat_id(6)], [])
    assert (await house.states(event))[4:7] == [FREE, seatmap.BYTE_HELD, SOLD]
    await house.audit(event)
    held(await holds.free_booking(event, hold, "b1", "staff"))
    assert (await house.states(event))[6] == FREE
    await house.audit(event)


async def test_a_part_that_goes_back_before_the_sale_is_told_is_not_sold(house: House) -> None:
    """Both are told after they are decided, and in any order."""
    event = await house.open_event(areas={"pit": 10})
    holds, returns = house.holds, Returns(house.book)
    hold = held(await holds.hold_seats(event, "anna", [(4, "a"), (5, "a")], [("pit", "a", 3)], key=None)).hold
    held(await holds.checkout_hold(event, "anna", hold, "b1"))
    assert await returns.keep_places(event, hold, "b1", [seat_id(4)], [("pit", "a", 1)])
    assert (await house.states(event))[4:6] == [seatmap.BYTE_HELD, FREE]
    assert await house.area(event, "pit") == (9, 1, 0, 0)
    held(await holds.sell_hold(event, hold, "b1"))
    assert (await house.states(event))[4:6] == [SOLD, FREE]
    assert await house.area(event, "pit") == (9, 0, 1, 0)
    await house.audit(event)
