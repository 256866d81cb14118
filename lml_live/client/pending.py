"""Requests on their way: which wait, which are unanswered, and which may be asked again. Pure.

What names seats by index is of the layout under which it was made, and is never sent under another one, not even for
the first time (docs/decisions/039).

Every transmission has an id of its own on the wire, for an id is answered once; the caller's number stays. Only `hold`,
`hold_best`, `hold_group`, `move_group` and what staff ask for carry a key, so only they are ever asked again (contract,
section 3, `key`), beside what changes nothing: `read_status_changes` and `read_channels`.
"""

from collections import deque
from typing import Final

from msgspec.structs import replace

from lml_live import limits
from lml_live.gateway import wire

REQUESTS_MAX: Final = 64
"""Requests of one client that wait or are unanswered; more are refused at once, without asking the server."""
TRANSMISSIONS_MAX: Final = 6
"""How often one request is sent. With back-off that is about 20 s of an unavailable server."""

Message = (
    wire.HoldRequest | wire.HoldBest | wire.Release | wire.Extend | wire.GroupRequest | wire.StaffRequest | wire.Ping
)


class Request:
    """One request of the caller; `number` is the caller's, None for the client's own pings."""

    __slots__ = ("epoch", "layout", "message", "not_before_ms", "number", "sent_ms", "transmissions")

    def __init__(self, number: int | None, message: Message, layout: str | None = None) -> None:
        self.number = number
        self.message = message
        self.transmissions = 0
        self.sent_ms = 0
        self.not_before_ms = 0
        self.epoch: str | None = None
        """The epoch in which it was last sent, for a key is known in its own epoch only."""
        self.layout = layout
        """The hash of the layout under which it was made; None where none was known: the first that is, then."""

    def may_repeat(self, epoch: str | None) -> bool:
        """Whether sending it once more, in `epoch` and on its own layout, cannot take more than was asked for.

        In its own epoch the key sees to that. In another one on the same layout a seat still cannot be taken twice (it
        is refused as taken), but places of an area could, and so could seats that the server chooses, where the first
        transmission was granted and survived. Over several events the key is of no epoch (docs/decisions/008), and
        neither is that of staff, whose acts PostgreSQL knows. Another layout is `drop_other_layouts`' affair.
        """
        if self.transmissions >= TRANSMISSIONS_MAX:
            return False
        match self.message:
            case wire.HoldRequest(areas=areas):
                return self.epoch == epoch or not areas
            case wire.HoldBest():
                return self.epoch == epoch
            case wire.HoldGroup() | wire.MoveGroup() | wire.Block() | wire.Unblock():
                return True
            case wire.HoldForCustomer() | wire.ReleaseAnyHold() | wire.MoveHold() | wire.Sell():
                return True
            case wire.ReadStatusChanges() | wire.ReadChannels():
                return True  # nothing is changed by asking
        return False


def names_seats(message: Message) -> bool:
    """Whether `message` means something else under another layout: it names seats by index, or has them chosen by what
    was seen of the layout."""
    if isinstance(message, wire.HoldBest):
        return True
    return bool(getattr(message, "seats", ())) or getattr(message, "seat", None) is not None


class Pending:
    """The requests of one client, in the order in which they were made."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._unanswered: dict[int, Request] = {}
        self._wire_id = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._unanswered)

    @property
    def full(self) -> bool:
        """Whether no further request fits."""
        return len(self) >= REQUESTS_MAX

    def add(self, request: Request) -> None:
        """Let `request` wait for its turn (not before its `not_before_ms`)."""
        self._waiting.append(request)

    def transmit(self, now_ms: int, epoch: str | None) -> list[Message]:
        """The requests whose turn it is, to be sent now; at most as many unanswered as the server takes on."""
        messages: list[Message] = []
        later: deque[Request] = deque()
        while self._waiting:
            request = self._waiting.popleft()
            if request.not_before_ms > now_ms or len(self._unanswered) >= limits.REQUESTS_IN_FLIGHT_MAX:
                later.append(request)
                continue
            self._wire_id += 1
            request.transmissions += 1
            request.sent_ms = now_ms
            request.epoch = epoch
            self._unanswered[self._wire_id] = request
            messages.append(replace(request.message, id=self._wire_id))
        self._waiting = later
        return messages

    def answered(self, wire_id: int) -> Request | None:
        """The request that an answer belongs to; None where there is none (any more)."""
        return self._unanswered.pop(wire_id, None)

    def lost_socket(self) -> list[Request]:
        """No answer will come on this socket: all that could be asked again waits first; returned is the rest.

        Whether it is asked again is decided when the epoch is known, see `drop_unrepeatable`.
        """
        lost = list(self._unanswered.values())
        self._unanswered.clear()
        repeatable = [request for request in lost if request.may_repeat(request.epoch)]
        self._waiting.extendleft(reversed(repeatable))
        return [request for request in lost if request not in repeatable]

    def drop_unrepeatable(self, epoch: str) -> list[Request]:
        """The picture is of `epoch` now: take out, and return, what may not be asked again in it."""
        dropped = [request for request in self._waiting if request.transmissions and not request.may_repeat(epoch)]
        self._waiting = deque(request for request in self._waiting if request not in dropped)
        return dropped

    def drop_other_layouts(self, layout: str) -> list[Request]:
        """The picture is of `layout` (its hash) now: take out, and return, what names seats of another one.

        Also what is unanswered on this socket: its answer could not be understood any more.
        """
        for request in self._waiting:
            request.layout = request.layout or layout
        others = [
            request
            for request in [*self._unanswered.values(), *self._waiting]
            if request.layout != layout and names_seats(request.message)
        ]
        self._unanswered = {number: one for number, one in self._unanswered.items() if one not in others}
        self._waiting = deque(request for request in self._waiting if request not in others)
        return others

    def clear(self) -> list[Request]:
        """Take out, and return, everything."""
        everything = [*self._unanswered.values(), *self._waiting]
        self._unanswered.clear()
        self._waiting.clear()
        return everything

    def oldest_sent_ms(self) -> int | None:
        """When the longest unanswered request was sent."""
        return min((request.sent_ms for request in self._unanswered.values()), default=None)

    def next_turn_ms(self) -> int | None:
        """When the next waiting request may be sent, if room among the unanswered is all it lacks."""
        if len(self._unanswered) >= limits.REQUESTS_IN_FLIGHT_MAX:
            return None
        return min((request.not_before_ms for request in self._waiting), default=None)
