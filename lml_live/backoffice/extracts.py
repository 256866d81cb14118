"""What the audit trail says of an event, or of the house: by pages, as lines, and whether its chain is whole.

A chain is only ever added to, so it is read a piece at a time, each on a connection of its own: nobody who reads slowly
keeps one, and memory is that of a piece however long the chain is.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from lml_live import limits, values
from lml_live.backoffice.chain import ChainCheck, Fault, Link
from lml_live.backoffice.trail import read_records
from lml_live.clock import to_ms
from lml_live.errors import NotFound
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool

_SQL: Final = postgres.statements("audit")
_decode: Final = msgspec.json.Decoder(dict[str, Any])


class Wish(Struct, frozen=True):
    """Which records: of a booking, and of a time; each may be left out."""

    booking: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Entry(Struct, frozen=True, kw_only=True):
    """A record in its chain. `hash` is the SHA-256 of the hash before it and of the record's bytes, which the export
    has; `record` is null where it is gone."""

    seq: int
    hash: str
    record: dict[str, Any] | None


NotChecked = Literal["anchors", "inserted"]


class ChainVerdict(Struct, frozen=True, kw_only=True):
    """Whether each record of a chain is what was chained, and all of it is there up to its last link, whose hash `head`
    is. `not_checked` is for `lml audit verify`: whether the chain's end was cut off, or all of it written anew, which
    only the anchors in the store can tell, and whether records were put beside the chain."""

    links: int
    head: str
    faults: tuple[Fault, ...]
    not_checked: tuple[NotChecked, ...] = ("anchors", "inserted")


class Extracts:
    """Reads the trail."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def chain_of(self, event: str) -> str:
        """The chain of an event. Raises `NotFound`."""
        async with postgres.connection(self._pool) as connected:
            known = values.is_id(event) and await connected.fetchval(_SQL["is_event"], event)
        if not known:
            raise NotFound("There is no such event.")
        return event

    async def page(self, chain: str, wish: Wish, *, after: int, limit: int) -> tuple[list[Entry], int | None]:
        """At most so many records after a link, in order, and after which link to go on; None at the end.

        A page has fewer where few of what was looked through are wanted: then there may be more none the less.
        """
        first, last = await self._bounds(chain, wish)
        here = max(after, first)
        found: list[Entry] = []
        for _ in range(limits.AUDIT_PIECES_MAX):
            links, bodies = await self._read(chain, here, last, limits.AUDIT_PIECE)
            for link in links:
                here = link.seq
                body = bodies.get((link.log, link.number))
                if _is_wanted(body, wish):
                    record = None if body is None else _decode.decode(body)
                    found.append(Entry(seq=link.seq, hash=link.hash.hex(), record=record))
                    if len(found) == limit:
                        return found, here if here < last else None
            if len(links) < limits.AUDIT_PIECE:
                return found, None
        return found, here

    async def lines(self, chain: str, wish: Wish) -> AsyncIterator[bytes]:
        """All of it as JSON lines, some at a time: as `lml audit export` writes them."""
        here, last = await self._bounds(chain, wish)
        while True:
            links, bodies = await self._read(chain, here, last, limits.AUDIT_PIECE)
            rows = []
            for link in links:
                body = bodies.get((link.log, link.number))
                if _is_wanted(body, wish):
                    rows.append(write_line(link, body))
            if rows:
                yield b"".join(rows)
            if len(links) < limits.AUDIT_PIECE:
                return
            here = links[-1].seq

    async def check(self, chain: str) -> ChainVerdict:
        """Goes along a whole chain."""
        check, faults, here, head = ChainCheck(chain), list[Fault](), 0, b""
        while True:
            links, bodies = await self._read(chain, here, 2**62, limits.AUDIT_PIECE)
            found = list(check.check(links, {name: body for name, body in bodies.items() if body is not None}))
            faults += found[: limits.PAGE_ITEMS_MAX - len(faults)]
            if links:
                here, head = links[-1].seq, links[-1].hash
            if len(links) < limits.AUDIT_PIECE:
                return ChainVerdict(links=here, head=head.hex(), faults=tuple(faults))

    async def _bounds(self, chain: str, wish: Wish) -> tuple[int, int]:
        """After which link, and up to which: a record is chained after it was written, and soon."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(
                *(_SQL["bounds_of_time"], chain, wish.since, wish.until, float(limits.AUDIT_LATE_SECONDS))
            )
        assert row is not None
        return row["first"] - 1, row["last"]

    async def _read(
        self, chain: str, after: int, last: int, count: int
    ) -> tuple[Sequence[Link], Mapping[tuple[str, int], bytes]]:
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["links_between"], chain, after, last, count)
            links = [Link(row["seq"], row["log"], row["number"], row["hash"]) for row in rows]
            records = await read_records(connected, ((link.log, link.number) for link in links))
        return links, {name: record.body for name, record in records.items()}


def write_line(link: Link, body: bytes | None) -> bytes:
    """A line of an export: the record's bytes stand there as they were hashed."""
    head = f'{{"seq":{link.seq},"hash":"{link.hash.hex()}","record":'
    return b"".join((head.encode(), b"null" if body is None else body, b"}\n"))


def _is_wanted(body: bytes | None, wish: Wish) -> bool:
    if wish == Wish() or body is None:
        return True
    record = _decode.decode(body)
    if wish.booking is not None:
        detail = record.get("detail")
        named = (record.get("booking"), record.get("subject_id"))
        inside = detail.get("booking_id") if isinstance(detail, dict) else None
        if wish.booking not in (*named, inside):
            return False
    at_ms = record["at_us"] // 1_000
    return (wish.since is None or at_ms >= to_ms(wish.since)) and (wish.until is None or at_ms < to_ms(wish.until))
