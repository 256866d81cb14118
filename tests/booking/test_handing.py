"""A hand-over meets a checkout, a death and a lost Redis, and ends the same: booking and hold are the account's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from booking_fixtures import booking_dsn_fixture, event_fixture, house_fixture, inventory_dsn_fixture  # noqa: F401
from booking_house import BookingHouse
from databases import locks_waited_for
from inventory_house import held
from waiting import eventually

from lml_live import limits
from lml_live.booking.bookings import Booking
from lml_live.booking.checkout import Buyer
from lml_live.booking.handing import Handed, Handing
from lml_live.errors import Unavailable
from lml_live.inventory import book
from lml_live.inventory.handing import HandedOver, HandOvers
from lml_live.inventory.records import KEY_NAMES
from lml_live.inventory.recovery import Overlay
from lml_live.inventory.rows import load_overlay

ACCOUNT = "h-account"


class Away(HandOvers):
    """Redis does not answer once the bookings are moved; or the worker dies there, which leaves the same behind."""

    async def hand_over(self, event: str, holder: str, to: str, bookings: Sequence[str]) -> HandedOver:
        raise Unavailable("Redis is away.")


@pytest.fixture
async def handing(house: BookingHouse, event: str) -> AsyncIterator[Handing]:
    # What Anna holds in the events of other tests is not looked at.
    await house.pool.execute("UPDATE event SET starts_at = now() - interval '2 days' WHERE id <> $1", event)
    await house.pool.execute(
        "INSERT INTO account (id, email, password_hash, holder) VALUES ('a-1', 'anna@example.org', '', $1)", ACCOUNT
    )
    yield Handing(house.pool, HandOvers(house.book))
    await house.pool.execute("DELETE FROM account")


async def owners(house: BookingHouse, event: str, hold: str) -> tuple[str | None, str]:
    """Whose the booking is, and whose the hold."""
    booking = await house.pool.fetchval("SELECT holder FROM booking WHERE hold_id = $1", hold)
    return booking, (await house.records(event))[hold].holder


async def go_on(house: BookingHouse, handing: Handing) -> None:
    """What the leader does once it is due."""
    await house.pool.execute("UPDATE hand_over SET due = now() WHERE done IS NULL")
    assert await handing.turn() == 1


async def test_a_checkout_under_way_is_followed_once_it_is_claimed(
    house: BookingHouse, event: str, handing: Handing
) -> None:
    """Between mark and claim nothing moves: the claim's holder is the record's. Then both do."""
    hold = await house.take(event, 1)
    booking = house.checkout.booking_id("anna", "k")
    held(await house.holds.checkout_hold(event, "anna", hold, booking))
    assert await handing.begin("anna", ACCOUNT) == Handed((), {hold: "hold_in_checkout"}, (), complete=False)
    made = await house.checkout.book(
        event, "anna", hold, Buyer("Anna", "anna@example.org"), house.quoting, key="k", expected_amount=None
    )
    assert isinstance(made, Booking), made
    assert await owners(house, event, hold) == ("anna", "anna")
    await go_on(house, handing)
    assert await owners(house, event, hold) == (ACCOUNT, ACCOUNT)
    assert await handing.turn() == 0
    await house.pay(made)
    await house.completer.look_at(made.id)
    await house.rest()
    assert (await house.records(event))[hold].state == "sold"
    await house.audit(event)


@pytest.mark.parametrize("lost", [False, True])
async def test_who_dies_between_postgresql_and_redis_is_followed_by_another(
    house: BookingHouse, event: str, handing: Handing, lost: bool
) -> None:
    """The booking is the account's at once, and its hold and the others within a round; so too by adopt."""
    paid, free = await house.take(event, 1), await house.take(event, 2)
    await house.claimed(event, paid)
    handed = await Handing(house.pool, Away(house.book)).begin("anna", ACCOUNT)
    assert (len(handed.bookings), handed.holds, handed.complete) == (1, (), False)
    assert await owners(house, event, paid) == (ACCOUNT, "anna")
    if lost:
        sale = await house.book.sale(event)
        await house.book.pipe_of(sale).call("UNLINK", *map(sale.key, KEY_NAMES))
        await house.book.recover(event, wait=True)
        await house.remember_start(event)
        assert await owners(house, event, paid) == (ACCOUNT, ACCOUNT)
    await go_on(house, handing)
    assert await owners(house, event, paid) == (ACCOUNT, ACCOUNT)
    if not lost:
        assert (await house.records(event))[free].holder == ACCOUNT
    assert await house.pool.fetchval("SELECT done IS NOT NULL FROM hand_over")
    await house.audit(event)


async def test_who_is_done_first_ends_nobody_elses_round(house: BookingHouse, event: str, handing: Handing) -> None:
    """Signed in twice at once: the one said that both were done, and what the other found was nobody's to do."""

    class SignsInAgain(HandOvers):
        async def find(self, holder: str, events: Sequence[tuple[str, str]]) -> list[str]:
            await Handing(house.pool, Away(house.book)).begin(holder, ACCOUNT)
            return await super().find(holder, events)

    await house.take(event, 1)
    assert (await Handing(house.pool, SignsInAgain(house.book)).begin("anna", ACCOUNT)).complete
    hold = await house.take(event, 2)
    await house.claimed(event, hold)
    await go_on(house, handing)
    assert await owners(house, event, hold) == (ACCOUNT, ACCOUNT)


async def test_an_adopt_that_read_the_bookings_before_is_waited_for(
    house: BookingHouse, event: str, handing: Handing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is empty, so nothing was found in it: the adopt wrote the booking's hold for the old holder, for good."""
    hold = await house.take(event, 1)
    await house.claimed(event, hold)
    begun: list[asyncio.Task[Handed]] = []

    async def waits_or_ended() -> bool:
        return begun[0].done() or await locks_waited_for(house.pool, 7202) > 0

    async def load(*about: Any) -> Overlay:
        overlay = await load_overlay(*about)
        begun.append(asyncio.create_task(handing.begin("anna", ACCOUNT)))
        await eventually(waits_or_ended)
        return overlay

    monkeypatch.setattr(book, "load_overlay", load)
    sale = await house.book.sale(event)
    await house.book.pipe_of(sale).call("UNLINK", *map(sale.key, KEY_NAMES))
    await house.book.recover(event, wait=True)
    if not (await begun[0]).complete:
        await go_on(house, handing)
    assert await owners(house, event, hold) == (ACCOUNT, ACCOUNT)


async def test_what_never_works_is_given_up(house: BookingHouse, event: str, handing: Handing) -> None:
    hold = await house.take(event, 1)
    away = Handing(house.pool, Away(house.book))
    await away.begin("anna", ACCOUNT)
    await house.pool.execute(
        "UPDATE hand_over SET created = now() - make_interval(secs => $1)", limits.HAND_OVER_SECONDS_MAX + 1
    )
    await go_on(house, away)
    assert await handing.turn() == 0
    assert (await house.records(event))[hold].holder == "anna"


async def test_one_that_cannot_be_done_keeps_no_other(house: BookingHouse, event: str, handing: Handing) -> None:
    """A defect in one ended the whole turn: what was due behind it waited for ever, and it was never given up."""

    class Defective(HandOvers):
        async def hand_over(self, event: str, holder: str, to: str, bookings: Sequence[str]) -> HandedOver:
            if holder == "anna":
                raise RuntimeError("a defect")
            return await super().hand_over(event, holder, to, bookings)

    await house.take(event, 1)
    bens = held(await house.holds.hold_seats(event, "ben", [(2, "adult")], [], key=None)).hold
    add = (
        "INSERT INTO hand_over (from_holder, to_holder, due, created) VALUES ($1, $2, now() - $3::interval, now() - $3)"
    )
    for holder, age in (("anna", timedelta(days=1)), ("ben", timedelta(seconds=1))):
        await house.pool.execute(add, holder, ACCOUNT, age)
    assert await Handing(house.pool, Defective(house.book)).turn() == 2
    assert (await house.records(event))[bens].holder == ACCOUNT
    assert await house.pool.fetchval("SELECT count(*) FROM hand_over WHERE done IS NULL") == 0


async def test_those_that_ended_long_ago_are_forgotten_some_at_a_time(
    house: BookingHouse, handing: Handing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were kept for ever. One that nobody has ended is as old, and stays."""
    monkeypatch.setattr(limits, "HAND_OVERS_DROPPED_AT_ONCE", 2)
    kept = limits.HAND_OVER_KEPT_SECONDS
    for number, ended in enumerate((kept - 60, kept + 60, kept + 61, kept + 62, None)):
        await house.pool.execute(
            "INSERT INTO hand_over (from_holder, to_holder, created, done)"
            " VALUES ($1, $2, now() - interval '1 year', now() - make_interval(secs => $3))",
            *(f"h-{number}", ACCOUNT, ended),
        )
    left = []
    for _ in range(3):
        await handing.forget()
        left.append([row["from_holder"] for row in await house.pool.fetch("SELECT * FROM hand_over ORDER BY id")])
    assert left == [["h-0", "h-1", "h-4"], ["h-0", "h-4"], ["h-0", "h-4"]]


async def test_an_account_may_have_very_many_bookings(house: BookingHouse, event: str, handing: Handing) -> None:
    """More than Lua unpacks at once: the script failed, and nothing was handed over."""
    hold = await house.take(event, 1)
    bookings = [f"b-{n}" for n in range(20_000)]
    assert await HandOvers(house.book).hand_over(event, "anna", ACCOUNT, bookings) == HandedOver((hold,), {})
