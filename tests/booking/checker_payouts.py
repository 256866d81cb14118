"""Judges what organisations are paid: what is theirs, once, and never more than there is. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from checker_due import what_is_an_organisations
from checker_rows import BookingRow, Rule, Run, SentRow

_MAY_BECOME: Final = {
    "pending": ("in_transit", "paid", "failed", "canceled"),
    "in_transit": ("paid", "failed", "canceled"),
    "paid": ("failed",),
    "failed": (),
    "canceled": (),
}
"""The checker's own table of what a payout may become."""


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
    surplus = {one.intent for one in run.surplus}
    for intent in run.intents:
        if intent.id in surplus:
            continue  # no organisation's, whatever banks take of it
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
    what was decided, and what is on record as taken besides; the ledger says the same."""
    known = {booking.id for booking in run.bookings}
    there: dict[str, list[SentRow]] = defaultdict(list)
    for sent in run.sent_out:
        there[sent.booking].append(sent)
    back = Counter[str]()
    for reversal in run.reversals:
        back[reversal.booking_id] += reversal.sought if reversal.state == "made" else 0
        if reversal.state == "pending":
            yield f"{reversal.id} was decided, and Stripe has not said what became of it at rest"
    besides = Counter[str]()
    for one in run.taken_back:
        besides[one.transfer_id] += one.amount
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
        wanted = [(name, sent, came + besides[name or ""]) for name, sent, came in wanted]
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
    """What was decided for an organisation, less what was to come back, and with what was to go again, is its; and of
    each booking that it was paid for something was decided, or waits to be."""
    has = Counter[str]()
    for transfer in run.transfers:
        has[transfer.booking_id] += transfer.venue + transfer.tax - transfer.fee
    for reversal in run.reversals:
        has[reversal.booking_id] -= reversal.venue + reversal.tax - reversal.fee
    for besides in run.taken_back:
        has[besides.booking_id] -= besides.amount
    for again in run.again:
        has[again.booking_id] += again.sent + again.netted
    for booking in run.bookings:
        terms = run.terms.get(booking.id)
        if booking.id in has:
            if terms is None:
                yield f"{booking.id} is nobody's, and a transfer of it was decided"
                continue
            due, may_differ = what_is_an_organisations(run, booking, terms)
            if abs(has[booking.id] - due) > may_differ:
                yield f"{booking.id}: its organisation is due {due}, and {has[booking.id]} were decided"
        elif terms is not None and _was_paid(booking) and booking.id not in run.waiting:
            yield f"{booking.id} was paid for, and nothing waits for its organisation"


def _was_paid(booking: BookingRow) -> bool:
    paid_for = booking.amount and booking.tender is None
    return bool(paid_for and any(to == "confirmed" for _, to, _ in booking.moves))


def _paid_out_at_most(run: Run) -> Iterator[str]:
    """No account sends more to its bank than was transferred to it, less what was reversed; and what we know of that
    Stripe has: the same payout, where it stood once."""
    has = Counter[str]()
    for sent in run.sent_out:
        has[sent.account] += sent.amount - sent.reversed
    gone = Counter[str]()
    for payout in run.at_banks:
        gone[payout.account_id] += payout.amount if payout.state not in ("failed", "canceled") else 0
    known = Counter[str]()
    at_stripe = {payout.stripe_id: payout for payout in run.at_banks}
    for payout in run.paid_out:
        known[payout.account_id] += payout.amount if payout.state not in ("failed", "canceled") else 0
        real = at_stripe.get(payout.stripe_id)
        if real is None or (real.account_id, real.amount) != (payout.account_id, payout.amount):
            yield f"{payout.stripe_id}: {payout.amount} of {payout.account_id} is on record, and Stripe has {real}"
        elif real.state != payout.state and real.state not in _MAY_BECOME[payout.state]:
            yield f"{payout.stripe_id} is on record as {payout.state}, and is {real.state}"
    for account, amount in gone.items():
        if amount > has[account]:
            yield f"{account} sent {amount} to its bank of {has[account]} that were its own"
    for account, amount in known.items():
        if amount > has[account]:
            yield f"{account} is said to have sent {amount} to its bank of {has[account]} that were its own"


RULES: Final[dict[str, Rule]] = {
    "I16": _transferred_at_most,
    "I16, as decided": _transferred_as_decided,
    "I16, as due": _transferred_as_due,
    "I16, as paid out": _paid_out_at_most,
}
