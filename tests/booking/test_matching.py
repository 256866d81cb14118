"""Bookings matched with the money at the Stripe double: every difference is found, and nothing is changed."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import PRICE, BookingHouse
from click.testing import CliRunner, Result
from databases import past_guards
from every_point import charge_again
from waiting import eventually

from lml_live import limits
from lml_live.booking import stripe_payments
from lml_live.booking.bookings import Booking
from lml_live.booking.matching import Match, Matching
from lml_live.booking.missed import MissedNotices
from lml_live.booking.money import Page
from lml_live.booking.notices import Notice
from lml_live.booking.payments import PaymentFault
from lml_live.cli import lml
from lml_live.errors import Unavailable
from lml_live.infra.telemetry import METRICS

CHARGED = {"amount": 4_000, "currency": "eur", "payment_method_types": ["card"], "confirm": True}


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MATCH_PAGE_SECONDS", "OUTBOX_BACK_OFF_SECONDS", "PAYMENT_PATIENCE_SECONDS"):
        monkeypatch.setattr(limits, name, 0.0)


@pytest.fixture(name="matching")
def matching_fixture(house: BookingHouse) -> Matching:
    """All is settled at once: one clock is Stripe's and ours."""
    return Matching(house.pool, house.payments.read_transactions, settle_seconds=0)


async def sold(house: BookingHouse, event: str, *seats: int) -> list[Booking]:
    """A booking of each seat, paid and confirmed."""
    made = []
    for seat in seats:
        holder = f"holder {seat}"
        booking = await house.claimed(event, await house.take(event, seat, holder=holder), holder=holder)
        assert await house.pay(booking) == "requires_capture"
        made.append(booking)
    await house.rest()
    await house.rest()
    assert {await house.state(booking) for booking in made} == {"confirmed"}
    return made


async def tamper(house: BookingHouse, booking: Booking, change: str) -> None:
    """Somebody edits a row by hand, past the table of moves, and leaves no trace."""
    await past_guards(house.pool, f"UPDATE booking SET {change} WHERE id = $1", booking.id)


async def let_a_day_pass(house: BookingHouse, *bookings: Booking) -> None:
    """For these bookings, or for all: they changed, and the money that is known of them moved, a day earlier."""
    ids = [booking.id for booking in bookings] or None
    for table, moment in (("booking_history", "at"), ("stripe_transaction", "created")):
        earlier = f"UPDATE {table} SET {moment} = {moment} - interval '1 day'"
        await past_guards(house.pool, f"{earlier} WHERE $1::text[] IS NULL OR booking_id = ANY ($1)", ids)


def kinds(found: Match) -> dict[str | None, str]:
    return {one.booking: one.kind for one in found.differences}


def gauges() -> dict[str, float]:
    samples = next(iter(METRICS.money_differences.collect())).samples
    return {sample.labels["kind"]: sample.value for sample in samples if sample.value}


async def test_every_difference_is_listed_and_counted_until_it_is_mended(
    house: BookingHouse,
    event: str,
    matching: Matching,
    stripe_api: stripe.StripeClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stripe_payments, "_PAGE", 2)  # several pages, and several batches
    monkeypatch.setattr(limits, "MATCH_BATCH", 2)
    right, unsold, moneyless, cheaper, foreign, twice = await sold(house, event, 3, 5, 7, 9, 11, 13)
    await house.claimed(event, await house.take(event, 15))  # not paid
    clean = await matching.match()
    assert (clean.transactions, clean.bookings, clean.differences) == (6, 7, ())
    assert gauges() == {}

    await let_a_day_pass(house, moneyless, twice)  # found by their money alone, one even where no charge names it
    nameless = "UPDATE stripe_transaction SET booking_id = NULL WHERE booking_id = $1"
    await past_guards(house.pool, nameless, moneyless.id)
    await tamper(house, unsold, "state = 'cancelled'")
    assert moneyless.intent_id is not None
    await stripe_api.v1.refunds.create_async({"payment_intent": moneyless.intent_id})
    await tamper(house, cheaper, "amount = amount - 1")
    await tamper(house, foreign, "currency = 'USD'")
    sent = {**CHARGED, "amount": PRICE, "payment_method": "pm_card_visa"}
    await stripe_api.v1.payment_intents.create_async({**sent, "metadata": {"booking": twice.id}})  # type: ignore[arg-type]
    stray = await stripe_api.v1.payment_intents.create_async(sent)  # type: ignore[arg-type]
    before = await everything(house)
    expected = {
        unsold.id: "money_without_sale",
        moneyless.id: "booking_without_money",
        cheaper.id: "amount_differs",
        foreign.id: "currency_differs",
        twice.id: "paid_twice",
        None: "money_without_booking",
    }
    found = await matching.match(since=right.created)
    assert kinds(found) == expected
    assert [one.intents for one in found.differences if one.booking is None] == [(stray.id,)]
    assert gauges() == dict.fromkeys(expected.values(), 1)
    assert await everything(house) == before, "a match changes nothing, here or at Stripe"

    # The next day nothing of it moves: it is told again, until somebody has mended it.
    await let_a_day_pass(house)
    again = await matching.match()
    assert kinds(again) == expected
    await tamper(house, unsold, "state = 'confirmed'")
    await stripe_api.v1.refunds.create_async({"payment_intent": stray.id})
    for table in ("ticket", "booking_line"):
        await house.pool.execute(f"DELETE FROM {table} WHERE booking_id = $1", cheaper.id)
    mended = await matching.match()
    left = {name: kind for name, kind in expected.items() if name not in (unsold.id, None)}
    assert kinds(mended) == left
    assert gauges() == dict.fromkeys(left.values(), 1)


async def everything(house: BookingHouse) -> tuple[object, ...]:
    """What a match must leave as it is."""
    ledger = await house.double.steering.ledger()
    rows = [
        [tuple(row) for row in await house.pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")]
        for table in ("booking", "booking_history", "booking_seat", "outbox")
    ]
    writes = [one.id for one in ledger.requests if one.method != "GET"]
    return rows, ledger.intents, ledger.balance_transactions, writes


async def test_a_booking_that_is_gone_leaves_money_of_nobody(
    house: BookingHouse, event: str, matching: Matching
) -> None:
    [booking] = await sold(house, event, 3)
    await past_guards(house.pool, "DELETE FROM payment_attempt WHERE booking_id = $1", booking.id)
    await past_guards(house.pool, "DELETE FROM payment WHERE booking_id = $1", booking.id)
    assert (await matching.match()).differences == (), "its charge names it"
    for table in ("ticket", "booking_line", "booking_seat", "booking_area", "booking_history", "outbox", "mail"):
        await past_guards(house.pool, f"DELETE FROM {table} WHERE booking_id = $1", booking.id)
    await house.pool.execute("DELETE FROM booking WHERE id = $1", booking.id)
    found = await matching.match(since=booking.created)
    assert [(one.kind, one.intents) for one in found.differences] == [("money_without_booking", (booking.intent_id,))]


async def test_what_was_paid_by_another_intent_goes_back_though_no_notice_ever_came(
    house: BookingHouse, event: str, matching: Matching
) -> None:
    """It was told day after day, and kept: with webhooks off, or lost, nothing else knew that it exists (F23)."""
    kept, gone = await sold(house, event, 3, 5)
    await house.refund(gone)
    await house.rest()
    for booking in (kept, gone):
        await charge_again(house, booking)
    found = await matching.match()
    assert kinds(found) == {kept.id: "paid_twice", gone.id: "money_without_sale"}
    for _ in range(2):  # looked at twice, it goes back once
        await matching.have_looked_at(found)
        await house.rest()
    ledger = await house.double.steering.ledger()
    assert [entry.net_captured for entry in ledger.intents] == [PRICE, 0, 0, 0]
    assert kinds(await matching.match()) == {}
    await house.assert_right(event)


async def test_a_notice_that_never_came_is_found_in_stripes_list_and_heeded_once(
    house: BookingHouse, event: str
) -> None:
    """Another intent that was paid is known to its notice alone: it goes back in minutes, not the next day (F23)."""
    [booking] = await sold(house, event, 3)
    await house.double.steering.change_settings(webhook_url="http://127.0.0.1:9/nobody", webhook_retry_max_ms=60_000)
    try:
        await charge_again(house, booking)
        woken: list[None] = []
        missed = MissedNotices(house.payments.read_undelivered, house.bookings.keep_notice, lambda: woken.append(None))
        assert await missed.look(datetime.now(UTC)) > 0
        assert woken == [None]
        assert await missed.look(datetime.now(UTC)) == 0, "each is kept once"
        await house.rest()
    finally:
        await house.double.steering.change_settings(webhook_url=None)
    assert [entry.net_captured for entry in (await house.double.steering.ledger()).intents] == [PRICE, 0]
    await house.assert_right(event)


async def test_undelivered_events_are_read_page_by_page_and_again_from_where_it_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now, asked, kept = datetime(2030, 1, 1, tzinfo=UTC), list[tuple[datetime, str | None]](), list[str]()
    pages: list[Any] = [
        (("e3", "e2"), "e2"),
        PaymentFault("unknown", "Stripe did not answer."),
        (("e3", "e2"), "e2"),
        (("e1",), None),
        ((), None),
    ]

    async def read(since: datetime, after: str | None) -> tuple[tuple[Notice, ...], str | None]:
        asked.append((since, after))
        page = pages.pop(0)
        if isinstance(page, Exception):
            raise page
        names, following = page
        return tuple(Notice(name, "payment_intent.succeeded", "pi_1") for name in names), following

    async def keep(notice: str, _kind: str, _intent: str | None) -> bool:
        kept.append(notice)
        return kept.count(notice) == 1

    missed, first = MissedNotices(read, keep, lambda: None), now - timedelta(days=limits.MISSED_DAYS)
    with pytest.raises(PaymentFault):
        await missed.look(now)
    assert await missed.look(now) == 1
    assert await missed.look(now + timedelta(minutes=5)) == 0
    slack = timedelta(seconds=limits.FIND_SLACK_SECONDS)
    assert asked == [(first, None), (first, "e2"), (first, None), (first, "e2"), (now - slack, None)]
    pages[:] = [((), "e0")] * limits.MISSED_PAGES_MAX
    assert await missed.look(now + timedelta(minutes=10)) == 0
    assert "more undelivered events" in caplog.text
    pages[:] = [((), None)]
    assert await missed.look(now + timedelta(minutes=15)) == 0
    assert asked[-1] == (now + timedelta(minutes=10) - slack, None), "what was too much is not read again each time"


async def test_what_is_young_is_left_for_the_next_match(house: BookingHouse, event: str, matching: Matching) -> None:
    [booking] = await sold(house, event, 3)
    await tamper(house, booking, "state = 'expired'")
    patient = Matching(house.pool, house.payments.read_transactions, settle_seconds=3_600)
    assert (await patient.match()).differences == ()
    assert kinds(await matching.match()) == {booking.id: "money_without_sale"}
    # What was told and moves again just now is still told.
    await house.pool.execute("UPDATE booking SET changed = now() + interval '1 minute' WHERE id = $1", booking.id)
    assert kinds(await matching.match()) == {booking.id: "money_without_sale"}


async def test_a_match_that_died_begins_again_where_the_last_one_ended(
    house: BookingHouse, event: str, matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_payments, "_PAGE", 1)
    first, second = await sold(house, event, 3, 5)
    await tamper(house, first, "state = 'failed'")
    reads: list[datetime] = []

    async def dies(since: datetime, after: str | None) -> Page:
        reads.append(since)
        if after is not None:
            raise PaymentFault("refused", "Stripe refused.")
        return await house.payments.read_transactions(since, after)

    with pytest.raises(Unavailable):
        await Matching(house.pool, dies, settle_seconds=0).match()
    assert await house.pool.fetchval("SELECT count(*) FROM stripe_transaction") == 1
    assert await house.pool.fetchval("SELECT count(*) FROM money_match") == 0
    # Now Stripe asks for patience once, and fails once.
    await house.double.steering.fault("balance", "rate_limit")
    await house.double.steering.fault("balance", "error_500")
    found = await matching.match()
    assert (found.transactions, found.bookings) == (2, 2)
    assert kinds(found) == {first.id: "money_without_sale"}
    assert found.since - timedelta(seconds=limits.FIND_SLACK_SECONDS) == reads[0]
    assert await house.state(second) == "confirmed"


async def test_refunds_agree_and_one_that_came_back_is_told_until_it_is_given_anew(
    house: BookingHouse, event: str, matching: Matching
) -> None:
    part, whole, amount = await sold(house, event, 3, 5, 7)
    back = await house.sold(event, 9, holder="dora", card="pm_card_refundFail")
    await house.refund(part, amount=PRICE - 1)
    for booking in (whole, back):
        await house.refund(booking)
    await house.refund(amount, "one", amount=1_000)
    await house.refund(amount, "two", amount=500)
    await house.rest()
    disputed = await house.sold(event, 11, holder="emil")
    assert disputed.intent_id is not None
    dispute = await house.double.steering.open_dispute(disputed.intent_id, amount=1_000)
    await house.double.steering.close_dispute(dispute, won=False)
    await house.bookings.keep_notice("evt_0", "charge.dispute.closed", disputed.intent_id)
    await house.rest()
    assert await house.state(disputed) == "charged_back"
    clean = await matching.match()
    assert (clean.transactions, clean.differences) == (5 + 5 + 1, ())
    await house.double.steering.advance(61)
    await house.bookings.keep_notice("evt_1", "refund.failed", back.intent_id)
    await house.rest()

    async def match_later() -> Match:
        """The double's clock is ahead by now: what it books is in the match after the next."""
        await matching.match()
        await past_guards(house.pool, "UPDATE stripe_transaction SET created = created - interval '2 minutes'")
        return await matching.match(since=part.created - timedelta(hours=1))

    assert kinds(await match_later()) == {back.id: "money_without_sale"}
    await house.refund(back, "anew")
    await house.rest()
    assert (await match_later()).differences == ()


async def test_it_is_due_once_a_day_and_one_worker_does_it(
    house: BookingHouse, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run_sql(statement: str) -> None:
        await past_guards(house.pool, statement)

    daily = Matching(house.pool, house.payments.read_transactions, match_seconds=86_400, settle_seconds=60)
    assert await daily.look(leads=True) is None, "nothing was ever sold"
    [booking] = await sold(house, event, 3)
    await tamper(house, booking, "state = 'failed', changed = now() - interval '1 day'")
    await run_sql("UPDATE booking_history SET at = now() - interval '1 day'")
    assert await daily.look(leads=True) is None, "what settles within the day is to be in it"
    await run_sql("UPDATE booking_history SET at = now() - interval '1 day 2 minutes'")
    assert await daily.look(leads=False) is None
    first = await daily.look(leads=True)
    assert first is not None
    assert first.differences == (), "its money is young by Stripe's clock"
    assert await daily.look(leads=True) is None
    # Two days pass.
    await run_sql("UPDATE money_match SET since = since - interval '2 days', until = until - interval '2 days'")
    await run_sql("UPDATE stripe_transaction SET created = created - interval '1 day'")
    with caplog.at_level(logging.ERROR, "lml_live.booking.matching"):
        second = await daily.look(leads=True)
    assert second is not None
    assert kinds(second) == {booking.id: "money_without_sale"}
    assert [record.getMessage() for record in caplog.records] == [f"money differs: {second.differences[0].text}"]
    # A worker that does not lead, or has just begun, tells it just so.
    METRICS.money_differences.clear()
    await daily.look(leads=False)
    assert gauges() == {"money_without_sale": 1}
    assert METRICS.money_matched._value.get() == pytest.approx(second.until.timestamp())


async def test_a_worker_goes_on_matching_whatever_goes_wrong(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MATCH_LOOK_SECONDS", "MATCH_RETRY_SECONDS"):
        monkeypatch.setattr(limits, name, 0.001)
    await house.claimed(event, await house.take(event, 3))
    await past_guards(house.pool, "UPDATE booking_history SET at = now() - interval '1 day'")
    faults: list[Exception] = [PaymentFault("refused", "Stripe refused."), RuntimeError("a defect")]

    async def read(since: datetime, after: str | None) -> Page:
        if faults:
            raise faults.pop(0)
        return await house.payments.read_transactions(since, after)

    async def matched() -> bool:
        assert not worker.done()
        return bool(await house.pool.fetchval("SELECT count(*) FROM money_match"))

    worker = asyncio.create_task(Matching(house.pool, read, match_seconds=60, settle_seconds=0).run(lambda: True))
    try:
        await eventually(matched, 60)
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    assert faults == []


# --- The command


async def test_the_command_lists_what_differs_and_ends_with_1(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def command(*arguments: str, **environ: str) -> Result:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        # A command runs a loop of its own.
        return await asyncio.to_thread(CliRunner().invoke, lml, ("money", "match", *arguments))

    booking = await house.claimed(event, await house.take(event, 3))
    mute = await command(LML_POSTGRES_DSN=house.dsn, LML_DATA_DIR=str(tmp_path), LML_SETTLE_SECONDS="5")
    assert mute.exit_code == 3
    assert "LML_STRIPE_API_KEY" in mute.stderr
    keys = {"LML_STRIPE_PUBLISHABLE_KEY": house.double.publishable_key, "LML_STRIPE_API_BASE": house.double.url}
    locked_out = await command(LML_STRIPE_API_KEY="sk_test_rotated_away", **keys)
    assert (locked_out.exit_code, locked_out.stdout) == (3, "")
    assert "refuses our key" in locked_out.stderr
    clean = await command(LML_STRIPE_API_KEY=house.double.secret_key)
    assert (clean.exit_code, clean.stdout) == (0, "")
    assert "0 differences" in clean.stderr

    await past_guards(house.pool, "UPDATE booking_history SET at = at - interval '1 minute'")
    await tamper(house, booking, "state = 'confirmed', changed = now() - interval '1 minute'")
    found = await command("--since", f"{booking.created - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}")
    assert (found.exit_code, found.stdout) == (
        1,
        f"booking_without_money\t{booking.id}\tconfirmed\t{PRICE} EUR\t\t{booking.intent_id}\n",
    )
    assert "1 bookings, 0 transactions, 1 differences" in found.stderr
    for wrong in ("yesterday", "2026-11-01T00:00:00"):
        assert (await command("--since", wrong)).exit_code == 2
    assert "Example" in (await command("--help")).stdout
