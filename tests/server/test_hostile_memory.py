"""What hostile sockets take of a real server's memory, and of its engines', does not grow with their number (I29)."""

import asyncio
import base64
import contextlib
import socket
import struct
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil
import redis.asyncio
from serving import LiveServer
from storm import files_and_memory, sockets_of
from waiting import eventually

from lml_live import limits
from lml_live.bench import frames

WARM_UPS, SOCKETS, AT_ONCE = 420, 1_050, 14
"""The first ones fill pools, caches and arenas; so few at once that what is in memory at a time hardly differs."""
LEAK_BYTES = 3_000
"""For each socket: 3 MB in all, where what allocators keep on a busy machine was seen to come to 1.8. A list that kept
each `Conversation` was 3,900 for each. Smaller leaks show in `make faults` (reconnect_storm.py)."""
POSTGRES_BYTES = 8 * 1024 * 1024
"""Caches of some connections that have met new statements."""
OTHERS = 4
"""Connections beside the pool: who listens for notices, and who leads."""
VALKEY_CLIENT_BYTES = 256 * 1024
"""Of one connection, its buffers of some 40 kB included."""


def anonymous_bytes(pid: int) -> int:
    """Memory of a process's own, no file's: others that come and go beside it do not change it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def hostile_ways(server: LiveServer) -> list[tuple[bytes, bytes | None]]:
    """What is sent first, and what once that was answered: None where no answer is waited for."""
    path = f"/api/v1/events/{server.event}"
    upgrade = (
        f"GET {path}/live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n"
    ).encode()
    hello = frames.client_frame(msgspec.json.encode({"type": "hello"}))
    stolen = frames.client_frame(msgspec.json.encode({"type": "hello", "token": f"lmlh_{'x' * 80}.y"}))
    hold = frames.client_frame(msgspec.json.encode({"type": "hold", "id": 1, "seats": [0, 10**9]}))
    deep = frames.client_frame(b'{"type":' + b"[" * 2_000)
    large = frames.client_frame(b" " * (limits.MESSAGE_BYTES_MAX + 1))
    post = (
        f"POST {path}/holds HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Idempotency-Key: k\r\nContent-Length: 90000\r\n\r\n{"
    ).encode()
    after_upgrade = (b"", hello[:9], b"\xff" * 40, stolen, large, hello, hello + deep * 6, hello + hold * 200)
    return [
        *((sent, None) for sent in (b"", b"\x16\x03\x01", upgrade[:60], upgrade, post)),
        (post + b"x" * 90_000, b""),
        *((upgrade, sent) for sent in after_upgrade),
    ]


async def attack(server: LiveServer, count: int) -> None:
    """So many, and every socket the server has forgotten when this returns."""
    loop, address, ways = asyncio.get_running_loop(), urlsplit(server.url), hostile_ways(server)

    turns = asyncio.Semaphore(AT_ONCE)

    async def come(number: int) -> None:
        first, then = ways[number % len(ways)]
        async with turns:
            await break_off(number, first, then)

    async def break_off(number: int, first: bytes, then: bytes | None) -> None:
        with socket.socket() as line:
            line.setblocking(False)
            await loop.sock_connect(line, (address.hostname, address.port))
            await loop.sock_sendall(line, first)
            if then is not None:
                await loop.sock_recv(line, 4_096)
                # It may have been shown out already; and not everybody is answered.
                with contextlib.suppress(ConnectionError, TimeoutError):
                    await loop.sock_sendall(line, then)
                    if number % 2:
                        await asyncio.wait_for(loop.sock_recv(line, 1), 0.2)
            if number % 3:  # a reset, where the others say goodbye
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    await asyncio.gather(*(come(number) for number in range(count)))

    async def forgotten() -> bool:
        return not any((await sockets_of(server)).values())

    await eventually(forgotten, 30)


BACKENDS = "SELECT pid, client_port FROM pg_stat_activity WHERE datname = current_database()"


async def engines_of(server: LiveServer, pid: int) -> tuple[dict[int, int], dict[str, dict[str, str]]]:
    """What the worker's engines have for it: memory of PostgreSQL's processes, and Valkey's word on its clients."""
    ports = {each.laddr.port for each in psutil.Process(pid).net_connections() if each.raddr}
    async with server.pool() as pool:
        rows = [row["pid"] for row in await pool.fetch(BACKENDS) if row["client_port"] in ports]
    async with redis.asyncio.from_url(server.redis_url) as valkey:
        clients = await valkey.client_list()
    return (
        {backend: anonymous_bytes(backend) for backend in rows},
        {each["id"]: each for each in clients if int(each["addr"].rpartition(":")[2]) in ports},
    )


async def test_hostile_sockets_leave_nothing_in_memory(live_server: LiveServer) -> None:
    (pid,) = live_server.workers()
    await attack(live_server, WARM_UPS)
    before, files = anonymous_bytes(pid), files_and_memory(live_server)[0]
    backends, clients = await engines_of(live_server, pid)
    await attack(live_server, SOCKETS)
    left = (anonymous_bytes(pid) - before) / SOCKETS
    assert left < LEAK_BYTES, "bytes of the worker that each socket left behind"
    assert files_and_memory(live_server)[0] <= files + limits.POSTGRES_POOL_MAX, "a pool may have grown"
    backends_now, clients_now = await engines_of(live_server, pid)
    assert 1 <= len(backends_now) <= limits.POSTGRES_POOL_MAX + OTHERS
    grown = sum(backends_now[one] - backends[one] for one in backends.keys() & backends_now.keys())
    assert grown < POSTGRES_BYTES, "of PostgreSQL's processes"
    assert len(clients_now) <= len(clients)
    assert clients_now
    for client in clients_now.values():
        assert int(client["omem"]) < VALKEY_CLIENT_BYTES, "what it has not read"
        assert int(client["tot-mem"]) < VALKEY_CLIENT_BYTES
