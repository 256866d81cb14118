"""Which Redis there is, by URL alone: one node, a primary that sentinels watch over, or a cluster.

    redis://[user:password@]host[:port][/db]                                     (rediss:// with TLS, unix:// a socket)
    redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[/db]     (rediss+sentinel://)
    redis+cluster://[user:password@]host[:port][,host[:port]…]                   (rediss+cluster://)

User and password are the data nodes'. Sentinels that ask for some are told those of the query: `?sentinel_username=…&
sentinel_password=…`. All keys of one event share a hash tag, so one pipe carries all of an event's calls.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Struct
from redis.asyncio.connection import parse_url

from lml_live.infra.redis import Pipe, Script
from lml_live.infra.redis_cluster import Cluster
from lml_live.infra.redis_sentinel import WatchedPipe


class Topology(Protocol):
    """The nodes, and which of them has a key. `Pipe` is the topology of one node."""

    @property
    def generation(self) -> int:
        """Rises whenever a connection or the layout of the nodes is another."""

    async def start(self) -> None:
        """Connects. Raises `Unavailable` where nothing can be reached."""

    async def close(self) -> None: ...

    def of(self, tag: str) -> Pipe:
        """The pipe of the node whose keys have this hash tag. Raises `Unavailable` while nobody has them."""

    def spread(self, tags: Iterable[str]) -> list[tuple[Pipe, list[str]]]:
        """The tags by pipe, in groups whose keys one command may name together; those that nobody has are left out."""

    def nodes(self) -> list[Pipe]:
        """The pipes of all nodes that may hold keys."""

    async def confirm(self, tag: str) -> None:
        """Makes sure, by the word of a majority, that `of(tag)` is the node that may change the key *now*.

        Asked before an event is adopted: a worker that only sees an old primary, still alive beside a promoted one,
        must not take the event back to it. Raises `Unavailable` where that cannot be made sure of.
        """


class Address(Struct, frozen=True):
    """What a URL says."""

    kind: str
    """node, sentinel or cluster."""
    hosts: tuple[tuple[str, int], ...]
    """Sentinels, or nodes of a cluster to begin with; empty for one node."""
    options: dict[str, Any]
    """How to speak to data nodes, as `redis` makes it of a URL; with the host for one node."""
    service: str = ""
    """The name under which sentinels know the primary."""
    sentinel_options: dict[str, Any] = {}


_SCHEME: Final = re.compile(r"(rediss?)\+(sentinel|cluster)://")
_PORTS: Final = {"sentinel": 26379, "cluster": 6379}


def parse_address(url: str) -> Address:
    """Reads a URL. Raises `ValueError` that says what is wrong, naming no password."""
    found = _SCHEME.match(url)
    if found is None:
        return Address("node", (), dict(parse_url(url)))
    scheme, kind = found[1], found[2]
    parts = urlsplit(url)
    login, _, places = parts.netloc.rpartition("@")
    hosts = tuple(_host(place, _PORTS[kind]) for place in places.split(","))
    # What is not peculiar to many hosts is read by the library, from a URL of one host.
    options = dict(parse_url(f"{scheme}://{login}{'@' if login else ''}host"))
    del options["host"]
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    path = [unquote(part) for part in parts.path.split("/") if part]
    if kind == "cluster":
        if path not in ([], ["0"]) or query:
            raise ValueError("has more than hosts; a cluster has one database, and no further options are known")
        return Address("cluster", hosts, options)
    if not 1 <= len(path) <= 2 or (len(path) == 2 and not path[1].isdecimal()):
        raise ValueError("names no service; redis+sentinel://host:26379,host:26379/service is expected")
    if len(path) == 2:
        options["db"] = int(path[1])
    secrets = {name.removeprefix("sentinel_"): query.pop(name) for name in list(query) if name in _SENTINEL_LOGIN}
    if query:
        raise ValueError(f"has an unknown option: {', '.join(sorted(query))}")
    secure = {"connection_class": options["connection_class"]} if "connection_class" in options else {}
    return Address("sentinel", hosts, options, path[0], secrets | secure)


_SENTINEL_LOGIN: Final = ("sentinel_username", "sentinel_password")


def _host(place: str, port: int) -> tuple[str, int]:
    """`host`, `host:port` or `[v6]:port`."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::(\d{1,5}))?", place)
    if found is None or not 0 < int(found[2] or port) < 65536:
        raise ValueError("has a host that cannot be read; host:port,host:port is expected")
    return found[1].strip("[]"), int(found[2] or port)


def open_topology(url: str, scripts: dict[str, Script], *, name: str = "lml") -> Topology:
    """The topology that a URL names, not started. Raises `ValueError`."""
    address = parse_address(url)
    match address.kind:
        case "sentinel":
            return WatchedPipe(
                address.hosts, address.service, address.sentinel_options, address.options, scripts, name=name
            )
        case "cluster":
            return Cluster(address.hosts, address.options, scripts, name=name)
    return Pipe(url, scripts, name=name)
