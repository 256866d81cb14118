"""The steps of layouts, on record in the audit trail: whoever takes one, over REST or at a command line."""

from typing import Literal, Protocol

import msgspec

from lml_live.backoffice.trail import Trail

Step = Literal["published", "deployed", "retired", "backed_up", "restored", "mended", "pushed", "rolled_back", "linked"]


class Stepped(Protocol):
    """What a step was taken with: a version, a backup of one, or the pointer to one."""

    @property
    def layout_id(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def hash(self) -> str: ...


async def record_step(trail: Trail, step: Step, what: Stepped) -> None:
    """Puts a step on record, as taken by whoever acts here."""
    detail = msgspec.json.encode({"version": what.version, "hash": what.hash})
    await trail.write(f"layout.{step}", ("layout", what.layout_id), detail=detail.decode())
