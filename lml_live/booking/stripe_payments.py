"""Stripe, as the bookings need it: make, retrieve, capture, cancel and refund a PaymentIntent; list what was booked.

The official `stripe` library, imported here alone (it takes a third of a second), speaks to Stripe, or to the double
where the settings name its address. Cards are captured later (`booking.methods`), so that a charge that comes too
late costs a void and no refund (reliability.md, D4).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import aiohttp
import stripe

from lml_live import limits
from lml_live.booking.methods import ways_to_pay
from lml_live.booking.money import Page, Transaction, TransactionKind
from lml_live.booking.notices import Notice, listed_notice
from lml_live.booking.pace import Pacing
from lml_live.booking.payments import (
    DisputeMove,
    DisputeState,
    Intent,
    PaymentFault,
    StripeDispute,
    StripeRefund,
    minor_amount,
    stripe_amount,
)
from lml_live.errors import Unavailable
from lml_live.infra.config import stripe_base
from lml_live.infra.telemetry import METRICS

log = logging.getLogger(__name__)

_REAL: Final = "https://api.stripe.com"
_PAGE: Final = 100
"""The most that Stripe lists at once."""


class StripePayments:
    """`Payments` by Stripe, at the pace that all keep together."""

    def __init__(
        self,
        pace: Pacing,
        api_key: str,
        publishable_key: str,
        api_base: str | None = None,
        *,
        methods: Sequence[str] = ("card",),
    ) -> None:
        self._pace = pace
        self._methods = methods
        self.publishable_key = publishable_key
        self.api_base = None if api_base is None else stripe_base(api_base)
        self._http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=limits.PAYMENT_CALL_SECONDS))
        self.client = stripe.StripeClient(
            api_key,
            base_addresses={"api": self.api_base or _REAL},
            max_network_retries=0,
            http_client=self._http,
        )

    async def close(self) -> None:
        """Ends the connections to Stripe."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def reserve(self, operation: str) -> float:
        return await self._pace.reserve(operation)

    async def send(
        self, operation: str, call: Callable[..., Awaitable[Any]], *arguments: Any, purpose: str | None = None
    ) -> Any:
        """Makes a call of the library's when it is its turn. Raises `PaymentFault`."""
        await self._pace.turn(operation)
        METRICS.stripe_calls.labels(operation).inc()
        try:
            return await ask(call(*arguments), purpose or _PAYING)
        except PaymentFault as fault:
            if isinstance(fault.__cause__, stripe.RateLimitError):
                await self._slow_down(operation, fault.__cause__)
            raise

    async def _slow_down(self, operation: str, error: stripe.RateLimitError) -> None:
        """Stripe says what was too much (docs.stripe.com/rate-limits); a locked object is no matter of pace."""
        if error.code == "lock_timeout":
            return
        reason = {name.lower(): value for name, value in (error.headers or {}).items()}.get(
            "stripe-rate-limited-reason", ""
        )
        try:
            await self._pace.slow_down(None if reason.startswith("global") else operation)
        except Unavailable as unavailable:
            log.warning("the pace at Stripe stays as it is: %s", unavailable)

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
        params: dict[str, Any] = {
            "amount": stripe_amount(amount, currency),
            "currency": currency.lower(),
            **ways_to_pay(self._methods, currency),
            "receipt_email": email,
            "metadata": {"booking": booking},
        }
        if customer is not None:
            params["customer"] = customer
            if save_card:
                # Of cards only: what else the intent can be paid by is not saved. The buyer is there when it is used.
                options = params.setdefault("payment_method_options", {}).setdefault("card", {})
                options["setup_future_usage"] = "on_session"
        create = self.client.v1.payment_intents.create_async
        return _read(await self.send("create_intent", create, params, {"idempotency_key": key}))

    async def find(self, booking: str, since: datetime) -> tuple[Intent, ...]:
        # Listing is consistent; Stripe's search by metadata is behind by up to a minute (its API reference, search).
        params: dict[str, Any] = {"limit": _PAGE, "created": {"gte": int(since.timestamp())}}
        found: list[Intent] = []
        for _ in range(limits.FIND_PAGES_MAX):
            page = await self.send("list_intents", self.client.v1.payment_intents.list_async, params)
            found += [_read(one) for one in page.data if named_in(one, "booking") == booking]
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
        list_all = self.client.v1.balance_transactions.list_async
        page = await self.send("list_balance", list_all, params, purpose=_MATCHING)
        read = (_transaction(booked) for booked in page.data)
        return Page(tuple(one for one in read if one is not None), page.data[-1].id if page.has_more else None)

    async def read_undelivered(self, since: datetime, after: str | None) -> tuple[tuple[Notice, ...], str | None]:
        """A page of the events since then that were not delivered, the newest first, and `after` of the next one.

        Raises `PaymentFault`.
        """
        params: dict[str, Any] = {
            "limit": _PAGE,
            "created": {"gte": int(since.timestamp())},
            "delivery_success": False,
        }
        if after is not None:
            params["starting_after"] = after
        page = await self.send("list_events", self.client.v1.events.list_async, params, purpose=_HEARING)
        read = (listed_notice(event.to_dict()) for event in page.data)
        return tuple(one for one in read if one is not None), page.data[-1].id if page.has_more else None

    async def retrieve(self, intent: str) -> Intent:
        return _read(await self.send("retrieve_intent", self.client.v1.payment_intents.retrieve_async, intent))

    async def capture(self, intent: str, key: str) -> Intent:
        capture = self.client.v1.payment_intents.capture_async
        return _read(await self.send("capture_intent", capture, intent, {}, {"idempotency_key": key}))

    async def cancel(self, intent: str, key: str) -> Intent:
        cancel = self.client.v1.payment_intents.cancel_async
        return _read(await self.send("cancel_intent", cancel, intent, {}, {"idempotency_key": key}))

    async def refund(self, intent: str, amount: int, currency: str, booking: str, named: str, key: str) -> StripeRefund:
        params: dict[str, Any] = {
            "payment_intent": intent,
            "amount": stripe_amount(amount, currency),
            "metadata": {"booking": booking, "key": named},
        }
        create, options = self.client.v1.refunds.create_async, {"idempotency_key": key}
        made = await self.send("create_refund", create, params, options, purpose=_GIVING_BACK)
        return _read_refund(made)

    async def find_refunds(self, intent: str) -> tuple[StripeRefund, ...]:
        # One page: a charge of a booking's lines has not so many, and the newest are listed first.
        params = {"payment_intent": intent, "limit": _PAGE}
        page = await self.send("list_refunds", self.client.v1.refunds.list_async, params, purpose=_GIVING_BACK)
        return tuple(_read_refund(one) for one in reversed(page.data))

    async def find_disputes(self, intent: str) -> tuple[StripeDispute, ...]:
        params = {"payment_intent": intent, "limit": _PAGE}
        page = await self.send("list_disputes", self.client.v1.disputes.list_async, params, purpose=_GIVING_BACK)
        return tuple(_read_dispute(one) for one in reversed(page.data))

    async def find_dispute(self, dispute: str) -> StripeDispute:
        retrieve = self.client.v1.disputes.retrieve_async
        return _read_dispute(await self.send("retrieve_dispute", retrieve, dispute, purpose=_GIVING_BACK))

    async def submit_evidence(self, dispute: str, fields: Mapping[str, str], key: str) -> StripeDispute:
        params: dict[str, Any] = {"evidence": dict(fields), "submit": True}
        update, options = self.client.v1.disputes.update_async, {"idempotency_key": key}
        return _read_dispute(await self.send("update_dispute", update, dispute, params, options, purpose=_GIVING_BACK))


_PAYING: Final = "read and write PaymentIntents, and restart; until then no payment begins or ends, and bookings wait"
_GIVING_BACK: Final = "read and write refunds and disputes, and restart; until then refunds and disputes wait"
_MATCHING: Final = (
    "read balance transactions, charges, refunds, disputes and transfers, and restart; until then money is not matched"
)
_HEARING: Final = "read events, and restart; until then notices that do not come are found by the daily match alone"
"""What our key must be able to do, and what does not happen until it is."""


async def ask(answer: Awaitable[Any], purpose: str = _PAYING) -> Any:
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
        if status >= 500 or isinstance(error, stripe.IdempotencyError):
            # Also where the key was used by a program, or under settings, that asked for something else.
            raise PaymentFault("worn", f"Stripe failed ({status}).") from error
        raise PaymentFault("refused", f"Stripe refused ({error.code or status}).") from error


def named_in(one: Any, name: str) -> str | None:
    """What an object's metadata say by this name."""
    return one.metadata.to_dict().get(name) if one.metadata else None


def _read(intent: Any) -> Intent:
    currency = intent.currency.upper()
    return Intent(
        *(intent.id, intent.status, intent.client_secret, getattr(intent, "latest_charge", None)),
        booking=named_in(intent, "booking"),
        amount=minor_amount(intent.amount, currency),
        received=minor_amount(intent.amount_received, currency),
        currency=currency,
    )


def _read_refund(refund: Any) -> StripeRefund:
    state: Literal["pending", "succeeded", "failed"] = "pending"
    if refund.status == "succeeded":
        state = "succeeded"
    elif refund.status in ("failed", "canceled"):
        state = "failed"
    return StripeRefund(refund.id, named_in(refund, "key"), minor_amount(refund.amount, refund.currency.upper()), state)


_DISPUTES: Final[dict[str, DisputeState]] = {
    "warning_needs_response": "inquiry",
    "warning_under_review": "inquiry",
    "warning_closed": "dropped",
    "won": "won",
    "prevented": "won",
    "lost": "lost",
}
"""All others are open."""


def _read_dispute(dispute: Any) -> StripeDispute:
    currency = dispute.currency.upper()
    details = getattr(dispute, "evidence_details", None)
    due_by = None if details is None else details.due_by
    return StripeDispute(
        id=dispute.id,
        amount=minor_amount(dispute.amount, currency),
        currency=currency,
        reason=dispute.reason,
        state=_DISPUTES.get(dispute.status, "open"),
        due_by=None if due_by is None else datetime.fromtimestamp(due_by, UTC),
        answered=not dispute.status.endswith("needs_response"),
        moves=tuple(_dispute_move(one) for one in dispute.balance_transactions or ()),
    )


def _dispute_move(booked: Any) -> DisputeMove:
    currency = booked.currency.upper()
    return DisputeMove(booked.id, minor_amount(booked.amount, currency), minor_amount(booked.fee, currency), currency)


_KINDS: Final[dict[str, TransactionKind]] = {
    "charge": "charge",
    "refund": "refund",
    "dispute": "dispute",
    "transfer": "transfer",
    "transfer_reversal": "reversal",
}


def _transaction(booked: Any) -> Transaction | None:
    """A balance transaction whose source is a charge, a refund, a dispute, a transfer or its reversal; else None.

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
    match kind:
        case "transfer" | "reversal":
            about = source.id if kind == "transfer" else source.transfer
        case _:
            about = source.payment_intent or (source.id if kind == "charge" else source.charge)
    return Transaction(
        id=booked.id,
        intent=about,
        booking=named_in(source, "booking") if kind in ("charge", "transfer") else None,
        kind=kind,
        amount=minor_amount(units, currency),
        currency=currency,
        fee=minor_amount(booked.fee, booked.currency.upper()),
        fee_currency=booked.currency.upper(),
        created=datetime.fromtimestamp(booked.created, UTC),
    )
