"""A real server for tests: `lml serve` as a process of its own, on real engines, with a hall of 300 seats and a floor.

`live_server` is one server a test process with a fresh event for each test, `shop` one that sells; of `mortal_pair`
workers and Valkey may be killed, for both come back; `own_server` starts one that a test may end, with a Valkey of its
own.
"""

import asyncio
import contextlib
import itertools
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from databases import as_server, clone_database
from waiting import ValkeyFactory, eventually

from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.devstack.servers import Valkey
from lml_live.devstack.stripe.process import StripeDouble
from lml_live.guard.staff import StaffDesk
from lml_live.infra import postgres
from lml_live.infra.mongo import close_database, connect_database
from lml_live.pricing.catalogue import Catalogue
from lml_live.venues.layout import Layout, Row, Seat, Section, Viewport, seal_layout
from lml_live.venues.library import Library
from lml_live.venues.schema import apply_schema

ROWS, SEATS = 12, 25
ADMIN = ("admin@test.localhost", "correct horse battery")
_numbers = itertools.count(1)


def hall_of_300(layout_id: str = "test-hall", rows: int = ROWS, seats: int = SEATS) -> Layout:
    """A rectangular room, `Front` and `Rear` half and half, and a standing floor of 40."""

    def seat(row: int, number: int) -> Seat:
        x, y = 0.05 + 0.9 * (number + 0.5) / seats, 0.2 + 0.75 * (row + 0.5) / rows
        return Seat(number=str(number + 1), seat_id="", x=x, y=y, category="Front" if row < rows // 2 else "Rear")

    seated = Section(
        name="Stalls",
        kind="seated",
        rows=tuple(Row(chr(65 + row), tuple(seat(row, n) for n in range(seats))) for row in range(rows)),
    )
    floor = Section(
        name="Floor",
        kind="standing",
        area_id="floor",
        capacity=40,
        category="Standing",
        outline=((0.2, 0.05), (0.8, 0.05), (0.8, 0.15), (0.2, 0.15)),
    )
    drawn = Layout(
        layout_id=layout_id,
        version=1,
        hash="",
        name="Test Hall",
        type="hybrid",
        viewport=Viewport(1000, 700, "px"),
        sections=(seated, floor),
    )
    return seal_layout(drawn)


class LiveServer:
    """A running server with its engines' addresses."""

    def __init__(self, dsn: str, mongo_url: str, mongo_name: str, redis_url: str, **environ: str) -> None:
        self.dsn, self.mongo_url, self.mongo_name, self.redis_url = dsn, mongo_url, mongo_name, redis_url
        self.environ = environ
        self.data_dir = f"{os.environ['LML_TEST_RUN']}/data-{secrets.token_hex(6)}"
        self.process: subprocess.Popen[str] | None = None
        self.output: list[str] = []
        self.url = ""
        self.event = ""
        """The test's own event: open, 300 seats and a floor of 40 places."""
        self.staff_token = ""

    def start(self) -> None:
        """Starts `lml serve` and waits until it is ready."""
        environ = {
            **os.environ,
            "LML_PORT": "0",
            "LML_POSTGRES_DSN": as_server(self.dsn),
            "LML_POSTGRES_OWNER_DSN": self.dsn,
            "LML_MONGO_URL": self.mongo_url,
            "LML_MONGO_DATABASE": self.mongo_name,
            "LML_REDIS_URL": self.redis_url,
            "LML_CAPS_EXEMPT": "127.0.0.0/8",
            "LML_TRUSTED_PROXIES": "127.0.0.0/8",  # so that a test can come from somewhere
            "LML_SWEEP_MS": "250",
            # The anchors of another database's trail are no business of this one's.
            "LML_DATA_DIR": self.data_dir,
            **self.environ,
        }
        # The run's directory in the command line lets the run end it, whatever happens here.
        self.process = subprocess.Popen(
            [sys.executable, "-X", f"run={os.environ['LML_TEST_RUN']}", "-m", "lml_live.cli", "serve"],
            env=environ,
            cwd=os.environ["LML_TEST_RUN"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self.process, ready), daemon=True).start()
        assert ready.wait(60), "".join(self.output)
        found = re.search(r"page +(http://\S+?)/\s", "".join(self.output))
        assert found is not None, "".join(self.output)
        self.url = found[1]

    def _read(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # closed by `kill`
            for line in process.stdout:
                self.output.append(line)
                if "Ctrl-C" in line:
                    ready.set()
        ready.set()

    def stop(self) -> int:
        """A graceful stop; answers the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait(10)
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    @contextlib.asynccontextmanager
    async def pool(self) -> AsyncIterator[postgres.Pool]:
        """PostgreSQL behind the server."""
        pool = await postgres.connect_pool(self.dsn, size_max=2)
        try:
            yield pool
        finally:
            await pool.close()

    @contextlib.asynccontextmanager
    async def catalogue(self) -> AsyncIterator[Catalogue]:
        """The catalogue behind the server, to change events as the commands do."""
        database = connect_database(self.mongo_url, self.mongo_name)
        try:
            async with self.pool() as pool:
                yield Catalogue(pool, DeployedLayouts(Library(database)))
        finally:
            close_database(database)

    async def deploy(self, layout: Layout) -> None:
        """Takes in a layout, so that events can be made on it."""
        database = connect_database(self.mongo_url, self.mongo_name)
        try:
            library = Library(database)
            await library.save_draft(layout)
            await library.publish(layout.layout_id)
            await library.deploy(layout.layout_id)
        finally:
            close_database(database)

    async def new_event(
        self, *, state: str = "open", group: str | None = None, layout: str = "test-hall", **rules: Any
    ) -> str:
        """A fresh event on the test hall; `rules` are its limits, `starts_at`, `on_sale_at` and `tick_ms` apart."""
        body: dict[str, Any] = {
            "id": f"event-{next(_numbers)}-{secrets.token_hex(4)}",
            "name": "A test event",
            "venue": "Test Hall",
            "starts_at": rules.pop("starts_at", datetime.now(UTC) + timedelta(days=30)).isoformat(),
            "on_sale_at": rules.pop("on_sale_at", datetime.now(UTC) - timedelta(hours=1)).isoformat(),
            "currency": "EUR",
            "layout": {"id": layout},
            "prices": [
                {"category": "Front", "amount": 4500, "fee": 250, "tax_rate": "7.00"},
                {"category": "Rear", "amount": 2500, "fee": 250, "tax_rate": "7.00"},
                {"category": "Standing", "amount": 1500, "fee": 150, "tax_rate": "7.00"},
            ],
            "tick_ms": rules.pop("tick_ms", None),
            "limits": rules,
        }
        if group is not None:
            body["group"] = group
        acts = {"draft": (), "open": ("open",), "paused": ("open", "pause"), "closed": ("open", "close")}[state]
        event: str = body["id"]
        headers = await self.sign_in()
        async with self.session() as http:
            for path, sent in [("", body), *((f"/{event}/{act}", None) for act in acts)]:
                keyed = headers | {"Idempotency-Key": secrets.token_hex(8)}
                async with http.post(f"/api/v1/events{path}", json=sent, headers=keyed) as answer:
                    assert answer.status in (200, 201), await answer.text()
        return event

    async def close_event(self, event: str) -> None:
        """Ends an event's sale."""
        headers = await self.sign_in() | {"Idempotency-Key": secrets.token_hex(8)}
        async with self.session() as http, http.post(f"/api/v1/events/{event}/close", headers=headers) as answer:
            assert answer.status == 200, await answer.text()

    def session(self) -> aiohttp.ClientSession:
        """An HTTP client whose paths begin at `/`."""
        return aiohttp.ClientSession(self.url)

    async def sign_in(self) -> dict[str, str]:
        """The administrator's Authorization header."""
        if not self.staff_token:
            async with (
                self.session() as http,
                http.post("/api/v1/sessions", json={"email": ADMIN[0], "password": ADMIN[1]}) as answer,
            ):
                assert answer.status == 201, await answer.text()
                self.staff_token = (await answer.json())["token"]
        return {"Authorization": f"Bearer {self.staff_token}"}

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        assert self.process is not None
        return sorted(child.pid for child in psutil.Process(self.process.pid).children())


async def furnish(server: LiveServer) -> None:
    """The hall, deployed, and the administrator."""
    database = connect_database(server.mongo_url, server.mongo_name)
    try:
        await apply_schema(database)
    finally:
        close_database(database)
    await server.deploy(hall_of_300())
    async with server.pool() as pool:
        await StaffDesk(pool).ensure_admin(*ADMIN)


def _apart(work: Awaitable[Any]) -> Any:
    """Runs in a thread of its own, since a loop may be running in ours."""

    async def run() -> Any:
        return await work

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(run())).result()


@contextlib.contextmanager
def open_house(postgres_server: str, mongo_url: str, valkey_url: str, **environ: str) -> Iterator[LiveServer]:
    """A furnished server with a database of its own on the run's engines, for as long as the block lasts."""
    dsn = _apart(clone_database(postgres_server))
    server = LiveServer(dsn, mongo_url, f"test_{secrets.token_hex(6)}", valkey_url, **environ)
    _apart(furnish(server))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def shared_server(postgres_server: str, mongo_url: str, valkey_url: str) -> Iterator[LiveServer]:
    """One server for all tests of this process; most tests want `live_server`."""
    dsn = _apart(clone_database(postgres_server))
    server = LiveServer(dsn, mongo_url, f"test_{secrets.token_hex(6)}", valkey_url, LML_MAILBOX="1")
    _apart(furnish(server))
    server.start()
    yield server
    server.kill()


def paid_through(double: StripeDouble) -> dict[str, str]:
    """The settings of a server that sells through the double, at a pace that keeps no test waiting."""
    return {
        "LML_STRIPE_API_KEY": double.secret_key,
        "LML_STRIPE_PUBLISHABLE_KEY": double.publishable_key,
        "LML_STRIPE_WEBHOOK_SECRET": double.webhook_secret,
        "LML_STRIPE_API_BASE": double.url,
        "LML_STRIPE_CALLS": "1000",
        "LML_STRIPE_ENDPOINT_CALLS": "500",
    }


@pytest.fixture(scope="session")
def shop(postgres_server: str, mongo_url: str, valkey_url: str, stripe_shared: StripeDouble) -> Iterator[LiveServer]:
    """A server that sells, through the Stripe double; the tests of this process share it."""
    with open_house(
        postgres_server,
        mongo_url,
        valkey_url,
        **paid_through(stripe_shared),
        LML_PAYMENT_METHODS="card,ideal,sepa_debit",
        LML_POLL_SECONDS="1",
    ) as server:
        yield server


@pytest.fixture(scope="session")
def shared_pair(postgres_server: str, mongo_url: str, valkey_url: str) -> Iterator[LiveServer]:
    """The same with two workers."""
    server = LiveServer(
        _apart(clone_database(postgres_server)),
        mongo_url,
        f"test_{secrets.token_hex(6)}",
        valkey_url,
        LML_WORKERS="2",
    )
    _apart(furnish(server))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def live_pair(shared_pair: LiveServer) -> LiveServer:
    """A server of two workers with a fresh open event of its own, for tests that end no process."""
    shared_pair.event = await shared_pair.new_event()
    return shared_pair


@pytest.fixture
async def live_server(shared_server: LiveServer) -> LiveServer:
    """The shared server with a fresh open event of its own: `.url`, `.event`, `.new_event()`, `.sign_in()`."""
    shared_server.event = await shared_server.new_event()
    return shared_server


@pytest.fixture(scope="session")
def _mortals(postgres_server: str, mongo_url: str) -> Iterator[tuple[LiveServer, Valkey]]:
    valkey = Valkey(Path(os.environ["LML_TEST_RUN"]) / f"valkey-{secrets.token_hex(6)}", options={"appendonly": "yes"})
    _apart(valkey.start())
    with open_house(postgres_server, mongo_url, valkey.url, LML_WORKERS="2") as server:
        yield server, valkey
    _apart(valkey.kill())


@pytest.fixture
async def mortal_pair(_mortals: tuple[LiveServer, Valkey]) -> AsyncIterator[tuple[LiveServer, Valkey]]:
    """A server of two workers with a fresh open event, and its Valkey, which has nothing else: tests may kill a worker,
    and kill, empty or cut Valkey, which must be running again when they end. Each process starts it once."""
    server, valkey = _mortals
    server.event = await server.new_event()
    yield server, valkey

    async def as_before() -> bool:
        async with server.session() as http, http.get("/readyz") as answer:
            return answer.status == 200 and len(server.workers()) == 2

    await eventually(as_before, 30)


OwnServer = Callable[..., Awaitable[tuple[LiveServer, Valkey]]]


@pytest.fixture
async def own_server(postgres_dsn: str, mongo_url: str, valkey_own: ValkeyFactory) -> AsyncIterator[OwnServer]:
    """`await own_server(workers=2, **environ)`: a server and a Valkey that this test may kill."""
    made: list[LiveServer] = []

    async def start(*, workers: int = 1, appendonly: str = "yes", **environ: str) -> tuple[LiveServer, Valkey]:
        valkey = await valkey_own(appendonly=appendonly)
        server = LiveServer(
            postgres_dsn,
            mongo_url,
            f"test_{secrets.token_hex(6)}",
            valkey.url,
            LML_WORKERS=str(workers),
            **environ,
        )
        made.append(server)
        await furnish(server)
        await asyncio.to_thread(server.start)
        server.event = await server.new_event()
        return server, valkey

    yield start
    for server in made:
        await asyncio.to_thread(server.kill)
