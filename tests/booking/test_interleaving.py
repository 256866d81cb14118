"""Random interleavings of buyers and workers, and deaths between any two calls, from seeds that replay.

Many more: `make faults`.
"""

import pytest
from booking_fixtures import booking_dsn_fixture, empty, house_fixture, inventory_dsn_fixture  # noqa: F401
from booking_house import BookingHouse
from interleaving import Schedule, live_through
from mutation_house import change_statement


@pytest.mark.parametrize("seed", [2, 3])
async def test_whatever_order_their_calls_come_in_all_is_right(house: BookingHouse, seed: int) -> None:
    schedule = await live_through(house, seed)
    assert len({told.partition(":")[0] for told in schedule.told}) >= 4, "several were at it"


async def test_what_is_taken_away_is_missed(house: BookingHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another intent was paid, and nobody ends it. Not every sale has such a buyer."""
    change_statement(monkeypatch, "write_surplus", "WHERE id = $1", "WHERE id = $1 AND false")

    async def many() -> None:
        for seed in range(1, 20):
            await empty(house.pool)
            await live_through(house, seed)

    with pytest.raises(AssertionError, match=r"seed \d+: .*I11"):
        await many()


async def test_a_seed_tells_the_same_story_again() -> None:
    async def told(seed: int) -> list[str]:
        schedule = Schedule(seed)

        async def actor(name: str) -> None:
            for n in range(4):
                await schedule.pause(f"{name}{n}")

        await schedule.lead([actor(name) for name in "abc"])
        return schedule.told

    first = await told(1)
    assert await told(1) == first
    assert await told(2) != first
    assert sorted(first) == [f"{name}{n}" for name in "abc" for n in range(4)]
    assert [one for one in first if one[0] == "a"] == ["a0", "a1", "a2", "a3"], "each in its own order"
