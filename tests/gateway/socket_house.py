"""A whole worker in the test's own process, events to open on it, and a client that writes bare frames."""

import asyncio
import base64
import contextlib
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType
from databases import clone_database

from lml_live import limits, preparing, wiring
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.gateway.tokens import LIFE_MS, HolderTokens
from lml_live.infra import mongo, postgres
from lml_live.infra.config import Settings
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import LayoutChoice, NewEvent, SaleLimits
from lml_live.pricing.quote import Price
from lml_live.venues.layout import Layout, Row, Seat, Section, Viewport
from lml_live.venues.library import Library

SECRET = "a secret of thirty-two characters or more"
LAYOUT = "studio"
SEATS = 200
AREA = "pit"


@dataclass
class LiveServer:
    """A worker that serves. `origin` is its own address, as a browser would name it."""

    port: int
    catalogue: Catalogue
    tokens: HolderTokens = field(default_factory=lambda: HolderTokens(SECRET.encode()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def live_path(self, event: str) -> str:
        return f"/api/v1/events/{event}/live"

    async def open_event(self, event: str = "", group: str | None = None) -> str:
        """A fresh event of 200 seats and an area of 50 places, on sale."""
        event = event or f"event-{secrets.token_hex(6)}"
        await self.catalogue.create_event(
            NewEvent(
                id=event,
                group=group,
                name="Concert",
                venue="Studio",
                starts_at=datetime.now(UTC) + timedelta(days=1),
                currency="EUR",
                layout=LayoutChoice(LAYOUT, 1),
                prices=(Price(category="all", amount=5000, fee=100, tax_rate="7.00"),),
                limits=SaleLimits(max_seats=50, hold_seconds=300, extensions=2, lifetime_seconds=900),
                tick_ms=limits.TICK_MS_MIN,
            )
        )
        await self.catalogue.set_state(event, "open")
        return event


def studio() -> Layout:
    seats = tuple(
        Seat(number=str(number + 1), x=round(number / SEATS, 5), y=0.5, category="all") for number in range(SEATS)
    )
    return Layout(
        layout_id=LAYOUT,
        name="Studio",
        type="hybrid",
        viewport=Viewport(1000, 1000, "px"),
        sections=(
            Section(name="Stalls", kind="seated", rows=(Row(label="A", seats=seats),)),
            Section(name="Pit", kind="standing", area_id=AREA, capacity=50, category="all"),
        ),
    )


@contextlib.asynccontextmanager
async def house(postgres_server: str, mongo_url: str, valkey_url: str) -> AsyncIterator[Settings]:
    """Databases of one's own with the studio deployed; what is yielded starts workers on them."""
    dsn = await clone_database(postgres_server)
    name = dsn.rsplit("/", 1)[1]
    settings = Settings(
        redis_url=valkey_url,
        postgres_dsn=dsn,
        mongo_url=mongo_url,
        mongo_database=name,
        secret=SECRET,
        tick_ms=limits.TICK_MS_MIN,
        origins=("https://app.example.com",),
    )
    await preparing.prepare(settings, lambda _: None, demonstration=False)
    database = mongo.connect_database(mongo_url, name)
    library = Library(database)
    await library.save_draft(studio())
    await library.publish(LAYOUT)
    await library.deploy(LAYOUT)
    try:
        yield settings
    finally:
        await database.client.drop_database(database)
        mongo.close_database(database)


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[LiveServer]:
    """One worker on a free port."""
    ready, stop = asyncio.Event(), asyncio.Event()
    assert settings.postgres_dsn is not None
    assert settings.mongo_url is not None
    pool = await postgres.connect_pool(settings.postgres_dsn, size_max=2)
    database = mongo.connect_database(settings.mongo_url, settings.mongo_database)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        worker = asyncio.create_task(wiring.run_worker(settings, listener, ready.set, stop))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([worker, waiting], return_when=asyncio.FIRST_COMPLETED)
        if worker.done():
            waiting.cancel()
            await worker
        try:
            yield LiveServer(listener.getsockname()[1], Catalogue(pool, DeployedLayouts(Library(database))))
        finally:
            stop.set()
            await worker
            await pool.close()
            mongo.close_database(database)


# --- Tokens that are none


def bad_tokens(server: LiveServer) -> dict[str, str]:
    now_ms = int(time.time() * 1000)
    good = server.tokens.issue("holder-of-another", now_ms)
    body, signature = good.removeprefix("lmlh_").split(".")
    return {
        "empty": "",
        "nonsense": "x",
        "prefix alone": "lmlh_",
        "expired": server.tokens.issue("holder-of-another", now_ms - LIFE_MS - 1),
        "tampered signature": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "tampered body": f"lmlh_{body[:-2]}AA.{signature}",
        "no signature": f"lmlh_{body}",
        "empty signature": f"lmlh_{body}.",
        "alg none": "eyJhbGciOiJub25lIn0.eyJoIjoiaCJ9.",
        "not ascii": good + "é",
        "with a space": f" {good}",
        "doubled": f"{good}.{signature}",
        "NUL": "\0",
    }


BAD_TOKENS = [
    "empty",
    "nonsense",
    "prefix alone",
    "expired",
    "tampered signature",
    "tampered body",
    "no signature",
    "empty signature",
    "alg none",
    "not ascii",
    "with a space",
    "doubled",
    "NUL",
]


# --- Clients


class Caller:
    """A socket of aiohttp's, in JSON, that is told apart from no browser."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, message: Any) -> None:
        await self.socket.send_str(message if isinstance(message, str) else msgspec.json.encode(message).decode())

    async def hear(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these types; others are passed over. Fails where the socket is closed first."""
        while True:
            frame = await self.socket.receive(timeout=10)
            assert frame.type is WSMsgType.TEXT, f"{frame.type.name} {self.socket.close_code} before {kinds}"
            message: dict[str, Any] = msgspec.json.decode(frame.data)
            if not kinds or message["type"] in kinds:
                return message

    async def ask(self, message: Any, *kinds: str) -> dict[str, Any]:
        await self.say(message)
        return await self.hear(*kinds)

    async def hear_the_end(self) -> tuple[int | None, list[dict[str, Any]]]:
        """The close code, and every message before it."""
        messages = []
        while True:
            frame = await self.socket.receive(timeout=10)
            if frame.type is not WSMsgType.TEXT:
                return self.socket.close_code, messages
            messages.append(msgspec.json.decode(frame.data))


@contextlib.asynccontextmanager
async def calling(
    server: LiveServer, event: str, *, hello: dict[str, Any] | None = None, query: str = "", **options: Any
) -> AsyncIterator[Caller]:
    """A socket that has said hello (`hello={}` for the plainest one; None to say nothing) and was not yet answered."""
    async with (
        ClientSession() as session,
        session.ws_connect(server.url + server.live_path(event) + query, max_msg_size=0, **options) as opened,
    ):
        caller = Caller(opened)
        if hello is not None:
            await caller.say({"type": "hello", **hello})
        yield caller


CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, RSV2 = 0x80, 0x40, 0x20


class BareLine:
    """A line that speaks websocket by hand, so that it can break the rules."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write_frame(self, first: int, payload: bytes = b"", *, masked: bool = True, length: int | None = None) -> None:
        """One frame; `length` lies about the payload's."""
        size = len(payload) if length is None else length
        mask_bit = 0x80 if masked else 0
        if size < 126:
            head = bytes((first, mask_bit | size))
        elif size < 65536:
            head = bytes((first, mask_bit | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((first, mask_bit | 127)) + size.to_bytes(8, "big")
        # A mask of zeros leaves the payload as it is.
        self.writer.write(head + (bytes(4) if masked else b"") + payload)

    def say(self, message: Any) -> None:
        self.write_frame(FIN | TEXT, msgspec.json.encode(message))

    async def read_frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload. Raises `IncompleteReadError` or `ConnectionError` at the end."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self.reader.readexactly(8), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message of this type."""
        async with asyncio.timeout(10):
            while True:
                opcode, payload = await self.read_frame()
                if opcode in (TEXT, BINARY) and (message := msgspec.json.decode(payload))["type"] == kind:
                    return dict(message)

    async def hear_the_end(self, seconds: float = 10) -> int | None:
        """The close code, or None where the line was cut without one."""
        async with asyncio.timeout(seconds):
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    opcode, payload = await self.read_frame()
                    if opcode == CLOSE:
                        return int.from_bytes(payload[:2], "big")
        return None


@contextlib.asynccontextmanager
async def bare_line(
    server: LiveServer, event: str, *, headers: dict[str, str] | None = None, receive_buffer: int | None = None
) -> AsyncIterator[BareLine]:
    """A line after its handshake; `receive_buffer` bytes are all that the kernel takes in unread."""
    line = socket.socket()
    if receive_buffer is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    line.setblocking(False)
    await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=line, limit=1024 if receive_buffer else 65536)
    given = {
        "Host": f"127.0.0.1:{server.port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **(headers or {}),
    }
    lines = [f"GET {server.live_path(event)} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    try:
        yield BareLine(reader, writer)
    finally:
        writer.transport.abort()
