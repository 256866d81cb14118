"""Organisations are paid what is theirs, once, when it is due; what is given back afterwards comes back, or is owed."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import stripe
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import PLACE, PRICE, BookingHouse
from databases import past_guards
from payout_house import (  # noqa: F401
    DUE,
    PER_TICKET,
    RATE,
    account_of,
    at_account,
    nobody_is_known_fixture,
    onboarded,
    organised,
    paid_out,
    their_event,
)
from waiting import eventually

from lml_live import limits
from lml_live.booking import transfers
from lml_live.booking.bookings import Booking
from lml_live.booking.matching import Matching
from lml_live.booking.onboarding import Onboarding
from lml_live.booking.organisations import Organisations
from lml_live.booking.payments import PaymentFault
from lml_live.booking.statements import Statements
from lml_live.booking.transfers import take_back
from lml_live.errors import Conflict, Unavailable
from lml_live.infra.telemetry import METRICS


async def postings(house: BookingHouse, event: str) -> list[str]:
    return [one.reason for one in (await house.read_run(event)).postings]


async def standing(house: BookingHouse, booking: Booking) -> tuple[Any, ...]:
    """(state, sent, netted) of a booking's transfer."""
    row = await house.pool.fetchrow("SELECT state, sent, netted FROM transfer WHERE booking_id = $1", booking.id)
    return () if row is None else tuple(row)


async def owed(house: BookingHouse) -> list[tuple[int, int]]:
    rows = await house.pool.fetch("SELECT amount, recovered FROM receivable ORDER BY created, id")
    return [(row["amount"], row["recovered"]) for row in rows]


async def test_a_booking_is_paid_out_once_when_it_is_due(house: BookingHouse) -> None:
    opera = await organised(house, days=7)
    event, account = await their_event(house, opera), await account_of(house, opera)
    house.fee, house.tax = 250, 330
    booking = await house.sold(event, 3, 4)
    assert await standing(house, booking) == ("waiting", None, None)
    assert await house.paying.turn() == 0, "held back"
    await house.pool.execute("UPDATE event SET starts_at = starts_at - interval '7 days' WHERE id = $1", event)
    assert await house.paying.turn() == 1
    assert await house.paying.turn() == 0, "decided once"
    await house.rest()
    assert await standing(house, booking) == ("made", 2 * DUE, 0)
    assert await at_account(house, account) == 2 * DUE
    [made] = (await house.double.steering.ledger()).transfers
    assert (made.destination, made.transfer_group, made.metadata) == (account, booking.id, {"booking": booking.id})
    [charge] = [one.id for one in (await house.double.steering.ledger()).charges]
    assert made.source_transaction == charge
    assert await postings(house, event) == ["sold", "captured", "transfer_begun", "transferred"]
    sums = await house.pool.fetch(
        "SELECT account, sum(credit - debit)::bigint AS sum FROM ledger_entry"
        " GROUP BY account HAVING sum(credit) <> sum(debit)"
    )
    of_fees = 2 * (330 * 250 // (PRICE + 250))
    assert {row["account"]: row["sum"] for row in sums} == {
        "fee_income": 2 * (250 + PRICE - DUE) - of_fees,
        "tax_payable": of_fees,  # what is left is the tax in our own fees
        "stripe_balance": -(2 * (PRICE + 250) - 2 * DUE),
    }
    await house.assert_right(event)


async def test_an_event_of_nobodys_is_the_houses_own(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    assert await standing(house, booking) == ()
    assert await house.paying.turn() == 0
    await house.assert_right(event)


async def test_who_cannot_be_paid_waits_and_that_is_said(house: BookingHouse, caplog: pytest.LogCaptureFixture) -> None:
    opera = await organised(house, ready=False)
    event = await their_event(house, opera)
    booking = await house.sold(event, 3)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert await house.paying.turn() == 0
    assert [record.getMessage() for record in caplog.records if opera.id in record.getMessage()] == [
        f"organisation {opera.id} is due the money of 1 bookings, and Stripe cannot pay it: see that it is onboarded"
    ], "once, while it lasts"
    assert METRICS.transfers_waiting._value.get() == 1
    account = await onboarded(house, opera)
    await house.double.steering.restrict(account)
    await house.onboarding.noticed(account)
    assert await house.paying.turn() == 0, "not while Stripe wants to know more"
    await house.double.steering.onboard(account)
    await house.onboarding.noticed(account)
    assert await house.paying.turn() == 1
    assert METRICS.transfers_waiting._value.get() == 0
    await house.rest()
    assert await standing(house, booking) == ("made", DUE, 0)
    await house.assert_right(event)


async def test_what_was_given_back_before_is_not_sent(house: BookingHouse) -> None:
    event = await their_event(house, await organised(house))
    part, whole, free = [await house.sold(event, seat, key=str(seat)) for seat in (3, 5, 7)]
    refunded = await house.refund(part, amount=PRICE // 2)
    await house.refund(whole)
    assert await house.paying.turn() == 1, "a refund that is on its way may still be refused"
    await house.rest()
    await paid_out(house)
    assert (await house.refunds.load(refunded.id)).state == "succeeded"
    assert await standing(house, part) == ("made", DUE * (PRICE - PRICE // 2) // PRICE, 0)
    assert await standing(house, whole) == ("nothing", 0, 0)
    assert await standing(house, free) == ("made", DUE, 0)
    assert await owed(house) == []
    await house.assert_right(event)


async def test_a_refund_afterwards_takes_its_part_back_and_never_waits_for_it(house: BookingHouse) -> None:
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3, 4)
    await paid_out(house)
    await house.double.steering.fault("reversal", "timeout_before", count=2)
    await house.refund(booking, lines=[1])
    await house.completer.turn()
    assert await house.state(booking) == "partially_refunded", "the buyer has it, whatever becomes of the transfer"
    await house.rest()
    assert await at_account(house, account) == DUE
    await house.refund(booking, "rest")
    await house.rest()
    assert await at_account(house, account) == 0
    assert (await postings(house, event)).count("reversed") == 2
    sums = await house.pool.fetchval(
        "SELECT count(*) FROM (SELECT FROM ledger_entry GROUP BY account HAVING sum(debit) <> sum(credit)) AS uneven"
    )
    assert sums == 0, "all of it has gone back to where it came from"
    await house.assert_right(event)


async def test_a_line_that_goes_back_takes_its_own_price_along_and_nothing_of_the_others(house: BookingHouse) -> None:
    """The tax in what was left was taken by all lines' mean: the organisation was paid 14 too little of its ticket."""
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    house.fee, house.tax = 250, 330
    before, after = [await house.sold(event, seat, floor=1, key=str(seat)) for seat in (3, 5)]
    await house.refund(before, lines=[2])
    await house.rest()
    await paid_out(house)
    await house.refund(after, lines=[2])
    await house.rest()
    prices = PRICE + PLACE
    commission = (prices * RATE + 5_000) // 10_000 + 2 * PER_TICKET
    assert await at_account(house, account) == 2 * ((prices - commission) * PRICE // prices)
    await house.assert_right(event)


async def test_what_is_given_back_while_a_transfer_is_on_its_way_comes_back_after_it(house: BookingHouse) -> None:
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3)
    await house.double.steering.fault("transfer", "timeout_before", count=2)
    await house.paying.turn()
    await house.completer.turn()
    await house.refund(booking)
    await house.completer.turn()
    assert await house.state(booking) == "refunded"
    assert await standing(house, booking) == ("decided", DUE, 0)
    await house.rest()
    assert await standing(house, booking) == ("made", DUE, 0)
    assert (await at_account(house, account), await owed(house)) == (0, [])
    await house.assert_right(event)


@pytest.mark.parametrize(("won", "left"), [(True, DUE), (False, 0)])
async def test_a_bank_that_takes_a_payment_back(house: BookingHouse, won: bool, left: int) -> None:
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    early, late = [await house.sold(event, seat, key=str(seat)) for seat in (3, 5)]

    async def told(booking: Booking, number: str) -> None:
        await house.bookings.keep_notice(number, "charge.dispute.updated", booking.intent_id)
        await house.completer.turn()

    assert early.intent_id is not None
    assert late.intent_id is not None
    first = await house.double.steering.open_dispute(early.intent_id)
    await told(early, "e1")
    assert await house.paying.turn() == 1, "what a bank decides about waits"
    await house.rest()
    second = await house.double.steering.open_dispute(late.intent_id)
    await told(late, "e2")
    await house.rest()
    assert await at_account(house, account) == DUE, "nothing is owed before it is lost"
    for dispute in (first, second):
        await house.double.steering.close_dispute(dispute, won=won)
    await told(early, "e3")
    await told(late, "e4")
    await paid_out(house)
    assert await standing(house, early) == (("made", DUE, 0) if won else ("nothing", 0, 0))
    assert await at_account(house, account) == (2 * left)
    await house.assert_right(event)


@pytest.mark.parametrize("given_back_too", [False, True])
async def test_what_was_lost_before_it_was_due_is_sent_when_the_bank_gives_it_back(
    house: BookingHouse, given_back_too: bool
) -> None:
    """It was decided that nothing is left, and that stayed so: the organisation was never paid, or owed for ever."""
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking, _ = await house.sold(event, 3), await house.sold(event, 5, key="of a balance that is there")
    if given_back_too:
        await house.refund(booking, amount=PRICE // 2)
        await house.rest()
    assert booking.intent_id is not None
    dispute = await house.double.steering.open_dispute(booking.intent_id, fee=0)
    await house.double.steering.close_dispute(dispute, won=False)
    await house.bookings.keep_notice("e1", "charge.dispute.closed", booking.intent_id)
    await house.rest()
    await paid_out(house)
    assert await standing(house, booking) == ("nothing", 0, 0)
    await house.double.steering.reinstate_dispute(dispute)
    await house.bookings.keep_notice("e2", "charge.dispute.funds_reinstated", booking.intent_id)
    await house.double.steering.advance(8 * 86_400)
    await house.rest()
    due = (DUE // 2 if given_back_too else DUE) + DUE
    [line] = await Statements(house.pool).lines(opera, limit=2)
    assert (await at_account(house, account), line.share, line.transferred, await owed(house)) == (due, due, due, [])
    await house.assert_right(event)
    await house.refund(booking, key="the rest")
    await house.rest()
    assert await owed(house) == [(due - DUE, 0)], "its own transfer sent nothing that could be reversed"
    await house.assert_right(event)


@pytest.mark.parametrize("dropped", [False, True])
async def test_a_bank_that_only_asks_keeps_nobody_from_being_paid(house: BookingHouse, dropped: bool) -> None:
    """The database took the inquiry's amount for money that was gone, and the organisation was never paid."""
    event = await their_event(house, await organised(house))
    booking = await house.sold(event, 3)
    assert booking.intent_id is not None
    dispute = await house.double.steering.open_dispute(booking.intent_id, inquiry=True)
    if dropped:
        await house.double.steering.drop_inquiry(dispute)
    await house.bookings.keep_notice("e1", "charge.dispute.updated", booking.intent_id)
    await house.rest()
    await paid_out(house)
    assert await standing(house, booking) == ("made", DUE, 0)
    await house.assert_right(event)


@pytest.mark.parametrize("paid_out_by_then", [False, True])
async def test_what_a_bank_gives_back_after_all_is_sent_again(house: BookingHouse, paid_out_by_then: bool) -> None:
    """What was owed for it is kept first; the rest is a transfer of its own, whatever answers are lost."""
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking, _ = await house.sold(event, 3), await house.sold(event, 5, key="of a balance that is there")
    await paid_out(house)
    if paid_out_by_then:
        await house.double.steering.pay_out(account)
    assert booking.intent_id is not None
    dispute = await house.double.steering.open_dispute(booking.intent_id, fee=0)
    await house.double.steering.close_dispute(dispute, won=False)
    await house.bookings.keep_notice("e1", "charge.dispute.closed", booking.intent_id)
    await house.rest()
    assert await standing(house, booking) == ("made", DUE, 0)
    assert await owed(house) == ([(DUE, 0)] if paid_out_by_then else [])
    await house.assert_right(event)
    await house.double.steering.reinstate_dispute(dispute)
    await house.double.steering.fault("transfer", "error_500_after")
    await house.bookings.keep_notice("e2", "charge.dispute.funds_reinstated", booking.intent_id)
    await house.double.steering.advance(8 * 86_400)
    await house.rest()
    [again] = await house.pool.fetch("SELECT state, sent, netted FROM transfer_again")
    assert tuple(again) == (("nothing", 0, DUE) if paid_out_by_then else ("made", DUE, 0))
    assert await owed(house) == ([(DUE, DUE)] if paid_out_by_then else [])
    assert await at_account(house, account) == (0 if paid_out_by_then else 2 * DUE)
    await house.assert_right(event)
    matching = Matching(house.pool, house.payments.read_transactions, settle_seconds=0)
    assert (await matching.match(since=booking.created)).differences == ()
    [line] = await Statements(house.pool).lines(opera, limit=2)
    assert line.share == 2 * DUE == line.transferred + line.netted - line.receivable
    with pytest.raises(asyncpg.CheckViolationError):
        await house.pool.execute("UPDATE transfer_again SET sent = sent + 1, venue = venue + 1")


async def test_what_is_sent_again_waits_for_what_was_sent_before(house: BookingHouse) -> None:
    """Stripe was away for the first, and the dispute was lost and given back meanwhile: sent before it, the second took
    all that the charge had, and the first was refused for ever, and with it what was to be reversed."""
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking, _ = await house.sold(event, 3), await house.sold(event, 5, key="of a balance that is there")
    await house.paying.turn()
    away = "UPDATE outbox SET due = now() + $2::interval WHERE act = 'transfer' AND booking_id = $1"
    await house.pool.execute(away, booking.id, timedelta(days=1))
    assert booking.intent_id is not None
    dispute = await house.double.steering.open_dispute(booking.intent_id, fee=0)
    await house.double.steering.close_dispute(dispute, won=False)
    await house.bookings.keep_notice("e1", "charge.dispute.closed", booking.intent_id)
    await house.completer.turn()
    assert await house.pool.fetchval("SELECT state FROM transfer_reversal") == "pending"
    await house.double.steering.reinstate_dispute(dispute)
    await house.bookings.keep_notice("e2", "charge.dispute.funds_reinstated", booking.intent_id)
    for _ in range(3):
        await house.completer.turn()
    assert await house.pool.fetchval("SELECT state FROM transfer_again") == "decided"
    await house.pool.execute(away, booking.id, timedelta())
    await house.double.steering.advance(8 * 86_400)
    await house.rest()
    assert await house.pool.fetchval("SELECT state FROM transfer_again") == "made"
    assert (await standing(house, booking), await owed(house)) == (("made", DUE, 0), [])
    assert await at_account(house, account) == 2 * DUE
    await house.assert_right(event)


async def test_what_cannot_be_reversed_is_owed_and_kept_of_what_is_due_next(
    house: BookingHouse, caplog: pytest.LogCaptureFixture
) -> None:
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3, 4)
    await paid_out(house)
    await house.double.steering.pay_out(account)
    before = METRICS.receivables._value.get()
    await house.refund(booking)
    await house.rest()
    assert await house.state(booking) == "refunded"
    assert await owed(house) == [(2 * DUE, 0)]
    assert METRICS.receivables._value.get() == before + 1
    assert "are not reversed, and owed" in caplog.text
    await house.assert_right(event)
    one, two, three = [await house.sold(event, seat, key=str(seat)) for seat in (5, 7, 9)]
    await paid_out(house)
    for netted in (one, two):
        assert await standing(house, netted) == ("nothing", 0, DUE)
    assert await standing(house, three) == ("made", DUE, 0)
    assert await owed(house) == [(2 * DUE, 2 * DUE)]
    await house.assert_right(event)
    # What was kept of a transfer is no more at Stripe than what was never sent.
    await house.refund(one)
    await house.rest()
    assert (await owed(house))[1:] == [(DUE, 0)]
    await house.assert_right(event)


async def test_money_that_is_given_back_twice_is_owed_beyond_what_was_sent(house: BookingHouse) -> None:
    event = await their_event(house, await organised(house))
    booking = await house.sold(event, 3)
    await paid_out(house)
    await house.refund(booking, amount=1_000)
    await house.rest()
    # A bank of its own mind takes the whole payment.
    async with house.pool.acquire() as connected, connected.transaction():
        await connected.execute(
            "INSERT INTO dispute (id, booking_id, amount, reason, state, closed, lost_venue, lost_fees, lost_tax,"
            " lost_owed) VALUES ('dp_1', $1, $2, 'fraudulent', 'lost', now(), $2, 0, 0, 0)",
            booking.id,
            PRICE,
        )
        row = await connected.fetchrow("SELECT * FROM booking WHERE id = $1 FOR UPDATE", booking.id)
        assert row is not None
        await take_back(connected, row, "dispute:dp_1")
    await house.rest()
    rows = await house.pool.fetch("SELECT sought, venue + tax - fee AS amount FROM transfer_reversal ORDER BY created")
    first, second = [tuple(row) for row in rows]
    assert first[0] == first[1]
    assert second == (DUE - first[0], DUE - first[0] + 1_000)
    assert await owed(house) == [(1_000, 0)]


async def test_the_daily_match_knows_transfers_and_misses_one(
    house: BookingHouse, stripe_api: stripe.StripeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MATCH_PAGE_SECONDS", 0.0)
    matching = Matching(house.pool, house.payments.read_transactions, settle_seconds=0)
    event = await their_event(house, await organised(house))
    right, back, wrong = [await house.sold(event, seat, key=str(seat)) for seat in (3, 5, 7)]
    await paid_out(house)
    await house.refund(back, amount=1_000)
    await house.rest()
    assert (await matching.match(since=right.created)).differences == ()
    transfer = (await house.transfers.load(wrong.id)).stripe_id
    await stripe_api.v1.transfers.reversals.create_async(transfer or "", {"amount": 7})
    [found] = (await matching.match(since=right.created)).differences
    assert (found.kind, found.booking, found.taken) == ("transfer_differs", wrong.id, {"EUR": 7 - DUE})
    assert "of it to an organisation" in found.text
    await past_guards(house.pool, "UPDATE transfer SET state = 'decided', stripe_id = NULL, made = NULL WHERE true")
    kinds = {one.booking: one.kind for one in (await matching.match(since=right.created)).differences}
    assert kinds == {}, "what was decided may be done already"
    await past_guards(house.pool, "DELETE FROM transfer WHERE booking_id = $1", right.id)
    kinds = {one.booking: one.kind for one in (await matching.match(since=right.created)).differences}
    assert kinds == {right.id: "transfer_differs"}


FAULTS = ["rate_limit", "timeout_before", "timeout_after", "error_500", "error_500_after"]


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_transfer_and_a_reversal_are_made_once_whatever_stripe_does(house: BookingHouse, kind: Any) -> None:
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3)
    await house.double.steering.fault("transfer", kind, count=2 if "500" not in kind else 1)
    await paid_out(house)
    assert await at_account(house, account) == DUE
    await house.double.steering.fault("reversal", kind, count=2 if "500" not in kind else 1)
    await house.refund(booking, amount=1_000)
    await house.rest()
    assert await at_account(house, account) == (DUE * (PRICE - 1_000)) // PRICE
    ledger = await house.double.steering.ledger()
    assert (len(ledger.transfers), len(ledger.reversals)) == (1, 1)
    await house.assert_right(event)


async def test_after_a_day_it_is_looked_for_before_it_is_asked_for_again(house: BookingHouse) -> None:
    """Keys are forgotten by then; a worker died after each call."""
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3)
    for act in ("transfer", "reverse_transfer"):
        if act == "transfer":
            await house.paying.turn()
        else:
            await house.refund(booking, amount=1_000)
            while not await house.pool.fetchval("SELECT count(*) FROM transfer_reversal"):
                await house.pass_time()
                await house.completer.turn()
            await house.pool.execute("UPDATE outbox SET done = NULL, tries = 0 WHERE act = $1 AND done IS NULL", act)
        works = await house.bookings.lease_work(5, 30, booking=booking.id)
        for work in [one for one in works if one.act == act]:
            transfer = await house.transfers.load(booking.id)
            if act == "transfer":
                intent = await house.payments.retrieve(booking.intent_id or "")
                await house.connect.transfer(
                    account, transfer.sent, "EUR", intent.charge or "", booking.id, work.stripe_key
                )
            else:
                back = await house.transfers.load_reversal(work.key)
                await house.connect.reverse(
                    transfer.stripe_id or "", back.sought, "EUR", booking.id, back.id, work.stripe_key
                )
        await house.double.steering.advance(25 * 3600)
        await house.rest()
    ledger = await house.double.steering.ledger()
    assert (len(ledger.transfers), len(ledger.reversals)) == (1, 1)
    await house.assert_right(event)


async def test_one_that_cannot_be_decided_keeps_no_others(
    house: BookingHouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    event = await their_event(house, await organised(house))
    bad, good = [await house.sold(event, seat, key=str(seat)) for seat in (3, 5)]
    if bad.id > good.id:
        bad, good = good, bad  # it stands first
    right = transfers._payable

    async def broken(connected: Any, booking: str) -> Any:
        assert booking != bad.id
        return await right(connected, booking)

    monkeypatch.setattr(transfers, "_payable", broken)
    monkeypatch.setattr(limits, "PAYOUT_BATCH", 1)
    assert [await house.paying.turn() for _ in range(2)] == [0, 1]
    assert f"booking {bad.id}: its transfer cannot be decided" in caplog.text
    await house.rest()
    assert (await standing(house, bad), await standing(house, good)) == (("waiting", None, None), ("made", DUE, 0))
    monkeypatch.setattr(transfers, "_payable", right)
    assert await house.paying.turn() == 0, "not at once"
    monkeypatch.setattr(house.transfers, "_failed", {})
    assert await house.paying.turn() == 1


async def test_two_workers_at_one_row_have_one_effect(house: BookingHouse) -> None:
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3)
    assert sorted(await asyncio.gather(*(house.transfers.decide_due(5) for _ in range(3)))) == [0, 0, 1]
    await house.double.steering.fault("transfer", "delay", delay_ms=100)
    first = asyncio.create_task(house.completer.turn())
    leased = "SELECT count(*) FROM outbox WHERE act = 'transfer' AND leased_until > now()"
    await eventually(lambda: house.pool.fetchval(leased))
    await house.pass_time()  # its lease is over, and it lives
    await asyncio.gather(first, house.new_completer().turn())
    await house.rest()
    assert await at_account(house, account) == DUE
    await house.refund(booking)
    await house.rest()
    assert await at_account(house, account) == 0
    await house.assert_right(event)


async def test_a_transfer_that_stripe_refuses_stays_theirs_and_is_asked_for_again(
    house: BookingHouse, caplog: pytest.LogCaptureFixture
) -> None:
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    await house.sold(event, 3)

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.connect, name)

        async def transfer(self, *_: Any) -> Any:
            raise PaymentFault("refused", "Stripe refused (insufficient_capabilities_for_transfer).")

    await house.paying.turn()
    await house.new_completer(paying=house.new_paying(connect=Refusing())).turn()  # type: ignore[arg-type]
    row = await house.pool.fetchrow(
        "SELECT attempt, due > now() + interval '30 min' AS late FROM outbox WHERE act = 'transfer'"
    )
    assert row is not None
    assert tuple(row) == (1, True), "by another key, and not at once"
    assert "its transfer is refused" in caplog.text
    await house.rest()
    assert await at_account(house, account) == DUE
    await house.assert_right(event)


DECIDED = "tax = 0, fee = 0, netted = 0, decided = now()"
OURS = "account_id = (SELECT account_id FROM connected_account)"
# what somebody with the server's rights might write · the rule that refuses it
FORBIDDEN = [
    (
        f"UPDATE transfer SET account_id = 'acct_other', state = 'decided', venue = 100, sent = 100, {DECIDED}",
        "transfer_goes_to_its_organisation",
    ),
    (
        f"UPDATE transfer SET {OURS}, state = 'decided', venue = 9000, sent = 9000, {DECIDED}",
        "transfer_is_within_capture",
    ),
    (
        f"UPDATE transfer SET {OURS}, state = 'made', venue = 1, sent = 1, stripe_id = 'tr', made = now(), {DECIDED}",
        "transfer_stays_as_decided",
    ),
    (f"UPDATE transfer SET state = 'nothing', venue = 100, sent = 0, {DECIDED}", "transfer_adds_up"),
    ("UPDATE connected_account SET account_id = 'acct_other'", "account_stays"),
    (
        "INSERT INTO transfer_reversal (id, booking_id, cause, venue, tax, fee, sought, key)"
        " SELECT 'v', booking_id, 'x', 1, 0, 0, 1, 'k' FROM transfer",
        "reversal_is_within_transfer",
    ),
    ("DELETE FROM transfer", "transfers_stay"),
    (
        "INSERT INTO receivable (id, organisation_id, booking_id, amount, reason, recovered)"
        " SELECT 'q', organisation_id, booking_id, 1, 'x', 2 FROM transfer",
        "receivable_is_recovered_once",
    ),
]


async def test_the_database_pays_nobody_else_and_no_more(house: BookingHouse) -> None:
    event = await their_event(house, await organised(house))
    await house.sold(event, 3)
    met = []
    for statement, _ in FORBIDDEN:
        with pytest.raises(asyncpg.CheckViolationError) as error:
            await house.pool.execute(statement)
        met.append((statement, error.value.constraint_name))
    assert met == FORBIDDEN


async def test_terms_are_those_of_when_it_was_sold(house: BookingHouse) -> None:
    opera = await organised(house)
    event = await their_event(house, opera)
    before = await house.sold(event, 3)
    await Organisations(house.pool).change(opera.id, {"fee_basis_points": 10_000})
    after = await house.sold(event, 5, key="after")
    await paid_out(house)
    assert await standing(house, before) == ("made", DUE, 0)
    assert await standing(house, after) == ("nothing", 0, 0), "all of it is ours"
    await house.assert_right(event)
    # Nothing of it comes back from an organisation, but our commission is none of ours any more.
    await house.refund(after)
    await house.rest()
    left = (
        "SELECT account, sum(credit - debit)::int FROM ledger_entry JOIN ledger_transaction ON number = transaction"
        " WHERE booking_id = $1 GROUP BY account HAVING sum(credit) <> sum(debit)"
    )
    assert [tuple(row) for row in await house.pool.fetch(left, after.id)] == []
    assert (await standing(house, after), await owed(house)) == (("nothing", 0, 0), [])
    await house.assert_right(event)


async def test_an_account_is_opened_once_whatever_answers_are_lost(
    house: BookingHouse, stripe_api: stripe.StripeClient
) -> None:
    for kind in ("timeout_after", "error_500_after", "error_500"):
        await house.double.steering.reset()
        opera = await organised(house, ready=False)
        await house.double.steering.fault("account_create", kind)  # type: ignore[arg-type]
        with pytest.raises(Unavailable):
            await house.onboarding.begin(opera, "DE", "http://127.0.0.1/back")
        await house.double.steering.advance(25 * 3600)
        links = [await house.onboarding.begin(opera, "DE", "http://127.0.0.1/back") for _ in range(2)]
        assert links[0].url != links[1].url, "each is good once"
        assert [one.id for one in (await stripe_api.v1.accounts.list_async()).data] == [await account_of(house, opera)]
    assert not await house.onboarding.noticed("acct_other"), "none of ours"


async def test_a_country_that_stripe_refuses_is_not_for_ever(house: BookingHouse) -> None:
    opera = await organised(house, ready=False)

    class GermanyOnly:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.connect, name)

        async def open_account(self, organisation: str, name: str, country: str, *more: Any) -> Any:
            if country != "DE":
                raise PaymentFault("refused", "Stripe refused (country_unsupported).")
            return await house.connect.open_account(organisation, name, country, *more)

    onboarding = Onboarding(house.pool, GermanyOnly())  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="country_unsupported"):
        await onboarding.begin(opera, "AQ", "http://127.0.0.1/back")
    for country in ("DE", "AQ"):  # once it is opened it is where it is
        await onboarding.begin(opera, country, "http://127.0.0.1/back")
        account = (await Organisations(house.pool).load(opera.id)).account
        assert account is not None
        assert (account.id is not None, account.country) == (True, "DE")
