"""MongoDB: the connection, collections with a schema, and the driver's errors in our own words.

motor's upstream has moved on to PyMongo's own async API. It is imported here alone, so that the swap touches one file.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Protocol, TypeAlias

import msgspec
from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
)
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from lml_live import limits
from lml_live.errors import Conflict, InvalidInput, Unavailable

Document: TypeAlias = dict[str, Any]
Database: TypeAlias = AsyncIOMotorDatabase[Document]
Session: TypeAlias = AsyncIOMotorClientSession


class Collections(Protocol):
    """Collections by name, and the connection that they share: a database, or some of one under other names."""

    @property
    def client(self) -> AsyncIOMotorClient[Document]:
        """The connection."""

    def __getitem__(self, name: str) -> AsyncIOMotorCollection[Document]:
        """One collection."""


class Prefixed:
    """The collections of a database whose names begin with `prefix`."""

    def __init__(self, database: Database, prefix: str) -> None:
        self.client = database.client
        self._database, self._prefix = database, prefix

    def __getitem__(self, name: str) -> AsyncIOMotorCollection[Document]:
        return self._database[self._prefix + name]


_FAILED_VALIDATION: Final = 121
_COLLECTION_EXISTS: Final = 48
_UNAUTHORIZED: Final = 13
_DUPLICATE_KEY: Final = 11000
_WRITE_CONFLICT: Final = 112
_TOO_LARGE_FOR_CACHE: Final = 388


def connect_database(url: str, name: str) -> Database:
    """A database of a replica set; nothing is sent before the first call.

    A write is answered when a majority has it, and reads see only such writes: a published layout stays published.
    """
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
        url,
        appname="lml",
        serverSelectionTimeoutMS=limits.MONGO_SELECT_MS,
        connectTimeoutMS=limits.MONGO_SELECT_MS,
        waitQueueTimeoutMS=limits.MONGO_SELECT_MS,
        # Not `timeoutMS`: with it the driver tries again until that time is over, also where nobody is there.
        socketTimeoutMS=limits.MONGO_CALL_MS,
        maxPoolSize=10,
        retryWrites=True,
        retryReads=True,
        w="majority",
        journal=True,
        readConcernLevel="majority",
    )
    return client[name]


def close_database(database: Database) -> None:
    """Ends the connections behind a database."""
    database.client.close()


@contextmanager
def driver_errors() -> Iterator[None]:
    """Says the driver's errors in our words: a key used twice is `Conflict`, a document that the schema refuses is
    `InvalidInput`, everything else means that MongoDB cannot serve now: `Unavailable`."""
    try:
        yield
    except DuplicateKeyError as error:
        raise Conflict("Somebody else stored the same thing at the same moment.") from error
    except OperationFailure as error:
        codes = _codes(error)
        if _FAILED_VALIDATION in codes:
            raise InvalidInput("MongoDB's schema refuses the document.") from error
        if _TOO_LARGE_FOR_CACHE in codes or "Cache full" in str(error):
            raise Unavailable("MongoDB's cache is too small for this: 1 GB is enough for any layout.") from error
        if _WRITE_CONFLICT in codes or _DUPLICATE_KEY in codes:
            raise Conflict("Somebody else stored the same thing at the same moment.") from error
        if _UNAUTHORIZED in codes:
            raise Unavailable("MongoDB does not let this user do it: run `lml migrate` as the owner.") from error
        raise Unavailable(f"MongoDB refused the call ({error.code}).") from error
    except PyMongoError as error:
        raise Unavailable("MongoDB does not answer.") from error


def _codes(error: OperationFailure) -> set[int | None]:
    """Of many documents in one call it is those refused that carry the reason."""
    return {error.code, *(fault.get("code") for fault in (error.details or {}).get("writeErrors", ()))}


async def ping(database: Database) -> None:
    """Returns when MongoDB answers. Raises `Unavailable`."""
    with driver_errors():
        await database.command("ping")


class Index(msgspec.Struct, frozen=True):
    """An index that a collection must have, by name."""

    name: str
    keys: tuple[tuple[str, int], ...]
    unique: bool = False
    only: Mapping[str, Any] | None = None
    """The documents that it is about; None for all."""


async def ensure_collection(database: Database, name: str, validator: Mapping[str, Any]) -> None:
    """A collection whose every insert and update must pass a validator; safe to call again, and by several at once.

    Asks before it changes anything: a server's user, who may change no rules, finds them as they should be.
    """
    rules: Document = {"validator": dict(validator), "validationLevel": "strict", "validationAction": "error"}
    with driver_errors():
        found = await database.list_collections(filter={"name": name})
        listed = [collection async for collection in found]
        if listed and {rule: listed[0]["options"].get(rule) for rule in rules} == rules:
            return
        try:
            if not listed:
                await database.create_collection(name, check_exists=False, **rules)
                return
        except OperationFailure as error:
            if error.code != _COLLECTION_EXISTS:
                raise
        await database.command({"collMod": name, **rules})


async def ensure_indexes(database: Database, name: str, indexes: Sequence[Index]) -> None:
    """The indexes that a collection does not have yet are made."""
    with driver_errors():
        known = await database[name].index_information()
        for index in indexes:
            if index.name not in known:
                options: Document = {} if index.only is None else {"partialFilterExpression": dict(index.only)}
                await database[name].create_index(list(index.keys), unique=index.unique, name=index.name, **options)


@asynccontextmanager
async def transaction(database: Collections) -> AsyncIterator[Session]:
    """All that is written with the session, or nothing, and a majority has it when this ends.

    Raises `Conflict` where another transaction has just written the same documents, `Unavailable` where MongoDB does
    not answer (then nobody knows whether it was kept) or has less cache than a transaction of this size needs.
    """
    with driver_errors():
        async with await database.client.start_session() as session, session.start_transaction():
            yield session
