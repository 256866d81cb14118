"""Settings for Stripe: complete, of one mode, and never such that cards typed into our form reach the real Stripe."""

from typing import Any, cast

import pytest

from lml_live.booking.stripe_payments import StripePayments
from lml_live.errors import InvalidInput
from lml_live.infra.config import load_settings, stripe_base

TEST = {"LML_STRIPE_API_KEY": "sk_test_a", "LML_STRIPE_PUBLISHABLE_KEY": "pk_test_a"}
LIVE = {"LML_STRIPE_API_KEY": "rk_live_a", "LML_STRIPE_PUBLISHABLE_KEY": "pk_live_a"}
DOUBLE = {"LML_STRIPE_API_BASE": "http://127.0.0.1:20999"}
WEBHOOK = {"LML_STRIPE_WEBHOOK_SECRET": "whsec_a"}


@pytest.mark.parametrize("environ", [{}, TEST, LIVE, TEST | WEBHOOK, LIVE | WEBHOOK, TEST | WEBHOOK | DOUBLE])
def test_settings_that_can_sell_or_do_not_try(environ: dict[str, str]) -> None:
    settings = load_settings(environ)
    assert settings.stripe_api_key == environ.get("LML_STRIPE_API_KEY")


@pytest.mark.parametrize(
    ("environ", "variable", "words"),
    [
        ({"LML_STRIPE_API_KEY": "sk_test_a"}, "LML_STRIPE_PUBLISHABLE_KEY", "set it to pk_"),
        ({"LML_STRIPE_PUBLISHABLE_KEY": "pk_test_a"}, "LML_STRIPE_PUBLISHABLE_KEY", "LML_STRIPE_API_KEY"),
        (WEBHOOK, "LML_STRIPE_WEBHOOK_SECRET", "LML_STRIPE_API_KEY"),
        (DOUBLE, "LML_STRIPE_API_BASE", "LML_STRIPE_API_KEY"),
        (LIVE | {"LML_STRIPE_PUBLISHABLE_KEY": "pk_test_a"}, "LML_STRIPE_PUBLISHABLE_KEY", "another mode"),
        (TEST | {"LML_STRIPE_PUBLISHABLE_KEY": "pk_live_a"}, "LML_STRIPE_PUBLISHABLE_KEY", "another mode"),
        (TEST | {"LML_STRIPE_PUBLISHABLE_KEY": "sk_test_a"}, "LML_STRIPE_PUBLISHABLE_KEY", "pk_"),
        (TEST | {"LML_STRIPE_API_KEY": "pk_test_a"}, "LML_STRIPE_API_KEY", "sk_ or rk_"),
        (LIVE | DOUBLE, "LML_STRIPE_API_BASE", "live"),
        (TEST | {"LML_STRIPE_API_BASE": "http://api.stripe.com"}, "LML_STRIPE_API_BASE", "unset"),
        (TEST | {"LML_STRIPE_API_BASE": "elsewhere"}, "LML_STRIPE_API_BASE", "address"),
    ],
)
def test_settings_that_would_silently_sell_nothing_or_worse(environ: dict[str, str], variable: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings(environ)
    assert [(fault.path, words in fault.message) for fault in caught.value.errors] == [(variable, True)]
    assert not any(key in caught.value.message for key in environ.values() if "_a" in key)


@pytest.mark.parametrize(
    "real",
    [
        "https://api.stripe.com",
        "https://api.stripe.com/",
        "https://api.stripe.com//",
        "https://api.stripe.com:443/",
        "HTTPS://API.Stripe.COM/",
        "https://api.stripe.com./",
    ],
)
def test_the_real_stripe_is_known_however_it_is_spelled(real: str) -> None:
    """With a slash at its end it was taken for a double, and our own form would have sent it card numbers."""
    assert stripe_base(real) is None
    assert load_settings(TEST | {"LML_STRIPE_API_BASE": real}).stripe_api_base is None
    assert StripePayments(cast("Any", None), "sk_test_a", "pk_test_a", real).api_base is None


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("http://127.0.0.1:20999", "http://127.0.0.1:20999"),
        ("http://127.0.0.1:20999/", "http://127.0.0.1:20999"),
        ("http://[::1]:20999/", "http://[::1]:20999"),
        ("https://stripe.example", "https://stripe.example"),
        ("https://api.stripe.com.example", "https://api.stripe.com.example"),
    ],
)
def test_a_double_is_named_without_its_last_slash(text: str, base: str) -> None:
    assert stripe_base(text) == base


@pytest.mark.parametrize(
    "text",
    [
        "http://api.stripe.com",
        "https://api.stripe.com:8443",
        "https://files.stripe.com",
        "https://stripe.com",
        "https://api.stripe.com/v1",
        "https://user@api.stripe.com",
        "https://api.stripe.com?x",
        "https://api.stripe.com#x",
        "https://api%2estripe.com",
        "https://api\uff0estripe.com",
        "https:/api.stripe.com",
        "ftp://127.0.0.1",
        "https://",
        "//api.stripe.com",
        "http://127.0.0.1:port",
    ],
)
def test_what_could_be_the_real_stripe_is_no_double(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        stripe_base(text)
