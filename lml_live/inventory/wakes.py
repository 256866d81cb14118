"""Pub/sub that wakes the workers who watch an event: there is something in its log. What is there the log says.

Who acts on an event publishes its id with the act, on a channel of the node that has it. A quiet event is published at
once, a busy one every `limits.WAKE_AGAIN_SECONDS`: whoever was woken reads its log each tick for longer than that, so
the acts between need no message (docs/decisions/040-pub-sub-wakes.md).

A message may be lost, and silence is no proof of anything: a worker knows that it hears a node by messages that come,
and sends one itself where none does. Quiet logs are read every `limits.QUIET_ROOM_SECONDS` nevertheless
(`inventory.feed`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from lml_live import limits
from lml_live.errors import LmlError, Unavailable
from lml_live.infra.redis import Pipe
from lml_live.infra.redis_topology import Topology

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

log = logging.getLogger(__name__)


def _channel_of(pipe: Pipe) -> str:
    """A node's own channel: a cluster's nodes hand on to each other what is published on any."""
    return f"lml:wakes:{pipe.run_id}"


class Wakes:
    """What the workers on one Redis tell each other, and hear."""

    def __init__(self, redis: Topology) -> None:
        self._redis = redis
        self.heard: Callable[[Iterable[str]], None] = lambda _events: None
        """Told the ids of events whose logs have something new: acts of this worker, and of all others."""
        self.lost: Callable[[], None] = lambda: None
        """Told that a node is heard no more: what was said meanwhile is not known."""
        self._told: dict[str, tuple[Pipe, int, float]] = {}
        """By event, through which connection of which node it was told, and until when it need not be again."""
        self._news: dict[Pipe, set[str]] = {}
        self._published = 0.0
        self._is_due = False
        self._ears: dict[Pipe, _Ear] = {}

    @property
    def hearing(self) -> bool:
        """Whether every node is heard that has keys. Where one is not, its events' logs must be read unasked."""
        return all((ear := self._ears.get(pipe)) is not None and ear.hears for pipe in self._redis.nodes())

    def tell(self, event: str, pipe: Pipe) -> None:
        """An act on an event is being sent: wakes who watches it, unless they are awake. Raises nothing."""
        now = time.monotonic()
        told = self._told.get(event)
        if told is not None and told[:2] == (pipe, pipe.generation) and now < told[2]:
            return
        self._note(event, pipe, now)
        self._news.setdefault(pipe, set()).add(event)
        if not self._is_due:
            # After the act, which is written at the end of this turn of the loop; of many events, together.
            self._is_due = True
            pause = self._published + limits.WAKE_PAUSE_SECONDS - now
            asyncio.get_running_loop().call_later(max(0.0, pause), self._publish)

    def _note(self, event: str, pipe: Pipe, now: float) -> None:
        if len(self._told) >= limits.WAKES_NOTED_MAX:
            self._told.clear()
        self._told[event] = pipe, pipe.generation, now + limits.WAKE_AGAIN_SECONDS

    def _publish(self) -> None:
        self._is_due, self._published = False, time.monotonic()
        news, self._news = self._news, {}
        for pipe, events in news.items():
            pipe.publish(_channel_of(pipe), " ".join(events))
            self.heard(events)

    def take(self, pipe: Pipe, events: Iterable[str]) -> None:
        """Takes what was heard of a node's events. All who hear the node heard it: it need not be said again soon."""
        now = time.monotonic()
        for event in events:
            self._note(event, pipe, now)
        self.heard(events)

    async def run(self) -> None:
        """Listens to every node that there is, until cancelled."""
        try:
            while True:
                nodes = self._redis.nodes()
                for pipe in nodes:
                    if pipe not in self._ears:
                        self._ears[pipe] = _Ear(self, pipe)
                for pipe in self._ears.keys() - set(nodes):
                    await self._ears.pop(pipe).close()
                await asyncio.sleep(limits.REDIS_WATCH_SECONDS)
        finally:
            await asyncio.gather(*(ear.close() for ear in self._ears.values()))


class _Ear:
    """Listens to one node, through a connection of its own: by the `redis` client, for it is not hot."""

    def __init__(self, wakes: Wakes, pipe: Pipe) -> None:
        self._wakes = wakes
        self._pipe = pipe
        self._generation = 0
        """The pipe's connection beside which this node is heard; 0 while it is not."""
        self._was_told = ""
        self._is_closing = False
        """What is awaited may swallow a cancellation: then this ends the task."""
        self._task = asyncio.create_task(self._listen(), name=f"redis pub/sub {pipe.place}")

    @property
    def hears(self) -> bool:
        return self._generation == self._pipe.generation and self._pipe.connected

    async def close(self) -> None:
        self._is_closing = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        # Here and not above: the client takes a tenth of a second, and not every command listens.
        from redis.exceptions import RedisError

        while not self._is_closing:
            try:
                await self._hear()
            except (RedisError, OSError, TimeoutError, LmlError) as error:
                self._say(logging.WARNING, f"is not heard, and its rooms are read each tick: {error}")
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("listening to redis %s failed", self._pipe.place)
            finally:
                self._deafen()
            await asyncio.sleep(limits.REDIS_RECONNECT_SECONDS_MAX)

    def _deafen(self) -> None:
        if self._generation:
            self._generation = 0
            self._wakes.lost()

    def _say(self, level: int, what: str) -> None:
        """Logs what is another than it was."""
        if what != self._was_told:
            self._was_told = what
            log.log(level, "pub/sub of redis %s %s", self._pipe.place, what)

    async def _hear(self) -> None:
        """Takes messages for as long as the pipe's connection is this one. Raises what the client does, `Unavailable`
        while the pipe has none, and `TimeoutError` where not even a message of ours came."""
        generation, channel = self._pipe.generation, _channel_of(self._pipe)
        if not self._pipe.connected:
            raise Unavailable("Redis cannot be reached.")
        async with self._pipe.client() as client, client.pubsub() as pubsub:
            async with asyncio.timeout(limits.REDIS_CONNECT_SECONDS):
                await pubsub.subscribe(channel)
            while self._pipe.generation == generation and not self._is_closing:
                kind, text = await self._next(pubsub, channel)
                if kind != "message":
                    # Subscribed, perhaps anew: only what comes back shows that nothing else is between.
                    self._deafen()
                    self._pipe.publish(channel, "")
                    continue
                if not self._generation:
                    self._generation = generation
                    self._say(logging.INFO, "is heard")
                self._wakes.take(self._pipe, text.split())

    async def _next(self, pubsub: "PubSub", channel: str) -> tuple[str, str]:
        """The next message's kind and text; where there is none for long, we say something ourselves, once."""
        for _ in range(2):
            # While the client connects again by itself, we do not know that we are cut: not for long.
            async with asyncio.timeout(limits.PUBSUB_SILENCE_SECONDS + limits.REDIS_ASK_SECONDS):
                message = await pubsub.get_message(timeout=limits.PUBSUB_SILENCE_SECONDS)
            if message is not None:
                return message["type"], str(message["data"])
            self._pipe.publish(channel, "")
        raise TimeoutError("what was published did not come back")
