"""How much of a booking can be given back, and whose money that is. Pure.

A refund names whole lines, an amount, or nothing: then it is all that is left. It is `pending` until Stripe says how it
ended; from when Stripe has it, it is *accepted*: the money has left our balance, and the places of its lines are free.
One that fails before was never there. One that fails after, however late, came back: the seats stay free, and the buyer
is owed it; the next refund by amount or of the rest gives that first (reliability.md, F28).
"""

from collections.abc import Sequence
from typing import Final, Literal, get_args

from msgspec import Struct

from lml_live.booking.ledger import Shares, share_out
from lml_live.booking.states import BookingState

RefundState = Literal["pending", "succeeded", "failed"]
REFUND_STATES: Final[frozenset[RefundState]] = frozenset(get_args(RefundState))
REFUND_MOVES: Final[dict[RefundState, frozenset[RefundState]]] = {
    "pending": frozenset({"succeeded", "failed"}),
    "succeeded": frozenset({"failed"}),
    "failed": frozenset(),
}
REFUNDABLE: Final[frozenset[BookingState]] = frozenset({"confirmed", "partially_refunded", "refunded"})
"""Where money may be given back; of what is `refunded`, only what came back."""


NONE: Final = Shares(0, 0, 0)


class PaidLine(Struct, frozen=True):
    """A line and what it cost; minor units, the tax contained."""

    line: int
    amount: int
    fee: int
    tax: int


class Earlier(Struct, frozen=True):
    """A refund that was decided before."""

    shares: Shares
    lines: tuple[int, ...]
    state: RefundState
    accepted: bool

    @property
    def counts(self) -> bool:
        """Whether its money is given back, or about to be."""
        return self.state != "failed"

    @property
    def came_back(self) -> bool:
        return self.state == "failed" and self.accepted


class Plan(Struct, frozen=True):
    """A refund that can be made."""

    shares: Shares
    lines: tuple[int, ...]


class NotRefundable(Struct, frozen=True):
    """Why it cannot be made."""

    code: Literal["conflict", "invalid_message", "idempotency_mismatch"]
    message: str


def plan_refund(
    paid: Sequence[PaidLine],
    earlier: Sequence[Earlier],
    lost: Shares = NONE,
    *,
    lines: Sequence[int] | None = None,
    amount: int | None = None,
) -> Plan | NotRefundable:
    """What a wish comes to after all that was given back before, and lost to banks."""
    rest, owed = what_is_left(paid, earlier, lost)
    gone = {line for one in earlier if one.counts or one.came_back for line in one.lines}
    if lines is not None:
        known = {one.line for one in paid}
        if not lines or len(set(lines)) < len(lines) or not known.issuperset(lines):
            return NotRefundable("invalid_message", "Name different lines of this booking.")
        if gone.intersection(lines):
            return NotRefundable("conflict", "One of these lines was given back already.")
        shares = share_out((one.amount, one.fee, one.tax) for one in paid if one.line in lines)
        if shares.total > rest.total:
            return NotRefundable("conflict", "A part of these lines' price was given back already: refund an amount.")
        fits = shares.venue <= rest.venue and shares.fees <= rest.fees and shares.tax <= rest.tax
        return Plan(shares if fits else _part_of(rest, shares.total), tuple(sorted(lines)))
    if amount is not None:
        if amount > rest.total + owed:
            return NotRefundable("conflict", f"Only {rest.total + owed} are left to give back.")
        of_owed = min(owed, amount)
        return Plan(_part_of(rest, amount - of_owed, owed=of_owed), ())
    open_lines = tuple(one.line for one in paid if one.line not in gone)
    is_free = all(one.amount + one.fee == 0 for one in paid)
    if rest.total + owed <= 0 and not (is_free and open_lines):
        return NotRefundable("conflict", "Nothing is left to give back.")
    return Plan(_part_of(rest, rest.total, owed=owed), open_lines)


def state_of_money(paid: Sequence[PaidLine], earlier: Sequence[Earlier]) -> BookingState:
    """What a booking is by its refunds that Stripe has accepted; disputes are another matter."""
    accepted = [one for one in earlier if one.accepted]
    price, back = sum(one.amount + one.fee for one in paid), sum(one.shares.fresh for one in accepted)
    if not accepted:
        return "confirmed"
    whole = back >= price if price else not kept_lines(paid, earlier)
    return "refunded" if whole else "partially_refunded"


def kept_lines(paid: Sequence[PaidLine], earlier: Sequence[Earlier]) -> set[int]:
    """The lines that no refund which Stripe has accepted gave back."""
    return {one.line for one in paid}.difference(line for one in earlier if one.accepted for line in one.lines)


def refunded_besides(paid: Sequence[PaidLine], earlier: Sequence[Earlier], lost: Shares, amount: int) -> Shares:
    """Whose money a refund took that Stripe made, whether we would have decided it or not.

    As with a dispute that is lost: what is more than is left is the venue's loss.
    """
    return lost_of_rest(*what_is_left(paid, earlier, lost), amount)


def lost_of_rest(rest: Shares, owed: int, amount: int) -> Shares:
    """Whose money a lost dispute over an amount takes: that of all who have some of it, then what the buyer is owed.

    What is more than both, given back by us and by the bank, is the venue's loss, on whose behalf it was sold.
    """
    fresh = max(0, min(amount, rest.total))
    of_owed = min(owed, amount - fresh)
    part = _part_of(rest, fresh)
    return Shares(part.venue + amount - fresh - of_owed, part.fees, part.tax, of_owed)


def what_is_left(paid: Sequence[PaidLine], earlier: Sequence[Earlier], lost: Shares = NONE) -> tuple[Shares, int]:
    """Whose the money is that was neither given back nor lost, and what is the buyer's again already.

    A venue's part is below 0 where more than all was taken.
    """
    whole = share_out((one.amount, one.fee, one.tax) for one in paid)
    taken = [lost, *(one.shares for one in earlier if one.counts or one.came_back)]
    rest = Shares(
        whole.venue - sum(shares.venue for shares in taken),
        whole.fees - sum(shares.fees for shares in taken),
        whole.tax - sum(shares.tax for shares in taken),
    )
    came_back = sum(one.shares.total for one in earlier if one.came_back)
    sent_anew = sum(one.shares.owed for one in earlier if one.counts or one.came_back)
    return rest, came_back - sent_anew - lost.owed


def _part_of(rest: Shares, amount: int, *, owed: int = 0) -> Shares:
    """An amount out of what is left, from each as much as it has of it; what rounding leaves is the venue's first."""
    if not amount:
        return Shares(0, 0, 0, owed)
    venue, fees, tax = (one * amount // rest.total for one in (rest.venue, rest.fees, rest.tax))
    venue += min(amount - venue - fees - tax, rest.venue - venue)
    fees += min(amount - venue - fees - tax, rest.fees - fees)
    return Shares(venue, fees, amount - venue - fees, owed)
