"""All rows, in the order in which they are measured and told."""

from typing import Final

from lml_live.bench import adopting, best, commits, crowds, fan_out, layouts, pipe, rooms, store, worker
from lml_live.bench.plan import Row

ROWS: Final[tuple[Row, ...]] = (
    store.VALKEY_HOLD,
    store.GUARDS,
    pipe.PIPE,
    worker.HOLDS,
    worker.PACED,
    fan_out.FAN_OUT,
    rooms.BUSY_ROOM,
    rooms.BUSY_GROWTH,
    crowds.HOLD_AMONG_VIEWERS,
    store.WELCOME,
    rooms.IDLE_SOCKET,
    store.LARGE_EVENT,
    adopting.ADOPT,
    commits.BOOKING_COMMIT,
    rooms.SLOW_READER,
    crowds.WELCOME_BURST,
    crowds.RECONNECTS,
    crowds.ONE_EVENT,
    best.HOLD_BEST,
    layouts.PUBLISH,
    layouts.IMPORT,
    layouts.READ,
)
