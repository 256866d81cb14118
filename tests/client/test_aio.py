"""The asyncio client against a small server over real sockets: it comes back, resumes, and is never left waiting."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import ClientSession, WSMsgType, web
from aiohttp.test_utils import TestServer
from live_stand_in import NOW_MS, Truth, a_hold

from lml_live import errors
from lml_live.client import HoldResult, LiveClient, PingResult, Refusal, SeatsChanged, Synced
from lml_live.client.aio import MESSAGE_BYTES_MAX, NEWS_MAX
from lml_live.gateway import wire

FORMATS = pytest.mark.parametrize("fmt", [wire.JSON, wire.MSGPACK], ids=["json", "msgpack"])
Answer = Callable[["Server", web.WebSocketResponse, wire.ClientMessage], Awaitable[None]]


class Server:
    """A server of one event. `acts` replaces what it does with the messages of its n-th socket (0 first)."""

    def __init__(self, fmt: wire.Format) -> None:
        self.fmt = fmt
        self.truth = Truth()
        self.sockets: list[web.WebSocketResponse] = []
        self.hellos: list[wire.Hello] = []
        self.requests: list[wire.ClientMessage] = []
        self.asked = asyncio.Event()
        self.acts: dict[int, Answer] = {}
        self.status: int | None = None
        self.url = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self.status is not None:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse(protocols=[wire.SUBPROTOCOL_JSON, wire.SUBPROTOCOL_MSGPACK], compress=False)
        await socket.prepare(request)
        act = self.acts.get(len(self.sockets), answer)
        self.sockets.append(socket)
        async for frame in socket:
            assert frame.type is (WSMsgType.BINARY if self.fmt.binary else WSMsgType.TEXT)
            data = frame.data if self.fmt.binary else frame.data.encode()
            message = self.fmt.decode_client(data)
            if isinstance(message, wire.Hello):
                self.hellos.append(message)
            else:
                self.requests.append(message)
                self.asked.set()
            await act(self, socket, message)
        return socket

    async def say(self, socket: web.WebSocketResponse, message: wire.ServerMessage) -> None:
        payload = self.fmt.encode(message)
        await (socket.send_bytes(payload) if self.fmt.binary else socket.send_str(payload.decode()))

    async def change(self, seats: dict[int, int]) -> None:
        """Change seats and tell the latest socket."""
        self.truth.change(seats)
        await self.say(self.sockets[-1], self.truth.tick())

    def client(self, **options: object) -> LiveClient:
        return LiveClient(self.url, "evening", fmt=self.fmt, random=lambda: 0.0, **options)  # type: ignore[arg-type]


async def answer(server: Server, socket: web.WebSocketResponse, message: wire.ClientMessage) -> None:
    """What a server does that has nothing against it."""
    match message:
        case wire.Hello():
            await server.say(socket, server.truth.answer(message, server.fmt))
        case wire.HoldRequest(id=wire_id, seats=[int() as seat]):
            if server.truth.states[-1][seat] != 0:
                await server.say(socket, wire.Error(id=wire_id, code="seat_taken", message="Taken.", seats=(seat,)))
                return
            hold = a_hold(f"h-{seat}", (seat,))
            seq = server.truth.change({seat: 1}, hold=(hold.id, hold))
            await server.say(socket, wire.Held(id=wire_id, epoch="e1", seq=seq, hold=hold, now_ms=NOW_MS))
            await server.say(socket, server.truth.tick())
        case wire.Release(id=wire_id, hold=hold_id):
            seat = int(hold_id.removeprefix("h-"))
            seq = server.truth.change({seat: 0}, hold=(hold_id, None))
            await server.say(socket, wire.Released(id=wire_id, epoch="e1", seq=seq, now_ms=NOW_MS))
            await server.say(socket, server.truth.tick())
        case wire.Extend(id=wire_id, hold=hold_id):
            hold = server.truth.holds_at(server.truth.head)[hold_id]
            seq = server.truth.change({}, hold=(hold_id, hold))
            await server.say(socket, wire.Extended(id=wire_id, epoch="e1", seq=seq, hold=hold, now_ms=NOW_MS))
        case wire.Ping(id=wire_id):
            await server.say(socket, wire.Pong(id=wire_id, now_ms=NOW_MS))


async def say_nothing(server: Server, socket: web.WebSocketResponse, message: wire.ClientMessage) -> None:
    if isinstance(message, wire.Hello):
        await answer(server, socket, message)


@asynccontextmanager
async def serving(fmt: wire.Format = wire.JSON) -> AsyncIterator[Server]:
    server = Server(fmt)
    app = web.Application()
    app.router.add_get("/api/v1/events/evening/live", server.serve)
    async with TestServer(app) as listening:
        server.url = str(listening.make_url("/"))
        yield server


# --- A good day -------------------------------------------------------------------------------------------------------


@FORMATS
async def test_it_connects_watches_and_holds(fmt: wire.Format) -> None:
    async with serving(fmt) as server, server.client() as live:
        assert (live.connected, live.epoch, live.seq, live.holder) == (True, "e1", 0, "holder-1")
        assert live.seats == bytes(10)
        assert abs(live.server_now_ms() - NOW_MS) < 5_000
        granted = await live.hold(seats=[3])
        assert granted == HoldResult(a_hold("h-3", (3,)))
        assert set(live.holds) == {"h-3"}
        await live.wait_for(lambda live: live.seats[3] == 1)
        assert await live.hold(seats=[3]) == Refusal("seat_taken", "Taken.", (3,))
        assert await live.extend("h-3") == HoldResult(a_hold("h-3", (3,)))
        assert await live.release("h-3") == HoldResult(None)
        assert live.holds == {}
        await live.wait_for(lambda live: live.seats[3] == 0)
        assert isinstance(await live.ping(), PingResult)
        await server.change({7: 2})
        await live.wait_for(lambda live: live.seats[7] == 2)
    assert live.ended is not None


async def test_it_uses_a_session_that_it_is_given_and_leaves_it_open() -> None:
    async with serving() as server, ClientSession() as session:
        async with server.client(session=session):
            pass
        assert not session.closed


async def test_its_holder_comes_back_with_the_token() -> None:
    async with serving() as server, server.client() as live, server.client(token=live.token):
        assert [hello.token for hello in server.hellos] == [None, "token-1"]


async def test_wait_for_ends_in_time() -> None:
    async with serving() as server, server.client() as live:
        with pytest.raises(TimeoutError):
            await live.wait_for(lambda live: False, timeout=0.05)


async def test_a_cancelled_caller_takes_nothing_back() -> None:
    async with serving() as server, server.client() as live:
        server.acts[0] = say_nothing
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await live.hold(seats=[3])
        await live.wait_for(lambda live: "h-3" in live.holds)


# --- Lost sockets -----------------------------------------------------------------------------------------------------


@FORMATS
async def test_it_resumes_after_a_lost_line(fmt: wire.Format) -> None:
    async with serving(fmt) as server, server.client() as live:
        await server.change({1: 1})
        await live.wait_for(lambda live: live.seq == 1)
        live.drop()
        server.truth.change({2: 2})
        server.truth.tick()
        await live.wait_for(lambda live: live.seats[2] == 2)
        assert [hello.resume for hello in server.hellos] == [None, {"epoch": "e1", "seq": 1}]
        assert server.hellos[1].token == "token-1"
        assert live.seats == server.truth.states[-1]


async def test_a_hold_survives_a_lost_line_under_one_key() -> None:
    async with serving() as server:
        server.acts[0] = say_nothing
        async with server.client() as live:
            asked = asyncio.create_task(live.hold(seats=[3]))
            await server.asked.wait()
            live.drop()
            assert await asked == HoldResult(a_hold("h-3", (3,)))
            first, second = server.requests
            assert isinstance(first, wire.HoldRequest)
            assert isinstance(second, wire.HoldRequest)
            assert first.key == second.key


async def test_a_hold_that_is_asked_for_meanwhile_waits_for_the_next_socket() -> None:
    async with serving() as server, server.client() as live:
        live.drop()
        await live.wait_for(lambda live: not live.connected)
        assert await live.hold(seats=[3]) == HoldResult(a_hold("h-3", (3,)))


async def test_a_gap_is_closed_on_the_same_socket() -> None:
    async with serving() as server, server.client() as live:
        server.truth.change({1: 1})
        server.truth.tick()
        await server.change({2: 1})
        await live.wait_for(lambda live: live.seq == 2)
        assert live.seats == server.truth.states[-1]
        assert len(server.sockets) == 1
        assert server.hellos[1].resume == {"epoch": "e1", "seq": 0}


async def test_bye_brings_it_back() -> None:
    async with serving() as server, server.client() as live:
        await server.say(server.sockets[0], wire.Bye(reason="restart", retry_after_ms=1))
        await server.sockets[0].close(code=1012)
        server.truth.change({5: 1})
        server.truth.tick()
        await live.wait_for(lambda live: live.seats[5] == 1)
        assert len(server.sockets) == 2


async def test_a_server_that_comes_up_late_is_found() -> None:
    async with serving() as server:
        server.status = 503
        connecting = asyncio.create_task(server.client().__aenter__())
        await asyncio.sleep(0.02)
        assert not connecting.done()
        server.status = None
        live = await connecting
        assert live.connected
        await live.close()


# --- The end ----------------------------------------------------------------------------------------------------------


async def test_4401_ends_it_and_whoever_waits() -> None:
    async def dismiss(server: Server, socket: web.WebSocketResponse, message: wire.ClientMessage) -> None:
        if isinstance(message, wire.Hello):
            await answer(server, socket, message)
        else:
            await server.say(socket, wire.Error(code="unauthorized", message="The token ended."))
            await socket.close(code=4401)

    async with serving() as server:
        server.acts[0] = dismiss
        async with server.client() as live:
            refusal = await live.hold(seats=[3])
            assert isinstance(refusal, Refusal)
            assert refusal.code == "unavailable"
            assert live.ended is not None
            with pytest.raises(errors.Unauthorized):
                await live.wait_for(lambda live: live.connected)
            assert isinstance(await live.hold(seats=[4]), Refusal)
        assert len(server.sockets) == 1


async def test_a_bad_token_is_never_a_silent_new_holder() -> None:
    async def dismiss(server: Server, socket: web.WebSocketResponse, message: wire.ClientMessage) -> None:
        await socket.close(code=4401)

    async with serving() as server:
        server.acts[0] = dismiss
        with pytest.raises(errors.Unauthorized):
            await server.client(token="forged").__aenter__()


@pytest.mark.parametrize("status", [403, 404])
async def test_a_refused_handshake_ends_it(status: int) -> None:
    async with serving() as server:
        server.status = status
        with pytest.raises(errors.Unavailable, match=str(status)):
            await server.client().__aenter__()


async def test_leaving_the_block_answers_whoever_waits() -> None:
    async with serving() as server:
        server.acts[0] = say_nothing
        async with server.client() as live:
            asked = asyncio.create_task(live.hold(seats=[3]))
            await server.asked.wait()
        answered = await asked
        assert isinstance(answered, Refusal)
        await live.close()


async def test_a_listener_that_raises_leaves_nobody_waiting() -> None:
    def listener(news: object) -> None:
        if isinstance(news, SeatsChanged):
            raise RuntimeError("the listener's fault")

    async with serving() as server:
        server.acts[0] = say_nothing
        live = await server.client(listener=listener).__aenter__()
        asked = asyncio.create_task(live.hold(seats=[3]))
        await server.asked.wait()
        await server.change({7: 1})
        assert isinstance(await asked, Refusal)
        with pytest.raises(RuntimeError, match="listener's fault"):
            await live.close()


# --- A server that breaks its word ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rubbish",
    [
        b"{",
        b'{"type": "diff", "seq": 1, "prev": 0, "sold": [99]}',
        b'{"type": "welcome"}',
        b"x" * (MESSAGE_BYTES_MAX + 1),
    ],
    ids=["no message", "a seat outside", "half a welcome", "too big"],
)
async def test_rubbish_is_left_behind_and_the_next_socket_is_good(rubbish: bytes) -> None:
    async with serving() as server, server.client() as live:
        # A client that has had enough may be gone before the last byte is written.
        with suppress(ConnectionError):
            await server.sockets[0].send_str(rubbish.decode())
        await live.wait_for(lambda live: len(server.sockets) == 2 and live.connected)
        await server.change({4: 1})
        await live.wait_for(lambda live: live.seats[4] == 1)
        assert live.seats == server.truth.states[-1]


async def test_a_text_frame_on_the_binary_subprotocol_is_left_behind() -> None:
    async with serving(wire.MSGPACK) as server, server.client() as live:
        await server.sockets[0].send_str("{}")
        await live.wait_for(lambda live: len(server.sockets) == 2 and live.connected)


# --- News -------------------------------------------------------------------------------------------------------------


async def test_news_tells_of_each_change_in_order() -> None:
    async with serving() as server:
        told: list[object] = []
        async with server.client(listener=told.append) as live:
            news = live.news()
            first = asyncio.ensure_future(anext(news))
            await asyncio.sleep(0)
            for seat in range(5):
                await server.change({seat: 1})
            got = [await first] + [await anext(news) for _ in range(9)]
            await news.aclose()
        seats = [SeatsChanged({seat: 1}) for seat in range(5)]
        assert [effect for effect in got if isinstance(effect, SeatsChanged)] == seats
        assert [effect for effect in told if isinstance(effect, SeatsChanged)] == seats


async def test_a_reader_that_sleeps_is_told_to_look_again() -> None:
    async with serving() as server, server.client() as live:
        news = live.news()
        first = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        for number in range(NEWS_MAX + 1):
            await server.change({3: 1 + number % 2})
        await live.wait_for(lambda live: live.seq == server.truth.head)
        assert isinstance(await first, Synced | SeatsChanged)
        while not isinstance(effect := await anext(news), Synced):
            pass
        assert effect.whole
        await news.aclose()
