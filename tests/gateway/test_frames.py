"""The bytes of a websocket's frames, both ways: whatever the pieces in which they come."""

import itertools

import pytest

from lml_live.gateway import frames
from lml_live.gateway.websocket import BINARY, CLOSE, PING, TEXT, Broken, Inbound

MASK = b"\x9a\x02\xf0\x5c"


def masked(first: int, payload: bytes) -> bytes:
    """A client's frame."""
    size = len(payload)
    head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0x80 | 126)) + size.to_bytes(2, "big")
    return head + MASK + bytes(byte ^ key for byte, key in zip(payload, itertools.cycle(MASK), strict=False))


CONVERSATION = [
    (masked(0x81, b'{"type":"hello"}'), [(TEXT, b'{"type":"hello"}')]),
    (masked(0x81, b""), [(TEXT, b"")]),
    (masked(0x82, b"\xff" * 125), [(BINARY, b"\xff" * 125)]),
    (masked(0x81, b"a" * 300), [(TEXT, b"a" * 300)]),
    (masked(0x01, b"in "), []),
    (masked(0x89, b"?"), [(PING, b"?")]),
    (masked(0x00, b"three "), []),
    (masked(0x80, "f\u00fcgen".encode()), [(TEXT, "in three f\u00fcgen".encode())]),
    (masked(0x88, (1000).to_bytes(2, "big") + b"bye"), [(CLOSE, (1000).to_bytes(2, "big") + b"bye")]),
]
SAID = b"".join(frame for frame, _ in CONVERSATION)
HEARD = [message for _, messages in CONVERSATION for message in messages]


def all_of(inbound: Inbound) -> list[tuple[int, bytes]]:
    return list(iter(inbound.next, None))


def read_all(inbound: Inbound, pieces: list[bytes]) -> None:
    for piece in pieces:
        message = inbound.feed_one(piece)
        while message is not None:
            message = inbound.next()


@pytest.mark.parametrize("size", [1, 2, 5, 7, 64, 300, len(SAID)])
def test_what_is_heard_does_not_depend_on_how_it_comes(size: int) -> None:
    plain, eager = Inbound(1000), Inbound(1000)
    heard: list[tuple[int, bytes]] = []
    heard_eagerly: list[tuple[int, bytes]] = []
    for at in range(0, len(SAID), size):
        piece = SAID[at : at + size]
        plain.feed(piece)
        heard += all_of(plain)
        first = eager.feed_one(piece)
        if first is not None:
            heard_eagerly += [first, *all_of(eager)]
    assert heard == heard_eagerly == HEARD


def test_a_frame_at_a_time() -> None:
    inbound = Inbound(1000)
    for frame, messages in CONVERSATION:
        first = inbound.feed_one(frame)
        assert ([first] if first is not None else []) == messages


def test_what_waits_unasked_for_is_heard_in_order() -> None:
    inbound = Inbound(1000)
    for frame, _ in CONVERSATION:
        inbound.feed(frame)
    assert all_of(inbound) == HEARD


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (masked(0x81, b"a" * 11), 1009),
        (masked(0x01, b"a" * 6) + masked(0x80, b"a" * 5), 1009),
        (bytes((0x81, 0x80 | 127)) + (2**62).to_bytes(8, "big"), 1009),
        (masked(0x81, b"\xff"), 1007),
        (masked(0x01, b"\xc3") + masked(0x80, b"("), 1007),
        (b"\x81\x01a....", 1002),
        (masked(0xC1, b"a"), 1002),
        (masked(0x83, b"a"), 1002),
        (masked(0x8B, b"a"), 1002),
        (masked(0x09, b"a"), 1002),
        (masked(0x89, b"a" * 126), 1002),
        (masked(0x80, b"a"), 1002),
        (masked(0x01, b"a") + masked(0x81, b"b"), 1002),
        (masked(0x88, b"\x03"), 1002),
        (masked(0x88, (1006).to_bytes(2, "big")), 1002),
        (masked(0x88, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_breaks_the_protocol(said: bytes, code: int, whole: bool) -> None:
    pieces = [said] if whole else [said[at : at + 1] for at in range(len(said))]
    with pytest.raises(Broken) as broken:
        read_all(Inbound(10), pieces)
    assert broken.value.code == code


@pytest.mark.parametrize(("size", "head"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_a_frame_of_ours(size: int, head: int) -> None:
    frame = frames.message_frame(b"x" * size, binary=False)
    assert (frame[0], len(frame) - size) == (0x81, head)
    assert frame[1] == {2: size, 4: 126, 10: 127}[head]
    assert int.from_bytes(frame[2:head], "big") in (0, size)
    assert frame.endswith(b"x" * size)
    assert frames.message_frame(b"", binary=True)[0] == 0x82


def test_a_reason_that_is_too_long_is_cut() -> None:
    frame = frames.close_frame(1008, "x" * 200)
    assert (frame[0], frame[1], len(frame)) == (0x88, 125, 127)
    assert frames.pong_frame(b"abc") == b"\x8a\x03abc"
