"""A seat is bought, declined, cancelled, run out: on real engines and the Stripe double, turn by turn."""

import asyncio
from typing import Any

import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
    scripts_keep_their_word,
)
from booking_house import ANNA, DECLINED, MARK_SECONDS, PLACE, PRICE, THREE_D, BookingHouse
from checker import check
from inventory_house import held, refused, seat_id
from waiting import eventually

from lml_live.booking.bookings import Booking
from lml_live.booking.checkout import Buyer, Quoted, Quoting
from lml_live.errors import Unavailable
from lml_live.inventory import seatmap
from lml_live.inventory.records import Record

FREE, HELD, SOLD = seatmap.BYTE_AVAILABLE, seatmap.BYTE_HELD, seatmap.BYTE_SOLD


async def test_a_seat_is_bought(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3, 4, floor=2)
    booking = await house.claimed(event, hold, expected=2 * PRICE + 2 * PLACE)
    assert (booking.state, booking.amount, booking.currency) == ("pending_payment", 2 * PRICE + 2 * PLACE, "EUR")
    assert await house.seat_rows(booking) == ["claimed"] * 2
    assert (await house.states(event))[3:5] == [HELD, HELD]
    assert await house.taken(event) == 2
    assert await house.pay(booking) == "requires_capture"

    await house.completer.look_at(booking.id)
    assert await house.state(booking) == "authorized"
    assert await house.seat_rows(booking) == ["sold"] * 2
    await house.completer.turn()
    await house.completer.turn()
    assert await house.history(booking) == ["pending_payment", "authorized", "confirmed"]
    assert (await house.states(event))[3:5] == [SOLD, SOLD]
    assert (await house.area(event, "floor")) == (8, 0, 2, 0)
    assert await house.reasons(event, hold) == [("active", "own"), ("checkout", "own"), ("sold", "booked")]
    await house.assert_right(event)


async def test_a_declined_card_leaves_the_seats_and_another_buys_them(house: BookingHouse, event: str) -> None:
    booking = await house.claimed(event, await house.take(event, 3))
    assert await house.pay(booking, DECLINED) == "card_declined"
    await house.completer.look_at(booking.id)
    assert await house.state(booking) == "pending_payment"
    assert (await house.states(event))[3] == HELD
    assert await house.pay(booking) == "requires_capture"
    await house.completer.look_at(booking.id)
    await house.rest()
    assert await house.state(booking) == "confirmed"
    await house.assert_right(event)


@pytest.mark.parametrize("passed", [True, False])
async def test_three_d_secure(house: BookingHouse, event: str, passed: bool) -> None:
    booking = await house.claimed(event, await house.take(event, 3))
    assert await house.pay(booking, THREE_D) == "requires_action"
    await house.completer.look_at(booking.id)
    assert await house.state(booking) == "pending_payment"
    assert booking.intent_id is not None
    await house.double.steering.authenticate(booking.intent_id, passed=passed)
    await house.rest()
    if not passed:
        assert await house.state(booking) == "pending_payment"
        assert await house.pay(booking) == "requires_capture"
        await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"
    await house.assert_right(event)


async def test_nothing_due_is_confirmed_at_once_and_without_stripe(house: BookingHouse, event: str) -> None:
    house.price = 0
    hold = await house.take(event, 3, floor=1)
    booking = await house.buy(event, hold, expected=0)
    assert isinstance(booking, Booking)
    assert (booking.state, booking.intent_id) == ("confirmed", None)
    assert (await house.states(event))[3] == SOLD
    await house.rest()
    assert (await house.double.steering.ledger()).requests == []
    await house.assert_right(event)


async def test_another_price_than_was_shown_is_refused_and_the_hold_stays(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3)
    refused(await house.buy(event, hold, expected=PRICE - 1), "price_changed")
    assert await house.reasons(event, hold) == [("active", "own")]
    await house.claimed(event, hold, key="again", expected=PRICE)


async def test_a_price_that_changes_under_the_mark_is_refused_and_the_hold_comes_back(
    house: BookingHouse, event: str
) -> None:
    hold = await house.take(event, 3)
    prices = iter([PRICE, PRICE + 1])

    def quote(record: Record) -> Quoted:
        house.price = next(prices)
        return house.quote(record)

    answer = await house.checkout.book(
        event,
        "anna",
        hold,
        ANNA,
        Quoting(house.quoting.layout, quote),
        key="k",
        expected_amount=PRICE,
    )
    refused(answer, "price_changed")
    assert await house.reasons(event, hold) == [
        ("active", "own"),
        ("checkout", "own"),
        ("active", "payment_failed"),
    ]
    refused(await house.buy(event, hold, expected=PRICE), "conflict")  # the key is used up
    await house.claimed(event, hold, key="again", expected=PRICE + 1)


# --- Giving up


async def test_cancelled_before_the_create_was_sent_there_never_is_an_intent(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3, floor=1)
    booking = await claim_only(house, event, hold)
    assert (await house.checkout.cancel(booking)).state == "cancelled"
    assert await house.acts(booking) == {"create_intent": True, "free_booking": False}
    assert (await house.states(event))[3] == FREE
    await house.rest()
    assert (await house.double.steering.ledger()).requests == []
    assert await house.taken(event) == 0
    await house.assert_right(event)


async def claim_only(house: BookingHouse, event: str, hold: str, key: str = "k") -> Booking:
    """A booking whose worker died right after the claim: nothing was sent to Stripe."""

    async def die(_booking: str) -> None:
        raise ConnectionAbortedError

    checkout = house.new_checkout(house.completer)
    checkout._completer = type("Dead", (), {"hurry": staticmethod(die)})()
    with pytest.raises(ConnectionAbortedError):
        await checkout.book(event, "anna", hold, ANNA, house.quoting, key=key, expected_amount=None)  # type: ignore[arg-type]
    booking = await house.bookings.load(checkout.booking_id("anna", key))
    assert booking is not None
    return booking


async def test_cancelled_later_the_seat_is_free_only_when_stripe_says_canceled(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3)
    booking = await house.claimed(event, hold)
    await house.double.steering.fault("cancel", "timeout_before")
    assert (await house.checkout.cancel(booking)).state == "cancelling"
    assert (await house.states(event))[3] == HELD
    assert await house.seat_rows(booking) == ["claimed"]
    await house.rest()
    assert await house.history(booking) == ["pending_payment", "cancelling", "cancelled"]
    assert (await house.states(event))[3] == FREE
    assert (await house.reasons(event, hold))[-1] == ("gone", "own")
    await house.assert_right(event)


async def test_a_create_that_may_have_been_sent_is_repeated_and_then_cancelled(house: BookingHouse, event: str) -> None:
    booking = await claim_only(house, event, await house.take(event, 3))
    [work] = await house.bookings.lease_creates(10, 30)
    await house.bookings.begin_create(work, 30)  # and the worker dies with it
    assert (await house.checkout.cancel(booking)).state == "cancelling"
    await house.rest()
    assert await house.state(booking) == "cancelled"
    assert [one.intent.status for one in (await house.double.steering.ledger()).intents] == ["canceled"]
    await house.assert_right(event)


@pytest.mark.parametrize("ending", ["cancelling", "expiring"])
@pytest.mark.parametrize("told", ["by the cancel", "by the poller, before"])
async def test_a_charge_that_is_faster_than_the_giving_up_wins(
    house: BookingHouse, event: str, ending: str, told: str
) -> None:
    booking = await house.claimed(event, await house.take(event, 3))
    assert await house.pay(booking) == "requires_capture"
    assert await house.bookings.give_up(booking.id, ending) == ending  # type: ignore[arg-type]
    if told == "by the poller, before":
        await house.completer.look_at(booking.id)
    await house.rest()
    assert await house.history(booking) == ["pending_payment", ending, "authorized", "confirmed"]
    await house.assert_right(event)


async def test_cancelling_twice_and_cancelling_what_is_paid_changes_nothing(house: BookingHouse, event: str) -> None:
    paid = await house.claimed(event, await house.take(event, 3))
    await house.pay(paid)
    await house.completer.look_at(paid.id)
    assert (await house.checkout.cancel(paid)).state == "confirmed"
    given_up = await house.claimed(event, await house.take(event, 5), key="other")
    assert (await house.checkout.cancel(given_up)).state == "cancelled"
    assert (await house.checkout.cancel(given_up)).state == "cancelled"
    await house.rest()
    await house.assert_right(event)


@pytest.mark.parametrize("intent_made", [True, False])
async def test_time_runs_out(house: BookingHouse, event: str, intent_made: bool) -> None:
    hold = await house.take(event, 3, floor=2)
    booking = await house.claimed(event, hold) if intent_made else await claim_only(house, event, hold)
    await house.pool.execute("UPDATE outbox SET due = now() + interval '1 minute' WHERE done IS NULL")
    await house.completer.turn()
    assert await house.state(booking) == "pending_payment"
    await house.run_out(booking)
    await house.completer.turn()
    await house.rest()
    middle = ["expiring"] if intent_made else []
    assert await house.history(booking) == ["pending_payment", *middle, "expired"]
    assert (await house.reasons(event, hold))[-1] == ("gone", "expired")
    assert await house.taken(event) == 0
    assert (await house.states(event))[3] == FREE
    await house.assert_right(event)


async def test_an_intent_that_stripe_cancels_by_itself_ends_the_booking(house: BookingHouse, event: str) -> None:
    booking = await house.claimed(event, await house.take(event, 3))
    assert booking.intent_id is not None
    await house.payments.cancel(booking.intent_id, "somebody at the dashboard")
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "cancelled"
    assert (await house.states(event))[3] == FREE
    await house.assert_right(event)


async def test_a_lapsed_authorisation_frees_the_seats_and_nothing_is_charged(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3, floor=2)
    booking = await house.claimed(event, hold)
    await house.pay(booking)
    await house.double.steering.fault("capture", "timeout_before", count=None)
    await house.completer.look_at(booking.id)
    await house.completer.turn()
    assert (await house.states(event))[3] == SOLD
    await house.double.steering.clear_faults()
    await house.double.steering.advance(8 * 86_400)
    await house.rest()
    assert await house.history(booking) == ["pending_payment", "authorized", "failed"]
    assert (await house.states(event))[3] == FREE
    assert await house.taken(event) == 0
    assert (await house.reasons(event, hold))[-1] == ("gone", "payment_failed")


async def test_a_capture_that_is_always_refused_is_voided_and_frees_the_seats(house: BookingHouse, event: str) -> None:
    booking = await house.claimed(event, await house.take(event, 3))
    await house.pay(booking)
    await house.double.steering.fault("capture", "decline", count=None)
    await house.completer.look_at(booking.id)
    await house.rest()
    assert await house.history(booking) == ["pending_payment", "authorized", "failed"]
    await house.assert_right(event)


# --- Two at once, and repetitions


async def test_the_index_refuses_a_seat_that_is_somebody_elses_and_the_hold_comes_back(
    house: BookingHouse, event: str
) -> None:
    hold = await house.take(event, 3, 4, floor=1)
    await house.pool.execute(
        "INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end, currency,"
        " buyer_name, buyer_email, amount, prices_version, expires_at) VALUES ('b-other', $1, 'h', 'ben', 1,"
        " 'pending_payment', now(), now(), 'EUR', 'Ben', 'ben@example.org', 0, 1, now() + interval '1 hour')",
        event,
    )
    await house.pool.execute(
        "INSERT INTO booking_seat (booking_id, event_id, seat_id, type, state)"
        " VALUES ('b-other', $1, $2, 'a', 'claimed')",
        event,
        seat_id(4),
    )
    refused(await house.buy(event, hold), "seat_taken")
    assert (await house.reasons(event, hold))[-1] == ("active", "payment_failed")
    assert await house.taken(event) == 0
    assert await house.state(house.checkout.booking_id("anna", "k")) == "failed"
    assert (await house.double.steering.ledger()).requests == []
    await house.audit(event)


async def test_an_area_is_never_oversold_whatever_redis_says(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3, floor=3)
    await house.pool.execute("UPDATE event_area SET taken = 8 WHERE event_id = $1", event)
    refused(await house.buy(event, hold), "area_full")
    assert (await house.reasons(event, hold))[-1] == ("active", "payment_failed")
    assert await house.taken(event) == 8
    await house.pool.execute("UPDATE event_area SET taken = 0 WHERE event_id = $1", event)
    await house.claimed(event, hold, key="again")


async def test_one_key_makes_one_booking_whatever_became_of_it(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3)
    first = await house.claimed(event, hold)
    assert await house.claimed(event, hold) == first
    refused(await house.buy(event, hold, key="other"), "hold_in_checkout")
    await house.checkout.cancel(first)
    again = await house.buy(event, hold)
    assert isinstance(again, Booking)
    assert (again.id, again.state) == (first.id, "cancelled")
    await house.assert_right(event)


@pytest.mark.parametrize("other", ["hold", "name", "email", "amount"])
async def test_a_key_that_made_another_booking_is_refused(house: BookingHouse, event: str, other: str) -> None:
    """The first booking was answered with success to whoever sent its key, whatever he wanted to buy."""
    hold = await house.take(event, 3)
    await house.claimed(event, hold)
    second = await house.take(event, 5) if other == "hold" else hold
    name = "Ben" if other == "name" else ANNA.name
    email = "ben@example.org" if other == "email" else ANNA.email
    amount = PRICE + 1 if other == "amount" else PRICE
    answer = await house.checkout.book(
        event, "anna", second, Buyer(name, email), house.quoting, key="k", expected_amount=amount
    )
    refused(answer, "idempotency_mismatch")
    assert (await house.records(event))[second].state == ("active" if other == "hold" else "checkout")
    await house.audit(event)


async def test_a_key_that_marked_two_holds_gives_the_one_without_the_booking_back(
    house: BookingHouse, event: str
) -> None:
    """The sweep saw a booking of this id and left the mark alone: the other hold's seats were never free again."""
    first, second = await house.take(event, 3), await house.take(event, 5)
    await mark_only(house, event, first)
    booking = await house.claimed(event, second)
    await house.settle_old_marks(event)
    assert (await house.records(event))[first].state == "active"
    assert (await house.records(event))[second].state == "checkout"
    assert await house.state(booking) == "pending_payment"
    await house.audit(event)


async def test_a_key_that_was_used_for_another_hold_is_refused(house: BookingHouse, event: str) -> None:
    """It was answered with the booking of the first hold, where the gateway's own memory of the key was gone."""
    first = held(await house.try_hold(event, 3)).hold
    other = held(await house.try_hold(event, 4, key="h2")).hold
    assert isinstance(await house.try_book(event, first), Booking)
    refused(await house.try_book(event, other), "idempotency_mismatch")
    assert isinstance(await house.try_book(event, first), Booking)
    await house.rest()
    # Unpaid, but as everybody was told.
    assert {one.rule for one in check(await house.read_run(event))} <= {"I7"}


async def test_submitted_many_times_at_once_it_is_one_booking(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3)
    answers = await asyncio.gather(*(house.buy(event, hold) for _ in range(6)))
    assert {answer.id for answer in answers if isinstance(answer, Booking)} == {house.checkout.booking_id("anna", "k")}
    assert all(isinstance(answer, Booking) for answer in answers)
    await house.rest()
    assert len((await house.double.steering.ledger()).intents) == 1
    await house.audit(event)


async def test_with_keys_of_their_own_one_of_many_gets_the_hold(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3)
    answers = await asyncio.gather(*(house.buy(event, hold, key=f"k{n}") for n in range(6)))
    made = [answer for answer in answers if isinstance(answer, Booking)]
    assert len(made) == 1
    assert all(refused(answer, "hold_in_checkout") for answer in answers if answer is not made[0])


@pytest.mark.parametrize("state", ["paused", "closed"])
async def test_a_sale_that_stops_between_mark_and_claim_refuses_the_claim(
    house: BookingHouse, event: str, state: str
) -> None:
    hold = await house.take(event, 3)
    await house.sale(event)
    await house.pool.execute("UPDATE event SET state = $2 WHERE id = $1", event, state)  # nobody heard of it yet
    refused(await house.buy(event, hold), f"sale_{state}")
    assert (await house.reasons(event, hold))[-1] == ("active", "payment_failed")


# --- Marks without claims, epochs


async def mark_only(house: BookingHouse, event: str, hold: str, key: str = "k") -> str:
    """A worker that died between mark and claim; answers the booking's id."""
    booking = house.checkout.booking_id("anna", key)
    held(await house.holds.checkout_hold(event, "anna", hold, booking, mark_seconds=MARK_SECONDS))
    return booking


async def test_a_mark_without_a_claim_is_settled_by_the_sweep_and_a_late_claim_finds_that(
    house: BookingHouse, event: str
) -> None:
    hold = await house.take(event, 3)
    claiming = asyncio.Event()
    claim = house.bookings.claim

    async def claim_late(new: object) -> object:
        await claiming.wait()  # the worker sleeps
        return await claim(new)  # type: ignore[arg-type]

    house.bookings.claim = claim_late  # type: ignore[method-assign,assignment]
    late = asyncio.create_task(house.buy(event, hold))

    async def is_marked() -> bool:
        return (await house.records(event))[hold].state == "checkout"

    await eventually(is_marked)
    await house.settle_old_marks(event)
    booking = house.checkout.booking_id("anna", "k")
    assert await house.state(booking) == "failed"
    assert (await house.reasons(event, hold))[-1] == ("active", "payment_failed")
    claiming.set()
    refused(await late, "conflict")
    assert await house.pool.fetchval("SELECT count(*) FROM booking_seat") == 0
    house.bookings.claim = claim  # type: ignore[method-assign]
    await house.claimed(event, hold, key="again")


@pytest.mark.parametrize("dies", [False, True])
async def test_a_hold_that_is_marked_after_its_refusal_is_given_back(
    house: BookingHouse, event: str, dies: bool
) -> None:
    """A repetition that had looked before the sweep refused the first marked the hold again: it stayed in checkout for
    ever, for the sweep took the refused checkout for a booking that decides."""
    hold = await house.take(event, 3)
    mark = house.holds.checkout_hold

    async def mark_late(*args: Any, **more: Any) -> Any:
        await mark(*args, **more)  # the first of this key, whose worker died
        await house.settle_old_marks(event)
        await house.rest()
        assert (await house.records(event))[hold].state == "active"
        marked = await mark(*args, **more)
        if dies:
            raise Unavailable("The worker is no more.")
        return marked

    house.holds.checkout_hold = mark_late  # type: ignore[method-assign]
    if dies:
        with pytest.raises(Unavailable):
            await house.buy(event, hold)
        assert (await house.records(event))[hold].state == "checkout"
        house.holds.checkout_hold = mark  # type: ignore[method-assign]
        await house.settle_old_marks(event)
    else:
        refused(await house.buy(event, hold), "conflict")
        house.holds.checkout_hold = mark  # type: ignore[method-assign]
    assert (await house.reasons(event, hold))[-1] == ("active", "payment_failed")
    await house.claimed(event, hold, key="again")


async def test_the_sweep_leaves_a_mark_with_a_claim_alone(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3)
    booking = await house.claimed(event, hold)
    await house.settle_old_marks(event)
    await house.settle_old_marks(event)
    assert await house.state(booking) == "pending_payment"
    assert (await house.reasons(event, hold))[-1] == ("checkout", "own")
    await house.pay(booking)
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"
    await house.assert_right(event)


async def test_a_crash_between_mark_and_claim_is_finished_by_the_same_key(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3)
    marked = await mark_only(house, event, hold)
    assert (await house.claimed(event, hold)).id == marked


async def test_a_slow_request_that_is_overtaken_by_its_repetition_answers_the_same(
    house: BookingHouse, event: str
) -> None:
    """A key may be sent again when its first request is only slow: one of the two claims, and both hear of that one."""
    hold = await house.take(event, 3, floor=1)
    waking = asyncio.Event()
    claim = house.bookings.claim

    async def claim_late(new: object) -> object:
        await waking.wait()
        return await claim(new)  # type: ignore[arg-type]

    house.bookings.claim = claim_late  # type: ignore[method-assign,assignment]
    slow = asyncio.create_task(house.buy(event, hold))

    async def is_marked() -> bool:
        return (await house.records(event))[hold].state == "checkout"

    await eventually(is_marked)
    house.bookings.claim = claim  # type: ignore[method-assign]
    booking = await house.claimed(event, hold)
    waking.set()
    assert await slow == booking
    await house.settle_old_marks(event)
    assert await house.state(booking) == "pending_payment"
    assert len((await house.double.steering.ledger()).intents) == 1
    await house.pay(booking)
    await house.rest()
    await house.rest()
    await house.assert_right(event)


async def lose_redis(house: BookingHouse, event: str) -> None:
    """The event's keys are gone, as after FLUSHALL (the Valkey is shared); and the book is restored."""
    sale = await house.sale(event)
    await house.pipe.call("DEL", *(sale.key(name) for name in ("seats", "book", "deadlines", "areas", "log")))
    await house.book.recover(event, wait=True)
    await house.remember_start(event)


async def test_an_epoch_that_moves_between_mark_and_claim_refuses_the_claim(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3)
    claim = house.bookings.claim

    async def claim_late(new: object) -> object:
        await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", event)
        await house.book.reload(event)
        await house.book.recover(event, wait=True)
        await house.remember_start(event)
        return await claim(new)  # type: ignore[arg-type]

    house.bookings.claim = claim_late  # type: ignore[method-assign,assignment]
    with pytest.raises(Unavailable):
        await house.buy(event, hold)
    assert await house.pool.fetchval("SELECT count(*) FROM booking") == 0
    assert (await house.records(event))[hold].state == "active"
    house.bookings.claim = claim  # type: ignore[method-assign]
    booking = await house.claimed(event, hold)
    await house.pay(booking)
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"
    await house.assert_right(event)


@pytest.mark.parametrize("when", ["in checkout", "authorized", "sold"])
async def test_redis_is_lost_and_the_purchase_goes_on(house: BookingHouse, event: str, when: str) -> None:
    hold = await house.take(event, 3, floor=2)
    booking = await house.claimed(event, hold)
    if when != "in checkout":
        await house.pay(booking)
        await house.completer.look_at(booking.id)
    if when == "sold":
        await house.rest()
    await lose_redis(house, event)
    assert (await house.records(event))[hold].state == ("checkout" if when == "in checkout" else "sold")
    if when == "in checkout":
        await house.pay(booking)
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"
    assert (await house.states(event))[3] == SOLD
    await house.assert_right(event)


async def test_redis_is_lost_while_it_is_cancelled_and_the_seat_is_free(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3, floor=2)
    booking = await house.claimed(event, hold)
    await house.double.steering.fault("cancel", "timeout_after")
    await house.checkout.cancel(booking)
    await lose_redis(house, event)
    assert (await house.states(event))[3] == HELD
    await house.rest()
    assert await house.state(booking) == "cancelled"
    assert (await house.states(event))[3] == FREE
    await house.assert_right(event)
