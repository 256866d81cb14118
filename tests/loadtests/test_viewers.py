"""Whether viewers see the truth: compared at one change, each once, for a bounded time."""

import base64
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from lml_live.client.picture import Picture
from lml_live.gateway import wire
from lml_live.inventory import seatmap
from loadtests.viewers import Availability, compare, settle

STATES = bytes((0, 1, 2, 3, 0, 0))
AREA = wire.AreaCounts(available=3, held=1, sold=0, blocked=0)


class Viewer:
    """Stands in for a client: a picture, and whether it is kept up to date."""

    def __init__(self, seq: int = 5, states: bytes = STATES, epoch: str = "1", connected: bool = True) -> None:
        self.connected = connected
        self.picture = Picture("event-1")
        self.picture.epoch, self.picture.seq = epoch, seq
        self.picture.seats = bytearray(states)
        self.picture.areas = {"floor": AREA}


def truth(seq: int = 5, states: bytes = STATES, areas: dict[str, wire.AreaCounts] | None = None) -> Availability:
    return Availability("1", seq, base64.b64encode(seatmap.pack(states)).decode(), areas or {"floor": AREA})


@pytest.mark.parametrize(
    ("viewer", "said", "found"),
    [
        (Viewer(), truth(), "same"),
        (Viewer(seq=4), truth(), "elsewhere"),
        (Viewer(seq=6), truth(), "elsewhere"),
        (Viewer(epoch="2"), truth(), "elsewhere"),
        (Viewer(states=bytes((0, 1, 2, 3, 0, 1))), truth(), ["1 seats differ, the first is 5"]),
        (Viewer(states=bytes(6)), truth(), ["3 seats differ, the first is 1"]),
        (Viewer(states=bytes(60)), truth(), ["another number of seats"]),
        (
            Viewer(),
            truth(areas={"floor": wire.AreaCounts(available=4, held=0, sold=0, blocked=0)}),
            ["area floor differs"],
        ),
    ],
)
def test_a_viewer_beside_the_truth(viewer: Viewer, said: Availability, found: str | list[str]) -> None:
    assert compare(viewer.picture, said) == found


def steps() -> Callable[[], float]:
    ticks: Iterator[int] = count()
    return lambda: float(next(ticks))


def test_all_meet_the_server_sooner_or_later() -> None:
    late = Viewer(seq=4)
    heard = []

    def sleep(_: float) -> None:
        heard.append(late.picture.seq)
        late.picture.seq = 5

    judged = settle({1: Viewer(), 2: late}, truth, seconds=5, sleep=sleep, clock=steps())
    assert [(viewer.user, viewer.fault) for viewer in judged] == [(1, ""), (2, "")]
    assert heard == [4]


def test_who_never_arrives_or_is_gone_has_not_converged() -> None:
    stuck, gone, wrong = Viewer(seq=4), Viewer(connected=False), Viewer(states=bytes(6))
    judged = settle({1: stuck, 2: gone, 3: wrong}, truth, seconds=5, sleep=lambda _: None, clock=steps())
    assert {viewer.user: viewer.fault for viewer in judged} == {
        1: "never met the server at one change",
        2: "is not connected",
        3: "3 seats differ, the first is 1",
    }
