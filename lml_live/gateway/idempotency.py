"""`Idempotency-Key`: a POST that is sent again changes nothing and hears the first answer (contract, section 2)."""

import asyncio
import hashlib
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from lml_live import limits
from lml_live.errors import LmlError, Refused, Unavailable
from lml_live.gateway.problems import CONTENT_TYPE, problem_response, read_bytes
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool

HEADER: Final = "Idempotency-Key"

_SQL: Final = postgres.statements("idempotency")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_OWN_NAME: Final = web.RequestKey("own_name", str)
_log = logging.getLogger(__name__)


def read_key(request: web.Request) -> str:
    """The request's key. Raises `idempotency_required` where it is missing, given twice, too long or not printable."""
    given = request.headers.getall(HEADER, [])
    if len(given) != 1 or len(given[0]) > limits.KEY_CHARS_MAX or _PRINTABLE.fullmatch(given[0]) is None:
        raise Refused(
            "idempotency_required",
            f"Send one {HEADER} header of 1 to {limits.KEY_CHARS_MAX} printable ASCII characters without spaces.",
        )
    return given[0]


def request_seed(caller: str, request: web.Request) -> str:
    """Hex digits that name a request and all its repetitions, for ids that a repetition must make again."""
    named = "\0".join((caller, request.method, request.path, read_key(request)))
    return hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()


class IdempotencyKeys:
    """The stored answers, in PostgreSQL, for all workers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._pruned = time.monotonic()

    async def once(
        self,
        request: web.Request,
        caller: str,
        act: Callable[[], Awaitable[web.Response]],
        *,
        bytes_max: int = limits.BODY_BYTES_MAX,
        running_seconds: float = limits.IDEMPOTENCY_RUNNING_SECONDS,
    ) -> web.Response:
        """Runs `act` for the first request with this key of this caller, method and path; else answers as then.

        2xx and decisions (4xx but 429) are kept for `IDEMPOTENCY_HOURS`; after 429, 5xx and cancellation the key is
        free again. A first request that has not answered within `running_seconds` counts as dead and is run again:
        `act` must bear being repeated after a crash, and beside a first one that was only slow. Raises
        `idempotency_required`, `idempotency_mismatch` (another body), `idempotency_in_progress`.
        """
        key = read_key(request)
        body = await read_bytes(request, bytes_max=bytes_max)
        name = (caller, request.method, request.path, key)
        digest = hashlib.sha256(body).digest()
        async with postgres.connection(self._pool) as connected:
            attempt = await connected.fetchval(
                _SQL["claim_key"], *name, digest, limits.IDEMPOTENCY_HOURS, float(running_seconds)
            )
            if attempt is None:
                row = await connected.fetchrow(_SQL["find_answer"], *name)
        if attempt is None:
            if row is None or (row["status"] is None and row["request_hash"] == digest):
                raise Refused("idempotency_in_progress", "The first request still runs.", retry_after_ms=1_000)
            if row["request_hash"] != digest:
                raise Refused("idempotency_mismatch", "This key was used for another request.")
            return _answer(row["status"], row["body"], row["location"])
        return await self._first(name, attempt, act)

    async def once_if_named(
        self, request: web.Request, caller: str, act: Callable[[str], Awaitable[web.Response]]
    ) -> web.Response:
        """`once` where the request has a key, of which `act` is given the seed; as often as it is sent where not.

        A request without a key has a name of its own: a deadlock's victim is done again, and what it had counted
        before that is not counted twice.
        """
        if HEADER not in request.headers:
            if _OWN_NAME not in request:
                request[_OWN_NAME] = secrets.token_hex(32)
            return await act(request[_OWN_NAME])
        return await self.once(request, caller, lambda: act(request_seed(caller, request)))

    async def expect_same(self, caller: str, event: str, key: str, asked: bytes) -> None:
        """Notes what a key of the caller's is used for on an event's socket. Raises `Refused` where it was another.

        `asked` is the request without its number. No answer is kept: a repetition is answered as things are by then.
        """
        # A socket's key may be of any characters; PostgreSQL takes no NUL.
        named = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        name, digest = (caller, "SOCKET", event, named), hashlib.sha256(asked).digest()
        kept = (limits.IDEMPOTENCY_HOURS, float(limits.IDEMPOTENCY_RUNNING_SECONDS))
        async with postgres.connection(self._pool) as connected:
            if await connected.fetchval(_SQL["claim_key"], *name, digest, *kept) is not None:
                return
            row = await connected.fetchrow(_SQL["find_answer"], *name)
        if row is not None and row["request_hash"] != digest:
            raise Refused("idempotency_mismatch", "This key was used for another request.")

    async def _first(
        self, name: tuple[str, str, str, str], attempt: int, act: Callable[[], Awaitable[web.Response]]
    ) -> web.Response:
        decided = False
        try:
            try:
                response = await postgres.again(act)
            except LmlError as error:
                response = problem_response(error)
            decided = response.status < 500 and response.status != 429
        finally:
            if not decided:
                # Also when this task was cancelled: the deed must not wait for the caller's patience.
                await asyncio.shield(self._give_back(name, attempt))
        return await postgres.again(lambda: self._keep(name, attempt, response)) if decided else response

    async def _keep(self, name: tuple[str, str, str, str], attempt: int, response: web.Response) -> web.Response:
        """Keeps an answer, and answers what is kept: that of whoever took the key over from one that was slow."""
        body = response.body if isinstance(response.body, bytes) else b""
        location = response.headers.get("Location")
        async with postgres.connection(self._pool) as connected:
            kept = await connected.fetchval(_SQL["keep_answer"], *name, attempt, response.status, body, location)
            row = None if kept is not None else await connected.fetchrow(_SQL["find_answer"], *name)
            if time.monotonic() - self._pruned > limits.IDEMPOTENCY_PRUNE_SECONDS:
                self._pruned = time.monotonic()
                await connected.execute(_SQL["drop_old_keys"], limits.IDEMPOTENCY_HOURS, limits.IDEMPOTENCY_PRUNE_BATCH)
        if row is None:
            return response
        if row["status"] is None:
            raise Refused("idempotency_in_progress", "The same request runs once more.", retry_after_ms=1_000)
        return _answer(row["status"], row["body"], row["location"])

    async def _give_back(self, name: tuple[str, str, str, str], attempt: int) -> None:
        try:
            async with postgres.connection(self._pool) as connected:
                await connected.execute(_SQL["give_key_back"], *name, attempt)
        except Unavailable:
            _log.warning("an idempotency key stays claimed until its first request counts as dead")


def _answer(status: int, body: bytes, location: str | None) -> web.Response:
    content_type = "application/json" if status < 400 else CONTENT_TYPE
    headers = {} if location is None else {"Location": location}
    return web.Response(status=status, body=body, content_type=content_type, headers=headers)
