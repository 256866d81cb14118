"""The library of layouts in MongoDB: drafts, published versions, deployed versions.

    draft ── publish ──▶ published ── deploy ──▶ deployed

A layout has at most one draft; a published version never changes. Each step is one update whose condition is the state
that it leaves, so two people who act at once cannot both succeed.

The canonical bytes are stored in chunks, because a document holds 16 MB and a layout of 200,000 seats has 26. Chunks
are written first, under an upload id of their own; the version's document then names that upload, and is the one write
that counts. (One transaction around both was tried: with 26 MB an embedded MongoDB rolls it back for want of cache.)
What a broken save leaves behind nobody reads, and a later save sweeps it away.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from lml_live import limits
from lml_live.clock import Clock, system_clock_ms
from lml_live.errors import Conflict, InvalidInput, LmlError, NotFound, Refused
from lml_live.infra.mongo import Database, Document, driver_errors, ensure_collection
from lml_live.values import ID_PATTERN, SEAT_ID_PATTERN, new_id
from lml_live.venues.checks import check_layout
from lml_live.venues.layout import (
    Layout,
    canonical_bytes,
    content_hash,
    count_places,
    count_seats,
    decode_layout,
    seal_layout,
    verify_bytes,
)
from lml_live.venues.seat_index import LayoutIndex, index_layout

VERSIONS: Final = "layout_versions"
CHUNKS: Final = "layout_chunks"

State = Literal["draft", "published", "deployed"]

_INTEGER: Final = {"bsonType": ["int", "long"], "minimum": 0}
_MOMENT: Final = {"bsonType": ["int", "long", "null"]}
_HASH: Final = {"bsonType": "string", "pattern": SEAT_ID_PATTERN}
_ID: Final = {"bsonType": "string", "pattern": ID_PATTERN}

_VERSION_FIELDS: Final[Mapping[str, Mapping[str, object]]] = {
    "_id": {"bsonType": "string"},
    "layout_id": _ID,
    "version": {"bsonType": ["int", "long"], "minimum": 1},
    "state": {"enum": ["draft", "published", "deployed"]},
    "hash": _HASH,
    "upload": {"bsonType": "string", "pattern": ID_PATTERN},
    "fingerprint": _HASH,
    "name": {"bsonType": "string", "minLength": 1, "maxLength": limits.LABEL_CHARS_MAX},
    "type": {"enum": ["seated", "standing", "hybrid"]},
    "seat_count": {**_INTEGER, "maximum": limits.LAYOUT_SEATS_MAX},
    "place_count": {**_INTEGER, "minimum": 1},
    "size_bytes": {**_INTEGER, "minimum": 1},
    "saved_ms": {"bsonType": ["int", "long"]},
    "published_ms": _MOMENT,
    "deployed_ms": _MOMENT,
}
_CHUNK_FIELDS: Final[Mapping[str, Mapping[str, object]]] = {
    "_id": {"bsonType": "string"},
    "layout_id": _ID,
    "upload": {"bsonType": "string", "pattern": ID_PATTERN},
    "position": _INTEGER,
    "saved_ms": {"bsonType": ["int", "long"]},
    "data": {"bsonType": "binData"},
}


class LayoutVersion(msgspec.Struct, frozen=True):
    """One version of a layout, without its bytes."""

    layout_id: str
    version: int
    state: State
    hash: str
    fingerprint: str
    """The hash that the content has as version 1: equal for equal content, whatever the version."""
    upload: str
    """Which chunks are its bytes."""
    name: str
    type: str
    seat_count: int
    place_count: int
    size_bytes: int
    saved_ms: int
    published_ms: int | None = None
    deployed_ms: int | None = None


class Saved(msgspec.Struct, frozen=True):
    """What became of a layout that was saved. `changed` is false where the library had this content already."""

    version: LayoutVersion
    changed: bool


async def apply_schema(database: Database) -> None:
    """Makes the collections with their validators (level strict) and unique indexes; safe to call at every start."""
    for name, fields in ((VERSIONS, _VERSION_FIELDS), (CHUNKS, _CHUNK_FIELDS)):
        schema = {
            "bsonType": "object",
            "required": list(fields),
            "properties": dict(fields),
            # A field that nobody knows is a field that nobody checks.
            "additionalProperties": False,
        }
        await ensure_collection(database, name, schema)
    with driver_errors():
        versions = database[VERSIONS]
        await versions.create_index([("layout_id", 1), ("version", -1)], unique=True, name="one_document_per_version")
        await versions.create_index(
            [("layout_id", 1)], unique=True, name="one_draft_per_layout", partialFilterExpression={"state": "draft"}
        )
        await versions.create_index([("layout_id", 1), ("hash", 1)], name="versions_by_hash")
        await versions.create_index([("state", 1)], name="versions_by_state")
        await database[CHUNKS].create_index(
            [("layout_id", 1), ("upload", 1), ("position", 1)], unique=True, name="one_chunk_per_position"
        )


class Library:
    """The layouts of one database. Every method raises `Unavailable` where MongoDB does not answer in time."""

    def __init__(self, database: Database, clock: Clock = system_clock_ms) -> None:
        self._database = database
        self._clock = clock

    async def save_draft(self, layout: Layout, *, version: int | None = None) -> Saved:
        """Stores a layout as the draft of its id: a new one, or instead of the draft that is there.

        Content that is published already, or is the draft already, changes nothing. `version` asks for that version and
        no other: where it is published and differs, `Refused` (layout_immutable). Raises `InvalidInput` with every
        broken rule, `Conflict` where somebody else saved at the same moment.
        """
        layout, fingerprint = await asyncio.to_thread(_checked, layout)
        known = await self.status(layout.layout_id)
        for existing in known:
            if existing.fingerprint == fingerprint and version in (None, existing.version):
                return Saved(existing, changed=False)
        draft = next((existing for existing in known if existing.state == "draft"), None)
        latest = known[-1].version if known else 0
        target = draft.version if draft else latest + 1
        if version is not None and version != target:
            if any(existing.version == version for existing in known):
                raise Refused("layout_immutable", f"Version {version} of {layout.layout_id} is published and stays so.")
            raise Conflict(f"The next version of {layout.layout_id} is {target}, not {version}.")
        sealed, data = await asyncio.to_thread(_sealed, layout, target)
        saved = LayoutVersion(
            layout_id=sealed.layout_id,
            version=target,
            state="draft",
            hash=sealed.hash,
            fingerprint=fingerprint,
            upload=new_id("upload"),
            name=sealed.name,
            type=sealed.type,
            seat_count=count_seats(sealed),
            place_count=count_places(sealed),
            size_bytes=len(data),
            saved_ms=self._clock(),
        )

        await self._write_chunks(saved, data)
        try:
            await self._write_draft(saved, draft)
        except Conflict:
            await self._delete_chunks({"layout_id": saved.layout_id, "upload": saved.upload})
            raise
        await self._sweep(saved, known, draft)
        return Saved(saved, changed=True)

    async def publish(self, layout_id: str) -> LayoutVersion:
        """Makes the draft unchangeable. Raises `NotFound`, or `Conflict` where there is no draft (any more)."""
        known = await self.status(layout_id)
        if not known:
            raise NotFound(f"There is no layout {layout_id}.")
        draft = next((version for version in known if version.state == "draft"), None)
        if draft is None:
            raise Conflict(f"{layout_id} has no draft: version {known[-1].version} is {known[-1].state} already.")
        # Nothing is published whose bytes are not what their hash says.
        await self._load_chunks(draft)
        return await self._advance(draft, "draft", {"state": "published", "published_ms": self._clock()})

    async def deploy(self, layout_id: str, version: int | None = None) -> LayoutVersion:
        """Makes a published version usable for events; without `version` the latest published one.

        Deploying again changes nothing. Raises `NotFound`, or `Conflict` for a draft.
        """
        known = await self.status(layout_id)
        chosen = [
            existing
            for existing in known
            if existing.version == version or (version is None and existing.state != "draft")
        ]
        if not chosen:
            if known and version is None:
                raise Conflict(f"{layout_id} has only a draft: publish it first.")
            raise NotFound(f"There is no layout {layout_id}{'' if version is None else f', version {version}'}.")
        target = chosen[-1]
        if target.state == "draft":
            raise Conflict(f"Version {target.version} of {layout_id} is a draft: publish it first.")
        if target.state == "deployed":
            return target
        return await self._advance(target, "published", {"state": "deployed", "deployed_ms": self._clock()})

    async def status(self, layout_id: str) -> tuple[LayoutVersion, ...]:
        """All versions of a layout, the oldest first; none where nobody knows it."""
        return await self._find({"layout_id": layout_id}, [("version", 1)])

    async def list_layouts(self, *, after: str = "", limit: int = limits.PAGE_ITEMS_MAX) -> tuple[LayoutVersion, ...]:
        """The latest version of each layout whose id comes after `after`, in order of ids."""
        latest: list[Document] = [
            {"$match": {"layout_id": {"$gt": after}}},
            {"$sort": {"layout_id": 1, "version": -1}},
            {"$group": {"_id": "$layout_id", "latest": {"$first": "$$ROOT"}}},
            {"$sort": {"_id": 1}},
            {"$limit": limit},
        ]
        with driver_errors():
            groups = await self._database[VERSIONS].aggregate(latest).to_list(length=limit)
        return tuple(_version(group["latest"]) for group in groups)

    async def deployed_versions(self) -> tuple[LayoutVersion, ...]:
        """Every version that events may be sold on."""
        return await self._find({"state": "deployed"}, [("layout_id", 1), ("version", 1)])

    async def load_bytes(self, layout_id: str, layout_hash: str) -> bytes | None:
        """The canonical bytes of a published or deployed version, verified; None where there is none of that hash."""
        found = await self._find({"layout_id": layout_id, "hash": layout_hash, "state": {"$ne": "draft"}}, [])
        return await self._load_chunks(found[0]) if found else None

    async def load_index(self, layout_id: str, version: int) -> LayoutIndex:
        """The index of a published or deployed version. Raises `NotFound`."""
        found = await self._find({"layout_id": layout_id, "version": version, "state": {"$ne": "draft"}}, [])
        if not found:
            raise NotFound(f"There is no published version {version} of layout {layout_id}.")
        data = await self._load_chunks(found[0])
        # In a thread: decoding and indexing 200,000 seats would hold up every socket for half a second.
        return await asyncio.to_thread(_indexed, data)

    async def _find(self, where: Document, order: list[tuple[str, int]]) -> tuple[LayoutVersion, ...]:
        with driver_errors():
            cursor = self._database[VERSIONS].find(where, limit=limits.LAYOUT_VERSIONS_MAX)
            documents = await (cursor.sort(order) if order else cursor).to_list(length=limits.LAYOUT_VERSIONS_MAX)
        return tuple(_version(document) for document in documents)

    async def _advance(self, version: LayoutVersion, from_state: State, change: Document) -> LayoutVersion:
        """One step of a version's life; the condition is the state and the content that the decision was made on."""
        where = {"_id": _key(version), "state": from_state, "hash": version.hash}
        with driver_errors():
            answer = await self._database[VERSIONS].update_one(where, {"$set": change})
        if answer.matched_count == 0:
            raise Conflict(f"Version {version.version} of {version.layout_id} was changed by somebody else just now.")
        return msgspec.structs.replace(version, **change)

    async def _write_chunks(self, saved: LayoutVersion, data: bytes) -> None:
        for position, start in enumerate(range(0, len(data), limits.LAYOUT_CHUNK_BYTES)):
            chunk = {
                "_id": f"{saved.upload}:{position}",
                "layout_id": saved.layout_id,
                "upload": saved.upload,
                "position": position,
                "saved_ms": saved.saved_ms,
                "data": data[start : start + limits.LAYOUT_CHUNK_BYTES],
            }
            with driver_errors():
                await self._database[CHUNKS].insert_one(chunk)

    async def _write_draft(self, saved: LayoutVersion, before: LayoutVersion | None) -> None:
        document = {"_id": _key(saved), **msgspec.to_builtins(saved)}
        with driver_errors():
            if before is None:
                await self._database[VERSIONS].insert_one(document)
                return
            where = {"_id": _key(saved), "state": "draft", "hash": before.hash}
            answer = await self._database[VERSIONS].replace_one(where, document)
        if answer.matched_count == 0:
            raise Conflict(f"The draft of {saved.layout_id} was changed by somebody else just now.")

    async def _sweep(
        self, saved: LayoutVersion, known: tuple[LayoutVersion, ...], replaced: LayoutVersion | None
    ) -> None:
        """Deletes the replaced draft's chunks, and those of saves that broke off an hour ago or more."""
        if replaced is not None:
            await self._delete_chunks({"layout_id": saved.layout_id, "upload": replaced.upload})
        in_use = [saved.upload, *(version.upload for version in known)]
        long_ago = saved.saved_ms - limits.LAYOUT_SAVE_MS_MAX
        await self._delete_chunks(
            {"layout_id": saved.layout_id, "upload": {"$nin": in_use}, "saved_ms": {"$lt": long_ago}}
        )

    async def _delete_chunks(self, where: Document) -> None:
        with driver_errors():
            await self._database[CHUNKS].delete_many(where)

    async def _load_chunks(self, version: LayoutVersion) -> bytes:
        where = {"layout_id": version.layout_id, "upload": version.upload}
        with driver_errors():
            cursor = self._database[CHUNKS].find(where, {"data": 1, "_id": 0}).sort("position", 1)
            documents = await cursor.to_list(length=limits.LAYOUT_FILE_BYTES_MAX // limits.LAYOUT_CHUNK_BYTES + 1)
        data = b"".join(document["data"] for document in documents)
        if not await asyncio.to_thread(verify_bytes, data, version.hash):
            # Nobody may sell on a plan that is not the one that was published.
            raise LmlError(f"The stored bytes of {_key(version)} do not have the hash {version.hash}.")
        return data


def _key(version: LayoutVersion) -> str:
    return f"{version.layout_id}:{version.version}"


def _version(document: Document) -> LayoutVersion:
    fields: dict[str, Any] = {name: value for name, value in document.items() if name != "_id"}
    return LayoutVersion(**fields)


def _checked(layout: Layout) -> tuple[Layout, str]:
    report = check_layout(layout)
    if report.violation_count:
        raise InvalidInput(f"The layout breaks {report.violation_count} rules.", errors=report.violations)
    sealed = seal_layout(layout, version=1)
    return sealed, sealed.hash


def _sealed(layout: Layout, version: int) -> tuple[Layout, bytes]:
    """The sealed layout under another version number, and its bytes."""
    renumbered = msgspec.structs.replace(layout, version=version)
    sealed = msgspec.structs.replace(renumbered, hash=content_hash(renumbered))
    return sealed, canonical_bytes(sealed)


def _indexed(data: bytes) -> LayoutIndex:
    return index_layout(decode_layout(data))
