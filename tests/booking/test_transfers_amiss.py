"""Transfers that Stripe made twice are reversed, or owed; what it refuses for days is somebody's to look at."""

from typing import Any

import asyncpg
import pytest
from aiohttp.test_utils import TestClient
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import BookingHouse
from click.testing import CliRunner
from payout_house import (  # noqa: F401
    DUE,
    account_of,
    at_account,
    nobody_is_known_fixture,
    organised,
    paid_out,
    their_event,
)
from test_statements import member, office_fixture  # noqa: F401

from lml_live import limits
from lml_live.booking.bookings import Booking
from lml_live.booking.matching import Matching
from lml_live.booking.organisations import Organisations
from lml_live.booking.payments import PaymentFault
from lml_live.booking.statements import Statements
from lml_live.cli import lml
from lml_live.infra.telemetry import METRICS


async def made_twice(house: BookingHouse) -> tuple[str, str, Booking]:
    """Two calls under two keys have both worked, and each was answered too late for the other's look."""
    opera = await organised(house)
    # Most is ours: the charge has room for two.
    await Organisations(house.pool).change(opera.id, {"fee_basis_points": 6_000})
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3)
    await house.paying.turn()
    assert booking.intent_id is not None
    [work] = await house.bookings.lease_work(1, 30, booking=booking.id)
    due, charge = await house.transfers.load(booking.id), (await house.payments.retrieve(booking.intent_id)).charge
    for key in ("0", "1"):
        await house.bookings.begin_attempt(booking.id, f"{work.key}:{key}", "transfer")  # type: ignore[arg-type]
        await house.connect.transfer(account, due.sent, "EUR", charge, booking.id, f"{work.key}:{key}")
    return event, account, booking


async def surplus(house: BookingHouse) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await house.pool.fetch("SELECT state, amount FROM surplus_transfer")]


@pytest.mark.parametrize("is_there", [True, False])
async def test_what_stripe_made_twice_is_reversed_or_owed(
    house: BookingHouse, caplog: pytest.LogCaptureFixture, is_there: bool
) -> None:
    """The second was never noticed but by the match, and stayed theirs."""
    event, account, booking = await made_twice(house)
    before = METRICS.transfers_surplus._value.get()
    if not is_there:
        await house.double.steering.pay_out(account)
    await house.rest()
    sent = (await house.transfers.load(booking.id)).sent
    assert await surplus(house) == [("reversed" if is_there else "refused", sent)]
    assert await at_account(house, account) == (sent if is_there else 0)
    owed = await house.pool.fetchval("SELECT sum(amount) FROM receivable")
    assert owed == (None if is_there else sent)
    assert METRICS.transfers_surplus._value.get() == before + 1
    assert "was made besides its own" in caplog.text
    await house.assert_right(event)
    matching = Matching(house.pool, house.payments.read_transactions, settle_seconds=0)
    assert (await matching.match(since=booking.created)).differences == ()
    owner = await house.pool.fetchval("SELECT organisation_id FROM transfer")
    [line] = await Statements(house.pool).lines(await Organisations(house.pool).load(owner), limit=2)
    assert line.share == line.transferred + line.underway + line.netted + line.due - line.receivable
    with pytest.raises(asyncpg.CheckViolationError):
        await house.pool.execute("UPDATE surplus_transfer SET state = 'found', ended = NULL, reversal_id = NULL")


async def test_the_match_has_what_differs_looked_at_once(house: BookingHouse) -> None:
    """One that came after the second look, too."""
    event, account, booking = await made_twice(house)
    work = "UPDATE outbox SET done = now() WHERE act = 'check_transfers'"
    await house.pass_time()
    await house.completer.turn()
    await house.pool.execute(work)
    matching = Matching(house.pool, house.payments.read_transactions, match_seconds=0, settle_seconds=0)
    matching.suspect = house.paying.surplus.suspect
    found = await matching.look(leads=True)
    assert found is not None
    assert found.counts == {"transfer_differs": 1}
    await house.rest()
    assert await at_account(house, account) == (await house.transfers.load(booking.id)).sent
    await house.assert_right(event)
    await matching.look(leads=True)
    checks = await house.pool.fetchval("SELECT count(*) FROM outbox WHERE act = 'check_transfers'")
    assert checks == 2, "no more than there were differences"


async def by_hand(house: BookingHouse, transfer: str, amount: int) -> str:
    """Somebody takes a part of a transfer back, at Stripe's dashboard."""
    params: Any = {"amount": amount}
    return str((await house.payments.client.v1.transfers.reversals.create_async(transfer, params)).id)


async def looked_at(house: BookingHouse) -> dict[str, int]:
    """The daily match tells of what differs, and it is looked at; answers what differed."""
    matching = Matching(house.pool, house.payments.read_transactions, match_seconds=0, settle_seconds=0)
    matching.suspect = house.paying.surplus.suspect
    found = await matching.look(leads=True)
    assert found is not None
    await house.rest()
    return found.counts


async def assert_settled(house: BookingHouse, event: str, booking: Booking) -> None:
    """The checker, the match and the statement have nothing to say of it."""
    await house.assert_right(event)
    matching = Matching(house.pool, house.payments.read_transactions, settle_seconds=0)
    assert (await matching.match(since=booking.created)).differences == ()
    owner = await house.pool.fetchval("SELECT organisation_id FROM transfer")
    [line] = await Statements(house.pool).lines(await Organisations(house.pool).load(owner), limit=2)
    assert line.share == line.transferred + line.underway + line.netted + line.due - line.receivable
    ledger = await house.double.steering.ledger()
    assert line.transferred == sum(one.amount - one.amount_reversed for one in ledger.transfers)


async def taken_besides(house: BookingHouse) -> list[int]:
    rows = await house.pool.fetch("SELECT amount FROM surplus_reversal ORDER BY found")
    return [row["amount"] for row in rows]


@pytest.mark.parametrize("amount", [DUE, 1_000])
async def test_what_is_taken_back_by_hand_is_booked_and_sent_again(
    house: BookingHouse, caplog: pytest.LogCaptureFixture, amount: int
) -> None:
    """It was told of, daily and for ever, and the organisation had less than its share."""
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3)
    await paid_out(house)
    transfer = (await house.transfers.load(booking.id)).stripe_id
    assert transfer is not None
    before = METRICS.reversals_surplus._value.get()
    reversal = await by_hand(house, transfer, amount)
    assert await looked_at(house) == {"transfer_differs": 1}
    assert await taken_besides(house) == [amount]
    assert await at_account(house, account) == DUE
    assert METRICS.reversals_surplus._value.get() == before + 1
    assert f"{amount} of {transfer} came back by {reversal}, which nobody decided" in caplog.text
    assert "surplus_reversal.made" in [
        row["action"] for row in await house.pool.fetch("SELECT action FROM audit_record")
    ]
    await assert_settled(house, event, booking)
    assert await looked_at(house) == {}
    await house.paying.surplus.suspect([booking.id], "once more")
    await house.rest()
    assert await taken_besides(house) == [amount], "once"
    # What is given back after all of that is taken of what there is of the first, and the rest is owed.
    await house.refund(booking)
    await house.rest()
    owed = await house.pool.fetchval("SELECT coalesce(sum(amount), 0) FROM receivable")
    assert (owed, await at_account(house, account)) == (amount, amount)
    await assert_settled(house, event, booking)


async def test_what_was_taken_back_by_hand_pays_what_is_owed_for_it(house: BookingHouse) -> None:
    """Somebody gave the buyer's money back at Stripe's dashboard, and took the transfer back with it: our own reversal
    is refused, so that the organisation owes what it had given back."""
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3)
    await paid_out(house)
    transfer = (await house.transfers.load(booking.id)).stripe_id
    assert transfer is not None
    await by_hand(house, transfer, DUE)
    await house.refund(booking)
    await house.rest()
    owed = [tuple(row) for row in await house.pool.fetch("SELECT amount, recovered FROM receivable")]
    assert owed == [(DUE, DUE)]
    assert await taken_besides(house) == [DUE]
    assert await at_account(house, account) == 0
    assert await house.pool.fetchval("SELECT count(*) FROM transfer_again WHERE sent > 0") == 0
    await assert_settled(house, event, booking)


async def test_what_came_back_twice_is_sent_again(house: BookingHouse) -> None:
    """Two calls under two keys have both taken a part of a transfer back."""
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3)
    await paid_out(house)
    await house.refund(booking, amount=1_000)
    [work] = await house.bookings.lease_work(1, 30, booking=booking.id)
    while work.act != "reverse_transfer":
        await house.completer._perform(work)
        [work] = await house.bookings.lease_work(1, 30, booking=booking.id)
    reversal = await house.transfers.load_reversal(work.key)
    transfer = (await house.transfers.load(booking.id)).stripe_id
    assert transfer is not None
    for key in ("0", "1"):
        await house.bookings.begin_attempt(booking.id, f"{work.key}:{key}", "reverse_transfer")
        named = (booking.id, reversal.id, f"{work.key}:{key}")
        await house.connect.reverse(transfer, reversal.sought, "EUR", *named)
    await house.rest()
    assert await looked_at(house) == {"transfer_differs": 1}
    assert await taken_besides(house) == [reversal.sought]
    assert await at_account(house, account) == DUE - reversal.sought
    await assert_settled(house, event, booking)


async def test_a_second_transfer_that_somebody_took_back_by_hand_is_owed_by_nobody(house: BookingHouse) -> None:
    """Ours was refused then, and the organisation owed what it had not any more."""
    event, account, booking = await made_twice(house)
    await house.pass_time()
    await house.completer.turn()
    sent = (await house.transfers.load(booking.id)).sent
    other = [
        one.id
        for one in await house.connect.find_transfers(booking.id)
        if one.id != await house.pool.fetchval("SELECT stripe_id FROM transfer")
    ]
    await by_hand(house, other[0], sent)
    await house.rest()
    assert await surplus(house) == [("refused", sent)]
    owed = [tuple(row) for row in await house.pool.fetch("SELECT amount, recovered FROM receivable")]
    assert (owed, await taken_besides(house)) == ([(sent, sent)], [sent])
    assert await at_account(house, account) == sent
    await assert_settled(house, event, booking)


async def test_what_came_back_besides_is_kept_as_it_was_found(house: BookingHouse) -> None:
    opera = await organised(house)
    event = await their_event(house, opera)
    booking = await house.sold(event, 3)
    await paid_out(house)
    transfer = (await house.transfers.load(booking.id)).stripe_id
    assert transfer is not None
    again = (
        "INSERT INTO transfer_again"
        " (id, booking_id, cause, venue, tax, fee, returned, netted, sent, account_id, key, state)"
        " SELECT 'w-1', booking_id, 'reversal:trr_1', 0, 0, 0, 500, 0, 500, account_id, 'k', 'decided' FROM transfer"
    )
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await house.pool.execute(again)
    assert refused.value.constraint_name == "again_is_what_was_given_back"
    await by_hand(house, transfer, 1_000)
    await looked_at(house)
    for change in ("UPDATE surplus_reversal SET amount = 1", "DELETE FROM surplus_reversal"):
        with pytest.raises(asyncpg.CheckViolationError):
            await house.pool.execute(change)


class Refusing:
    """Stripe wants no transfer, whatever the key."""

    def __init__(self) -> None:
        self.asked = 0

    async def transfer(self, *_: Any) -> None:
        self.asked += 1
        raise PaymentFault("refused", "Stripe refused (account_closed).")

    async def find_transfers(self, _: str) -> tuple[()]:
        return ()


async def test_what_stripe_refuses_for_days_is_stuck_until_somebody_asks_again(
    house: BookingHouse, office: "TestClient[Any, Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for hourly for ever, and nobody but the log was told."""
    opera = await organised(house)
    path = await member(house, opera)
    event, account = await their_event(house, opera), await account_of(house, opera)
    booking = await house.sold(event, 3)
    await house.paying.turn()
    stripe = Refusing()
    refused = house.new_completer(paying=house.new_paying(connect=stripe))  # type: ignore[arg-type]
    waits = []
    for _ in range(limits.REFUSED_ATTEMPTS_MAX + 2):
        await house.pass_time()
        await refused.turn()
        waits.append(
            await house.pool.fetchval(
                "SELECT extract(epoch FROM due - now()) / 3600 FROM outbox WHERE stuck IS NULL AND done IS NULL"
            )
        )
    hours = [1, 2, 4, 8, 16, 24, 24]
    assert [round(wait) for wait in waits[:-3]] == hours[: len(waits) - 3]
    assert waits[-3:] == [None, None, None], "nobody asks any more"
    assert stripe.asked == limits.REFUSED_ATTEMPTS_MAX
    await house.paying.turn()
    assert METRICS.work_stuck.labels("transfer")._value.get() == 1

    answer = await office.get(f"{path}/stuck-transfers")
    [shown] = (await answer.json())["items"]
    assert (shown["booking"], shown["amount"], shown["fault"]) == (booking.id, DUE, "Stripe refused (account_closed).")
    [line] = await Statements(house.pool).lines(opera, limit=2)
    assert (line.underway, line.stuck) == (DUE, DUE)
    monkeypatch.setenv("LML_POSTGRES_DSN", house.dsn)
    run = await CommandLine.run("stuck")
    assert (run.exit_code, booking.id in run.stdout, "account_closed" in run.stdout) == (1, True, True)

    assert "1 transfers are asked for again" in (await CommandLine.run("retry", opera.id)).stderr
    await refused.turn()
    assert stripe.asked == limits.REFUSED_ATTEMPTS_MAX + 1, "once, and is stuck again"
    answer = await office.post(f"{path}/stuck-transfers/retry")
    assert (answer.status, await answer.json()) == (202, {"retried": 1})
    await house.rest()
    assert await at_account(house, account) == DUE
    assert (await CommandLine.run("stuck", opera.id)).exit_code == 0
    await house.assert_right(event)


class CommandLine:
    """`lml organisation …`, beside a loop that runs."""

    @staticmethod
    async def run(*arguments: str) -> Any:
        import asyncio

        return await asyncio.to_thread(CliRunner().invoke, lml, ["organisation", *arguments])
