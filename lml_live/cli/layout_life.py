"""`lml layout publish`, `deploy`, `retire`, `draft`, `diff`: from one version to the next; and how commands get at the
library."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TypeVar

import click
import msgspec

from lml_live.errors import LmlError, Unavailable
from lml_live.infra.config import Settings, load_settings, mask_secrets
from lml_live.infra.mongo import close_database, connect_database
from lml_live.venues.backups import open_backups
from lml_live.venues.library import Library
from lml_live.venues.publishing import ensure_published, open_edge
from lml_live.venues.schema import apply_schema
from lml_live.venues.stored import LayoutVersion

REFUSED = 1
UNREACHABLE = 3

T = TypeVar("T")


@click.command("publish")
@click.argument("layout_id", metavar="ID")
def publish_command(layout_id: str) -> None:
    """Publishes a layout's draft: from now on that version never changes.

    \b
    Examples:
      lml layout publish city-hall
    """
    version = run(with_library(lambda library: library.publish(layout_id)))
    tell(f"{layout_id}: version {version.version} is published")
    click.echo(version.hash)


@click.command("deploy")
@click.argument("layout_id", metavar="ID")
@click.option("--version", type=click.IntRange(min=1), help="The published version; else the latest one.")
def deploy_command(layout_id: str, version: int | None) -> None:
    """Makes a published version usable for events.

    \b
    Examples:
      lml layout deploy city-hall
      lml layout deploy city-hall --version 2
    """

    async def act(library: Library) -> LayoutVersion:
        deployed = await library.deploy(layout_id, version)
        await copy_deployed(library)
        return deployed

    deployed = run(with_library(act))
    tell(f"{layout_id}: version {deployed.version} is deployed")
    click.echo(deployed.hash)


@click.command("retire")
@click.argument("layout_id", metavar="ID")
@click.option("--version", type=click.IntRange(min=1), required=True, help="The version that has had its time.")
def retire_command(layout_id: str, version: int) -> None:
    """Takes a version out of use for good: no new event is made on it, those that are on sale go on.

    \b
    Examples:
      lml layout retire city-hall --version 1
    """
    retired = run(with_library(lambda library: library.retire(layout_id, version)))
    tell(f"{layout_id}: version {retired.version} is retired")


@click.command("draft")
@click.argument("layout_id", metavar="ID")
@click.option("--version", type=click.IntRange(min=1), required=True, help="The version to begin with.")
def draft_command(layout_id: str, version: int) -> None:
    """Makes a new draft with the content of an old version; prints the new version's number.

    \b
    Examples:
      lml layout draft city-hall --version 1
    """
    draft = run(with_library(lambda library: library.begin_draft(layout_id, version)))
    tell(f"{layout_id}: version {draft.version} is a draft with the content of version {version}")
    click.echo(draft.version)


@click.command("diff")
@click.argument("layout_id", metavar="ID")
@click.option("--from", "before", type=click.IntRange(min=1), required=True, help="The version to begin with.")
@click.option("--to", "after", type=click.IntRange(min=1), required=True, help="The version to end with.")
def diff_command(layout_id: str, before: int, after: int) -> None:
    """Prints, as JSON, what the step from one version to another changes; exit code 1 where it changes something.

    \b
    Examples:
      lml layout diff city-hall --from 1 --to 2
    """
    diff = run(with_library(lambda library: library.compare(layout_id, before, after)))
    told = ", ".join(f"{count} {kind}" for kind, count in diff.counts.items() if count) or "no seats differ"
    areas = "".join(f"; area {each.area_id}: {each.before or 0} is {each.after or 0}" for each in diff.areas)
    tell(f"{layout_id}: {told}{areas}{'; also ' + ', '.join(diff.other) if diff.other else ''}")
    click.echo(msgspec.json.format(msgspec.json.encode(diff), indent=2))
    sys.exit(REFUSED if diff else 0)


LIFE: Final = (publish_command, deploy_command, retire_command, draft_command, diff_command)
"""The commands of a version's life, for `lml layout`."""


async def copy_deployed(library: Library) -> None:
    """Copies what is deployed to the object store, where one is set. Its failure is told, and is no failure of ours."""
    settings = load_settings()
    if settings.s3_bucket is None:
        return
    try:
        async with open_edge(settings) as edge:
            copied = await ensure_published(library, edge)
        tell(f"object store: {len(copied.uploaded)} layouts uploaded, {len(copied.failed)} failed")
    except Unavailable as error:
        tell(f"object store: {error.message} The server tries again when it starts.")


async def with_library(act: Callable[[Library], Coroutine[Any, Any, T]]) -> T:
    """What `act` does with the library, on the MongoDB that is set, else that of `lml up`, else one started for it."""
    async with _library(load_settings()) as library:
        return await act(library)


@asynccontextmanager
async def _library(settings: Settings) -> AsyncIterator[Library]:
    # Only the commands that store need the embedded engines' code.
    from lml_live.devstack.engines import mongo_url

    async with mongo_url(settings) as url:
        database = connect_database(url, settings.mongo_database)
        try:
            await apply_schema(database)
            async with open_backups(settings) as backups:
                yield Library(database, backups=backups)
        finally:
            close_database(database)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a command's work; what we know to go wrong is told without a trace."""
    try:
        return asyncio.run(work)
    except LmlError as error:
        _fail(error)


def _fail(error: LmlError) -> NoReturn:
    tell(f"lml: {mask_secrets(error.message)}")
    for violation in error.errors:
        tell(f"  {violation.path}: {violation.message}")
    sys.exit(UNREACHABLE if isinstance(error, Unavailable) else REFUSED)


def tell(text: str) -> None:
    """Says something to people."""
    click.echo(text, err=True)
