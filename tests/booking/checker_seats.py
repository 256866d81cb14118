"""Judges seats, places and tickets: nobody has what another one has, and nothing is left over. Pure."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from checker_rows import BookingRow, Rule, Run, real

from lml_live.booking.states import AWAITING_PAYMENT, ENDED_UNSOLD, SOLD

_LET_GO = ENDED_UNSOLD | {"refunded"}
"""Where a booking's seats are free again."""


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
    for booking in real(run):
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
    for booking in real(run):
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
    for booking in real(run):
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
    untold = [one.id for one in real(run) if one.tender is not None and one.id not in told]
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


RULES: Final[dict[str, Rule]] = {
    "I1": _sold_once,
    "I2": _sale_follows_claim,
    "I3": _held_once,
    "I4": _all_or_nothing,
    "I5": _areas_hold_what_they_can,
    "I7": _nothing_is_left_over,
    "I7, tickets": _a_ticket_is_a_place,
    "I9": _over_is_over,
}
