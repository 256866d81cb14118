"""What `lml event check` does: it compares Redis with PostgreSQL (`inventory.checker`), and mends where told to.

Apart from the other commands of events: only this one needs Redis.
"""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from lml_live import limits
from lml_live.cli.engines import open_book
from lml_live.errors import LmlError
from lml_live.inventory.checker import Checker
from lml_live.inventory.drift import Drift
from lml_live.inventory.holds import Holds

_SECRET = b"only ids of new holds need the house's, and none is made here"


class Verdict(Struct, frozen=True):
    """What became of one event's check; `fault` says why there was none."""

    event: str
    drift: tuple[Drift, ...] = ()
    mended: str = ""
    fault: str = ""


async def check_events(events: Sequence[str], *, mend: bool) -> list[Verdict]:
    """Checks the events named, or every one whose sale is not over. Raises `Unavailable` where an engine is away."""
    async with open_book("lml-check") as opened:
        book, pool = opened.book, opened.pool
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
