"""A chain of hashes over records, and what is wrong with one. Pure.

    hash of link n = SHA-256(hash of link n-1 ‖ the record's bytes);  before the first: SHA-256 of the chain's name

One changed byte changes every hash from there on. So whoever changes a record must write all later links anew, and
whoever cuts the end off must cut the anchors off, too, which are elsewhere (docs/decisions/016).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

from msgspec import Struct

HOUSE: Final = ""
"""The name of the chain of what is no event's."""

FaultKind = Literal[
    "edited", "deleted", "inserted", "links_missing", "cut_off", "rewritten", "anchor_lost", "anchor_edited"
]


class Link(Struct, frozen=True):
    """One record's place in its chain. `log` and `number` name the record."""

    seq: int
    log: str
    number: int
    hash: bytes


class Fault(Struct, frozen=True, kw_only=True):
    """Something that somebody did past the program. `seq`, `log` and `number` are there where they are known."""

    kind: FaultKind
    chain: str | None = None
    seq: int | None = None
    log: str | None = None
    number: int | None = None
    text: str


def genesis(chain: str) -> bytes:
    """What stands before a chain's first link: no chain can be passed off as another's."""
    return hashlib.sha256(f"lml audit chain {chain}".encode()).digest()


def next_hash(before: bytes, body: bytes) -> bytes:
    """The hash of a link over a record's bytes."""
    return hashlib.sha256(before + body).digest()


class ChainCheck:
    """Goes along one chain, link by link, and remembers where it was at the seqs that anchors name."""

    def __init__(self, chain: str, *, anchored: Iterable[int] = ()) -> None:
        self._chain = chain
        self._anchored = frozenset(anchored)
        self._stored = self._computed = genesis(chain)
        self.seq = 0
        """How far it has come."""
        self.seen: dict[int, bytes] = {}
        """The stored hashes at the anchored seqs."""

    def check(self, links: Iterable[Link], bodies: Mapping[tuple[str, int], bytes]) -> Iterator[Fault]:
        """The faults of the next links. `bodies` has the records that are there, by log and number."""
        for link in links:
            if link.seq != self.seq + 1:
                yield self._fault(
                    "links_missing", link, f"links {self.seq + 1} to {link.seq - 1} are gone: the chain has a hole"
                )
            body = bodies.get((link.log, link.number))
            if body is None:
                yield self._fault("deleted", link, "the record is gone, and its link is there")
                computed = link.hash
            else:
                computed = next_hash(self._stored, body)
                # Where the hash before was edited and no record, this one follows from what that should have been.
                follows = link.hash in (computed, next_hash(self._computed, body))
                if not follows and link.seq == self.seq + 1:
                    yield self._fault("edited", link, "record and hash differ: one of the two was changed")
            self._stored, self._computed, self.seq = link.hash, computed, link.seq
            if link.seq in self._anchored:
                self.seen[link.seq] = link.hash

    def compare(self, seq: int, expected: bytes, anchor: int) -> Fault | None:
        """What an anchor says of this chain, once all of it was checked."""
        if seq > self.seq:
            what = f"anchor {anchor} knows {seq} links, and there are {self.seq}: the end was cut off"
            return Fault(kind="cut_off", chain=self._chain, seq=self.seq + 1, text=what)
        if self.seen.get(seq) != expected:
            what = f"anchor {anchor} has another hash: the chain was written anew, at this link or before it"
            return Fault(kind="rewritten", chain=self._chain, seq=seq, text=what)
        return None

    def _fault(self, kind: FaultKind, link: Link, text: str) -> Fault:
        return Fault(kind=kind, chain=self._chain, seq=link.seq, log=link.log, number=link.number, text=text)
