"""Organisations over REST: an administrator makes them and sets the terms; a manager sees and uses their own only."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from lml_live import limits
from lml_live.booking.bank_payouts import BankPayouts, Payout
from lml_live.booking.connect import OnboardingLink
from lml_live.booking.onboarding import Onboarding
from lml_live.booking.organisations import (
    BasisPoints,
    Fee,
    HoldBackDays,
    NewOrganisation,
    Organisation,
    Organisations,
    Venue,
)
from lml_live.booking.statements import StatementLine, Statements, write_csv
from lml_live.booking.surplus import StuckTransfer, Surplus
from lml_live.errors import Unavailable
from lml_live.gateway import paging
from lml_live.gateway.callers import require_staff
from lml_live.gateway.idempotency import IdempotencyKeys, request_seed
from lml_live.gateway.operations import API, Operation, Query, bind
from lml_live.gateway.problems import read_body
from lml_live.guard.staff import StaffDesk
from lml_live.pricing.events import Id, Name

# --- Shapes -----------------------------------------------------------------------------------------------------------


class OrganisationChanges(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `PATCH /organisations/{organisation}`: what is left out stays. What was sold keeps its terms."""

    name: Name | UnsetType = UNSET
    hold_back_days: HoldBackDays | UnsetType = UNSET
    fee_basis_points: BasisPoints | UnsetType = UNSET
    fee_per_ticket: Fee | UnsetType = UNSET


class MemberBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Which member of staff, by e-mail address."""

    email: Annotated[str, Meta(min_length=1, max_length=320)]


class VenueBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /organisations/{organisation}/venues`."""

    id: Id | None = None
    name: Name


class OnboardingBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /organisations/{organisation}/onboarding`: in which country an account is opened, where there
    is none yet (ISO 3166, two letters)."""

    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$(?!\n)", max_length=2)]


class OrganisationList(Struct, frozen=True):
    """A page of organisations, the oldest first."""

    items: tuple[Organisation, ...]
    next: str | None


class VenueList(Struct, frozen=True):
    """A page of venues, the oldest first."""

    items: tuple[Venue, ...]
    next: str | None


class StatementPage(Struct, frozen=True, kw_only=True):
    """A page of an organisation's statement: its events by their start."""

    organisation: str
    currency: str
    items: tuple[StatementLine, ...]
    next: str | None


class PayoutList(Struct, frozen=True):
    """A page of an organisation's payouts to its bank, the newest first."""

    items: tuple[Payout, ...]
    next: str | None


class StuckList(Struct, frozen=True):
    """Transfers that are stuck, the oldest first, and why: at most as many as a page may have."""

    items: tuple[StuckTransfer, ...]


class Retried(Struct, frozen=True):
    """How many transfers are asked for again."""

    retried: int


_PERIOD: Final = (
    Query("from", datetime, "Events that begin from then on."),
    Query("to", datetime, "And before this."),
    *paging.QUERY,
)
_STAFF: Final = ("unauthorized", "forbidden")
_ONE: Final = f"{API}/organisations/{{organisation}}"
_EVENT: Final = f"{_ONE}/venues/{{venue}}/events/{{event}}"

OPERATIONS: Final = (
    Operation(
        name="create_organisation",
        method="POST",
        path=f"{API}/organisations",
        who="admin",
        summary="Make an organisation that sells through the house, with what we keep of its tickets.",
        body=NewOrganisation,
        answers={201: Organisation},
        codes=(*_STAFF, "conflict"),
        idempotent=True,
    ),
    Operation(
        name="list_organisations",
        method="GET",
        path=f"{API}/organisations",
        who="manager",
        summary="The caller's organisations; an administrator's are all.",
        query=paging.QUERY,
        answers={200: OrganisationList},
        codes=(*_STAFF, "invalid_message"),
    ),
    Operation(
        name="read_organisation",
        method="GET",
        path=_ONE,
        who="manager",
        summary="One organisation, with its account at Stripe as Stripe said last.",
        answers={200: Organisation},
        codes=(*_STAFF, "not_found"),
    ),
    Operation(
        name="change_organisation",
        method="PATCH",
        path=_ONE,
        who="admin",
        summary="Change what is given; bookings that were made before keep their terms.",
        body=OrganisationChanges,
        answers={200: Organisation},
        codes=(*_STAFF, "not_found"),
    ),
    Operation(
        name="add_organisation_member",
        method="PUT",
        path=f"{_ONE}/members",
        who="admin",
        summary="Let a manager see an organisation and act for it; twice is once.",
        body=MemberBody,
        answers={204: None},
        codes=(*_STAFF, "not_found"),
    ),
    Operation(
        name="onboard_organisation",
        method="POST",
        path=f"{_ONE}/onboarding",
        who="manager",
        summary="A link to Stripe, where the owner of the organisation's account says who is paid; opens it at first.",
        body=OnboardingBody,
        answers={201: OnboardingLink},
        codes=(*_STAFF, "not_found", "conflict"),
    ),
    Operation(
        name="read_statement",
        method="GET",
        path=f"{_ONE}/statement",
        who="manager",
        summary="What an organisation has sold, is due, was paid and owes, by event.",
        query=_PERIOD,
        answers={200: StatementPage},
        codes=(*_STAFF, "not_found", "invalid_message"),
    ),
    Operation(
        name="export_statement",
        method="GET",
        path=f"{_ONE}/statement.csv",
        who="manager",
        summary="The same page as CSV (RFC 4180); `Link` with rel=next names the next one.",
        query=_PERIOD,
        answers={200: str},
        codes=(*_STAFF, "not_found", "invalid_message"),
        content_type="text/csv",
    ),
    Operation(
        name="list_payouts",
        method="GET",
        path=f"{_ONE}/payouts",
        who="manager",
        summary="What went from an organisation's account at Stripe to its bank, and whether it arrived.",
        query=paging.QUERY,
        answers={200: PayoutList},
        codes=(*_STAFF, "not_found", "invalid_message"),
    ),
    Operation(
        name="list_stuck_transfers",
        method="GET",
        path=f"{_ONE}/stuck-transfers",
        who="manager",
        summary="What Stripe refuses to send for so long that nobody asks any more.",
        answers={200: StuckList},
        codes=(*_STAFF, "not_found"),
    ),
    Operation(
        name="retry_transfers",
        method="POST",
        path=f"{_ONE}/stuck-transfers/retry",
        who="manager",
        summary="Ask Stripe for it again, once; answers how many that is.",
        answers={202: Retried},
        codes=(*_STAFF, "not_found"),
    ),
    Operation(
        name="create_venue",
        method="POST",
        path=f"{_ONE}/venues",
        who="manager",
        summary="Make a venue of an organisation's.",
        body=VenueBody,
        answers={201: Venue},
        codes=(*_STAFF, "not_found", "conflict"),
        idempotent=True,
    ),
    Operation(
        name="list_venues",
        method="GET",
        path=f"{_ONE}/venues",
        who="manager",
        summary="An organisation's venues.",
        query=paging.QUERY,
        answers={200: VenueList},
        codes=(*_STAFF, "not_found", "invalid_message"),
    ),
    Operation(
        name="put_event_at_venue",
        method="PUT",
        path=_EVENT,
        who="manager",
        summary="Sell an event on the venue's account, before anything of it is sold; twice is once.",
        answers={204: None},
        codes=(*_STAFF, "not_found", "conflict"),
    ),
    Operation(
        name="take_event_from_venue",
        method="DELETE",
        path=_EVENT,
        who="manager",
        summary="Let the house sell an event on its own account again, before anything of it is sold.",
        answers={204: None},
        codes=(*_STAFF, "not_found", "conflict"),
    ),
)


@dataclass(frozen=True)
class OrganisationServices:
    """What the handlers need."""

    desk: StaffDesk
    organisations: Organisations
    statements: Statements
    keys: IdempotencyKeys
    onboarding: Onboarding | None
    """None: no payment provider is set up."""
    page: str
    """Where Stripe sends whoever comes back from it."""
    surplus: Surplus
    payouts: BankPayouts


def routes(services: OrganisationServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    organisations, keys = services.organisations, services.keys

    async def allowed(request: web.Request) -> tuple[str, str | None]:
        """Who calls, and whose organisations they may see: all, or those that have them. Others are not there."""
        staff = await require_staff(request, services.desk, "manager")
        return staff.id, None if "admin" in staff.roles else staff.id

    async def create_organisation(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, "admin")

        async def act() -> web.Response:
            new = await read_body(request, NewOrganisation)
            made = await organisations.create(new, seed=request_seed(staff.id, request))
            return _json(made, 201)

        return await keys.once(request, staff.id, act)

    async def list_organisations(request: web.Request) -> web.Response:
        _, of = await allowed(request)
        limit = paging.read_limit(request)
        found = await organisations.list(of=of, after=paging.read_cursor(request), limit=limit + 1)
        return _json(OrganisationList(tuple(found[:limit]), _next(found, limit)))

    async def read_organisation(request: web.Request) -> web.Response:
        _, of = await allowed(request)
        return _json(await organisations.load(request.match_info["organisation"], of=of))

    async def change_organisation(request: web.Request) -> web.Response:
        await require_staff(request, services.desk, "admin")
        body = await read_body(request, OrganisationChanges)
        changes = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
        return _json(await organisations.change(request.match_info["organisation"], changes))

    async def add_organisation_member(request: web.Request) -> web.Response:
        await require_staff(request, services.desk, "admin")
        body = await read_body(request, MemberBody)
        await organisations.add_member(request.match_info["organisation"], body.email)
        return web.Response(status=204)

    async def onboard_organisation(request: web.Request) -> web.Response:
        _, of = await allowed(request)
        body = await read_body(request, OnboardingBody)
        one = await organisations.load(request.match_info["organisation"], of=of)
        if services.onboarding is None:
            raise Unavailable("No payment provider is set up.")
        back = f"{services.page}?organisation={one.id}"
        link = await services.onboarding.begin(one, body.country, back)
        return _json(link, 201)

    async def page_of_statement(request: web.Request) -> tuple[Organisation, tuple[StatementLine, ...], str | None]:
        _, of = await allowed(request)
        since, until = paging.read_moment(request, "from"), paging.read_moment(request, "to")
        limit, after = paging.read_limit(request), paging.read_cursor(request)
        one = await organisations.load(request.match_info["organisation"], of=of)
        found = await services.statements.lines(one, since=since, until=until, after=after, limit=limit + 1)
        page = tuple(found[:limit])
        following = paging.write_cursor(page[-1].starts_at, page[-1].event) if len(found) > limit else None
        return one, page, following

    async def read_statement(request: web.Request) -> web.Response:
        one, page, following = await page_of_statement(request)
        return _json(StatementPage(organisation=one.id, currency=one.currency, items=page, next=following))

    async def export_statement(request: web.Request) -> web.Response:
        one, page, following = await page_of_statement(request)
        headers = {
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="statement-{one.id}.csv"',
            "X-Content-Type-Options": "nosniff",
        }
        if following is not None:
            address = request.rel_url.update_query(cursor=following)
            headers["Link"] = f'<{address}>; rel="next"'
        text = write_csv(page, head="cursor" not in request.query)
        return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)

    async def list_payouts(request: web.Request) -> web.Response:
        _, of = await allowed(request)
        limit, before = paging.read_limit(request), paging.read_cursor(request, _is_stripes)
        one = await organisations.load(request.match_info["organisation"], of=of)
        found = tuple(await services.payouts.list(one.id, before=before, limit=limit + 1))
        following = paging.write_cursor(found[limit - 1].created, found[limit - 1].id) if len(found) > limit else None
        return _json(PayoutList(found[:limit], following))

    async def list_stuck_transfers(request: web.Request) -> web.Response:
        _, of = await allowed(request)
        one = await organisations.load(request.match_info["organisation"], of=of)
        return _json(StuckList(tuple(await services.surplus.stuck(one.id, limit=limits.PAGE_ITEMS_MAX))))

    async def retry_transfers(request: web.Request) -> web.Response:
        _, of = await allowed(request)
        one = await organisations.load(request.match_info["organisation"], of=of)
        return _json(Retried(await services.surplus.retry(one.id)), 202)

    async def create_venue(request: web.Request) -> web.Response:
        staff, of = await allowed(request)

        async def act() -> web.Response:
            body, organisation = await read_body(request, VenueBody), request.match_info["organisation"]
            seed = request_seed(staff, request)
            made = await organisations.add_venue(organisation, body.name, venue=body.id, of=of, seed=seed)
            return _json(made, 201)

        return await keys.once(request, staff, act)

    async def list_venues(request: web.Request) -> web.Response:
        _, of = await allowed(request)
        limit, organisation = paging.read_limit(request), request.match_info["organisation"]
        found = await organisations.venues(organisation, of=of, after=paging.read_cursor(request), limit=limit + 1)
        return _json(VenueList(tuple(found[:limit]), _next(found, limit)))

    async def put_event_at_venue(request: web.Request) -> web.Response:
        _, of = await allowed(request)
        await organisations.put_event(*_named(request), of=of)
        return web.Response(status=204)

    async def take_event_from_venue(request: web.Request) -> web.Response:
        _, of = await allowed(request)
        await organisations.take_event(*_named(request), of=of)
        return web.Response(status=204)

    return bind(
        OPERATIONS,
        {
            "create_organisation": create_organisation,
            "list_organisations": list_organisations,
            "read_organisation": read_organisation,
            "change_organisation": change_organisation,
            "add_organisation_member": add_organisation_member,
            "onboard_organisation": onboard_organisation,
            "read_statement": read_statement,
            "export_statement": export_statement,
            "list_payouts": list_payouts,
            "list_stuck_transfers": list_stuck_transfers,
            "retry_transfers": retry_transfers,
            "create_venue": create_venue,
            "list_venues": list_venues,
            "put_event_at_venue": put_event_at_venue,
            "take_event_from_venue": take_event_from_venue,
        },
    )


def _named(request: web.Request) -> tuple[str, str, str]:
    named = request.match_info
    return named["organisation"], named["venue"], named["event"]


def _is_stripes(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_]{1,255}", name) is not None


def _next(found: Iterable[Organisation | Venue], limit: int) -> str | None:
    page = list(found)
    return paging.write_cursor(page[limit - 1].created, page[limit - 1].id) if len(page) > limit else None


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
