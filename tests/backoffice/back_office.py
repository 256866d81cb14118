"""A box office on the house's engines, whose workers may die at each step."""

import secrets
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "inventory"))

from inventory_house import LAYOUT_HASH, House, adults, seat_id

from lml_live.backoffice.history import History
from lml_live.backoffice.hold_rows import Act
from lml_live.backoffice.holding import Holding
from lml_live.backoffice.staff_acts import StaffActs
from lml_live.backoffice.turns import StaffTurns
from lml_live.errors import Unavailable
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.checker import Checker
from lml_live.inventory.drift import Drift
from lml_live.inventory.feed import Feed
from lml_live.inventory.rooms import STAFF, Room
from lml_live.inventory.staff_holds import StaffHolds, Undone
from lml_live.inventory.wishes import AreaWishes, SeatNames

FREE, HELD, SOLD, HOUSE, KILL = range(5)
IDS = [seat_id(index) for index in range(24)]
NAMES = SeatNames(LAYOUT_HASH, IDS)
CLARA = Act("clara", "school class")
BEGINNING = (datetime(2000, 1, 1, tzinfo=UTC), 0)


class Office:
    """A box office on the house's engines, and a customer of it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.inventory = StaffHolds(house.book)
        self.holding = Holding(house.pool, self.inventory, StaffTurns(house.pool))
        self.history = History(house.pool, self.inventory)
        self.feed = Feed(house.book, tick_ms=50)
        self.event = self.customer = ""

    async def open(self) -> "Office":
        """20 and 21 are kept back by the house, 22 is killed; a pit of 10."""
        self.event = await self.house.open_event(areas={"pit": 10})
        await self.house.block_rows(self.event, {20: "house", 21: "house", 22: "kill"}, {})
        await self.house.holds.block_seats(self.event, [20, 21], {}, seatmap.BYTE_HOUSE)
        await self.house.holds.block_seats(self.event, [22], {}, seatmap.BYTE_KILL)
        self.customer = await self.holding.add_customer("clara")
        return self

    async def hold(
        self, *seats: int, pit: int = 0, over_house: bool = False, request: str = "a" * 40, holder: str = ""
    ) -> Changed | Refusal:
        areas: AreaWishes = [("pit", "adult", pit)] if pit else []
        who = holder or self.customer
        return await self.holding.hold(
            self.event, NAMES, who, "Kim", adults(*seats), areas, CLARA, over_house=over_house, request=request
        )

    async def move(
        self, hold: str, *seats: int, pit: int = 0, over_house: bool = False, request: str = ""
    ) -> Changed | Refusal:
        """Each time another request, where none is named; so, too, `release`."""
        areas: AreaWishes = [("pit", "adult", pit)] if pit else []
        wish, act = (adults(*seats), areas), Act("ben", "taller people")
        more = {"over_house": over_house, "request": request or secrets.token_hex()}
        return await self.holding.move(self.event, NAMES, hold, *wish, act, **more)  # type: ignore[arg-type]

    async def release(self, hold: str, request: str = "") -> Undone | Refusal | None:
        act = Act("ben", "did not come")
        return await self.holding.release(self.event, NAMES, hold, act, request=request or secrets.token_hex())

    async def others_come(self) -> None:
        """Some worker ends what others died over."""
        acts = StaffActs(self.house.pool, self.inventory)
        turns = StaffTurns(self.house.pool)
        turns.settle = acts.settle
        await acts.end_left(turns, 0.0)
        await Holding(self.house.pool, self.inventory, turns).end_left(0.0)

    async def block_pit(self, *, house: int, kill: int) -> None:
        await self.house.block_rows(self.event, {}, {"pit": house})
        await self.house.pool.execute(
            "INSERT INTO area_block VALUES ($1, 'pit', 'kill', $2, 'r', 's')", self.event, kill
        )
        await self.house.holds.block_seats(self.event, [], {"pit": house + kill}, seatmap.BYTE_HOUSE)

    async def pit_blocks(self) -> list[tuple[str, int]]:
        rows = await self.house.pool.fetch("SELECT kind, quantity FROM area_block WHERE event_id = $1", self.event)
        return sorted((row["kind"], row["quantity"]) for row in rows)

    async def watch(self) -> Room:
        """What is pushed to the screens from here on."""
        return await self.feed.room(self.event)

    async def told(self, room: Room) -> tuple[list[int], tuple[int, ...]]:
        """The state of each seat and the places of the pit, as the diffs made them."""
        await self.feed.catch_up(self.event)
        return [byte & seatmap.STATE_MASK for byte in room.bytes_shown], room.areas(STAFF)["pit"]

    async def drift(self) -> tuple[Drift, ...]:
        """Where the two stores do not say the same."""
        look = await Checker(self.house.book, self.house.holds, self.house.pool).look(self.event)
        assert look is not None
        return look.found

    async def lose_redis(self) -> None:
        """The event's keys vanish, and the book is built anew from what PostgreSQL knows."""
        sale = await self.house.book.sale(self.event)
        keys = ("seats", "book", "deadlines", "areas", "log")
        await self.house.pipe.call("DEL", *(sale.key(key) for key in keys))
        await self.house.inventory(self.event)
        await self.house.remember_start(self.event)
        await self.house.audit(self.event)

    async def log(self) -> list[tuple[Any, ...]]:
        """(act, seats, places in the pit, status, staff, reason) of each act, in order."""
        told: list[tuple[Any, ...]] = []
        for change in await self.history.changes(
            self.event, seat_id=None, since=BEGINNING[0], after=BEGINNING, limit=1_000
        ):
            what = (change.act, change.status, change.staff, change.reason)
            places = [IDS.index(change.seat_id)] if change.seat_id else [("pit", change.quantity)]
            if told and told[-1][0] == what:
                told[-1][1].extend(places)
            else:
                told.append((what, places))
        return [(act, places, *rest) for (act, *rest), places in told]

    async def listed(self) -> list[tuple[str, str, list[int]]]:
        """(hold, state, seats) of the holds that are listed."""
        found = await self.holding.list_holds(self.event, after=None, limit=100)
        return [(hold.id, hold.state, [IDS.index(seat) for seat in hold.seats]) for hold in found]

    async def blocks(self) -> dict[int, str]:
        rows = await self.house.pool.fetch("SELECT seat_id, kind FROM seat_block WHERE event_id = $1", self.event)
        return {IDS.index(row["seat_id"]): row["kind"] for row in rows}


@pytest.fixture(name="office")
async def office_fixture(house: House) -> Office:
    return await Office(house).open()


class Dying(StaffHolds):
    """Ends its worker before or after the step in the inventory, or loses Redis after it."""

    def __init__(self, office: Office, *, before: bool = False, then: Callable[[], Awaitable[None]] | None = None):
        super().__init__(office.house.book)
        self._before, self._then = before, then

    async def _die(self, act: Callable[[], Awaitable[Any]]) -> Any:
        if not self._before:
            answer = await act()
            if self._then is not None:
                await self._then()
                return answer
        raise Unavailable("The worker is gone.")

    async def hold_for_customer(self, *args: Any, **more: Any) -> Any:
        return await self._die(lambda: StaffHolds.hold_for_customer(self, *args, **more))

    async def move_hold(self, *args: Any, **more: Any) -> Any:
        return await self._die(lambda: StaffHolds.move_hold(self, *args, **more))

    async def withdraw_hold(self, *args: Any, **more: Any) -> Any:
        return await self._die(lambda: StaffHolds.withdraw_hold(self, *args, **more))


async def die(office: Office, act: Callable[[], Awaitable[Any]], **how: Any) -> None:
    office.holding = Holding(office.house.pool, Dying(office, **how), StaffTurns(office.house.pool))
    with pytest.raises(Unavailable):
        await act()
    office.holding = Holding(office.house.pool, office.inventory, StaffTurns(office.house.pool))
