"""What lies at the edge for a layout: names, headers, manifest, pointer. Pure; `venues.pushing` puts it there.

    layouts/hall/<hash>.json            the canonical bytes               for ever
    layouts/hall/<hash>.json.gz         the same, zipped: for clients     for ever
    layouts/hall/<hash>.manifest.json   what there is, with sizes and hashes; written when all of it is there
    layouts/hall/current.json           the pointer: which version is the newest; the one thing that changes

Layouts that are private lie under `private/` instead of `layouts/`: there the CDN wants a signature.
"""

import gzip
import hashlib
from typing import Final

import msgspec

from lml_live import limits
from lml_live.venues.stored import LayoutVersion

ROOT: Final = "layouts"
PRIVATE_ROOT: Final = "private"
JSON: Final = "application/json"
SHORT_LIVED: Final = f"public, max-age={limits.POINTER_SECONDS}"


class EdgeObject(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object, as it must be. `sha256` is of its bytes as they lie there."""

    key: str
    sha256: str
    size_bytes: int
    content_type: str
    content_encoding: str | None = None


class Manifest(msgspec.Struct, frozen=True):
    """All that a client may want of one version."""

    layout_id: str
    version: int
    hash: str
    seat_count: int
    place_count: int
    objects: tuple[EdgeObject, ...]


class Step(msgspec.Struct, frozen=True):
    """A version that the pointer has been at."""

    version: int
    hash: str
    manifest_sha256: str


class Pointer(msgspec.Struct, frozen=True):
    """Which version is the newest, and those before it, the latest first: where a rollback goes."""

    layout_id: str
    version: int
    hash: str
    manifest: str
    manifest_sha256: str
    moved_ms: int
    history: tuple[Step, ...] = ()
    withdrawn: int = 0
    """The highest version that was ever rolled back: none up to it comes back by itself."""
    request: str | msgspec.UnsetType = msgspec.UNSET
    """Which request rolled it back to here: asked again, it goes no further."""
    left: int | msgspec.UnsetType = msgspec.UNSET
    """The version that it was rolled back from."""
    unfinished: bool | msgspec.UnsetType = msgspec.UNSET
    """True in the first region alone, from when a rollback has moved it until that is at the edge and on record."""

    @property
    def is_unfinished(self) -> bool:
        """Whether a rollback to here is under way, or broke off."""
        return self.unfinished is True

    @property
    def finished(self) -> "Pointer":
        """As it is in the end, and in the other regions all along."""
        return msgspec.structs.replace(self, unfinished=msgspec.UNSET)

    def is_behind(self, version: int) -> bool:
        """Whether the pointer moves on to a version by itself."""
        return version > max(self.version, self.withdrawn)


_MANIFESTS: Final = msgspec.json.Decoder(Manifest)
_POINTERS: Final = msgspec.json.Decoder(Pointer)


def object_key(layout_id: str, layout_hash: str, suffix: str = "json", *, private: bool = False) -> str:
    """The object of one layout version; `suffix` is `json`, `json.gz` or `manifest.json`."""
    return f"{PRIVATE_ROOT if private else ROOT}/{layout_id}/{layout_hash}.{suffix}"


def pointer_key(layout_id: str, *, private: bool = False) -> str:
    """The pointer of a layout."""
    return f"{PRIVATE_ROOT if private else ROOT}/{layout_id}/current.json"


def public_url(cdn_base_url: str, layout_id: str, layout_hash: str) -> str:
    """Where a browser finds the layout behind the CDN: zipped, as CloudFront itself zips nothing above 10 MB."""
    return f"{cdn_base_url.rstrip('/')}/{object_key(layout_id, layout_hash, 'json.gz')}"


def zip_layout(data: bytes) -> bytes:
    """The zipped form of canonical bytes: the same everywhere, server and bucket."""
    return gzip.compress(data, limits.LAYOUT_GZIP_LEVEL, mtime=0)


def make_objects(layout_id: str, layout_hash: str, data: bytes, *, private: bool) -> list[tuple[EdgeObject, bytes]]:
    """The forms of a layout, each with its bytes."""
    return list_objects(layout_id, layout_hash, data, zip_layout(data), private=private)


def list_objects(
    layout_id: str, layout_hash: str, data: bytes, zipped: bytes, *, private: bool
) -> list[tuple[EdgeObject, bytes]]:
    """The same of a layout that is zipped already."""
    return [
        (_object(object_key(layout_id, layout_hash, "json", private=private), data), data),
        (_object(object_key(layout_id, layout_hash, "json.gz", private=private), zipped, "gzip"), zipped),
    ]


def make_manifest(version: LayoutVersion, objects: tuple[EdgeObject, ...]) -> Manifest:
    """The manifest of a version."""
    return Manifest(
        *(version.layout_id, version.version, version.hash, version.seat_count, version.place_count, objects)
    )


def seal_manifest(manifest: Manifest, *, private: bool) -> tuple[EdgeObject, bytes]:
    """The manifest as an object."""
    data = msgspec.json.encode(manifest)
    return _object(object_key(manifest.layout_id, manifest.hash, "manifest.json", private=private), data), data


def move_pointer(before: Pointer | None, manifest: EdgeObject, made: Manifest, now_ms: int) -> Pointer:
    """The pointer at another version; itself where it is there already, and its manifest is the one that it names."""
    there = None if before is None else (before.hash, before.manifest, before.manifest_sha256)
    if before is not None and there == (made.hash, manifest.key, manifest.sha256):
        return before
    history: tuple[Step, ...] = ()
    withdrawn = 0 if before is None else before.withdrawn
    if before is not None:
        steps = (Step(before.version, before.hash, before.manifest_sha256), *before.history)
        history = tuple(step for step in steps if step.hash != made.hash)[: limits.POINTER_HISTORY_MAX]
    return Pointer(made.layout_id, made.version, made.hash, manifest.key, manifest.sha256, now_ms, history, withdrawn)


def roll_back(
    before: Pointer,
    now_ms: int,
    *,
    private: bool,
    request: str | None = None,
    retired: frozenset[str] = frozenset(),
) -> tuple[Pointer | None, tuple[Step, ...]]:
    """The pointer where it was before, unfinished, and the steps that are passed over, as their hashes are `retired`:
    no pointer where there is no other."""
    place = next((place for place, step in enumerate(before.history) if step.hash not in retired), None)
    if place is None:
        return None, before.history
    skipped, step, others = before.history[:place], before.history[place], before.history[place + 1 :]
    key = object_key(before.layout_id, step.hash, "manifest.json", private=private)
    withdrawn = max(before.withdrawn, before.version)
    after = Pointer(
        *(before.layout_id, step.version, step.hash, key, step.manifest_sha256, now_ms, others, withdrawn),
        request=msgspec.UNSET if request is None else request,
        left=before.version,
        unfinished=True,
    )
    return after, skipped


def read_manifest(data: bytes) -> Manifest | None:
    """A manifest's bytes as what they say; None where they are none."""
    try:
        return _MANIFESTS.decode(data)
    except msgspec.MsgspecError:
        return None


def read_pointer(data: bytes) -> Pointer | None:
    """A pointer's bytes as what they say; None where they are none."""
    try:
        return _POINTERS.decode(data)
    except msgspec.MsgspecError:
        return None


def _object(key: str, data: bytes, encoding: str | None = None) -> EdgeObject:
    return EdgeObject(key, hashlib.sha256(data).hexdigest(), len(data), JSON, encoding)
