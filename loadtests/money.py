"""Whether every confirmed booking was paid and all money belongs to one: two ledgers, compared at rest. Pure.

The server's truth is a `Booked` for each booking of the run, the double's a `Ledger` of all its PaymentIntents.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lml_live.booking.states import SOLD
from loadtests.history import Booked, Intent, Ledger


def bookings_without_money(bookings: Iterable[Booked], ledger: Ledger) -> list[str]:
    """Confirmed bookings of which not exactly their amount was captured, in their currency; a sentence each."""
    intents = _by_booking(ledger)
    return [
        f"booking {booking.booking} is confirmed at {booking.amount} {booking.currency}, and Stripe captured "
        + (_sums(intents[booking.booking]) or "nothing")
        for booking in bookings
        if booking.state == "confirmed" and not _paid(booking, intents[booking.booking])
    ]


def money_without_bookings(bookings: Iterable[Booked], ledger: Ledger) -> list[str]:
    """Intents with money, kept or only authorised, whose booking is not confirmed; a sentence each.

    Money that a confirmed booking has on a second intent is counted here where the first paid all of it, and by
    `bookings_without_money` where it is part of a wrong sum.
    """
    known = {booking.booking: booking for booking in bookings}
    intents = _by_booking(ledger)
    found = []
    for intent in ledger.intents:
        booking = known.get(intent.booking)
        confirmed = booking is not None and booking.state == "confirmed"
        owner = f"booking {intent.booking}, which is {booking.state if booking else 'unknown'}"
        if intent.captured > 0 and not confirmed:
            found.append(f"{intent.intent} captured {_sums([intent])} for {owner}")
        elif intent.status in ("requires_capture", "processing") and not (
            confirmed and booking is not None and not _paid(booking, intents[intent.booking])
        ):
            found.append(
                f"{intent.intent} is {intent.status} with {intent.amount} {intent.currency.upper()} for {owner}"
            )
    return found


def double_sales(bookings: Iterable[Booked]) -> list[str]:
    """Seats that two sold bookings have; a sentence each."""
    sold: defaultdict[str, list[str]] = defaultdict(list)
    for booking in bookings:
        if booking.state in SOLD:
            for seat in booking.seats:
                sold[seat].append(booking.booking)
    return [f"seat {seat} was sold twice: in {' and '.join(owners)}" for seat, owners in sold.items() if owners[1:]]


def _by_booking(ledger: Ledger) -> Mapping[str, Sequence[Intent]]:
    intents: defaultdict[str, list[Intent]] = defaultdict(list)
    for intent in ledger.intents:
        intents[intent.booking].append(intent)
    return intents


def _paid(booking: Booked, intents: Sequence[Intent]) -> bool:
    """Whether the captured intents are exactly its price; a booking of 0 needs none."""
    captured = [intent for intent in intents if intent.captured]
    same = all(intent.currency.upper() == booking.currency.upper() for intent in captured)
    return same and sum(intent.captured for intent in captured) == booking.amount


def _sums(intents: Iterable[Intent]) -> str:
    return " + ".join(f"{intent.captured} {intent.currency.upper()}" for intent in intents if intent.captured)
