"""A cluster: a pipe to each primary, and the map of the slots, read anew whenever a node says that it is out of date.

A call that met the wrong node was not run: it is answered `Unavailable`, and the next one goes where the new map says.
Following `MOVED` would gain nothing, for on another node an event's inventory must be adopted before it is believed.
"""

import asyncio
import logging
from binascii import crc_hqx
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from redis.exceptions import RedisError

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.infra.redis import Pipe, Script
from lml_live.infra.redis_address import Address, Place
from lml_live.infra.redis_sentinel import client_of, pipe_options

log = logging.getLogger(__name__)

SLOTS: Final = 16_384


class Primary(Struct, frozen=True):
    """A primary as a node of the cluster describes it."""

    at: Place
    epoch: int
    slots: tuple[tuple[int, int], ...]
    """(first, last), both included."""


def slot_of(tag: str) -> int:
    """The slot of the keys with this hash tag."""
    return crc_hqx(tag.encode(), 0) % SLOTS


def merge(views: Iterable[Iterable[Primary]]) -> tuple[list[Place | None], frozenset[Place]]:
    """Who owns each slot, of several nodes' views: the claim of the highest epoch is the newest. And all primaries."""
    owners: list[Place | None] = [None] * SLOTS
    claims = {primary for view in views for primary in view}
    for primary in sorted(claims, key=lambda primary: primary.epoch):
        for first, last in primary.slots:
            owners[first : last + 1] = [primary.at] * (last - first + 1)
    return owners, frozenset(owner for owner in owners if owner is not None)


class _ClusterPipe(Pipe):
    """A pipe to one node of a cluster, which tells the cluster when a call met the wrong node."""

    def __init__(self, cluster: "Cluster", *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cluster = cluster
        self.on_lost = cluster.look_again

    def _on_misplaced(self) -> None:
        self._cluster.look_again()


class Cluster:
    """The nodes of a cluster."""

    def __init__(self, address: Address, scripts: dict[str, Script], *, name: str = "lml") -> None:
        self._address = address
        self._scripts = scripts
        self._name = name
        self._pipes: dict[Place, _ClusterPipe] = {}
        self._slots: list[Pipe | None] = [None] * SLOTS
        self._known: set[Place] = set(address.hosts)
        """Nodes that can be asked, replicas among them."""
        self._changes = 0
        self._lookout: asyncio.Task[None] | None = None
        self._asked_to = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closing = False
        """The library may swallow a cancellation (`asyncio.wait_for`): then this ends the lookout."""

    @property
    def generation(self) -> int:
        return self._changes + sum(pipe.generation for pipe in self._pipes.values())

    async def start(self) -> None:
        await self._look()
        await asyncio.gather(*(pipe.ready() for pipe in self._pipes.values()), return_exceptions=True)
        if not any(pipe.connected for pipe in self._pipes.values()):
            await self.close()
            raise Unavailable("No node of the cluster serves.", retry_after_ms=limits.RETRY_AFTER_MS)
        self._lookout = asyncio.create_task(self._keep_looking(), name="redis cluster")

    async def close(self) -> None:
        self._is_closing = True
        if self._lookout is not None:
            self._lookout.cancel()
            await asyncio.gather(self._lookout, return_exceptions=True)
        await asyncio.gather(*(pipe.close() for pipe in self._pipes.values()), *self._closing)

    def of(self, tag: str) -> Pipe:
        pipe = self._slots[slot_of(tag)]
        if pipe is None:
            self.look_again()
            raise Unavailable("No node of the cluster has this event.", retry_after_ms=limits.RETRY_AFTER_MS)
        return pipe

    def spread(self, tags: Iterable[str]) -> list[tuple[Pipe, list[str]]]:
        by_slot: dict[int, list[str]] = {}
        for tag in tags:
            by_slot.setdefault(slot_of(tag), []).append(tag)
        return [(pipe, found) for slot, found in by_slot.items() if (pipe := self._slots[slot]) is not None]

    def nodes(self) -> list[Pipe]:
        return list(self._pipes.values())

    async def confirm(self, tag: str) -> None:
        """A majority of the primaries must be heard, and the newest map name the node that the key's pipe goes to."""
        before = self._slots[slot_of(tag)]
        if not await self._look():
            raise Unavailable("Too few nodes of the cluster answer.", retry_after_ms=limits.RETRY_AFTER_MS)
        if self._slots[slot_of(tag)] is not before:
            raise Unavailable("The event has moved to another node.", retry_after_ms=limits.RETRY_AFTER_MS)

    # --- Looking where the slots are

    def look_again(self) -> None:
        """A node said, or a broken connection shows, that the map may be out of date."""
        self._asked_to.set()

    async def _keep_looking(self) -> None:
        while not self._is_closing:
            try:
                async with asyncio.timeout(limits.REDIS_LOOK_SECONDS):
                    await self._asked_to.wait()
            except TimeoutError:
                pass
            self._asked_to.clear()
            try:
                await self._look()
            except Unavailable as error:
                log.warning("the cluster cannot be looked at: %s", error)
            # A node that goes on saying MOVED is not asked about more often than this.
            await asyncio.sleep(limits.REDIS_RECONNECT_SECONDS_MIN)

    async def _look(self) -> bool:
        """Asks all known nodes for the map, and goes by the newest; answers whether most primaries were heard.

        Raises `Unavailable` where nobody answers: the old map stays.
        """
        asked = sorted(self._known | set(self._address.hosts))
        answers = await asyncio.gather(*(self._ask(place) for place in asked))
        views = [answer for answer in answers if answer is not None]
        if not views:
            raise Unavailable("No node of the cluster answers.", retry_after_ms=limits.RETRY_AFTER_MS)
        owners, primaries = merge(primaries for primaries, _ in views)
        self._known = {place for _, places in views for place in places}
        self._follow(owners, primaries)
        heard = {place for place, answer in zip(asked, answers, strict=True) if answer is not None}
        return 2 * len(heard & primaries) > len(primaries)

    def _follow(self, owners: Sequence[Place | None], primaries: frozenset[Place]) -> None:
        for place in primaries - self._pipes.keys():
            log.info("the cluster has a primary at %s:%d", *place)
            pipe = _ClusterPipe(self, pipe_options(place, self._address.login), self._scripts, name=self._name)
            pipe.start_later()
            self._pipes[place] = pipe
            self._changes += 1
        slots: list[Pipe | None] = [None if owner is None else self._pipes[owner] for owner in owners]
        if slots != self._slots:
            self._slots = slots
            self._changes += 1
        for place in self._pipes.keys() - primaries:
            gone = self._pipes.pop(place)
            self._changes += gone.generation + 1  # `generation` never falls
            self._closing.add(task := asyncio.create_task(gone.close(), name="redis pipe closes"))
            task.add_done_callback(self._closing.discard)

    async def _ask(self, place: Place) -> tuple[list[Primary], set[Place]] | None:
        """One node's view: the primaries with their slots, and every node that can be asked."""
        try:
            async with asyncio.timeout(limits.REDIS_ASK_SECONDS):
                async with client_of(place, self._address.login) as client:
                    nodes = await client.execute_command("CLUSTER NODES")  # type: ignore[no-untyped-call]
                    return read_nodes(nodes, place)
        except (RedisError, OSError, TimeoutError, KeyError, ValueError) as error:
            log.debug("cluster node %s:%d says nothing: %s", *place, error)
            return None


def read_nodes(nodes: Mapping[str, Mapping[str, Any]], asked: Place) -> tuple[list[Primary], set[Place]]:
    """What `redis` makes of the CLUSTER NODES of the node asked: the primaries, and the nodes that can be asked."""
    primaries: list[Primary] = []
    places: set[Place] = set()
    for address, node in nodes.items():
        flags = set(str(node["flags"]).split(","))
        host, _, port = address.rpartition(":")
        # A node that listens under a name is called by it: with TLS its certificate says so.
        place = str(node["hostname"]) or host.strip("[]"), int(port)
        if "myself" in flags and not place[0]:
            place = asked  # a node that has never met another does not know its own address
        if not place[0] or flags & {"noaddr", "handshake"}:
            continue
        places.add(place)
        if "master" in flags and node["slots"]:
            slots = tuple((int(pair[0]), int(pair[-1])) for pair in node["slots"])
            primaries.append(Primary(place, int(node["epoch"]), slots))
    return primaries, places
