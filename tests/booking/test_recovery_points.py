"""A short slice of the fault runs: a process killed at a recovery point, everything healed, and the run judged.

`make faults RUNS=200 SEED=1` runs as many as one likes.
"""

from pathlib import Path

import pytest
from booking_fixtures import scripts_keep_their_word  # noqa: F401
from fault_run import run_once
from fault_stand import FaultStand

# A worker; PostgreSQL; Redis forgets everything; Stripe's double, then Valkey.
SEEDS = (2, 7, 19, 29)


@pytest.mark.timeout(110)
async def test_nothing_is_sold_twice_or_lost_whatever_is_killed(run_directory: Path, mongo_url: str) -> None:
    stand = FaultStand(run_directory, mongo_url)
    try:
        await stand.start()
        for seed in SEEDS:
            story, wrong = await run_once(stand, seed)
            assert wrong == [], f"seed {seed}: {story}"
        assert {victim for victim, times in stand.killed.items() if times} >= {"worker", "postgres", "valkey", "wipe"}
    finally:
        await stand.stop()
