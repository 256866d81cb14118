"""A primary that sentinels watch over: where it is is asked of them before each connection, and again when they say
that it moved, when it says so itself (READONLY), and now and then, should a word have been missed.

The sentinels' answers are compared: the one with the highest configuration epoch is the newest, so a sentinel that was
cut off from the others cannot lead a worker back to an old primary.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.exceptions import RedisError

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.infra.redis import Pipe, Script

log = logging.getLogger(__name__)


class _Word(Struct, frozen=True, order=True):
    """What one sentinel says of the primary."""

    epoch: int
    host: str
    port: int


def client_of_node(host: str, port: int, options: Mapping[str, Any]) -> Redis:
    """The library's client of one node, for questions about where things are."""
    return Redis(
        host=host,
        port=port,
        username=options.get("username"),
        password=options.get("password"),
        ssl="connection_class" in options and issubclass(options["connection_class"], SSLConnection),
        socket_connect_timeout=limits.REDIS_ASK_SECONDS,
        socket_timeout=limits.REDIS_ASK_SECONDS,
        decode_responses=True,
        protocol=2,
    )


class WatchedPipe(Pipe):
    """A pipe to whatever node is the primary of `service` now."""

    def __init__(
        self,
        sentinels: Sequence[tuple[str, int]],
        service: str,
        sentinel_options: Mapping[str, Any],
        options: Mapping[str, Any],
        scripts: dict[str, Script],
        *,
        name: str = "lml",
    ) -> None:
        super().__init__(options, scripts, name=name)
        self._sentinels = tuple(sentinels)
        self._service = service
        self._sentinel_options = dict(sentinel_options)
        self._at: tuple[str, int] | None = None
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await super().start()
        self._watchers = [asyncio.create_task(self._look_now_and_then(), name="redis sentinels")]
        self._watchers += [
            asyncio.create_task(self._hear(host, port), name=f"redis sentinel {host}:{port}")
            for host, port in self._sentinels
        ]

    async def close(self) -> None:
        for task in self._watchers:
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await super().close()

    async def confirm(self, tag: str) -> None:
        """A majority of the sentinels must be heard, and the newest word name the node that this pipe talks to."""
        words = await self._ask()
        if 2 * len(words) <= len(self._sentinels):
            raise Unavailable("Too few sentinels answer.", retry_after_ms=limits.RETRY_AFTER_MS)
        self._compare(words)
        if not self.connected:
            raise Unavailable("Redis has another primary.", retry_after_ms=limits.RETRY_AFTER_MS)

    async def _locate(self) -> dict[str, Any]:
        words = await self._ask()
        if not words:
            raise Unavailable(
                f"No sentinel knows the primary of {self._service}.", retry_after_ms=limits.RETRY_AFTER_MS
            )
        newest = max(words)
        self._at = newest.host, newest.port
        return {**self._options, "host": newest.host, "port": newest.port}

    def _compare(self, words: Sequence[_Word]) -> None:
        """Ends the connection where the newest word names another node than it goes to."""
        if words and (newest := max(words)) and (newest.host, newest.port) != self._at:
            self.reconnect(f"the primary is {newest.host}:{newest.port} now")

    async def _ask(self) -> list[_Word]:
        """What the sentinels say, those that say nothing left out."""
        answers = await asyncio.gather(*(self._ask_one(host, port) for host, port in self._sentinels))
        return [word for word in answers if word is not None]

    async def _ask_one(self, host: str, port: int) -> _Word | None:
        try:
            async with asyncio.timeout(limits.REDIS_ASK_SECONDS):
                async with client_of_node(host, port, self._sentinel_options) as client:
                    state = await client.sentinel_master(self._service)
                    return _Word(int(state["config-epoch"]), str(state["ip"]), int(state["port"]))
        except (RedisError, OSError, TimeoutError, KeyError, ValueError) as error:
            log.debug("sentinel %s:%d says nothing: %s", host, port, error)
            return None

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(limits.REDIS_LOOK_SECONDS)
            if self.connected:
                self._compare(await self._ask())

    async def _hear(self, host: str, port: int) -> None:
        """Listens for `+switch-master` until cancelled."""
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with (
                    client_of_node(host, port, self._sentinel_options) as client,
                    client.pubsub(ignore_subscribe_messages=True) as heard,
                ):
                    await heard.subscribe("+switch-master")
                    while True:
                        message = await heard.get_message(timeout=limits.REDIS_LOOK_SECONDS)
                        if message is not None and str(message["data"]).split()[0] == self._service:
                            self._compare(await self._ask())
            await asyncio.sleep(limits.REDIS_RECONNECT_SECONDS_MAX)
