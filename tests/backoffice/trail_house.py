"""A database with an event and a trail, for tests that write to it as the product's rooms do, and as intruders do."""

from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import AsyncIterator  # noqa: UP035

from databases import past_guards
from waiting import eventually

from lml_live.backoffice.anchors import Anchoring, Verdict, verify
from lml_live.backoffice.chain import Fault
from lml_live.backoffice.trail import Trail
from lml_live.infra import postgres
from lml_live.infra.folder import Folder

EVENT = """
    INSERT INTO event (id, group_id, name, venue, starts_at, on_sale_at, currency, layout_id, layout_version,
                       layout_hash, seat_count, max_seats, hold_seconds, extensions, lifetime_seconds)
    VALUES ($1, $1, 'Aida', 'Hall', now() + interval '9 days', now(), 'EUR', 'hall', 1, 'ab', 9, 8, 300, 2, 1800)
"""
BOOKING = """
    INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end, buyer_name,
                         buyer_email, amount, currency, prices_version, expires_at, origin)
    VALUES ($1, $2, 'h', 'anna', 1, 'pending_payment', now(), now(), 'Anna', 'a@x', 5, 'EUR', 1, now(), 'from-anna')
"""
SEAT = "INSERT INTO status_change (event_id, act, seat_id, staff_id, reason) VALUES ($1, 'block', $2, 'clara', 'sight')"


class TrailHouse:
    def __init__(self, pool: postgres.Pool, directory: Path) -> None:
        self.pool = pool
        self.trail = Trail(pool)
        self.store = Folder(directory)
        self.directory = directory
        self.anchoring = Anchoring(pool, self.store, anchor_seconds=3600)

    async def chain(self) -> int:
        """Until nothing waits."""
        made = 0
        while (more := await self.trail.chain()) > 0:
            made += more
        return made

    async def settle(self) -> None:
        """Time passes, twice: the floors come up to all that is chained."""
        for _ in range(2):
            await self.chain()
            await self.pool.execute("UPDATE audit_floor SET next_at = next_at - interval '2 minutes'")
        await self.chain()

    async def floor_reaches(self, log: str, number: int) -> None:
        """The floor of a log comes up to a number; other databases' transactions may keep it waiting meanwhile."""

        async def reached() -> bool:
            await self.settle()
            return bool(await self.pool.fetchval("SELECT number FROM audit_floor WHERE log = $1", log) == number)

        await eventually(reached, 60)

    async def faults(self) -> Sequence[Fault]:
        self.verdict = Verdict()
        return [fault async for fault in verify(self.pool, self.store, self.verdict)]

    async def kinds(self) -> list[tuple[str, str | None, int | None]]:
        return [(fault.kind, fault.log, fault.number) for fault in await self.faults()]

    async def tamper(self, statement: str, *arguments: object) -> None:
        await past_guards(self.pool, statement, *arguments)


@asynccontextmanager
async def open_trail(dsn: str, directory: Path) -> AsyncIterator[TrailHouse]:
    pool = await postgres.connect_pool(dsn, size_max=3)
    try:
        house = TrailHouse(pool, directory)
        await pool.execute(EVENT, "aida")  # act 1
        for name in ("b1", "b2"):
            await pool.execute(BOOKING, name, "aida")  # moves 1 and 3
            await pool.execute("UPDATE booking SET state = 'expiring' WHERE id = $1", name)  # moves 2 and 4
        for seat in "abc":
            await pool.execute(SEAT, "aida", seat)  # seats 1 to 3
        await house.trail.write("layout.deployed", ("layout", "hall"), detail='{"version": 1}')  # act 2
        yield house
    finally:
        await pool.close()
