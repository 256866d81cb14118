"""Several events of one group over REST: taken, moved, put off and given back in one step (contract, section 2)."""

from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from lml_live import limits, values
from lml_live.errors import STATUS_BY_CODE, NotFound
from lml_live.gateway import paging, problems, wire
from lml_live.gateway.acts import show_changed
from lml_live.gateway.bodies import (
    EventWishBody,
    GroupHoldBody,
    GroupHoldIds,
    GroupMoveBody,
    HoldOfEvent,
    HoldsOfGroup,
    HoldsOfGroupPage,
    SeatIdPick,
)
from lml_live.gateway.desk import Desk
from lml_live.gateway.groups import Ask, GroupActs, GroupDone
from lml_live.gateway.hold_answers import indexes_of
from lml_live.gateway.holders import HolderServices
from lml_live.gateway.idempotency import HEADER, read_key
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import Problem, read_body
from lml_live.inventory.groups import GroupRefusal

_CODES: Final = ("unauthorized", "not_found", "different_group", "rate_limited")
_SALE: Final = ("sale_not_open", "sale_paused", "sale_closed", "idempotency_mismatch", "limit_exceeded")
_TAKING: Final = ("cooling_down", "seat_taken", "unknown_seat", "unknown_area", "area_full", "orphan_seat")
_HOLD: Final = ("hold_not_found", "hold_expired", "hold_in_checkout", "forbidden")

OPERATIONS: Final = (
    Operation(
        name="hold_group",
        method="POST",
        path=f"{API}/groups/{{group}}/holds",
        who="holder",
        summary="Take seats and area places in several events of a group, or one choice in all: all of it, or nothing.",
        body=GroupHoldBody,
        answers={201: HoldsOfGroup},
        codes=(*_CODES, *_SALE, *_TAKING, "hold_not_found", "hold_expired"),
        idempotent=True,
    ),
    Operation(
        name="list_group_holds",
        method="GET",
        path=f"{API}/groups/{{group}}/holds",
        who="holder",
        summary="The caller's holds in a group's events that are on sale or paused, a page of events at a time.",
        query=paging.QUERY,
        answers={200: HoldsOfGroupPage},
        codes=("unauthorized", "not_found", "rate_limited", "invalid_message"),
    ),
    Operation(
        name="move_group",
        method="POST",
        path=f"{API}/groups/{{group}}/holds/move",
        who="holder",
        summary="Make other seats, in the same events of the group or in others, of several holds in one step.",
        body=GroupMoveBody,
        answers={200: HoldsOfGroup},
        codes=(*_CODES, *_SALE, *_TAKING, *_HOLD),
        idempotent=True,
    ),
    Operation(
        name="release_group",
        method="POST",
        path=f"{API}/groups/{{group}}/holds/release",
        who="holder",
        summary="Give several holds of a group's events back: all of them, or none.",
        body=GroupHoldIds,
        answers={204: None},
        codes=(*_CODES, *_HOLD),
    ),
    Operation(
        name="extend_group",
        method="POST",
        path=f"{API}/groups/{{group}}/holds/extend",
        who="holder",
        summary="Put the deadlines of several holds off, or of none. An Idempotency-Key makes a retry harmless.",
        body=GroupHoldIds,
        answers={200: HoldsOfGroup},
        codes=(*_CODES, *_SALE, *_HOLD),
    ),
)


class GroupProblem(Problem, frozen=True, omit_defaults=True, kw_only=True):
    """A refusal by some of several events; `code` is the first one's."""

    events: tuple[wire.EventRefusal, ...] = ()


def routes(services: HolderServices, groups: GroupActs) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    caller = services.caller

    async def hold_group(request: web.Request) -> web.Response:
        buyer, key, group = await services.buyer(request), read_key(request), _group(request)
        body = await read_body(request, GroupHoldBody)
        events = body.events or await groups.events_of(group)
        asks, address = _asks(events, body.seats, body.areas), services.address_of.mark(request)
        done = await groups.hold(group, buyer.holder, asks, key=key, through=buyer.channel, address=address)
        return answer_group(group, done, status=201)

    async def list_group_holds(request: web.Request) -> web.Response:
        holder, group = await caller(request), _group(request)
        limit = min(paging.read_limit(request), limits.EVENTS_PER_CALL_MAX)
        shown, last = await groups.own_holds(group, holder, limit=limit, after=paging.read_cursor(request))
        items = tuple(
            HoldOfEvent(desk.event.id, hold)
            for desk, change in shown
            if (hold := show_changed(desk, change, seat_ids=True)) is not None
        )
        return _json(HoldsOfGroupPage(items, None if last is None else paging.write_cursor(*last)))

    async def move_group(request: web.Request) -> web.Response:
        buyer, key, group = await services.buyer(request), read_key(request), _group(request)
        body = await read_body(request, GroupMoveBody)
        asks, address = _asks(body.events, body.seats, body.areas), services.address_of.mark(request)
        done = await groups.move(group, buyer.holder, body.holds, asks, key=key, through=buyer.channel, address=address)
        return answer_group(group, done)

    async def release_group(request: web.Request) -> web.Response:
        holder, group = await caller(request), _group(request)
        body = await read_body(request, GroupHoldIds)
        done = await groups.release(group, holder, body.holds)
        if isinstance(done.outcome, GroupRefusal):
            return answer_group(group, done)
        return web.Response(status=204)

    async def extend_group(request: web.Request) -> web.Response:
        holder, group = await caller(request), _group(request)
        key = read_key(request) if HEADER in request.headers else None
        body = await read_body(request, GroupHoldIds)
        return answer_group(group, await groups.extend(group, holder, body.holds, key=key))

    return bind(
        OPERATIONS,
        {
            "hold_group": hold_group,
            "list_group_holds": list_group_holds,
            "move_group": move_group,
            "release_group": release_group,
            "extend_group": extend_group,
        },
    )


def ask_by_ids(event: str, seats: Sequence[str | SeatIdPick], areas: wire.AreaWishes, *, shared: bool = False) -> Ask:
    """What is asked of one event, seats by id."""
    return Ask(event, lambda desk: indexes_of(desk, seats), areas, shared)


def answer_group(group: str, done: GroupDone, *, status: int = 200) -> web.Response:
    """The holds as they are now, or the problem for a refusal, with the seats in the way by id."""
    outcome, desks = done.outcome, done.desks
    if isinstance(outcome, GroupRefusal):
        problem = GroupProblem(
            type=f"/docs#problem-{outcome.code}",
            title=outcome.code.replace("_", " ").capitalize(),
            status=STATUS_BY_CODE[outcome.code],
            detail=outcome.message,
            code=outcome.code,
            events=tuple(
                wire.EventRefusal(
                    event=event,
                    code=refusal.code,
                    message=refusal.message,
                    seats=_seat_ids(desks[event], refusal.seats),
                    areas=refusal.areas,
                )
                for event, refusal in outcome.events.items()
            ),
            retry_after_ms=outcome.retry_after_ms,
        )
        return problems.respond(problem)
    holds: list[HoldOfEvent] = []
    amounts: dict[str, int] = {}
    for event, change in outcome.changes.items():
        shown = show_changed(desks[event], change, seat_ids=True)
        if shown is not None:
            holds.append(HoldOfEvent(event, shown))
            amounts[shown.currency] = amounts.get(shown.currency, 0) + shown.amount
    answer = _json(HoldsOfGroup(group, tuple(holds), amounts), status=status)
    if status == 201:
        answer.headers["Location"] = f"{API}/groups/{group}/holds"
    return answer


def _asks(
    events: Sequence[str | EventWishBody], seats: Sequence[str | SeatIdPick], areas: wire.AreaWishes
) -> list[Ask]:
    """An event that is named by its id alone shares `seats` and `areas` with the others so named."""
    return [
        ask_by_ids(event, seats, areas, shared=True)
        if isinstance(event, str)
        else ask_by_ids(event.event, event.seats, event.areas)
        for event in events
    ]


def _group(request: web.Request) -> str:
    group = request.match_info["group"]
    if not values.is_id(group):
        raise NotFound("There is no such group of events.")
    return group


def _seat_ids(desk: Desk, seats: Sequence[int]) -> tuple[str, ...]:
    return tuple(desk.layout.seat_ids[seat] for seat in seats if seat < desk.layout.seat_count)


def _json(body: msgspec.Struct, *, status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers)
