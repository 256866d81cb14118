"""The audit trail over REST: events' for managers, the house's for administrators; by pages, and as JSON lines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from lml_live import limits, values
from lml_live.backoffice.chain import HOUSE
from lml_live.backoffice.extracts import ChainVerdict, Entry, Extracts, Wish
from lml_live.errors import Overloaded
from lml_live.gateway import paging
from lml_live.gateway.callers import require_staff
from lml_live.gateway.operations import API, Operation, Query, bind
from lml_live.guard.staff import StaffDesk

_EVENT: Final = f"{API}/events/{{event}}/audit"
_HOUSE: Final = f"{API}/audit"
_TIMES: Final = (
    Query("from", datetime, "Records from then on."),
    Query("to", datetime, "And before this."),
)
_OF_EVENT: Final = (Query("booking", str, "Only what is about this booking."), *_TIMES)
_STAFF: Final = ("unauthorized", "forbidden")


class AuditPage(Struct, frozen=True):
    """A page of records in the order of their chain. It may have few although there is a `next`: few were wanted of
    what was looked through."""

    items: tuple[Entry, ...]
    next: str | None


def _operation(name: str, path: str, who: Any, summary: str, answer: Any, query: tuple[Query, ...] = ()) -> Operation:
    lines = path.endswith(".jsonl")
    codes = (*_STAFF, *(("not_found",) if "{event}" in path else ()), *(("invalid_message",) if query else ()))
    return Operation(
        name=name,
        method="GET",
        path=path,
        who=who,
        summary=summary,
        query=query,
        answers={200: answer},
        codes=codes if answer is AuditPage else (*codes, "rate_limited"),
        content_type="application/jsonl" if lines else "application/json",
    )


OPERATIONS: Final = (
    _operation(
        *("read_audit", _EVENT, "manager", "Who did what about an event and its bookings, when, why and from where."),
        *(AuditPage, (*_OF_EVENT, *paging.QUERY)),
    ),
    _operation(
        *("export_audit", f"{_EVENT}.jsonl", "manager"),
        "The same, all of it, as JSON lines: hash is the SHA-256 of the hash before and of the record's bytes.",
        *(str, _OF_EVENT),
    ),
    _operation(
        *("verify_audit", f"{_EVENT}/verify", "manager"),
        *("Whether an event's records are what was chained, and all there. (`lml audit verify` looks further.)",),
        ChainVerdict,
    ),
    _operation(
        *("read_house_audit", _HOUSE, "admin", "The same of what is no event's: staff, sign-ins, partners, layouts."),
        *(AuditPage, (*_TIMES, *paging.QUERY)),
    ),
    _operation("export_house_audit", f"{_HOUSE}.jsonl", "admin", "The same, all of it, as JSON lines.", str, _TIMES),
    _operation("verify_house_audit", f"{_HOUSE}/verify", "admin", "Whether it is what was chained.", ChainVerdict),
)


@dataclass(frozen=True)
class AuditServices:
    """What the handlers need."""

    desk: StaffDesk
    extracts: Extracts
    readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(limits.AUDIT_READERS_MAX))
    """Those who read a whole chain: each takes a piece's memory, and a part of PostgreSQL."""


def routes(services: AuditServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    extracts = services.extracts

    @asynccontextmanager
    async def reading() -> AsyncIterator[None]:
        if services.readers.locked():
            raise Overloaded("Too many are reading the audit trail just now.")
        async with services.readers:
            yield

    async def chain_of(request: web.Request) -> str:
        """Asked for by somebody who may; of an event that is there."""
        if "event" not in request.match_info:
            await require_staff(request, services.desk, "admin")
            return HOUSE
        await require_staff(request, services.desk, "manager")
        return await extracts.chain_of(request.match_info["event"])

    async def read(request: web.Request) -> web.Response:
        chain = await chain_of(request)
        wish, limit, after = _wish(request), paging.read_limit(request), _after(request)
        found, following = await extracts.page(chain, wish, after=after, limit=limit)
        return _json(AuditPage(tuple(found), None if following is None else str(following)))

    async def export(request: web.Request) -> web.StreamResponse:
        chain = await chain_of(request)
        wish = _wish(request)
        async with reading():
            answer = web.StreamResponse(
                headers={
                    "Cache-Control": "no-store",
                    "Content-Disposition": f'attachment; filename="audit-{chain or "house"}.jsonl"',
                    "Content-Type": "application/jsonl",
                    "X-Content-Type-Options": "nosniff",
                }
            )
            await answer.prepare(request)
            async for lines in extracts.lines(chain, wish):
                # Who reads no more keeps a place from others; a cut answer shows that it is not whole.
                async with asyncio.timeout(limits.AUDIT_WRITE_SECONDS):
                    await answer.write(lines)
            await answer.write_eof()
        return answer

    async def verify(request: web.Request) -> web.Response:
        chain = await chain_of(request)
        async with reading():
            return _json(await extracts.check(chain))

    return bind(
        OPERATIONS,
        {
            "read_audit": read,
            "export_audit": export,
            "verify_audit": verify,
            "read_house_audit": read,
            "export_house_audit": export,
            "verify_house_audit": verify,
        },
    )


def _wish(request: web.Request) -> Wish:
    booking = request.query.get("booking")
    if booking is not None and not values.is_id(booking):
        raise paging.wrong("booking", "is no id")
    return Wish(booking, paging.read_moment(request, "from"), paging.read_moment(request, "to"))


def _after(request: web.Request) -> int:
    text = request.query.get("cursor", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise paging.wrong("cursor", "is no cursor of ours")
    return int(text)


def _json(body: Any) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), content_type="application/json", headers={"Cache-Control": "no-store"}
    )
