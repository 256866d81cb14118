"""The states of a payout from an organisation's account to its bank, and why a bank refuses one. Pure.

Stripe pays out what an account has, by its own schedule; we only say what became of it, in Stripe's words (API: The
Payout object). One table, said again in SQL (`payout_move`), where a trigger refuses all else; a test compares them.
"""

from typing import Final, Literal, get_args

PayoutState = Literal["pending", "in_transit", "paid", "failed", "canceled"]
PAYOUT_STATES: Final[tuple[PayoutState, ...]] = get_args(PayoutState)

PAYOUT_MOVES: Final[dict[PayoutState, frozenset[PayoutState]]] = {
    # One that is seen again late may have come any way.
    "pending": frozenset({"in_transit", "paid", "failed", "canceled"}),
    "in_transit": frozenset({"paid", "failed", "canceled"}),
    # A bank may send back what it took.
    "paid": frozenset({"failed"}),
    "failed": frozenset(),
    "canceled": frozenset(),
}

_REASONS: Final = {
    "account_closed": "the bank account is closed",
    "account_frozen": "the bank account is frozen",
    "bank_account_restricted": "the bank account does not take such payments; it may be a savings account",
    "bank_ownership_changed": "the bank or its branch belongs to another one now",
    "could_not_process": "the bank could not process it",
    "debit_not_authorized": "the bank account does not allow debits",
    "declined": "the bank declined it",
    "incorrect_account_holder_address": "the address of the account's holder is another one",
    "incorrect_account_holder_name": "the name of the account's holder is another one",
    "incorrect_account_holder_tax_id": "the tax number of the account's holder is another one",
    "insufficient_funds": "the account at Stripe did not have enough",
    "invalid_account_number": "the bank account's number is wrong",
    "invalid_currency": "the bank account does not take this currency",
    "no_account": "there is no bank account with these details",
    "unsupported_card": "the card takes no payouts any more",
}
"""What Stripe's codes say (Payouts: Payout failures)."""


def may_follow(state: PayoutState) -> frozenset[PayoutState]:
    """The states in which a payout may be when it is found in this one; in any other that is old news."""
    return frozenset(before for before in PAYOUT_STATES if before == state or state in PAYOUT_MOVES[before])


def reason(code: str | None) -> str:
    """Why a bank refused it, in words that end a sentence."""
    return _REASONS.get(code or "", "the bank gave no reason that we know")


def draw() -> str:
    """The table as a Mermaid state diagram (docs/bookings.md; a test compares the two)."""
    ends = "".join(f"    {state} --> [*]\n" for state in PAYOUT_STATES if not PAYOUT_MOVES[state])
    moves = "".join(f"    {state} --> {to}\n" for state in PAYOUT_STATES for to in sorted(PAYOUT_MOVES[state]))
    return f"stateDiagram-v2\n    [*] --> pending\n{moves}{ends}"
