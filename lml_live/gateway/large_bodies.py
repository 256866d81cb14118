"""Bodies of whole layouts, which are a few times their size while they are read: one is worked on at a time.

Whoever sends slowly keeps nobody from the turn, which begins when the body is in, but one of the few places: how many
are on their way or wait is bounded, as is how long a body may take and how large it may be. Who comes when all places
are taken is told to come again, at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from lml_live import limits
from lml_live.errors import Refused, Unavailable
from lml_live.gateway.problems import read_bytes
from lml_live.venues.importers.reading import count_values


class LargeBodies:
    """The turns of one worker."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Semaphore(1)
        self._here = 0

    @asynccontextmanager
    async def turn(self, request: web.Request) -> AsyncIterator[None]:
        """The turn of a request, whose body is in by then and remembered. Raises as `read_bytes`, and `rate_limited`
        where so many are here already. A text of more values than a layout has is `too_large`, whatever its bytes."""
        if self._here >= limits.LAYOUT_BODIES_MAX:
            words = "Other layouts are just being sent: come again in a moment."
            raise Refused("rate_limited", words, retry_after_ms=limits.LAYOUT_BODIES_RETRY_MS)
        self._here += 1
        try:
            body = await read_bytes(request, bytes_max=limits.LAYOUT_FILE_BYTES_MAX)
            if await asyncio.to_thread(count_values, body) > limits.LAYOUT_JSON_VALUES_MAX:
                raise Refused("too_large", f"The body has more than {limits.LAYOUT_JSON_VALUES_MAX} values.")
            async with self._one_at_a_time:
                yield
        finally:
            self._here -= 1

    @asynccontextmanager
    async def turn_without_body(self) -> AsyncIterator[None]:
        """The turn of a request that sends no layout and makes one. Raises `Unavailable` where it does not come within
        `LAYOUT_TURN_SECONDS`."""
        try:
            async with asyncio.timeout(limits.LAYOUT_TURN_SECONDS):
                await self._one_at_a_time.acquire()
        except TimeoutError as error:
            words = "Other layouts are just being worked on: come again in a moment."
            raise Unavailable(words, retry_after_ms=limits.LAYOUT_BODIES_RETRY_MS) from error
        try:
            yield
        finally:
            self._one_at_a_time.release()
