"""The row about bookings: what it measures is what it says, by us and by `pgbench`. Nothing of how fast."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lml_live.bench import bounds, commits
from lml_live.bench.adopting import OneHall, open_event
from lml_live.booking.bookings import Bookings
from lml_live.devstack.servers import Postgres
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.pricing.catalogue import Catalogue


async def test_both_sides_make_whole_bookings(
    postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "_ROUNDS", 1)
    monkeypatch.setattr(commits, "_PGBENCH_ROUNDS", {2: 3})
    pool = await postgres.connect_pool(postgres_dsn, size_max=2)
    try:
        event = await open_event(Catalogue(pool, OneHall(1)))
        engine = cast(Postgres, SimpleNamespace(url=postgres_dsn, pid=os.getpid()))
        row = commits._Commits(engine, Bookings(pool), event, tmp_path / "commits")
        await row.begin()
        assert await count(pool) == {"booking": 1, "booking_seat": 2, "booking_line": 2, "payment": 1, "outbox": 1}
        ours = await row.ours(refused=False)
        assert (ours.bookings, len(ours.latencies_ms)) == (bounds.IN_FLIGHT, bounds.IN_FLIGHT)
        refused = await row.ours(refused=True)
        assert refused.bookings == bounds.IN_FLIGHT - 1
        theirs = await row.pgbench(2)
        assert theirs.bookings == 6
        made = 1 + bounds.IN_FLIGHT + bounds.IN_FLIGHT - 1 + 6
        assert await count(pool) == {
            "booking": made,
            "booking_seat": 2 * made,
            "booking_line": 2 * made,
            "payment": made,
            "outbox": made,
        }
        await pool.execute("UPDATE event SET state = 'closed'")
        with pytest.raises(Unavailable, match="claimed 0 bookings"):
            await row.ours(refused=False)
    finally:
        await pool.close()


async def count(pool: postgres.Pool) -> dict[str, Any]:
    tables = ("booking", "booking_seat", "booking_line", "payment", "outbox")
    return {table: await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
