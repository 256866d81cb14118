"""One act on the double's state: what it may load, and how what it decides is written, with its history and its events.

Everything here happens inside one transaction of the store, without an await.
"""

import secrets
from collections.abc import Callable
from typing import Final, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from lml_live import limits
from lml_live.devstack.stripe import disputes, intents, payouts, refunds, refusals, transfers
from lml_live.devstack.stripe.cards import StoredMethod
from lml_live.devstack.stripe.disputes import DisputeChange, DisputeWish
from lml_live.devstack.stripe.faults import Faults, release_order
from lml_live.devstack.stripe.intents import Attempt, Change, Mint
from lml_live.devstack.stripe.objects import (
    BalanceTransaction,
    Charge,
    ConnectedAccount,
    Customer,
    DeletedCustomer,
    Dispute,
    Event,
    EventData,
    EventRequest,
    EventSubject,
    PaymentIntent,
    Payout,
    Refund,
)
from lml_live.devstack.stripe.payouts import PayoutChange, PayoutWish
from lml_live.devstack.stripe.refunds import RefundChange
from lml_live.devstack.stripe.settings import Control
from lml_live.devstack.stripe.store import Store

T = TypeVar("T")

DELETED_CUSTOMER: Final = "deleted_customer"
"""Kept beside what it was."""

DeliveryState = Literal["pending", "held", "lost", "delivered", "failed"]


class Try(msgspec.Struct, frozen=True):
    """One attempt to deliver; `at_ms` is the double's time."""

    at_ms: int
    status: int | None
    error: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One copy of an event on its way to the endpoint."""

    id: str
    event: str
    type: str
    state: DeliveryState
    created_ms: int
    due_ms: int
    held_by: str | None = None
    """The webhook fault that keeps it."""
    tries: tuple[Try, ...] = ()


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an intent's status. `before` is None for the creation."""

    intent: str
    at_ms: int
    before: str | None
    after: str
    operation: str
    request: str | None


class IssuerPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page for one 3-D Secure attempt, found by its secret; it knows the way back when the attempt is over too."""

    secret: str
    intent: str
    return_url: str | None

    def is_open(self, intent: PaymentIntent) -> bool:
        """Whether the intent still waits for just this attempt."""
        return intent.status == "requires_action" and _page_secret(intent) == self.secret


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


class Act:
    """One request, or one thing that time brings about."""

    def __init__(
        self, store: Store, control: Control, faults: Faults, *, operation: str, request: EventRequest
    ) -> None:
        self.store = store
        self._control = control
        self._faults = faults
        self._operation = operation
        self._request = request
        self.now_ms = control.now_ms()
        self.mint = Mint(now=self.now_ms // 1000, new_id=new_id, processing_seconds=control.settings.processing_seconds)

    # What is there.

    def find(self, kind: str, object_id: str, shape: type[T], param: str = "id") -> T:
        """An object of the API, or `resource_missing`."""
        found = self.store.load(kind, object_id, shape)
        if found is None:
            raise refusals.no_such(kind, object_id, param)
        return found

    def customer(self, customer_id: str, param: str = "id") -> Customer:
        """One that was not deleted."""
        if self.store.load(DELETED_CUSTOMER, customer_id, DeletedCustomer) is not None:
            raise refusals.no_such("customer", customer_id, param)
        return self.find("customer", customer_id, Customer, param)

    def intent(self, intent_id: str, param: str = "intent") -> PaymentIntent:
        return self.find("payment_intent", intent_id, PaymentIntent, param)

    def charge_of(self, intent: PaymentIntent) -> Charge | None:
        return self.store.load("charge", intent.latest_charge, Charge) if intent.latest_charge else None

    def method(self, method_id: str) -> StoredMethod:
        return self.find("payment_method", method_id, StoredMethod, "payment_method")

    # What becomes of it.

    def write_method(self, method: StoredMethod) -> None:
        self.store.put("payment_method", method.method.id, method)

    def write(self, change: Change, before: str | None) -> None:
        """Writes what a step has made of an intent whose status was `before`."""
        intent = change.intent
        self.store.put("payment_intent", intent.id, intent)
        if intent.status != before:
            self.store.put(
                "history",
                new_id("hist"),
                HistoryEntry(
                    intent=intent.id,
                    at_ms=self.now_ms,
                    before=before,
                    after=intent.status,
                    operation=self._operation,
                    request=self._request.id,
                ),
                parent=intent.id,
            )
        if change.charge is not None:
            due_ms = None if change.due is None else change.due * 1000
            self.store.put("charge", change.charge.id, change.charge, parent=intent.id, due_ms=due_ms)
        if intent.status == "requires_action" and intent.next_action is not None:
            redirect = intent.next_action.redirect_to_url
            secret = _page_secret(intent)
            page = IssuerPage(secret=secret, intent=intent.id, return_url=redirect.return_url if redirect else None)
            self.store.put("issuer_page", secret, page)
        self._save_method(change)
        self._write_balance(change.balance)
        for event_type in change.events:
            subject = change.charge if event_type.startswith("charge.") else intent
            assert subject is not None
            self.emit(event_type, subject)

    def _save_method(self, change: Change) -> None:
        """A method that has paid is its customer's from here on, where that was wanted."""
        intent = change.intent
        has_paid = change.charge is not None and intent.status in ("requires_capture", "succeeded")
        if not has_paid or intent.payment_method is None:
            return
        stored = self.method(intent.payment_method)
        if intent.saves(stored.method.type) and stored.method.customer is None:
            saved = msgspec.structs.replace(stored.method, customer=intent.customer)
            self.write_method(msgspec.structs.replace(stored, method=saved))
            self.emit("payment_method.attached", saved)

    def write_refund(self, change: RefundChange) -> None:
        """Writes what a step has made of a refund."""
        refund, charge = change.refund, change.charge
        due_ms = None if change.due is None else change.due * 1000
        self.store.put("refund", refund.id, refund, parent=charge.id, due_ms=due_ms)
        self.store.put("charge", charge.id, charge, parent=charge.payment_intent)
        self._write_balance(change.balance)
        for event_type in change.events:
            of_charge = event_type.startswith("charge.") and event_type != "charge.refund.updated"
            self.emit(event_type, charge if of_charge else refund)

    def _write_dispute(self, change: DisputeChange) -> Dispute:
        """Writes what a step has made of a dispute."""
        dispute, charge = change.dispute, change.charge
        self.store.put("dispute", dispute.id, dispute, parent=charge.id)
        self.store.put("charge", charge.id, charge, parent=charge.payment_intent)
        self._write_balance(change.balance)
        for event_type in change.events:
            self.emit(event_type, dispute)
        return dispute

    def open_dispute(self, intent_id: str, wish: DisputeWish) -> Dispute:
        """The buyer's bank takes a payment back, until it has decided."""
        charge = self.charge_of(self.intent(intent_id))
        if charge is None:
            raise refusals.invalid("payment_intent", "There is no charge to be disputed.")
        before = list(self.store.list_of("dispute", charge.id, Dispute))
        return self._write_dispute(disputes.open_one(charge, before, wish, self.mint))

    def close_dispute(self, dispute_id: str, outcome: Literal["won", "lost", "dropped"]) -> Dispute:
        """The bank has decided."""
        dispute, charge = self._disputed(dispute_id)
        return self._write_dispute(disputes.close(dispute, charge, outcome, self.mint))

    def escalate_dispute(self, dispute_id: str, fee: int) -> Dispute:
        """The bank that asked takes the money."""
        dispute, charge = self._disputed(dispute_id)
        return self._write_dispute(disputes.escalate(dispute, charge, fee, self.mint))

    def reinstate_dispute(self, dispute_id: str, fee_back: int) -> Dispute:
        """The bank thinks better of it."""
        dispute, charge = self._disputed(dispute_id)
        return self._write_dispute(disputes.reinstate(dispute, charge, fee_back, self.mint))

    def answer_dispute(
        self,
        dispute_id: str,
        evidence: dict[str, str | None],
        *,
        submit: bool,
        metadata: Callable[[dict[str, str]], dict[str, str]],
    ) -> Dispute:
        """Evidence comes, to be kept or to be heard."""
        dispute, charge = self._disputed(dispute_id)
        dispute = msgspec.structs.replace(dispute, metadata=metadata(dispute.metadata))
        return self._write_dispute(disputes.answer(dispute, charge, evidence, submit=submit, mint=self.mint))

    def _disputed(self, dispute_id: str) -> tuple[Dispute, Charge]:
        dispute = self.find("dispute", dispute_id, Dispute)
        return dispute, self.find("charge", dispute.charge, Charge)

    def _write_balance(self, balance: BalanceTransaction | None) -> None:
        if balance is not None:
            self.store.put("balance_transaction", balance.id, balance, parent=balance.source)

    # What connected accounts have, and what leaves them.

    def booked_by(self, account_id: str) -> list[BalanceTransaction]:
        """All that a connected account has booked."""
        return self.store.list_of("account_transaction", account_id, BalanceTransaction)

    def write_account(self, account: ConnectedAccount) -> None:
        """Writes a connected account; one whose money leaves by day is due at the next midnight."""
        by_day = account.payouts_enabled and account.settings.payouts.schedule.interval == "daily"
        due_ms = payouts.next_midnight(self.mint.now) * 1000 if by_day else None
        self.store.put("account", account.id, account)
        self.store.put("payout_day", account.id, account.id, due_ms=due_ms)

    def write_payout(self, account_id: str, change: PayoutChange) -> Payout:
        """Writes what a step has made of a payout, and of the account whose bank has refused it."""
        payout, due = change.payout, payouts.due(change.payout)
        self.store.put("payout_of", payout.id, account_id)
        self.store.put("payout", payout.id, payout, parent=account_id, due_ms=None if due is None else due * 1000)
        if change.booked is not None:
            self.store.put("account_transaction", change.booked.id, change.booked, parent=account_id)
        self.emit(change.event, payout, account=account_id)
        if change.account is not None:
            self.write_account(change.account)
            self.emit("account.external_account.updated", change.account.external_accounts.data[-1], account=account_id)
            self.emit("account.updated", change.account, account=account_id)
        return payout

    # What time brings about.

    def settle(self) -> None:
        """Does what is due: authorisations end, banks answer, refunds arrive, old answers are forgotten."""
        # What is settled is due no more, so the batches come to an end.
        while charges := self.store.due("charge", self.now_ms, Charge):
            for charge in charges:
                self._settle_charge(charge)
        while due := self.store.due("refund", self.now_ms, Refund):
            for refund in due:
                charge = self.find("charge", refund.charge, Charge)
                self.write_refund(refunds.settle(refund, charge, self.method(charge.payment_method), self.mint))
        self._settle_payouts()
        for kind in ("saved", "request", "event"):
            self.store.prune(kind, self.now_ms)

    def _settle_payouts(self) -> None:
        """Payouts go on, and what accounts have leaves them once a day, however many days have passed."""
        last_midnight = payouts.next_midnight(self.mint.now) - payouts.DAY_SECONDS
        while accounts := self.store.due("payout_day", self.now_ms, str):
            for one in accounts:
                account = self.find("account", one, ConnectedAccount)
                theirs, bank = self.booked_by(one), payouts.bank_of(account)
                there = transfers.available(theirs, bank.currency, last_midnight) if bank is not None else 0
                if bank is not None and there > 0:
                    wish = PayoutWish(amount=there, currency=bank.currency)
                    self.write_payout(one, payouts.create(account, theirs, wish, self.mint, automatic=True))
                self.write_account(account)
        while under_way := self.store.due("payout", self.now_ms, Payout):
            for payout in under_way:
                self.write_payout(self.find("payout_of", payout.id, str), payouts.pass_time(payout))

    def _settle_charge(self, charge: Charge) -> None:
        intent = self.intent(charge.payment_intent)
        if intent.status == "processing":
            change = intents.finish_processing(intent, charge, self.method(charge.payment_method), self.mint)
        else:
            # Only a charge that nobody has captured or canceled is still due.
            change = intents.expire(intent, charge, self.mint)
        self.write(change, intent.status)

    def authenticate(self, intent_id: str, *, secret: str | None, passed: bool) -> PaymentIntent:
        """The buyer passes or fails at the issuer's page; a second press of its buttons changes nothing.

        `secret` must be that of the page's address; None is for tests, which need no page.
        """
        intent = self.intent(intent_id)
        if intent.status != "requires_action" or intent.next_action is None or intent.payment_method is None:
            return intent
        if secret is not None and secret != _page_secret(intent):
            return intent
        attempt = Attempt(method=self.method(intent.payment_method))
        change = intents.authenticate(intent, attempt, passed, self.mint)
        self.write(change, intent.status)
        return change.intent

    # Who hears of it.

    def emit(self, event_type: str, subject: EventSubject, *, account: str | None = None) -> None:
        """Something has happened; with an account, to that one."""
        event_id = new_id("evt")
        deliveries = self._deliveries(event_id, event_type) if self._control.settings.webhook_url else []
        event = Event(
            id=event_id,
            account=msgspec.UNSET if account is None else account,
            created=self.mint.now,
            data=EventData(object=msgspec.Raw(msgspec.json.encode(subject))),
            pending_webhooks=int(bool(deliveries)),
            request=self._request,
            type=event_type,
        )
        self._put_event(event)
        for delivery in deliveries:
            self.put_delivery(delivery)
        for fault in self._faults.every_webhook():
            if fault.kind == "reorder" and fault.count == 0:
                self.release(fault.id, "reversed" if fault.seed is None else "shuffled", fault.seed)

    def _put_event(self, event: Event) -> None:
        until_ms = (event.created + limits.STRIPE_DOUBLE_EVENT_DAYS * 86_400) * 1000
        self.store.put("event", event.id, event, due_ms=until_ms)

    def count_pending(self, event_id: str) -> None:
        """Writes into an event whether an endpoint still has to be told."""
        event = self.store.load("event", event_id, Event)
        if event is not None:
            states = {delivery.state for delivery in self.store.list_of("delivery", event_id, Delivery)}
            self._put_event(msgspec.structs.replace(event, pending_webhooks=int(states != {"delivered"})))

    def _deliveries(self, event_id: str, event_type: str) -> list[Delivery]:
        fault = self._faults.take_webhook(event_type)
        kind = fault.kind if fault else None
        state: DeliveryState = "lost" if kind == "lose" else "held" if kind in ("hold", "reorder") else "pending"
        return [
            Delivery(
                id=new_id("whd"),
                event=event_id,
                type=event_type,
                state=state,
                created_ms=self.now_ms,
                due_ms=self.now_ms + (fault.delay_ms if fault and kind == "late" else 0),
                held_by=fault.id if fault and state == "held" else None,
            )
            for _ in range(fault.copies if fault and kind == "double" else 1)
        ]

    def put_delivery(self, delivery: Delivery) -> None:
        """Writes a delivery; only a pending one is due."""
        due_ms = delivery.due_ms if delivery.state == "pending" else None
        self.store.put("delivery", delivery.id, delivery, parent=delivery.event, due_ms=due_ms)

    def release(self, held_by: str | None, order: str, seed: int | None) -> int:
        """Sends what is held, by one fault or by all, in this order; answers how many deliveries those are."""
        held = {
            delivery.id: delivery
            for delivery in self.store.list_all("delivery", Delivery)
            if delivery.state == "held" and held_by in (None, delivery.held_by)
        }
        for place, delivery_id in enumerate(release_order(list(held), order, seed)):
            due_ms = self.now_ms + place  # A millisecond apart, so that they are sent in this order.
            self.put_delivery(msgspec.structs.replace(held[delivery_id], state="pending", due_ms=due_ms, held_by=None))
        return len(held)

    def resend(self, event_id: str) -> None:
        """Sends an event once more, as the button of Stripe's dashboard does."""
        event = self.find("event", event_id, Event)
        self.put_delivery(
            Delivery(
                id=new_id("whd"),
                event=event.id,
                type=event.type,
                state="pending",
                created_ms=self.now_ms,
                due_ms=self.now_ms,
            )
        )


def _page_secret(intent: PaymentIntent) -> str:
    """What the address of the intent's present 3-D Secure page ends in; empty where it has none."""
    address = intent.next_action.page_url if intent.next_action else ""
    return parse_qs(urlsplit(address).query).get("secret", [""])[0]
