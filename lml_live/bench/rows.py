"""All rows, in the order in which they are measured and told."""

from typing import Final

from lml_live.bench import adopting, rooms, store, worker
from lml_live.bench.plan import Row

ROWS: Final[tuple[Row, ...]] = (
    store.VALKEY_HOLD,
    store.GUARDS,
    store.PIPE,
    worker.HOLDS,
    worker.PACED,
    rooms.FAN_OUT,
    rooms.BUSY_ROOM,
    store.WELCOME,
    rooms.IDLE_SOCKET,
    store.LARGE_EVENT,
    adopting.ADOPT,
    rooms.SLOW_READER,
)
