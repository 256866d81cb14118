"""The row about best available: what picking costs in a hall that is nearly full."""

from contextlib import AsyncExitStack
from typing import Final, Literal

from lml_live.bench import house
from lml_live.bench.child import module, open_child
from lml_live.bench.figures import Figure, Goal, Slices, measured, percentile
from lml_live.bench.orders import Connect, Done, Pace
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import Side, Stand
from lml_live.bench.worker import counters
from lml_live.devstack.child import LOOPBACK

_HALL: Final = 40_000
_FULL: Final = 0.9
_SOCKETS: Final = 32
_PER_SECOND: Final = 100
"""Requests, every second one a release: far from what a worker can do, so that latency is the work and not a queue."""
_PLAIN: Final = "plain holds"
_BEST: Final = "best available"
_P99: Final = "hold_best"
_CPU: Final = "hold_best_cpu"


async def _measure(stand: Stand) -> list[Figure]:
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(house.open_house(stand))
        driver = await stack.enter_async_context(open_child("the driver", module("driver")))
        full, empty = await home.open_event(_HALL, blocked=_FULL), await home.open_event(_HALL)
        asked: dict[str, tuple[str, Literal["hold", "best"]]] = {_BEST: (full, "best"), _PLAIN: (empty, "hold")}
        for group, (event, asks) in asked.items():
            await driver.ask(
                Connect(
                    group=group,
                    host=LOOPBACK,
                    port=home.port,
                    event=event,
                    count=_SOCKETS,
                    pairs_each=_HALL // 2 // _SOCKETS,
                    asks=asks,
                )
            )
        taken: dict[str, list[Done]] = {group: [] for group in asked}

        def side(group: str) -> Side:
            async def act() -> float:
                seconds = max(0.5, stand.seconds / 2)
                done = await driver.ask(
                    Pace(group=group, per_second=_PER_SECOND, seconds=seconds, cpu_of={"worker": home.workers})
                )
                taken[group].append(done)
                return done.cpu_ns["worker"] / max(1, done.operations) / 1e3

            return act

        slices = await stand.alternate({group: side(group) for group in asked})
    workload = (
        f"two seats side by side in a hall of {_HALL:,} seats, {_FULL:.0%} of them taken; {_PER_SECOND} requests a"
        f" second by {_SOCKETS} sockets, every second one gives them back"
    )
    raw = {group: counters(done[1:]) for group, done in taken.items()}
    p99 = [percentile(done.latencies_ms, 0.99) or 0.0 for done in taken[_BEST][1:]]
    plain_p99 = [percentile(done.latencies_ms, 0.99) or 0.0 for done in taken[_PLAIN][1:]]
    return [
        measured(
            _P99,
            "ms",
            Slices(tuple(p99)),
            workload=f"p99 of the answer; {workload}",
            peers={_PLAIN: Slices(tuple(plain_p99))},
            goal=HOLD_BEST.goal(_P99),
            flags=house.FLAGS,
            raw=raw,
        ),
        measured(
            _CPU,
            "µs",
            slices[_BEST],
            workload=f"worker CPU, mean of a request and a release; {workload}",
            peers={_PLAIN: slices[_PLAIN]},
            limit=_PLAIN,
            goal=HOLD_BEST.goal(_CPU),
            flags=house.FLAGS,
            raw=raw,
        ),
    ]


HOLD_BEST: Final = Row(
    "hold_best",
    "best available in a hall that is nearly full, beside a plain hold",
    (Promise(_P99, "ms", Goal("value", "most", 20)), Promise(_CPU, "µs", Goal("ratio", "most", 20))),
    _measure,
)
