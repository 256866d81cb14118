"""What banks take of what was paid for a booking and bought nothing, and what that costs: every cent is booked."""

from typing import Any

import asyncpg
import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import PRICE, BookingHouse
from counter_house import Counter
from databases import past_guards
from every_point import charge_again

from lml_live.booking.bookings import Booking
from lml_live.booking.matching import Match, Matching

FEE = 1_500


async def paid_for_nothing(house: BookingHouse, booking: Booking, *, back: bool = True) -> str:
    """Somebody charges a card for a booking once more; `back`: it went back."""
    intent = await charge_again(house, booking)
    await house.bookings.keep_notice(f"evt_{intent}", "payment_intent.succeeded", intent)
    await house.completer.turn()
    if back:
        await house.rest()
        await house.rest()
    return intent


async def heard(house: BookingHouse, intent: str, what: str) -> None:
    await house.bookings.keep_notice(f"evt_{intent}_{what}", f"charge.dispute.{what}", intent)
    await house.completer.turn()


async def booked(house: BookingHouse) -> list[str]:
    """What the ledger says of it."""
    rows = await house.pool.fetch(
        "SELECT reason FROM ledger_transaction WHERE reason ~ '^(surplus|dispute)' ORDER BY number"
    )
    return [row["reason"] for row in rows]


async def disputes(house: BookingHouse) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await house.pool.fetch("SELECT state, amount FROM surplus_dispute ORDER BY opened")]


async def match(house: BookingHouse, booking: Booking) -> Match:
    matching = Matching(house.pool, house.payments.read_transactions, settle_seconds=0)
    return await matching.match(since=booking.created)


@pytest.mark.parametrize("won", [True, False])
async def test_what_went_back_is_disputed(house: BookingHouse, event: str, won: bool) -> None:
    """It was told of as a difference, daily and for ever; the booking, its seat and its tickets have no part in it."""
    booking = await house.sold(event, 3)
    intent = await paid_for_nothing(house, booking)
    dispute = await house.double.steering.open_dispute(intent, refunded=True, fee=FEE)
    await heard(house, intent, "created")
    assert await disputes(house) == [("open", PRICE)]
    await house.assert_right(event)
    assert (await match(house, booking)).differences == ()
    await house.double.steering.close_dispute(dispute, won=won)
    await heard(house, intent, "closed")
    await heard(house, intent, "updated")
    assert await disputes(house) == [("won" if won else "lost", PRICE)]
    assert await booked(house) == [
        *("surplus_taken", "surplus_returned", "disputed", "dispute_fee"),
        "dispute_won" if won else "dispute_lost",
    ]
    assert await house.state(booking) == "confirmed"
    assert await house.pool.fetchval("SELECT array_agg(DISTINCT state) FROM ticket") == ["valid"]
    await house.assert_right(event)
    assert (await match(house, booking)).differences == ()
    acts = {row["action"] for row in await house.pool.fetch("SELECT action FROM audit_record")}
    assert {"surplus_dispute.made", "surplus_dispute.changed"} <= acts


@pytest.mark.parametrize("won", [True, False])
async def test_what_could_not_go_back_yet_is_disputed(house: BookingHouse, event: str, won: bool) -> None:
    """Lost, it went back by the dispute; what that cost was never booked."""
    booking = await house.sold(event, 3)
    await house.double.steering.fault("refund", "error_500", count=None)
    intent = await paid_for_nothing(house, booking, back=False)
    await house.completer.turn()
    dispute = await house.double.steering.open_dispute(intent, fee=FEE)
    await house.double.steering.clear_faults()
    await heard(house, intent, "created")
    assert await disputes(house) == [("open", PRICE)]
    await house.double.steering.close_dispute(dispute, won=won)
    await heard(house, intent, "closed")
    await house.rest()
    await house.rest()
    back = await house.pool.fetchval("SELECT refund_id FROM surplus_payment")
    assert (back == dispute) is not won
    ends = ["dispute_won", "surplus_returned"] if won else ["dispute_lost"]
    assert await booked(house) == ["surplus_taken", "disputed", "dispute_fee", *ends]
    await house.assert_right(event)
    assert (await match(house, booking)).differences == ()
    if not won:
        await house.double.steering.reinstate_dispute(dispute, fee_back=FEE)
        await heard(house, intent, "funds_reinstated")
        await house.rest()
        assert (await booked(house))[-3:] == ["dispute_reinstated", "dispute_fee_back", "surplus_returned"]
        assert await disputes(house) == [("won", PRICE)]
        await house.assert_right(event)
        assert (await match(house, booking)).differences == ()


@pytest.mark.parametrize("at_counter", [False, True])
async def test_what_no_notice_told_of_is_found_by_the_match(house: BookingHouse, event: str, at_counter: bool) -> None:
    booking = await (await Counter(house, event).open()).sold(3) if at_counter else await house.sold(event, 3)
    intent = await paid_for_nothing(house, booking)
    await house.double.steering.close_dispute(
        await house.double.steering.open_dispute(intent, refunded=True, fee=FEE), won=False
    )
    matching = Matching(house.pool, house.payments.read_transactions, match_seconds=0, settle_seconds=0)
    found = await matching.look(leads=True)
    assert found is not None
    assert len(found.differences) == 1
    await house.rest()
    assert await disputes(house) == [("lost", PRICE)]
    await house.assert_right(event)
    assert (await match(house, booking)).differences == ()
    await past_guards(house.pool, "DELETE FROM dispute_fee")
    assert [one.kind for one in (await match(house, booking)).differences] == ["fee_differs"]


async def test_an_inquiry_takes_nothing_and_an_open_dispute_is_polled(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    intent = await paid_for_nothing(house, booking)
    dispute = await house.double.steering.open_dispute(intent, refunded=True, inquiry=True)
    await heard(house, intent, "created")
    assert await disputes(house) == [("inquiry", PRICE)]
    await house.assert_right(event)
    await house.double.steering.escalate_dispute(dispute)
    await house.pool.execute("UPDATE surplus_dispute SET looked_at = now() - interval '2 days'")
    await house.completer.turn()
    assert await disputes(house) == [("open", PRICE)]
    await house.assert_right(event)
    assert (await match(house, booking)).differences == ()


async def test_a_dispute_of_what_bought_nothing_is_decided_once(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    intent = await paid_for_nothing(house, booking)
    await house.double.steering.close_dispute(
        await house.double.steering.open_dispute(intent, refunded=True), won=False
    )
    await heard(house, intent, "closed")
    for change in (
        "UPDATE surplus_dispute SET state = 'open', closed = NULL",
        "UPDATE surplus_dispute SET amount = 1",
        "DELETE FROM surplus_dispute",
        "UPDATE surplus_payment SET refund_id = NULL, returned = NULL",
        "INSERT INTO dispute_fee (id, amount, currency) VALUES ('txn_nobodys', 1, 'EUR')",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await house.pool.execute(change)
