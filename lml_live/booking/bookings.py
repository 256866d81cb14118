"""Bookings as PostgreSQL keeps them: what one is, and every transaction that changes one.

Each method is one transaction. What is to be done outside (at Stripe, in Redis) is written into the outbox in the same
transaction and sent afterwards by `completer`; no network call is ever made inside (style.md, 21).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

from lml_live.booking import states, tickets
from lml_live.booking.accounts import post, post_move
from lml_live.booking.claims import Claimed, Known, Line, NewBooking, NotClaimed
from lml_live.booking.inbox import Inbox
from lml_live.booking.ledger import Shares, Tender
from lml_live.booking.outbox import Outbox, write_work
from lml_live.booking.payment_states import PaymentState, may_follow
from lml_live.booking.states import BookingState, IntentStatus
from lml_live.booking.together import Together
from lml_live.clock import to_datetime
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.inventory.answers import Changed

_SQL: Final = postgres.statements("booking")


class Booking(Struct, frozen=True, kw_only=True):
    """One booking. `intent_id` and `client_secret` are there once Stripe has made the PaymentIntent.

    With a `tender` it was sold at the counter; `forgone` is what it would have cost, where it was given away.
    """

    id: str
    event: str
    hold: str
    holder: str
    epoch: int
    state: BookingState
    buyer_name: str
    buyer_email: str | None
    amount: int
    currency: str
    expires_at: datetime
    created: datetime
    intent_id: str | None
    client_secret: str | None
    payment: PaymentState | None
    """What Stripe said of it last; None where nothing is due."""
    save_card: bool
    """The buyer wants the card that pays to be saved."""
    tender: Tender | None
    forgone: int | None
    lines: tuple[Line, ...]


class Bookings(Outbox, Inbox):
    """The bookings of the house, with what they decided and what Stripe said of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._together = Together(pool)

    async def close(self) -> None:
        """Ends what is still claimed for requests that no longer wait: each claim is durable, or it is not."""
        await self._together.close()

    # --- Claim

    async def claim(self, new: NewBooking) -> Claimed | NotClaimed | Known:
        """Claims the marked hold's seats and places for good, or says why not.

        Raises `Unavailable` where PostgreSQL does not answer: the outcome is then unknown, and `load` tells.
        """
        return await self._together.claim(new)

    async def refuse(self, booking: str, event: str, holder: str, mark: Changed) -> bool:
        """Ends a mark without a claim: the booking's id is `failed` from here on, and the hold is to be restored.

        False where a row of this id is there already: that booking decides, and nothing was done.
        """
        record = mark.record
        assert record is not None
        async with postgres.transaction(self._pool) as connected:
            inserted = await connected.fetchval(
                _SQL["insert_refused"],
                booking,
                event,
                mark.hold,
                holder,
                mark.epoch,
                to_datetime(record.created_ms),
                to_datetime(record.lifetime_ms),
            )
            if inserted is None:
                return False
            await write_work(connected, booking, event, "restore_hold")
        return True

    # --- Read

    async def load(self, booking: str) -> Booking | None:
        """One booking, or None; a refused checkout is none."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_booking"], booking)
            if row is None or row["buyer_name"] is None:
                return None
            return (await _with_lines(connected, [row]))[0]

    async def state_of(self, booking: str) -> BookingState | None:
        """The state of a booking or refused checkout, or None where nobody knows the id."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_booking"], booking)
        return None if row is None else row["state"]

    async def hold_of(self, booking: str) -> str:
        """The hold of a booking or refused checkout."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_booking"], booking)
        assert row is not None
        hold: str = row["hold_id"]
        return hold

    async def house_blocks(self, event: str) -> set[str]:
        """The seats that the house keeps back."""
        async with postgres.connection(self._pool) as connected:
            return {row["seat_id"] for row in await connected.fetch(_SQL["house_blocks"], event)}

    async def of_holder(self, holder: str, *, after: tuple[datetime, str] | None, limit: int) -> Sequence[Booking]:
        """A holder's bookings, the newest first."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["list_bookings"], holder, *(after or (None, None)), limit)
            return await _with_lines(connected, rows)

    async def find(
        self, event: str, *, seat_id: str | None, text: str | None, after: tuple[datetime, str] | None, limit: int
    ) -> Sequence[Booking]:
        """An event's bookings, the newest first: of a seat, of a buyer with this in name or address, of a number."""
        async with postgres.connection(self._pool) as connected:
            asked = (event, seat_id, text, *(after or (None, None)), limit)
            return await _with_lines(connected, await connected.fetch(_SQL["find_bookings"], *asked))

    # --- Decide

    async def give_up(self, booking: str, to: BookingState) -> BookingState | None:
        """Begins to end an unpaid booking (`cancelling` or `expiring`), and answers the state it is in then.

        A create that was never sent is struck, and the booking ends at once; else its intent is to be cancelled, and
        the seats stay until Stripe has said so. Other states stay as they are. None for an unknown booking.
        """
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_SQL["lock_booking"], booking)
            if row is None or row["state"] != "pending_payment":
                return None if row is None else row["state"]
            if await connected.fetchval(_SQL["strike_create"], booking) is not None:
                await connected.execute(_SQL["abandon_payment"], booking)
                ended: BookingState = "cancelled" if to == "cancelling" else "expired"
                await self._end(connected, booking, row["event_id"], ended)
                return ended
            await connected.execute(_SQL["move_booking"], booking, to)
            payment = await connected.fetchrow(_SQL["load_payment"], booking)
            if payment is not None and payment["intent_id"] is not None:
                await write_work(connected, booking, row["event_id"], "cancel_intent")
            return to

    async def intent_made(
        self, booking: str, intent: str, client_secret: str | None, status: IntentStatus, *, fits: bool = True
    ) -> bool:
        """Stripe has made the PaymentIntent. One that nobody wants any more is to be cancelled.

        False where it does not fit, and where the booking has another one, or is over: the buyer may know that one's
        secret, so it stays, and this one is to be ended. (Two creates under two keys can both have worked, where the
        first key's answer was a failure that was none.)
        """
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_SQL["lock_booking"], booking)
            assert row is not None
            payment = await connected.fetchrow(_SQL["load_payment"], booking)
            assert payment is not None
            if payment["intent_id"] == intent:
                return True
            if not fits or payment["state"] != "preparing" or row["state"] not in states.AWAITING_PAYMENT:
                await self._end_surplus(connected, booking, intent)
                return False
            await connected.execute(_SQL["keep_intent"], booking, intent, client_secret, status)
            state = await self._follow(connected, row, status)
            if state in ("cancelling", "expiring"):
                await write_work(connected, booking, row["event_id"], "cancel_intent")
        return True

    async def intent_found(self, booking: str, intent: str, status: IntentStatus) -> BookingState | None:
        """Draws the consequences of an intent's state as just retrieved; answers the booking's state afterwards.

        Harmless when told twice, late or out of order: the tables of moves decide (reliability.md, D7, I18).
        """
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_SQL["lock_booking"], booking)
            if row is None:
                return None
            noted = await connected.fetchval(_SQL["note_payment"], booking, intent, status, list(may_follow(status)))
            if noted is None:
                # Another intent's, or older than what is known already: whoever asked had a slow answer.
                state: BookingState = row["state"]
                if status == "succeeded" and state in states.ENDED_UNSOLD:
                    # Stripe had said that it never would be paid. Whatever the reason, nobody keeps it.
                    await self._end_surplus(connected, booking, intent)
                return state
            return await self._follow(connected, row, status)

    async def _follow(self, connected: Connection, row: asyncpg.Record, status: IntentStatus) -> BookingState:
        """What a booking becomes of its payment, which was just noted; the booking is locked."""
        booking, event, state = row["id"], row["event_id"], row["state"]
        to = states.next_state(state, status)
        if to is None:
            return state  # type: ignore[no-any-return]
        await post_move(connected, booking, row["currency"], state, to)
        if to in states.ENDED_UNSOLD:
            await self._end(connected, booking, event, to)
        elif state in states.AWAITING_PAYMENT:
            await self._sell(connected, booking, event, to)
            if to == "authorized":
                await write_work(connected, booking, event, "capture_intent")
        else:
            await connected.execute(_SQL["move_booking"], booking, to)
        if to == "confirmed":
            await tickets.issue(connected, booking)
        return to

    async def _end_surplus(self, connected: Connection, booking: str, intent: str) -> None:
        await connected.execute(_SQL["write_surplus"], booking, f"{booking}:cancel_surplus:{intent}", intent)

    async def end_surplus(self, booking: str, intent: str) -> None:
        """An intent of a booking that Stripe has no part in: it is to be ended, or what was paid by it goes back."""
        async with postgres.transaction(self._pool) as connected:
            await self._end_surplus(connected, booking, intent)

    async def surplus_paid(self, booking: str, intent: str, amount: int) -> None:
        """Stripe has taken money for a booking that it has no use for: all of it is to go back."""
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_SQL["lock_booking"], booking)
            assert row is not None
            if await connected.fetchval(_SQL["keep_surplus"], intent, booking, amount) is not None:
                shares = Shares(0, 0, 0, owed=amount)
                await post(connected, booking, row["currency"], "surplus_taken", shares, about=intent)
                act = f"{booking}:refund_surplus:{intent}"
                await connected.execute(_SQL["write_surplus_refund"], booking, act, intent)

    async def surplus(self, intent: str) -> tuple[int, bool]:
        """What was taken by such an intent, and whether it went back."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_surplus"], intent)
        assert row is not None
        return row["amount"], row["returned"] is not None

    async def surplus_returned(self, booking: str, intent: str, refund: str, *, by_bank: bool = False) -> None:
        """Stripe has taken its refund, or a bank took it, which is booked by then; told again, nothing happens."""
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_SQL["lock_booking"], booking)
            assert row is not None
            amount = await connected.fetchval(_SQL["return_surplus"], intent, refund)
            if amount is not None:
                if not by_bank:
                    shares = Shares(0, 0, 0, owed=amount)
                    await post(connected, booking, row["currency"], "surplus_returned", shares, about=intent)
                await connected.execute(_SQL["touch_booking"], booking)

    async def create_refused(self, booking: str) -> None:
        """Stripe will never make this intent (its parameters are refused): nothing can be charged.

        Nothing happens where another worker has made one meanwhile.
        """
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_SQL["lock_booking"], booking)
            assert row is not None
            ended: dict[str, BookingState] = {
                "pending_payment": "failed",
                "cancelling": "cancelled",
                "expiring": "expired",
            }
            if row["state"] in ended and await connected.fetchval(_SQL["abandon_payment"], booking) is not None:
                await self._end(connected, booking, row["event_id"], ended[row["state"]])

    async def _sell(self, connected: Connection, booking: str, event: str, to: BookingState) -> None:
        await connected.execute(_SQL["lock_event_shared"], event)
        await connected.execute(_SQL["move_booking"], booking, to)
        await connected.execute(_SQL["sell_seats"], [booking])
        await connected.execute(_SQL["sell_areas"], [booking])
        await write_work(connected, booking, event, "sell_hold")

    async def _end(self, connected: Connection, booking: str, event: str, to: BookingState) -> None:
        await connected.execute(_SQL["lock_event_shared"], event)
        await connected.execute(_SQL["move_booking"], booking, to)
        await release_places(connected, booking, event)

    # --- Poller, expiry

    async def to_expire(self, count: int, bank_seconds: float) -> list[str]:
        """Bookings that were not paid in time; where the bank is at it, so much later."""
        async with postgres.connection(self._pool) as connected:
            return [row["id"] for row in await connected.fetch(_SQL["bookings_to_expire"], count, bank_seconds)]

    async def to_look_at(self, count: int, seconds: float, banks: float) -> list[str]:
        """Unfinished bookings whose intent was not looked at for so long; they count as looked at from here on.

        Where the bank is at it, `banks` seconds.
        """
        async with postgres.connection(self._pool) as connected:
            return [row["id"] for row in await connected.fetch(_SQL["bookings_to_look_at"], count, seconds, banks)]


async def release_places(connected: Connection, booking: str, event: str) -> None:
    """Lets all places of a booking go; its event is locked shared. The inventory is told after the commit."""
    await connected.fetch(_SQL["lock_areas_of_booking"], booking, event)
    await connected.execute(_SQL["give_places_back"], booking, event)
    await connected.execute(_SQL["release_seats"], booking)
    await connected.execute(_SQL["release_areas"], booking)
    await write_work(connected, booking, event, "free_booking")


async def _with_lines(connected: Connection, rows: Sequence[asyncpg.Record]) -> list[Booking]:
    lines: dict[str, list[Line]] = {row["id"]: [] for row in rows}
    for row in await connected.fetch(_SQL["load_lines"], list(lines)):
        lines[row["booking_id"]].append(
            Line(row["line"], row["seat_id"], row["area_id"], row["type"], row["amount"], row["fee"], row["tax"])
        )
    return [
        Booking(
            id=row["id"],
            event=row["event_id"],
            hold=row["hold_id"],
            holder=row["holder"],
            epoch=row["epoch"],
            state=row["state"],
            buyer_name=row["buyer_name"],
            buyer_email=row["buyer_email"],
            amount=row["amount"],
            currency=row["currency"],
            expires_at=row["expires_at"],
            created=row["created"],
            intent_id=row["intent_id"],
            client_secret=row["client_secret"],
            payment=row["payment"],
            save_card=bool(row["save_card"]),
            tender=row["tender"],
            forgone=row["forgone"],
            lines=tuple(lines[row["id"]]),
        )
        for row in rows
    ]
