"""Self-checks of the layouts over REST, for the house's managers: tried on scratch documents, none of which stays."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from lml_live.gateway.callers import require_house
from lml_live.gateway.operations import API, Operation, bind, respond_json
from lml_live.guard.staff import StaffDesk
from lml_live.venues.self_check import Verdict

OPERATIONS: Final = (
    Operation(
        name="test_mongo",
        method="POST",
        path=f"{API}/test-mongo",
        who="manager",
        summary="Try MongoDB's rules for layouts, and the ids of seats: a verdict on each. Nothing is kept.",
        answers={200: Verdict},
        codes=("unauthorized", "forbidden"),
    ),
    Operation(
        name="test_immutability",
        method="POST",
        path=f"{API}/test-immutability",
        who="manager",
        summary="Take a scratch layout through its life, and change it behind the server's back at each step: what "
        "must be refused or found is. Nothing is kept.",
        answers={200: Verdict},
        codes=("unauthorized", "forbidden"),
    ),
)


@dataclass(frozen=True)
class SelfChecks:
    """What the handlers need: `rules` tries MongoDB's rules, `immutability` the life of a layout."""

    desk: StaffDesk
    rules: Callable[[], Awaitable[Verdict]]
    immutability: Callable[[], Awaitable[Verdict]]


def routes(services: SelfChecks) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    # A check is some 200 calls to MongoDB: whoever asks meanwhile waits.
    one_at_a_time = asyncio.Lock()

    async def answer(request: web.Request, check: Callable[[], Awaitable[Verdict]]) -> web.Response:
        await require_house(request, services.desk, "manager")
        async with one_at_a_time:
            verdict = await check()
        return respond_json(verdict, cached="no-store")

    async def test_mongo(request: web.Request) -> web.Response:
        return await answer(request, services.rules)

    async def test_immutability(request: web.Request) -> web.Response:
        return await answer(request, services.immutability)

    return bind(OPERATIONS, {"test_mongo": test_mongo, "test_immutability": test_immutability})
