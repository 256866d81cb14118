"""What buyers are written, and organisations' managers, in words and as an e-mail. Pure.

A header cannot be broken by what somebody typed: names become one line, and `email` refuses line ends besides. What
stands in the HTML is escaped. The link's secret stands after `#`, which no mail server's log of clicks ever sees.
"""

import html
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final, Literal

from msgspec import Struct

from lml_live.booking.payout_states import reason
from lml_live.pricing.currencies import DECIMALS

MailKind = Literal[
    "confirmed",
    "cancelled",
    "expired",
    "failed",
    "refunded",
    "returned",
    "event_changed",
    "invited",
    "payout_failed",
]


class Facts(Struct, frozen=True, kw_only=True):
    """What a mail tells of. `link` leads to the booking, with its secret.

    An invitation is of no booking: `booking` names it instead, and only `email` and `link` say something. Nor is a
    payout that failed: `booking` names that, `amount` is its own, and `link` leads to its organisation.
    """

    id: int
    kind: MailKind
    booking: str
    name: str
    email: str
    amount: int
    currency: str
    places: int
    event: str
    venue: str
    starts_at: datetime
    link: str
    at_counter: bool = False
    """Paid, and so given back, at the counter."""
    terms_url: str | None = None
    organisation: str = ""
    """Whose payout it is."""
    failure_code: str | None = None
    """Why its bank refused it."""


class Letter(Struct, frozen=True):
    """A mail in words: paragraphs, the link after the first."""

    subject: str
    paragraphs: tuple[str, ...]


class UnusableAddress(ValueError):
    """No mail can be addressed so."""


_NOT_CHARGED: Final = (
    "You were not charged. Should your bank show an amount as reserved, it lets go of it by itself within days."
)
_KEEP: Final = "Whoever has the link above sees your booking, as you do: keep it to yourself."


_INVITED: Final = Letter(
    "Your account: choose a password",
    (
        "Somebody, probably you, asked to sign in with this address. Choose a password here, within the hour:",
        "If you have an account already, this gives it a new password.",
        "If it was not you, do nothing: nothing happens without this link. Give it to nobody.",
    ),
)


def write(facts: Facts) -> Letter:
    """The words of a mail."""
    if facts.kind == "invited":
        return _INVITED
    if facts.kind == "payout_failed":
        return _payout_failed(facts)
    event, venue = _one_line(facts.event), _one_line(facts.venue)
    what = f"{event}, {venue}, {facts.starts_at.astimezone(UTC):%d %B %Y, %H:%M} UTC"
    count = "One place" if facts.places == 1 else f"{facts.places} places"
    paid = f"{count}, {show_amount(facts.amount, facts.currency)}"
    match facts.kind:
        case "confirmed":
            return Letter(f"Booked: {event}", (f"Your booking is confirmed: {what}. {paid}.", _KEEP, *_terms(facts)))
        case "cancelled":
            return Letter(f"Cancelled: {event}", (f"Your booking was cancelled: {what}.", _NOT_CHARGED))
        case "expired":
            text = f"The time to pay for your booking ran out, and its places are on sale again: {what}."
            return Letter(f"Not booked: {event}", (text, _NOT_CHARGED))
        case "failed":
            text = f"Your payment could not be taken, and your places are on sale again: {what}."
            return Letter(f"Not booked: {event}", (text, _NOT_CHARGED))
        case "refunded" if not facts.amount:
            text = f"We have taken places of your booking back: {what}. They cost nothing. What it is now you see here."
            return Letter(f"Taken back: {event}", (text, _KEEP))
        case "refunded" if facts.at_counter:
            text = f"At the counter money was given back for your booking: {what}. What it is now you see here."
            return Letter(f"Refund: {event}", (text, _KEEP))
        case "refunded":
            text = f"We have given money back for your booking: {what}. What it is now you see here."
            return Letter(f"Refund: {event}", (text, "With most banks it arrives within ten days.", _KEEP))
        case "returned":
            text = f"A payment for your booking came when it could buy nothing, and all of it goes back to you: {what}."
            return Letter(f"Payment returned: {event}", (text, "With most banks it arrives within ten days.", _KEEP))
        case "event_changed":
            return Letter(f"Changed: {event}", (f"Place or time have changed. Now it is: {what}. {count}.", _KEEP))


def _payout_failed(facts: Facts) -> Letter:
    whose, amount = _one_line(facts.organisation), show_amount(facts.amount, facts.currency)
    return Letter(
        f"Not paid out: {amount} of {whose}",
        (
            f"Stripe could not pay {amount} to the bank of {whose}: {reason(facts.failure_code)}. The money is in the "
            "account at Stripe again, and nothing of it is lost. What to do: sign in here, go on at Stripe, and check "
            "the bank account or name another one:",
            "Until then Stripe pays nothing more to that bank, and what is due for later events waits. Once the bank "
            "account is right, Stripe pays out by itself what is there.",
            "If the bank account looks right, ask the bank why it refused the payment, by its amount and day. "
            "We see neither the bank account nor its number.",
        ),
    )


def _terms(facts: Facts) -> tuple[str, ...]:
    return () if facts.terms_url is None else (f"Our terms: {facts.terms_url}",)


def plain(facts: Facts, letter: Letter) -> str:
    """The mail as plain text."""
    first, *others = letter.paragraphs
    parts = (_greeting(facts), first, facts.link, *others, *_reference(facts))
    return "\n\n".join(parts) + "\n"


def compose(facts: Facts, sender: str, at: datetime) -> EmailMessage:
    """The mail as it is sent. Raises `UnusableAddress`."""
    letter = write(facts)
    first, *others = letter.paragraphs
    link = html.escape(facts.link)
    body = "".join(
        f"<p>{part}</p>"
        for part in (
            html.escape(_greeting(facts)),
            html.escape(first),
            f'<a href="{link}">{link}</a>',
            *map(html.escape, others),
            *map(html.escape, _reference(facts)),
        )
    )
    message = EmailMessage(policy=SMTP)
    message["Subject"] = letter.subject
    try:
        message["From"] = sender
        message["To"] = Address(_one_line(facts.name), addr_spec=ascii_domain(facts.email))
    except (MessageError, ValueError, IndexError) as error:
        raise UnusableAddress("This is no address that mail can be sent to.") from error
    message["Date"] = at
    # The same in every try, so that a mail that comes twice is one to most programs.
    message["Message-ID"] = f"<{facts.id}.{facts.booking}@{domain_of(sender)}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(plain(facts, letter))
    head = f'<meta charset="utf-8"><title>{html.escape(letter.subject)}</title>'
    message.add_alternative(f'<!doctype html><html lang="en">{head}{body}</html>', subtype="html")
    return message


def _greeting(facts: Facts) -> str:
    return f"Dear {_one_line(facts.name)}," if facts.name else "Hello,"


def _reference(facts: Facts) -> tuple[str, ...]:
    if facts.kind == "invited":
        return ()
    return (f"{'Payout' if facts.kind == 'payout_failed' else 'Booking'} {facts.booking}",)


def ascii_domain(address: str) -> str:
    """The address with its domain as the name servers have it. Raises `ValueError`."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain if domain.isascii() else domain.encode('idna').decode()}"


def domain_of(sender: str) -> str:
    """The domain of a sender such as `Box office <tickets@example.org>`."""
    return sender.rpartition("@")[2].strip(" >") or "localhost"


def show_amount(amount: int, currency: str) -> str:
    """Minor units as people read them."""
    decimals = DECIMALS.get(currency, 2)
    if not decimals:
        return f"{amount} {currency}"
    return f"{amount // 10**decimals}.{amount % 10**decimals:0{decimals}} {currency}"


def _one_line(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
