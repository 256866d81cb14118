"""What staff are told of an event: its status-change log, and what each sales channel has. Pure: shapes only."""

from datetime import datetime

from msgspec import Struct


class StatusChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change of a seat, or of `quantity` places of an area: what, when, by whom and why.

    `status` is what it is from then on; absent where a block was withdrawn, because the seat was held, and where only
    its channel is another: `channel` says which (`open`: all sell it), and `quantity` is all that the channel has of
    the area from then on. `staff` is absent where a buyer's booking did it. An `unblock` of places that are `held` or
    `sold` from then on is of those that the house kept back, and staff took.
    """

    number: int
    at: datetime
    act: str
    seat_id: str | None = None
    area_id: str | None = None
    quantity: int | None = None
    status: str | None = None
    hold: str | None = None
    holder: str | None = None
    booking: str | None = None
    channel: str | None = None
    staff: str | None = None
    staff_email: str | None = None
    reason: str | None = None


class SeatCounts(Struct, frozen=True):
    """The seats that belong to a channel, by state; `blocked` are kept back or killed."""

    assigned: int
    available: int
    held: int
    sold: int
    blocked: int


class PlaceCounts(Struct, frozen=True):
    """The places of an area that a channel may count on, and what it did with them and beyond.

    `available` are left of its own; it may sell what is open, too. For `open`: what nobody has for himself.
    """

    assigned: int
    available: int
    held: int
    sold: int


class ChannelReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One channel of an event; `open` is what all sell. `opened_at`: what it had was opened to all then."""

    channel: str
    opens_at: datetime | None = None
    opened_at: datetime | None = None
    seats: SeatCounts
    areas: dict[str, PlaceCounts]
