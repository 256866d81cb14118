"""What would lie at the edge, from the server's own store: where no bucket is set, the server is the edge.

The same code makes the same bytes, under the same keys and with the same headers. Nothing is stored for it: the pointer
follows from when versions were deployed, as a bucket's does while nobody pushes or rolls back by hand
(docs/decisions/033). What MongoDB says of that is held against the record: what was forged there has no object.
"""

import asyncio
import hashlib
import logging
import math
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from lml_live import limits
from lml_live.infra.objects import IMMUTABLE
from lml_live.values import is_id
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.edge import (
    SHORT_LIVED,
    EdgeObject,
    Manifest,
    Pointer,
    list_objects,
    make_manifest,
    move_pointer,
    seal_manifest,
)
from lml_live.venues.layout import count_places, count_seats, decode_layout
from lml_live.venues.library import Library
from lml_live.venues.stored import LayoutVersion

FindBytes = Callable[[str, str], Awaitable[tuple[bytes, bytes] | None]]
"""A layout's canonical bytes, plain and zipped, by its id and hash; None where there is none."""
_log: Final = logging.getLogger(__name__)
_POINTER: Final = "current.json"
_OBJECT: Final = re.compile(r"([0-9a-f]{64})\.(json|json\.gz|manifest\.json)")


class Served(msgspec.Struct, frozen=True):
    """An object as the edge answers with it. `tag` is the ETag, without quotes: S3's, the MD5 of the bytes."""

    data: bytes
    tag: str
    cached: str
    encoding: str | None = None


class _Laid(msgspec.Struct, frozen=True):
    """What is kept of a version: its manifest, and the tags of its forms."""

    sealed: EdgeObject
    data: bytes
    manifest: Manifest
    tags: tuple[str, ...]


class _Held(msgspec.Struct, frozen=True):
    """What MongoDB said of a layout, and what is deployed of it by the record, until when that is asked again."""

    known: tuple[LayoutVersion, ...]
    deployed: tuple[LayoutVersion, ...]
    until: float


class OwnEdge:
    """The objects of one server. Private layouts have none here: whoever may see them gets them at another address."""

    def __init__(
        self,
        library: Library,
        find_bytes: FindBytes,
        private: frozenset[str] = frozenset(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._library = library
        self._find_bytes = find_bytes
        self._private = private
        self._laid: OrderedDict[str, _Laid] = OrderedDict()
        self._monotonic = monotonic
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._lock = asyncio.Lock()

    async def find(self, layout_id: str, name: str) -> Served | None:
        """The object `layouts/{layout_id}/{name}`, or None where the edge would have none.

        Raises `LayoutDamaged` and `Unavailable`, as whatever reads a layout.
        """
        wanted = _OBJECT.fullmatch(name)
        if not is_id(layout_id) or layout_id in self._private or not (wanted or name == _POINTER):
            return None
        if wanted is None:
            return await self._pointer(await self._deployed(layout_id))
        layout_hash, suffix = wanted.groups()
        laid = self._laid.get(layout_hash)
        if laid is None or laid.manifest.layout_id != layout_id:
            deployed = await self._deployed(layout_id)
            version = next((each for each in deployed if each.hash == layout_hash), None)
            laid = None if version is None else await self._lay(version)
        if laid is None:
            return None
        if suffix == "manifest.json":
            return Served(laid.data, _md5(laid.data), IMMUTABLE)
        forms = await self._find_bytes(layout_id, layout_hash)
        at = ("json", "json.gz").index(suffix)
        encoding = laid.manifest.objects[at].content_encoding
        return None if forms is None else Served(forms[at], laid.tags[at], IMMUTABLE, encoding)

    async def _deployed(self, layout_id: str) -> tuple[LayoutVersion, ...]:
        """Those that ever were: what was retired since lies at an edge for ever. The record is asked once for what
        MongoDB says, as long as the two say the same; else now and then, however many ask."""
        known = await self._library.status(layout_id)
        held = self._held.get(layout_id)
        if held is not None and held.known == known and self._monotonic() < held.until:
            return held.deployed
        deployed, same = await self._library.ever_deployed(known)
        if not same and (held is None or held.known != known):
            _log.error("layout %s is served as it is on record, for in MongoDB it is another (`lml doctor`)", layout_id)
        if known:
            until = math.inf if same else self._monotonic() + limits.KNOWN_LAYOUTS_SECONDS
            self._held[layout_id] = _Held(known, deployed, until)
            self._held.move_to_end(layout_id)
            if len(self._held) > limits.MANIFESTS_KEPT:
                self._held.popitem(last=False)
        return deployed

    async def _pointer(self, deployed: tuple[LayoutVersion, ...]) -> Served | None:
        """Moved by each deployment, in their order, unless a later version was there already."""
        moved: list[LayoutVersion] = []
        for version in sorted(deployed, key=lambda each: (each.deployed_ms or 0, each.version)):
            if not moved or version.version > moved[-1].version:
                moved.append(version)
        pointer: Pointer | None = None
        damaged: LayoutDamaged | None = None
        # Those that are further back than the pointer remembers need not be read.
        for version in moved[-limits.POINTER_HISTORY_MAX - 1 :]:
            try:
                laid = await self._lay(version)
            except LayoutDamaged as error:  # It has no object, and keeps none of the others from being there.
                damaged = error
                continue
            if laid is not None:
                pointer = move_pointer(pointer, laid.sealed, laid.manifest, version.deployed_ms or 0)
        if pointer is None:
            if damaged is not None:
                raise damaged
            return None
        data = msgspec.json.encode(pointer)
        return Served(data, _md5(data), SHORT_LIVED)

    async def _lay(self, version: LayoutVersion) -> _Laid | None:
        """A version's manifest, made once: for that the layout is read and hashed, in both of its forms."""
        async with self._lock:
            laid = self._laid.get(version.hash)
            if laid is None:
                forms = await self._find_bytes(version.layout_id, version.hash)
                if forms is None:
                    return None
                laid = await asyncio.to_thread(_lay_out, version, *forms)
                self._laid[version.hash] = laid
            self._laid.move_to_end(version.hash)
            if len(self._laid) > limits.MANIFESTS_KEPT:
                self._laid.popitem(last=False)
            return laid


def _lay_out(version: LayoutVersion, plain: bytes, zipped: bytes) -> _Laid:
    layout = decode_layout(plain)
    # Of its content, which has the hash: what MongoDB says of the version may be another's.
    version = msgspec.structs.replace(version, seat_count=count_seats(layout), place_count=count_places(layout))
    made = list_objects(version.layout_id, version.hash, plain, zipped, private=False)
    manifest = make_manifest(version, tuple(each for each, _ in made))
    sealed, data = seal_manifest(manifest, private=False)
    return _Laid(sealed, data, manifest, tuple(_md5(each) for _, each in made))


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
