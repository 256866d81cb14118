"""The states of a payment: which may follow which, and which a booking's state goes with. Pure.

A payment is a booking's PaymentIntent as Stripe said last, in Stripe's own words, with two of ours: before there is
one (`preparing`), and where there never will be one (`abandoned`: its create was never sent, or refused). One table,
said again in SQL (`payment_move`, `payment_fit`), where triggers refuse all else; a test compares them.
"""

from collections.abc import Iterable
from typing import Final, Literal, get_args

from lml_live.booking.states import AWAITING_PAYMENT, ENDED_UNSOLD, STATES, BookingState, IntentStatus

PaymentState = Literal[
    "preparing",
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
    "canceled",
    "succeeded",
    "abandoned",
]
PAYMENT_STATES: Final[frozenset[PaymentState]] = frozenset(get_args(PaymentState))

UNDECIDED: Final[frozenset[PaymentState]] = frozenset(
    {"requires_payment_method", "requires_confirmation", "requires_action", "processing"}
)
"""The buyer's to go on with, or the bank's; Stripe goes to and fro between them."""

_DECIDED: Final[frozenset[PaymentState]] = frozenset({"requires_capture", "canceled", "succeeded"})

PAYMENT_MOVES: Final[dict[PaymentState, frozenset[PaymentState]]] = {
    # An intent that is found later than it was made may have come any way.
    "preparing": UNDECIDED | _DECIDED | {"abandoned"},
    **{state: (UNDECIDED | _DECIDED) - {state} for state in UNDECIDED},
    "requires_capture": frozenset({"canceled", "succeeded"}),
    # Stripe's word for these is final: a canceled intent can never charge, a paid one is given back by refunds.
    "canceled": frozenset(),
    "succeeded": frozenset(),
    "abandoned": frozenset(),
}


def _payments_of(state: BookingState) -> Iterable[PaymentState]:
    if state in AWAITING_PAYMENT:
        return PAYMENT_STATES
    if state == "authorized":
        return ("requires_capture",)
    # Cancel before release (reliability.md, D3): nothing is given up before Stripe has said that it cannot be charged.
    return ("canceled", "abandoned") if state in ENDED_UNSOLD else ("succeeded",)


PAYMENT_FITS: Final[dict[BookingState, frozenset[PaymentState]]] = {
    state: frozenset(_payments_of(state)) for state in STATES
}
"""What a booking that costs something needs of its payment before it may come to a state."""


def may_follow(status: IntentStatus) -> frozenset[PaymentState]:
    """The states in which a payment may be when its intent is found with this status; in any other that is old news."""
    return frozenset(state for state in PAYMENT_STATES if state == status or status in PAYMENT_MOVES[state])


def draw() -> str:
    """The table as a Mermaid state diagram (docs/bookings.md; a test compares the two)."""
    ends = "".join(f"    {state} --> [*]\n" for state in PAYMENT_MOVES if not PAYMENT_MOVES[state])
    ordered = (state for state in get_args(PaymentState))
    moves = "".join(f"    {state} --> {to}\n" for state in ordered for to in sorted(PAYMENT_MOVES[state]))
    return f"stateDiagram-v2\n    [*] --> preparing\n{moves}{ends}"
