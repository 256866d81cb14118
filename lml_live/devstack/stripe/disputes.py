"""Disputes of charges: pure steps, as in `refunds`. The buyer's bank opens and closes them; here, who steers does.

The money is withdrawn at once, with a fee beside it, and comes back where the dispute is won, at first or after all. An
inquiry withdraws nothing until the bank makes a dispute of it. Evidence is heard once, until it is due.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from lml_live.devstack.stripe import refusals
from lml_live.devstack.stripe.intents import Mint
from lml_live.devstack.stripe.objects import (
    BalanceTransaction,
    Charge,
    Dispute,
    DisputeStatus,
    EvidenceDetails,
    FeeDetail,
)

_change = msgspec.structs.replace

CLOSED: Final = ("won", "lost", "warning_closed")
WITHDRAWN: Final = ("needs_response", "under_review", "lost")
"""Stripe has the money, for now or for good."""
DUE_SECONDS: Final = 7 * 86_400
TEXT_CHARS_MAX: Final = 20_000
TEXTS_CHARS_MAX: Final = 150_000
_HEARD: Final[dict[DisputeStatus, DisputeStatus]] = {
    "needs_response": "under_review",
    "warning_needs_response": "warning_under_review",
}
EVIDENCE: Final = frozenset(
    {
        *("access_activity_log", "billing_address", "cancellation_policy_disclosure", "cancellation_rebuttal"),
        *("customer_email_address", "customer_name", "customer_purchase_ip", "duplicate_charge_explanation"),
        *("duplicate_charge_id", "product_description", "refund_policy_disclosure", "refund_refusal_explanation"),
        *("service_date", "shipping_address", "shipping_carrier", "shipping_date", "shipping_tracking_number"),
        "uncategorized_text",
    }
)
"""What is text. Files, which are uploaded elsewhere, are not modelled."""


class DisputeChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a step writes; see `intents.Change`."""

    dispute: Dispute
    charge: Charge
    balance: BalanceTransaction | None = None
    events: tuple[str, ...]


class DisputeWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a bank wants back: all that is left of a charge, or an amount. `bank_…`: in the bank's own currency."""

    amount: int | None = None
    reason: str = "fraudulent"
    fee: int = 1_500
    inquiry: bool = False
    refunded: bool = False
    bank_amount: int | None = None
    bank_currency: str | None = None


def withdrawn(disputes: Iterable[Dispute]) -> int:
    """What the banks have taken back, for now or for good, in the charges' currency."""
    return -sum(booked.amount for dispute in disputes for booked in dispute.balance_transactions)


def costs(disputes: Iterable[Dispute]) -> int:
    """What they cost beside that."""
    return sum(booked.fee for dispute in disputes for booked in dispute.balance_transactions)


def open_one(charge: Charge, before: Iterable[Dispute], wish: DisputeWish, mint: Mint) -> DisputeChange:
    """A dispute over what is left of a charge, or over a part of it; with `refunded` also over what went back."""
    before = list(before)
    if not charge.captured:
        raise refusals.invalid("charge", "Only a captured charge can be disputed.")
    if any(dispute.status not in CLOSED for dispute in before):
        raise refusals.invalid("charge", "This charge is disputed already.")
    left = charge.amount_captured - withdrawn(before) - (0 if wish.refunded else charge.amount_refunded)
    wanted = left if wish.amount is None else wish.amount
    if not 0 < wanted <= left:
        raise refusals.invalid("amount", f"{left} of this charge can be disputed.")
    # Nothing below refuses.
    dispute = Dispute(
        id=mint.new_id("dp"),
        amount=wanted if wish.bank_amount is None else wish.bank_amount,
        balance_transactions=(),
        charge=charge.id,
        created=mint.now,
        currency=charge.currency if wish.bank_currency is None else wish.bank_currency,
        evidence_details=EvidenceDetails(due_by=mint.now + DUE_SECONDS),
        is_charge_refundable=wish.inquiry,
        payment_intent=charge.payment_intent,
        reason=wish.reason,
        status="warning_needs_response" if wish.inquiry else "needs_response",
    )
    charge = _change(charge, disputed=True)
    if wish.inquiry:
        return DisputeChange(dispute=dispute, charge=charge, events=("charge.dispute.created",))
    return _withdraw(dispute, charge, wanted, wish.fee, "charge.dispute.created", mint)


def escalate(dispute: Dispute, charge: Charge, fee: int, mint: Mint) -> DisputeChange:
    """The bank that asked takes the money."""
    if not dispute.status.startswith("warning_"):
        raise refusals.invalid("dispute", f"This dispute is {dispute.status}.")
    details = EvidenceDetails(due_by=mint.now + DUE_SECONDS)
    dispute = _change(dispute, status="needs_response", is_charge_refundable=False, evidence_details=details)
    return _withdraw(dispute, charge, dispute.amount, fee, "charge.dispute.updated", mint)


def close(dispute: Dispute, charge: Charge, outcome: Literal["won", "lost", "dropped"], mint: Mint) -> DisputeChange:
    """The bank has decided, or asks no more."""
    if dispute.status in CLOSED or dispute.status.startswith("warning_") != (outcome == "dropped"):
        raise refusals.invalid("dispute", f"This dispute is {dispute.status}.")
    if outcome != "won":
        dispute = _change(dispute, status="lost" if outcome == "lost" else "warning_closed")
        return DisputeChange(dispute=dispute, charge=charge, events=("charge.dispute.closed",))
    return _give_back(dispute, charge, ("charge.dispute.closed", "charge.dispute.funds_reinstated"), 0, mint)


def reinstate(dispute: Dispute, charge: Charge, fee_back: int, mint: Mint) -> DisputeChange:
    """The bank thinks better of a dispute that was lost."""
    if dispute.status != "lost":
        raise refusals.invalid("dispute", f"This dispute is {dispute.status}.")
    return _give_back(dispute, charge, ("charge.dispute.updated", "charge.dispute.funds_reinstated"), fee_back, mint)


def answer(
    dispute: Dispute, charge: Charge, evidence: dict[str, str | None], *, submit: bool, mint: Mint
) -> DisputeChange:
    """Evidence, kept or heard: heard it is once."""
    details = dispute.evidence_details
    heard = _HEARD.get(dispute.status)
    if heard is None or details.submission_count or mint.now > details.due_by:
        raise refusals.invalid("evidence", "This dispute hears no evidence any more.")
    after = {name: value for name, value in {**dispute.evidence, **evidence}.items() if value is not None}
    if sum(map(len, after.values())) > TEXTS_CHARS_MAX:
        raise refusals.invalid(
            "evidence", f"The combined character count of all fields is limited to {TEXTS_CHARS_MAX}."
        )
    details = _change(details, has_evidence=bool(after), submission_count=int(submit))
    dispute = _change(dispute, evidence=after, evidence_details=details, status=heard if submit else dispute.status)
    return DisputeChange(dispute=dispute, charge=charge, events=("charge.dispute.updated",))


def _withdraw(dispute: Dispute, charge: Charge, amount: int, fee: int, event: str, mint: Mint) -> DisputeChange:
    balance = _booked(dispute.id, charge, -amount, fee, mint)
    dispute = _change(dispute, balance_transactions=(*dispute.balance_transactions, balance))
    events = (event, "charge.dispute.funds_withdrawn")
    return DisputeChange(dispute=dispute, charge=charge, balance=balance, events=events)


def _give_back(dispute: Dispute, charge: Charge, events: tuple[str, ...], fee_back: int, mint: Mint) -> DisputeChange:
    balance = _booked(dispute.id, charge, withdrawn([dispute]), -fee_back, mint)
    dispute = _change(dispute, status="won", balance_transactions=(*dispute.balance_transactions, balance))
    return DisputeChange(dispute=dispute, charge=charge, balance=balance, events=events)


def _booked(dispute_id: str, charge: Charge, amount: int, fee: int, mint: Mint) -> BalanceTransaction:
    detail = FeeDetail(amount=fee, currency=charge.currency, description="Dispute fee")
    return BalanceTransaction(
        id=mint.new_id("txn"),
        amount=amount,
        available_on=mint.now,
        created=mint.now,
        currency=charge.currency,
        fee=fee,
        fee_details=(detail,) if fee else (),
        net=amount - fee,
        reporting_category="dispute" if amount < 0 else "dispute_reversal",
        source=dispute_id,
        type="adjustment",
    )
