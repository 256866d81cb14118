"""What a run of bookings is remembered as: by PostgreSQL, by Stripe's ledger, by Redis, by the clients."""

from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import Struct

from lml_live.booking.states import BookingState

Rule = Callable[["Run"], Iterator[str]]
"""Answers what breaks it."""


class BookingRow(Struct, frozen=True, kw_only=True):
    """A booking as PostgreSQL has it; `buyer` is None for a refused checkout."""

    id: str
    hold: str
    holder: str
    epoch: int
    """The fence that its claim bore."""
    state: BookingState
    buyer: str | None
    amount: int | None
    currency: str | None
    intent: str | None
    payment: str | None = None
    """What its payment says; None where it has none."""
    attempts: frozenset[str] = frozenset()
    """The keys of all attempts at Stripe that are on record."""
    seats: dict[str, str]
    """Seat id to claimed, sold or released."""
    areas: dict[str, dict[str, int]]
    """Area to places by claimed, sold or released; all price types together."""
    lines_amount: int
    lines: tuple["LineRow", ...] = ()
    """What each was sold for; only who judges payouts asks."""
    lines_seats: tuple[str, ...]
    lines_areas: dict[str, int]
    """Seats and places of its lines."""
    lines_back: tuple[int, ...] = ()
    """Lines that were given back, whose seats are `seats_back` and whose places `areas_back`."""
    seats_back: dict[str, int] = {}
    """By when each was free again, in ms."""
    areas_back: dict[str, int] = {}
    moves: tuple[tuple[str | None, str, int], ...]
    """(from, to, at in ms), in order."""
    tender: str | None = None
    """What it was sold for at the counter."""
    forgone: int = 0
    """What its lines would have cost, where they were given away."""


class LineRow(Struct, frozen=True):
    """A ticket that was sold: its price, our fee, and the tax in both."""

    line: int
    amount: int
    fee: int
    tax: int


class IntentRow(Struct, frozen=True, kw_only=True):
    """A PaymentIntent as the double's ledger has it."""

    id: str
    booking: str | None
    key: str = ""
    """Under which it was made; empty where it was made without one."""
    status: str
    amount: int
    currency: str
    captured: int
    refunded: int
    withdrawn: int = 0
    """By disputes that are open or lost."""
    costs: int = 0
    """What Stripe took for them beside."""
    refund_keys: tuple[str, ...] = ()
    """Why each refund that has not failed was made: the key of its reason."""
    moves: tuple[tuple[str, int], ...]
    """(status, at in ms), in order."""


class AreaRow(Struct, frozen=True):
    capacity: int
    taken: int
    """PostgreSQL's counter."""
    available: int
    held: int
    sold: int
    blocked: int
    """Redis's counts."""


class HoldRow(Struct, frozen=True):
    """A hold's record in Redis, not gone."""

    state: str
    booking: str
    seats: tuple[str, ...]
    holder: str = ""
    key: str = ""
    """The idempotency key that made it, where that is one of the run's."""


class RefundRow(Struct, frozen=True, kw_only=True):
    """A refund as PostgreSQL has it."""

    id: str
    booking: str
    key: str
    amount: int
    fresh: int
    """What of it was not the buyer's already."""
    lines: tuple[int, ...]
    state: str
    accepted: bool
    accepted_ms: int = 0
    decided_ms: int = 0


class DisputeRow(Struct, frozen=True):
    """A dispute as PostgreSQL has it."""

    booking: str
    amount: int
    state: str
    closed_ms: int = 0


class SurplusRow(Struct, frozen=True):
    """What was paid for a booking and bought nothing, as PostgreSQL has it."""

    intent: str
    amount: int
    returned: bool
    booking: str = ""
    back_by: str | None = None
    """The refund, or the dispute that was lost."""


class SurplusDisputeRow(Struct, frozen=True, kw_only=True):
    """A dispute of that, as PostgreSQL has it."""

    id: str
    intent_id: str
    booking_id: str
    amount: int
    state: str


class TransferRow(Struct, frozen=True, kw_only=True):
    """What was decided to go to a booking's organisation, as PostgreSQL has it."""

    booking_id: str
    state: str
    venue: int = 0
    tax: int = 0
    fee: int
    netted: int
    sent: int
    stripe_id: str | None


class TermsRow(Struct, frozen=True):
    """What we keep of a booking of an organisation's, by the terms of when it was made: hundredths of a percent of the
    price, and so much a ticket that costs something."""

    basis_points: int
    per_ticket: int


class ReversalRow(Struct, frozen=True, kw_only=True):
    """What was decided to come back of it."""

    id: str
    booking_id: str
    state: str
    venue: int
    tax: int
    fee: int
    sought: int


class AgainRow(Struct, frozen=True, kw_only=True):
    """What of that was sent again."""

    booking_id: str
    fee: int
    netted: int
    sent: int
    stripe_id: str | None


class SentTwiceRow(Struct, frozen=True, kw_only=True):
    """What Stripe made besides."""

    booking_id: str
    stripe_id: str
    amount: int
    state: str


class TakenBackRow(Struct, frozen=True, kw_only=True):
    """What came back of a transfer though nobody decided it."""

    booking_id: str
    transfer_id: str
    amount: int


class ReceivableRow(Struct, frozen=True, kw_only=True):
    """What its organisation owes."""

    booking_id: str
    amount: int
    recovered: int


class SentRow(Struct, frozen=True):
    """A transfer as the double's ledger has it; `booking` is what its metadata say."""

    booking: str
    id: str
    amount: int
    reversed: int
    account: str = ""


class BankPayoutRow(Struct, frozen=True, kw_only=True):
    """What went from a connected account to its bank: as we know it, or as the double's ledger has it."""

    stripe_id: str
    account_id: str
    amount: int
    state: str


class TicketRow(Struct, frozen=True):
    """A ticket that is not void."""

    booking: str
    line: int
    state: str


class SeatLogRow(Struct, frozen=True):
    """What the log of seats and places says that a booking did."""

    booking: str
    act: str
    """sell or free."""
    place: str
    """A seat, or an area."""
    quantity: int = 1


class Op(Struct, frozen=True, kw_only=True):
    """What a client asked for and heard. `info`: it heard nothing, so that anything may have happened."""

    client: str
    """The holder, as the server knows it."""
    act: Literal["hold", "release", "book", "sell", "cancel", "read", "look"]
    """`sell` is a clerk's, of what nobody held. `look` reads the seat map; of it the epoch matters."""
    key: str = ""
    asked: str = ""
    """The request's body: one key stands for one."""
    seats: tuple[str, ...] = ()
    areas: dict[str, int] = {}
    outcome: Literal["ok", "fail", "info"]
    code: str = ""
    """Why it failed."""
    told: str = ""
    """The answer's body."""
    began_ms: int
    ended_ms: int
    hold: str = ""
    epoch: str = ""
    until_ms: int = 0
    """The deadline of a hold that was granted."""
    forgotten: bool = False
    """Redis was made to forget everything about then: `until_ms` is when, and the hold may be of just after."""
    got: tuple[str, ...] = ()
    """The seats that the answer named."""
    got_areas: dict[str, int] = {}
    booking: str = ""
    state: str = ""


class PostingRow(Struct, frozen=True):
    """A transaction of our ledger."""

    booking: str
    reason: str
    currency: str
    entries: dict[str, int]
    """Account to its debit, less its credit."""


class Run(Struct, frozen=True, kw_only=True):
    """Everything about one event's run, at rest."""

    bookings: tuple[BookingRow, ...] = ()
    intents: tuple[IntentRow, ...] = ()
    areas: dict[str, AreaRow] = {}
    seats: dict[str, int] = {}
    """Seat id to its state in Redis: 0 available, 1 held, 2 sold, 3 the house's, 4 killed."""
    blocks: dict[str, str] = {}
    """Seat id to what PostgreSQL says that it is kept off sale for: house or kill."""
    holds: dict[str, HoldRow] = {}
    ops: tuple[Op, ...] = ()
    postings: tuple[PostingRow, ...] = ()
    refunds: tuple[RefundRow, ...] = ()
    tickets: tuple[TicketRow, ...] = ()
    seat_log: tuple[SeatLogRow, ...] = ()
    chain_faults: tuple[str, ...] = ()
    """What is wrong with the audit trail's chain of the event."""
    disputes: tuple[DisputeRow, ...] = ()
    surplus: tuple[SurplusRow, ...] = ()
    surplus_disputes: tuple[SurplusDisputeRow, ...] = ()
    transfers: tuple[TransferRow, ...] = ()
    waiting: tuple[str, ...] = ()
    """Bookings whose transfer was not decided yet."""
    terms: dict[str, TermsRow] = {}
    """Of bookings that are organisations'."""
    reversals: tuple[ReversalRow, ...] = ()
    again: tuple[AgainRow, ...] = ()
    sent_twice: tuple[SentTwiceRow, ...] = ()
    taken_back: tuple[TakenBackRow, ...] = ()
    receivables: tuple[ReceivableRow, ...] = ()
    sent_out: tuple[SentRow, ...] = ()
    paid_out: tuple[BankPayoutRow, ...] = ()
    """Of the organisation's account, as we know it …"""
    at_banks: tuple[BankPayoutRow, ...] = ()
    """… and of all accounts, as Stripe has it."""
    sent: tuple[str, ...] = ()
    """The key of every call at Stripe that was to change something."""


class Violation(Struct, frozen=True):
    rule: str
    text: str


def real(run: Run) -> Iterator[BookingRow]:
    return (booking for booking in run.bookings if booking.buyer is not None)
