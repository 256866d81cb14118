"""The rules that a program can check: who imports whom, what stays pure, where SQL and Lua live, that each is used."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from lml_live.infra import postgres
from lml_live.infra.config import Settings

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lml_live"

# A room may import what stands before it, and itself; siblings share a line (architecture.md, direction of imports).
FLOORS: tuple[tuple[str, ...], ...] = (
    ("values", "errors", "limits", "clock", ""),
    ("infra",),
    ("venues", "inventory", "pricing", "guard"),
    ("booking",),
    ("backoffice",),
    ("devstack",),
    ("gateway",),
    ("preparing",),
    ("wiring",),
    ("bench",),
    ("cli",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# The client is its own small house: it may use these pure modules and nothing else of ours.
CLIENT_MAY = {
    *("values", "errors", "limits", "clock", "gateway.wire", "inventory.seatmap"),
    *("gateway.shown", "backoffice.reports"),
}

PURE = {
    *("values", "errors", "limits"),
    *("venues.layout", "venues.seat_index", "venues.viewport", "venues.seating", "venues.stored", "venues.demo"),
    *("venues.checks", "venues.findings", "venues.oddities", "venues.normal_form", "venues.differences"),
    "venues.overlaps",
    *("venues.retention", "venues.assembly", "venues.edge", "venues.past"),
    *("inventory.seatmap", "inventory.diffs", "inventory.resume", "inventory.records", "inventory.recovery"),
    *("inventory.rooms", "inventory.best", "inventory.plan"),
    *("pricing.quote", "pricing.events", "pricing.currencies"),
    "guard.throttle",
    *("booking.states", "booking.money", "booking.methods", "booking.ledger", "booking.refunding", "booking.payouts"),
    *("backoffice.chain", "backoffice.reports"),
    *("booking.letters", "booking.dossier", "booking.payout_states"),
    *("gateway.wire", "gateway.shown", "gateway.session", "gateway.frames", "gateway.tokens", "gateway.qr"),
    "bench.figures",
    *("client.protocol", "client.effects", "client.pending", "client.picture", "client.requests"),
}
IMPURE_IMPORTS = {
    *("asyncio", "socket", "random", "time", "threading", "subprocess", "os", "aiohttp", "redis", "hiredis"),
    *("asyncpg", "motor", "pymongo", "aioboto3", "lml_live.clock"),
}
ALLOWED = {
    ("values", "secrets"),  # new_id: the one source of random ids
    ("venues.importers", "os"),
}

DRIVERS = {
    "motor": "infra.mongo",
    "asyncpg": "infra.postgres",
    "aioboto3": "infra.s3",
    "hiredis": "infra.redis",
    "aiosmtplib": "infra.smtp",
    "stripe": "booking.stripe_payments",
    "segno": "gateway.qr",
}
# Types of rows and constraint violations are asyncpg's own words; calls are made through infra.postgres.
DRIVER_TYPES_IN = {"asyncpg": {"inventory", "pricing", "guard", "booking", "gateway", "backoffice", "devstack", "cli"}}


@cache
def modules() -> list[tuple[str, Path, ast.Module]]:
    """All of the package: name, file, syntax tree."""

    def name(path: Path) -> str:
        return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")

    found = sorted(PACKAGE.rglob("*.py"))
    return [(name(path), path, ast.parse(path.read_text(encoding="utf-8"))) for path in found]


@cache
def telling(tree: ast.Module) -> list[ast.Import | ast.ImportFrom | ast.Constant | ast.Attribute]:
    """The nodes that the rules ask about: every tree is walked once for all of them."""
    kinds = (ast.Import, ast.ImportFrom, ast.Constant, ast.Attribute)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


@cache
def imports(tree: ast.Module) -> list[str]:
    """The modules imported, with `from a import b` as `a.b` for modules of ours."""
    found: list[str] = []
    for node in telling(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.append(node.module)
            if node.module.startswith("lml_live"):
                found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@cache
def ours(imported: str) -> str | None:
    """A module of ours as its path inside the package; None for others' and for names that are no module."""
    if imported != "lml_live" and not imported.startswith("lml_live."):
        return None
    name = imported.removeprefix("lml_live").lstrip(".")
    path = PACKAGE.joinpath(*name.split(".")) if name else PACKAGE
    return name if path.is_dir() or path.with_suffix(".py").exists() else None


def test_imports_go_down_the_house_only() -> None:
    for name, _, tree in modules():
        room = name.split(".")[0]
        for other in filter(None, map(ours, imports(tree))):
            other_room = other.split(".")[0]
            if room == "client":
                allowed = (
                    other in CLIENT_MAY or other_room == "client" or any(m.startswith(f"{other}.") for m in CLIENT_MAY)
                )
                assert allowed, f"{name} imports {other}"
            elif other_room != room:
                assert other_room in FLOOR_OF, f"{name} imports {other}, which has no floor"
                assert FLOOR_OF[other_room] < FLOOR_OF[room], f"{name} imports {other}, which is not below it"


def test_every_pure_module_exists() -> None:
    assert {name for name, _, _ in modules()} >= PURE


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_know_no_driver_clock_or_chance(name: str) -> None:
    tree = next(tree for known, _, tree in modules() if known == name)
    for imported in imports(tree):
        first = imported.split(".")[0]
        assert first not in IMPURE_IMPORTS, f"{name} imports {imported}"
        assert imported not in IMPURE_IMPORTS, f"{name} imports {imported}"
        other = ours(imported)
        if other and "." in other and other.split(".")[0] != "lml_live" and not other.startswith("infra"):
            assert other in PURE or not (PACKAGE / Path(*other.split("."))).with_suffix(".py").exists(), (
                f"{name} is pure and imports {other}, which is not"
            )


def test_each_driver_is_imported_in_one_place() -> None:
    for name, _, tree in modules():
        for imported in imports(tree):
            first = imported.split(".")[0]
            home = DRIVERS.get(first)
            if home is None or name == home or name.split(".")[0] in DRIVER_TYPES_IN.get(first, ()):
                continue
            raise AssertionError(f"{name} imports {imported}: only {home} may")


SQL_TEXT = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+TABLE|LOCK\s+TABLE)\b", re.DOTALL
)


def test_no_sql_in_python() -> None:
    for name, _, tree in modules():
        for node in telling(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not SQL_TEXT.search(node.value), f"{name}:{node.lineno} has SQL; it belongs into sql/"


def sql_rooms() -> list[str]:
    # The whole schema is run by nobody: it is there to be read, and tests/infra/test_schema.py keeps it true.
    return sorted(path.stem for path in (ROOT / "sql").glob("*.sql") if path.stem != "schema")


def test_every_statement_has_a_caller() -> None:
    sources = {name: path.read_text(encoding="utf-8") for name, path, _ in modules()}
    for room in sql_rooms():
        users = [text for text in sources.values() if f'statements("{room}")' in text]
        assert users, f"sql/{room}.sql is read by nobody"
        for statement in postgres.statements(room):
            assert any(f'"{statement}"' in text for text in users), f"sql/{room}.sql: nobody runs {statement}"


def test_every_script_has_a_caller_and_a_test() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for _, path, _ in modules())
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "inventory").rglob("*.py"))
    for path in (ROOT / "lua").glob("*.lua"):
        assert f'"{path.stem}"' in sources, f"nobody calls lua/{path.name}"
        assert re.search(rf"\b{path.stem}\b|\b{path.stem.removeprefix('adopt_')}\b", tests), f"no test of {path.name}"


def test_scripts_are_short() -> None:
    for path in (ROOT / "lua").glob("*.lua"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 80, f"lua/{path.name} does more than one thing"


@pytest.mark.parametrize("folder", ["lml_live", "tests", "lua", "sql", "docs", "loadtests"])
def test_nothing_is_left_unfinished(folder: str) -> None:
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "HA" + "CK")) + r")\b")
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".lua", ".sql", ".js", ".css", ".html", ".md", ".toml"):
            assert not words.search(path.read_text(encoding="utf-8")), f"{path} is unfinished"


def test_no_name_says_nothing() -> None:
    for name, _, _ in modules():
        last = name.split(".")[-1]
        assert last not in {"utils", "helpers", "common", "manager", "misc", "types", "queue", "platform"}, name


def test_every_module_says_what_it_is_for() -> None:
    for name, _, tree in modules():
        assert ast.get_docstring(tree), f"{name} has no docstring"


# What an operator may choose. A new one is added here by somebody who has asked: can it switch a guarantee off?
SETTINGS = {
    *("host", "port", "workers", "data_dir", "log_level", "origins", "trusted_proxies", "caps_exempt"),
    *(
        "redis_url",
        "postgres_dsn",
        "postgres_owner_dsn",
        "mongo_url",
        "mongo_owner_url",
        "mongo_database",
        "s3_bucket",
        "s3_endpoint_url",
        "cdn_base_url",
        *("s3_replicas", "cdn_distribution", "cdn_endpoint_url", "cdn_key_id", "cdn_key_file"),
        *("private_layouts", "link_seconds"),
        "backup_bucket",
        "backup_keep_last",
        "backup_keep_days",
        "backup_keep_months",
    ),
    *("secret", "admin_email", "admin_password", "tick_ms", "sweep_ms"),
    *("stripe_api_key", "stripe_publishable_key", "stripe_webhook_secret", "stripe_api_base"),
    *("pay_seconds", "poll_seconds", "mark_seconds", "lease_seconds", "match_seconds", "settle_seconds"),
    *("stripe_calls", "stripe_endpoint_calls", "payment_methods", "bank_seconds"),
    *("anchor_seconds", "anchor_bucket"),
    *("smtp_url", "mail_from", "public_url", "mailbox", "terms_url"),
}
# How the environment may be seen: these hand it on to a child, or to `infra.config` which reads the settings.
ENVIRONMENT = {
    "source = os.environ if environ is None else environ",
    "return [finding async for finding in examine(os.environ, layouts=layouts)]",
    'others = {name: value for name, value in os.environ.items() if not name.startswith("LML_")}',
    "os.environ.setdefault(name, value)",
    'env={**os.environ, "PGPASSWORD": self.password},',
}
SEES_ENVIRONMENT = re.compile(r"\b(environ|environb|getenv|getenvb|putenv)\b")


def test_there_is_no_off_switch() -> None:
    """Nothing but the settings changes what the product does: no variable, hidden in a module, takes a guard away."""
    assert set(Settings.__struct_fields__) == SETTINGS
    for name, path, tree in modules():
        text = path.read_text(encoding="utf-8")
        assert "LML_TEST_" not in text or name == "infra.config", f"{name} knows that it is tested"
        for node in telling(tree):
            seen = isinstance(node, ast.Attribute) and SEES_ENVIRONMENT.fullmatch(node.attr)
            if seen and isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("os", "posix"):
                line = text.splitlines()[node.lineno - 1].strip()
                assert line in ENVIRONMENT, f"{name}:{node.lineno} sees the environment: {line}"
        froms = {imported for imported in imports(tree) if imported in ("os", "posix")}
        named = [node for node in telling(tree) if isinstance(node, ast.ImportFrom) and node.module in froms]
        assert not any(SEES_ENVIRONMENT.fullmatch(alias.name) for node in named for alias in node.names), name


def test_no_two_modules_of_the_tests_have_one_name() -> None:
    """They are found by their names alone: of two, whoever imports gets that which was imported first."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []


BY_INDEX = {
    *("hold_seats", "add_to_hold", "replace_hold", "find_key", "release_hold", "extend_hold", "read_hold"),
    *("read_holds", "checkout_hold", "block_seats", "unblock_seats", "assign_seats", "open_seats", "move_hold"),
    *("hold_for_customer", "withdraw_hold", "take_for_sale", "undo_taking", "own_places", "find_hold", "find_holds"),
    *("find_hold_and_epoch", "seat_bytes", "hold_group", "move_group", "release_group", "extend_group"),
}
"""What the inventory is asked that names seats by their indexes in a layout, or answers them."""
OF_NO_LAYOUT = {
    ("gateway/live", "self.acts.holds.read_holds"): "the holds' epoch is held against the room's",
    ("gateway/staff_requests", "self._acts.holds.read_holds"): "asks for the epoch alone",
    ("backoffice/allotting", "self._inventory.assign_seats"): "places of areas",
    ("backoffice/selling", "self._inventory.find_hold"): "asks for the holder alone",
    ("booking/completer", "self.undo_taking"): "names no seats",
}
READS = re.compile(r"\b(under|_under|holds_of)\(")


def test_who_names_a_seat_by_index_says_by_which_layout() -> None:
    """docs/decisions/039: through `under`, or by a name that what it answers was given."""
    found = set[tuple[str, str]]()
    modules = [PACKAGE / "wiring.py", *(path for room in ("booking", "backoffice", "gateway") for path in walk(room))]
    for path in modules:
        name = path.relative_to(PACKAGE).with_suffix("").as_posix()
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        for scope in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)):
            inside = list(ast.walk(scope))
            given = [one for one in inside if isinstance(one, ast.Assign) and READS.search(ast.unparse(one.value))]
            reading = {part.id for one in given for part in ast.walk(one.targets[0]) if isinstance(part, ast.Name)}
            for call in (one.func for one in inside if isinstance(one, ast.Call)):
                if isinstance(call, ast.Attribute) and call.attr in BY_INDEX:
                    asked = ast.unparse(call.value)
                    rows = asked in ("self._rows", "self._blocks")  # PostgreSQL's, by seat id
                    if not (rows or asked in reading or READS.search(asked)):
                        found.add((name, f"{asked}.{call.attr}"))
    assert found == OF_NO_LAYOUT.keys()


def walk(room: str) -> list[Path]:
    return sorted((PACKAGE / room).glob("*.py"))
