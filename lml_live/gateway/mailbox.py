"""The demonstration's mailbox: what buyers would have been written, for whoever sits at this machine.

There only where the settings say so. Every mail has a booking's secret in it, so nobody else may look: the caller must
be this machine, under a name of this machine (a page of the web that points its own name here is refused), and through
no proxy that says so (one that adds no header of its own cannot be told from a browser here).
"""

import html
import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from lml_live.booking.mailer import Kept, Mailbox
from lml_live.errors import NotFound
from lml_live.gateway.documents import SECURITY_HEADERS

_PROXIED: Final = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Via")
_LINK: Final = re.compile(r"https?://\S+")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")

_PAGE: Final = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="robots" content="noindex">
    <title>{title} · LML Live</title>
    <link rel="icon" href="/web/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/web/base.css">
    <link rel="stylesheet" href="/web/bookings.css">
  </head>
  <body>
    <header class="head"><a class="brand" href="/"><img src="/web/icon.svg" alt="">LML Live</a></header>
    <main id="main" class="bookings">
{body}
    </main>
  </body>
</html>
"""


def routes(mailbox: Mailbox | None) -> list[web.RouteDef]:
    """`/mailbox` and `/mailbox/{mail}`; none where there is no mailbox."""
    if mailbox is None:
        return []
    kept = mailbox

    async def list_mails(request: web.Request) -> web.Response:
        _require_this_machine(request)
        items = "\n".join(
            f'        <li><a href="/mailbox/{mail.id}">{html.escape(mail.subject)}</a>'
            f"<br>{html.escape(mail.recipient)}, {mail.at:%Y-%m-%d %H:%M} UTC</li>"
            for mail in await kept.list()
        )
        listed = f'      <ul class="mails">\n{items}\n      </ul>' if items else "      <p>No mail yet.</p>"
        return _page("Mailbox", f"      <h1>Mailbox</h1>\n      <p>Kept here, and sent to nobody.</p>\n{listed}")

    async def read_mail(request: web.Request) -> web.Response:
        _require_this_machine(request)
        number = request.match_info["mail"]
        mail = await kept.load(int(number)) if _NUMBER.fullmatch(number) else None
        if mail is None:
            raise NotFound("There is no such mail.")
        return _page(mail.subject, _show(mail))

    return [web.get("/mailbox", list_mails), web.get("/mailbox/{mail}", read_mail)]


def _show(mail: Kept) -> str:
    return (
        f'      <p><a href="/mailbox">Mailbox</a></p>\n      <h1>{html.escape(mail.subject)}</h1>\n'
        f"      <p>To {html.escape(mail.recipient)}, {mail.at:%Y-%m-%d %H:%M} UTC</p>\n"
        f'      <div class="mail">{_with_links(mail.body)}</div>'
    )


def _with_links(text: str) -> str:
    """The text escaped; what is an address in it can be followed."""
    parts: list[str] = []
    end = 0
    for found in _LINK.finditer(text):
        link = html.escape(found[0])
        parts += [html.escape(text[end : found.start()]), f'<a href="{link}">{link}</a>']
        end = found.end()
    return "".join(parts) + html.escape(text[end:])


def _page(title: str, body: str) -> web.Response:
    text = _PAGE.format(title=html.escape(title), body=body)
    headers = {**SECURITY_HEADERS, "Cache-Control": "no-store"}
    return web.Response(text=text, content_type="text/html", headers=headers)


def _require_this_machine(request: web.Request) -> None:
    try:
        near = ipaddress.ip_address(request.remote or "").is_loopback
        name = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        near, name = False, ""
    ours = name == "localhost" or name.endswith(".localhost") or name in ("127.0.0.1", "::1")
    if not (near and ours) or any(header in request.headers for header in _PROXIED):
        raise NotFound("There is no such page.")
