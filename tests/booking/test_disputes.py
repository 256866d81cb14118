"""A buyer's bank takes a payment back: the seat stays, its tickets are flagged; won and lost."""

from typing import Any
from unittest.mock import AsyncMock

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
from booking_house import IDEAL, PRICE, VISA, BookingHouse
from checker import check
from databases import past_guards

from lml_live.booking.bookings import Booking
from lml_live.booking.matching import Matching
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


async def disputed(house: BookingHouse, booking: Booking, **wish: Any) -> str:
    assert booking.intent_id is not None
    return await house.double.steering.open_dispute(booking.intent_id, **wish)


async def disputes(house: BookingHouse) -> list[tuple[str, int, str | None]]:
    rows = await house.pool.fetch("SELECT state, amount, bank_currency FROM dispute ORDER BY opened, id")
    return [tuple(row) for row in rows]


async def fees(house: BookingHouse) -> list[tuple[str, str, int]]:
    """What disputes cost, as it was booked."""
    rows = await house.pool.fetch(
        "SELECT t.reason, e.currency, e.debit + e.credit FROM ledger_transaction t"
        " JOIN ledger_entry e ON e.transaction = t.number WHERE e.account = 'dispute_fees' ORDER BY t.number"
    )
    return [tuple(row) for row in rows]


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
    assert postings == ["sold", "captured", "disputed", "dispute_fee", "dispute_won" if won else "dispute_lost"]
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
    await house.assert_right(event)


async def test_all_is_given_back_and_lost_to_the_bank_besides(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    refund = await house.refund(booking)
    taken = StripeDispute(id="dp_1", amount=PRICE, currency="EUR", reason="fraudulent", state="open")
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


async def paid_unheard(house: BookingHouse, event: str, way: str) -> Booking:
    """A booking whose money Stripe has, and whose worker died before it heard so."""
    booking = await house.claimed(event, await house.take(event, 3))
    assert booking.intent_id is not None
    if await house.pay(booking, way) == "requires_action":
        await house.double.steering.authenticate(booking.intent_id)
    else:
        await house.completer.look_at(booking.id)
        await house.bookings.lease_work(9, 30, booking=booking.id)
        await house.payments.capture(booking.intent_id, "its answer is lost")
    assert await house.state(booking) == ("authorized" if way == VISA else "pending_payment")
    return booking


@pytest.mark.parametrize("way", [VISA, IDEAL])
@pytest.mark.parametrize("heard", ["open and over", "over", "open"])
async def test_what_is_heard_of_before_the_payment_is_of_a_paid_booking(
    house: BookingHouse, event: str, way: str, heard: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The dispute was booked, the booking was confirmed later, and nobody looked at both."""
    booking = await paid_unheard(house, event, way)
    dispute = await disputed(house, booking)
    if heard != "over":
        await told(house, booking, "created", 1)
    if heard != "open":
        await house.double.steering.close_dispute(dispute, won=False)
        await told(house, booking, "closed", 2)
    await house.rest()
    ends = ["confirmed", "disputed", *(["charged_back"] if heard != "open" else [])]
    assert (await house.history(booking))[-len(ends) :] == ends
    assert await tickets(house, booking) == ["flagged"]
    assert "look into it" not in caplog.text
    reasons = [one.reason for one in (await house.read_run(event)).postings]
    assert reasons.index("captured") < reasons.index("disputed")
    await house.assert_right(event)


async def test_a_dispute_of_what_nobody_has_paid_is_not_booked_but_heeded_again(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    booking = await house.claimed(event, await house.take(event, 3))
    taken = StripeDispute(id="dp_1", amount=PRICE, currency="EUR", reason="fraudulent", state="lost")
    monkeypatch.setattr(house.payments, "find_disputes", AsyncMock(return_value=(taken,)))
    await told(house, booking, "created", 1)
    assert await disputes(house) == []
    assert await house.pool.fetchval("SELECT due > now() FROM stripe_notice WHERE done IS NULL")
    await house.pay(booking)
    await house.rest()
    assert (await house.history(booking))[-3:] == ["confirmed", "disputed", "charged_back"]


async def test_a_refund_at_stripe_that_is_heard_of_before_the_payment_is_booked(
    house: BookingHouse, event: str, stripe_api: stripe.StripeClient
) -> None:
    """It was passed over, and only the next day's match would have found it."""
    booking = await paid_unheard(house, event, VISA)
    assert booking.intent_id is not None
    await stripe_api.v1.refunds.create_async({"payment_intent": booking.intent_id, "amount": 1_000})
    await house.bookings.keep_notice("evt_1", "charge.refunded", booking.intent_id)
    await house.completer.turn()
    await house.rest()
    assert await house.state(booking) == "partially_refunded"
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
    for change in (
        "state = 'open', closed = NULL, lost_venue = NULL",
        "amount = 1",
        "lost_venue = 0, lost_fees = amount",
    ):
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await house.pool.execute(f"UPDATE dispute SET {change}")
        assert refused.value.constraint_name == "dispute_moves_legally"


async def test_an_inquiry_takes_nothing_until_the_bank_makes_a_dispute_of_it(house: BookingHouse, event: str) -> None:
    """Inquiries were passed over: nobody knew that a bank had asked, and would hear an answer."""
    dropped, raised = await house.sold(event, 3, key="3"), await house.sold(event, 5, key="5")
    asked = [await disputed(house, one, inquiry=True) for one in (dropped, raised)]
    await told(house, dropped, "created", 1)
    await told(house, raised, "created", 2)
    assert await disputes(house) == [("inquiry", PRICE, None), ("inquiry", PRICE, None)]
    assert (await house.state(dropped), await tickets(house, dropped)) == ("confirmed", ["valid"])
    await house.double.steering.drop_inquiry(asked[0])
    await house.double.steering.escalate_dispute(asked[1])
    await house.rest()  # without a notice
    assert await disputes(house) == [("dropped", PRICE, None), ("open", PRICE, None)]
    assert (await house.state(raised), await tickets(house, raised)) == ("disputed", ["flagged"])
    await house.assert_right(event)
    assert (await house.refund(dropped)).amount == PRICE, "nobody has its money"


async def test_what_a_dispute_costs_is_booked_once_and_matched(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    await house.double.steering.close_dispute(await disputed(house, booking, fee=1_500), won=False)
    await told(house, booking, "closed", 1)
    assert await fees(house) == [("dispute_fee", "EUR", 1_500)]
    await house.assert_right(event)
    matching = Matching(house.pool, house.payments.read_transactions, settle_seconds=0)
    assert (await matching.match(since=booking.created)).differences == ()
    await past_guards(house.pool, "DELETE FROM dispute_fee")
    [found] = (await matching.match(since=booking.created)).differences
    assert (found.kind, found.taken) == ("fee_differs", {"EUR": 1_500})
    assert "cost 1500 EUR at Stripe" in found.text


async def test_a_bank_that_thinks_better_of_it_gives_everything_back(house: BookingHouse, event: str) -> None:
    """The booking stayed charged back, and its tickets flagged, with the money on our account."""
    booking = await house.sold(event, 3)
    dispute = await disputed(house, booking)
    await house.double.steering.close_dispute(dispute, won=False)
    await told(house, booking, "closed", 1)
    assert await house.state(booking) == "charged_back"
    await house.double.steering.reinstate_dispute(dispute, fee_back=1_500)
    await told(house, booking, "funds_reinstated", 2)
    assert (await house.state(booking), await tickets(house, booking)) == ("confirmed", ["valid"])
    assert (await house.history(booking))[-3:] == ["charged_back", "disputed", "confirmed"]
    assert await fees(house) == [("dispute_fee", "EUR", 1_500), ("dispute_fee_back", "EUR", 1_500)]
    await house.assert_right(event)
    matching = Matching(house.pool, house.payments.read_transactions, settle_seconds=0)
    assert (await matching.match(since=booking.created)).differences == ()
    assert await house.pool.fetchval("SELECT count(*) FROM mail WHERE kind = 'confirmed'") == 1


async def test_a_bank_that_ended_a_case_is_asked_once_a_day_whether_it_did(house: BookingHouse, event: str) -> None:
    """With notices off nobody ever heard that the money is there again."""
    booking = await house.sold(event, 3)
    dispute = await disputed(house, booking)
    await house.double.steering.close_dispute(dispute, won=False)
    await told(house, booking, "closed", 1)
    await house.double.steering.reinstate_dispute(dispute)
    await house.rest()
    assert await house.state(booking) == "charged_back", "not asked again within the day"
    await house.pool.execute("UPDATE dispute SET looked_at = now() - interval '25 hours'")
    await house.completer.turn()
    assert await house.state(booking) == "confirmed"


async def test_two_disputes_are_lost_on_one_booking(house: BookingHouse, event: str) -> None:
    """The second took its shares as if the first had taken nothing: more of our fees than there were."""
    house.fee, house.tax = 250, 319
    booking = await house.sold(event, 3)
    for number, amount in enumerate((2_000, 3_000), 1):
        dispute = await disputed(house, booking, amount=amount)
        await told(house, booking, "created", 2 * number)
        assert await house.state(booking) == "disputed"
        await house.double.steering.close_dispute(dispute, won=False)
        await told(house, booking, "closed", 2 * number + 1)
        assert await house.state(booking) == "charged_back"
        await house.assert_right(event)
    sums = dict.fromkeys(("venue_payable", "fee_income", "tax_payable"), 0)
    for posting in (await house.read_run(event)).postings:
        sums.update({name: sums[name] + posting.entries.get(name, 0) for name in sums})
    assert sums == dict.fromkeys(sums, 0), "nothing is left, and nobody lost what he had not"


async def test_a_dispute_in_another_currency_is_booked_as_stripe_booked_it(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    dispute = await disputed(house, booking, amount=4_700, bank_amount=5_300, bank_currency="usd")
    await told(house, booking, "created", 1)
    [row] = await house.pool.fetch("SELECT amount, bank_amount, bank_currency FROM dispute")
    assert tuple(row) == (4_700, 5_300, "USD")
    await house.double.steering.close_dispute(dispute, won=False)
    await told(house, booking, "closed", 2)
    await house.assert_right(event)
    matching = Matching(house.pool, house.payments.read_transactions, settle_seconds=0)
    assert (await matching.match(since=booking.created)).differences == ()
    # What is not in the booking's currency anywhere takes all that is left.
    other = await house.sold(event, 5, key="5")
    unknown = StripeDispute(id="dp_1", amount=5_300, currency="USD", reason="fraudulent", state="open")
    await house.disputes.found(other.id, [unknown])
    assert await house.pool.fetchval("SELECT amount FROM dispute WHERE booking_id = $1", other.id) == PRICE


async def test_a_refund_made_at_stripe_is_heard_of_when_the_bank_has_decided(
    house: BookingHouse, event: str, stripe_api: stripe.StripeClient
) -> None:
    """It was passed over once the booking was charged back, and the ledger had money that nobody has."""
    booking = await house.sold(event, 3)
    assert booking.intent_id is not None
    await stripe_api.v1.refunds.create_async({"payment_intent": booking.intent_id, "amount": 1_000})
    await house.double.steering.close_dispute(await disputed(house, booking), won=False)
    await told(house, booking, "closed", 1)
    assert await house.state(booking) == "charged_back"
    await house.bookings.keep_notice("evt_late", "charge.refunded", booking.intent_id)
    await house.rest()
    assert await house.state(booking) == "charged_back"
    await house.assert_right(event)
    # A bank that took everything besides: what is more than was left is the venue's loss.
    other = await house.sold(event, 5, key="5")
    taken = StripeDispute(id="dp_1", amount=PRICE, currency="EUR", reason="fraudulent", state="lost")
    await house.disputes.found(other.id, [taken])
    await house.refunds.found(other.id, [StripeRefund("re_1", None, 1_000, "succeeded")])
    refund = await house.pool.fetchrow(
        "SELECT venue, fees, tax, owed, state FROM refund WHERE booking_id = $1", other.id
    )
    assert refund is not None
    assert tuple(refund) == (1_000, 0, 0, 0, "succeeded")


@pytest.mark.parametrize("won", [True, False])
async def test_what_was_given_back_whole_stays_so_whatever_a_bank_takes(
    house: BookingHouse, event: str, won: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """While a bank only asks, a clerk may give it back; then it may take the whole all the same."""
    booking = await house.sold(event, 3)
    dispute = await disputed(house, booking, inquiry=True)
    await told(house, booking, "created", 1)
    await house.refund(booking)
    await house.rest()
    await house.double.steering.escalate_dispute(dispute)
    await told(house, booking, "funds_withdrawn", 2)
    matching = Matching(house.pool, house.payments.read_transactions, settle_seconds=0)
    assert (await matching.match(since=booking.created)).differences == ()
    await house.assert_right(event)
    await house.double.steering.close_dispute(dispute, won=won)
    await told(house, booking, "closed", 3)
    assert (await house.state(booking), await tickets(house, booking)) == ("refunded", [])
    assert (await house.states(event))[3] == seatmap.BYTE_AVAILABLE
    assert (await matching.match(since=booking.created)).differences == ()
    assert "look into it" not in caplog.text
    await house.assert_right(event)
