"""The client over gevent and wsproto: opens sockets, carries out what `lml_live.client.protocol` decides, no more.

The same protocol as under asyncio, in a shell whose calls block their greenlet. It needs no monkey patching.
"""

import contextlib
import secrets
import time
from collections.abc import Callable
from random import SystemRandom
from socket import IPPROTO_TCP, SHUT_RDWR, SOCK_STREAM, TCP_NODELAY
from types import TracebackType
from typing import Final, Self, cast
from urllib.parse import urlsplit

import gevent
from gevent import socket
from gevent.event import AsyncResult, Event
from gevent.lock import RLock
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from lml_live import errors
from lml_live.client import Answered, Effect, Effects, Ended, HoldResult, Protocol, Refusal
from lml_live.client.effects import Disconnect, Reconnect, Result, Send
from lml_live.client.picture import Picture
from lml_live.client.requests import AREA_REQUESTS, SEAT_REQUESTS
from lml_live.gateway import wire
from loadtests.bounds import ANSWER_SECONDS_MAX, JOIN_SECONDS_MAX, family_of, require_loopback

MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""As in the client over asyncio: five times the largest diff there can be."""
CONNECT_SECONDS_MAX: Final = 15.0
READ_BYTES: Final = 64 * 1024

_RANDOM: Final = SystemRandom()


class HandshakeError(Exception):
    """No socket came about; `status` is the HTTP answer, if there was one."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class GeventClient:
    """One viewer of one event, kept up to date over lost sockets by a greenlet of its own, until it is closed.

    `url` is the server's root, on this machine; `token` a holder's, or None for a new anonymous one. `listener` is
    called with every effect that is news, in order; it must not block. Requests raise `TimeoutError` where no answer
    came in time: their outcome is unknown then.
    """

    def __init__(
        self,
        url: str,
        event: str,
        *,
        token: str | None = None,
        fmt: wire.Format = wire.MSGPACK,
        listener: Callable[[Effect], None] | None = None,
        random: Callable[[], float] = _RANDOM.random,
    ) -> None:
        root = urlsplit(require_loopback(url))
        assert root.hostname is not None
        self._address = (root.hostname, root.port)
        self._host = root.netloc
        self._path = f"/api/v1/events/{event}/live"
        self._protocol = Protocol(event, fmt, random=random, new_key=secrets.token_hex, token=token)
        self._listener = listener
        self._line: _Line | None = None
        self._runner: gevent.Greenlet | None = None
        self._answers: dict[int, AsyncResult] = {}
        self._changed = Event()
        self._reconnect_ms = 0
        self.ended: Ended | None = None

    # --- The picture --------------------------------------------------------------------------------------------------

    @property
    def picture(self) -> Picture:
        """What this client knows. To be read only."""
        return self._protocol.picture

    @property
    def connected(self) -> bool:
        """Whether the picture is being kept up to date right now."""
        return self._protocol.live

    @property
    def token(self) -> str | None:
        """The holder's token as last renewed: with it another client acts for the same holder."""
        return self._protocol.token

    # --- Requests -----------------------------------------------------------------------------------------------------

    def hold(self, seats: SEAT_REQUESTS = (), areas: AREA_REQUESTS | None = None) -> HoldResult | Refusal:
        """Hold all of it or nothing; waits over reconnects."""
        return self._ask(*self._protocol.hold(_monotonic_ms(), seats, areas))

    def release(self, hold: str) -> HoldResult | Refusal:
        """Give back a hold."""
        return self._ask(*self._protocol.release(_monotonic_ms(), hold))

    def extend(self, hold: str) -> HoldResult | Refusal:
        """Put a hold's deadline off."""
        return self._ask(*self._protocol.extend(_monotonic_ms(), hold))

    def _ask(self, number: int, effects: Effects) -> HoldResult | Refusal:
        answer = self._answers[number] = AsyncResult()
        try:
            self._carry_out(effects)
            try:
                result: Result = answer.get(timeout=ANSWER_SECONDS_MAX)
            except gevent.Timeout as timeout:
                raise TimeoutError(f"no answer in {ANSWER_SECONDS_MAX:.0f} s") from timeout
        finally:
            del self._answers[number]
        return cast("HoldResult | Refusal", result)

    # --- Life ---------------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Connect, and wait for the first `welcome`. Raises `errors.Unavailable`, or `TimeoutError`."""
        self._runner = gevent.spawn(self._run)
        try:
            self.wait_for(lambda client: client.connected, JOIN_SECONDS_MAX)
        except BaseException:
            self.close()
            raise
        return self

    def wait_for(self, predicate: Callable[["GeventClient"], bool], seconds: float) -> None:
        """Wait until `predicate(self)` holds; it is asked after changes. Raises `TimeoutError`, or
        `errors.Unavailable` where the client has ended."""
        deadline = time.monotonic() + seconds
        while not predicate(self):
            if self.ended is not None:
                raise errors.Unavailable(self.ended.message)
            self._changed.clear()
            left = deadline - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                raise TimeoutError(f"not within {seconds:.0f} s")

    def close(self) -> None:
        """Close the socket; unanswered requests get `unavailable`. Does nothing the second time."""
        runner, self._runner = self._runner, None
        self._carry_out(self._protocol.close())
        if runner is not None:
            runner.kill()
            if isinstance(defect := runner.exception, Exception):
                raise defect

    def drop(self) -> None:
        """Lose the socket as a bad line would, without a farewell; the client comes back by itself."""
        if self._line is not None:
            self._line.cut()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._protocol.ended:
                try:
                    with gevent.Timeout(CONNECT_SECONDS_MAX, TimeoutError):
                        line = _Line(self._address, self._host, self._path, self._protocol.format)
                except HandshakeError as error:
                    self._carry_out(self._protocol.connect_failed(_monotonic_ms(), error.status))
                except (OSError, RemoteProtocolError):
                    self._carry_out(self._protocol.connect_failed(_monotonic_ms()))
                else:
                    self._converse(line)
                if not self._protocol.ended:
                    gevent.sleep(self._reconnect_ms / 1000)
        finally:
            # Whatever ended this greenlet, nobody is left waiting for an answer.
            self._carry_out(self._protocol.close())

    def _converse(self, line: "_Line") -> None:
        """Hand frames and time to the protocol until the socket is closed."""
        self._line = line
        try:
            self._carry_out(self._protocol.connected(_monotonic_ms()))
            while line.open and (wake_at_ms := self._protocol.wake_at_ms()) is not None:
                wait_ms = wake_at_ms - _monotonic_ms()
                if wait_ms <= 0:
                    self._carry_out(self._protocol.tick(_monotonic_ms()))
                    continue
                for payload in line.read(wait_ms / 1000):
                    self._carry_out(self._protocol.receive(payload, _monotonic_ms()))
        finally:
            self._line = None
            line.close()
        self._carry_out(self._protocol.disconnected(_monotonic_ms(), line.close_code))

    # --- Effects ------------------------------------------------------------------------------------------------------

    def _carry_out(self, effects: Effects) -> None:
        """News first, without a pause in between, so that the picture is whole whenever somebody looks at it."""
        for effect in effects:
            if isinstance(effect, Reconnect):
                self._reconnect_ms = effect.after_ms
            elif not isinstance(effect, Send | Disconnect):
                self._tell(effect)
        self._changed.set()
        for order in effects:
            line = self._line
            if line is None:
                return
            if isinstance(order, Send):
                line.send(order.payload)
            elif isinstance(order, Disconnect):
                line.leave(order.code, order.reason)

    def _tell(self, news: Effect) -> None:
        if isinstance(news, Answered):
            if (answer := self._answers.get(news.request)) is not None:
                answer.set(news.result)
        elif isinstance(news, Ended):
            self.ended = news
        if self._listener is not None:
            self._listener(news)


def _connect(address: tuple[str, int | None]) -> socket.socket:
    """Raises `OSError`."""
    family = family_of(address[0])
    if family is None:
        return socket.create_connection(address)
    made = socket.socket(family, SOCK_STREAM)
    try:
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made


class _Line:
    """One websocket: bytes in and out, frames by wsproto."""

    def __init__(self, address: tuple[str, int | None], host: str, path: str, fmt: wire.Format) -> None:
        """Raises `HandshakeError`, `OSError` or `RemoteProtocolError`."""
        self.close_code: int | None = None
        self._binary = fmt.binary
        self._parts: list[bytes | str] = []
        self._parts_bytes = 0
        self._writing = RLock()
        self._frames = WSConnection(ConnectionType.CLIENT)
        self._socket = _connect(address)
        self.open = True
        try:
            self._socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            self._write(ws.Request(host=host, target=path, subprotocols=[fmt.subprotocol]))
            self._shake_hands(fmt.subprotocol)
        except BaseException:
            self.close()
            raise

    def _shake_hands(self, subprotocol: str) -> None:
        while True:
            received = self._socket.recv(READ_BYTES)
            self._frames.receive_data(received or None)
            for event in self._frames.events():
                if isinstance(event, ws.AcceptConnection):
                    if event.subprotocol != subprotocol:
                        raise HandshakeError(None)
                    return
                if isinstance(event, ws.RejectConnection):
                    raise HandshakeError(event.status_code)
            if not received:
                raise HandshakeError(None)

    def read(self, seconds: float) -> list[bytes | str]:
        """The messages that came in, none where none did in time; sets `open` to False at the end."""
        messages: list[bytes | str] = []
        try:
            received = gevent.with_timeout(seconds, self._socket.recv, READ_BYTES, timeout_value=None)
            if received is None:
                return messages
            if not received:
                self.open = False
                return messages
            self._frames.receive_data(received)
            for event in self._frames.events():
                self._take(event, messages)
        except (OSError, RemoteProtocolError):
            self.open = False
        return messages

    def _take(self, event: ws.Event, messages: list[bytes | str]) -> None:
        if isinstance(event, ws.Message):
            self._parts_bytes += len(event.data)
            if self._parts_bytes > MESSAGE_BYTES_MAX:
                self.leave(wire.CLOSE_TOO_BIG, "a message beyond all measure")
                return
            self._parts.append(event.data)
            if event.message_finished:
                parts, self._parts, self._parts_bytes = self._parts, [], 0
                if len(parts) == 1:
                    messages.append(bytes(parts[0]) if isinstance(parts[0], bytearray) else parts[0])
                else:
                    binary = isinstance(event, ws.BytesMessage)
                    messages.append(b"".join(parts) if binary else "".join(parts))  # type: ignore[arg-type]
        elif isinstance(event, ws.Ping):
            self._write(event.response())
        elif isinstance(event, ws.CloseConnection):
            self.close_code = event.code
            self._write(event.response())
            self.open = False

    def send(self, payload: bytes) -> None:
        """One message. A socket that breaks now is noticed by whoever reads from it."""
        self._write(ws.BytesMessage(payload) if self._binary else ws.TextMessage(payload.decode()))

    def leave(self, code: int, reason: str) -> None:
        """Say farewell and close."""
        if self.open:
            self._write(ws.CloseConnection(code, reason))
            self.cut()

    def cut(self) -> None:
        """Let go of the line; its reader wakes up."""
        self.open = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(SHUT_RDWR)

    def close(self) -> None:
        self.open = False
        self._socket.close()

    def _write(self, event: ws.Event) -> None:
        # Two greenlets may write, and `sendall` pauses where the peer is slow: frames must not get into one another.
        with contextlib.suppress(OSError, LocalProtocolError), self._writing:
            self._socket.sendall(self._frames.send(event))
