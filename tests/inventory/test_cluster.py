"""Events on a real cluster of three: each on the node that has its slot, whatever becomes of slots and nodes."""

import asyncio
import base64
import contextlib
import itertools
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from inventory_fixtures import inventory_dsn_fixture, pool_fixture, scripts_keep_their_word  # noqa: F401
from inventory_house import SCRIPTS, House, adults, held
from valkey_fleet import ClusterFleet, ask
from waiting import eventually

sys.path.append(str(Path(__file__).parents[1] / "gateway"))

import socket_house

from lml_live import limits
from lml_live.client import GroupResult, HoldResult, LiveClient, Refusal
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.infra.redis import Misplaced, Pipe
from lml_live.infra.redis_address import parse_address
from lml_live.infra.redis_cluster import SLOTS, Cluster, slot_of
from lml_live.inventory.feed import Feed
from lml_live.inventory.seatmap import unpack
from lml_live.values import AVAILABLE

HELD = 1


def apart(work: Any) -> Any:
    """Runs in a thread of its own, since a loop may be running in ours."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.fixture(scope="module")
def fleet() -> Iterator[ClusterFleet]:
    directory = Path(os.environ["LML_TEST_RUN"]) / f"cluster-{secrets.token_hex(6)}"
    fleet = ClusterFleet(directory)
    try:
        apart(fleet.open())
        yield fleet
    finally:
        apart(fleet.close())
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def cluster(fleet: ClusterFleet) -> AsyncIterator[Cluster]:
    address = parse_address(fleet.url)
    assert address is not None
    cluster = Cluster(address, SCRIPTS)
    await cluster.start()
    yield cluster
    await cluster.close()


class ClusterHouse(House):
    """A house on a cluster."""

    def __init__(self, cluster: Cluster, pool: postgres.Pool) -> None:
        super().__init__(cluster, pool)  # type: ignore[arg-type]  # it hands it to its book

    async def open_on(self, part: int) -> str:
        """An event on the node that has this third of the slots."""
        return await self.open_event(event=name_on(part))


@pytest.fixture
async def house(cluster: Cluster, pool: postgres.Pool) -> AsyncIterator[ClusterHouse]:
    house = ClusterHouse(cluster, pool)
    yield house
    await house.book.close()


@pytest.fixture
async def feed(house: ClusterHouse, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Feed]:
    monkeypatch.setattr(limits, "BOOK_CHECK_SECONDS", 0.0)
    fed = Feed(house.book, tick_ms=10)
    task = asyncio.create_task(fed.run())
    yield fed
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_each_event_lives_on_the_node_that_has_its_slot(
    house: ClusterHouse, feed: Feed, fleet: ClusterFleet
) -> None:
    events = [await house.open_on(part) for part in (0, 1, 2)]
    rooms = [await feed.room(event) for event in events]
    for seat, event in enumerate(events):
        held(await house.holds.hold_seats(event, "anna", adults(seat), [], key=None))
        await house.audit(event)
    # One feed reads the logs of all nodes.
    for seat, room in enumerate(rooms):
        await eventually(lambda seat=seat, room=room: room.states("public")[seat] == HELD)  # type: ignore[misc]
    run_ids = [(await house.sale(event)).run_id for event in events]
    infos = [await ask(node, "INFO", "server") for node in fleet.primaries]
    assert run_ids == [info["run_id"] for info in infos]


@pytest.fixture
async def heard(house: ClusterHouse) -> AsyncIterator[list[str]]:
    """The events that pub/sub brings, of every node; for `house.book.wakes` has nothing else to tell."""
    wakes, events = house.book.wakes, list[str]()
    wakes.heard = events.extend
    task = asyncio.create_task(wakes.run())
    await eventually(lambda: wakes.hearing)
    yield events
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_every_node_wakes_who_watches_its_events(
    house: ClusterHouse, heard: list[str], fleet: ClusterFleet, pool: postgres.Pool
) -> None:
    """Nodes hand on to each other what is published: it comes once all the same."""
    address = parse_address(fleet.url)
    assert address is not None
    far = Cluster(address, SCRIPTS)
    await far.start()
    other = ClusterHouse(far, pool)
    try:
        events = [await house.open_on(part) for part in (0, 1, 2)]
        await eventually(lambda: all(heard.count(event) == 2 for event in events))  # by us, and as it comes back
        house.book.wakes._told.clear()
        heard.clear()
        for event in events:
            held(await other.holds.hold_seats(event, "anna", adults(1), [], key=None))
        await eventually(lambda: set(heard) == set(events))
        await asyncio.sleep(0.1)
        assert sorted(heard) == sorted(events)
    finally:
        await other.book.close()
        await far.close()


async def test_the_calls_of_a_tick_are_one_write_a_node(house: ClusterHouse, cluster: Cluster) -> None:
    events = [await house.open_on(part) for part in (0, 1)]
    writes: list[int] = []
    await eventually(lambda: not house.book.wakes._is_due)  # that they were adopted is published
    await asyncio.sleep(0)
    for number, event in enumerate(events):
        connection = cluster.of(event)._connection
        assert connection is not None
        transport = connection._transport
        real = transport.write  # type: ignore[union-attr]

        class Counting:
            def __init__(self, number: int, real: Any, transport: Any) -> None:
                self._number, self._real, self._transport = number, real, transport

            def write(self, data: bytes) -> None:
                writes.append(self._number)
                self._real(data)

            def abort(self) -> None:
                self._transport.abort()

        connection._transport = Counting(number, real, transport)  # type: ignore[assignment]
    acts = [house.holds.hold_seats(event, "anna", adults(seat), [], key=None) for seat in (1, 3, 5) for event in events]
    for answer in await asyncio.gather(*acts):
        held(answer)
    assert sorted(writes) == [0, 1]


async def test_a_slot_that_moves_takes_its_events_to_another_process(
    house: ClusterHouse, feed: Feed, fleet: ClusterFleet, cluster: Cluster
) -> None:
    event = await house.open_on(0)
    room = await feed.room(event)
    anna = held(await house.holds.hold_seats(event, "anna", adults(1, 2), [], key=None))
    source, target = fleet.primaries[0], fleet.primaries[1]
    before = await house.sale(event)
    refusals: list[Exception] = []

    async def half_way() -> None:
        """Some of the event's keys are here and some there: nothing is done, and nothing is half done."""
        try:
            await house.holds.hold_seats(event, "bert", adults(7), [], key=None)
        except Unavailable as refused:
            refusals.append(refused)

    await fleet.move_slot(slot_of(event), source, target, half_way=half_way)
    assert len(refusals) == 1
    assert isinstance(refusals[0], Misplaced), "TRYAGAIN or ASK"
    # The old node says MOVED, the map is read anew, the other run_id means adopt: with all that Redis still had.
    await eventually(lambda: room.epoch > before.epoch, 20)
    sale = await house.sale(event)
    assert sale.run_id == (await ask(target, "INFO", "server"))["run_id"] != before.run_id
    assert await ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot_of(event)) == 0
    assert sorted(await house.records(event)) == [anna.hold]
    held(await house.holds.hold_seats(event, "bert", adults(7), [], key=None))
    await eventually(lambda: room.states("public")[7] == HELD)


async def test_a_minority_does_not_adopt(
    house: ClusterHouse, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that reaches one node of three may be looking at an old primary: it raises no epoch."""
    event = await house.open_on(0)
    epoch = (await house.sale(event)).epoch
    ask_all, reached = cluster._ask, cluster.of(event)._options["port"]

    async def cut_off(place: tuple[str, int]) -> Any:
        return await ask_all(place) if place[1] == reached else None

    with monkeypatch.context() as patched:
        patched.setattr(cluster, "_ask", cut_off)
        with pytest.raises(Unavailable):
            await house.book.distrust(event)
        with pytest.raises(Unavailable):
            await house.book.recover(event, wait=True)
        assert (await house.sale(event)).epoch == epoch
    assert (await house.book.recover(event, wait=True)).epoch == epoch + 1


async def test_a_whole_server_sells_on_it(
    fleet: ClusterFleet, house: ClusterHouse, postgres_server: str, mongo_url: str
) -> None:
    """Sockets, steps over a group and REST, by the URL alone: events on different nodes beside each other."""
    async with (
        socket_house.house(postgres_server, mongo_url, fleet.url) as settings,
        socket_house.serving(settings) as server,
    ):
        async with ClientSession(server.url) as http, http.get("/readyz") as answer:
            assert answer.status == 200, await answer.text()
        evenings = [await server.open_event(name_on(part)) for part in (0, 1)]
        second = await server.open_event(group=evenings[0])
        async with (
            LiveClient(server.url, evenings[0]) as anna,
            LiveClient(server.url, evenings[0]) as watcher,
            LiveClient(server.url, evenings[1]) as ben,
        ):
            assert isinstance(await ben.hold(seats=[1, 2], areas={"pit": 3}), HoldResult)
            both = await anna.hold_group([evenings[0], second], seats=[5])
            assert isinstance(both, GroupResult)
            assert len(both.holds) == 2
            await watcher.wait_for(lambda live: live.seats[5] == HELD)
            assert isinstance(await watcher.hold(seats=[5]), Refusal)
            assert isinstance(await anna.release_group([one.id for one in both.holds.values()]), GroupResult)
            await watcher.wait_for(lambda live: live.seats[5] == AVAILABLE)
        for event, shown in ((evenings[1], 2), (second, 0)):
            async with ClientSession(server.url) as http, http.get(f"/api/v1/events/{event}/availability") as answer:
                seats = unpack(base64.b64decode((await answer.json())["seats"]), socket_house.SEATS)
                assert seats.count(HELD) == shown


def name_on(part: int) -> str:
    """An event's id whose slot is in this third of them."""
    names = (f"test-{secrets.token_hex(6)}" for _ in itertools.count())
    return next(name for name in names if slot_of(name) * 3 // SLOTS == part)


async def test_a_node_that_dies_stops_its_own_events_only_and_its_replica_goes_on(
    house: ClusterHouse, feed: Feed, heard: list[str], fleet: ClusterFleet, cluster: Cluster
) -> None:
    """The last one of this module: it ends a node."""
    doomed, other = await house.open_on(2), await house.open_on(0)
    rooms = {event: await feed.room(event) for event in (doomed, other)}
    before = await house.sale(doomed)
    anna = held(await house.holds.hold_seats(doomed, "anna", adults(1), [], key=None))
    assert await ask(fleet.primaries[2], "WAIT", 1, 5_000) == 1
    await fleet.primaries[2].kill()
    pipe: Pipe = cluster.of(doomed)
    await eventually(lambda: not pipe.connected)
    with pytest.raises(Unavailable):
        await house.holds.hold_seats(doomed, "bert", adults(5), [], key=None)
    held(await house.holds.hold_seats(other, "bert", adults(5), [], key=None))
    await eventually(lambda: rooms[other].states("public")[5] == HELD)
    await eventually(lambda: rooms[doomed].epoch > before.epoch, 30)
    assert rooms[doomed].states("public")[1] == HELD
    assert (await house.sale(doomed)).run_id == (await ask(fleet.replica, "INFO", "server"))["run_id"]
    assert sorted(await house.records(doomed)) == [anna.hold]
    await eventually(lambda: house.book.wakes.hearing)
    heard.clear()
    house.book.wakes._told.clear()
    held(await house.holds.hold_seats(doomed, "bert", adults(5), [], key=None))
    await eventually(lambda: heard.count(doomed) == 2)
