"""Two and a hundred clients on one seat; what everybody sees."""

import asyncio

from serving import LiveServer

from lml_live.client import HoldResult, LiveClient, Refusal
from lml_live.values import AVAILABLE, HELD


async def test_two_clients_on_one_seat_have_one_winner_and_both_see_it(live_server: LiveServer) -> None:
    async with (
        LiveClient(live_server.url, live_server.event) as one,
        LiveClient(live_server.url, live_server.event) as other,
    ):
        await one.wait_for(lambda client: client.epoch is not None)
        await other.wait_for(lambda client: client.epoch is not None)
        answers = await asyncio.gather(one.hold(seats=[10, 11]), other.hold(seats=[11, 12]))
        won = [answer for answer in answers if isinstance(answer, HoldResult)]
        lost = [answer for answer in answers if isinstance(answer, Refusal)]
        assert len(won) == len(lost) == 1
        assert lost[0].code == "seat_taken"
        assert lost[0].seats == (11,)
        for client in (one, other):
            await client.wait_for(lambda client: client.seats[11] == HELD)
        winner = one if answers[0] is won[0] else other
        assert won[0].hold is not None
        await winner.release(won[0].hold.id)
        for client in (one, other):
            await client.wait_for(lambda client: client.seats[11] == AVAILABLE)


async def test_a_hundred_clients_on_one_pair_have_one_winner(live_server: LiveServer) -> None:
    clients = [LiveClient(live_server.url, live_server.event) for _ in range(100)]
    try:
        await asyncio.gather(*(client.__aenter__() for client in clients))
        await asyncio.gather(*(client.wait_for(lambda c: c.epoch is not None, 30) for client in clients))
        answers = await asyncio.gather(*(client.hold(seats=[100, 101]) for client in clients))
        assert sum(isinstance(answer, HoldResult) for answer in answers) == 1
        assert {answer.code for answer in answers if isinstance(answer, Refusal)} == {"seat_taken"}
        await asyncio.gather(
            *(client.wait_for(lambda c: c.seats[100] == c.seats[101] == HELD, 30) for client in clients)
        )
        assert sum(bool(client.holds) for client in clients) == 1
    finally:
        await asyncio.gather(*(client.close() for client in clients))
