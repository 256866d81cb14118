"""What is on record of a layout's versions outside MongoDB, and whether MongoDB's word is behind it. Pure.

A version's state and its moments are in no hash. Steps are put on record after they are taken: MongoDB may be ahead of
the record, where that could not be written; then it is asked for once more before anything is sold on it. Behind it is
only what somebody has set back, and what the first step on record says of the content no later one changes
(docs/decisions/029).
"""

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import msgspec

from lml_live.venues.stored import STATES, LayoutVersion, State

_RANK: Final[Mapping[State, int]] = {state: rank for rank, state in enumerate(STATES)}

MEND: Final = "`lml layout mend` puts it right; look who may write to MongoDB."
SAVE_AGAIN: Final = "Save it again, if it is what was meant; else look who may write to MongoDB."
STEP_AGAIN: Final = (
    "If that was you, where no audit trail was in reach, do it again, publishing it by its hash; else look who may"
    " write to MongoDB."
)
SAVE_ANEW: Final = "If it is what was meant, save its content as a new draft; else look who may write to MongoDB."
"""What to do where MongoDB is behind the record, has another draft, is ahead of it, or has retired what nobody made."""
_DONE: Final[Mapping[State, str]] = {
    "draft": "saved",
    "published": "published",
    "deployed": "deployed",
    "retired": "retired",
}


class Past(msgspec.Struct, frozen=True):
    """What is on record of a version: the hash of its first step, or of its last draft where it has taken none; when
    it took each; and whether its draft is on record, too."""

    version: int
    hash: str
    published_ms: int | None = None
    deployed_ms: int | None = None
    retired_ms: int | None = None
    drafted: bool = False

    @property
    def state(self) -> State:
        """How far it came, in whatever order its steps were put on record."""
        if self.retired_ms is not None:
            return "retired"
        if self.deployed_ms is not None:
            return "deployed"
        return "draft" if self.published_ms is None else "published"

    def has_come_to(self, step: State) -> bool:
        """Whether it came so far. That it was retired says nothing of what it was before: whoever found a version that
        nobody had published could take it out of use, and its hash was put on record by that."""
        deployed = self.deployed_ms is not None
        if step == "published":
            return deployed or self.published_ms is not None
        return deployed if step == "deployed" else True


class History(Protocol):
    """`backoffice.layout_record`."""

    async def of_layout(self, layout_id: str) -> Mapping[int, Past]:
        """By their numbers, the versions of a layout that are on record. Raises `Unavailable`."""
        ...

    async def hashes_of(self, layout_id: str) -> frozenset[str]:
        """Every content that is on record of a layout: its drafts', and what each version's first step was taken with.
        Raises `Unavailable`."""
        ...


def why_set_back(version: LayoutVersion, past: Past | None) -> str | None:
    """In words, what MongoDB says of a version that cannot be after what is on record; None where all can.

    Where only a draft is on record and the version is more, it may be another draft's: `why_ahead` says of it that
    nobody is on record to have published it, and whoever did may do it again.
    """
    if past is None or (past.state == "draft" and version.state != "draft"):
        return None
    if _RANK[version.state] < _RANK[past.state]:
        return f"is {version.state} in MongoDB, but was {past.state}"
    if version.hash != past.hash:
        did = "saved" if past.state == "draft" else past.state
        return f"has the hash {version.hash} in MongoDB, but was {did} with {past.hash}"
    return None


def why_ahead(version: LayoutVersion, pasts: Mapping[int, Past], step: State) -> str | None:
    """In words, that a version is in MongoDB what nobody is on record to have made of it: `step`, or further.

    None where somebody is, and for what is from before there was a record.
    """
    past = pasts.get(version.version)
    if (past is not None and past.has_come_to(step)) or is_older(version.version, pasts):
        return None
    return f"is {version.state} in MongoDB, and nobody is on record to have {_DONE[step]} it"


def what_to_do_ahead(version: LayoutVersion) -> str:
    """What to do with a version that is ahead of its record."""
    return {"draft": SAVE_AGAIN, "retired": SAVE_ANEW}.get(version.state, STEP_AGAIN)


def is_older(version: int, pasts: Mapping[int, Past]) -> bool:
    """Whether a version is from before there was a record: neither its draft nor its publishing is on it, nor any draft
    with a lower number."""
    past = pasts.get(version)
    if past is not None and (past.drafted or past.published_ms is not None):
        return False
    first = min((each.version for each in pasts.values() if each.drafted), default=None)
    return first is None or version < first


def was_published(past: Past, pasts: Mapping[int, Past]) -> bool:
    """Whether what is on record of a version makes its content genuine: a draft's, or one that was only ever retired,
    does not, unless it is from before there was a record."""
    return past.has_come_to("published") or (past.state == "retired" and is_older(past.version, pasts))


def is_content_on_record(version: LayoutVersion, pasts: Mapping[int, Past]) -> bool:
    """Whether the hash of a version that is no draft is the one on record of it, whatever became of its state, or it is
    from before there was a record."""
    past = pasts.get(version.version)
    return (past is None or past.hash == version.hash) and why_ahead(version, pasts, "published") is None


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
