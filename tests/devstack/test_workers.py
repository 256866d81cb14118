"""The parent binds once; workers come, die, are replaced one by one, and never outlive their parent."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from waiting import eventually

from lml_live.errors import Conflict, InvalidInput, Unavailable
from lml_live.gateway.workers import Workers, listen

STANDIN = str(Path(__file__).with_name("standin.py"))


@contextlib.asynccontextmanager
async def working(mark: Path, count: int = 1) -> AsyncIterator[tuple[Workers, int]]:
    def command(fd: int, alive_fd: int) -> list[str]:
        return [sys.executable, STANDIN, str(mark), "worker", "--fd", str(fd), "--alive-fd", str(alive_fd)]

    with listen("127.0.0.1", 0) as listener:
        workers = Workers(listener, count, command, os.environ)
        try:
            await workers.start()
            yield workers, listener.getsockname()[1]
        finally:
            await workers.stop()


async def who_answers(port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = await reader.read()
    writer.close()
    return int(answer)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_all_workers_serve_one_port_and_stop_gracefully(run_directory: Path) -> None:
    async with working(run_directory, 2) as (workers, port):
        pids = workers.pids
        assert len(set(pids)) == 2
        assert await who_answers(port) in pids
    for pid in pids:
        assert gone(pid)
        assert (run_directory / f"stopped-{pid}").exists(), "it was told, not killed"


async def test_a_worker_that_dies_is_replaced(run_directory: Path) -> None:
    async with working(run_directory) as (workers, port):
        for _ in range(2):
            [killed] = workers.pids
            os.kill(killed, signal.SIGKILL)
            await eventually(lambda killed=killed: workers.pids != [killed])
            # The socket was open all the time: who comes in between waits, and is refused nothing.
            assert await who_answers(port) == workers.pids[0]


async def test_a_rolling_restart_replaces_all_and_refuses_nobody(run_directory: Path) -> None:
    async with working(run_directory, 2) as (workers, port):
        before = workers.pids
        answers: list[int] = []

        async def keep_asking() -> None:
            while True:
                answers.append(await who_answers(port))

        async with asyncio.TaskGroup() as group:
            asking = group.create_task(keep_asking())
            await workers.restart()
            asking.cancel()
        assert not set(before) & set(workers.pids)
        assert answers
        for pid in before:
            assert gone(pid)
            assert (run_directory / f"stopped-{pid}").exists()
        assert await who_answers(port) in workers.pids


async def test_a_rolling_restart_that_fails_keeps_the_old_ones(run_directory: Path) -> None:
    async with working(run_directory) as (workers, port):
        before = workers.pids
        (run_directory / "broken").touch()
        await workers.restart()
        assert workers.pids == before
        assert await who_answers(port) == before[0]


async def test_workers_that_never_serve_are_given_up(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lml_live.limits.WORKER_START_TRIES", 1)
    (run_directory / "broken").touch()
    with pytest.raises(Unavailable, match="before they serve"):
        async with working(run_directory):
            pass
    assert capfd.readouterr().err == "lml: the stand-in is broken\n"


async def test_a_worker_that_does_not_stop_is_killed(run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lml_live.limits.WORKER_STOP_SECONDS", 0.2)
    (run_directory / "stubborn").touch()
    async with working(run_directory) as (workers, _):
        [pid] = workers.pids
    assert gone(pid)


def test_a_port_in_use_is_an_error() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(Conflict, match="Address already in use; set LML_HOST"):
        listen("127.0.0.1", first.getsockname()[1])


def test_a_host_that_is_none_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="no address of this machine"):
        listen("no such host", 0)
    with pytest.raises(Conflict, match=r"Cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


def test_ipv6_is_understood() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        with listen("::1", 0) as listener:
            assert listener.family == socket.AF_INET6
    except Conflict:
        pytest.skip("this machine has no IPv6 loopback")
