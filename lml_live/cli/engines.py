"""The engines for those commands that need Redis as well: an event's book, and what it reads."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.cli.events import open_pool, running
from lml_live.infra import mongo
from lml_live.infra.config import load_settings
from lml_live.infra.postgres import Pool
from lml_live.infra.redis import load_scripts
from lml_live.infra.redis_topology import open_topology
from lml_live.inventory.book import Book
from lml_live.inventory.records import Sale
from lml_live.venues.backups import open_backups
from lml_live.venues.copies import Copies
from lml_live.venues.library import Library

_CONNECTIONS_MAX = 4
"""One for a turn, one for what is done in it, and two for an adopt meanwhile."""


class Opened(Struct, frozen=True):
    """What a command works with."""

    pool: Pool
    layouts: DeployedLayouts
    book: Book


@asynccontextmanager
async def open_book(name: str) -> AsyncIterator[Opened]:
    """PostgreSQL, MongoDB and Redis, as set, else those of the running `lml up`. Raises `Unavailable`."""
    settings = load_settings()
    urls = None if settings.redis_url and settings.postgres_dsn and settings.mongo_url else running(settings)
    async with AsyncExitStack() as stack:
        dsn = settings.postgres_dsn or urls.postgres_dsn  # type: ignore[union-attr]
        pool = await stack.enter_async_context(open_pool(dsn, size_max=_CONNECTIONS_MAX))
        database = mongo.connect_database(
            settings.mongo_url or urls.mongo_url,  # type: ignore[union-attr]
            settings.mongo_database,
        )
        stack.callback(mongo.close_database, database)
        redis = open_topology(settings.redis_url or urls.redis_url, load_scripts(), name=name)  # type: ignore[union-attr]
        await redis.start()
        stack.push_async_callback(redis.close)
        backups = await stack.enter_async_context(open_backups(settings))
        layouts = DeployedLayouts(Library(database), Copies(settings, backups))

        async def seat_directory(sale: Sale) -> dict[str, int]:
            return dict((await layouts.index(sale.layout_id, sale.layout_version, sale.layout_hash)).index_of)

        book = Book(redis, pool, seat_directory)
        stack.push_async_callback(book.close)
        yield Opened(pool, layouts, book)
