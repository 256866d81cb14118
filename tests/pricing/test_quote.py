"""Prices and tax, as tables and as properties."""

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lml_live import values
from lml_live.pricing import quote
from lml_live.pricing.quote import Price, PriceList, Quote, UnknownPrice, Wish

HALL = PriceList(
    "EUR",
    3,
    (
        Price(category="Parkett", amount=4500, fee=250, tax_rate="19.00"),
        Price(category="Parkett", type="child", label="Child", amount=2000, tax_rate="7"),
        Price(category="Rang", type="senior", label="Senior", amount=0),
    ),
)


@pytest.mark.parametrize(
    ("category", "type_", "answer"),
    [
        ("Parkett", None, ("standard", 4500, 250, 758)),
        ("Parkett", "standard", ("standard", 4500, 250, 758)),
        ("Parkett", "child", ("child", 2000, 0, 131)),
        ("Rang", None, ("senior", 0, 0, 0)),
        ("Rang", "standard", None),
        ("Loge", None, None),
    ],
)
def test_a_place_has_its_price(category: str, type_: str | None, answer: tuple[str, int, int, int] | None) -> None:
    priced = quote.PriceTable(HALL).quote([Wish(category, type_)])
    if answer is None:
        assert priced == UnknownPrice(0, category, type_)
    else:
        assert isinstance(priced, Quote)
        assert msgspec.structs.astuple(priced.lines[0]) == answer


def test_the_total_is_amounts_and_fees() -> None:
    priced = quote.PriceTable(HALL).quote([Wish("Parkett"), Wish("Parkett", "child"), Wish("Rang")])
    assert isinstance(priced, Quote)
    assert (priced.amount, priced.currency) == (4500 + 250 + 2000, "EUR")


@pytest.mark.parametrize(
    ("gross", "rate", "tax"),
    [
        (11900, 1900, 1900),
        (0, 1900, 0),
        (4750, 0, 0),
        (1, 1900, 0),
        (1, 10_000 - 1, 0),
        (3, 2000, 0),  # exactly 0.5: to the even 0
        (9, 2000, 2),  # exactly 1.5: to the even 2
        (15, 2000, 2),  # exactly 2.5: to the even 2
        (21, 2000, 4),  # exactly 3.5: to the even 4
    ],
)
def test_contained_tax(gross: int, rate: int, tax: int) -> None:
    assert quote.contained_tax(gross, rate) == tax


@given(st.integers(0, 2 * values.AMOUNT_MINOR_MAX), st.integers(0, 9999))
def test_contained_tax_is_the_exact_part_rounded_half_to_even(gross: int, rate: int) -> None:
    assert quote.contained_tax(gross, rate) == round(Fraction(gross * rate, 10_000 + rate))


@given(st.integers(0, 9999))
def test_a_tax_rate_reads_back_as_it_was_spelled(rate: int) -> None:
    (price,) = quote.normal_prices([Price(category="A", amount=1, tax_rate=f"{rate // 100}.{rate % 100:02}")])
    assert quote.parse_tax_rate(price.tax_rate) == rate


@pytest.mark.parametrize("text", ["100", "-1", "19,0", "1e1", "19.000", "", "NaN", "19.", "٣", "19\n"])
def test_other_spellings_are_no_tax_rate(text: str) -> None:
    with pytest.raises(ValueError, match="percentage"):
        quote.parse_tax_rate(text)


@given(st.lists(st.sampled_from([Wish("Parkett"), Wish("Parkett", "child"), Wish("Rang", "senior")]), max_size=50))
def test_a_quote_is_the_sum_of_its_lines(wishes: list[Wish]) -> None:
    priced = quote.PriceTable(HALL).quote(wishes)
    assert isinstance(priced, Quote)
    assert len(priced.lines) == len(wishes)
    assert priced.amount == sum(line.amount + line.fee for line in priced.lines)
    assert all(0 <= line.tax <= line.amount + line.fee for line in priced.lines)


def test_a_price_list_covers_exactly_the_categories_of_the_layout() -> None:
    prices = [
        Price(category="Parkett", amount=1),
        Price(category="Parkett", amount=2),
        Price(category="Loge", amount=3),
    ]
    assert {violation.path for violation in quote.check_prices(prices, ["Parkett", "Rang"])} == {
        "prices[1]",
        "prices[2].category",
        "prices",
    }
    assert quote.check_prices(prices[:1], ["Parkett"]) == ()
