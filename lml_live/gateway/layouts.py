"""The life of layouts over REST, for managers: draft, publish, deploy, retire (contract, section 2).

A draft is changed and published by one who has seen it: `PUT` and `publish` name its `ETag`, so nobody's work is
overwritten or published unseen.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from lml_live import limits
from lml_live.backoffice.layout_steps import Drafted, Step, Stepped
from lml_live.clock import to_datetime
from lml_live.errors import InvalidInput, NotFound, Refused, Violation
from lml_live.gateway import paging
from lml_live.gateway.bodies import (
    DeployRequest,
    LayoutList,
    LayoutReport,
    LayoutShown,
    VersionNumber,
    VersionRequest,
)
from lml_live.gateway.callers import require_house, require_staff
from lml_live.gateway.idempotency import IdempotencyKeys
from lml_live.gateway.large_bodies import LargeBodies
from lml_live.gateway.operations import API, Operation, Query, bind, respond_json
from lml_live.gateway.problems import Problem, read_body, read_bytes, respond
from lml_live.guard.staff import StaffDesk
from lml_live.values import is_id
from lml_live.venues.checks import check_layout
from lml_live.venues.differences import LayoutDiff
from lml_live.venues.importers.native import explain_layout
from lml_live.venues.importers.reading import Rejected, read_json
from lml_live.venues.layout import Layout, count_places, count_seats
from lml_live.venues.library import DraftMoved, Library, Saved
from lml_live.venues.normal_form import in_nfc
from lml_live.venues.stored import LayoutVersion

_MANAGER_CODES: Final = ("unauthorized", "forbidden")

OPERATIONS: Final = (
    Operation(
        name="list_layouts",
        method="GET",
        path=f"{API}/layouts",
        who="manager",
        summary="The latest version of every layout, in order of their ids.",
        query=paging.QUERY,
        answers={200: LayoutList},
        codes=(*_MANAGER_CODES, "invalid_message"),
    ),
    Operation(
        name="validate_layout",
        method="POST",
        path=f"{API}/layouts/validate",
        who="manager",
        summary="Check a layout by every rule, whatever state it is in: what would keep it out, and what is odd."
        " Nothing is stored.",
        body=Layout,
        answers={200: LayoutReport},
        codes=(*_MANAGER_CODES, "rate_limited"),
    ),
    Operation(
        name="save_layout",
        method="POST",
        path=f"{API}/layouts",
        who="manager",
        summary="Store a layout as the draft of its id; 200 where the library had this content already.",
        body=Layout,
        answers={200: LayoutShown, 201: LayoutShown},
        codes=(*_MANAGER_CODES, "conflict", "precondition_required", "rate_limited"),
        idempotent=True,
    ),
    Operation(
        name="read_layout_draft",
        method="GET",
        path=f"{API}/layouts/{{layout}}/draft",
        who="manager",
        summary="The draft as it is now; its `ETag` is what a change of it must name.",
        answers={200: Layout},
        codes=(*_MANAGER_CODES, "not_found", "layout_damaged"),
    ),
    Operation(
        name="replace_layout_draft",
        method="PUT",
        path=f"{API}/layouts/{{layout}}",
        who="manager",
        summary="Replace the draft that `If-Match` names; where somebody else has, 412 with the difference (`diff`).",
        body=Layout,
        answers={200: LayoutShown},
        codes=(*_MANAGER_CODES, "precondition_failed", "precondition_required", "rate_limited"),
        if_match=True,
    ),
    Operation(
        name="begin_layout_draft",
        method="POST",
        path=f"{API}/layouts/{{layout}}/draft",
        who="manager",
        summary="Make a new draft with the content of an old version.",
        body=VersionRequest,
        answers={201: LayoutShown},
        codes=(*_MANAGER_CODES, "not_found", "conflict", "layout_damaged"),
        idempotent=True,
    ),
    Operation(
        name="compare_layout_versions",
        method="GET",
        path=f"{API}/layouts/{{layout}}/diff",
        who="manager",
        summary="What the step from one version to another changes: seats added, removed, moved, recategorised.",
        query=(
            Query("from", VersionNumber, "The version to begin with.", required=True),
            Query("to", VersionNumber, "The version to end with.", required=True),
        ),
        answers={200: LayoutDiff},
        codes=(*_MANAGER_CODES, "not_found", "invalid_message", "layout_damaged"),
    ),
    Operation(
        name="list_layout_versions",
        method="GET",
        path=f"{API}/layouts/{{layout}}/versions",
        who="manager",
        summary="All versions of a layout, the oldest first.",
        answers={200: LayoutList},
        codes=(*_MANAGER_CODES, "not_found"),
    ),
    Operation(
        name="publish_layout",
        method="POST",
        path=f"{API}/layouts/{{layout}}/publish",
        who="manager",
        summary="Make the draft that `If-Match` names unchangeable; where somebody else has saved since, 412 with what"
        " publishing theirs would change (`diff`, against the version before it). Twice is once.",
        answers={200: LayoutShown},
        codes=(
            *_MANAGER_CODES,
            "not_found",
            "conflict",
            "layout_damaged",
            "precondition_failed",
            "precondition_required",
        ),
        if_match=True,
    ),
    Operation(
        name="deploy_layout",
        method="POST",
        path=f"{API}/layouts/{{layout}}/deploy",
        who="manager",
        summary="Make a published version usable for events; without a body the latest published one. A version that"
        " is named is what was looked at, as it never changes. Twice is once.",
        body=DeployRequest,
        body_required=False,
        answers={200: LayoutShown},
        codes=(*_MANAGER_CODES, "not_found", "conflict", "layout_damaged"),
    ),
    Operation(
        name="retire_layout",
        method="POST",
        path=f"{API}/layouts/{{layout}}/retire",
        who="manager",
        summary="Take a version out of use for good: no new event is made on it, those on sale go on. Twice is once.",
        body=VersionRequest,
        answers={200: LayoutShown},
        codes=(*_MANAGER_CODES, "not_found", "conflict", "layout_damaged"),
    ),
)


@dataclass(frozen=True)
class LayoutServices:
    """What the handlers need. `stepped` puts a step on record, and a deployed version where the CDN finds it."""

    desk: StaffDesk
    library: Library
    keys: IdempotencyKeys
    stepped: Callable[[Step, Stepped], Awaitable[None]]


class DraftMovedProblem(Problem, frozen=True, omit_defaults=True, kw_only=True):
    """Somebody else has changed the draft: it as it is now, and what would have been changed."""

    draft: LayoutShown | None = None
    diff: LayoutDiff | None = None


def routes(services: LayoutServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    desk, library = services.desk, services.library
    bodies = LargeBodies()
    # Who is drawing asks again and again, and keeps nobody from saving.
    looks = LargeBodies()

    async def list_layouts(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        limit, after = paging.read_limit(request), request.query.get("cursor", "")
        if after and not is_id(after):
            raise paging.wrong("cursor", "is no cursor of ours")
        found = await library.list_layouts(after=after, limit=limit + 1)
        following = found[limit - 1].layout_id if len(found) > limit else None
        return respond_json(LayoutList(tuple(map(show_version, found[:limit])), following))

    async def validate_layout(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        async with looks.turn(request):
            try:
                layout = await _read_layout(request)
            except InvalidInput as error:
                # It is no layout yet, which is what was asked.
                return respond_json(LayoutReport(False, len(error.errors), 0, 0, 0, error.errors))
            report = await asyncio.to_thread(lambda: check_layout(in_nfc(layout)))
        return respond_json(
            LayoutReport(
                valid=report.violation_count == 0,
                error_count=report.violation_count,
                warning_count=report.warning_count,
                seat_count=count_seats(layout),
                place_count=count_places(layout),
                errors=report.violations,
                warnings=report.warnings,
            )
        )

    async def save_layout(request: web.Request) -> web.Response:
        staff = await require_house(request, desk, "manager")

        async def act() -> web.Response:
            saved = await library.save_draft(await _read_layout(request), replace=False)
            # The same again is on record, too, where the first time could not be put there.
            if saved.changed or await lacks_record(saved):
                await services.stepped("saved", Drafted(saved.version))
            return show_draft(saved.version, saved.warnings, status=201 if saved.changed else 200)

        async with bodies.turn(request):
            return await services.keys.once(request, staff.id, act, bytes_max=limits.LAYOUT_FILE_BYTES_MAX)

    async def lacks_record(saved: Saved) -> bool:
        return saved.version.state == "draft" and not await library.is_on_record(saved.version)

    async def list_layout_versions(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        versions = await library.status(request.match_info["layout"])
        if not versions:
            raise NotFound("There is no such layout.")
        return respond_json(LayoutList(tuple(map(show_version, versions)), None))

    async def read_layout_draft(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        draft = await library.find_draft(request.match_info["layout"])
        if draft is None:
            raise NotFound("There is no draft of such a layout.")
        headers = {"ETag": f'"{draft.hash}"', "Cache-Control": "no-cache"}
        data = await library.load_draft_bytes(draft)
        return web.Response(body=data, content_type="application/json", headers=headers)

    async def replace_layout_draft(request: web.Request) -> web.Response:
        await require_house(request, desk, "manager")
        tags = _if_match(request)
        async with bodies.turn(request):
            layout = await _read_layout(request)
            if layout.layout_id != request.match_info["layout"]:
                wrong = Violation("layout_id", "is another layout's; the one of the address is expected")
                raise InvalidInput("This layout cannot be stored here.", errors=(wrong,))
            if tags is None:
                draft = await library.find_draft(layout.layout_id)
                expected = "" if draft is None else draft.hash
            else:
                expected = await _meant(library, layout.layout_id, tags)
            try:
                saved = await library.replace_draft(layout, expected)
            except DraftMoved as error:
                return _draft_moved(error)
        if saved.changed:
            await services.stepped("saved", Drafted(saved.version, instead_of=expected))
        elif await lacks_record(saved):
            await services.stepped("saved", Drafted(saved.version))
        return show_draft(saved.version, saved.warnings)

    async def begin_layout_draft(request: web.Request) -> web.Response:
        staff = await require_house(request, desk, "manager")

        async def act() -> web.Response:
            wanted = await read_body(request, VersionRequest)
            draft = await library.begin_draft(request.match_info["layout"], wanted.version)
            await services.stepped("begun", Drafted(draft, begun_with=wanted.version))
            return show_draft(draft, status=201)

        return await services.keys.once(request, staff.id, act)

    async def compare_layout_versions(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        before, after = (version_number(request, name) for name in ("from", "to"))
        return respond_json(await library.compare(request.match_info["layout"], before, after))

    async def publish_layout(request: web.Request) -> web.Response:
        await require_house(request, desk, "manager")
        layout_id, tags = request.match_info["layout"], _if_match(request)
        try:
            if tags is None:
                version = await library.publish(layout_id)
            else:
                version = await library.publish_seen(layout_id, await _meant(library, layout_id, tags))
        except DraftMoved as error:
            return _draft_moved(error)
        await services.stepped("published", version)
        return respond_json(show_version(version))

    async def retire_layout(request: web.Request) -> web.Response:
        await require_house(request, desk, "manager")
        wanted = await read_body(request, VersionRequest)
        version = await library.retire(request.match_info["layout"], wanted.version)
        await services.stepped("retired", version)
        return respond_json(show_version(version))

    async def deploy_layout(request: web.Request) -> web.Response:
        await require_house(request, desk, "manager")
        wanted = await read_body(request, DeployRequest) if request.can_read_body else DeployRequest()
        version = await library.deploy(request.match_info["layout"], wanted.version)
        await services.stepped("deployed", version)
        return respond_json(show_version(version))

    return bind(
        OPERATIONS,
        {
            "list_layouts": list_layouts,
            "validate_layout": validate_layout,
            "save_layout": save_layout,
            "list_layout_versions": list_layout_versions,
            "read_layout_draft": read_layout_draft,
            "replace_layout_draft": replace_layout_draft,
            "begin_layout_draft": begin_layout_draft,
            "compare_layout_versions": compare_layout_versions,
            "publish_layout": publish_layout,
            "deploy_layout": deploy_layout,
            "retire_layout": retire_layout,
        },
    )


async def _read_layout(request: web.Request) -> Layout:
    """The body as a layout. Raises `InvalidInput` with everything that is wrong with it, not just the first thing."""
    try:
        return await read_body(request, Layout, bytes_max=limits.LAYOUT_FILE_BYTES_MAX)
    except InvalidInput as error:
        body = await read_bytes(request, bytes_max=limits.LAYOUT_FILE_BYTES_MAX)
        raise InvalidInput(error.message, errors=await asyncio.to_thread(_explain, body)) from error


def _explain(body: bytes) -> tuple[Violation, ...]:
    tree = read_json(body.decode())
    return tree.violations if isinstance(tree, Rejected) else explain_layout(tree)


_TAG: Final = re.compile(r'[ \t]*(?:(?:W/)?"(?P<quoted>[^"]*)"|(?P<bare>[^",\s]*))[ \t]*(?:,|$)')


def _if_match(request: web.Request) -> tuple[str, ...] | None:
    """The hashes of the drafts that are meant, one at least; None for whatever is there (RFC 9110, 13.1.1). What is no
    list of tags names none that is there. Raises `precondition_required`."""
    named = ",".join(request.headers.getall("If-Match", ())).strip()
    if named == "*":
        return None
    tags, at = [], 0
    while at < len(named):
        found = _TAG.match(named, at)
        if found is None:
            return ("",)
        quoted, bare = found.groups()
        if quoted is not None or bare:
            tags.append(bare if quoted is None else quoted)
        at = found.end()
    if not tags:
        raise Refused("precondition_required", "Say which draft you have seen: If-Match with its ETag.")
    return tuple(tags)


async def _meant(library: Library, layout_id: str, tags: tuple[str, ...]) -> str:
    """Of several hashes that of the newest version that has one of them; the first where none has."""
    if len(tags) == 1:
        return tags[0]
    known = reversed(await library.status(layout_id))
    return next((version.hash for version in known if version.hash in tags), tags[0])


def version_number(request: web.Request, name: str) -> int:
    """A version that a query names. Raises `InvalidInput`."""
    text = request.query.get(name, "")
    if not (text.isdecimal() and text.isascii() and len(text) <= 9 and int(text) >= 1):
        wrong = Violation(name, "is no version; a whole number from 1 is expected")
        raise InvalidInput("The request breaks the contract.", errors=(wrong,))
    return int(text)


def _draft_moved(error: DraftMoved) -> web.Response:
    problem = DraftMovedProblem(
        type=f"/docs#problem-{error.code}",
        title="Precondition failed",
        status=error.status,
        detail=error.message,
        code=error.code,
        draft=None if error.draft is None else show_version(error.draft),
        diff=error.diff,
    )
    return respond(problem)


def show_version(version: LayoutVersion, warnings: tuple[Violation, ...] = ()) -> LayoutShown:
    """A version as it is answered; `warnings` are of a draft that was just saved."""
    return LayoutShown(
        id=version.layout_id,
        version=version.version,
        state=version.state,
        hash=version.hash,
        name=version.name,
        type=version.type,
        seat_count=version.seat_count,
        place_count=version.place_count,
        saved_at=to_datetime(version.saved_ms),
        published_at=None if version.published_ms is None else to_datetime(version.published_ms),
        deployed_at=None if version.deployed_ms is None else to_datetime(version.deployed_ms),
        retired_at=None if version.retired_ms is None else to_datetime(version.retired_ms),
        damaged_at=None if version.damaged_ms is None else to_datetime(version.damaged_ms),
        warnings=warnings,
    )


def show_draft(version: LayoutVersion, warnings: tuple[Violation, ...] = (), *, status: int = 200) -> web.Response:
    """The answer of whoever has made or changed a draft."""
    response = respond_json(show_version(version, warnings), status=status)
    response.headers["ETag"] = f'"{version.hash}"'
    return response
