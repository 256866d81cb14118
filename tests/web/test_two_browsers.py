"""Two people, two browsers, one seat, the real server: one gets it, both see it."""

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

AVAILABLE, HELD = 0, 1


async def visit(browser: Browser, live_server: Any) -> Page:
    """A visitor of their own: another context is another holder."""
    context = await browser.new_context(bypass_csp=True, viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    await page.goto(f"{live_server.url.rstrip('/')}/events/{live_server.event}")
    await page.wait_for_function("window.lml && lml.ready")
    return page


async def point_at(page: Page, seat: int) -> dict[str, float]:
    """Brings a seat near enough to click, and waits until the map rests."""
    await page.evaluate(
        "(seat) => { const { x, y, radius } = lml.map.layout;"
        " lml.map.moveTo(x[seat], y[seat], 12 / radius[seat], false); }",
        seat,
    )
    await page.wait_for_function("(seat) => lml.map._animation === null && lml.place(seat).r > 8", arg=seat)
    place: dict[str, float] = await page.evaluate("(seat) => lml.place(seat)", seat)
    return place


async def settled(page: Page) -> None:
    await page.wait_for_function("lml.ready && !lml.basket.busy && lml.basket.pending.size === 0")


async def test_two_browsers_click_one_seat(browser: Browser, live_server: Any) -> None:
    one, two = await visit(browser, live_server), await visit(browser, live_server)
    try:
        states = "() => JSON.stringify([lml.epoch, lml.map.layout.hash, Array.from(lml.map.states)])"
        assert await one.evaluate(states) == await two.evaluate(states)

        seat = await one.evaluate("() => { const s = lml.map.states; return s.findIndex((state) => state === 0); }")
        assert seat >= 0
        for page in (one, two):
            place = await point_at(page, seat)
            # Both clicks are on their way before either answer can be back.
            await page.evaluate(
                """([x, y]) => {
                  const at = { clientX: x, clientY: y, pointerId: 1, pointerType: "mouse", button: 0, bubbles: true };
                  const canvas = lml.map.canvas;
                  canvas.setPointerCapture = () => {};
                  const send = (kind) => canvas.dispatchEvent(new PointerEvent(kind, at));
                  window.clickSeat = () => ["pointerdown", "pointerup"].forEach(send);
                }""",
                [place["x"], place["y"]],
            )
        first, second = one.evaluate("clickSeat()"), two.evaluate("clickSeat()")
        await first
        await second
        await settled(one)
        await settled(two)

        owners = [page for page in (one, two) if seat in await page.evaluate("lml.mine")]
        assert len(owners) == 1, "exactly one gets the seat"
        winner = owners[0]
        loser = two if winner is one else one
        told = (
            loser.locator("#toasts, #spoken")
            .filter(has_text="faster")
            .or_(loser.locator("#toasts, #spoken").filter(has_text="held by somebody else"))
        )
        await expect(told.first).to_be_attached()
        await expect(winner.locator("#mine .line")).to_have_count(1)
        for page in (one, two):
            await page.wait_for_function(
                f"(seat) => lml.seatState(seat) === {HELD} && lml.map.states[seat] === {HELD}", arg=seat
            )

        await winner.get_by_role("button", name="Give all back").click()
        for page in (one, two):
            await page.wait_for_function(
                f"(seat) => lml.seatState(seat) === {AVAILABLE} && lml.map.states[seat] === {AVAILABLE}", arg=seat
            )
        await expect(winner.locator("#mine .line")).to_have_count(0)
        assert await one.evaluate("lml.epoch") == await two.evaluate("lml.epoch")
    finally:
        await one.context.close()
        await two.context.close()
