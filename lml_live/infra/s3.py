"""S3: content-addressed objects that never change. aioboto3 is imported here alone, and this only where there is an S3:
it takes a third of a second, which a server without a bucket does not spend, and one that has some spends at its start.

The store is a public copy for the CDN. Whoever calls must go on without it: everything that fails is `Unavailable`.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import aioboto3
from aiohttp import ClientPayloadError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.infra.objects import IMMUTABLE, ObjectHead, StoredObject, StoreRefused

_MISSING: Final = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})
_OURS_ALREADY: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


class Objects:
    """One bucket."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    async def ensure_bucket(self) -> None:
        """Makes the bucket where it is missing."""
        with driver_errors():
            try:
                await self._client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if _code(error) not in _MISSING:
                    raise
                await self._create_bucket()

    async def put_object(
        self, key: str, data: bytes, *, content_type: str, encoding: str | None = None, cached: str = IMMUTABLE
    ) -> None:
        """Stores bytes, for ever unless `cached` says otherwise. The store compares the checksum that is sent along."""
        with driver_errors():
            await self._client.put_object(**self._writing(key, data, content_type, encoding, cached))

    async def swap_object(self, key: str, data: bytes, before: str | None, *, content_type: str, cached: str) -> bool:
        """Stores bytes instead of the object whose tag is `before`, or where there is none; False where it is another
        by now, and nothing was stored."""
        condition = {"IfNoneMatch": "*"} if before is None else {"IfMatch": before}
        with driver_errors():
            try:
                await self._client.put_object(**self._writing(key, data, content_type, None, cached), **condition)
            except ClientError as error:
                # A conflict is two writers at one moment; with If-Match, what is gone is another, too.
                if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"):
                    return False
                raise
        return True

    async def get_tagged(self, key: str) -> tuple[bytes, str] | None:
        """An object's bytes and its tag, which `swap_object` takes; or None."""
        with driver_errors():
            try:
                answer = await self._client.get_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
            async with answer["Body"] as body:
                return await body.read(), answer["ETag"]

    async def sign_link(self, key: str, seconds: int) -> str:
        """An address that reads this one object, and nothing else, for so long (S3's own signature, version 4)."""
        with driver_errors():
            wanted = {"Bucket": self.bucket, "Key": key}
            link: str = await self._client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds)
            return link

    def _writing(
        self, key: str, data: bytes, content_type: str, encoding: str | None, cached: str
    ) -> dict[str, str | bytes]:
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        wanted: dict[str, str | bytes] = {"Bucket": self.bucket, "Key": key, "Body": data, "ChecksumSHA256": checksum}
        wanted |= {"ContentType": content_type, "CacheControl": cached}
        return wanted if encoding is None else {**wanted, "ContentEncoding": encoding}

    async def add_object(self, key: str, data: bytes, *, content_type: str) -> None:
        """Stores bytes under a key that is free; the bucket is made where it is missing.

        What is there already stays as it is.
        """
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        wanted = {"Bucket": self.bucket, "Key": key, "Body": data, "ContentType": content_type}
        with driver_errors():
            for missing in (False, True):
                if missing:
                    await self._create_bucket()
                try:
                    await self._client.put_object(**wanted, ChecksumSHA256=checksum, IfNoneMatch="*")
                    return
                except ClientError as error:
                    if _code(error) == "PreconditionFailed":
                        return
                    if missing or _code(error) not in _MISSING:
                        raise

    async def head_object(self, key: str) -> ObjectHead | None:
        """What the store has under a key, or None."""
        with driver_errors():
            try:
                answer = await self._client.head_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
            kinds = (answer.get("CacheControl", ""), answer.get("ContentType", ""), answer.get("ContentEncoding"))
            return ObjectHead(answer["ContentLength"], *kinds)

    async def get_object(self, key: str) -> bytes | None:
        """An object's bytes, or None."""
        found = await self.get_tagged(key)
        return None if found is None else found[0]

    async def list_objects(self, prefix: str) -> list[StoredObject]:
        """All objects whose keys begin so, in order of keys; none where there is no bucket.

        Raises `Unavailable` beyond `limits.OBJECTS_LISTED_MAX`.
        """
        found: list[StoredObject] = []
        async for page in self._pages(Prefix=prefix):
            found += (StoredObject(each["Key"], each["Size"]) for each in page.get("Contents", ()))
            if len(found) > limits.OBJECTS_LISTED_MAX:
                raise Unavailable(f"{self.bucket} has more than {limits.OBJECTS_LISTED_MAX} objects of {prefix}…")
        return found

    async def list_folders(self, prefix: str) -> list[str]:
        """What comes up to the next `/` in the keys that begin so, each once, in order: however many keys those are."""
        found: list[str] = []
        async for page in self._pages(Prefix=prefix, Delimiter="/"):
            found += (each["Prefix"][len(prefix) :].removesuffix("/") for each in page.get("CommonPrefixes", ()))
        return found

    async def _pages(self, **wanted: str) -> AsyncIterator[Any]:
        """The pages of a list, one after the other; none where there is no bucket."""
        more: dict[str, str] = {}
        while True:
            with driver_errors():
                try:
                    answer = await self._client.list_objects_v2(Bucket=self.bucket, **wanted, **more)
                except ClientError as error:
                    if _code(error) in _MISSING:
                        return
                    raise
            yield answer
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    async def remove_object(self, key: str) -> None:
        """Takes an object away; one that is not there is none."""
        with driver_errors():
            await self._client.delete_object(Bucket=self.bucket, Key=key)

    async def _create_bucket(self) -> None:
        region = self._client.meta.region_name
        # us-east-1 is the one region that refuses to be named.
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            await self._client.create_bucket(Bucket=self.bucket, **place)
        except ClientError as error:
            if _code(error) not in _OURS_ALREADY:
                raise


@asynccontextmanager
async def open_objects(
    bucket: str, *, endpoint_url: str | None = None, region: str | None = None
) -> AsyncIterator[Objects]:
    """A bucket, with credentials, and without `region` the region, as the AWS tools find them. Nothing is sent before
    the first call."""
    config = Config(
        connect_timeout=limits.OBJECT_CONNECT_SECONDS,
        read_timeout=limits.OBJECT_READ_SECONDS,
        retries={"max_attempts": 2, "mode": "standard"},
        max_pool_connections=4,
        # Path addressing: a double on loopback has no name for each bucket.
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        signature_version="s3v4",
    )
    session = open_session()
    region = region or session.region_name or "us-east-1"
    with driver_errors():
        context = session.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)
    async with context as client:
        yield Objects(client, bucket)


def open_session() -> Any:
    """The driver, with credentials and region as the AWS tools find them."""
    return aioboto3.Session()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def driver_errors() -> Iterator[None]:
    # A body that breaks off is aiohttp's own error: the driver hands it on as it is.
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = StoreRefused if 400 <= status < 500 and status not in (408, 429) else Unavailable
        raise kind(f"The object store refused the call ({_code(error)}).") from error
    except (BotoCoreError, ClientPayloadError, OSError) as error:
        raise Unavailable("The object store does not answer.") from error
