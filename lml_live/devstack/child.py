"""One engine as a child process: started, found again after a crash, stopped within a bound."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final

import psutil

from lml_live import limits
from lml_live.devstack.binaries import Account
from lml_live.errors import Unavailable

LOOPBACK: Final = "127.0.0.1"

_PORTS: Final = range(20_000, 30_000)
"""Below the range that the system gives to outgoing connections: a client that keeps dialling a dead engine's port
could otherwise be given that very port as its own, connect to itself, and keep the engine from coming back."""


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could bind `port` now. Connections that linger after their server do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def accepts(port: int, host: str = LOOPBACK) -> bool:
    """Whether anybody answers at `port`: far cheaper to ask, again and again, than whether an engine is ready."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(limits.ENGINE_PROBE_SECONDS)
        return probe.connect_ex((host, port)) == 0


def free_port(preferred: int | None = None) -> int:
    """`preferred` where it is free, else a random free loopback port."""
    if preferred is not None and port_is_free(preferred):
        return preferred
    for _ in range(limits.ENGINE_PORT_TRIES):
        port = random.choice(_PORTS)  # noqa: S311 - no secret: a port
        if port_is_free(port):
            return port
    raise Unavailable(f"No free port on {LOOPBACK} between {_PORTS.start} and {_PORTS.stop}")


class Engine(ABC):
    """A server process that keeps its data in `directory` and listens on `port` of the loopback.

    Promises: `start` returns when the engine answers, and first ends a process that an earlier, killed parent left on
    the same directory; `stop` is graceful and bounded. The port stays the same over restarts. Errors: `Unavailable`,
    with the log's last lines.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, directory: Path, *, port: int | None = None, log: Path | None = None) -> None:
        self.directory = directory.absolute()
        self.log = (log or self.directory.with_name(f"{self.directory.name}.log")).absolute()
        self._given_port = port
        self._port: int | None = port
        self._process: subprocess.Popen[bytes] | None = None
        self.found_leftover = False
        """Whether a start had to end a process that an earlier, killed parent had left running on this directory."""

    # What each engine says about itself.

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect; carries the secret, if there is one."""

    @property
    @abstractmethod
    def marker(self) -> str:
        """The argument of the command line that belongs to this data directory alone."""

    @abstractmethod
    def program(self) -> str:
        """The path of the program; a leftover is known by its file name beside the marker."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """The command line after the program."""

    def account(self) -> Account | None:
        """The user to run as, where it is not our own."""
        return None

    async def prepare(self) -> None:
        """Makes the data directory and what must be in it before the process starts."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    @abstractmethod
    async def is_ready(self) -> bool:
        """Whether the engine answers; called again and again until it does."""

    async def finish(self) -> None:  # noqa: B027  # most engines are done once they answer
        """What remains to be done once it answers, on every start."""

    @property
    def remark(self) -> str:
        """Something that the operator should know when it has started."""
        return ""

    # What is the same for all.

    @property
    def port(self) -> int:
        """The port, chosen at the first start where none was given."""
        if self._port is None:
            raise Unavailable(f"{self.name} has not been started")
        return self._port

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs or has never run."""
        return None if self._process is None else self._process.poll()

    @property
    def exit_text(self) -> str:
        """How the process ended, in words."""
        code = self.exit_code
        return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"

    def prefer_port(self, port: int | None) -> None:
        """Asks for a port that need not be free; before the first start."""
        self._port = self._given_port or port

    async def start(self) -> None:
        """Starts the engine and waits until it answers."""
        if self.pid is not None:
            return
        for tries_left in reversed(range(limits.ENGINE_START_TRIES)):
            if await end_leftovers(self.marker, Path(self.program()).name, self.stop_signal):
                self.found_leftover = True
                # Its port may stay taken a moment longer than its process lives, and clients may know that port.
                await poll(lambda: self._port is None or port_is_free(self._port), limits.ENGINE_PORT_WAIT_SECONDS)
            self._port = self._port if self._given_port is not None else free_port(self._port)
            try:
                await self.prepare()
                self._spawn()
            except OSError as error:
                raise Unavailable(f"{self.name} cannot be started: {error}") from error
            try:
                await self._wait_until_ready()
                await self.finish()
            except BaseException as error:
                await self.stop()
                # Somebody may have taken the port between our look and the engine's own bind.
                lost_port = isinstance(error, Unavailable) and not port_is_free(self.port)
                if lost_port and self._given_port is None and tries_left:
                    continue
                raise
            self._given_port = self._port  # Clients know it from now on.
            return

    async def stop(self) -> None:
        """Asks the process to end, then kills it after `ENGINE_STOP_SECONDS`."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(self.stop_signal)
            if not await poll(lambda: self.pid is None, limits.ENGINE_STOP_SECONDS):
                await self.kill()

    async def kill(self) -> None:
        """Ends the process at once, as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            await poll(lambda: self.pid is None, limits.ENGINE_STOP_SECONDS)

    async def restart(self) -> None:
        """Stops, where it still runs, and starts again on the same port and data."""
        await self.stop()
        await self.start()

    def _spawn(self) -> None:
        rotate(self.log)
        account = self.account()
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches the parent alone, which then stops all in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [self.program(), *self.arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + limits.ENGINE_START_SECONDS
        opened = False
        while not (opened and await self.is_ready() and self._listens()):
            if not opened and (opened := accepts(self.port)):
                continue
            if self.pid is None:
                raise Unavailable(f"{self.name} ended at once ({self.exit_text}); {self.log_tail()}")
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{self.name} does not answer after {limits.ENGINE_START_SECONDS} s; {self.log_tail()}"
                )
            await asyncio.sleep(0.01)

    def _listens(self) -> bool:
        # The answer may have been somebody else's, who has the port that our process has yet to fail to bind.
        try:
            connections = psutil.Process(self.pid).net_connections("tcp4") if self.pid is not None else []
        except psutil.Error:
            return False
        return any(found.status == psutil.CONN_LISTEN and found.laddr.port == self.port for found in connections)

    def log_tail(self) -> str:
        """The last lines of the log, for a message."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return f"the end of {self.log}:\n" + "\n".join(f"  | {line[:300]}" for line in lines[-8:])


def rotate(log: Path) -> None:
    """Makes the log's directory, and sets a log aside that has grown past its bound; one old one is kept."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > limits.ENGINE_LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))


def leftovers(marker: str, executable: str) -> list[psutil.Process]:
    """Processes that run `executable` on the data named by `marker`, whoever started them.

    Known by program name and by the whole argument, not by a number from a file: a process id may have been given to
    somebody else meanwhile, and `tail -f` on an engine's log must live.
    """
    found = []
    for process in psutil.process_iter():
        try:
            arguments = process.cmdline()
            if arguments and Path(arguments[0]).name == executable and marker in arguments[1:]:
                found.append(process)
        except psutil.Error:
            continue  # It ended while we looked.
    return found


async def end_leftovers(marker: str, executable: str, stop_signal: signal.Signals) -> int:
    """Ends, gracefully and then with force, what an earlier parent left running; returns how many there were."""
    processes = [process for process in leftovers(marker, executable) if process.pid != os.getpid()]
    _signal_all(processes, stop_signal)
    if not await poll(lambda: not any(map(_runs, processes)), limits.ENGINE_STOP_SECONDS):
        _signal_all(processes, signal.SIGKILL)
        if not await poll(lambda: not any(map(_runs, processes)), limits.ENGINE_STOP_SECONDS):
            raise Unavailable(f"Process {processes[0].pid} ({executable}) still uses {marker} and cannot be ended")
    return len(processes)


def _signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)  # psutil compares the creation time first.
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied as error:
            raise Unavailable(
                f"Process {process.pid} of user {process.username()} still runs on this data; end it as that user"
            ) from error


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits until it holds; False where it does not in so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True
