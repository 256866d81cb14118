"""Keeps deployed layouts at the edge: at each deploy, and now and then in case the edge has forgotten something.

The server serves layouts itself, so a failure is only noted: the next look mends it.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from lml_live import limits
from lml_live.errors import LmlError
from lml_live.infra.config import Settings
from lml_live.venues.library import Library
from lml_live.venues.publishing import ensure_published, open_edge
from lml_live.venues.pushing import Edge

log = logging.getLogger(__name__)


class Publishing:
    """The edge of one worker, opened when it is first needed: making a client holds the loop up for a quarter of a
    second. Without a bucket it does nothing."""

    def __init__(self, settings: Settings, library: Library) -> None:
        self._settings = settings
        self._library = library
        self._stack = AsyncExitStack()
        self._edge: Edge | None = None
        self._lock = asyncio.Lock()

    async def edge(self) -> Edge:
        """The edge. Raises `Conflict` where no bucket is set."""
        async with self._lock:
            if self._edge is None:
                self._edge = await self._stack.enter_async_context(open_edge(self._settings))
            return self._edge

    async def close(self) -> None:
        """Closes what was opened."""
        self._edge = None
        await self._stack.aclose()

    async def run(self, leads: Callable[[], bool]) -> None:
        """Looks every so often, in the one worker that leads, until cancelled."""
        while self._settings.s3_bucket is not None:
            if leads():
                try:
                    await self.look()
                except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                    log.exception("looking after layouts at the edge failed")
                await asyncio.sleep(limits.COPIES_CHECK_SECONDS)
            await asyncio.sleep(limits.NOTICES_RETRY_SECONDS)

    async def look(self) -> None:
        """Uploads what the edge does not have, now."""
        if self._settings.s3_bucket is None:
            return
        try:
            copied = await ensure_published(self._library, await self.edge())
        except LmlError as error:
            log.warning("layouts could not be copied to the object store: %s", error)
            return
        if copied.uploaded:
            log.info("%d layouts copied to the object store", len(copied.uploaded))
        if copied.failed:
            log.warning("%d layouts could not be copied to the object store", len(copied.failed))
