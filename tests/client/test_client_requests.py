"""Requests: asked once, answered once, asked again only where that takes nothing twice."""

from collections.abc import Callable

import pytest
from client_fixtures import client_fixture, truth_fixture  # noqa: F401
from live_stand_in import Client, Truth, a_hold, answers, held

from lml_live import errors
from lml_live.client.effects import Answered, Effects, HoldResult, Refusal
from lml_live.client.pending import REQUESTS_MAX, TRANSMISSIONS_MAX
from lml_live.client.protocol import BACK_OFF_BASE_MS, Protocol
from lml_live.gateway import wire

Act = Callable[[Protocol, int], tuple[int, Effects]]


def test_a_request_waits_for_the_greeting() -> None:
    client, truth = Client(), Truth()
    client.asks(lambda live, now: live.hold(now, [1]))
    assert client.said == []
    client.connected()
    client.hears(truth.welcome(client.fmt))
    assert [said["type"] for said in client.said] == ["hold"]


def test_an_unanswered_hold_is_asked_again_with_its_key(client: Client, truth: Truth) -> None:
    number = client.asks(lambda live, now: live.hold(now, [3], {"pit": 1}))
    client.comes_back(truth.answer(wire.Hello(resume={"epoch": "e1", "seq": 5}), client.fmt))
    (said,) = client.said
    assert (said["id"], said["key"], said["seats"]) == (2, "key-1", [3]), "a number of its own, the key of before"
    client.hears(held(truth, 1, a_hold("h-0")))
    assert answers(client.told) == [], "number 1 was lost with its socket"
    client.hears(held(truth, 2, a_hold("h-1")))
    assert answers(client.told) == [Answered(number, HoldResult(a_hold("h-1")))]


def test_an_unanswered_wish_for_the_best_seats_is_asked_again_with_its_key(client: Client, truth: Truth) -> None:
    """Without the key the server would choose, and hold, a second block."""
    number = client.asks(lambda live, now: live.hold_best(now, 2, section="Stalls", replace="h-0"))
    client.comes_back(truth.answer(wire.Hello(resume={"epoch": "e1", "seq": 5}), client.fmt))
    (said,) = client.said
    assert said == {
        "type": "hold_best",
        "id": 2,
        "quantity": 2,
        "section": "Stalls",
        "replace": "h-0",
        "key": "key-1",
    }
    client.hears(held(truth, 2, a_hold("h-0", (3, 4))))
    assert answers(client.told) == [Answered(number, HoldResult(a_hold("h-0", (3, 4))))]
    assert client.protocol.picture.holds == {"h-0": a_hold("h-0", (3, 4))}


@pytest.mark.parametrize(
    ("act", "again"),
    [
        (lambda live, now: live.hold(now, [3]), True),
        (lambda live, now: live.hold(now, [3], {"pit": 1}), False),
        (lambda live, now: live.hold(now, areas={"pit": 1}), False),
        (lambda live, now: live.hold_best(now, 2), False),
    ],
    ids=["seats", "seats and places", "places", "best seats"],
)
def test_in_a_new_epoch_only_what_cannot_be_taken_twice_is_asked_again(client: Client, act: Act, again: bool) -> None:
    """A key is known in its own epoch. A seat that the first try got is refused as taken; places would be doubled."""
    client.asks(act)
    client.comes_back(Truth("e2").welcome(client.fmt))
    assert [said["type"] for said in client.said] == (["hold"] if again else [])
    assert [answer.result.code for answer in answers(client.told)] == ([] if again else ["unavailable"])


@pytest.mark.parametrize("epoch", ["e1", "e2"])
@pytest.mark.parametrize(
    ("kind", "act"),
    [
        ("hold_for_customer", lambda live, now: live.hold_for_customer(now, "h", "Kim", "why", [3], {"pit": 1})),
        ("move_hold", lambda live, now: live.move_hold(now, "h-1", "why", [3], {"pit": 1})),
        ("release_any_hold", lambda live, now: live.release_any_hold(now, "h-1", "why")),
        ("block", lambda live, now: live.block(now, [3], {"pit": 1}, kind="house", reason="why")),
        ("sell", lambda live, now: live.sell(now, "cash", seats=[3], areas={"pit": 1})),
    ],
)
def test_what_staff_ask_for_is_asked_again_in_any_epoch_of_its_layout(
    client: Client, kind: str, act: Act, epoch: str
) -> None:
    """PostgreSQL knows it by its key."""
    client.asks(act)
    client.comes_back(Truth(epoch).welcome(client.fmt))
    assert [(said["type"], said["key"]) for said in client.said] == [(kind, "key-1")]


@pytest.mark.parametrize("epoch", ["e1", "e2"])
@pytest.mark.parametrize(
    ("kind", "act"),
    [
        ("read_status_changes", lambda live, now: live.status_changes(now, seat=3)),
        ("read_channels", Protocol.channels),
    ],
)
def test_what_changes_nothing_is_asked_again_without_a_key(client: Client, kind: str, act: Act, epoch: str) -> None:
    client.asks(act)
    client.comes_back(Truth(epoch).welcome(client.fmt))
    assert [(said["type"], said.get("key")) for said in client.said] == [(kind, None)]


def test_a_sale_names_a_buyer_only_where_there_is_one(client: Client) -> None:
    client.asks(lambda live, now: live.sell(now, "cash", hold="h-1", key="k"))
    (said,) = client.said
    assert said == {"type": "sell", "id": 1, "hold": "h-1", "tender": "cash", "key": "k"}
    client.asks(lambda live, now: live.sell(now, "comp", seats=[1], email="kim@example.org", over_house=False))
    (said,) = client.said
    assert (said["buyer"], said["over_house"]) == ({"email": "kim@example.org"}, False)


def test_a_hold_that_staff_make_is_not_their_own(client: Client, truth: Truth) -> None:
    number = client.asks(lambda live, now: live.hold_for_customer(now, "h", "Kim", "why", [1]))
    client.hears(held(truth, 1, a_hold("h-1")))
    assert answers(client.told) == [Answered(number, HoldResult(a_hold("h-1")))]
    assert client.protocol.picture.holds == {}


@pytest.mark.parametrize(
    "act",
    [lambda live, now: live.release(now, "h-1"), lambda live, now: live.extend(now, "h-1"), Protocol.ping],
    ids=["release", "extend", "ping"],
)
def test_what_has_no_key_is_reported_as_unknown(client: Client, act: Act, truth: Truth) -> None:
    number = client.asks(act)
    client.disconnected()
    (answer,) = answers(client.told)
    assert (answer.request, answer.result.code) == (number, "unavailable")
    assert "unknown" in answer.result.message
    client.connected()
    client.hears(truth.welcome(client.fmt))
    assert client.said == []


def test_unavailable_is_asked_again_with_the_same_key_and_not_for_ever(client: Client) -> None:
    number = client.asks(lambda live, now: live.hold(now, [3]))
    for attempt in range(1, TRANSMISSIONS_MAX):
        client.hears(wire.Error(id=attempt, code="unavailable", message="Redis is away.", retry_after_ms=100))
        assert answers(client.told) == []
        assert client.said == []
        assert client.protocol.wake_at_ms() == client.now_ms + 100
        client.after(99)
        assert client.said == []
        client.after(1)
        (said,) = client.said
        assert (said["id"], said["key"]) == (attempt + 1, "key-1")
    client.hears(wire.Error(id=TRANSMISSIONS_MAX, code="unavailable", message="Redis is away."))
    assert answers(client.told) == [Answered(number, Refusal("unavailable", "Redis is away."))]


def test_unavailable_without_a_time_backs_off(client: Client) -> None:
    client.asks(lambda live, now: live.hold(now, [3]))
    client.hears(wire.Error(id=1, code="unavailable", message="Redis is away."))
    client.after(BACK_OFF_BASE_MS // 2 - 1)
    assert client.said == []
    client.after(1)
    assert len(client.said) == 1


def test_no_more_is_unanswered_than_the_server_takes_on(client: Client, truth: Truth) -> None:
    for _ in range(9):
        client.asks(lambda live, now: live.hold(now, [3]))
    assert client.said == [], "eight are on their way, the ninth waits"
    client.hears(held(truth, 1, None))
    assert [said["id"] for said in client.said] == [9]


def test_too_many_requests_are_refused_at_once() -> None:
    client = Client()
    for _ in range(REQUESTS_MAX):
        client.asks(lambda live, now: live.hold(now, [3]))
    number = client.asks(lambda live, now: live.hold(now, [3]))
    (answer,) = answers(client.told)
    assert (answer.request, answer.result.code) == (number, "rate_limited")


@pytest.mark.parametrize(
    "act",
    [
        lambda live, now: live.hold(now, list(range(51))),
        lambda live, now: live.hold(now, [-1]),
        lambda live, now: live.hold(now, areas={"pit": 0}),
        lambda live, now: live.hold(now, areas={"the pit": 1}),
        lambda live, now: live.hold(now, [1], key="k" * 256),
        lambda live, now: live.extend(now, "a:b"),
        lambda live, now: live.hold_best(now, 0),
        lambda live, now: live.hold_best(now, 51),
        lambda live, now: live.hold_best(now, 2, section=""),
        lambda live, now: live.hold_best(now, 2, max_price=-1),
        lambda live, now: live.hold_best(now, 2, adjacent="please"),
    ],
)
def test_what_no_server_would_understand_is_refused(client: Client, act: Act) -> None:
    with pytest.raises(errors.InvalidInput):
        act(client.protocol, client.now_ms)
