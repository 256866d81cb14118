"""`python -m loadtests`: a crowd at a sale's opening, on a server of its own or one on this machine, and a verdict."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from lml_live import errors
from loadtests.accounts import STRIPE_KEY, STRIPE_URL
from loadtests.bounds import (
    MONEY_SECONDS_MAX,
    OVERTIME_SECONDS,
    REST_SECONDS_MAX,
    RUN_SECONDS_DEFAULT,
    RUN_SECONDS_MAX,
    RUN_SECONDS_MIN,
    STOP_SECONDS,
    USERS_DEFAULT,
    USERS_MAX,
    require_loopback,
)
from loadtests.history import read_history
from loadtests.house import ROOT, Target, open_event_of, own_house, running, scratch
from loadtests.verdict import Verdict, judge, show

WEB_PORT: Final = 8089
STOPPED: Final = 143
"""The shell's exit code for a program that SIGTERM ended."""


class RunTime(click.ParamType):
    """Seconds, with an `s` or without: `90`, `90s`."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).removesuffix("s")
        if not text.isdecimal() or not RUN_SECONDS_MIN <= int(text) <= RUN_SECONDS_MAX:
            self.fail(f"{value!r}: {RUN_SECONDS_MIN}s to {RUN_SECONDS_MAX}s are possible", param, ctx)
        return int(text)


def _loopback(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else require_loopback(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--users", type=click.IntRange(1, USERS_MAX), default=USERS_DEFAULT, show_default=True)
@click.option("--run-time", type=RunTime(), default=RUN_SECONDS_DEFAULT, show_default=True)
@click.option("--host", callback=_loopback, help="A server on this machine instead of one of the run's own.")
@click.option("--event", help="With --host: the event to sell; without it the first that is open.")
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Of the run's own server.")
@click.option("--no-buying", is_flag=True, help="Hold only: for a server that takes no payments, or real ones.")
@click.option("--web", is_flag=True, help=f"Show locust's page on 127.0.0.1:{WEB_PORT} while it runs.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the verdict here, as JSON.")
@click.option("--history", type=click.Path(dir_okay=False, path_type=Path), help="Keep the history here.")
def load(
    users: int,
    run_time: int,
    host: str | None,
    event: str | None,
    workers: int,
    no_buying: bool,
    web: bool,
    report: Path | None,
    history: Path | None,
) -> None:
    """Puts a sale's opening on a server of this machine, and judges what it did. Exit code 0: clean, 1: not.

    \b
    Examples:
      python -m loadtests
      python -m loadtests --users 1000 --run-time 120s --workers 2 --report report.json
      python -m loadtests --host http://127.0.0.1:8080 --event demo-hall --web
    """
    if event is not None and host is None:
        raise click.UsageError("--event belongs to --host")
    # Told to stop, it takes what it started with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    try:
        with scratch() as directory:
            kept = history or directory / "history.jsonl"
            with _target(host, event, workers, directory) as target:
                click.echo(f"{users} users for {run_time} s on {target.url}, event {target.event}")
                crowd = _crowd(target, users, run_time, kept, no_buying, web)
            verdict = judge(read_history(kept) if kept.exists() else [])
    except errors.Unavailable as error:
        raise click.ClickException(error.message) from error
    faults = [*verdict.faults, *([] if crowd == 0 else [f"locust ended with exit code {crowd}"])]
    if report is not None:
        report.write_bytes(msgspec.json.format(msgspec.json.encode(_report(verdict, users, run_time, faults))))
    if crowd != 0:
        click.echo(f"locust ended with exit code {crowd}", err=True)
    click.echo(show(verdict))
    sys.exit(1 if faults else 0)


@contextlib.contextmanager
def _target(host: str | None, event: str | None, workers: int, directory: Path) -> Iterator[Target]:
    if host is not None:
        yield Target(host, event or open_event_of(host))
        return
    click.echo("Starting a server of its own")
    with own_house(workers, directory) as target:
        yield target


def _crowd(target: Target, users: int, run_time: int, history: Path, no_buying: bool, web: bool) -> int:
    """Runs locust until it is done, and answers its exit code."""
    command = [
        *(sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py")),
        *("--users", str(users), "--run-time", f"{run_time}s", "--stop-timeout", f"{STOP_SECONDS}s"),
        *("--host", target.url, "--event", target.event, "--history", str(history.absolute())),
        # Refusals are no failures of locust's; the verdict decides.
        *("--exit-code-on-error", "0", "--loglevel", "WARNING"),
        *(["--no-buying"] if no_buying else []),
    ]
    if web:
        click.echo(f"The page: http://127.0.0.1:{WEB_PORT}/")
        command += ["--autostart", "--autoquit", "1", "--web-host", "127.0.0.1", "--web-port", str(WEB_PORT)]
    else:
        command += ["--headless", "--only-summary"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    if target.stripe is not None:
        environ |= {STRIPE_URL: target.stripe.url, STRIPE_KEY: target.stripe.secret_key}
    # It takes no keys: those that locust knows change the number of users.
    with running(command, env=environ, stdin=subprocess.DEVNULL) as crowd:
        try:
            return crowd.wait(run_time + STOP_SECONDS + REST_SECONDS_MAX + MONEY_SECONDS_MAX + OVERTIME_SECONDS)
        except subprocess.TimeoutExpired as error:
            crowd.kill()
            raise errors.Unavailable("locust did not come to an end") from error


def _report(verdict: Verdict, users: int, run_time: int, faults: list[str]) -> dict[str, Any]:
    shown = {"clean": not faults, "users": users, "run_seconds": run_time, "faults": faults}
    return shown | msgspec.to_builtins(verdict)


if __name__ == "__main__":
    load()
