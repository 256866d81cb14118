"""The states of a booking and which may follow which. Pure.

One table, said again in SQL (`booking_move`, sql/migrations/002_booking.sql), where a trigger refuses all else; a test
compares the two. Seats stay held while a booking is pending, show sold from `authorized` on (from `confirmed` where
nothing is due), and are free again only when Stripe has said that the charge can never happen (reliability.md, D3).
"""

from typing import Final, Literal, get_args

BookingState = Literal[
    "pending_payment",
    "authorized",
    "confirmed",
    "partially_refunded",
    "refunded",
    "disputed",
    "charged_back",
    "cancelling",
    "cancelled",
    "expiring",
    "expired",
    "failed",
]
STATES: Final[frozenset[BookingState]] = frozenset(get_args(BookingState))

MOVES: Final[dict[BookingState, frozenset[BookingState]]] = {
    # cancelled, expired and failed at once where no charge can have begun: the create was never sent, or refused.
    "pending_payment": frozenset(
        {"authorized", "confirmed", "cancelling", "expiring", "cancelled", "expired", "failed"}
    ),
    # The charge may have won the race against the cancel.
    "cancelling": frozenset({"authorized", "confirmed", "cancelled"}),
    "expiring": frozenset({"authorized", "confirmed", "expired"}),
    # failed: the capture was refused for good; nothing was charged.
    "authorized": frozenset({"confirmed", "failed"}),
    "confirmed": frozenset({"partially_refunded", "refunded", "disputed"}),
    "partially_refunded": frozenset({"refunded", "disputed"}),
    # Won, it is what its refunds have made of it.
    "disputed": frozenset({"confirmed", "partially_refunded", "refunded", "charged_back"}),
    "refunded": frozenset(),
    # For the rest of it; or the bank gives back what it took.
    "charged_back": frozenset({"disputed"}),
    "cancelled": frozenset(),
    "expired": frozenset(),
    "failed": frozenset(),
}

AWAITING_PAYMENT: Final[frozenset[BookingState]] = frozenset({"pending_payment", "cancelling", "expiring"})
"""The charge is not decided; seats are claimed."""

UNPAID: Final[frozenset[BookingState]] = AWAITING_PAYMENT | {"authorized"}
"""As far as we have heard; Stripe may have the money already."""

SOLD: Final[frozenset[BookingState]] = frozenset(
    {"authorized", "confirmed", "partially_refunded", "disputed", "charged_back"}
)
"""The seats are the buyer's. (A charged-back ticket is flagged; the seat is not sold again by itself.)"""

ENDED_UNSOLD: Final[frozenset[BookingState]] = frozenset({"cancelled", "expired", "failed"})

IntentStatus = Literal[
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
    "canceled",
    "succeeded",
]
"""Stripe's states of a PaymentIntent."""


def next_state(state: BookingState, intent: IntentStatus) -> BookingState | None:
    """Where a booking goes when its PaymentIntent is found in a state, or None where it stays.

    `requires_capture` and `succeeded` win over cancelling and expiring: the charge was faster. `canceled` ends what was
    to be ended; a pending booking whose intent Stripe itself cancelled ends as `cancelled`.
    """
    if state in AWAITING_PAYMENT:
        match intent:
            case "requires_capture":
                return "authorized"
            case "succeeded":
                return "confirmed"
            case "canceled":
                return "expired" if state == "expiring" else "cancelled"
            case _:
                return None
    if state == "authorized":
        if intent == "succeeded":
            return "confirmed"
        # The authorisation lapsed, or was voided behind our back: nothing will ever be charged.
        return "failed" if intent == "canceled" else None
    return None


def may_move(state: BookingState, to: BookingState) -> bool:
    """Whether the table allows it."""
    return to in MOVES[state]


def draw() -> str:
    """The table as a Mermaid state diagram (docs/bookings.md; a test compares the two)."""
    ends = "".join(f"    {state} --> [*]\n" for state in MOVES if not MOVES[state])
    moves = "".join(f"    {state} --> {to}\n" for state in MOVES for to in sorted(MOVES[state]))
    return f"stateDiagram-v2\n    [*] --> pending_payment\n{moves}{ends}"
