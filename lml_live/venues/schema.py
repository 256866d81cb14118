"""What MongoDB must have before layouts are stored: collections, rules, indexes, the server's user; and how a layout's
documents are put in and taken out."""

import asyncio
import contextlib
from typing import Final

from lml_live.errors import Conflict, InvalidInput
from lml_live.infra.mongo import (
    Collections,
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
from lml_live.venues.layout import decode_layout, verify_bytes
from lml_live.venues.stored import (
    CHUNKS,
    PLANS,
    RIGHTS,
    SCRATCH,
    SECTIONS,
    VERSIONS,
    collection_rules,
    documents_of,
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


async def apply_schema(database: Database) -> None:
    """Makes the collections with their validators (level strict) and unique indexes; safe to call at every start.

    Each is there twice: once more for the scratch documents of the self-check.
    """
    for name, rules in collection_rules().items():
        for place in (name, SCRATCH + name):
            await ensure_collection(database, place, rules)
            await ensure_indexes(database, place, INDEXES[name])
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


async def insert_upload(database: Collections, plan: Document, sections: list[Document], session: Session) -> None:
    """Stores a layout's documents (`stored.documents_of`) in a transaction."""
    with driver_errors():
        await database[PLANS].insert_one(plan, session=session)
        await database[SECTIONS].insert_many(sections, session=session)


async def delete_upload(database: Collections, upload: str, session: Session) -> None:
    """Takes all documents of an upload away in a transaction."""
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
            await insert_upload(database, plan, sections, session)
        with driver_errors():
            await database[CHUNKS].delete_many({"upload": upload}, session=session)
