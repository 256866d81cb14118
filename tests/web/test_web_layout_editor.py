"""The editor of seating plans, in real Chromium against the real server: drawn, mended, saved, published, deployed."""

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, expect
from pressing import press
from serving import ADMIN, LiveServer
from waiting import eventually

from lml_live.guard.staff import StaffDesk

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).parents[2]
VENUES = ROOT.parent / "shared" / "data" / "venues"
SAMPLE = "section,row,number,x,y,category\n" + "".join(
    f"<b>Stalls</b>,{row},{number},{10 * number},{10 * at},Front\n"
    for at, row in enumerate("AB")
    for number in range(1, 6)
)
"""Markup in a label is text: nothing of it may become an element."""

KEPT = "async ([owner, id]) => (await import('/web/layoutkeep.js')).keptPlans(owner, id)"


@pytest_asyncio.fixture(loop_scope="session")
async def manager(browser: Browser, shop: LiveServer) -> AsyncIterator[Page]:
    """A page of somebody who has signed in; an error on it fails the test."""
    token = (await shop.sign_in())["Authorization"].removeprefix("Bearer ")
    # Without motion the sheet is where it will be, at once.
    context = await browser.new_context(
        bypass_csp=True, viewport={"width": 1280, "height": 800}, locale="en-GB", reduced_motion="reduce"
    )
    for key, value in {"lml.staff-token": token, "lml.staff-account": ADMIN[0]}.items():
        await context.add_init_script(f"sessionStorage.setItem('{key}', {json.dumps(value)})")
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


async def kept(page: Page, name: str, owner: str = ADMIN[0]) -> list[dict[str, Any]]:
    """What is kept of a plan in the browser."""
    found: list[dict[str, Any]] = await page.evaluate(KEPT, [owner, name])
    return found


async def small_plan(shop: LiveServer) -> str:
    """A draft of two rows; its id."""
    name = f"hall-{secrets.token_hex(4)}"
    _, read = await ask(shop, "POST", "/layouts/read", {"text": SAMPLE, "filename": "small.csv", "id": name})
    assert (await ask(shop, "POST", "/layouts", read["layout"]))[0] == 201
    return name


async def another_moves_a_seat(shop: LiveServer, name: str, x: float) -> None:
    _, draft = await ask(shop, "GET", f"/layouts/{name}/draft")
    draft["sections"][0]["rows"][0]["seats"][0]["x"] = x
    tag = draft.pop("hash")
    assert (await ask(shop, "PUT", f"/layouts/{name}", draft, **{"If-Match": f'"{tag}"'}))[0] == 200


async def opened(page: Page) -> Locator:
    """The sheet, once the plan is on it: nobody hears a key that is pressed before."""
    await expect(page.locator("#editor")).to_be_visible()
    return page.locator("#map")


async def rename(page: Page, section: str) -> None:
    """Gives the one section another name."""
    await (await opened(page)).press("Control+a")
    await page.locator("#section-name").fill(section)
    await page.locator("#section-name").press("Enter")
    await expect(page.locator("#saying")).to_have_text("Unsaved changes")


async def sections(shop: LiveServer, name: str) -> list[str]:
    """Those of the draft that the server has."""
    _, draft = await ask(shop, "GET", f"/layouts/{name}/draft")
    return [section["name"] for section in draft["sections"]]


async def lose_answer(route: Route) -> None:
    """The call is done, and nobody hears of it."""
    await route.fetch()
    await route.abort()


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

    async def is_kept() -> bool:
        return bool(await kept(page, name))

    await eventually(is_kept, 25)
    # Meanwhile another manager moves a seat: what is brought back was not drawn on that.
    await another_moves_a_seat(shop, name, 0.5)
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
    await another_moves_a_seat(shop, name, 0.25)
    await press(page.locator("#publish"))
    await expect(page.locator("#dialog-title")).to_have_text("Somebody else has saved this draft")
    await expect(page.locator("#dialog li[data-kind=moved]")).to_contain_text("1 seat moved")
    await press(page.get_by_role("button", name="Take theirs"))
    await expect(page.locator("#toast")).to_contain_text("Undo brings yours back")
    # Not even what is saved while they look at the difference.
    await press(page.locator("#publish"))
    await expect(page.locator("#dialog-title")).to_have_text("Publish version 1?")
    await another_moves_a_seat(shop, name, 0.125)
    await press(page.locator("#dialog button[data-value=publish]"))
    await expect(page.locator("#dialog-title")).to_have_text("Somebody else has saved this draft")
    await expect(page.locator("#dialog li[data-kind=moved]")).to_contain_text("Circle A 1")
    await press(page.get_by_role("button", name="Go on drawing"))
    await expect(page.locator("#toast")).to_contain_text("Not saved yet.")
    _, versions = await ask(shop, "GET", f"/layouts/{name}/versions")
    [theirs] = versions["items"]
    assert theirs["state"] == "draft"

    # And where it was published meanwhile, mine becomes the next version.
    assert (await ask(shop, "POST", f"/layouts/{name}/publish", **{"If-Match": f'"{theirs["hash"]}"'}))[0] == 200
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


async def test_a_save_whose_answer_was_lost_is_ones_own(manager: Page, shop: LiveServer) -> None:
    """The next one said that somebody else had saved."""
    page, name = manager, await small_plan(shop)
    lost = "The server cannot be reached just now."
    await page.goto(f"{shop.url}/layouts/{name}/edit")
    await rename(page, "Circle")
    await page.route(f"**/api/v1/layouts/{name}", lose_answer, times=1)
    await press(page.locator("#save"))
    await expect(page.locator("#toast")).to_contain_text(lost)
    assert await sections(shop, name) == ["Circle"]
    # Whoever draws on meanwhile saves that on top.
    await rename(page, "Balcony")
    await press(page.locator("#save"))
    await expect(page.locator("#saying")).to_have_text("All changes saved")
    await expect(page.locator("#dialog")).to_be_hidden()
    assert await sections(shop, name) == ["Balcony"]

    # Nor does a reload make it another's.
    await rename(page, "Gallery")
    await page.route(f"**/api/v1/layouts/{name}", lose_answer, times=1)
    await press(page.locator("#save"))
    await expect(page.locator("#toast")).to_contain_text(lost)
    await rename(page, "Boxes")

    async def is_kept() -> bool:
        return any("Boxes" in each["text"] and each["sent"] is not None for each in await kept(page, name))

    await eventually(is_kept, 25)
    page.once("dialog", lambda dialog: dialog.accept())
    await page.reload()
    await expect(page.locator("#banner")).to_contain_text("and not saved it.")
    await expect(page.locator("#banner")).not_to_contain_text("Since then")
    await press(page.get_by_role("button", name="Bring it back"))
    await press(page.locator("#save"))
    await expect(page.locator("#saying")).to_have_text("All changes saved")
    assert await sections(shop, name) == ["Boxes"]

    # A save that never came to the server, and another's that did, are told apart from that.
    await rename(page, "Pit")
    await page.route(f"**/api/v1/layouts/{name}", lambda route: route.abort(), times=1)
    await press(page.locator("#save"))
    await expect(page.locator("#toast")).to_contain_text(lost)
    await another_moves_a_seat(shop, name, 0.5)
    await press(page.locator("#save"))
    await expect(page.locator("#dialog-title")).to_have_text("Somebody else has saved this draft")
    assert await sections(shop, name) == ["Boxes"]


async def test_the_first_save_may_be_lost_too(manager: Page, shop: LiveServer) -> None:
    page, name = manager, f"hall-{secrets.token_hex(4)}"
    await page.goto(f"{shop.url}/layouts/{name}/edit?name=New")
    await (await opened(page)).press("r")
    await page.locator("#draw-count").fill("5")
    await page.locator("#draw-x1").fill("280")
    await page.locator("#draw-x1").press("Enter")
    await page.route("**/api/v1/layouts", lose_answer, times=1)
    await press(page.locator("#save"))
    await expect(page.locator("#toast")).to_contain_text("The server cannot be reached just now.")
    await rename(page, "Circle")
    await press(page.locator("#save"))
    await expect(page.locator("#saying")).to_have_text("All changes saved")
    assert await sections(shop, name) == ["Circle"]


async def test_what_another_took_the_id_of_is_kept_as_a_plan_of_its_own(manager: Page, shop: LiveServer) -> None:
    """Whoever came to it by publishing went on to the other's draft, on a page that was about to go."""
    page, name = manager, f"hall-{secrets.token_hex(4)}"
    await page.goto(f"{shop.url}/layouts/{name}/edit?name=New")
    await (await opened(page)).press("r")
    await page.locator("#draw-count").fill("5")
    await page.locator("#draw-x1").fill("280")
    await page.locator("#draw-x1").press("Enter")
    _, read = await ask(shop, "POST", "/layouts/read", {"text": SAMPLE, "filename": "small.csv", "id": name})
    assert (await ask(shop, "POST", "/layouts", read["layout"]))[0] == 201
    await press(page.locator("#publish"))
    await expect(page.locator("#dialog-title")).to_have_text("Somebody else has saved this draft")
    await press(page.get_by_role("button", name="Keep mine as its own plan"))
    await page.wait_for_url(f"**/layouts/{name}-2/edit")
    await expect(page.locator("#saying")).to_have_text("All changes saved")
    assert await sections(shop, name) == ["<b>Stalls</b>"]
    _, versions = await ask(shop, "GET", f"/layouts/{name}-2/versions")
    assert [(each["state"], each["place_count"]) for each in versions["items"]] == [("draft", 5)]


async def test_whoever_imports_over_a_plan_is_told_before(manager: Page, shop: LiveServer) -> None:
    """The file stood on the sheet at once, and a save replaced the draft."""
    page, name = manager, await small_plan(shop)
    file = {"name": "other.csv", "mimeType": "text/csv", "buffer": SAMPLE.replace("<b>Stalls</b>", "Circle").encode()}
    await page.goto(f"{shop.url}/layouts")
    await press(page.get_by_role("button", name="Import a file"))
    await page.locator("#import-file").set_input_files(file)
    await page.locator("#import-id").fill(name)
    await press(page.locator("#import-go"))
    await expect(page.locator("#import-exists-title")).to_have_text(f"There is a plan {name} already")
    await expect(page.locator("#import-exists-title")).to_be_focused()
    await expect(page.locator("#import-exists-words")).to_contain_text("small, version 1, draft, 10 places")
    await expect(page.locator("#import-exists-words")).to_contain_text("replaces that draft")
    await press(page.get_by_role("button", name="Choose another id"))
    await expect(page.locator("#import-id")).to_be_focused()
    await expect(page.locator("#import-exists")).to_be_hidden()
    assert await kept(page, name) == []
    await press(page.locator("#import-go"))
    await press(page.get_by_role("button", name="Open it in its place"))
    await page.wait_for_url("**/edit")
    await expect(page.locator("#saying")).to_have_text("Unsaved changes")
    assert await sections(shop, name) == ["<b>Stalls</b>"], "nothing is replaced yet"
    # It replaces the draft that was told of, and no other.
    await another_moves_a_seat(shop, name, 0.5)
    await press(page.locator("#save"))
    await expect(page.locator("#dialog-title")).to_have_text("Somebody else has saved this draft")
    await press(page.get_by_role("button", name="Save mine over theirs"))
    await expect(page.locator("#saying")).to_have_text("All changes saved")
    assert await sections(shop, name) == ["Circle"]

    # So it is with a file that is read into a plan.
    for answer, words in (("", "Nothing was imported."), ("import", "Read: 10 places.")):
        await page.locator("#file").set_input_files(file)
        await expect(page.locator("#dialog-title")).to_have_text("Put the file in place of this plan?")
        await press(page.locator(f"#dialog button[data-value='{answer}']"))
        await expect(page.locator("#toast")).to_contain_text(words)
    await expect(page.locator("#undo")).to_be_enabled()


async def test_nobody_is_offered_what_another_has_drawn(browser: Browser, shop: LiveServer) -> None:
    """One manager's unsaved plan was shown to the next who signed in at the browser, and the last tab's was kept."""
    name, other = await small_plan(shop), (f"{secrets.token_hex(4)}@test.localhost", "another horse entirely")
    async with shop.pool() as pool:
        await StaffDesk(pool).add_staff(*other, ("manager",))
    context = await browser.new_context(bypass_csp=True, locale="en-GB", reduced_motion="reduce")
    page = await context.new_page()

    async def sign_in(page: Page, email: str, password: str) -> None:
        await page.locator("#email").fill(email)
        await page.locator("#password").fill(password)
        await press(page.locator("#go"))
        await expect(page.locator("#editor")).to_be_visible()
        await expect(page.locator("#go")).to_be_hidden()

    def drawn(section: str) -> Callable[[], Awaitable[bool]]:
        async def is_kept() -> bool:
            return any(section in each["text"] for each in await kept(page, name))

        return is_kept

    await page.goto(f"{shop.url}/layouts/{name}/edit")
    await sign_in(page, ADMIN[0].upper(), ADMIN[1])
    await rename(page, "Circle")
    await eventually(drawn("Circle"), 25)
    # Another tab of the same manager draws the same plan.
    second = await context.new_page()
    await second.goto(f"{shop.url}/layouts/{name}/edit")
    await sign_in(second, *ADMIN)
    await press(second.get_by_role("button", name="Forget it"))
    await rename(second, "Balcony")
    await eventually(drawn("Balcony"), 25)
    await rename(page, "Gallery")
    await eventually(drawn("Gallery"), 25)
    assert len(await kept(page, name)) == 2, "neither has written over the other"
    await second.close()

    await press(page.locator("#out"))
    await expect(page.locator("#editor")).to_be_hidden()
    await sign_in(page, *other)
    await expect(page.locator("#saying")).to_have_text("All changes saved")
    await expect(page.locator("#banner")).to_be_hidden()
    await page.locator("#map").press("Control+a")
    await expect(page.locator("#section-name")).to_have_value("<b>Stalls</b>")
    assert await kept(page, name, other[0]) == []

    # Who comes back finds the latest, and what the other tab had when that is done with.
    await press(page.locator("#out"))
    await sign_in(page, *ADMIN)
    await press(page.get_by_role("button", name="Forget it"))
    await press(page.get_by_role("button", name="Bring it back"))
    await page.locator("#map").press("Control+a")
    await expect(page.locator("#section-name")).to_have_value("Balcony")
    await context.close()


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
