"""What places cost: integers in minor units, tax as the part contained. Pure.

A price holds for a category (of seats or areas) and a type ("standard", "child"). `amount` and `fee` contain their tax.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from lml_live import limits, values
from lml_live.errors import Violation

DEFAULT_TYPE: Final = "standard"
TAX_RATE_PATTERN: Final = r"^[0-9]{1,2}(\.[0-9]{1,2})?$(?!\n)"
"""Percent, as text: a JSON number such as 19.6 is a float to most readers, and no float comes near money."""

_TAX_RATE: Final = re.compile(TAX_RATE_PATTERN)

assert 2 * values.AMOUNT_MINOR_MAX * limits.HOLD_LINES_MAX <= values.WIRE_INTEGER_MAX, "a total stays exact in JSON"


Label = Annotated[str, Meta(min_length=1, max_length=limits.LABEL_CHARS_MAX, pattern=values.TEXT_PATTERN)]


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a price list, as `GET /events/{event}` shows it and `POST /events` takes it (contract, section 2)."""

    category: Label
    type: Annotated[str, Meta(pattern=values.ID_PATTERN)] = DEFAULT_TYPE
    label: Label = "Standard"
    amount: Annotated[int, Meta(ge=0, le=values.AMOUNT_MINOR_MAX, description="Minor units, without the fee.")]
    fee: Annotated[int, Meta(ge=0, le=values.AMOUNT_MINOR_MAX, description="Minor units, paid on top.")] = 0
    tax_rate: Annotated[str, Meta(pattern=TAX_RATE_PATTERN, description="Percent contained, such as 19.00.")] = "0.00"


class PriceList(msgspec.Struct, frozen=True):
    """An event's prices in the order in which they are listed. `version` rises with every change."""

    currency: str
    version: int
    prices: tuple[Price, ...]


class Wish(msgspec.Struct, frozen=True):
    """A seat or area place to be priced. Without `type` the category's first listed type is meant."""

    category: str
    type: str | None = None


class PricedLine(msgspec.Struct, frozen=True):
    """The price of one place: `amount` and `fee` are paid, `tax` is the part of both that is tax. Minor units."""

    type: str
    amount: int
    fee: int
    tax: int


class Quote(msgspec.Struct, frozen=True):
    """Lines in the order of the wishes; `amount` is what is to be paid for all: amounts and fees. Minor units."""

    lines: tuple[PricedLine, ...]
    amount: int
    currency: str


class UnknownPrice(msgspec.Struct, frozen=True):
    """Refused: the wish at `position` names a category without prices, or a type that its category does not have."""

    position: int
    category: str
    type: str | None


class PriceTable:
    """A price list made ready for quoting: every hold is quoted, so the tax of each price is computed once."""

    def __init__(self, prices: PriceList) -> None:
        self.currency: Final = prices.currency
        self._lines: dict[tuple[str, str], PricedLine] = {}
        self.lines: Final[Mapping[tuple[str, str], PricedLine]] = self._lines
        """By category and type; that of the type "" is the category's first."""
        for price in prices.prices:
            tax = contained_tax(price.amount + price.fee, parse_tax_rate(price.tax_rate))
            line = PricedLine(price.type, price.amount, price.fee, tax)
            self._lines.setdefault((price.category, ""), line)
            self._lines[price.category, price.type] = line

    def line(self, category: str, price_type: str) -> PricedLine | None:
        """The price of one place; an empty type is the category's first. None where there is no such price."""
        return self._lines.get((category, price_type))

    def quote(self, wishes: Sequence[Wish]) -> Quote | UnknownPrice:
        """Prices every wish, or refuses at the first that has no price."""
        lines = []
        for position, wish in enumerate(wishes):
            line = self._lines.get((wish.category, wish.type or ""))
            if line is None:
                return UnknownPrice(position, wish.category, wish.type)
            lines.append(line)
        return Quote(tuple(lines), sum(line.amount + line.fee for line in lines), self.currency)


def contained_tax(gross: int, rate: int) -> int:
    """The tax in `gross` (minor units) at `rate` hundredths of a percent: gross x rate / (100 % + rate), half to even.

    Half to even, so that many lines do not drift one way.
    """
    tax, rest = divmod(gross * rate, 10_000 + rate)
    twice = 2 * rest - (10_000 + rate)
    return tax + 1 if twice > 0 or (twice == 0 and tax % 2 == 1) else tax


def parse_tax_rate(text: str) -> int:
    """`"19.00"`, `"19.0"` and `"19"` as 1900 hundredths of a percent. Raises `ValueError` for anything else."""
    if _TAX_RATE.fullmatch(text) is None:
        raise ValueError("a tax rate is a percentage below 100 with at most two decimals, such as 19.00")
    whole, _, decimals = text.partition(".")
    return int(whole) * 100 + int(decimals.ljust(2, "0"))


def normal_prices(prices: Iterable[Price]) -> tuple[Price, ...]:
    """The same prices with tax rates spelled the one way that is shown: two decimals, no leading zero."""
    return tuple(msgspec.structs.replace(price, tax_rate=_spell(parse_tax_rate(price.tax_rate))) for price in prices)


def _spell(rate: int) -> str:
    return f"{rate // 100}.{rate % 100:02}"


def check_prices(prices: Sequence[Price], categories: Iterable[str]) -> tuple[Violation, ...]:
    """Everything that is wrong with a price list for a layout with these categories: none missing, none unknown, none
    twice. Paths count from `prices[0]`.
    """
    expected = frozenset(categories)
    found: list[Violation] = []
    seen: set[tuple[str, str]] = set()
    for position, price in enumerate(prices):
        if price.category not in expected:
            found.append(Violation(f"prices[{position}].category", "is no category of the layout; " + _known(expected)))
        if (price.category, price.type) in seen:
            found.append(Violation(f"prices[{position}]", "repeats a category and type; each has one price"))
        seen.add((price.category, price.type))
    missing = expected - {price.category for price in prices}
    found += [Violation("prices", f"has no price for the category {name!r}") for name in sorted(missing)]
    return tuple(found[: limits.VIOLATIONS_MAX])


def _known(categories: frozenset[str]) -> str:
    shown = sorted(categories)[:20]
    more = len(categories) - len(shown)
    return "it has " + ", ".join(repr(name) for name in shown) + (f" and {more} more" if more else "")
