"""The inbox as PostgreSQL keeps it: Stripe's notices, each once, until somebody has looked into them."""

from typing import Final

from msgspec import Struct

from lml_live import limits
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool

_SQL: Final = postgres.statements("booking")


class OpenNotice(Struct, frozen=True, kw_only=True):
    """A notice that is to be looked into. `booking` is None where none has that intent (yet)."""

    id: str
    type: str
    intent: str | None
    booking: str | None
    account: str | None
    payout: str | None


class Inbox:
    """The notices that came."""

    _pool: Pool

    async def keep_notice(
        self, notice: str, kind: str, intent: str | None, account: str | None = None, payout: str | None = None
    ) -> bool:
        """Keeps one of Stripe's notices; False where it came before."""
        about = (intent, account, payout)
        async with postgres.connection(self._pool) as connected:
            return await connected.fetchval(_SQL["keep_notice"], notice, kind, *about) is not None

    async def open_notices(self, count: int) -> list[OpenNotice]:
        """Those that are due, at most so many."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["open_notices"], count)
        return [
            OpenNotice(
                id=row["id"],
                type=row["type"],
                intent=row["intent_id"],
                booking=row["booking_id"],
                account=row["account_id"],
                payout=row["payout_id"],
            )
            for row in rows
        ]

    async def postpone_notice(self, notice: str, seconds: float) -> None:
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["postpone_notice"], notice, seconds, limits.NOTICE_BACK_OFF_SECONDS_MAX)

    async def finish_notice(self, notice: str) -> None:
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["finish_notice"], notice)
