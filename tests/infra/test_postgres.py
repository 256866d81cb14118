"""The pool's settings bite, errors are translated, transactions never leak, migrations land once."""

# ruff: noqa: PT012  # what must raise here are context managers with their bodies
import asyncio
import secrets
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from lml_live import limits
from lml_live.errors import Conflict, Unavailable
from lml_live.infra import assets, postgres
from lml_live.infra.postgres import Pool


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[Pool]:
    pool = await postgres.connect_pool(postgres_dsn, size_max=2)
    yield pool
    await pool.close()


async def test_the_guards_are_on(pool: Pool) -> None:
    guards = {
        "statement_timeout": "5s",
        "lock_timeout": "3s",
        "idle_in_transaction_session_timeout": "10s",
        "synchronous_commit": "on",
        "default_transaction_isolation": "read committed",
        "TimeZone": "UTC",
        "application_name": "lml",
    }
    async with postgres.connection(pool) as connected:
        assert {name: await connected.fetchval("SELECT current_setting($1)", name) for name in guards} == guards


async def test_a_statement_that_takes_too_long_is_unavailable(pool: Pool) -> None:
    with pytest.raises(Unavailable) as caught:
        async with postgres.session(pool) as connected:
            await connected.execute("SET statement_timeout = 50")
            await connected.execute("SELECT pg_sleep(10)")
    assert isinstance(caught.value.__cause__, asyncpg.QueryCanceledError)
    assert caught.value.retry_after_ms is not None


async def test_what_is_a_sessions_ends_with_it(pool: Pool) -> None:
    async def keep(begun: asyncio.Event) -> None:
        async with postgres.session(pool) as connected:
            await connected.execute("SET lock_timeout = 7; SELECT pg_advisory_lock(1)")
            begun.set()
            await connected.execute("SELECT pg_sleep(60)")

    task = asyncio.create_task(keep(begun := asyncio.Event()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with postgres.connection(pool) as one, postgres.connection(pool) as other:
        for connected in (one, other):
            assert await connected.fetchval("SELECT current_setting('lock_timeout')") == "3s"
        mine = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database ="
        assert await one.fetch(f"{mine} (SELECT oid FROM pg_database WHERE datname = current_database())") == []


async def test_waiting_for_a_lock_ends(pool: Pool) -> None:
    async with postgres.transaction(pool) as first:
        await first.execute("LOCK TABLE event")
        with pytest.raises(Unavailable) as caught:
            async with postgres.transaction(pool) as second:
                await second.execute("SET LOCAL lock_timeout = 50")
                await second.execute("LOCK TABLE event")
    assert isinstance(caught.value.__cause__, asyncpg.LockNotAvailableError)


async def test_a_used_up_pool_is_unavailable(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with postgres.connection(pool), postgres.connection(pool):
        monkeypatch.setattr(limits, "POSTGRES_ACQUIRE_SECONDS", 0.05)
        with pytest.raises(Unavailable):
            async with postgres.connection(pool):
                raise AssertionError("there is no third connection")


async def test_a_killed_backend_is_unavailable_and_the_pool_recovers(pool: Pool) -> None:
    with pytest.raises(Unavailable):
        async with postgres.connection(pool) as victim, postgres.connection(pool) as killer:
            await killer.execute("SELECT pg_terminate_backend($1)", victim.get_server_pid())
            await victim.fetchval("SELECT 1")
    async with postgres.connection(pool) as connected:
        assert await connected.fetchval("SELECT 1") == 1


async def test_no_server_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await postgres.connect_pool("postgresql://nobody@127.0.0.1:1/none")


async def test_a_broken_constraint_keeps_its_name(pool: Pool) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        async with postgres.connection(pool) as connected:
            await connected.execute("INSERT INTO house (secret) VALUES ('short')")
    assert caught.value.constraint_name == "house_secret_is_long"


async def test_a_cancelled_task_leaves_no_transaction_behind(pool: Pool) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with postgres.transaction(pool) as connected:
            await connected.execute("INSERT INTO house (secret) VALUES (sha256('x'))")
            begun.set()
            await connected.execute("SELECT pg_sleep(60)")

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with postgres.connection(pool) as one, postgres.connection(pool) as other:
        for connected in (one, other):
            assert not connected.is_in_transaction()
            assert await connected.fetchval("SELECT count(*) FROM house") == 0
        # Of this database alone: the server is every test's.
        idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in tr%' AND datname = current_database()"
        assert await one.fetchval(idle) == 0


async def test_an_exception_rolls_back(pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        async with postgres.transaction(pool) as connected:
            await connected.execute("INSERT INTO house (secret) VALUES (sha256('x'))")
            raise ZeroDivisionError
    async with postgres.connection(pool) as connected:
        assert await connected.fetchval("SELECT count(*) FROM house") == 0


async def test_a_deadlocks_victim_is_done_again(pool: Pool) -> None:
    """One of the two goes through; the other is tried anew, a bounded number of times, and nothing else is."""
    async with postgres.connection(pool) as connected:
        await connected.execute("CREATE TABLE pair (name text PRIMARY KEY, times integer NOT NULL)")
        await connected.execute("INSERT INTO pair VALUES ('a', 0), ('b', 0)")
    both_hold_one, tries = asyncio.Barrier(2), list[str]()

    async def raise_in_order(*names: str) -> None:
        tries.append(names[0])
        async with postgres.transaction(pool) as connected:
            await connected.execute("SET LOCAL deadlock_timeout = 50")
            await connected.execute("UPDATE pair SET times = times + 1 WHERE name = $1", names[0])
            if len(tries) <= 2:
                await both_hold_one.wait()
            await connected.execute("UPDATE pair SET times = times + 1 WHERE name = $1", names[1])

    await asyncio.gather(*(postgres.again(partial(raise_in_order, *names)) for names in ("ab", "ba")))
    assert len(tries) == 3
    async with postgres.connection(pool) as connected:
        assert [row["times"] for row in await connected.fetch("SELECT times FROM pair")] == [2, 2]

    async def fail(error: Unavailable) -> None:
        tries.append("")
        raise error

    for error, count in ((postgres.RolledBack("Again."), limits.ROLLED_BACK_TRIES), (Unavailable("Away."), 1)):
        tries.clear()
        with pytest.raises(type(error)):
            await postgres.again(partial(fail, error))
        assert len(tries) == count


# --- Statements


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1\n-- name: load\n-- Loads.\nSELECT 1",
        "-- name: load\nSELECT 1",
        "-- name: load\n-- no full stop\nSELECT 1",
        "-- name: load\n-- Loads.\nSELECT 1\n-- name: load\n-- Loads.\nSELECT 2",
    ],
)
def test_a_careless_file_of_statements_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = f"room{secrets.token_hex(4)}"
    (tmp_path / f"{room}.sql").write_text(text)
    monkeypatch.setattr(postgres, "asset_text", lambda _, name: (tmp_path / name).read_text())
    with pytest.raises(ValueError, match=room):
        postgres.statements(room)


# --- Migrations


@pytest.fixture
async def empty_dsn(postgres_server: str) -> AsyncIterator[str]:
    """A fresh database without any migration."""
    server = postgres_server.rsplit("/", 1)[0]
    name = f"empty_{secrets.token_hex(6)}"
    connected = await asyncpg.connect(f"{server}/postgres")
    await connected.execute(f"CREATE DATABASE {name}")
    yield f"{server}/{name}"
    await connected.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connected.close()


@pytest.fixture
def sql_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of migrations of one's own."""
    (tmp_path / "migrations").mkdir()
    monkeypatch.setattr(postgres, "asset_dir", lambda _: tmp_path)
    return tmp_path / "migrations"


async def test_processes_that_start_at_once_migrate_once(empty_dsn: str) -> None:
    names = sorted(path.stem for path in assets.asset_dir("sql").joinpath("migrations").glob("*.sql"))
    assert await postgres.pending_migrations(empty_dsn) == names
    applied = await asyncio.gather(*(postgres.migrate(empty_dsn) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == names
    assert await postgres.pending_migrations(empty_dsn) == []


async def test_an_edited_migration_is_refused(empty_dsn: str, sql_dir: Path) -> None:
    (sql_dir / "001_first.sql").write_text("CREATE TABLE first ();")
    assert await postgres.migrate(empty_dsn) == ["001_first"]
    (sql_dir / "001_first.sql").write_text("CREATE TABLE first (id text);")
    for act in (postgres.migrate, postgres.pending_migrations):
        with pytest.raises(Conflict, match="001_first was edited"):
            await act(empty_dsn)


async def test_a_migration_that_fails_leaves_nothing(empty_dsn: str, sql_dir: Path) -> None:
    (sql_dir / "001_first.sql").write_text("CREATE TABLE first ();")
    (sql_dir / "002_second.sql").write_text("CREATE TABLE second (); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await postgres.migrate(empty_dsn)
    assert await postgres.pending_migrations(empty_dsn) == ["002_second"]
    (sql_dir / "002_second.sql").write_text("CREATE TABLE second ();")
    assert await postgres.migrate(empty_dsn) == ["002_second"]


async def test_an_older_program_leaves_a_newer_database_alone(empty_dsn: str, sql_dir: Path) -> None:
    (sql_dir / "001_first.sql").write_text("CREATE TABLE first ();")
    (sql_dir / "002_second.sql").write_text("CREATE TABLE second ();")
    await postgres.migrate(empty_dsn)
    (sql_dir / "002_second.sql").unlink()
    assert await postgres.migrate(empty_dsn) == []
