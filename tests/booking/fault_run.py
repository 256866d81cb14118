"""Fault runs: buyers on few seats, a process killed at a recovery point, everything healed, and the run judged.

    python fault_run.py --runs 200 --seed 1 --jobs 2

Prints a line a run with the seed that repeats it; run `n` has the seed `seed + n`, so that an ended series goes on with
`--seed` of the next. Each job is a process with engines, a server and a double of its own. Ends with 1 where any
invariant was broken; of such a run the rules that it broke are printed, and where its history is kept (`--keep`).
"""

import argparse
import asyncio
import itertools
import logging
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

for _room in ("", "inventory", "booking"):
    sys.path.append(str(Path(__file__).parents[1] / _room))

import aiohttp  # noqa: E402
import booking_house  # noqa: E402, F401
from booking_fixtures import empty  # noqa: E402
from every_point import CALLS_MAX, ENDINGS, ENGINE_LOSSES, Loss, own_stand, walk  # noqa: E402
from fault_buyers import Buyer  # noqa: E402
from fault_clerks import HOUSE_SEATS, TENDERS, Clerk, sells_at_counter  # noqa: E402
from fault_history import DIRECTORY, keep_history, read_history, told  # noqa: E402
from fault_stand import VICTIMS, FaultStand  # noqa: E402
from interleaving import live_through  # noqa: E402

from lml_live.devstack.servers import Mongo  # noqa: E402
from lml_live.devstack.stripe.faults import FaultKind, Operation, WebhookFaultKind  # noqa: E402
from lml_live.devstack.stripe.process import StripeDouble  # noqa: E402

BUYERS, SEATS = 4, 8
BUSY_SECONDS = 2.0
RUN_SECONDS_MAX = 180
"""Clean runs take five to ten where nothing else runs."""
OPERATIONS: tuple[Operation, ...] = ("create", "retrieve", "confirm", "capture", "cancel", "refund")
PAYING_OPERATIONS: tuple[Operation, ...] = ("transfer", "reversal", "dispute_list", "dispute_update")
DECLINED: tuple[Operation, ...] = ("confirm", "capture")
KILLS: tuple[FaultKind, ...] = ("kill_before", "kill_after")
KINDS: tuple[FaultKind, ...] = tuple(kind for kind in get_args(FaultKind) if kind not in KILLS)
WEBHOOKS: tuple[WebhookFaultKind, ...] = get_args(WebhookFaultKind)
LONG = 4 * len(VICTIMS) * len(KINDS)
"""A series of so many runs must have met every victim and every kind of fault: some need a call at the right moment."""


async def run_once(stand: FaultStand, seed: int) -> tuple[str, list[str]]:
    """One run; answers what was done to it, and what is wrong afterwards."""
    rng = random.Random(seed)
    before, killed = stand.fired.copy(), dict(stand.killed)
    # Every second event is an organisation's, which is paid out meanwhile: transfers and reversals meet faults, too.
    paying = rng.random() < 0.5
    event = await stand.new_event(paying=paying)
    seats = stand.seat_ids[:SEATS]
    steering = stand.double.steering
    # In turn, so that no victim and no kind is left out by chance.
    victim, round_number = VICTIMS[seed % len(VICTIMS)], seed // len(VICTIMS)
    kind = KINDS[round_number % len(KINDS)]
    operations = (*OPERATIONS, *PAYING_OPERATIONS) if paying else OPERATIONS
    operation = rng.choice(DECLINED if kind == "decline" else operations)
    if victim == "stripe":
        kind = KILLS[round_number % len(KILLS)]
        await steering.fault(operation, kind)
    else:
        # A call that is on its way when the victim dies.
        await steering.fault(rng.choice(operations), "delay", count=3, delay_ms=300)
        await steering.fault(operation, kind, count=2)
    webhooks = WEBHOOKS[round_number % len(WEBHOOKS)]
    await steering.webhook_fault(webhooks, count=rng.randint(1, 4), delay_ms=500)
    async with aiohttp.ClientSession() as http:
        buyers = [Buyer(f"buyer{n}", stand, event, http, f"{seed}-{n}") for n in range(BUYERS)]
        clerks = [Clerk("clerk", stand, event, http, f"{seed}-counter")] if sells_at_counter(seed) else []
        for clerk in clerks:
            await clerk.open(stand.seat_ids[SEATS : SEATS + HOUSE_SEATS])
        crowd = [asyncio.create_task(buyer.run(BUSY_SECONDS, seats)) for buyer in buyers]
        at_counter = stand.seat_ids[: SEATS + HOUSE_SEATS]
        crowd += [asyncio.create_task(clerk.run(BUSY_SECONDS, at_counter)) for clerk in clerks]
        buyers += clerks
        stand.buyers = [*buyers]
        payer = asyncio.create_task(_pay_out(stand, event)) if paying else None
        try:
            await asyncio.sleep(0.2 + rng.random() * (BUSY_SECONDS - 0.4))
            await stand.kill_unless_dead(victim, rng)
            if rng.random() < 0.4:
                # Single faults find single bugs: a second one before the first is healed.
                await asyncio.sleep(rng.random() * 0.3)
                second = rng.choice([one for one in VICTIMS if one != "wipe" or victim != "valkey"])
                await stand.kill_unless_dead(second, rng)
                victim = f"{victim}, then {second}"
            await asyncio.sleep(rng.random())
            await stand.heal()
            await asyncio.gather(*crowd)
        finally:
            for task in [*crowd, *([payer] if payer else [])]:
                task.cancel()
        await stand.heal()
        await asyncio.gather(*(buyer.ask_again() for buyer in buyers))
        left = await stand.rest(event)
        if paying:
            await stand.begin(event)
            while not left and await stand.pay_out():
                left = await stand.rest(event)
        differences = [] if left else await stand.match(event)
        # What a dispute kept waiting is due by now.
        while paying and not left and await stand.pay_out():
            left = await stand.rest(event)
        unpaid = await stand.unpaid(event) if paying and not left else []
        for buyer in buyers:
            await buyer.look_back()
    ops = stand.ops()
    run, violations = await stand.judge(event, ops)
    ended: dict[str, int] = {}
    for booking in run.bookings:
        ended[booking.state] = ended.get(booking.state, 0) + 1
    dead = [one for one in VICTIMS if stand.killed[one] > killed[one]]
    points = [f"{point} {n}" for point, n in sorted((stand.fired - before).items())]
    mix = f"{'; paying out' if paying else ''}{'; counter' if clerks else ''}"
    story = f"{victim}{mix}; killed {dead}; fired {points}; {len(ops)} acts, {ended}"
    wrong = [f"{one.rule}: {one.text}" for one in violations] + [f"money differs: {text}" for text in differences]
    wrong += [f"I16: {text}" for text in unpaid]
    return story, wrong + ([f"never at rest: {left}"] if left else [])


async def _pay_out(stand: FaultStand, event: str) -> None:
    """The event begins while its tickets are still sold; what is due is decided again and again."""
    await asyncio.sleep(BUSY_SECONDS / 3)
    await stand.begin(event)
    while True:
        await stand.pay_out()
        await asyncio.sleep(0.2)


class Series:
    """Runs one after the other, on a stand that is built anew where it cannot be healed."""

    def __init__(self, base: Path, mongo_url: str, keep: Path) -> None:
        self._base, self._mongo_url, self._keep = base, mongo_url, keep
        self._stands = 0
        self.killed: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()

    async def start(self) -> None:
        self._stands += 1
        directory = self._base / f"stand-{self._stands}"
        directory.mkdir(mode=0o711)
        self.stand = FaultStand(directory, self._mongo_url)
        await self.stand.start()

    async def stop(self) -> None:
        self.killed.update(self.stand.killed)
        self.fired.update(self.stand.fired)
        await self.stand.stop()

    async def run(self, seed: int) -> tuple[str, list[str]]:
        """One run. Whatever ends it is a red verdict and not the end of the series; a red one's history is kept."""
        story = "ended early"
        try:
            async with asyncio.timeout(RUN_SECONDS_MAX):
                story, wrong = await run_once(self.stand, seed)
        except TimeoutError as error:
            wrong = [f"it took longer than {RUN_SECONDS_MAX} s, and stood at {told(error)}"]
        except Exception as error:  # noqa: BLE001 - a run that cannot be judged is red, whatever the reason
            wrong = [f"it could not be judged: {told(error)}"]
        if not wrong:
            return story, []
        try:
            async with asyncio.timeout(RUN_SECONDS_MAX):
                history = await read_history(self.stand, seed, story, wrong)
                wrong.append(f"its history: {keep_history(self._keep, seed, history)}")
        except Exception as error:  # noqa: BLE001 - the verdict stands without it
            wrong.append(f"its history could not be kept: {error!r}")
        try:
            async with asyncio.timeout(RUN_SECONDS_MAX):
                await self.stand.heal()
        except Exception as error:  # noqa: BLE001 - then another stand must do
            wrong.append(f"it could not be healed: {error!r}")
            await self.stop()
            await self.start()
        return story, wrong


@dataclass
class Tally:
    """What a series of runs has met, and how many of them were red."""

    red: list[str] = field(default_factory=list)
    """What was: seeds, or what was amiss besides."""
    killed: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        self.red += other.red
        self.killed.update(other.killed)
        self.fired.update(other.fired)

    def never_met(self) -> list[str]:
        """The victims and kinds of faults that no run has met."""
        met = {point.partition(" ")[2] for point, n in self.fired.items() if n}
        return [victim for victim in VICTIMS if not self.killed[victim]] + [
            kind for kind in (*get_args(FaultKind), *WEBHOOKS, "authenticates", *TENDERS[1:]) if kind not in met
        ]


async def run_series(base: Path, mongo_url: str, seeds: range, keep: Path) -> Tally:
    """The runs of these seeds, one after the other; prints a line a run."""
    series, tally = Series(base, mongo_url, keep), Tally()
    try:
        await series.start()
        for seed in seeds:
            began = time.monotonic()
            story, wrong = await series.run(seed)
            tally.red += [str(seed)] if wrong else []
            lines = [f"seed {seed}: {'RED' if wrong else 'clean'} in {time.monotonic() - began:.1f} s; {story}"]
            # One write, so that two jobs' lines do not mix.
            print("\n    ".join([*lines, *wrong]) + "\n", end="", flush=True)
    finally:
        await series.stop()
    tally.killed, tally.fired = series.killed, series.fired
    return tally


def job(base: Path, mongo_url: str, seeds: range, keep: Path) -> Tally:
    """A series in a process of its own."""
    quiet(base)
    base.mkdir(mode=0o711)
    return asyncio.run(run_series(base, mongo_url, seeds, keep))


def points_job(base: Path, losses: Sequence[Loss]) -> list[str]:
    """Every point, in a process of its own beside the series: it mostly waits for engines that start."""
    quiet(base)
    base.mkdir(mode=0o711)
    return asyncio.run(walk_every_point(base, losses))


def interleaving_job(base: Path, seeds: range) -> list[str]:
    """What is interleaved, in a process of its own."""
    quiet(base)
    base.mkdir(mode=0o711)
    return asyncio.run(interleave(base, seeds))


def quiet(base: Path) -> None:
    os.environ["LML_TEST_RUN"] = str(base)
    # What engines and libraries say of a killed peer is no news here.
    logging.disable(logging.ERROR)


async def walk_every_point(directory: Path, losses: Sequence[Loss]) -> list[str]:
    """Workers, PostgreSQL or Valkey die after every call of a purchase, a cancelling, a refund and a payout.

    Answers what is wrong.
    """
    wrong, double = [], StripeDouble(directory / "stripe")
    try:
        await double.start()
        left = list(itertools.product(losses, ENDINGS))
        while left:
            # A walk that went wrong may leave its engines dead: those after it have their own.
            place = directory / f"stand-{len(left)}"
            place.mkdir(mode=0o711)
            async with own_stand(place, double) as stand:
                while left:
                    loss, ending = left.pop(0)
                    try:
                        met = await walk(stand, ending, loss, range(1, CALLS_MAX))
                        print(
                            f"{loss} killed on the way to {ending}: {len(met)} points, {sorted(set(met))}", flush=True
                        )
                    except Exception as error:  # noqa: BLE001 - red, whatever the reason; the others have their turn
                        wrong.append(f"{loss} killed on the way to {ending}: {error!r}")
                        print(f"RED: {wrong[-1]}", flush=True)
                        break
    finally:
        await double.kill()
    return wrong


async def interleave(directory: Path, seeds: range) -> list[str]:
    """Buyers and workers whose calls come in the order of each seed; answers what is wrong."""
    wrong, double, calls, deaths = [], StripeDouble(directory / "stripe"), 0, 0
    try:
        await double.start()
        async with own_stand(directory, double) as stand:
            for seed in seeds:
                try:
                    schedule = await live_through(stand.house, seed)
                except Exception as error:  # noqa: BLE001 - red, whatever the reason; the others have their turn
                    wrong.append(f"interleaved by seed {seed}: {told(error)}")
                    print(f"RED: {wrong[-1]}", flush=True)
                else:
                    calls, deaths = calls + len(schedule.told), deaths + schedule.deaths
                await empty(stand.house.pool)
    finally:
        await double.kill()
    print(f"{len(seeds)} seeds interleaved: {calls} steps, {deaths} deaths of workers, {len(wrong)} red", flush=True)
    return wrong


async def main(base: Path, runs: int, seed: int, jobs: int, *, points: bool, keep: Path) -> int:
    quiet(base)
    tally = Tally()
    mongo = Mongo(base / "mongo")
    await mongo.start()
    loop = asyncio.get_running_loop()
    try:
        losses: tuple[Loss, ...] = ("worker", *ENGINE_LOSSES)
        beside: list[Callable[[], list[str]]] = []
        if points:
            # Walks are one after the other: in two processes they are done when the series are.
            beside = [partial(points_job, base / f"points-{n}", losses[n::2]) for n in range(2)]
            beside.append(partial(interleaving_job, base / "interleavings", range(seed, seed + runs)))
        with ProcessPoolExecutor(jobs + len(beside), mp_context=multiprocessing.get_context("spawn")) as pool:
            more = [loop.run_in_executor(pool, one) for one in beside]
            shares = [range(seed + n, seed + runs, jobs) for n in range(jobs)]
            for done in await asyncio.gather(
                *(
                    loop.run_in_executor(pool, job, base / f"job-{n}", mongo.url, share, keep)
                    for n, share in enumerate(shares)
                )
            ):
                tally.add(done)
            for wrong in await asyncio.gather(*more):
                tally.red += wrong
    finally:
        await mongo.kill()
    print(f"killed {dict(tally.killed)}; fired {dict(sorted(tally.fired.items()))}")
    if missing := tally.never_met():
        if runs >= LONG:
            tally.red.append("what was never met")
        print(f"{'RED' if runs >= LONG else 'a short series'}: never met {missing}")
    print(f"{runs} runs from seed {seed}: {len(tally.red)} red; go on with --seed {seed + runs}")
    print("\n".join(f"RED: {one}" for one in tally.red), end="\n" if tally.red else "")
    return 1 if tally.red else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="series at once; a core each keeps the runs' pace")
    parser.add_argument("--points", action="store_true", help="and kill the engines at every point of a purchase")
    parser.add_argument("--keep", type=Path, default=DIRECTORY, help="where the histories of red runs are kept")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="lml-faults-"))
    directory.chmod(0o711)  # PostgreSQL's own user must get in
    try:
        sys.exit(asyncio.run(main(directory, given.runs, given.seed, given.jobs, points=given.points, keep=given.keep)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
