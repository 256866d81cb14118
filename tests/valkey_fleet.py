"""Several Valkeys that know each other: a cluster of three, and a primary with a replica and sentinels.

Processes are the devstack's own `Valkey`; only the lines of their configuration differ.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from waiting import eventually

from lml_live.devstack.child import LOOPBACK, free_port
from lml_live.devstack.servers import Valkey, write_private
from lml_live.infra.redis_cluster import SLOTS

NODE_TIMEOUT_MS = 1_000


class Sentinel(Valkey):
    """`valkey-server --sentinel`, watching one service."""

    def __init__(self, directory: Path, service: str, primary_port: int, quorum: int) -> None:
        super().__init__(directory)
        self._lines = (
            f"sentinel monitor {service} {LOOPBACK} {primary_port} {quorum}",
            f"sentinel down-after-milliseconds {service} 1000",
            f"sentinel failover-timeout {service} 3000",
        )

    def arguments(self) -> list[str]:
        return [self.marker, "--sentinel"]

    async def prepare(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = (f"port {self.port}", f"bind {LOOPBACK}", f'dir "{self.directory}"', "set-proc-title no")
        write_private(Path(self.marker), "\n".join((*own, *self._lines)) + "\n")


@contextlib.asynccontextmanager
async def asking(valkey: Valkey) -> Any:
    """The library's client of one node."""
    client = Redis(host=LOOPBACK, port=valkey.port, decode_responses=True, protocol=2)
    try:
        yield client
    finally:
        await client.aclose()


async def ask(valkey: Valkey, *words: Any) -> Any:
    """One command to one node."""
    async with asking(valkey) as client:
        return await client.execute_command(*words)


class Fleet:
    """What a test started; `close` ends all of it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.valkeys: list[Valkey] = []

    async def start(self, *, name: str, **options: str) -> Valkey:
        options = {option.replace("_", "-"): value for option, value in options.items()}
        valkey = Valkey(self._directory / name, options={"appendonly": "no", **options})
        self.valkeys.append(valkey)
        await valkey.start()
        return valkey

    async def close(self) -> None:
        for valkey in reversed(self.valkeys):
            await valkey.kill()


class ClusterFleet(Fleet):
    """Three primaries, the slots in three even parts; and a replica of the last one."""

    primaries: list[Valkey]
    replica: Valkey

    async def open(self) -> None:
        nodes = [await self._node(f"node{number}") for number in range(4)]
        self.primaries, self.replica = nodes[:3], nodes[3]
        for node in nodes[1:]:
            await ask(node, "CLUSTER", "MEET", LOOPBACK, nodes[0].port, nodes[0].options["cluster-port"])
        for number, node in enumerate(self.primaries):
            first, last = number * SLOTS // 3, (number + 1) * SLOTS // 3 - 1
            await ask(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
        owner = await ask(self.primaries[2], "CLUSTER", "MYID")
        await eventually(lambda: self._replicates(owner), 30)
        await eventually(self._all_agree, 30)

    async def _node(self, name: str) -> Valkey:
        return await self.start(
            name=name,
            cluster_enabled="yes",
            cluster_port=str(free_port()),
            cluster_node_timeout=str(NODE_TIMEOUT_MS),
            cluster_require_full_coverage="no",
            cluster_replica_validity_factor="0",
            repl_diskless_sync_delay="0",
        )

    async def _replicates(self, owner: str) -> bool:
        with contextlib.suppress(Exception):  # it has not met the owner yet
            await ask(self.replica, "CLUSTER", "REPLICATE", owner)
            return True
        return False

    async def _all_agree(self) -> bool:
        for node in self.primaries:
            info = await ask(node, "CLUSTER", "INFO")
            if "cluster_state:ok" not in info or "cluster_known_nodes:4" not in info:
                return False
        link = await ask(self.replica, "INFO", "replication")
        return bool(link.get("master_link_status") == "up")

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.primaries[:2])

    async def move_slot(
        self, slot: int, source: Valkey, target: Valkey, *, half_way: Callable[[], Awaitable[None]]
    ) -> None:
        """Moves a slot as `--cluster reshard` does, key by key; `half_way` is called when one of its keys has moved."""
        source_id, target_id = await ask(source, "CLUSTER", "MYID"), await ask(target, "CLUSTER", "MYID")
        await ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        keys = await ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 1_000)
        await ask(source, "MIGRATE", LOOPBACK, target.port, "", 0, 5_000, "KEYS", keys[0])
        await half_way()
        await ask(source, "MIGRATE", LOOPBACK, target.port, "", 0, 5_000, "KEYS", *keys[1:])
        for node in (target, source, *self.primaries):
            await ask(node, "CLUSTER", "SETSLOT", slot, "NODE", target_id)


class Gate:
    """A proxy before a port. When it is shut, only those who say the password go on: for them nothing has happened."""

    def __init__(self, port: int, *, friends: bytes = b"") -> None:
        self._port = port
        self._friends = friends
        self.shut = False
        self.delay_seconds = 0.0
        """What each piece of data waits before it is passed on."""
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._known: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        self.cut(friends_too=True)

    def cut(self, *, friends_too: bool = False) -> None:
        """Shuts the gate and ends the connections of those who are no friends."""
        self.shut = True
        for pair in list(self._open):
            if friends_too or pair not in self._known:
                for writer in pair:
                    writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.read(65_536)
            is_friend = bool(self._friends) and self._friends in first
            if not first or (self.shut and not is_friend):
                writer.transport.abort()
                return
            server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, server_writer)
        self._open.add(pair)
        if is_friend:
            self._known.add(pair)
        server_writer.write(first)
        await asyncio.gather(self._pass_on(reader, server_writer), self._pass_on(server_reader, writer))
        self._open.discard(pair)
        self._known.discard(pair)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await asyncio.sleep(self.delay_seconds)
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        sink.transport.abort()
