"""Sales channels over REST: moved and opened by managers, told to clerks, but of drafts (contract, section 2)."""

from typing import Final

import msgspec
from aiohttp import web

from lml_live.backoffice.blocking import BlockReport, Selection
from lml_live.backoffice.reports import ChannelReport
from lml_live.errors import NotFound
from lml_live.gateway.bodies import AssignRequest, ChannelList, ReasonBody
from lml_live.gateway.callers import CLERKS, require_staff
from lml_live.gateway.events import EventServices
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import read_body

_MANAGER_CODES: Final = ("unauthorized", "forbidden", "not_found")

OPERATIONS: Final = (
    Operation(
        name="list_channels",
        method="GET",
        path=f"{API}/events/{{event}}/channels",
        who="clerk",
        summary="What each sales channel has, and what became of it; first `open`, which all sell.",
        answers={200: ChannelList},
        codes=_MANAGER_CODES,
    ),
    Operation(
        name="assign_seats",
        method="POST",
        path=f"{API}/events/{{event}}/channels",
        who="manager",
        summary="Give seats and places to a channel, until a time or for good; to `open`: to all. Refusals are listed.",
        body=AssignRequest,
        answers={200: BlockReport},
        codes=(*_MANAGER_CODES, "conflict", "limit_exceeded"),
        idempotent="optional",
    ),
    Operation(
        name="open_channel",
        method="POST",
        path=f"{API}/events/{{event}}/channels/{{channel}}/open",
        who="manager",
        summary="Open to all what a channel has; twice is once. What it held and sold stays held and sold.",
        body=ReasonBody,
        answers={200: ChannelReport},
        codes=_MANAGER_CODES,
        idempotent="optional",
    ),
)


def routes(services: EventServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    allotting, desk = services.allotting, services.desk

    async def list_channels(request: web.Request) -> web.Response:
        staff = await require_staff(request, desk, *CLERKS)
        event = await services.catalogue.load_event(request.match_info["event"])
        if event.state == "draft" and not staff.may("manager"):
            raise NotFound("A draft is there for managers only.")
        return _answer(ChannelList(tuple(await allotting.report(event.id)), None))

    # Either can be asked twice without harm; but what another manager did in between would be undone.

    async def assign_seats(request: web.Request) -> web.Response:
        staff = await require_staff(request, desk, "manager")

        async def act(_named: str) -> web.Response:
            body = await read_body(request, AssignRequest)
            wanted = Selection(body.seats, body.runs, body.areas)
            event_id = request.match_info["event"]
            report = await allotting.assign(event_id, body.channel, wanted, body.opens_at, body.reason, staff.id)
            return _answer(report)

        return await services.keys.once_if_named(request, staff.id, act)

    async def open_channel(request: web.Request) -> web.Response:
        staff = await require_staff(request, desk, "manager")

        async def act(_named: str) -> web.Response:
            body = await read_body(request, ReasonBody)
            event_id, name = request.match_info["event"], request.match_info["channel"]
            await allotting.open(event_id, name, body.reason, staff.id)
            for report in await allotting.report(event_id):
                if report.channel == name:
                    return _answer(report)
            raise NotFound("The event has no such channel.")

        return await services.keys.once_if_named(request, staff.id, act)

    return bind(
        OPERATIONS,
        {"list_channels": list_channels, "assign_seats": assign_seats, "open_channel": open_channel},
    )


def _answer(body: msgspec.Struct) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=200, body=msgspec.json.encode(body), content_type="application/json", headers=headers)
