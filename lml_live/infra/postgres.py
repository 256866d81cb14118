"""PostgreSQL: the pool, transactions, named statements, migrations, and the driver's errors in our own words.

Other rooms catch driver errors only for a constraint's name (`error.constraint_name`); everything that means "not now"
leaves here as `errors.Unavailable`.
"""

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import asyncpg

from lml_live import limits
from lml_live.errors import Conflict, Unavailable
from lml_live.infra.acting import acting
from lml_live.infra.assets import asset_dir, asset_text

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

T = TypeVar("T")

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

# --- Statements -------------------------------------------------------------------------------------------------------

_HEAD: Final = re.compile(r"^-- name: ([a-z][a-z0-9_]*)$", re.MULTILINE)
_SENTENCE: Final = re.compile(r"(?:^--[^\n]*\n)*", re.MULTILINE)


@cache
def statements(room: str) -> Mapping[str, str]:
    """The statements of `sql/{room}.sql` by name.

    Each begins with `-- name: load_event`, then a comment that says what it does, then one SQL statement. Raises
    `ValueError` where a name is given twice, the comment is missing, or text stands before the first name.
    """
    text = asset_text("sql", f"{room}.sql")
    before, *parts = _HEAD.split(text)
    if before.strip():
        raise ValueError(f"sql/{room}.sql: text before the first `-- name:`")
    found: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        comment = _SENTENCE.match(body.lstrip("\n"))
        sentence = " ".join(line.removeprefix("--").strip() for line in (comment[0] if comment else "").splitlines())
        if not sentence.endswith("."):
            raise ValueError(f"sql/{room}.sql: {name} has no sentence")
        if name in found:
            raise ValueError(f"sql/{room}.sql: {name} is there twice")
        found[name] = body.strip().rstrip(";")
    return MappingProxyType(found)


# --- Connections ------------------------------------------------------------------------------------------------------

_SERVER_SETTINGS: Final = {
    "statement_timeout": str(limits.POSTGRES_STATEMENT_MS),
    "lock_timeout": str(limits.POSTGRES_LOCK_MS),
    "idle_in_transaction_session_timeout": str(limits.POSTGRES_IDLE_IN_TRANSACTION_MS),
    # A commit that was answered is on disk (contract, promise 4), whatever the server's own default is.
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
    # Our statements are small; compiling one costs more than running it.
    "jit": "off",
}


async def connect_pool(dsn: str, *, application_name: str = "lml", size_max: int = limits.POSTGRES_POOL_MAX) -> Pool:
    """A pool of at most `size_max` connections with the timeouts of `limits`. Raises `Unavailable`."""
    with driver_errors():
        pool: Pool = await asyncpg.create_pool(
            dsn,
            min_size=min(limits.POSTGRES_POOL_MIN, size_max),
            max_size=size_max,
            timeout=limits.POSTGRES_CONNECT_SECONDS,
            command_timeout=limits.POSTGRES_COMMAND_SECONDS,
            server_settings={**_SERVER_SETTINGS, "application_name": application_name},
            reset=_keeps_no_session,
        )
    return pool


async def _keeps_no_session(_: object) -> None:
    """What goes back to the pool has nothing of a session (see `session`): to have the server wipe it each time would
    be one statement in three. An open transaction the driver ends all the same."""


async def connect(dsn: str, *, application_name: str = "lml") -> "asyncpg.Connection[asyncpg.Record]":
    """One connection outside the pool, for `LISTEN`; the caller closes it. Raises `Unavailable`."""
    with driver_errors():
        return await asyncpg.connect(
            dsn,
            timeout=limits.POSTGRES_CONNECT_SECONDS,
            command_timeout=limits.POSTGRES_COMMAND_SECONDS,
            server_settings={**_SERVER_SETTINGS, "application_name": application_name},
        )


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """A connection of the pool, outside a transaction: each statement commits by itself.

    Raises `Unavailable` where none is free in time, and for everything in `driver_errors`.
    """
    with driver_errors():
        async with pool.acquire(timeout=limits.POSTGRES_ACQUIRE_SECONDS) as acquired:
            yield acquired


@asynccontextmanager
async def session(pool: Pool) -> AsyncIterator[Connection]:
    """A connection of the pool for what belongs to a session, such as an advisory lock: that ends with the block.

    Raises as `connection` does.
    """
    async with connection(pool) as acquired:
        try:
            yield acquired
        finally:
            try:
                await acquired.reset(timeout=limits.POSTGRES_COMMAND_SECONDS)
            except BaseException:
                acquired.terminate()  # and with it ends what its session holds
                raise


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection in one transaction (read committed): committed at the end, rolled back on any exception.

    A cancelled task's transaction is rolled back before its connection returns to the pool. `Unavailable` out of the
    commit means that its outcome is unknown. Nothing inside may wait on the network (style.md, 21). Where a
    request said who acts, the audit trail's triggers hear of it.
    """
    async with connection(pool) as acquired, acquired.transaction():
        who = acting()
        if who is not None:
            await acquired.execute(statements("audit")["set_acting"], who.kind or "", who.id, who.origin)
        yield acquired


# --- Errors -----------------------------------------------------------------------------------------------------------


class RolledBack(Unavailable):
    """A transaction was undone whole for another's sake, as of two that wait for each other: `again` tries it anew."""


async def again(act: Callable[[], Awaitable[T]]) -> T:
    """Does something that bears being repeated, and once more, in a moment of its own, where it was rolled back.

    `limits.ROLLED_BACK_TRIES` times in all. Nothing else is tried again here: of a lock that nobody gives back, or a
    server that is away, whoever asked is told (reliability.md, F16).
    """
    for _ in range(limits.ROLLED_BACK_TRIES - 1):
        try:
            return await act()
        except RolledBack:
            await asyncio.sleep(random.uniform(0, limits.ROLLED_BACK_PAUSE_SECONDS))  # noqa: S311
    return await act()


_UNAVAILABLE_CLASSES: Final = frozenset(
    {
        "08",  # connection lost or refused
        "40",  # the transaction was rolled back
        "53",  # out of connections, memory or disk
        "57",  # cancelled by a timeout, shut down, starting up
        "58",  # the disk or another part of the system failed
    }
)
_ROLLED_BACK_STATES: Final = frozenset({"40001", "40P01"})
"""Serialisation, deadlock."""
_UNAVAILABLE_STATES: Final = frozenset(
    {
        "25006",  # read only: a standby, or a server that is being replaced
        "25P03",  # idle in transaction for too long
        "25P04",  # transaction timeout
        "55P03",  # lock timeout
    }
)


@contextmanager
def driver_errors() -> Iterator[None]:
    """Raises `Unavailable` for every driver error that means "not now"; lets the others through.

    Constraint violations pass, for their callers know what each constraint's name means; so do defects such as a
    syntax error.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        if state in _ROLLED_BACK_STATES:
            raise RolledBack("Others were at the same thing. Please try again.", retry_after_ms=1_000) from error
        if state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE_STATES:
            raise _unavailable() from error
        raise
    except asyncpg.InterfaceError as error:
        # The driver has one class for a connection that is gone and for its own misuse; only the words differ.
        if any(word in str(error) for word in ("closed", "closing", "released")):
            raise _unavailable() from error
        raise
    except (OSError, TimeoutError, asyncpg.InternalClientError) as error:
        raise _unavailable() from error


def _unavailable() -> Unavailable:
    return Unavailable("The database does not answer at the moment. Please try again.", retry_after_ms=1_000)


# --- Migrations -------------------------------------------------------------------------------------------------------


async def migrate(dsn: str) -> list[str]:
    """Applies what is missing of `sql/migrations/*.sql`, in order of their names, and returns those names.

    Each file is one transaction, recorded in the table `migration` with its hash. Processes that start at once take
    turns. Migrations that this program does not know are left alone: during a rolling update an older program meets
    a newer database. Raises `Conflict` where a landed file was edited since or the address is not the owner's and
    something is missing, `Unavailable` where the server is away.
    """
    named = statements("migration")
    async with migrating(dsn) as connected:
        # Asked first: where nothing is missing nothing is written, so that a role that only serves may ask, too.
        landed = await _landed(connected)
        pending = _pending(landed)
        if pending:
            if not await connected.fetchval(named["may_migrate"]):
                raise Conflict(
                    f"The database lacks {', '.join(name for name, _ in pending)}, and this role may not migrate:"
                    " set LML_POSTGRES_OWNER_DSN, or run `lml migrate` as the owner."
                )
            await connected.execute(named["create_migration_table"])
        for name, text in pending:
            async with connected.transaction():
                await connected.execute(text)
                await connected.execute(named["record_migration"], name, _hash(text))
    return [name for name, _ in pending]


async def pending_migrations(dsn: str) -> list[str]:
    """The names of the migrations that `migrate` would apply; changes nothing. Raises as `migrate` does."""
    connected = await _connect_for_migrations(dsn)
    try:
        with driver_errors():
            landed = await _landed(connected)
    finally:
        await connected.close(timeout=limits.POSTGRES_CONNECT_SECONDS)
    return [name for name, _ in _pending(landed)]


async def is_newer(connected: Connection) -> bool:
    """Whether a program that knows more migrations than this one has been at the database."""
    known = {path.stem for path in asset_dir("sql").joinpath("migrations").glob("*.sql")}
    return not (await _landed(connected)).keys() <= known


@asynccontextmanager
async def migrating(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A patient connection outside any pool; of those on one database, one at a time. Raises as `connection` does."""
    connected = await _connect_for_migrations(dsn)
    try:
        with driver_errors():
            await connected.execute(statements("migration")["lock_migrations"])
            yield connected
    finally:
        await connected.close(timeout=limits.POSTGRES_CONNECT_SECONDS)


async def _connect_for_migrations(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    patience_ms = str(limits.MIGRATION_SECONDS_MAX * 1000)
    settings = {
        **_SERVER_SETTINGS,
        "statement_timeout": patience_ms,
        "lock_timeout": patience_ms,
        "application_name": "lml migrate",
    }
    with driver_errors():
        return await asyncpg.connect(
            dsn,
            timeout=limits.POSTGRES_CONNECT_SECONDS,
            command_timeout=limits.MIGRATION_SECONDS_MAX + 1,
            server_settings=settings,
        )


async def _landed(connected: Connection) -> dict[str, str]:
    if not await connected.fetchval(statements("migration")["has_migration_table"]):
        return {}
    return {row["name"]: row["hash"] for row in await connected.fetch(statements("migration")["list_migrations"])}


def _pending(landed: Mapping[str, str]) -> list[tuple[str, str]]:
    pending = []
    for path in sorted(asset_dir("sql").joinpath("migrations").glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        if path.stem not in landed:
            pending.append((path.stem, text))
        elif landed[path.stem] != _hash(text):
            raise Conflict(
                f"The migration {path.stem} was edited after it had landed in this database. "
                "Restore the file, and put the change into a new migration."
            )
    return pending


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
