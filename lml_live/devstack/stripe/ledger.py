"""The ledger: everything that the double knows, for those who check a run against it. No secret is in it."""

import msgspec

from lml_live.devstack.stripe import disputes, refunds
from lml_live.devstack.stripe.faults import Fault, WebhookFault
from lml_live.devstack.stripe.objects import (
    BalanceTransaction,
    Charge,
    ConnectedAccount,
    Dispute,
    Event,
    PaymentIntent,
    Payout,
    Refund,
    Transfer,
    TransferReversal,
)
from lml_live.devstack.stripe.requests import Api, Seen
from lml_live.devstack.stripe.world import Delivery, HistoryEntry


class LedgerIntent(msgspec.Struct, frozen=True, kw_only=True):
    """One intent with all that happened to it and what it brought."""

    intent: PaymentIntent
    history: list[HistoryEntry]
    captured: int
    refunded: int
    """Refunds of captured money that have not failed."""
    withdrawn: int
    """Disputes that are open or lost."""
    dispute_fees: int
    """What disputes cost beside that."""
    net_captured: int


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """All in the order in which it was made."""

    now_ms: int
    intents: list[LedgerIntent]
    charges: list[Charge]
    refunds: list[Refund]
    disputes: list[Dispute]
    balance_transactions: list[BalanceTransaction]
    accounts: list[ConnectedAccount]
    transfers: list[Transfer]
    reversals: list[TransferReversal]
    account_transactions: dict[str, list[BalanceTransaction]]
    """What each connected account has booked."""
    payouts: dict[str, list[Payout]]
    """What each connected account has sent to its bank."""
    events: list[Event]
    deliveries: list[Delivery]
    requests: list[Seen]
    faults: list[Fault]
    webhook_faults: list[WebhookFault]

    def net_captured(self) -> dict[str, int]:
        """What the account has earned, by currency, before fees."""
        sums: dict[str, int] = {}
        for entry in self.intents:
            currency = entry.intent.currency
            sums[currency] = sums.get(currency, 0) + entry.net_captured
        return sums


def read_ledger(api: Api) -> Ledger:
    """The ledger as of now."""
    store = api.store
    charges = list(store.list_all("charge", Charge))
    every_refund = list(store.list_all("refund", Refund))
    captured: dict[str, int] = {}
    for charge in charges:
        captured[charge.payment_intent] = captured.get(charge.payment_intent, 0) + charge.amount_captured
    given_back: dict[str, list[Refund]] = {}
    for refund in every_refund:
        given_back.setdefault(refund.payment_intent, []).append(refund)
    every_dispute = list(store.list_all("dispute", Dispute))
    taken_back: dict[str, list[Dispute]] = {}
    for dispute in every_dispute:
        taken_back.setdefault(dispute.payment_intent, []).append(dispute)
    history: dict[str, list[HistoryEntry]] = {}
    for entry in store.list_all("history", HistoryEntry):
        history.setdefault(entry.intent, []).append(entry)
    accounts = list(store.list_all("account", ConnectedAccount))
    intents = []
    for intent in store.list_all("payment_intent", PaymentIntent):
        taken, returned = captured.get(intent.id, 0), refunds.refunded(given_back.get(intent.id, []))
        lost = disputes.withdrawn(taken_back.get(intent.id, []))
        intents.append(
            LedgerIntent(
                intent=_without_secrets(intent),
                history=history.get(intent.id, []),
                captured=taken,
                refunded=returned,
                withdrawn=lost,
                dispute_fees=disputes.costs(taken_back.get(intent.id, [])),
                net_captured=taken - returned - lost,
            )
        )
    return Ledger(
        now_ms=api.control.now_ms(),
        intents=intents,
        charges=charges,
        refunds=every_refund,
        disputes=every_dispute,
        balance_transactions=list(store.list_all("balance_transaction", BalanceTransaction)),
        accounts=accounts,
        transfers=list(store.list_all("transfer", Transfer)),
        reversals=list(store.list_all("transfer_reversal", TransferReversal)),
        account_transactions={
            one.id: store.list_of("account_transaction", one.id, BalanceTransaction) for one in accounts
        },
        payouts={one.id: store.list_of("payout", one.id, Payout) for one in accounts},
        events=[_without_payload(event) for event in store.list_all("event", Event)],
        deliveries=list(store.list_all("delivery", Delivery)),
        requests=list(store.list_all("request", Seen)),
        faults=api.faults.every(),
        webhook_faults=api.faults.every_webhook(),
    )


def _without_secrets(intent: PaymentIntent) -> PaymentIntent:
    return msgspec.structs.replace(intent, client_secret="", next_action=None)


def _without_payload(event: Event) -> Event:
    # The payload repeats what the ledger has already, client secrets included; its id is what a checker needs.
    subject = msgspec.json.decode(event.data.object)
    kept = {name: subject[name] for name in ("id", "object", "status") if name in subject}
    data = msgspec.structs.replace(event.data, object=msgspec.Raw(msgspec.json.encode(kept)))
    return msgspec.structs.replace(event, data=data)
