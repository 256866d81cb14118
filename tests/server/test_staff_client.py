"""Staff's acts with the Python client, against a running server: each of them, and what it tells of a refusal."""

import asyncio
from collections import Counter as Multiset
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from lines import Lines
from test_counter import Counter, counter  # noqa: F401

from lml_live import errors
from lml_live.client import SeatsRefused, StaffClient, staff
from lml_live.gateway import wire
from lml_live.guard.partners import Partners
from lml_live.values import AVAILABLE, BLOCKED, HELD


def held(answer: wire.Hold | SeatsRefused) -> wire.Hold:
    assert isinstance(answer, wire.Hold), answer
    return answer


async def test_holds_for_customers_and_anybodys(counter: Counter, lines: Lines) -> None:  # noqa: F811
    began, event, seats = datetime.now(UTC), counter.event, counter.seats
    anna = await counter.browser()
    hers = await counter.public_hold(anna, 0)
    line = await lines.greeted(counter.server, token=counter.tokens[anna])
    async with StaffClient(counter.server.url + "/", counter.tokens["manager"]) as staff:
        blocked = await staff.block(event, "house", "press", runs=[(seats[1], seats[3])], areas={"floor": 4})
        assert (blocked.seats, blocked.areas, blocked.refused_seats) == (3, {"floor": 4}, ())
        await staff.block(event, "kill", "camera", seats=[seats[4]])
        kim = await staff.customer()

        async def hold(*chosen: int, over_house: bool = False, key: str | None = None) -> wire.Hold | SeatsRefused:
            ids = [seats[seat] for seat in chosen]
            return await staff.hold(
                event, kim.holder, "Kim", "class", seats=ids, areas={"floor": 1}, over_house=over_house, key=key
            )

        for chosen, over_house, taken in (((0, 5), True, 0), ((1, 5), False, 1), ((1, 4), True, 4)):
            refused = await hold(*chosen, over_house=over_house)
            assert isinstance(refused, SeatsRefused)
            assert (refused.code, refused.seats) == ("seat_taken", (seats[taken],))
        made = held(await hold(1, 5, over_house=True, key="once"))
        assert (made.seats, made.areas) == ((seats[1], seats[5]), {"floor": 1})
        assert held(await hold(1, 5, over_house=True, key="once")) == made, "sent twice it is done once"
        moved = held(await staff.move(made.id, "view", seats=[seats[2], seats[6]], over_house=True))
        assert (moved.id, moved.seats, moved.areas) == (made.id, (seats[2], seats[6]), {})
        assert [(one.id, one.customer, one.state, one.seats) async for one in staff.customer_holds(event)] == [
            (made.id, "Kim", "held", moved.seats)
        ]
        found = [(one.status, one.reason, one.customer) for one in await staff.seats(event, seats[1:5])]
        assert found == [
            *(("available", None, None), ("held", None, "Kim")),
            *(("house", "press", None), ("kill", "camera", None)),
        ]
        assert await staff.release(hers, "scalper") is None
        assert (await line.hear("hold_changed"))["reason"] == "staff"
        assert await staff.release(made.id, "did not come") is None
        with pytest.raises(errors.Refused) as gone:
            await staff.release(made.id, "again")
        assert gone.value.code == "hold_not_found"
        back = await staff.unblock(event, seats=[seats[0]], runs=[(seats[3], seats[4])], areas={"floor": 4})
        assert (back.seats, [one.seat_id for one in back.refused_seats], back.areas) == (2, [seats[0]], {"floor": 4})
        await line.hear_seats({0: AVAILABLE, 2: AVAILABLE, 4: AVAILABLE})
        told = [(one.act, one.status, one.reason) async for one in staff.changes(event, seat=seats[2], since=began)]
        assert told == [
            *(("block", "house", "press"), ("move", "held", "view"), ("release", "available", "did not come")),
        ]
        assert [one async for one in staff.changes(event, since=datetime.now(UTC) + timedelta(hours=1))] == []
        with pytest.raises(errors.Refused) as wrong:
            await staff.hold(event, kim.holder, "", "class", seats=[seats[0]])
        assert (wrong.value.code, wrong.value.errors[0].path) == ("invalid_message", "customer")


async def test_channels(counter: Counter, lines: Lines) -> None:  # noqa: F811
    event, seats = counter.event, counter.seats
    async with counter.server.pool() as pool:
        await Partners(pool).add("Tours", "tours")
    line = await lines.greeted(counter.server)
    await line.ask("hold", seats=[2])
    async with StaffClient(counter.server.url, counter.tokens["manager"]) as staff:
        later = datetime.now(UTC) + timedelta(hours=1)
        given = await staff.assign(
            event, "tours", "contract", runs=[(seats[0], seats[2])], areas={"floor": 41}, opens_at=later
        )
        assert (given.seats, [one.seat_id for one in given.refused_seats]) == (2, [seats[2]])
        assert [(one.area_id, one.code, one.available) for one in given.refused_areas] == [("floor", "area_full", 40)]
        await line.hear_seats({0: BLOCKED, 1: BLOCKED, 2: HELD})
        everybody, tours = await staff.channels(event)
        assert (everybody.channel, everybody.seats["held"], tours.seats["assigned"]) == ("open", 1, 2)
        assert tours.opens_at is not None
        opened = await staff.open_channel(event, "tours", "slow")
        assert (opened.seats["assigned"], opened.opened_at is not None) == (0, True)
        await line.hear_seats({0: AVAILABLE, 1: AVAILABLE})
    async with StaffClient(counter.server.url, counter.tokens["box_office"]) as clerk:
        with pytest.raises(errors.Refused) as refused:
            await clerk.assign(event, "tours", "contract", seats=[seats[0]])
        assert refused.value.code == "forbidden"


# --- Answers that are lost


@asynccontextmanager
async def answering(answer: Any) -> AsyncIterator[str]:
    """A server whose every answer is this handler's; its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as between:
        yield str(between.make_url("/"))


async def test_a_call_whose_answer_is_lost_is_repeated_and_done_once(counter: Counter) -> None:  # noqa: F811
    """Each first answer to a key is lost on the way back, when all is done: the second try hears it."""
    event, seats, tries = counter.event, counter.seats, Multiset[str]()
    async with counter.server.pool() as pool:
        await Partners(pool).add("Tours", "tours-of-losses")

    async def lose_the_first(request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in ("Authorization", "Idempotency-Key", "Content-Type")}
        async with http.request(
            request.method, f"{counter.server.url}{request.path_qs}", data=await request.read(), headers=headers
        ) as answer:
            body, status = await answer.read(), answer.status
        key = request.headers["Idempotency-Key"]
        tries[key] += 1
        if tries[key] == 1:
            assert status < 300, body
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status, body=body, content_type="application/json")

    async with (
        ClientSession() as http,
        answering(lose_the_first) as url,
        StaffClient(url, counter.tokens["manager"], random=lambda: 0.0) as desk,
        StaffClient(counter.server.url, counter.tokens["manager"]) as look,
    ):
        assert (await desk.block(event, "house", "press", seats=seats[:3], areas={"floor": 4})).areas == {"floor": 4}
        assert (await desk.unblock(event, areas={"floor": 1}, reason="fewer came")).areas == {"floor": 1}
        kim = await desk.customer()
        made = held(await desk.hold(event, kim.holder, "Kim", "class", seats=[seats[5]], areas={"floor": 2}))
        moved = held(await desk.move(made.id, "view", seats=[seats[6]]))
        assert await desk.release(moved.id, "did not come") is None
        assert (await desk.assign(event, "tours-of-losses", "contract", seats=[seats[8]])).seats == 1
        assert (await desk.open_channel(event, "tours-of-losses", "slow")).opened_at is not None
        sold = await desk.sell(event, "cash", seats=[seats[9]])
        assert not isinstance(sold, SeatsRefused)
        told = [(one.act, one.seat_id or one.quantity) async for one in look.changes(event)]
    assert len(tries) == 9
    assert set(tries.values()) == {2}, "each with its own key, and both times with the same"
    assert Multiset(told) == Multiset(
        [
            *(("block", seat) for seat in (*seats[:3], 4)),
            *(("unblock", 1), ("hold", seats[5]), ("hold", 2), ("move", seats[5]), ("move", 2), ("move", seats[6])),
            *(("release", seats[6]), ("assign", seats[8]), ("open", seats[8]), ("sell", seats[9])),
        ]
    )


GONE = (503, "unavailable")
RUNS = (409, "idempotency_in_progress")


@pytest.mark.parametrize(
    ("answers", "seconds_max", "outcome"),
    [
        ((GONE, RUNS, GONE, (204, "")), 60.0, None),
        ((GONE, (409, "hold_in_checkout")), 60.0, "hold_in_checkout"),
        ((GONE, (404, "hold_not_found")), 60.0, "hold_not_found"),
        (((429, "rate_limited"),), 60.0, "rate_limited"),
        ((GONE,), 0.0, "unavailable"),
        ((RUNS,), 0.0, "unavailable"),
    ],
)
async def test_what_is_repeated_and_for_how_long(
    answers: tuple[tuple[int, str], ...], seconds_max: float, outcome: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff, "REPEAT_SECONDS_MAX", seconds_max)
    left, keys = list(answers), set()

    async def answer(request: web.Request) -> web.Response:
        keys.add(request.headers["Idempotency-Key"])
        status, code = left.pop(0)
        body = {"code": code, "detail": "", "retry_after_ms": 1} if code else None
        return web.Response(status=204) if body is None else web.json_response(body, status=status)

    async with answering(answer) as url, StaffClient(url, "token") as desk, asyncio.timeout(30):
        try:
            done = await desk.release("hold-1", "did not come")
            heard = None if done is None else done.code
        except errors.LmlError as error:
            heard = error.code
    assert heard == outcome
    assert not left
    assert len(keys) == 1
