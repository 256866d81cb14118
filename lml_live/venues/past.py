"""What is on record of a layout's versions outside MongoDB, and whether MongoDB's word is behind it. Pure.

A version's state and its moments are in no hash. Steps are put on record after they are taken: MongoDB may be ahead of
the record, where that could not be written. Behind it is only what somebody has set back (docs/decisions/029).
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Protocol

import msgspec

from lml_live.venues.stored import STATES, LayoutVersion, State

_RANK: Final[Mapping[State, int]] = {state: rank for rank, state in enumerate(STATES)}


class Past(msgspec.Struct, frozen=True):
    """What is on record of a version that has taken a step: its hash, and when it took each."""

    version: int
    hash: str
    published_ms: int | None = None
    deployed_ms: int | None = None
    retired_ms: int | None = None

    @property
    def state(self) -> Literal["published", "deployed", "retired"]:
        """How far it came, in whatever order its steps were put on record."""
        if self.retired_ms is not None:
            return "retired"
        return "published" if self.deployed_ms is None else "deployed"


class History(Protocol):
    """`backoffice.layout_record`."""

    async def of_layout(self, layout_id: str) -> Mapping[int, Past]:
        """By their numbers, the versions of a layout that have taken a step. Raises `Unavailable`."""
        ...


def why_set_back(version: LayoutVersion, past: Past | None) -> str | None:
    """In words, what MongoDB says of a version that cannot be after what is on record; None where all can."""
    if past is None:
        return None
    if _RANK[version.state] < _RANK[past.state]:
        return f"is {version.state} in MongoDB, but was {past.state}"
    if version.hash != past.hash:
        return f"has the hash {version.hash} in MongoDB, but was {past.state} with {past.hash}"
    return None


def put_forward(version: LayoutVersion, past: Past) -> LayoutVersion:
    """The version as it must have been after its furthest step on record."""
    published = past.published_ms or version.published_ms or past.deployed_ms or past.retired_ms
    return msgspec.structs.replace(
        version,
        state=past.state,
        hash=past.hash,
        published_ms=published,
        deployed_ms=past.deployed_ms or version.deployed_ms,
        retired_ms=past.retired_ms,
    )


def next_number(known: Iterable[LayoutVersion], past: Iterable[int]) -> int:
    """The number of a new version: none is given twice, also where MongoDB has lost one."""
    return 1 + max((0, *(existing.version for existing in known), *past))
