"""The deployed layouts as the catalogue and blocking ask for them: a few indexes kept at hand."""

import asyncio
from collections import OrderedDict

from lml_live import limits
from lml_live.venues.library import Library
from lml_live.venues.seat_index import LayoutIndex


class DeployedLayouts:
    """`pricing.catalogue.Layouts` from the library. A version never changes, so an index that was read stays right."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._kept: OrderedDict[tuple[str, int], LayoutIndex] = OrderedDict()
        self._reading = asyncio.Lock()

    async def deployed_index(self, layout_id: str, version: int | None) -> LayoutIndex | None:
        """The index of a deployed version (None: the newest deployed one), or None where there is none."""
        deployed = [
            known.version
            for known in await self._library.status(layout_id)
            if known.state == "deployed" and version in (None, known.version)
        ]
        return await self.index(layout_id, deployed[-1]) if deployed else None

    async def index(self, layout_id: str, version: int) -> LayoutIndex:
        """The index of a published version, read once. Raises `NotFound`."""
        # One at a time: reading 200,000 seats twice at once would only take twice the memory.
        async with self._reading:
            if (layout_id, version) not in self._kept:
                self._kept[layout_id, version] = await self._library.load_index(layout_id, version)
                if len(self._kept) > limits.DEPLOYED_INDEXES_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end((layout_id, version))
            return self._kept[layout_id, version]
