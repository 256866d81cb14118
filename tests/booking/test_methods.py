"""Ways to pay that cannot be captured later: never money without a seat, whatever is faster."""

import asyncio
from typing import Any

import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import BAD_DEBIT, DEBIT, IDEAL, PRICE, VISA, BookingHouse
from counter_house import Counter
from every_point import charge_again

from lml_live.booking.bookings import Booking
from lml_live.booking.ledger import Tender
from lml_live.booking.methods import offered, ways_to_pay
from lml_live.errors import InvalidInput
from lml_live.infra.config import load_settings
from lml_live.inventory import seatmap


async def claimed(house: BookingHouse, event: str, *seats: int) -> Booking:
    return await house.claimed(event, await house.take(event, *(seats or (3,))))


async def agree(house: BookingHouse, booking: Booking, *, passed: bool = True) -> None:
    """At the bank's page."""
    assert await house.pay(booking, IDEAL) == "requires_action"
    assert booking.intent_id is not None
    await house.double.steering.authenticate(booking.intent_id, passed=passed)


@pytest.mark.parametrize(
    ("methods", "currency", "types", "capture"),
    [
        (("card",), "EUR", ["card"], "manual"),
        (("card", "link"), "USD", ["card", "link"], "manual"),
        (("card", "ideal"), "EUR", ["card", "ideal"], "automatic_async"),
        # What does not take the currency is not offered, and so cards wait by themselves again.
        (("card", "ideal"), "USD", ["card"], "manual"),
        (("us_bank_account", "card"), "USD", ["us_bank_account", "card"], "automatic_async"),
    ],
)
def test_what_can_wait_is_captured_later(
    methods: tuple[str, ...], currency: str, types: list[str], capture: str
) -> None:
    told = ways_to_pay(methods, currency)
    assert told["payment_method_types"] == types == list(offered(methods, currency))
    assert told["capture_method"] == capture
    later = {name for name, option in told.get("payment_method_options", {}).items() if option}
    assert later == ({"card", "link"} & set(types) if capture != "manual" else set())


@pytest.mark.parametrize("text", ["ideal", "card,cheque", "card,,ideal", "card ideal"])
def test_a_house_offers_cards_and_what_is_known(text: str) -> None:
    with pytest.raises(InvalidInput, match="LML_PAYMENT_METHODS"):
        load_settings({"LML_PAYMENT_METHODS": text})


async def test_a_card_still_waits_for_its_capture(house: BookingHouse, event: str) -> None:
    booking = await claimed(house, event)
    assert await house.pay(booking) == "requires_capture"
    await house.completer.look_at(booking.id)
    await house.rest()
    assert await house.history(booking) == ["pending_payment", "authorized", "confirmed"]
    await house.assert_right(event)


async def test_where_only_cards_are_offered_no_intent_takes_money_by_itself(house: BookingHouse, event: str) -> None:
    payments = house.new_payments("card")
    completer = house.new_completer(payments=payments)
    house.checkout = house.new_checkout(completer)
    booking = await claimed(house, event)
    await completer.close()
    await payments.close()
    [entry] = (await house.double.steering.ledger()).intents
    assert (entry.intent.capture_method, entry.intent.payment_method_types) == ("manual", ("card",))
    assert await house.pay(booking, IDEAL) == "parameter_invalid"


async def test_money_that_is_taken_at_once_is_a_seat_at_once(house: BookingHouse, event: str) -> None:
    booking = await claimed(house, event)
    await agree(house, booking)
    await house.completer.look_at(booking.id)
    await house.rest()
    assert await house.history(booking) == ["pending_payment", "confirmed"]
    assert (await house.states(event))[3] == seatmap.BYTE_SOLD
    await house.assert_right(event)


async def test_who_does_not_agree_may_pay_otherwise(house: BookingHouse, event: str) -> None:
    booking = await claimed(house, event)
    await agree(house, booking, passed=False)
    await house.completer.look_at(booking.id)
    assert await house.state(booking) == "pending_payment"
    assert await house.pay(booking, VISA) == "requires_capture"
    await house.completer.look_at(booking.id)
    await house.rest()
    assert await house.state(booking) == "confirmed"
    await house.assert_right(event)


@pytest.mark.parametrize("ending", ["cancelling", "expiring"])
async def test_money_that_was_faster_than_the_giving_up_has_its_seat(
    house: BookingHouse, event: str, ending: Any
) -> None:
    """Nothing is on sale again before Stripe has said that nothing can be taken, and it cannot be said any more."""
    booking = await claimed(house, event)
    assert await house.pay(booking, IDEAL) == "requires_action"
    assert await house.bookings.give_up(booking.id, ending) == ending
    assert booking.intent_id is not None
    await house.double.steering.authenticate(booking.intent_id)
    await house.rest()
    assert await house.history(booking) == ["pending_payment", ending, "confirmed"]
    await house.assert_right(event)


async def test_who_comes_back_from_the_bank_too_late_has_not_paid(house: BookingHouse, event: str) -> None:
    booking = await claimed(house, event)
    assert await house.pay(booking, IDEAL) == "requires_action"
    await house.run_out(booking)
    await house.rest()
    assert await house.state(booking) == "expired"
    assert booking.intent_id is not None
    await house.double.steering.authenticate(booking.intent_id)
    await house.rest()
    assert await house.state(booking) == "expired"
    [entry] = (await house.double.steering.ledger()).intents
    assert entry.captured == 0
    await house.assert_right(event)


# --- The bank takes days


@pytest.mark.parametrize(("way", "ending"), [(DEBIT, "confirmed"), (BAD_DEBIT, "expired")])
async def test_while_the_bank_is_at_it_the_seat_is_kept(house: BookingHouse, event: str, way: str, ending: str) -> None:
    """Though the time to pay is over; then the bank's word decides."""
    booking = await claimed(house, event)
    assert await house.pay(booking, way) == "processing"
    await house.completer.look_at(booking.id)
    await house.run_out(booking)
    await house.rest()
    assert await house.state(booking) == "pending_payment"
    assert (await house.states(event))[3] == seatmap.BYTE_HELD
    await house.double.steering.advance(4 * 86_400 + 1)
    await house.completer.look_at(booking.id)
    await house.rest()
    assert await house.state(booking) == ending
    if ending == "confirmed":
        await house.assert_right(event)
    else:  # the checker compares times, and the double's clock is days ahead
        assert (await house.states(event))[3] == seatmap.BYTE_AVAILABLE
        assert [one.intent.status for one in (await house.double.steering.ledger()).intents] == ["canceled"]


async def test_a_bank_that_never_answers_is_not_waited_for_for_ever(house: BookingHouse, event: str) -> None:
    booking = await claimed(house, event)
    assert await house.pay(booking, DEBIT) == "processing"
    await house.completer.look_at(booking.id)
    await house.pool.execute("UPDATE booking SET expires_at = now() - interval '8 days' WHERE id = $1", booking.id)
    await house.rest()
    assert await house.state(booking) == "expired"
    await house.assert_right(event)


# --- What buys nothing goes back


async def hear(house: BookingHouse, intent: str, kind: str = "succeeded") -> None:
    await house.bookings.keep_notice(f"evt_{kind}_{intent}", f"payment_intent.{kind}", intent)
    await house.rest()
    await house.rest()


async def mails(house: BookingHouse, booking: Booking) -> list[str]:
    rows = await house.pool.fetch("SELECT kind FROM mail WHERE booking_id = $1 ORDER BY id", booking.id)
    return [row["kind"] for row in rows]


@pytest.mark.parametrize("ending", ["confirmed", "cancelled"])
async def test_money_that_buys_nothing_goes_back_whole(house: BookingHouse, event: str, ending: str) -> None:
    """It was refunded by hand only; with the seats somebody else's, nobody may have noticed for a day."""
    booking = await claimed(house, event)
    if ending == "confirmed":
        await house.pay(booking)
        await house.completer.look_at(booking.id)
        await house.rest()
    else:
        await house.checkout.cancel(booking)
    intent = await charge_again(house, booking)
    await hear(house, intent)
    assert await house.state(booking) == ending
    assert await mails(house, booking) == [ending, "returned"]
    [back] = (await house.double.steering.ledger()).refunds
    assert (back.payment_intent, back.amount) == (intent, booking.amount)
    await house.assert_right(event)
    await hear(house, intent)
    assert len((await house.double.steering.ledger()).refunds) == 1


@pytest.mark.parametrize("kind", ["error_500", "error_500_after", "timeout_after"])
async def test_it_goes_back_once_whatever_is_heard_of_it(house: BookingHouse, event: str, kind: Any) -> None:
    booking = await claimed(house, event)
    await house.checkout.cancel(booking)
    intent = await charge_again(house, booking)
    await house.double.steering.fault("refund", kind)
    await hear(house, intent)
    assert len((await house.double.steering.ledger()).refunds) == 1
    await house.assert_right(event)


async def test_what_only_waits_for_its_capture_is_voided(house: BookingHouse, event: str) -> None:
    booking = await claimed(house, event)
    intent = await charge_again(house, booking, capture_method="manual")
    await hear(house, intent, "amount_capturable_updated")
    ledger = await house.double.steering.ledger()
    assert [one.intent.status for one in ledger.intents if one.intent.id == intent] == ["canceled"]
    assert await mails(house, booking) == []


async def test_what_is_paid_though_stripe_said_it_never_would_be_goes_back(house: BookingHouse, event: str) -> None:
    """Nobody has seen it happen; if it does, nobody keeps the money."""
    booking = await claimed(house, event)
    await house.checkout.cancel(booking)
    assert booking.intent_id is not None
    await house.bookings.intent_found(booking.id, booking.intent_id, "succeeded")
    assert "cancel_surplus" in await house.acts(booking)
    assert await house.state(booking) == "cancelled"


@pytest.mark.parametrize("won", [True, False])
async def test_what_a_bank_disputes_before_it_could_go_back_waits_and_goes_back_once(
    house: BookingHouse, event: str, won: bool
) -> None:
    """It was stuck after some days, and a bank takes weeks; lost, it was owed to the buyer for ever."""
    booking = await claimed(house, event)
    await house.checkout.cancel(booking)
    intent = await charge_again(house, booking)
    dispute = await house.double.steering.open_dispute(intent, fee=0)
    await house.bookings.keep_notice("evt_1", "payment_intent.succeeded", intent)
    for _ in range(4):  # heard of, found to be paid, refused
        await house.completer.turn()
    row = await house.pool.fetchrow(
        "SELECT stuck, due > now() + interval '20 hours' AS patient FROM outbox WHERE done IS NULL"
    )
    assert row is not None
    assert (row["stuck"], row["patient"]) == (None, True)
    await house.double.steering.close_dispute(dispute, won=won)
    await house.bookings.keep_notice("evt_2", "charge.dispute.closed", intent)
    await house.rest()
    assert len((await house.double.steering.ledger()).refunds) == won
    assert await mails(house, booking) == ["cancelled", "returned"]
    await house.assert_right(event)


@pytest.mark.parametrize("tender", ["cash", "comp", "card_terminal"])
async def test_what_names_a_sale_at_the_counter_goes_back_unless_it_may_be_the_terminals(
    house: BookingHouse, event: str, tender: Tender, caplog: pytest.LogCaptureFixture
) -> None:
    """It was logged, to be refunded by hand."""
    counter = await Counter(house, event).open()
    reason = {"reason": "press"} if tender == "comp" else {}
    sale = await counter.sold(3, tender=tender, **reason)
    before = await counter.books(sale)
    intent = await charge_again(house, sale, amount=PRICE)
    await hear(house, intent)
    backs = [(one.payment_intent, one.amount) for one in (await house.double.steering.ledger()).refunds]
    if tender == "card_terminal":
        assert backs == []
        assert "look whether it was paid twice" in caplog.text
        return
    assert backs == [(intent, PRICE)]
    assert (await house.state(sale), await counter.books(sale)) == ("confirmed", before)
    assert await mails(house, sale) == [], "who bought at the counter left no address"
    await house.assert_right(event)


async def test_an_intent_that_is_nobodys_is_left_alone(house: BookingHouse, event: str) -> None:
    booking = await claimed(house, event)
    intent = await charge_again(house, booking, metadata={"order": "17"})
    await hear(house, intent)
    assert (await house.double.steering.ledger()).refunds == []


async def test_an_intent_over_less_does_not_become_the_bookings_own(house: BookingHouse, event: str) -> None:
    """A seat would be sold for a cent."""
    await house.double.steering.fault("create", "timeout_before")
    booking = await house.buy(event, await house.take(event, 3))
    assert isinstance(booking, Booking)
    intent = await charge_again(house, booking, amount=100)
    await house.bookings.keep_notice("evt_cheap", "payment_intent.succeeded", intent)
    await house.completer.turn()
    assert await house.state(booking) == "pending_payment"
    await house.rest()
    await house.rest()
    [back] = (await house.double.steering.ledger()).refunds
    assert (back.payment_intent, back.amount) == (intent, 100)
    assert await house.state(booking) == "pending_payment"


async def test_a_notice_of_an_intent_that_stripe_does_not_know_is_done_with(house: BookingHouse) -> None:
    await hear(house, "pi_none")
    assert await house.pool.fetchval("SELECT count(*) FROM stripe_notice WHERE done IS NULL") == 0


async def test_a_first_intent_whose_answer_was_lost_is_found_by_its_notice(house: BookingHouse, event: str) -> None:
    await house.double.steering.fault("create", "timeout_after", delay_ms=200)
    buying = asyncio.create_task(house.buy(event, await house.take(event, 3)))
    booking = await buying
    assert isinstance(booking, Booking)
    [entry] = (await house.double.steering.ledger()).intents
    await hear(house, entry.intent.id)
    loaded = await house.bookings.load(booking.id)
    assert loaded is not None
    assert (loaded.intent_id, loaded.client_secret is None) == (entry.intent.id, False)
