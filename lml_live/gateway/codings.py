"""Which coding of a body a client would have (RFC 9110, section 12.5.3)."""

import re
from collections.abc import Iterable
from typing import Final

_CODING: Final = re.compile(
    r"(?P<name>[!#$%&'*+.^_`|~0-9a-z-]+)(?:[ \t]*;[ \t]*q=(?P<weight>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)


def prefers_gzip(lines: Iterable[str]) -> bool:
    """Whether gzip is allowed by these lines of `Accept-Encoding`, and liked as well as bytes that are not coded.

    A coding that cannot be read is not asked for, and of one that is named twice the last word counts. Who says nothing
    gets plain bytes, and so does who allows neither: they are read by everybody.
    """
    weights = {}
    for coding in ",".join(lines).lower().split(","):
        found = _CODING.fullmatch(coding.strip(" \t"))
        if found is not None:
            weights[found["name"]] = float(found["weight"] or 1)
    anything = weights.get("*", 0.0)
    gzip = weights.get("gzip", weights.get("x-gzip", anything))
    return gzip > 0 and gzip >= weights.get("identity", anything)
