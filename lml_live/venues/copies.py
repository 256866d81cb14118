"""Whole copies of published layouts outside MongoDB: in the bucket that the CDN reads, and among the backups.

For a server that starts while MongoDB's is damaged or away: an event is sold on a hash (PostgreSQL has it), and
whatever has that hash is that layout, wherever it was found.
"""

import asyncio
import logging
from typing import Final

from lml_live.errors import Unavailable
from lml_live.infra.config import Settings
from lml_live.venues.backups import Backups
from lml_live.venues.edge import object_key
from lml_live.venues.layout import verify_bytes

_log: Final = logging.getLogger(__name__)


class Copies:
    """Looks in the bucket first, which costs one call, then through the backups."""

    def __init__(self, settings: Settings, backups: Backups) -> None:
        self._settings = settings
        self._backups = backups

    async def find(self, layout_id: str, layout_hash: str) -> bytes | None:
        """The canonical bytes that have this hash; None where no copy is whole, or no store answers."""
        for look in (self._in_bucket, self._backups.find_content):
            try:
                data = await look(layout_id, layout_hash)
            except Unavailable as error:
                _log.warning("no copy of layout %s can be looked for: %s", layout_id, error)
                continue
            if data is not None:
                return data
        return None

    async def _in_bucket(self, layout_id: str, layout_hash: str) -> bytes | None:
        bucket = self._settings.s3_bucket
        if bucket is None:
            return None
        from lml_live.infra.s3 import open_objects

        async with open_objects(bucket, endpoint_url=self._settings.s3_endpoint_url) as objects:
            private = layout_id in self._settings.private_layouts
            data = await objects.get_object(object_key(layout_id, layout_hash, private=private))
        whole = data is not None and await asyncio.to_thread(verify_bytes, data, layout_hash)
        return data if whole else None
