"""The live side of a worker: audiences, and what the feed's news mean for them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

from lml_live import limits, values
from lml_live.clock import Clock
from lml_live.errors import LmlError, NotFound, Unauthorized, Unavailable
from lml_live.gateway import frames, wire
from lml_live.gateway.acts import Acts
from lml_live.gateway.audience import Audience, Subscriber
from lml_live.gateway.best import BestSeats
from lml_live.gateway.collector import Collector
from lml_live.gateway.desk import Desk, show_areas
from lml_live.gateway.direct import SendFrame
from lml_live.gateway.fan_out import SLICE, Turns
from lml_live.gateway.groups import GroupActs
from lml_live.gateway.members import Members
from lml_live.gateway.session import Greet, Session, Visitor
from lml_live.gateway.tokens import HolderToken, HolderTokens, needs_renewal
from lml_live.gateway.turnstile import Turnstile
from lml_live.infra.telemetry import METRICS
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.book import other_layout
from lml_live.inventory.feed import Feed, Listener
from lml_live.inventory.holds import OwnHolds
from lml_live.inventory.records import HOUSE_CHANNELS, Sale
from lml_live.inventory.resume import Behind, Replay
from lml_live.inventory.rooms import PUBLIC, STAFF, Room, Tick
from lml_live.values import STATE_NAMES

log = logging.getLogger(__name__)


async def _nobody(_token: str) -> Visitor | None:
    """Where there are neither staff nor partners."""
    return None


AskStaff = Callable[[Desk, str, wire.StaffRequest, str], Awaitable[Changed | wire.StaffAnswer | Refusal]]


async def _no_back_office(*_asked: object) -> wire.StaffAnswer | Refusal:
    """Where there is no back office."""
    return Refusal("forbidden", "Staff do nothing here.")


async def _everybody(_channel: str) -> bool:
    """Where no partner ever ends."""
    return True


async def _all_signed_in(_tokens: Collection[str]) -> Collection[str]:
    """Where no member of staff signs out."""
    return ()


class Live(Listener):
    """All audiences of this worker."""

    def __init__(
        self,
        feed: Feed,
        acts: Acts,
        groups: GroupActs,
        tokens: HolderTokens,
        clock: Clock,
        send_frame: SendFrame | None = None,
    ) -> None:
        self.feed = feed
        self.acts = acts
        self.groups = groups
        self.best = BestSeats(acts, feed)
        self.tokens = tokens
        self.clock = clock
        self.audiences: dict[tuple[str, str], Audience] = {}
        """By event and view. The public's are there for all who have not said hello yet."""
        self.identify: Callable[[str], Awaitable[Visitor | None]] = _nobody
        """Who presents a token that is no holder's: staff, or a partner; None where it is not good."""
        self.sells: Callable[[str], Awaitable[bool]] = _everybody
        """Whether who buys through a channel may go on after the token's end: a partner's key may have been taken."""
        self.signed_out: Callable[[Collection[str]], Awaitable[Collection[str]]] = _all_signed_in
        """Which of these staff tokens are good no more."""
        self.ask_staff: AskStaff = _no_back_office
        """Does what the staff of a token ask for; see `StaffRequests.ask`."""
        self.members = Members()
        self.turnstile = Turnstile()
        self.leaving = False
        """This worker says goodbye: nobody comes in any more."""
        self._collector = Collector()
        self._came = self._left = 0
        """Sockets, ever."""
        self._turns = Turns()
        self._send_frame = send_frame
        self._tasks: set[asyncio.Task[None]] = set()
        feed.listener = self
        feed.busy = lambda event: any(audience.subscribers for audience in self.audiences_of(event))

    # --- Coming and going

    def audiences_of(self, event: str) -> list[Audience]:
        """Every view's audience of an event."""
        return [audience for (known, _), audience in self.audiences.items() if known == event]

    async def audience(self, event: str, view: str = PUBLIC) -> Audience:
        """An event's audience in one view. Raises `NotFound`, also for a draft, and `Unavailable`."""
        for _ in range(limits.STAMP_TRIES):
            if (await self.acts.desks.desk(event)).event.state == "draft":
                raise NotFound("There is no such event.")
            room = await self.feed.room(event)
            desk = await self.acts.desks.desk(event)  # the room may have taken seconds to be opened
            if room.sale.layout_hash == desk.layout.hash:
                return self._audience(event, room, desk, view)
            await self.feed.catch_up(event)
        raise other_layout()

    def _audience(self, event: str, room: Room, desk: Desk, view: str) -> Audience:
        known = self.audiences.get((event, view))
        if known is None or known.room is not room or not known.is_current:
            known = self.audiences[event, view] = Audience(event, room, desk, view, self._turns, self._send_frame)
        return known

    def enter(self, audience: Audience, subscriber: Subscriber, view: str) -> Audience:
        """Takes a socket that says who it is to the audience of its view. Nothing is sent to it in between.

        Raises `Unavailable` where the event has got another layout since it came.
        """
        if not audience.is_current:
            raise other_layout()
        found = self._audience(audience.event, audience.room, audience.desk, view)
        if found is audience:
            return audience
        self.leave(audience, subscriber)
        return self.join(found, subscriber)

    async def welcome(self, audience: Audience, subscriber: Subscriber, session: Session, greet: Greet) -> None:
        """Answers `hello`: `resumed` where the replay is complete, else `welcome`. Raises `Unavailable`; and
        `Unauthorized` where a partner's customer needs a new token and the partner has ended."""
        now_ms = self.clock()
        holder = greet.holder or values.new_id("h")
        token = await self._renewed(holder, greet.token, greet.channel, greet.session, renew=greet.renew)
        if token is None:
            raise Unauthorized("Your token has ended, and who gave it sells here no longer.")
        audience.name(subscriber, holder)
        await self.turnstile.enter(half_in=True)
        async with subscriber.greeting:
            audience.hush(subscriber)
            subscriber.early_news = []
            try:
                if greet.resume is not None and audience.room.epoch_text == greet.resume[0]:
                    plan = audience.room.history.plan(*greet.resume, sent=audience.room.sent_seq)
                    if isinstance(plan, Behind):
                        await self.feed.catch_up(audience.event)
                # A holder of this moment has none: thousands who come at once do not ask Redis for nothing.
                nothing = OwnHolds({}, audience.room.epoch, 0)
                own = nothing if greet.holder is None else await self._own_holds(audience, holder)
                self._send_state(audience, subscriber, greet, holder, token, own)
            finally:
                subscriber.early_news = None
        session.greeted(holder, token, now_ms)

    async def _renewed(self, holder: str, own: str | None, channel: str, session: str, *, renew: bool) -> str | None:
        """The token to go on with: the client's own while it is good, else a new one, or None where none is due."""
        if own is not None and not renew:
            return own
        if channel in HOUSE_CHANNELS or await self.sells(channel):
            return self.tokens.issue(holder, self.clock(), channel, session)
        return own

    async def require_session(self, token: HolderToken) -> None:
        """Raises `Unauthorized` where the buyer of a token has signed out. An anonymous holder's asks nobody."""
        if token.session and not await self.members.lasts(token.session):
            raise Unauthorized("You have signed out.")

    async def _own_holds(self, audience: Audience, holder: str) -> OwnHolds:
        """The holder's holds of the room's epoch; a room that is one behind catches up first."""
        for _ in range(limits.STAMP_TRIES):
            own = await self.acts.holds.read_holds(audience.event, holder)
            if own.epoch == audience.room.epoch:
                return own
            await self.feed.catch_up(audience.event)
        raise Unavailable("The seat map is being restored.", retry_after_ms=limits.RETRY_AFTER_MS)

    def _send_state(
        self,
        audience: Audience,
        subscriber: Subscriber,
        greet: Greet,
        holder: str,
        token: str,
        own: OwnHolds,
    ) -> None:
        """Cuts at the last tick and sends. Nothing is awaited between the cut and the write."""
        if not audience.is_current:
            raise other_layout()
        room, desk = audience.room, audience.desk
        records = dict(own.holds)
        for news in subscriber.early_news or ():
            # Changes that were ticked while the holds were read: the newer record is right.
            if news.record.state == "gone":
                records.pop(news.hold, None)
            elif news.hold not in records or records[news.hold].seq < news.seq:
                records[news.hold] = news.record
        common: dict[str, Any] = {
            "event": desk.brief,
            "epoch": room.epoch_text,
            "seq": room.sent_seq,
            "areas": show_areas(room.areas(audience.view)),
            "holder": holder,
            "token": token,
            "holds": tuple(desk.show_hold(hold, record) for hold, record in records.items()),
            "limits": desk.limits,
            "layout": desk.layout_ref,
            "now_ms": self.clock(),
            "tick_ms": self.feed.tick_ms(audience.event),
        }
        if audience.view == STAFF:
            common["channels"] = {name: channel.number for name, channel in room.sale.channels.items()}
            common["details"] = subscriber.format.raw(room.bytes_shown)
        subscriber.token = token
        audience.settle(subscriber)
        plan = None
        if greet.resume is not None:
            plan = room.history.plan(*greet.resume, sent=room.sent_seq, caught_up=True)
        if isinstance(plan, Replay):
            mirror = room.states(audience.view)
            by_state: tuple[list[int], ...] = tuple([] for _ in STATE_NAMES)
            for seat in plan.seats:
                by_state[mirror[seat]].append(seat)
            lists: dict[str, Any] = {name: tuple(seats) for name, seats in zip(STATE_NAMES, by_state, strict=True)}
            subscriber.send(wire.Resumed(**common, **lists))
            return
        seats = audience.snapshot(subscriber.format, deflate=greet.deflate)
        subscriber.send(wire.Welcome(**common, seats=seats, encoding="deflate" if greet.deflate else None))

    def join(self, audience: Audience, subscriber: Subscriber) -> Audience:
        """Counts a socket in, and answers where: the last one may have left while this one shook hands."""
        audience = self.audiences.setdefault((audience.event, audience.view), audience)
        audience.add(subscriber)
        self._came += 1
        return audience

    def leave(self, audience: Audience, subscriber: Subscriber) -> None:
        audience.remove(subscriber)
        self.members.leave(subscriber)
        self._left += 1
        if not audience.subscribers and self.audiences.get((audience.event, audience.view)) is audience:
            del self.audiences[audience.event, audience.view]

    # --- The feed's news

    def ticked(self, event: str, room: Room, tick: Tick) -> None:
        for audience in self.audiences_of(event):
            if audience.room is room:
                audience.tick(tick)

    def reset(self, event: str, room: Room, before: Sale) -> None:
        """A new epoch: an unasked `welcome` to everybody; no diff reaches a socket before its own."""
        for audience in self.audiences_of(event):
            self._begin_anew(audience, room, before)

    def _begin_anew(self, audience: Audience, room: Room, before: Sale) -> None:
        audience.hush_all()
        if before.layout_hash != room.sale.layout_hash:
            audience.broadcast_message(wire.Bye(reason="layout", retry_after_ms=limits.BYE_MS))
            for subscriber in tuple(audience.subscribers):
                subscriber.hang_up(wire.CLOSE_RESTART)
            # Those who are told of what is read by the new layout are in another audience.
            if self.audiences.get((audience.event, audience.view)) is audience:
                del self.audiences[audience.event, audience.view]
            return
        self._start(self._welcome_all(audience, room.epoch))

    def sale_changed(self, event: str, room: Room, before: Sale) -> None:
        """State, on-sale time, limits or prices changed: everybody gets an `event` message.

        Where seats of a channel came before the news of the channel itself, its view is welcomed anew: they are for
        sale there, and were shown as blocked.
        """
        for audience in self.audiences_of(event):
            if audience.room is room and room.shows_more(audience.view, before):
                self._begin_anew(audience, room, before)
        self._start(self._announce(event))

    async def _announce(self, event: str) -> None:
        """Tells everybody what an event is now, as soon as PostgreSQL says it and while anybody is there."""
        while self.audiences_of(event):
            try:
                desk = await self.acts.desks.reload(event)
            except Unavailable as error:
                log.debug("event %s changed and is told when it can be read: %s", event, error)
                await asyncio.sleep(limits.NOTICES_RETRY_SECONDS)
                continue
            for audience in self.audiences_of(event):
                if audience.desk != desk and audience.desk.layout.hash == desk.layout.hash:
                    audience.desk = desk
                    audience.broadcast_message(desk.changed())
            return

    async def _welcome_all(self, audience: Audience, epoch: int) -> None:
        try:
            desk = await self.acts.desks.reload(audience.event)
            if desk.layout.hash == audience.desk.layout.hash:  # else they are told soon that it has changed
                audience.desk = desk
        except LmlError as error:
            # The layout is the same; what else changed is told when PostgreSQL is back.
            log.warning("event %s is welcomed anew with what was known of it: %s", audience.event, error)
            self._start(self._announce(audience.event))
        # Not those that are not greeted yet, or were welcomed meanwhile by their own `hello`.
        waiting = [
            subscriber
            for subscriber in tuple(audience.subscribers)
            if subscriber.holder is not None and not subscriber.gone and subscriber.epoch != epoch
        ]
        # Some at a time: their calls share a write to Redis, and the loop comes round between.
        for start in range(0, len(waiting), SLICE):
            batch = waiting[start : start + SLICE]
            await asyncio.gather(*(self._rewelcome(audience, subscriber, epoch) for subscriber in batch))

    async def _rewelcome(self, audience: Audience, subscriber: Subscriber, epoch: int) -> None:
        holder = subscriber.holder
        assert holder is not None
        async with subscriber.greeting:
            if audience.room.epoch != epoch or subscriber.epoch == epoch:
                return  # welcomed meanwhile by its own `hello`, or about to be in a still newer epoch
            subscriber.early_news = []
            try:
                token = subscriber.token
                if audience.view != STAFF:
                    known = self.tokens.read(token, self.clock())
                    due = known is None or needs_renewal(known, self.clock())
                    session = self.members.session_of(subscriber)
                    # Watching goes on, with an ended token as well.
                    token = await self._renewed(holder, token, subscriber.channel, session, renew=due) or token
                own = await self._own_holds(audience, holder)
                if audience.room.epoch != epoch:
                    return
                greet = Greet(holder, None, None, subscriber.deflate)
                self._send_state(audience, subscriber, greet, holder, token, own)
            except LmlError as error:
                log.warning("a socket of event %s is closed, it could not be welcomed: %s", audience.event, error)
                subscriber.send(wire.Bye(reason="unavailable", retry_after_ms=limits.BYE_MS))
                subscriber.hang_up(wire.CLOSE_TRY_LATER)
            finally:
                subscriber.early_news = None

    async def refresh(self, event: str) -> None:
        """An event changed: its book is told before this returns, its sockets soon after. Raises nothing.

        Should Redis or PostgreSQL be away, the check of the rooms and that of the sales (`Upkeep`) find the change.
        """
        try:
            await self.feed.refresh(event)
        except LmlError as error:
            log.warning("event %s changed and is not told everywhere yet: %s", event, error)

    # --- Upkeep of the sockets

    async def keep(self) -> None:
        """Serves slow clients, lets idle rooms speak, pings, and cuts the dead, until cancelled."""
        pinged = looked = asked = time.monotonic()
        while True:
            await asyncio.sleep(limits.SOCKET_UPKEEP_SECONDS)
            now = time.monotonic()
            ping = now - pinged >= limits.PING_SECONDS
            if ping:
                pinged = now
            look = now - looked >= limits.SOCKET_LOOK_SECONDS
            if look:
                looked = now
            if now - asked >= limits.STAFF_LOOK_SECONDS:
                asked = now
                self._start(self._end_signed_out())
            for audience in list(self.audiences.values()):
                audience.serve_slow(now)
                audience.broadcast_idle(now)
                if not (ping or look):
                    continue
                for subscriber in tuple(audience.subscribers):
                    if now - subscriber.heard > limits.IDLE_SECONDS_MAX:
                        subscriber.cut()
                    elif ping and subscriber.transport.get_write_buffer_size() == 0:
                        subscriber.transport.write(frames.ping_frame())
            self._collector.look(self._came, self._left)
            METRICS.rooms.set(len(self.feed.rooms))

    async def _end_signed_out(self) -> None:
        """Ends the sockets of those who have signed out, or whose session has ended."""
        watching = [
            subscriber
            for audience in self.audiences.values()
            if audience.view == STAFF
            for subscriber in audience.subscribers
            if subscriber.token
        ]
        try:
            ended = set(await self.signed_out({subscriber.token for subscriber in watching})) if watching else set()
            members = await self.members.signed_out()
        except Unavailable as error:
            log.warning("who signed out is asked later: %s", error)
            return
        for subscriber in (*(one for one in watching if one.token in ended), *members):
            subscriber.send(wire.Error(code="unauthorized", message="You have signed out."))
            subscriber.hang_up(wire.CLOSE_UNAUTHORIZED)

    async def farewell(self) -> None:
        """A restart: `bye` to everybody, who come back spread over `BYE_MS`, and close.

        To some in each pass of the loop: what the others have asked is answered meanwhile. Who is shaking hands is told
        once they are in, and who comes later is refused at the door.
        """
        self.leaving = True
        told: set[Subscriber] = set()
        while waiting := [*set().union(*(audience.subscribers for audience in self.audiences.values())) - told]:
            told.update(waiting)
            for start in range(0, len(waiting), SLICE):
                for subscriber in waiting[start : start + SLICE]:
                    subscriber.send(wire.Bye(reason="restart", retry_after_ms=limits.BYE_MS))
                    subscriber.hang_up(wire.CLOSE_RESTART)
                await asyncio.sleep(0)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="live")
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("telling an audience failed", exc_info=error)
