"""`make fuzz`: every documented call by chance, for as long as it says (see calls.py)."""

import time
from collections import Counter

import pytest
from calls import RIGHT, Calls, House
from schemathesis import GenerationMode
from serving import LiveServer

from lml_live.devstack.stripe.process import StripeDouble

MANY = {GenerationMode.POSITIVE: 8, GenerationMode.NEGATIVE: 8}


@pytest.mark.timeout(0)
def test_calls_by_chance(
    shop: LiveServer, stripe_shared: StripeDouble, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """A seed repeats its calls; all of them are made before the time is looked at."""
    deadline, wrong = time.monotonic() + pytestconfig.getoption("--fuzz-seconds"), []
    seed = pytestconfig.getoption("--fuzz-seed")
    while time.monotonic() < deadline:
        calls = Calls(House(shop, stripe_shared))
        calls.house.furnish()
        for name in (name for tag in RIGHT for name in calls.names(tag)):
            calls.make(name, MANY, seed)
            calls.cover(name)
        wrong += [f"seed {seed}: {one}" for one in calls.wrong]
        statuses: Counter[int] = Counter()
        for (_, status), count in calls.answers.items():
            statuses[status] += count
        with capsys.disabled():
            told = ", ".join(f"{status} x {count}" for status, count in sorted(statuses.items()))
            print(*calls.wrong, sep="\n\n", flush=True)
            print(f"seed {seed}: {statuses.total()} calls, {len(calls.wrong)} wrong; {told}", flush=True)
        seed += 1
    assert wrong == [], "\n\n".join(wrong)
