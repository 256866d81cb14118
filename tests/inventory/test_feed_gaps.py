"""Between Redis and a worker lies a network: what it delays, cuts and swallows (reliability.md, F13, F14)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import SCRIPTS, House, Worker, adults, held
from valkey_fleet import Gate
from waiting import eventually

from lml_live import limits
from lml_live.errors import Overloaded, Unavailable
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.inventory.feed import Feed, Listener
from lml_live.inventory.records import Sale
from lml_live.inventory.rooms import Room, Tick

HELD = 1


@pytest.fixture
async def gate(valkey_url: str) -> AsyncIterator[Gate]:
    gate = Gate(int(valkey_url.rsplit(":", 1)[1].split("/")[0]))
    await gate.start()
    yield gate
    await gate.close()


@pytest.fixture
async def far(house: House, gate: Gate, pool: postgres.Pool) -> AsyncIterator[Worker]:
    """A worker behind the gate; the house's own is not."""
    pipe = Pipe(f"redis://127.0.0.1:{gate.port}/0", SCRIPTS)
    await pipe.start()
    worker = Worker(pipe, pool)
    yield worker
    await worker.book.close()
    await pipe.close()


class Told(Listener):
    """What the feed told, in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.resets = 0

    def ticked(self, event: str, room: Room, tick: Tick) -> None:
        self.steps.append((tick.prev, tick.seq))

    def reset(self, event: str, room: Room, before: Sale) -> None:
        self.resets += 1


@pytest.mark.parametrize("trimmed", [False, True], ids=["the log has it", "the log was cut"])
async def test_what_a_cut_connection_missed_is_made_good(
    house: House, far: Worker, gate: Gate, monkeypatch: pytest.MonkeyPatch, trimmed: bool
) -> None:
    monkeypatch.setattr(limits, "REDIS_RECONNECT_SECONDS_MIN", 0.01)
    event = await house.open_event()
    feed, told = Feed(far.book, tick_ms=10), Told()
    feed.listener = told
    room = await feed.room(event)
    task = asyncio.create_task(feed.run())
    try:
        held(await house.holds.hold_seats(event, "anna", adults(0), [], key=None))
        await eventually(lambda: room.states("public")[0] == HELD)
        gate.cut(friends_too=True)
        await eventually(lambda: not far.pipe.connected)
        for seat in range(1, 8):
            held(await house.holds.hold_seats(event, "anna", adults(seat), [], key=None))
        if trimmed:
            await house.pipe.call("XTRIM", (await house.sale(event)).key("log"), "MAXLEN", 2)
        with pytest.raises(Unavailable):
            await far.holds.hold_seats(event, "bert", adults(9), [], key=None)
        gate.shut = False
        await eventually(lambda: room.states("public")[:8] == bytes([HELD] * 8))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    # One epoch, and every step begins where the one before ended: no gap that nobody was told of.
    assert told.resets == 0
    assert [step[0] for step in told.steps[1:]] == [step[1] for step in told.steps[:-1]]
    assert told.steps[-1][1] == room.seq == 8


async def test_a_slow_line_keeps_its_order_and_its_bound(
    house: House, far: Worker, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 200 ms a call holds wait side by side, not one behind the other; what is too much is refused at once."""
    event = await house.open_event(max_seats=50)
    await far.book.sale(event)
    gate.delay_seconds = 0.2
    monkeypatch.setattr(limits, "REDIS_CALLS_MAX", 20)
    acts = [far.holds.hold_seats(event, f"h{seat}", adults(seat), [], key=None) for seat in range(24)]
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*acts, return_exceptions=True)
    assert asyncio.get_running_loop().time() - began < 20 * 0.2, "one after the other they would take longer"
    assert [type(answer) for answer in answers[20:]] == [Overloaded] * 4
    for answer in answers[:20]:
        held(answer)  # type: ignore[arg-type]
    gate.delay_seconds = 0
    await house.audit(event)
