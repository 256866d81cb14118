"""The journeys over REST: what a booking says at their end, its tickets, and what Stripe has of the buyer's money.

A payout is in tests/booking/test_statements.py. In Chromium: tests/web/test_web_checkout.py and test_web_journeys.py.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from buying import Buying, book, call
from serving import LiveServer
from waiting import eventually

from lml_live.devstack.stripe.process import StripeDouble

SEAT = 4_750
VISA, DECLINED, ASKS = "pm_card_visa", "pm_card_chargeDeclined", "pm_card_threeDSecure2Required"


@dataclass
class Journey:
    """A booking of two seats, who gives money back, and what Stripe does."""

    made: Buying
    double: StripeDouble
    clerk: str

    async def comes_to(self, state: str) -> None:
        async def is_there() -> bool:
            return bool((await self.made.read())["state"] == state)

        await eventually(is_there, 30)

    async def bought(self) -> None:
        assert await self.made.pay(VISA) == "requires_capture"
        await self.comes_to("confirmed")

    async def refund(self, **wish: object) -> None:
        body = {"reason": "Ill", **wish}
        await call(self.made.server, "POST", f"/bookings/{self.made.id}/refund", body, token=self.clerk, status=201)

    async def dispute(self, *, won: bool | None = None) -> None:
        await self.bought()
        dispute = await self.double.steering.open_dispute(self.made.intent)
        await self.comes_to("disputed")
        if won is not None:
            await self.double.steering.close_dispute(dispute, won=won)


async def declined(journey: Journey) -> None:
    assert await journey.made.pay(DECLINED) == "card_declined"
    shown = await journey.made.read()
    assert (shown["state"], shown["payment"]["status"]) == ("pending_payment", "ready"), "for another card"


async def declined_then_bought(journey: Journey) -> None:
    await declined(journey)
    await journey.bought()


async def passed(journey: Journey) -> None:
    assert await journey.made.pay(ASKS) == "requires_action"
    await journey.double.steering.authenticate(journey.made.intent)


async def failed(journey: Journey) -> None:
    assert await journey.made.pay(ASKS) == "requires_action"
    await journey.double.steering.authenticate(journey.made.intent, passed=False)
    assert (await journey.made.read())["payment"]["status"] == "ready", "for another try"


async def too_late(journey: Journey) -> None:
    """The buyer is at the bank's page when the time is up, and the card is good a moment later."""
    assert await journey.made.pay(ASKS) == "requires_action"
    async with journey.made.server.pool() as pool:
        await pool.execute("UPDATE booking SET expires_at = now() WHERE id = $1", journey.made.id)
    await journey.comes_to("expired")
    assert await journey.made.pay(VISA) == "payment_intent_unexpected_state"


async def one_given_back(journey: Journey) -> None:
    await journey.bought()
    await journey.refund(lines=[1])


async def all_given_back(journey: Journey) -> None:
    await one_given_back(journey)
    await journey.refund()


# what happens · how the booking ends · what Stripe has of the money · the tickets
JOURNEYS: dict[str, tuple[Callable[[Journey], Awaitable[None]], str, int, list[str]]] = {
    "bought": (Journey.bought, "confirmed", 2 * SEAT, ["valid", "valid"]),
    "declined": (declined, "pending_payment", 0, []),
    "declined, then another card": (declined_then_bought, "confirmed", 2 * SEAT, ["valid", "valid"]),
    "3-D Secure passed": (passed, "confirmed", 2 * SEAT, ["valid", "valid"]),
    "3-D Secure failed": (failed, "pending_payment", 0, []),
    "too late": (too_late, "expired", 0, []),
    "a place given back": (one_given_back, "partially_refunded", SEAT, ["valid"]),
    "all given back": (all_given_back, "refunded", 0, []),
    "disputed": (Journey.dispute, "disputed", 0, ["flagged", "flagged"]),
    "a dispute won": (lambda journey: journey.dispute(won=True), "confirmed", 2 * SEAT, ["valid", "valid"]),
    "a dispute lost": (lambda journey: journey.dispute(won=False), "charged_back", 0, ["flagged", "flagged"]),
}


@pytest.mark.parametrize("name", JOURNEYS)
async def test_a_journey_ends_as_it_should(shop: LiveServer, stripe_double: StripeDouble, name: str) -> None:
    happens, state, kept, tickets = JOURNEYS[name]
    await stripe_double.steering.change_settings(webhook_url=f"{shop.url}/api/v1/webhooks/stripe")
    clerk = (await shop.sign_in())["Authorization"].removeprefix("Bearer ")
    made = await book(shop, await shop.new_event(), 0, 1)
    journey = Journey(made, stripe_double, clerk)
    await happens(journey)
    await journey.comes_to(state)
    shown = (await call(shop, "GET", f"/bookings/{made.id}/tickets", token=made.access))["items"]
    assert [one["state"] for one in shown] == tickets

    async def stripe_has() -> bool:
        entries = (await stripe_double.steering.ledger()).intents
        return [one.net_captured for one in entries if one.intent.id == made.intent] == [kept]

    await eventually(stripe_has)
