"""One REST call to a server on this machine. Under locust its sockets are gevent's, by locust's monkey patch."""

import secrets
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from lml_live import errors
from loadtests.bounds import REST_CALL_SECONDS, require_loopback

BODY_BYTES_MAX: Final = 16 * 1024 * 1024


def call(url: str, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
    """The decoded answer. Raises `errors.Unavailable` for any answer but 2xx, and where there is none."""
    root = urlsplit(require_loopback(url))
    assert root.hostname is not None
    headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16)}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    connection = HTTPConnection(root.hostname, root.port, timeout=REST_CALL_SECONDS)
    try:
        connection.request(
            method, f"/api/v1{path}", None if body is None else msgspec.json.encode(body), headers=headers
        )
        answer = connection.getresponse()
        raw = answer.read(BODY_BYTES_MAX)
        if not 200 <= answer.status < 300:
            raise errors.Unavailable(f"{method} {path}: HTTP {answer.status}: {raw[:300].decode(errors='replace')}")
        return msgspec.json.decode(raw) if raw else None
    except (OSError, HTTPException, msgspec.DecodeError) as error:
        raise errors.Unavailable(f"{method} {path}: {error}") from error
    finally:
        connection.close()
