"""The daily match of bookings with Stripe's balance transactions (reliability.md, D7): a hint, never an act.

    read     what Stripe has booked since the last match, page by page, is kept in `stripe_transaction`
    compare  every booking that changed, or whose money moved, since then; and the differences that were open; and what
             accounts sent to their banks with what they had
    finish   the differences are listed, logged and counted, and one row says up to when all was compared

What is younger than the settle time is left for the next match. That row is the only progress there is: a match that a
crash ended begins again where the last one ended, reads the same pages and keeps what it has already. Nothing is
changed at Stripe or in a booking; two matches at once do no harm (docs/decisions/007).
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import msgspec
from msgspec import Struct

from lml_live import limits
from lml_live.booking.money import (
    KINDS,
    Booked,
    Difference,
    Foreign,
    Page,
    Transaction,
    compare,
    compare_payouts,
    is_settled,
    stray,
)
from lml_live.booking.payments import PaymentFault
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.infra.telemetry import METRICS

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("money")
_differences: Final = msgspec.json.Decoder(tuple[Difference, ...])
_counts: Final = msgspec.json.Decoder(dict[str, int])

ReadPage = Callable[[datetime, str | None], Awaitable[Page]]
"""Reads Stripe's transactions since a time, after one of them or from the newest on. Raises `PaymentFault`."""


class Match(Struct, frozen=True, kw_only=True):
    """What a match found. `differences` are at most `MATCH_LISTED_MAX`; `counts` has all, by kind."""

    since: datetime
    until: datetime
    transactions: int
    bookings: int
    counts: dict[str, int]
    differences: tuple[Difference, ...]


class _Window(Struct, frozen=True):
    since: datetime
    until: datetime
    open: tuple[Difference, ...]

    @property
    def begin(self) -> datetime:
        """From where on all is looked at: Stripe's times are whole seconds of another clock, and twice does no harm."""
        return self.since - timedelta(seconds=limits.FIND_SLACK_SECONDS)


class Matching:
    """The matches, and the loop of one worker that makes them when they are due."""

    def __init__(
        self,
        pool: postgres.Pool,
        read_page: ReadPage,
        *,
        match_seconds: int = limits.MATCH_SECONDS,
        settle_seconds: float = limits.SETTLE_SECONDS,
    ) -> None:
        self._pool = pool
        self._read_page = read_page
        self._match_seconds = match_seconds
        self._settle = timedelta(seconds=settle_seconds)
        self.suspect: Callable[[Sequence[str], str], Awaitable[None]] | None = None
        """Told of bookings whose transfers differ: that they are looked at, which changes nothing by itself."""

    async def run(self, leads: Callable[[], bool]) -> None:
        """Until cancelled: tells what the last match found, and makes the next one where this worker leads."""
        while True:
            wait = limits.MATCH_LOOK_SECONDS
            try:
                await self.look(leads=leads())
            except Unavailable as error:
                wait = limits.MATCH_RETRY_SECONDS
                log.warning("money is not matched now, and will be in %d s: %s", wait, error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                wait = limits.MATCH_RETRY_SECONDS
                log.exception("matching money failed")
            await asyncio.sleep(min(wait, self._match_seconds))

    async def look(self, *, leads: bool) -> Match | None:
        """Sets the metrics, in every worker, for a scrape reaches any; makes and logs a due match if it leads."""
        async with postgres.connection(self._pool) as connected:
            last = await connected.fetchrow(_SQL["last_match"])
            clock = await connected.fetchrow(_SQL["match_clock"])
        if last is not None:
            _tell(last["until"], _counts.decode(last["counts"]))
        assert clock is not None
        before: datetime | None = clock["first_booking"] if last is None else last["until"]
        if not leads or before is None or clock["now"] - before < self._settle + timedelta(seconds=self._match_seconds):
            return None
        found = await self.match()
        for difference in found.differences:
            log.error("money differs: %s", difference.text)
        await self.have_looked_at(found)
        return found

    async def have_looked_at(self, found: Match) -> None:
        """Asks Stripe anew what became of what differs: a refund, a dispute, or another intent that was paid, and no
        notice of it ever came.

        To look is no act: what Stripe says then is followed as if it had said so by itself.
        """
        of = [one for one in found.differences if one.booking is not None]
        transfers = [one.booking for one in of if one.kind == "transfer_differs" and one.booking is not None]
        others = [one.booking for one in of if one.kind != "transfer_differs"]
        paid = sorted({intent for one in of for intent in one.intents if one.kind != "transfer_differs"})
        stamp = f"{found.until:%Y%m%dT%H%M%S}"
        if self.suspect is not None and transfers:
            await self.suspect(transfers, stamp)
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["notice_differences"], others, stamp, paid)

    async def match(self, since: datetime | None = None) -> Match:
        """Compares what changed after the last match; with `since`, after that time if it is the earlier one.

        Raises `Unavailable` where PostgreSQL or Stripe does not answer: then it is as if nothing had been begun.
        """
        window = await self._window(since)
        read = await self._read(window.begin)
        differences, bookings = await self._compare(window)
        counts = Counter[str](difference.kind for difference in differences)
        found = Match(
            since=window.since,
            until=window.until,
            transactions=read,
            bookings=bookings,
            counts=dict(counts),
            differences=tuple(differences[: limits.MATCH_LISTED_MAX]),
        )
        async with postgres.connection(self._pool) as connected:
            await connected.execute(
                _SQL["finish_match"],
                found.since,
                found.until,
                found.transactions,
                found.bookings,
                msgspec.json.encode(found.counts).decode(),
                msgspec.json.encode(found.differences).decode(),
            )
        log.info("money matched: %d transactions, %d bookings, %d differences", read, bookings, len(differences))
        _tell(found.until, found.counts)
        return found

    async def _window(self, since: datetime | None) -> _Window:
        async with postgres.connection(self._pool) as connected:
            last = await connected.fetchrow(_SQL["last_match"])
            clock = await connected.fetchrow(_SQL["match_clock"])
            before = await connected.fetchval(_SQL["open_differences"])
        assert clock is not None
        settled: datetime = clock["now"] - self._settle
        begin: datetime = last["until"] if last is not None else clock["first_booking"] or settled
        # A later time than the last match's end would leave a gap that nobody ever looks into.
        begin = begin if since is None else min(begin, since)
        return _Window(begin, max(begin, settled), () if before is None else _differences.decode(before))

    # --- Read

    async def _read(self, begin: datetime) -> int:
        """Keeps everything that Stripe has booked since then, and answers how much of buyers' money that was."""
        read, after = 0, None
        for _ in range(limits.MATCH_PAGES_MAX):
            page = await self._page(begin, after)
            if page.transactions:
                async with postgres.connection(self._pool) as connected:
                    await connected.execute(_SQL["keep_transactions"], *_columns(page.transactions))
            read += len(page.transactions)
            if page.after is None:
                return read
            after = page.after
            # The sale's calls have the same 25 a second.
            await asyncio.sleep(limits.MATCH_PAGE_SECONDS)
        raise Unavailable(f"Stripe lists more than {limits.MATCH_PAGES_MAX} pages of transactions.")

    async def _page(self, since: datetime, after: str | None) -> Page:
        tries = 0
        while True:
            tries += 1
            try:
                return await self._read_page(since, after)
            except PaymentFault as fault:
                if fault.kind == "refused" or tries >= limits.MATCH_TRIES_MAX:
                    raise Unavailable(f"Stripe's transactions cannot be read: {fault}") from fault
                await asyncio.sleep(max(fault.wait_seconds, limits.OUTBOX_BACK_OFF_SECONDS * 2**tries))

    # --- Compare

    async def _compare(self, window: _Window) -> tuple[list[Difference], int]:
        """The differences, and how many bookings were compared."""
        named = [one.booking for one in window.open if one.booking is not None]
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["bookings_to_compare"], window.begin, window.until, named)
        ids = [row["id"] for row in rows]
        found: dict[str, Difference] = {}
        young: set[str] = set()
        compared = 0
        for start in range(0, len(ids), limits.MATCH_BATCH):
            batch = ids[start : start + limits.MATCH_BATCH]
            async with postgres.connection(self._pool) as connected:
                booked = [_booked(row) for row in await connected.fetch(_SQL["load_booked"], batch)]
                money = _by(await connected.fetch(_SQL["load_money"], batch), "owner")
            for one in booked:
                transactions = money.get(one.id, [])
                if not is_settled(one, transactions, window.until):
                    young.add(one.id)
                    continue
                compared += 1
                if (difference := compare(one, transactions)) is not None:
                    found[one.id] = difference
        intents = [intent for one in window.open for intent in one.intents]
        async with postgres.connection(self._pool) as connected:
            strays = _by(await connected.fetch(_SQL["load_strays"], window.begin, window.until, intents), "intent_id")
        for intent, transactions in strays.items():
            if not is_settled(None, transactions, window.until):
                young.add(intent)
            elif (difference := stray(intent, transactions)) is not None:
                found[intent] = difference
        # What was open and moves again just now is neither right nor wrong yet: it stays open.
        for before in window.open:
            subject = before.intents[0] if before.booking is None else before.booking
            if subject in young:
                found[subject] = before
        return [*found.values(), *await self._paid_out()], compared

    async def _paid_out(self) -> list[Difference]:
        """Accounts that sent more to their banks than was theirs: all of them, at each match, for a sum has no day."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["paid_out"])
        judged = (
            compare_payouts(
                *(row["account_id"], row["currency"], row["transferred"]),
                dict(zip(row["currencies"], row["amounts"], strict=True)),
            )
            for row in rows
        )
        return [one for one in judged if one is not None]


def _tell(until: datetime, counts: Mapping[str, int]) -> None:
    METRICS.money_matched.set(until.timestamp())
    for kind in KINDS:
        METRICS.money_differences.labels(kind).set(counts.get(kind, 0))


def _columns(transactions: Iterable[Transaction]) -> list[list[object]]:
    rows = [
        (*(one.id, one.intent, one.booking, one.kind, one.amount, one.currency, one.created), one.fee, one.fee_currency)
        for one in transactions
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _booked(row: asyncpg.Record) -> Booked:
    return Booked(
        id=row["id"],
        state=row["state"],
        amount=row["amount"],
        currency=row["currency"],
        intent=row["intent_id"],
        changed=row["changed"],
        tender=row["tender"],
        given_back=row["given_back"],
        transferred=(max(0, row["least_transferred"]), row["most_transferred"]),
        disputed=row["disputed"],
        lost_besides=row["lost_besides"],
        disputed_besides=row["disputed_besides"],
        foreign=tuple(map(Foreign, row["bank_currencies"], row["bank_amounts"], row["bank_takes"])),
        fees=tuple(zip(row["fee_currencies"], row["fees"], strict=True)),
    )


def _by(rows: Iterable[asyncpg.Record], owner: str) -> dict[str, list[Transaction]]:
    found: dict[str, list[Transaction]] = {}
    for row in rows:
        found.setdefault(row[owner], []).append(
            Transaction(
                id=row["id"],
                intent=row["intent_id"],
                booking=row["booking_id"],
                kind=row["kind"],
                amount=row["amount"],
                currency=row["currency"],
                created=row["created"],
                fee=row["fee"],
                fee_currency=row["fee_currency"],
            )
        )
    return found
