"""A live socket's conversation: frames in, effects out. It decides nothing; `session` and `live` do."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, Final, assert_never, get_args

from msgspec import Struct

from lml_live import limits
from lml_live.errors import LmlError, NotFound, Unauthorized, Unavailable
from lml_live.gateway import frames, wire
from lml_live.gateway.acts import show_changed
from lml_live.gateway.audience import Audience, Subscriber
from lml_live.gateway.live import Live
from lml_live.gateway.session import Act, Effect, Greet, Hang, Renew, Say, Session
from lml_live.gateway.websocket import BINARY, CLOSE, PING, PONG, TEXT, Broken, Inbound
from lml_live.infra.telemetry import METRICS
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.holds import Asked
from lml_live.inventory.rooms import STAFF, view_of

log = logging.getLogger(__name__)

_PLAIN: Final = (wire.HoldRequest, wire.Release)
"""What one call of a script decides, unless it turns out otherwise."""
_FED: Final = (False, b"")
"""Tells the framework that it need not close, and that nothing is left over."""
_ANSWERS: Final[dict[type[Struct], type[wire.Held] | type[wire.Released] | type[wire.Extended]]] = {
    wire.HoldRequest: wire.Held,
    wire.HoldBest: wire.Held,
    wire.Release: wire.Released,
    wire.Extend: wire.Extended,
    wire.HoldForCustomer: wire.Held,
    wire.MoveHold: wire.Held,
    wire.ReleaseAnyHold: wire.Released,
}

OneEvent = wire.HoldRequest | wire.HoldBest | wire.Release | wire.Extend
Request = OneEvent | wire.GroupRequest | wire.StaffRequest
Answer = wire.HoldAnswer | wire.StaffAnswer | wire.Error
Outcome = Changed | Refusal | wire.GroupChanged | wire.StaffAnswer | wire.Error
"""What became of a request; all but the first two are answers already."""
_KINDS: Final = {kind: str(kind.__struct_config__.tag) for kind in get_args(Request)}
"""What metrics and logs call a request."""


class Conversation:
    """One socket from the handshake on. A request is carried out before the next is looked at, so that they take
    effect in the order in which they came; what comes meanwhile waits unread, in bounded space.

    It is the parser that the framework feeds (`feed_data`, `feed_eof`), and the `Sink` of its own request: from frame
    to answer there is no task, no future and no turn of the loop. What must wait for more than one answer of Redis
    (`hello`, choosing seats, a book that is another) is a task.
    """

    def __init__(self, live: Live, audience: Audience, subscriber: Subscriber, mark: str, origin: str) -> None:
        self._live = live
        self.audience = audience
        self._subscriber = subscriber
        self._mark = mark
        """What stands for the client's address in the inventory's counts."""
        self._origin = origin
        """The same in the audit trail."""
        self._loop = asyncio.get_running_loop()
        self._clock = live.clock
        self._ask_at_once = live.acts.ask
        self._session = Session(live.tokens, live.clock())
        self._inbound = Inbound(limits.MESSAGE_BYTES_MAX)
        self._opcode = BINARY if subscriber.format.binary else TEXT
        self._closing: tuple[int, str] | None = None
        self._over: asyncio.Future[None] = self._loop.create_future()
        """Done when nothing more is to be heard: the reason is in `_closing`, unless the socket is lost."""
        self._farewell: asyncio.Future[None] = self._loop.create_future()
        """Done when the client has closed, or is lost."""
        self._broken = False
        self._busy = False
        """Something is being carried out."""
        self._rested: asyncio.Future[None] | None = None
        """Waits for `_busy` to end."""
        self._paused = False
        self._task: asyncio.Task[None] | None = None
        self._request: Request | None = None
        self._asked: Asked | None = None
        self._started = 0.0
        self._patience = self._loop.call_later(limits.HELLO_SECONDS_MAX, self._end, wire.CLOSE_POLICY, "no hello")
        subscriber.hang_up = self._hang_up

    def _hang_up(self, code: int) -> None:
        """Somebody else ends the conversation."""
        self._end(code, "")

    def _end(self, code: int, reason: str) -> None:
        """Nothing more is heard. What is being carried out is still answered, then the socket is closed."""
        self._patience.cancel()
        if self._closing is None:
            self._closing = (code, reason)
        if not self._over.done():
            self._over.set_result(None)

    async def run(self) -> None:
        """Lasts as long as the socket does."""
        try:
            await self._over
        finally:
            self._patience.cancel()
            if self._task is not None and self._request is None:
                self._task.cancel()  # a greeting that nobody waits for any more
            while self._busy:
                self._rested = self._loop.create_future()
                await self._rested
            await self._close()

    # --- What the framework calls

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes came in."""
        if self._busy or self._closing is not None:
            self._inbound.feed(data)
            if not self._busy:
                self._go_on()
            elif not self._paused:
                self._paused = True
                self._subscriber.transport.pause_reading()
        else:
            self._go_on(data)
        return _FED

    def feed_eof(self) -> None:
        """The connection is lost."""
        self._end(wire.CLOSE_GOING_AWAY, "")
        if not self._farewell.done():
            self._farewell.set_result(None)

    def _go_on(self, data: bytes | None = None) -> None:
        """Carries out what has come, as far as nothing must be waited for."""
        inbound = self._inbound
        try:
            while not self._busy and not self._broken:
                message, data = inbound.next() if data is None else inbound.feed_one(data), None
                if message is None:
                    return
                if self._closing is None:
                    self._take(*message)
                elif message[0] == CLOSE and not self._farewell.done():
                    self._farewell.set_result(None)
        except Broken as broken:
            self._broken = True
            self._end(broken.code, broken.reason)
        except Exception:  # the socket loop: one frame's defect must not end the socket in silence (style.md, 14)
            log.exception("a frame could not be taken")
            self._broken = True
            self._end(wire.CLOSE_INTERNAL, "")

    def _rest(self) -> None:
        """What was being carried out is done with."""
        self._busy = False
        if self._rested is not None and not self._rested.done():
            self._rested.set_result(None)
        if self._inbound.pending:
            self._go_on()
        if self._paused and not self._busy and not self._subscriber.gone:
            self._paused = False
            self._subscriber.transport.resume_reading()

    # --- Messages

    def _take(self, opcode: int, payload: bytes) -> None:
        subscriber = self._subscriber
        subscriber.heard = now = time.monotonic()
        if opcode == self._opcode:
            effect = self._session.receive(payload, subscriber.format, self._clock())
            if type(effect) is Act:
                self._act(effect.request, now)
            else:
                METRICS.count_message(type(effect).__name__.lower())
                self._carry_out(effect)
        elif opcode == PING:
            if (hang := self._session.pinged(self._clock())) is not None:
                self._carry_out(hang)
            else:
                subscriber.write(frames.pong_frame(payload))
        elif opcode == CLOSE:
            self._farewell.set_result(None)
            self._end(wire.CLOSE_NORMAL, "")
        elif opcode != PONG:
            self._end(wire.CLOSE_UNSUPPORTED, "the other frame type was agreed on")

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Say(message):
                self._subscriber.send(message)
            case Hang(code, reason, message):
                if message is not None:
                    self._subscriber.send(message)
                self._end(code, reason)
            case Greet():
                self._start(self._greet(effect), "greet")
            case Renew():
                self._start(self._renew(effect), "renew")
            case Act(request):
                self._act(request, time.monotonic())
            case _:
                assert_never(effect)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Carries out what must be waited for; `run` ends it at the latest."""
        self._busy = True
        self._task = self._loop.create_task(work, name=name)
        self._task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a socket's task failed", exc_info=error)
            self._end(wire.CLOSE_INTERNAL, "")
        self._rest()

    async def _greet(self, greet: Greet) -> None:
        subscriber = self._subscriber
        subscriber.deflate = greet.deflate
        try:
            if greet.credential is not None:
                known = self._session.introduced(greet, await self._live.identify(greet.credential))
                if isinstance(known, Hang):
                    self._carry_out(known)
                    return
                greet = known
            elif greet.session and (hang := await self._refused_member(greet)) is not None:
                self._carry_out(hang)
                return
            subscriber.channel = greet.channel
            view = view_of(greet.channel) if greet.credential is None else STAFF
            self.audience = self._live.enter(self.audience, subscriber, view)
            await self._live.welcome(self.audience, subscriber, self._session, greet)
            self._patience.cancel()
        except Unauthorized as error:
            said = wire.Error(code=error.code, message=error.message)
            self._carry_out(Hang(wire.CLOSE_UNAUTHORIZED, "token ended", said))
        except (Unavailable, NotFound) as error:
            self._subscriber.send(wire.Error(code=error.code, message=error.message, retry_after_ms=limits.BYE_MS))
            self._subscriber.send(wire.Bye(reason="unavailable", retry_after_ms=limits.BYE_MS))
            self._end(wire.CLOSE_TRY_LATER, "unavailable")

    async def _refused_member(self, greet: Greet) -> Hang | None:
        """Why a buyer who has signed in is not let in, or None."""
        members = self._live.members
        if not await members.lasts(greet.session):
            said = wire.Error(code="unauthorized", message="You have signed out: say hello without a token.")
            return Hang(wire.CLOSE_UNAUTHORIZED, "signed out", said)
        assert greet.holder is not None, "a token with a session names a holder"
        if not self._subscriber.gone and not members.enter(self._subscriber, greet.holder, greet.session):
            said = wire.Error(code="rate_limited", message="Too many sockets.", retry_after_ms=limits.BYE_MS)
            return Hang(wire.CLOSE_TRY_LATER, "too many sockets", said)
        return None

    async def _renew(self, effect: Renew) -> None:
        """Answers a ping of a partner's customer whose token is in its last quarter."""
        try:
            renew = await self._live.sells(effect.channel)
        except Unavailable:
            renew = False  # another ping will ask again
        self._subscriber.send(self._session.pong(effect.id, self._clock(), renew=renew))

    # --- Requests

    def _act(self, request: Request, now: float) -> None:
        """Asks the script for a plain hold or release at once; everything else is a task."""
        subscriber, holder = self._subscriber, self._session.holder
        assert holder is not None
        origin = subscriber.asked = f"{subscriber.origin}{request.id}"
        self._request, self._started = request, now
        asked: Asked | Refusal | None = None
        if isinstance(request, _PLAIN):
            try:
                asked = self._ask_at_once(
                    self, self.audience.desk, holder, request, origin, self._session.channel, self._mark
                )
            except LmlError as error:
                asked = Refusal(error.code, error.message, retry_after_ms=error.retry_after_ms)
        if isinstance(asked, Refusal):
            self._finish(asked)
        elif asked is None:
            self._start(self._act_long(request, origin), "act")
        else:
            self._asked, self._busy = asked, True

    def done(self) -> bool:
        """Somebody waits for the script's answer."""
        return False

    def set_result(self, answer: Any) -> None:
        """The script answered."""
        request, asked = self._request, self._asked
        assert request is not None
        assert asked is not None
        self._asked = None
        try:
            outcome = asked.read(answer)
        except Exception:  # the socket loop: one request's defect must not end the socket in silence (style.md, 14)
            log.exception("a %s failed", _KINDS[type(request)])
            outcome = self._failed()
        if outcome is None:
            self._start(self._act_long(request, self._subscriber.asked), "act")
        else:
            self._finish(outcome)
            self._rest()

    def set_exception(self, error: Exception) -> None:
        """The script did not run, or the outcome is unknown."""
        request = self._request
        assert request is not None
        self._asked = None
        if isinstance(error, Unavailable):
            self._finish(self._unknown(error))
        else:
            log.error("a %s failed", _KINDS[type(request)], exc_info=error)
            self._finish(self._failed())
        self._rest()

    async def _act_long(self, request: Request, origin: str) -> None:
        try:
            outcome = await self._ask(request, origin)
        except Unavailable as error:
            outcome = self._unknown(error)
        except LmlError as error:
            outcome = Refusal(error.code, error.message)
            if isinstance(error, Unauthorized):
                self._end(wire.CLOSE_UNAUTHORIZED, "token ended")
        except Exception:  # the socket loop: one request's defect must not end the socket in silence (style.md, 14)
            log.exception("a %s failed", _KINDS[type(request)])
            outcome = self._failed()
        self._finish(outcome)

    async def _ask(self, request: Request, origin: str) -> Outcome:
        desk, holder, acts = self.audience.desk, self._session.holder, self._live.acts
        through = self._session.channel
        assert holder is not None
        match request:
            case wire.HoldRequest():
                return await acts.hold(
                    desk,
                    holder,
                    request.seats,
                    request.areas,
                    into=request.into,
                    replace=request.replace,
                    key=request.key,
                    origin=origin,
                    through=through,
                    address=self._mark,
                )
            case wire.HoldBest():
                return await self._live.best.hold_best(
                    *(desk, holder, request), key=request.key, origin=origin, through=through, address=self._mark
                )
            case wire.Release():
                return await acts.release(desk, holder, request.hold, request.seats, request.areas, origin=origin)
            case wire.Extend():
                return await acts.extend(desk, holder, request.hold, origin=origin)
            case (
                wire.Block() | wire.Unblock() | wire.AssignSeats() | wire.OpenChannel()
                | wire.HoldForCustomer() | wire.MoveHold() | wire.ReleaseAnyHold()
                | wire.Sell() | wire.ReadStatusChanges() | wire.ReadChannels()
            ):  # fmt: skip
                token = self._session.staff_token
                assert token is not None, "the session lets only staff ask for it"
                return await self._live.ask_staff(desk, token, request, self._origin)
            case _:
                return await self._live.groups.ask(desk, holder, request, origin, through, self._mark)

    def _unknown(self, error: LmlError) -> Refusal:
        self._not_asked()
        return Refusal(error.code, error.message, retry_after_ms=error.retry_after_ms)

    def _failed(self) -> Refusal:
        self._not_asked()
        return Refusal("unavailable", "The server failed; the outcome is unknown.", retry_after_ms=1000)

    def _not_asked(self) -> None:
        """The outcome is unknown: should the request have worked all the same, its holder is told of the change."""
        unknown = self._subscriber.unknown_origins
        if len(unknown) >= limits.UNKNOWN_ORIGINS_MAX:
            unknown.clear()
        unknown.add(self._subscriber.asked)

    def _finish(self, outcome: Outcome) -> None:
        """Answers the request."""
        request = self._request
        assert request is not None
        kind, subscriber = type(request), self._subscriber
        try:
            answer = self._answer(request, outcome)
        except Exception:  # the socket loop: one request's defect must not end the socket in silence (style.md, 14)
            log.exception("the answer to a %s failed", _KINDS[kind])
            answer = _refused(request, self._failed())
        self._request = None
        subscriber.asked = ""
        kept_back, subscriber.asked_news = subscriber.asked_news, None
        subscriber.send(answer)
        ended = "ok"
        if isinstance(answer, wire.Error):
            ended = answer.code
            if kept_back is not None:
                self.audience.send_hold_changed(subscriber, kept_back)
        METRICS.count_act(_KINDS[kind], ended, time.monotonic() - self._started)

    def _answer(self, request: Request, outcome: Outcome) -> Answer:
        if isinstance(outcome, Refusal):
            return _refused(request, outcome)
        if not isinstance(outcome, Changed):
            return outcome
        return _ANSWERS[type(request)](
            id=request.id,
            epoch=str(outcome.epoch),
            seq=outcome.seq,
            hold=show_changed(self.audience.desk, outcome),
            now_ms=outcome.now_ms,
        )

    async def _close(self) -> None:
        """Closes in bounded time; what the peer does not read is dropped with the socket."""
        subscriber, transport = self._subscriber, self._subscriber.transport
        if subscriber.gone:
            return
        subscriber.write(frames.close_frame(*(self._closing or (wire.CLOSE_GOING_AWAY, ""))))
        if self._paused and not subscriber.gone:  # what was just written may have been too much for it
            self._paused = False
            transport.resume_reading()
        try:
            if not self._broken and not self._farewell.done():
                self._go_on()  # the client may have closed while its last request was being carried out
                async with asyncio.timeout(limits.CLOSE_SECONDS):
                    await self._farewell
        except TimeoutError:
            pass
        finally:
            transport.close()
            if transport.get_write_buffer_size():
                self._loop.call_later(limits.CLOSE_SECONDS, transport.abort)


def _refused(request: Request, refusal: Refusal) -> wire.Error:
    return wire.Error(
        id=request.id,
        code=refusal.code,
        message=refusal.message,
        seats=refusal.seats,
        areas=refusal.areas,
        retry_after_ms=refusal.retry_after_ms,
    )
