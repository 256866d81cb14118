"""What an organisation is due of a booking, from what was sold and what went back. Pure, and nothing of the product's.

The product keeps whole cents of three parts at each step; here are exact fractions of what was paid, and one rounding
at the end. So the two agree to the cent where whole lines went back, and else to what rounding may have cost.
"""

from collections.abc import Iterable
from fractions import Fraction
from math import floor
from typing import NamedTuple

from checker_rows import BookingRow, LineRow, Run, TermsRow

from lml_live.pricing.currencies import charge_step

_CENTS_A_STEP = 3
"""What rounding may cost where an amount was shared out: a cent of each part."""


class _Parts(NamedTuple):
    """Of what a buyer paid: the price and our fee without tax, and the tax in each."""

    price: Fraction
    fee: Fraction
    price_tax: Fraction
    fee_tax: Fraction

    @property
    def total(self) -> Fraction:
        return self.price + self.fee + self.price_tax + self.fee_tax

    @property
    def organisations(self) -> Fraction:
        return self.price + self.price_tax

    def less(self, other: "_Parts") -> "_Parts":
        return _Parts(*(mine - its for mine, its in zip(self, other, strict=True)))

    def less_amount(self, amount: int) -> "_Parts":
        """Without an amount, out of each as much as it has of all; what there is not is the organisation's loss."""
        taken = min(amount, max(self.total, Fraction(0)))
        kept = 1 - taken / self.total if self.total > 0 else Fraction(1)
        return _Parts(self.price * kept - (amount - taken), *(part * kept for part in self[1:]))

    def has(self, other: "_Parts") -> bool:
        tax, its = self.price_tax + self.fee_tax, other.price_tax + other.fee_tax
        return self.price >= other.price and self.fee >= other.fee and tax >= its


_NOTHING = _Parts(*([Fraction(0)] * 4))


class _Gone(NamedTuple):
    at_ms: int
    amount: int
    lines: tuple[int, ...]


def what_is_an_organisations(run: Run, booking: BookingRow, terms: TermsRow) -> tuple[int, int]:
    """What it is due, below 0 where it owes; and by how much rounding may have it otherwise."""
    lines = {line.line: _parts_of(line) for line in booking.lines}
    left, rounded = _sum(lines.values()), 0
    for gone in _gone(run, booking):
        named = _sum(lines[number] for number in gone.lines)
        if gone.amount == left.total:
            left, rounded = _NOTHING, 0
        elif gone.lines and named.total == gone.amount and left.has(named):
            left = left.less(named)
        else:
            left, rounded = left.less_amount(gone.amount), rounded + 1
    step = charge_step(booking.currency or "")
    return _less_commission(left.organisations, booking, terms), _CENTS_A_STEP * rounded + step if rounded else 0


def _gone(run: Run, booking: BookingRow) -> list[_Gone]:
    """What of the price went back, in order. What came back and was the buyer's already is nobody else's loss."""
    refunds = [one for one in run.refunds if one.booking == booking.id and one.accepted]
    owed = sum((one.amount if one.state == "failed" else 0) - (one.amount - one.fresh) for one in refunds)
    found = [_Gone(one.decided_ms, one.fresh, one.lines) for one in refunds]
    paid = sum(line.amount + line.fee for line in booking.lines)
    for one in sorted(run.disputes, key=lambda dispute: dispute.closed_ms):
        if one.booking == booking.id and one.state == "lost":
            left = max(0, paid - sum(gone.amount for gone in found))
            of_theirs = min(owed, max(0, one.amount - left))
            owed -= of_theirs
            found.append(_Gone(one.closed_ms, one.amount - of_theirs, ()))
    return sorted(found)


def _sum(parts: Iterable[_Parts]) -> _Parts:
    return _Parts(*(sum(part, Fraction(0)) for part in zip(_NOTHING, *parts, strict=True)))


def _parts_of(line: LineRow) -> _Parts:
    gross = line.amount + line.fee
    of_fee = Fraction(line.tax * line.fee, gross) if gross else Fraction(0)
    return _Parts(line.amount - line.tax + of_fee, line.fee - of_fee, line.tax - of_fee, of_fee)


def _less_commission(left: Fraction, booking: BookingRow, terms: TermsRow) -> int:
    """The part of what is left of the prices that is not ours; none is ours of what an organisation owes."""
    price = sum(line.amount for line in booking.lines)
    if left <= 0:
        return floor(left)
    tickets = sum(line.amount > 0 for line in booking.lines)
    # Half a cent counts as one.
    commission = floor(Fraction(price * terms.basis_points, 10_000) + Fraction(1, 2)) + terms.per_ticket * tickets
    step = charge_step(booking.currency or "")
    return floor((price - min(price, commission)) * left / price / step) * step
