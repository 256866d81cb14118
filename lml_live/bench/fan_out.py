"""Rows about a diff to a room: what it costs a socket that it reaches, beside bare loops and peers under Node."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from lml_live import limits
from lml_live.bench import bounds, house, node_peers
from lml_live.bench.child import Child, connect, module, open_child
from lml_live.bench.counters import cpu_ns
from lml_live.bench.figures import Figure, Goal, Slices, measured, not_measured, show
from lml_live.bench.orders import Connect, Done, Leave, Pace, Send, Watch
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import Side, Stand, reason_of
from lml_live.bench.worker import counters
from lml_live.devstack.child import LOOPBACK
from lml_live.errors import LmlError, Unavailable

_ROOMS: Final = (1_000, 5_000, 10_000)
_HALL: Final = 20_000
_PURE: Final = "pure Python"
_HELPED: Final = "with helper"
_C_LOOP: Final = "C send() loop"
_PYTHON_LOOP: Final = "Python socket.send loop"
_CHANGES_PER_SECOND: Final = 25
_HOLDERS: Final = 8
_NO_LIMIT: Final = "a bare loop in C cannot be built here"
_PEERS_UP_TO: Final = 5_000
"""The peers under Node, and the loop in Python, are not asked for larger rooms: opening those takes a minute each."""


async def _measure(stand: Stand) -> list[Figure]:
    figures: list[Figure] = []
    async with AsyncExitStack() as stack:
        sides = await _Sides.open(stand, stack)
        for size in _ROOMS:
            stand.say(f"  {size:,} viewers")
            try:
                figures += await sides.measure(size)
            except LmlError as error:
                stand.say(f"  {error.message}")
                figures += [
                    not_measured(
                        f"{name}_{size}", "µs", f"failed: {reason_of(error)}", goal=FAN_OUT.goal(f"{name}_{size}")
                    )
                    for name in ("fan_out", "fan_out_c")
                ]
                break  # the sides are in no known state
    return figures


class _Sides:
    """Everybody who sends to rooms: our server with and without its helper, bare loops, servers under Node.

    Each has viewers in a process of its own: so many sockets as all of them together no process may have.
    """

    def __init__(self, stand: Stand, driver: Child) -> None:
        self.stand = stand
        self.driver = driver
        self.houses: dict[str, house.House] = {}
        self.peers: dict[str, Child] = {}
        self.viewers: dict[str, Child] = {}
        self.missing: dict[str, str] = {}
        """Why a side is not there."""
        self.frame_bytes = 0

    @classmethod
    async def open(cls, stand: Stand, stack: AsyncExitStack) -> "_Sides":
        self = cls(stand, await stack.enter_async_context(open_child("the driver", module("driver"))))
        pure = self.houses[_PURE] = await stack.enter_async_context(house.open_house(stand, helper=False))
        try:
            helped = house.open_house(stand, helper=True, beside=pure)
            self.houses[_HELPED] = await stack.enter_async_context(helped)
        except house.NoHelper as error:
            self.missing[_HELPED] = error.message
        commands = {_PYTHON_LOOP: module("send_loop")}
        compiled = await _compile(stand.directory)
        if isinstance(compiled, Path):
            commands[_C_LOOP] = [str(compiled)]
        else:
            self.missing[_C_LOOP] = compiled
        stand.say("  npm installs the peers")
        installed = await node_peers.install(stand.directory)
        if isinstance(installed, str):
            self.missing |= dict.fromkeys(node_peers.NAMES, installed)
        else:
            commands |= installed
        for name, command in commands.items():
            self.peers[name] = await stack.enter_async_context(open_child(name, command))
        for name in (*self.houses, *self.peers):
            self.viewers[name] = await stack.enter_async_context(open_child("the viewers", module("viewers")))
        return self

    async def measure(self, size: int) -> list[Figure]:
        """One room on every side, by turns."""
        names = [name for name in self.viewers if size <= _PEERS_UP_TO or name in (*self.houses, _C_LOOP)]
        if why := bounds.too_many_sockets(size):
            return [not_measured(f"{figure}_{size}", "µs", why) for figure in ("fan_out", "fan_out_c")]
        taken: dict[str, list[Done]] = {name: [] for name in names}
        sides: dict[str, Side] = {}
        for name in names:
            if name in self.houses:
                sides[name] = await self._room(name, size, taken[name])
            else:
                await self._open_peer(name, size)
                sides[name] = self._loop(name, taken[name])
        slices = await self.stand.alternate(sides)
        self.stand.say("  " + ", ".join(f"{name} {show(side.median)} µs" for name, side in slices.items()))
        for name in self.houses:
            for group in (f"{name}-{size}", f"{name}-{size}-alone"):
                await self.driver.ask(Leave(group=group))
            await self.viewers[name].ask(Leave(group=str(size)))
        return self._figures(size, slices, taken)

    async def _room(self, name: str, size: int, taken: list[Done]) -> Side:
        home, viewers, holders = self.houses[name], self.viewers[name], f"{name}-{size}"
        alone, pairs = f"{holders}-alone", _HALL // 2 // _HOLDERS
        for group in (alone, holders):
            at = {"host": LOOPBACK, "port": home.port, "event": await home.open_event(_HALL)}
            await self.driver.ask(Connect(group=group, count=_HOLDERS, pairs_each=pairs, **at))  # type: ignore[arg-type]
        await connect(viewers, Connect(group=str(size), count=size, **at))  # type: ignore[arg-type]  # as named
        seconds = min(1.0, self.stand.seconds)

        async def tell() -> float:
            seen, held = await asyncio.gather(
                viewers.ask(_watch(str(size), seconds, {name: home.workers})),
                self.driver.ask(Pace(group=holders, per_second=_CHANGES_PER_SECOND, seconds=seconds, cpu_of={})),
            )
            if not seen.frames:
                raise Unavailable("no diff reached the room")
            self.frame_bytes = seen.frame_bytes // seen.frames
            # The same where only the holders watch, for as long: what the worker does anyway.
            before = cpu_ns(home.workers)
            pace = Pace(group=alone, per_second=_CHANGES_PER_SECOND, seconds=seconds, cpu_of={})
            began = time.perf_counter()
            await self.driver.ask(pace)
            await asyncio.sleep(max(0.0, seen.seconds - (time.perf_counter() - began)))
            seen.cpu_ns["anyway"] = cpu_ns(home.workers) - before
            taken.append(seen)
            return (seen.cpu_ns[name] - seen.cpu_ns["anyway"]) / (seen.frames + held.frames) / 1e3

        return tell

    async def _open_peer(self, name: str, size: int) -> None:
        have = max((each for each in _ROOMS if each < size), default=0)
        order = Connect(
            group=name,
            host=LOOPBACK,
            port=self.peers[name].port,
            count=bounds.CONNECTS_IN_ONE_ORDER,
            plain=name not in node_peers.NAMES,
            peer=name if name in node_peers.NAMES else None,  # type: ignore[arg-type]  # it is one of them
        )
        for _ in range(have, size, bounds.CONNECTS_IN_ONE_ORDER):
            await self.viewers[name].ask(order)
            # The bare loops take in who waits when they are told to send.
            await self.peers[name].ask(Send(ticks=1, tick_ms=1, frame_bytes=64))

    def _loop(self, name: str, taken: list[Done]) -> Side:
        seconds = min(1.0, self.stand.seconds)
        ticks = round(seconds * 1000 / limits.TICK_MS)

        async def send() -> float:
            # As large as our diffs, which come first.
            order = Send(ticks=ticks, tick_ms=limits.TICK_MS, frame_bytes=self.frame_bytes)
            watch = _watch(name, seconds, {name: self.peers[name].pids})
            seen, _ = await asyncio.gather(self.viewers[name].ask(watch), self.peers[name].ask(order))
            if not seen.frames:
                raise Unavailable(f"no frame of {name} reached its viewers")
            taken.append(seen)
            return seen.cpu_ns[name] / seen.frames / 1e3

        return send

    def _figures(self, size: int, slices: dict[str, Slices], taken: dict[str, list[Done]]) -> list[Figure]:
        limit = _C_LOOP if _C_LOOP in slices else None
        raw = {"frame_bytes": self.frame_bytes, **{name: counters(done[1:]) for name, done in taken.items()}}
        figures = []
        for figure, name in ((f"fan_out_{size}", _PURE), (f"fan_out_c_{size}", _HELPED)):
            if name not in slices:
                figures.append(not_measured(figure, "µs", self.missing[name], goal=FAN_OUT.goal(figure)))
                continue
            figures.append(
                measured(
                    figure,
                    "µs",
                    slices[name],
                    workload=(
                        f"worker CPU, {name}, for each diff delivered to {size:,} viewers who read lazily, less what it"
                        f" takes for the same {_CHANGES_PER_SECOND} operations a second without them (`anyway`);"
                        f" {self.frame_bytes} bytes a frame"
                    ),
                    peers={peer: side for peer, side in slices.items() if peer not in self.houses},
                    limit=limit,
                    goal=FAN_OUT.goal(figure),
                    reason=None if limit else f"{_NO_LIMIT}: {self.missing[_C_LOOP]}",
                    flags={**house.FLAGS, "helper": name == _HELPED},
                    raw=raw,
                )
            )
        if size == _PEERS_UP_TO:
            best = _HELPED if _HELPED in slices else _PURE
            figures += [self._beside(peer, best, slices, raw) for peer in node_peers.NAMES]
        return figures

    def _beside(self, peer: str, ours: str, slices: dict[str, Slices], raw: dict[str, object]) -> Figure:
        figure = _BESIDE[peer]
        goal = FAN_OUT.goal(figure)
        if peer not in slices:
            return not_measured(figure, "µs", self.missing[peer], goal=goal)
        return measured(
            figure,
            "µs",
            slices[ours],
            workload=f"the same to {_PEERS_UP_TO:,} viewers, ours {ours}, beside {peer} under Node",
            peers={peer: slices[peer]},
            limit=peer,
            goal=goal,
            flags={**house.FLAGS, "helper": ours == _HELPED},
            raw=raw,
        )


def _watch(group: str, seconds: float, cpu_of: dict[str, tuple[int, ...]]) -> Watch:
    return Watch(group=group, seconds=seconds, quiet_seconds=bounds.SETTLE_SECONDS, expects=True, cpu_of=cpu_of)


async def _compile(directory: Path) -> Path | str:
    """The C loop as a program, or why there is none."""
    program = directory / "send_loop"
    try:
        await house.run_compiler("-O2", "-o", str(program), str(Path(__file__).with_name("send_loop.c")))
    except house.NoHelper as error:
        return error.message
    return program


_BESIDE: Final = {"socket.io": "fan_out_socketio", "ws": "fan_out_ws"}
FAN_OUT: Final = Row(
    "fan_out",
    "a diff to a room: worker CPU for each frame delivered, beside a bare send() loop in C, and ws and socket.io",
    (
        # The share of the frames that C sends in as much CPU time.
        Promise("fan_out_1000", "µs", Goal("ratio", "most", 1 / 0.70)),
        Promise("fan_out_c_1000", "µs", Goal("ratio", "most", 1 / 0.95)),
        Promise("fan_out_5000", "µs", Goal("ratio", "most", 1 / 0.70)),
        Promise("fan_out_c_5000", "µs", Goal("ratio", "most", 1 / 0.95)),
        Promise("fan_out_10000", "µs", Goal("ratio", "most", 1 / 0.62)),
        Promise("fan_out_c_10000", "µs", Goal("ratio", "most", 1 / 0.95)),
        Promise("fan_out_socketio", "µs", Goal("ratio", "most", 1 / 2.5)),
        Promise("fan_out_ws", "µs", Goal("ratio", "most", 1 / 1.3)),
    ),
    _measure,
)
