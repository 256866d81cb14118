"""A request is of the layout under which it was made: its indexes are never asked for under another one."""

from collections.abc import Callable
from typing import get_args

import pytest
from client_fixtures import client_fixture, truth_fixture  # noqa: F401
from live_stand_in import Client, Truth, a_hold, answers, held

from lml_live.client.effects import Answered, Effects, HoldResult, Refusal
from lml_live.client.pending import Message
from lml_live.client.protocol import Protocol
from lml_live.gateway import wire

Act = Callable[[Protocol, int], tuple[int, Effects]]

NAMING_SEATS: dict[str, Act] = {
    "hold": lambda live, now: live.hold(now, [3]),
    "hold_best": lambda live, now: live.hold_best(now, 2),
    "release": lambda live, now: live.release(now, "h-1", [3]),
    "hold_group": lambda live, now: live.hold_group(now, ["evening"], [3]),
    "move_group": lambda live, now: live.move_group(now, ["h-1"], ["evening"], [3]),
    "block": lambda live, now: live.block(now, [3], kind="house", reason="why"),
    "unblock": lambda live, now: live.unblock(now, [3]),
    "assign_seats": lambda live, now: live.assign_seats(now, "agency", "why", [3]),
    "hold_for_customer": lambda live, now: live.hold_for_customer(now, "h", "Kim", "why", [3]),
    "move_hold": lambda live, now: live.move_hold(now, "h-1", "why", [3]),
    "sell": lambda live, now: live.sell(now, "cash", seats=[3]),
    "read_status_changes": lambda live, now: live.status_changes(now, seat=0),
}
NAMING_NONE: dict[str, Act] = {
    "hold of places": lambda live, now: live.hold(now, areas={"pit": 1}),
    "release of all": lambda live, now: live.release(now, "h-1"),
    "release of places": lambda live, now: live.release(now, "h-1", areas={"pit": 1}),
    "extend": lambda live, now: live.extend(now, "h-1"),
    "hold_group of places": lambda live, now: live.hold_group(now, areas={"pit": 1}),
    "release_group": lambda live, now: live.release_group(now, ["h-1"]),
    "extend_group": lambda live, now: live.extend_group(now, ["h-1"]),
    "block of places": lambda live, now: live.block(now, areas={"pit": 1}, kind="house", reason="why"),
    "open_channel": lambda live, now: live.open_channel(now, "agency", "why"),
    "release_any_hold": lambda live, now: live.release_any_hold(now, "h-1", "why"),
    "sell of a hold": lambda live, now: live.sell(now, "cash", hold="h-1"),
    "read_status_changes of all": lambda live, now: live.status_changes(now),
    "read_channels": lambda live, now: live.channels(now),
    "ping": Protocol.ping,
}
WITHOUT_KEY = {"release", "assign_seats"}
"""Lost, they are given up at once."""


def moved(client: Client, epoch: str = "e2", layout: str = "hash-2") -> None:
    """The event has `layout` when the client has found its way back after a farewell."""
    client.hears(wire.Bye(reason="layout", retry_after_ms=100))
    client.disconnected(1012)
    client.now_ms += 5_000
    client.connected()
    client.hears(Truth(epoch, layout=layout).welcome(client.fmt))


def test_of_every_request_that_can_name_a_seat_it_is_known_what_another_layout_means_for_it() -> None:
    naming = {kind.__struct_config__.tag for kind in get_args(Message) if {"seat", "seats"} & {*kind.__struct_fields__}}
    assert naming | {"hold_best"} == set(NAMING_SEATS)


@pytest.mark.parametrize("how", ["refused", "lost", "not sent yet"])
@pytest.mark.parametrize("act", NAMING_SEATS)
def test_no_seat_is_asked_for_under_another_layout(client: Client, act: str, how: str) -> None:
    """It was repeated with its indexes, and another seat was taken than the one that was meant."""
    if how == "not sent yet":
        client.hears(wire.Bye(reason="layout", retry_after_ms=100))
    number = client.asks(NAMING_SEATS[act])
    told: list[Answered] = []
    if how == "refused":
        told += answers(client.hears(wire.Error(id=1, code="unavailable", message="Moved.", retry_after_ms=100)))
        assert client.said == []
    told += answers(client.hears(wire.Bye(reason="layout", retry_after_ms=100)))
    told += answers(client.disconnected(1012))
    client.now_ms += 5_000
    client.connected()
    told += answers(client.hears(Truth("e2", layout="hash-2").welcome(client.fmt)))
    assert client.said == []
    assert client.after(5_000) == []
    assert client.said == []
    (answer,) = told
    assert isinstance(answer.result, Refusal)
    assert (answer.request, answer.result.code) == (number, "unavailable")
    if how == "not sent yet" or act not in WITHOUT_KEY:
        assert "another layout" in answer.result.message
        assert "choose anew" in answer.result.message
        assert ("never sent" in answer.result.message) is (how == "not sent yet")


@pytest.mark.parametrize("act", NAMING_NONE)
def test_what_names_no_seat_waits_for_the_next_socket_whatever_its_layout(client: Client, act: str) -> None:
    client.hears(wire.Bye(reason="layout", retry_after_ms=100))
    client.asks(NAMING_NONE[act])
    moved(client)
    assert [said["type"] for said in client.said] == [act.split()[0]]
    assert answers(client.told) == []


@pytest.mark.parametrize(
    "act",
    [
        lambda live, now: live.release_any_hold(now, "h-1", "why"),
        lambda live, now: live.block(now, areas={"pit": 1}, kind="house", reason="why"),
    ],
    ids=["release_any_hold", "block of places"],
)
def test_what_names_no_seat_and_is_known_by_its_key_is_asked_again_on_another_layout(client: Client, act: Act) -> None:
    client.asks(act)
    moved(client)
    assert [said["key"] for said in client.said] == ["key-1"]


def test_after_a_change_of_layout_seats_are_asked_for_under_the_new_one(client: Client) -> None:
    client.asks(lambda live, now: live.hold(now, [3]))
    moved(client)
    client.asks(lambda live, now: live.hold(now, [4]))
    assert [said["seats"] for said in client.said] == [[4]]
    moved(client, "e3", "hash-3")
    assert (client.said, len(answers(client.told))) == ([], 1), "and a second change ends them as the first one did"


def test_a_layout_that_is_back_before_the_client_is_the_one_that_was_meant(client: Client) -> None:
    """It has moved to another one and back again meanwhile."""
    number = client.asks(lambda live, now: live.hold(now, [3]))
    moved(client, "e3", "hash-1")
    assert [said["seats"] for said in client.said] == [[3]]
    client.hears(held(Truth("e3"), 2, a_hold("h-1", (3,))))
    assert answers(client.told) == [Answered(number, HoldResult(a_hold("h-1", (3,))))]


def test_what_was_given_up_is_not_asked_for_where_the_first_layout_comes_back_later(client: Client) -> None:
    client.asks(lambda live, now: live.hold(now, [3]))
    moved(client)
    assert len(answers(client.told)) == 1
    moved(client, "e3", "hash-1")
    assert (client.said, answers(client.told)) == ([], [])


def test_a_seat_that_was_asked_for_before_any_layout_was_known_is_of_the_first_one() -> None:
    client = Client()
    for seat in range(9):
        client.asks(lambda live, now, seat=seat: live.hold(now, [seat]))
    client.connected()
    client.hears(Truth().welcome(client.fmt))
    assert [said["seats"] for said in client.said] == [[seat] for seat in range(8)], "the ninth waits for its turn"
    moved(client)
    assert (client.said, len(answers(client.told))) == ([], 9)


def test_a_layout_that_changes_under_an_open_socket_ends_what_is_unanswered(client: Client) -> None:
    """No server does so: it says farewell. But a `welcome` is believed whenever it comes."""
    number = client.asks(lambda live, now: live.hold(now, [3]))
    client.asks(lambda live, now: live.extend(now, "h-0"))
    client.hears(Truth("e2", layout="hash-2").welcome(client.fmt))
    assert [answer.request for answer in answers(client.told)] == [number]
    client.hears(wire.Error(id=1, code="unavailable", message="Moved.", retry_after_ms=100))
    assert client.after(5_000) == []
    assert client.said == []
