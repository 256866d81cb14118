"""What is in use has a backup and keeps it; and an event goes on from a copy where MongoDB's layout is damaged."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_scrubbing import HALL, concert, deployed, pool

from lml_live import limits
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.retention import Retention
from lml_live.errors import InvalidInput, NotFound
from lml_live.infra import postgres
from lml_live.infra.config import Settings
from lml_live.infra.stores import open_store
from lml_live.pricing.catalogue import Catalogue
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.backups import Backups
from lml_live.venues.copies import Copies
from lml_live.venues.layout import canonical_bytes, seal_layout
from lml_live.venues.library import Library
from lml_live.venues.retention import Policy
from lml_live.venues.stored import PLANS, SECTIONS, VERSIONS

__all__ = ["pool"]


async def test_what_is_in_use_has_a_backup_and_keeps_it(
    mongo_database: Any, pool: postgres.Pool, tmp_path: Path
) -> None:
    """Layouts of an earlier program have none; drafts that nobody wants any more lose theirs."""
    backups = Backups(lambda: open_store(Settings(data_dir=tmp_path), None))
    await deployed(Library(mongo_database), "hall")
    library = Library(mongo_database, backups=backups)
    catalogue = Catalogue(pool, DeployedLayouts(library))
    event = await catalogue.create_event(concert())
    retention = Retention(pool, library, backups, Policy(1, 0, 0))
    await retention.look()
    [first] = await backups.of_layout("hall")
    assert (first.hash, first.reason) == (event.layout_hash, "missing")
    await library.retire("hall", 1)
    for number in range(3):
        await library.save_draft(seal_layout(msgspec.structs.replace(HALL, name=f"Hall {number}")))
        last = await library.back_up("hall")
    await retention.look()
    assert await backups.of_layout("hall") == [last, first], "an event is sold on the first"
    for act in ("open", "close"):
        await catalogue.set_state(event.id, act)  # type: ignore[arg-type]
    assert [each.removed async for _, each in retention.thin_out(("hall",), dry_run=True)] == [(first,)]
    await retention.look()
    assert await backups.of_layout("hall") == [last]
    async with postgres.connection(pool) as connected:
        rows = await connected.fetch("SELECT detail FROM audit_record WHERE action = 'layout.backups_removed'")
    assert [first.id in row["detail"] for row in rows] == [False, True]


async def test_more_backups_than_one_list_has_are_looked_at_layout_by_layout(
    mongo_database: Any, pool: postgres.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a list's bound in all, and no layout's backups were thinned out, ever again; nor one layout's for
    another that has too many."""
    backups = Backups(lambda: open_store(Settings(data_dir=tmp_path), None))
    library = Library(mongo_database, backups=backups)
    for layout_id, count in (("aula", 3), ("hall", 2)):
        for number in range(count):
            named = msgspec.structs.replace(HALL, layout_id=layout_id, name=f"Hall {number}", hash="")
            await library.save_draft(seal_layout(named))
            await library.back_up(layout_id)
    monkeypatch.setattr(limits, "OBJECTS_LISTED_MAX", 2)
    await Retention(pool, library, backups, Policy(1, 0, 0)).look()
    assert [each.layout_id for each in await backups.of_layout("hall")] == ["hall"]
    monkeypatch.setattr(limits, "OBJECTS_LISTED_MAX", 3)
    assert len(await backups.of_layout("aula")) == 3


@pytest.mark.parametrize("damage", ["changed", "gone"])
async def test_a_worker_that_starts_on_a_damaged_layout_sells_on_its_copy(
    mongo_database: Any, pool: postgres.Pool, tmp_path: Path, damage: str
) -> None:
    backups = Backups(lambda: open_store(Settings(data_dir=tmp_path), None))
    library = Library(mongo_database, backups=backups)
    await deployed(library, "hall")
    event = await Catalogue(pool, DeployedLayouts(library)).create_event(concert())
    if damage == "changed":
        await mongo_database[SECTIONS].update_one({}, {"$set": {"section.rows.0.seats.0.category": "Cheap"}})
    else:
        for name in (VERSIONS, PLANS, SECTIONS):
            await mongo_database[name].delete_many({})

    started = DeployedLayouts(library, Copies(Settings(), backups))
    expected = canonical_bytes(HALL)
    if damage == "gone":
        assert await started.load_bytes("hall", event.layout_hash) is None, "nobody is known to sell on it yet"
    index = await started.index("hall", 1, event.layout_hash)
    assert (index.hash, index.version, len(index.seat_ids)) == (event.layout_hash, 1, event.seat_count)
    assert await started.load_bytes("hall", event.layout_hash) == expected
    assert await started.index("hall", 1, event.layout_hash) is index, "once is enough"
    # Nothing new is made on it, and no other hash is served for it.
    with pytest.raises((LayoutDamaged, InvalidInput)):
        await Catalogue(pool, started).create_event(concert())
    with pytest.raises((LayoutDamaged, NotFound)):
        await DeployedLayouts(library, Copies(Settings(), backups)).index("hall", 1, "0" * 64)
