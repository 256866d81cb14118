"""What the client's protocol tells its shell: orders about the socket, and news for whoever uses the client. Pure.

orders   Send, Disconnect, Reconnect
news     Synced, SeatsChanged, AreasChanged, HoldUpdated, EventUpdated, Answered, Warned, Ended
"""

from msgspec import Struct

from lml_live.backoffice.reports import ChannelReport, StatusChange
from lml_live.gateway import wire
from lml_live.gateway.shown import BookingShown


class Send(Struct, frozen=True):
    """Send one frame: text for the JSON format, binary for msgpack."""

    payload: bytes


class Disconnect(Struct, frozen=True):
    """Close the socket now, then call `disconnected()`. Frames that still come in are to be thrown away."""

    code: int
    reason: str


class Reconnect(Struct, frozen=True):
    """Open a new socket after so many milliseconds, then call `connected()` or `connect_failed()`."""

    after_ms: int


class Synced(Struct, frozen=True):
    """The picture is right again after `welcome` (`whole`: every seat may have changed) or `resumed`.

    `new_epoch` says that the inventory began anew: holds not in the picture are gone.
    """

    epoch: str
    seq: int
    whole: bool
    new_epoch: bool


class SeatsChanged(Struct, frozen=True):
    """Seats by index with their wire state now (`values.AVAILABLE` …)."""

    seats: dict[int, int]


class AreasChanged(Struct, frozen=True):
    """Areas whose absolute counts may have changed."""

    areas: dict[str, wire.AreaCounts]


class HoldUpdated(Struct, frozen=True):
    """One of the holder's holds as of `seq` in `epoch`; None when it is gone.

    `reason` is that of `hold_changed`, or `answer` (this client asked for it), or `sync` (`welcome` or `resumed`: what
    is gone then went at `seq` or before).
    """

    hold_id: str
    hold: wire.Hold | None
    reason: str
    epoch: str
    seq: int


class EventUpdated(Struct, frozen=True):
    """The sale as it is now."""

    event: wire.EventBrief
    limits: wire.Limits


class HoldResult(Struct, frozen=True):
    """A request about a hold was granted: the hold as it is now, None when nothing is left of it."""

    hold: wire.Hold | None


class GroupResult(Struct, frozen=True):
    """A request about several events was granted: what became of each event's hold, None for one that ended."""

    holds: dict[str, wire.Hold | None]


class BlockResult(Struct, frozen=True):
    """A manager's `block`, `unblock` or `assign_seats` was done, as far as it could be: with these, not with those."""

    seats: tuple[int, ...]
    areas: dict[str, int]
    refused_seats: tuple[int, ...]
    refused_areas: dict[str, int]
    """With how many places there could be at most."""


class OpenResult(Struct, frozen=True):
    """All sell what this channel had."""

    channel: str


class SellResult(Struct, frozen=True):
    """It was sold: the booking as REST shows it, seats by id. With its `access` the tickets are fetched."""

    booking: BookingShown


class ChangesResult(Struct, frozen=True):
    """A page of the status-change log, the oldest first, seats by id; `next` is the cursor of the page after it, None
    at the end."""

    items: tuple[StatusChange, ...]
    next: str | None


class ChannelsResult(Struct, frozen=True):
    """What each sales channel has and what became of it; first `open`, which all sell."""

    items: tuple[ChannelReport, ...]


class PingResult(Struct, frozen=True):
    """The server's time when it answered, and how long the answer took."""

    now_ms: int
    round_trip_ms: int


class Refusal(Struct, frozen=True):
    """A request was refused and changed nothing; `seats` were in the way, `areas` says how many places are left.

    `code` is one of the contract's. `unavailable` may also mean that the outcome is unknown and that the client gave
    up, or may not ask again: what was taken, if anything, is among the holds after the next `Synced`. So it is where
    the event has got another layout since the request was made, and its indexes are other seats now: `message` says
    so.
    """

    code: str
    message: str
    seats: tuple[int, ...] = ()
    areas: dict[str, int] = {}
    retry_after_ms: int | None = None
    events: tuple[wire.EventRefusal, ...] = ()
    """Of several events, those that refuse."""


StaffResult = BlockResult | OpenResult | SellResult | ChangesResult | ChannelsResult
Result = HoldResult | GroupResult | StaffResult | PingResult | Refusal


class Answered(Struct, frozen=True):
    """The one answer to request `request`."""

    request: int
    result: Result


class Warned(Struct, frozen=True):
    """An `error` of the server that answers no request, such as `invalid_message` or `rate_limited`."""

    code: str
    message: str


class Ended(Struct, frozen=True):
    """Over for good: `unauthorized` (the token ended: begin anew with another one, or none), `refused` (the server
    does not open such a socket) or `closed` (by this client). No effect follows."""

    reason: str
    message: str


Effect = (
    Send
    | Disconnect
    | Reconnect
    | Synced
    | SeatsChanged
    | AreasChanged
    | HoldUpdated
    | EventUpdated
    | Answered
    | Warned
    | Ended
)
Effects = list[Effect]
