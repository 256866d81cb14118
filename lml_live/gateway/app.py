"""The aiohttp application: every route of the server, behind one middleware that makes problems of errors."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from lml_live import limits
from lml_live.gateway import documents, events, holders, layouts, staff
from lml_live.gateway.events import EventServices
from lml_live.gateway.holders import HolderServices
from lml_live.gateway.layouts import LayoutServices
from lml_live.gateway.operations import Operation
from lml_live.gateway.pages import Probe, house_routes, page_routes
from lml_live.gateway.problems import problems_middleware
from lml_live.infra.telemetry import METRICS

OPERATIONS: Final[Sequence[Operation]] = (
    *events.OPERATIONS,
    *holders.OPERATIONS,
    *staff.OPERATIONS,
    *layouts.OPERATIONS,
)
"""Every REST call: the routes and `/openapi.json` are made of this one table."""


@dataclass(frozen=True)
class Services:
    """What the routes need, made by `wiring`."""

    events: EventServices
    layouts: LayoutServices
    holders: HolderServices
    probes: Mapping[str, Probe]


@web.middleware
async def count_requests(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Counts every answer by its status."""
    response = await handler(request)
    METRICS.requests.labels(str(response.status)).inc()
    return response


def make_app(services: Services) -> web.Application:
    """The application. Bodies are bounded where they are read; `client_max_size` is the last guard."""
    app = web.Application(
        middlewares=[count_requests, problems_middleware], client_max_size=limits.LAYOUT_FILE_BYTES_MAX
    )
    app.add_routes(events.routes(services.events))
    app.add_routes(holders.routes(services.holders))
    app.add_routes(staff.routes(services.events.desk, services.holders.address_of.capped))
    app.add_routes(layouts.routes(services.layouts))
    app.add_routes(documents.routes(OPERATIONS))
    app.add_routes(page_routes())
    app.add_routes(house_routes(services.probes))
    return app
