"""Giving money back: pure steps, as in `intents`. A charge is never refunded beyond what was captured of it."""

from collections.abc import Iterable

import msgspec

from lml_live.devstack.stripe import refusals
from lml_live.devstack.stripe.cards import StoredMethod
from lml_live.devstack.stripe.intents import Mint
from lml_live.devstack.stripe.objects import BalanceTransaction, Charge, Refund

_change = msgspec.structs.replace

SETTLE_SECONDS = 60
"""After this a pending refund succeeds, and one that is to fail does."""


class RefundChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a step writes; see `intents.Change`."""

    refund: Refund
    charge: Charge
    balance: BalanceTransaction | None = None
    events: tuple[str, ...]
    due: int | None = None


class RefundWish(msgspec.Struct, frozen=True, kw_only=True):
    amount: int | None
    reason: str | None
    metadata: dict[str, str]


def refunded(refunds: Iterable[Refund]) -> int:
    """What has been given back: pending refunds count, failed ones do not."""
    return sum(refund.amount for refund in refunds if refund.status != "failed")


def create(
    charge: Charge, method: StoredMethod, before: Iterable[Refund], wish: RefundWish, mint: Mint
) -> RefundChange:
    """A refund of `wish.amount`, or of all that is left."""
    if not charge.captured:
        raise refusals.not_refundable(
            f"Charge {charge.id} has not been captured. The double refunds captured charges only: cancel the "
            "PaymentIntent to release an authorisation.",
            None,
            charge.id,
        )
    left = charge.amount_captured - refunded(before)
    if left == 0:
        raise refusals.not_refundable(
            f"Charge {charge.id} has already been refunded.", "charge_already_refunded", charge.id
        )
    amount = left if wish.amount is None else wish.amount
    if amount <= 0:
        raise refusals.invalid("amount", "Invalid positive integer", "parameter_invalid_integer")
    if amount > left:
        raise refusals.not_refundable(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", None, charge.id
        )
    # Nothing below refuses.
    refund_id = mint.new_id("re")
    balance = _booked(refund_id, charge, -amount, mint)
    refund = Refund(
        id=refund_id,
        amount=amount,
        balance_transaction=balance.id,
        charge=charge.id,
        created=mint.now,
        currency=charge.currency,
        metadata=wish.metadata,
        payment_intent=charge.payment_intent,
        reason=wish.reason,
        status="pending" if method.card.refunds == "pend" else "succeeded",
    )
    total = charge.amount_refunded + amount
    charge = _change(charge, amount_refunded=total, refunded=total == charge.amount)
    return RefundChange(
        refund=refund,
        charge=charge,
        balance=balance,
        events=("refund.created", "charge.refunded"),
        due=None if method.card.refunds == "succeed" else mint.now + SETTLE_SECONDS,
    )


def settle(refund: Refund, charge: Charge, method: StoredMethod, mint: Mint) -> RefundChange:
    """A pending refund has arrived, or one that had seemed to has come back."""
    if method.card.refunds == "pend":
        refund = _change(refund, status="succeeded")
        return RefundChange(refund=refund, charge=charge, events=("refund.updated", "charge.refund.updated"))
    balance = _booked(refund.id, charge, refund.amount, mint)
    refund = _change(
        refund,
        status="failed",
        failure_reason="expired_or_canceled_card",
        failure_balance_transaction=balance.id,
    )
    charge = _change(charge, amount_refunded=charge.amount_refunded - refund.amount, refunded=False)
    events = ("refund.updated", "refund.failed", "charge.refund.updated")
    return RefundChange(refund=refund, charge=charge, balance=balance, events=events)


def _booked(refund_id: str, charge: Charge, amount: int, mint: Mint) -> BalanceTransaction:
    kind = "refund" if amount < 0 else "refund_failure"
    return BalanceTransaction(
        id=mint.new_id("txn"),
        amount=amount,
        available_on=mint.now,
        created=mint.now,
        currency=charge.currency,
        fee=0,
        net=amount,
        reporting_category=kind,
        source=refund_id,
        type="refund" if amount < 0 else "refund_failure",
    )
