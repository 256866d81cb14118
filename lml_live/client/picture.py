"""What a client knows of an event: every seat, every area, its own holds, and as of when. Pure.

The rules are the contract's ("How a client stays right", "A new epoch"). Every message is checked whole before any of
it is applied, so a refused message leaves the picture as it was.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from lml_live.client.effects import AreasChanged, Effects, EventUpdated, HoldUpdated, SeatsChanged, Synced
from lml_live.gateway import wire
from lml_live.inventory import seatmap
from lml_live.values import AVAILABLE, BLOCKED, HELD, SOLD

GONE_HOLDS_MAX: Final = 200
"""How many gone holds are remembered, so that a late message does not bring one back. A holder has 10 at once."""
EARLY_MESSAGES_MAX: Final = 64
"""How many messages about holds of an epoch wait for the `welcome` that makes it known."""

HoldNews = tuple[str, wire.Hold | None, int, str]
"""(hold id, the hold or None, seq, reason)"""


class IncoherentError(Exception):
    """The server's message cannot be true beside what it said before."""


class Picture:
    """The state of one event as one client has been told it. Read it freely, change it by messages only."""

    def __init__(self, event_id: str) -> None:
        self.event_id = event_id
        self.epoch: str | None = None
        """None until the first `welcome`."""
        self.seq = 0
        self.seats = bytearray()
        """The wire state of each seat, by index."""
        self.areas: dict[str, wire.AreaCounts] = {}
        self.holds: dict[str, wire.Hold] = {}
        self.holder: str | None = None
        self.event: wire.EventBrief | None = None
        self.limits: wire.Limits | None = None
        self.layout: wire.LayoutRef | None = None
        self._hold_seqs: OrderedDict[str, int] = OrderedDict()
        self._early: list[tuple[str, HoldNews]] = []
        self._doubtful = False

    @property
    def position(self) -> tuple[str, int] | None:
        """The (epoch, seq) to resume from; None where only a `welcome` will do."""
        return None if self.epoch is None or self._doubtful else (self.epoch, self.seq)

    def doubt(self) -> None:
        """Do not resume from here: the server broke its word. What is shown stays until the next `welcome`."""
        self._doubtful = True

    def welcome(self, message: wire.Welcome, packed: bytes) -> Effects:
        """Begin with the whole state; `packed` is `message.seats` as bytes. Raises `IncoherentError`."""
        self._refuse_other_event(message.event)
        count = message.layout.seat_count
        try:
            if message.encoding == "deflate":
                packed = seatmap.inflate(packed, seatmap.packed_length(count))
            elif message.encoding is not None:
                raise IncoherentError(f"seats come in an unknown encoding, {message.encoding!r}")
            seats = seatmap.unpack(packed, count)
        except ValueError as error:
            raise IncoherentError(str(error)) from error
        # Nothing below refuses.
        new_epoch = message.epoch != self.epoch
        if new_epoch:
            self._hold_seqs.clear()
        self.seats = seats
        self.epoch = message.epoch
        self.seq = message.seq
        self._doubtful = False
        effects: Effects = [Synced(message.epoch, message.seq, whole=True, new_epoch=new_epoch)]
        effects += self._take_sale(message)
        effects += self._take_holds(message.holds, message.seq)
        early, self._early = self._early, []
        for epoch, (hold_id, hold, seq, reason) in early:
            effects += self.take_hold(hold_id, hold, epoch, seq, reason) if epoch == message.epoch else []
        return effects

    def resumed(self, message: wire.Resumed) -> Effects:
        """Catch up with what changed since this picture's `seq`. Raises `IncoherentError`."""
        self._refuse_other_event(message.event)
        if message.epoch != self.epoch or self.layout is None or message.layout.hash != self.layout.hash:
            raise IncoherentError("the server resumed what this client did not ask for")
        changed = self._changed_seats(message)
        # Nothing below refuses.
        self._apply(changed)
        self.seq = message.seq
        effects: Effects = [Synced(message.epoch, message.seq, whole=False, new_epoch=False)]
        effects += [SeatsChanged(changed)] if changed else []
        effects += self._take_sale(message)
        effects += self._take_holds(message.holds, message.seq)
        return effects

    def diff(self, message: wire.Diff) -> Effects | None:
        """Apply what follows on this picture; None where there is a gap before it. Raises `IncoherentError`."""
        if message.prev > self.seq:
            return None
        if message.seq <= self.seq:
            return []
        changed = self._changed_seats(message)
        # Nothing below refuses.
        self._apply(changed)
        self.seq = message.seq
        self.areas.update(message.areas)
        effects: Effects = [SeatsChanged(changed)] if changed else []
        effects += [AreasChanged(message.areas)] if message.areas else []
        return effects

    def take_hold(self, hold_id: str, hold: wire.Hold | None, epoch: str, seq: int, reason: str) -> Effects:
        """A hold is `hold` (None: gone) as of `seq`: of two messages in one epoch the higher `seq` is right.

        News of an epoch that no `welcome` has made known waits for it, since answers may overtake a `welcome`.
        """
        if epoch != self.epoch:
            self._early.append((epoch, (hold_id, hold, seq, reason)))
            del self._early[:-EARLY_MESSAGES_MAX]
            return []
        if seq < self._hold_seqs.get(hold_id, -1):
            return []
        return self._put_hold(hold_id, hold, seq, reason)

    def event_changed(self, message: wire.EventChanged) -> Effects:
        """The sale's state, on-sale time, prices or limits changed."""
        self.event = wire.EventBrief(self.event_id, message.state, message.on_sale_at_ms, message.prices_version)
        self.limits = message.limits
        return [EventUpdated(self.event, message.limits)]

    # --- Inside -------------------------------------------------------------------------------------------------------

    def _refuse_other_event(self, event: wire.EventBrief) -> None:
        if event.id != self.event_id:
            raise IncoherentError(f"the server speaks of event {event.id!r}, not {self.event_id!r}")

    def _changed_seats(self, message: wire.Diff | wire.Resumed) -> dict[int, int]:
        changed: dict[int, int] = {}
        for indexes, state in (
            (message.available, AVAILABLE),
            (message.held, HELD),
            (message.sold, SOLD),
            (message.blocked, BLOCKED),
        ):
            changed.update(dict.fromkeys(indexes, state))
        if changed and not (min(changed) >= 0 and max(changed) < len(self.seats)):
            raise IncoherentError("a seat index is outside the layout")
        return changed

    def _apply(self, changed: dict[int, int]) -> None:
        seats = self.seats
        for seat, state in changed.items():
            seats[seat] = state

    def _take_sale(self, message: wire.Welcome | wire.Resumed) -> Effects:
        self.holder = message.holder
        self.layout = message.layout
        self.areas = dict(message.areas)
        self.event = message.event
        self.limits = message.limits
        return [AreasChanged(self.areas), EventUpdated(message.event, message.limits)]

    def _take_holds(self, holds: Iterable[wire.Hold], seq: int) -> Effects:
        """`holds` are all there are as of `seq`: what is not listed is gone, unless something later was said of it."""
        listed = {hold.id: hold for hold in holds}
        effects: Effects = []
        for hold_id in [*listed, *[hold_id for hold_id in self.holds if hold_id not in listed]]:
            hold = listed.get(hold_id)
            if seq < self._hold_seqs.get(hold_id, -1):
                continue
            if hold != self.holds.get(hold_id):
                effects += self._put_hold(hold_id, hold, seq, "sync")
            else:
                self._hold_seqs[hold_id] = seq
        return effects

    def _put_hold(self, hold_id: str, hold: wire.Hold | None, seq: int, reason: str) -> Effects:
        self._hold_seqs[hold_id] = seq
        self._hold_seqs.move_to_end(hold_id)
        if hold is None:
            self.holds.pop(hold_id, None)
            for old in [old for old in self._hold_seqs if old not in self.holds][:-GONE_HOLDS_MAX]:
                del self._hold_seqs[old]
        else:
            self.holds[hold_id] = hold
        assert self.epoch is not None
        return [HoldUpdated(hold_id, hold, reason, self.epoch, seq)]
