"""The steps of layouts, on record in the audit trail: whoever takes one, over REST or at a command line."""

from typing import Any, Final, Literal, Protocol

import msgspec

from lml_live.backoffice.trail import Trail
from lml_live.venues.retention import Backup
from lml_live.venues.stored import LayoutVersion

Step = Literal[
    "saved",
    "imported",
    "begun",
    "published",
    "deployed",
    "retired",
    "backed_up",
    "restored",
    "mended",
    "pushed",
    "rolled_back",
    "linked",
]
_COUNTED: Final = ("seat_count", "place_count", "size_bytes")


class Stepped(Protocol):
    """What a step was taken with: a version, a backup of one, or the pointer to one."""

    @property
    def layout_id(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def hash(self) -> str: ...


class _OfDraft(msgspec.Struct, frozen=True):
    """A draft, as a step is taken with it."""

    draft: LayoutVersion

    @property
    def layout_id(self) -> str:
        return self.draft.layout_id

    @property
    def version(self) -> int:
        return self.draft.version

    @property
    def hash(self) -> str:
        return self.draft.hash


class Drafted(_OfDraft, frozen=True):
    """A draft that was stored, and what it came from: the hash of the draft that it replaced, or the version that it
    was begun with."""

    instead_of: str | None = None
    begun_with: int | None = None


class Restored(_OfDraft, frozen=True):
    """A draft that a backup was made into again."""

    backup: Backup | None


def detail_of(what: Stepped) -> dict[str, Any]:
    """What is on record of a step: never the plan itself, which has its hash, but how large it is."""
    detail: dict[str, Any] = {"version": what.version, "hash": what.hash}
    if isinstance(what, Drafted):
        detail |= {name: getattr(what.draft, name) for name in _COUNTED}
        came_from = {"instead_of": what.instead_of, "begun_with": what.begun_with}
        detail |= {name: value for name, value in came_from.items() if value is not None}
    if isinstance(what, Restored) and what.backup is not None:
        detail["backup"] = what.backup.id
    return detail


async def record_step(trail: Trail, step: Step, what: Stepped) -> None:
    """Puts a step on record, as taken by whoever acts here."""
    detail = msgspec.json.encode(detail_of(what))
    await trail.write(f"layout.{step}", ("layout", what.layout_id), detail=detail.decode())
