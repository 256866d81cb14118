"""Engines, a server of two workers and the Stripe double that fault runs may kill; and how a run is judged."""

import contextlib
import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Protocol

import aiohttp
import booking_house
import msgspec
import run_reading
import stripe
from checker import check
from checker_rows import Op, Run, Violation
from inventory_house import SCRIPTS, SECRET, House
from serving import LiveServer, furnish
from stripe_house import stripe_client
from waiting import eventually

from lml_live.backoffice.extracts import Extracts
from lml_live.backoffice.trail import Trail
from lml_live.booking.bookings import Bookings
from lml_live.booking.matching import Matching
from lml_live.booking.onboarding import Onboarding
from lml_live.booking.organisations import NewOrganisation, Organisations
from lml_live.booking.pace import Pace
from lml_live.booking.stripe_connect import StripeConnect
from lml_live.booking.stripe_payments import StripePayments
from lml_live.booking.surplus import Surplus
from lml_live.booking.transfers import Transfers
from lml_live.devstack.servers import Postgres, Valkey
from lml_live.devstack.stripe.process import StripeDouble
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.inventory.book import Book
from lml_live.inventory.records import Sale

VICTIMS = ("worker", "both workers", "postgres", "valkey", "stripe", "wipe")
"""`wipe` is FLUSHALL: Redis runs on and has forgotten everything."""
PAY_SECONDS = 3
BANK_SECONDS = 2
"""What the buyers' banks take over a debit."""
WAITS = {
    "LML_PAY_SECONDS": str(PAY_SECONDS),
    "LML_POLL_SECONDS": "1",
    "LML_MARK_SECONDS": "1",
    "LML_LEASE_SECONDS": "1",
    "LML_SWEEP_MS": "50",
    "LML_BANK_SECONDS": "60",
    "LML_PAYMENT_METHODS": ",".join(booking_house.METHODS),
    "LML_STRIPE_CALLS": "400",
    "LML_STRIPE_ENDPOINT_CALLS": "200",
}
REST_SECONDS_MAX = 45
"""Clean runs are at rest in two: this is for machines that have much else to do, and says *never* all the same."""


class Remembers(Protocol):
    """A client of a run."""

    ops: list[Op]


class FaultStand:
    """Started once; every run has an event of its own on it."""

    def __init__(self, directory: Path, mongo_url: str) -> None:
        self.directory = directory
        self.mongo_url = mongo_url
        self.postgres = Postgres(directory / "postgres", options={"fsync": "off", "full_page_writes": "off"})
        self.valkey = Valkey(directory / "valkey", options={"appendonly": "yes"})
        self.double = StripeDouble(directory / "stripe")
        self.server: LiveServer
        self.seat_ids: list[str] = []
        self.killed: dict[str, int] = dict.fromkeys(VICTIMS, 0)
        self.fired: Counter[str] = Counter()
        """What else was done to it: the double's faults and its webhooks', by kind and call."""
        self.wiped_ms: list[int] = []
        self.event = ""
        """The run's."""
        self.buyers: list[Remembers] = []
        self.done: list[tuple[int, str]] = []
        """What was done to the run, and when."""
        self.said_before = 0
        """How many lines the server had said when the run began."""

    def ops(self) -> list[Op]:
        """What the run's clients remember."""
        return [op for buyer in self.buyers for op in buyer.ops]

    def note(self, what: str) -> None:
        """Something was done to the run, now."""
        self.done.append((int(time.time() * 1000), what))

    async def start(self) -> None:
        for engine in (self.postgres, self.valkey, self.double):
            await engine.start()
        await postgres.migrate(self.postgres.url)
        self.server = LiveServer(
            self.postgres.url,
            self.mongo_url,
            f"faults_{os.getpid()}",
            self.valkey.url,
            LML_WORKERS="2",
            LML_SECRET=SECRET.decode(),
            LML_STRIPE_API_KEY=self.double.secret_key,
            LML_STRIPE_PUBLISHABLE_KEY=self.double.publishable_key,
            LML_STRIPE_WEBHOOK_SECRET=self.double.webhook_secret,
            LML_STRIPE_API_BASE=self.double.url,
            **WAITS,
        )
        await furnish(self.server)
        self.server.start()
        await self.server.sign_in()  # the clerk's; kept for all runs

    async def stop(self) -> None:
        if hasattr(self, "server"):
            self.server.kill()
        for engine in (self.double, self.valkey, self.postgres):
            await engine.kill()

    async def new_event(self, *, paying: bool = False) -> str:
        """A fresh event, and a double without a past that sends its webhooks to the server.

        `paying`: it is an organisation's, whose account can be paid; `pay_out` makes it due.
        """
        await self.double.steering.reset()
        await self.double.steering.change_settings(
            webhook_url=f"{self.server.url}/api/v1/webhooks/stripe",
            processing_seconds=BANK_SECONDS,
            webhook_retry_first_ms=100,
            webhook_retry_max_ms=500,
        )
        self.buyers, self.done, self.said_before = [], [], len(self.server.output)
        if self.event:
            # What was judged is over: hundreds of events on sale would all be adopted at each kill of the next runs.
            await self.server.close_event(self.event)
        self.event = event = await self.server.new_event(hold_seconds=60, lifetime_seconds=120)
        async with self.server.session() as http:
            async with http.get(f"/api/v1/events/{event}/layout") as answer:
                rows = (await answer.json(content_type=None))["sections"][0]["rows"]
            self.seat_ids = [seat["seat_id"] for row in rows for seat in row["seats"]]

            async def open_for_all() -> bool:
                async with http.get(f"/api/v1/events/{event}/availability") as answer:
                    return answer.status == 200

            await eventually(open_for_all)
        if paying:
            await self._organise(event)
        return event

    async def _organise(self, event: str) -> None:
        name = f"org-{secrets.token_hex(4)}"
        async with self.server.pool() as pool, self._stripe(pool) as stripe:
            organisations, onboarding = Organisations(pool), Onboarding(pool, StripeConnect(stripe))
            new = NewOrganisation(
                id=name, name="City Opera", currency="EUR", hold_back_days=0, fee_basis_points=700, fee_per_ticket=50
            )
            made = await organisations.create(new)
            await organisations.add_venue(name, "Opera House", venue=name)
            await organisations.put_event(name, name, event)
            await onboarding.begin(made, "DE", "http://127.0.0.1/organisation")
            account = (await organisations.load(name)).account
            assert account is not None
            assert account.id is not None
            await self.double.steering.onboard(account.id)
            await onboarding.noticed(account.id)
            await onboarding.look()
        self.fired["organisations onboarded"] += 1

    @contextlib.asynccontextmanager
    async def _stripe(self, pool: postgres.Pool) -> AsyncIterator[StripePayments]:
        stripe = StripePayments(Pace(pool), self.double.secret_key, self.double.publishable_key, self.double.url)
        try:
            yield stripe
        finally:
            await stripe.close()

    async def begin(self, event: str) -> None:
        """The event begins: what it brings is due from now on."""
        with contextlib.suppress(Unavailable):
            async with self.server.pool() as pool:
                await pool.execute("UPDATE event SET starts_at = now() WHERE id = $1", event)

    async def pay_out(self) -> int:
        """One look at what is due, as the leader takes four times a minute; workers do what it decides."""
        try:
            async with self.server.pool() as pool:
                decided = await Transfers(pool).decide_due(50)
        except Unavailable:
            return 0
        self.fired["transfers decided"] += decided
        return decided

    async def unpaid(self, event: str) -> list[str]:
        """What still waits to be transferred when all is due, but for what a bank decides about."""
        async with self.server.pool() as pool:
            rows = await pool.fetch(
                "SELECT b.id, b.state FROM transfer t JOIN booking b ON b.id = t.booking_id"
                " WHERE t.event_id = $1 AND t.state = 'waiting' AND b.state <> 'disputed'",
                event,
            )
        return [f"the organisation is never paid of {row['id']}, which is {row['state']}" for row in rows]

    async def match(self, event: str) -> list[str]:
        """What of the event's money differs, after what had differed was looked at."""
        async with self.server.pool() as pool, self._stripe(pool) as stripe:
            matching = Matching(pool, stripe.read_transactions, settle_seconds=0)
            matching.suspect = Surplus(pool, Bookings(pool)).suspect
            first = await matching.match()
            self.fired["matches that differed"] += bool(first.differences)
            await matching.have_looked_at(first)
            left = await self.rest(event)
            again = await matching.match()
            ours = {row["id"] for row in await pool.fetch("SELECT id FROM booking WHERE event_id = $1", event)}
        return [f"never at rest: {left}"] * bool(left) + [one.text for one in again.differences if one.booking in ours]

    # --- Faults

    async def kill(self, victim: str, rng: random.Random) -> None:
        """kill -9, now."""
        self.killed[victim] += 1
        self.note(f"kill {victim}")
        match victim:
            case "worker" | "both workers":
                workers = self.server.workers()
                for pid in workers if victim == "both workers" else [rng.choice(workers)] if workers else []:
                    with contextlib.suppress(ProcessLookupError):  # of another fault, a moment ago
                        os.kill(pid, signal.SIGKILL)
            case "postgres":
                await self.postgres.kill()
            case "valkey":
                await self.valkey.kill()
            case "stripe":
                await self.double.kill()
            case "wipe":
                pipe = Pipe(self.valkey.url, SCRIPTS)
                await pipe.start()
                self.wiped_ms.append(int(time.time() * 1000))
                await pipe.call("FLUSHALL")
                await pipe.close()

    async def kill_unless_dead(self, victim: str, rng: random.Random) -> None:
        """The same, where a fault of the double's has not done it already; that counts, too."""
        if victim == "stripe" and self.double.pid is None:
            self.killed["stripe"] += 1
            self.note("stripe was dead already")
        else:
            await self.kill(victim, rng)

    async def heal(self) -> None:
        """Everything runs again, and no fault is on."""
        self.note("heal")
        for engine in (self.postgres, self.valkey):
            await engine.start()
        await eventually(self.heal_double, REST_SECONDS_MAX)

        async def all_serve() -> bool:
            try:
                async with self.server.session() as http, http.get("/readyz") as answer:
                    return answer.status == 200 and len(self.server.workers()) == 2
            except (aiohttp.ClientError, OSError):
                return False

        await eventually(all_serve, REST_SECONDS_MAX)
        self.note("all serve")

    async def heal_double(self) -> bool:
        """The double runs without faults; false where it died of one that was still on (they outlive it)."""
        try:
            await self.double.start()
            await self.double.steering.clear_faults()
            await self.double.steering.release()
        except Unavailable:
            return False
        return True

    async def charge_again(self, booking: str, amount: int, currency: str) -> None:
        """Somebody makes another intent for a booking, and charges it."""
        with contextlib.suppress(stripe.StripeError):
            async with stripe_client(self.double, timeout=3) as client:
                await client.v1.payment_intents.create_async(
                    {
                        "amount": amount,
                        "currency": currency.lower(),
                        "payment_method_types": ["card"],
                        "payment_method": "pm_card_visa",
                        "confirm": True,
                        "metadata": {"booking": booking},
                    }
                )

    # --- The end

    async def rest(self, event: str) -> str:
        """Waits until nothing is left to do; answers what is left where that never comes."""
        left = "it could not be asked"

        async def is_at_rest() -> bool:
            nonlocal left
            try:
                async with self.server.pool() as pool:
                    rows = await pool.fetch(
                        "SELECT id, state FROM booking WHERE event_id = $1"
                        " AND state IN ('pending_payment', 'cancelling', 'expiring', 'authorized')",
                        event,
                    )
                    work = await pool.fetch(
                        "SELECT booking_id, act, tries, fault FROM outbox WHERE event_id = $1 AND done IS NULL", event
                    )
                    # What is for days from now has its turn today.
                    await pool.execute(
                        "UPDATE outbox SET due = now() WHERE event_id = $1 AND done IS NULL AND stuck IS NULL"
                        " AND due > now() + interval '2 minutes'",
                        event,
                    )
                    notices = await pool.fetch(
                        "SELECT n.id, n.type FROM stripe_notice n JOIN payment p USING (intent_id)"
                        " JOIN booking b ON b.id = p.booking_id WHERE b.event_id = $1 AND n.done IS NULL",
                        event,
                    )
                    await pool.execute("UPDATE stripe_notice SET due = now() WHERE done IS NULL")
            except Unavailable:
                return False
            left = f"{[tuple(row) for row in rows]} {[tuple(row) for row in work]} {[tuple(row) for row in notices]}"
            at_rest = not rows and not work and not notices
            return at_rest and not await self._marks(event)

        try:
            await eventually(is_at_rest, REST_SECONDS_MAX)
        except AssertionError:
            return left
        self.note("at rest")
        return ""

    async def _marks(self, event: str) -> int:
        async with self._house() as house:
            return sum(one.state == "checkout" for one in (await house.records(event)).values())

    def _house(self) -> "_Visitor":
        return _Visitor(self)

    async def judge(self, event: str, ops: list[Op]) -> tuple[Run, list[Violation]]:
        """The run as everybody remembers it, and what is wrong with it."""
        async with self._house() as house:
            index_of = {seat: index for index, seat in enumerate(self.seat_ids)}
            ledger = await self.double.steering.ledger()
            run = await run_reading.read_run(house, event, ledger, index_of, map(self._as_remembered, ops))
            run = msgspec.structs.replace(run, chain_faults=await chain_faults(house.pool, event))
        for fault in ledger.faults:
            self.fired[f"{fault.operation} {fault.kind}"] += fault.fired
        for webhooks in ledger.webhook_faults:
            self.fired[f"webhooks {webhooks.kind}"] += webhooks.fired
        return run, check(run)

    def _as_remembered(self, op: Op) -> Op:
        """A hold that Redis was made to forget is over: nobody promised that it outlives that (architecture.md)."""
        wiped = [moment for moment in self.wiped_ms if op.began_ms <= moment < op.until_ms]
        return msgspec.structs.replace(op, until_ms=wiped[0], forgotten=True) if wiped else op


_UNCHAINED = """
    SELECT count(*) FROM (
        SELECT 'act' AS log, number FROM audit_record WHERE event_id = $1
        UNION ALL SELECT 'booking', number FROM booking_history WHERE event_id = $1
        UNION ALL SELECT 'seat', number FROM status_change WHERE event_id = $1) AS record
    WHERE NOT EXISTS (SELECT FROM audit_link l WHERE l.log = record.log AND l.number = record.number)
"""


async def chain_faults(pool: postgres.Pool, event: str) -> tuple[str, ...]:
    """What is wrong with an event's audit chain, once all its records have their links."""

    async def all_are_chained() -> bool:
        await Trail(pool).chain()
        return not await pool.fetchval(_UNCHAINED, event)

    await eventually(all_are_chained, REST_SECONDS_MAX)
    return tuple(fault.text for fault in (await Extracts(pool).check(event)).faults)


class _Visitor:
    """A house of one's own on the stand's engines, to look with."""

    def __init__(self, stand: FaultStand) -> None:
        self._stand = stand

    async def __aenter__(self) -> House:
        self._pool = await postgres.connect_pool(self._stand.server.dsn, size_max=3)
        self._pipe = Pipe(self._stand.valkey.url, SCRIPTS)
        await self._pipe.start()
        house = House(self._pipe, self._pool)

        async def directory(_sale: Sale) -> Mapping[str, int]:
            return {seat: index for index, seat in enumerate(self._stand.seat_ids)}

        house.book = Book(self._pipe, self._pool, directory)
        return house

    async def __aexit__(self, *_: object) -> None:
        await self._pipe.close()
        await self._pool.close()
