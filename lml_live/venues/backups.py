"""Backups of layouts, outside MongoDB: each version's canonical bytes, zipped, under a name that has their hash.

One is made before a version is published or deployed, and whenever somebody asks. What is read is hashed again: a
backup that was changed, cut short or mixed up is no backup (docs/decisions/032).
"""

import asyncio
import gzip
import logging
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec

from lml_live import limits
from lml_live.clock import Clock, system_clock_ms
from lml_live.errors import NotFound, Unavailable
from lml_live.infra.config import Settings
from lml_live.infra.stores import Store, open_store
from lml_live.values import is_id
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.layout import verify_bytes
from lml_live.venues.retention import PREFIX, Backup, Policy, Reason, choose_kept, newest_first, read_key

_log: Final = logging.getLogger(__name__)


Opening = Callable[[], AbstractAsyncContextManager[Store]]


class Thinned(msgspec.Struct, frozen=True):
    """What thinning out has removed, or would, and how many it has left."""

    removed: tuple[Backup, ...]
    kept: int


class Backups:
    """The backups in one store, which is opened when it is first needed. What fails is `Unavailable`."""

    def __init__(self, opening: Opening, clock: Clock = system_clock_ms) -> None:
        self._opening = opening
        self._clock = clock
        self._stack = AsyncExitStack()
        self._store: Store | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Closes the store; the next call would open it again."""
        self._store = None
        await self._stack.aclose()

    async def _opened(self) -> Store:
        # Once for all calls: making a bucket's client holds the loop up for a quarter of a second.
        async with self._lock:
            if self._store is None:
                self._store = await self._stack.enter_async_context(self._opening())
            return self._store

    async def take(self, layout_id: str, version: int, layout_hash: str, data: bytes, reason: Reason) -> Backup:
        """Keeps a version's canonical bytes, read back and compared before this returns.

        Where the newest backup of the layout is of this content, and whole, it is the answer.
        """
        store = await self._opened()
        newest = next(iter(await _of_layout(store, layout_id)), None)
        if newest is not None and newest.hash == layout_hash and await _whole(store, newest):
            return newest
        zipped = await asyncio.to_thread(gzip.compress, data, limits.BACKUP_GZIP_LEVEL, mtime=0)
        backup = Backup(layout_id, version, layout_hash, reason, self._clock(), len(zipped))
        await store.add_object(backup.key, zipped, content_type="application/gzip")
        if not await _whole(store, backup):
            raise Unavailable(f"The store of backups does not give back what was stored as {backup.key}.")
        return backup

    async def of_layout(self, layout_id: str) -> list[Backup]:
        """All backups of a layout, the newest first."""
        store = await self._opened()
        return await _of_layout(store, layout_id)

    async def layouts(self) -> list[str]:
        """The layouts that have backups, in order of their ids. What else lies there is none of ours."""
        store = await self._opened()
        return [name for name in await store.list_folders(PREFIX) if is_id(name)]

    async def read(
        self, layout_id: str, backup_id: str | None = None, preferred: frozenset[str] = frozenset()
    ) -> tuple[Backup, bytes]:
        """A backup and its canonical bytes; without an id the newest that is whole, one whose hash is `preferred`
        before any other.

        Raises `NotFound`, and `LayoutDamaged` where it is not what was backed up.
        """
        store = await self._opened()
        known = [each for each in await _of_layout(store, layout_id) if backup_id in (None, each.id)]
        for each in sorted(known, key=lambda each: each.hash not in preferred):
            if (data := await _read(store, each)) is not None:
                return each, data
        if known:
            raise LayoutDamaged(f"Backup {known[0].id} of {layout_id} is not what was backed up.")
        raise NotFound(f"There is no backup {'' if backup_id is None else f'{backup_id} '}of {layout_id}.")

    async def find_content(self, layout_id: str, layout_hash: str) -> bytes | None:
        """The canonical bytes that have this hash, of whichever backup is whole; None where none is."""
        store = await self._opened()
        for each in await _of_layout(store, layout_id):
            if each.hash == layout_hash and (data := await _read(store, each)) is not None:
                return data
        return None

    async def thin_out(
        self, layout_id: str, policy: Policy, needed: frozenset[str], *, dry_run: bool = False
    ) -> Thinned:
        """Removes what the policy does not keep.

        Whatever it says, the newest whole backup stays, and the newest whole one of each hash in `needed`: those that
        events are sold on. Where none is whole nothing is removed at all. Where the store fails in between, what it has
        removed is the answer: it goes on record.
        """
        store = await self._opened()
        backups = await _of_layout(store, layout_id)
        kept = choose_kept(backups, policy)
        if len(kept) == len(backups):
            return Thinned((), len(backups))
        for wanted in (None, *sorted(needed & {each.hash for each in backups})):
            candidates = [each for each in backups if wanted in (None, each.hash)]
            good = None
            for each in candidates:
                if await _whole(store, each):
                    good = each
                    break
            if good is None:
                _log.error("no backup of %s is whole (%s): none of them is removed", layout_id, wanted or "any")
                kept.update(candidates)
            else:
                kept.add(good)
        removed: list[Backup] = []
        for each in (each for each in backups if each not in kept):
            try:
                if not dry_run:
                    await store.remove_object(each.key)
            except Unavailable as error:
                if not removed:
                    raise
                _log.warning("not all backups of %s that may go are gone: %s", layout_id, error)
                break
            removed.append(each)
        return Thinned(tuple(removed), len(backups) - len(removed))


@asynccontextmanager
async def open_backups(settings: Settings) -> AsyncIterator[Backups]:
    """The backups where the settings keep them: a bucket, or the data directory."""
    backups = Backups(lambda: open_store(settings, settings.backup_bucket))
    try:
        yield backups
    finally:
        await backups.close()


def policy_of(settings: Settings) -> Policy:
    """Which backups the settings keep."""
    return Policy(settings.backup_keep_last, settings.backup_keep_days, settings.backup_keep_months)


async def _of_layout(store: Store, layout_id: str) -> list[Backup]:
    # What is no id is no part of a key either: `..` least of all.
    return await _list(store, f"{PREFIX}{layout_id}/") if is_id(layout_id) else []


async def _list(store: Store, prefix: str) -> list[Backup]:
    found = (read_key(each.key, each.size_bytes) for each in await store.list_objects(prefix))
    return newest_first(each for each in found if each is not None)


async def _read(store: Store, backup: Backup) -> bytes | None:
    """The canonical bytes, or None where they are not those of the name."""
    if backup.size_bytes > limits.BACKUP_BYTES_MAX:
        return None
    zipped = await store.get_object(backup.key)
    return None if zipped is None else await asyncio.to_thread(_unzip, zipped, backup.hash)


async def _whole(store: Store, backup: Backup) -> bool:
    return await _read(store, backup) is not None


def _unzip(zipped: bytes, layout_hash: str) -> bytes | None:
    unzipping = zlib.decompressobj(wbits=31)
    try:
        # No more is unpacked than a layout may have: whoever writes to the store must not fill the memory.
        data = unzipping.decompress(zipped, limits.BACKUP_BYTES_MAX)
    except zlib.error:
        return None
    whole = unzipping.eof and not unzipping.unused_data
    return data if whole and verify_bytes(data, layout_hash) else None
