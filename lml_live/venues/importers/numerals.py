"""Numbers as files write them. Python's own `float` also takes `1_000`, `infinity` and the digits of all scripts."""

import re
from typing import Final

# Possessive (`++`, `*+`): a million digits or spaces before what does not fit are not parted in each possible way.
NUMERAL: Final = r"[-+]?(?:[0-9]++\.?+[0-9]*+|\.[0-9]++)(?:[eE][-+]?[0-9]++)?"
"""A number of SVG (SVG 2, section 4.2), and of CSV. A pattern, to be part of others."""
_ALONE: Final = re.compile(rf"\s*+({NUMERAL})\s*+")
_EACH: Final = re.compile(NUMERAL)
_LIST: Final = re.compile(rf"\s*+(?:{NUMERAL}(?:\s*+,?+\s*+{NUMERAL})*+)?+\s*+")


def read_numeral(text: str) -> float:
    """The number that a text is, blanks around it apart; infinity where it is too large. Raises `ValueError`."""
    found = _ALONE.fullmatch(text)
    if found is None:
        raise ValueError("is no number")
    return float(found[1])


def read_numerals(text: str) -> list[float] | None:
    """The numbers of a list, with blanks or a comma between them; None where there is anything else in it."""
    return [float(each) for each in _EACH.findall(text)] if _LIST.fullmatch(text) else None
