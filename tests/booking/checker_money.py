"""Judges buyers' money, at Stripe, at the counter and in our ledger: none without a seat, none twice. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from checker_rows import Rule, Run, real

from lml_live.booking.payment_states import PAYMENT_FITS
from lml_live.booking.states import AWAITING_PAYMENT, ENDED_UNSOLD, SOLD

LIMBO_MS_MAX: Final = 60_000
"""Money may be undecided for so long (I12)."""

_CONFIRMED = {"requires_action", "processing", "requires_capture", "succeeded"}


def _cancelled_before_released(run: Run) -> Iterator[str]:
    intents = {intent.id: intent for intent in run.intents}
    for booking in real(run):
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
                intent.captured
                and intent.captured <= intent.refunded + intent.withdrawn
                and intent.id in surplus_of(run)
            )
            if intent.booking == booking.id and intent.id != booking.intent and charged and not went_back:
                yield f"{booking.id} let its seats go, and {intent.id}, unknown to it, was {charged}"


def _money_is_a_seat(run: Run) -> Iterator[str]:
    known = {booking.id: booking for booking in real(run)}
    net: Counter[str] = Counter()
    for intent in run.intents:
        if intent.status in ("requires_capture", "processing"):
            yield f"{intent.id} is {intent.status} at rest"
        kept = intent.captured - intent.refunded - intent.withdrawn
        if not kept or (kept < 0 and intent.id in surplus_of(run)):
            continue  # what a bank takes of what bought nothing is no booking's, as `_surplus_goes_back` asks
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


def surplus_of(run: Run) -> set[str]:
    return {one.intent for one in run.surplus}


def _surplus_goes_back(run: Run) -> Iterator[str]:
    """What bought nothing was taken by no booking's own intent, and is given back whole; what banks took of it is on
    record, and once more than that only where it had gone back before."""
    own = {booking.intent for booking in run.bookings if booking.state in SOLD}
    intents = {intent.id: intent for intent in run.intents}
    for one in run.surplus:
        intent = intents.get(one.intent)
        if intent is None or one.intent in own:
            yield f"{one.intent} counts as surplus, and is a sale's or nobody's"
            continue
        banks = [
            bank for bank in run.surplus_disputes if bank.intent_id == one.intent and bank.state in ("open", "lost")
        ]
        by_bank = sum(bank.amount for bank in banks if bank.id == one.back_by)
        if not one.returned or not one.amount == intent.captured == intent.refunded + by_bank:
            yield f"{one.intent} took {intent.captured} for nothing, and {intent.refunded} went back"
        if intent.withdrawn != sum(bank.amount for bank in banks):
            yield f"{one.intent} bought nothing, and banks took {intent.withdrawn}, which is not on record: {banks}"


_DRAWERS = {"cash": "cash_drawer", "card_terminal": "card_terminal"}


def _counter_money_is_a_seat(run: Run) -> Iterator[str]:
    """What was sold at the counter is sold at once and whole; its money is where the tender says, and not at Stripe."""
    charged = {intent.booking for intent in run.intents if intent.id not in surplus_of(run)}
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for posting in run.postings:
        sums[posting.booking].update(posting.entries)
    back: Counter[str] = Counter()
    for refund in run.refunds:
        back[refund.booking] += refund.amount
    for booking in real(run):
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


def _charged_once(run: Run) -> Iterator[str]:
    charged = Counter(intent.booking for intent in run.intents if intent.captured and intent.id not in surplus_of(run))
    yield from (f"{booking} was charged {n} times" for booking, n in charged.items() if n > 1)


def _payments_as_at_stripe(run: Run) -> Iterator[str]:
    """A booking's payment is where the booking needs it, and Stripe says the same of its intent."""
    intents = {intent.id: intent.status for intent in run.intents}
    for booking in real(run):
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
        if intent.refunded and intent.id not in surplus_of(run):
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
        # What bought nothing is the buyer's until a refund of ours has given it back.
        due += sum(
            one.amount
            for one in run.surplus
            if one.booking == booking and one.back_by in {None, *(bank.id for bank in run.surplus_disputes)}
        )
        # What the buyer is owed goes with a dispute that is lost, if it is more than all else.
        decided = ("dispute_lost", "dispute_reinstated")
        lost = [one.entries for one in run.postings if one.booking == booking and one.reason in decided]
        due -= sum(entries.get("refunds_due", 0) for entries in lost)
        open_ = sum(one.amount for one in run.disputes if one.booking == booking and one.state == "open")
        open_ += sum(one.amount for one in run.surplus_disputes if (one.booking_id, one.state) == (booking, "open"))
        if sums["disputed_funds"] != open_:
            yield f"{booking} has {sums['disputed_funds']} {currency} in dispute, and {open_} are"
        if -sums["refunds_due"] != due:
            yield f"{booking} has {-sums['refunds_due']} {currency} of refunds due, and {due} came back"
        if sums["dispute_fees"] != costs[booking]:
            yield f"{booking} has {sums['dispute_fees']} {currency} of disputes' fees, and Stripe took {costs[booking]}"
        if sums["buyer_receivable"]:
            yield f"{booking} is owed {sums['buyer_receivable']} {currency} at rest"


def _charged_as_quoted(run: Run) -> Iterator[str]:
    bookings = {booking.id: booking for booking in run.bookings}
    yield from (f"{one.id} was claimed at another price" for one in real(run) if one.amount != one.lines_amount)
    surplus = surplus_of(run)
    for one in run.intents:
        # Somebody else's that was charged for a booking may ask for anything: all of it goes back.
        if one.id in surplus and not one.key.startswith(f"{one.booking}:"):
            continue
        owner = bookings.get(one.booking or "")
        if owner is None or (owner.amount, (owner.currency or "").lower()) != (one.amount, one.currency.lower()):
            yield f"{one.id} asks for {one.amount} {one.currency}, and not what its booking costs"


def _limbo(run: Run) -> Iterator[str]:
    for intent in run.intents:
        begun = next((at for status, at in intent.moves if status == "requires_capture"), None)
        ended = next((at for status, at in intent.moves if status in ("succeeded", "canceled")), None)
        if begun is not None and ended is not None and ended - begun > LIMBO_MS_MAX:
            yield f"{intent.id} was undecided for {ended - begun} ms"


RULES: Final[dict[str, Rule]] = {
    "I10": _cancelled_before_released,
    "I11": _money_is_a_seat,
    "I11, surplus": _surplus_goes_back,
    "I11, counter": _counter_money_is_a_seat,
    "I12": _limbo,
    "I13": _charged_once,
    "I13, payments": _payments_as_at_stripe,
    "I13, attempts": _sent_as_recorded,
    "I14": _refunded_at_most,
    "I15": _ledger_balances,
    "I17": _charged_as_quoted,
}
