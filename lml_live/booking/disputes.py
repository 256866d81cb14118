"""Disputes: a buyer's bank takes a payment back, and decides. The seat stays the buyer's, its tickets are flagged.

Won, the booking is again what its refunds have made of it. Lost, it is `charged_back`: the money is gone, and that the
seat is sold again is for somebody to decide. What Stripe says may be heard twice, late, or only when all is over; and
what a bank has decided it may think better of (docs/decisions/025).
"""

import logging
from collections.abc import Sequence
from typing import Final

import asyncpg

from lml_live import limits
from lml_live.booking import refunds
from lml_live.booking.accounts import post, post_fee
from lml_live.booking.evidence import plan_evidence
from lml_live.booking.ledger import Shares
from lml_live.booking.payments import DisputeState, StripeDispute
from lml_live.booking.refunding import lost_of_rest, state_of_money, what_is_left
from lml_live.booking.states import BookingState, may_move
from lml_live.booking.surplus_disputes import SurplusDisputes
from lml_live.booking.transfers import give_again, take_back
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("disputes")
_BOOKING: Final = postgres.statements("booking")


class Disputes:
    """The disputes of the house."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.of_surplus: Final = SurplusDisputes(pool)

    async def to_look_at(self, count: int, seconds: float) -> set[str]:
        """Bookings whose disputes are open, or ended lately, and were not asked about for so long."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["disputes_to_look_at"], count, seconds, limits.DISPUTE_LOOK_DAYS)
        return {row["booking_id"] for row in rows} | await self.of_surplus.to_look_at(count, seconds)

    async def found(self, booking: str, at_stripe: Sequence[StripeDispute]) -> None:
        """Draws the consequences of what Stripe says of a booking's disputes."""
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_BOOKING["lock_booking"], booking)
            assert row is not None
            known: dict[str, asyncpg.Record] = {
                one["id"]: one for one in await connected.fetch(_SQL["list_disputes"], booking)
            }
            states: dict[str, DisputeState] = {name: one["state"] for name, one in known.items()}
            for one in at_stripe:
                here = known.get(one.id)
                states[one.id] = await self._follow(connected, row, one, here)
                await self._book_fees(connected, row, one)
            if taken := set(states.values()) - {"inquiry", "dropped"}:
                await self._settle(connected, row, taken)

    async def _follow(
        self, connected: Connection, row: asyncpg.Record, one: StripeDispute, known: asyncpg.Record | None
    ) -> DisputeState:
        """Goes from what we know of a dispute to what Stripe says, and answers what it is then."""
        here: DisputeState | None = None if known is None else known["state"]
        amount: int = await _amount(connected, row, one) if known is None else known["amount"]
        bank = (None, None) if one.currency == row["currency"] else (one.amount, one.currency)
        if here in (None, "inquiry", "dropped"):
            asks = one.state in ("inquiry", "dropped")
            # What is heard of only when the bank has decided it has taken before.
            begun = one.state if asks else "open"
            if here is None:
                await connected.execute(
                    *(_SQL["open_dispute"], one.id, row["id"], begun, amount, *bank, one.reason, one.due_by)
                )
            elif not asks:
                amount = await _amount(connected, row, one)
                await connected.execute(_SQL["raise_inquiry"], one.id, amount, *bank, one.due_by)
            elif (here, one.state) == ("inquiry", "dropped"):
                await connected.execute(_SQL["close_dispute"], one.id, "dropped", *_nobodys())
            if one.state in ("inquiry", "open"):
                await plan_evidence(connected, row["id"], one.id, "inquiry" if asks else "dispute", one.due_by)
            if here is None or not asks:
                what = "inquiry" if asks else "dispute"
                log.warning(
                    "booking %s: %s %s over %d %s (%s)", row["id"], what, one.id, amount, row["currency"], one.reason
                )
            if asks:
                return one.state if here in (None, "inquiry") else here
            await post(connected, row["id"], row["currency"], "disputed", Shares(0, 0, 0, amount), about=one.id)
            await connected.execute(_BOOKING["touch_booking"], row["id"])
            here = begun
        if (here, one.state) in (("open", "won"), ("open", "lost"), ("lost", "won")):
            await self._close(connected, row, one, amount, known)
            log.warning("booking %s: dispute %s is %s", row["id"], one.id, one.state)
            return one.state
        if here != one.state:
            log.error(
                "booking %s: dispute %s is %s, and Stripe says %s: look into it", row["id"], one.id, here, one.state
            )
        assert here is not None
        return here

    async def _close(
        self,
        connected: Connection,
        row: asyncpg.Record,
        one: StripeDispute,
        amount: int,
        known: asyncpg.Record | None,
    ) -> None:
        booking, currency = row["id"], row["currency"]
        if one.state == "lost":
            paid, earlier, before = await refunds.money_of(connected, booking)
            # Of a disputed charge Stripe gives nothing back: what it has not accepted it never will.
            rest, owed = what_is_left(paid, [refund for refund in earlier if refund.accepted], before)
            lost = lost_of_rest(rest, owed, amount)
            await connected.execute(_SQL["close_dispute"], one.id, "lost", lost.venue, lost.fees, lost.tax, lost.owed)
            await post(connected, booking, currency, "dispute_lost", lost, about=one.id)
            await take_back(connected, row, f"dispute:{one.id}")
        elif known is not None and known["state"] == "lost":
            back = Shares(known["lost_venue"], known["lost_fees"], known["lost_tax"], known["lost_owed"])
            await connected.execute(_SQL["close_dispute"], one.id, "won", *_nobodys())
            await post(connected, booking, currency, "dispute_reinstated", back, about=one.id)
            await give_again(connected, row, f"dispute:{one.id}")
        else:
            await connected.execute(_SQL["close_dispute"], one.id, "won", *_nobodys())
            await post(connected, booking, currency, "dispute_won", Shares(0, 0, 0, amount), about=one.id)
        await connected.execute(_BOOKING["touch_booking"], booking)

    async def _book_fees(self, connected: Connection, row: asyncpg.Record, one: StripeDispute) -> None:
        for move in one.moves:
            if not move.fee:
                continue
            if await connected.fetchval(_SQL["keep_fee"], move.id, one.id, move.fee, move.currency) is not None:
                await post_fee(connected, row["id"], move)
                await connected.execute(_BOOKING["touch_booking"], row["id"])

    async def _settle(self, connected: Connection, row: asyncpg.Record, disputes: set[DisputeState]) -> None:
        """The booking and its tickets follow from all its disputes: one that is open comes first, then one lost."""
        here: BookingState = row["state"]
        if here == "refunded":
            return  # its places are others' by now: what a bank takes besides is money, and booked
        to: BookingState = "disputed"
        if "open" not in disputes:
            paid, earlier, _ = await refunds.money_of(connected, row["id"])
            to = "charged_back" if "lost" in disputes else state_of_money(paid, earlier)
        # What was heard of only when it was over has been disputed, too.
        for step in ("disputed", to) if here not in ("disputed", to) else (to,):
            if step != here and may_move(here, step):
                await connected.execute(_BOOKING["move_booking"], row["id"], step)
                here = step
        if here != to:
            log.error("booking %s is %s, and its disputes would have it %s: look into it", row["id"], here, to)
        flagged = here in ("disputed", "charged_back")
        await connected.execute(_SQL["flag_tickets" if flagged else "clear_tickets"], row["id"])


async def _amount(connected: Connection, row: asyncpg.Record, one: StripeDispute) -> int:
    """What a dispute takes, in the booking's currency: as the bank says it, else as Stripe has booked it, else all."""
    if one.currency == row["currency"]:
        return one.amount
    booked = [-move.amount for move in one.moves if move.currency == row["currency"] and move.amount < 0]
    if booked:
        return booked[0]
    rest, owed = what_is_left(*await refunds.money_of(connected, row["id"]))
    return max(1, rest.total + owed)


def _nobodys() -> tuple[None, None, None, None]:
    return None, None, None, None
