"""How much of a booking is its organisation's, and what that books. Pure (docs/decisions/021).

An organisation is due the prices of its tickets with the tax in them, which it owes the state itself, less our
commission; the fees that buyers pay beside are ours. What was given back, by refund or by a bank, takes the commission
on it along: so what is due goes down with what is left of the price, in proportion, and so much of a transfer that was
made is owed back.
"""

from typing import Final, Literal

from msgspec import Struct

from lml_live import limits
from lml_live.booking.ledger import Account, Entry, Shares

TransferState = Literal["waiting", "decided", "made", "nothing"]
ReversalState = Literal["pending", "made", "refused", "nothing"]
AgainState = Literal["decided", "made", "nothing"]
PayoutPosting = Literal[
    "transfer_begun",
    "transferred",
    "reversal_begun",
    "reversed",
    "again_begun",
    "surplus_sent",
    "surplus_reversed",
]


class Terms(Struct, frozen=True):
    """What we keep: hundredths of a percent of the price, and so much a ticket that costs something."""

    fee_basis_points: int
    fee_per_ticket: int


class Payable(Struct, frozen=True, kw_only=True):
    """What a booking brought, and what of it was given back; minor units."""

    whole: Shares
    """Of all lines."""
    price_tax: int
    """What of the tax is in the prices; the rest is in our fees."""
    tickets: int
    """Those that cost something."""
    terms: Terms
    back: Shares
    """By refunds that Stripe has accepted, whatever became of them."""
    gone_tax: int
    """The tax of lines that went back whole, for just what they cost …"""
    gone_price_tax: int
    """… and what of it was in their prices."""
    lost: Shares
    """To banks, for good, as it was booked."""
    step: int
    """Amounts are multiples of it (`currencies.charge_step`)."""


class Due(Struct, frozen=True):
    """An organisation's part: of the prices without tax, and the tax in them, less our commission."""

    venue: int
    tax: int
    fee: int

    @property
    def amount(self) -> int:
        """What it gets; below 0 where a bank took back what had been given back: then it owes that."""
        return self.venue + self.tax - self.fee

    def less(self, other: "Due") -> "Due":
        return Due(self.venue - other.venue, self.tax - other.tax, self.fee - other.fee)


NOTHING: Final = Due(0, 0, 0)


def what_is_due(payable: Payable) -> Due:
    """What is an organisation's of a booking as things stand. It never grows while more is given back or lost."""
    whole, rest = payable.whole, what_is_left(payable)
    # A line that goes back whole takes its own tax along. Of what was given back otherwise nobody can say whose tax it
    # was: it is the prices' as far as that of the other lines is.
    taxed = whole.tax - payable.gone_tax
    tax = rest.tax * (payable.price_tax - payable.gone_price_tax) // taxed if taxed else 0
    left, price = rest.venue + tax, whole.venue + payable.price_tax
    if left <= 0:
        return Due(rest.venue, tax, 0)
    commission = min(price, _commission(price, payable))
    amount = (price - commission) * left // price
    return Due(rest.venue, tax, left - (amount - amount % payable.step))


def what_is_left(payable: Payable) -> Shares:
    """Whose what was neither given back nor lost is; a venue's part is below 0 where more than all was taken."""
    whole, back, lost = payable.whole, payable.back, payable.lost
    return Shares(
        whole.venue - back.venue - lost.venue, whole.fees - back.fees - lost.fees, whole.tax - back.tax - lost.tax
    )


def _commission(price: int, payable: Payable) -> int:
    terms, all_of_it = payable.terms, limits.BASIS_POINTS_MAX
    return (price * terms.fee_basis_points + all_of_it // 2) // all_of_it + terms.fee_per_ticket * payable.tickets


def net(due: int, receivables: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """What of an amount is kept for what is owed, by receivable, in their order."""
    kept: list[tuple[str, int]] = []
    for name, open_amount in receivables:
        part = min(open_amount, due - sum(amount for _, amount in kept))
        if part > 0:
            kept.append((name, part))
    return tuple(kept)


def sides(posting: PayoutPosting, of: Due, *, sent: int = 0, netted: int = 0) -> tuple[Entry, ...]:
    """What is booked, over a part of a booking; `sent` and `netted` are those of a transfer.

    `transfer_begun`   decided: it is ours to send, our commission is earned, and what was owed is paid with it
    `transferred`      Stripe has it
    `reversal_begun`   what was given back was the organisation's: it owes it, and we owe our commission
    `reversed`         Stripe has taken it back
    `surplus_sent`     Stripe has it twice: it is owed, until it is reversed
    `surplus_reversed` Stripe has taken back what nobody decided: it is sent again, less what was owed
    `again_begun`      a bank gave back what a reversal was for: it is sent again, less what was owed
    """
    match posting:
        case "transfer_begun" | "again_begun":
            owed = max(0, -of.amount)
            booked: dict[Account, int] = {
                **_parts(of),
                "transfers_due": -sent,
                "organisation_receivable": owed - netted,
            }
        case "surplus_sent":
            booked = {"organisation_receivable": sent, "stripe_balance": -sent}
        case "surplus_reversed":
            booked = {"stripe_balance": sent + netted, "transfers_due": -sent, "organisation_receivable": -netted}
        case "transferred":
            booked = {"transfers_due": sent, "stripe_balance": -sent}
        case "reversal_begun":
            booked = {name: -amount for name, amount in _parts(of).items()} | {"organisation_receivable": of.amount}
        case "reversed":
            booked = {"stripe_balance": sent, "organisation_receivable": -sent}
    return tuple(Entry(name, max(0, amount), max(0, -amount)) for name, amount in booked.items() if amount)


def _parts(of: Due) -> dict[Account, int]:
    return {"venue_payable": of.venue, "tax_payable": of.tax, "fee_income": -of.fee}
