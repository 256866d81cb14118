"""Rows that two bookings share are taken in one order by everybody, so that none waits for another in a ring."""

import asyncio

import asyncpg
import pytest
from booking_fixtures import booking_dsn_fixture, house_fixture, inventory_dsn_fixture  # noqa: F401
from booking_house import BookingHouse
from inventory_house import held
from waiting import eventually

AREAS = (("balcony", "floor"), ("floor", "balcony"))
"""The order of the rows on disk, which is the order of an UPDATE that is not told another."""


async def take_places(house: BookingHouse, event: str, holder: str) -> str:
    areas = [("floor", "adult", 1), ("balcony", "adult", 1)]
    return held(await house.holds.hold_seats(event, holder, [], areas, key=None)).hold


@pytest.mark.parametrize("ending", ["claim", "end"])
@pytest.mark.parametrize("areas", AREAS)
async def test_areas_are_taken_in_the_order_of_their_ids(
    house: BookingHouse, event: str, areas: tuple[str, str], ending: str
) -> None:
    """Bookings that ended took the rows as they lie on disk, while claims take them by id: a ring of two."""
    hold = await take_places(house, event, "anna")
    booking = None if ending == "claim" else await house.claimed(event, hold)
    connected = await asyncpg.connect(house.dsn)
    try:
        async with connected.transaction():
            first = "SELECT area_id FROM event_area WHERE event_id = $1 AND area_id = $2 FOR NO KEY UPDATE"
            await connected.execute(first, event, "balcony")
            work: asyncio.Task[object] = asyncio.create_task(
                house.buy(event, hold) if booking is None else house.checkout.cancel(booking)
            )
            await eventually(lambda: waits_for_a_lock(house))
            # It waits for the first; so it must not have the second, for which we could wait.
            await connected.execute(f"{first} NOWAIT", event, "floor")
        await work
    finally:
        await connected.close()
    await house.rest()
    await house.audit(event)


@pytest.mark.parametrize("areas", AREAS[:1])
async def test_a_claim_does_not_wait_for_another_ones_foreign_key(house: BookingHouse, event: str) -> None:
    """Two claims of one area had its share lock each, and each waited for the other's before it could count."""
    hold = await take_places(house, event, "anna")
    connected = await asyncpg.connect(house.dsn)
    try:
        async with connected.transaction():
            await connected.execute("SELECT area_id FROM event_area WHERE event_id = $1 FOR KEY SHARE", event)
            booking = await house.claimed(event, hold)
            assert booking.state == "pending_payment", "claimed while the other one has its lock"
    finally:
        await connected.close()


async def waits_for_a_lock(house: BookingHouse) -> bool:
    return bool(
        await house.pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
    )


@pytest.fixture(name="event")
async def event_of_two_areas(house: BookingHouse, areas: tuple[str, str]) -> str:
    return await house.open_event(areas=dict.fromkeys(areas, 10))
