"""The holders: a process of its own, so that their CPU is not counted. `python -m lml_live.bench.driver`.

Every socket has one request on the way at a time and takes its own seats, so that nothing is ever refused: what is
measured is the price of granting.
"""

import asyncio
import contextlib
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, cast

import uvloop

from lml_live.bench import bounds, frames
from lml_live.bench.counters import cpu_ns
from lml_live.bench.orders import Burst, Connect, Done, Leave, Order, Pace, read_order, write

_DIFF: Final = b'{"type":"diff"'
_NEWS: Final = (b'{"type":"hold_changed"', b'{"type":"event"')
_HELD: Final = b'{"type":"held"'
_RELEASED: Final = b'{"type":"released"'
_PONG: Final = b'{"type":"pong"'
_SEQ: Final = b'"seq":'
_HOLD_ID: Final = b'"hold":{"id":"'
_PACE_SECONDS: Final = 0.001
"""How often a paced group looks what is due; the loop's timers are no finer."""


class _Holder(asyncio.Protocol):
    """One live socket that holds and releases."""

    def __init__(self, group: "_Group", number: int, order: Connect) -> None:
        self._group = group
        self._order = order
        self._first = number * order.pairs_each
        self._rest = b""
        self._open = order.plain
        self._transport: asyncio.Transport | None = None
        self._requests = 0
        self._asked = 0.0
        self.hold: bytes | None = None
        self.left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(frames.handshake(self._order.host, self._order.port, self._order.event))

    def ask(self, asked: float) -> None:
        """Sends the next request: a hold of the next pair, or the release of what is held. `asked`: when it was due."""
        if self._transport is None:
            return
        self._requests += 1
        number = self._requests
        if self._order.asks == "ping":
            payload = b'{"type":"ping","id":%d}' % number
        elif self.hold is not None:
            payload = b'{"type":"release","id":%d,"hold":"%b"}' % (number, self.hold)
        elif self._order.asks == "best":
            payload = b'{"type":"hold_best","id":%d,"quantity":2,"key":"k%d"}' % (number, number)
        else:
            seat = (self._first + number // 2 % self._order.pairs_each) * 2
            payload = b'{"type":"hold","id":%d,"seats":[%d,%d],"key":"k%d"}' % (number, seat, seat + 1, number)
        self._asked = asked
        self._transport.write(frames.client_frame(payload))

    def data_received(self, data: bytes) -> None:
        buffer = self._rest + data
        at = 0
        if not self._open:
            at = buffer.find(b"\r\n\r\n") + 4
            if at < 4:
                self._rest = buffer
                return
            if not buffer.startswith(b"HTTP/1.1 101") or self._transport is None:
                self._group.lose(self, f"the handshake was refused: {buffer[:60]!r}")
                return
            self._open = True
            self._transport.write(frames.client_frame(frames.HELLO))
        while (found := frames.next_frame(buffer, at)) is not None:
            opcode, body, end = found
            if opcode == frames.TEXT:
                if buffer.startswith(_DIFF, body):
                    self._group.frames += 1
                elif not buffer.startswith(_NEWS, body):
                    self._answered(buffer[body:end])
            elif opcode == frames.PING and self._transport is not None:
                self._transport.write(frames.PONG_FRAME)
            at = end
        self._rest = buffer[at:]

    def _answered(self, payload: bytes) -> None:
        if not self._requests:
            self._group.ready += 1  # the welcome
            return
        group = self._group
        group.latencies.append(time.perf_counter() - self._asked)
        if payload.startswith(_HELD):
            at = payload.index(_HOLD_ID) + len(_HOLD_ID)
            self.hold = payload[at : payload.index(b'"', at)]
            group.operations += 1
            if group.notes_commits:
                at = payload.index(_SEQ) + len(_SEQ)
                group.commits.append((self._asked, int(payload[at : payload.index(b",", at)])))
        elif payload.startswith(_RELEASED):
            self.hold = None
            group.operations += 1
        elif payload.startswith(_PONG):
            group.operations += 1
        else:
            code = payload.partition(b'"code":"')[2].partition(b'"')[0].decode() or repr(payload[:80])
            group.refused[code] = group.refused.get(code, 0) + 1
        group.freed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._group.lose(self, str(exc) if exc else "closed by the server")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Group:
    """Sockets that act together."""

    def __init__(self) -> None:
        self.holders: list[_Holder] = []
        self.ready = 0
        self.lost = 0
        self.fault: str | None = None
        self.notes_commits = False
        self._pacing = False
        self._idle: deque[_Holder] = deque()
        self._all_free = asyncio.Event()
        self.start_counting()

    def start_counting(self) -> None:
        self.operations = 0
        self.frames = 0
        self.refused: dict[str, int] = {}
        self.latencies: list[float] = []
        self.commits: list[tuple[float, int]] = []
        self._idle = deque(self.holders)
        self._all_free.clear()

    def lose(self, holder: _Holder, why: str) -> None:
        self.lost += 1
        self.fault = self.fault or f"a socket was lost: {why}"
        self._all_free.set()

    def freed(self, holder: _Holder) -> None:
        if not self._pacing and holder.left:
            holder.left -= 1
            holder.ask(time.perf_counter())
            return
        self._idle.append(holder)
        if len(self._idle) == len(self.holders):
            self._all_free.set()

    async def connect(self, order: Connect) -> None:
        loop = asyncio.get_running_loop()
        for start in range(0, order.count, bounds.CONNECTS_AT_ONCE):
            batch = range(start, min(order.count, start + bounds.CONNECTS_AT_ONCE))
            made = [_Holder(self, number, order) for number in batch]
            self.holders += made
            for holder in made:
                # Bound now: the loop variable is another holder's by the time the protocol is made.
                await loop.create_connection(lambda holder=holder: holder, order.host, order.port)  # type: ignore[misc]
            while self.ready < len(self.holders) and self.fault is None:  # noqa: ASYNC110  # counted by the protocols
                await asyncio.sleep(0.005)

    async def burst(self, messages: int) -> None:
        self._pacing = False
        self._idle.clear()
        for holder in self.holders:
            holder.left = messages - 1
        for holder in self.holders:
            holder.ask(time.perf_counter())
        await self._all_free.wait()

    async def pace(self, per_second: float, seconds: float) -> None:
        self._pacing = True
        total, sent = int(per_second * seconds), 0
        start = time.perf_counter()
        while sent < total and self.fault is None:
            due = min(total, int((time.perf_counter() - start) * per_second) + 1)
            while sent < due and self._idle:
                # When it was due, not when somebody had time for it: a server that stalls does not hide its stall.
                self._idle.popleft().ask(start + sent / per_second)
                sent += 1
            await asyncio.sleep(_PACE_SECONDS)
        while len(self._idle) < len(self.holders) and self.fault is None:
            self._all_free.clear()
            await self._all_free.wait()

    def close(self) -> None:
        for holder in self.holders:
            holder.close()


class _Driver:
    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    async def obey(self, order: Order) -> Done:
        """Carries an order out. A fault is told in the answer."""
        try:
            async with asyncio.timeout(bounds.CHILD_ANSWER_SECONDS - 1):
                return await self._obey(order)
        except TimeoutError:
            return Done(fault="the sockets' answers did not come in time")
        except OSError as error:
            return Done(fault=f"{type(error).__name__}: {error}")

    async def _obey(self, order: Order) -> Done:
        match order:
            case Connect():
                group = self._groups[order.group] = _Group()
                await group.connect(order)
                return Done(sockets=len(group.holders), fault=group.fault)
            case Burst():
                group = self._groups[order.group]
                group.notes_commits = order.commits
                return await self._count(group, order.cpu_of, lambda: group.burst(order.messages))
            case Pace():
                group = self._groups[order.group]
                return await self._count(group, order.cpu_of, lambda: group.pace(order.per_second, order.seconds))
            case Leave():
                group = self._groups.pop(order.group)
                group.close()
                return Done()
            case _:
                return Done(fault="this process has no such order")

    async def _count(
        self, group: _Group, cpu_of: "dict[str, tuple[int, ...]]", act: Callable[[], Awaitable[None]]
    ) -> Done:
        group.start_counting()
        before = {name: cpu_ns(pids) for name, pids in cpu_of.items()}
        own = time.process_time_ns()
        began = time.perf_counter()
        await act()
        seconds = time.perf_counter() - began
        spent = {name: cpu_ns(pids) - before[name] for name, pids in cpu_of.items()}
        spent["driver"] = time.process_time_ns() - own
        return Done(
            fault=group.fault,
            sockets=len(group.holders),
            operations=group.operations,
            refused=group.refused,
            seconds=seconds,
            cpu_ns=spent,
            latencies_ms=[latency * 1e3 for latency in group.latencies],
            frames=group.frames,
            commits=group.commits,
            lost=group.lost,
        )


async def _main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    driver = _Driver()
    _answer(Done())
    while line := await reader.readline():
        _answer(await driver.obey(read_order(line)))


def _answer(done: Done) -> None:
    sys.stdout.buffer.write(write(done))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        uvloop.run(_main())
