"""The counter over REST: holds for customers, anybody's hold released or moved, seats and their history (contract 2).

A clerk may act on every hold of the house, but hold seats only for customers of the box office; drafts are there for
managers only, as everywhere. What is asked for is looked up after the role, so that a refusal tells nobody what exists.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from lml_live import limits, values
from lml_live.backoffice.history import History
from lml_live.backoffice.hold_rows import Act
from lml_live.backoffice.holding import Holding
from lml_live.errors import InvalidInput, NotFound, Refused, Violation
from lml_live.gateway import paging, wire
from lml_live.gateway.acts import Acts
from lml_live.gateway.bodies import (
    CustomerHoldBody,
    CustomerHoldList,
    MoveBody,
    ReleaseBody,
    SeatDetailsList,
    SeatIdPick,
    StatusChangeList,
)
from lml_live.gateway.callers import CLERKS, bearer_token, is_staff_token, require_staff
from lml_live.gateway.desk import Desk
from lml_live.gateway.groups import GroupActs
from lml_live.gateway.hold_answers import answer_hold, indexes_of, refused
from lml_live.gateway.idempotency import IdempotencyKeys, read_key, request_seed
from lml_live.gateway.operations import API, Operation, Query, bind
from lml_live.gateway.problems import read_body
from lml_live.gateway.seasons import ask_by_ids
from lml_live.gateway.tokens import HolderToken
from lml_live.guard.staff import Staff, StaffDesk
from lml_live.inventory.answers import Refusal
from lml_live.inventory.groups import GroupChanged
from lml_live.inventory.wishes import AreaWishes

_CLERK_CODES: Final = ("unauthorized", "forbidden", "not_found")
_TAKING: Final = ("seat_taken", "cooling_down", "unknown_seat", "unknown_area", "area_full", "limit_exceeded")
_HOLD: Final = ("hold_not_found", "hold_expired", "hold_in_checkout")
_SALE: Final = ("sale_not_open", "sale_paused", "sale_closed")

OPERATIONS: Final = (
    Operation(
        name="hold_for_customer",
        method="POST",
        path=f"{API}/box-office/{{event}}/holds",
        who="clerk",
        summary="Hold for a customer until released, also before the sale and in its pauses: all of it, or nothing.",
        body=CustomerHoldBody,
        answers={201: wire.Hold},
        codes=(*_CLERK_CODES, *_TAKING, "sale_closed", "hold_not_found"),
        idempotent=True,
    ),
    Operation(
        name="list_customer_holds",
        method="GET",
        path=f"{API}/box-office/{{event}}/holds",
        who="clerk",
        summary="An event's holds for customers, the oldest first; what became a booking is none of them.",
        query=paging.QUERY,
        answers={200: CustomerHoldList},
        codes=(*_CLERK_CODES, "invalid_message"),
    ),
    Operation(
        name="release_any_hold",
        method="POST",
        path=f"{API}/holds/{{hold}}/release",
        who="clerk",
        summary="Release anybody's hold; its holder is told. Not while it is being paid for.",
        body=ReleaseBody,
        answers={204: None},
        codes=(*_CLERK_CODES, *_HOLD),
        idempotent=True,
    ),
    Operation(
        name="move_hold",
        method="POST",
        path=f"{API}/holds/{{hold}}/move",
        who="holder",
        summary="Swap what a hold names in one step, its holder also for seats of another event of the group; "
        "staff say why and may take house seats.",
        body=MoveBody,
        answers={200: wire.Hold},
        codes=(*_CLERK_CODES, *_TAKING, *_HOLD, "different_group", "orphan_seat", *_SALE, "rate_limited"),
        idempotent=True,
    ),
    Operation(
        name="read_seats",
        method="GET",
        path=f"{API}/events/{{event}}/seats",
        who="clerk",
        summary="Seats with what staff may know of them: status, hold, holder, customer, booking, block.",
        query=(Query("ids", str, f"Seat ids, parted by commas, 1 to {limits.STAFF_SEATS_ASKED_MAX}.", required=True),),
        answers={200: SeatDetailsList},
        codes=(*_CLERK_CODES, "invalid_message", "unknown_seat"),
    ),
    Operation(
        name="list_status_changes",
        method="GET",
        path=f"{API}/events/{{event}}/status-changes",
        who="clerk",
        summary="Who changed seats and places, when and why: staff's acts, sales and their undoing, the oldest first.",
        query=(
            Query("seat", str, "Of this seat id only."),
            Query("since", datetime, "From this time on, with a zone."),
            *paging.QUERY,
        ),
        answers={200: StatusChangeList},
        codes=(*_CLERK_CODES, "invalid_message"),
    ),
)

_NOTHING: Final = Refusal("invalid_message", "Name at least one seat or area.")
_BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class CounterServices:
    """What the handlers need. `buyer` answers the holder who calls, or raises; `mark_address` says whence."""

    desk: StaffDesk
    acts: Acts
    groups: GroupActs
    holding: Holding
    history: History
    keys: IdempotencyKeys
    buyer: Callable[[web.Request], Awaitable[HolderToken]]
    mark_address: Callable[[web.Request], str]


def routes(services: CounterServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    acts, holding, keys = services.acts, services.holding, services.keys

    async def desk_for(staff: Staff, event: str) -> Desk:
        return await find_desk(acts, staff, event)

    async def desk_of_hold(staff: Staff, hold: str) -> Desk:
        desk = await acts.desk_of_hold(hold)
        if desk.event.state == "draft" and not staff.may("manager"):
            raise Refused("hold_not_found", "There is no such hold.")
        return desk

    async def hold_for_customer(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)

        async def act() -> web.Response:
            body = await read_body(request, CustomerHoldBody)
            desk = await desk_for(staff, request.match_info["event"])
            wishes = read_wishes(desk, body.seats, body.areas)
            if isinstance(wishes, Refusal):
                return refused(desk, wishes)
            outcome = await holding.hold(
                desk.event.id,
                desk.seat_names,
                body.holder,
                body.customer,
                *wishes,
                Act(staff.id, body.reason),
                over_house=body.over_house,
                request=request_seed(staff.id, request),
            )
            return answer_hold(desk, outcome, status=201)

        return await keys.once(request, staff.id, act)

    async def list_customer_holds(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)
        limit, after = paging.read_limit(request), paging.read_cursor(request)
        desk = await desk_for(staff, request.match_info["event"])
        found = await holding.list_holds(desk.event.id, after=after, limit=limit + 1)
        page = tuple(found[:limit])
        following = paging.write_cursor(page[-1].created, page[-1].id) if len(found) > limit else None
        return _json(CustomerHoldList(page, following))

    async def release_any_hold(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)

        async def act() -> web.Response:
            body, hold = await read_body(request, ReleaseBody), request.match_info["hold"]
            desk = await desk_of_hold(staff, hold)
            why, seed = Act(staff.id, body.reason), request_seed(staff.id, request)
            outcome = await holding.release(desk.event.id, desk.seat_names, hold, why, request=seed)
            return refused(desk, outcome) if isinstance(outcome, Refusal) else web.Response(status=204)

        return await keys.once(request, staff.id, act)

    async def move_hold(request: web.Request) -> web.Response:
        if is_staff_token(bearer_token(request)):
            return await move_for_staff(request)
        buyer, key, hold = await services.buyer(request), read_key(request), request.match_info["hold"]
        body = await read_body(request, MoveBody)
        desk = await acts.desk_of_hold(hold)
        if body.over_house:
            return refused(desk, Refusal("forbidden", "Only staff may take what the house keeps back."))
        if body.event not in (None, desk.event.id):
            return await move_to_event(desk, buyer, hold, body, key, services.mark_address(request))
        seats = indexes_of(desk, body.seats)
        if isinstance(seats, Refusal):
            return refused(desk, seats)
        address = services.mark_address(request)
        outcome = await acts.hold(desk, buyer.holder, seats, body.areas, replace=hold, key=key, address=address)
        return answer_hold(desk, outcome)

    async def move_to_event(
        desk: Desk, buyer: HolderToken, hold: str, body: MoveBody, key: str, address: str
    ) -> web.Response:
        event = body.event
        assert event is not None
        ask = ask_by_ids(event, body.seats, body.areas)
        done = await services.groups.move(
            *(desk.event.group, buyer.holder, [hold], [ask]), key=key, through=buyer.channel, address=address
        )
        outcome, there = done.outcome, done.desks[event]
        if isinstance(outcome, GroupChanged):
            return answer_hold(there, outcome.changes[event])
        # The seats in the way are the other event's; a hold that cannot be moved has none.
        refusal = next(iter(outcome.events.values()), Refusal(outcome.code, outcome.message))
        return refused(there, refusal)

    async def move_for_staff(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)

        async def act() -> web.Response:
            body, hold = await read_body(request, MoveBody), request.match_info["hold"]
            if body.reason is None:
                raise InvalidInput("Staff say why.", errors=(Violation("reason", "is missing"),))
            desk = await desk_of_hold(staff, hold)
            if body.event not in (None, desk.event.id):
                raise InvalidInput("Staff move holds within their event.", errors=(Violation("event", "is another"),))
            wishes = read_wishes(desk, body.seats, body.areas)
            if isinstance(wishes, Refusal):
                return refused(desk, wishes)
            why = Act(staff.id, body.reason)
            named, seed = (desk.event.id, desk.seat_names, hold), request_seed(staff.id, request)
            outcome = await holding.move(*named, *wishes, why, over_house=body.over_house, request=seed)
            return answer_hold(desk, outcome)

        return await keys.once(request, staff.id, act)

    async def read_seats(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)
        ids = request.query.get("ids", "").split(",")
        if not (len(set(ids)) == len(ids) <= limits.STAFF_SEATS_ASKED_MAX and all(map(values.is_seat_id, ids))):
            raise paging.wrong("ids", f"are not 1 to {limits.STAFF_SEATS_ASKED_MAX} different seat ids")
        desk = await desk_for(staff, request.match_info["event"])
        layout = desk.layout
        unknown = [place for place, seat_id in enumerate(ids) if seat_id not in layout.index_of]
        if unknown:
            errors = tuple(Violation(f"ids[{place}]", "is no seat of this event") for place in unknown)
            raise Refused("unknown_seat", "Some of these seats are not of this event.", errors=errors)
        asked = [(index, seat_id, layout.categories[index]) for seat_id in ids for index in (layout.index_of[seat_id],)]
        return _json(SeatDetailsList(tuple(await services.history.seats(desk.event.id, layout.hash, asked)), None))

    async def list_status_changes(request: web.Request) -> web.Response:
        staff = await require_staff(request, services.desk, *CLERKS)
        limit, since = paging.read_limit(request), paging.read_moment(request, "since")
        seat_id, after = request.query.get("seat"), read_place(request.query.get("cursor"))
        if seat_id is not None and not values.is_seat_id(seat_id):
            raise paging.wrong("seat", "is no seat id")
        desk = await desk_for(staff, request.match_info["event"])
        return _json(await read_changes(services.history, desk.event.id, seat_id, since, after, limit))

    return bind(
        OPERATIONS,
        {
            "hold_for_customer": hold_for_customer,
            "list_customer_holds": list_customer_holds,
            "release_any_hold": release_any_hold,
            "move_hold": move_hold,
            "read_seats": read_seats,
            "list_status_changes": list_status_changes,
        },
    )


async def find_desk(acts: Acts, staff: Staff, event: str) -> Desk:
    """An event as this member of staff may see it. Raises `NotFound`."""
    if not values.is_id(event):
        raise NotFound("There is no such event.")
    desk = await acts.desks.desk(event)
    if desk.event.state == "draft" and not staff.may("manager"):
        raise NotFound("A draft is there for managers only.")
    return desk


async def read_changes(
    history: History, event: str, seat_id: str | None, since: datetime | None, after: tuple[datetime, int], limit: int
) -> StatusChangeList:
    """A page of an event's status changes: of one seat or of all, from a time on, after a place in the log."""
    found = await history.changes(event, seat_id=seat_id, since=since or _BEGINNING, after=after, limit=limit + 1)
    page = tuple(found[:limit])
    following = paging.write_cursor(page[-1].at, str(page[-1].number)) if len(found) > limit else None
    return StatusChangeList(page, following)


def read_place(cursor: str | None) -> tuple[datetime, int]:
    """Where in the log a page begins: after this (time, number). Raises `InvalidInput`."""
    if cursor is None:
        return _BEGINNING, 0
    moment, number = paging.parse_cursor(cursor, _is_number)
    return moment, int(number)


def _is_number(text: str) -> bool:
    """Whether it is the number of a change."""
    return text.isascii() and text.isdecimal() and len(text) <= 18


def read_wishes(
    desk: Desk, seats: Sequence[str | SeatIdPick], areas: Mapping[str, wire.AreaWish]
) -> tuple[list[tuple[int, str]], AreaWishes] | Refusal:
    """What staff ask for as the inventory takes it, or why it cannot be asked for."""
    indexes = indexes_of(desk, seats)
    return indexes if isinstance(indexes, Refusal) else check_wishes(desk, indexes, areas)


def check_wishes(
    desk: Desk, seats: Sequence[wire.SeatWish], areas: Mapping[str, wire.AreaWish]
) -> tuple[list[tuple[int, str]], AreaWishes] | Refusal:
    """As `read_wishes`, of seats by index."""
    if not seats and not areas:
        return _NOTHING
    seat_wishes = desk.seat_wishes(seats)
    if isinstance(seat_wishes, Refusal):
        return seat_wishes
    # A table is the plan's, and staff sell it whole, too; whom a companion seat is sold to they decide.
    if (torn := desk.torn([seat for seat, _ in seat_wishes])) is not None:
        return torn
    area_wishes = desk.area_wishes(areas)
    if isinstance(area_wishes, Refusal):
        return area_wishes
    if len(seat_wishes) + sum(n for _, _, n in area_wishes) > limits.HOLD_SEATS_MAX:
        return Refusal("limit_exceeded", f"At most {limits.HOLD_SEATS_MAX} places are allowed.")
    return seat_wishes, area_wishes


def _json(body: msgspec.Struct) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=200, body=msgspec.json.encode(body), content_type="application/json", headers=headers)
