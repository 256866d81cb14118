"""The Stripe double's Connect, by the official SDK: accounts, onboarding, transfers, reversals, both sides' books."""

from typing import Any

import aiohttp
import pytest
import stripe
from stripe_house import WebhookEar

from lml_live.devstack.stripe.process import StripeDouble

Api = stripe.StripeClient
BACK = {"return_url": "http://127.0.0.1:1/back", "refresh_url": "http://127.0.0.1:1/again"}
WISH: dict[str, Any] = {
    "type": "express",
    "country": "DE",
    "email": "opera@example.org",
    "capabilities": {"transfers": {"requested": True}},
    "metadata": {"organisation": "opera"},
}


async def opened(api: Api, double: StripeDouble | None = None) -> str:
    """An account; with the double, one whose owner has told Stripe everything."""
    account = await api.v1.accounts.create_async(WISH)  # type: ignore[arg-type]
    if double is not None:
        await double.steering.onboard(account.id)
    return account.id


async def charged(api: Api, amount: int = 10_000, **more: Any) -> str:
    """A captured charge."""
    wish = {"amount": amount, "currency": "eur", "payment_method_types": ["card"], "payment_method": "pm_card_visa"}
    intent = await api.v1.payment_intents.create_async({**wish, "confirm": True, **more})  # type: ignore[arg-type]
    return str(intent.latest_charge)


async def sent(api: Api, account: str, charge: str, amount: int = 9_000, **more: Any) -> stripe.Transfer:
    wish = {"amount": amount, "currency": "eur", "destination": account, "source_transaction": charge, **more}
    return await api.v1.transfers.create_async(wish)  # type: ignore[arg-type]


async def funds(api: Api, account: str | None = None) -> int:
    balance = await api.v1.balance.retrieve_async(None, {} if account is None else {"stripe_account": account})
    return sum(one.amount for one in (*balance.available, *balance.pending))


async def test_an_account_is_onboarded_by_its_link_and_tells_of_it(
    stripe_api: Api, webhook_ear: WebhookEar, stripe_double: StripeDouble
) -> None:
    account = await stripe_api.v1.accounts.create_async(WISH)  # type: ignore[arg-type]
    assert (account.details_submitted, account.payouts_enabled, account.charges_enabled) == (False, False, False)
    assert account.capabilities is not None
    assert account.capabilities.transfers == "inactive"
    link = await stripe_api.v1.account_links.create_async(
        {"account": account.id, "type": "account_onboarding", **BACK}  # type: ignore[typeddict-item]
    )
    async with aiohttp.ClientSession() as http:
        async with http.get(link.url) as page:
            assert "Complete onboarding" in await page.text()
        async with http.post(link.url, data={"outcome": "complete"}, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, BACK["return_url"])
        for ask in (http.get, http.post):
            async with ask(link.url, data={"outcome": "complete"}, allow_redirects=False) as answer:
                assert answer.headers["Location"] == BACK["refresh_url"], "good once"
        async with http.get(link.url.replace(account.id, "acct_other")) as answer:
            assert answer.status == 404
        late = await stripe_api.v1.account_links.create_async(
            {"account": account.id, "type": "account_onboarding", **BACK}  # type: ignore[typeddict-item]
        )
        await stripe_double.steering.advance(late.expires_at - late.created)
        async with http.get(late.url, allow_redirects=False) as answer:
            assert answer.headers["Location"] == BACK["refresh_url"], "and not for long"
    account = await stripe_api.v1.accounts.retrieve_async(account.id)
    assert (account.details_submitted, account.payouts_enabled) == (True, True)
    await stripe_double.steering.restrict(account.id)
    changed = await stripe_api.v1.accounts.update_async(account.id, {"metadata": {"note": "x"}})
    assert (changed.payouts_enabled, changed.metadata and changed.metadata["organisation"]) == (False, "opera")
    assert [one.id for one in (await stripe_api.v1.accounts.list_async()).data] == [account.id]
    ledger = await stripe_double.steering.ledger()
    told = [event for event in ledger.events if event.type == "account.updated"]
    assert [event.account for event in told] == [account.id] * 3


async def test_a_transfer_and_its_reversals_are_booked_on_both_sides(
    stripe_api: Api, stripe_double: StripeDouble
) -> None:
    account, charge = await opened(stripe_api, stripe_double), await charged(stripe_api)
    before = await funds(stripe_api)
    made = await sent(stripe_api, account, charge, transfer_group="b-1", metadata={"booking": "b-1"})
    assert (made.amount, made.source_transaction, made.transfer_group) == (9_000, charge, "b-1")
    assert (await funds(stripe_api), await funds(stripe_api, account)) == (before - 9_000, 9_000)
    first = await stripe_api.v1.transfers.reversals.create_async(made.id, {"amount": 2_000, "metadata": {"key": "v-1"}})
    await stripe_api.v1.transfers.reversals.create_async(made.id)
    assert (await funds(stripe_api), await funds(stripe_api, account)) == (before, 0)
    found = await stripe_api.v1.transfers.retrieve_async(made.id)
    assert (found.amount_reversed, found.reversed, len(found.reversals.data)) == (9_000, True, 2)
    reversals = await stripe_api.v1.transfers.reversals.list_async(made.id)
    assert [one.amount for one in reversals.data] == [7_000, 2_000]
    assert first.metadata is not None
    assert first.metadata["key"] == "v-1"
    by_group = await stripe_api.v1.transfers.list_async({"transfer_group": "b-1"})
    assert [one.id for one in by_group.data] == [made.id]
    assert (await stripe_api.v1.transfers.list_async({"transfer_group": "b-2"})).data == []
    ours = await stripe_api.v1.balance_transactions.list_async({"expand": ["data.source"]})
    assert [(one.type, one.amount) for one in ours.data][:3] == [
        ("transfer_refund", 7_000),
        ("transfer_refund", 2_000),
        ("transfer", -9_000),
    ]
    assert ours.data[1].source.transfer == made.id  # type: ignore[union-attr]
    theirs = await stripe_api.v1.balance_transactions.list_async(None, {"stripe_account": account})
    kinds = [("payment_refund", -7_000), ("payment_refund", -2_000), ("payment", 9_000)]
    assert [(one.type, one.amount) for one in theirs.data] == kinds
    page = await stripe_api.v1.balance_transactions.list_async({"limit": 1}, {"stripe_account": account})
    after = await stripe_api.v1.balance_transactions.list_async(
        {"starting_after": page.data[0].id}, {"stripe_account": account}
    )
    assert [one.id for one in [*page.data, *after.data]] == [one.id for one in theirs.data]
    ledger = await stripe_double.steering.ledger()
    assert [event.type for event in ledger.events if event.type.startswith("transfer.")] == [
        "transfer.created",
        "transfer.reversed",
        "transfer.reversed",
    ]
    assert (len(ledger.transfers), len(ledger.reversals), len(ledger.account_transactions[account])) == (1, 2, 3)


async def test_what_cannot_be_transferred_or_reversed_is_refused_as_by_stripe(
    stripe_api: Api, stripe_double: StripeDouble
) -> None:
    account, charge = await opened(stripe_api, stripe_double), await charged(stripe_api)
    held = await charged(stripe_api, capture_method="manual")
    made = await sent(stripe_api, account, charge)
    closed = await opened(stripe_api)
    reverse = stripe_api.v1.transfers.reversals.create_async

    def send(**wish: Any) -> Any:
        return stripe_api.v1.transfers.create_async({"currency": "eur", "destination": account, **wish})  # type: ignore[typeddict-item]

    await stripe_double.steering.pay_out(account, amount=8_500)
    for refused, code in (
        (sent(stripe_api, closed, charge, 100), "insufficient_capabilities_for_transfer"),
        (sent(stripe_api, "acct_none", charge, 100), "resource_missing"),
        (sent(stripe_api, account, charge, 1_001), None),  # more than the charge, with the one before
        (sent(stripe_api, account, charge, 100, currency="usd"), None),
        (sent(stripe_api, account, held, 100), None),
        (sent(stripe_api, account, "ch_none", 100), "resource_missing"),
        (send(amount=1), "balance_insufficient"),  # a charge is not available for two days
        (send(), "parameter_missing"),
        (send(amount=0), "parameter_invalid_integer"),
        (send(amount=1, on_behalf_of="x"), "parameter_unknown"),
        (reverse(made.id, {"amount": 9_001}), None),
        (reverse(made.id, {"amount": 0}), "parameter_invalid_integer"),
        (reverse(made.id, {"amount": 501}), "balance_insufficient"),
        (reverse("tr_none"), "resource_missing"),
    ):
        with pytest.raises(stripe.InvalidRequestError) as met:
            await refused
        assert met.value.code == code, met.value
    await reverse(made.id, {"amount": 500})
    with pytest.raises(stripe.PermissionError):
        await funds(stripe_api, "acct_none")
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.charges.list_async(None, {"stripe_account": account})
    with pytest.raises(Exception, match="can be paid out"):
        await stripe_double.steering.pay_out(account, amount=1)
    await stripe_double.steering.advance(3 * 86_400)
    assert (await send(amount=50)).source_transaction is None, "by then it is"


@pytest.mark.parametrize("kind", ["rate_limit", "error_500", "error_500_after", "timeout_before", "timeout_after"])
async def test_faults_and_keys_are_as_for_other_calls(stripe_api: Api, stripe_double: StripeDouble, kind: Any) -> None:
    account, charge = await opened(stripe_api, stripe_double), await charged(stripe_api)
    wish = {"amount": 900, "currency": "eur", "destination": account, "source_transaction": charge}
    await stripe_double.steering.fault("transfer", kind)
    with pytest.raises(stripe.StripeError):
        await stripe_api.v1.transfers.create_async(wish, {"idempotency_key": "t"})  # type: ignore[arg-type]
    was_made = kind in ("error_500_after", "timeout_after")
    there = (await stripe_double.steering.ledger()).transfers
    assert len(there) == was_made
    if "500" in kind:
        with pytest.raises(stripe.APIError):  # the saved answer
            await stripe_api.v1.transfers.create_async(wish, {"idempotency_key": "t"})  # type: ignore[arg-type]
    else:
        made = await stripe_api.v1.transfers.create_async(wish, {"idempotency_key": "t"})  # type: ignore[arg-type]
        assert len((await stripe_double.steering.ledger()).transfers) == 1
        await stripe_double.steering.fault("reversal", kind)
        with pytest.raises(stripe.StripeError):
            await stripe_api.v1.transfers.reversals.create_async(made.id, None, {"idempotency_key": "v"})
        await stripe_api.v1.transfers.reversals.create_async(made.id, None, {"idempotency_key": "v"})
        assert len((await stripe_double.steering.ledger()).reversals) == 1
