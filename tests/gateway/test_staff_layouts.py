"""Managers bring a layout in over REST and sell an event on it, with the real library."""

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from lml_live import limits
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.layout_steps import Step, Stepped, detail_of
from lml_live.errors import InvalidInput
from lml_live.gateway import layout_backups, layout_files, layouts, self_checks
from lml_live.gateway.idempotency import IdempotencyKeys
from lml_live.gateway.layout_backups import BackupServices
from lml_live.gateway.layouts import LayoutServices
from lml_live.gateway.problems import problems_middleware
from lml_live.gateway.self_checks import SelfChecks
from lml_live.guard.staff import StaffDesk
from lml_live.infra import postgres
from lml_live.infra.config import Settings
from lml_live.infra.stores import open_store
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import LayoutChoice, NewEvent
from lml_live.pricing.quote import Price
from lml_live.venues.backups import Backups
from lml_live.venues.exporters import Exported, ExportFormat, export_layout
from lml_live.venues.layout import Layout
from lml_live.venues.library import Library
from lml_live.venues.self_check import check_immutability, check_rules
from lml_live.venues.stored import LayoutVersion

HALL: dict[str, Any] = {
    "layout_id": "hall",
    "name": "Hall",
    "type": "hybrid",
    "viewport": {"width": 100, "height": 100},
    "sections": [
        {
            "name": "Stalls",
            "kind": "seated",
            "rows": [
                {
                    "label": "A",
                    "seats": [
                        {"number": str(number), "x": number / 10, "y": 0.5, "category": "Stalls"}
                        for number in range(1, 4)
                    ],
                }
            ],
        },
        {"name": "Floor", "kind": "standing", "area_id": "floor", "capacity": 50, "category": "Standing"},
    ],
}


class House:
    """A server with layouts, a manager and a clerk."""

    def __init__(
        self,
        client: TestClient[Any, Any],
        tokens: dict[str, str],
        copied: list[LayoutVersion],
        library: Library,
        steps: list[tuple[str, int]],
        details: list[dict[str, Any]],
    ) -> None:
        self.details = details
        self.client = client
        self.steps = steps
        self.library = library
        self.tokens = tokens
        self.copied = copied
        self._keys = 0

    async def call(
        self, method: str, path: str, body: object = None, who: str = "manager", match: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        self._keys += 1
        headers = {"Authorization": f"Bearer {self.tokens[who]}", "Idempotency-Key": f"k{self._keys}"}
        headers |= {} if match is None else {"If-Match": f'"{match}"'}
        sent: dict[str, Any] = {"json": body}
        if isinstance(body, bytes):
            sent = {"data": io.BytesIO(body)}
            headers["Content-Type"] = "application/json"
        answer = await self.client.request(method, f"/api/v1{path}", headers=headers, **sent)
        return answer.status, msgspec.json.decode(await answer.read())

    async def publish(self, layout_id: str = "hall") -> tuple[int, dict[str, Any]]:
        """Publishes the draft as it is now."""
        draft = await self.library.find_draft(layout_id)
        assert draft is not None
        return await self.call("POST", f"/layouts/{layout_id}/publish", match=draft.hash)


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    return Backups(lambda: open_store(Settings(data_dir=tmp_path), None))


@pytest.fixture
def library(mongo_database: Any, backups: Backups) -> Library:
    return Library(mongo_database, backups=backups)


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[postgres.Pool]:
    pool = await postgres.connect_pool(postgres_dsn)
    yield pool
    await pool.close()


@pytest.fixture
async def house(library: Library, backups: Backups, mongo_database: Any, pool: postgres.Pool) -> AsyncIterator[House]:
    desk, copied, steps, details, tokens = StaffDesk(pool), [], [], [], {}

    async def copy_out(step: Step, version: Stepped) -> None:
        steps.append((step, version.version))
        details.append(detail_of(version))
        if step == "deployed" and isinstance(version, LayoutVersion):
            copied.append(version)

    for role in ("manager", "box_office"):
        await desk.add_staff(f"{role}@example.com", "correct horse", (role,))  # type: ignore[arg-type]
        tokens[role] = (await desk.sign_in(f"{role}@example.com", "correct horse")).token
    services = LayoutServices(desk, library, IdempotencyKeys(pool), copy_out)
    app = web.Application(middlewares=[problems_middleware])
    app.add_routes(layouts.routes(services))
    app.add_routes(layout_backups.routes(BackupServices(services, backups)))
    checks = SelfChecks(desk, partial(check_rules, mongo_database), partial(check_immutability, mongo_database))
    app.add_routes(self_checks.routes(checks))
    app.add_routes(layout_files.routes(desk, library))
    async with TestClient(TestServer(app)) as client:
        yield House(client, tokens, copied, library, steps, details)


async def test_from_a_file_to_an_event(house: House, library: Library, pool: postgres.Pool) -> None:
    status, draft = await house.call("POST", "/layouts", HALL)
    assert (status, draft["id"], draft["version"], draft["state"]) == (201, "hall", 1, "draft")
    assert (draft["seat_count"], draft["place_count"]) == (3, 53)
    assert draft["saved_at"].endswith("Z")
    assert (await house.call("POST", "/layouts", HALL))[0] == 200
    catalogue = Catalogue(pool, DeployedLayouts(library))
    event = NewEvent(
        name="Show",
        venue="Hall",
        starts_at=datetime(2030, 5, 1, 19, 30, tzinfo=UTC),
        currency="EUR",
        layout=LayoutChoice("hall"),
        prices=(Price(category="Stalls", amount=100), Price(category="Standing", amount=50)),
    )
    with pytest.raises(InvalidInput):
        await catalogue.create_event(event)
    status, problem = await house.call("POST", "/layouts/hall/deploy")
    assert (status, problem["code"]) == (409, "conflict")
    assert (await house.publish())[1]["state"] == "published"
    assert (await house.call("POST", "/layouts/hall/deploy"))[1]["state"] == "deployed"
    status, again = await house.call("POST", "/layouts/hall/deploy", {"version": 1})
    assert (status, again["version"]) == (200, 1)
    assert [version.version for version in house.copied] == [1, 1]
    status, versions = await house.call("GET", "/layouts/hall/versions")
    assert (status, len(versions["items"]), versions["next"]) == (200, 1, None)
    assert versions["items"][0]["deployed_at"] is not None
    made = await catalogue.create_event(event)
    assert (made.layout_hash, made.seat_count, made.areas[0].capacity) == (draft["hash"], 3, 50)


async def test_every_change_of_a_draft_is_a_step_on_record(house: House) -> None:
    """They left no record: who published was known, and not who had drawn it."""
    _, first = await house.call("POST", "/layouts", HALL)
    assert (await house.call("POST", "/layouts", HALL))[0] == 200, "nothing is new"
    headers = {"Authorization": f"Bearer {house.tokens['manager']}", "If-Match": f'"{first["hash"]}"'}
    for body in (HALL | {"name": "Other"}, HALL | {"name": "Third"}):
        answer = await house.client.put("/api/v1/layouts/hall", json=body, headers=headers)
        assert answer.status in (200, 412), "the second has not seen the first's"
    await house.publish()
    assert (await house.call("POST", "/layouts/hall/draft", {"version": 1}))[0] == 201
    assert house.steps == [("saved", 1), ("saved", 1), ("published", 1), ("begun", 2)]
    saved, other, _, begun = house.details
    assert saved.keys() == {"version", "hash", "seat_count", "place_count", "size_bytes"}
    assert (saved["hash"], saved["seat_count"], saved["place_count"]) == (first["hash"], 3, 53)
    assert (other["instead_of"], other["hash"] == first["hash"]) == (first["hash"], False)
    assert begun["begun_with"] == 1


async def test_a_wrong_layout_hears_every_rule_that_it_breaks(house: House) -> None:
    wrong = msgspec.json.decode(msgspec.json.encode(HALL))
    wrong["sections"][0]["rows"][0]["label"] = "A_1"
    wrong["sections"][0]["rows"][0]["seats"][1]["number"] = "1"
    status, problem = await house.call("POST", "/layouts", wrong)
    assert (status, problem["code"]) == (422, "invalid_message")
    assert len(problem["errors"]) >= 2
    status, problem = await house.call("POST", "/layouts", HALL | {"$where": "1"})
    assert (status, problem["code"]) == (422, "invalid_message")


async def test_layouts_are_for_managers(house: House) -> None:
    for method, path, body in (
        ("POST", "/layouts", HALL),
        ("GET", "/layouts/hall/versions", None),
        ("POST", "/layouts/hall/publish", None),
        ("POST", "/layouts/hall/deploy", None),
    ):
        assert (await house.call(method, path, body, who="box_office"))[0] == 403
    for method, path in (
        ("GET", "/layouts/none/versions"),
        ("POST", "/layouts/none/publish"),
        ("POST", "/layouts/none/deploy"),
    ):
        assert (await house.call(method, path, match="0"))[0] == 404


async def test_few_indexes_are_kept(library: Library, monkeypatch: pytest.MonkeyPatch, house: House) -> None:
    monkeypatch.setattr(limits, "DEPLOYED_INDEXES_KEPT", 1)
    deployed = DeployedLayouts(library)
    for layout_id in ("one", "two"):
        await house.call("POST", "/layouts", HALL | {"layout_id": layout_id})
        await house.publish(layout_id)
        assert await deployed.deployed_index(layout_id, None) is None
        await house.call("POST", f"/layouts/{layout_id}/deploy")
    for layout_id in ("one", "two", "one"):
        index = await deployed.deployed_index(layout_id, 1)
        assert index is not None
        assert index.layout_id == layout_id
    assert await deployed.deployed_index("one", 2) is None


def changed(path: str, value: object) -> dict[str, Any]:
    body = msgspec.json.decode(msgspec.json.encode(HALL))
    inner: Any = body
    *way, last = path.split("/")
    for step in way:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner[last] = value
    return body  # type: ignore[no-any-return]


SEAT = "sections/0/rows/0/seats/1"
AT = "sections[0].rows[0].seats[1]"
BAD: list[tuple[str, dict[str, Any] | bytes, int, str, str]] = [
    ("infinity", b'{"layout_id":"x","viewport":{"width":1e999,"height":1}}', 422, "viewport.width", "type"),
    ("nan", b'{"layout_id":NaN}', 400, "", ""),
    ("a label of 10 MB", changed("sections/0/name", "x" * 10_000_000), 422, "sections[0].name", "label"),
    ("a number of 10 MB", changed(f"{SEAT}/number", "9" * 10_000_000), 422, f"{AT}.number", "label"),
    ("right to left", changed(f"{SEAT}/number", "1\u202e2"), 422, f"{AT}.number", "label"),
    ("half a surrogate", changed(f"{SEAT}/number", "\ud800"), 400, "", ""),
    ("a seat twice", changed(f"{SEAT}/number", "1"), 422, f"{AT}.number", "unique"),
    ("a section in itself", changed("sections/0/within", ["A", "Stalls"]), 422, "sections[0].within[1]", "nesting"),
    ("sections in sections", changed("sections/0/sections", [HALL]), 422, "sections[0].sections", "member"),
    ("a $ key", changed("$where", "1"), 422, "$where", "member"),
    ("a . key", changed(f"{SEAT}/x.y", 1), 422, f"{AT}.x.y", "member"),
    ("off the plan", changed(f"{SEAT}/x", 1.5), 422, f"{AT}.x", "coordinate"),
    ("text for a number", changed(f"{SEAT}/x", "left"), 422, f"{AT}.x", "type"),
    ("a capacity of nobody", changed("sections/1/capacity", 0), 422, "sections[1].capacity", "area"),
    ("an id that is none", changed("layout_id", "a/../b"), 422, "layout_id", "layout_id"),
]


async def test_bad_layouts_are_refused_with_every_rule_by_name(house: House) -> None:
    for what, body, wanted, path, rule in BAD:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, problem = await house.call("POST", "/layouts", raw)
        assert status == wanted, (what, problem)
        if wanted == 422:
            assert (path, rule) in [(each["path"], each.get("rule")) for each in problem["errors"]], (what, problem)
            assert all({"found", "expected"} <= each.keys() for each in problem["errors"])
        assert len(json.dumps(problem)) < 10_000, what
    assert await house.library.list_layouts() == ()


async def test_labels_in_another_normal_form_are_the_same_seats(house: House) -> None:
    """What was typed on one system and what on another: one layout, one version."""
    composed = changed("sections/0/name", "Caf\u00e9")
    assert (await house.call("POST", "/layouts", composed))[0] == 201
    assert (await house.call("POST", "/layouts", changed("sections/0/name", "Cafe\u0301")))[0] == 200
    twice = changed("sections/0/name", "Caf\u00e9")
    twice["sections"].append({**twice["sections"][0], "name": "Cafe\u0301"})
    status, problem = await house.call("POST", "/layouts", twice)
    assert (status, problem["errors"][0]["path"]) == (422, "sections[2].name")


async def test_a_million_seats_are_too_many_and_that_is_all_that_is_said(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LAYOUT_SEATS_MAX", 1_000)
    seats = [{"number": "1", "x": 0, "y": 0, "category": "I"}] * 1_001
    status, problem = await house.call("POST", "/layouts", changed("sections/0/rows/0/seats", seats))
    assert (status, [each["rule"] for each in problem["errors"]]) == (422, ["count"])


async def test_a_saved_draft_is_warned_of(house: House) -> None:
    status, draft = await house.call("POST", "/layouts", changed(f"{SEAT}/x", 0.1))
    assert (status, [each["rule"] for each in draft["warnings"]]) == (201, ["overlap"])
    status, problem = await house.call("POST", "/layouts", changed(f"{SEAT}/x", 0.1) | {"type": "seated"})
    assert ([each["rule"] for each in problem["errors"]], [each["rule"] for each in problem["warnings"]]) == (
        ["type"],
        ["overlap"],
    )


async def test_a_file_is_read_and_a_layout_written(house: House) -> None:
    table = {"text": "section,row,number,x,y\nA,1,1,0,0\nA,1,2,5,0\n", "filename": "small.csv", "id": "hall"}
    status, read = await house.call("POST", "/layouts/read", table)
    assert status == 200, read
    assert (read["layout"]["layout_id"], read["layout"]["name"], read["renamings"]) == ("hall", "small", [])
    assert read["existing"] is None
    assert (await house.call("GET", "/layouts/hall/file"))[0] == 404
    assert (await house.call("POST", "/layouts", read["layout"]))[0] == 201
    status, written = await house.call("GET", "/layouts/hall/file?format=csv&version=1")
    assert (status, written["filename"], written["content_type"]) == (200, "hall.csv", "text/csv")
    again = await house.call("POST", "/layouts/read", table | {"text": written["text"]})
    ids = [[seat["seat_id"] for seat in each["layout"]["sections"][0]["rows"][0]["seats"]] for each in (read, again[1])]
    assert ids[0] == ids[1]
    # Whoever would replace something is told what.
    assert [again[1]["existing"][name] for name in ("version", "state", "place_count")] == [1, "draft", 2]
    await house.publish()
    _, later = await house.call("POST", "/layouts/read", table)
    assert (later["existing"]["version"], later["existing"]["state"]) == (1, "published")
    status, problem = await house.call("POST", "/layouts/read", {"text": "section,number\nA,\n"})
    assert (status, problem["code"], problem["errors"][0]["path"]) == (422, "invalid_message", "line 2, number")
    for wrong in ("format=word", "version=0"):
        assert (await house.call("GET", f"/layouts/hall/file?{wrong}"))[1]["code"] == "invalid_message"
    assert (await house.call("POST", "/layouts/read", table, who="box_office"))[0] == 403


async def test_who_sends_slowly_holds_up_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One half of a body kept every other manager from reading a file, for as long as a body may take."""
    monkeypatch.setattr(limits, "LAYOUT_BODIES_MAX", 2)
    _, writer = await asyncio.open_connection(house.client.host, house.client.port)
    head = (
        f"Host: x\r\nAuthorization: Bearer {house.tokens['manager']}\r\nIdempotency-Key: slow\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    wanted = {"text": json.dumps(HALL)}
    for path in ("layouts/read", "layouts"):
        writer.write(f"POST /api/v1/{path} HTTP/1.1\r\n{head}".encode())
        # Begun: the answer to another call on another connection is what comes after it.
        assert (await house.call("GET", "/layouts/nothing/versions"))[0] == 404
        assert (await house.call("POST", "/layouts/read", wanted))[0] == 200
        assert (await house.call("POST", "/layouts", HALL))[0] in (200, 201)
        writer.close()
        _, writer = await asyncio.open_connection(house.client.host, house.client.port)
    writer.close()
    monkeypatch.setattr(limits, "LAYOUT_BODIES_MAX", 0)
    assert (await house.call("POST", "/layouts/read", wanted))[0] == 429
    assert (await house.call("POST", "/layouts", HALL))[0] == 429
    monkeypatch.setattr(limits, "LAYOUT_BODIES_MAX", 1)
    monkeypatch.setattr(limits, "LAYOUT_JSON_VALUES_MAX", 3)
    status, refused = await house.call("POST", "/layouts/read", wanted | {"standing": list("abcd")})
    assert (status, refused["code"]) == (413, "too_large")


async def test_whoever_writes_out_a_layout_waits_for_so_long(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was asked for waited without end while another was worked on."""
    begun, may_go_on = threading.Event(), threading.Event()

    def slowly(layout: Layout, wanted: ExportFormat) -> Exported:
        begun.set()
        assert may_go_on.wait(30)
        return export_layout(layout, wanted)

    await house.call("POST", "/layouts", HALL)
    monkeypatch.setattr(layout_files, "export_layout", slowly)
    first = asyncio.create_task(house.call("GET", "/layouts/hall/file"))
    try:
        assert await asyncio.to_thread(begun.wait, 30)
        with monkeypatch.context() as patch:
            patch.setattr(limits, "LAYOUT_TURN_SECONDS", 0)
            headers = {"Authorization": f"Bearer {house.tokens['manager']}"}
            answer = await house.client.get("/api/v1/layouts/hall/file", headers=headers)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
        assert (await answer.json(content_type=None))["code"] == "unavailable"
        second = asyncio.create_task(house.call("GET", "/layouts/hall/file"))
    finally:
        may_go_on.set()
    assert [(await waiting)[0] for waiting in (first, second)] == [200, 200]


async def test_the_commas_of_a_files_text_are_no_values(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drawing with as many commas as a layout may have values was refused, whatever it drew."""
    monkeypatch.setattr(limits, "LAYOUT_JSON_VALUES_MAX", 10)
    points = " ".join(f"{at},{at % 7}" for at in range(100))
    drawing = f'<svg><circle id="A-1-1" cx="9" cy="9" r="1"/><polyline data-kind="aisle" points="{points}"/></svg>'
    status, read = await house.call("POST", "/layouts/read", {"text": drawing, "filename": "hall.svg"})
    assert (status, len(read["layout"]["shapes"][0]["points"])) == (200, 100), read


async def test_the_latest_version_of_every_layout_is_listed(house: House) -> None:
    assert (await house.call("GET", "/layouts"))[1] == {"items": [], "next": None}
    for layout_id in ("hall", "arena", "barn"):
        await house.call("POST", "/layouts", HALL | {"layout_id": layout_id})
    await house.publish()
    await house.call("POST", "/layouts", HALL | {"name": "Other"})
    _, first = await house.call("GET", "/layouts?limit=2")
    assert ([each["id"] for each in first["items"]], first["next"]) == (["arena", "barn"], "barn")
    _, rest = await house.call("GET", f"/layouts?limit=2&cursor={first['next']}")
    assert [(each["id"], each["version"], each["state"]) for each in rest["items"]] == [("hall", 2, "draft")]
    assert rest["next"] is None
    assert (await house.call("GET", "/layouts?cursor=a_b"))[1]["code"] == "invalid_message"
    assert (await house.call("GET", "/layouts", who="box_office"))[0] == 403


async def test_what_is_drawn_is_checked_and_not_stored(house: House) -> None:
    status, report = await house.call("POST", "/layouts/validate", HALL)
    counts = {"error_count": 0, "warning_count": 0, "seat_count": 3, "place_count": 53}
    assert (status, report) == (200, {"valid": True, "errors": [], "warnings": []} | counts)
    _, report = await house.call("POST", "/layouts/validate", changed(f"{SEAT}/number", "1") | {"type": "seated"})
    assert (report["valid"], [each["rule"] for each in report["errors"]]) == (False, ["unique", "type"])
    assert report["errors"][0]["path"] == "sections[0].rows[0].seats[1].number"
    # What is no layout at all is told, too, with its places: a drawing begins empty.
    _, report = await house.call("POST", "/layouts/validate", HALL | {"sections": [], "name": 5})
    assert (report["valid"], report["error_count"]) == (False, len(report["errors"]))
    assert {each["path"] for each in report["errors"]} == {"name", "sections"}
    # What is spelled in another normal form is saved, so it is right (and is not told beside another fault).
    _, report = await house.call("POST", "/layouts/validate", changed("sections/0/name", "Cafe\u0301"))
    assert (report["valid"], report["errors"]) == (True, [])
    _, report = await house.call("POST", "/layouts/validate", changed("sections/0/name", "Cafe\u0301") | {"name": 5})
    assert [each["path"] for each in report["errors"]] == ["name"]
    assert (await house.call("POST", "/layouts/validate", HALL, who="box_office"))[0] == 403
    assert (await house.call("GET", "/layouts/hall/versions"))[0] == 404


@pytest.mark.parametrize("check", ["test-mongo", "test-immutability"])
async def test_managers_try_the_rules(house: House, check: str) -> None:
    status, verdict = await house.call("POST", f"/{check}")
    assert (status, verdict["passed"]) == (200, True)
    assert all(set(rule) == {"rule", "passed", "detail"} for rule in verdict["rules"])
    assert (await house.call("POST", f"/{check}", who="box_office"))[0] == 403
