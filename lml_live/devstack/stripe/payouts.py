"""Money that leaves connected accounts for their banks: pure steps, as in `transfers`.

A payout takes its amount from the account's balance when it is made, is on its way an hour later, and arrives at the
midnight after the next, as the clock says; or its bank refuses it, at first or after all, and it comes back. A bank
account that has refused one is paid to no more: its owner names another.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from lml_live.devstack.stripe import refusals
from lml_live.devstack.stripe.intents import Mint
from lml_live.devstack.stripe.objects import (
    BalanceTransaction,
    BankAccount,
    ConnectedAccount,
    Payout,
    PayoutStatus,
    Requirements,
)
from lml_live.devstack.stripe.transfers import available, book

_change = msgspec.structs.replace

PayoutEnd = Literal["in_transit", "paid", "failed"]

DAY_SECONDS: Final = 86_400
_SUBMIT_SECONDS: Final = 3_600
_MESSAGES: Final = {
    "account_closed": "The bank account has been closed.",
    "could_not_process": "The bank could not process this payout.",
    "invalid_account_number": "The routing number seems correct, but the account number is invalid.",
    "no_account": "The bank account details on file are probably incorrect: there is no such account.",
}
"""Of some codes, as Stripe's page of payout failures has them in other words."""


class PayoutChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a step writes, all of it of one account; `account` where that is another one since."""

    payout: Payout
    event: str
    booked: BalanceTransaction | None = None
    account: ConnectedAccount | None = None


class PayoutWish(msgspec.Struct, frozen=True, kw_only=True):
    amount: int
    currency: str
    description: str | None = None
    metadata: dict[str, str] = {}
    statement_descriptor: str | None = None


def create(
    account: ConnectedAccount,
    theirs: Iterable[BalanceTransaction],
    wish: PayoutWish,
    mint: Mint,
    *,
    automatic: bool = False,
    pending_too: bool = False,
) -> PayoutChange:
    """A payout of what is available; with `pending_too`, which Stripe knows not, of all that there is."""
    there = available(theirs, wish.currency, None if pending_too else mint.now)
    bank = bank_of(account)
    if wish.amount < 1:
        raise refusals.invalid("amount", "Invalid positive integer", "parameter_invalid_integer")
    if not account.payouts_enabled or bank is None:
        raise refusals.not_transferable(
            "Payouts have been disabled on the connected account. Check its status to see if any information is "
            "needed.",
            "payouts_not_allowed",
        )
    if wish.currency != bank.currency:
        raise refusals.not_transferable(
            f"Sorry, you don't have any external accounts in that currency ({wish.currency}).", None, "currency"
        )
    if wish.amount > there:
        raise refusals.not_transferable(
            f"You have insufficient funds in your Stripe account for this transfer: {there} can be paid out.",
            "balance_insufficient",
        )
    # Nothing below refuses.
    payout_id = mint.new_id("po")
    booked = book(payout_id, "payout", -wish.amount, wish.currency, mint.now, mint)
    payout = Payout(
        id=payout_id,
        amount=wish.amount,
        arrival_date=next_midnight(mint.now + DAY_SECONDS),
        automatic=automatic,
        balance_transaction=booked.id,
        created=mint.now,
        currency=wish.currency,
        description="STRIPE PAYOUT" if automatic else wish.description,
        destination=bank.id,
        metadata=wish.metadata,
        reconciliation_status="in_progress" if automatic else "not_applicable",
        statement_descriptor=wish.statement_descriptor,
    )
    return PayoutChange(payout=payout, event="payout.created", booked=booked)


def next_midnight(now: int) -> int:
    """When automatic payouts are made next, at least a second later."""
    return now - now % DAY_SECONDS + DAY_SECONDS


def bank_of(account: ConnectedAccount) -> BankAccount | None:
    """The bank account that is paid to; None where there is none, or the last one was refused."""
    banks = account.external_accounts.data
    return banks[-1] if banks and banks[-1].status == "new" else None


def due(payout: Payout) -> int | None:
    """When time changes a payout next."""
    if payout.status == "pending":
        return payout.created + _SUBMIT_SECONDS
    return payout.arrival_date if payout.status == "in_transit" else None


def pass_time(payout: Payout) -> PayoutChange:
    """What is due comes about."""
    return _sent(payout) if payout.status == "pending" else _arrived(payout)


def end(account: ConnectedAccount, payout: Payout, outcome: PayoutEnd, code: str, mint: Mint) -> PayoutChange:
    """The bank says so before time does, or thinks better of what it took."""
    before: dict[PayoutEnd, tuple[PayoutStatus, ...]] = {
        "in_transit": ("pending",),
        "paid": ("pending", "in_transit"),
        "failed": ("pending", "in_transit", "paid"),
    }
    if payout.status not in before[outcome]:
        raise refusals.invalid("outcome", f"A payout that is {payout.status} does not become {outcome}.")
    if outcome != "failed":
        return _sent(payout) if outcome == "in_transit" else _arrived(payout)
    back = book(payout.id, "payout_failure", payout.amount, payout.currency, mint.now, mint)
    failed = _change(
        payout,
        status="failed",
        failure_balance_transaction=back.id,
        failure_code=code,
        failure_message=_MESSAGES.get(code, f"The bank refused the payout ({code})."),
    )
    return PayoutChange(payout=failed, event="payout.failed", booked=back, account=_refused_by(account, payout))


def cancel(payout: Payout, mint: Mint) -> PayoutChange:
    """It never leaves; only what is still `pending` can be called off."""
    if payout.status != "pending":
        raise refusals.not_transferable(
            f"Payout {payout.id} is {payout.status}: only payouts that are pending can be canceled.", None
        )
    back = book(payout.id, "payout_cancel", payout.amount, payout.currency, mint.now, mint)
    canceled = _change(payout, status="canceled", failure_balance_transaction=back.id)
    return PayoutChange(payout=canceled, event="payout.canceled", booked=back)


def _arrived(payout: Payout) -> PayoutChange:
    paid = _change(payout, status="paid")
    if payout.automatic:
        paid = _change(paid, reconciliation_status="completed")
    return PayoutChange(payout=paid, event="payout.paid")


def _sent(payout: Payout) -> PayoutChange:
    return PayoutChange(payout=_change(payout, status="in_transit"), event="payout.updated")


def _refused_by(account: ConnectedAccount, payout: Payout) -> ConnectedAccount | None:
    """An account whose bank account is no good; None where its owner has named another one since."""
    bank = bank_of(account)
    if bank is None or bank.id != payout.destination:
        return None
    banks = account.external_accounts
    return _change(
        account,
        external_accounts=_change(banks, data=(*banks.data[:-1], _change(bank, status="errored"))),
        payouts_enabled=False,
        requirements=Requirements(currently_due=("external_account",)),
    )
