"""Blocking and unblocking over the live socket, for managers; in batches over REST (`events`)."""

import hashlib
from collections.abc import Awaitable, Callable

from lml_live.backoffice.blocking import Blocking, Selection
from lml_live.errors import Forbidden, Unauthorized
from lml_live.gateway import wire
from lml_live.gateway.desk import Desk
from lml_live.gateway.session import Visitor
from lml_live.guard.reach import Reach
from lml_live.infra.acting import act_as
from lml_live.inventory.answers import Refusal

Identify = Callable[[str], Awaitable[Visitor | None]]


class SocketBlocks:
    """What a member of staff takes off sale and puts back, at the seats of the socket's layout."""

    def __init__(self, blocking: Blocking, identify: Identify, reach: Reach) -> None:
        self._blocking = blocking
        self._identify = identify
        self._reach = reach

    async def ask(
        self, desk: Desk, token: str, request: wire.StaffRequest, origin: str
    ) -> wire.Blocked | wire.Unblocked | Refusal:
        """Does what the staff of this token ask for. Who signed out since `hello`, or is manager no longer, is refused.

        For a task of its own: what it changes is on record as done by them, from `origin` (`callers.origin_of`).

        Raises `Unauthorized`, `Forbidden`, `NotFound`, `InvalidInput`, `Unavailable`.
        """
        staff = await self._identify(token)
        if staff is None or staff.staff is None:
            raise Unauthorized("You have signed out.")
        if not staff.manages:
            raise Forbidden("This needs another role.")
        if staff.bound and not await self._reach.has(staff.staff, "event", desk.event.id):
            raise Forbidden("This event is none of yours.")
        act_as("staff", staff.staff, origin)
        layout, event = desk.layout, desk.event.id
        unknown = tuple(seat for seat in request.seats if seat >= layout.seat_count)
        if unknown:
            return Refusal("unknown_seat", "This event has no such seat.", unknown)
        if not request.areas.keys() <= desk.area_categories.keys():
            return Refusal("unknown_area", "This event has no such area.")
        if not request.seats and not request.areas:
            return Refusal("invalid_message", "Name at least one seat or area.")
        wanted = Selection(seats=[layout.seat_ids[seat] for seat in request.seats], areas=request.areas)
        named = None if request.key is None else _name(staff.staff, type(request).__name__, request.key)
        answer: type[wire.Blocked] | type[wire.Unblocked]
        if isinstance(request, wire.Block):
            report = await self._blocking.block(event, wanted, request.kind, request.reason, staff.staff, request=named)
            answer = wire.Blocked
        else:
            report = await self._blocking.unblock(
                event, wanted, request.kind, request.reason, staff.staff, request=named
            )
            answer = wire.Unblocked
        refused = {layout.index_of[seat.seat_id] for seat in report.refused_seats}
        return answer(
            id=request.id,
            seats=tuple(sorted(set(request.seats) - refused)),
            areas=report.areas,
            refused_seats=tuple(sorted(refused)),
            refused_areas={area.area_id: area.available for area in report.refused_areas},
        )


def _name(staff: str, act: str, key: str) -> str:
    """What names a request and its repetitions, as `idempotency.request_seed` does over REST."""
    return hashlib.sha256("\0".join((staff, act, key)).encode()).hexdigest()
