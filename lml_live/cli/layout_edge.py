"""`lml layout push`, `rollback`, `pointer`, `link`: layouts at the edge."""

from collections.abc import Iterable
from functools import partial
from typing import Final

import click
import msgspec

from lml_live.cli.layout_life import on_record, run, tell, with_library
from lml_live.errors import NotFound
from lml_live.infra.config import Settings, load_settings
from lml_live.venues.edge import Pointer
from lml_live.venues.library import Library
from lml_live.venues.links import Link, Links
from lml_live.venues.publishing import open_edge, push_version, roll_back_pointer
from lml_live.venues.pushing import Done

_DRY: Final = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


def edge_settings() -> Settings:
    """The settings; where no bucket is set those of the running `lml up`, which has a double."""
    from lml_live.devstack.engines import running_engines, with_engines

    settings = load_settings()
    running = running_engines(settings) if settings.s3_bucket is None else None
    return settings if running is None else with_engines(settings, running)


@click.command("push")
@click.argument("layout_id", metavar="ID")
@click.option("--version", type=click.IntRange(min=1), help="The deployed version; else the newest.")
@_DRY
def push_command(layout_id: str, version: int | None, dry_run: bool) -> None:
    """Puts a deployed version into the buckets of all regions and moves the pointer to it; deploying does it, too.

    Prints a line for each step, by tabs: region, what, key, bytes. What lies there whole is not sent again, so what has
    broken off goes on where it was.

    \b
    Examples:
      lml layout push city-hall --dry-run
      LML_S3_BUCKET=lml-layouts lml layout push city-hall --version 2
    """
    settings = edge_settings()

    async def act(library: Library) -> list[Done]:
        async with open_edge(settings) as edge:
            chosen = await library.deployed(layout_id, version)
            done = await push_version(library, edge, chosen, dry_run=dry_run)
        if not dry_run:
            await on_record("pushed", chosen)
        return done

    _print(run(with_library(act)))


@click.command("rollback")
@click.argument("layout_id", metavar="ID")
@click.option(
    "--from", "leaving", type=click.IntRange(min=1), help="The version to go back from: run again, it goes no further."
)
@_DRY
def rollback_command(layout_id: str, leaving: int | None, dry_run: bool) -> None:
    """Moves the pointer at the edge to where it was before, past versions that are retired; prints as `push` does.

    Events go on with the layouts that they were made on. What was rolled back comes back by `push` alone. One that has
    broken off is finished by the next, which goes no step further itself.

    \b
    Examples:
      lml layout rollback city-hall --dry-run
      lml layout rollback city-hall --from 4
    """
    settings = edge_settings()

    async def act(library: Library) -> list[Done]:
        async with open_edge(settings) as edge:
            record = partial(on_record, "rolled_back")
            done = await roll_back_pointer(library, edge, layout_id, record=record, leaving=leaving, dry_run=dry_run)
            pointer = await edge.pointer(layout_id)
        if pointer is not None and pointer.left is not msgspec.UNSET and not dry_run:
            tell(f"{layout_id}: the pointer is at version {pointer.version}, back from version {pointer.left}")
        return done

    done = run(with_library(act))
    for each in (each for each in done if each.did == "skipped"):
        tell(f"{layout_id}: passed over, as it is retired: {each.key}")
    _print(done)


@click.command("pointer")
@click.argument("layout_id", metavar="ID")
def pointer_command(layout_id: str) -> None:
    """Prints the pointer at the edge, as JSON: the newest version, and those that it was at before.

    \b
    Examples:
      lml layout pointer city-hall
    """

    async def act() -> Pointer:
        async with open_edge(edge_settings()) as edge:
            pointer = await edge.pointer(layout_id)
        if pointer is None:
            raise NotFound(f"Nothing of {layout_id} is at the edge.")
        return pointer

    click.echo(msgspec.json.format(msgspec.json.encode(run(act())), indent=2))


@click.command("link")
@click.argument("layout_id", metavar="ID")
@click.option("--version", type=click.IntRange(min=1), help="The deployed version; else the newest.")
@click.option("--cookies", is_flag=True, help="Print CloudFront's cookies, NAME=VALUE a line, and not the link.")
def link_command(layout_id: str, version: int | None, cookies: bool) -> None:
    """Prints a signed link to a layout of LML_PRIVATE_LAYOUTS, good for LML_LINK_SECONDS: CloudFront's, else S3's own.

    \b
    Examples:
      LML_LINK_SECONDS=60 lml layout link opening-night
      lml layout link opening-night --cookies
    """
    settings = edge_settings()

    async def act(library: Library) -> Link:
        chosen = await library.deployed(layout_id, version)
        link = await Links(settings).make(layout_id, chosen.hash)
        await on_record("linked", chosen)
        return link

    link = run(with_library(act))
    tell(f"{layout_id}: good until {link.expires_at.isoformat()}")
    for line in (f"{name}={value}" for name, value in link.cookies.items()) if cookies else (link.url,):
        click.echo(line)


def _print(done: Iterable[Done]) -> None:
    for each in done:
        click.echo("\t".join((each.region, each.did, each.key, str(each.size_bytes))))


EDGE: Final = (push_command, rollback_command, pointer_command, link_command)
"""The commands, for `lml layout`."""
