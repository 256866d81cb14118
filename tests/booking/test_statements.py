"""A statement adds up, whatever has happened; and an organisation's way from its onboarding to it, over REST."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import PRICE, BookingHouse
from click.testing import CliRunner
from counter_house import Counter
from databases import past_guards
from payout_house import (  # noqa: F401
    DUE,
    account_of,
    nobody_is_known_fixture,
    organised,
    paid_out,
    their_event,
)

from lml_live.booking import statements
from lml_live.booking.organisations import Organisation, Organisations
from lml_live.booking.statements import StatementLine, Statements, write_csv
from lml_live.cli import lml
from lml_live.gateway import organisations as rest
from lml_live.gateway import paging
from lml_live.gateway.idempotency import IdempotencyKeys
from lml_live.gateway.organisations import OrganisationServices
from lml_live.gateway.problems import problems_middleware
from lml_live.guard.staff import Staff

MANAGERS = {"staff-anna": Staff("s-anna", "anna@example.com", ("manager",))}


class Desk:
    """Knows one manager, by their token."""

    async def who(self, token: str) -> Staff | None:
        return MANAGERS.get(token)


@pytest.fixture(name="office")
async def office_fixture(house: BookingHouse) -> AsyncIterator["TestClient[Any, Any]"]:
    services = OrganisationServices(
        *(Desk(), Organisations(house.pool), Statements(house.pool), IdempotencyKeys(house.pool), house.onboarding),  # type: ignore[arg-type]
        "http://127.0.0.1/organisation",
        surplus=house.paying.surplus,
        payouts=house.paying.banks,
    )
    app = web.Application(middlewares=[problems_middleware])
    app.add_routes(rest.routes(services))
    client: TestClient[Any, Any] = TestClient(TestServer(app), headers={"Authorization": "Bearer staff-anna"})
    await client.start_server()
    yield client
    await client.close()


async def member(house: BookingHouse, one: Organisation) -> str:
    """Our manager is one of its; answers its address."""
    await house.pool.execute(
        "INSERT INTO staff (id, email, password_hash, roles) VALUES ('s-anna', 'anna@example.com', '', '{manager}')"
        " ON CONFLICT DO NOTHING"
    )
    await Organisations(house.pool).add_member(one.id, "anna@example.com")
    return f"/api/v1/organisations/{one.id}"


def assert_adds_up(line: StatementLine) -> None:
    assert line.sold - line.refunded - line.charged_back - line.fees == line.share
    assert line.transferred + line.underway + line.netted + line.due - line.receivable == line.share


async def test_what_the_counter_took_is_told_beside_and_transferred_to_nobody(house: BookingHouse) -> None:
    opera = await organised(house)
    event = await their_event(house, opera)
    counter = await Counter(house, event).open()
    await house.sold(event, 5)
    await counter.sold(3, 20, tender="cash", request="1")
    given_back = await counter.sold(4, tender="card_terminal", request="2")
    await counter.sold(6, tender="comp", request="3")
    await house.refund(given_back)
    await paid_out(house)
    [line] = await Statements(house.pool).lines(opera, limit=1)
    assert_adds_up(line)
    assert (line.bookings, line.sold, line.share, line.transferred) == (1, PRICE, DUE, DUE)
    assert (line.counter_sold, line.counter_refunded, line.counter_share) == (3 * PRICE, PRICE, 2 * DUE)
    assert await house.pool.fetchval("SELECT count(*) FROM transfer") == 1
    await house.assert_right(event)


async def test_a_statement_adds_up_at_every_step(house: BookingHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements.limits, "STATEMENT_BATCH", 2)
    opera = await organised(house)
    event, account = await their_event(house, opera), await account_of(house, opera)
    house.fee, house.tax = 250, 330

    async def line() -> StatementLine:
        [found] = await Statements(house.pool).lines(await Organisations(house.pool).load(opera.id), limit=5)
        assert_adds_up(found)
        return found

    assert (await line()).waits_for is None
    first, second, third = [await house.sold(event, seat, key=str(seat)) for seat in (3, 5, 7)]
    found = await line()
    price = 3 * (PRICE + 250)
    assert (found.bookings, found.sold, found.share, found.due) == (3, price, 3 * DUE, 3 * DUE)
    assert (found.fees, found.waits_for) == (price - 3 * DUE, "decision")
    await house.refund(first, amount=1_000)
    await house.rest()
    assert (await line()).refunded == 1_000
    right = statements._sum_up

    async def decided_meanwhile(connected: Any, event: str) -> Any:
        assert await house.paying.turn() == 3
        return await right(connected, event)

    monkeypatch.setattr(statements, "_sum_up", decided_meanwhile)
    found = await line()
    assert (found.due, found.underway) == (found.share, 0), "as of one moment"
    monkeypatch.setattr(statements, "_sum_up", right)
    found = await line()
    assert (found.due, found.underway, found.transferred) == (0, found.share, 0)
    await house.rest()
    found = await line()
    assert (found.underway, found.transferred, found.waits_for) == (0, found.share, None)
    await house.refund(second)
    await house.rest()
    await house.double.steering.pay_out(account)
    await house.refund(third)
    await house.rest()
    found = await line()
    assert (found.receivable, found.recovered, found.share) == (DUE, 0, found.transferred - DUE)
    fourth = await house.sold(event, 9, key="9")
    assert fourth.intent_id is not None
    dispute = await house.double.steering.open_dispute(fourth.intent_id)
    await house.bookings.keep_notice("e1", "charge.dispute.created", fourth.intent_id)
    await house.rest()
    await paid_out(house)
    assert ((await line()).due, (await line()).waits_for) == (DUE, "decision"), "a bank decides first"
    await house.double.steering.close_dispute(dispute, won=True)
    await house.rest()
    await paid_out(house)
    found = await line()
    assert (found.netted, found.recovered, found.due) == (DUE, DUE, 0)
    last = await house.sold(event, 11, key="11")
    await paid_out(house)
    assert last.intent_id is not None
    dispute = await house.double.steering.open_dispute(last.intent_id)
    await house.double.steering.close_dispute(dispute, won=False)
    await house.bookings.keep_notice("e2", "charge.dispute.closed", last.intent_id)
    await house.rest()
    assert (await line()).charged_back == PRICE + 250
    await house.assert_right(event)


async def test_from_the_onboarding_to_the_statement(house: BookingHouse, office: "TestClient[Any, Any]") -> None:
    opera = await organised(house, ready=False)
    at = await member(house, opera)
    events = sorted([await their_event(house, opera) for _ in range(3)])
    for event in events:
        await house.sold(event, 3, key=event)

    async def standing() -> tuple[Any, ...]:
        async with office.get(at) as answer:
            account = (await answer.json())["account"]
        return None if account is None else (account["details_submitted"], account["ready"])

    assert await standing() is None
    wrong = await office.post(f"{at}/onboarding", json={"country": "Germany"})
    assert wrong.status == 422
    async with office.post(f"{at}/onboarding", json={"country": "DE"}) as answer:
        assert answer.status == 201, await answer.text()
        link = (await answer.json())["url"]
    assert await standing() == (False, False)
    async with office.get(f"{at}/statement") as answer:
        assert {line["waits_for"] for line in (await answer.json())["items"]} == {"account"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(link, data={"outcome": "complete"}, allow_redirects=False) as on,
    ):
        assert on.headers["Location"] == f"http://127.0.0.1/organisation?organisation={opera.id}"
    await house.onboarding.noticed(await account_of(house, opera))
    await paid_out(house)
    assert await standing() == (True, True)

    address, told = f"{at}/statement?limit=2&from=2000-01-01T00:00:00Z&to=2199-01-01T00:00:00Z", []
    while address:
        async with office.get(address) as answer:
            page = await answer.json()
        told += page["items"]
        assert (page["organisation"], page["currency"]) == (opera.id, "EUR")
        address = f"{at}/statement?limit=2&cursor={page['next']}" if page["next"] else ""
    assert sorted(line["event"] for line in told) == events
    assert {(line["transferred"], line["due"], line["waits_for"]) for line in told} == {(DUE, 0, None)}
    async with office.get(f"{at}/statement.csv?limit=2") as answer:
        assert answer.content_type == "text/csv"
        text = await answer.text()
        following = answer.links["next"]["url"]
    async with office.get(following.relative()) as answer:
        text += await answer.text()
        assert "next" not in answer.links
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["event"] for row in rows] == [line["event"] for line in told]
    assert {int(row["transferred"]) for row in rows} == {DUE}
    for query, status in (("from=yesterday", 422), ("limit=0", 422), ("to=2100-01-01T00:00:00Z", 200)):
        async with office.get(f"{at}/statement?{query}") as answer:
            assert answer.status == status
    async with office.get(f"{at}/statement?to=2001-01-01T00:00:00Z") as answer:
        assert (await answer.json())["items"] == []


async def test_whose_money_it_is_is_nobody_elses_business(house: BookingHouse, office: "TestClient[Any, Any]") -> None:
    other = await organised(house)
    for method, path in (
        *(("GET", "statement"), ("GET", "statement.csv"), ("GET", "payouts")),
        ("POST", "onboarding"),
    ):
        answer = await office.request(method, f"/api/v1/organisations/{other.id}/{path}", json={"country": "DE"})
        assert answer.status == 404, path


async def test_what_went_to_the_bank_is_listed_page_by_page_and_by_command(
    house: BookingHouse, office: "TestClient[Any, Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    opera = await organised(house)
    await house.sold(await their_event(house, opera), 3)
    await paid_out(house)
    at, account = await member(house, opera), await account_of(house, opera)
    names = [await house.double.steering.pay_out(account, amount=amount) for amount in (100, 101, 300)]
    await house.double.steering.end_payout(names[2], "failed", code="no_account")
    await house.pool.execute("UPDATE connected_account SET payouts_looked_at = NULL")
    await house.paying.banks.look()
    # Stripe's times are whole seconds: the last one is the newest.
    await past_guards(house.pool, "UPDATE payout SET created = created + interval '1 s' WHERE amount = 300")
    told: list[Any] = []
    address = f"{at}/payouts?limit=2"
    while address:
        async with office.get(address) as answer:
            assert answer.status == 200
            page = await answer.json()
        told += page["items"]
        address = f"{at}/payouts?limit=2&cursor={page['next']}" if page["next"] else ""
    assert {(one["id"], one["amount"], one["state"]) for one in told} == {
        *((names[0], 100, "pending"), (names[1], 101, "pending"), (names[2], 300, "failed"))
    }
    reasons = {one["id"]: (one["failure_code"], one["failure_reason"]) for one in told}
    assert reasons[names[2]] == ("no_account", "there is no bank account with these details")
    assert reasons[names[0]] == (None, None)
    for query in ("limit=0", "cursor=x", f"cursor={paging.write_cursor(datetime.now(UTC), 'po_1; x')}"):
        async with office.get(f"{at}/payouts?{query}") as answer:
            assert answer.status == 422, query
    monkeypatch.setenv("LML_POSTGRES_DSN", house.dsn)
    for newest, code in (("failed", 1), ("pending", 0)):
        done = await asyncio.to_thread(CliRunner().invoke, lml, ["organisation", "payouts", opera.id])
        assert done.exit_code == code, done.output
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        assert len(rows) == 3 + (newest == "pending")
        assert [row[6] for row in rows if row[0] == names[2]] == ["there is no bank account with these details"]
        if newest == "failed":  # another bank, and another payout
            await house.double.steering.onboard(account)
            made = await house.double.steering.pay_out(account, amount=50)
            await house.bookings.keep_notice("evt_1", "payout.created", None, account, made)
            await house.rest()
            await past_guards(house.pool, "UPDATE payout SET created = created + interval '2 s' WHERE amount = 50")


async def test_the_same_by_command(house: BookingHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    opera = await organised(house, ready=False)
    await house.sold(await their_event(house, opera), 3)
    monkeypatch.setenv("LML_POSTGRES_DSN", house.dsn)
    monkeypatch.setenv("LML_STRIPE_API_KEY", house.double.secret_key)
    monkeypatch.setenv("LML_STRIPE_PUBLISHABLE_KEY", house.double.publishable_key)
    monkeypatch.setenv("LML_STRIPE_API_BASE", house.double.url)

    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, lml, ["organisation", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    link = await run("onboard", opera.id, "--country", "AT", "--return-url", "http://127.0.0.1/back")
    assert link.startswith(house.double.url)
    [row] = list(csv.DictReader(io.StringIO(await run("statement", opera.id))))
    assert (int(row["due"]), row["waits_for"]) == (DUE, "account")
    assert '"due": ' in await run("statement", opera.id, "--format", "json")
    assert (await run("statement", opera.id, "--to", "2001-01-01T00:00:00Z")).count("\n") <= 2


def test_a_name_is_no_formula() -> None:
    moment = next(iter(write_csv([]).splitlines())).split(",")
    assert moment[0] == "event"
    line = StatementLine(**dict.fromkeys(StatementLine.__struct_fields__, 0) | {"name": "=cmd()", "waits_for": None})
    assert write_csv([line], head=False).split(",")[1] == "'=cmd()"
