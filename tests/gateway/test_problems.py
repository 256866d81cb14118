"""Errors as problems, and bodies read strictly: the REST rows of reliability.md, section 4."""

import asyncio
import gzip
import json
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import msgspec
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from lml_live import limits
from lml_live.errors import (
    STATUS_BY_CODE,
    Conflict,
    Forbidden,
    InvalidInput,
    LmlError,
    NotFound,
    Overloaded,
    Refused,
    Unauthorized,
    Unavailable,
    Violation,
)
from lml_live.gateway.problems import decode_body, problems_middleware, read_body
from lml_live.infra.postgres import RolledBack

SECRET = "hunter2-in-a-trace"


class Order(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    quantity: int
    kind: Literal["house", "kill"] = "house"
    note: str = ""
    tree: Any = None


async def order(request: web.Request) -> web.Response:
    wanted = await read_body(request, Order, bytes_max=request.app[BYTES_MAX])
    return web.json_response({"quantity": wanted.quantity})


async def fail(request: web.Request) -> web.Response:
    request.app[TRIES].append(await request.text())
    raise request.app[ERROR]


BYTES_MAX = web.AppKey("bytes_max", int)
ERROR = web.AppKey("error", Exception)
TRIES = web.AppKey("tries", list[str])
Make = Callable[..., Awaitable[TestClient[web.Request, web.Application]]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made = []

    async def client(*, error: Exception | None = None, bytes_max: int = 10_000) -> TestClient[Any, Any]:
        app = web.Application(middlewares=[problems_middleware])
        app[BYTES_MAX] = bytes_max
        app[ERROR] = error or ValueError()
        app[TRIES] = []
        app.router.add_post("/order", order)
        app.router.add_get("/fail", fail)
        app.router.add_post("/fail", fail)
        made.append(TestClient(TestServer(app)))
        await made[-1].start_server()
        return made[-1]

    yield client
    for one in made:
        await one.close()


async def problem_of(answer: ClientResponse) -> dict[str, Any]:
    problem = await answer.json(content_type="application/problem+json")
    assert problem["status"] == answer.status == STATUS_BY_CODE[problem["code"]]
    assert {"type", "title", "status", "detail", "code"} <= set(problem)
    assert answer.headers["Cache-Control"] == "no-store"
    return dict(problem)


@pytest.mark.parametrize(
    ("error", "method", "tries"),
    [
        (RolledBack("Again."), "POST", limits.ROLLED_BACK_TRIES),
        (RolledBack("Again."), "GET", 1),  # no deadlock is of its making, and it may be answered in part
        (Unavailable("Away."), "POST", 1),
    ],
)
async def test_a_deadlocks_victim_is_done_again(make: Make, error: Exception, method: str, tries: int) -> None:
    client = await make(error=error)
    answer = await client.request(method, "/fail", data="the body")
    assert (await problem_of(answer))["code"] == "unavailable"
    assert client.app is not None
    assert client.app[TRIES] == ["the body"] * tries


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidInput("No.", errors=(Violation("a.b", "is wrong"),)), 422, "invalid_message"),
        (Unauthorized("No."), 401, "unauthorized"),
        (Forbidden("No."), 403, "forbidden"),
        (NotFound("No."), 404, "not_found"),
        (Conflict("No."), 409, "conflict"),
        (Refused("sale_closed", "No."), 409, "sale_closed"),
        (Refused("hold_expired", "No."), 410, "hold_expired"),
        (Overloaded("No.", retry_after_ms=1500), 429, "rate_limited"),
        (Unavailable("No.", retry_after_ms=1), 503, "unavailable"),
        (LmlError(SECRET), 500, "internal"),
        (web.HTTPNotFound(reason=SECRET, text=SECRET), 404, "not_found"),
        (web.HTTPForbidden(text=SECRET), 403, "forbidden"),
        (web.HTTPRequestEntityTooLarge(1, 2, text=SECRET), 413, "too_large"),
        (web.HTTPUnsupportedMediaType(text=SECRET), 415, "unsupported_media_type"),
        (web.HTTPBadRequest(text=SECRET), 400, "bad_request"),
        (ValueError(SECRET), 500, "internal"),
        (RecursionError(SECRET), 500, "internal"),
    ],
)
async def test_every_error_is_a_problem(make: Make, error: Exception, status: int, code: str) -> None:
    answer = await (await make(error=error)).get("/fail")
    problem = await problem_of(answer)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"/docs#problem-{code}"
    text = await answer.text()
    assert SECRET not in text
    assert "Traceback" not in text
    if isinstance(error, LmlError):
        assert problem.get("errors", []) == [{"path": v.path, "message": v.message} for v in error.errors]
        retry_after_ms = error.retry_after_ms
        assert answer.headers.get("Retry-After") == (
            None if retry_after_ms is None else str(-(-retry_after_ms // 1000))
        )


async def test_not_there_and_not_allowed_have_one_wording_each(make: Make) -> None:
    for pair in ((NotFound("no such event"), NotFound("not yours")), (Forbidden("a"), web.HTTPForbidden(text="b"))):
        answers = [await (await (await make(error=error)).get("/fail")).text() for error in pair]
        assert answers[0] == answers[1]


async def test_an_unexpected_error_is_logged_with_its_trace(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        await (await make(error=ValueError(SECRET))).get("/fail")
    assert SECRET in caplog.text
    assert "Traceback" in caplog.text


async def test_unknown_addresses_and_methods(make: Make) -> None:
    client = await make()
    assert (await problem_of(await client.get("/nothing/<script>")))["code"] == "not_found"
    answer = await client.delete("/order")
    assert (await problem_of(answer))["code"] == "method_not_allowed"
    assert answer.headers["Allow"] == "POST"


async def test_a_redirect_is_no_error(make: Make) -> None:
    answer = await (await make(error=web.HTTPFound("/order"))).get("/fail", allow_redirects=False)
    assert answer.status == 302


# --- Bodies


GOOD = {"quantity": 1}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"quantity": 1}', None),
        (b' {"quantity": 1} ', None),
        (b'{"quantity": -1, "tree": [[], {"a": {}}]}', None),
        # Not one JSON text.
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"quantity": 1} {"quantity": 2}', "invalid_json"),
        (b'{"quantity": 1}x', "invalid_json"),
        (b'{"quantity": 1, "quantity": 2}', "invalid_json"),
        (b'{"quantity": 1, "tree": {"a": 1, "b": [{"c": 1, "c": 2}]}}', "invalid_json"),
        (b'{"quantity": 1, "tree": {"a": 1, "\\u0061": 2}}', "invalid_json"),
        (b'\xef\xbb\xbf{"quantity": 1}', "invalid_json"),
        ('{"quantity": 1}'.encode("utf-16"), "invalid_json"),
        (b'{"quantity": 1, "note": "\xff"}', "invalid_json"),
        (b'{"quantity": 1, "note": "\xed\xa0\x80"}', "invalid_json"),
        (b'{"quantity": 1, "note": "\\ud800"}', "invalid_json"),
        (b'{"quantity": 1, "note": "\\ud800abcdefgh"}', "invalid_json"),
        (b'{"quantity": 1, "tree": ["\\udc00abcdefgh"]}', "invalid_json"),
        (b'{"quantity": 1, "note": "a\x01b"}', "invalid_json"),
        (b'{"quantity": NaN}', "invalid_json"),
        (b'{"quantity": Infinity}', "invalid_json"),
        (b'{"quantity": 01}', "invalid_json"),
        (b'{"quantity": 1, "tree": ' + b"[" * 65 + b"]" * 65 + b"}", "invalid_json"),
        (b'{"quantity": 1, "tree": ' + b'{"a":' * 65 + b"1" + b"}" * 65 + b"}", "invalid_json"),
        (b"[" * 10_000, "invalid_json"),
        (b'{"a":' * 10_000, "invalid_json"),
        # One JSON text of another shape: nothing is converted.
        (b"null", "invalid_message"),
        (b"[]", "invalid_message"),
        (b"{}", "invalid_message"),
        (b'{"quantity": "4"}', "invalid_message"),
        (b'{"quantity": 1.5}', "invalid_message"),
        (b'{"quantity": 1.0}', "invalid_message"),
        (b'{"quantity": true}', "invalid_message"),
        (b'{"quantity": null}', "invalid_message"),
        (b'{"quantity": 1e309}', "invalid_message"),
        (b'{"quantity": 1' + b"0" * 5000 + b"}", "invalid_message"),
        (b'{"quantity": 1, "kind": "evil"}', "invalid_message"),
        (b'{"quantity": 1, "price": 0}', "invalid_message"),
        (b'{"quantity": 1, "__proto__": {}}', "invalid_message"),
    ],
)
def test_a_body_is_read_strictly(body: bytes, code: str | None) -> None:
    if code is None:
        assert isinstance(decode_body(body, Order), Order)
        return
    with pytest.raises(LmlError) as caught:
        decode_body(body, Order)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"quantity": "4"}, "quantity"),
        ({"quantity": 1, "kind": "evil<script>"}, "kind"),
        ({"quantity": 1, "price": 0}, "price"),
        ({"quantity": 1, "evil<script>": 0}, ""),
        ({"quantity": 1, "a`b": 0}, ""),
        ([], ""),
    ],
)
def test_a_violation_says_where_and_never_quotes_the_caller(body: object, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_body(json.dumps(body).encode(), Order)
    (violation,) = caught.value.errors
    assert violation.path == path
    assert "evil" not in violation.message


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 200),
        ({"Content-Type": "application/json; charset=UTF-8"}, 200),
        ({"Content-Type": "application/json", "Content-Encoding": "identity"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=utf-16"}, 415),
        ({"Content-Type": "application/jsonp"}, 415),
        ({}, 415),
    ],
)
async def test_only_plain_json_is_read(make: Make, headers: dict[str, str], status: int) -> None:
    client = await make()
    answer = await client.post("/order", data=b'{"quantity": 1}', headers=headers, skip_auto_headers=["Content-Type"])
    assert answer.status == status
    if status != 200:
        assert (await problem_of(answer))["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b'{"quantity": 1}')),
        ("deflate", zlib.compress(b'{"quantity": 1}')),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("br", b"\x00"),
    ],
    ids=["gzip", "deflate", "zstd", "br"],
)
async def test_an_encoded_body_is_refused_unread(make: Make, encoding: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = await (await make()).post("/order", data=body, headers=headers)
    assert answer.status in (400, 415)


async def test_a_body_has_a_largest_size(make: Make) -> None:
    client = await make(bytes_max=15)
    headers = {"Content-Type": "application/json"}
    assert (await client.post("/order", data=b'{"quantity": 1}', headers=headers)).status == 200
    assert (await problem_of(await client.post("/order", data=b'{"quantity": 12}', headers=headers)))["status"] == 413

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 10

    assert (await client.post("/order", data=endless(), headers=headers)).status == 413


async def test_a_body_that_trickles_in_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS_MAX", 0.05)
    client = await make()
    end = asyncio.Event()

    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await end.wait()

    answer = await client.post("/order", data=trickle(), headers={"Content-Type": "application/json"})
    assert (await problem_of(answer))["code"] == "request_timeout"
    end.set()


def test_the_largest_layouts_are_looked_at_in_time() -> None:
    """A body of many small objects goes through in linear time."""
    body = b'{"quantity": 1, "tree": [' + b",".join([b'{"a": {"b": [1, 2]}}'] * 50_000) + b"]}"
    assert decode_body(body, Order).quantity == 1
