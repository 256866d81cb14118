"""Reads what everybody remembers of an event's bookings, as the checker wants it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from checker_rows import (
    AgainRow,
    AreaRow,
    BankPayoutRow,
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
    SeatLogRow,
    SentRow,
    SentTwiceRow,
    SurplusDisputeRow,
    SurplusRow,
    TakenBackRow,
    TermsRow,
    TicketRow,
    TransferRow,
)
from inventory_house import House

from lml_live.clock import to_ms
from lml_live.devstack.stripe.ledger import Ledger
from lml_live.infra import postgres


def sums(parts: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for name, n in parts:
        found[name] += n
    return dict(found)


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
            lines_areas=sums((line["area_id"], 1) for line in lines.get(row["id"], []) if line["area_id"]),
            lines_back=tuple(line["line"] for line in back.get(row["id"], [])),
            seats_back=seats_back.get(row["id"], {}),
            areas_back=sums((line["area_id"], 1) for line in back.get(row["id"], []) if line["area_id"]),
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
        taken_back=await _read_all(
            pool,
            TakenBackRow,
            "SELECT s.* FROM surplus_reversal s JOIN transfer t USING (booking_id) WHERE t.event_id = $1",
            event,
        ),
        receivables=await _read_all(
            pool,
            ReceivableRow,
            "SELECT r.* FROM receivable r JOIN transfer t USING (booking_id) WHERE t.event_id = $1",
            event,
        ),
        sent_out=tuple(
            SentRow(one.metadata.get("booking", ""), one.id, one.amount, one.amount_reversed, one.destination)
            for one in ledger.transfers
        ),
        paid_out=await _read_all(
            pool,
            BankPayoutRow,
            "SELECT p.* FROM payout p JOIN venue v USING (organisation_id) JOIN event e ON e.venue_id = v.id"
            " WHERE e.id = $1",
            event,
        ),
        at_banks=tuple(
            BankPayoutRow(stripe_id=one.id, account_id=account, amount=one.amount, state=one.status)
            for account, made in ledger.payouts.items()
            for one in made
        ),
        surplus=tuple(
            SurplusRow(
                *(row["intent_id"], row["amount"], row["returned"] is not None, row["booking_id"], row["refund_id"])
            )
            for row in await pool.fetch(
                "SELECT s.* FROM surplus_payment s JOIN booking b ON b.id = s.booking_id WHERE b.event_id = $1", event
            )
        ),
        surplus_disputes=await _read_all(
            pool,
            SurplusDisputeRow,
            "SELECT d.* FROM surplus_dispute d JOIN booking b ON b.id = d.booking_id WHERE b.event_id = $1",
            event,
        ),
        postings=await read_postings(pool, event),
        refunds=refunds,
        seat_log=tuple(
            SeatLogRow(row["booking_id"], row["act"], row["seat_id"] or row["area_id"], row["quantity"] or 1)
            for row in await pool.fetch(
                "SELECT * FROM status_change WHERE event_id = $1 AND booking_id IS NOT NULL"
                " AND act IN ('sell', 'free')",
                event,
            )
        ),
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
