"""Judges a run by its history alone. Pure.

Faults turn the verdict red: a seat with two holders or two buyers, a booking without its money, money without its
booking, a hold that is not what was asked for, a viewer that does not see what the server says, an answer that no
well-behaved client should get, a defect of the test, and a run that proved nothing. Refusals and unknown outcomes are
counted and shown.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Final

from msgspec import Struct

from loadtests.double_holds import DoubleHold, find_double_holds
from loadtests.history import Act, Booked, Crash, Ledger, Line, Seen, Viewer
from loadtests.money import bookings_without_money, double_sales, money_without_bookings

OUR_FAULT: Final = frozenset({"invalid_message", "unauthorized", "forbidden", "unknown_seat", "unknown_area"})
"""Refusals that a client gets which sends nonsense: ours does not, so one of the two is wrong."""
RUN_OVER: Final = "the run was over"
"""What is known of an operation that the run's end cut short."""
GAVE_UP: Final = "card_declined"
"""The code of a purchase that its buyer ended after a card was declined."""
SHOWN_MAX: Final = 10


class Latency(Struct, frozen=True):
    """Of answered requests, granted or refused; None where there were none."""

    count: int
    p50_ms: float | None
    p99_ms: float | None


class Verdict(Struct, frozen=True, kw_only=True):
    """What the run showed. Written as the report."""

    double_holds: list[DoubleHold]
    double_sales: list[str]
    bookings_without_money: list[str]
    money_without_bookings: list[str]
    money_checked: bool
    """Whether there was a ledger to compare with; without one the two lists above are empty whatever happened."""
    half_granted: list[int]
    """Operations whose hold is not the set of seats that was asked for."""
    not_converged: list[Viewer]
    crashes: list[str]
    proved_nothing: list[str]
    viewers: int
    joined: int
    kept_out: int
    """Joins that came to nothing while the run went on."""
    holds_granted: int
    hold_latency: Latency
    bookings: dict[str, int]
    """Bookings by their state after rest."""
    seats_sold: int
    buy_latency: Latency
    """Of purchases that ended confirmed: from the wish to the news, as the buyer looks for it."""
    outcomes: dict[str, dict[str, int]]
    """How often each operation ended how: `{"hold": {"ok": 90, "fail": 8, "info": 2}}`."""
    refusals: dict[str, int]
    """Refused operations by code."""
    unknown: dict[str, int]
    """Operations whose outcome is not known, by what is known of it."""

    @property
    def faults(self) -> list[str]:
        """What makes the verdict red, a line each; empty where it is clean."""
        wrong = {code: count for code, count in self.refusals.items() if code in OUR_FAULT}
        return [
            *(
                f"seat {double.seat} was held twice in epoch {double.epoch}: by {double.holds[0]} (change "
                f"{double.seqs[0]}) and {double.holds[1]} (change {double.seqs[1]})"
                for double in self.double_holds
            ),
            *self.double_sales,
            *self.bookings_without_money,
            *self.money_without_bookings,
            *(f"operation {act}: the hold is not what was asked for" for act in self.half_granted),
            *(f"viewer {viewer.user} did not converge: {viewer.fault}" for viewer in self.not_converged),
            *(f"{count} x {code}: refused as nonsense" for code, count in wrong.items()),
            *([f"{self.kept_out} viewers could not get in"] if self.kept_out else []),
            *self.crashes,
            *self.proved_nothing,
        ]


def judge(lines: Iterable[Line]) -> Verdict:
    """Looks at a whole history."""
    history = list(lines)
    acts = [line for line in history if isinstance(line, Act)]
    viewers = [line for line in history if isinstance(line, Viewer)]
    bookings = [line for line in history if isinstance(line, Booked)]
    ledger = next((line for line in history if isinstance(line, Ledger)), None)
    outcomes: dict[str, Counter[str]] = {}
    refusals: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    took_ms: list[float] = []
    bought_ms: list[float] = []
    ended: set[int] = set()
    for act in acts:
        if act.phase == "invoke":
            continue
        ended.add(act.act)
        outcomes.setdefault(act.verb, Counter())[act.phase] += 1
        if act.phase == "fail":
            refusals[act.code or "without a code"] += 1
        elif act.phase == "info":
            unknown[act.code or "without a reason"] += 1
        if act.verb == "hold" and act.phase != "info" and act.took_ms is not None:
            took_ms.append(act.took_ms)
        elif act.verb == "buy" and act.phase == "ok" and act.took_ms is not None:
            bought_ms.append(act.took_ms)
    for act in acts:
        if act.phase == "invoke" and act.act not in ended:
            outcomes.setdefault(act.verb, Counter())["info"] += 1
            unknown["no end was recorded"] += 1
    granted = outcomes.get("hold", Counter())["ok"]
    joined = outcomes.get("join", Counter())["ok"]
    return Verdict(
        double_holds=find_double_holds(history),
        double_sales=double_sales(bookings),
        bookings_without_money=[] if ledger is None else bookings_without_money(bookings, ledger),
        money_without_bookings=[] if ledger is None else money_without_bookings(bookings, ledger),
        money_checked=ledger is not None,
        half_granted=_half_granted(acts),
        not_converged=[viewer for viewer in viewers if viewer.fault],
        crashes=sorted({line.text for line in history if isinstance(line, Crash)}),
        proved_nothing=_proved_nothing(history, granted, joined, len(viewers)),
        viewers=len(viewers),
        joined=joined,
        kept_out=sum(act.verb == "join" and act.phase == "info" and act.code != RUN_OVER for act in acts),
        holds_granted=granted,
        hold_latency=latency(took_ms),
        bookings=dict(Counter(booking.state for booking in bookings).most_common()),
        seats_sold=sum(len(booking.seats) for booking in bookings if booking.state == "confirmed"),
        buy_latency=latency(bought_ms),
        outcomes={verb: dict(counts) for verb, counts in sorted(outcomes.items())},
        refusals=dict(refusals.most_common()),
        unknown=dict(unknown.most_common()),
    )


def _half_granted(acts: Sequence[Act]) -> list[int]:
    asked = {act.act: set(act.seats) for act in acts if act.verb == "hold" and act.phase == "invoke"}
    return [
        act.act
        for act in acts
        if act.verb == "hold" and act.phase == "ok" and set(act.seats) != asked.get(act.act, set(act.seats))
    ]


def _ends(history: Sequence[Line], verb: str) -> list[Act]:
    return [line for line in history if isinstance(line, Act) and line.verb == verb and line.phase != "invoke"]


def _proved_nothing(history: Sequence[Line], granted: int, joined: int, viewers: int) -> list[str]:
    reasons = []
    if not joined:
        reasons.append("nobody got in")
    if not granted:
        reasons.append("no hold was granted")
    elif not any(isinstance(line, Seen) and line.seats for line in history):
        reasons.append("holds were granted, but the history knows of none")
    meant = [act for act in _ends(history, "buy") if act.code not in (GAVE_UP, RUN_OVER)]
    if meant and not any(isinstance(line, Booked) and line.state == "confirmed" for line in history):
        reasons.append(f"{len(meant)} purchases, and none succeeded (--no-buying where none can)")
    if joined and not viewers:
        reasons.append("no viewer was compared with the server")
    return reasons


def latency(took_ms: Sequence[float]) -> Latency:
    """By nearest rank: the value that so many hundredths do not exceed."""
    ordered = sorted(took_ms)

    def rank(hundredths: int) -> float | None:
        return round(ordered[max(0, ceil(len(ordered) * hundredths / 100) - 1)], 1) if ordered else None

    return Latency(len(ordered), rank(50), rank(99))


def show(verdict: Verdict) -> str:
    """The verdict as people read it."""

    def counts(of: dict[str, int]) -> str:
        return ", ".join(f"{name} {count}" for name, count in of.items()) or "none"

    faults = verdict.faults
    hold, buy = verdict.hold_latency, verdict.buy_latency
    money = (
        f"bookings without money: {len(verdict.bookings_without_money) or 'none'}, "
        f"money without bookings: {len(verdict.money_without_bookings) or 'none'}"
        if verdict.money_checked
        else "not checked: only a server of the run's own shows its Stripe's ledger"
    )
    lines = [
        f"viewers          {verdict.viewers} ({verdict.joined} joins), not converged: {len(verdict.not_converged)}",
        f"double holds     {len(verdict.double_holds) or 'none'}",
        f"holds granted    {verdict.holds_granted}",
        f"hold p50 / p99   {_ms(hold.p50_ms)} / {_ms(hold.p99_ms)} (of {hold.count} answered)",
        f"bookings         {counts(verdict.bookings)} ({verdict.seats_sold} seats sold)",
        f"double sales     {len(verdict.double_sales) or 'none'}",
        f"money            {money}",
        f"buy p50 / p99    {_ms(buy.p50_ms)} / {_ms(buy.p99_ms)} (of {buy.count} confirmed)",
        *(f"{verb:<16} {counts(ends)}" for verb, ends in verdict.outcomes.items()),
        f"refusals         {counts(verdict.refusals)}",
        f"unknown          {counts(verdict.unknown)}",
        f"crashes          {len(verdict.crashes) or 'none'}",
        *(f"  ! {fault}" for fault in faults[:SHOWN_MAX]),
        *([f"  ! and {len(faults) - SHOWN_MAX} more"] if len(faults) > SHOWN_MAX else []),
        "VERDICT: clean" if not faults else f"VERDICT: {len(faults)} faults",
    ]
    return "\n".join(lines)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
