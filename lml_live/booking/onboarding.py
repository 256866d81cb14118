"""Accounts at Stripe that organisations are paid to: opened once, onboarded by owners, looked at now and then.

What an account is capable of is what Stripe answered last. Notices (`account.updated`) are hints, and need not come.
"""

import logging
from datetime import datetime, timedelta
from typing import Final

from msgspec import structs

from lml_live import limits
from lml_live.booking.connect import Connect, OnboardingLink, StripeAccount
from lml_live.booking.organisations import Organisation
from lml_live.booking.payments import PaymentFault
from lml_live.errors import Conflict, Unavailable
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("onboarding")
_SLACK: Final = timedelta(seconds=limits.FIND_SLACK_SECONDS)


class Onboarding:
    """Opens and looks at accounts."""

    def __init__(self, pool: Pool, connect: Connect) -> None:
        self._pool = pool
        self._connect = connect

    async def begin(self, organisation: Organisation, country: str, return_url: str) -> OnboardingLink:
        """A link for the owner of an organisation's account, which is opened in this country where there is none yet.

        Opening it twice opens one: the key is on record before Stripe is asked, and whoever comes after an answer that
        was lost asks first. Raises `Conflict` where Stripe refuses, `Unavailable` where it does not answer.
        """
        try:
            account = await self._open(organisation, country)
            # Who comes with a link that is good no more is where new ones are made.
            return await self._connect.link(account, return_url, return_url)
        except PaymentFault as fault:
            log.warning("organisation %s cannot be onboarded now: %s", organisation.id, fault)
            if fault.kind == "refused":
                raise Conflict(f"No account can be opened, or linked to: {fault}") from fault
            raise Unavailable("Stripe does not answer: try again.") from fault

    async def _open(self, organisation: Organisation, country: str) -> str:
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["begin_account"], organisation.id, country)
        assert row is not None
        if row["account_id"] is not None:
            known: str = row["account_id"]
            return known
        found: tuple[StripeAccount, ...] = ()
        if not row["is_new"]:
            found = await self._connect.find_accounts(organisation.id, row["begun"] - _SLACK)
        try:
            account = found[0] if found else await self._create(organisation, row["country"], row["attempt"])
        except PaymentFault as fault:
            if fault.kind != "unknown":
                async with postgres.connection(self._pool) as connected:
                    await connected.execute(_SQL["next_attempt"], organisation.id, row["attempt"])
            raise
        await self._keep(organisation.id, account, row["now"])
        async with postgres.connection(self._pool) as connected:
            opened: str = await connected.fetchval(_SQL["load_account"], organisation.id)
        return opened

    async def _create(self, organisation: Organisation, country: str, attempt: int) -> StripeAccount:
        key = f"{organisation.id}:account:{attempt}"
        return await self._connect.open_account(organisation.id, organisation.name, country, organisation.currency, key)

    async def noticed(self, account: str) -> bool:
        """Stripe says that an account has changed, which is looked at soon; False where it is none of ours."""
        async with postgres.connection(self._pool) as connected:
            return await connected.fetchval(_SQL["notice_account"], account) is not None

    async def look(self) -> int:
        """Asks Stripe how accounts stand that it said something about, or that were not asked about for long."""
        seconds = (float(limits.ACCOUNT_LOOK_SECONDS), float(limits.ONBOARDING_LOOK_SECONDS))
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["accounts_to_look_at"], limits.ACCOUNTS_AT_ONCE, *seconds)
        for row in rows:
            try:
                account = await self._connect.retrieve_account(row["account_id"])
            except PaymentFault as fault:
                log.warning("account %s cannot be looked at now: %s", row["account_id"], fault)
                continue
            # As of before it was asked: what Stripe says meanwhile is another matter.
            await self._keep(row["organisation_id"], account, row["now"])
        return len(rows)

    async def _keep(self, organisation: str, account: StripeAccount, asked: datetime) -> None:
        async with postgres.connection(self._pool) as connected:
            kept = await connected.fetchval(_SQL["keep_account"], organisation, asked, *structs.astuple(account))
        if kept is None:
            log.error("organisation %s has another account than %s: close that one by hand", organisation, account.id)
