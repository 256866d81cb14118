"""A push, its dry run, a rollback: on the doubles of S3 and CloudFront; and a push that dies at every point of it."""

import hashlib
import itertools
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from lml_live import limits
from lml_live.errors import Conflict, NotFound, Unavailable
from lml_live.infra.cdn import Distribution, open_distribution
from lml_live.infra.objects import IMMUTABLE, ObjectHead, StoreRefused
from lml_live.infra.s3 import Objects, open_objects
from lml_live.venues.demo import generate_venue
from lml_live.venues.edge import Manifest, Pointer, object_key, pointer_key, read_pointer
from lml_live.venues.layout import Layout, canonical_bytes, count_places, count_seats, seal_layout
from lml_live.venues.pushing import Edge, Region
from lml_live.venues.stored import LayoutVersion

POINTER = pointer_key("hall")


def numbered(version: int) -> Layout:
    return seal_layout(generate_venue(4, "hall"), version=version)


LAYOUTS = {version: numbered(version) for version in (1, 2, 3)}


def stored(layout: Layout) -> LayoutVersion:
    """The version of it that a library would have deployed."""
    return LayoutVersion(
        layout_id=layout.layout_id,
        version=layout.version,
        state="deployed",
        hash=layout.hash,
        fingerprint=layout.hash,
        upload="upload",
        name=layout.name,
        type=layout.type,
        seat_count=count_seats(layout),
        place_count=count_places(layout),
        size_bytes=len(canonical_bytes(layout)),
        saved_ms=1,
    )


async def push(edge: Edge, version: int, **how: bool) -> list[tuple[str, str, str]]:
    layout = LAYOUTS[version]
    done = await edge.push(stored(layout), canonical_bytes(layout), **how)
    return [(each.region, each.did, each.key) for each in done]


async def ensure(edge: Edge, version: int) -> list[str]:
    async def load() -> bytes:
        return canonical_bytes(LAYOUTS[version])

    return [each.did for each in await edge.ensure(stored(LAYOUTS[version]), load)]


@pytest.fixture
async def home(s3_endpoint_url: str) -> AsyncIterator[Objects]:
    async with open_objects(f"layouts-{secrets.token_hex(6)}", endpoint_url=s3_endpoint_url) as opened:
        await opened.ensure_bucket()
        yield opened


@pytest.fixture
async def distribution(s3_endpoint_url: str) -> AsyncIterator[Distribution]:
    async with open_distribution("none", endpoint_url=s3_endpoint_url) as opened:
        origin = {"Id": "s3", "DomainName": "lml.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}
        made = await opened._client.create_distribution(
            DistributionConfig={
                "CallerReference": secrets.token_hex(6),
                "Origins": {"Quantity": 1, "Items": [origin]},
                "DefaultCacheBehavior": {"TargetOriginId": "s3", "ViewerProtocolPolicy": "https-only"},
                "Comment": "",
                "Enabled": True,
            }
        )
        yield Distribution(opened._client, made["Distribution"]["Id"])


async def invalidated(distribution: Distribution) -> list[tuple[str, ...]]:
    """What the double was told to forget, a tuple for each different reference, as CloudFront itself counts."""
    listed = await distribution._client.list_invalidations(DistributionId=distribution.id)
    batches = {}
    for each in listed["InvalidationList"].get("Items", ()):
        found = await distribution._client.get_invalidation(DistributionId=distribution.id, Id=each["Id"])
        batch = found["Invalidation"]["InvalidationBatch"]
        batches[batch["CallerReference"]] = tuple(batch["Paths"]["Items"])
    return list(batches.values())


async def test_all_regions_have_all_of_it_before_the_pointer_moves(home: Objects, distribution: Distribution) -> None:
    other = Objects(home._client, f"{home.bucket}-eu")
    await other.ensure_bucket()
    moments = itertools.count(1_000)
    edge = Edge([Region("home", home), Region("eu", other)], distribution, clock=lambda: next(moments))
    keys = [object_key("hall", LAYOUTS[1].hash, suffix) for suffix in ("json", "json.gz", "manifest.json")]
    expected = [(region, "uploaded", key) for region in ("home", "eu") for key in keys[:2]]
    expected += [(region, "uploaded", keys[2]) for region in ("home", "eu")]
    expected += [("home", "moved", POINTER), ("eu", "moved", POINTER), ("cdn", "invalidated", POINTER)]
    assert await push(edge, 1, dry_run=True) == expected
    assert (await home.list_objects(""), await edge.pointer("hall"), await invalidated(distribution)) == ([], None, [])

    assert await push(edge, 1) == expected
    for objects in (home, other):
        assert sorted(each.key for each in await objects.list_objects("")) == sorted((*keys, POINTER))
        manifest = msgspec.json.decode(await objects.get_object(keys[2]) or b"", type=Manifest)
        for each in manifest.objects:
            data = await objects.get_object(each.key)
            assert data is not None
            assert (len(data), hashlib.sha256(data).hexdigest()) == (each.size_bytes, each.sha256)
        heads = {key: await objects.head_object(key) for key in (*keys, POINTER)}
        assert [head.cache_control for head in heads.values() if head] == [*[IMMUTABLE] * 3, "public, max-age=60"]
    pointer = await edge.pointer("hall")
    assert pointer is not None
    assert (pointer.version, pointer.hash, pointer.manifest, pointer.history) == (1, LAYOUTS[1].hash, keys[2], ())
    assert await home.get_object(POINTER) == await other.get_object(POINTER)
    again = await push(edge, 1)
    assert [did for _, did, _ in again] == [*["present"] * 6, "invalidated"]
    assert await invalidated(distribution) == [(f"/{POINTER}",)], "the same reference is one invalidation"

    # What one region has lost comes back, and its pointer with it.
    for key in (keys[1], POINTER):
        await other.remove_object(key)
    assert [(region, did) for region, did, _ in await push(edge, 1) if did in ("uploaded", "moved")] == [
        ("eu", "uploaded"),
        ("eu", "moved"),
    ]
    assert await home.get_object(POINTER) == await other.get_object(POINTER)


async def test_back_to_where_the_pointer_was(home: Objects, distribution: Distribution) -> None:
    moments = itertools.count(1_000)
    edge = Edge([Region("home", home)], distribution, clock=lambda: next(moments))
    with pytest.raises(NotFound):
        await edge.roll_back("hall")
    await push(edge, 1)
    with pytest.raises(Conflict, match="was nowhere before"):
        await edge.roll_back("hall")
    assert await ensure(edge, 2) == [*["uploaded"] * 3, "moved", "invalidated"], "a newer version moves it by itself"
    assert await ensure(edge, 1) == [], "an older one does not"
    tried = await edge.roll_back("hall", dry_run=True)
    assert [each.did for each in tried] == ["moved", "invalidated"]
    assert (await edge.pointer("hall")).version == 2  # type: ignore[union-attr]
    await edge.roll_back("hall")
    back = await edge.pointer("hall")
    assert back is not None
    assert (back.version, back.hash, back.history, back.withdrawn) == (1, LAYOUTS[1].hash, (), 2)
    assert await ensure(edge, 2) == [], "what was rolled back does not come back by itself"
    await push(edge, 2)
    await push(edge, 3)
    pointer = await edge.pointer("hall")
    assert pointer is not None
    assert [step.version for step in pointer.history] == [2, 1]
    assert len(await invalidated(distribution)) == 5, "each move has its own"
    # Nobody is sent to a version that is not whole.
    await home.put_object(object_key("hall", LAYOUTS[2].hash, "json.gz"), b"x", content_type="application/json")
    with pytest.raises(Conflict, match="is not whole in home"):
        await edge.roll_back("hall")
    assert await edge.pointer("hall") == pointer


async def test_of_two_who_move_the_pointer_one_hears_of_the_other(home: Objects) -> None:
    edge = Edge([Region("home", home)])
    await push(edge, 1)
    read = edge._read_pointer
    found = await read("hall")
    await push(edge, 2)

    async def read_before(_layout_id: str) -> Any:
        return found

    edge._read_pointer = read_before  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="moved by somebody else"):
        await push(edge, 3)
    edge._read_pointer = read  # type: ignore[method-assign]
    assert (await edge.pointer("hall")).version == 2  # type: ignore[union-attr]


# --- Faults, on a bucket in memory


class Bucket:
    """A bucket and a CDN that die, once or for a while, before or after what they are asked to write."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, ObjectHead]] = {}
        self.forgotten: list[str] = []
        self.writes = 0
        self.dies_at = 0
        self.after = False
        self.error: type[Unavailable] = StoreRefused
        self.busy = 0
        self.spoils = False

    def _calls(self) -> None:
        if self.busy:
            self.busy -= 1
            raise Unavailable("busy")

    def _write(self, key: str, data: bytes, head: ObjectHead) -> None:
        self._calls()
        self.writes += 1
        if self.writes == self.dies_at and not self.after:
            raise self.error("died before it")
        self.objects[key] = (data[:-1] if self.spoils else data, head)
        if self.writes == self.dies_at:
            raise self.error("died after it")

    async def put_object(
        self, key: str, data: bytes, *, content_type: str, encoding: str | None = None, cached: str = IMMUTABLE
    ) -> None:
        self._write(key, data, ObjectHead(len(data), cached, content_type, encoding))

    async def swap_object(self, key: str, data: bytes, before: str | None, *, content_type: str, cached: str) -> bool:
        there = await self.get_tagged(key)
        if (None if there is None else there[1]) != before:
            return False
        self._write(key, data, ObjectHead(len(data), cached, content_type))
        return True

    async def head_object(self, key: str) -> ObjectHead | None:
        self._calls()
        return self.objects[key][1] if key in self.objects else None

    async def get_object(self, key: str) -> bytes | None:
        self._calls()
        return self.objects[key][0] if key in self.objects else None

    async def get_tagged(self, key: str) -> tuple[bytes, str] | None:
        data = await self.get_object(key)
        return None if data is None else (data, hashlib.sha256(data).hexdigest())

    async def invalidate(self, key: str, reference: str) -> None:
        self._write("invalidation", reference.encode(), ObjectHead(0, "", ""))
        self.forgotten.append(key)


def edge_of(bucket: Bucket, pauses: list[float] | None = None) -> Edge:
    async def sleep(seconds: float) -> None:
        (pauses if pauses is not None else []).append(seconds)

    moments = itertools.count(1_000)
    return Edge([Region("home", bucket)], bucket, clock=lambda: next(moments), sleep=sleep)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [StoreRefused, Unavailable])
@pytest.mark.parametrize("after", [False, True])
async def test_a_push_that_dies_anywhere_goes_on_from_there(after: bool, error: type[Unavailable]) -> None:
    """Writes of a push: two objects, manifest, pointer, invalidation. Whoever reads meanwhile finds all or the old."""
    for dies_at in range(6, 11):
        bucket = Bucket()
        edge = edge_of(bucket)
        await push(edge, 1)
        assert bucket.writes == 5
        bucket.dies_at, bucket.after, bucket.error = dies_at, after, error
        if error is StoreRefused:
            with pytest.raises(StoreRefused):
                await push(edge, 2)
            pointer = await edge.pointer("hall")
            assert pointer is not None
            assert pointer.version == (2 if dies_at == 10 or (dies_at == 9 and after) else 1)
            assert await edge._find_missing(edge.regions[0], pointer) is None, "what it names is whole"
        before = bucket.writes
        await push(edge, 2)
        pointer = await edge.pointer("hall")
        assert pointer is not None
        assert (pointer.version, [step.version for step in pointer.history]) == (2, [1])
        assert bucket.forgotten[-1] == POINTER
        if error is StoreRefused:
            assert bucket.writes - before == 5 - (dies_at - 6) - (1 if after and dies_at < 10 else 0)


@pytest.mark.parametrize("after", [False, True])
async def test_a_rollback_that_dies_goes_back_one_step_when_it_is_asked_for_again(after: bool) -> None:
    """Asked again, it went back a step further: its first try had moved the pointer, and died before the CDN knew."""
    for write in (1, 2, 3):
        bucket = Bucket()
        edge = edge_of(bucket)
        for version in (1, 2, 3):
            await push(edge, version)
        bucket.dies_at, bucket.after = bucket.writes + write, after
        with pytest.raises(StoreRefused):
            await edge.roll_back("hall", request="r1")
        bucket.forgotten.clear()
        await edge.roll_back("hall", request="r1")
        pointer = await edge.pointer("hall")
        assert pointer is not None
        assert (pointer.version, bucket.forgotten) == (2, [POINTER])
        await edge.roll_back("hall", request="r2")
        assert (await edge.pointer("hall")).version == 1  # type: ignore[union-attr]


async def two_regions() -> tuple[Edge, Bucket, Bucket]:
    """Three versions in two regions behind a CDN, which the first bucket is, too."""
    home, other = Bucket(), Bucket()
    edge = edge_of(home)
    edge.regions = [*edge.regions, Region("eu", other)]  # type: ignore[arg-type]
    for version in (1, 2, 3):
        await push(edge, version)
    home.forgotten.clear()
    return edge, home, other


@pytest.mark.parametrize("after", [False, True])
async def test_a_rollback_that_dies_anywhere_is_finished_by_the_next(after: bool) -> None:
    """The next went back a step further where the first had moved the pointer, everywhere with a CDN that refused; and
    the first was never on record. Writes: the pointer in each region, the CDN's, and that nothing is left to do."""
    for region, write in (("home", 1), ("eu", 1), ("home", 2), ("home", 3)):
        edge, home, other = await two_regions()
        dies, recorded = home if region == "home" else other, []

        async def record(pointer: Pointer, recorded: list[int] = recorded) -> None:
            recorded.append(pointer.version)

        dies.dies_at, dies.after = dies.writes + write, after
        with pytest.raises(StoreRefused):
            await edge.roll_back("hall", record=record)
        if (after, region, write) != (True, "home", 3):
            await edge.roll_back("hall", record=record)
        assert home.objects[POINTER][0] == other.objects[POINTER][0]
        pointer = await edge.pointer("hall")
        assert pointer is not None
        assert (pointer.version, pointer.left, pointer.is_unfinished) == (2, 3, False)
        assert set(home.forgotten) == {POINTER}
        assert recorded in ([2], [2, 2]), "twice where only the last word of it was lost"
        await edge.roll_back("hall", record=record)
        assert [read_pointer(each.objects[POINTER][0]).version for each in (home, other)] == [1, 1]  # type: ignore[union-attr]
        assert recorded[-1] == 1


async def test_a_rollback_that_is_not_on_record_is_not_finished() -> None:
    edge, home, other = await two_regions()
    recorded: list[int] = []

    async def away(_: Pointer) -> None:
        raise Unavailable("PostgreSQL does not answer.")

    async def record(pointer: Pointer) -> None:
        recorded.append(pointer.version)

    with pytest.raises(Unavailable):
        await edge.roll_back("hall", record=away)
    # The look of the server in between has nothing to mend, and leaves it to be finished.
    assert [await ensure(edge, version) for version in (1, 2, 3)] == [[], [], []]
    done = await edge.roll_back("hall", record=record)
    assert ([each.did for each in done], recorded) == (["invalidated"], [2])
    assert home.objects[POINTER][0] == other.objects[POINTER][0]


async def test_who_pushes_where_a_rollback_broke_off_has_nothing_finished_later() -> None:
    edge, home, other = await two_regions()
    other.dies_at = other.writes + 1
    with pytest.raises(StoreRefused):
        await edge.roll_back("hall")
    await push(edge, 2)
    assert home.objects[POINTER][0] == other.objects[POINTER][0]
    await edge.roll_back("hall")
    assert (await edge.pointer("hall")).version == 1  # type: ignore[union-attr]


async def test_a_rollback_that_names_what_it_leaves_goes_back_from_there_once() -> None:
    edge, _, other = await two_regions()
    with pytest.raises(Conflict, match="is at version 3, not at 2"):
        await edge.roll_back("hall", leaving=2)
    other.dies_at = other.writes + 1
    with pytest.raises(StoreRefused):
        await edge.roll_back("hall", leaving=3)
    with pytest.raises(Conflict, match="is at version 2, on its way back from 3, not at 2"):
        await edge.roll_back("hall", leaving=2)
    for _ in range(2):
        await edge.roll_back("hall", leaving=3)
        assert (await edge.pointer("hall")).version == 2  # type: ignore[union-attr]
    await push(edge, 3)
    await edge.roll_back("hall", leaving=3)
    await edge.roll_back("hall", leaving=2)
    assert (await edge.pointer("hall")).version == 1  # type: ignore[union-attr]


async def test_a_rollback_passes_over_what_is_retired() -> None:
    """It moved the pointer to a version that nobody can push or deploy any more, without a word."""
    edge, _, _ = await two_regions()
    with pytest.raises(Conflict, match="only at retired versions before version 3"):
        await edge.roll_back("hall", retired=frozenset({LAYOUTS[1].hash, LAYOUTS[2].hash}))
    done = await edge.roll_back("hall", retired=frozenset({LAYOUTS[2].hash}))
    assert (done[0].did, done[0].key) == ("skipped", object_key("hall", LAYOUTS[2].hash, "manifest.json"))
    pointer = await edge.pointer("hall")
    assert pointer is not None
    assert (pointer.version, pointer.history) == (1, ())


async def test_a_look_mends_the_pointer_of_a_region_that_a_push_has_not_come_to() -> None:
    home, other = Bucket(), Bucket()
    edge = edge_of(home)
    edge.regions = [*edge.regions, Region("eu", other)]  # type: ignore[arg-type]
    await push(edge, 1)
    other.dies_at = other.writes + 4
    with pytest.raises(StoreRefused):
        await push(edge, 2)
    assert home.objects[POINTER] != other.objects[POINTER]
    assert "moved" in await ensure(edge, 2)
    assert home.objects[POINTER] == other.objects[POINTER]
    assert await ensure(edge, 2) == []


async def test_the_pointer_names_the_manifest_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket()
    edge = edge_of(bucket)
    await push(edge, 1)
    # Another library zips the same content to other bytes.
    monkeypatch.setattr(limits, "LAYOUT_GZIP_LEVEL", 1)
    await push(edge, 1)
    pointer = await edge.pointer("hall")
    assert pointer is not None
    assert hashlib.sha256(bucket.objects[pointer.manifest][0]).hexdigest() == pointer.manifest_sha256
    assert pointer.history == ()


async def test_what_is_no_id_is_no_part_of_a_key() -> None:
    bucket = Bucket()
    edge = edge_of(bucket)
    await push(edge, 1)
    bucket.objects[pointer_key("../layouts/hall")] = bucket.objects[POINTER]
    assert await edge.pointer("../layouts/hall") is None
    with pytest.raises(NotFound):
        await edge.roll_back("../layouts/hall")


async def test_a_busy_store_is_asked_again_with_longer_pauses() -> None:
    bucket, pauses = Bucket(), []
    bucket.busy = limits.EDGE_TRIES - 1
    await push(edge_of(bucket, pauses), 1)
    assert len(pauses) == limits.EDGE_TRIES - 1
    assert all(0 <= pause <= limits.EDGE_PAUSE_SECONDS * 2**number for number, pause in enumerate(pauses))
    bucket.busy = limits.EDGE_TRIES
    with pytest.raises(Unavailable, match="busy"):
        await push(edge_of(bucket, pauses), 2)
    assert bucket.busy == 0


async def test_what_does_not_come_back_as_it_was_sent_is_not_pointed_to() -> None:
    bucket = Bucket()
    bucket.spoils = True
    with pytest.raises(Unavailable, match="does not give back what was stored"):
        await push(edge_of(bucket), 1)
    assert POINTER not in bucket.objects
