"""A buyer's bank takes a payment back: the seat stays, its tickets are flagged; won and lost."""

import asyncpg
import msgspec
import pytest
import stripe
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import PRICE, BookingHouse
from checker import check

from lml_live.booking.bookings import Booking
from lml_live.booking.payments import StripeDispute, StripeRefund
from lml_live.booking.refunding import NotRefundable
from lml_live.inventory import seatmap

SOLD = seatmap.BYTE_SOLD


async def told(house: BookingHouse, booking: Booking, kind: str, number: int) -> None:
    """A notice comes, twice."""
    for _ in range(2):
        await house.bookings.keep_notice(f"evt_{number}", f"charge.dispute.{kind}", booking.intent_id)
        await house.completer.turn()


async def tickets(house: BookingHouse, booking: Booking) -> list[str]:
    return [one.state for one in await house.tickets.of_booking(booking.id)]


async def disputed(house: BookingHouse, booking: Booking) -> str:
    assert booking.intent_id is not None
    return await house.double.steering.open_dispute(booking.intent_id)


@pytest.mark.parametrize(("won", "state", "ticket"), [(True, "confirmed", "valid"), (False, "charged_back", "flagged")])
async def test_a_dispute_is_opened_and_decided(
    house: BookingHouse, event: str, won: bool, state: str, ticket: str
) -> None:
    booking = await house.sold(event, 3)
    dispute = await disputed(house, booking)
    await told(house, booking, "created", 1)
    assert await house.state(booking) == "disputed"
    assert await tickets(house, booking) == ["flagged"]
    assert (await house.states(event))[3] == SOLD
    await house.assert_right(event)
    refused = await house.refunds.begin(booking.id, "r", "ill", "s-1")
    assert isinstance(refused, NotRefundable), "the bank has the money"

    await house.double.steering.close_dispute(dispute, won=won)
    await told(house, booking, "closed", 2)
    assert await house.state(booking) == state
    assert await tickets(house, booking) == [ticket]
    assert (await house.states(event))[3] == SOLD, "that it is sold again is for somebody to decide"
    postings = [one.reason for one in (await house.read_run(event)).postings]
    assert postings == ["sold", "captured", "disputed", "dispute_won" if won else "dispute_lost"]
    await house.assert_right(event)


async def test_without_notices_an_open_dispute_is_polled(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    dispute = await disputed(house, booking)
    await told(house, booking, "created", 1)
    await house.double.steering.close_dispute(dispute, won=True)
    await house.completer.turn()
    assert await house.state(booking) == "disputed", "not asked again at once"
    await house.rest()
    assert await house.state(booking) == "confirmed"
    await house.assert_right(event)


async def test_a_notice_whose_look_fails_is_heeded_again(house: BookingHouse, event: str) -> None:
    """It was done with, and as nothing polls for disputes that nobody knows, nobody ever heard of this one."""
    booking = await house.sold(event, 3)
    await disputed(house, booking)
    await house.double.steering.fault("dispute_list", "error_500")
    await told(house, booking, "created", 1)
    assert await house.state(booking) == "confirmed"
    assert await house.pool.fetchval("SELECT due > now() FROM stripe_notice WHERE done IS NULL"), "not at once"
    await house.rest()
    assert await house.state(booking) == "disputed"
    assert await house.pool.fetchval("SELECT count(*) FROM stripe_notice WHERE done IS NULL") == 0
    await house.assert_right(event)


async def test_a_refund_that_is_heard_of_late_does_not_end_a_dispute(house: BookingHouse, event: str) -> None:
    """The booking was `partially_refunded`, and could be refunded, while the bank had its money."""
    booking = await house.sold(event, 3, 4)
    refund = await house.refund(booking, lines=[1])
    await house.bookings.lease_work(1, 30, booking=booking.id)  # by a worker that dies before it hears the answer
    assert booking.intent_id is not None
    await house.payments.refund(booking.intent_id, PRICE, "EUR", booking.id, refund.id, "its answer is lost")
    await disputed(house, booking)
    await told(house, booking, "created", 1)
    await house.rest()
    assert (await house.refunds.load(refund.id)).state == "succeeded"
    assert (await house.history(booking))[-2:] == ["confirmed", "disputed"]
    assert (await house.states(event))[3:5] == [seatmap.BYTE_AVAILABLE, SOLD]
    assert await tickets(house, booking) == ["flagged"]
    await house.assert_right(event)


async def test_what_was_refunded_at_stripe_before_is_booked_in_a_dispute_too(
    house: BookingHouse, event: str, stripe_api: stripe.StripeClient
) -> None:
    """It was passed over as long as all was promised to ours, and for good when the dispute was heard of first."""
    booking = await house.sold(event, 3)
    refund = await house.refund(booking)
    await house.bookings.lease_work(1, 30, booking=booking.id)
    assert booking.intent_id is not None
    await stripe_api.v1.refunds.create_async({"payment_intent": booking.intent_id, "amount": 1})
    await disputed(house, booking)
    await told(house, booking, "created", 1)
    await house.rest()
    assert (await house.refunds.load(refund.id)).state == "failed"
    assert await house.state(booking) == "disputed"
    assert (await house.states(event))[3] == SOLD
    await house.assert_right(event)


async def test_what_came_back_and_was_sent_anew_may_come_back_again(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, card="pm_card_refundFail")
    for key, wish in (("first", {}), ("anew", {"amount": 1_000})):
        await house.refund(booking, key, **wish)
        await house.rest()
        await house.double.steering.advance(61)
        await house.bookings.keep_notice(f"evt_{key}", "refund.failed", booking.intent_id)
        await house.rest()
    assert {one.rule for one in check(await house.read_run(event))} == {"I11"}, "it is owed, and booked so"
    dispute = await disputed(house, booking)
    await house.double.steering.close_dispute(dispute, won=False)
    await told(house, booking, "closed", 1)
    assert {one.rule for one in check(await house.read_run(event))} == {"I11"}, "lost, and not charged back"


async def test_all_is_given_back_and_lost_to_the_bank_besides(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    refund = await house.refund(booking)
    taken = StripeDispute("dp_1", PRICE, "fraudulent", "open")
    await house.disputes.found(booking.id, [taken])
    await house.refunds.found(booking.id, [StripeRefund("re_1", refund.id, PRICE, "succeeded")])
    assert await house.state(booking) == "disputed"
    await house.rest()
    assert (await house.states(event))[3] == seatmap.BYTE_AVAILABLE, "it was given back"
    await house.disputes.found(booking.id, [msgspec.structs.replace(taken, state="lost")])
    assert await house.state(booking) == "charged_back"


async def test_what_is_heard_of_when_it_is_over_was_disputed_too(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    await house.double.steering.close_dispute(await disputed(house, booking), won=False)
    await told(house, booking, "created", 1)  # late: Stripe is asked how it stands
    assert (await house.history(booking))[-2:] == ["disputed", "charged_back"]
    await house.assert_right(event)


async def test_what_is_left_after_a_refund_is_disputed_and_won(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, 4)
    await house.refund(booking, lines=[1])
    await house.rest()
    dispute = await disputed(house, booking)
    await told(house, booking, "created", 1)
    assert await house.state(booking) == "disputed"
    await house.assert_right(event)
    await house.double.steering.close_dispute(dispute, won=True)
    await told(house, booking, "closed", 2)
    assert await house.state(booking) == "partially_refunded"
    assert await tickets(house, booking) == ["valid"]
    assert (await house.refund(booking, "rest")).amount == PRICE
    await house.rest()
    await house.assert_right(event)


async def test_a_refund_on_its_way_and_a_dispute_at_once(house: BookingHouse, event: str) -> None:
    """Stripe gives nothing back of what is disputed: the refund fails, and the dispute stands."""
    booking = await house.sold(event, 3)
    refund = await house.refund(booking)
    await disputed(house, booking)
    await told(house, booking, "created", 1)
    await house.rest()
    assert (await house.refunds.load(refund.id)).state == "failed"
    assert await house.state(booking) == "disputed"
    await house.assert_right(event)


async def test_a_dispute_is_decided_once(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    await house.double.steering.close_dispute(await disputed(house, booking), won=False)
    await told(house, booking, "closed", 1)
    for change in ("state = 'won'", "state = 'open', closed = NULL", "amount = 1"):
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await house.pool.execute(f"UPDATE dispute SET {change}")
        assert refused.value.constraint_name == "dispute_moves_legally"
