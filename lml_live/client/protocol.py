"""The client's side of the live socket, without a socket, a clock or chance of its own. Pure.

A shell opens sockets and hands in what happens; every method returns effects (see `effects`) that the shell carries
out in order. `now_ms` is any clock that never goes back, in milliseconds; `random` gives floats in [0, 1).

    offline ──connected()──> greeting ──welcome, resumed──> live ──┐
       ^                        │  hello unanswered, silence,      │ a gap: hello with resume, still live
       └──────disconnected()────┴─────── frames that break ────────┘
    any ──4401, a socket that is refused, close()──> ended
"""

from collections.abc import Callable
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from lml_live import errors, limits
from lml_live.client.effects import (
    Answered,
    BlockResult,
    ChangesResult,
    ChannelsResult,
    Disconnect,
    Effects,
    Ended,
    GroupResult,
    HoldResult,
    OpenResult,
    PingResult,
    Reconnect,
    Refusal,
    Result,
    SellResult,
    Send,
    StaffResult,
    Warned,
)
from lml_live.client.pending import Message, Pending, Request
from lml_live.client.picture import IncoherentError, Picture
from lml_live.client.requests import Requests
from lml_live.gateway import wire

BACK_OFF_BASE_MS: Final = 500
BACK_OFF_MAX_MS: Final = 30_000
"""Full jitter: a random part of 500 ms, doubled with each failure up to 30 s, so that a crowd comes back spread out."""
STABLE_MS: Final = 10_000
"""Only a connection that was live for this long starts the back-off over; a server that greets and drops does not."""
WAIT_MAX_MS: Final = 60_000
"""The longest wait that a server's `retry_after_ms` is believed for."""
HELLO_MS: Final = limits.HELLO_SECONDS_MAX * 1000
ANSWER_MS: Final = 30_000
"""A request that is unanswered for this long: the socket is given up, and what has a key is asked again on another."""
PING_MS: Final = limits.PING_SECONDS * 1000
SILENCE_MS: Final = PING_MS * 2 + HELLO_MS
"""Two pings were not answered, nor did the room say where it is (every 25 s): the peer is gone."""

REFUSED_STATUSES: Final = frozenset({400, 401, 403, 404, 405, 410, 426})
"""Handshake answers that will be the same next time."""

assert BACK_OFF_BASE_MS < BACK_OFF_MAX_MS <= WAIT_MAX_MS
assert HELLO_MS < ANSWER_MS < SILENCE_MS


class _Envelope(Struct):
    type: str


_ENVELOPES: Final[dict[str, msgspec.json.Decoder[_Envelope] | msgspec.msgpack.Decoder[_Envelope]]] = {
    wire.JSON.name: msgspec.json.Decoder(_Envelope),
    wire.MSGPACK.name: msgspec.msgpack.Decoder(_Envelope),
}
_KNOWN_TYPES: Final = frozenset(kind.__struct_config__.tag for kind in get_args(wire.ServerMessage))


class _Hello(Struct, frozen=True):
    """The one unanswered `hello`."""

    sent_ms: int
    resume: tuple[str, int] | None


class Protocol(Requests):
    """One client of one event, over as many sockets as it takes."""

    def __init__(
        self,
        event: str,
        fmt: wire.Format = wire.JSON,
        *,
        random: Callable[[], float],
        new_key: Callable[[], str],
        token: str | None = None,
        deflate: bool = True,
    ) -> None:
        """Watch `event`, as the holder of `token` or as a new anonymous one. `new_key` makes idempotency keys
        (1 to 255 characters, never the same twice); `deflate` accepts a deflated seat map."""
        self.picture = Picture(event)
        self.token = token
        """The holder's token as last renewed; None until the first `welcome` of a new anonymous holder."""
        self.format = fmt
        self._random = random
        super().__init__(new_key)
        self._accept = ["deflate"] if deflate else []
        self._state: Literal["offline", "greeting", "live", "closing", "ended"] = "offline"
        self._hello: _Hello | None = None
        self._pending = Pending()
        self._numbers = 0
        self._failures = 0
        self._live_since_ms: int | None = None
        self._heard_ms = 0
        self._pinged_ms = 0
        self._return_at_ms: int | None = None
        self._clock_offset_ms = 0

    @property
    def live(self) -> bool:
        """Whether the picture is being kept up to date (a gap may be closing)."""
        return self._state == "live"

    @property
    def ended(self) -> bool:
        """Whether `Ended` was told: nothing will follow."""
        return self._state == "ended"

    def server_now_ms(self, now_ms: int) -> int:
        """The server's clock (milliseconds since 1970), to compare with `deadline_ms`; as last measured."""
        return now_ms + self._clock_offset_ms

    # --- The socket ---------------------------------------------------------------------------------------------------

    def connected(self, now_ms: int) -> Effects:
        """A socket is open, with the subprotocol of `format`."""
        if self._state != "offline":
            return [Disconnect(1000, "not wanted")]
        self._state = "greeting"
        self._heard_ms = now_ms
        self._live_since_ms = self._return_at_ms = None
        return self._say_hello(now_ms, token=self.token)

    def connect_failed(self, now_ms: int, status: int | None = None) -> Effects:
        """No socket came about; `status` is the HTTP answer, if there was one."""
        if self._state == "ended":
            return []
        if status in REFUSED_STATUSES:
            return self._end("refused", f"the server refused the socket with HTTP {status}")
        return [Reconnect(self._back_off(now_ms))]

    def disconnected(self, now_ms: int, code: int | None = None) -> Effects:
        """The socket is gone; `code` is its close code, if there was one."""
        if self._state in ("ended", "offline"):
            return []
        if code == wire.CLOSE_UNAUTHORIZED:
            return self._end("unauthorized", "the token ended")
        effects = [_gave_up(request) for request in self._pending.lost_socket() if request.number is not None]
        after_ms = self._back_off(now_ms)
        if self._return_at_ms is not None:
            # A farewell names its own time; back-off counts only where farewells come one after the other.
            after_ms = max(self._return_at_ms - now_ms, after_ms if self._failures > 1 else 0)
        self._state = "offline"
        self._hello = None
        return [*effects, Reconnect(after_ms)]

    def close(self) -> Effects:
        """This client wants no more: what is unanswered stays unknown."""
        if self._state == "ended":
            return []
        leave: Effects = [] if self._state == "offline" else [Disconnect(1000, "closed")]
        return [*leave, *self._end("closed", "closed by this client")]

    # --- Requests -----------------------------------------------------------------------------------------------------

    def _request(self, now_ms: int, message: Message) -> tuple[int, Effects]:
        try:
            self.format.decode_client(self.format.encode(message))
        except wire.Malformed as error:
            raise errors.InvalidInput(error.message) from error
        self._numbers += 1
        layout = self.picture.layout
        request = Request(self._numbers, message, None if layout is None else layout.hash)
        if self._state == "ended":
            return self._numbers, [_gave_up(request)]
        if self._pending.full:
            refusal = Refusal("rate_limited", f"{len(self._pending)} requests of this client already wait")
            return self._numbers, [Answered(self._numbers, refusal)]
        self._pending.add(request)
        return self._numbers, self._transmit(now_ms)

    # --- Time ---------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> Effects:
        """Do what is due: give up on a peer that is silent, ping, ask again. Call it when `wake_at_ms` has come."""
        if self._state not in ("greeting", "live"):
            return []
        oldest_ms = self._pending.oldest_sent_ms()
        if self._hello is not None and now_ms - self._hello.sent_ms >= HELLO_MS:
            return self._drop(wire.CLOSE_GOING_AWAY, "no answer to hello")
        if now_ms - self._heard_ms >= SILENCE_MS:
            return self._drop(wire.CLOSE_GOING_AWAY, "silence")
        if oldest_ms is not None and now_ms - oldest_ms >= ANSWER_MS:
            return self._drop(wire.CLOSE_GOING_AWAY, "no answer to a request")
        if self._return_at_ms is not None and now_ms >= self._return_at_ms:
            return self._drop(1000, "told to come back")
        if self._state == "live" and now_ms - self._pinged_ms >= PING_MS:
            self._pinged_ms = now_ms
            self._pending.add(Request(None, wire.Ping(0)))
        return self._transmit(now_ms)

    def wake_at_ms(self) -> int | None:
        """When `tick` has to be called next, unless something happens before; None while there is no socket."""
        if self._state not in ("greeting", "live"):
            return None
        oldest_ms = self._pending.oldest_sent_ms()
        due = [
            self._heard_ms + SILENCE_MS,
            None if self._hello is None else self._hello.sent_ms + HELLO_MS,
            None if oldest_ms is None else oldest_ms + ANSWER_MS,
            self._return_at_ms,
            self._pinged_ms + PING_MS if self._state == "live" else None,
            self._pending.next_turn_ms() if self._state == "live" and self._return_at_ms is None else None,
        ]
        return min(moment for moment in due if moment is not None)

    # --- What the server says -----------------------------------------------------------------------------------------

    def receive(self, payload: bytes | str, now_ms: int) -> Effects:
        """One frame: text or bytes. Messages of a type that is not known are ignored, for the contract grows; a frame
        that breaks it drops the socket, and the next one begins with a whole `welcome`."""
        if self._state not in ("greeting", "live"):
            return []
        self._heard_ms = now_ms
        if isinstance(payload, str) and self.format.binary:
            return self._drop(wire.CLOSE_UNSUPPORTED, "a frame of the other kind")
        raw = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
        try:
            message = self.format.decode_server(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return [] if self._is_unknown_type(raw) else self._drop(wire.CLOSE_BAD_DATA, "a frame that is no message")
        try:
            return self._take(message, now_ms)
        except (IncoherentError, msgspec.DecodeError) as error:
            return self._drop(wire.CLOSE_PROTOCOL_ERROR, str(error)[:100])

    def _take(self, message: wire.ServerMessage, now_ms: int) -> Effects:
        picture = self.picture
        match message:
            case wire.Diff():
                # On a new socket a diff can only follow the answer to hello: before, its epoch is not known.
                changes = picture.diff(message) if self._state == "live" else []
                if changes is None:
                    return self._say_hello(now_ms) if self._hello is None else []
                return changes
            case wire.Welcome():
                effects = picture.welcome(message, self.format.decode_bytes(message.seats))
                return self._synced(message, effects, now_ms)
            case wire.Resumed():
                if self._hello is None or self._hello.resume is None:
                    # Nobody asked, so nobody knows since when: a hole here shows in the next diff's `prev`.
                    return []
                return self._synced(message, picture.resumed(message), now_ms)
            case wire.Held() | wire.Extended() | wire.Released():
                return self._take_answer(message, now_ms)
            case wire.GroupChanged():
                return self._take_group(message, now_ms)
            case wire.HoldChanged(hold=hold_id, value=hold):
                return picture.take_hold(hold_id, hold, message.epoch, message.seq, message.reason)
            case wire.EventChanged():
                return picture.event_changed(message)
            case wire.Pong():
                return self._take_pong(message, now_ms)
            case wire.Error():
                return self._take_error(message, now_ms)
            case wire.Blocked() | wire.Unblocked() | wire.Assigned() | wire.Opened():
                return self._take_staffs(message, now_ms)
            case wire.Sold() | wire.StatusChanges() | wire.Channels():
                return self._take_staffs(message, now_ms)
            case wire.Details():
                return []  # what staff see beside the states; tools for them read it off the socket
            case wire.Bye():
                self._return_at_ms = now_ms + int(self._random() * bounded_ms(message.retry_after_ms))
                return []

    def _synced(self, message: wire.Welcome | wire.Resumed, effects: Effects, now_ms: int) -> Effects:
        self._hello = None
        self.token = message.token
        self._clock_offset_ms = message.now_ms - now_ms
        if self._state == "greeting":
            self._state = "live"
            self._live_since_ms = self._pinged_ms = now_ms
        others = self._pending.drop_other_layouts(message.layout.hash)
        given_up = [_other_layout(request) for request in others if request.number is not None]
        given_up += [
            _gave_up(request)
            for request in self._pending.drop_unrepeatable(message.epoch)
            if request.number is not None
        ]
        return [*effects, *given_up, *self._transmit(now_ms)]

    def _take_answer(self, message: wire.Held | wire.Extended | wire.Released, now_ms: int) -> Effects:
        request = self._pending.answered(message.id)
        effects: Effects = []
        if request is not None and isinstance(request.message, wire.StaffHoldRequest):
            # Not this client's hold: its holder is told of it, and of what becomes of it.
            if request.number is not None:
                effects.append(Answered(request.number, HoldResult(message.hold)))
            return [*effects, *self._transmit(now_ms)]
        gone: str | None = None
        match request, message.hold:
            case (
                Request(message=wire.HoldRequest(replace=str() as replaced) | wire.HoldBest(replace=str() as replaced)),
                hold,
            ) if hold and hold.id != replaced:
                gone = replaced
            case Request(message=wire.Release(hold=released) | wire.Extend(hold=released)), None:
                gone = released
        if gone is not None:
            effects += self.picture.take_hold(gone, None, message.epoch, message.seq, "answer")
        if message.hold is not None:
            effects += self.picture.take_hold(message.hold.id, message.hold, message.epoch, message.seq, "answer")
        if request is not None and request.number is not None:
            effects.append(Answered(request.number, HoldResult(message.hold)))
        return [*effects, *self._transmit(now_ms)]

    def _take_group(self, message: wire.GroupChanged, now_ms: int) -> Effects:
        """Of holds in several events, the picture has those of its own."""
        request = self._pending.answered(message.id)
        effects: Effects = []
        for change in message.holds:
            if change.event == self.picture.event_id:
                effects += self.picture.take_hold(change.hold, change.value, change.epoch, change.seq, "answer")
        if request is not None and request.number is not None:
            holds = {change.event: change.value for change in message.holds}
            effects.append(Answered(request.number, GroupResult(holds)))
        return [*effects, *self._transmit(now_ms)]

    def _take_staffs(self, message: wire.StaffAnswer, now_ms: int) -> Effects:
        request = self._pending.answered(message.id)
        effects = self._transmit(now_ms)
        if request is not None and request.number is not None:
            effects.insert(0, Answered(request.number, _staff_result(message)))
        return effects

    def _take_pong(self, message: wire.Pong, now_ms: int) -> Effects:
        if message.token is not None:
            self.token = message.token
        request = self._pending.answered(message.id)
        if request is None:
            return []
        # The answer is taken to have been written half-way between question and now.
        self._clock_offset_ms = message.now_ms - (request.sent_ms + now_ms) // 2
        effects = self._transmit(now_ms)
        if request.number is not None:
            effects.insert(0, Answered(request.number, PingResult(message.now_ms, now_ms - request.sent_ms)))
        return effects

    def _take_error(self, error: wire.Error, now_ms: int) -> Effects:
        request = None if error.id is None else self._pending.answered(error.id)
        if request is None:
            return [Warned(error.code, error.message)]
        if error.code == "unavailable" and request.may_repeat(request.epoch):
            wait_ms = error.retry_after_ms if error.retry_after_ms is not None else self._jitter(request.transmissions)
            request.not_before_ms = now_ms + bounded_ms(wait_ms)
            self._pending.add(request)
            return self._transmit(now_ms)
        effects = self._transmit(now_ms)
        if request.number is not None:
            refusal = Refusal(error.code, error.message, error.seats, error.areas, error.retry_after_ms, error.events)
            effects.insert(0, Answered(request.number, refusal))
        return effects

    def _is_unknown_type(self, raw: bytes) -> bool:
        try:
            return _ENVELOPES[self.format.name].decode(raw).type not in _KNOWN_TYPES
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False

    # --- Acts ---------------------------------------------------------------------------------------------------------

    def _say_hello(self, now_ms: int, token: str | None = None) -> Effects:
        """At most one is unanswered. On the same socket a `hello` without a token means the same holder."""
        position = self.picture.position
        self._hello = _Hello(now_ms, position)
        resume = None if position is None else {"epoch": position[0], "seq": position[1]}
        return [self._send(wire.Hello(token=token, resume=resume, accept=self._accept))]

    def _transmit(self, now_ms: int) -> Effects:
        """Send what waits, while there is a picture to ask about and no farewell was heard."""
        if self._state != "live" or self._return_at_ms is not None:
            return []
        return [self._send(message) for message in self._pending.transmit(now_ms, self.picture.epoch)]

    def _send(self, message: wire.ClientMessage) -> Send:
        return Send(self.format.encode(message))

    def _drop(self, code: int, reason: str) -> Effects:
        """Give the socket up. What a broken frame may have left out is never resumed from."""
        self._state = "closing"
        if code in (wire.CLOSE_BAD_DATA, wire.CLOSE_PROTOCOL_ERROR, wire.CLOSE_UNSUPPORTED):
            self.picture.doubt()
        return [Disconnect(code, reason)]

    def _end(self, reason: str, message: str) -> Effects:
        self._state = "ended"
        self._hello = None
        lost = [_gave_up(request) for request in self._pending.clear() if request.number is not None]
        return [*lost, Ended(reason, message)]

    def _back_off(self, now_ms: int) -> int:
        if self._live_since_ms is not None and now_ms - self._live_since_ms >= STABLE_MS:
            self._failures = 0
        self._live_since_ms = None
        self._failures += 1
        return self._jitter(self._failures)

    def _jitter(self, attempt: int) -> int:
        return back_off_ms(self._random, attempt)


def back_off_ms(random: Callable[[], float], attempt: int) -> int:
    """How long to wait after so many failures in a row."""
    return int(random() * min(BACK_OFF_MAX_MS, BACK_OFF_BASE_MS * 2 ** min(attempt - 1, 16)))


def bounded_ms(wait_ms: int) -> int:
    """How long to wait where the server said so."""
    return max(0, min(wait_ms, WAIT_MAX_MS))


def _staff_result(message: wire.StaffAnswer) -> StaffResult:
    match message:
        case wire.Opened():
            return OpenResult(message.channel)
        case wire.Sold():
            return SellResult(message.booking)
        case wire.StatusChanges():
            return ChangesResult(message.items, message.next)
        case wire.Channels():
            return ChannelsResult(message.items)
        case _:
            return BlockResult(message.seats, message.areas, message.refused_seats, message.refused_areas)


def _gave_up(request: Request) -> Answered:
    assert request.number is not None
    outcome: Result = Refusal(
        "unavailable",
        "The outcome is unknown: what was taken, if anything, is among the holds."
        if request.transmissions
        else "Nothing was changed: the request was never sent.",
    )
    return Answered(request.number, outcome)


def _other_layout(request: Request) -> Answered:
    assert request.number is not None
    before = (
        "Whether it was done before is unknown: what was taken, if anything, is among the holds."
        if request.transmissions
        else "Nothing was changed: the request was never sent."
    )
    message = f"The event has another layout, on which this may mean other seats. Look again and choose anew. {before}"
    return Answered(request.number, Refusal("unavailable", message))
