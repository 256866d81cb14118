"""Staff over REST: sign-in, the life of events, blocks; what others may see of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from databases import locks_waited_for
from halls import Floor, Hall, Halls, new_event
from hypothesis import given
from hypothesis import strategies as st
from waiting import eventually

from lml_live import limits
from lml_live.backoffice.allotting import Allotting
from lml_live.backoffice.blocking import Blocking, Refusals, Selection, resolve
from lml_live.backoffice.layout_change import LayoutChange
from lml_live.backoffice.turns import StaffTurns
from lml_live.errors import Refused, Unavailable
from lml_live.gateway import documents, events, staff
from lml_live.gateway.events import EventServices
from lml_live.gateway.idempotency import IdempotencyKeys
from lml_live.gateway.operations import undocumented_routes
from lml_live.gateway.problems import problems_middleware
from lml_live.guard.staff import StaffDesk
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.inventory.channels import Channels
from lml_live.pricing.blocks import BlockKind, Blocks
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.channels import ChannelRows

PASSWORD = "correct horse battery"
OPERATIONS = (*events.OPERATIONS, *staff.OPERATIONS)
SEATS = Hall().seat_ids


class Inventory:
    """Stands for the inventory: `taken` seats and all but `room` places are held, `off` places are blocked."""

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self.blocked: set[int] = set()
        self.room = {"floor": 30}
        self.off = {"floor": 0}
        self.away = self.deaf = False
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.batches: list[int] = []
        self.told: list[str] = []

    async def changed(self, event_id: str) -> None:
        self.told.append(event_id)

    async def block(
        self, event_id: str, layout: str, seats: Sequence[int], areas: Mapping[str, int], kind: BlockKind
    ) -> Refusals:
        if self.away:
            raise Unavailable("The inventory is away.")
        self.asked.set()
        await self.may_answer.wait()
        self.batches.append(len(seats))
        refused = self.taken & set(seats)
        self.blocked |= set(seats) - refused
        full = {area: self.room[area] - self.off[area] for area, places in areas.items() if places > self.room[area]}
        self.off |= {area: places for area, places in areas.items() if area not in full}
        if self.deaf:
            raise Unavailable("It was done, and nobody heard it.")
        return Refusals(tuple(sorted(refused)), full)

    async def unblock(self, event_id: str, layout: str, seats: Sequence[int]) -> tuple[int, ...]:
        if self.away:
            raise Unavailable("The inventory is away.")
        refused = set(seats) - self.blocked
        self.blocked -= set(seats)
        return tuple(sorted(refused))


class House:
    """A server with events and sign-in, and somebody of each role."""

    def __init__(self, client: TestClient[Any, Any], desk: StaffDesk, pool: Pool, inventory: Inventory) -> None:
        self.client = client
        self.desk = desk
        self.pool = pool
        self.inventory = inventory
        self.tokens: dict[str, str] = {}
        self._keys = 0

    async def call(
        self, method: str, path: str, body: object = None, *, who: str | None = "manager", key: str | None = None
    ) -> ClientResponse:
        self._keys += 1
        headers = {"Idempotency-Key": key or f"k{self._keys}"}
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else msgspec.json.encode(body)
        return await self.client.request(method, f"/api/v1{path}", data=data, headers=headers, allow_redirects=False)

    async def make_event(self, **changes: object) -> dict[str, Any]:
        answer = await self.call("POST", "/events", new_event(**changes))
        assert answer.status == 201, await answer.text()
        return dict(await answer.json())


@pytest.fixture
async def house(postgres_dsn: str) -> AsyncIterator[House]:
    pool = await postgres.connect_pool(postgres_dsn)
    desk, catalogue, inventory, halls = StaffDesk(pool), Catalogue(pool, Halls()), Inventory(), Halls()
    turns = StaffTurns(pool)
    services = EventServices(
        desk=desk,
        catalogue=catalogue,
        blocking=Blocking(catalogue, Blocks(pool), halls, inventory.block, inventory.unblock, turns),
        # Channels are tested where there is an inventory (tests/server/test_channels_live.py).
        allotting=Allotting(catalogue, ChannelRows(pool), halls, Mock(spec=Channels), turns),
        keys=IdempotencyKeys(pool),
        layout_url=lambda layout_id, layout_hash: f"/layouts/{layout_id}/{layout_hash}",
        changed=inventory.changed,
        # So is the change of a layout (tests/backoffice/test_layout_change.py, tests/server/test_layout_live.py).
        layout_change=Mock(spec=LayoutChange),
    )
    app = web.Application(middlewares=[problems_middleware])
    app.add_routes([*events.routes(services), *staff.routes(desk, lambda request: request.remote)])
    app.add_routes(documents.routes(OPERATIONS))
    client: TestClient[Any, Any] = TestClient(TestServer(app))
    await client.start_server()
    house = House(client, desk, pool, inventory)
    for role in ("box_office", "manager", "admin"):
        await desk.add_staff(f"{role}@example.com", PASSWORD, (role,))  # type: ignore[arg-type]
        house.tokens[role] = (await desk.sign_in(f"{role}@example.com", PASSWORD)).token
    house.tokens["stranger"] = "staff-nobody"
    house.tokens["holder"] = "some.holder.token"
    yield house
    await client.close()
    await pool.close()


async def code_of(answer: ClientResponse) -> str:
    return str((await answer.json(content_type="application/problem+json"))["code"])


# --- Sign-in


async def test_staff_sign_in(house: House) -> None:
    answer = await house.call("POST", "/sessions", {"email": "manager@example.com", "password": PASSWORD}, who=None)
    assert answer.status == 201
    assert answer.headers["Cache-Control"] == "no-store"
    signed_in = await answer.json()
    assert set(signed_in) == {"token", "roles", "expires_at"}
    assert signed_in["roles"] == ["manager"]
    assert signed_in["expires_at"].endswith("Z")
    house.tokens["fresh"] = signed_in["token"]
    assert (await house.call("POST", "/events", new_event(), who="fresh")).status == 201


async def test_a_refused_sign_in_says_nothing(house: House) -> None:
    texts = set()
    for email, password in (("manager@example.com", "wrong"), ("nobody@example.com", PASSWORD)):
        answer = await house.call("POST", "/sessions", {"email": email, "password": password}, who=None)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        texts.add(await answer.text())
    assert len(texts) == 1


async def test_too_many_sign_ins_have_to_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_ATTEMPTS_PER_ADDRESS", 1)
    wrong = {"email": "manager@example.com", "password": "wrong"}
    assert (await house.call("POST", "/sessions", wrong, who=None)).status == 401
    answer = await house.call("POST", "/sessions", wrong, who=None)
    assert (answer.status, await code_of(answer)) == (429, "rate_limited")
    assert int(answer.headers["Retry-After"]) > 0


# --- Who may what

MANAGERS_CALLS: list[tuple[str, str, object]] = [
    ("POST", "/events", new_event(id="e2")),
    ("PATCH", "/events/e1", {"name": "Aida"}),
    ("POST", "/events/e1/open", None),
    ("POST", "/events/e1/pause", None),
    ("POST", "/events/e1/seats/block", {"seats": [SEATS[0]], "kind": "house", "reason": "press"}),
    ("POST", "/events/e1/seats/unblock", {"seats": [SEATS[0]]}),
    ("POST", "/events/e1/close", None),
]


async def test_managers_acts_are_for_managers(house: House) -> None:
    await house.make_event(id="e1")
    for method, path, body in MANAGERS_CALLS:
        for who, status in ((None, 401), ("stranger", 401), ("holder", 401), ("box_office", 403)):
            shapes = set()
            for target in (path, path.replace("e1", "not-there")):
                answer = await house.call(method, target, body, who=who)
                assert answer.status == status, (method, target, who)
                shapes.add(await answer.text())
            assert len(shapes) == 1, "a refusal must not tell what exists"
        for who in ("manager", "admin"):
            assert (await house.call(method, path.replace("e2", who), body, who=who)).status in (200, 201, 409)


async def test_another_authorization_is_unauthorized(house: House) -> None:
    for header in ("Basic eDp5", "Bearer", "Bearer a b", "Bearer ü", "Bearer " + "x" * 5000, "token"):
        headers = {"Authorization": header, "Content-Type": "application/json"}
        answer = await house.client.patch("/api/v1/events/e1", data=b"{}", headers=headers)
        assert (answer.status, await code_of(answer)) == (401, "unauthorized")


# --- Events


async def test_an_event_is_made_and_read(house: House) -> None:
    answer = await house.call("POST", "/events", new_event(id="e1"))
    assert (answer.status, answer.headers["Location"]) == (201, "/api/v1/events/e1")
    made = await answer.json()
    await house.call("POST", "/events/e1/open")
    shown = await (await house.call("GET", "/events/e1", who=None)).json()
    assert shown == made | {"state": "open"}
    assert shown["prices"][0] == {
        "category": "Stalls", "type": "standard", "label": "Standard", "amount": 4500, "fee": 250, "tax_rate": "7.00",
    }  # fmt: skip
    layout = await house.call("GET", "/events/e1/layout", who=None)
    assert (layout.status, layout.headers["Location"]) == (307, shown["layout"]["url"])
    assert layout.headers["Cache-Control"] == "no-cache"


async def test_a_draft_is_there_for_managers_only(house: House) -> None:
    await house.make_event(id="e1")
    for path in ("/events/e1", "/events/e1/layout"):
        missing = await (await house.call("GET", "/events/none", who=None)).text()
        for who in (None, "stranger", "holder", "box_office"):
            answer = await house.call("GET", path, who=who)
            assert (answer.status, await answer.text()) == (404, missing)
        assert (await house.call("GET", path)).status in (200, 307)
    for who, count in ((None, 0), ("box_office", 0), ("manager", 1), ("admin", 1)):
        assert len((await (await house.call("GET", "/events", who=who)).json())["items"]) == count


async def test_pages_of_events(house: House) -> None:
    for number in range(3):
        await house.make_event(id=f"e{number}")
        await house.call("POST", f"/events/e{number}/open")
    first = await (await house.call("GET", "/events?limit=2", who=None)).json()
    second = await (await house.call("GET", f"/events?limit=2&cursor={first['next']}", who=None)).json()
    assert [event["id"] for event in first["items"] + second["items"]] == ["e0", "e1", "e2"]
    assert second["next"] is None
    for query in ("limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "limit=٣", "cursor=x", "cursor="):
        answer = await house.call("GET", f"/events?{query}", who=None)
        assert (answer.status, await code_of(answer)) == (422, "invalid_message"), query


async def test_the_same_post_makes_one_event(house: House) -> None:
    answers = [await house.call("POST", "/events", new_event(), key="once") for _ in range(2)]
    assert await answers[0].text() == await answers[1].text()
    assert answers[1].headers["Location"] == answers[0].headers["Location"]
    other = await house.call("POST", "/events", new_event(), key="other")
    assert (await other.json())["id"] != (await answers[0].json())["id"]
    assert await code_of(await house.call("POST", "/events", new_event(name="x"), key="once")) == "idempotency_mismatch"


async def test_an_event_that_a_killed_server_made_is_not_made_twice(house: House) -> None:
    """The process died between the event's commit and the answer's."""
    first = await (await house.call("POST", "/events", new_event(), key="once")).json()
    async with postgres.connection(house.pool) as connected:
        await connected.execute(
            "UPDATE idempotency_key SET status = NULL, body = NULL, created = now() - interval '2 minutes'"
        )
    assert await (await house.call("POST", "/events", new_event(), key="once")).json() == first


GOOD: dict[str, Any] = json.loads(msgspec.json.encode(new_event()))


NO_EVENTS: list[tuple[dict[str, Any], str]] = [
    ({"id": "a{b}"}, "id"),
    ({"id": "a:b"}, "id"),
    ({"id": "../x"}, "id"),
    ({"id": "nul\0"}, "id"),
    ({"id": "line\n"}, "id"),
    ({"id": "x" * 10_000}, "id"),
    ({"id": "🎭"}, "id"),
    ({"name": ""}, "name"),
    ({"name": "nul\0"}, "name"),
    ({"name": 7}, "name"),
    ({"starts_at": "2030-05-01"}, "starts_at"),
    ({"starts_at": "2030-05-01T19:30:00"}, "starts_at"),
    ({"starts_at": "9999-12-31T23:59:59-23:59"}, "starts_at"),
    ({"starts_at": 1900000000}, "starts_at"),
    ({"currency": "eur"}, "currency"),
    ({"currency": "QQQ"}, "currency"),
    ({"currency": "KWD", "prices": [GOOD["prices"][0] | {"amount": 4505}, *GOOD["prices"][1:]]}, "prices[0].amount"),
    ({"prices": []}, "prices"),
    ({"prices": [GOOD["prices"][0] | {"amount": -1}]}, "prices[0].amount"),
    ({"prices": [GOOD["prices"][0] | {"amount": 45.5}]}, "prices[0].amount"),
    ({"prices": [GOOD["prices"][0] | {"amount": "4500"}]}, "prices[0].amount"),
    ({"prices": [GOOD["prices"][0] | {"amount": 2**63}]}, "prices[0].amount"),
    ({"prices": [GOOD["prices"][0] | {"fee": True}]}, "prices[0].fee"),
    ({"prices": [GOOD["prices"][0] | {"tax_rate": 19}]}, "prices[0].tax_rate"),
    ({"prices": [GOOD["prices"][0] | {"tax_rate": "100"}]}, "prices[0].tax_rate"),
    ({"prices": [GOOD["prices"][0] | {"category": "nul\0"}]}, "prices[0].category"),
    ({"limits": {"max_seats": 51}}, "limits.max_seats"),
    ({"limits": {"max_seats": 0}}, "limits.max_seats"),
    ({"limits": {"orphan_rule": "some"}}, "limits.orphan_rule"),
    ({"limits": {"orphan_rule": None}}, "limits.orphan_rule"),
    ({"limits": {"hold_seconds": 600, "lifetime_seconds": 60}}, "limits.lifetime_seconds"),
    ({"layout": {"id": "elsewhere"}}, "layout"),
    ({"state": "open"}, "state"),
    ({"epoch": 7}, "epoch"),
    ({"revision": 7}, "revision"),
    ({"user_id": "x"}, "user_id"),
]


async def test_what_no_event_can_be(house: House) -> None:
    for changes, path in NO_EVENTS:
        answer = await house.call("POST", "/events", GOOD | changes)
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["code"], problem["errors"][0]["path"]) == (422, "invalid_message", path), changes


async def test_an_event_is_changed(house: House) -> None:
    await house.make_event(id="e1")
    answer = await house.call("PATCH", "/events/e1", {"name": "Aida", "limits": {"max_seats": 2}})
    changed = await answer.json()
    assert (answer.status, changed["name"], changed["limits"]["max_seats"]) == (200, "Aida", 2)
    assert changed["limits"]["hold_seconds"] == 300
    assert house.inventory.told == ["e1"], "the inventory hears of it before the answer"
    for body, path in (({"id": "e2"}, "id"), ({"group": "g"}, "group"), ({"name": None}, "name")):
        answer = await house.call("PATCH", "/events/e1", body)
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["errors"][0]["path"]) == (422, path)


async def test_the_sale_is_opened_paused_and_closed(house: House) -> None:
    await house.make_event(id="e1")
    for act, outcome in (
        ("pause", "conflict"), ("close", "conflict"), ("open", "open"), ("open", "open"), ("pause", "paused"),
        ("open", "open"), ("close", "closed"), ("close", "closed"), ("open", "sale_closed"),
    ):  # fmt: skip
        answer = await house.call("POST", f"/events/e1/{act}")
        assert (await answer.json())["state" if answer.status == 200 else "code"] == outcome


# --- Blocks


async def blocked_seats(house: House) -> set[str]:
    async with postgres.connection(house.pool) as connected:
        return {row["seat_id"] for row in await connected.fetch("SELECT seat_id FROM seat_block")}


async def test_seats_are_blocked_and_the_refused_are_listed(house: House) -> None:
    await house.make_event(id="e1")
    house.inventory.taken = {1}
    wanted = {"seats": [SEATS[0], SEATS[0]], "runs": [[SEATS[0], SEATS[3]]], "kind": "house", "reason": "press"}
    answer = await house.call("POST", "/events/e1/seats/block", wanted)
    assert answer.status == 200
    assert await answer.json() == {
        "seats": 3,
        "areas": {},
        "refused_seats": [{"seat_id": SEATS[1], "code": "seat_taken"}],
        "refused_areas": [],
    }
    assert house.inventory.blocked == {0, 2, 3}
    assert await blocked_seats(house) == {SEATS[0], SEATS[2], SEATS[3]}
    answer = await house.call("POST", "/events/e1/seats/unblock", {"runs": [[SEATS[2], SEATS[4]]]})
    assert await answer.json() == {
        "seats": 2,
        "areas": {},
        "refused_seats": [{"seat_id": SEATS[4], "code": "conflict"}],
        "refused_areas": [],
    }
    assert house.inventory.blocked == {0}
    assert await blocked_seats(house) == {SEATS[0]}


async def test_places_are_blocked_and_the_full_areas_are_listed(house: House) -> None:
    await house.make_event(id="e1")
    block = {"kind": "kill", "reason": "mixer"}
    answer = await (await house.call("POST", "/events/e1/seats/block", {"areas": {"floor": 20}, **block})).json()
    assert (answer["areas"], answer["refused_areas"]) == ({"floor": 20}, [])
    answer = await (await house.call("POST", "/events/e1/seats/block", {"areas": {"floor": 20}, **block})).json()
    assert answer["refused_areas"] == [{"area_id": "floor", "code": "area_full", "available": 10}]
    answer = await (await house.call("POST", "/events/e1/seats/block", {"areas": {"floor": 81}, **block})).json()
    assert answer["refused_areas"] == [{"area_id": "floor", "code": "area_full", "available": 80}], "at most"
    for places, refused in ((21, [{"area_id": "floor", "code": "conflict", "available": 20}]), (20, [])):
        body = {"areas": {"floor": places}, "kind": "kill"}
        answer = await (await house.call("POST", "/events/e1/seats/unblock", body)).json()
        assert answer["refused_areas"] == refused
    assert house.inventory.off == {"floor": 0}


async def test_many_seats_are_blocked_in_batches(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BLOCK_BATCH", 2)
    await house.make_event(id="e1")
    wanted = {"runs": [[SEATS[0], SEATS[8]]], "kind": "kill", "reason": "renovation"}
    assert (await (await house.call("POST", "/events/e1/seats/block", wanted)).json())["seats"] == 9
    assert house.inventory.batches == [2, 2, 2, 2, 1]


async def test_a_block_that_did_not_reach_the_inventory_may_be_sent_again(house: House) -> None:
    await house.make_event(id="e1")
    wanted = {"seats": [SEATS[0]], "kind": "kill", "reason": "broken"}
    house.inventory.away = True
    assert (await house.call("POST", "/events/e1/seats/block", wanted)).status == 503
    assert await blocked_seats(house) == {SEATS[0]}
    house.inventory.away = False
    assert (await (await house.call("POST", "/events/e1/seats/block", wanted)).json())["seats"] == 1
    assert house.inventory.blocked == {0}


@pytest.mark.parametrize("fault", ["away", "deaf"])
async def test_places_are_counted_once_for_each_request(house: House, fault: str) -> None:
    """A block of places that was written, and whose telling failed, counted twice when it was sent again."""
    await house.make_event(id="e1")
    house.inventory.room["floor"] = 50
    block = {"areas": {"floor": 20}, "kind": "kill", "reason": "mixer"}
    unblock = {"areas": {"floor": 20}, "kind": "kill"}

    async def blocked_places() -> list[tuple[str, int]]:
        async with postgres.connection(house.pool) as connected:
            return [tuple(row) for row in await connected.fetch("SELECT kind, quantity FROM area_block")]

    setattr(house.inventory, fault, True)
    for _ in range(2):
        assert (await house.call("POST", "/events/e1/seats/block", block, key="once")).status == 503
    assert await blocked_places() == [("kill", 20)]
    setattr(house.inventory, fault, False)
    for key, off in (("once", 20), ("once", 20), ("twice", 40)):
        answer = await (await house.call("POST", "/events/e1/seats/block", block, key=key)).json()
        assert answer["areas"] == {"floor": 20}
        assert (await blocked_places(), house.inventory.off["floor"]) == ([("kill", off)], off)
    other = await house.call("POST", "/events/e1/seats/block", block | {"areas": {"floor": 21}}, key="once")
    assert (other.status, (await other.json())["code"]) == (409, "idempotency_mismatch")
    setattr(house.inventory, fault, True)
    for _ in range(2):
        assert (await house.call("POST", "/events/e1/seats/unblock", unblock, key="back")).status == 503
    setattr(house.inventory, fault, False)
    assert (await house.call("POST", "/events/e1/seats/unblock", unblock, key="back")).status == 200
    assert (await blocked_places(), house.inventory.off["floor"]) == ([("kill", 20)], 20)


async def test_a_name_is_of_one_request(house: House) -> None:
    """Over the socket, where nobody compares bodies; and what the inventory refused may come again under its name."""
    await house.make_event(id="e1")
    blocking = blocking_of_a_worker(house)
    house.inventory.room["floor"] = 10
    for room, left in ((10, 10), (15, 15), (20, None)):
        house.inventory.room["floor"] = room
        report = await blocking.block("e1", Selection(areas={"floor": 20}), "kill", "mixer", "anna", request="r")
        assert [area.available for area in report.refused_areas] == ([] if left is None else [left])
    for kind, places in (("house", 20), ("kill", 19)):
        with pytest.raises(Refused, match="another request"):
            await blocking.block("e1", Selection(areas={"floor": places}), kind, "mixer", "anna", request="r")
    assert house.inventory.off["floor"] == 20


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)).map(sorted), max_size=20), st.sets(st.integers(0, 8)))
def test_runs_may_lie_over_each_other(runs: list[list[int]], seats: set[int]) -> None:
    """Each seat is meant once, whatever names it how often."""
    wanted = Selection(
        seats=[SEATS[seat] for seat in seats], runs=[(SEATS[a], SEATS[b]) for a, b in runs], areas={"x": 1}
    )
    meant = sorted(seats.union(*(range(a, b + 1) for a, b in runs)))
    assert resolve(Mock(areas=[Mock(area_id="x")]), Hall(), wanted) == meant


def blocking_of_a_worker(house: House) -> Blocking:
    pool, inventory = house.pool, house.inventory
    return Blocking(
        Catalogue(pool, Halls()), Blocks(pool), Halls(), inventory.block, inventory.unblock, StaffTurns(pool)
    )


async def test_areas_are_changed_in_both_stores_a_batch_at_a_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL had all of them at once: where the worker died, the check for drift told the rest."""
    monkeypatch.setattr(limits, "AREAS_BATCH", 1)
    halls = Halls([Hall(areas=(Floor(), Floor("gallery")))])
    catalogue = Catalogue(house.pool, halls)
    await catalogue.create_event(new_event(id="e1"))

    async def block(event: str, layout: str, seats: Sequence[int], areas: Mapping[str, int], kind: str) -> Refusals:
        if "gallery" in areas:
            raise Unavailable("The inventory is away.")
        async with postgres.connection(house.pool) as connected:
            assert await connected.fetchval("SELECT count(*) FROM area_block WHERE event_id = 'e1'") == 1
        return Refusals((), {"floor": 30})

    turns = StaffTurns(house.pool)
    blocking = Blocking(catalogue, Blocks(house.pool), halls, block, house.inventory.unblock, turns)
    wanted = Selection(areas={"floor": 40, "gallery": 5})
    with pytest.raises(Unavailable):
        await blocking.block("e1", wanted, "house", "mixer", "anna", request="r")
    async with postgres.connection(house.pool) as connected:
        blocks = await connected.fetch("SELECT area_id, quantity FROM area_block WHERE event_id = 'e1'")
    assert [tuple(row) for row in blocks] == [("gallery", 5)]


async def waits_for_a_turn(house: House) -> bool:
    async with postgres.connection(house.pool) as connected:
        return await locks_waited_for(connected, 7204) > 0


async def test_one_events_staff_do_not_wait_for_anothers(house: House) -> None:
    """All of a worker stood in one line: who blocked a seat waited seconds for those of a busy event."""
    for event in ("e1", "e2"):
        await house.make_event(id=event)
    turns = StaffTurns(house.pool)

    async def take(event: str) -> None:
        async with turns.take(event):
            pass

    async with turns.take("e1"):
        waiting = [asyncio.create_task(take("e1")) for _ in range(2 * limits.POSTGRES_POOL_MAX)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await take("e2")
        assert not any(task.done() for task in waiting)
        async with asyncio.timeout(10), postgres.connection(house.pool) as connected:
            assert await locks_waited_for(connected, 7204) <= 1, "a worker waits with one connection"
    await asyncio.gather(*waiting)
    assert not turns._lines


async def test_changes_of_one_event_take_turns(house: House) -> None:
    """Of a block and an unblock at once PostgreSQL had the one last and the inventory the other: the seat stayed off
    sale, and nothing said why, until the check for drift came by."""
    await house.make_event(id="e1")
    one, other, seat = blocking_of_a_worker(house), blocking_of_a_worker(house), Selection(seats=SEATS[:1])
    house.inventory.may_answer.clear()
    blocking = asyncio.create_task(one.block("e1", seat, "kill", "mixer", "anna"))
    await house.inventory.asked.wait()
    unblocking = asyncio.create_task(other.unblock("e1", seat, "kill", None, "ben"))

    async def met() -> bool:
        return unblocking.done() or await waits_for_a_turn(house)

    await eventually(met)
    house.inventory.may_answer.set()
    assert [(await report).seats for report in (blocking, unblocking)] == [1, 1]
    assert (house.inventory.blocked, await blocked_seats(house)) == (set(), set())


async def test_who_sleeps_in_his_turn_loses_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.make_event(id="e1")
    monkeypatch.setattr(limits, "STAFF_TURN_SECONDS", 1.0)
    house.inventory.may_answer.clear()
    sleeper = blocking_of_a_worker(house).block("e1", Selection(areas={"floor": 1}), "kill", "mixer", "anna")
    sleeping = asyncio.create_task(sleeper)
    await house.inventory.asked.wait()
    monkeypatch.undo()
    await blocking_of_a_worker(house).unblock("e1", Selection(seats=SEATS[:1]), "kill", None, "ben")
    house.inventory.may_answer.set()
    with pytest.raises(Unavailable):
        await sleeping


async def test_an_opened_channel_is_given_nothing_by_who_came_too_late(house: House) -> None:
    """Rows that were written after the opening had taken all of the channel's were told to nobody any more."""
    await house.make_event(id="e1")
    rows = ChannelRows(house.pool)
    channel, _ = await rows.ensure("e1", "agency", None, "anna", "contract")
    await rows.open("e1", "agency", "ben", "slow")
    with pytest.raises(Refused, match="opened right now"):
        await rows.assign_seats("e1", SEATS[:1], channel, "anna", "contract")
    with pytest.raises(Refused, match="opened right now"):
        await rows.set_places("e1", {"floor": 3}, channel, "anna", "contract")
    assert await rows.other_seats("e1", {SEATS[0]: None}) == {}


async def test_what_cannot_be_blocked(house: House) -> None:
    await house.make_event(id="e1")
    block = {"kind": "house", "reason": "press"}
    for body, path in (
        (block, "seats"),
        (block | {"seats": ["0" * 64]}, "seats[0]"),
        (block | {"seats": ["{other}"]}, "seats[0]"),
        (block | {"seats": [0]}, "seats[0]"),
        (block | {"runs": [[SEATS[3], SEATS[0]]]}, "runs[0]"),
        (block | {"runs": [[SEATS[3], "0" * 64]]}, "runs[0]"),
        (block | {"areas": {"balcony": 1}}, "areas"),
        (block | {"areas": {"floor": 0}}, "areas[...]"),
        (block | {"seats": [SEATS[0]], "kind": "other"}, "kind"),
        (block | {"seats": [SEATS[0]], "reason": ""}, "reason"),
        ({"seats": [SEATS[0]], "reason": "x"}, ""),
    ):
        answer = await house.call("POST", "/events/e1/seats/block", body)
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["errors"][0]["path"]) == (422, path)
    assert await blocked_seats(house) == set()
    assert (await house.call("POST", "/events/none/seats/block", block | {"seats": [SEATS[0]]})).status == 404


# --- The document


async def test_every_route_is_described_and_every_description_is_served(house: House) -> None:
    assert undocumented_routes(house.client.app, OPERATIONS) == (set(), set())
    undescribed, unserved = undocumented_routes(house.client.app, staff.OPERATIONS)
    assert "POST /api/v1/events" in undescribed
    assert unserved == set()
