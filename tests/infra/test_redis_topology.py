"""Addresses of sentinels and clusters, and what several nodes' views of a cluster amount to."""

from typing import Any

import pytest
from redis.asyncio.connection import SSLConnection, parse_url

from lml_live.errors import InvalidInput
from lml_live.infra.config import load_settings, mask_secrets
from lml_live.infra.redis import Pipe
from lml_live.infra.redis_address import Address, Login, parse_address, read_node
from lml_live.infra.redis_cluster import Cluster, Primary, merge, read_nodes, slot_of
from lml_live.infra.redis_sentinel import WatchedPipe, pipe_options
from lml_live.infra.redis_topology import open_topology

A, B, C = ("10.0.0.1", 6379), ("10.0.0.2", 6379), ("10.0.0.3", 7000)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://10.0.0.1:6379/0", None),
        ("unix:///run/redis.sock", None),
        ("redis+cluster://10.0.0.1", Address("cluster", (A,), Login())),
        ("redis+cluster://10.0.0.1,10.0.0.2:6379,10.0.0.3:7000/0", Address("cluster", (A, B, C), Login())),
        (
            "rediss+cluster://lml:p%40ss@10.0.0.1:6379,[::1]:7000",
            Address("cluster", (A, ("::1", 7000)), Login("lml", "p@ss", secure=True)),
        ),
        ("redis+sentinel://10.0.0.1/hall", Address("sentinel", (("10.0.0.1", 26379),), Login(), 0, "hall")),
        (
            "redis+sentinel://:secret@s1,s2:5000/hall/3?sentinel_password=other",
            Address("sentinel", (("s1", 26379), ("s2", 5000)), Login("", "secret"), 3, "hall", Login("", "other")),
        ),
    ],
)
def test_an_address(url: str, address: Address | None) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+sentinel://10.0.0.1:26379", "names no service"),
        ("redis+sentinel://10.0.0.1:26379/hall/x", "names no service"),
        ("redis+sentinel://10.0.0.1:26379,/hall", "host that cannot be read"),
        ("redis+sentinel://10.0.0.1:99999/hall", "host that cannot be read"),
        ("redis+sentinel://10.0.0.1/hall?timeout=1", "option that is not known: timeout"),
        ("redis+cluster://10.0.0.1/1", "names a database"),
        ("redis+cluster://10.0.0.1?sentinel_password=x", "option that is not known"),
        ("redis+magic://10.0.0.1", "no address of this kind"),
    ],
)
def test_an_address_that_is_none_is_told_at_the_start(url: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        load_settings({"LML_REDIS_URL": url})


def test_passwords_in_addresses_of_many_hosts_are_masked() -> None:
    assert mask_secrets("redis+sentinel://lml:secret@s1,s2/hall") == "redis+sentinel://lml:***@s1,s2/hall"


def test_the_address_says_what_there_is() -> None:
    assert type(open_topology("redis://10.0.0.1", {})) is Pipe
    assert type(open_topology("redis+sentinel://10.0.0.1/hall", {})) is WatchedPipe
    assert type(open_topology("redis+cluster://10.0.0.1", {})) is Cluster


def test_a_pipe_is_told_login_and_encryption() -> None:
    options = pipe_options(A, Login("lml", "secret", secure=True), 2)
    assert options == {
        "secure": True,
        "host": "10.0.0.1",
        "port": 6379,
        "db": 2,
        "username": "lml",
        "password": "secret",
    }
    assert not pipe_options(A, Login())["secure"]


@pytest.mark.parametrize(
    ("url", "node"),
    [
        ("redis://", {}),
        ("redis://10.0.0.1", {"host": "10.0.0.1"}),
        ("redis://10.0.0.1:6380/3", {"host": "10.0.0.1", "port": 6380, "db": 3}),
        ("redis://10.0.0.1/3?db=4&socket_timeout=1", {"host": "10.0.0.1", "db": 4}),
        ("redis://[::1]:6380/", {"host": "::1", "port": 6380}),
        ("redis://:p%40%2Fss@[::1]", {"host": "::1", "password": "p@/ss"}),
        ("rediss://l%3Aml:a%25@hall", {"host": "hall", "username": "l:ml", "password": "a%", "secure": True}),
        ("unix:///run/a%20b.sock", {"path": "/run/a b.sock"}),
        (
            "unix://lml:secret@/run/b.sock?db=2",
            {"path": "/run/b.sock", "username": "lml", "password": "secret", "db": 2},
        ),
    ],
)
def test_one_nodes_address_is_read_as_the_client_of_redis_reads_it(url: str, node: dict[str, Any]) -> None:
    theirs = dict(parse_url(url))
    kinds = {name: theirs.pop(name, None) for name in ("connection_class", "socket_timeout")}
    assert read_node(url) == node == theirs | ({"secure": True} if kinds["connection_class"] is SSLConnection else {})


@pytest.mark.parametrize("url", ["http://10.0.0.1", "redis://10.0.0.1:99999", "redis://10.0.0.1:x"])
def test_what_is_no_nodes_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        read_node(url)


def test_a_slot_is_the_clusters() -> None:
    # The specification's own example, and one whose hash tag is the whole key.
    assert (slot_of("123456789"), slot_of("foo")) == (12739, 12182)


@pytest.mark.parametrize(
    ("views", "owners"),
    [
        ([[Primary(A, 1, ((0, 9),)), Primary(B, 2, ((10, 19),))]], {0: A, 9: A, 10: B, 19: B, 20: None}),
        # A replica was promoted; the old primary's own view is older.
        ([[Primary(A, 1, ((0, 9),))], [Primary(B, 5, ((0, 9),))]], {0: B, 9: B}),
        ([[Primary(B, 5, ((0, 9),))], [Primary(A, 1, ((0, 9),))]], {0: B, 9: B}),
        # A slot has moved, and one node does not know yet.
        (
            [
                [Primary(A, 1, ((0, 9),)), Primary(B, 2, ((10, 19),))],
                [Primary(A, 1, ((0, 8),)), Primary(B, 6, ((9, 19),))],
            ],
            {8: A, 9: B},
        ),
    ],
)
def test_of_several_views_the_newest_claim_to_a_slot_counts(views, owners) -> None:  # type: ignore[no-untyped-def]
    found, _ = merge(views)
    assert {slot: found[slot] for slot in owners} == owners


def test_what_a_node_says_of_the_cluster() -> None:
    def node(flags: str, slots: list[list[str]], epoch: str = "3", hostname: str = "") -> dict[str, object]:
        return {"flags": flags, "slots": slots, "epoch": epoch, "hostname": hostname}

    said = {
        "10.0.0.1:6379": node("myself,master", [["0", "5460"], ["9000"]]),
        "10.0.0.2:6379": node("master", [], "4"),
        "10.0.0.3:7000": node("slave", []),
        "10.0.0.4:6379": node("master,fail", [["6000", "6001"]], hostname="node-d"),
        ":0": node("master,noaddr", [["7000", "7001"]]),
        "10.0.0.5:6379": node("handshake", []),
    }
    primaries, places = read_nodes(said, ("seed", 6379))
    assert primaries == [
        Primary(A, 3, ((0, 5460), (9000, 9000))),
        Primary(("node-d", 6379), 3, ((6000, 6001),)),
    ]
    assert places == {A, B, C, ("node-d", 6379)}
    alone = {":7000": node("myself,master", [["0", "16383"]])}
    assert read_nodes(alone, ("seed", 7000))[0] == [Primary(("seed", 7000), 3, ((0, 16383),))]
