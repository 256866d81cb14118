"""What staff do over the live socket, as over REST: blocks (`events`), channels, anybody's holds (`counter`), sales."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import UnsetType
from msgspec.structs import replace

from lml_live.backoffice.allotting import Allotting
from lml_live.backoffice.blocking import Blocking, BlockReport, Selection
from lml_live.backoffice.history import History
from lml_live.backoffice.hold_rows import Act
from lml_live.backoffice.holding import Holding
from lml_live.clock import to_datetime
from lml_live.errors import Forbidden, Unauthorized
from lml_live.gateway import wire
from lml_live.gateway.acts import Acts
from lml_live.gateway.counter import check_wishes, read_changes, read_place
from lml_live.gateway.desk import Desk
from lml_live.gateway.idempotency import IdempotencyKeys
from lml_live.gateway.sales import Sales, asked_by
from lml_live.gateway.session import Visitor
from lml_live.guard.reach import Reach
from lml_live.infra import postgres
from lml_live.infra.acting import act_as
from lml_live.inventory.answers import Changed, Refusal

Identify = Callable[[str], Awaitable[Visitor | None]]
_Named = wire.StaffHoldRequest | wire.Sell | wire.BlockRequest
"""What may bear a key."""


class StaffRequests:
    """What a member of staff asks for at the socket of an event, whose layout gives seats their indexes."""

    def __init__(
        self,
        blocking: Blocking,
        allotting: Allotting,
        holding: Holding,
        sales: Sales,
        history: History,
        acts: Acts,
        keys: IdempotencyKeys,
        identify: Identify,
        reach: Reach,
    ) -> None:
        self._blocking = blocking
        self._allotting = allotting
        self._holding = holding
        self._sales = sales
        self._history = history
        self._acts = acts
        self._keys = keys
        self._identify = identify
        self._reach = reach

    async def ask(
        self, desk: Desk, token: str, request: wire.StaffRequest, origin: str
    ) -> Changed | wire.StaffAnswer | Refusal:
        """Does what the staff of this token ask for. Who signed out since `hello`, or has lost the role, is refused.

        For a task of its own: what it changes is on record as done by them, from `origin` (`callers.origin_of`).

        Raises `Unauthorized`, `Forbidden`, `NotFound`, `InvalidInput`, `Refused`, `Unavailable`.
        """
        staff = await self._identify(token)
        if staff is None or staff.staff is None:
            raise Unauthorized("You have signed out.")
        for_managers = not isinstance(request, wire.ClerkRequest)
        if not (staff.manages if for_managers else staff.clerk):
            raise Forbidden("This needs another role.")
        if staff.bound and not await self._reach.has(staff.staff, "event", desk.event.id):
            raise Forbidden("This event is none of yours.")
        act_as("staff", staff.staff, origin)
        match request:
            case wire.Block() | wire.Unblock():
                return await self._change_blocks(desk, staff.staff, request)
            case wire.AssignSeats():
                return await self._assign(desk, staff.staff, request)
            case wire.OpenChannel():
                await self._allotting.open(desk.event.id, request.channel, request.reason, staff.staff)
                return wire.Opened(id=request.id, channel=request.channel)
            case wire.Sell():
                return await self._sell(desk, staff.staff, request)
            case wire.ReadStatusChanges():
                return await self._read_changes(desk, request)
            case wire.ReadChannels():
                return wire.Channels(id=request.id, items=tuple(await self._allotting.report(desk.event.id)))
            case _:
                return await self._change_hold(desk, staff.staff, request)

    async def _named(self, desk: Desk, staff: str, request: _Named) -> str:
        """What names a request and its repetitions: every step of it bears being repeated by that, as over REST.

        Raises `Refused` where its key was another request's.
        """
        event = desk.event.id
        if request.key is not None:
            asked = msgspec.json.encode((replace(request, id=0), _words(desk, request)), order="deterministic")
            await self._keys.expect_same(staff, event, request.key, asked)
        if request.key is not None and isinstance(request, wire.BlockRequest):
            # As servers before keys stood for requests named it: one may have begun what this one repeats.
            return _name(staff, event, type(request).__name__, _words(desk, request), request.key)
        return _name(staff, event, type(request).__name__, request.key or secrets.token_hex(32))

    async def _sell(self, desk: Desk, staff: str, request: wire.Sell) -> wire.Sold | Refusal:
        """No answer is kept: a repetition finds the booking that the first one made, or makes it beside that one."""
        asked = asked_by(staff, request, await self._named(desk, staff, request))
        wanted = (desk, request.hold, request.seats, request.areas, asked)
        sold = await postgres.again(lambda: self._sales.sell(*wanted, over_house=request.over_house))
        return sold if isinstance(sold, Refusal) else wire.Sold(id=request.id, booking=sold)

    async def _read_changes(self, desk: Desk, request: wire.ReadStatusChanges) -> wire.StatusChanges | Refusal:
        seat_id, since, after = None, None, read_place(request.cursor)
        if request.seat is not None:
            if request.seat >= desk.layout.seat_count:
                return Refusal("unknown_seat", "This event has no such seat.", (request.seat,))
            seat_id = desk.layout.seat_ids[request.seat]
        if request.since_ms is not None:
            since = to_datetime(request.since_ms)
        page = await read_changes(self._history, desk.event.id, seat_id, since, after, request.limit)
        return wire.StatusChanges(id=request.id, items=page.items, next=page.next)

    async def _change_hold(self, desk: Desk, staff: str, request: wire.StaffHoldRequest) -> Changed | Refusal:
        event, named = desk.event.id, await self._named(desk, staff, request)
        if isinstance(request, wire.HoldForCustomer):
            return await postgres.again(lambda: self._hold(desk, staff, request, named))
        if (await self._acts.desk_of_hold(request.hold)).event.id != event:
            return Refusal("hold_not_found", "This event has no such hold.")
        if isinstance(request, wire.MoveHold):
            return await postgres.again(lambda: self._move(desk, staff, request, named))
        return await postgres.again(lambda: self._release(desk, staff, request, named))

    async def _hold(self, desk: Desk, staff: str, request: wire.HoldForCustomer, named: str) -> Changed | Refusal:
        wishes = check_wishes(desk, request.seats, request.areas)
        if isinstance(wishes, Refusal):
            return wishes
        return await self._holding.hold(
            desk.event.id,
            desk.seat_names,
            request.holder,
            request.customer,
            *wishes,
            Act(staff, request.reason),
            over_house=request.over_house,
            request=named,
        )

    async def _move(self, desk: Desk, staff: str, request: wire.MoveHold, named: str) -> Changed | Refusal:
        wishes = check_wishes(desk, request.seats, request.areas)
        if isinstance(wishes, Refusal):
            return wishes
        where, why = (desk.event.id, desk.seat_names, request.hold), Act(staff, request.reason)
        return await self._holding.move(*where, *wishes, why, over_house=request.over_house, request=named)

    async def _release(self, desk: Desk, staff: str, request: wire.ReleaseAnyHold, named: str) -> Changed | Refusal:
        event, why = desk.event.id, Act(staff, request.reason)
        done = await self._holding.release(event, desk.seat_names, request.hold, why, request=named)
        if done is not None:
            return done if isinstance(done, Refusal) else Changed(done.hold, None, done.epoch, done.seq, done.now_ms)
        # Released before, and no hold comes back: of no seq of this epoch is anything else right. What the member of
        # staff holds himself is nothing; the answer has the epoch.
        own = await self._acts.holds.read_holds(event, staff)
        return Changed(request.hold, None, own.epoch, 0, own.now_ms)

    async def _change_blocks(
        self, desk: Desk, staff: str, request: wire.BlockRequest
    ) -> wire.Blocked | wire.Unblocked | Refusal:
        event, named = desk.event.id, await self._named(desk, staff, request)
        wanted = _select(desk, request)
        if isinstance(wanted, Refusal):
            return wanted
        if isinstance(request, wire.Block):
            report = await self._blocking.block(event, wanted, request.kind, request.reason, staff, request=named)
            return wire.Blocked(**_told(desk, request, report))
        report = await self._blocking.unblock(event, wanted, request.kind, request.reason, staff, request=named)
        return wire.Unblocked(**_told(desk, request, report))

    async def _assign(self, desk: Desk, staff: str, request: wire.AssignSeats) -> wire.Assigned | Refusal:
        """Twice is once; but what another manager did in between would be undone."""
        wanted, at_ms = _select(desk, request), request.opens_at_ms
        if isinstance(wanted, Refusal):
            return wanted
        opens_at = at_ms if at_ms is None or isinstance(at_ms, UnsetType) else to_datetime(at_ms)
        report = await self._allotting.assign(desk.event.id, request.channel, wanted, opens_at, request.reason, staff)
        return wire.Assigned(**_told(desk, request, report))


def _words(desk: Desk, request: _Named) -> str:
    """The layout by which a request names seats: on another one, the same indexes are another request."""
    return "" if isinstance(request, wire.ReleaseAnyHold) or not request.seats else desk.layout.hash


def _select(desk: Desk, request: wire.BlockRequest | wire.AssignSeats) -> Selection | Refusal:
    """What a request names, by seat id, or why it cannot be asked for."""
    unknown = tuple(seat for seat in request.seats if seat >= desk.layout.seat_count)
    if unknown:
        return Refusal("unknown_seat", "This event has no such seat.", unknown)
    if not request.areas.keys() <= desk.area_categories.keys():
        return Refusal("unknown_area", "This event has no such area.")
    if not request.seats and not request.areas:
        return Refusal("invalid_message", "Name at least one seat or area.")
    return Selection(seats=[desk.layout.seat_ids[seat] for seat in request.seats], areas=request.areas)


def _told(desk: Desk, request: wire.BlockRequest | wire.AssignSeats, report: BlockReport) -> dict[str, Any]:
    """The fields of the answer: what was done, and what was refused."""
    refused = {desk.layout.index_of[seat.seat_id] for seat in report.refused_seats}
    return {
        "id": request.id,
        "seats": tuple(sorted(set(request.seats) - refused)),
        "areas": report.areas,
        "refused_seats": tuple(sorted(refused)),
        "refused_areas": {area.area_id: area.available for area in report.refused_areas},
    }


def _name(*parts: str) -> str:
    """What names a request and its repetitions, as `idempotency.request_seed` does over REST."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
