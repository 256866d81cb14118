"""Thousands of sockets that are cut, or told to go, all at once, and what must be true once they are back."""

import base64
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import psutil
from serving import LiveServer
from waiting import eventually

from lml_live import limits
from lml_live.bench import bounds
from lml_live.bench.child import Child, module, open_child
from lml_live.bench.counters import memory_bytes
from lml_live.bench.orders import Come, Cut, Done, Leave, Rest, Settle
from lml_live.inventory import seatmap
from lml_live.values import HELD

SECONDS_MAX = bounds.CHILD_ANSWER_SECONDS - 2 * bounds.CHILD_STOP_SECONDS
"""How long anything may take on a slow machine. How long it takes is measured elsewhere (`lml bench`)."""
DOCUMENTED = {"unavailable", "rate_limited", "patience"}
"""With a time after which to come back; and the server's patience with a handshake that takes a slow machine longer
than `HELLO_SECONDS_MAX`. A worker that ends resets besides whom it was shaking hands with."""


async def sockets_of(server: LiveServer) -> dict[int, int]:
    """Open sockets by worker, once all have been asked. Each fresh connection reaches any."""
    counts: dict[int, int] = {}

    async def look() -> bool:
        async with aiohttp.ClientSession() as http, http.get(f"{server.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        pid = next(int(line.split('"')[1]) for line in lines if line.startswith("lml_worker{"))
        counts[pid] = next(int(float(line.split()[1])) for line in lines if line.startswith("lml_sockets "))
        return set(counts) >= set(server.workers())

    await eventually(look, 30)
    return counts


def files_and_memory(server: LiveServer) -> tuple[int, int]:
    """Open files, and bytes of memory, of all workers."""
    workers = server.workers()
    return sum(psutil.Process(pid).num_fds() for pid in workers), sum(map(memory_bytes, workers))


class Storm:
    """`count` sockets of an event that is nobody else's. The first `busy` hold and release their seats."""

    def __init__(self, server: LiveServer, event: str, child: Child, count: int, busy: int) -> None:
        self.server, self.event, self.count, self.busy = server, event, count, busy
        self._child = child

    async def _ask(self, order: Any) -> Done:
        done = await self._child.ask(order)
        assert done.broken == []
        assert done.told.keys() <= DOCUMENTED | {"reset"}, done.told
        return done

    async def come(self, within_seconds: float, pause_seconds: float, seed: int = 1) -> Done:
        address = urlsplit(self.server.url)
        assert address.hostname is not None
        assert address.port is not None
        done = await self._ask(
            Come(
                host=address.hostname,
                port=address.port,
                event=self.event,
                count=self.count,
                busy=self.busy,
                pause_seconds=pause_seconds,
                within_seconds=within_seconds,
                seed=seed,
            )
        )
        assert (done.sockets, done.welcomed) == (self.count, self.count)
        return done

    async def cut(self) -> Done:
        """F34: all are reset at once. Each comes back and is told what it missed: the history covers it."""
        done = await self._ask(Cut(seconds_max=SECONDS_MAX))
        assert done.told.keys() <= DOCUMENTED, done.told
        assert (done.sockets, done.welcomed) == (self.count, 0)
        assert done.resumed >= self.count, "nobody lacks anything"
        return done

    async def kill(self) -> Done:
        """F1: the worker that has most of them is killed. The others do not notice."""
        counts = await sockets_of(self.server)
        victim = max(counts, key=lambda pid: counts[pid])
        os.kill(victim, signal.SIGKILL)
        done = await self._ask(Settle(returned=counts[victim], seconds_max=SECONDS_MAX))
        assert (done.resumed, done.welcomed) == (counts[victim], 0)
        await eventually(lambda: len(self.server.workers()) == len(counts) and victim not in self.server.workers(), 60)
        return done

    async def restart(self) -> Done:
        """F6: all workers are replaced, one after another. Everybody is told to come back, of when chance decides."""
        before = set(self.server.workers())
        assert self.server.process is not None
        self.server.process.send_signal(signal.SIGHUP)
        await eventually(
            lambda: len(self.server.workers()) == len(before) and not before & set(self.server.workers()), 60
        )
        done = await self._ask(Settle(returned=self.count, seconds_max=SECONDS_MAX))
        assert done.byes.keys() == {limits.BYE_MS}
        assert len(done.byes[limits.BYE_MS]) >= self.count - done.told.get("reset", 0), "nobody was cut without a word"
        assert done.resumed >= self.count
        assert done.welcomed == 0, "the history covers it"
        assert done.repeated, "what crossed the goodbye was asked again"
        return done

    async def rest(self) -> Done:
        """Nobody asks for anything more: all see the same, which is the truth, and what they were granted they have."""
        granted = await self._ask(Rest(seconds_max=SECONDS_MAX))
        path = f"/api/v1/events/{self.event}/availability"

        async def agreed() -> bool:
            """The last of it may not have been told yet, nor the other worker have read it."""
            async with self.server.session() as http, http.get(path) as answer:
                said = await answer.json()
            done = await self._ask(Settle(epoch=said["epoch"], seq=said["seq"], seconds_max=SECONDS_MAX))
            areas = msgspec.json.encode(said["areas"], order="deterministic").decode()
            truth = f"{said['epoch']} {said['seq']} {said['seats']} {areas}"
            assert len(set(done.holds.values())) == len(done.holds)
            assert done.holds.keys() <= set(range(self.busy))
            return done.pictures == {truth: self.count} and held_in(said["seats"]) == set(done.holds)

        await eventually(agreed, 30)
        return granted

    async def leave(self) -> None:
        """All are gone, and the workers know it."""
        await self._ask(Leave(group=""))

        async def left() -> bool:
            return not any((await sockets_of(self.server)).values())

        await eventually(left, 30)


def held_in(packed: str) -> set[int]:
    """The seats that are held, of a packed seat map as `availability` has it."""
    raw = base64.b64decode(packed)
    return {seat for seat, state in enumerate(seatmap.unpack(raw, len(raw) * 4)) if state == HELD}


@asynccontextmanager
async def storm_of(server: LiveServer, count: int, busy: int) -> AsyncIterator[Storm]:
    """Those who come are a process of their own, which ends with the block."""
    event = await server.new_event()
    async with open_child("those who come back", module("comebacks")) as child:
        yield Storm(server, event, child, count, busy)
