"""Backups of layouts, in a folder and on the S3 double: made, found whole, thinned out, restored, and put back."""

import asyncio
import errno
import gzip
import hashlib
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lml_live import limits
from lml_live.errors import Conflict, NotFound, Unavailable
from lml_live.infra.config import Settings
from lml_live.infra.folder import Folder
from lml_live.infra.s3 import Objects, open_objects
from lml_live.infra.stores import Store, open_store
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.backups import Backups
from lml_live.venues.copies import Copies
from lml_live.venues.demo import generate_venue
from lml_live.venues.edge import object_key
from lml_live.venues.layout import canonical_bytes, seal_layout
from lml_live.venues.library import Library
from lml_live.venues.retention import Backup, Policy, choose_kept, newest_first, read_key
from lml_live.venues.stored import PLANS, SECTIONS, VERSIONS

HALL = generate_venue(20, "hall")
DATA = canonical_bytes(HALL)
OTHER = seal_layout(msgspec.structs.replace(HALL, name="Other"))
ALL = Policy(100, 0, 0)
LAST = Policy(1, 0, 0)


class Shelf:
    """Backups on one kind of store, a day apart."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Store]], settings: Settings) -> None:
        self.settings = settings
        self.now_ms = 1_700_000_000_000
        self.backups = Backups(opening, self._day_later)

    def _day_later(self) -> int:
        self.now_ms += 24 * 3600 * 1000
        return self.now_ms

    async def take(self, layout: Any = HALL) -> Backup:
        return await self.backups.take("hall", layout.version, layout.hash, canonical_bytes(layout), "asked")

    async def spoil(self, backup: Backup, data: bytes) -> None:
        store = await self.backups._opened()
        await store.remove_object(backup.key)
        await store.add_object(backup.key, data, content_type="application/gzip")


@pytest.fixture(params=["folder", "bucket"])
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    settings = Settings(data_dir=tmp_path)
    if request.param == "bucket":
        url = request.getfixturevalue("s3_endpoint_url")
        settings = Settings(s3_endpoint_url=url, backup_bucket=f"backups-{secrets.token_hex(6)}")
    shelf = Shelf(lambda: open_store(settings, settings.backup_bucket), settings)
    yield shelf
    await shelf.backups.close()


@pytest.fixture
def folder(tmp_path: Path) -> Shelf:
    settings = Settings(data_dir=tmp_path)
    return Shelf(lambda: open_store(settings, None), settings)


async def test_what_is_taken_is_listed_read_and_found(shelf: Shelf) -> None:
    assert (await shelf.backups.of_layout("hall"), await shelf.backups.layouts()) == ([], [])
    first = await shelf.take()
    assert await shelf.take() == first, "the newest has this content already"
    second = await shelf.take(OTHER)
    third = await shelf.take()
    assert third != first, "it is the newest again"
    assert await shelf.backups.of_layout("hall") == [third, second, first]
    assert await shelf.backups.layouts() == ["hall"]
    assert (await shelf.backups.thin_out("hall", Policy(2, 0, 0), frozenset())).removed == (first,)
    assert await shelf.backups.of_layout("hall") == [third, second]
    assert first.size_bytes == len(gzip.compress(DATA, limits.BACKUP_GZIP_LEVEL, mtime=0))
    assert await shelf.backups.read("hall") == (third, DATA)
    assert await shelf.backups.read("hall", second.id) == (second, canonical_bytes(OTHER))
    assert await shelf.backups.find_content("hall", OTHER.hash) == canonical_bytes(OTHER)
    assert await shelf.backups.find_content("hall", "0" * 64) is None
    with pytest.raises(NotFound):
        await shelf.backups.read("hall", "20261129T154620123Z-0f3a5c7e9b1d")
    with pytest.raises(NotFound):
        await shelf.backups.read("hal")


async def test_the_last_good_one_is_never_removed(folder: Shelf) -> None:
    """Whatever the policy says: of what is needed, and of all, one whole backup stays; of two whole ones the newer."""
    oldest, sold, newest = await folder.take(), await folder.take(OTHER), await folder.take()
    assert (await folder.backups.thin_out("hall", ALL, frozenset())).removed == ()
    tried = await folder.backups.thin_out("hall", LAST, frozenset(), dry_run=True)
    assert (tried.removed, tried.kept) == ((sold, oldest), 1)
    assert (await folder.backups.thin_out("hall", LAST, frozenset({OTHER.hash}), dry_run=True)).removed == (oldest,)
    await folder.spoil(newest, b"nonsense")
    thinned = await folder.backups.thin_out("hall", LAST, frozenset({HALL.hash}))
    assert (thinned.removed, thinned.kept) == ((), 3), "one is the latest, one whole, one of what is needed"
    assert (await folder.backups.thin_out("hall", LAST, frozenset())).removed == (oldest,)
    assert [each.id for each in await folder.backups.of_layout("hall")] == [newest.id, sold.id]
    assert await folder.backups.read("hall") == (sold, canonical_bytes(OTHER))
    await folder.spoil(sold, b"")
    assert (await folder.backups.thin_out("hall", LAST, frozenset())).removed == (), "none is whole: none goes"


SPOILT = {
    "empty": b"",
    "no gzip": DATA,
    "cut short": gzip.compress(DATA)[:-9],
    "something after it": gzip.compress(DATA) + b"x",
    "other content": gzip.compress(canonical_bytes(OTHER)),
    "one byte of it": gzip.compress(DATA.replace(b'"name":"', b'"name":"X', 1)),
}


async def test_what_is_not_what_was_backed_up_is_no_backup(
    folder: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = folder
    backup = await shelf.take()
    for what, data in SPOILT.items():
        await shelf.spoil(backup, data)
        with pytest.raises(LayoutDamaged):
            await shelf.backups.read("hall", backup.id)
        assert await shelf.backups.find_content("hall", HALL.hash) is None, what
    # A bomb is unpacked no further than a layout may be long.
    await shelf.spoil(backup, gzip.compress(DATA))
    monkeypatch.setattr(limits, "BACKUP_BYTES_MAX", len(DATA) - 1)
    assert await shelf.backups.find_content("hall", HALL.hash) is None
    monkeypatch.setattr(limits, "BACKUP_BYTES_MAX", len(DATA))
    assert await shelf.backups.find_content("hall", HALL.hash) == DATA
    # Other people's files are nobody's backups, and stay.
    for name in ("notes.txt", ".half", "20261129T154620123Z-asked-0-ab.json.gz", "20261399T154620123Z-asked-1-"):
        (tmp_path / "backups" / "hall" / name).write_text("x")
    assert [each.hash for each in await shelf.backups.of_layout("hall")] == [HALL.hash]


def at(day: str, hash_digit: str = "a") -> Backup:
    taken = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return Backup("hall", 1, hash_digit * 64, "asked", round(taken.timestamp() * 1000), 9)


TAKEN = [at(f"2026-{day}") for day in ("01-05", "01-31", "02-01T08:00", "02-01T09:00", "02-03", "04-01", "04-02")]


@pytest.mark.parametrize(
    ("last", "days", "months", "kept"),
    [
        (7, 0, 0, [0, 1, 2, 3, 4, 5, 6]),
        (1, 0, 0, [6]),
        (2, 2, 0, [5, 6]),
        (1, 4, 0, [3, 4, 5, 6]),  # days that have any, however long ago; of each its last
        (1, 0, 2, [4, 6]),
        (1, 0, 9, [1, 4, 6]),
        (1, 3, 3, [1, 4, 5, 6]),
    ],
)
def test_the_policy_keeps(last: int, days: int, months: int, kept: list[int]) -> None:
    chosen = choose_kept(newest_first(TAKEN), Policy(last, days, months))
    assert sorted(chosen, key=lambda each: each.taken_ms) == [TAKEN[place] for place in kept]


def test_a_key_says_all_that_a_list_shows() -> None:
    backup = Backup("hall", 12, "0f" * 32, "deploy", 1_795_967_180_123, 77)
    assert backup.key == f"backups/hall/20261129T154620123Z-deploy-12-{'0f' * 32}.json.gz"
    assert read_key(backup.key, 77) == backup
    assert backup.id == "20261129T154620123Z-0f0f0f0f0f0f"


async def test_a_disk_that_is_full_keeps_no_halves(
    folder: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable):
        await folder.take()
    assert _files(tmp_path) == []


async def test_two_who_write_one_key_at_once_both_have_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both threads of one process wrote the same half file: one took it away, and the other's backup, and with it the
    publishing, failed."""
    both, fsync = threading.Barrier(2, timeout=20), os.fsync

    def meet(file: int) -> None:
        fsync(file)
        both.wait()

    monkeypatch.setattr(os, "fsync", meet)
    store = Folder(tmp_path)
    await asyncio.gather(*(store.add_object("hall/1", b"whole", content_type="text/plain") for _ in range(2)))
    assert await store.get_object("hall/1") == b"whole"
    assert _files(tmp_path) == [tmp_path / "hall" / "1"]


async def test_what_killed_processes_left_half_written_goes_with_a_later_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_file: int) -> None:
        raise KeyboardInterrupt

    store = Folder(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", die)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                store._write("hall/1", b"half")
    old, young = sorted((tmp_path / "hall").iterdir())
    long_ago = time.time() - limits.HALF_FILE_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    (tmp_path / "hall" / ".nfs1").touch()
    os.utime(tmp_path / "hall" / ".nfs1", (long_ago, long_ago))
    await store.add_object("hall/2", b"whole", content_type="text/plain")
    assert [each.key for each in await store.list_objects("")] == ["hall/2"]
    left = {path.name for path in _files(tmp_path)}
    assert left == {young.name, ".nfs1", "2"}, "somebody may be writing the young one"


async def test_a_folder_that_fails_tells_clients_no_path_of_the_machine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hall").write_text("not a folder")
    (tmp_path / "aula" / "1").mkdir(parents=True)
    store = Folder(tmp_path)
    for attempt in (
        lambda: store.add_object("hall/1", b"", content_type="text/plain"),
        lambda: store.get_object("hall/1"),
        lambda: store.get_object("aula/1"),
        lambda: store.remove_object("aula/1"),
    ):
        caplog.clear()
        with pytest.raises(Unavailable) as raised:
            await attempt()
        assert str(tmp_path) not in raised.value.message
        assert str(tmp_path) in caplog.text


async def test_what_was_removed_before_the_store_failed_is_told(folder: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    third, second, first = [await folder.take(layout) for layout in (HALL, OTHER, HALL)]
    store = await folder.backups._opened()
    remove = store.remove_object

    async def fail(key: str) -> None:
        if key == third.key:
            raise Unavailable("away")
        await remove(key)

    monkeypatch.setattr(store, "remove_object", fail)
    thinned = await folder.backups.thin_out("hall", LAST, frozenset())
    assert (thinned.removed, thinned.kept) == ((second,), 2)
    assert await folder.backups.of_layout("hall") == [first, third]
    with pytest.raises(Unavailable):
        await folder.backups.thin_out("hall", LAST, frozenset())


def _files(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_file()]


# --- With a library


async def test_a_lost_layout_comes_back_as_a_draft(mongo_database: Any, folder: Shelf) -> None:
    library = Library(mongo_database, backups=folder.backups)
    await library.save_draft(HALL)
    await library.publish("hall")
    await library.save_draft(OTHER)
    await library.publish("hall")
    for name in (VERSIONS, PLANS, SECTIONS):
        await mongo_database[name].delete_many({})
    newest, oldest = await folder.backups.of_layout("hall")
    assert (newest.version, newest.reason, oldest.version) == (2, "publish", 1)
    saved = await library.restore("hall", oldest.id)
    assert (saved.version.version, saved.version.state, saved.version.name) == (3, "draft", HALL.name)
    assert not (await library.restore("hall", (await library.back_up("hall")).id)).changed
    with pytest.raises(Conflict):
        await library.restore("hall", newest.id)
    again = await library.restore("hall", newest.id, replace=True)
    assert (again.version.version, again.version.name) == (3, "Other")
    assert (await folder.backups.of_layout("hall"))[0].hash == saved.version.hash, "what gave way was kept"
    assert (await library.publish("hall")).version == 3
    # What somebody put among another layout's backups is not made a draft of the one that it is.
    store = await folder.backups._opened()
    moved = msgspec.structs.replace(oldest, layout_id="annex")
    await store.add_object(moved.key, await store.get_object(oldest.key) or b"", content_type="application/gzip")
    with pytest.raises(LayoutDamaged, match="is one of hall"):
        await library.restore("annex")


async def test_what_has_its_hash_and_is_no_layout_is_not_restored(mongo_database: Any, folder: Shelf) -> None:
    """Whoever may write to the store can name anything by its hash: it was an error of ours."""
    library = Library(mongo_database, backups=folder.backups)
    body = b'{"layout_id":"hall"}'
    named = hashlib.sha256(body).hexdigest()
    data = b'{"hash":"%b",' % named.encode() + body[1:]
    await folder.backups.take("hall", 1, named, data, "asked")
    with pytest.raises(LayoutDamaged, match="is no layout"):
        await library.restore("hall")


async def test_a_backup_of_before_outlines_had_to_be_apart_comes_back(mongo_database: Any, folder: Shelf) -> None:
    """docs/decisions/036: what could be stored then is a warning now, and no backup becomes worthless."""
    bowl = generate_venue(2_000, "hall")
    alike = tuple(msgspec.structs.replace(each, outline=bowl.sections[0].outline) for each in bowl.sections)
    await folder.take(seal_layout(msgspec.structs.replace(bowl, sections=alike)))
    saved = await Library(mongo_database, backups=folder.backups).restore("hall")
    assert (saved.changed, "outline_overlap" in {each.rule for each in saved.warnings}) == (True, True)


async def test_a_draft_that_is_damaged_gives_way(mongo_database: Any, folder: Shelf) -> None:
    library = Library(mongo_database, backups=folder.backups)
    await library.save_draft(HALL)
    good = await library.back_up("hall")
    await mongo_database[SECTIONS].delete_many({})
    with pytest.raises(LayoutDamaged):
        await library.back_up("hall")
    assert (await library.restore("hall", replace=True)).changed
    assert (await library.publish("hall")).hash == good.hash


async def test_a_damaged_version_is_put_back_as_it_was_and_nothing_else(
    mongo_database: Any, folder: Shelf, s3_endpoint_url: str
) -> None:
    """From the public bucket where one is set and its copy is whole, else from the backups."""
    library = Library(mongo_database, backups=folder.backups)
    await library.save_draft(HALL)
    await library.publish("hall")
    await library.deploy("hall")
    await mongo_database[SECTIONS].update_one({}, {"$set": {"section.rows.0.seats.0.x": 0.123}})
    assert not await library.scrub((await library.status("hall"))[0])
    for wrong in (canonical_bytes(OTHER), b"", DATA.replace(b'"name":"', b'"name":"X', 1)):
        with pytest.raises(LayoutDamaged):
            await library.mend("hall", 1, wrong)
    bucket = f"layouts-{secrets.token_hex(6)}"
    settings = Settings(s3_bucket=bucket, s3_endpoint_url=s3_endpoint_url)
    copies = Copies(settings, folder.backups)
    assert await copies.find("hall", HALL.hash) == DATA, "there is no such bucket"
    async with open_objects(bucket, endpoint_url=s3_endpoint_url) as objects:
        await _copy_and_lose_backups(objects, folder)
    data = await copies.find("hall", HALL.hash)
    assert data == DATA
    mended = await library.mend("hall", 1, data)
    assert (mended.state, mended.damaged_ms) == ("deployed", None)
    assert await library.load_bytes("hall", HALL.hash) == DATA
    assert await library.damaged_versions() == ()


async def _copy_and_lose_backups(objects: Objects, shelf: Shelf) -> None:
    await objects.ensure_bucket()
    await objects.put_object(object_key("hall", HALL.hash), DATA, content_type="application/json")
    for backup in await shelf.backups.of_layout("hall"):
        await shelf.spoil(backup, b"")


async def test_without_a_place_for_them_there_are_none(mongo_database: Any) -> None:
    library = Library(mongo_database)
    await library.save_draft(HALL)
    for attempt in (library.back_up("hall"), library.restore("hall")):
        with pytest.raises(Conflict, match="No backups are kept here"):
            await attempt
    with pytest.raises(NotFound):
        await library.back_up("hall", 2)
