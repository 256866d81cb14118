"""Whether what viewers see is what the server says: compared at the same epoch and seq, once nobody acts any more."""

import base64
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

import msgspec

from lml_live.client.picture import Picture
from lml_live.gateway import wire
from lml_live.inventory import seatmap
from loadtests.history import Viewer

LOOK_SECONDS: Final = 0.05
LOOKS_PER_TRUTH: Final = 4
"""How often viewers are looked at before the server is asked again: they get its news a moment after it."""


class Availability(msgspec.Struct, frozen=True):
    """What `GET /events/{event}/availability` says."""

    epoch: str
    seq: int
    seats: str
    areas: dict[str, wire.AreaCounts]

    def states(self, count: int) -> bytearray:
        """The wire state of each of `count` seats. Raises `ValueError` where there are not so many."""
        return seatmap.unpack(base64.b64decode(self.seats), count)


class Client(Protocol):
    """A viewer, as far as it is looked at."""

    @property
    def connected(self) -> bool: ...
    @property
    def picture(self) -> Picture: ...


def compare(picture: Picture, truth: Availability) -> Literal["same", "elsewhere"] | list[str]:
    """`same`, `elsewhere` where the two are of different moments, or what differs."""
    if (picture.epoch, picture.seq) != (truth.epoch, truth.seq):
        return "elsewhere"
    try:
        states = truth.states(len(picture.seats))
    except ValueError:
        return ["another number of seats"]
    differing = [seat for seat, state in enumerate(states) if state != picture.seats[seat]]
    faults = [f"{len(differing)} seats differ, the first is {differing[0]}"] if differing else []
    faults += [f"area {area} differs" for area in sorted(truth.areas) if picture.areas.get(area) != truth.areas[area]]
    return faults or "same"


def settle(
    clients: Mapping[int, Client],
    fetch: Callable[[], Availability],
    *,
    seconds: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float] = time.monotonic,
) -> list[Viewer]:
    """Compares every client with the server, each once, when both are at the same change.

    Holds still expire meanwhile, so there need be no moment at which all agree. Who has not met the server at one and
    the same change after `seconds` has not converged.
    """
    waiting = dict(clients)
    judged: list[Viewer] = []
    deadline = clock() + seconds
    while waiting and clock() < deadline:
        truth = fetch()
        for _ in range(LOOKS_PER_TRUTH):
            for user, client in list(waiting.items()):
                found = compare(client.picture, truth) if client.connected else "elsewhere"
                if found == "elsewhere":
                    continue
                del waiting[user]
                fault = "" if found == "same" else "; ".join(found)
                judged.append(Viewer(user=user, epoch=truth.epoch, seq=truth.seq, fault=fault))
            if not waiting:
                break
            sleep(LOOK_SECONDS)
    for user, client in waiting.items():
        where = "never met the server at one change" if client.connected else "is not connected"
        judged.append(Viewer(user=user, epoch=client.picture.epoch, seq=client.picture.seq, fault=where))
    return judged
