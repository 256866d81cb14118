"""Websocket frames of the server, built once and written to many (RFC 6455, section 5). Pure."""

from typing import Final

_FIN: Final = 0x80
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_PING: Final = 0x9


def message_frame(payload: bytes, *, binary: bool) -> bytes:
    """One unfragmented, unmasked frame that carries a message."""
    return _header(_BINARY if binary else _TEXT, len(payload)) + payload


def ping_frame() -> bytes:
    """A ping without a body."""
    return _header(_PING, 0)


def _header(opcode: int, length: int) -> bytes:
    first = _FIN | opcode
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")
