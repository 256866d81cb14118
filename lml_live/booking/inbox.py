"""The inbox as PostgreSQL keeps it: Stripe's notices, each once, until somebody has looked into them."""

from typing import Final

from lml_live import limits
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool

_SQL: Final = postgres.statements("booking")


class Inbox:
    """The notices that came."""

    _pool: Pool

    async def keep_notice(self, notice: str, kind: str, intent: str | None) -> bool:
        """Keeps one of Stripe's notices; False where it came before."""
        async with postgres.connection(self._pool) as connected:
            return await connected.fetchval(_SQL["keep_notice"], notice, kind, intent) is not None

    async def open_notices(self, count: int) -> list[tuple[str, str, str | None, str | None]]:
        """(notice, type, intent, booking) that are to be looked into; None where no booking has that intent (yet)."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["open_notices"], count)
        return [(row["id"], row["type"], row["intent_id"], row["booking_id"]) for row in rows]

    async def postpone_notice(self, notice: str, seconds: float) -> None:
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["postpone_notice"], notice, seconds, limits.NOTICE_BACK_OFF_SECONDS_MAX)

    async def finish_notice(self, notice: str) -> None:
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["finish_notice"], notice)
