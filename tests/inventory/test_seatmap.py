"""The inventory byte, what a view sees of it, and the two-bit map."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lml_live.inventory import seatmap
from lml_live.inventory.seatmap import (
    BYTE_AVAILABLE,
    BYTE_HELD,
    BYTE_HOUSE,
    BYTE_KILL,
    BYTE_SOLD,
    PUBLIC_VIEW,
    view_table,
)
from lml_live.values import AVAILABLE, BLOCKED, HELD, SOLD

WIRE_STATES = st.lists(st.integers(0, 3), max_size=200).map(bytes)


@pytest.mark.parametrize(
    ("state", "channel", "seen_by_public", "seen_by_channel_7"),
    [
        (BYTE_AVAILABLE, 0, AVAILABLE, AVAILABLE),
        (BYTE_AVAILABLE, 7, BLOCKED, AVAILABLE),
        (BYTE_AVAILABLE, 31, BLOCKED, BLOCKED),
        (BYTE_HELD, 0, HELD, HELD),
        (BYTE_HELD, 7, HELD, HELD),
        (BYTE_SOLD, 0, SOLD, SOLD),
        (BYTE_SOLD, 31, SOLD, SOLD),
        (BYTE_HOUSE, 0, BLOCKED, BLOCKED),
        (BYTE_HOUSE, 7, BLOCKED, BLOCKED),
        (BYTE_KILL, 0, BLOCKED, BLOCKED),
    ],
)
def test_what_a_view_sees(state: int, channel: int, seen_by_public: int, seen_by_channel_7: int) -> None:
    byte = bytes([channel << 3 | state])
    assert byte.translate(PUBLIC_VIEW) == bytes([seen_by_public])
    assert byte.translate(view_table(7)) == bytes([seen_by_channel_7])


@pytest.mark.parametrize("state", [5, 6, 7])
def test_a_byte_that_no_script_writes_is_never_offered(state: int) -> None:
    for channel in range(32):
        assert view_table(channel)[channel << 3 | state] == BLOCKED


@pytest.mark.parametrize("channel", [-1, 32])
def test_an_unknown_channel_is_refused(channel: int) -> None:
    with pytest.raises(ValueError, match="channel"):
        view_table(channel)


@pytest.mark.parametrize(
    ("states", "packed"),
    [
        ([], ""),
        ([0], "00"),
        ([1], "01"),
        ([3], "03"),
        ([0, 1], "04"),
        ([3, 0, 0, 0], "03"),
        ([0, 0, 0, 3], "c0"),
        ([3, 2, 1, 0], "1b"),
        ([0, 1, 2, 3], "e4"),
        ([3, 3, 3, 3, 3], "ff03"),
        ([0, 0, 0, 0, 0, 0, 0, 0, 2], "000002"),
    ],
)
def test_two_bits_a_seat_and_seat_0_lowest(states: list[int], packed: str) -> None:
    assert seatmap.pack(bytes(states)).hex() == packed
    assert list(seatmap.unpack(bytes.fromhex(packed), len(states))) == states


@given(WIRE_STATES)
def test_unpack_reverses_pack(states: bytes) -> None:
    packed = seatmap.pack(states)
    assert len(packed) == seatmap.packed_length(len(states)) == (len(states) + 3) // 4
    assert seatmap.unpack(packed, len(states)) == states
    assert seatmap.pack(bytearray(states)) == packed


@pytest.mark.parametrize("state", [4, 8, 255])
def test_a_state_that_would_spill_into_its_neighbour_is_refused(state: int) -> None:
    with pytest.raises(ValueError, match="wire state"):
        seatmap.pack(bytes([0, state, 0]))


@pytest.mark.parametrize(
    ("packed", "count", "reason"),
    [
        ("", 1, "bytes, not"),
        ("00", 0, "bytes, not"),
        ("0000", 4, "bytes, not"),
        ("00", 5, "bytes, not"),
        ("00", -1, "bytes, not"),
        ("", -1, "bytes, not"),
        ("04", 1, "behind the last seat"),
        ("80", 3, "behind the last seat"),
        ("0010", 6, "behind the last seat"),
    ],
)
def test_bytes_of_another_layout_are_refused(packed: str, count: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        seatmap.unpack(bytes.fromhex(packed), count)


@given(WIRE_STATES)
def test_inflate_reverses_deflate(states: bytes) -> None:
    packed = seatmap.pack(states)
    deflated = seatmap.deflate(packed)
    assert seatmap.inflate(deflated, len(packed)) == packed
    assert zlib.decompress(deflated) == packed, "the zlib format, which every browser reads as `deflate`"


@pytest.mark.parametrize(
    "deflated",
    [
        b"",
        b"no zlib at all",
        seatmap.deflate(b"1234")[:-1],
        seatmap.deflate(b"1234") + b"more",
        seatmap.deflate(b"123"),
        seatmap.deflate(b"12345"),
        zlib.compress(bytes(5_000_000)),
    ],
    ids=["empty", "broken", "cut", "followed by more", "too short", "too long", "bomb"],
)
def test_deflated_seats_that_are_not_the_map_are_refused(deflated: bytes) -> None:
    with pytest.raises(ValueError, match="deflated seats"):
        seatmap.inflate(deflated, 4)
