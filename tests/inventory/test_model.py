"""Random acts of holders, staff, bookings and time, and Redis lost: the reference and the log's mirror say the same."""

import asyncio

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from inventory_fixtures import inventory_dsn_fixture, scripts_keep_their_word  # noqa: F401
from inventory_house import SCRIPTS, House
from story_house import HouseRules

from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.inventory.answers import Changed


def test_random_acts(valkey_url: str, inventory_dsn: str) -> None:
    """Four stories of 28 acts, beside those that are told (`test_told`); a failure prints the story."""

    class Story(HouseRules):
        dsn, valkey = inventory_dsn, valkey_url

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Story,
        settings=settings(
            max_examples=4,
            stateful_step_count=28,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=[Phase.generate],  # a shorter story is not worth minutes
        ),
    )


def test_the_auditor_sees_a_leak(valkey_url: str, inventory_dsn: str) -> None:
    """A checker that never fails proves nothing: a seat is freed, or taken, behind the book's back."""

    async def work() -> None:
        pool = await postgres.connect_pool(inventory_dsn, size_max=1)
        pipe = Pipe(valkey_url, SCRIPTS)
        await pipe.start()
        house = House(pipe, pool)
        event = await house.open_event(areas={"pit": 5})
        sale = await house.sale(event)
        answer = await house.holds.hold_seats(event, "anna", [(1, "a")], [("pit", "a", 1)], key="k")
        assert isinstance(answer, Changed)
        await house.audit(event)
        for broken, mended in (
            (("SETRANGE", sale.key("seats"), 1, b"\0"), ("SETRANGE", sale.key("seats"), 1, b"\1")),
            (("SETRANGE", sale.key("seats"), 2, b"\1"), ("SETRANGE", sale.key("seats"), 2, b"\0")),
            (
                ("HINCRBY", sale.key("areas"), "pit/held", 1),
                ("HINCRBY", sale.key("areas"), "pit/held", -1),
            ),
            (("ZADD", sale.key("deadlines"), 1, "1-x"), ("ZREM", sale.key("deadlines"), "1-x")),
            (("HSET", sale.key("book"), "k:leaked", b"x"), ("HDEL", sale.key("book"), "k:leaked")),
            (("HSET", sale.key("book"), "o:ben", b"\x91\x01"), ("HDEL", sale.key("book"), "o:ben")),
        ):
            await pipe.call(*broken)
            with pytest.raises(AssertionError):
                await house.audit(event)
            await pipe.call(*mended)
            await house.audit(event)
        await pipe.close()
        await pool.close()

    asyncio.run(work())
