"""What happened in a run, as JSON lines: what was asked and answered, what was known of holds, what viewers saw last,
and at rest what the server says of its bookings and the Stripe double of its money.

Times are milliseconds since 1970 on this machine's clock, which is also the server's: only loopback is put under load.
An outcome that is not known is `info`, never `fail` (reliability.md, section 2).
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, Literal

import msgspec
from msgspec import Struct

Phase = Literal["invoke", "ok", "fail", "info"]


class Act(Struct, frozen=True, omit_defaults=True, tag="act", kw_only=True):
    """One step of an operation; `act` is its number, the same in `invoke` and in the one line that ends it."""

    at_ms: float
    user: int
    act: int
    verb: str
    phase: Phase
    seats: tuple[int, ...] = ()
    """Asked for (`invoke`), or in the hold as answered (`ok`)."""
    hold: str | None = None
    code: str | None = None
    """The refusal's code (`fail`), or what is known of an unknown outcome (`info`)."""
    took_ms: float | None = None


class Seen(Struct, frozen=True, omit_defaults=True, tag="seen", kw_only=True):
    """The server told a holder of its hold, as of `seq` in `epoch`; `seats` is None where it is gone."""

    at_ms: float
    user: int
    holder: str
    epoch: str
    seq: int
    hold: str
    seats: tuple[int, ...] | None
    deadline_ms: int = 0
    reason: str


class Viewer(Struct, frozen=True, omit_defaults=True, tag="viewer", kw_only=True):
    """What became of one viewer after rest; `fault` is empty where it saw what the server says."""

    user: int
    epoch: str | None = None
    seq: int = 0
    fault: str = ""


class Booked(Struct, frozen=True, omit_defaults=True, tag="booking", kw_only=True):
    """What the server says of one booking after rest: seat ids, minor units of `currency`."""

    user: int
    booking: str
    hold: str
    state: str
    seats: tuple[str, ...]
    amount: int
    currency: str


class Intent(Struct, frozen=True, kw_only=True):
    """One PaymentIntent, made for `booking`; `captured` is what was taken less what was given back, minor units."""

    intent: str
    booking: str
    status: str
    amount: int
    currency: str
    captured: int


class Ledger(Struct, frozen=True, tag="ledger", kw_only=True):
    """All PaymentIntents that the run's own Stripe double knows after rest."""

    intents: tuple[Intent, ...]


class Crash(Struct, frozen=True, tag="crash", kw_only=True):
    """A defect in the load test itself, or an answer that it did not understand."""

    text: str


Line = Act | Seen | Viewer | Booked | Ledger | Crash

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Line).decode


def now_ms() -> float:
    """This machine's clock."""
    return time.time_ns() / 1_000_000


class Recorder:
    """Appends lines to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._acts = 0

    def write(self, line: Line) -> None:
        self._file.write(_ENCODE(line) + b"\n")

    def next_act(self) -> int:
        """A number for a new operation."""
        self._acts += 1
        return self._acts

    def flush(self) -> None:
        self._file.flush()


def read_history(path: Path) -> Iterator[Line]:
    """The lines of a history. A last line that was cut off (the writer was killed) is left out."""
    with path.open("rb") as file:
        for raw in file:
            if raw.endswith(b"\n"):
                yield _DECODE(raw)


def write_history(path: Path, lines: Iterable[Line]) -> None:
    """A whole history at once."""
    with path.open("wb") as file:
        recorder = Recorder(file)
        for line in lines:
            recorder.write(line)
