"""A counter on a house that sells: a clerk, a customer, and seats that the house keeps back."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

from booking_house import MARK_SECONDS, BookingHouse
from inventory_house import LAYOUT_HASH, adults, seat_id

from lml_live.backoffice.blocking import Blocking, Refusals, Selection
from lml_live.backoffice.hold_rows import Act
from lml_live.backoffice.holding import Holding
from lml_live.backoffice.selling import Asked, Selling
from lml_live.backoffice.turns import StaffTurns
from lml_live.booking.bookings import Booking
from lml_live.booking.claims import AtCounter
from lml_live.booking.ledger import Tender
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.checker import Checker
from lml_live.inventory.drift import Drift
from lml_live.inventory.staff_holds import StaffHolds
from lml_live.inventory.wishes import SeatNames
from lml_live.pricing.blocks import BlockKind, Blocks

IDS = [seat_id(index) for index in range(24)]
NAMES = SeatNames(LAYOUT_HASH, IDS)


class Counter:
    """20 and 21 are kept back by the house, 22 is killed; of ten places of the floor five, and two."""

    def __init__(self, house: BookingHouse, event: str) -> None:
        self.house, self.event = house, event
        self.inventory = StaffHolds(house.book)
        turns = StaffTurns(house.pool)
        self.holding = Holding(house.pool, self.inventory, turns)
        self.selling = Selling(
            house.pool, house.bookings, house.checkout, self.inventory, turns, mark_seconds=MARK_SECONDS
        )
        house.completer.undo_taking = self.selling.undo
        house.checkout.finish_hold = self.holding.finish
        self.customer = ""
        shown = SimpleNamespace(
            areas=[SimpleNamespace(area_id="floor")], layout_id="", layout_version=1, layout_hash=""
        )
        layout = SimpleNamespace(
            hash=LAYOUT_HASH,
            seat_count=len(IDS),
            seat_ids=IDS,
            index_of={name: index for index, name in enumerate(IDS)},
        )
        self.blocking = Blocking(
            Mock(load_event=AsyncMock(return_value=shown)),
            Blocks(house.pool),
            Mock(index=AsyncMock(return_value=layout)),
            self._block,
            self._unblock,
            turns,
        )

    async def _unblock(self, event: str, layout: str, seats: Sequence[int]) -> Sequence[int]:
        return await self.house.holds.under({event: layout}).unblock_seats(event, seats)

    async def _block(
        self, event: str, layout: str, seats: Sequence[int], areas: Mapping[str, int], kind: BlockKind
    ) -> Refusals:
        state = seatmap.BYTE_HOUSE if kind == "house" else seatmap.BYTE_KILL
        answer = await self.house.holds.under({event: layout}).block_seats(event, seats, areas, state)
        return Refusals(answer.refused_seats, answer.refused_areas)

    async def block(self, *seats: int, floor: int = 0, kind: BlockKind = "house") -> None:
        """As a manager does it."""
        wanted = Selection(seats=[IDS[seat] for seat in seats], areas={"floor": floor} if floor else {})
        await self.blocking.block(self.event, wanted, kind, "press", "mona")

    async def open(self) -> "Counter":
        await self.house.block_rows(self.event, {20: "house", 21: "house", 22: "kill"}, {"floor": 5})
        await self.house.pool.execute("INSERT INTO area_block VALUES ($1, 'floor', 'kill', 2, 'r', 's')", self.event)
        await self.house.holds.block_seats(self.event, [20, 21], {"floor": 7}, seatmap.BYTE_HOUSE)
        await self.house.holds.block_seats(self.event, [22], {}, seatmap.BYTE_KILL)
        self.customer = await self.holding.add_customer("clara")
        return self

    async def hold(self, *seats: int, floor: int = 0, over_house: bool = False) -> str:
        """For a customer, without an end."""
        act, areas = Act("clara", "school class"), [("floor", "adult", floor)] if floor else []
        made = await self.holding.hold(
            *(self.event, NAMES, self.customer, "Kim", adults(*seats), areas, act),
            over_house=over_house,
            request="a" * 40,
        )
        assert isinstance(made, Changed), made
        return made.hold

    def asked(self, tender: Tender, request: str = "1", **more: Any) -> Asked:
        reason = more.pop("reason", None)
        counter = AtCounter(tender, more.pop("staff", "clara"), reason)
        return Asked(counter=counter, request=(request * 64)[:64], **more)

    async def sell_hold(self, hold: str, tender: Tender = "cash", **more: Any) -> Booking | Refusal:
        return await self.selling.sell_hold(self.event, hold, self.asked(tender, **more), self.house.quoting)

    async def sell(
        self, *seats: int, floor: int = 0, tender: Tender = "cash", over_house: bool = True, **more: Any
    ) -> Booking | Refusal:
        areas = [("floor", "adult", floor)] if floor else []
        return await self.selling.sell_places(
            *(self.event, NAMES, adults(*seats), areas, self.asked(tender, **more), self.house.quoting),
            over_house=over_house,
        )

    async def sold(self, *seats: int, **more: Any) -> Booking:
        made = await self.sell(*seats, **more)
        assert isinstance(made, Booking), made
        await self.house.rest()
        return made

    async def blocks(self) -> dict[int, str]:
        rows = await self.house.pool.fetch("SELECT seat_id, kind FROM seat_block WHERE event_id = $1", self.event)
        return {IDS.index(row["seat_id"]): row["kind"] for row in rows}

    async def unblock(self, *seats: int, floor: int = 0, kind: BlockKind = "house") -> None:
        wanted = Selection(seats=[IDS[seat] for seat in seats], areas={"floor": floor} if floor else {})
        await self.blocking.unblock(self.event, wanted, kind, "on sale", "mona")

    async def floor(self) -> tuple[tuple[int, int, int, int], dict[str, int]]:
        """Its places (available, held, sold, blocked), and what PostgreSQL has of them as blocked, by kind."""
        rows = await self.house.pool.fetch("SELECT kind, quantity FROM area_block WHERE event_id = $1", self.event)
        return await self.house.area(self.event, "floor"), {row["kind"]: row["quantity"] for row in rows}

    async def drift(self) -> tuple[Drift, ...]:
        look = await Checker(self.house.book, self.house.holds, self.house.pool).look(self.event)
        assert look is not None
        return look.found

    async def sales(self) -> list[tuple[str | None, ...]]:
        """(staff, reason) of each seat or area that was sold, as the status-change log has it."""
        rows = await self.house.pool.fetch(
            "SELECT staff_id, reason FROM status_change WHERE event_id = $1 AND act = 'sell' ORDER BY number",
            self.event,
        )
        return [tuple(row) for row in rows]

    async def books(self, booking: Booking) -> dict[str, int]:
        """Account to its debit, less its credit."""
        rows = await self.house.pool.fetch(
            "SELECT account, sum(debit - credit)::bigint AS amount FROM ledger_entry JOIN ledger_transaction"
            " ON number = transaction WHERE booking_id = $1 GROUP BY account ORDER BY account",
            booking.id,
        )
        return {row["account"]: row["amount"] for row in rows if row["amount"]}
