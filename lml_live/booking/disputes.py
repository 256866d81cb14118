"""Disputes: a buyer's bank takes a payment back, and decides. The seat stays the buyer's, its tickets are flagged.

Won, the booking is again what its refunds have made of it. Lost, it is `charged_back`: the money is gone, and that the
seat is sold again is for somebody to decide. What Stripe says may be heard twice, late, or only when all is over.
"""

import logging
from collections.abc import Sequence
from typing import Final

import asyncpg

from lml_live.booking import refunds
from lml_live.booking.accounts import post
from lml_live.booking.ledger import Shares
from lml_live.booking.payments import StripeDispute
from lml_live.booking.refunding import lost_shares, state_of_money
from lml_live.booking.states import BookingState, may_move
from lml_live.booking.transfers import take_back
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("disputes")
_BOOKING: Final = postgres.statements("booking")


class Disputes:
    """The disputes of the house."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def to_look_at(self, count: int, seconds: float) -> set[str]:
        """Bookings whose disputes are open, and were not asked about for so long."""
        async with postgres.connection(self._pool) as connected:
            return {row["booking_id"] for row in await connected.fetch(_SQL["disputes_to_look_at"], count, seconds)}

    async def found(self, booking: str, at_stripe: Sequence[StripeDispute]) -> None:
        """Draws the consequences of what Stripe says of a booking's disputes."""
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_BOOKING["lock_booking"], booking)
            assert row is not None
            known = {one["id"]: one["state"] for one in await connected.fetch(_SQL["list_disputes"], booking)}
            for one in at_stripe:
                if one.id not in known:
                    await self._open(connected, row, one)
                    known[one.id] = "open"
                if known[one.id] == "open" and one.state != "open":
                    await self._close(connected, row, one)
                    known[one.id] = one.state
            if known:
                await self._settle(connected, row, set(known.values()))

    async def _open(self, connected: Connection, row: asyncpg.Record, one: StripeDispute) -> None:
        await connected.execute(_SQL["open_dispute"], one.id, row["id"], one.amount, one.reason)
        taken = Shares(0, 0, 0, one.amount)
        await post(connected, row["id"], row["currency"], "disputed", taken, about=one.id)
        log.warning(
            "booking %s: dispute %s over %d %s (%s)", row["id"], one.id, one.amount, row["currency"], one.reason
        )

    async def _close(self, connected: Connection, row: asyncpg.Record, one: StripeDispute) -> None:
        await connected.execute(_SQL["close_dispute"], one.id, one.state)
        if one.state == "won":
            taken = Shares(0, 0, 0, one.amount)
            await post(connected, row["id"], row["currency"], "dispute_won", taken, about=one.id)
        else:
            lost = lost_shares(*await refunds.money_of(connected, row["id"]), one.amount)
            await post(connected, row["id"], row["currency"], "dispute_lost", lost, about=one.id)
            await take_back(connected, row, f"dispute:{one.id}")
        log.warning("booking %s: dispute %s is %s", row["id"], one.id, one.state)

    async def _settle(self, connected: Connection, row: asyncpg.Record, disputes: set[str]) -> None:
        """The booking and its tickets follow from all its disputes: one that is open comes first, then one lost."""
        here: BookingState = row["state"]
        to: BookingState = "disputed"
        if "open" not in disputes:
            to = "charged_back" if "lost" in disputes else state_of_money(*await refunds.money_of(connected, row["id"]))
        # What was heard of only when it was over has been disputed, too.
        for step in ("disputed", to) if here not in ("disputed", to) else (to,):
            if step != here and may_move(here, step):
                await connected.execute(_BOOKING["move_booking"], row["id"], step)
                here = step
        if here != to:
            log.error("booking %s is %s, and its disputes would have it %s: look into it", row["id"], here, to)
        flagged = here in ("disputed", "charged_back")
        await connected.execute(_SQL["flag_tickets" if flagged else "clear_tickets"], row["id"])
