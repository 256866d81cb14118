"""A worker dies after each call it makes in a purchase, and in a cancelling; another one finishes (style.md, 29).

What is between two calls is done in no time, so dying after a call is dying before the next.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from booking_fixtures import booking_dsn_fixture, house_fixture, inventory_dsn_fixture  # noqa: F401
from booking_house import ANNA, BookingHouse

from lml_live.booking.bookings import Booking
from lml_live.booking.completer import Completer
from lml_live.errors import Unavailable

CALLS_MAX = 80


class Died(BaseException):
    """kill -9."""


class Mortal:
    """Something that a worker calls; after the worker's last call nothing is called any more."""

    def __init__(self, inner: Any, worker: "MortalWorker") -> None:
        self._inner, self._worker = inner, worker

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        async def call(*args: Any, **named: Any) -> Any:
            if self._worker.calls_left <= 0:
                raise Died
            answer = await found(*args, **named)
            self._worker.calls_left -= 1
            self._worker.called.append(name)
            if self._worker.calls_left == 0:
                raise Died
            return answer

        return call


class MortalWorker:
    """A worker that dies after so many calls to PostgreSQL, Redis and Stripe."""

    def __init__(self, house: BookingHouse, calls: int) -> None:
        self.calls_left = calls
        self.called: list[str] = []
        bookings, holds = Mortal(house.bookings, self), Mortal(house.holds, self)
        self.completer = Completer(bookings, holds, Mortal(house.payments, self), poll_seconds=60)  # type: ignore[arg-type]
        self.checkout = house.new_checkout(self.completer)
        self.checkout._bookings, self.checkout._holds = bookings, holds  # type: ignore[assignment]

    @property
    def dead(self) -> bool:
        return self.calls_left <= 0


class Client:
    """Sends a request again until somebody answers; the next worker lives for ever."""

    def __init__(self, house: BookingHouse, calls: int) -> None:
        self.house = house
        self.first = self.worker = MortalWorker(house, calls)

    async def ask(self, request: Callable[[MortalWorker], Awaitable[Any]]) -> Any:
        for _ in range(8):
            if self.worker.dead:
                self.worker = MortalWorker(self.house, 1_000_000)
                await self.house.pass_time()
            try:
                return await request(self.worker)
            except (Died, Unavailable):
                continue
        raise AssertionError("nobody answers")

    async def turn(self, rounds: int = 3) -> None:
        for _ in range(rounds):
            await self.house.pass_time()
            await self.ask(lambda worker: worker.completer.turn())


async def live_through(house: BookingHouse, calls: int, ending: str) -> bool:
    """One purchase or cancelling whose first worker dies after `calls` calls; answers whether it did."""
    event = await house.open_event(areas={"floor": 10})
    await house.double.steering.reset()
    hold, key = await house.take(event, 3, floor=2), f"{ending}{calls}"
    client = Client(house, calls)

    async def book(worker: MortalWorker) -> Booking:
        made = await worker.checkout.book(event, "anna", hold, ANNA, house.quote, key=key, expected_amount=None)
        assert isinstance(made, Booking), made
        return made

    booking = await client.ask(book)
    if booking.client_secret is None:
        await client.turn()
        booking = await client.ask(book)
    if ending == "confirmed":
        assert await house.pay(booking) == "requires_capture"
    else:
        await client.ask(lambda worker: worker.checkout.cancel(booking))
    await client.turn()
    died = client.first.dead
    await house.rest()
    await house.rest()
    where = client.first.called[-1] if client.first.called else "nothing"
    assert await house.state(booking) == ending, f"died after call {calls}, {where}"
    assert len((await house.double.steering.ledger()).intents) == 1
    await house.assert_right(event)
    return died


@pytest.mark.parametrize("ending", ["confirmed", "cancelled"])
async def test_whatever_call_was_a_workers_last_the_booking_ends_as_it_should(house: BookingHouse, ending: str) -> None:
    for calls in range(1, CALLS_MAX):
        if not await live_through(house, calls, ending):
            assert calls > 12, "a purchase has more calls than that"
            return
    raise AssertionError("it never ends")
