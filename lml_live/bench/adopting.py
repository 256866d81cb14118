"""The row about *adopt*: how long an event is away when Redis was lost, and what bringing it back costs."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from lml_live.bench import bounds
from lml_live.bench.counters import cpu_ns
from lml_live.bench.figures import Figure, Goal, Slices, measured
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import MAX_SEATS, SECRET, Stand, granted
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.inventory.book import Book
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import Sale
from lml_live.pricing.catalogue import Catalogue, LayoutFacts
from lml_live.pricing.events import AreaFacts, LayoutChoice, NewEvent, SaleLimits
from lml_live.pricing.quote import Price

_SEATS: Final = 100_000
_HOLDS: Final = 20_000
_TURNS: Final = 4


class _Hall(Struct, frozen=True):
    """A layout's facts without its drawing. (`LayoutFacts` of the catalogue.)"""

    layout_id: str
    version: int
    hash: str
    seat_count: int
    categories: tuple[str, ...]
    index_of: dict[str, int]
    seat_ids: tuple[str, ...]
    areas: tuple[AreaFacts, ...]


class OneHall:
    """The only layout there is. (`Layouts` of the catalogue.)"""

    def __init__(self, seats: int) -> None:
        ids = tuple(f"{index:064x}" for index in range(seats))
        self.index_of = {seat_id: index for index, seat_id in enumerate(ids)}
        self._hall = _Hall("hall", 1, "0" * 64, seats, ("Seat",) * seats, self.index_of, ids, ())

    async def deployed_index(self, layout_id: str, version: int | None) -> LayoutFacts | None:
        return self._hall

    async def index(self, layout_id: str, version: int, layout_hash: str) -> LayoutFacts:
        return self._hall

    async def directory(self, sale: Sale) -> Mapping[str, int]:
        """As wiring hands it to the book."""
        return self.index_of


async def _measure_adopt(stand: Stand) -> list[Figure]:
    valkey = await stand.lone_valkey()
    database = await stand.postgres()
    await postgres.migrate(database.url)
    pool = await postgres.connect_pool(database.url, application_name="lml bench", size_max=4)
    try:
        hall = OneHall(_SEATS)
        book = Book(valkey.pipe, pool, hall.directory)
        event = await open_event(Catalogue(pool, hall))
        await book.recover(event, wait=True)
        stand.say(f"  {_HOLDS:,} holds")
        await _fill(Holds(book, SECRET), event)
        walls: list[float] = []
        valkey_seconds: list[float] = []
        worker_seconds: list[float] = []
        for _ in range(_TURNS):
            store, own, began = cpu_ns(valkey.pids), time.process_time(), time.perf_counter()
            with contextlib.suppress(Unavailable):  # which is what everybody hears until it is done
                await book.distrust(event)
            await book.recover(event, wait=True)
            walls.append(time.perf_counter() - began)
            worker_seconds.append(time.process_time() - own)
            await asyncio.sleep(0.05)
            valkey_seconds.append((cpu_ns(valkey.pids) - store) / 1e9)
        await book.close()
        await Catalogue(pool, hall).set_state(event, "close")
    finally:
        await pool.close()
    return [
        measured(
            _ADOPT,
            "s",
            Slices(tuple(walls[1:])),
            workload=f"wall time from the loss of the book to its return; {_SEATS:,} seats, {_HOLDS:,} holds",
            peers={
                "worker CPU": Slices(tuple(worker_seconds[1:])),
                "Valkey CPU": Slices(tuple(valkey_seconds[1:])),
            },
            goal=ADOPT.goal(_ADOPT),
            flags={"appendonly": "yes", "appendfsync": "everysec"},
        )
    ]


async def open_event(catalogue: Catalogue) -> str:
    """A fresh event on sale; answers its id."""
    event = await catalogue.create_event(
        NewEvent(
            id=f"bench-{secrets.token_hex(6)}",
            name="A benchmark",
            venue="Hall",
            starts_at=datetime.now(UTC) + timedelta(days=30),
            currency="EUR",
            layout=LayoutChoice("hall", 1),
            prices=(Price(category="Seat", amount=4_500, fee=250, tax_rate="7.00"),),
            limits=SaleLimits(max_seats=MAX_SEATS, hold_seconds=600, extensions=2, lifetime_seconds=1_800),
        )
    )
    await catalogue.set_state(event.id, "open")
    return event.id


async def _fill(holds: Holds, event: str) -> None:
    """Two seats of every five are held."""
    for start in range(0, _HOLDS, bounds.IN_FLIGHT):
        batch = range(start, min(_HOLDS, start + bounds.IN_FLIGHT))
        wishes = {number: [(number * 5, "adult"), (number * 5 + 1, "adult")] for number in batch}
        answers = await asyncio.gather(
            *(holds.hold_seats(event, f"holder-{n}", seats, (), key=f"k{n}") for n, seats in wishes.items())
        )
        for answer in answers:
            granted(answer)


_ADOPT: Final = "adopt"
ADOPT: Final = Row(
    "adopt",
    "an event of 100,000 seats with 20,000 holds is brought back after its book was lost",
    (Promise(_ADOPT, "s", Goal("value", "most", 2)),),
    _measure_adopt,
)
