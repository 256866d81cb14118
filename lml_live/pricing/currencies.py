"""Currencies: which there are, how many decimals each has, and in which steps cards are charged. Pure.

Amounts are whole minor units of ISO 4217 everywhere: in price lists, bookings, on the wire, in pages. One yen is 1, one
euro is 100, one dinar of Kuwait is 1000. Only what is sent to Stripe differs for three of them (`booking.payments`).
"""

from collections.abc import Sequence
from typing import Final

from lml_live import limits
from lml_live.errors import Violation
from lml_live.pricing.quote import Price

CURRENCIES: Final = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
    ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK
    MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU
    UZS VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905  # as a list it would be 160 lines
)
"""Currencies of ISO 4217 that money changes hands in; funds, metals and test codes are left out."""

_NO_DECIMALS: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE_DECIMALS: Final = "BHD IQD JOD KWD LYD OMR TND"
DECIMALS: Final = {
    currency: 0 if currency in _NO_DECIMALS.split() else 3 if currency in _THREE_DECIMALS.split() else 2
    for currency in CURRENCIES
}
"""Minor units of ISO 4217. `gateway/web/words.js` has the same table, for browsers go by custom instead and would show
1,250 minor units of RSD as 1,250 dinars; a test compares the two."""


def charge_step(currency: str) -> int:
    """What every amount must be a multiple of, in minor units, so that a card can be charged.

    The last of three decimals must be 0 (docs.stripe.com/currencies, three-decimal currencies). An ariary has two
    decimals in ISO 4217, and none at Stripe.
    """
    return 100 if currency == "MGA" else 10 if DECIMALS.get(currency) == 3 else 1


def check_steps(prices: Sequence[Price], currency: str) -> tuple[Violation, ...]:
    """Amounts that no card could be charged: found here, they do not surprise the first buyer."""
    step = charge_step(currency)
    found = [
        Violation(f"prices[{position}].{name}", f"is no multiple of {step}: cards are charged {currency} in such steps")
        for position, price in enumerate(prices)
        for name, amount in (("amount", price.amount), ("fee", price.fee))
        if amount % step
    ]
    return tuple(found[: limits.VIOLATIONS_MAX])
