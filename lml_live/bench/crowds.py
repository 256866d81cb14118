"""Rows about many people at one event: holds among viewers, thousands who come or come back at once, or who watch."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

from lml_live import limits
from lml_live.bench import bounds, house
from lml_live.bench.child import Child, connect, module, open_child
from lml_live.bench.figures import Figure, Goal, Slices, measured, not_measured, percentile
from lml_live.bench.orders import Burst, Come, Connect, Cut, Done, Leave, Pace, Watch
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import Side, Stand
from lml_live.bench.worker import counters, paced_seconds
from lml_live.devstack.child import LOOPBACK
from lml_live.errors import Unavailable

T = TypeVar("T")

_HALL: Final = 20_000

# --- Holds among viewers

_VIEWERS: Final = 2_000
_RATES: Final = (1_000, 10_000)
_HOLDERS: Final = 512
_AMONG: Final = "among viewers"
_ALONE: Final = "without viewers"


async def _measure_among(stand: Stand) -> list[Figure]:
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand))
        driver = await stack.enter_async_context(open_child("the driver", module("driver")))
        viewers = await stack.enter_async_context(open_child("the viewers", module("viewers")))
        for group in (_AMONG, _ALONE):
            event = await home.open_event(_HALL)
            at = {"host": LOOPBACK, "port": home.port, "event": event}
            pairs = _HALL // 2 // _HOLDERS
            await driver.ask(Connect(group=group, count=_HOLDERS, pairs_each=pairs, **at))  # type: ignore[arg-type]
            if group == _AMONG:
                await connect(viewers, Connect(group=group, count=_VIEWERS, **at))  # type: ignore[arg-type]  # as named
        return [await _among(stand, home, driver, viewers, rate) for rate in _RATES]


async def _among(stand: Stand, home: house.House, driver: Child, viewers: Child, rate: int) -> Figure:
    stand.say(f"  {rate:,} operations a second")
    seconds = paced_seconds(rate, _HOLDERS, stand.seconds)
    taken: dict[str, list[Done]] = {_AMONG: [], _ALONE: []}
    seen: list[Done] = []

    def side(group: str) -> Side:
        async def hold() -> float:
            # The viewers read all the while, whether there is something to read or not.
            watch = Watch(group=_AMONG, seconds=seconds, quiet_seconds=bounds.SETTLE_SECONDS, cpu_of={})
            pace = Pace(group=group, per_second=rate, seconds=seconds, cpu_of=home.cpu_of)
            done, watched = await asyncio.gather(driver.ask(pace), viewers.ask(watch))
            taken[group].append(done)
            if group == _AMONG:
                seen.append(watched)
            if rate > _HOLDERS * limits.MESSAGES_PER_SECOND_MAX * 0.9:
                await asyncio.sleep(bounds.REST_SECONDS)
            return percentile(done.latencies_ms, 0.99) or 0.0

        return hold

    slices = await stand.alternate({group: side(group) for group in taken})
    reached = sum(done.operations for done in taken[_AMONG][1:]) / sum(done.seconds for done in taken[_AMONG][1:])
    figure = _among_figure(rate)
    return measured(
        figure,
        "ms",
        slices[_AMONG],
        workload=(
            f"p99 of the answer; {rate:,} holds and releases a second by {_HOLDERS} sockets, who watch too, and"
            f" {_VIEWERS:,} viewers"
        ),
        peers={_ALONE: slices[_ALONE]},
        goal=HOLD_AMONG_VIEWERS.goal(figure),
        reason=None if reached > 0.9 * rate else f"only {reached:,.0f} a second were reached: this is a queue",
        flags={**house.FLAGS, "sockets_in_a_loop_pass": _slice()},
        raw={
            **{group: counters(done[1:]) for group, done in taken.items()},
            "reached_per_second": reached,
            "diffs_told": sum(done.frames for done in seen[1:]),
            "diffs_to_the_last": sum(done.frames_least for done in seen[1:]),
            "watched_seconds": sum(done.seconds for done in seen[1:]),
            "p50_ms": percentile([each for done in taken[_AMONG][1:] for each in done.latencies_ms], 0.5),
        },
    )


def _among_figure(rate: int) -> str:
    return f"hold_p99_{_VIEWERS}_viewers" + ("" if rate == _RATES[-1] else f"_{rate}")


def _slice() -> int:
    from lml_live.gateway.fan_out import SLICE

    return SLICE


HOLD_AMONG_VIEWERS: Final = Row(
    "hold_p99",
    "how long holds take among viewers, beside the same without viewers",
    tuple(Promise(_among_figure(rate), "ms", Goal("value", "most", 8)) for rate in _RATES),
    _measure_among,
)

# --- Thousands who come at once

_COMERS: Final = 5_000
_DOORS: Final = 2
"""Processes through which they come."""
_PROBES: Final = 40
_PINGS_PER_SECOND: Final = 400
"""Of all probes: every 2.5 ms somebody asks whether the loop still turns."""
_BURST_HALL: Final = 60_000
_BURSTS: Final = 3


async def _measure_burst(stand: Stand) -> list[Figure]:
    if why := bounds.too_many_sockets(_COMERS + _PROBES):
        return [not_measured(name, "ms", why, goal=WELCOME_BURST.goal(name)) for name in (_PAUSE, _JOIN)]
    bursts: list[tuple[Done, float, int]] = []
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand))
        driver = await stack.enter_async_context(open_child("the driver", module("driver")))
        doors = [await stack.enter_async_context(open_child("the comers", module("viewers"))) for _ in range(_DOORS)]
        event = await home.open_event(_BURST_HALL, blocked=0.3)
        at = {"host": LOOPBACK, "port": home.port, "event": event}
        await driver.ask(Connect(group="probes", count=_PROBES, asks="ping", **at))  # type: ignore[arg-type]  # as named
        order = Connect(group="comers", count=_COMERS // _DOORS, at_once=_COMERS // _DOORS, **at)  # type: ignore[arg-type]
        pace = Pace(group="probes", per_second=_PINGS_PER_SECOND, seconds=0, cpu_of=home.cpu_of)
        for number in range(_BURSTS + 1):
            took, pings = await _ping_meanwhile(driver, pace, _come(doors, order))
            for door in doors:
                await door.ask(Leave(group="comers"))
            if number:  # the first one warms up
                bursts.append((pings, took, _COMERS))
            await asyncio.sleep(bounds.SETTLE_SECONDS)
    pauses = [max(done.latencies_ms) for done, _, _ in bursts]
    raw = {
        "pings": sum(done.operations for done, _, _ in bursts),
        "p99_ms": percentile([each for done, _, _ in bursts for each in done.latencies_ms], 0.99),
        "p50_ms": percentile([each for done, _, _ in bursts for each in done.latencies_ms], 0.5),
        "burst_seconds": [took for _, took, _ in bursts],
        "worker_cpu_ns": [done.cpu_ns["worker"] for done, _, _ in bursts],
        "valkey_cpu_ns": [done.cpu_ns["valkey"] for done, _, _ in bursts],
    }
    workload = (
        f"{_COMERS:,} sockets open, say hello and are welcomed to {_BURST_HALL:,} seats, 30% taken, all at once through"
        f" {_DOORS} processes on the same machine; {_PINGS_PER_SECOND} pings a second of {_PROBES} others meanwhile"
    )
    return [
        measured(
            _PAUSE,
            "ms",
            Slices(tuple(pauses)),
            workload=f"the longest that a ping was not answered, the machine's own waits included; {workload}",
            goal=WELCOME_BURST.goal(_PAUSE),
            flags=house.FLAGS,
            raw=raw,
        ),
        measured(
            _JOIN,
            "µs",
            Slices(tuple(done.cpu_ns["worker"] / count / 1e3 for done, _, count in bursts)),
            workload=f"worker CPU for each who came, handshake and pings included; {workload}",
            peers={"Valkey": Slices(tuple(done.cpu_ns["valkey"] / count / 1e3 for done, _, count in bursts))},
            flags=house.FLAGS,
            raw=raw,
        ),
    ]


async def _come(doors: list[Child], order: Connect) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(door.ask(order) for door in doors))
    return time.perf_counter() - began


async def _ping_meanwhile(driver: Child, pace: Pace, work: Coroutine[Any, Any, T]) -> tuple[T, Done]:
    """Pings as long as the work takes, in slices, for how long that is nobody knows."""
    working, slices = asyncio.create_task(work), []
    while not working.done():
        slices.append(await driver.ask(_seconds(pace, 0.25)))
    return await working, _sum(slices)


def _seconds(pace: Pace, seconds: float) -> Pace:
    return Pace(group=pace.group, per_second=pace.per_second, seconds=seconds, cpu_of=pace.cpu_of)


def _sum(slices: list[Done]) -> Done:
    names = {name for done in slices for name in done.cpu_ns}
    return Done(
        operations=sum(done.operations for done in slices),
        latencies_ms=[latency for done in slices for latency in done.latencies_ms],
        cpu_ns={name: sum(done.cpu_ns.get(name, 0) for done in slices) for name in names},
    )


_PAUSE: Final = f"welcome_burst_{_COMERS}"
_JOIN: Final = "welcome_join_cpu"
WELCOME_BURST: Final = Row(
    "welcome_burst",
    "thousands who come at once: the longest pause that others see, and what each costs",
    (Promise(_PAUSE, "ms", Goal("value", "most", 50)), Promise(_JOIN, "µs")),
    _measure_burst,
)

# --- Ten thousand who come back at once

_RETURNING: Final = 10_000
_WITHIN_SECONDS: Final = 5.0
_SMALL_HALL: Final = 300
_ASKING: Final = 10
"""Of them, who ask for something when they are cut, so that all have missed something."""
_RETURN_WORKERS: Final = 2


async def _measure_reconnects(stand: Stand) -> list[Figure]:
    if why := bounds.too_many_sockets(_RETURNING + _PROBES):
        return [not_measured(each.figure, each.unit, why, goal=each.goal) for each in RECONNECTS.promises]
    storms: list[tuple[Done, Done]] = []
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand, workers=_RETURN_WORKERS))
        driver = await stack.enter_async_context(open_child("the driver", module("driver")))
        comers = await stack.enter_async_context(open_child("those who come back", module("comebacks")))
        event = await home.open_event(_SMALL_HALL)
        at = {"host": LOOPBACK, "port": home.port, "event": event}
        await driver.ask(Connect(group="probes", count=_PROBES, asks="ping", **at))  # type: ignore[arg-type]  # as named
        stand.say(f"  {_RETURNING:,} sockets come")
        asking = {"count": _RETURNING, "busy": _ASKING, "pause_seconds": 3_600.0}
        await comers.ask(Come(within_seconds=_WITHIN_SECONDS, seed=1, **asking, **at))  # type: ignore[arg-type]
        pace = Pace(group="probes", per_second=_PINGS_PER_SECOND, seconds=0, cpu_of=home.cpu_of)
        for number in range(_ROUNDS + 1):
            cut = comers.ask(Cut(seconds_max=bounds.CHILD_ANSWER_SECONDS - bounds.CHILD_STOP_SECONDS))
            done, pings = await _ping_meanwhile(driver, pace, cut)
            if done.broken or done.welcomed:
                raise Unavailable(f"{done.welcomed} had to be told everything; {done.broken}")
            if number:  # the first one warms up
                storms.append((done, pings))
            await asyncio.sleep(bounds.SETTLE_SECONDS)
    workload = (
        f"{_RETURNING:,} sockets of one event of {_SMALL_HALL} seats and {_RETURN_WORKERS} workers are reset at once,"
        f" and come back at random moments of {_WITHIN_SECONDS:.0f} s, with `resume`; {_PINGS_PER_SECOND} pings a"
        f" second of {_PROBES} others meanwhile; all on the same machine"
    )
    raw = {
        "told_to_wait": [done.told for done, _ in storms],
        "asked_again": [done.repeated for done, _ in storms],
        "pings": sum(pings.operations for _, pings in storms),
        "ping_p99_ms": percentile([each for _, pings in storms for each in pings.latencies_ms], 0.99),
        "ping_p50_ms": percentile([each for _, pings in storms for each in pings.latencies_ms], 0.5),
    }
    flags = {**house.FLAGS, "workers": _RETURN_WORKERS}
    sides = {
        _BACK: Slices(tuple(done.seconds for done, _ in storms)),
        _BACK_PAUSE: Slices(tuple(max(pings.latencies_ms) for _, pings in storms)),
        _BACK_CPU: Slices(tuple(pings.cpu_ns["worker"] / _RETURNING / 1e3 for _, pings in storms)),
    }
    words = {
        _BACK: "until the last has been told what it missed",
        _BACK_PAUSE: "the longest that a ping was not answered, the machine's own waits included",
        _BACK_CPU: "the workers' CPU for each who came back, pings included",
    }
    return [
        measured(
            each.figure,
            each.unit,
            sides[each.figure],
            workload=f"{words[each.figure]}; {workload}",
            goal=each.goal,
            flags=flags,
            raw=raw,
        )
        for each in RECONNECTS.promises
    ]


_BACK: Final = f"reconnects_{_RETURNING}"
_BACK_PAUSE: Final = f"reconnects_{_RETURNING}_pause"
_BACK_CPU: Final = "reconnect_cpu"
RECONNECTS: Final = Row(
    "reconnects",
    "ten thousand sockets that are cut at once and come back: until all are there, the longest pause, what each costs",
    (
        Promise(_BACK, "s", Goal("value", "most", _WITHIN_SECONDS + 1)),
        Promise(_BACK_PAUSE, "ms"),
        Promise(_BACK_CPU, "µs"),
    ),
    _measure_reconnects,
)

# --- Ten thousand at one event

_SOCKETS: Final = 10_000
_LOADS: Final = 4
"""Processes that hold the sockets."""
_EVENT_SEATS: Final = 12_000
_EVENT_BURSTS: Final = 4
_HOLDS_A_BURST: Final = 10
_BURST_PAUSE_SECONDS: Final = 1.0
_TOLD_WITHIN_SECONDS: Final = 4.0
_ONE: Final = "one_event_10000_sockets"
_ONE_DELTAS: Final = "one_event_10000_deltas"
_ROUNDS: Final = 3


async def _measure_one_event(stand: Stand) -> list[Figure]:
    if why := bounds.too_many_sockets(_SOCKETS):
        return [not_measured(each.figure, each.unit, why, goal=each.goal) for each in ONE_EVENT.promises]
    late: list[list[float]] = []
    told: list[float] = []
    behind = 0
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand))
        driver = await stack.enter_async_context(open_child("the driver", module("driver")))
        loads = [await stack.enter_async_context(open_child("the load", module("viewers"))) for _ in range(_LOADS)]
        event = await home.open_event(_EVENT_SEATS)
        at = {"host": LOOPBACK, "port": home.port, "event": event}
        stand.say(f"  {_SOCKETS:,} sockets come")
        order = Connect(group="load", count=_SOCKETS // _LOADS, **at)  # type: ignore[arg-type]  # as named
        for load in loads:
            await connect(load, order)
        pairs = _EVENT_SEATS // 2 // _HOLDS_A_BURST
        await driver.ask(Connect(group="holders", count=_HOLDS_A_BURST, pairs_each=pairs, **at))  # type: ignore[arg-type]
        spent: list[dict[str, int]] = []
        for number in range(_ROUNDS + 1):
            watch = Watch(
                group="load",
                seconds=_EVENT_BURSTS * _BURST_PAUSE_SECONDS + _TOLD_WITHIN_SECONDS,
                arrivals=True,
                cpu_of={},
            )
            watching = asyncio.gather(*(load.ask(watch) for load in loads))
            await asyncio.sleep(0.2)
            commits: list[tuple[float, int]] = []
            for _ in range(_EVENT_BURSTS):
                held = await driver.ask(Burst(group="holders", messages=1, commits=True, cpu_of=home.cpu_of))
                commits += held.commits
                await asyncio.sleep(_BURST_PAUSE_SECONDS / 2)
                # Given back, so that the next burst holds again; that is told, too, and not counted.
                freed = await driver.ask(Burst(group="holders", messages=1, cpu_of=home.cpu_of))
                spent += [held.cpu_ns, freed.cpu_ns]
                await asyncio.sleep(_BURST_PAUSE_SECONDS / 2)
            seen = await watching
            if number:  # the first one warms up
                late.append(_lateness(commits, seen))
                told.append(sum(done.deltas for done in seen))
                behind += sum(done.behind for done in seen)
    all_late = [each for round_ in late for each in round_]
    wanted = _SOCKETS * _EVENT_BURSTS * _HOLDS_A_BURST
    raw = {
        "deltas_wanted": wanted,
        "samples": len(all_late),
        "deltas_told": told,
        "sockets_behind": behind,
        "p50_ms": percentile(all_late, 0.5),
        "max_ms": max(all_late, default=None),
        "rounds": _ROUNDS,
    }
    workload = (
        f"{_EVENT_BURSTS} bursts of {_HOLDS_A_BURST} holds at an event of {_EVENT_SEATS:,} seats that {_SOCKETS:,}"
        f" sockets of {_LOADS} processes on the same machine watch, each frame read as it comes"
    )
    flags = {**house.FLAGS, "published": "a commercial engine on 11 cores: 400,000 of 400,000 deltas, p99 394 ms"}
    lost = behind or any(count < wanted for count in told)
    return [
        measured(
            _ONE,
            "ms",
            Slices(tuple(percentile(round_, 0.99) or 0.0 for round_ in late)),
            workload=f"p99, over holds and sockets, from a hold's request to the diff that tells of it; {workload}",
            goal=ONE_EVENT.goal(_ONE),
            reason=f"{behind} sockets did not end equal, or a diff was lost" if lost else None,
            flags=flags,
            raw=raw,
        ),
        measured(
            _ONE_DELTAS,
            "deltas",
            Slices(tuple(told)),
            workload=f"holds told, summed over the sockets, of which each socket is to hear each once; {workload}",
            goal=ONE_EVENT.goal(_ONE_DELTAS),
            flags=flags,
            raw=raw,
        ),
    ]


def _lateness(commits: list[tuple[float, int]], seen: list[Done]) -> list[float]:
    """Of each hold and socket: the milliseconds from the request to the first diff whose seq includes it.

    A diff may tell of several holds, and every socket has the same ones: they are cut once for all.
    """
    found: list[float] = []
    for done in seen:
        seqs = sorted(done.arrivals)
        for asked, seq in commits:
            first = next((each for each in seqs if each >= seq), None)
            if first is not None:
                found += [(came - asked) * 1e3 for came in done.arrivals[first]]
    return found


ONE_EVENT: Final = Row(
    "one_event",
    "ten thousand sockets on one event: what reaches them, and how soon",
    (
        Promise(_ONE, "ms", Goal("value", "most", 394)),
        Promise(_ONE_DELTAS, "deltas", Goal("value", "least", _SOCKETS * _EVENT_BURSTS * _HOLDS_A_BURST)),
    ),
    _measure_one_event,
)
