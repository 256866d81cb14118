"""The inventory byte of a seat, what each view sees of it, and the two-bit map that travels. Pure.

A seat is one byte, the same in Redis (`…:seats`), in the Lua scripts and in a worker's memory:

    bit   7 6 5 4 3   2 1 0
          channel     true state

The state is what is so; the channel says through which sales channel an available seat is sold (0: through all). What
a viewer sees is one of the four wire states of `values`, by a table of 256 bytes per view (contract, section 3).
"""

import zlib
from collections.abc import Collection
from typing import Final

from lml_live.values import AVAILABLE, BLOCKED, HELD, SOLD

BYTE_AVAILABLE: Final = 0
BYTE_HELD: Final = 1
BYTE_SOLD: Final = 2
BYTE_HOUSE: Final = 3
"""Blocked by the house: seats that are kept back, and may be opened again."""
BYTE_KILL: Final = 4
"""Blocked for good: behind a camera, under the sound desk."""

STATE_MASK: Final = 0b111
CHANNEL_SHIFT: Final = 3
CHANNEL_OPEN: Final = 0
"""The seats that everybody sells."""
CHANNEL_MAX: Final = 31

SEATS_PER_BYTE: Final = 4

_WIRE_STATES: Final = b"\x00\x01\x02\x03"
_WIRE_STATE_BY_BYTE: Final = {BYTE_HELD: HELD, BYTE_SOLD: SOLD, BYTE_HOUSE: BLOCKED, BYTE_KILL: BLOCKED}
_UNPACK_TABLES: Final = tuple(bytes(packed >> 2 * place & 3 for packed in range(256)) for place in range(4))


def view_table(channel: int) -> bytes:
    """What viewers of `channel` see: 256 bytes for `bytes.translate`, from inventory byte to wire state.

    They are sold what is open and what is their channel's; an available seat of another channel shows as blocked.
    Held, sold and blocked seats show as what they are whoever sells them. A byte that no script writes (states 5 to 7)
    shows as blocked: nobody can be sold what it stands for. Raises `ValueError` for a channel that is not 0 to 31.
    """
    _refuse_unknown_channel(channel)
    return _table((CHANNEL_OPEN, channel))


def _table(channels: Collection[int]) -> bytes:
    return bytes(_wire_state(byte, channels) for byte in range(256))


def _wire_state(byte: int, channels: Collection[int]) -> int:
    state = byte & STATE_MASK
    if state == BYTE_AVAILABLE:
        return AVAILABLE if byte >> CHANNEL_SHIFT in channels else BLOCKED
    return _WIRE_STATE_BY_BYTE.get(state, BLOCKED)


def _refuse_unknown_channel(channel: int) -> None:
    if not CHANNEL_OPEN <= channel <= CHANNEL_MAX:
        raise ValueError(f"a channel is {CHANNEL_OPEN} to {CHANNEL_MAX}, not {channel}")


PUBLIC_VIEW: Final = view_table(CHANNEL_OPEN)
"""What the public sees of an event whose web channel has no seats of its own."""
STAFF_VIEW: Final = _table(range(CHANNEL_MAX + 1))
"""What is so, whoever may sell it."""


def pack(states: bytes | bytearray) -> bytes:
    """Wire states, a byte each, as two bits each: seat 0 in the lowest bits of the first byte, ⌈n/4⌉ bytes, rest 0.

    Raises `ValueError` where a state is not 0 to 3, for it would spill into its neighbours. 60,000 seats take 0.08 ms:
    every fourth seat makes one long integer, and four of those are or-ed.
    """
    if states.translate(None, _WIRE_STATES):
        raise ValueError("a wire state is 0 to 3")
    packed = 0
    for place in range(SEATS_PER_BYTE):
        packed |= int.from_bytes(states[place::SEATS_PER_BYTE], "little") << 2 * place
    return packed.to_bytes(packed_length(len(states)), "little")


def unpack(packed: bytes, count: int) -> bytearray:
    """The reverse of `pack`: `count` wire states, a byte each. 60,000 seats take 0.1 ms.

    Raises `ValueError` where the length is not that of `count` seats or a spare bit is set: then the bytes belong to
    another layout than the reader believes.
    """
    if count < 0 or len(packed) != packed_length(count):
        raise ValueError(f"{count} seats are {packed_length(max(count, 0))} bytes, not {len(packed)}")
    spare = -count % SEATS_PER_BYTE
    if spare and packed[-1] >> 2 * (SEATS_PER_BYTE - spare):
        raise ValueError("the bits behind the last seat are not 0")
    states = bytearray(len(packed) * SEATS_PER_BYTE)
    for place, table in enumerate(_UNPACK_TABLES):
        states[place::SEATS_PER_BYTE] = packed.translate(table)
    del states[count:]
    return states


def packed_length(count: int) -> int:
    """How many bytes `count` seats take on the wire."""
    return -(-count // SEATS_PER_BYTE)


def deflate(packed: bytes) -> bytes:
    """`packed` as `encoding: deflate` carries it: the zlib format of RFC 1950, as HTTP's `deflate` content coding
    (RFC 9110, 8.4.1.2) and the browsers' `DecompressionStream("deflate")` read it, not the raw stream of RFC 1951.

    By runs and byte frequencies alone. A hall that is sold here and there has long runs of one byte and no phrases that
    come again: looking for those made 60,000 seats at 30 % taken 11 % larger, and took 1 ms (200,000: 33 ms) for 0.15.
    """
    stream = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1, zlib.Z_RLE)
    return stream.compress(packed) + stream.flush()


def inflate(deflated: bytes, length: int) -> bytes:
    """The reverse of `deflate`, for exactly `length` bytes.

    Raises `ValueError` where the data is broken, cut, followed by more, or of another length. Never makes more than
    `length` + 1 bytes, so a bomb stays small.
    """
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(deflated, length + 1)
    except zlib.error as error:
        raise ValueError("the deflated seats are broken") from error
    if len(inflated) != length or not stream.eof or stream.unused_data:
        raise ValueError(f"the deflated seats are not exactly {length} bytes")
    return inflated
