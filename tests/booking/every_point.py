"""A purchase, or a cancelling, that loses something after any of the calls it makes: its worker, PostgreSQL or Valkey.

What is between two calls is done in no time, so what dies after a call dies before the next.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from booking_house import ANNA, IDEAL, VISA, BookingHouse
from checker import check
from inventory_house import SCRIPTS
from payout_house import organised, paid_out, their_event
from stripe_house import stripe_client

from lml_live.booking.bookings import Booking
from lml_live.devstack.servers import Postgres, Valkey
from lml_live.devstack.stripe.process import StripeDouble
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.infra.rights import grant_rights, sign_in_of

CALLS_MAX = 80
READS = frozenset({"state_of", "read_hold", "load", "surplus", "open_notices", "to_expire", "retrieve"})
"""Whoever dies after one of them has died after the call before it."""
TAKES = frozenset({"lease_creates", "lease_work", "to_look_at"})
"""So it is after one of these that took nothing."""
PATIENCE = 100
_PAUSE_SECONDS = 0.05

Loss = Literal["worker", "postgres", "postgres, unheard", "valkey", "valkey, unheard"]
"""What is killed. `unheard`: it has done what it was asked, and dies before it can say so (F15: a lost COMMIT)."""
ENGINE_LOSSES: tuple[Loss, ...] = ("postgres", "postgres, unheard", "valkey", "valkey, unheard")
BUYING = ("confirmed", "cancelled", "at_once", "returned")
"""`at_once`: paid by a way that is not captured later. `returned`: given up, and paid by another intent."""
GIVING_BACK = ("refunded", "partially_refunded")
PAYING_OUT = ("paid_out", "taken_back")
"""A transfer to an organisation; and the reversal of one, after a refund that has ended."""
ENDINGS = (*BUYING, *GIVING_BACK, *PAYING_OUT)
_STATES = {"paid_out": "confirmed", "taken_back": "refunded", "at_once": "confirmed", "returned": "cancelled"}


class Died(BaseException):
    """kill -9 of the worker."""


class Mortal:
    """Something that a worker calls; after the worker's last call nothing is called any more."""

    def __init__(self, inner: Any, room: str, worker: "Worker") -> None:
        self._inner, self._room, self._worker = inner, room, worker

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        if name == "under":  # the same thing for another reader: nothing is called yet
            return lambda layouts: Mortal(found(layouts), self._room, self._worker)

        async def call(*args: Any, **named: Any) -> Any:
            await self._worker.will_call(name)
            if self._worker.dead:
                raise Died
            with self._worker.calling():
                answer = await found(*args, **named)
            idle = name in READS or (name in TAKES and not answer)
            await self._worker.has_called(self._room, name, idle=idle)
            return answer

        return call


class Worker:
    """A worker whose world loses something after so many of its calls to PostgreSQL, Redis and Stripe."""

    def __init__(self, stand: "Stand", point: int | str | None, loss: Loss, *, idle: bool = True) -> None:
        """`point` is how many calls, or the name of the last one; `idle`: those that change nothing count, too."""
        house = stand.house
        self._stand, self._point, self._loss, self._idle = stand, point, loss, idle
        self._calls = 0
        self.met = self.dead = False
        self.struck = ""
        """The call after which it happened."""
        bookings, holds = Mortal(house.bookings, "postgres", self), Mortal(house.holds, "valkey", self)
        payments = Mortal(house.payments, "stripe", self)
        self.refunds = Mortal(house.refunds, "postgres", self)
        self.transfers = Mortal(house.transfers, "postgres", self)
        connect = Mortal(house.connect, "stripe", self)
        self.completer = house.new_completer(
            *(bookings, holds, payments, self.refunds),  # type: ignore[arg-type]
            returns=Mortal(house.returns, "valkey", self),  # type: ignore[arg-type]
            paying=house.new_paying(bookings, self.transfers, payments, connect),  # type: ignore[arg-type]
        )
        self.checkout = house.new_checkout(self.completer)
        self.checkout._bookings, self.checkout._holds = bookings, holds  # type: ignore[assignment]

    async def will_call(self, name: str) -> None:
        """Nothing keeps it from calling."""

    def calling(self) -> AbstractContextManager[None]:
        """While a call is under way."""
        return nullcontext()

    async def has_called(self, room: str, name: str, *, idle: bool) -> None:
        """Counts a call, and strikes after the last. Raises `Died`, or `Unavailable` where the answer is lost."""
        if idle and not self._idle:
            return
        self._calls += 1
        if self.met or self._point not in (self._calls, name):
            return
        self.met = True
        victim, _, unheard = self._loss.partition(", ")
        if unheard and room != victim:
            return  # it is not the victim's answer, which could be lost
        self.struck = name
        if victim == "worker":
            self.dead = True
            raise Died
        await self._stand.strike(victim)
        if unheard:
            raise Unavailable("The connection was lost before the answer.")


class Client:
    """Sends a request again until somebody answers; the next worker lives for ever."""

    def __init__(self, stand: "Stand", point: int | str, loss: Loss, *, idle: bool) -> None:
        self.stand, self.loss = stand, loss
        self.first = self.worker = Worker(stand, point, loss, idle=idle)

    async def ask(self, request: Callable[[Worker], Awaitable[Any]]) -> Any:
        refusal: Unavailable | None = None
        for _ in range(PATIENCE):
            try:
                if self.worker.dead:
                    self.worker = Worker(self.stand, None, self.loss)
                    await self.stand.pass_time()
                return await request(self.worker)
            except Died:
                continue
            except Unavailable as error:
                refusal = error
                await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError(f"nobody answers: {refusal!r}") from refusal

    async def turn(self, rounds: int = 3) -> None:
        async def once(worker: Worker) -> None:
            await self.stand.pass_time()
            await worker.completer.turn()

        for _ in range(rounds):
            await self.ask(once)


class Stand:
    """A house, and the engines of its own that it may lose."""

    def __init__(self, house: BookingHouse, engines: dict[str, Postgres | Valkey] | None = None) -> None:
        self.house = house
        self._engines = engines or {}

    async def strike(self, victim: str) -> None:
        """kill -9, and it is started again."""
        await self._engines[victim].kill()
        await self._engines[victim].start()

    async def pass_time(self) -> None:
        """As the house's; its own connections, too, may be lost."""
        with postgres.driver_errors():
            await self.house.pass_time()

    async def rest(self) -> None:
        """As the house's."""
        with postgres.driver_errors():
            await self.house.rest()


@asynccontextmanager
async def own_stand(directory: Path, double: StripeDouble) -> AsyncIterator[Stand]:
    """A stand with a PostgreSQL and a Valkey to be killed."""
    database = Postgres(directory / "postgres", options={"fsync": "off", "full_page_writes": "off"})
    valkey = Valkey(directory / "valkey")
    try:
        await asyncio.gather(database.start(), valkey.start())
        await postgres.migrate(database.url)
        await grant_rights(database.url, *sign_in_of(database.server_url))
        pool, pipe = await postgres.connect_pool(database.url), Pipe(valkey.url, SCRIPTS)
        server = await postgres.connect_pool(database.server_url)
        await pipe.start()
        house = BookingHouse(pipe, pool, server, database.url, double)
        yield Stand(house, {"postgres": database, "valkey": valkey})
        await house.completer.close()
        await house.payments.close()
        await house.book.close()
        await pipe.close()
        await server.close()
        await pool.close()
    finally:
        await valkey.kill()
        await database.kill()


async def live_through(stand: Stand, point: int | str, ending: str, loss: Loss, *, idle: bool = True) -> str | None:
    """One purchase or cancelling in which something is lost after a call; answers which call that was.

    Empty where the call was none that this loss could meet, None where there were not so many calls.
    """
    house = stand.house
    await house.double.steering.reset()
    if ending in PAYING_OUT:
        event = await their_event(house, await organised(house))
    else:
        event = await house.open_event(areas={"floor": 10})
    house.ops.clear()
    key = f"{ending}{point}{loss}"
    client = Client(stand, point, loss, idle=idle)
    if ending in GIVING_BACK:
        booking = await house.sold(event, 3, floor=2, key=key)
        lines = [1, 3] if ending == "partially_refunded" else None
        await client.ask(lambda worker: worker.refunds.begin(booking.id, key, "ill", "s-1", lines=lines))
        await client.ask(lambda worker: worker.completer.hurry(booking.id))
    elif ending in PAYING_OUT:
        booking = await house.sold(event, 3, floor=2, key=key)
        if ending == "taken_back":
            await paid_out(house)
            await house.refund(booking)
            await house.completer.turn()  # the refund; what comes after it is decided by then
        else:
            await client.ask(lambda worker: worker.transfers.decide_due(5))
        await client.ask(lambda worker: worker.completer.hurry(booking.id))
    else:
        booking = await buy(client, event, key, ending)
    await client.turn()
    # No time passes in a rest: Redis is to be there again, as its first caller would find it.
    await client.ask(lambda _: house.book.recover(event, wait=True))
    await client.ask(lambda _: stand.rest())
    await client.ask(lambda _: stand.rest())
    where = f"{loss} lost after call {point}, {client.first.struck or 'none'}"
    assert await house.state(booking) == _STATES.get(ending, ending), where
    if ending in PAYING_OUT:
        assert len((await house.double.steering.ledger()).transfers) == 1, where
    intents = (await house.double.steering.ledger()).intents
    assert len(intents) == (2 if ending == "returned" else 1), where
    assert check(await house.read_run(event)) == [], where
    if not loss.startswith("valkey"):
        await house.audit(event)  # with its log, which begins anew where Redis does
    return client.first.struck if client.first.met else None


async def buy(client: Client, event: str, key: str, ending: str) -> Booking:
    """The purchase, as far as its buyer goes."""
    house = client.stand.house
    hold = await house.take(event, 3, floor=2)

    async def book(worker: Worker) -> Booking:
        made = await worker.checkout.book(event, "anna", hold, ANNA, house.quoting, key=key, expected_amount=None)
        assert isinstance(made, Booking), made
        return made

    booking = await client.ask(book)
    if booking.client_secret is None:
        await client.turn()
        booking = await client.ask(book)
    match ending:
        case "confirmed":
            assert await house.pay(booking) == "requires_capture"
        case "at_once":
            assert await house.pay(booking, IDEAL) == "requires_action"
            assert booking.intent_id is not None
            await house.double.steering.authenticate(booking.intent_id)
        case _:
            await client.ask(lambda worker: worker.checkout.cancel(booking))
    if ending == "returned":
        intent = await charge_again(house, booking)
        with postgres.driver_errors():
            await client.ask(lambda _: house.bookings.keep_notice(f"evt_{intent}", "payment_intent.succeeded", intent))
    return booking


async def charge_again(house: BookingHouse, booking: Booking, **more: Any) -> str:
    """Somebody makes another intent for a booking, and it is paid; answers its id."""
    wish = {"amount": booking.amount, "currency": "eur", "payment_method": VISA, "confirm": True}
    async with stripe_client(house.double) as client:
        made = await client.v1.payment_intents.create_async(
            {**wish, "payment_method_types": ["card"], "metadata": {"booking": booking.id}, **more}  # type: ignore[arg-type]
        )
    return str(made.id)


async def walk(stand: Stand, ending: str, loss: Loss, points: range, *, idle: bool = True) -> list[str]:
    """Every point of a flow, or those after calls that change something; answers the calls after which something was
    lost."""
    met = []
    for calls in points:
        struck = await live_through(stand, calls, ending, loss, idle=idle)
        if struck is None:
            return met
        if struck:
            met.append(struck)
    assert points.stop < CALLS_MAX, "it never ends"
    return met
