"""What `lml event check` does: it compares Redis with PostgreSQL (`inventory.checker`), and mends where told to.

Apart from the other commands of events: only this one needs Redis.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from msgspec import Struct

from lml_live import limits
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.cli.events import open_pool, running
from lml_live.errors import LmlError
from lml_live.infra import mongo
from lml_live.infra.config import load_settings
from lml_live.infra.redis import load_scripts
from lml_live.infra.redis_topology import open_topology
from lml_live.inventory.book import Book
from lml_live.inventory.checker import Checker
from lml_live.inventory.drift import Drift
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import Sale
from lml_live.venues.library import Library

_SECRET = b"only ids of new holds need the house's, and none is made here"


class Verdict(Struct, frozen=True):
    """What became of one event's check; `fault` says why there was none."""

    event: str
    drift: tuple[Drift, ...] = ()
    mended: str = ""
    fault: str = ""


async def check_events(events: Sequence[str], *, mend: bool) -> list[Verdict]:
    """Checks the events named, or every one whose sale is not over. Raises `Unavailable` where an engine is away."""
    settings = load_settings()
    urls = None if settings.redis_url and settings.postgres_dsn and settings.mongo_url else running(settings)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.postgres_dsn or urls.postgres_dsn))  # type: ignore[union-attr]
        database = mongo.connect_database(
            settings.mongo_url or urls.mongo_url,  # type: ignore[union-attr]
            settings.mongo_database,
        )
        stack.callback(mongo.close_database, database)
        redis = open_topology(settings.redis_url or urls.redis_url, load_scripts(), name="lml-check")  # type: ignore[union-attr]
        await redis.start()
        stack.push_async_callback(redis.close)
        layouts = DeployedLayouts(Library(database))

        async def seat_directory(sale: Sale) -> dict[str, int]:
            return dict((await layouts.index(sale.layout_id, sale.layout_version)).index_of)

        book = Book(redis, pool, seat_directory)
        stack.push_async_callback(book.close)
        checker = Checker(book, Holds(book, _SECRET), pool)
        at_once = asyncio.Semaphore(limits.ADOPTS_AT_ONCE)

        async def check_one(event: str) -> Verdict:
            async with at_once:
                try:
                    drift = await checker.check(event)
                    mended = await checker.mend(event, drift) if mend else ""
                    if mended == "adopted":
                        await book.recover(event, wait=True)
                except LmlError as error:
                    return Verdict(event, fault=error.message)
                return Verdict(event, drift, mended)

        return list(await asyncio.gather(*map(check_one, events or await checker.events())))
