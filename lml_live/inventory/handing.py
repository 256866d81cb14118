"""Gives what an anonymous holder holds to the account that he has signed in to: one step an event."""

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from lml_live import limits
from lml_live.infra.redis import Part
from lml_live.inventory.book import Book
from lml_live.inventory.records import Sale, key_of

_KEYS: Final = ("book", "deadlines", "log")
_CODES: Final = {
    "limit": "limit_exceeded",
    "too_many_holds": "limit_exceeded",
    "expired": "hold_expired",
    "marked": "hold_in_checkout",
}
"""Why a hold stays where it is, in the contract's words."""


class HandedOver(Struct, frozen=True):
    """What became of each hold: the account's now, or why not (one of the contract's codes)."""

    holds: tuple[str, ...]
    kept: dict[str, str]


class HandOvers:
    """The inventory's part of a hand-over."""

    def __init__(self, book: Book) -> None:
        self._book = book

    async def find(self, holder: str, events: Sequence[tuple[str, str]]) -> list[str]:
        """In which of these events (id, group) the holder has anything, be it a budget that he has used.

        Nothing else knows: a list of a holder's events would have to be written with every hold. Plain reads, many in
        one write. Raises `Unavailable`.
        """
        found: list[str] = []
        fields = (f"o:{holder}", f"x:{holder}")
        for start in range(0, len(events), limits.HAND_OVER_EVENTS_AT_ONCE):
            some = events[start : start + limits.HAND_OVER_EVENTS_AT_ONCE]
            answers = await asyncio.gather(
                *(
                    self._book.redis.of(group).call("HMGET", key_of(group, event, "book"), *fields)
                    for event, group in some
                )
            )
            found += [event for (event, _), answer in zip(some, answers, strict=True) if any(answer)]
        return found

    async def hand_over(self, event: str, holder: str, to: str, bookings: Sequence[str]) -> HandedOver:
        """Gives one event's holds to `to`; with `bookings`, which are `to`'s already, whatever the limits.

        Harmless when repeated. Raises `NotFound` and `Unavailable`.
        """

        def args(sale: Sale) -> list[Part]:
            rules = (sale.max_seats, limits.HOLDS_PER_HOLDER_MAX, sale.lifetime_seconds * 1000, *sale.losses[:3])
            return [self._book.skew_ms, holder, to, *rules, *bookings]

        _, answer = await self._book.run(event, "hand_over", _KEYS, args)
        became = {hold.decode(): word.decode() for hold, word in zip(answer[2::2], answer[3::2], strict=True)}
        return HandedOver(
            tuple(hold for hold, word in became.items() if word == "moved"),
            {hold: _CODES[word] for hold, word in became.items() if word != "moved"},
        )
