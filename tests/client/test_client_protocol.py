"""The client's protocol, spoken in its own words: what it hears, and what it then says or tells."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from client_fixtures import client_fixture, truth_fixture  # noqa: F401
from live_stand_in import NOW_MS, Client, Truth, a_hold, answers, held

from lml_live.client.effects import (
    Answered,
    AreasChanged,
    Disconnect,
    Ended,
    EventUpdated,
    HoldResult,
    HoldUpdated,
    PingResult,
    Reconnect,
    Refusal,
    SeatsChanged,
    Synced,
    Warned,
)
from lml_live.client.protocol import (
    ANSWER_MS,
    BACK_OFF_MAX_MS,
    HELLO_MS,
    PING_MS,
    SILENCE_MS,
    STABLE_MS,
    WAIT_MAX_MS,
    Protocol,
)
from lml_live.gateway import wire

FORMATS = pytest.mark.parametrize("fmt", [wire.JSON, wire.MSGPACK], ids=["json", "msgpack"])


# --- Greeting ---------------------------------------------------------------------------------------------------------


@FORMATS
@pytest.mark.parametrize("deflate", [False, True])
def test_hello_gets_the_whole_state(fmt: wire.Format, deflate: bool, truth: Truth) -> None:
    client = Client(fmt)
    client.connected()
    assert client.said == [{"type": "hello", "accept": ["deflate"]}]
    client.hears(truth.welcome(fmt, deflate=deflate))
    assert client.told[0] == Synced("e1", 5, whole=True, new_epoch=True)
    assert client.protocol.live
    picture = client.protocol.picture
    assert picture.seats == bytes([0, 1, 2, 0, 0, 0, 0, 0, 0, 0])
    assert picture.areas == {"pit": wire.AreaCounts(47, 3, 0, 0)}
    assert (picture.holder, client.protocol.token, picture.layout) == ("holder-1", "token-1", truth.layout)
    assert client.protocol.server_now_ms(client.now_ms + 250) == NOW_MS + 250


def test_hello_names_the_holder_that_comes_back() -> None:
    client = Client(token="mine")
    client.connected()
    assert client.said[0]["token"] == "mine"


def test_a_new_socket_resumes_with_token_and_position(client: Client) -> None:
    client.disconnected()
    client.connected()
    assert client.said[0]["token"] == "token-1"
    assert client.said[0]["resume"] == {"epoch": "e1", "seq": 5}


def test_resumed_brings_what_was_missed(client: Client, truth: Truth) -> None:
    hello = wire.Hello(resume={"epoch": "e1", "seq": 5})
    truth.change({1: 0, 7: 3})
    truth.tick()
    client.comes_back(truth.answer(hello, client.fmt))
    assert client.told[:2] == [Synced("e1", 6, whole=False, new_epoch=False), SeatsChanged({1: 0, 7: 3})]
    assert client.protocol.picture.seats == truth.state_at(6)
    assert client.protocol.picture.seq == 6


def test_no_diff_is_believed_before_the_greeting(client: Client, truth: Truth) -> None:
    """On a new socket it may belong to another epoch, which only `welcome` tells."""
    client.disconnected()
    client.connected()
    assert client.hears(wire.Diff(seq=6, prev=5, sold=(9,))) == []
    assert client.protocol.picture.seats[9] == 0


# --- Diffs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prev", "seq", "fate"),
    [
        (5, 6, "applied"),
        (4, 6, "applied"),
        (0, 9, "applied"),
        (5, 5, "dropped"),
        (4, 5, "dropped"),
        (1, 2, "dropped"),
        (6, 7, "gap"),
        (6, 6, "gap"),
        (2**53 - 2, 2**53 - 1, "gap"),
    ],
)
def test_which_diffs_apply(client: Client, prev: int, seq: int, fate: str) -> None:
    diff = wire.Diff(seq=seq, prev=prev, sold=(9,), areas={"pit": wire.AreaCounts(0, 50, 0, 0)})
    client.hears(diff)
    picture = client.protocol.picture
    if fate == "applied":
        assert client.told == [SeatsChanged({9: 2}), AreasChanged({"pit": wire.AreaCounts(0, 50, 0, 0)})]
        assert (picture.seq, picture.seats[9], picture.areas["pit"].available) == (seq, 2, 0)
    else:
        assert client.told == []
        assert (picture.seq, picture.seats[9], picture.areas["pit"].available) == (5, 0, 47)
    resumes = [said.get("resume") for said in client.said]
    assert resumes == ([{"epoch": "e1", "seq": 5}] if fate == "gap" else [])


def test_a_gap_is_asked_about_once(client: Client, truth: Truth) -> None:
    client.hears(wire.Diff(seq=8, prev=7))
    assert "token" not in client.said[0], "on the same socket it is the same holder"
    client.hears(wire.Diff(seq=9, prev=8))
    assert client.said == [], "at most one hello is unanswered"
    for _ in range(4):
        truth.change({3: 1})
    truth.tick()
    client.hears(truth.answer(wire.Hello(resume={"epoch": "e1", "seq": 5}), client.fmt))
    assert client.protocol.picture.seats == truth.state_at(9)
    client.hears(wire.Diff(seq=12, prev=11))
    assert len(client.said) == 1, "the next gap is asked about again"


def test_an_idle_room_says_where_it_is(client: Client) -> None:
    assert client.hears(wire.Diff(seq=5, prev=5)) == []
    assert client.said == []


def test_what_nobody_asked_to_resume_is_ignored(client: Client, truth: Truth) -> None:
    truth.change({1: 0})
    truth.change({2: 0})
    truth.tick()
    client.hears(truth.answer(wire.Hello(resume={"epoch": "e1", "seq": 6}), client.fmt))
    assert client.protocol.picture.seq == 5, "it was for one who had seen entry 6"


# --- A new epoch ------------------------------------------------------------------------------------------------------


def test_an_unasked_welcome_replaces_all_that_is_known_of_holds(client: Client, truth: Truth) -> None:
    for hold_id in ("h-1", "h-2", "h-3"):
        truth.change({}, hold=(hold_id, a_hold(hold_id)))
        client.hears(truth.hold_changed(truth.hold_news[-1]))
    assert set(client.protocol.picture.holds) == {"h-1", "h-2", "h-3"}
    after = Truth("e2", seq=0)
    in_checkout = msgspec.structs.replace(a_hold("h-2"), state="checkout")
    after.change({5: 2}, hold=("h-2", in_checkout))
    after.tick()
    client.hears(after.welcome(client.fmt))
    assert client.told[0] == Synced("e2", 1, whole=True, new_epoch=True)
    assert [effect for effect in client.told if isinstance(effect, HoldUpdated)] == [
        HoldUpdated("h-2", in_checkout, "sync", "e2", 1),
        HoldUpdated("h-1", None, "sync", "e2", 1),
        HoldUpdated("h-3", None, "sync", "e2", 1),
    ]
    assert client.protocol.picture.holds == {"h-2": in_checkout}
    client.hears(truth.hold_changed((99, "h-1", a_hold("h-1"))))
    assert set(client.protocol.picture.holds) == {"h-2"}, "news of the old epoch brings nothing back"


def test_news_that_overtakes_the_welcome_of_its_epoch_waits_for_it(client: Client) -> None:
    after = Truth("e2", seq=0)
    after.change({}, hold=("h-9", a_hold("h-9")))
    assert client.hears(after.hold_changed(after.hold_news[-1])) == []
    client.hears(after.welcome(client.fmt))
    assert client.protocol.picture.holds == {"h-9": a_hold("h-9")}


# --- Holds ------------------------------------------------------------------------------------------------------------


LATER = a_hold("h-1", deadline_ms=NOW_MS + 900_000)


@pytest.mark.parametrize(
    ("news", "known"),
    [
        ([(6, a_hold("h-1"))], a_hold("h-1")),
        ([(6, a_hold("h-1")), (7, LATER)], LATER),
        ([(7, LATER), (6, a_hold("h-1"))], LATER),
        ([(7, LATER), (7, LATER)], LATER),
        ([(6, a_hold("h-1")), (7, None)], None),
        ([(7, None), (6, a_hold("h-1"))], None),
        ([(7, None), (8, LATER)], LATER),
    ],
)
def test_of_two_messages_about_one_hold_the_higher_seq_is_right(
    client: Client, truth: Truth, news: list[tuple[int, wire.Hold | None]], known: wire.Hold | None
) -> None:
    for seq, hold in news:
        client.hears(truth.hold_changed((seq, "h-1", hold)))
    assert client.protocol.picture.holds.get("h-1") == known


@pytest.mark.parametrize(("hold", "stays"), [(a_hold("h-1"), True), (None, False)])
def test_a_welcome_that_was_cut_before_the_answer_takes_nothing_back(
    client: Client, truth: Truth, hold: wire.Hold | None, stays: bool
) -> None:
    """`welcome` is cut at the last tick; a hold answered after it is not listed, and not gone (or the reverse)."""
    if hold is None:
        truth.change({}, hold=("h-1", a_hold("h-1")))
        client.hears(truth.tick())
        client.hears(truth.hold_changed(truth.hold_news[-1]))
    truth.change({}, hold=("h-1", hold))
    client.hears(truth.hold_changed(truth.hold_news[-1]))
    client.comes_back(truth.welcome(client.fmt))
    assert ("h-1" in client.protocol.picture.holds) is stays


def test_a_hold_is_asked_for_and_granted(client: Client, truth: Truth) -> None:
    number = client.asks(lambda live, now: live.hold(now, [3, wire.SeatPick(4, "child")], {"pit": 2}))
    (said,) = client.said
    assert (said["type"], said["id"], said["key"]) == ("hold", 1, "key-1")
    assert (said["seats"], said["areas"]) == ([3, {"seat": 4, "type": "child"}], {"pit": 2})
    hold = a_hold("h-1", (3, 4))
    client.hears(held(truth, 1, hold, seq=6))
    assert client.told == [HoldUpdated("h-1", hold, "answer", "e1", 6), Answered(number, HoldResult(hold))]
    assert client.protocol.picture.seats[3] == 0, "only diffs and welcomes colour seats"


def test_a_refusal_says_what_was_in_the_way(client: Client) -> None:
    number = client.asks(lambda live, now: live.hold(now, [1]))
    client.hears(wire.Error(id=1, code="seat_taken", message="Taken.", seats=(1,), areas={"pit": 0}))
    assert client.told == [Answered(number, Refusal("seat_taken", "Taken.", (1,), {"pit": 0}))]


def test_a_replaced_hold_is_gone(client: Client, truth: Truth) -> None:
    client.hears(truth.hold_changed((6, "h-1", a_hold("h-1"))))
    client.asks(lambda live, now: live.hold(now, [5], replace="h-1"))
    client.hears(held(truth, 1, a_hold("h-2", (5,)), seq=7))
    assert set(client.protocol.picture.holds) == {"h-2"}


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (wire.Released(id=1, epoch="e1", seq=7, now_ms=NOW_MS), None),
        (wire.Released(id=1, epoch="e1", seq=7, hold=a_hold("h-1", (2,)), now_ms=NOW_MS), a_hold("h-1", (2,))),
    ],
)
def test_what_is_left_of_a_released_hold(
    client: Client, truth: Truth, answer: wire.Released, left: wire.Hold | None
) -> None:
    client.hears(truth.hold_changed((6, "h-1", a_hold("h-1", (1, 2)))))
    number = client.asks(lambda live, now: live.release(now, "h-1"))
    client.hears(answer)
    assert client.told == [HoldUpdated("h-1", left, "answer", "e1", 7), Answered(number, HoldResult(left))]
    assert client.protocol.picture.holds.get("h-1") == left


def test_an_extended_hold(client: Client, truth: Truth) -> None:
    client.hears(truth.hold_changed((6, "h-1", a_hold("h-1"))))
    number = client.asks(lambda live, now: live.extend(now, "h-1"))
    client.hears(wire.Extended(id=1, epoch="e1", seq=7, hold=LATER, now_ms=NOW_MS))
    assert answers(client.told) == [Answered(number, HoldResult(LATER))]
    assert client.protocol.picture.holds["h-1"] == LATER


# --- Coming back ------------------------------------------------------------------------------------------------------


def waits(chance: float) -> Iterator[int]:
    client = Client(chance=chance)
    for _ in range(9):
        (effect,) = client.protocol.connect_failed(client.now_ms)
        assert isinstance(effect, Reconnect)
        yield effect.after_ms


def test_back_off_doubles_and_is_bounded_and_spread() -> None:
    assert list(waits(1.0)) == [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, BACK_OFF_MAX_MS]
    assert list(waits(0.5))[:3] == [250, 500, 1000]
    assert set(waits(0.0)) == {0}


@pytest.mark.parametrize(("live_ms", "next_wait_ms"), [(STABLE_MS, 250), (STABLE_MS - 1, 1000)])
def test_only_a_stable_connection_ends_the_back_off(truth: Truth, live_ms: int, next_wait_ms: int) -> None:
    """A server that greets and drops at once would otherwise be called on without a pause."""
    client = Client()
    client.protocol.connect_failed(0)
    client.protocol.connect_failed(0)
    client.connected()
    client.hears(truth.welcome(client.fmt))
    client.now_ms += live_ms
    assert client.disconnected() == [Reconnect(next_wait_ms)]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refused_handshake_is_not_repeated(status: int) -> None:
    client = Client()
    number = client.asks(lambda live, now: live.hold(now, [1]))
    answer, ended = client.protocol.connect_failed(0, status)
    assert isinstance(answer, Answered)
    assert answer.request == number
    assert isinstance(ended, Ended)
    assert ended.reason == "refused"
    assert client.protocol.connect_failed(0) == []


@pytest.mark.parametrize("status", [None, 429, 500, 502, 503])
def test_a_server_in_trouble_is_called_on_again(status: int | None) -> None:
    assert Client().protocol.connect_failed(0, status) == [Reconnect(250)]


def test_bye_names_the_time_to_come_back(client: Client) -> None:
    assert client.hears(wire.Bye(reason="restart", retry_after_ms=8_000)) == []
    client.asks(lambda live, now: live.hold(now, [1]))
    assert client.said == [], "nothing is asked of a server that goes"
    client.now_ms += 1_000
    assert client.disconnected(1012) == [Reconnect(3_000)], "half of 8 s, of which 1 s is over"


def test_bye_by_a_server_that_does_not_go(client: Client) -> None:
    client.hears(wire.Bye(reason="restart", retry_after_ms=8_000))
    assert client.protocol.wake_at_ms() == client.now_ms + 4_000
    client.after(3_999)
    assert client.told == []
    assert client.after(1) == [Disconnect(1000, "told to come back")]
    assert client.disconnected(1000) == [Reconnect(0)]


def test_bye_without_end_is_slowed_down(client: Client, truth: Truth) -> None:
    waits = []
    for _ in range(4):
        client.hears(wire.Bye(reason="restart", retry_after_ms=0))
        (effect,) = client.disconnected(1012)
        waits.append(effect.after_ms)
        client.connected()
        client.hears(truth.welcome(client.fmt))
    assert waits == [0, 500, 1000, 2000]


@pytest.mark.parametrize("retry_after_ms", [-5, 10**12])
def test_a_wait_is_believed_within_bounds(client: Client, retry_after_ms: int) -> None:
    client.hears(wire.Bye(reason="restart", retry_after_ms=retry_after_ms))
    (effect,) = client.disconnected()
    assert 0 <= effect.after_ms <= WAIT_MAX_MS


def test_4401_is_the_end(client: Client) -> None:
    number = client.asks(lambda live, now: live.hold(now, [1]))
    assert client.hears(wire.Error(code="unauthorized", message="The token ended.")) == [
        Warned("unauthorized", "The token ended.")
    ]
    answer, ended = client.disconnected(4401)
    assert (answer.request, answer.result.code) == (number, "unavailable")
    assert (ended.reason, client.protocol.ended) == ("unauthorized", True)
    assert client.connected() == [Disconnect(1000, "not wanted")]
    assert [a.result.code for a in answers(client.protocol.hold(0, [1])[1])] == ["unavailable"]


def test_close_is_the_end(client: Client) -> None:
    client.asks(lambda live, now: live.hold(now, [1]))
    effects = client.protocol.close()
    assert [type(effect) for effect in effects] == [Disconnect, Answered, Ended]
    assert client.protocol.close() == client.disconnected() == []
    assert client.protocol.wake_at_ms() is None


# --- Time -------------------------------------------------------------------------------------------------------------


def test_pings_keep_the_socket_and_measure_the_clock(client: Client) -> None:
    assert client.protocol.wake_at_ms() == PING_MS
    client.after(PING_MS)
    assert client.said == [{"type": "ping", "id": 1}]
    client.now_ms += 200
    client.hears(wire.Pong(id=1, now_ms=NOW_MS, token="token-2"))
    assert client.told == [], "nobody asked"
    assert client.protocol.token == "token-2"
    assert client.protocol.server_now_ms(client.now_ms) == NOW_MS + 100, "it was written 100 ms ago"


def test_a_ping_that_was_asked_for_is_answered(client: Client) -> None:
    number = client.asks(Protocol.ping)
    client.now_ms += 30
    client.hears(wire.Pong(id=1, now_ms=NOW_MS))
    assert client.told == [Answered(number, PingResult(NOW_MS, 30))]


def test_a_server_that_does_not_answer_hello_is_left() -> None:
    client = Client()
    client.connected()
    assert client.protocol.wake_at_ms() == HELLO_MS
    client.after(HELLO_MS - 1)
    assert client.told == []
    assert client.after(1) == [Disconnect(1001, "no answer to hello")]
    assert client.hears(Truth().welcome(client.fmt)) == [], "what comes in while it closes is thrown away"
    assert client.disconnected() == [Reconnect(250)]


def test_a_server_that_answers_pings_but_not_the_request_is_left(client: Client, truth: Truth) -> None:
    client.asks(lambda live, now: live.hold(now, [1]))
    client.after(ANSWER_MS - 1)
    client.hears(wire.Pong(id=2, now_ms=NOW_MS))
    assert client.told == []
    assert client.after(1) == [Disconnect(1001, "no answer to a request")]
    client.comes_back(truth.welcome(client.fmt))
    assert client.said[0]["key"] == "key-1"


def test_a_silent_server_is_left() -> None:
    client, truth = Client(), Truth()
    client.connected()
    client.hears(truth.welcome(client.fmt))
    client.now_ms += SILENCE_MS
    assert client.after(0) == [Disconnect(1001, "silence")]


# --- What else a server may say ---------------------------------------------------------------------------------------


def test_the_sale_changes(client: Client, truth: Truth) -> None:
    limits = wire.Limits(2, 60, 0, 60)
    client.hears(wire.EventChanged(state="paused", on_sale_at_ms=7, prices_version=2, limits=limits))
    assert client.told == [EventUpdated(wire.EventBrief("evening", "paused", 7, 2), limits)]
    assert client.protocol.picture.limits == limits


@FORMATS
@pytest.mark.parametrize("message", [{"type": "fireworks", "n": 1}, {"type": "queue"}, {"type": ""}])
def test_a_message_of_another_kind_is_ignored(fmt: wire.Format, message: dict[str, object]) -> None:
    """The contract grows; a client of today must live with a server of tomorrow."""
    client, truth = Client(fmt), Truth()
    client.connected()
    client.hears(truth.welcome(fmt))
    assert client.hears(fmt.encode(message)) == []
    assert client.protocol.live


def broken_welcomes() -> Iterator[Any]:
    truth = Truth("e2", seat_count=9)
    welcome = truth.welcome(wire.JSON)
    change = msgspec.structs.replace
    yield pytest.param(change(welcome, seats=wire.JSON.raw(b"\x00\x00")), id="too few seats")
    yield pytest.param(change(welcome, seats=wire.JSON.raw(b"\x00\x00\x04")), id="a spare bit")
    yield pytest.param(change(welcome, encoding="deflate"), id="not deflated")
    yield pytest.param(change(welcome, encoding="rot13"), id="unknown encoding")
    yield pytest.param(change(welcome, seats=msgspec.Raw(b"17")), id="seats are a number")
    yield pytest.param(change(welcome, seats=msgspec.Raw(b'"%%"')), id="no base64")
    yield pytest.param(change(welcome, event=wire.EventBrief("matinee", "open", 0, 1)), id="another event")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{",
        b'{"type": 1}',
        b'{"id": 1}',
        b'{"type": "diff"}',
        b'{"type": "diff", "seq": "6", "prev": 5}',
        b'{"type": "diff", "seq": 6, "prev": 5, "sold": [10]}',
        b'{"type": "diff", "seq": 6, "prev": 5, "sold": [-1]}',
        b'{"type": "diff", "seq": 6, "prev": 5, "held": [1.5]}',
        b"[" * 100_000,
        b'"\xed\xa0\x80"',
        '{"type": "diff\ud800"}',
        *broken_welcomes(),
    ],
)
def test_a_frame_that_breaks_the_contract_changes_nothing_and_is_not_resumed_from(client: Client, frame: Any) -> None:
    before = bytes(client.protocol.picture.seats)
    client.hears(frame)
    assert [type(effect) for effect in client.told] == [Disconnect]
    assert (bytes(client.protocol.picture.seats), client.protocol.picture.seq) == (before, 5)
    client.disconnected(1002)
    client.connected()
    assert "resume" not in client.said[0]
    client.hears(Truth(seq=4).welcome(client.fmt))
    assert client.told[0] == Synced("e1", 4, whole=True, new_epoch=False)


def test_a_text_frame_on_the_binary_subprotocol_is_refused() -> None:
    client = Client(wire.MSGPACK)
    client.connected()
    assert client.hears("{}") == [Disconnect(1003, "a frame of the other kind")]


def test_a_resume_under_another_layout_is_refused(client: Client) -> None:
    other = Truth(seq=5, layout="hash-2")
    client.disconnected()
    client.connected()
    client.hears(other.answer(wire.Hello(resume={"epoch": "e1", "seq": 5}), client.fmt))
    assert [type(effect) for effect in client.told] == [Disconnect]
