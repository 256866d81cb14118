"""Paying by Stripe.js, as with a real key: the pages under the policy that they are served with then.

Stripe's own script needs Stripe. `stripe_stub.js` speaks as it is documented to, and asks api.stripe.com, where the
double answers; the server is the shop with the double, whose address the pages are not told.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from playwright.async_api import Browser, Page, Route, expect
from serving import LiveServer

from lml_live.devstack.stripe.process import StripeDouble
from lml_live.gateway.pages import STRIPE_JS, page_routes

pytestmark = pytest.mark.asyncio(loop_scope="session")

STUB = Path(__file__).with_name("stripe_stub.js").read_text()
PAYS, ASKS_3DS, DECLINED = "4242424242424242", "4000000000003220", "4000000000009995"
CARD = "Card number in Stripe's frame"


class RealShop:
    """A page on which everything is as with a real key. `broken` is what the next load of the script is answered."""

    def __init__(self, page: Page, shop: LiveServer, double: StripeDouble, policy: str) -> None:
        self.page, self.shop, self.double, self.policy = page, shop, double, policy
        self.said: list[str] = []
        self.loads = 0
        self.broken: list[str] = []
        self.unreachable = False
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("console", lambda said: self.said.append(said.text) if "Security Policy" in said.text else None)

    async def open(self) -> None:
        await self.page.route("**/events/*", self._serve_page)
        await self.page.route("**/api/v1/bookings**", self._hide_double)
        await self.page.route("**/api/v1/bookings/**", self._hide_double)
        await self.page.route(f"{STRIPE_JS}/**", self._serve_script)
        await self.page.route("https://api.stripe.com/**", self._ask_double)
        await self.page.goto(f"{self.shop.url}/events/{self.shop.event}")
        await self.page.get_by_role("button", name="One more place in Floor").click()
        await expect(self.page.locator("#mine .line")).to_contain_text("Floor")

    async def begin(self) -> None:
        await self.page.locator("#buy-button").click()
        await self.page.get_by_label("Name").fill("Ada Byron")
        await self.page.get_by_label("E-mail").fill("ada@example.org")
        await self.page.get_by_role("button", name="Continue to payment").click()
        await expect(self.page.locator("#pay-button")).to_be_visible()

    async def pay(self, card: str) -> None:
        await self.page.get_by_label(CARD).fill(card)
        await self.press()

    async def press(self) -> None:
        await self.page.locator("#pay-button").click()

    async def hears(self, words: str) -> None:
        await expect(self.page.get_by_role("alert")).to_contain_text(words)

    async def done(self) -> None:
        await expect(self.page.locator("#checkout-title")).to_have_text("Your seats are booked")

    async def _serve_page(self, route: Route) -> None:
        if route.request.resource_type != "document":
            await route.continue_()
            return
        response = await route.fetch()
        await route.fulfill(response=response, headers={**response.headers, "content-security-policy": self.policy})

    async def _hide_double(self, route: Route) -> None:
        response = await route.fetch()
        booking = await response.json()
        if "payment" in booking:
            booking["payment"].pop("api_base", None)
        await route.fulfill(response=response, json=booking)

    async def _serve_script(self, route: Route) -> None:
        self.loads += 1
        assert route.request.url == f"{STRIPE_JS}/v3/"
        match self.broken.pop(0) if self.broken else None:
            case "away":
                await route.abort()
            case "empty":
                await route.fulfill(body="", content_type="text/javascript")
            case "element":
                await route.fulfill(body=f"{STUB}; Stripe.stub.loadErrors = 1;", content_type="text/javascript")
            case _:
                await route.fulfill(body=STUB, content_type="text/javascript")

    async def _ask_double(self, route: Route) -> None:
        """As api.stripe.com: the double answers. Stripe.js sends its key as a field."""
        if self.unreachable:
            await route.abort()
            return
        address = urlsplit(route.request.url)
        sent = parse_qs(route.request.post_data or address.query)
        key, path = sent.pop("key")[0], address.path
        secret = {"client_secret": sent["client_secret"][0]} if "client_secret" in sent else {}
        method = route.request.method
        if path.startswith("/v1/3ds2/authenticate/"):
            intent = path.rsplit("/", 1)[1]
            await self.double.steering.authenticate(intent, passed=sent["outcome"] == ["Complete"])
            method, path = "GET", f"/v1/payment_intents/{intent}"
        fields = {name: value for name, (value,) in sent.items()} if method == "POST" else None
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as http,
            http.request(method, self.double.url + path, data=fields, params=None if fields else secret) as answer,
        ):
            await route.fulfill(
                status=answer.status,
                body=await answer.read(),
                content_type="application/json",
                headers={"Access-Control-Allow-Origin": "*"},
            )


async def policy_with_a_real_key() -> str:
    """The event page's Content-Security-Policy, as the routes serve it."""
    app = web.Application()
    app.add_routes(page_routes(payment_origin=STRIPE_JS))
    async with TestClient(TestServer(app)) as client, client.get("/events/any") as answer:
        return str(answer.headers["Content-Security-Policy"])


@pytest_asyncio.fixture(loop_scope="session")
async def real(shop: LiveServer, browser: Browser, stripe_double: StripeDouble) -> AsyncIterator[RealShop]:
    """Nothing may be refused by the page's own policy."""
    shop.event = await shop.new_event()
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB")
    made = RealShop(await context.new_page(), shop, stripe_double, await policy_with_a_real_key())
    await made.open()
    yield made
    await made.page.unroute_all(behavior="ignoreErrors")  # the booking may be read once more
    await context.close()
    assert made.said == []


async def test_a_purchase_by_stripe_js(real: RealShop) -> None:
    await real.begin()
    await expect(real.page.get_by_label(CARD)).to_be_visible()
    await expect(real.page.locator("#card-number")).to_have_count(0)
    await real.press()
    await expect(real.page.locator("#pay-button")).to_be_enabled()
    await expect(real.page.locator("#checkout-alert")).to_be_hidden()  # the element itself says what is wrong with it
    await real.pay(DECLINED)
    await real.hears("There is not enough money on this card.")
    await expect(real.page.get_by_label(CARD)).to_be_focused()
    real.unreachable = True
    await real.pay(PAYS)
    await real.hears("The payment service did not answer. Trying again cannot charge you twice.")
    real.unreachable = False
    await real.press()
    await real.done()
    assert real.loads == 1
    (intent,) = await intents(real)
    assert intent["status"] in ("requires_capture", "succeeded")


async def test_3d_secure_within_the_page(real: RealShop) -> None:
    await real.begin()
    await real.pay(ASKS_3DS)
    await real.page.get_by_role("button", name="Fail at the bank").click()
    await real.hears("Your bank did not confirm that it was you.")
    await real.press()
    await real.page.get_by_role("button", name="Complete at the bank").click()
    await real.done()


@pytest.mark.parametrize("broken", [["away", "empty"], ["element"]], ids=["the script", "the element"])
async def test_what_fails_to_load_is_loaded_anew(real: RealShop, broken: list[str]) -> None:
    """After one failure every press of Pay said "unreachable" until the page was reloaded."""
    real.broken = list(broken)
    await real.begin()
    note = real.page.get_by_text("The card form could not be loaded. Press Pay to try again.")
    await expect(note).to_be_visible()
    for _ in broken[1:]:
        await real.press()
        await real.hears("The payment service did not answer.")
        await expect(note).to_be_visible()
    await real.press()
    await real.hears("The card form is here now. Please fill it in.")
    await expect(real.page.get_by_label(CARD)).to_be_focused()
    await expect(note).to_be_hidden()
    await real.pay(PAYS)
    await real.done()


async def test_back_from_a_bank_that_stripe_js_went_to(real: RealShop) -> None:
    """Some banks have a page of their own: Stripe.js leaves for it, and comes back with more in the address."""
    await real.begin()
    await real.pay(ASKS_3DS)
    await expect(real.page.get_by_role("button", name="Complete at the bank")).to_be_visible()
    (intent,) = await intents(real)
    await real.double.steering.authenticate(intent["id"], passed=False)
    address = f"{real.shop.url}/events/{real.shop.event}"
    booking = intent["metadata"]["booking"]
    secret = "payment_intent=pi_1&payment_intent_client_secret=pi_1_secret_2&redirect_status=failed"
    await real.page.goto(f"{address}?checkout={booking}&{secret}")
    await real.hears("Your bank did not confirm that it was you.")
    await expect(real.page).to_have_url(address)
    await real.pay(PAYS)
    await real.done()


async def intents(real: RealShop) -> list[dict[str, Any]]:
    """What Stripe knows of."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {real.double.secret_key}"}) as http,
        http.get(f"{real.double.url}/v1/payment_intents") as answer,
    ):
        return list((await answer.json())["data"])
