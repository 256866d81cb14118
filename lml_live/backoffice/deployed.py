"""The deployed layouts as the catalogue and blocking ask for them: a few indexes kept at hand."""

import asyncio
from collections import OrderedDict

from lml_live import limits
from lml_live.venues.library import LayoutDamaged, Library
from lml_live.venues.seat_index import LayoutIndex


class DeployedLayouts:
    """`pricing.catalogue.Layouts` from the library. A version never changes, so an index that was read stays right."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._kept: OrderedDict[tuple[str, int], LayoutIndex] = OrderedDict()
        self._reading = asyncio.Lock()

    async def deployed_index(self, layout_id: str, version: int | None) -> LayoutIndex | None:
        """The index of a version that a new event may be made on (None: the newest), or None where there is none.

        Raises `LayoutDamaged` where what is stored is not what was deployed.
        """
        deployed = [
            known.version
            for known in await self._library.status(layout_id)
            if known.state == "deployed" and version in (None, known.version)
        ]
        if not deployed:
            return None
        # Read and hashed anew: an index that was kept says nothing of what is stored now.
        async with self._reading:
            index = await self._library.load_index(layout_id, deployed[-1])
            self._keep(index)
            return index

    async def index(self, layout_id: str, version: int, layout_hash: str | None = None) -> LayoutIndex:
        """The index of a published version, read once. Raises `NotFound`, and `LayoutDamaged` where it has another hash
        than the one given: PostgreSQL's, of an event that is sold on it."""
        # One at a time: reading 200,000 seats twice at once would only take twice the memory.
        async with self._reading:
            index = self._kept.get((layout_id, version))
            if index is None or layout_hash not in (None, index.hash):
                index = await self._library.load_index(layout_id, version)
            if layout_hash not in (None, index.hash):
                raise LayoutDamaged(f"Version {version} of {layout_id} has another hash than the event was made on.")
            self._keep(index)
            return index

    def _keep(self, index: LayoutIndex) -> None:
        key = (index.layout_id, index.version)
        self._kept[key] = index
        self._kept.move_to_end(key)
        if len(self._kept) > limits.DEPLOYED_INDEXES_KEPT:
            self._kept.popitem(last=False)
