"""Seat numbers written as runs: `1-8,19-36`, or as a plain count: `27`."""

import re
from typing import Final

from lml_live import limits

_PART: Final = re.compile(r"(\d{1,6})\s*(?:[-–]\s*(\d{1,6}))?")


class RunsError(ValueError):
    """The text is no list of runs; the message says what was found and what is expected."""


def expand_runs(text: str, count: int | None = None) -> list[str]:
    """The seat numbers of a row, in the order written; `8-1` runs downwards.

    A lone number can mean one seat or that many. `count`, the number of seats that the file itself gives for the row,
    decides: `27` with count 27 is 1 to 27, `27` with count 1 is seat 27. Without a count a lone number is refused.
    Wherever `count` is given the seats must come to it.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 and parts[0].isdecimal():
        numbers = _lone(parts[0], count)
    else:
        numbers = [number for part in parts for number in _run(part)]
    if count is not None and len(numbers) != count:
        raise RunsError(f"is '{text[:40]}', {len(numbers)} seats; the file's own count is {count}")
    return numbers


def _lone(text: str, count: int | None) -> list[str]:
    if count is None:
        raise RunsError(f"is '{text[:40]}': one seat, or that many? The mapping must name `count`, or write a run")
    if count == 1:
        return [text]
    if len(text) > 6 or not 1 <= int(text) <= limits.LAYOUT_SEATS_MAX:
        raise RunsError(f"is '{text[:40]}'; 1 to {limits.LAYOUT_SEATS_MAX} seats are expected")
    return [str(number) for number in range(1, int(text) + 1)]


def _run(part: str) -> list[str]:
    match = _PART.fullmatch(part)
    if match is None:
        raise RunsError(f"is '{part[:40]}'; runs such as 1-8,19-36 are expected")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if abs(last - first) >= limits.LAYOUT_SEATS_MAX:
        raise RunsError(f"is '{part[:40]}'; at most {limits.LAYOUT_SEATS_MAX} seats are expected")
    step = 1 if last >= first else -1
    return [str(number) for number in range(first, last + step, step)]
