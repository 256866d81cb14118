"""What is on record of layouts, for commands: PostgreSQL may be elsewhere, or away."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import asyncpg

from lml_live.backoffice.layout_record import LayoutRecord
from lml_live.cli.events import find_postgres, open_pool, tell
from lml_live.errors import LmlError
from lml_live.infra.config import Settings, mask_secrets
from lml_live.venues.past import Past

T = TypeVar("T")

NO_ANSWER: Final = (LmlError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError)
"""What a command gets from a PostgreSQL that is away, is another's, or whose address is none."""


class CommandHistory:
    """`venues.past.History` of the PostgreSQL that is set, else that of `lml up`.

    Where there is none, or it does not answer, or not this command, that is told and nothing is held against it: the
    server's scrub does so later.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def of_layout(self, layout_id: str) -> Mapping[int, Past]:
        """By their numbers, the versions of a layout that are on record."""
        return await self._asked(lambda record: record.of_layout(layout_id), {})

    async def hashes_of(self, layout_id: str) -> frozenset[str]:
        """Every content that is on record of a layout."""
        return await self._asked(lambda record: record.hashes_of(layout_id), frozenset())

    async def _asked(self, ask: Callable[[LayoutRecord], Awaitable[T]], nothing: T) -> T:
        if (dsn := find_postgres(self._settings)) is None:
            return nothing
        try:
            async with open_pool(dsn, size_max=1) as pool:
                return await ask(LayoutRecord(pool))
        except NO_ANSWER as error:
            tell(f"not held against the audit trail: {why_no_answer(error)}")
            return nothing


def why_no_answer(error: Exception) -> str:
    """One of `NO_ANSWER` in words, without secrets."""
    return mask_secrets(error.message if isinstance(error, LmlError) else f"{type(error).__name__}: {error}")
