"""Stripe's objects as far as the double has them, field for field as they go over the wire."""

from typing import Final, Literal

import msgspec

API_VERSION: Final = "2026-10-28.endive"
"""The version that the pinned SDK speaks."""

IntentStatus = Literal[
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
    "canceled",
    "succeeded",
]
CaptureMethod = Literal["automatic", "automatic_async", "manual"]
RefundStatus = Literal["pending", "succeeded", "failed"]
Metadata = dict[str, str]


class BillingDetails(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    address: dict[str, str] | None = None


class CardDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a card: never its number."""

    brand: str
    last4: str
    exp_month: int
    exp_year: int
    funding: str = "credit"
    country: str = "US"
    fingerprint: str | None = None


class PaymentMethod(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["payment_method"] = "payment_method"
    billing_details: BillingDetails = BillingDetails()
    card: CardDetails | None = None
    created: int
    customer: str | None = None
    livemode: bool = False
    metadata: Metadata = {}
    type: str = "card"


class AutomaticPaymentMethods(msgspec.Struct, frozen=True, kw_only=True):
    enabled: bool
    allow_redirects: Literal["always", "never"] = "always"


class RedirectToUrl(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    return_url: str


class UseStripeSdk(msgspec.Struct, frozen=True, kw_only=True):
    """What Stripe.js would open; `stripe_js` is the address of the double's page."""

    type: Literal["three_d_secure_redirect"] = "three_d_secure_redirect"
    stripe_js: str


class NextAction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: Literal["redirect_to_url", "use_stripe_sdk"]
    redirect_to_url: RedirectToUrl | None = None
    use_stripe_sdk: UseStripeSdk | None = None

    @property
    def page_url(self) -> str:
        """Where the buyer proves who they are."""
        if self.redirect_to_url is not None:
            return self.redirect_to_url.url
        return self.use_stripe_sdk.stripe_js if self.use_stripe_sdk is not None else ""


class PaymentError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`last_payment_error`: why the last attempt did not succeed."""

    type: str
    code: str
    message: str
    decline_code: str | None = None
    charge: str | None = None
    payment_method: PaymentMethod | None = None


class PaymentIntent(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["payment_intent"] = "payment_intent"
    amount: int
    amount_capturable: int = 0
    amount_received: int = 0
    application_fee_amount: None = None
    automatic_payment_methods: AutomaticPaymentMethods | None = None
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    capture_method: CaptureMethod = "automatic"
    client_secret: str
    confirmation_method: Literal["automatic"] = "automatic"
    created: int
    currency: str
    customer: str | None = None
    description: str | None = None
    last_payment_error: PaymentError | None = None
    latest_charge: str | None = None
    livemode: bool = False
    metadata: Metadata = {}
    next_action: NextAction | None = None
    payment_method: str | None = None
    payment_method_options: dict[str, dict[str, str]] = {}
    payment_method_types: tuple[str, ...] = ("card",)
    processing: None = None
    receipt_email: str | None = None
    setup_future_usage: str | None = None
    statement_descriptor: str | None = None
    statement_descriptor_suffix: str | None = None
    status: IntentStatus = "requires_payment_method"

    def saves(self, method: str) -> bool:
        """Whether a method of this type is saved for the customer once it has paid."""
        chosen = self.payment_method_options.get(method, {}).get("setup_future_usage")
        return self.customer is not None and (chosen or self.setup_future_usage) is not None

    def captures_later(self, method: str) -> bool:
        """Whether a payment by this type of method is captured by a call of its own: its option, else the intent's."""
        chosen = self.payment_method_options.get(method, {}).get("capture_method")
        return (chosen or self.capture_method) == "manual"


PUBLIC_INTENT_FIELDS: Final = frozenset(
    {
        *("id", "object", "amount", "automatic_payment_methods", "canceled_at", "cancellation_reason"),
        *("capture_method", "client_secret", "confirmation_method", "created", "currency", "description"),
        *("last_payment_error", "livemode", "next_action", "payment_method", "payment_method_types", "processing"),
        *("receipt_email", "setup_future_usage", "status"),
    }
)
"""What a publishable key may see of a PaymentIntent."""


class ChargeCard(msgspec.Struct, frozen=True, kw_only=True):
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    funding: str
    country: str
    fingerprint: str | None
    amount_authorized: int | None
    capture_before: int | None = None
    three_d_secure: dict[str, str] | None = None


class MethodDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    card: ChargeCard | None = None
    us_bank_account: dict[str, str] | None = None
    ideal: dict[str, str] | None = None
    sepa_debit: dict[str, str] | None = None


class ChargeOutcome(msgspec.Struct, frozen=True, kw_only=True):
    network_status: str
    reason: str | None
    seller_message: str
    type: str


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["charge"] = "charge"
    amount: int
    amount_captured: int = 0
    amount_refunded: int = 0
    balance_transaction: str | None = None
    billing_details: BillingDetails = BillingDetails()
    captured: bool = False
    created: int
    currency: str
    customer: str | None = None
    description: str | None = None
    disputed: bool = False
    failure_balance_transaction: None = None
    failure_code: str | None = None
    failure_message: str | None = None
    livemode: bool = False
    metadata: Metadata = {}
    outcome: ChargeOutcome
    paid: bool
    payment_intent: str
    payment_method: str
    payment_method_details: MethodDetails
    receipt_email: str | None = None
    refunded: bool = False
    statement_descriptor: str | None = None
    status: Literal["succeeded", "pending", "failed"]


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["refund"] = "refund"
    amount: int
    balance_transaction: str | None
    charge: str
    created: int
    currency: str
    failure_balance_transaction: str | None = None
    failure_reason: str | None = None
    metadata: Metadata = {}
    payment_intent: str
    reason: str | None = None
    status: RefundStatus


class FeeDetail(msgspec.Struct, frozen=True, kw_only=True):
    amount: int
    application: None = None
    currency: str
    description: str = "Stripe processing fees"
    type: Literal["stripe_fee"] = "stripe_fee"


BalanceType = Literal[
    "charge",
    "refund",
    "refund_failure",
    "adjustment",
    "transfer",
    "transfer_refund",
    "payment",
    "payment_refund",
    "payout",
    "payout_failure",
    "payout_cancel",
]


class BalanceTransaction(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["balance_transaction"] = "balance_transaction"
    amount: int
    available_on: int
    created: int
    currency: str
    description: str | None = None
    exchange_rate: None = None
    """The double's account takes every currency as it is."""
    fee: int
    fee_details: tuple[FeeDetail, ...] = ()
    net: int
    reporting_category: str
    source: str
    status: Literal["pending"] = "pending"
    type: BalanceType
    """The last five are booked by connected accounts only."""


DisputeStatus = Literal[
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
    "needs_response",
    "under_review",
    "won",
    "lost",
]


class EvidenceDetails(msgspec.Struct, frozen=True, kw_only=True):
    due_by: int
    has_evidence: bool = False
    past_due: bool = False
    submission_count: int = 0


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["dispute"] = "dispute"
    amount: int
    balance_transactions: tuple[BalanceTransaction, ...]
    charge: str
    created: int
    currency: str
    evidence: dict[str, str] = {}
    evidence_details: EvidenceDetails
    is_charge_refundable: bool = False
    livemode: bool = False
    metadata: Metadata = {}
    payment_intent: str
    reason: str
    status: DisputeStatus


CapabilityState = Literal["inactive", "pending", "active"]


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """What an account must still be told, and why it is not paid."""

    currently_due: tuple[str, ...] = ()
    disabled_reason: str | None = None


class BankAccount(msgspec.Struct, frozen=True, kw_only=True):
    """Where an account's money goes; `errored` once a payout there has failed."""

    id: str
    object: Literal["bank_account"] = "bank_account"
    account: str
    bank_name: str = "STRIPE TEST BANK"
    country: str
    currency: str
    default_for_currency: bool = True
    last4: str = "3000"
    status: Literal["new", "errored"] = "new"


class BankAccounts(msgspec.Struct, frozen=True, kw_only=True):
    """All that an account was ever given; the last one is paid to."""

    object: Literal["list"] = "list"
    data: tuple[BankAccount, ...] = ()
    has_more: bool = False
    url: str = ""


PayoutInterval = Literal["daily", "manual"]


class PayoutSchedule(msgspec.Struct, frozen=True, kw_only=True):
    delay_days: int = 2
    interval: PayoutInterval = "daily"


class PayoutSettings(msgspec.Struct, frozen=True, kw_only=True):
    schedule: PayoutSchedule = PayoutSchedule()


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True):
    payouts: PayoutSettings = PayoutSettings()


class ConnectedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account of somebody whom the platform pays."""

    id: str
    object: Literal["account"] = "account"
    business_profile: dict[str, str] = {}
    business_type: str | None = None
    capabilities: dict[str, CapabilityState] = {}
    charges_enabled: bool = False
    country: str
    created: int
    default_currency: str
    details_submitted: bool = False
    email: str | None = None
    external_accounts: BankAccounts = BankAccounts()
    livemode: bool = False
    metadata: Metadata = {}
    payouts_enabled: bool = False
    requirements: Requirements = Requirements()
    settings: AccountSettings = AccountSettings()
    type: Literal["express", "standard", "custom"] = "express"


class AccountLink(msgspec.Struct, frozen=True, kw_only=True):
    """An address where whoever owns the account tells Stripe what it wants to know; good once, and not for long."""

    object: Literal["account_link"] = "account_link"
    created: int
    expires_at: int
    url: str


class TransferReversal(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["transfer_reversal"] = "transfer_reversal"
    amount: int
    balance_transaction: str
    created: int
    currency: str
    destination_payment_refund: str
    metadata: Metadata = {}
    source_refund: None = None
    transfer: str


class ReversalList(msgspec.Struct, frozen=True, kw_only=True):
    """The last ten reversals of a transfer, the newest first."""

    object: Literal["list"] = "list"
    data: tuple[TransferReversal, ...] = ()
    has_more: bool = False
    url: str


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """Money that the platform has moved to a connected account."""

    id: str
    object: Literal["transfer"] = "transfer"
    amount: int
    amount_reversed: int = 0
    balance_transaction: str
    created: int
    currency: str
    description: str | None = None
    destination: str
    destination_payment: str
    livemode: bool = False
    metadata: Metadata = {}
    reversals: ReversalList
    reversed: bool = False
    source_transaction: str | None = None
    source_type: Literal["card"] = "card"
    transfer_group: str | None = None


PayoutStatus = Literal["pending", "in_transit", "paid", "failed", "canceled"]


class Payout(msgspec.Struct, frozen=True, kw_only=True):
    """Money that a connected account has sent to its bank."""

    id: str
    object: Literal["payout"] = "payout"
    amount: int
    application_fee: None = None
    application_fee_amount: None = None
    arrival_date: int
    automatic: bool
    balance_transaction: str
    created: int
    currency: str
    description: str | None = None
    destination: str
    failure_balance_transaction: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    livemode: bool = False
    metadata: Metadata = {}
    method: Literal["standard"] = "standard"
    original_payout: None = None
    payout_method: None = None
    reconciliation_status: Literal["completed", "in_progress", "not_applicable"]
    reversed_by: None = None
    source_type: Literal["card"] = "card"
    statement_descriptor: str | None = None
    status: PayoutStatus = "pending"
    trace_id: None = None
    type: Literal["bank_account"] = "bank_account"


class Funds(msgspec.Struct, frozen=True, kw_only=True):
    amount: int
    currency: str
    source_types: dict[str, int]


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has, and what of it is still on its way."""

    object: Literal["balance"] = "balance"
    available: tuple[Funds, ...]
    livemode: bool = False
    pending: tuple[Funds, ...]


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who pays, and whose cards are saved."""

    id: str
    object: Literal["customer"] = "customer"
    created: int
    description: str | None = None
    email: str | None = None
    livemode: bool = False
    metadata: Metadata = {}
    name: str | None = None


class DeletedCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of one that was deleted."""

    id: str
    object: Literal["customer"] = "customer"
    deleted: Literal[True] = True


EventSubject = (
    PaymentIntent
    | Charge
    | Refund
    | Dispute
    | ConnectedAccount
    | Transfer
    | Customer
    | PaymentMethod
    | Payout
    | BankAccount
)


class EventRequest(msgspec.Struct, frozen=True, kw_only=True):
    id: str | None
    idempotency_key: str | None


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    object: msgspec.Raw
    """The object as it was when the event was made."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["event"] = "event"
    account: str | msgspec.UnsetType = msgspec.UNSET
    """The connected account that it happened to; the platform's own events have none."""
    api_version: str = API_VERSION
    created: int
    data: EventData
    livemode: bool = False
    pending_webhooks: int
    request: EventRequest
    type: str


class ListOf(msgspec.Struct, frozen=True, kw_only=True):
    """A page of objects, newest first."""

    object: Literal["list"] = "list"
    data: list[msgspec.Raw]
    has_more: bool
    url: str
