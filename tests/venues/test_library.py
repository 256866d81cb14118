"""The library against a real MongoDB: the life of a layout, and what the schema refuses."""

import asyncio
from typing import Any

import msgspec
import pytest
from pymongo.errors import WriteError

from lml_live import limits
from lml_live.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from lml_live.infra.mongo import close_database, connect_database, driver_errors, ping
from lml_live.venues.assembly import LayoutDamaged, described, spell_again
from lml_live.venues.demo import generate_venue
from lml_live.venues.layout import (
    Layout,
    Row,
    Seat,
    Section,
    Viewport,
    canonical_bytes,
    decode_layout,
    seal_layout,
    spell_layout,
)
from lml_live.venues.library import DraftMoved, Library
from lml_live.venues.schema import INDEXES, apply_schema
from lml_live.venues.seat_index import index_layout
from lml_live.venues.stored import PLANS, SECTIONS, VERSIONS, collection_rules, documents_of

HALL = generate_venue(30, "hall")


def renamed(name: str, layout: Layout = HALL) -> Layout:
    return seal_layout(msgspec.structs.replace(layout, name=name))


@pytest.fixture
def library(mongo_database: Any) -> Library:
    moments = iter(range(1_000, 1_000_000, 1_000))
    return Library(mongo_database, lambda: next(moments))


async def test_draft_published_deployed(library: Library) -> None:
    saved = await library.save_draft(HALL)
    assert (saved.changed, saved.version.state, saved.version.version) == (True, "draft", 1)
    assert (saved.version.hash, saved.version.seat_count, saved.version.place_count) == (HALL.hash, 30, 30)
    assert await library.load_bytes("hall", HALL.hash) is None
    with pytest.raises(NotFound):
        await library.load_index("hall", 1)
    published = await library.publish("hall")
    assert (published.state, published.hash) == ("published", HALL.hash)
    assert await library.deployed_versions() == ()
    deployed = await library.deploy("hall", 1)
    assert deployed.state == "deployed"
    assert await library.deployed_versions() == (deployed,)
    assert await library.status("hall") == (deployed,)
    assert await library.load_bytes("hall", HALL.hash) == canonical_bytes(HALL)
    assert await library.load_index("hall", 1) == index_layout(HALL)


async def test_a_draft_may_be_replaced_and_its_chunks_go(library: Library, mongo_database: Any) -> None:
    await library.save_draft(HALL)
    again = await library.save_draft(renamed("Other"))
    assert (again.changed, again.version.version, again.version.name) == (True, 1, "Other")
    assert await mongo_database[PLANS].count_documents({}) == 1
    assert await mongo_database[SECTIONS].count_documents({}) == len(HALL.sections)
    assert [version.name for version in await library.status("hall")] == ["Other"]


async def test_equal_content_changes_nothing(library: Library) -> None:
    first = await library.save_draft(HALL)
    assert await library.save_draft(HALL) == msgspec.structs.replace(first, changed=False)
    await library.publish("hall")
    again = await library.save_draft(HALL)
    assert (again.changed, again.version.version, again.version.state) == (False, 1, "published")


async def test_changed_content_of_a_published_layout_is_a_new_version(library: Library) -> None:
    await library.save_draft(HALL)
    await library.publish("hall")
    second = (await library.save_draft(renamed("Second"))).version
    assert (second.version, second.state) == (2, "draft")
    await library.publish("hall")
    data = await library.load_bytes("hall", second.hash)
    assert data is not None
    assert (decode_layout(data).version, decode_layout(data).name) == (2, "Second")
    assert await library.load_bytes("hall", HALL.hash) == canonical_bytes(HALL)
    assert (await library.deploy("hall")).version == 2
    assert (await library.deploy("hall", 1)).version == 1
    assert [version.version for version in await library.deployed_versions()] == [1, 2]


async def test_a_published_version_is_immutable(library: Library) -> None:
    await library.save_draft(HALL)
    await library.publish("hall")
    with pytest.raises(Refused) as refusal:
        await library.save_draft(renamed("Other"), version=1)
    assert refusal.value.code == "layout_immutable"
    assert await library.load_bytes("hall", HALL.hash) == canonical_bytes(HALL)
    with pytest.raises(Conflict):
        await library.save_draft(renamed("Other"), version=7)


async def test_steps_out_of_order_are_refused(library: Library) -> None:
    with pytest.raises(NotFound):
        await library.publish("hall")
    with pytest.raises(NotFound):
        await library.deploy("hall")
    await library.save_draft(HALL)
    for version in (None, 1):
        with pytest.raises(Conflict):
            await library.deploy("hall", version)
    await library.publish("hall")
    with pytest.raises(Conflict):
        await library.publish("hall")
    with pytest.raises(NotFound):
        await library.deploy("hall", 2)
    deployed = await library.deploy("hall")
    assert await library.deploy("hall") == deployed


async def test_a_layout_that_breaks_rules_is_not_stored(library: Library) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await library.save_draft(msgspec.structs.replace(HALL, layout_id="a/b"))
    assert [violation.path for violation in refusal.value.errors] == ["layout_id"]


async def test_of_many_who_publish_one_succeeds(library: Library) -> None:
    await library.save_draft(HALL)
    answers = await asyncio.gather(*(library.publish("hall") for _ in range(8)), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert all(isinstance(answer, Conflict) for answer in answers if isinstance(answer, BaseException))


async def test_of_many_who_publish_what_they_have_seen_all_hear_of_it(library: Library) -> None:
    await library.save_draft(HALL)
    answers = await asyncio.gather(*(library.publish_seen("hall", HALL.hash) for _ in range(8)))
    assert {(answer.version, answer.state, answer.hash) for answer in answers} == {(1, "published", HALL.hash)}
    with pytest.raises(NotFound):
        await library.publish_seen("nowhere", HALL.hash)


async def test_a_draft_that_changes_while_it_is_published_stays_one(mongo_database: Any) -> None:
    """The hash is compared where the database writes: who saves between the look and the write is not published."""

    class Hasty:
        async def take(self, layout_id: str, version: int, layout_hash: str, data: bytes, reason: str) -> None:
            await Library(mongo_database).replace_draft(renamed("Other"), layout_hash)

    library = Library(mongo_database, backups=Hasty())  # type: ignore[arg-type]
    await library.save_draft(HALL)
    with pytest.raises(DraftMoved, match="Nothing was published") as refusal:
        await library.publish_seen("hall", HALL.hash)
    assert refusal.value.draft is not None
    assert (refusal.value.draft.name, refusal.value.draft.state) == ("Other", "draft")
    assert [version.state for version in await library.status("hall")] == ["draft"]


async def test_a_draft_that_is_there_again_is_not_said_to_be_another(mongo_database: Any) -> None:
    """Replaced and put back while it was published, it was refused as another one than that which was seen."""

    class Hasty:
        async def take(self, *_: object) -> None:
            for layout in (renamed("Other"), HALL):
                await Library(mongo_database).save_draft(layout)

    await Library(mongo_database).save_draft(HALL)
    with pytest.raises(Conflict):
        await Library(mongo_database, backups=Hasty()).publish_seen("hall", HALL.hash)  # type: ignore[arg-type]
    assert (await Library(mongo_database).publish_seen("hall", HALL.hash)).state == "published"


async def test_of_many_who_save_different_drafts_one_is_whole(library: Library, mongo_database: Any) -> None:
    answers = await asyncio.gather(
        *(library.save_draft(renamed(f"Name {at}")) for at in range(6)), return_exceptions=True
    )
    assert all(not isinstance(answer, BaseException) or isinstance(answer, Conflict) for answer in answers)
    published = await library.publish("hall")
    assert await library.load_bytes("hall", published.hash) is not None
    assert await mongo_database[PLANS].count_documents({}) == 1


async def test_a_layout_larger_than_a_document_is_many(
    library: Library, mongo_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A section of more seats than a document may have is several, cut between rows; a row is never cut."""
    monkeypatch.setattr(limits, "LAYOUT_PART_SEATS", 7)
    rows = tuple(
        Row(str(row), tuple(Seat(str(seat), 0.5, 0.5, "I") for seat in range(seats)))
        for row, seats in enumerate((3, 4, 1, 9, 2))
    )
    one = Section("One", "seated", rows, outline=((0, 0), (1, 0), (1, 1)), floor="Upper")
    hall = seal_layout(
        Layout(
            "big", "Big", "hybrid", Viewport(1, 1), (one, Section("F", "standing", (), "f", 9, "II"), HALL.sections[0])
        )
    )
    await library.save_draft(hall)
    stored = await mongo_database[SECTIONS].find({"position": 0}).sort("part").to_list(length=None)
    assert [sum(len(row["seats"]) for row in part["section"]["rows"]) for part in stored] == [7, 1, 9, 2]
    await library.publish("big")
    assert await library.load_bytes("big", hall.hash) == canonical_bytes(hall)
    await mongo_database[SECTIONS].delete_one({"position": 0, "part": 2})
    with pytest.raises(LayoutDamaged):
        await library.load_bytes("big", hall.hash)


async def test_nothing_of_a_save_that_fails_is_kept(library: Library, mongo_database: Any) -> None:
    """All documents of a layout are one transaction: MongoDB refuses the last, and the first is not there either."""
    await library.save_draft(HALL)
    before = await mongo_database[SECTIONS].count_documents({})
    await mongo_database.command({"collMod": SECTIONS, "validator": {"layout_id": "nobody"}})
    for layout in (renamed("Other"), generate_venue(5, "new")):
        with pytest.raises(InvalidInput):
            await library.save_draft(layout)
    assert [version.name for version in await library.status("hall")] == [HALL.name]
    assert await library.status("new") == ()
    assert (await mongo_database[PLANS].count_documents({}), before) == (
        1,
        await mongo_database[SECTIONS].count_documents({}),
    )


TAMPERED: list[tuple[str, dict[str, Any]]] = [
    (SECTIONS, {"$set": {"section.rows.0.seats.0.x": 0.123}}),
    (SECTIONS, {"$set": {"section.rows.0.seats.0.category": "Cheap"}}),
    (SECTIONS, {"$set": {"section.rows.0.seats.0.seat_id": "0" * 64}}),
    (SECTIONS, {"$unset": {"section.rows.0.seats.0.seat_id": ""}}),
    (SECTIONS, {"$set": {"section.rows.0.seats.0.x": float("nan")}}),
    (SECTIONS, {"$set": {"section.rows.0.seats": []}}),
    (SECTIONS, {"$set": {"position": 7}}),
    (SECTIONS, {"$set": {"upload": "other"}}),
    (SECTIONS, {"$set": {"extra": 1}}),
    (PLANS, {"$set": {"name": "Other"}}),
    (PLANS, {"$set": {"hash": "0" * 64}}),
    (PLANS, {"$set": {"layout_id": "other"}}),
    (PLANS, {"$set": {"part_count": 99}}),
    (VERSIONS, {"$set": {"hash": "0" * 64}}),
    (VERSIONS, {"$set": {"version": 2}}),
]


async def test_a_change_behind_our_back_is_found_and_goes_no_further(library: Library, mongo_database: Any) -> None:
    for at, (collection, change) in enumerate(TAMPERED):
        layout_id = f"hall-{at}"
        await library.save_draft(generate_venue(8, layout_id))
        touched = await mongo_database[collection].update_one(
            {"layout_id": layout_id}, change, bypass_document_validation=True
        )
        assert touched.modified_count == 1
        with pytest.raises(LayoutDamaged, match="does not have the hash"):
            await library.publish(layout_id)
        assert not [version for version in await library.status(layout_id) if version.state != "draft"]


async def test_what_is_damaged_is_neither_served_nor_deployed(library: Library, mongo_database: Any) -> None:
    await library.save_draft(HALL)
    await library.publish("hall")
    await library.deploy("hall")
    await mongo_database[SECTIONS].update_one({}, {"$set": {"section.rows.0.seats.0.x": 0.123}})
    for attempt in (library.load_bytes("hall", HALL.hash), library.load_index("hall", 1), library.deploy("hall")):
        with pytest.raises(LayoutDamaged):
            await attempt


async def test_what_is_said_of_a_version_must_be_true_of_its_content(library: Library, mongo_database: Any) -> None:
    """A number of seats or a name that was changed in the version's own document went out with the manifest."""
    await library.save_draft(HALL)
    await library.publish("hall")
    published = await library.deploy("hall")
    lies: dict[str, object] = {"seat_count": 31, "place_count": 31, "size_bytes": 1, "name": "X", "type": "standing"}
    for lie in [{member: value} for member, value in (lies | {"fingerprint": "0" * 64}).items()]:
        await mongo_database[VERSIONS].update_one({}, {"$set": lie})
        with pytest.raises(LayoutDamaged, match="is not true of its content"):
            await library.load_index("hall", 1)
        assert await library.mend("hall", 1, canonical_bytes(HALL)) == published
        assert await library.status("hall") == (published,)
        assert await library.load_bytes("hall", HALL.hash) == canonical_bytes(HALL)


async def test_layouts_stored_as_chunks_are_taken_over(library: Library, mongo_database: Any) -> None:
    """An earlier program kept the bytes themselves; what is damaged there stays there, and is never served."""
    other = generate_venue(5, "damaged")
    for layout in (HALL, other):
        await library.save_draft(layout)
        await library.publish(layout.layout_id)
        version = (await library.status(layout.layout_id))[0]
        data = canonical_bytes(layout) if layout is HALL else b"{}"
        for position, start in enumerate(range(0, len(data), 1_000)):
            chunk = {"_id": f"{version.upload}:{position}", "layout_id": layout.layout_id, "upload": version.upload}
            chunk |= {"position": position, "saved_ms": 1, "data": data[start : start + 1_000]}
            await mongo_database["layout_chunks"].insert_one(chunk)
    left = {"_id": "gone:0", "layout_id": "hall", "upload": "upload-gone", "position": 0, "data": b"x"}
    await mongo_database["layout_chunks"].insert_one(left)
    await mongo_database[VERSIONS].update_many({}, {"$unset": {"retired_ms": ""}})
    await mongo_database[PLANS].delete_many({})
    await mongo_database[SECTIONS].delete_many({})
    await asyncio.gather(apply_schema(mongo_database), apply_schema(mongo_database))
    assert await library.load_bytes("hall", HALL.hash) == canonical_bytes(HALL)
    with pytest.raises(LayoutDamaged):
        await library.load_bytes("damaged", other.hash)
    left_over = await mongo_database["layout_chunks"].distinct("layout_id")
    assert left_over == ["damaged"]


async def test_the_list_has_the_latest_of_each(library: Library) -> None:
    for layout_id in ("b", "a"):
        await library.save_draft(generate_venue(5, layout_id))
    await library.publish("a")
    await library.save_draft(renamed("New", generate_venue(5, "a")))
    found = await library.list_layouts()
    assert [(version.layout_id, version.version, version.state) for version in found] == [
        ("a", 2, "draft"),
        ("b", 1, "draft"),
    ]
    assert [version.layout_id for version in await library.list_layouts(after="a", limit=1)] == ["b"]


@pytest.mark.parametrize(
    "change",
    [
        {"state": "sold"},
        {"layout_id": "a/b"},
        {"hash": "abc"},
        {"version": 0},
        {"seat_count": limits.LAYOUT_SEATS_MAX + 1},
        {"seat_count": "many"},
        {"name": ""},
        {"unknown": 1},
    ],
)
async def test_the_schema_refuses(library: Library, mongo_database: Any, change: dict[str, Any]) -> None:
    await library.save_draft(HALL)
    document = await mongo_database[VERSIONS].find_one({})
    with pytest.raises(WriteError):
        await mongo_database[VERSIONS].update_one({"_id": document["_id"]}, {"$set": change})
    with pytest.raises(InvalidInput), driver_errors():
        await mongo_database[VERSIONS].insert_one({**document, "_id": "other", "version": 9, **change})
    await mongo_database[VERSIONS].update_one({"_id": document["_id"]}, {"$unset": {"none": ""}})


async def test_a_second_draft_of_one_layout_is_a_conflict(library: Library, mongo_database: Any) -> None:
    await library.save_draft(HALL)
    document = await mongo_database[VERSIONS].find_one({})
    with pytest.raises(Conflict), driver_errors():
        await mongo_database[VERSIONS].insert_one({**document, "_id": "other", "version": 2})


async def test_the_schema_may_be_applied_again_and_by_several_at_once(mongo_database: Any) -> None:
    await asyncio.gather(apply_schema(mongo_database), apply_schema(mongo_database))
    options = {one["name"]: one["options"] for one in await (await mongo_database.list_collections()).to_list(None)}
    for name, rules in collection_rules().items():
        assert (options[name]["validator"], options[name]["validationLevel"]) == (rules, "strict")
        assert {index.name for index in INDEXES[name]} <= set(await mongo_database[name].index_information())


async def test_a_mongo_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MONGO_SELECT_MS", 50)
    database = connect_database("mongodb://127.0.0.1:1", "lml")
    with pytest.raises(Unavailable):
        await ping(database)
    with pytest.raises(Unavailable):
        await Library(database).status("hall")
    close_database(database)


async def test_a_real_connection_answers(mongo_url: str) -> None:
    database = connect_database(mongo_url, "lml")
    await ping(database)
    close_database(database)


async def test_the_largest_layout_is_stored_and_read_whole(library: Library, mongo_database: Any) -> None:
    """200,000 seats in one section: 25 documents of 27 MB, in one transaction. Its checks and its ids, which take as
    long again, are other tests'."""
    rows = tuple(
        Row(str(row), tuple(Seat(str(n), n / 600, row / 500, "Front", f"{500 * row + n:064x}") for n in range(500)))
        for row in range(400)
    )
    whole = spell_again(Layout("hall", "Field", "seated", Viewport(600, 500), (Section("Field", "seated", rows),)))
    saved = await library._store(whole, 1, None)
    assert saved.seat_count == limits.LAYOUT_SEATS_MAX
    parts = limits.LAYOUT_SEATS_MAX // limits.LAYOUT_PART_SEATS
    assert await mongo_database[SECTIONS].count_documents({}) == parts
    assert await library.load_draft_bytes(saved) == whole.spelling.bytes_as(1, saved.hash)


@pytest.mark.parametrize("accented", [False, True])
async def test_a_draft_forged_with_its_hashes_is_not_published_with_a_foreign_id(
    library: Library, mongo_database: Any, accented: bool
) -> None:
    """Whoever writes to MongoDB can make hashes that fit; tickets for one seat would have let in to another."""
    hall = generate_venue(30, "hall")
    replace = msgspec.structs.replace
    section = replace(hall.sections[0], name="Gal\u00e9rie" if accented else "Stalls")
    hall = seal_layout(replace(hall, sections=(section, *hall.sections[1:])))
    draft = (await library.save_draft(hall)).version
    right = decode_layout(await library.load_draft_bytes(draft))
    row = right.sections[0].rows[0]
    seats = (replace(row.seats[0], seat_id="0" * 64), *row.seats[1:])
    section = replace(right.sections[0], rows=(replace(row, seats=seats), *right.sections[0].rows[1:]))
    forged = replace(right, sections=(section, *right.sections[1:]))
    spelling = spell_layout(forged)
    forged = replace(forged, hash=spelling.hash_as(1))
    plan, sections = documents_of(forged, draft.upload)
    for name, documents in ((PLANS, [plan]), (SECTIONS, sections)):
        await mongo_database[name].delete_many({})
        await mongo_database[name].insert_many(documents)
    true = described(draft, forged, spelling, len(spelling.bytes_as(1, forged.hash)))
    changed = msgspec.to_builtins(replace(true, hash=forged.hash))
    await mongo_database[VERSIONS].update_one({}, {"$set": changed})
    assert await library.scrub((await library.status("hall"))[0]), "it is right in itself"
    with pytest.raises(LayoutDamaged, match="The id of a seat of hall is not its labels'"):
        await library.publish("hall")
    assert (await library.status("hall"))[0].state == "draft"
    await library.save_draft(hall)
    assert (await library.publish("hall")).hash == draft.hash
