"""What staff took off sale, as PostgreSQL remembers it. Written before the inventory is told: adopt lays it over.

Each change is put on record in the status-change log in its own transaction: neither is there without the other.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

BlockKind = Literal["house", "kill"]
"""`house`: staff may sell from it; `kill`: nobody may."""

_EVENT: Final = postgres.statements("catalogue")
_SQL: Final = postgres.statements("blocks")


class Blocks:
    """Rows of `seat_block` and `area_block`. One event's changes wait for one another, so none deadlock."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def block_seats(
        self, event_id: str, seat_ids: Sequence[str], kind: BlockKind, reason: str, staff_id: str
    ) -> frozenset[str]:
        """Takes seats off sale and returns those; what is missing in the answer is in checkout or sold.

        Seats that are blocked already get the new kind and reason.
        """
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            rows = await connected.fetch(_SQL["block_seats"], event_id, seat_ids, kind, reason, staff_id)
        return frozenset(row["seat_id"] for row in rows)

    async def unblock_seats(self, event_id: str, seat_ids: Sequence[str], staff_id: str, reason: str | None) -> None:
        """Puts seats back on sale; those that are not blocked stay as they are."""
        await self._end("unblock_seats", event_id, seat_ids, staff_id, reason)

    async def withdraw_seats(self, event_id: str, seat_ids: Sequence[str], staff_id: str, reason: str | None) -> None:
        """Takes back blocks that the inventory refused; the log shows them as withdrawn."""
        await self._end("withdraw_seats", event_id, seat_ids, staff_id, reason)

    async def _end(
        self, statement: str, event_id: str, seat_ids: Sequence[str], staff_id: str, reason: str | None
    ) -> None:
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            await connected.execute(_SQL[statement], event_id, seat_ids, staff_id, reason)

    async def block_areas(
        self, event_id: str, areas: Mapping[str, int], kind: BlockKind, reason: str, staff_id: str
    ) -> dict[str, int]:
        """Takes so many more places of each area off sale. Returns the areas that have not so many, with how many are
        not blocked yet."""
        short: dict[str, int] = {}
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            for area_id, quantity in areas.items():
                named = (event_id, area_id, kind, quantity, reason, staff_id)
                if await connected.fetchval(_SQL["block_area"], *named) is None:
                    short[area_id] = await connected.fetchval(_SQL["count_unblocked"], event_id, area_id) or 0
        return short

    async def unblock_areas(
        self,
        event_id: str,
        areas: Mapping[str, int],
        kind: BlockKind,
        staff_id: str,
        reason: str | None,
        *,
        refused: bool = False,
    ) -> dict[str, int]:
        """Puts so many places of each area back on sale. Returns the areas that have fewer of this kind, with how many.

        `refused` says that the inventory would not block them: the log then shows the block as withdrawn.
        """
        act = "withdraw" if refused else "unblock"
        short: dict[str, int] = {}
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            for area_id, quantity in areas.items():
                if await _lessen(connected, event_id, area_id, kind, quantity):
                    record = (event_id, act, area_id, quantity, staff_id, reason)
                    await connected.execute(_SQL["record_area_unblock"], *record)
                else:
                    short[area_id] = await connected.fetchval(_SQL["count_blocked"], event_id, area_id, kind) or 0
        return short


async def _lessen(connected: Connection, event_id: str, area_id: str, kind: BlockKind, quantity: int) -> bool:
    left = await connected.fetchval(_SQL["lessen_area_block"], event_id, area_id, kind, quantity)
    if left is None:
        left = await connected.fetchval(_SQL["end_area_block"], event_id, area_id, kind, quantity)
    return left is not None
