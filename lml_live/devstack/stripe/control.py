"""The control API, below `/_double`: JSON, with the secret key. Tests switch faults and read the ledger here."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

import msgspec
from aiohttp import web

from lml_live.devstack.stripe import banking, connecting
from lml_live.devstack.stripe.disputes import DisputeWish
from lml_live.devstack.stripe.faults import Fault, WebhookFault
from lml_live.devstack.stripe.ledger import read_ledger
from lml_live.devstack.stripe.payouts import PayoutEnd
from lml_live.devstack.stripe.refusals import Refusal
from lml_live.devstack.stripe.requests import Api
from lml_live.devstack.stripe.webhooks import Deliverer
from lml_live.devstack.stripe.world import new_id

T = TypeVar("T")
_ADVANCE_SECONDS_MAX: Final = 366 * 86_400


class ClockChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    advance_seconds: float


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    order: Literal["as_held", "reversed", "shuffled"] = "as_held"
    seed: int | None = None
    fault: str | None = None
    """Only what this webhook fault holds."""


class Authenticate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    outcome: Literal["complete", "fail"]


class CloseDispute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    outcome: Literal["won", "lost", "dropped"]


class DisputeFee(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fee: int = 0


class PayOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: int | None = None


class EndPayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    outcome: PayoutEnd
    code: str = "could_not_process"


class ControlApi:
    """Its routes, each for the holder of the secret key only."""

    def __init__(self, api: Api, deliverer: Deliverer) -> None:
        self._api = api
        self._deliverer = deliverer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/_double/health", self._health)
        for method, path, act in (
            ("GET", "/_double/ledger", self._ledger),
            ("POST", "/_double/reset", self._reset),
            ("GET", "/_double/settings", self._settings),
            ("PATCH", "/_double/settings", self._change_settings),
            ("GET", "/_double/clock", self._clock),
            ("POST", "/_double/clock", self._advance),
            ("GET", "/_double/faults", self._faults),
            ("POST", "/_double/faults", self._add_fault),
            ("POST", "/_double/webhook-faults", self._add_webhook_fault),
            ("DELETE", "/_double/faults", self._clear_faults),
            ("POST", "/_double/webhooks/release", self._release),
            ("POST", "/_double/events/{id}/resend", self._resend),
            ("POST", "/_double/payment_intents/{id}/authenticate", self._authenticate),
            ("POST", "/_double/payment_intents/{id}/dispute", self._open_dispute),
            ("POST", "/_double/disputes/{id}/close", self._close_dispute),
            ("POST", "/_double/disputes/{id}/escalate", self._escalate_dispute),
            ("POST", "/_double/disputes/{id}/reinstate", self._reinstate_dispute),
            ("POST", "/_double/accounts/{id}/onboard", self._onboard),
            ("POST", "/_double/accounts/{id}/restrict", self._restrict),
            ("POST", "/_double/accounts/{id}/pay_out", self._pay_out),
            ("POST", "/_double/payouts/{id}/end", self._end_payout),
        ):
            router.add_route(method, path, self._guarded(act))

    def _guarded(
        self, act: "Callable[[web.Request], Awaitable[Any]]"
    ) -> "Callable[[web.Request], Awaitable[web.Response]]":
        async def guarded(request: web.Request) -> web.Response:
            if not self._api.is_secret_key(request):
                return _json({"error": "the secret key is needed"}, 401)
            try:
                return _json(await act(request))
            except Refusal as refusal:
                return _json({"error": refusal.body.message}, refusal.status)
            except msgspec.MsgspecError as error:
                return _json({"error": str(error)}, 400)
            finally:
                self._deliverer.wake()

        return guarded

    async def _health(self, _: web.Request) -> web.Response:
        return _json({"ready": True})

    async def _ledger(self, _: web.Request) -> object:
        with self._api.store.transaction():
            self._api.act("time").settle()
        return read_ledger(self._api)

    async def _reset(self, _: web.Request) -> object:
        """Forgets everything: objects, keys, faults, settings, the clock. Requests that wait are hung up on."""
        await self._deliverer.stop_sending()
        self._api.forget_requests()
        with self._api.store.transaction():
            self._api.store.clear()
        self._api.control.refresh()
        return {"reset": True}

    async def _settings(self, _: web.Request) -> object:
        return self._visible_settings()

    async def _change_settings(self, request: web.Request) -> object:
        changes = msgspec.json.decode(await request.read(), type=dict[str, object])
        self._api.control.change(changes)
        return self._visible_settings()

    def _visible_settings(self) -> object:
        return msgspec.structs.replace(self._api.control.settings, webhook_secret="")

    async def _clock(self, _: web.Request) -> object:
        return {"now_ms": self._api.control.now_ms()}

    async def _advance(self, request: web.Request) -> object:
        wish = await _read(request, ClockChange)
        if not 0 <= wish.advance_seconds <= _ADVANCE_SECONDS_MAX:
            raise msgspec.ValidationError("advance_seconds is 0 to a year: the clock never goes back")
        with self._api.store.transaction():
            self._api.control.advance(wish.advance_seconds)
            self._api.act("time").settle()
        return {"now_ms": self._api.control.now_ms()}

    async def _faults(self, _: web.Request) -> object:
        return {"faults": self._api.faults.every(), "webhook_faults": self._api.faults.every_webhook()}

    async def _add_fault(self, request: web.Request) -> object:
        fault = msgspec.structs.replace(await _read(request, Fault), id=new_id("fault"), fired=0)
        self._api.faults.add(fault)
        return fault

    async def _add_webhook_fault(self, request: web.Request) -> object:
        fault = msgspec.structs.replace(await _read(request, WebhookFault), id=new_id("fault"), fired=0)
        self._api.faults.add_webhook(fault)
        return fault

    async def _clear_faults(self, _: web.Request) -> object:
        with self._api.store.transaction():
            self._api.faults.clear()
        return {"cleared": True}

    async def _release(self, request: web.Request) -> object:
        wish = await _read(request, Release)
        with self._api.store.transaction():
            released = self._api.act("release").release(wish.fault, wish.order, wish.seed)
        return {"released": released}

    async def _resend(self, request: web.Request) -> object:
        with self._api.store.transaction():
            self._api.act("resend").resend(request.match_info["id"])
        return {"resent": True}

    async def _authenticate(self, request: web.Request) -> object:
        wish = await _read(request, Authenticate)
        with self._api.store.transaction():
            act = self._api.act("authenticate")
            act.settle()
            return act.authenticate(request.match_info["id"], secret=None, passed=wish.outcome == "complete")

    async def _open_dispute(self, request: web.Request) -> object:
        wish = await _read(request, DisputeWish)
        with self._api.store.transaction():
            act = self._api.act("dispute")
            act.settle()
            return act.open_dispute(request.match_info["id"], wish)

    async def _close_dispute(self, request: web.Request) -> object:
        wish = await _read(request, CloseDispute)
        with self._api.store.transaction():
            return self._api.act("dispute").close_dispute(request.match_info["id"], wish.outcome)

    async def _escalate_dispute(self, request: web.Request) -> object:
        wish = await _read(request, DisputeFee)
        with self._api.store.transaction():
            return self._api.act("dispute").escalate_dispute(request.match_info["id"], wish.fee)

    async def _reinstate_dispute(self, request: web.Request) -> object:
        wish = await _read(request, DisputeFee)
        with self._api.store.transaction():
            return self._api.act("dispute").reinstate_dispute(request.match_info["id"], wish.fee)

    async def _onboard(self, request: web.Request) -> object:
        with self._api.store.transaction():
            return connecting.onboard(self._api.act("onboard"), request.match_info["id"])

    async def _restrict(self, request: web.Request) -> object:
        with self._api.store.transaction():
            return connecting.restrict(self._api.act("restrict"), request.match_info["id"])

    async def _pay_out(self, request: web.Request) -> object:
        wish = await _read(request, PayOut)
        with self._api.store.transaction():
            return banking.pay_out(self._api.act("pay_out"), request.match_info["id"], wish.amount)

    async def _end_payout(self, request: web.Request) -> object:
        wish = await _read(request, EndPayout)
        with self._api.store.transaction():
            act = self._api.act("end_payout")
            return banking.end_payout(act, request.match_info["id"], wish.outcome, wish.code)


async def _read(request: web.Request, shape: type[T]) -> T:
    return msgspec.json.decode(await request.read() or b"{}", type=shape)


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
