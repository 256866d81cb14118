"""What an organisation has sold, what we keep of it, what it was paid, and what it is due or owes: by event.

For every event, whatever has happened:

    sold - refunded - charged_back - fees = share
    share = transferred + underway + netted + due - receivable

`stuck` is what of `underway` Stripe refuses, and nobody asks for any more. `receivable` is all that could not be taken
back; `recovered` is what of it was kept of others, where it is `netted`.

None of these counts what the house's counter sold for cash or at its card terminal: that money never was at Stripe, and
nothing of it is transferred there. It is told beside, as `counter_…`; its share the house pays out by itself.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import asyncpg
from msgspec import Struct, structs

from lml_live import limits
from lml_live.booking.organisations import After, Organisation
from lml_live.booking.payouts import Payable, what_is_due, what_is_left
from lml_live.booking.transfers import load_payables
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

_SQL: Final = postgres.statements("statements")

WaitsFor = Literal["hold_back", "account", "decision"]


class StatementLine(Struct, frozen=True, kw_only=True):
    """One event's money, in minor units of the organisation's currency.

    `due` is what is still to be decided on, at `due_at` or when what it `waits_for` is over: the account that cannot be
    paid yet, or a refund's or a dispute's decision (or ours, which takes moments). `counter_share` is what is theirs of
    `counter_sold` less `counter_refunded`, which the house has in its drawer: it is in none of the other amounts.
    """

    event: str
    name: str
    starts_at: datetime
    bookings: int
    sold: int
    refunded: int
    charged_back: int
    fees: int
    share: int
    transferred: int
    underway: int
    stuck: int
    netted: int
    receivable: int
    recovered: int
    due: int
    due_at: datetime
    waits_for: WaitsFor | None
    counter_sold: int = 0
    counter_refunded: int = 0
    counter_share: int = 0


class Statements:
    """Makes statements."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def lines(
        self,
        organisation: Organisation,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        after: After = None,
        limit: int,
    ) -> Sequence[StatementLine]:
        """Those of at most so many events that begin from `since` on and before `until`, by their start."""
        is_ready = organisation.account is not None and organisation.account.ready
        async with (
            postgres.connection(self._pool) as connected,
            # As of one moment: what is decided meanwhile would be due and underway, or neither.
            connected.transaction(isolation="repeatable_read", readonly=True),
        ):
            rows = await connected.fetch(
                *(_SQL["events_of_organisation"], organisation.id, since, until, *(after or (None, None)), limit)
            )
            events = [row["id"] for row in rows]
            sent = {row["event_id"]: row for row in await connected.fetch(_SQL["sent_of_events"], events)}
            back = {row["event_id"]: row for row in await connected.fetch(_SQL["back_of_events"], events)}
            owed = {row["event_id"]: row for row in await connected.fetch(_SQL["owed_of_events"], events)}
            stuck = {row["event_id"]: row for row in await connected.fetch(_SQL["stuck_of_events"], events)}
            lines = []
            for row in rows:
                event = row["id"]
                sums = await _sum_up(connected, event)
                counter = await _sum_up_counter(connected, event)
                waits: WaitsFor = "decision" if is_ready else "account"
                lines.append(
                    StatementLine(
                        event=event,
                        name=row["name"],
                        starts_at=row["starts_at"],
                        bookings=sums.bookings,
                        sold=sums.sold,
                        refunded=sums.refunded,
                        charged_back=sums.charged_back,
                        fees=sums.sold - sums.refunded - sums.charged_back - sums.share,
                        share=sums.share,
                        transferred=_of(sent, event, "made") - _of(back, event, "made"),
                        underway=_of(sent, event, "decided") - _of(back, event, "pending"),
                        stuck=_of(stuck, event, "amount"),
                        netted=_of(sent, event, "netted"),
                        receivable=_of(owed, event, "amount"),
                        recovered=_of(owed, event, "recovered"),
                        due=sums.due,
                        due_at=row["due_at"],
                        waits_for=None if not sums.waiting else waits if row["is_due"] else "hold_back",
                        counter_sold=counter.sold,
                        counter_refunded=counter.refunded,
                        counter_share=counter.share,
                    )
                )
        return lines


class _Sums(Struct, kw_only=True):
    bookings: int = 0
    sold: int = 0
    refunded: int = 0
    charged_back: int = 0
    share: int = 0
    due: int = 0
    waiting: int = 0

    def add(self, payable: Payable, *, waits: bool) -> None:
        due = what_is_due(payable).amount
        self.bookings += 1
        self.sold += payable.whole.total
        self.refunded += payable.back.total
        self.charged_back += payable.whole.total - payable.back.total - what_is_left(payable).total
        self.share += due
        self.due += due if waits else 0
        self.waiting += waits


async def _sum_up(connected: Connection, event: str) -> _Sums:
    """An event's bookings, some at a time: there may be very many."""
    sums, last = _Sums(), ""
    while True:
        rows = await connected.fetch(_SQL["bookings_of_event"], event, last, limits.STATEMENT_BATCH)
        payables = await load_payables(connected, [row["booking_id"] for row in rows])
        for row in rows:
            sums.add(payables[row["booking_id"]], waits=row["state"] == "waiting")
        if len(rows) < limits.STATEMENT_BATCH:
            return sums
        last = rows[-1]["booking_id"]


async def _sum_up_counter(connected: Connection, event: str) -> _Sums:
    """The same of what was paid for at the counter."""
    sums, last = _Sums(), ""
    while True:
        rows = await connected.fetch(_SQL["counter_sales_of_event"], event, last, limits.STATEMENT_BATCH)
        payables = await load_payables(connected, [row["id"] for row in rows])
        for row in rows:
            sums.add(payables[row["id"]], waits=False)
        if len(rows) < limits.STATEMENT_BATCH:
            return sums
        last = rows[-1]["id"]


def _of(found: Mapping[str, asyncpg.Record], event: str, name: str) -> int:
    return int(found[event][name]) if event in found else 0


def write_csv(lines: Iterable[StatementLine], *, head: bool = True) -> str:
    """The lines as RFC 4180 has them. What a spreadsheet would take for a formula is text to it."""
    out = io.StringIO()
    writer = csv.writer(out)
    if head:
        writer.writerow(StatementLine.__struct_fields__)
    for line in lines:
        writer.writerow([_cell(value) for value in structs.astuple(line)])
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return f"'{value}"
    return "" if value is None else value
