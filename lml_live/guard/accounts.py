"""Buyers' accounts: who asks for one, how they sign in, which sessions last.

An account has one holder, whatever device its buyer is on, so that all limits on holders are limits on accounts. Nobody
can find out who has one: asking for an account answers the same for every address, and what happens next stands in a
mail that only its owner reads. The link in it lets a password be chosen, the first time and whenever one is forgotten.
"""

import hmac
from collections.abc import Collection
from datetime import datetime
from typing import Final

from msgspec import Struct

from lml_live import limits
from lml_live.errors import InvalidInput, Unauthorized, Unavailable, Violation
from lml_live.guard.passwords import Attempts, Passwords, check_credentials, clean_email, is_email, wrong
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.values import is_id, new_id

_SQL: Final = postgres.statements("accounts")


class Member(Struct, frozen=True):
    """A buyer who has just signed in."""

    email: str
    holder: str
    session: str
    expires_at: datetime


class Accounts:
    """The accounts of the house. `secret` makes invitations; `sends_mail` says whether anybody carries them."""

    def __init__(self, pool: Pool, passwords: Passwords, secret: bytes, *, sends_mail: bool) -> None:
        self._pool = pool
        self._passwords = passwords
        self._secret = hmac.digest(secret, b"lml invitation v1", "sha256")
        self._sends_mail = sends_mail

    async def invite(self, email: str, *, address: str | None = None) -> None:
        """Writes to an address how to choose a password; the same for those who have an account and those who have not.

        `address` as in `sign_in`. Raises `InvalidInput`, `Overloaded`, and `Unavailable` where no mail is ever sent.
        """
        if not self._sends_mail:
            raise Unavailable("This house sends no e-mail, so it has no accounts.")
        email = clean_email(email)
        if not is_email(email):
            raise InvalidInput("No mail can be sent there.", errors=(Violation("email", "is no e-mail address"),))
        async with postgres.connection(self._pool) as connected:
            await Attempts(email, address).count(connected)
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_SQL["drop_old_invitations"], float(limits.INVITATION_KEPT_SECONDS))
            await connected.execute(_SQL["lock_invitations"], email)
            sent = await connected.fetchval(_SQL["count_invitations"], email, float(limits.SIGN_IN_WINDOW_SECONDS))
            if sent < limits.INVITATIONS_PER_EMAIL:  # a mailbox is not to be filled by whoever likes to
                await connected.execute(_SQL["invite"], new_id("i"), email, float(limits.INVITATION_SECONDS))

    def invitation(self, number: str) -> str:
        """What stands in an invitation's mail."""
        return f"{number}.{hmac.digest(self._secret, number.encode(), 'sha256').hex()}"

    async def accept(self, invitation: str, password: str, *, address: str | None = None) -> Member:
        """Whoever reads the mail chooses a password, and is signed in; all other sessions of the account end.

        Raises `Unauthorized` for an invitation that is not good any more, and `InvalidInput` for a bad password.
        """
        number = invitation.partition(".")[0]
        if not is_id(number) or not hmac.compare_digest(self.invitation(number).encode(), invitation.encode()):
            raise _used()
        check_credentials("somebody@example.com", password)
        async with postgres.connection(self._pool) as connected:
            await Attempts(number, address).count(connected)
        stored = await self._passwords.hash(password)
        async with postgres.transaction(self._pool) as connected:
            email = await connected.fetchval(_SQL["use_invitation"], number)
            if email is None:
                raise _used()
            await connected.execute(_SQL["end_invitations"], email)
            account = await connected.fetchrow(_SQL["set_password"], new_id("a"), email, stored, new_id("h"))
            assert account is not None, "set_password always returns a row"
            await connected.execute(_SQL["end_all_sessions"], account["id"])
            return await _open(connected, account["id"], email, account["holder"])

    async def sign_in(self, email: str, password: str, *, address: str | None = None) -> Member:
        """A session of `ACCOUNT_SESSION_SECONDS`. Refuses as `StaffDesk.sign_in` does, in the same time."""
        email = clean_email(email)
        attempts = Attempts(email, address)
        async with postgres.connection(self._pool) as connected:
            await attempts.count(connected)
            known = await connected.fetchrow(_SQL["find_account"], email) if is_email(email) else None
        await self._passwords.verify(None if known is None else known["password_hash"], password)
        assert known is not None, "nobody's password is never right"
        async with postgres.transaction(self._pool) as connected:
            # To compare takes a while, and whoever chose another password meanwhile has ended all sessions by it.
            if await connected.fetchval(_SQL["keep_password"], known["id"], known["password_hash"]) is None:
                raise wrong()
            await attempts.forget(connected)
            return await _open(connected, known["id"], email, known["holder"])

    async def sign_out(self, session: str) -> bool:
        """Ends a session; False where it had ended."""
        async with postgres.connection(self._pool) as connected:
            return await connected.fetchval(_SQL["close_account_session"], session) is not None

    async def ended(self, sessions: Collection[str]) -> set[str]:
        """Which of these sessions last no longer."""
        ended, asked = set(sessions), sorted(sessions)
        for start in range(0, len(asked), limits.STAFF_TOKENS_ASKED_MAX):
            some = asked[start : start + limits.STAFF_TOKENS_ASKED_MAX]
            async with postgres.connection(self._pool) as connected:
                ended -= {row["id"] for row in await connected.fetch(_SQL["list_open_account_sessions"], some)}
        return ended


async def _open(connected: Connection, account: str, email: str, holder: str) -> Member:
    await connected.execute(_SQL["drop_ended_account_sessions"])
    session = new_id("s")
    expires_at = await connected.fetchval(
        _SQL["open_account_session"], session, account, float(limits.ACCOUNT_SESSION_SECONDS)
    )
    await connected.execute(_SQL["end_oldest_sessions"], account, limits.SESSIONS_PER_ACCOUNT_MAX)
    return Member(email, holder, session, expires_at)


def _used() -> Unauthorized:
    return Unauthorized("This link is not good any more: ask for another one.")
