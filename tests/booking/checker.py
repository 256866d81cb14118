"""Judges a run of bookings at rest, from what PostgreSQL, Stripe's ledger, Redis and the clients remember. Pure.

Each rule is an invariant of reliability.md, section 2, and answers what breaks it. `check` asks all of them.
"""

import checker_money
import checker_payouts
import checker_promises
import checker_seats
from checker_rows import Run, Violation

RULES = checker_seats.RULES | checker_money.RULES | checker_payouts.RULES | checker_promises.RULES


def check(run: Run) -> list[Violation]:
    """All that is wrong with a run."""
    return [Violation(rule, text) for rule, broken in RULES.items() for text in broken(run)]
