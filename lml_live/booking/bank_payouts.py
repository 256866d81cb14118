"""What went from organisations' accounts at Stripe to their banks, and whether it arrived (docs/decisions/037).

Stripe decides when and how much; here it is only known. Notices (`payout.*`) are hints: the payout is retrieved. A look
at the list of each account finds what no notice told. What is read late, twice or in another order changes nothing:
states move by the table of `payout_states`, and what may not follow is old news.
"""

import logging
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from lml_live import limits
from lml_live.booking.connect import Connect, StripePayout
from lml_live.booking.organisations import After
from lml_live.booking.payments import PaymentFault
from lml_live.booking.payout_states import PayoutState, may_follow, reason
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.infra.telemetry import METRICS

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("bank_payouts")
_SLACK: Final = timedelta(seconds=limits.FIND_SLACK_SECONDS)
_ISO: Final = re.compile(r"[A-Z]{3}")


class Payout(Struct, frozen=True, kw_only=True):
    """Money on its way from an organisation's account to its bank, or there, or back; minor units.

    `amount` is below 0 where Stripe took from the bank what the account owed. `arrives` is the day on which the bank
    should have it. Of a failed one the money is in the account again; `failure_reason` says why in words.
    """

    id: str
    amount: int
    currency: str
    state: PayoutState
    automatic: bool
    arrives: datetime
    failure_code: str | None
    failure_reason: str | None
    created: datetime


class BankPayouts:
    """Looks at payouts, and lists them; without `connect` it only lists."""

    def __init__(self, pool: Pool, connect: Connect | None = None) -> None:
        self._pool = pool
        self._connect = connect

    async def look_at(self, account: str, payout: str) -> None:
        """Asks Stripe how one payout stands. Raises `PaymentFault` where it cannot be asked."""
        assert self._connect is not None
        try:
            found = await self._connect.retrieve_payout(account, payout)
        except PaymentFault as fault:
            if fault.kind != "refused":
                raise
            log.warning("account %s has no payout %s: %s", account, payout, fault)
            return
        await self._keep(account, found)

    async def look(self) -> int:
        """Reads the payouts of some accounts that were not asked about for long; answers how many accounts."""
        assert self._connect is not None
        bounds = (limits.ACCOUNTS_AT_ONCE, float(limits.PAYOUTS_READ_SECONDS), limits.PAYOUT_MAY_FAIL_DAYS)
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["accounts_to_ask"], *bounds)
        for row in rows:
            account = row["account_id"]
            try:
                found = await self._connect.find_payouts(account, row["since"] - _SLACK)
            except PaymentFault as fault:
                log.warning("the payouts of account %s cannot be read now: %s", account, fault)
                continue
            for one in found:
                await self._keep(account, one)
            async with postgres.connection(self._pool) as connected:
                # As of before it was asked: what is made meanwhile is read next time.
                await connected.execute(_SQL["payouts_read"], account, row["now"])
        return len(rows)

    async def _keep(self, account: str, found: StripePayout) -> None:
        if found.amount == 0 or not _ISO.fullmatch(found.currency):
            # Stripe pays out in stablecoins, too, whose names are no codes of ISO 4217, and of some currencies less
            # than a unit of ours.
            log.warning("account %s: payout %s of %d %s is not kept", account, found.id, found.amount, found.currency)
            return
        about = (found.id, found.amount, found.currency, found.state, found.automatic)
        more = (found.arrives, found.failure_code, found.created, sorted(may_follow(found.state)))
        async with postgres.transaction(self._pool) as connected:
            organisation = await connected.fetchval(_SQL["keep_payout"], account, *about, *more)
        if organisation is None:
            return
        told = (organisation, found.id, found.amount, found.currency)
        if found.state == "failed":
            METRICS.payouts_failed.inc()
            log.error("organisation %s: payout %s of %d %s failed: %s", *told, reason(found.failure_code))
        else:
            log.info("organisation %s: payout %s of %d %s is %s", *told, found.state)

    async def list(self, organisation: str, *, before: After = None, limit: int) -> Sequence[Payout]:
        """At most so many of an organisation's payouts, the newest first, older than this (time, id)."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["list_payouts"], organisation, *(before or (None, None)), limit)
        return [
            Payout(
                id=row["stripe_id"],
                failure_reason=reason(row["failure_code"]) if row["state"] == "failed" else None,
                **{name: row[name] for name in Payout.__struct_fields__ if name not in ("id", "failure_reason")},
            )
            for row in rows
        ]
