"""The counter over REST, against a running server: who may what, whose holds, and what the log tells of it."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import redis.asyncio
from lines import Lines
from serving import LiveServer
from waiting import eventually

from lml_live import limits
from lml_live.clock import to_datetime
from lml_live.devstack.servers import Valkey
from lml_live.guard.staff import Role, StaffDesk

PASSWORD = "correct horse battery"
ROLES: tuple[Role, ...] = ("box_office", "manager", "admin")
_numbers = itertools.count(1)
_SIGNED_IN: dict[str, dict[str, str]] = {}
"""Tokens by role, once a server: a password's hash takes a core's tenth of a second."""


class Answer:
    def __init__(self, status: int, headers: Any, raw: bytes) -> None:
        self.status, self.headers, self.raw = status, headers, raw
        self.body: Any = json.loads(raw) if raw else None

    @property
    def code(self) -> str:
        assert self.headers["Content-Type"].startswith("application/problem+json"), (self.status, self.raw)
        assert self.body["status"] == self.status
        assert b"Traceback" not in self.raw
        return str(self.body["code"])


class Counter:
    """Calls as somebody: a role, a holder's token, or nobody."""

    def __init__(self, server: LiveServer, http: aiohttp.ClientSession, seats: list[str]) -> None:
        self.server, self.http, self.seats = server, http, seats
        self.tokens: dict[str, str] = {}
        self.event = server.event

    async def call(
        self, method: str, path: str, body: Any = None, *, who: str | None = "box_office", key: str | None = ""
    ) -> Answer:
        headers = {} if who is None else {"Authorization": f"Bearer {self.tokens.get(who, who)}"}
        if key is not None and method == "POST":
            headers["Idempotency-Key"] = key or f"c{next(_numbers)}"
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        async with self.http.request(method, f"/api/v1{path}", data=data, headers=headers) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def customer(self, who: str = "box_office") -> str:
        """A new customer, whose token is kept under their id."""
        made = await self.call("POST", "/holders", who=who, key=None)
        assert made.status == 201, made.raw
        holder: str = made.body["holder"]
        self.tokens[holder] = made.body["token"]
        return holder

    async def browser(self) -> str:
        """A new anonymous holder, whose token is kept under their id."""
        made = await self.call("POST", "/holders", who=None, key=None)
        self.tokens[made.body["holder"]] = made.body["token"]
        return str(made.body["holder"])

    def body(self, holder: str, *seats: int, floor: int = 0, **more: Any) -> dict[str, Any]:
        areas = {"floor": floor} if floor else {}
        wish = {"seats": [self.seats[seat] for seat in seats], "areas": areas}
        return {"holder": holder, "customer": "Kim", "reason": "school class", **wish, **more}

    async def hold(self, holder: str, *seats: int, who: str = "box_office", key: str = "", **more: Any) -> Answer:
        return await self.call(
            "POST", f"/box-office/{self.event}/holds", self.body(holder, *seats, **more), who=who, key=key
        )

    async def public_hold(self, holder: str, *seats: int) -> str:
        body = {"seats": [self.seats[seat] for seat in seats]}
        made = await self.call("POST", f"/events/{self.event}/holds", body, who=holder)
        assert made.status == 201, made.raw
        return str(made.body["id"])

    async def block(self, kind: str, *seats: int) -> None:
        body = {"seats": [self.seats[seat] for seat in seats], "kind": kind, "reason": "press"}
        answer = await self.call("POST", f"/events/{self.event}/seats/block", body, who="manager")
        assert answer.status == 200, answer.raw
        assert answer.body["refused_seats"] == []

    async def details(self, *seats: int) -> list[dict[str, Any]]:
        ids = ",".join(self.seats[seat] for seat in seats)
        answer = await self.call("GET", f"/events/{self.event}/seats?ids={ids}")
        assert answer.status == 200, answer.raw
        items: list[dict[str, Any]] = answer.body["items"]
        return items

    async def changes(self, query: str = "") -> Answer:
        return await self.call("GET", f"/events/{self.event}/status-changes{query}")


@pytest.fixture
async def counter(live_server: LiveServer) -> AsyncIterator[Counter]:
    async with live_server.session() as http:
        async with http.get(f"/api/v1/events/{live_server.event}/layout") as answer:
            rows = (await answer.json(content_type=None))["sections"][0]["rows"]
        made = Counter(live_server, http, [seat["seat_id"] for row in rows for seat in row["seats"]])
        tokens = _SIGNED_IN.setdefault(live_server.dsn, {})
        if not tokens:
            async with live_server.pool() as pool:
                for role in ROLES:
                    await StaffDesk(pool).add_staff(f"{role}@example.com", PASSWORD, (role,))
            for role in ROLES:
                body = {"email": f"{role}@example.com", "password": PASSWORD}
                signed = await made.call("POST", "/sessions", body, who=None, key=None)
                assert signed.status == 201, signed.raw
                tokens[role] = signed.body["token"]
        made.tokens.update(tokens)
        yield made


# --- Who may


def staff_calls(counter: Counter, hold: str, holder: str) -> list[tuple[str, str, Any]]:
    event = counter.event
    return [
        ("POST", f"/box-office/{event}/holds", counter.body(holder, 9)),
        ("POST", f"/box-office/{event}/sales", {"areas": {"floor": 1}, "tender": "cash"}),
        ("GET", f"/box-office/{event}/holds", None),
        ("POST", f"/holds/{hold}/move", {"seats": [counter.seats[8]], "reason": "x"}),
        ("GET", f"/events/{event}/seats?ids={counter.seats[0]}", None),
        ("GET", f"/events/{event}/status-changes", None),
        ("GET", f"/events/{event}/channels", None),
        ("POST", f"/holds/{hold}/release", {"reason": "x"}),
    ]


async def test_the_counter_is_for_clerks_and_up(counter: Counter) -> None:
    anna = await counter.browser()
    for role in ROLES:
        holder, hold = await counter.customer(role), await counter.public_hold(anna, 0)
        for method, path, body in staff_calls(counter, hold, holder):
            answer = await counter.call(method, path, body, who=role)
            assert answer.status in (200, 201, 204), (role, path, answer.raw)
        found = await counter.call("GET", f"/box-office/{counter.event}/holds", who=role)
        await counter.call("POST", f"/holds/{found.body['items'][0]['id']}/release", {"reason": "x"})


async def test_nobody_else_may_and_a_refusal_tells_nothing(counter: Counter) -> None:
    anna, customer = await counter.browser(), await counter.customer()
    hold = await counter.public_hold(anna, 0)
    for method, path, body in staff_calls(counter, hold, customer):
        if path.endswith("/move"):
            continue  # a holder's own act, too
        for who in (None, "staff-nobody", "lmlh_x.y", anna, customer):
            shapes = set()
            for target in (path, path.replace(counter.event, "none").replace(hold, "1-none")):
                answer = await counter.call(method, target, body, who=who)
                assert (answer.status, answer.code) == (401, "unauthorized"), (who, target)
                shapes.add(answer.raw)
            assert len(shapes) == 1
    assert (await counter.call("POST", f"/holds/{hold}/move", {"reason": "x"}, who="staff-nobody")).code == (
        "unauthorized"
    )
    assert (await counter.call("POST", "/holders", who="staff-nobody", key=None)).code == "unauthorized"
    assert (await counter.call("GET", f"/holds/{hold}", who=anna)).status == 200


async def test_every_post_needs_its_key(counter: Counter) -> None:
    customer = await counter.customer()
    hold = await counter.public_hold(await counter.browser(), 0)
    for method, path, body in staff_calls(counter, hold, customer):
        if method == "POST":
            assert (await counter.call(method, path, body, key=None)).code == "idempotency_required"


async def test_drafts_are_there_for_managers_only(counter: Counter) -> None:
    """Of a draft, clerks could read what its channels have, while all else of it was not there for them."""
    customer = await counter.customer()
    counter.event = await counter.server.new_event(state="draft")
    for method, path, body in staff_calls(counter, "1-none", customer):
        if counter.event in path:
            assert (await counter.call(method, path, body)).code == "not_found"
            answer = await counter.call(method, path, body, who="manager")
            assert answer.code == "sale_not_open" if path.endswith("/sales") else answer.status in (200, 201)


# --- Holds for customers


async def test_a_customers_hold(counter: Counter, lines: Lines) -> None:
    customer = await counter.customer()
    watcher = await lines.greeted(counter.server, token=counter.tokens[customer])
    made = await counter.hold(customer, 1, 2, floor=3, key="once")
    assert made.status == 201, made.raw
    hold = made.body
    assert made.headers["Location"] == f"/api/v1/holds/{hold['id']}"
    assert (hold["seats"], hold["areas"], hold["state"]) == (counter.seats[1:3], {"floor": 3}, "active")
    assert to_datetime(hold["deadline_ms"]) == datetime(2100, 1, 1, tzinfo=UTC)
    assert hold["extensions_left"] == 0
    told = await watcher.hear("hold_changed")
    assert (told["hold"], told["state"], told["reason"]) == (hold["id"], "active", "staff")
    # Twice is once; another body with the key is refused.
    assert (await counter.hold(customer, 1, 2, floor=3, key="once")).body == hold
    assert (await counter.hold(customer, 1, key="once")).code == "idempotency_mismatch"
    # The customer reads it and may pay for it; who holds it changes it.
    path = f"/holds/{hold['id']}"
    assert (await counter.call("GET", path, who=customer)).body == hold
    stranger = await counter.browser()
    assert (await counter.call("GET", path, who=stranger)).code == "hold_not_found"
    for who in (customer, stranger):
        for method, more, body in (
            ("DELETE", "", None),
            ("PATCH", "", {"add": {"seats": [counter.seats[5]]}}),
            ("PATCH", "", {"release": {"seats": [counter.seats[1]]}}),
            ("POST", "/extend", None),
            ("POST", "/move", {"seats": [counter.seats[5]]}),
        ):
            assert (await counter.call(method, path + more, body, who=who)).code == "forbidden", (who, method)
    released = await watcher.ask("release", hold=hold["id"])
    assert (released["type"], released["code"]) == ("error", "forbidden")
    [shown] = (await counter.call("GET", f"/box-office/{counter.event}/holds")).body["items"]
    assert (shown["id"], shown["holder"], shown["customer"], shown["reason"], shown["state"]) == (
        *(hold["id"], customer, "Kim", "school class", "held"),
    )
    assert (shown["seats"], shown["areas"]) == (counter.seats[1:3], {"floor": 3})


async def test_staff_hold_for_their_customers_only(counter: Counter) -> None:
    for holder in (await counter.browser(), "h-nobody"):
        answer = await counter.hold(holder, 1)
        assert (answer.status, answer.code) == (404, "not_found")
    assert (await counter.details(1))[0]["status"] == "available"


async def test_a_colleague_may_serve_a_customer(counter: Counter) -> None:
    customer = await counter.customer("box_office")
    assert (await counter.hold(customer, 1, who="manager")).status == 201


async def test_house_seats_are_taken_in_one_step_and_killed_ones_never(counter: Counter) -> None:
    customer = await counter.customer()
    await counter.block("house", 10, 11)
    await counter.block("kill", 12)
    plain = await counter.hold(customer, 9, 10)
    assert (plain.code, plain.body["seats"]) == ("seat_taken", counter.seats[10:11])
    killed = await counter.hold(customer, 10, 12, over_house=True)
    assert (killed.code, killed.body["seats"]) == ("seat_taken", counter.seats[12:13])
    made = await counter.hold(customer, 9, 10, over_house=True)
    assert made.status == 201
    nine, ten, eleven, twelve = await counter.details(9, 10, 11, 12)
    assert [seat["status"] for seat in (nine, ten, eleven, twelve)] == ["held", "held", "house", "kill"]
    assert (ten["hold"], ten["holder"], ten["customer"]) == (made.body["id"], customer, "Kim")
    assert "reason" not in ten, "the house hold is used up"
    assert (eleven["reason"], eleven["seat_id"], eleven["category"]) == ("press", counter.seats[11], "Front")


async def test_staff_sell_before_the_sale_and_in_its_pause_but_not_after_it(counter: Counter) -> None:
    customer = await counter.customer()
    for state, opens_in_hours, code in (("open", 5, None), ("paused", -1, None), ("closed", -1, "sale_closed")):
        opens = datetime.now(UTC) + timedelta(hours=opens_in_hours)
        counter.event = await counter.server.new_event(state=state, on_sale_at=opens)
        answer = await counter.hold(customer, 1)
        assert answer.status == 201 if code is None else answer.code == code


# --- Anybody's holds


async def test_staff_release_anybodys_hold_and_its_holder_is_told(counter: Counter, lines: Lines) -> None:
    anna = await counter.browser()
    hold = await counter.public_hold(anna, 0, 1)
    watcher = await lines.greeted(counter.server, token=counter.tokens[anna])
    answer = await counter.call("POST", f"/holds/{hold}/release", {"reason": "scalper"}, key="once")
    assert (answer.status, answer.raw) == (204, b"")
    told = await watcher.hear("hold_changed")
    assert (told["hold"], told["state"], told["reason"]) == (hold, "gone", "staff")
    await watcher.hear_seats({0: 0, 1: 0})
    assert (await counter.call("POST", f"/holds/{hold}/release", {"reason": "scalper"}, key="once")).status == 204
    assert (await counter.call("POST", f"/holds/{hold}/release", {"reason": "scalper"})).code == "hold_not_found"
    number = hold.partition("-")[0]  # the event's; of another, which rests, the first would wake it and hear to wait
    for unknown in (f"{number}-none", "999999999-x", "none", f"{number}-s-none"):
        assert (await counter.call("POST", f"/holds/{unknown}/release", {"reason": "x"})).code == "hold_not_found"


async def test_a_move_by_its_holder(counter: Counter) -> None:
    anna, ben = await counter.browser(), await counter.browser()
    hold = await counter.public_hold(anna, 0, 1)
    await counter.public_hold(ben, 5)
    await counter.block("house", 6)
    path = f"/holds/{hold}/move"

    async def move(*seats: int, who: str = anna, key: str = "", **more: Any) -> Answer:
        return await counter.call(
            "POST", path, {"seats": [counter.seats[seat] for seat in seats], **more}, who=who, key=key
        )

    before = (await counter.call("GET", f"/holds/{hold}", who=anna)).body
    refused = await move(1, 5)
    assert (refused.code, refused.body["seats"]) == ("seat_taken", [counter.seats[5]])
    assert (await move(1, 6)).code == "seat_taken"
    assert (await move(1, 6, over_house=True)).code == "forbidden"
    assert (await move(1, 2, who=ben)).code == "hold_not_found"
    assert (await move()).code == "invalid_message"
    assert (await counter.call("GET", f"/holds/{hold}", who=anna)).body == before
    moved = await move(1, 2, key="once")
    assert (moved.status, moved.body["seats"]) == (200, counter.seats[1:3])
    assert moved.body["deadline_ms"] == before["deadline_ms"]
    assert (await move(1, 2, key="once")).body == moved.body
    assert (await move(1, 3, key="once")).code == "idempotency_mismatch"
    assert (await counter.changes()).body["items"][1:] == [], "a holder's own traffic is not in the log"


async def test_a_move_by_staff(counter: Counter, lines: Lines) -> None:
    anna = await counter.browser()
    hold = await counter.public_hold(anna, 0, 1)
    await counter.block("house", 6)
    watcher = await lines.greeted(counter.server, token=counter.tokens[anna])
    path, seats = f"/holds/{hold}/move", [counter.seats[1], counter.seats[6]]
    silent = await counter.call("POST", path, {"seats": seats})
    assert (silent.status, silent.code, silent.body["errors"][0]["path"]) == (422, "invalid_message", "reason")
    plain = await counter.call("POST", path, {"seats": seats, "reason": "view"})
    assert (plain.code, plain.body["seats"]) == ("seat_taken", [counter.seats[6]])
    moved = await counter.call("POST", path, {"seats": seats, "reason": "view", "over_house": True})
    assert (moved.status, moved.body["seats"]) == (200, seats)
    told = await watcher.hear("hold_changed")
    assert (told["state"], told["reason"], told["value"]["seats"]) == ("active", "staff", [1, 6])
    acts = [
        (item["act"], item["seat_id"], item["status"], item["reason"])
        for item in (await counter.changes()).body["items"]
    ]
    assert acts == [
        ("block", counter.seats[6], "house", "press"),
        ("move", counter.seats[0], "available", "view"),
        ("move", counter.seats[6], "held", "view"),
    ]


async def test_of_many_who_want_one_seat_at_once_one_gets_it(counter: Counter) -> None:
    """Three clerks and two browsers, all after seat 7, and each after one of their own."""
    customers = [await counter.customer(role) for role in ROLES]
    browsers = [await counter.browser() for _ in range(2)]
    assert (await counter.details(7))[0]["status"] == "available"  # the event's first inventory is built by now
    answers = await asyncio.gather(
        *(counter.hold(who, 7, n, who=role) for n, (who, role) in enumerate(zip(customers, ROLES, strict=True))),
        *(
            counter.call(
                "POST", f"/events/{counter.event}/holds", {"seats": [counter.seats[7], counter.seats[20 + n]]}, who=who
            )
            for n, who in enumerate(browsers)
        ),
    )
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]
    assert {answer.code for answer in answers if answer.status == 409} == {"seat_taken"}
    shown = await counter.details(7, 0, 1, 2, 20, 21)
    assert sorted(seat["status"] for seat in shown) == ["available"] * 4 + ["held"] * 2
    listed = (await counter.call("GET", f"/box-office/{counter.event}/holds")).body["items"]
    by_staff = [answer.body["id"] for answer in answers[:3] if answer.status == 201]
    assert [item["id"] for item in listed] == by_staff, "a refused hold leaves no row"


# --- The log


async def test_the_log_tells_who_when_and_why(counter: Counter) -> None:
    began = datetime.now(UTC)
    customer = await counter.customer()
    await counter.block("house", 3)
    hold = (await counter.hold(customer, 3, 4, over_house=True)).body["id"]
    await counter.call("POST", f"/holds/{hold}/release", {"reason": "did not come"}, who="manager")
    camera = {"seats": [counter.seats[4]], "kind": "kill", "reason": "camera"}
    await counter.call("POST", f"/events/{counter.event}/seats/block", camera, who="admin")
    body = {"seats": [counter.seats[4]], "reason": "camera moved"}
    await counter.call("POST", f"/events/{counter.event}/seats/unblock", body, who="manager")
    told = (await counter.changes(f"?seat={counter.seats[4]}")).body
    assert told["next"] is None
    found = [(item["act"], item["status"], item["staff_email"], item["reason"]) for item in told["items"]]
    assert found == [
        ("hold", "held", "box_office@example.com", "school class"),
        ("release", "available", "manager@example.com", "did not come"),
        ("block", "kill", "admin@example.com", "camera"),
        ("unblock", "available", "manager@example.com", "camera moved"),
    ]
    first = told["items"][0]
    assert (first["hold"], first["holder"], first["seat_id"]) == (hold, customer, counter.seats[4])
    assert began.isoformat() < first["at"] < datetime.now(UTC).isoformat() + "Z"


async def test_pages_of_the_log_and_of_the_holds(counter: Counter) -> None:
    customer = await counter.customer()
    holds = [(await counter.hold(customer, seat, seat + 20)).body["id"] for seat in range(3)]
    everything = (await counter.changes()).body["items"]
    assert len(everything) == 6
    sizes, read, query = [], [], "?limit=4"
    while query:
        page = (await counter.changes(query)).body
        sizes.append(len(page["items"]))
        read += page["items"]
        query = f"?limit=4&cursor={quote(page['next'])}" if page["next"] else ""
    assert (sizes, read) == ([4, 2], everything)
    since = quote(everything[4]["at"])
    assert (await counter.changes(f"?since={since}")).body["items"] == everything[4:]
    assert (await counter.changes("?since=2099-01-01T00:00:00Z")).body["items"] == []
    path = f"/box-office/{counter.event}/holds"
    first = (await counter.call("GET", f"{path}?limit=2")).body
    second = (await counter.call("GET", f"{path}?limit=2&cursor={quote(first['next'])}")).body
    assert [item["id"] for item in first["items"] + second["items"]] == holds
    assert second["next"] is None


NO_QUERIES = [
    ("status-changes?limit=0", "limit"),
    ("status-changes?limit=201", "limit"),
    ("status-changes?limit=x", "limit"),
    ("status-changes?seat=x", "seat"),
    ("status-changes?seat=" + "A" * 64, "seat"),
    ("status-changes?since=yesterday", "since"),
    ("status-changes?since=2030-01-01", "since"),
    ("status-changes?since=2030-01-01T00:00:00", "since"),
    ("status-changes?since=9999-12-31T23:59:59-23:59", "since"),
    ("status-changes?since=1900000000", "since"),
    ("status-changes?cursor=x", "cursor"),
    ("status-changes?cursor=MjAzMC0wMS0wMVQwMDowMDowMCswMDowMCBh", "cursor"),
    ("seats", "ids"),
    ("seats?ids=", "ids"),
    ("seats?ids=x", "ids"),
    ("seats?ids=" + ",".join(f"{n:064x}" for n in range(limits.STAFF_SEATS_ASKED_MAX + 1)), "ids"),
    ("seats?ids=" + ",".join(["0" * 64] * 2), "ids"),
]


async def test_what_no_query_can_be(counter: Counter) -> None:
    for path, field in NO_QUERIES:
        answer = await counter.call("GET", f"/events/{counter.event}/{path}")
        assert (answer.status, answer.code, answer.body["errors"][0]["path"]) == (422, "invalid_message", field), path


async def test_seats_that_are_not_of_the_event_are_told_by_place(counter: Counter) -> None:
    answer = await counter.call("GET", f"/events/{counter.event}/seats?ids={counter.seats[0]},{'0' * 64}")
    assert (answer.status, answer.code) == (422, "unknown_seat")
    assert [error["path"] for error in answer.body["errors"]] == ["ids[1]"]
    assert "0" * 64 not in answer.raw.decode()


async def test_what_no_hold_for_a_customer_can_be(counter: Counter) -> None:
    customer = await counter.customer()
    good = counter.body(customer, 1)
    for change, code in (
        ({"seats": []}, "invalid_message"),
        ({"seats": [counter.seats[0]] * 2}, "invalid_message"),
        ({"seats": ["0" * 64]}, "unknown_seat"),
        ({"seats": counter.seats[:51]}, "invalid_message"),
        ({"seats": [{"seat_id": counter.seats[0], "type": "senator"}]}, "invalid_message"),
        ({"areas": {"balcony": 1}}, "unknown_area"),
        ({"areas": {"floor": 0}}, "invalid_message"),
        ({"areas": {"floor": 50}}, "limit_exceeded"),
        ({"areas": {"floor": 41}}, "area_full"),
        ({"holder": "a{b}"}, "invalid_message"),
        ({"customer": ""}, "invalid_message"),
        ({"customer": "nul\0"}, "invalid_message"),
        ({"reason": "x" * 201}, "invalid_message"),
        ({"reason": None}, "invalid_message"),
        ({"over_house": 1}, "invalid_message"),
        ({"staff": "somebody else"}, "invalid_message"),
        ({"deadline_ms": 5}, "invalid_message"),
    ):
        answer = await counter.call("POST", f"/box-office/{counter.event}/holds", good | change)
        assert answer.code == code, (change, answer.raw)
    for body in ({}, {"reason": ""}, {"reason": 5}, {"reason": "x", "force": True}):
        assert (await counter.call("POST", "/holds/1-none/release", body)).code == "invalid_message"
    for event in ("none", "a%7Bb%7D", "x" * 65):
        assert (await counter.call("POST", f"/box-office/{event}/holds", good)).code == "not_found"
    assert (await counter.changes()).body["items"] == []


# --- Redis lost


async def test_a_customers_hold_is_there_after_redis_was_emptied(mortal_pair: tuple[LiveServer, Valkey]) -> None:
    """A clerk promised seats; Redis forgets everything; the seats are still the customer's, and can still be moved."""
    server, valkey = mortal_pair
    async with server.session() as http:
        async with http.get(f"/api/v1/events/{server.event}/layout") as answer:
            rows = (await answer.json(content_type=None))["sections"][0]["rows"]
        counter = Counter(server, http, [seat["seat_id"] for row in rows for seat in row["seats"]])
        counter.tokens["box_office"] = (await server.sign_in())["Authorization"].removeprefix("Bearer ")
        customer, anna = await counter.customer(), await counter.browser()
        hold = (await counter.hold(customer, 1, 2, floor=3)).body
        lost = await counter.public_hold(anna, 5)
        async with redis.asyncio.from_url(valkey.url) as forgetful:
            await forgetful.flushall()

        async def back() -> bool:
            return (await counter.call("GET", f"/holds/{hold['id']}", who=customer)).status == 200

        await eventually(back)
        found = (await counter.call("GET", f"/holds/{hold['id']}", who=customer)).body
        assert found == hold
        assert (await counter.call("GET", f"/holds/{lost}", who=anna)).code == "hold_not_found"
        refused = await counter.call("POST", f"/events/{server.event}/holds", {"seats": [counter.seats[1]]}, who=anna)
        assert (refused.status, refused.code) == (409, "seat_taken")
        moved = await counter.call("POST", f"/holds/{hold['id']}/move", {"seats": [counter.seats[7]], "reason": "view"})
        assert (moved.status, moved.body["seats"]) == (200, [counter.seats[7]])


async def test_the_audit_trail_knows_who_it_was_and_from_where(counter: Counter) -> None:
    """A sign-in and an act of staff are theirs, from their address; both are chained soon."""
    signed_in = await counter.server.sign_in()
    counter.tokens["chief"] = signed_in["Authorization"].removeprefix("Bearer ")
    paused = await counter.call("POST", f"/events/{counter.event}/pause", who="chief", key=None)
    assert paused.status == 200, paused.raw
    async with counter.server.pool() as pool:
        [row] = await pool.fetch(
            "SELECT * FROM audit_record WHERE event_id = $1 AND detail -> 'state' ->> 1 = 'paused'", counter.event
        )
        [session] = await pool.fetch("SELECT * FROM audit_record WHERE action = 'session.made' ORDER BY number LIMIT 1")
        staff = await pool.fetchval("SELECT staff_id FROM staff_session WHERE staff_id = $1 LIMIT 1", row["actor_id"])
        assert (row["actor_kind"], row["worker"]) == ("staff", "lml worker")
        assert staff is not None
        assert session["origin"]
        assert session["origin"] == row["origin"]

        async def is_chained() -> bool:
            found = "SELECT EXISTS (SELECT FROM audit_link WHERE chain = $1 AND log = 'act' AND number = $2)"
            return bool(await pool.fetchval(found, counter.event, row["number"]))

        await eventually(is_chained, 30)
