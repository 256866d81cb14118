"""`lml serve`, the worker that it and `lml up` start, and how both run until they are told to stop."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import click
import msgspec
import uvloop

from lml_live.cli.logs import set_up_logging
from lml_live.errors import InvalidInput, Violation
from lml_live.gateway.workers import Workers, listen, run_as_worker
from lml_live.infra.config import DESCRIPTIONS, Settings, load_settings, to_environ

SETTINGS_HELP: Final = "\b\nSettings, from the environment:\n" + "\n".join(
    f"  LML_{field.upper():<18} {text.replace('`', '')}" for field, text in DESCRIPTIONS.items()
)


@click.command(epilog=SETTINGS_HELP)
def serve() -> None:
    """Runs the server alone, on engines named by the environment.

    SIGTERM or Ctrl-C stops it gracefully: every socket is told `bye`. SIGHUP replaces the workers one by one.

    \b
    Example:
      LML_REDIS_URL=redis://… LML_POSTGRES_DSN=postgresql://… LML_MONGO_URL=mongodb://… LML_WORKERS=4 lml serve
    """
    settings = load_settings()
    set_up_logging("lml", settings.log_level)
    named = {"redis_url": "Redis", "postgres_dsn": "PostgreSQL", "mongo_url": "MongoDB"}
    missing = [field for field in named if getattr(settings, field) is None]
    if missing:
        variables = [f"LML_{field.upper()} ({named[field]})" for field in missing]
        raise InvalidInput(
            f"`lml serve` starts no engines: set {', '.join(variables)}, or use `lml up`",
            errors=tuple(Violation(f"LML_{field.upper()}", "is not set") for field in missing),
        )
    run_until_told(lambda: _serve(settings), hang_up_stops=False)


@click.command(hidden=True)
@click.option("--fd", type=int, required=True)
@click.option("--alive-fd", type=int, required=True)
def worker(fd: int, alive_fd: int) -> None:
    """One worker process, started by `up` and `serve` alone."""
    gc.disable()  # what is imported stays: to look through it again and again is a tenth of the start
    from lml_live import wiring

    gc.enable()
    settings = load_settings()
    set_up_logging("worker", settings.log_level)

    async def work(listener: socket.socket, ready: Callable[[], None], stop: asyncio.Event) -> None:
        await wiring.run_worker(settings, listener, ready, stop)

    uvloop.run(run_as_worker(fd, alive_fd, work))


async def _serve(settings: Settings) -> None:
    from lml_live import preparing

    started = time.monotonic()
    with listen(settings.host, settings.port) as listener:
        prepared = await preparing.prepare(settings, report, demonstration=False)
        # One that the settings name needs no telling.
        login = prepared.admin_login if settings.admin_password is None else None
        ready = partial(print_ready, listener, started, login, settings)
        await run_workers(settings, listener, ready, hang_up_restarts=True)


async def run_workers(
    settings: Settings, listener: socket.socket, on_ready: Callable[[], None], *, hang_up_restarts: bool
) -> None:
    """Runs the workers until this task is cancelled; they are stopped before it returns.

    Where `hang_up_restarts`, SIGHUP replaces them one by one.
    """
    if settings.caps_exempt:
        report(f"no caps per address for {', '.join(map(str, settings.caps_exempt))}")
    # Who migrates has done so; a worker that was taken over must not find those addresses in its environment.
    settings = msgspec.structs.replace(settings, postgres_owner_dsn=None, mongo_owner_url=None)
    others = {name: value for name, value in os.environ.items() if not name.startswith("LML_")}
    workers = Workers(listener, settings.workers, worker_command, others | to_environ(settings))
    loop = asyncio.get_running_loop()
    restarts: set[asyncio.Task[None]] = set()

    def restart() -> None:
        if not restarts:
            task = loop.create_task(workers.restart())
            restarts.add(task)
            task.add_done_callback(restarts.discard)

    try:
        await workers.start()
        if hang_up_restarts:
            loop.add_signal_handler(signal.SIGHUP, restart)
        on_ready()
        await loop.create_future()
    finally:
        report("stopping")
        for task in list(restarts):
            task.cancel()
        await asyncio.gather(*restarts, return_exceptions=True)
        await workers.stop()


def worker_command(fd: int, alive_fd: int) -> list[str]:
    return [sys.executable, "-m", "lml_live.cli", "worker", "--fd", str(fd), "--alive-fd", str(alive_fd)]


def run_until_told(body: Callable[[], Coroutine[Any, Any, None]], *, hang_up_stops: bool) -> None:
    """Runs until done, or until the first SIGINT or SIGTERM; further ones cannot interrupt the stopping.

    Where `hang_up_stops`, SIGHUP is one of them, unless who started us, as `nohup` does, had it ignored.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        hang_up_stops = False

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        told = False

        def stop() -> None:
            nonlocal told
            if not told:
                told = True
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hang_up_stops else [])):
            loop.add_signal_handler(number, stop)
        try:
            await body()
        except asyncio.CancelledError:
            if not told:
                raise
            report("stopped")

    asyncio.run(main())


def report(line: str) -> None:
    # A closed terminal, or a reader that has left, must not keep us from stopping in order.
    with contextlib.suppress(OSError):
        click.echo(f"  {line}")


def print_ready(listener: socket.socket, started: float, login: str | None, settings: Settings) -> None:
    host, port = listener.getsockname()[:2]
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - a comparison
    shown = "127.0.0.1" if everywhere else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}"
    click.echo(f"\nLML Live is ready ({time.monotonic() - started:.1f} s){', on all addresses' if everywhere else ''}")
    click.echo(f"  page   {address}/")
    click.echo(f"  docs   {address}/docs")
    if settings.mailbox:
        click.echo(f"  mails  {address}/mailbox")
    if login:
        click.echo(f"  login  {login}")
    click.echo("Ctrl-C stops it.")
    sys.stdout.flush()
