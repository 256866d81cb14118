"""The states of a booking: the tables in Python and in PostgreSQL are one, and the trigger keeps to it."""

import itertools
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import asyncpg
import pytest
from databases import FIT_PAYMENT, past_guards

from lml_live.booking import states
from lml_live.booking.states import MOVES, STATES, BookingState, IntentStatus, may_move, next_state
from lml_live.infra import postgres

UNDECIDED: tuple[IntentStatus, ...] = (
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
)

# booking's state · what Stripe says of its intent · the booking's next state, None where it stays
STEPS: list[tuple[BookingState, IntentStatus, BookingState | None]] = [
    ("pending_payment", "requires_capture", "authorized"),
    ("pending_payment", "succeeded", "confirmed"),
    ("pending_payment", "canceled", "cancelled"),
    ("cancelling", "requires_capture", "authorized"),
    ("cancelling", "succeeded", "confirmed"),
    ("cancelling", "canceled", "cancelled"),
    ("expiring", "requires_capture", "authorized"),
    ("expiring", "succeeded", "confirmed"),
    ("expiring", "canceled", "expired"),
    ("authorized", "requires_capture", None),
    ("authorized", "succeeded", "confirmed"),
    ("authorized", "canceled", "failed"),
]
_TABLED = {(state, intent) for state, intent, _ in STEPS}
STILL = [pair for pair in itertools.product(sorted(STATES), get_args(IntentStatus)) if pair not in _TABLED]


@pytest.mark.parametrize(("state", "intent", "expected"), STEPS)
def test_the_intent_moves_the_booking(state: BookingState, intent: IntentStatus, expected: BookingState | None) -> None:
    assert next_state(state, intent) == expected


@pytest.mark.parametrize(("state", "intent"), STILL)
def test_nothing_else_moves_a_booking(state: BookingState, intent: IntentStatus) -> None:
    assert next_state(state, intent) is None


@pytest.mark.parametrize(("state", "intent"), list(itertools.product(sorted(STATES), get_args(IntentStatus))))
def test_a_step_is_always_a_legal_move(state: BookingState, intent: IntentStatus) -> None:
    following = next_state(state, intent)
    assert following is None or may_move(state, following)


def test_every_state_has_its_row_and_its_kind() -> None:
    assert set(MOVES) == STATES
    assert set().union(*MOVES.values()) <= STATES
    assert states.AWAITING_PAYMENT.isdisjoint(states.SOLD | states.ENDED_UNSOLD)
    assert states.SOLD.isdisjoint(states.ENDED_UNSOLD)
    assert states.AWAITING_PAYMENT | states.SOLD | states.ENDED_UNSOLD | {"refunded"} == STATES
    assert all(not MOVES[state] for state in states.ENDED_UNSOLD), "what has ended unsold never comes back"


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[postgres.Pool]:
    pool = await postgres.connect_pool(postgres_dsn, size_max=2)
    yield pool
    await pool.close()


def test_the_diagram_in_the_documents_is_the_table() -> None:
    told = (Path(__file__).parents[2] / "docs" / "bookings.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{states.draw()}```" in told


async def test_the_table_in_postgresql_is_the_table_in_python(pool: postgres.Pool) -> None:
    rows = await pool.fetch("SELECT from_state, to_state FROM booking_move")
    moves: dict[str, set[str]] = {state: set() for state in STATES}
    for row in rows:
        moves[row["from_state"]].add(row["to_state"])
    assert moves == MOVES


async def test_the_trigger_refuses_every_illegal_move_and_records_every_legal_one(pool: postgres.Pool) -> None:
    await pool.execute(
        "INSERT INTO event (id, group_id, name, venue, starts_at, on_sale_at, state, currency, layout_id,"
        " layout_version, layout_hash, seat_count, max_seats, hold_seconds, extensions, lifetime_seconds)"
        " VALUES ('e', 'e', 'Concert', 'Hall', now(), now(), 'open', 'EUR', 'hall', 1, '0', 1, 1, 1, 0, 1)"
    )
    for before, after in itertools.product(sorted(STATES), sorted(STATES)):
        booking = f"b-{secrets.token_hex(8)}"
        await past_guards(
            pool,
            "WITH made AS (INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created,"
            " lifetime_end, buyer_name, buyer_email, amount, currency, prices_version, expires_at)"
            " VALUES ($1, 'e', 'h', 'anna', 1, $2, now(), now(), 'Anna', 'a@example.org', 1, 'EUR', 1, now())"
            " RETURNING id) INSERT INTO payment (booking_id) SELECT id FROM made",
            booking,
            before,
        )
        await pool.execute(FIT_PAYMENT, booking, after)
        move = pool.execute("UPDATE booking SET state = $2 WHERE id = $1", booking, after)
        history = []
        if before == after:
            await move
        elif may_move(before, after):
            await move
            history.append((before, after))
        else:
            with pytest.raises(asyncpg.CheckViolationError) as refused:
                await move
            assert refused.value.constraint_name == "booking_moves_legally"
        rows = await pool.fetch(
            "SELECT from_state, to_state FROM booking_history WHERE booking_id = $1 ORDER BY number", booking
        )
        assert [tuple(row) for row in rows] == history
