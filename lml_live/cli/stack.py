"""`lml up`, `lml serve` and the worker that both start."""

import asyncio
import contextlib
import importlib
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import uvloop

from lml_live.cli.logs import set_up_logging
from lml_live.devstack import preflight
from lml_live.devstack.engines import engines, with_engines
from lml_live.devstack.servers import write_private
from lml_live.errors import InvalidInput, Unavailable, Violation
from lml_live.gateway.workers import Workers, listen, run_as_worker
from lml_live.guard.staff import FIRST_ADMIN_EMAIL
from lml_live.infra.config import DESCRIPTIONS, Settings, load_settings, to_environ

_log: Final = logging.getLogger(__name__)

_SETTINGS_HELP: Final = "\b\nSettings, from the environment:\n" + "\n".join(
    f"  LML_{field.upper():<18} {text.replace('`', '')}" for field, text in DESCRIPTIONS.items()
)


@click.command(epilog=_SETTINGS_HELP)
def up() -> None:
    """Starts embedded engines and the server on this machine.

    The first run makes the databases and loads a demonstration. An engine whose address is set in the environment is
    used instead of an embedded one. Ctrl-C stops everything.

    \b
    Examples:
      lml up
      LML_PORT=9000 LML_WORKERS=2 lml up
      LML_POSTGRES_DSN=postgresql://lml:secret@db/lml lml up
    """
    settings = load_settings()
    set_up_logging("lml", settings.log_level)
    _check_machine(settings)
    _run(lambda: _up(settings), hang_up_stops=True)


@click.command(epilog=_SETTINGS_HELP)
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
    _run(lambda: _serve(settings), hang_up_stops=False)


@click.command(hidden=True)
@click.option("--fd", type=int, required=True)
@click.option("--alive-fd", type=int, required=True)
def worker(fd: int, alive_fd: int) -> None:
    """One worker process, started by `up` and `serve` alone."""
    from lml_live import wiring

    settings = load_settings()
    set_up_logging("worker", settings.log_level)

    async def work(listener: socket.socket, ready: Callable[[], None], stop: asyncio.Event) -> None:
        await wiring.run_worker(settings, listener, ready, stop)

    uvloop.run(run_as_worker(fd, alive_fd, work))


# --- Up


def _check_machine(settings: Settings) -> None:
    facts = preflight.gather(str(Path.cwd()))
    # The environment is there already, and `lml doctor` warns of a small disk.
    facts = facts._replace(has_venv=True, free_bytes=preflight.DISK_BYTES_MIN)
    if settings.mongo_url:
        facts = facts._replace(missing_libraries=())
    problems = preflight.problems(facts)
    if problems:
        raise Unavailable("The embedded engines cannot run here:\n" + "\n".join(f"  - {text}" for text in problems))


async def _up(settings: Settings) -> None:
    started = time.monotonic()
    listener = listen(settings.host, settings.port)  # First of all: a port in use is known before anything is started.
    with listener:
        # The whole house takes half a second to import: done while the engines start.
        imported = asyncio.create_task(asyncio.to_thread(importlib.import_module, "lml_live.wiring"))
        webhook_url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1/webhooks/stripe"
        async with engines(settings, _report, webhook_url=webhook_url) as urls:
            await imported
            from lml_live import wiring

            settings = with_engines(settings, urls)
            offering, offered = _offer_login(settings)
            prepared = await wiring.prepare(offering, _report)
            login = _keep_login(settings.data_dir, made=offered or prepared.admin_login is not None)
            await _run_workers(settings, listener, lambda: _print_ready(listener, started, login))


def _offer_login(settings: Settings) -> tuple[Settings, bool]:
    """Makes up the first administrator's login and keeps it before the account is made, so that no crash loses it.

    Also says whether an earlier start had offered it: then the account may be there already.
    """
    path, offer = settings.data_dir / "admin.txt", settings.data_dir / "admin.new"
    if settings.admin_password is not None or path.exists():
        return settings, False
    offered = offer.exists()
    if not offered:
        write_private(offer, f"{settings.admin_email or FIRST_ADMIN_EMAIL}\n{secrets.token_urlsafe(12)}\n")
    email, password = offer.read_text().split("\n")[:2]
    return msgspec.structs.replace(settings, admin_email=email, admin_password=password), offered


def _keep_login(data_dir: Path, *, made: bool) -> str | None:
    """What to print: a login that was made up is shown once and kept for the demonstration; later starts say where."""
    path, offer = data_dir / "admin.txt", data_dir / "admin.new"
    if offer.exists() and made:
        login = " / ".join(offer.read_text().split("\n")[:2])
        write_private(path, login + "\n")
        offer.unlink()
        return f"{login} (kept in {path})"
    offer.unlink(missing_ok=True)
    return f"in {path}" if path.exists() else None


# --- Serve


async def _serve(settings: Settings) -> None:
    from lml_live import wiring

    started = time.monotonic()
    with listen(settings.host, settings.port) as listener:
        prepared = await wiring.prepare(settings, _report, demonstration=False)
        # One that the settings name needs no telling.
        login = prepared.admin_login if settings.admin_password is None else None
        await _run_workers(settings, listener, lambda: _print_ready(listener, started, login))


# --- Both


async def _run_workers(settings: Settings, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Runs the workers until this task is cancelled; they are stopped before it returns."""
    if settings.caps_exempt:
        _report(f"no caps per address for {', '.join(map(str, settings.caps_exempt))}")
    others = {name: value for name, value in os.environ.items() if not name.startswith("LML_")}
    workers = Workers(listener, settings.workers, _worker_command, others | to_environ(settings))
    loop = asyncio.get_running_loop()
    restarts: set[asyncio.Task[None]] = set()

    def restart() -> None:
        if not restarts:
            task = loop.create_task(workers.restart())
            restarts.add(task)
            task.add_done_callback(restarts.discard)

    try:
        await workers.start()
        loop.add_signal_handler(signal.SIGHUP, restart)
        on_ready()
        await loop.create_future()
    finally:
        _report("stopping")
        for task in list(restarts):
            task.cancel()
        await asyncio.gather(*restarts, return_exceptions=True)
        await workers.stop()


def _worker_command(fd: int, alive_fd: int) -> list[str]:
    return [sys.executable, "-m", "lml_live.cli", "worker", "--fd", str(fd), "--alive-fd", str(alive_fd)]


def _run(body: Callable[[], Coroutine[Any, Any, None]], *, hang_up_stops: bool) -> None:
    """Runs until done, or until the first SIGINT or SIGTERM; further ones cannot interrupt the stopping."""

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
            _report("stopped")

    asyncio.run(main())


def _report(line: str) -> None:
    # A closed terminal, or a reader that has left, must not keep us from stopping in order.
    with contextlib.suppress(OSError):
        click.echo(f"  {line}")


def _print_ready(listener: socket.socket, started: float, login: str | None) -> None:
    host, port = listener.getsockname()[:2]
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - a comparison
    shown = "127.0.0.1" if everywhere else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}"
    click.echo(f"\nLML Live is ready ({time.monotonic() - started:.1f} s){', on all addresses' if everywhere else ''}")
    click.echo(f"  page   {address}/")
    click.echo(f"  docs   {address}/docs")
    if login:
        click.echo(f"  login  {login}")
    click.echo("Ctrl-C stops it.")
    sys.stdout.flush()
