"""A version that nobody is on record to have published takes no step, by whichever door it comes: no draft is begun
with it, it is not retired, backed up or served, and what was put on record of it before that says nothing for it."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from test_forged_layouts import House, house, objects, pointer_of
from test_scrubbing import HALL, deployed, pool, rehash

from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.layout_record import KnownLayouts, LayoutRecord, find_set_back
from lml_live.backoffice.layout_steps import record_step
from lml_live.backoffice.retention import Retention
from lml_live.errors import Unavailable
from lml_live.gateway.holders import LayoutCache
from lml_live.infra.s3 import Objects
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.layout import canonical_bytes, seal_layout
from lml_live.venues.library import Library
from lml_live.venues.past import Past
from lml_live.venues.publishing import ensure_published
from lml_live.venues.pushing import Edge, Region
from lml_live.venues.retention import Policy
from lml_live.venues.stored import SECTIONS, VERSIONS, LayoutVersion

__all__ = ["house", "objects", "pool"]

UNSAID = "nobody is on record to have published it"


async def forge(database: Any, name: str = "Forged") -> LayoutVersion:
    """A deployed version that is right in itself, as somebody writes it who may write to MongoDB and nothing else."""
    alone = Library(database)
    await alone.save_draft(seal_layout(msgspec.structs.replace(HALL, name=name, hash="")))
    await alone.publish("hall")
    return await alone.deploy("hall")


async def test_no_step_is_taken_with_what_nobody_published(house: House) -> None:
    """A draft begun with it was published, deployed and sold on; retired or backed up it was genuine."""
    forged = await forge(house.database)
    before = await house.backups.of_layout("hall")
    for attempt in (
        house.library.begin_draft("hall", 2),
        house.library.retire("hall", 2),
        house.library.back_up("hall", 2),
        house.library.back_up("hall"),
    ):
        with pytest.raises(LayoutDamaged, match=f"{UNSAID}.*publishing it by its hash"):
            await attempt
    assert [each.state for each in await house.library.status("hall")] == ["deployed", "deployed"]
    assert await house.backups.of_layout("hall") == before
    assert [each.version for each in await find_set_back(LayoutRecord(house.pool), house.library)] == [2]
    # Whoever did it says so by its hash, and it is as any other.
    await record_step(house.trail, "published", await house.library.publish_seen("hall", forged.hash))
    assert (await house.library.back_up("hall", 2)).hash == forged.hash
    await record_step(house.trail, "retired", await house.library.retire("hall", 2))
    assert (await house.library.begin_draft("hall", 2)).version == 3


async def test_what_was_set_back_to_a_draft_is_not_backed_up(house: House) -> None:
    await house.database[VERSIONS].update_one(
        {}, {"$set": {"state": "draft", "published_ms": None, "deployed_ms": None}}
    )
    with pytest.raises(LayoutDamaged, match="is draft in MongoDB, but was deployed"):
        await house.library.back_up("hall")


@pytest.mark.parametrize("recorded", [False, True])
async def test_what_is_retired_and_was_never_published_is_nothing(house: House, recorded: bool) -> None:
    """Forged as retired; or retired by a server of before, which put its hash on record as if it had been genuine."""
    forged = await forge(house.database)
    alone = Library(house.database, backups=house.backups)
    await alone.back_up("hall", 2)
    retired = await alone.retire("hall", 2)
    if recorded:
        await record_step(house.trail, "retired", retired)
    assert (await pointer_of(house.own_edge())).hash == HALL.hash
    assert await house.own_edge().find("hall", f"{forged.hash}.json") is None
    assert await house.worker().load_bytes("hall", forged.hash) is None
    assert not await KnownLayouts(house.pool).has("hall", forged.hash)
    assert forged.hash not in await LayoutRecord(house.pool).hashes_of("hall")
    for attempt in (house.library.begin_draft("hall", 2), house.library.retire("hall", 2)):
        with pytest.raises(LayoutDamaged, match=f"{UNSAID}.*as a new draft"):
            await attempt
    restored = await house.library.restore("hall")
    assert restored.backup is not None
    assert (restored.backup.version, restored.backup.hash) == (1, HALL.hash)
    told = [(each.version, each.why) for each in await find_set_back(LayoutRecord(house.pool), house.library)]
    assert told == ([(2, f"is retired in MongoDB, and {UNSAID}")] if recorded else [])


async def test_a_forgery_that_was_retired_takes_no_backup_away(house: House) -> None:
    """It was the latest on record, and the last good one of the version before was thinned out."""
    await record_step(house.trail, "retired", await house.library.retire("hall", 1))
    [good] = await house.backups.of_layout("hall")
    await forge(house.database)
    alone = Library(house.database, backups=house.backups)
    await alone.back_up("hall", 2)
    await record_step(house.trail, "retired", await alone.retire("hall", 2))
    await Retention(house.pool, house.library, house.backups, Policy(1, 0, 0)).look()
    assert good in await house.backups.of_layout("hall")


async def test_what_was_published_and_retired_was_deployed_only_if_that_is_on_record(house: House) -> None:
    """A moment of deploying, written into MongoDB beside, moved the pointer to what was only ever published."""
    published = await house.publish_another()
    await record_step(house.trail, "retired", await house.library.retire("hall", 2))
    forward = {"deployed_ms": published.published_ms}
    await house.database[VERSIONS].update_one({"version": 2}, {"$set": forward}, bypass_document_validation=True)
    assert (await pointer_of(house.own_edge())).hash == HALL.hash
    # What was deployed, and is retired, lies at an edge for ever.
    third = await house.deploy_another(3)
    await record_step(house.trail, "retired", await house.library.retire("hall", 3))
    assert (await pointer_of(house.own_edge())).hash == third


async def test_versions_from_before_there_was_a_record_go_on(house: House) -> None:
    """They are retired, begun with, backed up, restored, pointed to and served with nothing on record of them."""
    old = Library(house.database, backups=house.backups, history=LayoutRecord(house.pool))
    for layout_id in ("old", "older"):
        await deployed(Library(house.database), layout_id)
    [first] = await old.status("old")
    backup = await old.back_up("old")
    assert backup.hash == first.hash
    worker = house.worker()
    assert await worker.load_bytes("old", first.hash) is not None
    await record_step(house.trail, "retired", await old.retire("old", 1))
    assert await KnownLayouts(house.pool).has("old", first.hash)
    assert first.hash in await LayoutRecord(house.pool).hashes_of("old")
    own = house.own_edge()
    served = await own.find("old", "current.json")
    assert served is not None
    assert first.hash.encode() in served.data
    begun = await old.begin_draft("old", 1)
    assert (begun.version, begun.fingerprint) == (2, first.fingerprint)
    assert await worker.load_bytes("old", first.hash) is not None
    assert await find_set_back(LayoutRecord(house.pool), old) == []
    # The last good one of it is kept, as of whatever is the latest on record.
    assert (await old.back_up("old", 2)).hash == begun.hash
    await Retention(house.pool, old, house.backups, Policy(1, 0, 0)).look()
    assert backup in await house.backups.of_layout("old")


async def test_bytes_that_are_not_on_record_are_unknown(house: House) -> None:
    """Anybody had them by their hash: of a version that nobody published, of a draft made one, of one rehashed."""
    saved = await house.library.save_draft(seal_layout(msgspec.structs.replace(HALL, name="Draft", hash="")))
    forward = {"state": "published", "published_ms": saved.version.saved_ms}
    await house.database[VERSIONS].update_one({"version": 2}, {"$set": forward})
    forged = await forge(house.database)
    rehashed = await rehash(house.database)
    cache = LayoutCache(house.worker())
    for digest in (saved.version.hash, forged.hash, rehashed):
        assert await cache.find("hall", digest) is None
    found = await cache.find("hall", HALL.hash)
    assert found is not None
    assert found[0] == canonical_bytes(HALL)


class Counted:
    """A record that counts how often it is asked, and may be away."""

    def __init__(self, record: LayoutRecord) -> None:
        self.record, self.asked, self.away = record, 0, False

    async def of_layout(self, layout_id: str) -> Mapping[int, Past]:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return await self.record.of_layout(layout_id)

    async def hashes_of(self, layout_id: str) -> frozenset[str]:
        return await self.record.hashes_of(layout_id)


async def test_the_record_is_asked_once_for_what_is_served_and_now_and_then_for_what_is_not(house: House) -> None:
    now, record = 0.0, Counted(LayoutRecord(house.pool))
    library = Library(house.database, history=record, monotonic=lambda: now)
    cache = LayoutCache(DeployedLayouts(library))
    for _ in range(20):
        assert await cache.find("hall", HALL.hash) is not None
    assert record.asked == 1
    forged = await forge(house.database)
    for _ in range(20):
        assert await cache.find("hall", forged.hash) is None
    assert record.asked == 2
    now = 5.0
    record.away = True
    assert await cache.find("hall", forged.hash) is None, "it was no other before the record was away"
    record.away = False
    await record_step(house.trail, "published", forged)
    assert await cache.find("hall", forged.hash) is not None


async def test_a_forgery_is_told_once_until_it_is_another(
    house: House, objects: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    """Each look at the edge said it again, once a minute and without end."""
    edge = Edge([Region("home", objects)])

    async def told(act: Any) -> int:
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                await act()
        return len([record for record in caplog.records if "nothing is done with it" in record.message])

    async def look() -> None:
        await ensure_published(house.library, edge)

    async def step() -> None:
        with pytest.raises(LayoutDamaged):
            await house.library.retire("hall", 2)

    await forge(house.database)
    assert await told(look) == 1
    assert await told(step) == 0, "whatever is done with it"
    await rehash(house.database)
    assert await told(look) == 1, "another"
    # Put right, and forged again to the very same.
    good = house.database[VERSIONS]
    [first, _] = await house.library.status("hall")
    await good.delete_one({"version": 2})
    wrong = {"hash": "0" * 64}
    for _ in range(2):
        await good.update_one({"version": 1}, {"$set": wrong})
        assert await told(look) == 1
        await good.update_one({"version": 1}, {"$set": {"hash": first.hash}})
        assert await told(look) == 0
        assert (await house.library.deployed("hall")).hash == first.hash


async def test_damaged_content_is_told_once_until_it_is_whole(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def told(category: str) -> int:
        changed = {"section.rows.0.seats.0.category": category}
        await house.database[SECTIONS].update_one({"position": 0}, {"$set": changed})
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                await house.library.scrub((await house.library.status("hall"))[0])
        return caplog.text.count("does not have the hash")

    was = HALL.sections[0].rows[0].seats[0].category
    assert [await told(category) for category in ("Cheap", was, "Cheap")] == [1, 0, 1]
