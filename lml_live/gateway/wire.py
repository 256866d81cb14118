"""Every message of the live socket, both ways, in JSON and msgpack (contract, section 3). Pure.

The Structs below are the one source of the wire's shape: decoders, encoders, `/asyncapi.json` and the Python client
are made from them; what REST shows, too, is in `shown` and `backoffice.reports`. Field names are the contract's.
Unknown fields are ignored, missing optional ones are absent on the wire (`omit_defaults`).
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from lml_live import limits, values
from lml_live.backoffice.reports import ChannelReport, StatusChange
from lml_live.booking.ledger import Tender
from lml_live.gateway.shown import BookingShown

# --- Parts ------------------------------------------------------------------------------------------------------------

RequestId = Annotated[int, Meta(ge=0, le=values.WIRE_INTEGER_MAX, description="The client's own number.")]
Id = Annotated[str, Meta(pattern=values.ID_PATTERN)]
SeatIndex = Annotated[int, Meta(ge=0, lt=limits.LAYOUT_SEATS_MAX)]
Quantity = Annotated[int, Meta(ge=1, le=limits.HOLD_LINES_MAX)]
Label = Annotated[str, Meta(min_length=1, max_length=limits.LABEL_CHARS_MAX)]
PriceType = Annotated[str, Meta(pattern=values.ID_PATTERN)]
Key = Annotated[str, Meta(min_length=1, max_length=limits.KEY_CHARS_MAX)]
Token = Annotated[str, Meta(max_length=limits.TOKEN_CHARS_MAX)]
Email = Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$(?!\n)")]


class SeatPick(Struct, frozen=True, gc=False):
    """A seat with the price type it is wanted at."""

    seat: SeatIndex
    type: PriceType


SeatWish = SeatIndex | SeatPick
AreaWish = Quantity | Annotated[dict[PriceType, Quantity], Meta(min_length=1, max_length=limits.HOLD_LINES_MAX)]
SeatWishes = Annotated[list[SeatWish], Meta(max_length=limits.HOLD_SEATS_MAX)]
AreaWishes = Annotated[dict[Id, AreaWish], Meta(max_length=limits.HOLD_LINES_MAX)]


class HoldLine(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One place of a hold or booking with its price in minor units; `tax` is the part of amount and fee that is tax.

    A seat is named by index (`seat`) on the socket and by id (`seat_id`) in REST.
    """

    line: int
    seat: int | None = None
    seat_id: str | None = None
    area_id: str | None = None
    type: str
    amount: int
    fee: int
    tax: int


class Hold(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A holder's hold. `seats` are indexes on the socket and seat ids in REST; `areas` counts places per area."""

    id: str
    lines: tuple[HoldLine, ...]
    seats: tuple[int | str, ...]
    areas: dict[str, int]
    state: Literal["active", "checkout", "sold"]
    booking: str | None = None
    deadline_ms: int
    lifetime_ms: int
    extensions_left: int
    amount: int
    currency: str


class AreaCounts(Struct, frozen=True):
    """Absolute counts of one area; they add up to its capacity."""

    available: int
    held: int
    sold: int
    blocked: int


class Limits(Struct, frozen=True):
    """The published rules of an event."""

    max_seats: int
    hold_seconds: int
    extensions: int
    lifetime_seconds: int
    orphan_rule: Literal["off", "strict", "lenient"] = "off"
    expired_holds: int = 0
    cooldown_seconds: int = 0
    rehold_seconds: int = 0
    release_jitter_seconds: int = 0
    address_holds: int = 0
    address_seats: int = 0


class LayoutRef(Struct, frozen=True):
    """Which layout version the seat indexes belong to, and where its bytes are."""

    id: str
    version: int
    hash: str
    url: str
    seat_count: int


class EventBrief(Struct, frozen=True):
    """An event's sale as `welcome` tells it."""

    id: str
    state: Literal["draft", "open", "paused", "closed"]
    on_sale_at_ms: int
    prices_version: int


# --- Client to server -------------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, omit_defaults=True, tag="hello"):
    """First message, and again after a gap. `resume` is read leniently: what cannot be served gets `welcome`."""

    token: Token | None = None
    resume: Any = None
    accept: Annotated[list[str], Meta(max_length=8)] = []
    queue: Token | None = None


class HoldRequest(Struct, frozen=True, gc=False, omit_defaults=True, tag="hold"):
    """Take all of `seats` and `areas`, or nothing. `into` adds to a hold, `replace` swaps its contents."""

    id: RequestId
    seats: SeatWishes = []
    areas: AreaWishes = {}
    into: Id | None = None
    replace: Id | None = None
    key: Key | None = None


class BestWish(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What seats are wanted where the server chooses them.

    `quantity` counts all seats, among them `accessible` places and `companions` seats beside those. `max_price` is the
    most that one seat may cost, fee included, in minor units. With `adjacent: required` seats in several rows are no
    answer.
    """

    quantity: Quantity
    category: Label | None = None
    section: Label | None = None
    max_price: Annotated[int, Meta(ge=0, le=2 * values.AMOUNT_MINOR_MAX)] | None = None
    accessible: Annotated[int, Meta(ge=0, le=limits.HOLD_LINES_MAX)] = 0
    companions: Annotated[int, Meta(ge=0, le=limits.HOLD_LINES_MAX)] = 0
    adjacent: Literal["required", "preferred"] = "preferred"
    areas: AreaWishes = {}
    into: Id | None = None
    replace: Id | None = None


class HoldBest(BestWish, frozen=True, omit_defaults=True, kw_only=True, tag="hold_best"):
    """Take the best free seats for a wish, and all of `areas` with them, or nothing. Answered by `held`.

    Side by side and nearest to the focal point; else, where the event's orphan rule is lenient, with a seat left alone;
    else over neighbouring rows. `into`, `replace` and `key` are those of `hold`.
    """

    id: RequestId
    key: Key | None = None


class Release(Struct, frozen=True, gc=False, omit_defaults=True, tag="release"):
    """Give back a hold, whole (neither `seats` nor `areas`) or in part."""

    id: RequestId
    hold: Id
    seats: Annotated[list[SeatIndex], Meta(max_length=limits.HOLD_SEATS_MAX)] = []
    areas: AreaWishes = {}


class Extend(Struct, frozen=True, gc=False, omit_defaults=True, tag="extend"):
    """Put a hold's deadline off once more."""

    id: RequestId
    hold: Id


HoldIds = Annotated[list[Id], Meta(min_length=1, max_length=limits.EVENTS_PER_CALL_MAX)]
EventIds = Annotated[list[Id], Meta(max_length=limits.EVENTS_PER_CALL_MAX)]


class HoldGroup(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="hold_group"):
    """Take `seats` and `areas` in each of these events of this one's group (none named: in all), or nothing in any.

    Seat indexes are those of this socket's layout, so the events must be sold on the same layout version. Answered by
    `group`, as the three below.
    """

    id: RequestId
    events: EventIds = []
    seats: SeatWishes = []
    areas: AreaWishes = {}
    key: Key | None = None


class MoveGroup(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="move_group"):
    """Make `seats` and `areas` in each of `events` of these holds of the group, one an event, or change nothing.

    A hold whose event is named keeps its id, the others end. Deadlines, lifetimes and extensions never grow.
    """

    id: RequestId
    holds: HoldIds
    events: Annotated[list[Id], Meta(min_length=1, max_length=limits.EVENTS_PER_CALL_MAX)]
    seats: SeatWishes = []
    areas: AreaWishes = {}
    key: Key | None = None


class ReleaseGroup(Struct, frozen=True, tag="release_group"):
    """Give back every one of these holds, at most one an event of the group, or none."""

    id: RequestId
    holds: HoldIds


class ExtendGroup(Struct, frozen=True, tag="extend_group"):
    """Put off the deadline of every one of these holds, at most one an event of the group, or of none."""

    id: RequestId
    holds: HoldIds


Reason = Annotated[str, Meta(min_length=1, max_length=limits.EVENT_NAME_CHARS_MAX, pattern=values.TEXT_PATTERN)]
BlockedSeats = Annotated[list[SeatIndex], Meta(max_length=limits.BLOCK_BATCH)]
BlockedPlaces = Annotated[
    dict[Id, Annotated[int, Meta(ge=1, le=limits.AREA_CAPACITY_MAX)]], Meta(max_length=limits.LAYOUT_AREAS_MAX)
]


class Block(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="block"):
    """For managers: take seats and places off sale. Not all or nothing; answered by `blocked`.

    Places are counted once for each `key`, which is that of one request of one member of staff; without one, each time
    that it is sent.
    """

    id: RequestId
    seats: BlockedSeats = []
    areas: BlockedPlaces = {}
    kind: Literal["house", "kill"]
    reason: Reason
    key: Key | None = None


class Unblock(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="unblock"):
    """For managers: put blocked seats, and blocked places of this kind, back on sale. Answered by `unblocked`."""

    id: RequestId
    seats: BlockedSeats = []
    areas: BlockedPlaces = {}
    kind: Literal["house", "kill"] = "house"
    reason: Reason | None = None
    key: Key | None = None


class AssignSeats(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="assign_seats"):
    """For managers: give seats and places to a channel: `web`, `box-office`, a partner's, or `open` for all.

    `areas` says how many places it may count on from now on, 0 for none. All that it has becomes everybody's at
    `opens_at_ms`; null: when it is opened; absent: as was planned. Not all or nothing; answered by `assigned`.
    """

    id: RequestId
    channel: Id
    seats: BlockedSeats = []
    areas: Annotated[
        dict[Id, Annotated[int, Meta(ge=0, le=limits.AREA_CAPACITY_MAX)]], Meta(max_length=limits.LAYOUT_AREAS_MAX)
    ] = {}
    opens_at_ms: Annotated[int, Meta(ge=0, le=values.TIME_MS_MAX)] | UnsetType | None = UNSET
    reason: Reason


class OpenChannel(Struct, frozen=True, kw_only=True, tag="open_channel"):
    """For managers: open to all what a channel has; what it held and sold stays so. Answered by `opened`."""

    id: RequestId
    channel: Id
    reason: Reason


class HoldForCustomer(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="hold_for_customer"):
    """For clerks: hold for a customer until it is released, all of it or nothing. Answered by `held`.

    `holder` is one that `POST /holders` made for staff. `over_house` takes seats, too, that a house hold keeps back,
    and of an area what is missing beside the places for sale. Repeated with its `key` it hears of its hold as it is.
    """

    id: RequestId
    holder: Id
    customer: Reason
    reason: Reason
    seats: SeatWishes = []
    areas: AreaWishes = {}
    over_house: bool = False
    key: Key | None = None


class ReleaseAnyHold(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="release_any_hold"):
    """For clerks: release anybody's hold of this event; its holder is told. Answered by `released`."""

    id: RequestId
    hold: Id
    reason: Reason
    key: Key | None = None


class MoveHold(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="move_hold"):
    """For clerks: make these seats and places of anybody's hold of this event, in one step. Answered by `held`.

    Its holder is told. `over_house` takes seats, too, that a house hold keeps back; places are from those for sale.
    """

    id: RequestId
    hold: Id
    seats: SeatWishes = []
    areas: AreaWishes = {}
    over_house: bool = False
    reason: Reason
    key: Key | None = None


class Buyer(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who buys at the counter; with an e-mail address they are sent the booking."""

    name: Reason | None = None
    email: Email | None = None


class Sell(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="sell"):
    """For clerks: sell a customer's `hold`, or `seats` and `areas` that nobody holds, for what the counter takes.

    All of it or nothing; answered by `sold`. A `comp` is given away, and what it would have cost is on record.
    `over_house` takes seats, too, that the house keeps back, and of an area what is missing beside the places for sale;
    killed ones nobody takes. `reason` stands in the log. Repeated with its `key` it is one booking.
    """

    id: RequestId
    hold: Id | None = None
    seats: SeatWishes = []
    areas: AreaWishes = {}
    over_house: bool = True
    tender: Tender
    buyer: Buyer | None = None
    reason: Reason | None = None
    key: Key | None = None


class ReadStatusChanges(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="read_status_changes"):
    """For clerks: who changed seats and places, when and why, the oldest first. Answered by `status_changes`.

    Of this `seat` only, and from `since_ms` on; `cursor` is `next` of the page before.
    """

    id: RequestId
    seat: SeatIndex | None = None
    since_ms: Annotated[int, Meta(ge=values.MOMENT_MS_MIN, le=values.MOMENT_MS_MAX)] | None = None
    limit: Annotated[int, Meta(ge=1, le=limits.PAGE_ITEMS_MAX)] = limits.PAGE_ITEMS_DEFAULT
    cursor: Annotated[str, Meta(max_length=limits.CURSOR_CHARS_MAX)] | None = None


class ReadChannels(Struct, frozen=True, tag="read_channels"):
    """For clerks: what each sales channel has, and what became of it. Answered by `channels`."""

    id: RequestId


class Ping(Struct, frozen=True, gc=False, omit_defaults=True, tag="ping"):
    id: RequestId


GroupRequest = HoldGroup | MoveGroup | ReleaseGroup | ExtendGroup
BlockRequest = Block | Unblock
ChannelRequest = AssignSeats | OpenChannel
StaffHoldRequest = HoldForCustomer | ReleaseAnyHold | MoveHold
StaffRead = ReadStatusChanges | ReadChannels
ClerkRequest = StaffHoldRequest | Sell | StaffRead
StaffRequest = BlockRequest | ChannelRequest | ClerkRequest
ClientMessage = Hello | HoldRequest | HoldBest | Release | Extend | GroupRequest | StaffRequest | Ping

# --- Server to client -------------------------------------------------------------------------------------------------


class Welcome(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="welcome"):
    """The whole state: 2 bits a seat in `seats` (seat 0 lowest), deflated where `encoding` says so.

    Staff get `details` (a byte a seat as in the message of that name) and `channels`, too.
    """

    event: EventBrief
    epoch: str
    seq: int
    seats: msgspec.Raw
    encoding: str | None = None
    areas: dict[str, AreaCounts]
    holder: str
    token: str
    holds: tuple[Hold, ...]
    limits: Limits
    layout: LayoutRef
    now_ms: int
    tick_ms: int
    details: msgspec.Raw | UnsetType = UNSET
    channels: dict[str, int] = {}


class Resumed(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="resumed"):
    """All of `welcome` but `seats`; the lists name the seats that changed since then, by their state now."""

    event: EventBrief
    epoch: str
    seq: int
    available: tuple[int, ...] = ()
    held: tuple[int, ...] = ()
    sold: tuple[int, ...] = ()
    blocked: tuple[int, ...] = ()
    areas: dict[str, AreaCounts]
    holder: str
    token: str
    holds: tuple[Hold, ...]
    limits: Limits
    layout: LayoutRef
    now_ms: int
    tick_ms: int
    details: msgspec.Raw | UnsetType = UNSET
    channels: dict[str, int] = {}


class Details(Struct, frozen=True, kw_only=True, tag="details"):
    """For the staff view alone, after the `diff` of the same `seq`: seats with their inventory bytes as they are now.

    Each is [index, state + 8 * channel]: state 0 available, 1 held, 2 sold, 3 kept back by the house, 4 killed; what is
    of channel 0 is sold by all, `channels` has the numbers of the others.
    """

    seq: int
    seats: tuple[tuple[int, int], ...]
    channels: dict[str, int]


class Diff(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="diff"):
    """What changed between `prev` and `seq`; states and counts are absolute."""

    seq: int
    prev: int
    available: tuple[int, ...] = ()
    held: tuple[int, ...] = ()
    sold: tuple[int, ...] = ()
    blocked: tuple[int, ...] = ()
    areas: dict[str, AreaCounts] = {}


class Held(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="held"):
    id: int
    epoch: str
    seq: int
    hold: Hold | None = None
    now_ms: int


class Extended(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="extended"):
    id: int
    epoch: str
    seq: int
    hold: Hold | None = None
    now_ms: int


class Released(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="released"):
    """`hold` is absent when nothing is left of it."""

    id: int
    epoch: str
    seq: int
    hold: Hold | None = None
    now_ms: int


class EventHold(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What became of a hold in its event; `value` is absent when nothing is left of it."""

    event: str
    hold: str
    value: Hold | None = None
    epoch: str
    seq: int


class GroupChanged(Struct, frozen=True, kw_only=True, tag="group"):
    """A step over several events was done in all of them."""

    id: int
    holds: tuple[EventHold, ...]
    now_ms: int


class Blocked(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="blocked"):
    """The seats and places that are off sale now. Refused: seats that are held, in checkout or sold; areas that have
    only so many places left."""

    id: int
    seats: tuple[int, ...] = ()
    areas: dict[str, int] = {}
    refused_seats: tuple[int, ...] = ()
    refused_areas: dict[str, int] = {}


class Unblocked(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="unblocked"):
    """The seats and places that are on sale again. Refused: seats that were not blocked; areas with only so many
    blocked."""

    id: int
    seats: tuple[int, ...] = ()
    areas: dict[str, int] = {}
    refused_seats: tuple[int, ...] = ()
    refused_areas: dict[str, int] = {}


class Assigned(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="assigned"):
    """The seats and places that the channel has now. Refused: seats that another holds or has sold; areas with only so
    many open places."""

    id: int
    seats: tuple[int, ...] = ()
    areas: dict[str, int] = {}
    refused_seats: tuple[int, ...] = ()
    refused_areas: dict[str, int] = {}


class Opened(Struct, frozen=True, kw_only=True, tag="opened"):
    """All sell what this channel had."""

    id: int
    channel: str


class Sold(Struct, frozen=True, kw_only=True, tag="sold"):
    """What was sold, as REST answers it: seats by id, and with the `access` that fetches the tickets."""

    id: int
    booking: BookingShown


class StatusChanges(Struct, frozen=True, kw_only=True, tag="status_changes"):
    """A page of the status-change log, as REST has it: seats by id. `next` is the cursor of the page after it, null at
    the end."""

    id: int
    items: tuple[StatusChange, ...]
    next: str | None


class Channels(Struct, frozen=True, kw_only=True, tag="channels"):
    """The channels of the event, all of them, as REST has them; first `open`, which all sell."""

    id: int
    items: tuple[ChannelReport, ...]


class HoldChanged(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="hold_changed"):
    """A change of one of the holder's holds that this socket did not ask for."""

    hold: str
    state: Literal["active", "checkout", "sold", "gone"]
    reason: Literal["own", "staff", "expired", "lost", "closed", "booked", "payment_failed"]
    value: Hold | None = None
    booking: str | None = None
    epoch: str
    seq: int


class EventChanged(Struct, frozen=True, kw_only=True, tag="event"):
    """The sale changed: state, on-sale time, prices or limits."""

    state: Literal["draft", "open", "paused", "closed"]
    on_sale_at_ms: int
    prices_version: int
    limits: Limits


class Pong(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="pong"):
    id: int
    now_ms: int
    token: str | None = None


class EventRefusal(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Why one of several events refuses. `seats` are indexes on the socket and seat ids in REST."""

    event: str
    code: str
    message: str
    seats: tuple[int | str, ...] = ()
    areas: dict[str, int] = {}


class Error(Struct, frozen=True, omit_defaults=True, kw_only=True, tag="error"):
    """A refusal. `seats` are in the way (or unknown), `areas` says how many places are left.

    `events` are all that refuse a step over several events; `code` is the first one's.
    """

    id: int | None = None
    code: str
    message: str
    seats: tuple[int, ...] = ()
    areas: dict[str, int] = {}
    events: tuple[EventRefusal, ...] = ()
    retry_after_ms: int | None = None


class Bye(Struct, frozen=True, kw_only=True, tag="bye"):
    """The server will close the socket: reconnect with `resume` after a random part of `retry_after_ms`."""

    reason: str
    retry_after_ms: int


HoldAnswer = Held | Extended | Released | GroupChanged
RestAnswer = Sold | StatusChanges | Channels
StaffAnswer = Blocked | Unblocked | Assigned | Opened | RestAnswer
ServerMessage = (
    Welcome | Resumed | Diff | Details | HoldAnswer | StaffAnswer | HoldChanged | EventChanged | Pong | Error | Bye
)

# --- Coding -----------------------------------------------------------------------------------------------------------

SUBPROTOCOL_JSON: Final = "lml.v1.json"
SUBPROTOCOL_MSGPACK: Final = "lml.v1.msgpack"

CLOSE_NORMAL: Final = 1000
CLOSE_GOING_AWAY: Final = 1001
CLOSE_PROTOCOL_ERROR: Final = 1002
CLOSE_UNSUPPORTED: Final = 1003
CLOSE_BAD_DATA: Final = 1007
CLOSE_POLICY: Final = 1008
CLOSE_TOO_BIG: Final = 1009
CLOSE_INTERNAL: Final = 1011
CLOSE_RESTART: Final = 1012
CLOSE_TRY_LATER: Final = 1013
CLOSE_UNAUTHORIZED: Final = 4401


_QUOTED: Final = re.compile(r"(?<=Invalid value )'.*'", re.DOTALL)
_TIMED: Final = frozenset(get_args(RestAnswer))
_PACKER: Final = msgspec.msgpack.Encoder()


def _pack(message: Any) -> bytes:
    """A message in msgpack. What REST has, too, has its times as text in both formats; msgpack would make them its own
    type, which not every reader knows."""
    return _PACKER.encode(msgspec.to_builtins(message) if type(message) in _TIMED else message)


class _IdOnly(Struct):
    id: RequestId


class Malformed(Exception):
    """A frame that is no message. `id` is the request's number where it could still be read."""

    def __init__(self, message: str, request_id: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id


class Format:
    """One encoding of the messages: `JSON` (text frames) or `MSGPACK` (binary frames)."""

    def __init__(self, name: str, subprotocol: str, *, binary: bool) -> None:
        self.name = name
        self.subprotocol = subprotocol
        self.binary = binary
        if binary:
            encode: Callable[[Any], bytes] = _pack
            self._client: Any = msgspec.msgpack.Decoder(ClientMessage)
            self._server: Any = msgspec.msgpack.Decoder(ServerMessage)
            self._id: Any = msgspec.msgpack.Decoder(_IdOnly)
        else:
            encode = msgspec.json.Encoder().encode
            self._client = msgspec.json.Decoder(ClientMessage)
            self._server = msgspec.json.Decoder(ServerMessage)
            self._id = msgspec.json.Decoder(_IdOnly)
        self.encode = encode
        """A message as the frame's payload."""

    def raw(self, value: Any) -> msgspec.Raw:
        """`value` encoded now, to be put into messages later without encoding it again."""
        return msgspec.Raw(self.encode(value))

    def decode_client(self, payload: bytes) -> ClientMessage:
        """What a client said. Raises `Malformed`; the decoder's own words never echo the input."""
        try:
            message: ClientMessage = self._client.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # `DecodeError` is the parent of `ValidationError`: broken JSON and broken rules alike.
            raise Malformed(_explain(error), self._request_id(payload)) from error
        return message

    def decode_server(self, payload: bytes) -> ServerMessage:
        """What the server said, for clients. Raises `msgspec.DecodeError`."""
        message: ServerMessage = self._server.decode(payload)
        return message

    def decode_bytes(self, raw: msgspec.Raw) -> bytes:
        """The bytes in a `Raw` that `raw()` made from bytes (`welcome.seats`)."""
        if self.binary:
            return msgspec.msgpack.decode(raw, type=bytes)
        return msgspec.json.decode(raw, type=bytes)

    def _request_id(self, payload: bytes) -> int | None:
        try:
            request_id: int = self._id.decode(payload).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return request_id


def _explain(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        # msgspec quotes an unknown `type`; what a client sent is never sent back.
        return "The message breaks the contract: " + _QUOTED.sub("…", str(error))
    return "The frame is not a well-formed message."


JSON: Final = Format("json", SUBPROTOCOL_JSON, binary=False)
MSGPACK: Final = Format("msgpack", SUBPROTOCOL_MSGPACK, binary=True)
FORMATS: Final = {fmt.subprotocol: fmt for fmt in (JSON, MSGPACK)}
