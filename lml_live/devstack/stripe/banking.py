"""The operations on payouts of connected accounts: made by hand, listed, retrieved, called off; by day they come by
themselves (`world.Act.settle`)."""

from typing import Final

from lml_live.devstack.stripe import payouts, reading, refusals
from lml_live.devstack.stripe.objects import BalanceTransaction, ConnectedAccount, ListOf, Payout
from lml_live.devstack.stripe.payments import Call
from lml_live.devstack.stripe.payouts import PayoutEnd, PayoutWish
from lml_live.devstack.stripe.transfers import available
from lml_live.devstack.stripe.world import Act

PAYOUT_FIELDS: Final = frozenset(
    {"amount", "currency", "description", "destination", "metadata", "method", "source_type", "statement_descriptor"}
)
PAYOUT_LIST_FIELDS: Final = reading.LIST_FIELDS | {"arrival_date", "destination", "status"}
_STATUSES: Final = ("pending", "paid", "failed", "canceled")
"""What a list can be asked for; API: List all payouts."""


def create_payout(call: Call) -> Payout:
    form, account = call.form, _account(call)
    form.choice("method", ("standard",))
    form.choice("source_type", ("card",))
    destination, amount = form.text("destination"), form.required_integer("amount")
    bank = payouts.bank_of(account)
    if destination is not None and (bank is None or destination != bank.id):
        raise refusals.no_such("external account", destination, "destination")
    wish = PayoutWish(
        amount=amount,
        currency=form.required("currency").lower(),
        description=form.text("description"),
        metadata=form.metadata({}),
        statement_descriptor=form.text("statement_descriptor", chars_max=22),
    )
    change = payouts.create(account, call.act.booked_by(account.id), wish, call.act.mint)
    return call.act.write_payout(account.id, change)


def retrieve_payout(call: Call) -> Payout:
    return _payout(call)


def cancel_payout(call: Call) -> Payout:
    account, payout = _account(call), _payout(call)
    return call.act.write_payout(account.id, payouts.cancel(payout, call.act.mint))


def list_payouts(call: Call) -> ListOf:
    """An account's, the newest first. The platform itself is paid out nothing here."""
    destination, status = call.form.text("destination"), call.form.choice("status", _STATUSES)
    arrives_in = reading.between(call.form, "arrival_date")
    return reading.page(
        call,
        "payout",
        Payout,
        "/v1/payouts",
        lambda one: (
            destination in (None, one.destination) and status in (None, one.status) and arrives_in(one.arrival_date)
        ),
        parent=call.account or "",
    )


def pay_out(act: Act, account_id: str, amount: int | None) -> Payout:
    """What an account has goes to its bank now, what is pending, too: an amount of it, or all."""
    account = act.find("account", account_id, ConnectedAccount)
    theirs = act.booked_by(account.id)
    wanted = available(theirs, account.default_currency) if amount is None else amount
    wish = PayoutWish(amount=wanted, currency=account.default_currency)
    return act.write_payout(account.id, payouts.create(account, theirs, wish, act.mint, pending_too=True))


def end_payout(act: Act, payout_id: str, outcome: PayoutEnd, code: str) -> Payout:
    """The bank decides at once."""
    payout, account = act.find("payout", payout_id, Payout), act.find("payout_of", payout_id, str)
    change = payouts.end(act.find("account", account, ConnectedAccount), payout, outcome, code, act.mint)
    return act.write_payout(account, change)


def retrieve_booked(call: Call) -> BalanceTransaction:
    """A balance transaction, of the platform or of the account for which it is asked."""
    if call.account is None:
        return call.act.find("balance_transaction", call.object_id, BalanceTransaction)
    found = [one for one in call.act.booked_by(call.account) if one.id == call.object_id]
    if not found:
        raise refusals.no_such("balance transaction", call.object_id)
    return found[0]


def _account(call: Call) -> ConnectedAccount:
    if call.account is None:
        raise refusals.invalid("Stripe-Account", "The double pays out what connected accounts have only.")
    return call.act.find("account", call.account, ConnectedAccount)


def _payout(call: Call) -> Payout:
    """One of the account's; others' are not there."""
    if call.act.store.load("payout_of", call.object_id, str) != call.account or call.account is None:
        raise refusals.no_such("payout", call.object_id)
    return call.act.find("payout", call.object_id, Payout)
