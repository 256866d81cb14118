"""The holder's acts, as the live socket and REST both ask for them: wishes checked, holds changed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lml_live import limits, values
from lml_live.errors import NotFound, Refused
from lml_live.gateway import wire
from lml_live.gateway.desk import Desk, Desks
from lml_live.infra.redis import Sink
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.holds import Asked, Holds, OwnHolds
from lml_live.inventory.records import WEB, Record

_TWICE: Final = Refusal("invalid_message", "A seat is named twice.")
_CHANGED: Final = "conflict"
"""How `replace_hold` refuses where the hold is not what its caller read."""

_NOTHING_IS_ADDED: Final = ("sale_not_open", "sale_paused", "sale_closed", "hold_expired")
"""How `replace_hold` refuses where `release_hold` works."""

Wishes = tuple[Sequence[wire.SeatWish], Mapping[str, wire.AreaWish]]


class Acts:
    """Holder acts on one house's events, each by the desk at which the request was read.

    Answers as `inventory.holds` does; raises `NotFound`, and `Unavailable`, also where the event is on another layout
    than the desk.
    """

    def __init__(self, desks: Desks, holds: Holds) -> None:
        self.desks = desks
        self.holds = holds

    async def desk_of_hold(self, hold: str) -> Desk:
        """The desk of the event that a hold's id belongs to. Raises `hold_not_found` where no hold can have that id."""
        try:
            if not values.is_id(hold):
                raise NotFound("There is no such hold.")
            event = await self.holds.event_of_hold(hold)
        except NotFound as error:
            raise Refused("hold_not_found", "There is no such hold.") from error
        return await self.desks.desk(event)

    def holds_of(self, desk: Desk) -> Holds:
        """The inventory, for who reads seats at this desk."""
        return self.holds.under(desk.under)

    async def hold(
        self,
        desk: Desk,
        holder: str,
        seats: Sequence[wire.SeatWish],
        areas: Mapping[str, wire.AreaWish],
        *,
        into: str | None = None,
        replace: str | None = None,
        key: str | None = None,
        origin: str = "",
        through: str = WEB,
        address: str = "",
    ) -> Changed | Refusal:
        """`hold`, with `into` or `replace`; through the sales channel of that name where it makes a new one, `address`
        as for `Holds.hold_seats`."""
        if into is not None and replace is not None:
            return Refusal("invalid_message", "Name a hold in `into` or in `replace`, not in both.")
        wishes = _read_wishes(desk, seats, areas)
        if isinstance(wishes, Refusal):
            return wishes
        seat_wishes, area_wishes = wishes
        alone = _alone(desk, seat_wishes)
        if into is not None and alone is not None:
            # The hold may have the accessible place already: only in one step with reading it is that known.
            return await self._change_in_one_step(
                *(desk, holder, into, seat_wishes, area_wishes, (), {}, key),
                *(("add", seat_wishes, area_wishes), origin, address),
            )
        if alone is not None:
            return alone
        if into is not None:
            return await self.holds_of(desk).add_to_hold(
                *(desk.event.id, holder, into, seat_wishes, area_wishes),
                key=key,
                origin=origin,
                windows=desk.plan.windows,
                address=address,
            )
        if replace is not None:
            return await self.holds_of(desk).replace_hold(
                *(desk.event.id, holder, replace, seat_wishes, area_wishes),
                key=key,
                origin=origin,
                windows=desk.plan.windows,
                address=address,
            )
        return await self.holds_of(desk).hold_seats(
            *(desk.event.id, holder, seat_wishes, area_wishes),
            key=key,
            origin=origin,
            windows=desk.plan.windows,
            through=through,
            address=address,
        )

    def ask(
        self,
        sink: Sink,
        desk: Desk,
        holder: str,
        request: wire.HoldRequest | wire.Release,
        origin: str,
        through: str,
        address: str,
    ) -> Asked | Refusal | None:
        """`hold` of fresh seats, or `release`, without a coroutine: what the script answers is told to `sink`.

        None where the long way must be gone, since something must be waited for before the script can be run. Raises
        `Unavailable`; then nothing was asked.
        """
        if isinstance(request, wire.Release):
            seats = request.seats
            if seats:
                if len(set(seats)) != len(seats):
                    return _TWICE
                if _may_leave_a_companion(desk, seats):
                    return None
                if (torn := desk.torn(seats)) is not None:
                    return torn
            places = _released_places(request.areas) if request.areas else ()
            return self.holds.ask_to_release(
                sink, desk.event.id, desk.layout.hash, holder, request.hold, seats, places, origin=origin
            )
        if request.into is not None or request.replace is not None:
            return None
        wishes = _read_wishes(desk, request.seats, request.areas)
        if isinstance(wishes, Refusal):
            return wishes
        if (alone := _alone(desk, wishes[0])) is not None:
            return alone
        return self.holds.ask_to_hold(
            *(sink, desk.event.id, desk.layout.hash, holder, *wishes),
            key=request.key,
            origin=origin,
            windows=desk.plan.windows,
            through=through,
            address=address,
        )

    async def release(
        self,
        desk: Desk,
        holder: str,
        hold: str,
        seats: Sequence[int],
        areas: Mapping[str, wire.AreaWish],
        *,
        origin: str = "",
    ) -> Changed | Refusal:
        """`release`, whole or in part."""
        if len(set(seats)) != len(seats):
            return _TWICE
        if seats and (refusal := desk.torn(seats)) is not None:
            return refusal
        places = _released_places(areas)
        if _may_leave_a_companion(desk, seats):
            asked = ("release", sorted(seats), places)
            outcome = await self._change_in_one_step(desk, holder, hold, [], [], seats, areas, None, asked, origin, "")
            # Where nothing can be added to the hold, nothing can come between looking and giving back.
            if not isinstance(outcome, Refusal) or outcome.code not in _NOTHING_IS_ADDED:
                return outcome
        return await self.holds_of(desk).release_hold(desk.event.id, holder, hold, seats, places, origin=origin)

    async def extend(
        self, desk: Desk, holder: str, hold: str, *, key: str | None = None, origin: str = ""
    ) -> Changed | Refusal:
        """`extend`."""
        return await self.holds_of(desk).extend_hold(desk.event.id, holder, hold, key=key, origin=origin)

    async def read(self, desk: Desk, holder: str, hold: str) -> Changed | Refusal:
        """One hold as it is now."""
        return await self.holds_of(desk).read_hold(desk.event.id, holder, hold)

    async def read_own(self, desk: Desk, holder: str) -> OwnHolds:
        """All of a holder's holds."""
        return await self.holds_of(desk).read_holds(desk.event.id, holder)

    async def change(
        self, desk: Desk, holder: str, hold: str, add: Wishes, release: Wishes, *, key: str | None, address: str
    ) -> Changed | Refusal:
        """Adds, releases, or does both in one step: then it is a `replace` of what the hold was when it was read.

        What is added counts for `address`, as for `Holds.hold_seats`.
        """
        if not (release[0] or release[1]):
            return await self.hold(desk, holder, *add, into=hold, key=key, address=address)
        if not (add[0] or add[1]):
            return await self.release(desk, holder, hold, [seat_of(wish) for wish in release[0]], release[1])
        wished_seats, wished_areas = desk.seat_wishes(add[0]), desk.area_wishes(add[1])
        if isinstance(wished_seats, Refusal):
            return wished_seats
        if isinstance(wished_areas, Refusal):
            return wished_areas
        leaving = sorted(seat_of(wish) for wish in release[0])
        if len(set(leaving)) != len(leaving):
            return _TWICE
        asked = (sorted(wished_seats), sorted(wished_areas), leaving, release[1])
        return await self._change_in_one_step(
            desk, holder, hold, wished_seats, wished_areas, leaving, release[1], key, asked, "", address
        )

    async def _change_in_one_step(
        self,
        desk: Desk,
        holder: str,
        hold: str,
        seats: list[tuple[int, str]],
        areas: list[tuple[str, str, int]],
        leaving: Sequence[int],
        leaving_areas: Mapping[str, wire.AreaWish],
        key: str | None,
        asked: object,
        origin: str,
        address: str,
    ) -> Changed | Refusal:
        outcome: Changed | Refusal
        for _ in range(limits.CHANGE_TRIES):
            outcome = await self._change_both(
                desk, holder, hold, seats, areas, leaving, leaving_areas, key, asked, origin, address
            )
            if not isinstance(outcome, Refusal) or outcome.code != _CHANGED:
                break
        return outcome

    async def _change_both(
        self,
        desk: Desk,
        holder: str,
        hold: str,
        seats: list[tuple[int, str]],
        areas: list[tuple[str, str, int]],
        leaving: Sequence[int],
        leaving_areas: Mapping[str, wire.AreaWish],
        key: str | None,
        asked: object,
        origin: str,
        address: str,
    ) -> Changed | Refusal:
        event, holds = desk.event.id, self.holds_of(desk)
        now = await holds.read_hold(event, holder, hold)
        if isinstance(now, Refusal):
            return now
        assert now.record is not None
        refusal, expected_seq, is_less = None, now.record.seq, False
        kept = take_out(now.record, leaving, leaving_areas)
        if isinstance(kept, Refusal):
            refusal = kept
        elif taken := {seat for seat, _ in kept[0]} & {seat for seat, _ in seats}:
            refusal = Refusal("seat_taken", "The hold has these seats already.", tuple(sorted(taken)))
        else:
            is_less = not seats and not areas
            seats, areas = [*kept[0], *seats], [*kept[1], *areas]
            if not seats and not areas:
                return await holds.release_hold(event, holder, hold, origin=origin)
            named = [seat for seat, _ in seats]
            refusal = desk.torn(named) or desk.unaccompanied(named)
        if refusal is not None:
            if key is None:
                return refusal
            # What cannot be done now may have been done with this key before; with this seq it is not done again.
            expected_seq = -1
        outcome = await holds.replace_hold(
            event,
            holder,
            hold,
            seats,
            areas,
            key=key,
            origin=origin,
            expected_seq=expected_seq,
            asked=asked,
            windows=desk.plan.windows if not is_less else _no_windows,
            address=address,
        )
        if refusal is not None and isinstance(outcome, Refusal) and outcome.code == _CHANGED:
            return refusal
        return outcome


def _read_wishes(
    desk: Desk, seats: Sequence[wire.SeatWish], areas: Mapping[str, wire.AreaWish]
) -> tuple[list[tuple[int, str]], list[tuple[str, str, int]]] | Refusal:
    """What is wished for with its price types, or why it can never be granted."""
    if not seats and not areas:
        return Refusal("invalid_message", "Name at least one seat or area.")
    seat_wishes = desk.seat_wishes(seats)
    if isinstance(seat_wishes, Refusal):
        return seat_wishes
    area_wishes: list[tuple[str, str, int]] | Refusal = desk.area_wishes(areas) if areas else []
    if isinstance(area_wishes, Refusal):
        return area_wishes
    if desk.layout.whole_of and (torn := desk.torn([seat for seat, _ in seat_wishes])) is not None:
        return torn
    # A wish that no rule of this event could ever grant need not bother Redis.
    most = desk.event.limits.max_seats
    if len(seat_wishes) > most or (area_wishes and len(seat_wishes) + sum(n for _, _, n in area_wishes) > most):
        return Refusal("limit_exceeded", f"At most {most} places are allowed.")
    return seat_wishes, area_wishes


def _released_places(areas: Mapping[str, wire.AreaWish]) -> list[tuple[str, str, int]]:
    """Places to be given back, of a type where one is named."""
    return [
        (area, price_type, n)
        for area, wish in areas.items()
        for price_type, n in (wish if isinstance(wish, dict) else {"": wish}).items()
    ]


def _alone(desk: Desk, seats: Sequence[tuple[int, str]]) -> Refusal | None:
    """Whether companion seats are among these without an accessible place."""
    return desk.unaccompanied([seat for seat, _ in seats]) if desk.layout.companions else None


def _may_leave_a_companion(desk: Desk, seats: Sequence[int]) -> bool:
    """Whether giving these seats back is to be judged by what stays."""
    return bool(desk.layout.companions) and not desk.layout.accessible.isdisjoint(seats)


def _no_windows(_seats: Iterable[int], _rule: str) -> list[list[int]]:
    """Giving back leaves nobody alone who was not before."""
    return []


def seat_of(wish: wire.SeatWish) -> int:
    """The seat's index."""
    return wish.seat if isinstance(wish, wire.SeatPick) else wish


def take_out(
    record: Record, seats: Sequence[int], areas: Mapping[str, wire.AreaWish]
) -> tuple[list[tuple[int, str]], list[tuple[str, str, int]]] | Refusal:
    """What is left of a hold without these, or the refusal that release_hold.lua would give."""
    left = [(seat, kind) for seat, kind in record.seat_types() if seat not in set(seats)]
    missing = tuple(sorted(set(seats) - {seat for seat, _ in record.seat_types()}))
    if missing:
        return Refusal("unknown_seat", "The hold has no such seat.", missing)
    left_areas = record.area_types()
    for area, wish in areas.items():
        for kind, n in (wish if isinstance(wish, dict) else {"": wish}).items():
            at = [i for i, (held, held_kind, _) in enumerate(left_areas) if held == area and kind in ("", held_kind)]
            if len(at) != 1 or left_areas[at[0]][2] < n:
                return Refusal("invalid_message", "The hold has no such places; name a type where it has several.")
            _, held_kind, count = left_areas[at[0]]
            left_areas[at[0]] = (area, held_kind, count - n)
    return left, [line for line in left_areas if line[2] > 0]


def show_changed(desk: Desk, changed: Changed, *, seat_ids: bool = False) -> wire.Hold | None:
    """The hold of an answer, or None when nothing is left of it."""
    if changed.record is None:
        return None
    return desk.show_hold(changed.hold, changed.record, seat_ids=seat_ids)
