"""Keeps backups of layouts to their policy, and sees that no version in use is without one: the leading worker does.

Which are in use PostgreSQL and MongoDB say together: what new events may be made on, and what any event that is not
over was made on. What is on record counts, where MongoDB has another hash (docs/decisions/032).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import msgspec

from lml_live import limits
from lml_live.backoffice.layout_record import LayoutRecord
from lml_live.backoffice.trail import Trail
from lml_live.errors import LmlError
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.venues.backups import Backups, Thinned
from lml_live.venues.library import Library
from lml_live.venues.past import was_published
from lml_live.venues.retention import Policy

log = logging.getLogger(__name__)

_SQL = postgres.statements("layouts")


class Retention:
    """One look goes through all layouts that have backups, and all versions that are in use."""

    def __init__(self, pool: Pool, library: Library, backups: Backups, policy: Policy) -> None:
        self._pool = pool
        self._library = library
        self._backups = backups
        self._policy = policy

    async def run(self, leads: Callable[[], bool]) -> None:
        """Until cancelled."""
        await asyncio.sleep(limits.BACKUPS_FIRST_LOOK_SECONDS)
        while True:
            try:
                if leads():
                    await self.look()
            except LmlError as error:
                log.warning("backups of layouts are not looked after now: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("looking after backups of layouts failed")
            await asyncio.sleep(limits.BACKUPS_LOOK_SECONDS)

    async def look(self) -> None:
        """Backs up what is in use and has no backup, then thins out: layout by layout, however many there are."""
        for version in await self._library.live_versions():
            try:
                if version.hash not in {each.hash for each in await self._backups.of_layout(version.layout_id)}:
                    await self._library.back_up(version.layout_id, version.version, "missing")
            except LmlError as error:
                log.error("%s is in use and may have no backup: %s", version.key, error)
        for layout_id in await self._backups.layouts():
            # One whose backups cannot be looked at does not keep the others from it.
            try:
                async for _ in self.thin_out((layout_id,)):
                    pass
            except LmlError as error:
                log.warning("the backups of layout %s are not looked after now: %s", layout_id, error)

    async def thin_out(
        self, layout_ids: tuple[str, ...], *, dry_run: bool = False
    ) -> AsyncIterator[tuple[str, Thinned]]:
        """Removes what the policy does not keep, layout by layout, and puts on record what is gone."""
        trail = Trail(self._pool)
        for layout_id in layout_ids:
            # Asked anew for each: an event may have been made, or a version deployed, since the last.
            needed = await self._needed(layout_id)
            thinned = await self._backups.thin_out(layout_id, self._policy, needed, dry_run=dry_run)
            if thinned.removed and not dry_run:
                ids = [each.id for each in thinned.removed[: limits.BACKUPS_ON_RECORD]]
                detail = msgspec.json.encode({"removed": len(thinned.removed), "kept": thinned.kept, "ids": ids})
                await trail.write("layout.backups_removed", ("layout", layout_id), detail=detail.decode())
                log.info("%d backups of layout %s removed, %d kept", len(thinned.removed), layout_id, thinned.kept)
            yield layout_id, thinned

    async def _needed(self, layout_id: str) -> frozenset[str]:
        """Of the versions on record that are not retired, and of the latest, whatever MongoDB says of them; of the
        others those that are live there; and what events are sold on."""
        versions = await self._library.status(layout_id)
        record = await LayoutRecord(self._pool).of_layout(layout_id)
        steps = [past for past in record.values() if was_published(past, record)]
        async with postgres.connection(self._pool) as connected:
            sold = {row["layout_hash"] for row in await connected.fetch(_SQL["layouts_of_events"])}
        latest = max((past.version for past in steps), default=None)
        recorded = {past.hash for past in steps if past.state != "retired" or past.version == latest}
        others = {each.version for each in versions} - {past.version for past in steps}
        live = {each.hash for each in versions if each.version in others and each.state in ("published", "deployed")}
        return frozenset(sold | recorded | live)
