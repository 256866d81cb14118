"""What a bank is told of a disputed booking, out of what is on record, in Stripe's fields. Pure.

The same records make the same words: nothing is said of which nothing is written down. The names of the fields and how
much each may hold are Stripe's (API reference, `disputes.update`); its files are not used.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from lml_live.booking.letters import show_amount

FIELD_CHARS_MAX: Final = 20_000
FIELDS_CHARS_MAX: Final = 150_000


class Line(Struct, frozen=True):
    """A place that was bought."""

    line: int
    place: str
    type: str
    amount: int


class Move(Struct, frozen=True):
    """A change of the booking, with its place in the audit trail."""

    at: datetime
    before: str | None
    after: str
    actor: str | None
    origin: str | None
    seq: int | None
    hash: str | None


class Mailed(Struct, frozen=True):
    kind: str
    created: datetime
    sent: datetime | None


class Issued(Struct, frozen=True):
    """A ticket, and when and where somebody was let in on it."""

    line: int
    state: str
    issued: datetime
    reprinted: bool
    used_at: datetime | None
    used_gate: str | None


class GivenBack(Struct, frozen=True):
    amount: int
    reason: str
    state: str
    created: datetime


class Taken(Struct, frozen=True):
    """A dispute of the same booking."""

    id: str
    amount: int
    reason: str
    state: str
    opened: datetime


class Case(Struct, frozen=True, kw_only=True):
    """All that is on record of a disputed booking; its download is this, and the fields."""

    dispute: str
    booking: str
    intent: str | None
    buyer_name: str
    buyer_email: str
    amount: int
    currency: str
    created: datetime
    origin: str | None
    event: str
    venue: str
    starts_at: datetime
    max_seats: int
    terms_url: str | None
    lines: tuple[Line, ...]
    moves: tuple[Move, ...]
    mails: tuple[Mailed, ...]
    tickets: tuple[Issued, ...]
    refunds: tuple[GivenBack, ...]
    disputes: tuple[Taken, ...]


def write_fields(case: Case) -> dict[str, str]:
    """The fields, each no longer than it may be, and together."""
    fields = {
        "customer_name": case.buyer_name,
        "customer_email_address": case.buyer_email,
        "product_description": _product(case),
        "service_date": f"{case.starts_at.astimezone(UTC):%d %B %Y}",
        "access_activity_log": _fit(_activity(case)),
        "refund_policy_disclosure": _terms(case),
        "refund_refusal_explanation": _refunds(case),
        "uncategorized_text": _fit(_summary(case)),
    }
    found = {name: text.replace("\0", "")[:FIELD_CHARS_MAX] for name, text in fields.items() if text.strip()}
    assert sum(map(len, found.values())) <= FIELDS_CHARS_MAX, "eight fields of 20,000 are not all full"
    return found


def _product(case: Case) -> str:
    kinds: dict[str, int] = {}
    for line in case.lines:
        kinds[line.type] = kinds.get(line.type, 0) + 1
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    when = f"{case.event}, {case.venue}, {_time(case.starts_at)}"
    return f"{len(case.lines)} tickets ({listed}) for places reserved at one performance: {when}."


def _activity(case: Case) -> list[str]:
    """Everything that happened, by time."""
    rows: list[tuple[datetime, str]] = []
    for move in case.moves:
        what = f"booking {move.after}" if move.before is None else f"booking {move.before} -> {move.after}"
        by = f" by the {'buyer' if move.actor == 'holder' else move.actor}" if move.actor else ""
        origin = f", network address (keyed hash) {move.origin}" if move.origin else ""
        chain = f" [audit record {move.seq}, SHA-256 {move.hash}]" if move.seq is not None else ""
        rows.append((move.at, f"{what}{by}{origin}{chain}"))
    rows += [
        (mail.sent, f"e-mail '{mail.kind}' taken by the mail server for {case.buyer_email}")
        for mail in case.mails
        if mail.sent is not None
    ]
    for ticket in case.tickets:
        again = " again" if ticket.reprinted else ""
        rows.append((ticket.issued, f"ticket of line {ticket.line} issued{again}"))
        if ticket.used_at is not None:
            rows.append((ticket.used_at, f"ticket of line {ticket.line} scanned, admitted at {ticket.used_gate}"))
    return [f"{_time(at)}  {text}" for at, text in sorted(rows)]


def _terms(case: Case) -> str:
    if case.terms_url is None:
        return ""
    return f"Our terms are published at {case.terms_url}; the confirmation that buyers are e-mailed links to them."


def _refunds(case: Case) -> str:
    done = [one for one in case.refunds if one.state != "failed"]
    if not done:
        return "Nothing of this payment was refunded by us."
    return "\n".join(
        f"{_time(one.created)}  {show_amount(one.amount, case.currency)} refunded ({one.state}): {one.reason}"
        for one in done
    )


def _summary(case: Case) -> list[str]:
    admitted = sum(ticket.used_at is not None for ticket in case.tickets)
    sent = [mail for mail in case.mails if mail.kind == "confirmed" and mail.sent is not None]
    rows = [
        f"Booking {case.booking} of {_time(case.created)}, {show_amount(case.amount, case.currency)}, PaymentIntent "
        f"{case.intent or 'none'}.",
        f"Places admitted at the door: {admitted} of {len(case.lines)}.",
        *(
            f"Confirmation e-mailed to {case.buyer_email} on {_time(mail.sent)}."
            for mail in sent
            if mail.sent is not None
        ),
        "The activity log's records of the booking are chained by hash in an append-only audit trail.",
        *(
            f"Line {line.line}: {line.type}, {line.place}, {show_amount(line.amount, case.currency)}"
            for line in case.lines
        ),
    ]
    others = [one for one in case.disputes if one.id != case.dispute]
    rows += [
        f"Another dispute of it: {one.id}, {show_amount(one.amount, case.currency)}, {one.reason}, {one.state}"
        for one in others
    ]
    return rows


def _fit(rows: Sequence[str]) -> str:
    """As many rows as a field holds, the first ones, and how many more there are."""
    left, kept = FIELD_CHARS_MAX - 40, []
    for row in rows:
        if len(row) + 1 > left:
            break
        kept.append(row)
        left -= len(row) + 1
    return "\n".join([*kept, *_more(len(rows) - len(kept))])


def _more(rows: int) -> Iterable[str]:
    return (f"({rows} more)",) if rows else ()


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
