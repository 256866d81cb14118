"""What moves book: as a table, over random legal histories, and in PostgreSQL, which keeps every row and balance."""

from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import PLACE, PRICE, BookingHouse
from hypothesis import given, settings
from hypothesis import strategies as st
from run_reading import read_postings

from lml_live.booking.ledger import POSTINGS, Posting, Shares, Tender, entries, postings, share_out
from lml_live.booking.states import MOVES, BookingState
from lml_live.infra import postgres
from lml_live.infra.assets import asset_text

SHARES = Shares(venue=4_000, fees=250, tax=750)

# a booking's state · where it goes · what that is to the accounts (debits above 0, credits below)
BOOKED: list[tuple[BookingState, BookingState, dict[str, int]]] = [
    (
        "pending_payment",
        "authorized",
        {"buyer_receivable": 5_000, "venue_payable": -4_000, "fee_income": -250, "tax_payable": -750},
    ),
    (
        "expiring",
        "confirmed",
        {"stripe_balance": 5_000, "venue_payable": -4_000, "fee_income": -250, "tax_payable": -750},
    ),
    ("authorized", "confirmed", {"stripe_balance": 5_000, "buyer_receivable": -5_000}),
    (
        "authorized",
        "failed",
        {"buyer_receivable": -5_000, "venue_payable": 4_000, "fee_income": 250, "tax_payable": 750},
    ),
    ("pending_payment", "failed", {}),
    ("cancelling", "cancelled", {}),
    ("pending_payment", "expiring", {}),
]


def booked(state: BookingState, to: BookingState, shares: Shares) -> Counter[str]:
    sums: Counter[str] = Counter()
    for posting in postings(state, to):
        for entry in entries(posting, shares):
            sums[entry.account] += entry.debit - entry.credit
    return sums


@pytest.mark.parametrize(("state", "to", "wanted"), BOOKED)
def test_what_a_move_books(state: BookingState, to: BookingState, wanted: dict[str, int]) -> None:
    assert {account: amount for account, amount in booked(state, to, SHARES).items() if amount} == wanted


@pytest.mark.parametrize(
    ("tender", "where"), [("cash", "cash_drawer"), ("card_terminal", "card_terminal"), ("comp", "")]
)
def test_what_a_sale_at_the_counter_books(tender: Tender, where: str) -> None:
    sums: Counter[str] = Counter()
    for posting in postings("pending_payment", "confirmed", tender):
        sums.update({entry.account: entry.debit - entry.credit for entry in entries(posting, SHARES)})
    wanted = {where: 5_000, "venue_payable": -4_000, "fee_income": -250, "tax_payable": -750} if where else {}
    assert {account: amount for account, amount in sums.items() if amount} == wanted


AFTER_A_SALE: list[tuple[Posting, dict[str, int]]] = [
    (
        "refund_begun",
        {"venue_payable": 4_000, "fee_income": 250, "tax_payable": 750, "refunds_due": -5_000},
    ),
    (
        "refund_refused",
        {"venue_payable": -4_000, "fee_income": -250, "tax_payable": -750, "refunds_due": 5_000},
    ),
    ("refund_paid", {"refunds_due": 5_100, "stripe_balance": -5_100}),
    ("refund_came_back", {"refunds_due": -5_100, "stripe_balance": 5_100}),
    ("cash_returned", {"refunds_due": 5_100, "cash_drawer": -5_100}),
    ("terminal_returned", {"refunds_due": 5_100, "card_terminal": -5_100}),
    ("disputed", {"disputed_funds": 5_100, "stripe_balance": -5_100}),
    ("dispute_won", {"disputed_funds": -5_100, "stripe_balance": 5_100}),
    (
        "dispute_lost",
        {"venue_payable": 4_000, "fee_income": 250, "tax_payable": 750, "refunds_due": 100, "disputed_funds": -5_100},
    ),
]


@pytest.mark.parametrize(("posting", "wanted"), AFTER_A_SALE)
def test_what_is_booked_where_a_part_was_the_buyers_already(posting: Posting, wanted: dict[str, int]) -> None:
    made = entries(posting, Shares(4_000, 250, 750, owed=100))
    assert {one.account: one.debit - one.credit for one in made} == wanted


@pytest.mark.parametrize("posting", sorted(POSTINGS))
def test_a_posting_balances_and_nothing_is_booked_of_nothing(posting: str) -> None:
    made = entries(posting, SHARES)  # type: ignore[arg-type]
    assert sum(one.debit for one in made) == sum(one.credit for one in made) == SHARES.total
    assert entries(posting, Shares(0, 0, 0)) == ()  # type: ignore[arg-type]
    assert {one.account for one in entries(posting, Shares(1, 0, 0))}.isdisjoint({"fee_income", "tax_payable"})  # type: ignore[arg-type]


# lines of (amount, fee, tax) · venue, fees, tax
SHARED = [
    ([(4_750, 0, 0)], Shares(4_750, 0, 0)),
    ([(10_700, 1_070, 770)], Shares(10_000, 1_000, 770)),
    ([(100, 1, 7)], Shares(93, 1, 7)),
    ([(0, 0, 0)], Shares(0, 0, 0)),
    ([(0, 119, 19)], Shares(0, 100, 19)),
    ([(119, 0, 19), (119, 0, 19)], Shares(200, 0, 38)),
]


@pytest.mark.parametrize(("lines", "wanted"), SHARED)
def test_whose_a_price_is(lines: list[tuple[int, int, int]], wanted: Shares) -> None:
    found = share_out(lines)
    assert found == wanted
    assert found.total == sum(amount + fee for amount, fee, _ in lines)


LINE = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 100)).map(
    lambda line: (line[0], line[1], (line[0] + line[1]) * line[2] // 100)
)


@settings(max_examples=40)
@given(lines=st.lists(LINE, min_size=1, max_size=4), choices=st.lists(st.integers(0, 11), max_size=8))
def test_every_legal_history_balances(lines: list[tuple[int, int, int]], choices: list[int]) -> None:
    shares = share_out(lines)
    assert min(shares.venue, shares.fees, shares.tax) >= 0
    state: BookingState = "pending_payment"
    sums: Counter[str] = Counter()
    captured = 0
    for choice in choices:
        following = sorted(MOVES[state] & {"authorized", "confirmed", "cancelling", "cancelled", "expiring", "failed"})
        if not following:
            break
        to = following[choice % len(following)]
        sums.update(booked(state, to, shares))
        captured = shares.total if to == "confirmed" else captured
        state = to
    assert sum(sums.values()) == 0
    assert sums["stripe_balance"] == captured
    owed = -sums["venue_payable"] - sums["fee_income"] - sums["tax_payable"]
    assert owed == captured + sums["buyer_receivable"]
    assert sums["buyer_receivable"] == (shares.total if state == "authorized" else 0)


async def test_a_sale_is_booked_when_it_is_authorised_and_when_it_is_captured(house: BookingHouse, event: str) -> None:
    booking = await house.claimed(event, await house.take(event, 3, floor=1))
    assert await read_postings(house.pool, event) == ()
    await house.pay(booking)
    await house.completer.look_at(booking.id)
    await house.completer.look_at(booking.id)
    amount = PRICE + PLACE
    [sold] = await read_postings(house.pool, event)
    assert (sold.booking, sold.reason, sold.currency) == (booking.id, "sold", "EUR")
    assert sold.entries == {"buyer_receivable": amount, "venue_payable": -amount}
    await house.rest()
    _, captured = await read_postings(house.pool, event)
    assert captured.entries == {"stripe_balance": amount, "buyer_receivable": -amount}
    await house.assert_right(event)


async def test_what_was_sold_before_the_ledger_is_booked_as_what_is_sold_now(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, 4)
    lines = [(10_700, 1_070, 770), (100, 1, 7)]
    async with house.pool.acquire() as connected, connected.transaction():
        await connected.execute("SET LOCAL session_replication_role = replica")
        for number, line in enumerate(lines, 1):
            sql = "UPDATE booking_line SET amount = $2, fee = $3, tax = $4 WHERE line = $1"
            await connected.execute(sql, number, *line)
        await connected.execute("UPDATE booking SET amount = $1", sum(amount + fee for amount, fee, _ in lines))
        await connected.execute("TRUNCATE ledger_transaction, ledger_entry, ticket")
    for name, begin in (("010_ledger", "INSERT INTO ledger_transaction"), ("014_tickets", "INSERT INTO ticket")):
        text = asset_text("sql", "migrations", f"{name}.sql")
        await house.pool.execute(text[text.index(begin) :])
    wanted = [entries(posting, share_out(lines)) for posting in ("sold", "captured")]
    found = [one.entries for one in await read_postings(house.pool, event)]
    assert found == [{one.account: one.debit - one.credit for one in made} for made in wanted]
    assert [ticket.line for ticket in await house.tickets.of_booking(booking.id)] == [1, 2]


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[postgres.Pool]:
    pool = await postgres.connect_pool(postgres_dsn, size_max=1)
    await pool.execute("INSERT INTO ledger_transaction (booking_id, reason, key) VALUES ('b', 'sold', 'b:sold')")
    await pool.execute(
        "INSERT INTO ledger_entry VALUES (1, 'stripe_balance', 'EUR', 5, 0), (1, 'venue_payable', 'EUR', 0, 5)"
    )
    yield pool
    await pool.close()


# a statement · the guard that refuses it
REFUSED = [
    ("INSERT INTO ledger_entry VALUES (1, 'stripe_balance', 'USD', 5, 0)", "ledger_balances"),
    (
        "INSERT INTO ledger_entry VALUES (1, 'stripe_balance', 'USD', 5, 0), (1, 'venue_payable', 'CHF', 0, 5)",
        "ledger_balances",
    ),
    ("INSERT INTO ledger_entry VALUES (1, 'fee_income', 'EUR', 1, 1)", "entry_has_one_side"),
    ("INSERT INTO ledger_entry VALUES (1, 'fee_income', 'EUR', 0, 0)", "entry_has_one_side"),
    ("INSERT INTO ledger_entry VALUES (1, 'our_pocket', 'EUR', 1, 0)", "ledger_entry_account_fkey"),
    ("INSERT INTO ledger_transaction (booking_id, reason, key) VALUES ('b', 'sold', 'b:sold')", "booked_once"),
    ("UPDATE ledger_entry SET debit = 6 WHERE debit = 5", "ledger_stays"),
    ("UPDATE ledger_transaction SET reason = 'unsold'", "ledger_stays"),
    ("DELETE FROM ledger_entry", "ledger_stays"),
    ("DELETE FROM ledger_transaction WHERE false", "ledger_stays"),
    ("DELETE FROM ledger_account WHERE name = 'disputed_funds'", "ledger_stays"),
    ("TRUNCATE ledger_entry", "ledger_stays"),
    ("TRUNCATE ledger_transaction CASCADE", "ledger_stays"),
]


async def test_postgresql_refuses_what_would_falsify_the_ledger(pool: postgres.Pool) -> None:
    for statement, guard in REFUSED:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            await pool.execute(statement)
        assert refused.value.constraint_name == guard, statement
    assert await pool.fetchval("SELECT count(*) FROM ledger_entry") == 2


async def test_the_accounts_of_the_table_are_those_of_postgresql(pool: postgres.Pool) -> None:
    known = {row["name"] for row in await pool.fetch("SELECT name FROM ledger_account")}
    used = {account for sides in POSTINGS.values() for side in sides for account, _ in side}
    assert used <= known
