"""Whatever a server and the line between do, a client's picture at (epoch, seq) is the truth at (epoch, seq)."""

import json
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st
from live_stand_in import Truth, a_hold

from lml_live.client.effects import Disconnect, Effects, Send
from lml_live.client.protocol import Protocol
from lml_live.gateway import wire

FMT = wire.JSON


class World:
    """A server that changes, a line that loses, repeats and breaks, and one client."""

    def __init__(self) -> None:
        self.truths = [Truth("e1")]
        self.client = Protocol("evening", FMT, random=lambda: 0.0, new_key=lambda: "key")
        self.now_ms = 0
        self.hellos: deque[wire.Hello] = deque()
        self.hold_news: list[wire.HoldChanged] = []
        self.past_diffs: list[wire.Diff] = []
        self.subscribed = False
        self.connect()
        self.answer_hello()

    @property
    def truth(self) -> Truth:
        return self.truths[-1]

    def connect(self) -> None:
        self.hellos.clear()
        self.unanswered = 0
        self.hold_news.clear()
        self.subscribed = False
        self.does(self.client.connected(self.now_ms))

    def does(self, effects: Effects) -> None:
        for effect in effects:
            assert not isinstance(effect, Disconnect), effect
            if isinstance(effect, Send):
                message = FMT.decode_client(effect.payload)
                assert isinstance(message, wire.Hello)
                self.hellos.append(message)
                self.unanswered += 1
        assert self.unanswered <= 1, "at most one hello is unanswered"

    def deliver(self, message: wire.ServerMessage) -> None:
        if isinstance(message, wire.Welcome | wire.Resumed):
            self.unanswered = 0
        self.does(self.client.receive(FMT.encode(message), self.now_ms))
        self.assert_picture_is_true()

    def answer_hello(self) -> None:
        if self.hellos:
            answer = self.truth.answer(self.hellos.popleft(), FMT)
            self.subscribed = True
            # What happened after the cut follows as news of its own.
            self.hold_news = [self.truth.hold_changed(news) for news in self.truth.hold_news if news[0] > answer.seq]
            self.deliver(answer)

    def new_epoch(self) -> None:
        """Redis went back: an older state lives on under a new epoch, and every socket is told so unasked."""
        old = self.truth
        truth = Truth(f"e{len(self.truths) + 1}", seq=old.head % 3)
        truth.states = [old.states[len(old.states) // 2]]
        self.truths.append(truth)
        self.hold_news.clear()
        self.past_diffs.clear()
        if self.subscribed:
            # A hello that was under way is answered as well: the client hears two welcomes.
            self.deliver(truth.welcome(FMT))

    def tick(self, fate: str) -> None:
        diff = self.truth.tick()
        self.past_diffs.append(diff)
        if self.subscribed:
            for _ in range({"lost": 0, "delivered": 1, "repeated": 2}[fate]):
                self.deliver(diff)

    def stale_diff(self, which: int) -> None:
        """Something that was sent before (in this epoch) comes once more."""
        if self.subscribed and self.past_diffs:
            self.deliver(self.past_diffs[which % len(self.past_diffs)])

    def tell_hold(self, which: int) -> None:
        """Answers and news of holds keep no order among themselves."""
        if self.subscribed and self.hold_news:
            self.deliver(self.hold_news.pop(which % len(self.hold_news)))

    def assert_picture_is_true(self) -> None:
        picture = self.client.picture
        for truth in self.truths:
            if truth.epoch == picture.epoch:
                assert picture.seats == truth.state_at(picture.seq)
                assert picture.areas == {"pit": truth.counts[picture.seq - truth.first]}

    def calm_down(self) -> None:
        """No more faults: the client has to end with all that is so."""
        for _ in range(2):
            while self.hellos:
                self.answer_hello()
            self.tick("delivered")
        while self.hellos:
            self.answer_hello()
        while self.hold_news:
            self.tell_hold(-1)
        picture = self.client.picture
        assert (picture.epoch, picture.seq) == (self.truth.epoch, self.truth.head)
        assert picture.seats == self.truth.states[-1]
        assert picture.holds == self.truth.holds_at(self.truth.head)
        assert not self.hellos


SEATS = st.dictionaries(st.integers(0, 9), st.integers(0, 3), max_size=4)
HOLDS = st.none() | st.tuples(
    st.sampled_from(["h-1", "h-2"]), st.none() | st.integers(1, 3).map(lambda seat: a_hold("h", (seat,)))
)
CHANGES = st.tuples(st.just("change"), SEATS, st.integers(0, 50), HOLDS)
ACTS = st.one_of(
    CHANGES,
    CHANGES,
    CHANGES,
    st.tuples(st.just("tick"), st.sampled_from(["delivered", "delivered", "lost", "repeated"])),
    st.tuples(st.just("answer")),
    st.tuples(st.just("tell"), st.integers(0, 5)),
    st.tuples(st.just("stale"), st.integers(0, 20)),
    st.tuples(st.just("line lost")),
    st.tuples(st.just("new epoch")),
)


@settings(max_examples=150)
@given(st.lists(ACTS, min_size=10, max_size=60))
def test_the_picture_is_always_true_and_ends_complete(acts: list[tuple[object, ...]]) -> None:
    world = World()
    for act in acts:
        world.now_ms += 10
        match act:
            case ("change", dict(seats), int(places), hold):
                named = None
                if isinstance(hold, tuple):
                    hold_id, value = hold
                    named = (hold_id, None if value is None else a_hold(hold_id, value.seats))
                world.truth.change(seats, places, named)
                if named is not None and world.subscribed:
                    world.hold_news.append(world.truth.hold_changed(world.truth.hold_news[-1]))
            case ("tick", str(fate)):
                world.tick(fate)
            case ("answer",):
                world.answer_hello()
            case ("tell", int(which)):
                world.tell_hold(which)
            case ("stale", int(which)):
                world.stale_diff(which)
            case ("line lost",):
                world.client.disconnected(world.now_ms, 1006)
                world.connect()
            case ("new epoch",):
                world.new_epoch()
    world.calm_down()


JUNK = st.sampled_from(
    [None, True, 0, 7, -1, 1.5, 2**53, 2**64, "", "e1", "h-1", [], [1], [[]], {}, {"pit": 1}, {"id": "evening"}]
)
FIELDS = ["seq", "prev", "epoch", "sold", "areas", "seats", "id", "hold", "value", "event", "layout", "retry_after_ms"]
TYPES = ["welcome", "resumed", "diff", "held", "hold_changed", "event", "pong", "error", "bye", "news of tomorrow"]


@given(
    st.binary(max_size=60)
    | st.fixed_dictionaries({"type": st.sampled_from(TYPES)}, optional=dict.fromkeys(FIELDS, JUNK)).map(
        lambda message: json.dumps(message).encode()
    )
)
def test_no_frame_at_all_breaks_the_client(frame: bytes) -> None:
    client = Protocol("evening", FMT, random=lambda: 0.5, new_key=lambda: "key")
    truth = Truth()
    client.connected(0)
    client.receive(FMT.encode(truth.welcome(FMT)), 0)
    client.receive(frame, 1)
    if client.live:
        assert len(client.picture.seats) == 10
        assert set(client.picture.seats) <= {0, 1, 2, 3}
    client.tick(2)
    client.disconnected(3)
    client.connected(4)
    client.receive(FMT.encode(truth.welcome(FMT)), 5)
    assert client.live
