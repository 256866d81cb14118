"""The live state of one event in one worker: fed by the log, read by welcomes, told to sockets tick by tick. Pure.

A room keeps the true bytes twice: as of the last entry and as of the last tick. `apply` takes entries, `tick` cuts:
what is shown is always the state at the last tick, so that an answer made from it and the next diff fit together
without a gap (contract, "How a client stays right"). A view is a table of 256 bytes over it, and nothing more is kept
of one: `public` (which is also the web's), one per sales channel, `staff`.
"""

from collections.abc import Collection, Mapping
from typing import Final

from msgspec import Struct

from lml_live.inventory import seatmap
from lml_live.inventory.diffs import Allotments, AreaCounts, Change
from lml_live.inventory.records import WEB, Entry, Record, Sale, kept_from
from lml_live.inventory.resume import History

PUBLIC: Final = "public"
STAFF: Final = "staff"


def view_of(channel: str) -> str:
    """The name of the view of those who buy through a channel."""
    return PUBLIC if channel == WEB else channel


class HoldNews(Struct, frozen=True, gc=False):
    """One hold's change, for its holder's sockets. `origin` names the request that asked for it, if a socket's did."""

    hold: str
    record: Record
    origin: str
    seq: int


class Tick(Struct, frozen=True):
    """Everything that happened since the last tick; `Room.change` tells it as a view sees it."""

    prev: int
    seq: int
    seats: Mapping[int, tuple[int, int]]
    """The inventory bytes before and now of the seats whose byte is another."""
    areas: Collection[str]
    """The areas that changed."""
    holds: tuple[HoldNews, ...]
    event_changed: bool


class EpochGone(Exception):
    """The log shows an epoch that is not the room's: the inventory must be read anew."""


class EntriesMissing(Exception):
    """The log does not go on where the room is: the inventory must be read anew, in the same epoch."""


class Room:
    """One event's live state."""

    def __init__(
        self,
        sale: Sale,
        seq: int,
        seats: bytes,
        areas: Mapping[str, AreaCounts],
        allotments: Mapping[str, Allotments] | None = None,
    ) -> None:
        self.reset(sale, seq, seats, areas, allotments)

    def reset(
        self,
        sale: Sale,
        seq: int,
        seats: bytes,
        areas: Mapping[str, AreaCounts],
        allotments: Mapping[str, Allotments] | None = None,
    ) -> None:
        """Begins anew with an inventory that was read whole."""
        self.sale = sale
        self.epoch = sale.epoch
        self.seq = seq
        """The seq of the last entry applied, and after `tick` that of the last change sent."""
        self._sent_seq = seq
        self._seats = bytearray(seats)
        self._sent_seats = bytearray(seats)
        self._areas = dict(areas)
        self._sent_areas = dict(areas)
        self._allotments = dict(allotments or {})
        self._sent_allotments = dict(self._allotments)
        self.history = History(str(sale.epoch), seq, seat_count=len(seats))
        self._changed_seats: set[int] = set()
        self._changed_areas: set[str] = set()
        self._holds: list[HoldNews] = []
        self._event_changed = False

    @property
    def epoch_text(self) -> str:
        """The epoch as the wire has it: opaque."""
        return str(self.epoch)

    @property
    def seats(self) -> bytes:
        """Every seat's inventory byte as of `seq`, which may be ahead of what was sent."""
        return bytes(self._seats)

    @property
    def sent_seq(self) -> int:
        """Where the subscribers are: the seq of the last tick."""
        return self._sent_seq

    # --- What a view sees: the state at the last tick

    def table(self, view: str) -> bytes:
        """What a view makes of an inventory byte."""
        if view == STAFF:
            return seatmap.STAFF_VIEW
        return _TABLES[self._channel(view)]

    def states(self, view: str) -> bytes:
        """Every seat's wire state."""
        return bytes(self._sent_seats.translate(self.table(view)))

    def areas(self, view: str) -> dict[str, AreaCounts]:
        """Every area's counts."""
        return {area: self._shown(view, area) for area in self._sent_areas}

    @property
    def bytes_shown(self) -> bytes:
        """Every seat's inventory byte at the last tick: what staff see beside the wire states."""
        return bytes(self._sent_seats)

    def change(self, tick: Tick, view: str) -> Change:
        """The last tick as a view sees it."""
        table = self.table(view)
        seats = {seat: table[now] for seat, (before, now) in tick.seats.items() if table[now] != table[before]}
        return Change(tick.prev, tick.seq, seats, {area: self._shown(view, area) for area in tick.areas})

    def _shown(self, view: str, area: str) -> AreaCounts:
        """An area's counts: places that are kept for other channels show as blocked."""
        counts, allotments = self._sent_areas[area], self._sent_allotments.get(area)
        if not allotments or view == STAFF:
            return counts
        available, held, sold, blocked = counts
        kept = kept_from(self._channel(view), allotments)
        return available - kept, held, sold, blocked + kept

    def _channel(self, view: str) -> int:
        return self.sale.channel(WEB if view == PUBLIC else view)

    def shows_more(self, view: str, before: Sale) -> bool:
        """Whether a view shows other states and counts than it did with the channels of `before`."""
        name = WEB if view == PUBLIC else view
        if view == STAFF or self.sale.channel(name) == before.channel(name):
            return False
        number = self.sale.channel(name)
        return any(byte >> seatmap.CHANNEL_SHIFT == number for byte in set(self._sent_seats)) or any(
            number in found[::3] for found in self._sent_allotments.values()
        )

    # --- The log

    def remember(self, entries: Collection[tuple[int, Entry]]) -> None:
        """Fills a fresh room's history with the entries that led to it, so that others' clients can resume here."""
        tail: list[tuple[int, Entry]] = []
        for seq, entry in reversed(list(entries)):
            if seq != self.seq - len(tail):
                break
            tail.append((seq, entry))
        if not tail:
            return
        self.history = History(str(self.epoch), self.seq - len(tail), seat_count=len(self._seats))
        for seq, entry in reversed(tail):
            self.history.append(seq, entry.seat_bytes(), entry.area_counts())

    def apply(self, epoch: int, seq: int, entry: Entry) -> None:
        """Takes the next entry of the log. Raises `EpochGone` or `EntriesMissing`, having changed nothing."""
        if epoch != self.epoch:
            raise EpochGone
        if seq <= self.seq:
            return
        if seq != self.seq + 1:
            raise EntriesMissing
        changed: list[int] = []
        seats, runs = self._seats, entry.seats
        for at in range(0, len(runs), 3):
            first, count, byte = runs[at : at + 3]
            end = first + count
            if not 0 <= first < end <= len(seats):
                raise IndexError(f"seats {first} to {end - 1} of {len(seats)}")
            seats[first:end] = bytes((byte,)) * count
            changed += range(first, end)
        self._changed_seats.update(changed)
        area_counts: dict[str, AreaCounts] = {}
        if entry.areas:
            area_counts = entry.area_counts()
            self._areas.update(area_counts)
            self._allotments.update(entry.allotments())
            self._changed_areas.update(area_counts)
        for change in entry.holds:
            self._holds.append(HoldNews(change.hold, change.record, change.origin or entry.origin, seq))
        if entry.act == "event":
            self._event_changed = True
        self.history.append(seq, changed, area_counts)
        self.seq = seq

    def catch_up(
        self,
        sale: Sale,
        seq: int,
        seats: bytes,
        areas: Mapping[str, AreaCounts],
        allotments: Mapping[str, Allotments] | None = None,
    ) -> None:
        """Goes on in the same epoch with an inventory read whole, where entries were lost from the log."""
        allotments = allotments or {}
        changed = [seat for seat, (old, new) in enumerate(zip(self._seats, seats, strict=True)) if old != new]
        self._changed_seats.update(changed)
        self._changed_areas.update(
            area
            for area, counts in areas.items()
            if (self._areas.get(area), self._allotments.get(area, ())) != (counts, allotments.get(area, ()))
        )
        self.sale = sale
        self._seats[:] = seats
        self._areas = dict(areas)
        self._allotments = dict(allotments)
        self.seq = seq
        self.history = History(str(self.epoch), seq, seat_count=len(seats))

    def tick(self) -> Tick | None:
        """Cuts: what changed since the last tick, or None where nothing happened."""
        if self.seq == self._sent_seq:
            return None
        seats: dict[int, tuple[int, int]] = {}
        for seat in self._changed_seats:
            before, now = self._sent_seats[seat], self._seats[seat]
            if before != now:
                seats[seat] = before, now
                self._sent_seats[seat] = now
        for area in self._changed_areas:
            self._sent_areas[area] = self._areas[area]
            self._sent_allotments[area] = self._allotments.get(area, ())
        tick = Tick(self._sent_seq, self.seq, seats, self._changed_areas, tuple(self._holds), self._event_changed)
        self._sent_seq = self.seq
        self._changed_seats = set()
        self._changed_areas = set()
        self._holds = []
        self._event_changed = False
        return tick


_TABLES: Final = tuple(map(seatmap.view_table, range(seatmap.CHANNEL_MAX + 1)))
