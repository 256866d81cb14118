"""The ways to pay that a house may offer, and when each takes the money (Stripe: Payment method support). Pure.

Those that can are captured later, so that a conflict costs a void; the others take the money when the buyer agrees, or
when the bank answers, and a conflict costs a refund (docs/decisions/026).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from lml_live.infra.config import PAYMENT_METHODS


class Method(Struct, frozen=True):
    """`later`: it can be captured later. `currencies`: those that it takes; empty for all."""

    later: bool = False
    currencies: frozenset[str] = frozenset()


_EUR: Final = frozenset({"EUR"})

METHODS: Final[Mapping[str, Method]] = {
    # With Apple Pay and Google Pay, which Stripe counts among the cards.
    "card": Method(later=True),
    "link": Method(later=True),
    "ideal": Method(currencies=_EUR),
    "bancontact": Method(currencies=_EUR),
    "eps": Method(currencies=_EUR),
    "p24": Method(currencies=frozenset({"EUR", "PLN"})),
    "blik": Method(currencies=frozenset({"PLN"})),
    "twint": Method(currencies=frozenset({"CHF"})),
    # The bank answers in days.
    "sepa_debit": Method(currencies=_EUR),
    "us_bank_account": Method(currencies=frozenset({"USD"})),
}
assert METHODS.keys() == PAYMENT_METHODS


def offered(methods: Sequence[str], currency: str) -> tuple[str, ...]:
    """Which of a house's methods take a currency, in its order."""
    return tuple(name for name in methods if not METHODS[name].currencies or currency in METHODS[name].currencies)


def ways_to_pay(methods: Sequence[str], currency: str) -> dict[str, Any]:
    """What a PaymentIntent says of the ways to pay it: which, and that money waits for its capture where it can."""
    names = offered(methods, currency)
    if all(METHODS[name].later for name in names):
        return {"payment_method_types": list(names), "capture_method": "manual"}
    later: dict[str, dict[str, str]] = {name: {"capture_method": "manual"} for name in names if METHODS[name].later}
    return {
        "payment_method_types": list(names),
        "capture_method": "automatic_async",
        "payment_method_options": later,
    }
