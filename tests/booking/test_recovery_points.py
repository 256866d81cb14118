"""A short slice of the fault runs: a process killed at a recovery point, everything healed, and the run judged.

`make faults RUNS=200 SEED=1` runs as many as one likes.
"""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import fault_run
import msgspec
import pytest
from booking_fixtures import scripts_keep_their_word  # noqa: F401
from checker_rows import Op
from fault_history import read_history
from fault_run import LONG, Series, Tally, run_once
from fault_stand import VICTIMS, FaultStand
from waiting import eventually

from lml_live.errors import Unavailable

# PostgreSQL, then both workers, at an event of a paying organisation. (Each engine, and a worker, at chosen points:
# test_every_point.)
SEED = 1286


@pytest.mark.timeout(110)
async def test_nothing_is_sold_twice_or_lost_whatever_is_killed(run_directory: Path, mongo_url: str) -> None:
    stand = FaultStand(run_directory, mongo_url)
    try:
        await stand.start()
        story, wrong = await run_once(stand, SEED)
        assert wrong == [], story
        assert stand.killed["postgres"], stand.killed
        assert stand.killed["both workers"], stand.killed
        # Of one that is red somebody will want to know what had happened.
        kept = msgspec.json.decode(await read_history(stand, SEED, story, []))
        bookings = {row["id"] for row in kept["rows"]["booking"]}
        assert (
            bookings == {row["id"] for row in kept["run"]["bookings"]} >= {op["booking"] for op in kept["ops"]} - {""}
        )
        assert {row["booking_id"] for row in kept["rows"]["booking_history"]} == bookings
        assert kept["stripe"]["intents"]
        assert kept["output"]
        assert [what for _, what in kept["done"]].count("kill postgres") == 1
    finally:
        await stand.stop()


async def test_a_double_that_dies_of_a_fault_which_outlived_it_is_healed(tmp_path: Path) -> None:
    """One that a fault was still to kill died again between its start and the end of faults: the run was red."""
    stand = FaultStand(tmp_path, "")
    did, dies = [], [True, False]

    async def start() -> None:
        did.append("start")

    async def clear_faults() -> None:
        if dies.pop(0):
            raise Unavailable("The Stripe double does not answer.")
        did.append("clear")

    async def release() -> None:
        did.append("release")

    stand.double = SimpleNamespace(  # type: ignore[assignment]
        start=start, steering=SimpleNamespace(clear_faults=clear_faults, release=release)
    )
    await eventually(stand.heal_double)
    assert did == ["start", "start", "clear", "release"]


class BrokenStand:
    """A stand whose runs and healings end as they are told to."""

    made = 0

    def __init__(self, directory: Path, _: str) -> None:
        BrokenStand.made += 1
        self.killed = dict.fromkeys(VICTIMS, 1)
        self.fired: Counter[str] = Counter()
        self.heals = directory.name == "stand-1"
        self.event, self.done, self.said_before = "", [(1, "kill postgres")], 1
        self.server = SimpleNamespace(output=["of an earlier run", "of this one"])

    def ops(self) -> list[Op]:
        return []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def heal(self) -> None:
        if not self.heals:
            raise AssertionError("did not happen within 12 s")


async def test_whatever_ends_a_run_is_red_and_the_series_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endings: list[Exception] = [AssertionError("eventually"), OSError("refused"), aiohttp.ClientError("gone")]

    async def run_once(stand: BrokenStand, seed: int) -> tuple[str, list[str]]:
        if seed:
            raise endings.pop()
        return "fine", []

    monkeypatch.setattr(fault_run, "FaultStand", BrokenStand)
    monkeypatch.setattr(fault_run, "run_once", run_once)
    series = Series(tmp_path, "", tmp_path / "kept")
    await series.start()
    verdicts = []
    for seed in (1, 0, 2, 3, 0):
        verdicts.append((await series.run(seed))[1])
        series.stand.heals = seed == 1
    await series.stop()
    assert [bool(wrong) for wrong in verdicts] == [True, False, True, True, False]
    assert "ClientError" in verdicts[0][0]
    assert verdicts[0][1] == f"its history: {tmp_path / 'kept' / 'seed-1.json'}"
    kept = msgspec.json.decode((tmp_path / "kept" / "seed-1.json").read_bytes())
    assert (kept["wrong"], kept["output"]) == (verdicts[0][:1], ["of this one"])
    assert "could not be read" in kept["rows"], "what is dead tells nothing, and the rest is kept"
    assert BrokenStand.made == 3, "a stand that cannot be healed is replaced"
    missing = {*Tally(killed=series.killed, fired=series.fired).never_met()}
    assert missing >= {"kill_before", "reorder", "decline"}
    assert not {*VICTIMS} & missing
    assert LONG <= 200
