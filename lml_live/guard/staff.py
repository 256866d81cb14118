"""Staff: who they are, how they sign in, what they may do.

Tokens are kept as SHA-256: neither a stolen table nor a log signs anybody in. A refused sign-in looks the same whatever
was wrong, and takes as long (`passwords`).
"""

import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal

import msgspec

from lml_live import limits
from lml_live.guard.passwords import Attempts, Passwords, check_credentials, clean_email, digest, is_email
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.values import STAFF_TOKEN_PREFIX, new_id

Role = Literal["box_office", "manager", "admin"]

FIRST_ADMIN_EMAIL: Final = "admin@lml.localhost"
"""Who the first administrator is where nobody said so. `.localhost` is nobody's domain (RFC 6761)."""

_SQL: Final = postgres.statements("staff")
_TOKEN_BYTES: Final = 32


class Staff(msgspec.Struct, frozen=True):
    """A member of staff. An administrator may do everything; the others what their roles name."""

    id: str
    email: str
    roles: tuple[Role, ...]
    bound: bool = False
    """Whether they reach only what is of the organisations that have them (`guard.reach`)."""

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

    def __init__(self, pool: Pool, passwords: Passwords | None = None) -> None:
        self._pool = pool
        self._passwords = passwords or Passwords()

    async def has(self, email: str) -> bool:
        """Whether this is the address of somebody who is staff. For the server's own choice; never told to anybody."""
        email = clean_email(email)
        if not is_email(email):
            return False
        async with postgres.connection(self._pool) as connected:
            return await connected.fetchrow(_SQL["find_staff_by_email"], email) is not None

    async def sign_in(self, email: str, password: str, *, address: str | None = None) -> SignedIn:
        """A session of `STAFF_SESSION_SECONDS`.

        `address` is the caller's network address, None where it is exempt from caps. Raises `Unauthorized`, in one
        shape for an unknown address and a wrong password, and `Overloaded` after too many attempts by this e-mail or
        network address, counted over all workers.
        """
        email = clean_email(email)
        attempts = Attempts(email, address)
        async with postgres.connection(self._pool) as connected:
            await attempts.count(connected)
            known = await connected.fetchrow(_SQL["find_staff_by_email"], email) if is_email(email) else None
        await self._passwords.verify(None if known is None else known["password_hash"], password)
        # Nothing below refuses.
        assert known is not None, "nobody's password is never right"
        token = STAFF_TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        async with postgres.transaction(self._pool) as connected:
            await attempts.forget(connected)
            await connected.execute(_SQL["drop_ended_sessions"])
            expires_at = await connected.fetchval(
                _SQL["open_session"], digest(token), known["id"], float(limits.STAFF_SESSION_SECONDS)
            )
        return SignedIn(token, tuple(known["roles"]), expires_at)

    async def who(self, token: str) -> Staff | None:
        """Whose token this is, or None: unknown, ended, or of somebody who is staff no longer."""
        if not token or len(token) > limits.TOKEN_CHARS_MAX:
            return None
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["find_session"], digest(token))
        return None if row is None else Staff(row["id"], row["email"], tuple(row["roles"]), row["bound"])

    async def sign_out(self, token: str) -> bool:
        """Ends the session of this token; False where it was not good any more."""
        async with postgres.connection(self._pool) as connected:
            return await connected.fetchval(_SQL["close_session"], digest(token)) is not None

    async def signed_out(self, tokens: Collection[str]) -> set[str]:
        """Which of these tokens are good no more."""
        ended, asked = set(tokens), sorted(tokens)
        for start in range(0, len(asked), limits.STAFF_TOKENS_ASKED_MAX):
            by_digest = {digest(token): token for token in asked[start : start + limits.STAFF_TOKENS_ASKED_MAX]}
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
        email = clean_email(email or FIRST_ADMIN_EMAIL)
        password = password or secrets.token_urlsafe(12)
        check_credentials(email, password)
        password_hash = await self._passwords.hash(password)
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_SQL["lock_staff"])
            if await connected.fetchval(_SQL["has_admin"]):
                return None
            await connected.execute(_SQL["create_staff"], new_id("staff"), email, password_hash, ["admin"])
        return email, password

    async def add_staff(self, email: str, password: str, roles: tuple[Role, ...]) -> None:
        """Makes an account, or gives the one of this address this password and these roles. Raises `InvalidInput`."""
        email = clean_email(email)
        check_credentials(email, password)
        password_hash = await self._passwords.hash(password)
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_SQL["create_staff"], new_id("staff"), email, password_hash, list(roles))
