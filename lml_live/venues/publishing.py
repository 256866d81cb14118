"""Deployed layouts on S3, from where the CDN serves them: a copy under a name made of its content.

The server itself always serves `/layouts/…` from MongoDB, so nothing here may stop a sale: whoever calls notes an
`Unavailable` and tries again later.
"""

import hashlib

import msgspec

from lml_live.errors import Unavailable
from lml_live.infra.objects import IMMUTABLE, Objects
from lml_live.venues.library import Library
from lml_live.venues.stored import LayoutVersion


class Copied(msgspec.Struct, frozen=True):
    """What a look at the copies came to, as `layout_id/hash` each."""

    present: tuple[str, ...] = ()
    uploaded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def object_key(layout_id: str, layout_hash: str) -> str:
    """The object of one layout version."""
    return f"layouts/{layout_id}/{layout_hash}.json"


def public_url(cdn_base_url: str, layout_id: str, layout_hash: str) -> str:
    """Where a browser finds the object behind the CDN."""
    return f"{cdn_base_url.rstrip('/')}/{object_key(layout_id, layout_hash)}"


async def upload_layout(objects: Objects, layout_id: str, layout_hash: str, data: bytes) -> None:
    """Puts the canonical bytes there and reads them back. Raises `Unavailable` where the copy is not what was sent."""
    key = object_key(layout_id, layout_hash)
    await objects.put_object(key, data, content_type="application/json")
    copy = await objects.get_object(key)
    if copy is None or hashlib.sha256(copy).digest() != hashlib.sha256(data).digest():
        raise Unavailable(f"The object store does not give back what was stored as {key}.")


async def ensure_published(library: Library, objects: Objects) -> Copied:
    """Uploads every deployed version that the store does not have (any more).

    One that fails does not keep the others out; all failures are returned. Raises `Unavailable` only where MongoDB or
    the bucket itself cannot be reached.
    """
    await objects.ensure_bucket()
    present: list[str] = []
    uploaded: list[str] = []
    failed: list[str] = []
    for version in await library.deployed_versions():
        name = f"{version.layout_id}/{version.hash}"
        try:
            if await _is_there(objects, version):
                present.append(name)
                continue
            data = await library.load_bytes(version.layout_id, version.hash)
            if data is not None:
                await upload_layout(objects, version.layout_id, version.hash, data)
                uploaded.append(name)
        except Unavailable:
            failed.append(name)
    return Copied(tuple(present), tuple(uploaded), tuple(failed))


async def _is_there(objects: Objects, version: LayoutVersion) -> bool:
    head = await objects.head_object(object_key(version.layout_id, version.hash))
    return head is not None and head.size_bytes == version.size_bytes and head.cache_control == IMMUTABLE
