"""What a clerk would say of a booking and its money, as a table."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec
import pytest
import stripe

from lml_live.booking import money, stripe_payments
from lml_live.booking.ledger import Tender
from lml_live.booking.money import Booked, Transaction, TransactionKind
from lml_live.booking.payments import minor_amount, stripe_amount
from lml_live.booking.states import STATES, BookingState

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def moved(
    *amounts: int, intent: str = "pi_own", currency: str = "EUR", kind: TransactionKind = "charge"
) -> list[Transaction]:
    return [
        Transaction(
            id=f"txn_{intent}_{number}",
            intent=intent,
            booking="b-1",
            kind=kind if amount > 0 else "refund",
            amount=amount,
            currency=currency,
            created=NOON,
        )
        for number, amount in enumerate(amounts)
    ]


def booked(state: BookingState, amount: int = 4_750) -> Booked:
    """Where a part was given back, 7.50 EUR were."""
    back = {"partially_refunded": 750, "refunded": amount, "charged_back": amount}.get(state, 0)
    return Booked(id="b-1", state=state, amount=amount, currency="EUR", intent="pi_own", changed=NOON, given_back=back)


OTHER = moved(4_750, intent="pi_other")


def transferred(*amounts: int) -> list[Transaction]:
    """What was transferred of it, below 0, and came back."""
    kinds: list[TransactionKind] = ["transfer" if amount < 0 else "reversal" for amount in amounts]
    made = moved(*map(abs, amounts), intent="tr_own")
    return [
        msgspec.structs.replace(one, id=f"txn_tr_{number}", kind=kind, amount=amount)
        for number, (one, kind, amount) in enumerate(zip(made, kinds, amounts, strict=True))
    ]


# what an organisation has of it, at least and at most · what moved at Stripe · what is wrong
TRANSFERS: list[tuple[tuple[int, int], list[Transaction], str | None]] = [
    ((0, 0), [], None),
    ((0, 0), transferred(-4_000), "transfer_differs"),
    ((4_000, 4_000), [], "transfer_differs"),
    ((4_000, 4_000), transferred(-4_000), None),
    ((4_000, 4_000), transferred(-4_000, -4_000), "transfer_differs"),
    ((4_000, 4_000), transferred(-4_000, 500), "transfer_differs"),
    ((3_500, 3_500), transferred(-4_000, 500), None),
    ((0, 4_000), [], None),
    ((0, 4_000), transferred(-4_000), None),
    ((0, 4_000), transferred(-4_001), "transfer_differs"),
]


@pytest.mark.parametrize(("at_organisation", "transactions", "wrong"), TRANSFERS)
def test_what_is_wrong_with_a_transfer(
    at_organisation: tuple[int, int], transactions: list[Transaction], wrong: str | None
) -> None:
    of = msgspec.structs.replace(booked("confirmed"), transferred=at_organisation)
    found = money.compare(of, moved(4_750) + transactions)
    assert (found and found.kind) == wrong
    if found is not None:
        assert sum(found.taken.values()) == sum(one.amount for one in transactions)


# The booking is over 47.50 EUR. Its state · what moved at Stripe · what is wrong
CASES: list[tuple[BookingState, list[Transaction], str | None]] = [
    ("confirmed", moved(4_750), None),
    ("confirmed", [], "booking_without_money"),
    ("confirmed", moved(4_750, -4_750), "booking_without_money"),
    ("confirmed", moved(4_750, -750), "amount_differs"),
    ("confirmed", moved(4_749), "amount_differs"),
    ("confirmed", moved(4_751), "amount_differs"),
    ("confirmed", moved(4_750, currency="USD"), "currency_differs"),
    ("confirmed", moved(4_750) + moved(1, currency="USD", intent="pi_other"), "currency_differs"),
    ("confirmed", moved(4_750) + moved(1, -1, currency="USD", intent="pi_other"), None),
    ("confirmed", moved(4_750) + OTHER, "paid_twice"),
    ("confirmed", moved(4_750, 4_750), "paid_twice"),
    ("confirmed", moved(4_750) + moved(4_750, -4_750, intent="pi_other"), None),
    ("confirmed", moved(4_750, -4_750) + OTHER, None),
    ("confirmed", moved(4_750, -4_750) + moved(4_750, kind="dispute"), None),
    ("pending_payment", [], None),
    ("pending_payment", moved(4_750), "money_without_sale"),
    ("authorized", [], None),
    ("authorized", moved(4_750), "money_without_sale"),
    ("cancelled", moved(4_750), "money_without_sale"),
    ("cancelled", moved(4_750, -4_750), None),
    ("expired", moved(1, currency="USD"), "money_without_sale"),
    ("failed", moved(4_750, -4_749), "money_without_sale"),
    ("failed", moved(-4_750), "amount_differs"),
    ("refunded", moved(4_750, -4_750), None),
    ("refunded", moved(4_750), "money_without_sale"),
    ("partially_refunded", moved(4_750, -750), None),
    ("partially_refunded", moved(4_750), "amount_differs"),
    ("partially_refunded", moved(4_750, -751), "amount_differs"),
    ("partially_refunded", moved(4_750, -700, -50), None),
    ("partially_refunded", moved(4_750, -4_750), "booking_without_money"),
    ("disputed", moved(4_750), None),
    ("disputed", moved(4_750, -4_750), "booking_without_money"),  # of what nobody disputes the whole
    ("disputed", moved(4_750, 4_750), "paid_twice"),
    ("charged_back", moved(4_750, -4_750), None),
    ("charged_back", moved(4_750), "money_without_sale"),
    ("charged_back", moved(4_750, -4_750, -4_750), "amount_differs"),
]


@pytest.mark.parametrize(("state", "transactions", "wrong"), CASES)
def test_what_is_wrong_with_a_bookings_money(
    state: BookingState, transactions: list[Transaction], wrong: str | None
) -> None:
    found = money.compare(booked(state), transactions)
    assert (found and found.kind) == wrong
    if found is not None:
        assert {"b-1", state, "4750"} <= set(found.text.split())
        assert "pi_own" in found.text or not any(one.intent == "pi_own" for one in transactions)


@pytest.mark.parametrize("state", ["confirmed", "partially_refunded", "refunded"])
def test_of_a_sale_at_the_counter_stripe_has_nothing(state: BookingState) -> None:
    for tender in get_args(Tender):
        one = msgspec.structs.replace(booked(state), tender=tender, given_back=0 if state == "confirmed" else 750)
        assert money.compare(one, []) is None
        found = money.compare(one, moved(4_750))
        assert found is not None
        assert found.kind == "money_without_sale"


def test_a_bank_that_took_back_a_part_leaves_the_rest() -> None:
    one = msgspec.structs.replace(booked("charged_back"), given_back=4_000)
    assert money.compare(one, moved(4_750, -4_000)) is None
    found = money.compare(one, moved(4_750, -4_750))
    assert found is not None
    assert found.kind == "booking_without_money"
    open_ = msgspec.structs.replace(booked("disputed"), given_back=1_000, disputed=4_750)
    for taken in (moved(4_750, -1_000), moved(4_750, -1_000, -4_750)):
        assert money.compare(open_, taken) is None, "a refund was faster than a bank that takes the whole"
    assert money.compare(open_, moved(4_750, -1_001, -4_750)) is not None
    twice = msgspec.structs.replace(booked("refunded"), given_back=4_750 + 750)
    assert money.compare(twice, moved(4_750, -4_750, -750)) is None, "a loss that the books have, too"


def test_no_money_is_right_only_where_nothing_was_charged() -> None:
    paid = {state for state in STATES if money.compare(booked(state), []) is not None}
    assert paid == {"confirmed", "partially_refunded", "disputed"}
    whole = msgspec.structs.replace(booked("disputed"), disputed=4_750)
    assert money.compare(whole, []) is None
    assert money.compare(booked("confirmed", 0), []) is None, "what costs nothing needs no money"
    found = money.compare(booked("confirmed", 0), moved(100))
    assert found is not None
    assert found.kind == "money_without_sale"


def test_money_of_nobody() -> None:
    found = money.stray("pi_own", moved(4_750, -750))
    assert found is not None
    assert (found.kind, found.booking, found.taken) == ("money_without_booking", None, {"EUR": 4_000})
    assert "4000 EUR of pi_own" in found.text
    assert money.stray("pi_own", moved(4_750, -4_750)) is None


@pytest.mark.parametrize(
    ("changed", "created", "settled"), [(0, 0, True), (1, 0, False), (0, 1, False), (None, 0, True), (None, 1, False)]
)
def test_what_has_just_moved_is_not_settled(changed: int | None, created: int, settled: bool) -> None:
    one = moved(4_750)[0]
    later = Transaction(
        **{name: getattr(one, name) for name in one.__struct_fields__} | {"created": NOON + timedelta(seconds=created)}
    )
    subject = None
    if changed is not None:
        subject = Booked(
            id="b-1",
            state="confirmed",
            amount=1,
            currency="EUR",
            intent=None,
            changed=NOON + timedelta(seconds=changed),
        )
    assert money.is_settled(subject, [one, later], NOON) is settled


@pytest.mark.parametrize("currency", ["EUR", "JPY", "ISK", "UGX", "MGA", "KWD"])
def test_amounts_come_back_from_stripe_as_they_went(currency: str) -> None:
    for amount in (0, 12_300, -12_300):
        assert minor_amount(stripe_amount(amount, currency), currency) == amount


CHARGE = {"id": "ch_1", "object": "charge", "currency": "usd", "amount_captured": 5_000, "payment_intent": "pi_1"}
NAMED = CHARGE | {"metadata": {"booking": "b-1"}}
GIVEN_BACK = {"id": "re_1", "object": "refund", "currency": "usd", "amount": 700, "charge": "ch_1"}
REFUND = GIVEN_BACK | {"payment_intent": "pi_1", "metadata": {"booking": "b-2"}}
DISPUTE = GIVEN_BACK | {"id": "dp_1", "object": "dispute", "payment_intent": "pi_1", "metadata": {}}

# A balance transaction's amount and currency, and its source · the intent, whom it names, its amount and currency
BOOKED = [
    (5_000, "usd", NAMED, ("pi_1", "b-1", 5_000, "USD")),
    (4_600, "eur", NAMED, ("pi_1", "b-1", 5_000, "USD")),
    (-640, "eur", REFUND, ("pi_1", None, -700, "USD")),
    (-700, "usd", DISPUTE, ("pi_1", None, -700, "USD")),
    (640, "eur", DISPUTE, ("pi_1", None, 700, "USD")),
    (123_400, "isk", NAMED | {"currency": "isk"}, ("pi_1", "b-1", 1_234, "ISK")),
    (5_000, "usd", CHARGE | {"payment_intent": None, "metadata": {}}, ("ch_1", None, 5_000, "USD")),
    (-700, "usd", REFUND | {"payment_intent": None}, ("ch_1", None, -700, "USD")),
    (-5_000, "usd", {"id": "po_1", "object": "payout", "currency": "usd"}, None),
    (-30, "usd", None, None),
]


@pytest.mark.parametrize(("amount", "currency", "source", "wanted"), BOOKED)
def test_a_balance_transaction_in_the_buyers_money(
    amount: int, currency: str, source: object, wanted: tuple[str, str | None, int, str] | None
) -> None:
    sent = {"id": "txn_1", "object": "balance_transaction", "amount": amount, "currency": currency, "source": source}
    booked = stripe.BalanceTransaction.construct_from(sent | {"created": 1_800_000_000, "fee": 5}, "key")
    read = stripe_payments._transaction(booked)
    assert (read and (read.intent, read.booking, read.amount, read.currency)) == wanted
