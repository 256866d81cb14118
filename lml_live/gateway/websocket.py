"""Reads a client's websocket frames (RFC 6455, section 5). Pure: bytes in, messages out.

Why our own: between the framework's parser and the code that awaits its messages stand a queue, a future and a step of
a task for every message; that is as much as the rest of a hold's way through this process together (performance.md,
"Where the time goes"). It makes the handshake still. What it reads leniently (frames without a mask, the code 1006) is
refused here, as the RFC wants.
"""

from typing import Final

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

PROTOCOL_ERROR: Final = 1002
BAD_DATA: Final = 1007
TOO_BIG: Final = 1009

_CONTINUATION: Final = 0x0
_CONTROL_BYTES_MAX: Final = 125
_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
"""Those that may stand in a close frame (RFC 6455, 7.4, and IANA's registry)."""


class Broken(Exception):
    """The client broke the protocol; `code` is what to close with. Nothing more can be read."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Inbound:
    """The frames of one client, put together to messages of at most `bytes_max`."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._small_max = min(bytes_max, _CONTROL_BYTES_MAX)
        self._data: bytes | bytearray = b""
        self._at = 0
        self._needed = 2
        """How many bytes of a frame must be there before it is looked at again: a client that sends one byte at a time
        costs one look each."""
        self._opcode = _CONTINUATION
        """Of the message whose fragments are being gathered."""
        self._gathered = bytearray()

    @property
    def pending(self) -> bool:
        """Whether something came in that was not answered yet, be it a part of a frame."""
        return self._at != len(self._data)

    def feed(self, data: bytes) -> None:
        """Takes what came in. The caller stops reading from the socket while it does not ask for messages."""
        rest = self._data
        if self._at == len(rest):
            self._data = data
        else:
            if isinstance(rest, bytes):
                rest = bytearray(rest)
            del rest[: self._at]
            rest += data
            self._data = rest
        self._at = 0

    def feed_one(self, data: bytes) -> tuple[int, bytes] | None:
        """Takes what came in as `feed` does; where that is one small message and nothing else waits, as it nearly
        always is, answers it like `next`."""
        size = len(data) - 6
        if (
            0 <= size <= self._small_max
            and data[1] == 0x80 + size
            and data[0] in (0x81, 0x82)
            and self._at == len(self._data)
            and not self._opcode
        ):
            payload = _unmask(data[2:6], data[6:])
            if data[0] == 0x81 and not payload.isascii():
                _judge_text(payload)
            return data[0] & 0x0F, payload
        self.feed(data)
        return self.next()

    def next(self) -> tuple[int, bytes] | None:
        """The next message or control frame as (opcode, payload), or None until more has come. Raises `Broken`.

        A text is valid UTF-8, and a close frame bears a code that may be sent, or none.
        """
        while True:
            data, at = self._data, self._at
            have = len(data) - at
            if have < self._needed:
                return None
            first, length = data[at], data[at + 1] & 0x7F
            opcode, start = first & 0x0F, at + 6
            if length > _CONTROL_BYTES_MAX:
                extended = 2 if length == 126 else 8
                start += extended
                if have < 2 + extended:
                    self._needed = 2 + extended
                    return None
                length = int.from_bytes(data[at + 2 : at + 2 + extended], "big")
            whole = first in (0x81, 0x82) and not self._opcode
            if not whole or data[at + 1] < 0x80 or length > self._bytes_max:
                self._judge(first, data[at + 1], length)
            end = start + length
            if len(data) < end:
                self._needed = end - at
                return None
            payload = _unmask(data[start - 4 : start], data[start:end])
            self._at, self._needed = end, 2
            if opcode >= CLOSE:
                if opcode == CLOSE:
                    _judge_close(payload)
                return opcode, payload
            if not whole:
                gathered = self._gather(first, opcode, payload)
                if gathered is None:
                    continue
                opcode, payload = gathered
            if opcode == TEXT and not payload.isascii():
                _judge_text(payload)
            return opcode, payload

    def _judge(self, first: int, second: int, length: int) -> None:
        """Looks at a frame's head, before its payload has come."""
        opcode = first & 0x0F
        if first & 0x70:
            raise Broken(PROTOCOL_ERROR, "an extension that was not agreed on")
        if second < 0x80:
            raise Broken(PROTOCOL_ERROR, "a frame without a mask")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise Broken(PROTOCOL_ERROR, "an unknown kind of frame")
            if first < 0x80 or length > _CONTROL_BYTES_MAX:
                raise Broken(PROTOCOL_ERROR, "a control frame that is fragmented or too long")
            return
        if opcode > BINARY:
            raise Broken(PROTOCOL_ERROR, "an unknown kind of frame")
        if (opcode == _CONTINUATION) != bool(self._opcode):
            raise Broken(PROTOCOL_ERROR, "fragments that do not follow on each other")
        if len(self._gathered) + length > self._bytes_max:
            raise Broken(TOO_BIG, "the message is too big")

    def _gather(self, first: int, opcode: int, payload: bytes) -> tuple[int, bytes] | None:
        """Adds a fragment; the whole message with its last one."""
        self._opcode = opcode or self._opcode
        self._gathered += payload
        if first < 0x80:
            return None
        whole = self._opcode, bytes(self._gathered)
        self._opcode = _CONTINUATION
        self._gathered.clear()
        return whole


def _unmask(mask: bytes | bytearray, payload: bytes | bytearray) -> bytes:
    """The payload XOR the mask, over and over: as two long numbers that is one step of C for any length."""
    size = len(payload)
    masks = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(payload, "little") ^ masks).to_bytes(size, "little")


def _judge_text(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise Broken(BAD_DATA, "a text that is no UTF-8") from error


def _judge_close(payload: bytes) -> None:
    if not payload:
        return
    if len(payload) < 2 or int.from_bytes(payload[:2], "big") not in _CLOSE_CODES:
        raise Broken(PROTOCOL_ERROR, "a close code that is never sent")
    _judge_text(payload[2:])
