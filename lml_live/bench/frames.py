"""Websocket frames from the client's side, as cheap as they can be. Pure.

Client frames are masked with a key of four zeros, which leaves the payload as it is (RFC 6455, section 5.3, wants a
mask that is unpredictable to a page's script; there is none here).
"""

from typing import Final

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG_FRAME: Final = bytes((0x8A, 0x80, 0, 0, 0, 0))
CLOSE_FRAME: Final = bytes((0x88, 0x80, 0, 0, 0, 0))
HELLO: Final = b'{"type":"hello"}'
_SMALL: Final = 126


def client_frame(payload: bytes) -> bytes:
    """A masked text frame. Raises `ValueError` for a payload of 64 KiB or more: no request here is so long."""
    if len(payload) < _SMALL:
        return bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload
    if len(payload) > 0xFFFF:
        raise ValueError("the payload is too long for a request")
    return bytes((0x81, 0x80 | _SMALL)) + len(payload).to_bytes(2, "big") + bytes(4) + payload


def server_frame(size: int) -> bytes:
    """An unmasked text frame of `size` bytes in all, for peers that send and do nothing else."""
    header = 2 if size < _SMALL + 2 else 4
    length = max(0, size - header)
    if length < _SMALL:
        return bytes((0x81, length)) + b" " * length
    return bytes((0x81, _SMALL)) + length.to_bytes(2, "big") + b" " * length


def handshake(host: str, port: int, event: str) -> bytes:
    """The request that opens a live socket."""
    return _upgrade(host, port, f"/api/v1/events/{event}/live", "Sec-WebSocket-Protocol: lml.v1.json\r\n")


def peer_handshake(host: str, port: int, peer: str) -> bytes:
    """The request that opens a socket of a peer: `ws`, or `socket.io` by its websocket alone."""
    return _upgrade(host, port, "/socket.io/?EIO=4&transport=websocket" if peer == "socket.io" else "/", "")


def _upgrade(host: str, port: int, path: str, more: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bG1sLWxpdmUtYmVuY2gtMQ==\r\n"
        f"{more}\r\n"
    ).encode()


def next_frame(buffer: bytes, at: int) -> tuple[int, int, int] | None:
    """(opcode, begin of the payload, end of the frame) of the unmasked frame at `at`; None where it is not whole."""
    have = len(buffer)
    if have - at < 2:
        return None
    length, body = buffer[at + 1], at + 2
    if length == _SMALL:
        if have < body + 2:
            return None
        length, body = int.from_bytes(buffer[body : body + 2], "big"), body + 2
    elif length > _SMALL:
        if have < body + 8:
            return None
        length, body = int.from_bytes(buffer[body : body + 8], "big"), body + 8
    end = body + length
    return (buffer[at] & 0x0F, body, end) if end <= have else None
