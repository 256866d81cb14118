"""What bookings say of money beside what Stripe says, and where the two differ. Pure.

All money of a booking counts: that of its own intent, and of every other whose charge names it. Charges are above 0,
refunds and lost disputes below, so their sum is what was kept; what it must be follows from the booking's state. What
was transferred of it to an organisation, and came back, is compared by itself: it was kept before.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

from lml_live.booking.ledger import Tender
from lml_live.booking.states import BookingState

Kind = Literal[
    "money_without_booking",
    "money_without_sale",
    "booking_without_money",
    "paid_twice",
    "amount_differs",
    "currency_differs",
    "transfer_differs",
    "fee_differs",
    "payout_differs",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

TransactionKind = Literal["charge", "refund", "dispute", "transfer", "reversal"]
_PAID: Final[frozenset[BookingState]] = frozenset(
    {"confirmed", "partially_refunded", "refunded", "disputed", "charged_back"}
)
_OF_BUYERS: Final = frozenset({"charge", "refund", "dispute"})


class Transaction(Struct, frozen=True, kw_only=True):
    """One movement of a buyer's money at Stripe, or of what was transferred of it, in minor units."""

    id: str
    intent: str
    """The PaymentIntent; the charge where there is none; of what is transferred, the transfer."""
    booking: str | None
    """Whom the charge or the transfer names."""
    kind: TransactionKind
    amount: int
    currency: str
    created: datetime
    fee: int | None = None
    """What Stripe took beside, in the currency of our account there; None where it was not kept."""
    fee_currency: str | None = None


class Foreign(Struct, frozen=True):
    """A dispute in another currency than its booking's: what the bank takes, and what that is in the booking's."""

    currency: str
    bank_amount: int
    amount: int


class Page(Struct, frozen=True):
    """A part of Stripe's list, the newest first; the next part comes after `after`, None at the end."""

    transactions: tuple[Transaction, ...]
    after: str | None


class Booked(Struct, frozen=True, kw_only=True):
    """What a booking says of its money."""

    id: str
    state: BookingState
    amount: int
    currency: str
    intent: str | None
    changed: datetime
    tender: Tender | None = None
    """Sold at the counter: Stripe must have nothing of it."""
    given_back: int = 0
    """By refunds that Stripe accepted, whatever became of them, and by lost disputes; what is sent anew counts once."""
    transferred: tuple[int, int] = (0, 0)
    """What an organisation has of it, at least and at most: what was decided last may or may not be done."""
    disputed: int = 0
    """What banks have not decided about; it may be more than was left, where a refund was faster."""
    lost_besides: int = 0
    """By disputes of what bought nothing and had gone back: banks took it once more …"""
    disputed_besides: int = 0
    """… or have not decided."""
    foreign: tuple[Foreign, ...] = ()
    fees: tuple[tuple[str, int], ...] = ()
    """What its disputes cost, by currency: as it was booked."""


class Difference(Struct, frozen=True, kw_only=True):
    """Where a booking and its money do not agree, or money is nobody's. `taken`: what Stripe kept, by currency.

    `payout_differs` is of no booking but of a connected account, which `intents` names: `amount` is what was
    transferred there less what was taken back, `taken` what went to its bank.
    """

    kind: Kind
    booking: str | None
    intents: tuple[str, ...]
    state: BookingState | None
    amount: int
    currency: str
    taken: dict[str, int]

    @property
    def text(self) -> str:
        """The difference in words."""
        money = ", ".join(f"{amount} {currency}" for currency, amount in self.taken.items()) or "nothing"
        of = ", ".join(self.intents) or "no intent"
        if self.kind == "payout_differs":
            return f"{self.kind}: account {of} sent {money} to its bank, and {self.amount} {self.currency} were its own"
        if self.booking is None:
            return f"{self.kind}: Stripe has {money} of {of}, and no booking is theirs"
        owed = f"{self.amount} {self.currency}".strip()
        if self.kind == "transfer_differs":
            return f"{self.kind}: of booking {self.booking} over {owed} Stripe sent {money} of it to an organisation"
        if self.kind == "fee_differs":
            return f"{self.kind}: the disputes of booking {self.booking} cost {money} at Stripe, which is not booked so"
        return f"{self.kind}: booking {self.booking} is {self.state} over {owed}, and Stripe has {money} ({of})"


def is_settled(booked: Booked | None, transactions: Sequence[Transaction], until: datetime) -> bool:
    """Whether nothing of it is younger than `until`: what has just moved may not have arrived on the other side."""
    return (booked is None or booked.changed <= until) and all(one.created <= until for one in transactions)


def compare(booked: Booked, transactions: Sequence[Transaction]) -> Difference | None:
    """The first thing that is wrong with a booking's money, or None."""
    transactions = [_in_its_currency(booked, one) for one in transactions]
    kind = _judge(booked, transactions)
    if kind is None:
        return None
    intents = dict.fromkeys(one.intent for one in transactions)
    return Difference(
        kind=kind,
        booking=booked.id,
        intents=tuple(intents) or ((booked.intent,) if booked.intent is not None else ()),
        state=booked.state,
        amount=booked.amount,
        currency=booked.currency,
        taken=_fees(transactions)
        if kind == "fee_differs"
        else _taken(transactions, of_buyers=kind != "transfer_differs"),
    )


def _in_its_currency(booked: Booked, one: Transaction) -> Transaction:
    """What a bank took in another currency, as it was booked."""
    if one.kind != "dispute" or one.currency == booked.currency:
        return one
    for known in booked.foreign:
        if (known.currency, known.bank_amount) == (one.currency, abs(one.amount)):
            amount = known.amount if one.amount >= 0 else -known.amount
            return replace(one, amount=amount, currency=booked.currency)
    return one


def stray(intent: str, transactions: Sequence[Transaction]) -> Difference | None:
    """Money of an intent that no booking has; None where it was all given back."""
    taken = _taken(transactions) or _taken(transactions, of_buyers=False)
    if not taken:
        return None
    return Difference(
        kind="money_without_booking", booking=None, intents=(intent,), state=None, amount=0, currency="", taken=taken
    )


def compare_payouts(account: str, currency: str, transferred: int, paid_out: Mapping[str, int]) -> Difference | None:
    """What an account sent to its bank beside what it can have had, at most: by transfers, in its own currency."""
    if all(amount <= (transferred if name == currency else 0) for name, amount in paid_out.items()):
        return None
    return Difference(
        kind="payout_differs",
        booking=None,
        intents=(account,),
        state=None,
        amount=transferred,
        currency=currency,
        taken=dict(paid_out),
    )


def _judge(booked: Booked, transactions: Sequence[Transaction]) -> Kind | None:
    taken, (least, most) = _taken(transactions), _expected(booked)
    if most == 0:
        if any(amount > 0 for amount in taken.values()):
            return "money_without_sale"
        if taken and least == 0:
            return "amount_differs"
    if taken.keys() - {booked.currency}:
        return "currency_differs"
    net = taken.get(booked.currency, 0)
    if net > most and sum(one.kind == "charge" and one.amount > 0 for one in transactions) > 1:
        return "paid_twice"
    if net <= 0 < least:
        return "booking_without_money"
    if not least <= net <= most:
        return "amount_differs"
    sent = -_taken(transactions, of_buyers=False).get(booked.currency, 0)
    least, most = booked.transferred
    if not least <= sent <= most:
        return "transfer_differs"
    costs = [one for one in transactions if one.kind == "dispute"]
    if any(one.fee is None for one in costs):
        return None
    return None if _fees(costs) == _sums(booked.fees) else "fee_differs"


def _expected(booked: Booked) -> tuple[int, int]:
    """What Stripe must have kept at least and at most.

    A disputed charge is withdrawn by some banks at once and by others never: Stripe has it or has it not. What a bank
    took back although it had been given back is below 0: a loss, but one that is booked, whatever the booking is.
    """
    kept = disputed = 0
    if booked.tender is None and booked.state in _PAID:
        kept, disputed = booked.amount - booked.given_back, booked.disputed
    most = kept - booked.lost_besides
    return most - disputed - booked.disputed_besides, most


def _taken(transactions: Sequence[Transaction], *, of_buyers: bool = True) -> dict[str, int]:
    """Sums by currency, of what buyers paid or of what was transferred; those of 0 are left out."""
    return _sums((one.currency, one.amount) for one in transactions if (one.kind in _OF_BUYERS) == of_buyers)


def _fees(transactions: Iterable[Transaction]) -> dict[str, int]:
    """What disputes cost beside what was disputed."""
    return _sums((one.fee_currency or "", one.fee or 0) for one in transactions if one.kind == "dispute")


def _sums(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for currency, amount in amounts:
        sums[currency] = sums.get(currency, 0) + amount
    return {currency: amount for currency, amount in sums.items() if amount}
