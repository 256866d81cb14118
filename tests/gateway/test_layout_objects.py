"""A server without a bucket is its own edge: it answers as the bucket would, byte for byte and header for header."""

import itertools
import secrets
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from lml_live import limits
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.gateway.holders import LayoutCache
from lml_live.gateway.layout_objects import object_routes
from lml_live.gateway.pages import page_routes
from lml_live.gateway.problems import problems_middleware
from lml_live.infra.s3 import Objects, open_objects
from lml_live.venues.demo import generate_venue
from lml_live.venues.edge import Pointer, object_key, pointer_key
from lml_live.venues.layout import canonical_bytes, seal_layout
from lml_live.venues.library import Library
from lml_live.venues.own_edge import OwnEdge
from lml_live.venues.publishing import ensure_published
from lml_live.venues.pushing import Edge, Region
from lml_live.venues.stored import LayoutVersion

COMPARED = ("Content-Type", "Content-Encoding", "Content-Length", "Cache-Control", "ETag")


class Worlds:
    """A server and a bucket, of one library; what is deployed gets to the bucket as a leading worker sees to it."""

    def __init__(self, library: Library, objects: Objects, client: TestClient[Any, Any]) -> None:
        self.now_ms = 1_700_000_000_000
        self.library = library
        self.objects = objects
        self.client = client
        self.edge = Edge([Region("home", objects)], clock=self.clock)

    def clock(self) -> int:
        return self.now_ms

    async def deploy(self, *names: str) -> list[LayoutVersion]:
        """Publishes a version for each name, and deploys them, the last one first."""
        for name in names:
            self.now_ms += 1_000
            await self.library.save_draft(seal_layout(msgspec.structs.replace(generate_venue(9, "hall"), name=name)))
            await self.library.publish("hall")
        known = await self.library.status("hall")
        deployed = []
        for version in reversed(known[-len(names) :]):
            self.now_ms += 1_000
            deployed.append(await self.library.deploy("hall", version.version))
            copied = await ensure_published(self.library, self.edge)
            assert not copied.failed
        return deployed

    async def in_the_bucket(self, key: str) -> tuple[int, bytes | None, dict[str, str | None]]:
        link = await self.objects.sign_link(key, 60)
        async with aiohttp.ClientSession(auto_decompress=False) as session, session.get(link) as answer:
            return await _told(answer)

    async def at_the_server(self, key: str) -> tuple[int, bytes | None, dict[str, str | None]]:
        async with self.client.get(f"/{key}", auto_decompress=False) as answer:
            return await _told(answer)


async def _told(answer: aiohttp.ClientResponse) -> tuple[int, bytes | None, dict[str, str | None]]:
    if answer.status != 200:
        return answer.status, None, {}
    return 200, await answer.read(), {name: answer.headers.get(name) for name in COMPARED}


@pytest.fixture
async def worlds(mongo_database: Any, s3_endpoint_url: str) -> AsyncIterator[Worlds]:
    made: list[Worlds] = []
    library = Library(mongo_database, clock=lambda: made[0].clock())
    own = OwnEdge(library, LayoutCache(DeployedLayouts(library)).find, frozenset({"secret"}))
    app = web.Application(middlewares=[problems_middleware])
    app.add_routes([*page_routes(), *object_routes(own)])
    bucket = f"layouts-{secrets.token_hex(6)}"
    async with TestClient(TestServer(app)) as client, open_objects(bucket, endpoint_url=s3_endpoint_url) as objects:
        made.append(Worlds(library, objects, client))
        yield made[0]


async def test_both_answer_alike_whatever_was_deployed_when(worlds: Worlds) -> None:
    pointer = pointer_key("hall")
    assert (await worlds.at_the_server(pointer))[0] == 404
    seen = [*await worlds.deploy("One"), *await worlds.deploy("Two"), *await worlds.deploy("Three", "Four")]
    assert [each.version for each in seen] == [1, 2, 4, 3], "the third was deployed when the fourth was"
    await worlds.library.retire("hall", 2)
    await worlds.library.save_draft(seal_layout(msgspec.structs.replace(generate_venue(9, "hall"), name="Five")))
    unseen = await worlds.library.publish("hall")
    suffixes = ("json", "json.gz", "manifest.json")
    keys = [object_key("hall", each.hash, suffix) for each in seen for suffix in suffixes]
    for key in (pointer, *keys):
        there, here = await worlds.in_the_bucket(key), await worlds.at_the_server(key)
        assert there[0] == 200, key
        assert there == here, key
    for suffix in suffixes:
        key = object_key("hall", unseen.hash, suffix)
        # S3 says 404 to whoever may list, else 403; it is not there.
        assert (await worlds.in_the_bucket(key))[0] == (await worlds.at_the_server(key))[0] == 404
    _, data, _ = await worlds.at_the_server(pointer)
    told = msgspec.json.decode(data or b"", type=Pointer)
    assert (told.version, [step.version for step in told.history]) == (4, [2, 1])


async def test_a_pointer_that_has_forgotten_its_first_steps_is_the_same(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "POINTER_HISTORY_MAX", 1)
    monkeypatch.setattr(limits, "MANIFESTS_KEPT", 1)
    for name in ("One", "Two", "Three"):
        await worlds.deploy(name)
    assert await worlds.in_the_bucket(pointer_key("hall")) == await worlds.at_the_server(pointer_key("hall"))


async def test_what_is_known_already_is_not_sent_and_each_is_read_once(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    [version] = await worlds.deploy("One")
    reads, read = itertools.count(), worlds.library.load_bytes

    async def counted(layout_id: str, layout_hash: str) -> bytes | None:
        next(reads)
        return await read(layout_id, layout_hash)

    monkeypatch.setattr(worlds.library, "load_bytes", counted)
    for key in (
        pointer_key("hall"),
        *(object_key("hall", version.hash, each) for each in ("json.gz", "manifest.json")),
    ):
        first = await worlds.client.get(f"/{key}", auto_decompress=False)
        again = await worlds.client.get(f"/{key}", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, await again.read()) == (304, b"")
        assert first.headers["Access-Control-Allow-Origin"] == again.headers["Access-Control-Allow-Origin"] == "*"
    assert next(reads) == 1
    plain = await worlds.client.get(f"/{object_key('hall', version.hash)}")
    assert await plain.read() == canonical_bytes(await worlds.library.load_layout("hall", 1))


async def test_nothing_else_is_there(worlds: Worlds) -> None:
    [version] = await worlds.deploy("One")
    own = OwnEdge(worlds.library, LayoutCache(DeployedLayouts(worlds.library)).find, frozenset({"hall"}))
    assert await own.find("hall", "current.json") is None, "it is private"
    assert await own.find("hall", f"{version.hash}.json") is None, "it is private"
    names = ("other.json", f"{version.hash.upper()}.json", f"{'0' * 64}.json", f"{version.hash}.json.json")
    assert (await worlds.client.get(f"/layouts/hall/{version.hash}.json")).status == 200
    for path in (
        *(f"hall/{name}" for name in names),
        f"other/{version.hash}.manifest.json",
        "none/current.json",
        "a_b/current.json",
        "hall/current.json.gz",
    ):
        assert (await worlds.client.get(f"/layouts/{path}")).status == 404, path
    assert (await worlds.client.get("/layouts/hall/edit")).content_type == "text/html", "the editor is where it was"
