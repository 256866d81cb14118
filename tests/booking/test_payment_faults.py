"""What Stripe does not answer, answers wrongly, twice, late or out of order changes nothing of how a booking ends."""

import asyncio
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import msgspec
import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
    scripts_keep_their_word,
)
from booking_house import BookingHouse
from databases import kept_pool, past_guards
from inventory_house import SCRIPTS
from waiting import eventually

from lml_live import limits
from lml_live.booking.bookings import Booking
from lml_live.devstack.stripe.faults import FaultKind, Operation
from lml_live.devstack.stripe.process import StripeDouble
from lml_live.infra.redis import Pipe

FAULTS: tuple[FaultKind, ...] = ("timeout_before", "timeout_after", "error_500", "error_500_after", "rate_limit")
DEATHS: tuple[FaultKind, ...] = ("kill_before", "kill_after")


def each(kinds: tuple[FaultKind, ...], *operations: Operation) -> list[tuple[Operation, FaultKind]]:
    """Every fault of every call. To look has no effect, before or after which it could fail."""
    return [
        (operation, kind)
        for operation in operations
        for kind in kinds
        if operation != "retrieve" or not kind.endswith("_after")
    ]


async def fail_twice(house: BookingHouse, kind: FaultKind, *operations: Operation) -> None:
    for operation, _ in each((kind,), *operations):
        await house.double.steering.fault(operation, kind, count=2)


async def assert_fired(house: BookingHouse) -> None:
    assert all(fault.fired for fault in (await house.double.steering.ledger()).faults)


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_purchase_survives_each_fault(house: BookingHouse, event: str, kind: FaultKind) -> None:
    await fail_twice(house, kind, "create", "capture", "retrieve")
    hold = await house.take(event, 3, floor=1)
    booking = await house.buy(event, hold)
    assert isinstance(booking, Booking)
    assert booking.client_secret is None
    await house.rest()
    booking = await house.claimed(event, hold)
    assert await house.pay(booking) == "requires_capture"
    for _ in range(3):
        await house.rest()
    assert await house.history(booking) == ["pending_payment", "authorized", "confirmed"]
    await assert_fired(house)
    await house.assert_right(event)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("operations", [("create",), ("cancel", "retrieve")], ids="-".join)
async def test_a_cancelling_survives_each_fault(
    house: BookingHouse, event: str, operations: tuple[Operation, ...], kind: FaultKind
) -> None:
    await fail_twice(house, kind, *operations)
    hold = await house.take(event, 3, floor=1)
    booking = await house.buy(event, hold)
    assert isinstance(booking, Booking)
    # A failure that was none is seen at once, where the intent is looked at after it.
    at_once = "cancel" in operations and kind == "error_500_after"
    assert (await house.checkout.cancel(booking)).state == ("cancelled" if at_once else "cancelling")
    assert await house.seat_rows(booking) == ["released" if at_once else "claimed"]
    await house.rest()
    assert await house.history(booking) == ["pending_payment", "cancelling", "cancelled"]
    await assert_fired(house)
    await house.assert_right(event)


# --- kill -9 of Stripe's double, before and after the effect of each call


@pytest.fixture(scope="session", name="mortal_double")
def mortal_double_fixture() -> Iterator[StripeDouble]:
    """A double for all tests that kill it: each leaves it running."""
    double = StripeDouble(Path(os.environ["LML_TEST_RUN"]) / f"stripe-{secrets.token_hex(6)}")

    async def end() -> None:
        await double.kill()

    yield double
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, end()).result()


@pytest.fixture(name="mortal_house")
async def mortal_house_fixture(
    valkey_url: str, booking_dsn: str, mortal_double: StripeDouble
) -> AsyncIterator[BookingHouse]:
    await mortal_double.start()
    await mortal_double.steering.reset()
    pool, pipe = await kept_pool(booking_dsn), Pipe(valkey_url, SCRIPTS)
    await pipe.start()
    house = BookingHouse(pipe, pool, pool, booking_dsn, mortal_double)
    yield house
    await house.completer.close()
    await house.payments.close()
    await pipe.close()


async def _revive(house: BookingHouse) -> None:
    """The double is started again where it was killed."""
    if not await house.double.is_ready():
        await eventually(lambda: house.double.pid is None)
        await house.double.start()


@pytest.mark.parametrize(("operation", "kind"), each(DEATHS, "create", "retrieve", "confirm", "capture", "cancel"))
async def test_stripe_dies_at_each_call(mortal_house: BookingHouse, operation: Operation, kind: FaultKind) -> None:
    house, ending = mortal_house, "cancelled" if operation == "cancel" else "confirmed"
    event = await house.open_event(areas={"floor": 10})
    await house.double.steering.fault(operation, kind)
    hold = await house.take(event, 3, floor=1)
    booking = await house.buy(event, hold)
    assert isinstance(booking, Booking)
    assert (booking.client_secret is None) == (operation == "create")
    await _revive(house)
    await house.rest()
    await _revive(house)
    booking = await house.claimed(event, hold)
    if operation == "cancel":
        await house.checkout.cancel(booking)
    else:
        if operation == "confirm":
            with pytest.raises(aiohttp.ClientError):
                await house.pay(booking)
            await _revive(house)
        # The browser asks again; what was done before the kill is not done twice.
        done = (operation, kind) == ("confirm", "kill_after")
        assert await house.pay(booking) == ("payment_intent_unexpected_state" if done else "requires_capture")
    for _ in range(4):
        await house.pass_time()
        await house.completer.turn()
        await _revive(house)
    await house.rest()
    assert await house.state(booking) == ending
    ledger = await house.double.steering.ledger()
    assert [fault.fired for fault in ledger.faults] == [1]
    assert len(ledger.intents) == 1
    await house.assert_right(event)


async def test_a_create_that_stripe_refuses_fails_the_booking(house: BookingHouse, event: str) -> None:
    house.price = 1  # less than Stripe takes
    hold = await house.take(event, 3)
    booking = await house.buy(event, hold)
    assert isinstance(booking, Booking)
    assert booking.state == "failed"
    assert (await house.reasons(event, hold))[-1] == ("gone", "payment_failed")
    await house.rest()
    await house.assert_right(event)


async def test_of_two_intents_the_first_that_was_told_stays(house: BookingHouse, event: str) -> None:
    """A create whose 500 was none, and whose worker woke up late, put its intent in the place of the one being paid."""
    booking = await house.claimed(event, await house.take(event, 3))
    late = await house.payments.create(booking.id, booking.amount, booking.currency, booking.buyer_email, "first key")
    assert not await house.bookings.intent_made(booking.id, late.id, late.client_secret, late.status)
    again = await house.bookings.load(booking.id)
    assert again is not None
    assert (again.intent_id, again.client_secret) == (booking.intent_id, booking.client_secret)
    await house.bookings.intent_found(booking.id, late.id, "canceled")
    assert await house.state(booking) == "pending_payment"
    await house.pay(booking)
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"


@pytest.mark.parametrize("act", ["create", "capture", "cancel"])
async def test_two_completers_at_the_same_work_have_one_effect(house: BookingHouse, event: str, act: Operation) -> None:
    hold = await house.take(event, 3)
    other = house.new_completer()
    if act == "create":
        await house.double.steering.fault("create", "timeout_before")
    booking = await house.buy(event, hold)
    assert isinstance(booking, Booking)
    if act == "capture":
        await house.pay(booking)
        await house.completer.look_at(booking.id)
    elif act == "cancel":
        await house.bookings.give_up(booking.id, "cancelling")
    await house.pass_time()
    await house.double.steering.fault(act, "delay", delay_ms=300)
    first = asyncio.create_task(house.completer.turn())

    async def has_fired() -> bool:
        return any(one.kind == "delay" and one.fired for one in (await house.double.steering.ledger()).faults)

    await eventually(has_fired)
    await house.pass_time()  # the lease is over, and both are alive
    await asyncio.gather(first, other.turn())
    await house.rest()
    if act == "create":
        booking = await house.claimed(event, hold)
        await house.pay(booking)
        await house.rest()
        await house.rest()
    assert await house.state(booking) == ("cancelled" if act == "cancel" else "confirmed")
    ledger = await house.double.steering.ledger()
    assert len(ledger.intents) == 1
    assert len([one for one in ledger.balance_transactions if one.amount > 0]) == (act != "cancel")
    await house.assert_right(event)


async def test_a_request_does_not_wait_for_a_slow_stripe_and_what_it_began_goes_on(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call was ended half-way with the request, and nobody tried again before its lease of 30 s was over."""
    monkeypatch.setattr(limits, "PAYMENT_WAIT_SECONDS", 0.1)
    await house.double.steering.fault("create", "delay", delay_ms=500)
    hold = await house.take(event, 3)
    booking = await house.buy(event, hold)
    assert isinstance(booking, Booking)
    assert booking.client_secret is None

    async def is_ready() -> bool:
        found = await house.bookings.load(booking.id)
        return found is not None and found.client_secret is not None

    await eventually(is_ready)
    assert (await house.claimed(event, hold)).id == booking.id


# --- Webhooks are hints


async def _endings(house: BookingHouse, event: str) -> list[Booking]:
    """A booking that is paid, one that Stripe gave up, one declined and cancelled, one run out; nobody told us so."""
    paid, lost, declined, overdue = [
        await house.claimed(event, await house.take(event, seat, holder=f"x{seat}"), holder=f"x{seat}")
        for seat in (1, 2, 3, 4)
    ]
    assert await house.pay(paid) == "requires_capture"
    assert lost.intent_id is not None
    assert (await house.payments.cancel(lost.intent_id, "by hand")).status == "canceled"
    assert await house.pay(declined, "pm_card_chargeDeclined") == "card_declined"
    await house.bookings.give_up(declined.id, "cancelling")
    await house.bookings.give_up(overdue.id, "expiring")
    return [paid, lost, declined, overdue]


async def _notices(house: BookingHouse) -> list[tuple[str, str, str]]:
    """(id, type, intent) of all that Stripe has to tell."""
    ledger = await house.double.steering.ledger()
    intent_of = {charge.id: charge.payment_intent for charge in ledger.charges}
    notices = []
    for one in ledger.events:
        about = msgspec.json.decode(one.data.object)
        notices.append((one.id, one.type, intent_of.get(about["id"], about["id"])))
    return notices


ORDERS = ["as they came", "each ten times", "reversed", "shuffled", "late", "never"]
NEVER_POLLS = 1_000_000_000


async def test_what_a_worker_is_at_stays_its_own_and_what_it_dies_over_is_soon_anothers(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease outlived every call, so what a worker died over waited for half a minute."""
    await house.refund(await house.sold(event, 3))
    asked, never = asyncio.Event(), asyncio.Event()

    async def refund(*_: object) -> None:
        asked.set()
        await never.wait()

    monkeypatch.setattr(house.payments, "refund", refund)
    leases, turn = house.completer._leases, asyncio.create_task(house.completer.turn())
    await asked.wait()

    async def left() -> float:
        found = await house.pool.fetchval(
            "SELECT extract(epoch FROM leased_until - now())::float8 FROM outbox WHERE done IS NULL"
        )
        return float(found)

    assert 0 < await left() <= limits.OUTBOX_LEASE_SECONDS == leases.seconds
    await house.pool.execute("UPDATE outbox SET leased_until = now() - interval '1 second' WHERE done IS NULL")
    leases._since = dict.fromkeys(leases._since, time.monotonic())
    await leases.renew()
    assert await left() < 0, "a call takes less than a part of it, mostly"
    leases._since = dict.fromkeys(leases._since, float("-inf"))
    await leases.renew()
    assert await left() > 0
    assert await house.bookings.lease_work(5, 1.0) == []
    turn.cancel()
    await asyncio.wait({turn})
    await house.pool.execute("UPDATE outbox SET leased_until = now() - interval '1 second' WHERE done IS NULL")
    await leases.renew()
    [again] = await house.bookings.lease_work(5, 1.0)
    assert (again.act, again.tries, again.attempt) == ("refund", 2, 0), "the same key"
    # And it is renewed by the loop that works, which no defect ends.
    renewed, defects = asyncio.Event(), [ZeroDivisionError]

    async def renew() -> None:
        if defects:
            raise defects.pop()
        renewed.set()

    monkeypatch.setattr(leases, "renew", renew)
    monkeypatch.setattr(leases, "seconds", 0.01)
    loop, again_renewed = asyncio.create_task(house.completer.run()), asyncio.create_task(renewed.wait())
    await asyncio.wait({loop, again_renewed}, return_when=asyncio.FIRST_COMPLETED)
    assert renewed.is_set()
    loop.cancel()
    await asyncio.wait({loop})


@pytest.mark.parametrize("order", ORDERS)
async def test_notices_in_any_order_and_number_end_alike(house: BookingHouse, event: str, order: str) -> None:
    """Where there are notices nobody polls: what they tell of is known from them alone."""
    poller = house.completer
    if order != "never":
        house.completer = house.new_completer(poll_seconds=NEVER_POLLS)
    bookings = await _endings(house, event)
    if order != "never":
        if order == "late":
            await house.rest()
        assert [await house.state(booking) for booking in bookings[:2]] == ["pending_payment"] * 2
        notices = await _notices(house)
        assert {intent for _, _, intent in notices} == {booking.intent_id for booking in bookings}
        if order == "each ten times":
            notices = notices * 10
        elif order == "reversed":
            notices.reverse()
        elif order == "shuffled":
            random.Random(1).shuffle(notices)
        kept = [await house.bookings.keep_notice(*notice) for notice in notices]
        assert sum(kept) == len({name for name, _, _ in notices})
        while await house.completer.turn():
            pass
        assert await house.pool.fetchval("SELECT count(*) FROM stripe_notice WHERE done IS NULL") == 0
    await house.rest()
    await house.rest()
    assert [await house.state(booking) for booking in bookings] == ["confirmed", "cancelled", "cancelled", "expired"]
    await house.assert_right(event)
    await house.completer.close()
    house.completer = poller


async def test_a_notice_of_an_unknown_intent_is_done_with(house: BookingHouse, event: str) -> None:
    assert await house.bookings.keep_notice("evt_x", "payment_intent.created", "pi_unknown")
    assert await house.bookings.keep_notice("evt_y", "balance.available", None)
    await house.completer.turn()
    assert await house.pool.fetchval("SELECT count(*) FROM stripe_notice WHERE done IS NULL") == 0


async def test_what_cannot_be_done_keeps_nothing_else_waiting(house: BookingHouse, event: str) -> None:
    """One piece of work that failed by a defect ended the whole turn: no notice was read, nothing expired."""
    broken = await house.claimed(event, await house.take(event, 1))
    overdue = await house.claimed(event, await house.take(event, 2), key="other")
    await house.pool.execute(
        "INSERT INTO outbox (booking_id, event_id, act, key) VALUES ($1, $2, 'capture_intent', 'forged')",
        broken.id,
        event,
    )
    await past_guards(
        house.pool, "UPDATE payment SET intent_id = NULL, state = 'preparing' WHERE booking_id = $1", broken.id
    )
    await house.run_out(overdue)
    await house.completer.turn()
    assert await house.state(overdue) == "expiring"
    assert await house.pool.fetchval("SELECT due > now() FROM outbox WHERE key = 'forged'")


async def test_while_stripe_is_away_every_booking_has_its_look(house: BookingHouse, event: str) -> None:
    """The same sixteen were looked at again and again, one after the other, and nobody else."""
    booking = await house.claimed(event, await house.take(event, 1))
    await house.pass_time()
    assert await house.bookings.to_look_at(10, 60, 3_600) == [booking.id]
    assert await house.bookings.to_look_at(10, 60, 3_600) == []
