"""Stripe's notices that never came: what its own list of events still has as undelivered (reliability.md, F23).

A notice found there is kept as one that came: once by its id, and heeded as any other. Most of what it says is found by
looks at bookings and by the daily match, too, in their time. What is known soon by its notice alone: that an intent was
paid which no booking names.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from lml_live import limits
from lml_live.booking.notices import Notice
from lml_live.booking.payments import PaymentFault
from lml_live.errors import Unavailable

log: Final = logging.getLogger(__name__)

ReadUndelivered = Callable[[datetime, str | None], Awaitable[tuple[tuple[Notice, ...], str | None]]]
"""A page of what Stripe could not deliver since a time, the newest first, and where the next page begins, or None."""
KeepNotice = Callable[[str, str, str | None], Awaitable[bool]]
"""Keeps (notice, type, intent); False where it came before."""


class MissedNotices:
    """The looks, and the loop of one worker that makes them."""

    def __init__(self, read_page: ReadUndelivered, keep: KeepNotice, wake: Callable[[], None]) -> None:
        self._read_page = read_page
        self._keep = keep
        self._wake = wake
        self._looked: datetime | None = None

    async def run(self, leads: Callable[[], bool]) -> None:
        """Until cancelled: looks every `MISSED_LOOK_SECONDS` where this worker leads."""
        while True:
            await asyncio.sleep(limits.MISSED_LOOK_SECONDS)
            try:
                if leads():
                    await self.look(datetime.now(UTC))
            except (PaymentFault, Unavailable) as error:
                log.warning("Stripe's undelivered events are not read now: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("reading Stripe's undelivered events failed")

    async def look(self, now: datetime) -> int:
        """Keeps what was not delivered since the last look of this process, at first of all that Stripe still knows;
        answers how many notices are new. Raises `PaymentFault`, `Unavailable`: then the next look begins as this one.

        What is still on its way counts as undelivered: it is kept now, and its delivery is a repetition. Of more than
        are read at once the oldest wait for the daily match: else a list that stays as long is read at each look.
        """
        if self._looked is None:
            since = now - timedelta(days=limits.MISSED_DAYS)
        else:
            since = self._looked - timedelta(seconds=limits.FIND_SLACK_SECONDS)
        after, kept = None, 0
        for _ in range(limits.MISSED_PAGES_MAX):
            notices, after = await self._read_page(since, after)
            for notice in notices:
                kept += await self._keep(notice.id, notice.type, notice.intent)
            if after is None:
                break
        else:
            log.warning("Stripe has more undelivered events than are read at once: the oldest wait for the daily match")
        self._looked = now
        if kept:
            # A few are those that are on their way at this moment.
            log.warning("%d notices of Stripe's had not come yet; if it is many, do its webhooks reach us?", kept)
            self._wake()
        return kept
