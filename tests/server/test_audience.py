"""Who watches an event and how a tick reaches them, without sockets: idle rooms, slow readers, comings and goings."""

import asyncio
import functools
import time
from collections.abc import Collection
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from serving import hall_of_300
from waiting import eventually

from lml_live import limits
from lml_live.errors import Unauthorized, Unavailable
from lml_live.gateway import wire
from lml_live.gateway.audience import Audience, Subscriber
from lml_live.gateway.connection import Doorman, serve_socket
from lml_live.gateway.desk import Desk, plan_layout
from lml_live.gateway.fan_out import SLICE, FanOut, Turns
from lml_live.gateway.live import Live
from lml_live.gateway.session import Greet, Session
from lml_live.gateway.tokens import LIFE_MS, RENEWAL_MS, HolderTokens
from lml_live.guard.throttle import AddressCaps
from lml_live.inventory import seatmap
from lml_live.inventory.diffs import Change
from lml_live.inventory.feed import Feed
from lml_live.inventory.holds import OwnHolds
from lml_live.inventory.records import Entry, Sale
from lml_live.inventory.rooms import STAFF, Room
from lml_live.pricing.events import Event, SaleLimits
from lml_live.pricing.quote import Price, PriceTable
from lml_live.venues.seat_index import index_layout

SEATS = 300
INDEX = index_layout(hall_of_300())


class Transport:
    """Takes what is written, and keeps it unread while `stuck`."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.unread = 0
        self.stuck = False
        self.aborted = False

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.unread += len(frame) if self.stuck else 0

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.aborted

    def get_extra_info(self, _name: str) -> None:
        """It has no socket."""

    def abort(self) -> None:
        self.aborted = True

    def messages(self) -> list[dict[str, Any]]:
        """What was written, without the frames' heads."""
        return [msgspec.json.decode(frame[frame.index(b"{") :]) for frame in self.frames if b"{" in frame]


def make_sale(epoch: int = 1, **changes: Any) -> Sale:
    sale = Sale(
        event="e",
        number=1,
        group="e",
        state="open",
        on_sale_at_ms=0,
        max_seats=8,
        hold_seconds=300,
        extensions=2,
        lifetime_seconds=1800,
        tick_ms=None,
        revision=1,
        prices_version=1,
        run_id="r",
        layout_id="test-hall",
        layout_version=1,
        layout_hash=INDEX.hash,
        seat_count=SEATS,
        areas={},
        epoch=epoch,
    )
    return msgspec.structs.replace(sale, **changes)


class Halves:
    """Stands for the desks and holds behind `Live`: one event, whose holders hold nothing."""

    def __init__(self, desk: Desk) -> None:
        self.desks = self.holds = self
        self.known = desk
        self.epoch = 1
        self.away = False
        self.slow = False
        self.reads: list[asyncio.Event] = []
        """Reads that wait to be answered, while `slow`."""

    async def desk(self, _event: str) -> Desk:
        return self.known

    async def reload(self, _event: str) -> Desk:
        if self.away:
            raise Unavailable("PostgreSQL is away.")
        return self.known

    async def read_holds(self, _event: str, _holder: str) -> OwnHolds:
        if self.slow:
            self.reads.append(asyncio.Event())
            await self.reads[-1].wait()
        return OwnHolds({}, self.epoch, 0)


class Setting:
    """A live side with one event, and subscribers that are not sockets."""

    def __init__(self, desk: Desk) -> None:
        self.halves = Halves(desk)
        self.room = Room(make_sale(), 0, bytes(SEATS), {})
        self.feed = Feed(None, tick_ms=50)  # type: ignore[arg-type]  # nothing here reads a book
        self.feed.rooms["e"] = self.room
        self.tokens = HolderTokens(b"s" * 32)
        self.live = Live(self.feed, self.halves, self.halves, self.tokens, lambda: 1_000_000)  # type: ignore[arg-type]

    async def audience(self) -> Audience:
        return await self.live.audience("e")

    async def come(self, fmt: wire.Format = wire.JSON) -> tuple[Subscriber, Transport]:
        """A subscriber that was welcomed."""
        subscriber, transport = self.subscriber(fmt)
        audience = self.live.join(await self.audience(), subscriber)
        await self.live.welcome(audience, subscriber, self.session(), Greet(None, None, None, False))
        return subscriber, transport

    def subscriber(self, fmt: wire.Format = wire.JSON) -> tuple[Subscriber, Transport]:
        transport = Transport()
        return Subscriber(transport, fmt, "w:1:"), transport  # type: ignore[arg-type]

    def session(self) -> Session:
        return Session(self.tokens, 1_000_000)

    def hold(self, *seats: int) -> None:
        """A log entry that holds these, and its tick."""
        runs = tuple(part for seat in seats for part in (seat, 1, 1))
        self.room.apply(self.room.epoch, self.room.seq + 1, Entry("hold", "", runs, (), ()))
        tick = self.room.tick()
        assert tick is not None
        self.live.ticked("e", self.room, tick)

    def renew(self) -> None:
        """The next epoch begins."""
        before, sale = self.room.sale, make_sale(self.room.epoch + 1)
        self.halves.epoch = sale.epoch
        self.room.reset(sale, 0, bytes(SEATS), {})
        self.live.reset("e", self.room, before)


@pytest.fixture
async def setting() -> Setting:
    event = _event()
    prices = PriceTable(event.price_list())
    types = {"Front": "standard", "Rear": "standard"}
    return Setting(Desk(event, prices, INDEX, "/layout", types, {}, plan_layout(INDEX)))


def _event() -> Event:
    return Event(
        id="e",
        number=1,
        group="e",
        name="E",
        venue="V",
        starts_at=datetime(2030, 1, 1, tzinfo=UTC),
        on_sale_at=datetime(2020, 1, 1, tzinfo=UTC),
        state="open",
        currency="EUR",
        layout_id="test-hall",
        layout_version=1,
        layout_hash=INDEX.hash,
        seat_count=SEATS,
        limits=SaleLimits(),
        tick_ms=None,
        revision=1,
        prices_version=1,
        epoch=1,
        redis_run_id="r",
        prices=(Price(category="Front", amount=1), Price(category="Rear", amount=1)),
        areas=(),
    )


async def test_staff_who_signed_out_are_shown_out(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that watched as staff went on for as long as it was open."""
    monkeypatch.setattr(limits, "STAFF_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(limits, "SOCKET_UPKEEP_SECONDS", 0.01)
    said: dict[str, Transport] = {}
    closed: dict[str, int] = {}
    for who in ("staff-anna", "staff-ben"):
        subscriber, said[who] = setting.subscriber()
        audience = setting.live.enter(await setting.audience(), subscriber, STAFF)
        await setting.live.welcome(audience, subscriber, setting.session(), Greet(who, who, None, False))
        subscriber.hang_up = functools.partial(closed.__setitem__, who)
    _, public = await setting.come()
    asked: list[set[str]] = []

    async def signed_out(tokens: Collection[str]) -> Collection[str]:
        asked.append(set(tokens))
        if len(asked) == 1:
            raise Unavailable("PostgreSQL is away.")
        return {"staff-anna"}

    setting.live.signed_out = signed_out
    keeping = asyncio.create_task(setting.live.keep())
    await eventually(lambda: closed)
    keeping.cancel()
    assert closed == {"staff-anna": wire.CLOSE_UNAUTHORIZED}
    assert asked[0] == {"staff-anna", "staff-ben"}, "holders' tokens are asked of nobody"
    assert said["staff-anna"].messages()[-1]["code"] == "unauthorized"
    assert [len(line.messages()) for line in (said["staff-ben"], public)] == [1, 1]


async def test_staff_who_are_not_welcomed_yet_get_no_details(setting: Setting) -> None:
    """Their indexes are of the layout and epoch of a welcome that is still to come, which brings them all."""
    subscriber, line = setting.subscriber()
    audience = setting.live.enter(await setting.audience(), subscriber, STAFF)
    setting.hold(3)
    assert line.messages() == []
    await setting.live.welcome(audience, subscriber, setting.session(), Greet("staff-anna", "anna", None, False))
    setting.hold(4)
    setting.renew()
    setting.hold(5)
    await eventually(lambda: line.messages()[-1]["type"] == "welcome" and len(line.messages()) > 1)
    told = [(message["type"], message.get("seats")) for message in line.messages() if message["type"] != "diff"]
    assert [kind for kind, _ in told] == ["welcome", "details", "welcome"]
    assert told[1][1] == [[4, 1]]


async def test_an_ended_partners_customer_watches_on_with_what_it_has(setting: Setting) -> None:
    """A new epoch's welcome, which nobody asks for, gave a new token to everybody."""
    now, channel = 1_000_000, "agency"
    old = setting.tokens.issue("h-1", now - LIFE_MS + RENEWAL_MS - 1, channel)
    sells = [True]

    async def ask(name: str) -> bool:
        assert name == channel
        return sells[-1]

    setting.live.sells = ask
    subscriber, line = setting.subscriber()
    audience = setting.live.join(await setting.audience(), subscriber)
    subscriber.channel = channel
    for going_on in (False, True):
        sells.append(going_on)
        greet = Greet("h-1", old, None, False, channel, renew=True)
        await setting.live.welcome(audience, subscriber, setting.session(), greet)
        assert (line.messages()[-1]["token"] != old) is going_on
        subscriber.token = old
        setting.renew()
        await until_quiet()
        assert line.messages()[-1]["epoch"] == str(setting.room.epoch)
        assert (line.messages()[-1]["token"] != old) is going_on
    sells.append(False)
    with pytest.raises(Unauthorized):
        await setting.live.welcome(audience, subscriber, setting.session(), Greet("h-1", None, None, False, channel))


async def until_quiet() -> None:
    """Lets everything run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_an_idle_room_says_where_it_is(setting: Setting) -> None:
    _, transport = await setting.come()
    setting.hold(3)
    audience, now = await setting.audience(), time.monotonic()
    audience.broadcast_idle(now + limits.PING_SECONDS - 1)
    assert [message["type"] for message in transport.messages()] == ["welcome", "diff"]
    audience.broadcast_idle(now + limits.PING_SECONDS + 1)
    assert transport.messages()[2:] == [{"type": "diff", "seq": 1, "prev": 1}]
    setting.hold(4)
    assert transport.messages()[-1] == {"type": "diff", "seq": 2, "prev": 1, "held": [4]}


async def test_a_slow_reader_gets_one_merged_diff_when_it_reads_again(setting: Setting) -> None:
    _, slow_line = await setting.come()
    _, quick_line = await setting.come()
    audience = await setting.audience()
    slow_line.stuck, slow_line.unread = True, 1
    for seat in range(5):
        setting.hold(seat)
    assert [message["seq"] for message in quick_line.messages()[1:]] == [1, 2, 3, 4, 5], "nobody waits for the slow one"
    assert len(slow_line.messages()) == 1
    audience.serve_slow(time.monotonic())
    assert len(slow_line.messages()) == 1, "it has not read yet"
    slow_line.unread = 0
    slow_line.stuck = False
    audience.serve_slow(time.monotonic())
    assert slow_line.messages()[1:] == [{"type": "diff", "prev": 0, "seq": 5, "held": [0, 1, 2, 3, 4]}]
    setting.hold(9)
    assert slow_line.messages()[-1] == {"type": "diff", "prev": 5, "seq": 6, "held": [9]}


async def test_slow_readers_that_fell_behind_one_by_one_lack_nothing(setting: Setting) -> None:
    """What they miss is kept once for all of them; each is told from where it is."""
    readers = [await setting.come(fmt) for fmt in (wire.JSON, wire.JSON, wire.MSGPACK)]
    lines = [line for _, line in readers]
    audience = await setting.audience()
    for line in lines:
        line.unread = 1
        setting.hold(lines.index(line))
    for line in reversed(lines):
        line.unread = 0
        setting.hold(10 + lines.index(line))
        audience.serve_slow(time.monotonic())
    setting.hold(20)
    for line in lines:
        decode = wire.MSGPACK.decode_server if line is lines[2] else wire.JSON.decode_server
        at = lines.index(line)
        known, seats = 0, set()
        for frame in line.frames[1:]:
            diff = decode(frame[2:])
            assert isinstance(diff, wire.Diff)
            assert diff.prev <= known < diff.seq, f"{at} has a gap"
            known = diff.seq
            seats |= set(diff.held)
        assert seats == {0, 1, 2, 10, 11, 12, 20}
        assert len(line.frames) < 9, "what it missed came as one"


async def test_rooms_share_what_a_pass_of_the_loop_writes(setting: Setting) -> None:
    turns = Turns()
    lines: list[list[Transport]] = [[], []]
    for room in lines:
        fan_out = FanOut(turns, None)
        for _ in range(SLICE):
            subscriber, line = setting.subscriber()
            room.append(line)
            fan_out.settle(subscriber)
        fan_out.tell(Change(0, 1, {3: 1}, {}))
    written = [[len(line.frames) for line in room] for room in lines]
    assert written == [[1] * SLICE, [0] * SLICE], "a hold waits for one slice, however many rooms are told"
    await until_quiet()
    assert [[len(line.frames) for line in room] for room in lines] == [[1] * SLICE] * 2


async def test_a_rush_is_welcomed_with_one_encoding_a_version_and_format(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F34: ten thousand that come back at once cost ten thousand writes, and no more seat maps than there are kinds."""
    made: list[int] = []
    pack, deflate = seatmap.pack, seatmap.deflate
    monkeypatch.setattr(seatmap, "pack", lambda states: made.append(0) or pack(states))
    monkeypatch.setattr(seatmap, "deflate", lambda packed: made.append(1) or deflate(packed))
    kinds = [(wire.JSON, False), (wire.MSGPACK, False), (wire.JSON, True), (wire.MSGPACK, True)]

    async def rush(count: int) -> set[str]:
        lines = []
        for number in range(count):
            fmt, deflated = kinds[number % len(kinds)]
            subscriber, line = setting.subscriber(fmt)
            audience = setting.live.join(await setting.audience(), subscriber)
            greet = Greet(None, None, None, deflated)
            lines.append(line)
            await setting.live.welcome(audience, subscriber, setting.session(), greet)
        return {message["seats"] for line in lines[::4] for message in line.messages()}

    [first] = await rush(200)
    assert (made.count(0), made.count(1)) == (4, 2)
    assert {first} == await rush(200)
    assert (made.count(0), made.count(1)) == (4, 2), "the same version, and nothing is encoded again"
    setting.hold(3)
    assert {first} != await rush(200)
    assert (made.count(0), made.count(1)) == (8, 4)


async def test_what_is_kept_for_those_who_do_not_read_is_the_size_of_the_hall(setting: Setting) -> None:
    """Merged per seat, once for all of them, however many ticks they miss."""
    lines = [(await setting.come())[1] for _ in range(20)]
    audience = await setting.audience()
    for line in lines:
        line.unread = 1
    for number in range(1_000):
        setting.hold(number % 50)
        await asyncio.sleep(0)
    await until_quiet()
    for line in lines:
        assert len(line.frames) == 1
        line.unread = 0
    audience.serve_slow(time.monotonic())
    for line in lines:
        assert line.messages()[1:] == [{"type": "diff", "prev": 0, "seq": 1_000, "held": list(range(50))}]


async def test_who_does_not_read_is_cut(setting: Setting) -> None:
    stalled, line = await setting.come()
    _, other = await setting.come()
    audience = await setting.audience()
    line.stuck, line.unread = True, 1
    setting.hold(1)
    audience.serve_slow(time.monotonic() + limits.STALL_SECONDS_MAX - 1)
    assert not stalled.gone
    audience.serve_slow(time.monotonic() + limits.STALL_SECONDS_MAX + 1)
    assert stalled.gone
    setting.hold(2)
    assert other.messages()[-1]["held"] == [2]
    greedy, pile = await setting.come()
    pile.stuck = True
    while not greedy.gone:
        greedy.send(wire.Pong(id=1, now_ms=1))
        assert pile.unread < limits.CLIENT_QUEUE_BYTES_MAX + 1_000, "its answers pile up without a bound"


async def test_a_crowd_is_written_to_in_slices_and_in_order(setting: Setting) -> None:
    crowd = [await setting.come() for _ in range(2 * SLICE + 5)]
    setting.hold(1)
    assert sum(len(line.frames) == 2 for _, line in crowd) == SLICE, "a hold need not wait for a whole crowd"
    setting.hold(2)
    _, line = await setting.come()
    await until_quiet()
    for _, each in crowd:
        assert [message["seq"] for message in each.messages()[1:]] == [1, 2]
    assert [message["seq"] for message in line.messages()] == [2], "it came after both ticks"


async def test_ticks_that_come_while_a_crowd_is_written_to_are_told_as_one(setting: Setting) -> None:
    """Each tick waited for its own turn: a room too busy for its worker fell behind for ever, and its memory grew."""
    crowd = [await setting.come() for _ in range(2 * SLICE + 5)]
    for seat in range(1, 9):
        setting.hold(seat)
    _, line = await setting.come()
    for seat in range(9, 20):
        setting.hold(seat)
    await until_quiet()
    for _, each in crowd:
        told = each.messages()[1:]
        assert [(message["prev"], message["seq"]) for message in told] == [(0, 1), (1, 19)]
        assert told[1]["held"] == list(range(2, 20))
    welcome, diff = line.messages()
    assert (welcome["seq"], diff["prev"], diff["seq"]) == (8, 8, 19), "it joins the one diff where it came in"
    assert set(range(9, 20)) <= set(diff["held"])
    setting.hold(20)
    await until_quiet()
    assert {each.messages()[-1]["prev"] for each in [line, *(each for _, each in crowd)]} == {19}


async def test_a_new_epoch_does_not_mix_with_ticks_that_wait(setting: Setting) -> None:
    crowd = [await setting.come() for _ in range(SLICE + 5)]
    setting.hold(1)
    setting.hold(2)
    setting.renew()
    setting.hold(3)
    await until_quiet()
    for subscriber, each in crowd:
        seen = [(message["type"], message["seq"]) for message in each.messages()[1:] if "seq" in message]
        welcome = max(at for at, (kind, _) in enumerate(seen) if kind == "welcome")
        assert ("diff", 2) not in seen[welcome:], "what is of the epoch before is not told in the new one"
        assert subscriber.epoch == 2


async def test_who_shakes_hands_while_the_last_one_leaves_still_hears_every_tick(setting: Setting) -> None:
    """The last one's leaving closed the audience that the newcomer had in hand: it heard nothing for ever."""
    first, _ = await setting.come()
    in_hand = await setting.audience()
    setting.live.leave(in_hand, first)
    newcomer, line = setting.subscriber()
    audience = setting.live.join(in_hand, newcomer)
    await setting.live.welcome(audience, newcomer, setting.session(), Greet(None, None, None, False))
    setting.hold(7)
    assert line.messages()[-1] == {"type": "diff", "prev": 0, "seq": 1, "held": [7]}


async def test_a_new_epoch_is_welcomed_though_postgresql_is_away(setting: Setting) -> None:
    """The facts could not be read again, so nobody was welcomed, and every socket stayed silent for ever."""
    lines = [(await setting.come(fmt))[1] for fmt in (wire.JSON, wire.JSON)]
    setting.halves.away = True
    setting.hold(1)
    setting.renew()
    await until_quiet()
    setting.hold(2)
    for line in lines:
        said = [(message["type"], message["seq"]) for message in line.messages()]
        assert said == [("welcome", 0), ("diff", 1), ("welcome", 0), ("diff", 1)]
        assert line.messages()[2]["epoch"] == "2"


async def test_a_hello_during_a_new_epoch_and_its_welcome_do_not_mix(setting: Setting) -> None:
    """Two welcomes at once shared one list of early news; whichever ended first threw it away."""
    subscriber, line = await setting.come()
    audience = await setting.audience()
    setting.halves.slow = True
    setting.renew()
    await until_quiet()
    greet = Greet(subscriber.holder, "t", ("1", 0), False)
    again = asyncio.create_task(setting.live.welcome(audience, subscriber, setting.session(), greet))
    await until_quiet()
    setting.hold(1)
    assert [message["type"] for message in line.messages()] == ["welcome"], "no diff before the welcome of its epoch"
    assert len(setting.halves.reads) == 1, "one welcome at a time"
    setting.halves.slow = False
    setting.halves.reads[0].set()
    await again
    setting.hold(5)
    said = [(message["type"], message["seq"]) for message in line.messages()[1:]]
    assert said == [("welcome", 1), ("welcome", 1), ("diff", 2)]
    assert subscriber.early_news is None


async def test_what_was_read_ahead_is_told_with_the_next_tick(setting: Setting) -> None:
    """Picking best seats reads the log between ticks; a `welcome` in between is still cut at the last tick."""
    _, transport = await setting.come()
    floor = ("floor", 39, 1, 0, 0, ())
    setting.room._sent_areas["floor"] = setting.room._areas["floor"] = (40, 0, 0, 0)
    setting.room.apply(1, 1, Entry("hold", "", (3, 1, 1), floor, ()))
    assert setting.room.seats[3] == 1
    _, welcomed = await setting.come()
    (message,) = welcomed.messages()
    assert (message["seq"], message["areas"]["floor"]["available"]) == (0, 40)
    tick = setting.room.tick()
    assert tick is not None
    setting.live.ticked("e", setting.room, tick)
    for socket in (transport, welcomed):
        diff = socket.messages()[-1]
        assert (diff["prev"], diff["seq"], diff["held"]) == (0, 1, [3])
        assert diff["areas"]["floor"]["available"] == 39


async def test_goodbyes_are_said_some_at_a_time_and_to_those_who_come_in_meanwhile(setting: Setting) -> None:
    """F6: all were told in one pass of the loop, half a second for ten thousand, and what others asked had to wait."""
    passes, told = 0, dict[Subscriber, int]()
    lines: dict[Subscriber, Transport] = {}

    async def come() -> None:
        subscriber, transport = await setting.come()
        lines[subscriber] = transport

        def hang_up(code: int) -> None:
            assert (code, transport.messages()[-1]["type"]) == (wire.CLOSE_RESTART, "bye"), (
                "first the word, then the end"
            )
            assert told.setdefault(subscriber, passes) == passes, "once"

        subscriber.hang_up = hang_up

    for _ in range(2 * SLICE + 10):
        await come()
    leaving = asyncio.create_task(setting.live.farewell())
    while not leaving.done():
        await asyncio.sleep(0)
        passes += 1
        if passes == 2:
            await come()  # its handshake was under way
    assert told.keys() == lines.keys()
    assert len(set(told.values())) >= 3
    assert max(list(told.values()).count(number) for number in told.values()) <= SLICE
    late: Any = SimpleNamespace(headers={}, host="lml.example", match_info={"event": "e"})
    with pytest.raises(Unavailable):
        await serve_socket(late, setting.live, Doorman((), AddressCaps(1, ())), "192.0.2.1")
