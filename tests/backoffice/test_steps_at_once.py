"""Several who take a step with one version of a layout at once: twice is once, and of two steps one is told."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from test_forged_layouts import House, house
from test_scrubbing import pool

from lml_live.backoffice.layout_steps import record_step
from lml_live.errors import Conflict
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.stored import VERSIONS, LayoutVersion

__all__ = ["house", "pool"]


@pytest.mark.parametrize("step", ["deployed", "retired"])
async def test_of_many_who_take_one_step_at_once_all_hear_of_it(house: House, step: str) -> None:
    """One heard 200 and nine that somebody else had changed it just now, which was to what they had asked for."""
    published = await house.publish_another()

    async def take() -> LayoutVersion:
        act = house.library.deploy("hall", 2) if step == "deployed" else house.library.retire("hall", 2)
        done = await act
        await record_step(house.trail, "deployed" if step == "deployed" else "retired", done)
        return done

    answers = await asyncio.gather(*(take() for _ in range(10)), return_exceptions=True)
    assert Counter(map(type, answers)) == {LayoutVersion: 10}, answers
    assert {(each.state, each.hash) for each in answers if isinstance(each, LayoutVersion)} == {(step, published.hash)}
    assert len({(each.deployed_ms, each.retired_ms) for each in answers if isinstance(each, LayoutVersion)}) == 1


async def test_who_is_overtaken_by_a_forgery_hears_of_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deployed meanwhile, and with another hash than on record: that is not what was asked for."""
    await house.publish_another()
    advance = house.library._advance

    async def overtaken(version: LayoutVersion, *change: Any) -> LayoutVersion:
        await house.database[VERSIONS].update_one(
            {"version": 2}, {"$set": {"state": "deployed", "deployed_ms": version.published_ms, "hash": "0" * 64}}
        )
        return await advance(version, *change)

    monkeypatch.setattr(house.library, "_advance", overtaken)
    with pytest.raises(LayoutDamaged, match="has the hash 0000"):
        await house.library.deploy("hall", 2)


async def test_of_two_who_deploy_and_retire_one_is_told_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.publish_another()
    advance = house.library._advance

    async def overtaken(version: LayoutVersion, *change: Any) -> LayoutVersion:
        monkeypatch.undo()
        await record_step(house.trail, "retired", await house.library.retire("hall", 2))
        return await advance(version, *change)

    monkeypatch.setattr(house.library, "_advance", overtaken)
    with pytest.raises(Conflict, match="is retired: make a new draft"):
        await house.library.deploy("hall", 2)
