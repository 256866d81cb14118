"""The live socket's shell: handshake, frames in, effects out. It decides nothing; `session` and `live` do."""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import time
from typing import Final, assert_never

from aiohttp import WSMsgType, web
from msgspec import Struct

from lml_live import limits
from lml_live.errors import Forbidden, LmlError, NotFound, Overloaded, Unavailable
from lml_live.gateway import wire
from lml_live.gateway.acts import show_changed
from lml_live.gateway.audience import Audience, Subscriber
from lml_live.gateway.live import Live
from lml_live.gateway.session import Act, Effect, Greet, Hang, Say, Session
from lml_live.guard.throttle import AddressCaps
from lml_live.infra.telemetry import METRICS
from lml_live.inventory.holds import Changed, Refusal
from lml_live.inventory.rooms import STAFF, view_of

log = logging.getLogger(__name__)

_WORKER: Final = f"{os.getpid():x}{time.time_ns() & 0xFFFFF:x}"
"""Tells this worker's requests from another's in the log."""
_ANSWERS: Final[dict[type[Struct], type[wire.Held] | type[wire.Released] | type[wire.Extended]]] = {
    wire.HoldRequest: wire.Held,
    wire.HoldBest: wire.Held,
    wire.Release: wire.Released,
    wire.Extend: wire.Extended,
}
_numbers = itertools.count(1)
_NEVER_SENT: Final = 1006
"""Says that a connection ended without a close frame, so no close frame may bear it (RFC 6455, 7.4.1)."""


OneEvent = wire.HoldRequest | wire.HoldBest | wire.Release | wire.Extend
Request = OneEvent | wire.GroupRequest
Outcome = Changed | Refusal | wire.GroupChanged | wire.Error


class Doorman:
    """Who may open a socket: origins and caps."""

    def __init__(self, origins: tuple[str, ...], caps: AddressCaps) -> None:
        self._origins = origins
        self._caps = caps
        self._open = 0

    def refuse_origin(self, origin: str | None, host: str) -> None:
        """Raises `Forbidden` for a browser page of another origin. Absent: not a browser."""
        if origin is None or "*" in self._origins or origin.rstrip("/") in self._origins:
            return
        if origin in (f"http://{host}", f"https://{host}"):
            return
        raise Forbidden("This origin may not open a live socket here.")

    def enter(self, address: str) -> None:
        """Counts a socket in. Raises `Overloaded` at a cap."""
        if self._open >= limits.SOCKETS_MAX or not self._caps.enter(address):
            raise Overloaded("Too many sockets.", retry_after_ms=limits.BYE_MS)
        self._open += 1
        METRICS.sockets.set(self._open)

    def leave(self, address: str) -> None:
        self._caps.leave(address)
        self._open -= 1
        METRICS.sockets.set(self._open)


async def serve_socket(
    request: web.Request, live: Live, doorman: Doorman, address: str, mark: str = ""
) -> web.WebSocketResponse:
    """One live socket from handshake to close. Raises `LmlError` before the upgrade only. `mark`: see `AddressOf.mark`."""
    doorman.refuse_origin(request.headers.get("Origin"), request.host)
    audience = await live.audience(request.match_info["event"])
    doorman.enter(address)
    try:
        return await _converse(request, live, audience, mark)
    finally:
        doorman.leave(address)


async def _converse(request: web.Request, live: Live, audience: Audience, mark: str) -> web.WebSocketResponse:
    response = web.WebSocketResponse(
        protocols=tuple(wire.FORMATS),
        max_msg_size=limits.MESSAGE_BYTES_MAX,
        compress=False,
        autoping=False,
        autoclose=False,  # the framework would take 1006 for a farewell
        timeout=limits.CLOSE_SECONDS,
    )
    await response.prepare(request)
    transport = request.transport
    if transport is None:
        return response
    _bound_buffers(transport)
    fmt = wire.FORMATS.get(response.ws_protocol or "", wire.JSON)
    subscriber = Subscriber(transport, fmt, f"{_WORKER}:{next(_numbers)}:")
    audience = live.join(audience, subscriber)
    conversation = _Conversation(live, audience, subscriber, response, mark)
    try:
        await conversation.run()
    finally:
        live.leave(conversation.audience, subscriber)
    return response


class _Conversation:
    def __init__(
        self, live: Live, audience: Audience, subscriber: Subscriber, response: web.WebSocketResponse, mark: str
    ) -> None:
        self._live = live
        self.audience = audience
        self._subscriber = subscriber
        self._response = response
        self._mark = mark
        self._session = Session(live.tokens, live.clock())
        self._closing: tuple[int, str] | None = None
        self._task = asyncio.current_task()
        self._reading = False
        self._hung_up = False
        subscriber.hang_up = self._hang_up

    def _hang_up(self, code: int) -> None:
        """Somebody else ends the conversation: wakes the reader, which closes."""
        if self._hung_up:
            return  # woken twice, it would take the second call for somebody else's
        self._closing = (code, "")
        self._hung_up = True
        if self._reading and self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        try:
            async with asyncio.timeout(limits.HELLO_SECONDS_MAX) as patience:
                while self._closing is None:
                    message = await self._read()
                    if message is None:
                        return
                    await self._handle(message)
                    if self._session.holder is not None:
                        patience.reschedule(None)
        except TimeoutError:
            if not patience.expired():
                raise
            self._closing = (wire.CLOSE_POLICY, "no hello")
        finally:
            await self._close()

    async def _read(self) -> bytes | None:
        """The next message's payload, or None at the end. Pings are answered here."""
        while self._closing is None:
            self._reading = True
            try:
                message = await self._response.receive()
            except asyncio.CancelledError:
                if not self._hung_up or self._task is None:
                    raise
                self._task.uncancel()
                return None
            finally:
                self._reading = False
            self._subscriber.heard = time.monotonic()
            match message.type:
                case WSMsgType.TEXT if not self._subscriber.format.binary:
                    text: str = message.data
                    return text.encode()
                case WSMsgType.BINARY if self._subscriber.format.binary:
                    return bytes(message.data)
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    self._closing = (wire.CLOSE_UNSUPPORTED, "the other frame type was agreed on")
                case WSMsgType.PING:
                    if (hang := self._session.pinged(self._live.clock())) is not None:
                        await self._carry_out(hang)
                    else:
                        with contextlib.suppress(ConnectionError):  # it left while it asked
                            await self._response.pong(message.data)
                case WSMsgType.PONG:
                    pass
                case WSMsgType.CLOSE if message.data == _NEVER_SENT:
                    self._closing = (wire.CLOSE_PROTOCOL_ERROR, "1006 is never sent")
                case WSMsgType.CLOSE:
                    self._closing = (wire.CLOSE_NORMAL, "")
                case _:
                    return None
        return None

    async def _handle(self, payload: bytes) -> None:
        effect = self._session.receive(payload, self._subscriber.format, self._live.clock())
        METRICS.count_message(type(effect).__name__.lower())
        await self._carry_out(effect)

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Say(message):
                self._subscriber.send(message)
            case Hang(code, reason, message):
                if message is not None:
                    self._subscriber.send(message)
                self._closing = (code, reason)
            case Greet():
                await self._greet(effect)
            case Act(request):
                await self._act(request)
            case _:
                assert_never(effect)

    async def _greet(self, greet: Greet) -> None:
        subscriber = self._subscriber
        subscriber.deflate = greet.deflate
        try:
            if greet.credential is not None:
                known = self._session.introduced(greet, await self._live.identify(greet.credential))
                if isinstance(known, Hang):
                    await self._carry_out(known)
                    return
                greet, subscriber.staff_token = known, known.credential
            subscriber.channel = greet.channel
            view = view_of(greet.channel) if greet.credential is None else STAFF
            self.audience = self._live.enter(self.audience, subscriber, view)
            await self._live.welcome(self.audience, subscriber, self._session, greet)
        except (Unavailable, NotFound) as error:
            self._subscriber.send(wire.Error(code=error.code, message=error.message, retry_after_ms=limits.BYE_MS))
            self._subscriber.send(wire.Bye(reason="unavailable", retry_after_ms=limits.BYE_MS))
            self._closing = (wire.CLOSE_TRY_LATER, "unavailable")

    async def _act(self, request: Request) -> None:
        started = time.perf_counter()
        subscriber = self._subscriber
        origin = subscriber.asked = f"{subscriber.origin}{request.id}"
        name = str(type(request).__struct_config__.tag)
        try:
            outcome = await self._ask(request, origin)
        except Unavailable as error:
            self._not_asked(origin)
            outcome = Refusal(error.code, error.message, retry_after_ms=error.retry_after_ms)
        except LmlError as error:
            outcome = Refusal(error.code, error.message)
        except Exception:  # the socket loop: one request's defect must not end the socket in silence (style.md, 14)
            log.exception("a %s failed", name)
            self._not_asked(origin)
            outcome = Refusal("unavailable", "The server failed; the outcome is unknown.", retry_after_ms=1000)
        subscriber.asked = ""
        kept_back, subscriber.asked_news = subscriber.asked_news, None
        self._answer(request, outcome)
        ended = outcome.code if isinstance(outcome, Refusal | wire.Error) else "ok"
        if kept_back is not None and ended != "ok":
            self.audience.send_hold_changed(subscriber, kept_back)
        METRICS.count_act(name, ended, time.perf_counter() - started)

    async def _ask(self, request: Request, origin: str) -> Outcome:
        event, holder, acts = self.audience.event, self._session.holder, self._live.acts
        through = self._session.channel
        assert holder is not None
        match request:
            case wire.HoldRequest():
                return await acts.hold(
                    event,
                    holder,
                    request.seats,
                    request.areas,
                    into=request.into,
                    replace=request.replace,
                    key=request.key,
                    origin=origin,
                    through=through,
                    address=self._mark,
                )
            case wire.HoldBest():
                return await self._live.best.hold_best(
                    *(event, holder, request), key=request.key, origin=origin, through=through, address=self._mark
                )
            case wire.Release():
                return await acts.release(event, holder, request.hold, request.seats, request.areas, origin=origin)
            case wire.Extend():
                return await acts.extend(event, holder, request.hold, origin=origin)
            case _:
                desk, whence = self.audience.desk, self._mark
                return await self._live.groups.ask(desk, holder, request, origin, through, whence)

    def _not_asked(self, origin: str) -> None:
        """The outcome is unknown: should the request have worked all the same, its holder is told of the change."""
        unknown = self._subscriber.unknown_origins
        if len(unknown) >= limits.UNKNOWN_ORIGINS_MAX:
            unknown.clear()
        unknown.add(origin)

    def _answer(self, request: Request, outcome: Outcome) -> None:
        if isinstance(outcome, wire.GroupChanged | wire.Error):
            self._subscriber.send(outcome)
            return
        if isinstance(outcome, Refusal):
            self._subscriber.send(
                wire.Error(
                    id=request.id,
                    code=outcome.code,
                    message=outcome.message,
                    seats=outcome.seats,
                    areas=outcome.areas,
                    retry_after_ms=outcome.retry_after_ms,
                )
            )
            return
        kind = _ANSWERS[type(request)]
        self._subscriber.send(
            kind(
                id=request.id,
                epoch=str(outcome.epoch),
                seq=outcome.seq,
                hold=show_changed(self.audience.desk, outcome),
                now_ms=outcome.now_ms,
            )
        )

    async def _close(self) -> None:
        """Closes in bounded time; what the peer does not read is dropped with the socket."""
        if self._response.closed or self._subscriber.gone:
            return
        code, reason = self._closing or (wire.CLOSE_GOING_AWAY, "")
        try:
            async with asyncio.timeout(limits.CLOSE_SECONDS):
                await self._response.close(code=code, message=reason.encode())
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._subscriber.transport.close()


def _bound_buffers(transport: asyncio.Transport) -> None:
    """Makes a stalled reader show after 100 KB instead of 3.9 MB (performance.md, Slow consumers)."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.SOCKET_SEND_BUFFER_BYTES)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.SOCKET_UNSENT_BYTES)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
