"""What is changed in MongoDB behind everybody's back is found by the scrub, told, and not sold on."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from waiting import eventually

from lml_live import limits
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.layout_record import LayoutRecord, find_set_back
from lml_live.backoffice.layout_steps import Drafted, record_step
from lml_live.backoffice.scrubbing import Scrubbing, find_astray
from lml_live.backoffice.trail import Trail
from lml_live.cli.doctor import examine
from lml_live.infra import postgres
from lml_live.infra.telemetry import METRICS
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import LayoutChoice, NewEvent
from lml_live.pricing.quote import Price
from lml_live.venues.assembly import LayoutDamaged, described
from lml_live.venues.demo import generate_venue
from lml_live.venues.layout import canonical_bytes, seal_layout, spell_layout
from lml_live.venues.library import Library
from lml_live.venues.normal_form import in_nfc
from lml_live.venues.stored import PLANS, SECTIONS, VERSIONS, LayoutVersion, documents_of, layout_of

HALL = generate_venue(30, "hall")


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[postgres.Pool]:
    pool = await postgres.connect_pool(postgres_dsn)
    yield pool
    await pool.close()


def concert(layout_id: str = "hall") -> NewEvent:
    categories = sorted({seat.category for section in HALL.sections for row in section.rows for seat in row.seats})
    return NewEvent(
        name="Show",
        venue="Hall",
        starts_at=datetime(2030, 5, 1, 19, 30, tzinfo=UTC),
        currency="EUR",
        layout=LayoutChoice(layout_id),
        prices=tuple(Price(category=category, amount=100) for category in categories),
    )


async def deployed(library: Library, layout_id: str) -> None:
    await library.save_draft(generate_venue(30, layout_id))
    await library.publish(layout_id)
    await library.deploy(layout_id)


async def test_content_that_was_changed_is_found_told_and_not_sold_on(
    mongo_database: Any, mongo_url: str, pool: postgres.Pool, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    library = Library(mongo_database)
    layouts = DeployedLayouts(library)
    catalogue, scrub = Catalogue(pool, layouts), Scrubbing(pool, library)
    for layout_id in ("aula", "hall"):
        await deployed(library, layout_id)
    event = await catalogue.create_event(concert())
    for _ in range(2):
        await scrub.step()
    await scrub.compare()
    assert (await library.damaged_versions(), await find_astray(pool, library)) == ((), [])
    settings = {"LML_MONGO_URL": mongo_url, "LML_DATA_DIR": str(tmp_path), "LML_PORT": "0"}

    where = {"layout_id": "hall", "position": 0}
    before = await mongo_database[SECTIONS].find_one(where)
    await mongo_database[SECTIONS].update_one(where, {"$set": {"section.rows.0.seats.0.category": "Cheap"}})
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            await scrub.step()
    assert "What is stored of hall:1 does not have the hash" in caplog.text
    [damaged] = await library.damaged_versions()
    assert (damaged.layout_id, damaged.version, damaged.state) == ("hall", 1, "deployed")
    assert METRICS.layouts_damaged._value.get() == 1
    found = [finding async for finding in examine(settings | {"LML_MONGO_DATABASE": mongo_database.name})]
    assert any("hall version 1 is not what was stored" in each.text for each in found if each.level == "fail")
    with pytest.raises(LayoutDamaged):
        await catalogue.create_event(concert())
    # The sale that is on goes on: what a worker knows by heart is what was published (F19).
    assert (await layouts.index("hall", 1, event.layout_hash)).hash == event.layout_hash
    with pytest.raises(LayoutDamaged):
        await DeployedLayouts(library).index("hall", 1, event.layout_hash)

    await mongo_database[SECTIONS].replace_one({"_id": before["_id"]}, before)
    for _ in range(2):
        await scrub.step()
    assert await library.damaged_versions() == ()
    await catalogue.create_event(concert())
    found = [f async for f in examine(settings | {"LML_MONGO_DATABASE": mongo_database.name}, layouts=True)]
    assert {(each.subject, each.level) for each in found if "of layouts were tried" in each.text} == {
        ("rules", "ok"),
        ("immutability", "ok"),
    }


async def test_content_and_hash_changed_alike_are_found_by_the_events(mongo_database: Any, pool: postgres.Pool) -> None:
    """Whoever owns MongoDB can make a layout that is right in itself; it is not the one that PostgreSQL knows."""
    library = Library(mongo_database)
    await deployed(library, "hall")
    event = await Catalogue(pool, DeployedLayouts(library)).create_event(concert())
    [version] = await library.status("hall")
    forged = seal_layout(generate_venue(29, "hall"))
    plan, sections = documents_of(forged, version.upload)
    await mongo_database[PLANS].delete_many({})
    await mongo_database[SECTIONS].delete_many({})
    await mongo_database[PLANS].insert_one(plan)
    await mongo_database[SECTIONS].insert_many(sections)
    true = described(version, forged, spell_layout(forged), len(canonical_bytes(forged)))
    await mongo_database[VERSIONS].update_one(
        {}, {"$set": msgspec.to_builtins(msgspec.structs.replace(true, hash=forged.hash))}
    )
    assert await library.scrub((await library.status("hall"))[0]), "it is right in itself"
    with pytest.raises(LayoutDamaged, match="another hash than the event"):
        await DeployedLayouts(library).index("hall", 1, event.layout_hash)
    [astray] = await find_astray(pool, library)
    assert (astray.event, astray.why.split(";")[0]) == (event.id, f"has the hash {forged.hash} there")
    draft_again = {"hash": event.layout_hash, "state": "draft", "published_ms": None, "deployed_ms": None}
    await mongo_database[VERSIONS].update_one({}, {"$set": draft_again})
    assert [each.why for each in await find_astray(pool, library)] == ["is a draft there again"]
    await mongo_database[VERSIONS].delete_many({})
    scrub = Scrubbing(pool, library)
    await scrub.compare()
    assert METRICS.events_astray._value.get() == 1
    assert [each.why for each in await find_astray(pool, library)] == ["is not in MongoDB"]


async def test_what_was_written_past_the_rules_is_told_and_hinders_no_other(
    mongo_database: Any, mongo_url: str, pool: postgres.Pool, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    """One version's document with a field too much: no list of layouts was read any more, the scrub stood still before
    it, and a worker did not even look for the copy of what it sells on."""
    library = Library(mongo_database)
    for layout_id in ("aula", "hall"):
        await deployed(library, layout_id)
    await mongo_database[VERSIONS].update_one(
        {"layout_id": "aula"}, {"$set": {"note": "x"}}, bypass_document_validation=True
    )
    assert [version.layout_id for version in await library.list_layouts()] == ["hall"]
    assert [version.layout_id for version in await library.deployed_versions()] == ["hall"]
    for attempt in (library.status("aula"), library.publish("aula"), DeployedLayouts(library).index("aula", 1)):
        with pytest.raises(LayoutDamaged, match="aula:1 is no version of a layout"):
            await attempt
    scrub = Scrubbing(pool, library)
    before = METRICS.layouts_scrubbed._value.get()
    with caplog.at_level(logging.ERROR):
        await scrub.step()
        await scrub.compare()
    assert METRICS.layouts_scrubbed._value.get() == before + 1
    assert "layout version aula:1 was written past MongoDB's rules" in caplog.text
    settings = {"LML_MONGO_URL": mongo_url, "LML_DATA_DIR": str(tmp_path), "LML_PORT": "0"}
    found = [finding async for finding in examine(settings | {"LML_MONGO_DATABASE": mongo_database.name})]
    assert any("aula:1 was written past MongoDB's rules" in each.text for each in found if each.level == "fail")


async def test_what_was_written_past_the_rules_hides_nothing_that_was_set_back_or_is_astray(
    mongo_database: Any, pool: postgres.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """The look at the record and the events ended at the first layout that could not be read: nobody heard of the
    others, and the numbers stood still."""
    trail, library = Trail(pool), Library(mongo_database)
    for layout_id in ("aula", "barn", "hall"):
        await deployed(library, layout_id)
        await record_step(trail, "deployed", (await library.status(layout_id))[0])
    catalogue = Catalogue(pool, DeployedLayouts(library))
    events = [(await catalogue.create_event(concert(layout_id))).id for layout_id in ("aula", "barn")]
    await mongo_database[VERSIONS].update_one(
        {"layout_id": "aula"}, {"$set": {"note": "x"}}, bypass_document_validation=True
    )
    await mongo_database[VERSIONS].delete_one({"layout_id": "barn"})
    await mongo_database[VERSIONS].update_one(
        {"layout_id": "hall"}, {"$set": {"state": "published", "deployed_ms": None}}
    )
    scrub = Scrubbing(pool, library)
    with caplog.at_level(logging.ERROR):
        await scrub.compare()
    assert (METRICS.layouts_set_back._value.get(), METRICS.events_astray._value.get()) == (1, 2)
    assert "version 1 of layout hall is published in MongoDB, but was deployed" in caplog.text
    assert {each.event: each.why for each in await find_astray(pool, library)} == {
        events[0]: "cannot be read: MongoDB has a version that was written past its rules",
        events[1]: "is not in MongoDB",
    }


async def test_what_is_set_back_is_seen_soon_and_told_once(
    mongo_database: Any, pool: postgres.Pool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record was looked at when each version had been read, after hours in a large house, and from the beginning
    after each start: the doctor listed seven versions that the metric knew nothing of."""
    trail, library = Trail(pool), Library(mongo_database)
    await deployed(library, "hall")
    await record_step(trail, "deployed", (await library.status("hall"))[0])
    event = await Catalogue(pool, DeployedLayouts(library)).create_event(concert())
    set_back = {"state": "published", "deployed_ms": None}
    where = {"layout_id": "hall"}
    was = await mongo_database[VERSIONS].find_one(where, {"_id": 0, **dict.fromkeys(set_back, 1)})
    await mongo_database[VERSIONS].update_one(where, {"$set": set_back})
    METRICS.layouts_set_back.set(0)
    monkeypatch.setattr(limits, "LAYOUT_RECORD_SECONDS", 0.01)
    monkeypatch.setattr(limits, "NOTICES_RETRY_SECONDS", 0.01)
    scrubbed, leads, looks = METRICS.layouts_scrubbed._value.get(), False, 0
    scrub = Scrubbing(pool, library)
    compare = scrub.compare

    async def counted() -> None:
        nonlocal looks
        await compare()
        looks += 1

    monkeypatch.setattr(scrub, "compare", counted)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(scrub.run(lambda: leads))
        await asyncio.sleep(0.1)
        assert looks == 0, "another worker leads"
        leads = True
        await eventually(lambda: looks >= 3)
        assert METRICS.layouts_set_back._value.get() == 1
        await mongo_database[VERSIONS].update_one(where, {"$set": was})
        await eventually(lambda: METRICS.layouts_set_back._value.get() == 0)
        await mongo_database[VERSIONS].delete_one(where)
        await eventually(lambda: METRICS.events_astray._value.get() == 1)
        running.cancel()
    assert METRICS.layouts_scrubbed._value.get() == scrubbed, "no content was read for it"
    assert caplog.text.count("is published in MongoDB, but was deployed") == 1
    assert caplog.text.count(f"event {event.id}: version 1 of layout hall is not in MongoDB") == 1


async def test_the_round_begins_anywhere_and_comes_to_every_version(
    mongo_database: Any, pool: postgres.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began with the first at each start: where workers are restarted often, nobody ever read the last ones."""
    library = Library(mongo_database)
    scrub = Scrubbing(pool, library, choose=lambda versions: versions[1])
    await scrub.step()  # nothing is stored yet
    for layout_id in ("aula", "barn", "hall"):
        await deployed(library, layout_id)
    seen: list[str] = []

    async def read(version: LayoutVersion) -> bool:
        seen.append(version.layout_id)
        return True

    monkeypatch.setattr(library, "scrub", read)
    scrub = Scrubbing(pool, library, choose=lambda versions: versions[1])
    for _ in range(4):
        await scrub.step()
    assert seen == ["hall", "aula", "barn", "hall"]


async def test_a_version_that_was_published_can_never_be_a_draft_again(
    mongo_database: Any,
    mongo_url: str,
    postgres_dsn: str,
    pool: postgres.Pool,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Any,
) -> None:
    """A version's state is in no hash: one without events, set back with moments that fit, was changed and published
    again, and nobody was told."""
    trail, record = Trail(pool), LayoutRecord(pool)
    library = Library(mongo_database, history=record)
    for layout_id in ("aula", "hall"):
        await library.save_draft(generate_venue(30, layout_id))
        await record_step(trail, "published", await library.publish(layout_id))
        await record_step(trail, "deployed", await library.deploy(layout_id))
    was = (await library.status("hall"))[0]
    assert await find_set_back(record, library) == []
    await mongo_database[VERSIONS].update_one(
        {"layout_id": "hall"}, {"$set": {"state": "draft", "published_ms": None, "deployed_ms": None}}
    )
    changed = generate_venue(29, "hall")
    for attempt in (library.publish("hall"), library.save_draft(changed), library.replace_draft(changed, was.hash)):
        with pytest.raises(LayoutDamaged, match="Version 1 of hall is draft in MongoDB, but was deployed"):
            await attempt
    [found] = await find_set_back(record, library)
    assert (found.layout_id, found.version, found.why) == ("hall", 1, "is draft in MongoDB, but was deployed")
    with caplog.at_level(logging.ERROR):
        await Scrubbing(pool, library).compare()
    assert "version 1 of layout hall is draft in MongoDB, but was deployed" in caplog.text
    assert METRICS.layouts_set_back._value.get() == 1
    settings = {
        "LML_MONGO_URL": mongo_url,
        "LML_MONGO_DATABASE": mongo_database.name,
        "LML_POSTGRES_DSN": postgres_dsn,
        "LML_DATA_DIR": str(tmp_path),
        "LML_PORT": "0",
    }
    told = [finding.text async for finding in examine(settings) if finding.level == "fail"]
    assert any("hall version 1 is draft in MongoDB, but was deployed" in text for text in told)

    mended = await library.mend("hall", 1, canonical_bytes(seal_layout(in_nfc(generate_venue(30, "hall")))))
    [now] = await library.status("hall")
    assert (now.state, now.hash, now.upload, now) == ("deployed", was.hash, was.upload, mended)
    assert (await library.deploy("hall")).state == "deployed"
    assert await find_set_back(record, library) == []


async def test_a_step_that_is_put_on_record_late_or_again_makes_no_version_younger(
    mongo_database: Any, pool: postgres.Pool
) -> None:
    """Whoever publishes again what is deployed hears the same and is on record, too: by that record the version was
    published only, and could be set back to it."""
    trail, record = Trail(pool), LayoutRecord(pool)
    library = Library(mongo_database, history=record)
    saved = (await library.save_draft(generate_venue(30, "hall"))).version
    await record_step(trail, "published", await library.publish_seen("hall", saved.hash))
    await record_step(trail, "deployed", await library.deploy("hall"))
    moments = (await record.of_layout("hall"))[1]
    await record_step(trail, "published", await library.publish_seen("hall", saved.hash))
    assert (await record.of_layout("hall"))[1] == moments
    await mongo_database[VERSIONS].update_one({}, {"$set": {"state": "published", "deployed_ms": None}})
    [found] = await find_set_back(record, library)
    assert found.why == "is published in MongoDB, but was deployed"


async def test_content_and_hash_changed_alike_are_found_without_an_event(
    mongo_database: Any, pool: postgres.Pool
) -> None:
    """Also what was published and is sold on by nobody yet has the hash of its record, or is not deployed. Publishing
    it again would put the forged hash on record, and it would be right from then on."""
    trail, record = Trail(pool), LayoutRecord(pool)
    library = Library(mongo_database, history=record)
    await library.save_draft(generate_venue(30, "hall"))
    published = await library.publish("hall")
    await record_step(trail, "published", published)
    await mongo_database[VERSIONS].update_one({}, {"$set": {"hash": "0" * 64}})
    with pytest.raises(LayoutDamaged, match="has the hash 0000"):
        await library.deploy("hall")
    assert [each.why.split(" in MongoDB")[0] for each in await find_set_back(record, library)] == [
        f"has the hash {'0' * 64}"
    ]
    assert await library.hash_of("hall", 1) == published.hash
    with pytest.raises(LayoutDamaged, match="has the hash 0"):
        await library.publish_seen("hall", "0" * 64)


async def test_what_is_retired_is_not_sold_on_again(mongo_database: Any, pool: postgres.Pool) -> None:
    """Set back to deployed, new events were made on it."""
    trail, record = Trail(pool), LayoutRecord(pool)
    library = Library(mongo_database, history=record)
    await deployed(library, "hall")
    await record_step(trail, "retired", await library.retire("hall", 1))
    await mongo_database[VERSIONS].update_one({}, {"$set": {"state": "deployed", "retired_ms": None}})
    with pytest.raises(LayoutDamaged, match="is deployed in MongoDB, but was retired"):
        await Catalogue(pool, DeployedLayouts(library)).create_event(concert())
    with pytest.raises(LayoutDamaged, match="is deployed in MongoDB, but was retired"):
        await library.deploy("hall", 1)


async def test_the_number_of_a_version_that_mongodb_has_lost_is_not_given_twice(
    mongo_database: Any, pool: postgres.Pool
) -> None:
    """What is on record as version 1 of a layout is another content than the one that is stored now."""
    trail, record = Trail(pool), LayoutRecord(pool)
    library = Library(mongo_database, history=record)
    await library.save_draft(generate_venue(30, "hall"))
    await record_step(trail, "published", await library.publish("hall"))
    await mongo_database[VERSIONS].delete_many({})
    assert (await library.save_draft(generate_venue(29, "hall"))).version.version == 2
    assert (await library.publish("hall")).version == 2
    assert await find_set_back(record, library) == []


async def on_sale(library: Library, trail: Trail, layout_id: str = "hall") -> LayoutVersion:
    """A version that is deployed, with every step of it on record."""
    saved = await library.save_draft(generate_venue(30, layout_id))
    await record_step(trail, "saved", Drafted(saved.version))
    await record_step(trail, "published", await library.publish(layout_id))
    deployed = await library.deploy(layout_id)
    await record_step(trail, "deployed", deployed)
    return deployed


async def rehash(database: Any, layout_id: str = "hall") -> str:
    """Another category for a seat, and all hashes made anew, as somebody does who passes MongoDB's rules by; the hash
    that the latest version has now."""
    where, options = {"layout_id": layout_id}, {"bypass_document_validation": True}
    known = await database[VERSIONS].find_one(where, sort=[("version", -1)])
    upload = {"upload": known["upload"]}
    first = await database[SECTIONS].find_one({**upload, "position": 0})
    await database[SECTIONS].update_one(
        {"_id": first["_id"]}, {"$set": {"section.rows.0.seats.0.category": "Forged"}}, **options
    )
    plan = await database[PLANS].find_one({"_id": known["upload"]})
    sections = await database[SECTIONS].find(upload).sort([("position", 1), ("part", 1)]).to_list(length=1_000)
    layout = layout_of(plan, sections)
    spelled = spell_layout(layout)
    forged = spelled.hash_as(layout.version)
    await database[PLANS].update_one({"_id": known["upload"]}, {"$set": {"hash": forged}}, **options)
    told = {
        "hash": forged,
        "fingerprint": spelled.hash_as(1),
        "size_bytes": len(spelled.bytes_as(layout.version, forged)),
    }
    await database[VERSIONS].update_one({"_id": known["_id"]}, {"$set": told}, **options)
    return forged


async def test_no_step_puts_what_was_forged_on_record(
    mongo_database: Any, pool: postgres.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """Retiring asked nobody, the forged hash was the last on record then, and the scrub was silent from then on."""
    trail, record = Trail(pool), LayoutRecord(pool)
    library = Library(mongo_database, history=record)
    was = await on_sale(library, trail)
    forged = await rehash(mongo_database)
    assert await library.scrub((await library.status("hall"))[0]), "it is right in itself"
    for attempt in (
        library.retire("hall", 1),
        library.deploy("hall"),
        library.publish_seen("hall", forged),
        library.begin_draft("hall", 1),
    ):
        with pytest.raises(LayoutDamaged, match=f"has the hash {forged} in MongoDB, but was deployed with {was.hash}"):
            await attempt
    assert "has the hash" in caplog.text
    # Whoever had it on record before this was seen to: what the first step says is true.
    await record_step(trail, "retired", (await library.status("hall"))[0])
    assert (await record.of_layout("hall"))[1].hash == was.hash
    assert await record.hashes_of("hall") == {was.hash}
    [found] = await find_set_back(record, library)
    assert (found.why, await library.hash_of("hall", 1)) == ("is deployed in MongoDB, but was retired", was.hash)


async def test_what_was_retired_is_retired_again_only_as_it_was(mongo_database: Any, pool: postgres.Pool) -> None:
    """Twice is once, and puts on record what it finds."""
    trail, library = Trail(pool), Library(mongo_database, history=LayoutRecord(pool))
    await on_sale(library, trail)
    await record_step(trail, "retired", await library.retire("hall", 1))
    await library.retire("hall", 1)
    await rehash(mongo_database)
    with pytest.raises(LayoutDamaged, match="but was retired with"):
        await library.retire("hall", 1)


async def test_a_draft_is_published_as_it_was_saved(mongo_database: Any, pool: postgres.Pool) -> None:
    """Content and hash changed alike, a draft was published by whoever publishes whatever is there."""
    trail, record = Trail(pool), LayoutRecord(pool)
    library = Library(mongo_database, history=record)
    first = (await library.save_draft(generate_venue(30, "hall"))).version
    await record_step(trail, "saved", Drafted(first))
    forged = await rehash(mongo_database)
    for attempt in (library.publish("hall"), library.publish_seen("hall", forged)):
        with pytest.raises(LayoutDamaged, match=f"has the hash {forged} in MongoDB, but was saved with {first.hash}"):
            await attempt
    # One that was never saved, either: there is none on record with its number, and earlier ones are.
    await mongo_database[VERSIONS].update_one({}, {"$set": {"version": 2}}, bypass_document_validation=True)
    with pytest.raises(LayoutDamaged, match="draft in MongoDB, and nobody is on record to have saved it"):
        await library.publish("hall")
    await mongo_database[VERSIONS].update_one({}, {"$set": {"version": 1}})
    # It gives way to what somebody saves, and that is published.
    again = (await library.save_draft(generate_venue(30, "hall"))).version
    assert (again.version, again.hash) == (1, first.hash)
    assert (await library.publish("hall")).hash == first.hash


async def test_a_draft_whose_record_was_lost_is_put_on_record_by_saving_it_again(
    mongo_database: Any, pool: postgres.Pool
) -> None:
    trail, library = Trail(pool), Library(mongo_database, history=LayoutRecord(pool))
    await record_step(trail, "saved", Drafted((await library.save_draft(generate_venue(29, "hall"))).version))
    lost = (await library.save_draft(HALL)).version
    assert not await library.is_on_record(lost)
    with pytest.raises(LayoutDamaged, match="Save it again"):
        await library.publish("hall")
    saved = await library.save_draft(HALL)
    assert (saved.changed, saved.version) == (False, lost)
    await record_step(trail, "saved", Drafted(saved.version))
    assert await library.is_on_record(lost)
    assert (await library.publish("hall")).hash == lost.hash


async def test_what_was_forged_forward_is_not_sold_on(mongo_database: Any, pool: postgres.Pool) -> None:
    """A draft made a deployed version in MongoDB, with moments that keep every rule: events were made on it."""
    trail, record = Trail(pool), LayoutRecord(pool)
    library = Library(mongo_database, history=record)
    catalogue = Catalogue(pool, DeployedLayouts(library))
    saved = (await library.save_draft(HALL)).version
    await record_step(trail, "saved", Drafted(saved))
    forward = {"state": "deployed", "published_ms": saved.saved_ms, "deployed_ms": saved.saved_ms}
    await mongo_database[VERSIONS].update_one({}, {"$set": forward})
    for attempt in (catalogue.create_event(concert()), library.deploy("hall")):
        with pytest.raises(LayoutDamaged, match="is deployed in MongoDB, and nobody is on record to have"):
            await attempt
    [found] = await find_set_back(record, library)
    assert found.why == "is deployed in MongoDB, and nobody is on record to have deployed it"
    # Somebody who has done it where no audit trail was says so again, by the hash that he means.
    await record_step(trail, "published", await library.publish_seen("hall", saved.hash))
    with pytest.raises(LayoutDamaged, match="nobody is on record to have deployed it"):
        await catalogue.create_event(concert())
    await record_step(trail, "deployed", await library.deploy("hall"))
    assert (await catalogue.create_event(concert())).layout_hash == saved.hash
    assert await find_set_back(record, library) == []


async def test_what_is_from_before_there_was_a_record_is_sold_on(mongo_database: Any, pool: postgres.Pool) -> None:
    """Of such a version there is nothing on record, or only what was asked for again."""
    trail, record = Trail(pool), LayoutRecord(pool)
    library = Library(mongo_database, history=record)
    catalogue = Catalogue(pool, DeployedLayouts(library))
    await deployed(library, "hall")
    second = (await library.save_draft(generate_venue(29, "hall"))).version
    await library.publish("hall")
    assert (await catalogue.create_event(concert())).layout_version == 1
    await record_step(trail, "retired", await library.retire("hall", 1))
    await record_step(trail, "deployed", await library.deploy("hall", 2))
    third = (await library.begin_draft("hall", 1)).version
    await record_step(trail, "begun", Drafted((await library.status("hall"))[-1], begun_with=1))
    assert (second.version, third) == (2, 3)
    assert (await catalogue.create_event(concert())).layout_version == 2
    assert await find_set_back(record, library) == []
