"""Stripe, as the bookings need it: make, retrieve, capture and cancel a PaymentIntent, and list what was booked.

The official `stripe` library speaks to Stripe, or to the double where the settings name its address. Every call has a
time limit and its own idempotency key; nothing is retried here: that is the outbox's work, which knows the decision.
Cards are captured later (`capture_method: manual`), so that a charge that comes too late costs a void and no refund
(reliability.md, D4).
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol, get_args

import aiohttp
import stripe
from msgspec import Struct

from lml_live import limits
from lml_live.booking.money import Page, Transaction, TransactionKind
from lml_live.booking.states import IntentStatus
from lml_live.infra.config import stripe_base
from lml_live.inventory.holds import Refusal
from lml_live.pricing.currencies import charge_step

log = logging.getLogger(__name__)


class Intent(Struct, frozen=True):
    """A PaymentIntent as Stripe has it now."""

    id: str
    status: IntentStatus
    client_secret: str | None


class PaymentFault(Exception):
    """A call that did not succeed.

    `kind`: `refused` (Stripe said no to this call: what the intent is now must be asked), `unknown` (no answer, or none
    about this call, as where our API key is refused: the same key may be sent again) or `worn` (Stripe keeps answering
    this key with the same failure: ask, then a new key).
    """

    def __init__(self, kind: Literal["refused", "unknown", "worn"], message: str, *, wait_seconds: float = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.wait_seconds = wait_seconds


class Payments(Protocol):
    """What the booking flow asks of a payment provider. All raise `PaymentFault`."""

    publishable_key: str
    api_base: str | None
    """Only where the provider is not at its public address."""

    async def create(self, booking: str, amount: int, currency: str, email: str, key: str) -> Intent:
        """Makes an intent over `amount` minor units, or answers the one that this key made."""
        ...

    async def find(self, booking: str, since: datetime) -> tuple[Intent, ...]:
        """The intents of a booking that were made since then, the first one first, whichever key made them."""
        ...

    async def retrieve(self, intent: str) -> Intent: ...

    async def capture(self, intent: str, key: str) -> Intent: ...

    async def cancel(self, intent: str, key: str) -> Intent: ...


_REAL: Final = "https://api.stripe.com"
_PAGE: Final = 100
"""The most that Stripe lists at once."""

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


# --- Stripe -----------------------------------------------------------------------------------------------------------


class StripePayments:
    """`Payments` by Stripe."""

    def __init__(self, api_key: str, publishable_key: str, api_base: str | None = None) -> None:
        self.publishable_key = publishable_key
        self.api_base = None if api_base is None else stripe_base(api_base)
        self._http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=limits.PAYMENT_CALL_SECONDS))
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": self.api_base or _REAL},
            max_network_retries=0,
            http_client=self._http,
        )

    async def close(self) -> None:
        """Ends the connections to Stripe."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def create(self, booking: str, amount: int, currency: str, email: str, key: str) -> Intent:
        params: dict[str, Any] = {
            "amount": stripe_amount(amount, currency),
            "currency": currency.lower(),
            "capture_method": "manual",
            "payment_method_types": ["card"],
            "receipt_email": email,
            "metadata": {"booking": booking},
        }
        return await _call(self._client.v1.payment_intents.create_async(params, {"idempotency_key": key}))  # type: ignore[arg-type]

    async def find(self, booking: str, since: datetime) -> tuple[Intent, ...]:
        # Listing is consistent; Stripe's search by metadata is behind by up to a minute (its API reference, search).
        params: dict[str, Any] = {"limit": _PAGE, "created": {"gte": int(since.timestamp())}}
        found: list[Intent] = []
        for _ in range(limits.FIND_PAGES_MAX):
            page = await _ask(self._client.v1.payment_intents.list_async(params))  # type: ignore[arg-type]
            found += [_read(one) for one in page.data if _booking_of(one) == booking]
            if not page.has_more:
                return tuple(reversed(found))
            params["starting_after"] = page.data[-1].id
        log.warning("booking %s: there are too many intents to look through all", booking)
        return tuple(reversed(found))

    async def read_transactions(self, since: datetime, after: str | None) -> Page:
        """A page of the balance transactions that moved a buyer's money since then, the newest first.

        `after` is the page before's. Payouts, fees and the like are left out. Raises `PaymentFault`.
        """
        params: dict[str, Any] = {
            "limit": _PAGE,
            "created": {"gte": int(since.timestamp())},
            "expand": ["data.source"],
        }
        if after is not None:
            params["starting_after"] = after
        page = await _ask(self._client.v1.balance_transactions.list_async(params), _MATCHING)  # type: ignore[arg-type]
        read = (_transaction(booked) for booked in page.data)
        return Page(tuple(one for one in read if one is not None), page.data[-1].id if page.has_more else None)

    async def retrieve(self, intent: str) -> Intent:
        return await _call(self._client.v1.payment_intents.retrieve_async(intent))

    async def capture(self, intent: str, key: str) -> Intent:
        return await _call(self._client.v1.payment_intents.capture_async(intent, {}, {"idempotency_key": key}))

    async def cancel(self, intent: str, key: str) -> Intent:
        return await _call(self._client.v1.payment_intents.cancel_async(intent, {}, {"idempotency_key": key}))


async def _call(answer: Awaitable[Any]) -> Intent:
    return _read(await _ask(answer))


_PAYING: Final = "read and write PaymentIntents, and restart; until then no payment begins or ends, and bookings wait"
_MATCHING: Final = (
    "read balance transactions, charges, refunds and disputes, and restart; until then money is not matched"
)
"""What our key must be able to do, and what does not happen until it is."""


async def _ask(answer: Awaitable[Any], purpose: str = _PAYING) -> Any:
    """An answer of the library's, or a `PaymentFault`."""
    try:
        return await answer
    except (stripe.APIConnectionError, aiohttp.ClientError, TimeoutError, OSError) as error:
        # The library translates what happens before the answer's first byte only, not a body that breaks off.
        raise PaymentFault("unknown", "Stripe did not answer.") from error
    except stripe.RateLimitError as error:
        raise PaymentFault(
            "unknown", "Stripe asks for patience.", wait_seconds=limits.PAYMENT_PATIENCE_SECONDS
        ) from error
    except stripe.StripeError as error:
        status = error.http_status or 500
        if status in (401, 403):
            # It is our key that is refused, not the buyer's payment. (The library's message has a part of the key.)
            log.error(
                "Stripe refuses our key (%d): set LML_STRIPE_API_KEY to a key that is valid and may %s", status, purpose
            )
            raise PaymentFault(
                "unknown", f"Stripe refuses our key ({status}).", wait_seconds=limits.PAYMENT_PATIENCE_SECONDS
            ) from error
        if status == 409 or status < 400:
            # An answer that is no JSON has the status of what may well have succeeded.
            raise PaymentFault("unknown", "Stripe is at this very call, or cannot be understood.") from error
        if status >= 500:
            raise PaymentFault("worn", f"Stripe failed ({status}).") from error
        raise PaymentFault("refused", f"Stripe refused ({error.code or status}).") from error


def _booking_of(named: Any) -> str | None:
    return named.metadata.to_dict().get("booking") if named.metadata else None


def _read(intent: Any) -> Intent:
    return Intent(id=intent.id, status=intent.status, client_secret=intent.client_secret)


_KINDS: Final[dict[str, TransactionKind]] = {kind: kind for kind in get_args(TransactionKind)}


def _transaction(booked: Any) -> Transaction | None:
    """A balance transaction whose source is a charge, a refund or a dispute; None for every other.

    Where Stripe has converted the money, the transaction is in the account's currency, and its source in the buyer's.
    """
    source = booked.source
    kind = _KINDS.get(getattr(source, "object", ""))
    if kind is None:
        return None
    currency = source.currency.upper()
    if booked.currency == source.currency:
        units = booked.amount
    else:
        units = source.amount_captured if kind == "charge" else source.amount
        units = units if booked.amount >= 0 else -units
    charge = source.id if kind == "charge" else source.charge
    return Transaction(
        id=booked.id,
        intent=source.payment_intent or charge,
        booking=_booking_of(source) if kind == "charge" else None,
        kind=kind,
        amount=minor_amount(units, currency),
        currency=currency,
        created=datetime.fromtimestamp(booked.created, UTC),
    )
