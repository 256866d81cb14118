"""The states of a payment: one table in Python and PostgreSQL; bookings move with their payments only; every attempt is
on record."""

import itertools
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import asyncpg
import pytest
from booking_fixtures import booking_dsn_fixture, event_fixture, house_fixture, inventory_dsn_fixture  # noqa: F401
from booking_house import BookingHouse
from mail_house import BOOKING, EVENT

from lml_live.booking import payment_states
from lml_live.booking.bookings import Booking
from lml_live.booking.payment_states import PAYMENT_FITS, PAYMENT_MOVES, PAYMENT_STATES, UNDECIDED, may_follow
from lml_live.booking.states import MOVES, STATES, IntentStatus, next_state
from lml_live.devstack.stripe.faults import FaultKind, Operation
from lml_live.infra import postgres
from lml_live.infra.assets import asset_dir


@pytest.fixture
async def owner(postgres_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Of a database with one event, whose guards can be passed."""
    connected = await asyncpg.connect(postgres_dsn)
    await connected.execute(
        "INSERT INTO event (id, group_id, name, venue, starts_at, on_sale_at, state, currency, layout_id,"
        " layout_version, layout_hash, seat_count, max_seats, hold_seconds, extensions, lifetime_seconds)"
        " VALUES ('aida', 'aida', 'Aida', 'Hall', now(), now(), 'open', 'EUR', 'hall', 1, '0', 1, 1, 1, 0, 1)"
    )
    yield connected
    await connected.close()


def test_the_diagram_in_the_documents_is_the_table() -> None:
    told = (Path(__file__).parents[2] / "docs" / "bookings.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{payment_states.draw()}```" in told


def test_the_table_has_all_of_stripes_words_and_ends_where_stripe_ends() -> None:
    assert set(PAYMENT_MOVES) == PAYMENT_STATES == {*get_args(IntentStatus), "preparing", "abandoned"}
    assert {state for state in PAYMENT_STATES if not PAYMENT_MOVES[state]} == {"canceled", "succeeded", "abandoned"}
    assert all("requires_capture" in PAYMENT_MOVES[state] for state in UNDECIDED)


@pytest.mark.parametrize("status", get_args(IntentStatus))
def test_what_stripe_says_moves_the_booking_where_its_payment_fits(status: IntentStatus) -> None:
    assert status in may_follow(status)
    assert {state for state in PAYMENT_STATES if status in PAYMENT_MOVES[state]} == may_follow(status) - {status}
    for state in STATES:
        if (to := next_state(state, status)) is not None:
            assert status in PAYMENT_FITS[to]


async def test_the_tables_in_postgresql_are_the_tables_in_python(
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    for table, told in (("payment_move", PAYMENT_MOVES), ("payment_fit", PAYMENT_FITS)):
        rows = {tuple(row) for row in await owner.fetch(f"SELECT * FROM {table}")}
        assert rows == {(one, other) for one, others in told.items() for other in others}, table


async def test_the_trigger_refuses_every_illegal_move(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    await owner.execute(BOOKING, "b", "Anna", "anna@example.org")
    assert await owner.fetchval("SELECT state FROM payment WHERE booking_id = 'b'") == "preparing"
    for before, after in itertools.product(get_args(payment_states.PaymentState), repeat=2):
        move = owner.transaction()
        await move.start()
        await owner.execute("SET LOCAL session_replication_role = replica")
        intent = None if before in ("preparing", "abandoned") else "pi_1"
        await owner.execute("UPDATE payment SET state = $1, intent_id = $2", before, intent)
        await owner.execute("SET LOCAL session_replication_role = origin")
        intent = None if after in ("preparing", "abandoned") else "pi_1"
        try:
            await owner.execute("UPDATE payment SET state = $1, intent_id = $2", after, intent)
            refused = None
        except asyncpg.CheckViolationError as error:
            refused = error.constraint_name
        legal = before == after or after in PAYMENT_MOVES[before]
        assert refused == (None if legal else "payment_moves_legally"), (before, after)
        await move.rollback()


async def test_a_booking_moves_only_where_its_payment_is(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Sold without money, or released before Stripe has said that it can never be charged: PostgreSQL refuses both."""
    await owner.execute(BOOKING, "b", "Anna", "anna@example.org")
    for before in MOVES:
        for after, paid in itertools.product(MOVES[before], PAYMENT_STATES):
            move = owner.transaction()
            await move.start()
            await owner.execute("SET LOCAL session_replication_role = replica")
            await owner.execute("UPDATE booking SET state = $1", before)
            intent = None if paid in ("preparing", "abandoned") else "pi_1"
            await owner.execute("UPDATE payment SET state = $1, intent_id = $2", paid, intent)
            await owner.execute("SET LOCAL session_replication_role = origin")
            try:
                await owner.execute("UPDATE booking SET state = $1", after)
                refused = None
            except asyncpg.CheckViolationError as error:
                refused = error.constraint_name
            fits = paid in PAYMENT_FITS[after]
            assert refused == (None if fits else "booking_fits_its_payment"), (before, after, paid)
            await move.rollback()


async def test_old_news_of_an_intent_changes_nothing(house: BookingHouse, event: str) -> None:
    booking = await house.claimed(event, await house.take(event, 3))
    assert booking.intent_id is not None
    await house.pay(booking)
    await house.rest()
    await house.rest()
    for status in get_args(IntentStatus):
        assert await house.bookings.intent_found(booking.id, booking.intent_id, status) == "confirmed"
        assert await house.bookings.intent_found(booking.id, "pi_another", status) == "confirmed"
    paid = await house.pool.fetchval("SELECT state FROM payment WHERE booking_id = $1", booking.id)
    assert paid == "succeeded"
    await house.assert_right(event)


async def test_an_intent_that_is_found_paid_sells_at_once(house: BookingHouse, event: str) -> None:
    """Where the create's answer was lost for long: what is found may have gone on."""
    hold = await house.take(event, 3)
    await house.double.steering.fault("create", "timeout_before")
    booking = await house.buy(event, hold)
    assert isinstance(booking, Booking)
    assert await house.bookings.intent_made(booking.id, "pi_late", "secret", "requires_capture")
    assert await house.state(booking) == "authorized"


# --- Attempts

# which call at Stripe fails, and how, twice · the attempts of a purchase: act, outcome, tries
ATTEMPTS: list[tuple[Operation | None, FaultKind, list[tuple[str, str, int]]]] = [
    (None, "error_500", [("create_intent", "done", 1), ("capture_intent", "done", 1)]),
    ("create", "timeout_after", [("create_intent", "done", 3), ("capture_intent", "done", 1)]),
    (
        "create",
        "error_500",
        [
            ("create_intent", "worn", 1),
            ("create_intent", "worn", 1),
            ("create_intent", "done", 1),
            ("capture_intent", "done", 1),
        ],
    ),
    ("capture", "timeout_after", [("create_intent", "done", 1), ("capture_intent", "found", 2)]),
    ("capture", "rate_limit", [("create_intent", "done", 1), ("capture_intent", "done", 3)]),
]


@pytest.mark.parametrize(("operation", "kind", "expected"), ATTEMPTS)
async def test_every_attempt_is_on_record(
    house: BookingHouse,
    event: str,
    operation: Operation | None,
    kind: FaultKind,
    expected: list[tuple[str, str, int]],
) -> None:
    if operation is not None:
        await house.double.steering.fault(operation, kind, count=2)
    hold = await house.take(event, 3)
    await house.buy(event, hold)
    await house.rest()
    booking = await house.claimed(event, hold)
    await house.pay(booking)
    await house.rest()
    await house.rest()
    assert await house.state(booking) == "confirmed"
    rows = await house.pool.fetch("SELECT * FROM payment_attempt WHERE booking_id = $1 ORDER BY begun", booking.id)
    assert [(row["act"], row["outcome"], row["tries"]) for row in rows] == expected
    assert all((row["fault"] is not None) == (row["outcome"] == "worn") for row in rows)


async def test_an_attempt_is_on_record_before_it_is_sent_and_ends_once(house: BookingHouse, event: str) -> None:
    hold = await house.take(event, 3)
    await house.double.steering.fault("create", "timeout_before")
    booking = await house.buy(event, hold)
    assert isinstance(booking, Booking)
    [row] = await house.pool.fetch("SELECT * FROM payment_attempt")
    assert (row["outcome"], row["ended"], row["fault"]) == (None, None, "Stripe did not answer.")
    await house.pass_time()
    [leased] = await house.bookings.lease_creates(1, 30)
    work = await house.bookings.begin_create(leased, 30)
    assert work is not None
    assert work.stripe_key == row["key"]
    await house.bookings.finish_work(work, "refused")
    await house.bookings.postpone_attempt(work, 1, "late", worn=True)  # by one who was slow
    await house.bookings.finish_work(work, "done")
    [row] = await house.pool.fetch("SELECT * FROM payment_attempt")
    assert (row["outcome"], row["tries"], row["fault"]) == ("refused", 2, None)
    for change in ("outcome = 'done'", "tries = 9", "outcome = NULL, ended = NULL"):
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await house.pool.execute(f"UPDATE payment_attempt SET {change}")
        assert refused.value.constraint_name == "attempt_stays"


async def test_a_create_that_is_refused_late_ends_no_booking_that_has_an_intent(
    house: BookingHouse, event: str
) -> None:
    """Two workers at one create: the second one's refusal ended the booking, whose intent could still be paid."""
    booking = await house.claimed(event, await house.take(event, 3))
    await house.bookings.create_refused(booking.id)
    assert await house.state(booking) == "pending_payment"
    await house.pay(booking)
    await house.rest()
    await house.rest()
    await house.assert_right(event)


async def test_a_claim_without_a_price_has_no_payment(house: BookingHouse, event: str) -> None:
    house.price = 0
    booking = await house.buy(event, await house.take(event, 3))
    assert isinstance(booking, Booking)
    assert booking.state == "confirmed"
    async with postgres.connection(house.pool) as connected:
        assert await connected.fetchval("SELECT count(*) FROM payment WHERE booking_id = $1", booking.id) == 0


# --- What was there before

# a booking of before: its state, whether it had an intent, what was known of it · its payment
OF_BEFORE = [
    ("pending_payment", False, None, "preparing"),
    ("pending_payment", True, "requires_action", "requires_action"),
    ("cancelling", True, "requires_payment_method", "requires_payment_method"),
    ("expiring", False, None, "preparing"),
    ("authorized", True, "requires_capture", "requires_capture"),
    ("confirmed", True, "succeeded", "succeeded"),
    ("partially_refunded", True, "succeeded", "succeeded"),
    ("charged_back", True, "succeeded", "succeeded"),
    ("cancelled", True, "canceled", "canceled"),
    ("expired", False, None, "abandoned"),
    ("failed", False, None, "abandoned"),
    ("failed", True, "canceled", "canceled"),
]


async def test_bookings_of_before_get_their_payments(postgres_server: str) -> None:
    base, name = postgres_server.rsplit("/", 1)[0], f"before_{secrets.token_hex(6)}"
    server = await asyncpg.connect(f"{base}/postgres")
    await server.execute(f"CREATE DATABASE {name}")
    connected = await asyncpg.connect(f"{base}/{name}")
    try:
        paths = sorted(asset_dir("sql").joinpath("migrations").glob("*.sql"))
        texts = {path.stem: path.read_text(encoding="utf-8") for path in paths}
        for stem, text in texts.items():
            if stem < "019":
                await connected.execute(text)
        await connected.execute(EVENT)
        for number, (state, has_intent, status, _) in enumerate(OF_BEFORE):
            booking, intent = f"b-{number:02}", f"pi_{number}" if has_intent else None
            await connected.execute(BOOKING, booking, "Anna", "anna@example.org")
            await connected.execute("SET session_replication_role = replica")
            await connected.execute(
                "UPDATE booking SET state = $2, intent_id = $3, client_secret = $3, intent_status = $4 WHERE id = $1",
                *(booking, state, intent, status),
            )
            await connected.execute("SET session_replication_role = origin")
        await connected.execute(BOOKING.replace("4750", "0"), "free", "Anna", "anna@example.org")
        await connected.execute(texts["019_payments"])
        rows = await connected.fetch("SELECT * FROM payment ORDER BY booking_id")
        assert [row["state"] for row in rows] == [state for *_, state in OF_BEFORE]
        assert [row["intent_id"] is not None for row in rows] == [has_intent for _, has_intent, *_ in OF_BEFORE]
    finally:
        await connected.close()
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()
