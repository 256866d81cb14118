"""What is on record of layouts, for commands: PostgreSQL may be elsewhere, or away."""

from collections.abc import Mapping

import asyncpg

from lml_live.backoffice.layout_record import LayoutRecord
from lml_live.cli.events import open_pool, tell
from lml_live.errors import LmlError
from lml_live.infra.config import Settings, mask_secrets
from lml_live.venues.past import Past


class CommandHistory:
    """`venues.past.History` of the PostgreSQL that is set, else that of `lml up`.

    Where there is none, or it does not answer, or not this command, that is told and nothing is held against it: the
    server's scrub does so later.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def of_layout(self, layout_id: str) -> Mapping[int, Past]:
        """By their numbers, the versions of a layout that have taken a step."""
        # Only commands that store need the embedded engines' code.
        from lml_live.devstack.engines import running_engines

        running = None if self._settings.postgres_dsn else running_engines(self._settings)
        dsn = self._settings.postgres_dsn or (running.postgres_dsn if running is not None else None)
        if dsn is None:
            return {}
        try:
            async with open_pool(dsn, size_max=1) as pool:
                return await LayoutRecord(pool).of_layout(layout_id)
        except (LmlError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            why = error.message if isinstance(error, LmlError) else f"{type(error).__name__}: {error}"
            tell(f"not held against the audit trail: {mask_secrets(why)}")
            return {}
