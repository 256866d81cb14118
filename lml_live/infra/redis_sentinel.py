"""A primary that sentinels watch over: where it is is asked of them before each connection, and again when they say
that it moved, when it says so itself (READONLY), and now and then, should a word have been missed.

The sentinels' answers are compared: the one with the highest configuration epoch is the newest, so a sentinel that was
cut off from the others cannot lead a worker back to an old primary.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.infra.redis import Pipe, Script
from lml_live.infra.redis_address import Address, Login, Place

log = logging.getLogger(__name__)


class _Word(Struct, frozen=True, order=True):
    """What one sentinel says of the primary."""

    epoch: int
    at: Place


def client_of(place: Place, login: Login) -> Redis:
    """The library's client of one node, for questions about where things are."""
    return Redis(
        host=place[0],
        port=place[1],
        username=login.username or None,
        password=login.password or None,
        ssl=login.secure,
        socket_connect_timeout=limits.REDIS_ASK_SECONDS,
        socket_timeout=limits.REDIS_ASK_SECONDS,
        decode_responses=True,
        protocol=2,
    )


def pipe_options(place: Place, login: Login, database: int = 0) -> dict[str, Any]:
    """What a pipe needs to know of one node: as `read_node` makes it of a URL."""
    return {
        "host": place[0],
        "port": place[1],
        "db": database,
        "secure": login.secure,
        **({"username": login.username} if login.username else {}),
        **({"password": login.password} if login.password else {}),
    }


class WatchedPipe(Pipe):
    """A pipe to whatever node is the primary of the service now."""

    def __init__(self, address: Address, scripts: dict[str, Script], *, name: str = "lml") -> None:
        super().__init__({}, scripts, name=name)
        self._address = address
        self._at: Place | None = None
        self._watchers: list[asyncio.Task[None]] = []
        self._is_closing = False
        """The library may swallow a cancellation (`asyncio.wait_for`): then this ends the watchers."""

    async def start(self) -> None:
        await super().start()
        self._watchers = [asyncio.create_task(self._look_now_and_then(), name="redis sentinels")]
        self._watchers += [
            asyncio.create_task(self._hear(place), name=f"redis sentinel {place[0]}:{place[1]}")
            for place in self._address.hosts
        ]

    async def close(self) -> None:
        self._is_closing = True
        for task in self._watchers:
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await super().close()

    async def confirm(self, tag: str) -> None:
        """A majority of the sentinels must be heard, and the newest word name the node that this pipe talks to."""
        words = await self._ask()
        if 2 * len(words) <= len(self._address.hosts):
            raise Unavailable("Too few sentinels answer.", retry_after_ms=limits.RETRY_AFTER_MS)
        self._compare(words)
        if not self.connected:
            raise Unavailable("Redis has another primary.", retry_after_ms=limits.RETRY_AFTER_MS)

    async def _locate(self) -> dict[str, Any]:
        words = await self._ask()
        if not words:
            raise Unavailable(
                f"No sentinel knows the primary of {self._address.service}.", retry_after_ms=limits.RETRY_AFTER_MS
            )
        self._at = max(words).at
        # The greeting reads login and database from these, too.
        self._options = pipe_options(self._at, self._address.login, self._address.database)
        return self._options

    def _compare(self, words: Sequence[_Word]) -> None:
        """Ends the connection where the newest word names another node than it goes to."""
        if words and max(words).at != self._at:
            self.reconnect("the primary is {}:{} now".format(*max(words).at))

    async def _ask(self) -> list[_Word]:
        """What the sentinels say, those that say nothing left out."""
        answers = await asyncio.gather(*(self._ask_one(place) for place in self._address.hosts))
        return [word for word in answers if word is not None]

    async def _ask_one(self, place: Place) -> _Word | None:
        try:
            async with asyncio.timeout(limits.REDIS_ASK_SECONDS):
                async with client_of(place, self._address.sentinel_login) as client:
                    state: dict[str, Any] = await client.sentinel_master(self._address.service)  # type: ignore[assignment]
                    return _Word(int(state["config-epoch"]), (str(state["ip"]), int(state["port"])))
        except (RedisError, OSError, TimeoutError, KeyError, ValueError) as error:
            log.debug("sentinel %s:%d says nothing: %s", *place, error)
            return None

    async def _look_now_and_then(self) -> None:
        while not self._is_closing:
            await asyncio.sleep(limits.REDIS_LOOK_SECONDS)
            if self.connected:
                self._compare(await self._ask())

    async def _hear(self, place: Place) -> None:
        """Listens for `+switch-master` until cancelled."""
        while not self._is_closing:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with (
                    client_of(place, self._address.sentinel_login) as client,
                    client.pubsub(ignore_subscribe_messages=True) as heard,
                ):
                    await heard.subscribe("+switch-master")
                    self._compare(await self._ask())  # it may have moved while nobody listened
                    while not self._is_closing:
                        message = await heard.get_message(timeout=limits.REDIS_LOOK_SECONDS)
                        if message is not None and str(message["data"]).split()[0] == self._address.service:
                            self._compare(await self._ask())
            await asyncio.sleep(limits.REDIS_RECONNECT_SECONDS_MAX)
