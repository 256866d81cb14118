"""What the run tells its processes, and what they answer: one JSON object a line, on their stdin and stdout. Pure.

A process ends when its stdin does: whatever becomes of the run, nothing outlives it.
"""

from typing import Final, Literal

import msgspec
from msgspec import Struct

from lml_live.bench import bounds


class Connect(Struct, frozen=True, kw_only=True, tag="connect"):
    """Open `count` live sockets as a group of this name. Each holder takes its own `pairs_each` pairs of seats."""

    group: str
    host: str
    port: int
    event: str = "bench"
    count: int
    pairs_each: int = 1
    plain: bool = False
    """No handshake and no `hello`: the other side sends frames at once."""
    peer: Literal["ws", "socket.io"] | None = None
    """Viewers: the other side is a server of this kind, not ours."""
    asks: Literal["hold", "best", "ping"] = "hold"
    """Holders: what they ask for; what they get they release."""
    at_once: int = bounds.CONNECTS_AT_ONCE
    """How many sockets are opened before the first of them is waited for."""
    receive_buffer_bytes: int = 32 * 1024
    """Of viewers. Set, so that a reader that stalls shows before the kernel has swallowed megabytes for it."""


class Burst(Struct, frozen=True, kw_only=True, tag="burst"):
    """Every socket of the group sends `messages`, holds and releases by turns, each once the last is answered."""

    group: str
    messages: int
    commits: bool = False
    """Whether to answer when each hold was asked for, and the seq that it got."""
    cpu_of: dict[str, tuple[int, ...]]
    """Processes by name, whose CPU time is read right before and right after."""


class Pace(Struct, frozen=True, kw_only=True, tag="pace"):
    """Requests are sent at this rate, whether the earlier ones are answered or not, by sockets that have none open."""

    group: str
    per_second: float
    seconds: float
    cpu_of: dict[str, tuple[int, ...]]


class Watch(Struct, frozen=True, kw_only=True, tag="watch"):
    """Read what comes to the group for `seconds`, and on until nothing has come for `quiet_seconds` (bounded)."""

    group: str
    seconds: float
    quiet_seconds: float = 0.0
    expects: bool = False
    """Something is to come: the first of it is waited for, however late (bounded)."""
    arrivals: bool = False
    """Read each frame as it comes, and answer when which came; it costs the server a wake-up each."""
    cpu_of: dict[str, tuple[int, ...]]


class Stall(Struct, frozen=True, kw_only=True, tag="stall"):
    """The first `count` sockets of the group stop reading; 0 lets all read again."""

    group: str
    count: int


class Leave(Struct, frozen=True, kw_only=True, tag="leave"):
    """Close the sockets of the group."""

    group: str


class Send(Struct, frozen=True, kw_only=True, tag="send"):
    """To a peer that sends frames: one of `frame_bytes` to every socket, `ticks` times, `tick_ms` apart."""

    ticks: int
    tick_ms: int
    frame_bytes: int


class Come(Struct, frozen=True, kw_only=True, tag="come"):
    """Those who come back (`comebacks`): open `count` sockets. Answered once all are welcomed."""

    host: str
    port: int
    event: str
    count: int
    busy: int = 0
    """So many of them hold and release, from now on, a seat each: the one of their number."""
    pause_seconds: float = 1.0
    """Between an answer and the next request of a busy one: a random part of twice as much."""
    within_seconds: float
    """Who is cut comes back at a random moment of so long; who is told to go, of what they are told."""
    seed: int
    at_once: int = bounds.CONNECTS_AT_ONCE


class Cut(Struct, frozen=True, kw_only=True, tag="cut"):
    """Reset all sockets, all at once; the busy ones have just asked for something. Answered once all are back."""

    seconds_max: float


class Settle(Struct, frozen=True, kw_only=True, tag="settle"):
    """Answered once all are there and have been told everything up to `seq` of `epoch` (None: wherever they are)."""

    epoch: str | None = None
    seq: int = 0
    returned: int = 0
    """So many have come back, since the last order was answered."""
    seconds_max: float


class Rest(Struct, frozen=True, kw_only=True, tag="rest"):
    """The busy ones ask for nothing more. Answered once all are there, and all that they asked for is answered."""

    seconds_max: float


Order = Connect | Burst | Pace | Watch | Stall | Leave | Send | Come | Cut | Settle | Rest


class Done(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to every order, and a process's first words. `fault` says why the order failed."""

    fault: str | None = None
    port: int = 0
    """Where a server listens; its first words."""
    sockets: int = 0
    operations: int = 0
    """Requests that were granted."""
    refused: dict[str, int] = {}
    """Refusals by code."""
    seconds: float = 0.0
    cpu_ns: dict[str, int] = {}
    latencies_ms: list[float] = []
    frames: int = 0
    """Diffs, or whatever frames a peer sends, that reached the group's sockets."""
    frames_least: int = 0
    """What reached the socket that got the fewest, stalled ones aside."""
    frame_bytes: int = 0
    """Of all `frames`, headers included."""
    commits: list[tuple[float, int]] = []
    """Of each hold: when it was asked for (the system's monotonic clock, in seconds), and its seq."""
    arrivals: dict[int, list[float]] = {}
    """By a diff's seq: when it came, to each socket that got it."""
    deltas: int = 0
    """Holds that the diffs told of, summed over the sockets."""
    behind: int = 0
    """Sockets that lack something: a gap between two diffs, or an end before the last seq that any of them heard."""
    lost: int = 0
    """Sockets that were closed by the other side."""
    resumed: int = 0
    """Who came back and was told what they had missed."""
    welcomed: int = 0
    """Who was told everything, the first time or again."""
    told: dict[str, int] = {}
    """By code: how often somebody was told to come back later."""
    byes: dict[int, list[float]] = {}
    """By `retry_after_ms`: when each `bye` came (the system's monotonic clock, in seconds)."""
    pictures: dict[str, int] = {}
    """How many see the same: epoch, seq, seats (as in `availability`) and areas, parted by spaces."""
    holds: dict[int, str] = {}
    """What the busy ones have, by their number."""
    repeated: int = 0
    """Requests that were sent again because their answer was lost."""
    broken: list[str] = []
    """What somebody met that the contract does not promise; the first few."""


_order: Final = msgspec.json.Decoder(Order)
_done: Final = msgspec.json.Decoder(Done)
_encoder: Final = msgspec.json.Encoder()


def write(message: Order | Done) -> bytes:
    """One line."""
    return _encoder.encode(message) + b"\n"


def read_order(line: bytes) -> Order:
    order: Order = _order.decode(line)
    return order


def read_done(line: bytes) -> Done:
    return _done.decode(line)
