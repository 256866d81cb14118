"""Where things are kept that must outlive the engines: a bucket, or a folder in its place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from lml_live.infra.config import Settings
from lml_live.infra.folder import Folder
from lml_live.infra.objects import StoredObject


class Store(Protocol):
    """`infra.s3.Objects` or `infra.folder.Folder`. Everything that fails is `Unavailable`."""

    async def add_object(self, key: str, data: bytes, *, content_type: str) -> None: ...

    async def get_object(self, key: str) -> bytes | None: ...

    async def list_objects(self, prefix: str) -> list[StoredObject]: ...

    async def list_folders(self, prefix: str) -> list[str]: ...

    async def remove_object(self, key: str) -> None: ...


@asynccontextmanager
async def open_store(settings: Settings, bucket: str | None) -> AsyncIterator[Store]:
    """The bucket, or the data directory where none is set. The bucket's client is made when this begins."""
    if bucket is None:
        yield Folder(settings.data_dir)
        return
    from lml_live.infra.s3 import open_objects

    async with open_objects(bucket, endpoint_url=settings.s3_endpoint_url) as objects:
        yield objects
