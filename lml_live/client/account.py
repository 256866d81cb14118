"""A buyer's account over REST: signing in gives the token that a `LiveClient` watches and holds with.

begun = await sign_in("http://127.0.0.1:8080", "anna@example.org", password, token=live.token)
async with LiveClient("http://127.0.0.1:8080", "evening-1", token=begun.token) as live:
    ...
"""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

import aiohttp
import msgspec
from msgspec import Struct

from lml_live import errors


class KeptHold(Struct, frozen=True):
    """A hold that stays the anonymous holder's, and why."""

    hold: str
    code: str


class HandedOver(Struct, frozen=True):
    """What of an anonymous holder's is the account's now; not `complete`: the rest follows by itself."""

    holds: tuple[str, ...]
    kept: tuple[KeptHold, ...]
    bookings: tuple[str, ...]
    complete: bool


class Begun(Struct, frozen=True):
    """A session: its token, and the account's holder, who is the same on every device."""

    token: str
    email: str
    holder: str
    expires_at: datetime
    handed_over: HandedOver | None = None


async def ask_for_account(url: str, email: str, *, session: aiohttp.ClientSession | None = None) -> None:
    """Has a link mailed to an address, for a new account or a forgotten password. Raises `errors.LmlError`."""
    await _call(url, "POST", "accounts", {"email": email}, None, session)


async def choose_password(
    url: str,
    invitation: str,
    password: str,
    *,
    token: str | None = None,
    session: aiohttp.ClientSession | None = None,
) -> Begun:
    """Chooses a password with what stands behind `#` in the mailed link, and signs in, as `sign_in` does."""
    body = {"invitation": invitation, "password": password}
    return _begun(await _call(url, "POST", "accounts/password", body, token, session))


async def sign_in(
    url: str, email: str, password: str, *, token: str | None = None, session: aiohttp.ClientSession | None = None
) -> Begun:
    """Signs in. What the anonymous holder of `token` holds and has booked becomes the account's.

    Raises `errors.Refused` with the code `unauthorized`, or `rate_limited`; and `errors.Unavailable`.
    """
    body = {"email": email, "password": password, "as": "buyer"}
    return _begun(await _call(url, "POST", "sessions", body, token, session))


async def sign_out(url: str, token: str, *, session: aiohttp.ClientSession | None = None) -> None:
    """Ends the session of a token; the sockets that use it are closed soon."""
    await _call(url, "DELETE", "sessions", None, token, session)


class _Problem(Struct, frozen=True):
    code: str = "unavailable"
    detail: str = ""
    retry_after_ms: int | None = None


def _begun(raw: bytes) -> Begun:
    return msgspec.json.decode(raw, type=Begun)


async def _call(
    url: str, method: str, path: str, body: object, token: str | None, session: aiohttp.ClientSession | None
) -> bytes:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        async with (
            _session(session) as http,
            http.request(method, f"{url.rstrip('/')}/api/v1/{path}", json=body, headers=headers) as answer,
        ):
            raw = await answer.read()
            if answer.status < 400:
                return raw
    except (aiohttp.ClientError, TimeoutError) as error:
        raise errors.Unavailable("The server does not answer.") from error
    try:
        problem = msgspec.json.decode(raw, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(detail=f"The server answered with {answer.status}.")
    raise errors.Refused(problem.code, problem.detail, retry_after_ms=problem.retry_after_ms)


@contextlib.asynccontextmanager
async def _session(given: aiohttp.ClientSession | None) -> AsyncIterator[aiohttp.ClientSession]:
    if given is not None:
        yield given
        return
    async with aiohttp.ClientSession() as made:
        yield made
