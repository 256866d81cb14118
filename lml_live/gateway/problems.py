"""Errors as RFC 9457 problem+json, and request bodies read so strictly that nothing odd gets further.

No problem carries a stack trace or what the caller sent. "Not there", "not yours" and "not allowed" have one wording
each, so that their bodies tell nobody what exists.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import msgspec
from aiohttp import hdrs, web
from aiohttp.web_exceptions import HTTPException

from lml_live import limits
from lml_live.errors import STATUS_BY_CODE, InvalidInput, LmlError, Refused, Violation
from lml_live.infra import postgres

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")

CONTENT_TYPE: Final = "application/problem+json"

_log = logging.getLogger(__name__)

_BODY: Final = web.RequestKey("body", bytes)

_ONE_WORDING: Final = {
    "unauthorized": "Sign in first, or with a token that is still good.",
    "forbidden": "You may not do this.",
    "not_found": "There is nothing here for you.",
    "internal": "Something went wrong here. It was noted, and it is not your fault.",
}
_CODE_BY_STATUS: Final = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    503: "unavailable",
}
_DETAIL_BY_CODE: Final = {
    "method_not_allowed": "This address does not know this method; the Allow header lists those it knows.",
    "too_large": "The request is too large.",
    "unsupported_media_type": "This content type is not read here.",
    "request_timeout": "The request took too long to arrive.",
    "bad_request": "The request is not well formed.",
}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The body of every error (RFC 9457). `code` is stable; `errors` says where the request was at fault,
    `warnings` what else was odd in it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()
    retry_after_ms: int | None = None


def problem_response(error: LmlError) -> web.Response:
    """The answer for an error of ours, with `Retry-After` where it makes sense to come back."""
    words = _ONE_WORDING.get(error.code, error.message)
    return _response(error.code, error.status, words, error.errors, error.retry_after_ms, warnings=error.warnings)


@web.middleware
async def problems_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every exception of a handler into a problem. Unexpected ones are logged with their trace.

    A deed that PostgreSQL rolled back for another's sake is done again. What is only read takes no locks, and may have
    been answered in part.
    """
    try:
        if request.method in (hdrs.METH_GET, hdrs.METH_HEAD):
            return await handler(request)
        return await postgres.again(partial(handler, request))
    except LmlError as error:
        return problem_response(error)
    except HTTPException as error:
        if error.status < 400:
            raise
        return _http_problem(error)
    except Exception as error:  # the middleware is one of the three places for it (style.md, 14)
        gone = request.transport is None or request.transport.is_closing()
        if isinstance(error, ConnectionError) and gone:
            raise  # There is nobody to answer.
        resource = request.match_info.route.resource
        _log.exception(
            "unexpected error", extra={"method": request.method, "route": resource.canonical if resource else None}
        )
        return _response("internal", 500, _ONE_WORDING["internal"])


def broken_request(status: int) -> web.Response:
    """The answer for what is no HTTP at all, or too much of it. The framework's own words may quote it; ours do not."""
    known = _CODE_BY_STATUS.get(status)
    code = known or ("bad_request" if status < 500 else "internal")
    detail = _ONE_WORDING.get(code) or _DETAIL_BY_CODE.get(code) or "The request cannot be served."
    return _response(code, status, detail)


def _http_problem(error: HTTPException) -> web.Response:
    response = broken_request(error.status)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _response(
    code: str,
    status: int,
    detail: str,
    errors: tuple[Violation, ...] = (),
    retry_after_ms: int | None = None,
    *,
    warnings: tuple[Violation, ...] = (),
) -> web.Response:
    problem = Problem(
        type=f"/docs#problem-{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        errors=errors,
        warnings=warnings,
        retry_after_ms=retry_after_ms,
    )
    return respond(problem)


def respond(problem: Problem) -> web.Response:
    """The answer that carries a problem, or one with further fields."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if problem.retry_after_ms is not None:
        headers["Retry-After"] = str(max(1, -(-problem.retry_after_ms // 1000)))
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(
        status=problem.status, body=msgspec.json.encode(problem), content_type=CONTENT_TYPE, headers=headers
    )


# --- Bodies -----------------------------------------------------------------------------------------------------------


async def read_bytes(request: web.Request, *, bytes_max: int = limits.BODY_BYTES_MAX) -> bytes:
    """The body as it came, read once and then remembered.

    Raises `Refused`: `unsupported_media_type` where it is not plain `application/json` (an encoded body is not
    unpacked: a bomb is cheaper to refuse than to measure), `too_large` before more than `bytes_max` are in memory,
    `request_timeout` where it trickles in.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Refused("unsupported_media_type", "Send the body without Content-Encoding.")
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Refused("unsupported_media_type", "Send application/json in UTF-8.")
    return await read_raw(request, bytes_max=bytes_max)


async def read_raw(request: web.Request, *, bytes_max: int = limits.BODY_BYTES_MAX) -> bytes:
    """The body as it came, whatever it says it is. Raises `too_large`, `request_timeout`, `bad_request`."""
    if _BODY in request:
        return request[_BODY]
    if request.content_length is not None and request.content_length > bytes_max:
        raise _too_large(bytes_max)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.BODY_SECONDS_MAX):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > bytes_max:
                    raise _too_large(bytes_max)
    except TimeoutError as error:
        raise Refused("request_timeout", _DETAIL_BY_CODE["request_timeout"]) from error
    except web.RequestPayloadError as error:
        raise Refused("bad_request", _DETAIL_BY_CODE["bad_request"]) from error
    request[_BODY] = bytes(body)
    return bytes(body)


async def read_body(request: web.Request, shape: type[T], *, bytes_max: int = limits.BODY_BYTES_MAX) -> T:
    """The body as a `shape`, strictly: no value is converted, nothing is guessed.

    Raises what `read_bytes` raises; `invalid_json` (400) for what is not one well-formed JSON text (a BOM, invalid
    UTF-8, a lone surrogate, a member twice, NaN, trailing text, nesting beyond `JSON_DEPTH_MAX`); `InvalidInput` (422)
    where it is not of that shape.
    """
    body = await read_bytes(request, bytes_max=bytes_max)
    if len(body) > _THREAD_BYTES:
        return await asyncio.to_thread(decode_body, body, shape)
    return decode_body(body, shape)


_THREAD_BYTES: Final = 64 * 1024
"""From here on decoding takes milliseconds, which the sockets of this loop would feel."""


def decode_body(body: bytes, shape: type[T]) -> T:
    """`read_body` without the request."""
    _check_json(body)
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise InvalidInput("The request breaks the contract.", errors=(_violation(str(error)),)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid_json() from error


class _Nested:
    """Stands for a JSON object that was looked at; keeps nothing of it but how deep it goes."""

    __slots__ = ("depth",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a member is there twice")
        self.depth = 1 + max((_depth(value) for _, value in pairs), default=0)
        if self.depth > limits.JSON_DEPTH_MAX:
            raise ValueError("nested too deeply")


def _depth(value: Any) -> int:
    if isinstance(value, _Nested):
        return value.depth
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and infinities are not JSON")


def _check_json(body: bytes) -> None:
    # msgspec lets the last of two members with one name win, and a reader before us might have let the first.
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_Nested, parse_constant=_no_constant, parse_int=len, parse_float=len
        )
        if _depth(value) > limits.JSON_DEPTH_MAX:
            raise ValueError("nested too deeply")
    except (ValueError, RecursionError) as error:
        raise _invalid_json() from error


def _too_large(bytes_max: int) -> Refused:
    return Refused("too_large", f"The body is larger than {bytes_max} bytes.")


def _invalid_json() -> Refused:
    return Refused("invalid_json", "The body is not one well-formed JSON text.")


_WHERE: Final = re.compile(r"^(?P<message>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN_FIELD: Final = re.compile(r"^Object contains unknown field `(?P<name>[A-Za-z_][A-Za-z0-9_]{0,63})`$")


def _violation(words: str) -> Violation:
    """msgspec's words without what the caller sent: it quotes enum values and unknown names."""
    found = _WHERE.match(words)
    message, path = (found["message"], found["path"] or "") if found else (words, "")
    if message.startswith("Invalid enum value"):
        message = "Is none of the values that are known here"
    elif message.startswith("Object contains unknown field"):
        named = _UNKNOWN_FIELD.match(message)
        path = ".".join(part for part in (path, named["name"] if named else "") if part)
        message = "Is no field that is known here"
    elif "matching regex" in message:
        message = "Has not the form that is expected: " + message.partition("matching regex")[2].strip()
    return Violation(path, message)


assert all(code in STATUS_BY_CODE for code in (*_CODE_BY_STATUS.values(), *_ONE_WORDING, *_DETAIL_BY_CODE))
