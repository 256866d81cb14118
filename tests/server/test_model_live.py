"""Random acts of four clients against a running server, step by step against a dict; lines are lost meanwhile.

Two clients are one holder each, two are sockets of one holder. Seats, areas and holds of every client, and what the
server tells those who poll, must be the model's at rest.
"""

import asyncio
import base64
import copy
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lines import SEAT_COUNT
from serving import LiveServer
from waiting import eventually

from lml_live.client import HoldResult, LiveClient
from lml_live.gateway import wire
from lml_live.inventory import seatmap
from lml_live.values import HELD

SEATS, FLOOR, MOST = range(9), 40, 6
HOLDERS = (0, 1, 2, 2)
"""The holder of each client."""

seat_sets = st.lists(st.sampled_from(SEATS), max_size=4, unique=True)
places = st.integers(0, 3)
who = st.integers(0, 3)
which = st.integers(0, 5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), who, seat_sets, places),
        st.tuples(st.just("hold and drop"), who, seat_sets, places),
        st.tuples(st.just("race"), who, who, seat_sets, places),
        st.tuples(st.just("into"), who, which, seat_sets, places),
        st.tuples(st.just("replace"), who, which, seat_sets, places),
        st.tuples(st.just("release"), who, which, seat_sets, places),
        st.tuples(st.just("release all"), who, which),
        st.tuples(st.just("extend"), who, which),
        st.tuples(st.just("drop"), who),
    ),
    min_size=8,
    max_size=25,
)


@dataclass
class Held:
    holder: int
    seats: frozenset[int]
    floor: int
    extensions: int = 0

    @property
    def size(self) -> int:
        return len(self.seats) + self.floor

    @classmethod
    def shown(cls, holder: int, hold: wire.Hold) -> "Held":
        """As a client has been told of it; an event allows two extensions."""
        return cls(holder, frozenset(map(int, hold.seats)), hold.areas.get("floor", 0), 2 - hold.extensions_left)


@dataclass
class Model:
    """Who holds what; each act answers the code of its refusal, or None."""

    holds: dict[str, Held] = field(default_factory=dict)

    @property
    def taken(self) -> frozenset[int]:
        return frozenset().union(*(held.seats for held in self.holds.values()))

    @property
    def floor(self) -> int:
        return sum(held.floor for held in self.holds.values())

    def named(self, number: int) -> str:
        """One of the holds there are, whoever has it, or one that is none."""
        ids = sorted(self.holds)
        return ids[number % len(ids)] if ids else "1-ffffffffffffffffffff"

    def own(self, holder: int, hold: str) -> Held | None:
        held = self.holds.get(hold)
        return held if held is not None and held.holder == holder else None

    def refuse(self, holder: int, seats: list[int], floor: int, leaving: Held | None = None) -> str | None:
        mine = sum(held.size for held in self.holds.values() if held.holder == holder)
        mine -= leaving.size if leaving else 0
        if mine + len(seats) + floor > MOST:
            return "limit_exceeded"
        if set(seats) & (self.taken - (leaving.seats if leaving else frozenset())):
            return "seat_taken"
        if floor > FLOOR - self.floor + (leaving.floor if leaving else 0):
            return "area_full"
        return None

    def hold(self, holder: int, seats: list[int], floor: int, hold: str) -> str | None:
        if not seats and not floor:
            return "invalid_message"
        refusal = self.refuse(holder, seats, floor)
        if refusal is None:
            self.holds[hold] = Held(holder, frozenset(seats), floor)
        return refusal

    def into(self, holder: int, hold: str, seats: list[int], floor: int) -> str | None:
        if not seats and not floor:
            return "invalid_message"
        if len(seats) + floor > MOST:
            return "limit_exceeded"
        held = self.own(holder, hold)
        if held is None:
            return "hold_not_found"
        refusal = self.refuse(holder, seats, floor)
        if refusal is None:
            held.seats, held.floor = held.seats | set(seats), held.floor + floor
        return refusal

    def replace(self, holder: int, hold: str, seats: list[int], floor: int) -> str | None:
        if not seats and not floor:
            return "invalid_message"
        if len(seats) + floor > MOST:
            return "limit_exceeded"
        held = self.own(holder, hold)
        if held is None:
            return "hold_not_found"
        refusal = self.refuse(holder, seats, floor, leaving=held)
        if refusal is None:
            held.seats, held.floor = frozenset(seats), floor
        return refusal

    def release(self, holder: int, hold: str, seats: list[int], floor: int) -> str | None:
        held = self.own(holder, hold)
        if held is None:
            return "hold_not_found"
        if set(seats) - held.seats:
            return "unknown_seat"
        if floor > held.floor:
            return "invalid_message"
        whole = not seats and not floor
        held.seats, held.floor = held.seats - set(seats), held.floor - floor
        if whole or not held.size:
            del self.holds[hold]
        return None

    def extend(self, holder: int, hold: str) -> str | None:
        held = self.own(holder, hold)
        if held is None:
            return "hold_not_found"
        if held.extensions >= 2:
            return "limit_exceeded"
        held.extensions += 1
        return None


class World:
    """The server's event, four clients, and the model."""

    def __init__(self, server: LiveServer, event: str) -> None:
        self.server = server
        self.event = event
        self.model = Model()
        self.clients: list[LiveClient] = []

    async def come(self) -> None:
        for number, holder in enumerate(HOLDERS):
            token = self.clients[holder].token if holder < number else None
            fmt = (wire.JSON, wire.MSGPACK)[number % 2]
            client = LiveClient(self.server.url, self.event, fmt=fmt, token=token, random=lambda: 0.0)
            self.clients.append(client)
            await client.__aenter__()

    async def act(self, kind: str, number: int, *args: Any) -> None:
        holder, client = HOLDERS[number], self.clients[number]
        if kind == "drop":
            await client.wait_for(lambda client: client.connected)
            await self._drop(client)
        elif kind in ("hold", "hold and drop"):
            asked = asyncio.create_task(self._hold(number, *args))
            if kind == "hold and drop":
                await asyncio.sleep(0)
                await self._drop(client)  # it asks again by itself, with the same key
            code, hold = await asked
            assert code == self.model.hold(holder, *args, hold)
        elif kind == "race":
            await self._race(number, *args)
        elif kind in ("into", "replace"):
            hold = self.model.named(args[0])
            code, _ = await self._hold(number, *args[1:], **{kind: hold})
            expected = (self.model.into if kind == "into" else self.model.replace)(holder, hold, *args[1:])
            assert code == expected
        elif kind in ("release", "release all"):
            hold, seats, floor = self.model.named(args[0]), *(args[1:] or ([], 0))
            # A release is never asked again by itself, so its line must stand.
            await client.wait_for(lambda client: client.connected)
            answer = await client.release(hold, seats=seats, areas={"floor": floor} if floor else None)
            code = None if isinstance(answer, HoldResult) else answer.code
            assert code == self.model.release(holder, hold, seats, floor)
        else:
            await client.wait_for(lambda client: client.connected)
            hold = self.model.named(args[0])
            before = copy.deepcopy(self.model)
            extended = await client.extend(hold)
            code = None if isinstance(extended, HoldResult) else extended.code
            expected = self.model.extend(holder, hold)
            if code == "limit_exceeded" and expected is None:
                self.model = before  # asked within the very millisecond of the hold: there is nothing to put off
            else:
                assert code == expected

    async def _drop(self, client: LiveClient) -> None:
        """Noticed before the next act: a release that was lost on its way is not asked again."""
        client.drop()
        await client.wait_for(lambda client: not client.connected)

    async def _hold(self, number: int, seats: list[int], floor: int, **where: str) -> tuple[str | None, str]:
        async with asyncio.timeout(15):
            answer = await self.clients[number].hold(seats=seats, areas={"floor": floor} if floor else None, **where)
        if isinstance(answer, HoldResult):
            assert answer.hold is not None
            return None, answer.hold.id
        return answer.code, ""

    async def _race(self, one: int, other: int, seats: list[int], floor: int) -> None:
        """Two ask for the same at once: it was one order or the other."""
        answers = await asyncio.gather(self._hold(one, seats, floor), self._hold(other, seats, floor))
        racers = [(one, *answers[0]), (other, *answers[1])]
        for order in (racers, racers[::-1]):
            model = copy.deepcopy(self.model)
            if all(model.hold(HOLDERS[number], seats, floor, hold) == code for number, code, hold in order):
                self.model = model
                return
        raise AssertionError(f"no order of the two explains {answers}")

    def _is_right(self, client: LiveClient, holder: int) -> bool:
        seats = bytearray(SEAT_COUNT)
        for seat in self.model.taken:
            seats[seat] = HELD
        floor = wire.AreaCounts(FLOOR - self.model.floor, self.model.floor, 0, 0)
        mine = {hold: held for hold, held in self.model.holds.items() if held.holder == holder}
        shown = {hold.id: Held.shown(holder, hold) for hold in client.holds.values()}
        return client.connected and (client.seats, client.areas["floor"], shown) == (seats, floor, mine)

    async def rest(self) -> None:
        """Everybody's picture is the model's, and so is the server's answer to who polls."""
        for client, holder in zip(self.clients, HOLDERS, strict=True):
            await client.wait_for(lambda client, holder=holder: self._is_right(client, holder))  # type: ignore[misc]

        async def polled() -> bool:
            path = f"/api/v1/events/{self.event}/availability"
            async with self.server.session() as http, http.get(path) as answer:
                shown = await answer.json()
            seats = seatmap.unpack(base64.b64decode(shown["seats"]), SEAT_COUNT)
            one = self.clients[0]
            return (shown["epoch"], shown["seq"], seats) == (one.epoch, one.seq, one.seats)

        await eventually(polled)


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # making a failure smaller would take minutes: each try waits for a rest that never comes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps)
async def test_random_acts_leave_everybody_with_the_models_truth(
    live_pair: LiveServer, acts: list[tuple[Any, ...]]
) -> None:
    world = World(live_pair, await live_pair.new_event(max_seats=MOST))
    try:
        await world.come()
        for act in acts:
            await world.act(*act)
        await world.rest()
    finally:
        await asyncio.gather(*(client.close() for client in world.clients))
