"""Stripe's webhooks: signed, each kept once, answered before the work (reliability.md, D7). Pure but for `hmac`.

A notice is a hint: what happened is read from the intent or the payout itself. So all that is taken from one is its id,
its type and what it is about.
"""

import hmac
from typing import Annotated, Final

import msgspec

from lml_live import limits
from lml_live.errors import InvalidInput

_SCHEME: Final = "v1"
_TO_BANKS: Final = frozenset({"payout", "bank_account", "card"})


_StripeId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.]*$(?!\n)", max_length=255)]


class _Object(msgspec.Struct, frozen=True):
    id: _StripeId = ""
    object: str = ""
    payment_intent: _StripeId | None = None


class _Data(msgspec.Struct, frozen=True):
    object: _Object


class _Event(msgspec.Struct, frozen=True):
    id: _StripeId
    type: _StripeId
    data: _Data
    livemode: bool = False
    account: _StripeId | None = None


class Notice(msgspec.Struct, frozen=True):
    """What a webhook says: its id, its type, and the PaymentIntent or the connected account it is about, and of that
    one the payout."""

    id: str
    type: str
    intent: str | None
    account: str | None = None
    payout: str | None = None


_decoder = msgspec.json.Decoder(_Event)


def _secrets(given: str) -> list[str]:
    """Those that are some: a comma too many must not make an empty one good."""
    return [one.strip() for one in given.split(",") if one.strip()]


def read_notice(body: bytes, signature: str, secret: str, now_ms: int, *, live: bool) -> Notice:
    """A webhook's content, if it is Stripe's, fresh, and meant for us. Raises `InvalidInput`; nothing is echoed.

    `signature` is the header `Stripe-Signature`: `t=seconds,v1=hex[,v1=hex…]`, an HMAC-SHA256 of `t.body`. A time more
    than `WEBHOOK_TOLERANCE_SECONDS` away is refused on both sides; Stripe's own library refuses old ones only. `secret`
    may be several, by comma: an endpoint for connected accounts has its own, and a new one is good before the old ends.
    """
    stamps = [part[2:] for part in signature.split(",") if part.startswith("t=")]
    given = [part[3:] for part in signature.split(",") if part.startswith(f"{_SCHEME}=")]
    if not signature.isascii() or len(stamps) != 1 or not stamps[0].isdecimal() or len(stamps[0]) > 12 or not given:
        raise InvalidInput("The signature is missing or malformed.")
    if abs(now_ms / 1000 - int(stamps[0])) > limits.WEBHOOK_TOLERANCE_SECONDS:
        raise InvalidInput("The signature's time is too far from now.")
    signed = f"{stamps[0]}.".encode() + body
    right = [hmac.digest(one.encode(), signed, "sha256").hex().encode() for one in _secrets(secret)]
    if not any(hmac.compare_digest(mine, one.encode()) for mine in right for one in given):
        raise InvalidInput("The signature is wrong.")
    try:
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("The event cannot be read.") from error
    about = event.data.object
    # Of what happens to connected accounts only the accounts themselves are our business, and their way to a bank.
    ours = event.account is None or about.object in _TO_BANKS or (about.object, about.id) == ("account", event.account)
    if event.livemode != live or not ours:
        raise InvalidInput("The event is of another mode or account.")
    return _notice(event)


def listed_notice(event: object) -> Notice | None:
    """A notice of an event that our key has listed, as plain data; None for what no webhook could say."""
    try:
        return _notice(msgspec.convert(event, _Event))
    except msgspec.ValidationError:
        return None


def _notice(event: _Event) -> Notice:
    about = event.data.object
    intent = about.id if about.object == "payment_intent" else about.payment_intent
    payout = about.id if about.object == "payout" and event.account is not None else None
    return Notice(event.id, event.type, intent, event.account, payout)
