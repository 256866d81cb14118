"""`Connect` by Stripe, on the client of `stripe_payments`: separate charges and transfers, Express accounts.

A transfer is made out of the booking's charge (`source_transaction`): it needs no balance of ours, and its money is the
account's when the charge's is ours. It bears the booking's id as its group and in its metadata, and so is found again.
"""

import logging
from datetime import UTC, datetime
from typing import Any, Final, get_args

from lml_live import limits
from lml_live.booking.connect import OnboardingLink, StripeAccount, StripePayout, StripeReversal, StripeTransfer
from lml_live.booking.payments import PaymentFault, minor_amount, stripe_amount
from lml_live.booking.payout_states import PayoutState
from lml_live.booking.stripe_payments import StripePayments, named_in

log = logging.getLogger(__name__)

_PAGE: Final = 100
_ACCOUNTS: Final = "read and write connected accounts and account links, and restart; until then nobody is onboarded"
_PAYING: Final = "read and write transfers, and restart; until then nobody is paid"
_BANKS: Final = "read payouts of connected accounts, and restart; until then nobody is told what arrived at banks"


class StripeConnect:
    """`Connect` by Stripe."""

    def __init__(self, payments: StripePayments) -> None:
        self._send = payments.send
        self._v1 = payments.client.v1

    async def open_account(self, organisation: str, name: str, country: str, currency: str, key: str) -> StripeAccount:
        params: dict[str, Any] = {
            "type": "express",
            "country": country,
            "default_currency": currency.lower(),
            "capabilities": {"transfers": {"requested": True}},
            "business_profile": {"name": name},
            "metadata": {"organisation": organisation},
        }
        create, options = self._v1.accounts.create_async, {"idempotency_key": key}
        return _account(await self._send("create_account", create, params, options, purpose=_ACCOUNTS))

    async def find_accounts(self, organisation: str, since: datetime) -> tuple[StripeAccount, ...]:
        params: dict[str, Any] = {"limit": _PAGE, "created": {"gte": int(since.timestamp())}}
        found: list[StripeAccount] = []
        for _ in range(limits.FIND_PAGES_MAX):
            page = await self._send("list_accounts", self._v1.accounts.list_async, params, purpose=_ACCOUNTS)
            found += [_account(one) for one in page.data if named_in(one, "organisation") == organisation]
            if not page.has_more:
                return tuple(reversed(found))
            params["starting_after"] = page.data[-1].id
        log.warning("organisation %s: there are too many accounts to look through all", organisation)
        return tuple(reversed(found))

    async def retrieve_account(self, account: str) -> StripeAccount:
        retrieve = self._v1.accounts.retrieve_async
        return _account(await self._send("retrieve_account", retrieve, account, purpose=_ACCOUNTS))

    async def link(self, account: str, return_url: str, refresh_url: str) -> OnboardingLink:
        params: dict[str, Any] = {
            "account": account,
            "type": "account_onboarding",
            "return_url": return_url,
            "refresh_url": refresh_url,
        }
        create = self._v1.account_links.create_async
        made = await self._send("create_account_link", create, params, purpose=_ACCOUNTS)
        return OnboardingLink(made.url, datetime.fromtimestamp(made.expires_at, UTC))

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
        params: dict[str, Any] = {
            "amount": stripe_amount(amount, currency),
            "currency": currency.lower(),
            "destination": account,
            "transfer_group": booking,
            "metadata": {"booking": booking} | ({} if named is None else {"key": named}),
        }
        if charge is not None:
            params["source_transaction"] = charge
        create, options = self._v1.transfers.create_async, {"idempotency_key": key}
        return _transfer(await self._send("create_transfer", create, params, options, purpose=_PAYING))

    async def find_transfers(self, booking: str) -> tuple[StripeTransfer, ...]:
        # One page: we make one for each booking, and one more for each dispute that was won after all.
        params = {"transfer_group": booking, "limit": _PAGE}
        page = await self._send("list_transfers", self._v1.transfers.list_async, params, purpose=_PAYING)
        return tuple(_transfer(one) for one in reversed(page.data))

    async def reverse(
        self, transfer: str, amount: int, currency: str, booking: str, named: str, key: str
    ) -> StripeReversal:
        params: dict[str, Any] = {
            "amount": stripe_amount(amount, currency),
            "metadata": {"booking": booking, "key": named},
        }
        create, options = self._v1.transfers.reversals.create_async, {"idempotency_key": key}
        return _reversal(await self._send("create_reversal", create, transfer, params, options, purpose=_PAYING))

    async def find_reversals(self, transfer: str) -> tuple[StripeReversal, ...]:
        # One page: a booking has not so many refunds and disputes.
        list_all, params = self._v1.transfers.reversals.list_async, {"limit": _PAGE}
        page = await self._send("list_reversals", list_all, transfer, params, purpose=_PAYING)
        return tuple(_reversal(one) for one in reversed(page.data))

    async def retrieve_payout(self, account: str, payout: str) -> StripePayout:
        retrieve, of = self._v1.payouts.retrieve_async, {"stripe_account": account}
        return _payout(await self._send("retrieve_payout", retrieve, payout, None, of, purpose=_BANKS))

    async def find_payouts(self, account: str, since: datetime) -> tuple[StripePayout, ...]:
        list_all, of = self._v1.payouts.list_async, {"stripe_account": account}
        params: dict[str, Any] = {"limit": _PAGE, "created": {"gte": int(since.timestamp())}}
        found: list[StripePayout] = []
        for _ in range(limits.FIND_PAGES_MAX):
            page = await self._send("list_payouts", list_all, params, of, purpose=_BANKS)
            found += [_payout(one) for one in page.data]
            if not page.has_more:
                return tuple(reversed(found))
            params["starting_after"] = page.data[-1].id
        raise PaymentFault("unknown", f"Account {account} has more payouts than are read at once.")


def _account(account: Any) -> StripeAccount:
    capabilities = account.capabilities.to_dict() if getattr(account, "capabilities", None) else {}
    return StripeAccount(
        id=account.id,
        country=account.country,
        details_submitted=bool(account.details_submitted),
        charges_enabled=bool(account.charges_enabled),
        payouts_enabled=bool(account.payouts_enabled),
        transfers_enabled=capabilities.get("transfers") == "active",
    )


def _transfer(transfer: Any) -> StripeTransfer:
    amount, back = (minor_amount(one, transfer.currency.upper()) for one in (transfer.amount, transfer.amount_reversed))
    return StripeTransfer(transfer.id, amount, named_in(transfer, "booking"), named_in(transfer, "key"), back)


def _reversal(reversal: Any) -> StripeReversal:
    amount = minor_amount(reversal.amount, reversal.currency.upper())
    return StripeReversal(reversal.id, named_in(reversal, "key"), amount)


def _payout(payout: Any) -> StripePayout:
    currency = payout.currency.upper()
    if payout.status not in get_args(PayoutState):
        raise PaymentFault("unknown", f"Payout {payout.id} is {payout.status[:50]!r}, which we do not know.")
    return StripePayout(
        id=payout.id,
        amount=minor_amount(payout.amount, currency),
        currency=currency,
        state=payout.status,
        automatic=bool(payout.automatic),
        arrives=datetime.fromtimestamp(payout.arrival_date, UTC),
        failure_code=payout.failure_code if payout.status == "failed" else None,
        created=datetime.fromtimestamp(payout.created, UTC),
    )
