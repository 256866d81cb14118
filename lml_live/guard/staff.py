"""Staff: who they are, how they sign in, what they may do.

Passwords are kept as argon2id, tokens as SHA-256: neither a stolen table nor a log signs anybody in. A refused sign-in
looks the same whatever was wrong, and takes as long.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, Literal

import argon2
import msgspec

from lml_live import limits
from lml_live.errors import InvalidInput, Overloaded, Unauthorized, Violation
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.values import STAFF_TOKEN_PREFIX, new_id

Role = Literal["box_office", "manager", "admin"]

FIRST_ADMIN_EMAIL: Final = "admin@lml.localhost"
"""Who the first administrator is where nobody said so. `.localhost` is nobody's domain (RFC 6761)."""

_SQL: Final = postgres.statements("staff")
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f]{1,64}@[^\s@\x00-\x1f]{1,190}")
_HASHER: Final = argon2.PasswordHasher.from_parameters(argon2.profiles.RFC_9106_LOW_MEMORY)
_TOKEN_BYTES: Final = 32


class Staff(msgspec.Struct, frozen=True):
    """A member of staff. An administrator may do everything; the others what their roles name."""

    id: str
    email: str
    roles: tuple[Role, ...]

    def may(self, role: Role) -> bool:
        """Whether they may do what this role does."""
        return role in self.roles or "admin" in self.roles


class SignedIn(msgspec.Struct, frozen=True):
    """The answer to `POST /sessions`. The token is told this once."""

    token: str
    roles: tuple[Role, ...]
    expires_at: datetime


class StaffDesk:
    """Signs staff in and knows them by their tokens."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._turn = asyncio.Semaphore(limits.PASSWORD_HASHES_AT_ONCE)
        self._waiting = 0
        self._nobody: str | None = None

    async def sign_in(self, email: str, password: str, *, address: str | None = None) -> SignedIn:
        """A session of `STAFF_SESSION_SECONDS`.

        `address` is the caller's network address, None where it is exempt from caps. Raises `Unauthorized`, in one
        shape for an unknown address and a wrong password, and `Overloaded` after too many attempts by this e-mail or
        network address, counted over all workers.
        """
        email = email.strip().lower()
        subjects = [_digest(f"email {email}")]
        async with postgres.connection(self._pool) as connected:
            if address is not None:
                subjects.append(_digest(f"address {address}"))
                await _count(connected, subjects[1], limits.SIGN_IN_ATTEMPTS_PER_ADDRESS)
            await _count(connected, subjects[0], limits.SIGN_IN_ATTEMPTS_PER_EMAIL)
            known = await connected.fetchrow(_SQL["find_staff_by_email"], email) if _EMAIL.fullmatch(email) else None
        stored = known["password_hash"] if known is not None else await self._nobody_hash()
        right = await self._verify(stored, password)
        if known is None or not right:
            raise Unauthorized("The e-mail address or the password is wrong.")
        # Nothing below refuses.
        token = STAFF_TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_SQL["forget_attempts"], subjects)
            await connected.execute(_SQL["drop_old_attempts"], float(limits.SIGN_IN_WINDOW_SECONDS))
            await connected.execute(_SQL["drop_ended_sessions"])
            expires_at = await connected.fetchval(
                _SQL["open_session"], _digest(token), known["id"], float(limits.STAFF_SESSION_SECONDS)
            )
        return SignedIn(token, tuple(known["roles"]), expires_at)

    async def who(self, token: str) -> Staff | None:
        """Whose token this is, or None: unknown, ended, or of somebody who is staff no longer."""
        if not token or len(token) > limits.TOKEN_CHARS_MAX:
            return None
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["find_session"], _digest(token))
        return None if row is None else Staff(row["id"], row["email"], tuple(row["roles"]))

    async def sign_out(self, token: str) -> bool:
        """Ends the session of this token; False where it was not good any more."""
        async with postgres.connection(self._pool) as connected:
            return await connected.fetchval(_SQL["close_session"], _digest(token)) is not None

    async def signed_out(self, tokens: Collection[str]) -> set[str]:
        """Which of these tokens are good no more."""
        ended, asked = set(tokens), sorted(tokens)
        for start in range(0, len(asked), limits.STAFF_TOKENS_ASKED_MAX):
            by_digest = {_digest(token): token for token in asked[start : start + limits.STAFF_TOKENS_ASKED_MAX]}
            async with postgres.connection(self._pool) as connected:
                rows = await connected.fetch(_SQL["list_open_sessions"], list(by_digest))
            ended -= {by_digest[row["token_hash"]] for row in rows}
        return ended

    async def ensure_admin(self, email: str | None = None, password: str | None = None) -> tuple[str, str] | None:
        """Makes the first administrator where there is none, and returns e-mail address and password to be told once.

        What is not given is made up. None where there is an administrator already, whose password stays as it is. Of
        processes that start at once one makes it. Raises `InvalidInput` for an address or password that nobody could
        sign in with.
        """
        async with postgres.connection(self._pool) as connected:
            if await connected.fetchval(_SQL["has_admin"]):
                return None
        email = (email or FIRST_ADMIN_EMAIL).strip().lower()
        password = password or secrets.token_urlsafe(12)
        check_credentials(email, password)
        password_hash = await self._hash(password)
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_SQL["lock_staff"])
            if await connected.fetchval(_SQL["has_admin"]):
                return None
            await connected.execute(_SQL["create_staff"], new_id("staff"), email, password_hash, ["admin"])
        return email, password

    async def add_staff(self, email: str, password: str, roles: tuple[Role, ...]) -> None:
        """Makes an account, or gives the one of this address this password and these roles. Raises `InvalidInput`."""
        email = email.strip().lower()
        check_credentials(email, password)
        password_hash = await self._hash(password)
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_SQL["create_staff"], new_id("staff"), email, password_hash, list(roles))

    async def _nobody_hash(self) -> str:
        # An unknown address is checked against this, so that it takes as long as a known one.
        if self._nobody is None:
            self._nobody = await self._hash(secrets.token_urlsafe(12))
        return self._nobody

    async def _hash(self, password: str) -> str:
        async with self._hashing():
            return await asyncio.to_thread(_HASHER.hash, password)

    async def _verify(self, stored: str, password: str) -> bool:
        async with self._hashing():
            return await asyncio.to_thread(_matches, stored, password)

    @asynccontextmanager
    async def _hashing(self) -> AsyncIterator[None]:
        if self._waiting >= limits.PASSWORD_HASHES_WAITING_MAX:
            raise Overloaded("Too many people sign in at once. Please try again.", retry_after_ms=2_000)
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()


def check_credentials(email: str, password: str) -> None:
    """Raises `InvalidInput` that lists what is wrong with an e-mail address and a password."""
    faults = []
    if _EMAIL.fullmatch(email) is None:
        faults.append(Violation("email", "is no e-mail address, such as box-office@example.com"))
    if not 10 <= len(password) <= limits.PASSWORD_CHARS_MAX:
        faults.append(Violation("password", f"has not 10 to {limits.PASSWORD_CHARS_MAX} characters"))
    if faults:
        raise InvalidInput("Nobody could sign in with this.", errors=tuple(faults))


def _matches(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except argon2.exceptions.VerifyMismatchError:
        return False


async def _count(connected: Connection, subject: bytes, attempts_max: int) -> None:
    window = float(limits.SIGN_IN_WINDOW_SECONDS)
    row = await connected.fetchrow(_SQL["count_attempt"], subject, window)
    assert row is not None, "count_attempt always returns a row"
    if row["attempts"] > attempts_max:
        wait_ms = max(1_000, round(row["seconds_left"] * 1000))
        raise Overloaded("Too many attempts to sign in. Please wait.", retry_after_ms=wait_ms)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
