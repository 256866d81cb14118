"""The operations that move money: PaymentIntents, payment methods and refunds, from a form to what is written."""

import secrets
from collections.abc import Callable
from typing import Final, NamedTuple, cast, get_args

import msgspec

from lml_live.devstack.stripe import cards, disputes, intents, refunds, refusals
from lml_live.devstack.stripe.cards import StoredMethod
from lml_live.devstack.stripe.form import Form
from lml_live.devstack.stripe.intents import Attempt, Change
from lml_live.devstack.stripe.objects import (
    AutomaticPaymentMethods,
    CaptureMethod,
    Charge,
    Dispute,
    PaymentIntent,
    PaymentMethod,
    Refund,
)
from lml_live.devstack.stripe.refunds import RefundWish
from lml_live.devstack.stripe.refusals import Refusal
from lml_live.devstack.stripe.world import Act, new_id

_change = msgspec.structs.replace

AMOUNT_MAX: Final = 99_999_999
_AMOUNT_MIN: Final = {"eur": 50, "usd": 50, "gbp": 30, "jpy": 50, "sek": 300, "nok": 300, "dkk": 250, "huf": 17_500}
_CANCELLATION_REASONS: Final = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
_REFUND_REASONS: Final = ("duplicate", "fraudulent", "requested_by_customer")
_METHOD_TYPES: Final = ("card", "us_bank_account", "sepa_debit", "ideal")


class Call(NamedTuple):
    """One request to an operation, authenticated and decoded."""

    act: Act
    form: Form
    object_id: str = ""
    public: bool = False
    """Made with the publishable key."""
    page_base: str = ""
    """Where the double's pages are."""
    declined: bool = False
    other_id: str = ""
    """The second object of the address, where it names two."""
    account: str | None = None
    """The connected account for which it is made (`Stripe-Account`)."""


Operation = Callable[[Call], "msgspec.Struct | Refusal"]
"""Answers an object, or an error where something was written none the less; raises `Refusal` where nothing is."""

# What Stripe knows and the double may ignore: none of it changes who pays how much, and when.
_IGNORED: Final = frozenset({"payment_method_options", "shipping", "radar_options", "mandate_data", "use_stripe_sdk"})
_ATTEMPT: Final = frozenset({"payment_method", "payment_method_data", "return_url", "off_session"})
_DETAILS: Final = frozenset(
    {
        *("amount", "currency", "capture_method", "description", "metadata", "payment_method", "payment_method_data"),
        *("payment_method_types", "receipt_email", "setup_future_usage", "customer"),
        *("statement_descriptor", "statement_descriptor_suffix"),
    }
)
# What Stripe.js adds of its own.
_BROWSER: Final = frozenset(
    {"expected_payment_method_type", "payment_user_agent", "referrer", "time_on_page", "client_attribution_metadata"}
)
CREATE_FIELDS: Final = _DETAILS | _ATTEMPT | _IGNORED | {"automatic_payment_methods", "confirm", "confirmation_method"}
UPDATE_FIELDS: Final = (_DETAILS - {"customer"}) | _IGNORED
CONFIRM_FIELDS: Final = _ATTEMPT | _IGNORED | _BROWSER | {"receipt_email", "setup_future_usage", "capture_method"}
CAPTURE_FIELDS: Final = frozenset(
    {"amount_to_capture", "metadata", "statement_descriptor", "statement_descriptor_suffix"}
)
CANCEL_FIELDS: Final = frozenset({"cancellation_reason"})
REFUND_FIELDS: Final = frozenset({"payment_intent", "charge", "amount", "reason", "metadata"})
DISPUTE_FIELDS: Final = frozenset({"evidence", "submit", "metadata"})
METHOD_FIELDS: Final = (
    frozenset({"type", "card", "ideal", "sepa_debit", "billing_details", "metadata", "allow_redisplay"}) | _BROWSER
)


_ALWAYS_OPEN: Final = frozenset({"metadata", "description", "receipt_email", "expand"})
"""What may be changed of an intent that has ended, too."""
SERVER_ONLY: Final = frozenset({"capture_method", "off_session"})
"""What a page may not decide."""
_FUTURE_USES: Final = ("on_session", "off_session")


def create_intent(call: Call) -> "PaymentIntent | Refusal":
    form, act = call.form, call.act
    amount, currency = form.required_integer("amount"), form.required("currency").lower()
    _check_amount(amount, currency)
    _check_confirmation(form)
    wants_confirmation = form.flag("confirm") or False
    if not wants_confirmation and (form.flag("off_session") or form.text("return_url")):
        raise refusals.invalid("confirm", "return_url and off_session can only be used with `confirm=true`.")
    method = _sent_method(call)
    automatic, types = _method_types(form)
    for name in types:
        if cards.CURRENCIES.get(name, currency) != currency:
            raise refusals.invalid(
                "payment_method_types", f"The payment method type {name} does not take the currency {currency}."
            )
    intent_id = new_id("pi")
    intent = PaymentIntent(
        id=intent_id,
        amount=amount,
        automatic_payment_methods=automatic,
        capture_method=_capture_method(form) or "automatic",
        client_secret=f"{intent_id}_secret_{secrets.token_hex(12)}",
        created=act.mint.now,
        currency=currency,
        customer=_customer(call),
        description=form.text("description"),
        metadata=form.metadata({}),
        payment_method=method.method.id if method else None,
        payment_method_options=_method_options(form),
        payment_method_types=types,
        receipt_email=form.text("receipt_email"),
        setup_future_usage=form.choice("setup_future_usage", _FUTURE_USES),
        statement_descriptor=form.text("statement_descriptor", chars_max=22),
        statement_descriptor_suffix=form.text("statement_descriptor_suffix", chars_max=22),
        status="requires_confirmation" if method else "requires_payment_method",
    )
    created = Change(intent=intent, events=("payment_intent.created",))
    if not wants_confirmation:
        return _write(act, created, None, method)
    confirmed = intents.confirm(intent, _attempt(call, intent, method), act.mint)
    _write(act, created, None, method)
    return _write(act, confirmed, intent.status, None)


def update_intent(call: Call) -> "PaymentIntent | Refusal":
    form, intent = call.form, call.act.intent(call.object_id)
    locked = sorted(form.fields.keys() - _ALWAYS_OPEN)
    if intent.status not in intents.CONFIRMABLE and locked:
        raise refusals.unexpected_state(
            f"This PaymentIntent's {locked[0]} could not be updated because it has a status of {intent.status}. You "
            "may only update it in one of the following statuses: " + ", ".join(intents.CONFIRMABLE) + ".",
            intent,
        )
    amount = form.integer("amount") or intent.amount
    currency = (form.text("currency") or intent.currency).lower()
    _check_amount(amount, currency)
    method = _sent_method(call)
    after = _change(
        intent,
        amount=amount,
        currency=currency,
        capture_method=_capture_method(form) or intent.capture_method,
        description=form.text("description") if "description" in form else intent.description,
        metadata=form.metadata(intent.metadata),
        payment_method=method.method.id if method else intent.payment_method,
        payment_method_types=_checked_types(form) or intent.payment_method_types,
        receipt_email=form.text("receipt_email") if "receipt_email" in form else intent.receipt_email,
        setup_future_usage=form.choice("setup_future_usage", _FUTURE_USES) or intent.setup_future_usage,
        statement_descriptor=form.text("statement_descriptor", chars_max=22) or intent.statement_descriptor,
        statement_descriptor_suffix=form.text("statement_descriptor_suffix", chars_max=22)
        or intent.statement_descriptor_suffix,
    )
    if method is not None or (intent.status == "requires_action" and (amount, currency) != _price(intent)):
        # What the buyer has agreed to is no longer what would be paid.
        after = _change(after, status="requires_confirmation", next_action=None)
    return _write(call.act, Change(intent=after), intent.status, method)


def confirm_intent(call: Call) -> "PaymentIntent | Refusal":
    form, intent = call.form, call.act.intent(call.object_id)
    method = _sent_method(call)
    attempted = _change(
        intent,
        receipt_email=form.text("receipt_email") or intent.receipt_email,
        setup_future_usage=form.choice("setup_future_usage", _FUTURE_USES) or intent.setup_future_usage,
        capture_method=_capture_method(form) or intent.capture_method,
    )
    change = intents.confirm(attempted, _attempt(call, intent, method), call.act.mint)
    return _write(call.act, change, intent.status, method)


def capture_intent(call: Call) -> "PaymentIntent | Refusal":
    form, intent = call.form, call.act.intent(call.object_id)
    wish = form.integer("amount_to_capture")
    change = intents.capture(intent, call.act.charge_of(intent), wish, call.act.mint)
    if call.declined:
        decline = cards.GENERIC_DECLINE
        refusal = refusals.card_error(decline.code, decline.message, decline_code=decline.decline_code)
        refusal.body = _change(refusal.body, payment_intent=intent, charge=intent.latest_charge)
        return refusal
    change = _change(change, intent=_change(change.intent, metadata=form.metadata(intent.metadata)))
    return _write(call.act, change, intent.status, None)


def cancel_intent(call: Call) -> "PaymentIntent | Refusal":
    intent = call.act.intent(call.object_id)
    reason = call.form.choice("cancellation_reason", _CANCELLATION_REASONS)
    change = intents.cancel(intent, call.act.charge_of(intent), reason, call.act.mint)
    return _write(call.act, change, intent.status, None)


def create_method(call: Call) -> PaymentMethod:
    """A payment method from a page's card form; the secret key is refused, for no server should see a number."""
    if not call.public:
        raise refusals.card_number_sent_by_server()
    fields = {name: value for name, value in call.form.fields.items() if name not in _BROWSER | {"key", "expand"}}
    method = cards.from_form(Form(fields), new_id("pm"), call.act.mint.now)
    call.act.write_method(method)
    return method.method


def create_refund(call: Call) -> Refund:
    form, act = call.form, call.act
    intent_id, charge_id = form.text("payment_intent"), form.text("charge")
    if (intent_id is None) == (charge_id is None):
        raise refusals.missing("charge or payment_intent")
    if intent_id is not None:
        intent = act.intent(intent_id, "payment_intent")
        found = act.charge_of(intent)
        if found is None or found.status == "failed":
            raise refusals.not_refundable(
                f"This PaymentIntent ({intent.id}) does not have a successful charge to refund.", None, None
            )
        charge = found
    else:
        charge = act.find("charge", str(charge_id), Charge, "charge")
    wish = RefundWish(
        amount=form.integer("amount"), reason=form.choice("reason", _REFUND_REASONS), metadata=form.metadata({})
    )
    if any(dispute.status in disputes.WITHDRAWN for dispute in act.store.list_of("dispute", charge.id, Dispute)):
        raise refusals.not_refundable(f"Charge {charge.id} has been charged back.", "charge_disputed", charge.id)
    before = act.store.list_of("refund", charge.id, Refund)
    change = refunds.create(charge, act.method(charge.payment_method), before, wish, act.mint)
    act.write_refund(change)
    return change.refund


def update_dispute(call: Call) -> Dispute:
    form = call.form
    sent = form.inner("evidence")
    if sent is not None:
        sent.refuse_unknown(disputes.EVIDENCE)
    given = {} if sent is None else {name: sent.text(name, chars_max=disputes.TEXT_CHARS_MAX) for name in sent.fields}
    submit = form.flag("submit")
    return call.act.answer_dispute(call.object_id, given, submit=submit is not False, metadata=form.metadata)


# --- The parts


def _write(act: Act, change: Change, before: str | None, method: StoredMethod | None) -> "PaymentIntent | Refusal":
    if method is not None:
        act.write_method(method)
    act.write(change, before)
    return change.refusal or change.intent


def _sent_method(call: Call) -> StoredMethod | None:
    """The payment method that the request names, or brings along."""
    form = call.form
    named, sent = form.text("payment_method"), form.inner("payment_method_data")
    if named is not None and sent is not None:
        raise refusals.invalid("payment_method", "You may only specify one of payment_method, payment_method_data.")
    if sent is not None:
        if not call.public and sent.text("type") == "card":
            raise refusals.card_number_sent_by_server()
        return cards.from_form(sent, new_id("pm"), call.act.mint.now)
    if named is None:
        return None
    if cards.is_test_id(named):
        return cards.from_test_id(named, new_id("pm"), call.act.mint.now)
    return call.act.method(named)


def _customer(call: Call) -> str | None:
    named = call.form.text("customer")
    return None if named is None else call.act.customer(named, "customer").id


def _check_owner(intent: PaymentIntent, method: StoredMethod | None) -> None:
    """A saved card pays for its customer only, and for nobody once it was taken away."""
    if method is not None and method.detached:
        raise refusals.invalid(
            "payment_method",
            "The provided PaymentMethod was detached from a Customer. It may not be used again.",
            "payment_method_unexpected_state",
        )
    if method is not None and method.method.customer not in (None, intent.customer):
        raise refusals.invalid(
            "payment_method",
            "The provided PaymentMethod belongs to a Customer: it pays PaymentIntents of that Customer only.",
            "payment_method_customer_mismatch",
        )


def _attempt(call: Call, intent: PaymentIntent, method: StoredMethod | None) -> Attempt:
    _check_owner(intent, method)
    if method is None and intent.payment_method is None:
        raise refusals.invalid(
            "payment_method",
            "You cannot confirm this PaymentIntent because it's missing a payment method. Update it with a payment "
            "method and then confirm it again.",
            "payment_intent_unexpected_state",
        )
    return Attempt(
        method=method or call.act.method(str(intent.payment_method)),
        return_url=call.form.url("return_url"),
        off_session=call.form.flag("off_session") or False,
        page_url=f"{call.page_base}/authenticate/{intent.id}?secret={secrets.token_urlsafe(18)}",
        declined=call.declined,
    )


def _check_amount(amount: int, currency: str) -> None:
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha()):
        raise refusals.invalid("currency", f"Invalid currency: {currency[:20]}.")
    if amount < 1:
        raise refusals.invalid("amount", "This value must be greater than or equal to 1.", "parameter_invalid_integer")
    if amount < _AMOUNT_MIN.get(currency, 1):
        raise refusals.invalid(
            "amount",
            "Amount must be no less than the minimum charge amount allowed in this currency.",
            "amount_too_small",
        )
    if amount > AMOUNT_MAX:
        raise refusals.invalid("amount", f"Amount must be no more than {AMOUNT_MAX}.", "amount_too_large")


def _check_confirmation(form: Form) -> None:
    if form.text("confirmation_method") not in (None, "automatic"):
        raise refusals.invalid("confirmation_method", "The double confirms automatically only.")


def _capture_method(form: Form) -> CaptureMethod | None:
    chosen = form.choice("capture_method", get_args(CaptureMethod))
    return cast(CaptureMethod, chosen) if chosen else None


def _method_types(form: Form) -> tuple[AutomaticPaymentMethods | None, tuple[str, ...]]:
    """How payment methods are chosen: named by the request, else automatic, as in Stripe since 2023-08-16."""
    types, sent = _checked_types(form), form.inner("automatic_payment_methods")
    if types is not None:
        if sent is not None and sent.flag("enabled"):
            raise refusals.invalid(
                "payment_method_types",
                "You may only specify one of these parameters: automatic_payment_methods, payment_method_types.",
            )
        return None, types
    redirects = sent.choice("allow_redirects", ("always", "never")) if sent else None
    if sent is not None and not sent.flag("enabled"):
        return None, ("card",)
    automatic = AutomaticPaymentMethods(enabled=True, allow_redirects="never" if redirects == "never" else "always")
    return automatic, ("card",)


def _method_options(form: Form) -> dict[str, dict[str, str]]:
    """When each type of method is captured, where that is not when all are; other options change nothing here."""
    sent, options = form.inner("payment_method_options"), dict[str, dict[str, str]]()
    for name in sent.fields if sent is not None else ():
        assert sent is not None
        of_type = sent.inner(name)
        chosen = of_type.choice("capture_method", ("manual",)) if of_type is not None else None
        if of_type is not None and chosen is not None:
            if name not in cards.CAN_WAIT:
                raise refusals.unknown(of_type.name("capture_method"))
            options[name] = {"capture_method": chosen}
        saved = of_type.choice("setup_future_usage", _FUTURE_USES) if of_type is not None else None
        if saved is not None:
            options.setdefault(name, {})["setup_future_usage"] = saved
    return options


def _checked_types(form: Form) -> tuple[str, ...] | None:
    types = form.texts("payment_method_types")
    for name in types or ():
        if name not in _METHOD_TYPES:
            raise refusals.invalid("payment_method_types", f'The payment method type "{name[:50]}" is invalid.')
    return types


def _price(intent: PaymentIntent) -> tuple[int, str]:
    return intent.amount, intent.currency
