"""Both sides of the live socket without a socket: a truth with a past that can tell of it, and a client to step."""

from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from lml_live.client.effects import Answered, Effects, Send
from lml_live.client.protocol import Protocol
from lml_live.gateway import wire
from lml_live.inventory import seatmap
from lml_live.inventory.diffs import split_by_state
from lml_live.inventory.resume import History, Replay, read_resume

LIMITS = wire.Limits(8, 600, 1, 1200)
NOW_MS = 1_800_000_000_000


def a_hold(hold_id: str, seats: tuple[int, ...] = (1,), *, deadline_ms: int = NOW_MS + 600_000) -> wire.Hold:
    lines = tuple(wire.HoldLine(line=line, type="full", amount=5000, fee=100, tax=0) for line, _ in enumerate(seats))
    return wire.Hold(
        id=hold_id,
        lines=lines,
        seats=seats,
        areas={},
        state="active",
        deadline_ms=deadline_ms,
        lifetime_ms=deadline_ms,
        extensions_left=1,
        amount=5100 * len(seats),
        currency="EUR",
    )


class Truth:
    """One event's inventory in one epoch, with every state it ever was in. `sent` is where its subscribers are."""

    def __init__(
        self, epoch: str = "e1", *, seat_count: int = 10, seq: int = 0, event: str = "evening", layout: str = "hash-1"
    ) -> None:
        self.epoch = epoch
        self.event = event
        self.layout = wire.LayoutRef("hall", 1, layout, f"/layouts/hall/{layout}", seat_count)
        self.first = self.sent = seq
        self.states = [bytes(seat_count)]
        self.counts = [wire.AreaCounts(50, 0, 0, 0)]
        self.hold_news: list[tuple[int, str, wire.Hold | None]] = []
        self.history = History(epoch, seq, seat_count=seat_count, entries_max=6)

    @property
    def head(self) -> int:
        return self.history.head

    def change(
        self, seats: dict[int, int], held_places: int = 0, hold: tuple[str, wire.Hold | None] | None = None
    ) -> int:
        """Write one log entry; the answer is its seq."""
        after = bytearray(self.states[-1])
        for seat, state in seats.items():
            after[seat] = state
        self.states.append(bytes(after))
        self.counts.append(wire.AreaCounts(50 - held_places, held_places, 0, 0))
        self.history.append(self.head + 1, seats, ["pit"])
        if hold is not None:
            self.hold_news.append((self.head, *hold))
        return self.head

    def state_at(self, seq: int) -> bytes:
        return self.states[seq - self.first]

    def holds_at(self, seq: int) -> dict[str, wire.Hold]:
        holds: dict[str, wire.Hold] = {}
        for news_seq, hold_id, hold in self.hold_news:
            if news_seq <= seq:
                holds.pop(hold_id, None)
                if hold is not None:
                    holds[hold_id] = hold
        return holds

    def tick(self) -> wire.Diff:
        """Tell subscribers of everything since the last tick (nothing, perhaps)."""
        prev, self.sent = self.sent, self.head
        before, after = self.state_at(prev), self.state_at(self.sent)
        changed = {seat: state for seat, state in enumerate(after) if state != before[seat]}
        available, held, sold, blocked = split_by_state(changed)
        areas = {"pit": self.counts[self.sent - self.first]} if self.sent > prev else {}
        return wire.Diff(
            seq=self.sent, prev=prev, available=available, held=held, sold=sold, blocked=blocked, areas=areas
        )

    def welcome(self, fmt: wire.Format, *, deflate: bool = False) -> wire.Welcome:
        packed = seatmap.pack(self.state_at(self.sent))
        return wire.Welcome(
            event=self._brief(),
            epoch=self.epoch,
            seq=self.sent,
            seats=fmt.raw(seatmap.deflate(packed) if deflate else packed),
            encoding="deflate" if deflate else None,
            areas={"pit": self.counts[self.sent - self.first]},
            holder="holder-1",
            token="token-1",
            holds=tuple(self.holds_at(self.sent).values()),
            limits=LIMITS,
            layout=self.layout,
            now_ms=NOW_MS,
            tick_ms=50,
        )

    def answer(self, hello: wire.Hello, fmt: wire.Format) -> wire.Welcome | wire.Resumed:
        """`resumed` where the client's position can be served, else `welcome`."""
        position = read_resume(hello.resume)
        plan = None if position is None else self.history.plan(*position, sent=self.sent, caught_up=True)
        if not isinstance(plan, Replay):
            return self.welcome(fmt, deflate="deflate" in hello.accept)
        now = self.state_at(self.sent)
        available, held, sold, blocked = split_by_state({seat: now[seat] for seat in plan.seats})
        return wire.Resumed(
            event=self._brief(),
            epoch=self.epoch,
            seq=self.sent,
            available=available,
            held=held,
            sold=sold,
            blocked=blocked,
            areas={"pit": self.counts[self.sent - self.first]},
            holder="holder-1",
            token="token-1",
            holds=tuple(self.holds_at(self.sent).values()),
            limits=LIMITS,
            layout=self.layout,
            now_ms=NOW_MS,
            tick_ms=50,
        )

    def hold_changed(self, news: tuple[int, str, wire.Hold | None]) -> wire.HoldChanged:
        seq, hold_id, hold = news
        state = "gone" if hold is None else hold.state
        return wire.HoldChanged(hold=hold_id, state=state, reason="own", value=hold, epoch=self.epoch, seq=seq)

    def _brief(self) -> wire.EventBrief:
        return wire.EventBrief(self.event, "open", 0, 1)


def as_builtins(payload: bytes, fmt: wire.Format) -> dict[str, object]:
    """A frame as the plain map that any other client or server would see."""
    decode = msgspec.msgpack.decode if fmt.binary else msgspec.json.decode
    value = decode(payload)
    assert isinstance(value, dict)
    return value


class Client:
    """A protocol with a clock that is stepped by hand; `said` is what it last sent, as plain maps."""

    def __init__(self, fmt: wire.Format = wire.JSON, token: str | None = None, chance: float = 0.5) -> None:
        keys = (f"key-{number}" for number in count(1))
        self.protocol = Protocol("evening", fmt, random=lambda: chance, new_key=lambda: next(keys), token=token)
        self.fmt = fmt
        self.now_ms = 0
        self.told: Effects = []
        self.said: list[dict[str, Any]] = []

    def _took(self, effects: Effects) -> Effects:
        self.told = [effect for effect in effects if not isinstance(effect, Send)]
        self.said = [as_builtins(effect.payload, self.fmt) for effect in effects if isinstance(effect, Send)]
        return self.told

    def connected(self) -> Effects:
        return self._took(self.protocol.connected(self.now_ms))

    def disconnected(self, code: int | None = 1006) -> Effects:
        return self._took(self.protocol.disconnected(self.now_ms, code))

    def hears(self, message: Any) -> Effects:
        payload = message if isinstance(message, bytes | str) else self.fmt.encode(message)
        return self._took(self.protocol.receive(payload, self.now_ms))

    def asks(self, act: Callable[[Protocol, int], tuple[int, Effects]]) -> int:
        number, effects = act(self.protocol, self.now_ms)
        self._took(effects)
        return number

    def after(self, ms: int) -> Effects:
        self.now_ms += ms
        return self._took(self.protocol.tick(self.now_ms))

    def comes_back(self, message: Any) -> Effects:
        """Loses the socket, opens another one and hears `message` there."""
        self.disconnected()
        self.connected()
        return self.hears(message)


def answers(effects: Effects) -> list[Answered]:
    return [effect for effect in effects if isinstance(effect, Answered)]


def held(truth: Truth, wire_id: int, hold: wire.Hold | None, seq: int | None = None) -> wire.Held:
    return wire.Held(id=wire_id, epoch=truth.epoch, seq=truth.head if seq is None else seq, hold=hold, now_ms=NOW_MS)
