"""What staff took off sale, as PostgreSQL remembers it. Written before the inventory is told: adopt lays it over.

Each change is put on record in the status-change log in its own transaction: neither is there without the other.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from lml_live import limits
from lml_live.errors import Refused
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

BlockKind = Literal["house", "kill"]
"""`house`: staff may sell from it; `kill`: nobody may."""


class SeatBlock(Struct, frozen=True):
    """What a seat is blocked as, why and by whom."""

    kind: BlockKind
    reason: str
    staff_id: str


class Counted(Struct, frozen=True):
    """What became of places: areas that have not so many, with how many they have; and how many are off sale now, in
    all, of each of the others."""

    short: Mapping[str, int]
    off_sale: Mapping[str, int]


_EVENT: Final = postgres.statements("catalogue")
_SQL: Final = postgres.statements("blocks")


class Blocks:
    """Rows of `seat_block` and `area_block`. One event's changes wait for one another, so none deadlock."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def block_seats(
        self, event_id: str, seat_ids: Sequence[str], kind: BlockKind, reason: str, staff_id: str
    ) -> dict[str, SeatBlock | None]:
        """Takes seats off sale and returns those; what is missing in the answer is in checkout or sold.

        Seats that are blocked already get the new kind and reason; the answer has what they were blocked as before.
        """
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            rows = await connected.fetch(_SQL["block_seats"], event_id, seat_ids, kind, reason, staff_id)
        return {seat_id: None if old[0] is None else SeatBlock(*old) for seat_id, *old in rows}

    async def unblock_seats(self, event_id: str, seat_ids: Sequence[str], staff_id: str, reason: str | None) -> None:
        """Puts seats back on sale; those that are not blocked stay as they are."""
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            await connected.execute(_SQL["unblock_seats"], event_id, seat_ids, staff_id, reason)

    async def withdraw_seats(
        self, event_id: str, refused: Mapping[str, SeatBlock | None], staff_id: str, reason: str | None
    ) -> None:
        """Takes back blocks that the inventory refused; the log shows them as withdrawn.

        `refused` is of what `block_seats` answered. A seat that was blocked before is so again: whoever has taken it
        over a house hold may yet give it back (docs/decisions/030). One that was claimed meanwhile is not.
        """
        before = [(seat_id, old.kind, old.reason, old.staff_id) for seat_id, old in refused.items() if old is not None]
        columns = [list(column) for column in zip(*before, strict=True)] if before else [[], [], [], []]
        async with postgres.transaction(self._pool) as connected:
            if before:
                await connected.execute(_SQL["wait_out_claims"], event_id)
            await connected.execute(_EVENT["lock_event"], event_id)
            await connected.execute(_SQL["withdraw_seats"], event_id, list(refused), staff_id, reason, *columns)

    async def block_areas(
        self, event_id: str, areas: Mapping[str, int], kind: BlockKind, reason: str, staff_id: str, request: str | None
    ) -> Counted:
        """Takes so many more places of each area off sale, once for each `request` (None: each time).

        Raises `idempotency_mismatch` where the request was another one.
        """
        short: dict[str, int] = {}
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            for area_id, quantity in areas.items():
                if await _was_counted(connected, event_id, request, area_id, kind, quantity):
                    continue
                named = (event_id, area_id, kind, quantity, reason, staff_id)
                if await connected.fetchval(_SQL["block_area"], *named) is None:
                    short[area_id] = await connected.fetchval(_SQL["count_unblocked"], event_id, area_id) or 0
                else:
                    await _note(connected, event_id, request, area_id, kind, quantity)
            return await _counted(connected, event_id, areas, short)

    async def unblock_areas(
        self,
        event_id: str,
        areas: Mapping[str, int],
        kind: BlockKind,
        staff_id: str,
        reason: str | None,
        request: str | None,
    ) -> Counted:
        """Puts so many places of each area back on sale, once for each `request`. Short: those that have fewer of this
        kind, with how many. Raises as `block_areas`."""
        short: dict[str, int] = {}
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            for area_id, quantity in areas.items():
                if await _was_counted(connected, event_id, request, area_id, kind, -quantity):
                    continue
                if await _lessen(connected, event_id, area_id, kind, quantity):
                    record = (event_id, "unblock", area_id, quantity, staff_id, reason)
                    await connected.execute(_SQL["record_area_unblock"], *record)
                    await _note(connected, event_id, request, area_id, kind, -quantity)
                else:
                    short[area_id] = await connected.fetchval(_SQL["count_blocked"], event_id, area_id, kind) or 0
            return await _counted(connected, event_id, areas, short)

    async def withdraw_areas(
        self,
        event_id: str,
        areas: Mapping[str, int],
        kind: BlockKind,
        staff_id: str,
        reason: str | None,
        request: str | None,
    ) -> None:
        """Takes back blocks that the inventory refused; the log shows them as withdrawn, the request may come again."""
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            for area_id, quantity in areas.items():
                if await _lessen(connected, event_id, area_id, kind, quantity):
                    record = (event_id, "withdraw", area_id, quantity, staff_id, reason)
                    await connected.execute(_SQL["record_area_unblock"], *record)
                if request is not None:
                    await connected.execute(_SQL["withdraw_area_request"], event_id, request, area_id)


async def load_area_blocks(connected: Connection, event_id: str, areas: Collection[str]) -> dict[str, tuple[int, int]]:
    """How many places of these areas are off sale in all, and how many of them the house keeps back; by area."""
    rows = await connected.fetch(_SQL["load_area_blocks"], event_id, list(areas))
    return {row["area_id"]: (row["off_sale"], row["house"]) for row in rows}


async def use_up_places(
    connected: Connection,
    event_id: str,
    lent: Mapping[str, int],
    status: Literal["held", "sold"],
    hold: str,
    holder: str,
    booking: str | None,
    staff_id: str,
    reason: str,
) -> None:
    """Places that staff took over a house hold are no longer kept by it: they are the hold's, and the log says so."""
    if lent:
        told = (status, hold, holder, booking, staff_id, reason)
        await connected.execute(_SQL["use_up_area_blocks"], event_id, list(lent), list(lent.values()), *told)


async def _was_counted(
    connected: Connection, event_id: str, request: str | None, area_id: str, kind: BlockKind, change: int
) -> bool:
    if request is None:
        return False
    row = await connected.fetchrow(_SQL["find_area_request"], event_id, request, area_id)
    if row is not None and tuple(row) != (kind, change):
        raise Refused("idempotency_mismatch", "This key was used for another request.")
    return row is not None


async def _note(
    connected: Connection, event_id: str, request: str | None, area_id: str, kind: BlockKind, change: int
) -> None:
    if request is not None:
        await connected.execute(_SQL["drop_area_requests"], event_id, limits.IDEMPOTENCY_HOURS)
        await connected.execute(_SQL["note_area_request"], event_id, request, area_id, kind, change)


async def _counted(connected: Connection, event_id: str, areas: Mapping[str, int], short: Mapping[str, int]) -> Counted:
    off_sale = dict.fromkeys((area_id for area_id in areas if area_id not in short), 0)
    rows = await connected.fetch(_SQL["count_off_sale"], event_id, list(off_sale))
    return Counted(short, off_sale | {row["area_id"]: row["places"] for row in rows})


async def _lessen(connected: Connection, event_id: str, area_id: str, kind: BlockKind, quantity: int) -> bool:
    left = await connected.fetchval(_SQL["lessen_area_block"], event_id, area_id, kind, quantity)
    if left is None:
        left = await connected.fetchval(_SQL["end_area_block"], event_id, area_id, kind, quantity)
    return left is not None
