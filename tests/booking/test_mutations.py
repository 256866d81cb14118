"""Each guard taken away in a copy of the SQL or Lua: the checker turns red, so it would see the guard fail.

No switch for this exists in the product: a test changes its own database, its own statements, its own scripts.
"""

import hashlib
from collections.abc import Awaitable, Callable
from types import MappingProxyType

import pytest
from booking_fixtures import event_fixture, house_fixture  # noqa: F401
from booking_house import BookingHouse, read_run
from checker import check
from inventory_house import SCRIPTS, refused, seat_directory

from lml_live.booking import bookings
from lml_live.booking.bookings import Booking
from lml_live.infra.redis import Script


@pytest.fixture(name="booking_dsn")
def own_booking_dsn(postgres_dsn: str) -> str:
    """A database of one's own: its schema is changed here."""
    return postgres_dsn


async def broken_rules(house: BookingHouse, event: str) -> set[str]:
    index_of = await seat_directory(await house.sale(event))
    run = await read_run(house, event, await house.double.steering.ledger(), index_of)
    return {violation.rule for violation in check(run)}


def change_statement(monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    """A copy of the booking's statements with one of them changed."""
    statements = dict(bookings._SQL)
    assert old in statements[name]
    statements[name] = statements[name].replace(old, new)
    monkeypatch.setattr(bookings, "_SQL", MappingProxyType(statements))


def change_script(house: BookingHouse, name: str, old: str, new: str) -> None:
    """A copy of a script with a line changed, for this house alone. Redis knows it by another name."""
    script = SCRIPTS[name]
    assert old in script.text
    text = script.text.replace(old, new)
    house.pipe._scripts = {**SCRIPTS, name: Script(name, text, _sha(text))}


def _sha(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


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


async def test_without_the_index_a_seat_is_sold_twice_and_seen(house: BookingHouse, event: str) -> None:
    await house.pool.execute("DROP INDEX one_sale_per_seat")
    await buy_one_seat_twice(house, event)
    assert "I1" in await broken_rules(house, event)


async def test_with_the_index_redis_may_forget_what_it_likes(house: BookingHouse, event: str) -> None:
    first = await house.claimed(event, await house.take(event, 3))
    await free_behind_its_back(house, event, 3)
    hold = await house.take(event, 3, holder="ben")
    refused(await house.buy(event, hold, holder="ben"), "seat_taken")
    await house.pay(first)
    await house.rest()
    await house.rest()
    assert not await broken_rules(house, event) & {"I1", "I10", "I11", "I13"}


async def test_a_release_before_the_cancel_is_seen(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3 off: whatever was sent is struck, and the seats go at once; then the buyer pays."""
    change_statement(monkeypatch, "strike_create", "AND done IS NULL AND tries = 0", "")
    await house.pool.execute("ALTER TABLE outbox DROP CONSTRAINT struck_is_unsent")
    booking = await house.claimed(event, await house.take(event, 3))
    assert await house.bookings.give_up(booking.id, "cancelling") == "cancelled"
    assert await house.pay(booking) == "requires_capture"
    await house.rest()
    assert {"I10", "I11"} <= await broken_rules(house, event)


async def test_a_sale_that_leaves_its_seats_claimed_is_seen(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_statement(monkeypatch, "sell_seats", "AND state = 'claimed'", "AND state = 'sold'")
    await bought(house, event)
    assert {"I2", "I7"} & await broken_rules(house, event)


async def test_places_that_are_never_given_back_are_seen(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_statement(monkeypatch, "give_places_back", "taken - sums.quantity", "taken")
    await house.checkout.cancel(await house.claimed(event, await house.take(event, 3, floor=2)))
    await house.rest()
    assert "I5" in await broken_rules(house, event)


async def test_an_illegal_move_is_seen(house: BookingHouse, event: str) -> None:
    await house.pool.execute("INSERT INTO booking_move VALUES ('cancelled', 'confirmed')")
    booking = await house.claimed(event, await house.take(event, 3))
    assert (await house.checkout.cancel(booking)).state == "cancelled"
    await house.pool.execute("UPDATE booking SET state = 'confirmed' WHERE id = $1", booking.id)
    assert {"I19", "I11"} <= await broken_rules(house, event)


async def bought(house: BookingHouse, event: str) -> Booking:
    booking = await house.claimed(event, await house.take(event, 3))
    await house.pay(booking)
    await house.rest()
    await house.rest()
    return booking


OWNER = " or record[BOOKING] ~= ARGV[4]"


async def late_free(house: BookingHouse, event: str) -> None:
    """A free of somebody else's booking, told late."""
    booking = await bought(house, event)
    await house.holds.free_booking(event, booking.hold, "b-somebody-elses", "own")


async def late_restore(house: BookingHouse, event: str) -> None:
    """A restore of an earlier checkout of the same hold, told late: the hold of a claim can be given up then."""
    hold = await house.take(event, 3)
    await house.claimed(event, hold)
    await house.holds.restore_hold(event, hold, "b-an-earlier-one")
    await house.holds.release_hold(event, "anna", hold)
    await house.pay((await house.bookings.of_holder("anna", after=None, limit=1))[0])
    await house.rest()
    await house.rest()


async def never_sold(house: BookingHouse, event: str) -> None:
    await bought(house, event)


LUA: list[tuple[str, str, str, Callable[[BookingHouse, str], Awaitable[None]], str]] = [
    ("free_booking", " or record[BOOKING] ~= ARGV[4] or ", " or ", late_free, "I7"),
    ("restore_hold", OWNER, "", late_restore, "I7"),
    ("sell_hold", "set_seats(KEYS[1], runs_of(record[SEATS], 2), SOLD, changed_seats)", "", never_sold, "I7"),
]


@pytest.mark.parametrize(("script", "old", "new", "act", "rule"), LUA, ids=[row[0] for row in LUA])
async def test_a_line_cut_from_a_script_is_seen(
    house: BookingHouse,
    event: str,
    script: str,
    old: str,
    new: str,
    act: Callable[[BookingHouse, str], Awaitable[None]],
    rule: str,
) -> None:
    """The same acts with the script as it is are clean: the checker does not cry at the acts themselves."""
    await act(house, event)
    assert await broken_rules(house, event) == set()
    again = await house.open_event(areas={"floor": 10})
    await house.double.steering.reset()
    change_script(house, script, old, new)
    for table in ("outbox", "booking_history", "booking_line", "booking_seat", "booking_area", "booking"):
        await house.pool.execute(f"DELETE FROM {table}")
    await act(house, again)
    assert rule in await broken_rules(house, again)
