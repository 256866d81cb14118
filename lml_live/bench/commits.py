"""The row about bookings: how many are committed a second, and what each costs, beside PostgreSQL's own `pgbench`.

Both run the same statements on one PostgreSQL whose commits are on the disk; `pgbench` one transaction a booking.
"""

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from lml_live import limits
from lml_live.bench import bounds
from lml_live.bench.adopting import OneHall, open_event
from lml_live.bench.child import environment
from lml_live.bench.counters import cpu_with_ended_ns
from lml_live.bench.figures import Figure, Goal, Slices, measured, percentile
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import Side, Stand
from lml_live.booking.bookings import Bookings
from lml_live.booking.claims import Claimed, Line, NewBooking
from lml_live.devstack import binaries
from lml_live.devstack.servers import Postgres
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.inventory.answers import Changed
from lml_live.inventory.records import Record
from lml_live.pricing.catalogue import Catalogue

_SQL: Final = postgres.statements("booking")

_ROUNDS: Final = 40
"""Bookings of each caller in one slice: 2,560 in all."""
_PGBENCH_ROUNDS: Final = {16: 256, 64: 64}
"""Transactions of each client of `pgbench` in one slice, by the number of clients: 4,096 in all, so that what its fresh
connections must learn first weighs little."""
_EPOCH: Final = 0
"""Of an event that no inventory was ever built for: Redis is none of this row's business."""
_NOW_MS: Final = 1_800_000_000_000


class _Slice(Struct, frozen=True):
    """What one slice of one side came to."""

    bookings: int
    seconds: float
    postgres_us: float
    """CPU of all of PostgreSQL, for each booking."""
    worker_us: float = 0.0
    latencies_ms: tuple[float, ...] = ()

    @property
    def per_second(self) -> float:
        return self.bookings / self.seconds


class _Commits:
    """An event in a PostgreSQL, and claims of it by us and by `pgbench`."""

    def __init__(self, engine: Postgres, bookings: Bookings, event: str, directory: Path) -> None:
        self._engine = engine
        self._bookings = bookings
        self._event = event
        self._directory = directory
        self._numbers = itertools.count(1)
        self._taken = f"{0:064x}"

    async def begin(self) -> None:
        """Sells the seat that those who are to be refused will want."""
        if not isinstance(await self._bookings.claim(self._new(self._taken)), Claimed):
            raise Unavailable("the benchmark's first booking was refused")

    async def ours(self, *, refused: bool) -> _Slice:
        """Claims with so many in flight; with `refused`, one in each `IN_FLIGHT` of them is of a taken seat."""
        callers: list[list[NewBooking]] = [
            [self._new(self._taken if refused and not caller else None) for _ in range(_ROUNDS)]
            for caller in range(bounds.IN_FLIGHT)
        ]
        latencies: list[float] = []
        claimed = 0

        async def call(news: Sequence[NewBooking]) -> None:
            nonlocal claimed
            for new in news:
                since = time.perf_counter()
                outcome = await self._bookings.claim(new)
                latencies.append((time.perf_counter() - since) * 1e3)
                claimed += isinstance(outcome, Claimed)

        store, own, began = self._cpu_ns(), time.process_time(), time.perf_counter()
        await asyncio.gather(*map(call, callers))
        seconds, worker = time.perf_counter() - began, time.process_time() - own
        expected = (bounds.IN_FLIGHT - refused) * _ROUNDS
        if claimed != expected:
            raise Unavailable(f"the benchmark claimed {claimed} bookings instead of {expected}")
        spent = self._cpu_ns() - store
        return _Slice(claimed, seconds, spent / claimed / 1e3, worker / claimed * 1e6, tuple(latencies))

    async def pgbench(self, clients: int) -> _Slice:
        """The same claims by so many clients of `pgbench`. Raises `Unavailable` with its words where it fails."""
        self._directory.mkdir(exist_ok=True)
        script = self._directory / "claim.sql"
        script.write_text(_script(), encoding="utf-8")
        rounds = _PGBENCH_ROUNDS[clients]
        store = self._cpu_ns()
        process = await asyncio.create_subprocess_exec(
            *(str(binaries.pgbench()), "--no-vacuum", "--protocol=prepared", f"--file={script}"),
            *(f"--client={clients}", "--jobs=2", f"--transactions={rounds}"),
            *(f"--define=event={self._event}", f"--define=stamp={secrets.token_hex(6)}", "--define=n=0"),
            self._engine.url,
            env=environment({}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(bounds.CHILD_ANSWER_SECONDS):
                said, failed = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        rate = re.search(rb"^tps = ([0-9.]+) \(without initial", said, re.MULTILINE)
        if process.returncode != 0 or rate is None:
            raise Unavailable(f"pgbench failed: {failed[-200:].decode(errors='replace')}")
        done = clients * rounds
        return _Slice(done, done / float(rate[1]), (self._cpu_ns() - store) / done / 1e3)

    def _cpu_ns(self) -> int:
        if self._engine.pid is None:
            raise Unavailable("PostgreSQL has ended in the middle of the measurement")
        return cpu_with_ended_ns(self._engine.pid)

    def _new(self, seat: str | None = None) -> NewBooking:
        number = next(self._numbers)
        record = Record("", "checkout", 2, "", (), (), "own", (), 0, _NOW_MS, _NOW_MS, _NOW_MS, 1)
        seats = (seat or f"{2 * number:064x}", f"{2 * number + 1:064x}")
        return NewBooking(
            id=f"b-{secrets.token_hex(12)}",
            event=self._event,
            holder=f"holder-{number}",
            mark=Changed(f"1-{secrets.token_hex(12)}", record, _EPOCH, 1, _NOW_MS),
            buyer_name="Anna",
            buyer_email="anna@example.org",
            currency="EUR",
            prices_version=1,
            lines=tuple(Line(line, name, None, "adult", 4_500, 250, 311) for line, name in enumerate(seats, 1)),
            pay_seconds=600,
            origin="bench",
        )


def _script() -> str:
    """The transaction of a claim that is alone, as `pgbench` reads it."""
    booking = "'b-' || :stamp::text || '-' || :client_id::text || '-' || :n::text"
    seats = (f"rpad({booking} || '-{place}', 64, '0')" for place in "ab")
    of_booking = (
        *(booking, "'1-0123456789abcdef01234567'", "'holder-' || :n::text", str(_EPOCH), "now()", "now()"),
        *("'Anna'", "'anna@example.org'", "9500", "'EUR'", "1", "600", "0", "'bench'"),
        *("NULL", "NULL", "NULL"),
    )
    of_lines = (
        *((booking, booking), ("1", "2"), tuple(seats), ("NULL", "NULL"), ("'adult'", "'adult'")),
        *(("4500", "4500"), ("250", "250"), ("311", "311")),
    )
    arrays = [f"ARRAY[{one}]" for one in of_booking] + [f"ARRAY[{', '.join(both)}]" for both in of_lines]
    values = [":event::text", *arrays]
    lock, claim = (
        re.sub(r"\$(\d+)", lambda found: values[int(found[1]) - 1], _SQL[name])
        for name in ("lock_event_shared", "claim")
    )
    return f"\\set n :n + 1\nBEGIN;\n{lock};\n{claim};\nCOMMIT;\n"


async def _measure(stand: Stand) -> list[Figure]:
    engine = await stand.durable_postgres()
    await postgres.migrate(engine.url)
    pool = await postgres.connect_pool(engine.url, application_name="lml bench", size_max=4)
    bookings = Bookings(pool)
    try:
        async with postgres.connection(pool) as connected:
            stand.engines["PostgreSQL"] = ".".join(map(str, connected.get_server_version()[:2]))
        event = await open_event(Catalogue(pool, OneHall(1)))
        commits = _Commits(engine, bookings, event, stand.fresh_directory("commits"))
        await commits.begin()
        slices: dict[str, list[_Slice]] = {}

        def side(name: str, measure: Callable[[], Awaitable[_Slice]]) -> Side:
            async def take() -> float:
                slices.setdefault(name, []).append(await measure())
                return slices[name][-1].per_second

            return take

        sides = {
            _COMMIT: side(_COMMIT, lambda: commits.ours(refused=False)),
            _HALVED: side(_HALVED, lambda: commits.ours(refused=True)),
        }
        missing = None
        try:
            binaries.pgbench()
        except Unavailable as error:
            missing = error.message
        else:
            sides |= {name: side(name, partial(commits.pgbench, clients)) for name, clients in _PGBENCH.items()}
        taken = await stand.alternate(sides)
    finally:
        await bookings.close()
        await pool.close()
    return _figures(taken, {name: found[1:] for name, found in slices.items()}, missing)


def _figures(taken: Mapping[str, Slices], slices: Mapping[str, Sequence[_Slice]], missing: str | None) -> list[Figure]:
    """`missing` says why `pgbench` is."""
    ours = slices[_COMMIT]
    rates = {name: taken[name] for name in _PGBENCH if name in taken}
    best = max(rates, key=lambda name: rates[name].median or 0.0, default=None)
    flags = {"fsync": "on", "synchronous_commit": "on", "in_flight": bounds.IN_FLIGHT}
    raw = {
        "bookings": sum(one.bookings for one in ours),
        "seconds": [one.seconds for one in ours],
        "claims_together_max": limits.CLAIMS_TOGETHER_MAX,
        "claim_commits_max": limits.CLAIM_COMMITS_MAX,
    }

    def cpu(name: str) -> Slices:
        return Slices(tuple(one.postgres_us for one in slices[name]))

    def p99(name: str) -> Slices:
        return Slices(tuple(percentile(one.latencies_ms, 0.99) or 0.0 for one in slices[name]))

    return [
        measured(
            _COMMIT,
            "bookings/s",
            taken[_COMMIT],
            workload=f"claims of two seats that cost something, {bounds.IN_FLIGHT} in flight, all of one event;"
            " `pgbench` runs the same statements, one transaction a booking",
            peers=rates,
            limit=best,
            reason=missing,
            goal=BOOKING_COMMIT.goal(_COMMIT),
            flags=flags,
            raw=raw,
        ),
        measured(
            _P99,
            "ms",
            p99(_COMMIT),
            workload="from the call of a claim to its outcome, of the same claims",
            goal=BOOKING_COMMIT.goal(_P99),
            flags=flags,
        ),
        measured(
            _POSTGRES,
            "µs",
            cpu(_COMMIT),
            workload="CPU of all of PostgreSQL for a booking of the same claims",
            peers={name: cpu(name) for name in rates},
            flags=flags,
        ),
        measured(
            _WORKER,
            "µs",
            Slices(tuple(one.worker_us for one in ours)),
            workload="CPU of the process that claims, for a booking of the same claims",
            flags=flags,
        ),
        measured(
            _HALVED,
            "bookings/s",
            taken[_HALVED],
            workload=f"the same, but of each {bounds.IN_FLIGHT} in flight one is of a seat that is taken: its batch is"
            " rolled back, and done in halves until that one stands alone",
            peers={_COMMIT: taken[_COMMIT], **rates},
            flags=flags,
        ),
        measured(
            _HALVED_P99,
            "ms",
            p99(_HALVED),
            workload="from the call of a claim to its outcome, where one of each batch is refused",
            peers={_P99: p99(_COMMIT)},
            flags=flags,
        ),
    ]


_PGBENCH: Final = {f"pgbench, {clients} clients": clients for clients in _PGBENCH_ROUNDS}
_COMMIT: Final = "booking_commit"
_P99: Final = "booking_commit_p99"
_POSTGRES: Final = "booking_commit_postgres_cpu"
_WORKER: Final = "booking_commit_worker_cpu"
_HALVED: Final = "booking_commit_one_refused"
_HALVED_P99: Final = "booking_commit_one_refused_p99"
BOOKING_COMMIT: Final = Row(
    "booking_commit",
    "how many bookings are committed a second, every commit on the disk",
    (
        Promise(_COMMIT, "bookings/s", Goal("ratio", "least", 3)),
        Promise(_P99, "ms", Goal("value", "most", 20)),
        Promise(_POSTGRES, "µs"),
        Promise(_WORKER, "µs"),
        Promise(_HALVED, "bookings/s"),
        Promise(_HALVED_P99, "ms"),
    ),
    _measure,
)
