"""A purchase, as a run makes it: every way in which it may end, and what the ledgers say afterwards."""

import asyncio
import secrets
import time
from typing import Any

import msgspec
import pytest
import stripe
from serving import LiveServer

from lml_live import errors
from lml_live.client import Refusal
from lml_live.devstack.stripe.process import StripeDouble
from loadtests import rest
from loadtests.accounts import Stripe, StripeLedger, settle
from loadtests.bounds import BUY_TRIES_MAX
from loadtests.buying import AUTHENTICATED_CARD, DECLINED_CARD, GOOD_CARD, Booking, buy, read_booking
from loadtests.history import Booked, Ledger
from loadtests.house import Target
from loadtests.money import bookings_without_money, double_sales, money_without_bookings


class Fan:
    """One holder, who buys one seat after the other. `made` has its bookings by id."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.token: str = rest.call(target.url, "POST", "/holders")["token"]
        layout = rest.call(target.url, "GET", f"/events/{target.event}")["layout"]
        drawn = rest.call(target.url, "GET", f"/layouts/{layout['id']}/{layout['hash']}")
        rows = (row for section in drawn["sections"] for row in section.get("rows", ()))
        self.seats = (seat["seat_id"] for row in rows for seat in row["seats"])
        self.made: dict[str, Booking] = {}

    def hold(self) -> str:
        wish = {"seats": [next(self.seats)]}
        hold: str = rest.call(self.target.url, "POST", f"/events/{self.target.event}/holds", wish, token=self.token)[
            "id"
        ]
        return hold

    def buy(self, *cards: str, hold: str = "") -> Booking | Refusal:
        def made(booking: Booking) -> None:
            self.made[booking.id] = booking

        return buy(self.target.url, self.token, hold or self.hold(), "fan-1", cards, made=made)

    def ledgers(self) -> tuple[list[Booked], Ledger]:
        double = self.target.stripe
        assert double is not None

        def read(booking: str) -> Booked:
            found = read_booking(self.target.url, booking, self.made[booking].access)
            return Booked(
                user=1,
                booking=booking,
                hold=found.hold,
                state=found.state,
                seats=found.seats,
                amount=found.amount,
                currency=found.currency,
            )

        lines = settle(self.made, read, lambda: _ledger(double), seconds=10, sleep=time.sleep)
        ledger = lines.pop()
        assert isinstance(ledger, Ledger)
        return [line for line in lines if isinstance(line, Booked)], ledger


def _ledger(double: Stripe) -> Ledger:
    return msgspec.json.decode(rest.fetch(double.url, "/_double/ledger", double.secret_key), type=StripeLedger).shown()


def test_every_way_in_which_a_purchase_ends(shop: LiveServer, stripe_double: StripeDouble) -> None:
    event = asyncio.run(shop.new_event())
    fan = Fan(Target(shop.url, event, Stripe(stripe_double.url, stripe_double.secret_key)))
    for cards in ((GOOD_CARD,), (AUTHENTICATED_CARD,), (DECLINED_CARD, GOOD_CARD)):
        bought = fan.buy(*cards)
        assert isinstance(bought, Booking), bought
        assert bought.state == "confirmed"
    hold = fan.hold()
    given_up = fan.buy(DECLINED_CARD, hold=hold)
    assert isinstance(given_up, Refusal)
    assert given_up.code == "card_declined"
    again = fan.buy(GOOD_CARD, hold="no-such-hold")
    assert isinstance(again, Refusal)
    assert again.code == "hold_not_found"

    bookings, ledger = fan.ledgers()
    assert sorted(booking.state for booking in bookings) == ["cancelled", *["confirmed"] * 3]
    assert bookings_without_money(bookings, ledger) == []
    assert money_without_bookings(bookings, ledger) == []
    assert double_sales(bookings) == []

    # Money that goes behind the server's back is missed.
    paid = next(intent for intent in ledger.intents if intent.captured)
    client = stripe.StripeClient(stripe_double.secret_key, base_addresses={"api": stripe_double.url})
    client.v1.refunds.create({"payment_intent": paid.intent})
    faults = bookings_without_money(bookings, _ledger(fan.target.stripe))
    assert [paid.booking in fault for fault in faults] == [True]


@pytest.mark.parametrize("answered_at", [1, BUY_TRIES_MAX, BUY_TRIES_MAX + 1])
def test_a_request_without_an_answer_is_sent_again_with_the_same_key(
    answered_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    def ask(*_: Any, key: str, **__: Any) -> Any:
        keys.append(key)
        if len(keys) < answered_at:
            raise errors.Unavailable("no answer")
        return Refusal("hold_expired", "too late")

    monkeypatch.setattr(rest, "ask", ask)

    def run() -> Booking | Refusal:
        return buy("http://127.0.0.1:9", "token", "hold", "fan", (GOOD_CARD,), made=lambda _: None)

    if answered_at > BUY_TRIES_MAX:
        with pytest.raises(errors.Unavailable):
            run()
    else:
        assert run() == Refusal("hold_expired", "too late")
    assert len(set(keys)) == 1
    assert len(keys) == min(answered_at, BUY_TRIES_MAX)


@pytest.mark.parametrize("api_base", [None, "https://api.stripe.com", "http://192.0.2.1"])
def test_nobody_pays_at_a_stripe_that_is_not_on_this_machine(
    api_base: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = "pending_payment"

    def shown() -> dict[str, Any]:
        payment = {"status": "ready", "client_secret": "pi_1_secret_2", "publishable_key": "pk", "api_base": api_base}
        whose = {
            "id": "b1",
            "hold": "hold",
            "seats": ["A-1"],
            "amount": 5000,
            "currency": "EUR",
            "access": secrets.token_hex(4),
        }
        return {**whose, "state": state, "payment": payment}

    def ask(_: str, __: str, path: str, *___: Any, **____: Any) -> Any:
        nonlocal state
        if path.endswith("/cancel"):
            state = "cancelled"
        return shown()

    monkeypatch.setattr(rest, "ask", ask)
    monkeypatch.setattr(rest, "call", lambda *_, **__: shown())
    monkeypatch.setattr(rest, "post_form", lambda *_: pytest.fail("somebody paid"))
    ended = buy("http://127.0.0.1:9", "token", "hold", "fan", (GOOD_CARD,), made=lambda _: None, sleep=lambda _: None)
    assert isinstance(ended, Refusal)
    assert ended.code == "stripe_elsewhere"
