"""The pages, as they lie in `web/`, and the house's own addresses: health, readiness, metrics."""

import asyncio
import hashlib
import mimetypes
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from lml_live import limits
from lml_live.errors import LmlError, NotFound
from lml_live.gateway.documents import SECURITY_HEADERS
from lml_live.infra.telemetry import METRICS

_WEB: Final = Path(__file__).parent / "web"
_EVENT_PAGE: Final = "event.html"
_PAGES: Final = {
    "/": "index.html",
    "/events/{event}": _EVENT_PAGE,
    "/bookings": "bookings.html",
    "/bookings/{booking}": "booking.html",
    "/account": "account.html",
    "/organisation": "organisation.html",
    "/layouts": "layouts.html",
    "/layouts/{layout}/edit": "layouteditor.html",
    "/counter": "countersale.html",
    "/counter/bookings": "counterbooking.html",
}
STRIPE_JS: Final = "https://js.stripe.com"
"""Where the real Stripe's script comes from; it may come from nowhere else."""
_BUYING: Final = b'<meta name="lml-buying" content="%s">'

Probe = Callable[[], Awaitable[None]]
"""Asks an engine whether it serves; raises `LmlError` or `OSError` where it does not."""


class _File(msgspec.Struct, frozen=True):
    body: bytes
    content_type: str
    tag: str


def _load(path: Path) -> _File:
    body = path.read_bytes()
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _seal(body, content_type)


def _seal(body: bytes, content_type: str) -> _File:
    return _File(body, content_type, hashlib.sha256(body).hexdigest()[:32])


def _connect(*origins: str) -> str:
    return " ".join(("; connect-src 'self'", *filter(None, origins)))


def payment_policy(payment_origin: str, cdn_origin: str = "") -> str:
    """What the event page's Content-Security-Policy allows more than other pages', so that a card can be paid with; and
    that the layout may be read from a CDN.

    Stripe's script brings its own frames and asks its own API; the double is only asked.
    https://docs.stripe.com/security/guide#content-security-policy
    """
    if payment_origin != STRIPE_JS:
        return _connect(payment_origin, cdn_origin)
    return (
        f"; script-src 'self' {STRIPE_JS} https://*.js.stripe.com"
        f"; frame-src {STRIPE_JS} https://*.js.stripe.com https://hooks.stripe.com"
        f"{_connect('https://api.stripe.com', cdn_origin)}"
        "; img-src 'self' https://*.stripe.com"
    )


def _serve(request: web.Request, file: _File, policy: str = "") -> web.Response:
    headers = {**SECURITY_HEADERS, "ETag": f'"{file.tag}"', "Cache-Control": "no-cache"}
    headers["Content-Security-Policy"] += policy
    if any(known.value == file.tag for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=headers)


def page_routes(*, payment_origin: str | None = None, cdn_origin: str = "") -> list[web.RouteDef]:
    """The index of events, the page of an event, bookings, their scripts and styles. Files are read once, at start.

    `payment_origin` is `STRIPE_JS` or the double's; None where nothing can be bought, and then the event page says so.
    Pages may read layouts from `cdn_origin`, too, where there is a CDN.
    """
    files = {path.name: _load(path) for path in sorted(_WEB.iterdir()) if path.is_file()}
    plain = _connect(cdn_origin) if cdn_origin else ""
    policies = dict.fromkeys(_PAGES.values(), plain)
    if payment_origin is not None:
        policies[_EVENT_PAGE] = payment_policy(payment_origin, cdn_origin)
    if payment_origin is None:
        closed = files[_EVENT_PAGE].body.replace(_BUYING % b"open", _BUYING % b"closed")
        files[_EVENT_PAGE] = _seal(closed, files[_EVENT_PAGE].content_type)

    async def page(request: web.Request) -> web.Response:
        resource = request.match_info.route.resource
        assert resource is not None
        name = _PAGES[resource.canonical]
        return _serve(request, files[name], policies[name])

    async def file(request: web.Request) -> web.Response:
        found = files.get(request.match_info["file"])
        if found is None:
            raise NotFound("There is no such file.")
        return _serve(request, found)

    return [*(web.get(path, page) for path in _PAGES), web.get("/web/{file}", file)]


def house_routes(probes: Mapping[str, Probe]) -> list[web.RouteDef]:
    """`/healthz` (this process lives), `/readyz` (every engine answers, each by name) and `/metrics`."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"}, headers={"Cache-Control": "no-store"})

    async def ask(probe: Probe) -> str:
        try:
            async with asyncio.timeout(limits.PROBE_SECONDS):
                await probe()
        except (LmlError, OSError, TimeoutError):
            return "unavailable"
        return "ok"

    async def readyz(_: web.Request) -> web.Response:
        answers = dict(zip(probes, await asyncio.gather(*map(ask, probes.values())), strict=True))
        ready = all(answer == "ok" for answer in answers.values())
        body = {"status": "ok" if ready else "unavailable", **answers}
        return web.json_response(body, status=200 if ready else 503, headers={"Cache-Control": "no-store"})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=METRICS.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]
