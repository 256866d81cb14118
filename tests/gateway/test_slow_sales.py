"""A sale on a socket that takes its time: whoever asks again hears of the one booking, and nobody is cut short.

A worker in the test's own process, on real engines, whose claim is held up.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from socket_house import Caller, LiveServer, calling
from waiting import eventually

from lml_live.booking.bookings import Bookings
from lml_live.gateway.conversation import Conversation
from lml_live.guard.staff import StaffDesk
from lml_live.infra import postgres
from lml_live.infra.config import Settings
from lml_live.infra.postgres import Pool

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse battery"
SALE = {"type": "sell", "id": 7, "seats": [1, 2], "areas": {"pit": 3}, "tender": "cash", "key": "k"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(server: LiveServer, socket_settings: Settings) -> AsyncIterator[Pool]:
    assert socket_settings.postgres_dsn is not None
    made = await postgres.connect_pool(socket_settings.postgres_dsn, size_max=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def token(pool: Pool) -> str:
    desk, email = StaffDesk(pool), f"{secrets.token_hex(4)}@example.com"
    await desk.add_staff(email, PASSWORD, ("box_office",))
    return (await desk.sign_in(email, PASSWORD)).token


class Held:
    """Holds the first claim up before or after it is made, until it may go on; the others pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
        self.came, self.go_on = asyncio.Event(), asyncio.Event()
        claim = Bookings.claim

        async def slow(bookings: Bookings, new: Any) -> Any:
            if self.came.is_set():
                return await claim(bookings, new)
            self.came.set()
            made = await claim(bookings, new) if after else None
            await self.go_on.wait()
            return made or await claim(bookings, new)

        monkeypatch.setattr(Bookings, "claim", slow)


async def answer(caller: Caller) -> dict[str, Any]:
    while True:
        heard = await caller.hear("sold", "error")
        if heard["id"] == SALE["id"]:
            return heard


async def sold(pool: Pool, event: str) -> int:
    """How many sales of this event stand."""
    count: int = await pool.fetchval("SELECT count(*) FROM booking WHERE event_id = $1 AND state = 'confirmed'", event)
    return count


@pytest.mark.parametrize("after", [False, True], ids=["before its claim", "after its claim"])
async def test_a_repetition_beside_a_slow_first_is_the_same_booking(
    server: LiveServer, pool: Pool, token: str, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    event = await server.open_event()
    held = Held(monkeypatch, after=after)
    hello = {"token": token}
    async with calling(server, event, hello=hello) as first, calling(server, event, hello=hello) as second:
        await first.say(SALE)
        async with asyncio.timeout(10):
            await held.came.wait()
        await second.say(SALE)
        quick = await answer(second)
        held.go_on.set()
        slow = await answer(first)
    assert (quick["type"], slow) == ("sold", quick)
    assert await sold(pool, event) == 1


async def test_a_sale_whose_socket_is_lost_is_made_to_the_end(
    server: LiveServer, pool: Pool, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await server.open_event()
    held, lost, feed_eof = Held(monkeypatch, after=False), asyncio.Event(), Conversation.feed_eof

    def noticed(conversation: Conversation) -> None:
        feed_eof(conversation)
        lost.set()

    monkeypatch.setattr(Conversation, "feed_eof", noticed)
    async with calling(server, event, hello={"token": token}) as first:
        await first.hear("welcome")
        await first.say(SALE)
        async with asyncio.timeout(10):
            await held.came.wait()
        connection = first.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()
        async with asyncio.timeout(10):
            await lost.wait()
    await asyncio.sleep(0)
    held.go_on.set()

    async def done() -> bool:
        return await sold(pool, event) == 1

    await eventually(done)
    async with calling(server, event, hello={"token": token}) as second:
        await second.say(SALE)
        assert len((await answer(second))["booking"]["seats"]) == 2
    assert await done()
