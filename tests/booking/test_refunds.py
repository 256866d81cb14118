"""Money is given back: whole, in part, twice at once, with every answer lost; on real engines and the Stripe double."""

import asyncio
from typing import Any

import asyncpg
import pytest
import stripe
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
    scripts_keep_their_word,
)
from booking_house import PLACE, PRICE, BookingHouse
from checker import check
from databases import past_guards
from inventory_house import seat_id

from lml_live.booking.refunding import REFUND_MOVES, REFUND_STATES, NotRefundable
from lml_live.booking.refunds import Refund
from lml_live.inventory import seatmap

FREE, SOLD = seatmap.BYTE_AVAILABLE, seatmap.BYTE_SOLD
PENDING, FAILS = "pm_card_pendingRefund", "pm_card_refundFail"


async def at_stripe(house: BookingHouse) -> list[tuple[int, str]]:
    return [(one.amount, one.status) for one in (await house.double.steering.ledger()).refunds]


async def posted(house: BookingHouse, event: str) -> list[str]:
    return [one.reason for one in (await house.read_run(event)).postings]


async def test_a_whole_refund_frees_the_seats_when_stripe_has_it(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, 4, floor=2)
    refund = await house.refund(booking)
    assert (refund.state, refund.amount, refund.lines) == ("pending", booking.amount, (1, 2, 3, 4))
    assert (await house.states(event))[3:5] == [SOLD, SOLD], "asked for is not given back"
    assert await house.state(booking) == "confirmed"
    await house.rest()
    assert await house.state(booking) == "refunded"
    assert (await house.refunds.load(refund.id)).state == "succeeded"
    assert (await house.states(event))[3:5] == [FREE, FREE]
    assert await house.taken(event) == 0
    assert await at_stripe(house) == [(booking.amount, "succeeded")]
    assert await posted(house, event) == ["sold", "captured", "refund_begun", "refund_paid"]
    assert await house.history(booking) == ["pending_payment", "authorized", "confirmed", "refunded"]
    await house.assert_right(event)
    again = await house.sold(event, 3, key="again")
    assert again.id != booking.id
    await house.assert_right(event)


async def test_whole_lines_go_back_and_the_rest_stays_sold(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, 4, floor=3)
    await house.refund(booking, lines=[1, 3])
    await house.rest()
    assert await house.state(booking) == "partially_refunded"
    assert (await house.states(event))[3:5] == [FREE, SOLD]
    assert await house.area(event, "floor") == (8, 0, 2, 0)
    assert await house.taken(event) == 2
    await house.assert_right(event)
    freed = await house.pool.fetch(
        "SELECT act, seat_id, quantity FROM status_change WHERE event_id = $1 AND act = 'free'", event
    )
    assert {tuple(row) for row in freed} == {("free", seat_id(3), None), ("free", None, 1)}
    # The inventory that is built anew from PostgreSQL is the same.
    sale = await house.sale(event)
    await house.pipe.call("DEL", *(sale.key(name) for name in ("seats", "book", "deadlines", "areas", "log")))
    await house.book.recover(event, wait=True)
    assert (await house.states(event))[3:5] == [FREE, SOLD]
    await house.refund(booking, "rest")
    await house.rest()
    assert await house.state(booking) == "refunded"
    assert (await house.states(event))[4] == FREE
    assert await at_stripe(house) == [(PRICE + PLACE, "succeeded"), (PRICE + 2 * PLACE, "succeeded")]
    assert check(await house.read_run(event)) == []


async def test_amounts_leave_the_seats_until_nothing_is_left(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    await house.refund(booking, "one", amount=1_000)
    await house.rest()
    assert await house.state(booking) == "partially_refunded"
    assert (await house.states(event))[3] == SOLD
    await house.assert_right(event)
    await house.refund(booking, "two", amount=PRICE - 1_000)
    await house.rest()
    assert await house.state(booking) == "refunded"
    assert (await house.states(event))[3] == FREE
    await house.assert_right(event)
    too_late = await house.refunds.begin(booking.id, "three", "again", "s-1", amount=1)
    assert isinstance(too_late, NotRefundable)


async def test_what_cost_nothing_goes_back_without_stripe(house: BookingHouse, event: str) -> None:
    house.price = 0
    booking = await house.buy(event, await house.take(event, 3, 4))
    await house.rest()
    refund = await house.refund(booking, lines=[1])  # type: ignore[arg-type]
    assert refund.state == "succeeded"
    await house.rest()
    assert (await house.states(event))[3:5] == [FREE, SOLD]
    await house.refund(booking, "rest")  # type: ignore[arg-type]
    await house.rest()
    assert await house.state(booking) == "refunded"  # type: ignore[arg-type]
    assert await at_stripe(house) == []
    await house.assert_right(event)


async def test_of_two_clerks_at_once_one_gives_back(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    answers = await asyncio.gather(
        *(house.refunds.begin(booking.id, f"clerk-{n}", "ill", f"s-{n}") for n in range(4)),
        *(house.refunds.begin(booking.id, "clerk-0", "ill", "s-0") for _ in range(3)),
    )
    made = {one.id for one in answers if isinstance(one, Refund)}
    assert len(made) == 1
    assert all(one.code == "conflict" for one in answers if isinstance(one, NotRefundable))
    await house.rest()
    assert await at_stripe(house) == [(PRICE, "succeeded")]
    await house.assert_right(event)


async def test_a_key_stands_for_one_refund(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, 4)
    first = await house.refund(booking, lines=[1])
    assert await house.refund(booking, lines=[1]) == first
    other = await house.refunds.begin(booking.id, "r", "the band is ill", "s-1", lines=[2])
    assert isinstance(other, NotRefundable)
    assert other.code == "idempotency_mismatch"
    assert await house.refunds.begin("b-none", "r", "ill", "s-1") is None


# which call of Stripe's goes wrong · how
LOST = [
    ("refund", "timeout_before"),
    ("refund", "timeout_after"),
    ("refund", "error_500"),
    ("refund", "error_500_after"),
    ("refund", "rate_limit"),
]


@pytest.mark.parametrize(("operation", "kind"), LOST)
async def test_an_answer_that_is_lost_is_looked_for(house: BookingHouse, event: str, operation: Any, kind: Any) -> None:
    booking = await house.sold(event, 3)
    await house.double.steering.fault(operation, kind, delay_ms=10)
    await house.refund(booking)
    await house.rest()
    assert await house.state(booking) == "refunded"
    assert await at_stripe(house) == [(PRICE, "succeeded")], "once, whatever was heard"
    await house.assert_right(event)


async def test_a_worker_that_dies_after_the_call_is_followed_by_another(house: BookingHouse, event: str) -> None:
    """F5: the refund was made, and its answer reached nobody; a day later its key is forgotten, too."""
    booking = await house.sold(event, 3)
    refund = await house.refund(booking)
    [work] = await house.bookings.lease_work(1, 30, booking=booking.id)
    assert booking.intent_id is not None
    await house.payments.refund(
        booking.intent_id, refund.amount, "EUR", booking.id, refund.id, f"{work.key}:{work.attempt}"
    )
    await house.double.steering.advance(25 * 3600)
    await house.rest()
    assert await house.state(booking) == "refunded"
    assert await at_stripe(house) == [(PRICE, "succeeded")]
    await house.assert_right(event)


async def test_the_last_line_goes_back_and_an_earlier_refund_is_refused(
    house: BookingHouse, event: str, stripe_api: stripe.StripeClient
) -> None:
    """The booking had money left and no place: Redis kept a hold of nothing for it."""
    booking = await house.sold(event, 3)
    assert booking.intent_id is not None
    early = await house.refund(booking, "early", amount=1_000)
    await house.bookings.lease_work(1, 30, booking=booking.id)
    assert (await house.refund(booking, "rest")).lines == (1,)
    await house.completer.turn()
    await stripe_api.v1.refunds.create_async({"payment_intent": booking.intent_id, "amount": 1})
    await house.rest()
    assert (await house.refunds.load(early.id)).state == "failed"
    assert await house.state(booking) == "partially_refunded"
    assert (await house.reasons(event, booking.hold))[-1] == ("gone", "staff")
    await house.assert_right(event)
    assert (await house.refund(booking, "last")).amount == 999
    await house.rest()
    assert await house.state(booking) == "refunded"
    await house.assert_right(event)


async def test_two_calls_under_two_keys_that_both_worked_are_both_booked(house: BookingHouse, event: str) -> None:
    """The second was taken for the first: its money was missing at Stripe, and nowhere in our books."""
    booking = await house.sold(event, 3, 4)
    refund = await house.refund(booking, amount=1_000)
    await house.bookings.lease_work(1, 30, booking=booking.id)
    assert booking.intent_id is not None
    for key in ("one", "two"):
        await house.payments.refund(booking.intent_id, 1_000, "EUR", booking.id, refund.id, key)
    await house.bookings.keep_notice("evt_1", "charge.refunded", booking.intent_id)
    await house.rest()
    given = (await house.refunds.of_bookings([booking.id]))[booking.id]
    assert [(one.amount, one.state) for one in given] == [(1_000, "succeeded")] * 2
    wrong = {one.text for one in check(await house.read_run(event))}
    assert all("twice for one reason" in text for text in wrong), wrong
    assert (await house.refund(booking, "rest")).amount == booking.amount - 2_000


async def test_a_part_goes_back_before_redis_has_heard_of_the_sale(house: BookingHouse, event: str) -> None:
    """What the booking keeps was told of a hold in checkout, and forgotten: the sale then took the freed seat, too."""
    booking = await house.claimed(event, await house.take(event, 3, 4, floor=2))
    await house.pay(booking)
    await house.completer.look_at(booking.id)
    await house.pool.execute("UPDATE outbox SET due = now() + interval '1 hour' WHERE act = 'sell_hold'")
    await house.completer.turn()
    await house.refund(booking, lines=[1, 3])
    for _ in range(2):
        await house.completer.turn()
    assert (await house.acts(booking)).keys() >= {"sell_hold", "keep_places"}
    assert (await house.states(event))[3:5] == [FREE, seatmap.BYTE_HELD]
    await house.rest()
    assert (await house.states(event))[3:5] == [FREE, SOLD]
    await house.assert_right(event)


async def test_what_stripe_refuses_is_as_if_it_had_not_been(
    house: BookingHouse, event: str, stripe_api: stripe.StripeClient
) -> None:
    booking = await house.sold(event, 3)
    assert booking.intent_id is not None
    refund = await house.refund(booking)
    await stripe_api.v1.refunds.create_async({"payment_intent": booking.intent_id, "amount": 1})
    await house.bookings.lease_work(1, 30, booking=booking.id)
    await house.bookings.keep_notice("evt_1", "charge.refunded", booking.intent_id)
    await house.completer.turn()
    assert await house.state(booking) == "confirmed", "all is promised to ours"
    await house.rest()
    refused = await house.refunds.load(refund.id)
    assert (refused.state, refused.accepted) == ("failed", None)
    assert refused.fault is not None
    # What was given back at Stripe itself, and was in its way, is taken over: its notice may have come before.
    assert await posted(house, event) == [
        *("sold", "captured", "refund_begun", "refund_refused"),
        *("refund_begun", "refund_paid"),
    ]
    assert await house.state(booking) == "partially_refunded"
    assert (await house.states(event))[3] == SOLD
    made = (
        "SELECT actor_kind, actor_id FROM audit_record WHERE action = 'refund.made' AND event_id = $1 ORDER BY number"
    )
    acted = [tuple(row) for row in await house.pool.fetch(made, event)]
    assert acted == [("staff", "s-1"), ("system", None)], "no clerk decided the second"
    rest = await house.refund(booking, "rest")
    assert rest.amount == PRICE - 1
    await house.rest()
    assert await house.state(booking) == "refunded"
    await house.assert_right(event)


async def test_a_refund_on_its_way_is_accepted_and_polled(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, card=PENDING)
    refund = await house.refund(booking)
    await house.rest()
    assert (await house.refunds.load(refund.id)).state == "pending"
    assert await house.state(booking) == "refunded"
    assert (await house.states(event))[3] == FREE
    await house.double.steering.advance(61)
    await house.rest()
    assert (await house.refunds.load(refund.id)).state == "succeeded"
    await house.assert_right(event)


async def test_a_refund_that_comes_back_is_owed_and_given_anew(house: BookingHouse, event: str) -> None:
    """F28: `refund.failed` after it had succeeded. The seat is another's by then."""
    booking = await house.sold(event, 3, card=FAILS)
    refund = await house.refund(booking)
    await house.rest()
    assert (await house.refunds.load(refund.id)).state == "succeeded"
    other = await house.sold(event, 3, key="other")
    await house.double.steering.advance(61)
    for _ in range(2):  # a notice that comes twice
        await house.bookings.keep_notice(f"evt_{_}", "refund.failed", booking.intent_id)
        await house.completer.turn()
    assert (await house.refunds.load(refund.id)).state == "failed"
    assert (await house.state(booking), await house.state(other)) == ("refunded", "confirmed")
    assert await posted(house, event) == [
        *("sold", "captured", "refund_begun", "refund_paid"),
        *("sold", "captured", "refund_came_back"),
    ]
    wrong = {one.rule for one in check(await house.read_run(event))}
    assert wrong == {"I11"}, "money without a seat, until it is given anew"
    anew = await house.refund(booking, "anew")
    assert (anew.amount, anew.shares.owed, anew.lines) == (PRICE, PRICE, ())
    await house.rest()
    assert await house.state(booking) == "refunded"
    assert (await house.states(event))[3] == SOLD, "the other's"
    await house.assert_right(event)


async def test_postgresql_keeps_refunds_within_what_was_captured(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, 4)
    unpaid = await house.claimed(event, await house.take(event, 5, holder="ben"), holder="ben")
    insert = (
        "INSERT INTO refund (id, booking_id, key, amount, venue, fees, tax, owed, lines, reason)"
        " VALUES ($1, $2, $1, $3, $3, 0, 0, 0, $4, 'x')"
    )
    pool = house.pool
    await pool.execute(insert, "r-1", booking.id, PRICE, [1])
    for given, guard in (
        (("r-2", booking.id, PRICE + 1, []), "refund_is_within_capture"),
        (("r-2", unpaid.id, 1, []), "refund_is_within_capture"),
        (("r-2", booking.id, 1, [1]), "line_is_given_back_once"),
        (("r-2", booking.id, 0, []), "refund_is_shared_out"),
        (("r-2", booking.id, -1, [2]), "refund_is_shared_out"),
    ):
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await pool.execute(insert, *given)
        assert refused.value.constraint_name == guard
    for statement, guard in (
        ("UPDATE refund SET amount = 1, venue = 1", "refund_stays_as_decided"),
        ("UPDATE refund SET reason = 'y'", "refund_stays_as_decided"),
        ("UPDATE refund SET state = 'succeeded'", "refund_is_taken_whole"),
        ("UPDATE refund SET stripe_id = 're_1'", "refund_is_taken_whole"),
        ("DELETE FROM refund", "refund_stays"),
    ):
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await pool.execute(statement)
        assert refused.value.constraint_name == guard, statement


async def test_a_refund_moves_as_the_table_says(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    for number, (state, to) in enumerate([(a, b) for a in sorted(REFUND_STATES) for b in sorted(REFUND_STATES)], 1):
        await house.pool.execute(
            "INSERT INTO refund (id, booking_id, key, amount, venue, fees, tax, owed, lines, reason)"
            " VALUES ($1, $2, $1, 1, 1, 0, 0, 0, $3, 'x')",
            *(f"r-{number}", booking.id, [number]),
        )
        await past_guards(
            house.pool, "UPDATE refund SET state = $2, accepted = now() WHERE id = $1", f"r-{number}", state
        )
        move = house.pool.execute("UPDATE refund SET state = $2 WHERE id = $1", f"r-{number}", to)
        if to == state or to in REFUND_MOVES[state]:
            await move
        else:
            with pytest.raises(asyncpg.CheckViolationError) as refused:
                await move
            assert refused.value.constraint_name == "refund_moves_legally"
