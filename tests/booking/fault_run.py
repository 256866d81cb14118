"""Fault runs: buyers on few seats, a process killed at a recovery point, everything healed, and the run judged.

    python fault_run.py --runs 200 --seed 1

Prints a line a run with the seed that repeats it; run `n` has the seed `seed + n`, so that an ended series goes on with
`--seed` of the next. Ends with 1 where any invariant was broken.
"""

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import get_args

for _room in ("", "inventory", "booking"):
    sys.path.append(str(Path(__file__).parents[1] / _room))

import aiohttp  # noqa: E402
import booking_house  # noqa: E402, F401
from fault_buyers import Buyer  # noqa: E402
from fault_stand import VICTIMS, FaultStand  # noqa: E402

from lml_live.devstack.servers import Mongo  # noqa: E402
from lml_live.devstack.stripe.faults import FaultKind, WebhookFaultKind  # noqa: E402
from lml_live.errors import Unavailable  # noqa: E402

BUYERS, SEATS = 4, 8
BUSY_SECONDS = 2.0
RUN_SECONDS_MAX = 15
OPERATIONS = ("create", "retrieve", "confirm", "capture", "cancel")


async def run_once(stand: FaultStand, seed: int) -> tuple[str, list[str]]:
    """One run; answers what was done to it, and what is wrong afterwards."""
    rng = random.Random(seed)
    event = await stand.new_event()
    seats = stand.seat_ids[:SEATS]
    steering = stand.double.steering
    victim = rng.choice(VICTIMS)
    operation = rng.choice(OPERATIONS)
    kind = rng.choice([one for one in get_args(FaultKind) if not one.startswith("kill")])
    if victim == "stripe":
        kind = rng.choice(["kill_before", "kill_after"])
        await steering.fault(operation, kind)  # type: ignore[arg-type]
    else:
        # A call that is on its way when the victim dies.
        await steering.fault(operation, "delay", count=3, delay_ms=300)  # type: ignore[arg-type]
        await steering.fault(rng.choice(OPERATIONS), kind, count=2)  # type: ignore[arg-type]
    webhooks = rng.choice(get_args(WebhookFaultKind))
    await steering.webhook_fault(webhooks, count=rng.randint(1, 4), delay_ms=500)
    async with aiohttp.ClientSession() as http:
        buyers = [Buyer(f"buyer{n}", stand, event, http, f"{seed}-{n}") for n in range(BUYERS)]
        crowd = [asyncio.create_task(buyer.run(BUSY_SECONDS, seats)) for buyer in buyers]
        try:
            await asyncio.sleep(0.2 + rng.random() * (BUSY_SECONDS - 0.4))
            if victim != "stripe":
                await stand.kill(victim, rng)
            if rng.random() < 0.4:
                # Single faults find single bugs: a second one before the first is healed.
                await asyncio.sleep(rng.random() * 0.3)
                second = rng.choice([one for one in VICTIMS if one != "wipe" or victim != "valkey"])
                await stand.kill(second, rng)
                victim = f"{victim}, then {second}"
            await asyncio.sleep(rng.random())
            if victim.startswith("stripe") and stand.double.pid is None:
                stand.killed["stripe"] += 1
            await stand.heal()
            await asyncio.gather(*crowd)
        finally:
            for task in crowd:
                task.cancel()
        await stand.heal()
        left = await stand.rest(event)
        for buyer in buyers:
            await buyer.look_back()
    ops = [op for buyer in buyers for op in buyer.ops]
    run, violations = await stand.judge(event, ops)
    ended: dict[str, int] = {}
    for booking in run.bookings:
        ended[booking.state] = ended.get(booking.state, 0) + 1
    story = f"{victim} killed, {operation} {kind}, webhooks {webhooks}: {len(ops)} acts, {ended}"
    wrong = [f"{one.rule}: {one.text}" for one in violations]
    return story, wrong + ([f"never at rest: {left}"] if left else [])


async def main(base: Path, runs: int, seed: int) -> int:
    os.environ["LML_TEST_RUN"] = str(base)
    mongo = Mongo(base / "mongo")
    stand = FaultStand(base, "")
    broken = 0
    try:
        await mongo.start()
        stand.mongo_url = mongo.url
        await stand.start()
        for number in range(seed, seed + runs):
            began = time.monotonic()
            try:
                async with asyncio.timeout(RUN_SECONDS_MAX):
                    story, wrong = await run_once(stand, number)
            except TimeoutError:
                story, wrong = "ended", [f"it took longer than {RUN_SECONDS_MAX} s"]
                await stand.heal()
            except Unavailable as error:
                story, wrong = "ended", [f"it could not be judged: {error}"]
            broken += bool(wrong)
            print(
                f"seed {number}: {'RED' if wrong else 'clean'} in {time.monotonic() - began:.1f} s; {story}", flush=True
            )
            for line in wrong:
                print(f"    {line}", flush=True)
    finally:
        await stand.stop()
        await mongo.kill()
    print(f"{runs} runs from seed {seed}: {broken} red; killed {stand.killed}; go on with --seed {seed + runs}")
    return 1 if broken else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="lml-faults-"))
    directory.chmod(0o711)  # PostgreSQL's own user must get in
    try:
        sys.exit(asyncio.run(main(directory, given.runs, given.seed)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
