"""The whole schema that is written to be read (sql/schema.sql) is what the migrations leave, and says why."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import pytest

from lml_live.infra.assets import asset_text

WHOLE: Final = asset_text("sql", "schema.sql")
THE_RUNNERS: Final = "migration"
"""The table that tells which migrations have landed is made by their runner, and is no migration's."""

# What the catalogs know of the schema that comes first in the search path: of which table (if of one), which object,
# how it is defined. Names of NOT NULL constraints are nobody's; that a column is NOT NULL is said of the column. The
# order of columns does not count.
_CATALOG: Final = """
    SELECT relname AS "table", 'table ' || relname AS object, concat_ws(', ', 'kind ' || relkind::text,
           'persistence ' || relpersistence::text, 'row security ' || relrowsecurity, reloptions::text,
           CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid, true) END) AS definition
    FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
    UNION ALL
    SELECT relname, 'column ' || relname || '.' || attname, concat_ws(' ', format_type(atttypid, atttypmod),
           'COLLATE ' || nullif(attcollation, typcollation)::regcollation, CASE WHEN attnotnull THEN 'NOT NULL' END,
           'DEFAULT ' || pg_get_expr(adbin, adrelid, true),
           'identity ' || nullif(attidentity::text, ''), 'generated ' || nullif(attgenerated::text, ''))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'c') AND attnum > 0
      AND NOT attisdropped
    UNION ALL
    SELECT coalesce(relname, ''), 'constraint ' || conname || coalesce(' of ' || relname, ''),
           pg_get_constraintdef(k.oid, true)
    FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = k.conrelid
    WHERE connamespace = current_schema()::regnamespace AND contype <> 'n'
    UNION ALL
    SELECT c.relname, 'index ' || i.relname, pg_get_indexdef(i.oid, 0, true)
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
    WHERE i.relnamespace = current_schema()::regnamespace
    UNION ALL
    SELECT relname, 'trigger ' || tgname || ' on ' || relname,
           pg_get_triggerdef(t.oid, true) || ', enabled ' || tgenabled::text
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE relnamespace = current_schema()::regnamespace AND NOT tgisinternal
    UNION ALL
    SELECT '', 'function ' || proname || '(' || pg_get_function_identity_arguments(oid) || ')',
           replace(pg_get_functiondef(oid), format('%I.', current_schema()), '')
    FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND prokind IN ('f', 'p')
    UNION ALL
    SELECT '', 'type ' || typname, concat_ws(' ', typtype::text, format_type(nullif(typbasetype, 0), typtypmod),
           (SELECT string_agg(enumlabel, ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
    FROM pg_type t WHERE typnamespace = current_schema()::regnamespace AND typtype IN ('e', 'd', 'r', 'm')
      AND typcategory <> 'A'
    UNION ALL
    SELECT '', 'sequence ' || relname, concat_ws(' ', format_type(seqtypid, NULL), seqstart, seqincrement, seqmin,
           seqmax, seqcache, seqcycle)
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE relnamespace = current_schema()::regnamespace
"""


async def describe(connected: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str]:
    """Every object of the schema that comes first in the search path, and every row in it, with its definition."""
    catalog = [row for row in await connected.fetch(_CATALOG) if row["table"] != THE_RUNNERS]
    found = {row["object"]: _plain(row["definition"]) for row in catalog}
    tables = sorted(row["table"] for row in catalog if row["object"] == f"table {row['table']}")
    rows = " UNION ALL ".join(f"SELECT '{name}' AS name, to_jsonb(r)::text AS row FROM {name} AS r" for name in tables)
    return found | {f"row of {row['name']} {row['row']}": "" for row in await connected.fetch(rows)}


def _plain(definition: str) -> str:
    """Without comments and line breaks: a function's may be told in other words."""
    return " ".join(re.sub(r"--[^\n]*", "", definition).split())


def differences(migrated: Mapping[str, str], whole: Mapping[str, str]) -> list[str]:
    """What the one has and the other has not, or has otherwise, each as a sentence that says what to do."""
    told = []
    for name in sorted(migrated.keys() | whole.keys()):
        if name not in whole:
            told.append(f"sql/schema.sql lacks the {name}: {migrated[name]}".rstrip(": "))
        elif name not in migrated:
            told.append(f"sql/schema.sql has what no migration makes, the {name}: {whole[name]}".rstrip(": "))
        elif migrated[name] != whole[name]:
            told.append(
                f"the {name} is\n    {migrated[name]}\n  by the migrations and\n    {whole[name]}\n  by the whole"
            )
    return told


@asynccontextmanager
async def made_of(
    connected: "asyncpg.Connection[asyncpg.Record]", text: str
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The connection, sees an empty schema of which this text was made, and nothing of the migrated one."""
    transaction = connected.transaction()
    await transaction.start()
    try:
        await connected.execute("CREATE SCHEMA the_whole; SET LOCAL search_path TO the_whole")
        await connected.execute(text)
        yield connected
    finally:
        await transaction.rollback()


@pytest.fixture
async def connected(postgres_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """To a migrated database."""
    connected = await asyncpg.connect(postgres_dsn)
    yield connected
    await connected.close()


# Something else in each kind of object, and what is told of it.
CHANGES: Final = {
    "CREATE TABLE another ()": "has what no migration makes, the table another",
    "DROP TABLE mail_kept": "lacks the table mail_kept",
    "ALTER TABLE house SET (fillfactor = 50)": "the table house is",
    "ALTER TABLE event ALTER COLUMN venue DROP NOT NULL": "the column event.venue is",
    "ALTER TABLE event ALTER COLUMN address_holds SET DEFAULT 99": "the column event.address_holds is",
    'ALTER TABLE event ALTER COLUMN name TYPE text COLLATE "C"': "the column event.name is",
    "ALTER TABLE refund ALTER COLUMN amount TYPE numeric": "the column refund.amount is",
    "ALTER TABLE outbox ALTER COLUMN id SET GENERATED BY DEFAULT": "the column outbox.id is",
    "ALTER TABLE outbox ALTER COLUMN id SET INCREMENT BY 2": "the sequence outbox_id_seq is",
    "ALTER TABLE event_area DROP CONSTRAINT area_is_never_oversold": "lacks the constraint area_is_never_oversold of ",
    "DROP INDEX one_ticket_per_place": "lacks the index one_ticket_per_place",
    "ALTER TABLE ledger_entry DISABLE TRIGGER ledger_balances": "the trigger ledger_balances on ledger_entry is",
    "ALTER FUNCTION ledger_stays() SECURITY DEFINER": "the function ledger_stays() is",
    "CREATE TYPE colour AS ENUM ('red')": "has what no migration makes, the type colour",
    "DELETE FROM payment_fit WHERE booking_state = 'authorized'": "lacks the row of payment_fit {",
}


async def test_the_whole_is_what_the_migrations_leave(connected: "asyncpg.Connection[asyncpg.Record]") -> None:
    """And the comparison sees a change in each kind of object."""
    migrated = await describe(connected)
    async with made_of(connected, WHOLE):
        differ = differences(migrated, await describe(connected))
        if differ:
            pytest.fail(
                "sql/schema.sql and the migrations differ. Say in the one what the other says: put the new migration"
                " into the section of sql/schema.sql where it belongs, or mend the migration, where it has not landed"
                " anywhere yet.\n- " + "\n- ".join(differ)
            )
        for change in CHANGES:
            await connected.execute(change)
        told = "\n".join(differences(migrated, await describe(connected)))
        assert [wanted for wanted in CHANGES.values() if wanted not in told] == []


def test_the_whole_says_why() -> None:
    """In a sentence before it, beside it, or beside its values; and as it is, not as it came about."""
    assert re.findall(r"^\s*(ALTER|DROP|GRANT|REVOKE)\b.*", WHOLE, re.MULTILINE) == []
    objects = r"^(.*)\n((?:CREATE (?:TABLE|FUNCTION|INDEX|UNIQUE INDEX)|    CONSTRAINT) .*\n(?:        .*\n)*)"
    found = re.findall(rf"(?={objects})", WHOLE, re.MULTILINE)
    assert len(found) > 150
    silent = [text for before, text in found if not before.lstrip().startswith("--") and " -- " not in text]
    assert silent == []
