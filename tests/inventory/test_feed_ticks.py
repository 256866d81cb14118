"""When the feed reads: rooms that were opened at any moments are read together."""

import pytest

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
