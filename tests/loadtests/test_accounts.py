"""When both ledgers are read, and how long their disagreeing is waited for."""

from collections.abc import Callable, Iterator
from itertools import count

import msgspec

from loadtests.accounts import StripeLedger, settle
from loadtests.history import Booked, Intent, Ledger


def booked(state: str) -> Booked:
    return Booked(user=1, booking="b1", hold="a", state=state, seats=("A-1",), amount=5000, currency="EUR")


def ledger(status: str, captured: int = 0) -> Ledger:
    paid = Intent(intent="pi", booking="b1", status=status, amount=5000, currency="eur", captured=captured)
    return Ledger(intents=(paid,))


class Office:
    """Says one thing after another of the one booking and of the money; the last of it for ever."""

    def __init__(self, states: list[str], ledgers: list[Ledger]) -> None:
        self.states, self.ledgers = states, ledgers
        self.slept = 0

    def read(self, booking: str) -> Booked:
        assert booking == "b1"
        return booked(self.states.pop(0) if len(self.states) > 1 else self.states[0])

    def ledger(self) -> Ledger:
        return self.ledgers.pop(0) if len(self.ledgers) > 1 else self.ledgers[0]

    def sleep(self, _: float) -> None:
        self.slept += 1


def steps() -> Callable[[], float]:
    ticks: Iterator[int] = count()
    return lambda: float(next(ticks))


def test_what_agrees_is_read_once() -> None:
    office = Office(["confirmed"], [ledger("succeeded", 5000)])
    lines = settle(["b1"], office.read, office.ledger, seconds=9, sleep=office.sleep, clock=steps())
    assert lines == [booked("confirmed"), ledger("succeeded", 5000)]
    assert office.slept == 0


def test_a_booking_on_its_way_is_waited_for() -> None:
    office = Office(
        ["pending_payment", "authorized", "authorized", "confirmed"],
        [ledger("requires_capture"), ledger("requires_capture"), ledger("succeeded", 5000)],
    )
    lines = settle(["b1"], office.read, office.ledger, seconds=9, sleep=office.sleep, clock=steps())
    assert lines == [booked("confirmed"), ledger("succeeded", 5000)]
    assert office.slept == 3


def test_who_never_agrees_is_shown_as_found_when_time_is_over() -> None:
    office = Office(["cancelled"], [ledger("succeeded", 5000)])
    lines = settle(["b1"], office.read, office.ledger, seconds=3, sleep=office.sleep, clock=steps())
    assert lines == [booked("cancelled"), ledger("succeeded", 5000)]
    assert office.slept == 2


def test_a_booking_that_nobody_pays_is_not_waited_for() -> None:
    office = Office(["pending_payment"], [ledger("requires_payment_method")])
    settle(["b1"], office.read, office.ledger, seconds=9, sleep=office.sleep, clock=steps())
    assert office.slept == 0


def test_without_a_ledger_bookings_are_waited_for_all_the_same() -> None:
    office = Office(["cancelling", "cancelled"], [])
    assert settle(["b1"], office.read, None, seconds=9, sleep=office.sleep, clock=steps()) == [booked("cancelled")]
    assert office.slept == 1


def test_what_is_kept_of_the_doubles_ledger() -> None:
    said = b"""{"now_ms": 1, "charges": [{"id": "ch"}], "intents": [
        {"intent": {"id": "pi", "status": "succeeded", "amount": 5000, "currency": "eur",
                    "metadata": {"booking": "b1"}}, "history": [], "captured": 5000, "refunded": 2000,
         "net_captured": 3000},
        {"intent": {"id": "pj", "status": "canceled", "amount": 70, "currency": "eur", "metadata": {}},
         "history": [], "captured": 0, "refunded": 0, "net_captured": 0}]}"""
    assert [
        (intent.intent, intent.booking, intent.captured)
        for intent in msgspec.json.decode(said, type=StripeLedger).shown().intents
    ] == [("pi", "b1", 3000), ("pj", "", 0)]
