"""A bare live socket for tests: says what it is told to, and keeps everything that it hears."""

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from serving import LiveServer
from views import Truth, check

from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.gateway import wire
from lml_live.infra.mongo import close_database, connect_database
from lml_live.infra.redis import Pipe, load_scripts
from lml_live.inventory import seatmap
from lml_live.inventory.book import Book
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import Sale
from lml_live.venues.library import Library

SEAT_COUNT = 300
Message = dict[str, Any]


class Line:
    """One socket of one event, in one format. `heard` has every message so far, `seats` and `areas` the picture."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool], fmt: wire.Format) -> None:
        self.socket = socket
        self.format = fmt
        self.heard: list[Message] = []
        self.code: int | None = None
        self.seats = bytearray()
        self.areas: dict[str, Message] = {}
        self.seq = -1
        self.token = ""
        self.holder = ""
        self._ids = itertools.count(1)

    async def say(self, kind: str, /, **fields: Any) -> None:
        """Sends one message."""
        message = {"type": kind, **fields}
        if self.format.binary:
            await self.socket.send_bytes(msgspec.msgpack.encode(message))
        else:
            await self.socket.send_str(msgspec.json.encode(message).decode())

    async def receive(self, seconds: float = 10) -> Message | None:
        """The next message, or None when the socket was closed (`code` says how)."""
        frame = await self.socket.receive(seconds)
        if frame.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
            self.code = self.socket.close_code
            return None
        assert frame.type is (aiohttp.WSMsgType.BINARY if self.format.binary else aiohttp.WSMsgType.TEXT), frame
        message: Message = (msgspec.msgpack if self.format.binary else msgspec.json).decode(frame.data)
        self.format.decode_server(frame.data.encode() if isinstance(frame.data, str) else frame.data)
        self.heard.append(message)
        self._learn(message)
        return message

    async def hear(self, *kinds: str, **fields: Any) -> Message:
        """The next message of one of these kinds, with these fields; what comes before it is only kept.

        Of a field that is a mapping, `fields` may name some keys only.
        """
        async with asyncio.timeout(15):
            while True:
                message = await self.receive(15)
                assert message is not None, f"closed with {self.code} before any {kinds}; heard {self.heard[-3:]}"
                if message["type"] in kinds and all(_has(message.get(name), value) for name, value in fields.items()):
                    return message

    async def hear_seats(self, states: dict[int, int]) -> None:
        """Reads until these seats are in these states."""
        async with asyncio.timeout(15):
            while any(self.seats[seat] != state for seat, state in states.items()):
                assert await self.receive(15) is not None, f"closed with {self.code}"

    async def hear_area(self, area: str, **counts: int) -> None:
        """Reads until an area has these counts."""
        async with asyncio.timeout(15):
            while any(self.areas[area][name] != count for name, count in counts.items()):
                assert await self.receive(15) is not None, f"closed with {self.code}"

    async def closed(self) -> int:
        """Reads to the end and answers the close code."""
        async with asyncio.timeout(15):
            while self.code is None:
                await self.receive(15)
        return self.code

    async def hello(self, **fields: Any) -> Message:
        """Says hello and answers `welcome` or `resumed`."""
        await self.say("hello", **fields)
        return await self.hear("welcome", "resumed")

    async def ask(self, kind: str, /, **fields: Any) -> Message:
        """A request and its answer."""
        number = next(self._ids)
        await self.say(kind, id=number, **fields)
        async with asyncio.timeout(15):
            while True:
                message = await self.receive(15)
                assert message is not None, f"closed with {self.code}"
                if message.get("id") == number:
                    return message

    async def quiet(self) -> list[Message]:
        """Everything that came since the last look, up to the answer of a ping: what is not in it was not sent."""
        before = len(self.heard)
        await self.ask("ping")
        return self.heard[before:-1]

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.heard]

    def unpack(self, message: Message) -> bytearray:
        """The seats of a welcome, as a client reads them."""
        seats: bytes = message["seats"] if self.format.binary else base64.b64decode(message["seats"], validate=True)
        if message.get("encoding") == "deflate":
            seats = seatmap.inflate(seats, seatmap.packed_length(message["layout"]["seat_count"]))
        return seatmap.unpack(seats, message["layout"]["seat_count"])

    def _learn(self, message: Message) -> None:
        kind = message["type"]
        if kind == "welcome":
            self.seats = self.unpack(message)
        if kind in ("welcome", "resumed"):
            self.areas, self.token, self.holder = message["areas"], message["token"], message["holder"]
        if kind == "diff":
            assert message["prev"] <= self.seq <= message["seq"], "no gap without a reason"
            self.areas = {**self.areas, **message.get("areas", {})}
        if kind in ("diff", "resumed"):
            for state, name in enumerate(("available", "held", "sold", "blocked")):
                for seat in message.get(name, ()):
                    self.seats[seat] = state
        if kind in ("welcome", "resumed", "diff"):
            self.seq = message["seq"]

    def judged(self, truth: Truth | None = None) -> list[tuple[str, str]]:
        """What is wrong with what was heard so far (`views`)."""
        welcomes = [message for message in self.heard if message["type"] == "welcome"]
        return check(self.heard, truth, bytes(self.unpack(welcomes[-1])) if truth and welcomes else None)

    async def close(self) -> None:
        await self.socket.close()

    def drop(self) -> None:
        """Loses the connection without a goodbye."""
        transport = self.socket._response.connection
        assert transport is not None
        assert transport.transport is not None
        transport.transport.abort()


class Lines:
    """Opens sockets to a server's events, and closes them with the test."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._lines: list[Line] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()
        if kind is None:
            for line in self._lines:
                assert line.judged() == [], "what a socket was told is not coherent"

    async def open(
        self,
        server: LiveServer,
        fmt: wire.Format = wire.JSON,
        *,
        event: str | None = None,
        headers: dict[str, str] | None = None,
        query: str = "",
    ) -> Line:
        """A socket that has said nothing yet. Raises `aiohttp.WSServerHandshakeError`."""
        assert self._session is not None
        socket = await self._session.ws_connect(
            f"{server.url}/api/v1/events/{event or server.event}/live{query}",
            protocols=[fmt.subprotocol],
            headers=headers,
            max_msg_size=0,
        )
        assert socket.protocol == fmt.subprotocol
        self._lines.append(Line(socket, fmt))  # a socket that nobody knows any more would close itself
        return self._lines[-1]

    async def greeted(
        self, server: LiveServer, fmt: wire.Format = wire.JSON, *, event: str | None = None, **hello: Any
    ) -> Line:
        """A socket that was welcomed."""
        line = await self.open(server, fmt, event=event)
        await line.hello(**hello)
        return line


@contextlib.asynccontextmanager
async def booking_side(server: LiveServer) -> AsyncIterator[Holds]:
    """The inventory's acts as booking calls them, on the server's engines."""
    pipe = Pipe(server.redis_url, load_scripts())
    await pipe.start()
    database = connect_database(server.mongo_url, server.mongo_name)
    layouts = DeployedLayouts(Library(database))

    async def seat_directory(sale: Sale) -> Any:
        return (await layouts.index(sale.layout_id, sale.layout_version)).index_of

    try:
        async with server.pool() as pool:
            yield Holds(Book(pipe, pool, seat_directory), await pool.fetchval("SELECT secret FROM house"))
    finally:
        close_database(database)
        await pipe.close()


def _has(found: Any, wanted: Any) -> bool:
    return found | wanted == found if isinstance(found, dict) and isinstance(wanted, dict) else bool(found == wanted)
