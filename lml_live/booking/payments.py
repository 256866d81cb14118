"""Stripe, as the bookings need it: make, retrieve, capture and cancel a PaymentIntent.

The official `stripe` library speaks to Stripe, or to the double where the settings name its address. Every call has a
time limit and its own idempotency key; nothing is retried here: that is the outbox's work, which knows the decision.
Cards are captured later (`capture_method: manual`), so that a charge that comes too late costs a void and no refund
(reliability.md, D4).
"""

from typing import Any, Final, Literal, Protocol

import aiohttp
import stripe
from msgspec import Struct

from lml_live import limits
from lml_live.booking.states import IntentStatus


class Intent(Struct, frozen=True):
    """A PaymentIntent as Stripe has it now."""

    id: str
    status: IntentStatus
    client_secret: str | None
    amount: int
    currency: str


class PaymentFault(Exception):
    """A call that did not succeed.

    `kind`: `refused` (Stripe said no to this call: what the intent is now must be asked), `unknown` (no answer: the
    same key may be sent again) or `worn` (Stripe keeps answering this key with the same failure: ask, then a new key).
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
        """Makes an intent, or answers the one that this key made."""
        ...

    async def retrieve(self, intent: str) -> Intent: ...

    async def capture(self, intent: str, key: str) -> Intent: ...

    async def cancel(self, intent: str, key: str) -> Intent: ...


_REAL: Final = "https://api.stripe.com"


class StripePayments:
    """`Payments` by Stripe."""

    def __init__(self, api_key: str, publishable_key: str, api_base: str | None = None) -> None:
        self.publishable_key = publishable_key
        self.api_base = None if api_base in (None, _REAL) else api_base
        self._http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=limits.PAYMENT_CALL_SECONDS))
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base or _REAL},
            max_network_retries=0,
            http_client=self._http,
        )

    async def close(self) -> None:
        """Ends the connections to Stripe."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def create(self, booking: str, amount: int, currency: str, email: str, key: str) -> Intent:
        params: dict[str, Any] = {
            "amount": amount,
            "currency": currency.lower(),
            "capture_method": "manual",
            "payment_method_types": ["card"],
            "receipt_email": email,
            "metadata": {"booking": booking},
        }
        return await _call(self._client.v1.payment_intents.create_async(params, {"idempotency_key": key}))  # type: ignore[arg-type]

    async def retrieve(self, intent: str) -> Intent:
        return await _call(self._client.v1.payment_intents.retrieve_async(intent))

    async def capture(self, intent: str, key: str) -> Intent:
        return await _call(self._client.v1.payment_intents.capture_async(intent, {}, {"idempotency_key": key}))

    async def cancel(self, intent: str, key: str) -> Intent:
        return await _call(self._client.v1.payment_intents.cancel_async(intent, {}, {"idempotency_key": key}))


async def _call(answer: Any) -> Intent:
    try:
        intent = await answer
    except (stripe.APIConnectionError, aiohttp.ClientError, TimeoutError, OSError) as error:
        # The library translates what happens before the answer's first byte only, not a body that breaks off.
        raise PaymentFault("unknown", "Stripe did not answer.") from error
    except stripe.RateLimitError as error:
        raise PaymentFault(
            "unknown", "Stripe asks for patience.", wait_seconds=limits.PAYMENT_PATIENCE_SECONDS
        ) from error
    except stripe.StripeError as error:
        status = error.http_status or 500
        if status == 409 or status < 400:
            # An answer that is no JSON has the status of what may well have succeeded.
            raise PaymentFault("unknown", "Stripe is at this very call, or cannot be understood.") from error
        if status >= 500:
            raise PaymentFault("worn", f"Stripe failed ({status}).") from error
        raise PaymentFault("refused", f"Stripe refused ({error.code or status}).") from error
    return Intent(
        id=intent.id,
        status=intent.status,
        client_secret=intent.client_secret,
        amount=intent.amount,
        currency=intent.currency.upper(),
    )
