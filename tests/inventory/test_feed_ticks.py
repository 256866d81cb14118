"""When the feed reads: rooms that were opened at any moments are read together. What it looks at ends with it."""

import asyncio
import time
import warnings

import pytest
from inventory_fixtures import house_fixture, inventory_dsn_fixture, pool_fixture  # noqa: F401
from inventory_house import House
from waiting import eventually

from lml_live import limits
from lml_live.inventory.feed import Feed
from lml_live.inventory.rooms import Room


async def test_rooms_of_one_tick_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each room kept the phase in which it was opened: a hundred rooms were a hundred reads a tick."""
    feed, read = Feed(None, tick_ms=50), []  # type: ignore[arg-type]  # nothing here reads a book

    async def note(events: list[str]) -> None:
        read.append(sorted(events))

    monkeypatch.setattr(feed, "_feed", note)
    for opened, now in (("anna", 100.013), ("bert", 100.031)):
        feed._due[opened] = 0.0
        assert await feed._feed_due(now), "a new room is read at once"
    assert not await feed._feed_due(100.049), "and again when the tick is over"
    assert await feed._feed_due(100.051)
    assert await feed._feed_due(100.4), "seven ticks were missed: they are one read"
    assert not await feed._feed_due(100.401)
    assert read == [["anna"], ["bert"], ["anna", "bert"], ["anna", "bert"]]


async def test_a_feed_without_rooms_rests_until_one_is_opened(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whom nobody watched looked twenty times a second: most of what an idle server cost."""
    feed, turns = Feed(house.book, tick_ms=1), 0
    look = feed._check_books

    async def count(now: float) -> None:
        nonlocal turns
        turns += 1
        await look(now)

    monkeypatch.setattr(feed, "_check_books", count)
    event = await house.open_event()
    task = asyncio.create_task(feed.run())
    try:
        await asyncio.sleep(0.05)
        assert turns == 1
        await feed.room(event)
        await eventually(lambda: turns > 3)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_room_has_its_first_tick_however_slow_the_others_are(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feed slept until the next tick of the rooms that it knew, up to five seconds."""
    hour_ms = 3_600_000
    feed, read = Feed(house.book, tick_ms=hour_ms), []
    feed_them = feed._feed

    async def note(events: list[str]) -> None:
        read.extend(events)
        await feed_them(events)

    monkeypatch.setattr(feed, "_feed", note)
    slow, other = await house.open_event(), await house.open_event()
    task = asyncio.create_task(feed.run())
    try:
        for event in (slow, other):
            await feed.room(event)
            await eventually(lambda event=event: event in read)
        await asyncio.sleep(0.05)
        assert read == [slow, other], "and then it rests"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_books_are_looked_at_however_slow_the_rooms_are(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was done with a tick only: a Redis that was emptied went unnoticed for up to five seconds."""
    monkeypatch.setattr(limits, "BOOK_CHECK_SECONDS", 0.01)
    feed, looked = Feed(house.book, tick_ms=3_600_000), []

    async def look(event: str, _room: Room) -> None:
        looked.append(event)

    monkeypatch.setattr(feed, "_check", look)
    await feed.room(await house.open_event())
    task = asyncio.create_task(feed.run())
    try:
        await eventually(lambda: len(looked) > 3)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("turns", range(3))
async def test_who_ends_the_feed_ends_its_look_at_the_books(
    house: House, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """Ended before the looks had begun, these were left behind as coroutines that nobody ever awaited."""
    monkeypatch.setattr(limits, "BOOK_CHECK_SECONDS", 0.0)
    feed = Feed(house.book, tick_ms=10)
    for _ in range(2):
        await feed.room(await house.open_event())
    before = asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        task = asyncio.create_task(feed._check_books(time.monotonic()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not left
    assert asyncio.all_tasks() == before


async def test_a_look_at_a_book_that_fails_leaves_none_behind(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others went on in the background, and their next look beside them."""
    feed, looked = Feed(house.book, tick_ms=10), []
    broken, other = await house.open_event(), await house.open_event()

    async def look(event: str, _room: Room) -> None:
        if event == broken:
            raise RuntimeError("nobody thought of it")
        await asyncio.sleep(0.05)
        looked.append(event)

    monkeypatch.setattr(feed, "_check", look)
    for event in (broken, other):
        await feed.room(event)
    with pytest.raises(RuntimeError):
        await feed._check_books(time.monotonic())
    assert looked == [other]
