"""What is transferred to organisations, as PostgreSQL keeps it; every transaction that changes it (`payouts` is pure).

waiting   written with the capture; due when the event began so many days ago, and the account can be paid
decided   how much, to whom, less what the organisation owes; the call is an outbox row of the same transaction
made      Stripe has it. What is given back from then on (from *decided* on) is a reversal, decided in the
          transaction of the refund or the lost dispute, which never waits for it; what Stripe will not reverse is a
          receivable, and is kept of what the organisation is due next
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from lml_live import limits
from lml_live.booking.accounts import write_entries
from lml_live.booking.ledger import Shares
from lml_live.booking.outbox import write_work
from lml_live.booking.payouts import (
    NOTHING,
    AgainState,
    Due,
    Payable,
    PayoutPosting,
    ReversalState,
    Terms,
    TransferState,
    net,
    sides,
    what_is_due,
)
from lml_live.errors import LmlError
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.infra.telemetry import METRICS
from lml_live.pricing.currencies import charge_step

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("transfers")
_BOOKING: Final = postgres.statements("booking")
_SETTLED: Final = ("confirmed", "partially_refunded", "refunded", "charged_back")


class Transfer(Struct, frozen=True, kw_only=True):
    """What goes to an organisation of a booking."""

    currency: str
    state: TransferState
    sent: int
    account: str | None
    stripe_id: str | None


class Reversal(Struct, frozen=True, kw_only=True):
    """What comes back of it, as far as Stripe is asked for it."""

    id: str
    booking: str
    state: ReversalState
    sought: int


class Again(Struct, frozen=True, kw_only=True):
    """What is sent again of it."""

    id: str
    booking: str
    currency: str
    state: AgainState
    sent: int
    account: str
    has_its_turn: bool
    """Whether the transfer before it was made, and all that is to come back of that has come."""


class Transfers:
    """The transfers of the house."""

    def __init__(self, pool: Pool) -> None:
        self._pool = self.pool = pool
        self._failed: dict[str, float] = {}
        """Bookings that could not be decided, and until when they are left alone."""

    async def decide_due(self, count: int) -> int:
        """Decides transfers that are due, at most so many; answers how many those were.

        One that cannot be decided, which is a defect, keeps no others: it has its turn again after an hour.
        """
        now = time.monotonic()
        self._failed = {name: until for name, until in self._failed.items() if until > now}
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["transfers_due"], count, list(self._failed))
        decided = 0
        for row in rows:
            try:
                decided += await self._decide(row["booking_id"])
            except LmlError:
                raise  # nothing can be decided now
            except Exception:  # the loop of the worker (style.md, 14)
                log.exception("booking %s: its transfer cannot be decided", row["booking_id"])
                if len(self._failed) < limits.TRANSFERS_FAILED_MAX:
                    self._failed[row["booking_id"]] = now + limits.TRANSFER_RETRY_SECONDS
        return decided

    async def waiting_for_accounts(self) -> dict[str, int]:
        """Organisations whose money is due and that Stripe cannot pay yet, with how many bookings that is."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["waiting_for_accounts"])
        return {row["organisation_id"]: row["bookings"] for row in rows}

    async def _decide(self, booking: str) -> bool:
        async with postgres.transaction(self._pool) as connected:
            locked = await connected.fetchrow(_BOOKING["lock_booking"], booking)
            row = await connected.fetchrow(_SQL["lock_transfer"], booking)
            assert locked is not None
            assert row is not None
            # What was looked at without a lock may have moved on.
            waits = row["refunding"] or row["ready_account"] is None or row["booking_state"] not in _SETTLED
            if row["state"] != "waiting" or waits:
                return False
            due = what_is_due(await _payable(connected, booking))
            open_ = await connected.fetch(_SQL["lock_receivables"], row["organisation_id"])
            kept = net(due.amount, tuple((one["id"], one["open"]) for one in open_))
            netted = sum(amount for _, amount in kept)
            sent = max(0, due.amount) - netted
            state: TransferState = "decided" if sent else "nothing"
            account = row["ready_account"] if sent else None
            await connected.execute(
                *(_SQL["decide_transfer"], booking, state, due.venue, due.tax, due.fee, netted, sent, account)
            )
            for receivable, amount in kept:
                await connected.execute(_SQL["recover"], receivable, booking, amount)
            await _post(connected, locked, "transfer_begun", due, sent=sent, netted=netted)
            if due.amount < 0:
                await owe(connected, booking, "decided", "given back before it was due", -due.amount)
            if sent:
                await write_work(connected, booking, row["event_id"], "transfer")
        return True

    async def load(self, booking: str) -> Transfer:
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_transfer"], booking)
        assert row is not None
        return Transfer(
            currency=row["currency"],
            state=row["state"],
            sent=row["sent"] or 0,
            account=row["account_id"],
            stripe_id=row["stripe_id"],
        )

    async def made(self, booking: str, stripe_id: str) -> None:
        """Stripe has a transfer; told twice it is once."""
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_BOOKING["lock_booking"], booking)
            assert row is not None
            sent = await connected.fetchval(_SQL["keep_transfer"], booking, stripe_id)
            if sent is not None:
                await _post(connected, row, "transferred", NOTHING, sent=sent)
                await connected.execute(_BOOKING["touch_booking"], booking)

    async def load_reversal(self, key: str) -> Reversal:
        """The reversal that this row of the outbox is for."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_reversal"], key)
        assert row is not None
        return Reversal(id=row["id"], booking=row["booking_id"], state=row["state"], sought=row["sought"])

    async def reversed(self, reversal: Reversal, stripe_id: str) -> None:
        """Stripe has taken it back; told twice it is once."""
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_BOOKING["lock_booking"], reversal.booking)
            assert row is not None
            sought = await connected.fetchval(_SQL["keep_reversal"], reversal.id, stripe_id)
            if sought is not None:
                await _post(connected, row, "reversed", NOTHING, sent=sought, about=reversal.id)
                await connected.execute(_BOOKING["touch_booking"], reversal.booking)

    async def load_again(self, key: str) -> Again:
        """What this row of the outbox is for."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_again"], key)
        assert row is not None
        return Again(
            id=row["id"],
            booking=row["booking_id"],
            currency=row["currency"],
            state=row["state"],
            sent=row["sent"],
            account=row["account_id"],
            has_its_turn=row["has_its_turn"],
        )

    async def made_again(self, again: Again, stripe_id: str) -> None:
        """Stripe has it; told twice it is once."""
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_BOOKING["lock_booking"], again.booking)
            assert row is not None
            sent = await connected.fetchval(_SQL["keep_again"], again.id, stripe_id)
            if sent is not None:
                await _post(connected, row, "transferred", NOTHING, sent=sent, about=again.id)
                await connected.execute(_BOOKING["touch_booking"], again.booking)

    async def refuse_reversal(self, reversal: Reversal, fault: str) -> None:
        """Stripe will not take it back: the organisation owes it."""
        async with postgres.transaction(self._pool) as connected:
            await connected.fetchrow(_BOOKING["lock_booking"], reversal.booking)
            sought = await connected.fetchval(_SQL["refuse_reversal"], reversal.id, fault)
            if sought is not None:
                await owe(connected, reversal.booking, reversal.id, fault, sought)
        if sought is not None:
            METRICS.receivables.inc()
            log.error("booking %s: %d of its transfer are not reversed, and owed: %s", reversal.booking, sought, fault)


async def take_back(connected: Connection, row: asyncpg.Record, cause: str) -> None:
    """Decides what an organisation owes back of a booking's transfer; the booking is locked.

    Called where money was given back, in that transaction: nothing where nothing was decided to be sent yet, for then
    it is decided by what is left. `cause` names the refund or dispute, and is heeded once.
    """
    booking = row["id"]
    known = await connected.fetchrow(_SQL["lock_transfer"], booking)
    if known is None or known["state"] == "waiting":
        return
    there, before = await _what_is_there(connected, known)
    back = there.less(what_is_due(await _payable(connected, booking)))
    # Also where it owes nothing, as when all was our commission: then that is given back in the ledger alone.
    if back == NOTHING or back.amount < 0:
        return
    sought = min(back.amount, known["sent"] - before)
    reversal = "v-" + hashlib.sha256(f"{booking}\0{cause}".encode()).hexdigest()[:24]
    key, state = f"{booking}:reverse_transfer:{reversal}", "pending" if sought else "nothing"
    parts = (back.venue, back.tax, back.fee)
    await connected.execute(_SQL["decide_reversal"], reversal, booking, cause, *parts, sought, key, state)
    await _post(connected, row, "reversal_begun", back, about=reversal)
    if sought:
        await connected.execute(_BOOKING["write_work"], booking, row["event_id"], "reverse_transfer", key)
    if back.amount > sought:
        await owe(connected, booking, f"{reversal}:rest", "more than was transferred", back.amount - sought)


async def give_again(connected: Connection, row: asyncpg.Record, cause: str) -> None:
    """Decides that what a booking's organisation is due again is sent, for a dispute that was lost was won after all.

    Called in that transaction, with the booking locked: nothing where nothing was decided to be sent yet. Mostly it is
    what was taken back for that dispute; but that may have been lost before anything was decided, and then there was
    less to decide. What the organisation owes is kept of it, as of any transfer.
    """
    booking = row["id"]
    known = await connected.fetchrow(_SQL["lock_transfer"], booking)
    if known is None or known["state"] == "waiting":
        return
    there, _ = await _what_is_there(connected, known)
    of = what_is_due(await _payable(connected, booking)).less(there)
    if of == NOTHING or of.amount < 0:
        return
    await _send_again(connected, row, known["organisation_id"], cause, of)


async def send_back(connected: Connection, row: asyncpg.Record, reversal: str, amount: int) -> None:
    """Decides that what Stripe took back of a booking's transfers though nobody here decided it is sent again.

    Called in the transaction that keeps it, with the booking locked. It is the organisation's still; but what that owes
    is kept of it first: mostly that is what Stripe refused to reverse, because this had come back already.
    """
    known = await connected.fetchrow(_SQL["lock_transfer"], row["id"])
    assert known is not None
    await _send_again(connected, row, known["organisation_id"], f"reversal:{reversal}", NOTHING, amount)


async def _send_again(
    connected: Connection, row: asyncpg.Record, organisation: str, cause: str, of: Due, returned: int = 0
) -> None:
    booking = row["id"]
    account = await connected.fetchval(_SQL["account_of_transfer"], booking)
    open_ = await connected.fetch(_SQL["lock_receivables"], organisation)
    kept = net(of.amount + returned, tuple((one["id"], one["open"]) for one in open_))
    netted = sum(amount for _, amount in kept)
    sent = of.amount + returned - netted
    again = "w-" + hashlib.sha256(f"{booking}\0{cause}".encode()).hexdigest()[:24]
    key, state = f"{booking}:transfer_again:{again}", "decided" if sent else "nothing"
    parts = (of.venue, of.tax, of.fee, returned, netted, sent)
    await connected.execute(_SQL["decide_again"], again, booking, cause, *parts, account, key, state)
    for receivable, amount in kept:
        await connected.execute(_SQL["recover"], receivable, booking, amount)
    posting: PayoutPosting = "surplus_reversed" if returned else "again_begun"
    await _post(connected, row, posting, of, sent=sent, netted=netted, about=again)
    if sent:
        await connected.execute(_BOOKING["write_work"], booking, row["event_id"], "transfer_again", key)


async def _what_is_there(connected: Connection, known: asyncpg.Record) -> tuple[Due, int]:
    """What an organisation has of a booking by all that was decided, and what of it Stripe was asked to take back."""
    before = await connected.fetchrow(_SQL["reversed_before"], known["booking_id"])
    assert before is not None
    decided = Due(known["venue"], known["tax"], known["fee"])
    return decided.less(Due(before["venue"], before["tax"], before["fee"])), before["sought"]


async def owe(connected: Connection, booking: str, cause: str, reason: str, amount: int) -> None:
    """The organisation owes an amount of a booking's: once for this cause."""
    receivable = "q-" + hashlib.sha256(f"{booking}\0{cause}".encode()).hexdigest()[:24]
    await connected.execute(_SQL["add_receivable"], receivable, booking, amount, reason)


async def _post(
    connected: Connection,
    row: asyncpg.Record,
    posting: PayoutPosting,
    of: Due,
    *,
    sent: int = 0,
    netted: int = 0,
    about: str | None = None,
) -> None:
    made = sides(posting, of, sent=sent, netted=netted)
    await write_entries(connected, row["id"], row["currency"], posting, made, about=about or row["id"])


async def _payable(connected: Connection, booking: str) -> Payable:
    [row] = await connected.fetch(_SQL["load_payables"], [booking])
    return _read_payable(row)


async def load_payables(connected: Connection, bookings: Sequence[str]) -> dict[str, Payable]:
    """What several bookings brought, and what of it was given back."""
    rows = await connected.fetch(_SQL["load_payables"], list(bookings))
    return {row["booking_id"]: _read_payable(row) for row in rows}


def _read_payable(row: asyncpg.Record) -> Payable:
    return Payable(
        whole=Shares(row["venue"], row["fees"], row["tax"]),
        price_tax=row["price_tax"],
        tickets=row["tickets"],
        terms=Terms(row["fee_basis_points"], row["fee_per_ticket"]),
        back=Shares(row["back_venue"], row["back_fees"], row["back_tax"]),
        gone_tax=row["gone_tax"],
        gone_price_tax=row["gone_price_tax"],
        lost=Shares(row["lost_venue"], row["lost_fees"], row["lost_tax"]),
        step=charge_step(row["currency"]),
    )
