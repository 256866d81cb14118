"""Sending events: signed as Stripe signs, repeated with growing pauses until they are answered 2xx.

What is to be sent is in the store, so a double that was killed goes on where it was; an event whose answer was on its
way then is sent again. Order is not promised, and neither is once.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import Final

import aiohttp
import msgspec

from lml_live import limits
from lml_live.clock import system_clock_ms
from lml_live.devstack.stripe.objects import Event
from lml_live.devstack.stripe.settings import Control
from lml_live.devstack.stripe.store import Store
from lml_live.devstack.stripe.world import Act, Delivery, Try

_log: Final = logging.getLogger(__name__)

_DUE: Final = ("delivery", "charge", "refund", "payout", "payout_day")


def signature(secret: str, body: bytes, time_s: int) -> str:
    """The header `Stripe-Signature`."""
    signed = hmac.new(secret.encode(), b"%d." % time_s + body, hashlib.sha256).hexdigest()
    return f"t={time_s},v1={signed}"


class Deliverer:
    """Sends what is due, and does what time brings about; one for the process."""

    def __init__(self, store: Store, control: Control, new_act: Callable[[str], Act]) -> None:
        self._store = store
        self._control = control
        self._new_act = new_act
        self._wake = asyncio.Event()
        self._sending: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Something may be due now."""
        self._wake.set()

    async def stop_sending(self) -> None:
        """Ends all tries under way; nothing is noted of them."""
        tasks = list(self._sending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sending.clear()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        connector = aiohttp.TCPConnector(limit=limits.STRIPE_DOUBLE_WEBHOOKS_PARALLEL_MAX, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as http:
            try:
                while True:
                    self._wake.clear()
                    with self._store.transaction():
                        self._new_act("time").settle()
                    self._start_due(http)
                    try:
                        async with asyncio.timeout(self._pause_s()):
                            await self._wake.wait()
                    except TimeoutError:
                        continue
            finally:
                await self.stop_sending()

    def _start_due(self, http: aiohttp.ClientSession) -> None:
        settings = self._control.settings
        if settings.webhook_url is None:
            return
        for delivery in self._store.due("delivery", self._control.now_ms(), Delivery):
            if len(self._sending) >= settings.webhook_parallel:
                return
            if delivery.id not in self._sending:
                self._sending[delivery.id] = asyncio.create_task(self._send(http, delivery))

    def _pause_s(self) -> float:
        if self._sending:
            # Each try that ends wakes us; what falls due meanwhile is found by looking.
            return limits.STRIPE_DOUBLE_LOOK_SECONDS
        due_ms = self._store.next_due_ms(_DUE)
        if due_ms is None:
            return limits.STRIPE_DOUBLE_IDLE_SECONDS  # every request wakes us
        wait_s = (due_ms - self._control.now_ms()) / 1000
        return min(max(wait_s, 0.001), limits.STRIPE_DOUBLE_IDLE_SECONDS)

    async def _send(self, http: aiohttp.ClientSession, delivery: Delivery) -> None:
        settings = self._control.settings
        event = self._store.load("event", delivery.event, Event)
        try:
            if event is None or settings.webhook_url is None:
                self._note(delivery, None, "the event is gone")
                return
            body = msgspec.json.encode(event)
            # The receiver compares with its own clock, which no test has put ahead.
            signed = signature(settings.webhook_secret, body, system_clock_ms() // 1000)
            headers = {
                "Content-Type": "application/json; charset=utf-8",
                "Stripe-Signature": signed,
                "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            }
            timeout = aiohttp.ClientTimeout(total=settings.webhook_timeout_ms / 1000)
            try:
                async with http.post(
                    settings.webhook_url, data=body, headers=headers, timeout=timeout, allow_redirects=False
                ) as response:
                    self._note(delivery, response.status, None)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                self._note(delivery, None, type(error).__name__)
        finally:
            self._sending.pop(delivery.id, None)
            self.wake()

    def _note(self, delivery: Delivery, status: int | None, error: str | None) -> None:
        settings, now_ms = self._control.settings, self._control.now_ms()
        tries = (*delivery.tries, Try(now_ms, status, error))
        pause_ms = min(settings.webhook_retry_first_ms * 2 ** min(len(tries) - 1, 40), settings.webhook_retry_max_ms)
        if status is not None and 200 <= status < 300:
            delivery = msgspec.structs.replace(delivery, state="delivered", tries=tries)
        elif now_ms + pause_ms > delivery.created_ms + settings.webhook_give_up_ms:
            delivery = msgspec.structs.replace(delivery, state="failed", tries=tries)
            _log.warning("event %s was given up after %d tries", delivery.event, len(tries))
        else:
            delivery = msgspec.structs.replace(delivery, due_ms=now_ms + pause_ms, tries=tries)
        with self._store.transaction():
            act = self._new_act("delivery")
            act.put_delivery(delivery)
            act.count_pending(delivery.event)
