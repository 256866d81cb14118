"""As root, PostgreSQL runs as somebody else: where its programs and its data must then be."""

import os
from pathlib import Path

import pytest

from lml_live.devstack import binaries
from lml_live.devstack.servers import Postgres
from lml_live.errors import Unavailable

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs PostgreSQL as itself")


@pytest.fixture
def system_home(run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = run_directory / "system"
    monkeypatch.setattr(binaries, "_SYSTEM_HOME", home)
    return home


def test_an_open_folder_is_used_as_it_is(run_directory: Path, system_home: Path) -> None:
    home = binaries.postgres_home(run_directory / "postgres")
    assert home.account is not None
    assert home.account.uid != 0
    assert (home.data, home.moved) == (run_directory / "postgres", False)
    assert not system_home.exists()


def test_the_owner_of_existing_data_runs_it(run_directory: Path, system_home: Path) -> None:
    data = run_directory / "postgres"
    data.mkdir()
    os.chown(data, 1234, 1234)
    account = binaries.postgres_home(data).account
    assert account == binaries.Account(1234, 1234, "1234")


async def test_data_under_a_closed_folder_moves_and_is_found_again(run_directory: Path, system_home: Path) -> None:
    closed = run_directory / "closed"
    closed.mkdir(mode=0o700)
    postgres = Postgres(closed / "postgres", options={"fsync": "off"})
    assert postgres.home.moved
    assert postgres.directory.is_relative_to(system_home)
    await postgres.start()
    await postgres.stop()
    assert "where user nobody can reach it" in postgres.remark
    assert binaries.postgres_home(closed / "postgres").data == postgres.directory
    closed.chmod(0o755)
    assert binaries.postgres_home(closed / "postgres").data == postgres.directory, "data does not move back"
    (closed / "postgres.place").unlink()
    assert not binaries.postgres_home(closed / "postgres").data.exists(), "who deletes the directory starts afresh"


def test_programs_under_a_closed_folder_are_copied(
    run_directory: Path, system_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = binaries.postgres_install()
    really_runs = binaries._runs
    monkeypatch.setattr(binaries, "_runs", lambda account, place: place != install and really_runs(account, place))
    home = binaries.postgres_home(run_directory / "postgres")
    assert home.install.is_relative_to(system_home)
    assert binaries.postgres_home(run_directory / "postgres").install == home.install, "copied once"


def test_what_a_start_left_that_was_cut_off_is_in_nobodys_way(
    run_directory: Path, system_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty note named the folder that we are in; half a copy had our process id, as it has in a container."""
    (run_directory / "postgres.place").touch()
    install = binaries.postgres_install()
    stat = (install / "bin" / "postgres").stat()
    half = system_home / f"postgres-{stat.st_size}-{stat.st_mtime_ns}.{os.getpid()}"
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "initdb").touch()
    really_runs = binaries._runs
    monkeypatch.setattr(binaries, "_runs", lambda account, place: place != install and really_runs(account, place))
    home = binaries.postgres_home(run_directory / "postgres")
    assert (home.data, home.moved) == (run_directory / "postgres", False)
    assert (home.install / "bin" / "initdb").stat().st_size > 0
    assert not half.exists()


def test_where_nothing_works_it_is_said_why(
    run_directory: Path, system_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_reaches", lambda account, folder: False)
    with pytest.raises(Unavailable, match=r"PostgreSQL cannot run as root.*set LML_DATA_DIR.*LML_POSTGRES_DSN"):
        binaries.postgres_home(run_directory / "postgres")
    monkeypatch.setattr(binaries, "_UNPRIVILEGED", ("nobody of this name",))
    with pytest.raises(Unavailable, match="there is no user"):
        binaries.postgres_home(run_directory / "postgres")
