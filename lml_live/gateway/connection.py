"""The live socket's door: who may open one, and the handshake."""

import asyncio
import base64
import hashlib
import itertools
import os
import socket
import time
from typing import Any, Final, cast

from aiohttp import web

from lml_live import limits
from lml_live.errors import Forbidden, Overloaded, Unavailable
from lml_live.gateway import wire
from lml_live.gateway.audience import Audience, Subscriber, unheard
from lml_live.gateway.callers import origin_of
from lml_live.gateway.conversation import Conversation
from lml_live.gateway.live import Live
from lml_live.guard.throttle import AddressCaps
from lml_live.infra.telemetry import METRICS

_WORKER: Final = f"{os.getpid():x}{time.time_ns() & 0xFFFFF:x}"
"""Tells this worker's requests from another's in the log."""
_numbers = itertools.count(1)
_ACCEPT_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""


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
) -> web.StreamResponse:
    """One live socket from handshake to close. Raises `LmlError` before the upgrade only.

    `mark` stands for the network address where that is counted (`AddressOf.mark`).
    """
    doorman.refuse_origin(request.headers.get("Origin"), request.host)
    audience = await live.audience(request.match_info["event"])
    doorman.enter(address)
    try:
        await live.turnstile.enter(half_in=False)
        if live.leaving:
            raise Unavailable("This server is being restarted.", retry_after_ms=limits.RETRY_AFTER_MS)
        return await _converse(request, live, audience, mark)
    finally:
        doorman.leave(address)


async def _converse(request: web.Request, live: Live, audience: Audience, mark: str) -> web.StreamResponse:
    response, fmt = _accept(request)
    if response is None:
        # Says in the framework's words what the handshake lacks.
        await web.WebSocketResponse().prepare(request)
        raise Unavailable("The handshake was refused.")
    await response.prepare(request)
    transport = request.transport
    if transport is None:
        return response
    _bound_buffers(transport)
    subscriber = Subscriber(transport, fmt, f"{_WORKER}:{next(_numbers)}:")
    audience = live.join(audience, subscriber)
    conversation = Conversation(live, audience, subscriber, mark, origin_of(request))
    # From here on the framework hands over what comes in as it is, what came with the handshake first.
    request.protocol.set_parser(cast(Any, conversation))
    try:
        await conversation.run()
    finally:
        live.leave(conversation.audience, subscriber)
        subscriber.hang_up = unheard  # else they would refer to each other for ever: see collector.py
    return response


def _accept(request: web.Request) -> tuple[web.StreamResponse | None, wire.Format]:
    """The answer to a handshake, and the format agreed on; None where it is no good handshake."""
    ready = web.WebSocketResponse(protocols=tuple(wire.FORMATS)).can_prepare(request)
    if not ready.ok:
        return None, wire.JSON
    key = request.headers["Sec-WebSocket-Key"].encode() + _ACCEPT_SUFFIX
    response = web.StreamResponse(status=101)
    response.headers["Upgrade"] = "websocket"
    response.headers["Connection"] = "upgrade"
    response.headers["Sec-WebSocket-Accept"] = base64.b64encode(hashlib.sha1(key).digest()).decode()  # noqa: S324
    if ready.protocol is not None:
        response.headers["Sec-WebSocket-Protocol"] = ready.protocol
    response.force_close()
    return response, wire.FORMATS.get(ready.protocol or "", wire.JSON)


def _bound_buffers(transport: asyncio.Transport) -> None:
    """Makes a stalled reader show after 100 KB instead of 3.9 MB (performance.md, Slow consumers)."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.SOCKET_SEND_BUFFER_BYTES)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.SOCKET_UNSENT_BYTES)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
