"""Writes the ledger's postings, always in the transaction of the move that they are about."""

from collections.abc import Sequence
from typing import Final

from lml_live.booking.ledger import Entry, Posting, Shares, Tender, entries, postings, share_out
from lml_live.booking.payments import DisputeMove
from lml_live.booking.states import BookingState
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection

_SQL: Final = postgres.statements("ledger")


async def post_move(
    connected: Connection,
    booking: str,
    currency: str,
    state: BookingState,
    to: BookingState,
    tender: Tender | None = None,
) -> None:
    """Books what a booking's move books; `tender` where it was sold at the counter."""
    due = postings(state, to, tender)
    if due:
        shares = await load_shares(connected, booking)
        for posting in due:
            await post(connected, booking, currency, posting, shares, about=booking)


async def load_shares(connected: Connection, booking: str) -> Shares:
    """Whose the money of a booking's lines is."""
    rows = await connected.fetch(_SQL["load_shares"], booking)
    return share_out((row["amount"], row["fee"], row["tax"]) for row in rows)


async def post(
    connected: Connection, booking: str, currency: str, posting: Posting, shares: Shares, *, about: str
) -> None:
    """Books one posting about a booking, or about a part of its life that has an id of its own; nothing of nothing.

    The same posting about the same thing a second time is a defect, and refused (`booked_once`).
    """
    await write_entries(connected, booking, currency, posting, entries(posting, shares), about=about)


async def post_fee(connected: Connection, booking: str, move: DisputeMove) -> None:
    """Books what Stripe took for a dispute beside its amount, or gave back of that, in the currency of that."""
    posting: Posting = "dispute_fee" if move.fee > 0 else "dispute_fee_back"
    await post(connected, booking, move.currency, posting, Shares(0, 0, 0, abs(move.fee)), about=move.id)


async def write_entries(
    connected: Connection, booking: str, currency: str, posting: str, made: Sequence[Entry], *, about: str
) -> None:
    """The same, of entries that balance."""
    if made:
        columns = zip(*((entry.account, entry.debit, entry.credit) for entry in made), strict=True)
        await connected.execute(
            _SQL["post"], booking, posting, f"{about}:{posting}", currency, *(list(column) for column in columns)
        )
