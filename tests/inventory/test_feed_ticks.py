"""When the feed reads: rooms that were opened at any moments are read together."""

import asyncio

import pytest
from inventory_fixtures import house_fixture, inventory_dsn_fixture, pool_fixture  # noqa: F401
from inventory_house import House
from waiting import eventually

from lml_live.inventory.feed import Feed


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
