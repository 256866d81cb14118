"""Anchors: the heads of all chains, written out of this database's reach; and the check of all that is chained.

A chain alone cannot see that its end was cut off, or that all of it was written anew. An anchor can: it is an object of
its own (`audit/anchor-00000042.json`) with every chain's length and last hash, and the hash of the anchor before it.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from lml_live import limits
from lml_live.backoffice.chain import ChainCheck, Fault
from lml_live.backoffice.trail import read_heads, read_links, read_records
from lml_live.errors import LmlError
from lml_live.infra import postgres
from lml_live.infra.config import Settings
from lml_live.infra.postgres import Pool
from lml_live.infra.stores import Store, open_store

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("audit")


class Manifest(Struct, frozen=True, kw_only=True):
    """What an anchor says: each chain's last seq and hash, and the SHA-256 of the anchor before it."""

    number: int
    at: datetime
    previous: str | None
    links: int
    heads: dict[str, tuple[int, str]]


_decode: Final = msgspec.json.Decoder(Manifest)


def anchor_store(settings: Settings) -> AbstractAsyncContextManager[Store]:
    """The bucket for anchors, or `audit/` in the data directory."""
    return open_store(settings, settings.anchor_bucket)


def anchor_key(number: int) -> str:
    """Where an anchor is in the store."""
    return f"audit/anchor-{number:08d}.json"


class Anchoring:
    """Writes an anchor every so often, where this worker leads and anything was chained since."""

    def __init__(self, pool: Pool, store: Store, *, anchor_seconds: float) -> None:
        self._pool = pool
        self._store = store
        self._seconds = anchor_seconds

    async def run(self, leads: Callable[[], bool]) -> None:
        """Until cancelled."""
        due = 0.0
        while True:
            await asyncio.sleep(limits.AUDIT_LOOK_SECONDS)
            if not leads() or time.monotonic() < due:
                continue
            wait = min(self._seconds, limits.ANCHOR_RETRY_SECONDS)
            try:
                await self.anchor(self._seconds)
            except LmlError as error:
                log.warning("no anchor of the audit trail can be written now: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("writing an anchor of the audit trail failed")
            due = time.monotonic() + wait

    async def anchor(self, seconds: float = 0) -> int | None:
        """Writes an anchor where the last is older than that and anything was chained since; answers its number."""
        async with postgres.connection(self._pool) as connected:
            last = await connected.fetchrow(_SQL["last_anchor"], float(seconds))
            if last is not None and not last["due"]:
                return None
            heads = await read_heads(connected)
        links = sum(seq for seq, _ in heads.values())
        if links == (0 if last is None else last["links"]):
            return None
        number = 1 if last is None else last["number"] + 1
        manifest = Manifest(
            number=number,
            at=datetime.now(UTC),
            previous=None if last is None else last["hash"].hex(),
            links=links,
            heads={chain: (seq, head.hex()) for chain, (seq, head) in sorted(heads.items())},
        )
        # Another worker may have written this number and died before it noted that: then its anchor is the one.
        data = await self._store.get_object(anchor_key(number))
        if data is None:
            await self._store.add_object(
                anchor_key(number), msgspec.json.encode(manifest), content_type="application/json"
            )
            data = await self._store.get_object(anchor_key(number))
        found = _read(data)
        if data is None or found is None or found.previous != manifest.previous:
            log.error("anchor %d of the audit trail is not what it should be: run `lml audit verify`", number)
            return None
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["note_anchor"], number, hashlib.sha256(data).digest(), found.links)
        return number


class Verdict:
    """What a check has looked at so far."""

    def __init__(self) -> None:
        self.chains = 0
        self.links = 0
        self.anchors = 0
        self.waiting = 0
        """Records that wait to be chained: no fault, where no server runs."""


async def verify(pool: Pool, store: Store, verdict: Verdict) -> AsyncIterator[Fault]:
    """Every fault of the trail, while it is found. Raises `Unavailable` where the database or the store is away."""
    # Anchors first: what they know must be there afterwards.
    manifests: list[Manifest] = []
    async for one in _check_anchors(pool, store, manifests):
        yield one
    verdict.anchors = len(manifests)
    expected: dict[str, dict[tuple[int, str], int]] = {}
    for manifest in manifests:
        for name, head in manifest.heads.items():
            expected.setdefault(name, {}).setdefault(head, manifest.number)
    async with postgres.connection(pool) as connected:
        chains = {row["chain"] for row in await connected.fetch(_SQL["list_chains"])} | set(expected)
        for chain in sorted(chains):
            heads = expected.get(chain, {})
            check = ChainCheck(chain, anchored=(seq for seq, _ in heads))
            async for links in read_links(connected, chain):
                records = await read_records(connected, ((link.log, link.number) for link in links))
                bodies = {name: record.body for name, record in records.items()}
                for fault in check.check(links, bodies):
                    yield fault
                verdict.links += len(links)
            verdict.chains += 1
            for (seq, known), number in sorted(heads.items()):
                if (found := check.compare(seq, bytes.fromhex(known), number)) is not None:
                    yield found
                    break  # What is wrong at one anchor is wrong at all later ones.
    async for one in _find_inserted(pool, verdict):
        yield one


async def _check_anchors(pool: Pool, store: Store, into: list[Manifest]) -> AsyncIterator[Fault]:
    async with postgres.connection(pool) as connected:
        rows = await connected.fetch(_SQL["list_anchors"], limits.ANCHORS_CHECKED)
    previous: str | None = None
    for row in reversed(rows):
        number = row["number"]
        data = await store.get_object(anchor_key(number))
        manifest = _read(data)
        if data is None:
            yield Fault(kind="anchor_lost", text=f"anchor {number} is not in the store")
        elif manifest is None or hashlib.sha256(data).digest() != row["hash"]:
            yield Fault(kind="anchor_edited", text=f"anchor {number} is not what was written, here or in the store")
        elif previous is not None and manifest.previous != previous:
            yield Fault(kind="anchor_edited", text=f"anchor {number} does not follow the one before it")
        if manifest is not None:
            into.append(manifest)
        previous = row["hash"].hex()
    # The store may know more than this database: then the database is an older one, or its rows were removed. One more
    # that follows on is a worker's that has not noted it yet.
    beyond: list[Manifest] = []
    number = rows[0]["number"] + 1 if rows else 1
    while (manifest := _read(await store.get_object(anchor_key(number)))) is not None:
        beyond.append(manifest)
        number += 1
    if len(beyond) > 1 or any(manifest.previous != previous for manifest in beyond):
        for manifest in beyond:
            yield Fault(kind="anchor_lost", text=f"anchor {manifest.number} is in the store and not on record here")
    into += beyond


async def _find_inserted(pool: Pool, verdict: Verdict) -> AsyncIterator[Fault]:
    async with postgres.connection(pool) as connected:
        looked = await connected.fetch(_SQL["look_at_logs"], 0.0)
        for after in range(0, max(row["latest"] for row in looked), limits.AUDIT_SPAN):
            # No number of ours is below 1; an intruder's may be.
            first = after or -(2**63)
            for row in await connected.fetch(_SQL["unlinked"], first, after + limits.AUDIT_SPAN):
                if row["number"] > row["floor"]:
                    verdict.waiting += 1
                    continue
                yield Fault(
                    kind="inserted",
                    chain=row["chain"],
                    log=row["log"],
                    number=row["number"],
                    text="no link names it, and all around it are chained: it was put there later, or its link removed",
                )


def _read(data: bytes | None) -> Manifest | None:
    try:
        return None if data is None else _decode.decode(data)
    except msgspec.MsgspecError:
        return None
