"""Deployed layouts on the S3 double: uploaded, forgotten, uploaded again; and a store that is down stops nobody."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lml_live import limits
from lml_live.errors import Conflict, Unavailable
from lml_live.infra.config import Settings
from lml_live.infra.objects import IMMUTABLE
from lml_live.infra.s3 import Objects, open_objects
from lml_live.venues.demo import generate_venue
from lml_live.venues.edge import object_key, pointer_key, public_url, zip_layout
from lml_live.venues.layout import canonical_bytes
from lml_live.venues.library import Library
from lml_live.venues.publishing import ensure_published, open_edge, push_version
from lml_live.venues.pushing import Edge, Region

HALL = generate_venue(20, "hall")
KEY = object_key("hall", HALL.hash)


@pytest.fixture
async def objects(s3_endpoint_url: str) -> AsyncIterator[Objects]:
    async with open_objects(f"layouts-{secrets.token_hex(6)}", endpoint_url=s3_endpoint_url) as opened:
        yield opened


@pytest.fixture
async def library(mongo_database: Any) -> Library:
    library = Library(mongo_database)
    await library.save_draft(HALL)
    await library.publish("hall")
    await library.deploy("hall")
    return library


async def test_what_the_store_has_forgotten_is_uploaded_again(library: Library, objects: Objects) -> None:
    name, edge = f"hall/{HALL.hash}", Edge([Region("home", objects)])
    first = await ensure_published(library, edge)
    assert (first.uploaded, first.present, first.failed) == ((name,), (), ())
    assert (await ensure_published(library, edge)).present == (name,)
    zipped = zip_layout(canonical_bytes(HALL))
    for key, data, encoding in ((KEY, canonical_bytes(HALL), None), (f"{KEY}.gz", zipped, "gzip")):
        assert await objects.get_object(key) == data
        head = await objects.head_object(key)
        assert head is not None
        assert (head.size_bytes, head.cache_control) == (len(data), IMMUTABLE)
        assert (head.content_type, head.encoding) == ("application/json", encoding)
    # A copy that is not whole counts as forgotten, and so does one without its headers.
    await objects.put_object(KEY, b"{}", content_type="application/json")
    assert (await ensure_published(library, edge)).uploaded == (name,)
    await objects.put_object(f"{KEY}.gz", zipped, content_type="application/json")
    assert (await ensure_published(library, edge)).uploaded == (name,)
    assert (await ensure_published(library, edge)).present == (name,)


async def test_what_is_added_stays_as_it_was_first(objects: Objects) -> None:
    assert await objects.get_object("audit/1") is None, "not even the bucket is there"
    for data in (b"first", b"second"):
        await objects.add_object("audit/1", data, content_type="text/plain")
    assert await objects.get_object("audit/1") == b"first"


async def test_what_is_not_there_is_none(objects: Objects) -> None:
    await objects.ensure_bucket()
    await objects.ensure_bucket()
    assert await objects.head_object("nothing") is None
    assert await objects.get_object("nothing") is None
    assert await objects.get_tagged("nothing") is None
    assert await objects.list_objects("") == []


async def test_a_list_goes_on_and_has_a_bound(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1", "a/2", "b/1"):
        await objects.add_object(name, name.encode(), content_type="text/plain")
    plain = objects._client.list_objects_v2
    monkeypatch.setattr(objects._client, "list_objects_v2", lambda **named: plain(**named, MaxKeys=1))
    assert [(each.key, each.size_bytes) for each in await objects.list_objects("a/")] == [("a/1", 3), ("a/2", 3)]
    monkeypatch.setattr(limits, "OBJECTS_LISTED_MAX", 1)
    assert await objects.list_folders("") == ["a", "b"], "however many objects are in them"
    assert (await objects.list_folders("a/"), await objects.list_folders("c/")) == ([], [])
    with pytest.raises(Unavailable, match="more than 1 objects"):
        await objects.list_objects("a/")


async def test_a_store_that_is_down_is_unavailable(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OBJECT_CONNECT_SECONDS", 0.2)
    [version] = await library.status("hall")
    async with open_edge(Settings(s3_bucket="layouts", s3_endpoint_url="http://127.0.0.1:1")) as edge:
        with pytest.raises(Unavailable):
            await ensure_published(library, edge)
        with pytest.raises(Unavailable):
            await push_version(library, edge, version)
    assert await library.load_bytes("hall", HALL.hash) == canonical_bytes(HALL)


async def test_without_a_bucket_there_is_no_edge() -> None:
    with pytest.raises(Conflict, match="the server itself serves layouts"):
        async with open_edge(Settings()):
            pass


def test_names_are_made_of_the_content() -> None:
    assert object_key("hall", "ab") == "layouts/hall/ab.json"
    assert object_key("hall", "ab", "json.gz", private=True) == "private/hall/ab.json.gz"
    assert (pointer_key("hall"), pointer_key("hall", private=True)) == (
        "layouts/hall/current.json",
        "private/hall/current.json",
    )
    assert public_url("https://cdn.example/x/", "hall", "ab") == "https://cdn.example/x/layouts/hall/ab.json.gz"


async def test_a_body_that_breaks_off_is_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 100\r\n\r\nhalf')
        await writer.drain()
        writer.close()

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_objects("layouts", endpoint_url=f"http://127.0.0.1:{port}") as objects:
            with pytest.raises(Unavailable):
                await objects.get_object(KEY)
