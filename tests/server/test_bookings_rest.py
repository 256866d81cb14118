"""Bookings over REST, and Stripe's webhook over HTTP, through a running server with the Stripe double."""

import asyncio
import base64
import hmac
import io
import itertools
import json
import os
import re
import secrets
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import psutil
import pytest
from serving import LiveServer, OwnServer
from waiting import eventually

from lml_live import limits
from lml_live.booking.organisations import NewOrganisation, Organisations
from lml_live.devstack.stripe.process import StripeDouble
from lml_live.gateway.app import OPERATIONS
from lml_live.guard.accounts import Accounts
from lml_live.guard.passwords import Passwords

SEAT = 4_500 + 250
BUYER = {"name": "Anna Muster", "email": "anna@example.org"}
_keys = itertools.count(1)


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any

    @property
    def code(self) -> str:
        assert self.headers["Content-Type"].startswith("application/problem+json"), self.body
        assert self.body["status"] == self.status
        assert "Traceback" not in json.dumps(self.body)
        return str(self.body["code"])


class Visitor:
    """Somebody with a holder's token."""

    def __init__(self, shop: LiveServer, http: aiohttp.ClientSession, seat_ids: list[str]) -> None:
        self.shop, self.http, self.seat_ids = shop, http, seat_ids
        self.token = ""

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = "", token: str | None = "", **more: Any
    ) -> Answer:
        headers = dict(more.pop("headers", {}))
        if token is not None and (token or self.token):
            headers["Authorization"] = f"Bearer {token or self.token}"
        if key is not None and method == "POST":
            headers["Idempotency-Key"] = key or f"k{next(_keys)}"
        if body is not None:
            more["data"] = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        async with self.http.request(method, f"/api/v1{path}", headers=headers, **more) as answer:
            raw = await answer.read()
            return Answer(answer.status, answer.headers, json.loads(raw) if raw else None)

    async def sign(self) -> "Visitor":
        made = await self.call("POST", "/holders", key=None)
        self.token = made.body["token"]
        return self

    async def hold(self, *seats: int, floor: int = 0) -> str:
        areas = {"floor": floor} if floor else {}
        wish = {"seats": [self.seat_ids[seat] for seat in seats], "areas": areas}
        answer = await self.call("POST", f"/events/{self.shop.event}/holds", wish)
        assert answer.status == 201, answer.body
        return str(answer.body["id"])

    async def book(self, hold: str, *, key: str = "", **more: Any) -> Answer:
        return await self.call("POST", "/bookings", {"hold": hold, "buyer": BUYER, **more}, key=key)

    async def booked(self, *seats: int) -> dict[str, Any]:
        answer = await self.book(await self.hold(*seats))
        assert answer.status == 201, answer.body
        made: dict[str, Any] = answer.body
        return made


async def pay(booking: dict[str, Any], card: str = "pm_card_visa") -> None:
    """What the page does: with what the booking says, and nothing else."""
    payment = booking["payment"]
    intent = payment["client_secret"].partition("_secret_")[0]
    form = {"key": payment["publishable_key"], "client_secret": payment["client_secret"], "payment_method": card}
    url = f"{payment['api_base']}/v1/payment_intents/{intent}/confirm"
    async with aiohttp.ClientSession() as http, http.post(url, data=form) as answer:
        assert answer.status == 200, await answer.text()


@pytest.fixture
async def seat_ids(shop: LiveServer, stripe_double: StripeDouble) -> list[str]:
    shop.event = await shop.new_event()
    return await seats_of(shop)


async def seats_of(server: LiveServer) -> list[str]:
    """The ids of the hall's seats, by index."""
    async with server.session() as http, http.get(f"/api/v1/events/{server.event}/layout") as answer:
        rows = (await answer.json(content_type=None))["sections"][0]["rows"]
    return [seat["seat_id"] for row in rows for seat in row["seats"]]


@pytest.fixture
async def anna(shop: LiveServer, seat_ids: list[str]) -> AsyncIterator[Visitor]:
    async with shop.session() as http:
        yield await Visitor(shop, http, seat_ids).sign()


@pytest.fixture
async def ben(shop: LiveServer, seat_ids: list[str]) -> AsyncIterator[Visitor]:
    async with shop.session() as http:
        yield await Visitor(shop, http, seat_ids).sign()


# --- A booking


async def test_a_booking_is_shown_as_the_contract_says(anna: Visitor, stripe_double: StripeDouble) -> None:
    hold = await anna.hold(0, 1, floor=1)
    answer = await anna.book(hold, expected_amount=2 * SEAT + 1_650)
    assert answer.status == 201
    assert answer.headers["Cache-Control"] == "no-store"
    shown = answer.body
    assert set(shown) >= {"id", "state", "event", "hold", "lines", "seats", "areas", "amount", "currency", "expires_at"}
    assert (shown["state"], shown["event"], shown["hold"]) == ("pending_payment", anna.shop.event, hold)
    assert (shown["seats"], shown["areas"]) == (anna.seat_ids[:2], {"floor": 1})
    assert (shown["amount"], shown["currency"]) == (2 * SEAT + 1_650, "EUR")
    assert [line["line"] for line in shown["lines"]] == [1, 2, 3]
    assert sum(line["amount"] + line["fee"] for line in shown["lines"]) == shown["amount"]
    assert shown["expires_at"].endswith("Z")
    payment = shown["payment"]
    assert payment.pop("client_secret").startswith("pi_")
    assert payment == {
        "status": "ready",
        "provider": "stripe",
        "publishable_key": stripe_double.publishable_key,
        "amount": shown["amount"],
        "currency": "EUR",
        "api_base": stripe_double.url,
    }
    assert (await anna.call("GET", f"/bookings/{shown['id']}")).body["seats"] == shown["seats"]


async def test_while_stripe_is_silent_it_is_202_and_preparing(anna: Visitor, stripe_double: StripeDouble) -> None:
    await stripe_double.steering.fault("create", "timeout_before")
    answer = await anna.book(await anna.hold(0))
    assert (answer.status, answer.body["payment"]) == (202, {"status": "preparing"})

    async def is_ready() -> bool:
        shown = await anna.call("GET", f"/bookings/{answer.body['id']}")
        return bool(shown.body["payment"]["status"] == "ready")

    await eventually(is_ready)


async def test_access_reads_and_cancels_from_anywhere(anna: Visitor, ben: Visitor) -> None:
    made = await anna.booked(0)
    path = f"/bookings/{made['id']}"
    assert (await ben.call("GET", path, token=made["access"])).body["id"] == made["id"]
    other = await anna.booked(2)
    assert (await ben.call("GET", path, token=other["access"])).code == "not_found"
    cancelled = await ben.call("POST", f"{path}/cancel", {}, token=made["access"])
    assert (cancelled.status, cancelled.body["state"]) == (200, "cancelled")
    assert cancelled.body["payment"] == {"status": "none"}

    async def is_free_again() -> bool:
        # Cancelled is what PostgreSQL says; the outbox frees the seat, in this worker's loop or in the request.
        wish = {"seats": [anna.seat_ids[0]]}
        return (await ben.call("POST", f"/events/{anna.shop.event}/holds", wish)).status == 201

    await eventually(is_free_again)


async def test_a_buyer_is_written_and_the_trail_says_who_cancelled(anna: Visitor, shop: LiveServer) -> None:
    booking = await anna.booked(6)
    cancelled = await anna.call("POST", f"/bookings/{booking['id']}/cancel")
    assert cancelled.status == 200
    link = f'<a href="https://tickets.example.org/bookings/{booking["id"]}#{booking["access"]}">'

    async def is_written() -> bool:
        async with anna.http.get("/mailbox") as answer:
            mails = re.findall(r'href="(/mailbox/[0-9]+)">Cancelled: A test event<', await answer.text())
        for mail in mails:
            async with anna.http.get(mail) as answer:
                if link in await answer.text():
                    return True
        return False

    await eventually(is_written, 60)
    async with shop.pool() as pool:
        rows = await pool.fetch("SELECT * FROM booking_history WHERE booking_id = $1 ORDER BY number", booking["id"])
    made, given_up, *others = rows
    assert (made["actor_kind"], given_up["actor_kind"]) == ("holder", "holder")
    assert made["actor_id"] == given_up["actor_id"]
    assert made["origin"]
    assert made["origin"] == given_up["origin"]
    ends = [(row["to_state"], row["actor_kind"], row["actor_id"], row["origin"]) for row in others]
    assert ends == [("cancelled", "system", None, None)], "that is what Stripe said, whoever asked it"


async def test_signing_in_takes_bookings_along_while_they_are_paid(
    anna: Visitor, shop: LiveServer, stripe_double: StripeDouble
) -> None:
    """The booking is the account's, its payment goes on, and what was sent before is answered as it was."""
    await stripe_double.steering.change_settings(webhook_url=f"{shop.url}/api/v1/webhooks/stripe")
    anonymous, hold = anna.token, await anna.hold(1, 2)
    made = (await anna.book(hold, key="first")).body
    email = f"anna-{secrets.token_hex(4)}@example.org"
    await anna.call("POST", "/accounts", {"email": email}, key=None)
    async with shop.pool() as pool:
        number = await pool.fetchval("SELECT id FROM account_invitation WHERE email = $1", email)
        secret = await pool.fetchval("SELECT secret FROM house")
        invitation = Accounts(pool, Passwords(), secret, sends_mail=True).invitation(number)
    chosen = {"invitation": invitation, "password": "a horse of another colour"}
    begun = (await anna.call("POST", "/accounts/password", chosen, key=None)).body
    assert begun["handed_over"] == {"holds": [hold], "kept": [], "bookings": [made["id"]], "complete": True}
    assert (await anna.book(hold, key="first")).body["id"] == made["id"]
    assert (await anna.call("GET", f"/bookings/{made['id']}")).code == "not_found"
    anna.token = begun["token"]
    assert [one["id"] for one in (await anna.call("GET", "/bookings")).body["items"]] == [made["id"]]
    await pay(made)

    async def is_confirmed() -> bool:
        shown = await anna.call("GET", f"/bookings/{made['id']}", token=made["access"])
        held = await anna.call("GET", f"/holds/{hold}")
        return (shown.body["state"], held.body.get("state")) == ("confirmed", "sold")

    await eventually(is_confirmed)
    assert (await anna.call("GET", "/bookings", token=anonymous)).body["items"] == []
    async with shop.pool() as pool:
        rows = await pool.fetch("SELECT * FROM audit_record WHERE subject_id = $1", made["id"])
        assert [(row["action"], row["actor_id"]) for row in rows] == [("booking.handed_over", begun["holder"])]
        with pytest.raises(asyncpg.CheckViolationError, match="is not handed over"):
            await pool.execute("UPDATE booking SET holder = 'h-thief' WHERE id = $1", made["id"])


BODIES: dict[str, Any] = {"change_hold": {"release": {"areas": {"floor": 1}}}, "move_hold": {"areas": {"floor": 1}}}
"""Of calls that would be refused without one."""


async def test_what_is_anothers_is_as_if_it_were_not_there(anna: Visitor, ben: Visitor) -> None:
    """I28, by every route of holders that names a hold or a booking: a new one is in here by being documented."""
    made, held = await anna.booked(0), await anna.hold(1, floor=1)
    mine = {"hold": held, "booking": made["id"]}
    nowhere = {"hold": held[:-1] + ("b" if held[-1] == "a" else "a"), "booking": "b-" + "0" * 24}
    calls = [one for one in OPERATIONS if one.who == "holder" and set(one.parameters) & set(mine)]
    assert {one.name for one in calls} >= {"read_hold", "extend_hold", "read_booking", "cancel_booking", "list_tickets"}
    for one in calls:
        told = []
        for names in (mine, nowhere):
            body = BODIES.get(one.name, {} if one.method == "POST" else None)
            answer = await ben.call(one.method, one.path.removeprefix("/api/v1").format(**names), body)
            assert answer.code in ("not_found", "hold_not_found"), one.name
            told.append({name: value for name, value in answer.body.items() if name != "instance"})
        assert told[0] == told[1], one.name
    assert (await ben.book(made["hold"])).code == "hold_not_found"
    assert (await anna.call("GET", f"/holds/{held}")).status == 200
    assert (await anna.call("GET", f"/bookings/{made['id']}")).body["state"] == "pending_payment"


@pytest.mark.parametrize("token", [None, "nonsense", "lmlb_" + "0" * 64, "a.b.c"])
async def test_without_a_right_token_nothing_is_shown(anna: Visitor, token: str | None) -> None:
    made = await anna.booked(0)
    expected = {"unauthorized", "not_found"}
    assert (await anna.call("GET", f"/bookings/{made['id']}", token=token)).code in expected
    assert (await anna.call("POST", f"/bookings/{made['id']}/cancel", {}, token=token)).code in expected
    assert (await anna.call("GET", "/bookings", token=token)).code == "unauthorized"
    assert (await anna.call("POST", "/bookings", {"hold": "1-a", "buyer": BUYER}, token=token)).code == "unauthorized"


@pytest.mark.parametrize("name", ["b-1", "%00", "..%2F..", "b" * 65, "ü", "b-{x}", "' OR 1=1"])
async def test_ids_that_no_booking_can_have(anna: Visitor, name: str) -> None:
    assert (await anna.call("GET", f"/bookings/{name}")).status == 404


async def test_bookings_are_listed_by_pages_the_newest_first(anna: Visitor, ben: Visitor) -> None:
    made = [(await anna.booked(seat))["id"] for seat in (0, 2, 4)]
    await ben.booked(6)
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = (await anna.call("GET", f"/bookings?limit=1{cursor}")).body
        seen += [one["id"] for one in page["items"]]
        cursor = f"&cursor={page['next']}"
    assert (seen, page["next"]) == (made[::-1], None)
    whole = (await anna.call("GET", "/bookings")).body
    assert [one["id"] for one in whole["items"]] == made[::-1]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=-1", "limit=1000000", "limit=x", "limit=1.5", "limit=٣"),
        *("cursor=", "cursor=%F0", "cursor=AAAA", "cursor=%00"),
        "cursor=" + base64.urlsafe_b64encode(b"2026-01-01T00:00:00 b-1").decode(),
        "cursor=" + base64.urlsafe_b64encode(b"2026-01-01T00:00:00+00:00 b/1").decode(),
        "cursor=" + base64.urlsafe_b64encode(b"0001-01-01T00:00:00+23:00 b-1").decode(),
        "cursor=" + base64.urlsafe_b64encode(b"9999-12-31T23:59:59-23:00 b-1").decode(),
    ],
)
async def test_pages_that_are_none(anna: Visitor, query: str) -> None:
    answer = await anna.call("GET", f"/bookings?{query}")
    assert (answer.status, answer.code) == (422, "invalid_message")


# --- Bad input

ROWS: list[tuple[str, Any]] = [
    ("no body", b""),
    ("a list", []),
    ("no hold", {"buyer": BUYER}),
    ("no buyer", {"hold": "H"}),
    ("hold a number", {"hold": 1, "buyer": BUYER}),
    ("hold with a slash", {"hold": "a/b", "buyer": BUYER}),
    ("hold with braces", {"hold": "{other}", "buyer": BUYER}),
    ("hold too long", {"hold": "a" * 10_000, "buyer": BUYER}),
    ("no name", {"hold": "H", "buyer": {"email": "a@example.org"}}),
    ("empty name", {"hold": "H", "buyer": {**BUYER, "name": ""}}),
    ("name with NUL", {"hold": "H", "buyer": {**BUYER, "name": "a\0b"}}),
    ("name too long", {"hold": "H", "buyer": {**BUYER, "name": "a" * 10_000}}),
    ("no e-mail", {"hold": "H", "buyer": {"name": "Anna"}}),
    *(
        (f"e-mail {mail[:20]!r}", {"hold": "H", "buyer": {**BUYER, "email": mail}})
        for mail in (
            *(
                "",
                "anna",
                "@",
                "anna@",
                "@example.org",
                "a b@example.org",
                "a@b@c",
                "a@example.org\n",
                "\na@example.org",
            ),
            *("a@exam\0ple.org", "a@example.org\r\nBcc: b@example.org", "a@" + "b" * 300 + ".org", "a@example.org "),
        )
    ),
    ("e-mail a list", {"hold": "H", "buyer": {**BUYER, "email": ["a@example.org"]}}),
    *(
        (f"expected_amount {amount!r}", {"hold": "H", "buyer": BUYER, "expected_amount": amount})
        for amount in (-1, 1.5, "4750", True, 2**53, 2**63, 1e300)
    ),
    *(
        (f"mass assignment of {field}", {"hold": "H", "buyer": BUYER, field: value})
        for field, value in {
            "amount": 1,
            "price": 1,
            "fee": 0,
            "currency": "JPY",
            "state": "confirmed",
            "holder": "ben",
            "role": "admin",
            "id": "b-1",
            "expires_at": "2099-01-01T00:00:00Z",
            "payment": {"status": "none"},
            "seats": [],
            "__proto__": {},
        }.items()
    ),
    ("mass assignment in the buyer", {"hold": "H", "buyer": {**BUYER, "role": "admin"}}),
]


@pytest.mark.parametrize("body", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_bodies_that_are_refused_and_change_nothing(anna: Visitor, body: Any) -> None:
    if isinstance(body, dict) and body.get("hold") == "H":
        body = {**body, "hold": await anna.hold(0)}
    answer = await anna.call("POST", "/bookings", body)
    assert answer.status in (400, 422), answer.body
    assert answer.code in ("invalid_message", "invalid_json")
    assert (await anna.call("GET", "/bookings")).body["items"] == []
    if isinstance(body, dict) and len(str(body.get("hold", ""))) == 22:
        assert (await anna.call("GET", f"/holds/{body['hold']}")).body["state"] == "active"


async def test_another_price_is_a_conflict_and_the_hold_stays(anna: Visitor) -> None:
    hold = await anna.hold(0)
    assert (await anna.book(hold, expected_amount=1)).code == "price_changed"
    assert (await anna.book(hold, expected_amount=SEAT)).status == 201


# --- Money back


async def test_a_clerk_gives_a_line_back_and_the_booking_shows_it(
    anna: Visitor, ben: Visitor, shop: LiveServer, stripe_double: StripeDouble
) -> None:
    await stripe_double.steering.change_settings(webhook_url=f"{shop.url}/api/v1/webhooks/stripe")
    made = await anna.booked(0, 1)
    await pay(made)
    path = f"/bookings/{made['id']}"

    async def is_confirmed() -> bool:
        return bool((await anna.call("GET", path)).body["state"] == "confirmed")

    await eventually(is_confirmed)
    clerk = (await shop.sign_in())["Authorization"].removeprefix("Bearer ")

    async def refund(body: Any, *, token: str = clerk, key: str | None = "", of: str = path) -> Answer:
        return await anna.call("POST", f"{of}/refund", body, token=token, key=key)

    wish = {"lines": [1], "reason": "a broken chair"}
    for body in ({}, {"reason": ""}, {**wish, "amount": 1}, {**wish, "lines": []}, {**wish, "lines": [1, 1]},
                 {**wish, "lines": ["1"]}, {**wish, "lines": [9]}, {"reason": "x", "amount": 0},
                 {"reason": "x", "amount": -1}, {"reason": "x", "amount": 1.5}, {**wish, "staff": "me"}):  # fmt: skip
        assert (await refund(body)).code == "invalid_message", body
    assert (await refund({"reason": "x", "amount": 2 * SEAT + 1})).code == "conflict"
    assert (await refund(wish, token=ben.token)).code == "unauthorized"
    assert (await refund(wish, token=made["access"])).code == "unauthorized"
    assert (await refund(wish, of="/bookings/b-none")).code == "not_found"
    assert (await refund(wish, key=None)).code == "idempotency_required"
    unpaid = await ben.booked(5)
    assert (await refund({"reason": "x"}, of=f"/bookings/{unpaid['id']}")).code == "conflict"
    assert (await stripe_double.steering.ledger()).refunds == []

    answer = await refund(wish, key="one")
    assert (answer.status, answer.body["amount"], answer.body["lines"]) == (201, SEAT, [1])
    assert (answer.body["state"], answer.body["reason"]) == ("succeeded", "a broken chair")
    assert (await refund(wish, key="one")).body == answer.body
    assert (await refund({**wish, "lines": [2]}, key="one")).code == "idempotency_mismatch"
    assert (await refund(wish)).code == "conflict", "that line was given back"
    shown = (await anna.call("GET", path)).body
    assert (shown["state"], shown["refunds"]) == ("partially_refunded", [answer.body])
    assert (await anna.call("GET", "/bookings")).body["items"][0]["refunds"] == [answer.body]
    assert (await anna.call("POST", f"{path}/cancel", key="")).body == shown, "what is paid stays as it is"
    held = await ben.hold(0)
    assert held, "the seat is on sale again"

    [ticket] = (await anna.call("GET", f"{path}/tickets")).body["items"]
    assert (ticket["line"], ticket["seat_id"], ticket["state"]) == (2, made["lines"][1]["seat_id"], "valid")
    assert (await ben.call("GET", f"{path}/tickets")).code == "not_found"
    assert (await ben.call("GET", f"{path}/tickets", token=made["access"])).status == 200
    assert "qr" not in ticket
    [drawn] = (await anna.call("GET", f"{path}/tickets?draw=qr", token=clerk)).body["items"]
    assert drawn.pop("qr")["path"].startswith("M0 0h7v1")
    assert drawn == ticket
    assert (await anna.call("GET", f"{path}/tickets?draw=pdf")).code == "invalid_message"

    # At the counter it is seen with its buyer, and without what only the buyer has; to give it up is theirs, too.
    seen = (await anna.call("GET", path, token=clerk)).body
    assert seen == {name: value for name, value in shown.items() if name != "access"} | {"buyer": BUYER}
    assert (await anna.call("GET", "/bookings/b-none", token=clerk)).code == "not_found"
    assert (await anna.call("POST", f"{path}/cancel", token=clerk)).code == "not_found"
    fresh = await anna.call("POST", f"{path}/reprint", {"reason": "wet"}, token=clerk)
    assert (fresh.status, len(fresh.body["items"])) == (201, 1)
    code = fresh.body["items"][0]["ticket"]
    assert code != ticket["ticket"]

    async def scan(code: str, *, token: str = clerk, key: str = "", gate: str = "north") -> Answer:
        body = {"ticket": code, "event": shop.event, "gate": gate}
        return await anna.call("POST", "/tickets/scan", body, token=token, key=key)

    assert (await scan(code, token=ben.token)).code == "unauthorized"
    assert (await scan("t-none")).code == "not_found"
    assert (await scan(ticket["ticket"])).body["outcome"] == "void"
    first = await scan(code, key="first")
    assert (first.status, first.body["outcome"], first.body["booking"]) == (200, "admitted", made["id"])
    assert (await scan(code, key="first")).body == first.body
    second = await scan(code, gate="south")
    assert second.body == {**first.body, "outcome": "used"}, "when and where the first was"
    assert (await anna.call("POST", f"{path}/reprint", {"reason": "wet"}, token=clerk)).code == "conflict"
    assert (await anna.call("POST", "/bookings/b-none/reprint", {"reason": "x"}, token=clerk)).code == "not_found"
    assert (await refund({"reason": "the band is ill"})).body["amount"] == SEAT
    assert (await anna.call("GET", path)).body["state"] == "refunded"
    assert (await stripe_double.steering.ledger()).net_captured() == {"eur": 0}


# --- Idempotency


async def test_the_same_key_is_answered_the_same_and_another_body_refused(anna: Visitor, ben: Visitor) -> None:
    hold = await anna.hold(0)
    first = await anna.book(hold, key="one")
    assert (await anna.book(hold, key="one")).body == first.body
    assert (await anna.book(hold, key="one", expected_amount=SEAT)).code == "idempotency_mismatch"
    assert (await anna.book(hold, key="two")).code == "hold_in_checkout"
    other = await ben.book(await ben.hold(3), key="one")
    assert (other.status, other.body["id"] != first.body["id"]) == (201, True)


@pytest.mark.parametrize("key", [None, "", "k" * 256, "a b", "ü"])
async def test_keys_that_are_none(anna: Visitor, key: str | None) -> None:
    body = {"hold": await anna.hold(0), "buyer": BUYER}
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await anna.call("POST", "/bookings", body, key=None, headers=headers)
    assert (answer.status, answer.code) == (400, "idempotency_required")


async def test_fifty_at_once_are_one_booking(anna: Visitor, stripe_double: StripeDouble) -> None:
    hold = await anna.hold(0)
    answers = await asyncio.gather(*(anna.book(hold, key="one") for _ in range(50)))
    made = [answer for answer in answers if answer.status < 300]
    assert len({answer.body["id"] for answer in made}) == 1
    assert {answer.code for answer in answers if answer.status >= 300} <= {"idempotency_in_progress", "rate_limited"}
    assert len((await eventually(lambda: own_bookings(anna))).body["items"]) == 1
    assert len((await stripe_double.steering.ledger()).intents) == 1


async def own_bookings(anna: Visitor) -> Answer | None:
    """Once she may ask again."""
    answer = await anna.call("GET", "/bookings")
    return None if answer.status == 429 else answer


async def test_a_forgotten_key_still_knows_its_booking(anna: Visitor, shop: LiveServer) -> None:
    """Another body was answered with the first booking, where the key's row was gone: after a 503, or a day."""
    first = await anna.book(await anna.hold(0), key="one")
    async with shop.pool() as pool:
        await pool.execute("DELETE FROM idempotency_key WHERE key = 'one'")
    second = await anna.hold(3)
    assert (await anna.book(second, key="one")).code == "idempotency_mismatch"
    assert (await anna.call("GET", f"/holds/{second}")).body["state"] == "active"
    async with shop.pool() as pool:
        await pool.execute("DELETE FROM idempotency_key WHERE key = 'one'")
    assert (await anna.book(first.body["hold"], key="one")).body["id"] == first.body["id"]


MARK_SECONDS = 10


WAITING_PORT = """
    SELECT client_port FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'
"""


def local_ports(pid: int) -> set[int]:
    return {connection.laddr.port for connection in psutil.Process(pid).net_connections("tcp") if connection.laddr}


async def test_a_worker_that_died_between_mark_and_claim_is_finished_by_the_same_key(
    own_server: OwnServer, stripe_double: StripeDouble
) -> None:
    """The dead worker's row kept the key for 60 s; the sweep ended the mark after 30, and the key was used up."""
    server, _ = await own_server(
        LML_STRIPE_API_KEY=stripe_double.secret_key,
        LML_STRIPE_PUBLISHABLE_KEY=stripe_double.publishable_key,
        LML_STRIPE_API_BASE=stripe_double.url,
        LML_MARK_SECONDS=str(MARK_SECONDS),
        workers=2,
    )
    async with server.session() as http:
        visitor = await Visitor(server, http, await seats_of(server)).sign()
        hold = await visitor.hold(0)
        async with server.pool() as pool, pool.acquire() as connected:
            # What a claim waits for: the worker has marked the hold, and gets no further.
            lock = "SELECT pg_advisory_lock(7202, number::int) FROM event WHERE id = $1"
            await connected.execute(lock, server.event)
            asleep = asyncio.create_task(visitor.book(hold, key="one"))

            async def is_marked() -> bool:
                return bool((await visitor.call("GET", f"/holds/{hold}")).body["state"] == "checkout")

            await eventually(is_marked)
            # The other one is there at once, however long it takes to start a third.
            port = await eventually(lambda: connected.fetchval(WAITING_PORT))
            (worker,) = (pid for pid in server.workers() if port in local_ports(pid))
            os.kill(worker, signal.SIGKILL)
            assert isinstance((await asyncio.gather(asleep, return_exceptions=True))[0], aiohttp.ClientError)
            await connected.execute("SELECT pg_advisory_unlock_all()")

        heard: list[str] = []

        async def is_answered() -> Answer | None:
            try:
                answer = await visitor.book(hold, key="one")
            except aiohttp.ClientError:
                return None  # the next worker is on its way
            if answer.status < 300:
                return answer
            heard.append(answer.code)
            assert answer.code in ("idempotency_in_progress", "rate_limited", "unavailable"), answer.body
            return None

        made: Answer = await eventually(is_answered, 60)
        assert made.body["seats"] == [visitor.seat_ids[0]]
        assert "idempotency_in_progress" in heard, "it was not the running time that let the key go"

        async def is_booked() -> bool:
            answer = await visitor.call("GET", f"/holds/{hold}")
            # Who has just asked so often may have to wait.
            assert answer.status == 200 or answer.code == "rate_limited", answer.body
            return answer.status == 200 and bool(answer.body["booking"] == made.body["id"])

        await eventually(is_booked)


# --- The webhook


def event_body(intent: str, name: str, kind: str = "payment_intent.amount_capturable_updated") -> bytes:
    about = {"id": intent, "object": "payment_intent"}
    return json.dumps({"id": name, "type": kind, "livemode": False, "data": {"object": about}}).encode()


def signature(body: bytes, secret: str, *, ahead: int = 0) -> str:
    stamp = int(time.time()) + ahead
    return f"t={stamp},v1={hmac.digest(secret.encode(), f'{stamp}.'.encode() + body, 'sha256').hex()}"


async def post_webhook(anna: Visitor, body: bytes, *signatures: str) -> int:
    headers = [("Stripe-Signature", one) for one in signatures]
    async with anna.http.post("/api/v1/webhooks/stripe", data=io.BytesIO(body), headers=headers) as answer:
        return answer.status


async def test_a_webhook_finishes_a_purchase_and_its_copies_change_nothing(
    anna: Visitor, shop: LiveServer, stripe_double: StripeDouble
) -> None:
    """The server's poller sleeps for an hour: only the webhook can have told it."""
    made = await anna.booked(0)
    await pay(made)
    intent = made["payment"]["client_secret"].partition("_secret_")[0]
    body = event_body(intent, f"evt_{secrets.token_hex(8)}")
    for _ in range(3):
        assert await post_webhook(anna, body, signature(body, stripe_double.webhook_secret)) == 200

    async def is_confirmed() -> bool:
        shown = await anna.call("GET", f"/bookings/{made['id']}")
        return bool(shown.body["state"] == "confirmed")

    await eventually(is_confirmed)
    async with shop.pool() as pool:
        assert await pool.fetchval("SELECT count(*) FROM stripe_notice WHERE intent_id = $1", intent) == 1
    ledger = await stripe_double.steering.ledger()
    assert ledger.net_captured() == {"eur": SEAT}


async def test_the_doubles_own_webhooks_reach_the_server(
    anna: Visitor, shop: LiveServer, stripe_double: StripeDouble
) -> None:
    await stripe_double.steering.change_settings(webhook_url=f"{shop.url}/api/v1/webhooks/stripe")
    made = await anna.booked(0)
    await pay(made)

    async def is_confirmed() -> bool:
        shown = await anna.call("GET", f"/bookings/{made['id']}")
        return bool(shown.body["state"] == "confirmed")

    await eventually(is_confirmed)


async def test_a_forged_webhook_is_400_and_leaves_no_trace(
    anna: Visitor, shop: LiveServer, stripe_double: StripeDouble
) -> None:
    name = f"evt_{secrets.token_hex(8)}"
    body = event_body("pi_1", name)
    right = signature(body, stripe_double.webhook_secret)
    for signatures in (
        (),
        ("",),
        ("t=1,v1=00",),
        (right, right),
        (signature(body, "whsec_other"),),
        (signature(body, stripe_double.webhook_secret, ahead=-301),),
        (signature(body, stripe_double.webhook_secret, ahead=600),),
        (f"{right.partition(',')[0]},{right}",),
        (right.replace("v1=", "v0="),),
    ):
        assert await post_webhook(anna, body, *signatures) == 400, signatures
    assert await post_webhook(anna, body + b" ", right) == 400
    assert await post_webhook(anna, b"", right) == 400
    assert await post_webhook(anna, b"x" * (limits.BODY_BYTES_MAX + 1), right) == 413
    async with shop.pool() as pool:
        assert await pool.fetchval("SELECT count(*) FROM stripe_notice WHERE id = $1", name) == 0


async def test_a_connected_account_is_looked_at_if_it_is_ours(
    anna: Visitor, shop: LiveServer, stripe_double: StripeDouble
) -> None:
    """Of other accounts, and of what happens in ours beside, nothing is heard."""
    organisation, ours = f"org-{secrets.token_hex(6)}", f"acct_{secrets.token_hex(6)}"
    async with shop.pool() as pool:
        await Organisations(pool).create(NewOrganisation(id=organisation, name="City Opera", currency="EUR"))
        await pool.execute(
            "INSERT INTO connected_account (organisation_id, country, account_id, looked_at)"
            " VALUES ($1, 'DE', $2, now())",
            organisation,
            ours,
        )
        for account, about, status in (
            ("acct_other", "acct_other", 400),
            (ours, "acct_other", 400),
            (ours, "pi_1", 400),
            ("acct_other", "po_1", 400),
            (ours, ours, 200),
        ):
            kind = {"acct": "account", "po": "payout"}.get(about.partition("_")[0], "payment_intent")
            event = {"id": f"evt_{secrets.token_hex(8)}", "type": f"{kind}.updated", "livemode": False}
            body = json.dumps({**event, "account": account, "data": {"object": {"id": about, "object": kind}}}).encode()
            assert await post_webhook(anna, body, signature(body, stripe_double.webhook_secret)) == status
            noticed = "SELECT noticed IS NOT NULL FROM connected_account WHERE organisation_id = $1"
            assert await pool.fetchval(noticed, organisation) == (status == 200)
        payout = f"po_{secrets.token_hex(6)}"
        event = {"id": f"evt_{secrets.token_hex(8)}", "type": "payout.paid", "livemode": False, "account": ours}
        body = json.dumps({**event, "data": {"object": {"id": payout, "object": "payout"}}}).encode()
        for _ in range(2):
            assert await post_webhook(anna, body, signature(body, stripe_double.webhook_secret)) == 200
        kept = await pool.fetch("SELECT account_id, payout_id FROM stripe_notice WHERE id = $1", event["id"])
        assert [tuple(row) for row in kept] == [(ours, payout)]


async def test_without_stripe_what_costs_nothing_is_booked_and_nothing_else(live_server: LiveServer) -> None:
    """A server without a Stripe key refused free bookings, too."""
    async with live_server.session() as http:
        visitor = await Visitor(live_server, http, await seats_of(live_server)).sign()
        hold = await visitor.hold(0)
        answer = await visitor.book(hold)
        assert (answer.status, answer.code) == (503, "unavailable")
        assert (await visitor.call("GET", f"/holds/{hold}")).body["state"] == "active"
        free = {"prices": [{"category": name, "amount": 0} for name in ("Front", "Rear", "Standing")]}
        staff = await live_server.sign_in()
        async with http.patch(f"/api/v1/events/{live_server.event}", json=free, headers=staff) as changed:
            assert changed.status == 200, await changed.text()

        async def is_booked() -> Any:  # another worker's price list may be a moment old
            made = await visitor.book(hold, expected_amount=0)
            return made if made.status == 201 else None

        made = await eventually(is_booked)
        assert (made.body["state"], made.body["payment"]) == ("confirmed", {"status": "none"})


async def test_without_a_secret_there_is_no_webhook(live_server: LiveServer) -> None:
    async with live_server.session() as http, http.post("/api/v1/webhooks/stripe", data=b"{}") as answer:
        assert answer.status == 404


async def test_a_worker_matches_money_and_tells_what_differs(anna: Visitor, shop: LiveServer) -> None:
    async def metric(name: str) -> float:
        async with anna.http.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), 0)

    booking = (await anna.booked(3))["id"]
    async with shop.pool() as pool:
        past = "state = 'confirmed', changed = now() - interval '2 hours'"
        async with pool.acquire() as connected, connected.transaction():
            await connected.execute("SET LOCAL session_replication_role = replica")  # past the table of moves
            await connected.execute(f"UPDATE booking SET {past} WHERE id = $1", booking)
            await connected.execute("UPDATE booking_history SET at = at - interval '2 hours'")

        async def is_told() -> bool:
            return await metric('lml_money_differences{kind="booking_without_money"}') > 0

        await eventually(is_told, 60)
        found = await pool.fetch("SELECT differences FROM money_match ORDER BY number DESC LIMIT 1")
        assert booking in found[0]["differences"]
        assert await metric("lml_money_matched_timestamp_seconds") > 0
        # And no more of it here.
        await pool.execute("UPDATE money_match SET until = now() + interval '1 day'")
