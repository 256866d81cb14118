"""One purchase as a browser makes it: a booking of a hold, a card at Stripe, and what became of it."""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from lml_live import errors
from lml_live.booking.states import AWAITING_PAYMENT, BookingState
from lml_live.client import Refusal
from loadtests import rest
from loadtests.bounds import BUY_LOOK_SECONDS, BUY_SECONDS_MAX, BUY_TRIES_MAX, require_loopback
from loadtests.verdict import GAVE_UP

GOOD_CARD: Final = "pm_card_visa"
DECLINED_CARD: Final = "pm_card_chargeDeclined"
AUTHENTICATED_CARD: Final = "pm_card_threeDSecure2Required"
ELSEWHERE: Final = "stripe_elsewhere"
"""The code of a purchase whose Stripe is not on this machine: nobody pays there."""


class Payment(Struct, frozen=True):
    """How a booking is paid."""

    status: str
    client_secret: str | None = None
    publishable_key: str | None = None
    api_base: str | None = None


class Booking(Struct, frozen=True):
    """A booking as its buyer is told of it: seat ids, minor units of `currency`."""

    id: str
    hold: str
    state: BookingState
    seats: tuple[str, ...]
    amount: int
    currency: str
    access: str
    payment: Payment

    @property
    def undecided(self) -> bool:
        """Whether it may still become a sale, or end without one."""
        return self.state in AWAITING_PAYMENT or self.state == "authorized"


class _Error(Struct, frozen=True):
    code: str | None = None


class _Intent(Struct, frozen=True):
    """A PaymentIntent, or why there was none, as far as a page looks at it."""

    status: str = ""
    next_action: dict[str, Any] | None = None
    error: _Error | None = None


def read_booking(url: str, booking: str, access: str) -> Booking:
    """What the server says of a booking. Raises `errors.Unavailable`."""
    return _booking(rest.call(url, "GET", f"/bookings/{booking}", token=access))


def buy(
    url: str,
    token: str,
    hold: str,
    buyer: str,
    cards: tuple[str, ...],
    *,
    made: Callable[[Booking], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Booking | Refusal:
    """Books `hold` for its holder, shows the `cards` in turn until one is taken, and waits for the end.

    Where none is taken the booking is given up. `made` hears of the booking as soon as there is one. Answers the
    confirmed booking, or a refusal with the server's code, `GAVE_UP`, `ELSEWHERE` or the state in which it ended.
    Raises `errors.Unavailable` or `TimeoutError` where the outcome is unknown.
    """
    wish = {"hold": hold, "buyer": {"name": buyer, "email": f"{buyer}@example.org"}}
    answer = _insist(lambda key: rest.ask(url, "POST", "/bookings", wish, token=token, key=key))
    if isinstance(answer, Refusal):
        return answer
    booking = _booking(answer)
    made(booking)

    def look() -> Iterator[Booking]:
        until = time.monotonic() + BUY_SECONDS_MAX
        found = booking
        while time.monotonic() < until:
            yield found
            sleep(BUY_LOOK_SECONDS)
            found = read_booking(url, booking.id, booking.access)

    booking = _first(look(), lambda found: found.payment.status != "preparing")
    reason = _pay(booking.payment, cards) if booking.payment.status == "ready" else None
    if reason is not None:
        refused = _insist(
            lambda key: rest.ask(url, "POST", f"/bookings/{booking.id}/cancel", {}, token=booking.access, key=key)
        )
        if isinstance(refused, Refusal):
            return refused
    ended = _first(look(), lambda found: not found.undecided)
    if ended.state == "confirmed":
        return ended
    return Refusal(reason or ended.state, f"The booking ended {ended.state}.")


def _first(looks: Iterator[Booking], wanted: Callable[[Booking], bool]) -> Booking:
    for found in looks:
        if wanted(found):
            return found
    raise TimeoutError(f"no end within {BUY_SECONDS_MAX:.0f} s")


def _insist(send: Callable[[str], Any]) -> Any:
    """Sends one request, with one key, until there is an answer; raises the last `errors.Unavailable`."""
    key = secrets.token_hex(16)
    for _ in range(BUY_TRIES_MAX - 1):
        try:
            return send(key)
        except errors.Unavailable:
            continue
    return send(key)


def _pay(payment: Payment, cards: tuple[str, ...]) -> str | None:
    """Shows the cards in turn; None where one was taken, else the code for which the buyer gives up."""
    try:
        base = require_loopback(payment.api_base or "")
    except ValueError:
        return ELSEWHERE
    assert payment.client_secret is not None
    assert payment.publishable_key is not None
    intent = payment.client_secret.partition("_secret_")[0]
    form = {"key": payment.publishable_key, "client_secret": payment.client_secret}
    for card in cards:
        status, raw = rest.post_form(base, f"/v1/payment_intents/{intent}/confirm", form | {"payment_method": card})
        answer = msgspec.json.decode(raw, type=_Intent)
        if status == 402:
            continue
        if status != 200:
            raise errors.Unavailable(f"Stripe: HTTP {status}: {answer.error.code if answer.error else ''}")
        if answer.status == "requires_action":
            _authenticate(answer)
        return None
    return GAVE_UP


def _authenticate(intent: _Intent) -> None:
    """3-D Secure: the buyer says yes on the page of the card's issuer."""
    assert intent.next_action is not None
    page = urlsplit(intent.next_action["use_stripe_sdk"]["stripe_js"])
    status, _ = rest.post_form(f"http://{page.netloc}", f"{page.path}?{page.query}", {"outcome": "complete"})
    if status != 200:
        raise errors.Unavailable(f"the issuer's page: HTTP {status}")


def _booking(answer: Any) -> Booking:
    return msgspec.convert(answer, Booking)
