"""Accounts of others and the money that moves to them and back: pure steps, as in `refunds`.

A transfer takes from the platform's balance and gives to the account's; a reversal the other way round, and only as far
as the account has something. Each side books its own balance transaction.
"""

from collections.abc import Iterable

import msgspec

from lml_live.devstack.stripe import refusals
from lml_live.devstack.stripe.intents import Mint
from lml_live.devstack.stripe.objects import (
    BalanceTransaction,
    BalanceType,
    BankAccount,
    Charge,
    ConnectedAccount,
    Requirements,
    ReversalList,
    Transfer,
    TransferReversal,
)

_change = msgspec.structs.replace

LINK_SECONDS = 300
"""How long an onboarding link is good; Stripe says a few minutes."""
_SHOWN_REVERSALS = 10
_DUE = ("business_profile.url", "external_account", "tos_acceptance.date")
_CATEGORIES: dict[BalanceType, str] = {
    "transfer": "transfer",
    "transfer_refund": "transfer_reversal",
    "payment": "charge",
    "payment_refund": "refund",
    "payout": "payout",
    "payout_failure": "payout_reversal",
    "payout_cancel": "payout_reversal",
}


class TransferChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a step writes: on the platform's side, and on the account's."""

    transfer: Transfer
    reversal: TransferReversal | None = None
    balance: BalanceTransaction
    theirs: BalanceTransaction
    event: str


class TransferWish(msgspec.Struct, frozen=True, kw_only=True):
    amount: int | None
    currency: str
    description: str | None
    metadata: dict[str, str]
    transfer_group: str | None


def open_account(account: ConnectedAccount) -> ConnectedAccount:
    """An account that has just been asked for: nothing is known of its owner, so nothing is paid."""
    return _change(account, requirements=Requirements(currently_due=_DUE, disabled_reason="requirements.past_due"))


def onboard(account: ConnectedAccount, mint: Mint) -> ConnectedAccount:
    """Its owner has told everything, its bank, or another one where the last was no good: what it was asked to be
    capable of, it is."""
    banks = account.external_accounts
    if not banks.data or banks.data[-1].status == "errored":
        named = BankAccount(
            id=mint.new_id("ba"), account=account.id, country=account.country, currency=account.default_currency
        )
        banks = _change(banks, data=(*banks.data, named), url=f"/v1/accounts/{account.id}/external_accounts")
    return _change(
        account,
        capabilities=dict.fromkeys(account.capabilities, "active"),
        charges_enabled="card_payments" in account.capabilities,
        details_submitted=True,
        external_accounts=banks,
        payouts_enabled=True,
        requirements=Requirements(),
    )


def restrict(account: ConnectedAccount) -> ConnectedAccount:
    """Stripe wants to know more, and pays nothing until then; transfers it still takes."""
    wants = Requirements(currently_due=_DUE[:1], disabled_reason="requirements.past_due")
    return _change(account, payouts_enabled=False, charges_enabled=False, requirements=wants)


def available(booked: Iterable[BalanceTransaction], currency: str, now: int | None = None) -> int:
    """What a balance comes to in a currency: all of it, or what is there by a time."""
    return sum(one.net for one in booked if one.currency == currency and (now is None or one.available_on <= now))


def create(
    account: ConnectedAccount,
    charge: Charge | None,
    of_charge: Iterable[Transfer],
    ours: Iterable[BalanceTransaction],
    wish: TransferWish,
    mint: Mint,
) -> TransferChange:
    """A transfer to an account; out of a charge, of which so much was transferred before, or of what is available."""
    booked = list(ours)
    amount = wish.amount if wish.amount is not None or charge is None else charge.amount
    if amount is None:
        raise refusals.missing("amount")
    if amount < 1:
        raise refusals.invalid("amount", "Invalid positive integer", "parameter_invalid_integer")
    if account.capabilities.get("transfers") != "active":
        raise refusals.not_transferable(
            "Your destination account needs to have at least one of the following capabilities enabled: transfers, "
            "crypto_transfers, legacy_payments",
            "insufficient_capabilities_for_transfer",
            "destination",
        )
    if charge is None:
        if amount > available(booked, wish.currency, mint.now):
            raise refusals.not_transferable(
                "You have insufficient available funds in your Stripe account.", "balance_insufficient"
            )
        when = mint.now
    else:
        when = _when_there(charge, list(of_charge), booked, amount, wish.currency, mint)
    # Nothing below refuses.
    transfer_id, payment = mint.new_id("tr"), mint.new_id("py")
    balance = book(transfer_id, "transfer", -amount, wish.currency, mint.now, mint)
    theirs = book(payment, "payment", amount, wish.currency, when, mint)
    transfer = Transfer(
        id=transfer_id,
        amount=amount,
        balance_transaction=balance.id,
        created=mint.now,
        currency=wish.currency,
        description=wish.description,
        destination=account.id,
        destination_payment=payment,
        metadata=wish.metadata,
        reversals=ReversalList(url=f"/v1/transfers/{transfer_id}/reversals"),
        source_transaction=None if charge is None else charge.id,
        transfer_group=wish.transfer_group,
    )
    return TransferChange(transfer=transfer, balance=balance, theirs=theirs, event="transfer.created")


def _when_there(
    charge: Charge,
    of_charge: list[Transfer],
    booked: list[BalanceTransaction],
    amount: int,
    currency: str,
    mint: Mint,
) -> int:
    """When a charge's money is available, if so much of it may be transferred in this currency."""
    if charge.status != "succeeded" or not charge.captured:
        raise refusals.not_transferable(
            f"The charge {charge.id} has not been captured: it cannot be a source_transaction.",
            None,
            "source_transaction",
        )
    if charge.currency != currency:
        raise refusals.not_transferable(
            f"The currency of source_transaction's balance transaction ({charge.currency}) must be the same as the "
            f"transfer currency ({currency})",
            None,
            "currency",
        )
    before = sum(one.amount - one.amount_reversed for one in of_charge)
    if before + amount > charge.amount_captured:
        raise refusals.not_transferable(
            f"The amount of this transfer ({amount}) with those before ({before}) is more than its source_transaction "
            f"({charge.amount_captured}).",
            None,
            "amount",
        )
    return next((one.available_on for one in booked if one.id == charge.balance_transaction), mint.now)


def reverse(
    transfer: Transfer, theirs: Iterable[BalanceTransaction], amount: int | None, metadata: dict[str, str], mint: Mint
) -> TransferChange:
    """Takes an amount of a transfer back, or all that is left of it."""
    left = transfer.amount - transfer.amount_reversed
    wanted = left if amount is None else amount
    if left == 0:
        raise refusals.not_transferable(f"Transfer {transfer.id} is already fully reversed.", None)
    if wanted < 1:
        raise refusals.invalid("amount", "Invalid positive integer", "parameter_invalid_integer")
    if wanted > left:
        raise refusals.not_transferable(
            f"Reversal amount ({wanted}) is greater than unreversed amount on transfer ({left})", None, "amount"
        )
    if wanted > available(theirs, transfer.currency):
        raise refusals.not_transferable(
            f"The account {transfer.destination} has insufficient funds for this reversal.", "balance_insufficient"
        )
    # Nothing below refuses.
    reversal_id, back = mint.new_id("trr"), mint.new_id("pyr")
    balance = book(reversal_id, "transfer_refund", wanted, transfer.currency, mint.now, mint)
    reversal = TransferReversal(
        id=reversal_id,
        amount=wanted,
        balance_transaction=balance.id,
        created=mint.now,
        currency=transfer.currency,
        destination_payment_refund=back,
        metadata=metadata,
        transfer=transfer.id,
    )
    shown = (reversal, *transfer.reversals.data)
    more = len(shown) > _SHOWN_REVERSALS or transfer.reversals.has_more
    transfer = _change(
        transfer,
        amount_reversed=transfer.amount_reversed + wanted,
        reversed=wanted == left,
        reversals=_change(transfer.reversals, data=shown[:_SHOWN_REVERSALS], has_more=more),
    )
    return TransferChange(
        transfer=transfer,
        reversal=reversal,
        balance=balance,
        theirs=book(back, "payment_refund", -wanted, transfer.currency, mint.now, mint),
        event="transfer.reversed",
    )


def book(source: str, kind: BalanceType, amount: int, currency: str, when: int, mint: Mint) -> BalanceTransaction:
    """What moves on a balance for its `source`; available from `when` on."""
    return BalanceTransaction(
        id=mint.new_id("txn"),
        amount=amount,
        available_on=when,
        created=mint.now,
        currency=currency,
        fee=0,
        net=amount,
        reporting_category=_CATEGORIES[kind],
        source=source,
        type=kind,
    )
