"""`Idempotency-Key`: one execution, the first answer again, no key blocked for ever."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from lml_live import limits
from lml_live.errors import Conflict, Overloaded, Unavailable
from lml_live.gateway import idempotency
from lml_live.gateway.idempotency import IdempotencyKeys, request_seed
from lml_live.gateway.problems import problems_middleware
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool, RolledBack

Act = Callable[[], Awaitable[web.Response]]


class Till:
    """Counts executions behind a key: `act` is what the next executions do."""

    def __init__(self) -> None:
        self.executions = 0
        self.act: Act = self.create

    async def create(self) -> web.Response:
        return web.json_response({"number": self.executions}, status=201, headers={"Location": f"/{self.executions}"})


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[Pool]:
    pool = await postgres.connect_pool(postgres_dsn)
    yield pool
    await pool.close()


@pytest.fixture
def counter() -> Till:
    return Till()


@pytest.fixture
async def client(pool: Pool, counter: Till) -> AsyncIterator[TestClient[Any, Any]]:
    keys = IdempotencyKeys(pool)

    async def handler(request: web.Request) -> web.Response:
        async def act() -> web.Response:
            counter.executions += 1
            return await counter.act()

        return await keys.once(request, request.headers.get("X-Caller", "anna"), act, bytes_max=100)

    app = web.Application(middlewares=[problems_middleware])
    app.router.add_post("/things", handler)
    app.router.add_post("/others", handler)
    client: TestClient[Any, Any] = TestClient(TestServer(app))
    await client.start_server()
    yield client
    await client.close()


async def post(
    client: TestClient[Any, Any],
    key: str | None = "k1",
    body: object = 1,
    *,
    path: str = "/things",
    caller: str = "anna",
) -> ClientResponse:
    headers = {"X-Caller": caller} | ({} if key is None else {"Idempotency-Key": key})
    return await client.post(path, json=body, headers=headers)


async def code_of(answer: ClientResponse) -> str:
    return str((await answer.json(content_type="application/problem+json"))["code"])


async def test_the_same_request_hears_the_first_answer_again(client: TestClient[Any, Any], counter: Till) -> None:
    answers = [await post(client) for _ in range(3)]
    assert {(answer.status, await answer.text(), answer.headers["Location"]) for answer in answers} == {
        (201, '{"number": 1}', "/1")
    }
    assert {answer.content_type for answer in answers} == {"application/json"}
    assert counter.executions == 1


async def test_without_its_guard_a_key_executes_again(
    client: TestClient[Any, Any], counter: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I24: the condition that is cut here is the one on which the test before this one stands."""
    cut = idempotency._SQL["claim_key"].replace("WHERE known.created <", "WHERE true OR known.created <")
    assert cut != idempotency._SQL["claim_key"]
    monkeypatch.setattr(idempotency, "_SQL", {**idempotency._SQL, "claim_key": cut})
    assert [(await (await post(client)).json())["number"] for _ in range(2)] == [1, 2]


async def test_another_body_is_a_mismatch(client: TestClient[Any, Any], counter: Till) -> None:
    await post(client, body=1)
    answer = await post(client, body=2)
    assert (answer.status, await code_of(answer), counter.executions) == (409, "idempotency_mismatch", 1)


async def test_a_key_belongs_to_caller_and_path(client: TestClient[Any, Any], counter: Till) -> None:
    await post(client)
    assert (await post(client, body=2, caller="otto")).status == 201
    assert (await post(client, body=2, path="/others")).status == 201
    assert counter.executions == 3


@pytest.mark.parametrize("key", [None, "", "k" * 256, "two words", "ü", "a\tb"])
async def test_a_key_is_required_and_bounded(client: TestClient[Any, Any], counter: Till, key: str | None) -> None:
    answer = await post(client, key)
    assert (answer.status, await code_of(answer), counter.executions) == (400, "idempotency_required", 0)
    assert (await post(client, "k" * 255)).status == 201


async def test_fifty_at_once_are_one_execution(client: TestClient[Any, Any], counter: Till) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> web.Response:
        begun.set()
        await go_on.wait()
        return await counter.create()

    counter.act = slowly
    first = asyncio.create_task(post(client))
    await begun.wait()
    others = await asyncio.gather(*(post(client) for _ in range(49)))
    assert Counter([await code_of(answer) for answer in others]) == {"idempotency_in_progress": 49}
    assert {answer.headers["Retry-After"] for answer in others} == {"1"}
    assert await code_of(await post(client, body=2)) == "idempotency_mismatch"
    go_on.set()
    assert (await first).status == 201
    assert (await (await post(client)).json())["number"] == 1
    assert counter.executions == 1


async def test_a_decision_is_kept(client: TestClient[Any, Any], counter: Till) -> None:
    async def refuse() -> web.Response:
        raise Conflict("No.")

    counter.act = refuse
    answers = [await post(client) for _ in range(2)]
    assert [answer.status for answer in answers] == [409, 409]
    assert await answers[0].text() == await answers[1].text()
    assert answers[1].content_type == "application/problem+json"
    assert counter.executions == 1


@pytest.mark.parametrize("error", [Overloaded("Later."), Unavailable("Later."), ValueError("A defect.")])
async def test_what_is_no_decision_is_tried_again(
    client: TestClient[Any, Any], counter: Till, error: Exception
) -> None:
    async def fail() -> web.Response:
        raise error

    counter.act = fail
    assert (await post(client)).status in (429, 500, 503)
    counter.act = counter.create
    assert (await post(client)).status == 201
    assert counter.executions == 2


async def test_a_deadlocks_victim_is_done_again_under_its_key(client: TestClient[Any, Any], counter: Till) -> None:
    ends: list[Exception] = [RolledBack("Again."), RolledBack("Again.")]

    async def fail_first() -> web.Response:
        if ends:
            raise ends.pop()
        return await counter.create()

    counter.act = fail_first
    assert (await post(client)).status == 201
    assert (await post(client)).status == 201
    assert counter.executions == 3


async def test_a_deadlocks_victim_without_a_key_keeps_its_name(pool: Pool) -> None:
    """What it had counted before under that name is known again; the next request is another one."""
    keys, names = IdempotencyKeys(pool), list[str]()

    async def act(name: str) -> web.Response:
        names.append(name)
        if len(names) == 1:
            raise RolledBack("Again.")
        return web.Response()

    async def handler(request: web.Request) -> web.Response:
        return await keys.once_if_named(request, "anna", act)

    app = web.Application(middlewares=[problems_middleware])
    app.router.add_post("/things", handler)
    async with TestClient(TestServer(app)) as client:
        assert [(await client.post("/things")).status for _ in range(2)] == [200, 200]
    first, again, other = names
    assert first == again != other


async def test_a_first_request_that_died_does_not_block_the_key(
    client: TestClient[Any, Any], counter: Till, pool: Pool
) -> None:
    """The process was killed before it answered: its row says `running` for ever."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> web.Response:
        begun.set()
        await go_on.wait()
        return web.json_response({"late": True})

    counter.act = hang
    first = asyncio.create_task(post(client))
    await begun.wait()
    counter.act = counter.create
    assert await code_of(await post(client)) == "idempotency_in_progress"
    async with postgres.connection(pool) as connected:
        seconds = float(limits.IDEMPOTENCY_RUNNING_SECONDS + 1)
        await connected.execute("UPDATE idempotency_key SET created = now() - make_interval(secs => $1)", seconds)
    assert await code_of(await post(client, body=2)) == "idempotency_mismatch"
    assert (await (await post(client)).json())["number"] == 2
    # It was only asleep: what it would answer is not kept, and one key has one answer (a fault run found two).
    go_on.set()
    assert (await (await first).json())["number"] == 2
    assert (await (await post(client)).json())["number"] == 2


async def test_a_key_is_forgotten_after_a_day(
    client: TestClient[Any, Any], counter: Till, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("k1", "k2"):
        await post(client, key)
    async with postgres.connection(pool) as connected:
        await connected.execute("UPDATE idempotency_key SET created = created - interval '25 hours'")
    assert (await post(client, "k1", body=2)).status == 201
    assert counter.executions == 3
    monkeypatch.setattr(limits, "IDEMPOTENCY_PRUNE_SECONDS", -1)
    await post(client, "k3")
    async with postgres.connection(pool) as connected:
        assert [row["key"] for row in await connected.fetch("SELECT key FROM idempotency_key ORDER BY key")] == [
            "k1",
            "k3",
        ]


async def test_a_body_that_is_too_large_takes_no_key(client: TestClient[Any, Any], counter: Till) -> None:
    assert (await post(client, body="x" * 100)).status == 413
    assert (await post(client, body="x")).status == 201


async def test_a_seed_names_a_request_and_its_repetitions() -> None:
    def seed(caller: str, path: str, key: str) -> str:
        return request_seed(caller, make_mocked_request("POST", path, headers={"Idempotency-Key": key}))

    assert seed("anna", "/things", "k1") == seed("anna", "/things", "k1")
    assert len({seed("anna", "/things", "k1"), seed("anna", "/things", "k2"), seed("otto", "/things", "k1")}) == 3
