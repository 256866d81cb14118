"""Two workers on one port: the same truth from both, clients that come back to either, and the end of each."""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator

import pytest
from lines import SEAT_COUNT, Line, Lines
from serving import LiveServer, OwnServer
from storm import sockets_of, storm_of
from views import Truth
from waiting import eventually

from lml_live.client import HoldResult, LiveClient, Synced
from lml_live.client.effects import Effect
from lml_live.devstack.servers import Valkey
from lml_live.gateway import wire
from lml_live.inventory import seatmap
from lml_live.values import AVAILABLE, HELD


@pytest.fixture
def two(mortal_pair: tuple[LiveServer, Valkey]) -> LiveServer:
    """A server of two workers, either of which may be killed."""
    return mortal_pair[0]


async def spread(server: LiveServer, lines: Lines) -> list[Line]:
    """Sockets until each worker has at least two; which worker takes a connection is for the kernel to say."""
    opened: list[Line] = []
    while True:
        opened += [await lines.greeted(server, (wire.JSON, wire.MSGPACK)[n % 2]) for n in range(6)]
        counts = await sockets_of(server)
        if min(counts.values()) >= 2:
            return opened
        assert len(opened) < 200, "one worker takes everything"


def sweeper(server: LiveServer) -> int:
    """The worker that sweeps: of those that live, the last that said so."""
    said = [int(text.split("worker[")[1].split("]")[0]) for text in server.output if "this worker sweeps" in text]
    return [pid for pid in said if pid in server.workers()][-1]


@pytest.fixture
async def clients() -> AsyncIterator[list[LiveClient]]:
    """Closed with the test."""
    made: list[LiveClient] = []
    yield made
    await asyncio.gather(*(client.close() for client in made))


def times_synced(news: list[Effect]) -> int:
    """How often a client's picture was made right: once at first, and once each time it came back."""
    return sum(isinstance(effect, Synced) for effect in news)


async def come(server: LiveServer, clients: list[LiveClient], count: int, told: list[list[Effect]]) -> None:
    """Clients that come back at once, and keep what they were told."""
    for number in range(count):
        news: list[Effect] = []
        told.append(news)
        client = LiveClient(
            server.url,
            server.event,
            fmt=(wire.JSON, wire.MSGPACK)[number % 2],
            random=lambda: 0.0,
            listener=news.append,
        )
        clients.append(client)
        await client.__aenter__()


async def test_both_workers_tell_the_same(live_pair: LiveServer, lines: Lines) -> None:
    everybody = await spread(live_pair, lines)
    for number, line in enumerate(everybody):
        answer = await line.ask("hold", seats=[number])
        assert answer["type"] == "held"
    for number, line in enumerate(everybody[:5]):
        assert (await line.ask("hold", seats=[number + 1]))["code"] == "seat_taken", "whoever asks, wherever"
    expected = dict.fromkeys(range(len(everybody)), HELD) | {len(everybody): AVAILABLE}
    for line in everybody:
        await line.hear_seats(expected)
    assert len({bytes(line.seats) for line in everybody}) == 1
    path = f"/api/v1/events/{live_pair.event}/availability"
    async with live_pair.session() as http, http.get(path) as answer:
        said = await answer.json()
    seats = seatmap.unpack(base64.b64decode(said["seats"]), SEAT_COUNT)
    for line in everybody:
        while line.seq < said["seq"]:
            await line.hear("diff")
        assert line.judged(Truth(said["epoch"], said["seq"], bytes(seats), said["areas"])) == []
    holders = {line.holder for line in everybody}
    assert len(holders) == len(everybody)


async def test_a_position_of_one_worker_is_good_at_the_other(live_pair: LiveServer, lines: Lines) -> None:
    """A client may have seen more than the worker it comes back to: that one reads the log before it answers."""
    everybody = await spread(live_pair, lines)
    for seat in range(20):
        line = everybody[seat % len(everybody)]
        await line.ask("hold", seats=[100 + seat])
        await line.hear_seats({100 + seat: HELD})
        epoch, seq = line.heard[0]["epoch"], line.seq
        for _ in range(3):
            again = await lines.open(live_pair)
            again.seats = bytearray(line.seats)
            resumed = await again.hello(resume={"epoch": epoch, "seq": seq})
            assert resumed["type"] == "resumed"
            assert resumed["seq"] >= seq
            assert again.seats[100 + seat] == HELD
            await again.close()


async def test_a_holder_on_both_workers_hears_of_each_hold(live_pair: LiveServer, lines: Lines) -> None:
    first = await lines.greeted(live_pair)
    mine = [await lines.greeted(live_pair, token=first.token) for _ in range(8)]
    held = await first.ask("hold", seats=[1])
    for line in mine:
        told = await line.hear("hold_changed")
        assert (told["hold"], told["seq"]) == (held["hold"]["id"], held["seq"])


async def test_a_lost_line_is_resumed(live_server: LiveServer, clients: list[LiveClient]) -> None:
    told: list[list[Effect]] = []
    await come(live_server, clients, 2, told)
    one, other = clients
    held = await one.hold(seats=[1, 2], areas={"floor": 2})
    assert isinstance(held, HoldResult)
    one.drop()
    await one.wait_for(lambda client: not client.connected)
    await other.hold(seats=[3])
    await one.wait_for(lambda client: client.connected and client.seats[3] == HELD)
    synced = [effect for effect in told[0] if isinstance(effect, Synced)]
    assert [effect.whole for effect in synced] == [True, False], "resumed, not welcomed anew"
    assert held.hold is not None
    assert set(one.holds) == {held.hold.id}
    assert isinstance(await one.release(held.hold.id), HoldResult)


async def test_a_killed_worker_is_replaced_and_its_clients_go_on(two: LiveServer, clients: list[LiveClient]) -> None:
    told: list[list[Effect]] = []
    await come(two, clients, 12, told)
    for number, client in enumerate(clients):
        assert isinstance(await client.hold(seats=[number]), HoldResult)
    before, counts = two.workers(), await sockets_of(two)
    victim = max(counts, key=lambda pid: counts[pid])
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: sum(times_synced(news) > 1 for news in told) >= counts[victim])
    everybody = dict.fromkeys(range(12), HELD)
    for client in clients:
        await client.wait_for(lambda client: client.connected and all(client.seats[s] == HELD for s in everybody))
    await eventually(lambda: len(two.workers()) == 2 and victim not in two.workers())
    assert set(before) - {victim} <= set(two.workers()), "the other one was left alone"

    for news in told:
        assert not any(effect.whole for effect in news[1:] if isinstance(effect, Synced)), "the history allows resuming"
    for number, client in enumerate(clients):
        (hold,) = client.holds.values()
        assert hold.seats == (number,)
        assert isinstance(await client.extend(hold.id), HoldResult), "holds outlive sockets and workers"
    await clients[0].hold(seats=[50])
    for client in clients:
        await client.wait_for(lambda client: client.seats[50] == HELD)


async def test_expired_holds_are_freed_though_the_sweeping_worker_died(two: LiveServer, lines: Lines) -> None:
    event = await two.new_event(hold_seconds=2, lifetime_seconds=2)
    line = await lines.greeted(two, event=event)
    os.kill(sweeper(two), signal.SIGKILL)
    async with LiveClient(two.url, event, random=lambda: 0.0) as client:
        await client.hold(seats=[1])
        await client.wait_for(lambda client: client.seats[1] == HELD)
        await client.wait_for(lambda client: client.seats[1] == AVAILABLE and not client.holds)
    await line.close()


async def test_a_worker_that_slept_gets_nothing_by_what_it_had_heard(live_pair: LiveServer, lines: Lines) -> None:
    """F7: the sweeping worker is stopped, and with it the lock that says who sweeps. The other one frees what is over
    and gives it to somebody else; what the first has unread in its sockets is refused when it wakes."""
    live_pair.event = await live_pair.new_event(hold_seconds=4, lifetime_seconds=60)
    everybody = await spread(live_pair, lines)
    sleeper = sweeper(live_pair)
    holds = [(await line.ask("hold", seats=[number]))["hold"]["id"] for number, line in enumerate(everybody)]
    os.kill(sleeper, signal.SIGSTOP)
    try:
        for line, hold in zip(everybody, holds, strict=True):
            await line.say("extend", id=1_000, hold=hold)
        awake = [line for line in everybody if await hears(line, 1_000)]
        asleep = [(number, line) for number, line in enumerate(everybody) if line not in awake]
        assert awake
        assert asleep
        for number, _ in asleep:
            await eventually(lambda number=number: taken(awake[number % len(awake)], number), 30)  # type: ignore[misc]
    finally:
        os.kill(sleeper, signal.SIGCONT)
    for number, line in asleep:
        assert (await line.hear("error", id=1_000))["code"] in ("hold_expired", "hold_not_found")
        assert (await line.ask("release", hold=holds[number]))["code"] in ("hold_expired", "hold_not_found")
        await line.hear_seats({number: HELD})


async def taken(line: Line, seat: int) -> bool:
    """Whether a socket gets a seat now; asked again after a while, for a socket may not ask as often as it likes."""
    answer = await line.ask("hold", seats=[seat])
    if answer["type"] != "held":
        assert answer["code"] in ("seat_taken", "rate_limited")
        await asyncio.sleep(0.25)
    return bool(answer["type"] == "held")


async def hears(line: Line, number: int) -> bool:
    """Whether its worker answers a request within a second."""
    try:
        async with asyncio.timeout(1):
            await line.hear("extended", "error", id=number)
    except TimeoutError:
        return False
    return True


async def test_a_graceful_stop_says_goodbye_to_everybody(own_server: OwnServer, lines: Lines) -> None:
    two, _ = await own_server(workers=2)
    everybody = await spread(two, lines)
    silent = await lines.open(two)
    stopped = asyncio.create_task(asyncio.to_thread(two.stop))
    codes = await asyncio.gather(*(line.closed() for line in [*everybody, silent]))
    assert set(codes) <= {wire.CLOSE_RESTART, wire.CLOSE_GOING_AWAY}
    for line in everybody:
        assert line.heard[-1]["type"] == "bye"
        assert set(line.heard[-1]) == {"type", "reason", "retry_after_ms"}
        assert line.heard[-1]["reason"] == "restart"
    assert await stopped == 0
    assert "Traceback" not in "".join(two.output)


async def test_workers_are_replaced_one_by_one_on_request(two: LiveServer, clients: list[LiveClient]) -> None:
    """F6: in the middle of a rush of holds and releases, of which none that was granted is lost.

    A crowd is told, too, and comes back when chance decides (ten thousand in `make faults`)."""
    told: list[list[Effect]] = []
    await come(two, clients, 24, told)
    over = asyncio.Event()

    async def rush(number: int, client: LiveClient) -> int:
        """Holds and gives back, on whatever worker; answers how often both were granted."""
        times = 0
        while not over.is_set():
            held = await client.hold(seats=[100 + number])
            if isinstance(held, HoldResult) and held.hold is not None:
                times += isinstance(await client.release(held.hold.id), HoldResult)
            else:  # its line was cut before it heard that its last hold is given back: so it gives it back again
                await give_back(client)
            await asyncio.sleep(0.1)  # a socket may not ask as often as it likes
        return times

    rushing = [asyncio.create_task(rush(number, client)) for number, client in enumerate(clients) if number > 1]
    held = await clients[0].hold(seats=[1])
    assert isinstance(held, HoldResult)
    async with storm_of(two, 150, 30) as storm:
        await storm.come(within_seconds=1, pause_seconds=0.3)
        await storm.restart()
        over.set()
        await storm.rest()
    assert all(await asyncio.gather(*rushing))
    for number, client in enumerate(clients):
        await client.wait_for(lambda client: client.connected and client.seats[1] == HELD)
        if number > 1:
            await give_back(client)
            assert isinstance(await client.hold(seats=[100 + number]), HoldResult), (
                "nobody else has it, and nobody lost"
            )
    mine = range(102, 100 + len(clients))
    for number, client in enumerate(clients):
        await client.wait_for(lambda client: {seat for seat in range(100, 130) if client.seats[seat]} == set(mine))
        assert [hold.seats for hold in client.holds.values()] == ([(100 + number,)] if number > 1 else [(1,)][number:])
    assert isinstance(await clients[1].hold(seats=[2]), HoldResult)
    for client in clients:
        await client.wait_for(lambda client: client.seats[2] == HELD)
    for news in told:
        assert not any(effect.whole for effect in news[1:] if isinstance(effect, Synced))


async def give_back(client: LiveClient) -> None:
    """All that the client holds, also what it was not told of yet."""
    await client.wait_for(lambda client: client.connected)
    for hold in list(client.holds):
        await client.release(hold)
