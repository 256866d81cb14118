"""The pure parts of the checkout: which step, which words, and a card as it is typed."""

from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def run(blank: Page, module: str, call: str, *arguments: Any) -> Any:
    return await blank.evaluate(
        f"async (arguments_) => {{ const m = await import('/web/{module}.js'); return m.{call}(...arguments_); }}",
        list(arguments),
    )


@pytest.mark.parametrize(
    ("state", "status", "sent", "step"),
    [
        ("pending_payment", "preparing", False, "preparing"),
        ("pending_payment", "ready", False, "pay"),
        ("pending_payment", "ready", True, "waiting"),
        ("pending_payment", "none", False, "waiting"),
        ("authorized", "none", True, "done"),
        ("confirmed", "none", False, "done"),
        ("partially_refunded", "none", False, "done"),
        ("cancelling", "none", False, "ending"),
        ("expiring", "none", True, "ending"),
        ("cancelled", "none", False, "over"),
        ("expired", "none", True, "over"),
        ("failed", "none", True, "over"),
        ("refunded", "none", False, "over"),
    ],
)
async def test_the_step_follows_from_the_booking(blank: Page, state: str, status: str, sent: bool, step: str) -> None:
    assert await run(blank, "checkoutwords", "stepOf", {"state": state, "payment": {"status": status}}, sent) == step


@pytest.mark.parametrize(
    ("state", "accepted", "words", "counts"),
    [
        ("pending", None, "being made", False),
        ("pending", "2026-11-29T10:00:00Z", "on its way", True),
        ("succeeded", "2026-11-29T10:00:00Z", "to your card", True),
        ("failed", None, "could not be made", False),
        ("failed", "2026-11-29T10:00:00Z", "bank did not take", False),
    ],
)
async def test_a_refund_in_words(blank: Page, state: str, accepted: str | None, words: str, counts: bool) -> None:
    found = await run(blank, "checkoutwords", "explainRefund", {"state": state, "accepted": accepted})
    assert words in found["text"]
    assert found["counts"] is counts


async def test_what_cost_nothing_goes_to_no_card(blank: Page) -> None:
    refund = {"state": "succeeded", "accepted": "2030-01-01T00:00:00Z", "amount": 0}
    found = await run(blank, "checkoutwords", "explainRefund", refund)
    assert found == {"text": "Given back; it had cost nothing", "counts": False}


@pytest.mark.parametrize(
    ("number", "expiry", "cvc", "wrong"),
    [
        ("4242 4242 4242 4242", "12 / 34", "123", []),
        ("3782 822463 10005", "11/26", "1234", []),
        ("4242 4242 4242 4241", "12 / 34", "123", ["number"]),
        ("", "", "", ["cvc", "expiry", "number"]),
        ("4242424242424242", "13 / 34", "123", ["expiry"]),
        ("4242424242424242", "10 / 26", "123", ["expiry"]),
        ("4242424242424242", "12 / 34", "12", ["cvc"]),
    ],
)
async def test_a_card_is_looked_through(blank: Page, number: str, expiry: str, cvc: str, wrong: list[str]) -> None:
    found = await blank.evaluate(
        """async (card) => {
          const { readCard } = await import("/web/cardform.js");
          const read = readCard(card, new Date(2026, 10, 22));
          return [Object.keys(read.wrong).sort(), read.card === null];
        }""",
        {"number": number, "expiry": expiry, "cvc": cvc},
    )
    assert found == [wrong, bool(wrong)]


@pytest.mark.parametrize(
    ("call", "typed", "shown"),
    [
        ("groupDigits", "42424", "4242 4"),
        ("groupDigits", "4242", "4242"),
        ("groupDigits", "4242-4242x42424242", "4242 4242 4242 4242"),
        ("groupExpiry", "1", "1"),
        ("groupExpiry", "4", "04"),
        ("groupExpiry", "123", "12 / 3"),
        ("groupExpiry", "12 / 34", "12 / 34"),
    ],
)
async def test_what_is_typed_is_grouped(blank: Page, call: str, typed: str, shown: str) -> None:
    assert await run(blank, "cardform", call, typed) == shown


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"code": "card_declined", "decline_code": "insufficient_funds"}, "not enough money"),
        ({"code": "card_declined", "decline_code": "stolen_card"}, "Your bank declined this card."),
        ({"code": "card_declined", "decline_code": "brand_new", "message": "Something new."}, "Something new."),
        ({"code": "payment_intent_authentication_failure"}, "did not confirm that it was you"),
        ({"code": "unreachable"}, "cannot charge you twice"),
        ({}, "did not go through"),
    ],
)
async def test_a_refused_card_in_plain_words(blank: Page, error: dict[str, str], words: str) -> None:
    assert words in await run(blank, "checkoutwords", "explainCard", error)


@pytest.mark.parametrize(
    ("status", "code", "passing"),
    [
        (0, "", True),
        (503, "unavailable", True),
        (429, "rate_limited", True),
        (409, "idempotency_in_progress", True),
        (409, "price_changed", False),
        (404, "hold_not_found", False),
    ],
)
async def test_only_what_is_passing_is_sent_again(blank: Page, status: int, code: str, passing: bool) -> None:
    found = await blank.evaluate(
        """async ([status, code]) => {
          const { CallFailed } = await import("/web/bookingapi.js");
          return new CallFailed(status, code ? { code } : {}).passing;
        }""",
        [status, code],
    )
    assert found is passing


async def test_a_key_without_https(blank: Page) -> None:
    """`crypto.randomUUID` is missing on a page that came over plain http from another machine."""
    keys = await blank.evaluate(
        """async () => {
          const { randomKey } = await import("/web/keys.js");
          return [randomKey(), randomKey()];
        }"""
    )
    assert len(set(keys)) == 2
    assert all(len(key) == 32 for key in keys)
