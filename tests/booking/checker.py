"""Judges a run of bookings at rest, from what PostgreSQL, Stripe's ledger, Redis and the clients remember. Pure.

Each rule is an invariant of reliability.md, section 2, and answers what breaks it. `check` asks all of them.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from lml_live.booking.payment_states import PAYMENT_FITS
from lml_live.booking.states import AWAITING_PAYMENT, ENDED_UNSOLD, MOVES, SOLD, BookingState


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


class IntentRow(Struct, frozen=True, kw_only=True):
    """A PaymentIntent as the double's ledger has it."""

    id: str
    booking: str | None
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


class DisputeRow(Struct, frozen=True):
    """A dispute as PostgreSQL has it."""

    booking: str
    amount: int
    state: str


class SurplusRow(Struct, frozen=True):
    """What was paid for a booking and bought nothing, as PostgreSQL has it."""

    intent: str
    amount: int
    returned: bool


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


class TicketRow(Struct, frozen=True):
    """A ticket that is not void."""

    booking: str
    line: int
    state: str


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
    disputes: tuple[DisputeRow, ...] = ()
    surplus: tuple[SurplusRow, ...] = ()
    transfers: tuple[TransferRow, ...] = ()
    due: dict[str, int] = {}
    """What organisations are due of bookings whose transfer was decided, as things stand."""
    reversals: tuple[ReversalRow, ...] = ()
    again: tuple[AgainRow, ...] = ()
    sent_twice: tuple[SentTwiceRow, ...] = ()
    receivables: tuple[ReceivableRow, ...] = ()
    sent_out: tuple[SentRow, ...] = ()
    sent: tuple[str, ...] = ()
    """The key of every call at Stripe that was to change something."""


class Violation(Struct, frozen=True):
    rule: str
    text: str


LIMBO_MS_MAX = 60_000
"""Money may be undecided for so long (I12)."""
_LET_GO = ENDED_UNSOLD | {"refunded"}
"""Where a booking's seats are free again."""
_CONFIRMED = {"requires_action", "processing", "requires_capture", "succeeded"}


def check(run: Run, *, limbo_ms_max: int = LIMBO_MS_MAX) -> list[Violation]:
    """All that is wrong with a run."""
    rules: dict[str, Callable[[Run], Iterator[str]]] = {
        "I1": _sold_once,
        "I2": _sale_follows_claim,
        "I3": _held_once,
        "I4": _all_or_nothing,
        "I5": _areas_hold_what_they_can,
        "I7": _nothing_is_left_over,
        "I9": _over_is_over,
        "I7, tickets": _a_ticket_is_a_place,
        "I10": _cancelled_before_released,
        "I11": _money_is_a_seat,
        "I11, surplus": _surplus_goes_back,
        "I11, counter": _counter_money_is_a_seat,
        "I13": _charged_once,
        "I13, payments": _payments_as_at_stripe,
        "I13, attempts": _sent_as_recorded,
        "I14": _refunded_at_most,
        "I15": _ledger_balances,
        "I16": _transferred_at_most,
        "I16, as decided": _transferred_as_decided,
        "I16, as due": _transferred_as_due,
        "I17": _charged_as_quoted,
        "I19": _legal_moves,
        "I24": _one_answer_a_key,
        "I25": _acknowledged_is_there,
    }
    found = [Violation(rule, text) for rule, broken in rules.items() for text in broken(run)]
    return found + [Violation("I12", text) for text in _limbo(run, limbo_ms_max)]


def _real(run: Run) -> Iterator[BookingRow]:
    return (booking for booking in run.bookings if booking.buyer is not None)


def _claim_time(booking: BookingRow) -> tuple[float, float] | None:
    """From its claim to the end of it, in ms; it has none where it was refused."""
    begun = next((at for before, to, at in booking.moves if before is None and to != "failed"), None)
    if begun is None:
        return None
    return begun, next((at for _, to, at in booking.moves if to in _LET_GO), float("inf"))


def _intervals_meet(intervals: Sequence[tuple[float, float, str]]) -> Iterator[tuple[str, str]]:
    before: tuple[float, float, str] | None = None
    for interval in sorted(intervals):
        if before is not None and interval[0] < before[1]:
            yield before[2], interval[2]
        if before is None or interval[1] > before[1]:
            before = interval


def _sold_once(run: Run) -> Iterator[str]:
    live: Counter[str] = Counter()
    taken: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for booking in run.bookings:
        live.update(seat for seat, state in booking.seats.items() if state in ("claimed", "sold"))
        if (time := _claim_time(booking)) is not None:
            for seat in booking.seats:
                taken[seat].append((time[0], min(time[1], booking.seats_back.get(seat, time[1])), booking.id))
    yield from (f"seat {seat} is sold {n} times" for seat, n in live.items() if n > 1)
    for seat, intervals in taken.items():
        yield from (f"seat {seat} was {one}'s and {two}'s at once" for one, two in _intervals_meet(intervals))


def _sale_follows_claim(run: Run) -> Iterator[str]:
    known = {booking.id: booking for booking in run.bookings}
    yield from _stale_fences(run)
    for booking in run.bookings:
        sold = [seat for seat, state in booking.seats.items() if state == "sold"]
        if sold and (booking.state not in SOLD or booking.moves[0][:2] != (None, "pending_payment")):
            yield f"{booking.id} is {booking.state} and has sold seats"
        if booking.state in SOLD and set(booking.seats) - set(sold) != set(booking.seats_back):
            yield f"{booking.id} is {booking.state} and does not have all its seats"
    for name, hold in run.holds.items():
        if hold.state == "sold":
            owner = known.get(hold.booking)
            kept = set() if owner is None else set(owner.seats) - set(owner.seats_back)
            if owner is None or owner.state not in SOLD or kept != set(hold.seats):
                yield f"hold {name} shows as sold, and its booking {hold.booking} is not"


def _stale_fences(run: Run) -> Iterator[str]:
    """Claims of an epoch after which, as somebody knew already, another one had begun."""
    known = [(op.ended_ms, int(op.epoch), op.client) for op in run.ops if op.epoch and op.outcome == "ok"]
    claims = {booking.id: time for booking in run.bookings if (time := _claim_time(booking)) is not None}
    known += [(int(claims[one.id][0]), one.epoch, one.id) for one in run.bookings if one.id in claims]
    newest, who = 0, ""
    # Of what is known in the same millisecond the older epoch comes first: nothing says that it did not.
    for _, epoch, name in sorted(known):
        if name in claims and epoch < newest:
            yield f"{name} was claimed with the fence {epoch}, when {who} knew {newest}"
        if epoch > newest:
            newest, who = epoch, name


def _held_once(run: Run) -> Iterator[str]:
    claims: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    ends: dict[str, float] = {}
    given_back: dict[tuple[str, str], float] = {}
    for booking in _real(run):
        if (time := _claim_time(booking)) is not None:
            ends[booking.hold] = time[1]
            given_back |= {(booking.hold, seat): at for seat, at in booking.seats_back.items()}
            for seat in booking.seats:
                claims[seat].append((time[0], min(time[1], booking.seats_back.get(seat, time[1])), booking.hold))
    for op in run.ops:
        if op.act == "release" and op.outcome != "fail":
            ends[op.hold] = min(ends.get(op.hold, op.began_ms), op.began_ms)
    held: dict[tuple[str, str], list[tuple[float, float, str]]] = defaultdict(list)
    for op in run.ops:
        until = min(op.until_ms, ends.get(op.hold, op.until_ms))
        if op.act != "hold" or op.outcome != "ok" or op.ended_ms >= until:
            continue
        for seat in op.got:
            # A refund gives a seat back before its hold, which others are still in, would have run out.
            held[op.epoch, seat].append((op.ended_ms, min(until, given_back.get((op.hold, seat), until)), op.hold))
            # A claim outlives every epoch: nobody else is granted its seat from its beginning to its end.
            for begun, ended, hold in claims[seat]:
                if hold != op.hold and begun <= op.began_ms and op.ended_ms < ended:
                    yield f"seat {seat} was granted to {op.hold} in the checkout or sale of {hold}"
    for (_, seat), intervals in held.items():
        yield from (
            f"seat {seat} was in the holds {one} and {two} at once"
            for one, two in _intervals_meet(intervals)
            if one != two
        )


def _all_or_nothing(run: Run) -> Iterator[str]:
    for op in run.ops:
        whole = set(op.got) == set(op.seats) and op.got_areas == op.areas
        if op.outcome == "ok" and op.act in ("hold", "book", "sell") and not whole:
            yield f"{op.client} asked for {op.seats} {op.areas} by {op.act} and got {op.got} {op.got_areas}"
    for booking in _real(run):
        if not booking.lines_seats and not booking.lines_areas:
            yield f"{booking.id} is a booking of nothing"
        if sorted(booking.lines_seats) != sorted(booking.seats) or _places(booking) != _places_of_lines(booking):
            yield f"{booking.id} has other seats and places than lines"
        in_part = booking.state in SOLD and booking.lines_back
        kinds = {*booking.seats.values(), *(state for states in booking.areas.values() for state in states)}
        if len(kinds) > 1 and not (in_part and kinds == {"sold", "released"}):
            yield f"{booking.id} is sold in part"
    yield from _refused_and_done(run)


def _places(booking: BookingRow) -> dict[str, int]:
    """What a booking has, or had, of areas. A row counts what is kept, once a part of it was given back."""
    kept = ("sold",) if booking.lines_back else ("claimed", "sold", "released")
    counts = {area: sum(states.get(state, 0) for state in kept) for area, states in booking.areas.items()}
    return {area: n for area, n in counts.items() if n}


def _places_of_lines(booking: BookingRow) -> dict[str, int]:
    if booking.lines_back and booking.state not in SOLD:
        return {}
    left = {area: n - booking.areas_back.get(area, 0) for area, n in booking.lines_areas.items()}
    return {area: n for area, n in left.items() if n}


def _refused_and_done(run: Run) -> Iterator[str]:
    """Acts that were refused and have had their effect all the same."""
    granted = {(op.client, op.key) for op in run.ops if op.act == "hold" and op.outcome != "fail"}
    denied = {(op.client, op.key) for op in run.ops if op.act == "hold" and op.key} - granted
    for name, hold in run.holds.items():
        if (hold.holder, hold.key) in denied:
            yield f"{hold.holder} was refused a hold, and has {name}"
    booked = {op.hold for op in run.ops if op.act == "book" and op.outcome != "fail"}
    refused = {op.hold for op in run.ops if op.act == "book"} - booked
    for booking in _real(run):
        if booking.hold in refused and booking.state not in ENDED_UNSOLD:
            yield f"{booking.holder} was refused a booking of {booking.hold}, and has {booking.id}"
    yield from _refused_and_sold(run)


def _refused_and_sold(run: Run) -> Iterator[str]:
    """Sales at the counter that no clerk was told of: no more than requests that nobody ever answered."""
    fates: dict[tuple[str, str], set[str]] = defaultdict(set)
    for op in run.ops:
        if op.act == "sell":
            fates[op.client, op.key].add(op.outcome)
    told = {op.booking for op in run.ops if op.act == "sell"}
    untold = [one.id for one in _real(run) if one.tender is not None and one.id not in told]
    unheard = sum("info" in found and "ok" not in found for found in fates.values())
    if fates and len(untold) > unheard:
        yield f"{untold} were sold at the counter, and {unheard} sales were not answered"


def _areas_hold_what_they_can(run: Run) -> Iterator[str]:
    for name, area in run.areas.items():
        states: Counter[str] = Counter()
        for booking in run.bookings:
            states.update(booking.areas.get(name, {}))
        taken = states["claimed"] + states["sold"]
        if area.taken != taken:
            yield f"{name} counts {area.taken} taken, and {taken} are"
        if taken > area.capacity or min(area.available, area.held, area.sold, area.blocked) < 0:
            yield f"{name} is oversold: {area}"
        if area.available + area.held + area.sold + area.blocked != area.capacity or area.sold != states["sold"]:
            yield f"{name} is counted wrongly in Redis: {area}, {states['sold']} are sold"
        most = _most_at_once(run, name)
        if most > area.capacity:
            yield f"{name} had {most} places claimed and sold at once, of {area.capacity}"


def _most_at_once(run: Run, area: str) -> int:
    changes: list[tuple[float, int]] = []
    for booking in run.bookings:
        places, time = sum(booking.areas.get(area, {}).values()), _claim_time(booking)
        if places and time is not None:
            changes += [(time[0], places), (time[1], -places)]
    # What ends comes before what begins in the same millisecond.
    return max(itertools.accumulate(places for _, places in sorted(changes)), default=0)


def _nothing_is_left_over(run: Run) -> Iterator[str]:
    live = {booking.id for booking in run.bookings if booking.state in AWAITING_PAYMENT | SOLD}
    for booking in run.bookings:
        states = {*booking.seats.values(), *(state for area in booking.areas.values() for state in area)}
        if booking.state in AWAITING_PAYMENT or booking.state == "authorized":
            yield f"{booking.id} is {booking.state} at rest"
        if booking.id not in live and states - {"released"}:
            yield f"{booking.id} is {booking.state} and keeps its seats"
    sold = {seat for booking in run.bookings for seat, state in booking.seats.items() if state == "sold"}
    held = {seat for hold in run.holds.values() if hold.state in ("active", "checkout") for seat in hold.seats}
    for seat, state in run.seats.items():
        if (state == 2) != (seat in sold):
            yield f"seat {seat} is {state} in Redis, and PostgreSQL says sold: {seat in sold}"
        if (state == 1) != (seat in held):
            yield f"seat {seat} is {state} in Redis, and is in a hold: {seat in held}"
    for seat, state in run.seats.items():
        if {3: "house", 4: "kill"}.get(state) != run.blocks.get(seat):
            yield f"seat {seat} is {state} in Redis, and PostgreSQL says blocked: {run.blocks.get(seat)}"
    for name, hold in run.holds.items():
        if hold.state == "checkout" and hold.booking not in live:
            yield f"hold {name} is in checkout for ever"


def _over_is_over(run: Run) -> Iterator[str]:
    """Acts that were granted on a hold which its holder knew to be over before they began."""
    granted = [op for op in run.ops if op.act == "hold" and op.outcome == "ok"]
    deadlines = {op.hold: float("inf") if op.forgotten else float(op.until_ms) for op in granted}
    for op in run.ops:
        if op.act == "book" and op.began_ms < deadlines.get(op.hold, 0):
            deadlines[op.hold] = float("inf")  # who begins to pay in time is given more
    given_back = {op.hold: op.ended_ms for op in run.ops if op.act == "release" and op.outcome == "ok"}
    for op in run.ops:
        if op.outcome != "ok" or op.act not in ("hold", "book", "release"):
            continue
        if op.began_ms > given_back.get(op.hold, float("inf")):
            yield f"{op.client} was granted to {op.act} with {op.hold}, which had been given back"
        if op.act == "book" and op.began_ms > deadlines.get(op.hold, float("inf")):
            yield f"{op.client} booked {op.hold}, which had ended at {deadlines[op.hold]:.0f}"


def _a_ticket_is_a_place(run: Run) -> Iterator[str]:
    have: dict[str, list[int]] = defaultdict(list)
    for ticket in run.tickets:
        have[ticket.booking].append(ticket.line)
    for booking in run.bookings:
        places = len(booking.lines_seats) + sum(booking.lines_areas.values())
        due = set(range(1, places + 1)) - set(booking.lines_back) if booking.state in SOLD - {"authorized"} else set()
        if sorted(due) != sorted(have.pop(booking.id, [])):
            yield f"{booking.id} is {booking.state}, and its tickets are not those of its places"
    yield from (f"{booking} has tickets and is none" for booking in have)


def _cancelled_before_released(run: Run) -> Iterator[str]:
    intents = {intent.id: intent for intent in run.intents}
    for booking in _real(run):
        if booking.state not in ENDED_UNSOLD:
            continue
        ended = booking.moves[-1][2]
        if booking.intent is not None:
            intent = intents.get(booking.intent)
            cancelled = [at for status, at in intent.moves if status == "canceled"] if intent else []
            if not cancelled or cancelled[0] > ended:
                yield f"{booking.id} let its seats go before its intent was canceled"
        for intent in run.intents:
            charged = {status for status, _ in intent.moves} & _CONFIRMED
            went_back = (
                intent.captured and intent.captured == intent.refunded + intent.withdrawn and intent.id in _surplus(run)
            )
            if intent.booking == booking.id and intent.id != booking.intent and charged and not went_back:
                yield f"{booking.id} let its seats go, and {intent.id}, unknown to it, was {charged}"


def _money_is_a_seat(run: Run) -> Iterator[str]:
    known = {booking.id: booking for booking in _real(run)}
    net: Counter[str] = Counter()
    for intent in run.intents:
        if intent.status in ("requires_capture", "processing"):
            yield f"{intent.id} is {intent.status} at rest"
        kept = intent.captured - intent.refunded - intent.withdrawn
        if not kept:
            continue
        owner = known.get(intent.booking or "")
        net[intent.booking or ""] += kept
        if owner is None or owner.state not in SOLD | {"refunded"} or (owner.state == "refunded" and kept > 0):
            yield f"money is kept by {intent.id} without a seat ({owner.state if owner else 'no booking'})"
        elif owner.currency is None or owner.currency.lower() != intent.currency.lower():
            yield f"{owner.id} was paid in another currency"
    back: Counter[str] = Counter()
    for refund in run.refunds:
        if refund.accepted:
            back[refund.booking] += refund.amount if refund.state != "failed" else 0
    disputed: dict[str, set[str]] = defaultdict(set)
    for dispute in run.disputes:
        disputed[dispute.booking].add(dispute.state)
        back[dispute.booking] += dispute.amount if dispute.state in ("open", "lost") else 0
    for booking in known.values():
        states = disputed[booking.id]
        due = "disputed" if "open" in states else "charged_back" if "lost" in states else ""
        # What was given back whole stays so, whatever banks take besides.
        if booking.state != "refunded" and due != (
            booking.state if booking.state in ("disputed", "charged_back") else ""
        ):
            yield f"{booking.id} is {booking.state}, and its disputes are {sorted(states)}"
    for booking in known.values():
        if booking.tender is not None:
            continue  # Stripe has nothing of it, as `_counter_money_is_a_seat` asks
        if booking.state in SOLD | {"refunded"} and net[booking.id] != (booking.amount or 0) - back[booking.id]:
            yield f"{booking.id} owes {booking.amount} less {back[booking.id]} and paid {net[booking.id]}"


def _surplus(run: Run) -> set[str]:
    return {one.intent for one in run.surplus}


def _surplus_goes_back(run: Run) -> Iterator[str]:
    """What bought nothing was taken by no booking's own intent, and is given back whole."""
    own = {booking.intent for booking in run.bookings if booking.state in SOLD}
    intents = {intent.id: intent for intent in run.intents}
    for one in run.surplus:
        intent = intents.get(one.intent)
        if intent is None or one.intent in own:
            yield f"{one.intent} counts as surplus, and is a sale's or nobody's"
        elif not one.returned or not one.amount == intent.captured == intent.refunded + intent.withdrawn:
            yield f"{one.intent} took {intent.captured} for nothing, and {intent.refunded} went back"


_DRAWERS = {"cash": "cash_drawer", "card_terminal": "card_terminal"}


def _counter_money_is_a_seat(run: Run) -> Iterator[str]:
    """What was sold at the counter is sold at once and whole; its money is where the tender says, and not at Stripe."""
    charged = {intent.booking for intent in run.intents if intent.id not in _surplus(run)}
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for posting in run.postings:
        sums[posting.booking].update(posting.entries)
    back: Counter[str] = Counter()
    for refund in run.refunds:
        back[refund.booking] += refund.amount
    for booking in _real(run):
        drawer = _DRAWERS.get(booking.tender or "")
        kept = (booking.amount or 0) - back[booking.id] if drawer else 0
        there = {name: sums[booking.id][name] for name in _DRAWERS.values() if sums[booking.id][name]}
        if there != ({drawer: kept} if kept else {}):
            yield f"{booking.id} is a sale for {booking.tender} over {kept}, and {there} is booked"
        if booking.tender is None:
            continue
        asked = {key for key in booking.attempts if key.split(":")[1:2] not in (["cancel_surplus"], ["refund_surplus"])}
        if booking.payment is not None or asked or booking.id in charged:
            yield f"{booking.id} was sold at the counter, and Stripe was asked"
        if [move[1] for move in booking.moves[:2]] != ["pending_payment", "confirmed"]:
            yield f"{booking.id} was sold at the counter, and not at once"
        if booking.tender == "comp" and booking.amount:
            yield f"{booking.id} was given away, and costs {booking.amount}"
        if (booking.tender == "comp") != bool(booking.forgone):
            yield f"{booking.id} is a sale for {booking.tender}, and forgoes {booking.forgone}"


def _limbo(run: Run, limbo_ms_max: int) -> Iterator[str]:
    for intent in run.intents:
        begun = next((at for status, at in intent.moves if status == "requires_capture"), None)
        ended = next((at for status, at in intent.moves if status in ("succeeded", "canceled")), None)
        if begun is not None and ended is not None and ended - begun > limbo_ms_max:
            yield f"{intent.id} was undecided for {ended - begun} ms"


def _charged_once(run: Run) -> Iterator[str]:
    charged = Counter(intent.booking for intent in run.intents if intent.captured and intent.id not in _surplus(run))
    yield from (f"{booking} was charged {n} times" for booking, n in charged.items() if n > 1)


def _payments_as_at_stripe(run: Run) -> Iterator[str]:
    """A booking's payment is where the booking needs it, and Stripe says the same of its intent."""
    intents = {intent.id: intent.status for intent in run.intents}
    for booking in _real(run):
        if booking.amount and booking.tender is None and booking.payment not in PAYMENT_FITS[booking.state]:
            yield f"booking {booking.id} is {booking.state}, and its payment {booking.payment}"
        status = intents.get(booking.intent or "")
        if status is not None and booking.payment != status and booking.state not in AWAITING_PAYMENT:
            yield f"the payment of booking {booking.id} is {booking.payment}, and Stripe says {status}"


def _sent_as_recorded(run: Run) -> Iterator[str]:
    """Nothing was sent to Stripe under a key of ours that was not on record before."""
    known = {booking.id: booking.attempts for booking in run.bookings}
    for key in run.sent:
        booking = key.partition(":")[0]
        if booking in known and key not in known[booking]:
            yield f"no attempt has the key {key}, and it was sent"


def _refunded_at_most(run: Run) -> Iterator[str]:
    for intent in run.intents:
        if intent.refunded > intent.captured:
            yield f"{intent.id} gave back more than it took"
        if len(set(intent.refund_keys)) < len(intent.refund_keys):
            yield f"{intent.id} gave back twice for one reason"
    yield from _refunded_as_decided(run)


def _refunded_as_decided(run: Run) -> Iterator[str]:
    paid = {booking.id: booking.amount or 0 for booking in run.bookings}
    ours: Counter[str] = Counter()
    for refund in run.refunds:
        if refund.state != "failed":
            ours[refund.booking] += refund.amount
            if not refund.accepted:
                yield f"{refund.id} was decided, and Stripe does not have it at rest"
    for booking, amount in ours.items():
        if amount > paid.get(booking, 0):
            yield f"{booking} gives back {amount}, and was paid {paid.get(booking, 0)}"
    for key, n in Counter((refund.booking, refund.key) for refund in run.refunds).items():
        if n > 1:
            yield f"{key} was refunded {n} times for one reason"
    at_stripe: Counter[str] = Counter()
    for intent in run.intents:
        if intent.refunded and intent.id not in _surplus(run):
            at_stripe[intent.booking or ""] += intent.refunded
    for booking_row in run.bookings:
        if booking_row.tender is not None:  # given back at the counter
            at_stripe[booking_row.id] += ours[booking_row.id]
    for booking in sorted(set(ours) | set(at_stripe)):
        if ours[booking] != at_stripe[booking]:
            yield f"{booking} has {ours[booking]} given back, and Stripe {at_stripe[booking]}"


def _ledger_balances(run: Run) -> Iterator[str]:
    for posting in run.postings:
        if sum(posting.entries.values()):
            yield f"{posting.booking}: {posting.reason} does not balance"
    at_stripe: Counter[tuple[str, str]] = Counter()
    costs = Counter[str]()
    currencies: dict[str, str] = {}
    for intent in run.intents:
        kept = intent.captured - intent.refunded - intent.withdrawn
        currencies[intent.booking or ""] = intent.currency.upper()
        at_stripe[intent.booking or "", intent.currency.upper()] += kept - intent.costs
        costs[intent.booking or ""] += intent.costs
    for sent in run.sent_out:
        if sent.booking in currencies:
            at_stripe[sent.booking, currencies[sent.booking]] -= sent.amount - sent.reversed
    ours = {(posting.booking, posting.currency) for posting in run.postings}
    for booking, currency in sorted(ours | {key for key, amount in at_stripe.items() if amount}):
        sums: Counter[str] = Counter()
        for posting in run.postings:
            if (posting.booking, posting.currency) == (booking, currency):
                sums.update(posting.entries)
        if sums["stripe_balance"] != at_stripe[booking, currency]:
            there = at_stripe[booking, currency]
            yield f"{booking} has {sums['stripe_balance']} {currency} at Stripe in our ledger, and {there} in Stripe's"
        due = sum(
            one.amount for one in run.refunds if one.booking == booking and one.state == "failed" and one.accepted
        )
        due -= sum(
            one.amount - one.fresh
            for one in run.refunds
            if one.booking == booking and (one.state != "failed" or one.accepted)
        )
        # What the buyer is owed goes with a dispute that is lost, if it is more than all else.
        decided = ("dispute_lost", "dispute_reinstated")
        lost = [one.entries for one in run.postings if one.booking == booking and one.reason in decided]
        due -= sum(entries.get("refunds_due", 0) for entries in lost)
        open_ = sum(one.amount for one in run.disputes if one.booking == booking and one.state == "open")
        if sums["disputed_funds"] != open_:
            yield f"{booking} has {sums['disputed_funds']} {currency} in dispute, and {open_} are"
        if -sums["refunds_due"] != due:
            yield f"{booking} has {-sums['refunds_due']} {currency} of refunds due, and {due} came back"
        if sums["dispute_fees"] != costs[booking]:
            yield f"{booking} has {sums['dispute_fees']} {currency} of disputes' fees, and Stripe took {costs[booking]}"
        if sums["buyer_receivable"]:
            yield f"{booking} is owed {sums['buyer_receivable']} {currency} at rest"


def _transferred_at_most(run: Run) -> Iterator[str]:
    """Nobody is paid more than is left, but for what is on record as owed."""
    out = Counter[str]()
    for sent in run.sent_out:
        out[sent.booking] += sent.amount - sent.reversed
    owed, fees = Counter[str](), Counter[str]()
    for receivable in run.receivables:
        owed[receivable.booking_id] += receivable.amount
        if not 0 <= receivable.recovered <= receivable.amount:
            yield f"{receivable.booking_id}: {receivable.recovered} of {receivable.amount} owed were recovered"
    for transfer in run.transfers:
        fees[transfer.booking_id] += transfer.fee
    for reversal in run.reversals:
        fees[reversal.booking_id] -= reversal.fee
    for again in run.again:
        fees[again.booking_id] += again.fee
    left = Counter[str]()
    for intent in run.intents:
        left[intent.booking or ""] += intent.captured - intent.refunded - intent.withdrawn
    for dispute in run.disputes:
        # While a bank decides the money is withdrawn, and nobody owes it yet.
        left[dispute.booking] += dispute.amount if dispute.state == "open" else 0
    known = {booking.id for booking in run.bookings}
    for booking, amount in out.items():
        if booking in known and amount > left[booking] - fees[booking] + owed[booking]:
            yield f"{booking}: {amount} were transferred of {left[booking]} less {fees[booking]}"


def _transferred_as_decided(run: Run) -> Iterator[str]:
    """One transfer for each booking, of what was decided, and one for each dispute that was won after all; back came
    what was decided; the ledger says the same."""
    known = {booking.id for booking in run.bookings}
    there: dict[str, list[SentRow]] = defaultdict(list)
    for sent in run.sent_out:
        there[sent.booking].append(sent)
    back = Counter[str]()
    for reversal in run.reversals:
        back[reversal.booking_id] += reversal.sought if reversal.state == "made" else 0
        if reversal.state == "pending":
            yield f"{reversal.id} was decided, and Stripe has not said what became of it at rest"
    decided = {one.booking_id: one for one in run.transfers}
    for booking in sorted({*decided, *(known & there.keys())}):
        ours, theirs = decided.get(booking), there[booking]
        wanted = [(ours.stripe_id, ours.sent, back[booking])] if ours is not None and ours.sent else []
        wanted += [(one.stripe_id, one.sent, 0) for one in run.again if one.booking_id == booking and one.sent]
        wanted += [
            (one.stripe_id, one.amount, one.amount if one.state == "reversed" else 0)
            for one in run.sent_twice
            if one.booking_id == booking
        ]
        if sorted(((one.id, one.amount, one.reversed) for one in theirs), key=str) != sorted(wanted, key=str):
            yield f"{booking} was decided to send {wanted}, and Stripe has {theirs}"
    sums: Counter[tuple[str, str]] = Counter()
    for posting in run.postings:
        sums.update({(posting.booking, account): amount for account, amount in posting.entries.items()})
    for booking, ours in decided.items():
        refused = sum(r.sought for r in run.reversals if (r.booking_id, r.state) == (booking, "refused"))
        excess = sum(r.venue + r.tax - r.fee - r.sought for r in run.reversals if r.booking_id == booking)
        owed = sum(one.amount for one in run.receivables if one.booking_id == booking)
        if sums[booking, "transfers_due"]:
            yield f"{booking} has {sums[booking, 'transfers_due']} of transfers due at rest"
        booked = sums[booking, "organisation_receivable"]
        netted = ours.netted + sum(one.netted for one in run.again if one.booking_id == booking)
        if booked != owed - netted:
            yield f"{booking} is owed {owed} less {netted}, and {booked} are booked"
        if owed < refused + excess:
            yield f"{booking} has {refused + excess} that could not be reversed, and {owed} are on record as owed"


def _transferred_as_due(run: Run) -> Iterator[str]:
    """What was decided for an organisation, less what was to come back, and with what was to go again, is its."""
    has = Counter[str]()
    for transfer in run.transfers:
        has[transfer.booking_id] += transfer.venue + transfer.tax - transfer.fee
    for reversal in run.reversals:
        has[reversal.booking_id] -= reversal.venue + reversal.tax - reversal.fee
    for again in run.again:
        has[again.booking_id] += again.sent + again.netted
    for booking, due in run.due.items():
        if has[booking] != due:
            yield f"{booking}: its organisation is due {due}, and {has[booking]} were decided"


def _charged_as_quoted(run: Run) -> Iterator[str]:
    amounts = {booking.id: booking.amount for booking in run.bookings}
    yield from (f"{one.id} was claimed at another price" for one in _real(run) if one.amount != one.lines_amount)
    ours = (one for one in run.intents if one.id not in _surplus(run))
    yield from (f"{one.id} asks for another amount" for one in ours if amounts.get(one.booking) != one.amount)


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
    known = {booking.id: booking for booking in _real(run)}
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
