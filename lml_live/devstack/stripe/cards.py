"""Stripe's test cards: by the ids of test payment methods, and by number where a page sends a card.

Pure. A number is looked at once, when a payment method is made of it, and then forgotten: what is kept is the key of
the card's behaviour.
"""

from typing import Final, Literal

import msgspec

from lml_live.clock import to_datetime
from lml_live.devstack.stripe import refusals
from lml_live.devstack.stripe.form import Form
from lml_live.devstack.stripe.objects import BillingDetails, CardDetails, PaymentMethod

_DECLINED: Final = "Your card was declined."


MethodType = Literal["card", "us_bank_account", "sepa_debit", "ideal"]
CAN_WAIT: Final[frozenset[MethodType]] = frozenset({"card"})
"""Can be captured later; of the others the money is taken when the buyer agrees, or when the bank answers."""
DELAYED: Final[frozenset[MethodType]] = frozenset({"us_bank_account", "sepa_debit"})
"""The bank answers in days."""
CURRENCIES: Final = {"sepa_debit": "eur", "ideal": "eur"}
"""US accounts are debited in any currency here."""


class Decline(msgspec.Struct, frozen=True):
    """An issuer's no."""

    code: str
    message: str
    decline_code: str | None = None


class CardBehaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How one of Stripe's test cards behaves."""

    key: str
    """What stands after `pm_card_` (or, for bank accounts, `pm_`)."""
    last4: str
    brand: str = "visa"
    funding: str = "credit"
    type: MethodType = "card"
    authentication: Literal["never", "always", "on_session"] = "never"
    """`on_session`: a charge off session passes without, one with the buyer present does not."""
    decline: Decline | None = None
    """Comes after the authentication, where there is one; after the processing, for bank accounts."""
    refunds: Literal["succeed", "pend", "fail"] = "succeed"
    """`pend`: become `succeeded` later; `fail`: are `succeeded` at first and `failed` later."""


GENERIC_DECLINE: Final = Decline("card_declined", _DECLINED, "generic_decline")
AUTHENTICATION_REQUIRED: Final = Decline(
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "authentication_required",
)
_INSUFFICIENT: Final = Decline("card_declined", "Your card has insufficient funds.", "insufficient_funds")
_NOT_A_TEST_CARD: Final = Decline(
    "card_declined",
    "Your card was declined. Your request was in test mode, but used a non test card. For a list of valid test cards, "
    "visit: https://stripe.com/docs/testing.",
    "test_mode_live_card",
)

_NUMBERED: Final[tuple[tuple[str, CardBehaviour], ...]] = (
    ("4242424242424242", CardBehaviour(key="visa", last4="4242")),
    ("4000056655665556", CardBehaviour(key="visa_debit", last4="5556", funding="debit")),
    ("5555555555554444", CardBehaviour(key="mastercard", last4="4444", brand="mastercard")),
    ("5200828282828210", CardBehaviour(key="mastercard_debit", last4="8210", brand="mastercard", funding="debit")),
    ("5105105105105100", CardBehaviour(key="mastercard_prepaid", last4="5100", brand="mastercard", funding="prepaid")),
    ("378282246310005", CardBehaviour(key="amex", last4="0005", brand="amex")),
    ("6011111111111117", CardBehaviour(key="discover", last4="1117", brand="discover")),
    ("3056930009020004", CardBehaviour(key="diners", last4="0004", brand="diners")),
    ("3566002020360505", CardBehaviour(key="jcb", last4="0505", brand="jcb")),
    ("6200000000000005", CardBehaviour(key="unionpay", last4="0005", brand="unionpay")),
    ("4000000000000077", CardBehaviour(key="bypassPending", last4="0077")),
    ("4000000000000002", CardBehaviour(key="chargeDeclined", last4="0002", decline=GENERIC_DECLINE)),
    ("4000000000009995", CardBehaviour(key="chargeDeclinedInsufficientFunds", last4="9995", decline=_INSUFFICIENT)),
    (
        "4000000000009987",
        CardBehaviour(
            key="chargeDeclinedLostCard", last4="9987", decline=Decline("card_declined", _DECLINED, "lost_card")
        ),
    ),
    (
        "4000000000009979",
        CardBehaviour(
            key="chargeDeclinedStolenCard", last4="9979", decline=Decline("card_declined", _DECLINED, "stolen_card")
        ),
    ),
    (
        "4000000000000069",
        CardBehaviour(
            key="chargeDeclinedExpiredCard",
            last4="0069",
            decline=Decline("expired_card", "Your card has expired."),
        ),
    ),
    (
        "4000000000000127",
        CardBehaviour(
            key="chargeDeclinedIncorrectCvc",
            last4="0127",
            decline=Decline("incorrect_cvc", "Your card's security code is incorrect."),
        ),
    ),
    (
        "4000000000000119",
        CardBehaviour(
            key="chargeDeclinedProcessingError",
            last4="0119",
            decline=Decline(
                "processing_error", "An error occurred while processing your card. Try again in a little bit."
            ),
        ),
    ),
    (
        "4000000000006975",
        CardBehaviour(
            key="chargeDeclinedVelocityLimitExceeded",
            last4="6975",
            decline=Decline("card_declined", _DECLINED, "card_velocity_exceeded"),
        ),
    ),
    (
        "4100000000000019",
        CardBehaviour(key="radarBlock", last4="0019", decline=Decline("card_declined", _DECLINED, "fraudulent")),
    ),
    ("4000000000003220", CardBehaviour(key="threeDSecure2Required", last4="3220", authentication="always")),
    ("4000000000003063", CardBehaviour(key="threeDSecureRequired", last4="3063", authentication="always")),
    ("4000000000003055", CardBehaviour(key="threeDSecureOptional", last4="3055")),
    (
        "4000008400001629",
        CardBehaviour(
            key="threeDSecureRequiredChargeDeclined", last4="1629", authentication="always", decline=GENERIC_DECLINE
        ),
    ),
    ("4000002760003184", CardBehaviour(key="authenticationRequired", last4="3184", authentication="always")),
    ("4000002500003155", CardBehaviour(key="authenticationRequiredOnSetup", last4="3155", authentication="always")),
    (
        "4000003800000446",
        CardBehaviour(key="authenticationRequiredSetupForOffSession", last4="0446", authentication="on_session"),
    ),
    (
        "4000008260003178",
        CardBehaviour(
            key="authenticationRequiredChargeDeclinedInsufficientFunds",
            last4="3178",
            authentication="always",
            decline=_INSUFFICIENT,
        ),
    ),
    ("4000000000007726", CardBehaviour(key="pendingRefund", last4="7726", refunds="pend")),
    ("4000000000005126", CardBehaviour(key="refundFail", last4="5126", refunds="fail")),
)

_ACCOUNTS: Final = (
    CardBehaviour(key="usBankAccount_success", last4="6789", type="us_bank_account"),
    CardBehaviour(
        key="usBankAccount_insufficientFunds",
        last4="2227",
        type="us_bank_account",
        decline=Decline("payment_intent_payment_attempt_failed", "The customer's account has insufficient funds."),
    ),
)
_IDEAL: Final = CardBehaviour(key="ideal", last4="", type="ideal", authentication="always")
_IBANS: Final = {
    "DE89370400440532013000": CardBehaviour(key="sepaDebit_success", last4="3000", type="sepa_debit"),
    "DE62370400440532013001": CardBehaviour(
        key="sepaDebit_failed",
        last4="3001",
        type="sepa_debit",
        decline=Decline("payment_intent_payment_attempt_failed", "The bank did not pay this debit."),
    ),
}
_NOT_FOR_TESTS: Final = CardBehaviour(key="not_a_test_card", last4="", decline=_NOT_A_TEST_CARD)

_BY_NUMBER: Final = dict(_NUMBERED)
BY_KEY: Final = {
    card.key: card for card in (*_BY_NUMBER.values(), *_ACCOUNTS, *_IBANS.values(), _IDEAL, _NOT_FOR_TESTS)
}
_BRANDS: Final = {"4": "visa", "5": "mastercard", "2": "mastercard", "34": "amex", "37": "amex", "6": "discover"}


class StoredMethod(msgspec.Struct, frozen=True):
    """A payment method with the behaviour behind it, which the API does not tell."""

    method: PaymentMethod
    card_key: str
    detached: bool = False
    """It was a customer's once, and pays no more."""

    @property
    def card(self) -> CardBehaviour:
        return BY_KEY[self.card_key]


def is_test_id(method_id: str) -> bool:
    """Whether this is one of Stripe's test payment methods, such as `pm_card_visa`."""
    return _card_of(method_id) is not None


def _card_of(method_id: str) -> CardBehaviour | None:
    for prefix in ("pm_card_visa_", "pm_card_", "pm_"):
        card = BY_KEY.get(method_id.removeprefix(prefix)) if method_id.startswith(prefix) else None
        named = card is not None and card.type in ("card", "us_bank_account") and card is not _NOT_FOR_TESTS
        if card is not None and named and (card.type == "card") == (prefix != "pm_"):
            return card
    return None


def from_test_id(test_id: str, method_id: str, now: int) -> StoredMethod:
    """A payment method of one's own, made of a test id, as Stripe makes one each time."""
    card = _card_of(test_id)
    assert card is not None
    expiry = (12, _year(now) + 3)
    method = PaymentMethod(id=method_id, created=now, type=card.type, card=_details(card, card.last4, expiry))
    return StoredMethod(method, card.key)


def from_form(form: Form, method_id: str, now: int) -> StoredMethod:
    """A payment method of the card that a page has sent (`type`, `card`, `billing_details`, `metadata`).

    Refused as Stripe does: a number that fails its check digit (`incorrect_number`), a past or impossible expiry, a
    security code of the wrong length.
    """
    known = {"type", "card", "ideal", "sepa_debit", "billing_details", "metadata", "allow_redisplay"}
    form.refuse_unknown(frozenset(known))
    if form.required("type") in ("ideal", "sepa_debit"):
        return _from_bank(form, method_id, now)
    if form.required("type") != "card":
        raise refusals.invalid(form.name("type"), f'The payment method type "{form.text("type")}" is invalid.')
    sent = form.inner("card")
    if sent is None:
        raise refusals.missing(form.name("card"))
    sent.refuse_unknown(frozenset({"number", "exp_month", "exp_year", "cvc", "networks"}))
    number = sent.required("number").replace(" ", "").replace("-", "")
    month, year = sent.required_integer("exp_month"), sent.required_integer("exp_year")
    year += 2000 if 0 <= year < 100 else 0
    cvc = sent.text("cvc", chars_max=10)
    if not (number.isascii() and number.isdigit() and 12 <= len(number) <= 19 and _check_digit_fits(number)):
        raise refusals.card_error("incorrect_number", "Your card number is incorrect.", param="number")
    if not 1 <= month <= 12:
        raise refusals.card_error("invalid_expiry_month", "Your card's expiration month is invalid.", param="exp_month")
    if not (_year(now), _month(now)) <= (year, month) < (_year(now) + 50, 1):
        raise refusals.card_error("invalid_expiry_year", "Your card's expiration year is invalid.", param="exp_year")
    brand = _BRANDS.get(number[:2]) or _BRANDS.get(number[0], "unknown")
    if cvc is not None and not (cvc.isascii() and cvc.isdigit() and len(cvc) in ((4,) if brand == "amex" else (3,))):
        raise refusals.card_error("invalid_cvc", "Your card's security code is invalid.", param="cvc")
    # Nothing below refuses.
    card = _BY_NUMBER.get(number, _NOT_FOR_TESTS)
    if number == "2223003122003222":
        card = BY_KEY["mastercard"]
    details = _details(card, number[-4:], (month, year), brand=brand if card is _NOT_FOR_TESTS else card.brand)
    method = PaymentMethod(
        id=method_id,
        created=now,
        card=details,
        billing_details=billing_details(form),
        metadata=form.metadata({}),
    )
    return StoredMethod(method, card.key)


def _from_bank(form: Form, method_id: str, now: int) -> StoredMethod:
    """A payment method that is no card: iDEAL, or an account that is debited, by Stripe's IBANs for tests."""
    kind = form.required("type")
    sent = form.inner(kind)
    card: CardBehaviour | None = _IDEAL
    if kind == "sepa_debit":
        if sent is None:
            raise refusals.missing(form.name("sepa_debit"))
        card = _IBANS.get(sent.required("iban").replace(" ", "").upper())
        if card is None:
            raise refusals.invalid(sent.name("iban"), "The IBAN you entered is invalid.", "invalid_bank_account_iban")
    assert card is not None
    method = PaymentMethod(
        id=method_id, created=now, type=kind, billing_details=billing_details(form), metadata=form.metadata({})
    )
    return StoredMethod(method, card.key)


def billing_details(form: Form) -> BillingDetails:
    """The buyer's name and address, as far as they were sent."""
    sent = form.inner("billing_details")
    if sent is None:
        return BillingDetails()
    sent.refuse_unknown(frozenset({"name", "email", "phone", "address", "tax_id"}))
    address = sent.inner("address")
    return BillingDetails(
        name=sent.text("name"),
        email=sent.text("email"),
        phone=sent.text("phone"),
        address={part: address.required(part) for part in address.fields if address.text(part)} if address else None,
    )


def _details(card: CardBehaviour, last4: str, expiry: tuple[int, int], brand: str | None = None) -> CardDetails | None:
    if card.type != "card":
        return None
    month, year = expiry
    return CardDetails(
        brand=brand or card.brand,
        last4=last4,
        exp_month=month,
        exp_year=year,
        funding=card.funding,
        fingerprint=f"double_{card.key}",
    )


def _check_digit_fits(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _year(now: int) -> int:
    return to_datetime(now * 1000).year


def _month(now: int) -> int:
    return to_datetime(now * 1000).month
