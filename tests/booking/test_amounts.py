"""What amounts can be paid: in which units Stripe counts, how much it takes, and what needs no payment at all."""

import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import ANNA, MARK_SECONDS, BookingHouse
from inventory_house import SECRET, refused

from lml_live import limits, values
from lml_live.booking.bookings import Booking
from lml_live.booking.checkout import Checkout, Quoted, Quoting
from lml_live.booking.payment_queue import PaymentQueue
from lml_live.booking.payments import AMOUNT_MAX, judge_amount, sells_nothing, stripe_amount
from lml_live.inventory.records import Record

TICKET_MAX = 2 * values.AMOUNT_MINOR_MAX
"""One place at the largest price with the largest fee."""


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        (1_250, "EUR", 1_250),
        (1_250, "JPY", 1_250),  # no decimals: 1,250 yen
        (1_250, "KWD", 1_250),  # three: 1.250 dinars
        (5, "ISK", 500),
        (5, "UGX", 500),
        (500, "MGA", 5),
        (1_250, "HUF", 1_250),
    ],
)
def test_stripe_is_sent_its_own_units(amount: int, currency: str, units: int) -> None:
    assert stripe_amount(amount, currency) == units


@pytest.mark.parametrize(("amount", "currency"), [(1_255, "KWD"), (1, "TND"), (550, "MGA")])
def test_part_of_a_step_cannot_be_charged(amount: int, currency: str) -> None:
    with pytest.raises(ValueError, match="cannot be charged"):
        stripe_amount(amount, currency)


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (1, "EUR", None),
        (AMOUNT_MAX, "EUR", None),
        (AMOUNT_MAX + 1, "EUR", "amount_too_large"),
        (TICKET_MAX, "EUR", "amount_too_large"),
        (limits.HOLD_LINES_MAX * TICKET_MAX, "EUR", "amount_too_large"),
        (values.WIRE_INTEGER_MAX, "USD", "amount_too_large"),
        (AMOUNT_MAX + 1, "IDR", None),  # a million rupiah is sixty dollars
        (AMOUNT_MAX // 100, "ISK", None),
        (AMOUNT_MAX // 100 + 1, "ISK", "amount_too_large"),
        (99_999_990, "KWD", None),
        (100_000_000, "KWD", "amount_too_large"),
        (1_255, "KWD", "conflict"),
    ],
)
def test_what_can_be_paid(amount: int, currency: str, code: str | None) -> None:
    refusal = judge_amount(amount, currency)
    assert (None if refusal is None else refusal.code) == code


def test_a_total_of_legal_lines_stays_exact_on_the_wire() -> None:
    assert limits.HOLD_LINES_MAX * TICKET_MAX <= values.WIRE_INTEGER_MAX


async def test_a_total_above_what_stripe_takes_is_refused_and_the_hold_stays(house: BookingHouse, event: str) -> None:
    """Stripe refused it after the claim: the booking failed, and the places went back on sale."""
    house.price = AMOUNT_MAX // 2 + 1
    hold = await house.take(event, 3, 4)
    refused(await house.buy(event, hold), "amount_too_large")
    assert await house.reasons(event, hold) == [("active", "own")]
    assert (await house.double.steering.ledger()).requests == []
    assert await house.state(house.checkout.booking_id("anna", "k")) is None


async def test_yen_and_kronur_reach_stripe_in_its_units(house: BookingHouse) -> None:
    for holder, seat, currency, units in (("anna", 3, "JPY", 4_750), ("ben", 5, "ISK", 475_000)):
        event = await house.open_event()
        await house.pool.execute("UPDATE event SET currency = $2 WHERE id = $1", event, currency)

        def quote(record: Record, currency: str = currency) -> Quoted:
            return Quoted(house.quote(record).lines, currency, 1)

        hold = await house.take(event, seat, holder=holder)
        made = await house.checkout.book(
            event, holder, hold, ANNA, Quoting(house.quoting.layout, quote), key="k", expected_amount=4_750
        )
        assert isinstance(made, Booking)
        assert (made.amount, made.currency) == (4_750, currency)
        intents = (await house.double.steering.ledger()).intents
        assert {one.intent.amount for one in intents if one.intent.metadata["booking"] == made.id} == {units}


async def test_without_a_provider_only_what_costs_nothing_is_had(house: BookingHouse, event: str) -> None:
    checkout = Checkout(
        house.bookings,
        house.holds,
        house.completer,
        SECRET,
        pay_seconds=600,
        mark_seconds=MARK_SECONDS,
        admit=PaymentQueue(house.pace, pay_seconds=600).admit,
        judge_amount=sells_nothing,
    )
    hold = await house.take(event, 3, floor=1)
    answer = await checkout.book(event, "anna", hold, ANNA, house.quoting, key="k", expected_amount=None)
    assert "not set up" in refused(answer, "unavailable").message
    assert await house.reasons(event, hold) == [("active", "own")]
    house.price = 0
    made = await checkout.book(event, "anna", hold, ANNA, house.quoting, key="k", expected_amount=0)
    assert isinstance(made, Booking)
    assert made.state == "confirmed"
    await house.assert_right(event)
