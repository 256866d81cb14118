"""The table of REST calls: routes modules list their `Operation`s; routes and `/openapi.json` are made of them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from aiohttp import web

from lml_live.errors import STATUS_BY_CODE
from lml_live.gateway.problems import Handler

API: Final = "/api/v1"

Who = Literal["anyone", "holder", "staff", "clerk", "manager", "admin"]


class Query(msgspec.Struct, frozen=True):
    """A query parameter."""

    name: str
    type: Any
    says: str
    required: bool = False


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One REST call.

    `name` is unique and names the handler; `path` is the whole path with `{parameters}`; `body` is the msgspec type of
    the request's body (None: no body is read); `answers` gives the type of each successful answer's body (None: no
    body); `codes` are the error codes beside those that every call can meet (`internal`, `unavailable`, and with a
    body `invalid_json`, `invalid_message`, `too_large`, `unsupported_media_type`, `request_timeout`).
    """

    name: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    who: Who
    summary: str
    body: Any = None
    body_required: bool = True
    answers: Mapping[int, Any]
    codes: tuple[str, ...] = ()
    query: tuple[Query, ...] = ()
    idempotent: bool | Literal["optional"] = False
    """Whether there is an `Idempotency-Key`, and whether it must be sent."""
    if_match: bool = False
    """Whether `If-Match` must name what the caller has seen."""
    content_type: str = "application/json"

    def __post_init__(self) -> None:
        unknown = [code for code in self.codes if code not in STATUS_BY_CODE]
        if unknown:
            raise ValueError(f"{self.name}: {unknown} are no codes of errors.STATUS_BY_CODE")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters."""
        return tuple(re.findall(r"\{([a-z_]+)\}", self.path))


def bind(operations: Sequence[Operation], handlers: Mapping[str, Handler]) -> list[web.RouteDef]:
    """The routes of `operations`, each to the handler of its name. Raises `ValueError` where the two do not match."""
    names = {operation.name for operation in operations}
    if names != set(handlers):
        raise ValueError(f"operations and handlers differ: {sorted(names ^ set(handlers))}")
    return [web.route(operation.method, operation.path, handlers[operation.name]) for operation in operations]


def respond_json(body: Any, *, status: int = 200, cached: str = "no-cache") -> web.Response:
    """The answer that carries a body of one of an operation's types. `cached` is its `Cache-Control`."""
    headers = {"Cache-Control": cached}
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers)


def undocumented_routes(app: web.Application, operations: Sequence[Operation]) -> tuple[set[str], set[str]]:
    """Routes under `/api/v1` that no operation describes, and operations that no route serves: `GET /path` each.

    For a test that asserts that both are empty.
    """
    served = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith(API) and route.method not in ("HEAD", "*")
    }
    described = {f"{operation.method} {operation.path}" for operation in operations}
    return served - described, {name for name in described - served if name.partition(" ")[2].startswith(API)}
