"""What surrounds every operation of /v1: whose key it is, faults, idempotency, the transaction, and the answer.

In this order, as Stripe has it: the key (401), the rate (429), the idempotency key (a saved answer, 400 or 409), the
parameters, the operation. What is answered is on disk before, with the answer saved for its key.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from aiohttp import hdrs, web

from lml_live import limits
from lml_live.devstack.stripe import reading, refusals
from lml_live.devstack.stripe.faults import Fault, FaultKind, Faults
from lml_live.devstack.stripe.form import Fields, Form, decode
from lml_live.devstack.stripe.objects import (
    API_VERSION,
    PUBLIC_INTENT_FIELDS,
    ConnectedAccount,
    EventRequest,
    PaymentIntent,
)
from lml_live.devstack.stripe.payments import SERVER_ONLY, Call, Operation
from lml_live.devstack.stripe.refusals import Refusal
from lml_live.devstack.stripe.settings import Control, Keys
from lml_live.devstack.stripe.store import Store
from lml_live.devstack.stripe.world import Act, new_id

KEY_SECONDS: Final = 24 * 3600
"""Stripe may forget an idempotency key after a day; the double does at once then."""
KEY_CHARS_MAX: Final = 255
_FORM: Final = "application/x-www-form-urlencoded"

CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Request-Id, Idempotent-Replayed, Stripe-Should-Retry",
}
PREFLIGHT: Final = {
    **CORS,
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Stripe-Version",
    "Access-Control-Max-Age": "300",
}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the API."""

    operation: str
    method: str
    path: str
    act: Operation
    fields: frozenset[str] = frozenset()
    """The parameters it knows beside `expand`; any other is refused."""
    publishable: bool = False
    """Whether pages may call it, with the publishable key."""
    connected: bool = False
    """Whether it may be made for a connected account (`Stripe-Account`)."""


class SavedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an idempotency key was answered."""

    endpoint: str
    fingerprint: str
    request: str
    status: int
    body: str
    until_ms: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One request, for the ledger. It carries no parameters, so no card number and no secret."""

    id: str
    at_ms: int
    operation: str
    method: str
    path: str
    public: bool = False
    idempotency_key: str | None = None
    status: int | None = None
    """What was answered, or would have been; None where nothing was done."""
    answered: bool = True
    """False where the connection was closed instead."""
    replayed: bool = False
    faults: tuple[str, ...] = ()


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    body: str
    replay_of: str | None = None
    saved: bool = False


class HungUp(Exception):
    """There is to be no answer."""


class Api:
    """The operations, on one store."""

    def __init__(self, store: Store, control: Control, faults: Faults, keys: Keys, page_base: str) -> None:
        self.store = store
        self.control = control
        self.faults = faults
        self._keys = keys
        self._page_base = page_base
        self.on_change: Callable[[], None] = lambda: None
        """Called when something may be due."""
        self._in_flight: set[str] = set()
        self._generation = 0

    def forget_requests(self) -> None:
        """After a reset: requests that still wait belong to a state that is gone, and are hung up on."""
        self._generation += 1
        self._in_flight.clear()

    def is_secret_key(self, request: web.Request) -> bool:
        return hmac.compare_digest(_sent_key(request).encode(), self._keys.secret.encode())

    def act(self, operation: str, request: EventRequest | None = None) -> Act:
        """An act outside of the API: the page's, the clock's, a test's."""
        nobody = EventRequest(id=None, idempotency_key=None)
        return Act(self.store, self.control, self.faults, operation=operation, request=request or nobody)

    def handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
        """What aiohttp calls for a route."""

        async def handle(request: web.Request) -> web.Response:
            return await self.answer(route, request)

        return handle

    async def answer(self, route: Route, request: web.Request) -> web.Response:
        """One request to one operation."""
        seen = Seen(
            id=new_id("req"),
            at_ms=self.control.now_ms(),
            operation=route.operation,
            method=request.method,
            path=request.path,
            idempotency_key=request.headers.get("Idempotency-Key") if request.method == hdrs.METH_POST else None,
        )
        try:
            return await self._answer(route, request, seen)
        except HungUp:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except Refusal as refusal:
            self._note(msgspec.structs.replace(seen, status=refusal.status))
            response = _response(seen, _Answer(status=refusal.status, body=_error(refusal)))
            if refusal.limited is not None:
                response.headers["Stripe-Rate-Limited-Reason"] = refusal.limited
            return response

    async def _answer(self, route: Route, request: web.Request, seen: Seen) -> web.Response:
        generation = self._generation
        form = Form(decode(await _text(request)))
        public = self._is_public(route, request, form)
        account = self._account(route, request)
        seen = msgspec.structs.replace(seen, public=public)
        if fault := self._take(route, "rate_limit"):
            raise refusals.rate_limited("global-rate" if fault.together else "endpoint-rate")
        if fault := self._take(route, "timeout_before"):
            self._note(msgspec.structs.replace(seen, answered=False, faults=(fault.kind,)))
            await asyncio.sleep(fault.delay_ms / 1000)
            raise HungUp
        key = _saved_under(seen, public)
        answer = self._replay(seen, key, _fingerprint(form.fields))
        if answer is not None:
            seen = self._note(msgspec.structs.replace(seen, status=answer.status, replayed=True))
        else:
            public_fields = (route.fields - SERVER_ONLY) | {"key", "client_secret"}
            form.refuse_unknown((public_fields if public else route.fields) | {"expand"})
            self._in_flight.add(key or seen.id)
            try:
                if fault := self._take(route, "delay"):
                    seen = msgspec.structs.replace(seen, faults=(fault.kind,))
                    await asyncio.sleep(fault.delay_ms / 1000)
                    if generation != self._generation:
                        raise HungUp
                answer, seen = self._execute(route, form, seen, key, request.match_info, account)
            finally:
                self._in_flight.discard(key or seen.id)
                self.on_change()
        if fault := self._take(route, "timeout_after"):
            self._note(msgspec.structs.replace(seen, answered=False, faults=(*seen.faults, fault.kind)))
            await asyncio.sleep(fault.delay_ms / 1000)
            raise HungUp
        if self._take(route, "kill_after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return _response(seen, answer)

    # --- Whose key

    def _is_public(self, route: Route, request: web.Request, form: Form) -> bool:
        key = _sent_key(request) or form.text("key") or ""
        if not key:
            raise refusals.unauthorized(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
        if hmac.compare_digest(key.encode(), self._keys.secret.encode()):
            return False
        if not hmac.compare_digest(key.encode(), self._keys.publishable.encode()):
            raise refusals.unauthorized("Invalid API Key provided.")
        if not route.publishable:
            raise refusals.unauthorized(
                "This API call cannot be made with a publishable API key. Please use a secret API key.",
                "secret_key_required",
            )
        return True

    def _account(self, route: Route, request: web.Request) -> str | None:
        named = request.headers.get("Stripe-Account")
        if named is None:
            return None
        if not route.connected:
            raise refusals.invalid("Stripe-Account", "The double knows Stripe-Account of balances and payouts only.")
        if self.store.load("account", named, ConnectedAccount) is None:
            raise refusals.no_access(named)
        return named

    def _check_client_secret(self, form: Form, intent_id: str) -> None:
        intent = self.store.load("payment_intent", intent_id, PaymentIntent)
        if intent is None:
            raise refusals.no_such("payment_intent", intent_id, "intent")
        if not hmac.compare_digest(form.required("client_secret").encode(), intent.client_secret.encode()):
            raise refusals.invalid(
                "client_secret",
                "The client_secret provided does not match the client_secret associated with this PaymentIntent.",
                "payment_intent_invalid_parameter",
            )

    # --- Idempotency

    def _replay(self, seen: Seen, key: str | None, fingerprint: str) -> _Answer | None:
        """The saved answer. Refuses a key that is in use, or was used for something else."""
        if key is None or seen.idempotency_key is None:
            return None
        if len(seen.idempotency_key) > KEY_CHARS_MAX:
            raise refusals.invalid("", f"Idempotency keys have at most {KEY_CHARS_MAX} characters.")
        if key in self._in_flight:
            raise refusals.key_in_use(seen.idempotency_key)
        saved = self.store.load("saved", key, SavedAnswer)
        if saved is None or saved.until_ms <= seen.at_ms:
            return None
        if saved.endpoint != _endpoint(seen):
            raise refusals.other_endpoint(seen.idempotency_key)
        if saved.fingerprint != fingerprint:
            raise refusals.other_parameters(seen.idempotency_key)
        return _Answer(status=saved.status, body=saved.body, replay_of=saved.request, saved=True)

    def _save(self, seen: Seen, key: str | None, fingerprint: str, answer: _Answer) -> None:
        if key is not None:
            until_ms = self.control.now_ms() + KEY_SECONDS * 1000
            saved = SavedAnswer(
                endpoint=_endpoint(seen),
                fingerprint=fingerprint,
                request=seen.id,
                status=answer.status,
                body=answer.body,
                until_ms=until_ms,
            )
            self.store.put("saved", key, saved, due_ms=until_ms)

    # --- The operation

    def _execute(
        self, route: Route, form: Form, seen: Seen, key: str | None, ids: Mapping[str, str], account: str | None
    ) -> tuple[_Answer, Seen]:
        with self.store.transaction():
            self.act("time").settle()
        if self._take(route, "kill_before"):
            os.kill(os.getpid(), signal.SIGKILL)
        # A reply is drawn from the state that a fault of these two leaves, so they are looked at first.
        fault = self._take(route, "error_500", "error_500_after", "decline")
        if fault is not None:
            seen = msgspec.structs.replace(seen, faults=(*seen.faults, fault.kind))
        fingerprint = _fingerprint(form.fields)
        try:
            with self.store.transaction():
                if fault is not None and fault.kind == "error_500":
                    raise refusals.server_error()
                answer = self._perform(route, form, seen, ids, account, fault)
                self._save(seen, key, fingerprint, answer)
                seen = self._note(msgspec.structs.replace(seen, status=answer.status))
        except Refusal as refusal:
            answer = _Answer(status=refusal.status, body=_error(refusal), saved=refusal.saved)
            with self.store.transaction():
                if refusal.saved:
                    self._save(seen, key, fingerprint, answer)
                seen = self._note(msgspec.structs.replace(seen, status=answer.status))
        return answer, seen

    def _perform(
        self, route: Route, form: Form, seen: Seen, ids: Mapping[str, str], account: str | None, fault: Fault | None
    ) -> _Answer:
        object_id = ids.get("id", "")
        if seen.public and object_id:
            self._check_client_secret(form, object_id)
        act = self.act(route.operation, EventRequest(id=seen.id, idempotency_key=seen.idempotency_key))
        result = route.act(
            Call(
                act=act,
                form=form,
                object_id=object_id,
                other_id=ids.get("other", ""),
                public=seen.public,
                page_base=self._page_base,
                declined=fault is not None and fault.kind == "decline",
                account=account,
            )
        )
        if fault is not None and fault.kind == "error_500_after":
            result = refusals.server_error()
        if isinstance(result, Refusal):
            return _Answer(status=result.status, body=_error(result, public=seen.public), saved=True)
        plain = reading.expand(act, result, form.texts("expand") or ())
        if seen.public and isinstance(plain, dict) and plain["object"] == "payment_intent":
            plain = {name: value for name, value in plain.items() if name in PUBLIC_INTENT_FIELDS}
        return _Answer(status=200, body=msgspec.json.encode(plain).decode(), saved=True)

    # --- The parts

    def _take(self, route: Route, *kinds: FaultKind) -> Fault | None:
        return self.faults.take(route.operation, kinds, self.control.now_ms())

    def _note(self, seen: Seen) -> Seen:
        due_ms = seen.at_ms + limits.STRIPE_DOUBLE_EVENT_DAYS * 86_400_000
        self.store.put("request", seen.id, seen, due_ms=due_ms)
        return seen


async def _text(request: web.Request) -> str:
    if request.method != hdrs.METH_POST:
        return request.query_string
    if request.can_read_body and request.content_type != _FORM:
        raise refusals.invalid("", f"Invalid content type: the API reads {_FORM}.")
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError as error:
        raise refusals.invalid("", "The request is not UTF-8.") from error


def _sent_key(request: web.Request) -> str:
    scheme, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _saved_under(seen: Seen, public: bool) -> str | None:
    # Pages and servers have their keys apart, so that no page can ask for what a server was answered.
    return None if seen.idempotency_key is None else f"{'public' if public else 'secret'} {seen.idempotency_key}"


def _endpoint(seen: Seen) -> str:
    return f"{seen.method} {seen.path}"


def _fingerprint(fields: Fields) -> str:
    """What tells one request's parameters from another's. Of a card it knows the last four digits only."""
    return hashlib.sha256(msgspec.json.encode(_without_numbers(fields), order="deterministic")).hexdigest()


def _without_numbers(fields: Fields) -> Fields:
    kept: Fields = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            kept[name] = _without_numbers(value)
        elif name != "cvc":
            kept[name] = value[-4:] if name == "number" else value
    return kept


def _error(refusal: Refusal, *, public: bool = False) -> str:
    body = msgspec.to_builtins(refusal.body)
    if public and "payment_intent" in body:
        intent = body["payment_intent"]
        body["payment_intent"] = {name: intent[name] for name in intent if name in PUBLIC_INTENT_FIELDS}
    return msgspec.json.encode({"error": body}).decode()


def refused(refusal: Refusal) -> web.Response:
    """A refusal outside of any operation."""
    return web.Response(status=refusal.status, text=_error(refusal), headers=CORS, content_type="application/json")


def _response(seen: Seen, answer: _Answer) -> web.Response:
    headers = {**CORS, "Request-Id": seen.id, "Stripe-Version": API_VERSION, "Cache-Control": "no-store"}
    if seen.idempotency_key is not None:
        headers["Original-Request"] = answer.replay_of or seen.id
    if answer.replay_of is not None:
        headers["Idempotent-Replayed"] = "true"
    if answer.saved and answer.status == 500:
        # The same key would be given the same 500: Stripe tells its SDKs not to try.
        headers["Stripe-Should-Retry"] = "false"
    return web.Response(status=answer.status, text=answer.body, headers=headers, content_type="application/json")
