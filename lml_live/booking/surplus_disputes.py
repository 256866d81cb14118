"""Disputes of what was paid for a booking and bought nothing (`surplus_payment`): their money alone.

The booking, its seats and its tickets have no part in them, and its organisation has none in their money: what a bank
takes for good was the buyer's (`refunds_due`), whether it had gone back before or not. No evidence is sent: it was to
go back anyway. What Stripe says may be heard twice, late, or only when all is over, as in `disputes`.
"""

import logging
from collections.abc import Sequence
from typing import Final

import asyncpg

from lml_live import limits
from lml_live.booking.accounts import post, post_fee
from lml_live.booking.ledger import Posting, Shares
from lml_live.booking.payments import DisputeState, StripeDispute
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("surplus_disputes")
_BOOKING: Final = postgres.statements("booking")

_CLOSES: Final[dict[tuple[DisputeState, DisputeState], Posting]] = {
    ("open", "won"): "dispute_won",
    ("open", "lost"): "dispute_lost",
    ("lost", "won"): "dispute_reinstated",
}


class SurplusDisputes:
    """Those of the house."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def intents(self, booking: str) -> list[str]:
        """What was paid for a booking and bought nothing: the PaymentIntents."""
        async with postgres.connection(self._pool) as connected:
            return [row["intent_id"] for row in await connected.fetch(_SQL["surplus_of_booking"], booking)]

    async def to_look_at(self, count: int, seconds: float) -> set[str]:
        """Bookings with such disputes as are open, or ended lately, and were not asked about for so long."""
        async with postgres.connection(self._pool) as connected:
            wanted = (count, seconds, limits.DISPUTE_LOOK_DAYS)
            return {row["booking_id"] for row in await connected.fetch(_SQL["surplus_disputes_to_look_at"], *wanted)}

    async def found(self, booking: str, intent: str, at_stripe: Sequence[StripeDispute]) -> None:
        """Draws the consequences of what Stripe says of such a payment's disputes."""
        if not at_stripe:
            return
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_BOOKING["lock_booking"], booking)
            paid = await connected.fetchrow(_SQL["lock_surplus"], intent)
            assert row is not None
            assert paid is not None
            known = {one["id"]: one for one in await connected.fetch(_SQL["list_surplus_disputes"], intent)}
            for one in at_stripe:
                amount = known[one.id]["amount"] if one.id in known else _amount(one, row["currency"], paid["amount"])
                state: DisputeState | None = known[one.id]["state"] if one.id in known else None
                if state in (None, "inquiry", "dropped"):
                    amount = _amount(one, row["currency"], paid["amount"])
                    state = await self._open(connected, row, intent, one, state, amount)
                await self._close(connected, row, intent, one, state, amount)
                await self._book_fees(connected, row, one)

    async def _open(
        self,
        connected: Connection,
        row: asyncpg.Record,
        intent: str,
        one: StripeDispute,
        here: DisputeState | None,
        amount: int,
    ) -> DisputeState:
        """Keeps a dispute that is new, or that was only an inquiry; answers what it is then."""
        asks = one.state in ("inquiry", "dropped")
        begun: DisputeState = one.state if asks else "open"
        bank = (None, None) if one.currency == row["currency"] else (one.amount, one.currency)
        if here is None:
            opened = (one.id, intent, row["id"], begun, amount, *bank, one.reason)
            await connected.execute(_SQL["open_surplus_dispute"], *opened)
        elif not asks:
            await connected.execute(_SQL["raise_surplus_inquiry"], one.id, amount, *bank)
        elif (here, one.state) == ("inquiry", "dropped"):
            await connected.execute(_SQL["close_surplus_dispute"], one.id, "dropped")
        if not asks:
            await _post(connected, row, "disputed", one.id, amount)
            log.warning("booking %s: %s, which paid for nothing, is disputed by %s", row["id"], intent, one.id)
        return begun

    async def _close(
        self,
        connected: Connection,
        row: asyncpg.Record,
        intent: str,
        one: StripeDispute,
        here: DisputeState,
        amount: int,
    ) -> None:
        posting = _CLOSES.get((here, one.state))
        if posting is not None:
            await connected.execute(_SQL["close_surplus_dispute"], one.id, one.state)
            await _post(connected, row, posting, one.id, amount)
            log.warning("booking %s: dispute %s of what paid for nothing is %s", row["id"], one.id, one.state)
        elif here != one.state and here not in ("inquiry", "dropped"):
            told = (row["id"], one.id, here, one.state)
            log.error("booking %s: dispute %s is %s, and Stripe says %s: look into it", *told)
        again = posting == "dispute_reinstated"
        if again and await connected.fetchval(_SQL["owe_surplus_again"], intent, one.id) is not None:
            key = f"{row['id']}:refund_surplus:{intent}:{one.id}"
            await connected.execute(_SQL["refund_surplus_again"], row["id"], key, intent)

    async def _book_fees(self, connected: Connection, row: asyncpg.Record, one: StripeDispute) -> None:
        for move in one.moves:
            kept = (move.id, one.id, move.fee, move.currency)
            if move.fee and await connected.fetchval(_SQL["keep_surplus_fee"], *kept) is not None:
                await post_fee(connected, row["id"], move)
                await connected.execute(_BOOKING["touch_booking"], row["id"])


async def _post(connected: Connection, row: asyncpg.Record, posting: Posting, dispute: str, amount: int) -> None:
    await post(connected, row["id"], row["currency"], posting, Shares(0, 0, 0, amount), about=dispute)
    await connected.execute(_BOOKING["touch_booking"], row["id"])


def _amount(one: StripeDispute, currency: str, paid: int) -> int:
    """What a dispute takes, in the booking's currency: as the bank says it, else as Stripe has booked it, else all."""
    if one.currency == currency:
        return one.amount
    booked = [-move.amount for move in one.moves if move.currency == currency and move.amount < 0]
    return booked[0] if booked else paid
