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
_PAGES: Final = {"/": "index.html", "/events/{event}": "event.html"}

Probe = Callable[[], Awaitable[None]]
"""Asks an engine whether it serves; raises `LmlError` or `OSError` where it does not."""


class _File(msgspec.Struct, frozen=True):
    body: bytes
    content_type: str
    tag: str


def _load(path: Path) -> _File:
    body = path.read_bytes()
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _File(body, content_type, hashlib.sha256(body).hexdigest()[:32])


def _serve(request: web.Request, file: _File) -> web.Response:
    headers = {**SECURITY_HEADERS, "ETag": f'"{file.tag}"', "Cache-Control": "no-cache"}
    if any(known.value == file.tag for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=headers)


def page_routes() -> list[web.RouteDef]:
    """The index of events, the page of an event, and their scripts and styles. Files are read once, at start."""
    files = {path.name: _load(path) for path in sorted(_WEB.iterdir()) if path.is_file()}

    async def page(request: web.Request) -> web.Response:
        resource = request.match_info.route.resource
        assert resource is not None
        return _serve(request, files[_PAGES[resource.canonical]])

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
