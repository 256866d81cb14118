"""Acts that are clean while every guard is there, and how guards are taken away in a copy of the SQL or Lua.

No switch for this exists in the product: a test changes its own database, its own statements, its own scripts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any

import pytest
from booking_fixtures import empty
from booking_house import ANNA, BookingHouse
from checker import check
from inventory_house import change_script, held

from lml_live.booking import bookings, claims, outbox
from lml_live.booking.bookings import Booking
from lml_live.booking.claims import Claimed, Known, NewBooking, NotClaimed
from lml_live.errors import Unavailable
from lml_live.inventory.answers import Changed, Refusal


async def broken_rules(house: BookingHouse, event: str) -> set[str]:
    return {violation.rule for violation in check(await house.read_run(event))}


def change_statement(monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    """A copy of the booking's statements with one of them changed."""
    statements = dict(bookings._SQL)
    assert old in statements[name]
    statements[name] = statements[name].replace(old, new)
    for module in (bookings, claims, outbox):
        monkeypatch.setattr(module, "_SQL", MappingProxyType(statements))


async def free_behind_its_back(house: BookingHouse, event: str, seat: int) -> None:
    """Redis forgets that a seat is taken, as one that lost a write does."""
    sale = await house.sale(event)
    await house.pipe.call("SETRANGE", sale.key("seats"), seat, b"\x00")


async def buy_one_seat_twice(house: BookingHouse, event: str) -> None:
    first = await house.claimed(event, await house.take(event, 3))
    await free_behind_its_back(house, event, 3)
    second = await house.buy(event, await house.take(event, 3, holder="ben"), holder="ben")
    for booking in (first, second):
        if isinstance(booking, Booking):
            await house.pay(booking)
    await house.rest()
    await house.rest()


async def bought(house: BookingHouse, event: str) -> Booking:
    booking = await house.claimed(event, await house.take(event, 3))
    await house.pay(booking)
    await house.rest()
    await house.rest()
    return booking


# --- Acts. With everything as it is each is clean; with one guard taken away it breaks a rule.

Act = Callable[[BookingHouse, str], Awaitable[None]]
Mutate = Callable[[BookingHouse, pytest.MonkeyPatch], Awaitable[None]]


async def settle(house: BookingHouse) -> None:
    await house.rest()
    await house.rest()


async def grant(house: BookingHouse, event: str, *seats: int, **more: Any) -> str:
    """A hold that is granted; answers its id."""
    return held(await house.try_hold(event, *seats, **more)).hold


async def buy(house: BookingHouse, event: str, *seats: int, **more: Any) -> Booking:
    """A purchase up to its payment."""
    booking = await house.try_book(event, await grant(house, event, *seats, **more))
    assert isinstance(booking, Booking), booking
    return booking


async def pay_and_settle(house: BookingHouse, booking: Booking) -> None:
    await house.pay(booking)
    await settle(house)


async def plain(house: BookingHouse, event: str) -> None:
    await pay_and_settle(house, await buy(house, event, 3, 4, floor=2))


async def two_want_one_seat(house: BookingHouse, event: str) -> None:
    await house.try_hold(event, 3)
    await house.try_hold(event, 3, holder="ben")


async def two_want_one_seat_at_once(house: BookingHouse, event: str) -> None:
    await asyncio.gather(house.try_hold(event, 3), house.try_hold(event, 3, holder="ben"))


async def one_hold(house: BookingHouse, event: str) -> None:
    await house.try_hold(event, 3, floor=1)


async def one_key_for_two_holds(house: BookingHouse, event: str) -> None:
    await house.try_hold(event, 3)
    await house.try_hold(event, 4)


async def given_back_in_checkout(house: BookingHouse, event: str) -> None:
    """The buyer gives the hold back in the middle of the checkout, and another one wants the seat."""
    booking = await buy(house, event, 3)
    await house.holds.release_hold(event, "anna", booking.hold)
    await house.try_hold(event, 3, holder="ben")
    await pay_and_settle(house, booking)


async def two_checkouts_of_a_hold(house: BookingHouse, event: str) -> None:
    """A second checkout of the same hold marks it late; it is refused, and what it marked is given back."""
    booking, other = await buy(house, event, 3), house.checkout.booking_id("anna", "other")
    mark = await house.holds.checkout_hold(event, "anna", booking.hold, other)
    if isinstance(mark, Changed):
        outcome = await house.checkout._claim(event, mark, ANNA, house.quoting, other, None)
        await house.checkout._conclude(event, mark, ANNA, other, None, outcome)
    await house.holds.release_hold(event, "anna", booking.hold)
    await house.try_hold(event, 3, holder="ben")
    await pay_and_settle(house, booking)


async def paid_slowly(house: BookingHouse, event: str) -> None:
    """The buyer pays when the mark is old; meanwhile another one wants the seat."""
    booking = await buy(house, event, 3)
    await house.settle_old_marks(event)
    await house.try_hold(event, 3, holder="ben")
    await pay_and_settle(house, booking)


async def claimed_late(house: BookingHouse, event: str) -> None:
    """A worker sleeps between mark and claim for so long that the mark is taken back."""
    claim = house.bookings.claim

    async def sleep_then_claim(new: NewBooking) -> Claimed | NotClaimed | Known:
        await house.settle_old_marks(event)
        return await claim(new)

    house.bookings.claim = sleep_then_claim  # type: ignore[method-assign]
    try:
        booking = await house.buy(event, await house.take(event, 3))
    finally:
        house.bookings.claim = claim  # type: ignore[method-assign]
    if isinstance(booking, Booking):
        await house.pay(booking)
    await settle(house)


async def claimed_in_another_epoch(house: BookingHouse, event: str) -> None:
    """Redis loses everything between mark and claim, and another buyer is granted the seat."""
    claim = house.bookings.claim

    async def lose_then_claim(new: NewBooking) -> Claimed | NotClaimed | Known:
        await house.pipe.call("DEL", (await house.sale(event)).key("book"))
        await house.book.recover(event, wait=True)
        await house.try_hold(event, 3, holder="ben")
        # The claim's time is told in whole milliseconds.
        await asyncio.sleep(0.002)
        return await claim(new)

    house.bookings.claim = lose_then_claim  # type: ignore[method-assign]
    try:
        booking: Booking | Refusal | None = await house.buy(event, await house.take(event, 3))
    except Unavailable:
        booking = None
    finally:
        house.bookings.claim = claim  # type: ignore[method-assign]
    if isinstance(booking, Booking):
        await house.pay(booking)
    await settle(house)


async def more_than_fit(house: BookingHouse, event: str) -> None:
    """Redis forgets the places that are taken, and is put right afterwards."""
    first, sale = await buy(house, event, floor=8), await house.sale(event)
    await house.pipe.call("HSET", sale.key("areas"), "floor/available", 10)
    second = await house.try_book(event, await grant(house, event, floor=8, holder="ben"), holder="ben")
    for booking in (first, second):
        if isinstance(booking, Booking):
            await house.pay(booking)
    await settle(house)
    await house.pipe.call("HDEL", sale.key("book"), "stamp")
    await house.book.recover(event, wait=True)


async def two_book_at_once(house: BookingHouse, event: str) -> None:
    """Their claims wait together, and are one transaction."""
    claim, both_are_here = house.bookings.claim, asyncio.Barrier(2)

    async def wait_then_claim(new: NewBooking) -> Claimed | NotClaimed | Known:
        async with both_are_here:
            return await claim(new)

    holds = {who: await grant(house, event, n, floor=n, holder=who) for n, who in ((2, "anna"), (3, "ben"))}
    house.bookings.claim = wait_then_claim  # type: ignore[method-assign]
    try:
        made = await asyncio.gather(*(house.try_book(event, hold, holder=who) for who, hold in holds.items()))
    finally:
        house.bookings.claim = claim  # type: ignore[method-assign]
    for booking in made:
        assert isinstance(booking, Booking), booking
        await house.pay(booking)
    await settle(house)


async def two_types_in_an_area(house: BookingHouse, event: str) -> None:
    answer = await house.holds.hold_seats(event, "anna", [], [("floor", "adult", 1), ("floor", "child", 2)], key=None)
    await pay_and_settle(house, await house.claimed(event, held(answer).hold))


async def captured_at_once(house: BookingHouse, event: str) -> None:
    """The capture is done as soon as it is decided; two minutes later it would be too late."""
    booking = await buy(house, event, 3)
    await house.pay(booking)
    await house.completer.look_at(booking.id)
    await house.completer.turn()
    await house.double.steering.advance(120)
    await settle(house)


async def heard_late(house: BookingHouse, event: str) -> None:
    """What Stripe said before it was paid for, in an answer that was slow (I18)."""
    booking = await bought(house, event)
    assert booking.intent_id is not None
    await house.bookings.intent_found(booking.id, booking.intent_id, "requires_action")


async def late_free(house: BookingHouse, event: str) -> None:
    """A free of somebody else's booking, told late."""
    booking = await bought(house, event)
    await house.holds.free_booking(event, booking.hold, "b-somebody-elses", "own")


async def late_restore(house: BookingHouse, event: str) -> None:
    """A restore of an earlier checkout of the same hold, told late: the hold of a claim can be given up then."""
    hold = await house.take(event, 3)
    booking = await house.claimed(event, hold)
    await house.holds.restore_hold(event, hold, "b-an-earlier-one")
    await house.holds.release_hold(event, "anna", hold)
    await pay_and_settle(house, booking)


async def never_sold(house: BookingHouse, event: str) -> None:
    await bought(house, event)


# --- Mutations


def script(name: str, old: str, new: str = "") -> Mutate:
    """A copy of a script with a line changed."""

    async def mutate(house: BookingHouse, _: pytest.MonkeyPatch) -> None:
        change_script(house, name, old, new)

    return mutate


def statement(name: str, old: str, new: str) -> Mutate:
    """A copy of a statement with a part changed."""

    async def mutate(_: BookingHouse, monkeypatch: pytest.MonkeyPatch) -> None:
        change_statement(monkeypatch, name, old, new)

    return mutate


def schema(change: str) -> Mutate:
    """This test's database without a guard."""

    async def mutate(house: BookingHouse, _: pytest.MonkeyPatch) -> None:
        await house.pool.execute(change)

    return mutate


def trigger(old: str, new: str = "") -> Mutate:
    """A copy of the trigger of bookings with a part changed."""

    async def mutate(house: BookingHouse, _: pytest.MonkeyPatch) -> None:
        text = await house.pool.fetchval("SELECT pg_get_functiondef('booking_moves'::regproc)")
        assert old in text
        await house.pool.execute(text.replace(old, new))

    return mutate


async def may_change_bookings(house: BookingHouse, _: pytest.MonkeyPatch) -> None:
    """The server's role has no right to what these mutations change."""
    await house.pool.execute("GRANT UPDATE ON booking TO lml_server")


def both(*mutations: Mutate) -> Mutate:
    async def mutate(house: BookingHouse, monkeypatch: pytest.MonkeyPatch) -> None:
        for one in mutations:
            await one(house, monkeypatch)

    return mutate


async def assert_missed(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch, mutate: Mutate, act: Act, rule: str
) -> None:
    """The act breaks the rule without the guard; with everything as it is, it is clean."""
    await act(house, event)
    assert await broken_rules(house, event) == set()
    again = await house.open_event(areas={"floor": 10})
    await house.double.steering.reset()
    house.ops.clear()
    await empty(house.pool)
    await mutate(house, monkeypatch)
    await act(house, again)
    assert rule in await broken_rules(house, again)
