"""What paying organisations asks of Stripe's Connect. `stripe_connect` is it; all raise `PaymentFault`."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from lml_live.booking.payout_states import PayoutState


class StripeAccount(Struct, frozen=True, kw_only=True):
    """A connected account as Stripe has it now."""

    id: str
    country: str
    details_submitted: bool
    charges_enabled: bool
    payouts_enabled: bool
    transfers_enabled: bool


class StripeTransfer(Struct, frozen=True):
    """A transfer that Stripe has made. `booking` is whose it is, or None; `key` what we named it by beside that;
    `reversed` what came back of it, whoever took it."""

    id: str
    amount: int
    booking: str | None
    key: str | None = None
    reversed: int = 0


class StripeReversal(Struct, frozen=True):
    """A reversal that Stripe has made. `key` is what we named it by, or None."""

    id: str
    key: str | None
    amount: int


class StripePayout(Struct, frozen=True, kw_only=True):
    """A payout of a connected account to its bank as Stripe has it now; minor units."""

    id: str
    amount: int
    currency: str
    state: PayoutState
    automatic: bool
    arrives: datetime
    failure_code: str | None
    created: datetime


class OnboardingLink(Struct, frozen=True):
    """Where Stripe asks the account's owner: good once, until `expires_at`, and for nobody else."""

    url: str
    expires_at: datetime


class Connect(Protocol):
    """Accounts of others, and money that goes there and comes back."""

    async def open_account(self, organisation: str, name: str, country: str, currency: str, key: str) -> StripeAccount:
        """Opens an account for an organisation, or answers the one that this key opened."""
        ...

    async def find_accounts(self, organisation: str, since: datetime) -> tuple[StripeAccount, ...]:
        """An organisation's accounts that were opened since then, the first one first, whichever key opened them."""
        ...

    async def retrieve_account(self, account: str) -> StripeAccount: ...

    async def link(self, account: str, return_url: str, refresh_url: str) -> OnboardingLink:
        """A new link. Who comes with one that is good no more is sent to `refresh_url`."""
        ...

    async def transfer(
        self,
        account: str,
        amount: int,
        currency: str,
        charge: str | None,
        booking: str,
        key: str,
        named: str | None = None,
    ) -> StripeTransfer:
        """Sends an amount to an account: of a booking's charge, or of our balance. `named` finds a second one again."""
        ...

    async def find_transfers(self, booking: str) -> tuple[StripeTransfer, ...]:
        """All transfers of a booking's, the first one first."""
        ...

    async def reverse(
        self, transfer: str, amount: int, currency: str, booking: str, named: str, key: str
    ) -> StripeReversal:
        """Takes an amount of a transfer back; `named` finds it again (`find_reversals`)."""
        ...

    async def find_reversals(self, transfer: str) -> tuple[StripeReversal, ...]:
        """All reversals of a transfer, the first one first, whoever made them."""
        ...

    async def retrieve_payout(self, account: str, payout: str) -> StripePayout:
        """One payout of an account's to its bank; another account's is refused."""
        ...

    async def find_payouts(self, account: str, since: datetime) -> tuple[StripePayout, ...]:
        """An account's payouts that were made since then, the first one first."""
        ...
