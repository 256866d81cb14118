"""Those who come back: a process of its own, with thousands of sockets. `python -m lml_live.bench.comebacks`."""

import base64
import contextlib
import heapq
import os
import select
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import msgspec

from lml_live.bench import bounds, frames
from lml_live.bench.comer import Comer, Hall
from lml_live.bench.orders import Come, Cut, Done, Leave, Order, Rest, Settle, read_order, write
from lml_live.inventory import seatmap

_LOOK_SECONDS: Final = 0.02
_BROKEN_TOLD: Final = 10


class _Crowd(Hall):
    """All of them, and the loop that they live in."""

    def __init__(self) -> None:
        super().__init__()
        self._comers: list[Comer] = []
        self._by_number: dict[int, Comer] = {}
        self._outside: deque[Comer] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._set = 0
        self._poll = select.epoll()
        self._live = 0
        self._is_done: Callable[[], bool] | None = None
        self._began = self._until = self._last_came = 0.0

    # --- What the comers tell

    def watch(self, number: int, comer: Comer) -> None:
        self._by_number[number] = comer
        self._poll.register(number, select.EPOLLOUT)

    def forget(self, number: int) -> None:
        del self._by_number[number]

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self._set += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._set, act))

    def came(self) -> None:
        self._live += 1
        self._last_came = time.perf_counter()
        if self._outside:
            self._outside.popleft().come()

    def left(self, *, was_live: bool) -> None:
        self._live -= was_live

    # --- Orders

    def obey(self, order: Order) -> None:
        """Begins what is asked for; the answer follows once it is done, or its time is over."""
        self._began = time.perf_counter()
        match order:
            case Come():
                self._open(order)
            case Cut():
                for comer in self._comers[: self.busy]:
                    comer.act()  # what it asks for may arrive or not; the answer is lost
                for comer in self._comers:
                    comer.reset()
                self._await(lambda: True, order.seconds_max)
            case Settle():
                self._await(
                    lambda: (
                        self.resumed + self.welcomed >= order.returned
                        and (
                            order.epoch is None
                            or all(comer.epoch == order.epoch and comer.seq >= order.seq for comer in self._comers)
                        )
                    ),
                    order.seconds_max,
                )
            case Rest():
                self.resting = True
                self._await(lambda: all(comer.asked is None for comer in self._comers), order.seconds_max)
            case Leave():
                for comer in self._comers:
                    comer.close()
                self._comers, self._timers, self._live = [], [], 0
                self._await(lambda: True, bounds.CHILD_STOP_SECONDS)
            case _:
                _say(Done(fault="this process has no such order"))

    def _open(self, order: Come) -> None:
        self.address = (order.host, order.port)
        self.handshake = frames.handshake(order.host, order.port, order.event)
        self.within_seconds, self.seed, self.busy = order.within_seconds, order.seed, order.busy
        self.pause_seconds = order.pause_seconds
        self.chance.seed(order.seed)
        self.resting = False
        self._comers = [Comer(self, number) for number in range(order.count)]
        self._outside.extend(self._comers)
        for _ in range(min(order.at_once, order.count)):
            self._outside.popleft().come()
        self._await(lambda: True, bounds.CHILD_ANSWER_SECONDS - bounds.CHILD_STOP_SECONDS)

    def _await(self, is_done: Callable[[], bool], seconds_max: float) -> None:
        self._is_done, self._until = is_done, time.perf_counter() + seconds_max

    def _look(self) -> None:
        """Answers, where there is something to answer."""
        if self._is_done is None:
            return
        missing = len(self._comers) - self._live
        if time.perf_counter() > self._until:
            self.breaks(f"not done in time: {missing} are not back")
        elif missing or not self._is_done():
            return
        self._is_done = None
        pictures = Counter(
            f"{comer.epoch} {comer.seq} {base64.b64encode(seatmap.pack(comer.seats)).decode()}"
            f" {msgspec.json.encode(comer.areas, order='deterministic').decode()}"
            for comer in self._comers
        )
        done = Done(
            sockets=self._live,
            seconds=max(self._last_came, self._began) - self._began,
            operations=self.operations,
            resumed=self.resumed,
            welcomed=self.welcomed,
            told=self.told,
            byes=self.byes,
            pictures=pictures,
            holds={comer.number: comer.hold for comer in self._comers if comer.hold is not None},
            repeated=self.repeated,
            broken=self.broken[:_BROKEN_TOLD],
        )
        self.begin_anew()
        _say(done)

    # --- The loop

    def run(self) -> None:
        """Until stdin ends."""
        self._poll.register(0, select.EPOLLIN)
        unread = b""
        while True:
            first = self._timers[0][0] - time.monotonic() if self._timers else _LOOK_SECONDS
            for number, event in self._poll.poll(max(0.0, min(first, _LOOK_SECONDS))):
                if number == 0:
                    said = os.read(0, 65_536)
                    if not said:
                        return
                    *lines, unread = (unread + said).split(b"\n")
                    for line in lines:
                        self.obey(read_order(line))
                elif (comer := self._by_number.get(number)) is not None:
                    if event == select.EPOLLOUT:
                        self._poll.modify(number, select.EPOLLIN)
                        comer.connected()
                    else:
                        comer.read()
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            self._look()


def _say(done: Done) -> None:
    sys.stdout.buffer.write(write(done))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _say(Done())
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        _Crowd().run()
