"""All rows, in the order in which they are measured and told."""

from typing import Final

from lml_live.bench import store, worker
from lml_live.bench.plan import Row

ROWS: Final[tuple[Row, ...]] = (
    store.VALKEY_HOLD,
    store.GUARDS,
    store.PIPE,
    worker.HOLDS,
    worker.PACED,
    store.WELCOME,
    store.LARGE_EVENT,
)
