"""The rows: what each asks, and which figures it promises. What it cannot give is listed with the reason."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from lml_live.bench.figures import Figure, Goal, not_measured
from lml_live.bench.stand import Stand, reason_of
from lml_live.errors import LmlError


class Promise(Struct, frozen=True):
    """A figure that a row gives, measured or with a reason."""

    figure: str
    unit: str
    goal: Goal | None = None


class Row(Struct, frozen=True):
    """One row: the name for `--only`, what it asks, and how it is measured."""

    name: str
    asks: str
    promises: tuple[Promise, ...]
    measure: Callable[[Stand], Awaitable[Sequence[Figure]]]

    def goal(self, figure: str) -> Goal | None:
        """The goal of one of the promised figures."""
        return next(promise.goal for promise in self.promises if promise.figure == figure)


async def measure_row(row: Row, stand: Stand) -> list[Figure]:
    """The row's figures in the order promised; a row that fails lists each with the reason."""
    found: Mapping[str, Figure] = {}
    reason = "the row did not give it"
    try:
        found = {figure.figure: figure for figure in await row.measure(stand)}
    except (LmlError, OSError, TimeoutError) as error:
        reason = f"failed: {reason_of(error)}"
        stand.say(f"{row.name}: {reason}")
    assert found.keys() <= {promise.figure for promise in row.promises}, "a figure that was not promised"
    return [
        found.get(promise.figure) or not_measured(promise.figure, promise.unit, reason, goal=promise.goal)
        for promise in row.promises
    ]
