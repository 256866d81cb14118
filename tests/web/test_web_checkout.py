"""Buying in real browsers, from the Buy button to the booking's page, with a real server and the Stripe double."""

import asyncio
import json
import secrets
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from serving import LiveServer
from stripe_house import stripe_client

from lml_live.guard.accounts import Accounts
from lml_live.guard.passwords import Passwords

pytestmark = pytest.mark.asyncio(loop_scope="session")

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
AVAILABLE, HELD, SOLD = 0, 1, 2
PAYS, ASKS_3DS, NO_MONEY, DECLINED = "4242", "3220", "9995", "0002"


class Buyer:
    """A visitor of their own; another context is another holder. What the page says in the console is kept."""

    def __init__(self, page: Page, server: LiveServer) -> None:
        self.page, self.server = page, server
        self.said: list[str] = []
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on(
            "console",
            lambda message: self.said.append(message.text) if "Content Security Policy" in message.text else None,
        )

    async def visit(self) -> None:
        await self.page.goto(f"{self.server.url}/events/{self.server.event}")
        await self.ready()

    async def ready(self) -> None:
        await self.page.wait_for_function("window.lml && lml.ready")

    async def hold(self, *seats: int) -> None:
        await self.page.evaluate("(seats) => seats.forEach((seat) => lml.page.pick(seat))", list(seats))
        await self.page.wait_for_function(
            "(seats) => !lml.basket.busy && seats.every((seat) => lml.mine.includes(seat))", arg=list(seats)
        )

    async def begin(self) -> None:
        """Presses Buy, gives a name and an address, and comes to the card form."""
        if not await self.page.locator("#buy-button").is_visible():
            await self.page.locator("#sheet").click()
        await self.page.locator("#buy-button").click()
        await self.page.get_by_label("Name").fill("Ada Byron")
        await self.page.get_by_label("E-mail").fill("ada@example.org")
        await self.page.get_by_role("button", name="Continue to payment").click()
        await expect(self.page.locator("#pay-button")).to_be_visible()

    async def pay(self, card: str) -> None:
        """Fills the form with one of the test cards and pays."""
        await self.page.locator(".test-card", has_text=card).click()
        await self.page.locator("#pay-button").click()

    async def done(self) -> None:
        await expect(self.page.locator("#checkout-title")).to_have_text("Your seats are booked")

    async def open_booking(self) -> None:
        await self.page.locator("#booking-link").click()
        await expect(self.page.locator("#title")).to_have_text("Your seats are booked")

    async def sees(self, state: int, *seats: int) -> None:
        await self.page.wait_for_function(
            "([seats, state]) => seats.every((seat) => lml.map.states[seat] === state)", arg=[list(seats), state]
        )

    async def words(self, seat: int) -> str:
        return str(await self.page.evaluate("(seat) => lml.page.stateWords(seat)", seat))


class House:
    """The shop with an event of this test's own, and browsers to visit it."""

    def __init__(self, server: LiveServer, browser: Browser) -> None:
        self.server, self.browser = server, browser
        self.buyers: list[Buyer] = []

    async def visitor(self, viewport: Any = DESK, **options: Any) -> Buyer:
        context = await self.browser.new_context(bypass_csp=True, viewport=viewport, locale="en-GB", **options)
        buyer = Buyer(await context.new_page(), self.server)
        self.buyers.append(buyer)
        await buyer.visit()
        return buyer

    async def close(self) -> None:
        for buyer in self.buyers:
            await buyer.page.unroute_all(behavior="ignoreErrors")  # a booking may be read once more
            await buyer.page.context.close()
        assert [said for buyer in self.buyers for said in buyer.said] == []


@pytest_asyncio.fixture(loop_scope="session")
async def house(shop: LiveServer, browser: Browser, stripe_double: Any) -> Any:
    shop.event = await shop.new_event()
    made = House(shop, browser)
    yield made
    await made.close()


async def test_a_purchase_with_3d_secure_while_somebody_watches_the_seats_go(house: House) -> None:
    """The hall stays live beside the checkout, too: what the other one takes and gives back shows there."""
    buyer, watcher = await house.visitor(), await house.visitor()
    page = buyer.page
    await buyer.hold(30, 31)
    await watcher.sees(HELD, 30, 31)
    await page.locator("#buy-button").click()
    await expect(page.locator("#checkout-title")).to_be_focused()
    await expect(page.locator("#checkout .line")).to_have_count(2)
    await expect(page.locator("#checkout-total")).to_have_text("€95.00")
    await expect(page.locator("#checkout-time")).not_to_be_empty()
    await page.get_by_role("button", name="Continue to payment").click()
    await expect(page.get_by_label("Name")).to_be_focused()
    await expect(page.get_by_label("Name")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Name").fill("Ada Byron")
    await page.get_by_label("E-mail").fill("ada")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("such as name@example.org")).to_be_visible()
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.keyboard.press("Enter")
    await expect(page.locator("#pay-button")).to_have_text("Pay €95.00")
    await page.wait_for_function("lml.page.stateWords(30) === 'yours, being paid'")
    await watcher.hold(32)
    await buyer.sees(HELD, 32)
    await watcher.page.get_by_role("button", name="Give all back").click()
    await buyer.sees(AVAILABLE, 32)
    await expect(page.locator("canvas").first).to_be_in_viewport()
    await expect(page.locator("#pay-button")).to_be_in_viewport()
    await buyer.pay(ASKS_3DS)
    await expect(page.get_by_text("95.00 EUR")).to_be_visible()
    await page.get_by_role("button", name="Complete authentication").click()
    await buyer.done()
    await watcher.sees(SOLD, 30, 31)
    await buyer.sees(SOLD, 30, 31)
    assert await buyer.words(30) == "yours, booked"
    assert await watcher.words(30) == "sold"
    await page.get_by_role("button", name="Back to the hall").click()
    await expect(page.locator("#mine")).to_contain_text("2 places booked")
    assert await page.evaluate("lml.map.mine.has(31)")
    await page.reload()
    await buyer.ready()
    await page.wait_for_function("lml.page.stateWords(31) === 'yours, booked'")

    await page.get_by_role("link", name="Show my booking").click()
    await expect(page.locator("#title")).to_have_text("Your seats are booked")
    await expect(page.locator(".verdict .chip")).to_have_text("Booked")
    await expect(page.locator(".line").first).to_contain_text("Stalls, row B, seat 6")
    await expect(page.locator("#total")).to_have_text("€95.00")
    link = page.url
    assert "#lmlb_" in link
    await page.get_by_role("link", name="My bookings").click()
    await expect(page.locator(".card")).to_have_count(1)
    await expect(page.locator(".card")).to_contain_text("A test event")

    # From another device: the link is all that is needed, and without its secret it shows nothing.
    other = watcher.page
    asked: list[str] = []
    other.on("request", lambda request: asked.append(request.url))
    await other.goto(link)
    await expect(other.locator("#title")).to_have_text("Your seats are booked")
    assert not any("lmlb_" in address for address in asked if "#" not in address)
    await other.goto(link.split("#")[0])
    await other.reload()
    await expect(other.locator("#state")).to_contain_text("There is no such booking for you")


async def test_a_declined_card_and_then_another(house: House) -> None:
    buyer = await house.visitor()
    page = buyer.page
    await buyer.hold(40)
    await buyer.begin()
    await page.locator("#pay-button").click()
    await expect(page.get_by_label("Card number")).to_be_focused()
    await expect(page.locator("#card-number-wrong")).to_contain_text("not complete")
    await buyer.pay(NO_MONEY)
    await expect(page.get_by_role("alert")).to_have_text(
        "There is not enough money on this card. Please try another card."
    )
    await expect(page.get_by_label("Card number")).to_be_focused()
    await buyer.pay(DECLINED)
    await expect(page.get_by_role("alert")).to_contain_text("Your bank declined this card.")
    await buyer.pay(PAYS)
    await buyer.done()


async def test_3d_secure_refused_and_then_passed(house: House) -> None:
    buyer = await house.visitor()
    page = buyer.page
    await buyer.hold(50, 51)
    await buyer.begin()
    await buyer.pay(ASKS_3DS)
    await page.get_by_role("button", name="Fail authentication").click()
    await buyer.ready()
    await expect(page.get_by_role("alert")).to_contain_text("Your bank did not confirm that it was you.")
    assert page.url == f"{house.server.url}/events/{house.server.event}", "no secret stays in the address"
    await buyer.pay(ASKS_3DS)
    await page.get_by_role("button", name="Complete authentication").click()
    await buyer.done()
    await buyer.sees(SOLD, 50, 51)
    await buyer.open_booking()


async def test_turning_back_at_the_banks_page(house: House) -> None:
    """Who presses Back instead of answering the bank pays with another card."""
    buyer = await house.visitor()
    page = buyer.page
    await buyer.hold(55)
    await buyer.begin()
    await buyer.pay(ASKS_3DS)
    await expect(page.get_by_role("button", name="Complete authentication")).to_be_visible()
    await page.go_back()
    await buyer.ready()
    await page.get_by_role("button", name="Go on paying").click()
    await buyer.pay(PAYS)
    await buyer.done()


async def test_giving_the_seats_back(house: House) -> None:
    buyer, watcher = await house.visitor(), await house.visitor()
    page = buyer.page
    await buyer.hold(60)
    await buyer.begin()
    await page.get_by_role("button", name="Cancel and give the seats back").click()
    await expect(page.get_by_role("button", name="Yes, give them back")).to_be_focused()
    await page.get_by_role("button", name="No, go on paying").click()
    await expect(page.locator("#cancel-button")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Yes, give them back").click()
    await expect(page.locator("#checkout-title")).to_have_text("Cancelled")
    await watcher.sees(AVAILABLE, 60)
    await page.get_by_role("button", name="Choose seats").click()
    await page.wait_for_function("lml.mine.length === 0")
    await expect(page.locator("#mine-title")).to_be_focused()


async def test_the_time_runs_out_at_the_card_form(house: House) -> None:
    """The claim's end is moved nearer, so that nobody waits for ten minutes; the rest is as it comes."""
    buyer, watcher = await house.visitor(), await house.visitor()
    page = buyer.page
    await buyer.hold(62)
    await buyer.begin()
    booking = await page.evaluate("lml.page.checkout.booking.id")
    async with house.server.pool() as pool:
        await pool.execute("UPDATE booking SET expires_at = now() + interval '1.5 s' WHERE id = $1", booking)
    await page.evaluate("lml.page.checkout.follower.look()")
    await expect(page.locator("#checkout-time")).to_have_attribute("data-tone", "warn")
    await expect(page.locator("#checkout-title")).to_have_text("The time was up")
    await expect(page.locator("#checkout")).to_contain_text("were not paid in time and went back on sale")
    await expect(page.locator("#pay-button")).to_have_count(0)
    await expect(page.locator("#checkout-time")).to_be_empty()
    await expect(page.locator("#sheet-text")).to_have_text("Not booked")
    await watcher.sees(AVAILABLE, 62)
    await page.get_by_role("button", name="Choose seats").click()
    await page.wait_for_function("lml.mine.length === 0")


async def test_a_payment_that_is_still_being_prepared(house: House) -> None:
    """The server may be waiting for Stripe; the card form comes by itself."""
    buyer = await house.visitor()
    page = buyer.page
    is_prepared = False

    async def prepare(route: Any) -> None:
        response = await route.fetch()
        booking = await response.json()
        if not is_prepared:
            queue = {"ahead": 7, "estimated_seconds": 2, "refresh_seconds": 1}
            booking["payment"] = {"status": "preparing", "queue": queue}
        await route.fulfill(response=response, json=booking)

    await page.route("**/api/v1/bookings", prepare)
    await page.route("**/api/v1/bookings/*", prepare)
    await buyer.hold(63)
    beginning = asyncio.create_task(buyer.begin())
    await expect(page.locator("#checkout")).to_contain_text("Getting the payment ready…")
    await expect(page.locator("#queue-note")).to_have_text(
        "7 are before you, about 2 seconds. Your seats are kept meanwhile."
    )
    is_prepared = True
    await beginning
    await buyer.pay(PAYS)
    await buyer.done()


async def test_a_charge_that_is_faster_than_the_cancellation(house: House, stripe_double: Any) -> None:
    buyer = await house.visitor()
    page = buyer.page
    await buyer.hold(65)
    await buyer.begin()
    secret = await page.evaluate("lml.page.checkout.booking.payment.client_secret")

    async def pay_first(route: Any) -> None:
        async with stripe_client(stripe_double) as stripe:
            await stripe.v1.payment_intents.confirm_async(
                secret.split("_secret_")[0], {"payment_method": "pm_card_visa"}
            )
        await route.continue_()

    await page.route("**/cancel", pay_first)
    await page.locator("#cancel-button").click()
    await page.get_by_role("button", name="Yes, give them back").click()
    await buyer.done()
    await expect(page.locator("#checkout")).to_contain_text("The payment was faster than the cancellation")
    await buyer.sees(SOLD, 65)


async def test_a_sale_that_is_paused_meanwhile(house: House) -> None:
    buyer = await house.visitor()
    page = buyer.page
    await buyer.hold(66)
    await page.locator("#buy-button").click()
    await page.get_by_label("Name").fill("Ada Byron")
    await page.get_by_label("E-mail").fill("ada@example.org")
    async with house.server.catalogue() as catalogue:
        await catalogue.set_state(house.server.event, "pause")
    await expect(page.locator("#status")).to_have_text("Paused")
    await page.get_by_role("button", name="Continue to payment").click()
    await expect(page.get_by_role("alert")).to_contain_text("The sale is paused just now, so nothing can be bought.")
    async with house.server.catalogue() as catalogue:
        await catalogue.set_state(house.server.event, "open")
    await expect(page.locator("#status")).to_have_text("Live")
    await page.get_by_role("button", name="Continue to payment").click()
    await buyer.pay(PAYS)
    await buyer.done()


async def test_a_reload_in_the_middle_goes_on(house: House) -> None:
    """A page that is closed while a booking waits for its card finds it again, and so does the booking's own page."""
    buyer = await house.visitor()
    page = buyer.page
    await buyer.hold(70)
    await buyer.begin()
    await page.reload()
    await buyer.ready()
    await page.get_by_role("button", name="Go on paying").click()
    await expect(page.locator("#pay-button")).to_be_visible()
    await page.goto(f"{house.server.url}/bookings")
    await page.locator(".card").click()
    await expect(page.locator("#title")).to_have_text("Not paid yet")
    await expect(page.locator("#time-left")).to_contain_text("left to pay")
    await page.get_by_role("link", name="Go on paying").click()
    await buyer.ready()
    await buyer.pay(PAYS)
    await buyer.done()


async def test_an_answer_that_is_lost_is_asked_for_with_the_same_key(house: House) -> None:
    buyer = await house.visitor()
    page = buyer.page
    keys: list[str | None] = []

    async def lose(route: Any) -> None:
        keys.append(await route.request.header_value("Idempotency-Key"))
        if len(keys) == 1:
            await route.fetch()  # it was done; only the answer is lost
            await route.abort()
        elif len(keys) == 2:
            problem = {"code": "unavailable", "detail": "Later.", "retry_after_ms": 10}
            await route.fulfill(status=503, body=json.dumps(problem), content_type="application/problem+json")
        else:
            await route.continue_()

    await buyer.hold(80)
    await page.route("**/api/v1/bookings", lose)
    await buyer.begin()
    assert len(keys) == 3
    assert len(set(keys)) == 1
    await page.unroute("**/api/v1/bookings")
    await page.goto(f"{house.server.url}/bookings")
    await expect(page.locator(".card")).to_have_count(1)


async def test_refusals_in_plain_words(house: House) -> None:
    """Of some the checkout is over, and the seats that are left can be bought anew; after others it goes on."""
    buyer = await house.visitor()
    page = buyer.page
    codes: list[str] = []

    async def refuse(route: Any) -> None:
        await route.fulfill(status=409, body=json.dumps({"code": codes.pop()}), content_type="application/problem+json")

    await buyer.hold(90)
    await page.route("**/api/v1/bookings", refuse)
    for code, words in (
        ("seat_taken", "one of these seats has been sold meanwhile"),
        ("hold_expired", "The time for those seats was up"),
    ):
        codes.append(code)
        await page.locator("#buy-button").click()
        await page.get_by_label("Name").fill("Ada Byron")
        await page.get_by_label("E-mail").fill("ada@example.org")
        await page.get_by_role("button", name="Continue to payment").click()
        await expect(page.locator("#checkout")).to_contain_text(words)
        await page.get_by_role("button", name="Choose seats").click()
        await expect(page.locator("#mine")).to_be_visible()
    await page.locator("#buy-button").click()
    for code, words in (
        ("sale_paused", "The sale is paused just now, so nothing can be bought."),
        ("price_changed", "The price has changed from"),
    ):
        codes.append(code)
        await page.get_by_role("button", name="Continue to payment").click()
        await expect(page.locator("#checkout")).to_contain_text(words)
        await expect(page.get_by_role("button", name="Continue to payment")).to_be_focused()
    await page.unroute("**/api/v1/bookings")
    await page.get_by_role("button", name="Continue to payment").click()
    await expect(page.locator("#pay-button")).to_be_visible()


async def test_the_whole_purchase_on_a_phone_by_keyboard(house: House) -> None:
    buyer = await house.visitor(PHONE, color_scheme="dark", has_touch=True)
    page = buyer.page
    await buyer.hold(100)
    await page.locator("#sheet").click()
    await page.locator("#buy-button").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#checkout-title")).to_be_focused()
    for text in ("Ada Byron", "ada@example.org"):
        await page.keyboard.press("Tab")
        await page.keyboard.type(text)
    await page.keyboard.press("Enter")
    await expect(page.locator("#checkout-title")).to_have_text("Payment")
    await expect(page.locator("#checkout-title")).to_be_focused()
    await expect(page.get_by_role("radio", name="Card", exact=True)).to_be_visible()  # once Stripe has named the ways
    await page.keyboard.press("Tab")  # the ways to pay: by card
    for text in ("4242424242424242", "1234", "123"):
        await page.keyboard.press("Tab")
        await page.keyboard.type(text)
    await expect(page.get_by_label("Card number")).to_have_value("4242 4242 4242 4242")
    await expect(page.get_by_label("Expiry date")).to_have_value("12 / 34")
    assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    await page.keyboard.press("Enter")
    await buyer.done()


async def test_a_purchase_under_the_pages_own_content_policy(shop: LiveServer, browser: Browser) -> None:
    """Nothing inline, nothing foreign but the payment service; a violation would be on the console."""
    shop.event = await shop.new_event()
    context = await browser.new_context(viewport=DESK, locale="en-GB")
    buyer = Buyer(await context.new_page(), shop)
    page = buyer.page
    await page.goto(f"{shop.url}/events/{shop.event}")
    await expect(page.locator("#cover")).to_be_hidden()
    await page.get_by_role("button", name="One more place in Floor").click()
    await page.get_by_role("button", name="One more place in Floor").click()
    await expect(page.locator("#mine .line")).to_contain_text("Floor × 2")
    await buyer.begin()
    await buyer.pay(ASKS_3DS)
    await page.get_by_role("button", name="Complete authentication").click()
    await buyer.done()
    await buyer.open_booking()
    await expect(page.locator(".line")).to_contain_text("Floor × 2")
    await context.close()
    assert buyer.said == []


async def test_a_server_that_sells_nothing_says_so(live_server: LiveServer, browser: Browser) -> None:
    house = House(live_server, browser)
    buyer = await house.visitor()
    await buyer.hold(10)
    button = buyer.page.locator("#buy-button")
    await expect(button).to_have_text("Buying is not set up here")
    await expect(button).to_have_attribute("aria-disabled", "true")
    await house.close()


async def test_only_the_event_page_may_speak_to_the_payment_service(shop: LiveServer, stripe_shared: Any) -> None:
    async with shop.session() as http:
        for path, allowed in (("/events/any", True), ("/", False), ("/bookings", False), ("/bookings/any", False)):
            async with http.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert answer.status == 200
                assert (stripe_shared.url in policy) is allowed
                assert "unsafe" not in policy


async def test_paying_at_ones_bank(house: House) -> None:
    """iDEAL leads to the bank's page and back; a debit is the bank's for days, and the seats are kept meanwhile."""
    buyer = await house.visitor()
    page = buyer.page
    await buyer.hold(80)
    await buyer.begin()
    await page.get_by_label("iDEAL").check()
    await expect(page.get_by_label("Card number")).to_be_hidden()
    await page.locator("#pay-button").click()
    await page.get_by_role("button", name="Complete authentication").click()
    await buyer.done()

    await page.get_by_role("button", name="Back to the hall").click()
    await buyer.hold(81)
    await buyer.begin()
    await page.get_by_label("Bank account").check()
    await page.locator("#pay-button").click()
    await expect(page.get_by_text("Please give the IBAN")).to_be_visible()
    await page.get_by_label("IBAN").fill("DE89 3704 0044 0532 0130 00")
    await page.locator("#pay-button").click()
    await expect(page.locator("#checkout")).to_contain_text("Your bank is dealing with the payment")
    await buyer.sees(HELD, 81)


async def test_a_saved_card_pays_the_next_time_and_can_be_removed(house: House) -> None:
    email, password = f"ada-{secrets.token_hex(4)}@example.org", "a horse of another colour"
    async with house.server.pool() as pool:
        secret = await pool.fetchval("SELECT secret FROM house")
        accounts = Accounts(pool, Passwords(), secret, sends_mail=True)
        await accounts.invite(email)
        number = await pool.fetchval("SELECT id FROM account_invitation WHERE email = $1", email)
        await accounts.accept(accounts.invitation(number), password)
    buyer = await house.visitor(PHONE)
    page = buyer.page
    await page.goto(f"{house.server.url}/account?back=/events/{house.server.event}")
    await page.locator("#email").fill(email)
    await page.locator("#password").fill(password)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/events/*")
    await buyer.ready()
    await buyer.hold(82)
    await page.locator("#sheet").click()
    await page.locator("#buy-button").click()
    await page.get_by_label("Save the card").check()
    await page.get_by_label("Name").fill("Ada Byron")
    await page.get_by_role("button", name="Continue to payment").click()
    await buyer.pay(ASKS_3DS)
    await page.get_by_role("button", name="Complete authentication").click()
    await buyer.done()

    await page.get_by_role("button", name="Back to the hall").click()
    await buyer.hold(83)
    listed = asyncio.Event()

    async def list_late(route: Any) -> None:
        await listed.wait()
        await route.continue_()

    # Saved cards that come late are no reason to take away the card that is being typed.
    await page.route("**/accounts/cards", list_late)
    await buyer.begin()
    await page.get_by_label("Card number").fill("4242")
    listed.set()
    await expect(page.get_by_label("Another card")).to_be_checked()
    await expect(page.get_by_label("Card number")).to_be_focused()
    await page.unroute("**/accounts/cards")
    await page.reload()
    await buyer.ready()
    await page.locator("#sheet").click()
    await page.get_by_role("button", name="Go on paying").click()
    await expect(page.get_by_label("Visa ending in 3220")).to_be_checked()
    await page.locator("#pay-button").click()
    await page.get_by_role("button", name="Complete authentication").click()
    await buyer.done()

    await page.goto(f"{house.server.url}/account")
    await page.get_by_role("button", name="Remove Visa ending in 3220").click()
    await expect(page.locator("#cards")).to_contain_text("was removed.")
    await expect(page.locator("#cards li")).to_have_count(0)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
