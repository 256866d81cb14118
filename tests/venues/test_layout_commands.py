"""`lml layout …`: what goes to stdout, what to stderr, and the exit codes."""

import asyncio
import getpass
import json
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pymongo
import pytest
from click.testing import CliRunner, Result

from lml_live import limits
from lml_live.cli import layout_life
from lml_live.cli.layouts import layout_group
from lml_live.errors import Conflict, Unavailable
from lml_live.venues.demo import generate_venue
from lml_live.venues.layout import canonical_bytes
from lml_live.venues.stored import VERSIONS


def lml_layout(*arguments: object) -> Result:
    return CliRunner().invoke(layout_group, [str(argument) for argument in arguments])


@pytest.fixture
def hall(tmp_path: Path) -> Path:
    file = tmp_path / "hall.json"
    file.write_bytes(canonical_bytes(generate_venue(12, "hall")))
    return file


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken.csv"
    file.write_text("section,row,seat\nA,1,1\nA,1,1\nA,1,\n")
    return file


@pytest.fixture
def engines(mongo_url: str, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LML_POSTGRES_DSN", postgres_dsn)
    monkeypatch.setenv("LML_MONGO_URL", mongo_url)
    monkeypatch.setenv("LML_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LML_MONGO_DATABASE", f"test_{secrets.token_hex(8)}")


def on_record(dsn: str) -> list[str]:
    """The steps of layouts in the audit trail, each of which says that the operator took it, at a command line."""
    return [step for step, _ in _read_trail(dsn)]


def details_on_record(dsn: str) -> dict[str, dict[str, Any]]:
    return dict(_read_trail(dsn))


def _read_trail(dsn: str) -> list[tuple[str, dict[str, Any]]]:

    async def read() -> list[tuple[str, dict[str, Any]]]:
        connected = await asyncpg.connect(dsn)
        try:
            rows = await connected.fetch("SELECT * FROM audit_record WHERE subject_kind = 'layout' ORDER BY number")
        finally:
            await connected.close()
        who = {(row["actor_kind"], row["actor_id"], row["origin"], row["subject_id"]) for row in rows}
        assert not who or who == {("system", f"operator {getpass.getuser()}", "command line", "hall")}
        details = [json.loads(row["detail"]) for row in rows]
        steps = [row["action"].removeprefix("layout.") for row in rows]
        return [(f"{step} {detail['version']}", detail) for step, detail in zip(steps, details, strict=True)]

    return asyncio.run(read())


@pytest.mark.usefixtures("engines")
def test_the_life_of_a_layout(hall: Path, postgres_dsn: str) -> None:
    first = lml_layout("import", hall)
    assert (first.exit_code, first.stdout) == (0, "12\n"), first.stderr
    assert "saved as draft, version 1" in first.stderr
    published = lml_layout("publish", "hall")
    assert (published.exit_code, published.stdout) == (0, f"{generate_venue(12, 'hall').hash}\n")
    again = lml_layout("import", hall, "--deploy")
    assert (again.exit_code, again.stdout) == (0, "12\n")
    assert "is version 1 already (published)" in again.stderr
    changed = lml_layout("import", hall, "--name", "Other", "--publish")
    assert "version 2 is published" in changed.stderr
    assert lml_layout("deploy", "hall", "--version", 2).exit_code == 0
    assert lml_layout("list").stdout == "hall\t2\tdeployed\t12\tOther\n"
    diff = lml_layout("diff", "hall", "--from", 1, "--to", 2)
    assert (diff.exit_code, json.loads(diff.stdout)["other"]) == (1, ["name"])
    assert lml_layout("diff", "hall", "--from", 1, "--to", 1).exit_code == 0
    exported = lml_layout("export", "hall", "--version", 1)
    assert (exported.exit_code, exported.stdout) == (0, f"{canonical_bytes(generate_venue(12, 'hall')).decode()}\n")
    plan = lml_layout("export", "hall", "--format", "pretix", "--output", hall.with_name("plan.json"))
    assert (plan.exit_code, plan.stdout) == (0, ""), plan.stderr
    assert "not said: 1 × focal point" in plan.stderr
    assert lml_layout("import", hall.with_name("plan.json"), "--dry-run").stdout == "12\n"
    assert lml_layout("export", "nowhere").exit_code == 1
    assert lml_layout("retire", "hall", "--version", 1).exit_code == 0
    draft = lml_layout("draft", "hall", "--version", 1)
    assert (draft.exit_code, draft.stdout) == (0, "3\n"), draft.stderr
    unseen = lml_layout("publish", "hall", "--hash", generate_venue(12, "hall").hash)
    assert (unseen.exit_code, unseen.stdout) == (1, "")
    assert "Nothing was published" in unseen.stderr
    assert lml_layout("publish", "hall").exit_code == 0
    assert lml_layout("deploy", "hall", "--version", 1).exit_code == 1
    made = lml_layout("backup", "hall", "--version", 1)
    assert (made.exit_code, len(made.stdout.strip())) == (0, 32), made.stderr
    listed = [line.split("\t") for line in lml_layout("backups").stdout.splitlines()]
    assert [fields[0] for fields in listed] == ["hall"] * len(listed)
    assert [fields[2:4] for fields in listed] == [["1", "asked"], ["3", "publish"], ["2", "publish"], ["1", "publish"]]
    assert lml_layout("backups", "hall").stdout.splitlines()[0].split("\t")[1] == made.stdout.strip()
    restored = lml_layout("restore", "hall", listed[2][1])
    assert (restored.exit_code, restored.stdout) == (0, "4\n"), restored.stderr
    assert lml_layout("restore", "hall").exit_code == 1, "there is a draft"
    assert lml_layout("restore", "hall", "--replace").stdout == "4\n"
    assert lml_layout("mend", "hall", "--version", 2).exit_code == 0, "what is whole stays as it is"
    assert lml_layout("mend", "hall", "--version", 9).exit_code == 1
    assert lml_layout("publish", "hall").exit_code == 0
    assert on_record(postgres_dsn) == [
        *("imported 1", "published 1", "deployed 1", "imported 2", "published 2", "deployed 2", "retired 1", "begun 3"),
        *("published 3", "backed_up 1", "restored 4", "restored 4", "mended 2", "published 4"),
    ]
    size = len(canonical_bytes(generate_venue(12, "hall")))
    whole = {"version": 1, "hash": generate_venue(12, "hall").hash, "seat_count": 12, "place_count": 12}
    details = details_on_record(postgres_dsn)
    assert details["imported 1"] == whole | {"size_bytes": size}, "how large it is, and nothing of the plan"
    assert details["begun 3"]["begun_with"] == 1
    refused = lml_layout("publish", "hall")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "has no draft" in refused.stderr


@pytest.mark.usefixtures("engines")
def test_a_layout_that_cannot_be_read_keeps_no_other_from_being_thinned_out(
    hall: Path, tmp_path: Path, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was the first, and all that came after it kept what they had."""
    aula = tmp_path / "aula.json"
    aula.write_bytes(canonical_bytes(generate_venue(12, "aula")))
    for file, layout_id in ((aula, "aula"), (hall, "hall")):
        for name in ("One", "Two"):
            assert lml_layout("import", file, "--name", name).exit_code == 0
            assert lml_layout("backup", layout_id).exit_code == 0
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        versions = client[os.environ["LML_MONGO_DATABASE"]].get_collection(VERSIONS)
        where = {"layout_id": "aula"}
        versions.update_one(where, {"$set": {"note": "x"}}, bypass_document_validation=True)
    for name in ("LAST", "DAYS", "MONTHS"):
        monkeypatch.setenv(f"LML_BACKUP_KEEP_{name}", "1")
    thinned = lml_layout("thin-out")
    assert (thinned.exit_code, len(thinned.stdout.splitlines())) == (1, 1)
    assert "aula: nothing is removed" in thinned.stderr
    assert "1 backups stay" in thinned.stderr
    counts = [len(lml_layout("backups", layout_id).stdout.splitlines()) for layout_id in ("aula", "hall")]
    assert counts == [2, 1]


@pytest.mark.usefixtures("engines")
def test_to_the_edge_and_back(
    hall: Path, postgres_dsn: str, s3_endpoint_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = lml_layout("pointer", "hall")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "LML_S3_BUCKET is not set" in refused.stderr
    assert lml_layout("import", hall, "--deploy").exit_code == 0
    assert lml_layout("import", hall, "--name", "Other", "--publish").exit_code == 0
    monkeypatch.setenv("LML_S3_BUCKET", f"layouts-{secrets.token_hex(6)}")
    monkeypatch.setenv("LML_S3_ENDPOINT_URL", s3_endpoint_url)
    first = lml_layout("push", "hall")
    assert (first.exit_code, [line.split("\t")[:2] for line in first.stdout.splitlines()]) == (
        0,
        [["home", "uploaded"]] * 3 + [["home", "moved"]],
    )
    assert "1 layouts uploaded" in lml_layout("deploy", "hall", "--version", 2).stderr
    pointer = json.loads(lml_layout("pointer", "hall").stdout)
    assert (pointer["version"], [step["version"] for step in pointer["history"]]) == (2, [1])
    assert lml_layout("rollback", "hall", "--dry-run").stdout.split("\t")[1] == "moved"
    assert lml_layout("rollback", "hall").exit_code == 0
    assert lml_layout("rollback", "hall").exit_code == 1
    assert lml_layout("push", "hall", "--version", 3).exit_code == 1
    assert lml_layout("link", "hall").exit_code == 1, "everybody may read it"
    monkeypatch.setenv("LML_PRIVATE_LAYOUTS", "hall")
    assert lml_layout("link", "hall", "--version", 1).exit_code == 0
    assert on_record(postgres_dsn) == [
        *("imported 1", "published 1", "deployed 1", "imported 2", "published 2"),
        *("pushed 1", "deployed 2", "rolled_back 1", "linked 1"),
    ], "a dry run is none, and what failed is none"
    monkeypatch.delenv("LML_POSTGRES_DSN")
    assert "not in the audit trail" in lml_layout("link", "hall", "--version", 1).stderr


@pytest.mark.usefixtures("engines")
def test_a_rollback_that_the_cdn_refuses_is_finished_by_the_same_command(
    hall: Path, postgres_dsn: str, s3_endpoint_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pointer had moved, nothing of it was on record, and the same command went back one step further."""
    monkeypatch.setenv("LML_S3_BUCKET", f"layouts-{secrets.token_hex(6)}")
    monkeypatch.setenv("LML_S3_ENDPOINT_URL", s3_endpoint_url)
    for version in (1, 2, 3, 4):
        assert lml_layout("import", hall, "--name", f"Hall {version}", "--deploy").exit_code == 0
    lml_layout("retire", "hall", "--version", 2)
    monkeypatch.setenv("LML_CDN_DISTRIBUTION", "E0UNKNOWN")
    monkeypatch.setenv("LML_CDN_ENDPOINT_URL", s3_endpoint_url)
    refused = lml_layout("rollback", "hall")
    assert (refused.exit_code, refused.stdout) == (3, ""), refused.stderr
    assert "rolled_back 3" not in on_record(postgres_dsn)
    monkeypatch.delenv("LML_CDN_DISTRIBUTION")
    monkeypatch.delenv("LML_CDN_ENDPOINT_URL")
    again = lml_layout("rollback", "hall")
    assert (again.exit_code, again.stdout) == (0, ""), again.stderr
    assert "the pointer is at version 3, back from version 4" in again.stderr
    assert lml_layout("rollback", "hall", "--from", 4).exit_code == 0, "which it has gone back from"
    assert json.loads(lml_layout("pointer", "hall").stdout)["version"] == 3
    back = lml_layout("rollback", "hall", "--from", 3)
    assert [line.split("\t")[1] for line in back.stdout.splitlines()] == ["skipped", "moved"], back.stderr
    assert "passed over, as it is retired" in back.stderr
    assert json.loads(lml_layout("pointer", "hall").stdout)["version"] == 1
    assert on_record(postgres_dsn)[-3:] == ["retired 2", "rolled_back 3", "rolled_back 1"]


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize(
    "failure",
    [
        Unavailable("PostgreSQL does not answer at postgresql://lml:secret@db/lml."),
        Conflict("No such trail."),
        asyncpg.InsufficientPrivilegeError("permission denied for table audit_record"),
        asyncpg.InterfaceError("the pool is closing"),
        OSError("no route to host"),
        ValueError("invalid DSN"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_step_that_cannot_be_recorded_is_done_and_that_is_told(
    failure: Exception, hall: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the first ended the command with a trace, its step done and the next one (of `--deploy`) not."""

    async def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(layout_life, "record_step", fail)
    answer = lml_layout("import", hall, "--deploy")
    assert (answer.exit_code, answer.stdout) == (0, "12\n"), answer.stderr
    assert answer.stderr.count("not in the audit trail: ") == answer.stderr.count("It is done all the same") == 3
    version = f'{{"version":1,"hash":"{generate_venue(12, "hall").hash}"}}'
    assert f"layout.deployed of hall, {version}" in answer.stderr
    assert "secret" not in answer.stderr
    assert on_record(postgres_dsn) == []
    assert lml_layout("list").stdout == f"hall\t1\tdeployed\t12\t{generate_venue(12, 'hall').name}\n"


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize("dsn", ["postgresql://lml@127.0.0.1:1/lml", "postgresql://["])
def test_a_trail_that_is_nowhere_is_told(dsn: str, hall: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LML_POSTGRES_DSN", dsn)
    answer = lml_layout("import", hall)
    assert (answer.exit_code, answer.stdout) == (0, "12\n"), answer.output
    assert "not held against the audit trail: " in answer.stderr
    assert "It is done all the same" in answer.stderr


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize("wrong", ["database", "password"])
def test_a_trail_that_is_not_this_command_s_keeps_nothing_from_being_stored(
    wrong: str, hall: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look what is on record ended the command with a trace, before anything was stored."""
    there = urlsplit(postgres_dsn)
    if wrong == "database":
        there = there._replace(path="/nowhere")
    else:
        there = there._replace(netloc=f"nobody:secret@{there.hostname}:{there.port}")
    monkeypatch.setenv("LML_POSTGRES_DSN", urlunsplit(there))
    answer = lml_layout("import", hall)
    assert (answer.exit_code, answer.stdout) == (0, "12\n"), answer.output
    assert "not held against the audit trail: " in answer.stderr
    assert "It is done all the same" in answer.stderr
    assert "secret" not in answer.stderr


def test_violations_are_listed_and_nothing_is_printed(broken: Path) -> None:
    answer = lml_layout("import", broken, "--dry-run")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "line 4, seat: is empty" in answer.stderr


def test_validate_goes_on_after_a_broken_file(broken: Path, hall: Path) -> None:
    answer = lml_layout("validate", broken, hall)
    assert answer.exit_code == 1
    assert answer.stdout == f"{hall}: 12 places, {generate_venue(12, 'hall').hash}\n"
    assert lml_layout("validate", hall).exit_code == 0


def test_renamings_are_told(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("section,row,seat\nA_B,1,1\n")
    answer = lml_layout("import", file, "--dry-run")
    assert answer.stdout == "1\n"
    assert "renamed line 2: 'A_B' is 'A-B' now" in answer.stderr
    assert lml_layout("import", file, "--dry-run", "--strict").exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("import", "missing.json"),
        ("import",),
        ("generate", "0"),
        ("generate", "many"),
        ("deploy", "a", "--version", "0"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    assert lml_layout(*arguments).exit_code == 2


def test_a_mongo_out_of_reach_is_3(hall: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MONGO_SELECT_MS", 50)
    monkeypatch.setenv("LML_MONGO_URL", "mongodb://127.0.0.1:1")
    answer = lml_layout("import", hall)
    assert (answer.exit_code, answer.stdout) == (3, "")


def test_generate_and_schema_print_json(tmp_path: Path) -> None:
    layout = json.loads(lml_layout("generate", 40, "--id", "bowl").stdout)
    assert layout["layout_id"] == "bowl"
    assert lml_layout("generate", "arena", "--output", tmp_path / "arena.json").stdout == ""
    assert lml_layout("import", tmp_path / "arena.json", "--dry-run").exit_code == 0
    assert json.loads(lml_layout("schema").stdout)["title"] == "LML Live layout"


@pytest.mark.parametrize(
    "command",
    [
        *("import", "validate", "publish", "deploy", "generate", "schema", "list"),
        *("backup", "backups", "restore", "mend", "thin-out"),
        *("push", "rollback", "pointer", "link"),
    ],
)
def test_every_command_has_help_with_examples(command: str) -> None:
    answer = lml_layout(command, "--help")
    assert answer.exit_code == 0
    assert f"lml layout {command}" in answer.stdout
