"""What the rows are measured on: embedded engines and books in them, started when a row first asks, all in one place.

Everything is in a temporary directory and on the loopback; the stand's end stops it all.
"""

import asyncio
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from msgspec import Struct, structs

from lml_live import limits
from lml_live.bench import bounds
from lml_live.bench.figures import Slices
from lml_live.devstack.servers import Mongo, Postgres, Valkey
from lml_live.errors import LmlError, Unavailable
from lml_live.infra.redis import Part, Pipe, load_scripts
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.book import Book
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import WEB, Sale, SalesChannel, pack, write_areas
from lml_live.inventory.together import Together
from lml_live.inventory.wakes import Wakes

SECRET: Final = b"the benchmark's own secret ......"
EPOCH: Final = 1
AOF: Final = {"appendonly": "yes", "appendfsync": "everysec", "in_flight": bounds.IN_FLIGHT}
"""How the Valkey of the rows about holds is set up and asked."""
OPEN_SINCE_MS: Final = 1_000
MAX_SEATS: Final = 8
ADDRESS_HOLDS: Final = 100
ADDRESS_SEATS: Final = 500
"""As an event has them that says nothing else (pricing.events.SaleLimits)."""

Side = Callable[[], Awaitable[float]]
"""Measures one slice of one side; answers the figure of that slice."""


class Stand:
    """The temporary place of one run. `seconds` is for how long each side of a row is measured."""

    def __init__(self, directory: Path, stack: AsyncExitStack, seconds: float, say: Callable[[str], None]) -> None:
        self.directory = directory
        self.stack = stack
        self.seconds = seconds
        self.say = say
        self.engines: dict[str, str] = {}
        """Versions of the engines that were started, for the report."""
        self._directories = 0
        self._valkey: LoneValkey | None = None
        self._postgres: Postgres | None = None
        self._durable: Postgres | None = None
        self._mongo: Mongo | None = None

    async def lone_valkey(self) -> "LoneValkey":
        """A Valkey that nothing else uses, as shipped: with its append-only file."""
        if self._valkey is None:
            engine = Valkey(self.directory / "valkey")
            self.stack.push_async_callback(engine.stop)
            await engine.start()
            pipe = Pipe(engine.url, load_scripts(), name="lml-bench")
            await pipe.start()
            self.stack.push_async_callback(pipe.close)
            info: bytes = await pipe.call("INFO", "server")
            version = next((line for line in info.decode().splitlines() if line.startswith("valkey_version:")), "")
            self.engines["Valkey"] = version.partition(":")[2]
            self._valkey = LoneValkey(engine, pipe)
        return self._valkey

    async def postgres(self) -> Postgres:
        """A PostgreSQL for events. Not measured: it writes without waiting for the disk."""
        if self._postgres is None:
            engine = Postgres(self.directory / "postgres", options={"fsync": "off"})
            self.stack.push_async_callback(engine.stop)
            await engine.start()
            self._postgres = engine
        return self._postgres

    async def durable_postgres(self) -> Postgres:
        """A PostgreSQL that nothing else uses, as shipped: what it has committed is on the disk."""
        if self._durable is None:
            engine = Postgres(self.directory / "durable")
            self.stack.push_async_callback(engine.stop)
            await engine.start()
            self._durable = engine
        return self._durable

    async def mongo(self) -> Mongo:
        """A MongoDB for layouts. Not measured."""
        if self._mongo is None:
            engine = Mongo(self.directory / "mongo")
            self.stack.push_async_callback(engine.stop)
            await engine.start()
            self._mongo = engine
        return self._mongo

    def fresh_directory(self, name: str) -> Path:
        """A directory that no earlier row has used."""
        self._directories += 1
        return self.directory / f"{name}-{self._directories}"

    async def alternate(self, sides: Mapping[str, Side], *, pause: float = 0.0) -> dict[str, Slices]:
        """Measures the sides by turns until each has had `seconds` in all; the first turn only warms up.

        `pause` is waited after each turn. Bounded by `bounds.TURNS_MIN` and `TURNS_MAX`.
        """
        loop = asyncio.get_running_loop()
        taken: dict[str, list[float]] = {name: [] for name in sides}
        names = list(sides)
        for side in sides.values():
            await side()
        began = loop.time()
        for turn in range(bounds.TURNS_MAX):
            if turn >= bounds.TURNS_MIN and loop.time() - began >= self.seconds * len(sides):
                break
            for name in names:
                taken[name].append(await sides[name]())
                await asyncio.sleep(pause)
            names.append(names.pop(0))  # What one side leaves warm, or dirty, does not always meet the same next one.
        return {name: Slices(tuple(values)) for name, values in taken.items()}


@asynccontextmanager
async def open_stand(seconds: float, say: Callable[[str], None]) -> AsyncIterator[Stand]:
    """A stand, for as long as the block lasts. Raises `Unavailable` from whatever cannot be started."""
    directory = _scratch()
    try:
        async with AsyncExitStack() as stack:
            yield Stand(directory, stack, seconds, say)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _scratch() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="lml-bench-"))
    directory.chmod(0o711)  # As root PostgreSQL runs as somebody else, who must get in.
    return directory


# --- Books that only Redis knows


class LoneValkey(Struct, frozen=True):
    """A Valkey and our pipe to it."""

    engine: Valkey
    pipe: Pipe

    @property
    def pids(self) -> tuple[int, ...]:
        """The process to be measured. Raises `Unavailable` where it has died."""
        if self.engine.pid is None:
            raise Unavailable("Valkey has ended in the middle of the measurement")
        return (self.engine.pid,)

    async def event(self, name: str, seats: bytes, areas: Mapping[str, int] | None = None) -> "LoneEvent":
        """A fresh event with these inventory bytes and area capacities; one of the same name is gone."""
        sale = Sale(
            event=name,
            number=1,
            group=name,
            state="open",
            on_sale_at_ms=OPEN_SINCE_MS,
            max_seats=MAX_SEATS,
            hold_seconds=300,
            extensions=2,
            lifetime_seconds=900,
            tick_ms=None,
            revision=1,
            prices_version=1,
            epoch=EPOCH,
            run_id=self.pipe.run_id,
            layout_id="hall",
            layout_version=1,
            layout_hash="0" * 64,
            seat_count=len(seats),
            areas=dict(areas or {}),
            address_holds=ADDRESS_HOLDS,
            address_seats=ADDRESS_SEATS,
        )
        book, fresh_book, fresh_deadlines = sale.key("book"), sale.key("new_book"), sale.key("new_deadlines")
        await self.pipe.call("DEL", book)
        await _expect(self.pipe.run("adopt_begin", [book, fresh_book, fresh_deadlines], [EPOCH]), b"begun")
        names = ("seats", "book", "deadlines", "areas", "log", "new_book", "new_deadlines")
        counts = pack(write_areas({area: (capacity, 0, 0, 0) for area, capacity in sale.areas.items()}, {}))
        args: list[Part] = [EPOCH, sale.revision, seats, counts]
        await _expect(self.pipe.run("adopt_finish", [sale.key(name) for name in names], args), b"adopted")
        return LoneEvent(self.pipe, sale)


async def _expect(answer: Awaitable[list[Any]], word: bytes) -> None:
    found = await answer
    if found[0] != word:
        raise Unavailable(f"the benchmark's event could not be made: Valkey answered {found[0]!r}")


class LoneEvent:
    """An event that PostgreSQL has never heard of: Redis alone is measured."""

    def __init__(self, pipe: Pipe, sale: Sale, *, together: bool = False) -> None:
        self.pipe = pipe
        self.sale = sale
        self.book = _LoneBook(pipe, sale, together=together)
        self.holds = Holds(self.book, SECRET)

    def waiting_together(self) -> "LoneEvent":
        """The same event, whose acts go as a server's do: as many in one call as wait for it."""
        return LoneEvent(self.pipe, self.sale, together=True)

    def under(self, orphan_rule: str) -> "LoneEvent":
        """The same event, as if its sale had this orphan rule."""
        return LoneEvent(self.pipe, structs.replace(self.sale, orphan_rule=orphan_rule))

    def of_channel(self, number: int) -> "LoneEvent":
        """The same event, as if its public bought through a sales channel with seats of its own."""
        return LoneEvent(self.pipe, structs.replace(self.sale, channels={WEB: SalesChannel(number)}))

    def through(self, pipe: Pipe) -> "LoneEvent":
        """The same event through another pipe, whose scripts may be others."""
        return LoneEvent(pipe, self.sale)

    async def hold(
        self, seats: Sequence[int], *, number: int, keyed: bool = True, counted: bool = True, area: str | None = None
    ) -> Changed:
        """A hold of these seats by a holder of its own, from an address of its own, which is `counted` as shipped; and
        of one place of an area where one is named.

        Raises `Unavailable` where it is refused: nothing may be.
        """
        wishes = [(seat, "adult") for seat in seats]
        key = f"key-{number}" if keyed else None
        return granted(
            await self.holds.hold_seats(
                *(self.sale.event, f"holder-{number}", wishes, [(area, "adult", 1)] if area else ()),
                key=key,
                origin="bench:1:1",
                windows=_row_of_twenty,
                address=f"{number:016x}" if counted else "",
            )
        )

    async def release(self, hold: str, *, number: int) -> Changed:
        """Gives a hold back. Raises as `hold` does."""
        return granted(await self.holds.release_hold(self.sale.event, f"holder-{number}", hold, origin="bench:1:2"))


def _row_of_twenty(seats: Iterable[int], _rule: str) -> list[list[int]]:
    """What an orphan rule looks at, as if each row had twenty seats."""
    return [list(range(row * 20, row * 20 + 20)) for row in sorted({seat // 20 for seat in seats})]


def granted(answer: Changed | Refusal) -> Changed:
    """The answer of an act that nothing stood in the way of. Raises `Unavailable` for a refusal."""
    if isinstance(answer, Refusal):
        raise Unavailable(f"the benchmark was refused: {answer.code} ({answer.message})")
    return answer


class _LoneBook(Book):
    """A book that knows one sale by heart. Without `together` it makes one script call for each act, whatever waits."""

    def __init__(self, pipe: Pipe, sale: Sale, *, together: bool) -> None:
        async def no_seats(_: Sale) -> Mapping[str, int]:
            return {}

        super().__init__(pipe, cast(Any, None), no_seats)  # PostgreSQL is asked for sales alone, and this one is known.
        self._only = sale
        if not together:
            self.together = Together(pipe, Wakes(pipe), at_once=1, calls_max=limits.REDIS_CALLS_MAX)

    async def sale(self, event: str) -> Sale:
        return self._only

    def ready(self, event: str) -> Sale:
        return self._only

    async def disagreed(self, event: str, sale: Sale, answer: Any, *, wait: bool = False) -> bool:
        if answer[0] in (b"no_book", b"other_stamp"):
            raise Unavailable(f"the benchmark's event is gone: {answer[0].decode()}")
        return False


def taken_seats(count: int, share: float) -> bytes:
    """Inventory bytes of which `share` are held or sold, half and half, at random but the same in every run."""
    chance = random.Random(count)  # noqa: S311 - no secret: a seat map
    return bytes(chance.choice((1, 2)) if chance.random() < share else 0 for _ in range(count))


def reason_of(error: BaseException) -> str:
    """An error as the reason beside a figure, in one line."""
    text = error.message if isinstance(error, LmlError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[: bounds.REASON_CHARS_MAX]
