"""HTTP calls to servers on this machine. Under locust the sockets are gevent's, by locust's monkey patch."""

import secrets
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Struct

from lml_live import errors
from lml_live.client import Refusal
from loadtests.bounds import REST_CALL_SECONDS, family_of, require_loopback

BODY_BYTES_MAX: Final = 256 * 1024 * 1024
"""The largest answer is the Stripe double's ledger: some 8 KB for each booking of a run."""
UNDECIDED: Final = frozenset({"idempotency_in_progress", "rate_limited"})
"""Codes of 4xx answers that decide nothing: the same request may be sent again."""


class _Connection(HTTPConnection):
    """Connects to a numeric address directly (`family_of` says why)."""

    def connect(self) -> None:
        family = family_of(self.host)
        if family is None:
            super().connect()
            return
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(REST_CALL_SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect((self.host, self.port))


class _Problem(Struct, frozen=True):
    """What a refusal says (RFC 9457), as far as it is looked at."""

    code: str
    detail: str


def call(url: str, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
    """The decoded answer. Raises `errors.Unavailable` for any answer but 2xx, and where there is none."""
    status, raw = _api(url, method, path, body, token, secrets.token_hex(16))
    if not 200 <= status < 300:
        raise errors.Unavailable(f"{method} {path}: HTTP {status}: {raw[:300].decode(errors='replace')}")
    return decode(raw)


def ask(url: str, method: str, path: str, body: Any, *, token: str, key: str) -> Any:
    """The decoded answer, or a `Refusal` where the server decided against it.

    Raises `errors.Unavailable` where nothing is known to be decided: with the same `key` it may be sent again.
    """
    status, raw = _api(url, method, path, body, token, key)
    if 200 <= status < 300:
        return decode(raw)
    try:
        problem = msgspec.json.decode(raw, type=_Problem)
    except msgspec.DecodeError as error:
        raise errors.Unavailable(f"{method} {path}: HTTP {status}") from error
    if status >= 500 or problem.code in UNDECIDED:
        raise errors.Unavailable(f"{method} {path}: HTTP {status}: {problem.code}")
    return Refusal(problem.code, problem.detail)


def post_form(url: str, target: str, fields: dict[str, str]) -> tuple[int, bytes]:
    """Sends a form as a browser does; the status and the body. Raises `errors.Unavailable` without an answer."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return _exchange(url, "POST", target, urlencode(fields).encode(), headers)


def fetch(url: str, target: str, token: str) -> bytes:
    """The body at any address of a server. Raises `errors.Unavailable` for any answer but 2xx, and without one."""
    status, raw = _exchange(url, "GET", target, None, {"Authorization": f"Bearer {token}"})
    if not 200 <= status < 300:
        raise errors.Unavailable(f"GET {target}: HTTP {status}: {raw[:300].decode(errors='replace')}")
    return raw


def decode(raw: bytes) -> Any:
    """JSON; None where there is nothing. Raises `errors.Unavailable` for what is none."""
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError as error:
        raise errors.Unavailable(f"an answer that is no JSON: {error}") from error


def _api(url: str, method: str, path: str, body: Any, token: str | None, key: str) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return _exchange(url, method, f"/api/v1{path}", None if body is None else msgspec.json.encode(body), headers)


def _exchange(url: str, method: str, target: str, payload: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
    root = urlsplit(require_loopback(url))
    assert root.hostname is not None
    connection = _Connection(root.hostname, root.port, timeout=REST_CALL_SECONDS)
    try:
        connection.request(method, target, payload, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(BODY_BYTES_MAX)
    except (OSError, HTTPException) as error:
        raise errors.Unavailable(f"{method} {target}: {error}") from error
    finally:
        connection.close()
