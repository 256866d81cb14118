"""What keeps a rush from being felt by others: a turnstile for those who come, a collector that passes them over."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from lml_live import limits
from lml_live.errors import Overloaded
from lml_live.gateway.collector import Collector
from lml_live.gateway.connection import Doorman
from lml_live.gateway.turnstile import Turnstile
from lml_live.guard.throttle import AddressCaps


@pytest.fixture
def collected() -> Iterator[None]:
    yield
    gc.unfreeze()


async def test_some_get_in_with_each_pass_and_those_who_are_half_in_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JOINS_IN_A_PASS", 2)
    turnstile, entered, passes = Turnstile(), [], []

    async def come(name: str, *, half_in: bool) -> None:
        await turnstile.enter(half_in=half_in)
        entered.append(name)

    coming = [asyncio.create_task(come(f"outside {number}", half_in=False)) for number in range(4)]
    coming += [asyncio.create_task(come(f"half in {number}", half_in=True)) for number in range(3)]
    while not all(task.done() for task in coming):
        before = len(entered)
        await asyncio.sleep(0)
        passes.append(len(entered) - before)
    assert entered == ["outside 0", "outside 1", "half in 0", "half in 1", "half in 2", "outside 2", "outside 3"]
    assert max(passes) == 2


async def test_who_gives_up_at_the_turnstile_takes_nobodys_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JOINS_IN_A_PASS", 1)
    turnstile = Turnstile()
    await turnstile.enter(half_in=False)
    given_up = asyncio.create_task(turnstile.enter(half_in=False))
    waiting = asyncio.create_task(turnstile.enter(half_in=False))
    await asyncio.sleep(0)
    given_up.cancel()
    await waiting
    for _ in range(3):
        await asyncio.sleep(0)
    await asyncio.wait_for(turnstile.enter(half_in=False), 5)


def test_who_comes_when_the_worker_is_full_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOCKETS_MAX", 3)
    doorman = Doorman((), AddressCaps(2, ()))
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        doorman.enter(address)
    for address in ("192.0.2.1", "192.0.2.3"):
        with pytest.raises(Overloaded) as refused:
            doorman.enter(address)
        assert refused.value.retry_after_ms == limits.BYE_MS
    doorman.leave("192.0.2.1")
    doorman.enter("192.0.2.3")
    with pytest.raises(Overloaded):
        doorman.enter("192.0.2.1")  # who was refused was not counted, and the worker is full again


class Node:
    """Something that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_who_came_is_passed_over_until_many_have_left(monkeypatch: pytest.MonkeyPatch, collected: None) -> None:
    monkeypatch.setattr(limits, "SOCKETS_CAME_TO_FREEZE", 10)
    monkeypatch.setattr(limits, "SOCKETS_LEFT_TO_COLLECT", 20)
    collector = Collector()
    gc.unfreeze()
    staying = Node()
    told = weakref.ref(staying)
    collector.look(9, 0)
    assert gc.get_freeze_count() == 0, "a few are not worth it"
    collector.look(10, 0)
    assert gc.get_freeze_count() > 0
    del staying
    gc.collect()
    assert told() is not None, "the collector passes over it"
    collector.look(12, 19)
    assert told() is not None
    collector.look(12, 20)
    assert told() is None
    assert gc.get_freeze_count() > 0
