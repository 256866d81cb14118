"""Refunds as PostgreSQL keeps them, and every transaction that changes one (`refunding` decides, pure).

As in `bookings`: what is to be done outside is an outbox row of the same transaction. The places of whole lines go on
sale again when Stripe has *accepted* the refund, never when it was only asked for: till then the buyer has paid. What
was paid at the counter is given back there, by the clerk who asks: decided, accepted and arrived in one transaction.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

from lml_live.booking import tickets
from lml_live.booking.accounts import post
from lml_live.booking.bookings import release_places
from lml_live.booking.ledger import RETURNED, Shares
from lml_live.booking.payments import StripeRefund, stripe_amount
from lml_live.booking.refunding import (
    REFUNDABLE,
    Earlier,
    NotRefundable,
    PaidLine,
    Plan,
    RefundState,
    kept_lines,
    plan_refund,
    refunded_besides,
    state_of_money,
)
from lml_live.booking.states import BookingState, may_move
from lml_live.booking.transfers import take_back
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

_SQL: Final = postgres.statements("refunds")
_BOOKING: Final = postgres.statements("booking")


class Refund(Struct, frozen=True, kw_only=True):
    """Money that goes back, or went."""

    id: str
    booking: str
    key: str
    amount: int
    shares: Shares
    lines: tuple[int, ...]
    reason: str
    staff: str | None
    state: RefundState
    stripe_id: str | None
    fault: str | None
    created: datetime
    accepted: datetime | None


class Kept(Struct, frozen=True):
    """What a booking still owns: seat ids, and (area, type, number)."""

    event: str
    hold: str
    seats: tuple[str, ...]
    areas: tuple[tuple[str, str, int], ...]


class Refunds:
    """The refunds of the house."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(
        self,
        booking: str,
        key: str,
        reason: str,
        staff: str,
        *,
        lines: Sequence[int] | None = None,
        amount: int | None = None,
    ) -> Refund | NotRefundable | None:
        """Decides to give money back: whole lines, an amount, or with neither all that is left; None for no booking.

        `key` stands for the reason: told again, it answers the first refund. Two that ask at once wait for each other.
        """
        refund = refund_id(booking, key)
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_BOOKING["lock_booking"], booking)
            if row is None or row["buyer_name"] is None:
                return None
            if (known := await connected.fetchrow(_SQL["load_refund"], refund)) is not None:
                same = known["reason"] == reason and amount in (None, known["amount"])
                if not same or (lines is not None and sorted(lines) != known["lines"]):
                    return NotRefundable("idempotency_mismatch", "This key was used for another refund.")
                return _read(known)
            if row["state"] not in REFUNDABLE:
                return NotRefundable("conflict", f"This booking is {row['state']}: there is nothing to give back.")
            plan = plan_refund(*await money_of(connected, booking), lines=lines, amount=amount)
            if isinstance(plan, NotRefundable):
                return plan
            try:
                stripe_amount(plan.shares.total, row["currency"])
            except ValueError:
                return NotRefundable("conflict", "This amount cannot be paid out to its last digit.")
            await self._decide(connected, row, refund, key, plan.shares, plan.lines, reason, staff)
            if plan.shares.total == 0 or row["tender"] is not None:
                # Nothing was paid, or it was at the counter, where who asks gives it back: Stripe is not asked.
                await self._accept(connected, row, refund, None, "succeeded")
            else:
                act = f"{booking}:refund:{refund}"
                await connected.execute(_SQL["write_work"], booking, row["event_id"], "refund", act, refund)
            made = await connected.fetchrow(_SQL["load_refund"], refund)
        assert made is not None
        return _read(made)

    async def load(self, refund: str) -> Refund:
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_refund"], refund)
        assert row is not None
        return _read(row)

    async def of_bookings(self, bookings: Sequence[str]) -> dict[str, list[Refund]]:
        """The refunds of bookings, in the order in which they were decided; bookings without any are left out."""
        found: dict[str, list[Refund]] = {}
        async with postgres.connection(self._pool) as connected:
            for row in await connected.fetch(_SQL["list_refunds"], list(bookings)):
                found.setdefault(row["booking_id"], []).append(_read(row))
        return found

    async def kept(self, booking: str) -> Kept:
        """What a booking still owns."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["places_kept"], booking)
        assert row is not None
        areas = tuple(zip(row["areas"], row["types"], row["quantities"], strict=True))
        return Kept(row["event_id"], row["hold_id"], tuple(row["seats"]), areas)

    async def to_look_at(self, count: int, seconds: float) -> set[str]:
        """Bookings whose refunds are on their way, and were not asked about for so long."""
        async with postgres.connection(self._pool) as connected:
            return {row["booking_id"] for row in await connected.fetch(_SQL["refunds_to_look_at"], count, seconds)}

    async def found(self, booking: str, at_stripe: Sequence[StripeRefund]) -> None:
        """Draws the consequences of what Stripe says of a booking's refunds, told twice, late or out of order.

        One that none of ours asked for was made at Stripe itself, or is a second one for the same reason (two calls
        under two keys can both have worked): it is booked as an amount, as far as there is one.
        """
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_BOOKING["lock_booking"], booking)
            assert row is not None
            known = {one["id"]: one for one in await connected.fetch(_SQL["list_refunds"], [booking])}
            ours = {one["stripe_id"]: name for name, one in known.items()}
            unheard = {name for name, one in known.items() if one["state"] == "pending" and one["accepted"] is None}
            for one in at_stripe:
                refund = ours.get(one.id) or (one.key if one.key in unheard else None)
                if refund is None:
                    # While a refund of ours is on its way, it may be what is left that this one took.
                    refund = await self._take_over(connected, row, one, besides=not unheard)
                if refund is not None:
                    unheard.discard(refund)
                    await self._accept(connected, row, refund, one.id, one.state)

    async def refuse(self, refund: str, fault: str) -> None:
        """Stripe will never make it: everything is as if it had not been decided."""
        async with postgres.transaction(self._pool) as connected:
            of = await connected.fetchrow(_SQL["load_refund"], refund)
            assert of is not None
            row = await connected.fetchrow(_BOOKING["lock_booking"], of["booking_id"])
            of = await connected.fetchrow(_SQL["load_refund"], refund)
            assert row is not None
            assert of is not None
            if of["state"] == "pending" and of["accepted"] is None:
                await connected.execute(_SQL["move_refund"], refund, "failed", fault)
                shares = _shares(of)
                await post(connected, row["id"], row["currency"], "refund_refused", shares, about=refund)

    async def _take_over(
        self, connected: Connection, row: asyncpg.Record, one: StripeRefund, *, besides: bool
    ) -> str | None:
        # Nobody gives back what a bank has taken, but what was given back before may be heard of only then.
        after_a_dispute = row["state"] in ("disputed", "charged_back")
        if (row["state"] not in REFUNDABLE and not after_a_dispute) or one.state == "failed":
            return None
        money = await money_of(connected, row["id"])
        plan = plan_refund(*money, amount=one.amount)
        if isinstance(plan, Plan):
            shares = plan.shares
        elif after_a_dispute and besides:
            shares = refunded_besides(*money, one.amount)
        else:
            return None
        refund = refund_id(row["id"], one.id)
        await self._decide(connected, row, refund, one.id, shares, (), "refunded at Stripe", None)
        return refund

    async def _decide(
        self,
        connected: Connection,
        row: asyncpg.Record,
        refund: str,
        key: str,
        shares: Shares,
        lines: tuple[int, ...],
        reason: str,
        staff: str | None,
    ) -> None:
        parts = (shares.total, shares.venue, shares.fees, shares.tax, shares.owed)
        await connected.execute(_SQL["insert_refund"], refund, row["id"], key, *parts, list(lines), reason, staff)
        await post(connected, row["id"], row["currency"], "refund_begun", shares, about=refund)

    async def _accept(
        self, connected: Connection, row: asyncpg.Record, refund: str, stripe_id: str | None, state: RefundState
    ) -> None:
        """Stripe has it, and says how it stands."""
        booking, event, currency = row["id"], row["event_id"], row["currency"]
        of = await connected.fetchrow(_SQL["load_refund"], refund)
        assert of is not None
        if of["state"] == "failed":
            return
        if of["accepted"] is None:
            await connected.execute(_SQL["accept_refund"], refund, stripe_id)
            if row["tender"] != "comp":
                await post(connected, booking, currency, RETURNED[row["tender"]], _shares(of), about=refund)
            await self._free(connected, booking, event, refund, of["lines"])
            await take_back(connected, row, f"refund:{refund}")
            await connected.execute(_BOOKING["touch_booking"], booking)
        if state != of["state"] and state != "pending":
            fault = "It came back." if state == "failed" else None
            await connected.execute(_SQL["move_refund"], refund, state, fault)
            if state == "failed":
                await post(connected, booking, currency, "refund_came_back", _shares(of), about=refund)
                await connected.execute(_BOOKING["touch_booking"], booking)

    async def _free(self, connected: Connection, booking: str, event: str, refund: str, lines: Sequence[int]) -> None:
        """What an accepted refund makes of its booking, and of the places of its lines."""
        paid, earlier, _ = await money_of(connected, booking)
        row = await connected.fetchrow(_BOOKING["lock_booking"], booking)
        assert row is not None
        state: BookingState = row["state"]
        to = state_of_money(paid, earlier)
        await connected.execute(_BOOKING["lock_event_shared"], event)
        # While a bank decides, and after it has, the booking is what its disputes make of it (booking/disputes.py).
        if to != state and state != "disputed" and may_move(state, to):
            await connected.execute(_BOOKING["move_booking"], booking, to)
        if state == "refunded":
            return
        # The last line may go although money is left: an earlier refund was refused after all.
        if to == "refunded" or not kept_lines(paid, earlier):
            await release_places(connected, booking, event)
            await tickets.void(connected, booking)
        elif lines:
            await connected.fetch(_SQL["lock_areas_of_lines"], booking, event, lines)
            await connected.execute(_SQL["give_line_places_back"], booking, event, lines)
            await connected.execute(_SQL["release_line_seats"], booking, lines)
            await connected.execute(_SQL["release_line_places"], booking, lines)
            await tickets.void(connected, booking, lines)
            act = f"{booking}:keep_places:{refund}"
            await connected.execute(_SQL["write_work"], booking, event, "keep_places", act, refund)


def refund_id(booking: str, key: str) -> str:
    """The refund of a reason's key: a repetition finds the first one's."""
    return "r-" + hashlib.sha256(f"{booking}\0{key}".encode()).hexdigest()[:24]


async def money_of(connected: Connection, booking: str) -> tuple[list[PaidLine], list[Earlier], Shares]:
    """What a booking's lines cost, all that was decided about giving it back, and what banks took for good."""
    lines = await connected.fetch(_SQL["load_lines"], booking)
    refunds = await connected.fetch(_SQL["list_refunds"], [booking])
    lost = await connected.fetchrow(_SQL["lost_to_banks"], booking)
    assert lost is not None
    return (
        [PaidLine(row["line"], row["amount"], row["fee"], row["tax"]) for row in lines],
        [Earlier(_shares(row), tuple(row["lines"]), row["state"], row["accepted"] is not None) for row in refunds],
        _shares(lost),
    )


def _shares(row: asyncpg.Record) -> Shares:
    return Shares(row["venue"], row["fees"], row["tax"], row["owed"])


def _read(row: asyncpg.Record) -> Refund:
    return Refund(
        id=row["id"],
        booking=row["booking_id"],
        key=row["key"],
        amount=row["amount"],
        shares=_shares(row),
        lines=tuple(row["lines"]),
        reason=row["reason"],
        staff=row["staff_id"],
        state=row["state"],
        stripe_id=row["stripe_id"],
        fault=row["fault"],
        created=row["created"],
        accepted=row["accepted"],
    )
