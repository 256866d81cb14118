"""Who acts, and from where: said once a request, read by every transaction, written by the audit trail's triggers.

Of the task's context and not an argument: an act that forgot to hand it on would be on record as nobody's
(docs/decisions/016).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal

from msgspec import Struct

ActorKind = Literal["holder", "staff", "partner", "system"]


class Acting(Struct, frozen=True):
    """`origin` stands for a network address; empty where there is none. No kind: who it is follows from the row."""

    kind: ActorKind | None
    id: str
    origin: str


_ACTING: Final[ContextVar[Acting | None]] = ContextVar("acting", default=None)


def acting() -> Acting | None:
    """Who acts, or None: the program by itself."""
    return _ACTING.get()


def act_as(kind: ActorKind | None, actor_id: str, origin: str) -> None:
    """From here to the end of the request this one acts."""
    _ACTING.set(Acting(kind, actor_id, origin))


@contextmanager
def acting_ends(who: Acting | None = None) -> Iterator[None]:
    """Whoever acts in here, `who` to begin with, acts in here only: a connection's requests share one task."""
    token = _ACTING.set(who)
    try:
        yield
    finally:
        _ACTING.reset(token)
