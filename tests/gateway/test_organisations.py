"""Organisations over REST and by command: who may what, whose they are, and which events are theirs."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner
from databases import as_server
from halls import Halls, new_event

from lml_live.booking.bank_payouts import BankPayouts
from lml_live.booking.bookings import Bookings
from lml_live.booking.organisations import Organisations
from lml_live.booking.statements import Statements
from lml_live.booking.surplus import Surplus
from lml_live.cli import lml
from lml_live.errors import InvalidInput
from lml_live.gateway import organisations
from lml_live.gateway.callers import REACH
from lml_live.gateway.idempotency import IdempotencyKeys
from lml_live.gateway.organisations import OrganisationServices
from lml_live.gateway.problems import problems_middleware
from lml_live.guard.reach import Reach
from lml_live.guard.staff import StaffDesk
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import EventChanges

PASSWORD = "correct horse battery"
OPERA = {"id": "opera", "name": "City Opera", "currency": "EUR", "fee_basis_points": 500, "fee_per_ticket": 50}


class Office:
    """A server with organisations, an administrator, two managers and a clerk."""

    def __init__(self, client: TestClient[Any, Any], pool: Pool) -> None:
        self.client, self.pool = client, pool
        self.tokens: dict[str, str] = {}
        self._keys = 0

    async def call(
        self, method: str, path: str, body: object = None, *, who: str | None = "admin", key: str | None = None
    ) -> ClientResponse:
        self._keys += 1
        headers = {"Idempotency-Key": key or f"k{self._keys}", "Content-Type": "application/json"}
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        data = None if body is None else msgspec.json.encode(body)
        return await self.client.request(method, f"/api/v1/organisations{path}", data=data, headers=headers)

    async def answer(self, status: int, *call: Any, **more: Any) -> Any:
        answered = await self.call(*call, **more)
        text = await answered.text()
        assert answered.status == status, (call, text)
        return msgspec.json.decode(text) if text else None


@pytest.fixture(name="office")
async def office_fixture(postgres_dsn: str) -> AsyncIterator[Office]:
    pool = await postgres.connect_pool(as_server(postgres_dsn))
    desk = StaffDesk(pool)
    app = web.Application(middlewares=[problems_middleware])
    services = OrganisationServices(
        *(desk, Organisations(pool), Statements(pool), IdempotencyKeys(pool), None, "http://127.0.0.1/organisation"),
        surplus=Surplus(pool, Bookings(pool)),
        payouts=BankPayouts(pool),
    )
    app[REACH] = Reach(pool)
    app.add_routes(organisations.routes(services))
    client: TestClient[Any, Any] = TestClient(TestServer(app))
    await client.start_server()
    office = Office(client, pool)
    for name, role in (("admin", "admin"), ("anna", "manager"), ("ben", "manager"), ("clerk", "box_office")):
        await desk.add_staff(f"{name}@example.com", PASSWORD, (role,))  # type: ignore[arg-type]
        office.tokens[name] = (await desk.sign_in(f"{name}@example.com", PASSWORD)).token
    office.tokens["stranger"] = "staff-nobody"
    await office.answer(201, "POST", "", OPERA)
    await office.answer(201, "POST", "", {"id": "theatre", "name": "Theatre", "currency": "EUR"})
    await office.answer(204, "PUT", "/opera/members", {"email": "Anna@example.com"})
    yield office
    await client.close()
    await pool.close()


# who · method · path · body · status
ALLOWED: list[tuple[str | None, str, str, object, int]] = [
    (None, "GET", "", None, 401),
    ("stranger", "GET", "/opera", None, 401),
    ("clerk", "GET", "/opera", None, 403),
    ("clerk", "POST", "/opera/venues", {"name": "Hall"}, 403),
    ("anna", "POST", "", {"name": "Mine", "currency": "EUR"}, 403),
    ("anna", "PATCH", "/opera", {"fee_basis_points": 0}, 403),
    ("anna", "PUT", "/opera/members", {"email": "ben@example.com"}, 403),
    ("anna", "GET", "/opera", None, 200),
    ("anna", "GET", "/opera/venues", None, 200),
    ("admin", "GET", "/theatre", None, 200),
    ("admin", "PATCH", "/opera", {"hold_back_days": 3}, 200),
    ("admin", "PATCH", "/none", {"hold_back_days": 3}, 404),
    ("admin", "PUT", "/opera/members", {"email": "nobody@example.com"}, 404),
    ("admin", "PUT", "/none/members", {"email": "anna@example.com"}, 404),
    # What is another's is as if it were not there.
    ("ben", "GET", "/opera", None, 404),
    ("ben", "GET", "/opera/venues", None, 404),
    ("ben", "POST", "/opera/venues", {"name": "Hall"}, 404),
    ("ben", "PUT", "/opera/venues/house/events/aida", None, 404),
    ("ben", "DELETE", "/opera/venues/house/events/aida", None, 404),
    ("anna", "GET", "/theatre", None, 404),
    ("anna", "GET", "/nobody", None, 404),
    ("anna", "GET", "/a.b", None, 404),
    # Where the money goes is nobody's to say.
    ("admin", "POST", "", {**OPERA, "id": "x", "account": "acct_1"}, 422),
    ("admin", "PATCH", "/opera", {"account_id": "acct_1"}, 422),
    ("admin", "PATCH", "/opera", {"currency": "USD"}, 422),
    ("admin", "POST", "", {**OPERA, "id": "x", "currency": "XYZ"}, 422),
    ("admin", "POST", "", {**OPERA, "id": "x", "fee_basis_points": 10_001}, 422),
    ("admin", "POST", "", {**OPERA, "id": "x", "fee_per_ticket": -1}, 422),
    ("admin", "POST", "", {**OPERA, "id": "x", "hold_back_days": 1.5}, 422),
    ("admin", "POST", "", {**OPERA, "id": "x", "hold_back_days": True}, 422),
    ("admin", "POST", "", OPERA, 409),
    ("anna", "GET", "?limit=0", None, 422),
    ("anna", "GET", "?cursor=x", None, 422),
]


async def test_who_may_what_and_whose_it_is(office: Office) -> None:
    met = [(*row[:4], (await office.call(*row[1:4], who=row[0])).status) for row in ALLOWED]
    assert met == ALLOWED
    answers = [await office.answer(404, "GET", path, who="ben") for path in ("/opera", "/nobody")]
    assert answers[0] == answers[1], "what is another's and what is not there are told the same"


async def test_an_organisation_is_made_once_shown_and_changed(office: Office) -> None:
    wish = {"name": "Choir", "currency": "CHF"}
    made = [await office.answer(201, "POST", "", wish, key="once") for _ in range(2)]
    assert made[0] == made[1]
    shown = await office.answer(200, "GET", f"/{made[0]['id']}")
    assert shown == made[0]
    del shown["created"], shown["id"]
    fees = {"hold_back_days": 7, "fee_basis_points": 0, "fee_per_ticket": 0}
    assert shown == {**wish, **fees, "account": None}
    changed = await office.answer(200, "PATCH", "/opera", {"fee_basis_points": 250})
    assert (changed["fee_basis_points"], changed["fee_per_ticket"], changed["hold_back_days"]) == (250, 50, 7)
    terms = await office.pool.fetch("SELECT * FROM organisation_terms WHERE organisation_id = 'opera' ORDER BY since")
    assert [row["fee_basis_points"] for row in terms] == [500, 250], "what was good before stays on record"
    trail = await office.pool.fetch("SELECT action, actor_kind FROM audit_record WHERE subject_id = 'opera'")
    assert {"organisation.made", "terms.made", "member.made"} <= {row["action"] for row in trail}
    assert {row["actor_kind"] for row in trail} == {"staff"}


async def test_lists_are_ones_own_by_pages(office: Office) -> None:
    assert [one["id"] for one in (await office.answer(200, "GET", "", who="anna"))["items"]] == ["opera"]
    assert (await office.answer(200, "GET", "", who="ben"))["items"] == []
    first = await office.answer(200, "GET", "?limit=1")
    second = await office.answer(200, "GET", f"?limit=1&cursor={first['next']}")
    assert [one["id"] for one in first["items"] + second["items"]] == ["opera", "theatre"]
    assert second["next"] is None
    for name in ("one", "two"):
        await office.answer(201, "POST", "/opera/venues", {"id": name, "name": name}, who="anna")
    await office.answer(409, "POST", "/theatre/venues", {"id": "one", "name": "mine"})
    first = await office.answer(200, "GET", "/opera/venues?limit=1", who="anna")
    second = await office.answer(200, "GET", f"/opera/venues?limit=1&cursor={first['next']}", who="anna")
    assert [one["id"] for one in first["items"] + second["items"]] == ["one", "two"]


async def test_whose_an_event_is_is_settled_before_anything_is_sold(office: Office, postgres_dsn: str) -> None:
    catalogue = Catalogue(office.pool, Halls())
    for event, currency in (("aida", "EUR"), ("carmen", "USD")):
        await catalogue.create_event(new_event(id=event, currency=currency))
    await office.answer(201, "POST", "/opera/venues", {"id": "house", "name": "House"}, who="anna")
    await office.answer(201, "POST", "/theatre/venues", {"id": "stage", "name": "Stage"})
    at = "/opera/venues/house/events"
    for _ in range(2):
        await office.answer(204, "PUT", f"{at}/aida", who="anna")
    assert "USD" not in str(await office.answer(409, "PUT", f"{at}/carmen", who="anna"))
    await office.answer(404, "PUT", f"{at}/nothing", who="anna")
    await office.answer(404, "PUT", "/opera/venues/stage/events/aida", who="anna")
    await office.answer(409, "PUT", "/theatre/venues/stage/events/aida")
    await office.answer(404, "DELETE", "/theatre/venues/stage/events/aida")
    for _ in range(2):
        await office.answer(204, "DELETE", f"{at}/aida", who="anna")
    await office.answer(204, "PUT", "/theatre/venues/stage/events/aida")
    # What the house sells already no manager takes from it.
    await catalogue.create_event(new_event(id="tosca"))
    await catalogue.set_state("tosca", "open")
    await office.answer(409, "PUT", f"{at}/tosca", who="anna")
    await office.answer(204, "PUT", f"{at}/tosca")
    await office.answer(204, "PUT", f"{at}/tosca", who="anna")
    owner = await asyncpg.connect(postgres_dsn)
    now = datetime.now(UTC)
    await owner.execute(
        "INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end, buyer_name,"
        " buyer_email, amount, currency, prices_version, expires_at)"
        " VALUES ('b-1', 'aida', 'h', 'anna', 1, 'pending_payment', $1, $1, 'Anna', 'a@b', 0, 'EUR', 1, $1)",
        now,
    )
    await owner.close()
    await office.answer(204, "PUT", "/theatre/venues/stage/events/aida")
    await office.answer(409, "DELETE", "/theatre/venues/stage/events/aida")
    # Nor has anybody what it brings by saying that it was long ago.
    ago = EventChanges(starts_at=now - timedelta(days=30))
    with pytest.raises(InvalidInput) as error:
        await catalogue.update_event("aida", ago)
    assert [one.path for one in error.value.errors] == ["starts_at"]
    assert (await catalogue.update_event("aida", EventChanges(starts_at=now + timedelta(days=1)))).id == "aida"
    assert (await catalogue.update_event("carmen", ago)).id == "carmen", "the house's own is paid to nobody"


async def test_the_same_by_command(office: Office, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LML_POSTGRES_DSN", as_server(postgres_dsn))

    async def run(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, lml, ["organisation", *arguments])
        return done.exit_code, done.stdout if done.exit_code == 0 else done.stderr

    await Catalogue(office.pool, Halls()).create_event(new_event(id="aida"))
    assert await run("create", "Choir", "--currency", "EUR", "--id", "choir", "--fee-per-ticket", "20") == (
        0,
        "choir\n",
    )
    assert (await run("create", "Choir", "--currency", "EUR", "--id", "choir"))[0] == 1
    assert (await run("create", "Choir", "--currency", "EUR", "--hold-back-days", "400"))[0] == 1
    assert (await run("change", "choir", "--fee-basis-points", "300"))[0] == 0
    assert (await run("change", "choir"))[0] == 2
    assert await run("venue", "choir", "Hall", "--id", "hall") == (0, "hall\n")
    assert (await run("event", "choir", "hall", "aida"))[0] == 0
    assert (await run("event", "choir", "hall", "aida", "--remove"))[0] == 0
    assert (await run("event", "choir", "hall", "carmen"))[0] == 1
    assert (await run("member", "choir", "ben@example.com"))[0] == 0
    assert (await office.answer(200, "GET", "/choir", who="ben"))["fee_basis_points"] == 300
    assert (await run("member", "choir", "ben@example.com", "--remove"))[0] == 0
    await office.answer(404, "GET", "/choir", who="ben")
    listed = (await run("list"))[1].splitlines()
    assert listed[-1] == "choir\tEUR\t7\t300+20\tno account\tChoir"
