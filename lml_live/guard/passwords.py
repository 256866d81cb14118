"""Passwords, and how often somebody may try one: the same for staff and for buyers.

Kept as argon2id. What nobody has is checked against somebody's hash all the same, so that a refusal takes as long
whatever was wrong. Attempts are counted by e-mail address and by network address, over all workers.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import argon2

from lml_live import limits
from lml_live.errors import InvalidInput, Overloaded, Unauthorized, Violation
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection

_SQL: Final = postgres.statements("sign_ins")
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f]{1,64}@[^\s@\x00-\x1f]{1,190}")
_HASHER: Final = argon2.PasswordHasher.from_parameters(argon2.profiles.RFC_9106_LOW_MEMORY)


class Passwords:
    """Hashes passwords and compares them, few at a time: each takes a core and 64 MiB."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(limits.PASSWORD_HASHES_AT_ONCE)
        self._waiting = 0
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """What is kept of a password. Raises `Overloaded`."""
        async with self._hashing():
            return await asyncio.to_thread(_HASHER.hash, password)

    async def verify(self, stored: str | None, password: str) -> None:
        """Raises `Unauthorized` where the password is not the stored one, and as slowly where nothing is stored."""
        known = stored if stored is not None else await self._nobody_hash()
        async with self._hashing():
            right = await asyncio.to_thread(_matches, known, password)
        if stored is None or not right:
            raise wrong()

    async def _nobody_hash(self) -> str:
        if self._nobody is None:
            self._nobody = await self.hash(secrets.token_urlsafe(12))
        return self._nobody

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


class Attempts:
    """One attempt of an e-mail address, and of a network address where that is capped."""

    def __init__(self, email: str, address: str | None) -> None:
        self._email = digest(f"email {email}")
        self._address = None if address is None else digest(f"address {address}")

    async def count(self, connected: Connection) -> None:
        """Counts it. Raises `Overloaded` where there were too many of one of the two."""
        if self._address is not None:
            await _count(connected, self._address, limits.SIGN_IN_ATTEMPTS_PER_ADDRESS)
        await _count(connected, self._email, limits.SIGN_IN_ATTEMPTS_PER_EMAIL)

    async def forget(self, connected: Connection) -> None:
        """It succeeded: nothing speaks against the e-mail address any more, and no more than before against the other.

        Anybody has an account of their own to sign in to between two guesses at others'.
        """
        await connected.execute(_SQL["forget_attempts"], self._email)
        if self._address is not None:
            await connected.execute(_SQL["take_attempt_back"], self._address)
        await connected.execute(_SQL["drop_old_attempts"], float(limits.SIGN_IN_WINDOW_SECONDS))


def clean_email(email: str) -> str:
    """The address as it is kept: the case of letters tells nobody apart."""
    return email.strip().lower()


def is_email(email: str) -> bool:
    """Whether mail could be sent there."""
    return _EMAIL.fullmatch(email) is not None


def check_credentials(email: str, password: str) -> None:
    """Raises `InvalidInput` that lists what is wrong with an e-mail address and a password."""
    faults = []
    if not is_email(email):
        faults.append(Violation("email", "is no e-mail address, such as box-office@example.com"))
    if not limits.PASSWORD_CHARS_MIN <= len(password) <= limits.PASSWORD_CHARS_MAX:
        bounds = f"{limits.PASSWORD_CHARS_MIN} to {limits.PASSWORD_CHARS_MAX}"
        faults.append(Violation("password", f"has not {bounds} characters"))
    if faults:
        raise InvalidInput("Nobody could sign in with this.", errors=tuple(faults))


def wrong() -> Unauthorized:
    """The one refusal of a sign-in, whatever was wrong."""
    return Unauthorized("The e-mail address or the password is wrong.")


def digest(text: str) -> bytes:
    """SHA-256, of what is not to be read in a table."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


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
