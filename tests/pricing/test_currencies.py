"""How many decimals a currency has, and in which steps cards are charged."""

import re
from importlib.resources import files

import pytest

from lml_live.pricing.currencies import CURRENCIES, DECIMALS, charge_step, check_steps
from lml_live.pricing.quote import Price


@pytest.mark.parametrize(
    ("currency", "decimals", "step"),
    [
        ("EUR", 2, 1),
        ("USD", 2, 1),
        ("HUF", 2, 1),
        ("RSD", 2, 1),  # nobody uses paras, and browsers show none: the minor unit is still one
        ("JPY", 0, 1),
        ("ISK", 0, 1),
        ("UGX", 0, 1),
        ("KWD", 3, 10),
        ("TND", 3, 10),
        ("MGA", 2, 100),
    ],
)
def test_decimals_and_steps(currency: str, decimals: int, step: int) -> None:
    assert (DECIMALS[currency], charge_step(currency)) == (decimals, step)


def test_the_pages_have_the_same_decimals() -> None:
    """Intl's custom showed 1,250 minor units of RSD as 1,250 dinars: a hundred times the price."""
    words = files("lml_live").joinpath("gateway/web/words.js").read_text()
    none, three = (
        set(re.findall(rf'const {name} = new Set\("([A-Z ]+)"', words)[0].split())
        for name in ("NO_DECIMALS", "THREE_DECIMALS")
    )
    assert DECIMALS.keys() == CURRENCIES
    assert {currency for currency, decimals in DECIMALS.items() if decimals == 0} == none
    assert {currency for currency, decimals in DECIMALS.items() if decimals == 3} == three


@pytest.mark.parametrize(
    ("currency", "amount", "fee", "paths"),
    [
        ("EUR", 4_999, 1, []),
        ("JPY", 4_999, 1, []),
        ("KWD", 5_120, 250, []),
        ("KWD", 5_124, 250, ["prices[0].amount"]),
        ("KWD", 5_124, 255, ["prices[0].amount", "prices[0].fee"]),
        ("MGA", 5_050, 0, ["prices[0].amount"]),
        ("MGA", 5_000, 0, []),
        ("QQQ", 1, 1, []),  # no currency at all is said elsewhere
    ],
)
def test_prices_that_no_card_could_be_charged(currency: str, amount: int, fee: int, paths: list[str]) -> None:
    found = check_steps([Price(category="Front", amount=amount, fee=fee)], currency)
    assert [violation.path for violation in found] == paths
