"""What the audit trail knows of layouts: how far each version came. MongoDB is held against it."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.library import Library
from lml_live.venues.past import MEND, SAVE_AGAIN, Past, what_to_do_ahead, why_ahead, why_set_back
from lml_live.venues.stored import LayoutVersion, State

_SQL: Final = postgres.statements("layouts")


class SetBack(msgspec.Struct, frozen=True):
    """A version of which MongoDB says something else than is on record, or more; `why` says so in words, `advice` what
    to do."""

    layout_id: str
    version: int
    why: str
    advice: str = MEND


class LayoutRecord:
    """`venues.past.History` from PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of_layout(self, layout_id: str) -> Mapping[int, Past]:
        """By their numbers, the versions of a layout that are on record. Raises `Unavailable`."""
        return (await self._read(layout_id)).get(layout_id, {})

    async def hashes_of(self, layout_id: str) -> frozenset[str]:
        """Every content that is on record of a layout. Raises `Unavailable`."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["hashes_of_layout"], layout_id)
        return frozenset(row["hash"] for row in rows if row["hash"] is not None)

    async def all(self) -> Mapping[str, Mapping[int, Past]]:
        """The same of every layout."""
        return await self._read(None)

    async def _read(self, layout_id: str | None) -> dict[str, dict[int, Past]]:
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["steps_of_layouts"], layout_id)
        found: dict[str, dict[int, Past]] = {}
        for one, *fields in rows:
            past = Past(*fields)
            found.setdefault(one, {})[past.version] = past
        return found


class KnownLayouts:
    """Which layouts, by their hashes, are on record or sold on. PostgreSQL is looked at once in `KNOWN_LAYOUTS_SECONDS`
    at the most, whoever asks for whatever hash."""

    def __init__(self, pool: Pool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._known: frozenset[tuple[str, str]] = frozenset()
        self._looked = -math.inf
        self._away = False
        self._lock = asyncio.Lock()

    async def has(self, layout_id: str, layout_hash: str) -> bool:
        """Whether a layout of this hash is known. Raises `Unavailable`."""
        wanted = (layout_id, layout_hash)
        if wanted not in self._known:
            async with self._lock:
                if self._monotonic() - self._looked >= limits.KNOWN_LAYOUTS_SECONDS:
                    await self._look()
            if self._away and wanted not in self._known:
                raise Unavailable("PostgreSQL did not answer just now.")
        return wanted in self._known

    async def _look(self) -> None:
        try:
            async with postgres.connection(self._pool) as connected:
                rows = await connected.fetch(_SQL["known_layouts"], limits.KNOWN_LAYOUTS_MAX)
        except Unavailable:
            self._away = True
        else:
            self._known, self._away = frozenset((row["layout_id"], row["layout_hash"]) for row in rows), False
        # Also after a look that failed, which may have taken its time: others wait for it.
        self._looked = self._monotonic()


async def find_set_back(record: LayoutRecord, library: Library) -> list[SetBack]:
    """Every version that was set back in MongoDB, or is ahead of its record. Those that are gone from it events miss,
    and nobody else; of a layout with a version that was written past MongoDB's rules that alone is told
    (`Library.unlawful_versions`)."""
    # The record first: what happens meanwhile is ahead of it then, and not behind. What is ahead is asked for again.
    pasts = await record.all()
    found: list[SetBack] = []
    for layout_id in sorted(pasts):
        with contextlib.suppress(LayoutDamaged):
            known = await library.status(layout_id)
            now = await record.of_layout(layout_id) if any(_find_ahead(pasts[layout_id], known)) else {}
            told = {each.version: each for each in (*_find_ahead(now, known), *_find_behind(pasts[layout_id], known))}
            found += [told[version] for version in sorted(told)]
    return found


def _find_behind(past: Mapping[int, Past], known: Iterable[LayoutVersion]) -> Iterator[SetBack]:
    for version in known:
        one = past.get(version.version)
        # A draft is held against its record when it is published: until then it changes all the time.
        draft = one is not None and one.state == "draft"
        if not (draft and version.state == "draft") and (why := why_set_back(version, one)) is not None:
            yield SetBack(version.layout_id, version.version, why, SAVE_AGAIN if draft else MEND)


def _find_ahead(past: Mapping[int, Past], known: Iterable[LayoutVersion]) -> Iterator[SetBack]:
    for version in known:
        step = _step_wanted(version, past.get(version.version))
        if step is not None and (why := why_ahead(version, past, step)) is not None:
            yield SetBack(version.layout_id, version.version, why, what_to_do_ahead(version))


def _step_wanted(version: LayoutVersion, past: Past | None) -> State | None:
    """The step that must be on record of a version. Of one that was retired where no record was there is none, and
    nothing is done with it; where only its end is on record there must have been more."""
    if version.state == "retired":
        return None if past is None or past.retired_ms is None else "published"
    return None if version.state == "draft" else version.state
