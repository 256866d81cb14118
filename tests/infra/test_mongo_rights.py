"""The server's user in a MongoDB that asks who one is: what it must do it may, and passes no rule by."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from lml_live.devstack.servers import LOOPBACK, Mongo
from lml_live.errors import InvalidInput, Unavailable
from lml_live.infra.mongo import Database, close_database, connect_database, driver_errors
from lml_live.infra.mongo_rights import compare_role, role_document, sign_in_of
from lml_live.venues.demo import generate_venue
from lml_live.venues.schema import prepare_database
from lml_live.venues.stored import PLANS, RIGHTS, SCRATCH, SECTIONS, VERSIONS, documents_of

FORBIDDEN = {"bypassDocumentValidation", "collMod", "dropCollection", "dropDatabase", "dropIndex", "createIndex"}


class Guarded(Mongo):
    """A lone MongoDB that asks for passwords: rights are the same without a set, and it starts sooner."""

    def arguments(self) -> list[str]:
        given = super().arguments()
        at = given.index("--replSet")
        return [*given[:at], *given[at + 2 :], "--auth"]

    async def finish(self) -> None:
        client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(LOOPBACK, self.port, directConnection=True)
        await client.admin.command("createUser", "owner", pwd="secret", roles=["root"])
        await client.close()


@pytest.fixture
async def server(run_directory: Path) -> AsyncIterator[tuple[Database, str, str]]:
    mongo = Guarded(run_directory / "guarded")
    await mongo.start()
    place = f"{LOOPBACK}:{mongo.port}/?directConnection=true"
    owner_url, url = f"mongodb://owner:secret@{place}", f"mongodb://lml_server:secret@{place}"
    database = connect_database(url, "lml")
    yield database, url, owner_url
    close_database(database)
    await mongo.kill()


async def test_the_servers_user_cannot_pass_the_rules_by(server: tuple[Database, str, str]) -> None:
    database, url, owner_url = server
    await asyncio.gather(*(prepare_database(url, owner_url, "lml") for _ in range(2)))
    await prepare_database(url, None, "lml")  # As its own: nothing is left to do, so nothing is refused.
    differs = await compare_role(database, RIGHTS)
    assert (differs.user, differs.too_little, differs.too_much) == ("lml_server", (), ())
    plan, sections = documents_of(generate_venue(5, "hall"), "upload-1")
    await database[PLANS].insert_one(plan)
    await database[SECTIONS].insert_many(sections)
    whatever = {"$set": {"part_count": 2}}
    for attempt in (
        database[PLANS].insert_one({"_id": "x"}, bypass_document_validation=True),
        database[VERSIONS].update_one({}, {"$set": {"state": "x"}}, bypass_document_validation=True),
        database[SECTIONS].update_one({}, {"$set": {"position": 7}}),
        database[PLANS].update_one({}, whatever),
        database[VERSIONS].delete_one({}),
        database[VERSIONS].drop_index("one_draft_per_layout"),
        database.command({"collMod": PLANS, "validator": {}}),
        database.command("updateRole", "lmlServer", privileges=[], roles=["dbAdmin"]),
        database.drop_collection(SECTIONS),
        database["other"].insert_one({}),
    ):
        with pytest.raises(OperationFailure) as refusal:
            await attempt
        assert refusal.value.code == 13
    with pytest.raises(InvalidInput), driver_errors():
        await database[PLANS].insert_one({"_id": "x"})
    # What the self-check writes to its own collections it may change and delete, within the same rules.
    scratch = database[SCRATCH + PLANS]
    await scratch.insert_one(plan)
    await scratch.update_one({}, whatever)
    with pytest.raises(InvalidInput), driver_errors():
        await scratch.update_one({}, {"$set": {"part_count": 0}})
    assert (await scratch.delete_many({})).deleted_count == 1
    owner = connect_database(owner_url, "lml")
    # A later version's rules: who may not change them says so, and does not start.
    await owner.command({"collMod": PLANS, "validator": {}})
    with pytest.raises(Unavailable, match="lml migrate"):
        await prepare_database(url, None, "lml")
    assert {right.split()[0] for right in (await compare_role(owner, RIGHTS)).too_much} >= FORBIDDEN
    close_database(owner)
    with pytest.raises(InvalidInput, match="a user of its own"):
        await prepare_database(owner_url, owner_url, "lml")


def test_the_role_has_no_right_that_passes_rules_by() -> None:
    role = role_document("lml", RIGHTS)
    assert role["roles"] == []
    assert not FORBIDDEN & {action for privilege in role["privileges"] for action in privilege["actions"]}
    assert all(privilege["resource"]["db"] == "lml" for privilege in role["privileges"])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mongodb://h/", None),
        ("mongodb://u:p%40@h/", ("u", "p@", "admin")),
        ("mongodb://u@h/lml", ("u", None, "lml")),
        ("mongodb://u:p@h/lml?authSource=other", ("u", "p", "other")),
    ],
)
def test_who_an_address_signs_in_as(url: str, expected: tuple[str, str | None, str] | None) -> None:
    found = sign_in_of(url)
    assert (None if found is None else (found.user, found.password, found.source)) == expected


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidInput):
        sign_in_of("postgresql://h/")
