"""Clocks that are set: neither frees a seat, nor keeps one held (architecture.md, "Time"; reliability.md, F30)."""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from inventory_fixtures import inventory_dsn_fixture, pool_fixture, scripts_keep_their_word  # noqa: F401
from inventory_house import SCRIPTS, House, adults, held
from waiting import eventually

from lml_live import limits
from lml_live.devstack.servers import Valkey
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.inventory.clocks import NEVER_MS, Clocks
from lml_live.inventory.upkeep import Upkeep

AVAILABLE, HELD = 0, 1
QUARTER_MS = 900_000


class OddPipe(Pipe):
    """A node whose clock is a number."""

    def __init__(self, now_ms: float) -> None:
        super().__init__({}, {})
        self.now_ms = now_ms

    def call(self, *parts: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result([b"%d" % (self.now_ms // 1000), b"%d" % (self.now_ms % 1000 * 1000)])
        return future


class Nodes(Pipe):
    """Two nodes."""

    def __init__(self, *pipes: Pipe) -> None:
        super().__init__({}, {})
        self._pipes = list(pipes)

    def nodes(self) -> list[Pipe]:
        return self._pipes


class OddClocks(Clocks):
    """PostgreSQL's clock is a number, too; ours stands still."""

    def __init__(self, *pipes: Pipe, ahead_ms: float) -> None:
        super().__init__(Nodes(*pipes), None)  # type: ignore[arg-type]  # it is not asked
        self.ahead_ms = ahead_ms

    async def _ask_postgres(self) -> None:
        self._ahead = self.ahead_ms


async def test_each_node_is_corrected_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)
    right, slow = OddPipe(5_000_000), OddPipe(5_000_000 - QUARTER_MS)
    clocks = OddClocks(right, slow, ahead_ms=4_001_500)  # PostgreSQL: 5,001.5 s
    assert clocks.latest_ms() == NEVER_MS, "nothing was looked at yet"
    await clocks.compare()
    assert (right.skew_ms, slow.skew_ms) == (0, QUARTER_MS + 1_500), "within 2 s they agree"
    assert clocks.latest_ms() == 5_001_500 + limits.CLOCK_SKEW_MS
    assert clocks.may_sweep(right)
    assert clocks.may_sweep(slow), "a clock that is wrong, but goes on, ends no hold early"


@pytest.mark.parametrize("by_ms", [QUARTER_MS, -QUARTER_MS])
async def test_a_clock_that_is_set_stops_the_sweep_of_its_node(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, by_ms: int
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    one, other = OddPipe(5_000_000), OddPipe(5_000_000)
    clocks = OddClocks(one, other, ahead_ms=4_000_000)
    await clocks.compare()
    one.now_ms += by_ms
    await clocks.compare()
    assert "a clock was set" in caplog.text
    assert (one.skew_ms, other.skew_ms) == (-by_ms, 0)
    assert (clocks.may_sweep(one), clocks.may_sweep(other)) == (False, True)
    now[0] += limits.CLOCK_JUMP_WAIT_MS / 1000
    assert clocks.may_sweep(one)


async def test_a_machine_that_slept_accuses_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Our own clock stood still: before a node is blamed, PostgreSQL is asked again."""
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)
    node = OddPipe(5_000_000)
    clocks = OddClocks(node, ahead_ms=4_000_000)
    await clocks.compare()
    node.now_ms += QUARTER_MS
    clocks.ahead_ms += QUARTER_MS
    await clocks.compare()
    assert (node.skew_ms, clocks.may_sweep(node), caplog.records) == (0, True, [])


# --- A real Valkey whose machine's clock is set


class SetClock(Valkey):
    """A Valkey whose clock can be set: libfaketime before it, which reads a file."""

    library: Path

    def program(self) -> str:
        return shutil.which("env") or "/usr/bin/env"

    def arguments(self) -> list[str]:
        words = {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.shift),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return [*(f"{name}={value}" for name, value in words.items()), super().program(), *super().arguments()]

    @property
    def shift(self) -> Path:
        return self.directory / "shift"

    async def prepare(self) -> None:
        await super().prepare()
        self.set(0)

    def set(self, by_ms: int) -> None:
        fresh = self.shift.with_name("fresh")
        fresh.write_text(f"{by_ms / 1000:+.3f}\n")
        fresh.replace(self.shift)


@pytest.fixture
async def odd(pool: postgres.Pool) -> AsyncIterator[tuple[House, SetClock]]:
    package = find_spec("libfaketime")
    if package is None or package.origin is None:
        pytest.skip("libfaketime is not installed")
    directory = Path(os.environ["LML_TEST_RUN"]) / f"odd-{secrets.token_hex(6)}"
    valkey = SetClock(directory, options={"appendonly": "no"})
    valkey.library = next(Path(package.origin).parent.rglob("libfaketime.so.1"))
    await valkey.start()
    pipe = Pipe(valkey.url, SCRIPTS)
    try:
        await pipe.start()
        house = House(pipe, pool)
        yield house, valkey
        await house.book.close()
    finally:
        await pipe.close()
        await valkey.kill()
        shutil.rmtree(directory, ignore_errors=True)


async def test_a_quarter_of_an_hour_either_way_neither_frees_nor_freezes(
    odd: tuple[House, SetClock], inventory_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, valkey = odd
    monkeypatch.setattr(limits, "CLOCK_JUMP_WAIT_MS", 0)
    event = await house.open_event(hold_seconds=60, lifetime_seconds=120)
    upkeep = Upkeep(house.book, house.pool, inventory_dsn, sweep_ms=20)
    await upkeep.clocks.compare()
    begun = time.monotonic()
    anna = held(await house.holds.hold_seats(event, "anna", adults(1), [], key=None))

    async def postgres_ms() -> int:
        return int(await house.pool.fetchval("SELECT extract(epoch FROM clock_timestamp()) * 1000"))

    async def corrected(by_ms: int) -> bool:
        await upkeep.clocks.compare()
        return abs(house.pipe.skew_ms + by_ms) < limits.CLOCK_SKEW_MS

    for place, by_ms in ((3, QUARTER_MS), (5, -QUARTER_MS), (7, 0)):
        valkey.set(by_ms)
        # The sweep that comes before anybody has noticed.
        assert await upkeep.sweep(event) == 0, "the clock alone frees nothing"
        await eventually(lambda by_ms=by_ms: corrected(by_ms))  # type: ignore[misc]
        # For holds it is the time that it is: old ones can be used, new ones last as long as any other.
        seen = held(await house.holds.read_hold(event, "anna", anna.hold))
        assert seen.record == anna.record
        fresh = held(await house.holds.hold_seats(event, f"h{place}", adults(place), [], key=None))
        assert fresh.record is not None
        left_ms = fresh.record.deadline_ms - await postgres_ms()
        assert abs(left_ms - 60_000) < limits.CLOCK_SKEW_MS + 1_000, left_ms
        assert await upkeep.sweep(event) == 0
    assert time.monotonic() - begun < 50, "else a hold may have ended in its own time"
    assert [(await house.states(event))[seat] for seat in (1, 3, 5, 7)] == [HELD] * 4

    # And what is over is over, however slow the clock: nothing stays held.
    valkey.set(-QUARTER_MS)
    await eventually(lambda: corrected(-QUARTER_MS))
    await house.change_event(event, hold_seconds=1)
    await house.book.restamp(event)
    held(await house.holds.hold_seats(event, "bert", adults(9), [], key=None))

    async def is_free() -> bool:
        await upkeep.sweep(event)
        return (await house.states(event))[9] == AVAILABLE

    await eventually(is_free, 15)
    await house.audit(event)
