"""The holder's acts over REST, against a running server (contract, section 2; reliability.md, section 4)."""

import asyncio
import base64
import gzip
import io
import itertools
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from lines import Lines
from serving import LiveServer, hall_of_300

from lml_live.inventory import seatmap
from lml_live.values import AVAILABLE, HELD

PROBLEM = {"type", "title", "status", "detail", "code"}
_numbers = itertools.count(1)


@dataclass
class Answer:
    status: int
    headers: Any
    raw: bytes
    body: Any = field(init=False)

    def __post_init__(self) -> None:
        kind = self.headers.get("Content-Type", "")
        self.body = json.loads(self.raw) if "json" in kind and self.raw else None

    @property
    def code(self) -> str:
        """The problem's code; every problem has the same shape."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), (self.status, self.raw)
        assert set(self.body) >= PROBLEM
        assert self.body["status"] == self.status
        assert b"Traceback" not in self.raw
        return str(self.body["code"])


class Holder:
    """Somebody with a holder's token who keeps no socket."""

    def __init__(self, server: LiveServer, http: aiohttp.ClientSession, seat_ids: list[str]) -> None:
        self.server = server
        self.http = http
        self.seat_ids = seat_ids
        self.token: str | None = None
        self.holder = ""

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        raw: Any = None,
        **headers: str,
    ) -> Answer:
        """One call; `key` "" makes a fresh one, None sends none. Underscores in headers' names stand for dashes."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            given.setdefault("Authorization", f"Bearer {self.token}")
        if key is not None and method == "POST":
            given["Idempotency-Key"] = key or f"k{next(_numbers)}"
        if raw is None and body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            given.setdefault("Content-Type", "application/json")
        async with self.http.request(
            method, f"/api/v1{path}", data=io.BytesIO(raw) if raw else raw, headers=given, allow_redirects=False
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def sign(self) -> "Holder":
        made = await self.call("POST", "/holders", key=None)
        assert made.status == 201
        assert set(made.body) == {"holder", "token"}
        self.holder, self.token = made.body["holder"], made.body["token"]
        return self

    def seats(self, *indexes: int) -> list[str]:
        return [self.seat_ids[index] for index in indexes]

    async def hold(self, *indexes: int, key: str | None = "", **areas: int) -> Answer:
        body = {"seats": self.seats(*indexes), "areas": areas}
        return await self.call("POST", f"/events/{self.server.event}/holds", body, key=key)

    async def held(self) -> list[int]:
        """The seats that are not available, once they are ticked: read together with the event's head."""
        return [seat for seat, state in enumerate(await self.states()) if state != AVAILABLE]

    async def states(self) -> bytearray:
        shown = (await self.call("GET", f"/events/{self.server.event}/availability")).body
        return seatmap.unpack(base64.b64decode(shown["seats"], validate=True), 300)


@pytest.fixture
async def seat_ids(live_server: LiveServer) -> list[str]:
    async with live_server.session() as http, http.get(f"/api/v1/events/{live_server.event}/layout") as answer:
        rows = (await answer.json(content_type=None))["sections"][0]["rows"]
    return [seat["seat_id"] for row in rows for seat in row["seats"]]


@pytest.fixture
async def somebody(live_server: LiveServer, seat_ids: list[str]) -> AsyncIterator[Any]:
    """`await somebody()`: a new holder."""
    async with live_server.session() as http:

        async def make() -> Holder:
            return await Holder(live_server, http, seat_ids).sign()

        yield make


@pytest.fixture
async def me(somebody: Any) -> Holder:
    found: Holder = await somebody()
    return found


# --- Holders


async def test_a_holders_token_gets_a_fresh_one_of_the_same_holder(me: Holder) -> None:
    again = await me.call("POST", "/holders", key=None)
    assert (again.status, again.body["holder"]) == (201, me.holder)
    assert again.headers["Cache-Control"] == "no-store"
    me.token = "lmlh_bad"
    assert (await me.call("POST", "/holders", key=None)).code == "unauthorized"


@pytest.mark.parametrize("header", [None, "Bearer x", "Basic abc", "Bearer lmlh_a.b", "Bearer " + "x" * 3000, "Bearer"])
async def test_without_a_good_token_nothing_is_done(me: Holder, header: str | None) -> None:
    hold = (await me.hold(1)).body["id"]
    me.token = None
    given = {} if header is None else {"Authorization": header}
    event = me.server.event
    for method, path, body in (
        ("POST", f"/events/{event}/holds", {"seats": me.seats(2)}),
        ("GET", f"/holds/{hold}", None),
        ("PATCH", f"/holds/{hold}", {"add": {"seats": me.seats(2)}}),
        ("DELETE", f"/holds/{hold}", None),
        ("POST", f"/holds/{hold}/extend", None),
    ):
        answer = await me.call(method, path, body, **given)
        assert (answer.status, answer.code) == (401, "unauthorized"), method
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer " + "secret" * 2000}, {"Content_Encoding": "zstd"}])
async def test_what_no_route_sees_is_a_problem_too(me: Holder, headers: dict[str, str]) -> None:
    """The framework's own page quoted what was sent, and its log quoted the token in it."""
    answer = await me.call("POST", f"/events/{me.server.event}/holds", {"seats": []}, **headers)
    assert answer.status in (400, 415)
    assert answer.code in ("bad_request", "unsupported_media_type")
    assert b"secret" not in answer.raw
    assert "secretsecret" not in "".join(me.server.output)


# --- Acts


async def test_the_life_of_a_hold(me: Holder, live_server: LiveServer, lines: Lines) -> None:
    watcher = await lines.greeted(live_server, token=me.token)
    made = await me.hold(1, 151, floor=2)
    assert made.status == 201
    hold = made.body
    path = f"/holds/{hold['id']}"
    assert made.headers["Location"] == f"/api/v1{path}"
    assert hold["seats"] == me.seats(1, 151)
    assert [line.get("seat_id") for line in hold["lines"]] == [*me.seats(1, 151), None, None]
    assert all("seat" not in line for line in hold["lines"]), "indexes are the socket's own"
    assert (hold["areas"], hold["amount"]) == ({"floor": 2}, 4500 + 2500 + 3000 + 800)
    assert (await me.call("GET", path)).body == hold
    told = await watcher.hear("hold_changed")
    assert (told["hold"], told["reason"], told["value"]["seats"]) == (hold["id"], "own", [1, 151])
    await watcher.hear_seats({1: HELD, 151: HELD})
    assert await me.held() == [1, 151]

    more = await me.call("PATCH", path, {"add": {"seats": me.seats(0), "areas": {"floor": 1}}})
    assert (more.status, more.body["seats"], more.body["areas"]) == (200, me.seats(0, 1, 151), {"floor": 3})
    less = await me.call("PATCH", path, {"release": {"seats": me.seats(1), "areas": {"floor": 3}}})
    assert (less.body["seats"], less.body["areas"]) == (me.seats(0, 151), {})
    both = await me.call("PATCH", path, {"add": {"seats": me.seats(5)}, "release": {"seats": me.seats(0)}})
    assert (both.body["seats"], both.body["deadline_ms"]) == (me.seats(5, 151), hold["deadline_ms"])
    extended = await me.call("POST", f"{path}/extend")
    assert (extended.status, extended.body["extensions_left"]) == (200, 1)
    assert extended.body["deadline_ms"] > hold["deadline_ms"]
    gone = await me.call("PATCH", path, {"release": {"seats": me.seats(5, 151)}})
    assert (gone.status, gone.raw) == (204, b"")
    assert (await watcher.hear("hold_changed", state="gone"))["reason"] == "own"
    assert (await me.call("GET", path)).code in ("hold_not_found", "hold_expired")
    second = (await me.hold(7)).body["id"]
    assert (await me.call("DELETE", f"/holds/{second}")).status == 204
    assert (await me.call("DELETE", f"/holds/{second}")).code in ("hold_not_found", "hold_expired")
    await watcher.hear_seats(dict.fromkeys((0, 1, 5, 7, 151), AVAILABLE))


async def test_a_change_that_is_refused_changes_nothing(somebody: Any) -> None:
    me, other = await somebody(), await somebody()
    hold = (await me.hold(1, 2)).body
    await other.hold(5)
    path = f"/holds/{hold['id']}"
    for body, code in (
        ({"add": {"seats": me.seats(4, 5)}}, "seat_taken"),
        ({"add": {"seats": me.seats(4, 5)}, "release": {"seats": me.seats(1)}}, "seat_taken"),
        ({"add": {"seats": me.seats(2)}, "release": {"seats": me.seats(1)}}, "seat_taken"),
        ({"add": {"seats": me.seats(4)}, "release": {"seats": me.seats(9)}}, "unknown_seat"),
        ({"add": {"seats": me.seats(*range(10, 18))}}, "limit_exceeded"),
        ({"add": {"areas": {"balcony": 1}}}, "unknown_area"),
        ({"add": {"areas": {"floor": {}}}}, "invalid_message"),
        ({"release": {"areas": {"floor": {}}}}, "invalid_message"),
        ({"release": {"areas": {"floor": 1}}}, "invalid_message"),
        ({"release": {"seats": me.seats(1, 1)}}, "invalid_message"),
        ({"add": {"seats": me.seats(4)}, "release": {"areas": {"floor": 1}}}, "invalid_message"),
        ({}, "invalid_message"),
        ({"add": {}, "release": {}}, "invalid_message"),
    ):
        assert (await me.call("PATCH", path, body)).code == code, body
    assert (await me.call("GET", path)).body == hold


async def test_a_refusal_names_the_seats_in_the_way(somebody: Any) -> None:
    me, other = await somebody(), await somebody()
    await other.hold(5, 6, floor=6)
    refused = await me.hold(4, 5, 6)
    assert (refused.status, refused.code) == (409, "seat_taken")
    assert set(refused.body) == PROBLEM | {"seats"}
    assert refused.body["seats"] == me.seats(5, 6)
    for _ in range(4):
        await (await somebody()).hold(floor=8)
    full = await me.hold(floor=3)
    assert (full.status, full.code, full.body["areas"]) == (409, "area_full", {"floor": 2})


async def test_a_change_sent_twice_with_its_key_is_one_change(me: Holder) -> None:
    """Add and release in one step was worked out anew for the repetition, which found the seats gone already."""
    hold = (await me.hold(1, 2, floor=2)).body["id"]
    body = {"add": {"seats": me.seats(3)}, "release": {"seats": me.seats(1), "areas": {"floor": 1}}}
    first = await me.call("PATCH", f"/holds/{hold}", body, Idempotency_Key="swap")
    again = await me.call("PATCH", f"/holds/{hold}", body, Idempotency_Key="swap")
    assert first.body["seats"] == me.seats(2, 3)
    assert (again.status, again.body) == (200, first.body)
    other = {"add": {"seats": me.seats(4)}, "release": {"seats": me.seats(2)}}
    assert (await me.call("PATCH", f"/holds/{hold}", other, Idempotency_Key="swap")).code == "idempotency_mismatch"


# --- Keys


async def test_the_rules_of_the_key(somebody: Any) -> None:
    me, other = await somebody(), await somebody()
    assert (await me.hold(1, key=None)).code == "idempotency_required"
    for bad in ("x" * 256, "a b", "ä"):
        assert (await me.hold(1, key=bad)).status == 400, bad
    first = await me.hold(1, 2, key="k" * 255)
    assert first.status == 201
    again = await me.hold(2, 1, key="k" * 255)
    assert (again.status, again.body) == (201, first.body)
    mismatch = await me.hold(3, key="k" * 255)
    assert (mismatch.status, mismatch.code) == (409, "idempotency_mismatch")
    theirs = await other.hold(3, key="k" * 255)
    assert theirs.status == 201, "another holder's keys are others"
    await me.call("DELETE", f"/holds/{first.body['id']}")
    assert (await me.hold(1, 2, key="k" * 255)).code in ("hold_expired", "hold_not_found"), "never seats again"


async def test_fifty_at_once_with_one_key_are_one_hold(me: Holder, live_server: LiveServer, lines: Lines) -> None:
    watcher = await lines.greeted(live_server)
    answers = await asyncio.gather(*(me.hold(8, 9, floor=1, key="same") for _ in range(50)))
    done = [answer for answer in answers if answer.status != 429]
    assert len(done) >= 30
    assert {(answer.status, answer.raw) for answer in done} == {(201, done[0].raw)}
    await watcher.hear_seats({8: HELD, 9: HELD})
    assert (watcher.areas["floor"]["held"], watcher.seq) == (1, watcher.heard[0]["seq"] + 1), "one execution"
    busy = [answer for answer in answers if answer.status == 429]
    assert all(answer.code == "rate_limited" and int(answer.headers["Retry-After"]) >= 1 for answer in busy)


# --- Others' holds


async def test_another_ones_hold_is_nobodys(somebody: Any) -> None:
    me, other = await somebody(), await somebody()
    theirs = (await other.hold(1)).body["id"]
    number = theirs.partition("-")[0]
    shapes = set()
    ids = (theirs, f"{number}-{'f' * 20}", "999999999-ffffffffffffffffffff", "1", "no-hold", "0-0", "x" * 65)
    for hold in (*ids, "%00", "%F0%9F%8E%AB", "99999999999999999999-ff", f"{number}-a%3Ab", f"{number}-"):
        me = await somebody()
        for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"add": {"seats": me.seats(2)}})):
            answer = await me.call(method, f"/holds/{hold}", body)
            assert (answer.status, answer.code) == (404, "hold_not_found"), (method, hold)
            shapes.add((answer.raw, *sorted(name for name in answer.headers if name not in ("Date", "Server"))))
        assert (await me.call("POST", f"/holds/{hold}/extend")).code == "hold_not_found"
    for hold in ("%7Bx%7D", "..%2f..%2fhealthz", "..%2fevents"):
        assert (await me.call("GET", f"/holds/{hold}")).status == 404
    assert len(shapes) == 1, "what is another's, what is nobody's and what cannot be look the same"
    assert (await other.call("GET", f"/holds/{theirs}")).body["seats"] == me.seats(1)
    assert await me.held() in ([], [1])


# --- Bad input

SEAT = "0" * 64
LONG = "[" * 10_000 + "]" * 10_000
BODIES: dict[str, tuple[bytes | str, int]] = {
    "nothing": ('{"seats": []}', 422),
    "empty": ("{}", 422),
    "twice": ('{"seats": ["SEAT", "SEAT"]}', 422),
    "unknown": (f'{{"seats": ["{SEAT}"]}}', 422),
    "too many": (json.dumps({"seats": [f"{n:064x}" for n in range(51)]}), 422),
    "far too many": (json.dumps({"seats": [f"{n:064x}" for n in range(10_001)]}), 422),
    **{
        f"id {number}": (json.dumps({"seats": [seat]}), 422)
        for number, seat in enumerate(
            ["", "{x}", "a:b", "\x00", "../../x", "x" * 10_000, "🎫", SEAT + "\n", SEAT.upper() + "A", 5, None, [], {}]
        )
    },
    **{
        f"quantity {quantity[:9]}": (f'{{"areas": {{"floor": {quantity}}}}}', 422)
        for quantity in ("-1", "0", "1.5", '"4"', "true", "null", "[]", "{}", str(2**63), "9" * 400, '{"standard": 0}')
    },
    "quantity nan": ('{"areas": {"floor": NaN}}', 400),
    "quantity inf": ('{"areas": {"floor": 1e309}}', 422),
    "area id": ('{"areas": {"{x}:y": 1}}', 422),
    "area too long": (json.dumps({"areas": {"x" * 65: 1}}), 422),
    "mixed, one bad": ('{"seats": ["SEAT"], "areas": {"floor": -1}}', 422),
    "price": ('{"seats": ["SEAT"], "price": 1}', 422),
    "holder": ('{"seats": ["SEAT"], "holder": "h-1", "state": "sold", "user_id": 1, "role": "admin"}', 422),
    "seat with price": ('{"seats": [{"seat_id": "SEAT", "type": "standard", "amount": 1}]}', 422),
    "proto": ('{"seats": ["SEAT"], "__proto__": {"x": 1}}', 422),
    "member twice": ('{"seats": [], "seats": ["SEAT"]}', 400),
    "deep": (LONG, 400),
    "bom": (b'\xef\xbb\xbf{"seats": ["SEAT"]}', 400),
    "utf-8": (b'{"seats": ["\xff\xfe"]}', 400),
    "surrogate": (b'{"seats": ["\\ud800"]}', 400),
    "trailing": ('{"seats": ["SEAT"]} x', 400),
    "cut": ('{"seats": ["SEAT"', 400),
    "no object": ("[1]", 422),
    "null": ("null", 422),
    "no body": ("", 400),
    "large": (b'{"seats": ["' + b"x" * 1_100_000 + b'"]}', 413),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_bad_bodies_are_told_so_and_change_nothing(me: Holder, kind: str) -> None:
    sent, status = BODIES[kind]
    raw = (sent.encode() if isinstance(sent, str) else sent).replace(b"SEAT", me.seats(3)[0].encode())
    answer = await me.call("POST", f"/events/{me.server.event}/holds", raw=raw)
    assert answer.status == status, answer.body
    codes = {400: ("invalid_json",), 413: ("too_large",), 422: ("invalid_message", "unknown_seat", "unknown_area")}
    assert answer.code in codes[status]
    assert len(answer.raw) < 2_000
    assert b"10000" not in answer.raw
    assert b"xxxx" not in answer.raw, "what was sent is not echoed"
    assert (await me.hold(3)).status == 201, "seat 3 is still free"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/json; charset=latin-1"}, 415),
        ({"Content_Type": "application/json; charset=utf-16"}, 415),
        ({"Content_Encoding": "gzip"}, 415),
        ({"Content_Encoding": "zstd"}, 415),
        ({"Content_Encoding": "deflate"}, 415),
    ],
)
async def test_only_plain_json_is_read(me: Holder, headers: dict[str, str], status: int) -> None:
    raw = gzip.compress(b'{"seats": []}') if "Content_Encoding" in headers else b'{"seats": []}'
    answer = await me.call("POST", f"/events/{me.server.event}/holds", raw=raw, **headers)
    assert (answer.status, answer.code) == (status, "unsupported_media_type")


async def test_seats_of_another_event_are_unknown_here(me: Holder) -> None:
    """Ids of seats that exist, in another hall: neither event is touched."""
    await me.server.deploy(hall_of_300("another-hall", rows=2, seats=2))
    event = await me.server.new_event(layout="another-hall")
    async with me.server.session() as http, http.get(f"/api/v1/events/{event}/layout") as answer:
        rows = (await answer.json(content_type=None))["sections"][0]["rows"]
    theirs = [seat["seat_id"] for row in rows for seat in row["seats"]]
    for seats in (theirs, [*me.seats(1), theirs[0]]):
        refused = await me.call("POST", f"/events/{me.server.event}/holds", {"seats": seats})
        assert (refused.status, refused.code) == (422, "unknown_seat")
        assert theirs[0].encode() not in refused.raw
    hold = (await me.hold(1)).body["id"]
    for act in ("add", "release"):
        refused = await me.call("PATCH", f"/holds/{hold}", {act: {"seats": theirs[:1]}})
        assert (refused.status, refused.code) == (422, "unknown_seat"), act
    held = await me.call("POST", f"/events/{event}/holds", {"seats": theirs})
    assert (held.status, held.body["seats"]) == (201, theirs), "they were free all the time"


async def test_events_that_are_none_are_not_found(me: Holder) -> None:
    draft = await me.server.new_event(state="draft")
    for event in ("none", draft, "%7Bx%7D", "%00", "..%2f", "x" * 300, "%F0%9F%8E%AB"):
        held = await me.call("POST", f"/events/{event}/holds", {"seats": me.seats(1)})
        assert (held.status, held.code) == (404, "not_found"), event
        assert (await me.call("GET", f"/events/{event}/availability")).status == 404, event


async def test_other_methods_are_not_known(me: Holder) -> None:
    answer = await me.call("PUT", f"/events/{me.server.event}/holds", {})
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]
    assert (await me.call("GET", f"/no/{secrets.token_hex(4)}")).code == "not_found"


@pytest.mark.parametrize("path", ["/holds/1-ffffffffffffffffffff", "/bookings"])
async def test_who_asks_too_often_waits(me: Holder, path: str) -> None:
    """Of bookings as many were answered as came, each of which asks PostgreSQL."""
    answers = await asyncio.gather(*(me.call("GET", path) for _ in range(60)))
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert all(answer.code == "rate_limited" and int(answer.headers["Retry-After"]) >= 1 for answer in refused)
