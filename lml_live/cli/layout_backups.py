"""`lml layout backup`, `backups`, `restore`, `mend`, `thin-out`: layouts out of MongoDB's reach, and back."""

import sys
from typing import Final

import click

from lml_live.backoffice.layout_steps import Restored
from lml_live.backoffice.retention import Retention
from lml_live.cli.events import open_pool, postgres_dsn
from lml_live.cli.layout_life import REFUSED, on_record, run, tell, with_library
from lml_live.clock import to_datetime
from lml_live.errors import NotFound
from lml_live.infra.config import load_settings
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.backups import open_backups, policy_of
from lml_live.venues.copies import Copies
from lml_live.venues.library import Library, Saved
from lml_live.venues.retention import Backup
from lml_live.venues.stored import LayoutVersion


@click.command("backup")
@click.argument("layout_id", metavar="ID")
@click.option("--version", type=click.IntRange(min=1), help="The version; else the latest one.")
def backup_command(layout_id: str, version: int | None) -> None:
    """Backs a layout up now; prints the backup's id. Before publish and deploy it is done by itself.

    \b
    Examples:
      lml layout backup city-hall
      LML_BACKUP_BUCKET=house-backups lml layout backup city-hall --version 2
    """

    async def act(library: Library) -> Backup:
        return await on_record("backed_up", await library.back_up(layout_id, version))

    backup = run(with_library(act))
    tell(f"{layout_id}: version {backup.version} is backed up as {backup.key}")
    click.echo(backup.id)


@click.command("backups")
@click.argument("layout_id", metavar="[ID]", required=False)
def backups_command(layout_id: str | None) -> None:
    """Lists backups, the newest first, a line each, by tabs: layout, id, version, why, when, bytes, hash.

    \b
    Examples:
      lml layout backups city-hall
      lml layout backups | cut -f 1 | uniq -c
    """

    async def act() -> list[Backup]:
        async with open_backups(load_settings()) as backups:
            if layout_id is not None:
                return await backups.of_layout(layout_id)
            return [each for name in await backups.layouts() for each in await backups.of_layout(name)]

    for each in run(act()):
        taken = to_datetime(each.taken_ms).isoformat(timespec="seconds")
        fields = (each.layout_id, each.id, each.version, each.reason, taken, each.size_bytes, each.hash)
        click.echo("\t".join(map(str, fields)))


@click.command("restore")
@click.argument("layout_id", metavar="ID")
@click.argument("backup_id", metavar="[BACKUP]", required=False)
@click.option("--replace", is_flag=True, help="A draft that is there gives way; it is backed up before.")
def restore_command(layout_id: str, backup_id: str | None, replace: bool) -> None:
    """Makes a new draft of a backup, else of the newest that is whole, one that is in the audit trail before any other;
    prints the draft's version.

    \b
    Examples:
      lml layout restore city-hall
      lml layout restore city-hall 20261129T154620123Z-0f3a5c7e9b1d --replace
    """

    async def act(library: Library) -> Saved:
        saved = await library.restore(layout_id, backup_id, replace=replace)
        if saved.changed or not await library.is_on_record(saved.version):
            await on_record("restored", Restored(saved.version, saved.backup))
        return saved

    saved = run(with_library(act))
    what = "is a draft of that backup" if saved.changed else "is a draft with this content already"
    tell(f"{layout_id}: version {saved.version.version} {what}, {saved.version.hash}")
    if saved.backup is not None:
        tell(f"{layout_id}: taken was {saved.backup.id}, of version {saved.backup.version}")
    click.echo(saved.version.version)


@click.command("mend")
@click.argument("layout_id", metavar="ID")
@click.option("--version", type=click.IntRange(min=1), required=True, help="The version that is damaged in MongoDB.")
def mend_command(layout_id: str, version: int) -> None:
    """Puts a published version's content back into MongoDB, from a copy or backup that has its very hash.

    Nothing else can come of it: what has another hash is refused. What was set back in MongoDB gets the state again
    that is on record of it. Running servers need no restart.

    \b
    Examples:
      lml layout mend city-hall --version 2
    """
    settings = load_settings()

    async def act(library: Library) -> LayoutVersion:
        wanted = await library.hash_of(layout_id, version)
        async with open_backups(settings) as backups:
            data = await Copies(settings, backups).find(layout_id, wanted)
        if data is None:
            raise NotFound(f"There is no whole copy of {wanted}, in the bucket or among the backups.")
        return await on_record("mended", await library.mend(layout_id, version, data))

    mended = run(with_library(act))
    tell(f"{layout_id}: version {version} is what it was, {mended.hash}")


@click.command("thin-out")
@click.argument("layout_id", metavar="[ID]", required=False)
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
def thin_out_command(layout_id: str | None, dry_run: bool) -> None:
    """Removes the backups that LML_BACKUP_KEEP_… do not keep, and prints their keys; a server does it every hour.

    The newest whole backup of a layout stays, and one of every version that events are, or may be, sold on.

    \b
    Examples:
      lml layout thin-out --dry-run
      LML_BACKUP_KEEP_LAST=3 lml layout thin-out city-hall
    """
    settings = load_settings()

    async def act(library: Library) -> tuple[int, int]:
        kept, skipped = 0, 0
        async with open_backups(settings) as backups, open_pool(postgres_dsn()) as pool:
            layouts = (layout_id,) if layout_id is not None else tuple(await backups.layouts())
            retention = Retention(pool, library, backups, policy_of(settings))
            for each_id in layouts:
                try:
                    async for _, thinned in retention.thin_out((each_id,), dry_run=dry_run):
                        kept += thinned.kept
                        for each in thinned.removed:
                            click.echo(each.key)
                except LayoutDamaged as error:
                    # It keeps all that it has; the others do not wait for it.
                    tell(f"{each_id}: nothing is removed. {error.message}")
                    skipped += 1
        return kept, skipped

    kept, skipped = run(with_library(act))
    tell(f"{kept} backups stay")
    if skipped:
        sys.exit(REFUSED)


BACKUPS: Final = (backup_command, backups_command, restore_command, mend_command, thin_out_command)
"""The commands, for `lml layout`."""
