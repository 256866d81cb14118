"""What the booking flow asks of a payment provider, and which amounts can be paid. `stripe_payments` is one.

Every call has a time limit and its own idempotency key; nothing is retried there: that is the outbox's work, which
knows the decision.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Literal, Protocol

from msgspec import Struct

from lml_live.booking.states import IntentStatus
from lml_live.inventory.answers import Refusal
from lml_live.pricing.currencies import charge_step

DisputeState = Literal["inquiry", "dropped", "open", "won", "lost"]


class Intent(Struct, frozen=True):
    """A PaymentIntent as Stripe has it now."""

    id: str
    status: IntentStatus
    client_secret: str | None
    charge: str | None = None
    """The latest one, ch_…: a transfer is made out of it."""
    booking: str | None = None
    """Whom it was made for."""
    amount: int = 0
    received: int = 0
    """What was paid, in minor units, whatever went back of it."""
    currency: str = ""


class StripeRefund(Struct, frozen=True):
    """A refund as Stripe has it now, in minor units. `key` is what we named it by, or None."""

    id: str
    key: str | None
    amount: int
    state: Literal["pending", "succeeded", "failed"]


class DisputeMove(Struct, frozen=True):
    """A balance transaction of a dispute, in the currency of our account at Stripe. `fee` is beside the amount."""

    id: str
    amount: int
    fee: int
    currency: str


class StripeDispute(Struct, frozen=True, kw_only=True):
    """A dispute as Stripe has it now, in minor units of the bank's currency, which need not be the charge's.

    `inquiry`: the bank asks, and nothing is withdrawn; it is `dropped`, or becomes a dispute.
    """

    id: str
    amount: int
    currency: str
    reason: str
    state: DisputeState
    due_by: datetime | None = None
    """Until when the bank hears evidence."""
    answered: bool = False
    """Whether it has heard some, or hears none any more."""
    moves: tuple[DisputeMove, ...] = ()


class PaymentFault(Exception):
    """A call that did not succeed.

    `kind`: `refused` (Stripe said no to this call: what the intent is now must be asked), `unknown` (no answer, or none
    about this call, as where our API key is refused: the same key may be sent again) or `worn` (Stripe keeps answering
    this key with the same failure: ask, then a new key). `paced`: it was not sent, for it was not its turn
    (`booking.pace`). `stuck`: nobody asks again before somebody has looked.
    """

    def __init__(
        self,
        kind: Literal["refused", "unknown", "worn"],
        message: str,
        *,
        wait_seconds: float = 0,
        stuck: bool = False,
        paced: bool = False,
    ) -> None:
        super().__init__(message)
        self.stuck = stuck
        self.kind = kind
        self.wait_seconds = wait_seconds
        self.paced = paced


class Payments(Protocol):
    """What the booking flow asks of a payment provider. All raise `PaymentFault`."""

    publishable_key: str
    api_base: str | None
    """Only where the provider is not at its public address."""

    async def reserve(self, operation: str) -> float:
        """Takes the next turn of an operation, and answers in how many seconds it is (`booking.pace`)."""
        ...

    async def create(
        self,
        booking: str,
        amount: int,
        currency: str,
        email: str,
        key: str,
        *,
        customer: str | None = None,
        save_card: bool = False,
    ) -> Intent:
        """Makes an intent over `amount` minor units, or answers the one that this key made.

        With a `customer` its saved cards can pay it, and the card that pays is saved where that is wanted.
        """
        ...

    async def find(self, booking: str, since: datetime) -> tuple[Intent, ...]:
        """The intents of a booking that were made since then, the first one first, whichever key made them."""
        ...

    async def retrieve(self, intent: str) -> Intent: ...

    async def capture(self, intent: str, key: str) -> Intent: ...

    async def cancel(self, intent: str, key: str) -> Intent: ...

    async def refund(self, intent: str, amount: int, currency: str, booking: str, named: str, key: str) -> StripeRefund:
        """Gives an amount of a captured intent back; `named` finds it again (`find_refunds`)."""
        ...

    async def find_refunds(self, intent: str) -> tuple[StripeRefund, ...]:
        """All refunds of an intent, the first one first, whoever made them."""
        ...

    async def find_disputes(self, intent: str) -> tuple[StripeDispute, ...]:
        """All disputes of an intent, the first one first."""
        ...

    async def find_dispute(self, dispute: str) -> StripeDispute: ...

    async def submit_evidence(self, dispute: str, fields: Mapping[str, str], key: str) -> StripeDispute:
        """Tells a dispute's bank, which hears it once."""
        ...


# --- Amounts ----------------------------------------------------------------------------------------------------------

JudgeAmount = Callable[[int, str], Refusal | None]
"""Says why an amount above 0 (minor units, currency) cannot be paid here, or None where it can."""

AMOUNT_MAX: Final = 99_999_999
"""Stripe takes eight digits of its own units (API reference, `amount`)."""
_MORE_DIGITS: Final = frozenset({"COP", "HUF", "IDR", "INR", "JPY", "LBP", "TRY"})
"""Currencies of which Stripe takes larger amounts; how large is for it to say."""
_TWO_DECIMALS_AT_STRIPE: Final = frozenset({"ISK", "UGX"})
"""Without decimals in ISO 4217; Stripe wants two (docs.stripe.com/currencies, special cases)."""
_NO_DECIMALS_AT_STRIPE: Final = frozenset({"MGA"})
"""With two decimals in ISO 4217; Stripe wants none (the same page, zero-decimal currencies)."""


def stripe_amount(amount: int, currency: str) -> int:
    """An amount in minor units of ISO 4217 in the units that Stripe counts this currency in.

    Raises `ValueError` for a part of such a unit, which cannot be charged (`pricing.currencies.charge_step`).
    """
    if amount % charge_step(currency):
        raise ValueError(f"{amount} {currency} cannot be charged to its last digit")
    if currency in _TWO_DECIMALS_AT_STRIPE:
        return amount * 100
    return amount // 100 if currency in _NO_DECIMALS_AT_STRIPE else amount


def minor_amount(units: int, currency: str) -> int:
    """What Stripe counts in its own units, in minor units of ISO 4217: `stripe_amount` the other way round."""
    if currency in _TWO_DECIMALS_AT_STRIPE:
        return units // 100  # Stripe takes and gives whole ones only
    return units * 100 if currency in _NO_DECIMALS_AT_STRIPE else units


def judge_amount(amount: int, currency: str) -> Refusal | None:
    """Whether Stripe would take an amount: asked before a hold is marked, for what Stripe refuses ends the hold."""
    try:
        units = stripe_amount(amount, currency)
    except ValueError as error:
        return Refusal("conflict", f"The price list is at fault: {error}.")
    if units > AMOUNT_MAX and currency not in _MORE_DIGITS:
        return Refusal("amount_too_large", "This is more than one payment can be. Please buy in several parts.")
    return None


def sells_nothing(_amount: int, _currency: str) -> Refusal | None:
    """Where no payment provider is set up only what costs nothing can be had."""
    return Refusal("unavailable", "Buying is not set up here.")
