"""Who sweeps: one worker leads, the others ask for its place over a connection that they keep."""

import asyncio
from unittest.mock import MagicMock

from inventory_fixtures import inventory_dsn_fixture, pool_fixture, scripts_keep_their_word  # noqa: F401
from waiting import eventually

from lml_live import wiring
from lml_live.infra import postgres
from lml_live.inventory.upkeep import Upkeep

ASKING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'lml upkeep' AND datname = current_database()
"""


async def test_one_leads_and_who_asks_connects_once(pool: postgres.Pool, inventory_dsn: str) -> None:
    """Each question was a connection of its own: two a second for each worker that does not lead."""
    book = MagicMock()  # nobody sweeps here
    one, other = (Upkeep(book, pool, inventory_dsn, sweep_ms=20) for _ in range(2))
    try:
        assert await one._may_sweep()
        backends = set()
        for _ in range(3):
            assert not await other._may_sweep()
            assert other._candidate is not None
            backends.add(other._candidate.get_server_pid())
        assert len(backends) == 1
        assert await pool.fetchval(ASKING) == 2
        # Who asks and is cut off asks anew.
        other._candidate.terminate()
        assert not await other._may_sweep()
        assert one._leader is not None
        one._leader.terminate()
        assert not one.leads
        await eventually(other._may_sweep)
        assert other.leads
        assert not await one._may_sweep()
    finally:
        for upkeep in (one, other):
            for connection in (upkeep._leader, upkeep._candidate):
                if connection is not None:
                    connection.terminate()


async def test_whoever_hears_of_events_again_looks_for_sales_that_opened_meanwhile(inventory_dsn: str) -> None:
    """Also where nobody looks at one: a house without a sale asked for them only every few seconds."""
    live, upkeep, looked = MagicMock(), MagicMock(), asyncio.Event()
    live.feed.rooms, upkeep.look_again = {}, looked.set
    listening = asyncio.create_task(wiring._listen(inventory_dsn, live, upkeep))
    try:
        await asyncio.wait_for(looked.wait(), 30)
    finally:
        listening.cancel()
