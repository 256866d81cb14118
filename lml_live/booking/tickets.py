"""Tickets: issued with the sale, let in once, printed anew, and void when the money goes back.

A ticket's id is its code; who has it comes in. So it is shown to the buyer and at the counter only, and in no log.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, get_args

import asyncpg
from msgspec import Struct

from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

_SQL: Final = postgres.statements("tickets")

TicketState = Literal["valid", "flagged", "used", "void"]
TICKET_STATES: Final[frozenset[TicketState]] = frozenset(get_args(TicketState))
TICKET_MOVES: Final[dict[TicketState, frozenset[TicketState]]] = {
    # flagged: the payment is disputed, and somebody at the door decides.
    "valid": frozenset({"used", "flagged", "void"}),
    "flagged": frozenset({"valid", "void"}),
    "used": frozenset({"void"}),
    "void": frozenset(),
}
Outcome = Literal["admitted", "used", "flagged", "void", "other_event"]


class Ticket(Struct, frozen=True, kw_only=True):
    """One place's ticket."""

    id: str
    booking: str
    event: str
    line: int
    seat_id: str | None
    area_id: str | None
    type: str
    state: TicketState
    used_at: datetime | None
    used_gate: str | None


class Scanned(Struct, frozen=True):
    """What a scan found: `admitted` for one scan of each ticket, and for no second one."""

    outcome: Outcome
    ticket: Ticket


class NotReprinted(Struct, frozen=True):
    """Why no ticket was printed anew."""

    message: str


async def issue(connected: Connection, *bookings: str) -> None:
    """Issues the tickets of bookings in the transaction that confirms them."""
    await connected.execute(_SQL["issue"], bookings, None, None, None, None)


async def void(connected: Connection, booking: str, lines: Sequence[int] | None = None) -> None:
    """Ends the tickets of a booking, or of these lines, in the transaction that gives their money back."""
    await connected.execute(_SQL["void"], booking, lines)


class Tickets:
    """The tickets of the house."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of_booking(self, booking: str) -> list[Ticket]:
        """Those that are not void, by line."""
        async with postgres.connection(self._pool) as connected:
            return [_read(row) for row in await connected.fetch(_SQL["list_tickets"], booking)]

    async def scan(self, ticket: str, event: str, gate: str, staff: str, key: str) -> Scanned | None:
        """Lets in on a ticket, once, or says why not; None for a code that there is not.

        `key` is the request's: told again, it hears of the same admission.
        """
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["admit"], ticket, event, gate, staff, key)
            row = await connected.fetchrow(_SQL["load_ticket"], ticket)
        if row is None:
            return None
        outcome: Outcome = row["state"]
        if row["event_id"] != event:
            outcome = "other_event"
        elif row["state"] == "used" and row["used_key"] == key:
            outcome = "admitted"
        elif row["state"] == "valid":
            # It was flagged when we asked, and no more when we looked: ask again.
            return await self.scan(ticket, event, gate, staff, key)
        return Scanned(outcome, _read(row))

    async def reprint(
        self, booking: str, lines: Sequence[int] | None, reason: str, staff: str, key: str
    ) -> list[Ticket] | NotReprinted | None:
        """Ends the codes of a booking, or of these lines, and issues new ones; None for no booking.

        Only valid tickets: on one that was used somebody is in, and a flagged one is for somebody to decide about.
        """
        async with postgres.transaction(self._pool) as connected:
            if await connected.fetchrow(_SQL["lock_booking"], booking) is None:
                return None
            if not await connected.fetchval(_SQL["was_reprinted"], booking, key):
                good = {row["line"] for row in await connected.fetch(_SQL["lock_good_tickets"], booking)}
                wanted = sorted(good if lines is None else set(lines))
                if not wanted or not good.issuperset(wanted):
                    return NotReprinted("There is no valid ticket to be printed anew for this.")
                await connected.execute(_SQL["void"], booking, wanted)
                await connected.execute(_SQL["issue"], [booking], wanted, key, staff, reason)
            return [_read(row) for row in await connected.fetch(_SQL["list_tickets"], booking)]


def _read(row: asyncpg.Record) -> Ticket:
    return Ticket(
        id=row["id"],
        booking=row["booking_id"],
        event=row["event_id"],
        line=row["line"],
        seat_id=row["seat_id"],
        area_id=row["area_id"],
        type=row["type"],
        state=row["state"],
        used_at=row["used_at"],
        used_gate=row["used_gate"],
    )
