"""Rows about rooms: what a diff costs for each socket that it reaches, a busy room, and readers that do not read."""

import asyncio
import resource
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from lml_live import limits
from lml_live.bench import house
from lml_live.bench.child import Child, module, open_child
from lml_live.bench.counters import memory_bytes
from lml_live.bench.figures import Figure, Goal, Slices, measured, not_measured, percentile
from lml_live.bench.orders import Connect, Done, Leave, Pace, Send, Stall, Watch
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import Side, Stand
from lml_live.bench.worker import counters
from lml_live.devstack.child import LOOPBACK
from lml_live.errors import Unavailable

_HALL: Final = 20_000
_WATCHERS: Final = "watchers"
_HOLDERS: Final = "holders"
_SPARE_FILES: Final = 500
_SETTLE_SECONDS: Final = 0.4
"""A watch goes on until nothing has come for so long: a tick, its fan-out and the next look into the sockets."""


async def _children(stack: AsyncExitStack) -> tuple[Child, Child]:
    driver = await stack.enter_async_context(open_child("the driver", module("driver")))
    viewers = await stack.enter_async_context(open_child("the viewers", module("viewers")))
    return driver, viewers


def _watch(group: str, seconds: float, cpu_of: dict[str, tuple[int, ...]]) -> Watch:
    return Watch(group=group, seconds=seconds, quiet_seconds=_SETTLE_SECONDS, cpu_of=cpu_of)


def _too_many(sockets: int) -> str | None:
    """Why so many sockets cannot be open in one process; None where they can."""
    may = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if sockets + _SPARE_FILES > min(may, limits.SOCKETS_MAX):
        return f"{sockets:,} sockets need more open files than the {may:,} that a process may have here"
    return None


# --- A diff to a room

_ROOMS: Final = (1_000, 5_000)
_C_LOOP: Final = "C send() loop"
_PYTHON_LOOP: Final = "Python socket.send loop"
_CHANGES_PER_SECOND: Final = 25
_DIFF_HOLDERS: Final = 8


async def _measure_fan_out(stand: Stand) -> list[Figure]:
    figures: list[Figure] = []
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand))
        driver, viewers = await _children(stack)
        loops = {_PYTHON_LOOP: await stack.enter_async_context(open_child(_PYTHON_LOOP, module("send_loop")))}
        compiled = await _compile(stand.directory)
        if isinstance(compiled, Path):
            loops[_C_LOOP] = await stack.enter_async_context(open_child(_C_LOOP, [str(compiled)]))
        before = 0
        for size in _ROOMS:
            name = f"fan_out_{size}"
            # Ours, and each peer's, are open at once in the viewers' process.
            if why := _too_many(size * (1 + len(loops))):
                figures.append(not_measured(name, "µs", why, goal=FAN_OUT.goal(name)))
                continue
            stand.say(f"  {size:,} viewers")
            event = await home.open_event(_HALL)
            holders = f"{_HOLDERS}-{size}"
            await driver.ask(
                Connect(
                    group=holders,
                    host=LOOPBACK,
                    port=home.port,
                    event=event,
                    count=_DIFF_HOLDERS,
                    pairs_each=_HALL // 2 // _DIFF_HOLDERS,
                )
            )
            ours = f"{_WATCHERS}-{size}"
            await viewers.ask(Connect(group=ours, host=LOOPBACK, port=home.port, event=event, count=size))
            for peer, loop in loops.items():
                await viewers.ask(Connect(group=peer, host=LOOPBACK, port=loop.port, count=size - before, plain=True))
            before = size
            figures.append(await _one_room(stand, name, home, driver, viewers, loops, (holders, ours), compiled))
            await driver.ask(Leave(group=holders))
            await viewers.ask(Leave(group=ours))
    return figures


async def _one_room(
    stand: Stand,
    name: str,
    home: house.House,
    driver: Child,
    viewers: Child,
    loops: dict[str, Child],
    groups: tuple[str, str],
    compiled: Path | str,
) -> Figure:
    seconds = min(1.0, stand.seconds)
    taken: dict[str, list[Done]] = {"ours": [], **{peer: [] for peer in loops}}
    holders, watchers = groups

    async def room() -> float:
        seen, held = await asyncio.gather(
            viewers.ask(_watch(watchers, seconds, {"ours": home.workers})),
            driver.ask(Pace(group=holders, per_second=_CHANGES_PER_SECOND, seconds=seconds, cpu_of={})),
        )
        if not seen.frames:
            raise Unavailable("no diff reached the room")
        taken["ours"].append(seen)
        return seen.cpu_ns["ours"] / (seen.frames + held.frames) / 1e3

    def loop(peer: str) -> Side:
        async def send() -> float:
            # As large as the room's diffs of the warm-up were.
            first = taken["ours"][0]
            size = first.frame_bytes // first.frames
            order = Send(ticks=round(seconds * 1000 / limits.TICK_MS), tick_ms=limits.TICK_MS, frame_bytes=size)
            watch = _watch(peer, seconds, {peer: loops[peer].pids})
            seen, _ = await asyncio.gather(viewers.ask(watch), loops[peer].ask(order))
            if not seen.frames:
                raise Unavailable("no frame of a peer reached its viewers")
            taken[peer].append(seen)
            return seen.cpu_ns[peer] / seen.frames / 1e3

        return send

    slices = await stand.alternate({"ours": room, **{peer: loop(peer) for peer in loops}})
    first = taken["ours"][0]
    limit = _C_LOOP if _C_LOOP in loops else _PYTHON_LOOP
    return measured(
        name,
        "µs",
        slices["ours"],
        workload=(
            f"worker CPU for each diff delivered to {first.sockets:,} viewers who read lazily, all that the worker does"
            f" meanwhile included ({_CHANGES_PER_SECOND} holds and releases a second);"
            f" {first.frame_bytes // first.frames} bytes a frame"
        ),
        peers={peer: side for peer, side in slices.items() if peer != "ours"},
        limit=limit,
        goal=FAN_OUT.goal(name),
        reason=None if isinstance(compiled, Path) else f"the limit is the loop in Python: {compiled}",
        flags=house.FLAGS,
        raw={side: counters(done[1:]) for side, done in taken.items()},
    )


async def _compile(directory: Path) -> Path | str:
    """The C loop as a program, or why there is none."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return "there is no C compiler here"
    program = directory / "send_loop"
    source = Path(__file__).with_name("send_loop.c")
    process = await asyncio.create_subprocess_exec(
        *(compiler, "-O2", "-o", str(program), str(source)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return program if process.returncode == 0 else f"the compiler failed: {said[-100:].decode(errors='replace')}"


FAN_OUT: Final = Row(
    "fan_out",
    "a diff to a room: worker CPU for each frame delivered, beside a bare send() loop in C and in Python",
    # 0.70 of the frames that C sends in as much CPU time.
    tuple(Promise(f"fan_out_{size}", "µs", Goal("ratio", "most", 1 / 0.70)) for size in _ROOMS),
    _measure_fan_out,
)

# --- A busy room

_BUSY_ROOMS: Final = (1_000, 5_000)
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
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand))
        driver, viewers = await _children(stack)
        event = await _connect_holders(driver, home, "watched")
        await _connect_holders(driver, home, _NOBODY)
        connected = 0
        seconds = min(2.0, stand.seconds)
        for size in _BUSY_ROOMS:
            name = f"busy_room_{size}"
            if why := _too_many(size):
                figures.append(not_measured(name, "cores", why, goal=BUSY_ROOM.goal(name)))
                continue
            stand.say(f"  {size:,} viewers")
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
                    workload=f"worker cores for {size:,} viewers of {_BUSY}: with them less without them,"
                    " until all is told, by the seconds of changes (above 1 it falls behind)",
                    peers={"in all": slices["watched"], _NOBODY: slices[_NOBODY]},
                    goal=BUSY_ROOM.goal(name),
                    reason=None if told > 0.8 * 1000 / limits.TICK_MS else f"only {told:.1f} diffs a second were told",
                    flags=house.FLAGS,
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


BUSY_ROOM: Final = Row(
    "busy_room",
    "2,000 seat changes a second: the share of a core that viewers add",
    (
        Promise("busy_room_1000", "cores"),
        Promise("busy_room_5000", "cores", Goal("value", "most", 0.6)),
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
        if why := _too_many(_IDLE_TURNS * _IDLE_SOCKETS * 2):
            return [not_measured(_IDLE, "kB", why, goal=IDLE_SOCKET.goal(_IDLE))]
        servers = {"ours": (home.workers[0], home.port), _BARE: (bare.pids[0], bare.port)}
        grown: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(_IDLE_TURNS):
            for name, (pid, port) in servers.items():
                before = memory_bytes(pid)
                await viewers.ask(Connect(group=name, host=LOOPBACK, port=port, event=event, count=_IDLE_SOCKETS))
                await asyncio.sleep(_SETTLE_SECONDS)
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
