"""A house that sells: the inventory's house with bookings, a checkout, completers and the Stripe double.

No loop runs in the background: tests say when a completer takes its turn, and time passes where they say so.
"""

import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

sys.path.append(str(Path(__file__).parents[1] / "inventory"))

from checker import check
from checker_rows import (
    AgainRow,
    AreaRow,
    BookingRow,
    DisputeRow,
    HoldRow,
    IntentRow,
    LineRow,
    Op,
    PostingRow,
    ReceivableRow,
    RefundRow,
    ReversalRow,
    Run,
    SentRow,
    SentTwiceRow,
    SurplusRow,
    TermsRow,
    TicketRow,
    TransferRow,
)
from inventory_house import SECRET, House, held, seat_directory, seat_id

from lml_live.booking.aftercare import Aftercare
from lml_live.booking.bookings import Booking, Bookings
from lml_live.booking.checkout import Buyer, Checkout, Quoted
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
from lml_live.clock import to_ms
from lml_live.devstack.stripe.ledger import Ledger
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

    def quote(self, _event: str, record: Record) -> Quoted:
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
        return await self.checkout.book(event, holder, hold, buyer, self.quote, key=key, expected_amount=expected)

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
                got_areas=_sums((area, n) for area, _, n in record.area_types()) if record else {},
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
                got_areas=_sums((line.area_id, 1) for line in lines if line.area_id),
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


def _sums(parts: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for name, n in parts:
        sums[name] += n
    return dict(sums)


async def read_run(
    house: House, event: str, ledger: Ledger, index_of: Mapping[str, int], ops: Iterable[Op] = ()
) -> Run:
    """Everything that the checker wants to know of an event; `ops` is what its clients remember."""
    ops = tuple(ops)
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
    areas: dict[str, dict[str, dict[str, int]]] = {}
    for row in await pool.fetch("SELECT * FROM booking_area"):
        states = areas.setdefault(row["booking_id"], {}).setdefault(row["area_id"], {})
        states[row["state"]] = states.get(row["state"], 0) + row["quantity"]
    attempts: dict[str, set[str]] = {}
    for row in await pool.fetch("SELECT booking_id, key FROM payment_attempt"):
        attempts.setdefault(row["booking_id"], set()).add(row["key"])
    forgone = {
        row["booking_id"]: int(row["sum"])
        for row in await pool.fetch("SELECT booking_id, sum(amount + fee) FROM comp_line GROUP BY booking_id")
    }
    refunds = await read_refunds(pool, event)
    back: dict[str, list[Any]] = {}
    seats_back: dict[str, dict[str, int]] = {}
    for refund in refunds:
        if refund.accepted:
            gone = [line for line in lines.get(refund.booking, []) if line["line"] in refund.lines]
            back.setdefault(refund.booking, []).extend(gone)
            free = {line["seat_id"]: refund.accepted_ms for line in gone if line["seat_id"]}
            seats_back.setdefault(refund.booking, {}).update(free)
    bookings = tuple(
        BookingRow(
            id=row["id"],
            hold=row["hold_id"],
            holder=row["holder"],
            epoch=row["epoch"],
            state=row["state"],
            buyer=row["buyer_name"],
            amount=row["amount"],
            currency=row["currency"],
            intent=row["intent_id"],
            payment=row["payment_state"],
            attempts=frozenset(attempts.get(row["id"], ())),
            seats=seats.get(row["id"], {}),
            areas=areas.get(row["id"], {}),
            lines_amount=sum(line["amount"] + line["fee"] for line in lines.get(row["id"], [])),
            lines=tuple(
                LineRow(line["line"], line["amount"], line["fee"], line["tax"]) for line in lines.get(row["id"], [])
            ),
            lines_seats=tuple(line["seat_id"] for line in lines.get(row["id"], []) if line["seat_id"]),
            lines_areas=_sums((line["area_id"], 1) for line in lines.get(row["id"], []) if line["area_id"]),
            lines_back=tuple(line["line"] for line in back.get(row["id"], [])),
            seats_back=seats_back.get(row["id"], {}),
            areas_back=_sums((line["area_id"], 1) for line in back.get(row["id"], []) if line["area_id"]),
            moves=tuple(moves[row["id"]]),
            tender=row["tender"],
            forgone=forgone.get(row["id"], 0),
        )
        for row in await pool.fetch(
            "SELECT b.*, p.intent_id, p.state AS payment_state FROM booking b"
            " LEFT JOIN payment p ON p.booking_id = b.id WHERE b.event_id = $1 ORDER BY b.created, b.id",
            event,
        )
    )
    _, bytes_of_seats, counts = await house.inventory(event)
    name_of = {index: name for name, index in index_of.items()}
    key_of = await _hold_names(house, event, ops)
    taken = {row["area_id"]: row for row in await pool.fetch("SELECT * FROM event_area WHERE event_id = $1", event)}
    return Run(
        bookings=bookings,
        sent=tuple(one.idempotency_key for one in ledger.requests if one.method != "GET" and one.idempotency_key),
        intents=read_intents(ledger),
        areas={name: AreaRow(row["capacity"], row["taken"], *counts[name]) for name, row in taken.items()},
        seats={name: bytes_of_seats[index] & 7 for name, index in index_of.items()},
        blocks={
            row["seat_id"]: row["kind"]
            for row in await pool.fetch("SELECT seat_id, kind FROM seat_block WHERE event_id = $1", event)
        },
        holds={
            name: HoldRow(
                record.state,
                record.booking,
                tuple(name_of[seat] for seat, _ in record.seat_types()),
                record.holder,
                key_of.get(name, ""),
            )
            for name, record in (await house.records(event)).items()
            if record.state != "gone"
        },
        ops=ops,
        transfers=await _read_all(
            pool, TransferRow, "SELECT * FROM transfer WHERE state <> 'waiting' AND event_id = $1", event
        ),
        waiting=tuple(
            row["booking_id"]
            for row in await pool.fetch("SELECT * FROM transfer WHERE state = 'waiting' AND event_id = $1", event)
        ),
        terms=await _read_terms(pool, event),
        reversals=await _read_all(
            pool,
            ReversalRow,
            "SELECT r.* FROM transfer_reversal r JOIN transfer t USING (booking_id) WHERE t.event_id = $1",
            event,
        ),
        again=await _read_all(
            pool,
            AgainRow,
            "SELECT a.* FROM transfer_again a JOIN transfer t USING (booking_id) WHERE t.event_id = $1"
            " ORDER BY a.created",
            event,
        ),
        sent_twice=await _read_all(
            pool,
            SentTwiceRow,
            "SELECT s.* FROM surplus_transfer s JOIN transfer t USING (booking_id) WHERE t.event_id = $1"
            " ORDER BY s.created",
            event,
        ),
        receivables=await _read_all(
            pool,
            ReceivableRow,
            "SELECT r.* FROM receivable r JOIN transfer t USING (booking_id) WHERE t.event_id = $1",
            event,
        ),
        sent_out=tuple(
            SentRow(one.metadata.get("booking", ""), one.id, one.amount, one.amount_reversed)
            for one in ledger.transfers
        ),
        surplus=tuple(
            SurplusRow(row["intent_id"], row["amount"], row["returned"] is not None)
            for row in await pool.fetch(
                "SELECT s.* FROM surplus_payment s JOIN booking b ON b.id = s.booking_id WHERE b.event_id = $1", event
            )
        ),
        postings=await read_postings(pool, event),
        refunds=refunds,
        tickets=tuple(
            TicketRow(row["booking_id"], row["line"], row["state"])
            for row in await pool.fetch("SELECT * FROM ticket WHERE event_id = $1 AND state <> 'void'", event)
        ),
        disputes=tuple(
            DisputeRow(
                row["booking_id"],
                row["amount"],
                row["state"],
                0 if row["closed"] is None else to_ms(row["closed"]),
            )
            for row in await pool.fetch(
                "SELECT d.* FROM dispute d JOIN booking b ON b.id = d.booking_id WHERE b.event_id = $1", event
            )
        ),
    )


async def _read_all(pool: postgres.Pool, shape: Any, statement: str, event: str) -> tuple[Any, ...]:
    """Rows of an event's, as the checker has them."""
    rows = await pool.fetch(statement, event)
    return tuple(shape(**{name: row[name] for name in shape.__struct_fields__}) for row in rows)


async def _read_terms(pool: postgres.Pool, event: str) -> dict[str, TermsRow]:
    """By which terms organisations are paid: those that were there when the booking was made."""
    rows = await pool.fetch(
        "SELECT DISTINCT ON (b.id) b.id, fee_basis_points, fee_per_ticket"
        " FROM booking b JOIN event e ON e.id = b.event_id JOIN venue v ON v.id = e.venue_id"
        " JOIN organisation_terms o USING (organisation_id)"
        " WHERE b.event_id = $1 AND o.since <= b.created ORDER BY b.id, o.since DESC",
        event,
    )
    return {row["id"]: TermsRow(row["fee_basis_points"], row["fee_per_ticket"]) for row in rows}


async def read_refunds(pool: postgres.Pool, event: str) -> tuple[RefundRow, ...]:
    """An event's refunds, in the order in which they were decided."""
    rows = await pool.fetch(
        "SELECT r.* FROM refund r JOIN booking b ON b.id = r.booking_id WHERE b.event_id = $1 ORDER BY r.created", event
    )
    return tuple(
        RefundRow(
            id=row["id"],
            booking=row["booking_id"],
            key=row["key"],
            amount=row["amount"],
            fresh=row["amount"] - row["owed"],
            lines=tuple(row["lines"]),
            state=row["state"],
            accepted=row["accepted"] is not None,
            accepted_ms=0 if row["accepted"] is None else to_ms(row["accepted"]),
            decided_ms=to_ms(row["created"]),
        )
        for row in rows
    )


async def read_postings(pool: postgres.Pool, event: str) -> tuple[PostingRow, ...]:
    """An event's part of the ledger, and nobody's, in the order in which it was written."""
    entries: dict[tuple[int, str, str, str], dict[str, int]] = {}
    for row in await pool.fetch(
        "SELECT t.number, t.booking_id, t.reason, e.currency, e.account, e.debit, e.credit"
        " FROM ledger_transaction t JOIN ledger_entry e ON e.transaction = t.number"
        " LEFT JOIN booking b ON b.id = t.booking_id WHERE coalesce(b.event_id, $1) = $1 ORDER BY t.number, e.account",
        event,
    ):
        of = row["number"], row["booking_id"], row["reason"], row["currency"]
        entries.setdefault(of, {})[row["account"]] = row["debit"] - row["credit"]
    return tuple(
        PostingRow(booking, reason, currency, found) for (_, booking, reason, currency), found in entries.items()
    )


async def _hold_names(house: House, event: str, ops: Iterable[Op]) -> dict[str, str]:
    """The ids that the holds of these acts have, if they were granted in any epoch, and the acts' keys."""
    sale = await house.sale(event)
    return {
        f"{sale.number}-{house.holds._digest(msgspec.structs.replace(sale, epoch=epoch), op.client, op.key)}": op.key
        for op in ops
        if op.act == "hold" and op.key
        for epoch in range(1, sale.epoch + 1)
    }


def read_intents(ledger: Ledger) -> tuple[IntentRow, ...]:
    """The ledger's intents, as the checker wants them. A refund without a key of ours is one for its own reason."""
    keys: dict[str, list[str]] = {}
    for refund in ledger.refunds:
        if refund.status != "failed":
            keys.setdefault(refund.payment_intent, []).append(refund.metadata.get("key", refund.id))
    made_under = {one.id: one.idempotency_key or "" for one in ledger.requests}
    return tuple(
        IntentRow(
            id=entry.intent.id,
            booking=entry.intent.metadata.get("booking"),
            key=made_under.get(entry.history[0].request or "", ""),
            status=entry.intent.status,
            amount=entry.intent.amount,
            currency=entry.intent.currency,
            captured=entry.captured,
            refunded=entry.refunded,
            withdrawn=entry.withdrawn,
            costs=entry.dispute_fees,
            refund_keys=tuple(keys.get(entry.intent.id, ())),
            moves=tuple((move.after, move.at_ms) for move in entry.history),
        )
        for entry in ledger.intents
    )
