"""The Stripe double's payouts of connected accounts, by the official SDK: by day, by hand, and back from a bank."""

from typing import Any

import pytest
import stripe
from stripe_house import WebhookEar
from test_stripe_double_connect import Api, charged, funds, opened, sent
from waiting import eventually

from lml_live.devstack.stripe.process import StripeDouble
from lml_live.errors import Unavailable

DAY = 86_400


def for_account(account: str) -> Any:
    return {"stripe_account": account}


async def listed(api: Api, account: str, **wish: Any) -> list[stripe.Payout]:
    return (await api.v1.payouts.list_async(wish, for_account(account))).data  # type: ignore[arg-type]


async def pay(api: Api, account: str, **wish: Any) -> stripe.Payout:
    return await api.v1.payouts.create_async({"currency": "eur", **wish}, for_account(account))  # type: ignore[typeddict-item]


async def midnight(double: StripeDouble) -> None:
    """The double's clock comes to the next midnight, and a second more."""
    await double.steering.advance(DAY - (await double.steering.now_ms() // 1000) % DAY + 1)


async def test_what_is_available_leaves_an_account_once_a_day(
    stripe_api: Api, stripe_double: StripeDouble, webhook_ear: WebhookEar
) -> None:
    account, other = await opened(stripe_api, stripe_double), await opened(stripe_api, stripe_double)
    await sent(stripe_api, account, await charged(stripe_api))
    await midnight(stripe_double)
    assert await listed(stripe_api, account) == [], "a charge is available after two days"
    await stripe_double.steering.advance(2 * DAY)
    [made] = await listed(stripe_api, account)
    assert (made.amount, made.currency, made.automatic, made.status) == (9_000, "eur", True, "pending")
    assert await funds(stripe_api, account) == 0
    booked = await stripe_api.v1.balance_transactions.retrieve_async(
        str(made.balance_transaction), None, for_account(account)
    )
    assert (booked.type, booked.amount, booked.source) == ("payout", -9_000, made.id)
    assert made.arrival_date % DAY == 0
    assert DAY < made.arrival_date - made.created <= 2 * DAY
    for seconds, status in ((3_600, "in_transit"), (2 * DAY, "paid"), (30 * DAY, "paid")):
        await stripe_double.steering.advance(seconds)
        found = await stripe_api.v1.payouts.retrieve_async(made.id, None, for_account(account))
        assert (found.status, found.failure_code) == (status, None)
    assert len(await listed(stripe_api, account)) == 1, "nothing is left to be paid out"
    assert await listed(stripe_api, other) == []

    async def heard() -> bool:
        return "payout.paid" in webhook_ear.types()

    assert await eventually(heard)
    told = [event for event in webhook_ear.heard if event.type.startswith("payout.")]
    assert [event.type for event in told] == ["payout.created", "payout.updated", "payout.paid"]
    assert {event.account for event in told} == {account}
    assert {event.data.object["id"] for event in told} == {made.id}


async def test_what_a_bank_refuses_comes_back_and_waits_for_another_bank(
    stripe_api: Api, stripe_double: StripeDouble
) -> None:
    account = await opened(stripe_api, stripe_double)
    await sent(stripe_api, account, await charged(stripe_api))
    await stripe_double.steering.advance(3 * DAY)
    [made] = await listed(stripe_api, account)
    await stripe_double.steering.advance(3 * DAY)
    assert [one.id for one in await listed(stripe_api, account, status="paid")] == [made.id]
    # As Stripe says: some that fail show as paid at first.
    await stripe_double.steering.end_payout(made.id, "failed", code="account_closed")
    failed = await stripe_api.v1.payouts.retrieve_async(made.id, None, for_account(account))
    assert (failed.status, failed.failure_code) == ("failed", "account_closed")
    assert failed.failure_message == "The bank account has been closed."
    back = await stripe_api.v1.balance_transactions.retrieve_async(
        str(failed.failure_balance_transaction), None, for_account(account)
    )
    assert (back.type, back.amount, back.reporting_category) == ("payout_failure", 9_000, "payout_reversal")
    assert await funds(stripe_api, account) == 9_000
    known = await stripe_api.v1.accounts.retrieve_async(account)
    assert known.payouts_enabled is False
    assert known.requirements is not None
    assert known.requirements.currently_due == ["external_account"]
    assert known.external_accounts is not None
    assert [one.status for one in known.external_accounts.data] == ["errored"]
    await stripe_double.steering.advance(5 * DAY)
    assert len(await listed(stripe_api, account)) == 1, "that bank is asked no more"
    with pytest.raises(stripe.InvalidRequestError) as met:
        await pay(stripe_api, account, amount=1)
    assert met.value.code == "payouts_not_allowed"
    await stripe_double.steering.onboard(account)  # its owner names another bank
    await midnight(stripe_double)
    again = (await listed(stripe_api, account))[0]
    assert (again.amount, again.status, again.destination == made.destination) == (9_000, "pending", False)
    ledger = await stripe_double.steering.ledger()
    assert [one.status for one in ledger.payouts[account]] == ["failed", "pending"]
    told = [event.type for event in ledger.events if event.account == account]
    assert told[-5:] == [
        *("payout.failed", "account.external_account.updated", "account.updated"),
        *("account.updated", "payout.created"),
    ]


async def test_a_payout_by_hand_needs_what_is_available_and_can_be_called_off(
    stripe_api: Api, stripe_double: StripeDouble
) -> None:
    by_hand: Any = {"settings": {"payouts": {"schedule": {"interval": "manual"}}}}
    account, other = await opened(stripe_api, stripe_double), await opened(stripe_api, stripe_double)
    changed = await stripe_api.v1.accounts.update_async(account, by_hand)
    assert changed.settings is not None
    assert changed.settings.payouts is not None
    assert changed.settings.payouts.schedule.interval == "manual"
    await sent(stripe_api, account, await charged(stripe_api))
    with pytest.raises(stripe.InvalidRequestError) as met:
        await pay(stripe_api, account, amount=9_000)
    assert met.value.code == "balance_insufficient", "it is not available yet"
    await stripe_double.steering.advance(5 * DAY)
    assert await listed(stripe_api, account) == [], "nothing leaves by itself"
    for wish, code in (
        ({"amount": 9_001}, "balance_insufficient"),
        ({"amount": 0}, "parameter_invalid_integer"),
        ({}, "parameter_missing"),
        ({"amount": 1, "currency": "usd"}, None),
        ({"amount": 1, "destination": "ba_none"}, "resource_missing"),
        ({"amount": 1, "method": "instant"}, "parameter_invalid"),
        ({"amount": 1, "source_balance": "x"}, "parameter_unknown"),
    ):
        with pytest.raises(stripe.InvalidRequestError) as met:
            await pay(stripe_api, account, **wish)
        assert met.value.code == code, (wish, met.value)
    first, second = await pay(stripe_api, account, amount=4_000), await pay(stripe_api, account, amount=5_000)
    assert (first.automatic, first.status) == (False, "pending")
    called_off = await stripe_api.v1.payouts.cancel_async(first.id, None, for_account(account))
    assert (called_off.status, await funds(stripe_api, account)) == ("canceled", 4_000)
    page = await stripe_api.v1.payouts.list_async({"limit": 1}, for_account(account))
    assert ([one.id for one in page.data], page.has_more) == ([second.id], True)
    assert [one.id for one in await listed(stripe_api, account, starting_after=second.id)] == [first.id]
    assert await listed(stripe_api, account, created={"gt": second.created}) == []
    assert len(await listed(stripe_api, account, arrival_date={"gte": second.arrival_date})) == 2
    for refused in (
        stripe_api.v1.payouts.cancel_async(first.id, None, for_account(account)),
        stripe_api.v1.payouts.retrieve_async(first.id, None, for_account(other)),
        stripe_api.v1.payouts.retrieve_async(first.id),
        stripe_api.v1.payouts.create_async({"amount": 1, "currency": "eur"}),
        stripe_api.v1.balance_transactions.retrieve_async(str(first.balance_transaction), None, for_account(other)),
        stripe_api.v1.accounts.update_async(
            account,
            {"settings": {"payouts": {"schedule": {"interval": "weekly"}}}},
        ),
    ):
        with pytest.raises(stripe.InvalidRequestError):
            await refused
    assert (await stripe_api.v1.payouts.list_async()).data == [], "the platform is paid out nothing here"
    with pytest.raises(Unavailable):
        await stripe_double.steering.end_payout(first.id, "paid")


@pytest.mark.parametrize("kind", ["rate_limit", "error_500", "error_500_after", "timeout_before", "timeout_after"])
async def test_a_payout_by_hand_is_made_once(stripe_api: Api, stripe_double: StripeDouble, kind: Any) -> None:
    account = await opened(stripe_api, stripe_double)
    await sent(stripe_api, account, await charged(stripe_api))
    await stripe_double.steering.advance(2 * DAY)
    await stripe_double.steering.fault("payout", kind)
    key: Any = {**for_account(account), "idempotency_key": "p"}
    with pytest.raises(stripe.StripeError):
        await stripe_api.v1.payouts.create_async({"amount": 900, "currency": "eur"}, key)
    was_made = kind in ("error_500_after", "timeout_after")
    by_hand = [one for one in (await stripe_double.steering.ledger()).payouts[account] if not one.automatic]
    assert len(by_hand) == was_made
