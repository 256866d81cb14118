"""Layouts at the edge, over REST, for managers: push, rollback, signed links."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from lml_live.gateway.bodies import EdgeStep, EdgeSteps, LinkShown, PushRequest, RollbackRequest, VersionRequest
from lml_live.gateway.callers import require_house
from lml_live.gateway.idempotency import request_seed
from lml_live.gateway.layouts import LayoutServices
from lml_live.gateway.operations import API, Operation, bind, respond_json
from lml_live.gateway.problems import read_body
from lml_live.venues.links import Links
from lml_live.venues.publishing import push_version, roll_back_pointer
from lml_live.venues.pushing import Done, Edge

_MANAGER_CODES: Final = ("unauthorized", "forbidden")

OPERATIONS: Final = (
    Operation(
        name="push_layout",
        method="POST",
        path=f"{API}/layouts/{{layout}}/push",
        who="manager",
        summary="Put a deployed version at the edge, in every region, and move the pointer to it; deploying does that"
        " by itself for newer versions. What is there already is not sent again: twice is once.",
        body=PushRequest,
        answers={200: EdgeSteps},
        codes=(*_MANAGER_CODES, "not_found", "conflict", "layout_damaged"),
    ),
    Operation(
        name="roll_back_layout",
        method="POST",
        path=f"{API}/layouts/{{layout}}/rollback",
        who="manager",
        summary="Move the pointer at the edge to where it was before, past versions that are retired; events go on with"
        " the layouts they have. A rollback that broke off is finished first: then it goes no step further.",
        body=RollbackRequest,
        answers={200: EdgeSteps},
        codes=(*_MANAGER_CODES, "not_found", "conflict"),
        idempotent=True,
    ),
    Operation(
        name="link_layout",
        method="POST",
        path=f"{API}/layouts/{{layout}}/link",
        who="manager",
        summary="Sign a link, and cookies, to a version of a private layout; for as long as the house has set.",
        body=VersionRequest,
        answers={200: LinkShown},
        codes=(*_MANAGER_CODES, "not_found", "conflict", "layout_damaged"),
    ),
)


@dataclass(frozen=True)
class EdgeServices:
    """What the handlers need. `edge` raises `Conflict` where there is none."""

    layouts: LayoutServices
    edge: Callable[[], Awaitable[Edge]]
    links: Links


def routes(services: EdgeServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    desk, library = services.layouts.desk, services.layouts.library

    async def push_layout(request: web.Request) -> web.Response:
        await require_house(request, desk, "manager")
        wanted = await read_body(request, PushRequest)
        version = await library.deployed(request.match_info["layout"], wanted.version)
        done = await push_version(library, await services.edge(), version, dry_run=wanted.dry_run)
        if not wanted.dry_run:
            await services.layouts.stepped("pushed", version)
        return _steps(done, dry_run=wanted.dry_run)

    async def roll_back_layout(request: web.Request) -> web.Response:
        staff = await require_house(request, desk, "manager")

        async def act() -> web.Response:
            wanted = await read_body(request, RollbackRequest)
            edge, layout = await services.edge(), request.match_info["layout"]
            named = request_seed(staff.id, request)[:16]  # the pointer is public
            record = partial(services.layouts.stepped, "rolled_back")
            done = await roll_back_pointer(library, edge, layout, record=record, request=named, dry_run=wanted.dry_run)
            return _steps(done, dry_run=wanted.dry_run)

        return await services.layouts.keys.once(request, staff.id, act)

    async def link_layout(request: web.Request) -> web.Response:
        await require_house(request, desk, "manager")
        wanted = await read_body(request, VersionRequest)
        version = await library.deployed(request.match_info["layout"], wanted.version)
        link = await services.links.make(version.layout_id, version.hash)
        await services.layouts.stepped("linked", version)
        return respond_json(LinkShown(link.url, link.expires_at, link.cookies), cached="no-store")

    return bind(
        OPERATIONS,
        {"push_layout": push_layout, "roll_back_layout": roll_back_layout, "link_layout": link_layout},
    )


def _steps(done: list[Done], *, dry_run: bool) -> web.Response:
    steps = tuple(EdgeStep(each.region, each.did, each.key, each.size_bytes) for each in done)
    return respond_json(EdgeSteps(dry_run, steps), cached="no-store")
