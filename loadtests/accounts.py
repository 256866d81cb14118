"""Reads both ledgers at rest, the server's bookings and the double's intents, until they are settled."""

import time
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from loadtests.history import Booked, Intent, Ledger
from loadtests.money import bookings_without_money, money_without_bookings

STRIPE_URL: Final = "LML_LOAD_STRIPE_URL"
STRIPE_KEY: Final = "LML_LOAD_STRIPE_KEY"
"""How locust is told of the ledger: in its environment, for a command line is everybody's to read."""
LOOK_SECONDS: Final = 0.5
UNSETTLED: Final = frozenset({"authorized", "cancelling", "expiring"})
"""States that a booking leaves by itself within seconds. One that nobody pays waits for its time, and is left alone."""


class Stripe(Struct, frozen=True):
    """Where the Stripe double of a run's own server is, and the key to its ledger."""

    url: str
    secret_key: str


class _Metadata(Struct, frozen=True):
    booking: str = ""


class _StripeIntent(Struct, frozen=True):
    id: str
    status: str
    amount: int
    currency: str
    metadata: _Metadata = _Metadata()


class _Entry(Struct, frozen=True):
    intent: _StripeIntent
    net_captured: int


class StripeLedger(Struct, frozen=True):
    """The double's ledger as far as it is looked at."""

    intents: tuple[_Entry, ...]

    def shown(self) -> Ledger:
        """As it goes into the history."""
        return Ledger(
            intents=tuple(
                Intent(
                    intent=entry.intent.id,
                    booking=entry.intent.metadata.booking,
                    status=entry.intent.status,
                    amount=entry.intent.amount,
                    currency=entry.intent.currency,
                    captured=entry.net_captured,
                )
                for entry in self.intents
            )
        )


def settle(
    bookings: Iterable[str],
    read: Callable[[str], Booked],
    ledger: Callable[[], Ledger] | None,
    *,
    seconds: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float] = time.monotonic,
) -> list[Booked | Ledger]:
    """What both say once nothing is on its way any more and they agree, or after `seconds`: then the judge disagrees.

    `ledger` is None where nobody lets us look. What `read` and `ledger` raise goes up.
    """
    deadline = clock() + seconds
    known = {booking: read(booking) for booking in bookings}
    while True:
        # The bookings were read before: what was captured meanwhile looks like a fault, and is looked at again.
        taken = None if ledger is None else ledger()
        rows = list(known.values())
        faults = [] if taken is None else [*bookings_without_money(rows, taken), *money_without_bookings(rows, taken)]
        settled = not faults and not any(row.state in UNSETTLED for row in rows)
        if settled or clock() >= deadline:
            return [*rows, *([] if taken is None else [taken])]
        sleep(LOOK_SECONDS)
        known |= {row.booking: read(row.booking) for row in rows if row.state in UNSETTLED | {"pending_payment"}}
