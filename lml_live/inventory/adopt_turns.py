"""Whose turn it is to be restored: events that somebody waits for come before all others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class AdoptTurns:
    """Lets `at_once` names through at a time: those that `hurry` named first, then the others, as they came.

    A Redis that came back empty has every event of the house to be restored, and a buyer looks at one of them.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._hurried: set[str] = set()
        self._first: dict[str, asyncio.Future[None]] = {}
        self._others: dict[str, asyncio.Future[None]] = {}

    def hurry(self, name: str) -> None:
        """Somebody waits for a name whose turn is still to come: to be said between its task's start and its end."""
        self._hurried.add(name)
        if (waiting := self._others.pop(name, None)) is not None:
            self._first[name] = waiting

    @asynccontextmanager
    async def take(self, name: str) -> AsyncIterator[None]:
        """Waits for the turn of a name, and has it; a name waits once at a time."""
        try:
            await self._wait(name)
            try:
                yield
            finally:
                self._pass_on()
        finally:
            self._hurried.discard(name)

    async def _wait(self, name: str) -> None:
        if self._free:
            self._free -= 1
            return
        waiting = asyncio.get_running_loop().create_future()
        (self._first if name in self._hurried else self._others)[name] = waiting
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.cancelled():
                self._first.pop(name, None)
                self._others.pop(name, None)
            else:
                self._pass_on()  # the turn came in the same tick
            raise

    def _pass_on(self) -> None:
        while queue := self._first or self._others:
            waiting = queue.pop(next(iter(queue)))
            if not waiting.done():  # else whoever waited was cancelled in this tick
                waiting.set_result(None)
                return
        self._free += 1
