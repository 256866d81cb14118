"""Buyers sign in: by mail and password, on several devices, with what the browser held; over REST and the socket."""

import asyncio
import re
import secrets
from typing import Any

import aiohttp
import pytest
from lines import Lines
from serving import ADMIN, LiveServer
from waiting import eventually

from lml_live.client import LiveClient, ask_for_account, choose_password, sign_in, sign_out
from lml_live.errors import Refused
from lml_live.gateway import wire
from lml_live.gateway.tokens import HolderTokens
from lml_live.guard.accounts import Accounts
from lml_live.guard.passwords import Passwords

PASSWORD = "a horse of another colour"


class Buyer:
    """Somebody at a browser: an anonymous holder first."""

    def __init__(self, server: LiveServer, http: aiohttp.ClientSession) -> None:
        self.server, self.http = server, http
        self.token = ""
        self.email = f"anna-{secrets.token_hex(5)}@example.org"

    async def call(self, method: str, path: str, body: Any = None, *, status: int, key: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers["Idempotency-Key"] = key or secrets.token_hex(8)
        async with self.http.request(method, f"/api/v1{path}", json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return await answer.json() if text else None

    async def anonymous(self) -> str:
        self.token = ""
        made = await self.call("POST", "/holders", status=201)
        self.token = made["token"]
        return str(made["holder"])

    async def hold(self, *seats: int, status: int = 201) -> Any:
        layout = await self.call("GET", f"/events/{self.server.event}/layout", status=200)
        ids = [seat["seat_id"] for row in layout["sections"][0]["rows"] for seat in row["seats"]]
        body = {"seats": [ids[seat] for seat in seats]}
        return await self.call("POST", f"/events/{self.server.event}/holds", body, status=status)

    async def register(self) -> Any:
        """Asks for an account, and follows the link of the mail."""
        await self.call("POST", "/accounts", {"email": self.email}, status=202)
        return await self.choose(PASSWORD)

    async def choose(self, password: str, status: int = 201) -> Any:
        body = {"invitation": await invitation(self.server, self.email), "password": password}
        answer = await self.call("POST", "/accounts/password", body, status=status)
        self.token = answer.get("token", self.token)
        return answer

    async def sign_in(self, **more: Any) -> Any:
        answer = await self.call(
            "POST", "/sessions", {"email": self.email.upper(), "password": PASSWORD, **more}, status=201
        )
        self.token = answer["token"]
        return answer


async def invitation(server: LiveServer, email: str) -> str:
    """What the latest mail to an address has in its link."""
    async with server.pool() as pool:
        number = await pool.fetchval(
            "SELECT id FROM account_invitation WHERE email = $1 ORDER BY created DESC LIMIT 1", email
        )
        secret = await pool.fetchval("SELECT secret FROM house")
        return Accounts(pool, Passwords(), secret, sends_mail=True).invitation(number)


@pytest.fixture
async def buyer(live_server: LiveServer) -> Any:
    async with live_server.session() as http:
        yield Buyer(live_server, http)


async def test_an_account_by_mail_with_what_the_browser_held(buyer: Buyer) -> None:
    await buyer.anonymous()
    hold = await buyer.hold(1, 2)
    begun = await buyer.register()
    assert (begun["email"], begun["roles"]) == (buyer.email, [])
    assert begun["handed_over"] == {"holds": [hold["id"]], "kept": [], "bookings": [], "complete": True}
    assert (await buyer.call("GET", f"/holds/{hold['id']}", status=200))["seats"] == hold["seats"]


async def test_the_mail_leads_to_the_page(buyer: Buyer) -> None:
    await buyer.call("POST", "/accounts", {"email": buyer.email}, status=202)

    async def read(path: str) -> str:
        async with buyer.http.get(path) as answer:
            return await answer.text()

    async def link() -> str | None:
        found = re.search(rf'"(/mailbox/\d+)">[^<]*</a><br>{buyer.email}', await read("/mailbox"))
        return found and found[1]

    mail = await read(str(await eventually(link)))
    sent = re.search(r'href="[^"]*(/account#[^"]+)"', mail)
    assert sent is not None, mail
    assert sent[1] == f"/account#{await invitation(buyer.server, buyer.email)}"
    assert "Dear" not in mail


async def test_one_holder_on_all_devices_and_its_limits(buyer: Buyer) -> None:
    """Holds of a second browser come on top, as far as the limits go."""
    buyer.server.event = await buyer.server.new_event(max_seats=8)
    first = await buyer.register()
    await buyer.hold(*range(6))
    await buyer.anonymous()
    few, many = await buyer.hold(20, 21), await buyer.hold(30)
    second = await buyer.sign_in()
    assert (second["holder"], second["token"] != first["token"]) == (first["holder"], True)
    handed = second["handed_over"]
    assert handed["holds"] == [few["id"]]
    assert handed["kept"] == [{"hold": many["id"], "code": "limit_exceeded"}]
    assert (await buyer.hold(40, status=409))["code"] == "limit_exceeded"


async def test_signing_out_ends_token_and_sockets(buyer: Buyer, lines: Lines) -> None:
    await buyer.register()
    here = await lines.open(buyer.server, wire.JSON)
    await here.say("hello", token=buyer.token)
    assert (await here.receive())["type"] == "welcome"
    stays = await lines.open(buyer.server, wire.JSON)
    await buyer.call("DELETE", "/sessions", status=204)
    for method, path in (("GET", "/bookings"), ("POST", "/holders"), ("DELETE", "/sessions")):
        assert (await buyer.call(method, path, status=401))["code"] == "unauthorized"
    await stays.say("hello", token=buyer.token)
    assert (await stays.receive())["code"] == "unauthorized"
    while await here.receive(30) is not None:
        pass
    assert here.code == wire.CLOSE_UNAUTHORIZED
    await buyer.anonymous()


async def test_a_renewed_token_ends_with_its_session(buyer: Buyer) -> None:
    await buyer.register()
    renewed = (await buyer.call("POST", "/holders", status=201))["token"]
    async with buyer.server.pool() as pool:
        tokens = HolderTokens(await pool.fetchval("SELECT secret FROM house"))
    known = [tokens.read(token, 0) for token in (buyer.token, renewed)]
    assert known[0] is not None
    assert known[1] is not None
    assert (known[0].session, known[0].holder) == (known[1].session, known[1].holder) != ("", "")
    await buyer.call("DELETE", "/sessions", status=204)
    buyer.token = renewed
    await buyer.call("GET", "/bookings", status=401)


async def test_a_new_password_signs_out_everywhere_else(buyer: Buyer) -> None:
    await buyer.register()
    old = buyer.token
    await buyer.call("POST", "/accounts", {"email": buyer.email}, status=202)
    link = await invitation(buyer.server, buyer.email)
    await buyer.choose("another password of mine")
    await buyer.call("GET", "/bookings", status=200)
    used = {"invitation": link, "password": PASSWORD}
    assert (await buyer.call("POST", "/accounts/password", used, status=401))["code"] == "unauthorized"
    buyer.token = old
    await buyer.call("GET", "/bookings", status=401)
    buyer.token = ""
    await buyer.call("POST", "/sessions", {"email": buyer.email, "password": PASSWORD}, status=401)


async def test_nobody_finds_out_who_has_an_account(buyer: Buyer) -> None:
    await buyer.register()
    buyer.token = ""
    for email in (buyer.email, "nobody@example.org", ADMIN[0], "no\0body@example.org"):
        body = {"email": email, "password": "certainly not this one"}
        refusals = [
            await buyer.call("POST", "/sessions", {**body, **role}, status=401)
            for role in ({}, {"as": "buyer"}, {"as": "staff"})
        ]
        assert all(refusal == refusals[0] for refusal in refusals)
        assert (refusals[0]["code"], "seats" in refusals[0]) == ("unauthorized", False)
        if "\0" not in email:
            assert await buyer.call("POST", "/accounts", {"email": email}, status=202) is None


@pytest.mark.parametrize("forged", ["", "i-1", "i-1.00", "x.y.z", "i-0123456789abcdef0123." + "0" * 64])
async def test_a_forged_link_is_none(buyer: Buyer, forged: str) -> None:
    body = {"invitation": forged, "password": PASSWORD}
    assert await buyer.call("POST", "/accounts/password", body, status=401 if forged else 422)


async def test_what_a_dead_worker_left_is_finished_by_another(buyer: Buyer) -> None:
    """Killed between PostgreSQL and Redis: the hand-over is on record, and ends by itself."""
    account = (await buyer.register())["holder"]
    mine = buyer.token
    holder = await buyer.anonymous()
    hold = await buyer.hold(5)
    async with buyer.server.pool() as pool:
        await pool.execute("INSERT INTO hand_over (from_holder, to_holder) VALUES ($1, $2)", holder, account)
        buyer.token = mine

        async def done() -> bool:
            return bool(await pool.fetchval("SELECT done FROM hand_over WHERE from_holder = $1", holder))

        await eventually(done)
    assert (await buyer.call("GET", f"/holds/{hold['id']}", status=200))["id"] == hold["id"]


async def test_two_sign_ins_at_once_hand_over_once(buyer: Buyer) -> None:
    await buyer.register()
    await buyer.anonymous()
    hold = await buyer.hold(6)
    body = {"email": buyer.email, "password": PASSWORD}
    both = await asyncio.gather(*(buyer.call("POST", "/sessions", body, status=201) for _ in range(2)))
    given = [one["handed_over"]["holds"] for one in both]
    assert sorted(given) == [[], [hold["id"]]]


async def test_customers_of_the_counter_are_not_handed_over(buyer: Buyer) -> None:
    await buyer.register()
    staff = await buyer.server.sign_in()
    buyer.token = staff["Authorization"].removeprefix("Bearer ")
    buyer.token = (await buyer.call("POST", "/holders", status=201))["token"]
    assert "handed_over" not in await buyer.sign_in()


async def test_the_python_client_signs_in_and_out(buyer: Buyer) -> None:
    url, session = buyer.server.url, buyer.http
    await buyer.anonymous()
    hold = await buyer.hold(9)
    await ask_for_account(url, buyer.email, session=session)
    link = await invitation(buyer.server, buyer.email)
    begun = await choose_password(url, link, PASSWORD, token=buyer.token, session=session)
    assert begun.handed_over is not None
    assert begun.handed_over.holds == (hold["id"],)
    again = await sign_in(url, buyer.email, PASSWORD)
    async with LiveClient(url, buyer.server.event, token=again.token, session=session) as live:
        assert live.holder == begun.holder == again.holder
        assert list(live.holds) == [hold["id"]]
    await sign_out(url, again.token)
    with pytest.raises(Refused) as refused:
        await sign_out(url, again.token)
    assert refused.value.code == "unauthorized"
