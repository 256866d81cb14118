"""What may become of a PaymentIntent: every step as a pure function from what is to what will be.

    requires_payment_method ─► requires_confirmation ─► requires_action ─► requires_capture ─► succeeded
             ▲                          │                     │           └► succeeded (automatic capture)
             └── declined, or failed to authenticate ─────────┘           └► processing ─► succeeded (bank accounts)
    all but succeeded ─► canceled

A step answers a `Change`: what is to be written and which events tell of it. `refusal` is set where something is
written and the caller still hears an error (a declined card). A step that may not be taken raises `Refusal`.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from lml_live.devstack.stripe import cards, refusals
from lml_live.devstack.stripe.cards import Decline, StoredMethod
from lml_live.devstack.stripe.objects import (
    BalanceTransaction,
    Charge,
    ChargeCard,
    ChargeOutcome,
    FeeDetail,
    MethodDetails,
    NextAction,
    PaymentError,
    PaymentIntent,
    PaymentMethod,
    RedirectToUrl,
    UseStripeSdk,
)
from lml_live.devstack.stripe.refusals import Refusal

_change = msgspec.structs.replace

CANCELABLE: Final = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
CONFIRMABLE: Final = ("requires_payment_method", "requires_confirmation", "requires_action")
AUTHORISATION_SECONDS: Final = 7 * 86_400
"""How long an uncaptured card payment lasts (Stripe: Place a hold on a payment method)."""
MERCHANT_AUTHORISATION_SECONDS: Final = 4 * 86_400 + 18 * 3_600
"""The same for Visa where the buyer is not present."""
PROCESSING_SECONDS: Final = 4 * 86_400
"""How long a bank takes to answer for an account."""
_AVAILABLE_SECONDS: Final = 2 * 86_400


class Mint(msgspec.Struct, frozen=True):
    """What a step may not fetch itself: the double's time, in seconds, and new ids by prefix."""

    now: int
    new_id: Callable[[str], str]
    processing_seconds: int = PROCESSING_SECONDS


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a step writes. The events' subjects are what is written here, by the first word of their type."""

    intent: PaymentIntent
    charge: Charge | None = None
    balance: BalanceTransaction | None = None
    events: tuple[str, ...] = ()
    refusal: Refusal | None = None
    due: int | None = None
    """When the charge must be looked at again: its authorisation ends, or its processing."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How a payment is confirmed."""

    method: StoredMethod
    return_url: str | None = None
    off_session: bool = False
    page_url: str = ""
    """The double's page for this attempt, which nobody can guess."""
    declined: bool = False
    """The issuer says no, whatever the card (a fault that a test asked for)."""


def confirm(intent: PaymentIntent, attempt: Attempt, mint: Mint) -> Change:
    """Tries to pay: ends in a charge, or asks the buyer to prove who they are."""
    card = attempt.method.card
    if intent.status not in CONFIRMABLE:
        raise refusals.unexpected_state(_why_not_confirmed(intent), intent)
    if card.type not in intent.payment_method_types:
        raise refusals.invalid(
            "payment_method", f"The PaymentMethod provided ({card.type}) is not allowed for this PaymentIntent."
        )
    if intent.captures_later(card.type) and card.type not in cards.CAN_WAIT:
        raise refusals.invalid("capture_method", f"{card.type} cannot be captured manually.")
    if card.type == "ideal" and attempt.return_url is None:
        raise refusals.invalid("return_url", "iDEAL leads to the buyer's bank: a `return_url` is needed.")
    automatic = intent.automatic_payment_methods
    if automatic is not None and automatic.allow_redirects == "always" and attempt.return_url is None:
        raise refusals.invalid(
            "return_url",
            "This PaymentIntent is configured to accept payment methods that might redirect your customer off of your "
            "page: you must provide a `return_url`. If you don't want to accept redirect-based payment methods, set "
            "`automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to "
            "`never` when creating Setup Intents and Payment Intents.",
        )
    # Nothing below refuses, though a card may be declined.
    intent = _change(intent, payment_method=attempt.method.method.id, next_action=None, last_payment_error=None)
    if card.authentication == "always" and attempt.off_session:
        return _decline(intent, attempt.method.method, cards.AUTHENTICATION_REQUIRED, mint)
    if card.authentication != "never" and not attempt.off_session:
        intent = _change(intent, status="requires_action", next_action=_next_action(attempt))
        return Change(intent=intent, events=("payment_intent.requires_action",))
    return _charge(intent, attempt, mint)


def authenticate(intent: PaymentIntent, attempt: Attempt, passed: bool, mint: Mint) -> Change:
    """The buyer has been at the page of the card's issuer, and passed or failed."""
    if intent.status != "requires_action":
        raise refusals.unexpected_state(f"This PaymentIntent has a status of {intent.status}.", intent)
    intent = _change(intent, next_action=None)
    if passed:
        return _charge(intent, attempt, mint, authenticated=True)
    error = PaymentError(
        type="invalid_request_error",
        code="payment_intent_authentication_failure",
        message="The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again.",
        payment_method=attempt.method.method,
    )
    intent = _change(intent, status="requires_payment_method", payment_method=None, last_payment_error=error)
    return Change(intent=intent, events=("payment_intent.payment_failed",))


def capture(intent: PaymentIntent, charge: Charge | None, amount: int | None, mint: Mint) -> Change:
    """Takes the authorised money, or part of it; the rest is released."""
    if intent.status != "requires_capture" or charge is None:
        raise refusals.unexpected_state(
            f"This PaymentIntent could not be captured because it has a status of {intent.status}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture.",
            intent,
        )
    taken = intent.amount_capturable if amount is None else amount
    if taken <= 0:
        raise refusals.invalid("amount_to_capture", "This value must be greater than or equal to 1.")
    if taken > intent.amount_capturable:
        raise refusals.invalid(
            "amount_to_capture",
            "The amount to capture is greater than the amount that can be captured for this PaymentIntent.",
            "amount_too_large",
        )
    # Nothing below refuses.
    balance = _booked(charge, taken, mint)
    charge = _change(
        charge,
        captured=True,
        amount_captured=taken,
        amount_refunded=charge.amount - taken,
        balance_transaction=balance.id,
    )
    intent = _change(intent, status="succeeded", amount_capturable=0, amount_received=taken)
    return Change(intent=intent, charge=charge, balance=balance, events=("charge.captured", "payment_intent.succeeded"))


def cancel(intent: PaymentIntent, charge: Charge | None, reason: str | None, mint: Mint) -> Change:
    """Ends the intent for good; an authorisation is given back."""
    if intent.status not in CANCELABLE:
        raise refusals.unexpected_state(
            f"You cannot cancel this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent "
            f"with one of the following statuses may be canceled: {', '.join(CANCELABLE)}.",
            intent,
        )
    # Nothing below refuses.
    held = intent.status == "requires_capture"
    if intent.status == "processing" and charge is not None:
        charge = _change(charge, status="failed", paid=False, failure_message="The payment was canceled.")
        return Change(intent=_canceled(intent, reason, mint), charge=charge, events=("payment_intent.canceled",))
    if held and charge is not None:
        charge = _change(charge, refunded=True, amount_refunded=charge.amount)
        events: tuple[str, ...] = ("charge.refunded", "payment_intent.canceled")
        return Change(intent=_canceled(intent, reason, mint), charge=charge, events=events)
    return Change(intent=_canceled(intent, reason, mint), events=("payment_intent.canceled",))


def expire(intent: PaymentIntent, charge: Charge, mint: Mint) -> Change:
    """The authorisation has ended uncaptured: the money is released, the intent canceled."""
    charge = _change(charge, refunded=True, amount_refunded=charge.amount)
    events = ("charge.expired", "payment_intent.canceled")
    return Change(intent=_canceled(intent, "automatic", mint), charge=charge, events=events)


def finish_processing(intent: PaymentIntent, charge: Charge, method: StoredMethod, mint: Mint) -> Change:
    """The buyer's bank has answered for an account."""
    decline = method.card.decline
    if decline is None:
        balance = _booked(charge, charge.amount, mint)
        charge = _change(
            charge,
            status="succeeded",
            paid=True,
            captured=True,
            amount_captured=charge.amount,
            balance_transaction=balance.id,
        )
        intent = _change(intent, status="succeeded", amount_received=charge.amount)
        events = ("charge.succeeded", "payment_intent.succeeded")
        return Change(intent=intent, charge=charge, balance=balance, events=events)
    charge = _change(charge, status="failed", failure_code=decline.code, failure_message=decline.message)
    error = _payment_error(decline, charge, method.method)
    intent = _change(intent, status="requires_payment_method", payment_method=None, last_payment_error=error)
    return Change(intent=intent, charge=charge, events=("charge.failed", "payment_intent.payment_failed"))


# --- The parts


def _charge(intent: PaymentIntent, attempt: Attempt, mint: Mint, *, authenticated: bool = False) -> Change:
    method, card = attempt.method.method, attempt.method.card
    if attempt.declined:
        return _decline(intent, method, cards.GENERIC_DECLINE, mint)
    if card.type in cards.DELAYED:
        charge = _fresh_charge(intent, method, mint, status="pending")
        intent = _change(intent, status="processing", latest_charge=charge.id)
        events = ("charge.pending", "payment_intent.processing")
        return Change(intent=intent, charge=charge, events=events, due=mint.now + mint.processing_seconds)
    if card.decline is not None:
        return _decline(intent, method, card.decline, mint)
    if intent.captures_later(card.type):
        visa_alone = card.brand == "visa" and attempt.off_session
        until = mint.now + (MERCHANT_AUTHORISATION_SECONDS if visa_alone else AUTHORISATION_SECONDS)
        charge = _fresh_charge(
            intent, method, mint, status="succeeded", capture_before=until, authenticated=authenticated
        )
        intent = _change(intent, status="requires_capture", latest_charge=charge.id, amount_capturable=intent.amount)
        events = ("charge.succeeded", "payment_intent.amount_capturable_updated")
        return Change(intent=intent, charge=charge, events=events, due=until)
    charge = _fresh_charge(intent, method, mint, status="succeeded", authenticated=authenticated)
    balance = _booked(charge, charge.amount, mint)
    charge = _change(charge, captured=True, amount_captured=charge.amount, balance_transaction=balance.id)
    intent = _change(intent, status="succeeded", latest_charge=charge.id, amount_received=charge.amount)
    return Change(
        intent=intent, charge=charge, balance=balance, events=("charge.succeeded", "payment_intent.succeeded")
    )


def _decline(intent: PaymentIntent, method: PaymentMethod, decline: Decline, mint: Mint) -> Change:
    charge = _fresh_charge(intent, method, mint, status="failed", decline=decline)
    error = _payment_error(decline, charge, method)
    intent = _change(
        intent,
        status="requires_payment_method",
        payment_method=None,
        latest_charge=charge.id,
        last_payment_error=error,
    )
    refusal = refusals.card_error(decline.code, decline.message, decline_code=decline.decline_code)
    refusal.body = _change(refusal.body, charge=charge.id, payment_intent=intent, payment_method=method)
    return Change(
        intent=intent, charge=charge, events=("charge.failed", "payment_intent.payment_failed"), refusal=refusal
    )


def _payment_error(decline: Decline, charge: Charge, method: PaymentMethod) -> PaymentError:
    return PaymentError(
        type="card_error",
        code=decline.code,
        message=decline.message,
        decline_code=decline.decline_code,
        charge=charge.id,
        payment_method=method,
    )


def _fresh_charge(
    intent: PaymentIntent,
    method: PaymentMethod,
    mint: Mint,
    *,
    status: str,
    decline: Decline | None = None,
    capture_before: int | None = None,
    authenticated: bool = False,
) -> Charge:
    if decline is None:
        outcome = ChargeOutcome(
            network_status="approved_by_network", reason=None, seller_message="Payment complete.", type="authorized"
        )
    else:
        reason = decline.decline_code or decline.code
        outcome = ChargeOutcome(
            network_status="declined_by_network",
            reason=reason,
            seller_message=f"The bank returned the decline code `{reason}`.",
            type="issuer_declined",
        )
    return Charge(
        id=mint.new_id("ch"),
        amount=intent.amount,
        billing_details=method.billing_details,
        created=mint.now,
        currency=intent.currency,
        customer=intent.customer,
        description=intent.description,
        failure_code=decline.code if decline else None,
        failure_message=decline.message if decline else None,
        metadata=intent.metadata,
        outcome=outcome,
        paid=status == "succeeded",
        payment_intent=intent.id,
        payment_method=method.id,
        payment_method_details=_method_details(intent, method, capture_before, authenticated, decline is None),
        receipt_email=intent.receipt_email,
        statement_descriptor=intent.statement_descriptor,
        status=status,  # type: ignore[arg-type]  # one of the three literals at each call above
    )


def _method_details(
    intent: PaymentIntent, method: PaymentMethod, capture_before: int | None, authenticated: bool, authorised: bool
) -> MethodDetails:
    if method.card is None:
        return MethodDetails(type=method.type, **{method.type: {"bank_name": "STRIPE TEST BANK"}})  # type: ignore[arg-type]
    card = ChargeCard(
        brand=method.card.brand,
        last4=method.card.last4,
        exp_month=method.card.exp_month,
        exp_year=method.card.exp_year,
        funding=method.card.funding,
        country=method.card.country,
        fingerprint=method.card.fingerprint,
        amount_authorized=intent.amount if authorised else None,
        capture_before=capture_before,
        three_d_secure={"result": "authenticated", "version": "2.2.0"} if authenticated else None,
    )
    return MethodDetails(type="card", card=card)


def _booked(charge: Charge, amount: int, mint: Mint) -> BalanceTransaction:
    fee = fee_of(amount)
    return BalanceTransaction(
        id=mint.new_id("txn"),
        amount=amount,
        available_on=mint.now + _AVAILABLE_SECONDS,
        created=mint.now,
        currency=charge.currency,
        description=charge.description,
        fee=fee,
        fee_details=(FeeDetail(amount=fee, currency=charge.currency),),
        net=amount - fee,
        reporting_category="charge",
        source=charge.id,
        type="charge",
    )


def fee_of(amount: int) -> int:
    """What Stripe keeps of a payment, in minor units: 2.9 % and 30, rounded half up."""
    return (amount * 29 + 500) // 1_000 + 30


def _canceled(intent: PaymentIntent, reason: str | None, mint: Mint) -> PaymentIntent:
    return _change(
        intent,
        status="canceled",
        amount_capturable=0,
        canceled_at=mint.now,
        cancellation_reason=reason,
        next_action=None,
    )


def _next_action(attempt: Attempt) -> NextAction:
    if attempt.return_url is None:
        return NextAction(type="use_stripe_sdk", use_stripe_sdk=UseStripeSdk(stripe_js=attempt.page_url))
    redirect = RedirectToUrl(url=attempt.page_url, return_url=attempt.return_url)
    return NextAction(type="redirect_to_url", redirect_to_url=redirect)


def _why_not_confirmed(intent: PaymentIntent) -> str:
    if intent.status == "succeeded":
        return (
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed."
        )
    return (
        f"You cannot confirm this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent "
        f"with one of the following statuses may be confirmed: {', '.join(CONFIRMABLE)}."
    )
