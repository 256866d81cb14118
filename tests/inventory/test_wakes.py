"""Pub/sub wakes who watches a quiet event; what it loses is found by looking (docs/decisions/040-pub-sub-wakes.md).

Where a test says nothing else, quiet logs are read once an hour: only a message tells of an act.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import SCRIPTS, House, Worker, adults, held
from redis.asyncio import Redis
from valkey_fleet import Gate
from waiting import eventually

import lml_live
from lml_live import limits
from lml_live.infra import postgres
from lml_live.infra.redis import Part, Pipe
from lml_live.inventory import seatmap
from lml_live.inventory.feed import Feed
from lml_live.inventory.rooms import Room
from lml_live.inventory.wakes import Wakes, _Ear

READS_A_LOG = {"check_book", "read_inventory"}


@pytest.fixture(autouse=True)
def quiet_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUIET_ROOM_SECONDS", "BOOK_CHECK_SECONDS"):
        monkeypatch.setattr(limits, name, 3_600.0)
    monkeypatch.setattr(limits, "ROOM_AWAKE_SECONDS", 0.8)
    monkeypatch.setattr(limits, "WAKE_AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(limits, "WAKE_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(limits, "REDIS_WATCH_SECONDS", 0.02)
    monkeypatch.setattr(limits, "REDIS_RECONNECT_SECONDS_MAX", 0.05)


class Watcher:
    """A worker that watches, and counts what it reads and publishes."""

    def __init__(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.worker = worker
        self.wakes = worker.book.wakes
        self.feed = Feed(worker.book, tick_ms=10)
        self.feed.listen_to(self.wakes)
        self.reads = 0
        self.published: list[str] = []
        call = worker.pipe.call

        def count(*parts: Part) -> asyncio.Future[Any]:
            self.reads += parts[0] == "XREAD"
            if parts[0] == b"PUBLISH":
                self.published.append(str(parts[2]))
            return call(*parts)

        monkeypatch.setattr(worker.pipe, "call", count)

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator["Watcher"]:
        tasks = [asyncio.create_task(work) for work in (self.feed.run(), self.wakes.run())]
        try:
            await eventually(lambda: self.wakes.hearing)
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def resting(self, event: str) -> Room:
        """The event's room, which rests by now."""
        room = await self.feed.room(event)
        await self.rests()
        return room

    async def rests(self) -> None:
        async def nothing_read() -> bool:
            before = self.reads
            await asyncio.sleep(0.05)
            return self.reads == before

        await eventually(nothing_read)


@pytest.fixture
async def watcher(house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watcher]:
    async with Watcher(house, monkeypatch).at_work() as found:
        yield found


@pytest.fixture
async def other(house: House, valkey_url: str) -> Worker:
    """Another worker, who acts."""
    return await house.hire(valkey_url)


async def hold(worker: Worker, event: str, seat: int) -> None:
    held(await worker.holds.hold_seats(event, f"holder{seat}", adults(seat), [], key=None))


async def shows(room: Room, seat: int) -> None:
    await eventually(lambda: room.states("public")[seat] == 1)


async def test_a_quiet_room_is_not_read_until_somebody_acts(house: House, watcher: Watcher, other: Worker) -> None:
    event = await house.open_event()
    room = await watcher.resting(event)
    await hold(other, event, 3)
    await shows(room, 3)
    await watcher.rests()
    # And by an act that is not one of those that wait together.
    await other.holds.block_seats(event, [5], {}, seatmap.BYTE_HOUSE)
    await eventually(lambda: room.states("public")[5] != 0)


async def test_own_acts_wake_own_rooms(house: House, watcher: Watcher) -> None:
    event = await house.open_event()
    room = await watcher.resting(event)
    await hold(house, event, 3)
    await shows(room, 3)


async def test_without_the_message_the_room_is_read_when_its_time_has_come(
    house: House, watcher: Watcher, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other.pipe, "publish", lambda *_: None)
    event = await house.open_event()
    room = await watcher.resting(event)
    await hold(other, event, 3)
    await asyncio.sleep(0.2)
    assert room.states("public")[3] == 0, "nobody told"
    monkeypatch.setattr(limits, "QUIET_ROOM_SECONDS", 0.05)
    watcher.wakes.lost()  # the hour of this test is over
    await shows(room, 3)
    await asyncio.sleep(limits.ROOM_AWAKE_SECONDS + 0.2)  # it rests again, and is read now and then
    await hold(other, event, 4)
    await shows(room, 4)


async def test_a_busy_event_is_published_now_and_then(
    house: House, watcher: Watcher, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAKE_AGAIN_SECONDS", 3_600.0)
    monkeypatch.setattr(limits, "ROOM_AWAKE_SECONDS", 3_600.0)
    acting = Watcher(other, monkeypatch)
    event = await house.open_event(seats=60)
    room = await watcher.feed.room(event)
    watcher.wakes._told.clear()  # it has built the inventory
    watcher.published.clear()
    for seat in range(0, 60, 2):
        await hold(other, event, seat)
    await shows(room, 58)
    assert acting.published == [event]
    # Who heard it need not say it again: the same workers are awake.
    await hold(house, event, 59)
    await shows(room, 59)
    assert event not in watcher.published


async def test_many_quiet_events_share_a_message(
    house: House, watcher: Watcher, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAKE_PAUSE_SECONDS", 0.2)
    acting = Watcher(other, monkeypatch)
    events = [await house.open_event() for _ in range(6)]
    for event in events:
        await other.book.sale(event)
    rooms = [await watcher.feed.room(event) for event in events]
    await watcher.rests()
    for event in events:
        await hold(other, event, 1)
    for room in rooms:
        await shows(room, 1)
    assert len(acting.published) == 2, "the first at once, the others together"
    assert sorted(" ".join(acting.published).split()) == sorted(events)


async def test_a_first_act_is_told_before_the_next_tick(
    house: House, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAKE_PAUSE_SECONDS", 0.0)
    slow = Watcher(house, monkeypatch)
    slow.feed = Feed(house.book, tick_ms=3_600_000)
    slow.feed.listen_to(slow.wakes)
    async with slow.at_work():
        event = await house.open_event()
        room = await slow.resting(event)
        await asyncio.sleep(limits.ROOM_AWAKE_SECONDS)
        slow.feed._awake.clear()  # nothing happened for an hour
        await hold(other, event, 3)
        await shows(room, 3)


async def test_a_worker_that_hears_nothing_reads_every_tick(house: House, watcher: Watcher, other: Worker) -> None:
    """The connection is cut; the act's message comes while nobody listens."""
    event = await house.open_event()
    room = await watcher.resting(event)
    for seat in range(5):
        await house.pipe.call("CLIENT", "KILL", "TYPE", "PUBSUB")
        await hold(other, event, seat)
        await shows(room, seat)
    await eventually(lambda: watcher.wakes.hearing)
    await watcher.rests()
    await hold(other, event, 6)
    await shows(room, 6)


async def test_a_line_that_swallows_everything_is_noticed(
    house: House, other: Worker, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """reliability.md, F14: for as long as it lasts rooms are read each tick; then they rest again."""
    monkeypatch.setattr(limits, "PUBSUB_SILENCE_SECONDS", 0.5)
    gate = Gate(int(valkey_url.rsplit(":", 1)[1].split("/")[0]))
    await gate.start()
    monkeypatch.setattr(
        house.pipe, "client", lambda: Redis(port=gate.port, decode_responses=True, protocol=2, client_name="lml")
    )
    watcher = Watcher(house, monkeypatch)
    try:
        async with watcher.at_work():
            event = await house.open_event()
            room = await watcher.resting(event)
            gate.delay_seconds = 3_600
            await eventually(lambda: not watcher.wakes.hearing)
            for seat in (3, 4):
                await hold(other, event, seat)
                await shows(room, seat)
            gate.delay_seconds = 0
            gate.cut()
            gate.shut = False
            await eventually(lambda: watcher.wakes.hearing)
            await watcher.rests()
            await hold(other, event, 5)
            await shows(room, 5)
    finally:
        await gate.close()


async def test_what_nobody_of_ours_published_harms_nobody(house: House, watcher: Watcher, other: Worker) -> None:
    event = await house.open_event()
    room = await watcher.resting(event)
    channel = f"lml:wakes:{house.pipe.run_id}"
    for message in (b"\xff\xfe\x00", b" \n ", b"no-such-event " * 10_000, event.encode() + b" " + b"x" * 100_000):
        await house.pipe.call("PUBLISH", channel, message)
    await hold(other, event, 3)
    await shows(room, 3)
    assert watcher.wakes.hearing


async def test_a_user_who_may_not_subscribe_is_served_all_the_same(
    house: House, other: Worker, valkey_url: str, pool: postgres.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.pipe.call("ACL", "SETUSER", "deaf", "on", ">word", "~*", "+@all", "resetchannels")
    place = valkey_url.removeprefix("redis://")
    pipe = Pipe(f"redis://deaf:word@{place}", SCRIPTS)
    await pipe.start()
    worker = Worker(pipe, pool)
    watcher = Watcher(worker, monkeypatch)
    tasks = [asyncio.create_task(work) for work in (watcher.feed.run(), watcher.wakes.run())]
    try:
        event = await house.open_event()
        room = await watcher.feed.room(event)
        await hold(other, event, 3)
        await shows(room, 3)
        await hold(worker, event, 4)  # its own message is refused, and it is granted
        await shows(room, 4)
        assert not watcher.wakes.hearing
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await worker.book.close()
        await pipe.close()
        await house.pipe.call("ACL", "DELUSER", "deaf")


async def test_what_is_read_ahead_is_told_by_the_next_tick(
    house: House, watcher: Watcher, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room rests and no message comes: who picked seats has read what nobody else was told yet."""
    monkeypatch.setattr(other.pipe, "publish", lambda *_: None)
    event = await house.open_event()
    room = await watcher.resting(event)
    await hold(other, event, 3)
    await watcher.feed.read_ahead(event)
    assert room.sent_seq < room.seq
    await shows(room, 3)


async def test_a_room_that_is_closed_while_it_is_read_is_no_broken_log(
    house: House, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed(house.book, tick_ms=10)
    event = await house.open_event()
    epoch = (await feed.room(event)).epoch
    await hold(other, event, 3)
    monkeypatch.setattr(limits, "ROOM_IDLE_SECONDS", -1.0)
    async with feed._locks[event]:
        reading = asyncio.create_task(feed.read_ahead(event))
        await asyncio.sleep(0.1)
        await feed._check_books(1e12)
    await reading
    assert (feed.rooms, feed._due, feed._awake) == ({}, {}, {})
    assert (await house.book.reload(event)).epoch == epoch
    await asyncio.sleep(0.1)
    assert (await house.book.reload(event)).epoch == epoch


async def test_a_listener_ends_though_a_cancellation_is_swallowed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `asyncio.wait_for` may, which the client awaits while it connects: the server then never ended."""

    async def swallow(_ear: _Ear) -> None:
        hearings.append(1)
        try:
            await asyncio.Event().wait()  # until it is cancelled
        except asyncio.CancelledError:
            if len(hearings) > 1:
                raise

    hearings: list[int] = []
    monkeypatch.setattr(_Ear, "_hear", swallow)
    ear = _Ear(Wakes(house.pipe), house.pipe)
    await asyncio.sleep(0)
    closing = asyncio.create_task(ear.close())
    await asyncio.sleep(0.3)
    assert closing.done()
    assert len(hearings) == 1


async def test_what_nobody_thought_of_does_not_deafen_for_ever(
    house: House, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_once(*_: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("nobody thought of it")

    monkeypatch.setattr(watcher.wakes, "take", break_once)
    await eventually(lambda: "listening to redis" in caplog.text)
    await eventually(lambda: watcher.wakes.hearing)


async def test_a_listener_that_cannot_connect_again_is_deaf(
    house: House, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client connects again by itself: where that hangs, what was heard last is no proof any more."""
    monkeypatch.setattr(limits, "REDIS_ASK_SECONDS", 0.1)
    gate = Gate(int(valkey_url.rsplit(":", 1)[1].split("/")[0]))
    await gate.start()
    monkeypatch.setitem(house.pipe._options, "port", gate.port)
    try:
        async with Watcher(house, monkeypatch).at_work() as watcher:
            gate.delay_seconds = 3_600
            gate.cut()
            gate.shut = False
            await eventually(lambda: not watcher.wakes.hearing, 2)
    finally:
        await gate.close()


async def test_many_busy_events_are_each_published_now_and_then(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAKE_AGAIN_SECONDS", 3_600.0)
    monkeypatch.setattr(limits, "WAKE_PAUSE_SECONDS", 0.0)
    acting = Watcher(house, monkeypatch)
    for _ in range(3):
        for number in range(600):
            house.book.wakes.tell(f"event{number}", house.pipe)
        await asyncio.sleep(0.02)
    assert len(" ".join(acting.published).split()) == 600


async def test_an_adopted_event_wakes_who_watches_it(house: House, watcher: Watcher, other: Worker) -> None:
    event = await house.open_event()
    room = await watcher.resting(event)
    epoch = room.epoch
    await house.pipe.call("HDEL", (await house.sale(event)).key("book"), "stamp")
    await other.book.recover(event, wait=True)
    await eventually(lambda: room.epoch > epoch)
    await watcher.rests()
    await hold(other, event, 3)
    await shows(room, 3)


async def test_a_connection_that_is_another_tells_anew(
    house: House, watcher: Watcher, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had published last may have been lost with it."""
    monkeypatch.setattr(limits, "WAKE_AGAIN_SECONDS", 3_600.0)
    event = await house.open_event()
    room = await watcher.resting(event)
    acting = Watcher(other, monkeypatch)
    await hold(other, event, 3)
    await shows(room, 3)
    await watcher.rests()
    generation = other.pipe.generation
    other.pipe.reconnect("a test")
    await eventually(lambda: other.pipe.generation > generation)
    await hold(other, event, 4)
    await shows(room, 4)
    assert acting.published == [event, event]


def test_every_script_that_appends_is_known_by_its_text() -> None:
    for name, script in SCRIPTS.items():
        header = re.search(r"^-- KEYS (.*)$", script.text, re.MULTILINE)
        assert header is not None
        if script.appends:
            assert "log" in header[1], f"{name} appends to a log that it is not given"
        elif "log" in header[1]:
            assert name in READS_A_LOG, f"{name} is given a log, and nobody would be woken"


def test_only_the_book_runs_what_appends() -> None:
    """`Book` tells who watches; a script that is run past it would be heard of a second late."""
    root = Path(lml_live.__file__).parent
    for path in root.rglob("*.py"):
        if "bench" in path.parts:
            continue  # its stands are of one worker
        for name in re.findall(r'pipe\S*\.run\(\s*"(\w+)"', path.read_text()):
            assert not SCRIPTS[name].appends, f"{path.relative_to(root)} runs {name}"
