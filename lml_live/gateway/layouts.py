"""The life of layouts over REST, for managers: draft, publish, deploy (contract, section 2)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from lml_live import limits
from lml_live.clock import to_datetime
from lml_live.errors import InvalidInput, NotFound, Violation
from lml_live.gateway.bodies import DeployRequest, LayoutList, LayoutShown
from lml_live.gateway.callers import require_staff
from lml_live.gateway.idempotency import IdempotencyKeys
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import read_body, read_bytes
from lml_live.guard.staff import StaffDesk
from lml_live.venues.importers.native import explain_layout
from lml_live.venues.importers.reading import Rejected, read_json
from lml_live.venues.layout import Layout
from lml_live.venues.library import Library
from lml_live.venues.stored import LayoutVersion

_MANAGER_CODES: Final = ("unauthorized", "forbidden")

OPERATIONS: Final = (
    Operation(
        name="save_layout",
        method="POST",
        path=f"{API}/layouts",
        who="manager",
        summary="Store a layout as the draft of its id; 200 where the library had this content already.",
        body=Layout,
        answers={200: LayoutShown, 201: LayoutShown},
        codes=(*_MANAGER_CODES, "conflict"),
        idempotent=True,
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
        summary="Make the draft unchangeable.",
        answers={200: LayoutShown},
        codes=(*_MANAGER_CODES, "not_found", "conflict"),
    ),
    Operation(
        name="deploy_layout",
        method="POST",
        path=f"{API}/layouts/{{layout}}/deploy",
        who="manager",
        summary="Make a published version usable for events; without a body the latest published one. Twice is once.",
        body=DeployRequest,
        body_required=False,
        answers={200: LayoutShown},
        codes=(*_MANAGER_CODES, "not_found", "conflict"),
    ),
)


@dataclass(frozen=True)
class LayoutServices:
    """What the handlers need. `deployed` puts a deployment on record, and the version where the CDN finds it."""

    desk: StaffDesk
    library: Library
    keys: IdempotencyKeys
    deployed: Callable[[LayoutVersion], Awaitable[None]]


def routes(services: LayoutServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    desk, library = services.desk, services.library
    # The largest body is 64 MiB, and a few times that while it is decoded.
    one_at_a_time = asyncio.Semaphore(1)

    async def save_layout(request: web.Request) -> web.Response:
        staff = await require_staff(request, desk, "manager")

        async def act() -> web.Response:
            saved = await library.save_draft(await _read_layout(request))
            return _answer(_shown(saved.version, saved.warnings), status=201 if saved.changed else 200)

        async with one_at_a_time:
            return await services.keys.once(request, staff.id, act, bytes_max=limits.LAYOUT_FILE_BYTES_MAX)

    async def list_layout_versions(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        versions = await library.status(request.match_info["layout"])
        if not versions:
            raise NotFound("There is no such layout.")
        return _answer(LayoutList(tuple(map(_shown, versions)), None))

    async def publish_layout(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        return _answer(_shown(await library.publish(request.match_info["layout"])))

    async def deploy_layout(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        wanted = await read_body(request, DeployRequest) if request.can_read_body else DeployRequest()
        version = await library.deploy(request.match_info["layout"], wanted.version)
        await services.deployed(version)
        return _answer(_shown(version))

    return bind(
        OPERATIONS,
        {
            "save_layout": save_layout,
            "list_layout_versions": list_layout_versions,
            "publish_layout": publish_layout,
            "deploy_layout": deploy_layout,
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


def _shown(version: LayoutVersion, warnings: tuple[Violation, ...] = ()) -> LayoutShown:
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
        warnings=warnings,
    )


def _answer(body: msgspec.Struct, *, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-cache"},
    )
