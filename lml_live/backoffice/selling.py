"""Sales at the counter: a hold, or places that nobody holds, sold in one call for money that Stripe never sees.

    take     in one step of the inventory: the hold is marked, or its places are taken, also over a house hold
    claim    one transaction of PostgreSQL: claimed, confirmed, booked, ticketed; house holds are used up
    tell     through the outbox: the places show sold

Whatever ends it in between is ended as with every booking (`booking.checkout`): of a claim that is refused, or never
comes, the booking's id is taken out of the world first; then its places are what they were (docs/decisions/023).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from lml_live.backoffice.holding import area_blocks
from lml_live.backoffice.turns import StaffTurns
from lml_live.booking.bookings import Booking, Bookings
from lml_live.booking.checkout import Buyer, Checkout, Quoting
from lml_live.booking.claims import AtCounter
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.staff_holds import StaffHolds
from lml_live.inventory.wishes import NO_BLOCKS, AreaWishes, SeatNames, SeatWishes

_SQL: Final = postgres.statements("staff_holds")

NOBODY: Final = "Box office"
"""In whose name a sale is where nobody said."""

_ANOTHER: Final = Refusal("idempotency_mismatch", "This key was used for another booking.")


class Asked(Struct, frozen=True, kw_only=True):
    """What a clerk asks for beside the places: for what, to whom, and by which request (64 hex digits that name it)."""

    counter: AtCounter
    name: str | None = None
    email: str | None = None
    request: str


class Selling:
    """Sells on behalf of staff. `mark_seconds` is how long a claim may take before the sweep asks for it."""

    def __init__(
        self,
        pool: Pool,
        bookings: Bookings,
        checkout: Checkout,
        inventory: StaffHolds,
        turns: StaffTurns,
        *,
        mark_seconds: int,
    ) -> None:
        self._pool = pool
        self._bookings = bookings
        self._checkout = checkout
        self._inventory = inventory
        self._turns = turns
        self._mark_seconds = mark_seconds

    async def sell_hold(self, event: str, hold: str, asked: Asked, quoting: Quoting) -> Booking | Refusal:
        """Sells a hold of the box office, or one that a customer of it made. Twice is once.

        Raises `Unavailable` where a store does not answer: the same request may then be sent again.
        """
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["hold_to_sell"], hold)
        buyer = Buyer(asked.name or (NOBODY if row is None else row["customer"]), asked.email)

        async def mark(booking: str) -> Changed | Refusal:
            holder = row["holder"] if row is not None else await self._customer_of(event, hold)
            if isinstance(holder, Refusal):
                return holder
            return await self._checkout.mark(event, holder, hold, booking, quoting.layout)

        return await self._checkout.sell(event, hold, asked.request, buyer, asked.counter, quoting, mark)

    async def sell_places(
        self,
        event: str,
        names: SeatNames,
        seats: SeatWishes,
        areas: AreaWishes,
        asked: Asked,
        quoting: Quoting,
        *,
        over_house: bool,
    ) -> Booking | Refusal:
        """Sells places that nobody holds, with `over_house` what the house keeps back, too: all, or nothing.

        `names` is how `seats` are read. As `sell_hold`; refused, all is as it was before.
        """
        hold = await self._inventory.counter_hold_id(event, asked.request)
        holder = f"h-{asked.request[20:44]}"
        named = {area for area, _, _ in areas} if over_house else set()
        # Seldom is anything kept back of an area: then nobody needs to wait for his turn.
        lends = any(block.house for block in (await area_blocks(self._pool, event, named)).values())

        async def mark(booking: str) -> Changed | Refusal:
            taken = await self._inventory.under({event: names.layout}).take_for_sale(
                *(event, holder, hold, booking, seats, areas),
                over_house=over_house,
                mark_seconds=self._mark_seconds,
                house=await area_blocks(self._pool, event, named) if lends else NO_BLOCKS,
            )
            # What an earlier try took, and died over, is not sold to one that asks for something else.
            return taken if isinstance(taken, Refusal) or _takes(taken, seats, areas) else _ANOTHER

        buyer = Buyer(asked.name or NOBODY, asked.email)
        # How many places the house lent is true until somebody blocks or unblocks some: the claim comes before that.
        turn = self._turns.take(event) if lends else None
        made = await self._checkout.sell(event, hold, asked.request, buyer, asked.counter, quoting, mark, turn)
        if isinstance(made, Booking) and _places(made) != _wished(names.seat_ids, seats, areas):
            return _ANOTHER
        return made

    async def undo(self, event: str, hold: str, booking: str) -> None:
        """What was taken for a sale that never was is what it was before; nothing where it is so already.

        In turn with those who block and unblock: what they have said last is what it becomes.
        """
        async with self._turns.take(event):
            inventory = self._inventory.under({event: (await self._inventory.seat_names(event)).layout})
            seats, areas = await inventory.own_places(event, hold, await self._bookings.house_blocks(event))
            blocked = await area_blocks(self._pool, event, areas)
            await inventory.undo_taking(event, hold, booking, seats, blocked)

    async def _customer_of(self, event: str, hold: str) -> str | Refusal:
        """Who has a hold that is not the box office's, where that is a customer of it."""
        record = await self._inventory.find_hold(event, hold)
        if record is None:
            return Refusal("hold_not_found", "There is no such hold.")
        async with postgres.connection(self._pool) as connected:
            if not await connected.fetchval(_SQL["is_customer"], record.holder):
                return Refusal("forbidden", "Holds of customers of the box office are sold here, and nobody else's.")
        return record.holder


def _takes(taken: Changed, seats: SeatWishes, areas: AreaWishes) -> bool:
    """Whether what was taken is what is asked for."""
    assert taken.record is not None
    wished = (sorted(seats), sorted(areas))
    return (sorted(taken.record.seat_types()), sorted(taken.record.area_types())) == wished


def _places(booking: Booking) -> Counter[tuple[str, str]]:
    """What a booking is of: seats and areas, with the price type of each place."""
    return Counter((line.seat_id or line.area_id or "", line.type) for line in booking.lines)


def _wished(seat_ids: Sequence[str], seats: SeatWishes, areas: AreaWishes) -> Counter[tuple[str, str]]:
    wished = Counter((seat_ids[seat], kind) for seat, kind in seats)
    wished.update({(area, kind): n for area, kind, n in areas})
    return wished
