"""The editor of seating plans, in real Chromium against the real server: drawn, mended, saved, published, deployed."""

import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from pressing import press
from serving import ADMIN, LiveServer
from waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).parents[2]
VENUES = ROOT.parent / "shared" / "data" / "venues"
SAMPLE = "section,row,number,x,y,category\n" + "".join(
    f"<b>Stalls</b>,{row},{number},{10 * number},{10 * at},Front\n"
    for at, row in enumerate("AB")
    for number in range(1, 6)
)
"""Markup in a label is text: nothing of it may become an element."""

KEPT = "async (id) => (await (await import('/web/layoutkeep.js')).keptPlan(id)) !== null"


@pytest_asyncio.fixture(loop_scope="session")
async def manager(browser: Browser, shop: LiveServer) -> AsyncIterator[Page]:
    """A page of somebody who has signed in; an error on it fails the test."""
    token = (await shop.sign_in())["Authorization"].removeprefix("Bearer ")
    # Without motion the sheet is where it will be, at once.
    context = await browser.new_context(
        bypass_csp=True, viewport={"width": 1280, "height": 800}, locale="en-GB", reduced_motion="reduce"
    )
    await context.add_init_script(f"sessionStorage.setItem('lml.staff-token', {json.dumps(token)})")
    page = await context.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    await context.close()
    assert said == []


async def ask(server: LiveServer, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    headers |= {"Idempotency-Key": secrets.token_hex(8)} | await server.sign_in()
    async with (
        server.session() as http,
        http.request(method, f"/api/v1{path}", json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


async def checked(page: Page, words: str) -> None:
    """The check has seen the plan as it is now."""
    await expect(page.locator("#problems-lead")).to_have_text(words)


async def test_a_hall_is_drawn_mended_saved_published_and_deployed(manager: Page, shop: LiveServer) -> None:
    page, name = manager, f"hall-{secrets.token_hex(4)}"
    await page.goto(f"{shop.url}/layouts")
    await press(page.get_by_role("button", name="New plan"))
    await expect(page.locator("#new-name")).to_be_focused()
    await page.locator("#new-name").fill("Drawn Hall")
    await expect(page.locator("#new-id")).to_have_value("drawn-hall")
    await page.locator("#new-id").fill(name)
    await page.locator("#new-id").press("Enter")
    await page.wait_for_url("**/edit?*")
    await expect(page.locator("#title")).to_have_text("Drawn Hall")
    await checked(page, "1 to mend")

    # By numbers, as without a mouse: three rows, five seats each.
    sheet = page.locator("#map")
    await sheet.focus()
    await sheet.press("r")
    await page.locator("#draw-rows").fill("3")
    await page.locator("#draw-count").fill("5")
    await page.locator("#draw-x1").fill("280")
    await page.locator("#draw-x1").press("Enter")
    await expect(page.locator("#inspector h2")).to_have_text("15 seats in 3 rows")
    await checked(page, "Everything is as it should be.")
    # By hand: a fourth row behind them, which its middle bends.
    await sheet.press("Escape")
    await sheet.press("r")
    box = await sheet.bounding_box()
    assert box is not None
    at = [(box["x"] + 300, box["y"] + 480), (box["x"] + 500, box["y"] + 480)]
    await page.locator("#draw-rows").fill("1")
    await page.locator("#draw-rows").press("Tab")
    await page.mouse.move(*at[0])
    await page.mouse.down()
    await page.mouse.move(*at[1], steps=3)
    await page.mouse.up()
    await expect(page.locator("#row-label")).to_have_value("D")
    await expect(page.locator("#row-bend")).to_have_value("0")
    await page.mouse.move((at[0][0] + at[1][0]) / 2, at[0][1])
    await page.mouse.down()
    await page.mouse.move((at[0][0] + at[1][0]) / 2, at[0][1] + 30, steps=3)
    await page.mouse.up()
    await expect(page.locator("#row-bend")).not_to_have_value("0")

    # A mistake: row D becomes another C. The check finds it, leads there, and it is mended.
    await page.locator("#row-label").fill("C")
    await page.locator("#row-label").press("Enter")
    await checked(page, "1 to mend")
    await sheet.press("Escape")
    finding = page.locator("#problems-list button")
    await expect(finding).to_contain_text("Used twice: Stalls, row C")
    await press(finding)
    await expect(page.locator("#inspector h2")).to_have_text("5 seats")
    await press(page.locator("#save"))
    await expect(page.locator("#toast")).to_contain_text("Not saved: 1 thing must be mended first.")
    await page.locator("#row-label").fill("D")
    await page.locator("#row-label").press("Enter")
    await checked(page, "Everything is as it should be.")
    await expect(page.locator("#save")).to_be_enabled()
    await page.keyboard.press("Control+s")
    await expect(page.locator("#chip")).to_have_text("Draft")
    await expect(page.locator("#saying")).to_have_text("All changes saved")

    # Painted by hand and taken back, painted by key, and an area.
    await sheet.press("0")  # the finding was brought near
    await sheet.press("b")
    await page.locator("#category-new").fill("Balcony")
    await page.locator("#category-new").press("Enter")
    await expect(page.locator(".pick[aria-pressed=true] .name")).to_have_text("Balcony")
    await page.mouse.move(at[0][0], at[0][1])
    await page.mouse.down()
    await page.mouse.move(at[0][0] + 40, at[0][1] + 10, steps=2)
    await page.mouse.up()
    await expect(page.locator(".pick[aria-pressed=true] .count")).not_to_have_text("0")
    await sheet.press("Control+z")
    await expect(page.locator(".pick[aria-pressed=true] .count")).to_have_text("0")
    await sheet.press("v")
    await sheet.press("Control+a")
    await sheet.press("p")
    await expect(page.locator("#seats-category")).to_have_value("Balcony")
    await sheet.press("a")
    await page.locator("#new-area-capacity").fill("40")
    await press(page.locator("#area-box-go"))
    await expect(page.locator("#area-capacity")).to_have_value("40")

    await expect(page.locator("#publish")).to_be_enabled()
    await press(page.locator("#publish"))
    await expect(page.locator("#dialog-title")).to_have_text("Publish version 1?")
    await press(page.locator("#dialog button[data-value=publish]"))
    await expect(page.locator("#chip")).to_have_text("Published")
    # A question that gets no answer is told, and asked again.
    await page.route("**/versions", lambda route: route.abort(), times=1)
    await press(page.locator("#deploy"))
    await expect(page.locator("#toast")).to_contain_text("The server cannot be reached just now.")
    await press(page.locator("#deploy"))
    await press(page.locator("#dialog button[data-value=deploy]"))
    await expect(page.locator("#chip")).to_have_text("Deployed")
    # What follows is a new version; what it changes is said before it is published.
    await sheet.press("v")
    await page.mouse.click(at[0][0], at[0][1])
    await expect(page.locator("#seat-number")).to_have_value("1")
    await page.locator("#seat-number").fill("99")
    await page.locator("#seat-number").press("Enter")
    await expect(page.locator("#chip")).to_have_text("New draft")
    await expect(page.locator("#publish")).to_be_enabled()
    await press(page.locator("#publish"))
    await expect(page.locator("#dialog-title")).to_have_text("Publish version 2?")
    await expect(page.locator("#dialog li[data-kind=added]")).to_contain_text("1 seat new")
    await expect(page.locator("#dialog li[data-kind=removed]")).to_contain_text("Stalls D 1")
    await press(page.locator("#dialog button[data-value='']"))
    await expect(page.locator("#chip")).to_have_text("Draft")
    _, versions = await ask(shop, "GET", f"/layouts/{name}/versions")
    assert [(each["version"], each["state"]) for each in versions["items"]] == [(1, "deployed"), (2, "draft")]
    assert versions["items"][0]["place_count"] == versions["items"][0]["seat_count"] + 40


async def test_of_two_managers_nobody_overwrites_the_other(manager: Page, shop: LiveServer) -> None:
    page, name = manager, f"hall-{secrets.token_hex(4)}"
    await page.goto(f"{shop.url}/layouts")
    await press(page.get_by_role("button", name="Import a file"))
    await expect(page.locator("#import-file")).to_be_focused()
    await page.locator("#import-file").set_input_files(
        {"name": "small.csv", "mimeType": "text/csv", "buffer": SAMPLE.encode()}
    )
    await page.locator("#import-id").fill(name)
    await press(page.locator("#import-go"))
    await page.wait_for_url("**/edit")
    await expect(page.locator("#title")).to_have_text("small")
    sheet = page.locator("#map")
    await expect(page.locator("#save")).to_be_enabled()
    await sheet.press("Control+s")
    await expect(page.locator("#chip")).to_have_text("Draft")
    await expect(page.locator("#saying")).to_have_text("All changes saved")

    # Whoever reloads finds what was not saved, and what it was drawn on.
    await sheet.press("Control+a")
    await expect(page.locator("#section-name")).to_have_value("<b>Stalls</b>")
    assert await page.evaluate("document.querySelectorAll('#inspector b, #problems b b').length") == 0
    await page.locator("#section-name").fill("Circle")
    await page.locator("#section-name").press("Enter")
    await expect(page.locator("#saying")).to_have_text("Unsaved changes")

    async def kept() -> bool:
        return bool(await page.evaluate(KEPT, name))

    async def another_moves_a_seat(x: float) -> None:
        _, draft = await ask(shop, "GET", f"/layouts/{name}/draft")
        draft["sections"][0]["rows"][0]["seats"][0]["x"] = x
        tag = draft.pop("hash")
        assert (await ask(shop, "PUT", f"/layouts/{name}", draft, **{"If-Match": f'"{tag}"'}))[0] == 200

    await eventually(kept, 25)
    # Meanwhile another manager moves a seat: what is brought back was not drawn on that.
    await another_moves_a_seat(0.5)
    page.once("dialog", lambda dialog: dialog.accept())
    await page.reload()
    await expect(page.locator("#banner")).to_contain_text("Since then the draft was saved by somebody.")
    await press(page.get_by_role("button", name="Bring it back"))
    await expect(page.locator("#saying")).to_have_text("Unsaved changes")
    await press(page.locator("#save"))
    await expect(page.locator("#dialog-title")).to_have_text("Somebody else has saved this draft")
    await expect(page.locator("#dialog li[data-kind=removed]")).to_contain_text("10 seats gone")
    await press(page.get_by_role("button", name="Take theirs"))
    await expect(page.locator("#toast")).to_contain_text("Undo brings yours back")
    await expect(page.locator("#saying")).to_have_text("All changes saved")
    await expect(page.locator("#undo")).to_be_enabled()
    await sheet.press("Control+z")
    await expect(page.locator("#save")).to_be_enabled()
    # Theirs was seen, so mine may be saved over it.
    await sheet.press("Control+s")
    await expect(page.locator("#saying")).to_have_text("All changes saved")
    _, draft = await ask(shop, "GET", f"/layouts/{name}/draft")
    assert [section["name"] for section in draft["sections"]] == ["Circle"]

    # Nobody publishes what they have not seen.
    await another_moves_a_seat(0.25)
    await press(page.locator("#publish"))
    await expect(page.locator("#dialog-title")).to_have_text("Somebody else has saved this draft")
    await press(page.get_by_role("button", name="Go on drawing"))
    await expect(page.locator("#toast")).to_contain_text("Not saved yet.")

    # And where it was published meanwhile, mine becomes the next version.
    assert (await ask(shop, "POST", f"/layouts/{name}/publish"))[0] == 200
    await sheet.press("Control+a")
    await sheet.press("Alt+ArrowDown")
    await expect(page.locator("#save")).to_be_enabled()
    await sheet.press("Control+s")
    await expect(page.locator("#dialog-title")).to_have_text("There is no draft any more")
    await press(page.locator("#dialog button[data-value=new]"))
    await expect(page.locator("#saying")).to_have_text("All changes saved")
    _, versions = await ask(shop, "GET", f"/layouts/{name}/versions")
    assert [each["state"] for each in versions["items"]] == ["published", "draft"]

    # Whoever signs in at this page next sees what is drawn if the server says so. The session is other tests', too.
    await page.route("**/api/v1/sessions", lambda route: route.abort(), times=1)
    await press(page.locator("#out"))
    await page.route("**/versions", lambda route: route.fulfill(status=403, json={"code": "forbidden"}), times=1)
    for words in ("This account may not see seating plans.", ""):
        await expect(page.locator("#go")).to_be_enabled()
        await page.locator("#email").fill(ADMIN[0])
        await page.locator("#password").fill(ADMIN[1])
        await press(page.locator("#go"))
        if words:
            await expect(page.locator("#error")).to_have_text(words)
            await expect(page.locator("#editor")).to_be_hidden()
    await expect(page.locator("#editor")).to_be_visible()


async def test_a_real_venue_is_imported_and_mended(manager: Page, shop: LiveServer) -> None:
    venue = VENUES / "city-hall-688.json"
    if not venue.exists():
        pytest.skip("There are no real venues beside the repository.")
    page, name = manager, f"city-{secrets.token_hex(4)}"
    await page.goto(f"{shop.url}/layouts")
    await press(page.get_by_role("button", name="Import a file"))
    await page.locator("#import-file").set_input_files(venue)
    await page.locator("#import-mapping").set_input_files(ROOT / "docs" / "mappings" / "city-hall.json")
    await page.locator("#import-id").fill(name)
    await press(page.locator("#import-go"))
    await page.wait_for_url("**/edit")
    await expect(page.locator("#title")).to_have_text("City Hall")
    sheet = page.locator("#map")
    await expect(page.locator("#save")).to_be_enabled()
    await sheet.press("Control+s")
    await expect(page.locator("#chip")).to_have_text("Draft")
    # The first seat in reach of the arrows becomes a wheelchair place.
    await sheet.press("ArrowRight")
    await expect(page.locator("#spoken")).to_contain_text("row")
    await sheet.press("Enter")
    await expect(page.locator("#inspector h2")).to_contain_text("Seat")
    await page.locator("#fact-accessible").check()
    await expect(page.locator("#save")).to_be_enabled()
    await sheet.press("Control+s")
    await expect(page.locator("#saying")).to_have_text("All changes saved")
    _, draft = await ask(shop, "GET", f"/layouts/{name}/draft")
    seats = [seat for section in draft["sections"] for row in section.get("rows", []) for seat in row["seats"]]
    assert (len(seats), sum(seat.get("accessible", False) for seat in seats)) == (688, 1)
