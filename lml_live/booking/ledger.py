"""What every move of a booking books in the double-entry ledger, as one table. Pure.

`sold`        the charge is authorised: the buyer owes the price, and we owe it to the venue, the state and ourselves
`captured`    the money is at Stripe
`…_taken`     sold at the counter: the money is in the drawer, or the terminal's provider owes it
`unsold`      the authorisation was lost before it was captured: as if nothing had been sold
`refund_…`    decided: we owe it to the buyer; refused by Stripe: as if it had not been; paid; and came back, however
              late: we owe it to the buyer still
`…_returned`  the same of a refund at the counter, which is decided and paid in one step
`surplus_…`   paid for a booking that it buys nothing of: we owe it to the buyer; given back
`dispute…`    withdrawn by Stripe until the bank has decided; won: as if it had not been; lost: taken from whose it was;
              reinstated: lost, and given back after all. What Stripe takes for it is a fee, which may come back

So at rest, whatever happened, venue_payable + fee_income + tax_payable is what was captured less what was given back,
but for what came back and is still the buyer's (refunds_due), and for what was transferred (booking/payouts.py). What
is taken at the counter counts as captured. What is given away is no money: it has lines of its own (comp_line).
Of Stripe's own fees only those of disputes are in it, in the currency in which it took them: all others are between
Stripe and us, and no buyer's money.
"""

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct

from lml_live.booking.states import AWAITING_PAYMENT, BookingState

Account = Literal[
    "buyer_receivable",
    "stripe_balance",
    "cash_drawer",
    "card_terminal",
    "venue_payable",
    "fee_income",
    "tax_payable",
    "refunds_due",
    "disputed_funds",
    "transfers_due",
    "organisation_receivable",
    "dispute_fees",
]
Posting = Literal[
    "sold",
    "captured",
    "unsold",
    "refund_begun",
    "refund_refused",
    "refund_paid",
    "refund_came_back",
    "disputed",
    "dispute_won",
    "dispute_lost",
    "dispute_reinstated",
    "dispute_fee",
    "dispute_fee_back",
    "surplus_taken",
    "surplus_returned",
    "cash_taken",
    "cash_returned",
    "terminal_taken",
    "terminal_returned",
]
Tender = Literal["cash", "card_terminal", "comp"]
"""What a sale at the counter is paid with; a comp is given away."""


class Shares(Struct, frozen=True):
    """An amount, taken apart by whose it is; minor units. `owed` is the buyer's already: a refund that came back."""

    venue: int
    fees: int
    tax: int
    owed: int = 0

    @property
    def fresh(self) -> int:
        """What is not the buyer's already."""
        return self.venue + self.fees + self.tax

    @property
    def total(self) -> int:
        return self.fresh + self.owed


class Entry(Struct, frozen=True):
    """One side of a posting."""

    account: Account
    debit: int
    credit: int


_Part = Literal["total", "fresh", "owed", "venue", "fees", "tax"]
_Rows = tuple[tuple[Account, _Part], ...]

_OWED: Final[_Rows] = (("venue_payable", "venue"), ("fee_income", "fees"), ("tax_payable", "tax"))

POSTINGS: Final[dict[Posting, tuple[_Rows, _Rows]]] = {
    # posting: (debited, credited)
    "sold": ((("buyer_receivable", "total"),), _OWED),
    "captured": ((("stripe_balance", "total"),), (("buyer_receivable", "total"),)),
    "unsold": (_OWED, (("buyer_receivable", "total"),)),
    "refund_begun": (_OWED, (("refunds_due", "fresh"),)),
    "refund_refused": ((("refunds_due", "fresh"),), _OWED),
    "refund_paid": ((("refunds_due", "total"),), (("stripe_balance", "total"),)),
    "disputed": ((("disputed_funds", "total"),), (("stripe_balance", "total"),)),
    "dispute_won": ((("stripe_balance", "total"),), (("disputed_funds", "total"),)),
    "dispute_lost": ((*_OWED, ("refunds_due", "owed")), (("disputed_funds", "total"),)),
    "dispute_reinstated": ((("stripe_balance", "total"),), (*_OWED, ("refunds_due", "owed"))),
    "dispute_fee": ((("dispute_fees", "total"),), (("stripe_balance", "total"),)),
    "dispute_fee_back": ((("stripe_balance", "total"),), (("dispute_fees", "total"),)),
    "surplus_taken": ((("stripe_balance", "total"),), (("refunds_due", "total"),)),
    "surplus_returned": ((("refunds_due", "total"),), (("stripe_balance", "total"),)),
    "refund_came_back": ((("stripe_balance", "total"),), (("refunds_due", "total"),)),
    "cash_taken": ((("cash_drawer", "total"),), (("buyer_receivable", "total"),)),
    "cash_returned": ((("refunds_due", "total"),), (("cash_drawer", "total"),)),
    "terminal_taken": ((("card_terminal", "total"),), (("buyer_receivable", "total"),)),
    "terminal_returned": ((("refunds_due", "total"),), (("card_terminal", "total"),)),
}

TAKEN: Final[dict[Tender | None, Posting]] = {None: "captured", "cash": "cash_taken", "card_terminal": "terminal_taken"}
RETURNED: Final[dict[Tender | None, Posting]] = {
    None: "refund_paid",
    "cash": "cash_returned",
    "card_terminal": "terminal_returned",
}
"""Where the money of a booking is, once it is paid, and from where it is given back. Of a comp there is none."""


def entries(posting: Posting, shares: Shares) -> tuple[Entry, ...]:
    """A posting over these shares; accounts that get nothing have no entry, so nothing is booked of nothing."""
    debited, credited = POSTINGS[posting]
    return tuple(
        Entry(account, part, 0) if side is debited else Entry(account, 0, part)
        for side in (debited, credited)
        for account, name in side
        if (part := getattr(shares, name))
    )


def postings(state: BookingState, to: BookingState, tender: Tender | None = None) -> tuple[Posting, ...]:
    """What a booking's move books, in order; `tender` where it was sold at the counter."""
    if tender == "comp":
        return ()
    if state in AWAITING_PAYMENT:
        match to:
            case "authorized":
                return ("sold",)
            case "confirmed":
                return ("sold", TAKEN[tender])
    if state == "authorized":
        return ("captured",) if to == "confirmed" else ("unsold",)
    return ()


def share_out(lines: Iterable[tuple[int, int, int]]) -> Shares:
    """Whose the lines' money is. Each is (amount, fee, tax); the tax is that contained in both, and split as they are.

    What a split leaves over of the smallest unit is in the fee, not in the venue's tax.
    """
    venue = fees = tax = 0
    for amount, fee, contained in lines:
        of_fee = contained * fee // (amount + fee) if fee else 0
        venue += amount - (contained - of_fee)
        fees += fee - of_fee
        tax += contained
    return Shares(venue, fees, tax)
