"""The nodes of Redis, and which of them has a key: all that the house knows of sentinels and clusters.

All keys of one event share the hash tag of its group, so one node's pipe carries all of an event's calls.
"""

from collections.abc import Iterable
from typing import Protocol

from lml_live.infra.redis import Pipe, Script
from lml_live.infra.redis_address import parse_address


class Topology(Protocol):
    """The nodes. A `Pipe` is the topology of one node."""

    @property
    def generation(self) -> int:
        """Rises whenever a connection is another, or another node has some keys."""

    async def start(self) -> None:
        """Connects. Raises `Unavailable` where nothing can be reached."""

    async def close(self) -> None:
        """Ends all connections."""

    def of(self, tag: str) -> Pipe:
        """The pipe of the node whose keys have this hash tag. Raises `Unavailable` while no node has them."""

    def spread(self, tags: Iterable[str]) -> list[tuple[Pipe, list[str]]]:
        """The tags by pipe, in groups whose keys one command may name; those that no node has are left out."""

    def nodes(self) -> list[Pipe]:
        """The pipes of all nodes that have keys."""

    async def confirm(self, tag: str) -> None:
        """Makes sure, by the word of a majority, that `of(tag)` is the node that may change the keys *now*.

        Asked before an event is adopted: a worker that sees an old primary only, still alive beside a promoted one,
        must not take the event back to it. Raises `Unavailable` where that cannot be made sure of.
        """


def open_topology(url: str, scripts: dict[str, Script], *, name: str = "lml") -> Topology:
    """The topology that a URL names, not started. Raises `ValueError`.

    What asks sentinels and clusters is imported for them alone: their client takes a tenth of a second.
    """
    address = parse_address(url)
    if address is None:
        return Pipe(url, scripts, name=name)
    if address.kind == "sentinel":
        from lml_live.infra.redis_sentinel import WatchedPipe

        return WatchedPipe(address, scripts, name=name)
    from lml_live.infra.redis_cluster import Cluster

    return Cluster(address, scripts, name=name)
