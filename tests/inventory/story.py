"""A story: one event on the real engines and the same event in the reference, compared after each step.

What is done to them stands in `story_holders`, `story_house` and `story_bookings`, as rules.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

from drawn_halls import Hall
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from inventory_house import LAYOUT_HASH, SCRIPTS, SECRET, House, seat_id
from reference import (
    ADDRESS,
    ADDRESS_HOLDS,
    ADDRESS_SEATS,
    CATEGORIES,
    CHANNELS,
    COOLDOWN_MS,
    DRAWN,
    EXPIRED_HOLDS,
    EXTENSIONS,
    HOLD_MS,
    HOLDERS,
    LIFETIME_MS,
    MAX_SEATS,
    PIT,
    POOL,
    REHOLD_MS,
    SEATS,
    TABLE,
    THROUGH,
    Held,
    Reference,
    SeatsAndPlaces,
)

from lml_live.clock import to_datetime
from lml_live.gateway.acts import Acts
from lml_live.gateway.best import BestSeats
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.feed import Feed
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import Record, Sale
from lml_live.inventory.rooms import PUBLIC, STAFF, Room
from lml_live.inventory.staff_holds import StaffHolds, Undone
from lml_live.values import AVAILABLE

T = TypeVar("T")

HALL = Hall(*DRAWN, categories=CATEGORIES)
WINDOWS = HALL.plan.windows

seats = st.lists(st.sampled_from(SEATS), max_size=4, unique=True).map(sorted)
places = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 3), max_size=2)
wishes = st.tuples(seats, places).filter(lambda wish: bool(wish[0] or wish[1]))
holders = st.sampled_from(HOLDERS)
mostly = st.sampled_from([True, True, True, False])
numbers = st.integers(0, 20)


FACTS = (
    *("seat_block", "area_block", "seat_channel", "area_channel", "staff_hold"),
    *("booking_seat", "booking_area", "booking"),
)
"""The tables that adopt reads."""


class Shown(Holds):
    """Notes which seats are asked for, and lets somebody be faster once."""

    def __init__(self, house: House) -> None:
        super().__init__(house.book, SECRET)
        self.seats: list[set[int]] = []
        self.judge: Callable[[set[int]], None] = lambda _seats: None
        self.rival: Callable[[int], Awaitable[None]] | None = None

    async def _ask(self, act: Any, wished: Any, *args: Any, **more: Any) -> Changed | Refusal:
        self.seats.append({seat for seat, _ in wished})
        self.judge(self.seats[-1])
        if self.rival is not None:
            rival, self.rival = self.rival, None
            await rival(min(self.seats[-1]))
        answer: Changed | Refusal = await act(*args, **more)
        return answer

    async def hold_seats(self, *args: Any, **more: Any) -> Changed | Refusal:
        return await self._ask(super().hold_seats, args[2], *args, **more)

    async def add_to_hold(self, *args: Any, **more: Any) -> Changed | Refusal:
        return await self._ask(super().add_to_hold, args[3], *args, **more)

    async def replace_hold(self, *args: Any, **more: Any) -> Changed | Refusal:
        return await self._ask(super().replace_hold, args[3], *args, **more)


class OneDesk:
    """What `hold_best` reads of the event's desk."""

    layout = SimpleNamespace(categories=CATEGORIES, hash=LAYOUT_HASH)
    default_types: Mapping[str, str] = dict.fromkeys(CATEGORIES, "adult")
    plan = HALL.plan

    def __init__(self, event: str) -> None:
        self.event = SimpleNamespace(
            id=event, limits=SimpleNamespace(max_seats=MAX_SEATS, orphan_rule="off"), prices=()
        )
        self.under = {event: LAYOUT_HASH}

    @staticmethod
    def area_wishes(areas: Mapping[str, int]) -> list[tuple[str, str, int]]:
        return [(area, "a", n) for area, n in areas.items()]


class Story(RuleBasedStateMachine):
    """The model's clock is the house's: what a story takes is no time, however slow the machine is."""

    dsn = valkey = ""
    scripts = SCRIPTS

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.began = time.time() * 1000
        self.ref = Reference()
        self.order: list[str] = []
        """The holds that there ever were, the oldest first."""
        self.requests: dict[str, tuple[str, str, SeatsAndPlaces]] = {}
        """The key, who asked and for what, by the hold that it made."""
        self.keys = 0
        self.saved: tuple[list[tuple[str, bytes | None]], dict[str, Held], dict[str, int]] | None = None
        """Redis as it was once, and what the reference and the records said then."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if hasattr(self, "house"):
            self.house.book.skew_ms = round(self.began + self.ref.now - time.time() * 1000)
        return self.loop.run_until_complete(work)

    @initialize(orphans=st.sampled_from(["off", "strict", "lenient"]), budget=st.booleans(), addresses=st.booleans())
    def open(self, orphans: str, budget: bool, addresses: bool) -> None:
        self.ref = Reference(
            orphan_rule=orphans,
            expired_holds=EXPIRED_HOLDS if budget else 0,
            address_holds=ADDRESS_HOLDS if addresses else 0,
            address_seats=ADDRESS_SEATS if addresses else 0,
        )

        async def start() -> House:
            pipe = Pipe(self.valkey, self.scripts)
            await pipe.start()
            return House(pipe, await postgres.connect_pool(self.dsn, size_max=1))

        self.house = self.run(start())
        self.run(self.begin())

    async def begin(self, group: str | None = None) -> None:
        """The event, with the rules that the reference has."""
        ref = self.ref
        self.event = await self.house.open_event(
            group=group,
            seats=len(SEATS),
            areas={"pit": PIT},
            max_seats=MAX_SEATS,
            hold_seconds=HOLD_MS // 1000,
            lifetime_seconds=LIFETIME_MS // 1000,
            extensions=EXTENSIONS,
            channels=CHANNELS,
            rehold_seconds=REHOLD_MS // 1000,
            expired_holds=ref.expired_holds,
            cooldown_seconds=COOLDOWN_MS // 1000 if ref.expired_holds else 0,
            address_holds=ref.address_holds,
            address_seats=ref.address_seats,
        )
        await self.house.change_event(self.event, orphan_rule=ref.orphan_rule)
        await self.house.book.restamp(self.event)
        self.staff = StaffHolds(self.house.book)
        self.feed = Feed(self.house.book, tick_ms=50)
        self.shown = Shown(self.house)
        self.best_seats = BestSeats(Acts(None, self.shown), self.feed)  # type: ignore[arg-type]

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.run(self.house.pipe.close())
            self.run(self.house.pool.close())
        self.loop.close()

    # --- Asking and judging

    def target(self, number: int, holder: str = "", *, own: bool = True) -> tuple[str, str]:
        """A hold, the newest first, and who acts on it: its holder, or just anybody."""
        name = self.order[-1 - number % len(self.order)]
        return name, self.ref.holds[name].holder if own else holder

    def areas(self, wish: SeatsAndPlaces) -> list[tuple[str, str, int]]:
        return [("pit", kind, n) for kind, n in wish[1].items()]

    def asked(self, wish: SeatsAndPlaces) -> tuple[list[tuple[int, str]], list[tuple[str, str, int]]]:
        return [(seat, "adult") for seat in wish[0]], self.areas(wish)

    def ask_hold(
        self, holder: str, wish: SeatsAndPlaces, key: str | None = None
    ) -> Coroutine[Any, Any, Changed | Refusal]:
        through, address = THROUGH.get(holder, "web"), ADDRESS[holder]
        return self.house.holds.hold_seats(
            *(self.event, holder, *self.asked(wish)), key=key, through=through, windows=WINDOWS, address=address
        )

    @staticmethod
    def judge(answer: Changed | Undone | Refusal, expected: str | None) -> bool:
        """Whether the act was granted; it is as the reference says."""
        assert (answer.code if isinstance(answer, Refusal) else None) == expected, answer
        return expected is None

    def judge_hold(self, answer: Changed | Refusal, holder: str, wish: SeatsAndPlaces) -> None:
        expected = self.ref.refusal_of_wish(holder, wish)
        if self.judge(answer, expected):
            assert isinstance(answer, Changed)
            self.granted(answer.hold, holder, wish)

    def granted(self, name: str, holder: str, wish: SeatsAndPlaces) -> None:
        """A new hold of a holder."""
        ref = self.ref
        hold = ref.make(name, holder, wish, THROUGH.get(holder, "web"), ref.now + HOLD_MS, ref.now + LIFETIME_MS)
        ref.count_address(holder, name, hold.size)
        self.order.append(name)

    # --- What PostgreSQL knows

    async def write_facts(self) -> None:
        """The durable side of all that was done, as the rooms above the inventory write it before Redis is told."""
        sale, records = await self.house.sale(self.event), await self.house.records(self.event)
        async with self.house.pool.acquire() as connected, connected.transaction():
            await connected.execute(f"SET LOCAL session_replication_role = replica; {self._no_facts}")
            for table, columns in self.facts(sale, records):
                marks = ", ".join(f"${at}" for at in range(1, len(columns) + 2))
                names = ", ".join(("event_id", *columns))
                statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"
                await connected.execute(statement, self.event, *columns.values())

    @property
    def _no_facts(self) -> str:
        tables = [
            "seat_block",
            "area_block",
            "seat_channel",
            "area_channel",
            "staff_hold",
            "booking_seat",
            "booking_area",
            "booking",
        ]
        return "; ".join(f"DELETE FROM {table} WHERE event_id = '{self.event}'" for table in tables)

    def facts(self, sale: Sale, records: Mapping[str, Record]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Tables, and the rows that they have of the event."""
        ref, why = self.ref, {"reason": "r", "staff_id": "s"}
        for seat in ref.blocked:
            yield "seat_block", {"seat_id": seat_id(seat), "kind": "kill" if seat in ref.killed else "house", **why}
        if ref.blocked_places:
            yield "area_block", {"area_id": "pit", "kind": "house", "quantity": ref.blocked_places, **why}
        for seat, channel in ref.channel_of.items():
            yield "seat_channel", {"seat_id": seat_id(seat), "channel": sale.channel(channel)}
        for channel, n in ref.allotted.items():
            if n:
                yield "area_channel", {"area_id": "pit", "channel": sale.channel(channel), "places": n}
        for name, hold in ref.live().items():
            record = records[name]
            if hold.state == "sold" or hold.claimed:
                yield from self._booking(name, hold, record, sale.channel(hold.through))
            elif "-s-" in name:
                yield (
                    "staff_hold",
                    {
                        "hold_id": name,
                        "holder": hold.holder,
                        "customer": "c",
                        "state": "held",
                        **why,
                        "created": to_datetime(record.created_ms),
                        "seat_ids": ids(sorted(hold.seats)),
                        "seat_types": ["adult"] * len(hold.seats),
                        "area_ids": ["pit"] * len(hold.places),
                        "area_types": [*hold.places],
                        "area_quantities": [*hold.places.values()],
                    },
                )

    @staticmethod
    def _booking(name: str, hold: Held, record: Record, channel: int) -> Iterator[tuple[str, dict[str, Any]]]:
        sold, created = hold.state == "sold", to_datetime(record.created_ms)
        yield (
            "booking",
            {
                "id": hold.booking,
                "hold_id": name,
                "holder": hold.holder,
                "epoch": 1,
                "channel": channel,
                "state": "confirmed" if sold else "pending_payment",
                "currency": "EUR",
                "amount": 0,
                "hold_created": created,
                "lifetime_end": to_datetime(record.lifetime_ms),
                "expires_at": created,
                "buyer_name": "A",
                "buyer_email": "a@example.org",
                "prices_version": 1,
            },
        )
        whose = {"booking_id": hold.booking, "state": "sold" if sold else "claimed"}
        for seat in hold.seats:
            yield "booking_seat", {**whose, "seat_id": seat_id(seat), "type": "adult"}
        for kind, n in hold.places.items():
            yield "booking_area", {**whose, "area_id": "pit", "type": kind, "quantity": n}

    # --- What always holds

    @invariant()
    def everything_agrees(self) -> None:
        if not hasattr(self, "house"):
            return
        self.run(self.house.audit(self.event))  # bytes, records, areas, tallies, deadlines, keys, and the log's mirror
        records = self.run(self.house.records(self.event))
        live, ref = {name: record for name, record in records.items() if record.state != "gone"}, self.ref
        assert live.keys() == ref.live().keys()
        for name, hold in ref.live().items():
            record = live[name]
            assert (record.holder, record.state, record.booking) == (hold.holder, hold.state, hold.booking)
            assert {seat for seat, _ in record.seat_types()} == hold.seats
            assert {kind: n for _, kind, n in record.area_types()} == hold.places
            assert record.extensions == hold.extensions
            assert hold.reason in ("", record.reason)
            assert abs(record.lifetime_ms - record.deadline_ms - (hold.lifetime - hold.deadline)) < 2_000
        sale, seq, raw, areas, allotments = self.run(self.house.book.read_inventory(self.event))
        assert [byte >> seatmap.CHANNEL_SHIFT for byte in raw] == [
            sale.channel(ref.channel_of.get(seat, "")) for seat in SEATS
        ]
        room = Room(sale, seq, raw, areas, allotments)
        for view, channel in ((PUBLIC, "web"), ("agency", "agency"), ("box-office", "box-office"), (STAFF, None)):
            counts = room.areas(view)["pit"]
            assert (sum(counts), min(counts) >= 0) == (PIT, True)
            shown = {seat for seat, state in enumerate(room.states(view)) if state == AVAILABLE}
            if channel is None:
                assert (shown, counts) == (ref.free_seats(), areas["pit"])
            else:
                assert shown == ref.free_seats() & ref.sold_by(channel)
                assert counts[0] == ref.free_places(channel)
        states = [byte & seatmap.STATE_MASK for byte in raw]
        assert {seat for seat, state in enumerate(states) if state == seatmap.BYTE_KILL} == ref.killed
        assert {seat for seat, state in enumerate(states) if state == seatmap.BYTE_HOUSE} == ref.blocked - ref.killed
        assert areas["pit"][3] == ref.blocked_places


def ids(found: Sequence[int]) -> list[str]:
    return [*map(seat_id, found)]


assert {seat for seat, kind in enumerate(HALL.plan.kinds) if kind} == POOL | TABLE, "the drawing is the reference's"
