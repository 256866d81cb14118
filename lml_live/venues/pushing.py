"""Layouts to the edge: objects first, in every region, each read back; then manifests; last the pointer.

Nobody sees a version of which anything is missing: until its manifest lies in every region no pointer moves. What
breaks off is begun anew and goes on where it was, as what lies there whole is not sent again (docs/decisions/033).
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from lml_live import limits
from lml_live.clock import Clock, system_clock_ms
from lml_live.errors import Conflict, NotFound, Unavailable
from lml_live.infra.objects import IMMUTABLE, StoreRefused
from lml_live.values import is_id
from lml_live.venues.edge import (
    JSON,
    SHORT_LIVED,
    EdgeObject,
    Manifest,
    Pointer,
    Step,
    make_manifest,
    make_objects,
    move_pointer,
    object_key,
    pointer_key,
    read_manifest,
    read_pointer,
    roll_back,
    seal_manifest,
)
from lml_live.venues.stored import LayoutVersion

if TYPE_CHECKING:
    from lml_live.infra.cdn import Distribution
    from lml_live.infra.s3 import Objects

T = TypeVar("T")
Did = Literal["present", "uploaded", "skipped", "moved", "invalidated"]
_SPREAD: Final = random.SystemRandom()


class Region(msgspec.Struct, frozen=True):
    """A bucket and what it is called."""

    name: str
    objects: "Objects"


class Done(msgspec.Struct, frozen=True):
    """One step of a push, done or (dry run) to be done."""

    region: str
    did: Did
    key: str
    size_bytes: int = 0


class Edge:
    """The buckets of all regions, the first of them the one whose pointer decides, and the CDN before them.

    Raises `Unavailable` where a store or the CDN fails after all retries; then the same call again goes on from there.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        distribution: "Distribution | None" = None,
        *,
        private: frozenset[str] = frozenset(),
        clock: Clock = system_clock_ms,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.regions = regions
        self._distribution = distribution
        self._private = private
        self._clock = clock
        self._sleep = sleep

    def is_private(self, layout_id: str) -> bool:
        """Whether the layout lies where the CDN wants a signature."""
        return layout_id in self._private

    async def push(self, version: LayoutVersion, data: bytes, *, dry_run: bool = False) -> list[Done]:
        """Puts a version there and moves the pointer to it. `data` are its canonical bytes, verified.

        Raises `Conflict` where somebody else has moved the pointer meanwhile.
        """
        private = self.is_private(version.layout_id)
        done, sealed, manifest = await self._put_version(version, data, dry_run=dry_run)
        before, tag = await self._read_pointer(version.layout_id)
        # Who pushes the version that a rollback was on its way to wants it there, and nothing finished later.
        after = move_pointer(before, sealed, manifest, self._clock()).finished
        key = pointer_key(version.layout_id, private=private)
        return done + await self._write_pointer(key, before, tag, after, dry_run=dry_run)

    async def ensure(self, version: LayoutVersion, load: Callable[[], Awaitable[bytes | None]]) -> list[Done]:
        """The same for a version that should be there already: where its manifest lies in every region, all objects
        have their sizes, and no region has another pointer than the first, nothing is sent. The pointer moves only on,
        and never to what was rolled back."""
        key = pointer_key(version.layout_id, private=self.is_private(version.layout_id))
        before, tag = await self._read_pointer(version.layout_id)
        behind = before is None or before.is_behind(version.version)
        here = before is not None and before.hash == version.hash
        seems = await asyncio.gather(*(self._seems_whole(region, version) for region in self.regions))
        if all(seems) and not behind and not (here and await self._pointers_differ(key)):
            return []
        data = await load()
        if data is None:
            return []
        done, sealed, manifest = await self._put_version(version, data, dry_run=False)
        if behind or here:
            after = move_pointer(before, sealed, manifest, self._clock())
            done += await self._write_pointer(key, before, tag, after)
        return done

    async def pointer(self, layout_id: str) -> Pointer | None:
        """Where the pointer is; None where there is none."""
        return (await self._read_pointer(layout_id))[0]

    async def roll_back(
        self,
        layout_id: str,
        *,
        request: str | None = None,
        leaving: int | None = None,
        retired: frozenset[str] = frozenset(),
        record: Callable[[Pointer], Awaitable[object]] | None = None,
        dry_run: bool = False,
    ) -> list[Done]:
        """Moves the pointer to where it was before, if all of that version lies whole in every region. Versions whose
        hashes are `retired` are passed over. `record` puts it on record, when all else is done.

        One that broke off is finished, whoever asks, and goes no step further. `request` names the request and its
        repetitions, `leaving` the version to go back from: where it has gone back so already, nothing moves either.
        Raises `NotFound` without a pointer, `Conflict` where it was nowhere before, is not at the version to be left,
        that before is not whole any more, or somebody else has moved the pointer meanwhile.
        """
        private = self.is_private(layout_id)
        before, tag = await self._read_pointer(layout_id)
        if before is None:
            raise NotFound(f"Nothing of {layout_id} is at the edge.")
        skipped: tuple[Step, ...] = ()
        after: Pointer | None = before
        if not _is_done(before, request, leaving):
            after, skipped = roll_back(before, self._clock(), private=private, request=request, retired=retired)
        if after is None:
            which = "nowhere before" if not skipped else "only at retired versions before"
            raise Conflict(f"The pointer of {layout_id} was {which} version {before.version}.")
        for region in self.regions:
            if (missing := await self._find_missing(region, after)) is not None:
                words = f"{missing} is not whole in {region.name}: push version {after.version} again."
                raise Conflict(f"The pointer of {layout_id} cannot go back: {words}")
        key = pointer_key(layout_id, private=private)
        keys = (object_key(layout_id, step.hash, "manifest.json", private=private) for step in skipped)
        done = [Done(self.regions[0].name, "skipped", each) for each in keys]
        done += await self._write_pointer(key, before, tag, after, dry_run=dry_run)
        if after.is_unfinished and not dry_run:
            if record is not None:
                await record(after)
            await self._finish(key, after)
        return done

    async def _finish(self, key: str, after: Pointer) -> None:
        """Says in the first region that nothing of a rollback is left to be done."""
        there, tag = await self._read_pointer(after.layout_id)
        if there != after:
            return  # It was moved on, or somebody else has finished it.
        objects, data = self.regions[0].objects, msgspec.json.encode(after.finished)
        # Where it was moved in this moment, there is nothing left to be said.
        await self._retried(lambda: objects.swap_object(key, data, tag, content_type=JSON, cached=SHORT_LIVED))

    async def _put_version(
        self, version: LayoutVersion, data: bytes, *, dry_run: bool
    ) -> tuple[list[Done], EdgeObject, Manifest]:
        private = self.is_private(version.layout_id)
        made = await asyncio.to_thread(make_objects, version.layout_id, version.hash, data, private=private)
        manifest = make_manifest(version, tuple(each for each, _ in made))
        sealed, manifest_data = seal_manifest(manifest, private=private)
        done: list[Done] = []
        for stage in (made, [(sealed, manifest_data)]):
            # Each stage in all regions before the next one in any.
            answers = await asyncio.gather(*(self._put_all(region, stage, dry_run) for region in self.regions))
            done += [each for answer in answers for each in answer]
        return done, sealed, manifest

    async def _put_all(self, region: Region, stage: Sequence[tuple[EdgeObject, bytes]], dry_run: bool) -> list[Done]:
        return [await self._put(region, wanted, data, dry_run) for wanted, data in stage]

    async def _put(self, region: Region, wanted: EdgeObject, data: bytes, dry_run: bool) -> Done:
        if await self._retried(lambda: _is_whole(region.objects, wanted)):
            return Done(region.name, "present", wanted.key, wanted.size_bytes)
        if not dry_run:
            await self._retried(lambda: _upload(region.objects, wanted, data))
        return Done(region.name, "uploaded", wanted.key, wanted.size_bytes)

    async def _seems_whole(self, region: Region, version: LayoutVersion) -> bool:
        manifest = await self._read_manifest(region, version.layout_id, version.hash)
        if manifest is None or manifest.hash != version.hash:
            return False
        for each in manifest.objects:
            if not await self._retried(partial(_has_size, region.objects, each)):
                return False
        return True

    async def _find_missing(self, region: Region, pointer: Pointer) -> str | None:
        data = await self._retried(lambda: region.objects.get_object(pointer.manifest))
        manifest = None if data is None else read_manifest(data)
        if data is None or manifest is None or hashlib.sha256(data).hexdigest() != pointer.manifest_sha256:
            return pointer.manifest
        for each in manifest.objects:
            if not await self._retried(partial(_is_whole, region.objects, each)):
                return each.key
        return None

    async def _read_manifest(self, region: Region, layout_id: str, layout_hash: str) -> Manifest | None:
        key = object_key(layout_id, layout_hash, "manifest.json", private=self.is_private(layout_id))
        data = await self._retried(lambda: region.objects.get_object(key))
        return None if data is None else read_manifest(data)

    async def _read_pointer(self, layout_id: str) -> tuple[Pointer | None, str | None]:
        """The pointer of the first region, and its tag. What is no pointer is as good as none, but has a tag."""
        if not is_id(layout_id):
            return None, None  # What is no id is no part of a key either: `..` least of all.
        key = pointer_key(layout_id, private=self.is_private(layout_id))
        found = await self._retried(lambda: self.regions[0].objects.get_tagged(key))
        return (None, None) if found is None else (read_pointer(found[0]), found[1])

    async def _pointers_differ(self, key: str) -> bool:
        """Whether a push has died between two regions, or one has lost its pointer."""
        if len(self.regions) == 1:
            return False
        reads = (self._retried(partial(region.objects.get_object, key)) for region in self.regions)
        first, *others = await asyncio.gather(*reads)
        pointer = None if first is None else read_pointer(first)
        if pointer is not None and pointer.is_unfinished:
            first = msgspec.json.encode(pointer.finished)
        return any(each != first for each in others)

    async def _write_pointer(
        self, key: str, before: Pointer | None, tag: str | None, after: Pointer, *, dry_run: bool = False
    ) -> list[Done]:
        """In the first region against whoever else moves it, then in the others, then forgotten at the edge. That a
        rollback is unfinished the first region alone says."""
        moved, data = msgspec.json.encode(after), msgspec.json.encode(after.finished)
        done: list[Done] = []
        first, *others = self.regions
        if after != before:
            if not dry_run:
                await self._retried(lambda: self._swap(first, key, moved, tag, after))
            done.append(Done(first.name, "moved", key, len(moved)))
        for region in others:
            there = await self._retried(partial(region.objects.get_object, key))
            if there == data:
                continue
            if not dry_run:
                write = partial(region.objects.put_object, key, data, content_type=JSON, cached=SHORT_LIVED)
                await self._retried(write)
            done.append(Done(region.name, "moved", key, len(data)))
        if self._distribution is not None:
            distribution, reference = self._distribution, hashlib.sha256(data).hexdigest()
            if not dry_run:
                # Also where nothing moved: the last try may have died before it. CloudFront knows the reference then.
                await self._retried(lambda: distribution.invalidate(key, reference))
            done.append(Done("cdn", "invalidated", key))
        return done

    async def _swap(self, region: Region, key: str, data: bytes, tag: str | None, after: Pointer) -> None:
        if await region.objects.swap_object(key, data, tag, content_type=JSON, cached=SHORT_LIVED):
            return
        # Ours may have gone through, and only its answer was lost.
        if await region.objects.get_object(key) != data:
            raise Conflict(f"The pointer of {after.layout_id} was moved by somebody else just now.")

    async def _retried(self, act: Callable[[], Awaitable[T]]) -> T:
        """What `act` answers, asked again with longer and longer pauses; a plain no is not asked again."""
        pause = limits.EDGE_PAUSE_SECONDS
        for left in reversed(range(limits.EDGE_TRIES)):
            try:
                return await act()
            except StoreRefused:
                raise
            except Unavailable:
                if not left:
                    raise
            await self._sleep(_SPREAD.uniform(0, pause))
            pause = min(2 * pause, limits.EDGE_PAUSE_SECONDS_MAX)
        raise AssertionError("unreachable")


def _is_done(pointer: Pointer, request: str | None, leaving: int | None) -> bool:
    """Whether a rollback has moved the pointer already. Raises `Conflict` where it is not at the version to be left."""
    if leaving is not None and leaving == pointer.left:
        return True
    if leaving is not None and (leaving != pointer.version or pointer.is_unfinished):
        left = f", on its way back from {pointer.left}" if pointer.is_unfinished else ""
        raise Conflict(f"The pointer of {pointer.layout_id} is at version {pointer.version}{left}, not at {leaving}.")
    return pointer.is_unfinished or (request is not None and pointer.request == request)


async def _is_whole(objects: "Objects", wanted: EdgeObject) -> bool:
    """Whether an object lies there with its bytes, its headers too."""
    if not await _has_size(objects, wanted):
        return False
    data = await objects.get_object(wanted.key)
    return data is not None and hashlib.sha256(data).hexdigest() == wanted.sha256


async def _has_size(objects: "Objects", wanted: EdgeObject) -> bool:
    head = await objects.head_object(wanted.key)
    return head is not None and (head.size_bytes, head.cache_control, head.content_type, head.encoding) == (
        *(wanted.size_bytes, IMMUTABLE, wanted.content_type, wanted.content_encoding),
    )


async def _upload(objects: "Objects", wanted: EdgeObject, data: bytes) -> None:
    await objects.put_object(wanted.key, data, content_type=wanted.content_type, encoding=wanted.content_encoding)
    copy = await objects.get_object(wanted.key)
    if copy is None or hashlib.sha256(copy).hexdigest() != wanted.sha256:
        raise Unavailable(f"The object store does not give back what was stored as {wanted.key}.")
