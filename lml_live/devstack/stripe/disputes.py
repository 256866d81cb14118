"""Disputes of charges: pure steps, as in `refunds`. The buyer's bank opens and closes them; here, who steers does.

The money is withdrawn at once, and comes back where the dispute is won.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from lml_live.devstack.stripe import refusals
from lml_live.devstack.stripe.intents import Mint
from lml_live.devstack.stripe.objects import BalanceTransaction, Charge, Dispute

_change = msgspec.structs.replace

CLOSED = ("won", "lost")


class DisputeChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a step writes; see `intents.Change`."""

    dispute: Dispute
    charge: Charge
    balance: BalanceTransaction | None = None
    events: tuple[str, ...]


def withdrawn(disputes: Iterable[Dispute]) -> int:
    """What the banks have taken back, for now or for good."""
    return sum(dispute.amount for dispute in disputes if dispute.status != "won")


def open_one(charge: Charge, before: Iterable[Dispute], amount: int | None, reason: str, mint: Mint) -> DisputeChange:
    """A dispute over what is left of a charge, or over a part of it."""
    if not charge.captured:
        raise refusals.invalid("charge", "Only a captured charge can be disputed.")
    if any(dispute.status not in CLOSED for dispute in before):
        raise refusals.invalid("charge", "This charge is disputed already.")
    left = charge.amount_captured - charge.amount_refunded - withdrawn(before)
    wanted = left if amount is None else amount
    if not 0 < wanted <= left:
        raise refusals.invalid("amount", f"{left} of this charge can be disputed.")
    # Nothing below refuses.
    dispute_id = mint.new_id("dp")
    balance = _booked(dispute_id, charge, -wanted, mint)
    dispute = Dispute(
        id=dispute_id,
        amount=wanted,
        balance_transactions=(balance,),
        charge=charge.id,
        created=mint.now,
        currency=charge.currency,
        payment_intent=charge.payment_intent,
        reason=reason,
        status="needs_response",
    )
    events = ("charge.dispute.created", "charge.dispute.funds_withdrawn")
    return DisputeChange(dispute=dispute, charge=_change(charge, disputed=True), balance=balance, events=events)


def close(dispute: Dispute, charge: Charge, outcome: Literal["won", "lost"], mint: Mint) -> DisputeChange:
    """The bank has decided."""
    if dispute.status in CLOSED:
        raise refusals.invalid("dispute", f"This dispute is {dispute.status}.")
    if outcome == "lost":
        dispute = _change(dispute, status="lost")
        return DisputeChange(dispute=dispute, charge=charge, events=("charge.dispute.closed",))
    balance = _booked(dispute.id, charge, dispute.amount, mint)
    dispute = _change(dispute, status="won", balance_transactions=(*dispute.balance_transactions, balance))
    events = ("charge.dispute.closed", "charge.dispute.funds_reinstated")
    return DisputeChange(dispute=dispute, charge=charge, balance=balance, events=events)


def _booked(dispute_id: str, charge: Charge, amount: int, mint: Mint) -> BalanceTransaction:
    return BalanceTransaction(
        id=mint.new_id("txn"),
        amount=amount,
        available_on=mint.now,
        created=mint.now,
        currency=charge.currency,
        fee=0,
        net=amount,
        reporting_category="dispute" if amount < 0 else "dispute_reversal",
        source=dispute_id,
        type="adjustment",
    )
