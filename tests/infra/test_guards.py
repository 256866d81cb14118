"""What no code writes PostgreSQL refuses: first states, places away from their booking, other events and currencies."""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import pytest
from databases import as_server

from lml_live.booking.states import ENDED_UNSOLD, STATES
from lml_live.infra.assets import asset_dir

EVENT: Final = """
    INSERT INTO event (id, group_id, name, venue, starts_at, on_sale_at, currency, layout_id, layout_version,
                       layout_hash, seat_count, max_seats, hold_seconds, extensions, lifetime_seconds)
    VALUES ('aida', 'aida', 'Aida', 'Hall', now(), now(), 'EUR', 'hall', 1, 'ab', 9, 8, 300, 2, 1800),
           ('cats', 'cats', 'Cats', 'Hall', now(), now(), 'USD', 'hall', 1, 'ab', 9, 8, 300, 2, 1800);
    INSERT INTO event_area (event_id, area_id, name, category, capacity, position)
    VALUES ('aida', 'pit', 'Pit', 'standing', 9, 1), ('cats', 'pit', 'Pit', 'standing', 9, 1);
"""


def booking(name: str, state: str = "pending_payment", amount: int = 100, currency: str = "EUR") -> str:
    return (
        "INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end, buyer_name,"
        " buyer_email, amount, currency, prices_version, expires_at) VALUES"
        f" ('{name}', 'aida', 'h', 'anna', 1, '{state}', now(), now(), 'Anna', 'anna@example.org', {amount},"
        f" '{currency}', 1, now());"
    )


def seat(of: str, state: str, event: str = "aida", name: str = "s-new") -> str:
    return f"INSERT INTO booking_seat VALUES ('{of}', '{event}', '{name}', 'adult', '{state}');"


def place(of: str, state: str, event: str = "aida", kind: str = "child") -> str:
    return (
        "INSERT INTO booking_area (booking_id, event_id, area_id, type, quantity, state)"
        f" VALUES ('{of}', '{event}', 'pit', '{kind}', 2, '{state}');"
    )


def ticket(of: str, line: int = 2, event: str = "aida", state: str = "valid") -> str:
    used = "NULL, NULL, NULL, NULL" if state == "valid" else "now(), 'north', 's-1', 'k'"
    return (
        "INSERT INTO ticket (id, booking_id, event_id, line, state, used_at, used_gate, used_by, used_key)"
        f" VALUES ('t-new', '{of}', '{event}', {line}, '{state}', {used});"
    )


def refund(columns: str, values: str) -> str:
    return (
        f"INSERT INTO refund (id, booking_id, key, amount, venue, fees, tax, owed, lines, reason, {columns})"
        f" VALUES ('r', 'sold', 'k', 10, 10, 0, 0, 0, '{{}}', 'x', {values});"
    )


def posted(currency: str, of: str = "sold") -> str:
    return (
        f"WITH made AS (INSERT INTO ledger_transaction (booking_id, reason, key) VALUES ('{of}', 'sold', '{of}:sold')"
        " RETURNING number) INSERT INTO ledger_entry SELECT number, one.account,"
        f" '{currency}', one.debit, 5 - one.debit FROM made,"
        " (VALUES ('stripe_balance', 5), ('venue_payable', 0)) AS one (account, debit);"
    )


MADE: Final = (
    EVENT,
    *(booking(name) + seat(name, "claimed", name=f"s-{name}") for name in ("open", "sold", "gone")),
    *(place(name, "claimed", kind="adult") for name in ("open", "sold", "gone")),
    booking("free", amount=0),
    *(
        f"INSERT INTO booking_line VALUES ('{of}', {n}, 's', NULL, 'a', 50, 0, 0);"
        for of in ("open", "sold")
        for n in (1, 2)
    ),
    "UPDATE payment SET state = 'succeeded', intent_id = 'pi_1' WHERE booking_id = 'sold';"
    "UPDATE booking SET state = 'confirmed' WHERE id = 'sold';"
    "UPDATE booking_seat SET state = 'sold' WHERE booking_id = 'sold';"
    "UPDATE booking_area SET state = 'sold' WHERE booking_id = 'sold';",
    ticket("sold", 1).replace("t-new", "t-1"),
    "BEGIN; UPDATE payment SET state = 'abandoned' WHERE booking_id = 'gone';"
    "UPDATE booking SET state = 'expired' WHERE id = 'gone';"
    "UPDATE booking_seat SET state = 'released' WHERE booking_id = 'gone';"
    "UPDATE booking_area SET state = 'released' WHERE booking_id = 'gone'; COMMIT;",
    "INSERT INTO payment_attempt (booking_id, key, act) VALUES ('sold', 'k', 'create_intent');",
    "INSERT INTO stripe_transaction VALUES ('txn_1', 'pi_1', 'sold', 'charge', 100, 'EUR', now());",
)
"""All as the server writes it: bookings that are open, free, sold and gone."""

SEAT, PLACE = (
    "UPDATE booking_seat SET state = '{}' WHERE booking_id = '{}';",
    "UPDATE booking_area SET {} WHERE booking_id = '{}';",
)
ENDED = "UPDATE booking SET state = '{}' WHERE id = 'open';"
WORK = "INSERT INTO outbox (booking_id, event_id, act, key) VALUES ('open', 'cats', 'sell_hold', 'k')"
MONEY = "INSERT INTO stripe_transaction VALUES ('txn_2', 'pi_1', 'sold', 'charge', 1, 'eur', now())"
ABANDONED = "UPDATE payment SET state = 'abandoned' WHERE booking_id = 'open';"
# what is written · the guard that refuses it
REFUSED: Final[list[tuple[str, str]]] = [
    *((booking("new", state), "booking_begins_unpaid") for state in sorted(STATES - {"pending_payment"})),
    *((booking("new", state, 0), "booking_begins_unpaid") for state in sorted(STATES - {"pending_payment"})),
    (booking("new", "failed").replace("'Anna'", "NULL"), "booking_begins_unpaid"),
    (booking("new").replace("'Anna'", "NULL"), "booking_is_whole"),
    (booking("new", "failed").replace("100", "NULL"), "booking_is_whole"),
    ("INSERT INTO payment (booking_id) VALUES ('free')", "payment_begins_with_its_booking"),
    ("INSERT INTO payment VALUES ('free', 'succeeded', 'pi_2')", "payment_begins_with_its_booking"),
    *((seat(of, state), "seat_begins_claimed") for of in ("open", "sold") for state in ("sold", "released")),
    *((place(of, state), "place_begins_claimed") for of in ("open", "sold") for state in ("sold", "released")),
    *((SEAT.format(state, "open"), "places_follow_their_booking") for state in ("sold", "released")),
    *((SEAT.format("claimed", of), "places_follow_their_booking") for of in ("sold", "gone")),
    (SEAT.format("sold", "gone"), "places_follow_their_booking"),
    *((PLACE.format(f"state = '{state}'", "open"), "places_follow_their_booking") for state in ("sold", "released")),
    *((PLACE.format("state = 'claimed'", of), "places_follow_their_booking") for of in ("sold", "gone")),
    (PLACE.format("state = 'sold'", "gone"), "places_follow_their_booking"),
    (PLACE.format("quantity = 1", "open"), "places_follow_their_booking"),
    (PLACE.format("quantity = 3", "sold"), "places_follow_their_booking"),
    *((f"{ABANDONED} {ENDED.format(state)}", "ended_has_no_places") for state in sorted(ENDED_UNSOLD)),
    (ticket("open", 1), "tickets_are_of_a_sale"),
    (ticket("sold", state="used"), "tickets_are_of_a_sale"),
    (ticket("sold", event="cats"), "tickets_are_of_a_sale"),
    (refund("state, accepted", "'succeeded', now()"), "refund_begins_undone"),
    (refund("state", "'failed'"), "refund_begins_undone"),
    (refund("accepted", "now()"), "refund_begins_undone"),
    *((booking("new", currency=other), "booking_currency_is_the_events") for other in ("USD", "eur", "")),
    (posted("USD"), "ledger_currency_is_the_bookings"),
    (seat("open", "claimed", "cats"), "booking_seat_booking_id_event_id_fkey"),
    (place("open", "claimed", "cats"), "booking_area_booking_id_event_id_fkey"),
    (WORK, "outbox_booking_id_event_id_fkey"),
    (MONEY, "transaction_currency_is_iso"),
]
# The same of what only the owner of the tables could write.
REFUSED_TO_THE_OWNER: Final[list[tuple[str, str]]] = [
    ("UPDATE booking_seat SET seat_id = 's-other' WHERE booking_id = 'sold'", "seat_stays_the_same"),
    ("UPDATE booking_area SET type = 'child' WHERE booking_id = 'sold'", "place_stays_the_same"),
    ("UPDATE event SET currency = 'USD' WHERE id = 'aida'", "booking_currency_is_the_events"),
    ("UPDATE stripe_transaction SET amount = 0", "stripe_transactions_stay"),
    ("DELETE FROM stripe_transaction WHERE false", "stripe_transactions_stay"),
    ("TRUNCATE stripe_transaction", "stripe_transactions_stay"),
    ("UPDATE payment_attempt SET key = 'other'", "attempt_stays"),
    ("DELETE FROM payment_attempt", "attempts_stay"),
    ("TRUNCATE payment_attempt", "attempts_stay"),
]
ALLOWED: Final = [
    seat("open", "claimed"),
    ticket("sold"),
    refund("state", "'pending'"),
    posted("EUR"),
    posted("USD", "b-gone-for-ever"),
    PLACE.format("quantity = 1", "sold"),
    ABANDONED + ENDED.format("expired") + SEAT.format("released", "open") + PLACE.format("state = 'released'", "open"),
]
"""What is next to it, so that no guard refuses all."""


async def refusal(connected: "asyncpg.Connection[asyncpg.Record]", statement: str) -> str | None:
    """The guard that refuses a transaction, which is undone."""
    tried = connected.transaction()
    await tried.start()
    try:
        await connected.execute(f"{statement}; SET CONSTRAINTS ALL IMMEDIATE")
    except asyncpg.IntegrityConstraintViolationError as error:
        return error.constraint_name
    finally:
        await tried.rollback()
    return None


@pytest.fixture
async def owner(postgres_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connected = await asyncpg.connect(postgres_dsn)
    yield connected
    await connected.close()


async def test_what_no_code_writes_is_refused(owner: "asyncpg.Connection[asyncpg.Record]", postgres_dsn: str) -> None:
    server = await asyncpg.connect(as_server(postgres_dsn))
    try:
        for statement in MADE:
            await server.execute(statement)
        told = {statement: await refusal(server, statement) for statement, _ in REFUSED}
        told |= {statement: await refusal(owner, statement) for statement, _ in REFUSED_TO_THE_OWNER}
        assert told == dict(REFUSED + REFUSED_TO_THE_OWNER)
        assert {statement: await refusal(server, statement) for statement in ALLOWED} == dict.fromkeys(ALLOWED)
    finally:
        await server.close()


async def test_bookings_of_before_are_taken_along(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """In every state, with all that they have; a refused checkout gets its event's currency."""
    before = owner.transaction()
    await before.start()
    try:
        await owner.execute("CREATE SCHEMA of_before; SET LOCAL search_path TO of_before")
        paths = sorted(asset_dir("sql").joinpath("migrations").glob("*.sql"))
        [guards] = [path for path in paths if path.stem.endswith("_guards")]
        for path in paths[: paths.index(guards)]:
            await owner.execute(path.read_text(encoding="utf-8"))
        await owner.execute("SET LOCAL session_replication_role = replica")
        await owner.execute(EVENT)
        for state in sorted(STATES):
            held = "released" if state in ENDED_UNSOLD | {"refunded"} else "sold"
            await owner.execute(booking(state, state) + seat(state, held, name=state) + place(state, held))
            await owner.execute(f"INSERT INTO booking_line VALUES ('{state}', 1, 's', NULL, 'a', 50, 0, 0)")
            await owner.execute(ticket(state, 1).replace("t-new", f"t-{state}"))
        await owner.execute(
            "INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end)"
            " VALUES ('refused', 'cats', 'h', 'anna', 1, 'failed', now(), now())"
        )
        await owner.execute("SET LOCAL session_replication_role = origin")
        await owner.execute(guards.read_text(encoding="utf-8"))
        rows = await owner.fetch("SELECT currency, count(*) FROM booking GROUP BY currency ORDER BY currency")
        assert [tuple(row) for row in rows] == [("EUR", len(STATES)), ("USD", 1)]
    finally:
        await before.rollback()
