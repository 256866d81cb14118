"""All rows, in the order in which they are measured and told."""

from typing import Final

from lml_live.bench import adopting, fan_out, rooms, store, worker
from lml_live.bench.figures import Figure, Goal, not_measured
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import Stand

_REASONS: Final = {
    "hold_p99_2000_viewers": "this command has no row for it yet; busy_room and slow_reader are the nearest",
    "hold_best": "the server has no best-available search that could be measured",
    "welcome_burst_5000": "this command has no row for it yet; welcome has the cost of one snapshot",
    "one_event_10000_sockets": "with the load on the same machine this is `make load`'s to judge, not a cost per act",
}


async def _list_missing(_: Stand) -> list[Figure]:
    return [
        not_measured(promise.figure, promise.unit, _REASONS[promise.figure], goal=promise.goal)
        for promise in MISSING.promises
    ]


MISSING: Final = Row(
    "missing",
    "figures that are wanted and that nothing here measures, with the reason of each",
    (
        Promise("hold_p99_2000_viewers", "ms", Goal("value", "most", 8)),
        Promise("hold_best", "ms", Goal("value", "most", 20)),
        Promise("welcome_burst_5000", "ms", Goal("value", "most", 50)),
        Promise("one_event_10000_sockets", "ms", Goal("value", "most", 394)),
    ),
    _list_missing,
)

ROWS: Final[tuple[Row, ...]] = (
    store.VALKEY_HOLD,
    store.GUARDS,
    store.PIPE,
    worker.HOLDS,
    worker.PACED,
    fan_out.FAN_OUT,
    rooms.BUSY_ROOM,
    store.WELCOME,
    rooms.IDLE_SOCKET,
    store.LARGE_EVENT,
    adopting.ADOPT,
    rooms.SLOW_READER,
    MISSING,
)
