"""Rows about rooms: a busy one, readers that do not read, and idle sockets."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from lml_live import limits
from lml_live.bench import bounds, house
from lml_live.bench.child import Child, module, open_child
from lml_live.bench.counters import memory_bytes
from lml_live.bench.figures import Figure, Goal, Slices, measured, not_measured, percentile
from lml_live.bench.orders import Connect, Done, Pace, Stall, Watch
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import Side, Stand
from lml_live.bench.worker import counters
from lml_live.devstack.child import LOOPBACK

_HALL: Final = 20_000
_WATCHERS: Final = "watchers"
_HOLDERS: Final = "holders"


async def _children(stack: AsyncExitStack) -> tuple[Child, Child]:
    driver = await stack.enter_async_context(open_child("the driver", module("driver")))
    viewers = await stack.enter_async_context(open_child("the viewers", module("viewers")))
    return driver, viewers


def _watch(group: str, seconds: float, cpu_of: dict[str, tuple[int, ...]]) -> Watch:
    return Watch(group=group, seconds=seconds, quiet_seconds=bounds.SETTLE_SECONDS, cpu_of=cpu_of)


# --- A busy room

_BUSY_ROOMS: Final = (1_000, 5_000)
_BUSY_WITHOUT: Final = "busy_room_{}"
_BUSY_HELPED: Final = "busy_room_c_{}"
_OPERATIONS_PER_SECOND: Final = 1_000
"""Of two seats each: 2,000 seat changes a second."""
_BUSY_HOLDERS: Final = 128
_BUSY: Final = f"{2 * _OPERATIONS_PER_SECOND:,} seat changes a second by {_BUSY_HOLDERS} sockets"
_NOBODY: Final = "without viewers"


async def _connect_holders(driver: Child, home: house.House, group: str) -> str:
    event = await home.open_event(_HALL)
    pairs = _HALL // 2 // _BUSY_HOLDERS
    await driver.ask(
        Connect(group=group, host=LOOPBACK, port=home.port, event=event, count=_BUSY_HOLDERS, pairs_each=pairs)
    )
    return event


async def _measure_busy(stand: Stand) -> list[Figure]:
    figures: list[Figure] = []
    for helper, name in ((False, _BUSY_WITHOUT), (True, _BUSY_HELPED)):
        try:
            figures += await _busy_rooms(stand, name, helper=helper)
        except house.NoHelper as error:
            names = [name.format(size) for size in _BUSY_ROOMS]
            figures += [not_measured(each, "cores", error.message, goal=BUSY_ROOM.goal(each)) for each in names]
    return figures


async def _busy_rooms(stand: Stand, figure: str, *, helper: bool) -> list[Figure]:
    figures: list[Figure] = []
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand, helper=helper))
        driver, viewers = await _children(stack)
        event = await _connect_holders(driver, home, "watched")
        await _connect_holders(driver, home, _NOBODY)
        connected = 0
        seconds = min(2.0, stand.seconds)
        for size in _BUSY_ROOMS:
            name = figure.format(size)
            if why := bounds.too_many_sockets(size):
                figures.append(not_measured(name, "cores", why, goal=BUSY_ROOM.goal(name)))
                continue
            stand.say(f"  {size:,} viewers, {'with' if helper else 'without'} the helper")
            await viewers.ask(
                Connect(group=_WATCHERS, host=LOOPBACK, port=home.port, event=event, count=size - connected)
            )
            connected = size
            taken: dict[str, list[Done]] = {"watched": [], _NOBODY: []}
            seen: list[Done] = []

            def side(group: str, taken: dict[str, list[Done]] = taken, seen: list[Done] = seen) -> Side:
                async def busy() -> float:
                    pace = Pace(group=group, per_second=_OPERATIONS_PER_SECOND, seconds=seconds, cpu_of=home.cpu_of)
                    watch = _watch(_WATCHERS, seconds, {"worker": home.workers})
                    done, watched = await asyncio.gather(driver.ask(pace), viewers.ask(watch))
                    taken[group].append(done)
                    if group != _NOBODY:
                        seen.append(watched)
                    # Until all has been told, also what came late: that is work of these seconds, too.
                    return watched.cpu_ns["worker"] / 1e9 / seconds

                return busy

            slices = await stand.alternate({group: side(group) for group in taken})
            told = sum(done.frames for done in seen[1:]) / size / (len(seen[1:]) * seconds)
            pairs = zip(slices["watched"].values, slices[_NOBODY].values, strict=True)
            figures.append(
                measured(
                    name,
                    "cores",
                    Slices(tuple(watched - alone for watched, alone in pairs)),
                    workload=f"worker cores, {'with helper' if helper else 'pure Python'}, for {size:,} viewers of"
                    f" {_BUSY}: with them less without them,"
                    " until all is told, by the seconds of changes (above 1 it falls behind)",
                    peers={"in all": slices["watched"], _NOBODY: slices[_NOBODY]},
                    goal=BUSY_ROOM.goal(name),
                    reason=None if told > 0.8 * 1000 / limits.TICK_MS else f"only {told:.1f} diffs a second were told",
                    flags={**house.FLAGS, "helper": helper},
                    raw={
                        "diffs_per_second": told,
                        **{group: counters(done[1:]) for group, done in taken.items()},
                        "frames": sum(done.frames for done in seen[1:]),
                        "frames_to_the_last": sum(done.frames_least for done in seen[1:]),
                        "frame_bytes": sum(done.frame_bytes for done in seen[1:]),
                        "watched_seconds": sum(done.seconds for done in seen[1:]),
                    },
                )
            )
    return figures


# --- How a busy room's cost grows

_GROWTH: Final = "busy_room_growth"
_GROWTH_ROOM: Final = 1_000
_CALM_OPERATIONS_PER_SECOND: Final = 250
"""Of two seats each, and more than one in each tick: as many ticks have something to tell as in the busy room."""


async def _measure_growth(stand: Stand) -> list[Figure]:
    if why := bounds.too_many_sockets(_GROWTH_ROOM):
        return [not_measured(_GROWTH, "times", why, goal=BUSY_GROWTH.goal(_GROWTH))]
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand, helper=False))
        driver, viewers = await _children(stack)
        event = await _connect_holders(driver, home, "watched")
        await _connect_holders(driver, home, _NOBODY)
        await viewers.ask(Connect(group=_WATCHERS, host=LOOPBACK, port=home.port, event=event, count=_GROWTH_ROOM))
        seconds = min(2.0, stand.seconds)
        told: dict[int, list[int]] = {_CALM_OPERATIONS_PER_SECOND: [], _OPERATIONS_PER_SECOND: []}

        async def spent(group: str, operations: int) -> float:
            """Cores of the worker, until all that was changed is told."""
            pace = Pace(group=group, per_second=operations, seconds=seconds, cpu_of=home.cpu_of)
            watch = _watch(_WATCHERS, seconds, {"worker": home.workers})
            _, watched = await asyncio.gather(driver.ask(pace), viewers.ask(watch))
            if group != _NOBODY:
                told[operations].append(watched.frames)
            return watched.cpu_ns["worker"] / 1e9 / seconds

        def side(operations: int) -> Side:
            async def of_viewers() -> float:
                return await spent("watched", operations) - await spent(_NOBODY, operations)

            return of_viewers

        many, few = (f"{2 * n:,} changes a second" for n in (_OPERATIONS_PER_SECOND, _CALM_OPERATIONS_PER_SECOND))
        taken = await stand.alternate({many: side(_OPERATIONS_PER_SECOND), few: side(_CALM_OPERATIONS_PER_SECOND)})
    pairs = zip(taken[many].values, taken[few].values, strict=True)
    return [
        measured(
            _GROWTH,
            "times",
            Slices(tuple(busy / calm for busy, calm in pairs if calm > 0)),
            workload=f"the worker's cores that {_GROWTH_ROOM:,} viewers add at {many}, by those that they add at {few}"
            f", in pure Python: {_OPERATIONS_PER_SECOND // _CALM_OPERATIONS_PER_SECOND} where it grew with the changes,"
            " 1 where it grows with ticks and viewers alone",
            peers={many: taken[many], few: taken[few]},
            goal=BUSY_GROWTH.goal(_GROWTH),
            flags={**house.FLAGS, "helper": False},
            raw={"frames": {str(2 * n): sum(frames) for n, frames in told.items()}, "seconds_each": seconds},
        )
    ]


BUSY_GROWTH: Final = Row(
    "busy_growth",
    "what viewers add at 2,000 seat changes a second, by what they add at 500: it grows with ticks, not with changes",
    (Promise(_GROWTH, "times", Goal("value", "most", 2.0)),),
    _measure_growth,
)

BUSY_ROOM: Final = Row(
    "busy_room",
    "2,000 seat changes a second: the share of a core that viewers add",
    (
        Promise("busy_room_1000", "cores"),
        Promise("busy_room_5000", "cores", Goal("value", "most", 0.6)),
        Promise("busy_room_c_1000", "cores"),
        Promise("busy_room_c_5000", "cores", Goal("value", "most", 0.45)),
    ),
    _measure_busy,
)

# --- Readers that do not read

_ROOM: Final = 500
_STALLED: Final = _ROOM // 5
_STALL_SECONDS: Final = 6.0
"""Long enough for the kernel's buffers of a stalled reader to fill, and shorter than the time after which it is cut."""
_SLOW: Final = "slow watchers"
_SLOW_OPERATIONS_PER_SECOND: Final = 500
_SLOW_BUFFER_BYTES: Final = 4 * 1024
_STALLED_SIDE: Final = "a fifth stalls"
_ALL_READ: Final = "all read"


async def _measure_slow(stand: Stand) -> list[Figure]:
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand))
        driver, viewers = await _children(stack)
        event = await _connect_holders(driver, home, _HOLDERS)
        at = {"host": LOOPBACK, "port": home.port, "event": event}
        readers = Connect(group=_WATCHERS, count=_ROOM - _STALLED, **at)  # type: ignore[arg-type]  # as named
        # Small, so that a reader that stalls shows within seconds.
        slow = Connect(group=_SLOW, count=_STALLED, receive_buffer_bytes=_SLOW_BUFFER_BYTES, **at)  # type: ignore[arg-type]
        await viewers.ask(readers)
        await viewers.ask(slow)
        taken: dict[str, list[Done]] = {_STALLED_SIDE: [], _ALL_READ: []}
        seen: list[Done] = []
        grown: list[float] = []

        def side(name: str, stalled: int) -> Side:
            async def hold() -> float:
                before = memory_bytes(home.workers[0])
                await viewers.ask(Stall(group=_SLOW, count=stalled))
                pace = Pace(
                    group=_HOLDERS,
                    per_second=_SLOW_OPERATIONS_PER_SECOND,
                    seconds=_STALL_SECONDS,
                    cpu_of=home.cpu_of,
                )
                watch = _watch(_WATCHERS, _STALL_SECONDS, {})
                done, watched = await asyncio.gather(driver.ask(pace), viewers.ask(watch))
                if stalled:
                    grown.append(max(0.0, (memory_bytes(home.workers[0]) - before) / stalled / 1000))
                    seen.append(watched)
                await viewers.ask(Stall(group=_SLOW, count=0))
                await viewers.ask(Watch(group=_WATCHERS, seconds=1.0, cpu_of={}))
                taken[name].append(done)
                return percentile(done.latencies_ms, 0.99) or 0.0

            return hold

        slices = await stand.alternate({_STALLED_SIDE: side(_STALLED_SIDE, _STALLED), _ALL_READ: side(_ALL_READ, 0)})
    workload = (
        f"{_STALLED} of {_ROOM} viewers read nothing for {_STALL_SECONDS:.0f} s at"
        f" {2 * _SLOW_OPERATIONS_PER_SECOND:,} seat changes a second by {_BUSY_HOLDERS} sockets, who watch too"
    )
    raw = {
        **{name: counters(done[1:]) for name, done in taken.items()},
        "cut_sockets": seen[-1].lost if seen else 0,
        "frames_to_the_last_reader": sum(done.frames_least for done in seen[1:]),
    }
    return [
        measured(
            _SLOW_P99,
            "ms",
            slices[_STALLED_SIDE],
            workload=f"p99 of a hold's answer; {workload}",
            peers={_ALL_READ: slices[_ALL_READ]},
            limit=_ALL_READ,
            goal=SLOW_READER.goal(_SLOW_P99),
            flags=house.FLAGS,
            raw=raw,
        ),
        measured(
            _SLOW_MEMORY,
            "kB",
            Slices(tuple(grown[1:])),
            workload=f"growth of the worker's memory for each stalled socket; {workload}",
            goal=SLOW_READER.goal(_SLOW_MEMORY),
            flags=house.FLAGS,
            raw=raw,
        ),
    ]


_SLOW_P99: Final = "slow_reader_p99"
_SLOW_MEMORY: Final = "slow_reader_memory"
SLOW_READER: Final = Row(
    "slow_reader",
    "a fifth of the room does not read: the others' holds beside the same with all reading, and memory",
    (
        Promise(_SLOW_P99, "ms", Goal("ratio", "most", 1.2)),
        Promise(_SLOW_MEMORY, "kB", Goal("value", "most", limits.CLIENT_QUEUE_BYTES_MAX / 1000)),
    ),
    _measure_slow,
)

# --- An idle socket

_IDLE_TURNS: Final = 4
_IDLE_SOCKETS: Final = 500
_BARE: Final = "bare aiohttp"


async def _measure_idle(stand: Stand) -> list[Figure]:
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand))
        viewers = await stack.enter_async_context(open_child("the viewers", module("viewers")))
        bare = await stack.enter_async_context(open_child(_BARE, module("echo")))
        event = await home.open_event(_HALL)
        if why := bounds.too_many_sockets(_IDLE_TURNS * _IDLE_SOCKETS * 2):
            return [not_measured(_IDLE, "kB", why, goal=IDLE_SOCKET.goal(_IDLE))]
        servers = {"ours": (home.workers[0], home.port), _BARE: (bare.pids[0], bare.port)}
        grown: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(_IDLE_TURNS):
            for name, (pid, port) in servers.items():
                before = memory_bytes(pid)
                await viewers.ask(Connect(group=name, host=LOOPBACK, port=port, event=event, count=_IDLE_SOCKETS))
                await asyncio.sleep(bounds.SETTLE_SECONDS)
                grown[name].append((memory_bytes(pid) - before) / _IDLE_SOCKETS / 1000)
    slices: dict[str, Sequence[float]] = {name: values[1:] for name, values in grown.items()}
    return [
        measured(
            _IDLE,
            "kB",
            Slices(tuple(slices["ours"])),
            workload=f"growth of the process's memory (PSS) for each of {_IDLE_SOCKETS} welcomed, silent sockets",
            peers={_BARE: Slices(tuple(slices[_BARE]))},
            limit=_BARE,
            goal=IDLE_SOCKET.goal(_IDLE),
            flags=house.FLAGS,
            raw={"first_turn_kb": {name: values[0] for name, values in grown.items()}},
        )
    ]


_IDLE: Final = "idle_socket"
IDLE_SOCKET: Final = Row(
    "idle_socket",
    "memory of a socket that only listens, beside a bare aiohttp socket",
    (Promise(_IDLE, "kB", Goal("ratio", "most", 1.3)),),
    _measure_idle,
)
