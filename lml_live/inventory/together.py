"""Holds and releases of one event that wait together go to Redis in one script call; one alone goes as it is.

Nobody waits for company: an act is sent in the loop tick in which it comes, unless `limits.CALLS_TOGETHER_MAX` calls of
its event are on the way already. Then those that wait are decided in one call, in order, as soon as one is answered:
the busier an event, the more acts a call carries (docs/decisions/015-holds-wait-together.md).
"""

import asyncio
import logging
from collections import deque
from typing import Any, Final, Literal

from msgspec import Struct

from lml_live import limits
from lml_live.errors import LmlError, Overloaded, Unavailable
from lml_live.infra.redis import Pipe, Prepared, ScriptForgotten, Sink, StoreFault
from lml_live.infra.redis_topology import Topology
from lml_live.inventory.records import Sale, pack_rules
from lml_live.inventory.wakes import Wakes

log = logging.getLogger(__name__)

Script = Literal["hold_seats", "release_hold"]

AGAIN: Final = [b"again"]
"""The answer to an act that was not sent, because Redis is no longer the one it was meant for: nothing was decided."""

_TOGETHER: Final = "hold_together"
_KEYS: Final = ("seats", "book", "deadlines", "areas", "log")


class Act(Struct, frozen=True, gc=False):
    """One hold or release, as the scripts read it."""

    script: Script
    hold: str
    """The id that it makes or names. Two acts on one hold are never decided together."""
    work: int
    """In seats that Redis must look at for it, at most."""
    packed: bytes
    begun: bytes = b""
    """A new hold's record, which the answer completes."""


_Waiting = tuple[Sale, Act, Sink]
"""Who waits for what, under which rules."""


def _tell(sink: Sink, answer: Any) -> None:
    """Hands the answer over. Raises nothing: others' answers follow in the same step."""
    try:
        if type(answer) is list and answer[0] == b"failed":
            _fail(sink, StoreFault(answer[1].decode(errors="replace")))
        else:
            sink.set_result(answer)
    except asyncio.InvalidStateError:
        pass  # its caller gave up waiting
    except Exception:  # one caller's defect is not the others' (style.md, 14)
        log.exception("a caller could not take its answer")


def _fail(sink: Sink, error: Exception) -> None:
    """The same of an error."""
    try:
        if not sink.done():
            sink.set_exception(error)
            if isinstance(sink, asyncio.Future):
                sink.exception()  # a caller that gave up does not make asyncio complain
    except Exception:  # as above
        log.exception("a caller could not be told that %s", error)


class Together:
    """The acts of all events that wait in this worker: at most `at_once` in a call, `calls_max` calls of an event."""

    def __init__(
        self,
        redis: Topology,
        wakes: Wakes,
        *,
        at_once: int = limits.ACTS_TOGETHER_MAX,
        calls_max: int = limits.CALLS_TOGETHER_MAX,
    ) -> None:
        self.redis = redis
        self.wakes = wakes
        self.at_once = at_once
        self.calls_max = calls_max
        self.waiting = 0
        """Acts that are not sent yet."""
        self._queues: dict[str, _Queue] = {}

    def wait(self, sale: Sale, act: Act) -> "asyncio.Future[Any]":
        """`decide` for who waits."""
        answer = asyncio.get_running_loop().create_future()
        self.decide(sale, act, answer)
        return answer

    def decide(self, sale: Sale, act: Act, sink: Sink) -> None:
        """Gives the sink what the act's own script would answer: a list, or bytes where it is granted as asked.

        `[b"again"]`, `[b"no_book"]` and `[b"other_stamp", stamp]` are for the book to settle. Never before it returns.
        Errors as of `Pipe.call`; `Overloaded` is raised, and then the sink is given nothing.
        """
        if self.waiting >= limits.REDIS_CALLS_MAX:
            raise Overloaded("The server is at its limit.", retry_after_ms=limits.RETRY_AFTER_MS)
        queue = self._queues.get(sale.event)
        if queue is None:
            queue = self._queues[sale.event] = _Queue(self, sale.event)
        self.waiting += 1
        queue.add(sale, act, sink)

    def rest(self, event: str) -> None:
        """Nothing of an event waits or is on the way. A queue is kept for its prepared calls, but not for every event
        that there ever was."""
        if len(self._queues) > limits.EVENTS_TOGETHER_MAX:
            self._queues.pop(event, None)


class _Queue:
    """The acts of one event, in the order in which they came."""

    def __init__(self, together: Together, event: str) -> None:
        self._together = together
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._on_the_way = 0
        self._due = self._sending = False
        self._event = event
        self._calls: dict[str, Prepared] = {}
        self._prepared_for: tuple[Sale | None, int] = (None, 0)

    def add(self, sale: Sale, act: Act, sink: Sink) -> None:
        self._waiting.append((sale, act, sink))
        if not self._due and self._on_the_way < self._together.calls_max:
            self._due = True
            self._loop.call_soon(self._send_due)

    def _send_due(self) -> None:
        self._due = False
        self.send()

    def send(self) -> None:
        """Sends what waits, as far as calls may be on the way."""
        if self._sending:
            return  # a call that fails at once is answered in the midst of the loop below, which goes on anyway
        self._sending = True
        try:
            self._send_all()
        finally:
            self._sending = False
        if not self._waiting and not self._on_the_way:
            self._together.rest(self._event)

    def _send_all(self) -> None:
        while self._waiting and self._on_the_way < self._together.calls_max:
            try:
                pipe = self._together.redis.of(self._waiting[0][0].group)
            except Unavailable as error:  # no node has the event's keys now
                self._together.waiting -= 1
                _fail(self._waiting.popleft()[2], error)
                continue
            if acts := self._take(pipe):
                self._on_the_way += 1
                _Call(self, pipe, acts).send()

    def _take(self, pipe: Pipe) -> list[_Waiting]:
        """The next acts that can be decided in one call: under the same rules, no hold twice, within the bounds."""
        together, waiting, known, work = self._together, self._waiting, set[str](), 0
        rules, taken = waiting[0][0], list[_Waiting]()
        while waiting and len(known) < together.at_once:
            first = sale, act, sink = waiting[0]
            work += limits.WORK_OF_ACT + act.work
            if sale is not rules or act.hold in known or (known and work > limits.WORK_TOGETHER_MAX):
                break
            known.add(act.hold)
            waiting.popleft()
            together.waiting -= 1
            if sink.done():
                continue  # its caller gave up waiting: nothing was sent, nothing is changed
            if sale.run_id == pipe.run_id:
                taken.append(first)
            else:
                _tell(sink, AGAIN)
        return taken

    def prepared(self, pipe: Pipe, sale: Sale, script: str) -> Prepared:
        """The head of a call, encoded once for as long as rules and clock stay."""
        if self._prepared_for != (sale, pipe.skew_ms):
            self._prepared_for, self._calls = (sale, pipe.skew_ms), {}
        known = self._calls.get(script)
        if known is None:
            keys = [sale.key(key) for key in _KEYS]
            args = [sale.stamp.encode(), pack_rules(sale, pipe.skew_ms)]
            known = self._calls[script] = pipe.prepare(script, keys, args)
        return known

    def sent(self, pipe: Pipe) -> None:
        self._together.wakes.tell(self._event, pipe)

    def answered(self) -> None:
        self._on_the_way -= 1
        self.send()


class _Call:
    """One script call on the way: where its answer comes in, and is shared out."""

    __slots__ = ("_acts", "_loaded", "_pipe", "_queue", "_script")

    def __init__(self, queue: _Queue, pipe: Pipe, acts: list[_Waiting]) -> None:
        self._queue = queue
        self._pipe = pipe
        self._acts = acts
        self._script: str = acts[0][1].script if len(acts) == 1 else _TOGETHER
        self._loaded = False

    def send(self) -> None:
        """Sends it. Whatever goes wrong, those who wait for it are told, or they would wait for ever."""
        try:
            if self._loaded:
                self._pipe.load(self._script)
            call = self._queue.prepared(self._pipe, self._acts[0][0], self._script)
            self._pipe.send(call, [act.packed for _, act, _ in self._acts], self)
            self._queue.sent(self._pipe)
        except LmlError as error:
            self.set_exception(error)
        except Exception as error:  # one call's defect must not end the event's queue in silence (style.md, 14)
            log.exception("%s could not be sent", self._script)
            self.set_exception(error)

    @staticmethod
    def done() -> bool:
        return False

    def set_result(self, answer: Any, /) -> None:
        try:
            answers = self._shared_out(answer)
        except (LookupError, TypeError):
            answers = []
        if len(answers) != len(self._acts):
            self.set_exception(StoreFault(f"{self._script} answered {answer!r:.200} to {len(self._acts)} acts"))
            return
        for (_, _, sink), own in zip(self._acts, answers, strict=True):
            _tell(sink, own)
        self._queue.answered()

    def _shared_out(self, answer: Any) -> list[Any]:
        """What each act's own script would have answered."""
        if self._script != _TOGETHER or answer[0] != b"together":
            # One act's answer; or the book is not the one that was spoken to, which all of them are told.
            return [answer] * len(self._acts)
        times, ending = answer[1], answer[2]
        granted = {b"held": b"held" + times + ending, b"released": b"released" + times[-9:] + ending}
        return [granted[own] if type(own) is bytes else own for own in answer[3:]]

    def set_exception(self, error: Exception, /) -> None:
        if isinstance(error, ScriptForgotten):
            if not self._loaded:
                self._loaded = True
                self.send()
                return
            error = Unavailable("Redis keeps no scripts.", retry_after_ms=limits.RETRY_AFTER_MS)
        for _, _, sink in self._acts:
            _fail(sink, error)
        self._queue.answered()
