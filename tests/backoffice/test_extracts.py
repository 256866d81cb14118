"""The audit trail as staff read it over REST: by pages, as lines, of what and of when; and whether it is whole."""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

sys.path.append(str(Path(__file__).parent))

from click.testing import CliRunner
from trail_house import SEAT, TrailHouse, open_trail

from lml_live import limits
from lml_live.backoffice.chain import genesis
from lml_live.backoffice.extracts import Extracts
from lml_live.cli import lml
from lml_live.gateway import audit
from lml_live.gateway.audit import AuditServices
from lml_live.gateway.problems import problems_middleware
from lml_live.guard.staff import Role, Staff

ROLES: dict[str, Role] = {"staff-anna": "manager", "staff-adam": "admin", "staff-clara": "box_office"}


class Desk:
    """Knows one of each role, by their tokens."""

    async def who(self, token: str) -> Staff | None:
        return Staff("s-1", "a@example.org", (ROLES[token],)) if token in ROLES else None


class Reader:
    def __init__(self, house: TrailHouse, client: "TestClient[Any, Any]") -> None:
        self.house, self.client = house, client

    async def get(self, path: str, who: str = "staff-adam") -> tuple[int, Any]:
        answer = await self.client.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {who}"})
        text = await answer.text()
        is_lines = answer.headers["Content-Type"] == "application/jsonl"
        return answer.status, [json.loads(line) for line in text.splitlines()] if is_lines else json.loads(text)

    async def every(self, path: str) -> list[Any]:
        """All pages."""
        found: list[Any] = []
        cursor = ""
        while True:
            status, page = await self.get(f"{path}{cursor}")
            assert status == 200, page
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = f"{'&' if '?' in path else '?'}cursor={page['next']}"


@pytest.fixture(name="reader")
async def reader_fixture(postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reader]:
    monkeypatch.setattr(limits, "AUDIT_PIECE", 2)
    async with open_trail(postgres_dsn, tmp_path) as house:
        await house.chain()
        app = web.Application(middlewares=[problems_middleware])
        app.add_routes(audit.routes(AuditServices(Desk(), Extracts(house.pool))))  # type: ignore[arg-type]
        client: TestClient[Any, Any] = TestClient(TestServer(app))
        await client.start_server()
        yield Reader(house, client)
        await client.close()


async def test_pages_and_lines_say_the_same_and_hash_to_what_they_say(
    reader: Reader, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paged = await reader.every("/events/aida/audit?limit=3")
    _, lines = await reader.get("/events/aida/audit.jsonl")
    assert paged == lines
    assert [one["seq"] for one in lines] == list(range(1, 9))
    assert {one["record"]["log"] for one in lines} == {"act", "booking", "seat"}
    answer = await reader.client.get("/api/v1/events/aida/audit.jsonl", headers={"Authorization": "Bearer staff-anna"})
    raw, before = await answer.read(), genesis("aida")
    for line in raw.splitlines():
        body = line[line.index(b'"record":') + 9 : -1]
        before = hashlib.sha256(before + body).digest()
        assert json.loads(line)["hash"] == before.hex()
    monkeypatch.setenv("LML_POSTGRES_DSN", postgres_dsn)
    by_command = await asyncio.to_thread(CliRunner().invoke, lml, ["audit", "export", "aida"])
    assert by_command.stdout_bytes == raw
    house = await reader.every("/audit?limit=1")
    assert [one["record"]["action"] for one in house] == ["layout.deployed"]
    assert (await reader.get("/audit.jsonl"))[1] == house


async def test_of_a_booking_and_of_a_time(reader: Reader) -> None:
    of_b2 = await reader.every("/events/aida/audit?booking=b2&limit=1")
    assert [(one["record"]["booking"], one["record"]["to"]) for one in of_b2] == [
        ("b2", "pending_payment"),
        ("b2", "expiring"),
    ]
    soon = f"{datetime.now(UTC) + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    for query, count in ((f"from={soon}", 0), (f"to={soon}", 8), (f"from=2020-01-01T00:00:00Z&to={soon}", 8)):
        assert len(await reader.every(f"/events/aida/audit?{query}")) == count, query
        assert len((await reader.get(f"/events/aida/audit.jsonl?{query}"))[1]) == count, query
    middle = await reader.house.pool.fetchval(
        "SELECT at FROM booking_history WHERE booking_id = 'b2' ORDER BY number LIMIT 1"
    )
    after = f"{middle + timedelta(milliseconds=1):%Y-%m-%dT%H:%M:%S.%fZ}"
    one, two = (
        await reader.every(f"/events/aida/audit?to={after}"),
        await reader.every(f"/events/aida/audit?from={after}"),
    )
    assert len(one) + len(two) == 8


async def test_a_page_looks_through_so_much_and_no_more(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AUDIT_PIECES_MAX", 1)
    _, page = await reader.get("/events/aida/audit?booking=nobody")
    assert (page["items"], page["next"]) == ([], "2"), "there may be more"
    assert await reader.every("/events/aida/audit?booking=nobody") == []


async def test_who_may_read_what(reader: Reader) -> None:
    paths = ("/events/aida/audit", "/events/aida/audit.jsonl", "/events/aida/audit/verify")
    house = ("/audit", "/audit.jsonl", "/audit/verify")
    for path in (*paths, *house):
        asked = {who: (await reader.get(path, who))[0] for who in (*ROLES, "staff-nobody")}
        manager = 200 if path in paths else 403
        assert asked == {"staff-anna": manager, "staff-adam": 200, "staff-clara": 403, "staff-nobody": 401}, path
    for path in paths:
        assert (await reader.get(path.replace("aida", "tosca")))[0] == 404
        assert (await reader.get(path.replace("aida", "a%7Bb")))[0] == 404
    for query in ("booking=a_b", "cursor=-1", "cursor=1e3", "limit=0", "from=yesterday", "to=2026-01-01T00:00:00"):
        assert (await reader.get(f"/events/aida/audit?{query}"))[0] == 422, query


async def test_a_chain_that_was_tampered_with_is_told(reader: Reader) -> None:
    _, whole = await reader.get("/events/aida/audit/verify")
    assert (whole["links"], whole["faults"], whole["not_checked"]) == (8, [], ["anchors", "inserted"])
    assert whole["head"] == (await reader.every("/events/aida/audit"))[-1]["hash"]
    await reader.house.tamper("UPDATE status_change SET staff_id = 'somebody else' WHERE seat_id = 'b'")
    await reader.house.tamper("DELETE FROM booking_history WHERE booking_id = 'b2' AND to_state = 'expiring'")
    _, told = await reader.get("/events/aida/audit/verify")
    assert {fault["kind"] for fault in told["faults"]} == {"edited", "deleted"}
    assert [one["record"] for one in (await reader.get("/events/aida/audit.jsonl"))[1]].count(None) == 1
    assert (await reader.get("/audit/verify"))[1]["faults"] == []


async def test_readers_keep_no_connection_and_are_few(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    await reader.house.pool.execute(SEAT, "aida", "d")
    await reader.house.chain()
    extracts = Extracts(reader.house.pool)
    readers = [extracts.lines("aida", audit.Wish()) for _ in range(4)]
    for one in readers:
        assert (await anext(one)).count(b"\n") == 2
    # More than the pool has: each would keep one, if it kept any.
    async with asyncio.timeout(5), reader.house.pool.acquire(), reader.house.pool.acquire():
        assert [sum([lines.count(b"\n") async for lines in one]) for one in readers] == [7, 7, 7, 7]
    monkeypatch.setattr(limits, "AUDIT_READERS_MAX", 0)
    services = AuditServices(Desk(), extracts)  # type: ignore[arg-type]
    app = web.Application(middlewares=[problems_middleware])
    app.add_routes(audit.routes(services))
    async with TestClient(TestServer(app), headers={"Authorization": "Bearer staff-adam"}) as client:
        for path in ("audit.jsonl", "events/aida/audit/verify"):
            assert (await client.get(f"/api/v1/{path}")).status == 429
        assert (await client.get("/api/v1/audit")).status == 200
