"""Disputes over REST: what a buyer's bank took or asks, what it is told, and all that is on record for that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

import msgspec
from aiohttp import web
from msgspec import Struct

from lml_live import values
from lml_live.booking.completer import Completer
from lml_live.booking.evidence import DisputeShown, Evidence, Pack
from lml_live.booking.payments import DisputeState
from lml_live.errors import NotFound
from lml_live.gateway import paging
from lml_live.gateway.callers import require_staff
from lml_live.gateway.operations import API, Operation, Query, bind
from lml_live.guard.staff import StaffDesk

_STATES: Final = get_args(DisputeState)
_STAFF: Final = ("unauthorized", "forbidden")
_ONE: Final = f"{API}/bookings/{{booking}}/disputes/{{dispute}}/evidence"


class DisputeList(Struct, frozen=True):
    """A page of disputes, the newest first."""

    items: tuple[DisputeShown, ...]
    next: str | None


OPERATIONS: Final = (
    Operation(
        name="list_disputes",
        method="GET",
        path=f"{API}/disputes",
        who="manager",
        summary="Disputes and inquiries of buyers' banks, the newest first.",
        query=(Query("state", DisputeState, "Only those that are so."), *paging.QUERY),
        answers={200: DisputeList},
        codes=(*_STAFF, "invalid_message"),
    ),
    Operation(
        name="read_evidence",
        method="GET",
        path=_ONE,
        who="manager",
        summary="What the bank is told, or was, and all that is on record of the booking, as a file.",
        answers={200: Pack},
        codes=(*_STAFF, "not_found"),
    ),
    Operation(
        name="submit_evidence",
        method="POST",
        path=_ONE,
        who="manager",
        summary="Tell the bank now, not only after the event; once. Asks again where Stripe refused it for days.",
        answers={202: Pack},
        codes=(*_STAFF, "not_found", "conflict"),
    ),
)


@dataclass(frozen=True)
class DisputeServices:
    """What the handlers need."""

    desk: StaffDesk
    evidence: Evidence
    completer: Completer


def routes(services: DisputeServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""

    async def list_disputes(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, "manager")
        limit, state = paging.read_limit(request), request.query.get("state")
        if state is not None and state not in _STATES:
            raise paging.wrong("state", f"is none of {', '.join(_STATES)}")
        after = paging.read_cursor(request, values.is_stripe_id)
        of = staff.id if staff.bound else None
        found = await services.evidence.list(state=state, of=of, after=after, limit=limit + 1)  # type: ignore[arg-type]
        page = tuple(found[:limit])
        following = paging.write_cursor(page[-1].opened, page[-1].id) if len(found) > limit else None
        return _json(DisputeList(page, following))

    async def read_evidence(request: web.Request) -> web.Response:
        await require_staff(request, services.desk, "manager")
        booking, dispute = _named(request)
        name = f'attachment; filename="evidence-{dispute}.json"'
        return _json(await services.evidence.pack(booking, dispute), headers={"Content-Disposition": name})

    async def submit_evidence(request: web.Request) -> web.Response:
        await require_staff(request, services.desk, "manager")
        booking, dispute = _named(request)
        await services.evidence.hurry(booking, dispute)
        await services.completer.hurry(booking)
        return _json(await services.evidence.pack(booking, dispute), 202)

    return bind(
        OPERATIONS,
        {"list_disputes": list_disputes, "read_evidence": read_evidence, "submit_evidence": submit_evidence},
    )


def _named(request: web.Request) -> tuple[str, str]:
    booking, dispute = request.match_info["booking"], request.match_info["dispute"]
    if not values.is_id(booking) or not values.is_stripe_id(dispute):
        raise NotFound("There is no such dispute.")
    return booking, dispute


def _json(body: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})},
    )
