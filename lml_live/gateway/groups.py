"""The holder's acts over several events of one group, as the live socket and REST both ask for them.

A socket is of one event and knows one layout, so it acts in other events of its group at the same seats only, those of
the same layout version; what it hears of them is the answer, and from then on sockets of those events tell the rest
(docs/decisions/008). REST names seats by id, event by event where wanted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from lml_live import limits
from lml_live.errors import NotFound, Refused
from lml_live.gateway import wire
from lml_live.gateway.acts import Acts, show_changed
from lml_live.gateway.desk import Desk
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.groups import EventWish, GroupChanged, GroupHolds, GroupRefusal
from lml_live.inventory.records import WEB


class Ask(Struct, frozen=True):
    """What is asked of one event. `seats` reads them as indexes of its layout."""

    event: str
    seats: Callable[[Desk], Sequence[wire.SeatWish] | Refusal]
    areas: Mapping[str, wire.AreaWish]
    shared: bool
    """Whether the same seats are asked of other events, in the words of one layout version."""


class GroupDone(Struct, frozen=True):
    """What became of an act, and the desks of its events, at which the request was read and is to be answered."""

    outcome: GroupChanged | GroupRefusal
    desks: Mapping[str, Desk]


class ListGroup(Protocol):
    """The catalogue's list of a group's events that are on sale or paused: (start, id) by start."""

    def __call__(
        self, group: str, *, limit: int, after: tuple[datetime, str] | None = None
    ) -> Awaitable[list[tuple[datetime, str]]]: ...


class GroupActs:
    """Holder acts on events of one group, all of them or none. Raises as `Acts` does, and `different_group`."""

    def __init__(self, acts: Acts, holds: GroupHolds, list_group: ListGroup) -> None:
        self._acts = acts
        self._holds = holds
        self._list_group = list_group

    async def events_of(self, group: str) -> list[str]:
        """Every event of a group that is on sale or paused. Raises `NotFound`; `limit_exceeded` for too many."""
        most = limits.EVENTS_PER_CALL_MAX
        found = await self._list_group(group, limit=most + 1)
        if not found:
            raise NotFound("There is no such group of events on sale.")
        if len(found) > most:
            raise Refused("limit_exceeded", f"The group has more than {most} events: name those that are meant.")
        return [event for _, event in found]

    async def hold(
        self,
        group: str,
        holder: str,
        asks: Sequence[Ask],
        *,
        key: str | None,
        at: Desk | None = None,
        origin: str = "",
        through: str = WEB,
        address: str = "",
    ) -> GroupDone:
        """Takes what is asked of every event, or nothing, through one sales channel. Shared seats were read by the
        layout of the desk `at`."""
        desks = await self._desks([ask.event for ask in asks], at)
        wishes = _read_asks(desks, group, asks, at, through)
        if isinstance(wishes, GroupRefusal):
            return GroupDone(wishes, desks)
        holds = self._under(desks)
        return GroupDone(await holds.hold_group(holder, wishes, key=key, origin=origin, address=address), desks)

    async def move(
        self,
        group: str,
        holder: str,
        holds: Sequence[str],
        asks: Sequence[Ask],
        *,
        key: str | None,
        at: Desk | None = None,
        origin: str = "",
        through: str = WEB,
        address: str = "",
    ) -> GroupDone:
        """Makes of these holds what is asked of the events, or changes nothing."""
        moved, their_desks = await self._by_event(group, holds, at)
        desks = await self._desks([ask.event for ask in asks], at)
        wishes = _read_asks(desks, group, asks, at, through)
        desks = {**their_desks, **desks}
        if isinstance(wishes, GroupRefusal):
            return GroupDone(wishes, desks)
        inventory = self._under(desks)
        return GroupDone(
            await inventory.move_group(holder, moved, wishes, key=key, origin=origin, address=address), desks
        )

    async def release(
        self, group: str, holder: str, holds: Sequence[str], *, at: Desk | None = None, origin: str = ""
    ) -> GroupDone:
        """Gives all of these holds back, or none."""
        ended, desks = await self._by_event(group, holds, at)
        return GroupDone(await self._under(desks).release_group(holder, ended, origin=origin), desks)

    async def extend(
        self,
        group: str,
        holder: str,
        holds: Sequence[str],
        *,
        key: str | None = None,
        at: Desk | None = None,
        origin: str = "",
    ) -> GroupDone:
        """Puts the deadlines of all of these holds off, or of none."""
        extended, desks = await self._by_event(group, holds, at)
        return GroupDone(await self._under(desks).extend_group(holder, extended, key=key, origin=origin), desks)

    async def own_holds(
        self, group: str, holder: str, *, limit: int, after: tuple[datetime, str] | None
    ) -> tuple[list[tuple[Desk, Changed]], tuple[datetime, str] | None]:
        """A holder's holds in at most `limit` events of a group after that one, and the last of these if more follow.

        Sold ones are bookings by now, and left out.
        """
        found = await self._list_group(group, limit=limit + 1, after=after)
        events = [event for _, event in found[:limit]]
        desks = await asyncio.gather(*map(self._acts.desks.desk, events))
        known = await asyncio.gather(*(self._acts.read_own(desk, holder) for desk in desks))
        shown = [
            (desk, Changed(hold, record, own.epoch, record.seq, own.now_ms))
            for desk, own in zip(desks, known, strict=True)
            for hold, record in own.holds.items()
            if record.state != "sold"
        ]
        return shown, found[limit - 1] if len(found) > limit else None

    def _under(self, desks: Mapping[str, Desk]) -> GroupHolds:
        """The inventory, for who reads seats at these desks."""
        return self._holds.under({event: desk.layout.hash for event, desk in desks.items()})

    async def _desks(self, events: Sequence[str], at: Desk | None) -> dict[str, Desk]:
        """The desks of events, by id; `at` is that of its own. Raises `invalid_message` where one is named twice."""
        if len(set(events)) < len(events):
            raise Refused("invalid_message", "An event is named twice.")
        found = await asyncio.gather(*(self._desk(event, at) for event in events))
        return dict(zip(events, found, strict=True))

    async def _desk(self, event: str, at: Desk | None) -> Desk:
        return at if at is not None and at.event.id == event else await self._acts.desks.desk(event)

    async def ask(
        self, desk: Desk, holder: str, request: wire.GroupRequest, origin: str, through: str, address: str
    ) -> wire.GroupChanged | wire.Error:
        """What a socket of the event of `desk` asks for, done and answered."""
        group = desk.event.group
        match request:
            case wire.HoldGroup():
                events = request.events or await self.events_of(group)
                asks = [Ask(event, lambda _: request.seats, request.areas, shared=True) for event in events]
                done = await self.hold(
                    *(group, holder, asks),
                    key=request.key,
                    at=desk,
                    origin=origin,
                    through=through,
                    address=address,
                )
            case wire.MoveGroup():
                asks = [Ask(event, lambda _: request.seats, request.areas, shared=True) for event in request.events]
                done = await self.move(
                    *(group, holder, request.holds, asks),
                    key=request.key,
                    at=desk,
                    origin=origin,
                    through=through,
                    address=address,
                )
            case wire.ReleaseGroup():
                done = await self.release(group, holder, request.holds, at=desk, origin=origin)
            case wire.ExtendGroup():
                done = await self.extend(group, holder, request.holds, at=desk, origin=origin)
        outcome = done.outcome
        if isinstance(outcome, GroupRefusal):
            return wire.Error(
                id=request.id,
                code=outcome.code,
                message=outcome.message,
                events=tuple(
                    wire.EventRefusal(event=event, code=no.code, message=no.message, seats=no.seats, areas=no.areas)
                    for event, no in outcome.events.items()
                ),
                retry_after_ms=outcome.retry_after_ms,
            )
        changed = tuple(
            wire.EventHold(
                event=event,
                hold=change.hold,
                value=show_changed(done.desks[event], change),
                epoch=str(change.epoch),
                seq=change.seq,
            )
            for event, change in outcome.changes.items()
        )
        return wire.GroupChanged(id=request.id, holds=changed, now_ms=outcome.now_ms)

    async def _by_event(
        self, group: str, holds: Sequence[str], at: Desk | None
    ) -> tuple[dict[str, str], dict[str, Desk]]:
        """Hold ids and desks by event; `at` is that of its own.

        Raises `hold_not_found`, `different_group`, `invalid_message` for two of one event.
        """
        by_event: dict[str, str] = {}
        desks: dict[str, Desk] = {}
        for hold in holds:
            desk = await self._acts.desk_of_hold(hold)
            if desk.event.group != group:
                raise Refused("different_group", "A hold is of an event of another group.")
            by_event[desk.event.id], desks[desk.event.id] = hold, await self._desk(desk.event.id, at)
        if len(by_event) < len(holds):
            raise Refused("invalid_message", "One step changes at most one hold of each event.")
        return by_event, desks


def _read_asks(
    desks: Mapping[str, Desk], group: str, asks: Sequence[Ask], at: Desk | None, through: str
) -> list[EventWish] | GroupRefusal:
    """What is asked as the inventory takes it; every event that could never grant it is named."""
    if any(desk.event.state == "draft" for desk in desks.values()):
        raise NotFound("There is no such event.")
    if any(desk.event.group != group for desk in desks.values()):
        raise Refused("different_group", "These events are not of one group.")
    layouts = {desks[ask.event].layout.hash for ask in asks if ask.shared}
    if len(layouts | ({at.layout.hash} if at is not None else set())) > 1:
        raise Refused("invalid_message", "One choice is for events of one layout version: name seats event by event.")
    wishes: list[EventWish] = []
    refusals: dict[str, Refusal] = {}
    for ask in asks:
        wish = _wish(desks[ask.event], ask, through)
        if isinstance(wish, Refusal):
            refusals[ask.event] = wish
        else:
            wishes.append(wish)
    if refusals:
        first = next(iter(refusals.values()))
        return GroupRefusal(first.code, first.message, refusals)
    if sum(_size(wish) for wish in wishes) > limits.GROUP_PLACES_MAX:
        raise Refused("limit_exceeded", f"At most {limits.GROUP_PLACES_MAX} places change in one step.")
    return wishes


def _wish(desk: Desk, ask: Ask, through: str) -> EventWish | Refusal:
    indexes = ask.seats(desk)
    if isinstance(indexes, Refusal):
        return indexes
    if not indexes and not ask.areas:
        return Refusal("invalid_message", "Name at least one seat or area.")
    seats = desk.seat_wishes(indexes)
    if isinstance(seats, Refusal):
        return seats
    areas = desk.area_wishes(ask.areas)
    if isinstance(areas, Refusal):
        return areas
    named = [seat for seat, _ in seats]
    if (refusal := desk.torn(named) or desk.unaccompanied(named)) is not None:
        return refusal
    wish = EventWish(desk.event.id, seats, areas, desk.plan.windows, through)
    most = desk.event.limits.max_seats
    # A wish that no rule of this event could ever grant need not bother Redis.
    return Refusal("limit_exceeded", f"At most {most} places are allowed.") if _size(wish) > most else wish


def _size(wish: EventWish) -> int:
    return len(wish.seats) + sum(n for _, _, n in wish.areas)
