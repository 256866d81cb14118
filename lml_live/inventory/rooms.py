"""The live state of one event in one worker: fed by the log, read by welcomes, told to sockets tick by tick. Pure.

A room keeps the true bytes and one mirror per view. `apply` takes log entries, `tick` cuts: what the mirrors show is
always the state at the last tick, so that an answer made from them and the next diff fit together without a gap
(contract, "How a client stays right").
"""

from collections.abc import Collection
from typing import Final

from msgspec import Struct

from lml_live.inventory import seatmap
from lml_live.inventory.diffs import AreaCounts, Change
from lml_live.inventory.records import Entry, Record, Sale
from lml_live.inventory.resume import History

PUBLIC: Final = "public"
VIEW_TABLES: Final = {PUBLIC: seatmap.PUBLIC_VIEW}
"""What each view makes of an inventory byte. Channels and staff are further rows."""


class HoldNews(Struct, frozen=True):
    """One hold's change, for its holder's sockets. `origin` names the request that asked for it, if a socket's did."""

    hold: str
    record: Record
    origin: str
    seq: int


class Tick(Struct, frozen=True):
    """Everything that happened since the last tick."""

    changes: dict[str, Change]
    """By view."""
    holds: tuple[HoldNews, ...]
    event_changed: bool


class EpochGone(Exception):
    """The log shows an epoch that is not the room's: the inventory must be read anew."""


class EntriesMissing(Exception):
    """The log does not go on where the room is: the inventory must be read anew, in the same epoch."""


class Room:
    """One event's live state."""

    def __init__(self, sale: Sale, seq: int, seats: bytes, areas: dict[str, AreaCounts]) -> None:
        self.reset(sale, seq, seats, areas)

    def reset(self, sale: Sale, seq: int, seats: bytes, areas: dict[str, AreaCounts]) -> None:
        """Begins anew with an inventory that was read whole."""
        self.sale = sale
        self.epoch = sale.epoch
        self.seq = seq
        """The seq of the last entry applied, and after `tick` that of the last change sent."""
        self._sent_seq = seq
        self._seats = bytearray(seats)
        self.mirrors = {view: bytearray(self._seats.translate(table)) for view, table in VIEW_TABLES.items()}
        self._areas = dict(areas)
        self.areas = dict(areas)
        """The counts at the last tick, as the mirrors."""
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
            self.history.append(seq, entry.seat_bytes().keys(), entry.area_counts().keys())

    def apply(self, epoch: int, seq: int, entry: Entry) -> None:
        """Takes the next entry of the log. Raises `EpochGone` or `EntriesMissing`, having changed nothing."""
        if epoch != self.epoch:
            raise EpochGone
        if seq <= self.seq:
            return
        if seq != self.seq + 1:
            raise EntriesMissing
        seat_bytes = entry.seat_bytes()
        for seat, byte in seat_bytes.items():
            self._seats[seat] = byte
        area_counts = entry.area_counts()
        self._areas.update(area_counts)
        self._changed_seats.update(seat_bytes)
        self._changed_areas.update(area_counts)
        self._holds += [HoldNews(hold, record, entry.origin, seq) for hold, record in entry.holds]
        self._event_changed |= entry.act == "event"
        self.history.append(seq, seat_bytes.keys(), area_counts.keys())
        self.seq = seq

    def catch_up(self, sale: Sale, seq: int, seats: bytes, areas: dict[str, AreaCounts]) -> None:
        """Goes on in the same epoch with an inventory read whole, where entries were lost from the log."""
        changed = [seat for seat, (old, new) in enumerate(zip(self._seats, seats, strict=True)) if old != new]
        self._changed_seats.update(changed)
        self._changed_areas.update(area for area, counts in areas.items() if self._areas.get(area) != counts)
        self.sale = sale
        self._seats[:] = seats
        self._areas = dict(areas)
        self.seq = seq
        self.history = History(str(self.epoch), seq, seat_count=len(seats))

    def tick(self) -> Tick | None:
        """Cuts: the changes since the last tick as each view sees them, or None where nothing happened."""
        if self.seq == self._sent_seq:
            return None
        areas = {area: self._areas[area] for area in self._changed_areas}
        self.areas.update(areas)
        changes: dict[str, Change] = {}
        for view, table in VIEW_TABLES.items():
            mirror = self.mirrors[view]
            seats: dict[int, int] = {}
            for seat in self._changed_seats:
                state = table[self._seats[seat]]
                if mirror[seat] != state:
                    mirror[seat] = seats[seat] = state
            changes[view] = Change(self._sent_seq, self.seq, seats, areas)
        tick = Tick(changes, tuple(self._holds), self._event_changed)
        self._sent_seq = self.seq
        self._changed_seats = set()
        self._changed_areas = set()
        self._holds = []
        self._event_changed = False
        return tick
