"""What pages do with the Stripe double: the publishable key, CORS, card numbers, and the 3-D Secure page."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import stripe
from stripe_house import OwnDouble

from lml_live.devstack.stripe.page import show_amount
from lml_live.devstack.stripe.process import StripeDouble

HOLD: dict[str, Any] = {
    "amount": 4_750,
    "currency": "eur",
    "payment_method_types": ["card"],
    "capture_method": "manual",
}
BACK = "https://shop.example/bookings/b1?lang=de"
CARD = {"type": "card", "card[exp_month]": "12", "card[exp_year]": "34", "card[cvc]": "123"}
Api = stripe.StripeClient
Fields = dict[str, str]


async def post(double: StripeDouble, path: str, fields: Fields, key: str | None = None) -> tuple[int, Any]:
    """What a page's `fetch` sends, with the publishable key."""
    headers = {"Authorization": f"Bearer {key or double.publishable_key}", "Origin": "http://127.0.0.1:8080"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{double.url}{path}", data=fields, headers=headers) as response,
    ):
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        return response.status, await response.json()


async def confirm(double: StripeDouble, intent: stripe.PaymentIntent, **fields: str) -> tuple[int, Any]:
    sent = {"client_secret": str(intent.client_secret), "return_url": BACK, **fields}
    return await post(double, f"/v1/payment_intents/{intent.id}/confirm", sent)


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/payment_methods", "POST"), ("/v1/payment_intents/pi_1/confirm", "POST")]
)
async def test_a_page_of_any_origin_may_ask(stripe_double: StripeDouble, path: str, method: str) -> None:
    headers = {
        "Origin": "http://127.0.0.1:8080",
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with (
        aiohttp.ClientSession() as http,
        http.options(f"{stripe_double.url}{path}", headers=headers) as response,
    ):
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert method in response.headers["Access-Control-Allow-Methods"]
        allowed = response.headers["Access-Control-Allow-Headers"].lower()
        assert {"authorization", "content-type"} <= set(allowed.split(", "))


async def test_a_page_makes_a_payment_method_and_pays(stripe_double: StripeDouble, stripe_api: Api) -> None:
    intent = await stripe_api.v1.payment_intents.create_async({**HOLD, "metadata": {"booking": "b1"}})
    fields = {**CARD, "card[number]": "4242 4242 4242 4242", "billing_details[name]": "Ada"}
    status, method = await post(stripe_double, "/v1/payment_methods", fields)
    assert (status, method["card"]["last4"], method["billing_details"]["name"]) == (200, "4242", "Ada")
    status, answer = await confirm(stripe_double, intent, payment_method=method["id"])
    assert (status, answer["status"]) == (200, "requires_capture")
    assert not {"metadata", "latest_charge", "amount_capturable"} & answer.keys()
    charge = (
        await stripe_api.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
    ).latest_charge
    assert isinstance(charge, stripe.Charge)
    assert charge.billing_details.name == "Ada"


async def test_a_page_sends_the_card_with_the_confirmation(stripe_double: StripeDouble, stripe_api: Api) -> None:
    intent = await stripe_api.v1.payment_intents.create_async(HOLD)
    card = {f"payment_method_data[{name}]".replace("[card[", "[card]["): value for name, value in CARD.items()}
    card = {name.replace("]]", "]"): value for name, value in card.items()}
    status, answer = await confirm(
        stripe_double, intent, **card, **{"payment_method_data[card][number]": "4000000000009995"}
    )
    assert (status, answer["error"]["decline_code"]) == (402, "insufficient_funds")
    assert "metadata" not in answer["error"]["payment_intent"]
    status, answer = await confirm(stripe_double, intent, payment_method="pm_card_visa")
    assert answer["status"] == "requires_capture"


# number, month, year, cvc · the error's code, or the outcome of confirming
NUMBERS = [
    ("4242424242424242", "12", "34", "123", "requires_capture"),
    ("5555555555554444", "1", "2040", "123", "requires_capture"),
    ("2223003122003222", "1", "2040", "123", "requires_capture"),
    ("378282246310005", "12", "34", "1234", "requires_capture"),
    ("4000002760003184", "12", "34", "123", "requires_action"),
    ("4000000000003220", "12", "34", "123", "requires_action"),
    ("4000000000000002", "12", "34", "123", "card_declined"),
    ("4000000000000069", "12", "34", "123", "expired_card"),
    ("4111111111111111", "12", "34", "123", "card_declined"),  # right, but none of Stripe's
    ("4242424242424241", "12", "34", "123", "incorrect_number"),
    ("٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢", "12", "34", "123", "incorrect_number"),
    ("42", "12", "34", "123", "incorrect_number"),
    ("4242424242424242", "13", "34", "123", "invalid_expiry_month"),
    ("4242424242424242", "12", "20", "123", "invalid_expiry_year"),
    ("4242424242424242", "12", "99", "123", "invalid_expiry_year"),
    ("4242424242424242", "12", "34", "12", "invalid_cvc"),
    ("378282246310005", "12", "34", "123", "invalid_cvc"),
    ("", "12", "34", "123", "parameter_missing"),
    ("4242424242424242", "x", "34", "123", "parameter_invalid_integer"),
]


@pytest.mark.parametrize(("number", "month", "year", "cvc", "outcome"), NUMBERS)
async def test_card_numbers(
    stripe_double: StripeDouble, stripe_api: Api, number: str, month: str, year: str, cvc: str, outcome: str
) -> None:
    fields = {
        "type": "card",
        "card[number]": number,
        "card[exp_month]": month,
        "card[exp_year]": year,
        "card[cvc]": cvc,
    }
    status, answer = await post(stripe_double, "/v1/payment_methods", fields)
    if status == 200:
        intent = await stripe_api.v1.payment_intents.create_async(HOLD)
        status, answer = await confirm(stripe_double, intent, payment_method=answer["id"])
    assert (answer["status"] if status == 200 else answer["error"]["code"]) == outcome


async def test_a_server_is_refused_card_numbers(stripe_double: StripeDouble) -> None:
    fields = {**CARD, "card[number]": "4242424242424242"}
    status, answer = await post(stripe_double, "/v1/payment_methods", fields, stripe_double.secret_key)
    assert (status, "unsafe" in answer["error"]["message"]) == (402, True)


async def test_no_number_is_ever_kept(stripe_double_own: OwnDouble) -> None:
    double = await stripe_double_own()
    numbers = ("4242424242424242", "4111111111111111", "4242424242424241")
    for number in numbers:
        await post(double, "/v1/payment_methods", {**CARD, "card[number]": number})
    ledger = str(await double.steering.ledger())
    await double.kill()
    kept = b"".join(file.read_bytes() for file in double.directory.iterdir()) + double.log.read_bytes()
    assert b"pm_" in kept
    for number in numbers:
        assert number.encode() not in kept
        assert number not in ledger


async def test_a_page_may_do_nothing_else(stripe_double: StripeDouble, stripe_api: Api) -> None:
    intent = await stripe_api.v1.payment_intents.create_async(HOLD)
    other = await stripe_api.v1.payment_intents.create_async(HOLD)
    for path in (
        "/v1/payment_intents",
        f"/v1/payment_intents/{intent.id}",
        f"/v1/payment_intents/{intent.id}/capture",
        f"/v1/payment_intents/{intent.id}/cancel",
        "/v1/refunds",
    ):
        status, answer = await post(stripe_double, path, {"client_secret": str(intent.client_secret)})
        assert (status, answer["error"]["code"]) == (401, "secret_key_required")
    for secret in ("", str(other.client_secret), f"{intent.id}_secret_"):
        status, _ = await post(
            stripe_double,
            f"/v1/payment_intents/{intent.id}/confirm",
            {"client_secret": secret, "payment_method": "pm_card_visa"},
        )
        assert status == 400
    for decided_by_servers in ("capture_method", "off_session"):
        status, answer = await confirm(
            stripe_double, intent, payment_method="pm_card_visa", **{decided_by_servers: "automatic"}
        )
        assert (status, answer["error"]["code"]) == (400, "parameter_unknown")
    async with aiohttp.ClientSession() as http:
        address = f"{stripe_double.url}/v1/payment_intents/{intent.id}"
        query = {"key": stripe_double.publishable_key, "client_secret": str(intent.client_secret)}
        async with http.get(address, params=query) as response:
            assert (response.status, (await response.json())["status"]) == (200, "requires_payment_method")
        async with http.get(address) as response:
            assert response.status == 401
        async with http.post(address, json={}, headers={"Authorization": f"Bearer {stripe_double.secret_key}"}) as odd:
            assert odd.status == 400
    assert (await stripe_api.v1.payment_intents.retrieve_async(intent.id)).status == "requires_payment_method"


# --- 3-D Secure


async def at_the_page(double: StripeDouble, api: Api) -> tuple[stripe.PaymentIntent, str]:
    """An intent that asks its buyer to authenticate, and the page's address."""
    intent = await api.v1.payment_intents.create_async(HOLD)
    _, answer = await confirm(double, intent, payment_method="pm_card_threeDSecure2Required")
    assert (answer["status"], answer["next_action"]["type"]) == ("requires_action", "redirect_to_url")
    assert answer["next_action"]["redirect_to_url"]["return_url"] == BACK
    return intent, answer["next_action"]["redirect_to_url"]["url"]


async def press(address: str, outcome: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(address, data={"outcome": outcome}, allow_redirects=False) as response,
    ):
        return response.status, response.headers.get("Location", "")


@pytest.mark.parametrize(
    ("outcome", "status", "said"),
    [("complete", "requires_capture", "succeeded"), ("fail", "requires_payment_method", "failed")],
)
async def test_the_page_leads_back(
    stripe_double: StripeDouble, stripe_api: Api, outcome: str, status: str, said: str
) -> None:
    intent, address = await at_the_page(stripe_double, stripe_api)
    async with aiohttp.ClientSession() as http, http.get(address) as response:
        text = await response.text()
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    # By keyboard: real buttons in a form, the first of them focused.
    assert re.findall(r"<button[^>]*value=\"(\w+)\"( autofocus)?", text) == [("complete", " autofocus"), ("fail", "")]
    for _ in range(2):  # Pressed twice, it leads back twice and does one thing.
        code, location = await press(address, outcome)
        query = parse_qs(urlsplit(location).query)
        assert (code, location.startswith("https://shop.example/bookings/b1?lang=de&")) == (303, True)
        assert (query["payment_intent"], query["redirect_status"]) == ([intent.id], [said])
        assert query["payment_intent_client_secret"] == [intent.client_secret]
    assert (await stripe_api.v1.payment_intents.retrieve_async(intent.id)).status == status
    history = (await stripe_double.steering.ledger()).intents[0].history
    assert [step.after for step in history] == ["requires_payment_method", "requires_action", status]


async def test_a_buyer_who_comes_back_too_late(stripe_double: StripeDouble, stripe_api: Api) -> None:
    intent, address = await at_the_page(stripe_double, stripe_api)
    await stripe_api.v1.payment_intents.cancel_async(intent.id)
    async with aiohttp.ClientSession() as http, http.get(address) as response:
        text = await response.text()
        assert ("<button" in text, "redirect_status=failed" in text) == (False, True)
    code, location = await press(address, "complete")
    assert (code, "redirect_status=failed" in location) == (303, True)
    assert (await stripe_api.v1.payment_intents.retrieve_async(intent.id)).status == "canceled"


async def test_the_page_of_an_earlier_attempt_does_nothing(stripe_double: StripeDouble, stripe_api: Api) -> None:
    intent, first = await at_the_page(stripe_double, stripe_api)
    await confirm(stripe_double, intent, payment_method="pm_card_threeDSecure2Required")
    await press(first, "complete")
    assert (await stripe_api.v1.payment_intents.retrieve_async(intent.id)).status == "requires_action"


async def test_without_a_way_back_the_sdk_is_to_open_the_page(stripe_double: StripeDouble, stripe_api: Api) -> None:
    sent = {**HOLD, "payment_method": "pm_card_threeDSecure2Required", "confirm": True}
    intent = await stripe_api.v1.payment_intents.create_async(sent)
    assert intent.next_action is not None
    assert intent.next_action.type == "use_stripe_sdk"
    address = intent.next_action.use_stripe_sdk["stripe_js"]
    assert await press(address, "complete") == (200, "")
    assert (await stripe_api.v1.payment_intents.retrieve_async(intent.id)).status == "requires_capture"


async def test_pages_that_nobody_was_sent_to(stripe_double: StripeDouble, stripe_api: Api) -> None:
    _, address = await at_the_page(stripe_double, stripe_api)
    for wrong in (address[:-4], address.replace("pi_", "pi_x"), f"{stripe_double.url}/authenticate/pi_1"):
        assert (await press(wrong, "complete"))[0] == 404
    assert (await press(address, "explode"))[0] == 404


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (9500, "eur", "95.00 EUR"),
        (5, "usd", "0.05 USD"),
        (9500, "jpy", "9500 JPY"),
        (9500, "kwd", "9.500 KWD"),
    ],
)
def test_an_amount_is_shown_in_its_currency(amount: int, currency: str, shown: str) -> None:
    """Buyers were asked about "9500 EUR (minor units)"."""
    assert show_amount(amount, currency) == shown
