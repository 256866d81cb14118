"""Judges what one socket was told: nothing left out, nothing older after something newer, the truth in the end. Pure.

The rules are I20 to I22 of reliability.md, section 2. A message is as it was decoded; a welcome or resumed comes first.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

Message = Mapping[str, Any]
STATES = ("available", "held", "sold", "blocked")


class Truth(Struct, frozen=True):
    """What the server says of an event when nobody acts any more."""

    epoch: str
    seq: int
    seats: bytes
    areas: Mapping[str, Any]


class View:
    """What a client shows that does as it is told, and by which change each seat and area is as it is."""

    def __init__(self) -> None:
        self.epoch = ""
        self.seq = -1
        self.seats: dict[int, tuple[int, int]] = {}
        """Seat to (seq, state); what a welcome says is not here but for the caller to unpack."""
        self.areas: dict[str, Any] = {}
        self.doubtful = False
        """There was a gap: only a welcome, or the end of the socket, may follow."""

    def take(self, message: Message) -> Iterator[tuple[str, str]]:
        """Shows a message; answers what is wrong with it."""
        kind, seq = message["type"], message.get("seq", -1)
        if kind in ("welcome", "resumed"):
            older = self.epoch and (int(message["epoch"]), seq) < (int(self.epoch), self.seq)
            if older:
                yield "I22", f"{kind} of {message['epoch']}-{seq} after {self.epoch}-{self.seq}"
            if kind == "resumed" and self.epoch not in ("", message["epoch"]):
                yield "I21", f"resumed in the epoch {message['epoch']}, and was in {self.epoch}"
            if kind == "welcome":
                self.seats.clear()
            self.epoch, self.doubtful = message["epoch"], False
        elif kind == "diff":
            if self.seq < 0:
                yield "I21", f"a diff to {seq} before anything was known"
            if self.doubtful:
                yield "I21", f"a diff to {seq} after a gap"
            if message["prev"] > self.seq:
                self.doubtful = True
                return
            if seq < self.seq:
                yield "I22", f"a diff to {seq} after {self.seq}"
                return
        else:
            return
        for state, name in enumerate(STATES):
            self.seats |= dict.fromkeys(message.get(name, ()), (seq, state))
        self.areas |= message.get("areas", {})
        self.seq = max(seq, self.seq) if kind == "diff" else seq


def check(heard: Sequence[Message], truth: Truth | None = None, welcomed: bytes | None = None) -> list[tuple[str, str]]:
    """All that is wrong with what a socket heard: (rule, what).

    With `truth` it was heard to the end: `welcomed` are the seats of the last welcome, unpacked.
    """
    view, found = View(), []
    for message in heard:
        found += view.take(message)
    if view.doubtful:
        found.append(("I21", f"a gap after {view.seq} that was never closed"))
    if truth is None or welcomed is None:
        return found
    seats = bytearray(welcomed)
    for seat, (_, state) in view.seats.items():
        seats[seat] = state
    if (view.epoch, view.seq) != (truth.epoch, truth.seq):
        found.append(("I20", f"it ends at {view.epoch}-{view.seq}, and the server is at {truth.epoch}-{truth.seq}"))
    differing = [seat for seat, state in enumerate(truth.seats) if seats[seat] != state]
    if differing or len(seats) != len(truth.seats):
        found.append(("I20", f"{len(differing)} seats differ from the server's: {differing[:5]}"))
    if view.areas != truth.areas:
        found.append(("I20", f"areas are {view.areas}, and the server's {truth.areas}"))
    return found
