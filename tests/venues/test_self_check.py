"""The self-checks against a real MongoDB: they pass on a sound one, see what is not, and leave nothing behind."""

from typing import Any

import pytest

from lml_live.infra.mongo import Prefixed
from lml_live.venues import assembly, self_check
from lml_live.venues.library import Library
from lml_live.venues.self_check import Verdict, check_immutability, check_rules, sample_layout
from lml_live.venues.stored import PLANS, SCRATCH, SECTIONS, VERSIONS

ALL = [prefix + name for prefix in ("", SCRATCH) for name in (VERSIONS, PLANS, SECTIONS)]


def broken(verdict: Verdict) -> set[str]:
    assert verdict.passed is not any(not outcome.passed for outcome in verdict.rules)
    return {outcome.rule for outcome in verdict.rules if not outcome.passed}


async def test_a_sound_database_passes_and_keeps_nothing(mongo_database: Any, caplog: pytest.LogCaptureFixture) -> None:
    rules, life = await check_rules(mongo_database), await check_immutability(mongo_database)
    assert (broken(rules), broken(life)) == (set(), set())
    assert len({outcome.rule for outcome in rules.rules}) == len(rules.rules) > 30
    assert len({outcome.rule for outcome in life.rules}) == len(life.rules) > 20
    assert [await mongo_database[name].count_documents({}) for name in ALL] == [0] * 6
    assert not caplog.records  # a layout that is damaged on purpose alarms nobody


async def test_rules_that_are_gone_are_seen(mongo_database: Any) -> None:
    await mongo_database.command({"collMod": SECTIONS, "validator": {}, "validationLevel": "moderate"})
    await mongo_database[VERSIONS].drop_index("one_draft_per_layout")
    seen = broken(await check_rules(mongo_database))
    assert {
        f"{SECTIONS}: the rules are those of this version",
        f"{SECTIONS}: every write is checked",
        f"{SECTIONS}: a seat needs its id",
        f"{VERSIONS}: has its indexes",
        f"{VERSIONS}: one draft a layout",
    } <= seen
    assert [await mongo_database[name].count_documents({}) for name in ALL] == [0] * 6


async def test_a_library_that_looks_away_is_seen(mongo_database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # It publishes the changed draft, so what comes after cannot be tried; that is said, and what was seen before.
    monkeypatch.setattr(assembly, "has_hash", lambda *_: True)
    monkeypatch.setattr(assembly, "described", lambda version, *_: version)
    seen = broken(await check_immutability(mongo_database))
    assert seen == {"draft: a changed one is not published", "the steps after that"}


async def test_what_a_killed_check_left_goes_with_the_next(mongo_database: Any) -> None:
    scratch = Prefixed(mongo_database, SCRATCH)
    for layout_id, moment in (("selfcheck-old", 1_000), ("selfcheck-new", self_check.system_clock_ms())):
        await Library(scratch, lambda moment=moment: moment).save_draft(sample_layout(layout_id))  # type: ignore[misc]
    # One that another worker is at just now is damaged on purpose, too.
    await scratch[VERSIONS].update_one({"layout_id": "selfcheck-new"}, {"$set": {"damaged_ms": 1}})
    assert (await check_immutability(mongo_database)).passed
    for name in (VERSIONS, PLANS, SECTIONS):
        assert set(await scratch[name].distinct("layout_id")) == {"selfcheck-new"}
