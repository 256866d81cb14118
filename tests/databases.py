"""Fresh databases for the tests: cloned from the run's migrated template, and emptied and used again while they can be.

A clone costs PostgreSQL some 100 ms of CPU (1,000 files and two checkpoints), emptying 5 ms. A database whose schema a
test has changed is dropped instead.
"""

import contextlib
import secrets
from collections import deque
from typing import Any, Final

import asyncpg

from lml_live.infra import postgres

_FREE: Final[deque[str]] = deque()
"""Names of this process's databases that are as the template is."""
_AS_MADE: Final[dict[str, str]] = {}
"""What `_SHAPE` answered when each was new."""

_IN_HAND: Final[dict[str, "asyncpg.Connection[asyncpg.Record]"]] = {}
"""By name, a connection to look at it and to empty it: to make one costs as much as both."""

# Whatever is created, dropped or altered changes a row of these; the rows of these tables of moves came with a
# migration. (Those of `ledger_account` did, too, and a trigger keeps them.)
_SHAPE: Final = """
    SELECT concat_ws(' ',
        (SELECT sum(hashtext(concat(oid, ' ', xmin))) FROM pg_class WHERE relnamespace = 'public'::regnamespace),
        (SELECT sum(hashtext(concat(attrelid, attnum, ' ', xmin))) FROM pg_attribute),
        (SELECT sum(hashtext(concat(oid, ' ', xmin))) FROM pg_constraint),
        (SELECT sum(hashtext(concat(oid, ' ', xmin))) FROM pg_trigger),
        (SELECT sum(hashtext(concat(oid, ' ', xmin))) FROM pg_proc),
        (SELECT sum(hashtext(concat(oid, ' ', xmin))) FROM pg_type),
        (SELECT count(*) FROM pg_db_role_setting),
        (SELECT sum(hashtext(concat(from_state, ' ', to_state))) FROM booking_move),
        (SELECT sum(hashtext(concat(from_state, ' ', to_state))) FROM payment_move),
        (SELECT sum(hashtext(concat(from_state, ' ', to_state))) FROM payout_move),
        (SELECT sum(hashtext(concat(booking_state, ' ', payment_state))) FROM payment_fit))
"""
_OIDS_OF_OURS: Final = 16384
"""Below it they are PostgreSQL's own, the same in every database."""
_EMPTY: Final = """
    DO $$
    DECLARE
        name text;
    BEGIN
        -- Neither foreign keys nor the triggers that keep logs append-only stand in the way.
        SET LOCAL session_replication_role = replica;
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            IF name NOT IN (
                'migration', 'booking_move', 'payment_move', 'payment_fit', 'payout_move', 'ledger_account') THEN
                EXECUTE format('DELETE FROM %I', name);
            END IF;
        END LOOP;
        FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
            PERFORM setval(name::regclass, 1, false);
        END LOOP;
    END $$
"""


_TYPES: Final[dict[frozenset[int], Any]] = {}
_ask_for_types: Final = asyncpg.Connection._introspect_types


async def _know_types(self: Any, oids: Any, timeout: Any) -> Any:
    """asyncpg asks anew on each connection what an array of numbers is: some 10 ms of PostgreSQL's CPU."""
    key = frozenset(oids)
    if key not in _TYPES:
        found = await _ask_for_types(self, oids, timeout)
        if max(key) >= _OIDS_OF_OURS:
            return found
        _TYPES[key] = found
    return _TYPES[key]


asyncpg.Connection._introspect_types = _know_types


_KEPT: Final[dict[str, postgres.Pool]] = {}


async def kept_pool(dsn: str) -> postgres.Pool:
    """A pool on a database that outlives the test, kept for the tests that follow: to connect, and to prepare and plan
    anew what a purchase asks, costs more than the purchase."""
    if dsn not in _KEPT or _KEPT[dsn].is_closing():
        _KEPT[dsn] = await postgres.connect_pool(dsn)
    return _KEPT[dsn]


def end_kept(database: str = "") -> None:
    """Ends what is connected to a database, or to all of them."""
    for dsn in [dsn for dsn in _KEPT if dsn.endswith(database)]:
        _KEPT.pop(dsn).terminate()
    for name in [name for name in _IN_HAND if name.endswith(database)]:
        _IN_HAND.pop(name).terminate()


async def past_guards(pool: "asyncpg.Pool[asyncpg.Record]", statement: str, *arguments: object) -> None:
    """Runs a statement as an intruder would who owns the tables: no trigger sees it, no foreign key minds."""
    async with pool.acquire() as connected, connected.transaction():
        await connected.execute("SET LOCAL session_replication_role = replica")
        await connected.execute(statement, *arguments)


async def locks_waited_for(asked: "postgres.Pool | postgres.Connection", kind: int) -> int:
    """How many wait for an advisory lock of this kind in this database: other tests' have the same numbers."""
    waiting: int = await asked.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::int8::oid AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        kind,
    )
    return waiting


def as_server(dsn: str) -> str:
    """The address of one of the run's databases, as the role that the server signs in as."""
    return f"postgresql://lml_server:lml@{dsn.rsplit('@', 1)[1]}"


FIT_PAYMENT: Final = """
    UPDATE payment SET intent_id = 'pi_' || booking_id, state = fit.state
    FROM (SELECT max(payment_state) AS state FROM payment_fit
          WHERE booking_state = $2 GROUP BY booking_state HAVING count(*) < 3) AS fit
    WHERE booking_id = $1 AND payment.state <> fit.state
"""
"""Brings the payment of a booking that a test moves by hand to what the booking's next state needs."""


async def clone_database(server: str) -> str:
    """A new database on the run's server (any of its addresses), with all migrations applied; answers its address."""
    base, name = server.rsplit("/", 1)[0], f"test_{secrets.token_hex(6)}"
    await _execute(
        f"{base}/postgres",
        f"CREATE DATABASE {name} TEMPLATE lml STRATEGY file_copy",
        # The rights to tables come with the template, the database's own do not.
        f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC",
    )
    return f"{base}/{name}"


async def take_database(server: str) -> str:
    """A database as the template is, for one test."""
    if _FREE:
        return f"{server.rsplit('/', 1)[0]}/{_FREE.popleft()}"
    dsn = await clone_database(server)
    name = dsn.rsplit("/", 1)[1]
    _IN_HAND[name] = await asyncpg.connect(dsn, command_timeout=5)
    _AS_MADE[name] = await _IN_HAND[name].fetchval(_SHAPE)
    return dsn


async def give_back(dsn: str) -> None:
    """Empties a database that `take_database` gave, or drops it."""
    base, name = dsn.rsplit("/", 1)
    as_made, connection = _AS_MADE.pop(name), _IN_HAND.pop(name, None)
    # A test may have left the server with no connection to spare, or the table locked: then another clone must do.
    with contextlib.suppress(asyncpg.PostgresError, OSError, TimeoutError):
        # The test has ended all that there were; or this process had nothing left to do, and its session was over,
        # until it took tests from another.
        if connection is None or connection.is_closed():
            connection = await asyncpg.connect(dsn, timeout=5, command_timeout=5)
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        if await connection.fetchval(_SHAPE) == as_made:
            await connection.execute(_EMPTY)
            _AS_MADE[name], _IN_HAND[name] = as_made, connection
            _FREE.append(name)
            return
    if connection is not None:
        connection.terminate()
    end_kept(name)
    await _execute(f"{base}/postgres", f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
