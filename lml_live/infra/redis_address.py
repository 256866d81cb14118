"""Reads the address of Redis: one node, a primary that sentinels watch over, or a cluster.

    redis://[user:password@]host[:port][/db]                                  rediss:// with TLS, unix:///path a socket
    redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[/db]  rediss+sentinel:// with TLS
    redis+cluster://[user:password@]host[:port][,host[:port]…]                rediss+cluster:// with TLS

User and password are the data nodes'; sentinels that want some are told those of the query,
`?sentinel_username=…&sentinel_password=…`.
"""

import re
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Struct

Place = tuple[str, int]
"""Host and port."""


class Login(Struct, frozen=True):
    """How to speak to a node."""

    username: str = ""
    password: str = ""
    secure: bool = False


class Address(Struct, frozen=True):
    """An address of several hosts."""

    kind: str
    """sentinel or cluster."""
    hosts: tuple[Place, ...]
    """Sentinels, or nodes of a cluster to begin with."""
    login: Login
    database: int = 0
    service: str = ""
    """The name under which sentinels know the primary."""
    sentinel_login: Login = Login()


_SCHEME: Final = re.compile(r"(rediss?)\+(sentinel|cluster)://")
_PORTS: Final = {"sentinel": 26379, "cluster": 6379}
_SENTINEL_OPTIONS: Final = {"sentinel_username", "sentinel_password"}


def parse_address(url: str) -> Address | None:
    """Reads a URL; None for one node's (`read_node`). Raises `ValueError` that says what is wrong."""
    found = _SCHEME.match(url)
    if found is None:
        return None
    kind, secure = found[2], found[1] == "rediss"
    parts = urlsplit(url)
    credentials, _, places = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    login = Login(unquote(username), unquote(password), secure)
    hosts = tuple(_host(place, _PORTS[kind]) for place in places.split(","))
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    path = [unquote(part) for part in parts.path.split("/") if part]
    if unknown := query.keys() - (_SENTINEL_OPTIONS if kind == "sentinel" else set()):
        raise ValueError(f"has an option that is not known: {', '.join(sorted(unknown))}")
    if kind == "cluster":
        if path not in ([], ["0"]):
            raise ValueError("names a database, but a cluster has one only; redis+cluster://host:port,… is expected")
        return Address(kind, hosts, login)
    if not 1 <= len(path) <= 2 or (len(path) == 2 and not path[1].isdecimal()):
        raise ValueError("names no service; redis+sentinel://host:26379,host:26379/service is expected")
    sentinel_login = Login(query.get("sentinel_username", ""), query.get("sentinel_password", ""), secure)
    return Address(kind, hosts, login, int(path[1]) if len(path) == 2 else 0, path[0], sentinel_login)


def read_node(url: str) -> dict[str, Any]:
    """What a pipe is told of one node: of `host`, `port`, `path`, `db`, `username`, `password` and `secure` what the
    URL says. Raises `ValueError`.

    Read as the `redis` client reads it; importing that takes an eighth of a server's start. Its options in the query
    (`socket_timeout` and the like) mean nothing to a pipe, but for `db`.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"{parts.scheme}:// is no Redis; redis://, rediss:// or unix:// is expected")
    database = parse_qs(parts.query).get("db", [parts.path.strip("/")])[0]
    login = {"username": parts.username, "password": parts.password}
    found: dict[str, Any] = {name: unquote(value) for name, value in login.items() if value}
    if parts.scheme == "unix":
        found["path"] = unquote(parts.path)
    else:
        found |= {name: value for name, value in (("host", parts.hostname), ("port", parts.port)) if value}
    if parts.scheme == "rediss":
        found["secure"] = True
    return found | ({"db": int(database)} if database.isdecimal() else {})


def _host(text: str, port: int) -> Place:
    """`host`, `host:port` or `[v6]:port`."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::(\d{1,5}))?", text)
    if found is None or not 0 < int(found[2] or port) < 65536:
        raise ValueError("has a host that cannot be read; host:port,host:port is expected")
    return found[1].strip("[]"), int(found[2] or port)
