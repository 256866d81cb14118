"""`/openapi.json`, `/asyncapi.json` and `/docs`, made of the table of operations and of the socket's messages.

Everything is encoded once, when the routes are made: what is served cannot differ from the types.
"""

import hashlib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from aiohttp import web

import lml_live
from lml_live import limits, values
from lml_live.errors import STATUS_BY_CODE
from lml_live.gateway import wire
from lml_live.gateway.idempotency import HEADER
from lml_live.gateway.operations import API, Operation, Query
from lml_live.gateway.problems import CONTENT_TYPE, Handler, Problem

_EVERY_CALL: Final = ("internal", "unavailable")
_EVERY_BODY: Final = ("invalid_json", "invalid_message", "too_large", "unsupported_media_type", "request_timeout")
_EVERY_KEY: Final = ("idempotency_required", "idempotency_mismatch", "idempotency_in_progress")

_PARAMETER_PATTERNS: Final = {"hash": values.SEAT_ID_PATTERN, "dispute": values.STRIPE_ID_PATTERN}
_WEB: Final = Path(__file__).parent / "web"

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


# --- OpenAPI ----------------------------------------------------------------------------------------------------------


def openapi_document(operations: Sequence[Operation]) -> dict[str, Any]:
    """OpenAPI 3.1 of the calls in `operations`. Raises `ValueError` where two have one name, or one method and path."""
    names = [operation.name for operation in operations]
    calls = [(operation.method, operation.path) for operation in operations]
    if len(set(names)) != len(names) or len(set(calls)) != len(calls):
        raise ValueError("two operations have one name, or one method and path")
    shapes = [Problem, *(shape for operation in operations for shape in _shapes(operation))]
    schemas, components = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    by_shape = dict(zip(map(_key, shapes), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, by_shape)
    return _plain(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "LML Live",
                "version": lml_live.__version__,
                "description": "Live seat maps, holds and bookings. Errors are RFC 9457 problems with a stable `code`; "
                "times are RFC 3339 in UTC; money is integer minor units beside an ISO 4217 `currency`. "
                "The live socket is described in /asyncapi.json.",
            },
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "bearer": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "A holder's token (from `welcome`) or a staff token (`POST /sessions`).",
                    }
                },
            },
        }
    )


def _shapes(operation: Operation) -> list[Any]:
    mentioned = (operation.body, *operation.answers.values(), *(query.type for query in operation.query))
    return [shape for shape in mentioned if shape is not None]


def _key(shape: Any) -> str:
    return str(shape)


def _describe(operation: Operation, by_shape: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.who],
        "security": [{}] if operation.who == "anyone" else [{"bearer": []}],
        "parameters": [
            *map(_path_parameter, operation.parameters),
            *(_query_parameter(query, by_shape[_key(query.type)]) for query in operation.query),
            *([_MATCH_PARAMETER] if operation.if_match else ()),
            *([_KEY_PARAMETER | {"required": operation.idempotent is True}] if operation.idempotent else ()),
        ],
        "responses": {
            **{
                str(status): _success(operation, status, None if shape is None else by_shape[_key(shape)])
                for status, shape in operation.answers.items()
            },
            **_failures(_codes(operation), by_shape[_key(Problem)]),
        },
    }
    if operation.body is not None:
        content = {"application/json": {"schema": by_shape[_key(operation.body)]}}
        described["requestBody"] = {"required": operation.body_required, "content": content}
    return described


_KEY_PARAMETER: Final = {
    "name": HEADER,
    "in": "header",
    "required": True,
    "description": "Names this request; sent again with the same body it changes nothing and hears the first answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": limits.KEY_CHARS_MAX},
}


def _path_parameter(name: str) -> dict[str, Any]:
    pattern = _PARAMETER_PATTERNS.get(name, values.ID_PATTERN)
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": pattern}}


def _query_parameter(query: Query, schema: Any) -> dict[str, Any]:
    described = {"name": query.name, "in": "query", "description": query.says, "schema": schema}
    return described | {"required": True} if query.required else described


def _success(operation: Operation, status: int, schema: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if schema is not None:
        answer["content"] = {operation.content_type: {"schema": schema}}
    if status in (201, 307):
        answer["headers"] = {"Location": {"schema": {"type": "string", "format": "uri-reference"}}}
    return answer


_MATCH_PARAMETER: Final = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "The `ETag` of the draft that was seen, or a list of them, or `*` for whatever is there; where it is"
    " another by now, nothing is changed (412). Without it nothing is changed, either (428).",
    "schema": {"type": "string"},
}


def _codes(operation: Operation) -> list[str]:
    codes = [*operation.codes, *_EVERY_CALL]
    codes += _EVERY_BODY if operation.body is not None else ()
    codes += _EVERY_KEY if operation.idempotent else ()
    return sorted(set(codes))


def _failures(codes: Sequence[str], problem: Any) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(STATUS_BY_CODE[code], []).append(code)
    return {
        str(status): {
            "description": "code: " + ", ".join(listed),
            "content": {CONTENT_TYPE: {"schema": {"allOf": [problem], "properties": {"code": {"enum": listed}}}}},
        }
        for status, listed in sorted(by_status.items())
    }


# --- AsyncAPI ---------------------------------------------------------------------------------------------------------


_CLOSED: Final = {
    wire.CLOSE_NORMAL: "as the client did",
    wire.CLOSE_GOING_AWAY: "going away",
    wire.CLOSE_PROTOCOL_ERROR: "protocol error",
    wire.CLOSE_UNSUPPORTED: "unsupported frame type",
    wire.CLOSE_BAD_DATA: "bad data",
    wire.CLOSE_POLICY: "policy: a flood, or strikes",
    wire.CLOSE_TOO_BIG: "too big",
    wire.CLOSE_INTERNAL: "internal",
    wire.CLOSE_RESTART: "restart: come back",
    wire.CLOSE_TRY_LATER: "try again later",
    wire.CLOSE_UNAUTHORIZED: "the token ended, or is none",
}

_SOCKET: Final = f"""\
One socket per event and browser. Subprotocols `{wire.SUBPROTOCOL_JSON}` (text frames; the default) and
`{wire.SUBPROTOCOL_MSGPACK}` (binary frames) carry the same messages, one a frame; every message is a map with a
string `type`. States and counts are absolute. Drop a `diff` whose `seq` is not above your own; apply it where `prev`
is not above it; anything else is a gap: send `hello` with `resume`.

`error.code` is one of the codes that REST has, too: {", ".join(f"`{code}`" for code in STATUS_BY_CODE)}.

The server closes with {", ".join(f"{code} ({why})" for code, why in _CLOSED.items())}."""


def asyncapi_document() -> dict[str, Any]:
    """AsyncAPI 3.0 of the live socket, from `wire.ClientMessage` and `wire.ServerMessage`."""
    said, told = get_args(wire.ClientMessage), get_args(wire.ServerMessage)
    _, components = msgspec.json.schema_components((*said, *told), ref_template="#/components/schemas/{name}")
    messages = {_tag(shape): _message(shape) for shape in (*said, *told)}
    return _plain(
        {
            "asyncapi": "3.0.0",
            "info": {
                "title": "LML Live: the live socket",
                "version": lml_live.__version__,
                "description": _SOCKET,
            },
            "defaultContentType": "application/json",
            "channels": {
                "live": {
                    "address": f"{API}/events/{{event}}/live",
                    "parameters": {"event": {"description": "The event's id."}},
                    "bindings": {"ws": {"method": "GET"}},
                    "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                }
            },
            "operations": {
                "say": _operation("receive", "What a client says.", said),
                "hear": _operation("send", "What the server tells.", told),
            },
            "components": {"messages": messages, "schemas": components},
        }
    )


def _tag(shape: Any) -> str:
    return str(shape.__struct_config__.tag)


def _message(shape: Any) -> dict[str, Any]:
    return {
        "name": _tag(shape),
        "summary": (shape.__doc__ or _tag(shape)).strip().split("\n\n")[0],
        "payload": {"$ref": f"#/components/schemas/{shape.__name__}"},
    }


def _operation(action: str, summary: str, shapes: Sequence[Any]) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/live"},
        "messages": [{"$ref": f"#/channels/live/messages/{_tag(shape)}"} for shape in shapes],
    }


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    # Defaults in msgspec's schemas are Python values, such as an empty tuple.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return plain


# --- Serving ----------------------------------------------------------------------------------------------------------


def routes(operations: Sequence[Operation]) -> list[web.RouteDef]:
    """`/openapi.json`, `/asyncapi.json`, and `/docs` with its script and style."""
    served = {
        "/openapi.json": (_encode(openapi_document(operations)), "application/json"),
        "/asyncapi.json": (_encode(asyncapi_document()), "application/json"),
        "/docs": ((_WEB / "docs.html").read_bytes(), "text/html"),
        "/docs/docs.js": ((_WEB / "docs.js").read_bytes(), "text/javascript"),
        "/docs/docs.css": ((_WEB / "docs.css").read_bytes(), "text/css"),
    }
    return [web.get(path, _serve(body, content_type)) for path, (body, content_type) in served.items()]


def _encode(document: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _serve(body: bytes, content_type: str) -> Handler:
    tag = hashlib.sha256(body).hexdigest()[:32]

    async def handler(request: web.Request) -> web.Response:
        headers = {**SECURITY_HEADERS, "ETag": f'"{tag}"', "Cache-Control": "no-cache"}
        if any(known.value == tag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    return handler
