"""The Stripe double for tests: a fresh state for each test on one process, or a process of one's own to kill.

`stripe_double` is the double; `stripe_api` the official SDK on it; `webhook_ear` an endpoint that hears its webhooks.
"""

import asyncio
import contextlib
import functools
import os
import secrets
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import stripe
from aiohttp import web

from lml_live.devstack.stripe.process import StripeDouble

# The library reads the authorities' certificates for each client that it makes, 6 ms; the double has none.
vars(stripe._http_client)["ssl"] = SimpleNamespace(create_default_context=functools.cache(ssl.create_default_context))

OwnDouble = Callable[..., Awaitable[StripeDouble]]


def _apart(work: Coroutine[Any, Any, None]) -> None:
    # In a thread of its own: a loop may be running in ours.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def _directory() -> Path:
    # Below the run's directory, so that the run ends the process whatever happens here.
    return Path(os.environ["LML_TEST_RUN"]) / f"stripe-{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def stripe_shared() -> Iterator[StripeDouble]:
    """One double for all tests of this process, which share its state: tests want `stripe_double`."""
    double = StripeDouble(_directory())
    _apart(double.start())
    yield double
    _apart(double.kill())
    shutil.rmtree(double.directory, ignore_errors=True)


@pytest.fixture
async def stripe_double(stripe_shared: StripeDouble) -> StripeDouble:
    """The double without a past: no objects, no faults, no webhook address, its clock right."""
    await stripe_shared.steering.reset()
    return stripe_shared


@pytest.fixture
async def stripe_double_own() -> AsyncIterator[OwnDouble]:
    """`await stripe_double_own(**options)`: a double that this test may kill and start again (`StripeDouble`)."""
    made: list[StripeDouble] = []

    async def start(**options: Any) -> StripeDouble:
        double = StripeDouble(_directory(), **options)
        made.append(double)
        await double.start()
        return double

    yield start
    for double in made:
        await double.kill()
        shutil.rmtree(double.directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def stripe_client(double: StripeDouble, **options: Any) -> AsyncIterator[stripe.StripeClient]:
    """The official SDK, asynchronous and without retries of its own unless `max_network_retries` says so."""
    timeout = aiohttp.ClientTimeout(total=options.pop("timeout", 10))
    options.setdefault("max_network_retries", 0)
    async with aiohttp.ClientSession() as session:
        http = stripe.AIOHTTPClient(session=session, timeout=timeout)
        yield stripe.StripeClient(double.secret_key, base_addresses={"api": double.url}, http_client=http, **options)


@pytest.fixture
async def stripe_api(stripe_double: StripeDouble) -> AsyncIterator[stripe.StripeClient]:
    """The official SDK on `stripe_double`."""
    async with stripe_client(stripe_double) as client:
        yield client


class WebhookEar:
    """An endpoint for webhooks that checks each signature with the SDK and answers as it is told."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.url = ""
        self.heard: list[stripe.Event] = []
        """Every delivery whose signature was right, repeated ones too."""
        self.signatures: list[str] = []
        self.forged = 0
        self.answers: list[int] = []
        """What the next deliveries are answered; 200 when it is empty."""

    async def hear(self, request: web.Request) -> web.Response:
        header = request.headers.get("Stripe-Signature", "")
        try:
            event = stripe.Webhook.construct_event(await request.read(), header, self.secret)  # type: ignore[no-untyped-call]
        except stripe.SignatureVerificationError:
            self.forged += 1
            return web.Response(status=400)
        self.heard.append(event)
        self.signatures.append(header)
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    def types(self) -> list[str]:
        """The types heard, in order."""
        return [event.type for event in self.heard]


@pytest.fixture
async def webhook_ear(stripe_double: StripeDouble) -> AsyncIterator[WebhookEar]:
    """An endpoint that `stripe_double` sends its webhooks to, one at a time, with short pauses between tries."""
    async with listening(stripe_double) as ear:
        yield ear


@contextlib.asynccontextmanager
async def listening(double: StripeDouble) -> AsyncIterator[WebhookEar]:
    """An endpoint that any double sends its webhooks to from now on."""
    ear = WebhookEar(double.webhook_secret)
    app = web.Application()
    app.router.add_post("/webhooks/stripe", ear.hear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ear.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/stripe"
        await double.steering.change_settings(
            webhook_url=ear.url, webhook_retry_first_ms=20, webhook_retry_max_ms=100, webhook_parallel=1
        )
        yield ear
    finally:
        await runner.cleanup()
