"""How far a member of staff reaches: who is bound to organisations sees and changes what is theirs, and nothing else.

A manager or clerk who is a member of an organisation is *bound*; all others, and administrators, have the whole house.
What is not an organisation's of theirs is not there for them (docs/decisions/027).
"""

from collections.abc import Mapping
from typing import Final

from lml_live import values
from lml_live.errors import NotFound
from lml_live.guard.staff import Staff
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool

_SQL: Final = postgres.statements("reach")

KINDS: Final = ("organisation", "event", "booking", "hold")
"""What is somebody's, by the name of a path's parameter. A venue is asked for below its organisation."""


class Reach:
    """Asked before anything is looked up."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def check(self, staff: Staff, named: Mapping[str, str]) -> None:
        """Of those who are bound. Raises `NotFound` where something that is named is none of theirs."""
        # Of an organisation's venue and event the organisation decides: so a draft of the house's may become theirs.
        kinds = ("organisation",) if "organisation" in named else KINDS
        for kind in kinds:
            if kind in named and not await self.has(staff.id, kind, named[kind]):
                raise NotFound(f"There is no such {kind}.")

    async def has(self, staff: str, kind: str, name: str) -> bool:
        """Whether it is of an organisation that has them."""
        if not values.is_id(name):
            return False
        async with postgres.connection(self._pool) as connected:
            found: bool = await connected.fetchval(_SQL["reaches"], staff, kind, name)
        return found
