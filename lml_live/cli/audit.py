"""`lml audit …`: whether the audit trail is as it was written, and what it says. Exit codes as those of `lml event`."""

from typing import Final

import click

from lml_live.backoffice.anchors import Verdict, anchor_store, verify
from lml_live.backoffice.chain import HOUSE
from lml_live.backoffice.extracts import write_line
from lml_live.backoffice.trail import read_links, read_records
from lml_live.cli.events import open_pool, postgres_dsn, run, tell
from lml_live.cli.logs import set_up_logging
from lml_live.errors import NotFound
from lml_live.infra import postgres
from lml_live.infra.config import load_settings

TAMPERED: Final = 1


@click.group("audit")
def audit_group() -> None:
    """The audit trail: verify, export.

    \b
    Examples:
      lml audit verify
      lml audit export neon-harbour > neon-harbour.jsonl
    """


@audit_group.command("verify")
def verify_command() -> None:
    """Reads the whole trail and lists what was tampered with: records edited, deleted, inserted, ends cut off.

    A line each, by tabs: kind, event (- is the house), place in its chain, log, number in the log, words. Nothing is
    changed. Exit code 1 where anything is listed, 3 where the database or the anchors' store cannot be reached.

    \b
    Examples:
      lml audit verify
      LML_ANCHOR_BUCKET=house-anchors lml audit verify
    """
    settings = load_settings()
    set_up_logging("audit", "error")
    verdict = Verdict()

    async def act() -> int:
        faults = 0
        async with open_pool(postgres_dsn()) as pool, anchor_store(settings) as store:
            async for fault in verify(pool, store, verdict):
                faults += 1
                chain = "" if fault.chain is None else fault.chain or "-"
                places = ("" if part is None else str(part) for part in (fault.seq, fault.log, fault.number))
                click.echo("\t".join((fault.kind, chain, *places, fault.text)))
        return faults

    faults = run(act())
    waiting = f", {verdict.waiting} records wait for a server to chain them" if verdict.waiting else ""
    tell(f"{verdict.chains} chains, {verdict.links} records, {verdict.anchors} anchors: {faults} faults{waiting}")
    raise SystemExit(TAMPERED if faults else 0)


@audit_group.command("export")
@click.argument("event", required=False)
@click.option("--house", is_flag=True, help="What is no event's: staff, partners, sign-ins, layouts.")
def export_command(event: str | None, house: bool) -> None:
    """Writes an event's records in the order of their chain, as JSON lines: seq, hash, record.

    A line's hash is the SHA-256 of the hash before it (before the first: of `lml audit chain EVENT`) and of the bytes
    of `record` as they stand there, so that anybody can check the file. A record that is gone is null.

    \b
    Examples:
      lml audit export neon-harbour > neon-harbour.jsonl
      lml audit export --house | grep session.made
    """
    if (event is None) != house:
        raise click.UsageError("Name an event, or --house.")
    set_up_logging("audit", "error")

    async def act() -> int:
        written = 0
        async with open_pool(postgres_dsn()) as pool, postgres.connection(pool) as connected:
            async for links in read_links(connected, HOUSE if event is None else event):
                records = await read_records(connected, ((link.log, link.number) for link in links))
                for link in links:
                    record = records.get((link.log, link.number))
                    click.echo(write_line(link, None if record is None else record.body), nl=False)
                written += len(links)
        if not written:
            raise NotFound("Nothing of it is chained: is that the event's id?")
        return written

    tell(f"{run(act())} records")
