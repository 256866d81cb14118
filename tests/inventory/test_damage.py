"""A single key that Redis lost, or a log that nobody can read: the one event is built anew, the others go on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held
from waiting import eventually

from lml_live import limits
from lml_live.inventory.feed import Feed

HELD = 1
PIT = {"pit": 10}
PARTS = ("seats", "areas", "log")


@pytest.fixture
async def feed(house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Feed]:
    """A feed that looks at its books all the time."""
    monkeypatch.setattr(limits, "BOOK_CHECK_SECONDS", 0.0)
    fed = Feed(house.book, tick_ms=10)
    task = asyncio.create_task(fed.run())
    yield fed
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def ask(house: House, event: str) -> bytes:
    sale = await house.sale(event)
    keys = [sale.key(name) for name in ("seats", "book", "areas", "log")]
    answer = await house.pipe.run("check_book", keys, [sale.stamp, sale.seat_count, sale.area_fields, 0])
    word: bytes = answer[0]
    return word


@pytest.mark.parametrize("part", PARTS)
async def test_an_inventory_that_lacks_a_part_is_never_read_as_whole(house: House, part: str) -> None:
    event = await house.open_event(areas=PIT)
    held(await house.holds.hold_seats(event, "anna", adults(4), [("pit", "adult", 2)], key=None))
    sale = await house.sale(event)
    await house.pipe.call("DEL", sale.key(part))
    _, seats, areas = await house.inventory(event)
    assert (await house.sale(event)).epoch == sale.epoch + 1
    assert (seats[4], areas["pit"]) == (HELD, (8, 2, 0, 0))
    await house.remember_start(event)


async def test_an_inventory_is_read_at_one_moment_while_others_change_it(house: House, valkey_url: str) -> None:
    event = await house.open_event()
    before, _, _ = await house.inventory(event)
    other = await house.hire(valkey_url)

    async def hold() -> None:
        for seat in range(20):
            held(await other.holds.hold_seats(event, f"holder-{seat}", adults(seat), (), key=None))

    holding = asyncio.create_task(hold())
    moments = set()
    while not holding.done():
        seq, seats, _ = await house.inventory(event)
        assert seats.count(HELD) == seq - before
        moments.add(seq)
    await holding
    assert len(moments) > 2, "nothing was read in the middle"


@pytest.mark.parametrize("part", PARTS)
async def test_a_lost_part_closes_the_book_and_the_holds_come_back(house: House, part: str) -> None:
    """Only the stamp was looked at: seats, areas or log could go, and every seat was `seat_taken` for ever, every
    answer an error, or held seats shown as free."""
    event = await house.open_event(areas=PIT)
    held(await house.holds.hold_seats(event, "anna", adults(4), [("pit", "adult", 2)], key=None))
    assert await ask(house, event) == b"whole"
    sale = await house.sale(event)
    await house.pipe.call("DEL", sale.key(part))
    assert await ask(house, event) == b"damaged"
    assert await ask(house, event) == b"no_book", "nobody acts on it any more"
    await house.inventory(event)
    assert (await house.states(event))[4] == HELD
    assert await house.area(event, "pit") == (8, 2, 0, 0)
    assert (await house.sale(event)).epoch == sale.epoch + 1
    await house.remember_start(event)
    await house.audit(event)


@pytest.mark.parametrize("part", PARTS)
async def test_who_opens_a_damaged_inventory_gets_a_whole_one(house: House, part: str) -> None:
    event = await house.open_event(areas=PIT)
    held(await house.holds.hold_seats(event, "anna", adults(4), [], key=None))
    await house.pipe.call("DEL", (await house.sale(event)).key(part))
    await house.inventory(event)
    assert (await house.states(event))[4] == HELD
    await house.remember_start(event)
    await house.audit(event)


@pytest.mark.parametrize("part", PARTS)
async def test_a_watched_event_that_lost_a_part_goes_on_in_a_new_epoch(house: House, feed: Feed, part: str) -> None:
    event = await house.open_event(areas=PIT)
    room = await feed.room(event)
    held(await house.holds.hold_seats(event, "anna", adults(4), [], key=None))
    await eventually(lambda: room.states("public")[4] == HELD)
    before = room.epoch
    await house.pipe.call("DEL", (await house.sale(event)).key(part))
    await eventually(lambda: room.epoch > before)
    assert room.states("public")[4] == HELD


async def test_a_log_that_cannot_be_read_harms_one_event_only(house: House, feed: Feed) -> None:
    """The first entry that could not be read ended the feeding of every event of the worker, twenty times a second."""
    broken, sound = await house.open_event(areas=PIT), await house.open_event(areas=PIT)
    rooms = {event: await feed.room(event) for event in (broken, sound)}
    before = rooms[broken].epoch
    sale = await house.sale(broken)
    await house.pipe.call("XADD", sale.key("log"), f"{sale.epoch}-*", "e", b"\xc1 is no msgpack")
    held(await house.holds.hold_seats(sound, "anna", adults(4), [], key=None))
    await eventually(lambda: rooms[sound].states("public")[4] == HELD)
    await eventually(lambda: rooms[broken].epoch > before)
    held(await house.holds.hold_seats(broken, "anna", adults(5), [], key=None))
    await eventually(lambda: rooms[broken].states("public")[5] == HELD)
