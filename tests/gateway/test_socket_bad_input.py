"""Whatever comes in on the live socket gets a clear error or a close code, and changes nothing.

One test a row of the bad-input matrix; the last lines of each prove that the server is still well.
"""

import asyncio
import base64
import contextlib
import json
import logging
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import ClientSession, WSServerHandshakeError
from socket_house import (
    BAD_TOKENS,
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    RSV1,
    RSV2,
    SEATS,
    TEXT,
    Caller,
    LiveServer,
    bad_tokens,
    bare_line,
    calling,
    serving,
)
from waiting import eventually

from lml_live import limits
from lml_live.client import HoldResult, LiveClient, Refusal
from lml_live.gateway import conversation, wire
from lml_live.infra import postgres
from lml_live.infra.config import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def opened(server: LiveServer) -> str:
    return await server.open_event()


@pytest_asyncio.fixture(loop_scope="module")
async def event(server: LiveServer, opened: str) -> AsyncIterator[str]:
    """An open event. Afterwards: whatever was said, no seat is left held or sold, and the server still serves."""
    yield opened
    async with LiveClient(server.url, opened) as live:
        # A welcome is cut at the last tick, which may be older than the test's last release.
        await live.wait_for(lambda live: live.seats == bytes(SEATS) and live.areas["pit"].available == 50)
        assert not isinstance(await live.ping(), Refusal)


# --- The handshake ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "https://app.example.com.evil",
        "https://app.example.com:8443",
        "http://app.example.com",
        "https://app.example.comx",
        "http://127.0.0.1:1",
        "https://user@app.example.com",
    ],
)
async def test_a_page_of_another_origin_is_refused(server: LiveServer, event: str, origin: str) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        async with calling(server, event, headers={"Origin": origin}):
            pass
    assert refused.value.status == 403


@pytest.mark.parametrize("origin", [None, "https://app.example.com", "own"])
async def test_our_own_pages_and_what_is_no_browser_get_in(server: LiveServer, event: str, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": server.url if origin == "own" else origin}
    async with calling(server, event, headers=headers, hello={}) as caller:
        assert (await caller.hear("welcome"))["event"]["id"] == event


@pytest.mark.parametrize("name", ["no-such-event", "..%2F..%2Fetc", "a:b", "%7Bx%7D", "e" * 65, "%00", "🎫"])
async def test_an_event_that_is_none_is_not_found(server: LiveServer, event: str, name: str) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        async with calling(server, name):
            pass
    assert refused.value.status in (404, 422)


async def test_one_address_gets_so_many_sockets(
    socket_settings: Settings, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SOCKETS_PER_ADDRESS_MAX", 2)
    async with (
        serving(socket_settings) as small,
        calling(small, event, hello={}) as first,
        calling(small, event, hello={}) as second,
    ):
        with pytest.raises(WSServerHandshakeError) as refused:
            async with calling(small, event):
                pass
        assert refused.value.status == 429
        await first.hear("welcome")
        await second.socket.close()

        async def gets_in() -> bool:
            try:
                async with calling(small, event, hello={}) as third:
                    return bool(await third.hear("welcome"))
            except WSServerHandshakeError:
                return False

        assert await eventually(gets_in), "a socket that left makes room"


# --- Tokens -----------------------------------------------------------------------------------------------------------


async def test_without_a_token_a_new_anonymous_holder(server: LiveServer, event: str) -> None:
    holders = set()
    for _ in range(2):
        async with calling(server, event, hello={}) as caller:
            welcome = await caller.hear("welcome")
            holders.add(welcome["holder"])
            read = server.tokens.read(welcome["token"], int(time.time() * 1000))
            assert read is not None
            assert read.holder == welcome["holder"]
    assert len(holders) == 2


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_a_bad_token_is_never_a_silent_new_holder(
    server: LiveServer, event: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = bad_tokens(server)[kind]
    with caplog.at_level(logging.DEBUG, logger="lml_live"):
        async with calling(server, event, hello={"token": token}) as caller:
            code, messages = await caller.hear_the_end()
    assert code == 4401
    assert [(message["type"], message["code"]) for message in messages] == [("error", "unauthorized")]
    assert len(token) < 10 or token not in caplog.text


async def test_another_holders_token_on_a_greeted_socket(server: LiveServer, event: str) -> None:
    other = server.tokens.issue("somebody-else", int(time.time() * 1000))
    async with calling(server, event, hello={}) as caller:
        await caller.hear("welcome")
        await caller.say({"type": "hello", "token": other})
        code, messages = await caller.hear_the_end()
    assert code == 4401
    assert messages[-1]["code"] == "unauthorized"


async def test_a_token_in_the_address_is_not_a_token(
    server: LiveServer, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = server.tokens.issue("somebody", int(time.time() * 1000))
    with caplog.at_level(logging.DEBUG):
        async with calling(server, event, hello={}, query=f"?token={token}") as caller:
            assert (await caller.hear("welcome"))["holder"] != "somebody"
    assert token not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("lml_live"))


async def test_a_good_token_is_the_same_holder(server: LiveServer, event: str) -> None:
    token = server.tokens.issue("somebody", int(time.time() * 1000))
    async with calling(server, event, hello={"token": token}) as caller:
        assert (await caller.hear("welcome"))["holder"] == "somebody"


async def test_anothers_hold_is_not_found(server: LiveServer, event: str) -> None:
    async with calling(server, event, hello={}) as owner, calling(server, event, hello={}) as other:
        await owner.hear("welcome")
        await other.hear("welcome")
        held = await owner.ask({"type": "hold", "id": 1, "seats": [5]}, "held")
        hold = held["hold"]["id"]
        for request in (
            {"type": "release", "id": 1, "hold": hold},
            {"type": "extend", "id": 2, "hold": hold},
            {"type": "hold", "id": 3, "seats": [6], "into": hold},
            {"type": "hold", "id": 4, "seats": [6], "replace": hold},
        ):
            error = await other.ask(request, "error", "held", "released", "extended")
            assert (error["id"], error.get("code")) == (request["id"], "hold_not_found")
        await owner.ask({"type": "release", "id": 2, "hold": hold}, "released")


# --- Frames -----------------------------------------------------------------------------------------------------------


def padded(size: int) -> bytes:
    """A ping of exactly `size` bytes."""
    return b'{"type":"ping","id":1,"x":"' + b"x" * (size - 29) + b'"}'


async def test_a_message_at_the_bound_is_heard(server: LiveServer, event: str) -> None:
    async with calling(server, event, hello={}) as caller:
        await caller.hear("welcome")
        assert await caller.ask(padded(limits.MESSAGE_BYTES_MAX - 1).decode(), "pong")


@pytest.mark.parametrize("size", [limits.MESSAGE_BYTES_MAX + 1, 64 * 1024 + 1, 2 * 1024 * 1024])
async def test_a_message_above_the_bound_is_too_big(server: LiveServer, event: str, size: int) -> None:
    async with bare_line(server, event) as line:
        line.say({"type": "hello"})
        await line.hear("welcome")
        line.write_frame(FIN | TEXT, padded(size))
        assert await line.hear_the_end() in (1009, None)


async def test_a_length_that_is_a_lie_is_too_big_at_once(server: LiveServer, event: str) -> None:
    """Nothing may be set aside for what is only announced."""
    async with bare_line(server, event) as line:
        line.write_frame(FIN | TEXT, b"", length=2**62)
        assert await line.hear_the_end() in (1009, 1002)


async def test_fragments_without_end_are_too_big(server: LiveServer, event: str) -> None:
    async with bare_line(server, event) as line:
        line.write_frame(TEXT, b"x" * 1000)
        for _ in range(20):
            line.write_frame(CONTINUATION, b"x" * 1000)
        assert await line.hear_the_end() in (1009, None)


async def test_empty_fragments_without_end_are_not_patience_without_end(
    server: LiveServer, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS_MAX", 0.5)
    async with bare_line(server, event) as line:
        line.say({"type": "hello"})
        await line.hear("welcome")
        ended = asyncio.ensure_future(line.hear_the_end())
        line.write_frame(TEXT)
        while not ended.done():
            line.write_frame(CONTINUATION)
            await asyncio.sleep(0.01)
        assert await ended in (None, 1009, 1008)


async def test_fragments_of_a_good_message_are_put_together(server: LiveServer, event: str) -> None:
    async with bare_line(server, event) as line:
        line.write_frame(TEXT, b'{"type":')
        line.write_frame(FIN | PING, b"in between")
        line.write_frame(CONTINUATION, b'"hel')
        line.write_frame(FIN | CONTINUATION, b'lo"}')
        assert await line.hear("welcome")


async def test_requests_that_come_at_once_are_answered_in_order(server: LiveServer, event: str) -> None:
    """Each is carried out before the next, so a seat given back by one is free for another of the same packet."""
    async with bare_line(server, event) as line:
        line.say({"type": "hello"})
        await line.hear("welcome")
        line.say({"type": "hold", "id": 1, "seats": [40]})
        hold = (await line.hear("held"))["hold"]["id"]
        line.say({"type": "hold", "id": 2, "seats": [40]})
        line.say({"type": "hold_best", "id": 3, "quantity": 1})
        line.say({"type": "release", "id": 4, "hold": hold})
        line.say({"type": "hold", "id": 5, "seats": [40]})
        line.write_frame(FIN | PING, b"?")
        line.say({"type": "ping", "id": 6})
        refused, best, released, held, pong = [
            await line.hear(kind) for kind in ("error", "held", "released", "held", "pong")
        ]
        assert [message["id"] for message in (refused, best, released, held, pong)] == [2, 3, 4, 5, 6]
        assert refused["code"] == "seat_taken"
        for number, message in enumerate((best, held), 7):
            line.say({"type": "release", "id": number, "hold": message["hold"]["id"]})
            await line.hear("released")


async def test_an_answer_that_cannot_be_made_is_an_outcome_that_is_unknown(
    server: LiveServer, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours there left the socket deaf for ever, and who waited in the same call without an answer."""
    async with calling(server, event, hello={}) as caller, calling(server, event, hello={}) as other:
        for line in (caller, other):
            await line.hear("welcome")
        with monkeypatch.context() as broken:
            broken.setattr(conversation, "show_changed", None)
            for request in ({"type": "hold", "seats": [3]}, {"type": "hold_best", "quantity": 1}):
                error = await caller.ask({**request, "id": 1}, "held", "error")
                assert (error["id"], error["code"]) == (1, "unavailable")
                told = await caller.hear("hold_changed")
                assert told["reason"] == "own", "it worked all the same"
                await caller.say({"type": "release", "id": 2, "hold": told["hold"]})
                assert (await caller.hear("error"))["id"] == 2
                assert (await caller.hear("hold_changed"))["state"] == "gone"
        held = await caller.ask({"type": "hold", "id": 3, "seats": [4]}, "held")
        await caller.ask({"type": "release", "id": 4, "hold": held["hold"]["id"]}, "released")
        assert (await other.ask({"type": "ping", "id": 1}, "pong"))["id"] == 1


async def test_who_closes_at_once_is_answered_before(server: LiveServer, event: str) -> None:
    async with bare_line(server, event) as line:
        line.say({"type": "hello"})
        await line.hear("welcome")
        line.say({"type": "hold", "id": 1, "seats": [41]})
        hold = (await line.hear("held"))["hold"]["id"]
        line.say({"type": "release", "id": 2, "hold": hold})
        line.write_frame(FIN | CLOSE, (1000).to_bytes(2, "big"))
        await line.hear("released")
        assert await line.hear_the_end() == 1000


@pytest.mark.parametrize(
    ("first", "payload", "masked", "code"),
    [
        (FIN | RSV1 | TEXT, b"{}", True, 1002),
        (FIN | RSV2 | TEXT, b"{}", True, 1002),
        (FIN | 0x3, b"", True, 1002),
        (FIN | 0xB, b"", True, 1002),
        (FIN | CONTINUATION, b"", True, 1002),
        (PING, b"", True, 1002),
        (FIN | PING, b"p" * 126, True, 1002),
        (FIN | TEXT, b'{"type":"hello"}', False, 1002),
        (FIN | TEXT, b"\xff\xfe", True, 1007),
        (FIN | TEXT, b"\xed\xa0\x80", True, 1007),
        (FIN | TEXT, b"\xf0\x28\x8c\x28", True, 1007),
        (FIN | CLOSE, b"\x03", True, 1002),
        (FIN | CLOSE, (999).to_bytes(2, "big"), True, 1002),
        (FIN | CLOSE, (1004).to_bytes(2, "big"), True, 1002),
        (FIN | CLOSE, (1006).to_bytes(2, "big"), True, 1002),
        (FIN | CLOSE, (1000).to_bytes(2, "big") + b"\xff", True, 1007),
        (FIN | BINARY, b"{}", True, 1003),
    ],
    ids=[
        "RSV1 (a bomb that was not agreed on)",
        "RSV2",
        "reserved opcode",
        "reserved control opcode",
        "continuation of nothing",
        "fragmented ping",
        "ping of 126 bytes",
        "unmasked",
        "invalid UTF-8",
        "surrogate",
        "overlong",
        "half a close code",
        "close 999",
        "close 1004",
        "close 1006",
        "close with a broken reason",
        "binary on the text subprotocol",
    ],
)
async def test_frames_that_break_the_protocol(
    server: LiveServer, event: str, first: int, payload: bytes, masked: bool, code: int
) -> None:
    async with bare_line(server, event) as line:
        line.say({"type": "hello"})
        await line.hear("welcome")
        line.write_frame(first, payload, masked=masked)
        assert await line.hear_the_end(2) == code


async def test_text_on_the_binary_subprotocol(server: LiveServer, event: str) -> None:
    async with calling(server, event, protocols=[wire.SUBPROTOCOL_MSGPACK]) as caller:
        await caller.socket.send_str('{"type":"hello"}')
        assert (await caller.hear_the_end())[0] == 1003


async def test_a_bomb_is_never_unpacked(server: LiveServer, event: str) -> None:
    """A client that offers permessage-deflate is not given it, so there is nothing to inflate."""
    async with bare_line(server, event, headers={"Sec-WebSocket-Extensions": "permessage-deflate"}) as line:
        line.write_frame(FIN | RSV1 | TEXT, b"x" * 100)
        assert await line.hear_the_end() == 1002


# --- Messages ---------------------------------------------------------------------------------------------------------


BAD_MESSAGES = {
    "unknown type": {"type": "dance", "id": 1},
    "no type": {"id": 1},
    "type is a number": {"type": 1, "id": 1},
    "server's own type": {"type": "welcome"},
    "not a map": "[]",
    "null": "null",
    "string": '"hold"',
    "empty": "",
    "broken": "{",
    "trailing junk": '{"type":"ping","id":1}}',
    "deep": "[" * 8000,
    "deep in a field": '{"type":"ping","id":1,"x":' + "[" * 5000 + "]" * 5000 + "}",
    "BOM": '\ufeff{"type":"ping","id":1}',
    "NaN": '{"type":"hold","id":1,"seats":[NaN]}',
    "no id": {"type": "ping"},
    "id below 0": {"type": "ping", "id": -1},
    "id above 2^53": {"type": "ping", "id": 2**53},
    "id is a float": '{"type":"ping","id":1.5}',
    "id is a huge float": '{"type":"ping","id":1e309}',
    "id is text": {"type": "ping", "id": "1"},
    "id is true": {"type": "ping", "id": True},
    "seat below 0": {"type": "hold", "id": 1, "seats": [-1]},
    "seat is text": {"type": "hold", "id": 1, "seats": ["1"]},
    "seat is true": {"type": "hold", "id": 1, "seats": [True]},
    "seat above 2^63": {"type": "hold", "id": 1, "seats": [2**63]},
    "51 seats": {"type": "hold", "id": 1, "seats": list(range(51))},
    "seats are a map": {"type": "hold", "id": 1, "seats": {"0": 1}},
    "area is no id": {"type": "hold", "id": 1, "areas": {"{other}:seats": 1}},
    "area of 0": {"type": "hold", "id": 1, "areas": {"pit": 0}},
    "area of -1": {"type": "hold", "id": 1, "areas": {"pit": -1}},
    "area of 1.5": {"type": "hold", "id": 1, "areas": {"pit": 1.5}},
    "area of 51": {"type": "hold", "id": 1, "areas": {"pit": 51}},
    "key of 256": {"type": "hold", "id": 1, "seats": [1], "key": "k" * 256},
    "empty key": {"type": "hold", "id": 1, "seats": [1], "key": ""},
    "hold is no id": {"type": "release", "id": 1, "hold": "a:b"},
    "hold of 65": {"type": "extend", "id": 1, "hold": "h" * 65},
    "hold with NUL": {"type": "extend", "id": 1, "hold": "h\0"},
    "hold with newline": {"type": "extend", "id": 1, "hold": "h\n"},
    "token is a number": {"type": "hello", "token": 1},
    "token of 10 kB": {"type": "hello", "token": "t" * 10_000},
    "accept is text": {"type": "hello", "accept": "deflate"},
}


@pytest.mark.parametrize("kind", BAD_MESSAGES)
async def test_a_bad_message_is_told_so_and_the_fifth_is_the_last(server: LiveServer, event: str, kind: str) -> None:
    bad = BAD_MESSAGES[kind]
    text = bad if isinstance(bad, str) else json.dumps(bad, ensure_ascii=False)
    async with calling(server, event, hello={}) as caller:
        await caller.hear("welcome")
        error = await caller.ask(text, "error")
        assert error["code"] == "invalid_message"
        assert "Traceback" not in error["message"]
        assert len(error["message"]) < 300
        for _ in range(limits.STRIKES_MAX - 1):
            await caller.say(text)
        code, messages = await caller.hear_the_end()
    assert code == 1008
    assert [message["code"] for message in messages if message["type"] == "error"] == ["invalid_message"] * 4


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"seats": []}, "invalid_message"),
        ({"seats": [3, 3]}, "invalid_message"),
        ({"seats": [SEATS]}, "unknown_seat"),
        ({"seats": [199_999]}, "unknown_seat"),
        ({"seats": [1, SEATS]}, "unknown_seat"),
        ({"areas": {"balcony": 1}}, "unknown_area"),
        ({"seats": [1], "areas": {"balcony": 1}}, "unknown_area"),
        ({"seats": [{"seat": 1, "type": "emperor"}]}, "invalid_message"),
        ({"areas": {"pit": {"emperor": 1}}}, "invalid_message"),
        ({"seats": [1], "into": "no-such-hold"}, "hold_not_found"),
        ({"seats": [1], "replace": "no-such-hold"}, "hold_not_found"),
        ({"seats": [1], "into": "h-1", "replace": "h-2"}, "invalid_message"),
        ({"seats": list(range(50)), "areas": {"pit": 1}}, "limit_exceeded"),
    ],
)
async def test_a_hold_that_cannot_be_takes_nothing(
    server: LiveServer, event: str, request_: dict[str, Any], code: str
) -> None:
    async with calling(server, event, hello={}) as caller:
        await caller.hear("welcome")
        answer = await caller.ask({"type": "hold", "id": 7, **request_}, "error", "held")
        assert (answer["type"], answer["id"]) == ("error", 7), answer
        assert answer["code"] == code


async def test_fields_that_are_not_the_callers_to_set_are_ignored(server: LiveServer, event: str) -> None:
    async with calling(server, event, hello={"holder": "admin", "role": "admin"}) as caller:
        welcome = await caller.hear("welcome")
        assert welcome["holder"] != "admin"
        request = {"type": "hold", "id": 1, "seats": [1], "amount": 0, "holder": "x", "state": "sold", "__proto__": {}}
        held = await caller.ask(request, "held", "error")
        assert (held["hold"]["amount"], held["hold"]["state"]) == (5100, "active")
        await caller.ask({"type": "release", "id": 2, "hold": held["hold"]["id"]}, "released")


@pytest.mark.parametrize("message", [{"type": "hold", "id": 9, "seats": [1]}, {"type": "ping", "id": 9}])
async def test_hello_comes_first(server: LiveServer, event: str, message: dict[str, Any]) -> None:
    async with calling(server, event) as caller:
        error = await caller.ask(message, "error")
        assert (error["code"], error["id"]) == ("invalid_message", 9)
        assert await caller.ask({"type": "hello"}, "welcome")


async def test_an_id_that_is_used_twice_gets_an_answer_each_time(server: LiveServer, event: str) -> None:
    async with calling(server, event, hello={}) as caller:
        await caller.hear("welcome")
        for _ in range(3):
            assert (await caller.ask({"type": "extend", "id": 4, "hold": "none"}, "error"))["id"] == 4


# --- Resume -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 10**6},
        {"seq": 2**53 - 1},
        {"seq": 2**53},
        {"seq": 2**63},
        {"seq": 2**64},
        {"seq": -1},
        {"seq": 0.0},
        {"seq": "0"},
        {"seq": True},
        {"seq": None},
        {"seq": []},
        {"epoch": "another"},
        {"epoch": ""},
        {"epoch": 1},
        {"epoch": None},
        {"epoch": "0"},
        {"epoch": "e" * 1000},
        None,
        [],
        "resume",
        7,
    ],
)
async def test_a_resume_that_cannot_be_served_is_a_welcome(server: LiveServer, event: str, change: Any) -> None:
    async with calling(server, event, hello={}) as caller:
        first = await caller.hear("welcome")
        good = {"epoch": first["epoch"], "seq": first["seq"]}
        resume = {**good, **change} if isinstance(change, dict) else change
        again = await caller.ask({"type": "hello", "resume": resume}, "welcome", "resumed", "error")
        assert again["type"] == "welcome"
        assert (again["epoch"], again["seq"], again["seats"]) == (first["epoch"], first["seq"], first["seats"])
        assert (await caller.ask({"type": "hello", "resume": good}, "welcome", "resumed"))["type"] == "resumed"


async def test_a_resume_brings_exactly_what_was_missed(server: LiveServer, event: str) -> None:
    async with calling(server, event, hello={}) as caller:
        first = await caller.hear("welcome")
        held = await caller.ask({"type": "hold", "id": 1, "seats": [4, 9]}, "held")
        await caller.hear("diff")
        resume = {"epoch": first["epoch"], "seq": first["seq"]}
        resumed = await caller.ask({"type": "hello", "resume": resume}, "resumed")
        assert (resumed["held"], resumed["seq"]) == ([4, 9], held["seq"])
        assert [hold["id"] for hold in resumed["holds"]] == [held["hold"]["id"]]
        await caller.ask({"type": "release", "id": 2, "hold": held["hold"]["id"]}, "released")


# --- Patience ---------------------------------------------------------------------------------------------------------


async def test_silence_after_the_handshake(server: LiveServer, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HELLO_SECONDS_MAX", 0.2)
    async with calling(server, event) as caller:
        assert (await caller.hear_the_end())[0] == 1008


async def test_anything_but_hello_is_silence_too(
    server: LiveServer, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HELLO_SECONDS_MAX", 0.3)
    monkeypatch.setattr(limits, "STRIKES_MAX", 10**6)
    async with bare_line(server, event) as line:
        ended = asyncio.ensure_future(line.hear_the_end())
        while not ended.done():
            line.write_frame(FIN | PING, b"still here")
            await asyncio.sleep(0.02)
        assert await ended == 1008


async def test_a_half_open_line_is_cut(server: LiveServer, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bare_line(server, event) as line:
        line.say({"type": "hello"})
        await line.hear("welcome")
        monkeypatch.setattr(limits, "IDLE_SECONDS_MAX", 0.3)
        assert await line.hear_the_end() is None


async def test_a_flood_is_told_and_then_cut(server: LiveServer, event: str) -> None:
    async with calling(server, event, hello={}) as caller:
        await caller.hear("welcome")
        sent = limits.MESSAGE_BURST_MAX + limits.FLOODS_MAX + 60
        with contextlib.suppress(ConnectionError):
            for number in range(sent):
                await caller.say({"type": "ping", "id": number})
        code, messages = await caller.hear_the_end()
    assert code == 1008
    limited = [message for message in messages if message["type"] == "error"]
    assert {message["code"] for message in limited} == {"rate_limited"}
    assert all(message["retry_after_ms"] > 0 for message in limited)
    assert len([message for message in messages if message["type"] == "pong"]) >= limits.MESSAGE_BURST_MAX - 5


async def test_a_flood_of_ping_frames_is_cut_too(server: LiveServer, event: str) -> None:
    """Ping frames were answered one by one for ever: the message rate knew nothing of them."""
    async with calling(server, event, hello={}) as caller:
        await caller.hear("welcome")
        with contextlib.suppress(ConnectionError):
            for _ in range(limits.MESSAGE_BURST_MAX + limits.FLOODS_MAX + 60):
                await caller.socket.ping()
        code, _ = await caller.hear_the_end()
    assert code == 1008


async def test_a_flood_of_one_delays_nobody_else(server: LiveServer, event: str) -> None:
    token = server.tokens.issue("flooder", int(time.time() * 1000))
    async with calling(server, event, hello={"token": token}) as flooding, calling(server, event, hello={}) as other:
        await other.hear("welcome")

        async def flood() -> None:
            with contextlib.suppress(ConnectionError):
                for number in range(2_000):
                    await flooding.say({"type": "hold", "id": number, "seats": [number % 50]})

        flooded = asyncio.create_task(flood())
        for number in range(10):
            began = time.monotonic()
            await other.ask({"type": "ping", "id": number}, "pong")
            assert time.monotonic() - began < 1
        await flooded
        assert (await flooding.hear_the_end())[0] == 1008
        held = await other.ask({"type": "hold", "id": 99, "seats": [SEATS - 2]}, "held", "error")
        await other.ask({"type": "release", "id": 100, "hold": held["hold"]["id"]}, "released")
    async with calling(server, event, hello={"token": token}) as caller:
        for number, hold in enumerate((await caller.hear("welcome"))["holds"]):
            await caller.ask({"type": "release", "id": number, "hold": hold["id"]}, "released")


# --- Slow readers -----------------------------------------------------------------------------------------------------


async def churn(caller: Caller, rounds: int) -> None:
    """Takes 50 seats and gives them back, so that each round makes two diffs of some hundred bytes."""
    for number in range(rounds):
        held = await caller.ask({"type": "hold", "id": 2 * number, "seats": list(range(50))}, "held", "error")
        assert held["type"] == "held", held
        await caller.ask({"type": "release", "id": 2 * number + 1, "hold": held["hold"]["id"]}, "released")


async def sockets_cut(server: LiveServer) -> float:
    async with ClientSession() as session, session.get(f"{server.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("lml_sockets_cut_total"))


async def test_who_does_not_read_is_cut_and_nobody_else_waits(
    server: LiveServer, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SOCKET_SEND_BUFFER_BYTES", 2_048)
    monkeypatch.setattr(limits, "SOCKET_UNSENT_BYTES", 1_024)
    monkeypatch.setattr(limits, "STALL_SECONDS_MAX", 0.5)
    monkeypatch.setattr(limits, "MESSAGES_PER_SECOND_MAX", 10_000)
    monkeypatch.setattr(limits, "MESSAGE_BURST_MAX", 10_000)
    async with (
        bare_line(server, event, receive_buffer=1_024) as stalled,
        calling(server, event, hello={}) as busy,
        LiveClient(server.url, event) as other,
    ):
        stalled.say({"type": "hello"})
        await stalled.hear("welcome")
        await busy.hear("welcome")
        before = await sockets_cut(server)
        async with asyncio.timeout(30):
            while await sockets_cut(server) == before:
                await churn(busy, 5)
                began = time.monotonic()
                await other.ping()
                assert time.monotonic() - began < 1, "nobody waits for the one that does not read"
        await other.wait_for(lambda live: live.seats == bytes(SEATS))
        assert other.connected
        assert await stalled.hear_the_end() is None, "cut without a goodbye that it would not read"


# --- What hostile sockets take ----------------------------------------------------------------------------------------


async def test_what_hostile_sockets_take_is_given_back(
    server: LiveServer, socket_settings: Settings, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I29: five hundred that break off or fall silent, wherever they are, leave nothing open behind them."""
    monkeypatch.setattr(limits, "HELLO_SECONDS_MAX", 1)
    hello = msgspec.json.encode({"type": "hello"})
    masked = bytes((FIN | TEXT, 0x80 | len(hello))) + bytes(4) + hello
    upgrade = (
        f"GET {server.live_path(event)} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n"
    ).encode()
    silent = [upgrade, upgrade + masked[:9]]
    ways = [*silent, b"", b"\x16\x03\x01", upgrade[:60], upgrade + masked, upgrade + b"\xff" * 40]

    async def gauge(name: str) -> float:
        async with ClientSession() as session, session.get(f"{server.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    async def taken() -> tuple[int, float, int]:
        """Descriptors of this process, sockets counted, connections to the worker's database."""
        return len(os.listdir("/proc/self/fd")), await gauge("lml_sockets"), await pool.fetchval(CONNECTIONS)

    assert socket_settings.postgres_dsn is not None
    loop, pool = asyncio.get_running_loop(), await postgres.connect_pool(socket_settings.postgres_dsn, size_max=1)
    before = await taken()
    for _ in range(2):
        crowd = []
        for number in range(250):
            line = socket.socket()
            line.setblocking(False)
            crowd.append(line)
            await loop.sock_connect(line, ("127.0.0.1", server.port))
            await loop.sock_sendall(line, ways[number % len(ways)])
        assert len(os.listdir("/proc/self/fd")) > before[0] + 250, "they are there"
        for number, line in enumerate(crowd):
            if number < len(silent):  # the server's patience is at an end before ours
                async with asyncio.timeout(20):
                    while await loop.sock_recv(line, 4_096):
                        pass
            if number % 3:  # a reset, where the others say goodbye
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.close()

    async def given_back() -> bool:
        now = await taken()
        # A pool of ours may have grown meanwhile, up to its bound.
        return now[0] < before[0] + 10 and now[1] == before[1] and now[2] <= before[2] + limits.POSTGRES_POOL_MAX

    await eventually(given_back)
    await pool.close()


CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


# --- A good client beside all this ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [wire.JSON, wire.MSGPACK], ids=["json", "msgpack"])
async def test_our_own_client_holds_resumes_and_sees_the_same(server: LiveServer, event: str, fmt: wire.Format) -> None:
    async with LiveClient(server.url, event, fmt=fmt, random=lambda: 0.0) as one, LiveClient(server.url, event) as two:
        held = await one.hold(seats=[10, 11], areas={"pit": 2})
        assert isinstance(held, HoldResult)
        assert held.hold is not None
        await two.wait_for(lambda live: live.seats[10] == live.seats[11] == 1 and live.areas["pit"].held == 2)
        taken = await two.hold(seats=[11, 12])
        assert isinstance(taken, Refusal)
        assert (taken.code, taken.seats) == ("seat_taken", (11,))
        one.drop()
        await one.wait_for(lambda live: not live.connected)
        other = await two.hold(seats=[12])
        assert isinstance(other, HoldResult)
        await one.wait_for(lambda live: live.seats[12] == 1)
        assert set(one.holds) == {held.hold.id}
        assert isinstance(await one.extend(held.hold.id), HoldResult)
        assert await one.release(held.hold.id) == HoldResult(None)
        assert other.hold is not None
        assert await two.release(other.hold.id) == HoldResult(None)
        for live in (one, two):
            await live.wait_for(lambda live: live.seats == bytes(SEATS))
        assert msgspec.to_builtins(one.areas) == msgspec.to_builtins(two.areas)
