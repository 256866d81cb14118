"""The client of the control API: `await double.steering.fault("capture", "timeout_after")`, and the ledger."""

from typing import Any

import aiohttp
import msgspec

from lml_live.devstack.stripe.faults import Fault, FaultKind, Operation, WebhookFault, WebhookFaultKind
from lml_live.devstack.stripe.ledger import Ledger
from lml_live.devstack.stripe.payouts import PayoutEnd
from lml_live.errors import Unavailable

_TIMEOUT = aiohttp.ClientTimeout(total=10)


class Steering:
    """Steers the double at `url`. Every call raises `Unavailable` where it does not answer, or refuses."""

    def __init__(self, url: str, secret_key: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {secret_key}"}

    async def reset(self) -> None:
        """Forgets all that happened: objects, keys, events, faults, changed settings, and puts the clock right."""
        await self._call("POST", "/reset")

    async def ledger(self) -> Ledger:
        """All that happened."""
        return msgspec.json.decode(await self._call("GET", "/ledger"), type=Ledger)

    async def change_settings(self, **changes: Any) -> None:
        """Changes some of `settings.DoubleSettings`: `webhook_url`, `webhook_secret`, `webhook_retry_first_ms`, …"""
        await self._call("PATCH", "/settings", changes)

    async def now_ms(self) -> int:
        """The double's clock."""
        return int(msgspec.json.decode(await self._call("GET", "/clock"))["now_ms"])

    async def advance(self, seconds: float) -> None:
        """Puts the double's clock ahead; what falls due by that is done when this returns, webhooks soon after."""
        await self._call("POST", "/clock", {"advance_seconds": seconds})

    async def fault(self, operation: Operation, kind: FaultKind, *, count: int | None = 1, **details: Any) -> Fault:
        """Switches a fault on (see `faults.Fault`); `count=None` keeps it until `clear_faults`."""
        wish = {"operation": operation, "kind": kind, "count": count, **details}
        return msgspec.json.decode(await self._call("POST", "/faults", wish), type=Fault)

    async def webhook_fault(
        self, kind: WebhookFaultKind, *events: str, count: int | None = 1, **details: Any
    ) -> WebhookFault:
        """Switches a webhook fault on (see `faults.WebhookFault`) for these types of events, or for all."""
        wish = {"kind": kind, "events": events or ("*",), "count": count, **details}
        return msgspec.json.decode(await self._call("POST", "/webhook-faults", wish), type=WebhookFault)

    async def clear_faults(self) -> None:
        """Ends all faults. Webhooks that are held stay held until `release`."""
        await self._call("DELETE", "/faults")

    async def release(self, *, order: str = "as_held", seed: int | None = None, fault: str | None = None) -> int:
        """Sends held webhooks `as_held`, `reversed` or `shuffled`; answers how many there were."""
        wish = {"order": order, "seed": seed, "fault": fault}
        return int(msgspec.json.decode(await self._call("POST", "/webhooks/release", wish))["released"])

    async def resend(self, event_id: str) -> None:
        """Sends an event again."""
        await self._call("POST", f"/events/{event_id}/resend")

    async def authenticate(self, intent_id: str, *, passed: bool = True) -> None:
        """The buyer's act at the 3-D Secure page, without the page."""
        outcome = "complete" if passed else "fail"
        await self._call("POST", f"/payment_intents/{intent_id}/authenticate", {"outcome": outcome})

    async def open_dispute(self, intent_id: str, **wish: Any) -> str:
        """The buyer's bank takes a payment, or a part of it, back, or asks (`disputes.DisputeWish`); answers its id."""
        answer = await self._call("POST", f"/payment_intents/{intent_id}/dispute", wish)
        return str(msgspec.json.decode(answer)["id"])

    async def close_dispute(self, dispute_id: str, *, won: bool) -> None:
        """The bank decides, for us or for the buyer."""
        await self._call("POST", f"/disputes/{dispute_id}/close", {"outcome": "won" if won else "lost"})

    async def drop_inquiry(self, dispute_id: str) -> None:
        """The bank asks no more."""
        await self._call("POST", f"/disputes/{dispute_id}/close", {"outcome": "dropped"})

    async def escalate_dispute(self, dispute_id: str, *, fee: int = 1_500) -> None:
        """The bank that asked takes the money."""
        await self._call("POST", f"/disputes/{dispute_id}/escalate", {"fee": fee})

    async def reinstate_dispute(self, dispute_id: str, *, fee_back: int = 0) -> None:
        """The bank gives back what it had taken for good."""
        await self._call("POST", f"/disputes/{dispute_id}/reinstate", {"fee": fee_back})

    async def onboard(self, account_id: str) -> None:
        """A connected account's owner tells Stripe everything, without the page."""
        await self._call("POST", f"/accounts/{account_id}/onboard")

    async def restrict(self, account_id: str) -> None:
        """Stripe pays an account nothing until it knows more."""
        await self._call("POST", f"/accounts/{account_id}/restrict")

    async def pay_out(self, account_id: str, *, amount: int | None = None) -> str:
        """What an account has, or a part of it, goes to its bank, even what is pending: a reversal finds it gone.
        Answers the payout."""
        answer = await self._call("POST", f"/accounts/{account_id}/pay_out", {"amount": amount})
        return str(msgspec.json.decode(answer)["id"])

    async def end_payout(self, payout_id: str, outcome: PayoutEnd, *, code: str = "could_not_process") -> None:
        """A bank takes a payout, or refuses it (`failed`, with a code) although it took it before."""
        await self._call("POST", f"/payouts/{payout_id}/end", {"outcome": outcome, "code": code})

    async def _call(self, method: str, path: str, body: object = None) -> bytes:
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT) as http,
                http.request(method, f"{self._url}/_double{path}", data=msgspec.json.encode(body or {})) as response,
            ):
                answer = await response.read()
                if response.status != 200:
                    raise Unavailable(f"The Stripe double refuses {path}: {answer.decode()[:500]}")
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"The Stripe double does not answer {path}: {type(error).__name__}") from error
