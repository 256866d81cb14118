"""A server of the run's own: `lml up` on free loopback ports in a temporary directory, with an event on sale."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from lml_live import errors
from lml_live.devstack.engines import running_engines
from lml_live.infra.config import Settings
from loadtests import rest
from loadtests.accounts import Stripe
from loadtests.bounds import HOUSE_STOP_SECONDS, START_SECONDS_MAX

ROOT: Final = Path(__file__).parents[1]
ADMIN_EMAIL: Final = "load@example.org"
DEMONSTRATION: Final = "demo-hall"
LAST_LINES: Final = 100
"""Of the server's output, kept for the case that it ends in the middle of a run."""
HOLD_SECONDS: Final = 20
"""Short, so that holds expire within the run too, and are seen to."""


class Target(Struct, frozen=True):
    """What is put under load."""

    url: str
    event: str
    stripe: Stripe | None = None
    """None where the server is not the run's own: nobody lets us into its Stripe's ledger."""


@contextmanager
def running(command: list[str], **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A program for as long as the block lasts; where the block fails, it is told to end.

    A SIGTERM that comes while it is being started is answered once it is known: answered at once, it would leave a
    program that runs on and that nobody ends.
    """
    early: list[int] = []
    ours = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda number, _: early.append(number)) if ours else None
    with subprocess.Popen(command, cwd=ROOT, text=True, **options) as process:  # noqa: S603 - our own interpreter
        try:
            if ours:
                signal.signal(signal.SIGTERM, before)
            for number in early:
                signal.raise_signal(number)
            yield process
        except BaseException:
            process.terminate()
            raise


@contextmanager
def own_house(workers: int, directory: Path) -> Iterator[Target]:
    """A fresh server and a fresh event on the demonstration's hall of 2,804 seats; all of it is gone afterwards.

    Raises `errors.Unavailable` where it does not start.
    """
    password = secrets.token_urlsafe(16)
    others = {name: value for name, value in os.environ.items() if not name.startswith("LML_")}
    environ = {
        **others,
        "LML_DATA_DIR": str(directory / "data"),
        "LML_PORT": "0",
        "LML_WORKERS": str(workers),
        "LML_CAPS_EXEMPT": "127.0.0.0/8",
        "LML_ADMIN_EMAIL": ADMIN_EMAIL,
        "LML_ADMIN_PASSWORD": password,
    }
    # The directory in the command line says in a list of processes whose server this is.
    command = [sys.executable, "-X", f"load={directory}", "-m", "lml_live.cli", "up"]
    with running(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        said: deque[str] = deque(maxlen=LAST_LINES)
        try:
            url = _address(server, said)
            token = rest.call(url, "POST", "/sessions", {"email": ADMIN_EMAIL, "password": password})["token"]
            yield Target(url, _open_event(url, token), _stripe_of(directory / "data"))
        finally:
            if server.poll() is not None:
                sys.stderr.write(f"The server ended by itself, with exit code {server.returncode}. Its last lines:\n")
                sys.stderr.writelines(said)
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(HOUSE_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is deleted afterwards, and that PostgreSQL's own user may enter where we are root."""
    directory = Path(tempfile.mkdtemp(prefix="lml-load-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _address(server: "subprocess.Popen[str]", said: deque[str]) -> str:
    """Reads what the server prints until it is ready, and goes on reading, so that it never waits for us."""
    ready = threading.Event()
    assert server.stdout is not None
    output = server.stdout

    def read() -> None:
        for line in output:
            said.append(line)
            if "Ctrl-C stops it." in line:
                ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    in_time = ready.wait(START_SECONDS_MAX)
    found = re.search(r"page +(http://\S+?)/\s", "".join(said))
    if not in_time or found is None:
        raise errors.Unavailable("The server did not start:\n" + "".join(said))
    return found[1]


def _stripe_of(data: Path) -> Stripe:
    """The double that `lml up` has started, by what it keeps in its data directory for the `lml` commands."""
    urls = running_engines(Settings(data_dir=data))
    if urls is None or urls.stripe is None:
        raise errors.Unavailable("The server started no Stripe double")
    return Stripe(urls.stripe.api_base, urls.stripe.secret_key)


def _open_event(url: str, token: str) -> str:
    shown = rest.call(url, "GET", f"/events/{DEMONSTRATION}")
    made = rest.call(
        url,
        "POST",
        "/events",
        {
            "name": "On sale",
            "venue": shown["venue"],
            "starts_at": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
            "currency": shown["currency"],
            "layout": {"id": shown["layout"]["id"]},
            "prices": shown["prices"],
            "limits": {"max_seats": 8, "hold_seconds": HOLD_SECONDS, "extensions": 1, "lifetime_seconds": 600},
        },
        token=token,
    )
    event: str = made["id"]
    rest.call(url, "POST", f"/events/{event}/open", token=token)
    return event


def open_event_of(url: str) -> str:
    """The first event of a server that is on sale. Raises `errors.Unavailable` where there is none."""
    for event in rest.call(url, "GET", "/events?limit=200")["items"]:
        if event["state"] == "open":
            name: str = event["id"]
            return name
    raise errors.Unavailable(f"{url} sells no event now")
