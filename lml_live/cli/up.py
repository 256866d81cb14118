"""`lml up`: the embedded engines, and the server on them."""

import asyncio
import importlib
import secrets
import time
from functools import partial
from pathlib import Path

import click
import msgspec

from lml_live.cli.logs import set_up_logging
from lml_live.cli.serve import SETTINGS_HELP, print_ready, report, run_until_told, run_workers
from lml_live.devstack import preflight
from lml_live.devstack.engines import engines, with_engines
from lml_live.devstack.servers import write_private
from lml_live.errors import Unavailable
from lml_live.gateway.workers import listen
from lml_live.guard.staff import FIRST_ADMIN_EMAIL
from lml_live.infra.config import Settings, load_settings


@click.command(epilog=SETTINGS_HELP)
def up() -> None:
    """Starts embedded engines and the server on this machine.

    The first run makes the databases and loads a demonstration. An engine whose address is set in the environment is
    used instead of an embedded one. Ctrl-C stops everything, and so does closing the terminal.

    \b
    Examples:
      lml up
      LML_PORT=9000 LML_WORKERS=2 lml up
      LML_POSTGRES_DSN=postgresql://lml:secret@db/lml lml up
    """
    settings = load_settings()
    set_up_logging("lml", settings.log_level)
    _check_machine(settings)
    run_until_told(lambda: _up(settings), hang_up_stops=True)


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
        # It takes a third of a second to import: done while the engines start.
        imported = asyncio.create_task(asyncio.to_thread(importlib.import_module, "lml_live.preparing"))
        webhook_url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1/webhooks/stripe"
        async with engines(settings, report, webhook_url=webhook_url) as urls:
            await imported
            from lml_live import preparing

            settings = _with_mailbox(settings, listener.getsockname()[1])
            settings = with_engines(settings, urls)
            offering, offered = _offer_login(settings)
            prepared = await preparing.prepare(offering, report)
            login = _keep_login(settings.data_dir, made=offered or prepared.admin_login is not None)
            ready = partial(print_ready, listener, started, login, settings)
            await run_workers(settings, listener, ready, hang_up_restarts=False)


def _with_mailbox(settings: Settings, port: int) -> Settings:
    """Without a mail server mails are kept to be looked at, where the database is this machine's own, too."""
    if settings.smtp_url is not None or settings.postgres_dsn is not None:
        return settings
    public_url = settings.public_url or f"http://127.0.0.1:{port}"
    return msgspec.structs.replace(settings, mailbox=1, public_url=public_url)


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
