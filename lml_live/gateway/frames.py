"""Websocket frames of the server, built once and written to many (RFC 6455, section 5). Pure."""

from typing import Final

_FIN: Final = 0x80
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA
_REASON_BYTES_MAX: Final = 123
"""A close frame carries 125 bytes with its code."""


def message_frame(payload: bytes, *, binary: bool) -> bytes:
    """One unfragmented, unmasked frame that carries a message."""
    return _frame(_BINARY if binary else _TEXT, payload)


def ping_frame() -> bytes:
    """A ping without a body."""
    return _frame(_PING, b"")


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping with this body."""
    return _frame(_PONG, payload)


def close_frame(code: int, reason: str) -> bytes:
    """Ends a conversation; a reason that is too long is cut."""
    return _frame(_CLOSE, code.to_bytes(2, "big") + reason.encode()[:_REASON_BYTES_MAX])


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return b"%c%c%b" % (_FIN | opcode, length, payload)
    if length < 65536:
        return b"%c\x7e%c%c%b" % (_FIN | opcode, length >> 8, length & 255, payload)
    return b"%c\x7f%b%b" % (_FIN | opcode, length.to_bytes(8, "big"), payload)
