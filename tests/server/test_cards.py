"""Saved cards over REST: seen and taken away by their own account only (reliability.md, I28)."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from serving import LiveServer
from test_accounts_live import Buyer

from lml_live.devstack.stripe.process import StripeDouble


@pytest.fixture(name="anna")
async def anna_fixture(shop: LiveServer) -> AsyncIterator[Buyer]:
    shop.event = await shop.new_event()
    async with shop.session() as http:
        yield Buyer(shop, http)


async def buy(buyer: Buyer, double: StripeDouble, seat: int, **more: Any) -> Any:
    """A booking whose card is sent to Stripe; answers what Stripe says."""
    hold = await buyer.hold(seat)
    body = {"hold": hold["id"], "buyer": {"name": "Anna", "email": "anna@example.org"}, **more}
    booking = await buyer.call("POST", "/bookings", body, status=201)
    secret = booking["payment"]["client_secret"]
    form = {"key": double.publishable_key, "client_secret": secret, "return_url": "http://127.0.0.1/back"}
    url = f"{double.url}/v1/payment_intents/{secret.partition('_secret_')[0]}/confirm"
    async with aiohttp.ClientSession() as http, http.post(url, data={**form, "payment_method": "pm_card_visa"}) as told:
        return (await told.json())["status"]


async def test_a_card_is_its_accounts(anna: Buyer, shop: LiveServer, stripe_double: StripeDouble) -> None:
    await anna.register()
    assert await anna.call("GET", "/accounts/cards", status=200) == {"items": [], "next": None}
    assert await buy(anna, stripe_double, 1, save_card=True) == "requires_capture"
    [card] = (await anna.call("GET", "/accounts/cards", status=200))["items"]
    assert (card["brand"], card["last4"], card["id"].startswith("pm_")) == ("visa", "4242", True)

    ben = Buyer(shop, anna.http)
    await ben.register()
    assert (await ben.call("GET", "/accounts/cards", status=200))["items"] == []
    for card_id in (card["id"], "pm_none", "b-1", "pm_..%2F..%2Fx"):
        assert (await ben.call("DELETE", f"/accounts/cards/{card_id}", status=404))["code"] == "not_found"
    assert len((await anna.call("GET", "/accounts/cards", status=200))["items"]) == 1

    await anna.call("DELETE", f"/accounts/cards/{card['id']}", status=204)
    assert (await anna.call("DELETE", f"/accounts/cards/{card['id']}", status=404))["code"] == "not_found"
    assert (await anna.call("GET", "/accounts/cards", status=200))["items"] == []


async def test_who_has_not_signed_in_has_none(anna: Buyer, stripe_double: StripeDouble) -> None:
    assert (await anna.call("GET", "/accounts/cards", status=401))["code"] == "unauthorized"
    await anna.anonymous()
    assert (await anna.call("GET", "/accounts/cards", status=403))["code"] == "forbidden"
    assert (await anna.call("DELETE", "/accounts/cards/pm_1", status=403))["code"] == "forbidden"
    hold = await anna.hold(1)
    body = {"hold": hold["id"], "buyer": {"name": "Anna", "email": "anna@example.org"}, "save_card": True}
    assert (await anna.call("POST", "/bookings", body, status=403))["code"] == "forbidden"
    assert (await anna.call("GET", f"/holds/{hold['id']}", status=200))["state"] == "active"
