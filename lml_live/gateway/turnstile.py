"""How thousands who come at once get in without anybody else's noticing: some in each pass of the loop.

Whoever asks `enter` goes on in this pass or a later one. Those who are half in, whose `hello` waits for its welcome,
go before those who have only knocked: else all would be half in for seconds, and lose patience.
"""

import asyncio
from collections import deque

from lml_live import limits


class Turnstile:
    """Lets `JOINS_IN_A_PASS` in, all together, between two looks of the loop at its sockets."""

    def __init__(self) -> None:
        self._half_in: deque[asyncio.Future[None]] = deque()
        self._outside: deque[asyncio.Future[None]] = deque()
        self._left = limits.JOINS_IN_A_PASS
        self._next: asyncio.Handle | None = None

    async def enter(self, *, half_in: bool) -> None:
        """Waits for its turn; at once where nobody else does."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.call_soon(self._begin_pass)
        if self._left and not self._half_in and not (self._outside and not half_in):
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        (self._half_in if half_in else self._outside).append(turn)
        await turn

    def _begin_pass(self) -> None:
        self._next = None
        self._left = limits.JOINS_IN_A_PASS
        while self._left and (self._half_in or self._outside):
            turn = (self._half_in or self._outside).popleft()
            if not turn.done():  # who waits no more was cancelled
                turn.set_result(None)
                self._left -= 1
        if self._half_in or self._outside or not self._left:
            self._next = asyncio.get_running_loop().call_soon(self._begin_pass)
