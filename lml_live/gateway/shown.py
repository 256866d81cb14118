"""A booking as it is shown: to its holder, to staff, over REST and on the live socket. Pure: shapes only."""

from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from lml_live.booking.ledger import Tender
from lml_live.booking.refunding import RefundState
from lml_live.booking.states import BookingState


class BuyerShown(Struct, frozen=True):
    """Who has bought. At the counter one need not leave an address."""

    name: str
    email: str | None


class BookingLineShown(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One place with its frozen price, minor units."""

    line: int
    seat_id: str | None = None
    area_id: str | None = None
    type: str
    amount: int
    fee: int
    tax: int


class QueueShown(Struct, frozen=True, kw_only=True):
    """How many payments are made ready before this one, and how long that takes; ask again after `refresh_seconds`."""

    ahead: int
    estimated_seconds: int
    refresh_seconds: int


class PaymentShown(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How to pay: `preparing` (ask again), `ready` (confirm the intent in the browser), `none` (nothing to be done).

    `queue` is there while it is `preparing` and others come first.
    """

    status: Literal["preparing", "ready", "none"]
    provider: str | None = None
    client_secret: str | None = None
    publishable_key: str | None = None
    amount: int | None = None
    currency: str | None = None
    api_base: str | None = None
    queue: QueueShown | None = None


class RefundShown(Struct, frozen=True, kw_only=True):
    """A refund: `pending` until Stripe says that it arrived or `failed`; `accepted` is when the money left us."""

    id: str
    booking: str
    amount: int
    lines: tuple[int, ...]
    reason: str
    state: RefundState
    created: datetime
    accepted: datetime | None


class BookingShown(Struct, frozen=True, kw_only=True):
    """A booking, as its holder or who has its `access` sees it. Staff are told the buyer instead of the `access`.

    With a `tender` it was sold at the counter; `forgone` is what it would have cost, where it was given away.
    """

    id: str
    state: BookingState
    event: str
    hold: str
    lines: tuple[BookingLineShown, ...]
    seats: tuple[str, ...]
    areas: dict[str, int]
    amount: int
    currency: str
    expires_at: datetime
    access: str | UnsetType = UNSET
    payment: PaymentShown
    refunds: tuple[RefundShown, ...] = ()
    buyer: BuyerShown | UnsetType = UNSET
    tender: Tender | None = None
    forgone: int | None = None
