"""A house that sells: the inventory's house with bookings, a checkout, completers and the Stripe double.

No loop runs in the background: tests say when a completer takes its turn, and time passes where they say so.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

sys.path.append(str(Path(__file__).parents[1] / "inventory"))

from checker import AreaRow, BookingRow, HoldRow, IntentRow, Run, check
from inventory_house import SECRET, House, held, seat_directory, seat_id

from lml_live.booking.bookings import Booking, Bookings, Line
from lml_live.booking.checkout import Buyer, Checkout, Quoted
from lml_live.booking.completer import Completer
from lml_live.booking.payments import StripePayments
from lml_live.clock import to_ms
from lml_live.devstack.stripe.ledger import Ledger
from lml_live.devstack.stripe.process import StripeDouble
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.inventory.holds import Refusal
from lml_live.inventory.records import Record
from lml_live.inventory.upkeep import Upkeep

PRICE, PLACE = 4_750, 1_650
ANNA = Buyer("Anna", "anna@example.org")
VISA, DECLINED, THREE_D = "pm_card_visa", "pm_card_chargeDeclined", "pm_card_threeDSecure2Required"
MARK_SECONDS = 5


class BookingHouse(House):
    """One worker that sells. `price` is what a seat costs now."""

    def __init__(self, pipe: Pipe, pool: postgres.Pool, dsn: str, double: StripeDouble) -> None:
        super().__init__(pipe, pool)
        self.dsn, self.double = dsn, double
        self.payments = StripePayments(double.secret_key, double.publishable_key, double.url)
        self.bookings = Bookings(pool)
        self.completer = Completer(self.bookings, self.holds, self.payments, poll_seconds=60)
        self.checkout = self.new_checkout(self.completer)
        self.price = PRICE

    def new_checkout(self, completer: Completer) -> Checkout:
        return Checkout(self.bookings, self.holds, completer, SECRET, pay_seconds=600, mark_seconds=MARK_SECONDS)

    def quote(self, _event: str, record: Record) -> Quoted:
        """A hold at one price a seat and one a place."""
        places = [(seat_id(seat), None, kind, self.price) for seat, kind in record.seat_types()]
        standing = [
            (None, area, kind, min(self.price, PLACE)) for area, kind, n in record.area_types() for _ in range(n)
        ]
        lines = tuple(
            Line(number, seat, area, kind, amount, 0, 0)
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
        self, event: str, hold: str, *, holder: str = "anna", key: str = "k", expected: int | None = None
    ) -> Booking | Refusal:
        return await self.checkout.book(event, holder, hold, ANNA, self.quote, key=key, expected_amount=expected)

    async def claimed(self, event: str, hold: str, **more: Any) -> Booking:
        """A booking whose payment can begin."""
        booking = await self.buy(event, hold, **more)
        assert isinstance(booking, Booking), booking
        assert booking.client_secret is not None
        return booking

    async def pay(self, booking: Booking, card: str = VISA) -> str:
        """What the buyer's browser does; answers the intent's status, or the error's code."""
        form = {
            "key": self.double.publishable_key,
            "client_secret": booking.client_secret,
            "payment_method": card,
            "return_url": "http://127.0.0.1/back",
        }
        url = f"{self.double.url}/v1/payment_intents/{booking.intent_id}/confirm"
        async with aiohttp.ClientSession() as http, http.post(url, data=form) as answer:
            body = await answer.json()
        return str(body["error"]["code"] if "error" in body else body["status"])

    # --- Time

    async def pass_time(self) -> None:
        """Pauses, leases and the poller's patience are over; what is leased is nobody's any more."""
        await self.pool.execute("UPDATE outbox SET due = now(), leased_until = NULL WHERE done IS NULL")
        await self.pool.execute("UPDATE booking SET looked_at = now() - interval '1 hour'")

    async def run_out(self, booking: Booking) -> None:
        """The time to pay is over."""
        await self.pool.execute("UPDATE booking SET expires_at = now() WHERE id = $1", booking.id)

    async def rest(self, *, rounds: int = 12) -> None:
        """Turns until nothing is left to do, with time passing in between."""
        for _ in range(rounds):
            await self.pass_time()
            await self.completer.turn()
            if not await self.pool.fetchval("SELECT count(*) FROM outbox WHERE done IS NULL"):
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
            (record.state, record.reason)
            for _, _, entry in await self.entries(event)
            for name, record in entry.holds
            if name == hold
        ]

    async def seat_rows(self, booking: Booking) -> list[str]:
        rows = await self.pool.fetch("SELECT state FROM booking_seat WHERE booking_id = $1", booking.id)
        return [row["state"] for row in rows]

    async def taken(self, event: str, area: str = "floor") -> int:
        """PostgreSQL's counter of an area."""
        return int(await self.pool.fetchval("SELECT taken FROM event_area WHERE event_id = $1", event))

    async def assert_right(self, event: str) -> None:
        """At rest: the checker finds nothing, and Redis's book is consistent in itself."""
        index_of = await seat_directory(await self.sale(event))
        run = await read_run(self, event, await self.double.steering.ledger(), index_of)
        assert check(run) == []
        await self.audit(event)


async def read_run(house: House, event: str, ledger: Ledger, index_of: Mapping[str, int]) -> Run:
    """Everything that the checker wants to know of an event, but what clients heard."""
    pool = house.pool
    lines: dict[str, list[Any]] = {}
    for row in await pool.fetch("SELECT * FROM booking_line ORDER BY booking_id, line"):
        lines.setdefault(row["booking_id"], []).append(row)
    moves: dict[str, list[tuple[str | None, str, int]]] = {}
    for row in await pool.fetch("SELECT * FROM booking_history ORDER BY number"):
        moves.setdefault(row["booking_id"], []).append((row["from_state"], row["to_state"], to_ms(row["at"])))
    seats: dict[str, dict[str, str]] = {}
    for row in await pool.fetch("SELECT * FROM booking_seat"):
        seats.setdefault(row["booking_id"], {})[row["seat_id"]] = row["state"]
    areas: dict[str, dict[str, tuple[int, str]]] = {}
    for row in await pool.fetch("SELECT * FROM booking_area"):
        areas.setdefault(row["booking_id"], {})[row["area_id"]] = (row["quantity"], row["state"])
    bookings = tuple(
        BookingRow(
            id=row["id"],
            hold=row["hold_id"],
            holder=row["holder"],
            state=row["state"],
            buyer=row["buyer_name"],
            amount=row["amount"],
            currency=row["currency"],
            intent=row["intent_id"],
            seats=seats.get(row["id"], {}),
            areas=areas.get(row["id"], {}),
            lines_amount=sum(line["amount"] + line["fee"] for line in lines.get(row["id"], [])),
            lines_seats=tuple(line["seat_id"] for line in lines.get(row["id"], []) if line["seat_id"]),
            moves=tuple(moves[row["id"]]),
        )
        for row in await pool.fetch("SELECT * FROM booking WHERE event_id = $1 ORDER BY created, id", event)
    )
    _, bytes_of_seats, counts = await house.inventory(event)
    name_of = {index: name for name, index in index_of.items()}
    taken = {row["area_id"]: row for row in await pool.fetch("SELECT * FROM event_area WHERE event_id = $1", event)}
    return Run(
        bookings=bookings,
        intents=read_intents(ledger),
        areas={name: AreaRow(row["capacity"], row["taken"], *counts[name]) for name, row in taken.items()},
        seats={name: bytes_of_seats[index] & 7 for name, index in index_of.items()},
        holds={
            name: HoldRow(record.state, record.booking, tuple(name_of[seat] for seat, _ in record.seat_types()))
            for name, record in (await house.records(event)).items()
            if record.state != "gone"
        },
    )


def read_intents(ledger: Ledger) -> tuple[IntentRow, ...]:
    """The ledger's intents, as the checker wants them."""
    return tuple(
        IntentRow(
            id=entry.intent.id,
            booking=entry.intent.metadata.get("booking"),
            status=entry.intent.status,
            amount=entry.intent.amount,
            currency=entry.intent.currency,
            captured=entry.captured,
            refunded=entry.refunded,
            moves=tuple((move.after, move.at_ms) for move in entry.history),
        )
        for entry in ledger.intents
    )
