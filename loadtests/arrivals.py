"""How people arrive when a sale opens, from published figures. Pure.

The figures are those of six rounds of ShmooCon's ticket sale, transcribed from its own reports (www.shmoocon.org,
"ticket sales stats": 2015-12-12, 2016-12-01, 2017-12-01, 2018-11-01, 2019-11-01, 2021-12-01). They say two things:

- Most people are there before the sale opens. Requests a second just before opening were 1,900 and 1,360, and after
  it 3,456 and 1,617: between half and five sixths of the crowd stood at the door.
- The rest comes in seconds. All tickets were held after 2.4 to 10.2 s, and the waiting list was full within a second
  of that; those who came later found nothing.
"""

from math import exp, log
from statistics import mean, median
from typing import Final

ALL_HELD_SECONDS: Final = (7.58, 2.39, 3.26, 6.46, 5.08, 10.15)
"""From opening until every ticket was in somebody's basket (rounds of 2016, 2017, 2018, 2019, 2020, 2022)."""
REQUESTS_BEFORE_AND_AFTER: Final = ((1900, 3456), (1360, 1617))
"""Requests a second before and after the opening, where both were published (2020, 2022)."""

WAITING_SHARE: Final = mean(before / after for before, after in REQUESTS_BEFORE_AND_AFTER)
"""The part of the crowd that is there when the sale opens: 0.70."""
RUSH_SECONDS: Final = median(ALL_HELD_SECONDS)
"""By then nine tenths of the others have arrived: 5.8 s."""
RUSH_SHARE: Final = 0.9
RUSH_PART_MAX: Final = 1 / 3
"""A short run's rush takes a third of it at most, so that there is something to see after it."""


def arrived(seconds: float, users: int, run_seconds: float) -> int:
    """How many of `users` have arrived so many seconds after the opening, in a run of `run_seconds`.

    It never falls, begins with the waiting crowd, decays exponentially, and is all of them in the last third.
    """
    rush = min(RUSH_SECONDS, run_seconds * RUSH_PART_MAX)
    late = exp(log(1 - RUSH_SHARE) * max(seconds, 0.0) / rush)
    if seconds >= run_seconds * 2 / 3:
        late = 0.0
    return round(users * (1 - (1 - WAITING_SHARE) * late))
