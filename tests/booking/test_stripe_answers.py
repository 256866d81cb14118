"""What Stripe's refusals mean: a key that is wrong, and a failure that was none."""

import logging
from collections.abc import AsyncIterator

import pytest
import stripe
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import ANNA, BookingHouse

from lml_live.booking import stripe_payments
from lml_live.booking.bookings import Booking
from lml_live.booking.completer import Completer
from lml_live.booking.payments import PaymentFault
from lml_live.booking.stripe_payments import StripePayments
from lml_live.inventory import seatmap

WRONG_KEY = "sk_test_rotated_away"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "refused"),
        (401, "unknown"),
        (402, "refused"),
        (403, "unknown"),
        (404, "refused"),
        (409, "unknown"),
        (429, "unknown"),
        (500, "worn"),
        (503, "worn"),
    ],
)
async def test_what_an_answer_says_of_the_call(status: int, kind: str) -> None:
    by_status: dict[int, type[stripe.StripeError]] = {
        401: stripe.AuthenticationError,
        403: stripe.PermissionError,
        429: stripe.RateLimitError,
    }
    shape = by_status.get(status, stripe.StripeError)

    async def answer() -> None:
        raise shape("words of Stripe's", http_status=status)

    with pytest.raises(PaymentFault) as caught:
        await stripe_payments.ask(answer())
    assert caught.value.kind == kind


# --- A key that is wrong


@pytest.fixture(name="locked_out")
async def locked_out_fixture(house: BookingHouse) -> AsyncIterator[Completer]:
    """A worker whose key at Stripe was rotated away."""
    wrong = StripePayments(house.pace, WRONG_KEY, house.double.publishable_key, house.double.url)
    completer = house.new_completer(payments=wrong)
    yield completer
    await completer.close()
    await wrong.close()


async def test_a_wrong_key_fails_no_booking_and_says_what_to_do(
    house: BookingHouse, event: str, locked_out: Completer, caplog: pytest.LogCaptureFixture
) -> None:
    """A 401 counted as Stripe's refusal of the payment: every booking failed at once, and its hold ended."""
    hold = await house.take(event, 3)
    checkout = house.new_checkout(locked_out)
    with caplog.at_level(logging.WARNING):
        booking = await checkout.book(event, "anna", hold, ANNA, house.quoting, key="k", expected_amount=None)
    assert isinstance(booking, Booking)
    assert (booking.state, booking.client_secret) == ("pending_payment", None)
    assert (await house.states(event))[3] == seatmap.BYTE_HELD
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors
    assert "LML_STRIPE_API_KEY" in errors[0]
    assert not any(WRONG_KEY[-8:] in record.getMessage() for record in caplog.records)
    await house.rest()  # by a worker that has the right one
    booking = await house.claimed(event, hold)
    await house.pay(booking)
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"
    await house.assert_right(event)


async def test_a_wrong_key_until_the_time_is_up_keeps_the_seat_until_stripe_says_canceled(
    house: BookingHouse, event: str, locked_out: Completer
) -> None:
    hold = await house.take(event, 3)
    checkout = house.new_checkout(locked_out)
    booking = await checkout.book(event, "anna", hold, ANNA, house.quoting, key="k", expected_amount=None)
    assert isinstance(booking, Booking)
    await house.run_out(booking)
    await locked_out.turn()
    await house.pass_time()
    await locked_out.turn()
    assert await house.state(booking) == "expiring"
    assert (await house.states(event))[3] == seatmap.BYTE_HELD
    await house.rest()
    assert await house.history(booking) == ["pending_payment", "expiring", "expired"]
    assert [one.intent.status for one in (await house.double.steering.ledger()).intents] == ["canceled"]
    await house.assert_right(event)


async def test_a_key_that_may_not_give_back_says_so_and_the_refund_waits(
    house: BookingHouse, event: str, locked_out: Completer, caplog: pytest.LogCaptureFixture
) -> None:
    """The log told whoever looked into it to set a right that the key had."""
    booking = await house.sold(event, 3)
    refund = await house.refund(booking)
    with caplog.at_level(logging.ERROR):
        await locked_out.turn()
    assert "write refunds" in caplog.text
    assert (await house.refunds.load(refund.id)).state == "pending"
    await house.rest()  # by a worker that has the right one
    assert await house.state(booking) == "refunded"
    await house.assert_right(event)


# --- A failure that was none


async def statuses(house: BookingHouse) -> dict[str, str]:
    return {one.intent.id: one.intent.status for one in (await house.double.steering.ledger()).intents}


@pytest.mark.parametrize("page", [1, 100])
async def test_an_intent_that_a_500_hid_is_found_and_paid(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """It was made again under a new key, and the first one waited for a card for ever, known to nobody."""
    monkeypatch.setattr(stripe_payments, "_PAGE", page)
    await house.double.steering.fault("create", "error_500_after")
    booking = await house.buy(event, await house.take(event, 3))
    assert isinstance(booking, Booking)
    assert booking.client_secret is None
    for seat in (5, 7):  # younger intents, of others
        other = f"holder {seat}"
        await house.claimed(event, await house.take(event, seat, holder=other), holder=other)
    [hidden, *_] = [
        one.intent.id
        for one in (await house.double.steering.ledger()).intents
        if one.intent.metadata["booking"] == booking.id
    ]
    await house.rest()
    found = await house.bookings.load(booking.id)
    assert found is not None
    assert found.intent_id == hidden
    assert len(await statuses(house)) == 3
    assert await house.pay(found) == "requires_capture"
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"


async def test_of_several_hidden_intents_one_is_paid_and_the_others_are_cancelled(
    house: BookingHouse, event: str
) -> None:
    await house.double.steering.fault("create", "error_500")
    booking = await house.buy(event, await house.take(event, 3))
    assert isinstance(booking, Booking)
    made = [
        await house.payments.create(booking.id, booking.amount, booking.currency, booking.buyer_email, key)
        for key in ("one", "two", "three")
    ]
    await house.payments.cancel(made[0].id, "by hand")
    await house.rest()
    found = await house.bookings.load(booking.id)
    assert found is not None
    live = found.intent_id
    assert live in {made[1].id, made[2].id}
    assert await statuses(house) == {
        one.id: "requires_payment_method" if one.id == live else "canceled" for one in made
    }
    await house.pay(found)
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"
    await house.assert_right(event)


async def test_a_surplus_intent_is_cancelled_whatever_becomes_of_the_first_try(house: BookingHouse, event: str) -> None:
    """Its cancel was sent once, straight away, and forgotten where Stripe did not answer."""
    booking = await house.claimed(event, await house.take(event, 3))
    late = await house.payments.create(booking.id, booking.amount, booking.currency, booking.buyer_email, "late")
    assert not await house.bookings.intent_made(booking.id, late.id, late.client_secret, late.status)
    assert not await house.bookings.intent_made(booking.id, late.id, late.client_secret, late.status)
    await house.double.steering.fault("cancel", "error_500", count=1)
    await house.pass_time()
    await house.completer.turn()
    assert (await statuses(house))[late.id] == "requires_payment_method"
    await house.rest()
    assert booking.intent_id is not None
    assert await statuses(house) == {late.id: "canceled", booking.intent_id: "requires_payment_method"}
    await house.pay(booking)
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"
    await house.assert_right(event)
