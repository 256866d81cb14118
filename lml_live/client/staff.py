"""What staff do over REST: holds for customers, sales, anybody's hold, blocks and channels, and who did what.

async with StaffClient("http://127.0.0.1:8080", token) as staff:
    kim = await staff.customer()
    match await staff.hold("evening-1", kim.holder, "Kim", "school class", seats=[seat_id], over_house=True):
        case SeatsRefused("seat_taken", seats=taken):
            print("too late for", taken)

Seats are seat ids here, as everywhere in REST. Refusals about places are values; whatever else goes wrong is raised, as
`errors.Refused`. Where no answer comes, or `unavailable`, a call is repeated with its key, which makes it one act
however often it arrives; after `REPEAT_SECONDS_MAX` (sooner with `asyncio.timeout`) it is `errors.Unavailable`: the
outcome is unknown, and asked again with the same `key` it is done once. Those who watch with details and block by index
use a `LiveClient` with a token of staff.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from random import SystemRandom
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from lml_live import errors
from lml_live.backoffice.reports import StatusChange
from lml_live.client.protocol import back_off_ms, bounded_ms
from lml_live.client.requests import Tender
from lml_live.errors import Violation
from lml_live.gateway import wire

T = TypeVar("T")

BlockKind = Literal["house", "kill"]

TRY_SECONDS_MAX: Final = 60.0
"""One try: blocking a hall of 200,000 seats takes seconds, on a busy machine many."""
REPEAT_SECONDS_MAX: Final = 90.0
"""No try begins later. A worker that died over the first one keeps its key from the next for up to 60 s."""

_RANDOM: Final = SystemRandom()
_DECISIONS: Final = (409, 422)
"""Answers that refuse what was asked, and are no fault of who asks or of the way."""


class SeatsRefused(Struct, frozen=True):
    """A request was refused and changed nothing; `seats` (ids) were in the way, `areas` says how many are left."""

    code: str
    message: str
    seats: tuple[str, ...] = ()
    areas: dict[str, int] = {}


class Customer(Struct, frozen=True):
    """A holder for whom staff hold; with the token the customer may see and pay."""

    holder: str
    token: str


class CustomerHold(Struct, frozen=True, kw_only=True):
    """A hold of the box office for a customer; `taking`: its making was interrupted."""

    id: str
    event: str
    holder: str
    customer: str
    reason: str
    staff: str
    state: Literal["taking", "held"]
    seats: tuple[str, ...]
    areas: dict[str, int]
    created: datetime


class Sale(Struct, frozen=True, kw_only=True):
    """A booking that was sold at the counter. With `access` its tickets are fetched; `forgone` is a comp's price."""

    id: str
    state: str
    event: str
    hold: str
    seats: tuple[str, ...]
    areas: dict[str, int]
    amount: int
    currency: str
    access: str
    tender: Tender
    forgone: int | None = None


class SeatSeen(Struct, frozen=True, kw_only=True):
    """One seat as staff see it."""

    seat_id: str
    category: str
    status: str
    channel: str | None = None
    hold: str | None = None
    holder: str | None = None
    customer: str | None = None
    deadline: datetime | None = None
    booking: str | None = None
    booking_state: str | None = None
    reason: str | None = None
    staff: str | None = None
    blocked_at: datetime | None = None


class RefusedSeat(Struct, frozen=True):
    seat_id: str
    code: str


class RefusedArea(Struct, frozen=True):
    """`available` places could be had at most."""

    area_id: str
    code: str
    available: int


class Report(Struct, frozen=True, kw_only=True):
    """What became of blocking, unblocking or assigning: how many seats, which areas, and what was refused."""

    seats: int
    areas: dict[str, int]
    refused_seats: tuple[RefusedSeat, ...]
    refused_areas: tuple[RefusedArea, ...]


class Channel(Struct, frozen=True, kw_only=True):
    """One channel of an event and its counts by state; `open` is what all sell."""

    channel: str
    opens_at: datetime | None = None
    opened_at: datetime | None = None
    seats: dict[str, int]
    areas: dict[str, dict[str, int]]


class StaffClient:
    """Calls as the member of staff whose `token` it is. Use it as a context manager; it keeps one session.

    `random` spreads repetitions, as it does a `LiveClient`'s.
    """

    def __init__(self, url: str, token: str, *, random: Callable[[], float] = _RANDOM.random) -> None:
        self._url = url.rstrip("/") + "/api/v1/"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._random = random
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=TRY_SECONDS_MAX)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    # --- Holds

    async def customer(self) -> Customer:
        """A new holder who is a customer of this member of staff; repeated it is another, and nobody is the first."""
        return await self._call("POST", "holders", Customer)

    async def hold(
        self,
        event: str,
        holder: str,
        customer: str,
        reason: str,
        *,
        seats: Sequence[str] = (),
        areas: Mapping[str, int] | None = None,
        over_house: bool = False,
        key: str | None = None,
    ) -> wire.Hold | SeatsRefused:
        """Holds for a customer until it is released; `over_house` also seats that a house hold keeps back, and of an
        area what is missing beside the places for sale."""
        body = {"holder": holder, "customer": customer, "reason": reason, "over_house": over_house}
        body |= {"seats": list(seats), "areas": dict(areas or {})}
        return await self._decide(f"box-office/{event}/holds", body, key, wire.Hold)

    def customer_holds(self, event: str) -> AsyncIterator[CustomerHold]:
        """An event's holds for customers, the oldest first."""
        return self._pages(f"box-office/{event}/holds", {}, CustomerHold)

    async def move(
        self,
        hold: str,
        reason: str,
        *,
        seats: Sequence[str] = (),
        areas: Mapping[str, int] | None = None,
        over_house: bool = False,
        key: str | None = None,
    ) -> wire.Hold | SeatsRefused:
        """Makes these seats and places of anybody's hold, in one step; its holder is told. `over_house` also seats that
        a house hold keeps back."""
        body = {"reason": reason, "over_house": over_house, "seats": list(seats), "areas": dict(areas or {})}
        return await self._decide(f"holds/{hold}/move", body, key, wire.Hold)

    async def release(self, hold: str, reason: str, *, key: str | None = None) -> SeatsRefused | None:
        """Gives anybody's hold back; its holder is told. None where it is done."""
        try:
            await self._send("POST", f"holds/{hold}/release", body={"reason": reason}, key=key)
        except _Decided as decided:
            return decided.refusal
        return None

    # --- Sales

    async def sell(
        self,
        event: str,
        tender: Tender,
        *,
        hold: str | None = None,
        seats: Sequence[str] = (),
        areas: Mapping[str, int] | None = None,
        over_house: bool = True,
        name: str | None = None,
        email: str | None = None,
        reason: str | None = None,
        key: str | None = None,
    ) -> Sale | SeatsRefused:
        """Sells a customer's hold, or seats and places that nobody holds, for what the counter takes: all, or nothing.

        With `over_house` also seats that a house hold keeps back, and of an area what is missing beside the places for
        sale. A buyer with an e-mail address is sent the booking.
        """
        body: dict[str, object] = {"tender": tender, "reason": reason}
        if hold is not None:
            body["hold"] = hold
        else:
            body |= {"seats": list(seats), "areas": dict(areas or {}), "over_house": over_house}
        if name is not None or email is not None:
            body["buyer"] = {"name": name, "email": email}
        return await self._decide(f"box-office/{event}/sales", body, key, Sale)

    # --- Blocks and channels: what is refused is listed, the rest is done

    async def block(
        self,
        event: str,
        kind: BlockKind,
        reason: str,
        *,
        seats: Sequence[str] = (),
        runs: Sequence[tuple[str, str]] = (),
        areas: Mapping[str, int] | None = None,
        key: str | None = None,
    ) -> Report:
        """Takes seats and places off sale: for the `house`, which may sell them, or to `kill` them."""
        body = {**_selection(seats, runs, areas), "kind": kind, "reason": reason}
        return await self._call("POST", f"events/{event}/seats/block", Report, body=body, key=key)

    async def unblock(
        self,
        event: str,
        *,
        kind: BlockKind = "house",
        seats: Sequence[str] = (),
        runs: Sequence[tuple[str, str]] = (),
        areas: Mapping[str, int] | None = None,
        reason: str | None = None,
        key: str | None = None,
    ) -> Report:
        """Puts blocked seats, and places of this kind, back on sale."""
        body = {**_selection(seats, runs, areas), "kind": kind, "reason": reason}
        return await self._call("POST", f"events/{event}/seats/unblock", Report, body=body, key=key)

    async def channels(self, event: str) -> list[Channel]:
        """What each channel has and what became of it; first `open`, which all sell."""
        return [channel async for channel in self._pages(f"events/{event}/channels", {}, Channel)]

    async def assign(
        self,
        event: str,
        channel: str,
        reason: str,
        *,
        seats: Sequence[str] = (),
        runs: Sequence[tuple[str, str]] = (),
        areas: Mapping[str, int] | None = None,
        opens_at: datetime | None = None,
        key: str | None = None,
    ) -> Report:
        """Gives seats and places to a channel (`open`: to all). With `opens_at` all it has is everybody's then."""
        body = {**_selection(seats, runs, areas), "channel": channel, "reason": reason}
        body |= {} if opens_at is None else {"opens_at": opens_at.isoformat()}
        return await self._call("POST", f"events/{event}/channels", Report, body=body, key=key)

    async def open_channel(self, event: str, channel: str, reason: str, *, key: str | None = None) -> Channel:
        """Opens to all what a channel has left."""
        path = f"events/{event}/channels/{channel}/open"
        return await self._call("POST", path, Channel, body={"reason": reason}, key=key)

    # --- Looking

    async def seats(self, event: str, ids: Sequence[str]) -> list[SeatSeen]:
        """These seats, in this order, with what staff may know of them."""
        return [seat async for seat in self._pages(f"events/{event}/seats", {"ids": ",".join(ids)}, SeatSeen)]

    def changes(
        self, event: str, *, seat: str | None = None, since: datetime | None = None
    ) -> AsyncIterator[StatusChange]:
        """Who changed seats and places, when and why, the oldest first; of one seat, or from a moment on."""
        query = {"seat": seat, "since": None if since is None else since.isoformat()}
        return self._pages(f"events/{event}/status-changes", query, StatusChange)

    # --- Calling

    async def _pages(self, path: str, query: Mapping[str, str | None], of: type[T]) -> AsyncIterator[T]:
        asked, more = {name: value for name, value in query.items() if value is not None}, True
        while more:
            page = await self._call("GET", path, _Page, query=asked)
            for item in msgspec.json.decode(page.items, type=list[of]):  # type: ignore[valid-type]  # as asked for
                yield item
            more = page.next is not None
            asked["cursor"] = page.next or ""

    async def _decide(self, path: str, body: object, key: str | None, of: type[T]) -> T | SeatsRefused:
        try:
            return await self._call("POST", path, of, body=body, key=key)
        except _Decided as decided:
            return decided.refusal

    async def _call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        body: object = None,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> T:
        return msgspec.json.decode(await self._send(method, path, body=body, key=key, query=query), type=answer)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        """Every call that changes something has a key, and all its tries have the same."""
        headers = {} if method == "GET" else {"Idempotency-Key": _key(key)}
        until = time.monotonic() + REPEAT_SECONDS_MAX
        for tries in itertools.count(1):
            try:
                return await self._try(method, path, body, headers, query)
            except errors.Unavailable as error:
                unavailable = error
            except _Decided as error:
                if error.code != "idempotency_in_progress":
                    raise
                # The answer that was lost is still being made, or who made it has died.
                unavailable = errors.Unavailable(error.message, retry_after_ms=error.retry_after_ms)
            told_ms = unavailable.retry_after_ms
            wait_ms = back_off_ms(self._random, tries) if told_ms is None else bounded_ms(told_ms)
            if time.monotonic() + wait_ms / 1000 > until:
                raise unavailable
            await asyncio.sleep(wait_ms / 1000)
        raise AssertionError("counting never ends")

    async def _try(
        self,
        method: str,
        path: str,
        body: object,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None,
    ) -> bytes:
        assert self._session is not None, "use it as a context manager"
        try:
            async with self._session.request(
                method, self._url + path, json=body, headers=headers, params=query
            ) as response:
                raw, status = await response.read(), response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise errors.Unavailable("The server does not answer.") from error
        if status < 400:
            return raw
        try:
            problem = msgspec.json.decode(raw, type=_Problem)
        except msgspec.DecodeError as error:
            raise errors.Unavailable(f"The server answered with {status}.") from error
        if status >= 500:
            raise errors.Unavailable(problem.detail, retry_after_ms=problem.retry_after_ms)
        if status in _DECISIONS and not problem.errors:
            raise _Decided(problem)
        raise errors.Refused(problem.code, problem.detail, errors=problem.errors, retry_after_ms=problem.retry_after_ms)


class _Page(Struct, frozen=True):
    items: msgspec.Raw
    next: str | None


class _Problem(Struct, frozen=True):
    code: str = "unavailable"
    detail: str = ""
    seats: tuple[str, ...] = ()
    areas: dict[str, int] = {}
    errors: tuple[Violation, ...] = ()
    retry_after_ms: int | None = None


class _Decided(errors.Refused):
    """A refusal about places, which the acts on holds answer as a value."""

    def __init__(self, problem: _Problem) -> None:
        super().__init__(problem.code, problem.detail, retry_after_ms=problem.retry_after_ms)
        self.refusal = SeatsRefused(problem.code, problem.detail, problem.seats, problem.areas)


def _key(key: str | None) -> str:
    return key or secrets.token_hex(16)


def _selection(
    seats: Sequence[str], runs: Sequence[tuple[str, str]], areas: Mapping[str, int] | None
) -> dict[str, object]:
    return {"seats": list(seats), "runs": [list(run) for run in runs], "areas": dict(areas or {})}
