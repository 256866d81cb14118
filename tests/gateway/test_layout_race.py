"""An event gets another layout while a worker has not heard of it: an index never means a seat of the other layout.

Two workers in the test's own process, on real engines. One of them is kept from hearing of anything, the other moves
the event to the second version of a room, in which every index means the next seat.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
import pytest_asyncio
from aiohttp import ClientSession, WSServerHandshakeError
from socket_house import Caller, LiveServer, calling, serving
from waiting import eventually

from lml_live import limits, wiring
from lml_live.client import HoldResult, LiveClient, Refusal
from lml_live.clock import system_clock_ms
from lml_live.errors import NotFound, Unavailable
from lml_live.gateway import wire
from lml_live.gateway.app import Services
from lml_live.gateway.audience import Subscriber
from lml_live.guard.staff import StaffDesk
from lml_live.infra import mongo, postgres
from lml_live.infra.config import Settings
from lml_live.inventory.book import Book
from lml_live.pricing.events import EventChanges, LayoutChoice, NewEvent, SaleLimits
from lml_live.pricing.quote import Price
from lml_live.venues.layout import Layout, Row, Seat, Section, Viewport, seat_id
from lml_live.venues.library import Library

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOM, SEATS = "moving-room", 20
PASSWORD = "correct horse battery"
_requests = itertools.count(1)


def room(first: int) -> Layout:
    seats = tuple(
        Seat(number=str(number), x=round(number / 30, 5), y=0.5, category="all")
        for number in range(first, first + SEATS)
    )
    return Layout(
        layout_id=ROOM,
        name="Room",
        type="hybrid",
        viewport=Viewport(1000, 1000, "px"),
        sections=(
            Section(name="Stalls", kind="seated", rows=(Row(label="A", seats=seats),)),
            Section(name="Pit", kind="standing", area_id="pit", capacity=50, category="all"),
        ),
    )


IDS = [seat_id(ROOM, "Stalls", "A", str(number)) for number in range(1, SEATS + 2)]
"""Seat i of the first version is i, and i - 1 of the second."""


class Worker:
    """A worker in this process, and its parts."""

    def __init__(self, server: LiveServer, services: Services) -> None:
        self.server, self.services = server, services
        self.live = services.holders.live
        self.book: Book = self.live.feed._book

    def deafen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It hears neither the log nor notices, and looks at nothing by itself."""

        async def nothing(*_: Any, **__: Any) -> bool:
            return False

        monkeypatch.setattr(self.live.feed, "_feed_due", nothing)
        monkeypatch.setattr(self.live.feed, "_check_books", nothing)
        monkeypatch.setattr(self.live.feed, "_feed", nothing)
        monkeypatch.setattr(self.live, "refresh", nothing)


class House:
    """Two workers, a member of staff, and an event on the first version of the room."""

    def __init__(self, deaf: Worker, other: Worker, token: str) -> None:
        self.deaf, self.other, self.token = deaf, other, token
        self.event = ""

    @property
    def pool(self) -> postgres.Pool:
        return self.other.book._pool

    async def open_event(self, group: str | None = None) -> str:
        self.event = f"event-{secrets.token_hex(6)}"
        await self.deaf.server.catalogue.create_event(
            NewEvent(
                id=self.event,
                group=group,
                name="Concert",
                venue="Room",
                starts_at=datetime.now(UTC) + timedelta(days=1),
                currency="EUR",
                layout=LayoutChoice(ROOM, 1),
                prices=(Price(category="all", amount=5000, fee=100, tax_rate="7.00"),),
                limits=SaleLimits(max_seats=10, hold_seconds=300, extensions=2, lifetime_seconds=900),
                tick_ms=limits.TICK_MS_MIN,
            )
        )
        await self.deaf.server.catalogue.set_state(self.event, "open")
        return self.event

    async def change_layout(self, event: str = "") -> None:
        """Moves the event to the second version, and waits until it is sold on that."""
        await self.other.services.events.layout_change.change(event or self.event, 2)
        await self.other.book.read_inventory(event or self.event)

    async def taken(self, event: str = "") -> set[str]:
        """The seats that are not for sale, by id, as the event's newest layout has them."""
        sale, _, seats, _, _ = await self.other.book.read_inventory(event or self.event)
        ids = IDS[1:] if sale.layout_version == 2 else IDS[:SEATS]
        return {ids[seat] for seat, byte in enumerate(seats) if byte}

    async def pit(self) -> tuple[int, ...]:
        """How many places of the pit are for sale, held, sold and blocked."""
        _, _, _, areas, _ = await self.other.book.read_inventory(self.event)
        return tuple(areas["pit"])

    async def rows(self) -> set[str]:
        """The seats that somebody has, that are blocked, or that belong to a channel, as PostgreSQL has it."""
        query = """SELECT unnest(seat_ids) AS seat_id FROM staff_hold WHERE event_id = $1 AND state <> 'ended'
                   UNION SELECT seat_id FROM booking_seat WHERE event_id = $1 AND state IN ('claimed', 'sold')
                   UNION SELECT seat_id FROM seat_block WHERE event_id = $1
                   UNION SELECT seat_id FROM seat_channel WHERE event_id = $1"""
        return {row["seat_id"] for row in await self.other.book._pool.fetch(query, self.event)}

    async def call(self, method: str, path: str, body: Any = None, *, token: str) -> tuple[int, Any]:
        """Asks the deaf worker over REST."""
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": secrets.token_hex(8)}
        url = f"{self.deaf.server.url}/api/v1{path}"
        async with ClientSession() as session, session.request(method, url, json=body, headers=headers) as answer:
            raw = await answer.read()
            return answer.status, msgspec.json.decode(raw) if raw else None


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def workers(socket_settings: Settings) -> AsyncIterator[tuple[Worker, Worker, str]]:
    assert socket_settings.mongo_url is not None
    assert socket_settings.postgres_dsn is not None
    database = mongo.connect_database(socket_settings.mongo_url, socket_settings.mongo_database)
    library = Library(database)
    for first in (1, 2):
        with contextlib.suppress(Exception):
            await library.save_draft(room(first))
        await library.publish(ROOM)
        await library.deploy(ROOM)
    mongo.close_database(database)
    pool = await postgres.connect_pool(socket_settings.postgres_dsn, size_max=1)
    desk = StaffDesk(pool)
    await desk.add_staff("mona@example.com", PASSWORD, ("admin",))
    token = (await desk.sign_in("mona@example.com", PASSWORD)).token
    await pool.close()
    made: list[Services] = []
    make_app = wiring.make_app

    def remember(services: Services) -> Any:
        made.append(services)
        return make_app(services)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "make_app", remember)
        async with serving(socket_settings) as one, serving(socket_settings) as two:
            yield Worker(one, made[0]), Worker(two, made[1]), token


@pytest_asyncio.fixture(loop_scope="module")
async def house(workers: tuple[Worker, Worker, str]) -> House:
    found = House(*workers)
    await found.open_event()
    return found


KNOWS = ["nothing", "the sale", "the desk", "both"]


async def _learn(house: House, knows: str) -> None:
    """What the deaf worker comes to know by other ways than its room."""
    if knows in ("the sale", "both"):
        await house.deaf.book.reload(house.event)
    if knows in ("the desk", "both"):
        await house.deaf.live.acts.desks.reload(house.event)


async def _ask(caller: Caller, message: dict[str, Any]) -> dict[str, Any]:
    number = next(_requests)
    await caller.say({**message, "id": number})
    while True:
        answer = await caller.hear()
        if answer.get("id") == number:
            return answer


Asked = Callable[[str, str, str], dict[str, Any]]
"""(a hold of one's own, a customer, the event) -> a message, that names seats 4 and 5."""
BUYERS: dict[str, Asked] = {
    "hold": lambda hold, customer, event: {"type": "hold", "seats": [4, 5]},
    "hold with a key": lambda hold, customer, event: {"type": "hold", "seats": [4, 5], "key": "k"},
    "hold into": lambda hold, customer, event: {"type": "hold", "seats": [4, 5], "into": hold},
    "hold instead": lambda hold, customer, event: {"type": "hold", "seats": [4, 5], "replace": hold},
    "release of a part": lambda hold, customer, event: {"type": "release", "hold": hold, "seats": [9]},
    "hold_best": lambda hold, customer, event: {"type": "hold_best", "quantity": 2},
    "hold_group": lambda hold, customer, event: {"type": "hold_group", "events": [event], "seats": [4, 5]},
    "move_group": lambda hold, customer, event: {
        "type": "move_group", "holds": [hold], "events": [event], "seats": [4, 5]
    },
}  # fmt: skip
STAFF: dict[str, Asked] = {
    "block": lambda hold, customer, event: {"type": "block", "seats": [4, 5], "kind": "kill", "reason": "r"},
    "assign_seats": lambda hold, customer, event: {
        "type": "assign_seats", "channel": "agency", "seats": [4, 5], "reason": "r"
    },
    "hold_for_customer": lambda hold, customer, event: {
        "type": "hold_for_customer", "holder": customer, "customer": "Kim", "seats": [4, 5], "reason": "r"
    },
    "move_hold": lambda hold, customer, event: {"type": "move_hold", "hold": hold, "seats": [4, 5], "reason": "r"},
    "unblock": lambda hold, customer, event: {"type": "unblock", "seats": [4, 5], "kind": "kill", "reason": "r"},
    "sell": lambda hold, customer, event: {"type": "sell", "seats": [4, 5], "tender": "cash"},
    "sell of a hold": lambda hold, customer, event: {"type": "sell", "hold": hold, "tender": "cash"},
}  # fmt: skip


@pytest.mark.parametrize("knows", KNOWS)
@pytest.mark.parametrize("act", BUYERS)
async def test_a_buyers_socket_takes_no_seat_of_another_layout(
    house: House, monkeypatch: pytest.MonkeyPatch, act: str, knows: str
) -> None:
    async with calling(house.deaf.server, house.event, hello={}) as buyer:
        await buyer.hear("welcome")
        hold = (await _ask(buyer, {"type": "hold", "seats": [9, 10]}))["hold"]["id"]
        house.deaf.deafen(monkeypatch)
        await house.change_layout()
        await _learn(house, knows)
        assert await house.taken() == set(), "a browser's hold has ended with its epoch"
        answer = await _ask(buyer, BUYERS[act](hold, "", house.event))
        assert (answer["type"], answer["code"]) == ("error", "unavailable"), answer
        assert answer["retry_after_ms"] > 0
        assert await house.taken() == set()
        monkeypatch.undo()
        # Its room hears of it, and says so.
        code, messages = await buyer.hear_the_end()
        assert [message["reason"] for message in messages if message["type"] == "bye"] == ["layout"], messages
        assert code == 1012
    async with calling(house.deaf.server, house.event, hello={}) as buyer:
        assert (await buyer.hear("welcome"))["layout"]["version"] == 2
        assert (await _ask(buyer, {"type": "hold", "seats": [4]}))["hold"]["seats"] == [4]
        assert await house.taken() == {IDS[5]}


@pytest.mark.parametrize("knows", KNOWS)
@pytest.mark.parametrize("act", STAFF)
async def test_a_socket_of_staff_changes_no_seat_of_another_layout(
    house: House, monkeypatch: pytest.MonkeyPatch, act: str, knows: str
) -> None:
    customer = await house.other.services.counter.holding.add_customer("clara")
    async with calling(house.deaf.server, house.event, hello={"token": house.token}) as clerk:
        await clerk.hear("welcome")
        asked = {"type": "hold_for_customer", "holder": customer, "customer": "Kim", "seats": [9], "reason": "r"}
        hold = (await _ask(clerk, asked))["hold"]["id"]
        house.deaf.deafen(monkeypatch)
        await house.change_layout()
        await _learn(house, knows)
        answer = await _ask(clerk, STAFF[act](hold, customer, house.event))
        # What is read from PostgreSQL by seat id is right whatever the index is by now.
        meant = {IDS[4], IDS[5]} if act in ("block", "assign_seats") and answer["type"] != "error" else set()
        assert await house.taken() == {IDS[9]} | meant
        assert answer["type"] in ("error", "unblocked") or meant
        assert await house.rows() == await house.taken(), "PostgreSQL and Redis have the same"
        if answer["type"] == "error":
            assert answer["code"] == "unavailable", answer
        monkeypatch.undo()
        _, messages = await clerk.hear_the_end()
        assert "layout" in [message.get("reason") for message in messages]


KEYED: dict[str, dict[str, Any]] = {
    "block": {"seats": [4], "areas": {"pit": 5}, "kind": "kill", "reason": "r"},
    "unblock": {"seats": [4], "areas": {"pit": 5}, "kind": "kill", "reason": "r"},
    "sell": {"seats": [4], "areas": {"pit": 5}, "tender": "cash"},
}


@pytest.mark.parametrize("act", KEYED)
async def test_a_key_of_staff_stands_for_the_layout(house: House, act: str) -> None:
    """A block and an unblock that came again after a change of the layout were done once more, to other seats."""
    asked = {"type": act, **KEYED[act], "key": "k"}
    async with calling(house.deaf.server, house.event, hello={"token": house.token}) as clerk:
        await clerk.hear("welcome")
        if act == "unblock":
            areas = {"pit": 20}
            blocked = {"type": "block", "seats": [4, 5], "areas": areas, "kind": "kill", "reason": "r"}
            assert (await _ask(clerk, blocked))["areas"] == areas
        assert (await _ask(clerk, asked))["type"] != "error"
        taken, pit = await house.taken(), await house.pit()
        assert (await _ask(clerk, asked))["type"] != "error"
        assert (await house.taken(), await house.pit()) == (taken, pit), "the same request is done once"
    await house.change_layout()
    await house.deaf.book.reload(house.event)
    await house.deaf.live.acts.desks.reload(house.event)
    async with calling(house.deaf.server, house.event, hello={"token": house.token}) as clerk:
        assert (await clerk.hear("welcome"))["layout"]["version"] == 2
        assert (await _ask(clerk, asked)).get("code") == "idempotency_mismatch"
        assert (await house.taken(), await house.pit()) == (taken, pit)
        assert (await _ask(clerk, {**asked, "key": "k2"}))["type"] != "error"


@pytest.mark.parametrize("who", ["a buyer", "a clerk"])
async def test_the_live_client_chooses_no_other_seat_when_it_comes_back(
    house: House, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """It asked for the same index once more, on the new layout, and held the seat beside the one that was meant."""
    customer = await house.other.services.counter.holding.add_customer("clara")
    async with LiveClient(house.deaf.server.url, house.event, token=house.token if who == "a clerk" else None) as live:

        async def hold(seat: int) -> HoldResult | Refusal:
            if who == "a clerk":
                return await live.hold_for_customer(customer, "Kim", "r", [seat])
            return await live.hold([seat])

        house.deaf.deafen(monkeypatch)
        await house.change_layout()
        asked = asyncio.create_task(hold(4))
        refused = asyncio.Event()
        take_error = live._protocol._take_error

        def noted(error: wire.Error, now_ms: int) -> Any:
            refused.set()
            return take_error(error, now_ms)

        monkeypatch.setattr(live._protocol, "_take_error", noted)
        async with asyncio.timeout(30):
            await refused.wait()
            assert not asked.done(), "it would be asked again"
            monkeypatch.undo()
            answer = await asked
        assert isinstance(answer, Refusal), answer
        assert (answer.code, "choose anew" in answer.message) == ("unavailable", True)
        assert live.layout is not None
        assert live.layout.version == 2
        assert await house.taken() == set()
        again = await hold(3)
        assert isinstance(again, HoldResult), again
        assert await house.taken() == {IDS[4]}


@pytest.mark.parametrize("knows", KNOWS)
async def test_the_log_is_read_of_the_seat_that_the_socket_means(
    house: House, monkeypatch: pytest.MonkeyPatch, knows: str
) -> None:
    customer = await house.other.services.counter.holding.add_customer("clara")
    async with calling(house.deaf.server, house.event, hello={"token": house.token}) as clerk:
        await clerk.hear("welcome")
        for seat in (9, 10):
            asked = {"holder": customer, "customer": "Kim", "seats": [seat], "reason": f"seat {seat}"}
            assert (await _ask(clerk, {"type": "hold_for_customer", **asked}))["type"] == "held"
        house.deaf.deafen(monkeypatch)
        await house.change_layout()
        await _learn(house, knows)
        read = await _ask(clerk, {"type": "read_status_changes", "seat": 9})
        assert [(item["seat_id"], item["reason"]) for item in read["items"]] == [(IDS[9], "seat 9")]


@pytest.mark.parametrize("knows", KNOWS)
async def test_rest_takes_the_seat_that_is_named(house: House, monkeypatch: pytest.MonkeyPatch, knows: str) -> None:
    event = house.event
    token = house.deaf.server.tokens.issue(secrets.token_hex(8), system_clock_ms())
    status, first = await house.call("POST", f"/events/{event}/holds", {"seats": [IDS[9]]}, token=token)
    assert status == 201, first
    house.deaf.deafen(monkeypatch)
    await house.change_layout()
    await _learn(house, knows)
    for _ in range(3):
        status, made = await house.call("POST", f"/events/{event}/holds", {"seats": [IDS[4]]}, token=token)
        if status == 201:
            break
        assert (status, made["code"]) == (503, "unavailable"), made
        assert await house.taken() == set()
    assert (status, made["seats"]) == (201, [IDS[4]]), "once is enough to know the new layout"
    assert await house.taken() == {IDS[4]}
    status, shown = await house.call("GET", f"/holds/{made['id']}", token=token)
    assert (status, shown["seats"]) == (200, [IDS[4]])
    status, moved = await house.call("POST", f"/holds/{made['id']}/move", {"seats": [IDS[6]]}, token=token)
    assert (status, moved["seats"]) == (200, [IDS[6]])
    assert await house.taken() == {IDS[6]}
    status, gone = await house.call("POST", f"/events/{event}/holds", {"seats": [IDS[0]]}, token=token)
    assert (status, gone["code"]) == (422, "unknown_seat"), gone


STAFF_CALLS: dict[str, tuple[str, Callable[[str, str], dict[str, Any]], set[str]]] = {
    "hold": (
        "/box-office/{event}/holds",
        lambda hold, customer: {"holder": customer, "customer": "Kim", "seats": [IDS[4]], "reason": "r"},
        {IDS[4], IDS[9]},
    ),
    "sell places": ("/box-office/{event}/sales", lambda *_: {"seats": [IDS[4]], "tender": "cash"}, {IDS[4], IDS[9]}),
    "sell the hold": ("/box-office/{event}/sales", lambda hold, _: {"hold": hold, "tender": "cash"}, {IDS[9]}),
    "move": ("/holds/{hold}/move", lambda *_: {"seats": [IDS[4]], "reason": "r"}, {IDS[4]}),
    "release": ("/holds/{hold}/release", lambda *_: {"reason": "r"}, set()),
    "block": (
        "/events/{event}/seats/block",
        lambda *_: {"seats": [IDS[4]], "kind": "kill", "reason": "r"},
        {IDS[4], IDS[9]},
    ),
    "unblock": ("/events/{event}/seats/unblock", lambda *_: {"seats": [IDS[4]], "kind": "kill"}, {IDS[9]}),
    "assign": (
        "/events/{event}/channels",
        lambda *_: {"channel": "agency", "seats": [IDS[4]], "reason": "r"},
        {IDS[4], IDS[9]},
    ),
}


@pytest.mark.parametrize("knows", KNOWS)
@pytest.mark.parametrize("call", STAFF_CALLS)
async def test_a_call_of_staff_does_what_it_names(
    house: House, monkeypatch: pytest.MonkeyPatch, call: str, knows: str
) -> None:
    event, customer = house.event, await house.other.services.counter.holding.add_customer("clara")
    asked = {"holder": customer, "customer": "Kim", "seats": [IDS[9]], "reason": "r"}
    status, made = await house.call("POST", f"/box-office/{event}/holds", asked, token=house.token)
    assert status == 201, made
    house.deaf.deafen(monkeypatch)
    await house.change_layout()
    await _learn(house, knows)
    path, body, taken = STAFF_CALLS[call]
    for _ in range(3):
        status, done = await house.call(
            "POST",
            path.format(event=event, hold=made["id"]),
            body(made["id"], customer),
            token=house.token,
        )
        if status != 503:
            break
        assert await house.taken() == {IDS[9]}
    assert status in (200, 201, 204), done
    assert await house.taken() == taken
    assert await house.rows() == await house.taken(), "PostgreSQL and Redis have the same"


async def test_what_staff_hold_and_sell_is_shown_and_sold_as_what_it_is(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, customer = house.event, await house.other.services.counter.holding.add_customer("clara")
    asked = {"holder": customer, "customer": "Kim", "seats": [IDS[9]], "reason": "r"}
    status, made = await house.call("POST", f"/box-office/{event}/holds", asked, token=house.token)
    assert status == 201, made
    house.deaf.deafen(monkeypatch)
    await house.change_layout()
    sale = {"hold": made["id"], "tender": "cash", "buyer": {"name": "Kim"}}
    for _ in range(3):
        status, sold = await house.call("POST", f"/box-office/{event}/sales", sale, token=house.token)
        if status == 201:
            break
        assert status == 503, sold
    assert (status, sold["seats"]) == (201, [IDS[9]]), sold
    assert await house.taken() == {IDS[9]}
    status, told = await house.call("GET", f"/events/{event}/seats?ids={IDS[9]},{IDS[10]}", token=house.token)
    assert [(one["seat_id"], one["status"]) for one in told["items"]] == [(IDS[9], "sold"), (IDS[10], "available")]


async def test_who_comes_while_the_room_is_behind_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the old map under the new layout's name, nor the other way round."""
    async with calling(house.deaf.server, house.event, hello={}) as buyer:
        await buyer.hear("welcome")
        house.deaf.deafen(monkeypatch)
        await house.change_layout()
        await house.deaf.live.acts.desks.reload(house.event)
        with pytest.raises(WSServerHandshakeError) as refused:
            async with calling(house.deaf.server, house.event, hello={}):
                pass
        assert refused.value.status == 503
        monkeypatch.undo()
        code, _ = await buyer.hear_the_end()
        assert code == 1012
    async with asyncio.timeout(10), calling(house.deaf.server, house.event, hello={}) as late:
        welcome = await late.hear("welcome")
        assert (welcome["layout"]["version"], welcome["layout"]["seat_count"]) == (2, SEATS)


async def test_who_shook_hands_before_is_not_welcomed_by_the_layout_of_then(house: House) -> None:
    """The last one left between the look for the audience and the entrance; the room has moved on meanwhile."""
    live = house.deaf.live
    then = await live.audience(house.event)
    await house.change_layout()
    await live.feed.catch_up(house.event)
    subscriber = Subscriber(Mock(is_closing=Mock(return_value=False)), wire.JSON, "o:")
    assert live.join(then, subscriber) is then
    with pytest.raises(Unavailable, match="another layout"):
        live.enter(then, subscriber, "public")
    now = await live.audience(house.event)
    assert now is not then
    assert (then.is_current, now.is_current) == (False, True)
    assert live.audiences[house.event, "public"] is now
    live.leave(then, subscriber)
    assert live.audiences[house.event, "public"] is now, "who leaves the old one takes nothing of the new one along"


async def test_prices_whose_notice_was_missed_are_read_by_and_by(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an event that nobody watches, which no room's own check finds: bookings were priced by what had been."""
    monkeypatch.setattr(limits, "UPKEEP_LIST_SECONDS", 0.1)
    await house.deaf.book.read_inventory(house.event)
    desks, catalogue = house.deaf.live.acts.desks, house.other.server.catalogue
    assert (await desks.desk(house.event)).event.prices[0].amount == 5000
    house.deaf.deafen(monkeypatch)
    await catalogue.update_event(
        house.event, EventChanges(prices=(Price(category="all", amount=6000, fee=100, tax_rate="7.00"),))
    )

    async def read_anew() -> bool:
        return (await desks.desk(house.event)).event.prices[0].amount == 6000

    await eventually(read_anew)


async def test_what_changed_while_postgresql_was_away_is_told_when_it_is_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NOTICES_RETRY_SECONDS", 0.1)
    desks, catalogue = house.deaf.live.acts.desks, house.other.server.catalogue
    reload, tries = desks.reload, itertools.count()

    async def away(event: str) -> Any:
        if next(tries) < 3:
            raise Unavailable("PostgreSQL is away.")
        return await reload(event)

    async with calling(house.deaf.server, house.event, hello={}) as buyer:
        await buyer.hear("welcome")
        monkeypatch.setattr(desks, "reload", away)
        await catalogue.update_event(
            house.event, EventChanges(prices=(Price(category="all", amount=6000, fee=100, tax_rate="7.00"),))
        )
        assert (await buyer.hear("event"))["prices_version"] == 2
        held = await _ask(buyer, {"type": "hold", "seats": [0]})
        assert held["hold"]["amount"] == 6100


async def test_a_sale_that_opened_while_nobody_listened_is_found(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an event without an inventory nothing tells but its notice: who had asked for the draft heard 404 for good."""
    event, live = await house.open_event(), house.deaf.live
    await house.pool.execute("UPDATE event SET state = 'draft', epoch = 0 WHERE id = $1", event)
    with pytest.raises(NotFound):
        await live.audience(event)
    with monkeypatch.context() as patch:
        house.deaf.deafen(patch)
        await house.pool.execute("UPDATE event SET state = 'open', revision = revision + 1 WHERE id = $1", event)
        with pytest.raises(NotFound):
            await live.audience(event)
    assert await house.pool.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'lml notices' AND datname = current_database()"
    )

    async def found() -> bool:
        try:
            return (await live.audience(event)).desk.event.state == "open"
        except NotFound:
            return False

    await eventually(found)
