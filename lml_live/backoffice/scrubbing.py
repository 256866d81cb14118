"""Looks, version by version, at whether the stored layouts are what was stored; the one worker that leads does it.

Rules keep nonsense out of MongoDB, a role keeps the server in its bounds; whoever owns the database can still write
what he likes. Content is hashed again, and the hashes are held against PostgreSQL's: an event has the hash of the
layout that it is sold on, so one who changes content and hash alike is found, too; and what is on record of a version's
steps must be true of it still (`layout_record`). What is found stops nothing that is on sale: workers have its index by
heart (docs/decisions/029).
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec

from lml_live import limits
from lml_live.backoffice.layout_record import LayoutRecord, SetBack, find_set_back
from lml_live.errors import LmlError
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.infra.telemetry import METRICS
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.library import Library
from lml_live.venues.stored import LayoutVersion

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("layouts")
_ANY: Final = random.SystemRandom()


class Astray(msgspec.Struct, frozen=True):
    """An event whose layout in MongoDB is not the one that it was made on; `why` says so in words."""

    event: str
    layout_id: str
    version: int
    why: str


async def find_astray(pool: Pool, library: Library) -> list[Astray]:
    """Every event that is not over and whose layout is gone, a draft again, has another hash, or cannot be read."""
    async with postgres.connection(pool) as connected:
        rows = await connected.fetch(_SQL["layouts_of_events"])
    known: dict[str, dict[int, LayoutVersion]] = {}
    for layout_id in {row["layout_id"] for row in rows}:
        with contextlib.suppress(LayoutDamaged):
            known[layout_id] = {version.version: version for version in await library.status(layout_id)}
    astray = []
    for row in rows:
        versions = known.get(row["layout_id"])
        why = (
            "cannot be read: MongoDB has a version that was written past its rules"
            if versions is None
            else _why_astray(versions.get(row["layout_version"]), row["layout_hash"])
        )
        if why is not None:
            astray.append(Astray(row["id"], row["layout_id"], row["layout_version"], why))
    return astray


def _why_astray(version: LayoutVersion | None, layout_hash: str) -> str | None:
    if version is None:
        return "is not in MongoDB"
    if version.hash != layout_hash:
        return f"has the hash {version.hash} there; the event was made on {layout_hash}"
    return "is a draft there again" if version.state == "draft" else None


class Scrubbing:
    """One version every `SCRUB_SECONDS`, round and round; and by itself, every `LAYOUT_RECORD_SECONDS`, what is on
    record and the events, which reads no content.

    The round begins anywhere: of a house whose workers are restarted more often than a round takes, the last layouts
    would never be looked at.
    """

    def __init__(
        self,
        pool: Pool,
        library: Library,
        choose: Callable[[Sequence[LayoutVersion]], LayoutVersion] = _ANY.choice,
    ) -> None:
        self._pool = pool
        self._library = library
        self._choose = choose
        self._after: str | None = None
        self._told: dict[str, frozenset[str]] = {}

    async def run(self, leads: Callable[[], bool]) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.compare, leads, 0, limits.LAYOUT_RECORD_SECONDS))
            # Not at once: a worker that starts has other things to read.
            group.create_task(self._repeat(self.step, leads, limits.SCRUB_SECONDS, limits.SCRUB_SECONDS))

    async def _repeat(
        self, act: Callable[[], Awaitable[None]], leads: Callable[[], bool], first: float, pause: float
    ) -> None:
        await asyncio.sleep(first)
        while True:
            if leads():
                try:
                    await act()
                except LmlError as error:
                    log.warning("stored layouts are not looked at now: %s", error)
                except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                    log.exception("looking at stored layouts failed")
                await asyncio.sleep(pause)
            await asyncio.sleep(limits.NOTICES_RETRY_SECONDS)

    async def step(self) -> None:
        """Looks at the next version; after the last one at the first."""
        if self._after is None:
            live = await self._library.live_versions()
            self._after = self._choose(live).key if live else ""
        version = await self._library.next_version(self._after) or await self._library.next_version("")
        if version is None:
            return
        self._after = version.key
        METRICS.layouts_scrubbed.inc()
        await self._library.scrub(version)  # which notes and logs what it finds
        METRICS.layouts_damaged.set(len(await self._library.damaged_versions()))

    async def compare(self) -> None:
        """Holds MongoDB's documents of versions against what is on record, and against the events."""
        METRICS.layouts_damaged.set(len(await self._library.damaged_versions()))
        self._tell("unlawful", map(_say_unlawful, await self._library.unlawful_versions()))
        set_back = await find_set_back(LayoutRecord(self._pool), self._library)
        METRICS.layouts_set_back.set(len(set_back))
        self._tell("set back", map(_say_set_back, set_back))
        astray = await find_astray(self._pool, self._library)
        METRICS.events_astray.set(len(astray))
        self._tell("astray", map(_say_astray, astray))

    def _tell(self, kind: str, lines: Iterable[str]) -> None:
        """Logs what was not found the last time: once, and not every few minutes until it is mended."""
        found = frozenset(lines)
        for line in sorted(found - self._told.get(kind, frozenset())):
            log.error("%s", line)
        self._told[kind] = found


def _say_unlawful(key: str) -> str:
    return f"layout version {key} was written past MongoDB's rules: nothing is done with it"


def _say_set_back(found: SetBack) -> str:
    return f"version {found.version} of layout {found.layout_id} {found.why}. {found.advice}"


def _say_astray(found: Astray) -> str:
    return f"event {found.event}: version {found.version} of layout {found.layout_id} {found.why}"
