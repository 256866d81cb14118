"""The deployed layouts as the catalogue and blocking ask for them: a few indexes kept at hand."""

import asyncio
import logging
from collections import OrderedDict
from typing import Final, Protocol

from lml_live import limits
from lml_live.errors import NotFound, Unavailable
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.layout import decode_layout
from lml_live.venues.library import Library
from lml_live.venues.seat_index import LayoutIndex, index_layout

_log: Final = logging.getLogger(__name__)


class Spare(Protocol):
    """`venues.copies`: layouts by their hash, from outside MongoDB."""

    async def find(self, layout_id: str, layout_hash: str) -> bytes | None: ...


class Known(Protocol):
    """`layout_record.KnownLayouts`: which layouts are on record, or an event is made on."""

    async def has(self, layout_id: str, layout_hash: str) -> bool:
        """Raises `Unavailable`."""
        ...


class DeployedLayouts:
    """`pricing.catalogue.Layouts` from the library. A version never changes, so an index that was read stays right.

    An event that is sold already needs its layout also where MongoDB's is damaged, gone or away: then a copy with the
    same hash does (`spare`). New events are made on what MongoDB has, or not at all.
    """

    def __init__(self, library: Library, spare: Spare | None = None, known: Known | None = None) -> None:
        self._library = library
        self._spare = spare
        self._known = known
        self._kept: OrderedDict[tuple[str, int], LayoutIndex] = OrderedDict()
        self._reading = asyncio.Lock()

    async def deployed_index(self, layout_id: str, version: int | None) -> LayoutIndex | None:
        """The index of a version that a new event may be made on (None: the newest), or None where there is none.

        Raises `LayoutDamaged` where what is stored is not what was deployed.
        """
        deployed = await self._library.newest_deployed(layout_id, version)
        if deployed is None:
            return None
        # Read and hashed anew: an index that was kept says nothing of what is stored now.
        async with self._reading:
            index = await self._library.load_index(layout_id, deployed.version)
            if index.hash != deployed.hash:
                raise LayoutDamaged(f"Version {deployed.version} of {layout_id} is another than a moment ago.")
            self._keep(index)
            return index

    async def index(self, layout_id: str, version: int, layout_hash: str | None = None) -> LayoutIndex:
        """The index of a published version, read once. Raises `NotFound`, and `LayoutDamaged` where it has another hash
        than the one given (PostgreSQL's, of an event that is sold on it) and there is no copy that has it."""
        # One at a time: reading 200,000 seats twice at once would only take twice the memory.
        async with self._reading:
            index = self._kept.get((layout_id, version))
            if index is None or layout_hash not in (None, index.hash):
                index = await self._load(layout_id, version, layout_hash)
            self._keep(index)
            return index

    async def load_bytes(self, layout_id: str, layout_hash: str) -> bytes | None:
        """The canonical bytes of a version that is no draft, or of one that is on record or sold on; None where there
        is none of that hash. Raises `LayoutDamaged`, `Unavailable`."""
        failed: LayoutDamaged | Unavailable | None = None
        try:
            data = await self._library.load_bytes(layout_id, layout_hash)
        except (LayoutDamaged, Unavailable) as error:
            data, failed = None, error
        if data is not None:
            return data
        # A hash that nobody here knows is anybody's guess, and not looked for all over the store.
        if await self._is_known(layout_id, layout_hash, unsure=failed is not None):
            data = await self._find_spare(layout_id, layout_hash)
        if data is None and failed is not None:
            raise failed
        return data

    async def _is_known(self, layout_id: str, layout_hash: str, *, unsure: bool) -> bool:
        """Whether a layout is sold on or on record; `unsure` where nobody can say."""
        if any(index.hash == layout_hash for index in self._kept.values()):
            return True
        if self._known is None:
            return unsure
        try:
            return await self._known.has(layout_id, layout_hash)
        except Unavailable:
            return unsure

    async def _load(self, layout_id: str, version: int, layout_hash: str | None) -> LayoutIndex:
        try:
            index = await self._library.load_index(layout_id, version)
            if layout_hash not in (None, index.hash):
                raise LayoutDamaged(f"Version {version} of {layout_id} has another hash than the event was made on.")
            return index
        except (LayoutDamaged, NotFound, Unavailable) as error:
            data = None if layout_hash is None else await self._find_spare(layout_id, layout_hash)
            if data is None:
                raise
            _log.error("layout %s, version %d, is read from its copy, for in MongoDB: %s", layout_id, version, error)
            return await asyncio.to_thread(lambda: index_layout(decode_layout(data)))

    async def _find_spare(self, layout_id: str, layout_hash: str) -> bytes | None:
        return None if self._spare is None else await self._spare.find(layout_id, layout_hash)

    def _keep(self, index: LayoutIndex) -> None:
        key = (index.layout_id, index.version)
        self._kept[key] = index
        self._kept.move_to_end(key)
        if len(self._kept) > limits.DEPLOYED_INDEXES_KEPT:
            self._kept.popitem(last=False)
