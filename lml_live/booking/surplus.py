"""What goes wrong with transfers for good: what Stripe made or took back besides, and what it refuses for days.

Twice: two calls under two keys can both have worked, and the first answer come later than the second call's look. So
what was not made at the first try is looked for again, minutes later, and wherever the daily match differs: what nobody
decided is booked as owed, and reversed. What came back though nobody decided it, by hand or twice, is booked the other
way round, and sent again. Refused: a transfer is asked for more and more seldom, and then `stuck`, until somebody who
has looked asks for it again.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

from lml_live import limits
from lml_live.booking.accounts import write_entries
from lml_live.booking.connect import Connect, StripeReversal
from lml_live.booking.outbox import Outbox, Outcome, Work
from lml_live.booking.payments import PaymentFault
from lml_live.booking.payouts import NOTHING, sides
from lml_live.booking.transfers import owe, send_back
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.infra.telemetry import METRICS

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("surplus")
_BOOKING: Final = postgres.statements("booking")


class StuckTransfer(Struct, frozen=True, kw_only=True):
    """A transfer that Stripe refuses, as it said last, and since when nobody asks any more."""

    booking: str
    event: str
    organisation: str
    amount: int
    currency: str
    attempts: int
    fault: str
    since: datetime


class Surplus:
    """The acts by the outbox's names, and what people do about transfers that are stuck."""

    def __init__(self, pool: Pool, outbox: Outbox, connect: Connect | None = None) -> None:
        self._pool = pool
        self._outbox = outbox
        self._connect = connect
        self.acts: dict[str, Callable[[Work], Awaitable[None]]] = {
            "check_transfers": self._check,
            "reverse_surplus": self._reverse,
        }

    async def suspect(self, bookings: Iterable[str], why: str) -> None:
        """Has bookings' transfers looked at, once for this reason: `first`, the match that told of them, or a reversal
        that Stripe refused."""
        wait = limits.TRANSFER_CHECK_SECONDS if why == "first" else 0.0
        async with postgres.connection(self._pool) as connected:
            for booking in bookings:
                await connected.execute(_SQL["write_check"], booking, f"{booking}:check_transfers:{why}", wait)

    async def stuck(self, organisation: str | None, *, limit: int) -> Sequence[StuckTransfer]:
        """The oldest of them, of one organisation or of all."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["stuck_transfers"], organisation, limit)
        return [
            StuckTransfer(
                booking=row["booking_id"],
                event=row["event_id"],
                organisation=row["organisation_id"],
                amount=row["amount"],
                currency=row["currency"],
                attempts=row["attempt"],
                fault=row["fault"] or "",
                since=row["stuck"],
            )
            for row in rows
        ]

    async def retry(self, organisation: str, booking: str | None = None) -> int:
        """Asks Stripe again for what is stuck, once; answers how many that is."""
        async with postgres.connection(self._pool) as connected:
            return len(await connected.fetch(_SQL["retry_transfers"], organisation, booking))

    async def count(self) -> None:
        """Sets the gauge of work that is stuck."""
        async with postgres.connection(self._pool) as connected:
            counts = {row["act"]: row["works"] for row in await connected.fetch(_SQL["count_stuck"])}
        for act in ("transfer", "transfer_again", "submit_evidence", "refund_surplus"):
            METRICS.work_stuck.labels(act).set(counts.get(act, 0))

    async def _check(self, work: Work) -> None:
        assert self._connect is not None
        at_stripe = await self._connect.find_transfers(work.booking)
        back = [
            (one.id, reversal)
            for one in at_stripe
            if one.booking == work.booking and one.reversed
            for reversal in await self._connect.find_reversals(one.id)
        ]
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_BOOKING["lock_booking"], work.booking)
            assert row is not None
            known = await connected.fetch(_SQL["known_transfers"], work.booking)
            ids = {one["stripe_id"] for one in known}
            on_their_way = {one["key"] for one in known if one["stripe_id"] is None}
            for one in at_stripe:
                # What names no booking was made by hand, for a reason that we do not know: the match tells of it.
                if one.booking != work.booking or one.id in ids or one.key in on_their_way:
                    continue
                key = f"{work.booking}:reverse_surplus:{one.id}"
                if await connected.fetchval(_SQL["add_surplus"], one.id, work.booking, one.amount, key) is None:
                    continue
                made = sides("surplus_sent", NOTHING, sent=one.amount)
                await write_entries(connected, work.booking, row["currency"], "surplus_sent", made, about=one.id)
                await connected.execute(_BOOKING["write_work"], work.booking, work.event, "reverse_surplus", key)
                await connected.execute(_BOOKING["touch_booking"], work.booking)
                METRICS.transfers_surplus.inc()
                log.error("booking %s: transfer %s over %d was made besides its own", work.booking, one.id, one.amount)
            await self._take_in(connected, row, back)
        await self._outbox.finish_work(work)

    async def _take_in(
        self, connected: Connection, row: asyncpg.Record, at_stripe: Iterable[tuple[str, StripeReversal]]
    ) -> None:
        """Books what came back though nobody decided it; each is given with its transfer."""
        booking = row["id"]
        known = {one["stripe_id"] for one in await connected.fetch(_SQL["known_reversals"], booking)}
        at_rest = {one["stripe_id"] for one in await connected.fetch(_SQL["transfers_at_rest"], booking)}
        for transfer, one in at_stripe:
            if one.id in known or transfer not in at_rest:
                continue
            await connected.execute(_SQL["add_reversal"], one.id, booking, transfer, one.amount)
            await send_back(connected, row, one.id, one.amount)
            await connected.execute(_BOOKING["touch_booking"], booking)
            METRICS.reversals_surplus.inc()
            log.error(
                "booking %s: %d of %s came back by %s, which nobody decided", booking, one.amount, transfer, one.id
            )

    async def _reverse(self, work: Work) -> None:
        assert self._connect is not None
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_surplus"], work.key)
        assert row is not None
        outcome: Outcome = "found"
        if row["state"] == "found":
            transfer, amount, currency = row["stripe_id"], row["amount"], row["currency"]
            again = work.tries > 1 or work.attempt > 0
            reversal = await self._taken_back(transfer) if again else None
            if reversal is None:
                try:
                    made = await self._connect.reverse(
                        transfer, amount, currency, work.booking, transfer, work.stripe_key
                    )
                    reversal, outcome = made.id, "done"
                except PaymentFault as fault:
                    if fault.kind != "refused":
                        raise
                    reversal = await self._taken_back(transfer)
                    if reversal is None:
                        await self._ended(work, "refused", None, str(fault), currency)
                        outcome = "refused"
            if reversal is not None:
                await self._ended(work, "reversed", reversal, None, currency)
        if "refused" in (outcome, row["state"]):
            # Somebody may have taken it back by hand: then nothing is owed.
            await self.suspect([work.booking], row["stripe_id"])
        await self._outbox.finish_work(work, outcome)

    async def _ended(self, work: Work, state: str, reversal: str | None, fault: str | None, currency: str) -> None:
        async with postgres.transaction(self._pool) as connected:
            await connected.fetchrow(_BOOKING["lock_booking"], work.booking)
            amount = await connected.fetchval(_SQL["end_surplus"], work.key, state, reversal, fault)
            if amount is None:
                return
            if reversal is not None:
                made = sides("reversed", NOTHING, sent=amount)
                await write_entries(connected, work.booking, currency, "reversed", made, about=reversal)
            else:
                await owe(connected, work.booking, work.key, "sent twice, and not taken back", amount)
                METRICS.receivables.inc()
                log.error("booking %s: %d were sent twice, and are owed: %s", work.booking, amount, fault)
            await connected.execute(_BOOKING["touch_booking"], work.booking)

    async def _taken_back(self, transfer: str) -> str | None:
        assert self._connect is not None
        found = [one.id for one in await self._connect.find_reversals(transfer) if one.key == transfer]
        return found[0] if found else None
