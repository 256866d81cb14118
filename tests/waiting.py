"""What tests share without a fixture: waiting with a bound. (Several conftests live side by side; none has a name.)"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

from lml_live.devstack.servers import Valkey

ValkeyFactory = Callable[..., Awaitable[Valkey]]


async def eventually(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Waits until the condition, which may be a coroutine function, answers something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        await asyncio.sleep(0.02)
