"""What a load run refuses: other people's servers, too many, too long."""

from pathlib import Path
from socket import AddressFamily

import pytest
from click.testing import CliRunner

from loadtests.__main__ import load
from loadtests.bounds import family_of, require_loopback


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9:8080/", "http://127.9.9.9:8080"),
        ("http://localhost", "http://localhost:80"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_this_machine_will_do(url: str, root: str) -> None:
    assert require_loopback(url) == root


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:8080",
        "http://0.0.0.0:8080",
        "http://example.org",
        "http://localhost.example.org",
        "http://127.0.0.1.example.org",
        "http://127.0.0.1@example.org",
        "http://user@127.0.0.1",
        "https://127.0.0.1",
        "http://127.0.0.1/shop",
        "http://127.0.0.1:99999",
        "127.0.0.1:8080",
        "",
    ],
)
def test_nobody_elses_server_is_put_under_load(url: str) -> None:
    with pytest.raises(ValueError):
        require_loopback(url)


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", AddressFamily.AF_INET), ("::1", AddressFamily.AF_INET6), ("localhost", None)]
)
def test_numbers_are_not_looked_up(host: str, family: AddressFamily | None) -> None:
    assert family_of(host) == family


@pytest.mark.parametrize(
    "arguments",
    [
        ("--host", "http://192.0.2.1:8080"),
        ("--users", "5001"),
        ("--users", "0"),
        ("--run-time", "601s"),
        ("--run-time", "1s"),
        ("--run-time", "an hour"),
        ("--event", "demo-hall"),
    ],
)
def test_the_command_refuses(arguments: tuple[str, ...], tmp_path: Path) -> None:
    answer = CliRunner().invoke(load, [*arguments, "--report", str(tmp_path / "report.json")])
    assert answer.exit_code == 2, answer.output
    assert not list(tmp_path.iterdir())
