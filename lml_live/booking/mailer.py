"""Sends what buyers and managers are to be told: the rows of `mail`, which the deciding transactions wrote.

At least once: a worker that dies between a server's yes and its note lets the lease lapse, and another sends the mail
again, under the same Message-ID. Two workers never send one at once. What a server refuses for good is given up, what
it refuses for now is tried again, more and more seldom, for some days.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Final, Protocol

import asyncpg
from msgspec import Struct

from lml_live import limits
from lml_live.booking.letters import Facts, UnusableAddress, ascii_domain, compose
from lml_live.errors import LmlError
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.infra.smtp import MailFault, SendMail

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("mail")


class Post(Protocol):
    """What takes mails: a mail server, or the mailbox."""

    def connect(self) -> AbstractAsyncContextManager[SendMail]:
        """For some mails, one after another. Raises `MailFault`."""


class Mailer:
    """The mails' loop of one worker.

    `access` makes a booking's secret, `invitation` that of somebody who may choose a password; `public_url` is where
    the pages are.
    """

    def __init__(
        self,
        pool: Pool,
        post: Post,
        access: Callable[[str], str],
        *,
        sender: str,
        public_url: str,
        invitation: Callable[[str], str] = str,
        terms_url: str | None = None,
    ) -> None:
        self._terms_url = terms_url
        self._pool = pool
        self._post = post
        self._access = access
        self._invitation = invitation
        self._sender = sender
        self._public_url = public_url.rstrip("/")
        self._pause = 0.0
        """How long this worker rests, because no mail server takes anything from it."""

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            busy = False
            try:
                busy = await self.turn() > 0
            except LmlError as error:
                log.debug("mails wait: %s", error)
            except Exception:  # the loop of the worker: nothing may end it (style.md, 14)
                log.exception("sending mails failed")
            if not busy or self._pause:
                # A little chance keeps the workers from coming all at once.
                wait = max(self._pause, limits.MAIL_LOOK_SECONDS)
                await asyncio.sleep(wait * (0.5 + random.random()))  # noqa: S311

    async def turn(self) -> int:
        """Sends some of what is due; answers how many were taken or given up."""
        async with postgres.transaction(self._pool) as connected:
            rows = await connected.fetch(
                _SQL["lease_mails"], limits.MAIL_BATCH, float(limits.MAIL_LEASE_SECONDS), float(limits.MAIL_AGE_SECONDS)
            )
            for row in rows:
                if row["stale"]:
                    await connected.execute(_SQL["give_up_mail"], row["id"], "nobody sent it in time")
            fresh = [row["id"] for row in rows if not row["stale"]]
            loaded = await connected.fetch(_SQL["load_mails"], fresh) if fresh else []
            others = fresh if len(loaded) < len(fresh) else []
            invited = await connected.fetch(_SQL["load_invitations"], others) if others else []
            refused = await connected.fetch(_SQL["load_payout_mails"], others) if others else []
            for row in invited:
                if not row["good"]:
                    await connected.execute(_SQL["give_up_mail"], row["id"], "the link is good no more")
        waiting = [(self._facts(row), row["tries"]) for row in loaded]
        waiting += [(self._invite(row), row["tries"]) for row in invited if row["good"]]
        waiting += [(self._tell_of_payout(row), row["tries"]) for row in refused]
        done = len(rows) - len(waiting)
        if done:
            log.error("%d mails were given up: nobody sent them in time", done)
        begun = time.monotonic()
        try:
            if waiting:
                async with self._post.connect() as send:
                    while waiting and time.monotonic() - begun < limits.MAIL_BATCH_SECONDS:
                        done += await self._send(send, *waiting.pop(0))
                    self._pause = 0.0
        except MailFault as fault:
            # The connection's fault, not the mails': they keep their turns, and this worker takes a rest.
            self._pause = min(limits.MAIL_PAUSE_SECONDS_MAX, 2 * self._pause or limits.MAIL_LOOK_SECONDS)
            log.warning("mails wait for %.0f s: %s", self._pause, fault)
        finally:
            if waiting:
                await asyncio.shield(self._give_back([facts.id for facts, _ in waiting]))
        return done

    async def _send(self, send: SendMail, facts: Facts, tries: int) -> int:
        """1 where the mail is done with. Raises `MailFault` where the connection is."""
        try:
            message = compose(facts, self._sender, datetime.now(UTC))
            await send(ascii_domain(facts.email), message)
        except (UnusableAddress, UnicodeError) as error:
            return await self._give_up(facts, f"{type(error).__name__}: no mail can be addressed so")
        except MailFault as fault:
            if fault.permanent or tries >= limits.MAIL_TRIES_MAX:
                return await self._give_up(facts, str(fault))
            await self._postpone(facts, tries, fault)
            if fault.broken:
                raise
            return 0
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["finish_mail"], facts.id)
        log.info("%s: its mail, %s, was sent", facts.booking, facts.kind)
        return 1

    async def _give_up(self, facts: Facts, why: str) -> int:
        log.error("%s: its mail, %s, was given up: %s", facts.booking, facts.kind, why)
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["give_up_mail"], facts.id, why)
        return 1

    async def _postpone(self, facts: Facts, tries: int, fault: MailFault) -> None:
        most = min(limits.MAIL_BACK_OFF_SECONDS_MAX, limits.MAIL_BACK_OFF_SECONDS * 2.0 ** min(tries - 1, 16))
        wait = most * (0.5 + random.random() / 2)  # noqa: S311
        log.warning("%s: its mail will be tried again in %.0f s: %s", facts.booking, wait, fault)
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["postpone_mail"], facts.id, wait, str(fault))

    async def _give_back(self, mails: Sequence[int]) -> None:
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["give_mails_back"], list(mails))

    def _facts(self, row: asyncpg.Record) -> Facts:
        fields = dict(row)
        booking = fields["booking_id"]
        return Facts(
            id=fields["id"],
            kind=fields["kind"],
            booking=booking,
            name=fields["buyer_name"],
            email=fields["buyer_email"],
            amount=fields["amount"],
            currency=fields["currency"],
            places=fields["places"],
            event=fields["event"],
            venue=fields["venue"],
            starts_at=fields["starts_at"],
            link=f"{self._public_url}/bookings/{booking}#{self._access(booking)}",
            at_counter=fields["tender"] is not None,
            terms_url=self._terms_url,
        )

    def _invite(self, row: asyncpg.Record) -> Facts:
        """An invitation's secret stands behind `#`, as a booking's does."""
        return Facts(
            id=row["id"],
            kind="invited",
            booking=row["invitation"],
            name="",
            email=row["email"],
            amount=0,
            currency="",
            places=0,
            event="",
            venue="",
            starts_at=datetime.now(UTC),
            link=f"{self._public_url}/account#{self._invitation(row['invitation'])}",
        )

    def _tell_of_payout(self, row: asyncpg.Record) -> Facts:
        """To the page where its organisation's managers sign in: the link has no secret."""
        return Facts(
            id=row["id"],
            kind=row["kind"],
            booking=row["stripe_id"],
            name="",
            email=row["email"],
            amount=row["amount"],
            currency=row["currency"],
            places=0,
            event="",
            venue="",
            starts_at=row["created"],
            link=f"{self._public_url}/organisation?organisation={row['organisation_id']}",
            organisation=row["organisation"],
            failure_code=row["failure_code"],
        )


class Kept(Struct, frozen=True):
    """A mail in the mailbox; `body` is its plain text."""

    id: int
    recipient: str
    subject: str
    body: str
    at: datetime


class Mailbox:
    """The demonstration's post: mails are kept to be looked at, and go nowhere."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[SendMail]:
        """As a mail server that takes everything."""
        yield self._keep

    async def _keep(self, recipient: str, message: EmailMessage) -> None:
        text = message.get_body(("plain",))
        assert text is not None
        mail = int(message["Message-ID"].removeprefix("<").partition(".")[0])
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["keep_mail"], mail, recipient, str(message["Subject"]), text.get_content())

    async def list(self) -> list[Kept]:
        """The newest first, without their text."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["list_kept"], limits.MAILBOX_LISTED)
        return [Kept(row["mail_id"], row["recipient"], row["subject"], "", row["at"]) for row in rows]

    async def load(self, mail: int) -> Kept | None:
        """One mail."""
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_kept"], mail)
        return None if row is None else Kept(row["mail_id"], row["recipient"], row["subject"], row["body"], row["at"])
