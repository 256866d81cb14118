"""The server's role: what it may not do PostgreSQL itself refuses, what it must it may, and nothing else."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from click.testing import CliRunner
from databases import as_server, clone_database
from serving import LiveServer

from lml_live.cli import lml
from lml_live.cli.doctor import Finding, examine
from lml_live.devstack.engines import _secrets
from lml_live.devstack.servers import write_private
from lml_live.errors import Conflict, InvalidInput
from lml_live.infra import assets, postgres
from lml_live.infra.rights import RIGHTS, Differences, compare_rights, grant_rights, sign_in_of

SQL = assets.asset_dir("sql")
NOT_THE_SERVERS = {"migration", "stripe_double", "rights", "schema"}
"""The owner's own, the double's, which are SQLite's, and what is only there to be read."""


@pytest.fixture
async def server(postgres_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Signed in as the server is."""
    connected = await asyncpg.connect(as_server(postgres_dsn))
    yield connected
    await connected.close()


APPEND_ONLY = (
    *("ledger_account", "ledger_transaction", "ledger_entry", "audit_record", "audit_link", "audit_anchor"),
    *("booking_history", "status_change"),
)
FORBIDDEN = [
    *(
        statement
        for table in APPEND_ONLY
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    ),
    "UPDATE ledger_account SET side = 'credit'",
    "UPDATE ledger_transaction SET reason = 'sold'",
    "UPDATE ledger_entry SET debit = 0",
    "UPDATE audit_record SET reason = 'another'",
    "UPDATE audit_link SET seq = 1",
    "UPDATE audit_anchor SET links = 0",
    "UPDATE booking_history SET to_state = 'confirmed'",
    "UPDATE status_change SET staff_id = 'somebody'",
    "INSERT INTO ledger_account VALUES ('mine', 'debit', 'a new one')",
    "SELECT * FROM ledger_entry",
    "SELECT reason FROM ledger_transaction",
    # What was agreed with a buyer, and what Stripe said.
    "UPDATE booking SET amount = 0",
    "UPDATE booking SET buyer_email = 'mallory@example.org'",
    "UPDATE booking_line SET amount = 0",
    "UPDATE refund SET amount = 1",
    "UPDATE stripe_transaction SET amount = 0",
    "UPDATE payout SET amount = 1",
    "DELETE FROM payout",
    "INSERT INTO payout_move VALUES ('failed', 'paid')",
    "DELETE FROM booking",
    "DELETE FROM refund",
    "DELETE FROM ticket",
    "DELETE FROM outbox",
    "DELETE FROM dispute",
    "DELETE FROM mail",
    # The rules themselves.
    "INSERT INTO booking_move VALUES ('refunded', 'confirmed')",
    "DELETE FROM booking_move",
    "CREATE TEMPORARY TABLE booking_move (from_state text, to_state text)",
    "CREATE TABLE mine ()",
    "CREATE SCHEMA mine",
    "ALTER TABLE booking DROP CONSTRAINT booking_is_whole",
    "DROP TRIGGER booking_moves_on_update ON booking",
    "DROP INDEX one_sale_per_seat",
    "DROP TABLE booking_seat",
    "CREATE OR REPLACE FUNCTION booking_moves() RETURNS trigger LANGUAGE sql AS ''",
    "SET session_replication_role = replica",
    "SET ROLE lml",
    "ALTER ROLE lml_server SUPERUSER",
    "CREATE ROLE mine",
    "GRANT DELETE ON booking TO lml_server",
    "UPDATE migration SET hash = ''",
    "UPDATE house SET secret = sha256('mine')",
    "TRUNCATE booking CASCADE",
    "COPY booking TO PROGRAM 'cat'",
    "SELECT pg_read_file('postgresql.conf')",
]


async def test_what_the_server_must_not_do_is_refused(server: "asyncpg.Connection[asyncpg.Record]") -> None:
    done = []
    for statement in FORBIDDEN:
        try:
            async with server.transaction():
                await server.execute(statement)
            done.append(statement)
        except asyncpg.InsufficientPrivilegeError:
            continue
    # (Rights to alter are looked at by `GRANT` alone with a warning, so what it did is looked at.)
    assert [one for one in done if not one.startswith("GRANT")] == []
    assert await compare_rights(server, "lml_server") == Differences((), ())


async def test_every_statement_may_be_run_as_the_server(server: "asyncpg.Connection[asyncpg.Record]") -> None:
    """PostgreSQL looks at rights when it begins a plan, which EXPLAIN does."""
    refused = []
    for room in sorted(path.stem for path in SQL.glob("*.sql") if path.stem not in NOT_THE_SERVERS):
        for name, statement in postgres.statements(room).items():
            try:
                await server.execute(f"EXPLAIN (GENERIC_PLAN) {statement}")
            except asyncpg.InsufficientPrivilegeError as error:
                refused.append(f"{room}: {name}: {error}")
    assert refused == []


def test_no_right_is_there_for_nothing() -> None:
    """Every right is used by a statement, or by a trigger, which has the rights of whoever writes."""
    used = "".join(path.read_text() for path in SQL.glob("*.sql") if path.stem not in NOT_THE_SERVERS)
    migrations = "".join(path.read_text() for path in sorted(SQL.joinpath("migrations").glob("*.sql")))
    used += "".join(re.findall(r"CREATE (?:OR REPLACE )?FUNCTION.*?\$\$(.*?)\$\$", migrations, re.DOTALL))
    used = re.sub(r"--[^\n]*", "", used)

    def is_used(table: str, right: str) -> bool:
        verb, _, column = right.rstrip(")").partition(" (")
        if verb in ("INSERT", "DELETE"):
            return re.search(rf"{verb} (INTO|FROM) {table}\b", used) is not None
        if verb == "UPDATE":
            # Its own statements, and what an insert does where a row is there already.
            changes = (
                rf"(UPDATE {table}\b[^;]*?|INSERT INTO {table}\b[^;]*?DO UPDATE\b[^;]*?)\bSET\b[^;]*?\b{column} = "
            )
            return re.search(changes, used) is not None
        return re.search(rf"((?<!DELETE )FROM|JOIN|UPDATE|INTO) {table}\b", used) is not None

    idle = [f"{right} ON {table}" for table, rights in RIGHTS.items() for right in rights if not is_used(table, right)]
    assert idle == ["SELECT ON migration"]  # which asks what is still to be applied
    assert set(re.findall(r"CREATE (?:UNLOGGED )?TABLE (\w+)", migrations)) | {"migration"} == set(RIGHTS)


async def test_the_owner_grants_what_is_wanting_and_takes_the_rest(postgres_dsn: str) -> None:
    role = f"server_{secrets.token_hex(4)}"
    owner = await asyncpg.connect(postgres_dsn)
    try:
        with pytest.raises(Conflict, match=f"no role {role}"):
            await grant_rights(postgres_dsn, role)
        with pytest.raises(Conflict, match="a role of its own"):
            await grant_rights(postgres_dsn, "lml")
        assert not await grant_rights(postgres_dsn, role, "it's 'secret'")
        signed_in = await asyncpg.connect(postgres_dsn, user=role, password="it's 'secret'")
        assert await signed_in.fetchval("SELECT count(*) FROM booking") == 0
        await signed_in.close()
        await owner.execute(
            f"GRANT UPDATE, TRUNCATE ON ledger_transaction TO {role}; REVOKE SELECT ON event FROM {role}"
        )
        found = await compare_rights(owner, role)
        assert found.too_little == ("SELECT ON event",)
        assert {"TRUNCATE ON ledger_transaction", "UPDATE (reason) ON ledger_transaction"} < set(found.too_much)
        # What a newer program has granted is left alone by an older one.
        await owner.execute("INSERT INTO migration (name, hash) VALUES ('999_later', '')")
        left = await grant_rights(postgres_dsn, role)
        assert (left.too_little, left.too_much, left.newer) == (found.too_little, found.too_much, True)
        await owner.execute("DELETE FROM migration WHERE name = '999_later'")
        assert not await grant_rights(postgres_dsn, role)
        assert not await compare_rights(owner, role)
    finally:
        await owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await owner.close()


async def test_the_server_may_ask_what_is_missing_and_not_migrate(
    postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = as_server(postgres_dsn)
    assert await postgres.migrate(server) == []
    (tmp_path / "migrations").mkdir()
    for path in SQL.joinpath("migrations").glob("*.sql"):
        (tmp_path / "migrations" / path.name).write_text(path.read_text())
    (tmp_path / "migrations" / "999_later.sql").write_text("CREATE TABLE later ();")
    monkeypatch.setattr(postgres, "asset_dir", lambda _: tmp_path)
    assert await postgres.pending_migrations(server) == ["999_later"]
    with pytest.raises(Conflict, match=r"999_later.*LML_POSTGRES_OWNER_DSN"):
        await postgres.migrate(server)


async def test_workers_do_not_learn_the_owners_address(live_server: LiveServer) -> None:
    [worker] = live_server.workers()
    environ = psutil.Process(worker).environ()
    assert "lml_server" in environ["LML_POSTGRES_DSN"]
    assert "LML_POSTGRES_OWNER_DSN" not in environ
    async with live_server.pool() as pool:
        roles = await pool.fetch(
            "SELECT DISTINCT usename FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name IN ('lml worker', 'lml notices')"
        )
    assert [row["usename"] for row in roles] == ["lml_server"]


def test_a_data_directory_of_before_gets_the_server_a_password(tmp_path: Path) -> None:
    write_private(tmp_path / "secrets.json", '{"redis": "r", "postgres": "p", "stripe_secret_key": "sk_test_1"}')
    words = _secrets(tmp_path)
    assert (words.redis, words.postgres, words.stripe_secret_key) == ("r", "p", "sk_test_1")
    assert len(words.postgres_server) > 20
    assert _secrets(tmp_path) == words


@pytest.mark.parametrize(
    ("dsn", "role", "password"),
    [
        ("postgresql://anna@db/lml", "anna", None),
        ("postgresql://anna:a%40b@db/lml", "anna", "a@b"),
        ("postgresql://db/lml?user=anna&password=x", "anna", "x"),
    ],
)
def test_who_signs_in(dsn: str, role: str, password: str | None) -> None:
    assert sign_in_of(dsn) == (role, password)


def test_an_address_without_a_role_is_refused() -> None:
    with pytest.raises(InvalidInput):
        sign_in_of("postgresql://db/lml")


async def test_the_doctor_ends_where_layouts_cannot_be_held_against_a_record(
    postgres_server: str, mongo_url: str, tmp_path: Path
) -> None:
    """On a database without migrations, and for a role that may not read the trail, it ended with a trace."""
    bare = postgres_server.rsplit("/", 1)[0] + "/postgres"
    dsn = await clone_database(postgres_server)
    owner = await asyncpg.connect(dsn)
    await owner.execute("REVOKE SELECT ON audit_record FROM lml_server")
    await owner.close()
    for address, words in ((bare, "migrations wait"), (as_server(dsn), "SELECT ON audit_record")):
        environ = {"LML_POSTGRES_DSN": address, "LML_MONGO_URL": mongo_url, "LML_DATA_DIR": str(tmp_path)}
        assert any(words in one.text for one in [one async for one in examine(environ)])


async def test_migrate_and_the_doctor_say_how_things_stand(postgres_server: str) -> None:
    dsn = await clone_database(postgres_server)

    async def doctor(address: str) -> list[Finding]:
        found = [one async for one in examine({"LML_POSTGRES_DSN": address, "LML_DATA_DIR": "/nowhere"})]
        return [one for one in found if one.subject == "PostgreSQL"][2:]

    owner = await asyncpg.connect(dsn)
    await owner.execute(f"GRANT TEMPORARY ON DATABASE {dsn.rsplit('/', 1)[1]} TO PUBLIC")  # As a fresh database has it.
    [finding] = await doctor(as_server(dsn))
    assert (finding.level, "TEMPORARY ON DATABASE" in finding.text) == ("warn", True)
    addresses = {"LML_POSTGRES_DSN": as_server(dsn), "LML_POSTGRES_OWNER_DSN": dsn}
    done = await _command(addresses, "migrate")
    assert done == (0, "lml_server has the rights of this version\n")
    [finding] = await doctor(as_server(dsn))
    assert (finding.level, finding.text) == ("ok", "lml_server may do what it must, and no more")
    [finding] = await doctor(dsn)
    assert (finding.level, "owns the tables" in finding.text) == ("warn", True)
    await owner.execute("REVOKE INSERT ON ticket FROM lml_server")
    await owner.close()
    [finding] = await doctor(as_server(dsn))
    assert (finding.level, "lml_server lacks INSERT ON ticket" in finding.text) == ("fail", True)
    assert (await _command({"LML_POSTGRES_DSN": dsn}, "migrate"))[0] == 1  # Whose rights?
    assert (await _command({"LML_POSTGRES_DSN": dsn}, "migrate", "--server-role", "lml_server"))[0] == 0
    [finding] = await doctor(as_server(dsn))
    assert finding.level == "ok"


async def _command(environ: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = await asyncio.to_thread(CliRunner().invoke, lml, list(arguments), env=environ)
    return done.exit_code, done.output
