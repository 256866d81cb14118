"""The audit trail's chains: written a moment after the commits, by one worker, so that no sale waits for another's.

Three logs make the trail: acts (`audit_record`), moves of bookings (`booking_history`) and changes of seats
(`status_change`). A record is a plain insert of the transaction that acts. The sequencer gives each its link, in the
chain of its event, whatever order they committed in (docs/decisions/016).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from lml_live import limits
from lml_live.backoffice.chain import Link, genesis, next_hash
from lml_live.errors import LmlError
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("audit")
_READ: Final = {"act": _SQL["read_acts"], "booking": _SQL["read_moves"], "seat": _SQL["read_seat_changes"]}


class Read(Struct, frozen=True):
    """A record as it is hashed, and the chain that it belongs to."""

    chain: str
    body: bytes


async def read_records(connected: Connection, names: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Read]:
    """The records of these logs and numbers that are there."""
    wanted: dict[str, list[int]] = {}
    for name, number in names:
        wanted.setdefault(name, []).append(number)
    found: dict[tuple[str, int], Read] = {}
    for name, numbers in wanted.items():
        for row in await connected.fetch(_READ[name], numbers):
            found[name, row["number"]] = Read(row["chain"], row["body"].encode())
    return found


async def read_links(connected: Connection, chain: str) -> AsyncIterator[Sequence[Link]]:
    """A chain's links from its first to its last, some at a time."""
    seq = 0
    while True:
        rows = await connected.fetch(_SQL["read_links"], chain, seq, limits.AUDIT_READ)
        if not rows:
            return
        yield [Link(row["seq"], row["log"], row["number"], row["hash"]) for row in rows]
        seq = rows[-1]["seq"]


async def read_heads(connected: Connection) -> dict[str, tuple[int, bytes]]:
    """The last link of every chain: its seq and hash."""
    chains = [row["chain"] for row in await connected.fetch(_SQL["list_chains"])]
    heads: dict[str, tuple[int, bytes]] = {}
    for begin in range(0, len(chains), limits.AUDIT_CHAINS_BATCH):
        some = chains[begin : begin + limits.AUDIT_CHAINS_BATCH]
        for row in await connected.fetch(_SQL["chain_heads"], some):
            heads[row["chain"]] = (row["seq"], row["hash"])
    return heads


class Trail:
    """Chains records, and puts acts on record that happen outside PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def write(
        self, action: str, subject: tuple[str, str], *, event: str | None = None, detail: str | None = None
    ) -> None:
        """Puts an act on record: of whoever acts in this request. `detail` is JSON."""
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_SQL["write_record"], event, action, *subject, detail)

    async def run(self, leads: Callable[[], bool]) -> None:
        """Chains, where this worker leads, until cancelled."""
        while True:
            full = False
            try:
                full = leads() and await self.chain() >= limits.AUDIT_BATCH
            except LmlError as error:
                log.debug("records wait to be chained: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("chaining records failed")
            await asyncio.sleep(0 if full else limits.AUDIT_LOOK_SECONDS)

    async def chain(self) -> int:
        """Gives records that have none their links, and answers how many; a batch of each log at the most."""
        # Mostly there are none: that costs one statement, and no transaction.
        async with postgres.connection(self._pool) as connected:
            if all(row["latest"] <= row["floor"] for row in await _look(connected)):
                return 0
        async with postgres.transaction(self._pool) as connected:
            if not await connected.fetchval(_SQL["try_lock_chains"]):
                return 0
            logs = {row["log"]: row for row in await _look(connected)}
            floors = [logs[name]["floor"] for name in ("act", "booking", "seat")]
            rows = await connected.fetch(_SQL["unchained"], *floors, limits.AUDIT_BATCH)
            names = [(row["log"], row["number"]) for row in rows]
            if names:
                await self._link(connected, names)
            counts = {name: sum(1 for log_name, _ in names if log_name == name) for name in logs}
            for name, row in logs.items():
                await _raise_floor(connected, row, complete=counts[name] < limits.AUDIT_BATCH)
        return len(names)

    async def _link(self, connected: Connection, names: Sequence[tuple[str, int]]) -> None:
        records = await read_records(connected, names)
        chains = sorted({record.chain for record in records.values()})
        heads = {row["chain"]: (row["seq"], row["hash"]) for row in await connected.fetch(_SQL["chain_heads"], chains)}
        links: list[tuple[str, int, str, int, bytes]] = []
        for name in names:
            chain = records[name].chain
            seq, before = heads.get(chain, (0, genesis(chain)))
            heads[chain] = (seq + 1, next_hash(before, records[name].body))
            links.append((chain, seq + 1, *name, heads[chain][1]))
        await connected.execute(_SQL["add_links"], *map(list, zip(*links, strict=True)))


async def _look(connected: Connection) -> list[asyncpg.Record]:
    """How far each log goes and how far it is chained."""
    return await connected.fetch(_SQL["look_at_logs"], float(limits.AUDIT_SETTLE_SECONDS))


async def _raise_floor(connected: Connection, row: asyncpg.Record, *, complete: bool) -> None:
    """Numbers are drawn before they are committed, and in another order: those below the floor are all that there are.

    The highest number of a moment becomes the floor when every transaction of that moment has ended, and some seconds
    have passed, and all that was found above the old floor is chained.
    """
    # After a restore into another cluster its transactions begin anew, far below: then the moment is chosen again.
    waits = row["next_xid"] is not None and row["next_xid"] <= row["xmax"]
    ended = waits and row["xmin"] >= row["next_xid"] and row["ripe"] and complete
    if waits and not ended:
        return
    floor = row["next_number"] if ended else row["floor"]
    following = (row["latest"], row["xmax"]) if row["latest"] > floor else (None, None)
    if ended or following[0] is not None:
        await connected.execute(_SQL["set_floor"], row["log"], floor, *following)
