"""The aiohttp application: every route of the server, behind one middleware that makes problems of errors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from lml_live import limits
from lml_live.booking.mailer import Mailbox
from lml_live.gateway import (
    accounts,
    audit,
    bookings,
    cards,
    channels,
    counter,
    disputes,
    documents,
    events,
    holders,
    layout_backups,
    layout_edge,
    layout_files,
    layouts,
    mailbox,
    organisations,
    problems,
    refunds,
    sales,
    seasons,
    self_checks,
    staff,
    tickets,
)
from lml_live.gateway.accounts import AccountServices
from lml_live.gateway.audit import AuditServices
from lml_live.gateway.bookings import BookingServices
from lml_live.gateway.callers import ORIGIN, REACH
from lml_live.gateway.cards import CardServices
from lml_live.gateway.counter import CounterServices
from lml_live.gateway.disputes import DisputeServices
from lml_live.gateway.events import EventServices
from lml_live.gateway.holders import HolderServices
from lml_live.gateway.layout_backups import BackupServices
from lml_live.gateway.layout_edge import EdgeServices
from lml_live.gateway.layout_objects import object_routes
from lml_live.gateway.layouts import LayoutServices
from lml_live.gateway.operations import Operation
from lml_live.gateway.organisations import OrganisationServices
from lml_live.gateway.pages import STRIPE_JS, Probe, house_routes, page_routes
from lml_live.gateway.problems import problems_middleware
from lml_live.gateway.refunds import RefundServices
from lml_live.gateway.sales import SaleServices
from lml_live.gateway.self_checks import SelfChecks
from lml_live.gateway.tickets import TicketServices
from lml_live.guard.reach import Reach
from lml_live.infra.acting import acting_ends
from lml_live.infra.telemetry import METRICS
from lml_live.venues.own_edge import OwnEdge

_log = logging.getLogger(__name__)

OPERATIONS: Final[Sequence[Operation]] = (
    *events.OPERATIONS,
    *channels.OPERATIONS,
    *holders.OPERATIONS,
    *seasons.OPERATIONS,
    *counter.OPERATIONS,
    *bookings.OPERATIONS,
    *sales.OPERATIONS,
    *refunds.OPERATIONS,
    *tickets.OPERATIONS,
    *staff.OPERATIONS,
    *accounts.OPERATIONS,
    *cards.OPERATIONS,
    *layouts.OPERATIONS,
    *layout_files.OPERATIONS,
    *self_checks.OPERATIONS,
    *layout_backups.OPERATIONS,
    *layout_edge.OPERATIONS,
    *organisations.OPERATIONS,
    *disputes.OPERATIONS,
    *audit.OPERATIONS,
)
"""Every REST call: the routes and `/openapi.json` are made of this one table."""


@dataclass(frozen=True)
class Services:
    """What the routes need, made by `wiring`."""

    events: EventServices
    layouts: LayoutServices
    self_checks: SelfChecks
    backups: BackupServices
    edge: EdgeServices
    holders: HolderServices
    counter: CounterServices
    bookings: BookingServices
    sales: SaleServices
    refunds: RefundServices
    tickets: TicketServices
    accounts: AccountServices
    cards: CardServices
    organisations: OrganisationServices
    disputes: DisputeServices
    audit: AuditServices
    reach: Reach
    probes: Mapping[str, Probe]
    mailbox: Mailbox | None = None
    own_edge: OwnEdge | None = None


@web.middleware
async def count_requests(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Counts every answer by its status."""
    response = await handler(request)
    METRICS.requests.labels(str(response.status)).inc()
    return response


@web.middleware
async def forget_actor(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Who acted in one request acts in no other of the connection."""
    with acting_ends():
        return await handler(request)


@web.middleware
async def end_refused_tunnels(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Ends the connection after a refused CONNECT or upgrade.

    A careless proxy in front believes in its tunnel all the same, and what comes through it was looked at by nobody.
    """
    response = await handler(request)
    if response.status != 101 and ("Upgrade" in request.headers or request.method == "CONNECT"):
        response.force_close()
    return response


class _Connection(web.RequestHandler):
    """Bounds how long the head of a request may take.

    Answers what breaks before any route sees it with a problem, as `problems_middleware` does for the rest.
    """

    __slots__ = ("_impatience",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._impatience: asyncio.TimerHandle | None = None
        self._await_head()

    def data_received(self, data: bytes) -> None:
        # The framework's only bound is the idle connection's, which begins anew with each request and is long; and
        # it says only here whether a head has ended (a request more) and whether one is awaited (a waiter).
        heads = self._request_count
        super().data_received(data)
        if self._request_count != heads:
            self._stop_waiting()
        elif data and self._waiter is not None and self._impatience is None:
            self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._impatience = self._loop.call_later(limits.HEAD_SECONDS_MAX, self.force_close)

    def _stop_waiting(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("The answer is already on its way.")
        if isinstance(exc, ConnectionError):
            raise exc  # There is nobody to answer, and nothing of ours went wrong.
        if status >= 500:
            _log.error("unexpected error", exc_info=exc)
        # Less is not noted: the parser's words quote what was sent, and that may be a token.
        METRICS.requests.labels(str(status)).inc()
        response = problems.broken_request(status)
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs the application on connections of our own kind.

    Bodies stay as they come: the framework would unpack them while they arrive, also those that nobody wants, and a
    bomb would hold up every socket of the worker (CVE-2026-128131). An encoded body is refused by `read_bytes`.
    """

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, auto_decompress=False, **options)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, loop=made._loop, **made._kwargs)


def payment_origin(services: BookingServices) -> str | None:
    """Where a buyer's browser pays: at the real Stripe, or at one that stands somewhere else."""
    if services.payments is None:
        return None
    if services.payments.api_base is None:
        return STRIPE_JS
    address = urlsplit(services.payments.api_base)
    return f"{address.scheme}://{address.netloc}"


def make_app(services: Services) -> web.Application:
    """The application. Bodies are bounded where they are read; `client_max_size` is the last guard."""
    app = web.Application(
        middlewares=[count_requests, end_refused_tunnels, forget_actor, problems_middleware],
        client_max_size=limits.LAYOUT_FILE_BYTES_MAX,
    )
    app[REACH] = services.reach
    app[ORIGIN] = services.holders.address_of.origin
    app.add_routes(events.routes(services.events))
    app.add_routes(channels.routes(services.events))
    app.add_routes(layout_backups.routes(services.backups))
    app.add_routes(layout_edge.routes(services.edge))
    app.add_routes(layouts.routes(services.layouts))  # before `/layouts/{layout}/{hash}`, which would hide `/versions`
    app.add_routes(layout_files.routes(services.layouts.desk, services.layouts.library))
    app.add_routes(self_checks.routes(services.self_checks))
    app.add_routes(holders.routes(services.holders))
    app.add_routes(seasons.routes(services.holders, services.holders.live.groups))
    app.add_routes(counter.routes(services.counter))
    app.add_routes(bookings.routes(services.bookings))
    app.add_routes(sales.routes(services.sales))
    app.add_routes(refunds.routes(services.refunds))
    app.add_routes(disputes.routes(services.disputes))
    app.add_routes(audit.routes(services.audit))
    app.add_routes(tickets.routes(services.tickets, bookings.reader(services.bookings)))
    app.add_routes(staff.routes(services.events.desk, services.holders.address_of.capped, services.accounts))
    app.add_routes(accounts.routes(services.accounts))
    app.add_routes(cards.routes(services.cards))
    app.add_routes(organisations.routes(services.organisations))
    app.add_routes(documents.routes(OPERATIONS))
    app.add_routes(
        page_routes(payment_origin=payment_origin(services.bookings), cdn_origin=services.holders.links.cdn_origin)
    )
    app.add_routes([] if services.own_edge is None else object_routes(services.own_edge))
    app.add_routes(mailbox.routes(services.mailbox))
    app.add_routes(house_routes(services.probes))
    return app
