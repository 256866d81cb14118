"""A house that sells: the inventory's house with bookings, a checkout, completers and the Stripe double.

No loop runs in the background: tests say when a completer takes its turn, and time passes where they say so.
"""

import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

sys.path.append(str(Path(__file__).parents[1] / "inventory"))

from checker import check
from checker_rows import Op, Run
from inventory_house import LAYOUT_HASH, SECRET, House, held, seat_directory, seat_id
from run_reading import read_run, sums

from lml_live.booking.aftercare import Aftercare
from lml_live.booking.bookings import Booking, Bookings
from lml_live.booking.checkout import Buyer, Checkout, Quoted, Quoting
from lml_live.booking.claims import Line
from lml_live.booking.completer import Completer
from lml_live.booking.connect import Connect
from lml_live.booking.customers import Customers
from lml_live.booking.disputes import Disputes
from lml_live.booking.evidence import Evidence
from lml_live.booking.onboarding import Onboarding
from lml_live.booking.pace import Pace
from lml_live.booking.paying import Paying
from lml_live.booking.payment_queue import PaymentQueue
from lml_live.booking.payments import Payments
from lml_live.booking.refunds import Refund, Refunds
from lml_live.booking.stripe_connect import StripeConnect
from lml_live.booking.stripe_payments import StripePayments
from lml_live.booking.stripe_wallet import StripeWallet
from lml_live.booking.tickets import Tickets
from lml_live.booking.transfers import Transfers
from lml_live.devstack.stripe.process import StripeDouble
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import Record
from lml_live.inventory.returns import Returns
from lml_live.inventory.upkeep import Upkeep

PRICE, PLACE = 4_750, 1_650
METHODS = ("card", "ideal", "sepa_debit")
ANNA = Buyer("Anna", "anna@example.org")
VISA, DECLINED, THREE_D = "pm_card_visa", "pm_card_chargeDeclined", "pm_card_threeDSecure2Required"
IDEAL, DEBIT, BAD_DEBIT = "ideal", "sepa_debit", "sepa_debit that fails"
WAYS = {
    IDEAL: {"payment_method_data[type]": "ideal"},
    DEBIT: {
        "payment_method_data[type]": "sepa_debit",
        "payment_method_data[sepa_debit][iban]": "DE89370400440532013000",
    },
    BAD_DEBIT: {
        "payment_method_data[type]": "sepa_debit",
        "payment_method_data[sepa_debit][iban]": "DE62370400440532013001",
    },
}
"""What a page sends of a way to pay that is no card."""
MARK_SECONDS = 5


_TIME_PASSES = """
    WITH work AS (UPDATE outbox SET due = now(), leased_until = NULL WHERE done IS NULL AND stuck IS NULL),
        payments AS (UPDATE payment SET looked_at = now() - interval '1 hour'),
        notices AS (UPDATE stripe_notice SET due = now() WHERE done IS NULL),
        refunds AS (UPDATE refund SET looked_at = now() - interval '2 hours')
    UPDATE dispute SET looked_at = now() - interval '2 hours'
"""


class BookingHouse(House):
    """One worker that sells, signed in as the server's role; `pool` is the owner's, to arrange and to look.

    `price` is what a seat costs now.
    """

    def __init__(self, pipe: Pipe, owner: postgres.Pool, pool: postgres.Pool, dsn: str, double: StripeDouble) -> None:
        super().__init__(pipe, pool)
        self.pool = owner
        self.dsn, self.double = dsn, double
        self.pace = Pace(pool, calls=10_000, of_operation=10_000)
        self.payments = self.new_payments(*METHODS)
        self.customers = Customers(pool, StripeWallet(self.payments))
        self.bookings = Bookings(pool)
        self.refunds = Refunds(pool)
        self.returns = Returns(self.book)
        self.tickets = Tickets(pool)
        self.disputes = Disputes(pool)
        self.evidence = Evidence(pool, terms_url="https://tickets.example.org/terms")
        self.connect = StripeConnect(self.payments)
        self.transfers = Transfers(pool)
        self.onboarding = Onboarding(pool, self.connect)
        self.paying = self.new_paying()
        self.completer = self.new_completer()
        self.checkout = self.new_checkout(self.completer)
        self.price = PRICE
        self.fee = self.tax = 0
        self.ops: list[Op] = []
        """What the house's own clients asked for and heard, where they note it (`try_*`)."""

    def new_payments(self, *methods: str) -> StripePayments:
        """A worker's Stripe, and what is offered there."""
        keys = (self.double.secret_key, self.double.publishable_key, self.double.url)
        return StripePayments(self.pace, *keys, methods=methods)

    def new_completer(
        self,
        bookings: Bookings | None = None,
        holds: Holds | None = None,
        payments: Payments | None = None,
        refunds: Refunds | None = None,
        *,
        returns: Returns | None = None,
        paying: Paying | None = None,
        poll_seconds: float = 60,
    ) -> Completer:
        """Another worker's, with some of its world in another's place."""
        bookings, payments = bookings or self.bookings, payments or self.payments
        aftercare = Aftercare(
            *(bookings, refunds or self.refunds, self.disputes, returns or self.returns, payments),
            paying or self.paying,
            evidence=self.evidence,
        )
        customers = self.customers if payments is self.payments else None
        return Completer(bookings, holds or self.holds, payments, aftercare, customers, poll_seconds=poll_seconds)

    def new_paying(
        self,
        bookings: Bookings | None = None,
        transfers: Transfers | None = None,
        payments: Payments | None = None,
        connect: Connect | None = None,
    ) -> Paying:
        return Paying(
            *(bookings or self.bookings, transfers or self.transfers, self.onboarding),
            *(payments or self.payments, connect or self.connect),
        )

    def new_checkout(self, completer: Completer, admit: Callable[[], Awaitable[None]] | None = None) -> Checkout:
        queue = PaymentQueue(self.pace, pay_seconds=600)
        return Checkout(
            *(self.bookings, self.holds, completer, SECRET),
            pay_seconds=600,
            mark_seconds=MARK_SECONDS,
            admit=admit or queue.admit,
        )

    @property
    def quoting(self) -> Quoting:
        return Quoting(LAYOUT_HASH, self.quote)

    def quote(self, record: Record) -> Quoted:
        """A hold at one price a seat and one a place."""
        places = [(seat_id(seat), None, kind, self.price) for seat, kind in record.seat_types()]
        standing = [
            (None, area, kind, min(self.price, PLACE)) for area, kind, n in record.area_types() for _ in range(n)
        ]
        lines = tuple(
            Line(number, seat, area, kind, amount, self.fee, self.tax)
            for number, (seat, area, kind, amount) in enumerate([*places, *standing], 1)  # type: ignore[list-item]
        )
        return Quoted(lines, "EUR", 1)

    # --- Acts

    async def take(self, event: str, *seats: int, floor: int = 0, holder: str = "anna") -> str:
        """Holds seats and places; answers the hold's id."""
        areas = [("floor", "adult", floor)] if floor else []
        wishes = [(seat, "adult") for seat in seats]
        return held(await self.holds.hold_seats(event, holder, wishes, areas, key=None)).hold

    async def buy(
        self,
        event: str,
        hold: str,
        *,
        holder: str = "anna",
        key: str = "k",
        expected: int | None = None,
        buyer: Buyer = ANNA,
    ) -> Booking | Refusal:
        return await self.checkout.book(event, holder, hold, buyer, self.quoting, key=key, expected_amount=expected)

    async def claimed(self, event: str, hold: str, **more: Any) -> Booking:
        """A booking whose payment can begin."""
        booking = await self.buy(event, hold, **more)
        assert isinstance(booking, Booking), booking
        assert booking.client_secret is not None
        return booking

    async def pay(self, booking: Booking, card: str = VISA) -> str:
        """What the buyer's browser does, by a card or by another of `WAYS`; answers the intent's status, or the error's
        code."""
        form = {
            "key": self.double.publishable_key,
            "client_secret": booking.client_secret,
            "return_url": "http://127.0.0.1/back",
            **WAYS.get(card, {"payment_method": card}),
        }
        url = f"{self.double.url}/v1/payment_intents/{booking.intent_id}/confirm"
        async with aiohttp.ClientSession() as http, http.post(url, data=form) as answer:
            body = await answer.json()
        return str(body["error"]["code"] if "error" in body else body["status"])

    async def sold(
        self, event: str, *seats: int, floor: int = 0, card: str = VISA, holder: str = "anna", key: str = "k"
    ) -> Booking:
        """A booking that is paid for."""
        hold = await self.take(event, *seats, floor=floor, holder=holder)
        booking = await self.claimed(event, hold, holder=holder, key=key)
        assert await self.pay(booking, card) in ("requires_capture", "succeeded")
        await self.completer.look_at(booking.id)
        await self.rest()
        assert await self.state(booking) == "confirmed"
        return booking

    async def refund(self, booking: Booking, key: str = "r", **wish: Any) -> Refund:
        """A clerk's decision to give money back; Stripe is not asked yet."""
        made = await self.refunds.begin(booking.id, key, "the band is ill", "s-1", **wish)
        assert isinstance(made, Refund), made
        return made

    # --- Acts that are noted for the checker

    async def try_hold(
        self, event: str, *seats: int, floor: int = 0, holder: str = "anna", key: str = "h"
    ) -> Changed | Refusal:
        """Asks for a hold, whatever comes of it."""
        began = _now_ms()
        wishes = [(seat, "adult") for seat in seats]
        areas = [("floor", "adult", floor)] if floor else []
        answer = await self.holds.hold_seats(event, holder, wishes, areas, key=key)
        record = answer.record if isinstance(answer, Changed) else None
        self.ops.append(
            Op(
                client=holder,
                act="hold",
                key=key,
                asked=f"{seats} {floor}",
                seats=tuple(map(seat_id, seats)),
                areas={"floor": floor} if floor else {},
                outcome="fail" if isinstance(answer, Refusal) else "ok",
                code=answer.code if isinstance(answer, Refusal) else "",
                began_ms=began,
                ended_ms=_now_ms(),
                hold=answer.hold if isinstance(answer, Changed) else "",
                epoch="" if isinstance(answer, Refusal) else str(answer.epoch),
                until_ms=record.deadline_ms if record else 0,
                got=tuple(seat_id(seat) for seat, _ in record.seat_types()) if record else (),
                got_areas=sums((area, n) for area, _, n in record.area_types()) if record else {},
            )
        )
        return answer

    async def try_book(self, event: str, hold: str, *, holder: str = "anna", key: str = "k") -> Booking | Refusal:
        """Asks for a booking of a hold that `try_hold` was granted, whatever comes of it."""
        began = _now_ms()
        answer = await self.buy(event, hold, holder=holder, key=key)
        wish = next(op for op in self.ops if op.hold == hold)
        lines = answer.lines if isinstance(answer, Booking) else ()
        self.ops.append(
            Op(
                client=holder,
                act="book",
                key=key,
                asked=hold,
                seats=wish.seats,
                areas=wish.areas,
                outcome="fail" if isinstance(answer, Refusal) else "ok",
                code=answer.code if isinstance(answer, Refusal) else "",
                began_ms=began,
                ended_ms=_now_ms(),
                hold=hold,
                got=tuple(line.seat_id for line in lines if line.seat_id),
                got_areas=sums((line.area_id, 1) for line in lines if line.area_id),
                booking=answer.id if isinstance(answer, Booking) else "",
                state=answer.state if isinstance(answer, Booking) else "",
            )
        )
        return answer

    async def read_run(self, event: str) -> Run:
        """The run as everybody remembers it."""
        index_of = await seat_directory(await self.sale(event))
        return await read_run(self, event, await self.double.steering.ledger(), index_of, self.ops)

    # --- Time

    async def pass_time(self) -> None:
        """Pauses, leases and the poller's patience are over; what is leased is nobody's any more."""
        await self.pool.fetch(_TIME_PASSES)

    async def run_out(self, booking: Booking) -> None:
        """The time to pay is over."""
        await self.pool.execute("UPDATE booking SET expires_at = now() WHERE id = $1", booking.id)

    async def rest(self, *, rounds: int = 12) -> None:
        """Turns until nothing is left to do, with time passing in between."""
        for _ in range(rounds):
            await self.pass_time()
            await self.completer.turn()
            if not await self.pool.fetchval("SELECT count(*) FROM outbox WHERE done IS NULL AND stuck IS NULL"):
                await self.completer.turn()
                return
        faults = await self.pool.fetch("SELECT booking_id, act, tries, attempt, fault FROM outbox WHERE done IS NULL")
        raise AssertionError(f"never at rest: {[dict(row) for row in faults]}")

    async def settle_old_marks(self, event: str) -> None:
        """The sweep, when every mark is old."""
        upkeep = Upkeep(self.book, self.pool, self.dsn, sweep_ms=100, mark_seconds=MARK_SECONDS)
        upkeep.settle_mark = self.checkout.settle_mark
        self.pass_ms(MARK_SECONDS * 1000 + 1)
        await upkeep.sweep(event)

    # --- Looking

    async def state(self, booking: Booking | str) -> str | None:
        return await self.bookings.state_of(booking if isinstance(booking, str) else booking.id)

    async def history(self, booking: Booking) -> list[str]:
        rows = await self.pool.fetch(
            "SELECT to_state FROM booking_history WHERE booking_id = $1 ORDER BY number", booking.id
        )
        return [row["to_state"] for row in rows]

    async def acts(self, booking: Booking) -> dict[str, bool]:
        """What was to be done for it, and whether that was struck."""
        rows = await self.pool.fetch("SELECT act, struck FROM outbox WHERE booking_id = $1 ORDER BY id", booking.id)
        return {row["act"]: row["struck"] for row in rows}

    async def reasons(self, event: str, hold: str) -> list[tuple[str, str]]:
        """(state, reason) of every change of a hold, as its holder's sockets are told (`hold_changed`)."""
        return [
            (change.record.state, change.record.reason)
            for _, _, entry in await self.entries(event)
            for change in entry.holds
            if change.hold == hold
        ]

    async def seat_rows(self, booking: Booking) -> list[str]:
        rows = await self.pool.fetch("SELECT state FROM booking_seat WHERE booking_id = $1", booking.id)
        return [row["state"] for row in rows]

    async def taken(self, event: str, area: str = "floor") -> int:
        """PostgreSQL's counter of an area."""
        return int(await self.pool.fetchval("SELECT taken FROM event_area WHERE event_id = $1", event))

    async def assert_right(self, event: str) -> None:
        """At rest: the checker finds nothing, and Redis's book is consistent in itself."""
        assert check(await self.read_run(event)) == []
        await self.audit(event)


def _now_ms() -> int:
    return int(time.time() * 1000)
