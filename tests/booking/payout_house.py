"""Organisations in a house that sells: an event of theirs, an account that can be paid, and what is sent there."""

import secrets
from typing import Any

import pytest
from booking_house import PRICE, BookingHouse
from databases import past_guards

from lml_live.booking.organisations import NewOrganisation, Organisation, Organisations

RATE, PER_TICKET = 400, 50
"""What we keep: four percent, and fifty a ticket."""
DUE = PRICE - (PRICE * RATE + 5_000) // 10_000 - PER_TICKET
"""What an organisation gets of one seat."""


@pytest.fixture(autouse=True, name="nobody_is_known")
async def nobody_is_known_fixture(house: BookingHouse) -> None:
    """The process's database is used again: what is emptied with its bookings leaves organisations there."""
    await past_guards(house.pool, "UPDATE event SET venue_id = NULL")
    for table in ("organisation", "organisation_terms", "organisation_member", "venue", "connected_account", "payout"):
        await past_guards(house.pool, f"DELETE FROM {table}")


async def organised(
    house: BookingHouse, *, ready: bool = True, days: int = 0, name: str = "", by_day: bool = False
) -> Organisation:
    """An organisation with a venue of the same id; `ready`: its account can be paid; `by_day`: what it has goes to its
    bank once a day, as the double's clock says."""
    name = name or f"org-{secrets.token_hex(4)}"
    organisations = Organisations(house.pool)
    made = await organisations.create(
        NewOrganisation(
            id=name,
            name="City Opera",
            currency="EUR",
            hold_back_days=days,
            fee_basis_points=RATE,
            fee_per_ticket=PER_TICKET,
        )
    )
    await organisations.add_venue(name, "Opera House", venue=name)
    if ready:
        account = await onboarded(house, made)
        if not by_day:
            by_hand: Any = {"settings": {"payouts": {"schedule": {"interval": "manual"}}}}
            await house.payments.client.v1.accounts.update_async(account, by_hand)
    return await organisations.load(name)


async def onboarded(house: BookingHouse, organisation: Organisation) -> str:
    """Its owner has told Stripe everything, and Stripe has told us; answers the account."""
    await house.onboarding.begin(organisation, "DE", "http://127.0.0.1/organisation")
    account = await account_of(house, organisation)
    await house.double.steering.onboard(account)
    assert await house.onboarding.noticed(account)
    await house.onboarding.look()
    return account


async def account_of(house: BookingHouse, organisation: Organisation) -> str:
    account = (await Organisations(house.pool).load(organisation.id)).account
    assert account is not None
    assert account.id is not None
    return account.id


async def their_event(house: BookingHouse, organisation: Organisation) -> str:
    """An open event of theirs that begins now: what it brings is due at once, unless it is held back."""
    event = await house.open_event(areas={"floor": 10})
    await Organisations(house.pool).put_event(organisation.id, organisation.id, event)
    return event


async def paid_out(house: BookingHouse) -> None:
    """What is due is decided, and done."""
    await house.paying.turn()
    await house.rest()


async def at_account(house: BookingHouse, account: str) -> int:
    """What a connected account has."""
    booked = (await house.double.steering.ledger()).account_transactions[account]
    return sum(one.amount for one in booked)
