"""Who calls: the token of `Authorization: Bearer …`, and what it allows."""

import re
from collections.abc import Callable
from typing import Final

from aiohttp import web

from lml_live import limits
from lml_live.errors import Forbidden, Unauthorized
from lml_live.guard.reach import Reach
from lml_live.guard.staff import Role, Staff, StaffDesk
from lml_live.infra.acting import ActorKind, act_as
from lml_live.values import STAFF_TOKEN_PREFIX

_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/=-]+)")


def bearer_token(request: web.Request) -> str | None:
    """The token, or None where no `Authorization` is sent. Raises `Unauthorized` for any other kind of it."""
    given = request.headers.getall("Authorization", [])
    if not given:
        return None
    found = _BEARER.fullmatch(given[0]) if len(given) == 1 and len(given[0]) <= limits.TOKEN_CHARS_MAX else None
    if found is None:
        raise Unauthorized("The Authorization header is no bearer token.")
    return found[1]


async def find_staff(request: web.Request, desk: StaffDesk) -> Staff | None:
    """The member of staff who calls; None for everybody else, whatever token they have."""
    token = bearer_token(request)
    return await desk.who(token) if token is not None and is_staff_token(token) else None


ORIGIN: Final[web.AppKey[Callable[[web.Request], str]]] = web.AppKey("origin")
"""What stands for a caller's network address in the audit trail."""


REACH: Final[web.AppKey[Reach]] = web.AppKey("reach")
"""How far staff reach who are an organisation's. Where an application has none, they reach nothing."""


def origin_of(request: web.Request) -> str:
    """What stands for the caller's network address; empty where an application knows no addresses."""
    find = request.app.get(ORIGIN)
    return "" if find is None else find(request)


def note_actor(request: web.Request, kind: ActorKind | None = None, actor_id: str = "") -> None:
    """What this request changes is on record as this one's doing, or (without a kind) as from this address only."""
    act_as(kind, actor_id, origin_of(request))


CLERKS: Final[tuple[Role, ...]] = ("box_office", "manager")
"""Who works at the counter: clerks and up."""


def is_staff_token(token: str | None) -> bool:
    """Whether a token is of the kind that staff have, good or not."""
    return token is not None and token.startswith(STAFF_TOKEN_PREFIX)


async def require_staff(request: web.Request, desk: StaffDesk, *roles: Role) -> Staff:
    """The member of staff who calls, with one of these roles. Raises `Unauthorized`, `Forbidden`.

    Asked before anything is looked up, so that a refusal tells nobody what exists. What the path names has to be
    within their reach, else it is not there: `NotFound`.
    """
    staff = await find_staff(request, desk)
    if staff is None:
        raise Unauthorized("This needs a member of staff.")
    if not any(staff.may(role) for role in roles):
        raise Forbidden("This needs another role.")
    if staff.bound:
        await request.app[REACH].check(staff, request.match_info)
    note_actor(request, "staff", staff.id)
    return staff


async def require_house(request: web.Request, desk: StaffDesk, *roles: Role) -> Staff:
    """Of whom everything here depends on: who is an organisation's may not. Raises as `require_staff` does."""
    staff = await require_staff(request, desk, *roles)
    if staff.bound:
        raise Forbidden("This is every organisation's: ask a manager of the house.")
    return staff


async def require_reach(request: web.Request, staff: Staff, kind: str, name: str) -> None:
    """What is named elsewhere than in the path is theirs, too. Raises `NotFound`."""
    if staff.bound:
        await request.app[REACH].check(staff, {kind: name})
