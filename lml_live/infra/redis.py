"""One pipe to Redis or Valkey: the calls of one loop tick go out in one write, answers come back in order.

Why our own: the `redis` client's asyncio connection costs about 46 µs of Python a call, this one 1.5–2 µs
(performance.md, section 1), and holds are what the product exists for. Answers are read by the library's `hiredis`;
through `redis` itself sentinels and clusters are asked where things are, and pub/sub is heard.

A pipe is one connection. It reconnects by itself, and each connection has a `generation` and the server's `run_id`:
whoever keeps facts about the data compares them, because a Redis that came back may have lost or regained anything.

One pipe is also the simplest `redis_topology.Topology`: a Redis of one node, at a fixed address.
"""

import asyncio
import contextlib
import hashlib
import logging
import re
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import hiredis
import msgspec

from lml_live import limits
from lml_live.errors import LmlError, Overloaded, Unavailable
from lml_live.infra.assets import asset_dir, asset_text
from lml_live.infra.redis_address import read_node

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

Part = bytes | str | int


class StoreFault(Exception):
    """Redis refused a call for a reason that is a defect of ours (a broken script, a wrong type)."""


class Misplaced(Unavailable):
    """The node asked is not, or not yet, the one that may change the key: nothing was run."""


class Script(msgspec.Struct, frozen=True):
    """One Lua script: its text with what it includes, and its SHA-1, by which Redis knows it."""

    name: str
    text: str
    sha: str

    @property
    def appends(self) -> bool:
        """Whether it may append to an event's log."""
        return "'XADD'" in self.text


def load_script(name: str) -> Script:
    """`lua/{name}.lua`, with what it needs of the files that its `-- INCLUDE` lines name put before it.

    A script's functions are made anew by every call, at some 0.1 µs each: those that it does not need are left out, and
    those that a `-- SELDOM` line names are made together when one of them is called.
    """
    body = asset_text("lua", f"{name}.lua")
    includes = [include for line in _named(body, "INCLUDE") for include in line]
    statements = [
        part for include in includes for part in statements_of(asset_text("lua", "include", f"{include}.lua"))
    ]
    needed, kept = _words(body), list[str]()
    for statement in reversed(statements):  # each may use what stands above it
        if needed & _defined(statement):
            needed |= _words(statement)
            kept.append(statement)
    kept.reverse()
    for seldom in _named(body, "SELDOM"):
        kept, body = _made_when_called(seldom, kept, body)
    text = "".join([*kept, body])
    return Script(name, text, hashlib.sha1(text.encode()).hexdigest())  # noqa: S324  # Redis names scripts by SHA-1


def _named(body: str, word: str) -> list[list[str]]:
    """The names in each line `-- {word} …` of a script."""
    return [line.split()[2:] for line in body.splitlines() if line.startswith(f"-- {word} ")]


def _made_when_called(seldom: Sequence[str], statements: Sequence[str], body: str) -> tuple[list[str], str]:
    """The statements and the body of a script, these functions inside one that makes them for whoever calls one."""
    maker, made = f"make_{seldom[0]}", ", ".join(f"{name} = {name}" for name in seldom)
    call = re.compile(rf"\b({'|'.join(seldom)})\(")
    inner = [statement for statement in statements if _defined(statement) & {*seldom}]
    assert len(inner) == len(seldom), f"not all of {seldom} are there, and needed"
    *outer, body = (call.sub(rf"{maker}().\1(", part) for part in (*statements, body) if part not in inner)
    making = f"function {maker}()\n{''.join(inner)}return {{{made}}}\nend\n"
    return [f"local {maker}\n", *outer, making], body


def statements_of(include: str) -> list[str]:
    """The `local` statements of an include, which is made of nothing else, each with the comment above it."""
    return re.findall(
        r"(?:^--.*\n)*^local function \w+\(.*\) (?!.*\bfunction\b).*\bend\n"  # in one line
        r"|(?:^--.*\n)*^local function \w+\((?:.*\n)+?^end\n"
        r"|(?:^--.*\n)*^local (?!function\b).*\n(?:^ +.*\n)*",
        include,
        re.MULTILINE,
    )


def _defined(statement: str) -> set[str]:
    """The names that a statement makes."""
    found = re.search(r"^(?:local )?(?:function (\w+)|([\w, ]+))", statement, re.MULTILINE)
    assert found is not None
    return set(re.split(r"\W+", (found[1] or found[2]).strip()))


def _words(code: str) -> set[str]:
    """The names that a piece of Lua may mean: every word outside of its comments."""
    return set(re.findall(r"\w+", re.sub(r"--.*", "", code)))


def load_scripts() -> dict[str, Script]:
    """Every script of `lua/`, by name."""
    return {path.stem: load_script(path.stem) for path in sorted(asset_dir("lua").glob("*.lua"))}


# What Redis says when it cannot serve now, and may serve the same call later.
_PASSING: Final = ("LOADING", "BUSY", "OOM", "NOREPLICAS", "MISCONF")
# What a node says that is not the one to ask, or is about to be it no longer.
_MISPLACED: Final = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "MASTERDOWN")


def encode_call(parts: Sequence[Part]) -> bytes:
    """One command as RESP bytes."""
    packed: bytes = hiredis.pack_command(cast(Any, tuple(parts)))
    return packed


class Sink(Protocol):
    """What an answer is given to as soon as it is read: a future, or whoever shares one answer out to several."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, exception: Exception, /) -> None: ...


class Prepared(msgspec.Struct, frozen=True):
    """A script's call as far as it is always the same: its keys and first arguments, encoded once."""

    count: int
    """Its parts, which the last arguments are added to."""
    encoded: bytes


class Pipe:
    """A self-healing connection that carries calls in order.

    `call` answers a future. Errors: `Unavailable` while there is no connection, when it broke before the answer (the
    outcome is then unknown) or when Redis cannot serve now; `Overloaded` at `limits.REDIS_CALLS_MAX` waiting calls;
    `StoreFault` for defects.

    `address` is a URL, or what `read_node` makes of one: host, port, password and so on.
    """

    def __init__(self, address: str | Mapping[str, Any], scripts: dict[str, Script], *, name: str = "lml") -> None:
        self._options: dict[str, Any] = dict(read_node(address) if isinstance(address, str) else address)
        self._scripts = scripts
        self._name = name
        self._connection: _Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._found = asyncio.Event()
        self.generation = 0
        self.run_id = ""
        self.skew_ms = 0
        """PostgreSQL's clock less this Redis's as last measured, 0 while they agree (`inventory.upkeep` measures)."""
        self.on_lost: Callable[[], None] = lambda: None
        """Told that the connection broke; the pipe looks for the next one by itself."""

    # --- What a topology of one node is (`redis_topology.Topology`)

    def of(self, tag: str) -> "Pipe":
        """The pipe of the node whose keys have this hash tag."""
        return self

    def spread(self, tags: Iterable[str]) -> "list[tuple[Pipe, list[str]]]":
        """The tags by pipe, in groups whose keys one command may name together."""
        return [(self, list(tags))]

    def nodes(self) -> "list[Pipe]":
        return [self]

    async def confirm(self, tag: str) -> None:
        """Nobody is asked about the one node there is."""

    # --- The connection

    @property
    def place(self) -> str:
        """The node's address in words, without a password."""
        path: str = self._options.get("path", "")
        return path or f"{self._options.get('host', 'localhost')}:{self._options.get('port', 6379)}"

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def start(self) -> None:
        """Connects, and keeps connecting in the background. Raises `Unavailable` where the first try fails."""
        await self._connect()
        self._keeper = asyncio.create_task(self._keep(), name="redis pipe")

    def start_later(self) -> None:
        """Connects in the background, whenever the node answers."""
        self._lost.set()
        self._keeper = asyncio.create_task(self._keep(), name="redis pipe")

    async def ready(self) -> None:
        """Waits until the pipe is connected. Raises `TimeoutError`."""
        async with asyncio.timeout(limits.REDIS_CONNECT_SECONDS):
            await self._found.wait()

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._connection is not None:
            self._connection.on_lost = None  # it is not lost, it is done with
            self._connection.abort("the pipe was closed")
            self._connection = None

    def reconnect(self, reason: str) -> None:
        """Ends the connection, so that the node to talk to is looked for anew."""
        if self._connection is not None:
            self._connection.abort(reason)

    def call(self, *parts: Part) -> asyncio.Future[Any]:
        """Sends one command with the others of this loop tick."""
        if self._connection is None:
            raise Unavailable("Redis cannot be reached.", retry_after_ms=limits.RETRY_AFTER_MS)
        return self._connection.call(encode_call(parts))

    def publish(self, channel: str, message: str) -> None:
        """Publishes a message, should there be a connection: nobody relies on its arriving."""
        with contextlib.suppress(LmlError):
            self.call(b"PUBLISH", channel, message).add_done_callback(_forget_outcome)

    def client(self) -> "Redis":
        """The library's client of the same node, for what a pipe cannot do: to be closed by the caller."""
        from redis.asyncio import Redis  # not above: it takes a tenth of a second
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        options = self._options
        return Redis(
            host=options.get("host", "localhost"),
            port=options.get("port", 6379),
            unix_socket_path=options.get("path"),
            username=options.get("username"),
            password=options.get("password"),
            ssl=bool(options.get("secure")),
            socket_connect_timeout=limits.REDIS_CONNECT_SECONDS,
            # None, and a timeout around each call: it is kept by `asyncio.wait_for`, which may swallow a cancellation.
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
            client_name=self._name,
            decode_responses=True,
            encoding_errors="replace",
            protocol=2,
        )

    def appends(self, script: str) -> bool:
        """Whether a script may append to an event's log."""
        return self._scripts[script].appends

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Part]) -> list[Any]:
        """Runs a script and answers its list. A script that Redis forgot is loaded again: it had not run."""
        sha = self._scripts[script].sha
        try:
            answer: list[Any] = await self.call(b"EVALSHA", sha, len(keys), *keys, *args)
        except ScriptForgotten:
            await self.call(b"SCRIPT", b"LOAD", self._scripts[script].text)
            try:
                answer = await self.call(b"EVALSHA", sha, len(keys), *keys, *args)
            except ScriptForgotten as error:
                raise Unavailable("Redis keeps no scripts.", retry_after_ms=limits.RETRY_AFTER_MS) from error
        return answer

    def prepare(self, script: str, keys: Sequence[str], args: Sequence[bytes]) -> Prepared:
        """The part of a call that `send` need not encode again."""
        parts: list[Part] = [b"EVALSHA", self._scripts[script].sha, len(keys), *keys, *args]
        encoded = encode_call(parts).partition(b"\r\n")[2]
        return Prepared(len(parts), encoded)

    def send(self, call: Prepared, args: Sequence[bytes], sink: Sink) -> None:
        """Sends a prepared call with the last of its arguments. The sink is told `ScriptForgotten` where it must be
        loaded first (`load`); other errors as of `call`, which are raised where nothing was sent."""
        if self._connection is None:
            raise Unavailable("Redis cannot be reached.", retry_after_ms=limits.RETRY_AFTER_MS)
        out = [b"*%d\r\n" % (call.count + len(args)), call.encoded]
        out += [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args]
        self._connection.send(b"".join(out), sink)

    def load(self, script: str) -> None:
        """Gives Redis a script, before whatever is sent next."""
        self.call(b"SCRIPT", b"LOAD", self._scripts[script].text).add_done_callback(_forget_outcome)

    async def _connect(self) -> None:
        connection = await _open(await self._locate())
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
        self._found.set()
        connection.on_lost = self._on_lost
        connection.on_misplaced = self._on_misplaced
        self._connection = connection

    async def _locate(self) -> dict[str, Any]:
        """The address to connect to; asked before each try."""
        return self._options

    def _on_misplaced(self) -> None:
        """The node is no primary any more: a name, a proxy or the sentinels know the next one."""
        self.reconnect("it is no primary any more")

    async def _greet(self, connection: "_Connection") -> str:
        """Signs in, makes sure that it is a primary, loads the scripts, and answers the server's run_id."""
        password, user = self._options.get("password"), self._options.get("username")
        if password:
            await connection.call(encode_call([b"AUTH", *([user] if user else []), password]))
        if self._options.get("db"):
            await connection.call(encode_call([b"SELECT", self._options["db"]]))
        await connection.call(encode_call([b"CLIENT", b"SETNAME", self._name]))
        info = await connection.call(encode_call([b"INFO"]))
        told = dict(re.findall(rb"^(run_id|role):(\w+)\r?$", info, re.MULTILINE)) if isinstance(info, bytes) else {}
        if b"run_id" not in told:
            raise StoreFault("it does not tell its run_id")
        if told.get(b"role", b"master") != b"master":
            raise Unavailable("it is no primary")
        if scripts := list(self._scripts.values()):
            # Compiling them all costs Redis some 30 ms: only those that it does not have.
            known = await connection.call(encode_call([b"SCRIPT", b"EXISTS", *(script.sha for script in scripts)]))
            for script, is_known in zip(scripts, known, strict=True):
                if not is_known:
                    await connection.call(encode_call([b"SCRIPT", b"LOAD", script.text]))
        run_id: bytes = told[b"run_id"]
        return run_id.decode()

    def _on_lost(self, reason: str) -> None:
        log.warning("redis connection lost: %s", reason)
        self._connection = None
        self._found.clear()
        self._lost.set()
        self.on_lost()

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


class ScriptForgotten(Exception):
    """NOSCRIPT: Redis does not know the script's SHA-1; nothing was run."""


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[Sink, float]] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._suspect: Sink | None = None
        self.on_lost: Any = None
        self.on_misplaced: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports do what asyncio's promise without being their subclasses.
        self._transport = cast(asyncio.Transport, transport)
        self._watch = self._loop.call_later(limits.REDIS_WATCH_SECONDS, self._check)

    @property
    def closed(self) -> bool:
        return self._transport is None

    def call(self, command: bytes) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        self.send(command, future)
        return future

    def send(self, command: bytes, sink: Sink) -> None:
        if self._transport is None:
            # Nobody would ever answer.
            raise Unavailable("Redis cannot be reached.", retry_after_ms=limits.RETRY_AFTER_MS)
        if len(self._waiting) >= limits.REDIS_CALLS_MAX:
            raise Overloaded("The server is at its limit.", retry_after_ms=limits.RETRY_AFTER_MS)
        self._waiting.append((sink, time.monotonic()))
        if not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent.append(command)

    def _write(self) -> None:
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
            sink, _ = self._waiting.popleft()
            if isinstance(answer, hiredis.ReplyError):
                self._refuse(sink, _translate(answer))
            elif not sink.done():  # else the caller gave up waiting
                sink.set_result(answer)

    def _refuse(self, sink: Sink, error: Exception) -> None:
        if not sink.done():
            sink.set_exception(error)
        if isinstance(error, Misplaced) and self.on_misplaced is not None:
            # Not now: what has arrived with this answer is to be read before the connection may end.
            self._loop.call_soon(self.on_misplaced)

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
        if self.on_lost is not None:
            on_lost, self.on_lost = self.on_lost, None
            on_lost(reason)
        for sink, _ in waiting:
            if not sink.done():
                sink.set_exception(
                    Unavailable("Redis did not answer; the outcome is unknown.", retry_after_ms=limits.RETRY_AFTER_MS)
                )
                if isinstance(sink, asyncio.Future):
                    sink.exception()  # a caller that gave up does not make asyncio complain


def _forget_outcome(future: asyncio.Future[Any]) -> None:
    """For a call whose failure shows in what is sent after it."""
    if not future.cancelled():
        future.exception()


def _translate(reply: hiredis.ReplyError) -> Exception:
    text = str(reply)
    if text.startswith("NOSCRIPT"):
        return ScriptForgotten(text)
    if text.startswith(_MISPLACED):
        return Misplaced(f"Redis is moving ({text.split()[0]}).", retry_after_ms=limits.RETRY_AFTER_MS)
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
                secure = ssl.create_default_context() if options.get("secure") else None
                _, connection = await loop.create_connection(
                    _Connection, options.get("host", "127.0.0.1"), options.get("port", 6379), ssl=secure
                )
    except (OSError, TimeoutError) as error:
        raise Unavailable("Redis cannot be reached.", retry_after_ms=limits.RETRY_AFTER_MS) from error
    return connection
