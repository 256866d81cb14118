"""The Stripe double as an engine of the stack."""

import secrets
import sys
from pathlib import Path

import aiohttp

from lml_live.devstack.child import LOOPBACK, Engine
from lml_live.devstack.stripe.steering import Steering

_TIMEOUT = aiohttp.ClientTimeout(total=1)


class StripeDouble(Engine):
    """The double in a process of its own, its state in one file below `directory`, which outlives a kill.

    The keys are made at random where none are given; whoever starts the double on old state gives the old ones.
    `webhook_url` may be set later: `await double.steering.change_settings(webhook_url=…)`.
    """

    name = "Stripe double"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        log: Path | None = None,
        secret_key: str | None = None,
        publishable_key: str | None = None,
        webhook_secret: str | None = None,
        webhook_url: str | None = None,
    ) -> None:
        super().__init__(directory, port=port, log=log)
        self.secret_key = secret_key or f"sk_test_{secrets.token_hex(12)}"
        self.publishable_key = publishable_key or f"pk_test_{secrets.token_hex(12)}"
        self.webhook_secret = webhook_secret or f"whsec_{secrets.token_hex(16)}"
        self.webhook_url = webhook_url

    @property
    def url(self) -> str:
        """What the SDK takes as `base_addresses={"api": …}`, and pages as `api_base`."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def steering(self) -> Steering:
        """The control API."""
        return Steering(self.url, self.secret_key)

    @property
    def marker(self) -> str:
        return str(self.directory / "stripe.sqlite")

    def program(self) -> str:
        return sys.executable

    def arguments(self) -> list[str]:
        webhook = ["--webhook-url", self.webhook_url] if self.webhook_url else []
        return [
            *("-m", "lml_live.devstack.stripe", "--port", str(self.port), "--state", self.marker),
            *("--secret-key", self.secret_key, "--publishable-key", self.publishable_key),
            *("--webhook-secret", self.webhook_secret, *webhook),
        ]

    async def is_ready(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as http,
                http.get(f"{self.url}/_double/health") as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
