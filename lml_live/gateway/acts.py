"""The holder's acts, as the live socket and REST both ask for them: wishes checked, holds changed."""

from collections.abc import Mapping, Sequence

from lml_live.gateway import wire
from lml_live.gateway.desk import Desk, Desks
from lml_live.inventory.holds import Changed, Holds, Refusal


class Acts:
    """Holder acts on one house's events. Answers as `inventory.holds` does; raises `NotFound`, `Unavailable`."""

    def __init__(self, desks: Desks, holds: Holds) -> None:
        self.desks = desks
        self.holds = holds

    async def hold(
        self,
        event: str,
        holder: str,
        seats: Sequence[wire.SeatWish],
        areas: Mapping[str, wire.AreaWish],
        *,
        into: str | None = None,
        replace: str | None = None,
        key: str | None = None,
        origin: str = "",
    ) -> Changed | Refusal:
        """`hold`, with `into` or `replace`."""
        if into is not None and replace is not None:
            return Refusal("invalid_message", "Name a hold in `into` or in `replace`, not in both.")
        if not seats and not areas:
            return Refusal("invalid_message", "Name at least one seat or area.")
        desk = await self.desks.desk(event)
        seat_wishes = desk.seat_wishes(seats)
        if isinstance(seat_wishes, Refusal):
            return seat_wishes
        area_wishes = desk.area_wishes(areas)
        if isinstance(area_wishes, Refusal):
            return area_wishes
        # A wish that no rule of this event could ever grant need not bother Redis.
        most = desk.event.limits.max_seats
        if len(seat_wishes) + sum(n for _, _, n in area_wishes) > most:
            return Refusal("limit_exceeded", f"At most {most} places are allowed.")
        if into is not None:
            return await self.holds.add_to_hold(event, holder, into, seat_wishes, area_wishes, key=key, origin=origin)
        if replace is not None:
            return await self.holds.replace_hold(
                event, holder, replace, seat_wishes, area_wishes, key=key, origin=origin
            )
        return await self.holds.hold_seats(event, holder, seat_wishes, area_wishes, key=key, origin=origin)

    async def release(
        self,
        event: str,
        holder: str,
        hold: str,
        seats: Sequence[int],
        areas: Mapping[str, wire.AreaWish],
        *,
        origin: str = "",
    ) -> Changed | Refusal:
        """`release`, whole or in part."""
        if len(set(seats)) != len(seats):
            return Refusal("invalid_message", "A seat is named twice.")
        wishes = [
            (area, price_type, n)
            for area, wish in areas.items()
            for price_type, n in (wish if isinstance(wish, dict) else {"": wish}).items()
        ]
        return await self.holds.release_hold(event, holder, hold, seats, wishes, origin=origin)

    async def extend(
        self, event: str, holder: str, hold: str, *, key: str | None = None, origin: str = ""
    ) -> Changed | Refusal:
        """`extend`."""
        return await self.holds.extend_hold(event, holder, hold, key=key, origin=origin)


def show_changed(desk: Desk, changed: Changed, *, seat_ids: bool = False) -> wire.Hold | None:
    """The hold of an answer, or None when nothing is left of it."""
    if changed.record is None:
        return None
    return desk.show_hold(changed.hold, changed.record, seat_ids=seat_ids)
