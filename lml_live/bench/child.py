"""A process of the run's own: started, given orders, and ended within a bound."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from lml_live.bench import bounds
from lml_live.bench.counters import python
from lml_live.bench.orders import Connect, Done, Order, read_done, write
from lml_live.errors import Unavailable

_LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""An answer carries every latency of its slice: 100,000 of them are 2 MB."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Our environment with these settings instead of ours: what is measured is the server as shipped."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("LML_")}
    return {**others, **settings}


class Child:
    """A running process. `port` is where it listens, 0 where it does not."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, port: int) -> None:
        self.name = name
        self.port = port
        self._process = process
        self._asking = asyncio.Lock()

    @property
    def pids(self) -> tuple[int, ...]:
        return (self._process.pid,)

    async def ask(self, order: Order) -> Done:
        """Gives an order and answers what became of it. Raises `Unavailable` where it failed."""
        async with self._asking:
            assert self._process.stdin is not None
            with contextlib.suppress(ConnectionError):  # its end is told below
                self._process.stdin.write(write(order))
            done = await read_answer(self.name, self._process, bounds.CHILD_ANSWER_SECONDS)
        if done.fault is not None:
            raise Unavailable(f"{self.name}: {done.fault}")
        if done.refused:
            counts = ", ".join(f"{code} {count} ×" for code, count in done.refused.items())
            raise Unavailable(f"{self.name}: the server refused what it should have granted: {counts}")
        return done


async def connect(child: Child, order: Connect) -> None:
    """Opens as many sockets as the order says, in orders of a size that is answered in time. Raises `Unavailable`."""
    for start in range(0, order.count, bounds.CONNECTS_IN_ONE_ORDER):
        count = min(bounds.CONNECTS_IN_ONE_ORDER, order.count - start)
        await child.ask(msgspec.structs.replace(order, count=count))


async def read_answer(name: str, process: asyncio.subprocess.Process, seconds: float) -> Done:
    """The process's next line. Raises `Unavailable` where it says nothing in time, or has ended."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(seconds):
            line = await process.stdout.readline()
        return read_done(line)
    except TimeoutError as error:
        raise Unavailable(f"{name} did not answer within {seconds:.0f} s") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise Unavailable(f"{name} ended, or said what nobody understands") from error


@asynccontextmanager
async def open_child(name: str, command: Sequence[str]) -> AsyncIterator[Child]:
    """A process that says where it listens, for as long as the block lasts. Raises `Unavailable`."""
    try:
        # A session of its own: Ctrl-C reaches the run alone, which then stops all in order.
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment({}),
            start_new_session=True,
            limit=_LINE_BYTES_MAX,
        )
    except OSError as error:
        raise Unavailable(f"{name} cannot be started: {error}") from error
    try:
        hello = await read_answer(name, process, bounds.CHILD_START_SECONDS)
        yield Child(name, process, hello.port)
    finally:
        await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    """Closes its stdin, which ends it; kills it where it goes on."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(bounds.CHILD_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def module(name: str) -> list[str]:
    """The command line of one of this package's processes."""
    return [python(), "-m", f"lml_live.bench.{name}"]
