"""`lml layout publish`, `deploy`, `retire`, `draft`, `diff`: from one version to the next; and how commands get at the
library."""

import asyncio
import getpass
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TypeVar

import click
import msgspec

from lml_live.backoffice.layout_steps import Drafted, Step, Stepped, detail_of, record_step
from lml_live.backoffice.trail import Trail
from lml_live.cli.events import find_postgres, open_pool
from lml_live.cli.layout_history import NO_ANSWER, CommandHistory, why_no_answer
from lml_live.errors import LmlError, Unavailable
from lml_live.infra.acting import Acting, acting_ends
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
K = TypeVar("K", bound=Stepped)


@click.command("publish")
@click.argument("layout_id", metavar="ID")
@click.option("--hash", "seen", metavar="HASH", help="Only the draft that has this hash, which `import` has told.")
def publish_command(layout_id: str, seen: str | None) -> None:
    """Publishes a layout's draft: from now on that version never changes.

    \b
    Examples:
      lml layout publish city-hall
      lml layout publish city-hall --hash 5f1d…
    """

    async def act(library: Library) -> LayoutVersion:
        publishing = library.publish(layout_id) if seen is None else library.publish_seen(layout_id, seen)
        return await on_record("published", await publishing)

    version = run(with_library(act))
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
        deployed = await on_record("deployed", await library.deploy(layout_id, version))
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

    async def act(library: Library) -> LayoutVersion:
        return await on_record("retired", await library.retire(layout_id, version))

    retired = run(with_library(act))
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

    async def act(library: Library) -> LayoutVersion:
        begun = await library.begin_draft(layout_id, version)
        await on_record("begun", Drafted(begun, begun_with=version))
        return begun

    draft = run(with_library(act))
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
                yield Library(database, backups=backups, history=CommandHistory(settings))
        finally:
            close_database(database)


async def on_record(step: Step, done: K) -> K:
    """Puts a step in the audit trail, as the operator's, and answers what it was taken with.

    It is done already, and whatever keeps it off the trail undoes nothing: that is told, with what would be on record,
    and the command goes on.
    """
    settings = load_settings()
    try:
        if (dsn := find_postgres(settings)) is None:
            tell("not in the audit trail: LML_POSTGRES_DSN is not set, and no `lml up` runs here")
            return done
        async with open_pool(dsn, size_max=1) as pool:
            with acting_ends(Acting("system", f"operator {_user()}", "command line")):
                await record_step(Trail(pool), step, done)
    except NO_ANSWER as error:
        detail = msgspec.json.encode(detail_of(done)).decode()
        tell(f"not in the audit trail: {why_no_answer(error)}")
        tell(f"  It is done all the same: layout.{step} of {done.layout_id}, {detail}")
        tell("  Do it again when PostgreSQL is in reach: what nobody is on record to have done is not sold on.")
    return done


def _user() -> str:
    """Who the system says has run the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # nobody whom the system has a name for, as in many a container
        return "without a name"


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
