"""Staff's acts with the Python client, against a running server: each of them, and what it tells of a refusal."""

from datetime import UTC, datetime, timedelta

import pytest
from lines import Lines
from test_counter import Counter, counter  # noqa: F401

from lml_live import errors
from lml_live.client import SeatsRefused, StaffClient
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
