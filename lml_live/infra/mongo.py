"""MongoDB: the connection, collections with a schema, and the driver's errors in our own words.

motor's upstream has moved on to PyMongo's own async API. It is imported here alone, so that the swap touches one file.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from lml_live import limits
from lml_live.errors import Conflict, InvalidInput, Unavailable

Document: TypeAlias = dict[str, Any]
Database: TypeAlias = AsyncIOMotorDatabase[Document]

_FAILED_VALIDATION: Final = 121
_COLLECTION_EXISTS: Final = 48


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
        if error.code == _FAILED_VALIDATION:
            raise InvalidInput("MongoDB's schema refuses the document.") from error
        raise Unavailable(f"MongoDB refused the call ({error.code}).") from error
    except PyMongoError as error:
        raise Unavailable("MongoDB does not answer.") from error


async def ping(database: Database) -> None:
    """Returns when MongoDB answers. Raises `Unavailable`."""
    with driver_errors():
        await database.command("ping")


async def ensure_collection(database: Database, name: str, schema: Mapping[str, Any]) -> None:
    """A collection whose every insert and update must fit a JSON Schema; safe to call again, and by several at once."""
    rules: Document = {
        "validator": {"$jsonSchema": dict(schema)},
        "validationLevel": "strict",
        "validationAction": "error",
    }
    with driver_errors():
        try:
            await database.create_collection(name, check_exists=False, **rules)
        except OperationFailure as error:
            if error.code != _COLLECTION_EXISTS:
                raise
            await database.command({"collMod": name, **rules})
