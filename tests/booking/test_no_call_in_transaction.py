"""No call to Stripe or Redis is made while a transaction of a booking is open (style.md, 21; reliability.md, D5)."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import ANNA, PRICE, BookingHouse
from inventory_house import refused

from lml_live.booking import stripe_payments
from lml_live.booking.checkout import Quoted, Quoting
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.inventory.records import Record

_inside: ContextVar[bool] = ContextVar("_inside", default=False)
"""Whether this task, or the one that began it, has a transaction open."""


class Calls:
    """The calls over the network, and those of them that were made inside a transaction."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.inside: list[str] = []

    def watch(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **named: Any) -> Any:
            self.made.append(name)
            if _inside.get():
                self.inside.append(name)
            return call(*args, **named)

        return watched


@pytest.fixture(name="calls")
async def calls_fixture(house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The house's calls from here on: the event is there already, for restoring its book is another story."""
    transaction, calls = postgres.transaction, Calls()

    @contextlib.asynccontextmanager
    async def watched(pool: Pool) -> AsyncIterator[Connection]:
        async with transaction(pool) as connected:
            token = _inside.set(True)
            try:
                yield connected
            finally:
                _inside.reset(token)

    monkeypatch.setattr(postgres, "transaction", watched)
    monkeypatch.setattr(stripe_payments, "ask", calls.watch("Stripe", stripe_payments.ask))
    for name in ("call", "run"):
        monkeypatch.setattr(house.pipe, name, calls.watch("Redis", getattr(house.pipe, name)))
    return calls


async def buy(house: BookingHouse, event: str) -> None:
    booking = await house.claimed(event, await house.take(event, 3, floor=1))
    await house.pay(booking)
    assert await house.bookings.keep_notice("evt_1", "payment_intent.amount_capturable_updated", booking.intent_id)
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"


async def cancel(house: BookingHouse, event: str) -> None:
    booking = await house.claimed(event, await house.take(event, 3, floor=1))
    assert (await house.checkout.cancel(booking)).state == "cancelled"


async def run_out(house: BookingHouse, event: str) -> None:
    await house.double.steering.fault("create", "error_500_after")
    made = await house.buy(event, await house.take(event, 3, floor=1))
    await house.rest()
    booking = await house.bookings.load(made.id)  # type: ignore[union-attr]
    assert booking is not None
    late = await house.payments.create(booking.id, booking.amount, booking.currency, booking.buyer_email, "late")
    await house.bookings.intent_made(booking.id, late.id, late.client_secret, late.status)
    await house.run_out(booking)
    await house.completer.turn()
    await house.rest()
    assert await house.state(booking) == "expired"


async def be_refused(house: BookingHouse, event: str) -> None:
    hold, prices = await house.take(event, 3), iter([PRICE, PRICE + 1])

    def quote(record: Record) -> Quoted:
        house.price = next(prices)
        return house.quote(record)

    refused(
        await house.checkout.book(
            event, "anna", hold, ANNA, Quoting(house.quoting.layout, quote), key="k", expected_amount=PRICE
        ),
        "price_changed",
    )


async def be_settled(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3)
    booking = house.checkout.booking_id("anna", "k")
    await house.holds.checkout_hold(event, "anna", hold, booking, mark_seconds=1)
    await house.settle_old_marks(event)
    assert await house.state(booking) == "failed"


@pytest.mark.parametrize("story", [buy, cancel, run_out, be_refused, be_settled])
async def test_nothing_is_called_while_a_transaction_is_open(
    house: BookingHouse, event: str, calls: Calls, story: Callable[[BookingHouse, str], Awaitable[None]]
) -> None:
    await story(house, event)
    assert calls.inside == []
    assert len(calls.made) > 3


async def test_a_call_inside_would_be_seen(house: BookingHouse, event: str, calls: Calls) -> None:
    booking = await house.claimed(event, await house.take(event, 3))
    assert booking.intent_id is not None
    async with postgres.transaction(house.pool):
        await house.payments.retrieve(booking.intent_id)
        await house.holds.read_hold(event, "anna", booking.hold)
    assert calls.inside[0] == "Stripe"
    assert set(calls.inside[1:]) == {"Redis"}
