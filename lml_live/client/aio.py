"""The client over asyncio and aiohttp: opens sockets, carries out what `protocol` decides, and decides nothing.

async with LiveClient("http://127.0.0.1:8080", "evening-1") as live:
    match await live.hold(seats=[17, 18]):
        case HoldResult(hold):
            print("mine until", hold.deadline_ms)
        case Refusal("seat_taken", seats=taken):
            print("too late for", taken)
"""

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from random import SystemRandom
from socket import SHUT_RDWR, fromfd
from types import TracebackType
from typing import Final, Literal, Self, cast

import aiohttp
from msgspec import UNSET, UnsetType

from lml_live import errors
from lml_live.client.effects import (
    Answered,
    BlockResult,
    ChangesResult,
    ChannelsResult,
    Disconnect,
    Effect,
    Effects,
    Ended,
    GroupResult,
    HoldResult,
    OpenResult,
    PingResult,
    Reconnect,
    Refusal,
    Result,
    SellResult,
    Send,
    Synced,
)
from lml_live.client.protocol import Protocol
from lml_live.client.requests import AREA_REQUESTS, SEAT_REQUESTS, Tender
from lml_live.gateway import wire
from lml_live.limits import PAGE_ITEMS_DEFAULT

MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A diff that names each of 200,000 seats, in JSON, is 1.4 MB; a welcome is far less. Five times that is a fault."""
CONNECT_SECONDS_MAX: Final = 15.0
CLOSE_SECONDS_MAX: Final = 2.0
NEWS_MAX: Final = 1_000
"""News that one reader of `news()` may leave unread before it is told to look at the whole picture again."""

Listener = Callable[[Effect], None]

_RANDOM: Final = SystemRandom()


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class LiveClient:
    """One viewer of one event, kept up to date over lost sockets until the `async with` block is left.

    `url` is the server's root (`http://host:port`); `token` a holder's, or None for a new anonymous one. `listener` is
    called with every effect that is news (see `effects`), in order; it must not block. `random` spreads reconnects.
    """

    def __init__(
        self,
        url: str,
        event: str,
        *,
        token: str | None = None,
        fmt: wire.Format = wire.JSON,
        session: aiohttp.ClientSession | None = None,
        listener: Listener | None = None,
        random: Callable[[], float] = _RANDOM.random,
    ) -> None:
        self.url = f"{url.rstrip('/')}/api/v1/events/{event}/live"
        self._protocol = Protocol(event, fmt, random=random, new_key=secrets.token_hex, token=token)
        self._session = session
        self._owns_session = session is None
        self._listener = listener
        self._socket: aiohttp.ClientWebSocketResponse[bool] | None = None
        self._runner: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Result]] = {}
        self._changed = asyncio.Event()
        self._readers: list[_Reader] = []
        self._ended: Ended | None = None
        self._reconnect_ms = 0

    # --- The picture --------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the picture is being kept up to date right now."""
        return self._protocol.live

    @property
    def ended(self) -> Ended | None:
        """Why it is over for good, if it is."""
        return self._ended

    @property
    def seats(self) -> bytearray:
        """The wire state of each seat, by index. Not to be changed, and another object after each `welcome`."""
        return self._protocol.picture.seats

    @property
    def areas(self) -> dict[str, wire.AreaCounts]:
        """The counts of each area."""
        return self._protocol.picture.areas

    @property
    def holds(self) -> dict[str, wire.Hold]:
        """The holder's holds by id, also those that other sockets of the holder made."""
        return self._protocol.picture.holds

    @property
    def epoch(self) -> str | None:
        """The inventory's epoch, None before the first `welcome`."""
        return self._protocol.picture.epoch

    @property
    def seq(self) -> int:
        """How far in the epoch the picture is."""
        return self._protocol.picture.seq

    @property
    def holder(self) -> str | None:
        return self._protocol.picture.holder

    @property
    def token(self) -> str | None:
        """The holder's token as last renewed: with it another client acts for the same holder."""
        return self._protocol.token

    @property
    def event(self) -> wire.EventBrief | None:
        return self._protocol.picture.event

    @property
    def limits(self) -> wire.Limits | None:
        return self._protocol.picture.limits

    @property
    def layout(self) -> wire.LayoutRef | None:
        return self._protocol.picture.layout

    def server_now_ms(self) -> int:
        """The server's clock as last measured, to compare with a hold's `deadline_ms`."""
        return self._protocol.server_now_ms(_monotonic_ms())

    # --- Requests -----------------------------------------------------------------------------------------------------

    async def hold(
        self,
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        *,
        into: str | None = None,
        replace: str | None = None,
        key: str | None = None,
    ) -> HoldResult | Refusal:
        """Hold all of it or nothing; see `Protocol.hold`. Waits over reconnects; bound it with `asyncio.timeout`.

        Where the event gets another layout meanwhile, `Refusal("unavailable", …)`: read the new `layout`, choose anew.
        A caller that is cancelled takes nothing back: what was taken shows in `holds`.
        """
        number, effects = self._protocol.hold(_monotonic_ms(), seats, areas, into=into, replace=replace, key=key)
        return cast("HoldResult | Refusal", await self._answer(number, effects))

    async def hold_best(
        self,
        quantity: int,
        *,
        category: str | None = None,
        section: str | None = None,
        max_price: int | None = None,
        accessible: int = 0,
        companions: int = 0,
        adjacent: Literal["required", "preferred"] = "preferred",
        areas: AREA_REQUESTS | None = None,
        into: str | None = None,
        replace: str | None = None,
        key: str | None = None,
    ) -> HoldResult | Refusal:
        """Hold the best free seats for a wish; see `Protocol.hold_best`. Else as `hold`."""
        number, effects = self._protocol.hold_best(
            _monotonic_ms(),
            quantity,
            category=category,
            section=section,
            max_price=max_price,
            accessible=accessible,
            companions=companions,
            adjacent=adjacent,
            areas=areas,
            into=into,
            replace=replace,
            key=key,
        )
        return cast("HoldResult | Refusal", await self._answer(number, effects))

    async def release(
        self, hold: str, seats: list[int] | None = None, areas: AREA_REQUESTS | None = None
    ) -> HoldResult | Refusal:
        """Give back a hold, whole or in part."""
        number, effects = self._protocol.release(_monotonic_ms(), hold, seats or (), areas)
        return cast("HoldResult | Refusal", await self._answer(number, effects))

    async def extend(self, hold: str) -> HoldResult | Refusal:
        """Put a hold's deadline off."""
        number, effects = self._protocol.extend(_monotonic_ms(), hold)
        return cast("HoldResult | Refusal", await self._answer(number, effects))

    async def hold_group(
        self,
        events: Sequence[str] = (),
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        *,
        key: str | None = None,
    ) -> GroupResult | Refusal:
        """Hold the same in several events of this one's group, or nothing; see `Protocol.hold_group`."""
        number, effects = self._protocol.hold_group(_monotonic_ms(), events, seats, areas, key=key)
        return cast("GroupResult | Refusal", await self._answer(number, effects))

    async def move_group(
        self,
        holds: Sequence[str],
        events: Sequence[str],
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        *,
        key: str | None = None,
    ) -> GroupResult | Refusal:
        """Make other seats in `events` of these holds, or change nothing; see `Protocol.move_group`. Else as `hold`."""
        number, effects = self._protocol.move_group(_monotonic_ms(), holds, events, seats, areas, key=key)
        return cast("GroupResult | Refusal", await self._answer(number, effects))

    async def release_group(self, holds: Sequence[str]) -> GroupResult | Refusal:
        """Give back all of these holds of the group's events, or none."""
        number, effects = self._protocol.release_group(_monotonic_ms(), holds)
        return cast("GroupResult | Refusal", await self._answer(number, effects))

    async def extend_group(self, holds: Sequence[str]) -> GroupResult | Refusal:
        """Put off the deadlines of all of these holds of the group's events, or of none."""
        number, effects = self._protocol.extend_group(_monotonic_ms(), holds)
        return cast("GroupResult | Refusal", await self._answer(number, effects))

    async def block(
        self,
        seats: Sequence[int] = (),
        areas: Mapping[str, int] | None = None,
        *,
        kind: Literal["house", "kill"],
        reason: str,
        key: str | None = None,
    ) -> BlockResult | Refusal:
        """For a manager's token: take off sale what is free of these; see `Protocol.block`."""
        number, effects = self._protocol.block(_monotonic_ms(), seats, areas, kind=kind, reason=reason, key=key)
        return cast("BlockResult | Refusal", await self._answer(number, effects))

    async def unblock(
        self,
        seats: Sequence[int] = (),
        areas: Mapping[str, int] | None = None,
        *,
        kind: Literal["house", "kill"] = "house",
        reason: str | None = None,
        key: str | None = None,
    ) -> BlockResult | Refusal:
        """For a manager's token: put back on sale what is blocked of these; see `Protocol.unblock`."""
        number, effects = self._protocol.unblock(_monotonic_ms(), seats, areas, kind=kind, reason=reason, key=key)
        return cast("BlockResult | Refusal", await self._answer(number, effects))

    async def assign_seats(
        self,
        channel: str,
        reason: str,
        seats: Sequence[int] = (),
        areas: Mapping[str, int] | None = None,
        *,
        opens_at_ms: int | UnsetType | None = UNSET,
    ) -> BlockResult | Refusal:
        """For a manager's token: give seats and places to a channel; see `Protocol.assign_seats`."""
        number, effects = self._protocol.assign_seats(
            _monotonic_ms(), channel, reason, seats, areas, opens_at_ms=opens_at_ms
        )
        return cast("BlockResult | Refusal", await self._answer(number, effects))

    async def open_channel(self, channel: str, reason: str) -> OpenResult | Refusal:
        """For a manager's token: open to all what a channel has."""
        number, effects = self._protocol.open_channel(_monotonic_ms(), channel, reason)
        return cast("OpenResult | Refusal", await self._answer(number, effects))

    async def hold_for_customer(
        self,
        holder: str,
        customer: str,
        reason: str,
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        *,
        over_house: bool = False,
        key: str | None = None,
    ) -> HoldResult | Refusal:
        """For a clerk's token: hold for a customer until it is released; see `Protocol.hold_for_customer`."""
        number, effects = self._protocol.hold_for_customer(
            _monotonic_ms(), holder, customer, reason, seats, areas, over_house=over_house, key=key
        )
        return cast("HoldResult | Refusal", await self._answer(number, effects))

    async def move_hold(
        self,
        hold: str,
        reason: str,
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        *,
        over_house: bool = False,
        key: str | None = None,
    ) -> HoldResult | Refusal:
        """For a clerk's token: make these seats and places of anybody's hold; see `Protocol.move_hold`."""
        number, effects = self._protocol.move_hold(
            _monotonic_ms(), hold, reason, seats, areas, over_house=over_house, key=key
        )
        return cast("HoldResult | Refusal", await self._answer(number, effects))

    async def release_any_hold(self, hold: str, reason: str, *, key: str | None = None) -> HoldResult | Refusal:
        """For a clerk's token: release anybody's hold; see `Protocol.release_any_hold`."""
        number, effects = self._protocol.release_any_hold(_monotonic_ms(), hold, reason, key=key)
        return cast("HoldResult | Refusal", await self._answer(number, effects))

    async def sell(
        self,
        tender: Tender,
        *,
        hold: str | None = None,
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        over_house: bool = True,
        name: str | None = None,
        email: str | None = None,
        reason: str | None = None,
        key: str | None = None,
    ) -> SellResult | Refusal:
        """For a clerk's token: sell a hold, or places that nobody holds, at the counter; see `Protocol.sell`."""
        number, effects = self._protocol.sell(
            _monotonic_ms(),
            tender,
            hold=hold,
            seats=seats,
            areas=areas,
            over_house=over_house,
            name=name,
            email=email,
            reason=reason,
            key=key,
        )
        return cast("SellResult | Refusal", await self._answer(number, effects))

    async def status_changes(
        self,
        *,
        seat: int | None = None,
        since_ms: int | None = None,
        limit: int = PAGE_ITEMS_DEFAULT,
        cursor: str | None = None,
    ) -> ChangesResult | Refusal:
        """For a clerk's token: a page of who changed seats and places, when and why; see `Protocol.status_changes`."""
        number, effects = self._protocol.status_changes(
            _monotonic_ms(), seat=seat, since_ms=since_ms, limit=limit, cursor=cursor
        )
        return cast("ChangesResult | Refusal", await self._answer(number, effects))

    async def channels(self) -> ChannelsResult | Refusal:
        """For a clerk's token: what each sales channel has, and what became of it."""
        number, effects = self._protocol.channels(_monotonic_ms())
        return cast("ChannelsResult | Refusal", await self._answer(number, effects))

    async def ping(self) -> PingResult | Refusal:
        """Ask for the server's time."""
        number, effects = self._protocol.ping(_monotonic_ms())
        return cast("PingResult | Refusal", await self._answer(number, effects))

    async def _answer(self, number: int, effects: Effects) -> Result:
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            await self._carry_out(effects)
            return await answer
        finally:
            self._answers.pop(number, None)

    # --- Waiting ------------------------------------------------------------------------------------------------------

    async def wait_for(self, predicate: Callable[["LiveClient"], bool], timeout: float = 10.0) -> None:
        """Wait until `predicate(self)` holds; it is asked after changes. `TimeoutError` after `timeout` seconds.

        A state that lasts for an instant may be missed: `news` tells of each. Raises `errors.Unauthorized` or
        `errors.Unavailable` where the client has ended.
        """
        async with asyncio.timeout(timeout):
            while not predicate(self):
                if self._ended is not None:
                    gone = errors.Unauthorized if self._ended.reason == "unauthorized" else errors.Unavailable
                    raise gone(self._ended.message)
                await self._changed.wait()

    async def news(self) -> AsyncIterator[Effect]:
        """Everything that is news from now on, until the client ends.

        A reader that leaves more than `NEWS_MAX` unread loses them, and gets a `Synced` that is `whole` in their
        place: look at the picture again.
        """
        reader = _Reader()
        self._readers.append(reader)
        try:
            while self._ended is None or reader.unread:
                if not reader.unread:
                    reader.wake.clear()
                    await reader.wake.wait()
                while reader.unread:
                    yield reader.unread.popleft()
        finally:
            self._readers.remove(reader)

    # --- Life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect and wait for the first `welcome`, for `CONNECT_SECONDS_MAX` at most.

        Raises `errors.Unauthorized`, `errors.Unavailable` (the server refuses, or is not there) or `TimeoutError`.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession()
        self._runner = asyncio.create_task(self._run(self._session), name=f"live {self.url}")
        try:
            await self.wait_for(lambda live: live.connected, CONNECT_SECONDS_MAX)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the socket; unanswered requests get `unavailable`. Does nothing the second time."""
        await self._carry_out(self._protocol.close())
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            await asyncio.wait([runner])
        if self._owns_session and self._session is not None:
            await self._session.close()
        if runner is not None and not runner.cancelled() and (defect := runner.exception()) is not None:
            raise defect

    def drop(self) -> None:
        """Lose the socket as a bad line would, without a farewell; the client comes back by itself. For fault tests."""
        line = None if self._socket is None else self._socket.get_extra_info("socket")
        if line is not None:
            # uvloop's transport sockets cannot be shut down; a twin of the same line can.
            with fromfd(line.fileno(), line.family, line.type) as twin:
                twin.shutdown(SHUT_RDWR)

    async def _run(self, session: aiohttp.ClientSession) -> None:
        try:
            await self._keep_connected(session)
        finally:
            # Whatever ended this task (a listener that raised, say), nobody is left waiting for an answer.
            await self._carry_out(self._protocol.close())

    async def _keep_connected(self, session: aiohttp.ClientSession) -> None:
        while not self._protocol.ended:
            try:
                async with asyncio.timeout(CONNECT_SECONDS_MAX):
                    socket = await session.ws_connect(
                        self.url,
                        protocols=[self._protocol.format.subprotocol],
                        compress=0,
                        max_msg_size=MESSAGE_BYTES_MAX,
                        timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS_MAX),
                    )
            except aiohttp.WSServerHandshakeError as error:
                await self._carry_out(self._protocol.connect_failed(_monotonic_ms(), error.status))
            except (aiohttp.ClientError, OSError, TimeoutError):
                await self._carry_out(self._protocol.connect_failed(_monotonic_ms()))
            else:
                await self._converse(socket)
            if not self._protocol.ended:
                await asyncio.sleep(self._reconnect_ms / 1000)

    async def _converse(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        """Hand frames and time to the protocol until the socket is closed."""
        self._socket = socket
        try:
            await self._carry_out(self._protocol.connected(_monotonic_ms()))
            while not socket.closed and (wake_at_ms := self._protocol.wake_at_ms()) is not None:
                wait_ms = wake_at_ms - _monotonic_ms()
                if wait_ms <= 0:
                    await self._carry_out(self._protocol.tick(_monotonic_ms()))
                    continue
                try:
                    frame = await socket.receive(timeout=wait_ms / 1000)
                except TimeoutError:
                    continue
                if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    break
                await self._carry_out(self._protocol.receive(cast("str | bytes", frame.data), _monotonic_ms()))
        finally:
            self._socket = None
            with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await socket.close()
        await self._carry_out(self._protocol.disconnected(_monotonic_ms(), socket.close_code))

    # --- Effects ------------------------------------------------------------------------------------------------------

    async def _carry_out(self, effects: Effects) -> None:
        """News first, without a pause in between, so that the picture is whole whenever somebody looks at it."""
        orders = [effect for effect in effects if isinstance(effect, Send | Disconnect)]
        for effect in effects:
            if isinstance(effect, Reconnect):
                self._reconnect_ms = effect.after_ms
            elif not isinstance(effect, Send | Disconnect):
                self._tell(effect)
        # Whoever waits now is woken; who comes later waits for the next change.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for order in orders:
            socket = self._socket
            if socket is None:
                return
            # A socket that breaks now is noticed by whoever reads from it; what was not sent is asked again.
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                if isinstance(order, Disconnect):
                    async with asyncio.timeout(CLOSE_SECONDS_MAX):
                        await socket.close(code=order.code, message=order.reason.encode())
                elif self._protocol.format.binary:
                    await socket.send_bytes(order.payload)
                else:
                    await socket.send_str(order.payload.decode())

    def _tell(self, news: Effect) -> None:
        if isinstance(news, Answered):
            answer = self._answers.get(news.request)
            if answer is not None and not answer.done():
                answer.set_result(news.result)
        elif isinstance(news, Ended):
            self._ended = news
        for reader in self._readers:
            reader.put(news, Synced(self.epoch or "", self.seq, whole=True, new_epoch=False))
        if self._listener is not None:
            self._listener(news)


class _Reader:
    """What one reader of `news()` has not read yet."""

    def __init__(self) -> None:
        self.unread: deque[Effect] = deque()
        self.wake = asyncio.Event()

    def put(self, news: Effect, look_again: Synced) -> None:
        if len(self.unread) >= NEWS_MAX:
            self.unread.clear()
            self.unread.append(look_again)
        self.unread.append(news)
        self.wake.set()
