"""Saved cards: kept by Stripe, the account's own, and good for the next booking."""

import json
import secrets
from typing import Any

import asyncpg
import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import THREE_D, VISA, BookingHouse
from stripe_house import stripe_client

from lml_live.booking.bookings import Booking
from lml_live.booking.checkout import Buyer
from lml_live.booking.customers import SavedCard
from lml_live.errors import NotFound, Unavailable

SAVING = Buyer("Anna", "anna@example.org", save_card=True)


@pytest.fixture(name="anna")
async def anna_fixture(house: BookingHouse) -> str:
    """The holder of an account."""
    return await account(house, "anna")


async def account(house: BookingHouse, name: str) -> str:
    holder = f"h-{secrets.token_hex(6)}"
    await house.pool.execute(
        "INSERT INTO account (id, email, password_hash, holder) VALUES ($1, $2, 'none', $3)",
        *(f"a-{holder}", f"{name}-{holder}@example.org", holder),
    )
    return holder


async def book(house: BookingHouse, event: str, holder: str, seat: int, buyer: Buyer = SAVING) -> Booking:
    hold = await house.take(event, seat, holder=holder)
    return await house.claimed(event, hold, holder=holder, key=f"k{seat}", buyer=buyer)


async def paid(house: BookingHouse, event: str, holder: str, seat: int, card: str = VISA) -> Booking:
    booking = await book(house, event, holder, seat)
    if await house.pay(booking, card) == "requires_action":
        assert booking.intent_id is not None
        await house.double.steering.authenticate(booking.intent_id)
    await house.completer.look_at(booking.id)
    await house.rest()
    assert await house.state(booking) == "confirmed"
    return booking


async def the_card(house: BookingHouse, holder: str) -> SavedCard:
    [card] = await house.customers.cards(holder)
    return card


async def test_a_card_is_saved_when_it_has_paid_and_the_buyer_wants_it(
    house: BookingHouse, event: str, anna: str
) -> None:
    booking = await book(house, event, anna, 1)
    assert await house.customers.cards(anna) == ()
    await house.pay(booking, "pm_card_chargeDeclined")
    assert await house.customers.cards(anna) == ()
    await house.pay(booking)
    card = await the_card(house, anna)
    assert (card.brand, card.last4) == ("visa", "4242")
    # The next time nobody asks for it, and nothing is saved.
    other = await book(house, event, anna, 2, Buyer("Anna", "anna@example.org"))
    await house.pay(other, "pm_card_mastercard")
    assert await the_card(house, anna) == card


async def test_who_has_not_signed_in_has_no_cards(house: BookingHouse, event: str) -> None:
    booking = await book(house, event, "nobody", 1)
    await house.pay(booking)
    assert await house.customers.cards("nobody") == ()
    assert [one.intent.customer for one in (await house.double.steering.ledger()).intents] == [None]


@pytest.mark.parametrize(("first", "status"), [(VISA, "requires_capture"), (THREE_D, "requires_action")])
async def test_a_saved_card_pays_again(house: BookingHouse, event: str, anna: str, first: str, status: str) -> None:
    """Also one whose bank wants to know each time."""
    await paid(house, event, anna, 1, first)
    card = await the_card(house, anna)
    again = await book(house, event, anna, 2, Buyer("Anna", "anna@example.org"))
    assert await house.pay(again, card.id) == status
    if status == "requires_action":
        assert again.intent_id is not None
        await house.double.steering.authenticate(again.intent_id)
    await house.completer.look_at(again.id)
    await house.rest()
    assert await house.state(again) == "confirmed"
    await house.assert_right(event)


async def test_nobody_pays_with_or_takes_away_anothers_card(house: BookingHouse, event: str, anna: str) -> None:
    await paid(house, event, anna, 1)
    card, ben = await the_card(house, anna), await account(house, "ben")
    await paid(house, event, ben, 2)
    theirs = await book(house, event, ben, 3)
    assert await house.pay(theirs, card.id) == "payment_method_customer_mismatch"
    for holder in (ben, await account(house, "carl"), "nobody"):
        with pytest.raises(NotFound):
            await house.customers.forget(holder, card.id)
    assert await the_card(house, anna) == card
    assert (await the_card(house, ben)).id != card.id


async def test_a_card_is_taken_away_once(house: BookingHouse, event: str, anna: str) -> None:
    await paid(house, event, anna, 1)
    card = await the_card(house, anna)
    await house.customers.forget(anna, card.id)
    assert await house.customers.cards(anna) == ()
    with pytest.raises(NotFound):
        await house.customers.forget(anna, card.id)
    # The double took it from anybody, as Stripe never does.
    for seat, holder in ((2, anna), (3, "nobody")):
        again = await book(house, event, holder, seat, Buyer("Anna", "anna@example.org"))
        assert await house.pay(again, card.id) == "payment_method_unexpected_state"


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after", "error_500", "error_500_after", "rate_limit"])
async def test_an_account_is_one_customer_whatever_is_heard_of_it(
    house: BookingHouse, event: str, anna: str, kind: Any
) -> None:
    await house.double.steering.fault("customer", kind)
    hold = await house.take(event, 1, holder=anna)
    booking = await house.buy(event, hold, holder=anna, buyer=SAVING)
    assert isinstance(booking, Booking)
    await house.rest()
    loaded = await house.bookings.load(booking.id)
    assert loaded is not None
    assert loaded.client_secret is not None
    await house.pay(loaded)
    assert (await the_card(house, anna)).last4 == "4242"
    kept = await known(house, anna)
    made = [one for one in (await house.double.steering.ledger()).requests if one.operation == "customer"]
    assert sum(one.status == 200 and not one.replayed for one in made) <= 1 or kind == "error_500_after"
    assert kept is not None


async def test_a_customer_that_stripe_no_longer_has_keeps_nobody_from_paying(
    house: BookingHouse, event: str, anna: str
) -> None:
    """Deleted there, or made at another Stripe account: every booking of the account was `failed` from then on."""
    await house.pool.execute(
        "INSERT INTO stripe_customer (account_id, customer_id) SELECT id, 'cus_gone' FROM account WHERE holder = $1",
        anna,
    )
    assert await house.customers.cards(anna) == ()
    hold = await house.take(event, 1, holder=anna)
    made = await house.buy(event, hold, holder=anna, buyer=SAVING)
    assert isinstance(made, Booking)
    await house.rest()
    booking = await house.bookings.load(made.id)
    assert booking is not None
    assert await house.pay(booking) == "requires_capture"
    await house.completer.look_at(booking.id)
    await house.rest()
    assert await house.state(booking) == "confirmed"
    await house.assert_right(event)


async def test_a_customer_that_stripe_has_deleted_is_replaced_and_that_is_on_record(
    house: BookingHouse, event: str, anna: str
) -> None:
    """Whose a customer is was never to change: such an account saved no cards any more."""
    await paid(house, event, anna, 1)
    gone = await known(house, anna)
    async with stripe_client(house.double) as client:
        await client.v1.customers.delete_async(gone)
    assert await house.customers.cards(anna) == ()
    # While nothing is to be saved, there need be none.
    for seat, buyer in ((2, Buyer("Anna", "anna@example.org")), (3, SAVING)):
        hold = await house.take(event, seat, holder=anna)
        made = await house.buy(event, hold, holder=anna, key=f"k{seat}", buyer=buyer)
        assert isinstance(made, Booking)
        await house.rest()
        booking = await house.bookings.load(made.id)
        assert booking is not None
        assert await house.pay(booking) == "requires_capture"
        await house.completer.look_at(booking.id)
        await house.rest()
        assert (await known(house, anna) is None) is (buyer != SAVING)
    assert (await the_card(house, anna)).last4 == "4242"
    [told] = await house.pool.fetch("SELECT * FROM audit_record WHERE action = 'stripe_customer.changed'")
    detail = json.loads(told["detail"])
    assert (detail["customer_id"], detail["gone"]) == ([gone, None], [[], [gone]])
    await house.assert_right(event)
    for forged in ("customer_id = 'cus_else'", "customer_id = NULL", "gone = '{}'", f"customer_id = '{gone}'"):
        with pytest.raises(asyncpg.CheckViolationError):
            await house.pool.execute(f"UPDATE stripe_customer SET {forged}")


async def known(house: BookingHouse, holder: str) -> Any:
    return await house.pool.fetchval(
        "SELECT customer_id FROM stripe_customer c JOIN account a ON a.id = c.account_id WHERE a.holder = $1", holder
    )


async def test_where_stripe_is_away_cards_are_not_shown_and_sales_wait(
    house: BookingHouse, event: str, anna: str
) -> None:
    await paid(house, event, anna, 1)
    await house.double.steering.fault("card_list", "error_500")
    with pytest.raises(Unavailable):
        await house.customers.cards(anna)
    assert (await the_card(house, anna)).last4 == "4242"
