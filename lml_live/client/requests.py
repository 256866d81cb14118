"""What a client can ask for, as messages of the live socket. Pure.

Every request answers its number and effects; `Answered` with that number follows once, there or later.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import UNSET, UnsetType

from lml_live.client.effects import Effects
from lml_live.client.pending import Message
from lml_live.gateway import wire
from lml_live.limits import PAGE_ITEMS_DEFAULT

SEAT_REQUESTS = Sequence[int | wire.SeatPick]
AREA_REQUESTS = Mapping[str, int | dict[str, int]]
Tender = Literal["cash", "card_terminal", "comp"]


class Requests(ABC):
    """The requests of a `Protocol`, which sends them."""

    def __init__(self, new_key: Callable[[], str]) -> None:
        self._new_key = new_key

    def hold(
        self,
        now_ms: int,
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        *,
        into: str | None = None,
        replace: str | None = None,
        key: str | None = None,
    ) -> tuple[int, Effects]:
        """Hold all of `seats` (indexes) and `areas` (places by area, or by price type), or nothing.

        The request's number comes back, and `Answered` with that number follows once: here, or later. It survives
        reconnects and an unavailable server, being asked again with the same `key`, but not a change of the event's
        layout, after which an index is another seat: then the answer is `Refusal("unavailable", …)`; look at `layout`
        and choose anew. Raises `errors.InvalidInput` for what no server would understand (51 seats, an area id with a
        space).
        """
        return self._request(
            now_ms,
            wire.HoldRequest(0, list(seats), dict(areas or {}), into, replace, key or self._new_key()),
        )

    def hold_best(
        self,
        now_ms: int,
        quantity: int,
        *,
        category: str | None = None,
        section: str | None = None,
        max_price: int | None = None,
        accessible: int = 0,
        companions: int = 0,
        adjacent: Literal["required", "preferred"] = "preferred",
        areas: AREA_REQUESTS | None = None,
        into: str | None = None,
        replace: str | None = None,
        key: str | None = None,
    ) -> tuple[int, Effects]:
        """Hold the best free seats for a wish (see `wire.BestWish`), and all of `areas`, or nothing. As `hold`."""
        message = wire.HoldBest(
            id=0,
            quantity=quantity,
            category=category,
            section=section,
            max_price=max_price,
            accessible=accessible,
            companions=companions,
            adjacent=adjacent,
            areas=dict(areas or {}),
            into=into,
            replace=replace,
            key=key or self._new_key(),
        )
        return self._request(now_ms, message)

    def release(
        self, now_ms: int, hold: str, seats: Sequence[int] = (), areas: AREA_REQUESTS | None = None
    ) -> tuple[int, Effects]:
        """Give back all of a hold, or only `seats` and `areas` of it. As `hold`, but never asked again."""
        return self._request(now_ms, wire.Release(0, hold, list(seats), dict(areas or {})))

    def extend(self, now_ms: int, hold: str) -> tuple[int, Effects]:
        """Put a hold's deadline off. As `hold`, but never asked again: twice asked is twice extended."""
        return self._request(now_ms, wire.Extend(0, hold))

    def hold_group(
        self,
        now_ms: int,
        events: Sequence[str] = (),
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        *,
        key: str | None = None,
    ) -> tuple[int, Effects]:
        """Hold `seats` and `areas` in each of `events` of this one's group (none named: in all), or nothing. As `hold`.

        The events must be sold on this one's layout version. Only this event's hold is kept up to date here.
        """
        message = wire.HoldGroup(
            id=0, events=list(events), seats=list(seats), areas=dict(areas or {}), key=key or self._new_key()
        )
        return self._request(now_ms, message)

    def move_group(
        self,
        now_ms: int,
        holds: Sequence[str],
        events: Sequence[str],
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        *,
        key: str | None = None,
    ) -> tuple[int, Effects]:
        """Make `seats` and `areas` in each of `events` of these holds, or change nothing. As `hold_group`."""
        message = wire.MoveGroup(
            id=0,
            holds=list(holds),
            events=list(events),
            seats=list(seats),
            areas=dict(areas or {}),
            key=key or self._new_key(),
        )
        return self._request(now_ms, message)

    def release_group(self, now_ms: int, holds: Sequence[str]) -> tuple[int, Effects]:
        """Give back all of these holds of the group's events, or none. Never asked again."""
        return self._request(now_ms, wire.ReleaseGroup(0, list(holds)))

    def extend_group(self, now_ms: int, holds: Sequence[str]) -> tuple[int, Effects]:
        """Put off the deadlines of all of these holds of the group's events, or of none. Never asked again."""
        return self._request(now_ms, wire.ExtendGroup(0, list(holds)))

    def block(
        self,
        now_ms: int,
        seats: Sequence[int] = (),
        areas: Mapping[str, int] | None = None,
        *,
        kind: Literal["house", "kill"],
        reason: str,
        key: str | None = None,
    ) -> tuple[int, Effects]:
        """For a manager's token: take seats and places off sale, as far as they are free. As `hold`."""
        message = wire.Block(
            id=0,
            seats=list(seats),
            areas=dict(areas or {}),
            kind=kind,
            reason=reason,
            key=key or self._new_key(),
        )
        return self._request(now_ms, message)

    def unblock(
        self,
        now_ms: int,
        seats: Sequence[int] = (),
        areas: Mapping[str, int] | None = None,
        *,
        kind: Literal["house", "kill"] = "house",
        reason: str | None = None,
        key: str | None = None,
    ) -> tuple[int, Effects]:
        """For a manager's token: put blocked seats, and places of this kind, back on sale. As `block`."""
        message = wire.Unblock(
            id=0,
            seats=list(seats),
            areas=dict(areas or {}),
            kind=kind,
            reason=reason,
            key=key or self._new_key(),
        )
        return self._request(now_ms, message)

    def assign_seats(
        self,
        now_ms: int,
        channel: str,
        reason: str,
        seats: Sequence[int] = (),
        areas: Mapping[str, int] | None = None,
        *,
        opens_at_ms: int | UnsetType | None = UNSET,
    ) -> tuple[int, Effects]:
        """For a manager's token: give seats and places to a channel, until `opens_at_ms` (None: until it is opened).

        Not asked again after a lost connection: what another did in between would be undone.
        """
        message = wire.AssignSeats(
            id=0, channel=channel, seats=list(seats), areas=dict(areas or {}), opens_at_ms=opens_at_ms, reason=reason
        )
        return self._request(now_ms, message)

    def open_channel(self, now_ms: int, channel: str, reason: str) -> tuple[int, Effects]:
        """For a manager's token: open to all what a channel has. As `assign_seats`."""
        return self._request(now_ms, wire.OpenChannel(id=0, channel=channel, reason=reason))

    def hold_for_customer(
        self,
        now_ms: int,
        holder: str,
        customer: str,
        reason: str,
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        *,
        over_house: bool = False,
        key: str | None = None,
    ) -> tuple[int, Effects]:
        """For a clerk's token: hold for a customer until it is released; see `StaffClient.hold`. As `hold`.

        The hold is the customer's: it is in the answer, and not among this client's holds.
        """
        message = wire.HoldForCustomer(
            id=0,
            holder=holder,
            customer=customer,
            reason=reason,
            seats=list(seats),
            areas=dict(areas or {}),
            over_house=over_house,
            key=key or self._new_key(),
        )
        return self._request(now_ms, message)

    def move_hold(
        self,
        now_ms: int,
        hold: str,
        reason: str,
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        *,
        over_house: bool = False,
        key: str | None = None,
    ) -> tuple[int, Effects]:
        """For a clerk's token: make these seats and places of anybody's hold. As `hold_for_customer`."""
        message = wire.MoveHold(
            id=0,
            hold=hold,
            reason=reason,
            seats=list(seats),
            areas=dict(areas or {}),
            over_house=over_house,
            key=key or self._new_key(),
        )
        return self._request(now_ms, message)

    def release_any_hold(self, now_ms: int, hold: str, reason: str, *, key: str | None = None) -> tuple[int, Effects]:
        """For a clerk's token: release anybody's hold. As `hold_for_customer`."""
        return self._request(now_ms, wire.ReleaseAnyHold(id=0, hold=hold, reason=reason, key=key or self._new_key()))

    def sell(
        self,
        now_ms: int,
        tender: Tender,
        *,
        hold: str | None = None,
        seats: SEAT_REQUESTS = (),
        areas: AREA_REQUESTS | None = None,
        over_house: bool = True,
        name: str | None = None,
        email: str | None = None,
        reason: str | None = None,
        key: str | None = None,
    ) -> tuple[int, Effects]:
        """For a clerk's token: sell a customer's `hold`, or seats and places that nobody holds; see `StaffClient.sell`.

        Asked again with the same `key`, it is one booking. Else as `hold`.
        """
        message = wire.Sell(
            id=0,
            hold=hold,
            seats=list(seats),
            areas=dict(areas or {}),
            over_house=over_house,
            tender=tender,
            buyer=None if name is None and email is None else wire.Buyer(name=name, email=email),
            reason=reason,
            key=key or self._new_key(),
        )
        return self._request(now_ms, message)

    def status_changes(
        self,
        now_ms: int,
        *,
        seat: int | None = None,
        since_ms: int | None = None,
        limit: int = PAGE_ITEMS_DEFAULT,
        cursor: str | None = None,
    ) -> tuple[int, Effects]:
        """For a clerk's token: who changed seats and places, when and why, the oldest first, a page of 1 to 200.

        Of one `seat` (index), from `since_ms` on (milliseconds since 1970), or on from `cursor`: `next` of the page
        before. As `hold`.
        """
        message = wire.ReadStatusChanges(id=0, seat=seat, since_ms=since_ms, limit=limit, cursor=cursor)
        return self._request(now_ms, message)

    def channels(self, now_ms: int) -> tuple[int, Effects]:
        """For a clerk's token: what each sales channel has, and what became of it. As `hold`."""
        return self._request(now_ms, wire.ReadChannels(0))

    def ping(self, now_ms: int) -> tuple[int, Effects]:
        """Ask for the server's time. (The client pings by itself to keep the socket.)"""
        return self._request(now_ms, wire.Ping(0))

    @abstractmethod
    def _request(self, now_ms: int, message: Message) -> tuple[int, Effects]:
        """Numbers and sends a message."""
