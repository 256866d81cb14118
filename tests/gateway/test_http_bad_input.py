"""What breaks HTTP itself, and tokens that are none, over REST: told so, and no second request is ever seen in it."""

import asyncio
import gzip
import ipaddress
import json
import logging
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from socket_house import BAD_TOKENS, LiveServer, bad_tokens

from lml_live import limits
from lml_live.gateway import tokens
from lml_live.gateway.whence import AddressOf
from lml_live.guard.throttle import AddressCaps

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "Host: box.office\r\n"
HOLDERS = f"POST /api/v1/holders HTTP/1.1\r\n{HOST}"
LIVES = f"GET /healthz HTTP/1.1\r\n{HOST}"
SECOND = f"{LIVES}\r\n".encode()
"""A request that is smuggled in behind another one: what answers it says `"ok"`."""
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"


class Wire:
    """A connection that is written to by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def write(self, sent: str | bytes) -> None:
        self.writer.write(sent.encode("latin-1") if isinstance(sent, str) else sent)

    async def read_answer(self) -> tuple[int, bytes]:
        """The next answer's status and body."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            (size,) = [line[16:] for line in head.split("\r\n") if line.lower().startswith("content-length: ")]
            return int(head.split()[1]), await self.reader.readexactly(int(size))

    async def ended(self, seconds: float = 3) -> bytes:
        """Everything to the end of the connection, which has to come."""
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def wired(server: LiveServer) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def still_well(server: LiveServer) -> AsyncIterator[None]:
    """Afterwards the server serves as before."""
    yield
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/healthz") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", id="CL and TE"),
        pytest.param("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", id="TE and CL"),
        pytest.param("Content-Length: 0\r\nContent-Length: 5\r\n", id="two lengths"),
        pytest.param("Content-Length: 0, 5\r\n", id="a list of lengths"),
        pytest.param("Content-Length: +5\r\n", id="a signed length"),
        pytest.param("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", id="two codings"),
        pytest.param("Transfer-Encoding: xchunked\r\n", id="unknown coding"),
        pytest.param("Transfer-Encoding : chunked\r\n", id="space before the colon"),
        pytest.param("X-Folded: one\r\n Transfer-Encoding: chunked\r\n", id="obs-fold by a space"),
        pytest.param("X-Folded: one\r\n\tTransfer-Encoding: chunked\r\n", id="obs-fold by a tab"),
        pytest.param("X-Bare: one\rTransfer-Encoding: chunked\r\n", id="bare CR"),
        pytest.param("X-NUL: one\0\r\n", id="NUL"),
        pytest.param("".join(f"X-{number}: 1\r\n" for number in range(200)), id="200 headers"),
    ],
)
async def test_a_head_that_can_be_read_in_two_ways_is_not_read(server: LiveServer, head: str) -> None:
    async with wired(server) as wire:
        wire.write(f"{HOLDERS}{head}\r\n0\r\n\r\n")
        wire.write(SECOND)
        answer = await wire.ended()
    assert answer.split()[1] == b"400"
    assert b'"bad_request"' in answer
    assert answer.count(b"HTTP/1.") == 1, "what follows such a head is nobody's request"
    assert b"Folded" not in answer


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(f"Content-Length: {len(SECOND)}\r\n\r\n", id="length"),
        pytest.param(f"Transfer-Encoding: chunked\r\n\r\n{len(SECOND):x}\r\n", id="chunked"),
    ],
)
@pytest.mark.parametrize(
    "line", ["POST /api/v1/holders", "GET /healthz", "GET /api/v1/events/none/live", "DELETE /nowhere"]
)
async def test_the_body_of_an_upgrade_is_not_a_request(server: LiveServer, line: str, framing: str) -> None:
    """CVE-2026-69243: what a front proxy takes for a body must be one here, too."""
    async with wired(server) as wire:
        wire.write(f"{line} HTTP/1.1\r\n{HOST}{UPGRADE}{framing}")
        wire.write(SECOND)
        wire.write("\r\n0\r\n\r\n" if "chunked" in framing else "")
        answer = await wire.ended()
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(f"{LIVES}{UPGRADE}", id="upgrade where there is none"),
        pytest.param(f"GET /api/v1/events/none/live HTTP/1.1\r\n{HOST}{UPGRADE}", id="no such event"),
        pytest.param(f"{LIVES}{UPGRADE}".replace("websocket", "h2c"), id="h2c"),
        pytest.param(f"CONNECT box.office:80 HTTP/1.1\r\n{HOST}", id="CONNECT"),
    ],
)
async def test_nothing_is_served_behind_a_tunnel_that_was_refused(server: LiveServer, head: str) -> None:
    """A proxy that asked for a tunnel may not look whether it got one, and let anything through from then on."""
    async with wired(server) as wire:
        wire.write(f"{head}\r\n")
        wire.write(SECOND)
        answer = await wire.ended()
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_head_that_trickles_in_is_given_up(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then kept a connection open until the idle bound of 75 s; aiohttp itself had no other."""
    monkeypatch.setattr(limits, "HEAD_SECONDS_MAX", 0.2)
    async with wired(server) as wire:
        end = asyncio.create_task(wire.ended())
        for byte in f"{LIVES}X-Slow: {'x' * 1000}":
            if end.done():
                break
            wire.write(byte)
            await asyncio.sleep(0.02)
        assert await end == b""


async def test_who_connects_and_says_nothing_is_given_up(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS_MAX", 0.1)
    async with wired(server) as wire:
        assert await wire.ended() == b""


async def test_a_second_head_that_trickles_in_is_given_up_and_idleness_is_not(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS_MAX", 0.1)
    async with wired(server) as wire:
        for _ in range(2):
            wire.write(SECOND)
            assert (await wire.read_answer())[0] == 200
            await asyncio.sleep(0.25)  # longer than a head may take: nobody is waiting for one
        wire.write(LIVES)
        assert await wire.ended() == b""


async def test_a_slow_body_is_not_a_slow_head(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS_MAX", 0.1)
    body = b'{"email": "", "password": "none"}'
    async with wired(server) as wire:
        wire.write(f"POST /api/v1/sessions HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n")
        wire.write(f"Content-Length: {len(body)}\r\n\r\n")
        for byte in body[:10]:
            wire.write(bytes([byte]))
            await asyncio.sleep(0.03)
        wire.write(body[10:])
        assert (await wire.read_answer())[0] == 422


async def test_who_hangs_up_in_the_middle_is_no_error_of_ours(
    server: LiveServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Each one left a trace in the log, as a defect would."""
    async with wired(server) as wire:
        wire.write(f"POST /api/v1/sessions HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n")
        wire.write("Content-Length: 100\r\n\r\n{")
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.1)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip of 50 MB": ("gzip", lambda: gzip.compress(bytes(50_000_000))),
    "deflate of 50 MB": ("deflate", lambda: zlib.compress(bytes(50_000_000))),
    "40,000 empty members": ("gzip", lambda: gzip.compress(b"") * 40_000),
    "half a gzip": ("gzip", lambda: gzip.compress(b"{}")[:12]),
    "no gzip": ("gzip", lambda: b"{}"),
    "zstd": ("zstd", lambda: b"\x28\xb5\x2f\xfd"),
    "br": ("br", lambda: b"\x00"),
    "gzip twice": ("gzip, gzip", lambda: gzip.compress(gzip.compress(b"{}"))),
}


@pytest.mark.parametrize("kind", BOMBS)
async def test_an_encoded_body_is_never_unpacked(server: LiveServer, kind: str) -> None:
    """The framework unpacked bodies as they came in, whether or not anybody was to read them."""
    encoding, make = BOMBS[kind]
    body = make()
    stall, done = 0.0, asyncio.Event()

    async def watch() -> None:
        nonlocal stall
        while not done.is_set():
            before = time.thread_time()  # the loop's own work: other processes may be busy, too
            await asyncio.sleep(0)
            stall = max(stall, time.thread_time() - before)

    watching = asyncio.create_task(watch())
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{server.url}/api/v1/sessions", data=body, headers=headers) as answer,
    ):
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (415, "unsupported_media_type")
    done.set()
    await watching
    assert stall < 0.05


@pytest.mark.parametrize("kind", [kind for kind in BAD_TOKENS if kind != "with a space"])  # a header may have two
async def test_a_bad_token_is_nobody(server: LiveServer, kind: str) -> None:
    """Expired, changed, unsigned or not ours: one answer, whatever is wrong with it."""
    token = bad_tokens(server)[kind].encode()
    async with wired(server) as wire:
        wire.write(f"GET /api/v1/holds/1-ffffffffffffffffffff HTTP/1.1\r\n{HOST}Authorization: Bearer ".encode())
        wire.write(token + b"\r\n\r\n")
        status, body = await wire.read_answer()
    if kind == "NUL":
        assert status == 400, "that is no header"
        return
    assert (status, json.loads(body)["code"]) == (401, "unauthorized")
    assert json.loads(body)["detail"] == "Sign in first, or with a token that is still good."


async def test_a_signature_is_compared_in_constant_time(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = tokens.hmac.compare_digest
    monkeypatch.setattr(tokens.hmac, "compare_digest", lambda one, two: compared.append(one) or compare(one, two))
    bad = bad_tokens(server)
    for kind in ("tampered signature", "tampered body", "no signature", "empty signature", "expired"):
        compared.clear()
        assert server.tokens.read(bad[kind], int(time.time() * 1000)) is None
        assert compared == [bad[kind].removeprefix("lmlh_").partition(".")[2]], kind


# --- Who calls


@pytest.mark.parametrize(
    ("peer", "lines", "address"),
    [
        ("192.0.2.9", ["1.1.1.1"], "192.0.2.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.9"], "192.0.2.9"),
        ("10.0.0.1", ["1.1.1.1, 192.0.2.9"], "192.0.2.9"),
        ("10.0.0.1", ["1.1.1.1", "192.0.2.9"], "192.0.2.9"),
        ("10.0.0.1", ["1.1.1.1", "192.0.2.9, 10.0.0.2"], "192.0.2.9"),
        ("10.0.0.1", [" , 1.1.1.1,, 192.0.2.9:4711 , 10.0.0.2:80, "], "192.0.2.9"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["1.1.1.1, unknown"], "unknown"),
        ("::ffff:10.0.0.1", ["192.0.2.9"], "192.0.2.9"),
    ],
)
async def test_nobody_chooses_the_address_that_is_counted(peer: str, lines: list[str], address: str) -> None:
    """HAProxy adds a line of its own behind the caller's, and the caller's was believed: a new address a request."""
    headers = CIMultiDict([("X-Forwarded-For", line) for line in lines])
    request = make_mocked_request("GET", "/", headers=headers).clone(remote=peer)
    assert AddressOf([ipaddress.ip_network("10.0.0.0/8")], [], b"secret")(request) == address


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::7", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.9", "192.0.2.9", True),
        ("192.0.2.9", "192.0.2.10", False),
        ("unix:", "unix:", True),
    ],
)
async def test_all_addresses_of_a_customer_are_one(one: str, other: str, same: bool) -> None:
    """Of IPv6 everybody has 2^64: only holds were counted by network, not sockets, sign-ins and new holders."""
    address_of = AddressOf([], [], b"secret")
    requests = [make_mocked_request("GET", "/").clone(remote=address) for address in (one, other)]
    for count in (address_of.capped, address_of.mark):
        assert (count(requests[0]) == count(requests[1])) is same
    caps = AddressCaps(1, [])
    assert (caps.enter(one), caps.enter(other)) == (True, not same)
    caps.leave(one)
    assert caps.enter(one)


async def test_who_is_exempt_takes_nobodys_place_and_gives_none_back() -> None:
    """Of a network whose others are counted; and whoever listens on `::` hears of IPv4 as IPv6."""
    caps = AddressCaps(1, [ipaddress.ip_network("2001:db8::1/128"), ipaddress.ip_network("127.0.0.0/8")])
    assert caps.enter("2001:db8::1")
    assert caps.enter("2001:db8::2")
    caps.leave("2001:db8::1")
    assert not caps.enter("2001:db8::3")
    assert all(caps.enter("::ffff:127.0.0.1") for _ in range(2))
