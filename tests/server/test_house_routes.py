"""What everybody may read of a running server: availability, layouts, documents, pages, health and metrics."""

import asyncio
import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import MagicMock

import aiohttp
import pytest
from lines import Lines
from openapi_spec_validator import validate
from serving import LiveServer
from waiting import eventually

from lml_live import limits, wiring
from lml_live.devstack.servers import Valkey
from lml_live.gateway import wire
from lml_live.gateway.app import OPERATIONS, Services, make_app
from lml_live.gateway.operations import undocumented_routes
from lml_live.inventory import seatmap
from lml_live.values import HELD


@pytest.fixture
async def http(live_server: LiveServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(live_server.url, auto_decompress=False) as session:
        yield session


async def read(http: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, Any, bytes]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.get(path, headers=given, allow_redirects=False) as answer:
        return answer.status, answer.headers, await answer.read()


# --- Availability


async def test_availability_is_what_a_welcome_says(
    live_server: LiveServer, lines: Lines, http: aiohttp.ClientSession
) -> None:
    line = await lines.greeted(live_server)
    path = f"/api/v1/events/{live_server.event}/availability"
    status, headers, raw = await read(http, path)
    shown = json.loads(raw)
    assert (status, set(shown)) == (200, {"epoch", "seq", "seats", "areas", "now"})
    assert (shown["epoch"], shown["seq"]) == (line.heard[0]["epoch"], line.seq)
    assert shown["seats"] == line.heard[0]["seats"]
    assert shown["now"].endswith("Z")
    assert "no-cache" in headers["Cache-Control"]
    again = await read(http, path, If_None_Match=headers["ETag"])
    assert (again[0], again[1]["ETag"], again[2]) == (304, headers["ETag"], b"")
    await line.ask("hold", seats=[9], areas={"floor": 1})
    await line.hear_seats({9: HELD})
    status, changed, raw = await read(http, path, If_None_Match=headers["ETag"])
    shown = json.loads(raw)
    assert (status, changed["ETag"] != headers["ETag"]) == (200, True)
    assert seatmap.unpack(base64.b64decode(shown["seats"]), 300) == line.seats
    assert (shown["seq"], shown["areas"]) == (line.seq, line.areas)


# --- Layouts


async def test_a_layouts_bytes_are_for_ever(live_server: LiveServer, http: aiohttp.ClientSession) -> None:
    event = json.loads((await read(http, f"/api/v1/events/{live_server.event}"))[2])
    status, headers, _ = await read(http, f"/api/v1/events/{live_server.event}/layout")
    assert (status, headers["Location"], headers["Cache-Control"]) == (307, event["layout"]["url"], "no-cache")
    path = headers["Location"]
    assert path == f"/api/v1/layouts/test-hall/{event['layout']['hash']}"
    status, plain, raw = await read(http, path, Accept_Encoding="identity")
    layout = json.loads(raw)
    assert (status, layout["layout_id"], len(layout["sections"][0]["rows"])) == (200, "test-hall", 12)
    assert "immutable" in plain["Cache-Control"]
    assert plain["ETag"].startswith('"'), "a strong tag"
    status, zipped, packed = await read(http, path, Accept_Encoding="gzip")
    assert (zipped["Content-Encoding"], gzip.decompress(packed)) == ("gzip", raw)
    assert zipped["ETag"] != plain["ETag"], "other bytes, another strong tag"
    assert zipped["Vary"] == "Accept-Encoding"
    for encoding, tag in (("identity", plain["ETag"]), ("gzip", zipped["ETag"])):
        assert (await read(http, path, Accept_Encoding=encoding, If_None_Match=tag))[0] == 304
        length = len(packed if encoding == "gzip" else raw)
        async with http.head(live_server.url + path, headers={"Accept-Encoding": encoding}) as head:
            assert (head.status, head.headers["ETag"], head.headers["Content-Length"]) == (200, tag, str(length))
            assert await head.read() == b""
        # The connection is good for what comes next: nothing of a body was sent.
        assert (await read(http, path, Accept_Encoding=encoding))[0] == 200


ACCEPTED = {"gzip;q=0": None, "*;q=0": None, "gzip;q=0.5, identity": None, "br, GZIP;q=0.1": "gzip", "*": "gzip"}


@pytest.mark.parametrize(("accepted", "sent"), ACCEPTED.items())
async def test_a_layout_is_zipped_for_those_who_would_have_it(
    live_server: LiveServer, http: aiohttp.ClientSession, accepted: str, sent: str | None
) -> None:
    """Whose header had the word in it was sent gzip, also where it said that gzip would not be read."""
    event = json.loads((await read(http, f"/api/v1/events/{live_server.event}"))[2])
    path = f"/api/v1/layouts/test-hall/{event['layout']['hash']}"
    status, headers, raw = await read(http, path, Accept_Encoding=accepted)
    assert (status, headers.get("Content-Encoding"), headers["Vary"]) == (200, sent, "Accept-Encoding")
    assert json.loads(gzip.decompress(raw) if sent else raw)["layout_id"] == "test-hall"


async def test_a_server_without_a_bucket_has_the_pointer_to_its_newest_layout(
    live_server: LiveServer, http: aiohttp.ClientSession
) -> None:
    event = json.loads((await read(http, f"/api/v1/events/{live_server.event}"))[2])
    status, headers, raw = await read(http, "/layouts/test-hall/current.json")
    pointer = json.loads(raw)
    assert (status, headers["Cache-Control"]) == (200, f"public, max-age={limits.POINTER_SECONDS}")
    assert (pointer["hash"], pointer["version"]) == (event["layout"]["hash"], event["layout"]["version"])
    manifest = await read(http, f"/{pointer['manifest']}")
    assert hashlib.sha256(manifest[2]).hexdigest() == pointer["manifest_sha256"]
    for each in json.loads(manifest[2])["objects"]:
        status, headers, data = await read(http, f"/{each['key']}")
        assert (status, hashlib.sha256(data).hexdigest(), len(data)) == (200, each["sha256"], each["size_bytes"])
        assert (headers["Content-Type"], headers.get("Content-Encoding")) == (
            *(each["content_type"], each.get("content_encoding")),
        )


async def test_layouts_that_are_none_are_not_found(http: aiohttp.ClientSession) -> None:
    digest = hashlib.sha256(b"nothing").hexdigest()
    for path in (
        *(f"test-hall/{digest}", f"no-hall/{digest}", "test-hall/x", f"test-hall/{digest}0", "test-hall/%24ne"),
        *(f"%24where/{digest}", f"..%2f/{digest}", f"%00/{digest}", f"test-hall/{digest.upper()}"),
    ):
        status, headers, raw = await read(http, f"/api/v1/layouts/{path}")
        assert (status, json.loads(raw)["code"]) == (404, "not_found"), path
        assert headers["Content-Type"] == "application/problem+json"


# --- Documents


def test_every_route_is_described_and_every_description_is_served() -> None:
    rooms: dict[str, Any] = {name: MagicMock(payments=None) for name in Services.__dataclass_fields__}
    rooms["holders"].links.cdn_origin = ""
    app = make_app(Services(**rooms | {"probes": {}, "mailbox": None}))
    assert undocumented_routes(app, OPERATIONS) == (set(), set())


async def test_the_documents_are_those_of_this_server(http: aiohttp.ClientSession) -> None:
    calls = json.loads((await read(http, "/openapi.json"))[2])
    validate(calls)
    described = {(method.upper(), path) for path, item in calls["paths"].items() for method in item}
    assert {(operation.method, operation.path) for operation in OPERATIONS} <= described
    names = {operation["operationId"] for item in calls["paths"].values() for operation in item.values()}
    assert {"hold_seats", "read_availability", "live", "create_holder"} <= names
    messages = set(json.loads((await read(http, "/asyncapi.json"))[2])["components"]["messages"])
    spoken = {
        shape.__struct_config__.tag for union in (wire.ClientMessage, wire.ServerMessage) for shape in union.__args__
    }
    assert spoken <= messages


async def test_who_calls_the_socket_plainly_is_told_as_the_document_says(
    live_server: LiveServer, http: aiohttp.ClientSession
) -> None:
    status, _, raw = await read(http, f"/api/v1/events/{live_server.event}/live")
    assert (status, json.loads(raw)["code"]) == (400, "bad_request")
    calls = json.loads((await read(http, "/openapi.json"))[2])
    assert "400" in calls["paths"]["/api/v1/events/{event}/live"]["get"]["responses"]


async def test_pages_and_their_files_are_served(live_server: LiveServer, http: aiohttp.ClientSession) -> None:
    for path in ("/", f"/events/{live_server.event}", "/bookings", "/bookings/any", "/docs"):
        status, headers, raw = await read(http, path)
        assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/html"), path
        assert b"<html" in raw
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert (await read(http, path, If_None_Match=headers["ETag"]))[0] == 304
    status, headers, _ = await read(http, "/web/event.js")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/javascript")
    for path in ("/web/none.js", "/web/..%2fpages.py", "/web/%2e%2e/pages.py", "/web/../../pyproject.toml", "/nowhere"):
        status, _, raw = await read(http, path)
        assert (status, json.loads(raw)["code"]) == (404, "not_found"), path


# --- Health


async def test_a_server_that_is_well_says_so(
    live_server: LiveServer, http: aiohttp.ClientSession, lines: Lines
) -> None:
    await lines.greeted(live_server)
    status, headers, raw = await read(http, "/healthz")
    assert (status, json.loads(raw), headers["Cache-Control"]) == (200, {"status": "ok"}, "no-store")
    status, _, raw = await read(http, "/readyz")
    assert (status, json.loads(raw)) == (200, {"status": "ok", "redis": "ok", "postgres": "ok", "mongo": "ok"})
    status, headers, raw = await read(http, "/metrics")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    metrics = dict(line.rsplit(" ", 1) for line in raw.decode().splitlines() if not line.startswith("#"))
    assert f'lml_worker{{pid="{live_server.workers()[0]}"}}' in metrics, "which of the workers counts here"
    assert float(metrics["lml_sockets"]) >= 1
    assert any(name.startswith("lml_http_requests_total") for name in metrics)
    assert live_server.event.encode() not in raw, "no names of events: that would be a metric each"


async def test_what_is_away_is_named(mortal_pair: tuple[LiveServer, Valkey]) -> None:
    server, valkey = mortal_pair
    async with aiohttp.ClientSession(server.url) as http:

        async def ready() -> tuple[int, Any]:
            status, _, raw = await read(http, "/readyz")
            return status, json.loads(raw)

        await valkey.kill()
        try:
            away = (503, {"status": "unavailable", "redis": "unavailable", "postgres": "ok", "mongo": "ok"})
            assert await ready() == away
            assert (await read(http, "/healthz"))[0] == 200, "the process itself lives"
        finally:
            await valkey.start()

        async def back() -> bool:
            return (await ready())[0] == 200

        await eventually(back, 30)


async def test_a_loop_that_a_defect_ends_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing awaits a worker's loops until it stops: mails or anchors were gone without a word."""

    async def breaks() -> None:
        raise ValueError("a defect")

    async def has_nothing_to_do() -> None:
        pass

    for loop, name in ((breaks(), "mails"), (has_nothing_to_do(), "copies")):
        await asyncio.wait([wiring._start(loop, name)])
    assert [record.getMessage() for record in caplog.records] == ["this worker has no more 'mails': restart it"]
