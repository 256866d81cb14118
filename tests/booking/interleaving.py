"""Buyers and workers whose calls are interleaved by a seed, which also says after which of them a worker dies.

Everybody stops before each call to PostgreSQL, Redis or Stripe, and only one goes on at a time: the seed says who. So
no engine's speed decides what overtakes what, and a seed that was red tells the same story again (by the same
PYTHONHASHSEED, where a set says in which order some calls begin).
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

from booking_house import ANNA, DECLINED, IDEAL, VISA, BookingHouse
from checker import check
from checker_rows import Op
from every_point import Died, Stand, Worker, charge_again

from lml_live.booking.bookings import Booking
from lml_live.errors import Unavailable
from lml_live.inventory.answers import Changed

_WISHES = ("pay", "pay", "pay", "cancel", "late", "again", "notice", "refund")
BUYERS, WORKERS, SEATS = ("anna", "ben", "cleo"), 2, 3
DEATHS = 0.03
"""How often a call is a worker's last."""
_TURNS, _ACTS, _TRIES, _DEATHS_MAX = 7, 3, 40, 6
_PASSES = 20
"""Of the loop, in which everybody who is let begin comes to a first call."""
_STUCK_SECONDS = 0.2
"""Whoever has not come to its next call by then has ended, or waits for somebody else."""


class Schedule:
    """Lets one go on at a time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.told: list[str] = []
        """Who went on, with what."""
        self.deaths = 0
        self._under_way = 0
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._moved = asyncio.Event()

    async def pause(self, name: str) -> None:
        """Stops until it is this one's turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, turn))
        self._moved.set()
        await turn

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """While whoever goes on waits for an engine, nobody else does."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._moved.set()

    def dies(self) -> bool:
        """Whether a worker dies here."""
        dies = self.deaths < _DEATHS_MAX and self.rng.random() < DEATHS
        self.deaths += dies
        return dies

    async def lead(self, actors: Sequence[Coroutine[Any, Any, None]]) -> None:
        """To the end of all of them, and of what they have begun."""
        tasks = [asyncio.create_task(actor) for actor in actors]
        for task in tasks:
            task.add_done_callback(lambda _: self._moved.set())
        while self._waiting or not all(task.done() for task in tasks):
            for _ in range(_PASSES):
                await asyncio.sleep(0)
            self._moved.clear()
            if self._waiting and not self._under_way:
                name, turn = self._waiting.pop(self.rng.randrange(len(self._waiting)))
                self.told.append(name)
                if not turn.done():
                    turn.set_result(None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STUCK_SECONDS):
                    await self._moved.wait()
        for task in tasks:
            task.result()


class Stepping(Worker):
    """A worker that stops before each of its calls, and may die after it."""

    def __init__(self, stand: Stand, schedule: Schedule, name: str) -> None:
        super().__init__(stand, None, "worker")
        self._schedule, self._name = schedule, name

    async def will_call(self, name: str) -> None:
        await self._schedule.pause(f"{self._name}: {name}")

    def calling(self) -> contextlib.AbstractContextManager[None]:
        return self._schedule.calling()

    async def has_called(self, room: str, name: str, *, idle: bool) -> None:
        if self.dead or (not idle and self._schedule.dies()):
            self.dead = True
            self._schedule.told.append(f"{self._name} dies")
            raise Died


class Actor:
    """Somebody with a worker, and with another one when that is dead."""

    def __init__(self, stand: Stand, schedule: Schedule, event: str, name: str) -> None:
        self.stand, self.house, self.schedule, self.event, self.name = stand, stand.house, schedule, event, name
        self.worker = Stepping(stand, schedule, name)

    async def ask(self, request: Callable[[Worker], Awaitable[Any]]) -> Any:
        """Until somebody answers."""
        for _ in range(_TRIES):
            try:
                return await request(self.worker)
            except Died:
                self.worker = Stepping(self.stand, self.schedule, self.name)
            except Unavailable:
                pass
            await self.schedule.pause(f"{self.name} asks again")
        raise AssertionError(f"nobody answers {self.name}")

    async def buy(self) -> None:
        """Holds, books, and then does a few of the things that buyers, banks and Stripe do."""
        await self.schedule.pause(f"{self.name}: comes")
        house, rng = self.house, self.schedule.rng
        seats = rng.sample(range(1, SEATS + 1), rng.randint(1, 2))
        with self.schedule.calling():
            held = await house.try_hold(self.event, *seats, floor=rng.randint(0, 1), holder=self.name)
        await self.schedule.pause(f"{self.name}: has a hold")
        if not isinstance(held, Changed):
            return
        booking = await self.ask(
            lambda worker: worker.checkout.book(
                self.event, self.name, held.hold, ANNA, house.quoting, key="k", expected_amount=None
            )
        )
        if not isinstance(booking, Booking):
            return
        for _ in range(_ACTS):
            await self._act(
                booking.id, rng.choice(("pay", "pay", "pay", "cancel", "late", "again", "notice", "refund"))
            )
        with self.schedule.calling():
            found = await house.bookings.load(booking.id)
        assert found is not None
        heard = Op(
            client=self.name, act="read", outcome="ok", began_ms=0, ended_ms=0, booking=found.id, state=found.state
        )
        house.ops.append(heard)

    async def _act(self, name: str, act: str) -> None:
        house, rng = self.house, self.schedule.rng
        with self.schedule.calling():
            booking = await house.bookings.load(name)
        assert booking is not None
        if act == "cancel":
            await self.ask(lambda worker: worker.checkout.cancel(booking))
        elif act == "refund":
            wish, key = rng.choice(({}, {"lines": [1]}, {"amount": 1_000})), rng.choice("ab")
            await self.ask(lambda worker: worker.refunds.begin(name, key, "ill", "s-1", **wish))
        elif act == "late":
            with self.schedule.calling():
                await house.run_out(booking)
        elif booking.intent_id is not None:
            await self._at_stripe(booking, booking.intent_id, act)
        await self.schedule.pause(f"{self.name}: {act}")

    async def _at_stripe(self, booking: Booking, intent: str, act: str) -> None:
        """Pays, or somebody pays by another intent, or Stripe says again that it was paid."""
        house, rng, told = self.house, self.schedule.rng, "payment_intent.succeeded"
        with self.schedule.calling():
            if act == "again":
                other = await charge_again(house, booking)
                await house.bookings.keep_notice(f"evt_{other}", told, other)
            elif act == "notice":
                await house.bookings.keep_notice(f"evt_{booking.id}_{rng.randint(0, 1)}", told, intent)
            elif await house.pay(booking, rng.choice((VISA, VISA, DECLINED, IDEAL))) == "requires_action":
                with contextlib.suppress(Unavailable):
                    await house.double.steering.authenticate(intent, passed=rng.random() < 0.8)

    async def work(self) -> None:
        """Turns of a completer; between some of them leases end, whoever is at work."""
        for _ in range(_TURNS):
            await self.ask(lambda worker: worker.completer.turn())
            if self.schedule.rng.random() < 0.5:
                with self.schedule.calling():
                    await self.house.pass_time()
            await self.schedule.pause(f"{self.name}: turn")


async def live_through(house: BookingHouse, seed: int) -> Schedule:
    """A sale, as the seed tells it, and its judgement at rest."""
    await house.double.steering.reset()
    event = await house.open_event(areas={"floor": 2})
    house.ops.clear()
    schedule, stand = Schedule(seed), Stand(house)
    buyers = [Actor(stand, schedule, event, name) for name in BUYERS]
    workers = [Actor(stand, schedule, event, f"worker {n}") for n in range(WORKERS)]
    await schedule.lead([*(buyer.buy() for buyer in buyers), *(worker.work() for worker in workers)])
    await house.settle_old_marks(event)
    for _ in range(2):
        await house.rest()
        await house.pool.execute("UPDATE booking SET expires_at = now() WHERE state = 'pending_payment'")
    await house.rest()
    wrong = check(await house.read_run(event))
    assert wrong == [], f"seed {seed}: {wrong}\n" + "\n".join(schedule.told)
    await house.audit(event)
    return schedule
