"""The one clock. Code that needs the time is handed a `Clock`; pure code is handed the time itself."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], int]
"""Returns whole milliseconds since 1970 UTC."""


def system_clock_ms() -> int:
    """The wall clock, in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def to_datetime(time_ms: int) -> datetime:
    """Milliseconds since 1970 as an aware UTC datetime (PostgreSQL's `timestamptz`)."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def to_ms(moment: datetime) -> int:
    """An aware datetime as milliseconds since 1970. Naive datetimes are refused: they name no moment."""
    if moment.tzinfo is None:
        raise ValueError("a time needs a zone, such as 2026-05-01T19:30:00Z")
    return round(moment.timestamp() * 1000)
