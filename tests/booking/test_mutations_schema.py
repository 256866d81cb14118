"""Guards of the database taken away in a database of one's own: the checker turns red, so it would see them fail."""

import pytest
from booking_fixtures import event_fixture, house_fixture  # noqa: F401
from booking_house import BookingHouse
from mutation_house import (
    Act,
    Mutate,
    assert_missed,
    both,
    broken_rules,
    buy_one_seat_twice,
    change_statement,
    claimed_late,
    heard_late,
    may_change_bookings,
    more_than_fit,
    paid_slowly,
    plain,
    schema,
    statement,
    trigger,
)
from payout_house import organised, their_event


@pytest.fixture(name="booking_dsn")
def own_booking_dsn(postgres_dsn: str) -> str:
    """A database of one's own: its schema is changed here."""
    return postgres_dsn


async def test_without_the_index_a_seat_is_sold_twice_and_seen(house: BookingHouse, event: str) -> None:
    await house.pool.execute("DROP INDEX one_sale_per_seat")
    await buy_one_seat_twice(house, event)
    assert "I1" in await broken_rules(house, event)


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


async def test_a_sale_that_waits_for_no_payout_is_seen(house: BookingHouse) -> None:
    event = await their_event(house, await organised(house))
    await house.pool.execute("DROP TRIGGER transfer_awaits ON booking")
    await plain(house, event)
    assert "I16, as due" in await broken_rules(house, event)


async def test_an_illegal_move_is_seen(house: BookingHouse, event: str) -> None:
    await house.pool.execute("INSERT INTO booking_move VALUES ('cancelled', 'confirmed')")
    await house.pool.execute("INSERT INTO payment_fit VALUES ('confirmed', 'canceled')")
    booking = await house.claimed(event, await house.take(event, 3))
    assert (await house.checkout.cancel(booking)).state == "cancelled"
    await house.pool.execute("UPDATE booking SET state = 'confirmed' WHERE id = $1", booking.id)
    assert {"I19", "I11"} <= await broken_rules(house, event)


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

# what is taken away · how · the acts that need it · the rule that is broken then
MUTATIONS: list[tuple[str, Mutate, Act, str]] = [
    (
        "the counter of an area is checked",
        schema("ALTER TABLE event_area DROP CONSTRAINT area_is_never_oversold"),
        more_than_fit,
        "I5",
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
        "every seat that is sold is on record",
        schema("DROP TRIGGER booking_seats_sold_or_freed ON booking_seat"),
        plain,
        "I26",
    ),
    (
        "every place that is sold is on record",
        schema("DROP TRIGGER booking_areas_sold_or_freed ON booking_area"),
        plain,
        "I26",
    ),
    (
        "what Stripe says of a payment is kept",
        both(
            trigger(FITS, "IF false THEN"),
            statement("note_payment", "SET state = $3", "SET state = coalesce(state, $3)"),
        ),
        plain,
        "I13, payments",
    ),
    (
        "old news of a payment changes nothing",
        both(
            schema("DROP TRIGGER payment_moves ON payment"),
            statement("note_payment", "AND state = ANY ($4::text[])", "AND (true OR state = ANY ($4::text[]))"),
        ),
        heard_late,
        "I13, payments",
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
]


@pytest.mark.parametrize(("mutate", "act", "rule"), [row[1:] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS])
async def test_a_guard_of_the_database_that_is_taken_away_is_missed(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch, mutate: Mutate, act: Act, rule: str
) -> None:
    await assert_missed(house, event, monkeypatch, mutate, act, rule)
