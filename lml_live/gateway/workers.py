"""The parent that binds once and keeps worker processes on that socket, and the worker's side of the bond.

Between parent and worker is one pair of sockets. The worker writes a byte to it when it serves; an end of file on it
means that the other side is gone, so that workers never outlive a parent that was killed.
"""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from lml_live import limits
from lml_live.errors import Conflict, InvalidInput, Unavailable

_log: Final = logging.getLogger(__name__)

Serve = Callable[[socket.socket, Callable[[], None], asyncio.Event], Awaitable[None]]
"""What a worker does: serve on the socket, call the callable then, close all and return once the event is set."""


# --- The parent


def listen(host: str, port: int) -> socket.socket:
    """Binds the one listening socket. Raises `Conflict` where the port is in use, `InvalidInput` for a wrong host."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
    except socket.gaierror as error:
        raise InvalidInput(f"LML_HOST {host!r} is no address of this machine: {error.strerror}") from error
    listener = socket.socket(family, kind)
    deadline = time.monotonic() + limits.LISTEN_WAIT_SECONDS
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while True:
            try:
                listener.bind(address)
                break
            except OSError as error:
                # The workers of a parent that was killed a moment ago may be about to let go.
                if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)
        listener.listen(limits.LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        raise Conflict(
            f"Cannot listen on {host} port {port}: {error.strerror}; set LML_HOST and LML_PORT to something else "
            "(port 0 takes a free one)"
        ) from error
    return listener


class _Worker:
    """One worker process as its parent sees it."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, bond: socket.socket) -> None:
        self.number = number
        self.process = process
        self.bond = bond
        self.started = time.monotonic()
        self.stopping = False

    async def ready(self) -> bool:
        """Waits until it serves; false when it ended, or hung, instead."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limits.WORKER_START_SECONDS):
                return await loop.sock_recv(self.bond, 1) != b""
        except (TimeoutError, OSError):
            return False

    async def stop(self) -> None:
        """Lets it finish, within the bound; then it is killed."""
        self.stopping = True
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(limits.WORKER_STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            _log.warning("Worker %d did not stop in %d s and is killed", self.number, limits.WORKER_STOP_SECONDS)
            self.kill()
            await self.process.wait()
        self.bond.close()

    async def give_up(self) -> None:
        """Ends one that does not serve; one that is ending by itself may say why first."""
        try:
            async with asyncio.timeout(limits.WORKER_LAST_WORDS_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()
        self.bond.close()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


class Workers:
    """Worker processes on one listening socket: started, replaced when they die, restarted one by one, stopped.

    `command(fd, alive_fd)` is a worker's command line; `environ` is its environment, secrets included (a command line
    can be read by everybody on the machine).
    """

    def __init__(
        self,
        listener: socket.socket,
        count: int,
        command: Callable[[int, int], Sequence[str]],
        environ: Mapping[str, str],
    ) -> None:
        self._listener = listener
        self._command = command
        self._environ = environ
        self._slots: list[_Worker | None] = [None] * count
        self._keepers: list[asyncio.Task[None]] = []
        self._changing = asyncio.Lock()

    @property
    def pids(self) -> list[int]:
        """The processes of now, by slot."""
        return [worker.process.pid for worker in self._slots if worker is not None]

    async def start(self) -> None:
        """Returns when all serve. Raises `Unavailable` where one ends instead, `WORKER_START_TRIES` times in a row."""
        first = [self._first_start(number) for number in range(len(self._slots))]
        for outcome in await asyncio.gather(*first, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        self._keepers = [asyncio.create_task(self._keep(number)) for number in range(len(self._slots))]

    async def stop(self) -> None:
        """Stops all, within the bound; safe to call at any time, also after a `start` that failed."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._slots if worker is not None))

    async def restart(self) -> None:
        """Replaces one worker after the other; each old one stops when its successor serves."""
        async with self._changing:
            for number in range(len(self._slots)):
                fresh = await self._spawn(number)
                try:
                    serves = await fresh.ready()
                except BaseException:
                    fresh.kill()
                    raise
                if not serves:
                    await fresh.give_up()
                    _log.error("The new worker %d does not serve; the old ones stay", number)
                    return
                old, self._slots[number] = self._slots[number], fresh
                if old is not None:
                    await old.stop()
        _log.info("All workers have been replaced")

    async def _first_start(self, number: int) -> None:
        for _ in range(limits.WORKER_START_TRIES):
            worker = self._slots[number] = await self._spawn(number)
            if await worker.ready():
                return
            await worker.give_up()
        raise Unavailable("The workers end before they serve; their messages are above")

    async def _keep(self, number: int) -> None:
        pause = 0.0
        while True:
            worker = self._slots[number]
            if worker is not None:
                code = await worker.process.wait()
                if worker is not self._slots[number] or worker.stopping:
                    # A rolling restart has replaced it, or is about to.
                    await asyncio.sleep(limits.ENGINE_LOOK_SECONDS)
                    continue
                worker.bond.close()
                if time.monotonic() - worker.started > limits.ENGINE_RESTART_WAIT_SECONDS_MAX:
                    pause = 0.0
                _log.warning("Worker %d (process %d) ended, %s; another takes its place", number, worker.process.pid,
                             _ended(code))  # fmt: skip
            await asyncio.sleep(pause)
            pause = min(2 * pause + 0.1, limits.ENGINE_RESTART_WAIT_SECONDS_MAX)
            async with self._changing:
                if self._slots[number] is not worker:
                    continue
                fresh = self._slots[number] = await self._spawn(number)
            if await fresh.ready():
                _log.info("Worker %d serves (process %d)", number, fresh.process.pid)
            else:
                await fresh.give_up()

    async def _spawn(self, number: int) -> _Worker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command(self._listener.fileno(), theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(self._listener.fileno(), theirs.fileno()),
                env=dict(self._environ),
                start_new_session=True,  # Ctrl-C in the terminal is the parent's to handle.
            )
        return _Worker(number, process, ours)


def _ended(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


# --- The worker


async def run_as_worker(fd: int, alive_fd: int, serve: Serve) -> None:
    """Runs `serve` on the inherited socket until the parent says stop (SIGTERM) or is gone.

    A worker that does not finish in time ends itself: SIGALRM works even where the loop is stuck.
    """
    _raise_open_files()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def orphaned() -> None:
        # The socket is shared: as long as one of us listened, the next parent could not bind the port.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        end()

    def end() -> None:
        loop.remove_reader(alive)
        signal.alarm(limits.WORKER_STOP_SECONDS + 5)
        stop.set()

    def tell_ready() -> None:
        with contextlib.suppress(OSError):
            alive.send(b"r")

    with socket.socket(fileno=alive_fd) as alive, socket.socket(fileno=fd) as listener:
        # The parent never writes: readable means that it is gone.
        alive.setblocking(False)
        listener.setblocking(False)
        os.set_inheritable(alive_fd, False)
        os.set_inheritable(fd, False)
        loop.add_reader(alive, orphaned)
        loop.add_signal_handler(signal.SIGTERM, end)
        loop.add_signal_handler(signal.SIGINT, end)
        try:
            await serve(listener, tell_ready, stop)
        finally:
            loop.remove_reader(alive)


def _raise_open_files() -> None:
    # Each client is an open file; the usual soft limit of 1,024 is for programs that use select().
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
