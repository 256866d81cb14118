"""A figure: what was measured, beside its limit and its peers; and the report that figures make. Pure.

Everything is measured in slices, ours and the peers' by turns, so that a neighbour on the same machine who is busy for
a second disturbs all sides alike. A figure is the median of its slices; the spread is half the distance between the
quartiles, as a share of the median.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

Raw = dict[str, Any]
"""Counters behind a figure, as they were read; plain JSON values."""

DIGITS: Final = 3
"""Significant digits of what is told below a thousand; the slices in `raw` keep theirs."""


class Goal(Struct, frozen=True):
    """What is to be reached: the value, or its ratio to the limit, at most or at least a bound."""

    of: Literal["value", "ratio"]
    is_at: Literal["most", "least"]
    bound: float

    def words(self, unit: str) -> str:
        """The goal as the report has it, such as `≤ 10 µs` or `≥ 0.7 × the limit`."""
        sign = "≤" if self.is_at == "most" else "≥"
        return f"{sign} {show(self.bound)} {unit if self.of == 'value' else '× the limit'}"

    def is_met(self, value: float | None, ratio: float | None) -> bool | None:
        """Whether it is; None where what it speaks of was not measured."""
        measured = value if self.of == "value" else ratio
        if measured is None:
            return None
        return measured <= self.bound if self.is_at == "most" else measured >= self.bound


class Slices(Struct, frozen=True):
    """One side's measurements, a value for each slice."""

    values: tuple[float, ...]

    @property
    def median(self) -> float | None:
        """The middle one; None without slices."""
        return statistics.median(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Half the distance between the quartiles, as a share of the median; None below two slices."""
        if len(self.values) < 2 or not (middle := statistics.median(self.values)):
            return None
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return (high - low) / 2 / abs(middle)


class Figure(Struct, frozen=True, kw_only=True):
    """One line of the report. Shape: issue 4, with what a reader needs to compute the ratio again behind it.

    `limit` is the value of the peer that nobody can be better than, or None where there is none here. `reason` says
    why `value`, or the limit, is missing.
    """

    figure: str
    value: float | None
    unit: str
    limit: float | None
    peers: dict[str, float | None]
    ratio: float | None
    goal: str | None
    met: bool | None
    spread: float | None
    reason: str | None
    workload: str
    flags: dict[str, Any]
    raw: Raw


class Machine(Struct, frozen=True):
    """Where and with what the figures were measured."""

    processor: str
    cores: int
    memory_bytes: int
    kernel: str
    open_files: int
    load_average: tuple[float, ...]
    """Of the last 1, 5 and 15 minutes, before the run began."""
    versions: dict[str, str]
    command: str
    started_at: str
    """RFC 3339, UTC."""


class Report(Struct, frozen=True):
    """What `lml bench --json` prints."""

    machine: Machine
    figures: tuple[Figure, ...]


def measured(
    figure: str,
    unit: str,
    ours: Slices,
    *,
    workload: str,
    peers: Mapping[str, Slices] | None = None,
    limit: str | None = None,
    goal: Goal | None = None,
    reason: str | None = None,
    flags: Mapping[str, Any] | None = None,
    raw: Mapping[str, Any] | None = None,
) -> Figure:
    """A figure from its slices. `limit` names the peer that is the limit; `reason` says why one is missing."""
    medians = {name: side.median for name, side in (peers or {}).items()}
    value, bound = ours.median, medians[limit] if limit else None
    ratio = value / bound if value is not None and bound else None
    slices = {"ours": ours.values, **{name: side.values for name, side in (peers or {}).items()}}
    return Figure(
        figure=figure,
        value=value,
        unit=unit,
        limit=bound,
        peers=medians,
        ratio=ratio,
        goal=goal.words(unit) if goal else None,
        met=goal.is_met(value, ratio) if goal else None,
        spread=ours.spread,
        reason=reason or noise(ours),
        workload=workload,
        flags=dict(flags or {}),
        raw={"slices": slices, **(raw or {})},
    )


def noise(side: Slices) -> str | None:
    """What is to be said of a value that its own spread hides; None where it stands out."""
    return "lost in the noise of this run" if side.spread is not None and side.spread > 1 else None


def not_measured(figure: str, unit: str, reason: str, *, goal: Goal | None = None, workload: str = "") -> Figure:
    """A figure that cannot be measured here: listed with the reason, never left out."""
    return Figure(
        figure=figure,
        value=None,
        unit=unit,
        limit=None,
        peers={},
        ratio=None,
        goal=goal.words(unit) if goal else None,
        met=None,
        spread=None,
        reason=reason,
        workload=workload,
        flags={},
        raw={},
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` (0 to 1) of all do not exceed; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


# --- Telling


def show(value: float | None) -> str:
    """A number for people: `DIGITS` significant digits, or whole; no exponent; a dash where there is none."""
    if value is None:
        return "–"
    if abs(value) >= 10**DIGITS - 0.5:
        return f"{value:,.0f}"
    return f"{value:.{DIGITS}g}"


_HEADS: Final = ("figure", "value", "unit", "±", "limit", "ratio", "goal", "met", "peers")


def rows(figures: Iterable[Figure]) -> list[tuple[str, ...]]:
    """The cells of the table for people, heads first."""
    return [_HEADS, *(_cells(figure) for figure in figures)]


def _cells(figure: Figure) -> tuple[str, ...]:
    peers = ", ".join(f"{name} {show(value)}" for name, value in figure.peers.items())
    return (
        figure.figure,
        show(figure.value),
        figure.unit,
        "–" if figure.spread is None else f"{figure.spread:.0%}",
        show(figure.limit),
        show(figure.ratio),
        figure.goal or "–",
        {True: "yes", False: "no", None: "–"}[figure.met],
        peers if figure.reason is None else "; ".join(part for part in (peers, figure.reason) if part),
    )


def as_text(figures: Sequence[Figure]) -> str:
    """The table for a terminal."""
    table = rows(figures)
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEADS) - 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(cells, [*widths, 0], strict=True)).rstrip()
        for cells in table
    )


def as_markdown(report: Report) -> str:
    """`docs/benchmarks.md`: what was measured, where, with what, and how to do it again."""
    machine = report.machine
    head, *lines = rows(report.figures)
    load = " ".join(f"{value:.1f}" for value in machine.load_average)
    missing = "; ".join(f.figure for f in report.figures if f.value is None)
    workloads: dict[str, list[str]] = {}
    for figure in report.figures:
        if figure.workload:
            workloads.setdefault(figure.workload, []).append(figure.figure)
    parts = [
        "# Benchmarks",
        "",
        f"Written by `{machine.command}`. Times are CPU time of the process concerned, all its threads"
        " (`/proc/<pid>/task/*/schedstat`), for one operation. Ours and each peer were measured by turns in slices, in"
        " the same run; a value is the median of its slices, ± half the distance between the quartiles. Absolute"
        " figures belong to the machine and its neighbours; the ratios carry over.",
        "",
        "| | |",
        "| --- | --- |",
        f"| measured | {machine.started_at} |",
        f"| machine | {machine.cores} × {machine.processor}, {machine.memory_bytes >> 30} GiB |",
        f"| Linux | {machine.kernel} |",
        f"| load average before | {load} |",
        f"| open files | {machine.open_files:,} |",
        *(f"| {name} | {version} |" for name, version in machine.versions.items()),
        "",
        "| " + " | ".join(head) + " |",
        "| " + " | ".join("---" for _ in head) + " |",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines),
        "",
        "## Workloads",
        "",
        *(f"- **{', '.join(names)}**: {workload}" for workload, names in workloads.items()),
    ]
    if missing:
        parts += ["", f"Not measured in this run, for the reasons above: {missing}."]
    return "\n".join(parts) + "\n"


def as_json(report: Report) -> bytes:
    """The report as `--json` prints it, indented."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)
