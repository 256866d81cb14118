"""A failover to a stale replica, with real sentinels, while the old primary still takes writes (reliability.md, F11).

Two servers on one PostgreSQL. `cut` can reach neither the other sentinels nor the new primary, but still the old one:
what a network that breaks in the wrong place does.
"""

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from lines import Line, Lines
from serving import LiveServer, furnish
from valkey_fleet import Fleet, Gate, Sentinel, ask
from waiting import eventually

from lml_live.devstack.child import LOOPBACK
from lml_live.devstack.servers import Valkey
from lml_live.infra.redis import load_scripts
from lml_live.infra.redis_topology import open_topology
from lml_live.inventory.wakes import Wakes
from lml_live.values import AVAILABLE, HELD, SOLD

SERVICE = "hall"
BUYER = {"name": "Anna Example", "email": "anna@example.org"}


class Scene:
    """A primary behind a gate, its replica, three sentinels; one server cut off at will, and one that is not."""

    primary: Valkey
    replica: Valkey
    url: str
    """Redis as the server that is not cut off finds it."""
    cut: LiveServer
    whole: LiveServer

    def __init__(self, directory: Path) -> None:
        self.fleet = Fleet(directory)
        self._directory = directory

    async def open(self, dsn: str, mongo_url: str) -> None:
        self.primary = await self.fleet.start(name="primary", repl_diskless_sync_delay="0")
        # Workers give themselves the name `lml`, which is the first thing that they say.
        self.gate = Gate(self.primary.port, friends=b"lml")
        await self.gate.start()
        self.replica = await self.fleet.start(name="replica", replicaof=f"{LOOPBACK} {self.gate.port}")
        await eventually(self._follows, 30)  # before the sentinels ask who does: they ask again after ten seconds only
        sentinels = [Sentinel(self._directory / f"sentinel{n}", SERVICE, self.gate.port, 2) for n in range(3)]
        for sentinel in sentinels:
            self.fleet.valkeys.append(sentinel)
            await sentinel.start()
        self.telephone = Gate(sentinels[0].port)
        await self.telephone.start()
        await eventually(lambda: self._ready(sentinels), 60)
        name = f"test_{secrets.token_hex(6)}"
        places = (f"{LOOPBACK}:{self.telephone.port}", ",".join(f"{LOOPBACK}:{one.port}" for one in sentinels))
        urls = [f"redis+sentinel://{place}/{SERVICE}" for place in places]
        self.url = urls[1]
        self.cut, self.whole = (LiveServer(dsn, mongo_url, name, url) for url in urls)
        await furnish(self.cut)
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in (self.cut, self.whole)))
        self.cut.event = self.whole.event = await self.whole.new_event()
        staff = await self.whole.sign_in()
        free = {"prices": [{"category": name, "amount": 0} for name in ("Front", "Rear", "Standing")]}
        async with self.whole.session() as http:
            path = f"/api/v1/events/{self.whole.event}"
            async with http.patch(path, json=free, headers=staff) as answer:
                assert answer.status == 200, await answer.text()

    async def _ready(self, sentinels: list[Sentinel]) -> bool:
        for sentinel in sentinels:
            flat = await ask(sentinel, "SENTINEL", "MASTER", SERVICE)
            known = dict(zip(flat[::2], flat[1::2], strict=True))
            if (known["num-slaves"], known["num-other-sentinels"], known["flags"]) != ("1", "2", "master"):
                return False
        return True

    async def _follows(self) -> bool:
        return bool((await ask(self.replica, "INFO", "replication"))["master_link_status"] == "up")

    async def close(self) -> None:
        for server in (self.cut, self.whole):
            await asyncio.to_thread(server.kill)
        for gate in (self.gate, self.telephone):
            await gate.close()
        await self.fleet.close()


@pytest.fixture
async def scene(postgres_dsn: str, mongo_url: str) -> AsyncIterator[Scene]:
    directory = Path(os.environ["LML_TEST_RUN"]) / f"failover-{secrets.token_hex(6)}"
    scene = Scene(directory)
    try:
        await scene.open(postgres_dsn, mongo_url)
        yield scene
    finally:
        await scene.close()
        shutil.rmtree(directory, ignore_errors=True)


async def book(server: LiveServer, line: Line, hold: str) -> aiohttp.ClientResponse:
    headers = {"Authorization": f"Bearer {line.token}", "Idempotency-Key": secrets.token_hex(8)}
    body = {"hold": hold, "buyer": BUYER, "expected_amount": 0}
    async with server.session() as http, http.post("/api/v1/bookings", json=body, headers=headers) as answer:
        await answer.read()
        return answer


async def welcomed_again(line: Line) -> str:
    """The epoch of a welcome that nobody asked for."""
    async with asyncio.timeout(60):
        while True:
            message = await line.receive(60)
            assert message is not None, f"closed with {line.code}"
            if message["type"] == "welcome":
                return str(message["epoch"])


@pytest.fixture
async def heard(scene: Scene) -> AsyncIterator[tuple[Wakes, list[str]]]:
    """What a worker hears by pub/sub that goes where the sentinels say."""
    topology, events = open_topology(scene.url, load_scripts()), list[str]()
    await topology.start()
    wakes = Wakes(topology)
    wakes.heard = events.extend
    task = asyncio.create_task(wakes.run())
    yield wakes, events
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await topology.close()


async def test_a_stale_replica_is_promoted_while_the_old_primary_goes_on(
    scene: Scene, lines: Lines, heard: tuple[Wakes, list[str]]
) -> None:
    wakes, events = heard
    await eventually(lambda: wakes.hearing)
    anna, bert = await lines.greeted(scene.cut), await lines.greeted(scene.whole)
    early = await anna.ask("hold", seats=[0])
    assert early["type"] == "held"
    await bert.hear_seats({0: HELD})
    await eventually(lambda: scene.whole.event in events)
    assert await ask(scene.primary, "WAIT", 1, 10_000) == 1, "the replica has this one"

    scene.gate.cut()
    scene.telephone.cut(friends_too=True)
    # Nobody but this server sees the old primary now, and nobody will know of what it grants.
    late = await anna.ask("hold", seats=[5])
    assert late["type"] == "held"
    epoch = await welcomed_again(bert)
    assert (bert.seats[0], bert.seats[5]) == (HELD, AVAILABLE), "what the replica had, and no more"
    rival = await bert.ask("hold", seats=[5])
    assert rival["type"] == "held", "held twice, in two epochs"

    # Only one of the two can become a booking, whoever asks first.
    refused = await book(scene.cut, anna, late["hold"]["id"])
    assert refused.status in (404, 409, 503), refused.status
    booked = await book(scene.whole, bert, rival["hold"]["id"])
    assert booked.status == 201
    async with scene.whole.pool() as pool:
        claims = await pool.fetch("SELECT b.holder FROM booking_seat s JOIN booking b ON b.id = s.booking_id")
        assert [row["holder"] for row in claims] == [bert.holder]
        # The cut-off worker sees another run_id on record, and must not take the event back to the old primary.
        assert await pool.fetchval("SELECT epoch FROM event WHERE id = $1", scene.whole.event) == int(epoch)

    async def is_told() -> bool:
        await asyncio.sleep(0.2)  # a socket may not ask as often as it likes
        answer = await anna.ask("hold", seats=[7])
        return bool(answer["type"] == "error" and answer["code"] == "unavailable")

    await eventually(is_told, 30)

    scene.telephone.shut = False
    assert await welcomed_again(anna) == epoch
    await anna.hear_seats({0: HELD, 5: SOLD, 7: AVAILABLE})
    # Pub/sub goes through the new primary, too.
    await eventually(lambda: wakes.hearing)
    events.clear()
    assert (await anna.ask("release", hold=early["hold"]["id"]))["type"] == "released"
    await bert.hear_seats({0: AVAILABLE})
    await eventually(lambda: scene.whole.event in events)
    async with scene.whole.pool() as pool:
        assert await pool.fetchval("SELECT epoch FROM event WHERE id = $1", scene.whole.event) == int(epoch)
