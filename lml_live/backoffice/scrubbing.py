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
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from lml_live import limits
from lml_live.backoffice.layout_record import LayoutRecord, find_set_back
from lml_live.errors import LmlError
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.infra.telemetry import METRICS
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.library import Library
from lml_live.venues.stored import LayoutVersion

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("layouts")


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
    """One version every `SCRUB_SECONDS`, then the record and the events, then from the beginning."""

    def __init__(self, pool: Pool, library: Library) -> None:
        self._pool = pool
        self._library = library
        self._after = ""

    async def run(self, leads: Callable[[], bool]) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(limits.SCRUB_SECONDS)
            if not leads():
                continue
            try:
                await self.step()
            except LmlError as error:
                log.warning("stored layouts are not looked at now: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("looking at stored layouts failed")

    async def step(self) -> None:
        """Looks at the next version; after the last one at what is on record and at the events, and begins anew."""
        version = await self._library.next_version(self._after)
        if version is not None:
            self._after = f"{version.layout_id}:{version.version}"
            METRICS.layouts_scrubbed.inc()
            await self._library.scrub(version)  # which notes and logs what it finds
            METRICS.layouts_damaged.set(len(await self._library.damaged_versions()))
            return
        self._after = ""
        for key in await self._library.unlawful_versions():
            log.error("layout version %s was written past MongoDB's rules: nothing is done with it", key)
        set_back = await find_set_back(LayoutRecord(self._pool), self._library)
        METRICS.layouts_set_back.set(len(set_back))
        for each in set_back:
            log.error("version %d of layout %s %s. %s", each.version, each.layout_id, each.why, each.advice)
        astray = await find_astray(self._pool, self._library)
        METRICS.events_astray.set(len(astray))
        _tell(astray)


def _tell(astray: Iterable[Astray]) -> None:
    for each in astray:
        log.error("event %s: version %d of layout %s %s", each.event, each.version, each.layout_id, each.why)
