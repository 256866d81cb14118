"""The row about our pipe to Redis, beside the `redis` client and beside the same calls merely written and counted."""

import asyncio
import itertools
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import redis.asyncio as redis_client

from lml_live import limits
from lml_live.bench import bounds
from lml_live.bench.figures import Figure, Goal, Slices, measured
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import AOF, LoneEvent, LoneValkey, Side, Stand
from lml_live.devstack.child import LOOPBACK
from lml_live.errors import Unavailable
from lml_live.infra.redis import Part, encode_call, load_script
from lml_live.inventory.records import pack_hold, pack_new_record, pack_rules
from lml_live.inventory.together import Act, Together
from lml_live.inventory.wakes import Wakes

_numbers = itertools.count(1)

_REPLAYED: Final = "the same calls replayed"
"""As `redis-benchmark -c 50 -P 16` would: it cannot make a call with a zero byte in it, and ours have some."""
_PART: Final = 16
_PARTS_ON_THE_WAY: Final = 50
_ANSWER_BYTES: Final = len("$40\r\n") + len("held") + 36 + len("\r\n")
_STANDING: Final = "floor"
_CAPACITY: Final = 1_000_000_000
_REDIS_PY: Final = "redis-py (pool)"
_PACKED: Final = 30_000
"""Holds that are packed before a slice: more than any side makes in a quarter of a second."""


class _PipeCalls:
    """Holds of two standing places: of them there are always enough."""

    def __init__(self, valkey: LoneValkey, event: LoneEvent, seconds: float) -> None:
        self.valkey = valkey
        self.sale = event.sale
        self.seconds = seconds
        self.keys = [self.sale.key(name) for name in ("seats", "book", "deadlines", "areas", "log")]
        self.client_us: dict[str, list[float]] = {_PIPE_RATE: [], _PIPE_TOGETHER: [], _REDIS_PY: []}
        self.packing_us: list[float] = []
        self.calls = 0
        self.alone = Together(valkey.pipe, Wakes(valkey.pipe), at_once=1, calls_max=limits.REDIS_CALLS_MAX)
        self.together = Together(valkey.pipe, Wakes(valkey.pipe))

    @staticmethod
    def act(holder: str, hold: str) -> Act:
        areas = ((_STANDING, "adult", 2),)
        begun = pack_new_record(holder, (), areas, "", 0)
        packed = pack_hold(holder, hold, "", b"", "bench:1:1", (), areas, 0, "", begun, b"")
        return Act("hold_seats", hold, 0, packed, begun)

    def head(self) -> list[bytes]:
        """What follows the keys, before the hold: hold_seats.lua's own header, in order."""
        return [self.sale.stamp.encode(), pack_rules(self.sale, 0)]

    async def _closed_loop(self, name: str, call: Callable[[Act], Awaitable[Any]]) -> float:
        """Holds a second of `bounds.CALLERS` callers, each with one call on the way, and notes our CPU for one.

        What they ask was packed before: packing is the caller's, and has a figure of its own.
        """
        await self.valkey.event(self.sale.event, b"", self.sale.areas)
        loop = asyncio.get_running_loop()
        began_cpu = time.process_time()
        acts = [self.act(f"holder-{n}", f"1-{n}") for n in itertools.islice(_numbers, _PACKED)]
        self.packing_us.append((time.process_time() - began_cpu) / _PACKED * 1e6)
        began, began_cpu = loop.time(), time.process_time()
        until = began + self.seconds
        done = 0

        async def one() -> None:
            nonlocal done
            while acts:  # each once, however short the slice
                answer = await call(acts.pop())
                if not answer.startswith(b"held"):
                    raise Unavailable(f"the benchmark was refused: {answer[0]!r}")
                done += 1
                if loop.time() >= until:
                    return

        await asyncio.gather(*(one() for _ in range(bounds.CALLERS)))
        spent, wall = time.process_time() - began_cpu, loop.time() - began
        self.calls += done
        self.client_us[name].append(spent / done * 1e6)
        return done / wall

    async def ours(self) -> float:
        return await self._closed_loop(_PIPE_RATE, lambda act: self.alone.wait(self.sale, act))

    async def ours_together(self) -> float:
        return await self._closed_loop(_PIPE_TOGETHER, lambda act: self.together.wait(self.sale, act))

    async def redis_py(self, client: "redis_client.Redis", sha: str) -> float:
        head = self.head()

        async def call(act: Act) -> Any:
            return await client.evalsha(sha, len(self.keys), *self.keys, *head, act.packed)

        return await self._closed_loop(_REDIS_PY, call)

    async def replayed(self) -> float:
        """Holds a second where nothing is to be done but to write what lies ready and to count what comes back."""
        await self.valkey.event(self.sale.event, b"", self.sale.areas)
        count = max(2_000, int(15_000 * self.seconds)) // _PART * _PART
        head: list[Part] = [b"EVALSHA", load_script("hold_seats").sha, len(self.keys), *self.keys, *self.head()]
        acts = [self.act(f"holder-{n}", f"1-{n}") for n in itertools.islice(_numbers, count)]
        calls = [encode_call([*head, act.packed]) for act in acts]
        parts = [b"".join(calls[at : at + _PART]) for at in range(0, count, _PART)]
        took = await asyncio.to_thread(_replay, self.valkey.engine.port, parts)
        held = int(await self.valkey.pipe.call("HGET", self.sale.key("areas"), f"{_STANDING}/held"))
        if held != 2 * count:
            raise Unavailable(f"{held // 2} holds were made where {count} were asked for")
        return count / took


def _replay(port: int, parts: Sequence[bytes]) -> float:
    """Seconds that Valkey took for parts of `_PART` holds, `_PARTS_ON_THE_WAY` at a time."""
    due = len(parts) * _PART * _ANSWER_BYTES
    sent = got = 0
    with socket.create_connection((LOOPBACK, port), timeout=bounds.SOCKET_SECONDS) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        while got < due:
            while sent < len(parts) and sent - got // (_PART * _ANSWER_BYTES) < _PARTS_ON_THE_WAY:
                line.sendall(parts[sent])
                sent += 1
            told = len(line.recv(65536))
            if not told:
                raise Unavailable("Valkey hung up")
            got += told
        return time.perf_counter() - began


async def _measure_pipe(stand: Stand) -> list[Figure]:
    valkey = await stand.lone_valkey()
    event = await valkey.event("bench-floor", b"", {_STANDING: _CAPACITY})
    calls = _PipeCalls(valkey, event, min(1.0, stand.seconds / 4))
    sha = load_script("hold_seats").sha
    client = redis_client.from_url(valkey.engine.url, max_connections=bounds.CALLERS)
    sides: dict[str, Side] = {
        _PIPE_RATE: calls.ours,
        _PIPE_TOGETHER: calls.ours_together,
        _REDIS_PY: lambda: calls.redis_py(client, sha),
        _REPLAYED: calls.replayed,
    }
    try:
        taken = await stand.alternate(sides)
    finally:
        await client.aclose()
    peers = {side: slices for side, slices in taken.items() if side not in (_PIPE_RATE, _PIPE_TOGETHER)}
    workload = f"holds of two standing places, {bounds.CALLERS} callers with one call on the way each"
    ways = {_PIPE_RATE: "one script call each", _PIPE_TOGETHER: "those that wait together in one call"}
    rates = [
        measured(
            figure,
            "holds/s",
            taken[figure],
            workload=f"{workload}, {way}",
            peers=peers,
            limit=_REPLAYED,
            goal=PIPE.goal(figure),
            flags=AOF,
            raw={"calls": calls.calls},
        )
        for figure, way in ways.items()
    ]
    costs = [
        measured(
            figure,
            "µs",
            Slices(tuple(calls.client_us[rate][1:])),
            workload=f"{workload}, {ways[rate]}; the CPU of this process, callers included, from packed hold to answer",
            peers={_REDIS_PY: Slices(tuple(calls.client_us[_REDIS_PY][1:]))},
            goal=PIPE.goal(figure),
            flags=AOF,
            raw={"calls": calls.calls},
        )
        for figure, rate in ((_PIPE_CPU, _PIPE_RATE), (_PIPE_CPU_TOGETHER, _PIPE_TOGETHER))
    ]
    packing = measured(
        _PACKING,
        "µs",
        Slices(tuple(calls.packing_us[1:])),
        workload="the CPU of this process for packing such a hold, which Redis is spared",
        flags=AOF,
        raw={"packed_a_slice": _PACKED},
    )
    return [*rates, *costs, packing]


_PIPE_RATE: Final = "pipe_holds"
_PIPE_TOGETHER: Final = "pipe_holds_together"
_PIPE_CPU: Final = "pipe_cpu"
_PIPE_CPU_TOGETHER: Final = "pipe_cpu_together"
_PACKING: Final = "hold_packing"
PIPE: Final = Row(
    "pipe",
    "holds a second through our pipe beside the same calls replayed, and what a call costs in Python",
    (
        Promise(_PIPE_RATE, "holds/s", Goal("ratio", "least", 0.9)),
        Promise(_PIPE_TOGETHER, "holds/s", Goal("ratio", "least", 1.2)),
        Promise(_PIPE_CPU, "µs", Goal("value", "most", 2)),
        Promise(_PIPE_CPU_TOGETHER, "µs", Goal("value", "most", 2)),
        Promise(_PACKING, "µs"),
    ),
    _measure_pipe,
)
