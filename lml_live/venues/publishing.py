"""Deployed layouts at the edge: opened by the settings, and looked after.

The server itself always serves `/layouts/…` from MongoDB, so nothing here may stop a sale: whoever calls notes an
`Unavailable` and tries again later.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from lml_live.errors import Conflict, NotFound, Unavailable
from lml_live.infra.config import Settings
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.edge import Pointer
from lml_live.venues.library import Library
from lml_live.venues.pushing import Done, Edge, Region
from lml_live.venues.stored import LayoutVersion

HOME = "home"
"""The region of `LML_S3_BUCKET`, whichever the AWS settings name."""


class Copied(msgspec.Struct, frozen=True):
    """What a look at the edge came to, as `layout_id/hash` each."""

    present: tuple[str, ...] = ()
    uploaded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@asynccontextmanager
async def open_edge(settings: Settings) -> AsyncIterator[Edge]:
    """The buckets and the CDN of the settings. Raises `Conflict` where no bucket is set."""
    if settings.s3_bucket is None:
        raise Conflict("LML_S3_BUCKET is not set: the server itself serves layouts, and there is no edge to push to.")
    from lml_live.infra.s3 import open_objects

    async with AsyncExitStack() as stack:
        regions = []
        for name, bucket in ((HOME, settings.s3_bucket), *(each.split("=", 1) for each in settings.s3_replicas)):
            region = None if name == HOME else name
            opening = open_objects(bucket, endpoint_url=settings.s3_endpoint_url, region=region)
            regions.append(Region(name, await stack.enter_async_context(opening)))
        distribution = None
        if settings.cdn_distribution is not None:
            from lml_live.infra.cdn import open_distribution

            address = settings.cdn_endpoint_url
            distribution = await stack.enter_async_context(
                open_distribution(settings.cdn_distribution, endpoint_url=address)
            )
        yield Edge(regions, distribution, private=frozenset(settings.private_layouts))


async def push_version(library: Library, edge: Edge, version: LayoutVersion, *, dry_run: bool = False) -> list[Done]:
    """Puts a version (`Library.deployed`) at the edge and moves the pointer to it. Raises as `Edge.push`, and
    `LayoutDamaged`."""
    data = await library.load_bytes(version.layout_id, version.hash)
    if data is None:
        raise Conflict(f"{version.key} is no published version.")
    for region in edge.regions if not dry_run else ():
        await region.objects.ensure_bucket()
    return await edge.push(version, data, dry_run=dry_run)


async def roll_back_pointer(
    library: Library,
    edge: Edge,
    layout_id: str,
    *,
    record: Callable[[Pointer], Awaitable[object]],
    request: str | None = None,
    leaving: int | None = None,
    dry_run: bool = False,
) -> list[Done]:
    """Moves the pointer back, never to a version that is retired. Raises as `Edge.roll_back`."""
    try:
        known = await library.status(layout_id)
    except LayoutDamaged:
        known = ()  # Its versions cannot be told from one another; what is at the edge is whole all the same.
    retired = frozenset(version.hash for version in known if version.state == "retired")
    return await edge.roll_back(
        layout_id, request=request, leaving=leaving, retired=retired, record=record, dry_run=dry_run
    )


async def ensure_published(library: Library, edge: Edge) -> Copied:
    """Uploads of every deployed version what is not there (any more).

    One that fails does not keep the others out; all failures are returned. Raises `Unavailable` only where MongoDB or
    a bucket itself cannot be reached.
    """
    for region in edge.regions:
        await region.objects.ensure_bucket()
    present: list[str] = []
    uploaded: list[str] = []
    failed: list[str] = []
    for version in await library.deployed_versions():
        name = f"{version.layout_id}/{version.hash}"

        async def load(version: LayoutVersion = version) -> bytes | None:
            # Nothing goes there that is not what was deployed, whatever hash it has in MongoDB.
            await library.deployed(version.layout_id, version.version)
            return await library.load_bytes(version.layout_id, version.hash)

        try:
            done = await edge.ensure(version, load)
            (uploaded if done else present).append(name)
        except (Unavailable, Conflict, LayoutDamaged, NotFound):
            failed.append(name)
    return Copied(tuple(present), tuple(uploaded), tuple(failed))
