"""Ids, money and times: the values every room of the house speaks in."""

import re
import secrets
from typing import Final

ID_PATTERN: Final = r"^[A-Za-z0-9-]{1,64}$(?!\n)"
"""Every public id (contract, section 1). Checked before an id becomes part of any key, so `{}` or `:` never do.

Patterns are searched by msgspec, and `$` alone would let a trailing newline in."""

SEAT_ID_PATTERN: Final = r"^[0-9a-f]{64}$(?!\n)"
"""A seat id is a lower-case hex SHA-256."""

CURRENCY_PATTERN: Final = r"^[A-Z]{3}$(?!\n)"
"""ISO 4217, upper case."""

TEXT_PATTERN: Final = r"^[^\x00-\x1f\x7f]+$(?!\n)"
"""A name or reason: no control characters (PostgreSQL refuses NUL, terminals obey the others)."""

WIRE_INTEGER_MAX: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (contract, section 3)."""

TIME_MS_MAX: Final = 253_402_300_799_000
"""The last second of the year 9999, beyond which no `datetime` goes."""

MOMENT_MS_MIN: Final = 946_684_800_000
MOMENT_MS_MAX: Final = 7_258_118_399_999
"""From 2000 to the last millisecond of 2199: what may be asked for by time."""

AMOUNT_MINOR_MAX: Final = 10**12
"""The largest single amount, in minor units: ten thousand million euros. Sums of 50 lines stay exact in JSON."""

_ID = re.compile(ID_PATTERN)
_SEAT_ID = re.compile(SEAT_ID_PATTERN)

STAFF_TOKEN_PREFIX: Final = "staff-"  # noqa: S105  # no secret: what comes after it is
"""Tells the tokens of staff from those of holders, so that a holder's is never looked up among them."""
PARTNER_KEY_PREFIX: Final = "partner-"
"""The same of the API keys of partners."""

AVAILABLE: Final = 0
HELD: Final = 1
SOLD: Final = 2
BLOCKED: Final = 3
STATE_NAMES: Final = ("available", "held", "sold", "blocked")
"""The four states of a seat on the wire; the position in this tuple is the number on the wire."""


STRIPE_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$(?!\n)"
"""Stripe's ids have an underscore."""


def is_stripe_id(text: str) -> bool:
    """Whether a text may be an id of Stripe's."""
    return re.match(STRIPE_ID_PATTERN, text) is not None


def is_id(text: str) -> bool:
    """Whether `text` may be a public id. (`fullmatch`: `$` alone would let a trailing newline in.)"""
    return _ID.fullmatch(text) is not None


def is_seat_id(text: str) -> bool:
    """Whether `text` has the form of a seat id."""
    return _SEAT_ID.fullmatch(text) is not None


def new_id(prefix: str) -> str:
    """A fresh random public id, `prefix-` and 20 hex digits (80 random bits)."""
    return f"{prefix}-{secrets.token_hex(10)}"
