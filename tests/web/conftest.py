"""Chromium, a page server without a back end, and a small box office that says what a test wants it to say."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from box_office import BoxOffice
from playwright.async_api import Browser, Page, async_playwright, expect

WEB = Path(__file__).parents[2] / "lml_live" / "gateway" / "web"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser"))), None)
"""The shell is the same Chromium without a browser's windows around it, at half the cost a page."""
ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A page that a test serves itself counts as a public one, which may not speak to this machine.
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
)
CSP = "default-src 'self'"

# Five seconds are Playwright's own; a machine that is five times slower must pass, too.
expect.set_options(timeout=25_000)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium; skipped without one, unless the run demands it."""
    if CHROMIUM is None:
        if os.environ.get("LML_TEST_REQUIRE_CHROMIUM") == "1":
            pytest.fail("There is no Chromium, and LML_TEST_REQUIRE_CHROMIUM=1 demands one.")
        pytest.skip("There is no Chromium: apt-get install chromium-headless-shell")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGS))
        yield launched
        await launched.close()


def _application(office: BoxOffice) -> web.Application:
    @web.middleware
    async def policy(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        if not response.prepared:
            response.headers["Content-Security-Policy"] = CSP
        return response

    def file(name: str) -> Any:
        async def serve(_: web.Request) -> web.FileResponse:
            return web.FileResponse(WEB / name)

        return serve

    async def blank(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>blank</title>", content_type="text/html")

    async def script(request: web.Request) -> web.FileResponse:
        return web.FileResponse(Path(__file__).with_name(request.path.rpartition("/")[2]))

    application = web.Application(middlewares=[policy])
    application.router.add_get("/", file("index.html"))
    application.router.add_get("/events/{event}", file("event.html"))
    application.router.add_get("/bookings", file("bookings.html"))
    application.router.add_get("/bookings/{booking}", file("booking.html"))
    application.router.add_get("/account", file("account.html"))
    application.router.add_get("/blank", blank)
    for name in ("scenario.js", "plan_cases.js"):
        application.router.add_get(f"/test/{name}", script)
    application.router.add_static("/web", WEB)
    office.add_routes(application.router)
    return application


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def _site() -> AsyncIterator[tuple[str, BoxOffice]]:
    office = BoxOffice()
    server = TestServer(_application(office))
    await server.start_server()
    yield str(server.make_url("")).rstrip("/"), office
    await office.close()
    await server.close()


@pytest_asyncio.fixture(loop_scope="session")
async def office(_site: tuple[str, BoxOffice]) -> AsyncIterator[BoxOffice]:
    """The box office, as new."""
    _site[1].reset()
    yield _site[1]
    await _site[1].close()


@pytest.fixture
def site(_site: tuple[str, BoxOffice]) -> str:
    """The base address of the pages."""
    return _site[0]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def blank(browser: Browser, _site: tuple[str, BoxOffice]) -> AsyncIterator[Page]:
    """One empty page that can import the modules under test; pure tests share it."""
    context = await browser.new_context(locale="en-GB")
    opened = await context.new_page()
    await opened.goto(f"{_site[0]}/blank")
    yield opened
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page of its own; an error on it fails the test."""
    # Playwright's `wait_for_function` evaluates text, which the pages' own policy forbids.
    context = await browser.new_context(bypass_csp=True, viewport={"width": 1280, "height": 800}, locale="en-GB")
    opened = await context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    await context.close()
    assert errors == []
