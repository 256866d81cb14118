"""A whole server on engines of its own: `lml serve` as shipped, mostly with one worker, and halls to sell."""

import asyncio
import contextlib
import random
import re
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psutil

import lml_live
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.bench import bounds
from lml_live.bench.child import environment
from lml_live.bench.counters import python
from lml_live.bench.stand import MAX_SEATS, Stand
from lml_live.devstack.child import LOOPBACK
from lml_live.devstack.servers import Valkey
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.infra.assets import asset_dir
from lml_live.infra.mongo import close_database, connect_database
from lml_live.pricing.blocks import Blocks
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import LayoutChoice, NewEvent, SaleLimits
from lml_live.pricing.quote import Price
from lml_live.venues.layout import Layout, Row, Seat, Section, Viewport, seal_layout
from lml_live.venues.library import Library
from lml_live.venues.schema import apply_schema
from lml_live.venues.stored import LayoutVersion

ROW_SEATS: Final = 100
_DATABASE: Final = "bench"
FLAGS: Final = {
    "workers": 1,
    "tick_ms": 50,
    "caps_exempt": "127.0.0.0/8",
    "appendonly": "yes",
    "appendfsync": "everysec",
}


class House:
    """A running server, its worker's and its Valkey's process, and events on demand."""

    def __init__(self, port: int, server: int, valkey: Valkey, pool: postgres.Pool, library: Library) -> None:
        self.port = port
        self._server = server
        self.valkey = valkey
        self._library = library
        self._layouts = DeployedLayouts(library)
        self._catalogue = Catalogue(pool, self._layouts)
        self._blocks = Blocks(pool)
        self._opened: list[str] = []

    @property
    def cpu_of(self) -> dict[str, tuple[int, ...]]:
        """The processes whose CPU a hold takes. Raises `Unavailable` where one has died."""
        return {"worker": self.workers, "valkey": (self._pid_of_valkey(),)}

    @property
    def workers(self) -> tuple[int, ...]:
        """The worker's process id. Raises `Unavailable` where it has died."""
        try:
            found = tuple(child.pid for child in psutil.Process(self._server).children())
        except psutil.Error as error:
            raise Unavailable("the server has ended in the middle of the measurement") from error
        if not found:
            raise Unavailable("the worker has ended in the middle of the measurement")
        return found

    def _pid_of_valkey(self) -> int:
        if self.valkey.pid is None:
            raise Unavailable("Valkey has ended in the middle of the measurement")
        return self.valkey.pid

    async def open_event(self, seats: int, *, blocked: float = 0.0, tick_ms: int | None = None) -> str:
        """A fresh event on sale, on a hall of so many seats. The halls are made once each.

        `blocked` is the share of seats, at random but the same in every run, that are off sale from the beginning.
        `tick_ms` is the server's own where none is given.
        """
        layout_id = f"hall-{seats}"
        await self._deployed(layout_id, seats)
        event = await self._catalogue.create_event(
            NewEvent(
                id=f"bench-{secrets.token_hex(6)}",
                name="A benchmark",
                venue="Hall",
                starts_at=datetime.now(UTC) + timedelta(days=30),
                currency="EUR",
                layout=LayoutChoice(layout_id, None),
                tick_ms=tick_ms,
                prices=(Price(category="Seat", amount=4_500, fee=250, tax_rate="7.00"),),
                limits=SaleLimits(max_seats=MAX_SEATS, hold_seconds=600, extensions=2, lifetime_seconds=1_800),
            )
        )
        if blocked:
            index = await self._layouts.index(layout_id, 1)
            chance = random.Random(seats)  # noqa: S311 - no secret: a seat map
            chosen = [seat_id for seat_id in index.seat_ids if chance.random() < blocked]
            await self._blocks.block_seats(event.id, chosen, "house", "a benchmark", "bench")
        await self._catalogue.set_state(event.id, "open")
        self._opened.append(event.id)
        return event.id

    async def deploy_layout(self, seats: int) -> tuple[str, str, bytes]:
        """A deployed layout of so many seats: its id, its hash and its canonical bytes."""
        version = await self._deployed(f"hall-{seats}", seats)
        data = await self._library.load_bytes(version.layout_id, version.hash)
        assert data is not None
        return version.layout_id, version.hash, data

    async def _deployed(self, layout_id: str, seats: int) -> LayoutVersion:
        known = await self._library.status(layout_id)
        if known:
            return known[-1]
        await self._library.save_draft(await asyncio.to_thread(draw_hall, layout_id, seats))
        await self._library.publish(layout_id)
        return await self._library.deploy(layout_id)

    async def close_events(self) -> None:
        """Ends the sales: the next row's server would restore and sweep them."""
        while self._opened:
            await self._catalogue.set_state(self._opened.pop(), "close")


def draw_hall(layout_id: str, seats: int) -> Layout:
    """A rectangle of rows of `ROW_SEATS` seats, the last one maybe shorter."""
    row_count = -(-seats // ROW_SEATS)
    rows = tuple(
        Row(
            f"R{row + 1}",
            tuple(
                Seat(str(n + 1), 0.05 + 0.9 * (n + 0.5) / ROW_SEATS, 0.05 + 0.9 * (row + 0.5) / row_count, "Seat")
                for n in range(min(ROW_SEATS, seats - row * ROW_SEATS))
            ),
        )
        for row in range(row_count)
    )
    section = Section(name="Stalls", kind="seated", rows=rows)
    return seal_layout(Layout(layout_id, "Hall", "seated", Viewport(10_000, 20 * row_count, "px"), (section,)))


class NoHelper(Unavailable):
    """Nothing can be compiled here."""


async def run_compiler(*arguments: str) -> None:
    """Runs the C compiler. Raises `NoHelper` where there is none, or where it fails."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise NoHelper("there is no C compiler here")
    process = await asyncio.create_subprocess_exec(
        *(compiler, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise NoHelper(f"the compiler failed: {said[-100:].decode(errors='replace')}")


async def _copy_package(directory: Path, *, helper: bool) -> Path:
    """Our package as an installation with the compiled helper, or without it, would have it; answers where it is."""
    package = Path(lml_live.__file__).parent
    copy = directory / package.name
    await asyncio.to_thread(
        shutil.copytree, package, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__", "_assets")
    )
    for name in ("lua", "sql"):
        await asyncio.to_thread(shutil.copytree, asset_dir(name), directory / name)
    if helper:
        source = copy / "gateway" / "send_frame.c"
        await run_compiler("-O2", "-fPIC", "-shared", "-o", str(source.with_suffix(".so")), str(source))
    return directory


@asynccontextmanager
async def open_house(
    stand: Stand, *, helper: bool | None = None, beside: House | None = None, workers: int = 1
) -> AsyncIterator[House]:
    """A server for as long as the block lasts, on the stand's engines. Raises `Unavailable` where it does not start.

    `helper` says whether it has the compiled helper of the fan-out; None for what is installed. Raises `NoHelper`.
    `beside` names a house that is open: both are one, with one Valkey. Two with one each would take every event from
    each other, for there is one PostgreSQL, which says whose an epoch is.
    """
    home_of_code = None if helper is None else await _copy_package(stand.fresh_directory("code"), helper=helper)
    valkey = beside.valkey if beside else Valkey(stand.fresh_directory("valkey"))
    async with contextlib.AsyncExitStack() as stack:
        database_server, mongo = await asyncio.gather(stand.postgres(), stand.mongo())
        if beside is None:
            stack.push_async_callback(valkey.stop)
            await valkey.start()
        await postgres.migrate(database_server.url)
        pool = await postgres.connect_pool(database_server.url, application_name="lml bench", size_max=2)
        stack.push_async_callback(pool.close)
        database = connect_database(mongo.url, _DATABASE)
        stack.callback(close_database, database)
        await apply_schema(database)
        settings = {
            "LML_HOST": LOOPBACK,
            "LML_PORT": "0",
            "LML_WORKERS": str(workers),
            "LML_POSTGRES_DSN": database_server.server_url,
            "LML_POSTGRES_OWNER_DSN": database_server.url,
            "LML_MONGO_URL": mongo.url,
            "LML_MONGO_DATABASE": _DATABASE,
            "LML_REDIS_URL": valkey.url,
            "LML_DATA_DIR": str(stand.fresh_directory("house")),
            "LML_CAPS_EXEMPT": "127.0.0.0/8",
            "LML_LOG_LEVEL": "error",
        }
        # The directory in the command line says in a list of processes whose server this is.
        server = await asyncio.create_subprocess_exec(
            *(python(), "-X", f"bench={stand.directory}", "-m", "lml_live.cli", "serve"),
            cwd=home_of_code,
            env=environment(settings) | ({"PYTHONPATH": str(home_of_code)} if home_of_code else {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        stack.push_async_callback(_stop, server)
        port = await _ready(server)
        reading = asyncio.create_task(_read_on(server))
        stack.callback(reading.cancel)
        library = Library(database)
        home = House(port, server.pid, valkey, pool, library)
        stack.push_async_callback(home.close_events)
        yield home


async def _ready(server: asyncio.subprocess.Process) -> int:
    """The port, once the server says that it is ready. Raises `Unavailable` with its words where it never does."""
    assert server.stdout is not None
    said = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(bounds.HOUSE_START_SECONDS):
            while line := await server.stdout.readline():
                said += line
                if b"Ctrl-C" in line:
                    break
    found = re.search(rb"page +http://[^\s/]*:(\d+)/\s", said)
    if found is None:
        raise Unavailable(f"the server did not start: {said.decode(errors='replace')}")
    return int(found[1])


async def _read_on(server: asyncio.subprocess.Process) -> None:
    """Reads what the server says, so that it never waits for us."""
    assert server.stdout is not None
    while await server.stdout.read(65_536):
        pass


async def _stop(server: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        server.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(bounds.HOUSE_STOP_SECONDS):
            await server.wait()
    except TimeoutError:
        # Its workers notice that it is gone, and end.
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        await server.wait()
