"""What was forged in MongoDB with all its hashes goes nowhere: not to the edge, not to a buyer; what is right does."""

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_scrubbing import HALL, concert, on_sale, pool, rehash

from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.layout_record import KnownLayouts, LayoutRecord
from lml_live.backoffice.layout_steps import Drafted, record_step
from lml_live.backoffice.retention import Retention
from lml_live.backoffice.trail import Trail
from lml_live.errors import Conflict, NotFound, Unavailable
from lml_live.gateway.holders import LayoutCache
from lml_live.infra import postgres
from lml_live.infra.config import Settings
from lml_live.infra.s3 import Objects, open_objects
from lml_live.infra.stores import open_store
from lml_live.pricing.catalogue import Catalogue
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.backups import Backups
from lml_live.venues.copies import Copies
from lml_live.venues.edge import Pointer, object_key
from lml_live.venues.layout import canonical_bytes, seal_layout
from lml_live.venues.library import Library
from lml_live.venues.own_edge import OwnEdge
from lml_live.venues.publishing import ensure_published, push_version
from lml_live.venues.pushing import Edge, Region
from lml_live.venues.retention import Backup, Policy
from lml_live.venues.stored import PLANS, SECTIONS, VERSIONS, LayoutVersion

__all__ = ["pool"]


class House:
    """A library with a record and backups, and what a worker has of it when it has just started."""

    def __init__(self, database: Any, pool: postgres.Pool, folder: Path) -> None:
        self.database, self.pool, self.trail = database, pool, Trail(pool)
        self.backups = Backups(lambda: open_store(Settings(data_dir=folder), None))
        self.library = Library(database, backups=self.backups, history=LayoutRecord(pool))

    def worker(self) -> DeployedLayouts:
        return DeployedLayouts(self.library, Copies(Settings(), self.backups), KnownLayouts(self.pool))

    def own_edge(self) -> OwnEdge:
        return OwnEdge(self.library, LayoutCache(self.worker()).find)

    async def publish_another(self, number: int = 2) -> LayoutVersion:
        """A second version (or third…), with every step on record."""
        name = "Second" if number == 2 else f"Number {number}"
        saved = await self.library.save_draft(seal_layout(msgspec.structs.replace(HALL, name=name, hash="")))
        await record_step(self.trail, "saved", Drafted(saved.version))
        published = await self.library.publish("hall")
        await record_step(self.trail, "published", published)
        return published

    async def deploy_another(self, number: int = 2) -> str:
        """The same, and deployed; its hash."""
        await self.publish_another(number)
        deployed = await self.library.deploy("hall")
        await record_step(self.trail, "deployed", deployed)
        return deployed.hash


@pytest.fixture
async def house(mongo_database: Any, pool: postgres.Pool, tmp_path: Path) -> House:
    house = House(mongo_database, pool, tmp_path)
    await on_sale(house.library, house.trail)
    return house


@pytest.fixture
async def objects(s3_endpoint_url: str) -> AsyncIterator[Objects]:
    async with open_objects(f"layouts-{secrets.token_hex(6)}", endpoint_url=s3_endpoint_url) as opened:
        yield opened


async def pointer_of(own: OwnEdge) -> Pointer:
    served = await own.find("hall", "current.json")
    assert served is not None
    return msgspec.json.decode(served.data, type=Pointer)


async def test_what_was_forged_is_not_pushed(house: House, objects: Objects) -> None:
    """`push` and the leading worker's copies read what MongoDB had, right in itself, and moved the pointer to it."""
    edge = Edge([Region("home", objects)])
    assert not (await ensure_published(house.library, edge)).failed
    await house.deploy_another()
    forged = await rehash(house.database)
    copied = await ensure_published(house.library, edge)
    assert (copied.uploaded, copied.failed) == ((), (f"hall/{forged}",))
    with pytest.raises(LayoutDamaged, match="has the hash"):
        await push_version(house.library, edge, await house.library.deployed("hall"))
    assert await objects.get_object(object_key("hall", forged)) is None
    pointer = await edge.pointer("hall")
    assert pointer is not None
    assert (pointer.version, pointer.hash) == (1, HALL.hash)


async def test_what_nobody_deployed_is_not_pushed(house: House, objects: Objects) -> None:
    published = await house.publish_another()
    forward = {"state": "deployed", "deployed_ms": published.published_ms}
    await house.database[VERSIONS].update_one({"version": 2}, {"$set": forward})
    edge = Edge([Region("home", objects)])
    copied = await ensure_published(house.library, edge)
    assert (copied.uploaded, copied.failed) == ((f"hall/{HALL.hash}",), (f"hall/{published.hash}",))
    assert (await pointer_of(house.own_edge())).hash == HALL.hash
    for attempt in (house.library.deployed("hall"), house.worker().deployed_index("hall", 2)):
        with pytest.raises(LayoutDamaged, match="nobody is on record"):
            await attempt


@pytest.mark.parametrize("seen", [False, True])
async def test_the_server_s_own_edge_shows_what_is_on_record(
    house: House, seen: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The pointer went to the forged hash, and its objects were there for ever."""
    second = await house.deploy_another()
    own = house.own_edge()
    before = await pointer_of(own) if seen else None
    forged = await rehash(house.database)
    own = own if seen else house.own_edge()
    with caplog.at_level(logging.ERROR):
        pointer = await pointer_of(own)
    assert (pointer.version, pointer.hash, [step.hash for step in pointer.history]) == (2, second, [HALL.hash])
    assert before is None or pointer.manifest_sha256 == before.manifest_sha256
    assert "layout hall is served as it is on record" in caplog.text
    for suffix in ("json", "json.gz", "manifest.json"):
        assert await own.find("hall", f"{forged}.{suffix}") is None
        assert await own.find("hall", f"{second}.{suffix}") is not None
    assert await house.worker().load_bytes("hall", forged) is None


@pytest.mark.parametrize("damaged", [1, 2])
async def test_a_damaged_version_keeps_no_other_from_the_pointer(house: House, damaged: int) -> None:
    """Any version that the pointer remembers, if it was damaged, and there was no pointer at all."""
    second = await house.deploy_another()
    upload = (await house.library.status("hall"))[damaged - 1].upload
    changed = {"section.rows.0.seats.0.category": "Cheap"}
    await house.database[SECTIONS].update_one({"upload": upload, "position": 0}, {"$set": changed})
    own = OwnEdge(house.library, LayoutCache(DeployedLayouts(house.library)).find)
    pointer = await pointer_of(own)
    assert (pointer.hash, pointer.history) == ((second if damaged == 1 else HALL.hash), ())
    await house.database[SECTIONS].update_many({"position": 0}, {"$set": changed})
    with pytest.raises(LayoutDamaged):
        await OwnEdge(house.library, LayoutCache(DeployedLayouts(house.library)).find).find("hall", "current.json")


@pytest.mark.parametrize("damage", ["forged", "gone", "sections"])
async def test_a_worker_that_has_just_started_serves_what_is_sold_on(house: House, damage: str) -> None:
    """Buyers had no map until somebody asked for the event: only what the worker had at hand was looked for."""
    event = await Catalogue(house.pool, DeployedLayouts(house.library)).create_event(concert())
    if damage == "forged":
        await rehash(house.database)
    elif damage == "gone":
        await house.database[VERSIONS].delete_many({})
    else:
        await house.database[SECTIONS].delete_many({})
    assert await house.worker().load_bytes("hall", event.layout_hash) == canonical_bytes(HALL)


async def test_whoever_guesses_hashes_has_neither_store_nor_record_searched(house: House) -> None:
    asked: list[str] = []

    class Store:
        async def find(self, _layout_id: str, layout_hash: str) -> bytes | None:
            asked.append(layout_hash)
            return None

    now = 0.0
    known = KnownLayouts(house.pool, lambda: now)
    layouts = DeployedLayouts(house.library, Store(), known)
    await house.database[VERSIONS].delete_many({})
    for number in range(20):
        assert await layouts.load_bytes("hall", f"{number:064}") is None
    assert await layouts.load_bytes("other", HALL.hash) is None
    assert asked == []
    assert await layouts.load_bytes("hall", HALL.hash) is None
    assert asked == [HALL.hash]
    # What is new is known by the next look, and looks do not come faster for strangers.
    second = await house.publish_another()
    assert not await known.has("hall", second.hash)
    now = 5.0
    assert await known.has("hall", second.hash)


async def test_whoever_guesses_does_not_wait_for_a_record_that_is_away_each_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looks = 0.0, 0
    known = KnownLayouts(house.pool, lambda: now)
    layouts = DeployedLayouts(house.library, Copies(Settings(), house.backups), known)

    @asynccontextmanager
    async def away(_pool: postgres.Pool) -> AsyncIterator[None]:
        nonlocal looks
        looks += 1
        raise Unavailable("away")
        yield

    with monkeypatch.context() as patched:
        patched.setattr("lml_live.backoffice.layout_record.postgres.connection", away)
        for number in range(20):
            with pytest.raises(Unavailable):
                await known.has("hall", f"{number:064}")
        assert await layouts.load_bytes("hall", "0" * 64) is None, "MongoDB is sure that there is none"
        assert looks == 1
    now = 5.0
    assert await known.has("hall", HALL.hash)


async def test_the_record_is_not_asked_by_every_stranger(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked, ask = 0.0, 0, house.library.ever_deployed

    async def counted(known: tuple[LayoutVersion, ...]) -> tuple[tuple[LayoutVersion, ...], bool]:
        nonlocal asked
        asked += 1
        return await ask(known)

    monkeypatch.setattr(house.library, "ever_deployed", counted)
    own = OwnEdge(house.library, LayoutCache(house.worker()).find, monotonic=lambda: now)

    async def crowd() -> int:
        for _ in range(10):
            assert (await pointer_of(own)).hash == HALL.hash
        return asked

    assert await crowd() == 1
    now = 60.0
    assert await crowd() == 1, "what is right stays so"
    await rehash(house.database)
    assert await crowd() == 2
    now = 65.0
    assert await crowd() == 3, "it may have been mended"


async def test_no_link_is_made_to_what_was_forged(house: House) -> None:
    await rehash(house.database)
    with pytest.raises(LayoutDamaged):
        await house.library.deployed("hall", 1)
    with pytest.raises(Conflict):
        await house.library.deployed("hall", 2)


async def test_what_is_on_record_keeps_its_backup_and_what_was_forged_gets_none(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """After a rehash the hourly look backed the forgery up and, as MongoDB named no other hash, thinned out the only
    backup of what had been deployed."""
    [good] = await house.backups.of_layout("hall")
    await rehash(house.database)
    # Put there before anybody looked: by a server of before, or by whoever may write to the store.
    unrecorded = Library(house.database, backups=house.backups)
    forgery = await unrecorded.back_up("hall")
    retention = Retention(house.pool, house.library, house.backups, Policy(1, 0, 0))
    await retention.look()
    assert await house.backups.of_layout("hall") == [forgery, good]
    with pytest.raises(LayoutDamaged, match="has the hash"):
        await house.library.back_up("hall", reason="asked")
    await remove(house, forgery)
    with caplog.at_level(logging.ERROR):
        await retention.look()
    assert await house.backups.of_layout("hall") == [good]
    assert "hall:1 is in use and may have no backup" in caplog.text
    # Retired, the last of its layout, and sold on by nobody: it is the last good one all the same.
    await unrecorded.back_up("hall")
    await record_step(house.trail, "retired", await house.library.mend("hall", 1, canonical_bytes(HALL)))
    await retention.look()
    assert good in await house.backups.of_layout("hall")


async def remove(house: House, backup: Backup) -> None:
    await (await house.backups._opened()).remove_object(backup.key)


async def test_restored_without_an_id_is_what_is_on_record(house: House) -> None:
    """The newest whole backup was taken, which is whatever was forged last."""
    [good] = await house.backups.of_layout("hall")
    await rehash(house.database)
    forgery = await Library(house.database, backups=house.backups).back_up("hall")
    restored = await house.library.restore("hall")
    assert (restored.changed, restored.backup) == (True, good)
    assert restored.version.fingerprint == HALL.hash
    # Twice is once: it is the draft already, though a version's number is in its hash.
    again = await house.library.restore("hall")
    assert (again.changed, again.version, again.backup) == (False, restored.version, good)
    # By its id somebody means it; and where none is on record the newest must do.
    assert (await house.library.restore("hall", forgery.id, replace=True)).backup == forgery
    alone = Library(house.database, backups=house.backups)
    newest = (await house.backups.of_layout("hall"))[0]
    assert (await alone.restore("hall", replace=True)).backup == newest


async def test_a_draft_of_the_same_content_that_is_damaged_is_restored(house: House) -> None:
    restored = await house.library.restore("hall")
    await house.database[SECTIONS].delete_many({"upload": restored.version.upload})
    again = await house.library.restore("hall", replace=True)
    assert again.changed
    assert (await house.library.load_draft_bytes(again.version)) != b""


@pytest.mark.parametrize("content_left", [True, False])
async def test_a_version_that_mongodb_has_lost_is_put_back(house: House, content_left: bool) -> None:
    """Record and backup were there, and `mend` knew no such version."""
    [was] = await house.library.status("hall")
    for name in (VERSIONS,) if content_left else (VERSIONS, PLANS, SECTIONS):
        await house.database[name].delete_many({})
    assert await house.library.hash_of("hall", 1) == HALL.hash
    with pytest.raises(LayoutDamaged):
        await house.library.mend("hall", 1, canonical_bytes(seal_layout(msgspec.structs.replace(HALL, name="No"))))
    mended = await house.library.mend("hall", 1, canonical_bytes(HALL))
    [now] = await house.library.status("hall")
    assert (now, now.state, now.hash, now.fingerprint, now.size_bytes) == (
        *(mended, "deployed", was.hash, was.fingerprint, was.size_bytes),
    )
    assert await house.database[PLANS].count_documents({}) == 1
    assert await house.database[SECTIONS].count_documents({}) == len(HALL.sections)
    assert (await Catalogue(house.pool, house.worker()).create_event(concert())).layout_hash == HALL.hash
    with pytest.raises(NotFound):
        await house.library.mend("hall", 2, canonical_bytes(HALL))


async def test_publishing_again_reads_what_was_published(house: House) -> None:
    """Whoever asked again heard that all is well of a version of which a seat was another by then."""
    await house.database[SECTIONS].update_one({"position": 0}, {"$set": {"section.rows.0.seats.0.category": "Cheap"}})
    with pytest.raises(LayoutDamaged, match="does not have the hash"):
        await house.library.publish_seen("hall", HALL.hash)


async def test_what_is_forged_between_two_looks_is_not_sold_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record was asked of one hash, and the index read of the next."""
    look = house.library.newest_deployed

    async def overtaken(layout_id: str, version: int | None = None) -> LayoutVersion | None:
        found = await look(layout_id, version)
        await rehash(house.database)
        return found

    monkeypatch.setattr(house.library, "newest_deployed", overtaken)
    with pytest.raises(LayoutDamaged, match="another than a moment ago"):
        await Catalogue(house.pool, house.worker()).create_event(concert())


async def test_a_version_whose_record_stops_at_another_draft_is_taken_again(house: House) -> None:
    """PostgreSQL was restored from before its steps, or a command took them where none was: it was stuck for good."""
    first = await house.library.save_draft(seal_layout(msgspec.structs.replace(HALL, name="First thought", hash="")))
    await record_step(house.trail, "saved", Drafted(first.version))
    await house.library.save_draft(seal_layout(msgspec.structs.replace(HALL, name="Second thought", hash="")))
    without = Library(house.database)
    published = await without.publish("hall")
    await without.deploy("hall")
    assert published.hash != first.version.hash
    with pytest.raises(LayoutDamaged, match="nobody is on record to have deployed it"):
        await house.worker().deployed_index("hall", published.version)
    with pytest.raises(LayoutDamaged, match="nobody is on record to have published it"):
        await house.library.deploy("hall", published.version)
    await record_step(house.trail, "published", await house.library.publish_seen("hall", published.hash))
    await record_step(house.trail, "deployed", await house.library.deploy("hall", published.version))
    index = await house.worker().deployed_index("hall", published.version)
    assert index is not None
    assert index.hash == published.hash


async def test_the_bytes_on_record_are_served_whatever_became_of_their_state(house: House) -> None:
    """MongoDB was restored to when the version was only published; the plan of a sale was gone with that."""
    digest = await house.deploy_another()
    await house.database[VERSIONS].update_one({"hash": digest}, {"$set": {"state": "published", "deployed_ms": None}})
    data = await house.library.load_bytes("hall", digest)
    assert data is not None
    with pytest.raises(LayoutDamaged):
        await house.library.deploy("hall")
