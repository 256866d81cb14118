"""Amounts are minor units of ISO 4217, and pages show them so, whatever a browser's custom is."""

import pytest
from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("amount", "currency", "digits"),
    [
        (4_750, "EUR", "47.50"),
        (0, "EUR", "0.00"),
        (4_750, "JPY", "4,750"),
        (4_750, "ISK", "4,750"),
        (4_750, "KWD", "4.750"),
        (4_750, "IQD", "4.750"),  # browsers show no decimals of the next three, and took these for whole units
        (4_750, "RSD", "47.50"),
        (4_750, "MGA", "47.50"),
        (10**14, "EUR", "1,000,000,000,000.00"),
        (4_750, "QQQ", "47.50"),
    ],
)
async def test_money_is_shown_in_its_units(blank: Page, amount: int, currency: str, digits: str) -> None:
    shown = await blank.evaluate(
        "async ([amount, currency]) => (await import('/web/words.js')).money(amount, currency)", [amount, currency]
    )
    assert "".join(letter for letter in shown if letter.isdigit() or letter in ".,") == digits
