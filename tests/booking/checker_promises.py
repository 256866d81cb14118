"""Judges what was promised: legal moves only, one answer a key, and what was acknowledged is there. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from checker_rows import Op, Rule, Run, real

from lml_live.booking.states import MOVES, SOLD


def _legal_moves(run: Run) -> Iterator[str]:
    moves: dict[Any, Any] = MOVES
    for booking in run.bookings:
        here: str | None = None
        for before, after, _ in booking.moves:
            legal = after in ("pending_payment", "failed") if before is None else after in moves[before]
            if before != here or not legal:
                yield f"{booking.id} went from {before} to {after}, and was {here}"
            here = after
        if here != booking.state:
            yield f"{booking.id} is {booking.state}, and its history ends with {here}"


def _everything_is_on_record(run: Run) -> Iterator[str]:
    """Each seat and place that was sold, or was free again, is in the log once; and the trail's chain holds."""
    yield from run.chain_faults
    log: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: {"sell": Counter(), "free": Counter()})
    for row in run.seat_log:
        log[row.booking][row.act][row.place] += row.quantity
    for booking in run.bookings:
        wanted: dict[str, Counter[str]] = {"sell": Counter(), "free": Counter()}
        if any(to in SOLD for _, to, _ in booking.moves):
            wanted["sell"] = Counter([*booking.lines_seats]) + Counter(booking.lines_areas)
            left = Counter([seat for seat, state in booking.seats.items() if state == "sold"])
            left.update({area: states.get("sold", 0) for area, states in booking.areas.items()})
            wanted["free"] = wanted["sell"] - left
        found = log.pop(booking.id, {"sell": Counter(), "free": Counter()})
        if found != wanted:
            yield f"{booking.id} is on record with {found}, and should be with {wanted}"
    yield from (f"{booking} is on record with places, and is none" for booking in log)


def _one_answer_a_key(run: Run) -> Iterator[str]:
    answers: dict[tuple[str, str, str], list[Op]] = defaultdict(list)
    for op in run.ops:
        if op.key:
            answers[op.client, op.act, op.key].append(op)
    for name, ops in answers.items():
        granted = [op for op in ops if op.outcome == "ok"]
        made = {op.booking or op.hold for op in granted}
        if len(made) > 1:
            yield f"{name} was answered with {sorted(made)}"
        if len({op.asked for op in granted}) > 1:
            yield f"{name} was granted to more than one request"
        elif len({op.told for op in granted}) > 1:
            yield f"{name} was answered in more than one way"
        yield from (f"{name} was granted, and then refused as {op.code}" for op in _answered_anew(ops, granted))
    bookings = {booking.id: booking for booking in run.bookings}
    for op in run.ops:
        booking = bookings.get(op.booking)
        if op.act == "book" and op.outcome == "ok" and booking is not None and booking.hold != op.hold:
            yield f"{op.client} asked for a booking of {op.hold}, and was answered that of {booking.hold}"


def _answered_anew(ops: Sequence[Op], granted: Sequence[Op]) -> Iterator[Op]:
    """Refusals of a key whose grant was heard before, and that are not what such a key must be answered."""
    for op in ops:
        first = next((one for one in granted if one.ended_ms < op.began_ms and one.epoch == op.epoch), None)
        if op.outcome != "fail" or first is None:
            continue
        # A hold's key finds the hold as it is now, which may be gone; a booking is there for ever.
        again = op.asked == first.asked and op.act in ("book", "sell")
        if again or (op.asked != first.asked and op.code != "idempotency_mismatch"):
            yield op


def _acknowledged_is_there(run: Run) -> Iterator[str]:
    known = {booking.id: booking for booking in real(run)}
    for op in run.ops:
        if op.outcome != "ok" or not op.booking:
            continue
        booking = known.get(op.booking)
        if op.state == "confirmed" and booking is not None and booking.state == "refunded":
            continue
        if booking is None:
            yield f"{op.booking} was acknowledged to {op.client} and is gone"
        elif op.state == "confirmed" and booking.state not in SOLD:
            yield f"{op.booking} was confirmed to {op.client} and is {booking.state}"


RULES: Final[dict[str, Rule]] = {
    "I19": _legal_moves,
    "I24": _one_answer_a_key,
    "I25": _acknowledged_is_there,
    "I26": _everything_is_on_record,
}
