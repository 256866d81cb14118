"""`lml layout …`: seating plans in, checked, published, deployed.

Everything told to people goes to stderr. stdout carries what a program wants: the number of places, JSON, a list.
Exit codes: 0 done, 1 the file or the library's state does not allow it, 2 wrong usage, 3 MongoDB cannot be reached.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lml_live import limits
from lml_live.backoffice.layout_steps import Drafted
from lml_live.cli.layout_backups import BACKUPS
from lml_live.cli.layout_edge import EDGE
from lml_live.cli.layout_life import LIFE, REFUSED, copy_deployed, on_record, run, tell, with_library
from lml_live.errors import Violation
from lml_live.venues.demo import arena, concert_hall, generate_venue
from lml_live.venues.exporters import EXPORT_FORMATS, ExportFormat, export_layout
from lml_live.venues.importers import FORMATS, Format, Imported, Rejected, import_layout
from lml_live.venues.layout import Layout, canonical_bytes, count_places, count_seats, layout_schema
from lml_live.venues.library import Library
from lml_live.venues.stored import LayoutVersion

_WARNINGS_TOLD = 20

T = TypeVar("T")
_File = click.Path(exists=True, dir_okay=False, path_type=Path)
_OWN_VENUES: dict[str, Callable[[], Layout]] = {"concert-hall": concert_hall, "arena": arena}


@click.group("layout")
def layout_group() -> None:
    """Seating plans: import, validate, publish, deploy, retire; backups, the edge.

    \b
    Examples:
      lml layout import hall.json --deploy
      lml layout import zones.csv --map docs/mappings/baseball-zones.json --id ballpark
      lml layout generate 20000 --output bowl.json
      lml layout list
      lml layout restore ballpark
    """


for command in (*LIFE, *BACKUPS, *EDGE):
    layout_group.add_command(command)


def _import_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a file is to be read: `import` and `validate` share them."""
    for option in reversed(
        (
            click.option("--map", "map_file", type=_File, help="A mapping file; docs/importing.md has the language."),
            click.option("--id", "layout_id", help="The layout's id; else the file's, or made of the name."),
            click.option("--name", help="The layout's name; else the file's."),
            click.option(
                "--format",
                "file_format",
                type=click.Choice(FORMATS),
                default="auto",
                show_default=True,
                help="What the file is.",
            ),
            click.option(
                "--standing", multiple=True, metavar="SECTION", help="Make this section's seats an area. Repeatable."
            ),
            click.option("--strict", is_flag=True, help="Refuse where a label would have to be renamed."),
        )
    ):
        command = option(command)
    return command


@layout_group.command("import")
@click.argument("file", type=_File)
@_import_options
@click.option("--publish", is_flag=True, help="Publish it at once.")
@click.option("--deploy", is_flag=True, help="Publish and deploy it at once.")
@click.option("--dry-run", is_flag=True, help="Only read and check; store nothing.")
def import_command(
    file: Path,
    map_file: Path | None,
    layout_id: str | None,
    name: str | None,
    file_format: Format,
    standing: tuple[str, ...],
    strict: bool,
    publish: bool,
    deploy: bool,
    dry_run: bool,
) -> None:
    """Reads a seating plan and stores it as a draft; prints its number of places.

    \b
    Our own JSON, pretix's seating plans, seats.io's charts, SVG drawings, tables (CSV or JSON rows), and any other JSON
    with --map.
    \b
    Examples:
      lml layout import hall.json
      lml layout import plan.json --format pretix --id city-theatre --deploy
      lml layout import club.json --map club-map.json --standing "Dance floor"
      lml layout import seats.csv --dry-run
    """
    imported = _read(file, map_file, layout_id, name, file_format, standing, strict)
    if not dry_run:
        run(_store(imported.layout, publish=publish or deploy, deploy=deploy))
    click.echo(count_places(imported.layout))


@layout_group.command("validate")
@click.argument("files", type=_File, nargs=-1, required=True)
@_import_options
def validate_command(
    files: tuple[Path, ...],
    map_file: Path | None,
    layout_id: str | None,
    name: str | None,
    file_format: Format,
    standing: tuple[str, ...],
    strict: bool,
) -> None:
    """Reads and checks seating plans; lists everything that is wrong, and stores nothing.

    \b
    Examples:
      lml layout validate hall.json
      lml layout validate *.json --format native
    """
    faulty = 0
    for file in files:
        answer = _import_file(file, map_file, layout_id, name, file_format, standing, strict)
        if isinstance(answer, Rejected):
            faulty += 1
            _tell_violations(file, answer.violations)
        else:
            _tell_import(file, answer)
            click.echo(f"{file}: {count_places(answer.layout)} places, {answer.layout.hash}")
    sys.exit(REFUSED if faulty else 0)


@layout_group.command("generate")
@click.argument("what", metavar="SEATS|concert-hall|arena")
@click.option("--id", "layout_id", help="The layout's id.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; else stdout.")
def generate_command(what: str, layout_id: str | None, output: Path | None) -> None:
    """Draws a venue of our own as JSON: a bowl of any size, or one of the two demonstration venues.

    \b
    Examples:
      lml layout generate 200000 --output bowl.json
      lml layout generate concert-hall | head -c 300
    """
    if what in _OWN_VENUES:
        layout = _OWN_VENUES[what]()
    elif what.isdecimal() and len(what) <= 6 and 1 <= int(what) <= limits.LAYOUT_SEATS_MAX:
        layout = generate_venue(int(what), layout_id)
    else:
        raise click.BadParameter(f"a number from 1 to {limits.LAYOUT_SEATS_MAX}, concert-hall or arena is expected")
    if layout_id is not None and layout.layout_id != layout_id:
        raise click.BadParameter("--id goes with a number of seats; the demonstration venues have their own ids")
    data = canonical_bytes(layout)
    if output is None:
        click.echo(data)
    else:
        output.write_bytes(data)
        tell(f"{output}: {count_places(layout)} places, {len(data)} bytes")


@layout_group.command("export")
@click.argument("layout_id", metavar="ID")
@click.option("--version", type=click.IntRange(min=1), help="The version; else the latest one.")
@click.option(
    "--format", "wanted", type=click.Choice(EXPORT_FORMATS), default="native", show_default=True, help="Which."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; else stdout.")
def export_command(layout_id: str, version: int | None, wanted: ExportFormat, output: Path | None) -> None:
    """Writes a layout as our own JSON, a pretix plan, a seats.io chart or a table, and tells what that cannot say.

    \b
    Examples:
      lml layout export city-hall --output city-hall.json
      lml layout export city-hall --version 2 --format pretix > plan.json
    """
    exported = export_layout(run(with_library(lambda library: library.load_layout(layout_id, version))), wanted)
    for line in exported.unsaid:
        tell(f"  not said: {line}")
    if output is None:
        click.echo(exported.data.decode())
    else:
        output.write_bytes(exported.data)
        tell(f"{output}: {len(exported.data)} bytes")


@layout_group.command("schema")
def schema_command() -> None:
    """Prints the JSON Schema of our own layout files.

    \b
    Examples:
      lml layout schema > layout.schema.json
    """
    click.echo(json.dumps(layout_schema(), indent=2))


@layout_group.command("list")
def list_command() -> None:
    """Lists the latest version of every layout: id, version, state, places, name.

    \b
    Examples:
      lml layout list
    """

    async def page(library: Library) -> list[LayoutVersion]:
        found: list[LayoutVersion] = []
        start = ""
        while versions := await library.list_layouts(after=start):
            found += versions
            start = versions[-1].layout_id
        return found

    for version in run(with_library(page)):
        fields = (version.layout_id, version.version, version.state, version.place_count, version.name)
        click.echo("\t".join(map(str, fields)))


def _import_file(
    file: Path,
    map_file: Path | None,
    layout_id: str | None,
    name: str | None,
    file_format: Format,
    standing: tuple[str, ...],
    strict: bool,
) -> Imported | Rejected:
    return import_layout(
        _content(file),
        filename=file.name,
        format=file_format,
        layout_id=layout_id,
        name=name,
        mapping=None if map_file is None else _content(map_file),
        standing=standing,
        strict=strict,
    )


def _read(file: Path, *how: Any) -> Imported:
    answer = _import_file(file, *how)
    if isinstance(answer, Rejected):
        _tell_violations(file, answer.violations)
        sys.exit(REFUSED)
    _tell_import(file, answer)
    return answer


def _content(file: Path) -> bytes:
    """At most one byte more than an import may have: enough to be refused for its size."""
    try:
        with file.open("rb") as stream:
            return stream.read(limits.LAYOUT_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise click.FileError(str(file), error.strerror or "cannot be read") from error


async def _store(layout: Layout, *, publish: bool, deploy: bool) -> None:
    async def act(library: Library) -> None:
        saved = await library.save_draft(layout)
        version = saved.version
        if saved.changed:
            await on_record("imported", Drafted(version))
            tell(f"{version.layout_id}: saved as draft, version {version.version}, {version.hash}")
        else:
            if version.state == "draft" and not await library.is_on_record(version):
                await on_record("imported", Drafted(version))
            tell(f"{version.layout_id}: this content is version {version.version} already ({version.state})")
        if publish and version.state == "draft":
            version = await on_record("published", await library.publish_seen(version.layout_id, version.hash))
            tell(f"{version.layout_id}: version {version.version} is published")
        if deploy:
            version = await on_record("deployed", await library.deploy(version.layout_id, version.version))
            tell(f"{version.layout_id}: version {version.version} is deployed")
            await copy_deployed(library)

    await with_library(act)


def _tell_violations(file: Path, violations: tuple[Violation, ...]) -> None:
    tell(f"{file}: cannot be imported")
    for violation in violations:
        tell(f"  {violation.path or 'the file'}: {violation.message}")


def _tell_import(file: Path, imported: Imported) -> None:
    layout = imported.layout
    seats, places = count_seats(layout), count_places(layout)
    tell(f"{file}: {layout.name} ({layout.layout_id}), {seats} seats and {places - seats} standing places")
    for note in imported.notes:
        tell(f"  note: {note}")
    for renaming in imported.renamings:
        tell(f"  renamed {renaming.path}: {renaming.before!r} is {renaming.after!r} now")
    for warning in imported.warnings[:_WARNINGS_TOLD]:
        tell(f"  warning: {warning.message}")
    if len(imported.warnings) > _WARNINGS_TOLD:
        tell(f"  and {len(imported.warnings) - _WARNINGS_TOLD} warnings more")
