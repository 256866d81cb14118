"""`lml up` and `lml serve` as processes, with real engines and a stand-in for the server."""

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from test_workers import STANDIN, gone, who_answers
from waiting import eventually

from lml_live.devstack.engines import lock_owner, running_engines
from lml_live.infra.config import Settings

READY_SECONDS = 60


class Lml:
    """One `lml` process; what it prints is kept."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""

    @classmethod
    async def start(cls, mark: Path, *arguments: str, **environ: str) -> "Lml":
        """With the stand-in for the server."""
        return await cls.run(mark, STANDIN, str(mark), *arguments, **environ)

    @classmethod
    async def run(cls, mark: Path, *command: str, **environ: str) -> "Lml":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "LML_PORT": "0", "LML_DATA_DIR": str(mark / "data"), **environ},
        )
        return cls(process)

    async def until(self, words: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_SECONDS):
            while words not in self.output:
                line = await self.process.stdout.readline()
                assert line, self.output
                self.output += line.decode()

    async def end(self) -> int:
        """Waits for the process, and reads what it still had to say."""
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_SECONDS):
            self.output += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    @property
    def port(self) -> int:
        found = re.search(r"page +http://127\.0\.0\.1:(\d+)/", self.output)
        assert found is not None, self.output
        return int(found[1])


def processes_of(mark: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if any(str(mark) in argument for argument in process.info["cmdline"] or ())
    ]


async def test_the_first_start_a_crash_and_a_second_start(run_directory: Path) -> None:
    settings = Settings(data_dir=run_directory / "data")
    settings.data_dir.mkdir(mode=0o711)
    # What a start leaves that was killed after it had made the account and before its login was written down: made
    # anew, the login would be one that nobody can ever sign in with.
    (settings.data_dir / "admin.new").write_text("admin@lml.localhost\nan offered password\n")

    first = await Lml.start(run_directory, "up", LML_WORKERS="2")
    await first.until("Ctrl-C stops it.")
    for words in (
        "Valkey: answers",
        "PostgreSQL: answers",
        "MongoDB: answers",
        "prepared with a demonstration",
        "docs   http://127.0.0.1:",
    ):
        assert words in first.output
    assert "login  admin@lml.localhost / an offered password (kept in" in first.output
    assert not (settings.data_dir / "admin.new").exists()
    assert (run_directory / "data" / "admin.txt").stat().st_mode & 0o077 == 0
    urls = running_engines(settings)

    second = await Lml.start(run_directory, "up")
    assert await second.end() == 1
    assert f"is used by lml up (process {first.process.pid})" in second.output
    assert "Traceback" not in second.output

    # The parent is killed: its workers end by themselves and let go of the port, its engines are found again.
    worker = await who_answers(first.port)
    first.process.kill()
    await first.process.wait()
    third = await Lml.start(run_directory, "up", LML_PORT=str(first.port))
    await third.until("Ctrl-C stops it.")
    await eventually(lambda: gone(worker))
    assert "an earlier run had left a process" in third.output
    assert running_engines(settings) == urls
    assert "login  in " in third.output
    assert "an offered password" not in third.output
    # Ctrl-C, twice as impatient people do: everything is stopped all the same.
    third.process.send_signal(signal.SIGINT)
    third.process.send_signal(signal.SIGINT)
    assert await third.end() == 0
    assert "stopped" in third.output
    assert "Traceback" not in third.output
    assert processes_of(run_directory) == []


async def test_a_start_that_is_interrupted_leaves_nothing(run_directory: Path) -> None:
    lml = await Lml.start(run_directory, "up")
    await lml.until("Valkey: answers")
    lml.process.send_signal(signal.SIGINT)
    assert await lml.end() == 0
    assert "Traceback" not in lml.output
    assert processes_of(run_directory) == []


CUT_OFF = {
    "killed while the cluster is made": ("postgres.new/base", signal.SIGKILL),
    "killed before the database is made": ("postgres/PG_VERSION", signal.SIGKILL),
    "interrupted before the database is made": ("postgres/PG_VERSION", signal.SIGINT),
}


@pytest.mark.parametrize(("reached", "how"), CUT_OFF.values(), ids=CUT_OFF)
async def test_a_first_start_that_was_cut_off_is_finished_by_the_next(
    run_directory: Path, reached: str, how: signal.Signals
) -> None:
    """The cluster had no database, and none was made later: with a traceback, every start failed from then on."""
    settings = Settings(data_dir=run_directory / "data")
    first = await Lml.run(run_directory, "-m", "lml_live.cli", "up", LML_WORKERS="1")
    await eventually((settings.data_dir / reached).exists, READY_SECONDS)
    first.process.send_signal(how)
    assert await first.end() == (0 if how == signal.SIGINT else -how), first.output
    assert "PostgreSQL: answers" not in first.output, "the test came too late"
    lml = await Lml.run(run_directory, "-m", "lml_live.cli", "up", LML_WORKERS="1")
    try:
        await lml.until("Ctrl-C stops it.")
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{lml.port}/api/v1/events") as answer,
        ):
            assert (await answer.json())["items"], "there is the demonstration"
    finally:
        lml.process.send_signal(signal.SIGTERM)
    assert await lml.end() == 0
    assert processes_of(run_directory) == []
    assert not (settings.data_dir / "postgres.pw").exists()


async def test_a_port_in_use_is_said_before_anything_is_started(run_directory: Path) -> None:
    with_port = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with with_port:
        lml = await Lml.start(run_directory, "up", LML_PORT=str(with_port.sockets[0].getsockname()[1]))
        assert await lml.end() == 1
    assert "Address already in use" in lml.output
    assert not (run_directory / "data").exists()


async def test_serve_uses_given_engines_and_hangup_replaces_workers(run_directory: Path, postgres_dsn: str) -> None:
    lml = await Lml.start(
        run_directory,
        "serve",
        LML_REDIS_URL="redis://elsewhere",
        LML_POSTGRES_DSN=postgres_dsn,
        LML_MONGO_URL="mongodb://elsewhere",
    )
    await lml.until("Ctrl-C stops it.")
    assert "prepared\n" in lml.output, "a server of somebody's own gets no demonstration"
    before = await who_answers(lml.port)
    lml.process.send_signal(signal.SIGHUP)
    await eventually(lambda: gone(before), 20)
    assert await who_answers(lml.port) != before
    lml.process.terminate()
    assert await lml.end() == 0
    assert processes_of(run_directory) == []


@pytest.fixture
def hang_up_is_heard() -> Iterator[None]:
    """What this process ignores, as under `nohup`, its children would ignore as well."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


async def test_hangup_stops_up_with_all_that_it_started(run_directory: Path) -> None:
    """It replaced the workers, and so `lml up` went on unseen after its terminal had been closed."""
    lml = await Lml.start(run_directory, "up", LML_WORKERS="2")
    await lml.until("Ctrl-C stops it.")
    worker = await who_answers(lml.port)
    lml.process.send_signal(signal.SIGHUP)
    assert await lml.end() == 0
    assert "stopped" in lml.output
    assert "Traceback" not in lml.output
    assert (run_directory / f"stopped-{worker}").exists(), "it was told, not killed"
    assert processes_of(run_directory) == []


def up_on_a_terminal(mark: Path, terminal: int) -> "subprocess.Popen[bytes]":
    """The real `lml up` as a shell would start it in that terminal, which is its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lml_live.cli", "up"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "LML_PORT": "0", "LML_WORKERS": "1", "LML_DATA_DIR": str(mark / "data")},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )


@pytest.mark.usefixtures("hang_up_is_heard")
async def test_up_stops_when_its_terminal_is_closed(run_directory: Path) -> None:
    ours, theirs = pty.openpty()
    process = up_on_a_terminal(run_directory, theirs)
    os.close(theirs)
    try:
        said = b""
        os.set_blocking(ours, False)

        def ready() -> bool:
            nonlocal said
            with contextlib.suppress(BlockingIOError):
                said += os.read(ours, 65536)
            return b"Ctrl-C stops it." in said

        await eventually(ready, READY_SECONDS)
        os.close(ours)
        assert await asyncio.to_thread(process.wait, READY_SECONDS) == 0, said
    finally:
        process.terminate()
        process.wait()
    assert processes_of(run_directory) == []


def ignores_hangup(pid: int) -> bool:
    ignored = re.search(r"SigIgn:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    assert ignored is not None
    return bool(int(ignored[1], 16) & 1 << signal.SIGHUP - 1)


async def test_up_that_was_told_to_ignore_hangup_goes_on(run_directory: Path) -> None:
    """As `nohup lml up &` asks for."""
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    lml = await Lml.run(run_directory, "-c", ignoring, STANDIN, str(run_directory), "up", LML_WORKERS="1")
    await lml.until("Ctrl-C stops it.")
    assert ignores_hangup(lml.process.pid)
    lml.process.send_signal(signal.SIGHUP)
    worker = await who_answers(lml.port)
    lml.process.terminate()
    assert await lml.end() == 0
    assert (run_directory / f"stopped-{worker}").exists()
    assert processes_of(run_directory) == []


async def test_serve_says_which_engine_is_missing(run_directory: Path) -> None:
    lml = await Lml.start(run_directory, "serve", LML_REDIS_URL="redis://elsewhere")
    assert await lml.end() == 1
    assert "set LML_POSTGRES_DSN (PostgreSQL), LML_MONGO_URL (MongoDB), or use `lml up`" in lml.output
    assert "LML_REDIS_URL" not in lml.output


async def test_the_real_server_survives_the_death_of_each_of_its_parts(run_directory: Path) -> None:
    settings = Settings(data_dir=run_directory / "data")
    lml = await Lml.run(run_directory, "-m", "lml_live.cli", "up", LML_WORKERS="1")
    await lml.until("Ctrl-C stops it.")
    assert re.search(r"login +admin@\S+ / \S+ \(kept in", lml.output)
    address = f"http://127.0.0.1:{lml.port}"
    async with aiohttp.ClientSession() as client:

        async def ready() -> bool:
            try:
                async with client.get(f"{address}/readyz") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        assert await ready()
        async with client.get(f"{address}/api/v1/events") as answer:
            assert (await answer.json())["items"], "there is a demonstration"
        for name in ("valkey", "postgres", "mongo"):
            record = lock_owner(settings)
            assert record is not None
            killed = record.engines[name].pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            await eventually(lambda killed=killed: gone(killed))
            await eventually(ready, 30)
        for worker in psutil.Process(lml.process.pid).children():
            if "worker" in worker.cmdline():
                worker.kill()
        await eventually(ready, 20)
    lml.process.terminate()
    assert await lml.end() == 0
    assert "Traceback" not in lml.output
    assert processes_of(run_directory) == []
