"""Partners: who sells for us elsewhere, and the API keys that they show. A key is kept as its SHA-256 only."""

import hashlib
import re
import secrets
from typing import Final

from msgspec import Struct

from lml_live import limits
from lml_live.errors import InvalidInput, Violation
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.values import ID_PATTERN, PARTNER_KEY_PREFIX, new_id

_SQL: Final = postgres.statements("partners")
_KEY_BYTES: Final = 32
_OURS: Final = frozenset({"web", "box-office", "open", "public", "staff"})


class Partner(Struct, frozen=True):
    """Somebody who sells through a channel of this name, in the events that have one."""

    id: str
    name: str
    channel: str


class Partners:
    """Knows partners by their keys."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, name: str, channel: str) -> str:
        """Makes a partner and answers the API key, which is told this once. Raises `InvalidInput`."""
        if re.fullmatch(ID_PATTERN, channel) is None or channel in _OURS:
            raise InvalidInput(
                "There can be no such partner.",
                errors=(Violation("channel", "is no name of 1 to 64 of A-Z, a-z, 0-9 and '-', or is the house's own"),),
            )
        key = PARTNER_KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["add_partner"], new_id("partner"), name, channel, _digest(key))
        return key

    async def end(self, channel: str) -> int:
        """Takes the keys of all partners of a channel away, and answers how many those were."""
        async with postgres.connection(self._pool) as connected:
            return len(await connected.fetch(_SQL["end_partners"], channel))

    async def sells(self, channel: str) -> bool:
        """Whether any partner of a channel has a key that is good: only then its customers' tokens are renewed."""
        async with postgres.connection(self._pool) as connected:
            return bool(await connected.fetchval(_SQL["has_partner"], channel))

    async def who(self, key: str) -> Partner | None:
        """Whose key this is, or None: unknown, or taken away."""
        if not key.startswith(PARTNER_KEY_PREFIX) or len(key) > limits.TOKEN_CHARS_MAX:
            return None
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["find_partner"], _digest(key))
        return None if row is None else Partner(row["id"], row["name"], row["channel"])


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
