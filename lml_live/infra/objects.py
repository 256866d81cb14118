"""What is said of stored objects, wherever they lie: in S3 (`infra.s3`) or in a folder (`infra.folder`)."""

from typing import Final

import msgspec

from lml_live.errors import Unavailable

IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""A year, and no revalidation: the key of such an object is made of its content."""


class StoreRefused(Unavailable):
    """The store has said no, and will say it again: no credentials for it, no such bucket, a request it cannot read."""


class ObjectHead(msgspec.Struct, frozen=True):
    """What the store says of an object without sending it."""

    size_bytes: int
    cache_control: str
    content_type: str
    encoding: str | None = None


class StoredObject(msgspec.Struct, frozen=True):
    """An object of a list."""

    key: str
    size_bytes: int
