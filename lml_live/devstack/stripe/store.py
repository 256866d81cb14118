"""The double's memory: records in SQLite, by kind and id, written in transactions that end before anything is answered.

The write-ahead log without a sync at each commit outlives the kill of the process, which is what the tests do; it need
not outlive a power cut.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from lml_live import limits
from lml_live.infra.postgres import statements

T = TypeVar("T")

_SQL: Final = statements("stripe_double")
_LAST: Final = 2**62


_decoders: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}


def _decoder(shape: type[T]) -> "msgspec.json.Decoder[T]":
    if shape not in _decoders:
        _decoders[shape] = msgspec.json.Decoder(shape)
    return _decoders[shape]


class Store:
    """One file, one connection, one caller at a time: the double's loop."""

    def __init__(self, path: Path) -> None:
        self._sqlite = sqlite3.connect(path, isolation_level=None)
        # A lock of somebody else's means that two doubles share a file: better said at once than waited for.
        for pragma in ("busy_timeout = 0", "journal_mode = wal", "synchronous = normal"):
            self._sqlite.execute(f"PRAGMA {pragma}")
        for name in ("create_records", "create_order", "create_due"):
            self._sqlite.execute(_SQL[name])

    def close(self) -> None:
        self._sqlite.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is there after a kill altogether, or not at all."""
        self._sqlite.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._sqlite.execute("ROLLBACK")
            raise
        self._sqlite.execute("COMMIT")

    def put(self, kind: str, record_id: str, body: object, *, parent: str = "", due_ms: int | None = None) -> None:
        """Writes a record. One with `due_ms` is found by `due` from then on, until it is written without."""
        self._sqlite.execute(_SQL["put"], (kind, record_id, parent, due_ms, msgspec.json.encode(body)))

    def load(self, kind: str, record_id: str, shape: type[T]) -> T | None:
        row = self._sqlite.execute(_SQL["load"], (kind, record_id)).fetchone()
        return None if row is None else _decoder(shape).decode(row[0])

    def clear(self) -> None:
        self._sqlite.execute(_SQL["clear"])

    def list_all(self, kind: str, shape: type[T]) -> Iterator[T]:
        """All of a kind, oldest first."""
        return self._read(shape, "list_all", kind)

    def list_of(self, kind: str, parent: str, shape: type[T]) -> list[T]:
        """Those with one parent, oldest first."""
        return list(self._read(shape, "list_of", kind, parent))

    def list_from(self, kind: str, shape: type[T], *, after: str | None, before: str | None) -> Iterator[T]:
        """Stripe's order, newest first: what comes after the record `after`; or, oldest first, what precedes `before`.

        Raises `KeyError` where the record that is named is not there.
        """
        if before is not None:
            return self._read(shape, "list_after", kind, self._place(kind, before))
        return self._read(shape, "list_before", kind, _LAST if after is None else self._place(kind, after))

    def due(self, kind: str, now_ms: int, shape: type[T]) -> list[T]:
        """Those whose time has come, the earliest first, at most a batch of them."""
        return list(self._read(shape, "due", kind, now_ms, limits.STRIPE_DOUBLE_DUE_BATCH))

    def next_due_ms(self, kinds: tuple[str, str, str, str, str]) -> int | None:
        """When the next of these is due."""
        found: int | None = self._sqlite.execute(_SQL["next_due"], kinds).fetchone()[0]
        return found

    def prune(self, kind: str, now_ms: int) -> None:
        """Forgets those whose time has come."""
        self._sqlite.execute(_SQL["prune"], (kind, now_ms))

    def _place(self, kind: str, record_id: str) -> int:
        row = self._sqlite.execute(_SQL["place"], (kind, record_id)).fetchone()
        if row is None:
            raise KeyError(record_id)
        return int(row[0])

    def _read(self, shape: type[T], name: str, *values: object) -> Iterator[T]:
        decoder = _decoder(shape)
        for (body,) in self._sqlite.execute(_SQL[name], values):
            yield decoder.decode(body)
