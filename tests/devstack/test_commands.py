"""The command line and its settings: what is refused, what is shown, what is kept secret."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from waiting import ValkeyFactory

import lml_live
from lml_live.cli import COMMANDS, lml, main
from lml_live.cli.doctor import Finding, examine
from lml_live.cli.logs import set_up_logging
from lml_live.devstack.engines import EngineUrls, with_engines
from lml_live.infra.config import DESCRIPTIONS, Settings, load_settings, mask_secrets, to_environ

RUNNING = Path(__file__).parents[2] / "docs" / "running.md"


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`run(*arguments, **environ)`: `lml` in this process, with that environment alone; code, output, errors."""

    def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            for name in list(os.environ):
                patch.delenv(name)
            for name, value in {"PATH": "/usr/bin", **environ}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["lml", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


# --- Settings


def test_the_table_in_the_documentation_says_what_the_settings_are() -> None:
    defaults = Settings()
    rows = []
    for field, text in DESCRIPTIONS.items():
        value = getattr(defaults, field)
        value = ",".join(map(str, value)) if isinstance(value, tuple) else value
        rows.append(f"| `LML_{field.upper()}` | {'' if value in (None, '') else f'`{value}`'} | {text} |")
    assert "\n".join(rows) in RUNNING.read_text(encoding="utf-8")


def test_a_worker_reads_the_settings_that_its_parent_has() -> None:
    environ = {
        "LML_HOST": "0.0.0.0",
        "LML_PORT": "0",
        "LML_WORKERS": "3",
        "LML_DATA_DIR": "/srv/lml",
        "LML_REDIS_URL": "redis://:word@elsewhere/0",
        "LML_ORIGINS": "https://a.example,https://b.example",
        "LML_CAPS_EXEMPT": "127.0.0.0/8,10.0.0.0/8",
        "LML_LOG_LEVEL": "debug",
    }
    settings = load_settings(environ)
    assert to_environ(settings) == environ
    assert load_settings(to_environ(settings)) == settings
    assert to_environ(Settings()) == {}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:word@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("postgresql://lml:w%40rd@db/lml", "postgresql://lml:***@db/lml"),
        ("two: redis://:a@x, mongodb://u:b@y", "two: redis://:***@x, mongodb://u:***@y"),
        ("redis://:care/less@word@x", "redis://:***@x"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
        ("no address", "no address"),
    ],
)
def test_passwords_in_addresses_are_masked(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


def test_the_log_is_single_lines_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logging("worker", "info")
        logging.getLogger("lml_live").warning("lost %s", "redis://:word@x")
        logging.getLogger("lml_live").debug("not shown")
    finally:
        root.handlers[:], root.level = handlers, level
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("lost redis://:***@x")
    assert " WARNING worker[" in line


def test_the_double_gets_a_bucket_and_a_real_one_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    urls = EngineUrls(
        redis_url="redis://r", postgres_dsn="postgresql://p", mongo_url="mongodb://m", s3_endpoint_url=None
    )
    assert with_engines(Settings(s3_bucket="theirs"), urls).s3_bucket == "theirs"
    with_double = msgspec.structs.replace(urls, s3_endpoint_url="http://127.0.0.1:1")
    assert with_engines(Settings(), with_double).s3_bucket == "lml-layouts"


# --- Commands


def test_version_and_help_with_examples() -> None:
    runner = CliRunner()
    assert lml_live.__version__ in runner.invoke(lml, ["--version"]).output
    names = set(COMMANDS) - {"worker"}
    listed = re.findall(r"^  (\w+) ", runner.invoke(lml, ["--help"]).output.partition("Commands:")[2], re.M)
    assert set(listed) == names
    for name in names:
        shown = runner.invoke(lml, [name, "--help"])
        assert shown.exit_code == 0, name
        assert "Example" in shown.output, name
    assert "LML_REDIS_URL" in runner.invoke(lml, ["serve", "--help"]).output


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "said"),
    [
        (["serve"], {}, 1, "lml: `lml serve` starts no engines: set LML_REDIS_URL (Redis), LML_POSTGRES_DSN (Postg"),
        (["up"], {"LML_PORT": "http"}, 1, "lml: The settings cannot be used: LML_PORT is 'http'; a whole number"),
        (["up"], {"LML_PROT": "1"}, 1, "LML_PROT is no setting"),
        (["up", "quickly"], {}, 2, "unexpected extra argument"),
    ],
)
def test_a_mistake_is_one_clear_line(
    run: Run, arguments: list[str], environ: dict[str, str], code: int, said: str
) -> None:
    ended, _, told = run(*arguments, **environ)
    assert ended == code
    assert said in told
    assert "Traceback" not in told


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "lml_live.cli", "upp"]
    done = subprocess.run(command, env={"PATH": "/usr/bin"}, capture_output=True, text=True, check=False)
    assert (done.returncode, "No such command 'upp'" in done.stderr) == (2, True)


# --- The doctor


async def examined(data_dir: Path, **environ: str) -> list[Finding]:
    chosen = {"LML_DATA_DIR": str(data_dir), "LML_PORT": "0", **environ}
    return [finding async for finding in examine(chosen)]


def failures(findings: list[Finding]) -> str:
    return "\n".join(f"{finding.subject}: {finding.text}" for finding in findings if finding.level == "fail")


async def test_a_healthy_house_has_no_failures(
    run_directory: Path, valkey_url: str, postgres_dsn: str, mongo_url: str
) -> None:
    findings = await examined(
        run_directory, LML_REDIS_URL=valkey_url, LML_POSTGRES_DSN=postgres_dsn, LML_MONGO_URL=mongo_url
    )
    assert failures(findings) == ""
    said = "\n".join(finding.text for finding in findings)
    for words in ("never evicts", "comes back", "all migrations are applied", "replica set lml", "agree within"):
        assert words in said


async def test_each_ill_is_named(run_directory: Path, valkey_own: ValkeyFactory, postgres_server: str) -> None:
    valkey = await valkey_own(
        maxmemory_policy="allkeys-lru", appendonly="no", user="default on nopass ~* +@all resetchannels"
    )
    findings = await examined(
        run_directory,
        LML_TICK_MS="0",
        LML_DATA_DIR=str(run_directory),
    )
    assert "settings: LML_TICK_MS is '0'" in failures(findings)
    findings = await examined(
        run_directory,
        LML_REDIS_URL=valkey.url,
        LML_POSTGRES_DSN=postgres_server.rsplit("/", 1)[0] + "/postgres",
        LML_MONGO_URL="mongodb://127.0.0.1:1/",
    )
    assert "Redis: it may evict holds" in failures(findings)
    assert "MongoDB: mongodb://127.0.0.1:1/ does not answer" in failures(findings)
    warnings = "\n".join(finding.text for finding in findings if finding.level == "warn")
    assert "appendonly is off" in warnings
    assert "what is published on lml:wakes:… does not come back" in warnings
    assert "migrations wait" in warnings
    replica = await valkey_own(replicaof=f"127.0.0.1 {valkey.port}", repl_diskless_sync_delay="0")
    findings = await examined(run_directory, LML_REDIS_URL=replica.url)
    assert "it is no primary" in failures(findings)


def test_the_doctor_exits_1_when_something_is_wrong(run: Run, run_directory: Path) -> None:
    code, said, _ = run("doctor", LML_DATA_DIR=str(run_directory / "data"), LML_PORT="0")
    assert (code, "fail" in said) == (0, False)
    code, said, _ = run("doctor", LML_DATA_DIR=str(run_directory / "data"), LML_PORT="none")
    assert code == 1
    assert said.startswith("fail  settings     LML_PORT is 'none'")
