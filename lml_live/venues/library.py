"""The library of layouts in MongoDB: drafts, published versions, deployed versions, and those that had their time.

    draft ── publish ──▶ published ── deploy ──▶ deployed
                             └────── retire ──▶ retired ◀── retire ──┘

A layout has at most one draft; a published version never changes. Each step is one update whose condition is the state
that it leaves, so two people who act at once cannot both succeed.

A layout is several documents (`stored`), written in one transaction with the version's own, which names them by their
`upload`. What is read is hashed again, every time: who has changed a document behind our back is found before anything
is published, deployed or sold on it (docs/decisions/029).
"""

import asyncio
import contextlib
from typing import Any, Final

import msgspec

from lml_live import limits
from lml_live.clock import Clock, system_clock_ms
from lml_live.errors import Conflict, InvalidInput, LmlError, NotFound, Refused, Violation
from lml_live.infra.mongo import (
    Database,
    Document,
    Index,
    Session,
    close_database,
    connect_database,
    driver_errors,
    ensure_collection,
    ensure_indexes,
    transaction,
)
from lml_live.infra.mongo_rights import grant_role, sign_in_of
from lml_live.values import new_id
from lml_live.venues.checks import check_and_seal
from lml_live.venues.findings import InvalidLayout
from lml_live.venues.layout import (
    Layout,
    canonical_bytes,
    count_places,
    count_seats,
    decode_layout,
    spell_layout,
    verify_bytes,
)
from lml_live.venues.normal_form import in_nfc
from lml_live.venues.seat_index import LayoutIndex, index_layout
from lml_live.venues.stored import (
    CHUNKS,
    PLANS,
    RIGHTS,
    SECTIONS,
    VERSIONS,
    LayoutVersion,
    State,
    collection_rules,
    documents_of,
    layout_of,
)

INDEXES: Final = {
    VERSIONS: (
        Index("one_document_per_version", (("layout_id", 1), ("version", -1)), unique=True),
        Index("one_draft_per_layout", (("layout_id", 1),), unique=True, only={"state": "draft"}),
        Index("versions_by_hash", (("layout_id", 1), ("hash", 1))),
        Index("versions_by_state", (("state", 1),)),
    ),
    PLANS: (Index("plans_by_layout", (("layout_id", 1), ("version", 1))),),
    SECTIONS: (
        Index("one_document_per_part", (("upload", 1), ("position", 1), ("part", 1)), unique=True),
    ),
}  # fmt: skip


class Saved(msgspec.Struct, frozen=True):
    """What became of a layout that was saved. `changed` is false where the library had this content already."""

    version: LayoutVersion
    changed: bool
    warnings: tuple[Violation, ...] = ()


class LayoutDamaged(LmlError):
    """What MongoDB has of a version is not what was stored: nobody may publish, deploy or sell on it."""

    code = "layout_damaged"


async def apply_schema(database: Database) -> None:
    """Makes the collections with their validators (level strict) and unique indexes; safe to call at every start."""
    for name, rules in collection_rules().items():
        await ensure_collection(database, name, rules)
        await ensure_indexes(database, name, INDEXES[name])
    await _take_over_chunks(database)


async def prepare_database(url: str, owner_url: str | None, name: str) -> None:
    """What MongoDB must have before a server of this version runs; safe to repeat, beside running servers.

    With the owner's address it is the owner that makes it, and grants the server's user its rights, no more, no less.
    """
    owner = connect_database(owner_url or url, name)
    try:
        await apply_schema(owner)
        if owner_url is not None:
            sign_in = sign_in_of(url)
            if sign_in is None or sign_in == sign_in_of(owner_url):
                raise InvalidInput("MongoDB: the server needs a user of its own, other than the owner.")
            await grant_role(owner, RIGHTS, sign_in)
    finally:
        close_database(owner)


class Library:
    """The layouts of one database. Every method raises `Unavailable` where MongoDB does not answer in time."""

    def __init__(self, database: Database, clock: Clock = system_clock_ms) -> None:
        self._database = database
        self._clock = clock

    async def save_draft(self, layout: Layout, *, version: int | None = None) -> Saved:
        """Stores a layout as the draft of its id: a new one, or instead of the draft that is there.

        Content that is published already, or is the draft already, changes nothing. `version` asks for that version and
        no other: where it is published and differs, `Refused` (layout_immutable). Raises `InvalidLayout` with every
        broken rule, `Conflict` where somebody else saved at the same moment.
        """
        layout, fingerprint, warnings = await asyncio.to_thread(_checked, layout)
        known = await self.status(layout.layout_id)
        for existing in known:
            if existing.fingerprint == fingerprint and version in (None, existing.version):
                return Saved(existing, False, warnings)
        draft = next((existing for existing in known if existing.state == "draft"), None)
        latest = known[-1].version if known else 0
        target = draft.version if draft else latest + 1
        if version is not None and version != target:
            if any(existing.version == version for existing in known):
                raise Refused("layout_immutable", f"Version {version} of {layout.layout_id} is published and stays so.")
            raise Conflict(f"The next version of {layout.layout_id} is {target}, not {version}.")
        upload = new_id("upload")
        sealed, size_bytes, plan, sections = await asyncio.to_thread(_made, layout, target, upload)
        saved = LayoutVersion(
            layout_id=sealed.layout_id,
            version=target,
            state="draft",
            hash=sealed.hash,
            fingerprint=fingerprint,
            upload=upload,
            name=sealed.name,
            type=sealed.type,
            seat_count=count_seats(sealed),
            place_count=count_places(sealed),
            size_bytes=size_bytes,
            saved_ms=self._clock(),
        )
        async with transaction(self._database) as session:
            # First the one document that others may want, too: who loses has written nothing else yet.
            await self._write_draft(saved, draft, session)
            if draft is not None:
                await _delete_upload(self._database, draft.upload, session)
            await _insert_upload(self._database, plan, sections, session)
        return Saved(saved, True, warnings)

    async def publish(self, layout_id: str) -> LayoutVersion:
        """Makes the draft unchangeable. Raises `NotFound`, or `Conflict` where there is no draft (any more)."""
        known = await self.status(layout_id)
        if not known:
            raise NotFound(f"There is no layout {layout_id}.")
        draft = next((version for version in known if version.state == "draft"), None)
        if draft is None:
            raise Conflict(f"{layout_id} has no draft: version {known[-1].version} is {known[-1].state} already.")
        # Nothing is published whose bytes are not what their hash says.
        await self._load(draft)
        return await self._advance(draft, ("draft",), {"state": "published", "published_ms": self._clock()})

    async def deploy(self, layout_id: str, version: int | None = None) -> LayoutVersion:
        """Makes a published version usable for events; without `version` the latest published one.

        Deploying again changes nothing, but what is stored is looked at again. Raises `NotFound`, `Conflict` for a
        draft and for what is retired, `LayoutDamaged`.
        """
        target = await self._chosen(layout_id, version)
        if target.state == "retired":
            raise Conflict(f"Version {target.version} of {layout_id} is retired: make a new draft from it.")
        await self._load(target)
        if target.state == "deployed":
            return target
        return await self._advance(target, ("published",), {"state": "deployed", "deployed_ms": self._clock()})

    async def retire(self, layout_id: str, version: int) -> LayoutVersion:
        """Takes a version out of use for good: no new event is made on it. Those that are sold on it go on.

        Retiring again changes nothing. Raises `NotFound`, or `Conflict` for a draft.
        """
        target = await self._chosen(layout_id, version)
        if target.state == "retired":
            return target
        change = {"state": "retired", "retired_ms": self._clock()}
        return await self._advance(target, ("published", "deployed"), change)

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
        """Every version that new events may be made on."""
        return await self._find({"state": "deployed"}, [("layout_id", 1), ("version", 1)])

    async def load_bytes(self, layout_id: str, layout_hash: str) -> bytes | None:
        """The canonical bytes of a version that is no draft, verified; None where there is none of that hash.

        Raises `LayoutDamaged` where they are not what was stored.
        """
        found = await self._find({"layout_id": layout_id, "hash": layout_hash, "state": {"$ne": "draft"}}, [])
        return (await self._load(found[0]))[1] if found else None

    async def load_index(self, layout_id: str, version: int) -> LayoutIndex:
        """The index of a version that is no draft, verified. Raises `NotFound`, `LayoutDamaged`."""
        found = await self._find({"layout_id": layout_id, "version": version, "state": {"$ne": "draft"}}, [])
        if not found:
            raise NotFound(f"There is no published version {version} of layout {layout_id}.")
        layout, _ = await self._load(found[0])
        # In a thread: indexing 200,000 seats would hold up every socket for half a second.
        return await asyncio.to_thread(index_layout, layout)

    async def load_layout(self, version: LayoutVersion) -> Layout:
        """A version's layout, verified, drafts too. Raises `NotFound`, `LayoutDamaged`."""
        return (await self._load(version))[0]

    async def _find(self, where: Document, order: list[tuple[str, int]]) -> tuple[LayoutVersion, ...]:
        with driver_errors():
            cursor = self._database[VERSIONS].find(where, limit=limits.LAYOUT_VERSIONS_MAX)
            documents = await (cursor.sort(order) if order else cursor).to_list(length=limits.LAYOUT_VERSIONS_MAX)
        return tuple(map(_version, documents))

    async def _chosen(self, layout_id: str, version: int | None) -> LayoutVersion:
        """The version that is meant, a published one at least; None means the latest that is published or deployed."""
        known = await self.status(layout_id)
        if version is None:
            chosen = [existing for existing in known if existing.state in ("published", "deployed")]
            if known and not chosen:
                raise Conflict(f"{layout_id} has nothing that is published: publish its draft first.")
        else:
            chosen = [existing for existing in known if existing.version == version]
        if not chosen:
            raise NotFound(f"There is no layout {layout_id}{'' if version is None else f', version {version}'}.")
        if chosen[-1].state == "draft":
            raise Conflict(f"Version {chosen[-1].version} of {layout_id} is a draft: publish it first.")
        return chosen[-1]

    async def _advance(self, version: LayoutVersion, from_states: tuple[State, ...], change: Document) -> LayoutVersion:
        """One step of a version's life; the condition is the state and the content that the decision was made on."""
        where: Document = {"_id": _key(version), "hash": version.hash, "upload": version.upload}
        where["state"] = {"$in": list(from_states)}
        with driver_errors():
            answer = await self._database[VERSIONS].update_one(where, {"$set": change})
        if answer.matched_count == 0:
            raise Conflict(f"Version {version.version} of {version.layout_id} was changed by somebody else just now.")
        return msgspec.structs.replace(version, **change)

    async def _write_draft(self, saved: LayoutVersion, before: LayoutVersion | None, session: Session) -> None:
        document = {"_id": _key(saved), **msgspec.to_builtins(saved)}
        with driver_errors():
            if before is None:
                await self._database[VERSIONS].insert_one(document, session=session)
                return
            where = {"_id": _key(saved), "state": "draft", "hash": before.hash, "upload": before.upload}
            answer = await self._database[VERSIONS].replace_one(where, document, session=session)
        if answer.matched_count == 0:
            raise Conflict(f"The draft of {saved.layout_id} was changed by somebody else just now.")

    async def _load(self, version: LayoutVersion) -> tuple[Layout, bytes]:
        """The layout of a version and its canonical bytes, put together and hashed anew."""
        with driver_errors():
            plan = await self._database[PLANS].find_one({"_id": version.upload})
            order = [("position", 1), ("part", 1)]
            cursor = self._database[SECTIONS].find({"upload": version.upload}).sort(order)
            sections = await cursor.to_list(length=limits.LAYOUT_SEATS_MAX)
        if plan is None and version.state == "draft" and version not in await self.status(version.layout_id):
            raise Conflict(f"The draft of {version.layout_id} was changed by somebody else just now.")
        # In a thread: 200,000 seats would hold up every socket for a second.
        return await asyncio.to_thread(_put_together, version, plan, sections)


def _key(version: LayoutVersion) -> str:
    return f"{version.layout_id}:{version.version}"


def _version(document: Document) -> LayoutVersion:
    fields: dict[str, Any] = {name: value for name, value in document.items() if name != "_id"}
    return LayoutVersion(**fields)


def _checked(layout: Layout) -> tuple[Layout, str, tuple[Violation, ...]]:
    """The sealed layout, its fingerprint, and what is odd in it."""
    report, sealed = check_and_seal(in_nfc(layout))
    if sealed is None:
        raise InvalidLayout(report)
    first = sealed if sealed.version == 1 else spell_layout(msgspec.structs.replace(sealed, version=1))[0]
    return sealed, first.hash, report.warnings


def _made(layout: Layout, version: int, upload: str) -> tuple[Layout, int, Document, list[Document]]:
    """The sealed layout under another version number, the size of its bytes, and its documents."""
    sealed, size_bytes = spell_layout(msgspec.structs.replace(layout, version=version))
    return sealed, size_bytes, *documents_of(sealed, upload)


def _put_together(version: LayoutVersion, plan: Document | None, sections: list[Document]) -> tuple[Layout, bytes]:
    damaged = LayoutDamaged(f"What is stored of {_key(version)} does not have the hash {version.hash}.")
    if plan is None:
        raise damaged
    try:
        layout = layout_of(plan, sections)
        data = canonical_bytes(layout)
    except (msgspec.ValidationError, ValueError) as error:
        raise damaged from error
    if (layout.layout_id, layout.version) != (version.layout_id, version.version) or not verify_bytes(
        data, version.hash
    ):
        raise damaged
    return layout, data


async def _insert_upload(database: Database, plan: Document, sections: list[Document], session: Session) -> None:
    with driver_errors():
        await database[PLANS].insert_one(plan, session=session)
        await database[SECTIONS].insert_many(sections, session=session)


async def _delete_upload(database: Database, upload: str, session: Session) -> None:
    with driver_errors():
        await database[PLANS].delete_one({"_id": upload}, session=session)
        await database[SECTIONS].delete_many({"upload": upload}, session=session)


# --- What an earlier version of this program stored


async def _take_over_chunks(database: Database) -> None:
    """Layouts were once stored as chunks of their bytes: each becomes documents, in a transaction of its own.

    One whose bytes do not have their hash stays as it is, and is damaged from then on as it was before.
    """
    with driver_errors():
        waiting = await database[CHUNKS].distinct("upload")
    for upload in waiting:
        # Where another process does the same just now, one of the two is enough.
        with contextlib.suppress(Conflict):
            await _take_over(database, upload)


async def _take_over(database: Database, upload: str) -> None:
    with driver_errors():
        found = await database[VERSIONS].find_one({"upload": upload})
        chunks = await database[CHUNKS].find({"upload": upload}).sort("position", 1).to_list(length=None)
    data = b"".join(chunk["data"] for chunk in chunks)
    if found is not None and not await asyncio.to_thread(verify_bytes, data, found["hash"]):
        return
    async with transaction(database) as session:
        if found is not None:
            layout = await asyncio.to_thread(decode_layout, data)
            plan, sections = await asyncio.to_thread(documents_of, layout, upload)
            await _insert_upload(database, plan, sections, session)
        with driver_errors():
            await database[CHUNKS].delete_many({"upload": upload}, session=session)
