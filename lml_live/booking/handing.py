"""Signing in: what the anonymous holder of this browser holds and has booked becomes the account's.

    write down that it is to be done        durable: from here on it is finished by whichever worker is left
    bookings, in PostgreSQL                 one transaction, each on record; the account's from here on
    holds, in Redis                         one atomic step an event, each hold that the account's limits have room for

A worker that dies in between leaves bookings that are the account's and holds that are not yet; the leader goes on. So
it does where Redis does not answer, and where a checkout is under way: a hold that is marked and not claimed stays its
holder's, and so will its booking be, until the next round finds it in PostgreSQL. No booking is ever of one holder here
and of another there for longer than a round.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from msgspec import Struct

from lml_live import limits
from lml_live.errors import LmlError, NotFound, Unavailable
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.inventory.handing import HandOvers

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("handing")


class Handed(Struct, frozen=True):
    """What is the account's now. `kept` are holds that stay the browser's, and why; `complete` is False where some of
    it could not be done yet, and will be by itself."""

    holds: tuple[str, ...]
    kept: dict[str, str]
    bookings: tuple[str, ...]
    complete: bool


class Handing:
    """Hands over, at once and for those who died over it."""

    def __init__(self, pool: Pool, hand_overs: HandOvers) -> None:
        self._pool = pool
        self._hand_overs = hand_overs

    async def begin(self, holder: str, to: str) -> Handed:
        """Hands over what a holder has to an account's. Raises `Unavailable` where nothing was written down."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["begin_hand_over"], holder, to, float(limits.HAND_OVER_RETRY_SECONDS))
        assert row is not None, "begin_hand_over always returns a row"
        return await self._carry_out(row["id"], row["due"], holder, to)

    async def run(self, leads: Callable[[], bool]) -> None:
        """Ends what others began, in the worker that leads, until cancelled."""
        while True:
            await asyncio.sleep(limits.HAND_OVER_LOOK_SECONDS)
            if not leads():
                continue
            try:
                await self.turn()
                await self.forget()
            except LmlError as error:
                log.debug("hand-overs wait: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("handing over failed")

    async def turn(self) -> int:
        """Goes on with those that are due; answers how many."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(
                _SQL["lease_hand_overs"],
                limits.HAND_OVERS_AT_ONCE,
                float(limits.HAND_OVER_RETRY_SECONDS),
                float(limits.HAND_OVER_SECONDS_MAX),
            )
        for row in rows:
            complete = False
            try:
                handed = await self._carry_out(row["id"], row["due"], row["from_holder"], row["to_holder"])
                complete = handed.complete
            except Exception:  # one that cannot be done must not keep the others (style.md, 14)
                log.exception("hand-over %d failed", row["id"])
            if row["late"] and not complete:
                log.warning("hand-over %d is given up: what is left stays its holder's", row["id"])
                await self._finish(row["id"], row["due"])
        return len(rows)

    async def forget(self) -> None:
        """Forgets some of those that ended `HAND_OVER_KEPT_SECONDS` ago. An open one is never forgotten."""
        async with postgres.connection(self._pool) as connected:
            await connected.execute(
                _SQL["drop_old_hand_overs"],
                float(limits.HAND_OVER_KEPT_SECONDS),
                limits.HAND_OVERS_DROPPED_AT_ONCE,
            )

    async def _carry_out(self, number: int, due: datetime, holder: str, to: str) -> Handed:
        bookings: tuple[str, ...] = ()
        holds: list[str] = []
        kept: dict[str, str] = {}
        try:
            async with postgres.transaction(self._pool) as connected:
                if await connected.fetchval(_SQL["keep_open"], number) is None:
                    return Handed((), {}, (), complete=True)  # whoever came later has done it all
                await connected.execute(_SQL["lock_events_shared"], holder)
                events = await connected.fetch(_SQL["events_to_look_at"], holder, to)
                bookings = tuple(row["id"] for row in await connected.fetch(_SQL["hand_bookings"], holder, to))
            found = set(await self._hand_overs.find(holder, [(row["id"], row["group_id"]) for row in events]))
            # Where there are bookings, an adopt that began before they changed hands writes the old holder: only the
            # script, which waits for it, sees that.
            for event in [row["id"] for row in events if row["booked"] or row["id"] in found]:
                async with postgres.connection(self._pool) as connected:
                    theirs = [row["id"] for row in await connected.fetch(_SQL["bookings_of_event"], to, event)]
                try:
                    handed = await self._hand_overs.hand_over(event, holder, to, theirs)
                except NotFound:  # removed meanwhile
                    continue
                holds += handed.holds
                kept |= handed.kept
        except Unavailable as error:
            log.warning("hand-over %d is finished later: %s", number, error)
            return Handed(tuple(holds), kept, bookings, complete=False)
        complete = "hold_in_checkout" not in kept.values()
        if complete:
            await self._finish(number, due)
        return Handed(tuple(holds), kept, bookings, complete)

    async def _finish(self, number: int, due: datetime) -> None:
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["finish_hand_over"], number, due)
