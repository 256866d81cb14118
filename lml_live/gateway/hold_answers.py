"""Holds over REST, where seats are named by id: what is asked for, what is answered, and why it is refused."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from lml_live.errors import STATUS_BY_CODE
from lml_live.gateway import problems, wire
from lml_live.gateway.acts import show_changed
from lml_live.gateway.bodies import SeatIdPick
from lml_live.gateway.desk import Desk
from lml_live.gateway.operations import API
from lml_live.gateway.problems import Problem
from lml_live.inventory.answers import Changed, Refusal


class HoldProblem(Problem, frozen=True, omit_defaults=True, kw_only=True):
    """A refusal with the seats in the way, and what the areas have left."""

    seats: tuple[str, ...] = ()
    areas: dict[str, int] = msgspec.field(default_factory=dict)


def indexes_of(desk: Desk, seats: Sequence[str | SeatIdPick]) -> list[wire.SeatWish] | Refusal:
    """Seat ids as the socket's indexes. All unknown ones are named by position in the message, never echoed."""
    wishes: list[wire.SeatWish] = []
    unknown = 0
    for wish in seats:
        seat_id, price_type = (wish.seat_id, wish.type) if isinstance(wish, SeatIdPick) else (wish, None)
        index = desk.layout.index_of.get(seat_id)
        if index is None:
            unknown += 1
        else:
            wishes.append(index if price_type is None else wire.SeatPick(index, price_type))
    if unknown:
        return Refusal("unknown_seat", f"{unknown} of these seats are not of this event.")
    return wishes


def answer_hold(desk: Desk, outcome: Changed | Refusal, *, status: int = 200) -> web.Response:
    """The hold as it is now, 204 where nothing is left of it, or the problem for a refusal."""
    if isinstance(outcome, Refusal):
        return refused(desk, outcome)
    shown = show_changed(desk, outcome, seat_ids=True)
    if shown is None:
        return web.Response(status=204)
    headers = {"Location": f"{API}/holds/{shown.id}"} if status == 201 else {}
    headers = {"Cache-Control": "no-store", **headers}
    return web.Response(
        status=status, body=msgspec.json.encode(shown), content_type="application/json", headers=headers
    )


def refused(desk: Desk, refusal: Refusal) -> web.Response:
    """The problem for a refusal, with the seats in the way by id."""
    problem = HoldProblem(
        type=f"/docs#problem-{refusal.code}",
        title=refusal.code.replace("_", " ").capitalize(),
        status=STATUS_BY_CODE[refusal.code],
        detail=refusal.message,
        code=refusal.code,
        seats=tuple(desk.layout.seat_ids[seat] for seat in refusal.seats if seat < desk.layout.seat_count),
        areas=refusal.areas,
        retry_after_ms=refusal.retry_after_ms,
    )
    return problems.respond(problem)
