"""The judge of a run, by forged histories: what is wrong must turn it red, what is right must not."""

from pathlib import Path
from typing import Final

import pytest

from loadtests.double_holds import find_double_holds
from loadtests.history import Act, Booked, Crash, Intent, Ledger, Line, Seen, Viewer, read_history, write_history
from loadtests.verdict import judge, latency, show

DEADLINE_MS = 100_000


def seen(
    user: int,
    hold: str,
    seq: int,
    seats: tuple[int, ...] | None,
    *,
    at_ms: float = 0.0,
    reason: str = "answer",
    epoch: str = "1",
    deadline_ms: int = DEADLINE_MS,
) -> Seen:
    return Seen(
        at_ms=at_ms,
        user=user,
        holder=f"holder-{user}",
        epoch=epoch,
        seq=seq,
        hold=hold,
        seats=seats,
        deadline_ms=deadline_ms,
        reason=reason,
    )


def release(user: int, hold: str, act: int, *phases: str, at_ms: float = 0.0) -> list[Line]:
    return [
        Act(at_ms=at_ms, user=user, act=act, verb="release", phase=phase, hold=hold)  # type: ignore[arg-type]
        for phase in phases
    ]


def booked(
    booking: str, state: str = "confirmed", *seats: str, hold: str = "", amount: int = 5000, currency: str = "EUR"
) -> Booked:
    return Booked(user=1, booking=booking, hold=hold, state=state, seats=seats, amount=amount, currency=currency)


LATE_MS = DEADLINE_MS - 500.0
EARLY_MS = 50_000.0

DOUBLE: list[tuple[str, list[Line], int]] = [
    ("two grants, neither given back", [seen(1, "a", 5, (7,)), seen(2, "b", 6, (7,))], 1),
    ("two grants in one log entry", [seen(1, "a", 5, (7,)), seen(2, "b", 5, (7,))], 1),
    ("granted before the other's release", [seen(1, "a", 5, (7,)), seen(1, "a", 9, None), seen(2, "b", 8, (7,))], 1),
    ("granted by the release's own entry", [seen(1, "a", 5, (7,)), seen(1, "a", 8, None), seen(2, "b", 8, (7,))], 0),
    ("granted after the other's release", [seen(1, "a", 5, (7,)), seen(1, "a", 8, None), seen(2, "b", 9, (7,))], 0),
    ("two seats, both doubly", [seen(1, "a", 5, (7, 8)), seen(2, "b", 6, (8, 7))], 2),
    ("other seats", [seen(1, "a", 5, (7,)), seen(2, "b", 6, (8,))], 0),
    ("another epoch", [seen(1, "a", 5, (7,)), seen(2, "b", 6, (7,), epoch="2")], 0),
    ("one hold, told twice", [seen(1, "a", 5, (7,)), seen(1, "a", 9, (7,), reason="sync")], 0),
    ("extended, so it lasted", [seen(1, "a", 5, (7,)), seen(1, "a", 9, (7,)), seen(2, "b", 7, (7,), at_ms=LATE_MS)], 1),
    (
        "partly given back: that seat is free",
        [seen(1, "a", 5, (7, 8)), seen(1, "a", 6, (8,)), seen(2, "b", 7, (7,))],
        0,
    ),
    (
        "partly given back: the other is not",
        [seen(1, "a", 5, (7, 8)), seen(1, "a", 6, (8,)), seen(2, "b", 7, (8,))],
        1,
    ),
    (
        "expired while its holder was away",
        [seen(1, "a", 5, (7,)), seen(1, "a", 20, None, reason="sync"), seen(2, "b", 9, (7,), at_ms=LATE_MS)],
        0,
    ),
    (
        "taken from a holder who was away, long before the deadline",
        [seen(1, "a", 5, (7,)), seen(1, "a", 20, None, reason="sync"), seen(2, "b", 9, (7,), at_ms=EARLY_MS)],
        1,
    ),
    (
        "expired, and nobody was told",
        [seen(1, "a", 5, (7,)), seen(2, "b", 9, (7,), at_ms=DEADLINE_MS + 1.0)],
        0,
    ),
    (
        "its release had no answer: it may have been free from then on",
        [seen(1, "a", 5, (7,)), *release(1, "a", 1, "invoke", "info"), seen(2, "b", 9, (7,), at_ms=EARLY_MS)],
        0,
    ),
    (
        "its release had no answer, but the other came before it",
        [
            seen(1, "a", 5, (7,)),
            *release(1, "a", 1, "invoke", at_ms=EARLY_MS + 5_000),
            seen(2, "b", 9, (7,), at_ms=EARLY_MS),
        ],
        1,
    ),
    (
        "its release was refused",
        [seen(1, "a", 5, (7,)), *release(1, "a", 1, "invoke", "fail"), seen(2, "b", 9, (7,), at_ms=EARLY_MS)],
        1,
    ),
    (
        "three in a row, the first and the last at once",
        [seen(1, "a", 5, (7,)), seen(2, "b", 6, (7,)), seen(2, "b", 7, None), seen(3, "c", 8, (7,))],
        2,
    ),
    (
        "sold, and held by another long after the deadline that the hold had",
        [seen(1, "a", 5, (7,)), seen(2, "b", 9, (7,), at_ms=DEADLINE_MS * 2.0), booked("b1", hold="a")],
        1,
    ),
    (
        "not sold in the end, and held by another after its deadline",
        [seen(1, "a", 5, (7,)), seen(2, "b", 9, (7,), at_ms=DEADLINE_MS * 2.0), booked("b1", "cancelled", hold="a")],
        0,
    ),
    (
        "sold, less a seat that was given back before",
        [
            seen(1, "a", 5, (7, 8)),
            seen(1, "a", 6, (8,)),
            seen(2, "b", 9, (7,), at_ms=DEADLINE_MS * 2.0),
            booked("b1", hold="a"),
        ],
        0,
    ),
    ("lines out of order", [seen(2, "b", 6, (7,)), seen(1, "a", 5, (7,))], 1),
]


@pytest.mark.parametrize(("history", "count"), [row[1:] for row in DOUBLE], ids=[row[0] for row in DOUBLE])
def test_double_holds(history: list[Line], count: int) -> None:
    found = find_double_holds(history)
    assert len(found) == count, found
    assert all(double.holders[0] != double.holders[1] for double in found)


def intent(
    booking: str, status: str = "succeeded", *, captured: int = 5000, amount: int = 5000, currency: str = "eur"
) -> Intent:
    return Intent(
        intent=f"pi-of-{booking}", booking=booking, status=status, amount=amount, currency=currency, captured=captured
    )


def buy(act: int, phase: str, code: str | None = None) -> Act:
    return Act(at_ms=30.0, user=1, act=act, verb="buy", phase=phase, hold="a", code=code, took_ms=140.0)  # type: ignore[arg-type]


def a_good_run() -> list[Line]:
    """One viewer joins, takes two seats, buys them, and sees the truth in the end."""
    return [
        Act(at_ms=0.0, user=1, act=1, verb="join", phase="invoke"),
        Act(at_ms=9.0, user=1, act=1, verb="join", phase="ok", took_ms=9.0),
        Act(at_ms=10.0, user=1, act=2, verb="hold", phase="invoke", seats=(3, 4)),
        seen(1, "a", 5, (3, 4), at_ms=12.0),
        Act(at_ms=12.0, user=1, act=2, verb="hold", phase="ok", seats=(3, 4), hold="a", took_ms=2.0),
        buy(9, "invoke"),
        buy(9, "ok"),
        Viewer(user=1, epoch="1", seq=5),
        booked("b1", "confirmed", "A-1", "A-2", hold="a"),
        Ledger(intents=(intent("b1"),)),
    ]


def with_money(wrong: list[Booked], *intents: Intent) -> list[Line]:
    """A good run with further bookings, and a ledger of just these intents."""
    return [*(line for line in a_good_run() if not isinstance(line, Ledger)), *wrong, Ledger(intents=intents)]


def test_a_good_run_is_clean() -> None:
    verdict = judge(a_good_run())
    assert verdict.faults == []
    assert (verdict.viewers, verdict.joined, verdict.holds_granted) == (1, 1, 1)
    assert (verdict.hold_latency.p50_ms, verdict.hold_latency.p99_ms) == (2.0, 2.0)
    assert (verdict.bookings, verdict.seats_sold, verdict.money_checked) == ({"confirmed": 1}, 2, True)
    assert (verdict.buy_latency.count, verdict.buy_latency.p99_ms) == (1, 140.0)
    assert show(verdict).endswith("VERDICT: clean")
    assert "bookings without money: none, money without bookings: none" in show(verdict)


def hold(act: int, phase: str, *seats: int, code: str | None = None) -> Act:
    return Act(at_ms=20.0, user=1, act=act, verb="hold", phase=phase, seats=seats, code=code)  # type: ignore[arg-type]


RED: list[tuple[str, list[Line], str]] = [
    ("a double hold", [seen(2, "b", 6, (4,))], "seat 4 was held twice"),
    ("a hold of one seat for two", [hold(3, "invoke", 8, 9), hold(3, "ok", 8)], "operation 3: the hold is not"),
    ("a hold of another seat", [hold(3, "invoke", 8), hold(3, "ok", 9)], "operation 3: the hold is not"),
    ("a viewer that saw something else", [Viewer(user=2, fault="1 seats differ")], "viewer 2 did not converge"),
    ("nonsense", [hold(3, "invoke", 8), hold(3, "fail", code="invalid_message")], "refused as nonsense"),
    ("a defect", [Crash(text="ValueError('x')")], "ValueError('x')"),
    (
        "a viewer who could not get in",
        [
            Act(at_ms=0.0, user=2, act=3, verb="join", phase="invoke"),
            Act(at_ms=9.0, user=2, act=3, verb="join", phase="info", code="TimeoutError"),
        ],
        "1 viewers could not get in",
    ),
]


@pytest.mark.parametrize(("wrong", "words"), [row[1:] for row in RED], ids=[row[0] for row in RED])
def test_one_wrong_thing_turns_a_good_run_red(wrong: list[Line], words: str) -> None:
    verdict = judge([*a_good_run(), *wrong])
    assert len(verdict.faults) == 1, verdict.faults
    assert words in verdict.faults[0]
    assert show(verdict).endswith("VERDICT: 1 faults")
    assert words in show(verdict)


PAID: Final = intent("b1")
UNSOLD: Final = ("pending_payment", "authorized", "cancelling", "cancelled", "expiring", "expired", "failed")
MONEY: list[tuple[str, list[Booked], tuple[Intent, ...], str]] = [
    ("nothing was ever asked for", [], (), "b1 is confirmed at 5000 EUR, and Stripe captured nothing"),
    ("authorised only", [], (intent("b1", "requires_capture", captured=0),), "Stripe captured nothing"),
    ("too little", [], (intent("b1", captured=4999),), "captured 4999 EUR"),
    ("too much", [], (intent("b1", captured=5001),), "captured 5001 EUR"),
    ("twice", [], (PAID, PAID), "captured 5000 EUR + 5000 EUR"),
    ("another currency", [], (intent("b1", currency="usd"),), "captured 5000 USD"),
    ("given back", [], (intent("b1", captured=0),), "Stripe captured nothing"),
    ("another booking's money", [booked("b2")], (PAID,), "b2 is confirmed at 5000 EUR, and Stripe captured nothing"),
    *(
        (f"captured, and {state}", [booked("b2", state)], (PAID, intent("b2")), f"for booking b2, which is {state}")
        for state in UNSOLD
    ),
    ("captured for nobody", [], (PAID, intent("b2")), "captured 5000 EUR for booking b2, which is unknown"),
    *(
        (
            f"{status}, and cancelled",
            [booked("b2", "cancelled")],
            (PAID, intent("b2", status, captured=0)),
            f"pi-of-b2 is {status} with 5000 EUR for booking b2, which is cancelled",
        )
        for status in ("requires_capture", "processing")
    ),
    ("paid, and authorised again", [], (PAID, intent("b1", "requires_capture", captured=0)), "pi-of-b1 is requires_"),
    (
        "one seat twice",
        [booked("b2", "confirmed", "A-2")],
        (PAID, intent("b2")),
        "seat A-2 was sold twice: in b1 and b2",
    ),
    ("one seat, unpaid", [booked("b2", "authorized", "A-2")], (PAID,), "seat A-2 was sold twice: in b1 and b2"),
]


@pytest.mark.parametrize(("bookings", "intents", "words"), [row[1:] for row in MONEY], ids=[row[0] for row in MONEY])
def test_bookings_and_money_that_do_not_agree(bookings: list[Booked], intents: tuple[Intent, ...], words: str) -> None:
    verdict = judge(with_money(bookings, *intents))
    assert len(verdict.faults) == 1, verdict.faults
    assert words in verdict.faults[0]
    assert words in show(verdict)


AGREE: list[tuple[str, list[Booked], tuple[Intent, ...]]] = [
    ("given up", [booked("b2", "cancelled", "A-2")], (PAID, intent("b2", "canceled", captured=0))),
    ("not paid", [booked("b2", "pending_payment")], (PAID, intent("b2", "requires_payment_method", captured=0))),
    ("nothing to pay", [booked("b2", amount=0)], (PAID,)),
    ("an intent in vain, and a second that paid", [], (intent("b1", "canceled", captured=0), PAID)),
    ("refunded", [booked("b2", "refunded", "A-1")], (PAID, intent("b2", captured=0))),
]


@pytest.mark.parametrize(("bookings", "intents"), [row[1:] for row in AGREE], ids=[row[0] for row in AGREE])
def test_bookings_and_money_that_agree(bookings: list[Booked], intents: tuple[Intent, ...]) -> None:
    assert judge(with_money(bookings, *intents)).faults == []


def test_without_a_ledger_it_is_said_that_money_was_not_checked() -> None:
    verdict = judge([line for line in a_good_run() if not isinstance(line, Ledger)])
    assert verdict.faults == []
    assert not verdict.money_checked
    assert "not checked" in show(verdict)


@pytest.mark.parametrize(
    ("purchases", "faults"),
    [
        ([buy(9, "fail", code="hold_expired")], ["1 purchases, and none succeeded (--no-buying where none can)"]),
        ([buy(9, "info", code="TimeoutError")], ["1 purchases, and none succeeded (--no-buying where none can)"]),
        ([buy(9, "fail", code="card_declined")], []),  # nobody meant it
        ([buy(9, "info", code="the run was over")], []),
        ([], []),
    ],
)
def test_who_tried_to_buy_and_could_not_proves_nothing(purchases: list[Line], faults: list[str]) -> None:
    held = [
        line for line in a_good_run() if not isinstance(line, Booked | Ledger) and getattr(line, "verb", "") != "buy"
    ]
    assert judge([*held, *purchases, Ledger(intents=())]).faults == faults


HARMLESS: list[tuple[str, list[Line]]] = [
    ("a seat was taken", [hold(3, "invoke", 8), hold(3, "fail", code="seat_taken")]),
    ("an outcome is unknown", [hold(3, "invoke", 8), hold(3, "info", code="unavailable")]),
    ("an operation without an end", [hold(3, "invoke", 8)]),
    (
        "a join that the end cut short",
        [Act(at_ms=9.0, user=2, act=3, verb="join", phase="info", code="the run was over")],
    ),
]


@pytest.mark.parametrize("lines", [row[1] for row in HARMLESS], ids=[row[0] for row in HARMLESS])
def test_what_may_happen_is_counted_and_clean(lines: list[Line]) -> None:
    verdict = judge([*a_good_run(), *lines])
    assert verdict.faults == []
    assert sum(verdict.refusals.values()) + sum(verdict.unknown.values()) == 1


@pytest.mark.parametrize(
    ("left_out", "words"),
    [(Viewer, "no viewer was compared"), (Seen, "the history knows of none"), (Act, "nobody got in")],
)
def test_a_run_that_proved_nothing_is_not_clean(left_out: type[Line], words: str) -> None:
    verdict = judge([line for line in a_good_run() if not isinstance(line, left_out)])
    assert any(words in fault for fault in verdict.faults), verdict.faults
    assert judge([]).faults


@pytest.mark.parametrize(
    ("took_ms", "p50", "p99"),
    [
        ([], None, None),
        ([4.0], 4.0, 4.0),
        ([2.0, 1.0], 1.0, 2.0),
        ([float(n) for n in range(1, 101)], 50.0, 99.0),
        ([float(n) for n in range(1, 1001)], 500.0, 990.0),
    ],
)
def test_percentiles_by_nearest_rank(took_ms: list[float], p50: float | None, p99: float | None) -> None:
    found = latency(took_ms)
    assert (found.count, found.p50_ms, found.p99_ms) == (len(took_ms), p50, p99)


def test_a_history_is_read_as_it_was_written_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    lines = [*a_good_run(), seen(1, "a", 8, None), Crash(text="ü")]
    write_history(path, lines)
    assert list(read_history(path)) == lines
    path.write_bytes(path.read_bytes()[:-3])
    assert list(read_history(path)) == lines[:-1]
