"""Each guard taken away in a copy of the SQL or Lua: the checker turns red, so it would see the guard fail.

No switch for this exists in the product: a test changes its own database, its own statements, its own scripts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any

import pytest
from booking_fixtures import empty, event_fixture, house_fixture  # noqa: F401
from booking_house import ANNA, BookingHouse
from checker import check
from inventory_house import change_script, held, refused

from lml_live.booking import bookings, claims, outbox
from lml_live.booking.bookings import Booking
from lml_live.booking.claims import Claimed, Known, NewBooking, NotClaimed
from lml_live.errors import Unavailable
from lml_live.inventory.answers import Changed, Refusal


@pytest.fixture(name="booking_dsn")
def own_booking_dsn(postgres_dsn: str) -> str:
    """A database of one's own: its schema is changed here."""
    return postgres_dsn


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
    await trigger(FITS, "IF false THEN")(house, monkeypatch)
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
    await house.pool.execute("INSERT INTO payment_fit VALUES ('confirmed', 'canceled')")
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
        await house.checkout._claim(event, "anna", mark, ANNA, house.quote, other, None)
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


SEAT_TEST = "if #taken > 0 then"
OWNER = " or record[BOOKING] ~= ARGV[4]"
LEGAL = "IF NOT EXISTS (SELECT FROM booking_move WHERE from_state = OLD.state AND to_state = NEW.state) THEN"
FITS = "IF NOT EXISTS (SELECT FROM payment_fit WHERE booking_state = NEW.state AND payment_state = paid) THEN"
REVIVED_PAYMENT = "IF paid IS NULL THEN INSERT INTO payment (booking_id) VALUES (NEW.id); END IF; IF false THEN"
HISTORY = (
    "INSERT INTO booking_history (booking_id, event_id, from_state, to_state, actor_kind, actor_id, reason, origin)\n"
    "    VALUES (NEW.id, NEW.event_id, OLD.state, NEW.state,\n"
    "            coalesce(nullif(current_setting('lml.actor_kind', true), ''), 'system'),\n"
    "            nullif(current_setting('lml.actor_id', true), ''), coalesce(paid, NEW.tender),\n"
    "            nullif(current_setting('lml.origin', true), ''));\n"
)
NO_CONFLICT = "ON CONFLICT (id) DO NOTHING"
REVIVED = (
    "ON CONFLICT (id) DO UPDATE SET state = 'pending_payment', buyer_name = excluded.buyer_name, buyer_email ="
    " excluded.buyer_email, amount = excluded.amount, currency = excluded.currency,"
    " prices_version = excluded.prices_version, expires_at = now() + interval '1 hour'"
)
DUE_LATER = "CASE WHEN $3 = 'capture_intent' THEN now() + interval '1 hour' ELSE now() END"

# what is taken away · how · the acts that need it · the rule that is broken then
MUTATIONS: list[tuple[str, Mutate, Act, str]] = [
    ("the seat test of a hold", script("hold_seats", SEAT_TEST, "if false then"), two_want_one_seat, "I3"),
    (
        "the seat test of a hold that is decided with others",
        script("hold_together", SEAT_TEST, "if false then"),
        two_want_one_seat_at_once,
        "I3",
    ),
    (
        "a checkout keeps its hold from being given back",
        script("release_hold", "if record[STATE] == 'checkout' then return nil, {'in_checkout'} end"),
        given_back_in_checkout,
        "I3",
    ),
    (
        "a hold has one checkout",
        script("checkout_hold", "  return {'in_checkout', record[BOOKING]}\n"),
        two_checkouts_of_a_hold,
        "I3",
    ),
    (
        "the sweep spares marks",
        script("expire_holds", "record[STATE] == 'active'", "record[STATE] ~= 'gone' and record[STATE] ~= 'sold'"),
        paid_slowly,
        "I3",
    ),
    (
        "a grant says so",
        script("hold_seats", "return 'held' .. times .. ending", "return {'taken', act[17]}"),
        one_hold,
        "I4",
    ),
    ("all seats are claimed", statement("claim", "ORDER BY seat_id", "ORDER BY seat_id LIMIT 1"), plain, "I4"),
    (
        "all types of an area are sold",
        statement("sell_areas", "AND state = 'claimed'", "AND state = 'claimed' AND type = 'adult'"),
        two_types_in_an_area,
        "I4",
    ),
    (
        "the counter of an area is checked",
        schema("ALTER TABLE event_area DROP CONSTRAINT area_is_never_oversold"),
        more_than_fit,
        "I5",
    ),
    (
        "the places of all that are claimed together are counted",
        statement("take_places", "sum(quantity)", "max(quantity)"),
        two_book_at_once,
        "I5",
    ),
    (
        "the seats of all that are claimed together are",
        statement("claim", "FROM quoted WHERE", "FROM quoted WHERE id = (SELECT max(id) FROM claimed) AND"),
        two_book_at_once,
        "I4",
    ),
    (
        "the fence of a claim",
        statement("claim", "SELECT epoch, state FROM event", "SELECT 1::bigint AS epoch, state FROM event"),
        claimed_in_another_epoch,
        "I2",
    ),
    (
        "a capture is due at once",
        statement(
            "write_work", "act, key) VALUES ($1, $2, $3, $4)", f"act, key, due) VALUES ($1, $2, $3, $4, {DUE_LATER})"
        ),
        captured_at_once,
        "I12",
    ),
    (
        "a refused checkout never becomes a claim",
        both(
            may_change_bookings,
            statement("claim", NO_CONFLICT, REVIVED),
            trigger(LEGAL, "IF false THEN"),
            trigger(FITS, REVIVED_PAYMENT),
        ),
        claimed_late,
        "I19",
    ),
    ("every move is written down", trigger(HISTORY), plain, "I19"),
    (
        "one key names one request",
        script("hold_seats", "if marker[2] ~= request_hash then return {'mismatch'} end"),
        one_key_for_two_holds,
        "I24",
    ),
    (
        "a claim is not refused afterwards",
        both(
            may_change_bookings,
            trigger(FITS, "IF false THEN"),
            schema("ALTER TABLE booking DROP CONSTRAINT booking_is_whole"),
            schema("DROP TRIGGER ended_has_no_places ON booking"),
            statement(
                "insert_refused", NO_CONFLICT, "ON CONFLICT (id) DO UPDATE SET state = 'failed', buyer_name = NULL"
            ),
        ),
        paid_slowly,
        "I25",
    ),
    ("a free is its booking's", script("free_booking", f"{OWNER} or ", " or "), late_free, "I7"),
    ("a restore is its booking's", script("restore_hold", OWNER), late_restore, "I7"),
    (
        "a sale is shown",
        script("sell_hold", "set_seats(KEYS[1], runs_of(record[SEATS], 2), SOLD, changed_seats)"),
        never_sold,
        "I7",
    ),
]


@pytest.mark.parametrize(("mutate", "act", "rule"), [row[1:] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS])
async def test_a_guard_that_is_taken_away_is_missed(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch, mutate: Mutate, act: Act, rule: str
) -> None:
    """The same acts with everything as it is are clean: the checker does not cry at the acts themselves."""
    await act(house, event)
    assert await broken_rules(house, event) == set()
    again = await house.open_event(areas={"floor": 10})
    await house.double.steering.reset()
    house.ops.clear()
    await empty(house.pool)
    await mutate(house, monkeypatch)
    await act(house, again)
    assert rule in await broken_rules(house, again)
