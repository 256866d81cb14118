"""A short run as people start it: a server of its own, a crowd, a verdict."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
from serving import LiveServer
from waiting import eventually

from loadtests.history import Act, read_history

ROOT = Path(__file__).parents[2]


def processes_of(directory: Path) -> list[list[str]]:
    return [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in argument for argument in process.info["cmdline"] or ())
    ]


async def start(directory: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests", *arguments),
        cwd=ROOT,
        # What it starts is in the test's directory, so that the run ends it whatever happens.
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def run(directory: Path, *arguments: str) -> tuple[int, str]:
    process = await start(directory, *arguments)
    assert process.stdout is not None
    async with asyncio.timeout(90):
        output = await process.stdout.read()
        return await process.wait(), output.decode()


async def test_a_short_run_on_its_own_server_is_clean(run_directory: Path) -> None:
    report, history = run_directory / "report.json", run_directory / "history.jsonl"
    code, output = await run(
        run_directory,
        *("--users", "30", "--run-time", "5s", "--report", str(report), "--history", str(history)),
    )
    assert code == 0, output
    assert output.rstrip().endswith("VERDICT: clean")
    said = json.loads(report.read_bytes())
    assert said["clean"] is True
    assert said["viewers"] >= 10
    assert said["holds_granted"] > 0
    assert said["hold_latency"]["p99_ms"] > 0
    assert said["bookings"]["confirmed"] > 0
    assert said["money_checked"] is True
    assert said["buy_latency"]["p99_ms"] > 0
    verbs = {line.verb for line in read_history(history) if isinstance(line, Act)}
    assert {"join", "hold", "buy"} <= verbs
    assert sorted(os.listdir(run_directory)) == ["history.jsonl", "report.json"]
    assert processes_of(run_directory) == []


async def test_a_run_that_is_told_to_stop_takes_its_server_with_it(run_directory: Path) -> None:
    """In the middle of starting it, when it has some of its engines; test_running.py has the other moments."""
    process = await start(run_directory, "--users", "3", "--run-time", "60s")
    assert process.stdout is not None
    await eventually(lambda: any(run_directory.glob("*/data/valkey/valkey.conf")), 90)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(90):
        await process.stdout.read()
        assert await process.wait() == 143
    assert os.listdir(run_directory) == []
    assert processes_of(run_directory) == []


async def test_a_server_that_is_there_already(live_server: LiveServer, run_directory: Path) -> None:
    # As many that, however slow the machine, somebody holds something: a run without a hold is a fault.
    arguments = ("--users", "12", "--run-time", "3s", "--host", live_server.url, "--event", live_server.event)
    code, output = await run(run_directory, *arguments, "--no-buying")  # this one takes no payments
    assert code == 0, output
    assert "Starting a server" not in output
    assert "not checked" in output


async def test_a_server_that_is_not_there_is_told(run_directory: Path) -> None:
    code, output = await run(run_directory, "--users", "3", "--run-time", "2s", "--host", "http://127.0.0.1:9")
    assert code == 1
    assert "Connection refused" in output
    assert "Traceback" not in output
