"""Deployed layouts on the S3 double: uploaded, forgotten, uploaded again; and a store that is down stops nobody."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.infra.objects import IMMUTABLE, Objects, open_objects
from lml_live.venues.demo import generate_venue
from lml_live.venues.layout import canonical_bytes
from lml_live.venues.library import Library
from lml_live.venues.publishing import ensure_published, object_key, public_url, upload_layout

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
    name = f"hall/{HALL.hash}"
    first = await ensure_published(library, objects)
    assert (first.uploaded, first.present, first.failed) == ((name,), (), ())
    assert (await ensure_published(library, objects)).present == (name,)
    assert await objects.get_object(KEY) == canonical_bytes(HALL)
    head = await objects.head_object(KEY)
    assert head is not None
    assert (head.size_bytes, head.cache_control, head.content_type) == (
        len(canonical_bytes(HALL)),
        IMMUTABLE,
        "application/json",
    )
    # A copy that is not whole counts as forgotten.
    await objects.put_object(KEY, b"{}", content_type="application/json")
    assert (await ensure_published(library, objects)).uploaded == (name,)


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


async def test_a_store_that_is_down_is_unavailable(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OBJECT_CONNECT_SECONDS", 0.2)
    async with open_objects("layouts", endpoint_url="http://127.0.0.1:1") as objects:
        with pytest.raises(Unavailable):
            await ensure_published(library, objects)
        with pytest.raises(Unavailable):
            await upload_layout(objects, "hall", HALL.hash, b"{}")
    assert await library.load_bytes("hall", HALL.hash) == canonical_bytes(HALL)


def test_names_are_made_of_the_content() -> None:
    assert object_key("hall", "ab") == "layouts/hall/ab.json"
    assert public_url("https://cdn.example/x/", "hall", "ab") == "https://cdn.example/x/layouts/hall/ab.json"
