"""A database with a booking, and a real mail server beside it (aiosmtpd) that answers as it is told."""

import asyncio
import email
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from databases import FIT_PAYMENT

from lml_live.booking.mailer import Mailer, Post
from lml_live.infra import postgres
from lml_live.infra.smtp import Smtp

EVENT = """
    INSERT INTO event (id, group_id, name, venue, starts_at, on_sale_at, currency, layout_id, layout_version,
                       layout_hash, seat_count, max_seats, hold_seconds, extensions, lifetime_seconds)
    VALUES ('aida', 'aida', 'Aïda & Co', 'Hall', '2030-12-01T19:30:00Z', now(), 'EUR', 'hall', 1, 'ab', 9, 8, 300, 2,
            1800)
"""
BOOKING = """
    INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end, buyer_name,
                         buyer_email, amount, currency, prices_version, expires_at)
    VALUES ($1, 'aida', 'h', 'anna', 1, 'pending_payment', now(), now(), $2, $3, 4750, 'EUR', 1, now())
"""
SENDER = "Box office <tickets@example.org>"
URL = "https://tickets.example.org/"


class MailServer:
    """Takes mails, or answers what `.answers` says to the next ones: a reply, or None to cut the connection."""

    def __init__(self) -> None:
        self.url = ""
        self.taken: list[tuple[list[str], EmailMessage]] = []
        self.recipients: list[str | None] = []
        """Answers to the next recipients; taken when it is empty."""
        self.answers: list[str | None] = []
        """The same to the next mails."""
        self.connections = 0
        self.secure: list[bool] = []
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_RCPT(self, server: SMTP, _: Session, envelope: Envelope, address: str, __: Any) -> str:
        answer = self.recipients.pop(0) if self.recipients else "250 OK"
        if answer is None:
            server.transport.abort()
            return "421 Bye"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer is None:
            server.transport.abort()
            return "421 Bye"
        if answer.startswith("250"):
            self.secure.append(session.ssl is not None)
            message = email.message_from_bytes(envelope.content, policy=POLICY)  # type: ignore[arg-type]
            assert isinstance(message, EmailMessage)
            self.taken.append((envelope.rcpt_tos, message))
        return answer

    def login(self, _: SMTP, __: Session, ___: Envelope, ____: str, data: LoginPassword) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"s3cr:t/", handled=False)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[MailServer]:
    """A mail server on this loop; with `tls` it offers STARTTLS and wants a login."""
    double = MailServer()
    options = {} if tls is None else {"tls_context": tls, "auth_required": True, "authenticator": double.login}
    server = await _listen(double, options)
    try:
        yield double
    finally:
        server.close()


async def _listen(double: MailServer, options: dict[str, Any]) -> asyncio.Server:
    loop = asyncio.get_running_loop()

    def connect() -> SMTP:
        double.connections += 1
        return SMTP(double, loop=loop, enable_SMTPUTF8=False, hostname="mail.test", ident="test", **options)

    server = await loop.create_server(connect, "127.0.0.1", 0)
    double.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    return server


class MailHouse:
    def __init__(self, pool: postgres.Pool, server: MailServer) -> None:
        self.pool, self.server = pool, server
        self.mailer = self.new_mailer()

    def new_mailer(self, post: Post | None = None) -> Mailer:
        post = post or Smtp(self.server.url, own_name="test")
        return Mailer(self.pool, post, lambda booking: f"secret-of-{booking}", sender=SENDER, public_url=URL)

    async def book(self, name: str = "Anna", address: str = "anna@example.org", booking: str = "b1") -> None:
        """A booking that has just been confirmed."""
        await self.pool.execute(BOOKING, booking, name, address)
        await self.move(booking, "confirmed")

    async def move(self, booking: str, *states: str) -> None:
        for state in states:
            await self.pool.execute(FIT_PAYMENT, booking, state)
            await self.pool.execute("UPDATE booking SET state = $2 WHERE id = $1", booking, state)

    async def mails(self) -> list[tuple[str, str, int]]:
        rows = await self.pool.fetch("SELECT booking_id, kind, ordinal FROM mail ORDER BY id")
        return [(row["booking_id"], row["kind"], row["ordinal"]) for row in rows]

    async def state(self, booking: str = "b1") -> tuple[str, int, str | None]:
        """Whether it is sent, given up or open; how often it was tried; the last fault."""
        row = await self.pool.fetchrow(
            "SELECT CASE WHEN sent IS NOT NULL THEN 'sent' WHEN given_up IS NOT NULL THEN 'given up' ELSE 'open' END"
            " AS state, tries, fault, leased_until FROM mail WHERE booking_id = $1",
            booking,
        )
        assert row is not None
        assert row["leased_until"] is None
        return row["state"], row["tries"], row["fault"]

    async def later(self) -> None:
        """All that waits is due, and no lease lasts any more."""
        await self.pool.execute("UPDATE mail SET due = now(), leased_until = NULL")

    def told(self) -> list[str]:
        """Who was written to, in order."""
        return [recipient for recipients, _ in self.server.taken for recipient in recipients]


@asynccontextmanager
async def open_mail(dsn: str) -> AsyncIterator[MailHouse]:
    pool = await postgres.connect_pool(dsn, size_max=4)
    try:
        async with serving() as server:
            await pool.execute(EVENT)
            yield MailHouse(pool, server)
    finally:
        await pool.close()
