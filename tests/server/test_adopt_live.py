"""Redis is lost, cut short or older while a server of two workers runs (architecture.md, "Redis may be lost …").

Twenty clients have holds, one is paying, one has bought. After each kind of loss there is exactly one new epoch, all
know it unasked, what PostgreSQL claims is as it was, and within an epoch no seat was granted twice.
"""

import asyncio
import base64
import contextlib
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio
from lines import SEAT_COUNT, Line, Lines, booking_side
from serving import LiveServer
from waiting import eventually

from lml_live.client import HoldResult, LiveClient, Refusal, Synced
from lml_live.client.effects import Effect
from lml_live.devstack.servers import Valkey
from lml_live.gateway import wire
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed
from lml_live.values import AVAILABLE, HELD, SOLD

CLIENTS = 20
PAYING, BOUGHT, EARLY = 0, 1, range(2, 11)
"""Who pays, who bought, and who held before the copy or the cut; the rest held after it."""


class House:
    """A server, its Valkey, and twenty clients with holds."""

    def __init__(self, server: LiveServer, valkey: Valkey) -> None:
        self.server = server
        self.valkey = valkey
        self.clients: list[LiveClient] = []
        self.told: list[list[Effect]] = []
        self.holds: list[wire.Hold] = []

    async def come(self) -> None:
        for number in range(CLIENTS):
            news: list[Effect] = []
            fmt = (wire.JSON, wire.MSGPACK)[number % 2]
            client = LiveClient(self.server.url, self.server.event, fmt=fmt, random=lambda: 0.0, listener=news.append)
            self.told.append(news)
            self.clients.append(client)
            await client.__aenter__()

    async def hold(self, number: int) -> None:
        """Client n holds seats 2n and 2n + 1, and every third one a place on the floor."""
        answer = await self.clients[number].hold(
            seats=[2 * number, 2 * number + 1], areas={"floor": 1} if number % 3 == 0 else {}
        )
        assert isinstance(answer, HoldResult)
        assert answer.hold is not None
        self.holds.append(answer.hold)

    def booking(self, number: int) -> str:
        return f"b-{number}-{self.server.event}"

    async def claim(self, number: int, *, sold: bool) -> None:
        """The client's hold is a booking: marked in Redis, claimed in PostgreSQL, and perhaps sold."""
        hold, booking = self.holds[number], self.booking(number)
        async with booking_side(self.server) as acts:
            marked = await acts.checkout_hold(self.server.event, str(self.clients[number].holder), hold.id, booking)
            assert isinstance(marked, Changed)
            async with self.server.pool() as pool, pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end,"
                    " buyer_name, buyer_email, amount, currency, prices_version, expires_at)"
                    " VALUES ($1, $2, $3, $4, $5, 'pending_payment', now(), now() + interval '30 minutes',"
                    " 'Anna', 'anna@example.org', 0, 'EUR', 1, now() + interval '1 hour')",
                    *(booking, self.server.event, hold.id, self.clients[number].holder, marked.epoch),
                )
                ids = [(await self.seat_ids())[int(seat)] for seat in hold.seats]
                await connection.executemany(
                    "INSERT INTO booking_seat (booking_id, event_id, seat_id, type, state)"
                    " VALUES ($1, $2, $3, $4, 'claimed')",
                    [(booking, self.server.event, seat_id, hold.lines[0].type) for seat_id in ids],
                )
                for area, quantity in hold.areas.items():
                    await connection.execute(
                        "INSERT INTO booking_area (booking_id, event_id, area_id, type, quantity, state)"
                        " VALUES ($1, $2, $3, $4, $5, 'claimed')",
                        *(booking, self.server.event, area, hold.lines[-1].type, quantity),
                    )
                if sold:
                    await connection.execute("UPDATE booking SET state = 'confirmed' WHERE id = $1", booking)
                    for table in ("booking_seat", "booking_area"):
                        await connection.execute(f"UPDATE {table} SET state = 'sold' WHERE booking_id = $1", booking)
            if sold:
                assert await acts.sell_hold(self.server.event, hold.id, booking) is not None

    async def seat_ids(self) -> list[str]:
        async with (
            self.server.session() as http,
            http.get(f"/api/v1/events/{self.server.event}/layout") as answer,
        ):
            rows = (await answer.json(content_type=None))["sections"][0]["rows"]
        return [seat["seat_id"] for row in rows for seat in row["seats"]]

    async def availability(self) -> tuple[str, bytearray, dict[str, Any]]:
        async with (
            self.server.session() as http,
            http.get(f"/api/v1/events/{self.server.event}/availability") as answer,
        ):
            shown = await answer.json()
        return shown["epoch"], seatmap.unpack(base64.b64decode(shown["seats"]), SEAT_COUNT), shown["areas"]

    async def epoch(self) -> int:
        async with self.server.pool() as pool:
            found: int = await pool.fetchval("SELECT epoch FROM event WHERE id = $1", self.server.event)
        return found

    async def written(self) -> Path:
        """The append-only file, when all that was answered is in it."""
        async with redis.asyncio.from_url(self.valkey.url) as client:
            await client.execute_command("WAITAOF", 1, 0, 5000)
        return self.valkey.directory / "appendonlydir"


class Greedy:
    """Somebody who asks for everything all the time, and whose grants are the record."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.granted: list[tuple[str, int]] = []
        """(epoch, seat)."""
        self.refused: set[str] = set()
        self.ended = False

    async def run(self, seats: list[int]) -> None:
        while not self.ended:
            for seat in seats:
                answer = await self.line.ask("hold", seats=[seat])
                if answer["type"] == "held":
                    self.granted.append((answer["epoch"], seat))
                else:
                    self.refused.add(answer["code"])
                if answer.get("code") == "rate_limited":
                    await eventually(self._may_ask_again)

    async def _may_ask_again(self) -> bool:
        return self.ended or (await self.line.ask("ping"))["type"] == "pong"


@contextlib.asynccontextmanager
async def greed(house: House, lines: Lines, seats: list[int]) -> AsyncIterator[list[Greedy]]:
    """Four of them while something happens."""
    asking = [Greedy(await lines.greeted(house.server)) for _ in range(4)]
    tasks = [asyncio.create_task(one.run(seats)) for one in asking]
    try:
        yield asking
    finally:
        for one in asking:
            one.ended = True
        await asyncio.gather(*tasks)


@pytest.fixture
async def house(mortal_pair: tuple[LiveServer, Valkey]) -> AsyncIterator[House]:
    made = House(*mortal_pair)
    try:
        await made.come()
        for number in (PAYING, BOUGHT, *EARLY):
            await made.hold(number)
        await made.claim(PAYING, sold=False)
        await made.claim(BOUGHT, sold=True)
        yield made
    finally:
        await asyncio.gather(*(client.close() for client in made.clients))


async def late_comers(house: House) -> None:
    for number in range(EARLY.stop, CLIENTS):
        await house.hold(number)


async def empty(house: House, line: Line) -> None:
    """FLUSHALL."""
    await late_comers(house)
    async with redis.asyncio.from_url(house.valkey.url) as client:
        await client.flushall()


async def restart(house: House, line: Line) -> None:
    """kill -9; the append-only file is whole."""
    await late_comers(house)
    await house.written()
    await house.valkey.kill()
    await held_off(line)
    await house.valkey.start()


async def cut(house: House, line: Line) -> None:
    """kill -9, and the tail of the append-only file, half an entry included, is gone."""
    # Else a slow fsync puts writes off, and the file is shorter than what was answered.
    async with redis.asyncio.from_url(house.valkey.url) as client:
        await client.config_set("appendfsync", "always")
    (log,) = (await house.written()).glob("*.incr.aof")
    size = log.stat().st_size
    await late_comers(house)
    await house.written()
    await house.valkey.kill()
    with log.open("r+b") as file:
        file.truncate(size + 9)
    await held_off(line)
    await house.valkey.start()


async def older(house: House, line: Line) -> None:
    """Another Valkey takes its place, with an older copy of its data."""
    directory = await house.written()
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    await late_comers(house)
    await house.valkey.kill()
    shutil.rmtree(directory)
    copy.rename(directory)
    await held_off(line)
    await house.valkey.start()


async def held_off(line: Line) -> None:
    """While Redis is away a hold is answered at once, and honestly."""

    async def unavailable() -> bool:
        answer = await line.ask("hold", seats=[299])
        assert answer["type"] == "error", "nothing can be granted without Redis"
        assert answer["code"] == "unavailable"
        return answer["retry_after_ms"] is not None

    await eventually(unavailable)


async def epochs(line: Line) -> list[str]:
    """The epochs that a socket was welcomed in, once there are two."""
    await line.quiet()
    welcomes = [message["epoch"] for message in line.heard if message["type"] == "welcome"]
    return welcomes if len(welcomes) > 1 else []


@pytest.mark.parametrize(
    ("lose", "survivors"),
    [
        pytest.param(empty, (), id="emptied"),
        pytest.param(restart, range(2, CLIENTS), id="killed"),
        pytest.param(cut, EARLY, id="cut"),
        pytest.param(older, EARLY, id="older"),
    ],
)
async def test_what_redis_loses_is_made_good(house: House, lines: Lines, lose: Any, survivors: Any) -> None:
    before = await house.epoch()
    watcher = await lines.greeted(house.server)
    async with greed(house, lines, [0, 1, 2, 3, 200, 201]) as greedy:
        await lose(house, watcher)
        for client in house.clients:
            await client.wait_for(lambda client: client.epoch == str(before + 1), 20)
    line = await lines.greeted(house.server)

    # One new epoch, and everybody was told once, unasked.
    assert await house.epoch() == before + 1, "exactly one"
    for client, news in zip(house.clients, house.told, strict=True):
        assert client.connected
        synced = [effect for effect in news if isinstance(effect, Synced)]
        assert [(effect.epoch, effect.whole) for effect in synced] == [(str(before), True), (str(before + 1), True)]
    assert await eventually(lambda: epochs(watcher)) == [str(before), str(before + 1)]

    # Everybody sees the same, and it is what the server says.
    async def agree() -> bool:
        epoch, seats, areas = await house.availability()
        shown = {area: wire.AreaCounts(**counts) for area, counts in areas.items()}
        return all((c.epoch, c.seats, c.areas) == (epoch, seats, shown) for c in house.clients)

    await eventually(agree)

    # What PostgreSQL knows of holds whatever Redis lost.
    one = house.clients[2]
    assert [one.seats[seat] for seat in (0, 1, 2, 3)] == [HELD, HELD, SOLD, SOLD]
    for seat in (0, 1, 2, 3):
        assert (await line.ask("hold", seats=[seat]))["code"] == "seat_taken"
    for number, state in ((PAYING, "checkout"), (BOUGHT, "sold")):
        (hold,) = house.clients[number].holds.values()
        assert (hold.id, hold.state, hold.booking) == (house.holds[number].id, state, house.booking(number))
    assert one.areas["floor"].held == 1 + sum(n % 3 == 0 for n in survivors)

    # Holds that survived are listed and can be used; those that did not are gone, and their seats are free.
    for number in range(2, CLIENTS):
        client, hold = house.clients[number], house.holds[number]
        if number in survivors:
            assert set(client.holds) == {hold.id}
            assert isinstance(await client.extend(hold.id), HoldResult)
            assert isinstance(await client.release(hold.id, seats=[2 * number]), HoldResult)
        else:
            assert not client.holds
            refused = await client.release(hold.id)
            assert isinstance(refused, Refusal)
            assert refused.code in ("hold_not_found", "hold_expired")
            assert isinstance(await client.hold(seats=[2 * number, 2 * number + 1]), HoldResult)

    # Nobody was granted what another had, in either epoch.
    grants: dict[tuple[str, int], int] = defaultdict(int)
    for grant in (grant for each in greedy for grant in each.granted):
        grants[grant] += 1
    assert all(count == 1 for count in grants.values()), grants
    assert not any(seat in (0, 1, 2, 3) for _, seat in grants)
    assert {seat for _, seat in grants} == {200, 201}
    codes = set().union(*(each.refused for each in greedy))
    assert codes <= {"seat_taken", "unavailable", "rate_limited"}


async def test_an_event_that_nobody_watches_comes_back_when_it_is_asked_for(
    mortal_pair: tuple[LiveServer, Valkey], lines: Lines
) -> None:
    server, valkey = mortal_pair
    line = await lines.greeted(server)
    assert (await line.ask("hold", seats=[1]))["type"] == "held"
    token = line.token
    await line.close()
    await valkey.kill()
    await valkey.start()

    async def welcomed() -> bool:
        try:
            again = await lines.open(server)
        except aiohttp.WSServerHandshakeError as refused:
            if refused.status != 503:  # a worker that has not heard of the event yet
                raise
            return False
        await again.say("hello", token=token)
        first = await again.receive()
        assert first is not None
        if first["type"] != "welcome":
            assert (first["type"], first["code"]) == ("error", "unavailable")
            assert await again.closed() == wire.CLOSE_TRY_LATER
            assert again.heard[-1]["type"] == "bye"
            return False
        assert [hold["seats"] for hold in first["holds"]] == [[1]]
        assert again.seats[1] == HELD
        assert (await again.ask("release", hold=first["holds"][0]["id"]))["type"] == "released"
        await again.hear_seats({1: AVAILABLE})
        return True

    await eventually(welcomed)
