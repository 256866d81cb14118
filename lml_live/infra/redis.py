"""One pipe to Redis or Valkey: the calls of one loop tick go out in one write, answers come back in order.

Why our own: the `redis` client's asyncio connection costs about 46 µs of Python a call, this one 1.5–2 µs
(performance.md, section 1), and holds are what the product exists for. Everything around it is the library's: URLs
are read by `redis`, answers by `hiredis`.

A pipe is one connection. It reconnects by itself, and each connection has a `generation` and the server's `run_id`:
whoever keeps facts about the data compares them, because a Redis that came back may have lost or regained anything.
"""

import asyncio
import hashlib
import logging
import re
import ssl
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, cast

import hiredis
import msgspec
from redis.asyncio.connection import parse_url

from lml_live import limits
from lml_live.errors import Overloaded, Unavailable
from lml_live.infra.assets import asset_dir, asset_text

log = logging.getLogger(__name__)

Part = bytes | str | int


class StoreFault(Exception):
    """Redis refused a call for a reason that is a defect of ours (a broken script, a wrong type)."""


class Script(msgspec.Struct, frozen=True):
    """One Lua script: its text with what it includes, and its SHA-1, by which Redis knows it."""

    name: str
    text: str
    sha: str


def load_script(name: str) -> Script:
    """`lua/{name}.lua`, with the files its `-- INCLUDE` lines name put before it."""
    body = asset_text("lua", f"{name}.lua")
    includes = [line.split()[2] for line in body.splitlines() if line.startswith("-- INCLUDE ")]
    text = "".join(asset_text("lua", "include", f"{include}.lua") + "\n" for include in includes) + body
    return Script(name, text, hashlib.sha1(text.encode()).hexdigest())  # noqa: S324  # Redis names scripts by SHA-1


def load_scripts() -> dict[str, Script]:
    """Every script of `lua/`, by name."""
    return {path.stem: load_script(path.stem) for path in sorted(asset_dir("lua").glob("*.lua"))}


# What Redis says when it cannot serve now, and may serve the same call later.
_PASSING: Final = (
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "READONLY",
    "OOM",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "MISCONF",
)


def encode_call(parts: Sequence[Part]) -> bytes:
    """One command as RESP bytes."""
    out = [b"*%d\r\n" % len(parts)]
    for part in parts:
        data = part if type(part) is bytes else str(part).encode()
        out.append(b"$%d\r\n" % len(data))
        out.append(data)
        out.append(b"\r\n")
    return b"".join(out)


class Pipe:
    """A self-healing connection that carries calls in order.

    `call` answers a future. Errors: `Unavailable` while there is no connection, when it broke before the answer (the
    outcome is then unknown) or when Redis cannot serve now; `Overloaded` at `limits.REDIS_CALLS_MAX` waiting calls;
    `StoreFault` for defects.
    """

    def __init__(self, url: str, scripts: dict[str, Script], *, name: str = "lml") -> None:
        self._options: dict[str, Any] = dict(parse_url(url))
        self._scripts = scripts
        self._name = name
        self._connection: _Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self.generation = 0
        self.run_id = ""

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def start(self) -> None:
        """Connects, and keeps connecting in the background. Raises `Unavailable` where the first try fails."""
        await self._connect()
        self._keeper = asyncio.create_task(self._keep(), name="redis pipe")

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._connection is not None:
            self._connection.on_lost = None  # it is not lost, it is done with
            self._connection.abort("the pipe was closed")
            self._connection = None

    def call(self, *parts: Part) -> asyncio.Future[Any]:
        """Sends one command with the others of this loop tick."""
        if self._connection is None:
            raise Unavailable("Redis cannot be reached.", retry_after_ms=limits.RETRY_AFTER_MS)
        return self._connection.call(encode_call(parts))

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Part]) -> list[Any]:
        """Runs a script and answers its list. A script that Redis forgot is loaded again: it had not run."""
        sha = self._scripts[script].sha
        try:
            answer: list[Any] = await self.call(b"EVALSHA", sha, len(keys), *keys, *args)
        except _ScriptForgotten:
            await self.call(b"SCRIPT", b"LOAD", self._scripts[script].text)
            try:
                answer = await self.call(b"EVALSHA", sha, len(keys), *keys, *args)
            except _ScriptForgotten as error:
                raise Unavailable("Redis keeps no scripts.", retry_after_ms=limits.RETRY_AFTER_MS) from error
        return answer

    async def _connect(self) -> None:
        connection = await _open(self._options)
        try:
            async with asyncio.timeout(limits.REDIS_CONNECT_SECONDS):
                run_id = await self._greet(connection)
            if connection.closed:
                raise Unavailable("it went away again")
        except (TimeoutError, Unavailable, StoreFault) as error:
            connection.abort("the greeting failed")
            raise Unavailable(f"Redis does not serve: {error}", retry_after_ms=limits.RETRY_AFTER_MS) from error
        except BaseException:
            connection.abort("the greeting was ended")
            raise
        self.run_id = run_id
        self.generation += 1
        self._lost.clear()
        connection.on_lost = self._on_lost
        self._connection = connection

    async def _greet(self, connection: "_Connection") -> str:
        """Signs in, loads the scripts, and answers the server's run_id."""
        password, user = self._options.get("password"), self._options.get("username")
        if password:
            await connection.call(encode_call([b"AUTH", *([user] if user else []), password]))
        if self._options.get("db"):
            await connection.call(encode_call([b"SELECT", self._options["db"]]))
        await connection.call(encode_call([b"CLIENT", b"SETNAME", self._name]))
        if scripts := list(self._scripts.values()):
            # Compiling them all costs Redis some 30 ms: only those that it does not have.
            known = await connection.call(encode_call([b"SCRIPT", b"EXISTS", *(script.sha for script in scripts)]))
            for script, is_known in zip(scripts, known, strict=True):
                if not is_known:
                    await connection.call(encode_call([b"SCRIPT", b"LOAD", script.text]))
        info = await connection.call(encode_call([b"INFO", b"server"]))
        found = re.search(rb"^run_id:(\w+)\r?$", info, re.MULTILINE) if isinstance(info, bytes) else None
        if found is None:
            raise StoreFault("it does not tell its run_id")
        return found[1].decode()

    def _on_lost(self, reason: str) -> None:
        log.warning("redis connection lost: %s", reason)
        self._connection = None
        self._lost.set()

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            delay = limits.REDIS_RECONNECT_SECONDS_MIN
            while self._connection is None:
                try:
                    await self._connect()
                    log.info("redis connected, run_id %s", self.run_id)
                except Unavailable:
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, limits.REDIS_RECONNECT_SECONDS_MAX)


class _ScriptForgotten(Exception):
    """NOSCRIPT: Redis does not know the script's SHA-1; nothing was run."""


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._suspect: asyncio.Future[Any] | None = None
        self.on_lost: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports do what asyncio's promise without being their subclasses.
        self._transport = cast(asyncio.Transport, transport)
        self._watch = self._loop.call_later(limits.REDIS_WATCH_SECONDS, self._check)

    @property
    def closed(self) -> bool:
        return self._transport is None

    def call(self, command: bytes) -> asyncio.Future[Any]:
        if self._transport is None:
            # Nobody would ever answer.
            raise Unavailable("Redis cannot be reached.", retry_after_ms=limits.RETRY_AFTER_MS)
        if len(self._waiting) >= limits.REDIS_CALLS_MAX:
            raise Overloaded("The server is at its limit.", retry_after_ms=limits.RETRY_AFTER_MS)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((future, time.monotonic()))
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(command)
        return future

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is not None and unsent:
            self._transport.write(b"".join(unsent))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while True:
            try:
                answer = self._reader.gets()
            except hiredis.ProtocolError as error:
                self.abort(f"unreadable answer: {error}")
                return
            if answer is False:
                return
            if not self._waiting:
                self.abort("an answer that nobody asked for")
                return
            future, _ = self._waiting.popleft()
            if future.done():
                continue  # the caller gave up waiting
            if isinstance(answer, hiredis.ReplyError):
                future.set_exception(_translate(answer))
            else:
                future.set_result(answer)

    def _check(self) -> None:
        """One timer a connection, not one a call: an answer that is too late ends the connection.

        It is looked for twice: after a pause of this process the answer may lie in the socket, still unread.
        """
        late = bool(self._waiting) and time.monotonic() - self._waiting[0][1] > limits.REDIS_CALL_SECONDS
        if late and self._suspect is self._waiting[0][0]:
            self.abort(f"no answer for {limits.REDIS_CALL_SECONDS} s")
            return
        self._suspect = self._waiting[0][0] if late else None
        self._watch = self._loop.call_later(limits.REDIS_WATCH_SECONDS, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        self.abort(str(exc) if exc else "closed by the server")

    def abort(self, reason: str) -> None:
        """Ends the connection; every call without an answer fails as `Unavailable`, its outcome unknown."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(
                    Unavailable("Redis did not answer; the outcome is unknown.", retry_after_ms=limits.RETRY_AFTER_MS)
                )
                future.exception()  # a caller that gave up does not make asyncio complain
        if self.on_lost is not None:
            on_lost, self.on_lost = self.on_lost, None
            on_lost(reason)


def _translate(reply: hiredis.ReplyError) -> Exception:
    text = str(reply)
    if text.startswith("NOSCRIPT"):
        return _ScriptForgotten(text)
    if text.startswith(_PASSING):
        return Unavailable(f"Redis cannot serve now ({text.split()[0]}).", retry_after_ms=limits.RETRY_AFTER_MS)
    return StoreFault(text)


async def _open(options: dict[str, Any]) -> _Connection:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limits.REDIS_CONNECT_SECONDS):
            if "path" in options:
                _, connection = await loop.create_unix_connection(_Connection, options["path"])
            else:
                secure = ssl.create_default_context() if "connection_class" in options else None
                _, connection = await loop.create_connection(
                    _Connection, options.get("host", "127.0.0.1"), options.get("port", 6379), ssl=secure
                )
    except (OSError, TimeoutError) as error:
        raise Unavailable("Redis cannot be reached.", retry_after_ms=limits.RETRY_AFTER_MS) from error
    return connection
