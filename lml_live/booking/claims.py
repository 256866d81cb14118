"""The claim: one transaction that makes bookings of marked holds of one event, each whole or not at all."""

from collections.abc import Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from lml_live.booking import tickets
from lml_live.booking.accounts import post_move
from lml_live.booking.ledger import Tender
from lml_live.clock import to_datetime
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.inventory.answers import Changed
from lml_live.inventory.records import is_counter_hold
from lml_live.inventory.staff_holds import Taken
from lml_live.pricing.blocks import use_up_places

_SQL: Final = postgres.statements("booking")


class Line(Struct, frozen=True):
    """One place of a booking with the price it was quoted at; minor units."""

    line: int
    seat_id: str | None
    area_id: str | None
    type: str
    amount: int
    fee: int
    tax: int


class AtCounter(Struct, frozen=True):
    """What a clerk sells a hold for, and why, where that was said."""

    tender: Tender
    staff: str
    reason: str | None = None


class NewBooking(Struct, frozen=True, kw_only=True):
    """A claim to be made: the marked hold, its buyer, and its quoted lines."""

    id: str
    event: str
    holder: str
    mark: Changed
    buyer_name: str
    buyer_email: str | None
    currency: str
    prices_version: int
    lines: tuple[Line, ...]
    pay_seconds: int
    origin: str = ""
    """Stands for the network address that it was made from."""
    save_card: bool = False
    """The card that pays is to be saved for the account that books."""
    counter: AtCounter | None = None
    """Sold and paid for at the counter, in this very transaction."""
    forgone: tuple[Line, ...] = ()
    """What its lines would have cost, where they are given away."""

    @property
    def amount(self) -> int:
        return sum(line.amount + line.fee for line in self.lines)


class Claimed(Struct, frozen=True):
    """The claim is durable."""


class NotClaimed(Struct, frozen=True):
    """Nothing was claimed; `code` is one of the contract's. `epoch_moved` says that the mark is gone by itself."""

    code: str
    message: str
    epoch_moved: bool = False


class Known(Struct, frozen=True):
    """There is a row of this id already: it decides."""


Outcome = Claimed | NotClaimed | Known

_REFUSALS: Final = {
    "one_sale_per_seat": NotClaimed("seat_taken", "A seat of this hold is somebody else's."),
    "area_is_never_oversold": NotClaimed("area_full", "There are not enough places left."),
}
"""What a constraint says where it refuses a claim."""


async def claim_one(pool: Pool, new: NewBooking) -> Outcome:
    """Claims one hold's places. Raises `Unavailable` where the outcome is unknown."""
    try:
        [outcome] = await claim_all(pool, [new])
    except (asyncpg.UniqueViolationError, asyncpg.CheckViolationError) as error:
        refusal = _REFUSALS.get(error.constraint_name or "")
        if refusal is None:
            raise
        return refusal
    return outcome


async def claim_all(pool: Pool, news: Sequence[NewBooking]) -> list[Outcome]:
    """Claims holds of one event in one transaction, and answers what became of each. No id may be there twice.

    What the event's row or a booking that is there already decides is decided for each by itself. A seat that is
    somebody else's, or an area that is full, is an error of the driver: then nothing is claimed. Raises `Unavailable`
    where nothing is, or where the outcome of all is unknown.
    """
    event = news[0].event
    async with postgres.transaction(pool) as connected:
        # A statement of its own: the next one sees what was committed while this one waited for adopt.
        await connected.execute(_SQL["lock_event_shared"], event)
        fence = await connected.fetchrow(_SQL["claim"], event, *_columns(news))
        claimed = frozenset() if fence is None else frozenset(fence["claimed"])
        won = [new for new in news if new.id in claimed]
        await _take_areas(connected, event, won)
        if saving := [new.id for new in won if new.save_card and new.amount]:
            await connected.execute(_SQL["save_cards"], saving)
        if sold := [new.id for new in won if new.amount == 0 or new.counter is not None]:
            await connected.execute(_SQL["confirm_at_once"], sold)
            await connected.execute(_SQL["sell_seats"], sold)
            await connected.execute(_SQL["sell_areas"], sold)
            await tickets.issue(connected, *sold)
        for new in won:
            if new.counter is not None:
                await _keep_books(connected, event, new, new.counter)
    return [Claimed() if new.id in claimed else _refusal(new, fence) for new in news]


async def _keep_books(connected: Connection, event: str, new: NewBooking, counter: AtCounter) -> None:
    """What a sale at the counter means beside the sale itself: money taken or forgone, house holds used up."""
    await post_move(connected, new.id, new.currency, "pending_payment", "confirmed", counter.tender)
    if new.forgone:
        columns = zip(*((new.id, one.line, one.amount, one.fee, one.tax) for one in new.forgone), strict=True)
        await connected.execute(_SQL["forgo"], *map(list, columns))
    if is_counter_hold(new.mark.hold):
        seats = [line.seat_id for line in new.lines if line.seat_id is not None]
        await connected.execute(_SQL["use_up_house_blocks"], event, seats)
        if isinstance(new.mark, Taken):
            told = (new.mark.hold, new.holder, new.id, counter.staff, counter.reason or counter.tender)
            await use_up_places(connected, event, new.mark.lent, "sold", *told)


def _refusal(new: NewBooking, fence: asyncpg.Record | None) -> NotClaimed | Known:
    """Why a claim that broke no constraint was not made."""
    if fence is None or fence["epoch"] != new.mark.epoch:
        return NotClaimed("unavailable", "The seat map is being restored.", epoch_moved=True)
    if fence["state"] == "paused":
        return NotClaimed("sale_paused", "The sale is paused.")
    if fence["state"] == "closed":
        return NotClaimed("sale_closed", "The sale is over.")
    if fence["state"] == "draft" and new.counter is not None:
        return NotClaimed("sale_not_open", "The sale has not begun.")
    return Known()


async def _take_areas(connected: Connection, event: str, won: Sequence[NewBooking]) -> None:
    """Claims the area places of bookings that have just been made, and counts them."""
    places = [(new.id, *place) for new in won if new.mark.record is not None for place in new.mark.record.area_types()]
    if places:
        bookings, areas, types, counts = zip(*places, strict=True)
        await connected.execute(_SQL["claim_areas"], event, bookings, areas, types, counts)
        # After the seats of all, and each in the order of the ids: that is everybody's order.
        await connected.fetch(_SQL["lock_areas"], event, sorted(set(areas)))
        await connected.execute(_SQL["take_places"], event, areas, counts)


def _columns(news: Sequence[NewBooking]) -> list[tuple[object, ...]]:
    """The bookings and their lines as arrays, in the order in which the statement names them."""
    bookings = zip(*(_booking(new) for new in news), strict=True)
    lines = zip(*(_line(new, line) for new in news for line in new.lines), strict=True)
    return [*bookings, *lines]


def _booking(new: NewBooking) -> tuple[object, ...]:
    record = new.mark.record
    assert record is not None
    return (
        new.id,
        new.mark.hold,
        new.holder,
        new.mark.epoch,
        to_datetime(record.created_ms),
        to_datetime(record.lifetime_ms),
        new.buyer_name,
        new.buyer_email,
        new.amount,
        new.currency,
        new.prices_version,
        float(new.pay_seconds),
        record.channel,
        new.origin or None,
        None if new.counter is None else new.counter.tender,
        None if new.counter is None else new.counter.staff,
        None if new.counter is None else new.counter.reason,
    )


def _line(new: NewBooking, line: Line) -> tuple[object, ...]:
    return (new.id, line.line, line.seat_id, line.area_id, line.type, line.amount, line.fee, line.tax)
