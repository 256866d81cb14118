"""What belongs to which sales channel, as PostgreSQL remembers it: adopt lays it over the inventory.

Written before the inventory is told. Each change is put on record in the status-change log in its own transaction:
neither is there without the other.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
from msgspec import UNSET, Struct, UnsetType

from lml_live.errors import NotFound, Refused
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

_EVENT: Final = postgres.statements("catalogue")
_SQL: Final = postgres.statements("channels")

OPEN: Final = "open"
"""What all sell is called where channels are named."""
RESERVED: Final = frozenset({"public", "staff"})
"""Names of views that are no channel's."""


class Channel(Struct, frozen=True):
    """A sales channel of an event. `opened_at`: from then on its allotment sells to all, until it is given more."""

    name: str
    number: int
    opens_at: datetime | None
    opened_at: datetime | None
    told_at: datetime | None


class Opening(NamedTuple):
    """An allotment that is to be opened, or of which the inventory is to be told."""

    event_id: str
    channel: str
    staff_id: str
    reason: str


class ChannelRows:
    """Rows of `event_channel`, `seat_channel` and `area_channel`. One event's changes wait for one another."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def load(self, event_id: str) -> list[Channel]:
        """An event's channels by number."""
        async with postgres.connection(self._pool) as connected:
            return await _load(connected, event_id)

    async def ensure(
        self, event_id: str, name: str, opens_at: datetime | UnsetType | None, staff_id: str, reason: str
    ) -> tuple[Channel, bool]:
        """The channel of this name, made where there is none, and from now on its own until `opens_at` (UNSET: as was
        planned); and whether the inventory must hear of it before it is given anything. Raises `Refused` where it is
        opening right now, and where the event has all the channels that a byte has room for."""
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            known = _find(await _load(connected, event_id), name)
            if known is None:
                try:
                    await connected.execute(_SQL["add_channel"], event_id, name, staff_id, reason)
                except asyncpg.CheckViolationError as error:
                    if error.constraint_name == "channel_number_fits":
                        raise Refused("limit_exceeded", "An event has at most 31 channels.") from error
                    raise
            elif known.opened_at is not None and known.told_at is None:
                raise _opened_meanwhile()
            if opens_at is UNSET:
                opens_at = known.opens_at if known is not None and known.opened_at is None else None
            await connected.execute(_SQL["plan_channel"], event_id, name, opens_at, staff_id, reason)
            is_news = known is None or known.opened_at is not None
            if is_news:
                await _announce(connected, event_id)
            found = _find(await _load(connected, event_id), name)
        assert found is not None, "it was just written"
        return found, is_news

    async def assign_seats(
        self, event_id: str, seat_ids: Sequence[str], channel: Channel | None, staff_id: str, reason: str
    ) -> dict[str, int | None]:
        """Gives seats to a channel (None: to all). Returns those with the number of the channel that each belonged to;
        what is missing in the answer is in checkout or sold. Raises `Refused` where the channel was opened since."""
        number, name = _spelled(channel)
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            await _expect_its_own(connected, event_id, channel)
            rows = await connected.fetch(_SQL["assign_seats"], event_id, seat_ids, number, name, staff_id, reason)
        return {row["seat_id"]: row["was"] for row in rows}

    async def give_back_seats(
        self, event_id: str, were: Mapping[str, int | None], channel: Channel | None, staff_id: str, reason: str
    ) -> None:
        """Takes back what the inventory refused."""
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            columns = list(were), list(were.values())
            await connected.execute(_SQL["give_back_seats"], event_id, *columns, _spelled(channel)[1], staff_id, reason)

    async def other_seats(
        self, event_id: str, applied: Mapping[str, int | None]
    ) -> dict[str, tuple[int | None, str | None]]:
        """Which of these seats belong to another channel than was applied: its number and name (None: to all)."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["other_seats"], event_id, list(applied), list(applied.values()))
        return {row["seat_id"]: (row["channel"], row["name"]) for row in rows}

    async def set_places(
        self,
        event_id: str,
        areas: Mapping[str, int],
        channel: Channel,
        staff_id: str,
        reason: str,
        *,
        refused: bool = False,
    ) -> dict[str, int]:
        """Sets how many places of areas a channel has; answers how many it had. `refused`: the inventory would not.
        Raises `Refused` where the channel was opened since."""
        act = "withdraw" if refused else "assign"
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            await _expect_its_own(connected, event_id, channel)
            rows = await connected.fetch(_SQL["load_places"], event_id, channel.number)
            had = {row["area_id"]: row["places"] for row in rows}
            for area_id, places in areas.items():
                if places:
                    await connected.execute(_SQL["put_places"], event_id, area_id, channel.number, places)
                else:
                    await connected.execute(_SQL["drop_places"], event_id, area_id, channel.number)
                record = (event_id, act, area_id, places, channel.name, staff_id, reason)
                await connected.execute(_SQL["record_places"], *record)
        return {area_id: had.get(area_id, 0) for area_id in areas}

    async def open(self, event_id: str, name: str, staff_id: str, reason: str) -> datetime:
        """What a channel has belongs to all from now on; answers since when. Raises `NotFound`."""
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_EVENT["lock_event"], event_id)
            opened_at: datetime | None = await connected.fetchval(
                _SQL["open_channel"], event_id, name, staff_id, reason
            )
            if opened_at is not None:
                await _announce(connected, event_id)
            else:
                opened_at = await connected.fetchval(_SQL["load_opening"], event_id, name)
        if opened_at is None:
            raise NotFound("The event has no such channel.")
        return opened_at

    async def finish_opening(self, event_id: str, name: str, opened_at: datetime) -> None:
        """The inventory has been told of all of it."""
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["finish_opening"], event_id, name, opened_at)

    async def openings_due(self, patience_seconds: float) -> list[Opening]:
        """Whose time has come; and what was opened longer ago than this, and the inventory does not know all of it."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["openings_due"], patience_seconds)
        return [Opening(*row) for row in rows]

    async def sold_places(self, event_id: str) -> dict[tuple[str, int], int]:
        """Places sold by (area, channel number)."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["sold_places"], event_id)
        return {(row["area_id"], row["channel"]): row["sold"] for row in rows}


async def _expect_its_own(connected: Connection, event_id: str, channel: Channel | None) -> None:
    """Raises `Refused` where the channel was opened since it was found: nobody would be told of later rows."""
    if channel is not None and await connected.fetchval(_SQL["load_opening"], event_id, channel.name) is not None:
        raise _opened_meanwhile()


def _opened_meanwhile() -> Refused:
    return Refused("conflict", "This channel is being opened right now; please try again.")


async def _announce(connected: Connection, event_id: str) -> None:
    await connected.execute(_SQL["raise_revision"], event_id)
    await connected.execute(_EVENT["announce_event"], event_id)


async def _load(connected: Connection, event_id: str) -> list[Channel]:
    return [Channel(*row) for row in await connected.fetch(_SQL["load_channels"], event_id)]


def _find(channels: Sequence[Channel], name: str) -> Channel | None:
    return next((channel for channel in channels if channel.name == name), None)


def _spelled(channel: Channel | None) -> tuple[int | None, str]:
    return (None, OPEN) if channel is None else (channel.number, channel.name)
