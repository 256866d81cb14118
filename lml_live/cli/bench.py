"""`lml bench`: what operations cost on this machine, beside their limits and peers."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import click
import uvloop

from lml_live.bench import bounds
from lml_live.cli.logs import set_up_logging

STOPPED: Final = 130
"""The shell's exit code for a program that Ctrl-C ended."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print figures, counters, workloads and flags as JSON.")
@click.option("--only", "names", multiple=True, metavar="NAME", help="Only this row; repeatable. See --list.")
@click.option(
    "--seconds",
    type=click.FloatRange(bounds.SECONDS_MIN, bounds.SECONDS_MAX),
    default=bounds.SECONDS_DEFAULT,
    show_default=True,
    help="How long each side of a row is measured.",
)
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Also write the report to this file.")
@click.option("--list", "list_rows", is_flag=True, help="Say which rows there are, and measure nothing.")
def bench(as_json: bool, names: tuple[str, ...], seconds: float, markdown: Path | None, list_rows: bool) -> None:
    """Measures what operations cost, beside their limits and peers, by turns in the same run.

    Starts engines, a server and peers of its own in a temporary directory, on the loopback alone; uses nothing of a
    server that runs. The measure is CPU time per operation of the process concerned. A figure that cannot be measured
    here is listed with the reason. Whether goals are met does not change the exit code.

    \b
    Examples:
      lml bench
      lml bench --list
      lml bench --only valkey_hold --only guards --seconds 10
      lml bench --json > figures.json
      lml bench --markdown docs/benchmarks.md
    """
    # Only this command needs what is measured; the others start faster without.
    from lml_live.bench import figures, rows, run

    if list_rows:
        for row in rows.ROWS:
            click.echo(f"{row.name:<14} {row.asks}")
        return
    unknown = set(names) - {row.name for row in rows.ROWS}
    if unknown:
        raise click.UsageError(
            f"There is no row {', '.join(sorted(unknown))}; `lml bench --list` says which there are."
        )
    set_up_logging("bench", "error")
    chosen = [row for row in rows.ROWS if not names or row.name in names]
    report = _run(run.measure(chosen, seconds, sys.argv[2:], _say))
    if markdown is not None:
        markdown.write_text(figures.as_markdown(report), encoding="utf-8")
        _say(f"written: {markdown}")
    click.echo(figures.as_json(report).decode() if as_json else figures.as_text(report.figures))


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs to the end, or until SIGINT or SIGTERM; then all that was started is stopped first."""

    async def main() -> Any:
        task = asyncio.ensure_future(work)
        told = False

        def stop() -> None:
            nonlocal told
            if not told:  # A second Ctrl-C must not interrupt the stopping.
                told = True
                _say("stopping")
                task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            if not told:
                raise
            raise SystemExit(STOPPED) from None

    return uvloop.run(main())


def _say(line: str) -> None:
    click.echo(f"  {line}", err=True)
