"""The pages as a visitor meets them, against a box office that says what the test wants."""

from typing import Any

import pytest
from box_office import SEATS, BoxOffice
from playwright.async_api import Browser, Page, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def open_event(page: Page, site: str) -> None:
    await page.goto(f"{site}/events/gala")
    await page.wait_for_function("window.lml && lml.ready")


async def click_seat(page: Page, index: int) -> None:
    place = await page.evaluate("(index) => lml.place(index)", index)
    await page.mouse.click(place["x"], place["y"])


async def mine(page: Page, seats: list[int]) -> None:
    await page.wait_for_function(
        "(seats) => JSON.stringify(lml.mine) === JSON.stringify(seats) && !lml.basket.busy", arg=seats
    )


async def asked(office: BoxOffice, kind: str) -> list[dict[str, Any]]:
    return [message for message in office.received if message["type"] == kind]


async def test_shows_the_event_its_prices_and_what_is_left(page: Page, site: str, office: BoxOffice) -> None:
    office.states[0:30] = [2] * 30
    await open_event(page, site)
    await expect(page.locator("h1")).to_have_text("Gala <b>night</b>")  # text, never markup
    await expect(page.locator("#status")).to_have_text("Live")
    await expect(page.locator("#left")).to_have_text("220 available")
    await expect(page.locator("#prices li")).to_have_text(
        ["Front70 available€52.50incl. €2.50 fee", "Rear100 available€32.50incl. €2.50 fee", "Pit50 available€20.00"]
    )


async def test_picks_seats_into_one_hold_and_gives_one_back(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    await click_seat(page, 43)
    await click_seat(page, 44)
    await mine(page, [43, 44])
    first, second = await asked(office, "hold")
    assert (first["seats"], first.get("into"), bool(first["key"])) == ([43], None, True)
    assert (second["seats"], second["into"]) == ([44], "hold1")
    await expect(page.locator("#mine .line")).to_have_count(2)
    await expect(page.locator("#mine .line").first).to_contain_text("Stalls, row C, seat 4")
    await expect(page.locator("#total")).to_have_text("€105.00")
    await expect(page.locator("#mine-time")).to_have_text("4:59")
    await expect(page.locator("#buy")).to_contain_text("Buy for €105.00")
    await click_seat(page, 43)
    await mine(page, [44])
    assert (await asked(office, "release"))[0]["seats"] == [43]
    await page.get_by_role("button", name="Give all back").click()
    await mine(page, [])
    await expect(page.locator("#buy")).to_be_hidden()


async def test_a_table_is_taken_and_given_back_with_one_click(page: Page, site: str, office: BoxOffice) -> None:
    office.table = 2
    table = list(range(40, 60))
    await open_event(page, site)
    await click_seat(page, 43)
    await mine(page, table)
    assert [message["seats"] for message in await asked(office, "hold")] == [table]
    await click_seat(page, 20)
    await mine(page, [20, *table])
    await click_seat(page, 50)
    await mine(page, [20])
    assert [message["seats"] for message in await asked(office, "release")] == [table]
    await office.change(held=[59])
    await page.wait_for_function("() => lml.map.states[59] === 1")
    await click_seat(page, 43)
    await expect(page.locator("#spoken")).to_contain_text("is held")
    assert len(await asked(office, "hold")) == 2, "a table with one seat gone is not asked for"


async def test_standing_places_by_quantity(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    more = page.get_by_role("button", name="One more place in Pit")
    await more.click()
    await more.click()
    await expect(page.locator("#areas output")).to_have_text("2")
    await expect(page.locator("#mine .line")).to_contain_text("Pit × 2")
    await page.get_by_role("button", name="One place less in Pit").click()
    await expect(page.locator("#areas output")).to_have_text("1")
    assert (await asked(office, "release"))[0]["areas"] == {"pit": 1}


async def test_the_server_chooses_the_best_seats(page: Page, site: str, office: BoxOffice) -> None:
    """With the keyboard alone: how many, at which price, and Enter. What is found joins what is held."""
    await open_event(page, site)
    count, price = page.locator("#best-count"), page.locator("#best-price")
    await expect(count).to_have_accessible_name("Seats")
    await expect(price).to_have_accessible_name("Price")
    await expect(count.locator("option")).to_have_text(["1", "2", "3", "4", "5", "6"])
    await expect(count).to_have_value("2")
    await expect(price.locator("option")).to_have_text(["Any price", "Front · €52.50", "Rear · €32.50"])
    await click_seat(page, 43)
    await mine(page, [43])
    await count.focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Tab")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await mine(page, [43, 100, 101, 102])
    (wish,) = await asked(office, "hold_best")
    assert (wish["quantity"], wish["category"], wish["into"], bool(wish["key"])) == (3, "Rear", "hold1", True)
    await expect(page.locator("#spoken")).to_contain_text("3 seats held for you: Stalls, row F, seat 1;")
    await expect(page.locator("#best-find")).to_be_focused()
    await expect(page.locator("#best-find")).to_have_text("Find best seats")


async def test_the_best_seats_are_found_on_a_phone(page: Page, site: str, office: BoxOffice) -> None:
    await page.set_viewport_size({"width": 320, "height": 640})
    await open_event(page, site)
    await page.locator("#sheet").click()
    office.refusals.append({"code": "no_best_seats"})
    await page.get_by_role("button", name="Find best seats").click()
    await expect(page.locator(".toast")).to_contain_text("There are no such seats left together.")
    await page.get_by_role("button", name="Find best seats").click()
    await mine(page, [0, 1])
    assert [wish.get("category") for wish in await asked(office, "hold_best")] == [None, None]
    assert await page.evaluate("document.documentElement.scrollWidth") == 320
    limits = {**office.limits, "max_seats": 1}
    await office.say({"type": "event", "state": "open", "on_sale_at_ms": 0, "prices_version": 1, "limits": limits})
    await expect(page.locator("#best-count")).to_have_value("1")


async def test_somebody_else_was_faster(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    office.refusals.append({"code": "seat_taken", "seats": [43]})
    await click_seat(page, 43)
    await expect(page.locator(".toast")).to_contain_text("Somebody else was faster: Stalls, row C, seat 4 is taken.")
    await mine(page, [])


async def test_refusals_in_plain_words(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    for refusal, words in (
        ({"code": "limit_exceeded"}, "You can hold at most 6 places for this event."),
        ({"code": "area_full", "areas": {"pit": 3}}, "Only 3 places left in Pit."),
        ({"code": "sale_paused"}, "The sale is paused just now."),
        ({"code": "orphan_seat", "seats": [1]}, "That would leave a single seat empty"),
        ({"code": "no_best_seats"}, "There are no such seats left together."),
        ({"code": "brand_new_code", "message": "Something new."}, "Something new."),
        ({"code": "rate_limited", "retry_after_ms": 2500}, "Please try again in 3 seconds."),
    ):
        office.refusals.append(refusal)
        await click_seat(page, 43)
        await expect(page.locator(".toast").filter(has_text=words)).to_be_visible()
        await mine(page, [])


async def test_a_hold_that_ran_out_meanwhile_is_replaced_by_a_new_one(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    await click_seat(page, 43)
    await mine(page, [43])
    office.refusals.append({"code": "hold_expired"})
    office.hold = None
    await click_seat(page, 44)
    await page.wait_for_function("lml.mine.includes(44)")
    assert [message.get("into") for message in await asked(office, "hold")] == [None, "hold1", None]


async def test_is_told_when_the_time_is_up(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    await click_seat(page, 43)
    await mine(page, [43])
    office.hold = None
    await office.say(
        {"type": "hold_changed", "hold": "hold1", "state": "gone", "reason": "expired", "epoch": "e1", "seq": 99}
    )
    await office.change(available=[43])
    await mine(page, [])
    await expect(page.locator(".toast")).to_contain_text("Time is up")
    await page.wait_for_function("lml.seatState(43) === 0")


async def test_warns_in_the_last_minute_and_gives_more_time(page: Page, site: str, office: BoxOffice) -> None:
    office.hold_ms = 59_000
    await open_event(page, site)
    await click_seat(page, 43)
    await expect(page.locator(".toast")).to_contain_text("one more minute")
    await expect(page.locator("#mine-time")).to_have_attribute("data-tone", "warn")
    office.hold_ms = 300_000
    await page.get_by_role("button", name="More time (1 left)").click()
    await expect(page.locator("#mine-time")).to_contain_text("4:5")
    await expect(page.get_by_role("button", name="More time")).to_have_count(0)


async def test_what_others_do_is_seen(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    await office.change(held=[1, 2], sold=[3])
    await page.wait_for_function("lml.seatState(1) === 1 && lml.seatState(3) === 2 && lml.map.states[2] === 1")
    await expect(page.locator("#left")).to_have_text("247 available")
    await click_seat(page, 1)
    await expect(page.locator("#spoken")).to_contain_text("held by somebody else")
    assert await asked(office, "hold") == []


async def test_comes_back_after_the_server_went_away_with_its_seats(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    await click_seat(page, 43)
    await mine(page, [43])
    await office.say({"type": "bye", "reason": "restart", "retry_after_ms": 100})
    await page.wait_for_function("lml.ready === false")
    await page.wait_for_function("lml.ready && lml.mine.length === 1")
    hellos = await asked(office, "hello")
    assert hellos[-1]["resume"]["epoch"] == "e1"
    assert hellos[-1]["token"] == "t1"


async def test_a_reload_keeps_the_visitor(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    await click_seat(page, 43)
    await mine(page, [43])
    await page.reload()
    await page.wait_for_function("window.lml && lml.ready")
    await mine(page, [43])
    assert (await asked(office, "hello"))[-1]["token"] == "t1"


async def test_a_new_epoch_is_shown(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    await click_seat(page, 43)
    await mine(page, [43])
    office.epoch, office.seq, office.hold = "e2", 1, None
    office.states = [2] * len(office.states)
    await office.say(office.welcome())
    await page.wait_for_function("lml.epoch === 'e2' && lml.map.states[0] === 2 && !lml.mine.length")
    await expect(page.locator("#toasts")).to_contain_text("not yours any more")


async def test_says_how_the_sale_stands(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    for state, opens_in_ms, status, banner in (
        ("open", 3_600_000, "Opens soon", "The sale opens in 59:"),
        ("paused", -1000, "Paused", "The sale is paused"),
        ("closed", -1000, "Closed", "The sale is closed"),
        ("draft", -1000, "Closed", "not on sale yet"),
        ("open", -1000, "Live", ""),
    ):
        change = {
            "type": "event",
            "state": state,
            "on_sale_at_ms": office.on_sale_at_ms + 59_000 + opens_in_ms,
            "prices_version": 1,
            "limits": office.limits,
        }
        await office.say(change)
        await expect(page.locator("#status")).to_have_text(status)
        if banner:
            await expect(page.locator("#banner")).to_contain_text(banner)
        else:
            await expect(page.locator("#banner")).to_be_hidden()


async def test_the_keyboard_alone_is_enough(page: Page, site: str, office: BoxOffice) -> None:
    await open_event(page, site)
    await page.locator("#map").focus()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("ArrowRight")
    cursor = await page.evaluate("lml.map.cursorIndex")
    await expect(page.locator("#spoken")).to_contain_text("Stalls, row")
    await page.keyboard.press("Enter")
    await mine(page, [cursor])
    await page.keyboard.press(" ")
    await mine(page, [])
    await page.keyboard.press("Escape")
    assert await page.evaluate("document.activeElement.tagName") == "SUMMARY"


async def test_the_list_chooses_the_same_seats(page: Page, site: str, office: BoxOffice) -> None:
    office.states[21] = 2
    await open_event(page, site)
    await page.get_by_text("Choose from a list instead").click()
    await page.get_by_label("Row", exact=True).select_option(label="B")
    seats = page.locator(".by-list .seats button")
    await expect(seats).to_have_count(20)
    await expect(seats.nth(1)).to_have_attribute("aria-disabled", "true")
    await seats.nth(2).click()
    await mine(page, [22])
    await expect(seats.nth(2)).to_have_attribute("aria-pressed", "true")


async def test_an_unknown_event_has_a_way_back(page: Page, site: str, office: BoxOffice) -> None:
    await page.goto(f"{site}/events/nothing")
    await expect(page.get_by_role("heading", name="There is no such event")).to_be_visible()
    await page.get_by_role("button", name="All events").click()
    await expect(page.get_by_role("heading", name="Events")).to_be_visible()


async def test_a_layout_that_cannot_be_loaded_can_be_tried_again(page: Page, site: str, office: BoxOffice) -> None:
    await page.route("**/layouts/**", lambda route: route.abort())
    await page.goto(f"{site}/events/gala")
    await expect(page.get_by_role("heading", name="The seating plan could not be loaded")).to_be_visible()
    await page.unroute("**/layouts/**")
    await page.get_by_role("button", name="Try again").click()
    await page.wait_for_function("lml.ready")


async def test_what_was_chosen_on_another_seating_plan_is_not_asked_for_and_that_is_said(
    page: Page, site: str, office: BoxOffice
) -> None:
    """The seat that was asked for, and the one that waited behind it, were taken by index on the new plan."""
    read: list[str] = []
    page.on("request", lambda request: read.append(request.url))
    await page.add_init_script("Math.random = () => 0.5")
    await open_event(page, site)
    office.refusals.append({"code": "unavailable", "retry_after_ms": 60_000})
    await click_seat(page, 43)
    await click_seat(page, 44)
    await page.wait_for_function("lml.map.pending.size === 2")
    read.clear()
    await office.change_layout(2, retry_after_ms=3_000)
    cover = page.get_by_role("status").filter(has_text="Loading the new one. Please choose your seats again.")
    await expect(cover).to_be_visible()
    await expect(page.get_by_role("heading", name="The seating plan has changed")).to_be_visible()
    await expect(page.locator("#tip")).to_be_hidden()
    assert await page.evaluate("lml.basket.pending.size") == 0, "nobody asks for seats of the new plan"
    await page.wait_for_function("lml.ready")
    await expect(cover).to_have_count(0)
    assert len([url for url in read if url.endswith("/api/v1/events/gala")]) <= 2, (
        "it waits, and does not ask on and on"
    )
    words = "The seating plan has changed, so your choice was not taken over. Please look again and choose anew."
    await expect(page.get_by_role("status").filter(has_text=words)).to_be_visible()
    await expect(page.locator(".toast")).to_have_count(1)
    await expect(page.locator("#map")).to_be_focused()
    await mine(page, [])
    assert [message["seats"] for message in await asked(office, "hold")] == [[43]]
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await page.wait_for_function("lml.mine.length === 1")
    again = (await asked(office, "hold"))[1:]
    assert [message["seats"] for message in again] == [await page.evaluate("lml.mine")]
    number = again[0]["seats"][0] % SEATS + 2
    await expect(page.locator("#mine .line").first).to_contain_text(f"seat {number}")


async def test_the_index_lists_events_page_by_page(page: Page, site: str, office: BoxOffice) -> None:
    office.events = [office.event(id=f"e{n}", name=f"Evening {n}") for n in range(60)]
    await page.goto(site)
    await expect(page.locator(".card")).to_have_count(50)
    await expect(page.locator(".card").first).to_contain_text("€20.00 – €52.50")
    await page.get_by_role("button", name="Show more events").click()
    await expect(page.locator(".card")).to_have_count(60)
    await expect(page.get_by_role("button", name="Show more events")).to_be_hidden()
    assert await page.locator(".card").nth(3).get_attribute("href") == "/events/e3"


async def test_the_index_says_when_there_is_nothing_and_when_it_is_broken(
    page: Page, site: str, office: BoxOffice
) -> None:
    office.events = []
    await page.goto(site)
    await expect(page.get_by_role("heading", name="No events yet")).to_be_visible()
    await page.route("**/api/v1/events*", lambda route: route.fulfill(status=503, body="{}"))
    await page.get_by_role("button", name="Look again").click()
    await expect(page.locator("#state")).to_contain_text("The server answered with 503.")


async def test_a_phone_shows_the_map_whole_and_the_rest_in_a_sheet(page: Page, site: str, office: BoxOffice) -> None:
    await page.set_viewport_size({"width": 390, "height": 844})
    await open_event(page, site)
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    await expect(page.locator("#prices")).to_be_hidden()
    await page.locator("#sheet").click()
    await expect(page.locator("#prices")).to_be_visible()
    await expect(page.locator("#sheet")).to_have_attribute("aria-expanded", "true")


async def test_the_pages_keep_to_a_strict_content_policy(browser: Browser, site: str, office: BoxOffice) -> None:
    """`default-src 'self'`: nothing inline, nothing foreign; a violation would be on the console."""
    context = await browser.new_context()
    opened = await context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    for path in ("/", "/events/gala"):
        await opened.goto(f"{site}{path}")
        await expect(opened.get_by_role("heading", name="Gala")).to_be_visible()
    await expect(opened.locator("#status")).to_have_text("Live")
    await expect(opened.locator("#cover")).to_be_hidden()
    await context.close()
    assert said == []
