"""Seating plans as files, over REST, for managers: read into a layout that is theirs to save, and written out."""

import asyncio
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from lml_live import limits
from lml_live.errors import InvalidInput, Violation
from lml_live.gateway.bodies import LayoutShown, VersionNumber
from lml_live.gateway.callers import require_staff
from lml_live.gateway.large_bodies import LargeBodies
from lml_live.gateway.layouts import show_version, version_number
from lml_live.gateway.operations import API, Operation, Query, bind, respond_json
from lml_live.gateway.problems import read_body
from lml_live.guard.staff import StaffDesk
from lml_live.values import ID_PATTERN
from lml_live.venues.exporters import EXPORT_FORMATS, ExportFormat, export_layout
from lml_live.venues.importers import Format, Imported, Rejected, Renaming, import_layout
from lml_live.venues.layout import Label, Layout
from lml_live.venues.library import Library

_MANAGER_CODES: Final = ("unauthorized", "forbidden")
_Text = Annotated[str, Meta(max_length=limits.LAYOUT_FILE_BYTES_MAX)]


class FileToRead(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of `POST /layouts/read`: a file's text and how it is to be read, as `lml layout import` has it."""

    text: _Text
    filename: Annotated[str, Meta(min_length=1, max_length=255)] = "layout"
    format: Format = "auto"
    id: Annotated[str, Meta(pattern=ID_PATTERN)] | None = None
    name: Label | None = None
    mapping: _Text | None = None
    standing: Annotated[tuple[Label, ...], Meta(max_length=limits.LAYOUT_AREAS_MAX)] = ()
    strict: bool = False


class LayoutRead(msgspec.Struct, frozen=True):
    """The layout of a file, and all that was changed, decided or left out on the way."""

    layout: Layout
    renamings: tuple[Renaming, ...]
    notes: tuple[str, ...]
    warnings: tuple[Violation, ...]
    existing: LayoutShown | None
    """What the library has under this id, its latest version: a draft would be replaced, else this is its next one."""


class LayoutFile(msgspec.Struct, frozen=True):
    """A layout as a file. `unsaid` lists what the format cannot say of it."""

    filename: str
    content_type: str
    text: str
    unsaid: tuple[str, ...]


OPERATIONS: Final = (
    Operation(
        name="read_layout_file",
        method="POST",
        path=f"{API}/layouts/read",
        who="manager",
        summary="Read a seating plan's file into a layout: our own JSON, pretix's, seats.io's, SVG, a table, or any"
        " JSON with a mapping. Nothing is stored, and what has this id already is told (`existing`).",
        body=FileToRead,
        answers={200: LayoutRead},
        codes=(*_MANAGER_CODES, "rate_limited"),
    ),
    Operation(
        name="write_layout_file",
        method="GET",
        path=f"{API}/layouts/{{layout}}/file",
        who="manager",
        summary="A version as a file of another format, and what that format cannot say of it.",
        query=(
            Query("format", ExportFormat, "The format; our own without it."),
            Query("version", VersionNumber, "The version; the latest without it."),
        ),
        answers={200: LayoutFile},
        codes=(*_MANAGER_CODES, "not_found", "invalid_message", "layout_damaged"),
    ),
)


def routes(desk: StaffDesk, library: Library) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    bodies = LargeBodies()

    async def read_layout_file(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        async with bodies.turn(request):
            wanted = await read_body(request, FileToRead, bytes_max=limits.LAYOUT_FILE_BYTES_MAX)
            read = await asyncio.to_thread(_read, wanted)
            versions = await library.status(read.layout.layout_id)
            existing = show_version(versions[-1]) if versions else None
            found = LayoutRead(read.layout, read.renamings, read.notes, read.warnings, existing)
            return respond_json(found, cached="no-store")

    async def write_layout_file(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        wanted = _format(request)
        version = version_number(request, "version") if "version" in request.query else None
        async with bodies.turn_without_body():
            layout = await library.load_layout(request.match_info["layout"], version)
            exported = await asyncio.to_thread(export_layout, layout, wanted)
        file = LayoutFile(exported.filename, exported.content_type, exported.data.decode(), exported.unsaid)
        return respond_json(file, cached="no-store")

    return bind(OPERATIONS, {"read_layout_file": read_layout_file, "write_layout_file": write_layout_file})


def _read(wanted: FileToRead) -> Imported:
    """Raises `InvalidInput` with everything that is wrong with the file."""
    answer: Imported | Rejected = import_layout(
        wanted.text.encode(),
        filename=wanted.filename,
        format=wanted.format,
        layout_id=wanted.id,
        name=wanted.name,
        mapping=None if wanted.mapping is None else wanted.mapping.encode(),
        standing=wanted.standing,
        strict=wanted.strict,
    )
    if isinstance(answer, Rejected):
        raise InvalidInput("This file cannot be read as a layout.", errors=answer.violations)
    return answer


def _format(request: web.Request) -> ExportFormat:
    text = request.query.get("format", "native")
    found: ExportFormat | None = next((known for known in EXPORT_FORMATS if known == text), None)
    if found is None:
        wrong = Violation("format", f"is none of {', '.join(EXPORT_FORMATS)}")
        raise InvalidInput("The request breaks the contract.", errors=(wrong,))
    return found
