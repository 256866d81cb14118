"""SMTP: mails handed to the house's mail server. aiosmtplib is imported here alone, and only where a server is set."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from email.message import EmailMessage
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from lml_live import limits

SCHEMES: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_NO_SERVER: Final = "is no mail server; smtps://user:password@mail.example.org, say, is expected"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

SendMail = Callable[[str, EmailMessage], Awaitable[None]]
"""(recipient, message): hands a mail over. Raises `MailFault`."""


class MailFault(Exception):
    """A mail was not taken. `permanent`: it never will be. `broken`: nothing more goes over this connection.

    Its words have no address in them, nor anything of the server's, which may quote one.
    """

    def __init__(self, words: str, *, permanent: bool = False, broken: bool = False) -> None:
        super().__init__(words)
        self.permanent = permanent
        self.broken = broken


class MailServer(Struct, frozen=True):
    """Where mails are handed over."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: str | None


def parse_server(url: str) -> MailServer:
    """Reads `smtp://`, `smtp+starttls://` or `smtps://[user:password@]host[:port]`. Raises `ValueError`."""
    try:
        address = urlsplit(url)
        port = address.port
    except ValueError:
        raise ValueError(_NO_SERVER) from None  # its words quote the address: a part of a password, perhaps
    if address.scheme not in SCHEMES or not address.hostname or address.path.strip("/"):
        raise ValueError(_NO_SERVER)
    if address.query or address.fragment:
        raise ValueError(f"{_NO_SERVER}; write ? in a password as %3F, # as %23, / as %2F")
    if address.username and address.scheme == "smtp" and address.hostname not in _LOOPBACK:
        raise ValueError("would send a password that anybody on the way can read; use smtps or smtp+starttls")
    user = unquote(address.username) if address.username else None
    password = unquote(address.password) if address.password else None
    if (user is None) != (password is None):
        raise ValueError("has a user without a password, or the other way round")
    return MailServer(address.scheme, address.hostname, port or SCHEMES[address.scheme], user, password)


class Smtp:
    """One mail server."""

    def __init__(self, url: str, *, own_name: str) -> None:
        self._server = parse_server(url)
        self._own_name = own_name

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[SendMail]:
        """A connection for some mails, one after another. Raises `MailFault` where there is none to be had."""
        import aiosmtplib

        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            local_hostname=self._own_name,
            timeout=limits.MAIL_CALL_SECONDS,
            use_tls=server.scheme == "smtps",
            start_tls=server.scheme == "smtp+starttls",
            validate_certs=True,
        )
        with _faults(greeting=True):
            async with asyncio.timeout(limits.MAIL_SEND_SECONDS):
                await client.connect()

        async def send(recipient: str, message: EmailMessage) -> None:
            with _faults():
                async with asyncio.timeout(limits.MAIL_SEND_SECONDS):
                    await client.send_message(message, recipients=[recipient])

        try:
            yield send
        finally:
            await _part(client)


async def _part(client: Any) -> None:
    """A goodbye that a server may not answer."""
    import aiosmtplib

    try:
        async with asyncio.timeout(limits.MAIL_CALL_SECONDS):
            await client.quit()
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        client.close()


@contextmanager
def _faults(*, greeting: bool = False) -> Iterator[None]:
    import aiosmtplib

    try:
        yield
    except aiosmtplib.SMTPRecipientsRefused as error:
        code = error.recipients[0].code if error.recipients else 0
        raise MailFault(f"the recipient was refused ({code})", permanent=code >= 500) from None
    except aiosmtplib.SMTPResponseException as error:
        # Whom we are or may write as is the house's matter, not the mail's: set right, all go out.
        ours = greeting or isinstance(error, aiosmtplib.SMTPSenderRefused | aiosmtplib.SMTPAuthenticationError)
        words = f"the server refused {'us' if ours else 'the mail'} ({error.code})"
        raise MailFault(words, permanent=error.code >= 500 and not ours, broken=ours or error.code == 421) from None
    except aiosmtplib.SMTPNotSupported:
        if greeting:
            raise MailFault("the server does not speak as LML_SMTP_URL says", broken=True) from None
        raise MailFault("the server does not know such addresses", permanent=True) from None
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
        raise MailFault(f"the server does not answer ({type(error).__name__})", broken=True) from None
