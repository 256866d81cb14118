"""One of those who come back: a client that keeps to the contract, with a picture of its own. Acts on bare sockets.

Whatever ends its socket, it comes back at a random moment, says where it was, and asks again for what was not answered,
with the same number and key. What it meets that the contract does not promise it tells its hall.
"""

import base64
import contextlib
import random
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from lml_live import limits
from lml_live.bench import frames
from lml_live.inventory import seatmap

_RECEIVE_BYTES: Final = 64 * 1024
_RESET: Final = struct.pack("ii", 1, 0)
"""A socket that lingers for no time is not closed but reset, as one whose proxy was ended."""
_PAUSE_SECONDS_MIN: Final = 0.1
"""Half as often as a socket may ask at most."""


class _Hold(msgspec.Struct):
    id: str
    seats: list[int] = []


class _Layout(msgspec.Struct):
    seat_count: int


class _Said(msgspec.Struct):
    """What is looked at in a message, whichever it is."""

    type: str
    id: int | None = None
    epoch: str = ""
    seq: int = 0
    prev: int = 0
    seats: str | list[int] = ""
    available: list[int] = []
    held: list[int] = []
    sold: list[int] = []
    blocked: list[int] = []
    areas: dict[str, Any] = {}
    holder: str = ""
    token: str = ""
    holds: list[_Hold] = []
    hold: _Hold | str | None = None
    layout: _Layout | None = None
    code: str = ""
    retry_after_ms: int | None = None


class _Problem(msgspec.Struct):
    code: str
    retry_after_ms: int | None = None


_said: Final = msgspec.json.Decoder(_Said)
_problem: Final = msgspec.json.Decoder(_Problem)
AWAY, SHAKING, GREETING, LIVE = range(4)


class Hall(ABC):
    """What all of them share: where they go, chance and time, and what is counted."""

    def __init__(self) -> None:
        self.address = ("", 0)
        self.handshake = b""
        self.within_seconds = self.pause_seconds = 0.0
        self.seed = 0
        self.chance = random.Random(0)  # noqa: S311 - no secret: when who comes back
        self.busy = 0
        """Those of lower numbers hold and release."""
        self.resting = True
        """Nobody asks for anything more."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """Counts from here on."""
        self.resumed = self.welcomed = self.operations = self.repeated = 0
        self.told: Counter[str] = Counter()
        self.byes: dict[int, list[float]] = {}
        self.broken: list[str] = []

    def breaks(self, what: str) -> None:
        """Somebody met what the contract does not promise."""
        self.broken.append(what)

    @abstractmethod
    def watch(self, number: int, comer: "Comer") -> None:
        """Tells the comer when its socket is connected, and then when there is something to read."""

    @abstractmethod
    def forget(self, number: int) -> None:
        """A socket is about to be closed."""

    @abstractmethod
    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Does something after a while."""

    @abstractmethod
    def came(self) -> None:
        """Somebody is there, and was told where the event is."""

    @abstractmethod
    def left(self, *, was_live: bool) -> None:
        """Somebody's socket has ended."""


class Comer:
    """One client, over all its sockets."""

    def __init__(self, hall: "Hall", number: int) -> None:
        self.number = number
        self.state = AWAY
        self.epoch, self.seq = "", -1
        self.seats = bytearray()
        self.areas: dict[str, Any] = {}
        self.asked: tuple[str, int, bytes] | None = None
        """What waits for its answer: `hold` or `release`, its number, and the message."""
        self.hold: str | None = None
        self._found: str | None = None
        """The hold that was there when it came back, while it did not know yet that it has one."""
        self._hall = hall
        self._socket: socket.socket | None = None
        self._rest = b""
        self._holder = self._token = ""
        self._requests = 0
        self._away_ms: int | None = None
        """What it was told to wait for."""
        self._set_out = 0.0
        self._lines = self._turns = 0
        """Sockets that it has had, and moments that were set for its next request."""

    # --- Sockets

    def come(self) -> None:
        if self.state != AWAY:
            return
        made = self._socket = socket.socket()
        made.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            made.connect(self._hall.address)
        self._rest, self._away_ms = b"", None
        self._lines += 1
        self.state = SHAKING
        self._set_out = time.monotonic()
        self._hall.watch(made.fileno(), self)

    def connected(self) -> None:
        assert self._socket is not None
        self._send(self._hall.handshake)

    def reset(self) -> None:
        """Its line is cut, and nobody has said anything."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._gone()

    def close(self) -> None:
        """It leaves for good."""
        if self._socket is not None:
            self._hall.forget(self._socket.fileno())
            self._socket.close()

    def _gone(self) -> None:
        """Its socket has ended; it comes back by itself."""
        self.close()
        self._socket = None
        self._hall.left(was_live=self.state == LIVE)
        self.state = AWAY
        within = self._hall.within_seconds if self._away_ms is None else self._away_ms / 1000
        self._hall.later(within * self._hall.chance.random(), self.come)

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):  # whoever reads from it next notices
            self._socket.send(data)

    def read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if self.state == SHAKING:
                slow = time.monotonic() - self._set_out > limits.HELLO_SECONDS_MAX
                self._hall.told["patience" if slow else "reset"] += 1
            self._gone()
            return
        buffer = self._rest + data if self._rest else data
        if self.state == SHAKING:
            head, found, buffer = buffer.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._refused(head, buffer)
                return
            self.state = GREETING
            self._say_hello()
        at = 0
        while (frame := frames.next_frame(buffer, at)) is not None:
            opcode, body, at = frame
            if opcode == frames.TEXT:
                self._take(_said.decode(buffer[body:at]))
            elif opcode == frames.PING:
                self._send(frames.PONG_FRAME)
            elif opcode == frames.CLOSE:
                self._send(frames.CLOSE_FRAME)
                self._gone()
                return
        self._rest = buffer[at:]

    def _refused(self, head: bytes, body: bytes) -> None:
        """The handshake was: the documented answer says why, and for how long."""
        try:
            problem = _problem.decode(body)
        except msgspec.DecodeError:
            problem = _Problem("")
        if problem.retry_after_ms is None:
            self._hall.breaks(f"the handshake was refused: {head[:30]!r} {body[:100]!r}")
        self._come_later(problem.code, problem.retry_after_ms or limits.BYE_MS)
        self._gone()

    def _come_later(self, code: str, wait_ms: int) -> None:
        self._hall.told[code] += 1
        self._away_ms = wait_ms

    def _say_hello(self) -> None:
        hello: dict[str, Any] = {"type": "hello"}
        if self._token:
            hello |= {"token": self._token, "resume": {"epoch": self.epoch, "seq": self.seq}}
        self._send(frames.client_frame(msgspec.json.encode(hello)))

    # --- What it is told

    def _take(self, said: _Said) -> None:
        match said.type:
            case "diff":
                self._learn(said)
            case "welcome" | "resumed":
                self._greeted(said)
            case "bye":
                assert said.retry_after_ms is not None
                if self.number < self._hall.busy:
                    self.act()  # what it asks for crosses the goodbye, and nobody will read it
                self._hall.byes.setdefault(said.retry_after_ms, []).append(time.monotonic())
                self._away_ms = said.retry_after_ms
            case "error" if said.id is None:
                if said.retry_after_ms is None:
                    self._hall.breaks(f"an error without a time: {said.code}")
                self._come_later(said.code, said.retry_after_ms or limits.BYE_MS)
            case "held" | "released" | "error":
                self._answered(said)

    def _learn(self, said: _Said) -> None:
        if said.prev > self.seq:
            self._hall.breaks(f"a gap: at {self.seq}, and told what came after {said.prev}")
        if said.seq > self.seq:
            self._apply(said)

    def _apply(self, said: _Said) -> None:
        self.seq = said.seq
        self.areas |= said.areas
        for state, seats in enumerate((said.available, said.held, said.sold, said.blocked)):
            for seat in seats:
                self.seats[seat] = state

    def _greeted(self, said: _Said) -> None:
        if self._holder not in ("", said.holder):
            self._hall.breaks("it came back as somebody else")
        self._holder, self._token = said.holder, said.token
        if said.type == "welcome":
            assert said.layout is not None
            assert isinstance(said.seats, str)
            self.seats = seatmap.unpack(base64.b64decode(said.seats), said.layout.seat_count)
            self.epoch, self.seq, self.areas = said.epoch, said.seq, said.areas
            self._hall.welcomed += 1
        else:
            if said.epoch != self.epoch or said.seq < self.seq:
                self._hall.breaks(f"resumed at {said.epoch} {said.seq}, and was at {self.epoch} {self.seq}")
            self._apply(said)
            self._hall.resumed += 1
        holds = [hold.id for hold in said.holds]
        if self.asked is None and holds != ([] if self.hold is None else [self.hold]):
            self._hall.breaks(f"{holds} are its holds, and it had {self.hold}")
        if self.asked is not None:
            self._ask_again(holds)
        self.state = LIVE
        if self.asked is None and self.number < self._hall.busy:
            self._act_later()
        self._hall.came()

    # --- What it asks for

    def act(self) -> None:
        """A hold of its seat, or its release."""
        if self.asked is not None or self._hall.resting:
            return
        if self.state != LIVE:
            return  # it goes on once it is back
        self._requests += 1
        number = self._requests
        if self.hold is None:
            message = {"type": "hold", "id": number, "seats": [self.number], "key": f"{self._hall.seed}-{number}"}
        else:
            message = {"type": "release", "id": number, "hold": self.hold}
        self.asked = (str(message["type"]), number, frames.client_frame(msgspec.json.encode(message)))
        self._send(self.asked[2])

    def _act_later(self) -> None:
        self._turns += 1
        seconds = _PAUSE_SECONDS_MIN + 2 * self._hall.pause_seconds * self._hall.chance.random()
        self._hall.later(seconds, partial(self._take_turn, self._turns))

    def _take_turn(self, turn: int) -> None:
        if turn == self._turns:  # else another one was set since
            self.act()

    def _ask_again(self, holds: list[str]) -> None:
        """The answer was lost, or the question; the same number and key tell that it is the same."""
        assert self.asked is not None
        self._hall.repeated += 1
        kind = self.asked[0]
        if kind == "release" and not holds:
            self._ended(None)  # it was done
            return
        if len(holds) > 1:
            self._hall.breaks(f"one request took {holds}")
        self._found = holds[0] if kind == "hold" and holds else None
        self._send(self.asked[2])

    def _answered(self, said: _Said) -> None:
        if self.asked is None or said.id != self.asked[1]:
            self._hall.breaks(f"an answer to {said.id} that nobody waits for: {said.type}")
            return
        if said.type == "error":
            if said.retry_after_ms is None:
                self._hall.breaks(f"its {self.asked[0]} was refused: {said.code}")
                self._ended(self.hold)
                return
            self._hall.told[said.code] += 1
            self._hall.later(said.retry_after_ms / 1000, partial(self._send_again, self._lines))
            return
        if said.type == "released":
            self._ended(None)
            return
        assert isinstance(said.hold, _Hold)
        if self._found not in (None, said.hold.id):
            self._hall.breaks(f"asked again it has {said.hold.id}, and had {self._found}")
        self._ended(said.hold.id)

    def _send_again(self, line: int) -> None:
        if line == self._lines and self.state == LIVE and self.asked is not None:
            self._send(self.asked[2])

    def _ended(self, hold: str | None) -> None:
        """Its request is answered; here is what it has."""
        self.asked = self._found = None
        self.hold = hold
        self._hall.operations += 1
        self._act_later()
