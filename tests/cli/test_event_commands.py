"""`lml event …` and `lml staff …` on real engines: what a program reads on stdout, what people read on stderr."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from click.testing import CliRunner, Result

from lml_live.cli import lml
from lml_live.guard.staff import StaffDesk
from lml_live.infra import postgres
from lml_live.inventory.checker import Checker
from lml_live.venues.layout import Layout, Row, Seat, Section, Viewport, seal_layout
from lml_live.venues.library import Library
from lml_live.venues.seat_index import index_layout

Run = Callable[..., Awaitable[Result]]

HALL = Layout(
    layout_id="hall",
    name="Hall",
    type="hybrid",
    viewport=Viewport(100, 100),
    sections=(
        Section("Stalls", "seated", rows=(Row("A", (Seat("1", 0.1, 0.5, "Stalls"), Seat("2", 0.2, 0.5, "Box"))),)),
        Section("Floor", "standing", area_id="floor", capacity=50, category="Standing"),
    ),
)
CREATE = (
    *("event", "create", "--layout", "hall", "--name", "Aida", "--venue", "Hall"),
    *("--starts-at", "2030-12-01T19:30:00+01:00", "--currency", "EUR"),
)


@pytest.fixture
async def run(postgres_dsn: str, mongo_database: Any, mongo_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("LML_POSTGRES_DSN", postgres_dsn)
    monkeypatch.setenv("LML_MONGO_URL", mongo_url)
    monkeypatch.setenv("LML_MONGO_DATABASE", mongo_database.name)
    library = Library(mongo_database)
    await library.save_draft(HALL)
    await library.publish("hall")
    await library.deploy("hall")

    async def invoke(*arguments: str, stdin: str | None = None) -> Result:
        # A command runs a loop of its own.
        return await asyncio.to_thread(CliRunner().invoke, lml, arguments, stdin)

    return invoke


async def test_an_event_from_its_making_to_its_end(run: Run) -> None:
    made = await run(*CREATE, "--price", "Box=9900+250", "--all-prices", "4500", "--tax-rate", "7", "--open")
    assert (made.exit_code, made.stdout) == (0, "aida-2030-12-01\n")
    assert "Aida, 2030-12-01 18:30 UTC: open" in made.stderr
    shown = json.loads((await run("event", "show", "aida-2030-12-01")).stdout)
    assert shown["starts_at"] == "2030-12-01T18:30:00Z"
    assert {price["category"]: (price["amount"], price["fee"], price["tax_rate"]) for price in shown["prices"]} == {
        "Box": (9900, 250, "7.00"),
        "Stalls": (4500, 0, "7.00"),
        "Standing": (4500, 0, "7.00"),
    }
    for act, state in (("pause", "paused"), ("open", "open"), ("close", "closed"), ("close", "closed")):
        moved = await run("event", act, "aida-2030-12-01")
        assert (moved.exit_code, moved.stdout, moved.stderr) == (0, "", f"aida-2030-12-01: {state}\n")
    listed = await run("event", "list")
    assert listed.stdout == "aida-2030-12-01\tclosed\t2030-12-01T18:30:00+00:00\t2\tAida\n"
    refused = await run("event", "open", "aida-2030-12-01")
    assert refused.exit_code == 1
    assert "closed" in refused.stderr


async def test_what_cannot_be_made_is_told_in_full(run: Run) -> None:
    refused = await run(*CREATE, "--price", "Loge=1", "--price", "Box=2", "--max-seats", "3")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "prices[0].category" in refused.stderr
    assert "'Stalls'" in refused.stderr
    assert "'Standing'" in refused.stderr
    for arguments, code, words in (
        (("--all-prices", "45.00"), 2, "whole minor units"),
        (("--price", "4500"), 2, "CATEGORY=AMOUNT"),
        ((), 1, "prices"),
        (("--all-prices", "1", "--starts-at", "tomorrow"), 1, "starts_at"),
        (("--all-prices", "1", "--starts-at", "2030-12-01T19:30:00"), 1, "starts_at"),
        (("--all-prices", "1", "--layout", "none"), 1, "none"),
        (("--all-prices", "1", "--max-seats", "51"), 1, "limits.max_seats"),
        (("--all-prices", "1", "--orphan-rule", "some"), 1, "limits.orphan_rule"),
        (("--all-prices", "1", "--tax-rate", "100"), 1, "tax_rate"),
    ):
        refused = await run(*CREATE, *arguments)
        assert (refused.exit_code, refused.stdout) == (code, ""), refused.stderr
        assert words in refused.stderr
    assert (await run("event", "list")).stdout == ""


async def test_limits_are_set_and_changed(run: Run) -> None:
    async def limits() -> dict[str, object]:
        shown = json.loads((await run("event", "show", "aida-2030-12-01")).stdout)["limits"]
        assert isinstance(shown, dict)
        return shown

    assert (await run(*CREATE, "--all-prices", "1", "--orphan-rule", "strict", "--max-seats", "4")).exit_code == 0
    before = await limits()
    assert (before["orphan_rule"], before["max_seats"]) == ("strict", 4)
    changed = await run("event", "limit", "aida-2030-12-01", "--orphan-rule", "lenient", "--hold-seconds", "60")
    assert (changed.exit_code, changed.stdout) == (0, "")
    assert "orphan_rule lenient" in changed.stderr
    assert await limits() == before | {"orphan_rule": "lenient", "hold_seconds": 60}
    for arguments, code, words in (
        (("aida-2030-12-01",), 2, "at least one limit"),
        (("aida-2030-12-01", "--orphan-rule", "never"), 1, "limits.orphan_rule"),
        (("aida-2030-12-01", "--max-seats", "0"), 1, "limits.max_seats"),
        (("nowhere", "--max-seats", "3"), 1, "no such event"),
    ):
        refused = await run("event", "limit", *arguments)
        assert (refused.exit_code, refused.stdout) == (code, "")
        assert words in refused.stderr


async def test_without_engines_the_commands_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LML_DATA_DIR", str(tmp_path))
    for arguments in (("event", "list"), ("staff", "add", "a@example.com", "--role", "manager")):
        refused = await asyncio.to_thread(CliRunner().invoke, lml, arguments)
        assert refused.exit_code == 3
        assert "lml up" in refused.stderr


async def test_a_database_that_lacks_migrations_is_refused(
    run: Run, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LML_POSTGRES_DSN", postgres_server.rsplit("/", 1)[0] + "/postgres")
    refused = await run("event", "list")
    assert refused.exit_code == 3
    assert "001_foundation" in refused.stderr


async def test_staff_are_added(run: Run, postgres_dsn: str) -> None:
    added = await run("staff", "add", "door@example.com", "--role", "box_office")
    chosen = "correct horse battery"
    asked = await run(
        *("staff", "add", "boss@example.com", "--role", "manager", "--ask-password"), stdin=f"{chosen}\n{chosen}\n"
    )
    assert (added.exit_code, asked.exit_code, asked.stdout) == (0, 0, "")
    pool = await postgres.connect_pool(postgres_dsn)
    desk = StaffDesk(pool)
    assert (await desk.sign_in("door@example.com", added.stdout.strip())).roles == ("box_office",)
    assert (await desk.sign_in("boss@example.com", chosen)).roles == ("manager",)
    await pool.close()
    refused = await run("staff", "add", "nonsense", "--role", "manager")
    assert refused.exit_code == 1
    assert "email" in refused.stderr


async def test_an_inventory_is_compared_and_mended(
    run: Run, valkey_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LML_REDIS_URL", valkey_url)
    monkeypatch.setattr(Checker.check, "__defaults__", (0.0,))
    await run(*CREATE, "--all-prices", "4500", "--open", "--group", "check-command")
    sound = await run("event", "check", "aida-2030-12-01")
    assert (sound.exit_code, sound.stdout, sound.stderr) == (0, "", "1 compared, 0 not in order\n")
    async with redis.asyncio.from_url(valkey_url) as client:
        await client.setrange("lml2:{check-command}:aida-2030-12-01:seats", 1, b"\x02")
    told = "aida-2030-12-01: seat 1 is sold, not available\n"
    ill = await run("event", "check", "aida-2030-12-01", "none")
    assert (ill.exit_code, ill.stderr) == (1, "2 compared, 2 not in order\n")
    assert ill.stdout == told + "none: cannot be compared: There is no such event.\n"
    mended = await run("event", "check", "--mend")
    assert (mended.exit_code, mended.stdout) == (1, told)
    assert mended.stderr.startswith("aida-2030-12-01: the inventory was built anew\n")
    assert (await run("event", "check")).exit_code == 0


async def test_sales_channels_are_set_listed_and_opened(
    run: Run, valkey_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LML_REDIS_URL", valkey_url)
    event = "aida-2030-12-01"
    await run(*CREATE, "--all-prices", "4500", "--open", "--group", "channel-command")
    channel = ("event", "channel")
    some = ("--row", "Stalls/A", "--places", "floor=20", "--reason", "contract")
    given = await run(*channel, "set", event, "agency", *some, "--opens-at", "2030-11-20T10:00:00+01:00")
    assert (given.exit_code, given.stdout) == (0, ""), given.stderr
    assert given.stderr == f"{event}: agency has 2 seats, 20 places of floor of what was asked for\n"
    too_many = await run(*channel, "set", event, "web", "--places", "floor=40", "--reason", "greed")
    assert (too_many.exit_code, too_many.stdout) == (1, "floor\tarea_full\t30\n")
    seats = tmp_path / "seats"
    seats.write_text(index_layout(seal_layout(HALL)).seat_ids[0] + "\n\n")
    assert (
        await run(*channel, "set", event, "open", "--seats-from", str(seats), "--reason", "given back")
    ).exit_code == 0
    assert (await run(*channel, "list", event)).stdout.splitlines() == [
        "open\t\tseats=1:1,0,0,0\tfloor=30:30,0,0",
        "agency\topens 2030-11-20T09:00:00+00:00\tseats=1:1,0,0,0\tfloor=20:20,0,0",
        "web\t\tseats=0:0,0,0,0",
    ]
    for _ in range(2):
        opened = await run(*channel, "open", event, "agency", "--reason", "slow")
        assert (opened.exit_code, opened.stderr) == (0, f"{event}: all sell what agency had\n")
    assert (await run(*channel, "list", event)).stdout.startswith("open\t\tseats=2:2,0,0,0\tfloor=50:50,0,0\n")
    for arguments, code, words in (
        (("set", event, "agency", "--reason", "x"), 1, "seats"),
        (("set", event, "agency"), 2, "--reason"),
        (("set", event, "a b", *some), 1, "channel"),
        (
            ("set", event, "agency", "--section", "Loge", "--row", "Stalls/Z", "--reason", "x"),
            1,
            "'Loge' is not in hall",
        ),
        (("set", event, "agency", "--places", "floor", "--reason", "x"), 2, "AREA=N"),
        (("set", event, "agency", *some, "--opens-at", "soon"), 1, "opens_at"),
        (("set", "nowhere", "agency", *some), 1, "no such event"),
        (("open", event, "nobody", "--reason", "x"), 1, "no such channel"),
        (("open", event, "a\0b", "--reason", "x"), 1, "no such channel"),
        (("list", "nowhere"), 1, "no such event"),
    ):
        refused = await run(*channel, *arguments)
        assert (refused.exit_code, refused.stdout) == (code, ""), (arguments, refused.stderr)
        assert words in refused.stderr
