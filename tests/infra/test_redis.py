"""The pipe to Redis: one write a tick, answers in order, and every way in which a connection or a server can fail."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest

from lml_live import limits
from lml_live.devstack.servers import Valkey
from lml_live.errors import Overloaded, Unavailable
from lml_live.infra import redis as redis_module
from lml_live.infra.redis import Pipe, Script, StoreFault, encode_call, load_scripts

ValkeyFactory = Callable[..., Awaitable[Valkey]]


@asynccontextmanager
async def started(url: str, scripts: dict[str, Script] | None = None, name: str = "lml") -> AsyncIterator[Pipe]:
    pipe = Pipe(url, scripts or {}, name=name)
    await pipe.start()
    try:
        yield pipe
    finally:
        await pipe.close()


@pytest.fixture
async def pipe(valkey_url: str) -> AsyncIterator[Pipe]:
    async with started(valkey_url) as pipe:
        yield pipe


async def until(condition: Callable[[], bool]) -> None:
    """Bounded polling, for what another process does."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(0.005)


async def reconnected(pipe: Pipe, generation: int = 1) -> None:
    await until(lambda: pipe.connected and pipe.generation > generation)


class CountingTransport:
    """A transport that counts what goes through it."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.real.write(data)

    def abort(self) -> None:
        self.real.abort()


# --- Calls


@pytest.mark.parametrize(
    ("parts", "sent"),
    [
        ([b"PING"], b"*1\r\n$4\r\nPING\r\n"),
        (["SET", "k", 12], b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n12\r\n"),
        (["ECHO", ""], b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"),
        (["ECHO", "é"], b"*2\r\n$4\r\nECHO\r\n$2\r\n\xc3\xa9\r\n"),
        ([b"ECHO", b"a\r\nb\0"], b"*2\r\n$4\r\nECHO\r\n$5\r\na\r\nb\0\r\n"),
        (["X", -1], b"*2\r\n$1\r\nX\r\n$2\r\n-1\r\n"),
    ],
)
def test_a_call_as_bytes(parts: list[Any], sent: bytes) -> None:
    assert encode_call(parts) == sent


async def test_the_calls_of_one_tick_go_out_in_one_write(pipe: Pipe) -> None:
    assert pipe._connection is not None
    transport = CountingTransport(pipe._connection._transport)
    pipe._connection._transport = transport  # type: ignore[assignment]

    async def ask(number: int) -> bytes:
        answer: bytes = await pipe.call("ECHO", number)
        return answer

    assert await asyncio.gather(*(ask(number) for number in range(100))) == [b"%d" % n for n in range(100)]
    assert len(transport.writes) == 1
    await asyncio.gather(*(ask(number) for number in range(10)))
    assert len(transport.writes) == 2


async def test_answers_come_in_order_errors_among_them(pipe: Pipe) -> None:
    calls = [pipe.call("ECHO", n) if n % 3 else pipe.call("NO-SUCH-COMMAND", n) for n in range(3_000)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for n, answer in enumerate(answers):
        if n % 3:
            assert answer == b"%d" % n
        else:
            assert isinstance(answer, StoreFault)


async def test_a_large_answer_comes_whole(pipe: Pipe) -> None:
    data = os.urandom(3_000_000)
    echoed, pong = await asyncio.gather(pipe.call("ECHO", data), pipe.call("PING"))
    assert (echoed, pong) == (data, b"PONG")


async def test_a_caller_that_gave_up_disturbs_nobody(pipe: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = pipe.call("ECHO", 1), pipe.call("NO-SUCH-COMMAND"), pipe.call("ECHO", 3)
    first.cancel()
    second.cancel()
    assert await third == b"3"
    assert await pipe.call("ECHO", 4) == b"4"
    assert caplog.records == []


async def test_a_defect_is_a_fault_and_not_the_weather(pipe: Pipe) -> None:
    with pytest.raises(StoreFault, match="unknown command"):
        await pipe.call("NO-SUCH-COMMAND")


async def test_scripts_are_known_from_the_start(valkey_url: str) -> None:
    scripts = load_scripts()
    async with started(valkey_url, scripts) as pipe:
        known = await pipe.call("SCRIPT", "EXISTS", *(script.sha for script in scripts.values()))
        assert known == [1] * len(scripts)


async def test_a_server_that_keeps_no_scripts_is_unavailable(pipe: Pipe) -> None:
    pipe._scripts["odd"] = Script("odd", "return {'fine'}", "0" * 40)
    with pytest.raises(Unavailable):
        await pipe.run("odd", [], [])


async def test_the_bound_at_one(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REDIS_CALLS_MAX", 1)
    first = pipe.call("ECHO", 1)
    with pytest.raises(Overloaded):
        pipe.call("ECHO", 2)
    assert await first == b"1"
    assert await pipe.call("ECHO", 3) == b"3"


# --- Connections that break


async def test_calls_in_flight_when_the_connection_breaks_are_unknown(valkey_url: str, pipe: Pipe) -> None:
    number = await pipe.call("CLIENT", "ID")
    waiting = [pipe.call("BLPOP", "no-such-list", 0), pipe.call("ECHO", 1)]
    await asyncio.sleep(0)
    async with started(valkey_url) as other:
        await other.call("CLIENT", "KILL", "ID", number)
    for answer in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(answer, Unavailable)
    await reconnected(pipe)
    assert await pipe.call("ECHO", 1) == b"1"


async def test_without_a_server_calls_are_refused_at_once(valkey_own: ValkeyFactory) -> None:
    valkey = await valkey_own()
    async with started(valkey.url) as pipe:
        await valkey.kill()
        await until(lambda: not pipe.connected)
        with pytest.raises(Unavailable):
            pipe.call("PING")
        with pytest.raises(Unavailable):
            await Pipe(valkey.url, {}).start()
        first = pipe.run_id
        await valkey.start()
        await reconnected(pipe)
        assert (pipe.generation, await pipe.call("PING")) == (2, b"PONG")
        assert pipe.run_id != first


async def test_a_server_that_hangs_is_given_up(valkey_own: ValkeyFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REDIS_WATCH_SECONDS", 0.01)
    valkey = await valkey_own()
    async with started(valkey.url) as pipe:
        run_id = pipe.run_id
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            with monkeypatch.context() as impatient:
                impatient.setattr(limits, "REDIS_CALL_SECONDS", 0.1)
                answers = await asyncio.gather(pipe.call("PING"), pipe.call("PING"), return_exceptions=True)
            assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
            assert not pipe.connected
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        await reconnected(pipe)
        assert pipe.run_id == run_id, "it is the same process"
        assert await pipe.call("PING") == b"PONG"


async def test_after_close_nothing_is_left(valkey_url: str) -> None:
    async with started(valkey_url) as pipe:
        waiting = pipe.call("BLPOP", "no-such-list", 0)
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        pipe.call("PING")
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "redis pipe"]


# --- Servers that cannot serve now


@pytest.mark.parametrize(
    "words",
    [
        "LOADING Valkey is loading the dataset in memory",
        "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "READONLY You can't write against a read only replica.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "CLUSTERDOWN The cluster is down",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "NOREPLICAS Not enough good replicas to write.",
        "MISCONF Errors writing to the AOF file: No space left on device",
    ],
)
def test_what_passes_is_unavailable(words: str) -> None:
    assert isinstance(redis_module._translate(hiredis.ReplyError(words)), Unavailable)


async def test_a_server_without_memory_changes_nothing(valkey_own: ValkeyFactory) -> None:
    valkey = await valkey_own()
    script = Script("two", "redis.call('SET', KEYS[1], 1) redis.call('SET', KEYS[2], 1) return {'done'}", "")
    async with started(valkey.url, {"two": script}) as pipe:
        sha = (await pipe.call("SCRIPT", "LOAD", script.text)).decode()
        pipe._scripts["two"] = Script("two", script.text, sha)
        await pipe.call("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(Unavailable):
            await pipe.run("two", ["a", "b"], [])
        with pytest.raises(Unavailable):
            await pipe.call("SET", "a", 1)
        assert await pipe.call("EXISTS", "a", "b") == 0
        await pipe.call("CONFIG", "SET", "maxmemory", 0)
        assert await pipe.run("two", ["a", "b"], []) == [b"done"]
        await pipe.call("CONFIG", "SET", "min-replicas-to-write", 1)
        with pytest.raises(Unavailable):
            await pipe.call("SET", "a", 2)


async def test_a_server_that_is_busy_with_a_script(valkey_own: ValkeyFactory) -> None:
    valkey = await valkey_own(busy_reply_threshold="10")
    async with started(valkey.url) as pipe, started(valkey.url) as other:
        endless = pipe.call("EVAL", "while true do end", 0)

        async def is_busy() -> bool:
            try:
                await other.call("PING")
            except Unavailable as error:
                return "BUSY" in str(error)
            return False

        async with asyncio.timeout(10):
            while not await is_busy():
                pass
        with pytest.raises(Unavailable):
            await Pipe(valkey.url, {}).start()
        assert await other.call("SCRIPT", "KILL") == b"OK"
        with pytest.raises(StoreFault):
            await endless


# --- Signing in


async def test_a_password_in_the_address(valkey_own: ValkeyFactory) -> None:
    valkey = await valkey_own()
    async with started(valkey.url) as pipe:
        await pipe.call("CONFIG", "SET", "requirepass", "pa%ss")
    address = valkey.url.removeprefix("redis://")
    for login in (":pa%25ss@", "default:pa%25ss@"):
        async with started(f"redis://{login}{address}") as pipe:
            assert await pipe.call("PING") == b"PONG"
    for login in ("", ":wrong@", "nobody:pa%25ss@"):
        with pytest.raises(Unavailable):
            await Pipe(f"redis://{login}{address}", {}).start()


async def test_a_database_and_a_name_in_the_address(valkey_url: str) -> None:
    async with started(valkey_url.removesuffix("/0") + "/7", name="worker-3") as pipe:
        info = await pipe.call("CLIENT", "INFO")
        assert b" db=7 " in info
        assert b" name=worker-3 " in info


# --- Servers that speak nonsense


class Between:
    """A proxy that can put words into the server's mouth."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("redis://").removesuffix("/0").split(":")
        self._target = host, int(port)
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Between":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        self._writers = [writer, server_writer]

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65_536):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            sink.close()

        await asyncio.gather(pass_on(reader, server_writer), pass_on(server_reader, writer))

    def say(self, data: bytes) -> None:
        self._writers[0].write(data)


@pytest.mark.parametrize(
    "nonsense", [b"?what\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$-7\r\nxxx", b"\0\0\0\0\r\n"]
)
async def test_nonsense_ends_the_connection_and_not_the_pipe(valkey_url: str, nonsense: bytes) -> None:
    async with Between(valkey_url) as between, started(between.url) as pipe:
        waiting = pipe.call("BLPOP", "no-such-list", 0)
        await asyncio.sleep(0)
        between.say(nonsense)
        with pytest.raises(Unavailable):
            await waiting
        await reconnected(pipe)
        assert await pipe.call("ECHO", 1) == b"1"


async def test_an_answer_that_nobody_asked_for_ends_the_connection(valkey_url: str) -> None:
    """It raised IndexError inside the event loop; and every answer after it would have been another call's."""
    async with Between(valkey_url) as between, started(between.url) as pipe:
        between.say(b"+OK\r\n")
        await reconnected(pipe)
        assert await pipe.call("ECHO", 1) == b"1"


@asynccontextmanager
async def stand_in(*answers: bytes, hang_up: bool = False) -> AsyncIterator[str]:
    """A server that gives these answers to whatever is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            if not await reader.read(65_536):
                break
            writer.write(answer)
        if not hang_up:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    server.close()


@pytest.mark.parametrize(
    "answers",
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n",),
        (b"+OK\r\n", b"+OK\r\n"),
        (b"+OK\r\n", b"$3\r\nabc\r\n"),
        (b"+OK\r\n", b":1\r\n"),
        (b"+OK\r\n", b"$9\r\nrun_id:\r\n\r\n"),
        (b"-LOADING it is\r\n",),
    ],
)
async def test_a_stranger_is_no_redis(answers: tuple[bytes, ...]) -> None:
    """A server without a run_id raised KeyError, which ended the task that reconnects, for good."""
    async with stand_in(*answers) as url:
        with pytest.raises(Unavailable):
            await Pipe(url, {}).start()


async def test_a_server_that_hangs_up_after_the_greeting() -> None:
    """The pipe took a connection that had died in the very tick of its last greeting answer, and never let it go:
    every call from then on waited for ever."""
    info = b"run_id:abc\r\n"
    async with stand_in(b"+OK\r\n", b"$%d\r\n%s\r\n" % (len(info), info), hang_up=True) as url:
        pipe = Pipe(url, {})
        try:
            await pipe.start()
            async with asyncio.timeout(1):
                with pytest.raises(Unavailable):
                    await pipe.call("PING")
        except Unavailable:
            pass
        finally:
            await pipe.close()


async def test_a_connection_that_died_while_it_greeted_is_not_taken(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, with the two events put into one tick."""
    greet = Pipe._greet

    async def greet_and_die(self: Pipe, connection: Any) -> str:
        run_id = await greet(self, connection)
        connection.connection_lost(None)
        return run_id

    monkeypatch.setattr(Pipe, "_greet", greet_and_die)
    pipe = Pipe(valkey_url, {})
    with pytest.raises(Unavailable):
        await pipe.start()
    assert not pipe.connected
