"""Rows about a worker: what a hold costs it from frame to answer, and what an idle socket takes."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from lml_live import limits
from lml_live.bench import bounds, house
from lml_live.bench.child import Child, module, open_child
from lml_live.bench.figures import Figure, Goal, Slices, measured, percentile
from lml_live.bench.orders import Burst, Connect, Done, Leave, Pace
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import Side, Stand
from lml_live.devstack.child import LOOPBACK

_HALL: Final = 20_000
_ECHO: Final = "bare echo"
_SELDOM: Final = "told once a second"
_SELDOM_MS: Final = 1_000
"""The same holds among viewers who are told a twentieth as often: what is left is the holds' own."""
_SOCKETS: Final = (64, 512)
_SELDOM_EXPLAINED: Final = f"`{_SELDOM}`: the same on an event whose tick is a second, not 50 ms"
_PUBLISHED: Final = {"published": "pretix's cart position: 41,000 µs of CPU, measured on this class of machine"}
"""What a whole hold costs in today's open ticketing software: it cannot be had from a package registry to run here."""
_EXPLAINED: Final = (
    "mean of a hold of two seats (with a key) and a release; each socket one request on the way, sent as soon as the"
    f" last is answered, {bounds.BURST_MESSAGES} in a burst, as many as the message limit grants a rested socket"
)


class _Crew:
    """A group of sockets of the driver, and what it measured."""

    def __init__(self, driver: Child, group: str, cpu_of: Mapping[str, tuple[int, ...]]) -> None:
        self.driver = driver
        self.group = group
        self.cpu_of = dict(cpu_of)
        self.slices: list[Done] = []
        self._rested = 0.0

    async def burst(self) -> Done:
        """A burst of every socket, once all are rested."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._rested - loop.time()))
        done = await self.driver.ask(Burst(group=self.group, messages=bounds.BURST_MESSAGES, cpu_of=self.cpu_of))
        self._rested = loop.time() + bounds.REST_SECONDS
        self.slices.append(done)
        return done

    def side(self, process: str) -> Side:
        """Bursts; answers µs of the process an operation."""

        async def slice_() -> float:
            done = await self.burst()
            return _us_each(done, process)

        return slice_

    def of(self, *processes: str) -> Slices:
        """µs of the processes an operation, in each slice but the first, which warmed up."""
        return Slices(tuple(sum(_us_each(done, name) for name in processes) for done in self.slices[1:]))

    def raw(self) -> dict[str, Any]:
        """The counters of all slices but the first."""
        return counters(self.slices[1:])


def _us_each(done: Done, process: str) -> float:
    return done.cpu_ns[process] / max(1, done.operations) / 1e3


def counters(slices: list[Done]) -> dict[str, Any]:
    """The sums of what slices counted."""
    names = {name for done in slices for name in done.cpu_ns}
    return {
        "operations": sum(done.operations for done in slices),
        "seconds": sum(done.seconds for done in slices),
        "diffs": sum(done.frames for done in slices),
        **{f"{name}_cpu_ns": sum(done.cpu_ns.get(name, 0) for done in slices) for name in sorted(names)},
    }


async def _measure_holds(stand: Stand) -> list[Figure]:
    figures: list[Figure] = []
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand))
        driver = await stack.enter_async_context(open_child("the driver", module("driver")))
        echo = await stack.enter_async_context(open_child("the echo server", module("echo")))
        for sockets in _SOCKETS:
            stand.say(f"  {sockets} sockets")
            # A hall of its own: the other group's sockets would be viewers of this one's holds.
            event = await home.open_event(_HALL)
            seldom_told = await home.open_event(_HALL, tick_ms=_SELDOM_MS)
            ours = _Crew(driver, f"ours-{sockets}", home.cpu_of)
            seldom = _Crew(driver, f"seldom-{sockets}", home.cpu_of)
            peer = _Crew(driver, f"echo-{sockets}", {_ECHO: echo.pids})
            for crew, port, hall in (
                (ours, home.port, event),
                (seldom, home.port, seldom_told),
                (peer, echo.port, event),
            ):
                await driver.ask(
                    Connect(
                        group=crew.group,
                        host=LOOPBACK,
                        port=port,
                        event=hall,
                        count=sockets,
                        pairs_each=_HALL // 2 // sockets,
                    )
                )
            sides = {"ours": ours.side("worker"), _SELDOM: seldom.side("worker"), _ECHO: peer.side(_ECHO)}
            await stand.alternate(sides)
            for crew in (ours, seldom, peer):
                await driver.ask(Leave(group=crew.group))
            workload = f"{sockets} sockets, all watching the hall of {_HALL:,} seats; {_EXPLAINED}; {_SELDOM_EXPLAINED}"
            raw = {"ours": ours.raw(), _SELDOM: seldom.raw(), _ECHO: peer.raw()}
            worker, whole = f"worker_hold_{sockets}", f"whole_hold_{sockets}"
            shared: dict[str, Any] = {"workload": workload, "flags": house.FLAGS, "raw": raw}
            figures += [
                measured(
                    worker,
                    "µs",
                    ours.of("worker"),
                    peers={_ECHO: peer.of(_ECHO), _SELDOM: seldom.of("worker")},
                    limit=_ECHO,
                    goal=HOLDS.goal(worker),
                    **shared,
                ),
                measured(
                    whole,
                    "µs",
                    ours.of("worker", "valkey"),
                    peers={"worker": ours.of("worker"), "Valkey": ours.of("valkey")},
                    goal=HOLDS.goal(whole),
                    **shared | {"flags": {**house.FLAGS, **_PUBLISHED}},
                ),
            ]
    return figures


HOLDS: Final = Row(
    "holds",
    "worker CPU for a hold, frame in to answer out, at full load beside a bare echo; and worker and Valkey together",
    tuple(
        promise
        for sockets in _SOCKETS
        for promise in (
            Promise(f"worker_hold_{sockets}", "µs", Goal("ratio", "most", 1.1)),
            Promise(f"whole_hold_{sockets}", "µs", Goal("value", "most", 18)),
        )
    ),
    _measure_holds,
)

# --- Less than full load

_RATES: Final = (1_000, 5_000, 10_000, 25_000)
_PACED_SOCKETS: Final = 512


def paced_seconds(rate: int, sockets: int, wanted: float) -> float:
    """How long rested sockets can keep a rate up within their message limit; at most `wanted` seconds."""
    each = rate / sockets
    spare = each - (bounds.BURST_MESSAGES / bounds.REST_SECONDS)
    return wanted if spare <= 0 else min(wanted, bounds.BURST_MESSAGES / 2 / spare)


async def _measure_paced(stand: Stand) -> list[Figure]:
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand))
        driver = await stack.enter_async_context(open_child("the driver", module("driver")))
        echo = await stack.enter_async_context(open_child("the echo server", module("echo")))
        event = await home.open_event(_HALL)
        groups = {"ours": (home.port, home.cpu_of), _ECHO: (echo.port, {_ECHO: echo.pids})}
        for group, (port, _) in groups.items():
            pairs = _HALL // 2 // _PACED_SOCKETS
            await driver.ask(
                Connect(group=group, host=LOOPBACK, port=port, event=event, count=_PACED_SOCKETS, pairs_each=pairs)
            )
        taken: dict[tuple[str, int], list[Done]] = {(group, rate): [] for group in groups for rate in _RATES}

        def side(group: str, rate: int) -> Side:
            async def slice_() -> float:
                seconds = paced_seconds(rate, _PACED_SOCKETS, stand.seconds / 3)
                order = Pace(group=group, per_second=rate, seconds=seconds, cpu_of=groups[group][1])
                done = await driver.ask(order)
                taken[group, rate].append(done)
                if rate > _PACED_SOCKETS * limits.MESSAGES_PER_SECOND_MAX * 0.9:
                    await asyncio.sleep(bounds.REST_SECONDS)
                return sum(done.cpu_ns[name] for name in groups[group][1]) / max(1, done.operations) / 1e3

            return slice_

        for rate in _RATES:
            stand.say(f"  {rate:,} operations a second")
            await stand.alternate({group: side(group, rate) for group in groups})
    figures = []
    for rate in _RATES:
        ours, peer = taken["ours", rate][1:], taken[_ECHO, rate][1:]
        late = [latency for done in ours for latency in done.latencies_ms]
        each = {name: Slices(tuple(_us_each(done, name) for done in ours)) for name in ("worker", "valkey")}
        reached = sum(done.operations for done in ours) / max(1e-9, sum(done.seconds for done in ours))
        both = Slices(tuple(_us_each(done, "worker") + _us_each(done, "valkey") for done in ours))
        figures.append(
            measured(
                f"paced_hold_{rate}",
                "µs",
                both,
                workload=f"worker and Valkey; {rate:,} holds and releases a second by {_PACED_SOCKETS} sockets",
                peers={
                    "worker": each["worker"],
                    "Valkey": each["valkey"],
                    _ECHO: Slices(tuple(_us_each(done, _ECHO) for done in peer)),
                },
                reason=None if reached > 0.9 * rate else f"only {reached:,.0f} a second were reached",
                flags={**house.FLAGS, **_PUBLISHED},
                raw={
                    "ours": counters(ours),
                    _ECHO: counters(peer),
                    "latency_ms": {"p50": percentile(late, 0.5), "p99": percentile(late, 0.99)},
                    "reached_per_second": reached,
                },
            )
        )
    return figures


PACED: Final = Row(
    "paced_holds",
    "the whole hold at less than full load, where waking up is most of the cost",
    tuple(Promise(f"paced_hold_{rate}", "µs") for rate in _RATES),
    _measure_paced,
)
