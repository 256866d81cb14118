"""The pace at Stripe: no second has more calls than it may, whoever makes them; buyers come first, in order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import ANNA, BookingHouse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lml_live.booking.completer import Completer
from lml_live.booking.pace import Pace, for_buyers
from lml_live.booking.payment_queue import PaymentQueue
from lml_live.booking.payments import PaymentFault
from lml_live.booking.stripe_payments import StripePayments
from lml_live.errors import Overloaded
from lml_live.limits import PACE_PATIENCE_SECONDS, PACE_SHARE_MIN

CREATE = "create_intent"


@pytest.fixture(name="pace")
async def pace_fixture(house: BookingHouse) -> Pace:
    """An account of 100 calls a second, 20 of each operation; nobody has called yet."""
    await house.pool.execute("DELETE FROM stripe_pace")
    return Pace(house.pool, calls=100, of_operation=20, patience=60)


async def take(pace: Pace, operation: str = CREATE) -> float:
    """When a turn is, by PostgreSQL's clock."""
    with for_buyers():
        taken, _, at = await pace.take(operation)
    assert taken
    return at.timestamp()


def most_in_a_second(times: list[float]) -> int:
    """The most calls that any second has."""
    return max(sum(start <= at < start + 1 - 1e-5 for at in times) for start in times)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(most=st.integers(1, 60), calls=st.integers(1, 90), several=st.integers(1, 4))
async def test_no_second_has_more_calls_than_it_may(house: BookingHouse, most: int, calls: int, several: int) -> None:
    """Of several processes, each with its own connections, all at once."""
    await house.pool.execute("DELETE FROM stripe_pace")
    paces = [Pace(house.pool, calls=1_000, of_operation=most, patience=600) for _ in range(several)]
    times = await asyncio.gather(*(take(paces[number % several]) for number in range(calls)))
    assert most_in_a_second(times) <= most
    # And nine tenths of that are used.
    rate = most - most // 10
    assert max(times) - min(times) <= (calls - 1) / rate + 1


async def test_turns_come_one_after_the_other_and_in_order(house: BookingHouse, pace: Pace) -> None:
    times = [await take(pace) for _ in range(41)]
    assert times == sorted(times)
    assert most_in_a_second(times) <= 20
    # And they are as near as that allows: 18 a second, after three at once.
    assert times[-1] - times[0] == pytest.approx(38 / 18, abs=0.1)
    assert all(other - one == pytest.approx(1 / 18, abs=0.001) for one, other in pairwise(times[5:]))


async def test_all_operations_together_have_their_own_limit(house: BookingHouse) -> None:
    await house.pool.execute("DELETE FROM stripe_pace")
    pace = Pace(house.pool, calls=10, of_operation=8, patience=60, exceptions={"capture_intent": 2})
    assert pace.limit_of("capture_intent") == 2
    times = [await take(pace, operation) for operation in ("retrieve_intent", CREATE) for _ in range(10)]
    assert most_in_a_second(times) <= 10
    assert most_in_a_second(times[:10]) <= 8
    assert times[-1] - times[0] >= 18 / 9 - 0.01


async def test_whoever_would_wait_too_long_is_told_when_to_come(house: BookingHouse) -> None:
    await house.pool.execute("DELETE FROM stripe_pace")
    pace = Pace(house.pool, calls=100, of_operation=1, patience=1.5)
    with for_buyers():
        assert [round(await pace.reserve(CREATE)) for _ in range(2)] == [0, 1]
        with pytest.raises(PaymentFault) as caught:
            await pace.turn(CREATE)
    assert caught.value.paced
    assert caught.value.wait_seconds == pytest.approx(2, abs=0.5)
    # It took nothing with it.
    ahead = "SELECT extract(epoch FROM next_at - clock_timestamp())::float8 FROM stripe_pace WHERE name = $1"
    assert await house.pool.fetchval(ahead, CREATE) <= 2


async def test_where_buyers_wait_background_work_has_a_fifth(house: BookingHouse, pace: Pace) -> None:
    """It neither starves nor takes what buyers wait for; and where nobody waits it has everything."""
    assert [round(await pace.reserve(CREATE), 1) for _ in range(3)] == [0, 0, 0]
    for _ in range(10):
        await take(pace)
    await pace.reserve(CREATE)
    with pytest.raises(PaymentFault) as caught:
        await pace.reserve(CREATE)
    # 18 a second: its next part is five turns away.
    assert caught.value.paced
    assert 0 < caught.value.wait_seconds <= 5 / 18
    await pace.turn(CREATE)


async def test_after_429_half_as_many_go_and_more_again_with_time(house: BookingHouse, pace: Pace) -> None:
    async def share() -> float:
        return (await pace.queue())[1] / 18

    await take(pace)
    await pace.slow_down(CREATE)
    assert await share() == pytest.approx(0.5, abs=0.1)
    # What was sent before is not told again.
    await pace.slow_down(CREATE)
    assert await share() == pytest.approx(0.5, abs=0.1)
    for _ in range(9):
        await house.pool.execute("UPDATE stripe_pace SET slowed_at = now() - interval '1.1 seconds'")
        await pace.slow_down(CREATE)
    assert PACE_SHARE_MIN / 2 <= await share() <= 0.1
    times = [await take(pace) for _ in range(3)]
    assert times[-1] - times[0] > 1
    await house.pool.execute("UPDATE stripe_pace SET slowed_at = now() - interval '1 minute'")
    assert await share() == pytest.approx(1)


async def test_turns_begin_anew_where_postgresql_has_lost_them(house: BookingHouse, pace: Pace) -> None:
    await take(pace)
    await house.pool.execute("DELETE FROM stripe_pace")
    assert await take(pace) > 0


async def test_two_calls_never_wait_in_a_ring(house: BookingHouse, pace: Pace) -> None:
    with for_buyers():
        waits = await asyncio.gather(*(pace.reserve(name) for name in ("aa", "zz", CREATE) for _ in range(12)))
    # All got a turn, and not all the same.
    assert min(waits) < max(waits) <= PACE_PATIENCE_SECONDS


# --- The queue of payments


class _Closed:
    """A Stripe whose pace is all used up."""

    def __init__(self, house: BookingHouse) -> None:
        self.publishable_key, self.api_base = house.payments.publishable_key, house.payments.api_base

    async def reserve(self, _operation: str) -> float:
        raise PaymentFault("unknown", "not now", wait_seconds=1, paced=True)


async def _ahead(queue: PaymentQueue, booking: str) -> int:
    place = await queue.place(booking)
    return 0 if place is None else place.ahead


async def test_who_came_first_is_first(house: BookingHouse, event: str) -> None:
    """A new request does not pass those that wait; who gives up leaves the queue, and was never sent."""
    house.checkout = house.new_checkout(slow := house.new_completer(payments=_Closed(house)))
    queue = PaymentQueue(house.pace, pay_seconds=600)
    bookings = []
    for seat in range(3):
        made = await house.buy(
            event, await house.take(event, seat, holder=f"h{seat}"), holder=f"h{seat}", key=f"{seat}"
        )
        bookings.append(made.id)  # type: ignore[union-attr]
    await slow.close()
    assert [await _ahead(queue, one) for one in bookings] == [0, 1, 2]
    given_up = await house.bookings.load(bookings[1])
    assert given_up is not None
    assert (await house.checkout.cancel(given_up)).state == "cancelled"
    made = [work.booking for work in await house.bookings.lease_creates(16, 0)]
    assert made == [bookings[0], bookings[2]]
    await house.rest()
    created = {one.intent.metadata["booking"] for one in (await house.double.steering.ledger()).intents}
    assert created == {bookings[0], bookings[2]}


async def test_where_more_are_paying_than_can_be_served_in_time_nothing_is_claimed(
    house: BookingHouse, event: str
) -> None:
    """The hold stays as it was, and the same key may ask again."""
    slow = Pace(house.pool, calls=3, of_operation=1)
    queue = PaymentQueue(slow, pay_seconds=4, share_of_pay=0.5)
    checkout = house.new_checkout(house.new_completer(payments=_Closed(house)), admit=queue.admit)
    answers = []
    for seat in range(4):
        hold = await house.take(event, seat, holder=f"h{seat}")
        queue._looked = 0.0
        try:
            made = await checkout.book(event, f"h{seat}", hold, ANNA, house.quoting, key="k", expected_amount=None)
            answers.append(made.state)  # type: ignore[union-attr]
        except Overloaded as error:
            answers.append(error.retry_after_ms)
            assert (await house.records(event))[hold].state == "active"
    assert answers == ["pending_payment"] * 3 + [1000]


async def test_where_all_calls_are_few_buyers_wait_for_those_of_others_too(house: BookingHouse) -> None:
    """At a sandbox's 25 in all, the queue seemed three times as fast as it was: claims came in that none could pay."""
    assert (await Pace(house.pool, calls=25, of_operation=25).queue())[1] == pytest.approx(25 / 3)
    assert (await Pace(house.pool, calls=100, of_operation=25).queue())[1] == pytest.approx(25 - 2)


# --- With a Stripe that minds


@pytest.fixture(name="strict")
async def strict_fixture(house: BookingHouse) -> AsyncIterator[Callable[..., Completer]]:
    """Makes workers of one house that have a pace of their own."""
    await house.pool.execute("DELETE FROM stripe_pace")
    made: list[Completer] = []
    stripes: list[StripePayments] = []

    def worker(**pace: float) -> Completer:
        double = house.double
        stripes.append(
            StripePayments(Pace(house.pool, **pace), double.secret_key, double.publishable_key, double.url)  # type: ignore[arg-type]
        )
        made.append(house.new_completer(payments=stripes[-1]))
        return made[-1]

    yield worker
    for completer in made:
        await completer.close()
    for stripe in stripes:
        await stripe.close()


async def claim(house: BookingHouse, event: str, count: int) -> None:
    """Bookings whose payment is still to be made."""
    checkout = house.new_checkout(house.new_completer(payments=_Closed(house)))  # type: ignore[arg-type]
    for seat in range(count):
        holder = f"h{seat}"
        hold = await house.take(event, seat, holder=holder)
        await checkout.book(event, holder, hold, ANNA, house.quoting, key="k", expected_amount=None)


async def refused_of(house: BookingHouse) -> int:
    return sum(one.status == 429 for one in (await house.double.steering.ledger()).requests)


async def test_at_its_pace_stripe_minds_nothing(house: BookingHouse, event: str, strict: Any) -> None:
    """Two workers of one house, and more payments than a second has turns for."""
    await claim(house, event, 24)
    await house.double.steering.fault("*", "rate_limit", count=None, per_second=20, burst=20)
    workers = [strict(calls=100, of_operation=20) for _ in range(2)]
    while await house.pool.fetchval("SELECT count(*) FROM payment WHERE state = 'preparing'"):
        await asyncio.gather(*(worker.turn() for worker in workers))
    assert await refused_of(house) == 0


async def test_where_stripe_minds_all_are_made_all_the_same(house: BookingHouse, event: str, strict: Any) -> None:
    await claim(house, event, 24)
    await house.double.steering.fault("create", "rate_limit", count=None, per_second=10, burst=5)
    worker = strict(calls=1_000, of_operation=1_000)
    while await house.pool.fetchval("SELECT count(*) FROM payment WHERE state = 'preparing'"):
        await house.pass_time()
        await worker.turn()
    assert await refused_of(house) > 0
    assert await house.pool.fetchval("SELECT min(share) FROM stripe_pace") < 1
    intents = [one.intent.metadata["booking"] for one in (await house.double.steering.ledger()).intents]
    assert len(intents) == len(set(intents)) == 24


async def test_a_purchase_is_three_calls(house: BookingHouse, event: str) -> None:
    """It was eight: each of Stripe's notices was a look at the intent, and the first capture looked once more."""
    booking = await house.claimed(event, await house.take(event, 3))
    await house.pay(booking)
    for kind in ("payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated"):
        await house.bookings.keep_notice(f"evt_{kind}", kind, booking.intent_id)
    await house.completer.turn()
    await house.completer.turn()
    for kind in ("charge.captured", "payment_intent.succeeded"):
        await house.bookings.keep_notice(f"evt_{kind}", kind, booking.intent_id)
    await house.completer.turn()
    assert await house.state(booking) == "confirmed"
    ours = [one.operation for one in (await house.double.steering.ledger()).requests if not one.public]
    assert ours == ["create", "retrieve", "capture"]
