"""What staff may see of seats: the status-change log, by seat and by time, and what is so now."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

from lml_live import limits
from lml_live.backoffice.reports import StatusChange
from lml_live.clock import to_datetime
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.inventory import seatmap
from lml_live.inventory.records import Record
from lml_live.inventory.staff_holds import StaffHolds

_SQL: Final = postgres.statements("status")
STATUS_OF_BYTE: Final = ("available", "held", "sold", "house", "kill")
"""The position is the state of `seatmap`."""


class SeatDetails(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One seat as staff see it. `channel` is the only one that sells it; `customer` is the name under which staff hold
    it; `reason` is that of a block."""

    seat_id: str
    category: str
    status: str
    channel: str | None = None
    hold: str | None = None
    holder: str | None = None
    customer: str | None = None
    deadline: datetime | None = None
    booking: str | None = None
    booking_state: str | None = None
    reason: str | None = None
    staff: str | None = None
    blocked_at: datetime | None = None


class History:
    """Reads; changes nothing."""

    def __init__(self, pool: Pool, staff_holds: StaffHolds) -> None:
        self._pool = pool
        self._inventory = staff_holds

    async def changes(
        self, event: str, *, seat_id: str | None, since: datetime, after: tuple[datetime, int], limit: int
    ) -> Sequence[StatusChange]:
        """At most `limit` changes since a time and after (time, number), the oldest first; of one seat, or of all."""
        named = "list_changes" if seat_id is None else "list_changes_of_seat"
        more = () if seat_id is None else (seat_id,)
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL[named], event, since, *after, limit, *more)
        return [
            StatusChange(
                number=row["number"],
                at=row["at"],
                act=row["act"],
                seat_id=row["seat_id"],
                area_id=row["area_id"],
                quantity=row["quantity"],
                status=row["status"],
                hold=row["hold_id"],
                holder=row["holder"],
                booking=row["booking_id"],
                channel=row["channel"],
                staff=row["staff_id"],
                staff_email=row["email"],
                reason=row["reason"],
            )
            for row in rows
        ]

    async def seats(self, event: str, layout: str, seats: Sequence[tuple[int, str, str]]) -> list[SeatDetails]:
        """What is so of these seats (index, id, category), in their order. The stores are read one after the other.

        The indexes are those of the layout of this hash; raises `Unavailable` where the event is on another.
        """
        inventory = self._inventory.under({event: layout})
        bytes_now = await inventory.seat_bytes(event)
        states = {seat_id: bytes_now[seat] & seatmap.STATE_MASK for seat, seat_id, _ in seats}
        async with postgres.connection(self._pool) as connected:
            found = await connected.fetch(_SQL["load_seats"], event, list(states))
        rows = {row["seat_id"]: row for row in found}
        # A booking names its hold; only for the others the book is gone through.
        unexplained = {
            seat: seat_id
            for seat, seat_id, _ in seats
            if states[seat_id] == seatmap.BYTE_HELD and rows[seat_id]["booking_id"] is None
        }
        in_book = await inventory.find_holds(event, unexplained)
        holds = {unexplained[seat]: held for seat, held in in_book.items()}
        ids = {hold for hold, _ in holds.values()} | {row["hold_id"] for row in found if row["hold_id"] is not None}
        async with postgres.connection(self._pool) as connected:
            named = await connected.fetch(_SQL["load_customers"], list(ids))
        customers: dict[str, str] = {row["hold_id"]: row["customer"] for row in named}
        return [
            _details(seat_id, category, states[seat_id], rows[seat_id], holds.get(seat_id), customers)
            for _, seat_id, category in seats
        ]


def _details(
    seat_id: str,
    category: str,
    state: int,
    row: asyncpg.Record,
    in_book: tuple[str, Record] | None,
    customers: Mapping[str, str],
) -> SeatDetails:
    hold, record = in_book if in_book is not None else (row["hold_id"], None)
    deadline_ms = record.deadline_ms if record is not None and record.state == "active" else limits.UNTIL_RELEASED_MS
    return SeatDetails(
        seat_id=seat_id,
        category=category,
        # A byte that no script writes is as good as killed: nobody can be sold what it stands for.
        status=STATUS_OF_BYTE[min(state, seatmap.BYTE_KILL)],
        channel=row["channel"],
        hold=hold,
        holder=record.holder if record is not None else row["holder"],
        customer=customers.get(hold) if hold is not None else None,
        deadline=to_datetime(deadline_ms) if deadline_ms < limits.UNTIL_RELEASED_MS else None,
        booking=(record.booking or None) if record is not None else row["booking_id"],
        booking_state=row["booking_state"],
        reason=row["reason"],
        staff=row["staff_id"],
        blocked_at=row["created"],
    )
