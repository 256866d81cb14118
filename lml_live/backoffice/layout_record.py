"""What the audit trail knows of layouts: how far each version came. MongoDB is held against it."""

import contextlib
from collections.abc import Mapping
from typing import Final

import msgspec

from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.library import Library
from lml_live.venues.past import Past, why_set_back

_SQL: Final = postgres.statements("layouts")


class SetBack(msgspec.Struct, frozen=True):
    """A version of which MongoDB says less, or something else, than is on record; `why` says so in words."""

    layout_id: str
    version: int
    why: str


class LayoutRecord:
    """`venues.past.History` from PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of_layout(self, layout_id: str) -> Mapping[int, Past]:
        """By their numbers, the versions of a layout that have taken a step. Raises `Unavailable`."""
        return (await self._read(layout_id)).get(layout_id, {})

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


async def find_set_back(record: LayoutRecord, library: Library) -> list[SetBack]:
    """Every version that was set back in MongoDB. Those that are gone from it events miss, and nobody else; of a layout
    with a version that was written past MongoDB's rules that alone is told (`Library.unlawful_versions`)."""
    # The record first: what happens meanwhile is ahead of it then, and not behind.
    pasts = await record.all()
    found: list[SetBack] = []
    for layout_id in sorted(pasts):
        with contextlib.suppress(LayoutDamaged):
            found += [
                SetBack(layout_id, version.version, why)
                for version in await library.status(layout_id)
                if (why := why_set_back(version, pasts[layout_id].get(version.version))) is not None
            ]
    return found
