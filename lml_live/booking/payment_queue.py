"""How many payments are to be made before a booking's, and how long that takes: what buyers are shown, and what lets
new ones in (docs/decisions/024).

A worker's picture is `limits.QUEUE_LOOK_SECONDS` old at most, however many ask.
"""

import asyncio
import math
import time

from msgspec import Struct

from lml_live import limits
from lml_live.booking.pace import Pace
from lml_live.errors import Overloaded
from lml_live.infra.telemetry import METRICS


class Place(Struct, frozen=True):
    """A booking's place in the queue. `refresh_seconds`: sooner there is nothing new."""

    ahead: int
    estimated_seconds: int
    refresh_seconds: int


class PaymentQueue:
    """The queue as this worker last saw it."""

    def __init__(self, pace: Pace, *, pay_seconds: int, share_of_pay: float = limits.QUEUE_SHARE_OF_PAY) -> None:
        self._pace = pace
        self._wait_max = pay_seconds * share_of_pay
        self._places: dict[str, int] = {}
        self._per_second = math.inf
        self._looked = -math.inf
        self._looking = asyncio.Lock()

    async def place(self, booking: str) -> Place | None:
        """Where a booking stands; None where nobody is before it."""
        await self._look()
        ahead = self._places.get(booking, 0)
        if not ahead:
            return None
        seconds = math.ceil(ahead / self._per_second)
        return Place(ahead, seconds, min(max(1, seconds // 4), limits.QUEUE_REFRESH_SECONDS_MAX))

    async def admit(self) -> None:
        """Lets one more in. Raises `Overloaded` where its payment would not be ready in time for it to be paid."""
        await self._look()
        over = len(self._places) / self._per_second - self._wait_max
        if over > 0:
            raise Overloaded(
                "More are paying than we can serve in time. Your places stay yours until their time is up.",
                retry_after_ms=math.ceil(min(max(1.0, over), limits.QUEUE_RETRY_SECONDS_MAX) * 1000),
            )

    async def _look(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked < limits.QUEUE_LOOK_SECONDS:
                return
            bookings, self._per_second = await self._pace.queue()
            self._places = {booking: place for place, booking in enumerate(bookings)}
            self._looked = time.monotonic()
        METRICS.payment_queue.set(len(self._places))
        METRICS.payment_queue_seconds.set(len(self._places) / self._per_second)
