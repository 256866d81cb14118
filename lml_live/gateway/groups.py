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
        layout_hash: str | None = None,
        origin: str = "",
        through: str = WEB,
        address: str = "",
    ) -> GroupChanged | GroupRefusal:
        """Takes what is asked of every event, or nothing, through one sales channel. Shared seats are those of the
        layout of `layout_hash`."""
        wishes = await self._wishes(group, asks, layout_hash, through)
        if isinstance(wishes, GroupRefusal):
            return wishes
        return await self._holds.hold_group(holder, wishes, key=key, origin=origin, address=address)

    async def move(
        self,
        group: str,
        holder: str,
        holds: Sequence[str],
        asks: Sequence[Ask],
        *,
        key: str | None,
        layout_hash: str | None = None,
        origin: str = "",
        through: str = WEB,
        address: str = "",
    ) -> GroupChanged | GroupRefusal:
        """Makes of these holds what is asked of the events, or changes nothing."""
        moved = await self._by_event(group, holds)
        wishes = await self._wishes(group, asks, layout_hash, through)
        if isinstance(wishes, GroupRefusal):
            return wishes
        return await self._holds.move_group(holder, moved, wishes, key=key, origin=origin, address=address)

    async def release(
        self, group: str, holder: str, holds: Sequence[str], *, origin: str = ""
    ) -> GroupChanged | GroupRefusal:
        """Gives all of these holds back, or none."""
        return await self._holds.release_group(holder, await self._by_event(group, holds), origin=origin)

    async def extend(
        self, group: str, holder: str, holds: Sequence[str], *, key: str | None = None, origin: str = ""
    ) -> GroupChanged | GroupRefusal:
        """Puts the deadlines of all of these holds off, or of none."""
        return await self._holds.extend_group(holder, await self._by_event(group, holds), key=key, origin=origin)

    async def own_holds(
        self, group: str, holder: str, *, limit: int, after: tuple[datetime, str] | None
    ) -> tuple[list[tuple[Desk, Changed]], tuple[datetime, str] | None]:
        """A holder's holds in at most `limit` events of a group after that one, and the last of these if more follow.

        Sold ones are bookings by now, and left out.
        """
        found = await self._list_group(group, limit=limit + 1, after=after)
        events = [event for _, event in found[:limit]]
        known = await asyncio.gather(*(self._acts.holds.read_holds(event, holder) for event in events))
        shown = [
            (await self._acts.desks.desk(event), Changed(hold, record, own.epoch, record.seq, own.now_ms))
            for event, own in zip(events, known, strict=True)
            for hold, record in own.holds.items()
            if record.state != "sold"
        ]
        return shown, found[limit - 1] if len(found) > limit else None

    async def desks_of(self, events: Sequence[str]) -> dict[str, Desk]:
        """The desks of events, by id."""
        desks = await asyncio.gather(*map(self._acts.desks.desk, events))
        return dict(zip(events, desks, strict=True))

    async def ask(
        self, desk: Desk, holder: str, request: wire.GroupRequest, origin: str, through: str, address: str
    ) -> wire.GroupChanged | wire.Error:
        """What a socket of the event of `desk` asks for, done and answered."""
        group, layout_hash = desk.event.group, desk.event.layout_hash
        outcome: GroupChanged | GroupRefusal
        match request:
            case wire.HoldGroup():
                events = request.events or await self.events_of(group)
                asks = [Ask(event, lambda _: request.seats, request.areas, shared=True) for event in events]
                outcome = await self.hold(
                    *(group, holder, asks),
                    key=request.key,
                    layout_hash=layout_hash,
                    origin=origin,
                    through=through,
                    address=address,
                )
            case wire.MoveGroup():
                asks = [Ask(event, lambda _: request.seats, request.areas, shared=True) for event in request.events]
                outcome = await self.move(
                    *(group, holder, request.holds, asks),
                    key=request.key,
                    layout_hash=layout_hash,
                    origin=origin,
                    through=through,
                    address=address,
                )
            case wire.ReleaseGroup():
                outcome = await self.release(group, holder, request.holds, origin=origin)
            case wire.ExtendGroup():
                outcome = await self.extend(group, holder, request.holds, origin=origin)
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
        desks = await self.desks_of(list(outcome.changes))
        changed = tuple(
            wire.EventHold(
                event=event,
                hold=change.hold,
                value=show_changed(desks[event], change),
                epoch=str(change.epoch),
                seq=change.seq,
            )
            for event, change in outcome.changes.items()
        )
        return wire.GroupChanged(id=request.id, holds=changed, now_ms=outcome.now_ms)

    async def _by_event(self, group: str, holds: Sequence[str]) -> dict[str, str]:
        """Hold ids by event. Raises `hold_not_found`, `different_group`, `invalid_message` for two of one event."""
        by_event: dict[str, str] = {}
        for hold in holds:
            desk = await self._acts.desk_of_hold(hold)
            if desk.event.group != group:
                raise Refused("different_group", "A hold is of an event of another group.")
            by_event[desk.event.id] = hold
        if len(by_event) < len(holds):
            raise Refused("invalid_message", "One step changes at most one hold of each event.")
        return by_event

    async def _wishes(
        self, group: str, asks: Sequence[Ask], layout_hash: str | None, through: str
    ) -> list[EventWish] | GroupRefusal:
        """What is asked as the inventory takes it; every event that could never grant it is named."""
        desks = await self.desks_of([ask.event for ask in asks])
        if len(desks) < len(asks):
            raise Refused("invalid_message", "An event is named twice.")
        if any(desk.event.state == "draft" for desk in desks.values()):
            raise NotFound("There is no such event.")
        if any(desk.event.group != group for desk in desks.values()):
            raise Refused("different_group", "These events are not of one group.")
        layouts = {desks[ask.event].event.layout_hash for ask in asks if ask.shared}
        if len(layouts | ({layout_hash} if layout_hash else set())) > 1:
            raise Refused(
                "invalid_message", "One choice is for events of one layout version: name seats event by event."
            )
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
