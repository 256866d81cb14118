"""Best available: seats are picked from this worker's room and held by the ordinary scripts, lost races retried.

Picking is optimistic: the room may be a few milliseconds behind the book, and other workers pick at the same time. The
script that holds is the one judge; where it answers that a seat of the block has gone, the block is picked anew
without that seat. Before each try the log is read up to now, without telling the room's sockets before their tick.
What bounds this:

- Within one worker nobody picks what another request is about to be granted, so its requests never race each other.
- A race is lost to another worker or to a plain `hold`, and only by somebody's winning a seat of the block: of all
  that go for one seat, one wins, so that every round of losses ends with at least as many winners.
- Before the next try the loser waits a random time, twice as long at most with each loss. Workers that were asked at
  the same instant go for the same blocks once; from then on their requests come one after the other, each taking a
  round trip (0.3 ms) where the waits are milliseconds.
- After `limits.BEST_TRIES` losses, half a second at most, the answer is `seat_taken` with what was in the way.

Why not in one step: docs/decisions/005-best-seats-are-picked-first.md.
"""

import asyncio
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from lml_live import limits
from lml_live.gateway import wire
from lml_live.gateway.acts import Acts
from lml_live.gateway.desk import Desk
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.best import Wish, pick_seats
from lml_live.inventory.book import other_layout
from lml_live.inventory.feed import Feed
from lml_live.inventory.holds import KeyedAct
from lml_live.inventory.records import WEB
from lml_live.inventory.rooms import Room

_NONE_LEFT = Refusal("no_best_seats", "There are no such seats left together.")


class BestSeats:
    """`hold_best` for all events of one worker."""

    def __init__(self, acts: Acts, feed: Feed) -> None:
        self._acts = acts
        self._feed = feed
        self._promised: dict[str, _Promised] = {}

    async def hold_best(
        self,
        desk: Desk,
        holder: str,
        asked: wire.BestWish,
        *,
        key: str | None = None,
        origin: str = "",
        through: str = WEB,
        address: str = "",
    ) -> Changed | Refusal:
        """Holds the best free seats for a wish, with `areas`, all or nothing. Raises as `Acts` does.

        `through` is the sales channel: what belongs to another is not offered.

        Refused with `no_best_seats` where none are left that fit together, with `invalid_message` for a wish that
        contradicts itself or names what the event does not have, else as `hold`. A retry with the same `key` answers
        the hold that the first attempt was granted, whatever has become of the seats.
        """
        if asked.into is not None and asked.replace is not None:
            return Refusal("invalid_message", "Name a hold in `into` or in `replace`, not in both.")
        wish = read_wish(desk, asked)
        if isinstance(wish, Refusal):
            return wish
        areas = desk.area_wishes(asked.areas)
        if isinstance(areas, Refusal):
            return areas
        most = desk.event.limits.max_seats
        if wish.quantity + sum(n for _, _, n in areas) > most:
            return Refusal("limit_exceeded", f"At most {most} places are allowed.")
        event = desk.event.id
        room = await self._feed.room(event)
        request = _Request(desk, holder, asked, key, origin, through, address)
        lost: set[int] = set()
        refusal = _NONE_LEFT
        for losses in range(limits.BEST_TRIES):
            if losses:
                most_ms = min(limits.BEST_WAIT_MS << (losses - 1), limits.BEST_WAIT_MS_MAX)
                await asyncio.sleep(random.uniform(0, most_ms) / 1000)  # noqa: S311  # spreads, hides nothing
            await self._feed.read_ahead(event)
            if room.sale.layout_hash != desk.layout.hash:
                raise other_layout()
            own: tuple[int, ...] = ()
            channel = room.sale.channel(through)
            if asked.replace is not None:
                known = await self._acts.read(desk, holder, asked.replace)
                if isinstance(known, Refusal):
                    return known
                assert known.record is not None
                own = tuple(seat for seat, _ in known.record.seat_types())
                channel = known.record.channel
            promised = self._promised.setdefault(event, _Promised())
            # The room hears of a changed rule with the log; the desk may not have been read again yet.
            wish = replace(wish, rule=room.sale.orphan_rule, channel=channel)
            seats = promised.pick(desk, room, wish, lost, own)
            if seats is None:
                return await self._none_left(request)
            with promised.about(seats):
                outcome = await self._take(request, seats, areas)
                if isinstance(outcome, Changed):
                    promised.until(seats, outcome)
                    return outcome
            if outcome.code not in ("seat_taken", "orphan_seat"):
                return outcome
            refusal = outcome
            lost |= set(outcome.seats) & set(seats)
        return refusal

    async def _take(
        self, request: "_Request", seats: tuple[int, ...], areas: list[tuple[str, str, int]]
    ) -> Changed | Refusal:
        desk = request.desk
        wishes = [(seat, desk.default_types.get(desk.layout.categories[seat], "")) for seat in seats]
        holds, who, asked = self._acts.holds_of(desk), (desk.event.id, request.holder), request.asked
        key, origin, windows = request.key, request.origin, desk.plan.windows
        if asked.into is not None:
            return await holds.add_to_hold(
                *who,
                asked.into,
                wishes,
                areas,
                key=key,
                origin=origin,
                asked=request.said,
                windows=windows,
                address=request.address,
            )
        if asked.replace is not None:
            return await holds.replace_hold(
                *who,
                asked.replace,
                wishes,
                areas,
                key=key,
                origin=origin,
                asked=request.said,
                windows=windows,
                address=request.address,
            )
        return await holds.hold_seats(
            *who,
            wishes,
            areas,
            key=key,
            origin=origin,
            asked=request.said,
            windows=windows,
            through=request.through,
            address=request.address,
        )

    async def _none_left(self, request: "_Request") -> Changed | Refusal:
        """What was granted to this request before, else that there is nothing, or no sale."""
        asked = request.asked
        act: KeyedAct = "add_to_hold" if asked.into else "replace_hold" if asked.replace else "hold"
        found = await self._acts.holds_of(request.desk).find_key(
            request.desk.event.id,
            request.holder,
            asked.into or asked.replace or "",
            key=request.key,
            asked=request.said,
            act=act,
        )
        return _NONE_LEFT if found is None else found


class _Request:
    """One request on its way through its tries."""

    def __init__(
        self,
        desk: Desk,
        holder: str,
        asked: wire.BestWish,
        key: str | None,
        origin: str,
        through: str,
        address: str,
    ) -> None:
        self.desk, self.holder, self.asked, self.key, self.origin = desk, holder, asked, key, origin
        self.through, self.address = through, address
        fields = {name: getattr(asked, name) for name in wire.BestWish.__struct_fields__}
        self.said = ("best", sorted((name, value) for name, value in fields.items()))
        """What the key stands for."""


class _Promised:
    """Seats of one event that requests of this worker are about to take, or took without the room's knowing yet."""

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}
        """How many requests under way go for a seat."""
        self._granted: dict[int, tuple[int, int]] = {}
        """(epoch, seq) of the entry that takes a seat."""

    def pick(
        self, desk: Desk, room: Room, wish: Wish, lost: Iterable[int], own: tuple[int, ...]
    ) -> tuple[int, ...] | None:
        """The best seats that nobody here goes for; where there are none, those that somebody does: he may be refused.

        `lost` seats are known to be taken.
        """
        at = room.epoch, room.seq
        self._granted = {seat: taken_at for seat, taken_at in self._granted.items() if taken_at > at}
        seats = room.seats
        taken = {*lost, *self._granted}
        found = pick_seats(desk.plan, seats, wish, taken=taken | self._asked.keys(), own=own)
        if found is None and self._asked:
            found = pick_seats(desk.plan, seats, wish, taken=taken, own=own)
        return found

    @contextmanager
    def about(self, seats: tuple[int, ...]) -> Iterator[None]:
        """A request goes for these seats while the block lasts."""
        for seat in seats:
            self._asked[seat] = self._asked.get(seat, 0) + 1
        try:
            yield
        finally:
            for seat in seats:
                self._asked[seat] -= 1
                if not self._asked[seat]:
                    del self._asked[seat]

    def until(self, seats: tuple[int, ...], granted: Changed) -> None:
        """These seats were taken; the room will know from the entry on that says so."""
        for seat in seats:
            self._granted[seat] = (granted.epoch, granted.seq)


def read_wish(desk: Desk, asked: wire.BestWish) -> Wish | Refusal:
    """A wish in the plan's words, or what is wrong with it."""
    general = asked.quantity - asked.accessible - asked.companions
    if general < 0:
        return Refusal("invalid_message", "`quantity` counts the accessible places and companion seats, too.")
    if asked.companions and not asked.accessible:
        return Refusal("invalid_message", "Companion seats are for those who come with an accessible place.")
    plan = desk.plan
    if asked.section is not None and asked.section not in plan.sections:
        return Refusal("invalid_message", "This event has no such section with seats.")
    if asked.category is not None and asked.category not in plan.categories:
        return Refusal("invalid_message", "This event has no such category of seats.")
    categories = None
    if asked.category is not None or asked.max_price is not None:
        categories = frozenset(
            category
            for category in plan.categories
            if asked.category in (None, category)
            and (asked.max_price is None or _price(desk, category) <= asked.max_price)
        )
    return Wish(
        quantity=asked.quantity,
        accessible=asked.accessible,
        companions=asked.companions,
        categories=categories,
        section=asked.section,
        adjacent=asked.adjacent == "required",
        rule=desk.event.limits.orphan_rule,
    )


def _price(desk: Desk, category: str) -> int:
    """What a seat costs at the type that a wish without one means, fee included, in minor units."""
    price = next(price for price in desk.event.prices if price.category == category)
    return price.amount + price.fee
