"""The faults that tests switch on: for requests and for webhooks, by operation or event and count.

A fault stays in the record when it is used up, so that a run can show that each has fired.
"""

import random
from collections.abc import Iterator
from typing import Literal, TypeVar

import msgspec

from lml_live.devstack.stripe.store import Store

Operation = Literal[
    "*",
    "create",
    "retrieve",
    "update",
    "confirm",
    "capture",
    "cancel",
    "list",
    "refund",
    "refund_retrieve",
    "refund_list",
    "dispute_list",
    "dispute_retrieve",
    "dispute_update",
    "payment_method",
    "detach",
    "customer",
    "customer_list",
    "customer_retrieve",
    "customer_delete",
    "card_list",
    "card_retrieve",
    "charge",
    "events",
    "balance",
    "account",
    "account_create",
    "account_retrieve",
    "account_list",
    "account_update",
    "account_link",
    "transfer",
    "transfer_retrieve",
    "transfer_list",
    "reversal",
    "reversal_list",
    "payout",
    "payout_retrieve",
    "payout_list",
    "payout_cancel",
]
FaultKind = Literal[
    "rate_limit",
    "timeout_before",
    "delay",
    "kill_before",
    "error_500",
    "error_500_after",
    "decline",
    "timeout_after",
    "kill_after",
]
WebhookFaultKind = Literal["lose", "double", "late", "hold", "reorder"]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall happen to requests of an operation.

    rate_limit       429, nothing done; with `per_second` only to what exceeds a bucket of `burst`, one for each
                     operation, or with `together` one for all of them
    timeout_before   nothing is done, and the connection is closed without an answer, after `delay_ms`
    delay            the effect and the answer come `delay_ms` late; the idempotency key is in use meanwhile
    kill_before      the double is killed (SIGKILL) before the effect
    error_500        500, nothing done; saved for the idempotency key
    error_500_after  500, though it was done; saved for the idempotency key
    decline          the issuer declines, whatever the card (confirm, capture)
    timeout_after    it is done and saved, and the connection is closed without an answer, after `delay_ms`
    kill_after       the double is killed after the effect, before the answer

    The first three and the last two meet repeated requests too, whose answer is only replayed.
    """

    id: str = ""
    operation: Operation
    kind: FaultKind
    count: int | None = 1
    """How many requests it still meets; None: until it is taken away."""
    delay_ms: int = 0
    per_second: float | None = None
    burst: int = 1
    together: bool = False
    fired: int = 0


class WebhookFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall happen to the delivery of events.

    lose     it is never tried
    double   it is sent `copies` times, whatever the answers
    late     it is first tried after `delay_ms`
    hold     it is kept until it is released
    reorder  the next `count` are kept, then sent in reverse, or as shuffled by `seed`
    """

    id: str = ""
    kind: WebhookFaultKind
    events: tuple[str, ...] = ("*",)
    count: int | None = 1
    delay_ms: int = 0
    copies: int = 2
    seed: int | None = None
    fired: int = 0

    def __post_init__(self) -> None:
        if self.kind == "reorder" and self.count is None:
            raise ValueError("reorder needs a count")


class Faults:
    """The faults that are on, kept in the store; buckets are not, they fill within a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._buckets: dict[str, tuple[float, int]] = {}

    def add(self, fault: Fault) -> None:
        self._store.put("fault", fault.id, fault)

    def add_webhook(self, fault: WebhookFault) -> None:
        self._store.put("webhook_fault", fault.id, fault)

    def every(self) -> list[Fault]:
        return list(self._store.list_all("fault", Fault))

    def every_webhook(self) -> list[WebhookFault]:
        return list(self._store.list_all("webhook_fault", WebhookFault))

    def clear(self) -> None:
        """Ends all faults: what has fired stays in the record."""
        for fault in self.every():
            self.add(msgspec.structs.replace(fault, count=0))
        for webhook_fault in self.every_webhook():
            self.add_webhook(msgspec.structs.replace(webhook_fault, count=0))

    def take(self, operation: str, kinds: tuple[FaultKind, ...], now_ms: int) -> Fault | None:
        """The first fault of these kinds that meets the request; it is one nearer to its end then."""
        for fault in self.every():
            meets = fault.kind in kinds and fault.operation in ("*", operation) and fault.count != 0
            if meets and not (fault.per_second and self._has_token(fault, operation, now_ms)):
                self.add(_fired(fault))
                return fault
        return None

    def take_webhook(self, event_type: str) -> WebhookFault | None:
        """The first webhook fault that meets the event, as it is after it has fired."""
        for fault in self.every_webhook():
            if fault.count != 0 and any(_fits(pattern, event_type) for pattern in fault.events):
                fired = _fired(fault)
                self.add_webhook(fired)
                return fired
        return None

    def _has_token(self, fault: Fault, operation: str, now_ms: int) -> bool:
        assert fault.per_second is not None
        bucket = f"{fault.id} {'' if fault.together else operation}"
        tokens, then_ms = self._buckets.get(bucket, (float(fault.burst), now_ms))
        tokens = min(float(fault.burst), tokens + (now_ms - then_ms) * fault.per_second / 1000)
        allowed = tokens >= 1
        self._buckets[bucket] = (tokens - 1 if allowed else tokens, now_ms)
        return allowed


_AnyFault = TypeVar("_AnyFault", Fault, WebhookFault)


def _fired(fault: _AnyFault) -> _AnyFault:
    left = None if fault.count is None else fault.count - 1
    return msgspec.structs.replace(fault, count=left, fired=fault.fired + 1)


def _fits(pattern: str, event_type: str) -> bool:
    return pattern in ("*", event_type) or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))


def release_order(deliveries: list[str], order: str, seed: int | None) -> Iterator[str]:
    """Held deliveries in the order in which they are to be sent: `as_held`, `reversed` or `shuffled` by the seed."""
    if order == "reversed":
        return reversed(deliveries)
    if order == "shuffled":
        shuffled = list(deliveries)
        random.Random(seed).shuffle(shuffled)  # noqa: S311 - no secret: an order
        return iter(shuffled)
    return iter(deliveries)
