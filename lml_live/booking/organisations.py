"""Who sells through the house and is paid for it: organisations, their venues, the managers they have, their events.

An organisation's terms are what we keep of each ticket. They are only ever added to, and a booking is settled by those
that were good when it was made. Whose an event is, is settled before anything of it is sold; an event that is nobody's
is the house's own, and its money stays here (docs/decisions/021).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

import asyncpg
from msgspec import Meta, Struct

from lml_live import limits, values
from lml_live.errors import Conflict, InvalidInput, NotFound, Violation
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool
from lml_live.pricing.currencies import CURRENCIES
from lml_live.pricing.events import Id, Name
from lml_live.values import new_id

_SQL: Final = postgres.statements("organisations")

HoldBackDays = Annotated[int, Meta(ge=0, le=limits.HOLD_BACK_DAYS_MAX)]
BasisPoints = Annotated[int, Meta(ge=0, le=limits.BASIS_POINTS_MAX)]
Fee = Annotated[int, Meta(ge=0, le=values.AMOUNT_MINOR_MAX)]

After = tuple[datetime, str] | None
"""Where a page begins: after this (time, id), or at the beginning."""


class OrganisationAccount(Struct, frozen=True, kw_only=True):
    """The account at Stripe that money goes to, as Stripe said at `looked_at`; without an id it is being opened.

    Not `ready`: transfers wait. It is where money can be received, and leave for the organisation's bank.
    """

    id: str | None
    country: str
    details_submitted: bool
    charges_enabled: bool
    payouts_enabled: bool
    transfers_enabled: bool
    ready: bool
    looked_at: datetime | None


class Organisation(Struct, frozen=True, kw_only=True):
    """One organisation, and what we keep of its tickets; without an account it has not begun to be onboarded."""

    id: str
    name: str
    currency: str
    hold_back_days: int
    fee_basis_points: int
    fee_per_ticket: int
    account: OrganisationAccount | None
    created: datetime


class Venue(Struct, frozen=True, kw_only=True):
    """A place of an organisation's, whose events are the organisation's."""

    id: str
    organisation: str
    name: str
    created: datetime


class NewOrganisation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An organisation that is to be. Of a ticket's price we keep `fee_basis_points` hundredths of a percent, and
    `fee_per_ticket` minor units of each that costs something; the rest is due `hold_back_days` after its event."""

    id: Id | None = None
    name: Name
    currency: Annotated[str, Meta(pattern=values.CURRENCY_PATTERN, max_length=3)]
    hold_back_days: HoldBackDays = limits.HOLD_BACK_DAYS
    fee_basis_points: BasisPoints = 0
    fee_per_ticket: Fee = 0


class Organisations:
    """The organisations of the house. `of` is a member of staff who may see only their own; None sees all."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, new: NewOrganisation, *, seed: str | None = None) -> Organisation:
        """Makes one. With `seed`, which names the request, a repetition finds what the first attempt has made.

        Raises `InvalidInput` for a currency that is none, `Conflict` where a given id is taken.
        """
        if new.currency not in CURRENCIES:
            wrong = Violation("currency", "is no currency of ISO 4217, such as EUR")
            raise InvalidInput("There can be no such organisation.", errors=(wrong,))
        organisation = new.id or _made_id("org", seed)
        async with postgres.transaction(self._pool) as connected:
            made = await connected.fetchval(
                _SQL["create_organisation"], organisation, new.name, new.currency, new.hold_back_days
            )
            if made is not None:
                await connected.execute(_SQL["add_terms"], organisation, new.fee_basis_points, new.fee_per_ticket)
            elif new.id is not None or seed is None:
                raise Conflict("An organisation with this id exists already.")
            return await _load(connected, organisation, None)

    async def change(self, organisation: str, changes: Mapping[str, object]) -> Organisation:
        """Changes `name`, `hold_back_days` or the terms; bookings of before keep theirs. Raises `NotFound`."""
        async with postgres.transaction(self._pool) as connected:
            await connected.execute(_SQL["lock_organisation"], organisation)
            known = await _load(connected, organisation, None)
            after = {name: changes.get(name, getattr(known, name)) for name in ("name", "hold_back_days")}
            terms = tuple(changes.get(name, getattr(known, name)) for name in ("fee_basis_points", "fee_per_ticket"))
            await connected.execute(_SQL["change_organisation"], organisation, *after.values())
            if terms != (known.fee_basis_points, known.fee_per_ticket):
                await connected.execute(_SQL["add_terms"], organisation, *terms)
            return await _load(connected, organisation, None)

    async def load(self, organisation: str, *, of: str | None = None) -> Organisation:
        """One organisation. Raises `NotFound`, also where it is none of theirs."""
        async with postgres.connection(self._pool) as connected:
            return await _load(connected, organisation, of)

    async def list(self, *, of: str | None = None, after: After = None, limit: int) -> Sequence[Organisation]:
        """At most so many, by when they were made."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["list_organisations"], of, *(after or (None, None)), limit)
        return [_read(row) for row in rows]

    async def add_member(self, organisation: str, email: str) -> None:
        """A member of staff may see it from now on. Raises `NotFound` for an unknown address or organisation."""
        async with postgres.transaction(self._pool) as connected:
            await _load(connected, organisation, None)
            if await connected.fetchval(_SQL["add_member"], organisation, email.strip().lower()) is None:
                raise NotFound("There is no such member of staff.")

    async def remove_member(self, organisation: str, email: str) -> None:
        """That one may not any more. Raises `NotFound` where they could not."""
        async with postgres.transaction(self._pool) as connected:
            if await connected.fetchval(_SQL["remove_member"], organisation, email.strip().lower()) is None:
                raise NotFound("There is no such member.")

    # --- Venues and events

    async def add_venue(
        self, organisation: str, name: str, *, venue: str | None = None, of: str | None = None, seed: str | None = None
    ) -> Venue:
        """Makes a venue of an organisation's. Raises `NotFound`, `Conflict` where a given id is taken."""
        wanted = venue or _made_id("venue", seed)
        async with postgres.transaction(self._pool) as connected:
            await _load(connected, organisation, of)
            made = await connected.fetchval(_SQL["create_venue"], wanted, organisation, name)
            row = await connected.fetchrow(_SQL["load_venue"], wanted, organisation)
            if row is None or (made is None and (venue is not None or seed is None)):
                raise Conflict("A venue with this id exists already.")
            return _venue(row)

    async def venues(
        self, organisation: str, *, of: str | None = None, after: After = None, limit: int
    ) -> Sequence[Venue]:
        """At most so many of an organisation's venues, by when they were made. Raises `NotFound`."""
        async with postgres.connection(self._pool) as connected:
            await _load(connected, organisation, of)
            rows = await connected.fetch(_SQL["list_venues"], organisation, *(after or (None, None)), limit)
        return [_venue(row) for row in rows]

    async def put_event(self, organisation: str, venue: str, event: str, *, of: str | None = None) -> None:
        """An event is a venue's from now on; twice is once. Raises `NotFound`, `Conflict` (see `_move_event`)."""
        await self._move_event(organisation, venue, event, venue, of)

    async def take_event(self, organisation: str, venue: str, event: str, *, of: str | None = None) -> None:
        """An event of a venue's is the house's own again. Raises `NotFound`, `Conflict`."""
        await self._move_event(organisation, venue, event, None, of)

    async def _move_event(self, organisation: str, venue: str, event: str, to: str | None, of: str | None) -> None:
        """`Conflict`: something of it was sold, it is another organisation's, it is sold in another currency, or a
        manager would take from the house what it sells."""
        try:
            async with postgres.transaction(self._pool) as connected:
                await _load(connected, organisation, of)
                if await connected.fetchrow(_SQL["load_venue"], venue, organisation) is None:
                    raise NotFound("There is no such venue.")
                if values.is_id(event):
                    await connected.execute(_SQL["lock_event_alone"], event)
                row = await connected.fetchrow(_SQL["owner_of_event"], event) if values.is_id(event) else None
                if row is None or (to is None and row["venue_id"] not in (venue, None)):
                    raise NotFound("There is no such event.")
                if row["organisation_id"] not in (organisation, None):
                    raise Conflict("This event is another organisation's.")
                if of is not None and to is not None and row["organisation_id"] is None and row["state"] != "draft":
                    raise Conflict("The house sells this event already: an administrator says whose it is.")
                if row["venue_id"] != to:
                    await connected.execute(_SQL["put_event"], event, to)
        except asyncpg.CheckViolationError as error:
            if error.constraint_name == "event_keeps_its_venue":
                raise Conflict("Something of this event was sold: whose it is stays.") from error
            if error.constraint_name == "event_pays_in_its_currency":
                raise Conflict("This event is sold in another currency than the organisation is paid in.") from error
            raise


def _made_id(prefix: str, seed: str | None) -> str:
    return new_id(prefix) if seed is None else f"{prefix}-{seed[:20]}"


async def _load(connected: Connection, organisation: str, of: str | None) -> Organisation:
    known = values.is_id(organisation)
    row = await connected.fetchrow(_SQL["load_organisation"], organisation, of) if known else None
    if row is None:
        raise NotFound("There is no such organisation.")
    return _read(row)


def _read(row: asyncpg.Record) -> Organisation:
    fields = {name: row[name] for name in OrganisationAccount.__struct_fields__ if name != "id"}
    return Organisation(
        account=OrganisationAccount(id=row["account_id"], **fields) if row["has_account"] else None,
        **{name: row[name] for name in Organisation.__struct_fields__ if name != "account"},
    )


def _venue(row: asyncpg.Record) -> Venue:
    return Venue(id=row["id"], organisation=row["organisation_id"], name=row["name"], created=row["created"])
