"""Where a buyer's browser may pay, and what the event page's policy allows for it."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from lml_live.booking.stripe_payments import StripePayments
from lml_live.gateway.app import payment_origin
from lml_live.gateway.pages import STRIPE_JS, page_routes

WEB = Path(__file__).parents[2] / "lml_live" / "gateway" / "web"


def origin(api_base: str | None) -> str | None:
    services: Any = SimpleNamespace(payments=StripePayments(cast("Any", None), "sk_test_x", "pk_test_x", api_base))
    return payment_origin(services)


@pytest.mark.parametrize(
    ("api_base", "expected"),
    [
        (None, STRIPE_JS),
        ("https://api.stripe.com", STRIPE_JS),
        ("http://127.0.0.1:4242", "http://127.0.0.1:4242"),
        ("https://double.example:8443/", "https://double.example:8443"),
    ],
)
async def test_the_origin_follows_from_the_address_of_the_api(api_base: str | None, expected: str) -> None:
    assert origin(api_base) == expected


async def policies(payment: str | None, cdn: str = "") -> dict[str, dict[str, list[str]]]:
    """Each page's policy: directive to sources. A directive twice would count the first time only."""
    app = web.Application()
    app.add_routes(page_routes(payment_origin=payment, cdn_origin=cdn))
    found: dict[str, dict[str, list[str]]] = {}
    async with TestClient(TestServer(app)) as client:
        for path in ("/events/any", "/", "/bookings", "/bookings/any", "/account"):
            async with client.get(path) as answer:
                parts = [part.split() for part in answer.headers["Content-Security-Policy"].split(";")]
            found[path] = {name: sources for name, *sources in parts}
            assert len(found[path]) == len(parts), path
    return found


async def test_with_a_real_key_the_event_page_may_load_stripe_js_and_nothing_more() -> None:
    """The directives of docs.stripe.com/security/guide#content-security-policy."""
    found = await policies(origin(None))
    page = found.pop("/events/any")
    plain = (await policies(None))["/events/any"]
    assert {name: sources for name, sources in page.items() if name not in plain} == {
        "script-src": ["'self'", "https://js.stripe.com", "https://*.js.stripe.com"],
        "frame-src": ["https://js.stripe.com", "https://*.js.stripe.com", "https://hooks.stripe.com"],
        "connect-src": ["'self'", "https://api.stripe.com"],
        "img-src": ["'self'", "https://*.stripe.com"],
    }
    assert {name: page[name] for name in plain} == plain
    assert all(policy == plain for policy in found.values())


async def test_with_the_double_the_event_page_may_ask_it_and_nothing_more() -> None:
    page = (await policies(origin("http://127.0.0.1:4242/")))["/events/any"]
    assert page["connect-src"] == ["'self'", "http://127.0.0.1:4242"]
    assert not {"script-src", "frame-src", "img-src"} & set(page)


async def test_pages_may_read_layouts_from_the_cdn() -> None:
    """They could not once: `LML_CDN_BASE_URL` left every seat map empty."""
    cdn = "https://cdn.example"
    paying = await policies(origin(None), cdn)
    assert paying.pop("/events/any")["connect-src"] == ["'self'", "https://api.stripe.com", cdn]
    closed = await policies(None, cdn)
    assert all(policy["connect-src"] == ["'self'", cdn] for policy in (*paying.values(), *closed.values()))


@pytest.mark.parametrize("page", ["layouts", "layouteditor"])
def test_what_a_large_page_imports_is_asked_for_at_once(page: str) -> None:
    """Else each module is heard of only when the one before it is there: a round trip for every step of the way."""
    found, open_ = set(), [f"{page}.js"]
    while open_:
        source = (WEB / open_.pop()).read_text("utf-8")
        new = set(re.findall(r'^import [^"]*"\./(\w+\.js)"', source, re.MULTILINE)) - found
        found |= new
        open_ += new
    html = (WEB / f"{page}.html").read_text("utf-8")
    assert set(re.findall(r'<link rel="modulepreload" href="/web/(\w+\.js)">', html)) == found
